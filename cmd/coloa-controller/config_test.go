package main

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/knadh/koanf/providers/structs"
	"github.com/knadh/koanf/v2"
	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"

	"github.com/coloa-cloud/coloa/controller/bootstrap"
)

// made writes the configuration that coloa cluster init makes and returns its path.
func made(t *testing.T) string {
	t.Helper()
	folder := t.TempDir()
	_, err := bootstrap.Init(bootstrap.Options{ConfigDir: filepath.Join(folder, "etc"), DataDir: filepath.Join(folder, "data"), Address: "127.0.0.1", HostName: "server-1"})
	require.NoError(t, err)
	return filepath.Join(folder, "etc", bootstrap.ControllerFile)
}

func loaded(t *testing.T, environment []string, arguments ...string) (configuration, error) {
	t.Helper()
	flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
	addFlags(flags)
	require.NoError(t, flags.Parse(arguments))
	return load(flags, environment)
}

func TestFileThenEnvironmentThenFlags(t *testing.T) {
	path := made(t)
	got, err := loaded(t, nil, "--config", path)
	require.NoError(t, err)
	require.Equal(t, "server-1", got.ID)
	require.Equal(t, "127.0.0.1:8443", got.APIListen)
	require.Equal(t, filepath.Dir(path), got.Folder)
	require.Equal(t, 2*time.Second, got.HeartbeatEvery) // a default that the file does not name
	credentials, err := got.Credentials()
	require.NoError(t, err)
	require.NotNil(t, credentials.APITLS)

	environment := []string{"COLOA_CONTROLLER_CONFIG=" + path, "COLOA_CONTROLLER_LOG_LEVEL=debug", "COLOA_CONTROLLER_API_LISTEN=:1", "COLOA_CONTROLLER_SILENT_AFTER=1m", "PATH=/bin", "COLOA_OTHER=x"}
	got, err = loaded(t, environment, "--api-listen", ":2", "--data-folder", "/data")
	require.NoError(t, err)
	require.Equal(t, ":2", got.APIListen)
	require.Equal(t, "debug", got.LogLevel)
	require.Equal(t, time.Minute, got.SilentAfter)
	require.Equal(t, "/data", got.DataFolder)
}

func TestWhatIsRefused(t *testing.T) {
	path := made(t)
	original, err := os.ReadFile(path)
	require.NoError(t, err)
	for _, c := range []struct {
		name, add   string
		environment []string
		arguments   []string
		says        string
	}{
		{name: "unknown key", add: "nonsense: 1\n", says: "unknown keys: nonsense"},
		{name: "unknown nested key", add: "tuning:\n  speed: fast\n", says: "unknown keys: tuning/speed"},
		{name: "twice the same key", add: "cluster: x\n", says: "already"},
		{name: "not a map", add: "[", says: "read the configuration"},
		{name: "unknown variable", environment: []string{"COLOA_CONTROLLER_API_LISTNE=:1"}, says: "COLOA_CONTROLLER_API_LISTNE"},
		{name: "number for text", add: "silent-after: 10\n", says: "silent-after"},
		{name: "no duration", arguments: []string{"--silent-after", "soon"}, says: `silent-after "soon"`},
		{name: "too short", arguments: []string{"--silent-after", "3s"}, says: "at least twice"},
		{name: "log store", arguments: []string{"--log-store", "memory"}, says: "neither wal nor boltdb"},
		{name: "level", arguments: []string{"--log-level", "loud"}, says: "log-level"},
		{name: "format", arguments: []string{"--log-format", "xml"}, says: "log-format"},
		{name: "lacking", environment: []string{"COLOA_CONTROLLER_ID="}, says: "lacks id"},
		{name: "no file", arguments: []string{"--config", path + ".missing"}, says: "coloa cluster init"},
	} {
		t.Run(c.name, func(t *testing.T) {
			require.NoError(t, os.WriteFile(path, append(append([]byte(nil), original...), c.add...), 0o600))
			_, err := loaded(t, append([]string{"COLOA_CONTROLLER_CONFIG=" + path}, c.environment...), c.arguments...)
			require.ErrorContains(t, err, c.says)
		})
	}
}

func TestEveryKeyIsDescribed(t *testing.T) {
	k := koanf.New(separator)
	full := defaults
	full.ID, full.Cluster = "x", "x" // keys that are left out when empty
	require.NoError(t, k.Load(structs.Provider(full, "json"), nil))
	require.Equal(t, knownKeys(), k.Keys())
}

func TestFirstIsReadOnceAndForgotten(t *testing.T) {
	path := made(t)
	file := filepath.Join(filepath.Dir(path), bootstrap.FirstFile)
	first, err := readFirst(file)
	require.NoError(t, err)
	require.Equal(t, "admin", first.Admin)
	logger := newLogger(configuration{Controller: defaults})
	forgetFirst(file, logger)
	require.NoFileExists(t, file)
	forgetFirst(file, logger)
	first, err = readFirst(file)
	require.NoError(t, err)
	require.Nil(t, first)
	require.NoError(t, os.WriteFile(file, []byte("{"), 0o600))
	_, err = readFirst(file)
	require.Error(t, err)
}
