// Package spool keeps the uploaded bytes of images in a directory of this controller, from which hosts fetch them.
package spool

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	v1 "github.com/coloa-cloud/coloa/api/v1"
)

// Spool is the directory. Files are named by the image's id; one that is still being received ends in ".part-<random>".
type Spool struct {
	directory string
	mu        sync.Mutex // held while it is decided what is kept

	receivingMu sync.Mutex
	receiving   map[string]struct{} // ids of the images whose bytes arrive now
}

// Open makes the directory if need be (mode 0700), and throws away what an interrupted upload left.
func Open(directory string) (*Spool, error) {
	if err := os.MkdirAll(directory, 0o700); err != nil {
		return nil, err
	}
	parts, err := filepath.Glob(filepath.Join(directory, "*.part-*"))
	if err != nil {
		return nil, err
	}
	for _, part := range parts {
		if err := os.Remove(part); err != nil {
			return nil, err
		}
	}
	return &Spool{directory: directory, receiving: map[string]struct{}{}}, nil
}

// Received is an upload that has arrived whole and is not kept yet: end it with Keep or Discard, which make room for
// another upload of the same image.
type Received struct {
	SHA256 string // hexadecimal
	Size   int64  // bytes
	spool  *Spool
	id     string
	part   string
	ended  sync.Once
}

// Receive takes the bytes of an image in, without touching what is kept for it. On an error nothing is left. Errors: CodeConflict (an upload of this image
// is on its way), CodeUnavailable (too many uploads), CodeNoSpace (nothing but the disk's reserve is free), CodeInvalidImage (cut off), or the reader's problem.
func (s *Spool) Receive(ctx context.Context, id string, data io.Reader) (_ *Received, err error) {
	if !v1.IsID(id) {
		return nil, fmt.Errorf("%q is no image id", id)
	}
	if err := s.enter(id); err != nil {
		return nil, err
	}
	received := &Received{spool: s, id: id}
	left, err := room(s.directory)
	if err == nil && left <= 0 {
		err = syscall.ENOSPC
	}
	if err != nil {
		received.Discard()
		return nil, s.explain(err)
	}
	part, err := os.CreateTemp(s.directory, id+".part-")
	if err != nil {
		received.Discard()
		return nil, s.explain(err)
	}
	received.part = part.Name()
	defer func() {
		_ = part.Close() // closed and checked before on success
		if err != nil {
			received.Discard()
		}
	}()
	hash := sha256.New()
	if received.Size, err = io.Copy(io.MultiWriter(&reservedWriter{Writer: part, directory: s.directory}, hash), contextReader{ctx, data}); err != nil {
		return nil, s.explain(err)
	}
	if err = part.Sync(); err != nil {
		return nil, s.explain(err)
	}
	if err = part.Close(); err != nil {
		return nil, s.explain(err)
	}
	received.SHA256 = hex.EncodeToString(hash.Sum(nil))
	return received, nil
}

// Discard throws the upload away. Doing so again, or after Keep, does nothing.
func (r *Received) Discard() {
	r.ended.Do(func() {
		_ = os.Remove(r.part) // there is none once it is kept; Open removes it at the latest
		r.spool.leave(r.id)
	})
}

// Keep keeps the bytes under the image's id if check allows it, and throws them away again when decide then fails, unless its outcome is not known. One upload is
// kept at a time: of two uploads of one image the later one must not replace bytes that are being imported, or be swept away between check and decide.
func (r *Received) Keep(check, decide func() error) error {
	r.spool.mu.Lock()
	defer r.spool.mu.Unlock()
	defer r.Discard() // nothing is there any more once it is kept
	if err := check(); err != nil {
		return err
	}
	if err := os.Rename(r.part, r.spool.path(r.id)); err != nil {
		return r.spool.explain(err)
	}
	err := syncDirectory(r.spool.directory)
	if err != nil {
		err = r.spool.explain(err)
	} else {
		err = decide()
	}
	if err != nil && v1.CodeOf(err) != v1.CodeOutcomeUnknown {
		return errors.Join(err, r.spool.remove(r.id))
	}
	return err
}

// Open opens the kept bytes of an image; os.ErrNotExist when there are none.
func (s *Spool) Open(id string) (*os.File, error) {
	if !v1.IsID(id) {
		return nil, os.ErrNotExist
	}
	return os.Open(s.path(id))
}

// remove throws the bytes of an image away; nil when there are none. It needs the lock.
func (s *Spool) remove(id string) error {
	if err := os.Remove(s.path(id)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// List returns the ids of the images whose bytes are kept here.
func (s *Spool) List() ([]string, error) {
	entries, err := os.ReadDir(s.directory)
	if err != nil {
		return nil, err
	}
	var ids []string
	for _, entry := range entries {
		if !strings.Contains(entry.Name(), ".part-") {
			ids = append(ids, entry.Name())
		}
	}
	return ids, nil
}

func (s *Spool) path(id string) string { return filepath.Join(s.directory, id) }

// explain turns an error into one that says which disk, and what to do.
func (s *Spool) explain(err error) error {
	var problem *v1.Problem
	switch {
	case errors.As(err, &problem):
		return problem
	case errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT):
		return v1.NewProblem(v1.CodeNoSpace, "the controller's disk for uploads (%s) is full: what is left of it is kept in reserve", s.directory).
			WithNext("Ask the operators to free space on that disk or to enlarge it, then send the file again; or use a smaller file (qcow2 leaves out what is empty).")
	case errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded):
		return v1.NewProblem(v1.CodeInvalidImage, "the upload was cut off").WithNext("Send the file again.")
	}
	return v1.NewProblem(v1.CodeInternal, "the upload could not be kept in %s: %v", s.directory, err)
}

func syncDirectory(path string) error {
	directory, err := os.Open(path)
	if err != nil {
		return err
	}
	defer directory.Close()
	return directory.Sync()
}

type contextReader struct {
	ctx  context.Context
	data io.Reader
}

func (r contextReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.data.Read(p)
}
