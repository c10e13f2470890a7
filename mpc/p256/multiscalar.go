package p256

// MultiScalarMult returns Σ kᵢ·Pᵢ over public data: its time depends on all
// of it, and is shorter for shorter scalars. It panics if the lengths differ.
//
// This is Pippenger's algorithm with signed digits. The points of a bucket are
// summed in pairs, and the pairs of all buckets share an inversion, so that an
// addition costs six multiplications in affine coordinates.
func MultiScalarMult(ks []Scalar, ps []Point) Point {
	sameLength(len(ks), len(ps))
	m := multiScalar{ks: make([]u256, 0, len(ks)), ps: make([]affine, 0, len(ps))}
	length := 0 // of the longest scalar, in bits
	for i, p := range normalized(ps) {
		if k := ks[i].number(); !p.IsIdentity() && k != (u256{}) {
			m.ks = append(m.ks, k)
			m.ps = append(m.ps, affine{p.x, p.y})
			length = max(length, k.bitLen())
		}
	}
	if len(m.ks) == 0 {
		return Point{}
	}
	width := windowWidth(len(m.ks), length)
	m.buckets = make([][]affine, 1<<(width-1))
	m.digits = make([]int, len(m.ks))
	m.items = make([]affine, len(m.ks))
	m.inverses = make([]field, len(m.ks)/2)
	m.scratch = make([]field, len(m.ks)/2)

	var sum Point
	for w := length / width; w >= 0; w-- {
		for range width {
			sum = sum.Double()
		}
		sum = sum.Add(m.window(uint(w*width), uint(width)))
	}
	return sum
}

// windowWidth finds the width in bits with the least work: in each window an
// affine addition for each of n points, and two complete additions, at more
// than twice the cost, for each bucket.
func windowWidth(n, length int) int {
	best, least := 1, 0
	for width := 1; width <= 16; width++ {
		work := (length/width + 1) * (n + 5<<(width-1))
		if width == 1 || work < least {
			best, least = width, work
		}
	}
	return best
}

// multiScalar is the input of MultiScalarMult without zeros, and the memory
// that its windows share.
type multiScalar struct {
	ks []u256
	ps []affine

	digits            []int      // of the window at hand
	items             []affine   // the points by bucket
	buckets           [][]affine // slices of items: those with digit ±(i+1)
	inverses, scratch []field
}

// window returns the sum of the points, each times its digit at position at.
func (m *multiScalar) window(at, width uint) Point {
	m.fill(at, width)
	for m.halve() {
	}
	// Σ (i+1)·bucketᵢ is the sum of all sums of buckets from the top down.
	var running, sum Point
	for i := len(m.buckets) - 1; i >= 0; i-- {
		for _, p := range m.buckets[i] {
			running = running.Add(Point{p.x, p.y, fieldOne})
		}
		sum = sum.Add(running)
	}
	return sum
}

// fill sorts the points into buckets by digit, negated if it is negative.
func (m *multiScalar) fill(at, width uint) {
	counts := make([]int, len(m.buckets)+1)
	for i, k := range m.ks {
		m.digits[i] = signedDigit(k, at, width)
		counts[max(m.digits[i], -m.digits[i])]++
	}
	items := m.items
	for i, n := range counts[1:] {
		m.buckets[i], items = items[:0:n], items[n:]
	}
	for i, p := range m.ps {
		switch d := m.digits[i]; {
		case d > 0:
			m.buckets[d-1] = append(m.buckets[d-1], p)
		case d < 0:
			m.buckets[-d-1] = append(m.buckets[-d-1], affine{p.x, p.y.neg()})
		}
	}
}

// signedDigit is Booth's digit of k at position at, from -2^(width-1) to
// 2^(width-1): the bits there, less 2^width if the top one is set, plus the
// bit below them.
func signedDigit(k u256, at, width uint) int {
	var v int // the bits there and the one below
	if at == 0 {
		v = int(k.bits(0, width)) << 1
	} else {
		v = int(k.bits(at-1, width+1))
	}
	return (v+1)>>1 - v>>width<<width
}

// halve adds the points of each bucket in pairs. It reports false, and does
// nothing, if there are too few pairs to be worth an inversion.
func (m *multiScalar) halve() bool {
	pairs := 0
	for _, b := range m.buckets {
		for ; len(b) >= 2; b = b[2:] {
			m.inverses[pairs] = denominator(b[0], b[1])
			pairs++
		}
	}
	if pairs < 20 {
		return false
	}
	invertFields(m.inverses[:pairs], m.scratch) // none is zero
	n := 0
	for i, b := range m.buckets {
		kept := b[:0]
		for ; len(b) >= 2; b = b[2:] {
			if sum, ok := addAffine(b[0], b[1], m.inverses[n]); ok {
				kept = append(kept, sum)
			}
			n++
		}
		m.buckets[i] = append(kept, b...)
	}
	return true
}

// denominator is that of the slope of the line through a and b, never zero.
func denominator(a, b affine) field {
	switch {
	case a.x != b.x:
		return b.x.sub(a.x)
	case a.y == b.y:
		return a.y.add(a.y) // there is no point of order two
	}
	return fieldOne // not used
}

// addAffine returns a + b, given the inverse of their denominator; false if
// that is the identity.
func addAffine(a, b affine, inverse field) (affine, bool) {
	rise := b.y.sub(a.y)
	if a.x == b.x {
		if a.y != b.y {
			return affine{}, false
		}
		rise = triple(a.x.square().sub(fieldOne))
	}
	slope := rise.mul(inverse)
	x := slope.square().sub(a.x).sub(b.x)
	return affine{x, a.x.sub(x).mul(slope).sub(a.y)}, true
}
