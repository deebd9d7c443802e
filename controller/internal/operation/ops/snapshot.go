package ops

import (
	"encoding/json"

	v1 "github.com/coloa-cloud/coloa/api/v1"
	"github.com/coloa-cloud/coloa/controller/internal/operation"
	"github.com/coloa-cloud/coloa/controller/internal/state"
)

// snapshotTask gives the host of a snapshot's volume a task.
func snapshotTask(c operation.Context, direction string, taskType v1.TaskType, message string, finish func(*state.Txn, *v1.Snapshot)) operation.Verdict {
	snapshot, ok := target[*v1.Snapshot](c)
	if !ok {
		return operation.Finish(nil)
	}
	volume := c.State.Volume(snapshot.Status.VolumeID)
	if volume == nil {
		return gone(c)
	}
	args := v1.SnapshotArgs{Driver: volume.Status.Driver, Volume: volume.ID, Snapshot: snapshot.ID}
	return task(c, direction, volume.Status.Host, taskType, args, message, func(txn *state.Txn, _ json.RawMessage) {
		if finish != nil {
			finish(txn, snapshot)
		}
	})
}

// lockVolume makes the entry hold only as long as nothing else begins on the volume: beginning anything on it writes it.
func lockVolume(txn *state.Txn, volume *v1.Volume, id string) {
	locked := volume.Clone()
	locked.Status.Operation = id
	txn.Update(locked, "")
}

// AddSnapshotCreate takes a snapshot of a volume that nobody has open.
func AddSnapshotCreate(txn *state.Txn, id string, snapshot *v1.Snapshot, volume *v1.Volume, actor string) {
	snapshot.Status.Phase, snapshot.Status.Operation = v1.SnapshotCreating, id
	lockVolume(txn, volume, id)
	txn.Create(snapshot, "")
	txn.Create(operation.New(id, v1.OpSnapshotCreate, snapshot, actor, nil, "reserve", "take"), "")
}

func snapshotCreate() operation.Definition {
	return operation.Definition{Type: v1.OpSnapshotCreate, Steps: []operation.Step{
		{Name: "reserve", Undo: func(c operation.Context) operation.Verdict {
			snapshot, ok := target[*v1.Snapshot](c)
			if !ok {
				return operation.Finish(nil)
			}
			return operation.Finish(func(txn *state.Txn) { txn.Delete(snapshot, "could not be taken") })
		}},
		{
			Name: "take",
			Do: func(c operation.Context) operation.Verdict {
				return snapshotTask(c, doing, v1.TaskSnapshotCreate, "takes the snapshot", func(txn *state.Txn, snapshot *v1.Snapshot) {
					snapshot.Status.Phase = v1.SnapshotAvailable
					txn.Update(snapshot, "available")
				})
			},
			Undo: func(c operation.Context) operation.Verdict {
				return snapshotTask(c, undoing, v1.TaskSnapshotDelete, "removes the snapshot", nil)
			},
		},
	}}
}

// AddSnapshotRestore makes a volume's content what it was.
func AddSnapshotRestore(txn *state.Txn, id string, snapshot *v1.Snapshot, volume *v1.Volume, actor string) {
	snapshot.Status.Operation = id
	txn.Update(snapshot, "restore asked for")
	// The volume gets the snapshot's size; should that be larger, it is charged, or refused, before anything is overwritten.
	charged := volume.Clone()
	charged.Spec.SizeGiB = max(volume.Spec.SizeGiB, snapshot.Status.SizeGiB)
	lockVolume(txn, charged, id)
	txn.Create(operation.New(id, v1.OpSnapshotRestore, snapshot, actor, nil, "restore"), "")
}

// A restore cannot be undone: what the volume held before is overwritten. It is tried again until it has worked.
func snapshotRestore() operation.Definition {
	return operation.Definition{Type: v1.OpSnapshotRestore, Forward: true, Steps: []operation.Step{{
		Name: "restore",
		Do: func(c operation.Context) operation.Verdict {
			return snapshotTask(c, doing, v1.TaskSnapshotRestore, "restores the snapshot", func(txn *state.Txn, snapshot *v1.Snapshot) {
				if volume := c.State.Volume(snapshot.Status.VolumeID); volume != nil {
					restored := volume.Clone()
					restored.Spec.SizeGiB, restored.Status.SizeGiB = snapshot.Status.SizeGiB, snapshot.Status.SizeGiB
					txn.Update(restored, "restored from "+snapshot.Name)
				}
			})
		},
	}}}
}

// AddSnapshotDelete begins the deletion of a snapshot.
func AddSnapshotDelete(txn *state.Txn, id string, snapshot *v1.Snapshot, volume *v1.Volume, actor string) {
	markDeleted(&snapshot.Meta, txn.Time)
	snapshot.Status.Phase, snapshot.Status.Operation = v1.SnapshotDeleting, id
	txn.Update(snapshot, "deletion asked for")
	lockVolume(txn, volume, id)
	txn.Create(operation.New(id, v1.OpSnapshotDelete, snapshot, actor, nil, "drop", "remove"), "")
}

func snapshotDelete() operation.Definition {
	return operation.Definition{Type: v1.OpSnapshotDelete, Forward: true, Steps: []operation.Step{
		{Name: "drop", Do: func(c operation.Context) operation.Verdict {
			return snapshotTask(c, doing, v1.TaskSnapshotDelete, "removes the snapshot", nil)
		}},
		{Name: "remove", Do: func(c operation.Context) operation.Verdict {
			snapshot, ok := target[*v1.Snapshot](c)
			if !ok {
				return operation.Finish(nil)
			}
			return operation.Finish(func(txn *state.Txn) { txn.Delete(snapshot, "") })
		}},
	}}
}
