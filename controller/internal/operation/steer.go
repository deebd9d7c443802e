package operation

import (
	v1 "github.com/coloa-cloud/coloa/api/v1"
	"github.com/coloa-cloud/coloa/controller/internal/state"
)

// What people may ask of an operation.
const (
	ActionCancel  = "cancel"  // stop, and undo what was done; not for Forward operations
	ActionRetry   = "retry"   // one that needs attention is tried again
	ActionAbandon = "abandon" // one that needs attention is given up; something may be left behind
)

// Steer puts into the entry what an action makes of an operation (as it was read; it is not changed). The entry stays as it was when there is nothing to do. Errors: CodeWrongState, and CodeNotFound
// for an unknown action.
func Steer(definition Definition, snapshot *state.Snapshot, txn *state.Txn, stored *v1.Operation, action string) error {
	operation := stored.Clone()
	status := &operation.Status
	wrong := func(next string) error {
		return v1.NewProblem(v1.CodeWrongState, "the operation is %s", status.State).WithNext("%s", next)
	}
	switch action {
	case ActionCancel:
		switch {
		case status.State.Finished() || status.CancelRequested:
			return nil
		case definition.Forward:
			return v1.NewProblem(v1.CodeWrongState, "a %s cannot be cancelled once it has begun", operation.Spec.Type).WithNext("Wait until it is finished.")
		case status.State != v1.OperationRunning:
			return wrong("Wait until it is finished, retry it, or abandon it.")
		}
		status.CancelRequested = true
	case ActionRetry:
		if status.State != v1.OperationNeedsAttention {
			return wrong("Only an operation that needs attention is tried again.")
		}
		status.State, status.Message = v1.OperationUndoing, ""
		if definition.Forward {
			status.State, status.Error = v1.OperationRunning, nil
		}
	case ActionAbandon:
		if status.State != v1.OperationNeedsAttention {
			return wrong("Only an operation that needs attention can be abandoned.")
		}
		at := txn.Time
		status.State, status.FinishedAt, status.Message = v1.OperationAbandoned, &at, "given up; something may be left behind"
		for _, task := range snapshot.TasksOf(operation.ID) {
			txn.Delete(task, "")
		}
	default:
		return v1.NewProblem(v1.CodeNotFound, "operations know no action %q", action)
	}
	txn.Update(operation, action+" asked for")
	return nil
}
