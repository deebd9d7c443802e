//go:build libvirt_dlopen

package libvirt_test

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coloa-cloud/coloa/agent/hypervisor/libvirt"
)

// daemon is a libvirtd of the test's own.
type daemon struct {
	t      *testing.T
	folder string
	output bytes.Buffer
}

func startDaemon(t *testing.T) *daemon {
	t.Helper()
	require.Zero(t, os.Getuid(), "this test starts a libvirtd of its own in a mount namespace, and needs root for that")
	script, err := filepath.Abs("testdata/private-libvirtd")
	require.NoError(t, err)
	made := &daemon{t: t, folder: openFolder(t)}
	made.want(true)
	command := exec.Command("tini", "-s", "--", "unshare", "--mount", script, made.folder, strconv.Itoa(os.Getpid()))
	command.Stdout, command.Stderr = &made.output, &made.output
	command.WaitDelay = 10 * time.Second
	require.NoError(t, command.Start(), "this test needs tini and unshare: apt-get install tini util-linux")
	t.Cleanup(func() {
		require.NoError(t, os.WriteFile(filepath.Join(made.folder, "end"), nil, 0o600))
		_ = command.Wait()
		if t.Failed() {
			t.Log("libvirtd said:", made.output.String())
		}
	})
	return made
}

// want says whether libvirtd is to be started (again).
func (daemon *daemon) want(wanted bool) {
	path := filepath.Join(daemon.folder, "wanted")
	if wanted {
		require.NoError(daemon.t, os.WriteFile(path, nil, 0o600))
		return
	}
	require.NoError(daemon.t, os.Remove(path))
}

func (daemon *daemon) signal(signal syscall.Signal) {
	text, err := os.ReadFile(filepath.Join(daemon.folder, "libvirtd.pid"))
	require.NoError(daemon.t, err)
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	require.NoError(daemon.t, err)
	require.NoError(daemon.t, syscall.Kill(pid, signal))
}

func (daemon *daemon) options(cluster string) libvirt.Options {
	return libvirt.Options{
		Cluster:      cluster,
		URI:          "qemu:///system?socket=" + filepath.Join(daemon.folder, "run", "libvirt-sock"),
		RunDirectory: filepath.Join(daemon.folder, "run", "qemu"),
	}
}

func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	deadline := time.Now().Add(2 * time.Minute) // emulated guests on a busy machine
	for !condition() {
		require.False(t, time.Now().After(deadline), "waited in vain until %s", what)
		time.Sleep(20 * time.Millisecond)
	}
}

func openDescriptors(t *testing.T) int {
	entries, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	return len(entries)
}

func within(t *testing.T, limit time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	t.Cleanup(cancel)
	return ctx
}
