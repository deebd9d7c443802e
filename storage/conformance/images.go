package conformance

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coloa-cloud/coloa/storage"
)

func testImport(t *testing.T, s *suite) {
	// A raw disk whose guest wrote a qcow2 header with a backing file into it is a raw disk.
	disguised := s.files.raw
	disguised.name, disguised.data = "disguised", bytes.Clone(disguised.data)
	copy(disguised.data, s.files.refused[0].data[:4096])

	for index, file := range []fixture{s.files.raw, s.files.qcow2, s.files.compressed, s.files.version2, s.files.extended, disguised} {
		id := string(rune('a' + index))
		_, err := s.driver.Image(t.Context(), id)
		require.ErrorIs(t, err, storage.ErrNotFound)
		source := file.source(id)
		source.SHA256 = strings.ToUpper(file.sha256())
		info, err := s.driver.ImportImage(t.Context(), source)
		require.NoError(t, err, file.name)
		expected := storage.ImageInfo{ID: id, SHA256: file.sha256(), UploadBytes: int64(len(file.data)), VirtualSize: file.virtualSize}
		require.Equal(t, expected, info, file.name)
		kept, err := s.driver.Image(t.Context(), id)
		require.NoError(t, err)
		require.Equal(t, expected, kept)
		if content, ok := s.driver.(Content); ok && file.name != disguised.name {
			s.createVolume(t, "volume-"+id, imageBytes, id)
			require.True(t, content.Holds(t, "volume-"+id, 0, patternBytes, imagePattern), file.name)
			require.False(t, content.Holds(t, "volume-"+id, patternBytes, patternBytes, imagePattern), file.name)
		}
	}

	// Again: the facts, and Data is not touched.
	again := storage.ImageSource{ID: "a", Format: storage.FormatRaw, Data: unreadable{t}}
	info, err := s.driver.ImportImage(t.Context(), again)
	require.NoError(t, err)
	require.Equal(t, s.files.raw.sha256(), info.SHA256)
	again.SHA256 = s.files.raw.sha256()
	_, err = s.driver.ImportImage(t.Context(), again)
	require.NoError(t, err)
	again.SHA256 = s.files.qcow2.sha256()
	_, err = s.driver.ImportImage(t.Context(), again)
	require.ErrorIs(t, err, storage.ErrConflict)
}

// unreadable fails the test when it is read.
type unreadable struct{ t *testing.T }

func (u unreadable) Read([]byte) (int, error) {
	u.t.Error("Data was read though the image is there")
	return 0, io.EOF
}

func testImportRefusals(t *testing.T, s *suite) {
	refuse := func(name string, source storage.ImageSource) {
		t.Helper()
		_, err := s.driver.ImportImage(t.Context(), source)
		require.ErrorIs(t, err, storage.ErrInvalidImage, name)
		require.Less(t, len(err.Error()), 1000, name)
		_, err = s.driver.Image(t.Context(), source.ID)
		require.ErrorIs(t, err, storage.ErrNotFound, name)
		s.requireNoResidue(t)
	}
	for _, file := range s.files.refused {
		refuse(file.name, file.source("a"))
	}
	for name, file := range map[string]fixture{"raw": s.files.raw, "qcow2": s.files.qcow2} {
		source := file.source("a")
		source.SHA256 = strings.Repeat("0", 64)
		refuse(name+" with another digest", source)
		source = file.source("a")
		source.SHA256 = "not a digest"
		refuse(name+" with a malformed digest", source)
		source = file.source("a")
		source.MaxBytes = imageBytes - 512
		refuse(name+" above its limit", source)
		source = file.source("a")
		source.SHA256, source.Data = file.sha256(), bytes.NewReader(file.data[:len(file.data)-512])
		refuse(name+" one sector short of its digest", source)
	}
	// An upload that never ends stops at its limit, without the digest being known.
	source := s.files.raw.source("a")
	source.MaxBytes, source.Data = storage.MiB, endless{}
	refuse("endless raw", source)
	source = s.files.qcow2.source("a")
	source.MaxBytes, source.Data = imageBytes, io.MultiReader(source.Data, endless{})
	refuse("endless qcow2", source)

	source = s.files.raw.source("a")
	source.MaxBytes = imageBytes
	_, err := s.driver.ImportImage(t.Context(), source)
	require.NoError(t, err, "exactly at the limit, and after all these refusals")
	s.requireContents(t, []string{"a"}, nil)
}

type endless struct{}

func (endless) Read(buffer []byte) (int, error) { clear(buffer); return len(buffer), nil }

func testImportBrokenOff(t *testing.T, s *suite) {
	broken := errors.New("the connection is gone")
	for _, file := range []fixture{s.files.raw, s.files.qcow2} {
		for _, length := range []int{0, 100, 64 << 10, 100_000, len(file.data)} {
			source := file.source("a")
			source.Data = io.MultiReader(bytes.NewReader(file.data[:length]), failing{broken})
			_, err := s.driver.ImportImage(t.Context(), source)
			require.ErrorIs(t, err, broken)
			source.Data = io.MultiReader(bytes.NewReader(file.data[:length]), failing{io.ErrUnexpectedEOF}) // what net/http says of a short body
			_, err = s.driver.ImportImage(t.Context(), source)
			require.ErrorIs(t, err, io.ErrUnexpectedEOF)
			source.Data = io.MultiReader(bytes.NewReader(file.data[:length]), failing{nil})
			_, err = s.driver.ImportImage(t.Context(), source)
			require.ErrorIs(t, err, io.ErrNoProgress)

			// The upload stalls, and the caller gives up.
			reader, writer := io.Pipe()
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
			wait := sync.WaitGroup{}
			wait.Go(func() { _, _ = writer.Write(file.data[:length]) })
			source.Data = reader
			_, err = s.driver.ImportImage(ctx, source)
			require.ErrorIs(t, err, context.DeadlineExceeded)
			cancel()
			_ = reader.Close()
			wait.Wait()
			s.requireContents(t, nil, nil)
			s.requireNoResidue(t)
		}
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func testImportConcurrent(t *testing.T, s *suite) {
	group, read := sync.WaitGroup{}, atomic.Int64{}
	for range 4 {
		group.Go(func() {
			source := s.files.qcow2.source("a")
			source.Data = &counting{Reader: source.Data, count: &read}
			info, err := s.driver.ImportImage(t.Context(), source)
			if err != nil || info.SHA256 != s.files.qcow2.sha256() {
				t.Errorf("%v %v", info, err)
			}
		})
	}
	group.Wait()
	require.Equal(t, int64(len(s.files.qcow2.data)), read.Load(), "one of them read its upload")
	s.requireContents(t, []string{"a"}, nil)

	// A second import waits for the first one; its patience ends with its context, and the first one goes on.
	reader, writer := io.Pipe()
	first := make(chan error)
	go func() {
		source := s.files.raw.source("b")
		source.Data = reader
		_, err := s.driver.ImportImage(t.Context(), source)
		first <- err
	}()
	_, err := writer.Write(s.files.raw.data[:1000])
	require.NoError(t, err)
	impatient, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err = s.driver.ImportImage(impatient, s.files.raw.source("b"))
	require.ErrorIs(t, err, context.DeadlineExceeded)
	s.importImage(t, "c", s.files.raw) // other ids do not wait
	require.NoError(t, s.driver.DeleteImage(t.Context(), "c"))
	_, err = s.driver.Image(t.Context(), "b")
	require.ErrorIs(t, err, storage.ErrNotFound, "an image is there when it is whole")
	_, err = writer.Write(s.files.raw.data[1000:])
	require.NoError(t, err)
	require.NoError(t, writer.Close())
	require.NoError(t, <-first)
	s.requireContents(t, []string{"a", "b"}, nil)
}

type counting struct {
	io.Reader
	count *atomic.Int64
}

func (c *counting) Read(buffer []byte) (int, error) {
	length, err := c.Reader.Read(buffer)
	c.count.Add(int64(length))
	return length, err
}

func testDeleteImage(t *testing.T, s *suite) {
	require.NoError(t, s.driver.DeleteImage(t.Context(), "a"), "it was never there")
	s.importImage(t, "a", s.files.raw)
	require.NoError(t, s.driver.DeleteImage(t.Context(), "a"))
	require.NoError(t, s.driver.DeleteImage(t.Context(), "a"))
	_, err := s.driver.Image(t.Context(), "a")
	require.ErrorIs(t, err, storage.ErrNotFound)
	s.requireContents(t, nil, nil)
	s.importImage(t, "a", s.files.qcow2) // the id may come again, with other bytes
	info, err := s.driver.Image(t.Context(), "a")
	require.NoError(t, err)
	require.Equal(t, s.files.qcow2.sha256(), info.SHA256)
}
