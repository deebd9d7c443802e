//go:build libvirt_dlopen

package libvirt

import (
	"context"
	"fmt"
	"os"

	"libvirt.org/go/libvirt"
	"libvirt.org/go/libvirtxml"

	"github.com/coloa-cloud/coloa/agent/hypervisor"
	"github.com/coloa-cloud/coloa/agent/hypervisor/domxml"
)

const (
	architecture = "x86_64"
	// machineType is what a new machine gets, in the newest version that this host's qemu has. Both it and the older "pc" boot an ordinary BIOS
	// disk in half a second; this one has PCI Express.
	machineType = "q35"
)

// whatItCanRun probes the host once a connection. The first time libvirt starts qemu for it, which can take seconds.
func (session *session) whatItCanRun() (domxml.Host, error) {
	session.probed.mutex.Lock()
	defer session.probed.mutex.Unlock()
	if session.probed.done {
		return session.probed.host, nil
	}
	// The file /dev/kvm proves nothing: inside a virtual machine without nesting it exists, opens, and the guest hangs in its first instruction.
	// So the CPU must have the ability and libvirt must offer it.
	cpuinfo, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return domxml.Host{}, err
	}
	types := []string{"qemu"}
	if canVirtualise(string(cpuinfo)) {
		types = []string{"kvm", "qemu"}
	}
	var able domxml.Host
	for _, domainType := range types {
		if able, err = capabilities(session.connection, domainType); err == nil {
			session.probed.host, session.probed.done = able, true
			return able, nil
		}
	}
	return domxml.Host{}, fmt.Errorf("libvirt offers no way to run %s %s guests on this host; is the package qemu-system-x86 installed? %w", architecture, machineType, err)
}

func capabilities(connection *libvirt.Connect, domainType string) (domxml.Host, error) {
	text, err := connection.GetDomainCapabilities("", architecture, machineType, domainType, 0)
	if err != nil {
		return domxml.Host{}, err
	}
	var offered libvirtxml.DomainCaps
	if err := offered.Unmarshal(text); err != nil {
		return domxml.Host{}, fmt.Errorf("read libvirt's capabilities: %w", err)
	}
	return domxml.Host{DomainType: offered.Domain, Emulator: offered.Path, MachineType: offered.Machine}, nil
}

func (host *Hypervisor) Info(ctx context.Context) (hypervisor.Info, error) {
	return call(ctx, host, "info", func(session *session) (hypervisor.Info, error) {
		able, err := session.whatItCanRun()
		if err != nil {
			return hypervisor.Info{}, err
		}
		qemu, err := session.connection.GetVersion()
		if err != nil {
			return hypervisor.Info{}, err
		}
		daemon, err := session.connection.GetLibVersion()
		if err != nil {
			return hypervisor.Info{}, err
		}
		node, err := session.connection.GetNodeInfo()
		if err != nil {
			return hypervisor.Info{}, err
		}
		// Not node.Memory: that is a sum over NUMA cells, which on some hosts (memory added while running) misses most of it.
		memory, err := session.connection.GetMemoryStats(int(libvirt.NODE_MEMORY_STATS_ALL_CELLS), 0)
		if err != nil {
			return hypervisor.Info{}, err
		}
		cpuinfo, err := os.ReadFile("/proc/cpuinfo")
		if err != nil {
			return hypervisor.Info{}, err
		}
		return hypervisor.Info{
			Hypervisor:   fmt.Sprintf("QEMU %s (libvirt %s)", version(qemu), version(daemon)),
			Acceleration: able.DomainType == "kvm",
			Architecture: node.Model,
			CPUs:         int(node.Cpus),
			CPUModel:     modelName(string(cpuinfo)),
			MemoryMiB:    int64(memory.Total / 1024), // libvirt says KiB
		}, nil
	}, nil)
}
