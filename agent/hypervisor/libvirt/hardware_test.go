//go:build libvirt_dlopen

package libvirt_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/coloa-cloud/coloa/agent/hypervisor"
	"github.com/coloa-cloud/coloa/agent/hypervisor/conformance"
	"github.com/coloa-cloud/coloa/agent/hypervisor/libvirt"
)

// TestLargestMachine starts what the validation lets through: all disks and NICs that a machine may have, every kind of disk, every limit.
func TestLargestMachine(t *testing.T) {
	folder, cluster := openFolder(t), uuid.NewString()
	host := open(t, libvirt.Options{Cluster: cluster})
	defer func() { require.NoError(t, host.Close()) }()
	machine := machineIn(t, folder, cluster)
	defer func() { require.NoError(t, host.Remove(within(t, time.Minute), machine.ID)) }()

	// The first disk is a copy-on-write clone, as those of the local storage driver are; the second is the seed.
	base, clone := filepath.Join(folder, "image.qcow2"), filepath.Join(folder, "clone.qcow2")
	output, err := exec.Command("qemu-img", "convert", "-f", "raw", "-O", "qcow2", machine.Disks[0].Path, base).CombinedOutput()
	require.NoError(t, err, "%s", output)
	require.NoError(t, os.Chmod(base, 0o444))
	output, err = exec.Command("qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", base, clone).CombinedOutput()
	require.NoError(t, err, "%s", output)
	machine.Disks[0] = hypervisor.Disk{
		Serial: machine.ID[:20], Path: clone, Format: "qcow2", Backing: base,
		ReadIOPS: 1000, WriteIOPS: 1000, ReadBytesPerSec: 10 << 20, WriteBytesPerSec: 10 << 20,
	}
	for i := 1; i < hypervisor.MaximumDisks; i++ {
		path := filepath.Join(folder, fmt.Sprintf("it's <disk> & \"%d\", readonly=off.raw", i))
		require.NoError(t, os.WriteFile(path, make([]byte, 1<<20), 0o600))
		machine.Disks = append(machine.Disks, hypervisor.Disk{Path: path, Format: "raw", CDROM: i == 1, ReadOnly: i == 2})
	}
	for i := range hypervisor.MaximumNICs {
		machine.NICs = append(machine.NICs, hypervisor.NIC{MAC: fmt.Sprintf("52:54:00:00:00:%02x", i), Kind: hypervisor.NICUser})
	}
	machine.VCPUs, machine.MemoryMiB = 2, 128
	ctx := within(t, time.Minute)
	require.NoError(t, host.Define(ctx, machine))
	require.NoError(t, host.Start(ctx, machine.ID))
	awaitGreeting(t, machine)
}

func TestStartThatFails(t *testing.T) {
	folder, cluster := openFolder(t), uuid.NewString()
	host := open(t, libvirt.Options{Cluster: cluster})
	defer func() { require.NoError(t, host.Close()) }()
	machine := machineIn(t, folder, cluster)
	ctx := within(t, time.Minute)
	defer func() { require.NoError(t, host.Remove(within(t, time.Minute), machine.ID)) }()
	require.NoError(t, os.Rename(machine.Disks[0].Path, machine.Disks[0].Path+".away"))
	require.NoError(t, host.Define(ctx, machine))

	err := host.Start(ctx, machine.ID)
	require.ErrorContains(t, err, machine.Disks[0].Path, "the error says which file is missing")
	require.NotErrorIs(t, err, hypervisor.ErrUnavailable)
	seen, err := host.Get(ctx, machine.ID)
	require.NoError(t, err)
	require.Equal(t, hypervisor.StateDefined, seen.State)

	require.NoError(t, os.Rename(machine.Disks[0].Path+".away", machine.Disks[0].Path))
	require.NoError(t, host.Start(ctx, machine.ID), "it starts when the file is there")
	awaitGreeting(t, machine)
}

// BenchmarkStart says how long a machine takes from its description to its guest's first word.
func BenchmarkStart(b *testing.B) {
	folder, err := os.MkdirTemp("", "coloa-libvirt-bench-")
	require.NoError(b, err)
	defer func() { require.NoError(b, os.RemoveAll(folder)) }()
	require.NoError(b, os.Chmod(folder, 0o755))
	cluster := uuid.NewString()
	host := open(b, libvirt.Options{Cluster: cluster})
	defer func() { require.NoError(b, host.Close()) }()
	_, err = host.Info(b.Context()) // probes
	require.NoError(b, err)
	var define, start, speak, kill time.Duration
	for b.Loop() {
		id := uuid.NewString()
		disk := filepath.Join(folder, id)
		require.NoError(b, os.WriteFile(disk, append(conformance.Guest(), make([]byte, 1<<20)...), 0o600))
		machine := hypervisor.Machine{
			ID: id, Name: "coloa-bench-" + id[24:], Cluster: cluster, VCPUs: 1, MemoryMiB: 64,
			Disks:     []hypervisor.Disk{{Path: disk, Format: "raw"}},
			NICs:      []hypervisor.NIC{{MAC: "52:54:00:12:34:56", Kind: hypervisor.NICUser}},
			SerialLog: disk + ".log",
		}
		began := time.Now()
		require.NoError(b, host.Define(b.Context(), machine))
		define += time.Since(began)
		began = time.Now()
		require.NoError(b, host.Start(b.Context(), id))
		start += time.Since(began)
		for {
			if info, err := os.Stat(machine.SerialLog); err == nil && info.Size() >= int64(len(conformance.GuestGreeting)) {
				break
			}
			time.Sleep(time.Millisecond)
		}
		speak += time.Since(began)
		began = time.Now()
		require.NoError(b, host.Remove(b.Context(), id))
		kill += time.Since(began)
	}
	for unit, took := range map[string]time.Duration{"define-ms": define, "start-ms": start, "spoke-ms": speak, "remove-ms": kill} {
		b.ReportMetric(float64(took.Milliseconds())/float64(b.N), unit)
	}
}
