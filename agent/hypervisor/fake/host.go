// Package fake is a hypervisor in memory, for tests and for clouds of simulated hosts. It passes the same conformance suite as libvirt.
//
// A Host holds the machines, as the real host's qemu processes do: they live on when a Hypervisor (an agent's view of the host) closes, and
// the next agent finds them by opening the same Host again. A Host starts no goroutines and needs no closing; time comes from the package
// time alone, so it works in testing/synctest.
package fake

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/coloa-cloud/coloa/agent/hypervisor"
	"github.com/coloa-cloud/coloa/agent/hypervisor/internal/lossypipe"
)

// Options script the host. The functions may be nil, and are called without any lock held. Methods are named as in hypervisor.Hypervisor:
// "Define", "Start" and so on; the id is "" for Info, List and Events.
type Options struct {
	// Info is what Info returns; empty fields get plausible values.
	Info hypervisor.Info
	// Latency is how long a call takes before it has its effect.
	Latency func(method string) time.Duration
	// Fail makes a call return this error without any effect.
	Fail func(method, id string) error
	// FailAfter makes a call return this error after it has had its effect, as when an answer is lost.
	FailAfter func(method, id string) error
	// IgnoreShutdown says which guests do not hear the power button.
	IgnoreShutdown func(id string) bool
	// ShutdownTime is how long a guest takes to power itself off when it is asked to. 0: it is off before the call returns.
	ShutdownTime time.Duration
}

// Host is one simulated server.
type Host struct {
	options  Options
	mutex    sync.Mutex
	machines map[string]*machine
	views    map[*Hypervisor]struct{}
	lastPID  int
}

type machine struct {
	hypervisor.Machine
	state   hypervisor.State
	reason  hypervisor.StopReason
	pid     int
	since   time.Time
	run     int // counts starts, so that a late shutdown does not end the next run
	console *console
	sizes   map[string]int64 // of disks that were resized, by path
}

// NewHost returns a server without machines.
func NewHost(options Options) *Host {
	return &Host{options: options, machines: map[string]*machine{}, views: map[*Hypervisor]struct{}{}, lastPID: 1000}
}

// Open attaches to the host as an agent of this cluster does at its start. Machines of other clusters stay out of sight.
func (host *Host) Open(cluster string) *Hypervisor {
	host.mutex.Lock()
	defer host.mutex.Unlock()
	view := &Hypervisor{host: host, cluster: cluster}
	host.views[view] = struct{}{}
	return view
}

// ---- What a test can do to the guests ----

// PowerOffGuest is the guest powering itself off. It returns hypervisor.ErrNotFound or ErrNotRunning.
func (host *Host) PowerOffGuest(id string) error {
	return host.end(id, hypervisor.ReasonShutdown)
}

// CrashGuest is qemu's process dying, or the guest's kernel panicking.
func (host *Host) CrashGuest(id string) error { return host.end(id, hypervisor.ReasonCrashed) }

// PauseGuest is a disk that fails: the guest stops in the middle.
func (host *Host) PauseGuest(id string) error {
	return host.change(id, func(machine *machine) error {
		machine.become(hypervisor.StatePaused, hypervisor.ReasonNone)
		return nil
	})
}

// WriteSerial is the guest writing to its serial port.
func (host *Host) WriteSerial(id, text string) error {
	return host.change(id, func(machine *machine) error { return machine.say(text) })
}

// Forget is a libvirtd that has restarted: it still knows the machines, but not how those that do not run have ended.
func (host *Host) Forget() {
	host.mutex.Lock()
	defer host.mutex.Unlock()
	for _, each := range host.machines {
		if each.reason != hypervisor.ReasonNone {
			each.reason = hypervisor.ReasonUnknown
		}
	}
}

// Machine returns what was defined under the id, whatever its cluster.
func (host *Host) Machine(id string) (hypervisor.Machine, bool) {
	host.mutex.Lock()
	defer host.mutex.Unlock()
	if found := host.machines[id]; found != nil {
		return found.Machine, true
	}
	return hypervisor.Machine{}, false
}

// DiskSize returns the size that ResizeDisk last gave to the disk, 0 when it never did.
func (host *Host) DiskSize(id, path string) int64 {
	host.mutex.Lock()
	defer host.mutex.Unlock()
	if found := host.machines[id]; found != nil {
		return found.sizes[path]
	}
	return 0
}

// ---- How a machine changes ----

func (host *Host) end(id string, reason hypervisor.StopReason) error {
	return host.change(id, func(machine *machine) error {
		machine.become(hypervisor.StateDefined, reason)
		return nil
	})
}

// change applies a change that only an active machine can make, and tells everybody who watches.
func (host *Host) change(id string, apply func(*machine) error) error {
	host.mutex.Lock()
	defer host.mutex.Unlock()
	found := host.machines[id]
	if found == nil {
		return fmt.Errorf("%w: %s", hypervisor.ErrNotFound, id)
	}
	if !found.active() {
		return fmt.Errorf("%w: %s", hypervisor.ErrNotRunning, id)
	}
	err := apply(found)
	host.tell(found)
	return err
}

// tell needs the lock.
func (host *Host) tell(changed *machine) {
	for view := range host.views {
		if view.cluster == changed.Cluster {
			view.hub.Publish(hypervisor.Event{ID: changed.ID})
		}
	}
}

func (machine *machine) active() bool { return machine.state != hypervisor.StateDefined }

func (machine *machine) become(state hypervisor.State, reason hypervisor.StopReason) {
	machine.state, machine.reason, machine.since = state, reason, time.Now()
	if state == hypervisor.StateDefined {
		machine.pid = 0
		machine.attach(nil)
	}
}

// attach gives the serial port to another console, or to nobody; the earlier one's reads end.
func (machine *machine) attach(next *console) {
	if machine.console != nil {
		machine.console.output.CloseWith(nil)
	}
	machine.console = next
}

func (machine *machine) boot(pid int) error {
	machine.run++
	machine.pid = pid
	machine.become(hypervisor.StateRunning, hypervisor.ReasonNone)
	return machine.say(Greeting)
}

// Greeting is what every fake guest writes to its serial port when it boots.
const Greeting = "fake guest ready\r\n"

func (machine *machine) say(text string) error {
	if machine.console != nil {
		_, _ = machine.console.output.Write([]byte(text)) // never fails
	}
	if machine.SerialLog == "" {
		return nil
	}
	file, err := os.OpenFile(machine.SerialLog, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("write the serial log: %w", err)
	}
	_, err = file.WriteString(text)
	if closing := file.Close(); err == nil {
		err = closing
	}
	return err
}

func (machine *machine) makeLogFolder() error {
	if machine.SerialLog == "" {
		return nil
	}
	return os.MkdirAll(filepath.Dir(machine.SerialLog), 0o750)
}

func (machine *machine) hasDisk(path string) bool {
	for _, disk := range machine.Disks {
		if disk.Path == path {
			return true
		}
	}
	return false
}

func (machine *machine) observe() hypervisor.Observation {
	return hypervisor.Observation{ID: machine.ID, State: machine.state, Reason: machine.reason, PID: machine.pid, Since: machine.since}
}

// console is one attachment to a machine's serial port. The guest behind it echoes what is typed.
type console struct {
	host   *Host
	id     string
	view   *Hypervisor
	output *lossypipe.Pipe
}

func (console *console) Read(into []byte) (int, error) { return console.output.Read(into) }

func (console *console) Write(typed []byte) (int, error) {
	console.host.mutex.Lock()
	defer console.host.mutex.Unlock()
	owner := console.host.machines[console.id]
	if owner == nil || owner.console != console {
		return 0, os.ErrClosed
	}
	if owner.state == hypervisor.StateRunning {
		if err := owner.say(string(typed)); err != nil {
			return 0, err
		}
	}
	return len(typed), nil
}

func (console *console) Close() error {
	console.host.mutex.Lock()
	defer console.host.mutex.Unlock()
	if owner := console.host.machines[console.id]; owner != nil && owner.console == console {
		owner.attach(nil)
	}
	console.output.CloseWith(nil)
	return nil
}
