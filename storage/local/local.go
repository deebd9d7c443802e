// Package local is the storage driver on qcow2 files in a directory of this host, worked on by qemu-img. It is the embedded default for
// one server; its volumes cannot move to another host. DESIGN.md in the folder above tells the layout and the order of writes.
package local

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/coloa-cloud/coloa/storage"
	"github.com/coloa-cloud/coloa/storage/internal/keylock"
)

// Driver is one pool: one directory. It implements storage.Driver. Make it with Open.
type Driver struct {
	root     string // absolute
	qemuImg  string // absolute path of the program
	prlimit  string // absolute path, "" where util-linux is missing
	maxBytes int64  // 0: the file system is the limit
	guard    *os.File
	closing  sync.Once

	// Lock order: a volume's lock, then an image's. Keys are "volume/<id>" and "image/<id>".
	locks keylock.Locks
}

var _ storage.Driver = (*Driver)(nil)

// Option changes how a pool is opened.
type Option func(*Driver)

// WithMaxBytes limits what the pool may hold, in bytes, below what the file system has. It is checked before new images and volumes, not
// against the growth of volumes that guests write to.
func WithMaxBytes(bytes int64) Option {
	return func(d *Driver) { d.maxBytes = bytes }
}

// WithQemuImg names the qemu-img program to run, instead of the one in PATH.
func WithQemuImg(path string) Option {
	return func(d *Driver) { d.qemuImg = path }
}

// Open opens the pool in the directory root, makes it if it is not there, and removes what interrupted work left in it. Only one Driver
// may have a pool open at a time; a second one, in any process, gets an error. A killed process holds nothing.
func Open(root string, options ...Option) (*Driver, error) {
	absolute, err := filepath.Abs(root)
	if err != nil {
		return nil, fmt.Errorf("storage pool %s: %w", root, err)
	}
	d := &Driver{root: absolute, qemuImg: "qemu-img"}
	for _, option := range options {
		option(d)
	}
	if d.qemuImg, err = exec.LookPath(d.qemuImg); err != nil {
		return nil, fmt.Errorf("the local storage pool needs qemu-img; install the package qemu-utils: %w", err)
	}
	if d.prlimit, err = exec.LookPath("prlimit"); err != nil {
		d.prlimit = ""
	}
	if err := d.prepare(); err != nil {
		_ = d.Close()
		return nil, fmt.Errorf("storage pool %s: %w", d.root, err)
	}
	return d, nil
}

// prepare makes the directories, takes the pool's lock and empties tmp.
func (d *Driver) prepare() error {
	if err := makeParents(d.root); err != nil {
		return err
	}
	if err := makeDir(d.root, passMode); err != nil {
		return err
	}
	guard, err := os.OpenFile(filepath.Join(d.root, guardName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	d.guard = guard
	if err := unix.Flock(int(guard.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return errors.New("another process has this pool open; stop it first, or use another directory")
	}
	for _, directory := range []struct {
		path string
		mode os.FileMode
	}{{d.root, passMode}, {d.imagesDir(), passMode}, {d.volumesDir(), passMode}, {d.tmpDir(), privateMode}} {
		if err := makeDir(directory.path, directory.mode); err != nil {
			return err
		}
	}
	leftovers, err := os.ReadDir(d.tmpDir())
	if err != nil {
		return err
	}
	for _, leftover := range leftovers {
		if err := os.RemoveAll(filepath.Join(d.tmpDir(), leftover.Name())); err != nil {
			return err
		}
	}
	return syncDir(d.root)
}

// Close lets another Driver open the pool. It ends no running call; the caller has done so.
func (d *Driver) Close() error {
	var err error
	d.closing.Do(func() {
		if d.guard != nil {
			err = d.guard.Close()
		}
	})
	return err
}

// Name is "local".
func (d *Driver) Name() string { return "local" }

// Capacity is that of the file system, or of the configured maximum where that is less. Without a maximum UsedBytes counts everything
// on the file system, with one only the pool's own files.
func (d *Driver) Capacity(ctx context.Context) (storage.Capacity, error) {
	if err := ctx.Err(); err != nil {
		return storage.Capacity{}, err
	}
	var stat unix.Statfs_t
	if err := unix.Statfs(d.root, &stat); err != nil {
		return storage.Capacity{}, fmt.Errorf("capacity of storage pool %s: %w", d.root, err)
	}
	block := int64(stat.Bsize)
	capacity := storage.Capacity{TotalBytes: int64(stat.Blocks) * block, FreeBytes: int64(stat.Bavail) * block}
	capacity.UsedBytes = capacity.TotalBytes - capacity.FreeBytes
	if d.maxBytes <= 0 {
		return capacity, nil
	}
	used, err := allocatedBytes(ctx, d.root)
	if err != nil {
		return storage.Capacity{}, fmt.Errorf("capacity of storage pool %s: %w", d.root, err)
	}
	capacity.TotalBytes = min(capacity.TotalBytes, d.maxBytes)
	capacity.UsedBytes = used
	capacity.FreeBytes = max(0, min(capacity.FreeBytes, capacity.TotalBytes-used))
	return capacity, nil
}

// Contents lists the pool. A volume whose disk cannot be read is listed with the facts that were written when it was made, so that
// a damaged volume hides neither itself nor the others.
func (d *Driver) Contents(ctx context.Context) (storage.Contents, error) {
	if err := ctx.Err(); err != nil {
		return storage.Contents{}, err
	}
	images, err := listIDs(d.imagesDir())
	if err != nil {
		return storage.Contents{}, err
	}
	ids, err := listIDs(d.volumesDir())
	if err != nil {
		return storage.Contents{}, err
	}
	contents := storage.Contents{Images: images, Volumes: []storage.Volume{}}
	for _, id := range ids {
		volume, err := d.Volume(ctx, id)
		if ctx.Err() != nil {
			return storage.Contents{}, ctx.Err()
		}
		if errors.Is(err, storage.ErrNotFound) {
			continue // deleted since the list was read
		}
		if err != nil {
			facts, _ := readVolumeFacts(d.volumeDir(id))
			volume = storage.Volume{ID: id, SizeBytes: facts.SizeBytes, ImageID: facts.ImageID}
		}
		contents.Volumes = append(contents.Volumes, volume)
	}
	return contents, nil
}

// Open returns the path of the volume's qcow2 file. Its backing file (of a clone) is found through it.
func (d *Driver) Open(ctx context.Context, id string) (storage.Disk, error) {
	if err := errors.Join(ctx.Err(), storage.CheckID(id)); err != nil {
		return storage.Disk{}, err
	}
	facts, err := readVolumeFacts(d.volumeDir(id))
	if err != nil {
		return storage.Disk{}, volumeError(id, err)
	}
	disk := storage.Disk{Path: d.volumeDisk(id), Format: storage.FormatQCOW2}
	if facts.ImageID != "" {
		disk.Backing = filepath.Join(d.imageDir(facts.ImageID), diskName)
	}
	return disk, nil
}

// lockVolume and lockImage put calls on one id in a row.
func (d *Driver) lockVolume(ctx context.Context, id string) (func(), error) {
	if err := storage.CheckID(id); err != nil {
		return nil, err
	}
	release, err := d.locks.Lock(ctx, "volume/"+id)
	return release, volumeError(id, err)
}

func (d *Driver) lockImage(ctx context.Context, id string) (func(), error) {
	if err := storage.CheckID(id); err != nil {
		return nil, err
	}
	release, err := d.locks.Lock(ctx, "image/"+id)
	return release, imageError(id, err)
}

func volumeError(id string, err error) error { return named("volume", id, err) }
func imageError(id string, err error) error  { return named("image", id, err) }

// named puts the object before an error, and turns the file system's words into the contract's.
func named(kind, id string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		return fmt.Errorf("%s %s: %w: %w", kind, id, storage.ErrNoSpace, err)
	}
	return fmt.Errorf("%s %s: %w", kind, id, err)
}
