package fake_test

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/coloa-cloud/coloa/agent/hypervisor"
	"github.com/coloa-cloud/coloa/agent/hypervisor/conformance"
	"github.com/coloa-cloud/coloa/agent/hypervisor/fake"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestConformance(t *testing.T) {
	var host *fake.Host
	host = fake.NewHost(fake.Options{IgnoreShutdown: func(id string) bool {
		machine, _ := host.Machine(id)
		return len(machine.Disks) == 0
	}})
	hook := func(do func(string) error) func(testing.TB, hypervisor.Hypervisor, string) {
		return func(t testing.TB, _ hypervisor.Hypervisor, id string) { require.NoError(t, do(id)) }
	}
	conformance.Run(t, conformance.Setup{
		Open:       func(_ testing.TB, cluster string) hypervisor.Hypervisor { return host.Open(cluster) },
		Directory:  func(t testing.TB) string { return t.TempDir() },
		Greeting:   fake.Greeting,
		PowerOff:   hook(host.PowerOffGuest),
		Panic:      hook(host.CrashGuest),
		Pause:      hook(host.PauseGuest),
		EndProcess: hook(host.CrashGuest),
		DiskSize:   func(_ testing.TB, id, path string) int64 { return host.DiskSize(id, path) },
		Patience:   5 * time.Second,
	})
}

func machine() hypervisor.Machine {
	return hypervisor.Machine{
		ID: "01938f5e-0000-7000-8000-000000000001", Name: "coloa-1", Cluster: "cluster-1", VCPUs: 1, MemoryMiB: 128,
		Disks: []hypervisor.Disk{{Path: "/disk", Format: "raw"}},
	}
}

func TestLatencyAndDeadlineInVirtualTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		host := fake.NewHost(fake.Options{
			ShutdownTime: 30 * time.Second,
			Latency: func(method string) time.Duration {
				if method == "Start" {
					return time.Hour
				}
				return 0
			},
		})
		view := host.Open("cluster-1")
		defer func() { require.NoError(t, view.Close()) }()
		ctx := context.Background()
		require.NoError(t, view.Define(ctx, machine()))

		short, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		began := time.Now()
		require.ErrorIs(t, view.Start(short, machine().ID), hypervisor.ErrUnavailable)
		require.Equal(t, time.Minute, time.Since(began))

		require.NoError(t, view.Start(ctx, machine().ID))
		require.Equal(t, time.Minute+time.Hour, time.Since(began))

		require.NoError(t, view.Shutdown(ctx, machine().ID))
		time.Sleep(29 * time.Second)
		seen, err := view.Get(ctx, machine().ID)
		require.NoError(t, err)
		require.Equal(t, hypervisor.StateRunning, seen.State)
		time.Sleep(2 * time.Second)
		seen, err = view.Get(ctx, machine().ID)
		require.NoError(t, err)
		require.Equal(t, hypervisor.ReasonShutdown, seen.Reason)
	})
}

func TestLateShutdownDoesNotEndTheNextRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		host := fake.NewHost(fake.Options{ShutdownTime: 30 * time.Second})
		view := host.Open("cluster-1")
		ctx := context.Background()
		require.NoError(t, view.Define(ctx, machine()))
		require.NoError(t, view.Start(ctx, machine().ID))
		require.NoError(t, view.Shutdown(ctx, machine().ID))
		require.NoError(t, view.Kill(ctx, machine().ID))
		require.NoError(t, view.Start(ctx, machine().ID))
		time.Sleep(time.Minute)
		seen, err := view.Get(ctx, machine().ID)
		require.NoError(t, err)
		require.Equal(t, hypervisor.StateRunning, seen.State)
		require.NoError(t, view.Close())
	})
}

func TestScriptedFailures(t *testing.T) {
	ctx, broken := context.Background(), errors.New("broken")
	fails := map[string]error{}
	host := fake.NewHost(fake.Options{
		Fail:      func(method, _ string) error { return fails[method] },
		FailAfter: func(method, _ string) error { return fails[method+" after"] },
	})
	view := host.Open("cluster-1")
	fails["Define"] = broken
	require.ErrorIs(t, view.Define(ctx, machine()), broken)
	_, known := host.Machine(machine().ID)
	require.False(t, known, "without any effect")
	delete(fails, "Define")
	fails["Define after"] = broken
	require.ErrorIs(t, view.Define(ctx, machine()), broken)
	_, known = host.Machine(machine().ID)
	require.True(t, known, "the effect is there, only the answer was lost")
}

func TestForgetsHowMachinesEnded(t *testing.T) {
	ctx, host := context.Background(), fake.NewHost(fake.Options{})
	view := host.Open("cluster-1")
	require.NoError(t, view.Define(ctx, machine()))
	host.Forget()
	seen, err := view.Get(ctx, machine().ID)
	require.NoError(t, err)
	require.Equal(t, hypervisor.ReasonNone, seen.Reason)
	require.NoError(t, view.Start(ctx, machine().ID))
	require.NoError(t, host.CrashGuest(machine().ID))
	host.Forget()
	seen, err = view.Get(ctx, machine().ID)
	require.NoError(t, err)
	require.Equal(t, hypervisor.ReasonUnknown, seen.Reason)
}

func TestGuestsSpeak(t *testing.T) {
	ctx, host := context.Background(), fake.NewHost(fake.Options{})
	view := host.Open("cluster-1")
	wanted := machine()
	wanted.SerialLog = filepath.Join(t.TempDir(), "a", "b.log")
	require.NoError(t, view.Define(ctx, wanted))
	require.ErrorIs(t, host.WriteSerial(wanted.ID, "x"), hypervisor.ErrNotRunning)
	require.NoError(t, view.Start(ctx, wanted.ID))
	console, err := view.Console(ctx, wanted.ID)
	require.NoError(t, err)
	require.NoError(t, host.WriteSerial(wanted.ID, "hello"))
	buffer := make([]byte, 16)
	count, err := console.Read(buffer)
	require.NoError(t, err)
	require.Equal(t, "hello", string(buffer[:count]))
	require.FileExists(t, wanted.SerialLog)
}
