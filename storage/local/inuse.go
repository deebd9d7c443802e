package local

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/coloa-cloud/coloa/storage"
)

// qemu says what it does with an image by locks on single bytes of the file: from 100 on for what it uses, from 200 on for what it does
// not let others do (block/file-posix.c). Whoever has a disk open holds some byte of these.
const (
	firstLockByte = 100
	lockBytes     = 200
)

// lockOut takes all of qemu's lock bytes of a disk, so that no guest has it open and none can open it until release. ErrInUse when one has.
// A disk that is not there is nobody's.
func lockOut(path string) (release func(), err error) {
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, os.ErrNotExist) {
		return func() {}, nil
	}
	if err != nil {
		return nil, err
	}
	err = unix.FcntlFlock(file.Fd(), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_WRLCK, Start: firstLockByte, Len: lockBytes})
	if err == nil {
		return func() { _ = file.Close() }, nil
	}
	_ = file.Close()
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES) {
		return nil, fmt.Errorf("%w: a guest or another program has the disk open", storage.ErrInUse)
	}
	return nil, fmt.Errorf("lock %s: %w", path, err)
}
