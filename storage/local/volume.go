package local

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/coloa-cloud/coloa/storage"
)

// CreateVolume makes an empty volume or a copy-on-write clone. Nothing is allocated in advance.
func (d *Driver) CreateVolume(ctx context.Context, id string, size int64, source storage.VolumeSource) (storage.Volume, error) {
	if err := errors.Join(storage.CheckSize(size), source.Check()); err != nil {
		return storage.Volume{}, err
	}
	release, err := d.lockVolume(ctx, id)
	if err != nil {
		return storage.Volume{}, err
	}
	defer release()
	volume, err := d.volume(ctx, id)
	switch {
	case err == nil && volume.ImageID != source.ImageID:
		err = fmt.Errorf("%w: it was made from image %q, asked was %q", storage.ErrConflict, volume.ImageID, source.ImageID)
	case err == nil && volume.SizeBytes < size:
		err = fmt.Errorf("%w: it has %d bytes, asked were %d", storage.ErrConflict, volume.SizeBytes, size)
	case errors.Is(err, storage.ErrNotFound):
		if err = d.makeVolume(ctx, id, size, source); err == nil {
			volume, err = d.volume(ctx, id)
		}
	}
	if err != nil {
		return storage.Volume{}, volumeError(id, err)
	}
	return volume, nil
}

// makeVolume builds the volume under tmp and publishes it whole.
func (d *Driver) makeVolume(ctx context.Context, id string, size int64, source storage.VolumeSource) error {
	arguments := []string{"create", "-q", "-f", storage.FormatQCOW2, "-o", "compat=1.1"}
	if source.ImageID != "" {
		release, err := d.lockImage(ctx, source.ImageID) // so that it is not deleted meanwhile
		if err != nil {
			return err
		}
		defer release()
		image, err := readImageFacts(d.imageDir(source.ImageID))
		if err != nil {
			return imageError(source.ImageID, err)
		}
		if size < image.VirtualSize {
			return fmt.Errorf("%w: asked were %d bytes, its image %s has %d", storage.ErrShrink, size, source.ImageID, image.VirtualSize)
		}
		arguments = append(arguments, "-b", backingPath(source.ImageID), "-F", storage.FormatQCOW2)
	}
	capacity, err := d.Capacity(ctx)
	if err != nil {
		return err
	}
	if capacity.FreeBytes <= 0 {
		return storage.ErrNoSpace
	}
	work, err := os.MkdirTemp(d.tmpDir(), "volume-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(work) }() // does nothing once it is published
	disk := filepath.Join(work, diskName)
	arguments = append(arguments, "--", disk, strconv.FormatInt(size, 10))
	if _, err := d.runQemuImg(ctx, quick, arguments...); err != nil {
		return err
	}
	if err := settle(disk, volumeMode); err != nil {
		return err
	}
	facts := volumeFacts{Schema: schema, ID: id, SizeBytes: size, ImageID: source.ImageID}
	if err := writeFacts(filepath.Join(work, volumeFile), facts); err != nil {
		return err
	}
	return publish(work, d.volumeDir(id))
}

// Volume reads the facts and the disk's own tables.
func (d *Driver) Volume(ctx context.Context, id string) (storage.Volume, error) {
	release, err := d.lockVolume(ctx, id)
	if err != nil {
		return storage.Volume{}, err
	}
	defer release()
	volume, err := d.volume(ctx, id)
	return volume, volumeError(id, err)
}

// volume is Volume for those who hold the lock.
func (d *Driver) volume(ctx context.Context, id string) (storage.Volume, error) {
	facts, err := readVolumeFacts(d.volumeDir(id))
	if err != nil {
		return storage.Volume{}, err
	}
	info, err := d.info(ctx, d.volumeDisk(id))
	if err != nil {
		return storage.Volume{}, err
	}
	volume := storage.Volume{ID: id, SizeBytes: info.VirtualSize, ImageID: facts.ImageID, UsedBytes: info.ActualSize}
	for _, snapshot := range info.Snapshots {
		if name, ours := strings.CutPrefix(snapshot.Name, snapshotPrefix); ours {
			volume.Snapshots = append(volume.Snapshots, name)
		}
	}
	sort.Strings(volume.Snapshots)
	return volume, nil
}

// ResizeVolume grows a volume that nobody has open.
func (d *Driver) ResizeVolume(ctx context.Context, id string, size int64) error {
	if err := storage.CheckSize(size); err != nil {
		return err
	}
	release, err := d.lockVolume(ctx, id)
	if err != nil {
		return err
	}
	defer release()
	volume, err := d.volume(ctx, id)
	switch {
	case err == nil && volume.SizeBytes > size:
		err = fmt.Errorf("%w: it has %d bytes, asked were %d", storage.ErrShrink, volume.SizeBytes, size)
	case err == nil && volume.SizeBytes < size:
		err = d.mutate(ctx, id, "resize", "-q", "--image-opts", imageOptions(storage.FormatQCOW2, d.volumeDisk(id)), strconv.FormatInt(size, 10))
	}
	return volumeError(id, err)
}

// DeleteVolume removes a volume that nobody has open, with its snapshots, which lie in the same file.
func (d *Driver) DeleteVolume(ctx context.Context, id string) error {
	release, err := d.lockVolume(ctx, id)
	if err != nil {
		return err
	}
	defer release()
	if _, err := os.Lstat(d.volumeDir(id)); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	unlock, err := lockOut(d.volumeDisk(id))
	if err != nil {
		return volumeError(id, err)
	}
	defer unlock()
	return volumeError(id, d.withdraw(d.volumeDir(id)))
}

// mutate runs a qemu-img command that changes a volume's disk, and puts the change on the disk. qemu orders its writes so that a command
// that is cut off leaves unreferenced clusters at worst; these are given back at once.
func (d *Driver) mutate(ctx context.Context, id string, arguments ...string) error {
	_, err := d.runQemuImg(ctx, long, arguments...)
	if err == nil {
		return syncPath(d.volumeDisk(id))
	}
	if !errors.Is(err, storage.ErrInUse) {
		// Also when ctx has ended: it is short, and nobody else would do it.
		repair, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		_, _ = d.runQemuImg(repair, quick, "check", "-q", "-r", "leaks", "--image-opts", imageOptions(storage.FormatQCOW2, d.volumeDisk(id)))
	}
	return err
}
