package app

import (
	"context"

	"github.com/coloa-cloud/coloa/api/httpapi"
	v1 "github.com/coloa-cloud/coloa/api/v1"
	"github.com/coloa-cloud/coloa/controller/internal/operation"
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
		begun, err := r.act(old, action, args)
		if err == nil && receipt != nil && !r.txn.Empty() {
			receipt.Object, receipt.Operation = v1.LinkTo(old), begun
			r.txn.Create(receipt, "")
		}
		return begun, err
	})
	if err == nil && replay != nil {
		return *replay, nil
	}
	return result, err
}

func (r *request) act(old v1.Object, action string, args any) (string, error) {
	if old.ObjectMeta().Deleting() && old.ObjectKind() != v1.KindOperation {
		return "", v1.NewProblem(v1.CodeWrongState, "the %s %q is being deleted", v1.WordsFor(old.ObjectKind()), old.ObjectMeta().Name)
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
		return o.ID, operation.Steer(definitions[o.Spec.Type], r.state, r.txn, o, action)
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

var definitions = ops.Definitions()
