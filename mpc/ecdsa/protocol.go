package ecdsa

import (
	"context"
	"fmt"
	"slices"

	"zonesigner/mpc"
	"zonesigner/mpc/p256"
)

// Protocol is an engine that Figure 4 runs over. Over makes one.
type Protocol interface {
	// Name is the engine's name.
	Name() string
	// Active, Supports and Signers are those of mpc.Engine.
	Active() bool
	Supports(g mpc.Group) error
	Signers(g mpc.Group, set mpc.SignerSet) error

	// start opens a session of the engine.
	start(ctx context.Context, net mpc.Network, g mpc.Group, binding [32]byte) (workshop, error)
	// dealer is nil where keys cannot be dealt.
	dealer() mpc.Dealer
	// tupleSize is about what a party holds of a tuple in the making, in bytes.
	tupleSize(g mpc.Group) int
}

// workshop is a session of some engine in which keys and tuples are made.
// Every party calls a method with the same label, and with each label once.
type workshop interface {
	// randomKeys returns this party's shares of n new keys: in the engine's
	// form, and in the one that signing opens.
	randomKeys(ctx context.Context, n int) (words [][]p256.Scalar, shares []p256.Scalar, err error)
	// takeKeys turns the words of keys that were dealt into those that the engine
	// keeps, and checks that they share the keys' private parts.
	takeKeys(ctx context.Context, keys []*KeyShare) error
	// nonces is the user-independent phase of Figure 4 for n tuples, together
	// with the user-dependent one for those that binds name: all or none. It
	// calls commit when k is there, before anything is multiplied. Who is not
	// among users may be given no products, and has no tuples then.
	nonces(ctx context.Context, label string, users []mpc.PartyID, n int, binds []binding, commit func(*tuples) error) (*tuples, error)
	// bind is the user-dependent phase for n nonces that were made before:
	// their [k⁻¹] are given, flat, as the engine keeps them.
	bind(ctx context.Context, label string, users []mpc.PartyID, kInv []p256.Scalar, n int, binds []binding) (*tuples, error)
	// session is the digest of the session's id and of what was opened in it so
	// far, outside of nonces and bind.
	session() [32]byte
	close()
}

// binding says which tuples become those of a key: count of them from index
// from on.
type binding struct {
	key         []p256.Scalar // secret; a share, as the engine keeps it
	from, count int
}

// tuples is this party's part of n tuples of Figure 4: (⟨k⟩, [k⁻¹], [sk·k⁻¹]).
type tuples struct {
	k      []p256.Scalar // secret; becomes ⟨k⟩ by one base multiplication; only from nonces
	kInv   []p256.Scalar // secret; in the form that signing opens, where it is bound
	kInvSK []p256.Scalar // secret; likewise
	words  []p256.Scalar // secret; [k⁻¹] as the engine keeps it, flat, where it is not bound
	macs   []p256.Scalar // secret; shares of the MACs of k, where the engine has MACs
	macKey p256.Scalar   // secret; this party's share of their key
	begun  [32]byte      // the view when k was there; only from nonces
	view   [32]byte      // of everything that was opened
}

func (t *tuples) erase() {
	clear(t.k)
	clear(t.macs)
	clear(t.kInv)
	clear(t.kInvSK)
	clear(t.words)
}

// Over makes a Protocol of an engine.
func Over[S any](e mpc.Engine[S]) Protocol { return over[S]{e} }

type over[S any] struct{ mpc.Engine[S] }

func (o over[S]) start(ctx context.Context, net mpc.Network, g mpc.Group, binding [32]byte) (workshop, error) {
	box, err := o.Start(ctx, net, g, binding[:])
	if err != nil {
		return nil, err
	}
	return &bench[S]{o.Engine, box}, nil
}

func (o over[S]) dealer() mpc.Dealer {
	d, _ := o.Engine.(mpc.Dealer)
	return d
}

func (o over[S]) tupleSize(g mpc.Group) int {
	if s, ok := o.Engine.(mpc.Sizer); ok {
		return s.TupleSize(g)
	}
	return usualSize
}

type bench[S any] struct {
	engine mpc.Engine[S]
	box    mpc.Box[S]
}

func (b *bench[S]) session() [32]byte { return b.box.View() }

func (b *bench[S]) close() { b.box.Close() }

// randomKeys is "Key Generation" of Figure 4: [sk] ← Rand().
func (b *bench[S]) randomKeys(ctx context.Context, n int) (words [][]p256.Scalar, shares []p256.Scalar, err error) {
	keys, err := b.box.Random(ctx, n)
	if err != nil {
		return nil, nil, err
	}
	if err := b.box.Check(ctx); err != nil {
		return nil, nil, err
	}
	for _, sk := range keys {
		words = append(words, b.engine.Words(sk))
		shares = append(shares, b.box.Signing(sk))
	}
	clear(keys)
	return words, shares, nil
}

// fork is a box whose products are for users; mine says that this party is given
// them.
func (b *bench[S]) fork(label string, users []mpc.PartyID) (box mpc.Box[S], mine bool) {
	box = b.box.Fork(label)
	if n, ok := box.(mpc.Narrower); ok {
		return box, n.Narrow(users)
	}
	return box, true
}

func (b *bench[S]) nonces(ctx context.Context, label string, users []mpc.PartyID, n int, binds []binding, commit func(*tuples) error) (_ *tuples, err error) {
	box, mine := b.fork(label, users)
	t := &tuples{begun: box.View()}
	defer func() {
		if err != nil {
			t.erase()
		}
	}()
	// User independent, step 1: ([a], [b], [c]) ← RandMul().
	random, err := box.Random(ctx, 2*n)
	if err != nil {
		return nil, err
	}
	defer clear(random)
	a, k := random[:n], random[n:]
	// Step 4 has ⟨k⟩ ← Convert([b])·c⁻¹ and step 3 [k⁻¹] = [a]. With the factor on
	// the other one, k = b and k⁻¹ = a·c⁻¹, a signer knows its share of R before
	// anything is opened, and commits to it a round earlier. Here still as scalars.
	t.k = make([]p256.Scalar, n)
	for i := range n {
		t.k[i] = box.Signing(k[i])
	}
	if m, ok := box.(mpc.MACBox[S]); ok {
		t.macKey = m.MACKey()
		for i := range n {
			t.macs = append(t.macs, m.MAC(k[i]))
		}
	}
	if err := commit(t); err != nil {
		return nil, err
	}
	scale, err := b.scalings(a, binds)
	if err != nil {
		return nil, err
	}
	// Step 2: c ← Open([c]); user dependent, step 2: [a·sk] ← Mul([a], [sk]).
	c, scaled, err := mulOpen(ctx, box, a, k, scale)
	if err != nil {
		return nil, err
	}
	if !mine {
		return t, nil
	}
	if err := p256.InvertPublic(c); err != nil { // refuses c = 0
		return nil, fmt.Errorf("masked nonce: %w", err)
	}
	kInv := a
	for i := range kInv {
		kInv[i] = box.Scale(a[i], c[i])
	}
	for j, k := range binds {
		for i, x := range scaled[j] {
			scaled[j][i] = box.Scale(x, c[k.from+i])
		}
	}
	b.collect(t, box, kInv, binds, scaled)
	if binds == nil {
		for _, x := range kInv {
			t.words = append(t.words, b.engine.Words(x)...)
		}
	}
	return t, nil
}

func (b *bench[S]) bind(ctx context.Context, label string, users []mpc.PartyID, words []p256.Scalar, n int, binds []binding) (*tuples, error) {
	box, mine := b.fork(label, users)
	kInv, width := make([]S, n), len(words)/n
	defer clear(kInv)
	for i := range kInv {
		var err error
		if kInv[i], err = b.engine.FromWords(words[width*i : width*(i+1)]); err != nil {
			return nil, err
		}
	}
	scale, err := b.scalings(kInv, binds)
	if err != nil {
		return nil, err
	}
	// User dependent, step 2: [sk'] ← Mul([k⁻¹], [sk]).
	_, scaled, err := mulOpen(ctx, box, nil, nil, scale)
	if err != nil {
		return nil, err
	}
	t := &tuples{}
	if !mine {
		return t, nil
	}
	b.collect(t, box, kInv, binds, scaled)
	return t, nil
}

// scalings is what the user-dependent phase multiplies.
func (b *bench[S]) scalings(xs []S, binds []binding) ([]mpc.Scaling[S], error) {
	var scale []mpc.Scaling[S]
	for _, k := range binds {
		sk, err := b.engine.FromWords(k.key)
		if err != nil {
			return nil, err
		}
		scale = append(scale, mpc.Scaling[S]{Xs: xs[k.from : k.from+k.count], By: sk, ForSigning: true})
	}
	return scale, nil
}

// collect brings shares into the form that signing opens, and notes the view.
func (b *bench[S]) collect(t *tuples, box mpc.Box[S], kInv []S, binds []binding, scaled [][]S) {
	t.view = box.View()
	if binds == nil {
		return
	}
	t.kInv, t.kInvSK = make([]p256.Scalar, len(kInv)), make([]p256.Scalar, len(kInv))
	for i, x := range kInv {
		t.kInv[i] = box.Signing(x)
	}
	for j, k := range binds {
		for i, x := range scaled[j] {
			t.kInvSK[k.from+i] = box.Signing(x)
		}
		clear(scaled[j])
	}
}

// mulOpen opens xsᵢ·ysᵢ and returns them and the scalings: in one round where
// the engine can. All products are verified when it returns.
func mulOpen[S any](ctx context.Context, box mpc.Box[S], xs, ys []S, scale []mpc.Scaling[S]) (opened []p256.Scalar, scaled [][]S, err error) {
	if fused, ok := box.(mpc.MulOpener[S]); ok {
		if opened, scaled, err = fused.MulOpen(ctx, xs, ys, scale); err != nil {
			return nil, nil, err
		}
		return opened, scaled, box.Check(ctx)
	}
	n := len(xs)
	left, right := slices.Clone(xs), slices.Clone(ys)
	for _, s := range scale {
		left = append(left, s.Xs...)
		right = append(right, slices.Repeat([]S{s.By}, len(s.Xs))...)
	}
	products, err := box.Mul(ctx, left, right)
	if err != nil {
		return nil, nil, err
	}
	if err := box.Check(ctx); err != nil {
		return nil, nil, err
	}
	if n > 0 {
		if opened, err = box.Open(ctx, products[:n]); err != nil {
			return nil, nil, err
		}
	}
	rest := products[n:]
	for _, s := range scale {
		scaled = append(scaled, rest[:len(s.Xs):len(s.Xs)])
		rest = rest[len(s.Xs):]
	}
	return opened, scaled, nil
}
