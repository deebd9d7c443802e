package v1

// Flavor is a size of virtual machines.
type Flavor struct {
	Meta
	Spec FlavorSpec `json:"spec"`
}

// FlavorSpec cannot change once the flavor exists: virtual machines rely on it.
type FlavorSpec struct {
	VCPUs     int   `json:"vcpus" doc:"Virtual CPUs" minimum:"1" maximum:"512"`
	MemoryMiB int64 `json:"memoryMiB" doc:"Memory in MiB" minimum:"32" maximum:"16777216"`
	DiskGiB   int64 `json:"diskGiB" doc:"Size of the root disk in GiB, unless the virtual machine says otherwise" minimum:"1" maximum:"65536"`
}

func (*Flavor) ObjectKind() Kind { return KindFlavor }

// Validate implements Object.
func (o *Flavor) Validate() error {
	var c checker
	c.meta(&o.Meta, KindFlavor)
	c.between("spec.vcpus", int64(o.Spec.VCPUs), 1, MaxVCPUs)
	c.between("spec.memoryMiB", o.Spec.MemoryMiB, MinMemoryMiB, MaxMemoryMiB)
	c.between("spec.diskGiB", o.Spec.DiskGiB, 1, MaxVolumeGiB)
	return c.err()
}

// Clone copies the object.
func (o *Flavor) Clone() *Flavor { copied := *o; copied.Meta = o.Meta.clone(); return &copied }
