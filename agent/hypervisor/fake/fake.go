package fake

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"runtime"
	"slices"
	"time"

	"github.com/coloa-cloud/coloa/agent/hypervisor"
	"github.com/coloa-cloud/coloa/agent/hypervisor/internal/broadcast"
	"github.com/coloa-cloud/coloa/agent/hypervisor/internal/lossypipe"
)

// A console that is not read keeps this many bytes.
const consoleBacklog = 256 << 10

// Hypervisor is one agent's view of a Host.
type Hypervisor struct {
	host    *Host
	cluster string
	hub     broadcast.Hub
	closed  bool // under host.mutex
}

var _ hypervisor.Hypervisor = (*Hypervisor)(nil)

// call runs effect under the host's lock, after the scripted delay and failure.
func (view *Hypervisor) call(ctx context.Context, method, id string, effect func(host *Host) error) error {
	host := view.host
	if host.options.Latency != nil {
		if delay := host.options.Latency(method); delay > 0 {
			timer := time.NewTimer(delay)
			defer timer.Stop()
			select {
			case <-timer.C:
			case <-ctx.Done():
			}
		}
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%w: %s: %w", hypervisor.ErrUnavailable, method, err)
	}
	if host.options.Fail != nil {
		if err := host.options.Fail(method, id); err != nil {
			return err
		}
	}
	if err := view.locked(effect); err != nil {
		return err
	}
	if host.options.FailAfter != nil {
		return host.options.FailAfter(method, id)
	}
	return nil
}

func (view *Hypervisor) locked(effect func(host *Host) error) error {
	view.host.mutex.Lock()
	defer view.host.mutex.Unlock()
	if view.closed {
		return fmt.Errorf("%w: it has been closed", hypervisor.ErrUnavailable)
	}
	return effect(view.host)
}

// onMachine is call for a machine that must be known.
func (view *Hypervisor) onMachine(ctx context.Context, method, id string, effect func(*machine) error) error {
	return view.call(ctx, method, id, func(host *Host) error {
		found := host.machines[id]
		if found == nil || found.Cluster != view.cluster {
			return fmt.Errorf("%w: %s", hypervisor.ErrNotFound, id)
		}
		return effect(found)
	})
}

// onActive is onMachine for a machine that must run (or be paused).
func (view *Hypervisor) onActive(ctx context.Context, method, id string, effect func(*machine) error) error {
	return view.onMachine(ctx, method, id, func(found *machine) error {
		if !found.active() {
			return fmt.Errorf("%w: %s", hypervisor.ErrNotRunning, id)
		}
		return effect(found)
	})
}

func (view *Hypervisor) Info(ctx context.Context) (hypervisor.Info, error) {
	info := view.host.options.Info
	err := view.call(ctx, "Info", "", func(*Host) error { return nil })
	if err != nil {
		return hypervisor.Info{}, err
	}
	info.Hypervisor = cmp.Or(info.Hypervisor, "simulated")
	info.Architecture = cmp.Or(info.Architecture, "x86_64")
	info.CPUs = cmp.Or(info.CPUs, runtime.NumCPU())
	info.CPUModel = cmp.Or(info.CPUModel, "simulated CPU")
	info.MemoryMiB = cmp.Or(info.MemoryMiB, 16<<10)
	return info, nil
}

func (view *Hypervisor) List(ctx context.Context) ([]hypervisor.Observation, error) {
	var list []hypervisor.Observation
	err := view.call(ctx, "List", "", func(host *Host) error {
		for _, each := range host.machines {
			if each.Cluster == view.cluster {
				list = append(list, each.observe())
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(list, func(a, b hypervisor.Observation) int { return cmp.Compare(a.ID, b.ID) })
	return list, nil
}

func (view *Hypervisor) Get(ctx context.Context, id string) (seen hypervisor.Observation, err error) {
	err = view.onMachine(ctx, "Get", id, func(found *machine) error {
		seen = found.observe()
		return nil
	})
	if err != nil {
		return hypervisor.Observation{}, err
	}
	return seen, nil
}

func (view *Hypervisor) Define(ctx context.Context, wanted hypervisor.Machine) error {
	return view.call(ctx, "Define", wanted.ID, func(host *Host) error {
		if err := wanted.Validate(); err != nil {
			return err
		}
		if wanted.Cluster != view.cluster {
			return fmt.Errorf("%w: Cluster must be this host's", hypervisor.ErrInvalid)
		}
		if found := host.machines[wanted.ID]; found != nil {
			if found.Cluster != view.cluster {
				return fmt.Errorf("%w: ID is that of a machine of somebody else", hypervisor.ErrInvalid)
			}
			return nil
		}
		for _, each := range host.machines {
			if each.Name == wanted.Name {
				return fmt.Errorf("%w: Name is that of another machine", hypervisor.ErrInvalid)
			}
		}
		added := &machine{Machine: wanted, state: hypervisor.StateDefined, since: time.Now(), sizes: map[string]int64{}}
		if err := added.makeLogFolder(); err != nil {
			return fmt.Errorf("make the serial log's folder: %w", err)
		}
		host.machines[wanted.ID] = added
		host.tell(added)
		return nil
	})
}

func (view *Hypervisor) Start(ctx context.Context, id string) error {
	return view.onMachine(ctx, "Start", id, func(found *machine) error {
		if found.active() {
			return nil
		}
		view.host.lastPID++
		defer view.host.tell(found)
		return found.boot(view.host.lastPID)
	})
}

func (view *Hypervisor) Shutdown(ctx context.Context, id string) error {
	host := view.host
	deaf := host.options.IgnoreShutdown != nil && host.options.IgnoreShutdown(id)
	return view.onMachine(ctx, "Shutdown", id, func(found *machine) error {
		// A paused guest does not hear the button either.
		if found.state != hypervisor.StateRunning || deaf {
			return nil
		}
		if host.options.ShutdownTime == 0 {
			found.become(hypervisor.StateDefined, hypervisor.ReasonShutdown)
			host.tell(found)
			return nil
		}
		run := found.run
		time.AfterFunc(host.options.ShutdownTime, func() {
			host.mutex.Lock()
			defer host.mutex.Unlock()
			if found.active() && found.run == run && host.machines[id] == found {
				found.become(hypervisor.StateDefined, hypervisor.ReasonShutdown)
				host.tell(found)
			}
		})
		return nil
	})
}

func (view *Hypervisor) Kill(ctx context.Context, id string) error {
	return view.onMachine(ctx, "Kill", id, func(found *machine) error {
		if found.active() {
			found.become(hypervisor.StateDefined, hypervisor.ReasonKilled)
			view.host.tell(found)
		}
		return nil
	})
}

func (view *Hypervisor) Reboot(ctx context.Context, id string, force bool) error {
	deaf := !force && view.host.options.IgnoreShutdown != nil && view.host.options.IgnoreShutdown(id)
	return view.onActive(ctx, "Reboot", id, func(found *machine) error {
		if deaf || found.state == hypervisor.StatePaused {
			return nil // a stopped guest hears neither the button nor, until it goes on, the reset
		}
		return found.boot(found.pid)
	})
}

func (view *Hypervisor) Resume(ctx context.Context, id string) error {
	return view.onActive(ctx, "Resume", id, func(found *machine) error {
		if found.state == hypervisor.StatePaused {
			found.become(hypervisor.StateRunning, hypervisor.ReasonNone)
			view.host.tell(found)
		}
		return nil
	})
}

func (view *Hypervisor) ResizeDisk(ctx context.Context, id, path string, size int64) error {
	return view.onActive(ctx, "ResizeDisk", id, func(found *machine) error {
		switch {
		case size <= 0 || size%512 != 0:
			return fmt.Errorf("%w: size must be a multiple of 512", hypervisor.ErrInvalid)
		case !found.hasDisk(path):
			return fmt.Errorf("%w: path is not that of a disk of this machine", hypervisor.ErrInvalid)
		case size < found.sizes[path]:
			return fmt.Errorf("%w: size is less than the disk has; it can only grow", hypervisor.ErrInvalid)
		}
		found.sizes[path] = size
		return nil
	})
}

func (view *Hypervisor) Remove(ctx context.Context, id string) error {
	return view.call(ctx, "Remove", id, func(host *Host) error {
		if found := host.machines[id]; found != nil && found.Cluster == view.cluster {
			found.become(hypervisor.StateDefined, hypervisor.ReasonKilled)
			delete(host.machines, id)
			host.tell(found)
		}
		return nil
	})
}

func (view *Hypervisor) Console(ctx context.Context, id string) (io.ReadWriteCloser, error) {
	opened := &console{host: view.host, id: id, view: view, output: lossypipe.New(consoleBacklog)}
	err := view.onActive(ctx, "Console", id, func(found *machine) error {
		found.attach(opened)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return opened, nil
}

func (view *Hypervisor) Events(ctx context.Context) (<-chan hypervisor.Event, error) {
	var events <-chan hypervisor.Event
	err := view.call(ctx, "Events", "", func(*Host) error {
		events = view.hub.Subscribe(ctx)
		return nil
	})
	return events, err
}

// Close detaches this view; the machines run on in the Host.
func (view *Hypervisor) Close() error {
	host := view.host
	host.mutex.Lock()
	defer host.mutex.Unlock()
	if view.closed {
		return nil
	}
	view.closed = true
	delete(host.views, view)
	for _, each := range host.machines {
		if each.console != nil && each.console.view == view {
			each.attach(nil)
		}
	}
	view.hub.Close()
	return nil
}
