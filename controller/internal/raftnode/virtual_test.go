package raftnode_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coloa-cloud/coloa/controller/internal/raftnode"
)

// TestLongOutagesInVirtualTime runs minutes of partitions in an instant.
func TestLongOutagesInVirtualTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newGroup(t, false)
		g.adjust = func(o *raftnode.Options) {
			o.LogStore = raftnode.LogStoreMemory
			o.Dir = ""
			o.HeartbeatTimeout = 0 // as in production
		}
		leader := g.form(3)
		began := time.Now()
		for round := range 3 {
			lost := leader
			g.network.Isolate(lost.ID())
			time.Sleep(30 * time.Second)
			require.False(t, lost.IsLeader())
			delete(g.servers, lost.ID())
			leader = g.leader()
			g.servers[lost.ID()] = lost
			leader.set(t, "round", fmt.Sprint(round))
			g.network.Heal()
			time.Sleep(30 * time.Second)
			for _, s := range g.servers {
				require.NoError(t, s.CatchUp(soon(t)))
				require.Equal(t, fmt.Sprint(round), s.state.get("round"))
			}
			leader = g.leader()
		}
		t.Logf("%v of outages", time.Since(began))

		// Everybody apart from everybody: nobody may lead; together again: somebody does.
		g.network.Partition("c1", "c2")
		g.network.Partition("c2", "c3")
		g.network.Partition("c1", "c3")
		time.Sleep(time.Minute)
		for _, s := range g.servers {
			require.False(t, s.IsLeader())
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			_, err := s.ReadIndex(ctx)
			cancel()
			require.ErrorIs(t, err, raftnode.ErrNotLeader)
		}
		g.network.Heal()
		g.leader()
		for id := range g.servers {
			g.stop(over(), id)
		}
	})
}

// TestFailoverInVirtualTime measures, without the noise of a busy machine, how long the timing of production takes to replace a leader that falls silent.
func TestFailoverInVirtualTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newGroup(t, false)
		g.adjust = func(o *raftnode.Options) {
			o.LogStore = raftnode.LogStoreMemory
			o.Dir = ""
			o.HeartbeatTimeout = 0
		}
		leader := g.form(3)
		var worst, sum time.Duration
		const rounds = 15
		for range rounds {
			old := leader
			g.network.Isolate(old.ID())
			began := time.Now()
			delete(g.servers, old.ID())
			leader = g.leader()
			leader.set(t, "a", "1")
			took := time.Since(began)
			worst, sum = max(worst, took), sum+took
			g.servers[old.ID()] = old
			g.network.Heal()
			time.Sleep(10 * time.Second)
			leader = g.leader()
		}
		t.Logf("fail-over: %v on average, %v at worst", sum/rounds, worst)
		require.Less(t, worst, 3*time.Second)
		for id := range g.servers {
			g.stop(over(), id)
		}
	})
}
