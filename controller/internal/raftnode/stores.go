package raftnode

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	wal "github.com/hashicorp/raft-wal"
	"go.etcd.io/bbolt"
	"golang.org/x/sys/unix"
)

const (
	markerFile = "member.json"
	lockFile   = "lock"
	// keptSnapshots is how many snapshots stay on disk: one to use, one should that be damaged.
	keptSnapshots = 2
	// logCacheEntries is how many entries stay in memory for followers.
	logCacheEntries = 1024
)

// stores is all that Raft keeps.
type stores struct {
	logs      raft.LogStore
	stable    raft.StableStore
	snapshots raft.SnapshotStore
	closers   []io.Closer // in the order of opening
}

// marker says whose directory it is. A log given to another member would vote twice.
type marker struct {
	ID       string `json:"id"`
	LogStore string `json:"logStore"`
	Removed  bool   `json:"removed,omitempty"`
}

func openStores(o *Options, watch *disk) (_ *stores, err error) {
	s := &stores{}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	if o.LogStore == LogStoreMemory {
		memory := raft.NewInmemStore()
		s.logs, s.stable, s.snapshots = memory, memory, raft.NewInmemSnapshotStore()
	} else if err := s.openFiles(o); err != nil {
		return nil, err
	}
	if o.WrapLogs != nil {
		s.logs = o.WrapLogs(s.logs)
	}
	s.stable = &stable{s.stable, watch}
	s.logs, err = raft.NewLogCache(logCacheEntries, &logs{s.logs, watch})
	if err != nil {
		return nil, fmt.Errorf("make the log's cache: %w", err)
	}
	return s, nil
}

func (s *stores) openFiles(o *Options) error {
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return fmt.Errorf("make the data directory: %w", err)
	}
	// Snapshots hold everything, and their files alone would be readable by all.
	if err := os.Chmod(o.Dir, 0o700); err != nil {
		return fmt.Errorf("close the data directory to others: %w", err)
	}
	lock, err := lockDirectory(o.Dir)
	if err != nil {
		return err
	}
	s.closers = append(s.closers, lock)
	if err := claimDirectory(o); err != nil {
		return err
	}
	switch o.LogStore {
	case LogStoreWAL:
		path := filepath.Join(o.Dir, "wal")
		if err := os.MkdirAll(path, 0o700); err != nil {
			return fmt.Errorf("make the log's directory: %w", err)
		}
		store, err := wal.Open(path, wal.WithLogger(bridgeLogger(o.Logger, "wal")))
		if err != nil {
			return fmt.Errorf("open the log in %s: %w", path, err)
		}
		s.logs, s.stable, s.closers = store, store, append(s.closers, store)
	case LogStoreBoltDB:
		path := filepath.Join(o.Dir, "raft.db")
		store, err := raftboltdb.New(raftboltdb.Options{Path: path, BoltOptions: &bbolt.Options{Timeout: time.Second}, MsgpackUseNewTimeFormat: true})
		if err != nil {
			return fmt.Errorf("open the log in %s: %w", path, err)
		}
		s.logs, s.stable, s.closers = store, store, append(s.closers, store)
	}
	s.snapshots, err = raft.NewFileSnapshotStoreWithLogger(o.Dir, keptSnapshots, bridgeLogger(o.Logger, "snapshots"))
	if err != nil {
		return fmt.Errorf("open the snapshots in %s: %w", o.Dir, err)
	}
	return nil
}

// close closes in reverse order, the lock last.
func (s *stores) close() error {
	var all error
	for i := len(s.closers) - 1; i >= 0; i-- {
		all = errors.Join(all, s.closers[i].Close())
	}
	s.closers = nil
	return all
}

// lockDirectory keeps a second process out. The lock goes when the file is closed or the process dies.
func lockDirectory(directory string) (io.Closer, error) {
	path := filepath.Join(directory, lockFile)
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the data directory: %w", err)
	}
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = file.Close()
		return nil, fmt.Errorf("the data directory %s is in use by another controller process: %w", directory, err)
	}
	return file, nil
}

// claimDirectory makes sure that the directory belongs to this member, and takes it when it belongs to nobody.
func claimDirectory(o *Options) error {
	path := filepath.Join(o.Dir, markerFile)
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return writeMarker(o.Dir, marker{ID: o.ID, LogStore: o.LogStore})
	}
	if err != nil {
		return fmt.Errorf("read whose data directory it is: %w", err)
	}
	var found marker
	if err := json.Unmarshal(text, &found); err != nil {
		return fmt.Errorf("%s is damaged: %w", path, err)
	}
	switch {
	case found.Removed:
		return fmt.Errorf("%w (%s)", ErrRemoved, o.Dir)
	case found.ID != o.ID:
		return fmt.Errorf("the data directory %s belongs to controller %s, not %s: a log must never be used by two members", o.Dir, found.ID, o.ID)
	case found.LogStore != o.LogStore:
		return fmt.Errorf("the data directory %s was written with log store %s, not %s: to change it, remove this controller, wipe the directory and join again", o.Dir, found.LogStore, o.LogStore)
	}
	return nil
}

// writeMarker replaces the marker atomically and durably.
func writeMarker(directory string, content marker) error {
	text, err := json.Marshal(content)
	if err != nil {
		return err
	}
	path := filepath.Join(directory, markerFile)
	file, err := os.OpenFile(path+".new", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("claim the data directory: %w", err)
	}
	_, err = file.Write(append(text, '\n'))
	if err = errors.Join(err, file.Sync(), file.Close()); err != nil {
		return fmt.Errorf("claim the data directory: %w", err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return fmt.Errorf("claim the data directory: %w", err)
	}
	parent, err := os.Open(directory)
	if err != nil {
		return fmt.Errorf("claim the data directory: %w", err)
	}
	return errors.Join(parent.Sync(), parent.Close())
}
