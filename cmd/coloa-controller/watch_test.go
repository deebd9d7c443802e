package main

import (
	"context"
	"crypto/x509"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The service manager hears of readiness, then of life for as long as the controller answers, then of the end.
func TestTheServiceManagerIsTold(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "notify")
	address := &net.UnixAddr{Name: socket, Net: "unixgram"}
	manager, err := net.ListenUnixgram("unixgram", address)
	require.NoError(t, err)
	defer func() { _ = manager.Close() }()
	t.Setenv("NOTIFY_SOCKET", socket)
	t.Setenv("WATCHDOG_USEC", "60000")

	var serves, decides, sick atomic.Bool
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !serves.Load() || sick.Load() || r.URL.Path == "/readyz" && !decides.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	server.StartTLS()
	defer server.Close()
	// httptest's own certificate has the name example.com, not localhost.
	pool := x509.NewCertPool()
	pool.AddCert(server.Certificate())
	p, err := newProbe(server.Listener.Addr().String(), pool)
	require.NoError(t, err)
	p.client.Transport.(*http.Transport).TLSClientConfig.ServerName = "example.com"

	heard := func() string {
		buffer := make([]byte, 256)
		require.NoError(t, manager.SetReadDeadline(time.Now().Add(5*time.Second)))
		n, err := manager.Read(buffer)
		require.NoError(t, err)
		return strings.TrimSpace(string(buffer[:n]))
	}
	ctx, stop := context.WithCancel(t.Context())
	ready, ended := make(chan struct{}), make(chan struct{})
	go func() {
		watch(ctx, p, slog.New(slog.DiscardHandler), func() { close(ready) })
		close(ended)
	}()
	serves.Store(true)
	require.Equal(t, "READY=1", heard())
	require.Equal(t, "WATCHDOG=1", heard()) // a member without a leader is not restarted for it
	select {
	case <-ready:
		require.Fail(t, "ready before it can decide")
	default:
	}
	decides.Store(true)
	<-ready
	sick.Store(true)
	time.Sleep(50 * time.Millisecond) // a beat may be on its way
	silent := func() bool {
		require.NoError(t, manager.SetReadDeadline(time.Now().Add(200*time.Millisecond)))
		_, err := manager.Read(make([]byte, 256))
		return err != nil
	}
	require.Eventually(t, silent, 5*time.Second, time.Millisecond) // those sent before are heard first
	require.True(t, silent())
	stop()
	require.Equal(t, "STOPPING=1", heard())
	<-ended
}

func TestWhereTheProbeKnocks(t *testing.T) {
	for listen, want := range map[string]string{
		":8443": "https://localhost:8443", "0.0.0.0:1": "https://localhost:1", "[::]:1": "https://localhost:1",
		"127.0.0.1:2": "https://127.0.0.1:2", "[::1]:3": "https://[::1]:3", "cloud:4": "https://cloud:4",
	} {
		p, err := newProbe(listen, x509.NewCertPool())
		require.NoError(t, err)
		require.Equal(t, want, p.base)
	}
	_, err := newProbe("nonsense", nil)
	require.Error(t, err)
}
