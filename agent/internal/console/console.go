// Package console serves the agent's own port: a guest's serial port as a websocket, and its kept serial output as text. Only controllers reach
// it (the TLS configuration sees to that); who may see which guest, they have decided before they ask.
package console

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/coder/websocket"

	"github.com/coloa-cloud/coloa/agent/hypervisor"
	"github.com/coloa-cloud/coloa/api/hostv1"
	v1 "github.com/coloa-cloud/coloa/api/v1"
)

// pingEvery finds out whether somebody is still there.
const pingEvery = 30 * time.Second

// Consoles opens the serial port of an Instance's machine: the hypervisor.
type Consoles interface {
	Console(ctx context.Context, id string) (io.ReadWriteCloser, error)
}

// Logs writes the kept serial output of a VM: the serial store.
type Logs interface {
	Copy(ctx context.Context, w io.Writer, vm string, tail int, follow bool, flush func()) error
}

// Handler serves hostv1's paths of the agent. logs may be nil: nothing is kept.
func Handler(consoles Consoles, logs Logs, log *slog.Logger) http.Handler {
	server := &server{consoles: consoles, logs: logs, log: log.With("part", "console")}
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+hostv1.PathInstances+"{id}/console", server.console)
	mux.HandleFunc("GET "+hostv1.PathVMs+"{id}/log", server.serialLog)
	return mux
}

type server struct {
	consoles Consoles
	logs     Logs
	log      *slog.Logger
}

// console joins a websocket and a serial port until one of them ends. A later caller takes the port over; then the earlier one's websocket is closed.
func (s *server) console(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("id")
	if !v1.IsID(id) {
		refuse(w, v1.NewProblem(v1.CodeNotFound, "%.80q is no id of an instance", id))
		return
	}
	port, err := s.consoles.Console(r.Context(), id)
	switch {
	case errors.Is(err, hypervisor.ErrNotFound):
		refuse(w, v1.NewProblem(v1.CodeNotFound, "this host has no machine for the instance %s", id))
		return
	case errors.Is(err, hypervisor.ErrNotRunning):
		refuse(w, v1.NewProblem(v1.CodeWrongState, "the virtual machine does not run").WithNext("Start it, and attach again."))
		return
	case err != nil:
		refuse(w, v1.NewProblem(v1.CodeUnavailable, "the console cannot be opened: %v", err))
		return
	}
	defer func() { _ = port.Close() }() // nothing is lost with it
	socket, err := websocket.Accept(w, r, &websocket.AcceptOptions{CompressionMode: websocket.CompressionDisabled})
	if err != nil {
		return // Accept has answered
	}
	defer func() { _ = socket.CloseNow() }() // after an orderly Close this does nothing
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	line := websocket.NetConn(ctx, socket, websocket.MessageBinary)
	ended := make(chan struct{}, 2)
	go func() {
		_, _ = io.Copy(port, line) // any end is an end
		ended <- struct{}{}
	}()
	go func() {
		_, _ = io.Copy(line, port) // any end is an end
		ended <- struct{}{}
	}()
	ticker := time.NewTicker(pingEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ended:
			_ = port.Close()
			_ = socket.Close(websocket.StatusNormalClosure, "the console has ended")
			return
		case <-ticker.C:
			ping, stop := context.WithTimeout(ctx, pingEvery)
			err := socket.Ping(ping)
			stop()
			if err != nil {
				return
			}
		}
	}
}

// serialLog writes text: tail=N for the last lines, follow=1 to go on.
func (s *server) serialLog(w http.ResponseWriter, r *http.Request) {
	vm, query := r.PathValue("id"), r.URL.Query()
	if !v1.IsID(vm) {
		refuse(w, v1.NewProblem(v1.CodeNotFound, "%.80q is no id of a virtual machine", vm))
		return
	}
	tail := -1
	if text := query.Get("tail"); text != "" {
		number, err := strconv.Atoi(text)
		if err != nil || number < 0 {
			refuse(w, v1.NewProblem(v1.CodeInvalid, "tail must be a number of lines").WithField("tail"))
			return
		}
		tail = number
	}
	follow := query.Get("follow") == "1" || query.Get("follow") == "true"
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(http.StatusOK)
	controller := http.NewResponseController(w)
	flush := func() { _ = controller.Flush() } // a writer that cannot flush sends at the end
	flush()
	if s.logs == nil {
		return
	}
	if err := s.logs.Copy(r.Context(), w, vm, tail, follow, flush); err != nil && r.Context().Err() == nil && !errors.Is(err, os.ErrClosed) {
		s.log.Warn("serial log", "vm", vm, "error", err)
	}
}
