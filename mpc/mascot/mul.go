package mascot

import (
	"context"
	"fmt"

	"zonesigner/mpc"
	"zonesigner/mpc/p256"
)

// Mul multiplies with triples (Beaver, CRYPTO 1991).
func (b *box) Mul(ctx context.Context, xs, ys []Share) ([]Share, error) {
	products, _, err := b.multiplyAll(ctx, xs, ys, nil)
	return products, err
}

// MulOpen multiplies with triples, opens the products, and scales.
func (b *box) MulOpen(ctx context.Context, xs, ys []Share, scale []mpc.Scaling[Share]) (values []p256.Scalar, scaled [][]Share, err error) {
	products, scaled, err := b.multiplyAll(ctx, xs, ys, scale)
	if err != nil {
		return nil, nil, err
	}
	if values, err = b.reveal(ctx, "products", products); err != nil {
		return nil, nil, err
	}
	b.expect(values, products)
	return values, scaled, nil
}

// multiplyAll returns xsᵢ·ysᵢ, and for each scaling the values times its factor.
func (b *box) multiplyAll(ctx context.Context, xs, ys []Share, scale []mpc.Scaling[Share]) (products []Share, scaled [][]Share, err error) {
	n := len(xs)
	if n != len(ys) {
		return nil, nil, &mpc.ArgumentError{Msg: fmt.Sprintf("%s: multiply %d values by %d", b.engine.Name(), n, len(ys))}
	}
	if xs, ys, scale, err = b.adoptAll(ctx, xs, ys, scale); err != nil {
		return nil, nil, err
	}
	triples, err := b.components(ctx, n)
	if err != nil {
		return nil, nil, err
	}
	masked := make([]scaling, len(scale))
	for j, sc := range scale {
		if masked[j], err = b.scaleByMask(ctx, sc.Xs); err != nil {
			return nil, nil, err
		}
		b.pending.ties = append(b.pending.ties, masked[j])
	}
	// Only when the adversary's guesses about the components are over may it
	// learn how they are combined: privacy amplification.
	if err := b.Check(ctx); err != nil {
		return nil, nil, err
	}
	coins, err := b.coins(ctx)
	if err != nil {
		return nil, nil, err
	}
	r0, r1 := coin(coins, 0), coin(coins, 1)
	if b.engine.holes.noCombine {
		r0, r1 = p256.One(), p256.Scalar{}
	}
	combine := func(x, y Share) Share { return b.Add(b.Scale(x, r0), b.Scale(y, r1)) }

	// Open x - a, y - b, and each factor less its mask.
	differences := make([]Share, 2*n, 2*n+len(scale))
	bs := make([]Share, n)
	for i := range n {
		bs[i] = combine(triples.b[0][i], triples.b[1][i])
		differences[i], differences[n+i] = b.Sub(xs[i], triples.a[i]), b.Sub(ys[i], bs[i])
	}
	for j, sc := range scale {
		differences = append(differences, b.Sub(sc.By, combine(masked[j].z[0], masked[j].z[1])))
	}
	d, err := b.reveal(ctx, "differences", differences)
	if err != nil {
		return nil, nil, err
	}
	if !b.engine.minus {
		b.expect(d, differences)
	}

	// (a + d)(b + e) = c + e·a + d·b + d·e, and x·y = x·z + x·(y - z).
	products = make([]Share, n)
	for i := range n {
		x, y := d[i], d[n+i]
		c := combine(triples.c[0][i], triples.c[1][i])
		c = b.Add(c, b.Add(b.Scale(triples.a[i], y), b.Scale(bs[i], x)))
		products[i] = b.Add(c, b.constant(x.Mul(y)))
	}
	for j, sc := range scale {
		ws := make([]Share, len(sc.Xs))
		for i, x := range sc.Xs {
			ws[i] = b.Add(combine(masked[j].ws[0][i], masked[j].ws[1][i]), b.Scale(x, d[2*n+j]))
		}
		scaled = append(scaled, ws)
	}
	return products, scaled, nil
}

// scaleByMask multiplies xs, and after them a random value, by two fresh
// factors.
func (b *box) scaleByMask(ctx context.Context, xs []Share) (scaling, error) {
	fresh, err := b.random(ctx, 1)
	if err != nil {
		return scaling{}, err
	}
	s := scaling{xs: append(xs[:len(xs):len(xs)], fresh...)}
	fs, err := b.newFactors(ctx, randomFactors(2))
	if err != nil {
		return scaling{}, err
	}
	zs, err := b.authenticate(ctx, []p256.Scalar{fs[0].own, fs[1].own})
	if err != nil {
		return scaling{}, err
	}
	s.z = [2]Share(zs)
	b.pending.hidden = append(b.pending.hidden, zs...)
	// The MACs of the products are the products of the MACs.
	n := len(s.xs)
	in := make([]p256.Scalar, 2*n)
	for i, x := range s.xs {
		in[i], in[n+i] = x.Value, x.MAC
	}
	defer clear(in)
	out, err := b.times(ctx, fs, in)
	if err != nil {
		return scaling{}, err
	}
	for t := range s.ws {
		s.ws[t] = make([]Share, n)
		for i := range n {
			s.ws[t][i] = Share{out[t][i], out[t][n+i], b.key.own}
		}
	}
	return s, nil
}
