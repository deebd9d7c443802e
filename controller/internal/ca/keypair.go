package ca

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"sync"
	"time"
)

// KeyPair is a certificate with its key as TLS uses it, read from a file and read again when the file changes: renewal needs no restart.
// It is safe for concurrent use.
type KeyPair struct {
	path string // empty: fixed

	mu       sync.Mutex
	current  *tls.Certificate
	seen     fileMark
	lastFail error
}

// fileMark tells two states of a file apart. Files are replaced by rename, so size and time together are enough.
type fileMark struct {
	modified time.Time
	size     int64
}

// OpenKeyPair reads a bundle written by WriteBundle. A file that others may read is refused.
func OpenKeyPair(path string) (*KeyPair, error) {
	pair := &KeyPair{path: path}
	if err := pair.Reload(); err != nil {
		return nil, err
	}
	return pair, nil
}

// NewKeyPair holds a bundle that is in no file.
func NewKeyPair(bundle Bundle) (*KeyPair, error) {
	certificate, err := parsePair(bundle.PEM())
	if err != nil {
		return nil, err
	}
	return &KeyPair{current: certificate}, nil
}

func parsePair(text []byte) (*tls.Certificate, error) {
	certificate, err := tls.X509KeyPair(text, text)
	if err != nil {
		return nil, fmt.Errorf("read certificate and key: %w", err)
	}
	return &certificate, nil
}

// Reload reads the file now. On an error the former certificate stays in use.
func (p *KeyPair) Reload() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.reload()
}

func (p *KeyPair) reload() error {
	if p.path == "" {
		return nil
	}
	info, err := os.Stat(p.path)
	if err != nil {
		return fmt.Errorf("load certificate: %w", err)
	}
	text, err := readSecret(p.path)
	if err != nil {
		return fmt.Errorf("load certificate: %w", err)
	}
	certificate, err := parsePair(text)
	if err != nil {
		return fmt.Errorf("load certificate from %s: %w", p.path, err)
	}
	p.current, p.seen = certificate, fileMark{info.ModTime(), info.Size()}
	return nil
}

// Current is the certificate in use, after a look at the file. When the file cannot be read, the former certificate stays in use and LastError says why.
func (p *KeyPair) Current() *tls.Certificate {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.path == "" {
		return p.current
	}
	info, err := os.Stat(p.path)
	if err == nil && (fileMark{info.ModTime(), info.Size()}) != p.seen {
		err = p.reload()
	}
	p.lastFail = err
	return p.current
}

// LastError says why the newest look at the file failed; nil when it did not.
func (p *KeyPair) LastError() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.lastFail
}

// Leaf is the certificate in use. Treat it as read-only.
func (p *KeyPair) Leaf() *x509.Certificate { return p.Current().Leaf }

// String names the file, not the key.
func (p *KeyPair) String() string { return "certificate and key from " + p.path }

func (p *KeyPair) getCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return p.Current(), nil
}

func (p *KeyPair) getClientCertificate(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
	return p.Current(), nil
}

// NeedsRenewal reports whether less than a third of a certificate's life is left.
func NeedsRenewal(certificate *x509.Certificate, now time.Time) bool {
	life := certificate.NotAfter.Sub(certificate.NotBefore)
	return Remaining(certificate, now) < life/3
}

// Remaining is how long a certificate is still valid; negative when it has expired.
func Remaining(certificate *x509.Certificate, now time.Time) time.Duration {
	return certificate.NotAfter.Sub(now)
}
