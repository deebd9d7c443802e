package raftnode

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// closeGrace is how long parts that must end in any case are waited for when the caller has no time left.
const closeGrace = 5 * time.Second

// Done is closed when the Node has ended by itself (see Err) or was closed.
func (n *Node) Done() <-chan struct{} { return n.ended }

// Err says why the Node ended by itself: ErrDisk or ErrRemoved, wrapped. It is nil while it runs and after an ordinary Close.
func (n *Node) Err() error {
	if n.hasEnded() {
		return n.endReason
	}
	return nil
}

// end tells Raft to stop. It does not wait, so Raft's own goroutines may call it.
func (n *Node) end(reason error) {
	<-n.ready
	n.endOnce.Do(func() {
		n.endReason = reason
		if reason != nil {
			n.log.Error("this controller ends its part in the group", "error", reason)
		}
		if n.raft != nil {
			// Only the first future waits for Raft's goroutines, so it must be kept.
			n.shutdown = n.raft.Shutdown()
		}
		close(n.ended)
		go n.afterRaft()
	})
}

// afterRaft waits until Raft's goroutines are gone, then answers everybody whom Raft left waiting.
func (n *Node) afterRaft() {
	if n.shutdown != nil {
		_ = n.shutdown.Error() // never an error
	}
	close(n.stopped)
	n.abandonProposals()
}

// Close stops the member: it takes no more proposals, hands the leadership over, waits for proposals in flight, ends the term's work, and stops. With a ctx that is already done it stops as in
// a crash, without handing over; that is for tests. The data on disk is whole in both cases.
func (n *Node) Close(ctx context.Context) error {
	n.closeOnce.Do(func() { n.closeErr = n.close(ctx) })
	return n.closeErr
}

func (n *Node) close(ctx context.Context) error {
	var problems []error
	n.mu.Lock()
	n.closing = true
	n.mu.Unlock()
	if ctx.Err() == nil && n.IsLeader() && n.voters() > 1 {
		if err := n.TransferLeadership(ctx, ""); err != nil {
			n.log.Warn("could not hand over the leadership; the others will notice and elect", "error", err)
		}
	}
	n.drain(ctx)

	// The term's work ends before Raft does, so that its last words still find a living Node. Long polls of other controllers end with alive, too.
	n.stop()
	select {
	case <-n.termsOver:
	case <-ctx.Done():
	}
	if ctx.Err() == nil {
		bounded, cancel := context.WithTimeout(ctx, time.Second)
		_ = n.server.Shutdown(bounded)
		cancel()
	}
	_ = n.server.Close()

	n.end(nil)
	problems = append(problems, n.transport.Close(), n.fabric.Close())
	<-n.stopped
	n.peers.CloseIdleConnections()
	n.loops.Wait()

	grace := time.NewTimer(closeGrace)
	defer grace.Stop()
	select {
	case <-n.termsOver:
	case <-grace.C:
		problems = append(problems, errors.New("the work of the leader's term did not end in time"))
	}
	problems = append(problems, n.stores.close())
	if err := errors.Join(problems...); err != nil {
		return fmt.Errorf("stop controller %s: %w", n.ID(), err)
	}
	return nil
}

// drain waits until no proposal is in flight.
func (n *Node) drain(ctx context.Context) {
	n.mu.Lock()
	if len(n.inFlight) == 0 {
		n.mu.Unlock()
		return
	}
	drained := make(chan struct{})
	n.drained = drained
	n.mu.Unlock()
	select {
	case <-drained:
	case <-ctx.Done():
	case <-n.ended:
	}
}
