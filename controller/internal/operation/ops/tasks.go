package ops

import (
	"encoding/json"
	"fmt"

	"github.com/google/uuid"

	v1 "github.com/coloa-cloud/coloa/api/v1"
	"github.com/coloa-cloud/coloa/controller/internal/operation"
	"github.com/coloa-cloud/coloa/controller/internal/state"
)

// Direction of a step's task: doing and undoing have tasks of their own.
const (
	doing   = "do"
	undoing = "undo"
)

// taskID is the same whenever the same step is asked, so that a task is never given twice. Each attempt has its own. place is a host, or what tells two tasks for one host apart.
func taskID(c operation.Context, direction, place string) string {
	return derivedID(c.Operation.ID, fmt.Sprintf("%s/%s/%s/%d", c.Step.Name, direction, place, c.Step.Attempts))
}

// derivedID makes an id from an operation's id and a name, so that deciding twice gives the same id.
func derivedID(operation, name string) string {
	return uuid.NewSHA1(uuid.MustParse(operation), []byte(name)).String()
}

// task gives a host a task and waits for it. finish (may be nil) is written with the entry that closes the step, and sees the task's output.
func task(c operation.Context, direction, host string, taskType v1.TaskType, args any, message string, finish func(*state.Txn, json.RawMessage)) operation.Verdict {
	return taskAs(c, taskID(c, direction, host), direction, host, taskType, args, message, finish)
}

// taskAs is task with an id of its own, for steps that give a host several.
func taskAs(c operation.Context, id, direction, host string, taskType v1.TaskType, args any, message string, finish func(*state.Txn, json.RawMessage)) operation.Verdict {
	given := c.State.Task(id)
	if given == nil {
		data, err := json.Marshal(args)
		if err != nil {
			return operation.Failed(v1.NewProblem(v1.CodeInternal, "%v", err), nil)
		}
		made := &v1.Task{
			Meta:   v1.Meta{ID: id, Name: "t-" + v1.Short(id), Project: c.Operation.Project},
			Spec:   v1.TaskSpec{Operation: c.Operation.ID, Step: c.Step.Name, Host: host, Type: taskType, Args: data},
			Status: v1.TaskStatus{State: v1.TaskPending},
		}
		return operation.Waiting(message, func(txn *state.Txn) {
			if direction == undoing {
				withdraw(c, txn)
			}
			txn.Create(made, "")
		})
	}
	switch given.Status.State {
	case v1.TaskDone:
		verdict := operation.Finish(func(txn *state.Txn) {
			txn.Delete(given, "")
			if finish != nil {
				finish(txn, given.Status.Output)
			}
		})
		if len(given.Status.Output) > 0 {
			verdict.Output = given.Status.Output
		}
		return verdict
	case v1.TaskFailed:
		problem := given.Status.Error
		if problem == nil {
			problem = v1.NewProblem(v1.CodeHostFailed, "the host could not do it, and did not say why")
		}
		return operation.Failed(problem, func(txn *state.Txn) { txn.Delete(given, "") })
	}
	verdict := operation.Waiting(message, nil)
	if silent(c, host) {
		verdict.Message = "waits for a host that does not answer"
	}
	verdict.Percent = given.Status.Percent
	return verdict
}

// withdraw takes back what a step's doing gave to hosts and what is not finished. An agent ends a task that is taken back before it begins another one on the same object.
func withdraw(c operation.Context, txn *state.Txn) {
	for _, given := range tasksOfStep(c) {
		txn.Delete(given, "")
	}
}

func tasksOfStep(c operation.Context) (tasks []*v1.Task) {
	for _, given := range c.State.TasksOf(c.Operation.ID) {
		if given.Spec.Step == c.Step.Name {
			tasks = append(tasks, given)
		}
	}
	return tasks
}

// withdrawn is the undoing of a step that leaves nothing behind but its task.
func withdrawn(c operation.Context) operation.Verdict {
	return operation.Finish(func(txn *state.Txn) { withdraw(c, txn) })
}

func silent(c operation.Context, host string) bool {
	found := c.State.Host(host)
	return found != nil && found.Status.Phase == v1.HostSilent
}

func read[T any](output json.RawMessage) (value T) {
	_ = json.Unmarshal(output, &value) // a host that answers nonsense gives the zero value, which the caller checks
	return value
}

// imageRef is what an agent needs to fetch an image; nil for a blank volume.
func imageRef(s *state.Snapshot, id string) *v1.ImageRef {
	image := s.Image(id)
	if image == nil {
		return nil
	}
	return &v1.ImageRef{ID: image.ID, Format: image.Spec.Format, SHA256: image.Status.SHA256, Keeper: image.Status.Keeper}
}

// target returns the object that the operation works on, as a copy to change.
func target[T interface {
	v1.Object
	Clone() T
}](c operation.Context) (object T, ok bool) {
	found, ok := c.State.Get(c.Operation.Spec.Target.Kind, c.Operation.Spec.Target.ID).(T)
	if !ok {
		return object, false
	}
	return found.Clone(), true
}

// gone is the answer of a step whose object has vanished, which only a mistake of ours can cause.
func gone(c operation.Context) operation.Verdict {
	return operation.Failed(v1.NewProblem(v1.CodeNotFound, "%s %s is gone", c.Operation.Spec.Target.Kind, c.Operation.Spec.Target.ID), nil)
}
