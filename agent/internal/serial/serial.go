// Package serial knows where guests' serial output is kept, and reads it. The hypervisor writes the files: <root>/<vm>/<instance>.log, and with
// virtlogd its older parts .log.0 (the younger) .log.1 and so on. Those of a VM's last three instances are kept.
package serial

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	v1 "github.com/coloa-cloud/coloa/api/v1"
)

// Keep is how many instances' logs are kept for a VM. The hypervisor bounds each to about 8 MiB.
const Keep = 3

// maximumParts is more than any hypervisor keeps of one log.
const maximumParts = 16

// Index remembers which instances of a VM have logs, oldest first. The ledger is one.
type Index interface {
	Logs(vm string) []string
	SetLogs(vm string, instances []string) error
}

// Store is the folder of all logs.
type Store struct {
	root  string // absolute
	index Index
}

// NewStore returns the store in the folder root (an absolute path), which is made when first needed.
func NewStore(root string, index Index) *Store { return &Store{root: root, index: index} }

// Prepare says where the serial output of an Instance goes, and removes the logs of the VM's oldest ones. Repeating it changes nothing.
func (s *Store) Prepare(vm, instance string) (path string, err error) {
	if !v1.IsID(vm) || !v1.IsID(instance) {
		return "", fmt.Errorf("serial log: %.80q or %.80q is no id", vm, instance)
	}
	kept := s.index.Logs(vm)
	if !slices.Contains(kept, instance) {
		kept = append(kept, instance)
	}
	for len(kept) > Keep {
		for _, part := range s.parts(vm, kept[0]) {
			if err := os.Remove(part); err != nil && !os.IsNotExist(err) {
				return "", fmt.Errorf("remove an old serial log: %w", err)
			}
		}
		kept = kept[1:]
	}
	if err := s.index.SetLogs(vm, kept); err != nil {
		return "", err
	}
	// Root's way only, but libvirt's log daemon is root; what a guest says is nobody else's business.
	if err := os.MkdirAll(filepath.Join(s.root, vm), 0o750); err != nil {
		return "", fmt.Errorf("make the serial log's folder: %w", err)
	}
	return s.path(vm, instance), nil
}

// Forget removes all logs of a VM.
func (s *Store) Forget(vm string) error {
	if !v1.IsID(vm) {
		return fmt.Errorf("serial log: %.80q is no id", vm)
	}
	if err := os.RemoveAll(filepath.Join(s.root, vm)); err != nil {
		return fmt.Errorf("remove serial logs: %w", err)
	}
	return s.index.SetLogs(vm, nil)
}

func (s *Store) path(vm, instance string) string { return filepath.Join(s.root, vm, instance+".log") }

// parts are the files of one log that exist, oldest first.
func (s *Store) parts(vm, instance string) []string {
	path := s.path(vm, instance)
	var list []string
	for number := maximumParts; number >= -1; number-- {
		part := path
		if number >= 0 {
			part += "." + strconv.Itoa(number)
		}
		if info, err := os.Lstat(part); err == nil && info.Mode().IsRegular() {
			list = append(list, part)
		}
	}
	return list
}
