package ops_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	v1 "github.com/coloa-cloud/coloa/api/v1"
	"github.com/coloa-cloud/coloa/controller/internal/operation/ops"
)

// scene is an operation in a situation. All scenes are put through the same tests.
type scene struct {
	of      v1.OperationType
	name    string
	prepare func(*world)        // builds the state before
	begin   func(*world) string // begins the operation
	after   func(*world)        // looks at what success has made
	grows   bool                // a disk, which undoing cannot shrink
}

func stopped(w *world) { w.done(w.createVM(v1.PowerStopped)) }
func running(w *world) { w.done(w.createVM(v1.PowerRunning)) }
func blank(w *world)   { w.done(w.createVolume("")) }

func (w *world) running(vcpus int) {
	instance := w.instance()
	require.Equal(w, v1.InstanceRunning, instance.Observed.State)
	require.Equal(w, v1.PowerRunning, w.vm().Spec.Power)
	require.Equal(w, vcpus, instance.Spec.VCPUs)
	require.Equal(w, v1.InstanceRunning, w.one.Machines[instance.ID].State)
	require.Equal(w, vcpus, w.one.Machines[instance.ID].Spec.VCPUs)
	require.EqualValues(w, vcpus, w.Store.Snapshot().HostUsage(w.one.ID).VCPUs)
}

func (w *world) sized(size ops.VMSize) {
	vm, root := w.vm(), w.root()
	require.Equal(w, size, ops.SizeOf(vm, root))
	require.Equal(w, size.DiskGiB, root.Status.SizeGiB)
	require.Equal(w, size.DiskGiB<<30, w.one.Volumes[root.ID].Bytes)
	used := w.Store.Snapshot().ProjectUsage(w.project)
	require.EqualValues(w, size.VCPUs, used.VCPUs)
	require.Equal(w, size.MemoryMiB, used.MemoryMiB)
	require.Equal(w, size.DiskGiB, used.StorageGiB)
}

// empty: nothing is left of any VM, disk or snapshot.
func (w *world) empty() {
	s := w.Store.Snapshot()
	for _, kind := range []v1.Kind{v1.KindVM, v1.KindVolume, v1.KindSnapshot, v1.KindInstance, v1.KindAttachment} {
		require.Empty(w, s.List(kind))
	}
	for _, host := range w.Hosts {
		w.Sync(host)
		require.Empty(w, host.Volumes)
		require.Empty(w, host.Machines)
		require.Empty(w, host.Logs)
		require.Zero(w, s.HostUsage(host.ID))
	}
	require.Zero(w, s.ProjectUsage(w.project).Volumes+s.ProjectUsage(w.project).VMs+s.ProjectUsage(w.project).Snapshots)
}

var scenes = []scene{
	{
		of: v1.OpImageImport, prepare: (*world).newImage, begin: (*world).importImage,
		after: func(w *world) {
			image := w.Store.Snapshot().ByName(v1.KindImage, w.project, "new").(*v1.Image)
			require.Equal(w, v1.ImageAvailable, image.Status.Phase)
			require.EqualValues(w, 1<<30, image.Status.VirtualSize)
			require.True(w, w.one.Images[driver+"/"+image.ID])
		},
	},
	{
		of: v1.OpImageDelete, name: "two hosts, three pools",
		prepare: func(w *world) {
			w.two.Images[driver+"/"+w.image], w.two.Images[v1.DriverMemory+"/"+w.image] = true, true
		},
		begin: (*world).deleteImage,
		after: func(w *world) {
			require.Nil(w, w.Store.Snapshot().Image(w.image))
			require.Empty(w, w.one.Images)
			require.Empty(w, w.two.Images)
		},
	},
	{
		of: v1.OpVolumeCreate, name: "blank", begin: func(w *world) string { return w.createVolume("") },
		after: func(w *world) {
			require.Equal(w, v1.VolumeAvailable, w.volume().Status.Phase)
			require.EqualValues(w, 2, w.volume().Status.SizeGiB)
			require.EqualValues(w, 2<<30, w.one.Volumes[w.volume().ID].Bytes)
		},
	},
	{
		of: v1.OpVolumeCreate, name: "of an image", begin: func(w *world) string { return w.createVolume(w.image) },
		after: func(w *world) { require.Equal(w, w.image, w.one.Volumes[w.volume().ID].Image) },
	},
	{
		of: v1.OpVolumeResize, name: "at rest", prepare: blank, begin: func(w *world) string { return w.resizeVolume(w.volume(), 5) },
		after: func(w *world) {
			require.EqualValues(w, 5, w.volume().Status.SizeGiB)
			require.EqualValues(w, 5<<30, w.one.Volumes[w.volume().ID].Bytes)
		},
		grows: true,
	},
	{
		of: v1.OpVolumeResize, name: "in use", prepare: running, begin: func(w *world) string { return w.resizeVolume(w.root(), 5) },
		after: func(w *world) { w.running(1); w.sized(w.smallSize(5)) }, grows: true,
	},
	{of: v1.OpVolumeDelete, prepare: blank, begin: (*world).deleteVolume, after: (*world).empty},
	{
		of: v1.OpSnapshotCreate, prepare: blank, begin: (*world).createSnapshot,
		after: func(w *world) {
			require.Equal(w, v1.SnapshotAvailable, w.snapshot().Status.Phase)
			require.Contains(w, w.one.Volumes[w.volume().ID].Snapshots, w.snapshot().ID)
		},
	},
	{
		of: v1.OpSnapshotRestore, name: "grown since",
		prepare: func(w *world) {
			blank(w)
			w.done(w.createSnapshot())
			w.done(w.resizeVolume(w.volume(), 7))
			w.one.Volumes[w.volume().ID].Content = "written since"
		},
		begin: (*world).restoreSnapshot,
		after: func(w *world) {
			disk := w.one.Volumes[w.volume().ID]
			require.Equal(w, "image ", disk.Content)
			require.EqualValues(w, 2<<30, disk.Bytes)
			require.EqualValues(w, 2, w.volume().Spec.SizeGiB)
			require.EqualValues(w, 2, w.volume().Status.SizeGiB)
		},
	},
	{
		of: v1.OpSnapshotDelete, prepare: func(w *world) { blank(w); w.done(w.createSnapshot()) }, begin: (*world).deleteSnapshot,
		after: func(w *world) {
			require.Empty(w, w.one.Volumes[w.volume().ID].Snapshots)
			require.Empty(w, w.Store.Snapshot().List(v1.KindSnapshot))
		},
	},
	{
		of: v1.OpVMCreate, name: "running", begin: func(w *world) string { return w.createVM(v1.PowerRunning) },
		after: func(w *world) { w.running(1); w.sized(w.smallSize(1)) },
	},
	{
		of: v1.OpVMCreate, name: "stopped", begin: func(w *world) string { return w.createVM(v1.PowerStopped) },
		after: func(w *world) { require.Nil(w, w.instance()); w.sized(w.smallSize(1)) },
	},
	{of: v1.OpVMStart, name: "the first time", prepare: stopped, begin: (*world).startVM, after: func(w *world) { w.running(1) }},
	{
		of: v1.OpVMStart, name: "again",
		prepare: func(w *world) { running(w); w.done(w.stopVM(ops.StopArgs{GraceSeconds: 1})) },
		begin:   (*world).startVM, after: func(w *world) { w.running(1) },
	},
	{of: v1.OpVMStop, name: "the guest obeys", prepare: running, begin: func(w *world) string { return w.stopVM(ops.StopArgs{GraceSeconds: 30}) }, after: off},
	{
		of: v1.OpVMStop, name: "the guest does not obey", prepare: func(w *world) { running(w); w.one.Deaf = true },
		begin: func(w *world) string { return w.stopVM(ops.StopArgs{GraceSeconds: 30}) }, after: off,
	},
	{of: v1.OpVMStop, name: "by force", prepare: running, begin: func(w *world) string { return w.stopVM(ops.StopArgs{Force: true}) }, after: off},
	{of: v1.OpVMReboot, prepare: running, begin: (*world).rebootVM, after: func(w *world) { w.running(1); require.NotZero(w, w.one.Reboots) }},
	{
		of: v1.OpVMResize, name: "stopped", prepare: stopped, begin: func(w *world) string { return w.resizeVM(w.largeSize(1)) },
		after: func(w *world) { w.sized(w.largeSize(1)) },
	},
	{
		of: v1.OpVMResize, name: "stopped, with its disk", prepare: stopped, begin: func(w *world) string { return w.resizeVM(w.largeSize(3)) },
		after: func(w *world) { w.sized(w.largeSize(3)) }, grows: true,
	},
	{
		of: v1.OpVMResize, name: "running", prepare: running, begin: func(w *world) string { return w.resizeVM(w.largeSize(1)) },
		after: func(w *world) { w.running(2); w.sized(w.largeSize(1)) },
	},
	{
		of: v1.OpVMResize, name: "running, with its disk, the guest does not obey", prepare: func(w *world) { running(w); w.one.Deaf = true },
		begin: func(w *world) string { return w.resizeVM(w.largeSize(3)) },
		after: func(w *world) { w.running(2); w.sized(w.largeSize(3)) }, grows: true,
	},
	{
		of: v1.OpVMResize, name: "to a smaller one", prepare: func(w *world) { running(w); w.done(w.resizeVM(w.largeSize(1))) },
		begin: func(w *world) string { return w.resizeVM(w.smallSize(1)) },
		after: func(w *world) { w.running(1); w.sized(w.smallSize(1)) },
	},
	{of: v1.OpVMDelete, name: "running", prepare: running, begin: (*world).deleteVM, after: (*world).empty},
	{of: v1.OpVMDelete, name: "stopped", prepare: func(w *world) { running(w); w.done(w.stopVM(ops.StopArgs{})) }, begin: (*world).deleteVM, after: (*world).empty},
	{of: v1.OpVMDelete, name: "never started", prepare: stopped, begin: (*world).deleteVM, after: (*world).empty},
}

func off(w *world) {
	require.Equal(w, v1.InstanceStopped, w.instance().Observed.State)
	require.Equal(w, v1.PowerStopped, w.vm().Spec.Power)
	require.Zero(w, w.Store.Snapshot().HostUsage(w.one.ID).VCPUs)
}

func (s scene) String() string {
	if s.name == "" {
		return string(s.of)
	}
	return string(s.of) + " " + s.name
}

func (s scene) forward() bool { return ops.Definitions()[s.of].Forward }

// set builds the world as it is before the operation.
func (s scene) set(w *world) *world {
	if s.prepare != nil {
		s.prepare(w)
	}
	return w
}

func eachScene(t *testing.T, test func(t *testing.T, s scene)) {
	for _, s := range scenes {
		t.Run(s.String(), func(t *testing.T) { test(t, s) })
	}
}

// TestEveryOperationIsTested fails when an operation has no scene.
func TestEveryOperationIsTested(t *testing.T) {
	covered := map[v1.OperationType]bool{}
	for _, s := range scenes {
		covered[s.of] = true
	}
	for operationType, definition := range ops.Definitions() {
		require.True(t, covered[operationType], "%s has no scene", operationType)
		require.Equal(t, operationType, definition.Type)
		require.NotEmpty(t, definition.Steps)
		done := false
		names := map[string]bool{}
		for _, step := range definition.Steps {
			require.False(t, names[step.Name], "%s has two steps %s", operationType, step.Name)
			names[step.Name] = true
			require.False(t, done && step.Do == nil, "%s: the step %s has no Do and is not among the first", operationType, step.Name)
			done = done || step.Do != nil
			require.False(t, definition.Forward && step.Undo != nil, "%s cannot be undone, yet its step %s can", operationType, step.Name)
			require.True(t, definition.Forward || step.Undo != nil, "%s can be undone, yet its step %s cannot", operationType, step.Name)
		}
	}
}
