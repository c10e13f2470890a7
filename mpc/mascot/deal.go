package mascot

import (
	"context"
	"fmt"
	"io"
	"slices"

	"zonesigner/mpc"
	"zonesigner/mpc/p256"
)

// Deal takes a uniform addend for each party but the first, which gets what
// they lack of x. MACs are made by Import.
func (e Engine) Deal(g mpc.Group, x p256.Scalar, rand io.Reader) ([][]p256.Scalar, error) {
	if err := e.Supports(g); err != nil {
		return nil, err
	}
	words := make([][]p256.Scalar, g.N())
	for i := 1; i < len(words); i++ {
		addend, err := p256.RandomScalar(rand)
		if err != nil {
			return nil, fmt.Errorf("%s: deal: %w", e.Name(), err)
		}
		words[i], x = []p256.Scalar{addend}, x.Sub(addend)
	}
	words[0] = []p256.Scalar{x}
	return words, nil
}

// SigningForm is the inverse of id's Lagrange coefficient.
func (e Engine) SigningForm(g mpc.Group, id mpc.PartyID) ([]p256.Scalar, error) {
	if _, ok := g.X(id); !ok {
		return nil, &mpc.ArgumentError{Msg: fmt.Sprintf("%s: %q is no operator of the group", e.Name(), id)}
	}
	return []p256.Scalar{inverseLagrange(g, id)}, nil
}

// CheckCopies has nothing to check: every party has an addend of its own.
func (Engine) CheckCopies(mpc.Group, [][]p256.Point) error { return nil }

// Import gives addends that were dealt MACs of this session, and checks with
// the MACs that they add up to the logarithms of publics: who cheats, if any,
// is one of the others (section 7a). From there on the session is one of the
// full protocol: what mascot-minus leaves unchecked is made up for by suspending
// a key that exists, and this one does not yet.
func (b *box) Import(ctx context.Context, words [][]p256.Scalar, publics []p256.Point) ([]Share, error) {
	if len(words) != len(publics) || slices.ContainsFunc(words, func(w []p256.Scalar) bool { return len(w) != 1 }) {
		return nil, &mpc.ArgumentError{Msg: fmt.Sprintf("%s: import %d values of one word, with %d points", b.engine.Name(), len(words), len(publics))}
	}
	if !b.engine.holes.lenient {
		b.session.engine.minus = false
	}
	encoded, err := p256.AppendPoints(nil, publics)
	if err != nil {
		return nil, fmt.Errorf("%s: import: %w", b.engine.Name(), err)
	}
	values, macs := make([]p256.Scalar, len(words)), make([]p256.Scalar, len(words))
	defer clear(values)
	for i, w := range words {
		values[i] = w[0]
	}
	if b.engine.holes.shift != nil {
		b.engine.holes.shift("import", values)
	}
	xs, err := b.authenticate(ctx, values)
	if err != nil {
		return nil, err
	}
	b.pending.hidden = append(b.pending.hidden, xs...)
	if err := b.Check(ctx); err != nil {
		return nil, err
	}
	for i, x := range xs {
		macs[i] = x.MAC
	}
	b.note("import", encoded)
	if err := b.checkPoints(ctx, macs, publics); err != nil {
		return nil, err
	}
	return xs, nil
}
