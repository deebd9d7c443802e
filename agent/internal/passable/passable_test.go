package passable_test

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coloa-cloud/coloa/agent/internal/passable"
)

func TestModesWhateverTheUmask(t *testing.T) {
	above := t.TempDir()
	require.NoError(t, os.Chmod(above, 0o750))
	former := syscall.Umask(0o027)
	defer syscall.Umask(former)
	path := filepath.Join(above, "a", "b", "c")
	for range 2 {
		require.NoError(t, passable.Make(path))
		for folder, mode := range map[string]os.FileMode{above: 0o750, filepath.Join(above, "a"): passable.Mode, filepath.Join(above, "a", "b"): passable.Mode, path: passable.Mode} {
			info, err := os.Stat(folder)
			require.NoError(t, err)
			require.Equal(t, mode, info.Mode().Perm(), folder)
		}
		require.NoError(t, os.Chmod(path, 0o700)) // a folder that was there
	}
	file := filepath.Join(above, "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	require.Error(t, passable.Make(filepath.Join(file, "folder")))
}
