package state

import (
	"io"

	"github.com/hashicorp/raft"

	v1 "github.com/coloa-cloud/coloa/api/v1"
)

// FSM gives the store to raft. Apply's response is nil or the error of the entry.
type FSM struct{ Store *Store }

// Apply implements raft.FSM.
func (f FSM) Apply(log *raft.Log) any {
	txn, err := DecodeTxn(log.Data)
	if err != nil {
		f.Store.markApplied(log.Index)
		return v1.NewProblem(v1.CodeInternal, "%v", err)
	}
	if err := f.Store.Apply(log.Index, txn); err != nil {
		return err
	}
	return nil
}

// Snapshot implements raft.FSM.
func (f FSM) Snapshot() (raft.FSMSnapshot, error) { return fsmSnapshot{f.Store.Snapshot()}, nil }

// Restore implements raft.FSM.
func (f FSM) Restore(r io.ReadCloser) error {
	defer r.Close()
	return f.Store.Restore(r)
}

type fsmSnapshot struct{ snapshot *Snapshot }

// Persist implements raft.FSMSnapshot.
func (f fsmSnapshot) Persist(sink raft.SnapshotSink) error {
	if err := f.snapshot.Write(sink); err != nil {
		if cancel := sink.Cancel(); cancel != nil {
			return cancel
		}
		return err
	}
	return sink.Close()
}

// Release implements raft.FSMSnapshot.
func (fsmSnapshot) Release() {}
