package console

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/coloa-cloud/coloa/agent/hypervisor"
	"github.com/coloa-cloud/coloa/agent/hypervisor/fake"
	"github.com/coloa-cloud/coloa/agent/internal/ledger"
	"github.com/coloa-cloud/coloa/agent/internal/serial"
	"github.com/coloa-cloud/coloa/api/hostv1"
)

// bench is the agent's port over real sockets, with one running guest.
type bench struct {
	t            *testing.T
	host         *fake.Host
	machines     *fake.Hypervisor
	server       *httptest.Server
	vm, instance string
}

func newBench(t *testing.T) *bench {
	b := &bench{t: t, host: fake.NewHost(fake.Options{}), vm: uuid.Must(uuid.NewV7()).String(), instance: uuid.Must(uuid.NewV7()).String()}
	b.machines = b.host.Open("c")
	store := serial.NewStore(filepath.Join(t.TempDir(), "serial"), ledger.OpenMemory("c", "h"))
	path, err := store.Prepare(b.vm, b.instance)
	require.NoError(t, err)
	require.NoError(t, b.machines.Define(t.Context(), hypervisor.Machine{ID: b.instance, Name: "a", Cluster: "c", VCPUs: 1, MemoryMiB: 64, SerialLog: path}))
	require.NoError(t, b.machines.Start(t.Context(), b.instance))
	b.server = httptest.NewServer(Handler(b.machines, store, slog.New(slog.NewTextHandler(io.Discard, nil))))
	t.Cleanup(b.server.Close)
	return b
}

func (b *bench) dial() io.ReadWriteCloser {
	ctx, cancel := context.WithTimeout(b.t.Context(), 10*time.Second)
	b.t.Cleanup(cancel)
	socket, _, err := websocket.Dial(ctx, b.server.URL+hostv1.PathInstances+b.instance+"/console", nil)
	require.NoError(b.t, err)
	return websocket.NetConn(ctx, socket, websocket.MessageBinary)
}

func (b *bench) get(path string) (int, string) {
	response, err := http.Get(b.server.URL + path)
	require.NoError(b.t, err)
	text, err := io.ReadAll(response.Body)
	require.NoError(b.t, err)
	require.NoError(b.t, response.Body.Close())
	return response.StatusCode, string(text)
}

func expect(t *testing.T, from io.Reader, text string) {
	t.Helper()
	got := make([]byte, len(text))
	_, err := io.ReadFull(from, got)
	require.NoError(t, err)
	require.Equal(t, text, string(got))
}

func TestConsole(t *testing.T) {
	b := newBench(t)
	console := b.dial()
	_, err := console.Write([]byte("hello\r")) // the fake guest echoes
	require.NoError(t, err)
	expect(t, console, "hello\r")
	require.NoError(t, b.host.WriteSerial(b.instance, "\x00\xff\x1b[0m"))
	expect(t, console, "\x00\xff\x1b[0m")

	// A later caller takes over; the earlier one is told.
	later := b.dial()
	_, err = io.ReadAll(console)
	require.NoError(t, err)
	require.NoError(t, b.host.WriteSerial(b.instance, "for the later one"))
	expect(t, later, "for the later one")

	// The guest ends, and with it the console.
	require.NoError(t, b.host.PowerOffGuest(b.instance))
	_, err = io.ReadAll(later)
	require.NoError(t, err)
}

func TestConsoleLetsGo(t *testing.T) {
	b := newBench(t)
	console := b.dial()
	_, err := console.Write([]byte("x"))
	require.NoError(t, err)
	expect(t, console, "x")
	require.NoError(t, console.Close())
	again := b.dial()
	_, err = again.Write([]byte("y"))
	require.NoError(t, err)
	expect(t, again, "y")
}

func TestConsoleRefusals(t *testing.T) {
	b := newBench(t)
	for path, want := range map[string]int{
		hostv1.PathInstances + uuid.NewString() + "/console": 404,
		hostv1.PathInstances + "..%2f..%2fetc/console":       404,
		hostv1.PathInstances + b.instance + "/other":         404,
		hostv1.PathInstances + b.instance + "/console":       426, // no websocket
		hostv1.PathVMs + "..%2f../log":                       404,
		hostv1.PathVMs + b.vm + "/log?tail=-1":               422,
		hostv1.PathVMs + b.vm + "/log?tail=x":                422,
		hostv1.PathVMs + uuid.NewString() + "/log":           200, // nothing was ever said
	} {
		status, text := b.get(path)
		require.Equal(t, want, status, "%s: %s", path, text)
	}
	require.NoError(t, b.host.PowerOffGuest(b.instance))
	status, text := b.get(hostv1.PathInstances + b.instance + "/console")
	require.Equal(t, 409, status)
	require.Contains(t, text, "wrong_state")
}

func TestLog(t *testing.T) {
	b := newBench(t)
	require.NoError(t, b.host.WriteSerial(b.instance, "one\ntwo\n"))
	path := hostv1.PathVMs + b.vm + "/log"
	_, text := b.get(path)
	require.Equal(t, fake.Greeting+"one\ntwo\n", text)
	_, text = b.get(path + "?tail=1")
	require.Equal(t, "two\n", text)

	ctx, cancel := context.WithCancel(t.Context())
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, b.server.URL+path+"?tail=1&follow=1", nil)
	require.NoError(t, err)
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	lines := bufio.NewScanner(response.Body)
	for _, want := range []string{"two", "three", "four"} {
		require.True(t, lines.Scan())
		require.Equal(t, want, strings.TrimSpace(lines.Text()))
		if want == "two" {
			require.NoError(t, b.host.WriteSerial(b.instance, "three\n"))
		} else {
			require.NoError(t, b.host.WriteSerial(b.instance, "four\n"))
		}
	}
	cancel()
	require.NoError(t, response.Body.Close())
}
