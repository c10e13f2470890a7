package dnssec

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"math/big"
)

// ecdsaKey reads an algorithm 13 public key, which must be on the curve.
func ecdsaKey(xy []byte) (*ecdsa.PublicKey, error) {
	k, err := ecdsa.ParseUncompressedPublicKey(p256, append([]byte{4}, xy...))
	if err != nil {
		return nil, errors.New("public key is not a point of P-256")
	}
	return k, nil
}

// verifier checks signatures of one DNSKEY.
type verifier struct {
	algorithm uint8
	ec        *ecdsa.PublicKey
	ed        ed25519.PublicKey
}

func newVerifier(algorithm uint8, public []byte) (verifier, error) {
	v := verifier{algorithm: algorithm}
	switch {
	case algorithm == ECDSAP256SHA256 && len(public) == 64:
		var err error
		v.ec, err = ecdsaKey(public)
		return v, err
	case algorithm == ED25519 && len(public) == ed25519.PublicKeySize:
		v.ed = ed25519.PublicKey(public)
		return v, nil
	}
	return v, errors.New("algorithm or key length not supported")
}

func (v verifier) verify(message []byte, sig *[64]byte) bool {
	if v.algorithm == ED25519 {
		return ed25519.Verify(v.ed, message, sig[:])
	}
	digest := sha256.Sum256(message)
	return ecdsa.Verify(v.ec, digest[:], new(big.Int).SetBytes(sig[:32]), new(big.Int).SetBytes(sig[32:]))
}
