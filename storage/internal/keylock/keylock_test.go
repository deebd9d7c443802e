package keylock

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
)

func TestOneHolderAKey(t *testing.T) {
	var locks Locks
	counter, group := 0, sync.WaitGroup{}
	for range 100 {
		group.Go(func() {
			release, err := locks.Lock(t.Context(), "a")
			if err != nil {
				t.Error(err)
				return
			}
			defer release()
			counter++ // the race detector tells when two hold it
		})
	}
	group.Wait()
	require.Equal(t, 100, counter)
	require.Empty(t, locks.held, "keys that nobody holds are forgotten")
}

func TestWaitEndsWithContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var locks Locks
		release, err := locks.Lock(t.Context(), "a")
		require.NoError(t, err)
		other, err := locks.Lock(t.Context(), "b")
		require.NoError(t, err, "another key is free")
		other()

		ctx, cancel := context.WithCancel(t.Context())
		failed := make(chan error)
		go func() {
			_, err := locks.Lock(ctx, "a")
			failed <- err
		}()
		synctest.Wait()
		cancel()
		require.ErrorIs(t, <-failed, context.Canceled)
		release()
		_, err = locks.Lock(ctx, "a")
		require.ErrorIs(t, err, context.Canceled, "an ended context gets no lock, even a free one")
		require.Empty(t, locks.held)
	})
}
