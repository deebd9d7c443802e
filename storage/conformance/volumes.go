package conformance

import (
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coloa-cloud/coloa/storage"
)

func testVolume(t *testing.T, s *suite) {
	ctx, d := t.Context(), s.driver
	_, err := d.Volume(ctx, "a")
	require.ErrorIs(t, err, storage.ErrNotFound)
	_, err = d.Open(ctx, "a")
	require.ErrorIs(t, err, storage.ErrNotFound)
	require.NoError(t, d.DeleteVolume(ctx, "a"), "it was never there")

	s.createVolume(t, "a", 8*storage.MiB, "")
	s.createVolume(t, "a", 8*storage.MiB, "")
	s.createVolume(t, "a", 4*storage.MiB, "") // it is larger than asked
	s.requireSize(t, "a", 8*storage.MiB)
	_, err = d.CreateVolume(ctx, "a", 9*storage.MiB, storage.VolumeSource{})
	require.ErrorIs(t, err, storage.ErrConflict)
	_, err = d.CreateVolume(ctx, "a", 8*storage.MiB, storage.VolumeSource{ImageID: "x"})
	require.ErrorIs(t, err, storage.ErrConflict)

	disk, err := d.Open(ctx, "a")
	require.NoError(t, err)
	require.NotEmpty(t, disk.Path)
	require.Contains(t, []string{storage.FormatRaw, storage.FormatQCOW2}, disk.Format)
	again, err := d.Open(ctx, "a")
	require.NoError(t, err)
	require.Equal(t, disk, again, "a volume does not move")

	s.createVolume(t, "large", 1<<40, "") // nothing is allocated in advance
	require.NoError(t, d.DeleteVolume(ctx, "large"))
	require.NoError(t, d.CreateSnapshot(ctx, "a", "s"))
	require.NoError(t, d.DeleteVolume(ctx, "a"), "with its snapshots")
	require.NoError(t, d.DeleteVolume(ctx, "a"))
	_, err = d.Volume(ctx, "a")
	require.ErrorIs(t, err, storage.ErrNotFound)
	s.requireContents(t, nil, nil)
	s.createVolume(t, "a", storage.MiB, "")
	s.requireSnapshots(t, "a")
}

func testClone(t *testing.T, s *suite) {
	ctx, d := t.Context(), s.driver
	clone := storage.VolumeSource{ImageID: "image"}
	_, err := d.CreateVolume(ctx, "a", imageBytes, clone)
	require.ErrorIs(t, err, storage.ErrNotFound)
	s.importImage(t, "image", s.files.qcow2)
	_, err = d.CreateVolume(ctx, "a", imageBytes-storage.MiB, clone)
	require.ErrorIs(t, err, storage.ErrShrink)
	s.requireContents(t, []string{"image"}, nil)

	s.createVolume(t, "a", imageBytes, "image")
	s.createVolume(t, "a", imageBytes, "image")
	s.createVolume(t, "b", 2*imageBytes, "image")
	s.requireSize(t, "a", imageBytes)
	s.requireSize(t, "b", 2*imageBytes)
	_, err = d.CreateVolume(ctx, "a", imageBytes, storage.VolumeSource{})
	require.ErrorIs(t, err, storage.ErrConflict)
	_, err = d.CreateVolume(ctx, "a", imageBytes, storage.VolumeSource{ImageID: "other"})
	require.ErrorIs(t, err, storage.ErrConflict)

	require.ErrorIs(t, d.DeleteImage(ctx, "image"), storage.ErrInUse)
	require.NoError(t, d.DeleteVolume(ctx, "a"))
	require.ErrorIs(t, d.DeleteImage(ctx, "image"), storage.ErrInUse)
	_, err = d.Image(ctx, "image")
	require.NoError(t, err, "a refused deletion deletes nothing")
	require.NoError(t, d.DeleteVolume(ctx, "b"))
	require.NoError(t, d.DeleteImage(ctx, "image"))
	s.requireContents(t, nil, nil)
}

func testResize(t *testing.T, s *suite) {
	ctx, d := t.Context(), s.driver
	require.ErrorIs(t, d.ResizeVolume(ctx, "a", storage.MiB), storage.ErrNotFound)
	s.importImage(t, "image", s.files.raw)
	for _, image := range []string{"", "image"} {
		id := "volume" + image
		s.createVolume(t, id, 4*storage.MiB, image)
		require.NoError(t, d.ResizeVolume(ctx, id, 6*storage.MiB))
		require.NoError(t, d.ResizeVolume(ctx, id, 6*storage.MiB))
		s.requireSize(t, id, 6*storage.MiB)
		require.ErrorIs(t, d.ResizeVolume(ctx, id, 5*storage.MiB), storage.ErrShrink)
		s.requireSize(t, id, 6*storage.MiB)
		s.createVolume(t, id, 4*storage.MiB, image) // a repeated creation finds the grown volume fine
		s.requireSize(t, id, 6*storage.MiB)
	}
}

func testSnapshots(t *testing.T, s *suite) {
	ctx, d := t.Context(), s.driver
	require.ErrorIs(t, d.CreateSnapshot(ctx, "a", "s"), storage.ErrNotFound)
	require.ErrorIs(t, d.RestoreSnapshot(ctx, "a", "s"), storage.ErrNotFound)
	require.NoError(t, d.DeleteSnapshot(ctx, "a", "s"), "the volume is gone")

	s.createVolume(t, "a", 4*storage.MiB, "")
	require.ErrorIs(t, d.RestoreSnapshot(ctx, "a", "s"), storage.ErrNotFound)
	require.NoError(t, d.DeleteSnapshot(ctx, "a", "s"), "the snapshot is gone")
	for _, snapshot := range []string{"s", "2", "1", "s"} {
		require.NoError(t, d.CreateSnapshot(ctx, "a", snapshot))
	}
	s.requireSnapshots(t, "a", "1", "2", "s")
	require.NoError(t, d.DeleteSnapshot(ctx, "a", "2"))
	require.NoError(t, d.DeleteSnapshot(ctx, "a", "2"))
	s.requireSnapshots(t, "a", "1", "s")

	require.NoError(t, d.ResizeVolume(ctx, "a", 8*storage.MiB))
	require.NoError(t, d.CreateSnapshot(ctx, "a", "grown"))
	require.NoError(t, d.RestoreSnapshot(ctx, "a", "s"))
	require.NoError(t, d.RestoreSnapshot(ctx, "a", "s"))
	s.requireSize(t, "a", 4*storage.MiB)
	s.requireSnapshots(t, "a", "1", "grown", "s")
	require.NoError(t, d.RestoreSnapshot(ctx, "a", "grown"))
	s.requireSize(t, "a", 8*storage.MiB)
	require.NoError(t, d.DeleteSnapshot(ctx, "a", "grown"))
	require.NoError(t, d.DeleteSnapshot(ctx, "a", "s"))
	require.NoError(t, d.DeleteSnapshot(ctx, "a", "1"))
	s.requireSnapshots(t, "a")
	s.requireSize(t, "a", 8*storage.MiB)
}

// testNumberedSnapshots: a driver must not take the name "1" for the first snapshot there is.
func testNumberedSnapshots(t *testing.T, s *suite) {
	ctx, d := t.Context(), s.driver
	s.createVolume(t, "a", storage.MiB, "")
	for index, snapshot := range []string{"3", "1", "2"} {
		require.NoError(t, d.ResizeVolume(ctx, "a", int64(index+1)*storage.MiB))
		require.NoError(t, d.CreateSnapshot(ctx, "a", snapshot))
	}
	for snapshot, size := range map[string]int64{"3": 1, "1": 2, "2": 3} {
		require.NoError(t, d.RestoreSnapshot(ctx, "a", snapshot))
		s.requireSize(t, "a", size*storage.MiB)
	}
	require.NoError(t, d.DeleteSnapshot(ctx, "a", "1"))
	s.requireSnapshots(t, "a", "2", "3")
	require.ErrorIs(t, d.RestoreSnapshot(ctx, "a", "1"), storage.ErrNotFound)
}

func testInUse(t *testing.T, s *suite) {
	ctx, d := t.Context(), s.driver
	holder, ok := s.driver.(Holder)
	require.True(t, ok, "the driver under test must implement conformance.Holder")
	s.importImage(t, "image", s.files.raw)
	s.createVolume(t, "a", imageBytes, "image")
	s.createVolume(t, "sibling", imageBytes, "image")
	require.NoError(t, d.CreateSnapshot(ctx, "a", "s"))
	release := holder.Hold(t, "a")

	volume, err := d.Volume(ctx, "a")
	require.NoError(t, err)
	require.Equal(t, imageBytes, volume.SizeBytes)
	require.Equal(t, []string{"s"}, volume.Snapshots)
	_, err = d.Open(ctx, "a")
	require.NoError(t, err)
	s.requireContents(t, []string{"image"}, []string{"a", "sibling"})

	require.ErrorIs(t, d.ResizeVolume(ctx, "a", 2*imageBytes), storage.ErrInUse)
	require.ErrorIs(t, d.RestoreSnapshot(ctx, "a", "s"), storage.ErrInUse)
	require.ErrorIs(t, d.DeleteVolume(ctx, "a"), storage.ErrInUse)
	require.ErrorIs(t, d.DeleteImage(ctx, "image"), storage.ErrInUse)
	// A driver that can take snapshots under a running guest may do so.
	err = d.CreateSnapshot(ctx, "a", "t")
	if err != nil {
		require.ErrorIs(t, err, storage.ErrInUse)
		require.ErrorIs(t, d.DeleteSnapshot(ctx, "a", "s"), storage.ErrInUse)
		s.requireSnapshots(t, "a", "s")
	}
	s.requireSize(t, "a", imageBytes)

	// What asks for nothing new succeeds also now: a repeated task must not fail because its guest has started since.
	s.createVolume(t, "a", imageBytes, "image")
	require.NoError(t, d.ResizeVolume(ctx, "a", imageBytes))
	require.NoError(t, d.CreateSnapshot(ctx, "a", "s"))
	require.NoError(t, d.DeleteSnapshot(ctx, "a", "never-there"))
	require.ErrorIs(t, d.ResizeVolume(ctx, "a", storage.MiB), storage.ErrShrink)

	// Other volumes of the same image are free.
	s.createVolume(t, "b", imageBytes, "image")
	require.NoError(t, d.ResizeVolume(ctx, "sibling", 2*imageBytes))
	require.NoError(t, d.CreateSnapshot(ctx, "sibling", "s"))
	require.NoError(t, d.DeleteVolume(ctx, "sibling"))

	release()
	require.NoError(t, d.ResizeVolume(ctx, "a", 2*imageBytes))
	require.NoError(t, d.RestoreSnapshot(ctx, "a", "s"))
	require.NoError(t, d.DeleteVolume(ctx, "a"))
}

// testConcurrent sends the same calls many times at once; each must succeed, and the result be that of one.
func testConcurrent(t *testing.T, s *suite) {
	ctx, d := t.Context(), s.driver
	s.importImage(t, "image", s.files.raw)
	atOnce := func(name string, call func() error) {
		group := sync.WaitGroup{}
		for range 6 {
			group.Go(func() {
				if err := call(); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			})
		}
		group.Wait()
	}
	atOnce("CreateVolume", func() error {
		_, err := d.CreateVolume(ctx, "a", imageBytes, storage.VolumeSource{ImageID: "image"})
		return err
	})
	atOnce("Volume", func() error { _, err := d.Volume(ctx, "a"); return err })
	atOnce("CreateSnapshot", func() error { return d.CreateSnapshot(ctx, "a", "s") })
	s.requireSnapshots(t, "a", "s")
	atOnce("ResizeVolume", func() error { return d.ResizeVolume(ctx, "a", 2*imageBytes) })
	s.requireSize(t, "a", 2*imageBytes)
	atOnce("RestoreSnapshot", func() error { return d.RestoreSnapshot(ctx, "a", "s") })
	s.requireSize(t, "a", imageBytes)
	atOnce("Contents", func() error { _, err := d.Contents(ctx); return err })
	atOnce("DeleteSnapshot", func() error { return d.DeleteSnapshot(ctx, "a", "s") })
	atOnce("DeleteVolume", func() error { return d.DeleteVolume(ctx, "a") })
	atOnce("DeleteImage", func() error { return d.DeleteImage(ctx, "image") })
	s.requireContents(t, nil, nil)

	// An image is never deleted under a clone in the making: either the deletion or the clone is refused.
	for range 5 {
		s.importImage(t, "image", s.files.raw)
		var created, deleted error
		group := sync.WaitGroup{}
		group.Go(func() {
			_, created = d.CreateVolume(ctx, "a", imageBytes, storage.VolumeSource{ImageID: "image"})
		})
		group.Go(func() { deleted = d.DeleteImage(ctx, "image") })
		group.Wait()
		if created == nil {
			require.ErrorIs(t, deleted, storage.ErrInUse)
			require.NoError(t, d.DeleteVolume(ctx, "a"))
		} else {
			require.ErrorIs(t, created, storage.ErrNotFound)
			require.NoError(t, deleted)
		}
		require.NoError(t, d.DeleteImage(ctx, "image"))
	}
}

func testContent(t *testing.T, s *suite) {
	content, ok := s.driver.(Content)
	if !ok {
		t.Logf("driver %s keeps no bytes: nothing to compare", s.driver.Name())
		return
	}
	const piece = 128 << 10
	ctx, d := t.Context(), s.driver
	s.importImage(t, "image", s.files.qcow2)
	s.createVolume(t, "a", 2*imageBytes, "image")
	s.createVolume(t, "b", imageBytes, "image")
	require.True(t, content.Holds(t, "a", 0, patternBytes, imagePattern), "a clone begins as its image")
	require.True(t, content.Holds(t, "a", imageBytes, imageBytes, 0), "beyond its image a clone is empty")

	content.Fill(t, "a", 0, piece, 1)
	require.True(t, content.Holds(t, "a", piece, patternBytes-piece, imagePattern))
	require.True(t, content.Holds(t, "b", 0, patternBytes, imagePattern), "a clone's writes stay its own")
	s.createVolume(t, "c", imageBytes, "image")
	require.True(t, content.Holds(t, "c", 0, patternBytes, imagePattern), "and the image is what it was")

	require.NoError(t, d.CreateSnapshot(ctx, "a", "one"))
	content.Fill(t, "a", 0, piece, 2)
	content.Fill(t, "a", imageBytes, piece, 2)
	require.NoError(t, d.CreateSnapshot(ctx, "a", "one"), "repeated: it keeps the first content")
	require.NoError(t, d.CreateSnapshot(ctx, "a", "two"))
	require.NoError(t, d.ResizeVolume(ctx, "a", 3*imageBytes))
	require.True(t, content.Holds(t, "a", 2*imageBytes, imageBytes, 0), "what a volume grows by is empty")
	content.Fill(t, "a", 2*imageBytes, piece, 3)

	require.NoError(t, d.RestoreSnapshot(ctx, "a", "one"))
	s.requireSize(t, "a", 2*imageBytes)
	require.True(t, content.Holds(t, "a", 0, piece, 1))
	require.True(t, content.Holds(t, "a", imageBytes, imageBytes, 0))
	require.NoError(t, d.ResizeVolume(ctx, "a", 3*imageBytes))
	require.True(t, content.Holds(t, "a", 2*imageBytes, imageBytes, 0), "growing again does not bring old bytes back")

	require.NoError(t, d.RestoreSnapshot(ctx, "a", "two"))
	require.True(t, content.Holds(t, "a", 0, piece, 2))
	require.True(t, content.Holds(t, "a", imageBytes, piece, 2))
	require.NoError(t, d.DeleteSnapshot(ctx, "a", "one"))
	require.NoError(t, d.DeleteSnapshot(ctx, "a", "two"))
	require.True(t, content.Holds(t, "a", 0, piece, 2), "the volume outlives its snapshots")

	// The same id again is an empty volume again.
	require.NoError(t, d.DeleteVolume(ctx, "a"))
	s.createVolume(t, "a", imageBytes, "")
	require.True(t, content.Holds(t, "a", 0, imageBytes, 0))
	// A qcow2 header that a guest writes into its disk is data.
	content.Fill(t, "a", 0, 512, 'Q')
	require.NoError(t, d.ResizeVolume(ctx, "a", 2*imageBytes))
	require.True(t, content.Holds(t, "a", 0, 512, 'Q'))
}
