package edverify

import (
	"filippo.io/edwards25519"
	"filippo.io/edwards25519/field"
)

const (
	width   = 5  // of a digit in bits: a wider one saves additions and takes memory
	windows = 51 // digits of a number below 2^253, the last of which has room for a carry
)

// multiples has d·2^(width·i)·P at [i][d-1], for the digits d from 1 to
// 2^(width-1).
type multiples [windows][1 << (width - 1)]affine

// affine is a point as mixed additions take it.
type affine struct{ sum, difference, product field.Element } // y+x, y-x, 2d·x·y

func newMultiples(p *edwards25519.Point) *multiples {
	const perWindow = 1 << (width - 1)
	var points [windows * perWindow]edwards25519.Point
	first := new(edwards25519.Point).Set(p)
	for i := 0; i < len(points); i += perWindow {
		points[i].Set(first)
		for j := i + 1; j < i+perWindow; j++ {
			points[j].Add(&points[j-1], first)
		}
		first.Double(&points[i+perWindow-1]) // 2^(width-1) twice
	}

	// All z are inverted at once (Montgomery's trick); none is zero.
	var before [windows * perWindow]field.Element // z₀·…·zᵢ₋₁
	product := new(field.Element).One()
	for i := range points {
		_, _, z, _ := points[i].ExtendedCoordinates()
		before[i].Set(product)
		product.Multiply(product, z)
	}
	inverse := product.Invert(product)
	m := new(multiples)
	for i := len(points) - 1; i >= 0; i-- {
		x, y, z, _ := points[i].ExtendedCoordinates()
		zInv := before[i].Multiply(&before[i], inverse)
		inverse.Multiply(inverse, z)
		x.Multiply(x, zInv)
		y.Multiply(y, zInv)
		a := &m[i/perWindow][i%perWindow]
		a.sum.Add(y, x)
		a.difference.Subtract(y, x)
		a.product.Multiply(x, y)
		a.product.Multiply(&a.product, &twiceD)
	}
	return m
}

// twiceD is 2d, where d = -121665/121666 is that of the curve -x² + y² = 1 +
// d·x²·y² (RFC 8032, section 5.1).
var twiceD = func() (d field.Element) {
	one := new(field.Element).One()
	d.Mult32(one, 121666)
	d.Invert(&d)
	d.Mult32(&d, 2*121665)
	d.Negate(&d)
	return d
}()

// point is one in extended coordinates: x/z, y/z, and t = x·y/z.
type point struct{ x, y, z, t field.Element }

func identity() (p point) {
	p.y.One()
	p.z.One()
	return p
}

// add adds q to p, or takes it off where minus is set: by the formulas of Hisil,
// Wong, Carter and Dawson, "Twisted Edwards Curves Revisited" (ASIACRYPT 2008),
// section 3.1 with a = -1, z₂ = 1, which have no exceptional cases on this curve.
func (p *point) add(q *affine, minus bool) {
	var a, b, c, d, e, f, g, h field.Element
	sum, difference := &q.sum, &q.difference
	if minus { // -q has -x
		sum, difference = difference, sum
	}
	a.Multiply(a.Subtract(&p.y, &p.x), difference)
	b.Multiply(b.Add(&p.y, &p.x), sum)
	c.Multiply(&p.t, &q.product)
	d.Add(&p.z, &p.z)
	e.Subtract(&b, &a)
	h.Add(&b, &a)
	if minus {
		f.Add(&d, &c)
		g.Subtract(&d, &c)
	} else {
		f.Subtract(&d, &c)
		g.Add(&d, &c)
	}
	p.x.Multiply(&e, &f)
	p.y.Multiply(&g, &h)
	p.z.Multiply(&f, &g)
	p.t.Multiply(&e, &h)
}

// addMultiple adds k times the point of m.
func (p *point) addMultiple(m *multiples, k *edwards25519.Scalar) {
	for i, d := range digits(k.Bytes()) {
		switch {
		case d > 0:
			p.add(&m[i][d-1], false)
		case d < 0:
			p.add(&m[i][-d-1], true)
		}
	}
}

// encode returns y, little-endian, with the lowest bit of x on top (RFC 8032,
// section 5.1.2).
func (p *point) encode() [32]byte {
	var inverse, x, y field.Element
	inverse.Invert(&p.z)
	x.Multiply(&p.x, &inverse)
	y.Multiply(&p.y, &inverse)
	b := [32]byte(y.Bytes())
	b[31] |= byte(x.IsNegative() << 7)
	return b
}

// digits takes apart a number below 2^253, little-endian: it is the sum of the
// digits, from 1-2^(width-1) to 2^(width-1), the i-th times 2^(width·i).
func digits(number []byte) (out [windows]int) {
	var rest, have uint // bits that are in no digit yet, and a carry; how many
	for i := range out {
		if have < width && len(number) > 0 {
			rest += uint(number[0]) << have
			have += 8
			number = number[1:]
		}
		out[i] = int(rest % (1 << width))
		rest >>= width
		have -= min(have, width)
		if out[i] > 1<<(width-1) {
			out[i] -= 1 << width
			rest++
		}
	}
	return out
}
