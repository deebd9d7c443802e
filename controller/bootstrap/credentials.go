package bootstrap

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"

	"github.com/coloa-cloud/coloa/controller/internal/ca"
)

// Credentials are a controller's TLS configurations, by the names that controller.Options gives them. Certificates are read again when their files change.
type Credentials struct {
	Authority                   *x509.CertPool // trusts this cloud alone
	APITLS, HostTLS, PeerServer *tls.Config
	PeerClient                  func(id string) *tls.Config
	AgentClient                 func(host string) *tls.Config
}

// Credentials reads the certificates that the configuration names. Certificates of another cloud, or of another member, are refused.
func (configuration Controller) Credentials() (Credentials, error) {
	cluster := configuration.Cluster
	pool, err := readAuthority(configuration.Authority, cluster)
	if err != nil {
		return Credentials{}, err
	}
	own, err := openAs(configuration.Certificate, ca.Expect{Cluster: cluster, Roles: []ca.Role{ca.RoleController}, ID: configuration.ID})
	if err != nil {
		return Credentials{}, err
	}
	api, err := openAs(configuration.APICertificate, ca.Expect{Cluster: cluster, Roles: []ca.Role{ca.RoleAPI}})
	if err != nil {
		return Credentials{}, err
	}
	only := func(role ca.Role, id string) ca.Expect {
		return ca.Expect{Cluster: cluster, Roles: []ca.Role{role}, ID: id}
	}
	return Credentials{
		Authority:   pool,
		APITLS:      ca.APIServerConfig(api),
		HostTLS:     ca.ServerConfig(own, pool, only(ca.RoleHost, "")),
		PeerServer:  ca.ServerConfig(own, pool, only(ca.RoleController, "")),
		PeerClient:  func(id string) *tls.Config { return ca.ClientConfig(own, pool, only(ca.RoleController, id)) },
		AgentClient: func(host string) *tls.Config { return ca.ClientConfig(own, pool, only(ca.RoleHost, host)) },
	}, nil
}

func readAuthority(path, cluster string) (*x509.CertPool, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the certificate authority: %w", err)
	}
	certificates, err := ca.ParseCertificates(text)
	if err != nil {
		return nil, fmt.Errorf("read the certificate authority %s: %w", path, err)
	}
	pool := x509.NewCertPool()
	for _, certificate := range certificates {
		id, err := ca.ClusterOf(certificate)
		if err != nil {
			return nil, fmt.Errorf("read the certificate authority %s: %w", path, err)
		}
		if id != cluster {
			return nil, fmt.Errorf("the certificate authority %s belongs to cluster %s, the configuration says %s: %w", path, id, cluster, ca.ErrForeignCluster)
		}
		pool.AddCert(certificate)
	}
	return pool, nil
}

func openAs(path string, expect ca.Expect) (*ca.KeyPair, error) {
	pair, err := ca.OpenKeyPair(path)
	if err != nil {
		return nil, err
	}
	identity, err := ca.IdentityOf(pair.Leaf())
	if err == nil {
		err = expect.Check(identity)
	}
	if err != nil {
		return nil, fmt.Errorf("the certificate in %s cannot be used here: %w", path, err)
	}
	return pair, nil
}
