package operation_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	v1 "github.com/coloa-cloud/coloa/api/v1"
	"github.com/coloa-cloud/coloa/controller/internal/operation"
	"github.com/coloa-cloud/coloa/controller/internal/state"
)

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
