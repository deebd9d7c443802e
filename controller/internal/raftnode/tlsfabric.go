package raftnode

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"
)

const (
	// handshakeTimeout is how long a connection may take to say who it is.
	handshakeTimeout = 3 * time.Second
	// maxPending and maxPendingFrom bound connections that have not said who they are, in all and from one address, so that a flood from one machine leaves room for the others.
	maxPending     = 256
	maxPendingFrom = 16
)

// tlsFabric carries Raft and HTTP over one TCP port with TLS 1.3, told apart by ALPN.
type tlsFabric struct {
	listener  net.Listener
	advertise string
	server    *tls.Config
	client    func(string) *tls.Config
	log       *slog.Logger

	incoming map[string]chan net.Conn
	closed   chan struct{}
	accepts  sync.WaitGroup

	mu      sync.Mutex
	open    map[net.Conn]struct{} // all connections, also those that still shake hands
	pending map[string]int        // by address; their sum is waiting
	waiting int
}

func newTLSFabric(o *Options) (*tlsFabric, error) {
	listener, err := net.Listen("tcp", o.Bind)
	if err != nil {
		return nil, fmt.Errorf("listen for the other controllers: %w", err)
	}
	advertise := o.Advertise
	if advertise == "" {
		advertise = listener.Addr().String()
	}
	host, _, err := net.SplitHostPort(advertise)
	if ip := net.ParseIP(host); err != nil || host == "" || (ip != nil && ip.IsUnspecified()) {
		_ = listener.Close()
		return nil, fmt.Errorf("the others cannot reach this controller at %q: set the address to advertise to host:port", advertise)
	}
	server := o.Server.Clone()
	server.NextProtos = []string{ProtocolRaft, ProtocolHTTP}
	f := &tlsFabric{
		listener: listener, advertise: advertise, server: server, client: o.Client, log: o.Logger,
		incoming: map[string]chan net.Conn{ProtocolRaft: make(chan net.Conn), ProtocolHTTP: make(chan net.Conn)},
		closed:   make(chan struct{}),
		open:     map[net.Conn]struct{}{},
		pending:  map[string]int{},
	}
	f.accepts.Go(f.acceptAll)
	return f, nil
}

func (f *tlsFabric) Address() string { return f.advertise }

func (f *tlsFabric) Accept(ctx context.Context, protocol string) (net.Conn, error) {
	select {
	case connection := <-f.incoming[protocol]:
		return connection, nil
	case <-ctx.Done():
		return nil, net.ErrClosed
	case <-f.closed:
		return nil, net.ErrClosed
	}
}

func (f *tlsFabric) acceptAll() {
	for {
		raw, err := f.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // out of file descriptors, most likely: give others time to close some
			f.log.Warn("cannot accept a connection from another controller", "error", err)
			select {
			case <-time.After(100 * time.Millisecond):
			case <-f.closed:
				return
			}
			continue
		}
		from := hostOf(raw)
		if !f.admit(raw, from) {
			_ = raw.Close()
			continue
		}
		f.accepts.Go(func() { f.shakeHands(raw, from) })
	}
}

func hostOf(connection net.Conn) string {
	host, _, _ := net.SplitHostPort(connection.RemoteAddr().String())
	return host
}

func (f *tlsFabric) admit(raw net.Conn, from string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.waiting >= maxPending || f.pending[from] >= maxPendingFrom || f.isClosed() {
		return false
	}
	f.waiting++
	f.pending[from]++
	f.open[raw] = struct{}{}
	return true
}

func (f *tlsFabric) shakeHands(raw net.Conn, from string) {
	connection, protocol, err := f.recognise(raw)
	f.mu.Lock()
	f.waiting--
	if f.pending[from]--; f.pending[from] == 0 {
		delete(f.pending, from)
	}
	f.mu.Unlock()
	if err != nil {
		f.forget(raw)
		if !f.isClosed() {
			f.log.Warn("refused a connection to the controllers' port", "from", from, "error", err)
		}
		return
	}
	select {
	case f.incoming[protocol] <- connection:
	case <-f.closed:
		f.forget(raw)
	}
}

// recognise makes the handshake; the server configuration refuses everybody but controllers of this cluster. The wrapper that notices closing is below TLS, because net/http
// recognises HTTP/2 only on a *tls.Conn.
func (f *tlsFabric) recognise(raw net.Conn) (net.Conn, string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), handshakeTimeout) // closing the fabric closes raw
	defer cancel()
	connection := tls.Server(&noticed{Conn: raw, fabric: f}, f.server)
	if err := connection.HandshakeContext(ctx); err != nil {
		return nil, "", err
	}
	protocol := connection.ConnectionState().NegotiatedProtocol
	if f.incoming[protocol] == nil {
		return nil, "", errors.New("it speaks neither Raft nor HTTP/2")
	}
	return connection, protocol, nil
}

func (f *tlsFabric) Dial(ctx context.Context, id, address, protocol string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	raw, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("connect to controller %s: %w", id, err)
	}
	f.mu.Lock()
	closed := f.isClosed()
	if !closed {
		f.open[raw] = struct{}{}
	}
	f.mu.Unlock()
	if closed {
		_ = raw.Close()
		return nil, net.ErrClosed
	}
	config := f.client(id).Clone()
	config.NextProtos = []string{protocol}
	connection := tls.Client(&noticed{Conn: raw, fabric: f}, config)
	if err := connection.HandshakeContext(ctx); err != nil {
		f.forget(raw)
		return nil, fmt.Errorf("connect to controller %s at %s: %w", id, address, err)
	}
	if connection.ConnectionState().NegotiatedProtocol != protocol {
		f.forget(raw)
		return nil, fmt.Errorf("connect to controller %s at %s: it does not speak %s", id, address, protocol)
	}
	return connection, nil
}

func (f *tlsFabric) forget(raw net.Conn) {
	_ = raw.Close()
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.open, raw)
}

func (f *tlsFabric) isClosed() bool {
	select {
	case <-f.closed:
		return true
	default:
		return false
	}
}

// Close cuts all connections: Raft would otherwise wait for answers that nobody will give.
func (f *tlsFabric) Close() error {
	f.mu.Lock()
	if f.isClosed() {
		f.mu.Unlock()
		return nil
	}
	close(f.closed)
	err := f.listener.Close()
	for raw := range f.open {
		_ = raw.Close()
	}
	clear(f.open)
	f.mu.Unlock()
	f.accepts.Wait()
	return err
}

// noticed tells the fabric when its connection is closed.
type noticed struct {
	net.Conn
	fabric *tlsFabric
}

func (n *noticed) Close() error {
	err := n.Conn.Close()
	n.fabric.mu.Lock()
	defer n.fabric.mu.Unlock()
	delete(n.fabric.open, n.Conn)
	return err
}
