package mem

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/coloa-cloud/coloa/storage"
)

func (v *volume) describe(id string) storage.Volume {
	return storage.Volume{ID: id, SizeBytes: v.size, ImageID: v.image, UsedBytes: v.size, Snapshots: slices.Sorted(maps.Keys(v.snapshots))}
}

// CreateVolume makes a volume.
func (d *Driver) CreateVolume(ctx context.Context, id string, size int64, source storage.VolumeSource) (storage.Volume, error) {
	var result storage.Volume
	err := d.call(ctx, "CreateVolume", id, func() error {
		found := d.volumes[id]
		if found == nil {
			if source.ImageID != "" {
				image, exists := d.images[source.ImageID]
				if !exists {
					return fmt.Errorf("image %s: %w", source.ImageID, storage.ErrNotFound)
				}
				if size < image.VirtualSize {
					return fmt.Errorf("%w: asked were %d bytes, its image has %d", storage.ErrShrink, size, image.VirtualSize)
				}
			}
			if err := d.room(size); err != nil {
				return err
			}
			found = &volume{size: size, image: source.ImageID, snapshots: map[string]int64{}}
			d.volumes[id] = found
		}
		if found.image != source.ImageID || found.size < size {
			return fmt.Errorf("%w: it has %d bytes and was made from image %q", storage.ErrConflict, found.size, found.image)
		}
		result = found.describe(id)
		return nil
	}, storage.CheckID(id), storage.CheckSize(size), source.Check())
	return result, err
}

// Volume returns what is known of a volume.
func (d *Driver) Volume(ctx context.Context, id string) (storage.Volume, error) {
	var result storage.Volume
	err := d.withVolume(ctx, "Volume", id, func(found *volume) error {
		result = found.describe(id)
		return nil
	})
	return result, err
}

// ResizeVolume grows a volume.
func (d *Driver) ResizeVolume(ctx context.Context, id string, size int64) error {
	return d.withVolume(ctx, "ResizeVolume", id, func(found *volume) error {
		switch {
		case found.size == size:
			return nil
		case found.size > size:
			return fmt.Errorf("%w: it has %d bytes, asked were %d", storage.ErrShrink, found.size, size)
		case found.inUse:
			return storage.ErrInUse
		}
		if err := d.room(size - found.size); err != nil {
			return err
		}
		found.size = size
		return nil
	}, storage.CheckSize(size))
}

// DeleteVolume removes a volume and its snapshots.
func (d *Driver) DeleteVolume(ctx context.Context, id string) error {
	return d.call(ctx, "DeleteVolume", id, func() error {
		if found := d.volumes[id]; found != nil && found.inUse {
			return storage.ErrInUse
		}
		delete(d.volumes, id)
		return nil
	}, storage.CheckID(id))
}

// CreateSnapshot remembers the volume's size.
func (d *Driver) CreateSnapshot(ctx context.Context, volumeID, snapshot string) error {
	return d.withVolume(ctx, "CreateSnapshot", volumeID, func(found *volume) error {
		if _, exists := found.snapshots[snapshot]; exists {
			return nil
		}
		if found.inUse {
			return storage.ErrInUse
		}
		found.snapshots[snapshot] = found.size
		return nil
	}, storage.CheckID(snapshot))
}

// RestoreSnapshot gives the volume its size back.
func (d *Driver) RestoreSnapshot(ctx context.Context, volumeID, snapshot string) error {
	return d.withVolume(ctx, "RestoreSnapshot", volumeID, func(found *volume) error {
		size, exists := found.snapshots[snapshot]
		if !exists {
			return fmt.Errorf("snapshot %s: %w", snapshot, storage.ErrNotFound)
		}
		if found.inUse {
			return storage.ErrInUse
		}
		found.size = size
		return nil
	}, storage.CheckID(snapshot))
}

// DeleteSnapshot forgets a snapshot.
func (d *Driver) DeleteSnapshot(ctx context.Context, volumeID, snapshot string) error {
	return d.call(ctx, "DeleteSnapshot", volumeID, func() error {
		found := d.volumes[volumeID]
		if found == nil {
			return nil
		}
		if _, exists := found.snapshots[snapshot]; !exists {
			return nil
		}
		if found.inUse {
			return storage.ErrInUse
		}
		delete(found.snapshots, snapshot)
		return nil
	}, storage.CheckID(volumeID), storage.CheckID(snapshot))
}

// Open returns a path that no hypervisor but the fake one can open.
func (d *Driver) Open(ctx context.Context, id string) (storage.Disk, error) {
	var disk storage.Disk
	err := d.withVolume(ctx, "Open", id, func(*volume) error {
		disk = storage.Disk{Path: "/mem/" + id, Format: storage.FormatRaw}
		return nil
	})
	return disk, err
}

// withVolume is call with the volume looked up, or ErrNotFound.
func (d *Driver) withVolume(ctx context.Context, method, id string, effect func(*volume) error, checks ...error) error {
	return d.call(ctx, method, id, func() error {
		found := d.volumes[id]
		if found == nil {
			return storage.ErrNotFound
		}
		return effect(found)
	}, append(checks, storage.CheckID(id))...)
}
