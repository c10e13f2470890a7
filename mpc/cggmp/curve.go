package cggmp

import (
	"fmt"

	"github.com/cronokirby/saferith"
	"github.com/taurusgroup/multi-party-sig/pkg/math/curve"

	"zonesigner/mpc/p256"
)

// group is P-256 as the library wants to see it. Its numbers and points are
// those of mpc/p256, so secrets stay in constant-time code.
type group struct{}

var _ curve.Curve = group{}

// order is n, the order of P-256 (SEC 2, section 2.4.2).
var order = func() *saferith.Modulus {
	minusOne := p256.One().Neg().Bytes()
	n := new(saferith.Nat).SetBytes(minusOne[:])
	return saferith.ModulusFromNat(n.Add(n, new(saferith.Nat).SetUint64(1), 256))
}()

func (group) NewPoint() curve.Point     { return new(point) }
func (group) NewBasePoint() curve.Point { return &point{p256.Generator()} }
func (group) NewScalar() curve.Scalar   { return new(scalar) }

// Name is hashed into every session of the library.
func (group) Name() string    { return "P-256" }
func (group) ScalarBits() int { return 256 }

// SafeScalarBytes is how many random bytes the library reduces to a scalar: 16
// more than a scalar has, for a bias below 2⁻¹²⁸. (With 32, as would do for
// secp256k1, nonces would be biased by 2⁻³².)
func (group) SafeScalarBytes() int { return 48 }

func (group) Order() *saferith.Modulus { return order }

// scalar is curve.Scalar, which is mutable: each method changes the receiver
// and returns it.
type scalar struct{ v p256.Scalar }

// scalarOf is the value of a scalar of this curve. Scalars of another curve
// are a fault of the program.
func scalarOf(s curve.Scalar) p256.Scalar { return s.(*scalar).v }

func (*scalar) Curve() curve.Curve { return group{} }

func (s *scalar) MarshalBinary() ([]byte, error) {
	b := s.v.Bytes()
	return b[:], nil
}

func (s *scalar) UnmarshalBinary(b []byte) error {
	v, err := p256.ScalarFromBytes(b)
	if err != nil {
		return err
	}
	s.v = v
	return nil
}

func (s *scalar) set(v p256.Scalar) curve.Scalar {
	s.v = v
	return s
}

func (s *scalar) Add(t curve.Scalar) curve.Scalar { return s.set(s.v.Add(scalarOf(t))) }
func (s *scalar) Sub(t curve.Scalar) curve.Scalar { return s.set(s.v.Sub(scalarOf(t))) }
func (s *scalar) Mul(t curve.Scalar) curve.Scalar { return s.set(s.v.Mul(scalarOf(t))) }
func (s *scalar) Set(t curve.Scalar) curve.Scalar { return s.set(scalarOf(t)) }
func (s *scalar) Negate() curve.Scalar            { return s.set(s.v.Neg()) }
func (s *scalar) Invert() curve.Scalar            { return s.set(s.v.Inverse()) }
func (s *scalar) Equal(t curve.Scalar) bool       { return s.v.Equal(scalarOf(t)) }
func (s *scalar) IsZero() bool                    { return s.v.IsZero() }

// IsOverHalfOrder is for signatures of the library's own, which we do not make.
func (s *scalar) IsOverHalfOrder() bool { return s.v.IsHigh() }

// SetNat sets s to x mod n, in time that depends on the announced length of x
// alone.
func (s *scalar) SetNat(x *saferith.Nat) curve.Scalar {
	var b [32]byte
	new(saferith.Nat).Mod(x, order).FillBytes(b[:])
	v, _ := p256.ScalarFromBytes(b[:]) // reduced
	return s.set(v)
}

func (s *scalar) Act(p curve.Point) curve.Point { return &point{pointOf(p).Mult(s.v)} }
func (s *scalar) ActOnBase() curve.Point        { return &point{p256.BaseMult(s.v)} }

// Format keeps a secret out of whatever the library prints.
func (s *scalar) Format(f fmt.State, verb rune) { s.v.Format(f, verb) }

// point is curve.Point, which is immutable but for UnmarshalBinary.
type point struct{ v p256.Point }

func pointOf(p curve.Point) p256.Point { return p.(*point).v }

func (*point) Curve() curve.Curve { return group{} }

// MarshalBinary is affine x then y, 32 bytes each. The library hashes
// intermediate points and drops the errors, so the identity, too, has an
// encoding: 64 zeros. No peer may send it.
func (p *point) MarshalBinary() ([]byte, error) {
	b, err := p.v.Bytes()
	if err != nil {
		b = [p256.PointSize]byte{}
	}
	return b[:], nil
}

// UnmarshalBinary refuses whatever is not a point of the curve in its one
// encoding, and the identity.
func (p *point) UnmarshalBinary(b []byte) error {
	v, err := p256.PointFromBytes(b)
	if err != nil {
		return err
	}
	p.v = v
	return nil
}

func (p *point) Add(q curve.Point) curve.Point { return &point{p.v.Add(pointOf(q))} }
func (p *point) Sub(q curve.Point) curve.Point { return &point{p.v.Sub(pointOf(q))} }
func (p *point) Negate() curve.Point           { return &point{p.v.Neg()} }
func (p *point) Equal(q curve.Point) bool      { return p.v.Equal(pointOf(q)) }
func (p *point) IsIdentity() bool              { return p == nil || p.v.IsIdentity() }

// XScalar is x mod n; 0 for the identity.
func (p *point) XScalar() curve.Scalar {
	x, err := p.v.X()
	if err != nil {
		return new(scalar)
	}
	return &scalar{x}
}

// Format keeps a point that may still be secret out of what is printed.
func (p *point) Format(f fmt.State, verb rune) { p.v.Format(f, verb) }
