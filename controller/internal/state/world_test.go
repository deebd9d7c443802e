package state

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	v1 "github.com/coloa-cloud/coloa/api/v1"
)

var epoch = time.Date(2025, 6, 7, 8, 9, 10, 0, time.UTC)

// id makes identifiers that sort by kind and number.
func id(kind v1.Kind, n int) string {
	for i, definition := range v1.Kinds {
		if definition.Kind == kind {
			return fmt.Sprintf("01890a5d-%04x-774b-bcce-%012x", i, n)
		}
	}
	panic(kind)
}

// helper is what *testing.T and *rapid.T have in common.
type helper interface {
	require.TestingT
	Helper()
}

// world is a store with a log of its own: entries are encoded and decoded on their way, as raft does it.
type world struct {
	testing.TB
	store *Store
	index uint64
}

func newWorld(t testing.TB) *world { return &world{t, New(), 0} }

func (w *world) txn() *Txn { return NewTxn(epoch.Add(time.Duration(w.index)*time.Second), "tester") }

func (w *world) apply(txn *Txn) error {
	w.Helper()
	data, err := txn.Encode()
	require.NoError(w, err)
	decoded, err := DecodeTxn(data)
	require.NoError(w, err)
	w.index++
	return w.store.Apply(w.index, decoded)
}

// must applies entries that are right.
func (w *world) must(txn *Txn) {
	w.Helper()
	require.NoError(w, w.apply(txn))
}

// create puts new objects, in one entry.
func (w *world) create(objects ...v1.Object) {
	w.Helper()
	require.NoError(w, w.tryCreate(objects...))
}

func (w *world) tryCreate(objects ...v1.Object) error {
	w.Helper()
	txn := w.txn()
	for _, object := range objects {
		txn.Create(object, "")
	}
	return w.refusedWhole(txn)
}

// change puts an object as it is now with a change.
func change[T v1.Object](w *world, object T, f func(T)) error {
	w.Helper()
	changed := fresh(w, object)
	f(changed)
	return w.refusedWhole(w.txn().Update(changed, ""))
}

func (w *world) remove(objects ...v1.Object) error {
	w.Helper()
	txn := w.txn()
	for _, object := range objects {
		txn.Delete(fresh(w, object), "")
	}
	return w.refusedWhole(txn)
}

// fresh is a copy of the object as it is in the state.
func fresh[T v1.Object](w *world, object T) T {
	w.Helper()
	found := w.store.Snapshot().Get(object.ObjectKind(), object.ObjectMeta().ID)
	require.NotNil(w, found, "%s %s", object.ObjectKind(), object.ObjectMeta().ID)
	return clone(found).(T)
}

// clone copies any noun.
func clone(object v1.Object) v1.Object {
	data, err := json.Marshal(object)
	if err != nil {
		panic(err)
	}
	copied, err := decodeObject(object.ObjectKind(), data)
	if err != nil {
		panic(err)
	}
	return copied
}

// refusedWhole applies an entry and sees to it that a refused one changes nothing but the applied index.
func (w *world) refusedWhole(txn *Txn) error {
	w.Helper()
	before := w.store.Snapshot()
	err := w.apply(txn)
	require.Equal(w, w.index, w.store.Index())
	if err != nil {
		var problem *v1.Problem
		require.True(w, errors.As(err, &problem), "a refusal is a problem: %v", err)
		require.Equal(w, body(w, before), body(w, w.store.Snapshot()), "a refused entry changed something")
		require.Empty(w, differences(before, w.store.Snapshot()))
	}
	require.Empty(w, audit(w.store.Snapshot()))
	return err
}

// body is the written snapshot without its header, which holds the index.
func body(t helper, snapshot *Snapshot) string {
	t.Helper()
	var buffer bytes.Buffer
	require.NoError(t, snapshot.Write(&buffer))
	_, rest, found := strings.Cut(buffer.String(), "\n")
	require.True(t, found)
	return rest
}

// refused says that the error is a refusal with the code.
func refused(t testing.TB, err error, code v1.Code) *v1.Problem {
	t.Helper()
	require.Error(t, err)
	problem := v1.AsProblem(err)
	require.Equal(t, code, problem.Code, "%v", err)
	require.NotEmpty(t, problem.Detail)
	return problem
}

// The makers give valid objects; the numbers choose their ids and names.

func meta(kind v1.Kind, n int) v1.Meta {
	m := v1.Meta{ID: id(kind, n), Name: fmt.Sprintf("%s-%d", strings.ToLower(string(kind)), n)}
	if definition, err := v1.Define(kind); err == nil && definition.Scoped {
		m.Project = id(v1.KindProject, 1)
	}
	return m
}

func newCluster(n int) *v1.Cluster {
	return &v1.Cluster{Meta: meta(v1.KindCluster, n), Spec: v1.ClusterSpec{MACPrefix: "52:54:00"}}
}

// newHost has 8 virtual CPUs, 8 GiB of memory and 100 GiB of storage to give.
func newHost(n int) *v1.Host {
	return &v1.Host{Meta: meta(v1.KindHost, n), Spec: v1.HostSpec{Schedulable: true, SecurityLevel: 3, CPUOvercommit: 2, StorageOvercommit: 1},
		Status: v1.HostStatus{Phase: v1.HostReady, Inventory: v1.Inventory{CPUs: 4, MemoryMiB: 8 << 10, Pools: []v1.Pool{{Driver: v1.DriverLocal, TotalBytes: 100 << 30}}}}}
}

func newUser(n int) *v1.User { return &v1.User{Meta: meta(v1.KindUser, n)} }

func newToken(n, user int) *v1.Token {
	at := epoch.Add(24 * time.Hour)
	return &v1.Token{Meta: meta(v1.KindToken, n), Spec: v1.TokenSpec{ExpiresAt: &at}, Hash: fmt.Sprintf("%064x", n), Status: v1.TokenStatus{UserID: id(v1.KindUser, user)}}
}

func newProject(n int) *v1.Project { return &v1.Project{Meta: meta(v1.KindProject, n)} }

func newFlavor(n int) *v1.Flavor {
	return &v1.Flavor{Meta: meta(v1.KindFlavor, n), Spec: v1.FlavorSpec{VCPUs: 2, MemoryMiB: 1024, DiskGiB: 10}}
}

func newImage(n int) *v1.Image {
	return &v1.Image{Meta: meta(v1.KindImage, n), Spec: v1.ImageSpec{Format: v1.FormatQCOW2}, Status: v1.ImageStatus{Phase: v1.ImageAvailable}}
}

func newGroup(n int, policy v1.PlacementPolicy) *v1.PlacementGroup {
	return &v1.PlacementGroup{Meta: meta(v1.KindPlacementGroup, n), Spec: v1.PlacementGroupSpec{Policy: policy}}
}

// newVM takes 2 virtual CPUs and 1 GiB of the quota.
func newVM(n int) *v1.VM {
	return &v1.VM{Meta: meta(v1.KindVM, n), Spec: v1.VMSpec{Flavor: "flavor-1", Image: "image-1"},
		Status: v1.VMStatus{FlavorID: id(v1.KindFlavor, 1), VCPUs: 2, MemoryMiB: 1024, MAC: fmt.Sprintf("52:54:00:00:00:%02x", n)}}
}

// newVolume takes 10 GiB of host 1.
func newVolume(n int) *v1.Volume {
	return &v1.Volume{Meta: meta(v1.KindVolume, n), Spec: v1.VolumeSpec{SizeGiB: 10},
		Status: v1.VolumeStatus{Phase: v1.VolumeAvailable, SizeGiB: 10, Driver: v1.DriverLocal, Host: id(v1.KindHost, 1)}}
}

func newSnapshot(n, volume int) *v1.Snapshot {
	return &v1.Snapshot{Meta: meta(v1.KindSnapshot, n), Spec: v1.SnapshotSpec{Volume: id(v1.KindVolume, volume)}, Status: v1.SnapshotStatus{Phase: v1.SnapshotAvailable, VolumeID: id(v1.KindVolume, volume), SizeGiB: 10}}
}

// newInstance is pending, and takes 2 virtual CPUs and 1 GiB of its host.
func newInstance(n, vm, host int) *v1.Instance {
	return &v1.Instance{Meta: meta(v1.KindInstance, n), Spec: v1.InstanceSpec{VM: id(v1.KindVM, vm), Host: id(v1.KindHost, host), Title: fmt.Sprintf("vm-%d", vm), VCPUs: 2, MemoryMiB: 1024},
		Desired: v1.InstanceDesired{State: v1.DesiredRunning}, Observed: v1.InstanceObserved{State: v1.InstancePending}}
}

func newAttachment(n, volume, instance, vm int) *v1.Attachment {
	return &v1.Attachment{Meta: meta(v1.KindAttachment, n), Spec: v1.AttachmentSpec{Volume: id(v1.KindVolume, volume), Instance: id(v1.KindInstance, instance), VM: id(v1.KindVM, vm), Host: id(v1.KindHost, 1)}}
}

func newOperation(n int, target v1.Object) *v1.Operation {
	return &v1.Operation{Meta: meta(v1.KindOperation, n), Spec: v1.OperationSpec{Type: v1.OpVMCreate, Target: v1.LinkTo(target), Actor: "tester", Args: json.RawMessage(`{"a": "<b>"}`)},
		Status: v1.OperationStatus{State: v1.OperationRunning, Steps: []v1.StepStatus{{Name: "place", State: v1.StepPending}}}}
}

func newTask(n, operation, host int) *v1.Task {
	return &v1.Task{Meta: meta(v1.KindTask, n), Spec: v1.TaskSpec{Operation: id(v1.KindOperation, operation), Host: id(v1.KindHost, host), Type: v1.TaskVolumeCreate}, Status: v1.TaskStatus{State: v1.TaskPending}}
}

func newReceipt(n int) *v1.Receipt {
	return &v1.Receipt{Meta: v1.Meta{ID: id(v1.KindReceipt, n)}, User: id(v1.KindUser, 1), Key: fmt.Sprintf("key-%d", n), Request: strings.Repeat("0", 64), ExpiresAt: epoch}
}

// base fills a world with what others refer to: two hosts, a user, two projects, a flavor and an image.
func base(w *world) *world {
	w.Helper()
	w.create(newCluster(1), newHost(1), newHost(2), newUser(1), newProject(1), newProject(2), newFlavor(1), newImage(1))
	return w
}

// running adds a machine that runs on a host, with a root disk.
func running(w *world, n, host int) {
	w.Helper()
	volume := newVolume(n)
	volume.Status.Host, volume.Status.VM = id(v1.KindHost, host), id(v1.KindVM, n)
	w.create(newVM(n), volume, newInstance(n, n, host), newAttachment(n, n, n, n))
	require.NoError(w, change(w, newInstance(n, n, host), func(o *v1.Instance) { o.Observed.State = v1.InstanceRunning }))
}

// stop ends an instance for good.
func stop(o *v1.Instance) {
	o.Desired.State, o.Observed.State = v1.DesiredStopped, v1.InstanceStopped
}
