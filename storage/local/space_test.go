package local

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/coloa-cloud/coloa/storage"
)

func freeBytes(t *testing.T, directory string) int64 {
	t.Helper()
	var stat unix.Statfs_t
	require.NoError(t, unix.Statfs(directory, &stat))
	return int64(stat.Bavail) * int64(stat.Bsize)
}

// watched calls look before each read.
type watched struct {
	io.Reader
	look func()
}

func (w watched) Read(buffer []byte) (int, error) { w.look(); return w.Reader.Read(buffer) }

// endless never ends, and has no zeros that would become holes.
type endless struct{}

func (endless) Read(buffer []byte) (int, error) {
	for i := range buffer {
		buffer[i] = 1
	}
	return len(buffer), nil
}

func TestReserve(t *testing.T) {
	directory := smallDisk(t, "64m")
	const reserve = 64 * storage.MiB / reserveShare
	p := openPool(t, filepath.Join(directory, "pool"))
	importRaw := func(data io.Reader) error {
		_, err := p.ImportImage(t.Context(), storage.ImageSource{ID: "a", Format: storage.FormatRaw, Data: data})
		return err
	}
	full := func(data io.Reader) {
		t.Helper()
		require.ErrorIs(t, importRaw(data), storage.ErrNoSpace)
		require.Empty(t, p.Residue(t))
	}
	before := freeBytes(t, directory)

	lowest := before
	full(watched{endless{}, func() { lowest = min(lowest, freeBytes(t, directory)) }})
	require.GreaterOrEqual(t, lowest, reserve, "the reserve is never touched")
	require.Less(t, lowest, reserve+storage.MiB, "everything else may be used")
	require.Equal(t, before, freeBytes(t, directory), "nothing is left behind")

	// Others fill the disk meanwhile: seen at the next look, before the disk is full.
	count := 0
	var release func()
	full(watched{io.LimitReader(endless{}, 30*storage.MiB), func() {
		if count++; count == 3 {
			release = fill(t, directory, 2*storage.MiB)
		}
	}})
	release()

	// The upload fits; it and its conversion would leave less than the reserve, though more than nothing.
	full(io.LimitReader(endless{}, before/2-storage.MiB))
	require.NoError(t, importRaw(io.LimitReader(endless{}, (before-4*storage.MiB)/2-2*storage.MiB)))
	require.NoError(t, p.DeleteImage(t.Context(), "a"))

	// Too full from the beginning: nothing is read.
	release = fill(t, directory, reserve/2)
	full(watched{bytes.NewReader(nil), func() { t.Fatal("it was read") }})
	release()
	require.Equal(t, before, freeBytes(t, directory))
}

// TestGuarded: what qemu-img writes is not ours to count, so it is ended when the reserve is touched.
func TestGuarded(t *testing.T) {
	directory := smallDisk(t, "64m")
	p := openPool(t, filepath.Join(directory, "pool"))
	d := p.Driver
	began := time.Now()
	err := d.guarded(t.Context(), func(ctx context.Context) error {
		require.NoError(t, os.WriteFile(filepath.Join(directory, "filler"), make([]byte, freeBytes(t, directory)-storage.MiB), 0o600))
		<-ctx.Done()
		return ctx.Err()
	})
	require.ErrorIs(t, err, storage.ErrNoSpace)
	require.Less(t, time.Since(began), 5*time.Second)
	require.NoError(t, os.Remove(filepath.Join(directory, "filler")))

	broken := errors.New("broken")
	require.ErrorIs(t, d.guarded(t.Context(), func(context.Context) error { return broken }), broken)
	require.NoError(t, d.guarded(t.Context(), func(context.Context) error { return nil }))
	ctx, cancel := context.WithCancel(t.Context())
	require.ErrorIs(t, d.guarded(ctx, func(ctx context.Context) error { cancel(); <-ctx.Done(); return ctx.Err() }), context.Canceled)
}
