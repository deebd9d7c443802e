package mem

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coloa-cloud/coloa/storage"
	"github.com/coloa-cloud/coloa/storage/conformance"
)

// held lets the suite open volumes as a guest would.
type held struct{ *Driver }

func (h held) Hold(_ *testing.T, volume string) (release func()) {
	h.SetInUse(volume, true)
	return func() { h.SetInUse(volume, false) }
}

func TestConformance(t *testing.T) {
	conformance.Run(t, func(*testing.T) storage.Driver { return held{New(Options{})} })
}

func TestFull(t *testing.T) {
	d := New(Options{TotalBytes: 10 * storage.MiB})
	source := storage.ImageSource{ID: "a", Format: storage.FormatRaw, Data: bytes.NewReader(make([]byte, 4*storage.MiB))}
	_, err := d.ImportImage(t.Context(), source)
	require.NoError(t, err)
	_, err = d.CreateVolume(t.Context(), "v", 5*storage.MiB, storage.VolumeSource{})
	require.NoError(t, err)
	require.ErrorIs(t, d.ResizeVolume(t.Context(), "v", 7*storage.MiB), storage.ErrNoSpace)
	_, err = d.CreateVolume(t.Context(), "w", 2*storage.MiB, storage.VolumeSource{})
	require.ErrorIs(t, err, storage.ErrNoSpace)
	source.ID, source.Data = "b", bytes.NewReader(make([]byte, 2*storage.MiB))
	_, err = d.ImportImage(t.Context(), source)
	require.ErrorIs(t, err, storage.ErrNoSpace)
	capacity, err := d.Capacity(t.Context())
	require.NoError(t, err)
	require.Equal(t, storage.Capacity{TotalBytes: 10 * storage.MiB, UsedBytes: 9 * storage.MiB, FreeBytes: storage.MiB}, capacity)
}

func TestScript(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broken, lost := errors.New("broken"), errors.New("the answer is lost")
		d := New(Options{
			Latency: time.Second,
			Fail: func(method, id string) error {
				if method == "CreateVolume" && id == "bad" {
					return broken
				}
				return nil
			},
			FailAfter: func(method, id string) error {
				if method == "CreateVolume" && id == "lost" {
					return lost
				}
				return nil
			},
		})
		start := time.Now()
		_, err := d.CreateVolume(t.Context(), "bad", storage.MiB, storage.VolumeSource{})
		require.ErrorIs(t, err, broken)
		require.Equal(t, time.Second, time.Since(start))
		_, err = d.CreateVolume(t.Context(), "lost", storage.MiB, storage.VolumeSource{})
		require.ErrorIs(t, err, lost)
		contents, err := d.Contents(t.Context())
		require.NoError(t, err)
		require.Len(t, contents.Volumes, 1)
		require.Equal(t, "lost", contents.Volumes[0].ID)

		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		start = time.Now()
		require.ErrorIs(t, d.DeleteVolume(ctx, "lost"), context.DeadlineExceeded)
		require.Equal(t, 10*time.Millisecond, time.Since(start))
	})
}
