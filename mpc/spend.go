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
// (docs/protocol.md, section 6): it compares what the members came for, spends
// tuples durably, and only then signs the statement that names them, which all
// members must sign alike. What is opened then is the protocol's business.
type Spender struct {
	Identity Identity
	Store    TupleStore
	RunSize  int // signatures a run, unless one range has more
	Window   int // runs in flight
	// Signed, which may be nil, is given the signed statements of every run,
	// one of each member of the signer set, before this party releases any
	// share for it: the evidence of who took part, to be kept and relayed.
	// An error from it aborts the session. It is called from several
	// goroutines.
	Signed func(session SessionID, statements [][]byte) error

	// NoRequest and NoStatements take defences out, so that tests can show
	// what each is for; nothing else sets them. What members came for, and
	// statements, need then not be the same.
	NoRequest, NoStatements bool
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
// for: tuple Tuples.From+i is for Messages[i].
type RunPart struct {
	Request  int // index of the session's request
	Tuples   TupleRange
	Messages [][]byte
	Digests  [][32]byte // SHA-256 of each message
	Blob     []byte     // of the whole chunk; secret, erased when the run ends

	first int // index of the first message in the request
}

// Sign signs the messages of all requests, in runs. All members of session.Set,
// and nobody else, are in net and call it with the same session; keys are those
// of the requests, which must be of one engine and group. finish opens what a
// run's tuples hold and returns a verified signature for each message of each
// part, in order; it is called from several goroutines. A run that was begun
// leaves its tuples spent, whatever happens.
func (s *Spender) Sign(ctx context.Context, net Network, session SignSession, keys []SigningKey, progress func(done int), finish func(ctx context.Context, r *Run) ([]Signature, error)) ([][]Signature, error) {
	g, err := s.newSigning(net, session, keys)
	if err != nil {
		return nil, err
	}
	if len(g.runs) > 0 {
		if err := g.compareRequests(ctx); err != nil {
			return nil, err
		}
	}
	signatures := make([][]Signature, len(session.Requests))
	for i, r := range session.Requests {
		signatures[i] = make([]Signature, len(r.Messages))
	}
	done := NewProgress(progress)
	signed := make([][]byte, len(g.runs)) // statements, by this party
	err = Pipeline(ctx, len(g.runs), s.Window, func(i int) (err error) {
		if signed[i], err = g.spend(i); err != nil {
			return fmt.Errorf("sign run %d: %w", i, err)
		}
		return nil
	}, func(ctx context.Context, i int) error {
		r := g.runs[i]
		defer r.erase()
		if err := g.exchangeStatements(ctx, i, signed[i]); err != nil {
			return fmt.Errorf("sign run %d: %w", i, err)
		}
		sigs, err := finish(ctx, r)
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
	runs, err := splitRuns(session.Requests, s.RunSize)
	if err != nil {
		return nil, err
	}
	return &signing{spender: s, net: net, session: session, keys: keys, runs: runs}, nil
}

// splitRuns gives each range its messages, and makes runs of the ranges, with
// size signatures at most unless one range has more; what is left of a
// request's last range is not touched.
func splitRuns(requests []SignRequest, size int) ([]*Run, error) {
	var runs []*Run
	room := 0
	for i, req := range requests {
		digests := make([][32]byte, len(req.Messages))
		for j, m := range req.Messages {
			digests[j] = sha256.Sum256(m)
		}
		next := 0
		for _, r := range req.Tuples {
			if r.Count < 1 || r.Count > MaxChunkSize || r.From < 0 || r.From > MaxChunkSize {
				return nil, &ArgumentError{Msg: fmt.Sprintf("sign: tuple range %d+%d is out of bounds", r.From, r.Count)}
			}
			if r.Count = min(r.Count, len(req.Messages)-next); r.Count == 0 {
				break
			}
			if r.Count > room {
				runs, room = append(runs, &Run{Round: "run" + strconv.Itoa(len(runs))}), size
			}
			end := next + r.Count
			last := runs[len(runs)-1]
			last.Parts = append(last.Parts, RunPart{Request: i, first: next, Tuples: r, Messages: req.Messages[next:end], Digests: digests[next:end]})
			room -= r.Count
			next = end
		}
		if next < len(req.Messages) {
			return nil, &ArgumentError{Msg: fmt.Sprintf("sign: %d tuples for %d messages", next, len(req.Messages))}
		}
	}
	return runs, nil
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

// statement is that of run i, still without a mark.
func (g *signing) statement(i int) *Statement {
	st := &Statement{
		Session: g.session.ID,
		Group:   g.keys[0].Group.Digest,
		Engine:  g.keys[0].Engine,
		Set:     g.session.Set,
		Run:     uint32(i),
	}
	for _, p := range g.runs[i].Parts {
		req := g.session.Requests[p.Request]
		st.Parts = append(st.Parts, Part{Key: req.Key, Epoch: g.keys[p.Request].Epoch, Manifest: req.Manifest, Tuples: p.Tuples,
			Messages: MessagesDigest(p.Digests)})
	}
	return st
}

// spend spends the tuples of run i durably and only then signs the statement
// that names them.
func (g *signing) spend(i int) (signed []byte, err error) {
	st, r := g.statement(i), g.runs[i]
	ranges := make([]PoolRange, len(r.Parts))
	for j, p := range st.Parts {
		ranges[j] = PoolRange{Pool: PoolID{Key: p.Key, Set: g.session.Set.String(), Stripe: g.session.Stripe}, TupleRange: p.Tuples}
	}
	blobs, mark, err := g.spender.Store.Spend(ranges, st.Digest())
	if err != nil {
		return nil, err
	}
	for j := range r.Parts {
		r.Parts[j].Blob = blobs[j]
	}
	st.Mark = mark
	return st.Sign(g.spender.Identity), nil
}

func (r *Run) erase() {
	for i := range r.Parts {
		clear(r.Parts[i].Blob)
		r.Parts[i].Blob = nil
	}
}

// exchangeStatements returns when every member has signed the same statement.
func (g *signing) exchangeStatements(ctx context.Context, i int, own []byte) error {
	got, err := Exchange(ctx, g.net, g.runs[i].Round+"/statement", own)
	if err != nil {
		return err
	}
	ours := g.statement(i)
	want := ours.Digest()
	signed := make([][]byte, 0, len(g.session.Set))
	for _, p := range g.session.Set {
		b := got[p]
		st, from, err := VerifyStatement(g.spender.Identity, b)
		if err != nil || from != p {
			return &CheatError{Parties: []PartyID{p}, What: fmt.Sprintf("sent no statement of its own: %v", err)}
		}
		if st.Digest() != want && !g.spender.NoStatements {
			return &CheatError{Parties: []PartyID{p}, Evidence: slices.Clone(b), What: "signed another statement: " + differences(ours, st)}
		}
		signed = append(signed, b)
	}
	if g.spender.Signed != nil {
		if err := g.spender.Signed(g.session.ID, signed); err != nil {
			return fmt.Errorf("keep statements: %w", err)
		}
	}
	return nil
}
