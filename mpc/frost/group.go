package frost

import (
	"bytes"
	"crypto/rand"
	"crypto/sha512"
	"encoding/binary"
	"errors"
	mathbits "math/bits"

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
	switch {
	case err != nil:
		return nil, err
	case isIdentity(p):
		return nil, errIdentity
	case !primeOrder(p):
		return nil, errOrder
	}
	return p, nil
}

func isIdentity(p *edwards25519.Point) bool { return p.Equal(edwards25519.NewIdentityPoint()) == 1 }

// primeOrder reports whether q·P is the identity: whether (q-1)·P = -P.
func primeOrder(p *edwards25519.Point) bool {
	times := new(edwards25519.Point).VarTimeDoubleScalarBaseMult(minusOne, p, new(edwards25519.Scalar))
	return times.Negate(times).Equal(p) == 1
}

// orderSums is the number of sums that stand for all points of a batch.
const orderSums = 64

// checkElements is decodeElement of many, flat, at a fraction of the cost:
// it returns nothing but the first that is refused, and why. Points are each
// added to a random half of 64 sums. A part of low order stays in a sum with a
// chance of one half at least, so that all sums are of prime order with one of
// 2⁻⁶⁴ if some point is not.
func checkElements(b []byte) (at int, err error) {
	n := len(b) / 32
	if n <= orderSums {
		return checkEach(b)
	}
	random := make([]byte, orderSums/8*n)
	_, _ = rand.Read(random) // never fails
	var sums [orderSums]*edwards25519.Point
	for j := range sums {
		sums[j] = edwards25519.NewIdentityPoint()
	}
	for i := range n {
		p, err := decodePoint(b[32*i : 32*i+32])
		switch {
		case err != nil:
			return i, err
		case isIdentity(p):
			return i, errIdentity
		}
		bits := binary.LittleEndian.Uint64(random[8*i:])
		for ; bits != 0; bits &= bits - 1 {
			sum := sums[mathbits.TrailingZeros64(bits)]
			sum.Add(sum, p)
		}
	}
	for _, sum := range sums {
		if !primeOrder(sum) {
			return checkEach(b)
		}
	}
	return 0, nil
}

// checkEach is checkElements one by one.
func checkEach(b []byte) (at int, err error) {
	for at := 0; 32*at < len(b); at++ {
		if _, err := decodeElement(b[32*at : 32*at+32]); err != nil {
			return at, err
		}
	}
	return 0, nil
}

// decodePoint decodes what has been through decodeElement before, or goes on to
// be checked as it does. What it does not see is a sign where x = 0: only at the
// identity and the point of order 2.
func decodePoint(b []byte) (*edwards25519.Point, error) {
	p, err := new(edwards25519.Point).SetBytes(b)
	if err != nil || !reduced(b) {
		return nil, errEncoding
	}
	return p, nil
}

// reduced reports whether the y of 32 bytes is below 2²⁵⁵-19, which SetBytes
// does not ask for.
func reduced(b []byte) bool {
	return b[0] < 0xed || b[31]&0x7f != 0x7f || !bytes.Equal(b[1:31], bytes.Repeat([]byte{0xff}, 30))
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
