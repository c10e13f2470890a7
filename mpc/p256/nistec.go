package p256

import (
	"reflect"
	"sync"

	"filippo.io/nistec"
)

// Secret multiplications run in the assembly of filippo.io/nistec.

// BaseMult returns k·G in constant time.
func BaseMult(k Scalar) Point {
	b := k.Bytes()
	p, _ := nistec.NewP256Point().ScalarBaseMult(b[:]) // fails on another length only
	return fromNistec(p)
}

// BaseMultBatch returns kᵢ·G for each of ks, normalized, in constant time.
func BaseMultBatch(ks []Scalar) []Point {
	out := make([]Point, len(ks))
	for i, k := range ks {
		out[i] = BaseMult(k)
	}
	Normalize(out)
	return out
}

// Mult returns k·p in constant time.
func (p Point) Mult(k Scalar) Point {
	a, ok := p.affine()
	if !ok {
		return Point{} // k·identity
	}
	q, err := nistec.NewP256Point().SetBytes(a.append([]byte{4}))
	if err != nil {
		return Point{} // not reached: every Point is on the curve
	}
	b := k.Bytes()
	q, _ = q.ScalarMult(q, b[:]) // fails on another length only
	return fromNistec(q)
}

// fromNistec takes the coordinates out of p.
func fromNistec(p *nistec.P256Point) Point {
	if jacobian() {
		return fromJacobian(p)
	}
	return fromEncoding(p)
}

// fromEncoding is the way that nistec offers. It costs an inversion, which is
// a third of a base multiplication.
func fromEncoding(p *nistec.P256Point) Point {
	b := p.Bytes()
	if len(b) != 1+PointSize {
		return Point{}
	}
	x, _ := fieldFromBytes((*[32]byte)(b[1:]))
	y, _ := fieldFromBytes((*[32]byte)(b[33:]))
	return Point{x, y, fieldOne}
}

// fromJacobian reads nistec's own coordinates, for which x = X/Z², y = Y/Z³,
// so that a batch can share the inversion.
func fromJacobian(p *nistec.P256Point) Point {
	v := reflect.ValueOf(p).Elem()
	x, y, z := words(v.Field(0)), words(v.Field(1)), words(v.Field(2))
	return Point{x.mul(z), y, z.square().mul(z)}
}

func words(v reflect.Value) field {
	return field{v.Index(0).Uint(), v.Index(1).Uint(), v.Index(2).Uint(), v.Index(3).Uint()}
}

// jacobian tells whether fromJacobian is right for the nistec that we were
// built with, which it is where nistec has assembly (amd64, arm64, ppc64le,
// s390x). It looks at the type and then tries.
var jacobian = sync.OnceValue(func() bool {
	t := reflect.TypeFor[nistec.P256Point]()
	if t.NumField() != 3 {
		return false
	}
	for i, name := range []string{"x", "y", "z"} {
		f := t.Field(i)
		if f.Name != name || f.Type.Kind() != reflect.Array || f.Type.Len() != 4 || f.Type.Elem().Kind() != reflect.Uint64 {
			return false
		}
	}
	k := NewScalar(0x9e3779b97f4a7c15).Bytes()
	p, _ := nistec.NewP256Point().ScalarBaseMult(k[:])
	q := fromJacobian(p)
	return q.z != fieldOne && q.Equal(fromEncoding(p))
})
