package raftnode

import (
	"errors"
	"fmt"
)

// Errors that callers tell apart with errors.Is.
var (
	// ErrNotLeader: nothing was done, because this member is not the leader. The error in the chain is a *NotLeaderError with a hint.
	ErrNotLeader = errors.New("this controller is not the leader")
	// ErrOutcomeUnknown: the change may or may not have been written. It is not a failure that may simply be repeated.
	ErrOutcomeUnknown = errors.New("the outcome is unknown, the change may or may not have been made: find the leader, wait for a barrier, read again, then decide")
	// ErrBusy: nothing was done, because the leader could not take the change within EnqueueTimeout.
	ErrBusy = errors.New("the leader takes no more changes at the moment; nothing was done, try again shortly")
	// ErrTooLarge: nothing was done, because the entry is larger than MaxEntryBytes.
	ErrTooLarge = errors.New("the change is too large for one log entry; nothing was done, split it")
	// ErrShuttingDown: nothing was done, because this member is stopping or has stopped.
	ErrShuttingDown = errors.New("this controller is shutting down; nothing was done, ask another one")
	// ErrAlreadyBootstrapped: the store already belongs to a group.
	ErrAlreadyBootstrapped = errors.New("this controller already belongs to a group")
	// ErrTooManyMembers: the group has MaxMembers voters.
	ErrTooManyMembers = errors.New("the group already has five controllers; remove one first")
	// ErrLastMember: the only voter cannot be removed.
	ErrLastMember = errors.New("the last controller cannot be removed")
	// ErrRemoved: this member was removed from its group and has stopped.
	ErrRemoved = errors.New("this controller was removed from its group; wipe its data directory before it joins again")
	// ErrDisk: the log could not be written, so this member has stopped. The error names the directory.
	ErrDisk = errors.New("the controller's disk failed; free space or mend it, then start the controller again")
)

// NotLeaderError is ErrNotLeader with a hint where the leader is. Both fields are empty when nobody is known.
type NotLeaderError struct{ LeaderID, LeaderAddress string }

func (e *NotLeaderError) Error() string {
	if e.LeaderID == "" {
		return ErrNotLeader.Error() + ", and none is known at the moment: try again shortly"
	}
	return fmt.Sprintf("%s; the leader is %s at %s", ErrNotLeader, e.LeaderID, e.LeaderAddress)
}

// Is makes errors.Is(err, ErrNotLeader) true.
func (e *NotLeaderError) Is(target error) bool { return target == ErrNotLeader }
