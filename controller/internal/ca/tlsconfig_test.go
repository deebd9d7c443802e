package ca

import (
	"crypto/tls"
	"errors"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// shake connects a client to a server over loopback TCP and returns what each of them thinks of it. One byte goes from server to client, because in TLS 1.3 a client
// learns only by reading that it was refused.
func shake(t *testing.T, server, client *tls.Config) (serverErr, clientErr error) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { _ = listener.Close() }()
	done := make(chan error, 1)
	go func() {
		raw, err := listener.Accept()
		if err != nil {
			done <- err
			return
		}
		defer func() { _ = raw.Close() }()
		_ = raw.SetDeadline(time.Now().Add(10 * time.Second))
		connection := tls.Server(raw, server)
		if err = connection.Handshake(); err == nil {
			_, err = connection.Write([]byte{1})
		}
		done <- err
	}()
	raw, err := net.Dial("tcp", listener.Addr().String())
	require.NoError(t, err)
	defer func() { _ = raw.Close() }()
	_ = raw.SetDeadline(time.Now().Add(10 * time.Second))
	connection := tls.Client(raw, client)
	if clientErr = connection.Handshake(); clientErr == nil {
		_, clientErr = connection.Read(make([]byte, 1))
	}
	_ = raw.Close()
	return <-done, clientErr
}

func TestWhoMayTalkToWhom(t *testing.T) {
	ours, foreign := testAuthority(t, "c1"), testAuthority(t, "c2")
	twin := testAuthority(t, "c1") // another authority that uses our cluster's name
	controller1 := issue(t, ours, Request{Role: RoleController, ID: "k1"})
	controller2 := issue(t, ours, Request{Role: RoleController, ID: "k2"})
	hostA := issue(t, ours, Request{Role: RoleHost, ID: "a"})
	hostB := issue(t, ours, Request{Role: RoleHost, ID: "b"})
	api := issue(t, ours, Request{Role: RoleAPI, ID: "k1"})
	stranger := issue(t, foreign, Request{Role: RoleController, ID: "k2"})
	impostor := issue(t, twin, Request{Role: RoleController, ID: "k2"})
	expiredAuthority := *ours
	expiredAuthority.now = func() time.Time { return time.Now().Add(-48 * time.Hour) }
	expired := issue(t, &expiredAuthority, Request{Role: RoleController, ID: "k2", Lifetime: 24 * time.Hour})

	controllers := Expect{Cluster: "c1", Roles: []Role{RoleController}}
	hosts := Expect{Cluster: "c1", Roles: []Role{RoleHost}}
	exactly := func(e Expect, id string) Expect { e.ID = id; return e }
	noCertificate := &tls.Config{MinVersion: tls.VersionTLS13, InsecureSkipVerify: true} //nolint:gosec // a client that trusts anybody

	for _, c := range []struct {
		name           string
		server, client *tls.Config
		serverErr      error  // is
		serverText     string // contains
		clientErr      error
		clientText     string
	}{
		{name: "controllers", server: ServerConfig(controller1, ours.Pool(), controllers), client: ClientConfig(controller2, ours.Pool(), exactly(controllers, "k1"))},
		{name: "agent at its controller", server: ServerConfig(controller1, ours.Pool(), hosts), client: ClientConfig(hostA, ours.Pool(), controllers)},
		{name: "agent on the raft port", server: ServerConfig(controller1, ours.Pool(), controllers), client: ClientConfig(hostA, ours.Pool(), controllers), serverErr: ErrWrongRole, clientText: "bad certificate"},
		{name: "controller of a foreign cluster", server: ServerConfig(controller1, ours.Pool(), controllers), client: ClientConfig(stranger, ours.Pool(), controllers), serverText: "unknown authority", clientText: "tls"},
		{name: "foreign cluster's agent finds our controller", server: ServerConfig(controller1, ours.Pool(), controllers), client: ClientConfig(controller2, foreign.Pool(), controllers), clientText: "unknown authority", serverText: "bad certificate"},
		{name: "both authorities trusted, other cluster's name", server: ServerConfig(controller1, ours.Pool(), Expect{Cluster: "c9", Roles: []Role{RoleController}}), client: ClientConfig(controller2, ours.Pool(), controllers), serverErr: ErrForeignCluster, clientText: "bad certificate"},
		{name: "authority of the same name", server: ServerConfig(controller1, ours.Pool(), controllers), client: ClientConfig(impostor, ours.Pool(), controllers), serverText: "authority", clientText: "tls"},
		{name: "expired client", server: ServerConfig(controller1, ours.Pool(), controllers), client: ClientConfig(expired, ours.Pool(), controllers), serverText: "expired", clientText: "expired"},
		{name: "expired server", server: ServerConfig(expired, ours.Pool(), controllers), client: ClientConfig(controller1, ours.Pool(), controllers), clientText: "expired", serverText: "bad certificate"},
		{name: "no certificate", server: ServerConfig(controller1, ours.Pool(), controllers), client: noCertificate, serverText: "didn't provide a certificate", clientText: "certificate required"},
		{name: "API certificate as client", server: ServerConfig(controller1, ours.Pool(), controllers), client: ClientConfig(api, ours.Pool(), controllers), serverText: "incompatible key usage", clientText: "tls"},
		{name: "API certificate as controller", server: ServerConfig(api, ours.Pool(), controllers), client: ClientConfig(controller1, ours.Pool(), controllers), clientErr: ErrWrongRole, serverText: "bad certificate"},
		{name: "host A answers for host B", server: ServerConfig(hostA, ours.Pool(), hosts), client: ClientConfig(hostB, ours.Pool(), exactly(hosts, "b")), clientErr: ErrWrongID, serverText: "bad certificate"},
		{name: "host A where only B may", server: ServerConfig(hostB, ours.Pool(), exactly(hosts, "b")), client: ClientConfig(hostA, ours.Pool(), hosts), serverErr: ErrWrongID, clientText: "bad certificate"},
		{name: "TLS 1.2", server: ServerConfig(controller1, ours.Pool(), controllers), client: &tls.Config{MaxVersion: tls.VersionTLS12, InsecureSkipVerify: true}, serverText: "unsupported versions", clientText: "protocol version"}, //nolint:gosec // the point of the test
	} {
		t.Run(c.name, func(t *testing.T) {
			serverErr, clientErr := shake(t, c.server, c.client)
			check := func(who string, err, is error, text string) {
				switch {
				case is != nil:
					require.ErrorIs(t, err, is, who)
				case text != "":
					require.ErrorContains(t, err, text, who)
				default:
					require.NoError(t, err, who)
				}
			}
			check("server", serverErr, c.serverErr, c.serverText)
			check("client", clientErr, c.clientErr, c.clientText)
		})
	}
}

func TestPeerIdentityComesFromTheCertificate(t *testing.T) {
	authority := testAuthority(t, "c1")
	hostA := issue(t, authority, Request{Role: RoleHost, ID: "a"})
	state := &tls.ConnectionState{}
	_, err := PeerIdentity(state)
	require.ErrorIs(t, err, ErrNoCertificate)
	_, err = PeerIdentity(nil)
	require.ErrorIs(t, err, ErrNoCertificate)
	state.PeerCertificates = append(state.PeerCertificates, hostA.Leaf())
	identity, err := PeerIdentity(state)
	require.NoError(t, err)
	// What a message claims is compared with this, never believed.
	err = Expect{Cluster: "c1", Roles: []Role{RoleHost}, ID: "b"}.Check(identity)
	require.ErrorIs(t, err, ErrWrongID)
	require.ErrorContains(t, err, "it says host a, expected b")
}

func TestRenewedCertificateIsUsedWithoutRestart(t *testing.T) {
	authority := testAuthority(t, "c1")
	path := filepath.Join(t.TempDir(), "controller.pem")
	old, err := authority.Issue(Request{Role: RoleHost, ID: "h1"}) // as if issued for the wrong role
	require.NoError(t, err)
	require.NoError(t, WriteBundle(path, old))
	server, err := OpenKeyPair(path)
	require.NoError(t, err)
	controllers := Expect{Cluster: "c1", Roles: []Role{RoleController}}
	client := issue(t, authority, Request{Role: RoleController, ID: "k2"})
	serverConfig, clientConfig := ServerConfig(server, authority.Pool(), controllers), ClientConfig(client, authority.Pool(), controllers)

	_, err = shake(t, serverConfig, clientConfig)
	require.True(t, errors.Is(err, ErrWrongRole), "%v", err)
	renewed, err := authority.Issue(Request{Role: RoleController, ID: "k1"})
	require.NoError(t, err)
	require.NoError(t, WriteBundle(path, renewed))
	_, err = shake(t, serverConfig, clientConfig)
	require.NoError(t, err)
}
