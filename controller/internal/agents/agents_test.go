package agents

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	v1 "github.com/coloa-cloud/coloa/api/v1"
)

// agent is an agent's own port.
func agent(t *testing.T, handler http.HandlerFunc) (*Client, *v1.Host) {
	t.Helper()
	server := httptest.NewTLSServer(handler)
	t.Cleanup(server.Close)
	host := &v1.Host{Meta: v1.Meta{ID: "id-of-h1", Name: "h1"}, Status: v1.HostStatus{Address: server.Listener.Addr().String()}}
	return &Client{Transport: func(id string) http.RoundTripper {
		require.Equal(t, host.ID, id, "each host has a transport that accepts its certificate alone")
		return server.Client().Transport
	}}, host
}

func TestGet(t *testing.T) {
	client, host := agent(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/log":
			_, _ = io.WriteString(w, "hello "+r.URL.RawQuery)
		case "/problem":
			w.WriteHeader(http.StatusNotFound)
			_, _ = io.WriteString(w, `{"code":"not_found","detail":"no such machine","status":404}`)
		default:
			w.WriteHeader(http.StatusTeapot)
			_, _ = io.WriteString(w, "<html>")
		}
	})
	stream, err := client.Get(t.Context(), host, "/log?tail=3")
	require.NoError(t, err)
	text, err := io.ReadAll(stream)
	require.NoError(t, err)
	require.NoError(t, stream.Close())
	require.Equal(t, "hello tail=3", string(text))
	_, err = client.Get(t.Context(), host, "/problem")
	require.Equal(t, v1.CodeNotFound, v1.CodeOf(err))
	require.Equal(t, "no such machine", v1.AsProblem(err).Detail)
	_, err = client.Get(t.Context(), host, "/other")
	require.Equal(t, v1.CodeUnavailable, v1.CodeOf(err), "what is no problem of ours says nothing")

	client.Transport = func(string) http.RoundTripper { return broken{} }
	for _, ask := range []func() error{
		func() error { _, err := client.Get(t.Context(), host, "/log"); return err },
		func() error { _, err := client.Dial(t.Context(), host, "/console"); return err },
	} {
		err := ask()
		require.Equal(t, v1.CodeUnavailable, v1.CodeOf(err))
		require.NotContains(t, err.Error(), "h1", "tenants are told nothing of hosts")
	}
}

type broken struct{}

func (broken) RoundTrip(*http.Request) (*http.Response, error) {
	return nil, &net.OpError{Op: "dial", Err: errors.New("no route to host")}
}

func TestDial(t *testing.T) {
	client, host := agent(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/console" {
			w.Header().Set("Content-Type", "application/problem+json")
			w.WriteHeader(http.StatusConflict)
			_, _ = io.WriteString(w, `{"code":"wrong_state","detail":"it does not run","status":409}`)
			return
		}
		socket, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		stream := websocket.NetConn(r.Context(), socket, websocket.MessageBinary)
		_, _ = io.Copy(stream, stream)
	})
	ctx, cancel := context.WithCancel(t.Context())
	console, err := client.Dial(ctx, host, "/console")
	require.NoError(t, err)
	_, err = console.Write([]byte("typed"))
	require.NoError(t, err)
	echo := make([]byte, 5)
	_, err = io.ReadFull(console, echo)
	require.NoError(t, err)
	require.Equal(t, "typed", string(echo))
	cancel() // it lives as long as its context, not as the dialling
	require.Eventually(t, func() bool { _, err := console.Read(echo); return err != nil }, 5*time.Second, time.Millisecond)
	_ = console.Close() // it is broken already

	_, err = client.Dial(t.Context(), host, "/gone")
	require.Equal(t, v1.CodeWrongState, v1.CodeOf(err))
}
