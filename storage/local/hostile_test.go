package local

import (
	"bytes"
	"encoding/binary"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/coloa-cloud/coloa/storage"
)

// makeQCOW2 returns a qcow2 file with these bytes as its disk.
func makeQCOW2(t *testing.T, disk []byte, flags ...string) []byte {
	t.Helper()
	directory := t.TempDir()
	raw, target := filepath.Join(directory, "raw"), filepath.Join(directory, "qcow2")
	require.NoError(t, os.WriteFile(raw, disk, 0o600))
	output, err := exec.CommandContext(t.Context(), "qemu-img", append(append([]string{"convert", "-f", "raw", "-O", "qcow2"}, flags...), raw, target)...).CombinedOutput()
	require.NoError(t, err, "%s", output)
	data, err := os.ReadFile(target)
	require.NoError(t, err)
	return data
}

func importQCOW2(t *testing.T, p pool, data []byte) error {
	t.Helper()
	_, err := p.ImportImage(t.Context(), storage.ImageSource{ID: "a", Format: storage.FormatQCOW2, Data: bytes.NewReader(data)})
	require.Empty(t, p.Residue(t))
	return err
}

// TestBadTables: files whose header is fine, and whose tables lie.
func TestBadTables(t *testing.T) {
	good := makeQCOW2(t, bytes.Repeat([]byte("data"), 1<<18))
	entries := func(data []byte) []byte { // the L2 table of the disk's beginning
		l1 := binary.BigEndian.Uint64(data[40:])
		return data[binary.BigEndian.Uint64(data[l1:])&0x00fffffffffffe00:]
	}
	p := openPool(t, t.TempDir())
	for name, spoil := range map[string]func(data []byte) []byte{
		"data cut off":         func(data []byte) []byte { return data[:len(data)-512<<10] },
		"last cluster cut off": func(data []byte) []byte { return data[:len(data)-64<<10] },
		"clusters shared":      func(data []byte) []byte { copy(entries(data)[8:], entries(data)[:8]); return data },
		"data beyond the end":  func(data []byte) []byte { binary.BigEndian.PutUint64(entries(data), 1<<63|1<<50); return data },
		"data not aligned":     func(data []byte) []byte { binary.BigEndian.PutUint64(entries(data), 1<<63|5<<16|512); return data },
		"data over a table":    func(data []byte) []byte { binary.BigEndian.PutUint64(entries(data), 1<<63|1<<16); return data },
		"L2 beyond the end":    func(data []byte) []byte { binary.BigEndian.PutUint64(data[3<<16:], 1<<63|1<<50); return data },
		"L2 is the L1":         func(data []byte) []byte { binary.BigEndian.PutUint64(data[3<<16:], 1<<63|3<<16); return data },
		"refcounts lost":       func(data []byte) []byte { clear(data[1<<16 : 2<<16]); return data },
		"garbage instead of L2": func(data []byte) []byte {
			copy(entries(data)[:4096], bytes.Repeat([]byte{0xde, 0xad, 0xbe}, 1365))
			return data
		},
	} {
		require.ErrorIs(t, importQCOW2(t, p, spoil(bytes.Clone(good))), storage.ErrInvalidImage, name)
	}
	require.NoError(t, importQCOW2(t, p, good))
}

// smallDisk mounts a file system of so many bytes, so that it can be full.
func smallDisk(t *testing.T, size string) string {
	t.Helper()
	directory := t.TempDir()
	if err := unix.Mount("tmpfs", directory, "tmpfs", 0, "size="+size); err != nil {
		t.Fatalf("this test mounts a small tmpfs; run it as root: %v", err)
	}
	t.Cleanup(func() { require.NoError(t, unix.Unmount(directory, unix.MNT_DETACH)) })
	return directory
}

// fill takes all that is free but so many bytes, and returns how to give it back.
func fill(t *testing.T, directory string, but int64) (free func()) {
	t.Helper()
	var stat unix.Statfs_t
	require.NoError(t, unix.Statfs(directory, &stat))
	path := filepath.Join(directory, "filler")
	require.NoError(t, os.WriteFile(path, make([]byte, int64(stat.Bavail)*int64(stat.Bsize)-but), 0o600))
	return func() { require.NoError(t, os.Remove(path)) }
}

func TestDiskFull(t *testing.T) {
	directory := smallDisk(t, "8m")
	p := openPool(t, filepath.Join(directory, "pool"))
	importRaw := func(data io.Reader) error {
		_, err := p.ImportImage(t.Context(), storage.ImageSource{ID: "a", Format: storage.FormatRaw, Data: data})
		return err
	}
	ones := func(size int64) io.Reader { return bytes.NewReader(bytes.Repeat([]byte{1}, int(size))) }
	require.ErrorIs(t, importRaw(ones(12*storage.MiB)), storage.ErrNoSpace, "the upload does not fit")
	require.Empty(t, p.Residue(t))
	require.ErrorIs(t, importRaw(ones(6*storage.MiB)), storage.ErrNoSpace, "the conversion does not fit beside it")
	require.Empty(t, p.Residue(t))
	var free func()
	require.ErrorIs(t, importRaw(io.MultiReader(ones(storage.MiB), &once{do: func() { free = fill(t, directory, 0) }}, ones(storage.MiB))), storage.ErrNoSpace, "full in the middle")
	free()
	require.Empty(t, p.Residue(t))

	// A bomb: 200 KiB that become 64 MiB.
	bomb := makeQCOW2(t, bytes.Repeat([]byte{1}, 64<<20), "-c")
	require.Less(t, len(bomb), 1<<20)
	require.ErrorIs(t, importQCOW2(t, p, bomb), storage.ErrNoSpace)
	// Empty disks cost nothing, however large.
	require.NoError(t, importRaw(io.LimitReader(zeroReader{}, 256<<20)))
	capacity, err := p.Capacity(t.Context())
	require.NoError(t, err)
	require.Greater(t, capacity.FreeBytes, 7*storage.MiB)

	_, err = p.CreateVolume(t.Context(), "kept", storage.MiB, storage.VolumeSource{})
	require.NoError(t, err)
	p.Fill(t, "kept", 0, storage.MiB, 7)
	require.NoError(t, p.CreateSnapshot(t.Context(), "kept", "before"))
	for _, rest := range []int64{0, 4 << 10} {
		free := fill(t, directory, rest)
		_, err = p.CreateVolume(t.Context(), "v", storage.MiB, storage.VolumeSource{})
		require.ErrorIs(t, err, storage.ErrNoSpace, rest)
		require.ErrorIs(t, p.CreateSnapshot(t.Context(), "kept", "new"), storage.ErrNoSpace, rest)
		require.ErrorIs(t, importRaw(ones(storage.MiB)), nil, "it is there already")
		volume, err := p.Volume(t.Context(), "kept")
		require.NoError(t, err)
		require.Equal(t, []string{"before"}, volume.Snapshots)
		require.True(t, p.Holds(t, "kept", 0, storage.MiB, 7))
		require.NoError(t, p.RestoreSnapshot(t.Context(), "kept", "before"))
		free()
		require.Empty(t, p.Residue(t))
		output, err := exec.CommandContext(t.Context(), "qemu-img", "check", "--image-opts", imageOptions("qcow2", p.volumeDisk("kept"))).CombinedOutput()
		require.NoError(t, err, "nothing broken, nothing leaked: %s", output)
	}
	free = fill(t, directory, 0)
	require.NoError(t, p.DeleteVolume(t.Context(), "kept"), "a full pool can be emptied")
	require.NoError(t, p.DeleteImage(t.Context(), "a"))
	free()
	require.Empty(t, p.Residue(t))
}

// once runs do when it is first read, and ends.
type once struct{ do func() }

func (o *once) Read([]byte) (int, error) { o.do(); return 0, io.EOF }

type zeroReader struct{}

func (zeroReader) Read(buffer []byte) (int, error) { clear(buffer); return len(buffer), nil }

func TestMaxBytes(t *testing.T) {
	p := openPool(t, t.TempDir(), WithMaxBytes(4*storage.MiB))
	source := storage.ImageSource{ID: "a", Format: storage.FormatRaw, Data: io.LimitReader(onesReader{}, 5<<20)}
	_, err := p.ImportImage(t.Context(), source)
	require.ErrorIs(t, err, storage.ErrNoSpace)
	require.Empty(t, p.Residue(t))
	// A bomb is refused by what it claims, before it is unpacked.
	require.ErrorIs(t, importQCOW2(t, p, makeQCOW2(t, bytes.Repeat([]byte{1}, 64<<20), "-c")), storage.ErrNoSpace)
	source.Data = io.LimitReader(onesReader{}, 1<<20)
	_, err = p.ImportImage(t.Context(), source)
	require.NoError(t, err)
	capacity, err := p.Capacity(t.Context())
	require.NoError(t, err)
	require.Equal(t, 4*storage.MiB, capacity.TotalBytes)
	require.Greater(t, capacity.UsedBytes, storage.MiB)
	require.Equal(t, capacity.TotalBytes, capacity.UsedBytes+capacity.FreeBytes)

	_, err = p.CreateVolume(t.Context(), "v", 8*storage.MiB, storage.VolumeSource{})
	require.NoError(t, err)
	p.Fill(t, "v", 0, 4*storage.MiB, 1) // a guest writes; the pool is over its limit now
	_, err = p.CreateVolume(t.Context(), "w", storage.MiB, storage.VolumeSource{})
	require.ErrorIs(t, err, storage.ErrNoSpace)
	capacity, err = p.Capacity(t.Context())
	require.NoError(t, err)
	require.Zero(t, capacity.FreeBytes)
	_, err = p.CreateVolume(t.Context(), "v", 8*storage.MiB, storage.VolumeSource{})
	require.NoError(t, err, "it exists")
}

type onesReader struct{}

func (onesReader) Read(buffer []byte) (int, error) {
	for index := range buffer {
		buffer[index] = 1
	}
	return len(buffer), nil
}

// TestModes: another user, as whom guests run, reaches what it must and nothing else.
func TestModes(t *testing.T) {
	previous := syscall.Umask(0o077) // a strict umask must not lock the guests out
	defer syscall.Umask(previous)
	root, err := os.MkdirTemp("", "coloa-modes-") // the test's own directory cannot be entered by others
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(root)) })
	require.NoError(t, os.Chmod(root, passMode))
	p := openPool(t, filepath.Join(root, "missing", "pool"))
	_, err = p.ImportImage(t.Context(), storage.ImageSource{ID: "a", Format: storage.FormatRaw, Data: io.LimitReader(onesReader{}, 1<<20)})
	require.NoError(t, err)
	_, err = p.CreateVolume(t.Context(), "v", storage.MiB, storage.VolumeSource{ImageID: "a"})
	require.NoError(t, err)

	const guest = 65534
	asGuest := func(arguments ...string) error {
		command := exec.CommandContext(t.Context(), arguments[0], arguments[1:]...)
		command.Dir = "/"
		command.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: guest, Gid: guest}}
		output, err := command.CombinedOutput()
		t.Logf("%v: %v %s", arguments, err, output)
		return err
	}
	if os.Geteuid() != 0 {
		t.Fatal("this test becomes another user; run it as root")
	}
	disk := p.volumeDisk("v")
	require.Error(t, asGuest("cat", disk), "before its guest runs a volume is root's")
	require.NoError(t, os.Chown(disk, guest, guest)) // as libvirt does when it starts the guest
	require.NoError(t, asGuest("qemu-io", "-c", "read -P 1 0 1048576", "-c", "write 0 512", "--image-opts", imageOptions("qcow2", disk)))
	require.Error(t, asGuest("sh", "-c", "echo > "+filepath.Join(p.imageDir("a"), diskName)), "an image is read-only")
	for _, directory := range []string{filepath.Join(root, "missing"), p.root, p.imagesDir(), p.volumesDir(), p.tmpDir(), p.volumeDir("v")} {
		require.Error(t, asGuest("ls", directory), "nobody lists the pool")
	}
	require.Error(t, asGuest("cat", filepath.Join(p.volumeDir("v"), volumeFile)))
	require.NoError(t, p.CreateSnapshot(t.Context(), "v", "s"), "the driver works on disks that libvirt has given away")
	require.NoError(t, p.DeleteVolume(t.Context(), "v"))
}

// TestReaderHoldsToo: one who only reads the disk (a backup) holds it against deletion and change.
func TestReaderHoldsToo(t *testing.T) {
	p := openPool(t, t.TempDir())
	_, err := p.CreateVolume(t.Context(), "v", storage.MiB, storage.VolumeSource{})
	require.NoError(t, err)
	release := p.hold(t, "v", "-r")
	require.ErrorIs(t, p.DeleteVolume(t.Context(), "v"), storage.ErrInUse)
	_, err = p.Volume(t.Context(), "v")
	require.NoError(t, err)
	release()
	require.NoError(t, p.DeleteVolume(t.Context(), "v"))
}

func TestDamagedVolume(t *testing.T) {
	p := openPool(t, t.TempDir())
	for _, id := range []string{"a", "b", "c"} {
		_, err := p.CreateVolume(t.Context(), id, storage.MiB, storage.VolumeSource{})
		require.NoError(t, err)
	}
	require.NoError(t, os.WriteFile(p.volumeDisk("a"), []byte("no disk"), 0o600))
	require.NoError(t, os.Remove(p.volumeDisk("b")))
	require.NoError(t, os.WriteFile(filepath.Join(p.volumeDir("c"), volumeFile), []byte("{"), 0o600))
	contents, err := p.Contents(t.Context())
	require.NoError(t, err)
	require.Len(t, contents.Volumes, 3, "a damaged volume is seen")
	for _, id := range []string{"a", "b", "c"} {
		_, err := p.Volume(t.Context(), id)
		require.Error(t, err)
		require.NotErrorIs(t, err, storage.ErrNotFound, "and is not taken for a missing one")
		require.NoError(t, p.DeleteVolume(t.Context(), id), "and can be deleted")
	}
	require.Empty(t, p.Residue(t))
}
