package httpapi

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	v1 "github.com/coloa-cloud/coloa/api/v1"
)

// stream opens a stream of events.
func (w *world) stream(path, token string, headers ...string) *http.Response {
	w.Helper()
	request, err := http.NewRequest("GET", w.server.URL+path, nil)
	require.NoError(w, err)
	request.Header.Set("Authorization", "Bearer "+token)
	request.Header.Set("Accept", "text/event-stream")
	for _, line := range headers {
		name, value, _ := strings.Cut(line, ": ")
		request.Header.Set(name, value)
	}
	response, err := http.DefaultTransport.RoundTrip(request)
	require.NoError(w, err)
	w.Cleanup(func() { response.Body.Close() })
	return response
}

// sse reads blocks of a stream; comments are given as ":".
func sse(t *testing.T, body io.Reader) func() map[string]string {
	scanner := bufio.NewScanner(body)
	return func() map[string]string {
		block := map[string]string{}
		for scanner.Scan() {
			line := scanner.Text()
			if line == "" {
				return block
			}
			name, value, _ := strings.Cut(line, ":")
			block[name] = strings.TrimPrefix(value, " ")
		}
		return nil
	}
}

func TestEventStream(t *testing.T) {
	w := start(t, Limits{KeepAlive: 100 * time.Millisecond})
	response := w.stream("/v1/events", memberSecret)
	require.Equal(t, 200, response.StatusCode)
	require.Equal(t, "text/event-stream", response.Header.Get("Content-Type"))
	require.Equal(t, "no-store", response.Header.Get("Cache-Control"))
	next := sse(t, response.Body)
	require.Contains(t, next(), "", "a sign of life at once")
	w.vm()
	var last string
	for _, kind := range []string{"VM.created", "Operation.created"} {
		block := next()
		for block[""] != "" || len(block) == 1 {
			block = next()
		}
		require.Equal(t, kind, block["event"])
		require.Contains(t, block["data"], `"id":"`+block["id"]+`"`)
		last = block["id"]
	}
	require.Contains(t, next(), "", "signs of life while nothing happens")
	response.Body.Close()

	// Connecting again goes on where it was, whatever the address says, without asking the leader.
	require.Equal(t, 201, w.do("POST", "/v1/flavors", adminSecret, flavorBody).status)
	before := w.fake.caughtUp.Load()
	next = sse(t, w.stream("/v1/events?after=0", memberSecret, "Last-Event-ID: "+last).Body)
	require.Equal(t, "Flavor.created", next()["event"])
	require.Equal(t, before, w.fake.caughtUp.Load())
}

func TestEventStreamEnds(t *testing.T) {
	w := start(t, Limits{KeepAlive: 50 * time.Millisecond})
	ended := func(body io.Reader) []map[string]string {
		next, blocks := sse(t, body), []map[string]string{}
		for block := next(); block != nil; block = next() {
			blocks = append(blocks, block)
		}
		return blocks
	}
	// With the token.
	response := w.stream("/v1/events", memberSecret)
	require.Equal(t, 204, w.do("POST", "/v1/logout", memberSecret, "").status)
	ended(response.Body)
	// With a problem in the middle, which is told.
	response = w.stream("/v1/events", adminSecret)
	w.fake.mu.Lock()
	w.fake.fail = func(method string) error {
		return v1.NewProblem(v1.CodeNotFound, "The position is older than what is kept.")
	}
	w.fake.mu.Unlock()
	blocks := ended(response.Body)
	require.Equal(t, "problem", blocks[len(blocks)-1]["event"])
	require.Contains(t, blocks[len(blocks)-1]["data"], `"code":"not_found"`)
	// With a problem at the beginning, which is the answer.
	w.problem(w.do("GET", "/v1/events", adminSecret, "", "Accept: text/event-stream", "Last-Event-ID: 1-0"), 404, v1.CodeNotFound)
	w.fake.mu.Lock()
	w.fake.fail = nil
	w.fake.mu.Unlock()
	// With the controller.
	response = w.stream("/v1/events", adminSecret)
	close(w.stopping)
	ended(response.Body)
}

func TestEventsAsJSON(t *testing.T) {
	w := start(t, generous)
	w.vm()
	got := w.do("GET", "/v1/events?after=0&limit=2", memberSecret, "")
	require.Equal(t, 200, got.status, got.body)
	page := w.object(got)
	require.Len(t, page["items"], 2)
	got = w.do("GET", "/v1/events?after="+page["next"].(string)+"&limit=1000", memberSecret, "")
	require.NotEmpty(t, w.object(got)["items"])
	now := w.object(w.do("GET", "/v1/events", memberSecret, ""))
	require.Empty(t, now["items"])
	require.NotEmpty(t, now["next"])
	go func() {
		time.Sleep(100 * time.Millisecond)
		w.fake.mu.Lock()
		defer w.fake.mu.Unlock()
		w.fake.put(&v1.Flavor{Meta: v1.Meta{ID: w.fake.id()}}, v1.ActionCreated)
	}()
	begun := time.Now()
	got = w.do("GET", "/v1/events?wait=20s&after="+now["next"].(string), memberSecret, "", "Accept: application/json")
	require.Contains(t, got.body, "Flavor")
	require.Less(t, time.Since(begun), 10*time.Second)
}

// TestSlowReader: a client that takes nothing is cut off and keeps nothing busy.
func TestSlowReader(t *testing.T) {
	w := start(t, Limits{WriteTimeout: 200 * time.Millisecond, RatePerToken: -1})
	id := w.vm()
	ended := make(chan error, 1)
	w.fake.openLog = func(ctx context.Context, _ int, _ bool) (io.ReadCloser, error) {
		reader, writer := io.Pipe()
		go func() {
			var err error
			for err == nil && ctx.Err() == nil {
				_, err = writer.Write(make([]byte, 1<<16))
			}
			ended <- err
		}()
		return reader, nil
	}
	conn, err := net.Dial("tcp", w.server.Listener.Addr().String())
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.(*net.TCPConn).SetReadBuffer(4096))
	_, err = fmt.Fprintf(conn, "GET /v1/vms/%s/log?follow=true HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n\r\n", id, memberSecret)
	require.NoError(t, err)
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		t.Fatal("the reader that takes nothing is still served")
	}
}

func TestLog(t *testing.T) {
	w := start(t, Limits{KeepAlive: 50 * time.Millisecond})
	id := w.vm()
	got := w.do("GET", "/v1/vms/"+id+"/log?tail=10", memberSecret, "")
	require.Equal(t, 200, got.status)
	require.Equal(t, "Linux version 6.1\n", got.body)
	require.Equal(t, "text/plain; charset=utf-8", got.header.Get("Content-Type"))
	require.Contains(t, got.header.Get("Content-Security-Policy"), "sandbox")

	// Each piece arrives when the guest says it, and the stream ends with its client.
	lines, gone := make(chan string), make(chan struct{})
	w.fake.openLog = func(ctx context.Context, tail int, follow bool) (io.ReadCloser, error) {
		require.True(t, follow)
		require.Equal(t, 0, tail)
		reader, writer := io.Pipe()
		go func() {
			defer close(gone)
			defer writer.Close()
			for {
				select {
				case line := <-lines:
					if _, err := writer.Write([]byte(line)); err != nil {
						return
					}
				case <-ctx.Done():
					return
				}
			}
		}()
		return reader, nil
	}
	response := w.stream("/v1/vms/"+id+"/log?follow=true", memberSecret)
	reader := bufio.NewReader(response.Body)
	for _, line := range []string{"one\n", "two\n"} {
		lines <- line
		read, err := reader.ReadString('\n')
		require.NoError(t, err)
		require.Equal(t, line, read)
	}
	response.Body.Close()
	<-gone

	// What broke off is not taken for the whole.
	w.fake.openLog = func(context.Context, int, bool) (io.ReadCloser, error) {
		return io.NopCloser(io.MultiReader(strings.NewReader("half"), failingReader{})), nil
	}
	response = w.stream("/v1/vms/"+id+"/log", memberSecret)
	_, err := io.ReadAll(response.Body)
	require.Error(t, err)
}

type failingReader struct{}

func (failingReader) Read([]byte) (int, error) { return 0, errors.New("the host is gone") }

func TestWaitForOperation(t *testing.T) {
	w := start(t, Limits{})
	operation := w.object(w.do("POST", "/v1/vms", memberSecret, vmBody))["operation"].(string)
	begun := time.Now()
	got := w.do("GET", "/v1/operations/"+operation+"?wait=100ms", memberSecret, "")
	require.Equal(t, 200, got.status, got.body)
	require.Contains(t, got.body, `"state":"Running"`)
	require.GreaterOrEqual(t, time.Since(begun), 100*time.Millisecond)
	go func() {
		time.Sleep(50 * time.Millisecond)
		w.fake.mu.Lock()
		defer w.fake.mu.Unlock()
		done := w.fake.objects[v1.KindOperation][operation].(*v1.Operation).Clone()
		done.Status.State = v1.OperationSucceeded
		w.fake.put(done, v1.ActionUpdated)
	}()
	begun = time.Now()
	got = w.do("GET", "/v1/operations/"+operation+"?wait=30s", memberSecret, "")
	require.Contains(t, got.body, `"state":"Succeeded"`)
	require.Less(t, time.Since(begun), 10*time.Second)
	require.NotEmpty(t, got.header.Get("ETag"))
	w.problem(w.do("GET", "/v1/operations/nothing?wait=30s", memberSecret, ""), 404, v1.CodeNotFound)

	// The controller stops: the wait ends with what is known.
	operation = w.object(w.do("POST", "/v1/vms", memberSecret, strings.Replace(vmBody, "web", "app", 1)))["operation"].(string)
	time.AfterFunc(50*time.Millisecond, func() { close(w.stopping) })
	require.Equal(t, 200, w.do("GET", "/v1/operations/"+operation+"?wait=30s", memberSecret, "").status)
}

func TestUpload(t *testing.T) {
	w := start(t, Limits{MaxUploadBytes: 3 << 20, UploadIdleTimeout: 200 * time.Millisecond, BodyTimeout: 100 * time.Millisecond})
	id := w.object(w.do("POST", "/v1/images", memberSecret, bodies["images"]))["id"].(string)
	var size, received int64
	w.fake.uploaded = func(declared int64, data io.Reader) (err error) {
		size = declared
		received, err = io.Copy(io.Discard, data)
		return err
	}
	path := "/v1/images/" + id + "/data"
	send := func(body io.Reader) reply {
		request, err := http.NewRequest("PUT", w.server.URL+path, body)
		require.NoError(t, err)
		request.Header.Set("Authorization", "Bearer "+memberSecret)
		request.Header.Set("Content-Type", "application/octet-stream")
		response, err := http.DefaultTransport.RoundTrip(request)
		require.NoError(t, err)
		defer response.Body.Close()
		raw, _ := io.ReadAll(response.Body)
		return reply{response.StatusCode, response.Header, string(raw)}
	}
	got := send(strings.NewReader(strings.Repeat("x", 2<<20)))
	require.Equal(t, 202, got.status, got.body)
	require.Equal(t, []int64{2 << 20, 2 << 20}, []int64{size, received})
	require.NotEmpty(t, got.header.Get("Coloa-Operation"))

	// Slower than any total time-out, but never at a standstill, and of unknown length.
	got = send(trickle(12, 50*time.Millisecond))
	require.Equal(t, 202, got.status, got.body)
	require.Equal(t, []int64{-1, 12}, []int64{size, received})

	w.problem(send(io.LimitReader(zeros{}, 3<<20+1)), 413, v1.CodeTooLarge)
	w.problem(send(trickle(3, 400*time.Millisecond)), 408, v1.CodeTimeout)
	w.problem(w.do("PUT", "/v1/images/nothing/data", memberSecret, "x", "Content-Type: application/octet-stream"), 404, v1.CodeNotFound)
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// trickle gives count bytes, one after each pause.
func trickle(count int, pause time.Duration) io.Reader {
	reader, writer := io.Pipe()
	go func() {
		for range count {
			time.Sleep(pause)
			if _, err := writer.Write([]byte("x")); err != nil {
				return
			}
		}
		writer.Close()
	}()
	return reader
}

// serial is one end of a guest's serial port; the other is the guest.
func (w *world) console(id string, token string) (client *websocket.Conn, guest net.Conn) {
	w.Helper()
	ours, guest := net.Pipe()
	w.fake.mu.Lock()
	w.fake.openConsole = func() (io.ReadWriteCloser, error) { return ours, nil }
	w.fake.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	client, _, err := websocket.Dial(ctx, w.server.URL+"/v1/vms/"+id+"/console", &websocket.DialOptions{
		Subprotocols: []string{ConsoleProtocol}, HTTPHeader: http.Header{"Authorization": {"Bearer " + token}}})
	require.NoError(w, err)
	w.Cleanup(func() { _ = client.CloseNow() })
	require.Equal(w, ConsoleProtocol, client.Subprotocol())
	return client, guest
}

func TestConsole(t *testing.T) {
	w := start(t, Limits{KeepAlive: 50 * time.Millisecond})
	id := w.vm()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	closed := func(client *websocket.Conn) websocket.CloseError {
		for {
			if _, _, err := client.Read(ctx); err != nil {
				var end websocket.CloseError
				require.ErrorAs(t, err, &end)
				return end
			}
		}
	}
	client, guest := w.console(id, memberSecret)
	require.NoError(t, client.Write(ctx, websocket.MessageBinary, []byte("ls\n")))
	buffer := make([]byte, 3)
	_, err := io.ReadFull(guest, buffer)
	require.NoError(t, err)
	require.Equal(t, "ls\n", string(buffer))
	_, err = guest.Write([]byte("\x1b[1mbin\x00\xff"))
	require.NoError(t, err)
	kind, data, err := client.Read(ctx)
	require.NoError(t, err)
	require.Equal(t, websocket.MessageBinary, kind)
	require.Equal(t, "\x1b[1mbin\x00\xff", string(data))

	go func() { time.Sleep(200 * time.Millisecond); guest.Close() }() // some pings later
	end := closed(client)
	require.Equal(t, websocket.StatusNormalClosure, end.Code)
	require.Contains(t, end.Reason, "guest")

	// The client leaves: the guest's side is closed.
	client, guest = w.console(id, memberSecret)
	require.NoError(t, client.Close(websocket.StatusNormalClosure, ""))
	_, err = guest.Read(buffer)
	require.ErrorIs(t, err, io.EOF)

	// Text is not what this protocol carries.
	client, guest = w.console(id, memberSecret)
	require.NoError(t, client.Write(ctx, websocket.MessageText, []byte("ls\n")))
	closed(client)
	_, err = guest.Read(buffer)
	require.ErrorIs(t, err, io.EOF)

	// The token ends.
	client, guest = w.console(id, memberSecret)
	require.Equal(t, 204, w.do("POST", "/v1/logout", memberSecret, "").status)
	end = closed(client)
	require.Equal(t, websocket.StatusPolicyViolation, end.Code)
	require.Contains(t, end.Reason, "token")
	_, err = guest.Read(buffer)
	require.ErrorIs(t, err, io.EOF)

	// The controller stops.
	client, _ = w.console(id, adminSecret)
	close(w.stopping)
	end = closed(client)
	require.Equal(t, websocket.StatusServiceRestart, end.Code)
}

func TestConsoleHandshake(t *testing.T) {
	w := start(t, generous)
	id := w.vm()
	path := "/v1/vms/" + id + "/console"
	_, _, good := goodRequest("GET", path)
	without := func(name string, instead ...string) []string {
		var kept []string
		for _, line := range good {
			if !strings.HasPrefix(line, name+":") {
				kept = append(kept, line)
			}
		}
		return append(kept, instead...)
	}
	for _, headers := range [][]string{
		without("Upgrade"), without("Connection"), without("Sec-WebSocket-Key"), without("Sec-WebSocket-Version", "Sec-WebSocket-Version: 8"),
		without("Sec-WebSocket-Protocol"), without("Sec-WebSocket-Protocol", "Sec-WebSocket-Protocol: vnc"),
	} {
		w.problem(w.do("GET", path, memberSecret, "", headers...), 400, v1.CodeMalformed)
	}
	w.problem(w.do("GET", path, memberSecret, "", without("Origin", "Origin: https://evil.example")...), 403, v1.CodeDenied)
	require.NotContains(t, w.fake.calls(), "Console", "nothing is opened for what is no handshake")
	w.fake.openConsole = func() (io.ReadWriteCloser, error) {
		return nil, v1.NewProblem(v1.CodeWrongState, "The machine does not run.")
	}
	w.problem(w.do("GET", path, memberSecret, "", good...), 409, v1.CodeWrongState)
}
