package mpctest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"zonesigner/mpc"
	"zonesigner/mpc/memnet"
)

// Scheme is a protocol of threshold signatures as TestSigner plays it.
type Scheme struct {
	Name string
	// Supports and Signers report an error for groups and signer sets that it
	// does not serve.
	Supports func(g mpc.Group) error
	Signers  func(g mpc.Group, set mpc.SignerSet) error
	// New makes the part of one operator.
	New func(t testing.TB, c Part) Operator
	// Active says that a tuple is right when it is stored; otherwise a wrong one
	// is found when it is spent.
	Active bool
	// Rounds is how many messages a signature from a ready tuple waits for,
	// one after the other, when it was agreed on.
	Rounds int
	// Names says that a wrong share of a signature is blamed on its sender
	// alone, whatever the group; otherwise the sender is among the disputed.
	Names bool
}

// Part is what one operator's signer is made of.
type Part struct {
	Group    mpc.Group
	Identity mpc.Identity
	Store    mpc.TupleStore
	Signed   func(session mpc.SessionID, statements []mpc.SignedStatement) error
	RunSize  int // tuples a chunk, and signatures a run
}

// Operator is one operator's part of a scheme.
type Operator interface {
	mpc.Signer
	// Generate makes a key for each label together with all of the group, and
	// keeps this operator's share of each.
	Generate(ctx context.Context, net mpc.Network, labels [][]byte) ([]mpc.KeyID, error)
	// Verify reports whether sig is the key's signature on message.
	Verify(key mpc.KeyID, message string, sig mpc.Signature) bool
}

// runSize is that of the suite's signers.
const runSize = 4

// schemeWorld is a group over a memory network. Its order is not that of the
// names, so that who takes one for the other is found out.
type schemeWorld struct {
	t         testing.TB
	scheme    Scheme
	hub       *memnet.Hub
	group     mpc.Group
	ids       map[mpc.PartyID]*Identity
	stores    map[mpc.PartyID]*Store
	operators map[mpc.PartyID]Operator
	sessions  byte
	wrap      func(net mpc.Network) mpc.Network // may be nil

	mu     sync.Mutex
	keys   map[mpc.PartyID][]mpc.KeyID // that each holds
	events []string                    // what b did, see watch
	fails  error                       // of b's keeping of statements; nil: none
}

func newSchemeWorld(t testing.TB, s Scheme, n, threshold int) *schemeWorld {
	t.Helper()
	w := &schemeWorld{t: t, scheme: s, group: Group(n, threshold), stores: map[mpc.PartyID]*Store{},
		operators: map[mpc.PartyID]Operator{}, keys: map[mpc.PartyID][]mpc.KeyID{}}
	slices.Reverse(w.group.Parties)
	w.ids = Identities(t, w.group.Parties)
	w.hub = memnet.New(w.group.Parties...)
	t.Cleanup(w.hub.Close)
	for _, p := range w.group.Parties {
		w.stores[p] = NewStore()
		w.operators[p] = s.New(t, Part{Group: w.group, Identity: w.identity(p), Store: w.stores[p], RunSize: runSize,
			Signed: func(_ mpc.SessionID, statements []mpc.SignedStatement) error { return w.keep(p, statements) }})
	}
	return w
}

// identity is that of p; when b signs something, that is noted.
func (w *schemeWorld) identity(p mpc.PartyID) mpc.Identity {
	if p == "b" {
		return notingIdentity{w.ids[p], w}
	}
	return w.ids[p]
}

type notingIdentity struct {
	mpc.Identity
	w *schemeWorld
}

func (i notingIdentity) Sign(msg []byte) []byte {
	i.w.note("signs")
	return i.Identity.Sign(msg)
}

// keep is what operator p does with the statements of a run.
func (w *schemeWorld) keep(p mpc.PartyID, statements []mpc.SignedStatement) error {
	if p != "b" {
		return nil
	}
	var from mpc.SignerSet
	for _, s := range statements {
		st, id, err := mpc.VerifyStatement(w.ids[p], s.Raw)
		if err != nil || id != s.From || st.Digest() != s.Digest() {
			w.t.Errorf("a statement of %s that is given to keep: %v", s.From, err)
		}
		from = append(from, s.From)
	}
	w.note(fmt.Sprintf("keeps %d parts of %s", len(statements[0].Parts), from))
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.fails
}

func (w *schemeWorld) note(event string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.events = append(w.events, event)
}

// watch notes from now on what b does: it spends, signs statements, keeps those
// of all, and sends the messages of the named rounds.
func (w *schemeWorld) watch() {
	w.events = nil
	w.stores["b"].Spent = func() { w.note("spends") }
	w.wrap = func(net mpc.Network) mpc.Network {
		if net.Self() != "b" {
			return net
		}
		return NewPuppet(net, Blind(func(_ mpc.PartyID, round string, b []byte) []byte {
			w.note(round)
			return b
		}))
	}
}

// among runs f for each of parties in a fresh session of at most a minute: in
// a bubble of testing/synctest that is no time at all once everybody waits.
func (w *schemeWorld) among(parties []mpc.PartyID, f func(ctx context.Context, net mpc.Network) error) map[mpc.PartyID]error {
	w.t.Helper()
	w.sessions++
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return Session(ctx, w.t, w.hub, mpc.SessionID{w.sessions}, parties, func(ctx context.Context, net mpc.Network) error {
		if w.wrap != nil {
			net = w.wrap(net)
		}
		return f(ctx, net)
	})
}

func (w *schemeWorld) must(errs map[mpc.PartyID]error) {
	w.t.Helper()
	for p, err := range errs {
		if err != nil {
			w.t.Fatalf("at %s: %v", p, err)
		}
	}
}

// generate makes keys of the labels that each operator was asked for.
func (w *schemeWorld) generate(labels func(p mpc.PartyID) []string) map[mpc.PartyID]error {
	w.t.Helper()
	return w.among(w.group.Parties, func(ctx context.Context, net mpc.Network) error {
		var all [][]byte
		for _, l := range labels(net.Self()) {
			all = append(all, []byte(l))
		}
		made, err := w.operators[net.Self()].Generate(ctx, net, all)
		if err == nil && len(made) != len(all) {
			err = fmt.Errorf("%d keys for %d labels", len(made), len(all))
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		if err == nil {
			w.keys[net.Self()] = append(w.keys[net.Self()], made...)
		}
		return err
	})
}

// mustGenerate makes keys of the same labels, and checks that all hold them.
func (w *schemeWorld) mustGenerate(labels ...string) {
	w.t.Helper()
	w.must(w.generate(func(mpc.PartyID) []string { return labels }))
	for _, p := range w.group.Parties {
		if !slices.Equal(w.keys[p], w.keys["a"]) || len(w.keys[p]) < len(labels) {
			w.t.Fatalf("%s holds keys %v, a holds %v", p, w.keys[p], w.keys["a"])
		}
	}
}

func (w *schemeWorld) key() mpc.KeyID { return w.keys["a"][0] }

func (w *schemeWorld) pool(key mpc.KeyID, set mpc.SignerSet) mpc.PoolID {
	return mpc.PoolID{Key: key, Set: set.String(), Stripe: "a"}
}

func (w *schemeWorld) prepare(key mpc.KeyID, set mpc.SignerSet, n int) map[mpc.PartyID]error {
	w.t.Helper()
	return w.among(w.group.Parties, func(ctx context.Context, net mpc.Network) error {
		return w.operators[net.Self()].Prepare(ctx, net, key, set, "a", n, nil)
	})
}

func (w *schemeWorld) mustPrepare(set mpc.SignerSet, n int) {
	w.t.Helper()
	w.must(w.prepare(w.key(), set, n))
}

// mustPrepareAnew lets the stores forget what is left of earlier tuples.
func (w *schemeWorld) mustPrepareAnew(set mpc.SignerSet, n int) {
	w.t.Helper()
	for _, s := range w.stores {
		s.Order = nil
	}
	w.mustPrepare(set, n)
}

// session asks for signatures on messages, with the tuples that no member has
// spent.
func (w *schemeWorld) session(set mpc.SignerSet, messages ...string) mpc.SignSession {
	ranges := w.stores[set[0]].Left(w.pool(w.key(), set))
	for i, r := range ranges {
		from := r.From
		for _, p := range set {
			from = max(from, w.stores[p].Next[r.Chunk])
		}
		ranges[i] = mpc.TupleRange{Chunk: r.Chunk, From: from, Count: r.From + r.Count - from}
	}
	ranges = slices.DeleteFunc(ranges, func(r mpc.TupleRange) bool { return r.Count < 1 })
	return w.requests(set, Request(w.key(), ranges, messages...))
}

func (w *schemeWorld) requests(set mpc.SignerSet, requests ...mpc.SignRequest) mpc.SignSession {
	return mpc.SignSession{ID: mpc.SessionID{w.sessions + 1}, Set: set, Stripe: "a", Requests: requests}
}

// sign lets every member sign what change, which may be nil, makes of the
// session. Whatever it came to, a signature that is given out verifies.
func (w *schemeWorld) sign(session mpc.SignSession, change func(p mpc.PartyID, s *mpc.SignSession)) (map[mpc.PartyID][][]mpc.Signature, map[mpc.PartyID]error) {
	w.t.Helper()
	asked := map[mpc.PartyID]mpc.SignSession{}
	sigs, errs := Sign(session, func(p mpc.PartyID, s *mpc.SignSession) {
		w.mu.Lock()
		defer w.mu.Unlock()
		if change != nil {
			change(p, s)
		}
		asked[p] = *s
	}, w.operators, w.among)
	for p, all := range sigs {
		if errs[p] != nil && all != nil {
			w.t.Errorf("%s fails and gives out signatures: %v", p, errs[p])
		}
		for i, of := range all {
			req := asked[p].Requests[i]
			if len(of) != len(req.Messages) {
				w.t.Errorf("%s gives %d signatures for %d messages", p, len(of), len(req.Messages))
			}
			for j, sig := range of {
				if !w.operators[p].Verify(req.Key, string(req.Messages[j]), sig) {
					w.t.Errorf("%s gives a signature on %q that does not verify", p, req.Messages[j])
				}
			}
		}
	}
	return sigs, errs
}

// mustSign signs messages and checks that all members have the same signatures.
func (w *schemeWorld) mustSign(session mpc.SignSession) [][]mpc.Signature {
	w.t.Helper()
	sigs, errs := w.sign(session, nil)
	w.must(errs)
	first := sigs[session.Set[0]]
	for _, p := range session.Set {
		if len(sigs[p]) != len(session.Requests) || !slices.EqualFunc(sigs[p], first, slices.Equal) {
			w.t.Fatalf("%s and %s hold different signatures", p, session.Set[0])
		}
	}
	return first
}

// sets are those that may sign, in the order of their sizes.
func (w *schemeWorld) sets() (sets []mpc.SignerSet) {
	n := w.group.N()
	for bits := range 1 << n {
		var members []mpc.PartyID
		for i, p := range w.group.Parties {
			if bits>>i&1 == 1 {
				members = append(members, p)
			}
		}
		if set := mpc.NewSignerSet(members...); w.scheme.Signers(w.group, set) == nil {
			sets = append(sets, set)
		}
	}
	slices.SortStableFunc(sets, func(a, b mpc.SignerSet) int { return len(a) - len(b) })
	return sets
}

// pairs are the smallest and the largest set that a and b are in.
func (w *schemeWorld) pairs() []mpc.SignerSet {
	with := slices.DeleteFunc(w.sets(), func(s mpc.SignerSet) bool { return !s.Contains("a") || !s.Contains("b") })
	if len(with) == 0 {
		w.t.Fatalf("%s: no signer set of %v has a and b in it", w.scheme.Name, w.group.Parties)
	}
	small, large := with[0], with[len(with)-1]
	if small.Equal(large) {
		return []mpc.SignerSet{small}
	}
	return []mpc.SignerSet{small, large}
}

// accuses wants a CheatError of p that accuses a: alone, or among others.
func accuses(t testing.TB, p mpc.PartyID, err error, alone bool) {
	t.Helper()
	cheat, ok := mpc.AsCheat(err)
	if !ok || !slices.Contains(cheat.Parties, "a") || slices.Contains(cheat.Parties, p) || alone && cheat.Disputed {
		t.Errorf("%s says %v, want a blamed (alone: %v)", p, err, alone)
	}
}

// refusesArgument wants an ArgumentError.
func refusesArgument(t testing.TB, what string, err error) {
	t.Helper()
	var bad *mpc.ArgumentError
	if !errors.As(err, &bad) {
		t.Errorf("%s: %v, want an ArgumentError", what, err)
	}
}
