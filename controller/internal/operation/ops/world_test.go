package ops_test

import (
	"fmt"

	"github.com/stretchr/testify/require"

	v1 "github.com/coloa-cloud/coloa/api/v1"
	"github.com/coloa-cloud/coloa/controller/internal/operation/ops"
	"github.com/coloa-cloud/coloa/controller/internal/operation/optest"
	"github.com/coloa-cloud/coloa/controller/internal/state"
)

// world is a cloud of two hosts with a project, two flavors and an image that the first host has. Its helpers say in one word what requests say in many.
type world struct {
	*optest.World
	project, small, large, image string
	one, two                     *optest.Host
}

const driver = v1.DriverLocal

func newWorld(t optest.T) *world {
	host := func(n int) *v1.Host {
		return &v1.Host{
			Meta:   v1.Meta{ID: fmt.Sprintf("01890a5d-ac96-774b-bcce-00000000ff%02d", n), Name: fmt.Sprintf("host-%d", n)},
			Spec:   v1.HostSpec{Schedulable: true, SecurityLevel: 1, CPUOvercommit: 1, StorageOvercommit: 1},
			Status: v1.HostStatus{Phase: v1.HostReady, Inventory: v1.Inventory{CPUs: 4, MemoryMiB: 4096, Pools: []v1.Pool{{Driver: driver, TotalBytes: 100 << 30}}}},
		}
	}
	second := host(2)
	second.Status.Inventory.Pools = append(second.Status.Inventory.Pools, v1.Pool{Driver: v1.DriverMemory, TotalBytes: 1 << 30})
	w := &world{World: optest.New(t, ops.Definitions(), host(1), second)}
	w.one, w.two = w.Hosts[0], w.Hosts[1]
	w.project, w.small, w.large, w.image = w.ID(), w.ID(), w.ID(), w.ID()
	w.Must(func(_ *state.Snapshot, txn *state.Txn) {
		txn.Create(&v1.Project{Meta: v1.Meta{ID: w.project, Name: "demo"}}, "")
		txn.Create(&v1.Flavor{Meta: v1.Meta{ID: w.small, Name: "small"}, Spec: v1.FlavorSpec{VCPUs: 1, MemoryMiB: 512, DiskGiB: 1}}, "")
		txn.Create(&v1.Flavor{Meta: v1.Meta{ID: w.large, Name: "large"}, Spec: v1.FlavorSpec{VCPUs: 2, MemoryMiB: 1024, DiskGiB: 3}}, "")
		txn.Create(&v1.Image{
			Meta: w.meta(w.image, "tiny"), Spec: v1.ImageSpec{Format: v1.FormatRaw},
			Status: v1.ImageStatus{Phase: v1.ImageAvailable, SizeBytes: 1 << 20, VirtualSize: 1 << 30, SHA256: digest, Keeper: "c1"},
		}, "")
	})
	w.one.Images[driver+"/"+w.image] = true
	return w
}

const digest = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

func (w *world) meta(id, name string) v1.Meta {
	return v1.Meta{ID: id, Name: name, Project: w.project}
}

func (w *world) vm() *v1.VM {
	return w.Store.Snapshot().ByName(v1.KindVM, w.project, "web").(*v1.VM).Clone()
}

func (w *world) root() *v1.Volume {
	return w.Store.Snapshot().Volume(w.vm().Status.RootVolume).Clone()
}

func (w *world) instance() *v1.Instance { return w.Store.Snapshot().Instance(w.vm().Status.Instance) }

func (w *world) volume() *v1.Volume {
	return w.Store.Snapshot().ByName(v1.KindVolume, w.project, "data").(*v1.Volume).Clone()
}

func (w *world) snapshot() *v1.Snapshot {
	return w.Store.Snapshot().ByName(v1.KindSnapshot, w.project, "monday").(*v1.Snapshot).Clone()
}

func (w *world) theImage() *v1.Image { return w.Store.Snapshot().Image(w.image).Clone() }

// done runs an operation that must succeed.
func (w *world) done(id string) {
	w.Helper()
	w.Run(id)
	require.Equal(w, v1.OperationSucceeded, w.Status(id).State, "%+v", w.Status(id))
}

func (w *world) createVM(power v1.Power) string {
	return w.Begin(func(s *state.Snapshot, txn *state.Txn, id string) {
		vm := &v1.VM{Meta: w.meta(w.ID(), "web"), Spec: v1.VMSpec{Flavor: "small", Image: "tiny", Power: power},
			Status: v1.VMStatus{FlavorID: w.small, ImageID: w.image, VCPUs: 1, MemoryMiB: 512, MAC: "52:54:00:00:00:01"}}
		root := &v1.Volume{Meta: w.meta(w.ID(), "web-root"), Spec: v1.VolumeSpec{SizeGiB: 1, Image: "tiny"},
			Status: v1.VolumeStatus{Driver: driver, Host: w.one.ID, ImageID: w.image}}
		var instance *v1.Instance
		if power == v1.PowerRunning {
			instance = ops.NewInstance(w.ID(), vm, root, w.one.ID, v1.DesiredHold)
		}
		ops.AddVMCreate(s, txn, id, vm, root, instance, "an")
	})
}

func (w *world) startVM() string {
	return w.Begin(func(s *state.Snapshot, txn *state.Txn, id string) {
		vm, root := w.vm(), w.root()
		vm.Spec.Power = v1.PowerRunning
		ops.AddVMStart(s, txn, id, vm, root, ops.NewInstance(w.ID(), vm, root, w.one.ID, v1.DesiredRunning), "an")
	})
}

func (w *world) stopVM(args ops.StopArgs) string {
	return w.Begin(func(_ *state.Snapshot, txn *state.Txn, id string) { ops.AddVMStop(txn, id, w.vm(), args, "an") })
}

func (w *world) rebootVM() string {
	return w.Begin(func(_ *state.Snapshot, txn *state.Txn, id string) {
		ops.AddVMReboot(txn, id, w.vm(), w.instance(), false, "an")
	})
}

func (w *world) resizeVM(to ops.VMSize) string {
	return w.Begin(func(_ *state.Snapshot, txn *state.Txn, id string) {
		instance := w.instance()
		ops.AddVMResize(txn, id, w.vm(), w.root(), to, instance != nil && instance.Live(), "an")
	})
}

func (w *world) smallSize(disk int64) ops.VMSize {
	return ops.VMSize{Flavor: "small", FlavorID: w.small, VCPUs: 1, MemoryMiB: 512, DiskGiB: disk}
}

func (w *world) largeSize(disk int64) ops.VMSize {
	return ops.VMSize{Flavor: "large", FlavorID: w.large, VCPUs: 2, MemoryMiB: 1024, DiskGiB: disk}
}

func (w *world) deleteVM() string {
	return w.Begin(func(_ *state.Snapshot, txn *state.Txn, id string) { ops.AddVMDelete(txn, id, w.vm(), w.root(), "an") })
}

func (w *world) createVolume(image string) string {
	return w.Begin(func(_ *state.Snapshot, txn *state.Txn, id string) {
		volume := &v1.Volume{Meta: w.meta(w.ID(), "data"), Spec: v1.VolumeSpec{SizeGiB: 2}, Status: v1.VolumeStatus{Driver: driver, Host: w.one.ID}}
		if image != "" {
			volume.Spec.Image, volume.Status.ImageID = "tiny", image
		}
		ops.AddVolumeCreate(txn, id, volume, "an")
	})
}

func (w *world) resizeVolume(volume *v1.Volume, to int64) string {
	return w.Begin(func(_ *state.Snapshot, txn *state.Txn, id string) { ops.AddVolumeResize(txn, id, volume, to, "an") })
}

func (w *world) deleteVolume() string {
	return w.Begin(func(_ *state.Snapshot, txn *state.Txn, id string) { ops.AddVolumeDelete(txn, id, w.volume(), "an") })
}

func (w *world) createSnapshot() string {
	return w.Begin(func(_ *state.Snapshot, txn *state.Txn, id string) {
		volume := w.volume()
		snapshot := &v1.Snapshot{Meta: w.meta(w.ID(), "monday"), Spec: v1.SnapshotSpec{Volume: "data"}, Status: v1.SnapshotStatus{VolumeID: volume.ID, SizeGiB: volume.Status.SizeGiB}}
		ops.AddSnapshotCreate(txn, id, snapshot, volume, "an")
	})
}

func (w *world) restoreSnapshot() string {
	return w.Begin(func(_ *state.Snapshot, txn *state.Txn, id string) {
		ops.AddSnapshotRestore(txn, id, w.snapshot(), w.volume(), "an")
	})
}

func (w *world) deleteSnapshot() string {
	return w.Begin(func(_ *state.Snapshot, txn *state.Txn, id string) {
		ops.AddSnapshotDelete(txn, id, w.snapshot(), w.volume(), "an")
	})
}

// newImage is an image that waits for its bytes.
func (w *world) newImage() {
	w.Must(func(_ *state.Snapshot, txn *state.Txn) {
		txn.Create(&v1.Image{Meta: w.meta(w.ID(), "new"), Spec: v1.ImageSpec{Format: v1.FormatRaw}, Status: v1.ImageStatus{Phase: v1.ImageWaiting}}, "")
	})
}

func (w *world) importImage() string {
	return w.Begin(func(s *state.Snapshot, txn *state.Txn, id string) {
		image := s.ByName(v1.KindImage, w.project, "new").(*v1.Image).Clone()
		image.Status.Keeper, image.Status.SHA256, image.Status.SizeBytes = "c1", digest, 1<<20
		ops.AddImageImport(txn, id, image, ops.HostArgs{Host: w.one.ID, Driver: driver}, "an")
	})
}

func (w *world) deleteImage() string {
	return w.Begin(func(_ *state.Snapshot, txn *state.Txn, id string) { ops.AddImageDelete(txn, id, w.theImage(), "an") })
}
