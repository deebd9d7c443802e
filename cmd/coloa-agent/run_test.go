//go:build libvirt_dlopen

package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coloa-cloud/coloa/api/hostv1"
)

// authority signs certificates for the test's cluster.
type authority struct {
	t           *testing.T
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	certificate, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	return &authority{t, certificate, key}
}

// bundle is certificate and key in one text.
func (a *authority) bundle(name string) []byte {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(a.t, err)
	uri, err := url.Parse(name)
	require.NoError(a.t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), NotAfter: time.Now().Add(time.Hour), URIs: []*url.URL{uri}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, key.Public(), a.key)
	require.NoError(a.t, err)
	encoded, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(a.t, err)
	return append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: encoded})...)
}

// The whole program, with real certificates, HTTP/2, libvirt and a pool: it registers, says that it lives, serves controllers and nobody else, and ends.
func TestRun(t *testing.T) {
	authority := newAuthority(t)
	text := authority.bundle("coloa://c1/controller/a")
	certificate, err := tls.X509KeyPair(text, text)
	require.NoError(t, err)
	trusted := x509.NewCertPool()
	trusted.AddCert(authority.certificate)

	var registered, heartbeats, http1 atomic.Int32
	controller := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor != 2 {
			http1.Add(1)
		}
		var answer any = struct{}{}
		switch r.URL.Path {
		case hostv1.PathRegister:
			registered.Add(1)
			answer = hostv1.RegisterResponse{Cluster: "c1", Epoch: 7, HeartbeatEvery: 100 * time.Millisecond}
		case hostv1.PathHeartbeat:
			heartbeats.Add(1)
		case hostv1.PathAssignments:
			<-r.Context().Done()
			return
		}
		_ = json.NewEncoder(w).Encode(answer) // the test would see it
	}))
	controller.EnableHTTP2 = true
	controller.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: trusted, MinVersion: tls.VersionTLS13}
	controller.StartTLS()
	t.Cleanup(controller.Close)

	folder, own := t.TempDir(), freeAddress(t)
	settings := config{
		Controllers: []string{strings.TrimPrefix(controller.URL, "https://")},
		Certificate: filepath.Join(folder, "host.pem"), Authority: filepath.Join(folder, "ca.pem"), DataFolder: filepath.Join(folder, "agent"),
		PoolFolder: filepath.Join(folder, "pool"), Listen: own, LibvirtURI: "qemu:///system", LogLevel: "error",
	}
	require.NoError(t, os.WriteFile(settings.Certificate, authority.bundle("coloa://c1/host/h1"), 0o600))
	require.NoError(t, os.WriteFile(settings.Authority, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: authority.certificate.Raw}), 0o600))
	require.NoError(t, settings.complete())

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, settings) }()
	require.Eventually(t, func() bool { return heartbeats.Load() > 2 }, 30*time.Second, 50*time.Millisecond,
		"it needs libvirtd on this machine; as root: deploy/hostservices/ensure-libvirtd")
	require.EqualValues(t, 1, registered.Load())
	require.Zero(t, http1.Load(), "everything over HTTP/2")

	client := http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{Certificates: []tls.Certificate{certificate}, InsecureSkipVerify: true}}}
	response, err := client.Get("https://" + own + "/metrics")
	require.NoError(t, err)
	metrics, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	require.Contains(t, string(metrics), "coloa_agent_connected 1")
	client.CloseIdleConnections()
	nobody := http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	_, err = nobody.Get("https://" + own + "/metrics") //nolint:bodyclose // there is none
	require.Error(t, err)

	cancel()
	select {
	case err := <-ended:
		require.NoError(t, err)
	case <-time.After(20 * time.Second):
		t.Fatal("it does not end")
	}
}

func freeAddress(t *testing.T) string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { require.NoError(t, listener.Close()) }()
	return listener.Addr().String()
}
