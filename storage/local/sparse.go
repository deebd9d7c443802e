package local

import (
	"bytes"
	"fmt"
	"os"

	"github.com/coloa-cloud/coloa/storage"
)

// sparseBlock is how many zero bytes in a row become a hole.
const sparseBlock = 64 << 10

var zeros [sparseBlock]byte

// sparseFile writes an upload without its zeros: an empty disk of 1 TiB must not fill the pool on its way in. It stops at its
// budget, and where the file system has only its reserve left.
type sparseFile struct {
	file      *os.File
	offset    int64
	budget    int64                 // bytes that may still be really written
	room      func() (int64, error) // bytes above the reserve
	allowance int64                 // bytes that may still be written before the next look at room
}

func (s *sparseFile) Write(data []byte) (int, error) {
	written := 0
	for len(data) > 0 {
		block := data[:min(len(data), sparseBlock)]
		if !bytes.Equal(block, zeros[:len(block)]) {
			if err := s.spend(int64(len(block))); err != nil {
				return written, err
			}
			if _, err := s.file.WriteAt(block, s.offset); err != nil {
				return written, err
			}
		}
		s.offset += int64(len(block))
		written += len(block)
		data = data[len(block):]
	}
	return written, nil
}

// spend allows a few bytes to be written, or says that they have no place.
func (s *sparseFile) spend(length int64) error {
	if length > s.allowance {
		left, err := s.room()
		if err != nil {
			return err
		}
		s.allowance = min(left, lookEvery)
	}
	s.allowance -= length
	s.budget -= length
	if s.allowance < 0 || s.budget < 0 {
		return fmt.Errorf("%w: the upload is larger than what is free above the reserve", storage.ErrNoSpace)
	}
	return nil
}

// finish gives the file its length, which a trailing hole has not.
func (s *sparseFile) finish() error { return s.file.Truncate(s.offset) }
