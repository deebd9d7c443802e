package memnet

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func connect(t *testing.T, from, to *Endpoint) (near, far net.Conn) {
	t.Helper()
	arrived := make(chan net.Conn, 1)
	go func() {
		connection, _ := to.Accept(t.Context(), "p")
		arrived <- connection
	}()
	near, err := from.Dial(t.Context(), to.id, to.Address(), "p")
	require.NoError(t, err)
	return near, <-arrived
}

func dialFails(t *testing.T, from, to *Endpoint) {
	t.Helper()
	_, err := from.Dial(t.Context(), "", to.Address(), "p")
	require.ErrorIs(t, err, errUnreachable)
}

func broken(t *testing.T, connection net.Conn) {
	t.Helper()
	_ = connection.SetDeadline(time.Now().Add(5 * time.Second))
	_, err := connection.Read(make([]byte, 1))
	var timeout net.Error
	require.Error(t, err)
	require.NotErrorAs(t, err, &timeout)
}

func TestFaults(t *testing.T) {
	n := New()
	a, b, c := n.Endpoint("a"), n.Endpoint("b"), n.Endpoint("c")
	ab, ba := connect(t, a, b)
	ac, _ := connect(t, a, c)
	require.Equal(t, "b", ab.(*connection).PeerID())
	require.Equal(t, "a", ba.(*connection).PeerID())

	n.Partition("b", "a")
	broken(t, ab)
	dialFails(t, a, b)
	dialFails(t, b, a)
	go func() { _, _ = ac.Write([]byte{1}) }()
	connect(t, b, c)

	n.Isolate("c")
	broken(t, ac)
	dialFails(t, b, c)
	dialFails(t, c, a)
	connect(t, c, c) // a member always reaches itself

	n.Heal()
	connect(t, a, b)
	ca, _ := connect(t, c, a)

	require.NoError(t, a.Close())
	require.NoError(t, a.Close())
	broken(t, ca)
	dialFails(t, c, a)
	dialFails(t, a, c)
	_, err := a.Accept(t.Context(), "p")
	require.ErrorIs(t, err, net.ErrClosed)
	again := n.Endpoint("a") // after a restart
	connect(t, c, again)
}

func TestDialChecksTheIDAndTheDeadline(t *testing.T) {
	n := New()
	a, b := n.Endpoint("a"), n.Endpoint("b")
	_, err := a.Dial(t.Context(), "c", b.Address(), "p")
	require.ErrorContains(t, err, "it is b, not c")
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	_, err = a.Dial(ctx, "b", b.Address(), "nobody accepts this")
	require.ErrorIs(t, err, context.DeadlineExceeded)
	n.mu.Lock()
	defer n.mu.Unlock()
	require.Empty(t, n.open)
}
