package single

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// leases runs lines of bash with the functions of lib/libvirt.sh, over a libvirt that only notes whether it runs.
func leases(t *testing.T, folder, lines string) {
	t.Helper()
	fake := filepath.Join(folder, "ensure-libvirtd")
	require.NoError(t, os.WriteFile(fake, []byte(`#!/bin/bash
case ${1:-ensure} in
status) [[ -e `+folder+`/runs ]] ;;
ensure) touch `+folder+`/runs ;;
stop) rm `+folder+`/runs ;;
esac
`), 0o700))
	command := exec.Command("bash", "-Eeuo", "pipefail", "-c", `source lib/common.sh; source lib/libvirt.sh
libvirt_run_dir=$1/run lease_dir=$1/run/users started_here=$1/run/started hostservices=$1/ensure-libvirtd
`+lines, "test", folder)
	output, err := command.CombinedOutput()
	require.NoError(t, err, string(output))
}

func names(t *testing.T, folder string) string {
	t.Helper()
	entries, err := os.ReadDir(folder)
	require.NoError(t, err)
	var all []string
	for _, entry := range entries {
		all = append(all, entry.Name())
	}
	return strings.Join(all, " ")
}

func TestTheLastUserStopsALibvirtThatAnotherStarted(t *testing.T) {
	folder := t.TempDir()
	leases(t, folder, `libvirt_acquire path:/etc; libvirt_acquire pid:$$; libvirt_acquire path:/etc; libvirt_release path:/etc; [[ -e $1/runs ]]`)
	require.FileExists(t, filepath.Join(folder, "run", "started"))
	leases(t, folder, `libvirt_acquire path:/usr; libvirt_release path:/usr`) // the process above has ended without a word
	require.NoFileExists(t, filepath.Join(folder, "runs"))
	require.Empty(t, names(t, filepath.Join(folder, "run")))
}

func TestALibvirtThatRanBeforeStays(t *testing.T) {
	folder := t.TempDir()
	leases(t, folder, `touch "$1/runs"; libvirt_acquire path:/etc; libvirt_release path:/etc`)
	require.FileExists(t, filepath.Join(folder, "runs"))
	require.Empty(t, names(t, filepath.Join(folder, "run")))
}

func TestACloudThatWasRemovedByHandHoldsNothing(t *testing.T) {
	folder := t.TempDir()
	leases(t, folder, `mkdir "$1/cloud"; libvirt_acquire "path:$1/cloud"; rmdir "$1/cloud"; libvirt_acquire path:/etc; libvirt_release path:/etc`)
	require.NoFileExists(t, filepath.Join(folder, "runs"))
}
