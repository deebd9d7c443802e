package single

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// supervised starts supervise over a program written in bash, under tini as `up` does, and returns the folder with its pid file and log.
func supervised(t *testing.T, program string) (folder string, supervisor *exec.Cmd) {
	t.Helper()
	folder = t.TempDir()
	path := filepath.Join(folder, "program")
	require.NoError(t, os.WriteFile(path, []byte("#!/bin/bash\n"+program), 0o700))
	supervisor = exec.Command("tini", "-s", "--", "./supervise", "service", path, "configuration", folder, folder)
	require.NoError(t, supervisor.Start())
	t.Cleanup(func() {
		_ = supervisor.Process.Kill()
		_ = supervisor.Wait()
	})
	return folder, supervisor
}

func child(folder string) int {
	text, err := os.ReadFile(filepath.Join(folder, "service.child.pid"))
	if err != nil {
		return 0
	}
	pid, _ := strconv.Atoi(strings.TrimSpace(string(text)))
	return pid
}

// started waits for a process other than former that has come so far as to write its line into the log.
func started(t *testing.T, folder string, former int) (pid int) {
	t.Helper()
	require.Eventually(t, func() bool {
		pid = child(folder)
		log, _ := os.ReadFile(filepath.Join(folder, "service.log"))
		return pid != 0 && pid != former && strings.Contains(string(log), "started "+strconv.Itoa(pid)+"\n")
	}, 10*time.Second, 20*time.Millisecond)
	return pid
}

func gone(pid int) bool { return syscall.Kill(pid, 0) != nil }

const patient = `[[ $1 == --config && $2 == configuration ]] || exit 9
trap 'echo ends; exit 0' TERM
echo "started $$"
while true; do sleep 0.05; done`

func TestAServiceComesBackAndEndsWhenAsked(t *testing.T) {
	t.Parallel()
	folder, supervisor := supervised(t, patient)
	first := started(t, folder, 0)
	require.NoError(t, syscall.Kill(first, syscall.SIGKILL))
	second := started(t, folder, first)

	require.NoError(t, supervisor.Process.Signal(syscall.SIGTERM))
	require.NoError(t, supervisor.Wait())
	require.True(t, gone(second))
	require.NoFileExists(t, filepath.Join(folder, "service.child.pid"))
	log, err := os.ReadFile(filepath.Join(folder, "service.log"))
	require.NoError(t, err)
	require.Equal(t, 1, strings.Count(string(log), "ends\n"))
	require.Contains(t, string(log), "the service ended with status 137; it is started again in 1 s")
}

// A supervisor that is killed takes its service along: the next one could not start a second beside it.
func TestNoServiceWithoutItsSupervisor(t *testing.T) {
	t.Parallel()
	folder, supervisor := supervised(t, patient)
	pid := started(t, folder, 0)
	tini := strconv.Itoa(supervisor.Process.Pid)
	text, err := os.ReadFile(filepath.Join("/proc", tini, "task", tini, "children"))
	require.NoError(t, err)
	bash, err := strconv.Atoi(strings.TrimSpace(string(text)))
	require.NoError(t, err)
	require.NoError(t, syscall.Kill(bash, syscall.SIGKILL))
	require.Eventually(t, func() bool { return gone(pid) }, 10*time.Second, 20*time.Millisecond)
}

// One that cannot start is tried less and less often.
func TestAFailingServiceIsTriedLessOften(t *testing.T) {
	t.Parallel()
	folder, supervisor := supervised(t, "echo no; exit 3")
	time.Sleep(5 * time.Second)
	require.NoError(t, supervisor.Process.Signal(syscall.SIGTERM))
	require.NoError(t, supervisor.Wait())
	log, err := os.ReadFile(filepath.Join(folder, "service.log"))
	require.NoError(t, err)
	require.Equal(t, 3, strings.Count(string(log), "no\n")) // at 0, 1 and 3 s
}

func TestTheLogStaysBounded(t *testing.T) {
	t.Parallel()
	folder, supervisor := supervised(t, `head -c 17000000 /dev/zero; echo "started $$"; exec sleep 60`)
	pid := started(t, folder, 0)
	require.NoError(t, syscall.Kill(pid, syscall.SIGKILL)) // it also looks when the service ends
	require.Eventually(t, func() bool {
		former, err := os.Stat(filepath.Join(folder, "service.log.1"))
		return err == nil && former.Size() >= 17000000
	}, 10*time.Second, 20*time.Millisecond)
	require.NoError(t, supervisor.Process.Signal(syscall.SIGTERM))
	require.NoError(t, supervisor.Wait())
}
