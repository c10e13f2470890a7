package localkeys

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"

	"zonesigner/dnssec"
)

// TokenOptions say where a PKCS #11 token is.
type TokenOptions struct {
	Module   string // the file of the token's library
	Label    string // the token's; empty: the only one
	PIN      string // of its user; secret
	Sessions int    // at most so many signatures are made side by side

	given int // tests only: no more sessions than that are to be had; 0: as many as are wanted
}

// Format keeps every printing verb from the PIN.
func (o TokenOptions) Format(f fmt.State, _ rune) {
	_, _ = fmt.Fprintf(f, "token %q of %s", o.Label, o.Module)
}

// What a token says of a public key, by the names of PKCS #11's attributes.
type tokenKey struct {
	rsa             bool
	edwards         bool
	modulus, e      []byte // CKA_MODULUS, CKA_PUBLIC_EXPONENT
	ecParams, point []byte // CKA_EC_PARAMS, CKA_EC_POINT
}

var (
	oidP256 = asn1.ObjectIdentifier{1, 2, 840, 10045, 3, 1, 7} // RFC 5480, section 2.1.1.1
	oidP384 = asn1.ObjectIdentifier{1, 3, 132, 0, 34}
)

// public is the key for the standard library, and its algorithm.
func (k tokenKey) public() (crypto.PublicKey, uint8, error) {
	if k.rsa {
		n, e := new(big.Int).SetBytes(k.modulus), new(big.Int).SetBytes(k.e)
		if n.Sign() == 0 || e.BitLen() > 31 {
			return nil, 0, errors.New("an RSA key whose public half is malformed")
		}
		return &rsa.PublicKey{N: n, E: int(e.Int64())}, dnssec.RSASHA256, nil
	}
	// The point is an OCTET STRING in DER (PKCS #11 v2.40, section 2.3.3); some
	// tokens leave the wrapping out.
	point := k.point
	var inner []byte
	if rest, err := asn1.Unmarshal(point, &inner); err == nil && len(rest) == 0 {
		point = inner
	}
	if k.edwards {
		if len(point) != ed25519.PublicKeySize {
			return nil, 0, errors.New("an Edwards key that is not Ed25519")
		}
		return ed25519.PublicKey(point), dnssec.ED25519, nil
	}
	var oid asn1.ObjectIdentifier
	if _, err := asn1.Unmarshal(k.ecParams, &oid); err != nil {
		return nil, 0, errors.New("an EC key whose curve is not named")
	}
	curve, algorithm := elliptic.P256(), uint8(dnssec.ECDSAP256SHA256)
	switch {
	case oid.Equal(oidP384):
		curve, algorithm = elliptic.P384(), dnssec.ECDSAP384SHA384
	case !oid.Equal(oidP256):
		return nil, 0, fmt.Errorf("an EC key on the curve %s, want P-256 or P-384", oid)
	}
	public, err := ecdsa.ParseUncompressedPublicKey(curve, point)
	if err != nil {
		return nil, 0, errors.New("an EC key whose public half is malformed")
	}
	return public, algorithm, nil
}

// record is a public key as a DNSKEY has it.
func record(public crypto.PublicKey) ([]byte, error) {
	switch k := public.(type) {
	case *rsa.PublicKey:
		e := big.NewInt(int64(k.E)).Bytes()
		return append(append([]byte{byte(len(e))}, e...), k.N.Bytes()...), nil
	case *ecdsa.PublicKey:
		b, err := k.Bytes()
		if err != nil {
			return nil, err
		}
		return b[1:], nil
	case ed25519.PublicKey:
		return k, nil
	}
	return nil, errors.New("a key of no known kind")
}

// splitTokenSpec reads ROLE:LABEL. A token does not know what a key is for.
func splitTokenSpec(spec string) (role, label string, err error) {
	role, label = splitRole(spec)
	if role == "" || role == rolePublish || label == "" {
		return "", "", fmt.Errorf("%q: want ksk:LABEL, zsk:LABEL or csk:LABEL, for a token does not know what a key is for", spec)
	}
	return role, label, nil
}

func newTokenKey(public crypto.PublicKey, algorithm uint8, role, source string, s signer) (*Key, error) {
	raw, err := record(public)
	if err != nil {
		return nil, err
	}
	k := &Key{Source: source, signer: s, Key: dnssec.Key{Flags: 257, CSK: role == roleCSK, Algorithm: algorithm, PublicKey: raw, State: dnssec.Active}}
	if role == roleZSK {
		k.Flags = 256
	}
	k.ID = keyID(k.Key)
	if err := k.Validate(); err != nil {
		return nil, fmt.Errorf("%s: %w", source, err)
	}
	return k, nil
}
