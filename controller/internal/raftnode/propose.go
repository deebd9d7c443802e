package raftnode

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"
)

// Future is a proposal on its way.
type Future struct {
	done     chan struct{}
	index    uint64
	response any
	err      error
}

// Done is closed when the outcome, or that it is unknown, is known.
func (f *Future) Done() <-chan struct{} { return f.done }

// Result waits for Done and returns what Propose returns.
func (f *Future) Result() (index uint64, response any, err error) {
	<-f.done
	return f.index, f.response, f.err
}

// Propose writes one entry to the replicated log, waits until the local state machine has applied it, and returns its index and what the state machine's Apply answered, not looked at: an error
// that Apply returned is in response. Works on the leader only.
//
// After ErrNotLeader, ErrBusy, ErrTooLarge and ErrShuttingDown nothing was done. After ErrOutcomeUnknown (leadership lost, ctx over, disk failed while waiting) the entry may be in the log,
// now or later. The Node keeps data: do not change it afterwards.
func (n *Node) Propose(ctx context.Context, data []byte) (index uint64, response any, err error) {
	if err := ctx.Err(); err != nil {
		return 0, nil, err
	}
	future := n.propose(data, n.budget(ctx))
	select {
	case <-future.done:
	case <-ctx.Done():
		select {
		case <-future.done: // both at once: prefer the certain answer
		default:
			return 0, nil, fmt.Errorf("%w: stopped waiting: %w", ErrOutcomeUnknown, context.Cause(ctx))
		}
	}
	return future.Result()
}

// ProposeAsync is Propose without waiting for the outcome. Proposals of one goroutine enter the log in the order of the calls. It waits up to EnqueueTimeout when the leader has too much to do.
func (n *Node) ProposeAsync(data []byte) *Future { return n.propose(data, n.options.EnqueueTimeout) }

func (n *Node) propose(data []byte, budget time.Duration) *Future {
	future := &Future{done: make(chan struct{})}
	if len(data) > n.options.MaxEntryBytes {
		future.err = fmt.Errorf("%w: it has %d bytes, the limit is %d", ErrTooLarge, len(data), n.options.MaxEntryBytes)
		close(future.done)
		return future
	}
	n.mu.Lock()
	if n.closing || n.hasEnded() {
		n.mu.Unlock()
		future.err = n.endError()
		close(future.done)
		return future
	}
	n.inFlight[future] = struct{}{}
	n.mu.Unlock()
	pending := n.raft.Apply(data, budget)
	go func() {
		err := pending.Error()
		if err == nil {
			n.settle(future, pending.Index(), pending.Response(), nil)
		} else {
			n.settle(future, 0, nil, n.outcome(pending.Index(), err))
		}
	}()
	return future
}

// outcome puts an error of a proposal into our words. Raft gives a proposal its index when it writes it to the log; before that nothing was done.
func (n *Node) outcome(index uint64, err error) error {
	if index == 0 {
		if refused := n.refusal(err); refused != nil {
			return refused
		}
	}
	if failed := n.disk.failure(); failed != nil && !errors.Is(err, failed) {
		return fmt.Errorf("%w: %w (%w)", ErrOutcomeUnknown, err, failed)
	}
	return fmt.Errorf("%w: %w", ErrOutcomeUnknown, err)
}

// settle gives a proposal its result, once.
func (n *Node) settle(future *Future, index uint64, response any, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if _, ok := n.inFlight[future]; !ok {
		return
	}
	delete(n.inFlight, future)
	future.index, future.response, future.err = index, response, err
	close(future.done)
	if len(n.inFlight) == 0 && n.drained != nil {
		close(n.drained)
		n.drained = nil
	}
}

// abandonProposals settles what Raft left without an answer when it stopped.
func (n *Node) abandonProposals() {
	n.mu.Lock()
	var left []*Future
	for future := range n.inFlight {
		left = append(left, future)
	}
	n.mu.Unlock()
	for _, future := range left {
		n.settle(future, 0, nil, n.outcome(1, raft.ErrRaftShutdown))
	}
}
