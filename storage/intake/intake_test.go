package intake

import (
	"bytes"
	"context"
	"errors"
	"io"
	"syscall"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coloa-cloud/coloa/storage"
)

func raw(data io.Reader) storage.ImageSource {
	return storage.ImageSource{ID: "a", Format: storage.FormatRaw, Data: data}
}

func TestEveryByteArrives(t *testing.T) {
	for _, length := range []int{512, 64 << 10, 64<<10 + 512, chunkBytes, 3*chunkBytes + 1024} {
		data := bytes.Repeat([]byte("0123456789abcdef"), length/16)
		for name, reader := range map[string]io.Reader{
			"plain": bytes.NewReader(data), "end with data": iotest.DataErrReader(bytes.NewReader(data)), "half reads": iotest.HalfReader(bytes.NewReader(data)),
		} {
			var received bytes.Buffer
			info, err := Receive(t.Context(), &received, raw(reader))
			require.NoError(t, err, "%s %d", name, length)
			require.Equal(t, int64(length), info.UploadBytes)
			require.True(t, bytes.Equal(data, received.Bytes()), "%s %d", name, length)
		}
	}
}

func TestReaderFails(t *testing.T) {
	wrapped := errors.Join(errors.New("proxy"), io.EOF)
	for _, failure := range []error{errors.New("gone"), io.ErrUnexpectedEOF, wrapped} {
		for _, length := range []int{0, 512, 64 << 10, 1 << 20} {
			reader := io.MultiReader(bytes.NewReader(make([]byte, length)), iotest.ErrReader(failure))
			_, err := Receive(t.Context(), io.Discard, raw(reader))
			require.ErrorIs(t, err, failure, "a failure is no end, even if it wraps EOF")
			require.NotErrorIs(t, err, storage.ErrInvalidImage)
		}
	}
}

type failingWriter struct{ err error }

func (w failingWriter) Write([]byte) (int, error) { return 0, w.err }

func TestDestinationFails(t *testing.T) {
	for failure, expected := range map[error]error{syscall.ENOSPC: storage.ErrNoSpace, syscall.EDQUOT: storage.ErrNoSpace, syscall.EIO: syscall.EIO} {
		_, err := Receive(t.Context(), failingWriter{failure}, raw(bytes.NewReader(make([]byte, 512))))
		require.ErrorIs(t, err, expected)
	}
}

func TestNothingIsWrittenBeforeTheHeaderIsChecked(t *testing.T) {
	var received bytes.Buffer
	source := raw(bytes.NewReader(make([]byte, 1<<20)))
	source.Format = storage.FormatQCOW2
	_, err := Receive(t.Context(), &received, source)
	require.ErrorIs(t, err, storage.ErrInvalidImage)
	require.Zero(t, received.Len())
}

func TestStalledUploadEndsWithContext(t *testing.T) {
	reader, _ := io.Pipe()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	_, err := Receive(ctx, io.Discard, raw(reader))
	require.ErrorIs(t, err, context.DeadlineExceeded)
}
