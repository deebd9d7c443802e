package ops_test

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	v1 "github.com/coloa-cloud/coloa/api/v1"
	"github.com/coloa-cloud/coloa/controller/internal/operation"
	"github.com/coloa-cloud/coloa/controller/internal/operation/ops"
	"github.com/coloa-cloud/coloa/controller/internal/state"
)

// TestEngineStopsAMachine: the real engine, in virtual time, gives the guest its grace, and then has it forced; a new leader gives the whole grace again.
func TestEngineStopsAMachine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		running(w)
		w.one.Deaf = true
		id := w.stopVM(ops.StopArgs{GraceSeconds: 30})
		var mu sync.Mutex
		engine := &operation.Engine{Store: w.Store, Definitions: ops.Definitions(), Logger: slog.New(slog.DiscardHandler), Propose: func(_ context.Context, txn *state.Txn) error {
			mu.Lock()
			defer mu.Unlock()
			return w.Apply(txn)
		}}
		lead := func(term time.Duration) {
			ctx, cancel := context.WithTimeout(t.Context(), term)
			defer cancel()
			require.NoError(t, engine.Run(ctx))
		}
		lead(20 * time.Second)
		require.Equal(t, v1.DesiredStopped, w.instance().Desired.State)
		require.False(t, w.instance().Desired.Force)
		lead(29 * time.Second)
		require.False(t, w.instance().Desired.Force, "the new leader cannot know how long the guest has had")
		lead(31 * time.Second)
		require.True(t, w.instance().Desired.Force)
		w.done(id)
	})
}
