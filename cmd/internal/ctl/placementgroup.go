package ctl

import (
	"github.com/spf13/cobra"

	v1 "github.com/coloa-cloud/coloa/api/v1"
)

func (a *app) placementGroups() *cobra.Command {
	n := noun[v1.PlacementGroup, *v1.PlacementGroup]{app: a, key: "placement-group", columns: []column[v1.PlacementGroup]{
		{
			key: "policy", value: func(o *v1.PlacementGroup) string { return string(o.Spec.Policy) },
			human: func(a *app, o *v1.PlacementGroup) string { return a.word("policy", string(o.Spec.Policy)) },
		},
	}}
	group := a.group("placement-group", "placement-group", "placement-groups", "group")
	group.AddCommand(n.list(), n.show(), n.create(creation{required: []string{"policy"}, setup: func(s *specFlags) {
		s.oneOf("policy", "policy", string(v1.AntiAffinityHard), string(v1.AntiAffinitySoft))
	}}), n.update(nil), n.delete())
	return group
}
