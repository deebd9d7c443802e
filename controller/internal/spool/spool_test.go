package spool

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	v1 "github.com/coloa-cloud/coloa/api/v1"
	"github.com/coloa-cloud/coloa/controller/internal/state"
)

const (
	image   = "01890a5d-0000-774b-bcce-000000000001"
	another = "01890a5d-0000-774b-bcce-000000000002"
	project = "01890a5d-0000-774b-bcce-00000000000a"
)

func yes() error { return nil }

func open(t *testing.T) (*Spool, string) {
	t.Helper()
	directory := filepath.Join(t.TempDir(), "images")
	s, err := Open(directory)
	require.NoError(t, err)
	return s, directory
}

// inside lists the files, parts included.
func inside(t *testing.T, directory string) []string {
	t.Helper()
	entries, err := os.ReadDir(directory)
	require.NoError(t, err)
	names := []string{}
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names
}

func content(t *testing.T, s *Spool, id string) string {
	t.Helper()
	file, err := s.Open(id)
	require.NoError(t, err)
	defer func() { require.NoError(t, file.Close()) }()
	data, err := io.ReadAll(file)
	require.NoError(t, err)
	return string(data)
}

func receive(t *testing.T, s *Spool, id, text string) *Received {
	t.Helper()
	received, err := s.Receive(t.Context(), id, strings.NewReader(text))
	require.NoError(t, err)
	sum := sha256.Sum256([]byte(text))
	require.Equal(t, hex.EncodeToString(sum[:]), received.SHA256)
	require.EqualValues(t, len(text), received.Size)
	return received
}

func TestKeep(t *testing.T) {
	s, directory := open(t)
	info, err := os.Stat(directory)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o700), info.Mode().Perm())
	received := receive(t, s, image, "bytes")
	_, err = s.Open(image)
	require.ErrorIs(t, err, os.ErrNotExist, "nothing is there before it is kept")
	decided := false
	require.NoError(t, received.Keep(yes, func() error {
		decided = true
		require.Equal(t, "bytes", content(t, s, image), "a host may ask for them as soon as it is decided")
		return nil
	}))
	require.True(t, decided)
	require.Equal(t, []string{image}, inside(t, directory))
	ids, err := s.List()
	require.NoError(t, err)
	require.Equal(t, []string{image}, ids)

	// A second upload that is not allowed leaves the first one's bytes alone.
	no := errors.New("no")
	require.ErrorIs(t, receive(t, s, image, "other").Keep(func() error { return no }, func() error { t.Fatal("decided"); return nil }), no)
	require.Equal(t, "bytes", content(t, s, image))
	require.Equal(t, []string{image}, inside(t, directory))

	// One that is not decided leaves nothing; one of which nobody knows stays, for it may have been decided.
	require.ErrorIs(t, receive(t, s, another, "other").Keep(yes, func() error { return no }), no)
	require.Equal(t, []string{image}, inside(t, directory))
	require.Error(t, receive(t, s, another, "other").Keep(yes, func() error { return v1.NewProblem(v1.CodeOutcomeUnknown, "lost") }))
	require.Equal(t, []string{image, another}, inside(t, directory))

	receive(t, s, image, "x").Discard()
	require.Equal(t, []string{image, another}, inside(t, directory))
}

// TestOneAtATime: of many uploads of one image at once, the bytes that are kept are those that were decided on.
func TestOneAtATime(t *testing.T) {
	s, directory := open(t)
	var chosen string
	var all sync.WaitGroup
	for n := range 16 {
		all.Go(func() {
			text := strings.Repeat(string(rune('a'+n)), 100)
			received, err := s.Receive(t.Context(), image, strings.NewReader(text))
			for v1.CodeOf(err) == v1.CodeConflict { // another one is on its way
				time.Sleep(time.Millisecond)
				received, err = s.Receive(t.Context(), image, strings.NewReader(text))
			}
			if err != nil {
				t.Error(err)
				return
			}
			_ = received.Keep(func() error {
				if chosen != "" {
					return errors.New("it has its bytes")
				}
				return nil
			}, func() error { chosen = text; return nil }) // only one may succeed
		})
	}
	all.Wait()
	require.Equal(t, chosen, content(t, s, image))
	require.Equal(t, []string{image}, inside(t, directory))
}

func TestInterrupted(t *testing.T) {
	s, directory := open(t)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	problem := v1.NewProblem(v1.CodeTooLarge, "too large")
	for _, line := range []struct {
		ctx  context.Context
		data io.Reader
		id   string
		code v1.Code
	}{
		{t.Context(), io.MultiReader(strings.NewReader("some"), iotest.ErrReader(io.ErrUnexpectedEOF)), image, v1.CodeInvalidImage},
		{t.Context(), iotest.ErrReader(os.ErrDeadlineExceeded), image, v1.CodeInvalidImage},
		{t.Context(), iotest.ErrReader(problem), image, v1.CodeTooLarge},
		{t.Context(), iotest.ErrReader(errors.New("strange")), image, v1.CodeInternal},
		{ended, strings.NewReader("some"), image, v1.CodeInvalidImage},
		{t.Context(), strings.NewReader("some"), "../../etc/passwd", v1.CodeInternal},
		{t.Context(), strings.NewReader("some"), "", v1.CodeInternal},
	} {
		_, err := s.Receive(line.ctx, line.id, line.data)
		require.Equal(t, line.code, v1.CodeOf(err), "%v", err)
		require.Empty(t, inside(t, directory))
	}
	for _, id := range []string{"", ".", "..", "../images", image + ".part-1"} {
		_, err := s.Open(id)
		require.ErrorIs(t, err, os.ErrNotExist)
	}
	// What a crash leaves is thrown away at the next start.
	require.NoError(t, os.WriteFile(filepath.Join(directory, image+".part-123"), []byte("x"), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(directory, another), []byte("x"), 0o600))
	_, err := Open(directory)
	require.NoError(t, err)
	require.Equal(t, []string{another}, inside(t, directory))
}

func TestClean(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, directory := open(t)
		store := state.New()
		index := uint64(0)
		write := func(txn *state.Txn) {
			index++
			require.NoError(t, store.Apply(index, txn))
		}
		stored := func() *v1.Image { return store.Snapshot().Image(image).Clone() }
		write(state.NewTxn(time.Now(), "x").Create(&v1.Project{Meta: v1.Meta{ID: project, Name: "p"}}, "").
			Create(&v1.Image{Meta: v1.Meta{ID: image, Name: "i", Project: project}, Spec: v1.ImageSpec{Format: v1.FormatRaw}, Status: v1.ImageStatus{Phase: v1.ImageImporting, Keeper: "c1"}}, ""))
		keep := func(id string) { require.NoError(t, receive(t, s, id, "x").Keep(yes, yes)) }
		age := func(id string, by time.Duration) {
			at := time.Now().Add(-by)
			require.NoError(t, os.Chtimes(filepath.Join(directory, id), at, at))
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		keep(image)
		keep(another) // of no image
		age(image, 24*time.Hour)
		age(another, settle/2)
		go func() { ended <- s.Clean(ctx, store, "c1", slog.New(slog.NewTextHandler(io.Discard, nil))) }()
		synctest.Wait()
		require.Equal(t, []string{image, another}, inside(t, directory))
		age(another, settle+time.Second)
		time.Sleep(time.Minute)
		synctest.Wait()
		require.Equal(t, []string{image}, inside(t, directory), "what belongs to no image goes once it is old enough; what this member keeps stays")

		refused := stored() // the bytes were refused: at once
		refused.Status.Phase, refused.Status.Keeper = v1.ImageWaiting, ""
		write(state.NewTxn(time.Now(), "x").Update(refused, ""))
		synctest.Wait()
		require.Empty(t, inside(t, directory))

		again := stored()
		again.Status.Keeper = "c1"
		keep(image)
		write(state.NewTxn(time.Now(), "x").Update(again, ""))
		synctest.Wait()
		require.Equal(t, []string{image}, inside(t, directory))
		write(state.NewTxn(time.Now(), "x").Delete(stored(), "")) // deleted
		synctest.Wait()
		require.Empty(t, inside(t, directory))
		cancel()
		require.NoError(t, <-ended)
	})
}
