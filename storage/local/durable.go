package local

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// makeParents makes the directories on the way to path that are missing, passable for qemu's user whatever the umask. Those that are there are
// somebody else's, and stay as they are.
func makeParents(path string) error {
	parent := filepath.Dir(path)
	if _, err := os.Stat(parent); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := makeParents(parent); err != nil {
		return err
	}
	return makeDir(parent, passMode)
}

// makeDir makes one directory with exactly this mode, whatever the umask; one that is there gets the mode too.
func makeDir(path string, mode os.FileMode) error {
	if err := os.Mkdir(path, mode); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	return os.Chmod(path, mode)
}

// syncPath puts a file's content, or a directory's entries, on the disk.
func syncPath(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(file.Sync(), file.Close())
}

func syncDir(path string) error { return syncPath(path) }

// settle gives a finished file its mode and puts it on the disk.
func settle(path string, mode os.FileMode) error {
	if err := os.Chmod(path, mode); err != nil {
		return err
	}
	return syncPath(path)
}

func writeFacts(path string, facts any) error {
	data, err := json.MarshalIndent(facts, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(path, append(data, '\n'), factsMode); err != nil {
		return err
	}
	return settle(path, factsMode)
}

// publish makes a finished directory visible under its final name, for good.
func publish(work, final string) error {
	if err := os.Chmod(work, passMode); err != nil {
		return err
	}
	if err := syncDir(work); err != nil {
		return err
	}
	if err := os.Rename(work, final); err != nil {
		return err
	}
	return syncDir(filepath.Dir(final))
}

// withdraw is publish backwards: the directory loses its name at once and for good, then its bytes go. A crash in between leaves them
// in tmp, for Open to remove.
func (d *Driver) withdraw(final string) error {
	grave, err := os.MkdirTemp(d.tmpDir(), "gone-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(grave) }() // an error here loses space until the next Open, and nothing else
	if err := os.Rename(final, filepath.Join(grave, "object")); err != nil {
		return err
	}
	return syncDir(filepath.Dir(final))
}

// allocatedBytes sums up what the files below root really take.
func allocatedBytes(ctx context.Context, root string) (int64, error) {
	total := int64(0)
	err := filepath.WalkDir(root, func(_ string, entry fs.DirEntry, err error) error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil // removed while we walk
		}
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		if stat, ok := info.Sys().(*syscall.Stat_t); ok {
			total += stat.Blocks * 512
		}
		return nil
	})
	return total, err
}
