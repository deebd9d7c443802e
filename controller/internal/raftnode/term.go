package raftnode

import (
	"context"
	"sync/atomic"
	"time"
)

// term is one unbroken leadership of this member.
type term struct {
	ctx    context.Context // ends with the leadership
	cancel context.CancelFunc
	// ready is closed when everything from before the term is applied.
	ready chan struct{}
	// number of the term; set before ready is closed.
	number uint64
	// transferred is set when a hand-over was tried.
	transferred atomic.Bool
}

// watchTerms takes every change of leadership from Raft at once (Raft waits for it) and ends the old term before anything else.
func (n *Node) watchTerms() {
	defer func() {
		if old := n.term.Swap(nil); old != nil {
			old.cancel()
		}
	}()
	for {
		select {
		case leading := <-n.notify:
			var next *term
			if leading {
				next = &term{ready: make(chan struct{})}
				next.ctx, next.cancel = context.WithCancel(n.alive)
			}
			if old := n.term.Swap(next); old != nil {
				old.cancel()
			}
			select {
			case n.newTerm <- struct{}{}:
			default:
			}
		case <-n.ended:
			return
		}
	}
}

// runTerms does the work of one term after the other. A term that ended before its turn is left out.
func (n *Node) runTerms() {
	defer close(n.termsOver)
	for {
		select {
		case <-n.newTerm:
			if t := n.term.Load(); t != nil {
				n.runTerm(t)
			}
		case <-n.alive.Done():
			return
		}
	}
}

const (
	firstPause = 500 * time.Millisecond
	longPause  = 15 * time.Second
)

func (n *Node) runTerm(t *term) {
	pause := firstPause
	for t.ctx.Err() == nil {
		err := n.leadOnce(t)
		if t.ctx.Err() != nil {
			return
		}
		if err == nil { // nothing more to do in this term
			<-t.ctx.Done()
			return
		}
		n.log.Error("the leader's work failed, the leadership is given up", "term", n.Term(), "error", err)
		if n.voters() > 1 {
			if err := n.TransferLeadership(t.ctx, ""); err == nil {
				<-t.ctx.Done()
				return
			} else if t.ctx.Err() == nil {
				n.log.Error("nobody took over the leadership, the leader's work is started again", "after", pause, "error", err)
			}
		}
		select {
		case <-time.After(pause):
		case <-t.ctx.Done():
		}
		pause = min(2*pause, longPause)
	}
}

// leadOnce waits until everything earlier is applied, opens the gate for reads, and does the term's work.
func (n *Node) leadOnce(t *term) error {
	number := n.raft.CurrentTerm()
	if err := n.Barrier(t.ctx); err != nil {
		return err
	}
	if n.raft.CurrentTerm() != number {
		return n.notLeader() // the ctx is about to end
	}
	if !t.isReady() {
		t.number = number
		close(t.ready)
		n.log.Info("this controller leads", "term", number)
	}
	defer n.log.Info("this controller's work as leader ended", "term", number)
	return n.options.OnLeadership(t.ctx)
}

func (t *term) isReady() bool {
	select {
	case <-t.ready:
		return true
	default:
		return false
	}
}
