package raftnode

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

// transportTimeout bounds one exchange between members; snapshots get more by their size.
const transportTimeout = 5 * time.Second

// Node is one member of the group. Its methods are safe for concurrent use.
type Node struct {
	options Options
	log     *slog.Logger
	gate    *gate
	disk    *disk
	stores  *stores
	fabric  Fabric
	raft    *raft.Raft
	peers   *http.Transport
	server  *http.Server
	reads   reads

	transport *raft.NetworkTransport
	shutdown  raft.Future // of Raft; before ended is closed

	// ready is closed when raft is set, or never will be.
	ready chan struct{}
	// alive ends when the Node begins to stop.
	alive     context.Context
	stop      context.CancelFunc
	ended     chan struct{} // closed when Raft has been told to stop
	endOnce   sync.Once
	endReason error         // before ended is closed
	stopped   chan struct{} // closed when Raft has stopped
	closeOnce sync.Once
	closeErr  error
	loops     sync.WaitGroup

	notify    chan bool
	term      atomic.Pointer[term] // nil: not the leader
	newTerm   chan struct{}        // at most one signal
	termsOver chan struct{}        // closed when no term will run any more

	membership chan struct{} // a lock that can be waited for with a ctx

	mu            sync.Mutex
	closing       bool
	inFlight      map[*Future]struct{}
	drained       chan struct{} // not nil: closed when inFlight becomes empty
	leaderChanged chan struct{} // closed when the known leader changes
}

// Start opens the stores and joins the network. A member whose store is empty waits, silent, until Bootstrap or Join; others take their place in the group again. The caller must Close the
// Node, also after Done.
func Start(options Options) (_ *Node, err error) {
	if err := options.complete(); err != nil {
		return nil, fmt.Errorf("start controller %s: %w", options.ID, err)
	}
	n := &Node{
		options:       options,
		log:           options.Logger.With("controller", options.ID),
		gate:          &gate{inner: options.FSM},
		ready:         make(chan struct{}),
		ended:         make(chan struct{}),
		stopped:       make(chan struct{}),
		notify:        make(chan bool, 8),
		newTerm:       make(chan struct{}, 1),
		termsOver:     make(chan struct{}),
		membership:    make(chan struct{}, 1),
		inFlight:      map[*Future]struct{}{},
		leaderChanged: make(chan struct{}),
	}
	n.alive, n.stop = context.WithCancel(context.Background())
	n.disk = &disk{path: options.Dir, onFail: n.end, ended: n.ended}
	defer func() {
		if err == nil {
			return
		}
		close(n.ready)
		n.stop()
		if n.fabric != nil {
			err = errors.Join(err, n.fabric.Close())
		} else if options.Fabric != nil {
			err = errors.Join(err, options.Fabric.Close())
		}
		if n.stores != nil {
			err = errors.Join(err, n.stores.close())
		}
		err = fmt.Errorf("start controller %s: %w", options.ID, err)
	}()
	if n.stores, err = openStores(&n.options, n.disk); err != nil {
		return nil, err
	}
	if n.fabric = options.Fabric; n.fabric == nil {
		fabric, err := newTLSFabric(&n.options)
		if err != nil {
			return nil, err
		}
		n.fabric = fabric
	}
	n.peers = n.newPeerTransport(n.dialMember)
	n.transport = raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		Stream:                  &streams{listenOn(n.fabric, ProtocolRaft), n.idOf},
		MaxPool:                 3,
		Timeout:                 transportTimeout,
		Logger:                  bridgeLoggerUntil(n.alive, n.log, "raft-net"),
		MsgpackUseNewTimeFormat: true,
	})
	config := n.options.raftConfig()
	config.NotifyCh = n.notify
	n.raft, err = raft.NewRaft(config, n.gate, n.stores.logs, n.stores.stable, n.stores.snapshots, n.transport)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start Raft: %w", err), n.transport.Close())
	}
	close(n.ready)
	n.watchLeader()
	n.loops.Go(n.watchTerms)
	go n.runTerms()
	n.serve()
	return n, nil
}

// ID of this member.
func (n *Node) ID() string { return n.options.ID }

// Address is where the others reach this member.
func (n *Node) Address() string { return n.fabric.Address() }

// Bootstrap makes a new group out of members, this one among them (alone when none are given). It works only on an empty store; otherwise ErrAlreadyBootstrapped. With more than one, call it
// on exactly one member; the others wait with empty stores.
func (n *Node) Bootstrap(members ...Member) error {
	if len(members) == 0 {
		members = []Member{{ID: n.ID(), Address: n.Address()}}
	}
	if len(members) > MaxMembers {
		return ErrTooManyMembers
	}
	var configuration raft.Configuration
	for _, member := range members {
		if err := member.validate(); err != nil {
			return fmt.Errorf("bootstrap: %w", err)
		}
		configuration.Servers = append(configuration.Servers, raft.Server{ID: raft.ServerID(member.ID), Address: raft.ServerAddress(member.Address)})
	}
	if !slices.ContainsFunc(members, func(m Member) bool { return m.ID == n.ID() }) {
		return fmt.Errorf("bootstrap: this controller, %s, is not among the members", n.ID())
	}
	err := n.await(context.Background(), n.raft.BootstrapCluster(configuration))
	switch {
	case errors.Is(err, raft.ErrCantBootstrap):
		return ErrAlreadyBootstrapped
	case err != nil:
		return fmt.Errorf("bootstrap: %w", err)
	}
	return nil
}

// Leader is the leader as far as this member knows; ok is false when it knows none.
func (n *Node) Leader() (id, address string, ok bool) {
	leaderAddress, leaderID := n.raft.LeaderWithID()
	return string(leaderID), string(leaderAddress), leaderID != ""
}

// IsLeader reports whether this member believes to be the leader. Somebody else may already be: only a committed entry or VerifyLeader proves it.
func (n *Node) IsLeader() bool { return n.raft.State() == raft.Leader }

// Term is the current term.
func (n *Node) Term() uint64 { return n.raft.CurrentTerm() }

// WaitLeader returns as soon as a leader is known.
func (n *Node) WaitLeader(ctx context.Context) (id, address string, err error) {
	for {
		n.mu.Lock()
		changed := n.leaderChanged
		n.mu.Unlock()
		if id, address, ok := n.Leader(); ok {
			return id, address, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return "", "", fmt.Errorf("wait for a leader: %w", context.Cause(ctx))
		case <-n.ended:
			return "", "", n.endError()
		}
	}
}

func (n *Node) watchLeader() {
	events := make(chan raft.Observation, 16)
	// Not blocking: a lost event does no harm as long as one more is on its way.
	observer := raft.NewObserver(events, false, func(o *raft.Observation) bool {
		_, ok := o.Data.(raft.LeaderObservation)
		return ok
	})
	n.raft.RegisterObserver(observer)
	n.loops.Go(func() {
		defer n.raft.DeregisterObserver(observer)
		for {
			select {
			case <-events:
				n.mu.Lock()
				close(n.leaderChanged)
				n.leaderChanged = make(chan struct{})
				n.mu.Unlock()
			case <-n.stopped:
				return
			}
		}
	})
}

// Snapshot writes the state to disk and shortens the log. It is no error when there is nothing new.
func (n *Node) Snapshot() error {
	err := n.await(context.Background(), n.raft.Snapshot())
	if err == nil || errors.Is(err, raft.ErrNothingNewToSnapshot) {
		return nil
	}
	return fmt.Errorf("take a snapshot: %w", err)
}

// Stats are a Node's figures.
type Stats struct {
	ID, State, LeaderID string
	Term                uint64
	// LastIndex is the last entry in the log, CommitIndex the last committed one, AppliedIndex the last command that the state machine holds.
	LastIndex, CommitIndex, AppliedIndex uint64
	// SnapshotIndex is the last entry that the newest snapshot covers.
	SnapshotIndex uint64
	// LastContact is how long ago the leader was heard of; 0 on the leader; negative when never.
	LastContact time.Duration
}

// Stats returns the figures of now. They are not of one instant.
func (n *Node) Stats() Stats {
	id, _, _ := n.Leader()
	snapshot, _ := strconv.ParseUint(n.raft.Stats()["last_snapshot_index"], 10, 64)
	s := Stats{
		ID: n.ID(), State: n.raft.State().String(), LeaderID: id, Term: n.Term(),
		LastIndex: n.raft.LastIndex(), CommitIndex: n.raft.CommitIndex(), AppliedIndex: n.gate.appliedIndex(), SnapshotIndex: snapshot,
	}
	switch last := n.raft.LastContact(); {
	case n.IsLeader():
	case last.IsZero():
		s.LastContact = -1
	default:
		s.LastContact = time.Since(last)
	}
	return s
}

// await waits for one of Raft's futures, which know no ctx and may, when Raft stops, never answer.
func (n *Node) await(ctx context.Context, future raft.Future) error {
	answer := make(chan error, 1)
	go func() { answer <- future.Error() }()
	select {
	case err := <-answer:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-n.stopped:
		return raft.ErrRaftShutdown
	}
}

// budget is how long Raft may take to accept a request: EnqueueTimeout or what is left of ctx.
func (n *Node) budget(ctx context.Context) time.Duration {
	budget := n.options.EnqueueTimeout
	if deadline, ok := ctx.Deadline(); ok {
		budget = min(budget, time.Until(deadline))
	}
	return max(budget, time.Millisecond) // 0 would mean for ever
}

func (n *Node) notLeader() error {
	id, address, _ := n.Leader()
	if id == n.ID() { // the leadership is just being handed over
		id, address = "", ""
	}
	return &NotLeaderError{LeaderID: id, LeaderAddress: address}
}

// refusal puts Raft's refusals, after which nothing was done, into our words; nil for every other error.
func (n *Node) refusal(err error) error {
	switch {
	case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrLeadershipTransferInProgress):
		return n.notLeader()
	case errors.Is(err, raft.ErrEnqueueTimeout):
		return ErrBusy
	case errors.Is(err, raft.ErrRaftShutdown):
		return n.endError()
	}
	return nil
}

func (n *Node) endError() error {
	if reason := n.Err(); reason != nil {
		return fmt.Errorf("%w (%w)", ErrShuttingDown, reason)
	}
	return ErrShuttingDown
}

func (n *Node) hasEnded() bool {
	select {
	case <-n.ended:
		return true
	default:
		return false
	}
}
