package single

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	v1 "github.com/coloa-cloud/coloa/api/v1"
)

// The whole life of a server: up, up again, a guest that outlives its keepers, nothing left of what is deleted, down. The parts follow each other on one
// cloud, because bringing one up takes half a minute.
func TestLifeOfAServer(t *testing.T) {
	s := newServer(t)
	// The user has another cloud already; it must stay as it is.
	require.NoError(t, os.MkdirAll(s.path("user"), 0o700))
	other := "contexts:\n  other:\n    endpoints:\n    - https://192.0.2.1:8443\ncurrent: other\n"
	require.NoError(t, os.WriteFile(s.path("user/config.yaml"), []byte(other), 0o600))

	said := s.script("./up")
	require.Contains(t, said, "Hello from the virtual machine hello")
	require.Contains(t, said, "make down")
	cluster := read[v1.ClusterStatus](s, "cluster", "status").ID
	require.Len(t, s.domains(cluster), 1)

	steps := []struct {
		name string
		do   func(*testing.T, *server)
	}{
		{"no secret lies open", noSecretLiesOpen},
		{"up again changes nothing", upAgain},
		{"user-data speaks", userDataSpeaks},
		{"guests outlive agent and controller", guestsOutlive},
		{"restarts change nothing", restartsChangeNothing},
		{"delete leaves nothing", deleteLeavesNothing},
	}
	for _, step := range steps {
		if !t.Run(step.name, func(t *testing.T) {
			part := *s
			part.t = t
			step.do(t, &part)
		}) {
			return // what follows builds on it
		}
	}

	controller, agent := s.pid("controller"), s.pid("agent")
	said = s.script("./down")
	require.Contains(t, said, "machine       hello")
	require.Empty(t, s.domains(cluster))
	require.Error(t, syscall.Kill(controller, 0))
	require.Error(t, syscall.Kill(agent, 0))
	require.NoError(t, os.RemoveAll(s.path("bin"))) // ours, not down's
	require.Equal(t, []string{"user/config.yaml"}, s.files(""))
	text, err := os.ReadFile(s.path("user/config.yaml"))
	require.NoError(t, err)
	require.Contains(t, string(text), "https://192.0.2.1:8443")
	require.NotContains(t, string(text), "127.0.0.1")

	said = s.script("./down")
	require.Contains(t, said, "There is no cloud")
}

// noSecretLiesOpen: private keys and tokens are for their owner alone, and never in a log or an argument.
func noSecretLiesOpen(t *testing.T, s *server) {
	require.NoFileExists(t, s.path("run/coloa/first-token"))
	require.NoFileExists(t, s.path("etc/coloa/first.json"))
	for _, name := range s.files("") {
		info, err := os.Lstat(s.path(name))
		require.NoError(t, err)
		if !info.Mode().IsRegular() || info.Size() > 1<<20 {
			continue
		}
		text, err := os.ReadFile(s.path(name))
		require.NoError(t, err)
		if strings.Contains(string(text), "PRIVATE KEY") || strings.Contains(string(text), "coloa_") || strings.Contains(string(text), "coloa1_") {
			require.Zero(t, info.Mode().Perm()&0o077, name)
			require.NotContains(t, name, "var/log")
		}
	}
	commands, err := filepath.Glob("/proc/[0-9]*/cmdline")
	require.NoError(t, err)
	for _, name := range commands {
		if text, err := os.ReadFile(name); err == nil {
			require.NotContains(t, string(text), "coloa1_")
		}
	}
}

func upAgain(t *testing.T, s *server) {
	configuration := contents(t, s, "etc/coloa")
	controller, agent, qemu := s.pid("controller"), s.pid("agent"), s.qemu("hello")
	versions := s.coloa("vm", "list", "-o", "json", "--jq", ".[] | [.id, .version]")
	said := s.script("./up")
	require.NotContains(t, said, "installed ")
	for _, what := range []string{"demo was there", "tiny was there", "small was there", "hello was there", "context " + s.context() + " was there", "they ran already"} {
		require.Contains(t, said, what)
	}
	require.Equal(t, []int{controller, agent, qemu}, []int{s.pid("controller"), s.pid("agent"), s.qemu("hello")})
	require.Equal(t, configuration, contents(t, s, "etc/coloa"))
	require.Equal(t, versions, s.coloa("vm", "list", "-o", "json", "--jq", ".[] | [.id, .version]"))
}

func (s *server) context() string { return fmt.Sprintf("local-%d", s.port) }

func contents(t *testing.T, s *server, folder string) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, name := range s.files(folder) {
		text, err := os.ReadFile(s.path(name))
		require.NoError(t, err)
		all[name] = string(text)
	}
	return all
}

func userDataSpeaks(t *testing.T, s *server) {
	word := fmt.Sprintf("word-%08x", rand.Uint32())
	script := filepath.Join(t.TempDir(), "user-data")
	require.NoError(t, os.WriteFile(script, []byte("#!/bin/sh\necho "+word+"\n"), 0o600))
	s.coloa("vm", "create", "second", "--flavor", "small", "--image", "tiny", "--user-data", script)
	s.hear("second", word)
}

// guestsOutlive: neither program's sudden death touches a guest, and afterwards it still obeys.
func guestsOutlive(t *testing.T, s *server) {
	qemu := s.qemu("second")
	for _, services := range [][]string{{"agent"}, {"controller"}, {"controller", "agent"}} {
		s.end(syscall.SIGKILL, services...)
		require.Equal(t, qemu, s.qemu("second"), "after the death of %v", services)
		s.eventually(30*time.Second, "the VM to be seen running", func() bool {
			return read[v1.VM](s, "vm", "show", "second").Status.Phase == v1.VMRunning
		})
	}
	s.coloa("vm", "stop", "second", "--force")
	require.Equal(t, v1.VMStopped, read[v1.VM](s, "vm", "show", "second").Status.Phase)
	require.Error(t, syscall.Kill(qemu, 0))
	s.coloa("vm", "start", "second")
	require.Equal(t, v1.VMRunning, read[v1.VM](s, "vm", "show", "second").Status.Phase)
	require.NotEqual(t, qemu, s.qemu("second"))
}

func restartsChangeNothing(t *testing.T, s *server) {
	wishes := func() any {
		return []any{read[[]v1.VM](s, "vm", "list"), read[[]v1.Volume](s, "volume", "list"), read[[]v1.Instance](s, "instance", "list"), read[[]v1.Operation](s, "operation", "list")}
	}
	before, first, second := wishes(), s.qemu("hello"), s.qemu("second")
	for range 2 {
		s.end(syscall.SIGTERM, "controller", "agent")
	}
	require.Equal(t, before, wishes())
	require.Equal(t, []int{first, second}, []int{s.qemu("hello"), s.qemu("second")})
}

// deleteLeavesNothing: no domain, no disk, no seed, no serial log, no reservation, no task.
func deleteLeavesNothing(t *testing.T, s *server) {
	cluster := read[v1.ClusterStatus](s, "cluster", "status").ID
	vm := read[v1.VM](s, "vm", "show", "second")
	usage := func() v1.Usage { return read[[]v1.Host](s, "host", "list")[0].Status.Usage }
	before := usage()
	traces := func() []string {
		return slices.DeleteFunc(s.files("var/lib/coloa"), func(name string) bool {
			return !strings.Contains(name, vm.ID) && !strings.Contains(name, vm.Status.Instance) && !strings.Contains(name, vm.Status.RootVolume)
		})
	}
	require.NotEmpty(t, traces())

	s.coloa("vm", "delete", "second")
	s.eventually(30*time.Second, "the host to be rid of it", func() bool { return len(traces()) == 0 })
	require.Len(t, s.domains(cluster), 1) // hello
	require.Equal(t, before.Minus(v1.Usage{VCPUs: 1, MemoryMiB: 256, StorageGiB: 1}), usage())
	require.Empty(t, read[[]v1.Task](s, "task", "list"))
	for _, volume := range read[[]v1.Volume](s, "volume", "list") {
		require.NotEqual(t, vm.Status.RootVolume, volume.ID)
	}
	for _, instance := range read[[]v1.Instance](s, "instance", "list") {
		require.NotEqual(t, vm.ID, instance.Spec.VM)
	}
	_, err := s.tryColoa("vm", "show", "second")
	require.ErrorContains(t, err, "exit status 3")
}
