// Package conformance holds the suite that every hypervisor passes: one test for each sentence of hypervisor.Hypervisor, run against the fake
// and against the real libvirt with real guests. A sentence that both break is a wrong sentence.
package conformance

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/coloa-cloud/coloa/agent/hypervisor"
)

// Setup is what the suite needs of an implementation. The guest that it runs is Guest.
type Setup struct {
	// Open attaches to the host as an agent of this cluster does at its start. The suite closes what it opens, and opens several at a time.
	Open func(t testing.TB, cluster string) hypervisor.Hypervisor
	// Directory returns a new folder whose files the hypervisor's guests can open.
	Directory func(t testing.TB) string
	// Greeting is what the guest writes to its serial port when it boots.
	Greeting string
	// PowerOff makes the guest power itself off. Panic makes its kernel panic. Pause stops it in the middle. EndProcess ends its process as
	// kill -9 does.
	PowerOff, Panic, Pause, EndProcess func(t testing.TB, host hypervisor.Hypervisor, id string)
	// DiskSize returns the size of a running machine's disk in bytes.
	DiskSize func(t testing.TB, id, path string) int64
	// Patience is how long the suite waits for something that must happen.
	Patience time.Duration
}

// Run runs the suite.
func Run(t *testing.T, setup Setup) {
	for _, test := range []struct {
		name string
		run  func(*testing.T, *bench)
	}{
		{"Info", testInfo},
		{"Define", testDefine},
		{"DefineInvalid", testDefineInvalid},
		{"DefineConcurrently", testDefineConcurrently},
		{"Unknown", testUnknown},
		{"OtherClusters", testOtherClusters},
		{"LifeAndDeath", testLifeAndDeath},
		{"StartConcurrently", testStartConcurrently},
		{"ShutdownObeyed", testShutdownObeyed},
		{"ShutdownIgnored", testShutdownIgnored},
		{"PowersItselfOff", testPowersItselfOff},
		{"Crashes", testCrashes},
		{"Reboot", testReboot},
		{"PauseAndResume", testPauseAndResume},
		{"ResizeDisk", testResizeDisk},
		{"Remove", testRemove},
		{"SerialLog", testSerialLog},
		{"Console", testConsole},
		{"ConsoleTakenOver", testConsoleTakenOver},
		{"ConsoleEndsWithTheMachine", testConsoleEndsWithTheMachine},
		{"ConsoleUnread", testConsoleUnread},
		{"Events", testEvents},
		{"EventsUnread", testEventsUnread},
		{"Deadlines", testDeadlines},
		{"Closed", testClosed},
		{"AgentRestart", testAgentRestart},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel() // most of the time is waiting for guests
			test.run(t, newBench(t, setup))
		})
	}
}

// bench is the ground of one test: a cluster of its own, so that tests do not see each other's machines.
type bench struct {
	Setup
	t       *testing.T
	ctx     context.Context
	cluster string
	host    hypervisor.Hypervisor
	made    []string
}

func newBench(t *testing.T, setup Setup) *bench {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	t.Cleanup(cancel)
	made := &bench{Setup: setup, t: t, ctx: ctx, cluster: newID()}
	made.host = made.open(made.cluster)
	t.Cleanup(made.removeAll)
	return made
}

// removeAll leaves the host as it was found, whatever the test did; with a connection of its own, since the test may have closed the other.
func (bench *bench) removeAll() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	host := bench.Open(bench.t, bench.cluster)
	defer func() { require.NoError(bench.t, host.Close()) }()
	for _, id := range bench.made {
		require.NoError(bench.t, host.Remove(ctx, id))
	}
	list, err := host.List(ctx)
	require.NoError(bench.t, err)
	require.Empty(bench.t, list)
}

func (bench *bench) open(cluster string) hypervisor.Hypervisor {
	host := bench.Open(bench.t, cluster)
	bench.t.Cleanup(func() { require.NoError(bench.t, host.Close()) })
	return host
}

func newID() string { return uuid.Must(uuid.NewV7()).String() }

// machine describes a machine that boots Guest.
func (bench *bench) machine() hypervisor.Machine {
	directory := bench.Directory(bench.t)
	disk := filepath.Join(directory, "disk.raw")
	require.NoError(bench.t, os.WriteFile(disk, append(Guest(), make([]byte, 1<<20-512)...), 0o600))
	machine := bench.diskless()
	machine.Disks = []hypervisor.Disk{{Serial: machine.ID[:20], Path: disk, Format: "raw"}}
	machine.NICs = []hypervisor.NIC{{MAC: "52:54:00:12:34:56", Kind: hypervisor.NICUser}}
	machine.SerialLog = filepath.Join(directory, "logs", "serial.log")
	return machine
}

// diskless describes a machine that finds nothing to boot, and so does not hear the power button either.
func (bench *bench) diskless() hypervisor.Machine {
	id := newID()
	bench.made = append(bench.made, id)
	return hypervisor.Machine{
		ID: id, Name: "coloa-test-" + id[24:], Title: "conformance " + strings.ReplaceAll(bench.t.Name(), "/", " "), VM: newID(), Project: newID(),
		Cluster: bench.cluster, VCPUs: 1, MemoryMiB: 32, Labels: map[string]string{"purpose": "test"},
	}
}

// defined returns a machine that has been defined, and boots when it is started.
func (bench *bench) defined() hypervisor.Machine {
	machine := bench.machine()
	require.NoError(bench.t, bench.host.Define(bench.ctx, machine))
	return machine
}

// running returns a machine whose guest has spoken.
func (bench *bench) running() hypervisor.Machine {
	machine := bench.defined()
	require.NoError(bench.t, bench.host.Start(bench.ctx, machine.ID))
	bench.awaitGreetings(machine, 1)
	return machine
}

func (bench *bench) awaitGreetings(machine hypervisor.Machine, count int) {
	bench.t.Helper()
	bench.eventually(fmt.Sprintf("the guest has greeted %d times", count), func() bool {
		text, err := os.ReadFile(machine.SerialLog)
		return err == nil && strings.Count(string(text), bench.Greeting) >= count
	})
}

func (bench *bench) eventually(what string, condition func() bool) {
	bench.t.Helper()
	deadline := time.Now().Add(bench.Patience)
	for !condition() {
		if time.Now().After(deadline) {
			require.FailNow(bench.t, "waited in vain until "+what)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func (bench *bench) get(id string) hypervisor.Observation {
	bench.t.Helper()
	seen, err := bench.host.Get(bench.ctx, id)
	require.NoError(bench.t, err)
	require.Equal(bench.t, id, seen.ID)
	return seen
}

func (bench *bench) awaitStopped(id string, reason hypervisor.StopReason) {
	bench.t.Helper()
	bench.eventually("the machine has stopped", func() bool { return bench.get(id).State == hypervisor.StateDefined })
	seen := bench.get(id)
	require.Equal(bench.t, reason, seen.Reason)
	require.Zero(bench.t, seen.PID)
}
