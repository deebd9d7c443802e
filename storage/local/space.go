package local

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/coloa-cloud/coloa/storage"
)

// Imports never take the last space of a disk: guests that run write to the same one, and stop where it is full. What stays free is a share of the file system, at
// most maxReserve.
const (
	reserveShare = 20              // one part in so many
	maxReserve   = 2 << 30         // bytes
	lookEvery    = 8 * storage.MiB // bytes that may be written before the free space is looked at again
	lookInterval = 200 * time.Millisecond
)

// room is how many bytes may be written to the pool's file system before its reserve is touched, 0 or less when none.
func (d *Driver) room() (int64, error) {
	var stat unix.Statfs_t
	if err := unix.Statfs(d.root, &stat); err != nil {
		return 0, fmt.Errorf("free space of storage pool %s: %w", d.root, err)
	}
	block := int64(stat.Bsize)
	reserve := min(int64(stat.Blocks)*block/reserveShare, maxReserve)
	return int64(stat.Bavail)*block - reserve, nil
}

// budget is how many bytes an import may write: what is free of the pool's own limit and above the file system's reserve. ErrNoSpace when that is nothing.
func (d *Driver) budget(ctx context.Context) (int64, error) {
	capacity, err := d.Capacity(ctx)
	if err != nil {
		return 0, err
	}
	left, err := d.room()
	if err != nil {
		return 0, err
	}
	if left = min(left, capacity.FreeBytes); left <= 0 {
		return 0, fmt.Errorf("%w: what is left of the pool %s is kept in reserve; free space there", storage.ErrNoSpace, d.root)
	}
	return left, nil
}

// guarded runs work, whose writing is not ours to count, and ends it with ErrNoSpace when the file system's reserve is touched meanwhile, by whomever.
func (d *Driver) guarded(ctx context.Context, work func(ctx context.Context) error) error {
	bounded, end := context.WithCancelCause(ctx)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		ticker := time.NewTicker(lookInterval)
		defer ticker.Stop()
		for {
			select {
			case <-bounded.Done():
				return
			case <-ticker.C:
			}
			if left, err := d.room(); err == nil && left < 0 {
				end(fmt.Errorf("%w: the reserve of the pool %s was touched; free space there", storage.ErrNoSpace, d.root))
			}
		}
	}()
	err := work(bounded)
	if err != nil && ctx.Err() == nil && bounded.Err() != nil {
		err = context.Cause(bounded)
	}
	end(nil)
	<-watched
	return err
}
