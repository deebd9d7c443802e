// Package conformance is the suite that every storage driver passes: it exercises each sentence of storage.Driver's comments. It makes
// its image files with the real qemu-img (package qemu-utils), which must be installed.
package conformance

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coloa-cloud/coloa/storage"
)

// Holder is what the driver under test must also implement: it opens a volume as a running guest does, until release.
type Holder interface {
	Hold(t *testing.T, volume string) (release func())
}

// Content is implemented where volumes really keep bytes; snapshots and clones are then checked by content. Offsets and lengths are bytes.
type Content interface {
	// Fill writes length bytes of value at offset, as a guest would.
	Fill(t *testing.T, volume string, offset, length int64, value byte)
	// Holds says whether all these bytes have this value.
	Holds(t *testing.T, volume string, offset, length int64, value byte) bool
}

// Residue is implemented where something can be left behind that Contents does not list. It returns the names of such things.
type Residue interface {
	Residue(t *testing.T) []string
}

// Run runs the suite. open returns an empty pool with at least 1 GiB free, for one subtest; it must implement Holder, and may implement Content and Residue.
func Run(t *testing.T, open func(t *testing.T) storage.Driver) {
	files := makeFixtures(t)
	for _, group := range []struct {
		name string
		run  func(t *testing.T, s *suite)
	}{
		{"pool", testPool},
		{"hostile ids", testHostileIDs},
		{"hostile sizes", testHostileSizes},
		{"ended context", testEndedContext},
		{"import", testImport},
		{"import refusals", testImportRefusals},
		{"import broken off", testImportBrokenOff},
		{"import twice at once", testImportConcurrent},
		{"delete image", testDeleteImage},
		{"volume", testVolume},
		{"clone", testClone},
		{"resize", testResize},
		{"snapshots", testSnapshots},
		{"numbered snapshots", testNumberedSnapshots},
		{"in use", testInUse},
		{"same id at once", testConcurrent},
		{"content", testContent},
	} {
		t.Run(group.name, func(t *testing.T) {
			s := &suite{driver: open(t), files: files}
			group.run(t, s)
			s.requireNoResidue(t)
		})
	}
}

type suite struct {
	driver storage.Driver
	files  *fixtures
}

func (s *suite) requireNoResidue(t *testing.T) {
	t.Helper()
	if driver, ok := s.driver.(Residue); ok {
		require.Empty(t, driver.Residue(t), "left behind")
	}
}

// requireContents checks that the pool holds exactly these.
func (s *suite) requireContents(t *testing.T, images, volumes []string) {
	t.Helper()
	contents, err := s.driver.Contents(t.Context())
	require.NoError(t, err)
	names := []string{}
	for _, volume := range contents.Volumes {
		names = append(names, volume.ID)
	}
	require.Equal(t, append([]string{}, images...), append([]string{}, contents.Images...), "images")
	require.Equal(t, append([]string{}, volumes...), names, "volumes")
}

// importImage imports a fixture that is expected to be fine.
func (s *suite) importImage(t *testing.T, id string, file fixture) storage.ImageInfo {
	t.Helper()
	info, err := s.driver.ImportImage(t.Context(), file.source(id))
	require.NoError(t, err)
	return info
}

func (s *suite) createVolume(t *testing.T, id string, size int64, image string) {
	t.Helper()
	volume, err := s.driver.CreateVolume(t.Context(), id, size, storage.VolumeSource{ImageID: image})
	require.NoError(t, err)
	require.Equal(t, id, volume.ID)
	require.Equal(t, image, volume.ImageID)
	require.GreaterOrEqual(t, volume.SizeBytes, size)
}

func (s *suite) requireSize(t *testing.T, id string, size int64) {
	t.Helper()
	volume, err := s.driver.Volume(t.Context(), id)
	require.NoError(t, err)
	require.Equal(t, size, volume.SizeBytes)
}

func (s *suite) requireSnapshots(t *testing.T, id string, snapshots ...string) {
	t.Helper()
	volume, err := s.driver.Volume(t.Context(), id)
	require.NoError(t, err)
	require.Equal(t, append([]string{}, snapshots...), append([]string{}, volume.Snapshots...))
}

// method is one call of the interface with its ids open, for tests that go through all of them.
type method struct {
	name string
	call func(ctx context.Context, driver storage.Driver, id string) error
}

// methods calls every method that takes an id with it, in each place where an id can stand; the other arguments are fine ones.
func methods(file fixture) []method {
	const good = "good-id"
	return []method{
		{"ImportImage", func(ctx context.Context, d storage.Driver, id string) error {
			_, err := d.ImportImage(ctx, file.source(id))
			return err
		}},
		{"Image", func(ctx context.Context, d storage.Driver, id string) error { _, err := d.Image(ctx, id); return err }},
		{"DeleteImage", func(ctx context.Context, d storage.Driver, id string) error { return d.DeleteImage(ctx, id) }},
		{"CreateVolume", func(ctx context.Context, d storage.Driver, id string) error {
			_, err := d.CreateVolume(ctx, id, storage.MiB, storage.VolumeSource{})
			return err
		}},
		{"Volume", func(ctx context.Context, d storage.Driver, id string) error { _, err := d.Volume(ctx, id); return err }},
		{"ResizeVolume", func(ctx context.Context, d storage.Driver, id string) error {
			return d.ResizeVolume(ctx, id, storage.MiB)
		}},
		{"DeleteVolume", func(ctx context.Context, d storage.Driver, id string) error { return d.DeleteVolume(ctx, id) }},
		{"CreateSnapshot volume", func(ctx context.Context, d storage.Driver, id string) error { return d.CreateSnapshot(ctx, id, good) }},
		{"CreateSnapshot snapshot", func(ctx context.Context, d storage.Driver, id string) error { return d.CreateSnapshot(ctx, good, id) }},
		{"RestoreSnapshot volume", func(ctx context.Context, d storage.Driver, id string) error { return d.RestoreSnapshot(ctx, id, good) }},
		{"RestoreSnapshot snapshot", func(ctx context.Context, d storage.Driver, id string) error { return d.RestoreSnapshot(ctx, good, id) }},
		{"DeleteSnapshot volume", func(ctx context.Context, d storage.Driver, id string) error { return d.DeleteSnapshot(ctx, id, good) }},
		{"DeleteSnapshot snapshot", func(ctx context.Context, d storage.Driver, id string) error { return d.DeleteSnapshot(ctx, good, id) }},
		{"Open", func(ctx context.Context, d storage.Driver, id string) error { _, err := d.Open(ctx, id); return err }},
	}
}

func testPool(t *testing.T, s *suite) {
	require.NotEmpty(t, s.driver.Name())
	capacity, err := s.driver.Capacity(t.Context())
	require.NoError(t, err)
	require.Positive(t, capacity.TotalBytes)
	require.GreaterOrEqual(t, capacity.FreeBytes, int64(1)<<30)
	require.GreaterOrEqual(t, capacity.UsedBytes, int64(0))
	require.LessOrEqual(t, capacity.UsedBytes+capacity.FreeBytes, capacity.TotalBytes)
	contents, err := s.driver.Contents(t.Context())
	require.NoError(t, err)
	require.NotNil(t, contents.Images, "lists are empty, never null, in JSON")
	require.NotNil(t, contents.Volumes, "lists are empty, never null, in JSON")
	s.requireContents(t, nil, nil)

	for _, id := range []string{"b", "a", "c"} {
		s.importImage(t, "image-"+id, s.files.raw)
		s.createVolume(t, "volume-"+id, storage.MiB, "")
	}
	s.requireContents(t, []string{"image-a", "image-b", "image-c"}, []string{"volume-a", "volume-b", "volume-c"})
}

func testHostileIDs(t *testing.T, s *suite) {
	long := make([]byte, 10_000)
	for index := range long {
		long[index] = 'a'
	}
	for _, id := range []string{
		"", ".", "..", "../x", "a/b", "/etc/passwd", "-o", "--", "-", "a b", "a\nb", "a\x00b", "A", "ä", "a,file.driver=nbd", "$(id)", "a'b", `a"b`,
		"\u202ea", "a.json", "json:{}", "nbd:x", "\xff", string(long), string(long[:65]),
	} {
		for _, method := range methods(s.files.raw) {
			require.ErrorIs(t, method.call(t.Context(), s.driver, id), storage.ErrInvalid, "%s(%.80q)", method.name, id)
		}
		if id != "" { // no image at all is an empty volume
			_, err := s.driver.CreateVolume(t.Context(), "good-id", storage.MiB, storage.VolumeSource{ImageID: id})
			require.ErrorIs(t, err, storage.ErrInvalid, "image %.80q", id)
		}
	}
	s.requireContents(t, nil, nil)
	for _, id := range []string{"a", "0", "1-", "0b1c2d3e-0000-4000-8000-0123456789ab", string(long[:64])} {
		s.createVolume(t, id, storage.MiB, "")
		require.NoError(t, s.driver.DeleteVolume(t.Context(), id))
	}
}

func testHostileSizes(t *testing.T, s *suite) {
	s.createVolume(t, "there", storage.MiB, "")
	for _, size := range []int64{0, -1, 1, 512, storage.MiB + 512, -storage.MiB, storage.MaxVolumeBytes + storage.MiB, 1e18, 1<<63 - 1, -1 << 63} {
		_, err := s.driver.CreateVolume(t.Context(), "a", size, storage.VolumeSource{})
		require.ErrorIs(t, err, storage.ErrInvalid, "create %d", size)
		require.ErrorIs(t, s.driver.ResizeVolume(t.Context(), "there", size), storage.ErrInvalid, "resize %d", size)
	}
	s.requireContents(t, nil, []string{"there"})
}

func testEndedContext(t *testing.T, s *suite) {
	ended, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("the caller has gone"))
	for _, method := range methods(s.files.raw) {
		require.ErrorIs(t, method.call(ended, s.driver, "a"), context.Canceled, method.name)
	}
	_, err := s.driver.Capacity(ended)
	require.ErrorIs(t, err, context.Canceled, "Capacity")
	_, err = s.driver.Contents(ended)
	require.ErrorIs(t, err, context.Canceled, "Contents")
	s.requireContents(t, nil, nil)

	s.createVolume(t, "a", storage.MiB, "")
	require.NoError(t, s.driver.CreateSnapshot(t.Context(), "a", "kept"))
	require.Error(t, s.driver.ResizeVolume(ended, "a", 2*storage.MiB))
	require.Error(t, s.driver.CreateSnapshot(ended, "a", "other"))
	require.Error(t, s.driver.DeleteSnapshot(ended, "a", "kept"))
	require.Error(t, s.driver.DeleteVolume(ended, "a"))
	s.requireSize(t, "a", storage.MiB)
	s.requireSnapshots(t, "a", "kept")
}
