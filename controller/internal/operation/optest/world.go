package optest

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"github.com/stretchr/testify/require"

	v1 "github.com/coloa-cloud/coloa/api/v1"
	"github.com/coloa-cloud/coloa/controller/internal/operation"
	"github.com/coloa-cloud/coloa/controller/internal/state"
)

// T is what *testing.T and *rapid.T have in common.
type T interface {
	require.TestingT
	Helper()
	Logf(format string, args ...any)
}

// World is a cloud with one operation of interest at a time.
type World struct {
	T
	Store       *state.Store
	Hosts       []*Host
	Definitions map[v1.OperationType]operation.Definition
	Now         time.Time

	// Refuse (may be nil) makes the state refuse an entry of the engine, which is not written then.
	Refuse func(*state.Txn) *v1.Problem
	// Written (may be nil) is told of each entry that was applied.
	Written func(*state.Txn)
	// Strict looks closely: entries are encoded and decoded on their way, as raft does it, each decision of the engine is taken twice and must be pure, and is proposed twice: nothing may come of the
	// second time.
	Strict bool

	index   uint64
	ids     int
	decided int
	since   map[string]standing
}

// standing is what the engine remembers of an operation.
type standing struct {
	at    string
	since time.Time
}

// New makes a world with a host for each name, nothing else.
func New(t T, definitions map[v1.OperationType]operation.Definition, hosts ...*v1.Host) *World {
	w := &World{T: t, Store: state.New(), Definitions: definitions, Now: time.Date(2025, 6, 7, 8, 9, 10, 0, time.UTC), since: map[string]standing{}}
	for _, host := range hosts {
		w.Hosts = append(w.Hosts, &Host{
			ID: host.ID, world: w, Images: map[string]bool{}, Volumes: map[string]*Disk{}, Machines: map[string]*Machine{}, Logs: map[string]bool{},
			tasks: map[string]*given{}, unsent: map[string]bool{},
		})
		w.Must(func(_ *state.Snapshot, txn *state.Txn) { txn.Create(host, "") })
	}
	return w
}

// ID makes the next identifier.
func (w *World) ID() string {
	w.ids++
	return fmt.Sprintf("01890a5d-ac96-774b-bcce-%012x", w.ids)
}

// Violated reports that a rule of the hosts was broken.
func (w *World) Violated(format string, args ...any) {
	w.Helper()
	w.Errorf(format, args...)
	w.FailNow()
}

// Apply writes an entry under the next index.
func (w *World) Apply(txn *state.Txn) error {
	w.Helper()
	if w.Strict {
		data, err := txn.Encode()
		require.NoError(w, err)
		txn, err = state.DecodeTxn(data)
		require.NoError(w, err)
	}
	w.index++
	w.Now = w.Now.Add(time.Millisecond)
	if err := w.Store.Apply(w.index, txn); err != nil {
		return err
	}
	if w.Written != nil {
		w.Written(txn)
	}
	return nil
}

// Must writes an entry that is right.
func (w *World) Must(fill func(*state.Snapshot, *state.Txn)) {
	w.Helper()
	txn := state.NewTxn(w.Now, "tester")
	fill(w.Store.Snapshot(), txn)
	require.NoError(w, w.Apply(txn))
}

// Begin writes an entry that begins an operation, and returns its id.
func (w *World) Begin(fill func(s *state.Snapshot, txn *state.Txn, id string)) string {
	w.Helper()
	id := w.ID()
	w.Must(func(s *state.Snapshot, txn *state.Txn) { fill(s, txn, id) })
	require.NotNil(w, w.Operation(id))
	return id
}

// Operation as it is now.
func (w *World) Operation(id string) *v1.Operation { return w.Store.Snapshot().Operation(id) }

// Status of an operation now.
func (w *World) Status(id string) v1.OperationStatus { return w.Operation(id).Status }

// Steer asks something of an operation.
func (w *World) Steer(id, action string) error {
	s := w.Store.Snapshot()
	stored := s.Operation(id)
	txn := state.NewTxn(w.Now, "tester")
	if err := operation.Steer(w.Definitions[stored.Spec.Type], s, txn, stored, action); err != nil || txn.Empty() {
		return err
	}
	return w.Apply(txn)
}

// Advance lets the engine look at an operation once, as a lane does. It returns whether it wrote something, and otherwise after which time to look again.
func (w *World) Advance(id string) (wrote bool, wake time.Duration) {
	w.Helper()
	s := w.Store.Snapshot()
	stored := s.Operation(id)
	if stored == nil || stored.Status.State.Finished() || stored.Status.State == v1.OperationNeedsAttention {
		return false, 0
	}
	definition := w.Definitions[stored.Spec.Type]
	txn, wake := w.decide(definition, s, stored)
	if txn == nil {
		return false, wake
	}
	if w.Refuse != nil {
		if problem := w.Refuse(txn); problem != nil {
			txn = operation.Refused(definition, s, id, w.Now, problem)
			require.NotNil(w, txn)
		}
	}
	err := w.Apply(txn)
	if err != nil {
		require.NotErrorIs(w, err, state.ErrConflict, "nobody else is here")
		txn = operation.Refused(definition, s, id, w.Now, v1.AsProblem(err))
		require.NotNil(w, txn)
		require.NoError(w, w.Apply(txn))
	}
	if w.Strict {
		require.ErrorIs(w, w.Apply(txn), state.ErrConflict, "an entry was taken twice")
	}
	return true, 0
}

// decide asks Advance. Strict sees to it that it is pure: it says the same twice, and changes nothing that it was given.
func (w *World) decide(definition operation.Definition, s *state.Snapshot, stored *v1.Operation) (*state.Txn, time.Duration) {
	w.Helper()
	at := fmt.Sprint(stored.Status.State, stored.Status.Current)
	if current := stored.Status.Current; current < len(stored.Status.Steps) {
		at += string(stored.Status.Steps[current].State)
	}
	if w.since[stored.ID].at != at {
		w.since[stored.ID] = standing{at, w.Now}
	}
	elapsed := w.Now.Sub(w.since[stored.ID].since)
	if !w.Strict {
		return operation.Advance(definition, s, stored.ID, w.Now, elapsed)
	}
	before := ""
	if w.decided++; w.decided%4 == 0 { // it takes a while
		before = w.Hash()
	}
	txn, wake := operation.Advance(definition, s, stored.ID, w.Now, elapsed)
	again, wakeAgain := operation.Advance(definition, s, stored.ID, w.Now, elapsed)
	if before != "" {
		require.Equal(w, before, w.Hash(), "deciding has changed the state")
	}
	require.Equal(w, wake, wakeAgain)
	require.Equal(w, encoded(w, txn), encoded(w, again), "deciding twice on the same state says two things")
	return txn, wake
}

func encoded(t T, txn *state.Txn) string {
	if txn == nil {
		return ""
	}
	data, err := txn.Encode()
	require.NoError(t, err)
	return string(data)
}

// Hash of what is stored, without the applied index.
func (w *World) Hash() string {
	var buffer bytes.Buffer
	require.NoError(w, w.Store.Snapshot().Write(&buffer))
	_, body, _ := bytes.Cut(buffer.Bytes(), []byte("\n"))
	return string(body)
}

// Crash forgets everything but the log: the state goes through a snapshot on the disk, and whoever leads next has waited for nothing yet.
func (w *World) Crash() {
	w.Helper()
	var buffer bytes.Buffer
	require.NoError(w, w.Store.Snapshot().Write(&buffer))
	w.Store = state.New()
	require.NoError(w, w.Store.Restore(&buffer))
	clear(w.since)
}

// Work lets every host do and say everything that it can now.
func (w *World) Work() (progress bool) {
	for _, host := range w.Hosts {
		if host.Silent {
			continue
		}
		progress = host.take() || progress
		for moves := host.Moves(); len(moves) > 0; moves = host.Moves() {
			host.Move(moves[0])
			host.take()
			progress = true
		}
	}
	return progress
}

// Sync has a host take its set as it is now.
func (w *World) Sync(host *Host) { host.take() }

// ErrEndless: an operation does not come to rest.
var ErrEndless = errors.New("the operation does not come to rest")

// Run goes on until nothing moves any more: the engine looks, hosts work, and time passes when somebody waits for it.
func (w *World) Run(id string) {
	w.Helper()
	for range 1000 {
		wrote, wake := w.Advance(id)
		if wrote || w.Work() {
			continue
		}
		if wake == 0 {
			return
		}
		w.Now = w.Now.Add(wake)
	}
	require.NoError(w, ErrEndless)
}

// report writes what a host says; twice, when the host says everything twice: the second time nothing may come of it.
func (w *World) report(h *Host, write func() bool) {
	w.Helper()
	write()
	if h.Twice {
		require.False(w, write(), "a report was taken twice")
	}
}

func (w *World) taskReport(h *Host, id string, status v1.TaskStatus) (taken bool) {
	task := w.Store.Snapshot().Task(id)
	if task == nil || task.Spec.Host != h.ID || status.Seq <= task.Status.Seq || task.Status.State != v1.TaskPending {
		return false
	}
	told := task.Clone()
	told.Status = status
	w.Must(func(_ *state.Snapshot, txn *state.Txn) { txn.Update(told, "") })
	return true
}

func (w *World) instanceReport(h *Host, id string, machine *Machine) (taken bool) {
	instance := w.Store.Snapshot().Instance(id)
	if instance == nil || instance.Spec.Host != h.ID || instance.Observed.State == machine.State {
		return false
	}
	seen := instance.Clone()
	seen.Observed = v1.InstanceObserved{Seq: h.nextSeq(), State: machine.State, Reason: machine.Reason, Message: machine.Told}
	w.Must(func(_ *state.Snapshot, txn *state.Txn) { txn.Update(seen, "") })
	return true
}

// SetSilent makes a host fall silent, or be heard again.
func (w *World) SetSilent(host *Host, silent bool) {
	host.Silent = silent
	w.Must(func(s *state.Snapshot, txn *state.Txn) {
		changed := s.Host(host.ID).Clone()
		changed.Status.Phase = v1.HostReady
		if silent {
			changed.Status.Phase = v1.HostSilent
		}
		txn.Update(changed, "")
	})
}
