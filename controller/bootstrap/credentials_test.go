package bootstrap

import (
	"context"
	"crypto/tls"
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coloa-cloud/coloa/controller/internal/ca"
)

func credentials(t *testing.T) (Options, Controller, Credentials) {
	t.Helper()
	o := options(t)
	_, err := Init(o)
	require.NoError(t, err)
	configuration, err := readController(o.ConfigDir)
	require.NoError(t, err)
	made, err := configuration.Credentials()
	require.NoError(t, err)
	return o, configuration, made
}

// meet lets a client and a server shake hands and exchange a byte; it returns the client's error.
func meet(t *testing.T, server, client *tls.Config) error {
	t.Helper()
	listener, err := tls.Listen("tcp", "127.0.0.1:0", server)
	require.NoError(t, err)
	defer func() { _ = listener.Close() }()
	go func() {
		connection, err := listener.Accept()
		if err == nil {
			_, _ = connection.Write([]byte{1})
			_ = connection.Close()
		}
	}()
	dialer := tls.Dialer{NetDialer: &net.Dialer{}, Config: client}
	connection, err := dialer.DialContext(context.Background(), "tcp", listener.Addr().String())
	if err != nil {
		return err
	}
	defer func() { _ = connection.Close() }()
	_, err = connection.Read(make([]byte, 1))
	return err
}

func TestCredentialsFitTogether(t *testing.T) {
	o, configuration, c := credentials(t)
	require.NoError(t, meet(t, c.APITLS, &tls.Config{RootCAs: c.Authority, ServerName: o.Address, MinVersion: tls.VersionTLS13}))
	require.NoError(t, meet(t, c.PeerServer, c.PeerClient(configuration.ID)))
	require.ErrorIs(t, meet(t, c.PeerServer, c.PeerClient("another")), ca.ErrWrongID)
	require.Error(t, meet(t, c.HostTLS, c.PeerClient(configuration.ID))) // a controller is no host

	host, err := ca.OpenKeyPair(filepath.Join(o.ConfigDir, HostCertificate))
	require.NoError(t, err)
	agentClient := ca.ClientConfig(host, c.Authority, ca.Expect{Cluster: configuration.Cluster, Roles: []ca.Role{ca.RoleController}})
	agentServer := ca.ServerConfig(host, c.Authority, ca.Expect{Cluster: configuration.Cluster, Roles: []ca.Role{ca.RoleController}})
	id, err := certificateID(filepath.Join(o.ConfigDir, HostCertificate))
	require.NoError(t, err)
	require.NoError(t, meet(t, c.HostTLS, agentClient))
	require.NoError(t, meet(t, agentServer, c.AgentClient(id)))
	require.ErrorIs(t, meet(t, agentServer, c.AgentClient(configuration.ID)), ca.ErrWrongID)
}

func TestCredentialsOfOthersAreRefused(t *testing.T) {
	_, configuration, _ := credentials(t)
	_, foreign, _ := credentials(t)
	for name, change := range map[string]func(*Controller){
		"authority of another cloud":   func(c *Controller) { c.Authority = foreign.Authority },
		"certificate of another cloud": func(c *Controller) { c.Certificate = foreign.Certificate },
		"certificate of the API":       func(c *Controller) { c.Certificate = c.APICertificate },
		"certificate for the API":      func(c *Controller) { c.APICertificate = c.Certificate },
		"another member":               func(c *Controller) { c.ID = "another" },
		"no file":                      func(c *Controller) { c.Certificate += ".missing" },
		"no authority":                 func(c *Controller) { c.Authority += ".missing" },
	} {
		changed := configuration
		change(&changed)
		_, err := changed.Credentials()
		require.Error(t, err, name)
	}
	require.NoError(t, os.Chmod(configuration.Certificate, 0o644))
	_, err := configuration.Credentials()
	require.ErrorContains(t, err, "chmod 0600")
}
