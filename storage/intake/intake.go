// Package intake receives an uploaded image: it bounds it, digests it and checks its header on the way to wherever a driver puts the
// bytes. Every driver uses it, so that they all refuse the same files with the same words. It knows nothing of the place of storage.
package intake

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"syscall"

	"github.com/coloa-cloud/coloa/storage"
	"github.com/coloa-cloud/coloa/storage/imageformat"
)

// chunkBytes is what is read at a time. Large enough for the disk, small enough for hundreds of imports at once.
const chunkBytes = 256 << 10

// emptyReads is how often a reader may return nothing without an error before it counts as broken.
const emptyReads = 100

// Receive copies source.Data to destination and returns what it found. The header is checked before anything is written, the limit
// with each chunk, length and digest at the end. Errors: ErrInvalid (id), ErrInvalidImage, ErrNoSpace (destination is full), ctx's error, or the reader's.
// The caller removes what was written when there is an error.
func Receive(ctx context.Context, destination io.Writer, source storage.ImageSource) (storage.ImageInfo, error) {
	info, err := receive(ctx, destination, source)
	if err != nil && ctx.Err() != nil {
		err = ctx.Err() // a reader closed by us fails with words that hide the reason
	}
	if err != nil {
		return storage.ImageInfo{}, fmt.Errorf("image %s: %w", source.ID, err)
	}
	return info, nil
}

func receive(ctx context.Context, destination io.Writer, source storage.ImageSource) (storage.ImageInfo, error) {
	if closer, ok := source.Data.(io.Closer); ok {
		defer context.AfterFunc(ctx, func() { _ = closer.Close() })()
	}
	limit := source.MaxBytes
	if limit <= 0 {
		limit = storage.DefaultMaxImageBytes
	}
	reader := &patientReader{ctx: ctx, data: source.Data}
	prefix := make([]byte, imageformat.HeaderBytes)
	length, err := io.ReadFull(reader, prefix)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) || reader.failed != nil {
		return storage.ImageInfo{}, reader.failure()
	}
	prefix = prefix[:length]

	var header imageformat.QCOW2
	uploadLimit := limit
	switch source.Format {
	case storage.FormatRaw:
	case storage.FormatQCOW2:
		if header, err = imageformat.ParseQCOW2(prefix); err != nil {
			return storage.ImageInfo{}, fmt.Errorf("%w: %w", storage.ErrInvalidImage, err)
		}
		if header.VirtualSize > limit {
			return storage.ImageInfo{}, fmt.Errorf("%w: its virtual size of %d bytes is above the limit of %d", storage.ErrInvalidImage, header.VirtualSize, limit)
		}
		uploadLimit += limit/64 + 16*storage.MiB // room for the format's own tables
	default:
		return storage.ImageInfo{}, fmt.Errorf("%w: the format %q is not supported, only %q and %q are", storage.ErrInvalidImage, source.Format, storage.FormatRaw, storage.FormatQCOW2)
	}

	digest := sha256.New()
	count, err := copyBounded(io.MultiWriter(digest, spaceWriter{destination}), prefix, reader, uploadLimit)
	if err != nil {
		return storage.ImageInfo{}, err
	}
	info := storage.ImageInfo{ID: source.ID, SHA256: hex.EncodeToString(digest.Sum(nil)), UploadBytes: count, VirtualSize: header.VirtualSize}
	if source.SHA256 != "" && info.SHA256 != strings.ToLower(source.SHA256) {
		return storage.ImageInfo{}, fmt.Errorf("%w: the SHA-256 of the %d received bytes is %s, promised was %.64q", storage.ErrInvalidImage, count, info.SHA256, source.SHA256)
	}
	if source.Format == storage.FormatQCOW2 {
		if err := header.CheckLength(count); err != nil {
			return storage.ImageInfo{}, fmt.Errorf("%w: %w", storage.ErrInvalidImage, err)
		}
		return info, nil
	}
	if count == 0 || count%512 != 0 {
		return storage.ImageInfo{}, fmt.Errorf("%w: a raw image of %d bytes; a disk is a positive multiple of 512 bytes", storage.ErrInvalidImage, count)
	}
	info.VirtualSize = count
	return info, nil
}

// copyBounded writes prefix and then the rest of reader, and returns how many bytes these were.
func copyBounded(destination io.Writer, prefix []byte, reader *patientReader, limit int64) (int64, error) {
	count, chunk := int64(0), prefix
	buffer := make([]byte, chunkBytes)
	for {
		count += int64(len(chunk))
		if count > limit {
			return 0, fmt.Errorf("%w: the upload is longer than the limit of %d bytes", storage.ErrInvalidImage, limit)
		}
		if _, err := destination.Write(chunk); err != nil {
			return 0, err
		}
		length, err := reader.Read(buffer)
		chunk = buffer[:length]
		if length == 0 && err != nil {
			return count, reader.failure()
		}
	}
}

// patientReader ends with its context, and remembers how the reader failed (nil for a plain end).
type patientReader struct {
	ctx    context.Context
	data   io.Reader
	count  int64
	failed error
	ended  bool
}

func (r *patientReader) Read(buffer []byte) (int, error) {
	for range emptyReads {
		if err := r.ctx.Err(); err != nil {
			r.failed = err
		}
		if r.failed != nil {
			return 0, r.failed
		}
		if r.ended {
			return 0, io.EOF
		}
		length, err := r.data.Read(buffer)
		r.count += int64(length)
		if err == io.EOF { // as io.Reader demands it; a wrapped EOF is a failure
			r.ended = true
		} else if err != nil {
			r.failed = err
		}
		if length > 0 {
			return length, nil
		}
	}
	if r.failed == nil && !r.ended {
		r.failed = io.ErrNoProgress
	}
	return r.Read(buffer)
}

func (r *patientReader) failure() error {
	if r.failed == nil {
		return nil
	}
	return fmt.Errorf("the upload broke off after %d bytes: %w", r.count, r.failed)
}

// spaceWriter turns the file system's "full" into ErrNoSpace.
type spaceWriter struct{ io.Writer }

func (w spaceWriter) Write(data []byte) (int, error) {
	length, err := w.Writer.Write(data)
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		err = fmt.Errorf("%w: %w", storage.ErrNoSpace, err)
	}
	return length, err
}
