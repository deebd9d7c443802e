// Package memnet is a network between controllers in one process, with faults: for tests, the testbed and the development mode. It is made of net.Pipe, so it also works in virtual time
// (testing/synctest). Its endpoints serve as raftnode.Options.Fabric.
//
// What may live here: connections and how they break. What may not: anything that the real network does not have.
package memnet

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
)

var errUnreachable = errors.New("no route in the network in memory")

// Network connects endpoints. The zero value is not usable; see New.
type Network struct {
	mu        sync.Mutex
	endpoints map[string]*Endpoint // by address
	cut       map[pair]bool
	isolated  map[string]bool
	open      map[*link]struct{}
}

type pair struct{ low, high string }

func pairOf(a, b string) pair { return pair{min(a, b), max(a, b)} }

// link is a connection with its two ends.
type link struct {
	ends pair
	a, b net.Conn
}

func (l *link) close() { _, _ = l.a.Close(), l.b.Close() }

// New makes a network without faults and endpoints.
func New() *Network {
	return &Network{endpoints: map[string]*Endpoint{}, cut: map[pair]bool{}, isolated: map[string]bool{}, open: map[*link]struct{}{}}
}

// Partition lets no more through between two members, in both directions, and breaks what is open.
func (n *Network) Partition(a, b string) {
	n.change(func() { n.cut[pairOf(a, b)] = true })
}

// Isolate lets nothing through between a member and all others.
func (n *Network) Isolate(id string) {
	n.change(func() { n.isolated[id] = true })
}

// Heal ends all faults.
func (n *Network) Heal() {
	n.change(func() { clear(n.cut); clear(n.isolated) })
}

func (n *Network) change(do func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	do()
	for l := range n.open {
		if n.broken(l.ends) {
			l.close()
			delete(n.open, l)
		}
	}
}

func (n *Network) broken(ends pair) bool {
	return ends.low != ends.high && (n.cut[ends] || n.isolated[ends.low] || n.isolated[ends.high])
}

// Endpoint is a member's place in the network, at the address <id>:8445. It takes the place of an earlier one with that id, which must be closed.
func (n *Network) Endpoint(id string) *Endpoint {
	e := &Endpoint{network: n, id: id, closed: make(chan struct{}), incoming: map[string]chan net.Conn{}}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.endpoints[e.Address()] = e
	return e
}

// Endpoint is one member's side of a Network.
type Endpoint struct {
	network *Network
	id      string
	closed  chan struct{}

	mu       sync.Mutex
	incoming map[string]chan net.Conn // by protocol
}

// Address is <id>:8445.
func (e *Endpoint) Address() string { return e.id + ":8445" }

func (e *Endpoint) arrivals(protocol string) chan net.Conn {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.incoming[protocol] == nil {
		e.incoming[protocol] = make(chan net.Conn)
	}
	return e.incoming[protocol]
}

// Accept waits for the next connection with that protocol, until ctx ends or Close.
func (e *Endpoint) Accept(ctx context.Context, protocol string) (net.Conn, error) {
	select {
	case connection := <-e.arrivals(protocol):
		return connection, nil
	case <-ctx.Done():
		return nil, net.ErrClosed
	case <-e.closed:
		return nil, net.ErrClosed
	}
}

// Dial connects to the endpoint at an address. An id that is not empty must be that endpoint's.
func (e *Endpoint) Dial(ctx context.Context, id, address, protocol string) (net.Conn, error) {
	n := e.network
	n.mu.Lock()
	target := n.endpoints[address]
	switch {
	case target == nil || e.isClosed() || target.isClosed() || n.broken(pairOf(e.id, target.id)):
		n.mu.Unlock()
		return nil, fmt.Errorf("connect from %s to %s: %w", e.id, address, errUnreachable)
	case id != "" && id != target.id:
		n.mu.Unlock()
		return nil, fmt.Errorf("connect from %s to %s: it is %s, not %s", e.id, address, target.id, id)
	}
	near, far := net.Pipe()
	l := &link{ends: pairOf(e.id, target.id), a: near, b: far}
	n.open[l] = struct{}{}
	n.mu.Unlock()
	select {
	case target.arrivals(protocol) <- &connection{Conn: far, peer: e.id, network: n, link: l}:
		return &connection{Conn: near, peer: target.id, network: n, link: l}, nil
	case <-ctx.Done():
		n.forget(l)
		return nil, fmt.Errorf("connect from %s to %s: %w", e.id, address, context.Cause(ctx))
	case <-target.closed:
	case <-e.closed:
	}
	n.forget(l)
	return nil, fmt.Errorf("connect from %s to %s: %w", e.id, address, net.ErrClosed)
}

func (e *Endpoint) isClosed() bool {
	select {
	case <-e.closed:
		return true
	default:
		return false
	}
}

// Close breaks all connections of the endpoint.
func (e *Endpoint) Close() error {
	n := e.network
	n.mu.Lock()
	defer n.mu.Unlock()
	if e.isClosed() {
		return nil
	}
	close(e.closed)
	for l := range n.open {
		if l.ends.low == e.id || l.ends.high == e.id {
			l.close()
			delete(n.open, l)
		}
	}
	return nil
}

func (n *Network) forget(l *link) {
	l.close()
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.open, l)
}

// connection is one end of a link.
type connection struct {
	net.Conn
	peer    string
	network *Network
	link    *link
}

// PeerID is who is at the other end.
func (c *connection) PeerID() string { return c.peer }

func (c *connection) Close() error {
	err := c.Conn.Close()
	c.network.mu.Lock()
	defer c.network.mu.Unlock()
	delete(c.network.open, c.link)
	return err
}
