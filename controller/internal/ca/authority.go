package ca

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"time"
)

// Lifetimes of certificates.
const (
	// AuthorityLifetime is how long the authority itself lives.
	AuthorityLifetime = 10 * 365 * 24 * time.Hour
	// DefaultLifetime is how long an issued certificate lives unless the request says otherwise. Renewal begins when a third is left.
	DefaultLifetime = 90 * 24 * time.Hour
	// backdate forgives clocks of peers that are a little behind.
	backdate = 10 * time.Minute
)

// Authority is the cluster's certificate authority with its private key. It is never printed or logged with its key.
type Authority struct {
	cluster     string
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
	now         func() time.Time
}

// NewAuthority makes the authority of a new cluster: a key and a self-signed certificate of ten years that carries the cluster's id and may sign
// only names of this cluster.
func NewAuthority(cluster string) (*Authority, error) { return newAuthority(cluster, time.Now) }

func newAuthority(cluster string, now func() time.Time) (*Authority, error) {
	if !ValidName(cluster) {
		return nil, fmt.Errorf("cluster id %q is not 1 to 63 of a-z, 0-9 and '-'", cluster)
	}
	key, err := newKey()
	if err != nil {
		return nil, err
	}
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{Organization: []string{"Coloa"}, CommonName: "Coloa cluster " + cluster},
		URIs:                  []*url.URL{{Scheme: scheme, Host: cluster}},
		NotBefore:             now().Add(-backdate),
		NotAfter:              now().Add(AuthorityLifetime),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
		// A second lock: even a certificate wrongly issued for another cluster would not verify.
		PermittedDNSDomainsCritical: true,
		PermittedURIDomains:         []string{cluster},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("sign the authority's certificate: %w", err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("read back the authority's certificate: %w", err)
	}
	return &Authority{cluster: cluster, certificate: certificate, key: key, now: now}, nil
}

// ParseAuthority reads an authority from its PEM forms. It refuses a certificate that is no authority of a cluster or does not fit the key.
func ParseAuthority(certificatePEM, keyPEM []byte) (*Authority, error) {
	certificate, err := parseCertificate(certificatePEM)
	if err != nil {
		return nil, err
	}
	cluster, err := ClusterOf(certificate)
	if err != nil {
		return nil, err
	}
	key, err := parseKey(keyPEM)
	if err != nil {
		return nil, err
	}
	if !key.PublicKey.Equal(certificate.PublicKey) {
		return nil, errors.New("the authority's key does not belong to its certificate: take both from the same backup")
	}
	return &Authority{cluster: cluster, certificate: certificate, key: key, now: time.Now}, nil
}

// ClusterOf is the cluster id that an authority's certificate carries.
func ClusterOf(authority *x509.Certificate) (string, error) {
	if !authority.IsCA || !authority.BasicConstraintsValid {
		return "", errors.New("the certificate is not a certificate authority")
	}
	if len(authority.URIs) != 1 {
		return "", fmt.Errorf("%w: the authority has %d URI names instead of one", ErrNoIdentity, len(authority.URIs))
	}
	cluster, ok := strings.CutPrefix(authority.URIs[0].String(), scheme+"://")
	if !ok || !ValidName(cluster) {
		return "", fmt.Errorf("%w: the authority's name %q is not coloa://<cluster>", ErrNoIdentity, authority.URIs[0])
	}
	return cluster, nil
}

// Fingerprint is the SHA-256 of the certificate in hexadecimal: what a person compares when a host joins.
func Fingerprint(certificate *x509.Certificate) string {
	sum := sha256.Sum256(certificate.Raw)
	return hex.EncodeToString(sum[:])
}

// Cluster is the id of the cluster.
func (a *Authority) Cluster() string { return a.cluster }

// Certificate is the authority's certificate, public. Treat it as read-only.
func (a *Authority) Certificate() *x509.Certificate { return a.certificate }

// CertificatePEM is the certificate for others to trust.
func (a *Authority) CertificatePEM() []byte { return encodeCertificate(a.certificate.Raw) }

// KeyPEM is the private key: whoever has it can be anybody in this cluster.
func (a *Authority) KeyPEM() (KeyPEM, error) { return encodeKey(a.key) }

// Pool trusts this authority and nothing else.
func (a *Authority) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.certificate)
	return pool
}

// String names the authority without its key; so do all other ways to print it.
func (a *Authority) String() string { return "certificate authority of cluster " + a.cluster }

// GoString is String: %#v must not reach into the key.
func (a *Authority) GoString() string { return a.String() }

// LogValue is String: slog must not reach into the key.
func (a *Authority) LogValue() slog.Value { return slog.StringValue(a.String()) }

// Request says what certificate to issue.
type Request struct {
	Role Role
	ID   string
	// DNSNames and Addresses under which clients that verify host names may reach the owner.
	DNSNames  []string
	Addresses []netip.Addr
	// Lifetime counts from now; 0 means DefaultLifetime. It is cut to the authority's own end.
	Lifetime time.Duration
}

// Issue makes a key and a certificate for it. Prefer Sign for another machine: then its key never travels.
func (a *Authority) Issue(request Request) (Bundle, error) {
	key, err := newKey()
	if err != nil {
		return Bundle{}, err
	}
	certificate, err := a.sign(request, &key.PublicKey)
	if err != nil {
		return Bundle{}, err
	}
	keyPEM, err := encodeKey(key)
	if err != nil {
		return Bundle{}, err
	}
	return Bundle{Certificate: certificate, Key: keyPEM}, nil
}

// Sign issues a certificate for the key of a signing request made by NewSigningRequest. Only the public key is taken from it: who the owner is, the
// caller says, after having made sure of it. It returns the certificate in PEM.
func (a *Authority) Sign(request Request, signingRequestPEM []byte) ([]byte, error) {
	public, err := parseSigningRequest(signingRequestPEM)
	if err != nil {
		return nil, err
	}
	return a.sign(request, public)
}

func (a *Authority) sign(request Request, public *ecdsa.PublicKey) ([]byte, error) {
	identity := Identity{Cluster: a.cluster, Role: request.Role, ID: request.ID}
	if err := identity.validate(); err != nil {
		return nil, fmt.Errorf("cannot issue a certificate: %w", err)
	}
	if request.Lifetime == 0 {
		request.Lifetime = DefaultLifetime
	}
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	now := a.now()
	usage := []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	if request.Role == RoleAPI {
		usage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	}
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{Organization: []string{"Coloa"}, CommonName: string(request.Role) + " " + request.ID},
		URIs:                  []*url.URL{identity.url()},
		DNSNames:              request.DNSNames,
		IPAddresses:           addresses(request.Addresses),
		NotBefore:             now.Add(-backdate),
		NotAfter:              now.Add(request.Lifetime),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           usage,
		BasicConstraintsValid: true,
	}
	if template.NotAfter.After(a.certificate.NotAfter) {
		template.NotAfter = a.certificate.NotAfter
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, public, a.key)
	if err != nil {
		return nil, fmt.Errorf("sign the certificate of %s: %w", identity, err)
	}
	return encodeCertificate(der), nil
}

func addresses(in []netip.Addr) []net.IP {
	var out []net.IP
	for _, address := range in {
		out = append(out, net.IP(address.Unmap().AsSlice()))
	}
	return out
}

func newKey() (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	return key, nil
}

// newSerial is 127 random bits, so that certificates of authorities that share no state never collide.
func newSerial() (*big.Int, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("make a serial number: %w", err)
	}
	return serial.Add(serial, big.NewInt(1)), nil
}
