package spool

import (
	"fmt"
	"io"
	"syscall"

	"golang.org/x/sys/unix"

	v1 "github.com/coloa-cloud/coloa/api/v1"
)

// Uploads never take the last space of a disk: Raft's log and the system's own files may lie on it. What stays free is a share of the file system, at most maxReserve.
const (
	reserveShare = 20      // one part in so many
	maxReserve   = 2 << 30 // bytes
	lookEvery    = 8 << 20 // bytes that may be written before the free space is looked at again
)

// room is how many bytes may be written to the file system of a directory before its reserve is touched, 0 or less when none.
func room(directory string) (int64, error) {
	var stat unix.Statfs_t
	if err := unix.Statfs(directory, &stat); err != nil {
		return 0, fmt.Errorf("free space of %s: %w", directory, err)
	}
	block := int64(stat.Bsize)
	reserve := min(int64(stat.Blocks)*block/reserveShare, maxReserve)
	return int64(stat.Bavail)*block - reserve, nil
}

// reservedWriter writes until the file system of its directory has only its reserve left; then it fails with ENOSPC.
type reservedWriter struct {
	io.Writer
	directory string
	allowance int64 // bytes that may still be written before the next look
}

func (w *reservedWriter) Write(data []byte) (int, error) {
	if int64(len(data)) > w.allowance {
		left, err := room(w.directory)
		if err != nil {
			return 0, err
		}
		if w.allowance = min(left, max(lookEvery, int64(len(data)))); int64(len(data)) > w.allowance {
			return 0, syscall.ENOSPC
		}
	}
	written, err := w.Writer.Write(data)
	w.allowance -= int64(written)
	return written, err
}

// maxReceiving is how many uploads a controller takes in at a time: each may be stopped one look after the reserve is reached, and all share the disk with Raft.
const maxReceiving = 4

// enter takes one of the places for uploads, for this image alone; leave gives it back.
func (s *Spool) enter(id string) error {
	s.receivingMu.Lock()
	defer s.receivingMu.Unlock()
	if _, found := s.receiving[id]; found {
		return v1.NewProblem(v1.CodeConflict, "another upload of this image is on its way").WithNext("Wait until it has ended; send the file again if it fails.")
	}
	if len(s.receiving) >= maxReceiving {
		return v1.NewProblem(v1.CodeUnavailable, "too many uploads: this controller takes in %d at a time", maxReceiving).WithNext("Send the file again when one of them has ended.")
	}
	s.receiving[id] = struct{}{}
	return nil
}

func (s *Spool) leave(id string) {
	s.receivingMu.Lock()
	defer s.receivingMu.Unlock()
	delete(s.receiving, id)
}
