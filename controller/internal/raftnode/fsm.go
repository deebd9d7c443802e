package raftnode

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/hashicorp/raft"
)

// gate stands between Raft and the state machine. It knows the index of the last command that the state machine holds, which Raft's AppliedIndex does not say: that one
// counts what was queued for it, and entries that it never sees.
type gate struct {
	inner raft.FSM

	mu      sync.Mutex
	applied uint64
	moved   chan struct{} // closed when applied moves; nil when nobody waits
}

// A snapshot is this header, then what the state machine writes.
const (
	snapshotMagic  = "COLOARS1"
	snapshotHeader = len(snapshotMagic) + 8
)

func (g *gate) Apply(entry *raft.Log) any {
	response := g.inner.Apply(entry)
	g.advance(entry.Index)
	return response
}

func (g *gate) advance(index uint64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.applied = index
	if g.moved != nil {
		close(g.moved)
		g.moved = nil
	}
}

func (g *gate) appliedIndex() uint64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.applied
}

// wait returns when the state machine holds the command with that index, or the ctx or stopped end.
func (g *gate) wait(ctx context.Context, index uint64, stopped <-chan struct{}) error {
	for {
		g.mu.Lock()
		if g.applied >= index {
			g.mu.Unlock()
			return nil
		}
		if g.moved == nil {
			g.moved = make(chan struct{})
		}
		moved := g.moved
		g.mu.Unlock()
		select {
		case <-moved:
		case <-ctx.Done():
			return fmt.Errorf("wait until entry %d is applied: %w", index, context.Cause(ctx))
		case <-stopped:
			return ErrShuttingDown
		}
	}
}

func (g *gate) Snapshot() (raft.FSMSnapshot, error) {
	inner, err := g.inner.Snapshot()
	if err != nil {
		return nil, err
	}
	return &gateSnapshot{FSMSnapshot: inner, applied: g.appliedIndex()}, nil
}

func (g *gate) Restore(source io.ReadCloser) error {
	var header [snapshotHeader]byte
	if _, err := io.ReadFull(source, header[:]); err != nil {
		return fmt.Errorf("read the snapshot's header: %w", err)
	}
	if string(header[:len(snapshotMagic)]) != snapshotMagic {
		return errors.New("this is not a snapshot of a controller")
	}
	if err := g.inner.Restore(source); err != nil {
		return err
	}
	g.advance(binary.BigEndian.Uint64(header[len(snapshotMagic):]))
	return nil
}

type gateSnapshot struct {
	raft.FSMSnapshot
	applied uint64
}

func (s *gateSnapshot) Persist(sink raft.SnapshotSink) error {
	header := binary.BigEndian.AppendUint64([]byte(snapshotMagic), s.applied)
	if _, err := sink.Write(header); err != nil {
		return errors.Join(fmt.Errorf("write the snapshot's header: %w", err), sink.Cancel())
	}
	return s.FSMSnapshot.Persist(sink)
}
