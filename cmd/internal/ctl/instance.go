package ctl

import (
	"github.com/spf13/cobra"

	v1 "github.com/coloa-cloud/coloa/api/v1"
)

func (a *app) instances() *cobra.Command {
	n := noun[v1.Instance, *v1.Instance]{app: a, key: "instance", filters: []filter{{"vm", v1.KindVM}, {"host", v1.KindHost}}, columns: []column[v1.Instance]{
		stateColumn(func(o *v1.Instance) string { return string(o.Observed.State) }),
		refColumn("vm", always, v1.KindVM, func(o *v1.Instance) string { return o.Spec.VM }),
		refColumn("host", always, v1.KindHost, func(o *v1.Instance) string { return o.Spec.Host }),
		{key: "desired", level: ifRoom, value: func(o *v1.Instance) string { return string(o.Desired.State) }, human: func(a *app, o *v1.Instance) string { return a.word("state", string(o.Desired.State)) }},
		textColumn("reason", wideOnly, func(o *v1.Instance) string { return string(o.Observed.Reason) }),
		textColumn("vcpus", wideOnly, func(o *v1.Instance) string { return number(int64(o.Spec.VCPUs)) }),
		{key: "memory", level: wideOnly, value: func(o *v1.Instance) string { return number(o.Spec.MemoryMiB) }, human: func(_ *app, o *v1.Instance) string { return memoryText(o.Spec.MemoryMiB) }},
		{key: "message", level: detailOnly, value: func(o *v1.Instance) string { return o.Observed.Message }, human: func(a *app, o *v1.Instance) string { return a.said(o.Observed.Message) }},
		textColumn("fenced", detailOnly, func(o *v1.Instance) string {
			if o.Fence == nil {
				return ""
			}
			return stamp(o.Fence.At) + " " + o.Fence.By + ": " + o.Fence.How
		}),
	}}
	group := a.group("instance", "instance", "instances")
	group.AddCommand(n.list(), n.show())
	return group
}
