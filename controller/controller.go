package controller

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/coloa-cloud/coloa/api/httpapi"
	"github.com/coloa-cloud/coloa/controller/internal/agents"
	"github.com/coloa-cloud/coloa/controller/internal/app"
	"github.com/coloa-cloud/coloa/controller/internal/ca"
	"github.com/coloa-cloud/coloa/controller/internal/dispatch"
	"github.com/coloa-cloud/coloa/controller/internal/operation"
	"github.com/coloa-cloud/coloa/controller/internal/operation/ops"
	"github.com/coloa-cloud/coloa/controller/internal/raftnode"
	"github.com/coloa-cloud/coloa/controller/internal/reconcile"
	"github.com/coloa-cloud/coloa/controller/internal/spool"
	"github.com/coloa-cloud/coloa/controller/internal/state"
)

// Controller is one member of the group that decides.
type Controller struct {
	options    Options
	store      *state.Store
	node       *raftnode.Node
	app        *app.App
	dispatcher *dispatch.Dispatcher
	monitor    *reconcile.HostMonitor
	spool      *spool.Spool
	directory  *directory
	api        http.Handler

	stopping chan struct{} // closed when Run ends: streams end then
	wired    chan struct{} // closed when everything below exists: Raft may lead before New returns
}

// New makes a controller and starts its Raft member. Call Run to serve, or Close.
func New(options Options) (*Controller, error) {
	if options.Logger == nil {
		options.Logger = slog.Default()
	}
	if options.Registry == nil {
		options.Registry = prometheus.NewRegistry()
	}
	if options.HeartbeatEvery == 0 {
		options.HeartbeatEvery = 2 * time.Second
	}
	if options.SilentAfter == 0 {
		options.SilentAfter = 10 * time.Second
	}
	c := &Controller{options: options, store: state.New(), stopping: make(chan struct{}), wired: make(chan struct{})}
	var err error
	if c.spool, err = spool.Open(filepath.Join(options.DataDir, "images")); err != nil {
		return nil, fmt.Errorf("the directory for uploads: %w", err)
	}
	c.node, err = raftnode.Start(raftnode.Options{
		ID: options.ID, Dir: filepath.Join(options.DataDir, "raft"), LogStore: options.LogStore,
		Bind: options.RaftAddress, Advertise: options.RaftAdvertise, Server: options.PeerServer, Client: options.PeerClient, Fabric: options.Fabric,
		FSM: state.FSM{Store: c.store}, OnLeadership: c.lead, PeerHandler: http.HandlerFunc(c.servePeer), Logger: options.Logger,
		HeartbeatTimeout: options.Raft.Heartbeat, ElectionTimeout: options.Raft.Election, LeaderLeaseTimeout: options.Raft.Lease,
	})
	if err != nil {
		return nil, err
	}
	if err := c.wire(); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	close(c.wired)
	if options.First != nil && !options.First.Recovery { // the founder is the group, until others join
		if err := c.node.Bootstrap(); err != nil && !errors.Is(err, raftnode.ErrAlreadyBootstrapped) {
			return nil, errors.Join(err, c.Close())
		}
	}
	return c, nil
}

// Join makes this member one of the group that the members at the addresses belong to.
func (c *Controller) Join(ctx context.Context, addresses ...string) error {
	return c.node.Join(ctx, addresses...)
}

// wire makes what works on the state, from the inside to the outside.
func (c *Controller) wire() (err error) {
	transport := c.options.AgentTransport
	if transport == nil {
		transport = agentTransport(c.options.AgentClient)
	}
	c.app = &app.App{
		Store: c.store, Node: c.node, Placer: app.NewPlacer(c.store, c.node), Agents: &agents.Client{Transport: transport}, Uploads: c.spool,
		Logger: c.options.Logger, Version: c.options.Version,
	}
	c.monitor = reconcile.NewHostMonitor(c.loop(), c.options.SilentAfter)
	c.directory = newDirectory(c.node, c.options.HostAdvertise)
	c.dispatcher = &dispatch.Dispatcher{
		Cluster: c.options.Cluster, Store: c.store, Node: c.node, Propose: c.app.Propose, Heartbeats: c.monitor, Files: c.spool,
		Controllers: c.directory.list, HeartbeatEvery: c.options.HeartbeatEvery, Logger: c.options.Logger,
	}
	c.dispatcher.NewReports()
	c.api, err = httpapi.New(httpapi.Options{Service: c.app, Version: c.options.Version, Logger: c.options.Logger, Metrics: c.options.Registry,
		Limits: c.options.Limits, Stopping: c.stopping})
	return err
}

func (c *Controller) loop() reconcile.Loop {
	return reconcile.Loop{Store: c.store, Propose: c.app.Propose, Logger: c.options.Logger}
}

// lead runs what only the leader does, for one term. It begins once everything from before the term is applied.
func (c *Controller) lead(ctx context.Context) error {
	select {
	case <-c.wired:
	case <-ctx.Done():
		return nil
	}
	if err := c.found(ctx); err != nil {
		return err
	}
	engine := &operation.Engine{Store: c.store, Propose: c.app.Propose, Definitions: ops.Definitions(), Logger: c.options.Logger}
	restart := &reconcile.Restart{Loop: c.loop(), Start: c.app.StartAgain}
	group, ctx := errgroup.WithContext(ctx)
	for _, run := range []func(context.Context) error{
		c.app.Placer.Run, c.dispatcher.Run, engine.Run, c.monitor.Run, restart.Run, reconcile.GC{Loop: c.loop()}.Run,
	} {
		group.Go(func() error { return run(ctx) })
	}
	return group.Wait()
}

// Handler serves the API.
func (c *Controller) Handler() http.Handler { return c.api }

// HostHandler serves the host protocol; identify finds the host that a request comes from.
func (c *Controller) HostHandler(identify dispatch.Identify) http.Handler {
	return c.dispatcher.Handler(identify)
}

// servePeer answers what other controllers forward.
func (c *Controller) servePeer(w http.ResponseWriter, r *http.Request) {
	select {
	case <-c.wired:
	case <-r.Context().Done():
		return
	}
	if r.URL.Path == pathHosts {
		c.directory.serve(w)
		return
	}
	if len(r.URL.Path) > 6 && r.URL.Path[:6] == "/host/" {
		c.dispatcher.Handler(dispatch.FromPeer).ServeHTTP(w, r)
		return
	}
	httpapi.PeerHandler(c.api).ServeHTTP(w, r)
}

// Run serves until ctx ends, and then shuts down: first no new requests, then the term's work, then Raft, so that what was answered is written.
func (c *Controller) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	context.AfterFunc(ctx, func() { close(c.stopping) })
	hostIdentity := func(r *http.Request) (string, error) {
		identity, err := ca.PeerIdentity(r.TLS)
		if err != nil {
			return "", err
		}
		return identity.ID, nil
	}
	group.Go(func() error { return c.serve(ctx, "API", c.options.APIAddress, c.options.APITLS, c.api) })
	group.Go(func() error {
		return c.serve(ctx, "hosts", c.options.HostAddress, c.options.HostTLS, c.HostHandler(hostIdentity))
	})
	group.Go(func() error { return c.Tend(ctx) })
	group.Go(func() error {
		select {
		case <-ctx.Done():
			return nil
		case <-c.node.Done():
			return fmt.Errorf("the Raft member has ended: %w", c.node.Err())
		}
	})
	err := group.Wait()
	return errors.Join(err, c.Close())
}

// Tend does until ctx ends what every member does for itself. Run includes it.
func (c *Controller) Tend(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return c.spool.Clean(ctx, c.store, c.options.ID, c.options.Logger) })
	group.Go(func() error { c.directory.run(ctx); return nil })
	return group.Wait()
}

// Close ends the Raft member in order: a leader hands over first.
func (c *Controller) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return c.node.Close(ctx)
}

// Kill ends the Raft member as a crash would (testbed).
func (c *Controller) Kill() error {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return c.node.Close(ctx)
}

func (c *Controller) serve(ctx context.Context, what, address string, config *tls.Config, handler http.Handler) error {
	if address == "" {
		<-ctx.Done()
		return nil
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("serving %s: %w", what, err)
	}
	listener = httpapi.LimitListener(listener, httpapi.DefaultConnections, httpapi.DefaultConnectionsPerAddress)
	server := httpapi.NewServer(handler, config, c.options.Logger)
	c.options.Logger.Info("serving", "what", what, "address", listener.Addr().String())
	var stopped sync.WaitGroup
	stopped.Go(func() {
		<-ctx.Done()
		end, cancel := context.WithTimeout(context.Background(), 3*time.Second)
		defer cancel()
		if server.Shutdown(end) != nil { // long polls and consoles do not end by themselves
			_ = server.Close() // it is over
		}
	})
	err = server.ServeTLS(listener, "", "")
	stopped.Wait()
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// Node gives the testbed the Raft member, Store the state.
func (c *Controller) Node() *raftnode.Node { return c.node }
func (c *Controller) Store() *state.Store  { return c.store }

// Known is of how many members it is known where they serve hosts.
func (c *Controller) Known() int {
	list, _ := c.directory.look()
	return len(list)
}

// agentTransport keeps one transport for each host, since each accepts the certificate of that host alone.
func agentTransport(config func(host string) *tls.Config) func(string) http.RoundTripper {
	var mu sync.Mutex
	transports := map[string]*http.Transport{}
	return func(host string) http.RoundTripper {
		mu.Lock()
		defer mu.Unlock()
		if transports[host] == nil {
			transports[host] = &http.Transport{TLSClientConfig: config(host), ForceAttemptHTTP2: false, MaxIdleConnsPerHost: 4, IdleConnTimeout: time.Minute, TLSHandshakeTimeout: 5 * time.Second}
		}
		return transports[host]
	}
}
