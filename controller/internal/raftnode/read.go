package raftnode

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// Barrier returns when the local state machine holds everything that was in the log before the call. Leader only: otherwise ErrNotLeader.
func (n *Node) Barrier(ctx context.Context) error {
	return n.leaderError("barrier", n.await(ctx, n.raft.Barrier(n.budget(ctx))))
}

// VerifyLeader returns nil when this member was the leader at some moment after the call: it asks a majority. Otherwise ErrNotLeader. Callers at the same time share one round of questions, but
// never one that had begun before they called.
func (n *Node) VerifyLeader(ctx context.Context) error {
	_, err := n.readOnLeader(ctx)
	return err
}

// ReadIndex returns an index for a linearizable read: a state machine that holds the command with this index, on any member, holds every change that was acknowledged before the call. Wait for it
// with WaitApplied, then read. On a follower it asks the leader; ErrNotLeader when none is known or it has changed meanwhile, then try again.
func (n *Node) ReadIndex(ctx context.Context) (uint64, error) {
	if n.term.Load() != nil {
		return n.readOnLeader(ctx)
	}
	id, _, ok := n.Leader()
	if !ok || id == n.ID() {
		return 0, n.notLeader()
	}
	var answer indexMessage
	if err := n.call(ctx, http.MethodGet, id, "/raft/v1/read-index", nil, &answer); err != nil {
		return 0, fmt.Errorf("ask the leader %s for a read index: %w", id, err)
	}
	return answer.Index, nil
}

// WaitApplied returns when the local state machine holds the command with that index.
func (n *Node) WaitApplied(ctx context.Context, index uint64) error {
	return n.gate.wait(ctx, index, n.ended)
}

// AppliedIndex is the index of the last command that the local state machine holds.
func (n *Node) AppliedIndex() uint64 { return n.gate.appliedIndex() }

// CatchUp is ReadIndex and WaitApplied: after it the local state machine holds every change that was acknowledged before the call. While the leader changes it tries again, so ctx needs a deadline.
func (n *Node) CatchUp(ctx context.Context) error {
	for {
		err := n.catchUpOnce(ctx)
		switch {
		case err == nil, n.hasEnded():
			return err
		case ctx.Err() != nil:
			return fmt.Errorf("wait for the newest state: %w", errors.Join(context.Cause(ctx), err))
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
		case <-n.ended:
		}
	}
}

func (n *Node) catchUpOnce(ctx context.Context) error {
	// A leader that fell silent must not use up all the time while another one is being elected.
	try, cancel := context.WithTimeout(ctx, max(time.Second, 2*n.options.HeartbeatTimeout))
	defer cancel()
	index, err := n.ReadIndex(try)
	if err != nil {
		return err
	}
	return n.WaitApplied(ctx, index)
}

// reads lets concurrent callers share rounds. A caller may join the next round until it begins.
type reads struct {
	mu      sync.Mutex
	running bool
	next    *round
}

// round is one exchange with a majority.
type round struct {
	done  chan struct{}
	index uint64
	err   error
}

func (n *Node) readOnLeader(ctx context.Context) (uint64, error) {
	term := n.term.Load()
	if term == nil {
		return 0, n.notLeader()
	}
	// Before its first entry is committed a new leader does not know what its predecessors acknowledged.
	select {
	case <-term.ready:
	case <-term.ctx.Done():
		return 0, n.notLeader()
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
	r := n.reads.join(n)
	select {
	case <-r.done:
		return r.index, r.err
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
}

func (s *reads) join(n *Node) *round {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.next == nil {
		s.next = &round{done: make(chan struct{})}
		if !s.running {
			s.running = true
			go s.run(n)
		}
	}
	return s.next
}

// run makes rounds one after the other as long as somebody waits for one.
func (s *reads) run(n *Node) {
	for {
		s.mu.Lock()
		r := s.next
		s.next = nil
		if r == nil {
			s.running = false
			s.mu.Unlock()
			return
		}
		s.mu.Unlock()
		r.index, r.err = n.readRound()
		close(r.done)
	}
}

func (n *Node) readRound() (uint64, error) {
	term := n.term.Load()
	if term == nil || !term.isReady() {
		return 0, n.notLeader()
	}
	// The index first, then the proof: what was committed when the round began is what its callers must see.
	index, err := n.lastCommand(n.raft.CommitIndex())
	if err != nil {
		return 0, err
	}
	if term.transferred.Load() {
		// Raft counts a heartbeat that was answered before we asked. That is harmless as long as a follower keeps to its leader for HeartbeatTimeout, which a hand-over breaks: after
		// one was tried, only a committed entry proves leadership.
		err = n.await(term.ctx, n.raft.Barrier(n.budget(term.ctx)))
	} else {
		err = n.await(term.ctx, n.raft.VerifyLeader())
	}
	// Terms only grow: when it is still this one, it was this one all the time, and this member its only leader.
	if term.ctx.Err() != nil || n.raft.CurrentTerm() != term.number {
		return 0, n.notLeader()
	}
	return index, n.leaderError("verify leadership", err)
}

// lastCommand is the index of the last command at or before a committed index. Other entries than commands never reach the state machine, so nobody could wait for them.
func (n *Node) lastCommand(committed uint64) (uint64, error) {
	for index := committed; ; index-- {
		applied := n.gate.appliedIndex()
		if index <= applied {
			return applied, nil
		}
		var entry raft.Log
		err := n.stores.logs.GetLog(index, &entry)
		if errors.Is(err, raft.ErrLogNotFound) {
			// A snapshot took its place, so the state machine holds it by now.
			return n.gate.appliedIndex(), nil
		}
		if err != nil {
			return 0, fmt.Errorf("read entry %d of the log: %w", index, err)
		}
		if entry.Type == raft.LogCommand {
			return index, nil
		}
	}
}

// leaderError puts an error of something that only asks, and so has no unknown outcome, into our words.
func (n *Node) leaderError(what string, err error) error {
	if err == nil {
		return nil
	}
	if refused := n.refusal(err); refused != nil {
		return refused
	}
	if errors.Is(err, raft.ErrLeadershipLost) {
		return n.notLeader()
	}
	if failed := n.disk.failure(); failed != nil && !errors.Is(err, failed) {
		err = fmt.Errorf("%w (%w)", err, failed)
	}
	return fmt.Errorf("%s: %w", what, err)
}
