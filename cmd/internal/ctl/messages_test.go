package ctl

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"

	v1 "github.com/coloa-cloud/coloa/api/v1"
)

// newTestApp is a run without a terminal and an environment.
func newTestApp(language string, out, errs io.Writer) *app {
	a := &app{program: Program{Version: "test"}, in: strings.NewReader(""), out: out, errs: errs, env: func(string) string { return "" }}
	a.text = newCatalogue(language)
	a.flags.output = formTable
	return a
}

func readMessages(t *testing.T, name string) map[string]any {
	text, err := messageFiles.ReadFile("messages/" + name)
	require.NoError(t, err)
	var messages map[string]any
	require.NoError(t, json.Unmarshal(text, &messages))
	return messages
}

var placeholder = regexp.MustCompile(`\{\{\.[A-Za-z]+\}\}`)

func placeholders(value any) []string {
	if forms, plural := value.(map[string]any); plural {
		value = forms["other"]
	}
	found := placeholder.FindAllString(value.(string), -1)
	slices.Sort(found)
	return slices.Compact(found)
}

// Every message is there in both languages, says the same things, and is really said in Vietnamese.
func TestBothLanguages(t *testing.T) {
	en, vi := readMessages(t, "en.json"), readMessages(t, "vi.json")
	// These are words that Vietnamese administrators use as they are.
	same := []string{"arg.shell", "column.vcpus", "column.mac", "column.sha256", "column.agent-version", "column.go", "error.next", "wait.step", "login.example"}
	for key, text := range en {
		require.Contains(t, vi, key)
		require.Equal(t, placeholders(text), placeholders(vi[key]), key)
		require.NotEmpty(t, vi[key], key)
		if !slices.Contains(same, key) {
			require.NotEqual(t, text, vi[key], key)
		}
	}
	for key := range vi {
		require.Contains(t, en, key)
	}
	for _, key := range same {
		require.Contains(t, en, key)
	}
}

// constants are the string constants of a type in a package.
func constants(t *testing.T, folder, typeName string) []string {
	var found []string
	for _, file := range sources(t, folder) {
		for _, declaration := range file.Decls {
			group, isGroup := declaration.(*ast.GenDecl)
			if !isGroup || group.Tok != token.CONST {
				continue
			}
			for _, spec := range group.Specs {
				value := spec.(*ast.ValueSpec)
				if name, typed := value.Type.(*ast.Ident); typed && name.Name == typeName {
					text, err := strconv.Unquote(value.Values[0].(*ast.BasicLit).Value)
					require.NoError(t, err)
					found = append(found, text)
				}
			}
		}
	}
	require.NotEmpty(t, found, typeName)
	return found
}

func sources(t *testing.T, folder string) []*ast.File {
	entries, err := os.ReadDir(folder)
	require.NoError(t, err)
	var files []*ast.File
	for _, entry := range entries {
		if name := entry.Name(); strings.HasSuffix(name, ".go") && !strings.HasSuffix(name, "_test.go") {
			file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(folder, name), nil, 0)
			require.NoError(t, err)
			files = append(files, file)
		}
	}
	return files
}

// Every word of the API that people see has a translation: a new code, phase or kind needs one.
func TestWordsOfTheAPI(t *testing.T) {
	en := readMessages(t, "en.json")
	families := map[string][]string{"problem": {"Code"}, "phase": {"VMPhase", "VolumePhase", "SnapshotPhase", "ImagePhase", "HostPhase"},
		"state": {"OperationState", "StepState", "TaskState", "InstanceState", "DesiredState"}, "kind": {"Kind"}, "action": {"Action"}, "role": {"Role"},
		"policy": {"PlacementPolicy"}, "operation": {"OperationType"}}
	for family, types := range families {
		known := map[string]bool{}
		for _, name := range types {
			for _, word := range constants(t, "../../../api/v1", name) {
				require.Contains(t, en, family+"."+word)
				known[word] = true
			}
		}
		for key := range en {
			if word, of := strings.CutPrefix(key, family+"."); of && family != "operation" {
				require.True(t, known[word], "%s translates a word that does not exist", key)
			}
		}
	}
}

// No message is left over: each is asked for by the tree of commands, by its name in the source, or belongs to a family of words.
func TestNoMessageIsUnused(t *testing.T) {
	used := map[string]bool{}
	a := newTestApp(english, io.Discard, io.Discard)
	a.text.used = used
	walk(a.root(), func(command *cobra.Command) { a.helpText(command) })
	literals := map[string]bool{}
	for _, file := range sources(t, ".") {
		ast.Inspect(file, func(node ast.Node) bool {
			if literal, is := node.(*ast.BasicLit); is && literal.Kind == token.STRING {
				if text, err := strconv.Unquote(literal.Value); err == nil {
					literals[text] = true
				}
			}
			return true
		})
	}
	families := []string{"problem", "next", "phase", "state", "kind", "action", "role", "policy", "operation", "step", "filter", "word", "applied"}
	for key := range readMessages(t, "en.json") {
		family, rest, _ := strings.Cut(key, ".")
		switch {
		case used[key] || literals[key] || literals[strings.TrimSuffix(key, ".next")]:
		case slices.Contains(families, family):
		case family == "column" && literals[rest]:
		default:
			t.Errorf("nothing uses the message %s", key)
		}
	}
	for key := range used {
		require.True(t, a.text.has(key), "there is no message %s", key)
	}
}

// A key that the source names exists.
func TestNamedKeysExist(t *testing.T) {
	en := readMessages(t, "en.json")
	for _, file := range sources(t, ".") {
		ast.Inspect(file, func(node ast.Node) bool {
			call, is := node.(*ast.CallExpr)
			if !is || len(call.Args) == 0 {
				return true
			}
			selector, is := call.Fun.(*ast.SelectorExpr)
			if !is || !slices.Contains([]string{"T", "N", "failure"}, selector.Sel.Name) {
				return true
			}
			if literal, is := call.Args[0].(*ast.BasicLit); is {
				key, _ := strconv.Unquote(literal.Value)
				require.Contains(t, en, key)
			}
			return true
		})
	}
	codes := constants(t, "../../../api/v1", "Code")
	for key := range en {
		if code, of := strings.CutPrefix(key, "next."); of {
			require.Contains(t, codes, code)
		}
	}
}

// No words for people stand in the source: they would be in one language alone.
func TestNoWordsInTheSource(t *testing.T) {
	words := regexp.MustCompile(`[a-z]{2,} [a-z]{2,}`)
	// Errors that their caller wraps into a message, and what only programmers see.
	allowed := []string{"interrupted", "the time given by --timeout is over", "%s is no whole number of units", "the terminal is gone: %w"}
	for _, file := range sources(t, ".") {
		ast.Inspect(file, func(node ast.Node) bool {
			if _, is := node.(*ast.ImportSpec); is {
				return false
			}
			literal, is := node.(*ast.BasicLit)
			if !is || literal.Kind != token.STRING || strings.Contains(literal.Value, `json:"`) {
				return true
			}
			if text, err := strconv.Unquote(literal.Value); err == nil && words.MatchString(text) && !slices.Contains(allowed, text) {
				t.Errorf("%q belongs into the catalogues", text)
			}
			return true
		})
	}
}

func walk(command *cobra.Command, visit func(*cobra.Command)) {
	visit(command)
	for _, child := range command.Commands() {
		walk(child, visit)
	}
}

// Every command and every flag is described in both languages, and every help fits 80 columns.
func TestHelp(t *testing.T) {
	en, vi := describeAll(t, english), describeAll(t, vietnamese)
	require.Len(t, vi, len(en))
	require.Greater(t, len(en), 200)
	for what, text := range en {
		require.NotEmpty(t, text, what)
		require.NotEqual(t, text, vi[what], what)
	}
}

func describeAll(t *testing.T, language string) map[string]string {
	a := newTestApp(language, io.Discard, io.Discard)
	texts := map[string]string{}
	walk(a.root(), func(command *cobra.Command) {
		texts[command.CommandPath()] = command.Short
		command.LocalFlags().VisitAll(func(flag *pflag.Flag) { texts[command.CommandPath()+" --"+flag.Name] = flag.Usage })
		for line := range strings.Lines(a.helpText(command)) {
			line = strings.TrimRight(line, "\n")
			require.LessOrEqual(t, text.StringWidth(line), 80, "%s in %s: %s", command.CommandPath(), language, line)
		}
	})
	return texts
}

// Whatever api/v1 finds wrong with an object is said in Vietnamese without an English rest.
func TestValidationInVietnamese(t *testing.T) {
	a := newTestApp(vietnamese, io.Discard, io.Discard)
	long := strings.Repeat("x", 3000)
	meta := v1.Meta{ID: "x", Name: "Bad Name", Labels: map[string]string{"bad key": "bad\nvalue"}, Project: "x"}
	negative := int64(-1)
	objects := []v1.Object{
		&v1.VM{Meta: v1.Meta{Name: long}, Spec: v1.VMSpec{Flavor: "B B", DiskGiB: -1, Power: "Half", RestartPolicy: "x", UserData: "\x00" + strings.Repeat("x", 70000), SSHKeys: []string{"ssh-ed25519 A", "x"}, SecurityLevel: 9}},
		&v1.Volume{Meta: meta}, &v1.Snapshot{Meta: meta}, &v1.Image{Meta: meta, Spec: v1.ImageSpec{Title: long + "\x1b", SHA256: "x"}},
		&v1.Flavor{Meta: meta}, &v1.PlacementGroup{Meta: meta}, &v1.Host{Meta: meta}, &v1.Token{Meta: meta}, &v1.Cluster{Meta: meta},
		&v1.Project{Meta: v1.Meta{Name: "a", Project: "b"}, Spec: v1.ProjectSpec{Members: []v1.Member{{User: "-", Role: "x"}, {User: "-"}, {}}, Quota: v1.Quota{VMs: &negative}}},
		&v1.User{Meta: v1.Meta{Name: "-"}, Spec: v1.UserSpec{PlatformRole: "x"}}, &v1.User{},
	}
	errs := []error{v1.CheckPassword("x")}
	for _, object := range objects {
		errs = append(errs, object.Validate())
	}
	count := 0
	for _, err := range errs {
		problem := v1.AsProblem(err)
		require.NotNil(t, problem)
		for _, field := range problem.Errors {
			said := a.said(field.Detail)
			require.NotEqual(t, plain(field.Detail), said, "no Vietnamese for: %s", field.Detail)
			count++
		}
		what, next := a.explainProblem(problem)
		require.NotContains(t, what, " must ")
		require.Contains(t, next, "Hãy")
	}
	require.Greater(t, count, 40)
}

// A translation keeps the places of its source.
func TestServerTexts(t *testing.T) {
	for source, target := range readMessages(t, "server.vi.json") {
		require.ElementsMatch(t, place.FindAllString(source, -1), place.FindAllString(target.(string), -1), source)
		require.Equal(t, source, strings.TrimSuffix(source, "."), "the full stop is put back by itself")
	}
	texts := newServerTexts(vietnamese)
	for source, want := range map[string]string{
		`there is no virtual machine "volume" here`: `không có máy ảo "volume" ở đây`,
		"no host can take the virtual machine: 2 of 3 hosts have not enough memory left; the only other host is not answering": "không máy chủ nào nhận được máy ảo: 2 trên 3 máy chủ không còn đủ bộ nhớ; máy chủ duy nhất còn lại không trả lời",
		"spec.sizeGiB: is 0; it must be from 1 to 65536":                                                                       "spec.sizeGiB: là 0; phải từ 1 đến 65536",
		"Try again.": "Hãy thử lại.",
		"something new under the sun. Try again.": "something new under the sun. Hãy thử lại.",
	} {
		require.Equal(t, want, texts.translate(source))
	}
}
