package ops

import (
	"encoding/json"

	v1 "github.com/coloa-cloud/coloa/api/v1"
	"github.com/coloa-cloud/coloa/controller/internal/operation"
	"github.com/coloa-cloud/coloa/controller/internal/state"
)

const gib = int64(1) << 30

// AddVolumeCreate makes a volume, whose status says where, and begins to carry it out.
func AddVolumeCreate(txn *state.Txn, id string, volume *v1.Volume, actor string) {
	volume.Status.Phase, volume.Status.Operation = v1.VolumeCreating, id
	txn.Create(volume, "")
	txn.Create(operation.New(id, v1.OpVolumeCreate, volume, actor, nil, "reserve", "disk"), "")
}

func volumeCreate() operation.Definition {
	return operation.Definition{Type: v1.OpVolumeCreate, Steps: []operation.Step{
		{Name: "reserve", Undo: func(c operation.Context) operation.Verdict {
			volume, ok := target[*v1.Volume](c)
			if !ok {
				return operation.Finish(nil)
			}
			return operation.Finish(func(txn *state.Txn) { txn.Delete(volume, "could not be created") })
		}},
		{
			Name: "disk",
			Do:   func(c operation.Context) operation.Verdict { return makeDisk(c, c.Operation.Spec.Target.ID) },
			Undo: func(c operation.Context) operation.Verdict { return dropDisk(c, undoing, c.Operation.Spec.Target.ID) },
		},
	}}
}

func volumeArgs(volume *v1.Volume) v1.VolumeArgs {
	return v1.VolumeArgs{Driver: volume.Status.Driver, Volume: volume.ID, SizeBytes: volume.Spec.SizeGiB * gib}
}

// makeDisk makes a volume's data on its host.
func makeDisk(c operation.Context, id string) operation.Verdict {
	volume := c.State.Volume(id)
	if volume == nil {
		return gone(c)
	}
	args := volumeArgs(volume)
	message := "makes the disk"
	if volume.Status.ImageID != "" {
		if args.Image = imageRef(c.State, volume.Status.ImageID); args.Image == nil {
			return operation.Failed(v1.NewProblem(v1.CodeNotFound, "the image is gone"), nil)
		}
		message = "clones the image"
	}
	return task(c, doing, volume.Status.Host, v1.TaskVolumeCreate, args, message, func(txn *state.Txn, _ json.RawMessage) {
		ready := volume.Clone()
		ready.Status.Phase, ready.Status.SizeGiB = v1.VolumeAvailable, volume.Spec.SizeGiB
		txn.Update(ready, "available")
	})
}

// dropDisk deletes a volume's data on its host.
func dropDisk(c operation.Context, direction, id string) operation.Verdict {
	volume := c.State.Volume(id)
	if volume == nil {
		return operation.Finish(nil)
	}
	return task(c, direction, volume.Status.Host, v1.TaskVolumeDelete, volumeArgs(volume), "deletes the disk", nil)
}

// ResizeArgs of volume.resize, in GiB.
type ResizeArgs struct {
	From int64 `json:"from"`
	To   int64 `json:"to"`
}

// AddVolumeResize grows a volume. Its new size is charged at once.
func AddVolumeResize(txn *state.Txn, id string, volume *v1.Volume, to int64, actor string) {
	from := volume.Spec.SizeGiB
	volume.Spec.SizeGiB, volume.Status.Operation = to, id
	txn.Update(volume, "grows")
	txn.Create(operation.New(id, v1.OpVolumeResize, volume, actor, ResizeArgs{From: from, To: to}, "grow"), "")
}

func volumeResize() operation.Definition {
	return operation.Definition{Type: v1.OpVolumeResize, Steps: []operation.Step{{
		Name:    "grow",
		Do:      func(c operation.Context) operation.Verdict { return growDisk(c, c.Operation.Spec.Target.ID) },
		TooLate: growing,
		Undo: func(c operation.Context) operation.Verdict {
			return settleSize(c, c.Operation.Spec.Target.ID, operation.Args[ResizeArgs](c.Operation).From)
		},
	}}}
}

// growing says whether a host may have begun to grow the disk. A disk does not shrink, so then only the outcome tells how large it is.
func growing(c operation.Context) bool { return len(tasksOfStep(c)) > 0 }

// settleSize is the undoing of a step that grows a disk: it is as large as before, unless the host has grown it all the same; then it stays larger, and its owner is told so.
func settleSize(c operation.Context, id string, from int64) operation.Verdict {
	grown := false
	for _, given := range tasksOfStep(c) {
		switch given.Status.State {
		case v1.TaskPending:
			return operation.Waiting("waits until it is known how large the disk is", nil)
		case v1.TaskDone:
			grown = true
		}
	}
	volume := c.State.Volume(id)
	if volume == nil {
		return withdrawn(c)
	}
	return operation.Finish(func(txn *state.Txn) {
		withdraw(c, txn)
		settled := volume.Clone()
		note := "could not grow"
		if grown {
			settled.Status.SizeGiB, note = settled.Spec.SizeGiB, "has grown, and stays so"
		} else {
			settled.Spec.SizeGiB = max(from, settled.Status.SizeGiB)
		}
		txn.Update(settled, note)
	})
}

// growDisk makes a volume's data as large as its spec says; through the hypervisor when a machine has it open.
func growDisk(c operation.Context, id string) operation.Verdict {
	volume := c.State.Volume(id)
	if volume == nil {
		return gone(c)
	}
	args := volumeArgs(volume)
	if instance := c.State.AttachedTo(id); instance != nil && instance.Observed.State != v1.InstancePending {
		args.Instance = instance.ID
	}
	return task(c, doing, volume.Status.Host, v1.TaskVolumeResize, args, "grows the disk", func(txn *state.Txn, _ json.RawMessage) {
		grown := volume.Clone()
		grown.Status.SizeGiB = volume.Spec.SizeGiB
		txn.Update(grown, "has grown")
	})
}

// AddVolumeDelete begins the deletion of a volume.
func AddVolumeDelete(txn *state.Txn, id string, volume *v1.Volume, actor string) {
	markDeleted(&volume.Meta, txn.Time)
	volume.Status.Phase, volume.Status.Operation = v1.VolumeDeleting, id
	txn.Update(volume, "deletion asked for")
	txn.Create(operation.New(id, v1.OpVolumeDelete, volume, actor, nil, "disk", "remove"), "")
}

func volumeDelete() operation.Definition {
	return operation.Definition{Type: v1.OpVolumeDelete, Forward: true, Steps: []operation.Step{
		{Name: "disk", Do: func(c operation.Context) operation.Verdict { return dropDisk(c, doing, c.Operation.Spec.Target.ID) }},
		{Name: "remove", Do: func(c operation.Context) operation.Verdict {
			volume, ok := target[*v1.Volume](c)
			if !ok {
				return operation.Finish(nil)
			}
			return operation.Finish(func(txn *state.Txn) { removeVolume(c.State, txn, volume) })
		}},
	}}
}

// removeVolume deletes a volume's row with the attachments of its past.
func removeVolume(s *state.Snapshot, txn *state.Txn, volume *v1.Volume) {
	for _, attachment := range s.By(v1.KindAttachment, "volume", volume.ID) {
		txn.Delete(attachment, "")
	}
	txn.Delete(volume, "")
}
