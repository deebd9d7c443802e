package task

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/coloa-cloud/coloa/agent/hypervisor"
	v1 "github.com/coloa-cloud/coloa/api/v1"
	"github.com/coloa-cloud/coloa/storage"
)

func (r *Runner) importImage(ctx context.Context, task string, args v1.ImageArgs) (any, error) {
	driver, err := r.driver(args.Driver)
	if err != nil {
		return nil, err
	}
	info, err := r.ensureImage(ctx, task, driver, args.Image)
	if err != nil {
		return nil, err
	}
	return v1.ImageResult{SHA256: info.SHA256, SizeBytes: info.UploadBytes, VirtualSize: info.VirtualSize}, nil
}

// ensureImage returns the image's facts, and fetches it from its keeper when the pool does not have it. One image is fetched once at a time.
func (r *Runner) ensureImage(ctx context.Context, task string, driver storage.Driver, image v1.ImageRef) (storage.ImageInfo, error) {
	unlock, err := r.images.lock(ctx, driver.Name()+"/"+image.ID)
	if err != nil {
		return storage.ImageInfo{}, err
	}
	defer unlock()
	info, err := driver.Image(ctx, image.ID)
	switch {
	case err == nil && image.SHA256 != "" && info.SHA256 != image.SHA256:
		return storage.ImageInfo{}, v1.NewProblem(v1.CodeConflict, "the pool has another image under the id %s", image.ID)
	case err == nil || !errors.Is(err, storage.ErrNotFound):
		return info, err
	}
	data, size, err := r.options.Fetch(ctx, image.Keeper, image.ID)
	if v1.CodeOf(err) == v1.CodeNotFound {
		// The keeper may be a follower that has not heard yet that it keeps the image.
		return storage.ImageInfo{}, fmt.Errorf("%w: %w", errDoubtful, err)
	}
	if err != nil {
		return storage.ImageInfo{}, err
	}
	defer func() { _ = data.Close() }() // only read
	counted := &countingReader{ReadCloser: data, total: size, tell: func(percent int) { r.options.Ledger.Progress(task, percent) }}
	info, err = driver.ImportImage(ctx, storage.ImageSource{ID: image.ID, Format: image.Format, SHA256: image.SHA256, Data: counted})
	if err != nil && counted.failure != nil {
		// The bytes did not arrive whole: whatever the driver makes of them is about the line, not about the image.
		return storage.ImageInfo{}, errors.Join(ErrUnavailable, counted.failure)
	}
	return info, err
}

func (r *Runner) createVolume(ctx context.Context, task string, args v1.VolumeArgs) error {
	driver, err := r.driver(args.Driver)
	if err != nil {
		return err
	}
	var source storage.VolumeSource
	if args.Image != nil {
		source.ImageID = args.Image.ID
		if _, err := driver.Volume(ctx, args.Volume); errors.Is(err, storage.ErrNotFound) {
			if _, err := r.ensureImage(ctx, task, driver, *args.Image); err != nil {
				return err
			}
		}
	}
	_, err = driver.CreateVolume(ctx, args.Volume, args.SizeBytes, source)
	return err
}

// resizeVolume grows a volume: through the hypervisor when an Instance has it open, so that the guest sees it at once.
func (r *Runner) resizeVolume(ctx context.Context, args v1.VolumeArgs) error {
	driver, err := r.driver(args.Driver)
	if err != nil {
		return err
	}
	if args.Instance != "" {
		disk, err := driver.Open(ctx, args.Volume)
		if err != nil {
			return err
		}
		err = r.options.Hypervisor.ResizeDisk(ctx, args.Instance, disk.Path, args.SizeBytes)
		ended := errors.Is(err, hypervisor.ErrNotRunning) || errors.Is(err, hypervisor.ErrNotFound)
		if err != nil && !ended {
			return err
		}
		// qemu has grown the file itself; where it did not (the instance ended, or the file is no real one), the driver does.
		volume, err := driver.Volume(ctx, args.Volume)
		if err != nil || volume.SizeBytes == args.SizeBytes {
			return err
		}
	}
	return driver.ResizeVolume(ctx, args.Volume, args.SizeBytes)
}

// tellEvery and tellStep bound how often progress is reported: each report costs the controllers a write.
const (
	tellEvery = 2 * time.Second
	tellStep  = 5
)

// countingReader tells how much of the bytes has come, and remembers why no more came.
type countingReader struct {
	io.ReadCloser
	total, read int64
	tell        func(percent int)
	told        int
	at          time.Time
	failure     error
}

func (c *countingReader) Read(into []byte) (int, error) {
	n, err := c.ReadCloser.Read(into)
	c.read += int64(n)
	switch {
	case err != nil && !errors.Is(err, io.EOF):
		c.failure = err
	case errors.Is(err, io.EOF) && c.total >= 0 && c.read != c.total:
		c.failure = io.ErrUnexpectedEOF
		return n, c.failure
	}
	if c.total > 0 {
		// 99 until the driver has it on its disk.
		percent := int(min(99, c.read*100/c.total))
		if percent >= c.told+tellStep && time.Since(c.at) >= tellEvery {
			c.told, c.at = percent, time.Now()
			c.tell(percent)
		}
	}
	return n, err
}

// keyedLocks are mutexes by name whose waiters give up with their context.
type keyedLocks struct {
	mutex sync.Mutex
	held  map[string]chan struct{} // closed when it is let go
}

func (k *keyedLocks) lock(ctx context.Context, key string) (unlock func(), err error) {
	for {
		k.mutex.Lock()
		if k.held == nil {
			k.held = map[string]chan struct{}{}
		}
		taken := k.held[key]
		if taken == nil {
			mine := make(chan struct{})
			k.held[key] = mine
			k.mutex.Unlock()
			return func() {
				k.mutex.Lock()
				delete(k.held, key)
				k.mutex.Unlock()
				close(mine)
			}, nil
		}
		k.mutex.Unlock()
		select {
		case <-taken:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}
