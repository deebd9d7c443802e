package local

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coloa-cloud/coloa/storage"
)

// scriptedDriver has a shell script in the place of qemu-img.
func scriptedDriver(t *testing.T, script string) *Driver {
	t.Helper()
	path := filepath.Join(t.TempDir(), "qemu-img")
	require.NoError(t, os.WriteFile(path, []byte("#!/bin/sh\n"+script), 0o700))
	return openPool(t, t.TempDir(), WithQemuImg(path)).Driver
}

func TestRunEnvironment(t *testing.T) {
	t.Setenv("CANARY", "must not be seen")
	d := scriptedDriver(t, `env | sort; pwd; ulimit -v; ulimit -t; ulimit -c; ulimit -f; echo "$2"`)
	require.NotEmpty(t, d.prlimit, "install util-linux: qemu-img is not bounded without prlimit")
	output, err := d.runQemuImg(t.Context(), limits{wall: 9 * time.Second, fileBytes: storage.MiB}, "verb", `$(id) 'a' "b"`)
	require.NoError(t, err)
	require.NotContains(t, string(output), "CANARY")
	require.Equal(t, []string{
		"LC_ALL=C", "MALLOC_ARENA_MAX=2", "PWD=/", "/", strconv.FormatInt(addressSpace/1024, 10), "9", "0", "2048", `$(id) 'a' "b"`,
	}, strings.Split(strings.TrimSpace(string(output)), "\n"))
}

func TestRunIsEnded(t *testing.T) {
	pidFile := filepath.Join(t.TempDir(), "pid")
	d := scriptedDriver(t, "sleep 1000 & echo $! > "+pidFile+".new; mv "+pidFile+".new "+pidFile+"; wait")
	grandchildEnds := func() {
		t.Helper()
		text, err := os.ReadFile(pidFile)
		require.NoError(t, err)
		pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
		require.NoError(t, err)
		require.Eventually(t, func() bool { return !alive(pid) }, 5*time.Second, 5*time.Millisecond, "the whole process group is killed")
		require.NoError(t, os.Remove(pidFile))
	}
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		for {
			if _, err := os.Stat(pidFile); err == nil {
				cancel()
				return
			}
			time.Sleep(time.Millisecond)
		}
	}()
	_, err := d.runQemuImg(ctx, quick, "info")
	require.ErrorIs(t, err, context.Canceled)
	grandchildEnds()

	_, err = d.runQemuImg(t.Context(), limits{wall: time.Second}, "info")
	require.ErrorIs(t, err, errTool)
	require.ErrorContains(t, err, "took longer than 1s")
	grandchildEnds()
}

// alive says whether a process runs; one that waits to be reaped does not.
func alive(pid int) bool {
	if errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
		return false
	}
	stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	return err == nil && !strings.Contains(string(stat), ") Z ")
}

func TestRunErrors(t *testing.T) {
	for _, test := range []struct {
		name, script string
		is           error
		contains     string
	}{
		{"line", "echo 'qemu-img: it is broken' >&2; echo more >&2; exit 1", errTool, "verb: it is broken (exit status 1)"},
		{"silent", "exit 7", errTool, "exit status 7"},
		{"killed", "kill -9 $$", errTool, "signal: killed"},
		{"lock", `echo 'qemu-img: Could not open: Failed to get "write" lock' >&2; exit 1`, storage.ErrInUse, "in use"},
		{"shared lock", `echo 'qemu-img: Could not open: Failed to get shared "write" lock' >&2; exit 1`, storage.ErrInUse, "in use"},
		{"full", "echo 'qemu-img: error while writing at byte 0: No space left on device' >&2; exit 1", storage.ErrNoSpace, "byte 0"},
		{"escape codes", `printf 'a\033[31mb\rc\n' >&2; exit 1`, errTool, "a?[31mb?c"},
		{"flood", "head -c 10000000 /dev/zero | tr '\\0' x >&2; exit 1", errTool, "xxx…"},
		{"too much", "head -c 10000000 /dev/zero", nil, "wrote more than"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := scriptedDriver(t, test.script).runQemuImg(t.Context(), quick, "verb")
			require.ErrorContains(t, err, test.contains)
			require.Less(t, len(err.Error()), 500)
			if test.is != nil {
				require.ErrorIs(t, err, test.is)
			}
		})
	}
	d := scriptedDriver(t, "")
	require.NoError(t, os.Remove(d.qemuImg))
	_, err := d.runQemuImg(t.Context(), quick, "verb")
	require.Error(t, err)
	_, err = Open(t.TempDir(), WithQemuImg("no-such-program"))
	require.ErrorContains(t, err, "qemu-utils")
}

// TestConversionEnded: the caller gives up, or something fails, while qemu-img converts.
func TestConversionEnded(t *testing.T) {
	program, err := exec.LookPath("qemu-img")
	require.NoError(t, err)
	started := filepath.Join(t.TempDir(), "started")
	d := scriptedDriver(t, `case "$1" in
convert) for target; do :; done; echo half > "$target"; touch `+started+`; sleep 1000;;
*) exec `+program+` "$@";;
esac`)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	failed := make(chan error)
	go func() {
		_, err := d.ImportImage(ctx, storage.ImageSource{ID: "a", Format: storage.FormatRaw, Data: strings.NewReader(strings.Repeat("x", 512))})
		failed <- err
	}()
	require.Eventually(t, func() bool { _, err := os.Stat(started); return err == nil }, 10*time.Second, time.Millisecond)
	require.Len(t, pool{d}.Residue(t), 1)
	cancel()
	require.ErrorIs(t, <-failed, context.Canceled)
	require.Empty(t, pool{d}.Residue(t))

	for message, expected := range map[string]error{
		"error while writing at byte 0: No space left on device": storage.ErrNoSpace,
		"error while reading at byte 0: Input/output error":      storage.ErrInvalidImage, // what bad compressed data gives
		"error while writing at byte 0: Input/output error":      errTool,
	} {
		d := scriptedDriver(t, `case "$1" in
convert) for target; do :; done; echo half > "$target"; echo 'qemu-img: `+message+`' >&2; exit 1;;
*) exec `+program+` "$@";;
esac`)
		_, err := d.ImportImage(t.Context(), storage.ImageSource{ID: "a", Format: storage.FormatRaw, Data: strings.NewReader(strings.Repeat("x", 512))})
		require.ErrorIs(t, err, expected)
		require.Equal(t, expected == storage.ErrInvalidImage, errors.Is(err, storage.ErrInvalidImage), "our own trouble is not blamed on the file")
		require.Empty(t, pool{d}.Residue(t))
	}
}

// TestImportWithoutTool: nor is the file to blame when qemu-img cannot be run at all.
func TestImportWithoutTool(t *testing.T) {
	d := scriptedDriver(t, "exit 0")
	require.NoError(t, os.Remove(d.qemuImg))
	source := storage.ImageSource{ID: "a", Format: storage.FormatRaw, Data: strings.NewReader(strings.Repeat("x", 512))}
	_, err := d.ImportImage(t.Context(), source)
	require.Error(t, err)
	require.NotErrorIs(t, err, storage.ErrInvalidImage)
	require.Empty(t, pool{d}.Residue(t))
}
