package natsnet

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"time"

	"github.com/nats-io/nkeys"

	"zonesigner/mpc"
	"zonesigner/mpc/edverify"
)

// An operator's identity is one Ed25519 key, written as a user nkey. It signs
// four kinds of text, told apart by how they begin: TLS 1.3 handshakes (64
// spaces, RFC 8446, section 4.4.3), ledgers, statements, and the nonces by
// which NATS servers authenticate clients. The last are bare bytes that an
// untrusted server chooses, so only what looks like a nonce is signed.

const statementContext = "zonesigner statement v1\x00"

// publicNKey is a user's public nkey ("U..."), by which NATS servers know it.
func publicNKey(key ed25519.PublicKey) (string, error) {
	text, err := nkeys.Encode(nkeys.PrefixByteUser, key)
	return string(text), err
}

// NewIdentity signs statements with self's key and verifies the peers'. Every
// text is signed behind a prefix of its own, so that no statement can pass
// for a ledger, a TLS handshake or a NATS nonce.
func NewIdentity(self mpc.PartyID, key ed25519.PrivateKey, peers []Peer) mpc.Identity {
	keys := map[mpc.PartyID]*edverify.Key{}
	for _, p := range peers {
		if k, err := edverify.NewKey(p.Key); err == nil {
			keys[p.ID] = k
		}
	}
	return identity{self: self, key: key, keys: keys}
}

type identity struct {
	self mpc.PartyID
	key  ed25519.PrivateKey
	keys map[mpc.PartyID]*edverify.Key // without those that are none
}

func (i identity) Self() mpc.PartyID { return i.self }

func (i identity) Sign(msg []byte) []byte {
	return ed25519.Sign(i.key, append([]byte(statementContext), msg...))
}

func (i identity) Verify(from mpc.PartyID, msg, sig []byte) bool {
	key, ok := i.keys[from]
	return ok && key.Verify(append([]byte(statementContext), msg...), sig)
}

// String keeps the key out of logs.
func (i identity) String() string { return "identity of operator " + string(i.self) }

// GoString keeps the key out of logs.
func (i identity) GoString() string { return i.String() }

// nonceSigner signs the nonce of a NATS server. Servers send 15 base64url
// letters; anything that could be a text of another kind is refused.
func nonceSigner(key ed25519.PrivateKey, any bool) func([]byte) ([]byte, error) {
	return func(nonce []byte) ([]byte, error) {
		letter := func(c byte) bool {
			return c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-' || c == '_'
		}
		wrong := slices.ContainsFunc(nonce, func(c byte) bool { return !letter(c) })
		if (wrong || len(nonce) == 0 || len(nonce) > 43) && !any {
			return nil, errors.New("the NATS server's nonce is not a nonce, nothing is signed")
		}
		return ed25519.Sign(key, nonce), nil
	}
}

// certificate is the operator's self-signed certificate. Peers look at its
// key alone, so its dates mean nothing.
func certificate(self mpc.PartyID, key ed25519.PrivateKey) (tls.Certificate, error) {
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: string(self)},
		NotBefore:    time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC),
		NotAfter:     time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("certificate of operator %s: %w", self, err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}

var errOtherKey = errors.New("certificate of another key")

// pinned is a TLS configuration that knows the other side by its key alone.
// It serves both roles.
func pinned(cert tls.Certificate, allowed func(ed25519.PublicKey) bool) *tls.Config {
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		Certificates:           []tls.Certificate{cert},
		ClientAuth:             tls.RequireAnyClientCert,
		InsecureSkipVerify:     true, // no names and no CA: the key below is the whole identity
		SessionTicketsDisabled: true,
		VerifyPeerCertificate: func(raw [][]byte, _ [][]*x509.Certificate) error {
			if len(raw) != 1 {
				return fmt.Errorf("%d certificates, expected one", len(raw))
			}
			c, err := x509.ParseCertificate(raw[0])
			if err != nil {
				return fmt.Errorf("certificate: %w", err)
			}
			key, ok := c.PublicKey.(ed25519.PublicKey)
			if !ok || !allowed(key) {
				return errOtherKey
			}
			return nil
		},
	}
}
