package rep3

import (
	"bytes"
	"context"
	"fmt"
	"hash"
	"slices"

	"zonesigner/mpc"
	"zonesigner/mpc/p256"
)

// Mul sends one scalar a product (two in the active form) to one party.
func (b *box) Mul(ctx context.Context, xs, ys []Share) ([]Share, error) {
	if len(xs) != len(ys) {
		return nil, &mpc.ArgumentError{Msg: fmt.Sprintf("%s: multiply %d values by %d", b.engine.Name(), len(xs), len(ys))}
	}
	n := len(xs)
	u := appendSummands(make([]p256.Scalar, 0, 2*n), xs, ys)
	if !b.engine.active {
		_, zs, err := b.products(ctx, u, 0)
		return zs, err
	}
	x2 := b.random(n)
	_, both, err := b.products(ctx, appendSummands(u, x2, ys), 0)
	if err != nil {
		return nil, err
	}
	b.pending.Add(xs, ys, both[:n], x2, both[n:])
	return both[:n:n], nil
}

// MulOpen opens xsᵢ·ysᵢ and scales, in one round.
func (b *box) MulOpen(ctx context.Context, xs, ys []Share, scale []mpc.Scaling[Share]) (opened []p256.Scalar, scaled [][]Share, err error) {
	if len(xs) != len(ys) {
		return nil, nil, &mpc.ArgumentError{Msg: fmt.Sprintf("%s: multiply %d values by %d", b.engine.Name(), len(xs), len(ys))}
	}
	n, m := len(xs), 0
	for _, sc := range scale {
		m += len(sc.Xs)
	}
	// n products to open, m to scale and, in the active form, n sacrifices of
	// the former and one of each scaling.
	u := appendSummands(make([]p256.Scalar, 0, 2*n+m+len(scale)), xs, ys)
	for _, sc := range scale {
		for _, x := range sc.Xs {
			u = append(u, summand(x, sc.By))
		}
	}
	var x2 []Share
	if b.engine.active {
		x2 = b.random(n + len(scale))
		u = appendSummands(u, x2[:n], ys)
		for j, sc := range scale {
			u = append(u, summand(x2[n+j], sc.By))
		}
	}
	opened, rest, err := b.products(ctx, u, n)
	if err != nil || rest == nil {
		return nil, nil, err
	}
	ws, sacrifices := rest[:m], rest[m:]
	scaled = mpc.SplitScaled(scale, ws)
	if b.engine.active {
		cs := make([]Share, n)
		for i, c := range opened {
			cs[i] = b.constant(c)
		}
		b.pending.Add(xs, ys, cs, x2[:n], sacrifices[:n])
		b.pending.AddScaled(scale, scaled, x2[n:], sacrifices[n:])
	}
	return opened, scaled, nil
}

// summand is what this party can compute of x·y: of the nine products of
// parts, the three parties have three each, and none is computed twice.
func summand(x, y Share) p256.Scalar {
	return x[0].Mul(y[0].Add(y[1])).Add(x[1].Mul(y[0]))
}

func appendSummands(u []p256.Scalar, xs, ys []Share) []p256.Scalar {
	for i := range xs {
		u = append(u, summand(xs[i], ys[i]))
	}
	return u
}

// products takes over this party's summands of products, masks them, opens the
// first n products and returns shares of the others: a party's masked summand
// becomes the part that it and the one before it hold (section 5a). Who is no
// user of the box gets nil.
func (b *box) products(ctx context.Context, u []p256.Scalar, n int) (opened []p256.Scalar, shared []Share, err error) {
	b.addZeros(u)
	if b.engine.holes.skew != nil {
		b.engine.holes.skew(u)
	}
	msg := p256.AppendScalars(make([]byte, 0, p256.ScalarSize*len(u)), u)
	toOpen := p256.ScalarSize * n
	toNext, toPrev := msg[:toOpen], msg
	if !slices.Contains(b.users, b.next) {
		toNext = nil
	}
	if !slices.Contains(b.users, b.prev) {
		toPrev = nil
	}
	var from []mpc.PartyID
	mine := slices.Contains(b.users, b.parties[b.self])
	if mine && n > 0 {
		from = append(from, b.prev)
	}
	if mine && len(u) > 0 {
		from = append(from, b.next)
	}
	got, err := b.trade(ctx, toNext, toPrev, from...)
	if err != nil || !mine {
		clear(u)
		return nil, nil, err
	}
	next, err := p256.DecodeScalars(got[0], len(u))
	if err != nil {
		return nil, nil, &mpc.CheatError{Parties: []mpc.PartyID{b.next}, What: "products: " + err.Error()}
	}
	opened, err = p256.DecodeScalars(got[1], n)
	if err != nil {
		return nil, nil, &mpc.CheatError{Parties: []mpc.PartyID{b.prev}, What: "products: " + err.Error()}
	}
	if b.engine.active {
		enter(b.sent, msg[toOpen:])
		enter(b.received, got[0][toOpen:])
	}
	if n > 0 {
		for i := range opened {
			opened[i] = opened[i].Add(u[i]).Add(next[i])
		}
		b.note("products", p256.AppendScalars(msg[:0], opened))
	}
	shared = make([]Share, len(u)-n)
	for i := range shared {
		shared[i] = Share{u[n+i], next[n+i]}
	}
	clear(u)
	clear(next)
	return opened, shared, nil
}

// enter adds the shared products of one round to a transcript.
func enter(transcript hash.Hash, products []byte) {
	sum := mpc.Digest("zonesigner rep3 shared products v1", products)
	transcript.Write(sum[:])
}

// addZeros adds to each summand this party's part of a fresh sum of zero.
func (b *box) addZeros(u []p256.Scalar) {
	if b.engine.holes.noMask {
		return
	}
	for i, r := range b.streams[0].Scalars(len(u)) {
		u[i] = u[i].Add(r)
	}
	for i, r := range b.streams[1].Scalars(len(u)) {
		u[i] = u[i].Sub(r)
	}
}

// Check verifies all products since the last one by sacrifice (sections 5 and
// 5a).
func (b *box) Check(ctx context.Context) error {
	p := b.pending
	b.pending = mpc.Products[Share]{}
	if p.Empty() {
		return nil
	}
	defer p.Erase()
	chi, psi, err := b.drawCoins(ctx)
	if err != nil {
		return err
	}

	opened, err := b.open(ctx, "sacrifice", p.Differences(b, chi, psi))
	if err != nil {
		return err
	}
	values, err := b.open(ctx, "check of products", p.Zeros(b, chi, psi, opened))
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

// drawCoins makes the coins of a check after an echo: everybody has told
// everybody digests of what it has opened, and of the shared products that it
// has sent and received. The coins are a hash of all that, so products do not
// change any more once they are known, and nobody learns a value under them
// before all have confirmed that they are the same for all.
func (b *box) drawCoins(ctx context.Context) (chi, psi p256.Scalar, err error) {
	view := b.View()
	own := b.received.Sum(b.sent.Sum(view[:]))
	got, err := b.exchange(ctx, own, own)
	if err != nil {
		return chi, psi, err
	}
	said := map[mpc.PartyID][]byte{b.parties[b.self]: own, b.next: got[0], b.prev: got[1]}
	if err := b.compare(said); err != nil {
		return chi, psi, err
	}
	var products []byte // digests of what each has sent
	for _, p := range b.parties {
		products = append(products, said[p][32:64]...)
	}
	if b.engine.holes.noShared {
		products = nil
	}
	b.note("shared products", products)
	chi, psi = coins(b.session.id, b.label, view, products)
	return chi, psi, nil
}

// compare finds who said something else than another: each is 32 bytes of
// view, of what was sent and of what was received.
func (b *box) compare(said map[mpc.PartyID][]byte) error {
	self := b.parties[b.self]
	for _, p := range b.parties {
		if len(said[p]) != 96 {
			return &mpc.CheatError{Parties: []mpc.PartyID{p}, What: fmt.Sprintf("echo of %d bytes, want 96", len(said[p]))}
		}
	}
	if b.engine.holes.noEcho {
		return nil
	}
	for _, p := range b.parties {
		if !bytes.Equal(said[p][:32], said[self][:32]) {
			return b.dispute("operators were shown different openings")
		}
	}
	for i, p := range b.parties {
		to := b.parties[(i+2)%3]
		if bytes.Equal(said[p][32:64], said[to][64:]) {
			continue
		}
		// Who is at one end knows that the other lied.
		suspects := slices.DeleteFunc(mpc.NewSignerSet(p, to), func(p mpc.PartyID) bool { return p == self })
		return &mpc.CheatError{Parties: suspects, Disputed: len(suspects) > 1, What: "products were sent and received differently"}
	}
	return nil
}

func coins(id mpc.SessionID, label string, view [32]byte, products []byte) (chi, psi p256.Scalar) {
	return mpc.Coins("zonesigner rep3 coins v1", id[:], []byte(label), view[:], products)
}
