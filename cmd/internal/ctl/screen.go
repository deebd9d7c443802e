package ctl

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/term"
)

// screen is what is known of the terminal.
type screen struct {
	in, out, errs bool // it is a terminal
	width         int  // columns of standard output; 0 when it is no terminal
	colours       bool
}

func newScreen(in io.Reader, out, errs io.Writer, env func(string) string) screen {
	s := screen{in: isTerminal(in), out: isTerminal(out), errs: isTerminal(errs)}
	if columns, err := strconv.Atoi(env("COLUMNS")); err == nil && columns > 0 {
		s.width = columns
	} else if file, ok := out.(*os.File); ok && s.out {
		s.width, _, _ = term.GetSize(int(file.Fd()))
		if s.width <= 0 {
			s.width = 80
		}
	}
	s.colours = s.out && env("NO_COLOR") == "" && env("TERM") != "dumb"
	return s
}

func isTerminal(stream any) bool {
	file, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}

// plain makes text harmless for a terminal and for readers: control characters, marks that change the writing direction, invisible characters and
// broken UTF-8 are shown as escapes.
func plain(text string) string {
	clean := true
	for _, r := range text {
		if r == utf8.RuneError || deceives(r) {
			clean = false
			break
		}
	}
	if clean {
		return text
	}
	var result strings.Builder
	for i := 0; i < len(text); {
		r, size := utf8.DecodeRuneInString(text[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&result, `\x%02x`, text[i])
		case r == '\n':
			result.WriteString(`\n`)
		case r == '\t':
			result.WriteString(`\t`)
		case deceives(r) && r < 0x80:
			fmt.Fprintf(&result, `\x%02x`, r)
		case deceives(r):
			fmt.Fprintf(&result, `\u%04x`, r)
		default:
			result.WriteRune(r)
		}
		i += size
	}
	return result.String()
}

func deceives(r rune) bool {
	return unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) || unicode.Is(unicode.Cf, r) || r == '\u2028' || r == '\u2029'
}

// colour names.
const (
	noColour = ""
	green    = "32"
	yellow   = "33"
	red      = "31"
	bold     = "1"
)

func (s screen) paint(colour, text string) string {
	if !s.colours || colour == noColour || text == "" {
		return text
	}
	return "\x1b[" + colour + "m" + text + "\x1b[0m"
}

// phaseColour is green for what is well, red for what needs somebody, yellow for what is on its way.
func phaseColour(phase string) string {
	switch phase {
	case "Running", "Ready", "Available", "Succeeded", "Done", "true":
		return green
	case "Crashed", "Failed", "NeedsAttention", "Silent", "Unknown", "Paused", "Abandoned":
		return red
	case "Stopped", "Cancelled", "", "false":
		return noColour
	}
	return yellow
}
