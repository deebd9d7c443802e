package app

import (
	"context"
	"fmt"

	"github.com/coloa-cloud/coloa/api/httpapi"
	v1 "github.com/coloa-cloud/coloa/api/v1"
	"github.com/coloa-cloud/coloa/controller/internal/auth"
)

// ClusterStatus implements httpapi.Clusters.
func (a *App) ClusterStatus(_ context.Context, caller httpapi.Caller) (v1.ClusterStatus, error) {
	if !auth.Platform(caller.User) {
		return v1.ClusterStatus{}, v1.NewProblem(v1.CodeDenied, "only users of the platform see how the cloud is").WithNext("Ask the operators.")
	}
	s := a.Store.Snapshot()
	status := v1.ClusterStatus{Version: a.Version, Healthy: true, Counts: map[v1.Kind]int{}}
	trouble := func(format string, args ...any) {
		status.Healthy = false
		status.Problems = append(status.Problems, fmt.Sprintf(format, args...))
	}
	if cluster := s.Cluster(); cluster != nil {
		status.ID, status.Name = cluster.ID, cluster.Name
	}
	leader, _, ok := a.Node.Leader()
	status.Leader = leader
	if !ok {
		trouble("no controller leads")
	}
	for _, member := range a.Node.Members() {
		shown := v1.MemberStatus{ID: member.ID, Address: member.Address, Leader: member.ID == leader, Voter: true}
		if member.ID == a.Node.ID() {
			shown.Applied = s.Index()
		}
		status.Members = append(status.Members, shown)
	}
	for _, host := range s.Hosts() {
		summary := v1.HostSummary{ID: host.ID, Name: host.Name, Phase: host.Show(v1.Related{}).Status.Phase, Usage: s.HostUsage(host.ID), Limit: host.Limits()}
		for _, instance := range s.InstancesOn(host.ID) {
			if instance.Observed.State == v1.InstanceRunning {
				summary.VMs++
			}
		}
		if host.Status.Phase == v1.HostSilent {
			trouble("the host %s has not been heard since %s", host.Name, host.Status.Since.Format("2006-01-02 15:04:05Z"))
		}
		status.Hosts = append(status.Hosts, summary)
	}
	if len(status.Hosts) == 0 {
		trouble("there is no host")
	}
	for _, operation := range s.OpenOperations() {
		if operation.Status.State == v1.OperationNeedsAttention {
			trouble("the operation %s (%s %s) needs attention: %s", operation.ID, operation.Spec.Type, operation.Spec.Target.Name, operation.Status.Message)
		}
	}
	for _, definition := range v1.Kinds {
		if definition.Kind != v1.KindReceipt && definition.Kind != v1.KindCluster {
			status.Counts[definition.Kind] = s.Count(definition.Kind)
		}
	}
	return status, nil
}
