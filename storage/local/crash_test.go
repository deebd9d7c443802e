package local

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
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
	"github.com/coloa-cloud/coloa/storage/mem"
)

// childEnvironment makes this test program a process that works on a pool until it is killed.
const childEnvironment = "COLOA_TEST_LOCAL_POOL"

func TestMain(m *testing.M) {
	if root := os.Getenv(childEnvironment); root != "" {
		if err := child(root); err != nil {
			fmt.Println("failed:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// child runs the script, a line of output for each step done, or one import from its stdin.
func child(root string) error {
	var options []Option
	if tool := os.Getenv("COLOA_TEST_LOCAL_TOOL"); tool != "" {
		options = append(options, WithQemuImg(tool))
	}
	driver, err := Open(root, options...)
	if err != nil {
		return err
	}
	fmt.Println("open")
	if os.Getenv("COLOA_TEST_LOCAL_IMPORT") != "" {
		_, err := driver.ImportImage(context.Background(), storage.ImageSource{ID: "image", Format: storage.FormatRaw, Data: os.Stdin})
		return err
	}
	for _, step := range script {
		if err := step.do(driver); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
		fmt.Println(step.name)
	}
	return nil
}

type step struct {
	name string
	do   func(d storage.Driver) error
}

// script is a life of two volumes with everything that changes the pool.
var script = func() []step {
	ctx := context.Background()
	create := func(id string, size int64, image string) step {
		return step{"create " + id, func(d storage.Driver) error {
			_, err := d.CreateVolume(ctx, id, size, storage.VolumeSource{ImageID: image})
			return err
		}}
	}
	snapshot := func(id, name string) step {
		return step{"snapshot " + name, func(d storage.Driver) error { return d.CreateSnapshot(ctx, id, name) }}
	}
	resize := func(id string, size int64) step {
		return step{"resize " + id, func(d storage.Driver) error { return d.ResizeVolume(ctx, id, size) }}
	}
	return []step{
		{"import", func(d storage.Driver) error {
			data := bytes.NewReader(bytes.Repeat([]byte("data"), 1<<18))
			_, err := d.ImportImage(ctx, storage.ImageSource{ID: "image", Format: storage.FormatRaw, Data: data})
			return err
		}},
		create("a", storage.MiB, "image"), snapshot("a", "one"), resize("a", 8*storage.MiB), create("b", 4*storage.MiB, ""), snapshot("a", "two"),
		{"restore one", func(d storage.Driver) error { return d.RestoreSnapshot(ctx, "a", "one") }},
		{"forget two", func(d storage.Driver) error { return d.DeleteSnapshot(ctx, "a", "two") }},
		resize("b", 16*storage.MiB),
		{"delete a", func(d storage.Driver) error { return d.DeleteVolume(ctx, "a") }},
		{"delete image", func(d storage.Driver) error { return d.DeleteImage(ctx, "image") }},
		{"delete b", func(d storage.Driver) error { return d.DeleteVolume(ctx, "b") }},
	}
}()

// state is what a pool holds, without the figures that differ between drivers.
func state(t *testing.T, d storage.Driver) string {
	t.Helper()
	contents, err := d.Contents(t.Context())
	require.NoError(t, err)
	text := fmt.Sprint(contents.Images)
	for _, volume := range contents.Volumes {
		text += fmt.Sprintf(" %s %d %s %v", volume.ID, volume.SizeBytes, volume.ImageID, volume.Snapshots)
	}
	return text
}

// startChild starts this program as child; its output comes line by line.
func startChild(t *testing.T, root string, more ...string) (command *exec.Cmd, stdin io.WriteCloser, lines *bufio.Scanner) {
	t.Helper()
	command = exec.CommandContext(t.Context(), os.Args[0])
	command.Env = append(append(os.Environ(), childEnvironment+"="+root), more...)
	stdin, err := command.StdinPipe()
	require.NoError(t, err)
	stdout, err := command.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, command.Start())
	lines = bufio.NewScanner(stdout)
	require.True(t, lines.Scan())
	require.Equal(t, "open", lines.Text())
	return command, stdin, lines
}

// requireToolsEnd waits until no qemu-img works on the pool any more: it must die with its driver.
func requireToolsEnd(t *testing.T, root string) {
	t.Helper()
	require.Eventually(t, func() bool {
		files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
		for _, file := range files {
			if text, _ := os.ReadFile(file); strings.Contains(string(text), root) {
				return false
			}
		}
		return true
	}, 5*time.Second, 5*time.Millisecond, "a qemu-img outlived its killed driver")
}

// TestKilledAnywhere kills the process at moments spread over the script. Afterwards the pool is exactly as after the last
// acknowledged step or the one after it, and the repeated step and the rest of the script succeed.
func TestKilledAnywhere(t *testing.T) {
	model := mem.New(mem.Options{})
	states := []string{state(t, model)}
	for _, step := range script {
		require.NoError(t, step.do(model))
		states = append(states, state(t, model))
	}
	start := time.Now()
	whole := t.TempDir()
	command, _, lines := startChild(t, whole)
	steps := 0
	for lines.Scan() {
		require.Equal(t, script[steps].name, lines.Text())
		steps++
	}
	require.NoError(t, command.Wait())
	require.Equal(t, len(script), steps)
	duration := time.Since(start)

	const rounds = 6
	for round := range rounds {
		root := t.TempDir()
		command, _, lines := startChild(t, root)
		kill := time.AfterFunc(duration*time.Duration(2*round+1)/(2*rounds), func() { _ = command.Process.Kill() })
		done := 0
		for lines.Scan() {
			require.NotContains(t, lines.Text(), "failed")
			done++
		}
		_ = command.Wait()
		kill.Stop()
		requireToolsEnd(t, root)

		p := openPool(t, root)
		require.Empty(t, p.Residue(t), "after %d steps", done)
		found := state(t, p)
		require.Contains(t, states[done:min(done+2, len(states))], found, "after %d steps", done)
		contents, err := p.Contents(t.Context())
		require.NoError(t, err)
		for _, volume := range contents.Volumes {
			output, err := exec.CommandContext(t.Context(), "qemu-img", "check", "--image-opts", imageOptions("qcow2", p.volumeDisk(volume.ID))).CombinedOutput()
			if err != nil { // 3: leaked clusters, which lose nothing
				require.Equal(t, "exit status 3", err.Error(), "%s", output)
			}
		}
		for index := done; index < len(script); index++ {
			require.NoError(t, script[index].do(p), "%s, repeated after %d steps", script[index].name, done)
			require.Equal(t, states[index+1], state(t, p))
		}
		require.Empty(t, p.Residue(t))
	}
}

func TestKilledImport(t *testing.T) {
	root := t.TempDir()
	command, stdin, _ := startChild(t, root, "COLOA_TEST_LOCAL_IMPORT=1")
	_, err := stdin.Write(bytes.Repeat([]byte("x"), 3<<20))
	require.NoError(t, err)
	var leftovers []string
	require.Eventually(t, func() bool {
		leftovers, err = filepath.Glob(filepath.Join(root, "tmp", "*", "upload"))
		return err == nil && len(leftovers) == 1
	}, 5*time.Second, time.Millisecond)

	_, err = Open(root)
	require.ErrorContains(t, err, "another process has this pool open")
	require.FileExists(t, leftovers[0], "and the second one has not cleaned up under the first")
	require.NoError(t, command.Process.Kill())
	_ = command.Wait()
	require.FileExists(t, leftovers[0])
	p := openPool(t, root)
	require.Empty(t, p.Residue(t))
	_, err = p.Image(t.Context(), "image")
	require.ErrorIs(t, err, storage.ErrNotFound)
}

// TestToolDiesWithDriver: a long qemu-img does not work on while the next driver opens the pool.
func TestToolDiesWithDriver(t *testing.T) {
	root, tool := t.TempDir(), filepath.Join(t.TempDir(), "qemu-img")
	pidFile := filepath.Join(t.TempDir(), "pid")
	// It becomes another program, as prlimit becomes qemu-img.
	require.NoError(t, os.WriteFile(tool, []byte("#!/bin/sh\necho $$ > "+pidFile+".new; mv "+pidFile+".new "+pidFile+"; exec sleep 1000\n"), 0o700))
	command, _, _ := startChild(t, root, "COLOA_TEST_LOCAL_TOOL="+tool)
	var text []byte
	require.Eventually(t, func() bool {
		var err error
		text, err = os.ReadFile(pidFile)
		return err == nil
	}, 10*time.Second, time.Millisecond)
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	require.NoError(t, err)
	t.Cleanup(func() { _ = syscall.Kill(pid, syscall.SIGKILL) })
	require.True(t, alive(pid))
	require.NoError(t, command.Process.Kill())
	_ = command.Wait()
	require.Eventually(t, func() bool { return !alive(pid) }, 5*time.Second, 5*time.Millisecond, "qemu-img outlived its killed driver")
}
