package dnssec

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"errors"
	"fmt"
	"math/big"
)

// Algorithm numbers that the package verifies beside those that it signs
// with.
const (
	RSASHA256       = 8  // RFC 5702
	ECDSAP384SHA384 = 14 // RFC 6605
)

// errUnknownAlgorithm says that signatures of a key cannot be checked here.
var errUnknownAlgorithm = errors.New("algorithm not known here")

// verifier reports whether sig is one key's signature on message, whatever
// the length of sig.
type verifier func(message, sig []byte) bool

// newVerifier makes the verifier of a DNSKEY's algorithm and public key.
func newVerifier(algorithm uint8, public []byte) (verifier, error) {
	wrongLength := func(want int) (verifier, error) {
		return nil, fmt.Errorf("public key has %d bytes, algorithm %d has %d", len(public), algorithm, want)
	}
	switch algorithm {
	case RSASHA256:
		return rsaVerifier(public)
	case ECDSAP256SHA256:
		if len(public) != 64 {
			return wrongLength(64)
		}
		return ecdsaVerifier(elliptic.P256(), public, func(m []byte) []byte { h := sha256.Sum256(m); return h[:] })
	case ECDSAP384SHA384:
		if len(public) != 96 {
			return wrongLength(96)
		}
		return ecdsaVerifier(elliptic.P384(), public, func(m []byte) []byte { h := sha512.Sum384(m); return h[:] })
	case ED25519:
		if len(public) != ed25519.PublicKeySize {
			return wrongLength(ed25519.PublicKeySize)
		}
		return func(message, sig []byte) bool { return ed25519.Verify(public, message, sig) }, nil
	}
	return nil, errUnknownAlgorithm
}

func ecdsaVerifier(curve elliptic.Curve, public []byte, hash func([]byte) []byte) (verifier, error) {
	key, err := ecdsa.ParseUncompressedPublicKey(curve, append([]byte{4}, public...))
	if err != nil {
		return nil, errors.New("public key is not a point of the curve")
	}
	return func(message, sig []byte) bool {
		half := len(public) / 2
		return len(sig) == 2*half && ecdsa.Verify(key, hash(message), new(big.Int).SetBytes(sig[:half]), new(big.Int).SetBytes(sig[half:]))
	}, nil
}

// rsaVerifier reads a public key of RFC 3110, section 2: the length of the
// exponent in one byte, or in two after a zero, the exponent, the modulus.
func rsaVerifier(public []byte) (verifier, error) {
	if len(public) < 3 {
		return nil, errors.New("public key is cut off")
	}
	size, rest := int(public[0]), public[1:]
	if size == 0 {
		size, rest = int(binary.BigEndian.Uint16(rest)), rest[2:]
	}
	if size == 0 || size >= len(rest) {
		return nil, errors.New("public key is cut off")
	}
	e, n := new(big.Int).SetBytes(rest[:size]), new(big.Int).SetBytes(rest[size:])
	if e.BitLen() > 31 || e.Cmp(big.NewInt(3)) < 0 || e.Bit(0) == 0 {
		return nil, errors.New("public exponent is not an odd number from 3 to 2^31-1")
	}
	if n.BitLen() < 1024 || n.BitLen() > 4096 {
		return nil, fmt.Errorf("modulus has %d bits, algorithm 8 has 1024 to 4096 here", n.BitLen())
	}
	key := &rsa.PublicKey{N: n, E: int(e.Int64())}
	return func(message, sig []byte) bool {
		digest := sha256.Sum256(message)
		return rsa.VerifyPKCS1v15(key, crypto.SHA256, digest[:], sig) == nil
	}, nil
}
