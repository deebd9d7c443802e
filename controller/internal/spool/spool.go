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
	"syscall"

	v1 "github.com/coloa-cloud/coloa/api/v1"
)

// Spool is the directory. Files are named by the image's id; one that is still being received ends in ".part-<random>".
type Spool struct{ directory string }

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
	return &Spool{directory}, nil
}

// Store keeps data under id and returns its SHA-256 (hexadecimal) and size. On an error nothing is kept. Of two uploads of one image at once the later end wins.
func (s *Spool) Store(ctx context.Context, id string, data io.Reader) (digest string, size int64, err error) {
	if !v1.IsID(id) {
		return "", 0, fmt.Errorf("%q is no image id", id)
	}
	part, err := os.CreateTemp(s.directory, id+".part-")
	if err != nil {
		return "", 0, s.explain(err)
	}
	defer func() {
		_ = part.Close() // closed and checked before on success
		if err != nil {
			_ = os.Remove(part.Name()) // Open removes it at the latest
		}
	}()
	hash := sha256.New()
	size, err = io.Copy(io.MultiWriter(part, hash), contextReader{ctx, data})
	if err != nil {
		return "", 0, s.explain(err)
	}
	if err = part.Sync(); err != nil {
		return "", 0, s.explain(err)
	}
	if err = part.Close(); err != nil {
		return "", 0, s.explain(err)
	}
	if err = os.Rename(part.Name(), s.path(id)); err != nil {
		return "", 0, s.explain(err)
	}
	if err = syncDirectory(s.directory); err != nil {
		return "", 0, s.explain(err)
	}
	return hex.EncodeToString(hash.Sum(nil)), size, nil
}

// Open opens the kept bytes of an image; os.ErrNotExist when there are none.
func (s *Spool) Open(id string) (*os.File, error) {
	if !v1.IsID(id) {
		return nil, os.ErrNotExist
	}
	return os.Open(s.path(id))
}

// Remove throws the bytes of an image away; nil when there are none.
func (s *Spool) Remove(id string) error {
	if !v1.IsID(id) {
		return nil
	}
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
		return v1.NewProblem(v1.CodeNoSpace, "the controller's disk for uploads (%s) is full", s.directory).WithNext("Ask the operators to free space, then send the file again.")
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
