package raftnode

import (
	"bytes"
	"errors"
	"fmt"
	"sync"

	"github.com/hashicorp/raft"
)

// disk watches everything that Raft writes. After the first failed write nothing more is written: what a disk says after a failed fsync cannot be trusted until the files have
// been read again from the start. The Node is told and ends itself, and so its leadership.
type disk struct {
	path   string
	onFail func(error) // called once, on its own goroutine
	// ended is closed when Raft has been told to stop.
	ended <-chan struct{}

	mu     sync.Mutex
	failed error
}

func (d *disk) failure() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.failed
}

// write does one write unless an earlier one failed.
func (d *disk) write(what string, do func() error) error {
	if err := d.failure(); err != nil {
		return err
	}
	err := do()
	if err == nil {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.failed == nil {
		d.failed = fmt.Errorf("%w: %s in %s: %w", ErrDisk, what, d.path, err)
		go d.onFail(d.failed)
	}
	return d.failed
}

// logs is a raft.LogStore (and MonotonicLogStore) under the disk's eye.
type logs struct {
	raft.LogStore
	disk *disk
}

func (l *logs) StoreLog(entry *raft.Log) error { return l.StoreLogs([]*raft.Log{entry}) }

func (l *logs) StoreLogs(entries []*raft.Log) error {
	return l.disk.write("write the log", func() error { return l.LogStore.StoreLogs(entries) })
}

func (l *logs) DeleteRange(first, last uint64) error {
	return l.disk.write("shorten the log", func() error { return l.LogStore.DeleteRange(first, last) })
}

// IsMonotonic must be passed on: raft-wal allows no gaps, and Raft clears the log before it installs a snapshot only when it knows that.
func (l *logs) IsMonotonic() bool {
	monotonic, ok := l.LogStore.(raft.MonotonicLogStore)
	return ok && monotonic.IsMonotonic()
}

// stable is a raft.StableStore under the disk's eye.
type stable struct {
	raft.StableStore
	disk *disk
}

// currentTermKey is Raft's name for the term it is in.
var currentTermKey = []byte("CurrentTerm")

func (s *stable) Set(key, value []byte) error {
	return s.disk.write("write the vote", func() error { return s.StableStore.Set(key, value) })
}

// SetUint64 hides a failure from one caller: Raft panics when it cannot write its term, and would take the whole process with it. So that write waits until Raft has been told to
// stop and then pretends. That is safe: no vote is granted and no entry stored in a term that was not written, because those writes fail too.
func (s *stable) SetUint64(key []byte, value uint64) error {
	err := s.disk.write("write the term", func() error { return s.StableStore.SetUint64(key, value) })
	if err != nil && errors.Is(err, ErrDisk) && bytes.Equal(key, currentTermKey) {
		<-s.disk.ended
		return nil
	}
	return err
}
