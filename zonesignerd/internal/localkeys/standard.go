package localkeys

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"

	"zonesigner/dnssec"
)

// standard signs with a key of the standard library: Ed25519 and RSA with
// PKCS #1 v1.5 are deterministic by themselves, ECDSA is by RFC 6979.
type standard struct {
	key  crypto.Signer
	size int // of a signature
}

func (k *standard) sign(n int, message func(i int) []byte, sigs []byte) error {
	for i := range n {
		m := message(i)
		sig, err := k.one(m)
		if err != nil {
			return err
		}
		if len(sig) != k.size || !verifies(k.key.Public(), m, sig) {
			return errNotTrue
		}
		copy(sigs[i*k.size:], sig)
	}
	return nil
}

func (k *standard) one(message []byte) ([]byte, error) {
	switch key := k.key.(type) {
	case ed25519.PrivateKey:
		return ed25519.Sign(key, message), nil
	case *rsa.PrivateKey:
		digest := sha256.Sum256(message)
		return rsa.SignPKCS1v15(nil, key, crypto.SHA256, digest[:])
	case *ecdsa.PrivateKey:
		digest := sha512.Sum384(message)
		der, err := key.Sign(nil, digest[:], crypto.SHA384)
		if err != nil {
			return nil, err
		}
		var rs struct{ R, S *big.Int }
		if _, err := asn1.Unmarshal(der, &rs); err != nil {
			return nil, err
		}
		out := make([]byte, k.size)
		rs.R.FillBytes(out[:k.size/2])
		rs.S.FillBytes(out[k.size/2:])
		return out, nil
	}
	return nil, errors.New("a key of no known kind")
}

func (k *standard) verify(n int, signed func(i int) (message []byte, sig string)) (bad []int, err error) {
	return verifyAll(k.key.Public(), n, signed), nil
}

func verifyAll(public crypto.PublicKey, n int, signed func(i int) (message []byte, sig string)) (bad []int) {
	for i := range n {
		if message, sig := signed(i); !verifies(public, message, []byte(sig)) {
			bad = append(bad, i)
		}
	}
	return bad
}

// verifies checks a signature of algorithm 8, 13, 14 or 15, by the kind of the
// key.
func verifies(public crypto.PublicKey, message, sig []byte) bool {
	switch key := public.(type) {
	case ed25519.PublicKey:
		return ed25519.Verify(key, message, sig)
	case *rsa.PublicKey:
		digest := sha256.Sum256(message)
		return rsa.VerifyPKCS1v15(key, crypto.SHA256, digest[:], sig) == nil
	case *ecdsa.PublicKey:
		half := (key.Curve.Params().BitSize + 7) / 8
		if len(sig) != 2*half {
			return false
		}
		r, s := new(big.Int).SetBytes(sig[:half]), new(big.Int).SetBytes(sig[half:])
		if half == 32 {
			digest := sha256.Sum256(message)
			return ecdsa.Verify(key, digest[:], r, s)
		}
		digest := sha512.Sum384(message)
		return ecdsa.Verify(key, digest[:], r, s)
	}
	return false
}

// newSigner is what signs with a private key of a file.
func newSigner(private crypto.Signer, record dnssec.Key, number []byte) (signer, error) {
	if record.Algorithm == dnssec.ECDSAP256SHA256 {
		return newECDSAP256(number, record.PublicKey)
	}
	size := record.SignatureSize()
	if size == 0 {
		return nil, fmt.Errorf("algorithm %d has no signatures", record.Algorithm)
	}
	return &standard{private, size}, nil
}
