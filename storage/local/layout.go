package local

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sort"

	"github.com/coloa-cloud/coloa/storage"
)

// The pool's layout. An image or volume is a directory that appears and disappears as a whole, by rename: what has its final name is
// complete and on the disk, what is under tmp/ is nobody's.
//
//	images/<id>/disk.qcow2   flat, read-only, our own conversion of the upload
//	images/<id>/image.json
//	volumes/<id>/disk.qcow2  backing file ../../images/<image>/disk.qcow2 when it is a clone
//	volumes/<id>/volume.json
//	tmp/                     work in progress, emptied by Open
//	.lock                    held while the pool is open
const (
	diskName   = "disk.qcow2"
	imageFacts = "image.json"
	volumeFile = "volume.json"
	guardName  = ".lock"
)

// Modes. A guest's qemu runs as another user (libvirt-qemu) and must reach its files; nobody else is to see what lies there.
//   - Directories on the way can be passed through and not listed.
//   - A volume's disk is root's alone: libvirt gives it to the guest's user while the guest runs, and takes it back after.
//   - An image's disk can be read by everybody who knows its id, because many guests have it open at once and it must not
//     depend on who was given it last; it can be written by nobody.
const (
	passMode    os.FileMode = 0o711
	privateMode os.FileMode = 0o700
	volumeMode  os.FileMode = 0o600
	imageMode   os.FileMode = 0o444
	factsMode   os.FileMode = 0o600
)

func (d *Driver) imagesDir() string           { return filepath.Join(d.root, "images") }
func (d *Driver) volumesDir() string          { return filepath.Join(d.root, "volumes") }
func (d *Driver) tmpDir() string              { return filepath.Join(d.root, "tmp") }
func (d *Driver) imageDir(id string) string   { return filepath.Join(d.imagesDir(), id) }
func (d *Driver) volumeDir(id string) string  { return filepath.Join(d.volumesDir(), id) }
func (d *Driver) volumeDisk(id string) string { return filepath.Join(d.volumeDir(id), diskName) }

// backingPath is the image as a clone names it: relative to the clone, so that a pool may be mounted elsewhere. It holds from
// volumes/<id>/ and from tmp/<work>/ alike.
func backingPath(image string) string { return filepath.Join("..", "..", "images", image, diskName) }

// volumeFacts never change after the volume is made: size and snapshots are read from the disk itself, where each change of them is one write.
type volumeFacts struct {
	Schema    int    `json:"schema"`
	ID        string `json:"id"`
	SizeBytes int64  `json:"sizeBytes"` // when it was made
	ImageID   string `json:"imageId,omitempty"`
}

type imageRecord struct {
	Schema int `json:"schema"`
	storage.ImageInfo
	Format string `json:"format"` // what the upload was declared as
}

const schema = 1

func readVolumeFacts(directory string) (volumeFacts, error) {
	var facts volumeFacts
	err := readFacts(filepath.Join(directory, volumeFile), &facts)
	return facts, err
}

func readImageFacts(directory string) (storage.ImageInfo, error) {
	var record imageRecord
	err := readFacts(filepath.Join(directory, imageFacts), &record)
	return record.ImageInfo, err
}

func readFacts(path string, facts any) error {
	data, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return storage.ErrNotFound
	}
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, facts); err != nil {
		return fmt.Errorf("the file %s is damaged: %w", path, err)
	}
	return nil
}

// listIDs returns the ids in a directory, sorted. Whatever has no id for a name is not ours.
func listIDs(directory string) ([]string, error) {
	entries, err := os.ReadDir(directory)
	if err != nil {
		return nil, err
	}
	ids := []string{}
	for _, entry := range entries {
		if entry.IsDir() && storage.CheckID(entry.Name()) == nil {
			ids = append(ids, entry.Name())
		}
	}
	sort.Strings(ids)
	return ids, nil
}
