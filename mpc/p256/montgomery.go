package p256

import (
	"fmt"
	"io"
	"math/bits"
)

// A scalar in Montgomery form is the number times 2²⁵⁶ mod n, in four words,
// the least significant first. Scalars are kept so, and to enter and to leave
// that form takes no arithmetic: it is for masks, which are uniform in it as
// well, and for messages of many scalars.

// ScalarFromMontgomery returns the scalar of these words, which must be in
// Montgomery form.
func ScalarFromMontgomery(w0, w1, w2, w3 uint64) Scalar { return Scalar{u256{w0, w1, w2, w3}} }

// Montgomery returns the words of x.
func (x Scalar) Montgomery() (w0, w1, w2, w3 uint64) { return x.m.l0, x.m.l1, x.m.l2, x.m.l3 }

// IsMontgomery reports whether words are a scalar's, that is, whether the number
// is below n, in constant time.
func IsMontgomery(w0, w1, w2, w3 uint64) bool { return u256{w0, w1, w2, w3}.less(order) == 1 }

// Select returns x if cond = 1 and y if cond = 0, in constant time.
func Select(cond uint64, x, y Scalar) Scalar { return Scalar{choose(cond, x.m, y.m)} }

// Sum is a sum of scalars that is not reduced yet: a number below 2³²⁰, so that
// the weights of what is summed may add up to 2⁶⁴. The zero value is 0. Its
// methods take the same time for all values.
type Sum struct{ l0, l1, l2, l3, l4 uint64 }

// Add returns s + x.
func (s Sum) Add(x Scalar) Sum {
	var c uint64
	s.l0, c = bits.Add64(s.l0, x.m.l0, 0)
	s.l1, c = bits.Add64(s.l1, x.m.l1, c)
	s.l2, c = bits.Add64(s.l2, x.m.l2, c)
	s.l3, c = bits.Add64(s.l3, x.m.l3, c)
	s.l4 += c
	return s
}

// Shift returns 2ᵏ·s for k < 64.
func (s Sum) Shift(k uint) Sum {
	return Sum{s.l0 << k, s.l1<<k | s.l0>>(64-k), s.l2<<k | s.l1>>(64-k), s.l3<<k | s.l2>>(64-k), s.l4<<k | s.l3>>(64-k)}
}

// Scalar returns s mod n.
func (s Sum) Scalar() Scalar {
	return Scalar{mulN(montgomeryN(s.l0, s.l1, s.l2, s.l3, s.l4, 0, 0, 0), scalarR2)}
}

// Format gives a placeholder for every verb: sums are secrets.
func (Sum) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "p256.Sum(secret)") }
