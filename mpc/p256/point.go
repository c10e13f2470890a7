package p256

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"errors"
	"fmt"
	"io"
	"math/bits"
)

// Point is a point of P-256. The zero value is the identity. Points are
// values; compare them with Equal, for one point has many representations.
//
// Add, Sub, Neg, Equal, BaseMult and Mult take the same time for all values.
type Point struct {
	x, y, z field // homogeneous: x/z and y/z; z = 0 is the identity
}

// affine is a point other than the identity, as x and y.
type affine struct{ x, y field }

// Generator returns G.
func Generator() Point { return Point{genX, genY, fieldOne} }

// Add returns p + q by the complete formulas of Renes, Costello and Batina,
// "Complete addition formulas for prime order elliptic curves" (EUROCRYPT
// 2016), algorithm 4, which have no exceptional cases.
func (p Point) Add(q Point) Point {
	p, q = p.wellFormed(), q.wellFormed()
	xx, yy, zz := p.x.mul(q.x), p.y.mul(q.y), p.z.mul(q.z)
	xy := p.x.add(p.y).mul(q.x.add(q.y)).sub(xx).sub(yy) // x₁y₂ + x₂y₁
	yz := p.y.add(p.z).mul(q.y.add(q.z)).sub(yy).sub(zz) // y₁z₂ + y₂z₁
	xz := p.x.add(p.z).mul(q.x.add(q.z)).sub(xx).sub(zz) // x₁z₂ + x₂z₁
	zz3 := triple(zz)
	u := triple(xz.sub(curveB.mul(zz)))
	v := triple(curveB.mul(xz).sub(zz3).sub(xx))
	w := triple(xx).sub(zz3)
	minus, plus := yy.sub(u), yy.add(u)
	return Point{
		xy.mul(plus).sub(yz.mul(v)),
		plus.mul(minus).add(w.mul(v)),
		yz.mul(minus).add(xy.mul(w)),
	}
}

func triple(x field) field { return x.add(x).add(x) }

// wellFormed turns the zero value into the identity that the formulas know,
// which has y ≠ 0.
func (p Point) wellFormed() Point {
	p.y = chooseField(p.z.isZero(), fieldOne, p.y)
	return p
}

// Double returns 2·p.
func (p Point) Double() Point { return p.Add(p) }

// Neg returns -p.
func (p Point) Neg() Point { return Point{p.x, p.y.neg(), p.z} }

// Sub returns p - q.
func (p Point) Sub(q Point) Point { return p.Add(q.Neg()) }

// IsIdentity reports whether p is the identity.
func (p Point) IsIdentity() bool { return p.z.isZero() == 1 }

// Equal reports whether p and q are the same point, in constant time.
func (p Point) Equal(q Point) bool {
	p0, q0 := p.z.isZero(), q.z.isZero()
	sameX := p.x.mul(q.z).equal(q.x.mul(p.z))
	sameY := p.y.mul(q.z).equal(q.y.mul(p.z))
	return p0&q0|(1^p0)&(1^q0)&sameX&sameY == 1
}

// MultSmall returns k·p in time that depends on k, which must be public.
func (p Point) MultSmall(k int64) Point {
	size := uint64(k)
	if k < 0 {
		p, size = p.Neg(), -size
	}
	if size == 0 {
		return Point{}
	}
	sum := p
	for i := bits.Len64(size) - 2; i >= 0; i-- {
		sum = sum.Double()
		if size>>i&1 == 1 {
			sum = sum.Add(p)
		}
	}
	return sum
}

// X returns the affine x mod n, the r of an ECDSA signature. The identity is
// an error. For many points, Normalize them first.
func (p Point) X() (Scalar, error) {
	a, ok := p.affine()
	if !ok {
		return Scalar{}, errors.New("the identity has no x coordinate")
	}
	return a.r(), nil
}

// r is x mod n.
func (a affine) r() Scalar { return Scalar{toMontgomery(a.x.canonical())} }

// affine reports false for the identity. Whether p is normalized, which is no
// secret, shows in its time.
func (p Point) affine() (affine, bool) {
	if p.IsIdentity() {
		return affine{}, false
	}
	if p.z != fieldOne {
		inverse := p.z.inverse()
		return affine{p.x.mul(inverse), p.y.mul(inverse)}, true
	}
	return affine{p.x, p.y}, true
}

// Normalize makes the representation of each point affine, in place and at one
// field inversion for all, so that X, Bytes and AppendPoints are cheap
// afterwards. Identities stay.
func Normalize(ps []Point) {
	zs := make([]field, 2*len(ps))
	zs, scratch := zs[:len(ps)], zs[len(ps):]
	done := true
	for i, p := range ps {
		zs[i] = chooseField(p.z.isZero(), fieldOne, p.z)
		done = done && zs[i] == fieldOne
	}
	if done {
		return
	}
	invertFields(zs, scratch) // none is zero
	for i, p := range ps {
		z := chooseField(p.z.isZero(), field{}, fieldOne)
		ps[i] = Point{p.x.mul(zs[i]), p.y.mul(zs[i]), z}
	}
}

// normalized returns ps normalized, in memory of its own.
func normalized(ps []Point) []Point {
	out := make([]Point, len(ps))
	copy(out, ps)
	Normalize(out)
	return out
}

// Format gives a placeholder for every verb: before it is opened a point may
// be secret, and coordinates that are not normalized tell of its scalar.
func (Point) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "p256.Point(hidden)") }

func onCurve(x, y field) bool {
	// x³ - 3x + b
	right := x.square().sub(triple(fieldOne)).mul(x).add(curveB)
	return y.square().equal(right) == 1
}

// PublicKey returns p for crypto/ecdsa. The identity is an error.
func (p Point) PublicKey() (*ecdsa.PublicKey, error) {
	b, err := p.Bytes()
	if err != nil {
		return nil, fmt.Errorf("public key: %w", err)
	}
	return ecdsa.ParseUncompressedPublicKey(elliptic.P256(), append([]byte{4}, b[:]...))
}
