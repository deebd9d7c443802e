package testbed

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	v1 "github.com/coloa-cloud/coloa/api/v1"
)

// spooled lists what a controller keeps of uploads, parts included.
func (w *world) spooled() []string {
	w.Helper()
	entries, err := os.ReadDir(filepath.Join(w.cloud.Options.Dir, "c1", "images"))
	require.NoError(w, err)
	var names []string
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names
}

func (w *world) image(id string) *v1.Image {
	return w.leader().get().Store().Snapshot().Image(id)
}

// trickle gives a body that stops in the middle until it is told to go on or to break.
type trickle struct {
	first  io.Reader
	onward chan error // nil goes on to the end
	last   io.Reader
}

func (s *trickle) Read(p []byte) (int, error) {
	if n, err := s.first.Read(p); err == nil {
		return n, nil
	}
	if s.onward != nil {
		if err := <-s.onward; err != nil {
			return 0, err
		}
		s.onward = nil
	}
	return s.last.Read(p)
}

// TestUploads: whatever goes wrong with an upload, nothing of it stays, and the image waits for the next one.
func TestUploads(t *testing.T) {
	w := newWorld(t, Options{Controllers: 1, Hosts: 1})
	base := w.spooled() // of the image that the testbed made
	data := bytes.Repeat([]byte("coloa..."), 1<<14)
	sum := sha256.Sum256(data)
	digest := hex.EncodeToString(sum[:])
	waiting := func(id string) {
		t.Helper()
		require.Eventually(t, func() bool { return len(w.spooled()) == len(base) }, 5*time.Second, 5*time.Millisecond, "%v", w.spooled())
		image := w.image(id)
		require.Equal(t, v1.ImageWaiting, image.Status.Phase)
		require.Empty(t, image.Status.Keeper)
		require.Empty(t, image.Status.SHA256)
		require.Zero(t, image.Status.SizeBytes)
		contents, err := w.cloud.Hosts[0].Disks.Contents(t.Context())
		require.NoError(t, err)
		require.Len(t, contents.Images, len(base))
	}

	id := w.make("red-member", "/v1/images", "promised", "red", v1.ImageSpec{Format: v1.FormatRaw, SHA256: digest})
	path := "/v1/images/" + id + "/data"
	t.Run("refused at once", func(t *testing.T) {
		w := w.on(t)
		waiting(id)
		w.refused(400, v1.CodeMalformed, "red-member", "PUT", path, []byte{})
		waiting(id)
		problem := w.refused(422, v1.CodeInvalidImage, "red-member", "PUT", path, data[1:])
		require.Contains(t, problem.Detail, digest)
		waiting(id)
		w.refused(403, v1.CodeDenied, "red-reader", "PUT", path, data)
		w.refused(404, v1.CodeNotFound, "blue-member", "PUT", path, data)
		require.Equal(t, 415, w.do("red-member", "PUT", path, data, "Content-Type: application/json").status)
		waiting(id)
		problem = w.refused(409, v1.CodeWrongState, "red-member", "POST", "/v1/vms", draft("x", "red", running(func(s *v1.VMSpec) { s.Image = "promised" })))
		require.Equal(t, "spec.image", problem.Field)
	})
	t.Run("cut off", func(t *testing.T) {
		w := w.on(t)
		for _, sized := range []bool{true, false} {
			body := &trickle{first: bytes.NewReader(data[:1000]), onward: make(chan error, 1), last: bytes.NewReader(nil)}
			request, err := http.NewRequestWithContext(t.Context(), "PUT", w.cloud.Endpoints()[0]+path, body)
			require.NoError(t, err)
			if sized {
				request.ContentLength = int64(len(data))
			}
			request.Header.Set("Authorization", "Bearer "+w.secrets["red-member"])
			request.Header.Set("Content-Type", "application/octet-stream")
			ended := make(chan error, 1)
			go func() {
				response, err := w.http.Do(request)
				if err == nil {
					err = response.Body.Close()
				}
				ended <- err
			}()
			require.Eventually(t, func() bool { return len(w.spooled()) == len(base)+1 }, 5*time.Second, time.Millisecond)
			body.onward <- errors.New("the line breaks")
			require.Error(t, <-ended)
			waiting(id)
		}
	})
	t.Run("the client goes away", func(t *testing.T) {
		w := w.on(t)
		ctx, cancel := context.WithCancel(t.Context())
		body := &trickle{first: bytes.NewReader(data[:1000]), onward: make(chan error), last: bytes.NewReader(nil)}
		request, err := http.NewRequestWithContext(ctx, "PUT", w.cloud.Endpoints()[0]+path, body)
		require.NoError(t, err)
		request.Header.Set("Authorization", "Bearer "+w.secrets["red-member"])
		request.Header.Set("Content-Type", "application/octet-stream")
		ended := make(chan error, 1)
		go func() { _, err := w.http.Do(request); ended <- err }() //nolint:bodyclose // there is none
		require.Eventually(t, func() bool { return len(w.spooled()) == len(base)+1 }, 5*time.Second, time.Millisecond)
		cancel()
		require.Error(t, <-ended)
		close(body.onward)
		waiting(id)
	})
	t.Run("wrong format", func(t *testing.T) {
		w := w.on(t)
		for name, bad := range map[string][]byte{
			"not-qcow2": data,
			"backed":    append([]byte("QFI\xfb\x00\x00\x00\x03\x00\x00\x00\x00\x00\x00\x00\x68\x00\x00\x00\x0b"), bytes.Repeat([]byte{0}, 4096)...),
			"cut-short": []byte("QFI\xfb\x00\x00"),
		} {
			id := w.make("red-member", "/v1/images", name, "red", v1.ImageSpec{Format: v1.FormatQCOW2})
			started := w.must(202, "red-member", "PUT", "/v1/images/"+id+"/data", bad)
			operation := w.ended(started.header.Get("Coloa-Operation"))
			require.Equal(t, v1.OperationFailed, operation.Status.State, name)
			require.Equal(t, v1.CodeInvalidImage, operation.Status.Error.Code, name)
			require.NotEmpty(t, operation.Status.Error.Detail)
			waiting(id)
			w.remove("red-member", "/v1/images/"+id)
		}
	})
	t.Run("twice", func(t *testing.T) {
		w := w.on(t)
		// Two at once: the later one is refused, and does not disturb the first.
		slow := &trickle{first: bytes.NewReader(data[:1000]), onward: make(chan error, 1), last: bytes.NewReader(data[1000:])}
		first := make(chan reply, 1)
		go func() { first <- w.do("both", "PUT", path, slow) }()
		require.Eventually(t, func() bool { return len(w.spooled()) == len(base)+1 }, 5*time.Second, time.Millisecond)
		got := w.do("red-member", "PUT", path, data)
		w.gate.close()
		slow.onward <- nil
		started := <-first
		require.Equal(t, v1.CodeConflict, got.code(), got.body)
		require.Equal(t, 202, started.status, started.body)
		require.Contains(t, started.body, `"phase":"Importing"`)
		require.Len(t, w.spooled(), len(base)+1)
		w.refused(409, v1.CodeWrongState, "red-member", "PUT", path, data) // while it is imported
		kept, err := os.ReadFile(filepath.Join(w.cloud.Options.Dir, "c1", "images", id))
		require.NoError(t, err)
		require.Equal(t, data, kept)
		w.gate.open()
		w.finish(started)
		w.refused(409, v1.CodeWrongState, "red-member", "PUT", path, data) // and afterwards
		var image v1.Image
		require.NoError(t, json.Unmarshal([]byte(w.must(200, "red-reader", "GET", "/v1/images/"+id, nil).body), &image))
		require.Equal(t, v1.ImageAvailable, image.Status.Phase)
		require.Equal(t, digest, image.Status.SHA256)
		require.EqualValues(t, len(data), image.Status.SizeBytes)
	})
	t.Run("deleted", func(t *testing.T) {
		w := w.on(t)
		w.remove("red-member", "/v1/images/"+id)
		require.Eventually(t, func() bool { return len(w.spooled()) == len(base) }, 5*time.Second, 5*time.Millisecond, "the bytes of a deleted image stay")
		// Deleted while it is uploaded: nothing of it stays.
		id := w.make("red-member", "/v1/images", "vanishes", "red", v1.ImageSpec{Format: v1.FormatRaw})
		slow := &trickle{first: bytes.NewReader(data[:1000]), onward: make(chan error, 1), last: bytes.NewReader(data[1000:])}
		uploaded := make(chan reply, 1)
		go func() { uploaded <- w.do("red-member", "PUT", "/v1/images/"+id+"/data", slow) }()
		require.Eventually(t, func() bool { return len(w.spooled()) == len(base)+1 }, 5*time.Second, time.Millisecond)
		w.remove("red-member", "/v1/images/"+id)
		slow.onward <- nil
		require.Equal(t, v1.CodeNotFound, (<-uploaded).code())
		require.Len(t, w.spooled(), len(base))
	})
}
