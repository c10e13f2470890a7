package p256

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/big"
	"math/bits"
	"sync"
)

// Scalar is a number modulo n, the order of P-256. The zero value is 0. A
// Scalar is always fully reduced, so == says whether two are the same number;
// where they are secret, use Equal, which takes the same time for all.
//
// Every printing verb and text encoding gives a fixed placeholder. That holds
// for exported fields and variables; fmt reads unexported fields of other
// types past any method, so a type that keeps scalars in such fields needs a
// Format of its own.
type Scalar struct{ m u256 } // the number times 2²⁵⁶, mod n

// The order n = n3‖n2‖n1‖n0, and -1/n mod 2⁶⁴ (SEC 2, section 2.4.2).
const (
	n0   = 0xf3b9cac2fc632551
	n1   = 0xbce6faada7179e84
	n2   = 0xffffffffffffffff
	n3   = 0xffffffff00000000
	nInv = 0xccd1c8aaee00bc4f
)

var (
	order       = u256{n0, n1, n2, n3}
	orderNumber = func() *big.Int {
		b := order.bytes()
		return new(big.Int).SetBytes(b[:])
	}()
	scalarOne = u256{0x0c46353d039cdaaf, 0x4319055258e8617b, 0, 0x00000000ffffffff}                  // 2²⁵⁶ mod n
	scalarR2  = u256{0x83244c95be79eea2, 0x4699799c49bd6fa6, 0x2845b2392b6bec59, 0x66e12d94f3d95620} // 2⁵¹² mod n
	scalarR3  = u256{0xac8ebec90b65a624, 0x111f28ae0c0555c9, 0x2543b9246ba5e93f, 0x503a54e76407be65} // 2⁷⁶⁸ mod n
)

// One returns 1.
func One() Scalar { return Scalar{scalarOne} }

// NewScalar returns u.
func NewScalar(u uint64) Scalar { return Scalar{toMontgomery(u256{l0: u})} }

// Add returns x + y.
func (x Scalar) Add(y Scalar) Scalar {
	t0, c := bits.Add64(x.m.l0, y.m.l0, 0)
	t1, c := bits.Add64(x.m.l1, y.m.l1, c)
	t2, c := bits.Add64(x.m.l2, y.m.l2, c)
	t3, c := bits.Add64(x.m.l3, y.m.l3, c)
	return Scalar{reduceN(t0, t1, t2, t3, c)}
}

// Sub returns x - y.
func (x Scalar) Sub(y Scalar) Scalar {
	t0, b := bits.Sub64(x.m.l0, y.m.l0, 0)
	t1, b := bits.Sub64(x.m.l1, y.m.l1, b)
	t2, b := bits.Sub64(x.m.l2, y.m.l2, b)
	t3, b := bits.Sub64(x.m.l3, y.m.l3, b)
	mask := -b
	t0, c := bits.Add64(t0, n0&mask, 0)
	t1, c = bits.Add64(t1, n1&mask, c)
	t2, c = bits.Add64(t2, n2&mask, c)
	t3, _ = bits.Add64(t3, n3&mask, c)
	return Scalar{u256{t0, t1, t2, t3}}
}

// Neg returns -x.
func (x Scalar) Neg() Scalar { return Scalar{}.Sub(x) }

// Mul returns x·y.
func (x Scalar) Mul(y Scalar) Scalar { return Scalar{mulN(x.m, y.m)} }

// Square returns x².
func (x Scalar) Square() Scalar { return Scalar{montgomeryN(square(x.m))} }

// IsZero reports whether x = 0, in constant time.
func (x Scalar) IsZero() bool { return x.m.isZero() == 1 }

// Equal reports whether x = y, in constant time.
func (x Scalar) Equal(y Scalar) bool { return x.m.equal(y.m) == 1 }

// Inverse returns 1/x, and 0 for 0: x to the power n-2, in constant time.
func (x Scalar) Inverse() Scalar {
	// The powers x¹ to x¹⁵, then four bits of the public exponent at a time.
	var pow [16]Scalar
	pow[0] = One()
	for i := 1; i < 16; i++ {
		pow[i] = pow[i-1].Mul(x)
	}
	exponent := u256{n0 - 2, n1, n2, n3}
	z := pow[exponent.bits(252, 4)]
	for at := 248; at >= 0; at -= 4 {
		z = z.Square().Square().Square().Square()
		z = z.Mul(pow[exponent.bits(uint(at), 4)])
	}
	return z
}

// InverseOf returns 1/k for a public k that is not 0; small ones are found in a
// table.
func InverseOf(k uint64) Scalar {
	if table := smallInverses(); k < uint64(len(table)) {
		return table[k]
	}
	return NewScalar(k).Inverse()
}

// smallInverses has 1/k at index k, and 0 at 0.
var smallInverses = sync.OnceValue(func() []Scalar {
	table := make([]Scalar, 1<<6)
	for k := range table {
		table[k] = NewScalar(uint64(k)).Inverse()
	}
	return table
})

// IsHigh reports whether x > (n-1)/2, that is, whether -x is the smaller
// number. It takes variable time: it is for public values, such as the s of a
// signature.
func (x Scalar) IsHigh() bool {
	b, neg := x.Bytes(), x.Neg().Bytes()
	return bytes.Compare(b[:], neg[:]) > 0
}

// InvertBatch replaces each of xs by its inverse, at three multiplications an
// element. If one is zero it changes nothing and names the first such index;
// whether and where there is a zero shows in the time it takes, and nothing else.
func InvertBatch(xs []Scalar) error {
	product, before, err := products(xs)
	if err != nil {
		return err
	}
	spreadInverse(xs, before, product.Inverse())
	return nil
}

// InvertPublic is InvertBatch for public data: its time depends on all of it,
// and is less where there are few.
func InvertPublic(xs []Scalar) error {
	product, before, err := products(xs)
	if err != nil {
		return err
	}
	b := product.Bytes()
	inverse := new(big.Int).SetBytes(b[:])
	inverse.ModInverse(inverse, orderNumber).FillBytes(b[:])
	spreadInverse(xs, before, Scalar{toMontgomery(u256FromBytes(&b))})
	return nil
}

// products returns x₀·…·xₙ₋₁ and, at each index i, x₀·…·xᵢ₋₁. A zero is an error.
func products(xs []Scalar) (all Scalar, before []Scalar, err error) {
	before = make([]Scalar, len(xs))
	all = One()
	for i, x := range xs {
		if x.IsZero() {
			return Scalar{}, nil, fmt.Errorf("inverse of zero at index %d", i)
		}
		before[i] = all
		all = all.Mul(x)
	}
	return all, before, nil
}

// spreadInverse replaces each of xs by its inverse, given that of all their
// product (Montgomery's trick).
func spreadInverse(xs, before []Scalar, inverse Scalar) {
	for i := len(xs) - 1; i >= 0; i-- {
		xs[i], inverse = inverse.Mul(before[i]), inverse.Mul(xs[i])
	}
}

// InnerProduct returns Σ xᵢ·yᵢ. It panics if the lengths differ.
func InnerProduct(xs, ys []Scalar) Scalar {
	sameLength(len(xs), len(ys))
	var sum Scalar
	for i, x := range xs {
		sum = sum.Add(x.Mul(ys[i]))
	}
	return sum
}

// sameLength stops a program that mixed up its vectors; to sum a part of them
// would be wrong without a word.
func sameLength(a, b int) {
	if a != b {
		panic(fmt.Sprintf("p256: vectors of %d and %d elements, expected as many of each", a, b))
	}
}

// RandomScalar returns a uniform scalar (within 2⁻¹²⁸) from 48 bytes of rand.
func RandomScalar(rand io.Reader) (Scalar, error) {
	var b [48]byte
	if _, err := io.ReadFull(rand, b[:]); err != nil {
		return Scalar{}, fmt.Errorf("random scalar: %w", err)
	}
	x := ScalarFromWide(b[:])
	clear(b[:])
	return x, nil
}

const secretText = "p256.Scalar(secret)"

// String gives a placeholder: scalars are secrets.
func (Scalar) String() string { return secretText }

// GoString gives a placeholder: scalars are secrets.
func (Scalar) GoString() string { return secretText }

// Format gives a placeholder for every verb: scalars are secrets.
func (Scalar) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, secretText) }

// MarshalText gives a placeholder: scalars are secrets. There is no way back.
func (Scalar) MarshalText() ([]byte, error) { return []byte(secretText), nil }

// UnmarshalText refuses, so that a placeholder is never taken for a number.
func (*Scalar) UnmarshalText([]byte) error {
	return errors.New("p256: a scalar cannot be read from text")
}

// mulN returns x·y/2²⁵⁶ mod n for y < n and any x.
func mulN(x, y u256) u256 { return montgomeryN(product(x, y)) }

// toMontgomery returns x·2²⁵⁶ mod n for any x.
func toMontgomery(x u256) u256 { return mulN(x, scalarR2) }

// number returns x itself, below n.
func (x Scalar) number() u256 { return montgomeryN(x.m.l0, x.m.l1, x.m.l2, x.m.l3, 0, 0, 0, 0) }

// montgomeryN returns t/2²⁵⁶ mod n, fully reduced, for t < 2²⁵⁶·n: four
// rounds, each adding the multiple of n that clears the lowest word, which
// then takes the carry.
func montgomeryN(t0, t1, t2, t3, t4, t5, t6, t7 uint64) u256 {
	q := t0 * nInv
	h0, l0 := bits.Mul64(q, n0)
	h1, l1 := bits.Mul64(q, n1)
	h2, l2 := bits.Mul64(q, n2)
	h3, l3 := bits.Mul64(q, n3)
	_, c := bits.Add64(t0, l0, 0)
	t1, c = bits.Add64(t1, l1, c)
	t2, c = bits.Add64(t2, l2, c)
	t3, c = bits.Add64(t3, l3, c)
	h3 += c
	t1, c = bits.Add64(t1, h0, 0)
	t2, c = bits.Add64(t2, h1, c)
	t3, c = bits.Add64(t3, h2, c)
	t0 = h3 + c

	q = t1 * nInv
	h0, l0 = bits.Mul64(q, n0)
	h1, l1 = bits.Mul64(q, n1)
	h2, l2 = bits.Mul64(q, n2)
	h3, l3 = bits.Mul64(q, n3)
	_, c = bits.Add64(t1, l0, 0)
	t2, c = bits.Add64(t2, l1, c)
	t3, c = bits.Add64(t3, l2, c)
	t0, c = bits.Add64(t0, l3, c)
	h3 += c
	t2, c = bits.Add64(t2, h0, 0)
	t3, c = bits.Add64(t3, h1, c)
	t0, c = bits.Add64(t0, h2, c)
	t1 = h3 + c

	q = t2 * nInv
	h0, l0 = bits.Mul64(q, n0)
	h1, l1 = bits.Mul64(q, n1)
	h2, l2 = bits.Mul64(q, n2)
	h3, l3 = bits.Mul64(q, n3)
	_, c = bits.Add64(t2, l0, 0)
	t3, c = bits.Add64(t3, l1, c)
	t0, c = bits.Add64(t0, l2, c)
	t1, c = bits.Add64(t1, l3, c)
	h3 += c
	t3, c = bits.Add64(t3, h0, 0)
	t0, c = bits.Add64(t0, h1, c)
	t1, c = bits.Add64(t1, h2, c)
	t2 = h3 + c

	q = t3 * nInv
	h0, l0 = bits.Mul64(q, n0)
	h1, l1 = bits.Mul64(q, n1)
	h2, l2 = bits.Mul64(q, n2)
	h3, l3 = bits.Mul64(q, n3)
	_, c = bits.Add64(t3, l0, 0)
	t0, c = bits.Add64(t0, l1, c)
	t1, c = bits.Add64(t1, l2, c)
	t2, c = bits.Add64(t2, l3, c)
	h3 += c
	t0, c = bits.Add64(t0, h0, 0)
	t1, c = bits.Add64(t1, h1, c)
	t2, c = bits.Add64(t2, h2, c)
	t3 = h3 + c

	t0, c = bits.Add64(t0, t4, 0)
	t1, c = bits.Add64(t1, t5, c)
	t2, c = bits.Add64(t2, t6, c)
	t3, c = bits.Add64(t3, t7, c)
	return reduceN(t0, t1, t2, t3, c)
}

// reduceN returns t mod n for t < 2n in five words.
func reduceN(t0, t1, t2, t3, t4 uint64) u256 {
	s0, b := bits.Sub64(t0, n0, 0)
	s1, b := bits.Sub64(t1, n1, b)
	s2, b := bits.Sub64(t2, n2, b)
	s3, b := bits.Sub64(t3, n3, b)
	_, b = bits.Sub64(t4, 0, b)
	m := -b // all ones: t was below n already
	return u256{
		s0 ^ m&(s0^t0),
		s1 ^ m&(s1^t1),
		s2 ^ m&(s2^t2),
		s3 ^ m&(s3^t3),
	}
}
