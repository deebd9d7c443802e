package serial

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"time"

	v1 "github.com/coloa-cloud/coloa/api/v1"
)

// pollEvery is how often a followed log is looked at. The files are on this host and small; a watch would have to survive their rotation.
const pollEvery = 250 * time.Millisecond

// Copy writes the kept serial output of a VM's instances to w, oldest first: all of it when tail is negative, else the last tail lines. With
// follow it goes on with what comes, also from later instances, until ctx ends (then nil) or w fails. flush is called whenever all there is has
// been written.
func (s *Store) Copy(ctx context.Context, w io.Writer, vm string, tail int, follow bool, flush func()) error {
	if !v1.IsID(vm) {
		return os.ErrNotExist
	}
	reader := &reader{store: s, vm: vm}
	defer reader.close()
	if err := reader.open(tail); err != nil {
		return err
	}
	for {
		if _, err := io.Copy(w, contextReader{ctx, reader}); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		flush()
		if !follow {
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pollEvery):
		}
	}
}

// contextReader ends a copy of much with ctx.
type contextReader struct {
	ctx    context.Context
	source io.Reader
}

func (r contextReader) Read(into []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.source.Read(into)
}

// reader reads the parts one after another. At the end of the last one it says io.EOF, and may be read again when there is more. Files are kept
// open, so a rotation meanwhile loses nothing and repeats nothing.
type reader struct {
	store   *Store
	vm      string
	files   []*os.File // the first is being read
	newest  string     // the instance of the last file
	retired bool       // the last file is not the newest of its instance any more: after its end comes a younger one
}

func (r *reader) close() {
	for _, file := range r.files {
		_ = file.Close() // only read
	}
}

// open opens all parts and goes to where the last tail lines begin.
func (r *reader) open(tail int) error {
	for _, instance := range r.store.index.Logs(r.vm) {
		r.newest = instance
		for _, part := range r.store.parts(r.vm, instance) {
			file, err := os.Open(part)
			if errors.Is(err, os.ErrNotExist) {
				continue // removed or rotated at this moment
			}
			if err != nil {
				return err
			}
			r.files = append(r.files, file)
		}
	}
	if tail < 0 {
		return nil
	}
	return r.seekTail(tail)
}

// seekTail drops what comes before the last lines. A last line without its end counts as one.
func (r *reader) seekTail(lines int) error {
	if lines == 0 && len(r.files) > 0 {
		info, err := r.files[len(r.files)-1].Stat()
		if err != nil {
			return err
		}
		return r.beginAt(len(r.files)-1, info.Size())
	}
	buffer := make([]byte, 64<<10)
	last := true // the very last byte ends a line, it does not begin another
	for number := len(r.files) - 1; number >= 0; number-- {
		info, err := r.files[number].Stat()
		if err != nil {
			return err
		}
		for end := info.Size(); end > 0; {
			begin := max(0, end-int64(len(buffer)))
			block := buffer[:end-begin]
			if _, err := r.files[number].ReadAt(block, begin); err != nil && !errors.Is(err, io.EOF) {
				return err
			}
			for at := len(block); at > 0; {
				at = bytes.LastIndexByte(block[:at], '\n')
				if at < 0 {
					break
				}
				if last && at == len(block)-1 {
					last = false
					continue
				}
				last = false
				if lines--; lines <= 0 {
					return r.beginAt(number, begin+int64(at)+1)
				}
			}
			last = false
			end = begin
		}
	}
	return nil
}

func (r *reader) beginAt(number int, offset int64) error {
	for _, file := range r.files[:number] {
		_ = file.Close() // only read
	}
	r.files = r.files[number:]
	_, err := r.files[0].Seek(offset, io.SeekStart)
	return err
}

func (r *reader) Read(into []byte) (int, error) {
	for {
		if len(r.files) > 0 {
			n, err := r.files[0].Read(into)
			if n > 0 || (err != nil && !errors.Is(err, io.EOF)) {
				return n, err
			}
		}
		if len(r.files) > 1 {
			r.drop()
			continue
		}
		if !r.advance() {
			return 0, io.EOF
		}
	}
}

func (r *reader) drop() {
	_ = r.files[0].Close() // only read
	r.files = r.files[1:]
}

// advance finds what has come after the last file: the same log under its name again, after a rotation, or that of a younger instance. It looks
// twice, with a read between, so that what was written just before the change is not lost.
func (r *reader) advance() bool {
	if len(r.files) == 1 && !r.retired {
		if r.retired = r.successor() != ""; r.retired {
			return true // read the rest of the old one first
		}
		return false
	}
	path := r.successor()
	if path == "" {
		return false
	}
	file, err := os.Open(path)
	if err != nil {
		return false
	}
	r.files = append(r.files, file)
	r.retired = false
	return true
}

// successor is the file that comes after the last one, or "". It moves newest to the file's instance.
func (r *reader) successor() string {
	current := r.store.path(r.vm, r.newest)
	if r.newest != "" {
		info, err := os.Lstat(current)
		if err == nil && info.Mode().IsRegular() {
			if len(r.files) == 0 {
				return current
			}
			if open, err := r.files[len(r.files)-1].Stat(); err == nil && !os.SameFile(open, info) {
				return current
			}
		}
	}
	kept := r.store.index.Logs(r.vm)
	after := 0
	for i, instance := range kept {
		if instance == r.newest {
			after = i + 1
		}
	}
	for _, instance := range kept[after:] {
		next := r.store.path(r.vm, instance)
		if info, err := os.Lstat(next); err == nil && info.Mode().IsRegular() {
			r.newest = instance
			return next
		}
	}
	return ""
}
