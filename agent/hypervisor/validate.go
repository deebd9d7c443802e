package hypervisor

import (
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// What a Machine may have at most. They keep one request from building something that no hypervisor starts.
const (
	MaximumVCPUs     = 512
	MinimumMemoryMiB = 16
	MaximumMemoryMiB = 16 << 20 // 16 TiB
	MaximumDisks     = 32
	MaximumNICs      = 16
	MaximumLabels    = 64
	// MaximumSerial is what virtio-blk can carry: 20 characters.
	MaximumSerial = 20
	maximumPath   = 4096
)

var (
	uuidPattern   = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`)
	namePattern   = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9._-]{0,63}$`)
	serialPattern = regexp.MustCompile(`^[a-zA-Z0-9._-]{0,20}$`)
	macPattern    = regexp.MustCompile(`^[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}$`)
)

// ValidID is true for what can be a machine's id: a UUID in lower case. Implementations look nothing else up, since libvirt reads UUIDs generously
// and would give one machine several names.
func ValidID(id string) bool { return uuidPattern.MatchString(id) }

// Validate says whether a hypervisor can build the machine. Its errors wrap ErrInvalid and name the field. Title and Labels may hold anything
// (they are only shown, and made fit for that); everything else that becomes a name, a path or an address is checked.
func (machine Machine) Validate() error {
	switch {
	case !ValidID(machine.ID):
		return invalid("ID", "must be a UUID in lower case")
	case machine.ID == "00000000-0000-0000-0000-000000000000":
		return invalid("ID", "must not be all zeros")
	case !namePattern.MatchString(machine.Name):
		return invalid("Name", "must be 1 to 64 of the characters a-z A-Z 0-9 . _ - and begin with a letter or a digit")
	case !namePattern.MatchString(machine.Cluster):
		return invalid("Cluster", "must be an id")
	case machine.VM != "" && !namePattern.MatchString(machine.VM):
		return invalid("VM", "must be an id")
	case machine.Project != "" && !namePattern.MatchString(machine.Project):
		return invalid("Project", "must be an id")
	case machine.VCPUs < 1 || machine.VCPUs > MaximumVCPUs:
		return invalid("VCPUs", fmt.Sprintf("must be between 1 and %d", MaximumVCPUs))
	case machine.MemoryMiB < MinimumMemoryMiB || machine.MemoryMiB > MaximumMemoryMiB:
		return invalid("MemoryMiB", fmt.Sprintf("must be between %d and %d", MinimumMemoryMiB, int64(MaximumMemoryMiB)))
	case len(machine.Disks) > MaximumDisks:
		return invalid("Disks", fmt.Sprintf("must be at most %d", MaximumDisks))
	case len(machine.NICs) > MaximumNICs:
		return invalid("NICs", fmt.Sprintf("must be at most %d", MaximumNICs))
	case len(machine.Labels) > MaximumLabels:
		return invalid("Labels", fmt.Sprintf("must be at most %d", MaximumLabels))
	}
	if machine.SerialLog != "" {
		if problem := pathProblem(machine.SerialLog); problem != "" {
			return invalid("SerialLog", problem)
		}
	}
	if err := validateDisks(machine.Disks); err != nil {
		return err
	}
	return validateNICs(machine.NICs)
}

func validateDisks(disks []Disk) error {
	paths := map[string]bool{}
	for i, disk := range disks {
		field := func(name string) string { return fmt.Sprintf("Disks[%d].%s", i, name) }
		if problem := pathProblem(disk.Path); problem != "" {
			return invalid(field("Path"), problem)
		}
		if disk.Backing != "" {
			if problem := pathProblem(disk.Backing); problem != "" {
				return invalid(field("Backing"), problem)
			}
			if disk.Format == "raw" {
				return invalid(field("Backing"), "goes with the format qcow2 alone")
			}
		}
		if paths[disk.Path] {
			return invalid(field("Path"), "is the path of another disk too; two writers would destroy it")
		}
		paths[disk.Path] = true
		if disk.Format != "raw" && disk.Format != "qcow2" {
			return invalid(field("Format"), "must be raw or qcow2")
		}
		if disk.CDROM && disk.Format != "raw" {
			return invalid(field("Format"), "must be raw for an ISO image")
		}
		if !serialPattern.MatchString(disk.Serial) {
			return invalid(field("Serial"), fmt.Sprintf("must be at most %d of the characters a-z A-Z 0-9 . _ -", MaximumSerial))
		}
		for _, limit := range []struct {
			name  string
			value int64
		}{
			{"ReadIOPS", disk.ReadIOPS},
			{"WriteIOPS", disk.WriteIOPS},
			{"ReadBytesPerSec", disk.ReadBytesPerSec},
			{"WriteBytesPerSec", disk.WriteBytesPerSec},
		} {
			// qemu refuses more than 10^15, whatever the unit.
			if limit.value < 0 || limit.value > 1_000_000_000_000_000 {
				return invalid(field(limit.name), "must be between 0 (no limit) and 10^15")
			}
		}
	}
	return nil
}

func validateNICs(nics []NIC) error {
	addresses := map[string]bool{}
	for i, nic := range nics {
		field := func(name string) string { return fmt.Sprintf("NICs[%d].%s", i, name) }
		if nic.Kind != NICUser {
			return invalid(field("Kind"), "must be "+NICUser)
		}
		if !macPattern.MatchString(nic.MAC) {
			return invalid(field("MAC"), "must be six pairs of hexadecimal digits, separated by colons")
		}
		address := strings.ToLower(nic.MAC)
		if strings.ContainsRune("13579bdf", rune(address[1])) {
			return invalid(field("MAC"), "must not be a multicast address")
		}
		if addresses[address] {
			return invalid(field("MAC"), "is the address of another NIC too")
		}
		addresses[address] = true
	}
	return nil
}

// pathProblem says what is wrong with the path of a file, or "".
func pathProblem(path string) string {
	switch {
	case !filepath.IsAbs(path) || filepath.Clean(path) != path || path == "/":
		return "must be the absolute path of a file, without . and .. in it"
	case len(path) > maximumPath:
		return fmt.Sprintf("must be at most %d bytes", maximumPath)
	case !utf8.ValidString(path) || strings.ContainsFunc(path, unprintable):
		return "must be printable UTF-8"
	}
	return ""
}

// unprintable is true for control characters and for those that turn the direction of the text around them.
func unprintable(character rune) bool { return !unicode.IsPrint(character) }

func invalid(field, problem string) error { return fmt.Errorf("%w: %s %s", ErrInvalid, field, problem) }
