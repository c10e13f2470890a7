package frost

import (
	"bytes"
	"crypto/sha512"
	"encoding/binary"
	"errors"

	"filippo.io/edwards25519"
)

// context is the contextString of RFC 9591, section 6.1.
const context25519 = "FROST-ED25519-SHA512-v1"

var (
	errEncoding = errors.New("no canonical encoding of a point of the curve")
	errIdentity = errors.New("the identity")
	errOrder    = errors.New("a point outside the group of prime order")
	errScalar   = errors.New("no canonical encoding of a scalar")
)

// minusOne is the group's order less one.
var minusOne = new(edwards25519.Scalar).Negate(one())

func one() *edwards25519.Scalar { return smallScalar(1) }

func smallScalar(n uint32) *edwards25519.Scalar {
	b := identifier(n)
	s, _ := new(edwards25519.Scalar).SetCanonicalBytes(b[:]) // any 32-bit number is canonical
	return s
}

// identifier is SerializeScalar of a party's evaluation point.
func identifier(x uint32) [32]byte {
	var b [32]byte
	binary.LittleEndian.PutUint32(b[:], x)
	return b
}

// decodeElement is DeserializeElement: 32 bytes, canonical, in the group of
// prime order and not its identity. Its time depends on b, which is public.
func decodeElement(b []byte) (*edwards25519.Point, error) {
	p, err := decodePoint(b)
	if err != nil {
		return nil, err
	}
	if p.Equal(edwards25519.NewIdentityPoint()) == 1 {
		return nil, errIdentity
	}
	// (q-1)·P = -P exactly when q·P is the identity.
	if times := new(edwards25519.Point).VarTimeDoubleScalarBaseMult(minusOne, p, new(edwards25519.Scalar)); times.Negate(times).Equal(p) != 1 {
		return nil, errOrder
	}
	return p, nil
}

// decodePoint is decodeElement for what has been decoded before.
func decodePoint(b []byte) (*edwards25519.Point, error) {
	p, err := new(edwards25519.Point).SetBytes(b)
	// SetBytes takes y not below 2²⁵⁵-19, and a sign for x = 0, too.
	if err != nil || !bytes.Equal(p.Bytes(), b) {
		return nil, errEncoding
	}
	return p, nil
}

// decodeScalar is DeserializeScalar: 32 bytes, below the group's order.
func decodeScalar(b []byte) (*edwards25519.Scalar, error) {
	s, err := new(edwards25519.Scalar).SetCanonicalBytes(b)
	if err != nil {
		return nil, errScalar
	}
	return s, nil
}

// hashScalar is SHA-512 reduced by the group's order: H2 without a prefix, H1
// and H3 with theirs.
func hashScalar(parts ...[]byte) *edwards25519.Scalar {
	d := hash(parts...)
	s, _ := new(edwards25519.Scalar).SetUniformBytes(d[:]) // of 64 bytes
	clear(d[:])
	return s
}

func hash(parts ...[]byte) [64]byte {
	h := sha512.New()
	for _, p := range parts {
		_, _ = h.Write(p)
	}
	return [64]byte(h.Sum(nil))
}

func tag(name string) []byte { return []byte(context25519 + name) }

// The prefixes of H1, H3, H4 and H5 (RFC 9591, section 6.1), and one of our
// own, for proofs of possession.
var (
	tagRho   = tag("rho")
	tagNonce = tag("nonce")
	tagMsg   = tag("msg")
	tagCom   = tag("com")
	tagProof = tag("dkg-proof")
)

// lagrange is derive_interpolating_value: the coefficient at 0 of the share at
// xs[i] among xs, which are different and not 0.
func lagrange(xs []uint32, i int) *edwards25519.Scalar {
	num, den := one(), one()
	own := smallScalar(xs[i])
	for j, x := range xs {
		if j != i {
			other := smallScalar(x)
			num.Multiply(num, other)
			den.Multiply(den, new(edwards25519.Scalar).Subtract(other, own))
		}
	}
	return num.Multiply(num, den.Invert(den))
}
