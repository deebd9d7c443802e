package local

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/coloa-cloud/coloa/storage"
)

// snapshotPrefix comes before the id in the name of an internal snapshot. qemu-img takes a name or its own running number for a
// snapshot and looks for the number first: a snapshot named "1" would be taken for the first one.
const snapshotPrefix = "snap-"

// CreateSnapshot makes an internal snapshot of the qcow2 file.
func (d *Driver) CreateSnapshot(ctx context.Context, volume, snapshot string) error {
	return d.withSnapshots(ctx, volume, snapshot, func(exists bool) error {
		if exists {
			return nil
		}
		return d.snapshotCommand(ctx, "-c", volume, snapshot)
	})
}

// RestoreSnapshot goes back to an internal snapshot; qemu-img restores the size with it.
func (d *Driver) RestoreSnapshot(ctx context.Context, volume, snapshot string) error {
	return d.withSnapshots(ctx, volume, snapshot, func(exists bool) error {
		if !exists {
			return fmt.Errorf("snapshot %s: %w", snapshot, storage.ErrNotFound)
		}
		return d.snapshotCommand(ctx, "-a", volume, snapshot)
	})
}

// DeleteSnapshot removes an internal snapshot.
func (d *Driver) DeleteSnapshot(ctx context.Context, volume, snapshot string) error {
	err := d.withSnapshots(ctx, volume, snapshot, func(exists bool) error {
		if !exists {
			return nil
		}
		return d.snapshotCommand(ctx, "-d", volume, snapshot)
	})
	if errors.Is(err, storage.ErrNotFound) {
		return nil // the volume is gone, and its snapshots with it
	}
	return err
}

// withSnapshots runs change under the volume's lock, and tells it whether the snapshot exists.
func (d *Driver) withSnapshots(ctx context.Context, volume, snapshot string, change func(exists bool) error) error {
	if err := storage.CheckID(snapshot); err != nil {
		return err
	}
	release, err := d.lockVolume(ctx, volume)
	if err != nil {
		return err
	}
	defer release()
	state, err := d.volume(ctx, volume)
	if err != nil {
		return volumeError(volume, err)
	}
	return volumeError(volume, change(slices.Contains(state.Snapshots, snapshot)))
}

func (d *Driver) snapshotCommand(ctx context.Context, action, volume, snapshot string) error {
	return d.mutate(ctx, volume, "snapshot", "-q", action, snapshotPrefix+snapshot, "--image-opts", imageOptions(storage.FormatQCOW2, d.volumeDisk(volume)))
}
