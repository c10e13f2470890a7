package cggmp

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"slices"

	"zonesigner/mpc"
)

// Sign signs the messages of all requests, in runs of a chunk's size. All
// members of session.Set, and nobody else, are in net and call it with the
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
		Identity: s.cfg.Identity, Store: s.cfg.Store, RunSize: s.cfg.ChunkSize, Window: mpc.DefaultWindow, Signed: s.cfg.Signed,
		NoRequest: s.holes.noRequest, NoStatements: s.holes.noStatements,
	}
	signatures, err := spender.Sign(ctx, net, session, said, progress, func(ctx context.Context, r *mpc.Run) ([]mpc.Signature, error) {
		sp := &spending{round: r.Round + "/s", set: session.Set}
		defer func() {
			for _, p := range sp.parts {
				erase(p.own)
			}
		}()
		for _, p := range r.Parts {
			own, err := decodeChunk(p.Blob, len(session.Set), p.Tuples.From, p.Tuples.Count)
			if err != nil {
				return nil, err
			}
			sp.parts = append(sp.parts, part{public: keys[p.Request].Public, manifest: session.Requests[p.Request].Manifest,
				tuples: p.Tuples, own: own, digests: p.Digests})
		}
		var err error
		if sp.seed, err = freshSeed(ctx, net, session, r.Round, s.holes); err != nil {
			return nil, err
		}
		return sp.open(ctx, net, s.holes)
	})
	if err != nil {
		return nil, fmt.Errorf("cggmp: %w", err)
	}
	return signatures, nil
}

// freshSeed makes what presignatures are randomised with, now that every
// member has signed what is to be signed: a hash of one nonce of each. Members
// commit to their nonces, so that none chooses its own by the others'; and with
// its nonce each says what commitments it was sent, so that none gives two
// others different ones: all have the same seed, or none goes on.
func freshSeed(ctx context.Context, net mpc.Network, session mpc.SignSession, round string, holes holes) ([32]byte, error) {
	nonce := make([]byte, 32)
	_, _ = rand.Read(nonce) // never fails
	commitments, err := mpc.Exchange(ctx, net, round+"/commit", nonceCommitment(session.ID, round, net.Self(), nonce))
	if err != nil {
		return [32]byte{}, err
	}
	var fields [][]byte
	for _, p := range session.Set {
		fields = append(fields, commitments[p])
	}
	echo := mpc.Digest("zonesigner cggmp nonces v1", fields...)
	nonces, err := mpc.Exchange(ctx, net, round+"/nonce", slices.Concat(nonce, echo[:]))
	if err != nil {
		return [32]byte{}, err
	}
	fields = [][]byte{session.ID[:], []byte(round)}
	for _, p := range session.Set {
		b := nonces[p]
		switch {
		case len(b) != 64:
			return [32]byte{}, &mpc.CheatError{Parties: []mpc.PartyID{p}, What: fmt.Sprintf("nonce of %d bytes, want 64", len(b))}
		case holes.noNonceCheck:
		case !bytes.Equal(nonceCommitment(session.ID, round, p, b[:32]), commitments[p]):
			return [32]byte{}, &mpc.CheatError{Parties: []mpc.PartyID{p}, What: "its nonce is not the one it committed to"}
		case !bytes.Equal(b[32:], echo[:]):
			return [32]byte{}, mpc.Dispute(mpc.Without(session.Set, net.Self()), "operators were sent different commitments to nonces")
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
