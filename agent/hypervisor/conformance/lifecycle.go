package conformance

import (
	"context"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/coloa-cloud/coloa/agent/hypervisor"
)

func testInfo(t *testing.T, bench *bench) {
	info, err := bench.host.Info(bench.ctx)
	require.NoError(t, err)
	require.NotEmpty(t, info.Hypervisor)
	require.Equal(t, "x86_64", info.Architecture)
	require.Positive(t, info.CPUs)
	require.NotEmpty(t, info.CPUModel)
	require.Greater(t, info.MemoryMiB, int64(256))
	again, err := bench.host.Info(bench.ctx)
	require.NoError(t, err)
	require.Equal(t, info, again)
}

func testDefine(t *testing.T, bench *bench) {
	list, err := bench.host.List(bench.ctx)
	require.NoError(t, err)
	require.Empty(t, list)

	first, second := bench.defined(), bench.defined()
	seen := bench.get(first.ID)
	require.Equal(t, hypervisor.StateDefined, seen.State)
	require.Equal(t, hypervisor.ReasonNone, seen.Reason, "it never ran")
	require.Zero(t, seen.PID)

	list, err = bench.host.List(bench.ctx)
	require.NoError(t, err)
	require.Len(t, list, 2)
	require.Equal(t, []string{first.ID, second.ID}, []string{list[0].ID, list[1].ID}, "sorted by id")

	require.NoError(t, bench.host.Define(bench.ctx, first), "defining again changes nothing")
	changed := first
	changed.MemoryMiB, changed.Name = 48, "coloa-another"
	require.NoError(t, bench.host.Define(bench.ctx, changed), "defining again changes nothing")
	require.NoError(t, bench.host.Start(bench.ctx, first.ID))
	bench.awaitGreetings(first, 1)
	require.NoError(t, bench.host.Define(bench.ctx, first), "also while it runs")
	require.Equal(t, hypervisor.StateRunning, bench.get(first.ID).State)
}

func testDefineInvalid(t *testing.T, bench *bench) {
	for field, change := range map[string]func(*hypervisor.Machine){
		"ID":             func(m *hypervisor.Machine) { m.ID = "not-an-id" },
		"Name":           func(m *hypervisor.Machine) { m.Name = "../x" },
		"VCPUs":          func(m *hypervisor.Machine) { m.VCPUs = 0 },
		"MemoryMiB":      func(m *hypervisor.Machine) { m.MemoryMiB = 1 << 60 },
		"Disks[0].Path":  func(m *hypervisor.Machine) { m.Disks[0].Path = "x'/><hostdev/>" },
		"NICs[0].MAC":    func(m *hypervisor.Machine) { m.NICs[0].MAC = "x" },
		"SerialLog":      func(m *hypervisor.Machine) { m.SerialLog = "x" },
		"Cluster":        func(m *hypervisor.Machine) { m.Cluster = newID() },
		"Cluster (none)": func(m *hypervisor.Machine) { m.Cluster = "" },
	} {
		machine := bench.machine()
		change(&machine)
		require.ErrorIs(t, bench.host.Define(bench.ctx, machine), hypervisor.ErrInvalid, field)
	}
	first, second := bench.defined(), bench.machine()
	second.Name = first.Name
	require.ErrorIs(t, bench.host.Define(bench.ctx, second), hypervisor.ErrInvalid, "two machines of one name")
	list, err := bench.host.List(bench.ctx)
	require.NoError(t, err)
	require.Len(t, list, 1, "what was refused left nothing behind")

	strange := bench.machine()
	strange.Title = "'/></title><hostdev mode='subsystem'/>\x00\u202e\n\xff"
	strange.Labels = map[string]string{"\"><a": "]]>\x01"}
	require.NoError(t, bench.host.Define(bench.ctx, strange), "texts that are only shown may hold anything")
	require.NoError(t, bench.host.Start(bench.ctx, strange.ID))
	bench.awaitGreetings(strange, 1)
}

func testDefineConcurrently(t *testing.T, bench *bench) {
	machine := bench.machine()
	together(8, func(int) { assert.NoError(t, bench.host.Define(bench.ctx, machine)) })
	list, err := bench.host.List(bench.ctx)
	require.NoError(t, err)
	require.Len(t, list, 1)
}

// together runs work n times at once. Work asserts rather than requires: only a test's own goroutine may end it.
func together(n int, work func(i int)) {
	var group sync.WaitGroup
	for i := range n {
		group.Go(func() { work(i) })
	}
	group.Wait()
}

func testUnknown(t *testing.T, bench *bench) {
	for _, id := range []string{newID(), "", "x", "../../etc", " " + newID(), "0"} {
		_, err := bench.host.Get(bench.ctx, id)
		require.ErrorIs(t, err, hypervisor.ErrNotFound)
		require.ErrorIs(t, bench.host.Start(bench.ctx, id), hypervisor.ErrNotFound)
		require.ErrorIs(t, bench.host.Shutdown(bench.ctx, id), hypervisor.ErrNotFound)
		require.ErrorIs(t, bench.host.Kill(bench.ctx, id), hypervisor.ErrNotFound)
		require.ErrorIs(t, bench.host.Reboot(bench.ctx, id, false), hypervisor.ErrNotFound)
		require.ErrorIs(t, bench.host.Reboot(bench.ctx, id, true), hypervisor.ErrNotFound)
		require.ErrorIs(t, bench.host.Resume(bench.ctx, id), hypervisor.ErrNotFound)
		require.ErrorIs(t, bench.host.ResizeDisk(bench.ctx, id, "/a", 1<<20), hypervisor.ErrNotFound)
		console, err := bench.host.Console(bench.ctx, id)
		require.ErrorIs(t, err, hypervisor.ErrNotFound)
		require.Nil(t, console)
		require.NoError(t, bench.host.Remove(bench.ctx, id), "what is not there needs no removing")
	}
	off := bench.defined()
	require.ErrorIs(t, bench.host.Reboot(bench.ctx, off.ID, false), hypervisor.ErrNotRunning)
	require.ErrorIs(t, bench.host.Reboot(bench.ctx, off.ID, true), hypervisor.ErrNotRunning)
	require.ErrorIs(t, bench.host.Resume(bench.ctx, off.ID), hypervisor.ErrNotRunning)
	require.ErrorIs(t, bench.host.ResizeDisk(bench.ctx, off.ID, off.Disks[0].Path, 4<<20), hypervisor.ErrNotRunning)
	_, err := bench.host.Console(bench.ctx, off.ID)
	require.ErrorIs(t, err, hypervisor.ErrNotRunning)
	require.NoError(t, bench.host.Shutdown(bench.ctx, off.ID), "it does not run already")
	require.NoError(t, bench.host.Kill(bench.ctx, off.ID), "it does not run already")
}

func testOtherClusters(t *testing.T, bench *bench) {
	ours := bench.running()
	stranger := bench.open(newID())
	list, err := stranger.List(bench.ctx)
	require.NoError(t, err)
	require.Empty(t, list)
	_, err = stranger.Get(bench.ctx, ours.ID)
	require.ErrorIs(t, err, hypervisor.ErrNotFound)
	require.ErrorIs(t, stranger.Kill(bench.ctx, ours.ID), hypervisor.ErrNotFound)
	_, err = stranger.Console(bench.ctx, ours.ID)
	require.ErrorIs(t, err, hypervisor.ErrNotFound)
	require.NoError(t, stranger.Remove(bench.ctx, ours.ID))
	require.Equal(t, hypervisor.StateRunning, bench.get(ours.ID).State, "another cluster cannot touch it")
}

func testLifeAndDeath(t *testing.T, bench *bench) {
	machine := bench.defined()
	before := time.Now().Add(-time.Minute)
	require.NoError(t, bench.host.Start(bench.ctx, machine.ID))
	seen := bench.get(machine.ID)
	require.Equal(t, hypervisor.StateRunning, seen.State)
	require.Equal(t, hypervisor.ReasonNone, seen.Reason)
	require.Positive(t, seen.PID)
	require.WithinRange(t, seen.Since, before, time.Now().Add(time.Minute))
	require.NoError(t, bench.host.Start(bench.ctx, machine.ID), "it runs already")
	require.Equal(t, seen.PID, bench.get(machine.ID).PID)
	bench.awaitGreetings(machine, 1)

	require.NoError(t, bench.host.Kill(bench.ctx, machine.ID))
	seen = bench.get(machine.ID)
	require.Equal(t, hypervisor.StateDefined, seen.State, "Kill returns when the machine has ended")
	require.Equal(t, hypervisor.ReasonKilled, seen.Reason)
	require.NoError(t, bench.host.Kill(bench.ctx, machine.ID), "killing again changes nothing")
	require.Equal(t, hypervisor.ReasonKilled, bench.get(machine.ID).Reason)

	require.NoError(t, bench.host.Start(bench.ctx, machine.ID), "it can run again")
	bench.awaitGreetings(machine, 2)
}

func testStartConcurrently(t *testing.T, bench *bench) {
	machine := bench.defined()
	together(4, func(int) { assert.NoError(t, bench.host.Start(bench.ctx, machine.ID)) })
	require.Equal(t, hypervisor.StateRunning, bench.get(machine.ID).State)
	together(4, func(int) { assert.NoError(t, bench.host.Kill(bench.ctx, machine.ID)) })
	require.Equal(t, hypervisor.StateDefined, bench.get(machine.ID).State)
	together(4, func(int) { assert.NoError(t, bench.host.Remove(bench.ctx, machine.ID)) })
}

func testShutdownObeyed(t *testing.T, bench *bench) {
	machine := bench.running()
	require.NoError(t, bench.host.Shutdown(bench.ctx, machine.ID))
	bench.awaitStopped(machine.ID, hypervisor.ReasonShutdown)
	require.NoError(t, bench.host.Shutdown(bench.ctx, machine.ID), "it does not run already")
}

func testShutdownIgnored(t *testing.T, bench *bench) {
	machine := bench.diskless()
	require.NoError(t, bench.host.Define(bench.ctx, machine))
	require.NoError(t, bench.host.Start(bench.ctx, machine.ID))
	for range 2 {
		started := time.Now()
		require.NoError(t, bench.host.Shutdown(bench.ctx, machine.ID))
		require.Less(t, time.Since(started), 5*time.Second, "Shutdown does not wait for the guest")
	}
	time.Sleep(200 * time.Millisecond)
	require.Equal(t, hypervisor.StateRunning, bench.get(machine.ID).State, "this guest does not hear the power button")
	require.NoError(t, bench.host.Kill(bench.ctx, machine.ID))
	bench.awaitStopped(machine.ID, hypervisor.ReasonKilled)
}

func testPowersItselfOff(t *testing.T, bench *bench) {
	machine := bench.running()
	bench.PowerOff(t, bench.host, machine.ID)
	bench.awaitStopped(machine.ID, hypervisor.ReasonShutdown)
}

func testCrashes(t *testing.T, bench *bench) {
	machine := bench.running()
	bench.Panic(t, bench.host, machine.ID)
	bench.awaitStopped(machine.ID, hypervisor.ReasonCrashed)
	require.NoError(t, bench.host.Start(bench.ctx, machine.ID), "it can run again")
	bench.awaitGreetings(machine, 2)
	bench.EndProcess(t, bench.host, machine.ID)
	bench.awaitStopped(machine.ID, hypervisor.ReasonCrashed)
	require.NoError(t, bench.host.Start(bench.ctx, machine.ID), "it can run again")
	bench.awaitGreetings(machine, 3)
}

func testReboot(t *testing.T, bench *bench) {
	machine := bench.running()
	process := bench.get(machine.ID).PID
	require.NoError(t, bench.host.Reboot(bench.ctx, machine.ID, true))
	bench.awaitGreetings(machine, 2)
	require.NoError(t, bench.host.Reboot(bench.ctx, machine.ID, false))
	bench.awaitGreetings(machine, 3)
	seen := bench.get(machine.ID)
	require.Equal(t, hypervisor.StateRunning, seen.State)
	require.Equal(t, process, seen.PID, "the process stays")
	require.NoError(t, bench.host.Shutdown(bench.ctx, machine.ID))
	bench.awaitStopped(machine.ID, hypervisor.ReasonShutdown)
}

func testPauseAndResume(t *testing.T, bench *bench) {
	machine := bench.running()
	process := bench.get(machine.ID).PID
	require.NoError(t, bench.host.Resume(bench.ctx, machine.ID), "it runs already")
	bench.Pause(t, bench.host, machine.ID)
	seen := bench.get(machine.ID)
	require.Equal(t, hypervisor.StatePaused, seen.State)
	require.Equal(t, process, seen.PID)
	require.NoError(t, bench.host.Start(bench.ctx, machine.ID), "a paused machine is started already")
	require.Equal(t, hypervisor.StatePaused, bench.get(machine.ID).State)
	require.NoError(t, bench.host.Resume(bench.ctx, machine.ID))
	require.Equal(t, hypervisor.StateRunning, bench.get(machine.ID).State)
	bench.Pause(t, bench.host, machine.ID)
	require.NoError(t, bench.host.Kill(bench.ctx, machine.ID), "a paused machine can be killed")
	bench.awaitStopped(machine.ID, hypervisor.ReasonKilled)
}

func testResizeDisk(t *testing.T, bench *bench) {
	machine := bench.running()
	path := machine.Disks[0].Path
	for range 2 {
		require.NoError(t, bench.host.ResizeDisk(bench.ctx, machine.ID, path, 4<<20))
		require.EqualValues(t, 4<<20, bench.DiskSize(t, machine.ID, path))
	}
	for _, bad := range []int64{1 << 20, 0, -512, 4<<20 + 1} {
		require.ErrorIs(t, bench.host.ResizeDisk(bench.ctx, machine.ID, path, bad), hypervisor.ErrInvalid)
	}
	for _, bad := range []string{"/no/such/disk", "vda", "", path + "x"} {
		require.ErrorIs(t, bench.host.ResizeDisk(bench.ctx, machine.ID, bad, 8<<20), hypervisor.ErrInvalid, bad)
	}
	require.EqualValues(t, 4<<20, bench.DiskSize(t, machine.ID, path))
}

func testRemove(t *testing.T, bench *bench) {
	off, on := bench.defined(), bench.running()
	for _, machine := range []hypervisor.Machine{off, on} {
		for range 2 {
			require.NoError(t, bench.host.Remove(bench.ctx, machine.ID))
		}
		_, err := bench.host.Get(bench.ctx, machine.ID)
		require.ErrorIs(t, err, hypervisor.ErrNotFound)
		require.FileExists(t, machine.Disks[0].Path, "files stay")
	}
	require.FileExists(t, on.SerialLog, "files stay")
	list, err := bench.host.List(bench.ctx)
	require.NoError(t, err)
	require.Empty(t, list)
	require.NoError(t, bench.host.Define(bench.ctx, on), "its id is free again")
	require.Equal(t, hypervisor.ReasonNone, bench.get(on.ID).Reason, "and nothing of the old one is remembered")
}

func testSerialLog(t *testing.T, bench *bench) {
	machine := bench.running()
	require.NoError(t, bench.host.Kill(bench.ctx, machine.ID))
	require.NoError(t, bench.host.Start(bench.ctx, machine.ID))
	bench.awaitGreetings(machine, 2) // the file is continued
	info, err := os.Stat(machine.SerialLog)
	require.NoError(t, err)
	require.Zero(t, info.Mode().Perm()&0o007, "what a guest says is not for everybody on the host")
}

func testDeadlines(t *testing.T, bench *bench) {
	machine := bench.defined()
	ended, cancel := context.WithCancel(bench.ctx)
	cancel()
	_, err := bench.host.List(ended)
	require.ErrorIs(t, err, hypervisor.ErrUnavailable)
	_, err = bench.host.Get(ended, machine.ID)
	require.ErrorIs(t, err, hypervisor.ErrUnavailable)
	require.ErrorIs(t, bench.host.Start(ended, machine.ID), hypervisor.ErrUnavailable)
	_, err = bench.host.Console(ended, machine.ID)
	require.ErrorIs(t, err, hypervisor.ErrUnavailable)
	require.Equal(t, hypervisor.StateDefined, bench.get(machine.ID).State)
}

func testClosed(t *testing.T, bench *bench) {
	machine := bench.running()
	host := bench.open(bench.cluster)
	events, err := host.Events(bench.ctx)
	require.NoError(t, err)
	console, err := host.Console(bench.ctx, machine.ID)
	require.NoError(t, err)
	require.NoError(t, host.Close())
	require.NoError(t, host.Close(), "closing again changes nothing")
	_, err = host.List(bench.ctx)
	require.ErrorIs(t, err, hypervisor.ErrUnavailable)
	require.ErrorIs(t, host.Start(bench.ctx, machine.ID), hypervisor.ErrUnavailable)
	_, err = host.Events(bench.ctx)
	require.ErrorIs(t, err, hypervisor.ErrUnavailable)
	bench.awaitClosed(events)
	_ = bench.readToTheEnd(console)
	require.NoError(t, console.Close())
}

func testAgentRestart(t *testing.T, bench *bench) {
	on, off, ended := bench.running(), bench.defined(), bench.running()
	require.NoError(t, bench.host.Kill(bench.ctx, ended.ID))
	before := bench.get(on.ID)
	require.NoError(t, bench.host.Close())
	for range 2 {
		bench.host = bench.open(bench.cluster)
		list, err := bench.host.List(bench.ctx)
		require.NoError(t, err)
		require.Len(t, list, 3)
		require.Equal(t, before, bench.get(on.ID), "the same process runs on")
		require.Equal(t, hypervisor.ReasonNone, bench.get(off.ID).Reason)
		require.Equal(t, hypervisor.ReasonKilled, bench.get(ended.ID).Reason)
		require.NoError(t, bench.host.Close())
	}
	bench.host = bench.open(bench.cluster)
	require.NoError(t, bench.host.Reboot(bench.ctx, on.ID, true), "and it still obeys")
	bench.awaitGreetings(on, 2)
}
