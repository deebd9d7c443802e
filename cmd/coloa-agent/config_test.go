package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"
)

func loadTest(t *testing.T, file string, environment, arguments []string) (config, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "agent.yaml")
	if file != "" {
		require.NoError(t, os.WriteFile(path, []byte(file), 0o600))
	}
	flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
	flags.String("config", "", "")
	addFlags(flags)
	require.NoError(t, flags.Parse(arguments))
	return loadConfig(path, file != "", flags, environment)
}

func TestConfigOrder(t *testing.T) {
	file := "controllers: [a:8444, 'b:8444']\ndata-folder: /from/file\nlisten: ':1'\nhost-name: from-file\n"
	settings, err := loadTest(t, file, []string{"COLOA_AGENT_DATA_FOLDER=/from/environment", "COLOA_AGENT_LISTEN=:2", "HOME=/root"}, []string{"--listen", ":3"})
	require.NoError(t, err)
	require.Equal(t, []string{"a:8444", "b:8444"}, settings.Controllers)
	require.Equal(t, "/from/environment", settings.DataFolder)
	require.Equal(t, ":3", settings.Listen)
	require.Equal(t, "from-file", settings.HostName)
	require.Equal(t, "from-file:3", settings.Advertise)
	require.Equal(t, "qemu:///system", settings.LibvirtURI, "a default")
	require.Len(t, settings.BootID, 36, "the kernel's")

	settings, err = loadTest(t, "", []string{"COLOA_AGENT_CONTROLLERS=a:1,b:2", "COLOA_AGENT_BOOT_ID=x"}, nil)
	require.NoError(t, err)
	require.Equal(t, []string{"a:1", "b:2"}, settings.Controllers)
	require.Equal(t, "x", settings.BootID)
	settings, err = loadTest(t, "", nil, []string{"--controllers", "c:1,d:2"})
	require.NoError(t, err)
	require.Equal(t, []string{"c:1", "d:2"}, settings.Controllers)
}

func TestConfigRefuses(t *testing.T) {
	for want, test := range map[string]struct {
		file        string
		environment []string
		arguments   []string
	}{
		`unknown setting "datafolder"`: {file: "controllers: [a:1]\ndatafolder: /x\n"},
		`unknown setting "tls/verify"`: {file: "controllers: [a:1]\ntls:\n  verify: no\n"},
		`unknown setting "pool-foldr"`: {environment: []string{"COLOA_AGENT_POOL_FOLDR=/x"}, arguments: []string{"--controllers", "a:1"}},
		"no controllers":               {},
		"is not host:port":             {arguments: []string{"--controllers", "https://a:1"}},
		"does not name a host":         {arguments: []string{"--controllers", ":1"}},
		"no valid port":                {arguments: []string{"--controllers", "a:99999999"}},
		"not an absolute path":         {arguments: []string{"--controllers", "a:1", "--data-folder", "data"}},
		"is not debug, info":           {arguments: []string{"--controllers", "a:1", "--log-level", "loud"}},
		"configuration file":           {file: "controllers: [a:1\n"},
		"listen":                       {arguments: []string{"--controllers", "a:1", "--listen", "8446"}},
	} {
		_, err := loadTest(t, test.file, test.environment, test.arguments)
		require.ErrorContains(t, err, want)
	}
	flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
	addFlags(flags)
	_, err := loadConfig("/does/not/exist.yaml", true, flags, nil)
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestVersion(t *testing.T) {
	root := command()
	var output bytes.Buffer
	root.SetOut(&output)
	root.SetArgs([]string{"version"})
	require.NoError(t, root.Execute())
	require.NotEmpty(t, output.String())
	version = "v9"
	defer func() { version = "" }()
	require.Equal(t, "v9", programVersion())
	root.SetArgs([]string{"surplus"})
	require.Error(t, root.Execute())
}
