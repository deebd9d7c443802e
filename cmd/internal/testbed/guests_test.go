package testbed

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coloa-cloud/coloa/api/client"
	v1 "github.com/coloa-cloud/coloa/api/v1"
)

// TestGuests: what guests and hosts do by themselves, and what becomes of it.
func TestGuests(t *testing.T) {
	t.Parallel() // most of it is waiting
	cloud, admin := furnished(t, Options{Controllers: 1, Hosts: 2, SilentAfter: time.Second, HeartbeatEvery: 100 * time.Millisecond, KeepLedgers: true})
	_, err := client.Create[v1.PlacementGroup](t.Context(), admin, client.Draft{Name: "apart", Project: "demo", Spec: v1.PlacementGroupSpec{Policy: v1.AntiAffinityHard}})
	require.NoError(t, err)
	impatient, err := client.New(client.Options{Endpoints: cloud.Endpoints(), Token: tokenOf(t, admin), CAPool: cloud.authority.pool, RetryFor: -1})
	require.NoError(t, err)
	t.Cleanup(impatient.Close)
	apart := func(s *v1.VMSpec) { s.PlacementGroup = "apart" }
	web, neighbour := createVM(t, admin, "web", apart), createVM(t, admin, "neighbour", apart)
	host, other := hostNamed(t, cloud, web.Status.HostName), hostNamed(t, cloud, neighbour.Status.HostName)
	require.NotEqual(t, host, other)
	becomes := func(t *testing.T, vm *v1.VM, phase v1.VMPhase, what string) *v1.VM {
		t.Helper()
		var now *v1.VM
		require.Eventually(t, func() bool {
			now = getVM(t, admin, vm.Name)
			return now.Status.Phase == phase
		}, 20*time.Second, 10*time.Millisecond, what)
		return now
	}
	// again waits for the next incarnation of a machine.
	again := func(t *testing.T, vm *v1.VM) *v1.VM {
		t.Helper()
		var now *v1.VM
		require.Eventually(t, func() bool {
			now = getVM(t, admin, vm.Name)
			return now.Status.Instance != vm.Status.Instance && now.Status.Phase == v1.VMRunning && leads(t, cloud).get().Store().Snapshot().OpenOperationOn(vm.ID) == nil
		}, 20*time.Second, 10*time.Millisecond, "%s is not started again", vm.Name)
		require.Equal(t, vm.Status.HostName, now.Status.HostName, "its disk is there")
		require.Equal(t, vm.Status.MAC, now.Status.MAC)
		require.Equal(t, vm.Status.RootVolume, now.Status.RootVolume)
		instances, err := client.ListAll[v1.Instance](t.Context(), admin, client.Query{Fields: map[string]string{"vm": vm.ID}, All: true}, 0)
		require.NoError(t, err)
		require.Len(t, instances, 1, "the last incarnation makes room for the next")
		return now
	}
	stays := func(t *testing.T, vm *v1.VM, phase v1.VMPhase) {
		t.Helper()
		time.Sleep(1200 * time.Millisecond) // a reconciler would have been at it at once
		now := getVM(t, admin, vm.Name)
		require.Equal(t, phase, now.Status.Phase)
		require.Equal(t, vm.Status.Instance, now.Status.Instance)
	}
	steady := processes(t, cloud)[neighbour.Status.Instance]
	undisturbed := func(t *testing.T) {
		t.Helper()
		require.Equal(t, steady, processes(t, cloud)[neighbour.Status.Instance])
	}

	t.Run("a crash", func(t *testing.T) {
		require.NoError(t, host.Machine.CrashGuest(web.Status.Instance))
		web = again(t, web)
		undisturbed(t)
	})
	t.Run("a shutdown from inside stays one", func(t *testing.T) {
		require.NoError(t, host.Machine.PowerOffGuest(web.Status.Instance))
		stopped := becomes(t, web, v1.VMStopped, "it has shut down")
		require.Contains(t, stopped.Status.Message, "guest")
		stays(t, stopped, v1.VMStopped)
		require.NotEqual(t, v1.PowerStopped, stopped.Spec.Power, "the wish is the user's")
		started, err := client.Act[v1.VM](t.Context(), admin, ref("web"), "start", nil)
		require.NoError(t, err)
		succeed(t, admin, started.Operation)
		web = again(t, web)
	})
	t.Run("a shutdown from inside under the policy always", func(t *testing.T) {
		vm := createVM(t, admin, "always", func(s *v1.VMSpec) { s.RestartPolicy = v1.RestartAlways })
		on := hostNamed(t, cloud, vm.Status.HostName)
		require.NoError(t, on.Machine.PowerOffGuest(vm.Status.Instance))
		vm = again(t, vm)
		// Stopped by its user it stays so, whatever the policy.
		stopped, err := client.Act[v1.VM](t.Context(), admin, ref("always"), "stop", v1.StopRequest{})
		require.NoError(t, err)
		succeed(t, admin, stopped.Operation)
		stays(t, vm, v1.VMStopped)
	})
	t.Run("a crash under the policy never", func(t *testing.T) {
		vm := createVM(t, admin, "never", func(s *v1.VMSpec) { s.RestartPolicy = v1.RestartNever })
		on := hostNamed(t, cloud, vm.Status.HostName)
		require.NoError(t, on.Machine.CrashGuest(vm.Status.Instance))
		crashed := becomes(t, vm, v1.VMCrashed, "it has crashed")
		stays(t, crashed, v1.VMCrashed)
	})
	t.Run("a paused guest", func(t *testing.T) {
		require.NoError(t, other.Machine.PauseGuest(neighbour.Status.Instance))
		require.Eventually(t, func() bool { return processes(t, cloud)[neighbour.Status.Instance] == steady }, 20*time.Second, 10*time.Millisecond, "its storage works, so it is continued")
		becomes(t, neighbour, v1.VMRunning, "it runs")
	})
	t.Run("a power cut", func(t *testing.T) {
		require.NoError(t, host.PowerCycle())
		web = again(t, web)
		undisturbed(t)
		require.NotContains(t, processes(t, cloud), "never", "what was not to run does not")
	})
	t.Run("a crash while the agent is away", func(t *testing.T) {
		require.NoError(t, other.Stop())
		require.NoError(t, other.Machine.CrashGuest(neighbour.Status.Instance))
		require.NoError(t, other.Start())
		neighbour = again(t, neighbour)
	})
	t.Run("a host that is cut off", func(t *testing.T) {
		running := processes(t, cloud)
		other.Cut(true)
		unknown := becomes(t, neighbour, v1.VMUnknown, "nobody knows how it is")
		require.Contains(t, unknown.Status.Message, "may well run")
		status, err := admin.ClusterStatus(t.Context())
		require.NoError(t, err)
		require.False(t, status.Healthy)
		require.Contains(t, fmt.Sprint(status.Problems), other.Name)
		// Nothing new goes there, what is there cannot be asked, and it cannot be forgotten.
		spec := v1.VMSpec{Flavor: "small", Image: "tiny", PlacementGroup: "apart"}
		_, err = client.Create[v1.VM](t.Context(), admin, client.Draft{Name: "third", Project: "demo", Spec: spec})
		require.Equal(t, v1.CodeNoCapacity, v1.CodeOf(err))
		_, err = impatient.Log(t.Context(), ref("neighbour"), client.LogOptions{})
		require.Equal(t, v1.CodeUnavailable, v1.CodeOf(err))
		_, err = client.Delete[v1.Host](t.Context(), admin, client.Ref{ID: other.ID}, 0)
		require.Equal(t, v1.CodeInUse, v1.CodeOf(err))
		// A wish meanwhile waits for it.
		stopped, err := client.Act[v1.VM](t.Context(), admin, ref("neighbour"), "stop", v1.StopRequest{})
		require.NoError(t, err)
		require.Equal(t, running, processes(t, cloud), "silence stops nothing")
		other.Cut(false)
		succeed(t, admin, stopped.Operation)
		becomes(t, neighbour, v1.VMStopped, "it is heard again")
	})
	t.Run("a host that is gone for good", func(t *testing.T) {
		gone, err := client.Delete[v1.VM](t.Context(), admin, ref("neighbour"), 0)
		require.NoError(t, err)
		succeed(t, admin, gone.Operation)
		for _, name := range []string{"always", "never"} {
			gone, err := client.Delete[v1.VM](t.Context(), admin, ref(name), 0)
			require.NoError(t, err)
			succeed(t, admin, gone.Operation)
		}
		require.NoError(t, other.Stop())
		require.Eventually(t, func() bool {
			_, err := client.Delete[v1.Host](t.Context(), admin, client.Ref{ID: other.Name}, 0)
			if err != nil {
				require.Equal(t, v1.CodeWrongState, v1.CodeOf(err), "%v", err)
			}
			return err == nil
		}, 20*time.Second, 50*time.Millisecond)
		_, err = client.Get[v1.Host](t.Context(), admin, client.Ref{ID: other.ID})
		require.Equal(t, v1.CodeNotFound, v1.CodeOf(err))
		// Should it come back after all, it begins anew.
		require.NoError(t, other.Start())
		require.Eventually(t, func() bool {
			found, err := client.Get[v1.Host](t.Context(), admin, client.Ref{ID: other.ID})
			return err == nil && found.Status.Phase == v1.HostReady
		}, 20*time.Second, 10*time.Millisecond)
	})
}

func hostNamed(t *testing.T, cloud *Cloud, name string) *Host {
	t.Helper()
	for _, host := range cloud.Hosts {
		if host.Name == name {
			return host
		}
	}
	require.Fail(t, "there is no host "+name)
	return nil
}
