package ecdsa

import (
	"context"
	"fmt"

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
}

// workshop is a session of some engine in which keys and tuples are made.
type workshop interface {
	// randomKey returns this party's share of a new key: in the engine's
	// form, and in the one that signing opens.
	randomKey(ctx context.Context) (words []p256.Scalar, share p256.Scalar, err error)
	// tuples makes n tuples of the key whose share is given. Every party
	// calls it with the same label, and with each label once.
	tuples(ctx context.Context, label string, key []p256.Scalar, n int) (*tuples, error)
	close()
}

// tuples is this party's part of n tuples of Figure 4: (⟨k⟩, [k⁻¹], [sk·k⁻¹]).
type tuples struct {
	k      []p256.Scalar // secret; becomes ⟨k⟩ by one base multiplication
	kInv   []p256.Scalar // secret
	kInvSK []p256.Scalar // secret
	view   [32]byte      // of everything that was opened
}

func (t *tuples) erase() {
	clear(t.k)
	clear(t.kInv)
	clear(t.kInvSK)
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

type bench[S any] struct {
	engine mpc.Engine[S]
	box    mpc.Box[S]
}

func (b *bench[S]) close() { b.box.Close() }

// randomKey is "Key Generation" of Figure 4: [sk] ← Rand().
func (b *bench[S]) randomKey(ctx context.Context) ([]p256.Scalar, p256.Scalar, error) {
	sk, err := b.box.Random(ctx, 1)
	if err != nil {
		return nil, p256.Scalar{}, err
	}
	return b.engine.Words(sk[0]), b.box.Signing(sk[0]), nil
}

// tuples is both preprocessing phases of Figure 4.
func (b *bench[S]) tuples(ctx context.Context, label string, key []p256.Scalar, n int) (*tuples, error) {
	sk, err := b.engine.FromWords(key)
	if err != nil {
		return nil, err
	}
	box := b.box.Fork(label)
	// User independent, step 1: ([a], [b], [c]) ← RandMul(), and step 3: [k⁻¹] = [a].
	random, err := box.Random(ctx, 2*n)
	if err != nil {
		return nil, err
	}
	defer clear(random)
	kInv, blind := random[:n], random[n:]
	// Step 2: c ← Open([c]); user dependent, step 2: [sk'] ← Mul([k⁻¹], [sk]).
	c, kInvSK, err := mulOpen(ctx, box, kInv, blind, sk)
	if err != nil {
		return nil, err
	}
	if err := p256.InvertBatch(c); err != nil { // refuses c = 0
		return nil, fmt.Errorf("masked nonce: %w", err)
	}
	// Step 4: ⟨k⟩ ← Convert([b])·c⁻¹, here still as scalars.
	t := &tuples{k: make([]p256.Scalar, n), kInv: make([]p256.Scalar, n), kInvSK: make([]p256.Scalar, n), view: box.View()}
	for i := range n {
		t.k[i] = box.Signing(blind[i]).Mul(c[i])
		t.kInv[i] = box.Signing(kInv[i])
		t.kInvSK[i] = box.Signing(kInvSK[i])
	}
	clear(kInvSK)
	return t, nil
}

// mulOpen returns the values xsᵢ·ysᵢ and sharings of xsᵢ·z, verified: in one
// round where the engine can.
func mulOpen[S any](ctx context.Context, box mpc.Box[S], xs, ys []S, z S) (opened []p256.Scalar, scaled []S, err error) {
	if fused, ok := box.(mpc.MulOpener[S]); ok {
		if opened, scaled, err = fused.MulOpen(ctx, xs, ys, z); err != nil {
			return nil, nil, err
		}
		return opened, scaled, box.Check(ctx)
	}
	n := len(xs)
	left, right := append(xs[:n:n], xs...), append(ys[:n:n], ys...)
	for i := range n {
		right[n+i] = z
	}
	products, err := box.Mul(ctx, left, right)
	if err != nil {
		return nil, nil, err
	}
	if err := box.Check(ctx); err != nil {
		return nil, nil, err
	}
	opened, err = box.Open(ctx, products[:n])
	return opened, products[n:], err
}
