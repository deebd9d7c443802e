package bootstrap

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	v1 "github.com/coloa-cloud/coloa/api/v1"
	"github.com/coloa-cloud/coloa/controller"
	"github.com/coloa-cloud/coloa/controller/internal/ca"
)

var now = time.Date(2026, 3, 1, 8, 0, 0, 0, time.UTC)

func options(t *testing.T) Options {
	t.Helper()
	folder := t.TempDir()
	return Options{
		Name: "citadel", ConfigDir: filepath.Join(folder, "etc", "coloa"), DataDir: filepath.Join(folder, "var", "coloa"),
		Address: "198.51.100.7", HostName: "Server-1.example.vn", Now: func() time.Time { return now },
	}
}

// snapshot is every file below a folder with its content and mode.
func snapshot(t *testing.T, folder string) map[string]string {
	t.Helper()
	files := map[string]string{}
	require.NoError(t, filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		content := ""
		if entry.Type().IsRegular() {
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			content = string(text)
		}
		name, err := filepath.Rel(folder, path)
		files[name] = info.Mode().String() + "\n" + content
		return err
	}))
	return files
}

func TestInitMakesAWholeCloud(t *testing.T) {
	o := options(t)
	result, err := Init(o)
	require.NoError(t, err)
	require.Equal(t, "https://198.51.100.7:8443", result.Endpoint)
	require.Equal(t, filepath.Join(o.ConfigDir, CAFile), result.CAFile)
	require.Equal(t, now.Add(24*time.Hour), result.TokenExpires)
	require.Equal(t, "admin", result.Admin)
	require.True(t, v1.IsID(result.Cluster) && v1.IsID(result.Host))
	require.False(t, result.Renewed)
	require.Regexp(t, `^coloa1_[A-Za-z0-9_-]{43}$`, result.Token)
	require.True(t, Exists(o.ConfigDir))
	require.Len(t, result.Files, 9)
	for _, file := range result.Files {
		require.FileExists(t, file)
	}

	var start controller.First
	text, err := os.ReadFile(filepath.Join(o.ConfigDir, FirstFile))
	require.NoError(t, err)
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	require.NoError(t, decoder.Decode(&start))
	require.Equal(t, controller.First{Cluster: result.Cluster, Name: "citadel", Admin: "admin", TokenHash: hashOf(result.Token), ExpiresAt: result.TokenExpires, Created: now}, start)

	authority, err := ca.LoadAuthority(filepath.Join(o.ConfigDir, AuthorityDir))
	require.NoError(t, err)
	require.Equal(t, result.Cluster, authority.Cluster())
	for name, want := range map[string]ca.Identity{
		ControllerCertificate: {Cluster: result.Cluster, Role: ca.RoleController, ID: "server-1"},
		APICertificate:        {Cluster: result.Cluster, Role: ca.RoleAPI, ID: "server-1"},
		HostCertificate:       {Cluster: result.Cluster, Role: ca.RoleHost, ID: result.Host},
	} {
		pair, err := ca.OpenKeyPair(filepath.Join(o.ConfigDir, name))
		require.NoError(t, err)
		got, err := ca.IdentityOf(pair.Leaf())
		require.NoError(t, err)
		require.Equal(t, want, got)
		if name == APICertificate {
			for _, host := range []string{"localhost", "127.0.0.1", "::1", "198.51.100.7", "server-1.example.vn"} {
				require.NoError(t, pair.Leaf().VerifyHostname(host), host)
			}
		}
	}

	configuration, err := readController(o.ConfigDir)
	require.NoError(t, err)
	require.Equal(t, Controller{
		ID: "server-1", Cluster: result.Cluster, DataFolder: filepath.Join(o.DataDir, "controller"), LogStore: "wal",
		Authority: result.CAFile, Certificate: filepath.Join(o.ConfigDir, ControllerCertificate), First: filepath.Join(o.ConfigDir, FirstFile),
		APIListen: ":8443", APICertificate: filepath.Join(o.ConfigDir, APICertificate), APIEndpoint: result.Endpoint,
		HostsListen: ":8444", HostsAdvertise: "198.51.100.7:8444", RaftListen: ":8445", RaftAdvertise: "198.51.100.7:8445",
		LogLevel: "info", LogFormat: "text",
	}, configuration)
}

func TestSecretsAreForTheirOwnerAlone(t *testing.T) {
	o := options(t)
	require.NoError(t, os.MkdirAll(filepath.Dir(o.ConfigDir), 0o755))
	former := unix.Umask(0o077)
	result, err := Init(o)
	unix.Umask(former)
	require.NoError(t, err)
	files := snapshot(t, o.ConfigDir)
	for name, text := range files {
		require.NotContains(t, text, result.Token, name)
		mode, content, _ := strings.Cut(text, "\n")
		if strings.Contains(content, "PRIVATE KEY") || strings.Contains(content, "tokenHash") {
			require.Equal(t, "-rw-------", mode, name)
		}
	}
	require.Equal(t, "drwx------\n", files[AuthorityDir])
	require.Equal(t, "drwxr-xr-x\n", files["."])
	for _, public := range []string{CAFile, ControllerFile, AgentFile} {
		require.True(t, strings.HasPrefix(files[public], "-rw-r--r--\n"), public)
	}
	info, err := os.Stat(o.DataDir)
	require.NoError(t, err)
	require.Equal(t, fs.FileMode(0o711), info.Mode().Perm()) // qemu's user passes through to its disks
}

func TestSecondRun(t *testing.T) {
	o := options(t)
	made, err := Init(o)
	require.NoError(t, err)
	before := snapshot(t, o.ConfigDir)

	// Not begun: only the token is new, even when the second run was called with other words.
	other := o
	other.Name, other.Address, other.Admin = "other", "198.51.100.8", "root"
	again, err := Init(other)
	require.NoError(t, err)
	require.True(t, again.Renewed)
	require.NotEqual(t, made.Token, again.Token)
	require.Equal(t, []string{filepath.Join(o.ConfigDir, FirstFile)}, again.Files)
	made.Token, made.Renewed, made.Files = again.Token, true, again.Files
	require.Equal(t, made, again)
	after := snapshot(t, o.ConfigDir)
	require.Contains(t, after[FirstFile], hashOf(again.Token))
	delete(before, FirstFile)
	delete(after, FirstFile)
	require.Equal(t, before, after)

	// Begun: refused.
	require.NoError(t, os.Mkdir(filepath.Join(o.DataDir, "controller"), 0o700))
	before = snapshot(t, o.ConfigDir)
	_, err = Init(o)
	require.Equal(t, v1.CodeConflict, v1.CodeOf(err))
	require.ErrorContains(t, err, "has a cloud already")
	require.Equal(t, before, snapshot(t, o.ConfigDir))
}

func TestBegunWithoutItsFirstFile(t *testing.T) {
	o := options(t)
	_, err := Init(o)
	require.NoError(t, err)
	require.NoError(t, os.Remove(filepath.Join(o.ConfigDir, FirstFile))) // the controller removes it once it has used it
	_, err = Init(o)
	require.Equal(t, v1.CodeConflict, v1.CodeOf(err))
}

func TestForeignFilesAreNotTouched(t *testing.T) {
	o := options(t)
	require.NoError(t, os.MkdirAll(o.ConfigDir, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(o.ConfigDir, "notes.txt"), []byte("mine"), 0o600))
	_, err := Init(o)
	require.Equal(t, v1.CodeConflict, v1.CodeOf(err))
	require.ErrorContains(t, err, "notes.txt")
	require.Len(t, snapshot(t, o.ConfigDir), 2)

	require.NoError(t, os.Remove(filepath.Join(o.ConfigDir, "notes.txt")))
	_, err = Init(o) // an empty folder is no obstacle
	require.NoError(t, err)
}

// A run may be cut off after any of its files. We cannot stop the process between two system calls of our choice, so what it would leave is made by hand:
// every part of a finished folder, under the name that it has while it is being made.
func TestInterruptedRunIsFinishedByTheNext(t *testing.T) {
	o := options(t)
	old, err := Init(o)
	require.NoError(t, err)
	finished := snapshot(t, o.ConfigDir)
	stage := filepath.Join(filepath.Dir(o.ConfigDir), ".coloa.new")
	require.NoError(t, os.Rename(o.ConfigDir, stage))
	for name := range finished {
		if name == "." || name == AuthorityDir {
			continue
		}
		require.NoError(t, os.RemoveAll(filepath.Join(stage, name)))
		require.False(t, Exists(o.ConfigDir))
		result, err := Init(o)
		require.NoError(t, err)
		require.NotEqual(t, old.Cluster, result.Cluster)
		require.NoDirExists(t, stage)
		require.Len(t, snapshot(t, o.ConfigDir), len(finished))
		require.NoError(t, os.Rename(o.ConfigDir, stage))
	}
}

func TestTwoRunsAtOnceMakeOneCloud(t *testing.T) {
	o := options(t)
	results, problems := make([]Result, 8), make([]error, 8)
	var running sync.WaitGroup
	for i := range results {
		running.Go(func() { results[i], problems[i] = Init(o) })
	}
	running.Wait()
	clusters := map[string]bool{}
	for i, err := range problems {
		if err == nil {
			clusters[results[i].Cluster] = true
		} else {
			require.ErrorContains(t, err, "another run")
		}
	}
	require.Len(t, clusters, 1)
	text, err := os.ReadFile(filepath.Join(o.ConfigDir, FirstFile))
	require.NoError(t, err)
	for cluster := range clusters {
		require.Contains(t, string(text), cluster)
	}
}

func TestFailureLeavesNothing(t *testing.T) {
	o := options(t)
	require.NoError(t, os.MkdirAll(filepath.Dir(o.DataDir), 0o755))
	require.NoError(t, os.WriteFile(o.DataDir, nil, 0o600)) // a file where a folder should be
	_, err := Init(o)
	require.Error(t, err)
	entries, err := os.ReadDir(filepath.Dir(o.ConfigDir))
	require.NoError(t, err)
	require.Empty(t, entries)
}

func TestWrongOptions(t *testing.T) {
	for _, c := range []struct {
		field  string
		change func(*Options)
	}{
		{"name", func(o *Options) { o.Name = "../x" }},
		{"name", func(o *Options) { o.Name = "Two Words" }},
		{"admin", func(o *Options) { o.Admin = "root\n" }},
		{"address", func(o *Options) { o.Address = "0.0.0.0" }},
		{"address", func(o *Options) { o.Address = "fe80::1%eth0" }},
		{"address", func(o *Options) { o.Address = "a b" }},
		{"hostName", func(o *Options) { o.HostName = "server_1" }},
		{"hostName", func(o *Options) { o.HostName = strings.Repeat("a", 64) }},
		{"configDir", func(o *Options) { o.ConfigDir = "etc/coloa" }},
		{"dataDir", func(o *Options) { o.DataDir = "/" }},
		{"port", func(o *Options) { o.Port = -1 }},
		{"port", func(o *Options) { o.Port = 65533 }},
		{"port", func(o *Options) { o.Address = "198.51.100.7:https" }},
		{"port", func(o *Options) { o.Address = "198.51.100.7:70000" }},
	} {
		o := options(t)
		c.change(&o)
		_, err := Init(o)
		var problem *v1.Problem
		require.True(t, errors.As(err, &problem), "%s: %v", c.field, err)
		require.Equal(t, c.field, problem.Field)
		require.NoDirExists(t, filepath.Dir(options(t).ConfigDir))
	}
}

func TestWhereItListens(t *testing.T) {
	for address, want := range map[string][2]string{
		"198.51.100.7:1234":  {":1234", "https://198.51.100.7:1234"},
		"[2001:db8::7]:1234": {":1234", "https://[2001:db8::7]:1234"},
		"127.0.0.1:1234":     {"127.0.0.1:1234", "https://127.0.0.1:1234"},
		"198.51.100.7":       {":9000", "https://198.51.100.7:9000"},
		"2001:db8::7":        {":9000", "https://[2001:db8::7]:9000"},
		"[2001:db8::7]":      {":9000", "https://[2001:db8::7]:9000"},
		"cloud.gov.vn":       {":9000", "https://cloud.gov.vn:9000"},
		"127.0.0.1":          {"127.0.0.1:9000", "https://127.0.0.1:9000"},
		"::1":                {"[::1]:9000", "https://[::1]:9000"},
		"localhost":          {"localhost:9000", "https://localhost:9000"},
		primaryAddress():     {},
	} {
		o := options(t)
		o.Address, o.Port = address, 9000
		result, err := Init(o)
		require.NoError(t, err, address)
		configuration, err := readController(o.ConfigDir)
		require.NoError(t, err)
		if want[0] != "" {
			require.Equal(t, want, [2]string{configuration.APIListen, result.Endpoint})
		}
		pair, err := ca.OpenKeyPair(filepath.Join(o.ConfigDir, APICertificate))
		require.NoError(t, err)
		if host, _, err := net.SplitHostPort(address); err == nil {
			address = host
		}
		require.NoError(t, pair.Leaf().VerifyHostname(address))
	}
}

func TestRenewCertificates(t *testing.T) {
	o := options(t)
	result, err := Init(o)
	require.NoError(t, err)
	before := snapshot(t, o.ConfigDir)
	renewed, err := RenewCertificates(o.ConfigDir, time.Now())
	require.NoError(t, err)
	require.Empty(t, renewed)
	require.Equal(t, before, snapshot(t, o.ConfigDir))

	renewed, err = RenewCertificates(o.ConfigDir, time.Now().Add(ca.DefaultLifetime*3/4))
	require.NoError(t, err)
	require.ElementsMatch(t, []string{ControllerCertificate, APICertificate, HostCertificate}, renewed)
	after := snapshot(t, o.ConfigDir)
	for name := range before {
		require.Equal(t, before[name] == after[name], !strings.HasSuffix(name, ".pem") || strings.HasSuffix(name, CAFile), name)
	}
	pair, err := ca.OpenKeyPair(filepath.Join(o.ConfigDir, APICertificate))
	require.NoError(t, err)
	for _, host := range []string{"localhost", "::1", "198.51.100.7", "server-1.example.vn"} {
		require.NoError(t, pair.Leaf().VerifyHostname(host))
	}
	id, err := certificateID(filepath.Join(o.ConfigDir, HostCertificate))
	require.NoError(t, err)
	require.Equal(t, result.Host, id)

	require.NoError(t, os.RemoveAll(filepath.Join(o.ConfigDir, AuthorityDir)))
	renewed, err = RenewCertificates(o.ConfigDir, time.Now().Add(ca.DefaultLifetime))
	require.NoError(t, err)
	require.Empty(t, renewed)
}

// The CLI links this package and has to start in milliseconds.
func TestImportsStayLight(t *testing.T) {
	output, err := exec.Command("go", "list", "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", ".").Output()
	require.NoError(t, err)
	require.Equal(t, []string{
		"github.com/coloa-cloud/coloa/api/v1", "github.com/coloa-cloud/coloa/controller/bootstrap", "github.com/coloa-cloud/coloa/controller/internal/ca",
		"github.com/google/uuid", "go.yaml.in/yaml/v2", "golang.org/x/sys/unix", "sigs.k8s.io/yaml",
	}, slices.Sorted(slices.Values(strings.Fields(string(output)))))
}
