package mpctest

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"zonesigner/mpc"
	"zonesigner/mpc/memnet"
)

// schemeGroups are (n, t) of the groups that sign with every signer set, or
// with one of each size; the first that a scheme supports is that of all other
// tests.
var schemeGroups = [][2]int{{3, 1}, {2, 1}, {3, 2}, {4, 1}, {5, 2}, {7, 3}}

// TestSigner is the one conformance suite of threshold signatures: keys, tuples
// and signatures are made as mpc.Signer promises, tuples are spent once and
// before they are spoken of, nothing is signed that members do not agree on,
// and whatever happens to any message nobody gives out a signature that does
// not verify, nor blames one that did nothing.
func TestSigner(t *testing.T, s Scheme) {
	var supported [][2]int
	for _, nt := range schemeGroups {
		if s.Supports(Group(nt[0], nt[1])) == nil {
			supported = append(supported, nt)
		}
	}
	if len(supported) == 0 {
		t.Fatalf("%s supports none of the groups (n, t) = %v", s.Name, schemeGroups)
	}
	for _, nt := range supported {
		t.Run(fmt.Sprintf("sets of %d,%d", nt[0], nt[1]), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { everySet(newSchemeWorld(t, s, nt[0], nt[1])) })
		})
	}
	u := &signerSuite{scheme: s, n: supported[0][0], threshold: supported[0][1]}
	t.Run("keys", func(t *testing.T) { u.fresh(t, differentLabels) })
	for name, test := range map[string]func(w *schemeWorld, set mpc.SignerSet){
		"many keys":            manyKeys,
		"many runs":            manyRuns,
		"arguments":            refusedArguments,
		"one is down":          oneIsDown,
		"order":                orderOfSpending,
		"once":                 spentOnce,
		"old disk":             oldDisk,
		"no evidence":          noEvidence,
		"different requests":   differentRequests,
		"different statements": differentStatements,
		"two messages":         twoMessages,
		"wrong share":          wrongShare,
		"one run fails":        oneRunFails,
	} {
		t.Run(name, func(t *testing.T) { u.each(t, test) })
	}
	t.Run("rounds", u.rounds)
	t.Run("faults", u.faults)
}

type signerSuite struct {
	scheme       Scheme
	n, threshold int
}

// fresh runs test in a bubble, with a group that has no key.
func (u *signerSuite) fresh(t *testing.T, test func(w *schemeWorld)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { test(newSchemeWorld(t, u.scheme, u.n, u.threshold)) })
}

// each runs test in a bubble, with a group that has a key, once for the
// smallest and once for the largest signer set.
func (u *signerSuite) each(t *testing.T, test func(w *schemeWorld, set mpc.SignerSet)) {
	t.Helper()
	for _, set := range newSchemeWorld(t, u.scheme, u.n, u.threshold).pairs() {
		t.Run(set.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newSchemeWorld(t, u.scheme, u.n, u.threshold)
				w.mustGenerate("example. zsk")
				test(w, set)
			})
		})
	}
}

const signed = "www.example.org. A 192.0.2.1"

// messages are so many different ones.
func messages(n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprint("message ", i)
	}
	return all
}

// everySet signs with every signer set, of large groups with one of each size,
// over chunks and parts of chunks, and looks at who holds which tuples.
func everySet(w *schemeWorld) {
	w.mustGenerate("example. zsk")
	sizes := map[int]bool{}
	for _, set := range w.sets() {
		if w.group.N() > 3 && sizes[len(set)] {
			continue
		}
		sizes[len(set)] = true
		w.mustPrepareAnew(set, runSize+2)
		all := messages(runSize + 1)
		sigs := w.mustSign(w.session(set, all...))[0]
		if w.operators[set[0]].Verify(w.key(), signed, sigs[0]) || sigs[0] == sigs[1] {
			w.t.Errorf("set %s: a signature is one on another message", set)
		}
		for _, p := range w.group.Parties {
			left := 0
			for _, r := range w.stores[p].Left(w.pool(w.key(), set)) {
				left += r.Count
			}
			if set.Contains(p) && left != 1 || !set.Contains(p) && len(w.stores[p].Order) > 0 {
				w.t.Errorf("set %s: %s has %d tuples left", set, p, left)
			}
		}
	}
}

// differentLabels: operators that were asked for different keys make none.
func differentLabels(w *schemeWorld) {
	for p, err := range w.generate(func(p mpc.PartyID) []string { return []string{"zsk of " + string(p)} }) {
		if err == nil || len(w.keys[p]) > 0 {
			w.t.Errorf("%s made a key that the others did not ask for", p)
		}
	}
	for p, err := range w.generate(func(mpc.PartyID) []string { return nil }) {
		refusesArgument(w.t, fmt.Sprintf("no labels at %s", p), err)
	}
}

// manyKeys signs with three keys in one session; a run joins what belongs to
// several.
func manyKeys(w *schemeWorld, set mpc.SignerSet) {
	w.mustGenerate("one. zsk", "two. zsk")
	var requests []mpc.SignRequest
	for i, key := range w.keys["a"] {
		w.must(w.prepare(key, set, 2))
		all := messages(2)[:1+i/2] // four messages in all: one run
		requests = append(requests, Request(key, w.stores["a"].Left(w.pool(key, set)), all...))
	}
	w.watch()
	sigs := w.mustSign(w.requests(set, requests...))
	if !slices.Contains(w.events, fmt.Sprintf("keeps 3 parts of %s", set)) || slices.Contains(w.events, "run1/statement") {
		w.t.Errorf("b does %v, want one run of the three keys", w.events)
	}
	if w.operators["a"].Verify(w.keys["a"][1], string(requests[0].Messages[0]), sigs[0][0]) {
		w.t.Error("a signature of one key is one of another")
	}
}

// manyRuns keeps the order of messages over runs side by side, of parts of
// chunks.
func manyRuns(w *schemeWorld, set mpc.SignerSet) {
	w.mustPrepare(set, 7*runSize)
	session := w.session(set, messages(6*runSize)...)
	var ranges []mpc.TupleRange
	for _, r := range session.Requests[0].Tuples {
		ranges = append(ranges, mpc.TupleRange{Chunk: r.Chunk, Count: 1}, mpc.TupleRange{Chunk: r.Chunk, From: 1, Count: r.Count - 1})
	}
	session.Requests[0].Tuples = ranges
	w.mustSign(session)
}

// refusedArguments: what cannot be is refused before anything is sent or spent.
func refusedArguments(w *schemeWorld, set mpc.SignerSet) {
	w.mustPrepare(set, 2)
	sent := 0
	var mu sync.Mutex
	w.hub.SetFault(func(m memnet.Message) []memnet.Message {
		mu.Lock()
		defer mu.Unlock()
		sent++
		return []memnet.Message{m}
	})
	for name, change := range map[string]func(s *mpc.SignSession){
		"no requests":         func(s *mpc.SignSession) { s.Requests = nil },
		"too few tuples":      func(s *mpc.SignSession) { s.Requests[0].Messages = make([][]byte, 3) },
		"a range below zero":  func(s *mpc.SignSession) { s.Requests[0].Tuples = []mpc.TupleRange{{From: -1, Count: 1}} },
		"a range of nothing":  func(s *mpc.SignSession) { s.Requests[0].Tuples = []mpc.TupleRange{{Count: 0}} },
		"a range too long":    func(s *mpc.SignSession) { s.Requests[0].Tuples = []mpc.TupleRange{{Count: mpc.MaxChunkSize + 1}} },
		"a set of one":        func(s *mpc.SignSession) { s.Set = mpc.NewSignerSet("a") },
		"a set of a stranger": func(s *mpc.SignSession) { s.Set = mpc.NewSignerSet("a", "z") },
		"a set not sorted":    func(s *mpc.SignSession) { s.Set = slices.Clone(set); slices.Reverse(s.Set) },
	} {
		_, errs := w.sign(w.session(set, signed), func(_ mpc.PartyID, s *mpc.SignSession) { change(s) })
		for p, err := range errs {
			refusesArgument(w.t, fmt.Sprintf("%s at %s", name, p), err)
		}
	}
	for _, other := range w.sets() {
		if !other.Equal(set) {
			_, errs := w.sign(w.session(set, signed), func(_ mpc.PartyID, s *mpc.SignSession) { s.Set = other })
			refusesArgument(w.t, "another set than is present", errs["b"])
		}
	}
	_, errs := w.sign(w.session(set, signed), func(_ mpc.PartyID, s *mpc.SignSession) { s.Requests[0].Key = "another" })
	if errs["a"] == nil {
		w.t.Error("a key that is not there signs")
	}
	refusesArgument(w.t, "prepare nothing", w.prepare(w.key(), set, 0)["b"])
	refusesArgument(w.t, "prepare for one", w.prepare(w.key(), mpc.NewSignerSet("b"), 1)["b"])
	if err := w.prepare("another", set, 1)["b"]; err == nil {
		w.t.Error("tuples for a key that is not there")
	}
	if w.stores["a"].Mark != 0 || sent > 0 {
		w.t.Errorf("%d spendings and %d messages", w.stores["a"].Mark, sent)
	}
}

// oneIsDown: a set that has tuples goes on alone.
func oneIsDown(w *schemeWorld, set mpc.SignerSet) {
	w.mustPrepare(set, 1)
	for _, p := range w.group.Parties {
		if !set.Contains(p) {
			w.hub.SetDown(p, true)
		}
	}
	w.mustSign(w.session(set, signed))
}

// orderOfSpending: a tuple is spent durably before the statement that names it
// is signed, all statements are kept before anything else does.
func orderOfSpending(w *schemeWorld, set mpc.SignerSet) {
	for _, agreed := range []bool{false, true} {
		w.wrap = nil
		w.mustPrepare(set, 1)
		w.watch()
		session := w.session(set, signed)
		session.Agreed = agreed
		w.mustSign(session)
		events := slices.Compact(slices.Clone(w.events)) // the same to each peer
		if !agreed {
			if events[0] != "request" {
				w.t.Errorf("b does %v, want the comparison of requests first", events)
			}
			events = events[1:]
		}
		want := []string{"spends", "signs", "run0/statement", "keeps 1 parts of " + set.String()}
		if len(events) <= len(want) || !slices.Equal(events[:len(want)], want) {
			w.t.Errorf("b does %v, want %v and then its shares", events, want)
		}
	}
}

// spentOnce: no tuple is spoken of again, whether a signature came of it or not.
func spentOnce(w *schemeWorld, set mpc.SignerSet) {
	w.mustPrepare(set, 2)
	for _, fails := range []bool{false, true} {
		session := w.session(set, signed)
		session.Requests[0].Tuples = []mpc.TupleRange{{Chunk: session.Requests[0].Tuples[0].Chunk, From: session.Requests[0].Tuples[0].From, Count: 1}}
		_, w.wrap = Corrupt(Blind(func(_ mpc.PartyID, round string, b []byte) []byte {
			if fails && round == "run0/statement" {
				b[len(b)/2] ^= 1
			}
			return b
		}))
		if _, errs := w.sign(session, nil); (errs["b"] != nil) != fails {
			w.t.Fatalf("b ends with %v", errs["b"])
		}
		w.watch()
		session.ID[1]++
		session.Requests[0].Messages = [][]byte{[]byte("another message")}
		_, errs := w.sign(session, nil)
		if !errors.Is(errs["b"], ErrSpent) || slices.Contains(w.events, "run0/statement") {
			w.t.Errorf("after a session that fails (%v) b says %v of the same tuple, and does %v", fails, errs["b"], w.events)
		}
	}
}

// oldDisk: when b's disk is put back, b alone would spend a tuple again.
func oldDisk(w *schemeWorld, set mpc.SignerSet) {
	w.mustPrepare(set, 1)
	before := maps.Clone(w.stores["b"].Next)
	session := w.session(set, signed)
	w.mustSign(session)
	w.stores["b"].Next = before
	session.ID[1]++
	session.Requests[0].Messages = [][]byte{[]byte("another message")}
	w.watch()
	sigs, errs := w.sign(session, nil)
	for _, p := range set {
		if sigs[p] != nil || p != "b" && !errors.Is(errs[p], ErrSpent) {
			w.t.Errorf("%s says %v", p, errs[p])
		}
	}
	if _, ok := mpc.AsAbsent(errs["b"]); !ok || !slices.Contains(w.events, "spends") {
		w.t.Errorf("b, whose disk is old, says %v, and does %v", errs["b"], w.events)
	}
}

// noEvidence: who cannot spend says nothing, and who cannot keep the statements
// gives no share.
func noEvidence(w *schemeWorld, set mpc.SignerSet) {
	errFull := errors.New("disk is full")
	for _, spending := range []bool{false, true} {
		w.wrap = nil
		w.mustPrepare(set, 1)
		w.watch()
		if spending {
			w.stores["b"].Fails = errFull
		} else {
			w.fails = errFull
		}
		_, errs := w.sign(w.session(set, signed), nil)
		if !errors.Is(errs["b"], errFull) {
			w.t.Errorf("b says %v", errs["b"])
		}
		if absent, ok := mpc.AsAbsent(errs["a"]); !ok || !slices.Contains(absent.Parties, "b") {
			w.t.Errorf("a says %v", errs["a"])
		}
		for _, e := range w.events {
			if strings.HasPrefix(e, "run") && (spending || e != "run0/statement") {
				w.t.Errorf("spending fails: %v; b does %v", spending, w.events)
			}
		}
	}
}

// odd are requests that differ from the others'.
var odd = map[string]func(s *mpc.SignSession){
	"session":  func(s *mpc.SignSession) { s.ID[0] ^= 1 },
	"manifest": func(s *mpc.SignSession) { s.Requests[0].Manifest[0] ^= 1 },
	"messages": func(s *mpc.SignSession) { s.Requests[0].Messages = [][]byte{[]byte("x")} },
	"tuples": func(s *mpc.SignSession) {
		s.Requests[0].Tuples = []mpc.TupleRange{{Chunk: s.Requests[0].Tuples[0].Chunk, From: s.Requests[0].Tuples[0].From + 1, Count: 1}}
	},
}

// onlyA lets a alone sign what change makes of the session.
func onlyA(change func(s *mpc.SignSession)) func(p mpc.PartyID, s *mpc.SignSession) {
	return func(p mpc.PartyID, s *mpc.SignSession) {
		if p == "a" {
			change(s)
		}
	}
}

// differentRequests: members that came for different things spend nothing.
func differentRequests(w *schemeWorld, set mpc.SignerSet) {
	for name, change := range odd {
		w.mustPrepareAnew(set, 2)
		_, errs := w.sign(w.session(set, signed), onlyA(change))
		for _, p := range set {
			if p != "a" {
				accuses(w.t, p, errs[p], true)
			}
			if w.stores[p].Mark != 0 {
				w.t.Errorf("%s: %s has spent tuples", name, p)
			}
		}
	}
}

// differentStatements: where members are said to have agreed, and have not,
// statements tell, with evidence, and no share leaves.
func differentStatements(w *schemeWorld, set mpc.SignerSet) {
	for name, change := range odd {
		w.wrap = nil
		w.mustPrepareAnew(set, 2)
		w.watch()
		session := w.session(set, signed)
		session.Agreed = true
		_, errs := w.sign(session, onlyA(change))
		accuses(w.t, "b", errs["b"], true)
		if cheat, ok := mpc.AsCheat(errs["b"]); ok {
			if _, from, err := mpc.VerifyStatement(w.ids["b"], cheat.Evidence); err != nil || from != "a" {
				w.t.Errorf("%s: the evidence is of %q: %v", name, from, err)
			}
		}
		for _, e := range w.events {
			if strings.HasPrefix(e, "run") && e != "run0/statement" {
				w.t.Errorf("%s: b does %v", name, w.events)
			}
		}
	}
}

// twoMessages: who sends two in one round has given proof of cheating.
func twoMessages(w *schemeWorld, set mpc.SignerSet) {
	w.mustPrepare(set, 1)
	w.hub.SetFault(func(m memnet.Message) []memnet.Message {
		if m.From != "a" || m.To != "b" || m.Round != "run0/statement" {
			return []memnet.Message{m}
		}
		second := m
		second.Payload = slices.Clone(m.Payload)
		second.Payload[0] ^= 1
		return []memnet.Message{m, second}
	})
	_, errs := w.sign(w.session(set, signed), nil)
	accuses(w.t, "b", errs["b"], true)
}

// spoil lets a send something wrong in each round of a run but that of the
// statement.
func (w *schemeWorld) spoil(run string) {
	_, w.wrap = Corrupt(Blind(func(_ mpc.PartyID, round string, b []byte) []byte {
		if strings.HasPrefix(round, run+"/") && round != run+"/statement" {
			b[len(b)-1] ^= 1
		}
		return b
	}))
}

// wrongShare: one that is wrong is blamed on its sender.
func wrongShare(w *schemeWorld, set mpc.SignerSet) {
	w.mustPrepare(set, 2)
	w.spoil("run0")
	_, errs := w.sign(w.session(set, messages(2)...), nil)
	for _, p := range set[1:] {
		accuses(w.t, p, errs[p], w.scheme.Names)
	}
}

// oneRunFails: what fails in one of several runs fails the session, stays spent,
// and leaves the rest as good as before.
func oneRunFails(w *schemeWorld, set mpc.SignerSet) {
	w.mustPrepare(set, 5*runSize)
	w.spoil("run2")
	session := w.session(set, messages(4*runSize)...)
	_, errs := w.sign(session, nil)
	accuses(w.t, "b", errs["b"], w.scheme.Names)
	if spent := session.Requests[0].Tuples[2]; w.stores["b"].Next[spent.Chunk] != spent.From+spent.Count {
		w.t.Error("the run that failed is not spent")
	}
	w.wrap = nil
	w.mustSign(w.session(set, messages(runSize)...))
}

// rounds: what was agreed on waits for so many messages, one after the other,
// however many runs it has.
func (u *signerSuite) rounds(t *testing.T) {
	const way = 120 * time.Millisecond
	for _, n := range []int{1, 2*runSize + 1} {
		u.fresh(t, func(w *schemeWorld) {
			w.hub.SetDelay(way)
			defer w.hub.Close()
			w.mustGenerate("example. zsk")
			sets := w.pairs()
			set := sets[len(sets)-1]
			w.mustPrepare(set, n)
			session := w.session(set, messages(n)...)
			session.Agreed = true
			begin := time.Now()
			w.mustSign(session)
			if took, want := time.Since(begin), time.Duration(w.scheme.Rounds)*way; took != want {
				t.Errorf("%d signatures took %v, want %v", n, took, want)
			}
		})
	}
}

// faults does each fault to each message of each phase, on the way from a to b
// and on the way to all.
func (u *signerSuite) faults(t *testing.T) {
	for _, set := range newSchemeWorld(t, u.scheme, u.n, u.threshold).pairs() {
		for _, ph := range u.phases(set) {
			for _, wide := range []bool{false, true}[:min(len(set), u.n-1)] { // with two, b is all
				t.Run(fmt.Sprintf("%s %s wide=%v", set, ph.Name, wide), func(t *testing.T) {
					EveryMessageEveryFault(t, ph, wide, func(t *testing.T) (*schemeWorld, *memnet.Hub) {
						w := newSchemeWorld(t, u.scheme, u.n, u.threshold)
						return w, w.hub
					})
				})
			}
		}
	}
}

func (u *signerSuite) phases(set mpc.SignerSet) []Phase[*schemeWorld] {
	return []Phase[*schemeWorld]{
		{
			Name:  "generate",
			Ready: func(*schemeWorld) {},
			Play: func(w *schemeWorld) (map[mpc.PartyID]error, func(mpc.PartyID) bool) {
				had := map[mpc.PartyID]int{}
				for p, k := range w.keys {
					had[p] = len(k)
				}
				errs := w.generate(func(mpc.PartyID) []string { return []string{"example. zsk", "example. ksk"} })
				return errs, func(p mpc.PartyID) bool { return len(w.keys[p]) == had[p]+2 }
			},
		},
		{
			Name:      "prepare",
			Unchecked: !u.scheme.Active,
			Ready:     func(w *schemeWorld) { w.mustGenerate("example. zsk") },
			Play: func(w *schemeWorld) (map[mpc.PartyID]error, func(mpc.PartyID) bool) {
				had := map[mpc.PartyID]int{}
				for p, s := range w.stores {
					had[p] = len(s.Order)
				}
				errs := w.prepare(w.key(), set, 2)
				return errs, func(p mpc.PartyID) bool { return !set.Contains(p) || len(w.stores[p].Order) > had[p] }
			},
		},
		{
			Name: "sign",
			Ready: func(w *schemeWorld) {
				w.mustGenerate("example. zsk")
				w.mustPrepare(set, 2)
			},
			Play: func(w *schemeWorld) (map[mpc.PartyID]error, func(mpc.PartyID) bool) {
				sigs, errs := w.sign(w.session(set, signed), nil)
				return errs, func(p mpc.PartyID) bool {
					return sigs[p] != nil && w.operators[p].Verify(w.key(), signed, sigs[p][0][0])
				}
			},
		},
	}
}
