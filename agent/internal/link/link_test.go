package link

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/coloa-cloud/coloa/agent/internal/ledger"
	"github.com/coloa-cloud/coloa/api/hostv1"
	v1 "github.com/coloa-cloud/coloa/api/v1"
)

// wire answers requests as a test says, and remembers them.
type wire struct {
	mutex  sync.Mutex
	answer map[string]func(*http.Request) (int, any) // by path; missing: 200 {}
	seen   map[string]int                            // by address and path
}

func newWire() *wire {
	w := &wire{answer: map[string]func(*http.Request) (int, any){}, seen: map[string]int{}}
	w.on(hostv1.PathRegister, func(*http.Request) (int, any) {
		return 200, hostv1.RegisterResponse{Cluster: "c", Epoch: uint64(w.count(hostv1.PathRegister)), HeartbeatEvery: time.Second,
			Controllers: []hostv1.Controller{{ID: "one", Address: "a:1"}, {ID: "two", Address: "b:2"}}}
	})
	return w
}

func (w *wire) on(path string, answer func(*http.Request) (int, any)) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	w.answer[path] = answer
}

// count is how many requests there were whose address and path contain text.
func (w *wire) count(text string) (count int) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	for key, times := range w.seen {
		if strings.Contains(key, text) {
			count += times
		}
	}
	return count
}

func (w *wire) RoundTrip(r *http.Request) (*http.Response, error) {
	w.mutex.Lock()
	w.seen[r.URL.Host+r.URL.Path]++
	answer := w.answer[r.URL.Path]
	w.mutex.Unlock()
	status, body := 200, any(struct{}{})
	switch {
	case answer != nil:
		status, body = answer(r)
	case r.URL.Path == hostv1.PathAssignments:
		<-r.Context().Done()
		return nil, r.Context().Err()
	}
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	text, ok := body.(string)
	if !ok {
		encoded, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		text = string(encoded)
	}
	return &http.Response{StatusCode: status, Body: io.NopCloser(strings.NewReader(text)), ContentLength: int64(len(text)), Request: r, Header: http.Header{}}, nil
}

// inBubble runs a link over the wire, in virtual time, with one report in the outbox.
func inBubble(t *testing.T, wire *wire, test func(*Link, *ledger.Ledger)) {
	synctest.Test(t, func(t *testing.T) {
		book := ledger.OpenMemory("c", "h")
		link := New(Options{
			Ledger: book, Controllers: []string{"a:1"}, Transport: wire, Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
			Describe: func(context.Context) (hostv1.RegisterRequest, error) { return hostv1.RegisterRequest{Name: "h"}, nil },
		})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- link.Run(ctx) }()
		synctest.Wait()
		test(link, book)
		cancel()
		require.NoError(t, <-ended)
	})
}

// news puts a report into the outbox.
func news(t *testing.T, book *ledger.Ledger) {
	id, position := uuid.Must(uuid.NewV7()).String(), book.Position()
	set := hostv1.Assignments{Cluster: "c", Host: "h", Epoch: position.Epoch, Generation: position.Generation + 1, Instances: []hostv1.Assignment{{ID: id, Spec: v1.InstanceSpec{VM: id}}}}
	set.Digest = set.ComputeDigest()
	body, err := json.Marshal(set)
	require.NoError(t, err)
	_, err = book.Accept(body)
	require.NoError(t, err)
	require.NoError(t, book.Mark(id, ledger.Journal{Phase: ledger.PhaseStarted}, &v1.InstanceObserved{State: v1.InstanceRunning}))
}

func TestReportsStayUntilTheyAreTaken(t *testing.T) {
	for name, answer := range map[string]any{
		"no results":     hostv1.StatusResponse{},
		"too many":       hostv1.StatusResponse{Results: []hostv1.ReportResult{hostv1.ReportTaken, hostv1.ReportTaken}},
		"unknown result": hostv1.StatusResponse{Results: []hostv1.ReportResult{"maybe"}},
		"no JSON":        "<html>",
		"far too long":   strings.Repeat("x", hostv1.MaxBody+1),
	} {
		wire := newWire()
		wire.on(hostv1.PathStatus, func(*http.Request) (int, any) { return 200, answer })
		inBubble(t, wire, func(_ *Link, book *ledger.Ledger) {
			news(t, book)
			time.Sleep(2 * time.Minute)
			require.Len(t, book.Unsent(9, 1<<20), 1, name)
			require.Less(t, wire.count(hostv1.PathStatus), 40, "with back-off")
			require.Greater(t, wire.count(hostv1.PathStatus), 8, "and never given up")
			wire.on(hostv1.PathStatus, func(*http.Request) (int, any) {
				return 200, hostv1.StatusResponse{Results: []hostv1.ReportResult{hostv1.ReportTaken}}
			})
			time.Sleep(time.Minute)
			require.Empty(t, book.Unsent(9, 1<<20), name)
		})
	}
	for _, result := range []hostv1.ReportResult{hostv1.ReportUnknown, hostv1.ReportRefused} {
		wire := newWire()
		wire.on(hostv1.PathStatus, func(*http.Request) (int, any) {
			return 200, hostv1.StatusResponse{Results: []hostv1.ReportResult{result}}
		})
		inBubble(t, wire, func(_ *Link, book *ledger.Ledger) {
			news(t, book)
			time.Sleep(time.Minute)
			require.Empty(t, book.Unsent(9, 1<<20), "forgotten, as it was told to")
			require.Equal(t, 1, wire.count(hostv1.PathStatus))
		})
	}
}

func TestConflictLeadsToOneRegistrationAtATime(t *testing.T) {
	for _, path := range []string{hostv1.PathHeartbeat, hostv1.PathAssignments, hostv1.PathStatus} {
		wire := newWire()
		wire.on(path, func(*http.Request) (int, any) { return 409, v1.NewProblem(v1.CodeConflict, "the epoch is old") })
		inBubble(t, wire, func(_ *Link, book *ledger.Ledger) {
			news(t, book)
			time.Sleep(10 * time.Minute)
			require.Greater(t, wire.count(hostv1.PathRegister), 10, path)
			require.Less(t, wire.count(hostv1.PathRegister), 90, "a controller that only says no is not hammered at")
		})
	}
}

// Redirects are not followed: they could lead the report of a guest anywhere.
func TestNoRedirects(t *testing.T) {
	wire := newWire()
	wire.on(hostv1.PathHeartbeat, func(*http.Request) (int, any) { return 302, "" })
	inBubble(t, wire, func(link *Link, _ *ledger.Ledger) {
		time.Sleep(time.Minute)
		require.Zero(t, wire.count("evil"))
	})
}

// A controller that takes requests and never answers is left for the other one.
func TestHangingController(t *testing.T) {
	wire := newWire()
	hang := func(r *http.Request) (int, any) {
		if r.URL.Host == "a:1" {
			<-r.Context().Done()
		}
		return 200, struct{}{}
	}
	inBubble(t, wire, func(link *Link, _ *ledger.Ledger) {
		wire.on(hostv1.PathHeartbeat, hang)
		before := wire.count("b:2" + hostv1.PathHeartbeat)
		time.Sleep(15 * time.Second)
		require.Greater(t, wire.count("b:2"+hostv1.PathHeartbeat)-before, 5)
		require.True(t, link.Connected())
	})
}

func TestImage(t *testing.T) {
	wire := newWire()
	inBubble(t, wire, func(link *Link, _ *ledger.Ledger) {
		wire.on(hostv1.PathImages+"x", func(r *http.Request) (int, any) { return 200, "bytes from " + r.URL.Host })
		data, size, err := link.Image(t.Context(), "two", "x")
		require.NoError(t, err)
		text, err := io.ReadAll(data)
		require.NoError(t, err)
		require.Equal(t, "bytes from b:2", string(text), "from its keeper, whatever controller is in use")
		require.EqualValues(t, len(text), size)
		require.NoError(t, data.Close())

		_, _, err = link.Image(t.Context(), "three", "x")
		require.ErrorIs(t, err, ErrUnavailable)
		wire.on(hostv1.PathImages+"x", func(*http.Request) (int, any) { return 503, "" })
		_, _, err = link.Image(t.Context(), "two", "x")
		require.ErrorIs(t, err, ErrUnavailable)
		wire.on(hostv1.PathImages+"x", func(*http.Request) (int, any) { return 404, "" })
		_, _, err = link.Image(t.Context(), "two", "x")
		require.False(t, errors.Is(err, ErrUnavailable))
		require.Equal(t, v1.CodeNotFound, v1.CodeOf(err))
	})
}
