package mpc

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
)

// Spender is what all signers do alike before a share of a signature leaves
// (docs/protocol.md, section 6): it makes sure that the members came for the
// same, spends tuples durably, and only then signs the statement that names
// them, which all members must sign alike. What is opened with the statement,
// and what after it, is the protocol's business.
type Spender struct {
	Identity Identity
	Store    TupleStore
	RunSize  int // signatures a run, as RunSize: the same for all members
	Window   int // runs in flight
	// Signed, which may be nil, is given the signed statements of every run,
	// one of each member of the signer set, before this party releases any
	// share of a signature for it: the evidence of who took part, to be kept
	// and relayed. An error from it aborts the session. It is called from
	// several goroutines.
	Signed func(session SessionID, statements []SignedStatement) error

	// NoRequest, NoStatements and NoHash take defences out, so that tests can
	// show what each is for; nothing else sets them. What members came for,
	// and statements, need then not be the same; a message of 32 bytes is its
	// own digest, as where clients have digests signed.
	NoRequest, NoStatements, NoHash bool
}

// SigningKey is what a statement says of a key, besides its id.
type SigningKey struct {
	Engine string
	Group  Group
	Epoch  uint64 // of the key's shares
}

// Run is tuples that are spent, by a statement that every member has signed,
// and what they sign.
type Run struct {
	Round string // prefix of its rounds
	Parts []RunPart
}

// RunPart is tuples of one chunk, and the request and messages that they are
// for: tuple Tuples.From+i is for Messages[i]. It has messages, digests and
// blob while the run is under way.
type RunPart struct {
	Request  int // index of the session's request
	Tuples   TupleRange
	Messages [][]byte
	Digests  [][32]byte // SHA-256 of each message
	Blob     []byte     // of the whole chunk; secret, erased when the run ends

	first int // index of the first message in the request
}

// Spending is what a protocol makes of a run whose tuples are spent.
type Spending interface {
	// Opening is what this party sends with its statement, and so before it
	// knows that the others sign the same; nil where that is nothing. It has
	// the same length at all members. What may be in it, docs/protocol.md
	// argues for each protocol: never a share of a signature.
	Opening() []byte
	// Finish is given the openings of all members, of which only the length
	// was looked at, when all have signed the same statement. It opens the rest and
	// returns a verified signature for each message of each part, in order.
	Finish(ctx context.Context, openings map[PartyID][]byte) ([]Signature, error)
	// Close erases secrets. It is called once, whatever happened.
	Close()
}

// Sign signs the messages of all requests, in runs. All members of session.Set,
// and nobody else, are in net and call it with the same session; keys are those
// of the requests, which must be of one engine and group. open takes a run in
// hand; it is called from several goroutines. A run that was begun leaves its
// tuples spent, whatever happens.
func (s *Spender) Sign(ctx context.Context, net Network, session SignSession, keys []SigningKey, progress func(done int), open func(r *Run) (Spending, error)) ([][]Signature, error) {
	g, err := s.newSigning(net, session, keys)
	if err != nil {
		return nil, err
	}
	if len(g.runs) > 0 && !session.Agreed {
		if err := g.compareRequests(ctx); err != nil {
			return nil, err
		}
	}
	signatures := make([][]Signature, len(session.Requests))
	for i, r := range session.Requests {
		signatures[i] = make([]Signature, r.Len())
	}
	done := NewProgress(progress)
	signed := make([]SignedStatement, len(g.runs)) // by this party
	err = Pipeline(ctx, len(g.runs), s.Window, func(i int) (err error) {
		if signed[i], err = g.spend(i); err != nil {
			return fmt.Errorf("sign run %d: %w", i, err)
		}
		return nil
	}, func(ctx context.Context, i int) error {
		r := g.runs[i]
		sigs, err := g.finish(ctx, i, signed[i], open)
		if err != nil {
			return fmt.Errorf("sign run %d: %w", i, err)
		}
		done.Add(len(sigs))
		for _, p := range r.Parts {
			copy(signatures[p.Request][p.first:], sigs[:p.Tuples.Count])
			sigs = sigs[p.Tuples.Count:]
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return signatures, nil
}

// signing is one session of Sign.
type signing struct {
	spender *Spender
	net     Network
	session SignSession
	keys    []SigningKey
	runs    []*Run
}

// newSigning checks what is asked for and cuts it into runs.
func (s *Spender) newSigning(net Network, session SignSession, keys []SigningKey) (*signing, error) {
	if len(session.Requests) == 0 || len(keys) != len(session.Requests) {
		return nil, &ArgumentError{Msg: fmt.Sprintf("sign: a session of %d requests, with %d keys", len(session.Requests), len(keys))}
	}
	for i, k := range keys {
		if k.Engine != keys[0].Engine || !k.Group.Equal(keys[0].Group) {
			return nil, &ArgumentError{Msg: fmt.Sprintf("sign: key %s is not of the engine and group of the session's first, %s", session.Requests[i].Key, session.Requests[0].Key)}
		}
	}
	if !session.Set.Equal(NewSignerSet(net.Parties()...)) {
		return nil, &ArgumentError{Msg: fmt.Sprintf("sign: signer set %s, but the session is among %v", session.Set, net.Parties())}
	}
	runs, err := s.splitRuns(session.Requests)
	if err != nil {
		return nil, err
	}
	return &signing{spender: s, net: net, session: session, keys: keys, runs: runs}, nil
}

// splitRuns gives each range its messages, and makes runs of the ranges, with
// RunSize signatures at most unless one range has more; what is left of a
// request's last range is not touched.
func (s *Spender) splitRuns(requests []SignRequest) ([]*Run, error) {
	var runs []*Run
	room := 0
	for i, req := range requests {
		next := 0
		for _, r := range req.Tuples {
			if r.Count < 1 || r.Count > MaxChunkSize || r.From < 0 || r.From > MaxChunkSize {
				return nil, &ArgumentError{Msg: fmt.Sprintf("sign: tuple range %d+%d is out of bounds", r.From, r.Count)}
			}
			if r.Count = min(r.Count, req.Len()-next); r.Count == 0 {
				break
			}
			if r.Count > room {
				runs, room = append(runs, &Run{Round: "run" + strconv.Itoa(len(runs))}), s.RunSize
			}
			last := runs[len(runs)-1]
			last.Parts = append(last.Parts, RunPart{Request: i, first: next, Tuples: r})
			room -= r.Count
			next += r.Count
		}
		if next < req.Len() {
			return nil, &ArgumentError{Msg: fmt.Sprintf("sign: %d tuples for %d messages", next, req.Len())}
		}
	}
	return runs, nil
}

// compareRequests returns when every member wants the same session, key, set,
// manifest, pool, and every run with its messages, before anything is spent for
// it: members that came for different things burn nothing, and the odd one is
// seen. It is no proof to others; the statements are. Where members have agreed
// on the session, it would find nothing.
func (g *signing) compareRequests(ctx context.Context) error {
	b := binary.BigEndian.AppendUint32(nil, uint32(len(g.runs)))
	for i := range g.runs {
		d := g.statement(i).Digest()
		b = append(b, d[:]...)
	}
	own := Digest("zonesigner sign request v1", append(b, g.session.Stripe...))
	got, err := Exchange(ctx, g.net, "request", own[:])
	if err != nil || g.spender.NoRequest {
		return err
	}
	var other []PartyID
	for _, p := range g.session.Set {
		if !bytes.Equal(got[p], own[:]) {
			other = append(other, p)
		}
	}
	if other == nil {
		return nil
	}
	// Alone against several, the odd one may be this party itself.
	return Dispute(other, "asked to sign something else than this operator, nothing is spent")
}

// statement is that of run i, which has its messages from then on, still
// without a mark.
func (g *signing) statement(i int) *Statement {
	st := &Statement{
		Session: g.session.ID,
		Group:   g.keys[0].Group.Digest,
		Engine:  g.keys[0].Engine,
		Set:     g.session.Set,
		Run:     uint32(i),
	}
	for j := range g.runs[i].Parts {
		p := &g.runs[i].Parts[j]
		req := &g.session.Requests[p.Request]
		if p.Messages == nil {
			p.Messages = req.messages(p.first, p.Tuples.Count)
			p.Digests = g.spender.digests(p.Messages)
		}
		st.Parts = append(st.Parts, Part{Key: req.Key, Epoch: g.keys[p.Request].Epoch, Manifest: req.Manifest, Tuples: p.Tuples,
			Messages: MessagesDigest(p.Digests)})
	}
	return st
}

// digests are the SHA-256 of messages.
func (s *Spender) digests(messages [][]byte) [][32]byte {
	out := make([][32]byte, len(messages))
	for i, m := range messages {
		if out[i] = sha256.Sum256(m); s.NoHash && len(m) == len(out[i]) {
			out[i] = [32]byte(m)
		}
	}
	return out
}

// spend spends the tuples of run i durably and only then signs the statement
// that names them.
func (g *signing) spend(i int) (SignedStatement, error) {
	st, r := g.statement(i), g.runs[i]
	ranges := make([]PoolRange, len(r.Parts))
	for j, p := range st.Parts {
		ranges[j] = PoolRange{Pool: PoolID{Key: p.Key, Set: g.session.Set.String(), Stripe: g.session.Stripe}, TupleRange: p.Tuples}
	}
	blobs, mark, err := g.spender.Store.Spend(ranges, st.Digest())
	if err != nil {
		return SignedStatement{}, err
	}
	for j := range r.Parts {
		r.Parts[j].Blob = blobs[j]
	}
	st.Mark = mark
	return SignedStatement{st, g.net.Self(), st.Sign(g.spender.Identity)}, nil
}

// erase ends the run: its blobs go, and what is not needed any more.
func (r *Run) erase() {
	for i := range r.Parts {
		p := &r.Parts[i]
		clear(p.Blob)
		p.Blob, p.Messages, p.Digests = nil, nil, nil
	}
}

// finish signs run i, whose tuples are spent.
func (g *signing) finish(ctx context.Context, i int, signed SignedStatement, open func(r *Run) (Spending, error)) ([]Signature, error) {
	r := g.runs[i]
	defer r.erase()
	sp, err := open(r)
	if err != nil {
		return nil, err
	}
	defer sp.Close()
	openings, err := g.exchangeStatements(ctx, i, signed, sp.Opening())
	if err != nil {
		return nil, err
	}
	return sp.Finish(ctx, openings)
}

// exchangeStatements returns the openings of all members when every member has
// signed the same statement as own.
func (g *signing) exchangeStatements(ctx context.Context, i int, own SignedStatement, opening []byte) (openings map[PartyID][]byte, err error) {
	got, err := Exchange(ctx, g.net, g.runs[i].Round+"/statement", appendOpening(own.Raw, opening))
	if err != nil {
		return nil, err
	}
	want := own.Digest()
	signed := make([]SignedStatement, 0, len(g.session.Set))
	openings = map[PartyID][]byte{}
	for _, p := range g.session.Set {
		var b []byte
		if b, openings[p] = splitOpening(got[p]); p == g.net.Self() {
			signed = append(signed, own)
			continue
		}
		st, from, err := VerifyStatement(g.spender.Identity, b)
		if err != nil || from != p {
			return nil, &CheatError{Parties: []PartyID{p}, What: fmt.Sprintf("sent no statement of its own: %v", err)}
		}
		if st.Digest() != want && !g.spender.NoStatements {
			return nil, &CheatError{Parties: []PartyID{p}, Evidence: slices.Clone(b), What: "signed another statement: " + differences(own.Statement, st)}
		}
		signed = append(signed, SignedStatement{st, from, b})
	}
	if g.spender.Signed != nil {
		if err := g.spender.Signed(g.session.ID, signed); err != nil {
			return nil, fmt.Errorf("keep statements: %w", err)
		}
	}
	for _, p := range g.session.Set {
		if n := len(openings[p]); n != len(opening) {
			return nil, &CheatError{Parties: []PartyID{p}, What: fmt.Sprintf("opened %d bytes with its statement, want %d", n, len(opening))}
		}
	}
	return openings, nil
}

// appendOpening joins a signed statement and what is opened with it: the
// statement after its length (4 bytes), then the opening.
func appendOpening(statement, opening []byte) []byte {
	b := make([]byte, 0, 4+len(statement)+len(opening))
	b = binary.BigEndian.AppendUint32(b, uint32(len(statement)))
	return append(append(b, statement...), opening...)
}

// splitOpening is the reverse; no statement where b is cut short. Both are parts
// of b.
func splitOpening(b []byte) (statement, opening []byte) {
	r := NewReader(b)
	if statement = r.Take(int(r.Uint32())); r.Short() {
		return nil, nil
	}
	return statement, r.Take(r.Len())
}
