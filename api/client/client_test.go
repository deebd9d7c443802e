package client

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	v1 "github.com/coloa-cloud/coloa/api/v1"
)

func writeProblem(w http.ResponseWriter, problem *v1.Problem) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(problem.Status)
	_ = json.NewEncoder(w).Encode(problem)
}

func writeObject(w http.ResponseWriter, status int, object any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(object)
}

// serve starts a controller over TLS with HTTP/2 and returns its address and the pool that trusts it.
func serve(t *testing.T, handler http.HandlerFunc) (string, *x509.CertPool) {
	server := httptest.NewUnstartedServer(handler)
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(server.Close)
	pool := x509.NewCertPool()
	pool.AddCert(server.Certificate())
	return server.URL, pool
}

func newClient(t *testing.T, pool *x509.CertPool, endpoints ...string) *Client {
	c, err := New(Options{Endpoints: endpoints, Token: "secret", CAPool: pool, Project: "demo", RetryFor: 5 * time.Second, UserAgent: "test"})
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c
}

// nobody is an address that refuses connections.
func nobody(t *testing.T) string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	return "https://" + listener.Addr().String()
}

func TestParseEndpoint(t *testing.T) {
	for text, want := range map[string]string{
		"controller.example":       "https://controller.example:8443",
		"controller.example:9":     "https://controller.example:9",
		"https://10.0.0.1":         "https://10.0.0.1:8443",
		"https://[fd00::1]/":       "https://[fd00::1]:8443",
		"http://127.0.0.1:80":      "http://127.0.0.1:80",
		"http://localhost":         "http://localhost:8443",
		"":                         "",
		"http://10.0.0.1":          "",
		"ftp://10.0.0.1":           "",
		"https://user:pw@10.0.0.1": "",
		"https://10.0.0.1/path":    "",
		"https://10.0.0.1?x=y":     "",
		"https://":                 "",
		"https://bad host":         "",
	} {
		endpoint, err := ParseEndpoint(text)
		if want == "" {
			require.Error(t, err, text)
			require.Equal(t, v1.CodeInvalid, v1.CodeOf(err), text)
			continue
		}
		require.NoError(t, err, text)
		require.Equal(t, want, endpoint.String())
	}
}

func TestHeadersAndPaths(t *testing.T) {
	var got *http.Request
	address, pool := serve(t, func(w http.ResponseWriter, r *http.Request) {
		got = r
		w.Header().Set("ETag", `"7"`)
		writeObject(w, 200, v1.VM{Meta: v1.Meta{Name: "web"}})
	})
	c := newClient(t, pool, address)
	vm, err := Get[v1.VM](t.Context(), c, Ref{ID: "a/b?c"})
	require.NoError(t, err)
	require.Equal(t, "web", vm.Name)
	require.Equal(t, "/v1/vms/a%2Fb%3Fc", got.URL.EscapedPath())
	require.Equal(t, "demo", got.URL.Query().Get("project"))
	require.Equal(t, "Bearer secret", got.Header.Get("Authorization"))
	require.Equal(t, "test", got.Header.Get("User-Agent"))
	require.Equal(t, 2, got.ProtoMajor)

	_, err = Get[v1.VM](t.Context(), c, Ref{ID: NewKey()})
	require.NoError(t, err)
	require.Empty(t, got.URL.Query().Get("project"), "an id needs no project")
	_, err = Get[v1.Host](t.Context(), c, Ref{ID: "node-1"})
	require.NoError(t, err)
	require.Empty(t, got.URL.RawQuery, "a host belongs to no project")

	_, err = Patch[v1.VM](t.Context(), c, Ref{ID: "web"}, map[string]any{"spec": map[string]any{"flavor": "big"}}, 7)
	require.NoError(t, err)
	require.Equal(t, `"7"`, got.Header.Get("If-Match"))
	require.Equal(t, "application/merge-patch+json", got.Header.Get("Content-Type"))
	_, version, err := GetSpec(t.Context(), c, v1.KindVM, Ref{ID: "web"})
	require.NoError(t, err)
	require.EqualValues(t, 7, version)
	require.Equal(t, "spec", got.URL.Query().Get("view"))
}

func TestFailsOverAndStays(t *testing.T) {
	var asked atomic.Int64
	address, pool := serve(t, func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		writeObject(w, 200, v1.Identity{})
	})
	c := newClient(t, pool, nobody(t), address)
	started := time.Now()
	for range 3 {
		_, err := c.WhoAmI(t.Context())
		require.NoError(t, err)
	}
	require.EqualValues(t, 3, asked.Load())
	require.Equal(t, address, c.Endpoint())
	require.Less(t, time.Since(started), 3*time.Second)
}

func TestNobodyAnswers(t *testing.T) {
	c, err := New(Options{Endpoints: []string{nobody(t), nobody(t)}, RetryFor: -1})
	require.NoError(t, err)
	_, err = c.WhoAmI(t.Context())
	require.Equal(t, v1.CodeUnavailable, v1.CodeOf(err))
	var connect *ConnectError
	require.ErrorAs(t, err, &connect)
	require.Contains(t, err.Error(), "no controller answers")
}

func TestRepeatsUntilTimeIsOver(t *testing.T) {
	retries := 0
	c, err := New(Options{Endpoints: []string{nobody(t)}, RetryFor: 400 * time.Millisecond, OnRetry: func(error, time.Duration) { retries++ }})
	require.NoError(t, err)
	started := time.Now()
	_, err = c.WhoAmI(t.Context())
	require.Error(t, err)
	require.Positive(t, retries)
	require.Less(t, time.Since(started), 2*time.Second)
}

func TestUntrusted(t *testing.T) {
	asked := false
	address, _ := serve(t, func(http.ResponseWriter, *http.Request) { asked = true })
	c := newClient(t, x509.NewCertPool(), address)
	started := time.Now()
	_, err := c.WhoAmI(t.Context())
	require.Equal(t, v1.CodeUnavailable, v1.CodeOf(err))
	require.Contains(t, err.Error(), "cannot be trusted")
	require.Equal(t, "false", v1.AsProblem(err).Params["trust"])
	require.Less(t, time.Since(started), time.Second, "trying again changes nothing")
	require.False(t, asked)
}

// One POST, sent as often as needed, always carries the same key, whatever went wrong before.
func TestIdempotencyKeyIsKept(t *testing.T) {
	var lock sync.Mutex
	keys := map[string]int{}
	attempt := 0
	address, pool := serve(t, func(w http.ResponseWriter, r *http.Request) {
		lock.Lock()
		defer lock.Unlock()
		attempt++
		keys[r.Header.Get("Idempotency-Key")]++
		body, _ := io.ReadAll(r.Body)
		if !strings.Contains(string(body), `"name":"web"`) {
			panic("the body got lost")
		}
		switch attempt {
		case 1:
			panic(http.ErrAbortHandler)
		case 2:
			writeProblem(w, v1.NewProblem(v1.CodeOutcomeUnknown, "the leader was lost"))
		case 3:
			writeProblem(w, v1.NewProblem(v1.CodeUnavailable, "no leader"))
		default:
			w.Header().Set("Coloa-Operation", "op-1")
			w.Header().Set("Idempotent-Replayed", "true")
			writeObject(w, 202, v1.VM{Meta: v1.Meta{Name: "web"}})
		}
	})
	c := newClient(t, pool, address)
	result, err := Create[v1.VM](t.Context(), c, Draft{Name: "web", Spec: v1.VMSpec{}})
	require.NoError(t, err)
	require.Equal(t, "op-1", result.Operation)
	require.True(t, result.Replayed)
	require.Len(t, keys, 1)
	for key, times := range keys {
		require.Equal(t, 4, times)
		require.True(t, v1.IsID(key), key)
		require.EqualValues(t, '7', key[14])
	}
}

func TestRetryAfterIsRespected(t *testing.T) {
	var times []time.Time
	address, pool := serve(t, func(w http.ResponseWriter, r *http.Request) {
		times = append(times, time.Now())
		if len(times) == 1 {
			w.Header().Set("Retry-After", "1")
			writeProblem(w, v1.NewProblem(v1.CodeRateLimited, "too many requests"))
			return
		}
		writeObject(w, 200, v1.Identity{})
	})
	_, err := newClient(t, pool, address).WhoAmI(t.Context())
	require.NoError(t, err)
	require.Len(t, times, 2)
	require.GreaterOrEqual(t, times[1].Sub(times[0]), time.Second)

	now := time.Now()
	require.Equal(t, time.Minute, retryAfter("86400", now))
	require.Equal(t, time.Minute, retryAfter(now.Add(time.Hour).UTC().Format(http.TimeFormat), now))
	require.Zero(t, retryAfter("-3", now))
	require.Zero(t, retryAfter("soon", now))
	require.Zero(t, retryAfter("NaN", now))
}

func TestChangeUnderIfMatchIsNotRepeatedBlindly(t *testing.T) {
	asked := 0
	address, pool := serve(t, func(w http.ResponseWriter, r *http.Request) {
		asked++
		writeProblem(w, v1.NewProblem(v1.CodeOutcomeUnknown, "the leader was lost"))
	})
	c := newClient(t, pool, address)
	_, err := Update[v1.VM](t.Context(), c, Ref{ID: "web"}, Draft{Name: "web"}, 3)
	require.Equal(t, v1.CodeOutcomeUnknown, v1.CodeOf(err))
	require.Equal(t, 1, asked)
	_, err = c.Login(t.Context(), v1.LoginRequest{Token: "one-time"})
	require.Equal(t, v1.CodeOutcomeUnknown, v1.CodeOf(err))
	require.Equal(t, 2, asked)
}

func TestDeleteWhoseAnswerWasLost(t *testing.T) {
	asked := 0
	address, pool := serve(t, func(w http.ResponseWriter, r *http.Request) {
		asked++
		if asked == 1 {
			panic(http.ErrAbortHandler)
		}
		writeProblem(w, v1.NewProblem(v1.CodeNotFound, "no such volume"))
	})
	c := newClient(t, pool, address)
	_, err := Delete[v1.Volume](t.Context(), c, Ref{ID: "data"}, 0)
	require.NoError(t, err)
	_, err = Delete[v1.Volume](t.Context(), c, Ref{ID: "data"}, 0)
	require.Equal(t, v1.CodeNotFound, v1.CodeOf(err))
}

func TestProblems(t *testing.T) {
	answers := map[string]func(http.ResponseWriter){
		"quota": func(w http.ResponseWriter) {
			writeProblem(w, v1.NewProblem(v1.CodeQuota, "the project may use 4 virtual CPUs").WithNext("Ask for more.").With("limit", 4))
		},
		"proxy":    func(w http.ResponseWriter) { http.Error(w, "<html>", 403) },
		"redirect": func(w http.ResponseWriter) { w.Header().Set("Location", "https://evil.example/"); w.WriteHeader(302) },
		"huge": func(w http.ResponseWriter) {
			w.Header().Set("Content-Type", "application/problem+json")
			w.WriteHeader(400)
			_, _ = w.Write([]byte(strings.Repeat("x", maxProblemBytes+10)))
		},
		"garbled": func(w http.ResponseWriter) { _, _ = w.Write([]byte("{")) },
	}
	address, pool := serve(t, func(w http.ResponseWriter, r *http.Request) {
		answers[strings.TrimPrefix(r.URL.Path, "/v1/flavors/")](w)
	})
	c := newClient(t, pool, address)
	for name, want := range map[string]v1.Code{"quota": v1.CodeQuota, "proxy": v1.CodeDenied, "redirect": v1.CodeInternal, "huge": v1.CodeInternal, "garbled": v1.CodeInternal} {
		_, err := Get[v1.Flavor](t.Context(), c, Ref{ID: name})
		require.Equal(t, want, v1.CodeOf(err), "%s: %v", name, err)
		require.NotEmpty(t, v1.AsProblem(err).Next)
	}
	_, err := Get[v1.Flavor](t.Context(), c, Ref{ID: "quota"})
	require.Equal(t, "4", v1.AsProblem(err).Params["limit"])
}

func TestListAllFollowsPages(t *testing.T) {
	address, pool := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("cursor") == "" {
			writeObject(w, 200, map[string]any{"items": []v1.VM{{Meta: v1.Meta{Name: "a"}}, {Meta: v1.Meta{Name: "b"}}}, "next": "2"})
			return
		}
		writeObject(w, 200, map[string]any{"items": []v1.VM{{Meta: v1.Meta{Name: "c"}}}})
	})
	c := newClient(t, pool, address)
	all, err := ListAll[v1.VM](t.Context(), c, Query{Labels: map[string]string{"a": "b"}}, 0)
	require.NoError(t, err)
	require.Len(t, all, 3)
	some, err := ListAll[v1.VM](t.Context(), c, Query{}, 2)
	require.NoError(t, err)
	require.Len(t, some, 2)
}

func TestWaitOperation(t *testing.T) {
	asked := 0
	address, pool := serve(t, func(w http.ResponseWriter, r *http.Request) {
		asked++
		operation := v1.Operation{Status: v1.OperationStatus{State: v1.OperationRunning, Current: asked}}
		if asked >= 4 {
			operation.Status.State = v1.OperationSucceeded
		}
		writeObject(w, 200, operation)
	})
	c := newClient(t, pool, address)
	seen := 0
	operation, err := c.WaitOperation(t.Context(), "op", func(*v1.Operation) { seen++ })
	require.NoError(t, err)
	require.Equal(t, v1.OperationSucceeded, operation.Status.State)
	require.Equal(t, 4, seen)

	asked = -1000
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	_, err = c.WaitOperation(ctx, "op", nil)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Less(t, asked+1000, 10, "a controller that does not hold the request is not asked in a busy loop")
}

func TestEventsResume(t *testing.T) {
	connections := 0
	var resumed []string
	address, pool := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Accept") != "text/event-stream" {
			writeObject(w, 200, EventsPage{Next: "10-0"})
			return
		}
		connections++
		resumed = append(resumed, r.Header.Get("Last-Event-ID"))
		w.Header().Set("Content-Type", "text/event-stream")
		for i := range 2 {
			id := fmt.Sprintf("%d-%d", 10+connections, i)
			fmt.Fprintf(w, ": alive\n\nid: %s\nevent: VM.created\ndata: {\"id\":\"%s\",\ndata: \"action\":\"created\"}\n\n", id, id)
		}
		fmt.Fprint(w, "id: 99-0\ndata: {\"cut")
	})
	c := newClient(t, pool, address)
	var ids []string
	enough := errors.New("enough")
	err := c.Events(t.Context(), EventsQuery{}, func(event v1.Event) error {
		ids = append(ids, event.ID)
		if len(ids) == 6 {
			return enough
		}
		return nil
	})
	require.ErrorIs(t, err, enough)
	require.Equal(t, []string{"11-0", "11-1", "12-0", "12-1", "13-0", "13-1"}, ids)
	require.Equal(t, []string{"10-0", "11-1", "12-1"}, resumed)
}

func TestUploadBeginsAgain(t *testing.T) {
	content := strings.Repeat("0123456789abcdef", 64<<10)
	attempt := 0
	address, pool := serve(t, func(w http.ResponseWriter, r *http.Request) {
		attempt++
		if attempt == 1 {
			_, _ = io.CopyN(io.Discard, r.Body, 1000)
			panic(http.ErrAbortHandler)
		}
		body, _ := io.ReadAll(r.Body)
		if string(body) != content || r.ContentLength != int64(len(content)) {
			writeProblem(w, v1.NewProblem(v1.CodeInvalid, "%d bytes came", len(body)))
			return
		}
		w.Header().Set("Coloa-Operation", "op-1")
		writeObject(w, 202, v1.Image{})
	})
	c := newClient(t, pool, address)
	var sent int64
	result, err := c.Upload(t.Context(), Ref{ID: "tiny"}, strings.NewReader(content), int64(len(content)), func(n int64) { sent = n })
	require.NoError(t, err)
	require.Equal(t, "op-1", result.Operation)
	require.EqualValues(t, len(content), sent)
	require.Equal(t, 2, attempt)
}

func TestUploadWhoseAnswerWasLost(t *testing.T) {
	attempt := 0
	address, pool := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			writeObject(w, 200, v1.Image{Status: v1.ImageStatus{Phase: v1.ImageImporting, Operation: "op-9"}})
			return
		}
		attempt++
		_, _ = io.Copy(io.Discard, r.Body)
		if attempt == 1 {
			panic(http.ErrAbortHandler)
		}
		writeProblem(w, v1.NewProblem(v1.CodeWrongState, "the image has its bytes"))
	})
	c := newClient(t, pool, address)
	result, err := c.Upload(t.Context(), Ref{ID: "tiny"}, strings.NewReader("abc"), 3, nil)
	require.NoError(t, err)
	require.Equal(t, "op-9", result.Operation)
}

func TestLog(t *testing.T) {
	ended := make(chan struct{})
	address, pool := serve(t, func(w http.ResponseWriter, r *http.Request) {
		defer close(ended)
		fmt.Fprintf(w, "tail=%s follow=%s\n", r.URL.Query().Get("tail"), r.URL.Query().Get("follow"))
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	c := newClient(t, pool, address)
	stream, err := c.Log(t.Context(), Ref{ID: "web"}, LogOptions{Tail: 5, Follow: true})
	require.NoError(t, err)
	line := make([]byte, 100)
	n, err := stream.Read(line)
	require.NoError(t, err)
	require.Equal(t, "tail=5 follow=true\n", string(line[:n]))
	require.NoError(t, stream.Close())
	select {
	case <-ended:
	case <-time.After(5 * time.Second):
		t.Fatal("closing the stream does not end the request")
	}
}

func TestConsole(t *testing.T) {
	address, pool := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer secret" || r.URL.Path != "/v1/vms/web/console" {
			writeProblem(w, v1.NewProblem(v1.CodeWrongState, "the machine does not run").WithNext("Start it."))
			return
		}
		socket, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{ConsoleProtocol}})
		if err != nil {
			return
		}
		conn := websocket.NetConn(r.Context(), socket, websocket.MessageBinary)
		defer conn.Close()
		line := make([]byte, 100)
		n, _ := conn.Read(line)
		_, _ = conn.Write([]byte("echo " + string(line[:n])))
	})
	c := newClient(t, pool, nobody(t), address)
	conn, err := c.Console(t.Context(), Ref{ID: "web"})
	require.NoError(t, err)
	_, err = conn.Write([]byte("hello"))
	require.NoError(t, err)
	text, err := io.ReadAll(conn)
	require.True(t, ConsoleClosed(err), "%v", err)
	require.Equal(t, "echo hello", string(text))

	_, err = c.Console(t.Context(), Ref{ID: "other"})
	require.Equal(t, v1.CodeWrongState, v1.CodeOf(err))
	require.Equal(t, "Start it.", v1.AsProblem(err).Next)
}

func TestContextEndsEverything(t *testing.T) {
	address, pool := serve(t, func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	c := newClient(t, pool, address)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err := c.WhoAmI(ctx)
	require.ErrorIs(t, err, context.DeadlineExceeded)
}

func TestSlowControllerIsLeft(t *testing.T) {
	slow, pool := serve(t, func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	quick, _ := serve(t, func(w http.ResponseWriter, r *http.Request) { writeObject(w, 200, v1.Identity{}) })
	c, err := New(Options{Endpoints: []string{slow, quick}, CAPool: pool, RequestTimeout: 200 * time.Millisecond})
	require.NoError(t, err)
	_, err = c.WhoAmI(t.Context())
	require.NoError(t, err)
}
