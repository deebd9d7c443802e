// Package mem is a storage driver in memory, for tests and for simulated hosts. It keeps facts and no bytes, answers as slowly and fails
// as often as it is told to, and otherwise behaves as the conformance suite demands of every driver.
package mem

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coloa-cloud/coloa/storage"
	"github.com/coloa-cloud/coloa/storage/intake"
	"github.com/coloa-cloud/coloa/storage/internal/keylock"
)

// DefaultTotalBytes is the size of a pool whose Options do not say.
const DefaultTotalBytes = int64(4) << 40

// Options of a simulated pool. The zero value is fast, never fails and has DefaultTotalBytes.
type Options struct {
	// Latency is what every call takes at least. It ends with the call's context.
	Latency time.Duration
	// Fail, when set, is asked before each call has its effect, with the method's name as in storage.Driver and the object's id ("" where there is none);
	// its error is the call's. It may be called from many goroutines.
	Fail func(method, id string) error
	// FailAfter is the same after a call had its effect: the answer is lost, the work is done.
	FailAfter func(method, id string) error
	// TotalBytes is the pool's size.
	TotalBytes int64
}

// Driver implements storage.Driver. Make it with New.
type Driver struct {
	options Options
	imports keylock.Locks // imports of one id wait for each other, without holding mutex while they read

	mutex   sync.Mutex
	images  map[string]storage.ImageInfo
	volumes map[string]*volume
}

// volume counts with its whole size against the pool: nobody writes to it, so its worst case is the only honest figure.
type volume struct {
	size      int64
	image     string
	snapshots map[string]int64 // id -> the volume's size at that time
	inUse     bool
}

var _ storage.Driver = (*Driver)(nil)

// New returns an empty pool.
func New(options Options) *Driver {
	if options.TotalBytes <= 0 {
		options.TotalBytes = DefaultTotalBytes
	}
	return &Driver{options: options, images: map[string]storage.ImageInfo{}, volumes: map[string]*volume{}}
}

// SetInUse says whether a guest has the volume open. An unknown volume is left unknown.
func (d *Driver) SetInUse(id string, inUse bool) {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	if found := d.volumes[id]; found != nil {
		found.inUse = inUse
	}
}

// Name is "mem".
func (d *Driver) Name() string { return "mem" }

// call wraps every method: validation first, then latency and the scripted failures around its effect, which runs under the mutex.
func (d *Driver) call(ctx context.Context, method, id string, effect func() error, checks ...error) error {
	if err := errors.Join(checks...); err != nil {
		return err
	}
	if err := d.before(ctx, method, id); err != nil {
		return err
	}
	d.mutex.Lock()
	err := effect()
	d.mutex.Unlock()
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, id, err)
	}
	return d.after(method, id)
}

func (d *Driver) before(ctx context.Context, method, id string) error {
	if d.options.Latency > 0 {
		timer := time.NewTimer(d.options.Latency)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if d.options.Fail != nil {
		return d.options.Fail(method, id)
	}
	return nil
}

func (d *Driver) after(method, id string) error {
	if d.options.FailAfter != nil {
		return d.options.FailAfter(method, id)
	}
	return nil
}

func (d *Driver) used() int64 {
	used := int64(0)
	for _, image := range d.images {
		used += image.UploadBytes
	}
	for _, volume := range d.volumes {
		used += volume.size
	}
	return used
}

// room returns ErrNoSpace when more bytes do not fit.
func (d *Driver) room(more int64) error {
	if free := d.options.TotalBytes - d.used(); more > free {
		return fmt.Errorf("%w: %d bytes are wanted, %d are free", storage.ErrNoSpace, more, free)
	}
	return nil
}

// Capacity counts images by their upload and volumes by their size.
func (d *Driver) Capacity(ctx context.Context) (storage.Capacity, error) {
	var capacity storage.Capacity
	err := d.call(ctx, "Capacity", "", func() error {
		used := d.used()
		capacity = storage.Capacity{TotalBytes: d.options.TotalBytes, UsedBytes: used, FreeBytes: d.options.TotalBytes - used}
		return nil
	})
	return capacity, err
}

// Contents lists the pool.
func (d *Driver) Contents(ctx context.Context) (storage.Contents, error) {
	contents := storage.Contents{Images: []string{}, Volumes: []storage.Volume{}}
	err := d.call(ctx, "Contents", "", func() error {
		contents.Images = append(contents.Images, slices.Sorted(maps.Keys(d.images))...)
		for _, id := range slices.Sorted(maps.Keys(d.volumes)) {
			contents.Volumes = append(contents.Volumes, d.volumes[id].describe(id))
		}
		return nil
	})
	return contents, err
}

// ImportImage reads and checks the upload as every driver does, and keeps its facts only.
func (d *Driver) ImportImage(ctx context.Context, source storage.ImageSource) (storage.ImageInfo, error) {
	if err := storage.CheckID(source.ID); err != nil {
		return storage.ImageInfo{}, err
	}
	release, err := d.imports.Lock(ctx, source.ID)
	if err != nil {
		return storage.ImageInfo{}, err
	}
	defer release()
	if err := d.before(ctx, "ImportImage", source.ID); err != nil {
		return storage.ImageInfo{}, err
	}
	d.mutex.Lock()
	info, exists := d.images[source.ID]
	d.mutex.Unlock()
	if exists {
		if source.SHA256 != "" && !strings.EqualFold(source.SHA256, info.SHA256) {
			return storage.ImageInfo{}, fmt.Errorf("image %s: %w: its SHA-256 is %s", source.ID, storage.ErrConflict, info.SHA256)
		}
		return info, d.after("ImportImage", source.ID)
	}
	if info, err = intake.Receive(ctx, io.Discard, source); err != nil {
		return storage.ImageInfo{}, err
	}
	d.mutex.Lock()
	if err = d.room(info.UploadBytes); err == nil {
		d.images[source.ID] = info
	}
	d.mutex.Unlock()
	if err != nil {
		return storage.ImageInfo{}, fmt.Errorf("image %s: %w", source.ID, err)
	}
	return info, d.after("ImportImage", source.ID)
}

// Image returns an image's facts.
func (d *Driver) Image(ctx context.Context, id string) (storage.ImageInfo, error) {
	var info storage.ImageInfo
	err := d.call(ctx, "Image", id, func() error {
		found, exists := d.images[id]
		if !exists {
			return storage.ErrNotFound
		}
		info = found
		return nil
	}, storage.CheckID(id))
	return info, err
}

// DeleteImage removes an image that no volume was cloned from.
func (d *Driver) DeleteImage(ctx context.Context, id string) error {
	return d.call(ctx, "DeleteImage", id, func() error {
		for name, volume := range d.volumes {
			if volume.image == id {
				return fmt.Errorf("%w: volume %s was cloned from it", storage.ErrInUse, name)
			}
		}
		delete(d.images, id)
		return nil
	}, storage.CheckID(id))
}
