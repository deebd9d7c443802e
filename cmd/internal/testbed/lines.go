package testbed

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"net/http"
	"os"
	"time"
)

// pipeServer serves a handler over pipes in memory, so that streams and websockets are what they are on a wire.
type pipeServer struct {
	transport *http.Transport
}

func newPipeServer(handler func() http.Handler) *pipeServer {
	p := new(pipeServer)
	p.transport = &http.Transport{DialTLSContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		current := handler()
		if current == nil {
			return nil, errors.New("the agent does not run")
		}
		ours, theirs := net.Pipe()
		server := &http.Server{Handler: current, ReadHeaderTimeout: 10 * time.Second}
		go func() { _ = server.Serve(&oneConnection{conn: theirs}) }() // ends with the pipe
		return ours, ctx.Err()
	}}
	return p
}

// oneConnection is a listener with a single connection.
type oneConnection struct{ conn net.Conn }

func (l *oneConnection) Accept() (net.Conn, error) {
	if l.conn == nil {
		return nil, net.ErrClosed
	}
	conn := l.conn
	l.conn = nil
	return conn, nil
}
func (l *oneConnection) Close() error   { return nil }
func (l *oneConnection) Addr() net.Addr { return &net.UnixAddr{Name: "agent", Net: "pipe"} }

// authority signs the API servers' certificate of this run.
type authority struct {
	pem         []byte
	pool        *x509.CertPool
	certificate tls.Certificate
}

func newAuthority() (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Coloa testbed"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(30 * 24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, BasicConstraintsValid: true, IsCA: true,
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	parsed, err := x509.ParseCertificate(raw)
	if err != nil {
		return nil, err
	}
	a := &authority{pem: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: raw}), pool: x509.NewCertPool()}
	a.pool.AddCert(parsed)
	a.certificate = tls.Certificate{Certificate: [][]byte{raw}, PrivateKey: key, Leaf: parsed}
	return a, nil
}

func (a *authority) server() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{a.certificate}, NextProtos: []string{"h2", "http/1.1"}}
}

func (a *authority) client() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: a.pool}
}

func writeFile(path string, data []byte) error { return os.WriteFile(path, data, 0o600) }
