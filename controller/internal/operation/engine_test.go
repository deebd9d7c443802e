package operation_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	v1 "github.com/coloa-cloud/coloa/api/v1"
	"github.com/coloa-cloud/coloa/controller/internal/operation"
	"github.com/coloa-cloud/coloa/controller/internal/state"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// bench is an engine over a store, in virtual time. What its operations do is said by labels of their targets.
type bench struct {
	testing.TB
	store       *state.Store
	definitions map[v1.OperationType]operation.Definition
	host        *v1.Host

	mu       sync.Mutex
	index    uint64
	busy     map[string]bool // operations with an entry on its way
	proposed []time.Duration // since the beginning, of the engine's entries
	begun    time.Time
	meddle   func(*state.Txn) error // instead of writing; nil: write
	slow     time.Duration          // how long an entry takes
}

// Types of the bench's operations.
const (
	waits   = v1.OperationType("waits")   // for 30 seconds
	works   = v1.OperationType("works")   // gives the host a task
	fails   = v1.OperationType("fails")   // always; Forward
	greedy  = v1.OperationType("greedy")  // changes its target, which the state may refuse; undoing leaves a label
	watches = v1.OperationType("watches") // until its target, which wakes nobody, has the label "go"
	follows = v1.OperationType("follows") // until the Instance of its target runs
)

func newBench(t testing.TB) *bench {
	b := &bench{TB: t, store: state.New(), busy: map[string]bool{}, begun: time.Now()}
	label := func(c operation.Context, key string) func(*state.Txn) {
		return func(txn *state.Txn) {
			target := c.State.Project(c.Operation.Spec.Target.ID)
			copied := *target
			copied.Labels = map[string]string{key: "yes"}
			txn.Update(&copied, "")
		}
	}
	b.definitions = map[v1.OperationType]operation.Definition{
		waits: {Type: waits, Steps: []operation.Step{{Name: "wait", Do: func(c operation.Context) operation.Verdict {
			if c.Elapsed >= 30*time.Second {
				return operation.Finish(nil)
			}
			verdict := operation.Waiting("waits", nil)
			verdict.Wake = 30*time.Second - c.Elapsed
			return verdict
		}}}},
		works: {Type: works, Steps: []operation.Step{{Name: "work", Do: b.work}, {Name: "more", Do: b.work}}},
		fails: {Type: fails, Forward: true, Steps: []operation.Step{{Name: "fail", Do: func(operation.Context) operation.Verdict {
			return operation.Failed(v1.NewProblem(v1.CodeHostFailed, "no"), nil)
		}}}},
		greedy: {Type: greedy, Steps: []operation.Step{
			{Name: "reserve", Undo: func(c operation.Context) operation.Verdict { return operation.Finish(label(c, "undone")) }},
			{Name: "take", Do: func(c operation.Context) operation.Verdict { return operation.Finish(label(c, "done")) }},
		}},
		watches: {Type: watches, Steps: []operation.Step{{Name: "watch", Do: func(c operation.Context) operation.Verdict {
			if c.State.Project(c.Operation.Spec.Target.ID).Labels["go"] != "" {
				return operation.Finish(nil)
			}
			return operation.Waiting("watches", nil)
		}}}},
		follows: {Type: follows, Steps: []operation.Step{{Name: "follow", Do: func(c operation.Context) operation.Verdict {
			if list := c.State.InstancesOf(c.Operation.Spec.Target.ID); len(list) > 0 && list[0].Observed.State == v1.InstanceRunning {
				return operation.Finish(nil)
			}
			return operation.Waiting("follows", nil)
		}}}},
	}
	b.host = &v1.Host{
		Meta: v1.Meta{ID: uuid.NewString(), Name: "host-1"}, Spec: v1.HostSpec{SecurityLevel: 1, CPUOvercommit: 1, StorageOvercommit: 1},
		Status: v1.HostStatus{Phase: v1.HostReady, Inventory: v1.Inventory{CPUs: 4, MemoryMiB: 4096}},
	}
	b.write(func(txn *state.Txn) { txn.Create(b.host, "") })
	return b
}

func (b *bench) work(c operation.Context) operation.Verdict {
	id := uuid.NewSHA1(uuid.MustParse(c.Operation.ID), []byte(c.Step.Name)).String()
	task := c.State.Task(id)
	switch {
	case task == nil:
		return operation.Waiting("works", func(txn *state.Txn) {
			txn.Create(&v1.Task{
				Meta: v1.Meta{ID: id, Name: "t-" + v1.Short(id), Project: c.Operation.Project},
				Spec: v1.TaskSpec{Operation: c.Operation.ID, Step: c.Step.Name, Host: b.host.ID}, Status: v1.TaskStatus{State: v1.TaskPending},
			}, "")
		})
	case task.Status.State == v1.TaskDone:
		return operation.Finish(func(txn *state.Txn) { txn.Delete(task, "") })
	}
	return operation.Waiting("works", nil)
}

func (b *bench) apply(txn *state.Txn) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	data, err := txn.Encode()
	require.NoError(b, err)
	decoded, err := state.DecodeTxn(data)
	require.NoError(b, err)
	b.index++
	return b.store.Apply(b.index, decoded)
}

func (b *bench) write(fill func(*state.Txn)) {
	b.Helper()
	txn := state.NewTxn(time.Now(), "tester")
	fill(txn)
	require.NoError(b, b.apply(txn))
}

// propose is the engine's way to the log. One operation has never two entries on their way.
func (b *bench) propose(ctx context.Context, txn *state.Txn) error {
	b.mu.Lock()
	if b.busy[txn.Operation] {
		b.Error("two entries of one operation are on their way")
	}
	b.busy[txn.Operation] = true
	b.proposed = append(b.proposed, time.Since(b.begun))
	meddle, slow := b.meddle, b.slow
	b.mu.Unlock()
	defer func() {
		b.mu.Lock()
		delete(b.busy, txn.Operation)
		b.mu.Unlock()
	}()
	if slow > 0 {
		select {
		case <-time.After(slow):
		case <-ctx.Done():
			return v1.NewProblem(v1.CodeOutcomeUnknown, "stopped waiting")
		}
	}
	if meddle != nil {
		if err := meddle(txn); err != nil {
			return err
		}
	}
	return b.apply(txn)
}

func (b *bench) entries() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.proposed)
}

// begin makes an operation of a type on a new target.
func (b *bench) begin(operationType v1.OperationType) string {
	b.Helper()
	id := uuid.NewString()
	project := &v1.Project{Meta: v1.Meta{ID: uuid.NewString(), Name: "p-" + uuid.NewString()[:8]}}
	var steps []string
	for _, step := range b.definitions[operationType].Steps {
		steps = append(steps, step.Name)
	}
	b.write(func(txn *state.Txn) {
		txn.Create(project, "")
		txn.Create(operation.New(id, operationType, project, "an", nil, steps...), "")
	})
	return id
}

// run starts an engine; end stops it and returns what Run said.
func (b *bench) run() (end func() error) {
	ctx, cancel := context.WithCancel(context.Background())
	result := make(chan error, 1)
	engine := &operation.Engine{Store: b.store, Propose: b.propose, Definitions: b.definitions, Logger: slog.New(slog.DiscardHandler)}
	go func() { result <- engine.Run(ctx) }()
	return func() error { cancel(); return <-result }
}

func (b *bench) status(id string) v1.OperationStatus { return b.store.Snapshot().Operation(id).Status }

// after lets time pass, and everything come to rest.
func after(d time.Duration) { time.Sleep(d); synctest.Wait() }

// virtually runs a test in virtual time. That it ends means that no goroutine is left.
func virtually(t *testing.T, test func(b *bench)) {
	synctest.Test(t, func(t *testing.T) { test(newBench(t)) })
}

func TestEngineWakesInTime(t *testing.T) {
	virtually(t, func(b *bench) {
		id := b.begin(waits)
		end := b.run()
		after(30*time.Second - time.Millisecond)
		require.Equal(t, v1.OperationRunning, b.status(id).State)
		require.Equal(t, "waits", b.status(id).Message)
		require.Equal(t, 1, b.entries(), "looking costs nothing")
		after(2 * time.Millisecond)
		require.Equal(t, v1.OperationSucceeded, b.status(id).State)
		require.NoError(t, end())
	})
}

// TestEngineResumes: the next leader goes on where the last one was, and waits anew: it cannot know how long the last one has.
func TestEngineResumes(t *testing.T) {
	virtually(t, func(b *bench) {
		id, other := b.begin(waits), b.begin(works)
		end := b.run()
		after(20 * time.Second)
		require.NoError(t, end())
		require.Len(t, b.store.Snapshot().TasksOf(other), 1)
		end = b.run()
		after(29 * time.Second)
		require.Equal(t, v1.OperationRunning, b.status(id).State)
		after(2 * time.Second)
		require.Equal(t, v1.OperationSucceeded, b.status(id).State)
		require.Len(t, b.store.Snapshot().TasksOf(other), 1)
		require.NoError(t, end())
	})
}

func (b *bench) finishTasks() (count int) {
	for _, task := range b.store.Snapshot().TasksOn(b.host.ID) {
		if task.Status.State == v1.TaskPending {
			done := task.Clone()
			done.Status.State = v1.TaskDone
			b.write(func(txn *state.Txn) { txn.Update(done, "") })
			count++
		}
	}
	return count
}

func TestEngineHearsOfTasksAtOnce(t *testing.T) {
	virtually(t, func(b *bench) {
		end := b.run()
		synctest.Wait()
		id := b.begin(works)
		for range 2 {
			after(0)
			require.Equal(t, 1, b.finishTasks())
		}
		after(0)
		require.Equal(t, v1.OperationSucceeded, b.status(id).State)
		require.Zero(t, time.Since(b.begun))
		require.NoError(t, end())
	})
}

func TestEngineHearsOfInstances(t *testing.T) {
	virtually(t, func(b *bench) {
		project := &v1.Project{Meta: v1.Meta{ID: uuid.NewString(), Name: "demo"}}
		flavor := &v1.Flavor{Meta: v1.Meta{ID: uuid.NewString(), Name: "small"}, Spec: v1.FlavorSpec{VCPUs: 1, MemoryMiB: 512, DiskGiB: 1}}
		vm := &v1.VM{Meta: v1.Meta{ID: uuid.NewString(), Name: "web", Project: project.ID}, Spec: v1.VMSpec{Flavor: "small", Image: "tiny"}, Status: v1.VMStatus{FlavorID: flavor.ID}}
		instance := &v1.Instance{
			Meta: v1.Meta{ID: uuid.NewString(), Name: "i-1", Project: project.ID}, Spec: v1.InstanceSpec{VM: vm.ID, Host: b.host.ID, VCPUs: 1, MemoryMiB: 512},
			Desired: v1.InstanceDesired{State: v1.DesiredRunning}, Observed: v1.InstanceObserved{State: v1.InstancePending},
		}
		id := uuid.NewString()
		b.write(func(txn *state.Txn) {
			for _, object := range []v1.Object{project, flavor, vm, instance, operation.New(id, follows, vm, "an", nil, "follow")} {
				txn.Create(object, "")
			}
		})
		end := b.run()
		after(time.Second)
		require.Equal(t, "follows", b.status(id).Message)
		runs := b.store.Snapshot().Instance(instance.ID).Clone()
		runs.Observed.State = v1.InstanceRunning
		b.write(func(txn *state.Txn) { txn.Update(runs, "") })
		after(0)
		require.Equal(t, v1.OperationSucceeded, b.status(id).State)
		require.NoError(t, end())
	})
}

// TestEngineSweeps: what it is not told of it finds within five seconds.
func TestEngineSweeps(t *testing.T) {
	virtually(t, func(b *bench) {
		id := b.begin(watches)
		end := b.run()
		after(time.Second)
		target := *b.store.Snapshot().Project(b.store.Snapshot().Operation(id).Spec.Target.ID)
		target.Labels = map[string]string{"go": "yes"}
		b.write(func(txn *state.Txn) { txn.Update(&target, "") })
		after(time.Second)
		require.Equal(t, v1.OperationRunning, b.status(id).State)
		after(5 * time.Second)
		require.Equal(t, v1.OperationSucceeded, b.status(id).State)
		require.NoError(t, end())
	})
}

func TestEngineBacksOff(t *testing.T) {
	virtually(t, func(b *bench) {
		id := b.begin(fails)
		end := b.run()
		after(time.Hour)
		seconds := func() (list []int) {
			for _, at := range b.proposed {
				list = append(list, int(at.Round(time.Second)/time.Second))
			}
			return list
		}
		require.Equal(t, []int{0, 2, 6, 14, 30}, seconds())
		require.Equal(t, v1.OperationNeedsAttention, b.status(id).State)
		require.Equal(t, operation.MaxAttempts, b.status(id).Steps[0].Attempts)
		txn := state.NewTxn(time.Now(), "operator")
		s := b.store.Snapshot()
		require.NoError(t, operation.Steer(b.definitions[fails], s, txn, s.Operation(id), operation.ActionRetry))
		require.NoError(t, b.apply(txn))
		after(time.Hour)
		require.Equal(t, []int{3600, 3632, 3664, 3696, 3728}, seconds()[5:])
		require.Equal(t, v1.OperationNeedsAttention, b.status(id).State)
		require.NoError(t, end())
	})
}

// TestEngineEndsWithItsTerm: when proposing has become impossible, Run says so, and all its goroutines end, also those that wait for an entry.
func TestEngineEndsWithItsTerm(t *testing.T) {
	for _, code := range []v1.Code{v1.CodeUnavailable, v1.CodeOutcomeUnknown} {
		virtually(t, func(b *bench) {
			for range 100 {
				b.begin(works)
			}
			b.slow = time.Second
			lost := v1.NewProblem(code, "the leader was lost")
			b.meddle = func(*state.Txn) error {
				if b.entries() > 60 {
					return lost
				}
				return nil
			}
			ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
			defer cancel()
			engine := &operation.Engine{Store: b.store, Propose: b.propose, Definitions: b.definitions, Logger: slog.New(slog.DiscardHandler)}
			require.ErrorIs(t, engine.Run(ctx), lost)
			require.NoError(t, ctx.Err())
		})
	}
}

func TestEngineTriesAgainAfterConflicts(t *testing.T) {
	virtually(t, func(b *bench) {
		id := b.begin(greedy)
		left := 5
		b.meddle = func(*state.Txn) error {
			if left--; left >= 0 {
				return fmt.Errorf("somebody else: %w", state.ErrConflict)
			}
			return nil
		}
		end := b.run()
		after(0)
		require.Equal(t, v1.OperationSucceeded, b.status(id).State)
		require.Equal(t, 6, b.entries())
		require.NoError(t, end())
	})
}

// TestEngineDoesNotRace: nothing that goes wrong for ever makes it fill the log.
func TestEngineDoesNotRace(t *testing.T) {
	for name, err := range map[string]error{
		"conflicts": state.ErrConflict,
		"refusals":  v1.NewProblem(v1.CodeTooLarge, "the entry is too large"),
		"strange":   errors.New("what nobody has thought of"),
	} {
		t.Run(name, func(t *testing.T) {
			virtually(t, func(b *bench) {
				id := b.begin(greedy)
				b.meddle = func(*state.Txn) error { return err }
				end := b.run()
				after(time.Minute)
				require.Less(t, b.entries(), 61*17)
				b.mu.Lock()
				b.meddle = nil
				b.mu.Unlock()
				after(2 * time.Minute)
				require.Equal(t, v1.OperationSucceeded, b.status(id).State)
				require.NoError(t, end())
			})
		})
	}
}

// TestEngineTakesARefusal: the step that wanted it fails with the state's reason, and what was done is undone.
func TestEngineTakesARefusal(t *testing.T) {
	virtually(t, func(b *bench) {
		id := b.begin(greedy)
		full := v1.NewProblem(v1.CodeNoCapacity, "the host is full")
		refused := 0
		b.meddle = func(txn *state.Txn) error {
			if len(txn.Ops) > 1 && refused < 3 {
				refused++
				return full
			}
			return nil
		}
		end := b.run()
		after(time.Minute)
		status := b.status(id)
		require.Equal(t, v1.OperationFailed, status.State)
		require.Equal(t, v1.CodeNoCapacity, status.Error.Code)
		require.Equal(t, v1.StepUndone, status.Steps[0].State)
		require.Equal(t, 2, status.Steps[0].Attempts, "undoing was refused twice")
		require.Equal(t, v1.CodeNoCapacity, status.Steps[1].Error.Code, "the step that wanted it is blamed")
		require.Equal(t, "yes", b.store.Snapshot().Project(b.store.Snapshot().Operation(id).Spec.Target.ID).Labels["undone"])
		require.NoError(t, end())
	})
}

// TestEngineAdvancesMany at once, each in order, though every entry takes its time.
func TestEngineAdvancesMany(t *testing.T) {
	virtually(t, func(b *bench) {
		b.slow = 10 * time.Millisecond
		end := b.run()
		var ids []string
		for range 300 {
			ids = append(ids, b.begin(works))
		}
		for range 100 {
			after(50 * time.Millisecond)
			b.finishTasks()
		}
		for _, id := range ids {
			require.Equal(t, v1.OperationSucceeded, b.status(id).State)
		}
		require.Empty(t, b.store.Snapshot().List(v1.KindTask))
		require.Less(t, time.Since(b.begun), 10*time.Second)
		require.NoError(t, end())
	})
}

// TestEngineLeavesStrangersAlone: a type that this version does not know is left to one that does; a step that it does not know fails.
func TestEngineLeavesStrangersAlone(t *testing.T) {
	virtually(t, func(b *bench) {
		future, past := b.begin(waits), b.begin(greedy)
		b.definitions[greedy] = operation.Definition{Type: greedy, Steps: b.definitions[greedy].Steps[:1]}
		delete(b.definitions, waits)
		end := b.run()
		after(time.Minute)
		require.Equal(t, v1.OperationRunning, b.status(future).State)
		require.Equal(t, v1.OperationFailed, b.status(past).State)
		require.Contains(t, b.status(past).Error.Detail, `does not know the step "take"`)
		require.Less(t, b.entries(), 10)
		require.NoError(t, end())
	})
}

// TestEngineHearsOfNewOperationsAfterARestore: a controller that leads may still be given a whole snapshot.
func TestEngineHearsOfNewOperationsAfterARestore(t *testing.T) {
	virtually(t, func(b *bench) {
		other := newBench(t)
		id := other.begin(greedy)
		end := b.run()
		after(time.Second)
		var snapshot bytes.Buffer
		require.NoError(t, other.store.Snapshot().Write(&snapshot))
		b.index = other.index
		require.NoError(t, b.store.Restore(&snapshot))
		after(0)
		require.Equal(t, v1.OperationSucceeded, b.status(id).State)
		require.NoError(t, end())
	})
}
