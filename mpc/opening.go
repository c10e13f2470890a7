package mpc

import (
	"fmt"
	"math"
	"math/bits"
	"slices"

	"zonesigner/mpc/p256"
)

// Opening recombines sharings of one degree from the shares of known parties,
// checks that all shares lie on one polynomial, and says who lied when they do
// not (docs/protocol.md, section 3). It is safe for concurrent use.
type Opening struct {
	parties []PartyID // as shares are ordered
	xs      []int64   // their evaluation points
	self    int       // index of the party that opens, which trusts itself; -1: none
	degree  int
	liars   int // at most so many parties may lie

	zero   combination   // of the first degree+1 shares: the value at 0
	checks []combination // for each further share: what it must be
}

// combination is a point of the polynomial as a sum over the first degree+1
// shares, with coefficients num[i]/den.
type combination struct {
	coeffs []p256.Scalar
	num    []int64
	den    int64
}

// NewOpening prepares openings of sharings of the given degree among parties,
// by self. It reports an ArgumentError when the shares cannot suffice.
func NewOpening(g Group, parties []PartyID, self PartyID, degree int) (*Opening, error) {
	o := &Opening{parties: parties, self: slices.Index(parties, self), degree: degree, liars: g.T}
	for _, p := range parties {
		x, ok := g.X(p)
		if !ok {
			return nil, &ArgumentError{Msg: fmt.Sprintf("operator %q does not belong to the group", p)}
		}
		o.xs = append(o.xs, int64(x))
	}
	if degree < 1 || len(parties) <= degree {
		return nil, &ArgumentError{Msg: fmt.Sprintf("shares of %d operators cannot open a sharing of degree %d", len(parties), degree)}
	}
	base := make([]int, degree+1)
	for i := range base {
		base[i] = i
	}
	var err error
	if o.zero, err = o.combine(base, 0); err != nil {
		return nil, err
	}
	for _, x := range o.xs[degree+1:] {
		c, err := o.combine(base, x)
		if err != nil {
			return nil, err
		}
		o.checks = append(o.checks, c)
	}
	return o, nil
}

// Scale is the factor that a share must have been multiplied with before the
// multiplication by the base point, for Points.
func (o *Opening) Scale() p256.Scalar {
	return p256.InverseOf(uint64(o.zero.den))
}

// Scalars recombines a batch: shares[j][i] is party j's share of value i. A
// failed check is a CheatError that names the liars where that is certain.
func (o *Opening) Scalars(what string, shares [][]p256.Scalar) ([]p256.Scalar, error) {
	values := make([]p256.Scalar, len(shares[0]))
	for i := range values {
		values[i] = sum(o.zero.coeffs, shares, i)
	}
	for e, c := range o.checks {
		further := shares[o.degree+1+e]
		for i := range values {
			if !sum(c.coeffs, shares, i).Equal(further[i]) {
				return nil, o.blame(what, func(base []int, e int) bool {
					c, err := o.combine(base, o.xs[e])
					if err != nil {
						return false
					}
					v := p256.Scalar{}
					for k, j := range base {
						v = v.Add(c.coeffs[k].Mul(shares[j][i]))
					}
					return v.Equal(shares[e][i])
				})
			}
		}
	}
	return values, nil
}

func sum(coeffs []p256.Scalar, shares [][]p256.Scalar, i int) p256.Scalar {
	v := coeffs[0].Mul(shares[0][i])
	for j := 1; j < len(coeffs); j++ {
		v = v.Add(coeffs[j].Mul(shares[j][i]))
	}
	return v
}

// Points recombines a batch of shares, each of which is Scale() times a share
// times the base point, and checks them likewise. All inputs are public.
func (o *Opening) Points(what string, shares [][]p256.Point) ([]p256.Point, error) {
	values := make([]p256.Point, len(shares[0]))
	for i := range values {
		values[i] = small(o.zero.num, shares, i)
	}
	for e, c := range o.checks {
		for i := range values {
			if o.differ(c, shares, i, o.degree+1+e).IsIdentity() {
				continue
			}
			return nil, o.blame(what, func(base []int, e int) bool {
				c, err := o.combine(base, o.xs[e])
				if err != nil {
					return false
				}
				v := shares[e][i].MultSmall(-c.den)
				for k, j := range base {
					v = v.Add(shares[j][i].MultSmall(c.num[k]))
				}
				return v.IsIdentity()
			})
		}
	}
	return values, nil
}

// differ is the identity when share e of point i is what the others say.
func (o *Opening) differ(c combination, shares [][]p256.Point, i, e int) p256.Point {
	return small(c.num, shares, i).Add(shares[e][i].MultSmall(-c.den))
}

func small(num []int64, shares [][]p256.Point, i int) p256.Point {
	v := shares[0][i].MultSmall(num[0])
	for j := 1; j < len(num); j++ {
		v = v.Add(shares[j][i].MultSmall(num[j]))
	}
	return v
}

// blame looks for all explanations of inconsistent shares: polynomials that at
// most so many parties as may lie miss, and never self. Parties that every
// explanation accuses lied for certain. fits reports whether share e lies on
// the polynomial through the shares of base.
func (o *Opening) blame(what string, fits func(base []int, e int) bool) error {
	accusals, explanations := make([]int, len(o.parties)), 0
	for base := range subsets(len(o.parties), o.degree+1) {
		if o.self >= 0 && !slices.Contains(base, o.self) {
			continue // a polynomial that self misses is no explanation; one that it meets has a base with self
		}
		var miss []int
		for e := range o.parties {
			if !slices.Contains(base, e) && !fits(base, e) {
				miss = append(miss, e)
			}
		}
		if len(miss) > o.liars {
			continue
		}
		explanations++
		for _, e := range miss {
			accusals[e]++
		}
	}
	var named, disputed []PartyID
	for j, p := range o.parties {
		if explanations > 0 && accusals[j] == explanations {
			named = append(named, p)
		}
		if accusals[j] > 0 || (explanations == 0 && j != o.self) {
			disputed = append(disputed, p)
		}
	}
	if len(named) > 0 {
		return &CheatError{Parties: named, What: what + ": sent a wrong share"}
	}
	return &CheatError{Parties: disputed, Disputed: len(disputed) > 1, What: what + ": sent a wrong share"}
}

// combine finds the coefficients by which the shares of base give the
// polynomial's value at x, as fractions of small integers. It reports an
// ArgumentError when they are not small.
func (o *Opening) combine(base []int, x int64) (combination, error) {
	fractions := make([]fraction, len(base))
	c := combination{den: 1, num: make([]int64, len(base)), coeffs: make([]p256.Scalar, len(base))}
	fits := true // in 64 bits
	for k, j := range base {
		f := fraction{1, 1}
		for _, m := range base {
			if m != j && fits {
				f, fits = f.times(fraction{x - o.xs[m], o.xs[j] - o.xs[m]}.reduced())
			}
		}
		if fits {
			c.den, fits = product(c.den/gcd(c.den, f.den), f.den)
		}
		fractions[k] = f
	}
	for k, f := range fractions {
		if fits {
			c.num[k], fits = product(f.num, c.den/f.den)
		}
	}
	if !fits {
		return combination{}, &ArgumentError{Msg: "the group is too large: its Lagrange coefficients pass 64 bits"}
	}
	inverse := p256.InverseOf(uint64(c.den))
	for k, n := range c.num {
		s := p256.NewScalar(uint64(max(n, -n)))
		if n < 0 {
			s = s.Neg()
		}
		c.coeffs[k] = s.Mul(inverse)
	}
	return c, nil
}

// fraction is in lowest terms, with den above 0, where it is not being reduced.
type fraction struct{ num, den int64 }

func (f fraction) reduced() fraction {
	g := gcd(f.num, f.den)
	if f.den < 0 {
		g = -g
	}
	return fraction{f.num / g, f.den / g}
}

// times returns f·h; false where that passes 64 bits.
func (f fraction) times(h fraction) (fraction, bool) {
	g1, g2 := gcd(f.num, h.den), gcd(h.num, f.den)
	num, ok1 := product(f.num/g1, h.num/g2)
	den, ok2 := product(f.den/g2, h.den/g1)
	return fraction{num, den}, ok1 && ok2
}

// gcd is the greatest common divisor, above 0; one of a and b must not be 0.
func gcd(a, b int64) int64 {
	for b != 0 {
		a, b = b, a%b
	}
	return max(a, -a)
}

// product returns a·b; false where that passes 64 bits.
func product(a, b int64) (int64, bool) {
	high, low := bits.Mul64(uint64(max(a, -a)), uint64(max(b, -b)))
	return a * b, high == 0 && low <= math.MaxInt64
}

// subsets yields every ascending choice of k of the numbers 0 to n-1.
func subsets(n, k int) func(yield func([]int) bool) {
	return func(yield func([]int) bool) {
		choice := make([]int, 0, k)
		var extend func(from int) bool
		extend = func(from int) bool {
			if len(choice) == k {
				return yield(choice)
			}
			for i := from; i <= n-(k-len(choice)); i++ {
				choice = append(choice, i)
				if !extend(i + 1) {
					return false
				}
				choice = choice[:len(choice)-1]
			}
			return true
		}
		extend(0)
	}
}
