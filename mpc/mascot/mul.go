package mascot

import (
	"context"
	"fmt"
	"slices"

	"zonesigner/mpc"
	"zonesigner/mpc/p256"
)

// Mul multiplies by random factors and opens by what they differ from ys
// (Beaver, CRYPTO 1991, with the first factor of a triple given).
func (b *box) Mul(ctx context.Context, xs, ys []Share) ([]Share, error) {
	products, _, err := b.multiplyAll(ctx, xs, ys, nil)
	return products, err
}

// MulOpen multiplies, opens the products, and scales.
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

// fewValues is how many values are multiplied one by one rather than by masks,
// which take about three products' work to set up, and more rounds.
const fewValues = 3

// multiplyAll returns xsᵢ·ysᵢ, and for each scaling the values times its factor.
func (b *box) multiplyAll(ctx context.Context, xs, ys []Share, scale []mpc.Scaling[Share]) (products []Share, scaled [][]Share, err error) {
	if len(xs) != len(ys) {
		return nil, nil, &mpc.ArgumentError{Msg: fmt.Sprintf("%s: multiply %d values by %d", b.engine.Name(), len(xs), len(ys))}
	}
	for _, values := range append([][]Share{xs, ys}, factors(scale)...) {
		if err := b.haveMACs(values); err != nil {
			return nil, nil, err
		}
	}
	// First factors must be this session's before anything is made of them.
	if b.areForeign(xs) || slices.ContainsFunc(scale, func(sc mpc.Scaling[Share]) bool { return b.areForeign(sc.Xs) }) {
		if xs, ys, scale, err = b.adoptAll(ctx, xs, ys, scale); err != nil {
			return nil, nil, err
		}
	}
	n := len(xs)
	xs = slices.Clone(xs)
	var many []mpc.Scaling[Share]
	for _, sc := range scale {
		if len(sc.Xs) > fewValues {
			many = append(many, sc)
		} else {
			xs = append(xs, sc.Xs...)
		}
	}
	all, large, err := b.multiplyMany(ctx, n, xs, many, func(ctx context.Context, b *box) (right, by []Share, err error) {
		_, ys, scale, err := b.adoptAll(ctx, nil, ys, scale)
		right = slices.Clone(ys)
		for _, sc := range scale {
			if len(sc.Xs) > fewValues {
				by = append(by, sc.By)
			} else {
				right = append(right, slices.Repeat([]Share{sc.By}, len(sc.Xs))...)
			}
		}
		return right, by, err
	})
	if err != nil {
		return nil, nil, err
	}
	products, small := all[:n:n], all[n:]
	for _, sc := range scale {
		var ws []Share
		if len(sc.Xs) > fewValues {
			ws, large = large[0], large[1:]
		} else {
			ws, small = small[:len(sc.Xs):len(sc.Xs)], small[len(sc.Xs):]
		}
		if sc.ForSigning {
			for i := range ws {
				ws[i] = Share{Value: ws[i].Value}
			}
		}
		scaled = append(scaled, ws)
	}
	return products, scaled, nil
}

// multiplyMany multiplies xs, and the values of scalings, each of which has masks,
// all of this session. By what, second says in rounds of another box: ys, and the
// factors of scalings. Products from the given one on may have a first factor that
// another has too.
func (b *box) multiplyMany(ctx context.Context, from int, xs []Share, scale []mpc.Scaling[Share], second func(ctx context.Context, b *box) (ys, by []Share, err error)) (products []Share, scaled [][]Share, err error) {
	n := len(xs)
	groups, largest := byFactor(xs, from), 1
	var factors []Share // of components
	for _, g := range groups {
		factors = append(factors, slices.Repeat(xs[g[0]:g[0]+1], b.componentsOf(len(g)))...)
		largest = max(largest, len(g))
	}
	// None of these reads what another makes, and one check is for all.
	var parts *components
	var masked []scaling
	var ys, by []Share
	masks, ready, others := b.session.box(b.nextRound()), b.session.box(b.nextRound()), b.session.box(b.nextRound())
	err = mpc.Pipeline(ctx, 4, 4, nil, func(ctx context.Context, i int) (err error) {
		switch i {
		case 0:
			parts, err = b.components(ctx, factors)
			return err
		case 1:
			return b.readyCheck(ctx, ready)
		case 2:
			ys, by, err = second(ctx, others)
			return err
		}
		for batch := range slices.Chunk(scale, scaleBatch) {
			some, err := masks.scaleByMasks(ctx, batch)
			if err != nil {
				return err
			}
			masked = append(masked, some...)
		}
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	b.pending.hidden = append(b.pending.hidden, masks.pending.hidden...)
	masks.pending.erase()
	b.pending.ties = append(b.pending.ties, masked...)
	b.pending.adopted = append(b.pending.adopted, others.pending.adopted...)
	// Only when the adversary's guesses about the components are over may it
	// learn how they are combined: privacy amplification.
	coins, err := b.checkAndToss(ctx)
	if err != nil {
		return nil, nil, err
	}
	r := newAmplification(coins, largest, &b.engine.holes)

	// Open y less the factor that x was multiplied by, and each scaling's factor
	// less its mask. x·y = x·b + x·(y - b).
	products = make([]Share, n)
	differences := make([]Share, n, n+len(scale))
	at := 0
	for _, g := range groups {
		end := at + b.componentsOf(len(g))
		for t, i := range g {
			products[i] = r.row(t, parts.c[at:end])
			differences[i] = b.Sub(ys[i], r.row(t, parts.b[at:end]))
		}
		at = end
	}
	for j := range scale {
		differences = append(differences, b.Sub(by[j], r.row(0, masked[j].z[:])))
	}
	d, err := b.reveal(ctx, "differences", differences)
	if err != nil {
		return nil, nil, err
	}
	if !b.engine.minus {
		b.expect(d, differences)
	}

	for i, x := range xs {
		products[i] = b.Add(products[i], b.Scale(x, d[i]))
	}
	for j, sc := range scale {
		ws := make([]Share, len(sc.Xs))
		for i, x := range sc.Xs {
			ws[i] = b.Add(r.row(0, []Share{masked[j].ws[0][i], masked[j].ws[1][i]}), b.Scale(x, d[n+j]))
		}
		scaled = append(scaled, ws)
	}
	return products, scaled, nil
}

// factors are all values that scalings multiply.
func factors(scale []mpc.Scaling[Share]) [][]Share {
	var all [][]Share
	for _, sc := range scale {
		all = append(all, sc.Xs, []Share{sc.By})
	}
	return all
}

// scaleBatch bounds how many scalings are set up together: a factor's seeds
// take about half a megabyte for each peer.
const scaleBatch = 8

// scaleByMasks multiplies the values of each scaling, and after them a random
// value, by two fresh factors.
func (b *box) scaleByMasks(ctx context.Context, scale []mpc.Scaling[Share]) ([]scaling, error) {
	fs, err := b.newFactors(ctx, numberDigits, randomFactors(2*len(scale), numberDigits))
	if err != nil {
		return nil, err
	}
	defer func() {
		for _, f := range fs {
			f.erase()
		}
	}()
	own := make([]p256.Scalar, len(scale), len(scale)+len(fs))
	for i := range own {
		own[i] = randomScalar()
	}
	for _, f := range fs {
		own = append(own, f.own)
	}
	fresh, err := b.authenticate(ctx, own)
	if err != nil {
		return nil, err
	}
	masks, zs := fresh[:len(scale)], fresh[len(scale):]
	b.pending.hidden = append(b.pending.hidden, zs...)
	out, jobs := make([]scaling, len(scale)), make([]*job, len(scale))
	for j, sc := range scale {
		out[j] = scaling{xs: append(sc.Xs[:len(sc.Xs):len(sc.Xs)], masks[j]), z: [2]Share(zs[2*j : 2*j+2]), bare: sc.ForSigning}
		jobs[j] = &job{fs: fs[2*j : 2*j+2], xs: make([]p256.Scalar, 0, 2*len(out[j].xs))}
		for _, x := range out[j].xs {
			jobs[j].xs = append(jobs[j].xs, x.Value)
		}
		if !sc.ForSigning { // the MACs of the products are the products of the MACs
			for _, x := range out[j].xs {
				jobs[j].xs = append(jobs[j].xs, x.MAC)
			}
		}
		defer clear(jobs[j].xs)
	}
	if err := b.times(ctx, jobs...); err != nil {
		return nil, err
	}
	for j := range out {
		n := len(out[j].xs)
		for t, products := range jobs[j].products {
			out[j].ws[t] = make([]Share, n)
			for i := range n {
				if out[j].ws[t][i] = (Share{Value: products[i], Key: b.key.own}); !out[j].bare {
					out[j].ws[t][i].MAC = products[n+i]
				}
			}
		}
	}
	return out, nil
}
