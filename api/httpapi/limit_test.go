package httpapi

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	v1 "github.com/coloa-cloud/coloa/api/v1"
)

func TestRatePerToken(t *testing.T) {
	w := start(t, Limits{RatePerToken: 0.01, BurstPerToken: 3, RatePerAddress: -1})
	for range 3 {
		require.Equal(t, 200, w.do("GET", "/v1/whoami", memberSecret, "").status)
	}
	got := w.do("GET", "/v1/whoami", memberSecret, "")
	w.problem(got, 429, v1.CodeRateLimited)
	require.Contains(t, []string{"99", "100"}, got.header.Get("Retry-After"))
	w.problem(w.do("POST", "/v1/vms", memberSecret, vmBody), 429, v1.CodeRateLimited)
	require.Equal(t, 200, w.do("GET", "/v1/whoami", adminSecret, "").status, "others are not slowed down")
	require.Empty(t, w.fake.objects[v1.KindVM])

	// Through the channel between controllers it was counted where it entered.
	channel := httptest.NewServer(PeerHandler(w.api.engine))
	defer channel.Close()
	w.server = channel
	require.Equal(t, 200, w.do("GET", "/v1/whoami", memberSecret, "").status)
}

func TestRateOfStrangers(t *testing.T) {
	w := start(t, Limits{RatePerAddress: 0.01, BurstPerAddress: 10})
	w.problem(w.do("POST", "/v1/login", "", `{"user":"member","password":"guess"}`), 401, v1.CodeUnauthenticated) // costs five
	w.problem(w.do("POST", "/v1/login", "", `{"user":"member","password":"guess"}`), 401, v1.CodeUnauthenticated)
	w.problem(w.do("POST", "/v1/login", "", bodies["login"]), 429, v1.CodeRateLimited)
	w.problem(w.do("GET", "/v1/whoami", "invented", ""), 429, v1.CodeRateLimited)
	w.problem(w.do("GET", "/v1/whoami", "", ""), 429, v1.CodeRateLimited)
	require.Equal(t, []string{"Login", "Login"}, w.fake.calls())
	for range 20 {
		require.Equal(t, 200, w.do("GET", "/v1/whoami", memberSecret, "").status, "a good token is never slowed down by others behind its address")
	}
}

func TestRefusedLoginsAreCountedWhereTheyEnter(t *testing.T) {
	follower, leader := pair(t, Limits{RatePerAddress: 0.01, BurstPerAddress: 10})
	for range 2 {
		follower.problem(follower.do("POST", "/v1/login", "", `{"user":"member","password":"guess"}`), 401, v1.CodeUnauthenticated)
	}
	follower.problem(follower.do("POST", "/v1/login", "", bodies["login"]), 429, v1.CodeRateLimited)
	require.Equal(t, 200, leader.do("POST", "/v1/login", "", bodies["login"]).status)
}

func TestLimitKeys(t *testing.T) {
	for from, key := range map[string]string{
		"192.0.2.7:50": "192.0.2.7", "[::ffff:192.0.2.7]:50": "192.0.2.7", "[2001:db8:1:2:3:4:5:6]:50": "2001:db8:1:2::/64", "[2001:db8:1:2::9]:50": "2001:db8:1:2::/64",
		"[fe80::1%eth0]:50": "fe80::/64", "@": "invalid IP", "192.0.2.7": "192.0.2.7",
	} {
		require.Equal(t, key, limitKey(addressOf(from)), from)
	}
	require.False(t, netip.Addr{}.IsValid())
}

func TestLimiterForgetsTheOldest(t *testing.T) {
	l := newLimiter(1, 1)
	for i := range maxLimiters + 100 {
		l.take(fmt.Sprint(i))
	}
	require.Equal(t, maxLimiters, l.buckets.Len())
}

func TestStreamsPerUser(t *testing.T) {
	w := start(t, Limits{StreamsPerUser: 1, KeepAlive: 50 * time.Millisecond})
	stream := w.stream("/v1/events", memberSecret)
	w.problem(w.do("GET", "/v1/events", memberSecret, "", "Accept: text/event-stream"), 429, v1.CodeRateLimited)
	require.Equal(t, 200, w.do("GET", "/v1/vms", memberSecret, "").status)
	stream.Body.Close()
	require.Eventually(t, func() bool {
		return w.do("GET", "/v1/events?wait=10ms", memberSecret, "").status == 200
	}, 5*time.Second, 20*time.Millisecond)
}

// TestServer holds the bounds below requests: slow headers, large headers, many connections.
func TestServer(t *testing.T) {
	a, err := build(Options{Service: newFake(), Metrics: prometheus.NewRegistry()})
	require.NoError(t, err)
	var errorLog bytes.Buffer
	server := NewServer(a.engine, &tls.Config{MinVersion: tls.VersionTLS12}, slog.New(slog.NewTextHandler(&errorLog, &slog.HandlerOptions{Level: slog.LevelDebug})))
	require.Positive(t, server.ReadHeaderTimeout)
	require.Positive(t, server.IdleTimeout)
	require.NotNil(t, server.TLSConfig)
	server.ReadHeaderTimeout = 200 * time.Millisecond
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	listener := LimitListener(inner, 3, 2)
	done := make(chan error, 1)
	go func() { done <- server.Serve(listener) }()
	dial := func() net.Conn {
		conn, err := net.Dial("tcp", inner.Addr().String())
		require.NoError(t, err)
		require.NoError(t, conn.SetDeadline(time.Now().Add(5*time.Second)))
		t.Cleanup(func() { conn.Close() })
		return conn
	}
	// A client that sends its headers drop by drop is cut off.
	slow := dial()
	_, err = slow.Write([]byte("GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: "))
	require.NoError(t, err)
	_, err = io.ReadAll(slow)
	require.NoError(t, err, "cut off, and not by our own deadline")

	large := dial()
	_, _ = large.Write([]byte("GET /healthz HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("a", 80<<10)))
	answer, _ := io.ReadAll(large)
	require.Contains(t, string(answer), "431")

	// Two connections of one address are served, the third is closed at once; when one ends another may come.
	ask := func(conn net.Conn) string {
		_, _ = conn.Write([]byte("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"))
		buffer := make([]byte, 15)
		n, _ := io.ReadFull(conn, buffer)
		return string(buffer[:n])
	}
	require.Eventually(t, func() bool { conn := dial(); defer conn.Close(); return ask(conn) == "HTTP/1.1 200 OK" }, 5*time.Second, 20*time.Millisecond)
	var first, second net.Conn
	require.Eventually(t, func() bool {
		first, second = dial(), dial()
		if ask(first) == "HTTP/1.1 200 OK" && ask(second) == "HTTP/1.1 200 OK" {
			return true
		}
		first.Close()
		second.Close()
		return false
	}, 5*time.Second, 20*time.Millisecond)
	require.Empty(t, ask(dial()))
	first.Close()
	require.Eventually(t, func() bool { conn := dial(); defer conn.Close(); return ask(conn) == "HTTP/1.1 200 OK" }, 5*time.Second, 20*time.Millisecond)
	require.NoError(t, server.Close())
	require.ErrorIs(t, <-done, http.ErrServerClosed)
}

func TestLimitListenerCloses(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	listener := LimitListener(inner, 1, 10)
	conn, err := net.Dial("tcp", inner.Addr().String())
	require.NoError(t, err)
	defer conn.Close()
	_, err = listener.Accept()
	require.NoError(t, err)
	failed := make(chan error, 1)
	go func() { _, err := listener.Accept(); failed <- err }()
	require.NoError(t, listener.Close())
	require.ErrorIs(t, <-failed, net.ErrClosed, "also while it waits for a place")
}

// TestHTTP2 runs the handler as it runs in the product: TLS and HTTP/2, where deadlines and aborts work differently.
func TestHTTP2(t *testing.T) {
	w := start(t, Limits{BodyTimeout: 200 * time.Millisecond, RatePerAddress: -1})
	server := w.tls()
	send := func(method, path string, body io.Reader) (*http.Response, string) {
		request, err := http.NewRequest(method, server.URL+path, body)
		require.NoError(t, err)
		request.Header.Set("Authorization", "Bearer "+memberSecret)
		if body != nil {
			request.Header.Set("Content-Type", map[string]string{"POST": "application/json", "PUT": "application/octet-stream"}[method])
		}
		response, err := server.Client().Do(request)
		require.NoError(t, err)
		defer response.Body.Close()
		raw, err := io.ReadAll(response.Body)
		require.NoError(t, err)
		require.Equal(t, 2, response.ProtoMajor)
		return response, string(raw)
	}
	response, _ := send("POST", "/v1/vms", strings.NewReader(vmBody))
	require.Equal(t, 202, response.StatusCode)
	response, _ = send("POST", "/v1/vms/web/start", nil)
	require.Equal(t, 202, response.StatusCode)
	response, _ = send("GET", "/v1/vms/web/log", nil)
	require.Equal(t, 200, response.StatusCode)
	// An upload that is read only after a while: no time-out of ours has run out by then.
	require.Equal(t, 201, w.do("POST", "/v1/images", memberSecret, bodies["images"]).status)
	w.fake.uploaded = func(_ int64, data io.Reader) error {
		time.Sleep(400 * time.Millisecond)
		read, err := io.Copy(io.Discard, data)
		require.EqualValues(t, 1<<20, read)
		return err
	}
	response, text := send("PUT", "/v1/images/tiny/data", strings.NewReader(strings.Repeat("x", 1<<20)))
	require.Equal(t, 202, response.StatusCode, text)
	response, text = send("GET", "/v1/vms/web/console", nil)
	require.Equal(t, 400, response.StatusCode, text)
	require.Contains(t, text, "HTTP/1.1")
	reader, writer := io.Pipe() // a body that never comes
	defer writer.Close()
	response, text = send("POST", "/v1/vms", reader)
	require.Equal(t, 408, response.StatusCode, text)
	response, _ = send("POST", "/v1/vms", io.MultiReader(strings.NewReader(strings.Repeat(" ", 1<<20)), strings.NewReader("x")))
	require.Equal(t, 413, response.StatusCode)
}
