package raftnode

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

// silence is how long a connection between controllers may say nothing before it is asked whether it lives, and how long it then has to answer. Without this a request on the connection to a
// machine that lost its power would wait for many minutes.
const silence = 3 * time.Second

// PeerTransport carries HTTP requests to other controllers: in https://ID/path, ID is the member's id. It connects to that member only, where the group says it is.
func (n *Node) PeerTransport() http.RoundTripper { return n.peers }

// PeerClient is an http.Client over PeerTransport, without a time limit of its own. It follows no redirects.
func (n *Node) PeerClient() *http.Client { return peerClient(n.peers) }

// PeerURL is the base URL of a member for PeerTransport and PeerClient.
func PeerURL(id string) string { return "https://" + id }

// LeaderURL is the base URL of the leader for PeerClient; ok is false when none is known.
func (n *Node) LeaderURL() (base string, ok bool) {
	id, _, ok := n.Leader()
	return PeerURL(id), ok
}

func peerClient(transport http.RoundTripper) *http.Client {
	return &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

type dialFunc func(ctx context.Context, network, address string) (net.Conn, error)

func (n *Node) newPeerTransport(dial dialFunc) *http.Transport {
	var protocols http.Protocols
	protocols.SetHTTP1(true) // the fabric in memory
	protocols.SetHTTP2(true)
	return &http.Transport{
		DialTLSContext:        dial,
		Protocols:             &protocols,
		MaxIdleConnsPerHost:   16,
		IdleConnTimeout:       time.Minute,
		ExpectContinueTimeout: time.Second,
		HTTP2:                 &http.HTTP2Config{SendPingTimeout: silence, PingTimeout: silence},
	}
}

// dialMember connects to the member whose id stands where a host name would.
func (n *Node) dialMember(ctx context.Context, _, hostPort string) (net.Conn, error) {
	id, _, err := net.SplitHostPort(hostPort)
	if err != nil {
		return nil, err
	}
	member, ok := n.member(id)
	if leader, address, known := n.Leader(); !ok && known && leader == id {
		// A new member hears from the leader before it has a copy of the list of members.
		member, ok = Member{ID: leader, Address: address}, true
	}
	if !ok {
		return nil, fmt.Errorf("controller %q is not a member of this group", id)
	}
	return n.fabric.Dial(ctx, member.ID, member.Address, ProtocolHTTP)
}

// idOf is the member at an address, for Raft, which knows only addresses when it connects.
func (n *Node) idOf(ctx context.Context, address string) (string, error) {
	select {
	case <-n.ready:
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
	if n.raft != nil {
		for _, member := range n.Members() {
			if member.Address == address {
				return member.ID, nil
			}
		}
	}
	return "", fmt.Errorf("no member of this group is at %s", address)
}

func (n *Node) onLeader(ctx context.Context, method, path string, message any) error {
	id, _, ok := n.Leader()
	if !ok || id == n.ID() {
		return n.notLeader()
	}
	return n.call(ctx, method, id, path, message, nil)
}

// call sends a message to a member and reads its answer.
func (n *Node) call(ctx context.Context, method, id, path string, message, answer any) error {
	return n.exchange(ctx, n.PeerClient(), method, PeerURL(id)+path, message, answer)
}

// callAt is call to a controller that may be no member (yet, or any more). An empty id accepts any controller of the cluster.
func (n *Node) callAt(ctx context.Context, id, address, method, path string, message, answer any) error {
	transport := n.newPeerTransport(func(ctx context.Context, _, _ string) (net.Conn, error) {
		return n.fabric.Dial(ctx, id, address, ProtocolHTTP)
	})
	defer transport.CloseIdleConnections()
	return n.exchange(ctx, peerClient(transport), method, PeerURL("controller")+path, message, answer)
}

func (n *Node) statusOf(ctx context.Context, id, address string) (statusMessage, error) {
	var status statusMessage
	ctx, cancel := context.WithTimeout(ctx, transportTimeout)
	defer cancel()
	err := n.callAt(ctx, id, address, http.MethodGet, "/raft/v1/status", nil, &status)
	if err == nil && status.ID != id {
		err = fmt.Errorf("controller %s answers at %s, not %s", status.ID, address, id)
	}
	return status, err
}

func (n *Node) exchange(ctx context.Context, client *http.Client, method, url string, message, answer any) error {
	var body io.Reader
	if message != nil {
		text, err := json.Marshal(message)
		if err != nil {
			return err
		}
		body = bytes.NewReader(text)
	}
	request, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(response.Body, maxMessageBytes))
	if err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	if response.StatusCode == http.StatusOK {
		if answer == nil {
			return nil
		}
		return json.Unmarshal(text, answer)
	}
	var problem problemMessage
	if err := json.Unmarshal(text, &problem); err != nil {
		return fmt.Errorf("the controller answered %s", response.Status)
	}
	if problem.Code == "not-leader" {
		return &NotLeaderError{LeaderID: problem.LeaderID, LeaderAddress: problem.LeaderAddress}
	}
	if known := codes[problem.Code]; known != nil {
		return fmt.Errorf("%w (the controller said: %s)", known, problem.Message)
	}
	return errors.New(problem.Message)
}
