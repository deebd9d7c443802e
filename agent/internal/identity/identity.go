// Package identity holds who this host is: its certificate and key, and the cluster's authority that it trusts, read from files and read again
// when they change, so that renewal needs no restart. It makes the TLS configurations of both directions.
//
// Names of machines mean nothing here. Who a peer is stands in its certificate, as one URI name: coloa://<cluster>/<role>/<id>.
package identity

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Roles that matter to an agent.
const (
	roleHost       = "host"
	roleController = "controller"
)

// Errors of Open and of handshakes (wrapped).
var (
	// ErrNoIdentity: a certificate does not carry exactly one well-formed coloa:// name.
	ErrNoIdentity = errors.New("the certificate does not say who it belongs to")
	// ErrForeign: a certificate is of another cluster.
	ErrForeign = errors.New("the certificate is of another cluster")
	// ErrWrongRole: a certificate's owner is not what is needed here.
	ErrWrongRole = errors.New("the certificate is for another role")
)

// Files are the paths of PEM files. Certificate and Key may be the same file.
type Files struct{ Certificate, Key, Authority string }

// Identity is this host's. It is safe for concurrent use. Make it with Open.
type Identity struct {
	files         Files
	cluster, host string

	mutex   sync.Mutex
	seen    [3]mark
	failure error
	own     *tls.Certificate
	trusted *x509.CertPool
}

// mark tells whether a file has changed; files are replaced by rename.
type mark struct {
	modified time.Time
	size     int64
	inode    uint64
}

// Open reads the files. They must fit each other: a host's certificate of the authority's cluster, signed by it.
func Open(files Files) (*Identity, error) {
	if files.Key == "" {
		files.Key = files.Certificate
	}
	identity := &Identity{files: files}
	seen, err := identity.marks()
	if err != nil {
		return nil, err
	}
	own, trusted, err := identity.read()
	if err != nil {
		return nil, err
	}
	name, err := nameOf(own.Leaf)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", files.Certificate, err)
	}
	if name.role != roleHost {
		return nil, fmt.Errorf("%s: %w: it is a %s's, needed is a host's", files.Certificate, ErrWrongRole, name.role)
	}
	identity.cluster, identity.host = name.cluster, name.id
	if err := verify(own.Leaf, nil, trusted, x509.ExtKeyUsageClientAuth); err != nil {
		return nil, fmt.Errorf("%s is not signed by the authority in %s: %w", files.Certificate, files.Authority, err)
	}
	identity.own, identity.trusted, identity.seen = own, trusted, seen
	return identity, nil
}

// Cluster is the id of the cluster that this host belongs to.
func (i *Identity) Cluster() string { return i.cluster }

// Host is this host's id.
func (i *Identity) Host() string { return i.host }

// Failure says why files that have changed could not be taken over; nil when all is well. What was read before stays in use.
func (i *Identity) Failure() error {
	i.mutex.Lock()
	defer i.mutex.Unlock()
	return i.failure
}

// Client is the TLS configuration for dialling controllers of this cluster.
func (i *Identity) Client() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			own, _ := i.current()
			return own, nil
		},
		// This turns off the check of the host name, and all others with it; VerifyConnection makes them instead.
		InsecureSkipVerify: true, //nolint:gosec // verified below, on every connection
		VerifyConnection:   func(state tls.ConnectionState) error { return i.checkController(state, x509.ExtKeyUsageServerAuth) },
	}
}

// Server is the TLS configuration of the agent's own port, which serves controllers of this cluster only.
func (i *Identity) Server() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			own, _ := i.current()
			return own, nil
		},
		// The chain is verified in VerifyConnection, against the authority as it is then.
		ClientAuth:             tls.RequireAnyClientCert,
		SessionTicketsDisabled: true,
		VerifyConnection:       func(state tls.ConnectionState) error { return i.checkController(state, x509.ExtKeyUsageClientAuth) },
	}
}

func (i *Identity) checkController(state tls.ConnectionState, usage x509.ExtKeyUsage) error {
	if len(state.PeerCertificates) == 0 {
		return fmt.Errorf("%w: the peer showed none", ErrNoIdentity)
	}
	_, trusted := i.current()
	if err := verify(state.PeerCertificates[0], state.PeerCertificates[1:], trusted, usage); err != nil {
		return err
	}
	name, err := nameOf(state.PeerCertificates[0])
	switch {
	case err != nil:
		return err
	case name.cluster != i.cluster:
		return fmt.Errorf("%w: it is of cluster %s, this host of %s", ErrForeign, name.cluster, i.cluster)
	case name.role != roleController:
		return fmt.Errorf("%w: it is a %s's, needed is a controller's", ErrWrongRole, name.role)
	}
	return nil
}

func verify(leaf *x509.Certificate, others []*x509.Certificate, trusted *x509.CertPool, usage x509.ExtKeyUsage) error {
	between := x509.NewCertPool()
	for _, each := range others {
		between.AddCert(each)
	}
	_, err := leaf.Verify(x509.VerifyOptions{Roots: trusted, Intermediates: between, KeyUsages: []x509.ExtKeyUsage{usage}})
	return err
}

// current is what to use now, after a look at the files.
func (i *Identity) current() (*tls.Certificate, *x509.CertPool) {
	i.mutex.Lock()
	defer i.mutex.Unlock()
	seen, err := i.marks()
	if err != nil {
		i.failure = err
	} else if seen != i.seen {
		own, trusted, err := i.read()
		if err == nil {
			var name name
			if name, err = nameOf(own.Leaf); err == nil && (name != ownName(i.cluster, i.host)) {
				err = fmt.Errorf("%s is now somebody else's (%s): start the agent again for another identity", i.files.Certificate, name)
			}
		}
		if i.failure = err; err == nil {
			i.own, i.trusted, i.seen = own, trusted, seen
		}
	}
	return i.own, i.trusted
}

func (i *Identity) marks() (marks [3]mark, err error) {
	for number, path := range []string{i.files.Certificate, i.files.Key, i.files.Authority} {
		info, err := os.Stat(path)
		if err != nil {
			return marks, fmt.Errorf("certificate files: %w", err)
		}
		marks[number] = mark{info.ModTime(), info.Size(), inode(info)}
	}
	return marks, nil
}

// inode tells a file from one that took its place within a tick of the clock. 0 where it is not known.
func inode(info os.FileInfo) uint64 {
	if system, ok := info.Sys().(*syscall.Stat_t); ok {
		return system.Ino
	}
	return 0
}

func (i *Identity) read() (*tls.Certificate, *x509.CertPool, error) {
	info, err := os.Stat(i.files.Key)
	if err != nil {
		return nil, nil, err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, nil, fmt.Errorf("%s holds a private key and others may read it: chmod 600 it", i.files.Key)
	}
	own, err := tls.LoadX509KeyPair(i.files.Certificate, i.files.Key)
	if err != nil {
		return nil, nil, fmt.Errorf("certificate and key of this host: %w", err)
	}
	text, err := os.ReadFile(i.files.Authority)
	if err != nil {
		return nil, nil, err
	}
	trusted := x509.NewCertPool()
	count := 0
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %w", i.files.Authority, err)
		}
		trusted.AddCert(certificate)
		count++
	}
	if count == 0 {
		return nil, nil, fmt.Errorf("%s holds no certificate", i.files.Authority)
	}
	return &own, trusted, nil
}

// name is who a certificate belongs to.
type name struct{ cluster, role, id string }

func ownName(cluster, host string) name { return name{cluster, roleHost, host} }

func (n name) String() string { return "coloa://" + n.cluster + "/" + n.role + "/" + n.id }

var part = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// nameOf is strict: exactly one URI name, which has exactly this form.
func nameOf(certificate *x509.Certificate) (name, error) {
	if len(certificate.URIs) != 1 {
		return name{}, fmt.Errorf("%w: it has %d URI names", ErrNoIdentity, len(certificate.URIs))
	}
	text := certificate.URIs[0].String()
	rest, ok := strings.CutPrefix(text, "coloa://")
	parts := strings.Split(rest, "/")
	if !ok || len(parts) != 3 || !part.MatchString(parts[0]) || !part.MatchString(parts[1]) || !part.MatchString(parts[2]) {
		return name{}, fmt.Errorf("%w: %.120q is not coloa://<cluster>/<role>/<id>", ErrNoIdentity, text)
	}
	return name{parts[0], parts[1], parts[2]}, nil
}
