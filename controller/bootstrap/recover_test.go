package bootstrap

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	v1 "github.com/coloa-cloud/coloa/api/v1"
	"github.com/coloa-cloud/coloa/controller"
)

func TestRecover(t *testing.T) {
	o := options(t)
	made, err := Init(o)
	require.NoError(t, err)
	path := filepath.Join(o.ConfigDir, FirstFile)
	require.NoError(t, os.Mkdir(filepath.Join(o.DataDir, "controller"), 0o700))
	require.NoError(t, os.Remove(path)) // the cloud has begun
	before := snapshot(t, o.ConfigDir)
	later := now.Add(90 * 24 * time.Hour)

	var tokens []string
	for _, user := range []string{"admin", "ops@example.vn"} { // a second one replaces the first
		result, err := Recover(o.ConfigDir, user, later)
		require.NoError(t, err)
		require.Equal(t, Result{
			Cluster: made.Cluster, Endpoint: made.Endpoint, CAFile: made.CAFile, Admin: user, Token: result.Token,
			TokenExpires: later.Add(24 * time.Hour), Files: []string{path},
		}, result)
		require.NotContains(t, append(tokens, made.Token), result.Token)
		tokens = append(tokens, result.Token)

		text, err := os.ReadFile(path)
		require.NoError(t, err)
		require.NotContains(t, string(text), result.Token)
		decoder := json.NewDecoder(bytes.NewReader(text))
		decoder.DisallowUnknownFields()
		var first controller.First
		require.NoError(t, decoder.Decode(&first))
		require.Equal(t, controller.First{
			Cluster: made.Cluster, Admin: user, TokenHash: hashOf(result.Token), ExpiresAt: result.TokenExpires, Created: later, Recovery: true,
		}, first)
		info, err := os.Stat(path)
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode())
	}
	after := snapshot(t, o.ConfigDir)
	delete(after, FirstFile)
	require.Equal(t, before, after)
}

func TestNothingToRecover(t *testing.T) {
	o := options(t)
	refused := func(says string) {
		t.Helper()
		before := map[string]string{}
		if _, err := os.Stat(o.ConfigDir); err == nil {
			before = snapshot(t, o.ConfigDir)
		}
		_, err := Recover(o.ConfigDir, "admin", now)
		require.Equal(t, v1.CodeConflict, v1.CodeOf(err), "%v", err)
		require.ErrorContains(t, err, says)
		if len(before) > 0 {
			require.Equal(t, before, snapshot(t, o.ConfigDir))
		}
	}
	refused("no cloud")
	require.NoDirExists(t, o.ConfigDir)
	_, err := Init(o)
	require.NoError(t, err)
	refused("never been started")
	require.NoError(t, os.Mkdir(filepath.Join(o.DataDir, "controller"), 0o700))
	refused("not begun") // it founds the cloud yet
	require.NoError(t, os.Remove(filepath.Join(o.ConfigDir, FirstFile)))
	require.NoError(t, os.Remove(filepath.Join(o.DataDir, "controller")))
	refused("is missing")
	require.NoError(t, os.Mkdir(filepath.Join(o.DataDir, "controller"), 0o700))
	for _, user := range []string{"Admin", "a b", "../x", "-"} {
		_, err = Recover(o.ConfigDir, user, now)
		require.Equal(t, v1.CodeInvalid, v1.CodeOf(err), user)
	}
	require.NoFileExists(t, filepath.Join(o.ConfigDir, FirstFile))
}
