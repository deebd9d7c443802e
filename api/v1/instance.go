package v1

import (
	"maps"
	"time"
)

// InstanceState is what the agent sees of an Instance. It only moves forward: Pending, Running (and Paused), Stopped.
type InstanceState string

const (
	InstancePending InstanceState = "Pending" // given to the host, not running yet
	InstanceRunning InstanceState = "Running"
	InstancePaused  InstanceState = "Paused"  // stopped in the middle by an I/O error
	InstanceStopped InstanceState = "Stopped" // over, for good; nothing of it is left in the hypervisor
)

// StopReason says why an Instance is over.
type StopReason string

const (
	StoppedRequested StopReason = "Requested"     // the controller asked for it
	StoppedByGuest   StopReason = "GuestShutdown" // the guest powered itself off
	StoppedCrashed   StopReason = "Crashed"
	StoppedHostBoot  StopReason = "HostRebooted"
	StoppedNoStart   StopReason = "StartFailed" // it never ran; Message says why
	StoppedUnknown   StopReason = "Unknown"
)

// Instance is one incarnation of a VM on one host, with its hardware resolved and frozen. It lives once and is never reused.
type Instance struct {
	Meta
	Spec InstanceSpec `json:"spec"`
	// Desired is written by the controller, Observed by the agent, Fence by recovery. Nothing else changes after creation.
	Desired  InstanceDesired  `json:"desired"`
	Observed InstanceObserved `json:"observed"`
	Fence    *FenceProof      `json:"fence,omitempty"`
}

// InstanceSpec is the hardware, frozen at creation: the agent needs nothing else to run it.
type InstanceSpec struct {
	VM        string            `json:"vm" doc:"Id of the virtual machine"`
	Host      string            `json:"host" doc:"Id of the host"`
	Title     string            `json:"title" doc:"Name of the virtual machine"`
	VCPUs     int               `json:"vcpus" doc:"Virtual CPUs"`
	MemoryMiB int64             `json:"memoryMiB" doc:"Memory in MiB"`
	Disks     []InstanceDisk    `json:"disks" doc:"Disks in boot order"`
	NICs      []InstanceNIC     `json:"nics,omitempty" doc:"Network cards"`
	Seed      Seed              `json:"seed" doc:"What cloud-init in the guest is told"`
	Labels    map[string]string `json:"labels,omitempty" doc:"Labels of the virtual machine"`
}

// InstanceDisk is a volume as a disk of an Instance.
type InstanceDisk struct {
	Volume   string   `json:"volume" doc:"Id of the volume"`
	Driver   string   `json:"driver" doc:"Storage driver"`
	Throttle Throttle `json:"throttle,omitzero" doc:"Upper limits of speed"`
}

// InstanceNIC is a network card of an Instance.
type InstanceNIC struct {
	MAC  string `json:"mac" doc:"MAC address"`
	Kind string `json:"kind" doc:"How it is connected" enum:"user"`
}

// Seed is the cloud-init NoCloud seed. InstanceID stays the same over all incarnations of a VM: what runs once must not run again.
type Seed struct {
	InstanceID string   `json:"instanceId" doc:"cloud-init's instance-id"`
	Hostname   string   `json:"hostname" doc:"Host name of the guest"`
	UserData   string   `json:"userData,omitempty" doc:"user-data"`
	SSHKeys    []string `json:"sshKeys,omitempty" doc:"SSH public keys"`
}

// InstanceDesired is what the controller wants of an Instance. It only moves forward: Hold, Running, Stopped.
type InstanceDesired struct {
	State DesiredState `json:"state" doc:"Hold, Running or Stopped"`
	Force bool         `json:"force,omitempty" doc:"Stop at once, without asking the guest"`
}

// DesiredState is what an Instance should be.
type DesiredState string

const (
	DesiredHold    DesiredState = "Hold" // reserved; its disks are not ready yet
	DesiredRunning DesiredState = "Running"
	DesiredStopped DesiredState = "Stopped"
)

// InstanceObserved is what the agent saw last. Seq grows with each report of the agent; a report with a lower or equal Seq is late and dropped.
type InstanceObserved struct {
	Seq     uint64        `json:"seq" doc:"Number of the agent's report"`
	State   InstanceState `json:"state" doc:"What the agent sees"`
	Reason  StopReason    `json:"reason,omitempty" doc:"Why it is over"`
	Message string        `json:"message,omitempty" doc:"What went wrong, in words"`
	Since   time.Time     `json:"since,omitzero" doc:"When this state was first seen, by the host's clock"`
}

// FenceProof says why an Instance can no longer write, although its host does not answer.
type FenceProof struct {
	At  time.Time `json:"at" doc:"When"`
	By  string    `json:"by" doc:"By whom"`
	How string    `json:"how" doc:"What was done and seen"`
}

// Live says whether the Instance may run or write: it is neither observed Stopped nor fenced.
func (o *Instance) Live() bool { return o.Observed.State != InstanceStopped && o.Fence == nil }

// Usage is what a live Instance takes from its host.
func (o *Instance) Usage() Usage {
	if !o.Live() {
		return Usage{}
	}
	return Usage{VCPUs: int64(o.Spec.VCPUs), MemoryMiB: o.Spec.MemoryMiB}
}

func (*Instance) ObjectKind() Kind { return KindInstance }

// Validate implements Object.
func (o *Instance) Validate() error {
	var c checker
	c.meta(&o.Meta, KindInstance)
	oneOf(&c, "desired.state", o.Desired.State, DesiredHold, DesiredRunning, DesiredStopped)
	oneOf(&c, "observed.state", o.Observed.State, InstancePending, InstanceRunning, InstancePaused, InstanceStopped)
	c.reference("spec.vm", o.Spec.VM, true)
	c.reference("spec.host", o.Spec.Host, true)
	c.between("spec.vcpus", int64(o.Spec.VCPUs), 1, MaxVCPUs)
	c.between("spec.memoryMiB", o.Spec.MemoryMiB, MinMemoryMiB, MaxMemoryMiB)
	if len(o.Observed.Message) > 4*MaxTextLength {
		c.fail("observed.message", "is too long")
	}
	return c.err()
}

// Clone copies the object.
func (o *Instance) Clone() *Instance {
	copied := *o
	copied.Meta = o.Meta.clone()
	copied.Spec.Disks = cloneSlice(o.Spec.Disks)
	copied.Spec.NICs = cloneSlice(o.Spec.NICs)
	copied.Spec.Seed.SSHKeys = cloneSlice(o.Spec.Seed.SSHKeys)
	copied.Spec.Labels = maps.Clone(o.Spec.Labels)
	copied.Fence = clonePointer(o.Fence)
	return &copied
}
