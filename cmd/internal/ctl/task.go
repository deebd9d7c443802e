package ctl

import (
	"github.com/spf13/cobra"

	v1 "github.com/coloa-cloud/coloa/api/v1"
)

func (a *app) tasks() *cobra.Command {
	n := noun[v1.Task, *v1.Task]{app: a, key: "task", filters: []filter{{"operation", ""}, {"host", v1.KindHost}}, columns: []column[v1.Task]{
		stateColumn(func(o *v1.Task) string { return string(o.Status.State) }),
		textColumn("type", always, func(o *v1.Task) string { return string(o.Spec.Type) }),
		refColumn("host", always, v1.KindHost, func(o *v1.Task) string { return o.Spec.Host }),
		{key: "step", level: wideOnly, value: func(o *v1.Task) string { return o.Spec.Step }, human: func(a *app, o *v1.Task) string { return a.word("step", o.Spec.Step) }},
		textColumn("percent", wideOnly, func(o *v1.Task) string { return number(int64(o.Status.Percent)) }),
		textColumn("operation", wideOnly, func(o *v1.Task) string { return o.Spec.Operation }),
		{key: "error", level: detailOnly, value: func(o *v1.Task) string { return errorText(o.Status.Error) }, human: func(a *app, o *v1.Task) string { return a.errorText(o.Status.Error) }},
	}}
	group := a.group("task", "task", "tasks")
	group.AddCommand(n.list(), n.show())
	return group
}
