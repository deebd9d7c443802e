package raftnode_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coloa-cloud/coloa/controller/internal/ca"
	"github.com/coloa-cloud/coloa/controller/internal/raftnode"
)

// write keeps writing numbered keys to whoever leads, and returns those that were acknowledged.
func (g *group) write(stop <-chan struct{}, members []*server, prefix string) map[string]bool {
	acknowledged := map[string]bool{}
	for i := 0; ; i++ {
		select {
		case <-stop:
			return acknowledged
		default:
		}
		key := fmt.Sprintf("%s-%d", prefix, i)
		for _, s := range members {
			ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
			_, _, err := s.Propose(ctx, []byte(key+"=1"))
			cancel()
			if err == nil {
				acknowledged[key] = true
				break
			}
			if errors.Is(err, raftnode.ErrNotLeader) {
				time.Sleep(time.Millisecond)
			}
		}
	}
}

func TestKilledLeaderCostsNoAcknowledgedWrite(t *testing.T) {
	g := newGroup(t, true) // real TLS, real files, the timing of production
	leader := g.form(3)
	for _, s := range g.servers {
		eventually(t, "everybody knows the leader", func() bool { _, _, ok := s.Leader(); return ok })
	}
	follower := g.follower(leader)
	_, _, err := follower.Propose(soon(t), []byte("a=1"))
	var hint *raftnode.NotLeaderError
	require.ErrorAs(t, err, &hint)
	require.Equal(t, leader.ID(), hint.LeaderID)
	leader.set(t, "a", "1")
	require.NoError(t, follower.CatchUp(soon(t)))
	require.Equal(t, "1", follower.state.get("a"))

	members := []*server{g.servers["c1"], g.servers["c2"], g.servers["c3"]}
	stop := make(chan struct{})
	results := make([]map[string]bool, 4)
	var writers sync.WaitGroup
	for i := range results {
		writers.Go(func() { results[i] = g.write(stop, members, fmt.Sprintf("w%d", i)) })
	}
	time.Sleep(300 * time.Millisecond)
	killed := time.Now()
	g.stop(over(), leader.ID())
	next := g.leader()
	next.set(t, "after", "1")
	took := time.Since(killed)
	time.Sleep(200 * time.Millisecond)
	close(stop)
	writers.Wait()

	t.Logf("fail-over took %v", took)
	require.Less(t, took, 3*time.Second)
	count := 0
	for _, s := range g.servers {
		require.NoError(t, s.CatchUp(soon(t)))
		for _, acknowledged := range results {
			for key := range acknowledged {
				count++
				require.Equal(t, "1", s.state.get(key), "%s lost %s", s.ID(), key)
			}
		}
	}
	require.Positive(t, count)

	back := g.start(leader.ID()) // at another port, so it has to say so
	require.NoError(t, back.Join(soon(t), next.Address()))
	require.NoError(t, back.CatchUp(soon(t)))
	require.Equal(t, next.state.all(), back.state.all())
}

func TestPeersTalkHTTP2WithTheirNames(t *testing.T) {
	t.Parallel()
	g := newGroup(t, true)
	g.adjust = func(o *raftnode.Options) {
		o.PeerHandler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = fmt.Fprint(w, r.Proto, " ", raftnode.PeerID(r))
		})
	}
	leader := g.form(3)
	follower := g.follower(leader)
	_, _, err := follower.WaitLeader(soon(t))
	require.NoError(t, err)
	url, ok := follower.LeaderURL()
	require.True(t, ok)
	require.Equal(t, "HTTP/2.0 "+follower.ID(), fetch(t, follower, url+"/v1/x"))
}

// refused is true when the port lets the client do nothing: neither Raft nor HTTP.
func refused(t *testing.T, address string, config *tls.Config) error {
	t.Helper()
	connection, err := net.Dial("tcp", address)
	require.NoError(t, err)
	defer func() { _ = connection.Close() }()
	_ = connection.SetDeadline(time.Now().Add(10 * time.Second))
	client := tls.Client(connection, config)
	if err := client.Handshake(); err != nil {
		return err
	}
	_, err = client.Read(make([]byte, 1))
	return err
}

func TestPortRefusesStrangers(t *testing.T) {
	t.Parallel()
	g := newGroup(t, true)
	s := g.form(1)
	foreign, err := ca.NewAuthority("test") // the same name, another key
	require.NoError(t, err)
	for name, pair := range map[string]*ca.KeyPair{
		"agent":              keyPair(t, g.pki, ca.RoleHost, "c2"),
		"API":                keyPair(t, g.pki, ca.RoleAPI, "c2"),
		"foreign controller": keyPair(t, foreign, ca.RoleController, "c2"),
		"nobody":             nil,
	} {
		for _, protocol := range []string{raftnode.ProtocolRaft, raftnode.ProtocolHTTP} {
			config := &tls.Config{MinVersion: tls.VersionTLS13, InsecureSkipVerify: true} //nolint:gosec // a stranger trusts anybody
			if pair != nil {
				config = ca.ClientConfig(pair, g.pki.Pool(), ca.Expect{Cluster: "test", Roles: []ca.Role{ca.RoleController}})
			}
			config.NextProtos = []string{protocol}
			err := refused(t, s.Address(), config)
			require.ErrorContains(t, err, "remote error: tls:", "%s by %s", name, protocol)
		}
	}
	controller := ca.ClientConfig(keyPair(t, g.pki, ca.RoleController, "c2"), g.pki.Pool(), ca.Expect{Cluster: "test", Roles: []ca.Role{ca.RoleController}})
	require.Error(t, refused(t, s.Address(), controller), "no protocol named")
	controller.NextProtos = []string{"http/1.1"}
	require.Error(t, refused(t, s.Address(), controller))
	controller.NextProtos = []string{"smtp"}
	require.ErrorContains(t, refused(t, s.Address(), controller), "no application protocol")
	s.set(t, "still", "alive")
}

func TestPortSurvivesGarbageAndSlowness(t *testing.T) {
	t.Parallel()
	g := newGroup(t, true)
	s := g.form(1)
	for _, garbage := range []string{"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "\x00\x00\x00\x00", strings.Repeat("\xff", 100_000)} {
		connection, err := net.Dial("tcp", s.Address())
		require.NoError(t, err)
		_ = connection.SetDeadline(time.Now().Add(10 * time.Second))
		_, _ = connection.Write([]byte(garbage))
		if tcp, ok := connection.(*net.TCPConn); ok {
			_ = tcp.CloseWrite()
		}
		_, err = io.Copy(io.Discard, connection)
		var timeout net.Error
		require.False(t, errors.As(err, &timeout) && timeout.Timeout(), "it must be hung up on")
		_ = connection.Close()
	}

	// Silent connections from one address: 16 may wait, the next are hung up on at once, the first after three seconds.
	started := time.Now()
	var closedEarly, closedLate atomic.Int32
	var all sync.WaitGroup
	for range 40 {
		all.Go(func() {
			connection, err := net.Dial("tcp", s.Address())
			if err != nil {
				return
			}
			defer func() { _ = connection.Close() }()
			_ = connection.SetDeadline(time.Now().Add(10 * time.Second))
			_, err = connection.Read(make([]byte, 1))
			var timeout net.Error
			if errors.As(err, &timeout) && timeout.Timeout() {
				return
			}
			if time.Since(started) < 1500*time.Millisecond {
				closedEarly.Add(1)
			} else {
				closedLate.Add(1)
			}
		})
	}
	time.Sleep(100 * time.Millisecond)
	s.set(t, "still", "alive")
	all.Wait()
	require.EqualValues(t, 16, closedLate.Load())
	require.EqualValues(t, 24, closedEarly.Load())
	joiner := g.start("c2")
	require.NoError(t, joiner.Join(soon(t), s.Address()), "and then it is open again")
}

func TestAddressMustBeReachable(t *testing.T) {
	t.Parallel()
	g := newGroup(t, true)
	g.adjust = func(o *raftnode.Options) { o.Bind = "0.0.0.0:0" }
	_, err := raftnode.Start(g.options("c1", newKeyValue()))
	require.ErrorContains(t, err, "set the address to advertise")
}
