package app

import (
	"github.com/coloa-cloud/coloa/api/httpapi"
	v1 "github.com/coloa-cloud/coloa/api/v1"
	"github.com/coloa-cloud/coloa/controller/internal/auth"
	"github.com/coloa-cloud/coloa/controller/internal/operation/ops"
)

func createSnapshot(r *request) (v1.Object, string, error) {
	snapshot := &v1.Snapshot{Meta: r.meta, Spec: specOf[v1.SnapshotSpec](r.draft)}
	if err := r.mayCreate(snapshot); err != nil {
		return nil, "", err
	}
	if err := snapshot.Validate(); err != nil {
		return nil, "", err
	}
	volume, err := need[*v1.Volume](r.state, r.caller, v1.KindVolume, snapshot.Project, snapshot.Spec.Volume, "spec.volume")
	if err != nil {
		return nil, "", err
	}
	if volume.Project != snapshot.Project {
		return nil, "", notFound(v1.KindVolume, snapshot.Spec.Volume).WithField("spec.volume")
	}
	if err := r.atRest(volume); err != nil {
		return nil, "", err
	}
	snapshot.Status.VolumeID, snapshot.Status.SizeGiB = volume.ID, volume.Status.SizeGiB
	id := NewID()
	ops.AddSnapshotCreate(r.txn, id, snapshot, volume, r.actor)
	return snapshot, id, nil
}

// atRest refuses a volume that a machine has open, or that something works on: local storage takes and restores snapshots only at rest.
func (r *request) atRest(volume *v1.Volume) error {
	if volume.Status.Phase != v1.VolumeAvailable {
		return v1.NewProblem(v1.CodeWrongState, "the volume %q is not available (%s)", volume.Name, volume.Status.Phase).WithNext("Wait until it is.")
	}
	if r.state.AttachedTo(volume.ID) != nil {
		return v1.NewProblem(v1.CodeInUse, "the volume %q is attached to a virtual machine that runs; local storage works on snapshots only at rest", volume.Name).
			WithNext("Stop the virtual machine first.")
	}
	if err := busy(r.state, volume); err != nil {
		return err
	}
	if vm := r.state.VM(volume.Status.VM); vm != nil {
		if err := busy(r.state, vm); err != nil {
			return err
		}
		r.txn.Unchanged(vm) // it must not be started meanwhile
	}
	return nil
}

func replaceSnapshot(r *request, old v1.Object) (string, error) {
	snapshot := old.(*v1.Snapshot).Clone()
	var f frozen
	f.check("spec.volume", specOf[v1.SnapshotSpec](r.draft) == snapshot.Spec)
	if err := f.err(); err != nil {
		return "", err
	}
	applyMeta(&snapshot.Meta, r.draft)
	r.txn.Update(snapshot, "")
	return "", snapshot.Validate()
}

func (r *request) volumeOf(snapshot *v1.Snapshot) (*v1.Volume, error) {
	if err := busy(r.state, snapshot); err != nil {
		return nil, err
	}
	volume := r.state.Volume(snapshot.Status.VolumeID)
	if volume == nil {
		return nil, v1.NewProblem(v1.CodeConflict, "the volume of the snapshot is gone")
	}
	return volume, r.atRest(volume)
}

func (r *request) restoreSnapshot(snapshot *v1.Snapshot) (string, error) {
	volume, err := r.volumeOf(snapshot)
	if err != nil {
		return "", err
	}
	if !auth.Allowed(r.caller.User, auth.Write, volume, r.state.Project) {
		return "", denied(auth.Write, volume)
	}
	if snapshot.Status.Phase != v1.SnapshotAvailable {
		return "", v1.NewProblem(v1.CodeWrongState, "the snapshot is not available (%s)", snapshot.Status.Phase)
	}
	id := NewID()
	ops.AddSnapshotRestore(r.txn, id, snapshot, volume, r.actor)
	return id, nil
}

func removeSnapshot(r *request, old v1.Object) (string, error) {
	snapshot := old.(*v1.Snapshot).Clone()
	volume, err := r.volumeOf(snapshot)
	if err != nil {
		return "", err
	}
	id := NewID()
	ops.AddSnapshotDelete(r.txn, id, snapshot, volume, r.actor)
	return id, nil
}

func platformUser(caller httpapi.Caller) bool { return auth.Platform(caller.User) }
