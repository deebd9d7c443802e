package ctl

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/coloa-cloud/coloa/api/client"
	v1 "github.com/coloa-cloud/coloa/api/v1"
)

func (a *app) snapshots() *cobra.Command {
	n := noun[v1.Snapshot, *v1.Snapshot]{app: a, key: "snapshot", filters: []filter{{"volume", v1.KindVolume}}, columns: []column[v1.Snapshot]{
		phaseColumn(func(o *v1.Snapshot) string { return string(o.Status.Phase) }),
		refColumn("volume", always, v1.KindVolume, func(o *v1.Snapshot) string { return first(o.Status.VolumeID, o.Spec.Volume) }),
		{
			key: "size", value: func(o *v1.Snapshot) string { return number(o.Status.SizeGiB) },
			human: func(_ *app, o *v1.Snapshot) string { return number(o.Status.SizeGiB) + " GiB" },
		},
		operationColumn(func(o *v1.Snapshot) string { return o.Status.Operation }),
	}}
	group := a.group("snapshot", "snapshot", "snapshots")
	restore := a.command(verb{key: "snapshot.restore", name: "restore", args: []string{"name"}, names: n.candidates(), run: func(ctx context.Context, args []string) error {
		return n.one(ctx, args[0], func(ctx context.Context, c *client.Client, name string) (client.Result[v1.Snapshot], error) {
			return client.Act[v1.Snapshot](ctx, c, client.Ref{ID: name}, "restore", nil)
		})
	}})
	a.waitFlags(restore)
	group.AddCommand(n.list(), n.show(), n.create(creation{required: []string{"volume"}, setup: func(s *specFlags) {
		s.ref("volume", "volume", "volumes")
	}}), n.update(nil), restore, n.delete())
	return group
}
