package operation_test

import (
	"context"
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
