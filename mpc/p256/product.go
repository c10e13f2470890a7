package p256

import "math/bits"

// product returns x·y in eight words, the least significant first: a row for
// each word of x. (Loops over arrays would keep the words out of registers.)
func product(x, y u256) (_, _, _, _, _, _, _, _ uint64) {
	h0, t0 := bits.Mul64(x.l0, y.l0)
	h1, t1 := bits.Mul64(x.l0, y.l1)
	h2, t2 := bits.Mul64(x.l0, y.l2)
	t4, t3 := bits.Mul64(x.l0, y.l3)
	t1, c := bits.Add64(t1, h0, 0)
	t2, c = bits.Add64(t2, h1, c)
	t3, c = bits.Add64(t3, h2, c)
	t4 += c

	h0, r0 := bits.Mul64(x.l1, y.l0)
	h1, r1 := bits.Mul64(x.l1, y.l1)
	h2, r2 := bits.Mul64(x.l1, y.l2)
	t5, r3 := bits.Mul64(x.l1, y.l3)
	r1, c = bits.Add64(r1, h0, 0)
	r2, c = bits.Add64(r2, h1, c)
	r3, c = bits.Add64(r3, h2, c)
	t5 += c
	t1, c = bits.Add64(t1, r0, 0)
	t2, c = bits.Add64(t2, r1, c)
	t3, c = bits.Add64(t3, r2, c)
	t4, c = bits.Add64(t4, r3, c)
	t5 += c

	h0, r0 = bits.Mul64(x.l2, y.l0)
	h1, r1 = bits.Mul64(x.l2, y.l1)
	h2, r2 = bits.Mul64(x.l2, y.l2)
	t6, r3 := bits.Mul64(x.l2, y.l3)
	r1, c = bits.Add64(r1, h0, 0)
	r2, c = bits.Add64(r2, h1, c)
	r3, c = bits.Add64(r3, h2, c)
	t6 += c
	t2, c = bits.Add64(t2, r0, 0)
	t3, c = bits.Add64(t3, r1, c)
	t4, c = bits.Add64(t4, r2, c)
	t5, c = bits.Add64(t5, r3, c)
	t6 += c

	h0, r0 = bits.Mul64(x.l3, y.l0)
	h1, r1 = bits.Mul64(x.l3, y.l1)
	h2, r2 = bits.Mul64(x.l3, y.l2)
	t7, r3 := bits.Mul64(x.l3, y.l3)
	r1, c = bits.Add64(r1, h0, 0)
	r2, c = bits.Add64(r2, h1, c)
	r3, c = bits.Add64(r3, h2, c)
	t7 += c
	t3, c = bits.Add64(t3, r0, 0)
	t4, c = bits.Add64(t4, r1, c)
	t5, c = bits.Add64(t5, r2, c)
	t6, c = bits.Add64(t6, r3, c)
	t7 += c
	return t0, t1, t2, t3, t4, t5, t6, t7
}

// square returns x² in eight words: the products of two different words
// once, doubled, and the squares of the words.
func square(x u256) (_, _, _, _, _, _, _, _ uint64) {
	h01, t1 := bits.Mul64(x.l0, x.l1)
	h02, t2 := bits.Mul64(x.l0, x.l2)
	t4, t3 := bits.Mul64(x.l0, x.l3)
	t2, c := bits.Add64(t2, h01, 0)
	t3, c = bits.Add64(t3, h02, c)
	t4 += c

	h12, q3 := bits.Mul64(x.l1, x.l2)
	t5, q4 := bits.Mul64(x.l1, x.l3)
	q4, c = bits.Add64(q4, h12, 0)
	t5 += c
	t3, c = bits.Add64(t3, q3, 0)
	t4, c = bits.Add64(t4, q4, c)
	t6, q5 := bits.Mul64(x.l2, x.l3)
	t5, c = bits.Add64(t5, q5, c)
	t6 += c

	t1, c = bits.Add64(t1, t1, 0)
	t2, c = bits.Add64(t2, t2, c)
	t3, c = bits.Add64(t3, t3, c)
	t4, c = bits.Add64(t4, t4, c)
	t5, c = bits.Add64(t5, t5, c)
	t6, c = bits.Add64(t6, t6, c)
	t7 := c

	d1, t0 := bits.Mul64(x.l0, x.l0)
	d3, d2 := bits.Mul64(x.l1, x.l1)
	d5, d4 := bits.Mul64(x.l2, x.l2)
	d7, d6 := bits.Mul64(x.l3, x.l3)
	t1, c = bits.Add64(t1, d1, 0)
	t2, c = bits.Add64(t2, d2, c)
	t3, c = bits.Add64(t3, d3, c)
	t4, c = bits.Add64(t4, d4, c)
	t5, c = bits.Add64(t5, d5, c)
	t6, c = bits.Add64(t6, d6, c)
	t7, _ = bits.Add64(t7, d7, c)
	return t0, t1, t2, t3, t4, t5, t6, t7
}
