package app

import (
	"context"
	"io"
	"net/url"
	"strconv"

	"github.com/coloa-cloud/coloa/api/hostv1"
	"github.com/coloa-cloud/coloa/api/httpapi"
	v1 "github.com/coloa-cloud/coloa/api/v1"
	"github.com/coloa-cloud/coloa/controller/internal/auth"
	"github.com/coloa-cloud/coloa/controller/internal/state"
)

// Log implements httpapi.Guests.
func (a *App) Log(ctx context.Context, caller httpapi.Caller, ref httpapi.Ref, tail int, follow bool) (io.ReadCloser, error) {
	_, host, err := a.guest(caller, ref, auth.Read)
	if err != nil {
		return nil, err
	}
	vm, err := find(a.Store.Snapshot(), caller, httpapi.Ref{Kind: v1.KindVM, ID: ref.ID, Project: ref.Project}, auth.Read)
	if err != nil {
		return nil, err
	}
	query := url.Values{}
	if tail > 0 {
		query.Set("tail", strconv.Itoa(tail))
	}
	if follow {
		query.Set("follow", "1")
	}
	return a.Agents.Get(ctx, host, hostv1.PathVMs+vm.ObjectMeta().ID+"/log?"+query.Encode())
}

// Console implements httpapi.Guests. Whoever types into a guest changes it: readers may not.
func (a *App) Console(ctx context.Context, caller httpapi.Caller, ref httpapi.Ref) (io.ReadWriteCloser, error) {
	instance, host, err := a.guest(caller, ref, auth.Write)
	if err != nil {
		return nil, err
	}
	if instance == nil || !instance.Live() || instance.Observed.State == v1.InstancePending {
		return nil, v1.NewProblem(v1.CodeWrongState, "the machine does not run").WithNext("Start it.")
	}
	return a.Agents.Dial(ctx, host, hostv1.PathInstances+instance.ID+"/console")
}

// guest finds where a VM is, or was last.
func (a *App) guest(caller httpapi.Caller, ref httpapi.Ref, verb auth.Verb) (*v1.Instance, *v1.Host, error) {
	s := a.Store.Snapshot()
	ref.Kind = v1.KindVM
	object, err := find(s, caller, ref, verb)
	if err != nil {
		return nil, nil, err
	}
	vm := object.(*v1.VM)
	instance := s.Instance(vm.Status.Instance)
	host := hostOf(s, vm, instance)
	if host == nil || host.Status.Address == "" {
		return nil, nil, v1.NewProblem(v1.CodeUnavailable, "the machine is on no host that can be asked")
	}
	if host.Status.Phase == v1.HostSilent {
		return nil, nil, v1.NewProblem(v1.CodeUnavailable, "the machine's host does not answer").WithNext("Try again later.")
	}
	return instance, host, nil
}

func hostOf(s *state.Snapshot, vm *v1.VM, instance *v1.Instance) *v1.Host {
	if instance != nil {
		return s.Host(instance.Spec.Host)
	}
	if root := s.Volume(vm.Status.RootVolume); root != nil {
		return s.Host(root.Status.Host)
	}
	return nil
}
