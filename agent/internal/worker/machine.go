package worker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"unicode"

	"github.com/coloa-cloud/coloa/agent/hypervisor"
	"github.com/coloa-cloud/coloa/agent/internal/ledger"
	"github.com/coloa-cloud/coloa/agent/internal/seed"
	v1 "github.com/coloa-cloud/coloa/api/v1"
	"github.com/coloa-cloud/coloa/storage"
)

// errFinal: repeating it does not help; the Instance cannot start on this host.
var errFinal = errors.New("cannot start")

// machine resolves an Instance to what the hypervisor is to run. It looks up disks, and changes nothing.
func (w *Worker) machine(ctx context.Context, record ledger.Instance) (hypervisor.Machine, error) {
	id, spec := record.Assignment.ID, record.Assignment.Spec
	machine := hypervisor.Machine{
		ID:        id,
		Name:      "coloa-" + id, // the whole id: it is unique on the host
		Title:     spec.Title,
		VM:        spec.VM,
		Project:   record.Assignment.Project,
		Cluster:   w.options.Cluster,
		VCPUs:     spec.VCPUs,
		MemoryMiB: spec.MemoryMiB,
		Labels:    spec.Labels,
	}
	for _, disk := range spec.Disks {
		driver := w.options.Drivers[disk.Driver]
		if driver == nil {
			return hypervisor.Machine{}, fmt.Errorf("%w: this host has no storage pool of the driver %q", errFinal, disk.Driver)
		}
		opened, err := driver.Open(ctx, disk.Volume)
		if errors.Is(err, storage.ErrNotFound) || errors.Is(err, storage.ErrInvalid) {
			return hypervisor.Machine{}, fmt.Errorf("%w: disk %s: %w", errFinal, disk.Volume, err)
		}
		if err != nil {
			return hypervisor.Machine{}, fmt.Errorf("open disk %s: %w", disk.Volume, err)
		}
		machine.Disks = append(machine.Disks, hypervisor.Disk{
			// The tail: identifiers made at one time begin alike.
			Serial:           disk.Volume[max(0, len(disk.Volume)-hypervisor.MaximumSerial):],
			Path:             opened.Path,
			Format:           opened.Format,
			Backing:          opened.Backing,
			ReadIOPS:         disk.Throttle.ReadIOPS,
			WriteIOPS:        disk.Throttle.WriteIOPS,
			ReadBytesPerSec:  disk.Throttle.ReadMiBps << 20,
			WriteBytesPerSec: disk.Throttle.WriteMiBps << 20,
		})
	}
	if path := w.seedPath(id); path != "" {
		machine.Disks = append(machine.Disks, hypervisor.Disk{Serial: seed.Label, Path: path, Format: storage.FormatRaw, ReadOnly: true, CDROM: true})
	}
	for _, nic := range spec.NICs {
		machine.NICs = append(machine.NICs, hypervisor.NIC{MAC: nic.MAC, Kind: nic.Kind})
	}
	return machine, nil
}

// prepare makes the seed, the place for the serial log, and the machine.
func (w *Worker) prepare(ctx context.Context, record ledger.Instance) error {
	machine, err := w.machine(ctx, record)
	if err != nil {
		return err
	}
	if path := w.seedPath(machine.ID); path != "" {
		if err := seed.Write(path, record.Assignment.Spec.Seed); err != nil {
			return err
		}
	}
	if w.options.Serial != nil {
		if machine.SerialLog, err = w.options.Serial.Prepare(machine.VM, machine.ID); err != nil {
			return err
		}
	}
	err = w.options.Hypervisor.Define(ctx, machine)
	if errors.Is(err, hypervisor.ErrInvalid) {
		return fmt.Errorf("%w: %w", errFinal, err)
	}
	return err
}

// remove takes away machine and seed, and makes sure that the machine is gone.
func (w *Worker) remove(ctx context.Context, id string) error {
	if err := w.options.Hypervisor.Remove(ctx, id); err != nil {
		return err
	}
	if _, err := w.options.Hypervisor.Get(ctx, id); !errors.Is(err, hypervisor.ErrNotFound) {
		if err == nil {
			err = errors.New("the hypervisor still knows the machine after it was removed")
		}
		return err
	}
	path := w.seedPath(id)
	if path == "" {
		return nil
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove the cloud-init seed: %w", err)
	}
	return nil
}

// seedPath is where the seed of an Instance lies; "" on simulated hosts, whose guests read nothing.
func (w *Worker) seedPath(id string) string {
	if w.options.SeedFolder == "" {
		return ""
	}
	return filepath.Join(w.options.SeedFolder, id+".iso")
}

// maximumMessage keeps a report small; the whole error is in the agent's log.
const maximumMessage = v1.MaxTextLength

// clip makes an error's text fit for a report: one line, not too long.
func clip(text string) string {
	text = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, strings.ToValidUTF8(text, "?"))
	if len(text) > maximumMessage {
		text = strings.ToValidUTF8(text[:maximumMessage], "") + "…"
	}
	return text
}
