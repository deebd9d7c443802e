// Package passable makes folders on the way to files that a guest's qemu opens. It runs as another user: it must get through, and need not look around.
package passable

import (
	"errors"
	"os"
	"path/filepath"
)

// Mode lets everybody through, and only root list and write.
const Mode os.FileMode = 0o711

// Make makes the folder, and those above it that are missing, with Mode whatever the umask. A folder that is there gets Mode too; those above it that
// are there belong to somebody else and stay as they are.
func Make(path string) error {
	parent := filepath.Dir(path)
	if _, err := os.Stat(parent); errors.Is(err, os.ErrNotExist) {
		if err := Make(parent); err != nil {
			return err
		}
	} else if err != nil {
		return err
	}
	if err := os.Mkdir(path, Mode); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	return os.Chmod(path, Mode)
}
