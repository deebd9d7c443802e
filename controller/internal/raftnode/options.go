package raftnode

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/hashicorp/raft"

	"github.com/coloa-cloud/coloa/controller/internal/ca"
)

// Kinds of log store.
const (
	// LogStoreWAL is raft-wal, the default: segments in Dir/wal.
	LogStoreWAL = "wal"
	// LogStoreBoltDB is raft-boltdb: one file Dir/raft.db. Slower, and older.
	LogStoreBoltDB = "boltdb"
	// LogStoreMemory keeps nothing: for simulations, which may then run in virtual time. Dir is not used.
	LogStoreMemory = "memory"
)

// MaxMembers is the most voters that a group may have.
const MaxMembers = 5

// Options say what a Node is made of. A zero duration or number means its default.
type Options struct {
	// ID of this member, a DNS label; the same as in its certificate.
	ID string
	// Dir holds log, snapshots and lock; made with mode 0700 when absent. It belongs to one ID and one kind of LogStore for ever.
	Dir string
	// LogStore is LogStoreWAL (also when empty), LogStoreBoltDB or LogStoreMemory.
	LogStore string

	// Bind is where to listen, host:port. Advertise is where the others reach this member; by default the address listened on.
	Bind, Advertise string
	// Server admits the other controllers, Client dials one of them; peerID is empty when any controller of the cluster will do. Both come from package ca and
	// must refuse everybody else. This package sets NextProtos on copies.
	Server *tls.Config
	Client func(peerID string) *tls.Config
	// Fabric replaces Bind, Advertise, Server and Client: see package memnet. The Node closes it.
	Fabric Fabric

	// FSM is the replicated state. Raft calls it from one goroutine; it must not change Log.Data.
	FSM raft.FSM
	// OnLeadership runs during each term of this member as leader, never twice at once. It starts after everything earlier is applied. Its ctx ends with the leadership; it
	// must then return. When it returns an error before that, the leadership is handed to somebody else, or, where nobody else is, it is run again after a pause.
	OnLeadership func(ctx context.Context) error
	// PeerHandler answers HTTP requests of other controllers outside /raft/. Who asks: PeerID.
	PeerHandler http.Handler
	Logger      *slog.Logger

	// HeartbeatTimeout (700 ms) without a leader starts an election; up to twice that, by chance.
	HeartbeatTimeout time.Duration
	// ElectionTimeout (700 ms) is how long a candidate waits for votes.
	ElectionTimeout time.Duration
	// LeaderLeaseTimeout (500 ms, at most HeartbeatTimeout) without a majority ends leadership.
	LeaderLeaseTimeout time.Duration
	// CommitTimeout (10 ms) is how soon an idle leader tells the followers what is committed. It is also how long a fresh read on a follower waits.
	CommitTimeout time.Duration
	// SnapshotInterval (2 min) is how often to look whether SnapshotThreshold (8192) entries have gathered since the last snapshot. TrailingLogs (10240) entries
	// are kept after one, for followers that are a little behind.
	SnapshotInterval                time.Duration
	SnapshotThreshold, TrailingLogs uint64
	// EnqueueTimeout (5 s) is how long a proposal may wait to be taken.
	EnqueueTimeout time.Duration
	// MaxEntryBytes (4 MiB) is the largest proposal.
	MaxEntryBytes int

	// WrapLogs lets tests put faults between Raft and the disk.
	WrapLogs func(raft.LogStore) raft.LogStore
}

func (o *Options) complete() error {
	if !ca.ValidName(o.ID) {
		return fmt.Errorf("controller id %q is not 1 to 63 of a-z, 0-9 and '-'", o.ID)
	}
	if o.FSM == nil {
		return errors.New("there is no state machine")
	}
	if o.LogStore == "" {
		o.LogStore = LogStoreWAL
	}
	switch o.LogStore {
	case LogStoreWAL, LogStoreBoltDB:
		if o.Dir == "" {
			return errors.New("there is no data directory")
		}
	case LogStoreMemory:
	default:
		return fmt.Errorf("unknown log store %q: use %s or %s", o.LogStore, LogStoreWAL, LogStoreBoltDB)
	}
	if o.Fabric == nil && (o.Server == nil || o.Client == nil) {
		return errors.New("controllers talk to each other by TLS only: Server and Client are needed")
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.PeerHandler == nil {
		o.PeerHandler = http.NotFoundHandler()
	}
	if o.OnLeadership == nil {
		o.OnLeadership = func(context.Context) error { return nil }
	}
	or(&o.HeartbeatTimeout, 700*time.Millisecond)
	or(&o.ElectionTimeout, o.HeartbeatTimeout)
	or(&o.LeaderLeaseTimeout, min(500*time.Millisecond, o.HeartbeatTimeout))
	or(&o.CommitTimeout, 10*time.Millisecond)
	or(&o.SnapshotInterval, 2*time.Minute)
	or(&o.SnapshotThreshold, 8192)
	or(&o.TrailingLogs, 10240)
	or(&o.EnqueueTimeout, 5*time.Second)
	or(&o.MaxEntryBytes, 4<<20)
	return nil
}

func or[T time.Duration | uint64 | int](value *T, otherwise T) {
	if *value == 0 {
		*value = otherwise
	}
}

func (o *Options) raftConfig() *raft.Config {
	config := raft.DefaultConfig()
	config.LocalID = raft.ServerID(o.ID)
	config.Logger = bridgeLogger(o.Logger, "raft")
	config.HeartbeatTimeout = o.HeartbeatTimeout
	config.ElectionTimeout = o.ElectionTimeout
	config.LeaderLeaseTimeout = o.LeaderLeaseTimeout
	config.CommitTimeout = o.CommitTimeout
	config.SnapshotInterval = o.SnapshotInterval
	config.SnapshotThreshold = o.SnapshotThreshold
	config.TrailingLogs = o.TrailingLogs
	// Proposals that wait together are written with one fsync.
	config.BatchApplyCh = true
	config.MaxAppendEntries = 128
	// The Node ends itself when it is removed: it has more to stop than Raft.
	config.ShutdownOnRemove = false
	config.NoLegacyTelemetry = true
	return config
}
