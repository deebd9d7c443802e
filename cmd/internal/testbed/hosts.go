package testbed

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/google/uuid"

	"github.com/coloa-cloud/coloa/agent"
	"github.com/coloa-cloud/coloa/agent/hypervisor"
	"github.com/coloa-cloud/coloa/agent/hypervisor/fake"
	v1 "github.com/coloa-cloud/coloa/api/v1"
	"github.com/coloa-cloud/coloa/storage"
	"github.com/coloa-cloud/coloa/storage/mem"
)

// headerHost says which host a request comes from: in one process there is no certificate.
const headerHost = "Testbed-Host"

// Host is one simulated host. Its machines and disks outlive its agent.
type Host struct {
	ID      string
	Name    string
	Machine *fake.Host
	Disks   *mem.Driver
	cloud   *Cloud
	cut     atomic.Bool // from all controllers

	mu      sync.Mutex
	bootID  string
	handler http.Handler
	stop    context.CancelFunc
	ended   chan error
	port    *pipeServer
}

func newHost(c *Cloud, number int) *Host {
	host := &Host{
		ID: uuid.Must(uuid.NewV7()).String(), Name: fmt.Sprintf("h%d", number+1), cloud: c, bootID: uuid.NewString(),
		Machine: fake.NewHost(c.Options.Hypervisor), Disks: mem.New(c.Options.Storage),
	}
	host.port = newPipeServer(func() http.Handler {
		host.mu.Lock()
		defer host.mu.Unlock()
		return host.handler
	})
	return host
}

// Start starts the agent, for the first time or again.
func (h *Host) Start() error {
	machines := h.Machine.Open(h.cloud.ID)
	var addresses []string
	for _, member := range h.cloud.Controllers {
		addresses = append(addresses, member.ID+":8444")
	}
	started, err := agent.New(agent.Options{
		Cluster: h.cloud.ID, HostID: h.ID, HostName: h.Name, Address: h.Name + ":8446", Version: "testbed", BootID: h.bootID,
		Controllers: addresses, Transport: hostTransport{h}, Hypervisor: machines,
		Drivers: map[string]storage.Driver{v1.DriverLocal: h.Disks}, DataFolder: filepath.Join(h.cloud.Options.Dir, "hosts", h.Name), Simulated: !h.cloud.Options.KeepLedgers,
		Logger: h.cloud.Options.Logger.With("host", h.Name),
	})
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	h.mu.Lock()
	h.handler, h.stop, h.ended = started.Handler(), stop, ended
	h.mu.Unlock()
	go func() {
		err := started.Run(ctx)
		_ = machines.Close() // simulated
		ended <- err
	}()
	return nil
}

// Stop ends the agent. Its machines run on.
func (h *Host) Stop() error {
	h.mu.Lock()
	stop, ended := h.stop, h.ended
	h.stop, h.ended, h.handler = nil, nil, nil
	h.mu.Unlock()
	if stop == nil {
		return nil
	}
	stop()
	return <-ended
}

// PowerCycle is a power cut and a new boot: machines are gone, the agent begins anew.
func (h *Host) PowerCycle() error {
	if err := h.Stop(); err != nil {
		return err
	}
	if err := h.cutPower(); err != nil {
		return err
	}
	h.mu.Lock()
	h.bootID = uuid.NewString()
	h.mu.Unlock()
	return h.Start()
}

// cutPower ends every machine without anybody hearing of it.
func (h *Host) cutPower() error {
	view := h.Machine.Open(h.cloud.ID)
	defer func() { _ = view.Close() }() // simulated
	machines, err := view.List(context.Background())
	if err != nil {
		return err
	}
	for _, machine := range machines {
		if machine.State == hypervisor.StateDefined {
			continue
		}
		if err := h.Machine.CrashGuest(machine.ID); err != nil {
			return err
		}
	}
	h.Machine.Forget()
	return nil
}

// Cut takes the host's line to all controllers away, or gives it back.
func (h *Host) Cut(cut bool) { h.cut.Store(cut) }

// hostTransport carries an agent's requests to the controllers of the process.
type hostTransport struct{ host *Host }

func (t hostTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	if t.host.cut.Load() {
		return nil, fmt.Errorf("%s is cut off", t.host.Name)
	}
	id, _, _ := strings.Cut(r.URL.Host, ":")
	for _, member := range t.host.cloud.Controllers {
		if handler, alive := member.hostHandler(); member.ID == id && handler != nil {
			return t.ask(alive, r, handler)
		}
	}
	return nil, fmt.Errorf("the controller %s does not run", id)
}

// ask has a controller's handler answer, as long as that controller is alive.
func (t hostTransport) ask(alive context.Context, r *http.Request, handler http.Handler) (*http.Response, error) {
	ctx, cancel := context.WithCancel(r.Context())
	defer context.AfterFunc(alive, cancel)()
	defer cancel()
	inner := r.Clone(ctx)
	inner.Header.Set(headerHost, t.host.ID)
	inner.RequestURI = r.URL.RequestURI()
	inner.RemoteAddr = "192.0.2.1:1"
	if inner.Body == nil {
		inner.Body = http.NoBody
	}
	recorder := httptest.NewRecorder()
	done := make(chan struct{})
	go func() {
		defer close(done)
		handler.ServeHTTP(recorder, inner)
	}()
	select {
	case <-done:
	case <-ctx.Done():
		if r.Context().Err() != nil {
			return nil, r.Context().Err()
		}
	}
	if t.host.cut.Load() || alive.Err() != nil {
		return nil, fmt.Errorf("the line of %s broke before the answer arrived", t.host.Name)
	}
	response := recorder.Result()
	response.Request = r
	response.Body = io.NopCloser(bytes.NewReader(recorder.Body.Bytes()))
	return response, nil
}

// agentTransport is how controllers reach the agents' own ports.
func (c *Cloud) agentTransport(id string) http.RoundTripper {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, host := range c.Hosts {
		if host.ID == id {
			return host.port.transport
		}
	}
	return http.NewFileTransport(http.Dir("/nonexistent"))
}
