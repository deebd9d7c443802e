package httpapi

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	v1 "github.com/coloa-cloud/coloa/api/v1"
)

// world is a running server over the fake.
type world struct {
	*testing.T
	fake     *fake
	api      *api
	server   *httptest.Server
	logs     *safeBuffer
	registry *prometheus.Registry
	stopping chan struct{}
}

// safeBuffer is written by the server while the test reads it.
type safeBuffer struct {
	mu   sync.Mutex
	data bytes.Buffer
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.data.Write(p)
}

func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.data.String()
}

// generous limits do not get in the way of what is not about limits.
var generous = Limits{RatePerToken: -1, RatePerAddress: -1}

func start(t *testing.T, limits Limits) *world {
	w := &world{T: t, fake: newFake(), logs: &safeBuffer{}, registry: prometheus.NewRegistry(), stopping: make(chan struct{})}
	var err error
	w.api, err = build(Options{
		Service: w.fake, Version: "1.2.3", Metrics: w.registry, Limits: limits, Stopping: w.stopping,
		Logger: slog.New(slog.NewJSONHandler(w.logs, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	require.NoError(t, err)
	w.server = httptest.NewServer(w.api.engine)
	t.Cleanup(w.server.Close)
	return w
}

type reply struct {
	status int
	header http.Header
	body   string
}

// do sends a request. headers are "Name: value".
func (w *world) do(method, path, token, body string, headers ...string) reply {
	w.Helper()
	var reader io.Reader
	if body != "" {
		reader = strings.NewReader(body)
	}
	request, err := http.NewRequest(method, w.server.URL+path, reader)
	require.NoError(w, err)
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	if body != "" {
		request.Header.Set("Content-Type", "application/json")
	}
	replaced := map[string]bool{}
	for _, line := range headers {
		name, value, _ := strings.Cut(line, ": ")
		if !replaced[name] {
			request.Header.Del(name)
			replaced[name] = true
		}
		if value != "" {
			request.Header.Add(name, value)
		}
	}
	response, err := (&http.Client{Timeout: 20 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}).Do(request)
	require.NoError(w, err)
	defer response.Body.Close()
	raw, err := io.ReadAll(response.Body)
	require.NoError(w, err)
	return reply{response.StatusCode, response.Header, string(raw)}
}

// problem checks that the reply is a problem document that agrees with itself, and gives it.
func (w *world) problem(got reply, status int, code v1.Code) *v1.Problem {
	w.Helper()
	require.Equal(w, status, got.status, got.body)
	require.Equal(w, "application/problem+json", got.header.Get("Content-Type"), got.body)
	var problem v1.Problem
	decoder := json.NewDecoder(strings.NewReader(got.body))
	decoder.DisallowUnknownFields()
	require.NoError(w, decoder.Decode(&problem), got.body)
	require.Equal(w, code, problem.Code, got.body)
	require.Equal(w, status, problem.Status, got.body)
	require.NotEmpty(w, problem.Title)
	require.NotEmpty(w, problem.Detail)
	require.Equal(w, "no-store", got.header.Get("Cache-Control"))
	require.Equal(w, "nosniff", got.header.Get("X-Content-Type-Options"))
	require.NotEmpty(w, got.header.Get("Strict-Transport-Security"))
	if status == 401 {
		require.Contains(w, got.header.Get("WWW-Authenticate"), "Bearer")
	}
	if status == 429 || status == 503 {
		require.NotEmpty(w, got.header.Get("Retry-After"))
	}
	return &problem
}

func (w *world) object(got reply) map[string]any {
	w.Helper()
	var object map[string]any
	require.NoError(w, json.Unmarshal([]byte(got.body), &object), got.body)
	return object
}

const (
	flavorBody = `{"name":"small","spec":{"vcpus":1,"memoryMiB":512,"diskGiB":10}}`
	vmBody     = `{"name":"web","project":"tax","labels":{"a":"b"},"spec":{"flavor":"small","image":"tiny","userData":"#!/bin/sh\necho hi\n"}}`
)

// vm creates a VM and gives its id.
func (w *world) vm() string {
	w.Helper()
	got := w.do("POST", "/v1/vms", memberSecret, vmBody)
	require.Equal(w, 202, got.status, got.body)
	return w.object(got)["id"].(string)
}

// bodies are a good body for each route that wants one.
var bodies = map[string]string{
	"users":            `{"name":"lan@agency.gov","spec":{"title":"Lan"}}`,
	"tokens":           `{"name":"ci","spec":{}}`,
	"projects":         `{"name":"land","spec":{"quota":{"vms":3}}}`,
	"flavors":          flavorBody,
	"hosts":            `{"name":"host-1","spec":{"schedulable":true,"securityLevel":1,"cpuOvercommit":1.5,"storageOvercommit":1,"reservedMemoryMiB":0}}`,
	"images":           `{"name":"tiny","project":"tax","spec":{"format":"raw"}}`,
	"placement-groups": `{"name":"apart","project":"tax","spec":{"policy":"anti-affinity"}}`,
	"vms":              vmBody,
	"volumes":          `{"name":"data","project":"tax","spec":{"sizeGiB":10}}`,
	"snapshots":        `{"name":"before","project":"tax","spec":{"volume":"data"}}`,
	"login":            `{"user":"member","password":"correct horse battery"}`,
	"password":         `{"password":"a long enough one"}`,
}

// goodRequest is a request that passes all checks of this package for the route ("GET /v1/vms/:id").
func goodRequest(method, pattern string) (path, body string, headers []string) {
	path = strings.ReplaceAll(pattern, ":id", "web")
	parts := strings.Split(strings.TrimPrefix(pattern, "/v1/"), "/")
	switch {
	case strings.HasSuffix(path, "/data"):
		return path, "bytes", []string{"Content-Type: application/octet-stream"}
	case method == "PATCH":
		return path, `{"labels":{"x":"y"}}`, nil
	case strings.HasSuffix(path, "/password"):
		return path, bodies["password"], nil
	case method == "PUT", method == "POST" && len(parts) == 1 && bodies[parts[0]] != "":
		return path, bodies[parts[0]], nil
	case strings.HasSuffix(path, "/console"):
		return path, "", []string{"Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Protocol: " + ConsoleProtocol}
	}
	return path, "", nil
}

// tls serves the same handler as the product does, over TLS with HTTP/2.
func (w *world) tls() *httptest.Server {
	server := httptest.NewUnstartedServer(w.api.engine)
	server.EnableHTTP2 = true
	server.StartTLS()
	w.Cleanup(server.Close)
	return server
}

func pool(server *httptest.Server) *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(server.Certificate())
	return pool
}
