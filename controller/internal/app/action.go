package app

import (
	"context"

	"github.com/coloa-cloud/coloa/api/httpapi"
	v1 "github.com/coloa-cloud/coloa/api/v1"
	"github.com/coloa-cloud/coloa/controller/internal/operation/ops"
)

// Act implements httpapi.Nouns.
func (a *App) Act(ctx context.Context, caller httpapi.Caller, ref httpapi.Ref, action string, args any, key httpapi.Key) (httpapi.Result, error) {
	var replay *httpapi.Result
	result, err := a.alter(ctx, caller, ref, 0, func(r *request, old v1.Object) (string, error) {
		existing, receipt, err := receiptFor(r.state, caller, key, r.txn.Time)
		if err != nil {
			return "", err
		}
		if existing != nil {
			answer, err := replayed(r.state, caller, existing)
			replay = &answer
			return existing.Operation, err
		}
		operation, err := r.act(old, action, args)
		if err == nil && receipt != nil && !r.txn.Empty() {
			receipt.Object, receipt.Operation = v1.LinkTo(old), operation
			r.txn.Create(receipt, "")
		}
		return operation, err
	})
	if err == nil && replay != nil {
		return *replay, nil
	}
	return result, err
}

func (r *request) act(old v1.Object, action string, args any) (string, error) {
	if old.ObjectMeta().Deleting() && old.ObjectKind() != v1.KindOperation {
		return "", v1.NewProblem(v1.CodeWrongState, "the %s %q is being deleted", words(old.ObjectKind()), old.ObjectMeta().Name)
	}
	switch o := old.(type) {
	case *v1.VM:
		switch action {
		case "start":
			return r.startVM(o.Clone())
		case "stop":
			return r.stopVM(o.Clone(), argsOf[v1.StopRequest](args))
		case "reboot":
			return r.rebootVM(o.Clone(), argsOf[v1.RebootRequest](args))
		}
	case *v1.Snapshot:
		if action == "restore" {
			return r.restoreSnapshot(o.Clone())
		}
	case *v1.Operation:
		return r.steerOperation(o.Clone(), action)
	}
	return "", notFound(old.ObjectKind(), action)
}

// argsOf accepts the arguments by value or by pointer; none are the zero value.
func argsOf[T any](args any) T {
	switch typed := args.(type) {
	case T:
		return typed
	case *T:
		if typed != nil {
			return *typed
		}
	}
	var zero T
	return zero
}

// steerOperation cancels, retries or abandons.
func (r *request) steerOperation(operation *v1.Operation, action string) (string, error) {
	status := &operation.Status
	wrong := func(next string) (string, error) {
		return "", v1.NewProblem(v1.CodeWrongState, "the operation is %s", status.State).WithNext("%s", next)
	}
	switch action {
	case "cancel":
		if status.State.Finished() || status.CancelRequested {
			return operation.ID, nil
		}
		if forwardOnly(operation.Spec.Type) {
			return "", v1.NewProblem(v1.CodeWrongState, "a %s cannot be cancelled once it has begun", operation.Spec.Type).WithNext("Wait until it is finished.")
		}
		if status.State != v1.OperationRunning {
			return wrong("Wait until it is finished, retry it, or abandon it.")
		}
		status.CancelRequested = true
	case "retry":
		if status.State != v1.OperationNeedsAttention {
			return wrong("Only an operation that needs attention is tried again.")
		}
		status.State, status.Message = v1.OperationUndoing, ""
		if forwardOnly(operation.Spec.Type) {
			status.State, status.Error = v1.OperationRunning, nil
		}
	case "abandon":
		if status.State != v1.OperationNeedsAttention {
			return wrong("Only an operation that needs attention can be abandoned.")
		}
		status.State = v1.OperationAbandoned
		at := r.txn.Time
		status.FinishedAt = &at
		for _, task := range r.state.TasksOf(operation.ID) {
			r.txn.Delete(task, "")
		}
	default:
		return "", notFound(v1.KindOperation, action)
	}
	r.txn.Update(operation, action+" asked for")
	return operation.ID, nil
}

var definitions = ops.Definitions()

func forwardOnly(operationType v1.OperationType) bool { return definitions[operationType].Forward }
