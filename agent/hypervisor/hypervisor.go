// Package hypervisor says, in our own words, what the agent needs of a hypervisor. libvirt and fake implement it, domxml turns a
// Machine into libvirt's XML (pure), and conformance holds the suite that both implementations pass.
//
// A hypervisor decides nothing and keeps nothing that the ledger needs: it makes one machine per Instance id, and says what it sees.
package hypervisor

import (
	"context"
	"errors"
	"io"
	"time"
)

// Errors that every implementation returns (wrapped). Callers test with errors.Is.
var (
	// ErrNotFound: no machine with this id on this host.
	ErrNotFound = errors.New("no such machine on this host")
	// ErrNotRunning: the call needs a running machine.
	ErrNotRunning = errors.New("the machine is not running")
	// ErrInvalid: the machine's description, or an argument, makes no sense (the text says which field). Repeating the call does not help.
	ErrInvalid = errors.New("invalid machine")
	// ErrUnavailable: the hypervisor does not answer (libvirtd is down, a call passed its deadline). The outcome is unknown; look again later.
	ErrUnavailable = errors.New("the hypervisor does not answer")
)

// State of a machine as the hypervisor sees it.
type State string

const (
	StateDefined State = "Defined" // known, and never started or no longer running
	StateRunning State = "Running"
	StatePaused  State = "Paused" // stopped in the middle, for example by an I/O error
)

// StopReason says why a machine is not running, as far as the hypervisor knows.
type StopReason string

const (
	ReasonNone     StopReason = ""         // it never ran, or it runs
	ReasonShutdown StopReason = "Shutdown" // the guest powered itself off (also after our ACPI request)
	ReasonKilled   StopReason = "Killed"   // ended by Kill
	ReasonCrashed  StopReason = "Crashed"  // qemu ended by itself or the guest panicked
	ReasonUnknown  StopReason = "Unknown"  // it has run, and nobody remembers how it ended
)

// Machine is one Instance with its hardware resolved. It is data from users: implementations must treat every string as hostile. Validate says
// what is accepted.
type Machine struct {
	ID        string // the Instance's id (UUID), also the libvirt domain's UUID
	Name      string // for people who look at the host; [a-zA-Z0-9._-]{1,64}, made by the agent ("coloa-<short id>")
	Title     string // the VM's name as the user wrote it
	VM        string // the VM's id
	Project   string // the project's id
	Cluster   string // the cloud's id; machines of other clusters are not ours and are never listed
	VCPUs     int    // 1..512
	MemoryMiB int64  // at least 16
	Disks     []Disk // in boot order
	NICs      []NIC
	SerialLog string            // absolute path of the file that keeps the serial output, its folder is made if missing; "" keeps none
	Labels    map[string]string // shown in the domain's metadata
}

// Disk is a block device of a machine.
type Disk struct {
	Serial   string // what the guest sees as the disk's serial number: last 20 characters of the volume's id
	Path     string // absolute path of a file
	Format   string // "raw" or "qcow2": recorded by the storage driver, never probed
	Backing  string // absolute path of the qcow2 image that Path is a clone of, shared by many machines and only read; "" for none
	ReadOnly bool
	CDROM    bool // an ISO image (the cloud-init seed): read-only, never booted from
	// Throttle, 0 means without a limit.
	ReadIOPS, WriteIOPS               int64 // operations a second
	ReadBytesPerSec, WriteBytesPerSec int64
}

// NIC is a network interface of a machine.
type NIC struct {
	MAC  string // "52:54:00:xx:xx:xx"
	Kind string // NICUser; later OVN
}

// NICUser is qemu's user-mode network: outgoing connections only, no privileges, DHCP from qemu itself.
const NICUser = "user"

// Observation is what the hypervisor sees of a machine now.
type Observation struct {
	ID     string
	State  State
	Reason StopReason
	PID    int       // of the qemu process; 0 when not running or not known
	Since  time.Time // when this state began, as far as known; zero otherwise
}

// Event says that a machine's state may have changed. Look with Get: events can be lost, doubled and late.
type Event struct{ ID string }

// Info is what the host can run.
type Info struct {
	Hypervisor   string // "QEMU 7.2.19 (libvirt 9.0.0)"
	Acceleration bool   // false: guests are emulated, about ten times slower ("no hardware acceleration")
	Architecture string // "x86_64"
	CPUs         int
	CPUModel     string
	MemoryMiB    int64
}

// Hypervisor runs machines on this host. Every method honours ctx's deadline (ErrUnavailable when it passes), is safe
// for concurrent use, and is idempotent: repeating it after it has worked changes nothing and returns nil.
type Hypervisor interface {
	Info(ctx context.Context) (Info, error)
	// List returns all machines of this cluster on this host, running or not, sorted by id.
	List(ctx context.Context) ([]Observation, error)
	// Get returns one machine, or ErrNotFound.
	Get(ctx context.Context, id string) (Observation, error)
	// Define makes the machine known, without starting it. If it is known already, nothing changes. ErrInvalid.
	Define(ctx context.Context, machine Machine) error
	// Start runs a defined machine; nil when it runs, or is paused (then Resume continues it). ErrNotFound.
	Start(ctx context.Context, id string) error
	// Shutdown asks the guest to power off (ACPI) and returns at once; the guest may ignore it. nil when it does not run. ErrNotFound.
	Shutdown(ctx context.Context, id string) error
	// Kill ends the machine at once; nil when it does not run. ErrNotFound.
	Kill(ctx context.Context, id string) error
	// Reboot asks the guest to reboot (ACPI) or, with force, resets it as a button would. The qemu process stays. ErrNotRunning, ErrNotFound.
	Reboot(ctx context.Context, id string, force bool) error
	// Resume continues a paused machine; nil when it runs. ErrNotFound, ErrNotRunning.
	Resume(ctx context.Context, id string) error
	// ResizeDisk grows the disk with this path under a running machine to size bytes, a multiple of 512. ErrInvalid when the machine has no such
	// disk, or it is larger already. ErrNotRunning, ErrNotFound.
	ResizeDisk(ctx context.Context, id, path string, size int64) error
	// Remove forgets a machine that does not run (it kills it if it does). Files stay. nil when it is unknown.
	Remove(ctx context.Context, id string) error
	// Console attaches to the serial port. A later caller takes the port from an earlier one, whose reads then end. ErrNotRunning, ErrNotFound.
	Console(ctx context.Context, id string) (io.ReadWriteCloser, error)
	// Events delivers until ctx ends; then the channel is closed. A slow reader loses events, never blocks the hypervisor.
	Events(ctx context.Context) (<-chan Event, error)
	// Close detaches from the host: subscriptions and consoles end, and later calls return ErrUnavailable. Machines run on.
	Close() error
}
