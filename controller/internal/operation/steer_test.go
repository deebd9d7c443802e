package operation_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	v1 "github.com/coloa-cloud/coloa/api/v1"
	"github.com/coloa-cloud/coloa/controller/internal/operation"
	"github.com/coloa-cloud/coloa/controller/internal/state"
)

// TestSteer: what may be asked in which state, and what becomes of it. "-" is a refusal, "" means that nothing is to be done.
func TestSteer(t *testing.T) {
	const refused, nothing = v1.OperationState("-"), v1.OperationState("")
	type row struct{ cancel, retry, abandon v1.OperationState }
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		for _, forward := range []bool{false, true} {
			again, cancelled := v1.OperationUndoing, v1.OperationRunning
			if forward {
				again, cancelled = v1.OperationRunning, refused
			}
			for from, want := range map[v1.OperationState]row{
				v1.OperationRunning:        {cancelled, refused, refused},
				v1.OperationUndoing:        {refused, refused, refused},
				v1.OperationNeedsAttention: {refused, again, v1.OperationAbandoned},
				v1.OperationSucceeded:      {nothing, refused, refused},
				v1.OperationFailed:         {nothing, refused, refused},
				v1.OperationCancelled:      {nothing, refused, refused},
				v1.OperationAbandoned:      {nothing, refused, refused},
			} {
				for action, result := range map[string]v1.OperationState{operation.ActionCancel: want.cancel, operation.ActionRetry: want.retry, operation.ActionAbandon: want.abandon} {
					id := b.begin(works)
					stored := b.store.Snapshot().Operation(id).Clone()
					stored.Status.State, stored.Status.Message, stored.Status.Error = from, "as it was", v1.NewProblem(v1.CodeHostFailed, "why")
					task := &v1.Task{
						Meta: v1.Meta{ID: id[:35] + "0", Name: "t-1", Project: stored.Project},
						Spec: v1.TaskSpec{Operation: id, Host: b.host.ID}, Status: v1.TaskStatus{State: v1.TaskPending},
					}
					b.write(func(txn *state.Txn) { txn.Update(stored, "").Create(task, "") })

					s := b.store.Snapshot()
					before := *s.Operation(id)
					txn := state.NewTxn(time.Now(), "operator")
					err := operation.Steer(operation.Definition{Forward: forward}, s, txn, s.Operation(id), action)
					require.Equal(t, before, *s.Operation(id), "it was changed in place")
					if result == refused {
						require.Equal(t, v1.CodeWrongState, v1.CodeOf(err), "%s %s", action, from)
						require.NotEmpty(t, v1.AsProblem(err).Next)
					} else {
						require.NoError(t, err, "%s %s", action, from)
					}
					if result == refused || result == nothing {
						require.True(t, txn.Empty())
						continue
					}
					require.NoError(t, b.apply(txn))
					status := b.status(id)
					require.Equal(t, result, status.State, "%s %s", action, from)
					require.Equal(t, action == operation.ActionCancel, status.CancelRequested)
					require.Equal(t, action == operation.ActionAbandon, status.FinishedAt != nil)
					require.Equal(t, action == operation.ActionAbandon, b.store.Snapshot().Task(task.ID) == nil)
					require.Equal(t, action == operation.ActionCancel, status.Message == "as it was", "what is not true any more is not said any more")
					require.Equal(t, action == operation.ActionRetry && forward, status.Error == nil)
				}
			}
		}
		id := b.begin(works)
		s := b.store.Snapshot()
		txn := state.NewTxn(time.Now(), "operator")
		require.Equal(t, v1.CodeNotFound, v1.CodeOf(operation.Steer(b.definitions[works], s, txn, s.Operation(id), "dance")))
		require.True(t, txn.Empty())
	})
}
