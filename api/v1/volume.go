package v1

// VolumePhase is where a volume stands.
type VolumePhase string

const (
	VolumeCreating  VolumePhase = "Creating"
	VolumeAvailable VolumePhase = "Available"
	VolumeDeleting  VolumePhase = "Deleting"
)

// Storage drivers.
const (
	DriverLocal  = "local" // qcow2 files on one host
	DriverMemory = "mem"   // simulated hosts
)

// Volume is a block device that outlives the machines that use it.
type Volume struct {
	Meta
	Spec   VolumeSpec   `json:"spec"`
	Status VolumeStatus `json:"status"`
}

// VolumeSpec is what the user says of a volume. Only SizeGiB may change, and only grow.
type VolumeSpec struct {
	SizeGiB  int64    `json:"sizeGiB" doc:"Size in GiB; it can grow" minimum:"1" maximum:"65536"`
	Image    string   `json:"image,omitempty" doc:"Name or id of the image that it begins as a copy of; empty for a blank volume"`
	Throttle Throttle `json:"throttle,omitzero" doc:"Upper limits of speed"`
}

// Throttle limits a disk; 0 does not limit. It takes effect when a virtual machine starts.
type Throttle struct {
	ReadIOPS   int64 `json:"readIops,omitempty" doc:"Read operations a second" minimum:"0"`
	WriteIOPS  int64 `json:"writeIops,omitempty" doc:"Write operations a second" minimum:"0"`
	ReadMiBps  int64 `json:"readMiBps,omitempty" doc:"MiB read a second" minimum:"0"`
	WriteMiBps int64 `json:"writeMiBps,omitempty" doc:"MiB written a second" minimum:"0"`
}

// VolumeStatus is what is known of a volume.
type VolumeStatus struct {
	Phase   VolumePhase `json:"phase" doc:"Where the volume stands"`
	SizeGiB int64       `json:"sizeGiB" doc:"Present size in GiB"`
	Driver  string      `json:"driver" doc:"Storage driver"`
	Host    string      `json:"host,omitempty" doc:"Id of the host that holds it (local storage only)"`
	ImageID string      `json:"imageId,omitempty" doc:"Id of the image it was cloned from"`
	// VM is set for a root disk: it is deleted with its virtual machine.
	VM         string `json:"vm,omitempty" doc:"Id of the virtual machine whose root disk it is"`
	AttachedTo string `json:"attachedTo,omitempty" doc:"Id of the virtual machine that has it open now (computed)"`
	Operation  string `json:"operation,omitempty" doc:"Operation that works on it"`
}

func (*Volume) ObjectKind() Kind { return KindVolume }

// Validate implements Object.
func (o *Volume) Validate() error {
	var c checker
	c.meta(&o.Meta, KindVolume)
	c.between("spec.sizeGiB", o.Spec.SizeGiB, 1, MaxVolumeGiB)
	c.between("status.sizeGiB", o.Status.SizeGiB, 0, MaxVolumeGiB) // capacity and quota are charged by it
	c.reference("spec.image", o.Spec.Image, false)
	c.throttle("spec.throttle", o.Spec.Throttle)
	return c.err()
}

func (c *checker) throttle(field string, t Throttle) {
	c.between(field+".readIops", t.ReadIOPS, 0, 1<<30)
	c.between(field+".writeIops", t.WriteIOPS, 0, 1<<30)
	c.between(field+".readMiBps", t.ReadMiBps, 0, 1<<20)
	c.between(field+".writeMiBps", t.WriteMiBps, 0, 1<<20)
}

// Clone copies the object.
func (o *Volume) Clone() *Volume { copied := *o; copied.Meta = o.Meta.clone(); return &copied }
