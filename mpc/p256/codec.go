package p256

import (
	"errors"
	"fmt"
	"slices"
)

// ScalarSize and PointSize are the lengths of encodings in bytes.
const (
	ScalarSize = 32 // big-endian
	PointSize  = 64 // affine x then y, big-endian
)

// ScalarFromBytes decodes exactly 32 bytes, big-endian, below n.
func ScalarFromBytes(b []byte) (Scalar, error) {
	if len(b) != ScalarSize {
		return Scalar{}, fmt.Errorf("scalar has %d bytes, expected %d", len(b), ScalarSize)
	}
	v := u256FromBytes((*[32]byte)(b))
	if v.less(order) == 0 {
		return Scalar{}, errors.New("scalar is not below the order of P-256")
	}
	return Scalar{toMontgomery(v)}, nil
}

// ScalarFromWide reads b as one big-endian number and reduces it mod n, in
// time that depends on the length alone. Of 48 uniform bytes it makes a
// scalar that is uniform within 2⁻¹²⁸; use it on no fewer than 40. It panics
// on more than 56.
func ScalarFromWide(b []byte) Scalar {
	if len(b) > 56 {
		panic(fmt.Sprintf("p256: %d bytes to be reduced, expected 56 at most", len(b)))
	}
	var wide [64]byte
	copy(wide[64-len(b):], b)
	high, low := u256FromBytes((*[32]byte)(wide[:32])), u256FromBytes((*[32]byte)(wide[32:]))
	// high is below n, as the reduction needs.
	t := montgomeryN(low.l0, low.l1, low.l2, low.l3, high.l0, high.l1, high.l2, high.l3)
	return Scalar{mulN(t, scalarR3)}
}

// ScalarFromDigest maps a digest to a scalar as ECDSA does: the leftmost 256
// bits as a number (bits2int of RFC 6979, section 2.3.2), reduced mod n.
func ScalarFromDigest(digest []byte) Scalar {
	return ScalarFromWide(digest[:min(len(digest), ScalarSize)])
}

// Bytes is x in 32 bytes, big-endian.
func (x Scalar) Bytes() [32]byte { return x.number().bytes() }

// AppendBytes appends the 32 bytes of x to dst.
func (x Scalar) AppendBytes(dst []byte) []byte {
	b := x.Bytes()
	return append(dst, b[:]...)
}

// AppendScalars appends the encodings of xs, 32 bytes each, to dst.
func AppendScalars(dst []byte, xs []Scalar) []byte {
	for _, x := range xs {
		dst = x.AppendBytes(dst)
	}
	return dst
}

// DecodeScalars decodes exactly n scalars of 32 bytes each, all canonical. It
// allocates only after the length was found right.
func DecodeScalars(b []byte, n int) ([]Scalar, error) {
	if err := vectorLength("scalars", len(b), n, ScalarSize); err != nil {
		return nil, err
	}
	xs := make([]Scalar, n)
	for i := range xs {
		x, err := ScalarFromBytes(b[i*ScalarSize : (i+1)*ScalarSize])
		if err != nil {
			return nil, fmt.Errorf("scalar %d of %d: %w", i, n, err)
		}
		xs[i] = x
	}
	return xs, nil
}

// PointFromBytes decodes exactly 64 bytes, x then y, big-endian and each
// below p. The point must be on the curve; the identity has no encoding.
func PointFromBytes(b []byte) (Point, error) {
	if len(b) != PointSize {
		return Point{}, fmt.Errorf("point has %d bytes, expected %d", len(b), PointSize)
	}
	x, okX := fieldFromBytes((*[32]byte)(b))
	y, okY := fieldFromBytes((*[32]byte)(b[32:]))
	if !okX || !okY {
		return Point{}, errors.New("point has a coordinate that is not below p")
	}
	if !onCurve(x, y) {
		return Point{}, errors.New("point is not on P-256")
	}
	return Point{x, y, fieldOne}, nil
}

// Bytes is the affine x then y, 32 bytes each, big-endian: the form of a
// DNSKEY (RFC 6605, section 4). The identity is an error.
func (p Point) Bytes() (b [PointSize]byte, err error) {
	a, ok := p.affine()
	if !ok {
		return b, errors.New("the identity has no encoding")
	}
	a.append(b[:0])
	return b, nil
}

// AppendPoints appends the encodings of ps, 64 bytes each, to dst, at one
// field inversion for all of them (none if they are normalized). An identity
// is an error that names its index, and dst is then returned as it was.
func AppendPoints(dst []byte, ps []Point) ([]byte, error) {
	out := slices.Grow(dst, len(ps)*PointSize)
	for i, p := range normalized(ps) {
		if p.IsIdentity() {
			return dst, fmt.Errorf("point %d of %d is the identity, which has no encoding", i, len(ps))
		}
		out = affine{p.x, p.y}.append(out)
	}
	return out, nil
}

func (a affine) append(dst []byte) []byte {
	x, y := a.x.bytes(), a.y.bytes()
	return append(append(dst, x[:]...), y[:]...)
}

// DecodePoints decodes exactly n points of 64 bytes each under the rules of
// PointFromBytes. It allocates only after the length was found right.
func DecodePoints(b []byte, n int) ([]Point, error) {
	if err := vectorLength("points", len(b), n, PointSize); err != nil {
		return nil, err
	}
	ps := make([]Point, n)
	for i := range ps {
		p, err := PointFromBytes(b[i*PointSize : (i+1)*PointSize])
		if err != nil {
			return nil, fmt.Errorf("point %d of %d: %w", i, n, err)
		}
		ps[i] = p
	}
	return ps, nil
}

func vectorLength(what string, got, n, size int) error {
	// Divided, not multiplied: a hostile n cannot overflow.
	if n < 0 || got%size != 0 || got/size != n {
		return fmt.Errorf("%d bytes of %s, expected %d of %d bytes each", got, what, n, size)
	}
	return nil
}
