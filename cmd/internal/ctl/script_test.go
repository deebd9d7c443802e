package ctl

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/stretchr/testify/require"

	"github.com/coloa-cloud/coloa/api/client"
	v1 "github.com/coloa-cloud/coloa/api/v1"
	"github.com/coloa-cloud/coloa/cmd/internal/testbed"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"coloa": func() {
		os.Exit(Program{Version: "1.2.3", ClusterInit: pretendInit}.Main())
	}})
}

// pretendInit stands for the controller's part, which has its own tests.
func pretendInit(_ context.Context, options ClusterInitOptions) (ClusterInitResult, error) {
	if options.Name == "taken" {
		return ClusterInitResult{}, v1.NewProblem(v1.CodeConflict, "this server has a cloud already (%s); nothing was changed", options.Directory)
	}
	return ClusterInitResult{
		ID: "01890a5d-ac96-774b-bcce-b302099a8057", Name: options.Name, Endpoint: "https://10.0.0.1:8443", CAFile: options.Directory + "/ca.pem", Token: "coloa1_secret",
		ExpiresAt: time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC),
	}, nil
}

// TestScripts runs transcripts against a whole cloud: controllers with a real log, simulated hosts. Every script has a project of its own.
func TestScripts(t *testing.T) {
	cloud, err := testbed.Start(t.Context(), testbed.Options{Controllers: 1, Hosts: 2, Dir: t.TempDir(), LogStore: "memory"})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, cloud.Close()) })
	admin, token, err := cloud.Login(t.Context())
	require.NoError(t, err)
	t.Cleanup(admin.Close)
	require.NoError(t, testbed.Furnish(t.Context(), admin))
	caFile, err := cloud.CAFile()
	require.NoError(t, err)
	hostile := startHostile(t)
	// A cloud's limits are for users; the scripts are many users at once.
	var projects sync.Mutex
	// Parallel scripts end before the group does, and the group before the clean-up above.
	t.Run("scripts", func(t *testing.T) {
		testscript.Run(t, testscript.Params{
			Dir:                 filepath.Join("testdata", "script"),
			RequireExplicitExec: true,
			RequireUniqueNames:  true,
			Setup: func(env *testscript.Env) error {
				name := strings.ReplaceAll(strings.TrimPrefix(filepath.Base(env.WorkDir), "script-"), "_", "-")
				projects.Lock()
				defer projects.Unlock()
				if _, err := client.Create[v1.Project](context.Background(), admin, client.Draft{Name: name, Spec: v1.ProjectSpec{}}); err != nil {
					return err
				}
				for key, value := range map[string]string{
					"HOME": env.WorkDir, "LANG": "en_US.UTF-8", "LC_ALL": "", "COLUMNS": "80", "TZ": "UTC",
					"COLOA_ENDPOINT": strings.Join(cloud.Endpoints(), ","), "COLOA_CACERT": caFile, "COLOA_TOKEN": token, "COLOA_PROJECT": name, "PROJECT": name,
					"CA": caFile, "TOKEN": token, "ENDPOINT": cloud.Endpoints()[0], "HOSTILE": hostile,
				} {
					env.Setenv(key, value)
				}
				return nil
			},
			Cmds: map[string]func(*testscript.TestScript, bool, []string){"code": code, "fits": fits, "keep": keep},
		})
	})
}

// code N COMMAND... runs a command that must end with the exit code.
func code(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: code N command...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		got = exit.ExitCode()
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if got != want {
		ts.Fatalf("exit code %d, not %d", got, want)
	}
}

// fits FILE checks that no line is wider than 80 columns and that nothing in it could command a terminal.
func fits(ts *testscript.TestScript, _ bool, args []string) {
	for number, line := range strings.Split(strings.TrimSuffix(ts.ReadFile(args[0]), "\n"), "\n") {
		if width := len([]rune(line)); width > 80 {
			ts.Fatalf("line %d has %d columns: %s", number+1, width, line)
		}
		if line != plain(line) {
			ts.Fatalf("line %d holds control characters: %q", number+1, line)
		}
	}
}

// keep NAME sets a variable to the last standard output without its line end.
func keep(ts *testscript.TestScript, _ bool, args []string) {
	ts.Setenv(args[0], strings.TrimSpace(ts.ReadFile("stdout")))
}
