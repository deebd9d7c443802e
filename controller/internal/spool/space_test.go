package spool

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	v1 "github.com/coloa-cloud/coloa/api/v1"
)

const mebibyte = 1 << 20

// smallDisk mounts a file system of 64 MiB; 3.2 MiB of it are the reserve.
func smallDisk(t *testing.T) string {
	t.Helper()
	directory := t.TempDir()
	if err := unix.Mount("tmpfs", directory, "tmpfs", 0, "size=64m"); err != nil {
		t.Fatalf("this test mounts a small tmpfs; run it as root: %v", err)
	}
	t.Cleanup(func() { require.NoError(t, unix.Unmount(directory, unix.MNT_DETACH)) })
	return directory
}

// free returns what is free on a disk, in bytes.
func free(t *testing.T, directory string) int64 {
	t.Helper()
	var stat unix.Statfs_t
	require.NoError(t, unix.Statfs(directory, &stat))
	return int64(stat.Bavail) * int64(stat.Bsize)
}

type zeros struct{}

func (zeros) Read(buffer []byte) (int, error) { clear(buffer); return len(buffer), nil }

// watched calls look before each read.
type watched struct {
	io.Reader
	look func()
}

func (w watched) Read(buffer []byte) (int, error) { w.look(); return w.Reader.Read(buffer) }

func TestReserve(t *testing.T) {
	disk := smallDisk(t)
	directory := filepath.Join(disk, "images")
	s, err := Open(directory)
	require.NoError(t, err)
	const reserve = 64 * mebibyte / reserveShare
	full := func(data io.Reader) {
		t.Helper()
		_, err := s.Receive(t.Context(), image, data)
		require.Equal(t, v1.CodeNoSpace, v1.CodeOf(err), "%v", err)
		require.ErrorContains(t, err, directory, "it says which disk")
		require.ErrorContains(t, err, "free space on that disk", "it says what to do")
		require.Empty(t, inside(t, directory))
	}
	before := free(t, disk)

	lowest := before
	full(watched{zeros{}, func() { lowest = min(lowest, free(t, disk)) }}) // without an end
	require.GreaterOrEqual(t, lowest, int64(reserve), "the reserve is never touched")
	require.Less(t, lowest, int64(reserve+mebibyte), "everything else may be used")
	require.Equal(t, before, free(t, disk), "nothing is left behind")

	// Others fill the disk meanwhile: seen at the next look, within 8 MiB.
	filler, count := filepath.Join(disk, "filler"), 0
	full(watched{io.LimitReader(zeros{}, 20*mebibyte), func() {
		if count++; count == 2 {
			require.NoError(t, os.WriteFile(filler, make([]byte, free(t, disk)-reserve-mebibyte), 0o600))
		}
	}})

	// Too full from the beginning: nothing is read.
	require.NoError(t, os.WriteFile(filler, make([]byte, before-reserve/2), 0o600))
	full(iotest.ErrReader(errors.New("read")))

	require.NoError(t, os.Remove(filler))
	received, err := s.Receive(t.Context(), image, io.LimitReader(zeros{}, 40*mebibyte))
	require.NoError(t, err, "refused uploads keep no place")
	require.NoError(t, received.Keep(yes, yes))
	require.Equal(t, []string{image}, inside(t, directory))
}

func TestUploadsAtOnce(t *testing.T) {
	s, directory := open(t)
	ids := make([]string, maxReceiving+1)
	for i := range ids {
		ids[i] = fmt.Sprintf("01890a5d-0000-774b-bcce-%012d", i)
	}
	senders, ended := make([]*io.PipeWriter, maxReceiving), make(chan *Received)
	for i := range senders {
		data, sender := io.Pipe()
		senders[i] = sender
		go func() {
			received, err := s.Receive(t.Context(), ids[i], data)
			if err != nil {
				t.Error(err)
			}
			ended <- received
		}()
		_, err := sender.Write([]byte("some")) // returns once it is being received
		require.NoError(t, err)
	}
	refused := func(id string, code v1.Code) {
		t.Helper()
		_, err := s.Receive(t.Context(), id, strings.NewReader("x"))
		require.Equal(t, code, v1.CodeOf(err), "%v", err)
		require.Len(t, inside(t, directory), maxReceiving)
	}
	last := ids[maxReceiving]
	refused(ids[0], v1.CodeConflict)
	refused(last, v1.CodeUnavailable)

	require.NoError(t, senders[0].Close())
	first := <-ended
	refused(ids[0], v1.CodeConflict) // arrived, and not decided yet
	refused(last, v1.CodeUnavailable)
	first.Discard()
	second := receive(t, s, last, "x")
	first.Discard() // again: it must not give away another's place
	_, err := s.Receive(t.Context(), ids[0], strings.NewReader("x"))
	require.Equal(t, v1.CodeUnavailable, v1.CodeOf(err))
	require.NoError(t, second.Keep(yes, yes))
	second.Discard()
	require.Contains(t, inside(t, directory), last, "kept is kept")
	receive(t, s, ids[0], "x").Discard()

	for _, sender := range senders[1:] {
		require.NoError(t, sender.Close())
		(<-ended).Discard()
	}
	require.Equal(t, []string{last}, inside(t, directory))
	require.Empty(t, s.receiving)
}
