package testbed

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"sync"

	"github.com/coloa-cloud/coloa/api/httpapi"
	"github.com/coloa-cloud/coloa/controller"
)

// Controller is one member. Its address stays the same over restarts.
type Controller struct {
	ID     string
	cloud  *Cloud
	number int

	mu      sync.Mutex
	current *controller.Controller
	toHosts http.Handler
	server  *http.Server
	alive   context.Context // ends with the member: lines to it break then
	die     context.CancelFunc
	address string
	ended   sync.WaitGroup
}

// Start starts the member, for the first time or again.
func (m *Controller) Start() error {
	options := controller.Options{
		ID: m.ID, Cluster: m.cloud.ID, DataDir: filepath.Join(m.cloud.Options.Dir, m.ID), Version: "testbed", LogStore: m.cloud.Options.LogStore,
		HostAdvertise: m.ID + ":8444", Fabric: m.cloud.Network.Endpoint(m.ID), AgentTransport: m.cloud.agentTransport,
		SilentAfter: m.cloud.Options.SilentAfter, HeartbeatEvery: m.cloud.Options.HeartbeatEvery, Limits: m.cloud.Options.Limits,
		Raft: m.cloud.Options.Raft, Logger: m.cloud.Options.Logger.With("controller", m.ID),
	}
	if m.number == 0 {
		options.First = m.cloud.first
	}
	started, err := controller.New(options)
	if err != nil {
		return err
	}
	listen := m.address
	if listen == "" {
		port := 0
		if m.cloud.Options.Port != 0 {
			port = m.cloud.Options.Port + m.number
		}
		listen = fmt.Sprintf("127.0.0.1:%d", port)
	}
	listener, err := net.Listen("tcp", listen)
	if err != nil {
		return errors.Join(err, started.Close())
	}
	server := httpapi.NewServer(started.Handler(), m.cloud.authority.server(), m.cloud.Options.Logger)
	alive, die := context.WithCancel(context.Background())
	m.mu.Lock()
	m.current, m.server, m.alive, m.die, m.address = started, server, alive, die, listener.Addr().String()
	m.toHosts = started.HostHandler(func(r *http.Request) (string, error) { return r.Header.Get(headerHost), nil })
	m.mu.Unlock()
	m.ended.Go(func() {
		if err := started.Tend(alive); err != nil {
			m.cloud.Options.Logger.Error("tending", "controller", m.ID, "error", err)
		}
	})
	m.ended.Go(func() { _ = server.Serve(tls.NewListener(listener, server.TLSConfig)) }) // it ends by Close
	return nil
}

// Stop ends the member in order: a leader hands over first.
func (m *Controller) Stop() error { return m.end((*controller.Controller).Close) }

// Kill ends the member as kill -9 would: nothing is handed over, connections break.
func (m *Controller) Kill() error { return m.end((*controller.Controller).Kill) }

func (m *Controller) end(by func(*controller.Controller) error) error {
	m.mu.Lock()
	current, server, die := m.current, m.server, m.die
	m.current, m.server, m.toHosts = nil, nil, nil
	m.mu.Unlock()
	if current == nil {
		return nil
	}
	die()
	err := errors.Join(server.Close(), by(current))
	m.ended.Wait()
	return err
}

// Running says whether the member has been started.
func (m *Controller) Running() bool { return m.get() != nil }

// Leads says whether the member leads.
func (m *Controller) Leads() bool {
	current := m.get()
	return current != nil && current.Node().IsLeader()
}

// URL of the member's API.
func (m *Controller) URL() string { return "https://" + m.address }

// Hash returns the hash of the member's state with the index that it was taken at.
func (m *Controller) Hash() (hash string, index uint64, err error) {
	current := m.get()
	if current == nil {
		return "", 0, errors.New(m.ID + " does not run")
	}
	snapshot := current.Store().Snapshot()
	hash, err = snapshot.Hash()
	return hash, snapshot.Index(), err
}

func (m *Controller) get() *controller.Controller {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.current
}

func (m *Controller) founded() bool {
	current := m.get()
	return current != nil && current.Store().Snapshot().Cluster() != nil
}

// hosts is how many hosts the member knows.
func (m *Controller) hosts() int {
	if current := m.get(); current != nil {
		return len(current.Store().Snapshot().Hosts())
	}
	return 0
}

// hostHandler serves hosts for as long as alive lasts; nil when the member does not run.
func (m *Controller) hostHandler() (serve http.Handler, alive context.Context) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.toHosts, m.alive
}

// Wait waits until the member has applied what the leader had committed.
func (m *Controller) Wait(ctx context.Context) error {
	current := m.get()
	if current == nil {
		return errors.New(m.ID + " does not run")
	}
	return current.Node().CatchUp(ctx)
}
