package storage

import (
	"fmt"
	"strings"
)

// Bounds of what a driver accepts, in bytes.
const (
	MiB = int64(1) << 20
	// MaxVolumeBytes is the largest volume. It is far above any flavor; it keeps sums of sizes away from overflow.
	MaxVolumeBytes = int64(64) << 40
	// DefaultMaxImageBytes bounds an image's virtual size when its source does not say.
	DefaultMaxImageBytes = int64(2) << 40
	// MaxIDLength is the length of the longest id, in bytes.
	MaxIDLength = 64
)

// CheckID returns ErrInvalid unless id may become a file name, a command's argument and an RBD image's name as it stands:
// [a-z0-9-], at most 64 characters, not beginning with "-".
func CheckID(id string) error {
	if id == "" {
		return fmt.Errorf("%w: the id is empty", ErrInvalid)
	}
	if len(id) > MaxIDLength {
		return fmt.Errorf("%w: the id has %d characters, at most %d are allowed", ErrInvalid, len(id), MaxIDLength)
	}
	if id[0] == '-' {
		return fmt.Errorf("%w: the id %q begins with a dash", ErrInvalid, id)
	}
	if strings.ContainsFunc(id, outsideAlphabet) {
		return fmt.Errorf("%w: the id %q has other characters than a-z, 0-9 and the dash", ErrInvalid, id)
	}
	return nil
}

func outsideAlphabet(r rune) bool {
	return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-'
}

// CheckSize returns ErrInvalid unless size is a volume's size: a positive multiple of 1 MiB, at most MaxVolumeBytes.
func CheckSize(size int64) error {
	if size <= 0 || size > MaxVolumeBytes || size%MiB != 0 {
		return fmt.Errorf("%w: a volume of %d bytes; sizes are multiples of 1 MiB, up to %d", ErrInvalid, size, MaxVolumeBytes)
	}
	return nil
}

// Check returns ErrInvalid when the source cannot exist.
func (s VolumeSource) Check() error {
	if s.ImageID == "" {
		return nil
	}
	return CheckID(s.ImageID)
}
