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
	"sync"

	"zonesigner/mpc"
	"zonesigner/mpc/p256"
)

// Sign signs req.Messages in runs, one for each of req.Tuples, in order. All
// members of req.Set, and nobody else, are in net and call it with the same
// request. A run that was begun leaves its tuples spent, whatever happens.
func (s *Signer) Sign(ctx context.Context, net mpc.Network, req mpc.SignRequest, progress func(done int)) ([]mpc.Signature, error) {
	ks, protocol, err := s.key(req.Key, req.Set)
	if err != nil {
		return nil, err
	}
	if !req.Set.Equal(mpc.NewSignerSet(net.Parties()...)) {
		return nil, &mpc.ArgumentError{Msg: fmt.Sprintf("ecdsa: signer set %s, but the session is among %v", req.Set, net.Parties())}
	}
	runs, err := split(req)
	if err != nil {
		return nil, err
	}
	opening, err := s.holes.opening(ks.Group, req.Set, net.Self())
	if err != nil {
		return nil, err
	}
	suspects := without(req.Set, net.Self())
	if !protocol.Active() { // tuples were not verified: a party that does not sign may have spoiled them
		suspects = without(ks.Group.Parties, net.Self())
	}
	session := &signing{signer: s, net: net, req: req, key: ks, opening: opening, suspects: suspects}
	digests := make([][32]byte, len(req.Messages))
	for i, m := range req.Messages {
		digests[i] = sha256.Sum256(m)
	}
	if len(runs) > 0 {
		if err := session.compareRequests(ctx, requestDigest(req, ks, runs, digests)); err != nil {
			return nil, err
		}
	}
	signatures := make([]mpc.Signature, len(req.Messages))
	var mu sync.Mutex
	done := 0
	states := make([]*runState, len(runs))
	err = pipeline(ctx, len(runs), s.cfg.Window, func(i int) (err error) {
		r := runs[i]
		if states[i], err = session.begin(i, r, digests); err != nil {
			return fmt.Errorf("ecdsa: sign run %d: %w", i, err)
		}
		return nil
	}, func(ctx context.Context, i int) error {
		state := states[i]
		states[i] = nil
		defer state.shares.erase()
		sigs, err := session.finish(ctx, state)
		if err != nil {
			return fmt.Errorf("ecdsa: sign run %d: %w", i, err)
		}
		copy(signatures[runs[i].first:], sigs)
		mu.Lock()
		defer mu.Unlock()
		done += len(sigs)
		if progress != nil {
			progress(done)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return signatures, nil
}

// requestDigest is the hash of all that the members' statements will say: what
// session, key, set, manifest and pool, and every run with its messages.
func requestDigest(req mpc.SignRequest, ks *KeyShare, runs []messageRun, digests [][32]byte) [32]byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(len(runs)))
	for i, r := range runs {
		st := newStatement(req, ks, i, r, digests)
		d := st.Digest()
		b = append(b, d[:]...)
	}
	return mpc.Digest("zonesigner sign request v1", append(b, req.Stripe...))
}

// compareRequests returns when every member wants the same, before anything is
// spent for it: members that came for different things burn nothing, and the
// odd one is seen. It is no proof to others; the statements are.
func (s *signing) compareRequests(ctx context.Context, own [32]byte) error {
	got, err := mpc.Exchange(ctx, s.net, "request", own[:])
	if err != nil || s.signer.holes.noRequest {
		return err
	}
	var other []mpc.PartyID
	for _, p := range s.req.Set {
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

// messageRun is one run: its tuples and the index of its first message.
type messageRun struct {
	tuples mpc.TupleRange
	first  int
}

// split gives each range its messages; what is left of the last range is not
// touched.
func split(req mpc.SignRequest) ([]messageRun, error) {
	var runs []messageRun
	next := 0
	for _, r := range req.Tuples {
		if r.Count < 1 || r.Count > MaxChunkSize || r.From < 0 || r.From > MaxChunkSize {
			return nil, &mpc.ArgumentError{Msg: fmt.Sprintf("ecdsa: tuple range %d+%d is out of bounds", r.From, r.Count)}
		}
		if r.Count = min(r.Count, len(req.Messages)-next); r.Count == 0 {
			break
		}
		runs = append(runs, messageRun{r, next})
		next += r.Count
	}
	if next < len(req.Messages) {
		return nil, &mpc.ArgumentError{Msg: fmt.Sprintf("ecdsa: %d tuples for %d messages", next, len(req.Messages))}
	}
	return runs, nil
}

// signing is one session of Sign.
type signing struct {
	signer  *Signer
	net     mpc.Network
	req     mpc.SignRequest
	key     *KeyShare
	opening *mpc.Opening
	// suspects of a signature that does not verify
	suspects []mpc.PartyID
}

// runState is a run whose tuples are spent and whose statement is signed.
type runState struct {
	round     string // prefix of its rounds
	digests   [][32]byte
	shares    *run
	statement *Statement
	signed    []byte // by this party
}

// newStatement is that of run i, still without a mark; digests are those of
// all messages.
func newStatement(req mpc.SignRequest, ks *KeyShare, i int, r messageRun, digests [][32]byte) *Statement {
	return &Statement{
		Session:  req.Session,
		Group:    ks.Group.Digest,
		Engine:   ks.Engine,
		Key:      req.Key,
		Epoch:    ks.Epoch,
		Set:      req.Set,
		Manifest: req.Manifest,
		Run:      uint32(i),
		Tuples:   r.tuples,
		Messages: MessagesDigest(digests[r.first : r.first+r.tuples.Count]),
	}
}

// begin spends the tuples durably and only then signs the statement that names
// them (section 6, step 1).
func (s *signing) begin(i int, r messageRun, digests [][32]byte) (*runState, error) {
	st := newStatement(s.req, s.key, i, r, digests)
	pool := mpc.PoolID{Key: s.req.Key, Set: s.req.Set.String(), Stripe: s.req.Stripe}
	blob, mark, err := s.signer.cfg.Store.Spend(pool, r.tuples, st.Digest())
	if err != nil {
		return nil, err
	}
	defer clear(blob)
	st.Mark = mark
	shares, err := decodeRun(blob, len(s.req.Set), r.tuples.From, r.tuples.Count)
	if err != nil {
		return nil, err
	}
	return &runState{
		round:     "run" + strconv.Itoa(i),
		digests:   digests[r.first : r.first+r.tuples.Count],
		shares:    shares,
		statement: st,
		signed:    st.sign(s.signer.cfg.Identity),
	}, nil
}

// finish is the rest of section 6.
func (s *signing) finish(ctx context.Context, state *runState) ([]mpc.Signature, error) {
	if err := s.exchangeStatements(ctx, state); err != nil {
		return nil, err
	}
	return s.signer.openRun(ctx, s.net, spending{
		round: state.round, set: s.req.Set, opening: s.opening, public: s.key.Public, suspects: s.suspects,
		own: state.shares, digests: state.digests,
	})
}

// exchangeStatements returns when every member has signed the same statement.
func (s *signing) exchangeStatements(ctx context.Context, state *runState) error {
	got, err := mpc.Exchange(ctx, s.net, state.round+"/statement", state.signed)
	if err != nil {
		return err
	}
	want := state.statement.Digest()
	signed := make([][]byte, 0, len(s.req.Set))
	for _, p := range s.req.Set {
		b := got[p]
		st, from, err := VerifyStatement(s.signer.cfg.Identity, b)
		if err != nil || from != p {
			return &mpc.CheatError{Parties: []mpc.PartyID{p}, What: fmt.Sprintf("sent no statement of its own: %v", err)}
		}
		if st.Digest() != want && !s.signer.holes.noStatements {
			return &mpc.CheatError{Parties: []mpc.PartyID{p}, Evidence: slices.Clone(b),
				What: "signed another statement: " + differences(state.statement, st)}
		}
		signed = append(signed, b)
	}
	if s.signer.cfg.Signed != nil {
		if err := s.signer.cfg.Signed(s.req.Session, signed); err != nil {
			return fmt.Errorf("keep statements: %w", err)
		}
	}
	return nil
}

// differences names the fields in which the statement of a peer differs.
func differences(ours, theirs *Statement) string {
	var names []string
	for _, f := range []struct {
		name string
		same bool
	}{
		{"session", ours.Session == theirs.Session},
		{"group", ours.Group == theirs.Group},
		{"engine", ours.Engine == theirs.Engine},
		{"key", ours.Key == theirs.Key},
		{"share epoch", ours.Epoch == theirs.Epoch},
		{"signer set", ours.Set.Equal(theirs.Set)},
		{"manifest", ours.Manifest == theirs.Manifest},
		{"run", ours.Run == theirs.Run},
		{"chunk (view digest)", ours.Tuples.Chunk == theirs.Tuples.Chunk},
		{"tuples", ours.Tuples.From == theirs.Tuples.From && ours.Tuples.Count == theirs.Tuples.Count},
		{"messages", ours.Messages == theirs.Messages},
	} {
		if !f.same {
			names = append(names, f.name)
		}
	}
	return fmt.Sprint(names)
}

// spending is what one run opens.
type spending struct {
	round    string // prefix of its rounds
	set      mpc.SignerSet
	opening  *mpc.Opening
	public   p256.Point
	suspects []mpc.PartyID // of a signature that does not verify
	own      *run
	digests  [][32]byte
}

// openRun is the signing phase of Figure 4 for a run of tuples: two rounds,
// then the check of every signature.
func (s *Signer) openRun(ctx context.Context, net mpc.Network, sp spending) ([]mpc.Signature, error) {
	own, digests, set, round := sp.own, sp.digests, sp.set, sp.round
	n := len(digests)
	// Figure 4, signing, step 1: R ← Open(⟨k⟩), every share against its commitment.
	got, err := mpc.Exchange(ctx, net, round+"/R", own.rShares)
	if err != nil {
		return nil, err
	}
	points := make([][]p256.Point, len(set))
	for j, p := range set {
		if points[j], err = p256.DecodePoints(got[p], n); err != nil {
			return nil, &mpc.CheatError{Parties: []mpc.PartyID{p}, What: "shares of R: " + err.Error()}
		}
		c := newCommitter(own.view, p)
		for i := range n {
			h := c.commitment(own.from+i, got[p][64*i:64*i+64])
			if subtle.ConstantTimeCompare(h[:], own.commitments[j][32*i:32*i+32]) != 1 && !s.holes.noCommitments {
				return nil, &mpc.CheatError{Parties: []mpc.PartyID{p}, What: fmt.Sprintf("its share of R of tuple %d is not the one it committed to", own.from+i)}
			}
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
			return nil, dispute(sp.suspects, fmt.Sprintf("R of tuple %d has no usable x coordinate", own.from+i))
		}
	}

	// Steps 3 and 4: s ← Open(H(M)·[k⁻¹] + r·[sk']).
	mine := make([]p256.Scalar, n)
	for i := range mine {
		m := p256.ScalarFromDigest(digests[i][:])
		mine[i] = m.Mul(own.kInv[i]).Add(r[i].Mul(own.kInvSK[i]))
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
	bad, err := p256.VerifyBatch(sp.public, digests, r, sig, R, rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("verify signatures: %w", err)
	}
	if len(bad) > 0 && !s.holes.noFinalCheck {
		return nil, dispute(sp.suspects, fmt.Sprintf("%d of %d signatures do not verify, the first for tuple %d", len(bad), n, own.from+bad[0]))
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
