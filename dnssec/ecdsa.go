package dnssec

import (
	"crypto/ecdsa"
	"errors"
)

// ecdsaKey reads an algorithm 13 public key, which must be on the curve.
func ecdsaKey(xy []byte) (*ecdsa.PublicKey, error) {
	k, err := ecdsa.ParseUncompressedPublicKey(p256, append([]byte{4}, xy...))
	if err != nil {
		return nil, errors.New("public key is not a point of P-256")
	}
	return k, nil
}
