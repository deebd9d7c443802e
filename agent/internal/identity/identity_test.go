package identity

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// authority signs certificates as the controllers' authority does.
type authority struct {
	t           *testing.T
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	certificate, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	return &authority{t, certificate, key}
}

func (a *authority) pem() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.certificate.Raw})
}

// issue returns certificate and key in one text.
func (a *authority) issue(change func(*x509.Certificate), names ...string) []byte {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(a.t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	for _, name := range names {
		parsed, err := url.Parse(name)
		require.NoError(a.t, err)
		template.URIs = append(template.URIs, parsed)
	}
	if change != nil {
		change(template)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, key.Public(), a.key)
	require.NoError(a.t, err)
	encoded, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(a.t, err)
	return append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: encoded})...)
}

func pair(t *testing.T, text []byte) tls.Certificate {
	certificate, err := tls.X509KeyPair(text, text)
	require.NoError(t, err)
	return certificate
}

func replace(t *testing.T, path string, text []byte) {
	require.NoError(t, os.WriteFile(path+".new", text, 0o600))
	require.NoError(t, os.Rename(path+".new", path))
}

func newFiles(t *testing.T, authority *authority, own []byte) Files {
	folder := t.TempDir()
	files := Files{Certificate: filepath.Join(folder, "host.pem"), Authority: filepath.Join(folder, "ca.pem")}
	replace(t, files.Certificate, own)
	replace(t, files.Authority, authority.pem())
	return files
}

const (
	ownURI        = "coloa://c1/host/h1"
	controllerURI = "coloa://c1/controller/a"
)

func TestOpen(t *testing.T) {
	authority, other := newAuthority(t), newAuthority(t)
	identity, err := Open(newFiles(t, authority, authority.issue(nil, ownURI)))
	require.NoError(t, err)
	require.Equal(t, "c1", identity.Cluster())
	require.Equal(t, "h1", identity.Host())

	for name, own := range map[string][]byte{
		"no name":           authority.issue(nil),
		"two names":         authority.issue(nil, ownURI, "coloa://c1/host/h2"),
		"a controller's":    authority.issue(nil, controllerURI),
		"not a name":        authority.issue(nil, "coloa://c1/host/h1/x"),
		"other scheme":      authority.issue(nil, "https://c1/host/h1"),
		"escaped":           authority.issue(nil, "coloa://c1/host/%68"),
		"another authority": other.issue(nil, ownURI),
		"expired":           authority.issue(func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }, ownURI),
		"no certificate":    []byte("hello"),
	} {
		_, err := Open(newFiles(t, authority, own))
		require.Error(t, err, name)
	}
	files := newFiles(t, authority, authority.issue(nil, ownURI))
	require.NoError(t, os.Chmod(files.Certificate, 0o644))
	_, err = Open(files)
	require.ErrorContains(t, err, "chmod 600")
	files.Authority += "x"
	_, err = Open(files)
	require.ErrorIs(t, err, os.ErrNotExist)
}

// serve answers with this TLS configuration, without noise.
func serve(t *testing.T, config *tls.Config) string {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	server.TLS, server.EnableHTTP2 = config, true
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	return server.URL
}

func try(config *tls.Config, address string) error {
	transport := &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: true, DisableKeepAlives: true}
	defer transport.CloseIdleConnections()
	response, err := (&http.Client{Transport: transport, Timeout: 10 * time.Second}).Get(address)
	if err != nil {
		return err
	}
	return response.Body.Close()
}

func TestOnlyControllersOfThisCluster(t *testing.T) {
	authority, other := newAuthority(t), newAuthority(t)
	identity, err := Open(newFiles(t, authority, authority.issue(nil, ownURI)))
	require.NoError(t, err)
	own := serve(t, identity.Server())
	for name, test := range map[string]struct {
		peer []byte
		ok   bool
	}{
		"controller":             {authority.issue(nil, controllerURI), true},
		"host":                   {authority.issue(nil, "coloa://c1/host/h2"), false},
		"itself":                 {authority.issue(nil, ownURI), false},
		"api":                    {authority.issue(nil, "coloa://c1/api/a"), false},
		"other cluster":          {authority.issue(nil, "coloa://c2/controller/a"), false},
		"other authority":        {other.issue(nil, controllerURI), false},
		"nameless":               {authority.issue(nil), false},
		"two names":              {authority.issue(nil, controllerURI, "coloa://c1/controller/b"), false},
		"expired":                {authority.issue(func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }, controllerURI), false},
		"for no purpose of ours": {authority.issue(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageEmailProtection} }, controllerURI), false},
	} {
		certificate := pair(t, test.peer)
		theirs := serve(t, &tls.Config{Certificates: []tls.Certificate{certificate}, ClientAuth: tls.RequireAnyClientCert, MinVersion: tls.VersionTLS13})
		toThem := try(identity.Client(), theirs)
		toUs := try(&tls.Config{Certificates: []tls.Certificate{certificate}, InsecureSkipVerify: true}, own)
		if test.ok {
			require.NoError(t, toThem, name)
			require.NoError(t, toUs, name)
		} else {
			require.Error(t, toThem, name)
			require.Error(t, toUs, name)
		}
	}
	require.Error(t, try(&tls.Config{InsecureSkipVerify: true}, own), "without a certificate")
	require.Error(t, try(&tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair(t, authority.issue(nil, controllerURI))}}, own))
}

func TestRenewalNeedsNoRestart(t *testing.T) {
	old, next := newAuthority(t), newAuthority(t)
	files := newFiles(t, old, old.issue(nil, ownURI))
	identity, err := Open(files)
	require.NoError(t, err)
	first, _ := identity.current()

	replace(t, files.Certificate, old.issue(nil, ownURI))
	second, _ := identity.current()
	require.NotEqual(t, first.Leaf.SerialNumber, second.Leaf.SerialNumber)
	require.NoError(t, identity.Failure())

	// What is broken, or somebody else's, is not taken over.
	for _, bad := range [][]byte{[]byte("half a fi"), old.issue(nil, "coloa://c1/host/h2"), old.issue(nil, controllerURI)} {
		replace(t, files.Certificate, bad)
		now, _ := identity.current()
		require.Equal(t, second, now)
		require.Error(t, identity.Failure())
	}
	require.NoError(t, os.Remove(files.Certificate))
	now, _ := identity.current()
	require.Equal(t, second, now)
	require.Error(t, identity.Failure())

	// A new authority beside the old one, then alone.
	replace(t, files.Certificate, next.issue(nil, ownURI))
	replace(t, files.Authority, append(old.pem(), next.pem()...))
	own := serve(t, identity.Server())
	controller := func(a *authority) error {
		return try(&tls.Config{Certificates: []tls.Certificate{pair(t, a.issue(nil, controllerURI))}, InsecureSkipVerify: true}, own)
	}
	require.NoError(t, controller(old))
	require.NoError(t, controller(next))
	replace(t, files.Authority, next.pem())
	require.Error(t, controller(old))
	require.NoError(t, controller(next))
	require.NoError(t, identity.Failure())
}
