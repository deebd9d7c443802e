// Package coloa_test holds what DESIGN.md says of the whole tree: which part may import which.
package coloa_test

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const module = "github.com/coloa-cloud/coloa/"

// roots are the folders of section 3; others (build, deploy's trees) may be large and hold no packages of ours.
var roots = []string{"cmd", "api", "controller", "agent", "storage", "network"}

// packages maps each of our packages to what it imports itself, tests left out.
func packages(t *testing.T) map[string][]string {
	t.Helper()
	args := []string{"list", "-e", "-deps", "-tags", "libvirt_dlopen", "-json=ImportPath,Imports"}
	for _, root := range roots {
		if _, err := os.Stat(root); err == nil {
			args = append(args, "./"+root+"/...")
		}
	}
	command := exec.Command("go", args...)
	var stderr strings.Builder
	command.Stderr = &stderr
	output, err := command.Output()
	require.NoError(t, err, stderr.String())
	imports := map[string][]string{}
	decoder := json.NewDecoder(strings.NewReader(string(output)))
	for {
		var listed struct {
			ImportPath string
			Imports    []string
		}
		if err := decoder.Decode(&listed); errors.Is(err, io.EOF) {
			break
		} else {
			require.NoError(t, err)
		}
		if path, ours := strings.CutPrefix(listed.ImportPath, module); ours {
			imports[path] = listed.Imports
		}
	}
	require.Contains(t, imports, "api/v1")
	require.Contains(t, imports, "controller/internal/state")
	return imports
}

// reaches returns all of our packages that a package imports, itself or through others of ours, each with the way to it.
func reaches(imports map[string][]string, from string) map[string]string {
	ways := map[string]string{}
	var walk func(at, way string)
	walk = func(at, way string) {
		for _, imported := range imports[at] {
			if path, ours := strings.CutPrefix(imported, module); ours && ways[path] == "" {
				ways[path] = way + " -> " + path
				walk(path, ways[path])
			}
		}
	}
	walk(from, from)
	return ways
}

func standard(path string) bool {
	first, _, _ := strings.Cut(path, "/")
	return !strings.Contains(first, ".")
}

func under(path, folder string) bool { return path == folder || strings.HasPrefix(path, folder+"/") }

// TestArrows: who may never come to whom, whatever the way.
func TestArrows(t *testing.T) {
	imports := packages(t)
	for _, arrow := range []struct {
		from string
		to   []string
		but  []string // these may
	}{
		{from: "api", to: []string{"controller", "agent", "cmd", "storage", "network"}},
		{from: "api/v1", to: []string{"api"}},
		{from: "api/hostv1", to: []string{"api"}, but: []string{"api/v1"}},
		{from: "agent", to: []string{"controller", "cmd"}},
		{from: "controller", to: []string{"agent", "cmd"}},
		{from: "storage", to: []string{"controller", "agent", "cmd"}},
		{from: "network", to: []string{"controller", "agent", "cmd"}},
		{from: "controller/internal/scheduler", to: roots, but: []string{"api/v1"}},
		{from: "controller/internal/state", to: roots, but: []string{"api/v1"}},
	} {
		for path := range imports {
			if !under(path, arrow.from) {
				continue
			}
			for reached, way := range reaches(imports, path) {
				forbidden := slices.ContainsFunc(arrow.to, func(to string) bool { return under(reached, to) })
				if forbidden && !slices.Contains(arrow.but, reached) && !(under(path, reached) && under(reached, arrow.from)) {
					require.Failf(t, "an arrow of DESIGN.md section 3", "%s: %s may not import %s", way, arrow.from, reached)
				}
			}
		}
	}
}

// TestNounsNeedNothing: clients of any kind can import the nouns.
func TestNounsNeedNothing(t *testing.T) {
	for _, imported := range packages(t)["api/v1"] {
		require.True(t, standard(imported), "api/v1 imports %s: only the standard library is allowed there", imported)
	}
}

// impure is what a pure package does not import: the world, the clock's alarms, and chance. (time itself is needed for time.Time: what may be
// called of it is watched beside the state.)
var impure = []string{"os", "os/exec", "os/signal", "os/user", "net", "net/http", "net/rpc", "syscall", "io/ioutil", "path/filepath", "log", "log/slog", "math/rand", "math/rand/v2", "crypto/rand", "unsafe", "plugin", "runtime", "embed"}

// TestPurePackages: no I/O, no chance, and no more libraries than these.
func TestPurePackages(t *testing.T) {
	imports := packages(t)
	for path, libraries := range map[string][]string{
		"controller/internal/scheduler": nil,
		"controller/internal/state":     {"github.com/hashicorp/go-memdb", "github.com/hashicorp/raft"},
		"controller/internal/platform":  nil,
		"agent/hypervisor/domxml":       {"libvirt.org/go/libvirtxml"},
		"network/plan":                  nil,
		"network/ipam":                  {"go4.org/netipx"},
	} {
		for _, imported := range imports[path] {
			require.NotContains(t, impure, imported, "%s is pure (DESIGN.md section 3), but imports %s", path, imported)
			if !standard(imported) && !strings.HasPrefix(imported, module) {
				require.Contains(t, libraries, imported, "%s", path)
			}
		}
	}
}
