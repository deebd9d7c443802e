package seed

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/diskfs/go-diskfs/backend/file"
	"github.com/diskfs/go-diskfs/filesystem/iso9660"

	"github.com/coloa-cloud/coloa/agent/internal/passable"
	v1 "github.com/coloa-cloud/coloa/api/v1"
)

// Label is the volume label by which cloud-init finds the seed.
const Label = "cidata"

// Write makes the ISO image at path (ISO 9660 with Rock Ridge), whole and on the disk when it returns. One that is there already stays: the seed
// of an Instance never changes.
func Write(path string, from v1.Seed) error {
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	if err := write(path, from); err != nil {
		return fmt.Errorf("make the cloud-init seed: %w", err)
	}
	return nil
}

func write(path string, from v1.Seed) error {
	contents, err := Contents(from)
	if err != nil {
		return err
	}
	// qemu runs as another user: it passes through this folder to a file that libvirt has given it.
	folder := filepath.Dir(path)
	if err := passable.Make(folder); err != nil {
		return err
	}
	work, err := os.MkdirTemp(folder, ".work-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(work) }() // what a crash leaves is removed by Clean
	sources, image := filepath.Join(work, "files"), filepath.Join(work, "seed.iso")
	if err := os.Mkdir(sources, 0o755); err != nil {
		return err
	}
	for name, data := range contents {
		// Modes go into the image: the guest's root reads it, its users should not.
		if err := os.WriteFile(filepath.Join(sources, name), data, 0o600); err != nil {
			return err
		}
	}
	if err := build(image, sources); err != nil {
		return err
	}
	if err := os.Rename(image, path); err != nil {
		return err
	}
	return sync(folder)
}

func build(image, sources string) error {
	output, err := os.OpenFile(image, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = output.Close() }() // closed with its error below; this is for the failures before
	filesystem, err := iso9660.Create(file.New(output, false), 0, 0, 2048, sources)
	if err != nil {
		return err
	}
	if err := filesystem.Finalize(iso9660.FinalizeOptions{RockRidge: true, VolumeIdentifier: Label}); err != nil {
		return err
	}
	if err := output.Sync(); err != nil {
		return err
	}
	return output.Close()
}

func sync(folder string) error {
	handle, err := os.Open(folder)
	if err != nil {
		return err
	}
	return errors.Join(handle.Sync(), handle.Close())
}

// Clean removes what an interrupted Write left in the folder. Nobody may be writing there.
func Clean(folder string) error {
	left, err := filepath.Glob(filepath.Join(folder, ".work-*"))
	if err != nil {
		return err
	}
	for _, each := range left {
		err = errors.Join(err, os.RemoveAll(each))
	}
	return err
}
