package link

import (
	"crypto/tls"
	"net"
	"net/http"
	"time"
)

// NewTransport carries requests over HTTP/2 with this TLS configuration. A line on which nothing comes any more is noticed within seconds by pings,
// not only when a poll has waited in vain.
func NewTransport(config *tls.Config) *http.Transport {
	dialer := &net.Dialer{Timeout: 5 * time.Second, KeepAlive: 15 * time.Second}
	return &http.Transport{
		TLSClientConfig:     config,
		ForceAttemptHTTP2:   true,
		DialContext:         dialer.DialContext,
		TLSHandshakeTimeout: 5 * time.Second,
		MaxIdleConnsPerHost: 4,
		// No proxy: controllers are on the cloud's own network.
		IdleConnTimeout: 5 * time.Minute,
		HTTP2:           &http.HTTP2Config{SendPingTimeout: 5 * time.Second, PingTimeout: 5 * time.Second},
	}
}
