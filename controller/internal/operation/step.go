package operation

import (
	"encoding/json"
	"time"

	v1 "github.com/coloa-cloud/coloa/api/v1"
	"github.com/coloa-cloud/coloa/controller/internal/state"
)

// Step is one step of an operation. Do and Undo are asked again and again, on each change of the state, until they say Done or Fail; they must be pure and say the same of
// the same state. A nil Do is done at once; a nil Undo has nothing to undo.
//
// The first step is begun by the entry that makes the operation, so its Undo takes back whatever that entry wrote beside the operation. Steps without a Do come first.
type Step struct {
	Name     string
	Do, Undo func(Context) Verdict
	// TooLate (may be nil) says that the step can no longer be called off: a cancel then waits for its outcome.
	TooLate func(Context) bool
}

// Definition is a type of operation.
type Definition struct {
	Type v1.OperationType
	// Steps gives all steps that an operation of this type may have; a new operation chooses among them (New).
	Steps []Step
	// Forward operations cannot be undone (deletions): a failed step is tried again, and then needs attention.
	Forward bool
	// Done and Undone are written with the last entry of an operation; either may be nil.
	Done, Undone func(Context, *state.Txn)
}

// Context is all that a step decides on.
type Context struct {
	State     *state.Snapshot
	Operation *v1.Operation
	Step      *v1.StepStatus
	Index     int // of the step
	Now       time.Time
	// Elapsed is how long this leader has waited for the step. It begins anew with each leader: only durations are compared, never clocks of two machines.
	Elapsed time.Duration
}

// Outcome of a step's function.
type Outcome int

const (
	Wait Outcome = iota // not yet; Changes (if any) are written, and the function is asked again
	Done
	Fail
)

// Verdict is what a step's function says.
type Verdict struct {
	Outcome Outcome
	Changes func(*state.Txn) // written in the same entry as the journal; nil for none
	Output  any              // Done: kept in the journal
	Problem *v1.Problem      // Fail
	Message string           // Wait: what it waits for, for people
	Percent int              // Wait: progress
	Wake    time.Duration    // Wait: ask again after this time even if nothing changes
}

// Finish is a Verdict that the step is done.
func Finish(changes func(*state.Txn)) Verdict { return Verdict{Outcome: Done, Changes: changes} }

// Failed is a Verdict that the step failed.
func Failed(problem *v1.Problem, changes func(*state.Txn)) Verdict {
	return Verdict{Outcome: Fail, Problem: problem, Changes: changes}
}

// Waiting is a Verdict that the step waits.
func Waiting(message string, changes func(*state.Txn)) Verdict {
	return Verdict{Outcome: Wait, Message: message, Changes: changes}
}

// New makes an operation with the given steps, ready to be put into the state with whatever it works on. The entry that holds it begins its first step: should it be cancelled before anybody
// has looked at it, that step is undone all the same.
func New(id string, operationType v1.OperationType, target v1.Object, actor string, args any, steps ...string) *v1.Operation {
	operation := &v1.Operation{
		Meta:   v1.Meta{ID: id, Name: "o-" + v1.Short(id), Project: target.ObjectMeta().Project},
		Spec:   v1.OperationSpec{Type: operationType, Target: v1.LinkTo(target), Actor: actor},
		Status: v1.OperationStatus{State: v1.OperationRunning},
	}
	if args != nil {
		operation.Spec.Args = marshal(args)
	}
	for _, step := range steps {
		operation.Status.Steps = append(operation.Status.Steps, v1.StepStatus{Name: step, State: v1.StepPending})
	}
	operation.Status.Steps[0].State = v1.StepStarted
	return operation
}

// Args reads the operation's arguments. They were written by this program, so an error is a mistake of it and leaves the zero value.
func Args[T any](operation *v1.Operation) (args T) {
	_ = json.Unmarshal(operation.Spec.Args, &args) // see above
	return args
}

func marshal(value any) json.RawMessage {
	data, err := json.Marshal(value)
	if err != nil { // plain data always marshals
		panic(err)
	}
	return data
}
