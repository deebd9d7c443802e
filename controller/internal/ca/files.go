package ca

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Names of the authority's files in its directory.
const (
	AuthorityCertificateFile = "ca.pem"
	AuthorityKeyFile         = "ca.key"
)

// Save writes the authority into a directory, made when absent with mode 0700: its certificate (0644) and its key (0600), each whole or not at
// all. It refuses to replace the key of another authority.
func (a *Authority) Save(directory string) error {
	if old, err := LoadAuthority(directory); err == nil && !old.key.Equal(a.key) {
		return fmt.Errorf("%s already holds the %s; move it away first", directory, old)
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	key, err := a.KeyPEM()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(directory, 0o700); err != nil {
		return fmt.Errorf("make the authority's directory: %w", err)
	}
	if err := writeFile(filepath.Join(directory, AuthorityKeyFile), key, 0o600); err != nil {
		return err
	}
	return writeFile(filepath.Join(directory, AuthorityCertificateFile), a.CertificatePEM(), 0o644)
}

// LoadAuthority reads what Save wrote. The error wraps fs.ErrNotExist when there is no authority. A key that others may read is refused.
func LoadAuthority(directory string) (*Authority, error) {
	certificate, err := os.ReadFile(filepath.Join(directory, AuthorityCertificateFile))
	if err != nil {
		return nil, fmt.Errorf("load the authority: %w", err)
	}
	key, err := readSecret(filepath.Join(directory, AuthorityKeyFile))
	if err != nil {
		return nil, fmt.Errorf("load the authority: %w", err)
	}
	authority, err := ParseAuthority(certificate, key)
	if err != nil {
		return nil, fmt.Errorf("load the authority from %s: %w", directory, err)
	}
	return authority, nil
}

// WriteBundle writes certificate and key into one file with mode 0600, whole or not at all: one file, so that a reader never sees the new certificate
// with the old key.
func WriteBundle(path string, bundle Bundle) error { return writeFile(path, bundle.PEM(), 0o600) }

// WriteCertificate writes a public certificate with mode 0644, whole or not at all.
func WriteCertificate(path string, certificatePEM []byte) error {
	return writeFile(path, certificatePEM, 0o644)
}

// readSecret reads a file that only its owner may read.
func readSecret(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("%s holds a private key but has mode %04o: chmod 0600 it, and if others could have read it, issue a new one", path, info.Mode().Perm())
	}
	return os.ReadFile(path)
}

// writeFile replaces a file atomically and durably: a temporary file beside it, fsync, rename, fsync of the directory.
func writeFile(path string, content []byte, mode fs.FileMode) (err error) {
	directory := filepath.Dir(path)
	temporary, err := os.CreateTemp(directory, "."+filepath.Base(path)+".*") // CreateTemp makes it 0600
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	defer func() {
		if err != nil {
			_ = temporary.Close()
			_ = os.Remove(temporary.Name())
			err = fmt.Errorf("write %s: %w", path, err)
		}
	}()
	if _, err := temporary.Write(content); err != nil {
		return err
	}
	if err := temporary.Chmod(mode); err != nil {
		return err
	}
	if err := temporary.Sync(); err != nil {
		return err
	}
	if err := temporary.Close(); err != nil {
		return err
	}
	if err := os.Rename(temporary.Name(), path); err != nil {
		return err
	}
	parent, err := os.Open(directory)
	if err != nil {
		return err
	}
	defer func() { _ = parent.Close() }()
	return parent.Sync()
}
