package ctl

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	v1 "github.com/coloa-cloud/coloa/api/v1"
)

func TestPlain(t *testing.T) {
	for text, want := range map[string]string{
		"máy chủ số 1": "máy chủ số 1", "": "", "a\x1b[31mb": `a\x1b[31mb`, "a\nb\tc": `a\nb\tc`, "a\u202eb": `a\u202eb`, "a\u009bb": `a\u009bb`, "a\xffb": `a\xffb`,
		"a\u200bb": `a\u200bb`, "\u2028": `\u2028`, "\U000e0041": `\ue0041`,
	} {
		require.Equal(t, want, plain(text))
	}
	rapid.Check(t, func(t *rapid.T) {
		harmless := plain(string(rapid.SliceOf(rapid.Byte()).Draw(t, "bytes")))
		for _, r := range harmless {
			if deceives(r) {
				t.Fatalf("%q", harmless)
			}
		}
	})
}

// JSON stays the same value when what could command a terminal is escaped.
func TestJSONIsHarmless(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		word := rapid.String().Draw(t, "text")
		encoded, err := toJSON(map[string]string{"x": word}, "")
		require.NoError(t, err)
		for _, r := range strings.TrimSuffix(string(encoded), "\n") {
			if deceives(r) {
				t.Fatalf("%q", encoded)
			}
		}
		require.JSONEq(t, fmt.Sprintf(`{"x":%s}`, mustJSON(word)), string(encoded))
	})
}

func mustJSON(value any) string {
	encoded, err := toJSON(value, "")
	if err != nil {
		panic(err)
	}
	return strings.TrimSuffix(string(encoded), "\n")
}

// Whatever stands in it, a table fits the terminal as long as the columns that nobody may cut do.
func TestTablesFit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := newTestApp(rapid.SampledFrom([]string{english, vietnamese}).Draw(t, "language"), io.Discard, io.Discard)
		a.screen.width = rapid.IntRange(60, 200).Draw(t, "width")
		s := &sheet{columns: []heading{{key: "name", whole: true}, {key: "phase"}, {key: "image"}, {key: "host", level: ifRoom}, {key: "labels", level: wideOnly}, {key: "error", level: detailOnly}}}
		for range rapid.IntRange(0, 4).Draw(t, "rows") {
			row := []cell{{human: rapid.StringMatching(`[a-z]{1,24}`).Draw(t, "name")}}
			for range len(s.columns) - 1 {
				word := plain(rapid.StringMatching(`[a-zêữộ\x1b ]{0,80}`).Draw(t, "cell"))
				row = append(row, cell{human: word})
			}
			s.rows = append(s.rows, row)
		}
		drawn := a.draw(s, false)
		for line := range strings.Lines(drawn) {
			line = strings.TrimRight(line, "\n")
			if width := text.StringWidth(line); width > a.screen.width {
				t.Fatalf("%d columns: %q", width, line)
			}
		}
		for _, row := range s.rows {
			if !strings.Contains(drawn, row[0].human) {
				t.Fatalf("the name %q is cut", row[0].human)
			}
		}
	})
}

func TestColours(t *testing.T) {
	a := newTestApp(english, io.Discard, io.Discard)
	s := &sheet{columns: []heading{{key: "phase"}}, rows: [][]cell{{{human: "Running", colour: green}}}}
	require.NotContains(t, a.draw(s, false), "\x1b")
	a.screen = screen{out: true, width: 80, colours: true}
	require.Contains(t, a.draw(s, false), "\x1b[32mRunning\x1b[0m")
	require.False(t, newScreen(strings.NewReader(""), os.Stdout, io.Discard, func(name string) string { return map[string]string{"NO_COLOR": "1"}[name] }).colours)
}

func TestSizes(t *testing.T) {
	for _, c := range []struct {
		text string
		unit int64
		want int64
	}{
		{"20", gibibyte, 20}, {"20GiB", gibibyte, 20}, {"20g", gibibyte, 20}, {"1TiB", gibibyte, 1024}, {"2048MiB", gibibyte, 2}, {"512 MiB", mebibyte, 512}, {"2GiB", mebibyte, 2048}, {"7", 1, 7},
	} {
		got, err := parseSize(c.text, c.unit)
		require.NoError(t, err, c.text)
		require.Equal(t, c.want, got, c.text)
	}
	for _, text := range []string{"", "GiB", "-1", "1.5GiB", "1500MiB", "9999999999999999999", "9223372036854775807TiB", "0x10", "ten"} {
		_, err := parseSize(text, gibibyte)
		require.Error(t, err, text)
	}
}

func TestSpans(t *testing.T) {
	a := newTestApp(english, io.Discard, io.Discard)
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	a.now = func() time.Time { return now }
	for text, want := range map[string]time.Time{"30d": now.AddDate(0, 0, 30), "90m": now.Add(90 * time.Minute), "2026-12-31T00:00:00Z": time.Date(2026, 12, 31, 0, 0, 0, 0, time.UTC)} {
		at, err := a.parseMoment(text)
		require.NoError(t, err)
		require.WithinDuration(t, want, at, 0)
	}
	for _, text := range []string{"", "d", "-1d", "-5m", "soon", "99999999d"} {
		_, err := a.parseMoment(text)
		require.Error(t, err, text)
	}
	require.Equal(t, []string{"0s", "119s", "2m", "2h", "3d"}, []string{a.span(-time.Hour), a.span(119 * time.Second), a.span(150 * time.Second), a.span(125 * time.Minute), a.span(80 * time.Hour)})
}

func TestLanguage(t *testing.T) {
	for _, c := range []struct {
		environment map[string]string
		want        string
	}{
		{nil, english}, {map[string]string{"LANG": "vi_VN.UTF-8"}, vietnamese}, {map[string]string{"LANG": "vi_VN", "LC_ALL": "C"}, english},
		{map[string]string{"LANG": "en_US", "LC_MESSAGES": "vi"}, vietnamese}, {map[string]string{"LANG": "vi_VN", "COLOA_LANG": "en"}, english},
		{map[string]string{"LANG": "vie"}, english},
	} {
		require.Equal(t, c.want, languageOf(func(name string) string { return c.environment[name] }), "%v", c.environment)
	}
}

// What a guest writes reaches the terminal as lines of text, however its sequences are cut into pieces.
func TestGuestText(t *testing.T) {
	input := "one\x1b[0;32mOK\x1b[0m\r\n\x1b]0;title\x07two\x1b]0;t\x1b\\three\x1bPq\x1b\\\x1b(B\tfour\u009b2J\x07\x08\u00e9\n"
	for size := 1; size < 12; size++ {
		var out bytes.Buffer
		guest := &guestText{to: &out}
		for rest := input; rest != ""; {
			n := min(size, len(rest))
			_, err := guest.Write([]byte(rest[:n]))
			require.NoError(t, err)
			rest = rest[n:]
		}
		if size == 1 {
			continue // a C1 character cut in its middle is the terminal's garbage, not a command: checked below
		}
		require.Contains(t, out.String(), "oneOK\ntwothree\tfour")
		require.NotContains(t, out.String(), "\x1b")
		require.NotContains(t, out.String(), "\x07")
	}
}

// The text of the step line, and the line itself: on standard error, only for people, gone at the end.
func TestStepLine(t *testing.T) {
	operation := &v1.Operation{Spec: v1.OperationSpec{Type: v1.OpVMCreate, Target: v1.Link{Name: "web"}}, Status: v1.OperationStatus{
		State: v1.OperationRunning, Current: 1, Message: "waits for a host that does not answer",
		Steps: []v1.StepStatus{{Name: "reserve", State: v1.StepDone}, {Name: "disk", State: v1.StepStarted, Percent: 40}, {Name: "start"}},
	}}
	var errs bytes.Buffer
	a := newTestApp(english, io.Discard, &errs)
	require.Equal(t, "Creating the virtual machine web: disk (2/3), 40% · waits for a host that does not answer", a.stepText(operation))
	vi := newTestApp(vietnamese, io.Discard, io.Discard)
	require.Equal(t, "Tạo máy ảo web: chuẩn bị đĩa (2/3), 40% · đang chờ một máy chủ không trả lời", vi.stepText(operation))
	require.Nil(t, a.startLine(), "standard error is no terminal")
	a.screen.errs = true
	a.flags.output = formJSON
	require.Nil(t, a.startLine(), "JSON is for programs")
	a.flags.output = formTable
	line := a.startLine()
	line.show(a.stepText(operation))
	time.Sleep(300 * time.Millisecond)
	line.stop()
	require.Contains(t, errs.String(), "disk (2/3), 40%")
	require.True(t, strings.HasSuffix(errs.String(), "\r\x1b[K"))
}

// Ctrl-C while waiting ends the command and says that the operation goes on.
func TestInterrupted(t *testing.T) {
	address := startHostile(t)
	environment := map[string]string{"COLOA_ENDPOINT": address, "COLOA_TOKEN": "x", "HOME": t.TempDir()}
	for language, want := range map[string]string{
		"en": "Error: interrupted\nThe operation goes on. See it with: coloa operation wait " + idOne + "\n",
		"vi": "Lỗi: đã ngắt\nTác vụ vẫn tiếp tục. Theo dõi bằng lệnh: coloa operation wait " + idOne + "\n",
	} {
		environment["COLOA_LANG"] = language
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(200*time.Millisecond, func() { cancel(errInterrupted) })
		var errs bytes.Buffer
		exit := Program{Version: "test"}.Run(ctx, []string{"vm", "stop", "slow"}, strings.NewReader(""), io.Discard, &errs, func(name string) string { return environment[name] })
		require.Equal(t, exitInterrupted, exit)
		require.Equal(t, want, errs.String())
	}
}

// A context's token goes only to who can prove to belong to the context's cloud.
func TestTokenStaysInItsCloud(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config.yaml")
	write := func(ca string) {
		a := newTestApp(english, io.Discard, io.Discard)
		a.env = func(name string) string { return map[string]string{"COLOA_CONFIG": file}[name] }
		require.NoError(t, a.save(&configuration{Current: "home", Contexts: map[string]*setting{"home": {Endpoints: []string{"https://home:8443"}, CA: ca, Token: "secret", Project: "demo"}}}))
	}
	token := func(environment map[string]string) string {
		a := newTestApp(english, io.Discard, io.Discard)
		environment["COLOA_CONFIG"] = file
		a.env = func(name string) string { return environment[name] }
		s, err := a.settings()
		require.NoError(t, err)
		return s.token
	}
	write("")
	require.Equal(t, "secret", token(map[string]string{}))
	require.Equal(t, "secret", token(map[string]string{"COLOA_ENDPOINT": "https://home:8443"}))
	require.Empty(t, token(map[string]string{"COLOA_ENDPOINT": "https://elsewhere:8443"}))
	require.Equal(t, "own", token(map[string]string{"COLOA_ENDPOINT": "https://elsewhere:8443", "COLOA_TOKEN": "own"}))
	write("PEM")
	require.Equal(t, "secret", token(map[string]string{"COLOA_ENDPOINT": "https://elsewhere:8443"}), "its certificate decides")
	require.Empty(t, token(map[string]string{"COLOA_ENDPOINT": "https://elsewhere:8443", "COLOA_CACERT": "other.pem"}))
	info, err := os.Stat(file)
	require.NoError(t, err)
	require.EqualValues(t, 0o600, info.Mode().Perm())
}

func TestExitCodes(t *testing.T) {
	a := newTestApp(english, io.Discard, io.Discard)
	for code, want := range map[v1.Code]int{
		v1.CodeInvalid: 2, v1.CodeNotFound: 3, v1.CodeDenied: 4, v1.CodeUnauthenticated: 4, v1.CodeConflict: 5, v1.CodeNameTaken: 5, v1.CodeInUse: 5, v1.CodeBusy: 5,
		v1.CodeWrongState: 5, v1.CodeNotMatched: 5, v1.CodeQuota: 6, v1.CodeTimeout: 7, v1.CodeUnavailable: 1, v1.CodeInternal: 1, v1.CodeNoCapacity: 1, v1.CodeImmutable: 1,
	} {
		require.Equal(t, want, a.report(v1.NewProblem(code, "x")), code)
	}
	require.Equal(t, 7, a.report(errTimedOut))
	require.Equal(t, 0, a.report(nil))
}

func TestSplitDocuments(t *testing.T) {
	parts := splitDocuments([]byte("a: 1\n---\nb: |\n  ---x\n--- # next\nc: 1\n"))
	require.Len(t, parts, 3)
	require.Equal(t, "b: |\n  ---x\n", string(parts[1]))
}
