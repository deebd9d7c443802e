package seed

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
	"sigs.k8s.io/yaml"

	v1 "github.com/coloa-cloud/coloa/api/v1"
)

func TestContents(t *testing.T) {
	files, err := Contents(v1.Seed{InstanceID: "i-1", Hostname: "portal-1", UserData: "#!/bin/sh\necho hi\n", SSHKeys: []string{"ssh-ed25519 AAAA a: b # c"}})
	require.NoError(t, err)
	require.Equal(t, "#!/bin/sh\necho hi\n", string(files["user-data"]), "user-data is the user's, byte for byte")
	var meta metaData
	require.NoError(t, yaml.UnmarshalStrict(files["meta-data"], &meta))
	require.Equal(t, metaData{"i-1", "portal-1", []string{"ssh-ed25519 AAAA a: b # c"}}, meta)

	files, err = Contents(v1.Seed{InstanceID: "i-1", SSHKeys: []string{"ssh-ed25519 AAAA"}})
	require.NoError(t, err)
	require.Equal(t, "#cloud-config\nssh_authorized_keys:\n- ssh-ed25519 AAAA\n", string(files["user-data"]))

	files, err = Contents(v1.Seed{InstanceID: "i-1"})
	require.NoError(t, err)
	require.Empty(t, files["user-data"])
	require.Contains(t, files, "user-data", "cloud-init wants the file, though empty")
}

// Whatever users write, meta-data has our three keys and no other.
func TestContentsAreHostileProof(t *testing.T) {
	text := rapid.OneOf(rapid.StringOf(rapid.RuneFrom(nil, unicode.L, unicode.N, unicode.P, unicode.S, unicode.Z)),
		rapid.SampledFrom([]string{"", "a\nb: c", "- x", "? y", "null", "0x1", "{a: b}", "'", "\"", "# x", "---\n", "&a", "*a", "!!int 1", "yes", "a\tb", "\u2028"}))
	rapid.Check(t, func(t *rapid.T) {
		want := v1.Seed{InstanceID: text.Draw(t, "id"), Hostname: text.Draw(t, "name"), SSHKeys: rapid.SliceOfN(text, 1, 3).Draw(t, "keys")}
		files, err := Contents(want)
		if err != nil {
			t.Fatal(err)
		}
		var meta metaData
		if err := yaml.UnmarshalStrict(files["meta-data"], &meta); err != nil {
			t.Fatalf("%v in %q", err, files["meta-data"])
		}
		if meta.InstanceID != want.InstanceID || meta.LocalHostname != want.Hostname || !slices.Equal(meta.PublicKeys, want.SSHKeys) {
			t.Fatalf("%+v became %+v", want, meta)
		}
	})
}

// isoinfo (package genisoimage) is another reader than the library that wrote the image.
func isoinfo(t *testing.T, path string, arguments ...string) string {
	t.Helper()
	output, err := exec.Command("isoinfo", append([]string{"-i", path}, arguments...)...).CombinedOutput()
	require.NoError(t, err, "needs isoinfo: apt install genisoimage. %s", output)
	return string(output)
}

func TestWrite(t *testing.T) {
	path := filepath.Join(t.TempDir(), "seed", "a.iso")
	from := v1.Seed{InstanceID: "i-1", Hostname: "portal-1", UserData: "#!/bin/sh\n" + strings.Repeat("echo Cổ Loa\n", 4000)}
	require.NoError(t, Write(path, from))
	require.Contains(t, isoinfo(t, path, "-d"), "Volume id: "+Label)
	list := isoinfo(t, path, "-R", "-f")
	require.ElementsMatch(t, []string{"/meta-data", "/user-data"}, strings.Fields(list))
	require.Equal(t, from.UserData, isoinfo(t, path, "-R", "-x", "/user-data"))
	require.Contains(t, isoinfo(t, path, "-R", "-x", "/meta-data"), "local-hostname: portal-1")

	before, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), before.Mode().Perm(), "user-data may hold secrets")
	require.NoError(t, Write(path, from))
	after, err := os.Stat(path)
	require.NoError(t, err)
	require.True(t, os.SameFile(before, after), "a seed is written once")

	require.NoError(t, os.Mkdir(filepath.Join(filepath.Dir(path), ".work-x"), 0o700))
	require.NoError(t, Clean(filepath.Dir(path)))
	entries, err := os.ReadDir(filepath.Dir(path))
	require.NoError(t, err)
	require.Len(t, entries, 1)
}
