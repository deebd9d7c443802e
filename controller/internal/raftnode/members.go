package raftnode

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"time"

	"github.com/hashicorp/raft"

	"github.com/coloa-cloud/coloa/controller/internal/ca"
)

// Member is one controller of the group.
type Member struct {
	ID      string `json:"id"`
	Address string `json:"address"`
	// Voter is false while a new member catches up.
	Voter  bool `json:"voter"`
	Leader bool `json:"leader"`
}

func (m Member) validate() error {
	if !ca.ValidName(m.ID) {
		return fmt.Errorf("controller id %q is not 1 to 63 of a-z, 0-9 and '-'", m.ID)
	}
	if host, port, err := net.SplitHostPort(m.Address); err != nil || host == "" || port == "" || len(m.Address) > 300 {
		return fmt.Errorf("the address %q of controller %s is not host:port", m.Address, m.ID)
	}
	return nil
}

// Members of the group, as far as this member knows; empty before Bootstrap or Join. It answers from memory.
func (n *Node) Members() []Member {
	future := n.raft.GetConfiguration() // from memory, never waits
	leader, _, _ := n.Leader()
	var members []Member
	for _, server := range future.Configuration().Servers {
		members = append(members, Member{
			ID: string(server.ID), Address: string(server.Address), Voter: server.Suffrage == raft.Voter, Leader: string(server.ID) == leader,
		})
	}
	return members
}

func (n *Node) member(id string) (Member, bool) {
	members := n.Members()
	i := slices.IndexFunc(members, func(m Member) bool { return m.ID == id })
	if i < 0 {
		return Member{}, false
	}
	return members[i], true
}

func (n *Node) voters() int {
	count := 0
	for _, member := range n.Members() {
		if member.Voter {
			count++
		}
	}
	return count
}

// lockMembership lets one change of the membership run at a time: Raft itself allows one step, ours have several.
func (n *Node) lockMembership(ctx context.Context) error {
	select {
	case n.membership <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for another change of the members: %w", context.Cause(ctx))
	}
}

func (n *Node) unlockMembership() { <-n.membership }

// catchUpLimit bounds how long a new member may take to copy the state.
const catchUpLimit = 10 * time.Minute

// AddMember makes a running controller with an empty store a voter: it first copies the state without a vote, so that a slow newcomer never holds up the group. It can be repeated. Any member may be
// asked; it passes the request on to the leader. Give ctx minutes, not seconds.
func (n *Node) AddMember(ctx context.Context, id, address string) error {
	newcomer := Member{ID: id, Address: address}
	if err := newcomer.validate(); err != nil {
		return err
	}
	if n.term.Load() == nil {
		return n.onLeader(ctx, http.MethodPost, "/raft/v1/members", newcomer)
	}
	if err := n.lockMembership(ctx); err != nil {
		return err
	}
	defer n.unlockMembership()
	ctx, cancel := context.WithTimeout(ctx, catchUpLimit)
	defer cancel()
	known, exists := n.member(id)
	switch {
	case exists && known.Voter && known.Address == address:
		return nil
	case (!exists || !known.Voter) && n.voters() >= MaxMembers:
		return ErrTooManyMembers
	}
	// Ask before adding: an address that nobody answers must not become part of the group.
	if _, err := n.statusOf(ctx, id, address); err != nil {
		return fmt.Errorf("the controller to be added does not answer: %w", err)
	}
	if exists && known.Voter {
		return n.changed(ctx, "give controller "+id+" its new address", n.raft.AddVoter(raft.ServerID(id), raft.ServerAddress(address), 0, n.budget(ctx)))
	}
	target := n.raft.LastIndex()
	if err := n.changed(ctx, "add controller "+id, n.raft.AddNonvoter(raft.ServerID(id), raft.ServerAddress(address), 0, n.budget(ctx))); err != nil {
		return err
	}
	err := n.waitCaughtUp(ctx, id, address, target)
	if err == nil {
		err = n.changed(ctx, "give controller "+id+" a vote", n.raft.AddVoter(raft.ServerID(id), raft.ServerAddress(address), 0, n.budget(ctx)))
	}
	if err != nil && !exists && !errors.Is(err, ErrNotLeader) && !errors.Is(err, ErrOutcomeUnknown) {
		undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), n.options.EnqueueTimeout)
		defer cancel()
		if undoErr := n.changed(undo, "take controller "+id+" out again", n.raft.RemoveServer(raft.ServerID(id), 0, n.budget(undo))); undoErr != nil {
			return errors.Join(err, undoErr)
		}
	}
	return err
}

func (n *Node) waitCaughtUp(ctx context.Context, id, address string, target uint64) error {
	for pause := 20 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		status, err := n.statusOf(ctx, id, address)
		if err == nil && status.LastIndex >= target {
			return nil
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return fmt.Errorf("controller %s did not catch up: it has %d of %d entries: %w", id, status.LastIndex, target, errors.Join(context.Cause(ctx), err))
		}
		if n.term.Load() == nil {
			return n.notLeader()
		}
	}
}

// changed waits for a change of the membership.
func (n *Node) changed(ctx context.Context, what string, future raft.IndexFuture) error {
	err := n.await(ctx, future)
	if err == nil {
		return nil
	}
	if refused := n.refusal(err); refused != nil {
		return refused
	}
	if errors.Is(err, raft.ErrLeadershipLost) || ctx.Err() != nil {
		return fmt.Errorf("%s: %w: %w", what, ErrOutcomeUnknown, err)
	}
	return fmt.Errorf("%s: %w", what, err)
}

// RemoveMember takes a controller out of the group. It can be repeated, and any member may be asked. A removed controller that is reachable ends with ErrRemoved. A leader that is to be removed
// hands over first.
func (n *Node) RemoveMember(ctx context.Context, id string) error {
	if !ca.ValidName(id) {
		return fmt.Errorf("controller id %q is not 1 to 63 of a-z, 0-9 and '-'", id)
	}
	if n.term.Load() != nil && id == n.ID() {
		if n.voters() == 1 {
			return ErrLastMember
		}
		if err := n.TransferLeadership(ctx, ""); err != nil && n.term.Load() != nil {
			return fmt.Errorf("hand over before leaving: %w", err)
		}
		if _, _, err := n.waitOtherLeader(ctx); err != nil {
			return err
		}
	}
	if n.term.Load() == nil {
		err := n.onLeader(ctx, http.MethodDelete, "/raft/v1/members/"+id, nil)
		if err == nil && id == n.ID() {
			n.removed()
		}
		return err
	}
	if err := n.lockMembership(ctx); err != nil {
		return err
	}
	defer n.unlockMembership()
	gone, exists := n.member(id)
	if !exists {
		return nil
	}
	if gone.Voter && n.voters() == 1 {
		return ErrLastMember
	}
	if err := n.changed(ctx, "remove controller "+id, n.raft.RemoveServer(raft.ServerID(id), 0, n.budget(ctx))); err != nil {
		return err
	}
	// It may never hear of its removal from Raft: replication to it ends with the entry that removes it, before that is committed.
	if err := n.callAt(ctx, gone.ID, gone.Address, http.MethodPost, "/raft/v1/removed", nil, nil); err != nil {
		n.log.Warn("the removed controller could not be told; stop it and wipe its data directory", "removed", id, "error", err)
	}
	return nil
}

// waitOtherLeader waits until somebody else leads.
func (n *Node) waitOtherLeader(ctx context.Context) (id, address string, err error) {
	for {
		if id, address, err = n.WaitLeader(ctx); err != nil || (id != n.ID() && n.term.Load() == nil) {
			return id, address, err
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			return "", "", fmt.Errorf("wait for another leader: %w", context.Cause(ctx))
		}
	}
}

// removed ends a member that is no longer part of the group.
func (n *Node) removed() {
	if n.options.LogStore != LogStoreMemory {
		err := writeMarker(n.options.Dir, marker{ID: n.ID(), LogStore: n.options.LogStore, Removed: true})
		if err != nil {
			n.log.Error("cannot note that this controller was removed", "error", err)
		}
	}
	go n.end(ErrRemoved)
}

// TransferLeadership hands the leadership to the member with that id, or to the one that is furthest when id is empty. Leader only. Proposals are refused with ErrNotLeader meanwhile.
func (n *Node) TransferLeadership(ctx context.Context, id string) error {
	t := n.term.Load()
	if t == nil {
		return n.notLeader()
	}
	t.transferred.Store(true)
	var future raft.Future
	if id == "" {
		future = n.raft.LeadershipTransfer()
	} else {
		member, ok := n.member(id)
		if !ok || !member.Voter {
			return fmt.Errorf("hand over the leadership: controller %s is not a voter of this group", id)
		}
		future = n.raft.LeadershipTransferToServer(raft.ServerID(id), raft.ServerAddress(member.Address))
	}
	return n.leaderError("hand over the leadership", n.await(ctx, future))
}

// Join makes this member, with its empty store or at its new address, part of the group that the controllers at the given addresses belong to. They are tried one after the other. It returns when this member has a vote.
// It can be repeated; a member that has a vote
// already, at the address where it is, returns at once.
func (n *Node) Join(ctx context.Context, addresses ...string) error {
	self := func() (Member, bool) { return n.member(n.ID()) }
	if me, ok := self(); ok && me.Voter && me.Address == n.Address() {
		return nil
	}
	if len(addresses) == 0 {
		return errors.New("join: no address of a controller is given")
	}
	var problems []error
	joined := false
	for _, address := range addresses {
		err := n.callAt(ctx, "", address, http.MethodPost, "/raft/v1/join", joinMessage{Address: n.Address()}, nil)
		if err == nil {
			joined = true
			break
		}
		problems = append(problems, fmt.Errorf("ask %s: %w", address, err))
	}
	if !joined {
		return fmt.Errorf("join: %w", errors.Join(problems...))
	}
	for {
		if me, ok := self(); ok && me.Voter && me.Address == n.Address() {
			_, _, err := n.WaitLeader(ctx)
			return err
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-n.ended:
			return n.endError()
		case <-ctx.Done():
			return fmt.Errorf("join: wait for the vote: %w", context.Cause(ctx))
		}
	}
}
