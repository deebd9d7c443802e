// Package domxml turns a Machine into the XML that libvirt defines a domain from. It is pure: no I/O, no clock, no random, and the same
// machine always gives the same text. What the hardware of our guests looks like is decided here and nowhere else.
package domxml

import (
	"fmt"
	"strings"

	"libvirt.org/go/libvirtxml"

	"github.com/coloa-cloud/coloa/agent/hypervisor"
)

// Host is what the machine's host can run, found by probing.
type Host struct {
	DomainType  string // "kvm" or "qemu" (emulated)
	Emulator    string // absolute path of qemu
	MachineType string // "pc-q35-7.2": with its version, so that the guest's hardware never changes under it
}

// Build returns the domain's XML. Errors wrap hypervisor.ErrInvalid and name the field.
func Build(machine hypervisor.Machine, host Host) (string, error) {
	if err := machine.Validate(); err != nil {
		return "", err
	}
	if host.DomainType != "kvm" && host.DomainType != "qemu" {
		return "", fmt.Errorf("%w: Host.DomainType must be kvm or qemu", hypervisor.ErrInvalid)
	}
	if host.Emulator == "" || host.MachineType == "" {
		return "", fmt.Errorf("%w: Host.Emulator and Host.MachineType must be given", hypervisor.ErrInvalid)
	}
	metadata, err := marshalMetadata(machine)
	if err != nil {
		return "", err
	}
	domain := libvirtxml.Domain{
		Type:     host.DomainType,
		Name:     machine.Name,
		UUID:     machine.ID,
		Title:    visible(machine.Title),
		Metadata: &libvirtxml.DomainMetadata{XML: metadata},
		Memory:   &libvirtxml.DomainMemory{Value: uint(machine.MemoryMiB), Unit: "MiB"},
		VCPU:     &libvirtxml.DomainVCPU{Placement: "static", Value: uint(machine.VCPUs)},
		OS: &libvirtxml.DomainOS{
			Type: &libvirtxml.DomainOSType{Arch: "x86_64", Machine: host.MachineType, Type: "hvm"},
		},
		Features: &libvirtxml.DomainFeatureList{
			ACPI: &libvirtxml.DomainFeature{},
			APIC: &libvirtxml.DomainFeatureAPIC{},
			// VMware's back door, which nobody here needs.
			VMPort: &libvirtxml.DomainFeatureState{State: "off"},
		},
		CPU:   cpu(host),
		Clock: clock(),
		// The agent decides what happens to a machine that ended; only a reboot stays within qemu.
		OnPoweroff: "destroy",
		OnReboot:   "restart",
		OnCrash:    "destroy",
		// A suspended guest looks like a hung one, and nobody here would wake it.
		PM: &libvirtxml.DomainPM{
			SuspendToMem:  &libvirtxml.DomainPMPolicy{Enabled: "no"},
			SuspendToDisk: &libvirtxml.DomainPMPolicy{Enabled: "no"},
		},
		Devices: devices(machine, host),
	}
	text, err := domain.Marshal()
	if err != nil {
		return "", fmt.Errorf("%w: %w", hypervisor.ErrInvalid, err)
	}
	return text, nil
}

func cpu(host Host) *libvirtxml.DomainCPU {
	if host.DomainType == "kvm" {
		// The host's model by name and feature, not passed through: so that a guest can move to a host with a slightly other CPU.
		return &libvirtxml.DomainCPU{Mode: "host-model", Check: "partial"}
	}
	// qemu's default CPU for emulation is older than what current distributions ask for.
	return &libvirtxml.DomainCPU{Mode: "maximum", Check: "none"}
}

func clock() *libvirtxml.DomainClock {
	return &libvirtxml.DomainClock{
		Offset: "utc",
		// What libvirt's own tools choose: ticks that were missed are made up for, and the HPET (costly, not needed) is absent.
		Timer: []libvirtxml.DomainTimer{
			{Name: "rtc", TickPolicy: "catchup"},
			{Name: "pit", TickPolicy: "delay"},
			{Name: "hpet", Present: "no"},
		},
	}
}

func devices(machine hypervisor.Machine, host Host) *libvirtxml.DomainDeviceList {
	list := &libvirtxml.DomainDeviceList{
		Emulator: host.Emulator,
		// Nothing uses it, and an emulated USB controller wakes the host all the time.
		Controllers: []libvirtxml.DomainController{{Type: "usb", Model: "none"}},
		Serials:     []libvirtxml.DomainSerial{serial(machine.SerialLog)},
		Channels: []libvirtxml.DomainChannel{{
			Source: &libvirtxml.DomainChardevSource{UNIX: &libvirtxml.DomainChardevSourceUNIX{Mode: "bind"}},
			Target: &libvirtxml.DomainChannelTarget{VirtIO: &libvirtxml.DomainChannelTargetVirtIO{Name: "org.qemu.guest_agent.0"}},
		}},
		MemBalloon: &libvirtxml.DomainMemBalloon{Model: "virtio"},
		RNGs: []libvirtxml.DomainRNG{{
			Model:   "virtio",
			Backend: &libvirtxml.DomainRNGBackend{Random: &libvirtxml.DomainRNGBackendRandom{Device: "/dev/urandom"}},
		}},
		// pvpanic: a guest whose kernel panics is seen to crash, instead of looking busy for ever.
		Panics: []libvirtxml.DomainPanic{{Model: "isa"}},
	}
	bootOrder := uint(0)
	for i, each := range machine.Disks {
		built := disk(each, i)
		if !each.CDROM {
			bootOrder++
			built.Boot = &libvirtxml.DomainDeviceBoot{Order: bootOrder}
		}
		list.Disks = append(list.Disks, built)
	}
	for _, each := range machine.NICs {
		list.Interfaces = append(list.Interfaces, nic(each))
	}
	return list
}

func serial(log string) libvirtxml.DomainSerial {
	port := uint(0)
	built := libvirtxml.DomainSerial{
		Source: &libvirtxml.DomainChardevSource{Pty: &libvirtxml.DomainChardevSourcePty{}},
		Target: &libvirtxml.DomainSerialTarget{Port: &port},
	}
	if log != "" {
		// virtlogd writes the file, bounds it (2 MiB) and rotates it (three older ones, .0 .1 .2).
		built.Log = &libvirtxml.DomainChardevLog{File: log, Append: "on"}
	}
	return built
}

// disk builds a virtio disk. The seed is one too, rather than a CD-ROM drive: cloud-init looks for the file system's label on any block device,
// and a small guest then needs one driver only.
func disk(wanted hypervisor.Disk, index int) libvirtxml.DomainDisk {
	built := libvirtxml.DomainDisk{
		Device: "disk",
		Driver: &libvirtxml.DomainDiskDriver{
			Name: "qemu",
			// Always said, never probed: a guest could write a qcow2 header into its raw disk and so name any file of the host.
			Type:    wanted.Format,
			Cache:   "writeback",
			Discard: "unmap",
			// A full or broken store pauses the guest, which can go on later; reporting the error would make it remount read-only.
			ErrorPolicy:  "stop",
			RErrorPolicy: "stop",
		},
		Source: &libvirtxml.DomainDiskSource{File: &libvirtxml.DomainDiskSourceFile{File: wanted.Path}},
		Target: &libvirtxml.DomainDiskTarget{Dev: deviceName(index), Bus: "virtio"},
		Serial: wanted.Serial,
	}
	if wanted.Format == "qcow2" {
		built.BackingStore = backing(wanted.Backing)
	}
	if wanted.ReadOnly || wanted.CDROM {
		built.ReadOnly = &libvirtxml.DomainDiskReadOnly{}
	}
	if wanted.ReadIOPS > 0 || wanted.WriteIOPS > 0 || wanted.ReadBytesPerSec > 0 || wanted.WriteBytesPerSec > 0 {
		built.IOTune = &libvirtxml.DomainDiskIOTune{
			ReadIopsSec:   uint64(wanted.ReadIOPS),
			WriteIopsSec:  uint64(wanted.WriteIOPS),
			ReadBytesSec:  uint64(wanted.ReadBytesPerSec),
			WriteBytesSec: uint64(wanted.WriteBytesPerSec),
		}
	}
	return built
}

// backing says what a qcow2 file stands on, and where that ends: what is not said, libvirt reads out of the file. An image is shared, so libvirt must not give
// it to the user that qemu runs as; everybody may read it.
func backing(image string) *libvirtxml.DomainDiskBackingStore {
	end := &libvirtxml.DomainDiskBackingStore{}
	if image == "" {
		return end
	}
	return &libvirtxml.DomainDiskBackingStore{
		Format: &libvirtxml.DomainDiskFormat{Type: "qcow2"},
		Source: &libvirtxml.DomainDiskSource{File: &libvirtxml.DomainDiskSourceFile{
			File: image, SecLabel: []libvirtxml.DomainDeviceSecLabel{{Model: "dac", Relabel: "no"}},
		}},
		BackingStore: end,
	}
}

func nic(wanted hypervisor.NIC) libvirtxml.DomainInterface {
	return libvirtxml.DomainInterface{
		MAC:    &libvirtxml.DomainInterfaceMAC{Address: strings.ToLower(wanted.MAC)},
		Source: &libvirtxml.DomainInterfaceSource{User: &libvirtxml.DomainInterfaceSourceUser{}},
		Model:  &libvirtxml.DomainInterfaceModel{Type: "virtio"},
		// No booting from the network: it delays every start and would run what the network offers.
		ROM: &libvirtxml.DomainROM{Enabled: "no"},
	}
}

// deviceName is vda ... vdz, vdaa ...; it only has to be unique, the guest names its disks itself.
func deviceName(index int) string {
	if index < 26 {
		return "vd" + string(rune('a'+index))
	}
	return "vd" + string(rune('a'+index/26-1)) + string(rune('a'+index%26))
}
