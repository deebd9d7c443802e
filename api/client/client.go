// Package client is the Go client of Coloa's HTTP API. It speaks the words of api/v1, asks another controller when one does not answer,
// repeats what is safe to repeat, and decodes every refusal to *v1.Problem. It knows nothing of terminals, files of configuration or
// languages: those belong to its callers.
package client

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"time"

	v1 "github.com/coloa-cloud/coloa/api/v1"
)

// DefaultPort is where controllers serve the API.
const DefaultPort = "8443"

// Options say whom to ask, and as whom.
type Options struct {
	// Endpoints are the controllers: "https://host:port", "host:port" or "host". Any one of them answers any request.
	Endpoints []string
	// Token is the bearer token's text; "" for requests that need none.
	Token string
	// CAFile is a PEM file, CAPEM PEM text, CAPool a ready pool of the certificates that controllers are checked against. Without all three the system's are used.
	CAFile string
	CAPEM  []byte
	CAPool *x509.CertPool
	// Project is used where a request names none: name or id.
	Project string
	// UserAgent is sent with every request.
	UserAgent string
	// Transport replaces the whole HTTP transport; the certificates above are then its own business.
	Transport http.RoundTripper
	// RetryFor bounds how long a request is repeated while no controller answers; 15 s when 0, never when negative.
	RetryFor time.Duration
	// RequestTimeout bounds one attempt of a request that is no stream; 90 s when 0 (a long poll takes up to 60 s).
	RequestTimeout time.Duration
	// OnRetry is told why a request is repeated, and after how long.
	OnRetry func(reason error, wait time.Duration)
}

// Client asks the controllers. It is safe for concurrent use.
type Client struct {
	options   Options
	endpoints []*url.URL
	preferred atomic.Int64 // index of the endpoint that answered last
	http      *http.Client
	// sockets carries websockets, which exist in HTTP/1.1 only.
	sockets *http.Client
}

// New makes a client. It connects to nothing.
func New(options Options) (*Client, error) {
	c := &Client{options: options}
	if len(options.Endpoints) == 0 {
		return nil, v1.NewProblem(v1.CodeInvalid, "no endpoint was given").WithField("endpoint").WithNext("Name at least one controller.")
	}
	for _, text := range options.Endpoints {
		endpoint, err := ParseEndpoint(text)
		if err != nil {
			return nil, err
		}
		c.endpoints = append(c.endpoints, endpoint)
	}
	if c.options.RetryFor == 0 {
		c.options.RetryFor = 15 * time.Second
	}
	if c.options.RequestTimeout == 0 {
		c.options.RequestTimeout = 90 * time.Second
	}
	if options.Transport != nil {
		c.http = &http.Client{Transport: options.Transport, CheckRedirect: noRedirect}
		c.sockets = c.http
		return c, nil
	}
	pool, err := options.pool()
	if err != nil {
		return nil, err
	}
	c.http = &http.Client{Transport: newTransport(pool, true), CheckRedirect: noRedirect}
	c.sockets = &http.Client{Transport: newTransport(pool, false), CheckRedirect: noRedirect}
	return c, nil
}

// Project is the project used where a request names none.
func (c *Client) Project() string { return c.options.Project }

// Endpoint is the controller that is asked first.
func (c *Client) Endpoint() string { return c.endpoints[c.first()].String() }

// Close ends idle connections.
func (c *Client) Close() {
	c.http.CloseIdleConnections()
	c.sockets.CloseIdleConnections()
}

// ParseEndpoint reads a controller's address. Plain http is allowed to this machine alone: a token must never travel in clear text.
func ParseEndpoint(text string) (*url.URL, error) {
	wrong := func(why string) error {
		return v1.NewProblem(v1.CodeInvalid, "%q is no endpoint: %s", text, why).WithField("endpoint").
			WithNext("Write it like https://controller.example:%s", DefaultPort).With("endpoint", text)
	}
	full := strings.TrimSpace(text)
	if full == "" {
		return nil, wrong("it is empty")
	}
	if !strings.Contains(full, "://") {
		full = "https://" + full
	}
	endpoint, err := url.Parse(full)
	if err != nil || endpoint.Hostname() == "" {
		return nil, wrong("it names no host")
	}
	if endpoint.User != nil || endpoint.RawQuery != "" || endpoint.Fragment != "" || strings.Trim(endpoint.Path, "/") != "" {
		return nil, wrong("only host and port may be given")
	}
	switch endpoint.Scheme {
	case "https":
	case "http":
		address := net.ParseIP(endpoint.Hostname())
		if endpoint.Hostname() != "localhost" && (address == nil || !address.IsLoopback()) {
			return nil, wrong("http:// would show your token to the network")
		}
	default:
		return nil, wrong("it must begin with https://")
	}
	if endpoint.Port() == "" {
		endpoint.Host = net.JoinHostPort(endpoint.Hostname(), DefaultPort)
	}
	endpoint.Path = ""
	return endpoint, nil
}

func (o *Options) pool() (*x509.CertPool, error) {
	pem := o.CAPEM
	switch {
	case o.CAPool != nil:
		return o.CAPool, nil
	case o.CAFile != "":
		text, err := os.ReadFile(o.CAFile)
		if err != nil {
			return nil, v1.NewProblem(v1.CodeInvalid, "the certificate file cannot be read: %v", err).WithField("caFile").With("file", o.CAFile)
		}
		pem = text
	case len(pem) == 0:
		return nil, nil
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, v1.NewProblem(v1.CodeInvalid, "no certificate in PEM form was found in the certificate file").WithField("caFile").With("file", o.CAFile)
	}
	return pool, nil
}

// newTransport makes connections that notice a dead controller within seconds.
func newTransport(pool *x509.CertPool, http2 bool) *http.Transport {
	dialer := &net.Dialer{Timeout: 5 * time.Second, KeepAlive: 15 * time.Second}
	transport := &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            dialer.DialContext,
		TLSHandshakeTimeout:    5 * time.Second,
		ExpectContinueTimeout:  2 * time.Second,
		IdleConnTimeout:        60 * time.Second,
		MaxIdleConnsPerHost:    8,
		MaxResponseHeaderBytes: 1 << 16,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool},
		Protocols:              new(http.Protocols),
	}
	transport.Protocols.SetHTTP1(true)
	if http2 {
		transport.Protocols.SetHTTP2(true)
		transport.HTTP2 = &http.HTTP2Config{SendPingTimeout: 15 * time.Second, PingTimeout: 10 * time.Second}
	}
	return transport
}

// noRedirect keeps the token from following a redirect to another place.
func noRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

func (c *Client) first() int { return int(c.preferred.Load()) % len(c.endpoints) }

// ConnectError says that no controller could be asked. It is also a *v1.Problem (CodeUnavailable) to errors.As.
type ConnectError struct {
	Problem *v1.Problem
	Cause   error
}

func (e *ConnectError) Error() string   { return e.Problem.Error() }
func (e *ConnectError) Unwrap() []error { return []error{e.Problem, e.Cause} }

func (c *Client) connectError(cause error) error {
	names := make([]string, len(c.endpoints))
	for i, endpoint := range c.endpoints {
		names[i] = endpoint.Host
	}
	problem := v1.NewProblem(v1.CodeUnavailable, "no controller answers at %s: %v", strings.Join(names, ", "), plainCause(cause)).
		WithNext("Check the endpoint and the network, then try again.").
		With("endpoints", strings.Join(names, ", ")).With("cause", plainCause(cause))
	if isTrust(cause) {
		problem.Detail = fmt.Sprintf("the controller at %s cannot be trusted: %v", strings.Join(names, ", "), plainCause(cause))
		problem.Params["trust"] = "false"
		problem.Next = "Give the cloud's own CA certificate with --ca-file."
	}
	return &ConnectError{Problem: problem, Cause: cause}
}
