package worker

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/coloa-cloud/coloa/agent/hypervisor"
	"github.com/coloa-cloud/coloa/agent/hypervisor/fake"
	"github.com/coloa-cloud/coloa/agent/internal/ledger"
	"github.com/coloa-cloud/coloa/api/hostv1"
	v1 "github.com/coloa-cloud/coloa/api/v1"
	"github.com/coloa-cloud/coloa/storage"
	"github.com/coloa-cloud/coloa/storage/mem"
)

const (
	cluster = "cluster-1"
	hostID  = "host-1"
)

func newID() string { return uuid.Must(uuid.NewV7()).String() }

// witness is the hypervisor as the worker sees it, with somebody who counts how often each machine boots, and who can end the worker in the middle of
// a call, as a crash of the agent would.
type witness struct {
	hypervisor.Hypervisor
	mutex sync.Mutex
	boots map[string]int
	calls int
	// crash is asked before and after each call of a runner; true: the worker dies here.
	crash func(call int, after bool) bool
	kill  func() // cancels the worker
}

func (w *witness) around(effect func() error) error {
	w.mutex.Lock()
	w.calls++
	call, crash := w.calls, w.crash
	w.mutex.Unlock()
	if crash != nil && crash(call, false) {
		w.die()
	}
	err := effect()
	if crash != nil && crash(call, true) {
		w.die()
	}
	return err
}

// die ends the goroutine as it is: nothing that it would have done next is done.
func (w *witness) die() {
	w.mutex.Lock()
	w.crash = nil
	w.mutex.Unlock()
	w.kill()
	runtime.Goexit()
}

func (w *witness) Get(ctx context.Context, id string) (seen hypervisor.Observation, err error) {
	err = w.around(func() error { seen, err = w.Hypervisor.Get(ctx, id); return err })
	return seen, err
}

func (w *witness) Define(ctx context.Context, machine hypervisor.Machine) error {
	return w.around(func() error { return w.Hypervisor.Define(ctx, machine) })
}

func (w *witness) Start(ctx context.Context, id string) error {
	return w.around(func() error {
		before, _ := w.Hypervisor.Get(ctx, id)
		err := w.Hypervisor.Start(ctx, id)
		if after, _ := w.Hypervisor.Get(ctx, id); before.State == hypervisor.StateDefined && after.State == hypervisor.StateRunning {
			w.mutex.Lock()
			w.boots[id]++
			w.mutex.Unlock()
		}
		return err
	})
}

func (w *witness) Shutdown(ctx context.Context, id string) error {
	return w.around(func() error { return w.Hypervisor.Shutdown(ctx, id) })
}

func (w *witness) Kill(ctx context.Context, id string) error {
	return w.around(func() error { return w.Hypervisor.Kill(ctx, id) })
}

func (w *witness) Remove(ctx context.Context, id string) error {
	return w.around(func() error { return w.Hypervisor.Remove(ctx, id) })
}

func (w *witness) Resume(ctx context.Context, id string) error {
	return w.around(func() error { return w.Hypervisor.Resume(ctx, id) })
}

// scene is a host with a ledger, a hypervisor and a pool; its worker can die and come back.
type scene struct {
	t          *testing.T
	host       *fake.Host
	pool       *mem.Driver
	ledger     *ledger.Ledger
	witness    *witness
	bootID     string
	seedFolder string
	generation uint64
	wanted     map[string]hostv1.Assignment

	worker *Worker
	end    context.CancelFunc
	ended  chan struct{}
}

func newScene(t *testing.T, options fake.Options) *scene {
	host := fake.NewHost(options)
	scene := &scene{
		t: t, host: host, pool: mem.New(mem.Options{}), ledger: ledger.OpenMemory(cluster, hostID), bootID: boot, wanted: map[string]hostv1.Assignment{},
		witness: &witness{Hypervisor: host.Open(cluster), boots: map[string]int{}},
	}
	require.NoError(t, scene.ledger.Registered(hostv1.RegisterResponse{Cluster: cluster, Epoch: 1}))
	return scene
}

// assignment makes an Instance with one disk that exists.
func (s *scene) assignment(desired v1.DesiredState) hostv1.Assignment {
	volume := newID()
	_, err := s.pool.CreateVolume(s.t.Context(), volume, 1<<30, storage.VolumeSource{})
	require.NoError(s.t, err)
	return hostv1.Assignment{
		ID: newID(), Project: newID(), Desired: v1.InstanceDesired{State: desired},
		Spec: v1.InstanceSpec{
			VM: newID(), Host: hostID, Title: "portal-1", VCPUs: 1, MemoryMiB: 64,
			Disks: []v1.InstanceDisk{{Volume: volume, Driver: "mem", Throttle: v1.Throttle{ReadIOPS: 5, WriteMiBps: 2}}},
			NICs:  []v1.InstanceNIC{{MAC: "52:54:00:00:00:01", Kind: "user"}},
			Seed:  v1.Seed{InstanceID: newID(), Hostname: "portal-1", UserData: "#!/bin/sh\n"},
		},
	}
}

// give makes a set of all that is wanted, and has the worker look at what changed.
func (s *scene) give(assignments ...hostv1.Assignment) {
	for _, each := range assignments {
		s.wanted[each.ID] = each
	}
	s.generation++
	set := hostv1.Assignments{Cluster: cluster, Host: hostID, Epoch: 1, Generation: s.generation}
	for _, each := range s.wanted {
		if known, ok := s.ledger.Instance(each.ID); ok {
			each.Reported = known.Report.Seq
			s.wanted[each.ID] = each
		}
		set.Instances = append(set.Instances, each)
	}
	set.Digest = set.ComputeDigest()
	outcome, err := s.ledger.Accept(mustJSON(set))
	require.NoError(s.t, err)
	if s.worker != nil {
		for _, id := range outcome.Changed {
			s.worker.Wake(id)
		}
	}
}

func (s *scene) desire(id string, desired v1.InstanceDesired) {
	assignment := s.wanted[id]
	assignment.Desired = desired
	s.give(assignment)
}

func (s *scene) leaveOut(id string) {
	delete(s.wanted, id)
	s.give()
}

func (s *scene) start() {
	ctx, cancel := context.WithCancel(s.t.Context())
	s.end, s.ended = cancel, make(chan struct{})
	s.witness.kill = cancel
	s.worker = New(Options{
		Cluster: cluster, BootID: s.bootID, Ledger: s.ledger, Hypervisor: s.witness, Drivers: map[string]storage.Driver{"mem": s.pool},
		SeedFolder: s.seedFolder, Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	worker, ended := s.worker, s.ended
	go func() {
		defer close(ended)
		_ = worker.Run(ctx) // it has no errors
	}()
}

func (s *scene) stop() {
	s.end()
	<-s.ended
	s.worker = nil
}

// reboot is a power cut of the whole host: no guest is left, and nobody remembers how they ended.
func (s *scene) reboot(number int) {
	if s.worker != nil {
		s.stop()
	}
	list, err := s.witness.Hypervisor.List(s.t.Context())
	require.NoError(s.t, err)
	for _, each := range list {
		if each.State != hypervisor.StateDefined {
			require.NoError(s.t, s.host.CrashGuest(each.ID))
		}
	}
	s.host.Forget()
	s.bootID = fmt.Sprintf("boot-%d", number)
}

func (s *scene) report(id string) v1.InstanceObserved {
	record, ok := s.ledger.Instance(id)
	require.True(s.t, ok, "the ledger has forgotten the instance")
	return record.Report
}

func (s *scene) machines() int {
	list, err := s.witness.Hypervisor.List(s.t.Context())
	require.NoError(s.t, err)
	return len(list)
}

// within waits in virtual time.
func (s *scene) within(most time.Duration, condition func() bool) {
	s.t.Helper()
	for deadline := time.Now().Add(most); !condition(); time.Sleep(100 * time.Millisecond) {
		require.True(s.t, time.Now().Before(deadline), "it did not happen within %s", most)
	}
}

// deaf is a hypervisor whose events all get lost.
type deaf struct{ hypervisor.Hypervisor }

func (deaf) Events(ctx context.Context) (<-chan hypervisor.Event, error) {
	events := make(chan hypervisor.Event)
	go func() { <-ctx.Done(); close(events) }()
	return events, nil
}
