package v1

import "time"

// HostPhase is where a host stands.
type HostPhase string

const (
	HostReady       HostPhase = "Ready"       // its agent answers
	HostSilent      HostPhase = "Silent"      // its agent has not been heard for a while; its VMs may well run
	HostMaintenance HostPhase = "Maintenance" // answers, takes no new VMs (spec.schedulable is false)
)

// Host is a server with an agent. It comes into being when its agent registers with a certificate of this cloud.
type Host struct {
	Meta
	Spec   HostSpec   `json:"spec"`
	Status HostStatus `json:"status"`
}

// HostSpec is what operators say of a host.
type HostSpec struct {
	Schedulable       bool    `json:"schedulable" doc:"Takes new virtual machines"`
	SecurityLevel     int     `json:"securityLevel" doc:"Highest level of information systems that may run here, 1 to 5" minimum:"1" maximum:"5"`
	CPUOvercommit     float64 `json:"cpuOvercommit" doc:"How many virtual CPUs are given out for each CPU thread" minimum:"0.1" maximum:"64"`
	StorageOvercommit float64 `json:"storageOvercommit" doc:"How many GiB of thin volumes are given out for each GiB of the local pool" minimum:"0.1" maximum:"64"`
	ReservedMemoryMiB int64   `json:"reservedMemoryMiB" doc:"Memory kept for the host itself, in MiB" minimum:"0"`
}

// HostStatus is what is known of a host. Inventory and Pools are written at registration, Phase by the host monitor.
type HostStatus struct {
	Phase   HostPhase `json:"phase" doc:"Where the host stands"`
	Since   time.Time `json:"since" doc:"When this phase began"`
	Epoch   uint64    `json:"epoch" doc:"Log index of its last registration"`
	BootID  string    `json:"bootId,omitempty" doc:"Identifier of its present boot"`
	Address string    `json:"address,omitempty" doc:"Where its agent serves consoles, host:port"`
	Version string    `json:"version,omitempty" doc:"Version of its agent"`

	Inventory Inventory `json:"inventory" doc:"What the host has"`
	Usage     Usage     `json:"usage" doc:"What is given out (computed)"`
	Limit     Usage     `json:"limit" doc:"What can be given out (computed)"`
}

// Inventory is what a host has.
type Inventory struct {
	CPUs         int    `json:"cpus" doc:"CPU threads"`
	CPUModel     string `json:"cpuModel,omitempty" doc:"CPU model"`
	MemoryMiB    int64  `json:"memoryMiB" doc:"Memory in MiB"`
	Architecture string `json:"architecture,omitempty" doc:"CPU architecture"`
	Hypervisor   string `json:"hypervisor,omitempty" doc:"Hypervisor and its version"`
	Acceleration bool   `json:"acceleration" doc:"Hardware virtualisation is there; without it guests are about ten times slower"`
	Pools        []Pool `json:"pools,omitempty" doc:"Storage pools on this host"`
}

// Pool is a storage pool on a host.
type Pool struct {
	Driver     string `json:"driver" doc:"Storage driver" example:"local"`
	TotalBytes int64  `json:"totalBytes" doc:"Size in bytes"`
	FreeBytes  int64  `json:"freeBytes" doc:"Free bytes at registration"`
}

// Usage is an amount of resources, given out or allowed.
type Usage struct {
	VCPUs      int64 `json:"vcpus" doc:"Virtual CPUs"`
	MemoryMiB  int64 `json:"memoryMiB" doc:"Memory in MiB"`
	StorageGiB int64 `json:"storageGiB" doc:"Volumes in GiB"`
}

// Plus adds two usages.
func (u Usage) Plus(v Usage) Usage {
	return Usage{u.VCPUs + v.VCPUs, u.MemoryMiB + v.MemoryMiB, u.StorageGiB + v.StorageGiB}
}

// Minus subtracts v.
func (u Usage) Minus(v Usage) Usage {
	return Usage{u.VCPUs - v.VCPUs, u.MemoryMiB - v.MemoryMiB, u.StorageGiB - v.StorageGiB}
}

// IsZero says whether nothing is used.
func (u Usage) IsZero() bool { return u == Usage{} }

// Limits is what the host can give out.
func (o *Host) Limits() Usage {
	var storage int64
	for _, pool := range o.Status.Inventory.Pools {
		if pool.Driver == DriverLocal || pool.Driver == DriverMemory {
			storage += pool.TotalBytes >> 30
		}
	}
	return Usage{
		VCPUs:      int64(float64(o.Status.Inventory.CPUs) * o.Spec.CPUOvercommit),
		MemoryMiB:  max(0, o.Status.Inventory.MemoryMiB-o.Spec.ReservedMemoryMiB),
		StorageGiB: int64(float64(storage) * o.Spec.StorageOvercommit),
	}
}

// HasPool says whether the host has a pool of the driver.
func (o *Host) HasPool(driver string) bool {
	for _, pool := range o.Status.Inventory.Pools {
		if pool.Driver == driver {
			return true
		}
	}
	return false
}

func (*Host) ObjectKind() Kind { return KindHost }

// Validate implements Object.
func (o *Host) Validate() error {
	var c checker
	c.meta(&o.Meta, KindHost)
	c.between("spec.securityLevel", int64(o.Spec.SecurityLevel), 1, 5)
	if !(o.Spec.CPUOvercommit >= 0.1 && o.Spec.CPUOvercommit <= 64) {
		c.fail("spec.cpuOvercommit", "must be from 0.1 to 64")
	}
	if !(o.Spec.StorageOvercommit >= 0.1 && o.Spec.StorageOvercommit <= 64) {
		c.fail("spec.storageOvercommit", "must be from 0.1 to 64")
	}
	c.between("spec.reservedMemoryMiB", o.Spec.ReservedMemoryMiB, 0, MaxMemoryMiB)
	inventory := o.Status.Inventory
	c.between("status.inventory.cpus", int64(inventory.CPUs), 0, 1<<16)
	c.between("status.inventory.memoryMiB", inventory.MemoryMiB, 0, 1<<30)
	if len(inventory.Pools) > MaxPools {
		c.fail("status.inventory.pools", "has %d entries; %d are allowed", len(inventory.Pools), MaxPools)
	}
	for _, pool := range inventory.Pools {
		c.text("status.inventory.pools", pool.Driver)
		c.between("status.inventory.pools", pool.TotalBytes, 0, 1<<56) // 64 PiB
		c.between("status.inventory.pools", pool.FreeBytes, 0, 1<<56)
	}
	for _, text := range []string{inventory.CPUModel, inventory.Architecture, inventory.Hypervisor, o.Status.Version, o.Status.BootID, o.Status.Address} {
		c.text("status", text)
	}
	return c.err()
}

// Clone copies the object.
func (o *Host) Clone() *Host {
	copied := *o
	copied.Meta = o.Meta.clone()
	copied.Status.Inventory.Pools = cloneSlice(o.Status.Inventory.Pools)
	return &copied
}
