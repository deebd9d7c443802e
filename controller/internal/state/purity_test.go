package state

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// mapRanges are the functions that may go over a map, which comes in another order each time, and why that changes nothing.
var mapRanges = map[string]string{
	"schema":            "the indexes go into a map again",
	"Subscription.Take": "names are gathered for a reader who looks at each; nothing of it is written",
	"Store.broadcast":   "each subscriber hears the same; nothing of it is written",
}

// packagesForbidden would bring in chance, the world or the clock.
var packagesForbidden = []string{"os", "os/exec", "os/signal", "net", "net/http", "math/rand", "math/rand/v2", "crypto/rand", "syscall", "unsafe", "runtime", "log", "log/slog", "embed", "plugin", "path/filepath"}

// callsForbidden are what may not be used of packages that may be imported.
var callsForbidden = map[string][]string{
	"time":    {"Now", "Since", "Until", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker", "Sleep", "Local", "LoadLocation"},
	"context": {"WithTimeout", "WithDeadline", "WithTimeoutCause", "WithDeadlineCause", "AfterFunc"},
	"maps":    {"Keys", "Values", "All"},
	"reflect": {"ValueOf"},
}

// packageUnderTest is the package without its tests, with types.
type packageUnderTest struct {
	files *token.FileSet
	trees []*ast.File
	info  *types.Info
}

func load(t *testing.T) packageUnderTest {
	t.Helper()
	var stderr bytes.Buffer
	command := exec.Command("go", "list", "-export", "-deps", "-f", "{{.ImportPath}}={{.Export}}", ".")
	command.Stderr = &stderr
	output, err := command.Output()
	require.NoError(t, err, stderr.String())
	exports := map[string]string{}
	for line := range strings.Lines(string(output)) {
		path, file, _ := strings.Cut(strings.TrimSpace(line), "=")
		exports[path] = file
	}
	p := packageUnderTest{files: token.NewFileSet(), info: &types.Info{Types: map[ast.Expr]types.TypeAndValue{}, Uses: map[*ast.Ident]types.Object{}}}
	names, err := filepath.Glob("*.go")
	require.NoError(t, err)
	for _, name := range names {
		if !strings.HasSuffix(name, "_test.go") {
			tree, err := parser.ParseFile(p.files, name, nil, 0)
			require.NoError(t, err)
			p.trees = append(p.trees, tree)
		}
	}
	lookup := func(path string) (io.ReadCloser, error) { return os.Open(exports[path]) }
	config := types.Config{Importer: importer.ForCompiler(p.files, "gc", lookup)}
	_, err = config.Check("state", p.files, p.trees, p.info)
	require.NoError(t, err)
	return p
}

// breaches lists what a pure package may not do.
func (p packageUnderTest) breaches() (found []string, ranges map[string]bool) {
	ranges = map[string]bool{}
	say := func(node ast.Node, format string, args ...any) {
		found = append(found, fmt.Sprintf("%s: %s", p.files.Position(node.Pos()), fmt.Sprintf(format, args...)))
	}
	for _, tree := range p.trees {
		for _, spec := range tree.Imports {
			for _, forbidden := range packagesForbidden {
				if spec.Path.Value == `"`+forbidden+`"` {
					say(spec, "imports %s", forbidden)
				}
			}
		}
		for _, declaration := range tree.Decls {
			name := "a variable"
			if function, ok := declaration.(*ast.FuncDecl); ok {
				name = nameOf(function)
			}
			ast.Inspect(declaration, func(node ast.Node) bool {
				switch n := node.(type) {
				case *ast.GoStmt:
					say(n, "starts a goroutine in %s", name)
				case *ast.RangeStmt:
					if _, ok := p.info.TypeOf(n.X).Underlying().(*types.Map); ok {
						ranges[name] = true
						if mapRanges[name] == "" {
							say(n, "goes over a map in %s", name)
						}
					}
				case *ast.Ident:
					used := p.info.Uses[n]
					if used == nil || used.Pkg() == nil || used.Parent() != used.Pkg().Scope() {
						return true // not a function of a package
					}
					for _, forbidden := range callsForbidden[used.Pkg().Path()] {
						if used.Name() == forbidden {
							say(n, "uses %s.%s in %s", used.Pkg().Name(), forbidden, name)
						}
					}
				}
				return true
			})
		}
	}
	return found, ranges
}

func nameOf(function *ast.FuncDecl) string {
	if function.Recv == nil {
		return function.Name.Name
	}
	receiver := function.Recv.List[0].Type
	if star, ok := receiver.(*ast.StarExpr); ok {
		receiver = star.X
	}
	if name, ok := receiver.(*ast.Ident); ok {
		return name.Name + "." + function.Name.Name
	}
	return function.Name.Name
}

// TestPurity: what an entry does depends on the entry and the state alone.
func TestPurity(t *testing.T) {
	found, ranges := load(t).breaches()
	require.Empty(t, found)
	for name := range mapRanges {
		require.True(t, ranges[name], "%s goes over no map: take it out of the list", name)
	}
}

// TestPurityIsSeen: the test above finds what it is there for.
func TestPurityIsSeen(t *testing.T) {
	p := load(t)
	source := `package state
import ("time"; "math/rand"; "os"; "maps"; "context")
type set map[string]int
func (s set) bad() { for range s { } }
func worse() { go os.Exit(rand.Int()); _ = time.Now(); clock := time.Since; _ = clock; _ = maps.Keys(set{}); _, _ = context.WithTimeout(nil, 1) }
var _ = time.Now
var _ = time.Second
func fine() { for range []int{} { } ; for range 3 { } }
`
	exports := exec.Command("go", "list", "-export", "-deps", "-f", "{{.ImportPath}}={{.Export}}", "time", "math/rand", "os", "maps", "context")
	output, err := exports.Output()
	require.NoError(t, err)
	files := map[string]string{}
	for line := range strings.Lines(string(output)) {
		path, file, _ := strings.Cut(strings.TrimSpace(line), "=")
		files[path] = file
	}
	tree, err := parser.ParseFile(p.files, "bad.go", source, 0)
	require.NoError(t, err)
	p.trees = []*ast.File{tree}
	config := types.Config{Importer: importer.ForCompiler(p.files, "gc", func(path string) (io.ReadCloser, error) { return os.Open(files[path]) })}
	_, err = config.Check("state", p.files, p.trees, p.info)
	require.NoError(t, err)
	found, _ := p.breaches()
	text := strings.Join(found, "\n")
	for _, want := range []string{"imports math/rand", "imports os", "goes over a map in set.bad", "starts a goroutine in worse", "uses time.Now in worse", "uses time.Since in worse", "uses maps.Keys", "uses context.WithTimeout", "uses time.Now in a variable"} {
		require.Contains(t, text, want)
	}
	require.Len(t, found, 9, text)
}
