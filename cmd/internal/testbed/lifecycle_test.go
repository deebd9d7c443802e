package testbed

import (
	"context"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coloa-cloud/coloa/api/client"
	v1 "github.com/coloa-cloud/coloa/api/v1"
)

func start(t *testing.T, options Options) *Cloud {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	options.Dir = t.TempDir()
	if os.Getenv("TESTBED_LOG") != "" {
		options.Logger = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	cloud, err := Start(ctx, options)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, cloud.Close()) })
	return cloud
}

// furnished is a cloud with an administrator logged in, and everything that VMs need.
func furnished(t *testing.T, options Options) (*Cloud, *client.Client) {
	t.Helper()
	cloud := start(t, options)
	admin, _, err := cloud.Login(t.Context())
	require.NoError(t, err)
	t.Cleanup(admin.Close)
	require.NoError(t, Furnish(t.Context(), admin))
	return cloud, admin
}

func wait(t *testing.T, c *client.Client, operation string) *v1.Operation {
	t.Helper()
	require.NotEmpty(t, operation, "no operation was begun")
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	finished, err := c.WaitOperation(ctx, operation, nil)
	require.NoError(t, err)
	return finished
}

func succeed(t *testing.T, c *client.Client, operation string) {
	t.Helper()
	finished := wait(t, c, operation)
	require.Equal(t, v1.OperationSucceeded, finished.Status.State, "%s: %v, %s", finished.Spec.Type, finished.Status.Error, finished.Status.Message)
}

func vmDraft(name string) client.Draft {
	return client.Draft{Name: name, Project: "demo", Spec: v1.VMSpec{Flavor: "small", Image: "tiny", UserData: "#!/bin/sh\necho hello\n"}}
}

func ref(id string) client.Ref { return client.Ref{ID: id, Project: "demo"} }

// TestLifecycle takes a VM through everything, and looks for what is left at the end.
func TestLifecycle(t *testing.T) {
	cloud, admin := furnished(t, Options{Controllers: 1, Hosts: 3})
	ctx := t.Context()

	created, err := client.Create[v1.VM](ctx, admin, vmDraft("web"))
	require.NoError(t, err)
	require.Equal(t, v1.VMCreating, created.Object.Status.Phase)
	succeed(t, admin, created.Operation)
	vm, err := client.Get[v1.VM](ctx, admin, ref("web"))
	require.NoError(t, err)
	require.Equal(t, v1.VMRunning, vm.Status.Phase)
	first := vm.Status.Instance

	log, err := admin.Log(ctx, ref("web"), client.LogOptions{})
	require.NoError(t, err)
	text := make([]byte, 4096)
	n, _ := log.Read(text)
	require.NoError(t, log.Close())
	require.NotEmpty(t, strings.TrimSpace(string(text[:n])))

	act := func(action string, args any) {
		t.Helper()
		result, err := client.Act[v1.VM](ctx, admin, ref("web"), action, args)
		require.NoError(t, err)
		succeed(t, admin, result.Operation)
	}
	act("reboot", v1.RebootRequest{})
	act("stop", v1.StopRequest{})
	vm, err = client.Get[v1.VM](ctx, admin, ref("web"))
	require.NoError(t, err)
	require.Equal(t, v1.VMStopped, vm.Status.Phase)

	snapshot, err := client.Create[v1.Snapshot](ctx, admin, client.Draft{Name: "before", Project: "demo", Spec: v1.SnapshotSpec{Volume: vm.Status.RootVolume}})
	require.NoError(t, err)
	succeed(t, admin, snapshot.Operation)
	restored, err := client.Act[v1.Snapshot](ctx, admin, ref("before"), "restore", nil)
	require.NoError(t, err)
	succeed(t, admin, restored.Operation)

	_, err = client.Delete[v1.VM](ctx, admin, ref("web"), 0)
	require.Equal(t, v1.CodeInUse, v1.CodeOf(err), "a root disk with snapshots must not vanish")
	gone, err := client.Delete[v1.Snapshot](ctx, admin, ref("before"), 0)
	require.NoError(t, err)
	succeed(t, admin, gone.Operation)

	act("start", nil)
	vm, err = client.Get[v1.VM](ctx, admin, ref("web"))
	require.NoError(t, err)
	require.Equal(t, v1.VMRunning, vm.Status.Phase)
	require.NotEqual(t, first, vm.Status.Instance, "an instance lives once")

	resized, err := client.Patch[v1.VM](ctx, admin, ref("web"), map[string]any{"spec": map[string]any{"flavor": "large"}}, 0)
	require.NoError(t, err)
	succeed(t, admin, resized.Operation)
	vm, err = client.Get[v1.VM](ctx, admin, ref("web"))
	require.NoError(t, err)
	require.Equal(t, v1.VMRunning, vm.Status.Phase)
	require.EqualValues(t, 1024, vm.Status.MemoryMiB)
	require.Equal(t, "#!/bin/sh\necho hello\n", vm.Spec.UserData, "spec is returned as written")

	volume, err := client.Create[v1.Volume](ctx, admin, client.Draft{Name: "data", Project: "demo", Spec: v1.VolumeSpec{SizeGiB: 2}})
	require.NoError(t, err)
	succeed(t, admin, volume.Operation)
	grown, err := client.Patch[v1.Volume](ctx, admin, ref("data"), map[string]any{"spec": map[string]any{"sizeGiB": 3}}, 0)
	require.NoError(t, err)
	succeed(t, admin, grown.Operation)
	deletedVolume, err := client.Delete[v1.Volume](ctx, admin, ref("data"), 0)
	require.NoError(t, err)
	succeed(t, admin, deletedVolume.Operation)

	deleted, err := client.Delete[v1.VM](ctx, admin, ref("web"), 0)
	require.NoError(t, err)
	succeed(t, admin, deleted.Operation)
	_, err = client.Get[v1.VM](ctx, admin, ref("web"))
	require.Equal(t, v1.CodeNotFound, v1.CodeOf(err))
	image, err := client.Delete[v1.Image](ctx, admin, ref("tiny"), 0)
	require.NoError(t, err)
	succeed(t, admin, image.Operation)

	requireNothingLeft(t, cloud)
}

// requireNothingLeft lists everything that VMs, volumes and images leave behind, in the state, on the hosts and in their pools.
func requireNothingLeft(t *testing.T, cloud *Cloud) {
	t.Helper()
	leader, err := cloud.Leader(t.Context())
	require.NoError(t, err)
	s := leader.get().Store().Snapshot()
	for _, kind := range []v1.Kind{v1.KindVM, v1.KindInstance, v1.KindAttachment, v1.KindVolume, v1.KindSnapshot, v1.KindImage, v1.KindTask} {
		require.Zero(t, s.Count(kind), "%s left in the state", kind)
	}
	require.Empty(t, s.OpenOperations())
	for _, host := range cloud.Hosts {
		require.True(t, s.HostUsage(host.ID).IsZero(), "%s has a reservation left", host.Name)
		machines, err := host.Machine.Open(cloud.ID).List(t.Context())
		require.NoError(t, err)
		require.Empty(t, machines, "%s has machines left", host.Name)
		contents, err := host.Disks.Contents(t.Context())
		require.NoError(t, err)
		require.Empty(t, contents.Volumes, "%s has volumes left", host.Name)
		require.Empty(t, contents.Images, "%s has images left", host.Name)
	}
}
