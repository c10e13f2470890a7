package shamir

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	"zonesigner/mpc"
	"zonesigner/mpc/p256"
)

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
	b.pending.Add(xs, ys, both[:n], x2, both[n:])
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
	return b.openTo(ctx, b.users, "products", b.open2T, shares)
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
	if err != nil || d == nil {
		clear(rho)
		return nil, nil, err
	}
	opened = d[:n:n]
	rest := d[n:]
	for i := range rest {
		rest[i] = rest[i].Sub(rho[i])
	}
	clear(rho)
	ws, sacrifices := rest[:m], rest[m:]
	scaled = mpc.SplitScaled(scale, ws)
	if b.engine.active {
		// An opened value is a sharing of itself by the constant polynomial.
		b.pending.Add(xs, ys, opened, x2[:n], sacrifices[:n])
		b.pending.AddScaled(scale, scaled, x2[n:], sacrifices[n:])
	}
	return opened, scaled, nil
}

// Check verifies all products since the last one by sacrifice (section 5).
func (b *box) Check(ctx context.Context) error {
	p := b.pending
	b.pending = mpc.Products[Share]{}
	if !b.engine.active || p.Empty() {
		return nil
	}
	defer p.Erase()
	// Echo: nobody learns a value under the coins before all have confirmed
	// that the coins are the same for all.
	view := b.View()
	if err := b.confirm(ctx, view); err != nil {
		return err
	}
	chi, psi := coins(b.session.id, b.label, view)

	opened, err := b.open(ctx, "sacrifice", b.openT, p.Differences(b, chi, psi))
	if err != nil {
		return err
	}
	values, err := b.open(ctx, "check of products", b.openT, p.Zeros(b, chi, psi, opened))
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
	return mpc.Dispute(mpc.Without(s.parties, s.self), what)
}

func coins(id mpc.SessionID, label string, view [32]byte) (chi, psi p256.Scalar) {
	return mpc.Coins("zonesigner shamir coins v1", id[:], []byte(label), view[:])
}

func products(xs, ys []Share) []Share {
	p := make([]Share, len(xs))
	for i := range p {
		p[i] = xs[i].Mul(ys[i])
	}
	return p
}
