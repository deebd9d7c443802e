//go:build libvirt_dlopen

package agent

import (
	"context"
	"io"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	"github.com/coloa-cloud/coloa/agent/hypervisor"
	"github.com/coloa-cloud/coloa/agent/hypervisor/conformance"
	"github.com/coloa-cloud/coloa/agent/hypervisor/fake"
	"github.com/coloa-cloud/coloa/agent/hypervisor/libvirt"
	"github.com/coloa-cloud/coloa/api/hostv1"
	v1 "github.com/coloa-cloud/coloa/api/v1"
	"github.com/coloa-cloud/coloa/storage"
	"github.com/coloa-cloud/coloa/storage/local"
)

// openReal needs the real libvirtd and qemu-img, and fails without them.
func openReal(t *testing.T, cluster string) *libvirt.Hypervisor {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	machines, err := libvirt.Open(ctx, libvirt.Options{Cluster: cluster})
	require.NoError(t, err, "this test needs libvirtd on this machine; as root: deploy/hostservices/ensure-libvirtd")
	return machines
}

// A VM's whole life on the real libvirt, qemu and qcow2 files: from the upload of its image to the last file of it being gone.
func TestRealMachine(t *testing.T) {
	folder, err := os.MkdirTemp("", "coloa-agent-test-") // guests cannot enter those of t.TempDir
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(folder)) })
	require.NoError(t, os.Chmod(folder, 0o755))
	pool, err := local.Open(filepath.Join(folder, "pool"))
	require.NoError(t, err, "this test needs qemu-img; install the package qemu-utils")
	t.Cleanup(func() { require.NoError(t, pool.Close()) })

	h := newHost(t, fake.Options{})
	h.cloud.cluster = newID() // nobody else's machines are in sight
	machines := openReal(t, h.cloud.cluster)
	t.Cleanup(func() { require.NoError(t, machines.Close()) })
	h.options.Cluster, h.options.Hypervisor, h.options.DataFolder = h.cloud.cluster, machines, filepath.Join(folder, "agent")
	h.options.Drivers = map[string]storage.Driver{"local": pool}
	t.Cleanup(func() { // also when the test fails half-way
		list, err := machines.List(context.Background())
		require.NoError(t, err)
		for _, each := range list {
			require.NoError(t, machines.Remove(context.Background(), each.ID))
		}
	})
	h.start()

	// The image: a system of 512 bytes that greets on its serial line and obeys the power button.
	disk := make([]byte, 1<<20)
	copy(disk, conformance.Guest())
	image := v1.ImageRef{ID: newID(), Format: storage.FormatRaw, Keeper: "c1"}
	h.cloud.locked(func() { h.cloud.images[image.ID] = disk })
	volume := newID()
	h.succeeds(v1.TaskVolumeCreate, v1.VolumeArgs{Driver: "local", Volume: volume, SizeBytes: 4 << 20, Image: &image})

	assignment := hostv1.Assignment{
		ID: newID(), Project: newID(), Desired: v1.InstanceDesired{State: v1.DesiredRunning},
		Spec: v1.InstanceSpec{
			VM: newID(), Host: hostID, Title: "cổng <1> & 'co'", VCPUs: 1, MemoryMiB: 32,
			Disks:  []v1.InstanceDisk{{Volume: volume, Driver: "local", Throttle: v1.Throttle{ReadIOPS: 1000, WriteMiBps: 50}}},
			NICs:   []v1.InstanceNIC{{MAC: "52:54:00:ab:cd:01", Kind: "user"}},
			Seed:   v1.Seed{InstanceID: newID(), Hostname: "portal-1", UserData: "#!/bin/sh\n", SSHKeys: []string{"ssh-ed25519 AAAA me"}},
			Labels: map[string]string{"tier": "<web>"},
		},
	}
	id, logPath := h.cloud.give(assignment), hostv1.PathVMs+assignment.Spec.VM+"/log"
	h.awaitState(id, v1.InstanceRunning)
	h.within(30*time.Second, func() bool { _, text := h.get(logPath); return text == conformance.GuestGreeting })
	before, err := machines.Get(t.Context(), id)
	require.NoError(t, err)
	require.Positive(t, before.PID)

	// The image is shared by many machines: it must not come to belong to the user that qemu runs as.
	shared, err := os.Stat(filepath.Join(folder, "pool", "images", image.ID, "disk.qcow2"))
	require.NoError(t, err)
	require.Zero(t, shared.Sys().(*syscall.Stat_t).Uid, "libvirt has given the shared image to qemu")

	// The console, through the agent's own port.
	server := httptest.NewServer(h.agent.Handler())
	socket, _, err := websocket.Dial(t.Context(), server.URL+hostv1.PathInstances+id+"/console", nil)
	require.NoError(t, err)
	console := websocket.NetConn(t.Context(), socket, websocket.MessageBinary)
	_, err = console.Write([]byte("echo"))
	require.NoError(t, err)
	got := make([]byte, 4)
	_, err = io.ReadFull(console, got)
	require.NoError(t, err)
	require.Equal(t, "echo", string(got))
	require.NoError(t, console.Close())
	server.Close()

	// An agent that goes and comes back finds the same process.
	h.stop()
	h.start()
	h.within(30*time.Second, func() bool { return h.agent.link.Connected() })
	after, err := machines.Get(t.Context(), id)
	require.NoError(t, err)
	require.Equal(t, before.PID, after.PID)

	// Growing under the running guest; what cannot be done under it is refused.
	for range 2 {
		h.succeeds(v1.TaskVolumeResize, v1.VolumeArgs{Driver: "local", Volume: volume, SizeBytes: 8 << 20, Instance: id})
	}
	found, err := pool.Volume(t.Context(), volume)
	require.NoError(t, err)
	require.EqualValues(t, 8<<20, found.SizeBytes)
	require.Equal(t, v1.CodeInUse, h.finished(v1.TaskVolumeDelete, v1.VolumeArgs{Driver: "local", Volume: volume}).Error.Code)
	h.succeeds(v1.TaskVMReboot, v1.RebootArgs{Instance: id, Force: true})
	h.within(30*time.Second, func() bool { _, text := h.get(logPath); return strings.Count(text, conformance.GuestGreeting) == 2 })

	// It obeys the power button, and then nothing of it is left.
	h.cloud.desire(id, v1.DesiredStopped, false)
	h.awaitState(id, v1.InstanceStopped)
	require.Equal(t, v1.StoppedRequested, h.cloud.observed(id).Reason)
	_, err = machines.Get(t.Context(), id)
	require.ErrorIs(t, err, hypervisor.ErrNotFound)
	h.cloud.change(func() { delete(h.cloud.instances, id) })
	h.succeeds(v1.TaskVolumeDelete, v1.VolumeArgs{Driver: "local", Volume: volume})
	h.succeeds(v1.TaskImageDelete, v1.ImageArgs{Driver: "local", Image: image})
	h.succeeds(v1.TaskVMForget, v1.VMArgs{VM: assignment.Spec.VM})
	h.stop()
	for _, empty := range []string{"agent/seed", "agent/serial", "pool/volumes", "pool/images", "pool/tmp"} {
		entries, err := os.ReadDir(filepath.Join(folder, empty))
		require.NoError(t, err)
		require.Empty(t, entries, empty)
	}
}

// A guest that cannot start says why.
func TestRealStartFails(t *testing.T) {
	h := newHost(t, fake.Options{})
	h.cloud.cluster = newID()
	machines := openReal(t, h.cloud.cluster)
	t.Cleanup(func() { require.NoError(t, machines.Close()) })
	h.options.Cluster, h.options.Hypervisor = h.cloud.cluster, machines
	h.start()
	id := h.cloud.give(h.instance(v1.DesiredRunning)) // its disk is in memory: qemu finds no file
	h.awaitState(id, v1.InstanceStopped)
	require.Equal(t, v1.StoppedNoStart, h.cloud.observed(id).Reason)
	require.NotEmpty(t, h.cloud.observed(id).Message)
	list, err := machines.List(t.Context())
	require.NoError(t, err)
	require.Empty(t, list)
	h.stop()
}

// finished carries out a task and returns its outcome.
func (h *host) finished(taskType v1.TaskType, args any) v1.TaskStatus {
	h.t.Helper()
	id := h.cloud.order(taskType, args)
	h.within(time.Minute, func() bool { state := h.cloud.outcome(id).State; return state == v1.TaskDone || state == v1.TaskFailed })
	return h.cloud.outcome(id)
}

func (h *host) succeeds(taskType v1.TaskType, args any) {
	h.t.Helper()
	status := h.finished(taskType, args)
	require.Equal(h.t, v1.TaskDone, status.State, "%s: %+v", taskType, status.Error)
}
