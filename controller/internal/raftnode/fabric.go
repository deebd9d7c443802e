package raftnode

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"time"

	"github.com/hashicorp/raft"

	"github.com/coloa-cloud/coloa/controller/internal/ca"
)

// What a connection between controllers carries, as negotiated by ALPN.
const (
	ProtocolRaft = "coloa-raft/1"
	ProtocolHTTP = "h2"
)

// Fabric connects the members of a group. Whoever comes in through it has been recognised as a controller of this cluster. The real one is TLS over TCP; package memnet has one
// in memory, with faults.
type Fabric interface {
	// Address is where the others reach this member.
	Address() string
	// Accept waits for the next connection that carries the protocol, until ctx ends or Close.
	Accept(ctx context.Context, protocol string) (net.Conn, error)
	// Dial connects to the member with that id at that address. An empty id accepts any controller of the cluster.
	Dial(ctx context.Context, id, address, protocol string) (net.Conn, error)
	// Close ends all connections and listens no more.
	Close() error
}

// fabricListener is one protocol of a Fabric as a net.Listener. Its Close leaves the Fabric alone.
type fabricListener struct {
	fabric   Fabric
	protocol string
	ctx      context.Context
	cancel   context.CancelFunc
}

func listenOn(fabric Fabric, protocol string) *fabricListener {
	ctx, cancel := context.WithCancel(context.Background())
	return &fabricListener{fabric, protocol, ctx, cancel}
}

func (l *fabricListener) Accept() (net.Conn, error) { return l.fabric.Accept(l.ctx, l.protocol) }
func (l *fabricListener) Close() error              { l.cancel(); return nil }
func (l *fabricListener) Addr() net.Addr            { return fabricAddress(l.fabric.Address()) }

type fabricAddress string

func (fabricAddress) Network() string  { return "coloa" }
func (a fabricAddress) String() string { return string(a) }

// streams is Raft's side of a Fabric.
type streams struct {
	*fabricListener
	// idOf says which member has that address, so that exactly that member is accepted there.
	idOf func(ctx context.Context, address string) (string, error)
}

func (s *streams) Dial(address raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	id, err := s.idOf(ctx, string(address))
	if err != nil {
		return nil, err
	}
	return s.fabric.Dial(ctx, id, string(address), ProtocolRaft)
}

type peerKey struct{}

// PeerID is the id of the controller that sent a request handled by PeerHandler; it comes from its certificate. It is empty for other requests.
func PeerID(request *http.Request) string {
	id, _ := request.Context().Value(peerKey{}).(string)
	return id
}

// withPeer notes on a new connection whose it is.
func withPeer(ctx context.Context, connection net.Conn) context.Context {
	id, err := peerOf(connection)
	if err != nil {
		return ctx
	}
	return context.WithValue(ctx, peerKey{}, id)
}

func peerOf(connection net.Conn) (string, error) {
	switch connection := connection.(type) {
	case *tls.Conn:
		state := connection.ConnectionState()
		identity, err := ca.PeerIdentity(&state)
		return identity.ID, err
	case interface{ PeerID() string }:
		return connection.PeerID(), nil
	default:
		return "", errors.New("a connection of unknown kind")
	}
}
