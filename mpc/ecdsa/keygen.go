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

// maxLabel bounds the label of a key generation.
const maxLabel = 64 << 10

// GenerateKey makes a new key together with all parties of group, who call it
// with the same arguments (section 7). label says what for (zone, role, the
// request that people approved) and is bound into the session and the
// transcript. Either all checks pass, and every operator's signature on the
// transcript is here, or there is no key.
func GenerateKey(ctx context.Context, net mpc.Network, id mpc.Identity, group mpc.Group, engine Protocol, label []byte) (*KeyShare, error) {
	return generateKey(ctx, net, id, group, engine, label, holes{})
}

func generateKey(ctx context.Context, net mpc.Network, id mpc.Identity, group mpc.Group, engine Protocol, label []byte, holes holes) (*KeyShare, error) {
	all := mpc.NewSignerSet(group.Parties...)
	if err := engine.Supports(group); err != nil {
		return nil, err
	}
	if !all.Equal(mpc.NewSignerSet(net.Parties()...)) || len(label) > maxLabel {
		return nil, &mpc.ArgumentError{Msg: fmt.Sprintf("ecdsa: key generation takes all of %s, the session is among %v; label of %d bytes, at most %d", all, net.Parties(), len(label), maxLabel)}
	}
	shop, err := engine.start(ctx, net, group, mpc.Digest("zonesigner key generation v1", label))
	if err != nil {
		return nil, fmt.Errorf("ecdsa: generate key: %w", err)
	}
	defer shop.close()
	k, err := makeKey(ctx, net, id, group, shop, engine.Name(), label, holes)
	if err != nil {
		return nil, fmt.Errorf("ecdsa: generate key: %w", err)
	}
	return k, nil
}

func makeKey(ctx context.Context, net mpc.Network, id mpc.Identity, group mpc.Group, shop workshop, engine string, label []byte, holes holes) (*KeyShare, error) {
	words, share, err := shop.randomKey(ctx)
	if err != nil {
		return nil, err
	}
	k := &KeyShare{Engine: engine, Group: group, Self: net.Self(), Share: words}
	if err := k.openPublic(ctx, net, share, holes); err != nil {
		return nil, err
	}
	view, test, err := k.testSignature(ctx, net, shop, holes)
	if err != nil {
		return nil, fmt.Errorf("test signature: %w", err)
	}
	transcript, err := k.transcript(label, view, test)
	if err != nil {
		return nil, err
	}
	k.ID = mpc.KeyID(hex.EncodeToString(transcript[:16]))
	if err := k.validate(); err != nil {
		return nil, err
	}
	if err := endorse(ctx, net, id, transcript, holes); err != nil {
		return nil, err
	}
	return k, nil
}

// openPublic is pk ← Open(Convert([sk])) of Figure 4, committed to first, with
// the degree checked over all n.
func (k *KeyShare) openPublic(ctx context.Context, net mpc.Network, share p256.Scalar, holes holes) error {
	own, err := p256.BaseMult(share).Bytes()
	if err != nil {
		return fmt.Errorf("share of the public key: %w", err)
	}
	commit := func(p mpc.PartyID, point []byte) []byte {
		d := mpc.Digest("zonesigner public share v1", k.Group.Digest[:], []byte(p), point)
		return d[:]
	}
	commitments, err := mpc.Exchange(ctx, net, "key/commit", commit(net.Self(), own[:]))
	if err != nil {
		return err
	}
	opened, err := mpc.Exchange(ctx, net, "key/open", own[:])
	if err != nil {
		return err
	}
	shares := make([][]p256.Point, k.Group.N())
	for i, p := range k.Group.Parties {
		point, err := p256.PointFromBytes(opened[p])
		if err != nil {
			return &mpc.CheatError{Parties: []mpc.PartyID{p}, What: "share of the public key: " + err.Error()}
		}
		if !bytes.Equal(commitments[p], commit(p, opened[p])) && !holes.noKeyCommit {
			return &mpc.CheatError{Parties: []mpc.PartyID{p}, What: "its share of the public key is not the one it committed to"}
		}
		shares[i] = []p256.Point{point}
		k.PublicShares = append(k.PublicShares, point)
	}
	opening, err := holes.opening(k.Group, k.Group.Parties, net.Self())
	if err != nil {
		return err
	}
	public, err := opening.Points("opening of the public key", shares)
	if err != nil {
		return err
	}
	k.Public = public[0].Mult(opening.Scale())
	if k.Public.IsIdentity() {
		return errors.New("the public key is the identity")
	}
	return nil
}

// testSignature makes one tuple for all n operators and signs a string that
// no zone contains, through the code that signs zones. view binds the session.
func (k *KeyShare) testSignature(ctx context.Context, net mpc.Network, shop workshop, holes holes) (view [32]byte, sig mpc.Signature, err error) {
	all := mpc.NewSignerSet(k.Group.Parties...)
	t, err := shop.tuples(ctx, "test", k.Share, 1)
	if err != nil {
		return view, sig, err
	}
	defer t.erase()
	if holes.noTestSign {
		return t.view, sig, nil
	}
	rShares, commitments, err := commitToR(ctx, net, k.Group, all, "test", t)
	if err != nil {
		return view, sig, err
	}
	if err := confirmView(ctx, net, "test", mpc.Digest("zonesigner test chunk v1", append([][]byte{t.view[:]}, commitments...)...)); err != nil {
		return view, sig, err
	}
	own, err := decodeRun(encodeChunk(t, rShares, commitments), len(all), 0, 1)
	if err != nil {
		return view, sig, err
	}
	defer own.erase()
	public, err := k.Public.Bytes()
	if err != nil {
		return view, sig, err
	}
	message := mpc.Digest("zonesigner test signature v1", public[:])
	opening, err := holes.opening(k.Group, all, net.Self())
	if err != nil {
		return view, sig, err
	}
	sigs, err := (&Signer{holes: holes}).openRun(ctx, net, spending{
		round: "test", set: all, opening: opening, public: k.Public, suspects: without(all, net.Self()),
		own: own, digests: [][32]byte{sha256.Sum256(message[:])},
	})
	if err != nil {
		return view, sig, err
	}
	return t.view, sigs[0], nil
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

// endorse exchanges signatures over the transcript; all n must be there.
func endorse(ctx context.Context, net mpc.Network, id mpc.Identity, transcript [32]byte, holes holes) error {
	message := append([]byte("zonesigner key endorsement v1\n"), transcript[:]...)
	got, err := mpc.Exchange(ctx, net, "key/endorse", append(transcript[:], id.Sign(message)...))
	if err != nil {
		return err
	}
	for _, p := range net.Parties() {
		b := got[p]
		switch {
		case holes.noTranscript:
		case len(b) < 32 || !id.Verify(p, append([]byte("zonesigner key endorsement v1\n"), b[:32]...), b[32:]):
			return &mpc.CheatError{Parties: []mpc.PartyID{p}, What: "its signature on the transcript of the key is wrong"}
		case !bytes.Equal(b[:32], transcript[:]):
			return dispute(without(net.Parties(), net.Self()), "operators hold different transcripts of the key")
		}
	}
	return nil
}
