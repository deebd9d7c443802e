// Package agent is what runs on every host: it does what the controllers decide, and decides nothing. This page wires its parts together:
//
//	link    the line to the controllers        ledger  what is wanted, done and seen, on the disk
//	worker  Instances: one step at a time      task    one-time jobs on storage and machines
//	console the own port, for controllers      seed, serial, identity, passable: what their names say
//
// An agent that starts, stops, or has lost its controllers disturbs no guest. DESIGN.md beside this file tells why.
package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"

	"golang.org/x/sync/errgroup"

	"github.com/coloa-cloud/coloa/agent/internal/console"
	"github.com/coloa-cloud/coloa/agent/internal/ledger"
	"github.com/coloa-cloud/coloa/agent/internal/link"
	"github.com/coloa-cloud/coloa/agent/internal/passable"
	"github.com/coloa-cloud/coloa/agent/internal/seed"
	"github.com/coloa-cloud/coloa/agent/internal/serial"
	"github.com/coloa-cloud/coloa/agent/internal/task"
	"github.com/coloa-cloud/coloa/agent/internal/worker"
)

// Agent of one host. Make it with New; then Run.
type Agent struct {
	options Options
	ledger  *ledger.Ledger
	serial  *serial.Store // nil: no serial logs are kept
	link    *link.Link
	worker  *worker.Worker
	tasks   *task.Runner
	handler http.Handler
}

// New opens the ledger and puts the parts together. Nothing happens before Run. It fails when the ledger belongs to another host or cluster, or another
// agent has it open. The caller calls Run or Close.
func New(options Options) (*Agent, error) {
	if err := options.check(); err != nil {
		return nil, err
	}
	a := &Agent{options: options}
	if err := a.openLedger(); err != nil {
		return nil, err
	}
	seedFolder := ""
	if !options.Simulated {
		seedFolder = filepath.Join(options.DataFolder, "seed")
		if err := seed.Clean(seedFolder); err != nil {
			return nil, errors.Join(err, a.Close())
		}
	}
	if options.DataFolder != "" {
		a.serial = serial.NewStore(filepath.Join(options.DataFolder, "serial"), a.ledger)
	}
	a.worker = worker.New(worker.Options{
		Cluster: options.Cluster, BootID: options.BootID, Ledger: a.ledger, Hypervisor: options.Hypervisor, Drivers: options.Drivers,
		SeedFolder: seedFolder, Serial: a.serial, Logger: options.Logger,
	})
	a.tasks = task.New(task.Options{
		Ledger: a.ledger, Hypervisor: options.Hypervisor, Drivers: options.Drivers, Fetch: a.fetchImage, ForgetVM: a.forgetVM, Logger: options.Logger,
	})
	a.link = link.New(link.Options{
		Ledger: a.ledger, Controllers: options.Controllers, Transport: options.Transport, Describe: a.describe, Logger: options.Logger,
	})
	a.handler = a.newHandler()
	return a, nil
}

// Run works until ctx ends (then nil) or a part fails for good. Guests run on. It closes the ledger.
func (a *Agent) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	a.link.Accepted(func(accepted ledger.Accepted) {
		for _, id := range accepted.Changed {
			a.worker.Wake(id)
		}
		if accepted.Tasks {
			a.tasks.Kick()
		}
	})
	group.Go(func() error { return a.worker.Run(ctx) })
	group.Go(func() error { return a.tasks.Run(ctx) })
	group.Go(func() error { return a.link.Run(ctx) })
	return errors.Join(group.Wait(), a.Close())
}

// Handler serves the agent's own port: consoles, logs, metrics. Whoever serves it sees to it that only controllers come in.
func (a *Agent) Handler() http.Handler { return a.handler }

// Close lets go of the ledger. Run does it at its end.
func (a *Agent) Close() error { return a.ledger.Close() }

func (a *Agent) openLedger() (err error) {
	if a.options.Simulated {
		a.ledger = ledger.OpenMemory(a.options.Cluster, a.options.HostID)
		return nil
	}
	// Guests' qemu passes through this folder to its seed; it cannot list it.
	if err := passable.Make(a.options.DataFolder); err != nil {
		return fmt.Errorf("make the agent's data folder: %w", err)
	}
	a.ledger, err = ledger.Open(filepath.Join(a.options.DataFolder, "ledger.db"), a.options.Cluster, a.options.HostID)
	return err
}

func (a *Agent) newHandler() http.Handler {
	var logs console.Logs
	if a.serial != nil {
		logs = a.serial
	}
	mux := http.NewServeMux()
	mux.Handle("/agent/", console.Handler(a.options.Hypervisor, logs, a.options.Logger))
	mux.Handle("GET /metrics", a.metrics())
	return mux
}

func (a *Agent) fetchImage(ctx context.Context, keeper, image string) (io.ReadCloser, int64, error) {
	data, size, err := a.link.Image(ctx, keeper, image)
	if errors.Is(err, link.ErrUnavailable) {
		err = fmt.Errorf("%w: %w", task.ErrUnavailable, err)
	}
	return data, size, err
}

func (a *Agent) forgetVM(vm string) error {
	if a.serial == nil {
		return nil
	}
	return a.serial.Forget(vm)
}
