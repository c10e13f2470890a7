package shamir

import (
	"slices"

	"zonesigner/mpc"
	"zonesigner/mpc/p256"
)

// seed is known to m-t of a session's m parties, and stands for the
// polynomials that vanish at all others.
type seed struct {
	mpc.Seed
	f     p256.Scalar   // f_A at this party's point: 1 at 0, 0 at the points of all others
	zeros []p256.Scalar // xˡ·f_A at this party's point, l = 1 … t
}

func newSeed(a mpc.Seed, g mpc.Group, parties []mpc.PartyID, self mpc.PartyID) seed {
	at, _ := g.X(self)
	x := p256.NewScalar(uint64(at))
	s := seed{Seed: a, f: p256.One()}
	for _, p := range parties {
		if !slices.Contains(a.Holders, p) {
			zero, _ := g.X(p)
			s.f = s.f.Mul(p256.One().Sub(x.Mul(p256.InverseOf(uint64(zero)))))
		}
	}
	power := s.f
	for range g.T {
		power = power.Mul(x)
		s.zeros = append(s.zeros, power)
	}
	return s
}

// stream is a seed's pseudo-random stream for one box.
type stream struct {
	*mpc.SeedStream
	seed *seed
}

// addTo adds scalars of the stream, times coeff, to sums.
func (s stream) addTo(sums []p256.Scalar, coeff p256.Scalar) {
	for i, r := range s.Scalars(len(sums)) {
		sums[i] = sums[i].Add(r.Mul(coeff))
	}
}

// random returns shares of n uniform values: pseudo-random secret sharing.
func (b *box) random(n int) []Share {
	shares := make([]Share, n)
	for _, s := range b.streams {
		s.addTo(shares, s.seed.f)
	}
	return shares
}

// addZeros adds to each of shares, of degree 2t, a fresh sharing of 0 that is
// uniform among those of its degree.
func (b *box) addZeros(shares []Share) {
	for _, s := range b.streams {
		for _, coeff := range s.seed.zeros {
			if b.engine.holes.noMask {
				coeff = p256.Scalar{}
			}
			s.addTo(shares, coeff)
		}
	}
}
