//go:build libvirt_dlopen

package libvirt

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"libvirt.org/go/libvirt"

	"github.com/coloa-cloud/coloa/agent/hypervisor"
	"github.com/coloa-cloud/coloa/agent/hypervisor/domxml"
)

// Define makes a persistent domain, so that libvirt itself remembers it and a later agent finds it.
func (host *Hypervisor) Define(ctx context.Context, machine hypervisor.Machine) error {
	if err := machine.Validate(); err != nil {
		return err
	}
	if machine.Cluster != host.options.Cluster {
		return fmt.Errorf("%w: Cluster must be this host's", hypervisor.ErrInvalid)
	}
	_, err := call(ctx, host, "define "+machine.ID, func(session *session) (struct{}, error) {
		return struct{}{}, host.define(session, machine)
	}, nil)
	return err
}

func (host *Hypervisor) define(session *session, machine hypervisor.Machine) error {
	// libvirt would replace a domain that is defined again; the lock keeps two callers from both finding it absent.
	session.defining.Lock()
	defer session.defining.Unlock()
	if found, err := session.connection.LookupDomainByUUIDString(machine.ID); err == nil {
		defer func() { _ = found.Free() }()
		err := host.requireOurs(found)
		if isNotFound(err) {
			return fmt.Errorf("%w: ID is that of a libvirt domain of somebody else", hypervisor.ErrInvalid)
		}
		return err
	} else if !errors.Is(err, libvirt.ERR_NO_DOMAIN) {
		return err
	}
	if found, err := session.connection.LookupDomainByName(machine.Name); err == nil {
		_ = found.Free()
		return fmt.Errorf("%w: Name is that of another libvirt domain", hypervisor.ErrInvalid)
	} else if !errors.Is(err, libvirt.ERR_NO_DOMAIN) {
		return err
	}
	if machine.SerialLog != "" {
		// virtlogd makes the file, not its folder. What a guest says is for root (the agent) to read.
		if err := os.MkdirAll(filepath.Dir(machine.SerialLog), 0o750); err != nil {
			return fmt.Errorf("make the serial log's folder: %w", err)
		}
	}
	able, err := session.whatItCanRun()
	if err != nil {
		return err
	}
	text, err := domxml.Build(machine, able)
	if err != nil {
		return err
	}
	domain, err := session.connection.DomainDefineXML(text)
	if err != nil {
		return err
	}
	return domain.Free()
}

func (host *Hypervisor) Start(ctx context.Context, id string) error {
	return host.change(ctx, "start", id, func(domain *libvirt.Domain) error {
		if active, err := domain.IsActive(); err != nil || active {
			return err
		}
		if !wasStarted(domain) {
			err := domain.SetMetadata(libvirt.DOMAIN_METADATA_ELEMENT, domxml.StartedElement, "coloa-started", domxml.StartedNamespace, libvirt.DOMAIN_AFFECT_CONFIG)
			if err != nil {
				return err
			}
		}
		return nilIf(domain, true, domain.Create())
	})
}

// nilIf turns the error of a call that came too late into nil: somebody else has brought the domain into the wanted state meanwhile.
func nilIf(domain *libvirt.Domain, wantActive bool, err error) error {
	if errors.Is(err, libvirt.ERR_OPERATION_INVALID) {
		if active, looking := domain.IsActive(); looking == nil && active == wantActive {
			return nil
		}
	}
	return err
}

// Shutdown presses the power button. Not through the guest's own agent, which libvirt would prefer: it belongs to the guest, and may never answer.
func (host *Hypervisor) Shutdown(ctx context.Context, id string) error {
	return host.change(ctx, "shut down", id, func(domain *libvirt.Domain) error {
		if active, err := domain.IsActive(); err != nil || !active {
			return err
		}
		return nilIf(domain, false, domain.ShutdownFlags(libvirt.DOMAIN_SHUTDOWN_ACPI_POWER_BTN))
	})
}

func (host *Hypervisor) Kill(ctx context.Context, id string) error {
	return host.change(ctx, "kill", id, destroy)
}

func destroy(domain *libvirt.Domain) error {
	if active, err := domain.IsActive(); err != nil || !active {
		return err
	}
	return nilIf(domain, false, domain.DestroyFlags(libvirt.DOMAIN_DESTROY_DEFAULT))
}

// requireActive returns ErrNotRunning for a domain that is off.
func requireActive(domain *libvirt.Domain) error {
	active, err := domain.IsActive()
	if err == nil && !active {
		return hypervisor.ErrNotRunning
	}
	return err
}

// notRunning turns libvirt's error into ErrNotRunning when the domain has ended since it was looked at.
func notRunning(domain *libvirt.Domain, err error) error {
	if errors.Is(err, libvirt.ERR_OPERATION_INVALID) {
		if gone := requireActive(domain); gone != nil {
			return gone
		}
	}
	return err
}

func (host *Hypervisor) Reboot(ctx context.Context, id string, force bool) error {
	return host.change(ctx, "reboot", id, func(domain *libvirt.Domain) error {
		if err := requireActive(domain); err != nil {
			return err
		}
		if force {
			return notRunning(domain, domain.Reset(0))
		}
		// libvirt starts the guest again in the same process when it powers itself off.
		return notRunning(domain, domain.Reboot(libvirt.DOMAIN_REBOOT_ACPI_POWER_BTN))
	})
}

func (host *Hypervisor) Resume(ctx context.Context, id string) error {
	return host.change(ctx, "resume", id, func(domain *libvirt.Domain) error {
		if err := requireActive(domain); err != nil {
			return err
		}
		state, _, err := domain.GetState()
		if err != nil || state != libvirt.DOMAIN_PAUSED {
			return err
		}
		return notRunning(domain, domain.Resume())
	})
}

func (host *Hypervisor) ResizeDisk(ctx context.Context, id, path string, size int64) error {
	if size <= 0 || size%512 != 0 {
		return fmt.Errorf("%w: size must be a multiple of 512", hypervisor.ErrInvalid)
	}
	// libvirt takes device names (vda) too, which are nobody's business outside domxml.
	if !filepath.IsAbs(path) {
		return fmt.Errorf("%w: path must be absolute", hypervisor.ErrInvalid)
	}
	return host.change(ctx, "resize a disk of", id, func(domain *libvirt.Domain) error {
		if err := requireActive(domain); err != nil {
			return err
		}
		info, err := domain.GetBlockInfo(path, 0)
		if errors.Is(err, libvirt.ERR_INVALID_ARG) || errors.Is(err, libvirt.ERR_INTERNAL_ERROR) {
			return fmt.Errorf("%w: path is not that of a disk of this machine", hypervisor.ErrInvalid)
		}
		if err != nil {
			return notRunning(domain, err)
		}
		switch {
		case uint64(size) < info.Capacity: // libvirt would cut the disk off
			return fmt.Errorf("%w: size is less than the %d bytes that the disk has; it can only grow", hypervisor.ErrInvalid, info.Capacity)
		case uint64(size) == info.Capacity:
			return nil
		}
		return notRunning(domain, domain.BlockResize(path, uint64(size), libvirt.DOMAIN_BLOCK_RESIZE_BYTES))
	})
}

func (host *Hypervisor) Remove(ctx context.Context, id string) error {
	err := host.change(ctx, "remove", id, func(domain *libvirt.Domain) error {
		name, err := domain.GetName()
		if err != nil {
			return err
		}
		if err := destroy(domain); err != nil {
			return err
		}
		host.removeLog(name)
		return domain.UndefineFlags(libvirt.DOMAIN_UNDEFINE_MANAGED_SAVE | libvirt.DOMAIN_UNDEFINE_SNAPSHOTS_METADATA |
			libvirt.DOMAIN_UNDEFINE_CHECKPOINTS_METADATA | libvirt.DOMAIN_UNDEFINE_NVRAM)
	})
	if isNotFound(err) {
		return nil
	}
	return err
}

// removeLog removes what libvirt logged of a machine's qemu, with what its log daemon has rotated: a machine lives once, so nobody else would ever remove it.
func (host *Hypervisor) removeLog(name string) {
	log := filepath.Join(host.options.LogDirectory, name+".log")
	for _, path := range []string{log, log + ".0", log + ".1", log + ".2"} {
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			host.options.Logger.Warn("the log of a machine that is gone stays behind", "path", path, "error", err)
		}
	}
}
