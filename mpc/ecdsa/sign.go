package ecdsa

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"fmt"
	"slices"

	"zonesigner/mpc"
	"zonesigner/mpc/p256"
)

// Sign signs the messages of all requests, in runs. All members of session.Set, and nobody else, are in net and call it with the same
// session. A run that was begun leaves its tuples spent, whatever happens.
func (s *Signer) Sign(ctx context.Context, net mpc.Network, session mpc.SignSession, progress func(done int)) ([][]mpc.Signature, error) {
	if len(session.Requests) == 0 {
		return nil, &mpc.ArgumentError{Msg: "ecdsa: a session without requests"}
	}
	keys := make([]*KeyShare, len(session.Requests))
	said := make([]mpc.SigningKey, len(keys))
	var protocol Protocol
	for i, req := range session.Requests {
		var err error
		if keys[i], protocol, err = s.key(req.Key, session.Set); err != nil {
			return nil, err
		}
		said[i] = mpc.SigningKey{Engine: keys[i].Engine, Group: keys[i].Group, Epoch: keys[i].Epoch}
	}
	group := keys[0].Group
	opening, err := s.holes.opening(group, session.Set, net.Self())
	if err != nil {
		return nil, err
	}
	suspects := mpc.Without(session.Set, net.Self())
	if !protocol.Active() { // tuples were not verified: a party that does not sign may have spoiled them
		suspects = mpc.Without(group.Parties, net.Self())
	}
	spender := &mpc.Spender{
		Identity: s.cfg.Identity, Store: s.cfg.Store, RunSize: s.runSize, Window: s.window(usualSize, s.runSize), Signed: s.cfg.Signed,
		NoRequest: s.holes.noRequest, NoStatements: s.holes.noStatements, NoHash: s.holes.noHash,
	}
	signatures, err := spender.Sign(ctx, net, session, said, progress, func(r *mpc.Run) (mpc.Spending, error) {
		sp := &spending{net: net, holes: s.holes, round: r.Round, set: session.Set, opening: opening, suspects: suspects}
		for _, p := range r.Parts {
			own, err := decodeRun(p.Blob, len(session.Set), p.Tuples.From, p.Tuples.Count)
			if err != nil {
				sp.Close()
				return nil, err
			}
			sp.parts = append(sp.parts, spent{key: keys[p.Request].ID, public: keys[p.Request].Public, own: own, digests: p.Digests})
		}
		return sp, nil
	})
	if err != nil {
		return nil, fmt.Errorf("ecdsa: %w", err)
	}
	return signatures, nil
}

// opening opens sharings of degree t among the members of set.
func (h holes) opening(g mpc.Group, set []mpc.PartyID, self mpc.PartyID) (*mpc.Opening, error) {
	if h.noDegree {
		set = set[:g.T+1] // no shares to check against
	}
	return mpc.NewOpening(g, set, self, g.T)
}

// spending is the signing phase of Figure 4 for a run of tuples: two rounds,
// then the check of every signature. It implements mpc.Spending.
type spending struct {
	net      mpc.Network
	holes    holes
	round    string // prefix of its rounds
	set      mpc.SignerSet
	opening  *mpc.Opening
	suspects []mpc.PartyID // of a signature that does not verify
	parts    []spent
}

// Close erases what is left of the tuples.
func (sp *spending) Close() {
	for _, p := range sp.parts {
		p.own.erase()
	}
}

// keysOf names the keys of the signatures with these indices, which rise.
func (sp *spending) keysOf(indices []int) (keys []mpc.KeyID) {
	first := 0
	for _, p := range sp.parts {
		end := first + len(p.digests)
		if slices.ContainsFunc(indices, func(i int) bool { return i >= first && i < end }) && !slices.Contains(keys, p.key) {
			keys = append(keys, p.key)
		}
		first = end
	}
	return keys
}

// UnverifiedError says that all shares of signatures were opened, and that
// they do not verify. With an engine that leaves checks to that (mascot-minus)
// it is the sign that somebody altered a product of the keys' shares.
type UnverifiedError struct {
	Keys []mpc.KeyID
	Err  error // a CheatError
}

func (e *UnverifiedError) Error() string { return e.Err.Error() }
func (e *UnverifiedError) Unwrap() error { return e.Err }

// spent is tuples of one chunk, the key that they are of, and the digests that
// they sign.
type spent struct {
	key     mpc.KeyID // empty while the key is being made
	public  p256.Point
	own     *run
	digests [][32]byte
}

// Opening is the share of each R, which was committed to when the tuple was
// made: what is signed is fixed by the statement that it goes with
// (section 6).
func (sp *spending) Opening() []byte { return concat(sp.parts).rShares }

// Finish opens R and s from the shares of R of all members.
func (sp *spending) Finish(ctx context.Context, got map[mpc.PartyID][]byte) ([]mpc.Signature, error) {
	all := concat(sp.parts)
	n, set := len(all.digests), sp.set
	// Figure 4, signing, step 1: R ← Open(⟨k⟩), every share against its commitment.
	var err error
	points := make([][]p256.Point, len(set))
	for j, p := range set {
		if points[j], err = p256.DecodePoints(got[p], n); err != nil {
			return nil, &mpc.CheatError{Parties: []mpc.PartyID{p}, What: "shares of R: " + err.Error()}
		}
		if i := uncommitted(sp.parts, j, p, got[p]); i >= 0 && !sp.holes.noCommitments {
			return nil, &mpc.CheatError{Parties: []mpc.PartyID{p}, What: fmt.Sprintf("its share of R of tuple %d of the run is not the one it committed to", i)}
		}
	}
	R, err := sp.opening.Points("opening of R", points)
	if err != nil {
		return nil, err
	}

	// Step 2: r is the x coordinate of R.
	p256.Normalize(R)
	r := make([]p256.Scalar, n)
	for i := range R {
		if r[i], err = R[i].X(); err != nil || r[i].IsZero() {
			return nil, mpc.Dispute(sp.suspects, fmt.Sprintf("R of tuple %d of the run has no usable x coordinate", i))
		}
	}

	// No share of s leaves before R is known to be right.
	if err := sp.checkMACs(ctx, got, R); err != nil {
		return nil, err
	}

	// Steps 3 and 4: s ← Open(H(M)·[k⁻¹] + r·[sk']).
	mine := make([]p256.Scalar, 0, n)
	for _, part := range sp.parts {
		for i, d := range part.digests {
			m := p256.ScalarFromDigest(d[:])
			mine = append(mine, m.Mul(part.own.kInv[i]).Add(r[len(mine)].Mul(part.own.kInvSK[i])))
		}
	}
	if got, err = mpc.Exchange(ctx, sp.net, sp.round+"/s", p256.AppendScalars(make([]byte, 0, 32*n), mine)); err != nil {
		return nil, err
	}
	scalars := make([][]p256.Scalar, len(set))
	for j, p := range set {
		if scalars[j], err = p256.DecodeScalars(got[p], n); err != nil {
			return nil, &mpc.CheatError{Parties: []mpc.PartyID{p}, What: "shares of s: " + err.Error()}
		}
	}
	sig, err := sp.opening.Scalars("opening of s", scalars)
	if err != nil {
		return nil, err
	}

	// Nothing leaves that does not verify; zeros are refused there.
	bad, err := p256.VerifyBatch(all.publics, all.digests, r, sig, R, rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("verify signatures: %w", err)
	}
	if len(bad) > 0 && !sp.holes.noFinalCheck {
		return nil, &UnverifiedError{Keys: sp.keysOf(bad),
			Err: mpc.Dispute(sp.suspects, fmt.Sprintf("%d of %d signatures do not verify, the first for tuple %d of the run", len(bad), n, bad[0]))}
	}
	// Of (r, s) and (r, -s), which both verify, the one with the smaller s: a
	// signed zone has one digest, whoever passes it on.
	out := make([]mpc.Signature, n)
	for i := range out {
		if sig[i].IsHigh() && !sp.holes.anyForm {
			sig[i] = sig[i].Neg()
		}
		rb, sb := r[i].Bytes(), sig[i].Bytes()
		copy(out[i][:32], rb[:])
		copy(out[i][32:], sb[:])
	}
	return out, nil
}

// checkMACs checks R against its MACs, where the engine has them: sharings of
// all n operators with n-1 adversaries have no other redundancy. All shares of R
// were committed to before anyone saw one, so their hash serves as coins.
func (sp *spending) checkMACs(ctx context.Context, shares map[mpc.PartyID][]byte, R []p256.Point) error {
	if sp.parts[0].own.macs == nil || sp.holes.noMACs {
		return nil
	}
	fields := [][]byte{[]byte(sp.round)}
	for _, p := range sp.set {
		fields = append(fields, shares[p])
	}
	var parts []mpc.PointMACs
	for _, p := range sp.parts {
		n := len(p.digests)
		parts = append(parts, mpc.PointMACs{Key: p.own.macKey, MACs: p.own.macs[:n], Points: R[:n]})
		R = R[n:]
	}
	return mpc.CheckPointMACs(ctx, sp.net, sp.round+"/mac", mpc.Digest("zonesigner R coins v1", fields...), parts...)
}

// whole is what is public about a run, its parts one after the other.
type whole struct {
	rShares []byte
	digests [][32]byte
	publics []p256.Point // one for each digest
}

func concat(parts []spent) whole {
	var w whole
	for _, p := range parts {
		w.rShares = append(w.rShares, p.own.rShares...)
		w.digests = append(w.digests, p.digests...)
		w.publics = append(w.publics, slices.Repeat([]p256.Point{p.public}, len(p.digests))...)
	}
	return w
}

// uncommitted compares shares of R, 64 bytes each, with the commitments of
// party p, which is member j of the set: the first that differs, or -1.
func uncommitted(parts []spent, j int, p mpc.PartyID, shares []byte) int {
	tuple := 0
	for _, part := range parts {
		c := newCommitter(part.own.view, p)
		for i := range part.digests {
			h := c.commitment(part.own.first+i, shares[64*tuple:64*tuple+64])
			if subtle.ConstantTimeCompare(h[:], part.own.commitments[j][32*i:32*i+32]) != 1 {
				return tuple
			}
			tuple++
		}
	}
	return -1
}
