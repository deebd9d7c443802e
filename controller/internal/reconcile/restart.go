package reconcile

import (
	"context"
	"time"

	v1 "github.com/coloa-cloud/coloa/api/v1"
	"github.com/coloa-cloud/coloa/controller/internal/state"
)

// Restart starts VMs again that shall run and do not: after a crash, a reboot of their host, or a stop that nobody asked for.
type Restart struct {
	Loop
	// Start begins a vm.start operation for a VM, placed like one that a user asks for.
	Start func(ctx context.Context, vm string) error

	tried map[string]trial
}

// trial remembers how often a VM was started again in a row, so that one that crashes at once is not started in a frenzy.
type trial struct {
	count int
	last  time.Time
}

const (
	firstPause   = 1 * time.Second
	longestPause = 5 * time.Minute
	forgiveAfter = 10 * time.Minute // a machine that ran so long begins anew
)

// Run looks until ctx ends.
func (r *Restart) Run(ctx context.Context) error {
	r.tried = map[string]trial{}
	changes := r.Store.Subscribe(func(change state.Change) []string {
		switch change.Kind {
		case v1.KindInstance, v1.KindOperation, v1.KindHost:
			return []string{"look"}
		}
		return nil
	})
	defer changes.Close()
	return every(ctx, 5*time.Second, changes.Signal(), func() error {
		changes.Take()
		now := time.Now()
		for vm, t := range r.tried {
			if now.Sub(t.last) > forgiveAfter {
				delete(r.tried, vm)
			}
		}
		for _, vm := range StoppedAgainstWish(r.Store.Snapshot()) {
			t := r.tried[vm]
			if t.count > 0 && now.Sub(t.last) < min(firstPause<<min(t.count, 20), longestPause) {
				continue
			}
			r.tried[vm] = trial{t.count + 1, now}
			if err := r.Start(ctx, vm); err != nil {
				if code := v1.CodeOf(err); code == v1.CodeOutcomeUnknown {
					return err
				}
				r.Logger.Warn("a machine that shall run cannot be started", "vm", vm, "error", err)
			}
		}
		return nil
	})
}

// StoppedAgainstWish returns the VMs that shall run, whose last incarnation is over for a reason that their policy does not accept, and on which nothing works.
func StoppedAgainstWish(s *state.Snapshot) []string {
	var stopped []string
	for _, object := range s.List(v1.KindVM) {
		vm := object.(*v1.VM)
		if !vm.RunningWanted() || vm.Policy() == v1.RestartNever || s.OpenOperationOn(vm.ID) != nil {
			continue
		}
		instance := s.Instance(vm.Status.Instance)
		if instance == nil || instance.Live() {
			continue
		}
		if host := s.Host(instance.Spec.Host); host == nil || host.Status.Phase == v1.HostSilent {
			continue // its disk is there: it waits for its host
		}
		if instance.Observed.Reason == v1.StoppedByGuest && vm.Policy() == v1.RestartOnFailure {
			continue
		}
		stopped = append(stopped, vm.ID)
	}
	return stopped
}
