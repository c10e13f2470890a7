package shamir

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	"zonesigner/mpc"
	"zonesigner/mpc/p256"
)

// pending is what was multiplied since the last Check and waits for it.
type pending struct {
	// Each product c of x and y has a sacrificial product c2 of x2 and y.
	x, y, c, x2, c2 []Share
	batches         []batch
}

// batch is many products with one common factor, which share one sacrifice:
// ws[i] = xs[i]·z and w2 = x2·z.
type batch struct {
	xs, ws    []Share
	z, x2, w2 Share
}

func (p *pending) erase() {
	for _, l := range [][]Share{p.x, p.y, p.c, p.x2, p.c2} {
		clear(l)
	}
	for _, b := range p.batches {
		clear(b.xs)
		clear(b.ws)
	}
}

// Mul opens xᵢ·yᵢ + ρᵢ and takes off the sharing of ρᵢ: one round.
func (b *box) Mul(ctx context.Context, xs, ys []Share) ([]Share, error) {
	if len(xs) != len(ys) {
		return nil, &mpc.ArgumentError{Msg: fmt.Sprintf("%s: multiply %d values by %d", b.engine.Name(), len(xs), len(ys))}
	}
	n := len(xs)
	if !b.engine.active {
		return b.reduce(ctx, products(xs, ys))
	}
	x2 := b.random(n)
	both, err := b.reduce(ctx, append(products(xs, ys), products(x2, ys)...))
	if err != nil {
		return nil, err
	}
	p := &b.pending
	p.x, p.y, p.c = append(p.x, xs...), append(p.y, ys...), append(p.c, both[:n]...)
	p.x2, p.c2 = append(p.x2, x2...), append(p.c2, both[n:]...)
	return slices.Clone(both[:n]), nil
}

// reduce turns shares of degree 2t into shares of degree t of the same values.
func (b *box) reduce(ctx context.Context, shares []Share) ([]Share, error) {
	rho := b.random(len(shares))
	for i := range shares {
		shares[i] = shares[i].Add(rho[i])
	}
	d, err := b.openProducts(ctx, shares)
	if err != nil {
		return nil, err
	}
	for i := range d {
		d[i] = d[i].Sub(rho[i])
	}
	clear(rho)
	return d, nil
}

// openProducts opens sharings of degree 2t, each masked by a fresh sharing of
// zero (section 3).
func (b *box) openProducts(ctx context.Context, shares []Share) ([]p256.Scalar, error) {
	b.addZeros(shares)
	if b.engine.holes.skew != nil {
		b.engine.holes.skew(shares)
	}
	return b.open(ctx, "products", b.open2T, shares)
}

// MulOpen opens xsᵢ·ysᵢ and scales, in one round (section 4).
func (b *box) MulOpen(ctx context.Context, xs, ys []Share, scale []mpc.Scaling[Share]) (opened []p256.Scalar, scaled [][]Share, err error) {
	if len(xs) != len(ys) {
		return nil, nil, &mpc.ArgumentError{Msg: fmt.Sprintf("%s: multiply %d values by %d", b.engine.Name(), len(xs), len(ys))}
	}
	n, m := len(xs), 0
	for _, sc := range scale {
		m += len(sc.Xs)
	}
	// Shares of degree 2t: n products to open, m to scale and, in the active
	// form, n sacrifices of the former and one of each scaling.
	shares := append(make([]Share, 0, 2*n+m+len(scale)), products(xs, ys)...)
	for _, sc := range scale {
		for _, x := range sc.Xs {
			shares = append(shares, x.Mul(sc.By))
		}
	}
	var x2 []Share
	if b.engine.active {
		x2 = b.random(n + len(scale))
		shares = append(shares, products(x2[:n], ys)...)
		for j, sc := range scale {
			shares = append(shares, x2[n+j].Mul(sc.By))
		}
	}
	rho := b.random(len(shares) - n)
	for i := range rho {
		shares[n+i] = shares[n+i].Add(rho[i])
	}
	d, err := b.openProducts(ctx, shares)
	if err != nil {
		return nil, nil, err
	}
	opened = d[:n:n]
	rest := d[n:]
	for i := range rest {
		rest[i] = rest[i].Sub(rho[i])
	}
	clear(rho)
	ws, sacrifices := rest[:m], rest[m:]
	p := &b.pending
	if b.engine.active {
		// An opened value is a sharing of itself by the constant polynomial.
		p.x, p.y, p.c = append(p.x, xs...), append(p.y, ys...), append(p.c, opened...)
		p.x2, p.c2 = append(p.x2, x2[:n]...), append(p.c2, sacrifices[:n]...)
	}
	for j, sc := range scale {
		mine := ws[:len(sc.Xs):len(sc.Xs)]
		ws = ws[len(sc.Xs):]
		scaled = append(scaled, slices.Clone(mine))
		if b.engine.active {
			p.batches = append(p.batches, batch{xs: slices.Clone(sc.Xs), ws: mine, z: sc.By, x2: x2[n+j], w2: sacrifices[n+j]})
		}
	}
	return opened, scaled, nil
}

// Check verifies all products since the last one by sacrifice (section 5).
func (b *box) Check(ctx context.Context) error {
	p := b.pending
	b.pending = pending{}
	if !b.engine.active || len(p.x)+len(p.batches) == 0 {
		return nil
	}
	defer p.erase()
	// Echo: nobody learns a value under the coins before all have confirmed
	// that the coins are the same for all.
	view := b.View()
	if err := b.confirm(ctx, view); err != nil {
		return err
	}
	chi, psi := coins(b.session.id, b.label, view)

	// eᵢ = χ·xᵢ - x2ᵢ, and one for each batch.
	e := make([]Share, 0, len(p.x)+len(p.batches))
	for i := range p.x {
		e = append(e, chi.Mul(p.x[i]).Sub(p.x2[i]))
	}
	for _, w := range p.batches {
		e = append(e, chi.Mul(horner(w.xs, psi)).Sub(w.x2))
	}
	opened, err := b.open(ctx, "sacrifice", b.openT, e)
	if err != nil {
		return err
	}

	// T = Σ ψⁱ·(χ·cᵢ - c2ᵢ - eᵢ·yᵢ), and χ·Σψⁱ·wᵢ - w2 - e·z for each batch.
	t := make([]Share, len(p.x), len(p.x)+len(p.batches)+1)
	for i := range p.x {
		t[i] = chi.Mul(p.c[i]).Sub(p.c2[i]).Sub(opened[i].Mul(p.y[i]))
	}
	zeros := []Share{horner(t, psi)}
	for j, w := range p.batches {
		zeros = append(zeros, chi.Mul(horner(w.ws, psi)).Sub(w.w2).Sub(opened[len(p.x)+j].Mul(w.z)))
	}
	values, err := b.open(ctx, "check of products", b.openT, zeros)
	if err != nil {
		return err
	}
	for _, v := range values {
		if !v.IsZero() && !b.engine.holes.noVerify {
			return b.dispute("a product is wrong")
		}
	}
	return nil
}

// confirm compares digest among all parties.
func (b *box) confirm(ctx context.Context, digest [32]byte) error {
	got, err := mpc.Exchange(ctx, b.net, b.nextRound(), digest[:])
	if err != nil {
		return err
	}
	for _, p := range b.parties {
		if !bytes.Equal(got[p], digest[:]) && !b.engine.holes.noEcho {
			return b.dispute("operators were shown different openings")
		}
	}
	return nil
}

// dispute blames everybody but this party: at least one of them cheated.
func (s *session) dispute(what string) error {
	others := slices.DeleteFunc(slices.Clone(s.parties), func(p mpc.PartyID) bool { return p == s.self })
	return &mpc.CheatError{Parties: others, Disputed: true, What: what}
}

func coins(id mpc.SessionID, label string, view [32]byte) (chi, psi p256.Scalar) {
	var wide [96]byte
	for i := range 3 {
		d := mpc.Digest("zonesigner shamir coins v1", id[:], []byte(label), view[:], []byte{byte(i)})
		copy(wide[32*i:], d[:])
	}
	return p256.ScalarFromWide(wide[:48]), p256.ScalarFromWide(wide[48:])
}

func products(xs, ys []Share) []Share {
	p := make([]Share, len(xs))
	for i := range p {
		p[i] = xs[i].Mul(ys[i])
	}
	return p
}

// horner returns Σ ψⁱ·xsᵢ.
func horner(xs []Share, psi p256.Scalar) p256.Scalar {
	var v p256.Scalar
	for _, x := range slices.Backward(xs) {
		v = v.Mul(psi).Add(x)
	}
	return v
}
