package raftnode_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"

	"github.com/coloa-cloud/coloa/controller/internal/ca"
	"github.com/coloa-cloud/coloa/controller/internal/raftnode"
	"github.com/coloa-cloud/coloa/controller/internal/raftnode/memnet"
)

// keyValue is a state machine: "key=value" sets, anything else is answered with an error value.
type keyValue struct {
	mu       sync.Mutex
	values   map[string]string
	restored int
}

var errNotAPair = errors.New("not key=value")

func newKeyValue() *keyValue { return &keyValue{values: map[string]string{}} }

func (k *keyValue) Apply(entry *raft.Log) any {
	key, value, ok := strings.Cut(string(entry.Data), "=")
	if !ok {
		return errNotAPair
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.values[key] = value
	return len(k.values)
}

func (k *keyValue) get(key string) string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.values[key]
}

func (k *keyValue) all() map[string]string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return maps.Clone(k.values)
}

func (k *keyValue) Snapshot() (raft.FSMSnapshot, error) { return keyValueSnapshot(k.all()), nil }

func (k *keyValue) Restore(source io.ReadCloser) error {
	defer func() { _ = source.Close() }()
	values := map[string]string{}
	if err := json.NewDecoder(source).Decode(&values); err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.values = values
	k.restored++
	return nil
}

type keyValueSnapshot map[string]string

func (s keyValueSnapshot) Persist(sink raft.SnapshotSink) error {
	if err := json.NewEncoder(sink).Encode(s); err != nil {
		return errors.Join(err, sink.Cancel())
	}
	return sink.Close()
}

func (keyValueSnapshot) Release() {}

// server is a member under test.
type server struct {
	*raftnode.Node
	state *keyValue
}

// group is some members under test. Members that are stopped are not in servers.
type group struct {
	t       testing.TB
	network *memnet.Network // nil: TLS over loopback
	pki     *ca.Authority
	dir     string
	servers map[string]*server
	// adjust changes the options of a member before it starts.
	adjust func(*raftnode.Options)
}

func newGroup(t testing.TB, overTLS bool) *group {
	t.Helper()
	g := &group{t: t, dir: t.TempDir(), servers: map[string]*server{}, adjust: func(*raftnode.Options) {}}
	if overTLS {
		authority, err := ca.NewAuthority("test")
		require.NoError(t, err)
		g.pki = authority
	} else {
		g.network = memnet.New()
	}
	t.Cleanup(func() {
		for _, s := range g.servers {
			_ = s.Close(over())
		}
	})
	return g
}

// over is a ctx that is already done: Close as in a crash.
func over() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

func soon(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func logger(t testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
}

func keyPair(t testing.TB, authority *ca.Authority, role ca.Role, id string) *ca.KeyPair {
	bundle, err := authority.Issue(ca.Request{Role: role, ID: id})
	require.NoError(t, err)
	pair, err := ca.NewKeyPair(bundle)
	require.NoError(t, err)
	return pair
}

func (g *group) options(id string, state raft.FSM) raftnode.Options {
	o := raftnode.Options{ID: id, Dir: filepath.Join(g.dir, id), FSM: state, Logger: logger(g.t)}
	if g.network != nil {
		o.Fabric = g.network.Endpoint(id)
		o.HeartbeatTimeout = 250 * time.Millisecond // short, but not too short for a busy machine with the race detector
	} else {
		own := keyPair(g.t, g.pki, ca.RoleController, id)
		expect := ca.Expect{Cluster: "test", Roles: []ca.Role{ca.RoleController}}
		o.Bind = "127.0.0.1:0"
		o.Server = ca.ServerConfig(own, g.pki.Pool(), expect)
		o.Client = func(peer string) *tls.Config {
			exact := expect
			exact.ID = peer
			return ca.ClientConfig(own, g.pki.Pool(), exact)
		}
	}
	g.adjust(&o)
	return o
}

func (g *group) start(id string) *server {
	g.t.Helper()
	state := newKeyValue()
	node, err := raftnode.Start(g.options(id, state))
	require.NoError(g.t, err)
	s := &server{node, state}
	g.servers[id] = s
	return s
}

// stop closes a member, in order or as in a crash.
func (g *group) stop(ctx context.Context, id string) {
	g.t.Helper()
	s := g.servers[id]
	delete(g.servers, id)
	require.NoError(g.t, s.Close(ctx))
}

// form starts and bootstraps c1 to cN and returns the leader.
func (g *group) form(size int) *server {
	g.t.Helper()
	var members []raftnode.Member
	for i := 1; i <= size; i++ {
		s := g.start(fmt.Sprintf("c%d", i))
		members = append(members, raftnode.Member{ID: s.ID(), Address: s.Address()})
	}
	require.NoError(g.t, g.servers["c1"].Bootstrap(members...))
	return g.leader()
}

// leader waits until somebody leads and can prove it.
func (g *group) leader() *server {
	g.t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for time.Now().Before(deadline) {
		for _, s := range g.servers {
			if s.IsLeader() && s.VerifyLeader(soon(g.t)) == nil {
				return s
			}
		}
		time.Sleep(5 * time.Millisecond)
	}
	require.FailNow(g.t, "nobody leads")
	return nil
}

// follower is some member that does not lead.
func (g *group) follower(leader *server) *server {
	for _, s := range g.servers {
		if s.ID() != leader.ID() {
			return s
		}
	}
	require.FailNow(g.t, "no follower")
	return nil
}

func (s *server) set(t testing.TB, key, value string) uint64 {
	t.Helper()
	index, response, err := s.Propose(soon(t), []byte(key+"="+value))
	require.NoError(t, err)
	require.IsType(t, 0, response)
	return index
}

// eventually is for what must come true by itself.
func eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	require.Eventually(t, condition, 15*time.Second, 5*time.Millisecond, what)
}
