package ctl

import (
	"context"

	"github.com/spf13/cobra"

	v1 "github.com/coloa-cloud/coloa/api/v1"
)

func (a *app) volumes() *cobra.Command {
	n := noun[v1.Volume, *v1.Volume]{app: a, key: "volume", filters: []filter{{"vm", v1.KindVM}}, columns: []column[v1.Volume]{
		phaseColumn(func(o *v1.Volume) string { return string(o.Status.Phase) }),
		{
			key: "size", value: func(o *v1.Volume) string { return number(max(o.Status.SizeGiB, 0)) },
			human: func(_ *app, o *v1.Volume) string { return number(o.Status.SizeGiB) + " GiB" },
		},
		refColumn("attached", ifRoom, v1.KindVM, func(o *v1.Volume) string { return o.Status.AttachedTo }),
		refColumn("root-of", ifRoom, v1.KindVM, func(o *v1.Volume) string { return o.Status.VM }),
		textColumn("image", wideOnly, func(o *v1.Volume) string { return o.Spec.Image }),
		textColumn("driver", wideOnly, func(o *v1.Volume) string { return o.Status.Driver }),
		refColumn("host", wideOnly, v1.KindHost, func(o *v1.Volume) string { return o.Status.Host }),
		operationColumn(func(o *v1.Volume) string { return o.Status.Operation }),
	}}
	group := a.group("volume", "volume", "volumes")
	group.AddCommand(n.list(), n.show(), n.create(creation{required: []string{"size"}, setup: func(s *specFlags) {
		s.size("size", "sizeGiB", gibibyte)
		s.ref("image", "image", "images")
		s.throttle("throttle")
	}}), n.update(func(s *specFlags) { s.throttle("throttle") }), a.volumeResize(n), n.delete())
	return group
}

func (a *app) volumeResize(n noun[v1.Volume, *v1.Volume]) *cobra.Command {
	size := &sizeValue{app: a, unit: gibibyte}
	var command *cobra.Command
	command = a.command(verb{key: "volume.resize", name: "resize", args: []string{"name"}, names: n.candidates(), run: func(ctx context.Context, args []string) error {
		if err := a.require(command, []string{"size"}); err != nil {
			return err
		}
		return n.patch(ctx, args[0], map[string]any{"spec": map[string]any{"sizeGiB": size.amount}})
	}})
	command.Flags().Var(size, "size", a.T("flag.volume.size"))
	a.waitFlags(command)
	return command
}
