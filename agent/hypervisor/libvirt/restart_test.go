//go:build libvirt_dlopen

package libvirt_test

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/coloa-cloud/coloa/agent/hypervisor"
	"github.com/coloa-cloud/coloa/agent/hypervisor/conformance"
	"github.com/coloa-cloud/coloa/agent/hypervisor/libvirt"
)

// machineIn describes a machine that boots the conformance suite's guest from a disk in the folder.
func machineIn(t *testing.T, folder, cluster string) hypervisor.Machine {
	t.Helper()
	id := uuid.Must(uuid.NewV7()).String()
	disk := filepath.Join(folder, id+".raw")
	require.NoError(t, os.WriteFile(disk, append(conformance.Guest(), make([]byte, 1<<20-512)...), 0o600))
	return hypervisor.Machine{
		ID: id, Name: "coloa-test-" + id[24:], Cluster: cluster, VCPUs: 1, MemoryMiB: 32,
		Disks:     []hypervisor.Disk{{Path: disk, Format: "raw"}},
		SerialLog: filepath.Join(folder, "logs", id+".log"),
	}
}

func awaitGreeting(t *testing.T, machine hypervisor.Machine) {
	t.Helper()
	eventually(t, "the guest greets", func() bool {
		text, err := os.ReadFile(machine.SerialLog)
		return err == nil && strings.Contains(string(text), conformance.GuestGreeting)
	})
}

func TestLibvirtdRestarts(t *testing.T) {
	daemon := startDaemon(t)
	cluster := uuid.NewString()
	host := open(t, daemon.options(cluster))
	defer func() { require.NoError(t, host.Close()) }()
	ctx := within(t, 2*time.Minute)

	survivor, killed, neverRan, orphan := machineIn(t, daemon.folder, cluster), machineIn(t, daemon.folder, cluster), machineIn(t, daemon.folder, cluster), machineIn(t, daemon.folder, cluster)
	all := []hypervisor.Machine{survivor, killed, neverRan, orphan}
	for _, machine := range all {
		require.NoError(t, host.Define(ctx, machine))
	}
	for _, machine := range []hypervisor.Machine{survivor, killed, orphan} {
		require.NoError(t, host.Start(ctx, machine.ID))
	}
	require.NoError(t, host.Kill(ctx, killed.ID))
	awaitGreeting(t, survivor)
	before, err := host.Get(ctx, survivor.ID)
	require.NoError(t, err)
	orphaned, err := host.Get(ctx, orphan.ID)
	require.NoError(t, err)
	console, err := host.Console(ctx, survivor.ID)
	require.NoError(t, err)
	events, err := host.Events(ctx)
	require.NoError(t, err)

	daemon.want(false)
	daemon.signal(syscall.SIGKILL)
	_, err = io.Copy(io.Discard, console)
	require.NoError(t, err, "the console ends with the connection")
	require.NoError(t, console.Close())
	_, err = host.Get(ctx, survivor.ID)
	require.ErrorIs(t, err, hypervisor.ErrUnavailable)
	require.ErrorIs(t, host.Define(ctx, machineIn(t, daemon.folder, cluster)), hypervisor.ErrUnavailable)
	require.NoError(t, syscall.Kill(before.PID, 0), "the guest runs on")
	require.NoError(t, syscall.Kill(orphaned.PID, syscall.SIGKILL)) // this one ends while nobody looks
	for len(events) > 0 {
		<-events
	}

	daemon.want(true)
	eventually(t, "libvirt answers again", func() bool {
		_, err := host.Get(ctx, survivor.ID)
		if err != nil {
			require.ErrorIs(t, err, hypervisor.ErrUnavailable)
		}
		return err == nil
	})
	after, err := host.Get(ctx, survivor.ID)
	require.NoError(t, err)
	require.Equal(t, before, after, "the same process, since the same time")
	told := map[string]bool{}
	for len(told) < len(all) {
		select {
		case event := <-events:
			told[event.ID] = true
		case <-time.After(30 * time.Second):
			require.FailNow(t, "no event for each machine after connecting again")
		}
	}
	for id, reasons := range map[string][]hypervisor.StopReason{
		neverRan.ID: {hypervisor.ReasonNone},
		killed.ID:   {hypervisor.ReasonUnknown},
		orphan.ID:   {hypervisor.ReasonUnknown, hypervisor.ReasonCrashed},
	} {
		seen, err := host.Get(ctx, id)
		require.NoError(t, err)
		require.Equal(t, hypervisor.StateDefined, seen.State)
		require.Contains(t, reasons, seen.Reason)
	}

	console, err = host.Console(ctx, survivor.ID)
	require.NoError(t, err)
	_, err = console.Write([]byte("hello"))
	require.NoError(t, err)
	_, err = io.ReadFull(console, make([]byte, 5))
	require.NoError(t, err, "the guest still answers")
	require.NoError(t, console.Close())
	for _, machine := range all {
		require.NoError(t, host.Remove(ctx, machine.ID))
	}
}

func TestLibvirtdHangs(t *testing.T) {
	daemon := startDaemon(t)
	cluster := uuid.NewString()
	host := open(t, daemon.options(cluster))
	machine := machineIn(t, daemon.folder, cluster)
	require.NoError(t, host.Define(within(t, time.Minute), machine))

	daemon.signal(syscall.SIGSTOP)
	began := time.Now()
	// More callers than may wait in libvirt at a time: none of them waits longer than it said.
	results := make(chan error)
	for range 40 {
		go func() {
			_, err := host.Get(within(t, time.Second), machine.ID)
			results <- err
		}()
	}
	for range 40 {
		require.ErrorIs(t, <-results, hypervisor.ErrUnavailable)
	}
	require.Less(t, time.Since(began), 5*time.Second)
	daemon.signal(syscall.SIGCONT)
	eventually(t, "libvirt answers again", func() bool {
		_, err := host.Get(within(t, 10*time.Second), machine.ID)
		return err == nil
	})
	require.NoError(t, host.Remove(within(t, time.Minute), machine.ID))
	require.NoError(t, host.Close())
}

func TestOpenWaitsForLibvirtd(t *testing.T) {
	daemon := startDaemon(t)
	require.NoError(t, open(t, daemon.options("c")).Close())
	daemon.want(false)
	daemon.signal(syscall.SIGKILL)
	_, err := libvirt.Open(within(t, 500*time.Millisecond), daemon.options("c"))
	require.ErrorIs(t, err, hypervisor.ErrUnavailable)
	time.AfterFunc(time.Second, func() { daemon.want(true) })
	require.NoError(t, open(t, daemon.options("c")).Close())
}

func TestNothingLeaks(t *testing.T) {
	daemon := startDaemon(t)
	cluster := uuid.NewString()
	ctx := within(t, 2*time.Minute)
	host := open(t, daemon.options(cluster))
	machine := machineIn(t, daemon.folder, cluster)
	require.NoError(t, host.Define(ctx, machine))
	require.NoError(t, host.Start(ctx, machine.ID))
	round := func() {
		for range 10 {
			console, err := host.Console(ctx, machine.ID)
			require.NoError(t, err)
			_, err = console.Write([]byte("x"))
			require.NoError(t, err)
			require.NoError(t, console.Close())
			ended, cancel := context.WithCancel(ctx)
			_, err = host.Events(ended)
			require.NoError(t, err)
			cancel()
		}
		require.NoError(t, host.Close())
		host = open(t, daemon.options(cluster))
		daemon.signal(syscall.SIGKILL)
		eventually(t, "the loss is noticed", func() bool { _, err := host.List(ctx); return err != nil })
		eventually(t, "libvirt answers again", func() bool { _, err := host.List(ctx); return err == nil })
	}
	round()
	descriptors, goroutines := openDescriptors(t), runtime.NumGoroutine()
	for range 3 {
		round()
	}
	eventually(t, "all is given back", func() bool {
		return openDescriptors(t) <= descriptors && runtime.NumGoroutine() <= goroutines
	})
	require.NoError(t, host.Remove(ctx, machine.ID))
	require.NoError(t, host.Close())
}
