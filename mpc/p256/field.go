package p256

import "math/bits"

// field is a number modulo p = 2²⁵⁶ - 2²²⁴ + 2¹⁹² + 2⁹⁶ - 1, fully reduced
// and times 2²⁵⁶ (Montgomery's form).
type field u256

// The words of p that are neither 0 nor all ones. p ≡ -1 mod 2⁶⁴, so that the
// quotient of a reduction round is the lowest word itself.
const (
	p1 = 0x00000000ffffffff
	p3 = 0xffffffff00000001
)

var (
	prime    = u256{0xffffffffffffffff, p1, 0, p3}
	fieldOne = field{1, 0xffffffff00000000, 0xffffffffffffffff, 0x00000000fffffffe}                  // 2²⁵⁶ mod p
	fieldR2  = field{0x0000000000000003, 0xfffffffbffffffff, 0xfffffffffffffffe, 0x00000004fffffffd} // 2⁵¹² mod p
	curveB   = field{0xd89cdf6229c4bddf, 0xacf005cd78843090, 0xe5a220abf7212ed6, 0xdc30061d04874834} // y² = x³ - 3x + b
	genX     = field{0x79e730d418a9143c, 0x75ba95fc5fedb601, 0x79fb732b77622510, 0x18905f76a53755c6}
	genY     = field{0xddf25357ce95560a, 0x8b4ab8e4ba19e45c, 0xd2e88688dd21f325, 0x8571ff1825885d85}
)

func (x field) add(y field) field {
	t0, c := bits.Add64(x.l0, y.l0, 0)
	t1, c := bits.Add64(x.l1, y.l1, c)
	t2, c := bits.Add64(x.l2, y.l2, c)
	t3, c := bits.Add64(x.l3, y.l3, c)
	return reduceP(t0, t1, t2, t3, c)
}

func (x field) sub(y field) field {
	t0, b := bits.Sub64(x.l0, y.l0, 0)
	t1, b := bits.Sub64(x.l1, y.l1, b)
	t2, b := bits.Sub64(x.l2, y.l2, b)
	t3, b := bits.Sub64(x.l3, y.l3, b)
	mask := -b
	t0, c := bits.Add64(t0, mask, 0)
	t1, c = bits.Add64(t1, mask&p1, c)
	t2, c = bits.Add64(t2, 0, c)
	t3, _ = bits.Add64(t3, mask&p3, c)
	return field{t0, t1, t2, t3}
}

// isZero returns 1 if x = 0 and 0 otherwise.
func (x field) isZero() uint64 { return u256(x).isZero() }

// equal returns 1 if x = y and 0 otherwise.
func (x field) equal(y field) uint64 { return u256(x).equal(u256(y)) }

// chooseField returns x if cond = 1 and y if cond = 0.
func chooseField(cond uint64, x, y field) field { return field(choose(cond, u256(x), u256(y))) }

func (x field) neg() field { return field{}.sub(x) }

// mul returns x·y/2²⁵⁶ mod p, for y < p and any x.
func (x field) mul(y field) field { return montgomeryP(product(u256(x), u256(y))) }

func (x field) square() field { return montgomeryP(square(u256(x))) }

// squareTimes returns x to the power 2ᵏ.
func (x field) squareTimes(k int) field {
	for range k {
		x = x.square()
	}
	return x
}

// inverse returns 1/x, and 0 for 0: x to the power p-2, in constant time.
// p-2 = 2²⁵⁶ - 2²²⁴ + 2¹⁹² + 2⁹⁶ - 3: runs of ones, and few of them.
func (x field) inverse() field {
	ones := func(a field, k int) field { return a.squareTimes(k).mul(a) } // doubles a run of k ones
	x2 := ones(x, 1)
	x4 := ones(x2, 2)
	x8 := ones(x4, 4)
	x16 := ones(x8, 8)
	x32 := ones(x16, 16)
	x30 := x16.squareTimes(8).mul(x8).squareTimes(4).mul(x4).squareTimes(2).mul(x2)
	// 32 ones, 31 zeros, a one, 96 zeros, 94 ones, 01.
	z := x32.squareTimes(32).mul(x)
	z = z.squareTimes(128).mul(x32)
	z = z.squareTimes(32).mul(x32)
	z = z.squareTimes(30).mul(x30)
	return z.squareTimes(2).mul(x)
}

// invertFields replaces each of xs by its inverse with one inversion in all;
// scratch is as long as xs at least. It reports false, and changes nothing, if one
// of them is zero.
func invertFields(xs, scratch []field) bool {
	product := fieldOne
	for i, x := range xs {
		scratch[i] = product
		product = product.mul(x)
	}
	if product.isZero() == 1 {
		return false
	}
	inverse := product.inverse()
	for i := len(xs) - 1; i >= 0; i-- {
		xs[i], inverse = inverse.mul(scratch[i]), inverse.mul(xs[i])
	}
	return true
}

// fieldFromBytes reports false for a number that is not below p.
func fieldFromBytes(b *[32]byte) (field, bool) {
	v := u256FromBytes(b)
	return field(v).mul(fieldR2), v.less(prime) == 1
}

func (x field) canonical() u256 { return u256(montgomeryP(x.l0, x.l1, x.l2, x.l3, 0, 0, 0, 0)) }

func (x field) bytes() [32]byte { return x.canonical().bytes() }

// montgomeryP returns t/2²⁵⁶ mod p, fully reduced, for t < 2²⁵⁶·p. Each round
// clears the lowest word q by adding q·p = q·2⁹⁶ + q·p3·2¹⁹² - q, and the
// word that is free then takes the carry.
func montgomeryP(t0, t1, t2, t3, t4, t5, t6, t7 uint64) field {
	h, l := bits.Mul64(t0, p3)
	t1, c := bits.Add64(t1, t0<<32, 0)
	t2, c = bits.Add64(t2, t0>>32, c)
	t3, c = bits.Add64(t3, l, c)
	t0 = h + c

	h, l = bits.Mul64(t1, p3)
	t2, c = bits.Add64(t2, t1<<32, 0)
	t3, c = bits.Add64(t3, t1>>32, c)
	t0, c = bits.Add64(t0, l, c)
	t1 = h + c

	h, l = bits.Mul64(t2, p3)
	t3, c = bits.Add64(t3, t2<<32, 0)
	t0, c = bits.Add64(t0, t2>>32, c)
	t1, c = bits.Add64(t1, l, c)
	t2 = h + c

	h, l = bits.Mul64(t3, p3)
	t0, c = bits.Add64(t0, t3<<32, 0)
	t1, c = bits.Add64(t1, t3>>32, c)
	t2, c = bits.Add64(t2, l, c)
	t3 = h + c

	t0, c = bits.Add64(t0, t4, 0)
	t1, c = bits.Add64(t1, t5, c)
	t2, c = bits.Add64(t2, t6, c)
	t3, c = bits.Add64(t3, t7, c)
	return reduceP(t0, t1, t2, t3, c)
}

// reduceP returns t mod p for t < 2p in five words.
func reduceP(t0, t1, t2, t3, t4 uint64) field {
	s0, b := bits.Sub64(t0, 0xffffffffffffffff, 0)
	s1, b := bits.Sub64(t1, p1, b)
	s2, b := bits.Sub64(t2, 0, b)
	s3, b := bits.Sub64(t3, p3, b)
	_, b = bits.Sub64(t4, 0, b)
	m := -b // all ones: t was below p already
	return field{
		s0 ^ m&(s0^t0),
		s1 ^ m&(s1^t1),
		s2 ^ m&(s2^t2),
		s3 ^ m&(s3^t3),
	}
}
