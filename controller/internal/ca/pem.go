package ca

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
)

const (
	typeCertificate = "CERTIFICATE"
	typeKey         = "PRIVATE KEY"
	typeRequest     = "CERTIFICATE REQUEST"

	hidden = "(private key, not shown)"
)

// KeyPEM is a private key in PEM (PKCS #8). It hides itself from fmt, slog and JSON.
type KeyPEM []byte

// Format hides the key from every verb of fmt.
func (KeyPEM) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(hidden)) }

// LogValue hides the key from slog.
func (KeyPEM) LogValue() slog.Value { return slog.StringValue(hidden) }

// MarshalJSON refuses: a private key has no business in a message.
func (KeyPEM) MarshalJSON() ([]byte, error) {
	return nil, errors.New("a private key must not be put into JSON")
}

// Bundle is a certificate and its private key, both in PEM.
type Bundle struct {
	Certificate []byte
	Key         KeyPEM
}

// PEM is the certificate followed by the key: what WriteBundle writes and OpenKeyPair reads.
func (b Bundle) PEM() []byte { return append(bytes.Clone(b.Certificate), b.Key...) }

// NewSigningRequest makes a key, which stays with the caller, and the request that Authority.Sign answers with a certificate.
func NewSigningRequest() (key KeyPEM, signingRequestPEM []byte, err error) {
	private, err := newKey()
	if err != nil {
		return nil, nil, err
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, private)
	if err != nil {
		return nil, nil, fmt.Errorf("make a signing request: %w", err)
	}
	key, err = encodeKey(private)
	if err != nil {
		return nil, nil, err
	}
	return key, pem.EncodeToMemory(&pem.Block{Type: typeRequest, Bytes: der}), nil
}

func parseSigningRequest(text []byte) (*ecdsa.PublicKey, error) {
	block, rest := pem.Decode(text)
	if block == nil || block.Type != typeRequest || len(bytes.TrimSpace(rest)) != 0 {
		return nil, errors.New("the signing request is not one PEM block of a CERTIFICATE REQUEST")
	}
	request, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("read the signing request: %w", err)
	}
	if err := request.CheckSignature(); err != nil {
		return nil, fmt.Errorf("the signing request is not signed by its own key: %w", err)
	}
	public, ok := request.PublicKey.(*ecdsa.PublicKey)
	if !ok || public.Curve != elliptic.P256() {
		return nil, errors.New("the signing request's key is not ECDSA P-256")
	}
	return public, nil
}

// ParseCertificates reads every certificate of a PEM text and skips other blocks, such as the key in a bundle. At least one must be there.
func ParseCertificates(text []byte) ([]*x509.Certificate, error) {
	var out []*x509.Certificate
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != typeCertificate {
			continue
		}
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("read the certificate: %w", err)
		}
		out = append(out, certificate)
	}
	if len(out) == 0 {
		return nil, errors.New("there is no certificate in the text: expected a PEM block CERTIFICATE")
	}
	return out, nil
}

func parseCertificate(text []byte) (*x509.Certificate, error) {
	all, err := ParseCertificates(text)
	if err != nil {
		return nil, err
	}
	return all[0], nil
}

func parseKey(text []byte) (*ecdsa.PrivateKey, error) {
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != typeKey {
			continue
		}
		key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("read the private key: %w", err)
		}
		if key, ok := key.(*ecdsa.PrivateKey); ok {
			return key, nil
		}
		return nil, errors.New("the private key is not an ECDSA key")
	}
	return nil, errors.New("there is no private key in the text: expected a PEM block PRIVATE KEY")
}

func encodeCertificate(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: typeCertificate, Bytes: der})
}

func encodeKey(key *ecdsa.PrivateKey) (KeyPEM, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode the key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: typeKey, Bytes: der}), nil
}
