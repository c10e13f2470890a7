// Package edverify verifies Ed25519 signatures of keys that sign often, such
// as those of the operators of a group: with a table of the key's multiples,
// which leaves a third of the work of crypto/ed25519. All is public.
package edverify

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha512"
	"fmt"
	"sync"

	"filippo.io/edwards25519"
)

// Key verifies signatures of one public key. It takes 100 kB, and as long to
// make as some six verifications of crypto/ed25519. It is safe for concurrent use.
type Key struct {
	encoded [ed25519.PublicKeySize]byte
	minus   *multiples // of the key's negative
}

// NewKey makes the table of a key. It takes the encodings of points that
// crypto/ed25519 takes; others are an error.
func NewKey(public ed25519.PublicKey) (*Key, error) {
	if len(public) != ed25519.PublicKeySize {
		return nil, fmt.Errorf("Ed25519 public key has %d bytes, expected %d", len(public), ed25519.PublicKeySize)
	}
	a, err := new(edwards25519.Point).SetBytes(public)
	if err != nil {
		return nil, fmt.Errorf("Ed25519 public key: %w", err)
	}
	return &Key{[ed25519.PublicKeySize]byte(public), newMultiples(a.Negate(a))}, nil
}

// generator has the multiples of B.
var generator = sync.OnceValue(func() *multiples { return newMultiples(edwards25519.NewGeneratorPoint()) })

// Verify reports whether sig, which is R and S, is the key's signature on msg
// (RFC 8032, section 5.1.7, without the cofactor): whether S is below the
// group's order and the encoding of S·B - k·A is R. That is the equation of
// crypto/ed25519, so it takes and refuses the same, also where keys or R have a
// part of low order or are not encoded canonically.
func (k *Key) Verify(msg, sig []byte) bool {
	if len(sig) != ed25519.SignatureSize {
		return false
	}
	s, err := new(edwards25519.Scalar).SetCanonicalBytes(sig[32:])
	if err != nil {
		return false
	}
	h := sha512.New()
	h.Write(sig[:32])
	h.Write(k.encoded[:])
	h.Write(msg)
	challenge, err := new(edwards25519.Scalar).SetUniformBytes(h.Sum(make([]byte, 0, sha512.Size)))
	if err != nil {
		return false // not reached: it has 64 bytes
	}
	sum := identity()
	sum.addMultiple(generator(), s)
	sum.addMultiple(k.minus, challenge)
	r := sum.encode()
	return bytes.Equal(r[:], sig[:32])
}
