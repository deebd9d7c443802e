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

// sparseFile writes an upload without its zeros: an empty disk of 1 TiB must not fill the pool on its way in. It stops at its budget.
type sparseFile struct {
	file   *os.File
	offset int64
	budget int64 // bytes that may still be really written
}

func (s *sparseFile) Write(data []byte) (int, error) {
	written := 0
	for len(data) > 0 {
		block := data[:min(len(data), sparseBlock)]
		if !bytes.Equal(block, zeros[:len(block)]) {
			if s.budget -= int64(len(block)); s.budget < 0 {
				return written, fmt.Errorf("%w: the upload is larger than what is free", storage.ErrNoSpace)
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

// finish gives the file its length, which a trailing hole has not.
func (s *sparseFile) finish() error { return s.file.Truncate(s.offset) }
