package httpapi

import (
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"
)

// This file holds what keeps slow and greedy clients from taking the server away from the others, below the level of requests.

// Connections that one listener carries at a time.
const (
	DefaultConnections           = 8192
	DefaultConnectionsPerAddress = 1024 // an agency behind one address is many people
)

// NewServer makes the server for the handler: headers must arrive soon, idle connections end, nothing is unbounded. Bodies and answers get
// their deadlines from the handler, request by request, since uploads and streams may take long. Serve it on a LimitListener.
func NewServer(handler http.Handler, tlsConfig *tls.Config, logger *slog.Logger) *http.Server {
	server := &http.Server{
		Handler:           handler,
		TLSConfig:         tlsConfig,
		ReadHeaderTimeout: 10 * time.Second, // also bounds the TLS handshake
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams: 128,
			SendPingTimeout:      30 * time.Second,
			PingTimeout:          15 * time.Second,
			WriteByteTimeout:     30 * time.Second,
		},
	}
	if logger != nil {
		// What clients do wrong below HTTP (a broken handshake, a scan) is no trouble of ours.
		server.ErrorLog = slog.NewLogLogger(logger.Handler(), slog.LevelDebug)
	}
	return server
}

// LimitListener bounds the open connections: above total new ones wait unaccepted, above perAddress they are closed at once.
func LimitListener(inner net.Listener, total, perAddress int) net.Listener {
	return &limitListener{Listener: inner, places: make(chan struct{}, max(1, total)), perAddress: max(1, perAddress), open: map[string]int{}, done: make(chan struct{})}
}

type limitListener struct {
	net.Listener
	places     chan struct{}
	perAddress int
	done       chan struct{}
	close      sync.Once

	mu   sync.Mutex
	open map[string]int
}

func (l *limitListener) Accept() (net.Conn, error) {
	for {
		select {
		case l.places <- struct{}{}:
		case <-l.done:
			return nil, net.ErrClosed
		}
		conn, err := l.Listener.Accept()
		if err != nil {
			<-l.places
			return nil, err
		}
		key := limitKey(addressOf(conn.RemoteAddr().String()))
		if !l.enter(key) {
			<-l.places
			_ = conn.Close()
			continue
		}
		return &limitedConn{Conn: conn, leave: sync.OnceFunc(func() { l.leave(key); <-l.places })}, nil
	}
}

func (l *limitListener) enter(key string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open[key] >= l.perAddress {
		return false
	}
	l.open[key]++
	return true
}

func (l *limitListener) leave(key string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open[key]--; l.open[key] <= 0 {
		delete(l.open, key)
	}
}

func (l *limitListener) Close() error {
	l.close.Do(func() { close(l.done) })
	return l.Listener.Close()
}

type limitedConn struct {
	net.Conn
	leave func()
}

func (c *limitedConn) Close() error {
	err := c.Conn.Close()
	c.leave()
	return err
}
