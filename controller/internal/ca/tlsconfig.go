package ca

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"time"
)

// ServerConfig is TLS 1.3 for a server whose clients must show a certificate of this authority that is what was expected. Others are refused during the
// handshake. Set NextProtos on the result as needed.
func ServerConfig(own *KeyPair, authority *x509.CertPool, expect Expect) *tls.Config {
	return &tls.Config{
		MinVersion:     tls.VersionTLS13,
		GetCertificate: own.getCertificate,
		ClientAuth:     tls.RequireAndVerifyClientCert,
		ClientCAs:      authority,
		// A resumed session would skip the certificate's expiry; handshakes between our parts are rare enough.
		SessionTicketsDisabled: true,
		VerifyConnection:       func(state tls.ConnectionState) error { return checkPeer(&state, expect) },
	}
}

// ClientConfig is TLS 1.3 for a client whose server must show a certificate of this authority that is what was expected: role, cluster and, where given,
// the exact id. Host names are not looked at: our parts are known by who they are, not by where they are.
func ClientConfig(own *KeyPair, authority *x509.CertPool, expect Expect) *tls.Config {
	config := &tls.Config{
		MinVersion:           tls.VersionTLS13,
		GetClientCertificate: own.getClientCertificate,
		// This turns off the check of the host name, and with it all others; VerifyConnection makes them instead, on every connection.
		InsecureSkipVerify: true, //nolint:gosec // the chain is verified in VerifyConnection
	}
	config.VerifyConnection = func(state tls.ConnectionState) error {
		if err := verifyChain(&state, authority, config.Time); err != nil {
			return err
		}
		return checkPeer(&state, expect)
	}
	return config
}

// APIServerConfig is TLS 1.3 for the server that browsers and the CLI talk to. It asks for no client certificate: people sign in.
func APIServerConfig(own *KeyPair) *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS13, GetCertificate: own.getCertificate}
}

func verifyChain(state *tls.ConnectionState, authority *x509.CertPool, clock func() time.Time) error {
	if len(state.PeerCertificates) == 0 {
		return ErrNoCertificate
	}
	now := time.Now
	if clock != nil {
		now = clock
	}
	_, err := state.PeerCertificates[0].Verify(x509.VerifyOptions{
		Roots:       authority,
		CurrentTime: now(),
		KeyUsages:   []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	if err != nil {
		return fmt.Errorf("verify the server's certificate: %w", err)
	}
	return nil
}

func checkPeer(state *tls.ConnectionState, expect Expect) error {
	identity, err := PeerIdentity(state)
	if err != nil {
		return err
	}
	return expect.Check(identity)
}
