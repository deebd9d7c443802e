package local

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coloa-cloud/coloa/storage"
	"github.com/coloa-cloud/coloa/storage/conformance"
)

// pool is a Driver with what the suite needs to play the guest: qemu-io opens disks as qemu does, with its locks.
type pool struct{ *Driver }

func openPool(t *testing.T, root string, options ...Option) pool {
	t.Helper()
	driver, err := Open(root, options...)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, driver.Close()) })
	return pool{driver}
}

func TestConformance(t *testing.T) {
	// A comma in the path: qemu's options are separated by commas.
	conformance.Run(t, func(t *testing.T) storage.Driver { return openPool(t, filepath.Join(t.TempDir(), "a,pool = 1")) })
}

// qemuIO runs one qemu-io command on a volume and returns what it said.
func (p pool) qemuIO(t *testing.T, volume, command string) string {
	t.Helper()
	output, err := exec.CommandContext(t.Context(), "qemu-io", "-c", command, "--image-opts", imageOptions(storage.FormatQCOW2, p.volumeDisk(volume))).CombinedOutput()
	require.NoError(t, err, "%s", output)
	return string(output)
}

func (p pool) Fill(t *testing.T, volume string, offset, length int64, value byte) {
	t.Helper()
	output := p.qemuIO(t, volume, fmt.Sprintf("write -P %d %d %d", value, offset, length))
	require.Contains(t, output, fmt.Sprintf("wrote %d/%d bytes", length, length))
}

func (p pool) Holds(t *testing.T, volume string, offset, length int64, value byte) bool {
	t.Helper()
	output, err := exec.CommandContext(t.Context(), "qemu-io", "-r", "-c", fmt.Sprintf("read -P %d %d %d", value, offset, length),
		"--image-opts", imageOptions(storage.FormatQCOW2, p.volumeDisk(volume))).CombinedOutput()
	require.Contains(t, string(output), fmt.Sprintf("read %d/%d bytes", length, length))
	if strings.Contains(string(output), "Pattern verification failed") {
		return false
	}
	require.NoError(t, err, "%s", output)
	return true
}

func (p pool) Hold(t *testing.T, volume string) (release func()) { return p.hold(t, volume) }

// hold opens a volume, with these flags of qemu-io, until release.
func (p pool) hold(t *testing.T, volume string, flags ...string) (release func()) {
	t.Helper()
	command := exec.CommandContext(t.Context(), "qemu-io", append(flags, "--image-opts", imageOptions(storage.FormatQCOW2, p.volumeDisk(volume)))...)
	stdin, err := command.StdinPipe()
	require.NoError(t, err)
	stdout, err := command.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, command.Start())
	_, err = fmt.Fprintln(stdin, "read 0 512")
	require.NoError(t, err)
	lines := bufio.NewScanner(stdout)
	for lines.Scan() && !strings.Contains(lines.Text(), "read 512/512") {
	}
	require.Contains(t, lines.Text(), "read 512/512", "qemu-io did not open the volume")
	return func() {
		require.NoError(t, stdin.Close())
		for lines.Scan() { // to its end, or qemu-io blocks on the pipe
		}
		require.NoError(t, command.Wait())
	}
}

// Residue lists what must not be there: work left in tmp, and anything in the pool that is not a whole image or volume.
func (p pool) Residue(t *testing.T) []string {
	t.Helper()
	var residue []string
	for directory, expected := range map[string][]string{p.tmpDir(): nil, p.imagesDir(): {diskName, imageFacts}, p.volumesDir(): {diskName, volumeFile}} {
		entries, err := os.ReadDir(directory)
		require.NoError(t, err)
		for _, entry := range entries {
			if expected == nil {
				residue = append(residue, filepath.Join(directory, entry.Name()))
				continue
			}
			files, err := os.ReadDir(filepath.Join(directory, entry.Name()))
			require.NoError(t, err)
			names := []string{}
			for _, file := range files {
				names = append(names, file.Name())
			}
			if fmt.Sprint(names) != fmt.Sprint(expected) {
				residue = append(residue, fmt.Sprintf("%s holds %v", filepath.Join(directory, entry.Name()), names))
			}
		}
	}
	return residue
}
