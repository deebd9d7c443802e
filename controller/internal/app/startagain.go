package app

import (
	"context"

	v1 "github.com/coloa-cloud/coloa/api/v1"
	"github.com/coloa-cloud/coloa/controller/internal/state"
)

// StartAgain begins a vm.start operation for a VM that shall run and does not, on behalf of the platform.
func (a *App) StartAgain(ctx context.Context, id string) error {
	const actor = "restart"
	return a.Placer.Decide(ctx, actor, func(s *state.Snapshot, board *Board, txn *state.Txn) error {
		vm := s.VM(id)
		if vm == nil || !vm.RunningWanted() {
			return nil
		}
		r := &request{Context: ctx, state: s, txn: txn, board: board, actor: actor}
		operation, err := r.startVM(vm.Clone())
		if v1.CodeOf(err) == v1.CodeBusy {
			return nil // somebody works on it: the loop looks again
		}
		txn.Operation = operation
		return err
	})
}
