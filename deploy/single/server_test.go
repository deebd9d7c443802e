package single

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
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

// server is a cloud under a prefix of its own.
type server struct {
	t           *testing.T
	prefix      string
	port        int
	environment []string
}

// newServer chooses a place and ports, and makes sure that nothing stays of it.
func newServer(t *testing.T) *server {
	t.Helper()
	require.Zero(t, os.Geteuid(), "this test brings up a server, which needs root; without root there is make test-unit")
	// Not t.TempDir, whose parent others cannot pass through: qemu runs as another user.
	prefix, err := os.MkdirTemp("/var/tmp", "coloa-e2e-")
	require.NoError(t, err)
	require.NoError(t, os.Chmod(prefix, 0o711))
	s := &server{t: t, prefix: prefix, port: freePorts(t, 4)}
	s.environment = append(os.Environ(), "COLOA_PREFIX="+prefix, "COLOA_PORT_BASE="+strconv.Itoa(s.port), "COLOA_ADDRESS=127.0.0.1",
		"COLOA_CONFIG="+s.path("user/config.yaml"), "COLOA_BIN="+s.path("bin"), "SUDO_USER=", "LANG=C.UTF-8")
	output, err := exec.Command("make", "-C", "../..", "build", "BIN="+s.path("bin")).CombinedOutput()
	require.NoError(t, err, string(output))
	t.Cleanup(func() {
		if t.Failed() {
			s.showLogs()
		}
		_, _ = s.run("./down")
		_ = os.RemoveAll(prefix)
	})
	return s
}

// freePorts finds that many ports in a row that nobody listens on.
func freePorts(t *testing.T, count int) int {
	t.Helper()
	for range 100 {
		first := 20000 + rand.IntN(10000)
		free := true
		for port := first; port < first+count; port++ {
			listener, err := net.Listen("tcp", ":"+strconv.Itoa(port))
			if err != nil {
				free = false
				break
			}
			_ = listener.Close()
		}
		if free {
			return first
		}
	}
	require.FailNow(t, "no free ports")
	return 0
}

func (s *server) path(name string) string { return filepath.Join(s.prefix, name) }

func (s *server) run(name string, arguments ...string) (string, error) {
	command := exec.Command(name, arguments...)
	command.Env = s.environment
	var output, messages bytes.Buffer
	command.Stdout, command.Stderr = &output, &messages
	err := command.Run()
	if err != nil {
		err = fmt.Errorf("%s %s: %w: %s%s", name, strings.Join(arguments, " "), err, &output, &messages)
	}
	if name == "./up" || name == "./down" {
		return messages.String(), err
	}
	return output.String(), err
}

// script runs up or down, and returns what it said to people.
func (s *server) script(name string) string {
	s.t.Helper()
	text, err := s.run(name)
	require.NoError(s.t, err)
	s.t.Log(text)
	return text
}

// coloa runs the command line in this cloud's context and returns its output.
func (s *server) coloa(arguments ...string) string {
	s.t.Helper()
	text, err := s.tryColoa(arguments...)
	require.NoError(s.t, err)
	return text
}

func (s *server) tryColoa(arguments ...string) (string, error) {
	return s.run(s.path("bin/coloa"), arguments...)
}

// read decodes JSON of the command line.
func read[T any](s *server, arguments ...string) T {
	s.t.Helper()
	var value T
	require.NoError(s.t, json.Unmarshal([]byte(s.coloa(append(arguments, "-o", "json")...)), &value))
	return value
}

// hear waits until the guest's serial log holds the words.
func (s *server) hear(vm, words string) {
	s.t.Helper()
	s.eventually(90*time.Second, "the guest "+vm+" to say "+words, func() bool {
		text, err := s.tryColoa("vm", "log", vm)
		return err == nil && strings.Contains(text, words)
	})
}

func (s *server) eventually(limit time.Duration, what string, holds func() bool) {
	s.t.Helper()
	for deadline := time.Now().Add(limit); !holds(); time.Sleep(300 * time.Millisecond) {
		require.True(s.t, time.Now().Before(deadline), "waited %s for %s", limit, what)
	}
}

// pid is the process of a service itself (not of its supervisor); 0 when there is none.
func (s *server) pid(service string) int {
	text, err := os.ReadFile(s.path("run/coloa/" + service + ".child.pid"))
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || syscall.Kill(pid, 0) != nil {
		return 0
	}
	return pid
}

// end sends a signal to services and waits until other processes do their work.
func (s *server) end(signal syscall.Signal, services ...string) {
	s.t.Helper()
	before := map[string]int{}
	for _, service := range services {
		before[service] = s.pid(service)
		require.NotZero(s.t, before[service], "the %s does not run", service)
	}
	for _, pid := range before {
		require.NoError(s.t, syscall.Kill(pid, signal))
	}
	for service, old := range before {
		s.eventually(60*time.Second, "the "+service+" to be started again", func() bool {
			pid := s.pid(service)
			return pid != 0 && pid != old
		})
	}
	s.eventually(60*time.Second, "the cloud to be well again", func() bool {
		_, err := s.tryColoa("cluster", "status")
		return err == nil
	})
}

// domains are this cloud's guests as libvirt knows them: names by UUID.
func (s *server) domains(cluster string) []string {
	s.t.Helper()
	list, err := exec.Command("virsh", "-q", "-c", "qemu:///system", "list", "--all", "--uuid").Output()
	require.NoError(s.t, err, "libvirt does not answer")
	var ours []string
	for _, uuid := range strings.Fields(string(list)) {
		text, err := exec.Command("virsh", "-q", "-c", "qemu:///system", "metadata", uuid, "--uri", "https://coloa.cloud/libvirt/machine/1").Output()
		if err == nil && strings.Contains(string(text), cluster) {
			ours = append(ours, uuid)
		}
	}
	return ours
}

// qemu is the process of a VM's guest.
func (s *server) qemu(vm string) int {
	s.t.Helper()
	instance := strings.TrimSpace(s.coloa("vm", "show", vm, "-o", "json", "--jq", ".status.instance"))
	name, err := exec.Command("virsh", "-q", "-c", "qemu:///system", "domname", instance).Output()
	require.NoError(s.t, err, "libvirt does not know the instance %s of %s", instance, vm)
	text, err := os.ReadFile("/run/libvirt/qemu/" + strings.TrimSpace(string(name)) + ".pid")
	require.NoError(s.t, err)
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	require.NoError(s.t, err)
	require.NoError(s.t, syscall.Kill(pid, 0))
	return pid
}

// files are all files below a folder of the prefix.
func (s *server) files(folder string) []string {
	var found []string
	_ = filepath.WalkDir(s.path(folder), func(path string, entry os.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			found = append(found, strings.TrimPrefix(path, s.prefix+"/"))
		}
		return nil
	})
	return found
}

func (s *server) showLogs() {
	for _, name := range []string{"controller", "agent", "up"} {
		text, err := os.ReadFile(s.path("var/log/coloa/" + name + ".log"))
		if err != nil {
			continue
		}
		lines := strings.Split(string(text), "\n")
		s.t.Logf("the end of %s.log:\n%s", name, strings.Join(lines[max(0, len(lines)-60):], "\n"))
	}
}
