package hostservices_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coloa-cloud/coloa/agent/hypervisor/conformance"
)

// TestLifeOfEnsureLibvirtd runs the script's whole life against real daemons and a real guest, in a mount namespace of its own.
func TestLifeOfEnsureLibvirtd(t *testing.T) {
	require.Zero(t, os.Getuid(), "this test starts daemons in a mount namespace of its own, and needs root for that")
	folder, err := os.MkdirTemp("", "coloa-hostservices-test-") // not t.TempDir: guests could not enter it
	require.NoError(t, err)
	defer func() { require.NoError(t, os.RemoveAll(folder)) }()
	require.NoError(t, os.Chmod(folder, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(folder, "disk.raw"), append(conformance.Guest(), make([]byte, 1<<20-512)...), 0o600))
	output, err := exec.Command("unshare", "--mount", "testdata/life-of-ensure-libvirtd", folder).CombinedOutput()
	require.NoError(t, err, "%s", output)
	require.Equal(t, 7, strings.Count(string(output), "ok: "), "%s", output)
}

func TestScriptsAreClean(t *testing.T) {
	output, err := exec.Command("shellcheck", "ensure-libvirtd", "testdata/life-of-ensure-libvirtd").CombinedOutput()
	require.NoError(t, err, "shellcheck (apt-get install shellcheck) says: %s", output)
}

func TestUnknownCommandIsRefused(t *testing.T) {
	output, err := exec.Command("./ensure-libvirtd", "restart").CombinedOutput()
	require.Error(t, err)
	require.Contains(t, string(output), "known: ensure (default), status, stop")
}
