// Package reconcile holds the leader's loops that make drift go away, one file each. A loop has no input but the state and the time; it
// runs on a signal and on a timer, and what it decides is a pure function beside it. CONTRIBUTING.md says how to add one.
package reconcile

import (
	"context"
	"errors"
	"log/slog"
	"time"

	v1 "github.com/coloa-cloud/coloa/api/v1"
	"github.com/coloa-cloud/coloa/controller/internal/state"
)

// Loop is what every reconciler needs.
type Loop struct {
	Store   *state.Store
	Propose func(context.Context, *state.Txn) error
	Logger  *slog.Logger
}

// write proposes an entry. A conflict is no error: the loop looks again anyway. Only an error that ends the term is returned.
func (l Loop) write(ctx context.Context, name string, txn *state.Txn) error {
	if txn.Empty() || ctx.Err() != nil {
		return nil
	}
	err := l.Propose(ctx, txn)
	switch {
	case err == nil || errors.Is(err, state.ErrConflict) || ctx.Err() != nil:
		return nil
	case v1.CodeOf(err) == v1.CodeUnavailable || v1.CodeOf(err) == v1.CodeOutcomeUnknown:
		return err
	}
	l.Logger.Warn("a reconciler's change was refused", "reconciler", name, "error", err)
	return nil
}

// every runs look at once, on each signal, and after each period, until ctx ends.
func every(ctx context.Context, period time.Duration, signal <-chan struct{}, look func() error) error {
	ticker := time.NewTicker(period)
	defer ticker.Stop()
	for {
		if err := look(); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-signal:
		case <-ticker.C:
		}
	}
}
