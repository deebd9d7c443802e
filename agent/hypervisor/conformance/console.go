package conformance

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coloa-cloud/coloa/agent/hypervisor"
)

// screen reads a console in the background.
type screen struct {
	bench *bench
	lines chan string
	seen  strings.Builder
}

func (bench *bench) watch(console io.Reader) *screen {
	made := &screen{bench: bench, lines: make(chan string, 1024)}
	go func() {
		defer close(made.lines)
		buffer := make([]byte, 4096)
		for {
			count, err := console.Read(buffer)
			if count > 0 {
				made.lines <- string(buffer[:count])
			}
			if err != nil {
				return
			}
		}
	}()
	return made
}

// expect waits until the console has shown the text.
func (screen *screen) expect(text string) {
	screen.bench.t.Helper()
	deadline := time.After(screen.bench.Patience)
	for !strings.Contains(screen.seen.String(), text) {
		select {
		case piece, open := <-screen.lines:
			require.True(screen.bench.t, open, "the console ended before it showed %q; it showed %q", text, screen.seen.String())
			screen.seen.WriteString(piece)
		case <-deadline:
			require.FailNow(screen.bench.t, "waited in vain", "for %q; the console showed %q", text, screen.seen.String())
		}
	}
}

// expectEnd waits until reads end.
func (screen *screen) expectEnd() {
	screen.bench.t.Helper()
	deadline := time.After(screen.bench.Patience)
	for {
		select {
		case piece, open := <-screen.lines:
			if !open {
				return
			}
			screen.seen.WriteString(piece)
		case <-deadline:
			require.FailNow(screen.bench.t, "the console did not end")
		}
	}
}

func (bench *bench) readToTheEnd(console io.Reader) string {
	bench.t.Helper()
	screen := bench.watch(console)
	screen.expectEnd()
	return screen.seen.String()
}

func (bench *bench) console(id string) io.ReadWriteCloser {
	bench.t.Helper()
	console, err := bench.host.Console(bench.ctx, id)
	require.NoError(bench.t, err)
	bench.t.Cleanup(func() { require.NoError(bench.t, console.Close()) })
	return console
}

func (bench *bench) write(console io.Writer, text string) {
	bench.t.Helper()
	count, err := console.Write([]byte(text))
	require.NoError(bench.t, err)
	require.Equal(bench.t, len(text), count)
}

func testConsole(t *testing.T, bench *bench) {
	machine := bench.running()
	for _, word := range []string{"first", "second"} { // and it can be left and come back to
		console := bench.console(machine.ID)
		screen := bench.watch(console)
		bench.write(console, word)
		screen.expect(word)
		require.NoError(t, bench.host.Reboot(bench.ctx, machine.ID, true))
		screen.expect(bench.Greeting)
		require.NoError(t, console.Close())
		require.NoError(t, console.Close(), "closing again changes nothing")
		screen.expectEnd()
		_, err := console.Write([]byte("x"))
		require.Error(t, err)
	}
	require.Equal(t, hypervisor.StateRunning, bench.get(machine.ID).State)
}

func testConsoleTakenOver(t *testing.T, bench *bench) {
	machine := bench.running()
	first := bench.console(machine.ID)
	firstScreen := bench.watch(first)
	bench.write(first, "before")
	firstScreen.expect("before")

	second := bench.console(machine.ID)
	firstScreen.expectEnd()
	secondScreen := bench.watch(second)
	bench.write(second, "after")
	secondScreen.expect("after")
	require.NotContains(t, firstScreen.seen.String(), "after")
	require.NoError(t, first.Close(), "the earlier one's end disturbs nobody")
	bench.write(second, "still")
	secondScreen.expect("still")
}

func testConsoleEndsWithTheMachine(t *testing.T, bench *bench) {
	machine := bench.running()
	screen := bench.watch(bench.console(machine.ID))
	require.NoError(t, bench.host.Kill(bench.ctx, machine.ID))
	screen.expectEnd()
}

// testConsoleUnread: a user who attaches and reads nothing must not stop the guest, whose kernel waits for its serial port.
func testConsoleUnread(t *testing.T, bench *bench) {
	machine := bench.running()
	_ = bench.console(machine.ID)
	for i := range 5 {
		require.NoError(t, bench.host.Reboot(bench.ctx, machine.ID, true))
		bench.awaitGreetings(machine, i+2)
	}
}

func testEvents(t *testing.T, bench *bench) {
	ctx, cancel := context.WithCancel(bench.ctx)
	defer cancel()
	events, err := bench.host.Events(ctx)
	require.NoError(t, err)
	stranger := bench.open(newID())
	strange, err := stranger.Events(ctx)
	require.NoError(t, err)

	machine := bench.machine()
	for _, step := range []struct {
		what string
		do   func(context.Context, string) error
	}{
		{"Define", func(ctx context.Context, _ string) error { return bench.host.Define(ctx, machine) }},
		{"Start", bench.host.Start},
		{"Kill", bench.host.Kill},
		{"Start", bench.host.Start},
		{"a crash", func(context.Context, string) error { bench.EndProcess(t, bench.host, machine.ID); return nil }},
		{"Remove", bench.host.Remove},
	} {
		drain(events)
		require.NoError(t, step.do(ctx, machine.ID))
		select {
		case event := <-events:
			require.Equal(t, machine.ID, event.ID)
		case <-time.After(bench.Patience):
			require.FailNow(t, "no event", "after %s", step.what)
		}
		if step.what == "a crash" {
			bench.awaitStopped(machine.ID, hypervisor.ReasonCrashed)
		}
		time.Sleep(50 * time.Millisecond) // its further events
	}
	require.Empty(t, strange, "another cluster hears nothing")
	cancel()
	bench.awaitClosed(events)
	bench.awaitClosed(strange)
	late, err := bench.host.Events(ctx)
	if err == nil {
		bench.awaitClosed(late)
	} else {
		require.True(t, errors.Is(err, hypervisor.ErrUnavailable))
	}
}

func drain(events <-chan hypervisor.Event) {
	for {
		select {
		case <-events:
		default:
			return
		}
	}
}

func (bench *bench) awaitClosed(events <-chan hypervisor.Event) {
	bench.t.Helper()
	deadline := time.After(bench.Patience)
	for {
		select {
		case _, open := <-events:
			if !open {
				return
			}
		case <-deadline:
			require.FailNow(bench.t, "the subscription did not end")
		}
	}
}

// testEventsUnread: a subscriber that reads nothing holds nobody up.
func testEventsUnread(t *testing.T, bench *bench) {
	_, err := bench.host.Events(bench.ctx)
	require.NoError(t, err)
	machine := bench.defined()
	for range 3 {
		require.NoError(t, bench.host.Start(bench.ctx, machine.ID))
		require.NoError(t, bench.host.Kill(bench.ctx, machine.ID))
	}
}
