package ca

import (
	"bytes"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io/fs"
	"log/slog"
	"math/big"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func testAuthority(t testing.TB, cluster string) *Authority {
	t.Helper()
	authority, err := NewAuthority(cluster)
	require.NoError(t, err)
	return authority
}

func issue(t testing.TB, authority *Authority, request Request) *KeyPair {
	t.Helper()
	bundle, err := authority.Issue(request)
	require.NoError(t, err)
	pair, err := NewKeyPair(bundle)
	require.NoError(t, err)
	return pair
}

func TestAuthorityCarriesItsCluster(t *testing.T) {
	authority := testAuthority(t, "c1")
	cluster, err := ClusterOf(authority.Certificate())
	require.NoError(t, err)
	require.Equal(t, "c1", cluster)
	require.WithinDuration(t, time.Now().Add(AuthorityLifetime), authority.Certificate().NotAfter, time.Minute)
	require.Len(t, Fingerprint(authority.Certificate()), 64)

	for _, bad := range []string{"", "C1", "a/b", "-a", "a.b", "a\nb", string(bytes.Repeat([]byte("a"), 64))} {
		_, err := NewAuthority(bad)
		require.Error(t, err, "%q", bad)
	}
}

func TestIssuedCertificate(t *testing.T) {
	authority := testAuthority(t, "0199d2a4-7b1c-7e57-9d3f-2f8c1a6b5e4d")
	pair := issue(t, authority, Request{
		Role: RoleController, ID: "controller-1", DNSNames: []string{"c1.example"}, Addresses: []netip.Addr{netip.MustParseAddr("::ffff:10.0.0.1"), netip.MustParseAddr("fd00::1")},
	})
	leaf := pair.Leaf()
	identity, err := IdentityOf(leaf)
	require.NoError(t, err)
	require.Equal(t, Identity{authority.Cluster(), RoleController, "controller-1"}, identity)
	require.Equal(t, []string{"c1.example"}, leaf.DNSNames)
	require.Equal(t, "10.0.0.1", leaf.IPAddresses[0].String())
	require.False(t, leaf.IsCA)
	for _, usage := range []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth} {
		_, err = leaf.Verify(x509.VerifyOptions{Roots: authority.Pool(), KeyUsages: []x509.ExtKeyUsage{usage}})
		require.NoError(t, err)
	}
	require.NoError(t, leaf.VerifyHostname("c1.example"))

	api := issue(t, authority, Request{Role: RoleAPI, ID: "controller-1", DNSNames: []string{"cloud.example"}}).Leaf()
	_, err = api.Verify(x509.VerifyOptions{Roots: authority.Pool(), DNSName: "cloud.example", KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	require.NoError(t, err)
	_, err = api.Verify(x509.VerifyOptions{Roots: authority.Pool(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	require.Error(t, err, "a server certificate for people must not sign anybody in")

	for _, bad := range []Request{{Role: "root", ID: "a"}, {Role: RoleHost}, {Role: RoleHost, ID: "../a"}, {Role: RoleHost, ID: "a/b"}} {
		_, err := authority.Issue(bad)
		require.Error(t, err, "%+v", bad)
	}
}

func TestAuthorityCannotSpeakForAnotherCluster(t *testing.T) {
	authority := testAuthority(t, "c1")
	impostor := *authority
	impostor.cluster = "c2" // as if a bug had let another cluster's name through
	leaf := issue(t, &impostor, Request{Role: RoleController, ID: "x"}).Leaf()
	_, err := leaf.Verify(x509.VerifyOptions{Roots: authority.Pool(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
	require.ErrorContains(t, err, "is not permitted")
}

func TestIdentityIsStrict(t *testing.T) {
	for _, names := range [][]string{
		{},
		{"coloa://c1/host/a", "coloa://c1/host/b"},
		{"https://c1/host/a"},
		{"coloa://c1/host"},
		{"coloa://c1/host/a/b"},
		{"coloa://c1/host/a/"},
		{"coloa://c1//a"},
		{"coloa://c1/root/a"},
		{"coloa://c1/host/A"},
		{"coloa://c1/host/a?x=1"},
		{"coloa://c1/host/a#b"},
		{"coloa://user@c1/host/a"},
		{"coloa://c1:80/host/a"},
		{"coloa://c1/host/%61"},
		{"coloa:c1/host/a"},
		{"coloa:///host/a"},
	} {
		certificate := &x509.Certificate{}
		for _, name := range names {
			parsed, err := url.Parse(name)
			require.NoError(t, err)
			certificate.URIs = append(certificate.URIs, parsed)
		}
		_, err := IdentityOf(certificate)
		require.ErrorIs(t, err, ErrNoIdentity, "%v", names)
	}
}

func TestIdentityRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.StringMatching(`[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?`)
		want := Identity{name.Draw(t, "cluster"), rapid.SampledFrom(roles).Draw(t, "role"), name.Draw(t, "id")}
		got, err := IdentityOf(&x509.Certificate{URIs: []*url.URL{want.url()}})
		if err != nil || got != want {
			t.Fatalf("%v became %v: %v", want, got, err)
		}
	})
}

func TestSigningRequest(t *testing.T) {
	authority := testAuthority(t, "c1")
	key, request, err := NewSigningRequest()
	require.NoError(t, err)
	certificate, err := authority.Sign(Request{Role: RoleHost, ID: "h1"}, request)
	require.NoError(t, err)
	pair, err := NewKeyPair(Bundle{certificate, key})
	require.NoError(t, err)
	identity, err := IdentityOf(pair.Leaf())
	require.NoError(t, err)
	require.Equal(t, "coloa://c1/host/h1", identity.String())

	block, _ := pem.Decode(request)
	block.Bytes[len(block.Bytes)/2] ^= 3 // not in the text: a line's end that becomes a tab changes nothing
	broken := pem.EncodeToMemory(block)
	for _, bad := range [][]byte{nil, []byte("x"), broken, authority.CertificatePEM(), append(bytes.Clone(request), request...)} {
		_, err := authority.Sign(Request{Role: RoleHost, ID: "h1"}, bad)
		require.Error(t, err)
	}
}

func TestSaveAndLoad(t *testing.T) {
	directory := filepath.Join(t.TempDir(), "pki")
	_, err := LoadAuthority(directory)
	require.ErrorIs(t, err, fs.ErrNotExist)

	authority := testAuthority(t, "c1")
	require.NoError(t, authority.Save(directory))
	require.NoError(t, authority.Save(directory), "saving twice is harmless")
	info, err := os.Stat(filepath.Join(directory, AuthorityKeyFile))
	require.NoError(t, err)
	require.Equal(t, fs.FileMode(0o600), info.Mode().Perm())

	loaded, err := LoadAuthority(directory)
	require.NoError(t, err)
	require.Equal(t, "c1", loaded.Cluster())
	leaf := issue(t, loaded, Request{Role: RoleHost, ID: "h1"}).Leaf()
	_, err = leaf.Verify(x509.VerifyOptions{Roots: authority.Pool(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
	require.NoError(t, err)

	require.ErrorContains(t, testAuthority(t, "c2").Save(directory), "already holds")
	entries, err := os.ReadDir(directory)
	require.NoError(t, err)
	require.Len(t, entries, 2, "no temporary file is left")

	require.NoError(t, os.Chmod(filepath.Join(directory, AuthorityKeyFile), 0o640))
	_, err = LoadAuthority(directory)
	require.ErrorContains(t, err, "0600")

	other := testAuthority(t, "c1")
	key, err := other.KeyPEM()
	require.NoError(t, err)
	_, err = ParseAuthority(authority.CertificatePEM(), key)
	require.ErrorContains(t, err, "does not belong")
}

func TestKeysAreNotShown(t *testing.T) {
	authority := testAuthority(t, "c1")
	bundle, err := authority.Issue(Request{Role: RoleHost, ID: "h1"})
	require.NoError(t, err)
	require.Contains(t, string(bundle.Key), "PRIVATE KEY")

	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
		fmt.Fprintf(&out, verb+verb+verb, bundle, bundle.Key, authority)
	}
	slog.New(slog.NewTextHandler(&out, nil)).Info("x", "bundle", bundle, "key", bundle.Key, "ca", authority)
	slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "bundle", bundle, "key", bundle.Key, "ca", authority)
	require.NotContains(t, out.String(), "PRIVATE KEY")
	scalar, err := authority.key.Bytes()
	require.NoError(t, err)
	require.NotContains(t, out.String(), new(big.Int).SetBytes(scalar).String(), "as a struct with a big.Int is printed")
	require.NotContains(t, out.String(), hex.EncodeToString(scalar))
	require.NotContains(t, out.String(), fmt.Sprintf("%x", []byte(bundle.Key[:40])))
	_, err = json.Marshal(bundle)
	require.Error(t, err)
}

func TestKeyPairReloads(t *testing.T) {
	authority := testAuthority(t, "c1")
	path := filepath.Join(t.TempDir(), "controller.pem")
	write := func(id string) {
		bundle, err := authority.Issue(Request{Role: RoleController, ID: id})
		require.NoError(t, err)
		require.NoError(t, WriteBundle(path, bundle))
	}
	id := func(pair *KeyPair) string {
		identity, err := IdentityOf(pair.Leaf())
		require.NoError(t, err)
		return identity.ID
	}
	write("first")
	pair, err := OpenKeyPair(path)
	require.NoError(t, err)
	require.Equal(t, "first", id(pair))

	write("second")
	require.Equal(t, "second", id(pair))
	require.NoError(t, pair.LastError())

	require.NoError(t, os.WriteFile(path, []byte("rubbish"), 0o600))
	require.Equal(t, "second", id(pair), "a broken file must not take the service down")
	require.ErrorContains(t, pair.LastError(), path)
	require.Error(t, pair.Reload())

	require.NoError(t, os.Remove(path))
	require.Equal(t, "second", id(pair))
	write("third")
	require.NoError(t, pair.Reload())
	require.Equal(t, "third", id(pair))

	require.NoError(t, os.Chmod(path, 0o644))
	_, err = OpenKeyPair(path)
	require.ErrorContains(t, err, "0600")
}

func TestRenewalIsDueInTheLastThird(t *testing.T) {
	leaf := issue(t, testAuthority(t, "c1"), Request{Role: RoleHost, ID: "h1", Lifetime: 90 * 24 * time.Hour}).Leaf()
	now := time.Now()
	require.False(t, NeedsRenewal(leaf, now.Add(59*24*time.Hour)))
	require.True(t, NeedsRenewal(leaf, now.Add(61*24*time.Hour)))
	require.Negative(t, Remaining(leaf, now.Add(91*24*time.Hour)))

	long := issue(t, testAuthority(t, "c1"), Request{Role: RoleHost, ID: "h1", Lifetime: 2 * AuthorityLifetime}).Leaf()
	require.WithinDuration(t, now.Add(AuthorityLifetime), long.NotAfter, time.Minute, "nobody outlives the authority")
}
