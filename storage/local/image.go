package local

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/coloa-cloud/coloa/storage"
	"github.com/coloa-cloud/coloa/storage/intake"
)

// ImportImage receives the upload into tmp, checks it, and converts it into a qcow2 file of our own making: nothing that a user wrote
// as metadata is ever opened by a guest's qemu.
func (d *Driver) ImportImage(ctx context.Context, source storage.ImageSource) (storage.ImageInfo, error) {
	release, err := d.lockImage(ctx, source.ID)
	if err != nil {
		return storage.ImageInfo{}, err
	}
	defer release()
	info, err := readImageFacts(d.imageDir(source.ID))
	if err == nil && source.SHA256 != "" && !strings.EqualFold(source.SHA256, info.SHA256) {
		err = fmt.Errorf("%w: its SHA-256 is %s, promised was %.64q", storage.ErrConflict, info.SHA256, source.SHA256)
	}
	if !errors.Is(err, storage.ErrNotFound) {
		return info, imageError(source.ID, err)
	}
	scratch, err := os.MkdirTemp(d.tmpDir(), "image-")
	if err != nil {
		return storage.ImageInfo{}, imageError(source.ID, err)
	}
	defer func() { _ = os.RemoveAll(scratch) }()
	upload, work := filepath.Join(scratch, "upload"), filepath.Join(scratch, "work")
	if info, err = d.receive(ctx, upload, source); err != nil {
		return storage.ImageInfo{}, err // names the image already
	}
	if err := os.Mkdir(work, privateMode); err != nil {
		return storage.ImageInfo{}, imageError(source.ID, err)
	}
	if err := d.convert(ctx, upload, source.Format, filepath.Join(work, diskName), info.VirtualSize); err != nil {
		return storage.ImageInfo{}, imageError(source.ID, err)
	}
	err = writeFacts(filepath.Join(work, imageFacts), imageRecord{Schema: schema, ImageInfo: info, Format: source.Format})
	if err == nil {
		err = publish(work, d.imageDir(source.ID))
	}
	if err != nil {
		return storage.ImageInfo{}, imageError(source.ID, err)
	}
	return info, nil
}

// receive writes the upload to path, checked as far as its header and digest go.
func (d *Driver) receive(ctx context.Context, path string, source storage.ImageSource) (storage.ImageInfo, error) {
	budget, err := d.budget(ctx)
	if err != nil {
		return storage.ImageInfo{}, imageError(source.ID, err)
	}
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return storage.ImageInfo{}, imageError(source.ID, err)
	}
	defer func() { _ = file.Close() }() // for the ways out with an error
	sparse := &sparseFile{file: file, budget: budget, room: d.room}
	info, err := intake.Receive(ctx, sparse, source)
	if err != nil {
		return storage.ImageInfo{}, err
	}
	return info, imageError(source.ID, errors.Join(sparse.finish(), file.Close()))
}

// convert writes our own qcow2 file from an upload, with the upload's format as it was declared. What qemu-img refuses is ErrInvalidImage.
func (d *Driver) convert(ctx context.Context, upload, format, target string, virtualSize int64) error {
	if format == storage.FormatQCOW2 {
		// The header was fine; tables that point beyond the file's end (a truncated file) or into each other show here. Exit status 3 means
		// leaked clusters, which lose nothing.
		_, err := d.runQemuImg(ctx, long, "check", "-q", "--image-opts", imageOptions(format, upload))
		if err != nil && !strings.Contains(err.Error(), "exit status 3") {
			return invalidImage(err)
		}
	}
	// A small file may claim a lot of data (compressed or shared clusters). Ask first, rather than fill the disk that guests live on.
	output, err := d.runQemuImg(ctx, long, "measure", "--output=json", "-O", storage.FormatQCOW2, "--image-opts", imageOptions(format, upload))
	if err != nil {
		return invalidImage(err)
	}
	var need struct {
		Required       int64 `json:"required"`
		FullyAllocated int64 `json:"fully-allocated"`
	}
	if err := json.Unmarshal(output, &need); err != nil {
		return fmt.Errorf("qemu-img measure said something unexpected: %w", err)
	}
	budget, err := d.budget(ctx)
	if err != nil {
		return err
	}
	if need.Required > budget {
		return fmt.Errorf("%w: the image takes up to %d bytes, %d are free above the reserve", storage.ErrNoSpace, need.Required, budget)
	}
	limit := copies
	limit.fileBytes = need.FullyAllocated + 64*storage.MiB
	err = d.guarded(ctx, func(ctx context.Context) error {
		_, err := d.runQemuImg(ctx, limit, "convert", "-q", "-f", format, "-O", storage.FormatQCOW2, "-o", "compat=1.1", "--", upload, target)
		return err
	})
	if err != nil {
		return invalidImage(err)
	}
	made, err := d.info(ctx, target)
	if err != nil {
		return err
	}
	if made.VirtualSize != virtualSize {
		return fmt.Errorf("%w: its header says %d bytes, the conversion gave %d", storage.ErrInvalidImage, virtualSize, made.VirtualSize)
	}
	return settle(target, imageMode)
}

// invalidImage blames the uploaded file for what qemu-img refused, unless the reason lies with us.
func invalidImage(err error) error {
	if !errors.Is(err, errTool) || strings.Contains(err.Error(), "while writing") {
		return err
	}
	return fmt.Errorf("%w: %w", storage.ErrInvalidImage, err)
}

// Image returns an image's facts.
func (d *Driver) Image(ctx context.Context, id string) (storage.ImageInfo, error) {
	if err := errors.Join(ctx.Err(), storage.CheckID(id)); err != nil {
		return storage.ImageInfo{}, err
	}
	info, err := readImageFacts(d.imageDir(id))
	return info, imageError(id, err)
}

// DeleteImage removes an image that no volume was cloned from.
func (d *Driver) DeleteImage(ctx context.Context, id string) error {
	release, err := d.lockImage(ctx, id) // CreateVolume holds it while it makes a clone
	if err != nil {
		return err
	}
	defer release()
	if _, err := os.Lstat(d.imageDir(id)); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	volumes, err := listIDs(d.volumesDir())
	if err != nil {
		return imageError(id, err)
	}
	clones := 0
	for _, volume := range volumes {
		facts, err := readVolumeFacts(d.volumeDir(volume))
		if errors.Is(err, storage.ErrNotFound) {
			continue // deleted since the list was read
		}
		if err != nil {
			return imageError(id, fmt.Errorf("it is not known whether volume %s depends on it: %w", volume, err))
		}
		if facts.ImageID == id {
			clones++
		}
	}
	if clones > 0 {
		return imageError(id, fmt.Errorf("%w: volumes cloned from it: %s", storage.ErrInUse, strconv.Itoa(clones)))
	}
	return imageError(id, d.withdraw(d.imageDir(id)))
}
