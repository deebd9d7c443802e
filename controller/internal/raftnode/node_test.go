package raftnode_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"

	"github.com/coloa-cloud/coloa/controller/internal/raftnode"
)

func TestOneMemberKeepsItsData(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{raftnode.LogStoreWAL, raftnode.LogStoreBoltDB} {
		t.Run(kind, func(t *testing.T) {
			g := newGroup(t, false)
			g.adjust = func(o *raftnode.Options) { o.LogStore = kind }
			s := g.start("c1")
			require.Empty(t, s.Members())
			_, _, err := s.Propose(soon(t), []byte("a=1"))
			require.ErrorIs(t, err, raftnode.ErrNotLeader)
			require.NoError(t, s.Bootstrap())
			require.ErrorIs(t, s.Bootstrap(), raftnode.ErrAlreadyBootstrapped)
			g.leader()
			index := s.set(t, "a", "1")
			require.Equal(t, index, s.AppliedIndex())

			_, response, err := s.Propose(soon(t), []byte("rubbish"))
			require.NoError(t, err)
			require.Equal(t, errNotAPair, response, "what the state machine answers is handed back untouched")

			for round := range 3 { // crash, orderly, and after a snapshot
				switch round {
				case 0:
					g.stop(over(), "c1")
				case 1:
					g.stop(soon(t), "c1")
				case 2:
					require.NoError(t, s.Snapshot())
					require.NoError(t, s.Snapshot(), "nothing new is no error")
					g.stop(soon(t), "c1")
				}
				s = g.start("c1")
				require.ErrorIs(t, s.Bootstrap(), raftnode.ErrAlreadyBootstrapped)
				g.leader()
				require.NoError(t, s.CatchUp(soon(t)))
				require.Equal(t, "1", s.state.get("a"))
				require.GreaterOrEqual(t, s.AppliedIndex(), index)
			}
			require.Equal(t, 1, s.state.restored)
		})
	}
}

func TestDirectoryBelongsToOneMember(t *testing.T) {
	t.Parallel()
	g := newGroup(t, false)
	g.form(1)
	o := g.options("c1", newKeyValue())
	_, err := raftnode.Start(o)
	require.ErrorContains(t, err, "in use by another controller process")
	g.stop(soon(t), "c1")

	o = g.options("c2", newKeyValue())
	o.Dir = filepath.Join(g.dir, "c1")
	_, err = raftnode.Start(o)
	require.ErrorContains(t, err, "belongs to controller c1, not c2")

	o = g.options("c1", newKeyValue())
	o.LogStore = raftnode.LogStoreBoltDB
	_, err = raftnode.Start(o)
	require.ErrorContains(t, err, "was written with log store wal, not boltdb")

	o = g.options("c1", newKeyValue())
	o.ID = "../c1"
	_, err = raftnode.Start(o)
	require.ErrorContains(t, err, "a-z")
}

func TestFollowersReadWhatWasAcknowledged(t *testing.T) {
	t.Parallel()
	g := newGroup(t, false)
	leader := g.form(3)
	follower := g.follower(leader)
	_, _, err := follower.WaitLeader(soon(t))
	require.NoError(t, err)

	_, _, err = follower.Propose(soon(t), []byte("a=1"))
	require.ErrorIs(t, err, raftnode.ErrNotLeader)
	var hint *raftnode.NotLeaderError
	require.ErrorAs(t, err, &hint)
	require.Equal(t, raftnode.NotLeaderError{LeaderID: leader.ID(), LeaderAddress: leader.Address()}, *hint)
	require.ErrorIs(t, follower.Barrier(soon(t)), raftnode.ErrNotLeader)
	require.ErrorIs(t, follower.VerifyLeader(soon(t)), raftnode.ErrNotLeader)

	for i := range 50 {
		index := leader.set(t, "counter", fmt.Sprint(i))
		at, err := follower.ReadIndex(soon(t))
		require.NoError(t, err)
		require.Equal(t, index, at, "a command's index, that somebody can wait for")
		require.NoError(t, follower.WaitApplied(soon(t), at))
		require.Equal(t, fmt.Sprint(i), follower.state.get("counter"))
	}

	// Entries that the state machine never sees must not be waited for.
	require.NoError(t, leader.Barrier(soon(t)))
	require.NoError(t, leader.TransferLeadership(soon(t), follower.ID()))
	eventually(t, "the follower leads", func() bool { return follower.VerifyLeader(soon(t)) == nil })
	for _, s := range g.servers {
		eventually(t, "reads at "+s.ID(), func() bool { return s.CatchUp(soon(t)) == nil })
		require.Equal(t, "49", s.state.get("counter"))
	}
	brief, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, follower.WaitApplied(brief, 1<<40), context.DeadlineExceeded)
}

func TestReadsShareRounds(t *testing.T) {
	t.Parallel()
	g := newGroup(t, false)
	leader := g.form(3)
	var group sync.WaitGroup
	var failures atomic.Int32
	for range 64 {
		group.Go(func() {
			for range 20 {
				if leader.VerifyLeader(soon(t)) != nil {
					failures.Add(1)
				}
			}
		})
	}
	group.Wait()
	require.Zero(t, failures.Load())
}

func TestProposalsKeepTheirOrder(t *testing.T) {
	t.Parallel()
	g := newGroup(t, false)
	leader := g.form(3)
	var futures []*raftnode.Future
	for i := range 500 {
		futures = append(futures, leader.ProposeAsync(fmt.Appendf(nil, "k=%d", i)))
	}
	last := uint64(0)
	for _, future := range futures {
		index, _, err := future.Result()
		require.NoError(t, err)
		require.Greater(t, index, last)
		last = index
	}
	require.Equal(t, "499", leader.state.get("k"))

	_, _, err := leader.Propose(soon(t), bytes.Repeat([]byte("x"), 5<<20))
	require.ErrorIs(t, err, raftnode.ErrTooLarge)
	_, _, err = leader.Propose(over(), []byte("a=1"))
	require.ErrorIs(t, err, context.Canceled)
	require.NotErrorIs(t, err, raftnode.ErrOutcomeUnknown, "it was never tried")
}

func TestPartitionedLeaderDoesNotKnowTheOutcome(t *testing.T) {
	t.Parallel()
	g := newGroup(t, false)
	old := g.form(3)
	old.set(t, "a", "1")
	g.network.Isolate(old.ID())
	lost := old.ProposeAsync([]byte("a=lost"))
	brief, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	_, _, err := old.Propose(brief, []byte("b=lost"))
	require.ErrorIs(t, err, raftnode.ErrOutcomeUnknown)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	_, _, err = lost.Result()
	require.ErrorIs(t, err, raftnode.ErrOutcomeUnknown)
	require.ErrorIs(t, err, raft.ErrLeadershipLost)
	require.ErrorContains(t, err, "read again")
	_, err = old.ReadIndex(soon(t))
	require.ErrorIs(t, err, raftnode.ErrNotLeader, "alone it must not serve reads")

	delete(g.servers, old.ID())
	leader := g.leader()
	g.servers[old.ID()] = old
	leader.set(t, "a", "2")
	g.network.Heal()
	eventually(t, "the old leader catches up", func() bool { return old.CatchUp(soon(t)) == nil })
	require.Equal(t, map[string]string{"a": "2"}, old.state.all(), "what was never acknowledged is gone, what was is there")
}

func TestLeadershipRunsOneTermAtATime(t *testing.T) {
	t.Parallel()
	var running, most, terms atomic.Int32
	var failOnce sync.Once
	var failed atomic.Pointer[string]
	g := newGroup(t, false)
	g.adjust = func(o *raftnode.Options) {
		id := o.ID
		o.OnLeadership = func(ctx context.Context) error {
			terms.Add(1)
			most.Store(max(most.Load(), running.Add(1)))
			defer running.Add(-1)
			var err error
			failOnce.Do(func() { err = errors.New("the scheduler broke") })
			if err != nil {
				failed.Store(&id)
				return err
			}
			<-ctx.Done()
			return ctx.Err()
		}
	}
	leader := g.form(3)
	eventually(t, "another member leads after an error", func() bool {
		leader = g.leader()
		return failed.Load() != nil && leader.ID() != *failed.Load() && running.Load() == 1
	})
	require.NoError(t, leader.TransferLeadership(soon(t), ""))
	eventually(t, "third term", func() bool { return terms.Load() >= 3 && running.Load() == 1 })
	require.EqualValues(t, 1, most.Load())
	for id := range g.servers {
		g.stop(soon(t), id)
	}
	require.Zero(t, running.Load(), "Close waits for the term's work")
}

func TestSingleLeaderStartsItsWorkAgain(t *testing.T) {
	t.Parallel()
	var runs atomic.Int32
	g := newGroup(t, false)
	g.adjust = func(o *raftnode.Options) {
		o.OnLeadership = func(ctx context.Context) error {
			if runs.Add(1) == 1 {
				return errors.New("first try fails")
			}
			<-ctx.Done()
			return nil
		}
	}
	s := g.form(1)
	eventually(t, "second run", func() bool { return runs.Load() == 2 })
	require.True(t, s.IsLeader())
}

// brokenLogs fails when told to.
type brokenLogs struct {
	raft.LogStore
	broken *atomic.Bool
}

var errNoSpace = errors.New("no space left on device")

func (b brokenLogs) IsMonotonic() bool { return true }

func (b brokenLogs) StoreLogs(entries []*raft.Log) error {
	if b.broken.Load() {
		return errNoSpace
	}
	return b.LogStore.StoreLogs(entries)
}

func TestDiskTroubleEndsLeadership(t *testing.T) {
	t.Parallel()
	for _, size := range []int{1, 3} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			g := newGroup(t, false)
			broken := map[string]*atomic.Bool{}
			g.adjust = func(o *raftnode.Options) {
				flag := &atomic.Bool{}
				broken[o.ID] = flag
				o.WrapLogs = func(inner raft.LogStore) raft.LogStore { return brokenLogs{inner, flag} }
			}
			leader := g.form(size)
			leader.set(t, "a", "1")
			broken[leader.ID()].Store(true)
			_, _, err := leader.Propose(soon(t), []byte("a=2"))
			require.ErrorIs(t, err, raftnode.ErrOutcomeUnknown)
			require.ErrorIs(t, err, raftnode.ErrDisk)
			require.ErrorIs(t, err, errNoSpace)
			require.ErrorContains(t, err, filepath.Join(g.dir, leader.ID()), "the error names the directory")
			<-leader.Done()
			require.ErrorIs(t, leader.Err(), raftnode.ErrDisk)
			eventually(t, "no leader any more", func() bool { return !leader.IsLeader() })
			_, _, err = leader.Propose(soon(t), []byte("a=3"))
			require.ErrorIs(t, err, raftnode.ErrShuttingDown)
			require.ErrorIs(t, err, raftnode.ErrDisk)

			id := leader.ID()
			g.stop(soon(t), id)
			if size > 1 {
				g.leader().set(t, "a", "4")
			}
			g.start(id) // space was freed
			leader = g.leader()
			leader.set(t, "b", "1")
			eventually(t, "everybody has it", func() bool {
				for _, s := range g.servers {
					if s.state.get("b") != "1" {
						return false
					}
				}
				return true
			})
		})
	}
}

func TestCloseIsOrderly(t *testing.T) {
	t.Parallel()
	g := newGroup(t, false)
	leader := g.form(3)
	others := []*server{}
	for _, s := range g.servers {
		if s != leader {
			others = append(others, s)
		}
	}
	futures := []*raftnode.Future{}
	for i := range 100 {
		futures = append(futures, leader.ProposeAsync(fmt.Appendf(nil, "k%d=1", i)))
	}
	started := time.Now()
	g.stop(soon(t), leader.ID())
	for _, future := range futures {
		_, _, err := future.Result()
		if err != nil {
			require.True(t, errors.Is(err, raftnode.ErrNotLeader) || errors.Is(err, raftnode.ErrOutcomeUnknown), "%v", err)
		}
	}
	g.leader()
	t.Logf("hand-over by Close took %v", time.Since(started))
	_, _, err := leader.Propose(soon(t), []byte("a=1"))
	require.ErrorIs(t, err, raftnode.ErrShuttingDown)
	require.NoError(t, leader.Close(soon(t)), "twice is harmless")
	require.NoError(t, leader.Err())
	require.Len(t, others, 2)
}

func TestPeerHandler(t *testing.T) {
	t.Parallel()
	g := newGroup(t, false)
	g.adjust = func(o *raftnode.Options) {
		id := o.ID
		o.PeerHandler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = fmt.Fprintf(w, "%s to %s: %s", raftnode.PeerID(r), id, r.URL.Path)
		})
	}
	leader := g.form(3)
	follower := g.follower(leader)
	_, _, err := follower.WaitLeader(soon(t))
	require.NoError(t, err)
	url, ok := follower.LeaderURL()
	require.True(t, ok)
	require.Equal(t, follower.ID()+" to "+leader.ID()+": /host/v1/status", fetch(t, follower, url+"/host/v1/status"))

	g.network.Partition(leader.ID(), follower.ID())
	_, err = follower.PeerClient().Get(url)
	require.Error(t, err)
	_, err = follower.PeerClient().Get("https://nobody/")
	require.ErrorContains(t, err, "not a member")
	response, err := leader.PeerClient().Get(raftnode.PeerURL(leader.ID()) + "/raft/v1/unknown")
	require.NoError(t, err)
	_ = response.Body.Close()
	require.Equal(t, http.StatusNotFound, response.StatusCode, "what is under /raft/ never reaches the handler")
}

func TestSnapshotOfSomethingElseIsRefused(t *testing.T) {
	t.Parallel()
	g := newGroup(t, false)
	s := g.form(1)
	s.set(t, "a", "1")
	require.NoError(t, s.Snapshot())
	g.stop(soon(t), "c1")
	states, err := filepath.Glob(filepath.Join(g.dir, "c1", "snapshots", "*", "state.bin"))
	require.NoError(t, err)
	require.Len(t, states, 1)
	text, err := os.ReadFile(states[0])
	require.NoError(t, err)
	text[0] ^= 1
	require.NoError(t, os.WriteFile(states[0], text, 0o600))
	_, err = raftnode.Start(g.options("c1", newKeyValue()))
	require.Error(t, err)
}
