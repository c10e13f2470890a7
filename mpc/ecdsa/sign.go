package ecdsa

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"

	"zonesigner/mpc"
	"zonesigner/mpc/p256"
)

// Sign signs the messages of all requests, in runs of a chunk's size. All
// members of session.Set, and nobody else, are in net and call it with the same
// session. A run that was begun leaves its tuples spent, whatever happens.
func (s *Signer) Sign(ctx context.Context, net mpc.Network, session mpc.SignSession, progress func(done int)) ([][]mpc.Signature, error) {
	g, err := s.newSigning(net, session)
	if err != nil {
		return nil, err
	}
	if len(g.runs) > 0 {
		if err := g.compareRequests(ctx); err != nil {
			return nil, err
		}
	}
	signatures := make([][]mpc.Signature, len(session.Requests))
	for i, r := range session.Requests {
		signatures[i] = make([]mpc.Signature, len(r.Messages))
	}
	done := counter{report: progress}
	states := make([]*runState, len(g.runs))
	err = pipeline(ctx, len(g.runs), s.cfg.Window, func(i int) (err error) {
		if states[i], err = g.begin(i); err != nil {
			return fmt.Errorf("ecdsa: sign run %d: %w", i, err)
		}
		return nil
	}, func(ctx context.Context, i int) error {
		state := states[i]
		states[i] = nil
		defer state.erase()
		sigs, err := g.finish(ctx, state)
		if err != nil {
			return fmt.Errorf("ecdsa: sign run %d: %w", i, err)
		}
		done.add(len(sigs))
		for _, p := range g.runs[i] {
			copy(signatures[p.request][p.first:], sigs[:p.tuples.Count])
			sigs = sigs[p.tuples.Count:]
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return signatures, nil
}

// newSigning checks what is asked for and cuts it into runs.
func (s *Signer) newSigning(net mpc.Network, session mpc.SignSession) (*signing, error) {
	if len(session.Requests) == 0 {
		return nil, &mpc.ArgumentError{Msg: "ecdsa: a session without requests"}
	}
	g := &signing{signer: s, net: net, session: session}
	var protocol Protocol
	for i, req := range session.Requests {
		ks, p, err := s.key(req.Key, session.Set)
		if err != nil {
			return nil, err
		}
		if i == 0 {
			g.group, protocol = ks.Group, p
		}
		if p.Name() != protocol.Name() || ks.Group.Digest != g.group.Digest || ks.Group.T != g.group.T || !slices.Equal(ks.Group.Parties, g.group.Parties) {
			return nil, &mpc.ArgumentError{Msg: fmt.Sprintf("ecdsa: key %s is not of the engine and group of the session's first, %s", req.Key, session.Requests[0].Key)}
		}
		g.keys = append(g.keys, ks)
	}
	if !session.Set.Equal(mpc.NewSignerSet(net.Parties()...)) {
		return nil, &mpc.ArgumentError{Msg: fmt.Sprintf("ecdsa: signer set %s, but the session is among %v", session.Set, net.Parties())}
	}
	var err error
	if g.runs, err = split(session.Requests, s.cfg.ChunkSize); err != nil {
		return nil, err
	}
	if g.opening, err = s.holes.opening(g.group, session.Set, net.Self()); err != nil {
		return nil, err
	}
	g.suspects = without(session.Set, net.Self())
	if !protocol.Active() { // tuples were not verified: a party that does not sign may have spoiled them
		g.suspects = without(g.group.Parties, net.Self())
	}
	for _, r := range session.Requests {
		digests := make([][32]byte, len(r.Messages))
		for i, m := range r.Messages {
			digests[i] = sha256.Sum256(m)
		}
		g.digests = append(g.digests, digests)
	}
	return g, nil
}

// signing is one session of Sign.
type signing struct {
	signer  *Signer
	net     mpc.Network
	session mpc.SignSession
	group   mpc.Group
	keys    []*KeyShare  // of each request
	digests [][][32]byte // of each request's messages
	runs    [][]runPart
	opening *mpc.Opening
	// suspects of a signature that does not verify
	suspects []mpc.PartyID
}

// compareRequests returns when every member wants the same session, key, set,
// manifest, pool, and every run with its messages, before anything is spent for
// it: members that came for different things burn nothing, and the odd one is
// seen. It is no proof to others; the statements are.
func (g *signing) compareRequests(ctx context.Context) error {
	b := binary.BigEndian.AppendUint32(nil, uint32(len(g.runs)))
	for i := range g.runs {
		d := g.statement(i).Digest()
		b = append(b, d[:]...)
	}
	own := mpc.Digest("zonesigner sign request v1", append(b, g.session.Stripe...))
	got, err := mpc.Exchange(ctx, g.net, "request", own[:])
	if err != nil || g.signer.holes.noRequest {
		return err
	}
	var other []mpc.PartyID
	for _, p := range g.session.Set {
		if !bytes.Equal(got[p], own[:]) {
			other = append(other, p)
		}
	}
	if other == nil {
		return nil
	}
	// Alone against several, the odd one may be this party itself.
	return &mpc.CheatError{Parties: other, Disputed: len(other) > 1, What: "asked to sign something else than this operator, nothing is spent"}
}

// opening opens sharings of degree t among the members of set.
func (h holes) opening(g mpc.Group, set []mpc.PartyID, self mpc.PartyID) (*mpc.Opening, error) {
	if h.noDegree {
		set = set[:g.T+1] // no shares to check against
	}
	return mpc.NewOpening(g, set, self, g.T)
}

// runPart is tuples of one chunk, and the request and messages that they are
// for.
type runPart struct {
	request int
	first   int // index of the first message
	tuples  mpc.TupleRange
}

// split gives each range its messages, and makes runs of the ranges, with size
// signatures at most unless one range has more; what is left of a request's
// last range is not touched.
func split(requests []mpc.SignRequest, size int) ([][]runPart, error) {
	var runs [][]runPart
	room := 0
	for i, req := range requests {
		next := 0
		for _, r := range req.Tuples {
			if r.Count < 1 || r.Count > MaxChunkSize || r.From < 0 || r.From > MaxChunkSize {
				return nil, &mpc.ArgumentError{Msg: fmt.Sprintf("ecdsa: tuple range %d+%d is out of bounds", r.From, r.Count)}
			}
			if r.Count = min(r.Count, len(req.Messages)-next); r.Count == 0 {
				break
			}
			if r.Count > room {
				runs, room = append(runs, nil), size
			}
			last := &runs[len(runs)-1]
			*last = append(*last, runPart{i, next, r})
			next += r.Count
			room -= r.Count
		}
		if next < len(req.Messages) {
			return nil, &mpc.ArgumentError{Msg: fmt.Sprintf("ecdsa: %d tuples for %d messages", next, len(req.Messages))}
		}
	}
	return runs, nil
}

// runState is a run whose tuples are spent and whose statement is signed.
type runState struct {
	round     string // prefix of its rounds
	parts     []spent
	statement *Statement
	signed    []byte // by this party
}

func (r *runState) erase() {
	for _, p := range r.parts {
		p.own.erase()
	}
}

// statement is that of run i, still without a mark.
func (g *signing) statement(i int) *Statement {
	st := &Statement{
		Session: g.session.ID,
		Group:   g.group.Digest,
		Engine:  g.keys[0].Engine,
		Set:     g.session.Set,
		Run:     uint32(i),
	}
	for _, p := range g.runs[i] {
		ks, req := g.keys[p.request], g.session.Requests[p.request]
		st.Parts = append(st.Parts, Part{Key: ks.ID, Epoch: ks.Epoch, Manifest: req.Manifest, Tuples: p.tuples,
			Messages: MessagesDigest(g.digestsOf(p))})
	}
	return st
}

func (g *signing) digestsOf(p runPart) [][32]byte {
	return g.digests[p.request][p.first : p.first+p.tuples.Count]
}

// begin spends the tuples durably and only then signs the statement that names
// them (section 6, step 1).
func (g *signing) begin(i int) (*runState, error) {
	st := g.statement(i)
	ranges := make([]mpc.PoolRange, len(st.Parts))
	for j, p := range st.Parts {
		ranges[j] = mpc.PoolRange{Pool: mpc.PoolID{Key: p.Key, Set: g.session.Set.String(), Stripe: g.session.Stripe}, TupleRange: p.Tuples}
	}
	blobs, mark, err := g.signer.cfg.Store.Spend(ranges, st.Digest())
	if err != nil {
		return nil, err
	}
	state := &runState{round: "run" + strconv.Itoa(i), statement: st}
	for j, p := range g.runs[i] {
		own, err := decodeRun(blobs[j], len(g.session.Set), p.tuples.From, p.tuples.Count)
		clear(blobs[j])
		if err != nil {
			state.erase()
			return nil, err
		}
		state.parts = append(state.parts, spent{public: g.keys[p.request].Public, own: own, digests: g.digestsOf(p)})
	}
	st.Mark = mark
	state.signed = st.sign(g.signer.cfg.Identity)
	return state, nil
}

// finish is the rest of section 6.
func (g *signing) finish(ctx context.Context, state *runState) ([]mpc.Signature, error) {
	if err := g.exchangeStatements(ctx, state); err != nil {
		return nil, err
	}
	return g.signer.openRun(ctx, g.net, spending{
		round: state.round, set: g.session.Set, opening: g.opening, suspects: g.suspects, parts: state.parts,
	})
}

// exchangeStatements returns when every member has signed the same statement.
func (g *signing) exchangeStatements(ctx context.Context, state *runState) error {
	got, err := mpc.Exchange(ctx, g.net, state.round+"/statement", state.signed)
	if err != nil {
		return err
	}
	want := state.statement.Digest()
	signed := make([][]byte, 0, len(g.session.Set))
	for _, p := range g.session.Set {
		b := got[p]
		st, from, err := VerifyStatement(g.signer.cfg.Identity, b)
		if err != nil || from != p {
			return &mpc.CheatError{Parties: []mpc.PartyID{p}, What: fmt.Sprintf("sent no statement of its own: %v", err)}
		}
		if st.Digest() != want && !g.signer.holes.noStatements {
			return &mpc.CheatError{Parties: []mpc.PartyID{p}, Evidence: slices.Clone(b),
				What: "signed another statement: " + differences(state.statement, st)}
		}
		signed = append(signed, b)
	}
	if g.signer.cfg.Signed != nil {
		if err := g.signer.cfg.Signed(g.session.ID, signed); err != nil {
			return fmt.Errorf("keep statements: %w", err)
		}
	}
	return nil
}

// differences names the fields in which the statement of a peer differs.
func differences(ours, theirs *Statement) string {
	var names []string
	differ := func(name string, same bool) {
		if !same && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	differ("session", ours.Session == theirs.Session)
	differ("group", ours.Group == theirs.Group)
	differ("engine", ours.Engine == theirs.Engine)
	differ("signer set", ours.Set.Equal(theirs.Set))
	differ("run", ours.Run == theirs.Run)
	differ("parts", len(ours.Parts) == len(theirs.Parts))
	for i := range min(len(ours.Parts), len(theirs.Parts)) {
		a, b := ours.Parts[i], theirs.Parts[i]
		differ("key", a.Key == b.Key)
		differ("share epoch", a.Epoch == b.Epoch)
		differ("manifest", a.Manifest == b.Manifest)
		differ("chunk (view digest)", a.Tuples.Chunk == b.Tuples.Chunk)
		differ("tuples", a.Tuples.From == b.Tuples.From && a.Tuples.Count == b.Tuples.Count)
		differ("messages", a.Messages == b.Messages)
	}
	return fmt.Sprint(names)
}

// spending is what one run opens.
type spending struct {
	round    string // prefix of its rounds
	set      mpc.SignerSet
	opening  *mpc.Opening
	suspects []mpc.PartyID // of a signature that does not verify
	parts    []spent
}

// spent is tuples of one chunk, the key that they are of, and the digests that
// they sign.
type spent struct {
	public  p256.Point
	own     *run
	digests [][32]byte
}

// openRun is the signing phase of Figure 4 for a run of tuples: two rounds,
// then the check of every signature.
func (s *Signer) openRun(ctx context.Context, net mpc.Network, sp spending) ([]mpc.Signature, error) {
	all := concat(sp.parts)
	n, set, round := len(all.digests), sp.set, sp.round
	// Figure 4, signing, step 1: R ← Open(⟨k⟩), every share against its commitment.
	got, err := mpc.Exchange(ctx, net, round+"/R", all.rShares)
	if err != nil {
		return nil, err
	}
	points := make([][]p256.Point, len(set))
	for j, p := range set {
		if points[j], err = p256.DecodePoints(got[p], n); err != nil {
			return nil, &mpc.CheatError{Parties: []mpc.PartyID{p}, What: "shares of R: " + err.Error()}
		}
		if i := uncommitted(sp.parts, j, p, got[p]); i >= 0 && !s.holes.noCommitments {
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
			return nil, dispute(sp.suspects, fmt.Sprintf("R of tuple %d of the run has no usable x coordinate", i))
		}
	}

	// Steps 3 and 4: s ← Open(H(M)·[k⁻¹] + r·[sk']).
	mine := make([]p256.Scalar, 0, n)
	for _, part := range sp.parts {
		for i, d := range part.digests {
			m := p256.ScalarFromDigest(d[:])
			mine = append(mine, m.Mul(part.own.kInv[i]).Add(r[len(mine)].Mul(part.own.kInvSK[i])))
		}
	}
	if got, err = mpc.Exchange(ctx, net, round+"/s", p256.AppendScalars(make([]byte, 0, 32*n), mine)); err != nil {
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
	if len(bad) > 0 && !s.holes.noFinalCheck {
		return nil, dispute(sp.suspects, fmt.Sprintf("%d of %d signatures do not verify, the first for tuple %d of the run", len(bad), n, bad[0]))
	}
	// Of (r, s) and (r, -s), which both verify, the one with the smaller s: a
	// signed zone has one digest, whoever passes it on.
	out := make([]mpc.Signature, n)
	for i := range out {
		if sig[i].IsHigh() && !s.holes.anyForm {
			sig[i] = sig[i].Neg()
		}
		rb, sb := r[i].Bytes(), sig[i].Bytes()
		copy(out[i][:32], rb[:])
		copy(out[i][32:], sb[:])
	}
	return out, nil
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
