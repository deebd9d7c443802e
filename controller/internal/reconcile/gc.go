package reconcile

import (
	"context"
	"time"

	v1 "github.com/coloa-cloud/coloa/api/v1"
	"github.com/coloa-cloud/coloa/controller/internal/state"
)

// What is kept, and for how long.
const (
	keepOperations   = 30 * 24 * time.Hour
	mostOperations   = 50000
	collectedAtOnce  = 500
	collectionPeriod = time.Minute
)

// GC removes what nobody needs any more: finished operations after a while, receipts and tokens that have expired.
type GC struct{ Loop }

// Run collects until ctx ends.
func (g GC) Run(ctx context.Context) error {
	return every(ctx, collectionPeriod, nil, func() error {
		return g.write(ctx, "gc", Garbage(g.Store.Snapshot(), time.Now()))
	})
}

// Garbage says what to remove now.
func Garbage(s *state.Snapshot, now time.Time) *state.Txn {
	txn := state.NewTxn(now, "gc")
	full := func() bool { return len(txn.Ops) >= collectedAtOnce }
	for _, object := range s.List(v1.KindReceipt) {
		if full() {
			return txn
		}
		if now.After(object.(*v1.Receipt).ExpiresAt) {
			txn.Delete(object, "")
		}
	}
	for _, object := range s.List(v1.KindToken) {
		if full() {
			return txn
		}
		if object.(*v1.Token).Expired(now) {
			txn.Delete(object, "expired")
		}
	}
	operations := s.List(v1.KindOperation)
	surplus := len(operations) - mostOperations
	for _, object := range operations {
		if full() {
			return txn
		}
		operation := object.(*v1.Operation)
		finished := operation.Status.FinishedAt
		if !operation.Status.State.Finished() || finished == nil || len(s.TasksOf(operation.ID)) > 0 {
			continue
		}
		if now.Sub(*finished) > keepOperations || surplus > 0 {
			txn.Delete(operation, "")
			surplus--
		}
	}
	return txn
}
