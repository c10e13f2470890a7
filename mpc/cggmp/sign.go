package cggmp

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"slices"

	"zonesigner/mpc"
)

// Sign signs the messages of all requests, in runs. All members of session.Set, and nobody else, are in net and call it with the
// same session. A run that was begun leaves its tuples spent, whatever happens.
func (s *Signer) Sign(ctx context.Context, net mpc.Network, session mpc.SignSession, progress func(done int)) ([][]mpc.Signature, error) {
	keys, said := make([]*KeyShare, len(session.Requests)), make([]mpc.SigningKey, len(session.Requests))
	for i, req := range session.Requests {
		var err error
		if keys[i], err = s.key(req.Key, session.Set); err != nil {
			return nil, err
		}
		said[i] = mpc.SigningKey{Engine: Engine, Group: keys[i].Group, Epoch: keys[i].Epoch}
	}
	spender := &mpc.Spender{
		Identity: s.cfg.Identity, Store: s.cfg.Store, RunSize: s.runSize, Window: mpc.DefaultWindow, Signed: s.cfg.Signed,
		NoRequest: s.holes.noRequest, NoStatements: s.holes.noStatements,
	}
	signatures, err := spender.Sign(ctx, net, session, said, progress, func(r *mpc.Run) (mpc.Spending, error) {
		f := &fresh{net: net, session: session, run: r.Round, holes: s.holes, spending: &spending{round: r.Round + "/s", set: session.Set}}
		for _, p := range r.Parts {
			own, err := decodeChunk(p.Blob, len(session.Set), p.Tuples.From, p.Tuples.Count)
			if err != nil {
				f.Close()
				return nil, err
			}
			f.spending.parts = append(f.spending.parts, part{public: keys[p.Request].Public, manifest: session.Requests[p.Request].Manifest,
				tuples: p.Tuples, own: own, digests: p.Digests})
		}
		_, _ = rand.Read(f.nonce[:]) // never fails
		return f, nil
	})
	if err != nil {
		return nil, fmt.Errorf("cggmp: %w", err)
	}
	return signatures, nil
}

// fresh is a run whose presignatures are randomised before they are opened, by
// what nobody knew when the statements were signed. It implements mpc.Spending.
type fresh struct {
	net      mpc.Network
	session  mpc.SignSession
	run      string // prefix of its rounds
	nonce    [32]byte
	holes    holes
	spending *spending
}

// Opening is the commitment to this party's nonce, which is opened when all
// members have signed what it is for: so none chooses its own by the others'.
func (f *fresh) Opening() []byte {
	return nonceCommitment(f.session.ID, f.run, f.net.Self(), f.nonce[:])
}

// Finish opens the nonces, and then the signatures.
func (f *fresh) Finish(ctx context.Context, commitments map[mpc.PartyID][]byte) (_ []mpc.Signature, err error) {
	if f.spending.seed, err = f.seed(ctx, commitments); err != nil {
		return nil, err
	}
	return f.spending.open(ctx, f.net, f.holes)
}

// Close erases the presignatures.
func (f *fresh) Close() {
	for _, p := range f.spending.parts {
		erase(p.own)
	}
}

// seed is what presignatures are randomised with: a hash of one nonce of each
// member. With its nonce each says what commitments it was sent, so that none
// gives two others different ones: all have the same seed, or none goes on.
func (f *fresh) seed(ctx context.Context, commitments map[mpc.PartyID][]byte) ([32]byte, error) {
	var fields [][]byte
	for _, p := range f.session.Set {
		fields = append(fields, commitments[p])
	}
	echo := mpc.Digest("zonesigner cggmp nonces v1", fields...)
	nonces, err := mpc.Exchange(ctx, f.net, f.run+"/nonce", slices.Concat(f.nonce[:], echo[:]))
	if err != nil {
		return [32]byte{}, err
	}
	fields = [][]byte{f.session.ID[:], []byte(f.run)}
	for _, p := range f.session.Set {
		b := nonces[p]
		switch {
		case len(b) != 64:
			return [32]byte{}, &mpc.CheatError{Parties: []mpc.PartyID{p}, What: fmt.Sprintf("nonce of %d bytes, want 64", len(b))}
		case f.holes.noNonceCheck:
		case !bytes.Equal(nonceCommitment(f.session.ID, f.run, p, b[:32]), commitments[p]):
			return [32]byte{}, &mpc.CheatError{Parties: []mpc.PartyID{p}, What: "its nonce is not the one it committed to"}
		case !bytes.Equal(b[32:], echo[:]):
			return [32]byte{}, mpc.Dispute(mpc.Without(f.session.Set, f.net.Self()), "operators were sent different commitments to nonces")
		}
		fields = append(fields, b[:32])
	}
	return mpc.Digest("zonesigner cggmp seed v1", fields...), nil
}

// nonceCommitment commits p to its nonce of a run.
func nonceCommitment(session mpc.SessionID, round string, p mpc.PartyID, nonce []byte) []byte {
	d := mpc.Digest("zonesigner cggmp nonce v1", session[:], []byte(round), []byte(p), nonce)
	return d[:]
}
