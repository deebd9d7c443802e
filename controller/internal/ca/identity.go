package ca

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

const scheme = "coloa"

// Role is the part that a certificate's owner plays.
type Role string

// The roles. A certificate has exactly one.
const (
	// RoleController is a member of the Raft group; server and client on :8445, server on :8444.
	RoleController Role = "controller"
	// RoleHost is a host's agent; client on :8444, server and client on :8446.
	RoleHost Role = "host"
	// RoleAPI is the server certificate that people's browsers and the CLI see on :8443.
	RoleAPI Role = "api"
)

var roles = []Role{RoleController, RoleHost, RoleAPI}

// Errors that callers tell apart. All are wrapped with what was seen and what was expected.
var (
	// ErrNoIdentity: the certificate does not carry exactly one well-formed coloa:// name.
	ErrNoIdentity = errors.New("the certificate does not say who it belongs to")
	// ErrForeignCluster: the certificate belongs to another cluster.
	ErrForeignCluster = errors.New("the certificate belongs to another cluster")
	// ErrWrongRole: the certificate's owner plays another part than the one required here.
	ErrWrongRole = errors.New("the certificate is for another role")
	// ErrWrongID: the certificate belongs to somebody else of the same role.
	ErrWrongID = errors.New("the certificate belongs to somebody else")
	// ErrNoCertificate: the peer showed no certificate.
	ErrNoCertificate = errors.New("the peer showed no certificate")
)

// Identity says who a certificate belongs to.
type Identity struct {
	Cluster string
	Role    Role
	ID      string
}

// namePattern is what clusters and ids may look like: a DNS label in lower case. UUIDs fit; nothing that needs escaping does.
var namePattern = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// ValidName reports whether s can be the id of a cluster, controller or host: 1 to 63 of a-z, 0-9 and '-', not at the ends.
func ValidName(s string) bool { return namePattern.MatchString(s) }

func (i Identity) validate() error {
	if !ValidName(i.Cluster) {
		return fmt.Errorf("cluster id %q is not 1 to 63 of a-z, 0-9 and '-'", i.Cluster)
	}
	if !slices.Contains(roles, i.Role) {
		return fmt.Errorf("unknown role %q", i.Role)
	}
	if !ValidName(i.ID) {
		return fmt.Errorf("id %q is not 1 to 63 of a-z, 0-9 and '-'", i.ID)
	}
	return nil
}

// String is the identity as it stands in the certificate: coloa://cluster/role/id.
func (i Identity) String() string {
	return scheme + "://" + i.Cluster + "/" + string(i.Role) + "/" + i.ID
}

func (i Identity) url() *url.URL {
	return &url.URL{Scheme: scheme, Host: i.Cluster, Path: "/" + string(i.Role) + "/" + i.ID}
}

// IdentityOf reads the identity from a certificate. It is strict: the certificate has exactly one URI name, and that name, written out again,
// is the same text. It does not verify the certificate; ask it only for certificates that TLS has verified. Errors wrap ErrNoIdentity.
func IdentityOf(certificate *x509.Certificate) (Identity, error) {
	if len(certificate.URIs) != 1 {
		return Identity{}, fmt.Errorf("%w: it has %d URI names instead of one", ErrNoIdentity, len(certificate.URIs))
	}
	name := certificate.URIs[0].String()
	rest, ok := strings.CutPrefix(name, scheme+"://")
	parts := strings.Split(rest, "/")
	if !ok || len(parts) != 3 {
		return Identity{}, fmt.Errorf("%w: %q is not coloa://<cluster>/<role>/<id>", ErrNoIdentity, name)
	}
	identity := Identity{Cluster: parts[0], Role: Role(parts[1]), ID: parts[2]}
	if err := identity.validate(); err != nil {
		return Identity{}, fmt.Errorf("%w: %q: %w", ErrNoIdentity, name, err)
	}
	return identity, nil
}

// PeerIdentity is the identity of the other end of a TLS connection whose certificate was verified by ServerConfig or ClientConfig.
// Errors wrap ErrNoCertificate or ErrNoIdentity.
func PeerIdentity(state *tls.ConnectionState) (Identity, error) {
	if state == nil || len(state.PeerCertificates) == 0 {
		return Identity{}, ErrNoCertificate
	}
	return IdentityOf(state.PeerCertificates[0])
}

// Expect says what a peer has to be.
type Expect struct {
	Cluster string
	// Roles that are welcome; at least one.
	Roles []Role
	// ID is the exact peer; empty: any of these roles.
	ID string
}

// Check returns nil when the identity is what was expected; otherwise ErrForeignCluster, ErrWrongRole or ErrWrongID, wrapped with both.
func (e Expect) Check(identity Identity) error {
	switch {
	case identity.Cluster != e.Cluster:
		return fmt.Errorf("%w: it says cluster %s, this is cluster %s", ErrForeignCluster, identity.Cluster, e.Cluster)
	case !slices.Contains(e.Roles, identity.Role):
		return fmt.Errorf("%w: it says %s, allowed here: %v", ErrWrongRole, identity.Role, e.Roles)
	case e.ID != "" && identity.ID != e.ID:
		return fmt.Errorf("%w: it says %s %s, expected %s", ErrWrongID, identity.Role, identity.ID, e.ID)
	}
	return nil
}
