package ctl

import (
	"github.com/spf13/cobra"

	v1 "github.com/coloa-cloud/coloa/api/v1"
)

func (a *app) flavors() *cobra.Command {
	n := noun[v1.Flavor, *v1.Flavor]{app: a, key: "flavor", columns: []column[v1.Flavor]{
		textColumn("vcpus", always, func(o *v1.Flavor) string { return number(int64(o.Spec.VCPUs)) }),
		{key: "memory", value: func(o *v1.Flavor) string { return number(o.Spec.MemoryMiB) }, human: func(_ *app, o *v1.Flavor) string { return memoryText(o.Spec.MemoryMiB) }},
		{key: "disk", value: func(o *v1.Flavor) string { return number(o.Spec.DiskGiB) }, human: func(_ *app, o *v1.Flavor) string { return number(o.Spec.DiskGiB) + " GiB" }},
	}}
	group := a.group("flavor", "flavor", "flavors")
	group.AddCommand(n.list(), n.show(), n.create(creation{required: []string{"vcpus", "memory", "disk"}, setup: func(s *specFlags) {
		s.integer("vcpus", "vcpus")
		s.size("memory", "memoryMiB", mebibyte)
		s.size("disk", "diskGiB", gibibyte)
	}}), n.update(nil), n.delete())
	return group
}
