package bootstrap

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/coloa-cloud/coloa/controller/internal/ca"
)

// certificates are the bundles of the first server by their file names.
func certificates(options Options, host string) map[string]ca.Request {
	names := []string{"localhost", strings.ToLower(options.HostName)}
	addresses := []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.IPv6Loopback()}
	if address, err := netip.ParseAddr(options.Address); err == nil {
		addresses = append(addresses, address.Unmap())
	} else {
		names = append(names, strings.ToLower(options.Address))
	}
	slices.Sort(names)
	slices.SortFunc(addresses, netip.Addr.Compare)
	names, addresses = slices.Compact(names), slices.Compact(addresses)
	id := controllerID(options.HostName)
	return map[string]ca.Request{
		ControllerCertificate: {Role: ca.RoleController, ID: id},
		APICertificate:        {Role: ca.RoleAPI, ID: id, DNSNames: names, Addresses: addresses},
		HostCertificate:       {Role: ca.RoleHost, ID: host},
	}
}

// RenewCertificates issues anew each of this server's certificates of which less than a third of its life is left, with the same names. Whoever uses
// them reads the files again by itself. It returns the names of the files renewed. On a server without the authority's key it does nothing.
func RenewCertificates(configDir string, now time.Time) ([]string, error) {
	authority, err := ca.LoadAuthority(filepath.Join(configDir, AuthorityDir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var renewed []string
	for _, name := range []string{ControllerCertificate, APICertificate, HostCertificate} {
		path := filepath.Join(configDir, name)
		pair, err := ca.OpenKeyPair(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return renewed, err
		}
		leaf := pair.Leaf()
		if !ca.NeedsRenewal(leaf, now) {
			continue
		}
		identity, err := ca.IdentityOf(leaf)
		if err != nil {
			return renewed, fmt.Errorf("renew %s: %w", path, err)
		}
		if identity.Cluster != authority.Cluster() {
			return renewed, fmt.Errorf("renew %s: %w", path, ca.ErrForeignCluster)
		}
		var addresses []netip.Addr
		for _, raw := range leaf.IPAddresses {
			if address, ok := netip.AddrFromSlice(raw); ok {
				addresses = append(addresses, address.Unmap())
			}
		}
		bundle, err := authority.Issue(ca.Request{Role: identity.Role, ID: identity.ID, DNSNames: leaf.DNSNames, Addresses: addresses})
		if err != nil {
			return renewed, fmt.Errorf("renew %s: %w", path, err)
		}
		if err := ca.WriteBundle(path, bundle); err != nil {
			return renewed, err
		}
		renewed = append(renewed, name)
	}
	return renewed, nil
}

// certificateID is the id in the name of a certificate.
func certificateID(path string) (string, error) {
	pair, err := ca.OpenKeyPair(path)
	if err != nil {
		return "", err
	}
	identity, err := ca.IdentityOf(pair.Leaf())
	if err != nil {
		return "", fmt.Errorf("read %s: %w", path, err)
	}
	return identity.ID, nil
}
