package raftnode_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"

	"github.com/coloa-cloud/coloa/controller/internal/raftnode"
)

func voters(s *server) int {
	count := 0
	for _, member := range s.Members() {
		if member.Voter {
			count++
		}
	}
	return count
}

func TestGroupGrowsAndShrinks(t *testing.T) {
	t.Parallel()
	for _, overTLS := range []bool{false, true} {
		t.Run(fmt.Sprintf("TLS %v", overTLS), func(t *testing.T) {
			g := newGroup(t, overTLS)
			leader := g.form(1)
			leader.set(t, "a", "1")
			require.ErrorIs(t, leader.RemoveMember(soon(t), "c1"), raftnode.ErrLastMember)

			ask := leader.Address()
			for i := 2; i <= raftnode.MaxMembers; i++ {
				s := g.start(fmt.Sprintf("c%d", i))
				require.NoError(t, s.Join(soon(t), ask))
				require.NoError(t, s.Join(soon(t), ask), "twice is harmless")
				require.NoError(t, s.CatchUp(soon(t)))
				require.Equal(t, "1", s.state.get("a"))
				require.Equal(t, i, voters(leader))
				ask = s.Address() // the next asks a follower, which passes it on
			}
			sixth := g.start("c6")
			require.ErrorIs(t, sixth.Join(soon(t), ask), raftnode.ErrTooManyMembers)
			require.Error(t, sixth.Join(soon(t)), "nobody to ask")
			require.Len(t, leader.Members(), raftnode.MaxMembers)

			// A follower leaves by itself, another is removed by a follower, the leader leaves.
			c5 := g.servers["c5"]
			require.NoError(t, c5.RemoveMember(soon(t), "c5"))
			<-c5.Done()
			require.ErrorIs(t, c5.Err(), raftnode.ErrRemoved)
			require.NoError(t, g.servers["c3"].RemoveMember(soon(t), "c4"))
			require.NoError(t, g.servers["c3"].RemoveMember(soon(t), "c4"), "twice is harmless")
			c4 := g.servers["c4"]
			eventually(t, "the removed member is told", func() bool { return c4.Err() != nil })
			g.stop(soon(t), "c4")
			g.stop(soon(t), "c5")
			g.stop(soon(t), "c6")

			old := g.leader()
			require.NoError(t, old.RemoveMember(soon(t), old.ID()))
			require.ErrorIs(t, old.Err(), raftnode.ErrRemoved)
			g.stop(soon(t), old.ID())
			leader = g.leader()
			require.Equal(t, 2, voters(leader))
			leader.set(t, "a", "2")

			// A removed member must not come back with its old vote, only as a new one.
			_, err := raftnode.Start(g.options("c4", newKeyValue()))
			require.ErrorIs(t, err, raftnode.ErrRemoved)
			require.NoError(t, os.RemoveAll(filepath.Join(g.dir, "c4")))
			c4 = g.start("c4")
			require.NoError(t, c4.Join(soon(t), "127.0.0.1:1", leader.Address()))
			require.NoError(t, c4.CatchUp(soon(t)))
			require.Equal(t, "2", c4.state.get("a"))
		})
	}
}

func TestUnreachableNewcomerIsNotAdded(t *testing.T) {
	t.Parallel()
	g := newGroup(t, false)
	leader := g.form(1)
	require.ErrorContains(t, leader.AddMember(soon(t), "c2", "c2:8445"), "does not answer")
	require.ErrorContains(t, leader.AddMember(soon(t), "c2", "c2"), "host:port")
	require.Error(t, leader.AddMember(soon(t), "C 2", "c2:8445"))
	g.start("c3")
	require.ErrorContains(t, leader.AddMember(soon(t), "c2", "c3:8445"), "it is c3, not c2")
	require.Len(t, leader.Members(), 1)
	leader.set(t, "a", "1")
}

func TestOnlyMembersChangeTheGroup(t *testing.T) {
	t.Parallel()
	g := newGroup(t, true)
	leader := g.form(1)
	outsider := g.start("c2") // a controller of this cluster by its certificate, but in no group
	require.NoError(t, outsider.Bootstrap(raftnode.Member{ID: "c2", Address: outsider.Address()}, raftnode.Member{ID: "c1", Address: leader.Address()}))
	for _, request := range []struct{ method, path string }{{http.MethodDelete, "/raft/v1/members/c1"}, {http.MethodPost, "/raft/v1/members"}, {http.MethodPost, "/raft/v1/removed"}} {
		r, err := http.NewRequestWithContext(soon(t), request.method, raftnode.PeerURL("c1")+request.path, nil)
		require.NoError(t, err)
		response, err := outsider.PeerClient().Do(r)
		require.NoError(t, err)
		_ = response.Body.Close()
		require.Equal(t, http.StatusBadRequest, response.StatusCode)
	}
	require.NoError(t, leader.Err())
	leader.set(t, "a", "1")
}

// strictLogs forgets removed entries at once; raft-wal still finds them until their segment is gone.
type strictLogs struct{ raft.LogStore }

func (s strictLogs) IsMonotonic() bool {
	monotonic, ok := s.LogStore.(raft.MonotonicLogStore)
	return ok && monotonic.IsMonotonic()
}

func (s strictLogs) GetLog(index uint64, entry *raft.Log) error {
	if first, err := s.FirstIndex(); err != nil || index < first {
		return raft.ErrLogNotFound // Raft compares it with ==
	}
	return s.LogStore.GetLog(index, entry)
}

func TestLaggingFollowerCatchesUpBySnapshot(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{raftnode.LogStoreWAL, raftnode.LogStoreBoltDB} {
		t.Run(kind, func(t *testing.T) {
			g := newGroup(t, false)
			g.adjust = func(o *raftnode.Options) {
				o.LogStore = kind
				o.TrailingLogs = 5
				o.WrapLogs = func(inner raft.LogStore) raft.LogStore { return strictLogs{inner} }
			}
			leader := g.form(3)
			leader.set(t, "a", "1")
			lagging := g.follower(leader)
			require.NoError(t, lagging.CatchUp(soon(t)))
			id := lagging.ID()
			g.stop(over(), id)
			var futures []*raftnode.Future
			for i := range 300 {
				futures = append(futures, leader.ProposeAsync(fmt.Appendf(nil, "k%d=%d", i, i)))
			}
			for _, future := range futures {
				_, _, err := future.Result()
				require.NoError(t, err)
			}
			require.NoError(t, leader.Snapshot())
			require.Positive(t, leader.Stats().SnapshotIndex)

			lagging = g.start(id)
			eventually(t, "it has everything", func() bool { return len(lagging.state.all()) == 301 })
			require.Positive(t, lagging.state.restored, "the log was too short, so it must have been the snapshot")
			index := leader.AppliedIndex()
			require.NoError(t, lagging.WaitApplied(soon(t), index))
			require.Equal(t, index, lagging.AppliedIndex(), "the index travels with the snapshot")
			require.NoError(t, lagging.CatchUp(soon(t)))

			// The log after an installed snapshot can be written to, read, and started from.
			leader.set(t, "after", "1")
			eventually(t, "the next entry arrives", func() bool { return lagging.state.get("after") == "1" })
			g.stop(over(), id)
			lagging = g.start(id)
			eventually(t, "and survives a restart", func() bool { return lagging.state.get("after") == "1" })
			require.Equal(t, leader.state.all(), lagging.state.all())
		})
	}
}

func TestStats(t *testing.T) {
	t.Parallel()
	g := newGroup(t, false)
	leader := g.form(3)
	index := leader.set(t, "a", "1")
	stats := leader.Stats()
	require.Equal(t, "Leader", stats.State)
	require.Equal(t, leader.ID(), stats.LeaderID)
	require.Equal(t, index, stats.AppliedIndex)
	require.Equal(t, leader.Term(), stats.Term)
	require.Zero(t, stats.LastContact)
	follower := g.follower(leader)
	eventually(t, "contact", func() bool { return follower.Stats().LastContact >= 0 && follower.Stats().LastContact < time.Second })
	lone := g.start("c9")
	require.Negative(t, lone.Stats().LastContact)
}
