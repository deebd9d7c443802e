package app

import (
	"context"
	"errors"
	"log/slog"
	"runtime/debug"
	"sync/atomic"
	"time"

	v1 "github.com/coloa-cloud/coloa/api/v1"
	"github.com/coloa-cloud/coloa/controller/internal/raftnode"
	"github.com/coloa-cloud/coloa/controller/internal/scheduler"
	"github.com/coloa-cloud/coloa/controller/internal/state"
)

// Placer takes the decisions that give out capacity, one after the other, so that none counts on what another has just taken. It works in batches: all that wait are decided on
// one snapshot, over what the batch has given out already, and written with one fsync.
type Placer struct {
	Store *state.Store
	Node  *raftnode.Node
	queue chan *placing
}

// NewPlacer makes a placer; the leader runs it.
func NewPlacer(store *state.Store, node *raftnode.Node) *Placer {
	return &Placer{Store: store, Node: node, queue: make(chan *placing, 4096)}
}

// Board is what a decision places on: the hosts with what is given out, proposals of the same batch included.
type Board struct {
	state      *state.Snapshot
	candidates []scheduler.Candidate
	taken      []placed
	peers      map[string]map[string]int // by group and host, of this batch
}

type placed struct {
	position int
	want     v1.Usage
	group    string
}

// Place chooses a host and gives it out for the rest of the batch.
func (b *Board) Place(request scheduler.Request, group string) (*v1.Host, v1.Placement) {
	for host, count := range b.peers[group] {
		if group != "" {
			request.Peers[host] += count
		}
	}
	request.Index = b.state.Index()
	position, explanation := scheduler.Place(b.candidates, request)
	if position < 0 {
		return nil, explanation
	}
	candidate := &b.candidates[position]
	candidate.Used = candidate.Used.Plus(request.Want)
	b.taken = append(b.taken, placed{position, request.Want, group})
	if group != "" {
		if b.peers[group] == nil {
			b.peers[group] = map[string]int{}
		}
		b.peers[group][candidate.Host.ID]++
	}
	return candidate.Host, explanation
}

// giveBack forgets what the last decision took, since it came to nothing.
func (b *Board) giveBack() {
	for _, p := range b.taken {
		candidate := &b.candidates[p.position]
		candidate.Used = candidate.Used.Minus(p.want)
		if p.group != "" {
			b.peers[p.group][candidate.Host.ID]--
		}
	}
}

func newBoard(s *state.Snapshot) *Board {
	board := &Board{state: s, peers: map[string]map[string]int{}}
	for _, host := range s.Hosts() {
		board.candidates = append(board.candidates, scheduler.Candidate{Host: host, Limit: host.Limits(), Used: s.HostUsage(host.ID)})
	}
	return board
}

type placing struct {
	actor  string
	decide func(s *state.Snapshot, board *Board, txn *state.Txn) error
	done   chan error
	taken  atomic.Bool // by the placer, or by the caller who gave up
}

// Decide has a decision taken and written, again as long as somebody else is faster.
func (p *Placer) Decide(ctx context.Context, actor string, decide func(s *state.Snapshot, board *Board, txn *state.Txn) error) error {
	var err error
	for range attempts {
		request := &placing{actor: actor, decide: decide, done: make(chan error, 1)}
		select {
		case p.queue <- request:
		default:
			return v1.NewProblem(v1.CodeUnavailable, "too many requests wait for a place").WithNext("Try again shortly.")
		}
		err = p.wait(ctx, request)
		if err == nil || !errors.Is(err, state.ErrConflict) {
			return err
		}
	}
	return err
}

// wait waits for the answer. What the placer has not taken is given up when this member does not lead, or the caller does not wait any more.
func (p *Placer) wait(ctx context.Context, request *placing) error {
	look := time.NewTicker(500 * time.Millisecond)
	defer look.Stop()
	for {
		select {
		case err := <-request.done:
			return err
		case <-look.C:
			if !p.Node.IsLeader() && request.taken.CompareAndSwap(false, true) {
				return notLeading()
			}
		case <-ctx.Done():
			if request.taken.CompareAndSwap(false, true) {
				if errors.Is(ctx.Err(), context.Canceled) { // this controller ends, or nobody listens any more
					return v1.NewProblem(v1.CodeUnavailable, "the request was broken off; nothing was done").WithNext("Try again.")
				}
				return v1.NewProblem(v1.CodeTimeout, "it took too long; nothing was done").WithNext("Try again.")
			}
			return v1.NewProblem(v1.CodeOutcomeUnknown, "stopped waiting; the change may or may not have been made").WithNext("Look whether it was made, or send the request again with the same Idempotency-Key.")
		}
	}
}

func notLeading() error {
	return v1.NewProblem(v1.CodeUnavailable, "this controller does not lead; nothing was done").WithNext("Try again shortly.")
}

// maxBatch is how many decisions share a snapshot and, mostly, an fsync.
const maxBatch = 128

// Run places until ctx ends.
func (p *Placer) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			p.refuse()
			return nil
		case first := <-p.queue:
			batch := []*placing{first}
			for len(batch) < maxBatch {
				select {
				case next := <-p.queue:
					batch = append(batch, next)
					continue
				default:
				}
				break
			}
			p.place(batch)
		}
	}
}

// refuse answers what still waits when leadership ends.
func (p *Placer) refuse() {
	for {
		select {
		case waiting := <-p.queue:
			waiting.done <- notLeading()
		default:
			return
		}
	}
}

// decideSafely turns a panic into an error: one request that meets a mistake of ours must not end the controller, and then, sent again, the next one.
func decideSafely(request *placing, s *state.Snapshot, board *Board, txn *state.Txn) (err error) {
	defer func() {
		if cause := recover(); cause != nil {
			slog.Error("a decision panicked", "cause", cause, "stack", string(debug.Stack()))
			err = v1.NewProblem(v1.CodeInternal, "the controller met a mistake of its own; nothing was done").WithNext("Ask the operators to look into the controller's log.")
		}
	}()
	return request.decide(s, board, txn)
}

func (p *Placer) place(batch []*placing) {
	snapshot := p.Store.Snapshot()
	board := newBoard(snapshot)
	var last *raftnode.Future
	for _, request := range batch {
		if !request.taken.CompareAndSwap(false, true) {
			continue // nobody waits for it
		}
		board.taken = board.taken[:0]
		txn := state.NewTxn(time.Now(), request.actor)
		if err := decideSafely(request, snapshot, board, txn); err != nil {
			board.giveBack()
			request.done <- err
			continue
		}
		if txn.Empty() {
			request.done <- nil
			continue
		}
		data, err := txn.Encode()
		if err != nil {
			request.done <- v1.NewProblem(v1.CodeInternal, "%v", err)
			continue
		}
		future := p.Node.ProposeAsync(data)
		last = future
		go func() {
			_, response, err := future.Result()
			request.done <- outcome(response, err)
		}()
	}
	if last != nil {
		// The log keeps the order: when the last one is applied, the next snapshot has them all.
		<-last.Done()
	}
}
