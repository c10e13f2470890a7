package cggmp

import (
	"context"
	"crypto/rand"
	"fmt"

	"zonesigner/mpc"
	"zonesigner/mpc/p256"
)

// spending is tuples that are spent, and what all members of the set have
// agreed to sign with them.
type spending struct {
	round string // of the shares of s
	set   mpc.SignerSet
	seed  [32]byte // of the factors: fresh, and the same for all members
	parts []part
}

// part is consecutive tuples of one chunk, the key that they are of, what they
// sign, and the manifest that this is for.
type part struct {
	public   p256.Point
	manifest [32]byte
	tuples   mpc.TupleRange
	own      []*tuple
	digests  [][32]byte
}

// randomised is a tuple by a factor δ that nobody knew before everybody had
// agreed on the message.
type randomised struct {
	public p256.Point
	tuple  *tuple
	digest [32]byte
	m      p256.Scalar // the digest as a number
	R      p256.Point  // δ·R
	r      p256.Scalar // its x coordinate
	share  p256.Scalar // of s: k·δ⁻¹·m + χ·δ⁻¹·r
}

// factor is δ of tuple i of a part: a hash of the session and the members'
// nonces (seed), of which tuple it is, of its R, and of the manifest and the
// digest that it is for.
func (p *part) factor(seed [32]byte, i int) (p256.Scalar, error) {
	R, err := p.own[i].R.Bytes()
	if err != nil {
		return p256.Scalar{}, err
	}
	fields := [][]byte{seed[:], p.tuples.Chunk[:], uint64Bytes(uint64(p.tuples.From + i)), R[:], p.manifest[:], p.digests[i][:]}
	low := mpc.Digest("zonesigner cggmp factor v1 low", fields...)
	high := mpc.Digest("zonesigner cggmp factor v1 high", fields...)
	return p256.ScalarFromWide(append(high[:16:16], low[:]...)), nil
}

// randomise makes this party's share of every s. What all members hold alike
// of a tuple (RBar, S) stays as it is: k·δ⁻¹ on δ·R is k on R.
func (sp *spending) randomise(holes holes) ([]*randomised, error) {
	var all []*randomised
	for p := range sp.parts {
		part := &sp.parts[p]
		for i, t := range part.own {
			delta, err := part.factor(sp.seed, i)
			if err != nil {
				return nil, err
			}
			if holes.noRandomising {
				delta = p256.One()
			}
			n := &randomised{public: part.public, tuple: t, digest: part.digests[i], R: t.R.Mult(delta)}
			n.m = p256.ScalarFromDigest(n.digest[:])
			if n.r, err = n.R.X(); err != nil || n.r.IsZero() {
				return nil, fmt.Errorf("tuple %d of chunk %x has no usable x coordinate", part.tuples.From+i, part.tuples.Chunk[:8])
			}
			n.share = t.k.Mul(n.m).Add(t.chi.Mul(n.r)).Mul(delta.Inverse())
			all = append(all, n)
		}
	}
	return all, nil
}

// open is the round in which signatures come to be: everybody gives its shares
// of s. A member whose share is wrong is named.
func (sp *spending) open(ctx context.Context, net mpc.Network, holes holes) ([]mpc.Signature, error) {
	all, err := sp.randomise(holes)
	if err != nil {
		return nil, err
	}
	mine := make([]byte, 0, sizeScalar*len(all))
	for _, n := range all {
		mine = n.share.AppendBytes(mine)
	}
	got, err := mpc.Exchange(ctx, net, sp.round, mine)
	if err != nil {
		return nil, err
	}
	shares := make([][]p256.Scalar, len(sp.set))
	for j, p := range sp.set {
		if shares[j], err = p256.DecodeScalars(got[p], len(all)); err != nil {
			return nil, &mpc.CheatError{Parties: []mpc.PartyID{p}, What: "shares of s: " + err.Error()}
		}
	}
	sums := make([]p256.Scalar, len(all))
	for i := range all {
		for j := range sp.set {
			sums[i] = sums[i].Add(shares[j][i])
		}
	}
	if err := sp.verify(net.Self(), all, sums, shares, holes); err != nil {
		return nil, err
	}
	return signatures(all, sums), nil
}

// verify checks every signature. Where one is bad, so is somebody's share of
// it (see tuple.check).
func (sp *spending) verify(self mpc.PartyID, all []*randomised, sums []p256.Scalar, shares [][]p256.Scalar, holes holes) error {
	if holes.noFinalCheck {
		return nil
	}
	n := len(all)
	pks, digests := make([]p256.Point, n), make([][32]byte, n)
	rs, Rs := make([]p256.Scalar, n), make([]p256.Point, n)
	for i, a := range all {
		pks[i], digests[i], rs[i], Rs[i] = a.public, a.digest, a.r, a.R
	}
	bad, err := p256.VerifyBatch(pks, digests, rs, sums, Rs, rand.Reader)
	if err != nil {
		return fmt.Errorf("verify signatures: %w", err)
	}
	if len(bad) > 0 {
		return sp.blame(self, all, shares, bad[0])
	}
	return nil
}

// blame names who sent a share of signature i that does not fit the tuple's
// public values: σⱼ·R ≠ m·RBarⱼ + r·Sⱼ.
func (sp *spending) blame(self mpc.PartyID, all []*randomised, shares [][]p256.Scalar, i int) error {
	a := all[i]
	var named []mpc.PartyID
	for j, p := range sp.set {
		want := a.tuple.RBar[j].Mult(a.m).Add(a.tuple.S[j].Mult(a.r))
		if !a.R.Mult(shares[j][i]).Equal(want) && p != self {
			named = append(named, p)
		}
	}
	what := fmt.Sprintf("sent a wrong share of signature %d", i)
	if named == nil {
		return mpc.Dispute(mpc.Without(sp.set, self), fmt.Sprintf("signature %d does not verify", i)) // not reached: check and blame say the same
	}
	return &mpc.CheatError{Parties: named, What: what}
}

// signatures are (r, s) in the one form that is given out: of s and -s, which
// both verify, the smaller, as in mpc/ecdsa.
func signatures(all []*randomised, sums []p256.Scalar) []mpc.Signature {
	out := make([]mpc.Signature, len(all))
	for i, a := range all {
		s := sums[i]
		if s.IsHigh() {
			s = s.Neg()
		}
		rb, sb := a.r.Bytes(), s.Bytes()
		copy(out[i][:32], rb[:])
		copy(out[i][32:], sb[:])
	}
	return out
}
