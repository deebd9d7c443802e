package imageformat

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/require"
)

// header builds the first cluster of a small version 3 image: 1 MiB, clusters of 64 KiB, L1 table in the fourth of them.
func header() []byte {
	data := make([]byte, HeaderBytes)
	put32 := func(at int, value uint32) { binary.BigEndian.PutUint32(data[at:], value) }
	put64 := func(at int, value uint64) { binary.BigEndian.PutUint64(data[at:], value) }
	put32(0, magic)
	put32(4, 3)
	put32(20, 16)
	put64(24, 1<<20)
	put32(36, 1)
	put64(40, 3<<16)
	put64(48, 1<<16)
	put32(56, 1)
	put32(96, 4)
	put32(100, lengthVersion3)
	return data
}

func extension(kind uint32, content string) []byte {
	data := binary.BigEndian.AppendUint32(nil, kind)
	data = binary.BigEndian.AppendUint32(data, uint32(len(content)))
	data = append(data, content...)
	return append(data, make([]byte, (8-len(content)%8)%8)...)
}

func TestAccepted(t *testing.T) {
	plain := header()
	parsed, err := ParseQCOW2(plain)
	require.NoError(t, err)
	require.Equal(t, QCOW2{Version: 3, VirtualSize: 1 << 20, ClusterSize: 64 << 10, MinFileBytes: 3<<16 + 8}, parsed)
	require.NoError(t, parsed.CheckLength(3<<16+8))
	require.ErrorContains(t, parsed.CheckLength(3<<16+7), "cut off")

	_, err = ParseQCOW2(append(plain, "more than asked for"...))
	require.NoError(t, err)

	harmless := header()
	copy(harmless[lengthVersion3:], append(extension(0x6803f857, "names of features"), extension(0x12345678, "unknown, and so harmless")...))
	_, err = ParseQCOW2(harmless)
	require.NoError(t, err)

	version2 := header()
	binary.BigEndian.PutUint32(version2[4:], 2)
	clear(version2[lengthVersion2:])
	parsed, err = ParseQCOW2(version2)
	require.NoError(t, err)
	require.Equal(t, 2, parsed.Version)
}

func TestExtensionsRefused(t *testing.T) {
	for name, test := range map[string]struct {
		extension []byte
		message   string
	}{
		"backing format": {extension(extensionBackingFormat, "raw"), "backing file"},
		"data file":      {extension(extensionExternalData, "/dev/sda"), "data file"},
		"encryption":     {extension(extensionEncryption, "0123456789abcdef"), "encrypted"},
		"hidden second":  {append(extension(0x6803f857, "x"), extension(extensionExternalData, "/dev/sda")...), "data file"},
		"too long":       {[]byte{1, 2, 3, 4, 0, 1, 0, 0}, "do not end"},
		"huge":           {[]byte{1, 2, 3, 4, 255, 255, 255, 255}, "do not end"},
		"without an end": {bytes.Repeat(extension(0x12345678, ""), HeaderBytes/8), ""},
	} {
		t.Run(name, func(t *testing.T) {
			data := header()
			copy(data[lengthVersion3:], test.extension)
			_, err := ParseQCOW2(data)
			if test.message == "" {
				require.NoError(t, err, "they fill the first cluster to its end")
				return
			}
			require.ErrorContains(t, err, test.message)
		})
	}
	// Clusters of 2 MiB would have room for extensions beyond what is read; those are refused, not believed.
	data := header()
	binary.BigEndian.PutUint32(data[20:], 21)
	for _, at := range []int{40, 48} {
		binary.BigEndian.PutUint64(data[at:], 8<<20)
	}
	_, err := ParseQCOW2(data)
	require.NoError(t, err)
	copy(data[lengthVersion3:], bytes.Repeat(extension(0x12345678, ""), HeaderBytes/8))
	_, err = ParseQCOW2(data)
	require.ErrorContains(t, err, "do not end")
}

func TestEveryCut(t *testing.T) {
	data := header()
	for length := range lengthVersion3 + 8 {
		_, err := ParseQCOW2(data[:length])
		require.Error(t, err, length)
	}
}

// FuzzHeader: no bytes make the parser panic, and what it accepts keeps the promises that its callers build on.
func FuzzHeader(f *testing.F) {
	f.Add(header()[:256]) // short inputs: a fuzzer is slow with 64 KiB of zeros
	f.Add([]byte("QFI\xfb"))
	f.Add([]byte{})
	with := header()
	copy(with[lengthVersion3:], extension(extensionExternalData, "x"))
	f.Add(with[:256])
	f.Fuzz(func(t *testing.T, data []byte) {
		parsed, err := ParseQCOW2(data)
		if err != nil {
			if parsed.MinFileBytes < 0 || err.Error() == "" {
				t.Fatal("a refusal without a reason")
			}
			return
		}
		if parsed.VirtualSize <= 0 || parsed.VirtualSize%512 != 0 || parsed.ClusterSize < 512 || parsed.ClusterSize > 2<<20 ||
			parsed.MinFileBytes < parsed.ClusterSize || parsed.Version < 2 || parsed.Version > 3 {
			t.Fatalf("accepted %+v", parsed)
		}
		// Nothing outside of the file may be named: no backing file, no snapshots, no incompatible bits but two.
		if !bytes.Equal(data[8:20], make([]byte, 12)) || binary.BigEndian.Uint32(data[60:]) != 0 || parsed.Version == 3 && binary.BigEndian.Uint64(data[72:])&^0x18 != 0 {
			t.Fatalf("accepted a file with references: % x", data[:104])
		}
	})
}
