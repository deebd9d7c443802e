// Package imageformat reads the headers of disk image files that users upload. It is pure: bytes in, facts or a refusal out. It never
// guesses a format: the caller says which one the file was declared to be.
//
// It exists so that a hostile file is refused before any program that follows its references (backing files, data files) sees it.
package imageformat

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// HeaderBytes is how much of a file's beginning the parser wants (less only when the file is shorter). Real headers with all their
// extensions take under 1 KiB; one that needs more than this is refused.
const HeaderBytes = 64 << 10

// qcow2's fields, from docs/interop/qcow2.txt of QEMU. All numbers are big-endian.
const (
	magic          = 0x514649fb // "QFI\xfb"
	lengthVersion2 = 72
	lengthVersion3 = 104

	minClusterBits = 9
	maxClusterBits = 21

	maxL1Bytes       = 32 << 20 // QEMU's own bounds: a larger table is refused by it too
	maxRefcountBytes = 8 << 20

	extensionEnd            = 0x00000000
	extensionBackingFormat  = 0xe2792aca
	extensionExternalData   = 0x44415441
	extensionEncryption     = 0x0537be77
	incompatibleDirty       = 1 << 0
	incompatibleCorrupt     = 1 << 1
	incompatibleDataFile    = 1 << 2
	incompatibleCompression = 1 << 3
	incompatibleExtendedL2  = 1 << 4
	autoclearRawData        = 1 << 1
)

// QCOW2 is what the header of an acceptable qcow2 file says.
type QCOW2 struct {
	Version     int
	VirtualSize int64 // bytes a guest sees; a positive multiple of 512
	ClusterSize int64 // bytes
	// MinFileBytes is the least length of a file that holds the tables which the header points to.
	MinFileBytes int64
}

// ParseQCOW2 reads the header at the start of prefix: the first HeaderBytes of a file, or all of a shorter one. It accepts plain,
// self-contained, cleanly closed images only; the error says why another one is refused.
func ParseQCOW2(prefix []byte) (QCOW2, error) {
	if len(prefix) > HeaderBytes {
		prefix = prefix[:HeaderBytes]
	}
	if len(prefix) < 4 || binary.BigEndian.Uint32(prefix) != magic {
		return QCOW2{}, errors.New("it was declared as qcow2 and does not begin with a qcow2 header")
	}
	if len(prefix) < lengthVersion2 {
		return QCOW2{}, errors.New("it ends inside the qcow2 header")
	}
	header := fields{prefix}
	result := QCOW2{Version: int(header.u32(4))}
	headerLength := uint64(lengthVersion2)
	var incompatible, autoclear uint64
	refcountOrder := uint32(4)
	switch result.Version {
	case 2:
	case 3:
		if len(prefix) < lengthVersion3 {
			return QCOW2{}, errors.New("it ends inside the qcow2 header")
		}
		incompatible, autoclear = header.u64(72), header.u64(88)
		refcountOrder, headerLength = header.u32(96), uint64(header.u32(100))
	default:
		return QCOW2{}, fmt.Errorf("qcow2 version %d is not supported, only 2 and 3", header.u32(4))
	}
	if err := checkReferences(header, incompatible, autoclear); err != nil {
		return QCOW2{}, err
	}
	clusterBits := header.u32(20)
	if clusterBits < minClusterBits || clusterBits > maxClusterBits {
		return QCOW2{}, fmt.Errorf("its cluster size of 2^%d bytes is outside 2^%d to 2^%d", clusterBits, minClusterBits, maxClusterBits)
	}
	clusterSize := uint64(1) << clusterBits
	result.ClusterSize = int64(clusterSize)
	if refcountOrder > 6 {
		return QCOW2{}, fmt.Errorf("its refcounts are 2^%d bits wide, at most 2^6 are possible", refcountOrder)
	}
	if result.Version == 3 && (headerLength < lengthVersion3 || headerLength%8 != 0 || headerLength > clusterSize) {
		return QCOW2{}, fmt.Errorf("its header claims a length of %d bytes", headerLength)
	}
	size := header.u64(24)
	if size == 0 || size > 1<<62 || size%512 != 0 {
		return QCOW2{}, fmt.Errorf("its virtual size of %d bytes is not a positive multiple of 512", size)
	}
	result.VirtualSize = int64(size)
	minimum, err := checkTables(header, size, clusterSize, incompatible&incompatibleExtendedL2 != 0)
	if err != nil {
		return QCOW2{}, err
	}
	result.MinFileBytes = int64(minimum)
	return result, checkExtensions(prefix, headerLength, clusterSize)
}

// CheckLength refuses a file of fileBytes bytes that is too short for the tables that its header points to.
func (q QCOW2) CheckLength(fileBytes int64) error {
	if fileBytes < q.MinFileBytes {
		return fmt.Errorf("it is cut off: it has %d bytes, and its header points to tables that end at %d", fileBytes, q.MinFileBytes)
	}
	return nil
}

// fields reads numbers at fixed places; the caller has checked the length.
type fields struct{ bytes []byte }

func (f fields) u32(at int) uint32 { return binary.BigEndian.Uint32(f.bytes[at:]) }
func (f fields) u64(at int) uint64 { return binary.BigEndian.Uint64(f.bytes[at:]) }

// checkReferences refuses everything by which an image depends on something outside of it, or needs what we do not know.
func checkReferences(header fields, incompatible, autoclear uint64) error {
	if header.u64(8) != 0 || header.u32(16) != 0 {
		return errors.New("it has a backing file; upload a flat image (qemu-img convert -O qcow2)")
	}
	if header.u32(32) != 0 {
		return errors.New("it is encrypted; upload it decrypted")
	}
	if header.u32(60) != 0 {
		return errors.New("it holds internal snapshots; upload a flat image (qemu-img convert -O qcow2)")
	}
	switch {
	case incompatible&incompatibleDataFile != 0, autoclear&autoclearRawData != 0:
		return errors.New("it keeps its data in an external data file; upload a flat image (qemu-img convert -O qcow2)")
	case incompatible&incompatibleCorrupt != 0:
		return errors.New("it is marked as corrupt; repair it first (qemu-img check -r all)")
	case incompatible&incompatibleDirty != 0:
		return errors.New("it was not closed cleanly; repair it first (qemu-img check -r all)")
	}
	if unknown := incompatible &^ (incompatibleCompression | incompatibleExtendedL2); unknown != 0 {
		return fmt.Errorf("it needs unknown qcow2 features (bits %#x)", unknown)
	}
	return nil
}

// checkTables checks where the L1 and the refcount table lie, and returns where the later one ends.
func checkTables(header fields, size, clusterSize uint64, extendedL2 bool) (uint64, error) {
	entryBytes := uint64(8)
	if extendedL2 {
		entryBytes = 16
	}
	covered := clusterSize / entryBytes * clusterSize // bytes of disk behind one L1 entry
	needed := size / covered
	if size%covered != 0 {
		needed++
	}
	l1Entries := uint64(header.u32(36))
	if l1Entries*8 > maxL1Bytes || l1Entries < needed {
		return 0, fmt.Errorf("its table of %d entries does not fit a disk of %d bytes", l1Entries, size)
	}
	refcountBytes := uint64(header.u32(56)) * clusterSize
	if refcountBytes == 0 || refcountBytes > maxRefcountBytes {
		return 0, fmt.Errorf("its refcount table of %d bytes is outside what qcow2 allows", refcountBytes)
	}
	end := uint64(0)
	for _, table := range []struct {
		name          string
		offset, bytes uint64
	}{{"L1", header.u64(40), l1Entries * 8}, {"refcount", header.u64(48), refcountBytes}} {
		if table.offset == 0 || table.offset%clusterSize != 0 || table.offset > 1<<56 {
			return 0, fmt.Errorf("its %s table lies at the impossible offset %d", table.name, table.offset)
		}
		end = max(end, table.offset+table.bytes)
	}
	return end, nil
}

// checkExtensions walks the header extensions. Unknown ones are harmless by the format's definition (a dangerous one must set an
// incompatible bit); those that name other files or keys are refused.
func checkExtensions(prefix []byte, offset, clusterSize uint64) error {
	end := min(clusterSize, uint64(len(prefix)))
	for {
		if offset+8 > end {
			if offset >= clusterSize {
				return nil // the first cluster is full to its end, and an end mark is not needed then
			}
			return errors.New("its header extensions do not end within the header")
		}
		kind, length := binary.BigEndian.Uint32(prefix[offset:]), uint64(binary.BigEndian.Uint32(prefix[offset+4:]))
		switch kind {
		case extensionEnd:
			return nil
		case extensionBackingFormat:
			return errors.New("it names the format of a backing file; upload a flat image (qemu-img convert -O qcow2)")
		case extensionExternalData:
			return errors.New("it names an external data file; upload a flat image (qemu-img convert -O qcow2)")
		case extensionEncryption:
			return errors.New("it is encrypted; upload it decrypted")
		}
		if length > end-offset-8 {
			return errors.New("its header extensions do not end within the header")
		}
		offset += 8 + (length+7)/8*8
	}
}
