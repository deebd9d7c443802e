package conformance

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coloa-cloud/coloa/storage"
)

// fixture is an image file, as its bytes and what its import declares.
type fixture struct {
	name        string
	data        []byte
	format      string
	virtualSize int64
}

func (f fixture) source(id string) storage.ImageSource {
	return storage.ImageSource{ID: id, Format: f.format, Data: bytes.NewReader(f.data)}
}

func (f fixture) sha256() string {
	sum := sha256.Sum256(f.data)
	return hex.EncodeToString(sum[:])
}

// fixtures are the files that the suite imports. Disks of good ones hold imagePattern in their first patternBytes.
type fixtures struct {
	raw, qcow2, compressed, version2, extended fixture
	refused                                    []fixture
}

const (
	imageBytes   = 4 * storage.MiB
	patternBytes = 256 << 10
	imagePattern = 0xa5
)

func makeFixtures(t *testing.T) *fixtures {
	t.Helper()
	if _, err := exec.LookPath("qemu-img"); err != nil {
		t.Fatal("this suite makes its images with qemu-img; install the package qemu-utils")
	}
	directory := t.TempDir()
	path := func(name string) string { return filepath.Join(directory, name) }
	qemuImg := func(arguments ...string) {
		command := exec.CommandContext(t.Context(), "qemu-img", arguments...)
		command.Dir = directory
		output, err := command.CombinedOutput()
		require.NoError(t, err, "%v: %s", arguments, output)
	}
	read := func(name, format string) fixture {
		data, err := os.ReadFile(path(name))
		require.NoError(t, err)
		return fixture{name: name, data: data, format: format, virtualSize: imageBytes}
	}
	// The rest of the disk holds noise-like bytes, so that converted files have data clusters to their end.
	disk := bytes.Repeat([]byte{imagePattern}, patternBytes)
	for state := uint64(1); int64(len(disk)) < imageBytes; {
		state = state*6364136223846793005 + 1442695040888963407
		disk = binary.LittleEndian.AppendUint64(disk, state)
	}
	require.NoError(t, os.WriteFile(path("plain.raw"), disk, 0o600))
	qemuImg("convert", "-f", "raw", "-O", "qcow2", "plain.raw", "plain.qcow2")
	qemuImg("convert", "-f", "raw", "-O", "qcow2", "-c", "plain.raw", "compressed.qcow2")
	qemuImg("convert", "-f", "raw", "-O", "qcow2", "-o", "compat=0.10", "plain.raw", "version2.qcow2")
	qemuImg("convert", "-f", "raw", "-O", "qcow2", "-o", "extended_l2=on", "plain.raw", "extended.qcow2")
	files := &fixtures{
		raw: read("plain.raw", storage.FormatRaw), qcow2: read("plain.qcow2", storage.FormatQCOW2), compressed: read("compressed.qcow2", storage.FormatQCOW2),
		version2: read("version2.qcow2", storage.FormatQCOW2), extended: read("extended.qcow2", storage.FormatQCOW2),
	}

	qemuImg("create", "-q", "-f", "qcow2", "-b", "plain.qcow2", "-F", "qcow2", "backing.qcow2")
	qemuImg("create", "-q", "-f", "qcow2", "-b", "/etc/passwd", "-F", "raw", "-u", "passwd.qcow2", "4M")
	qemuImg("create", "-q", "-f", "qcow2", "-b", "json:{\"driver\":\"nbd\",\"host\":\"127.0.0.1\"}", "-F", "raw", "-u", "url.qcow2", "4M")
	qemuImg("create", "-q", "-f", "qcow2", "-o", "data_file=data.raw", "datafile.qcow2", "4M")
	qemuImg("create", "-q", "-f", "qcow2", "-o", "data_file=data2.raw,data_file_raw=on", "datafileraw.qcow2", "4M")
	qemuImg("create", "-q", "-f", "qcow2", "--object", "secret,id=key,data=secret", "-o", "encrypt.format=aes,encrypt.key-secret=key", "encrypted.qcow2", "4M")
	qemuImg("convert", "-f", "raw", "-O", "qcow2", "plain.raw", "snapshots.qcow2")
	qemuImg("snapshot", "-q", "-c", "inside", "snapshots.qcow2")
	qemuImg("convert", "-f", "raw", "-O", "vmdk", "plain.raw", "plain.vmdk")
	qemuImg("convert", "-f", "raw", "-O", "vpc", "plain.raw", "plain.vhd")
	for _, name := range []string{
		"backing.qcow2", "passwd.qcow2", "url.qcow2", "datafile.qcow2", "datafileraw.qcow2", "encrypted.qcow2", "snapshots.qcow2", "plain.vmdk", "plain.vhd", "plain.raw",
	} {
		files.refused = append(files.refused, read(name, storage.FormatQCOW2))
	}
	for _, format := range []string{"", "vmdk", "vpc", "QCOW2", "auto", "qcow", "host_device", "raw,file.driver=nbd"} {
		files.refused = append(files.refused, fixture{name: "declared as " + format, data: files.raw.data, format: format})
	}
	files.refused = append(files.refused, files.patched()...)
	for name, length := range map[string]int{
		"empty": 0, "one byte": 1, "half a header": 60, "the header alone": 512, "one cluster": 64 << 10, "up to the tables": 3 << 16,
	} {
		files.refused = append(files.refused, fixture{name: "qcow2, " + name, data: files.qcow2.data[:length], format: storage.FormatQCOW2})
	}
	for name, length := range map[string]int{"empty": 0, "one byte": 1, "not whole sectors": 1000} {
		files.refused = append(files.refused, fixture{name: "raw, " + name, data: files.raw.data[:length], format: storage.FormatRaw})
	}
	return files
}

// patched returns good qcow2 files with one field of the header made bad.
func (f *fixtures) patched() []fixture {
	var result []fixture
	for _, patch := range []struct {
		name   string
		offset int
		bytes  []byte
	}{
		{"version 1", 4, []byte{0, 0, 0, 1}},
		{"version 4", 4, []byte{0, 0, 0, 4}},
		{"backing file's offset alone", 8, []byte{0, 0, 0, 0, 0, 0, 2, 0}},
		{"backing file's length alone", 16, []byte{0, 0, 0, 9}},
		{"cluster of 256 bytes", 20, []byte{0, 0, 0, 8}},
		{"cluster of 4 MiB", 20, []byte{0, 0, 0, 22}},
		{"cluster bits 2^32-1", 20, []byte{255, 255, 255, 255}},
		{"size 0", 24, make([]byte, 8)},
		{"size 2^64-1", 24, bytes.Repeat([]byte{255}, 8)},
		{"size 2^62", 24, []byte{64, 0, 0, 0, 0, 0, 0, 0}},
		{"size of odd bytes", 24, []byte{0, 0, 0, 0, 0, 0x3f, 0xff, 0xff}},
		{"size above its table", 24, []byte{0, 0, 0, 1, 0, 0, 0, 0}},
		{"LUKS encryption", 32, []byte{0, 0, 0, 2}},
		{"unknown encryption", 32, []byte{0, 0, 0, 9}},
		{"L1 table of 2^32-1 entries", 36, []byte{255, 255, 255, 255}},
		{"no L1 table", 40, make([]byte, 8)},
		{"L1 table far away", 40, []byte{0, 0x10, 0, 0, 0, 0, 0, 0}},
		{"L1 table not aligned", 40, []byte{0, 0, 0, 0, 0, 3, 0, 8}},
		{"refcount table far away", 48, []byte{0, 0, 1, 0, 0, 0, 0, 0}},
		{"refcount table huge", 56, []byte{255, 255, 255, 255}},
		{"2^32-1 snapshots", 60, []byte{255, 255, 255, 255}},
		{"dirty", 79, []byte{1}},
		{"corrupt", 79, []byte{2}},
		{"data file bit", 79, []byte{4}},
		{"unknown feature bit 5", 79, []byte{32}},
		{"unknown feature bit 63", 72, []byte{128}},
		{"raw data file bit", 95, []byte{2}},
		{"refcounts of 2^7 bits", 96, []byte{0, 0, 0, 7}},
		{"header length 0", 100, make([]byte, 4)},
		{"header length 2^32-8", 100, []byte{255, 255, 255, 248}},
		{"extension of 2^32-1 bytes", 112, []byte{1, 2, 3, 4, 255, 255, 255, 255}},
	} {
		data := bytes.Clone(f.qcow2.data)
		copy(data[patch.offset:], patch.bytes)
		result = append(result, fixture{name: patch.name, data: data, format: storage.FormatQCOW2})
	}
	return result
}
