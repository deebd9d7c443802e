// Package testbed runs a whole cloud in one process: controllers with a real Raft log, and simulated hosts with real agents over a fake
// hypervisor and storage in memory. System tests make faults with it; `coloa-controller dev` is it. It holds no decisions of its own.
package testbed

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"path/filepath"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/coloa-cloud/coloa/agent/hypervisor"
	"github.com/coloa-cloud/coloa/agent/hypervisor/fake"
	"github.com/coloa-cloud/coloa/api/httpapi"
	"github.com/coloa-cloud/coloa/controller"
	"github.com/coloa-cloud/coloa/storage/mem"
)

// Options say how large the cloud is. Zero means the default.
type Options struct {
	Controllers int    // 1
	Hosts       int    // 1
	Dir         string // where controllers keep their logs; needed
	LogStore    string // "wal" (default) or "memory"
	Logger      *slog.Logger
	// Host is what each simulated host has.
	Host       hypervisor.Info
	Hypervisor fake.Options
	Storage    mem.Options
	// KeepLedgers has the agents keep their ledgers in files, as real ones do, and make seeds. Otherwise a restarted agent has forgotten what it did.
	KeepLedgers bool
	// Ports, if set, gives each controller a fixed port on the loopback address, counted from it.
	Port           int
	SilentAfter    time.Duration
	HeartbeatEvery time.Duration
	Limits         httpapi.Limits
	// Raft overrides the times of the Raft group.
	Raft controller.RaftTimes
}

// Cloud is the running testbed.
type Cloud struct {
	Options     Options
	ID          string
	Token       string // one-time token of the first administrator
	Network     *controller.Network
	Controllers []*Controller
	Hosts       []*Host
	authority   *authority
	first       *controller.First
	mu          sync.Mutex
}

// Start brings the cloud up: the first controller founds it, the others join, and the hosts register.
func Start(ctx context.Context, options Options) (_ *Cloud, err error) {
	options.complete()
	c := &Cloud{Options: options, ID: uuid.Must(uuid.NewV7()).String(), Network: controller.NewNetwork()}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.Close())
		}
	}()
	if c.authority, err = newAuthority(); err != nil {
		return nil, err
	}
	c.Token = "coloa_testbed-" + uuid.NewString() + uuid.NewString()
	sum := sha256.Sum256([]byte(c.Token))
	c.first = &controller.First{
		Cluster: c.ID, Name: "testbed", Admin: "admin", TokenHash: hex.EncodeToString(sum[:]), Created: time.Now(), ExpiresAt: time.Now().Add(24 * time.Hour),
	}
	for number := range options.Controllers {
		member := &Controller{cloud: c, ID: fmt.Sprintf("c%d", number+1), number: number}
		c.Controllers = append(c.Controllers, member)
		if err := member.Start(); err != nil {
			return nil, err
		}
		if number == 0 {
			if err := c.waitReady(ctx); err != nil {
				return nil, err
			}
		} else {
			if err := member.current.Join(ctx, "c1:8445"); err != nil {
				return nil, fmt.Errorf("%s joins: %w", member.ID, err)
			}
		}
	}
	for number := range options.Hosts {
		host := newHost(c, number)
		c.Hosts = append(c.Hosts, host)
		if err := host.Start(); err != nil {
			return nil, err
		}
	}
	return c, c.waitHosts(ctx)
}

func (o *Options) complete() {
	o.Controllers, o.Hosts = max(1, o.Controllers), max(0, o.Hosts)
	if o.Logger == nil {
		o.Logger = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	if o.Host.CPUs == 0 {
		o.Host = hypervisor.Info{Hypervisor: "simulated", Architecture: "x86_64", CPUs: 16, MemoryMiB: 64 << 10, Acceleration: true}
	}
	o.Hypervisor.Info = o.Host
	if o.Limits == (httpapi.Limits{}) {
		o.Limits = httpapi.Limits{RatePerToken: -1, RatePerAddress: -1}
	}
}

// Leader returns the controller that leads, waiting until there is one.
func (c *Cloud) Leader(ctx context.Context) (*Controller, error) {
	for {
		for _, member := range c.Controllers {
			if member.Leads() {
				return member, nil
			}
		}
		if err := pause(ctx, 10*time.Millisecond); err != nil {
			return nil, fmt.Errorf("no controller leads: %w", err)
		}
	}
}

func (c *Cloud) waitReady(ctx context.Context) error {
	for {
		leader, err := c.Leader(ctx)
		if err != nil {
			return err
		}
		if leader.founded() {
			return nil
		}
		if err := pause(ctx, 5*time.Millisecond); err != nil {
			return fmt.Errorf("the cloud was not founded: %w", err)
		}
	}
}

func (c *Cloud) waitHosts(ctx context.Context) error {
	for {
		leader, err := c.Leader(ctx)
		if err != nil {
			return err
		}
		if leader.hosts() >= len(c.Hosts) {
			return nil
		}
		if err := pause(ctx, 10*time.Millisecond); err != nil {
			return fmt.Errorf("the hosts did not register: %w", err)
		}
	}
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// Endpoints returns the URLs of all controllers.
func (c *Cloud) Endpoints() []string {
	var urls []string
	for _, member := range c.Controllers {
		urls = append(urls, member.URL())
	}
	return urls
}

// CAFile writes the certificate that the API servers are signed with to a file and returns its path.
func (c *Cloud) CAFile() (string, error) {
	path := filepath.Join(c.Options.Dir, "ca.pem")
	return path, writeFile(path, c.authority.pem)
}

// Transport returns a round tripper that trusts the API servers.
func (c *Cloud) Transport() *http.Transport {
	return &http.Transport{TLSClientConfig: c.authority.client(), ForceAttemptHTTP2: true, MaxIdleConnsPerHost: 256}
}

// Close ends everything.
func (c *Cloud) Close() error {
	var problems []error
	for _, host := range c.Hosts {
		problems = append(problems, host.Stop())
	}
	for _, member := range c.Controllers {
		problems = append(problems, member.Stop())
	}
	return errors.Join(problems...)
}
