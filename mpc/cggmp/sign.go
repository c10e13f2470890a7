package cggmp

import (
	"context"
	"fmt"

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
		f := &fresh{net: net, session: session, holes: s.holes, spending: &spending{round: r.Round + "/s", set: session.Set}}
		for _, p := range r.Parts {
			own, err := decodeChunk(p.Blob, len(session.Set), p.Tuples.From, p.Tuples.Count)
			if err != nil {
				f.Close()
				return nil, err
			}
			f.spending.parts = append(f.spending.parts, part{public: keys[p.Request].Public, manifest: session.Requests[p.Request].Manifest,
				tuples: p.Tuples, own: own, digests: p.Digests})
		}
		return f, nil
	})
	if err != nil {
		return nil, fmt.Errorf("cggmp: %w", err)
	}
	return signatures, nil
}

// fresh is a run whose presignatures are randomised before they are opened, by
// what nobody knew when the statements were signed: the members' nonces, to
// which they were committed when the presignatures were made. It implements
// mpc.Spending.
type fresh struct {
	net      mpc.Network
	session  mpc.SignSession
	holes    holes
	spending *spending
}

// Opening is this party's nonces. What is signed is fixed by the statement that
// they go with (docs/protocol.md, section 12).
func (f *fresh) Opening() []byte {
	var b []byte
	for _, p := range f.spending.parts {
		for _, t := range p.own {
			b = append(b, t.nonce[:]...)
		}
	}
	return b
}

// Finish opens the signatures.
func (f *fresh) Finish(ctx context.Context, nonces map[mpc.PartyID][]byte) (_ []mpc.Signature, err error) {
	if f.spending.seed, err = f.seed(nonces); err != nil {
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

// seed is what presignatures are randomised with: a hash of the nonces of all
// members, each the one that it was committed to.
func (f *fresh) seed(nonces map[mpc.PartyID][]byte) ([32]byte, error) {
	fields := [][]byte{f.session.ID[:]}
	for j, p := range f.session.Set {
		if err := f.checkNonces(j, p, nonces[p]); err != nil {
			return [32]byte{}, err
		}
		fields = append(fields, nonces[p])
	}
	return mpc.Digest("zonesigner cggmp seed v2", fields...), nil
}

// checkNonces compares those of p, member j of the set, with its commitments.
func (f *fresh) checkNonces(j int, p mpc.PartyID, nonces []byte) error {
	if f.holes.noNonceCheck {
		return nil
	}
	i := 0
	for _, part := range f.spending.parts {
		for _, t := range part.own {
			c, err := t.commitment(p, nonces[sizeNonce*i:sizeNonce*(i+1)])
			if err != nil {
				return err
			}
			if c != t.commitments[j] {
				return &mpc.CheatError{Parties: []mpc.PartyID{p}, What: fmt.Sprintf("its nonce of tuple %d of the run is not the one it committed to", i)}
			}
			i++
		}
	}
	return nil
}
