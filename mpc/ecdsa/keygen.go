package ecdsa

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"

	"zonesigner/mpc"
	"zonesigner/mpc/p256"
)

// The rounds in which the shares of a public key are committed to and opened:
// what comes before makes [sk], what comes after is the test signature and the
// endorsements.
const (
	RoundCommit = "key/commit"
	RoundOpen   = "key/open"
)

// maxKeys bounds one generation.
const maxKeys = 1024

// GenerateKey is GenerateKeys for one key.
func GenerateKey(ctx context.Context, net mpc.Network, id mpc.Identity, group mpc.Group, engine Protocol, label []byte) (*KeyShare, error) {
	keys, err := GenerateKeys(ctx, net, id, group, engine, [][]byte{label})
	if err != nil {
		return nil, err
	}
	return keys[0], nil
}

// GenerateKeys makes a new key for each label together with all parties of
// group, who call it with the same arguments (section 7). A label says what for
// (zone, role, the request that people approved) and is bound into the session
// and the key's transcript. Either all checks pass, and every operator's
// signature on the transcripts is here, or there is no key.
func GenerateKeys(ctx context.Context, net mpc.Network, id mpc.Identity, group mpc.Group, engine Protocol, labels [][]byte) ([]*KeyShare, error) {
	return generateKeys(ctx, net, id, group, engine, labels, holes{})
}

func generateKeys(ctx context.Context, net mpc.Network, id mpc.Identity, group mpc.Group, engine Protocol, labels [][]byte, holes holes) ([]*KeyShare, error) {
	g := &generation{net: net, group: group, labels: labels, holes: holes}
	return g.run(ctx, id, engine, "generation", func(ctx context.Context, shop workshop) error {
		words, shares, err := shop.randomKeys(ctx, len(labels))
		if err != nil {
			return err
		}
		for _, w := range words {
			g.keys = append(g.keys, &KeyShare{Engine: engine.Name(), Group: group, Self: net.Self(), Share: w})
		}
		return g.openPublic(ctx, shares)
	})
}

// generation is one session of GenerateKeys or ImportKeys.
type generation struct {
	net    mpc.Network
	group  mpc.Group
	labels [][]byte
	keys   []*KeyShare
	holes  holes
}

// run is a session with all parties, under the name of what it is for: make
// finds the shares and what is public of them, and the keys are then tested and
// endorsed.
func (g *generation) run(ctx context.Context, id mpc.Identity, engine Protocol, what string, make func(context.Context, workshop) error) ([]*KeyShare, error) {
	if err := engine.Supports(g.group); err != nil {
		return nil, err
	}
	if err := mpc.CheckLabels("ecdsa: key "+what, g.net, g.group, g.labels, maxKeys); err != nil {
		return nil, err
	}
	shop, err := engine.start(ctx, g.net, g.group, mpc.Digest("zonesigner key "+what+" v1", g.labels...))
	if err != nil {
		return nil, fmt.Errorf("ecdsa: key %s: %w", what, err)
	}
	defer shop.close()
	if err = make(ctx, shop); err == nil {
		err = g.test(ctx, shop, id)
	}
	if err != nil {
		for _, k := range g.keys {
			clear(k.Share)
		}
		return nil, fmt.Errorf("ecdsa: key %s: %w", what, err)
	}
	return g.keys, nil
}

// test signs with the keys, names them by their transcripts, and has those
// endorsed by all.
func (g *generation) test(ctx context.Context, shop workshop, id mpc.Identity) error {
	view, tests, err := g.testSignatures(ctx, shop)
	if err != nil {
		return fmt.Errorf("test signature: %w", err)
	}
	var transcripts []byte
	for i, k := range g.keys {
		t, err := k.transcript(g.labels[i], view, tests[i])
		if err != nil {
			return err
		}
		k.ID = mpc.KeyID(hex.EncodeToString(t[:16]))
		if err := k.validate(); err != nil {
			return err
		}
		transcripts = append(transcripts, t[:]...)
	}
	if err := mpc.Endorse(ctx, g.net, id, transcripts); err != nil && !g.holes.noTranscript {
		return err
	}
	return nil
}

// openPublic is pk ← Open(Convert([sk])) of Figure 4 for each key, committed to
// first, with the degree checked over all n.
func (g *generation) openPublic(ctx context.Context, shares []p256.Scalar) error {
	own, err := p256.AppendPoints(nil, p256.BaseMultBatch(shares))
	if err != nil {
		return fmt.Errorf("share of the public key: %w", err)
	}
	commit := func(p mpc.PartyID, points []byte) []byte {
		d := mpc.Digest("zonesigner public share v1", g.group.Digest[:], []byte(p), points)
		return d[:]
	}
	commitments, err := mpc.Exchange(ctx, g.net, RoundCommit, commit(g.net.Self(), own))
	if err != nil {
		return err
	}
	opened, err := mpc.Exchange(ctx, g.net, RoundOpen, own)
	if err != nil {
		return err
	}
	points := make([][]p256.Point, g.group.N())
	for i, p := range g.group.Parties {
		if points[i], err = p256.DecodePoints(opened[p], len(g.keys)); err != nil {
			return &mpc.CheatError{Parties: []mpc.PartyID{p}, What: "share of the public key: " + err.Error()}
		}
		if !bytes.Equal(commitments[p], commit(p, opened[p])) && !g.holes.noKeyCommit {
			return &mpc.CheatError{Parties: []mpc.PartyID{p}, What: "its share of the public key is not the one it committed to"}
		}
		for j, k := range g.keys {
			k.PublicShares = append(k.PublicShares, points[i][j])
		}
	}
	opening, err := g.holes.opening(g.group, g.group.Parties, g.net.Self())
	if err != nil {
		return err
	}
	publics, err := opening.Points("opening of the public key", points)
	if err != nil {
		return err
	}
	for j, k := range g.keys {
		k.Public = publics[j].Mult(opening.Scale())
		if k.Public.IsIdentity() {
			return errors.New("the public key is the identity")
		}
	}
	return nil
}

// testSignatures makes one tuple of each key for all n operators and signs a
// string that no zone contains, through the code that signs zones. view binds
// the session.
func (g *generation) testSignatures(ctx context.Context, shop workshop) (view [32]byte, sigs []mpc.Signature, err error) {
	all, n := mpc.NewSignerSet(g.group.Parties...), len(g.keys)
	binds := make([]binding, n)
	for i, k := range g.keys {
		binds[i] = binding{key: k.Share, from: i, count: 1}
	}
	t, own, err := commitNonces(ctx, shop, g.net, all, g.group, all, "test", n, binds)
	if err != nil {
		return view, nil, err
	}
	defer t.erase()
	if g.holes.noTestSign {
		return t.view, make([]mpc.Signature, n), nil
	}
	if err := mpc.ConfirmView(ctx, g.net, "test/view", mpc.Digest("zonesigner test chunk v1", append([][]byte{t.view[:]}, own.commitments...)...), differentViews); err != nil {
		return view, nil, err
	}
	opening, err := g.holes.opening(g.group, all, g.net.Self())
	if err != nil {
		return view, nil, err
	}
	test := &spending{net: g.net, holes: g.holes, round: "test", set: all, opening: opening, suspects: mpc.Without(all, g.net.Self())}
	for i, k := range g.keys {
		message := k.testMessage()
		test.parts = append(test.parts, spent{
			public:  k.Public,
			own:     &run{committed: own.part(i, 1), kInv: t.kInv[i : i+1], kInvSK: t.kInvSK[i : i+1]},
			digests: [][32]byte{sha256.Sum256(message[:])},
		})
	}
	shares, err := mpc.Exchange(ctx, g.net, "test/R", test.Opening())
	if err != nil {
		return view, nil, err
	}
	sigs, err = test.Finish(ctx, shares)
	return t.view, sigs, err
}

// testMessage is what a key signs before it exists, and no zone contains.
func (k *KeyShare) testMessage() [32]byte {
	public := k.PublicKey()
	return mpc.Digest("zonesigner test signature v1", public[:])
}

// transcript is the digest of all that is public about the key and its making.
func (k *KeyShare) transcript(label []byte, view [32]byte, test mpc.Signature) ([32]byte, error) {
	points, err := p256.AppendPoints(nil, append([]p256.Point{k.Public}, k.PublicShares...))
	if err != nil {
		return [32]byte{}, err
	}
	fields := [][]byte{label, []byte(k.Engine), k.Group.Digest[:], {byte(k.Group.T)}}
	for _, p := range k.Group.Parties {
		fields = append(fields, []byte(p))
	}
	return mpc.Digest("zonesigner key transcript v1", append(fields, points, view[:], test[:])...), nil
}
