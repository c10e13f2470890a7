package p256

import (
	"errors"
	"sync"
)

// Verifier checks many signatures of one key, where only (r, s) is known and
// not the point R that VerifyBatch sums up: x(u₁·G + u₂·pk) mod n = r with u₁ =
// m/s, u₂ = r/s (FIPS 186-5, section 6.4.2), for each signature by itself. All
// is public. It is for thousands of signatures: the table of a key takes 3 ms
// to make and 0.9 MB to keep.
//
// Both u are taken apart into signed digits, for each of which a table has the
// multiple, so that what is left are additions. Those of many signatures go in
// step and share their inversions, and cost six multiplications each, in
// affine coordinates.
//
// A Verifier is safe for concurrent use.
type Verifier struct {
	key multiples
}

// NewVerifier makes the table of a key. The identity is no key.
func NewVerifier(pk Point) (*Verifier, error) {
	if pk.IsIdentity() {
		return nil, errors.New("public key is the identity")
	}
	return &Verifier{newMultiples(pk)}, nil
}

// Verify checks sigs (r then s, 32 bytes each, big-endian) on digests, of which
// there are as many, and returns the indices of the bad ones in rising order.
// It takes some 300 bytes for each.
func (v *Verifier) Verify(digests [][32]byte, sigs [][64]byte) (bad []int) {
	sameLength(len(digests), len(sigs))
	indices := make([]int, 0, len(sigs))
	rs, inverses := make([]Scalar, 0, len(sigs)), make([]Scalar, 0, len(sigs))
	for i := range sigs {
		r, errR := ScalarFromBytes(sigs[i][:32])
		s, errS := ScalarFromBytes(sigs[i][32:])
		if errR != nil || errS != nil || r.IsZero() || s.IsZero() {
			continue
		}
		indices, rs, inverses = append(indices, i), append(rs, r), append(inverses, s)
	}
	if err := InvertPublic(inverses); err != nil {
		indices = nil // not reached: no s is zero
	}
	sums := newSums(len(indices))
	us := make([]u256, len(indices))
	for j, i := range indices {
		us[j] = ScalarFromDigest(digests[i][:]).Mul(inverses[j]).number()
	}
	sums.accumulate(generatorMultiples(), us)
	for j := range indices {
		us[j] = rs[j].Mul(inverses[j]).number()
	}
	sums.accumulate(v.key, us)

	next := 0 // the first that is not judged
	for j, i := range indices {
		for ; next < i; next++ {
			bad = append(bad, next)
		}
		next = i + 1
		if !sums.set[j] || sums.points[j].r() != rs[j] {
			bad = append(bad, i)
		}
	}
	for ; next < len(sigs); next++ {
		bad = append(bad, next)
	}
	return bad
}

// multiplesWidth is that of a digit in bits: a wider one saves additions, until
// a window's multiples are more than the cache holds.
const multiplesWidth = 10

// multiples has d·2^(width·i)·P at [i][d-1], for the digits d from 1 to
// 2^(width-1).
type multiples [][]affine

var generatorMultiples = sync.OnceValue(func() multiples { return newMultiples(Generator()) })

func newMultiples(p Point) multiples {
	const windows = 256/multiplesWidth + 1
	firsts := make([]Point, windows)
	for i := range firsts {
		firsts[i] = p
		for range multiplesWidth {
			p = p.Double()
		}
	}
	Normalize(firsts)
	m := make(multiples, windows)
	for i, first := range firsts {
		m[i] = make([]affine, 1, 1<<(multiplesWidth-1))
		m[i][0] = affine{first.x, first.y}
	}
	inverses := make([]field, windows<<(multiplesWidth-2))
	scratch := make([]field, len(inverses))
	for n := 1; n < 1<<(multiplesWidth-1); n *= 2 { // n·P plus P to n·P
		for i := range m {
			for j, a := range m[i] {
				inverses[i*n+j] = denominator(a, m[i][n-1])
			}
		}
		invertFields(inverses[:windows*n], scratch) // none is zero
		for i := range m {
			for j := range n {
				sum, _ := addAffine(m[i][j], m[i][n-1], inverses[i*n+j]) // no multiple is the identity
				m[i] = append(m[i], sum)
			}
		}
	}
	return m
}

// sums are points that grow in step.
type sums struct {
	points []affine
	set    []bool // false: the identity

	terms             []affine // to be added to the points at...
	at                []int
	inverses, scratch []field
}

func newSums(n int) *sums {
	return &sums{points: make([]affine, n), set: make([]bool, n), terms: make([]affine, 0, n), at: make([]int, 0, n),
		inverses: make([]field, n), scratch: make([]field, n)}
}

// accumulate adds ks[i] times the point of m to the i-th sum.
func (s *sums) accumulate(m multiples, ks []u256) {
	for w := range m {
		s.terms, s.at = s.terms[:0], s.at[:0]
		for i, k := range ks {
			var term affine
			switch d := signedDigit(k, uint(w*multiplesWidth), multiplesWidth); {
			case d == 0:
				continue
			case d > 0:
				term = m[w][d-1]
			default:
				term = m[w][-d-1]
				term.y = term.y.neg()
			}
			if !s.set[i] {
				s.points[i], s.set[i] = term, true
				continue
			}
			s.inverses[len(s.at)] = denominator(s.points[i], term)
			s.terms, s.at = append(s.terms, term), append(s.at, i)
		}
		invertFields(s.inverses[:len(s.at)], s.scratch) // none is zero
		for j, i := range s.at {
			s.points[i], s.set[i] = addAffine(s.points[i], s.terms[j], s.inverses[j])
		}
	}
}
