package ecdsa

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"zonesigner/mpc"
	"zonesigner/mpc/memnet"
	"zonesigner/mpc/mpctest"
	"zonesigner/mpc/p256"
	"zonesigner/mpc/shamir"
)

// journal notes in which order an operator spends, signs and speaks.
type journal struct {
	mu     sync.Mutex
	events []string
}

func (j *journal) note(event string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.events = append(j.events, event)
}

func (j *journal) index(event string) int { return slices.Index(j.events, event) }

type notingStore struct {
	mpc.TupleStore
	j *journal
}

func (s notingStore) Spend(r []mpc.PoolRange, d [32]byte) ([][]byte, mpc.Mark, error) {
	b, m, err := s.TupleStore.Spend(r, d)
	s.j.note("spent")
	return b, m, err
}

type notingIdentity struct {
	mpc.Identity
	j *journal
}

func (i notingIdentity) Sign(msg []byte) []byte {
	i.j.note("signed")
	return i.Identity.Sign(msg)
}

// Rule 1 and rule 3: durably spent, then the statement signed, then all
// statements kept, then the first share.
func TestOrderOfSpending(t *testing.T) {
	inWorld(t, 3, 1, active(), func(t *testing.T, w *world) {
		w.mustPrepare(allABC, 3)
		j := &journal{}
		s := w.signers["b"]
		s.cfg.Store = notingStore{w.stores["b"], j}
		s.cfg.Identity = notingIdentity{w.ids["b"], j}
		req := w.request(allABC, message)
		s.cfg.Signed = func(session mpc.SessionID, statements []mpc.SignedStatement) error {
			j.note("kept")
			if session != req.ID || len(statements) != 3 {
				t.Errorf("%d statements of session %s", len(statements), session)
			}
			var from []mpc.PartyID
			for _, b := range statements {
				st, p, err := mpc.VerifyStatement(w.ids["b"], b.Raw)
				if err != nil {
					t.Error(err)
					continue
				}
				if from = append(from, p); st.Mark.Generation != 1 || st.Parts[0].Tuples.Count != 1 {
					t.Errorf("statement of %s has mark %d and %d tuples", p, st.Mark.Generation, st.Parts[0].Tuples.Count)
				}
			}
			if !slices.Equal(from, allABC) {
				t.Errorf("statements are of %v", from)
			}
			return nil
		}
		w.hub.SetFault(func(m memnet.Message) []memnet.Message {
			if m.From == "b" {
				j.note(m.Round)
			}
			return []memnet.Message{m}
		})
		_, errs := w.sign(req, nil)
		if errs["b"] != nil {
			t.Fatal(errs["b"])
		}
		order := []string{"spent", "signed", "run0/statement", "kept", "run0/s"}
		for i := 1; i < len(order); i++ {
			if a, b := j.index(order[i-1]), j.index(order[i]); a < 0 || b < 0 || a >= b {
				t.Errorf("%q does not come before %q: %v", order[i-1], order[i], j.events)
			}
		}
	})
}

// An operator that cannot keep the evidence, or cannot spend, releases nothing.
func TestNothingLeavesWithoutEvidence(t *testing.T) {
	errFull := errors.New("disk is full")
	for name, spoil := range map[string]func(w *world){
		"statements": func(w *world) {
			w.signers["b"].cfg.Signed = func(mpc.SessionID, []mpc.SignedStatement) error { return errFull }
		},
		"spending": func(w *world) {
			w.signers["b"].cfg.Store = failingStore{w.stores["b"], errFull}
		},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, 3, 1, active(), func(t *testing.T, w *world) {
				w.mustPrepare(allABC, 1)
				spoil(w)
				var mu sync.Mutex
				w.hub.SetFault(func(m memnet.Message) []memnet.Message {
					mu.Lock()
					defer mu.Unlock()
					// Its share of R goes with the statement.
					if m.From == "b" && m.Round != "request" && (name == "spending" || m.Round != "run0/statement") {
						t.Errorf("b sends %s", m.Round)
					}
					return []memnet.Message{m}
				})
				_, errs := w.sign(w.request(allABC, message), nil)
				if !errors.Is(errs["b"], errFull) {
					t.Errorf("b says %v", errs["b"])
				}
				if absent, ok := mpc.AsAbsent(errs["a"]); !ok || absent.Parties[0] != "b" {
					t.Errorf("a says %v", errs["a"])
				}
			})
		})
	}
}

type failingStore struct {
	mpc.TupleStore
	err error
}

func (s failingStore) Spend([]mpc.PoolRange, [32]byte) ([][]byte, mpc.Mark, error) {
	return nil, mpc.Mark{}, s.err
}

// With four operators three suffice to prepare, for sets among them.
func TestPrepareWhileOneIsDown(t *testing.T) {
	inWorld(t, 4, 1, active(), func(t *testing.T, w *world) {
		w.hub.SetDown("c", true)
		set := mpc.NewSignerSet("a", "d")
		for p, err := range w.among([]mpc.PartyID{"a", "b", "d"}, func(ctx context.Context, net mpc.Network) error {
			return w.signers[net.Self()].Prepare(ctx, net, w.key().ID, set, "a", 20, nil)
		}) {
			if err != nil {
				t.Fatalf("%s: %v", p, err)
			}
		}
		sigs, errs := w.sign(w.request(set, message), nil)
		if errs["d"] != nil || !w.verify(message, sigs["d"][0]) {
			t.Errorf("d: %v", errs["d"])
		}
		for p, err := range w.among([]mpc.PartyID{"a", "d"}, func(ctx context.Context, net mpc.Network) error {
			return w.signers[net.Self()].Prepare(ctx, net, w.key().ID, set, "a", 1, nil)
		}) {
			var bad *mpc.ArgumentError
			if !errors.As(err, &bad) {
				t.Errorf("two of four prepare: %s says %v", p, err)
			}
		}
	})
}

// Runs over many chunks and parts of chunks, in windows, keep their order.
func TestManyRuns(t *testing.T) {
	inWorld(t, 3, 1, passive(), func(t *testing.T, w *world) {
		w.mustPrepare(pairAB, 75) // ten chunks of eight
		var messages []string
		for i := range 50 {
			messages = append(messages, fmt.Sprint(i))
		}
		req := w.request(pairAB, messages...)
		var ranges []mpc.TupleRange
		for _, r := range req.Requests[0].Tuples { // each chunk in two runs
			ranges = append(ranges, mpc.TupleRange{Chunk: r.Chunk, Count: 2}, mpc.TupleRange{Chunk: r.Chunk, From: 2, Count: r.Count - 2})
		}
		req.Requests[0].Tuples = ranges
		sigs, errs := w.sign(req, nil)
		for _, p := range pairAB {
			if errs[p] != nil {
				t.Fatal(errs[p])
			}
			for i, m := range messages {
				if !w.verify(m, sigs[p][i]) {
					t.Errorf("signature %d does not verify", i)
				}
			}
		}
	})
}

// One party spoils the third run of several: the others fail as a whole, and
// say whom they blame; what was spent stays spent.
func TestOneRunFails(t *testing.T) {
	inWorld(t, 3, 1, active(), func(t *testing.T, w *world) {
		w.mustPrepare(pairAB, 64)
		w.corrupt(func(_ *puppet, _ context.Context, _ mpc.PartyID, round string, b []byte) []byte {
			if round == "run2/s" {
				b[31] ^= 1
			}
			return b
		})
		var messages []string
		for i := range 64 {
			messages = append(messages, fmt.Sprint(i))
		}
		req := w.request(pairAB, messages...)
		_, errs := w.sign(req, nil)
		blames(t, "b", errs["b"], true)
		if _, _, err := w.stores["b"].Spend([]mpc.PoolRange{{Pool: mpc.PoolID{Key: w.key().ID, Set: pairAB.String(), Stripe: "a"}, TupleRange: req.Requests[0].Tuples[2]}}, [32]byte{}); !errors.Is(err, mpctest.ErrSpent) {
			t.Errorf("the failed run is not spent: %v", err)
		}
	})
}

func TestArguments(t *testing.T) {
	inWorld(t, 3, 1, active(), func(t *testing.T, w *world) {
		w.mustPrepare(pairAB, 2)
		var bad *mpc.ArgumentError
		for name, change := range map[string]func(r *mpc.SignSession){
			"too few tuples": func(r *mpc.SignSession) {
				r.Requests[0].Messages = append(r.Requests[0].Messages, r.Requests[0].Messages[0], r.Requests[0].Messages[0])
			},
			"negative range": func(r *mpc.SignSession) {
				r.Requests[0].Tuples = []mpc.TupleRange{{Chunk: r.Requests[0].Tuples[0].Chunk, From: -1, Count: 1}}
			},
			"empty range": func(r *mpc.SignSession) {
				r.Requests[0].Tuples = []mpc.TupleRange{{Chunk: r.Requests[0].Tuples[0].Chunk}}
			},
			"other set":       func(r *mpc.SignSession) { r.Set = allABC },
			"set of one":      func(r *mpc.SignSession) { r.Set = mpc.SignerSet{"a"} },
			"set of stranger": func(r *mpc.SignSession) { r.Set = mpc.SignerSet{"a", "z"} },
		} {
			_, errs := w.sign(w.request(pairAB, message), func(_ mpc.PartyID, r *mpc.SignSession) { change(r) })
			for p, err := range errs {
				if !errors.As(err, &bad) {
					t.Errorf("%s: %s says %v", name, p, err)
				}
			}
		}
		if w.stores["a"].Mark != 0 {
			t.Error("bad arguments spent tuples")
		}
		_, errs := w.sign(w.request(pairAB, message), func(_ mpc.PartyID, r *mpc.SignSession) { r.Requests[0].Key = "another" })
		if errs["a"] == nil {
			t.Error("an unknown key signs")
		}
		if errs := w.prepare(pairAB, 0); !errors.As(errs["a"], &bad) {
			t.Errorf("prepare nothing: %v", errs["a"])
		}
		if _, err := NewSigner(Config{}); !errors.As(err, &bad) {
			t.Errorf("empty config: %v", err)
		}
	})
}

// Operators that were asked for different keys make none.
func TestGenerateWithOtherLabel(t *testing.T) {
	inWorld(t, 3, 1, active(), func(t *testing.T, w *world) {
		errs := w.all(func(ctx context.Context, net mpc.Network) error {
			_, err := GenerateKey(ctx, net, w.ids[net.Self()], w.group, w.protocol, []byte("for "+net.Self()))
			return err
		})
		for p, err := range errs {
			if err == nil {
				t.Errorf("%s has a key", p)
			}
		}
	})
}

// A key says the same to all, and each share fits its public share.
func TestGeneratedKey(t *testing.T) {
	for _, engine := range []Protocol{passive(), active()} {
		inWorld(t, 5, 2, engine, func(t *testing.T, w *world) {
			for i, p := range w.group.Parties {
				k := w.keys[p]
				if k.ID != w.key().ID || k.PublicKey() != w.key().PublicKey() || k.Self != p || k.Engine != engine.Name() {
					t.Errorf("%s holds another key: %v", p, k)
				}
				if !p256.BaseMult(k.Share[0]).Equal(k.PublicShares[i]) {
					t.Errorf("share of %s does not fit its public share", p)
				}
				b, err := k.MarshalBinary()
				if err != nil {
					t.Fatal(err)
				}
				var again KeyShare
				if err := again.UnmarshalBinary(b); err != nil || again.Share[0] != k.Share[0] {
					t.Errorf("share of %s does not come back: %v", p, err)
				}
			}
		})
	}
}

// plain hides an engine's fused step: Figure 4 runs over the bare black box.
type plain struct{ mpc.Engine[p256.Scalar] }

type plainBox struct{ mpc.Box[p256.Scalar] }

func (e plain) Start(ctx context.Context, net mpc.Network, g mpc.Group, binding []byte) (mpc.Box[p256.Scalar], error) {
	b, err := e.Engine.Start(ctx, net, g, binding)
	return plainBox{b}, err
}

func (b plainBox) Fork(label string) mpc.Box[p256.Scalar] { return plainBox{b.Box.Fork(label)} }

func TestEngineWithoutFusedStep(t *testing.T) {
	inWorld(t, 3, 1, Over(plain{shamir.Active()}), func(t *testing.T, w *world) {
		w.mustPrepare(pairAB, 10)
		sigs, errs := w.sign(w.request(pairAB, message), nil)
		if errs["b"] != nil || !w.verify(message, sigs["b"][0]) {
			t.Errorf("b: %v", errs["b"])
		}
	})
}

// Members that came for different things spend nothing for it; without the
// comparison both have, by the time that they see it.
func TestUnequalRequestsSpendNothing(t *testing.T) {
	for name, change := range map[string]func(r *mpc.SignSession){
		"session":  func(r *mpc.SignSession) { r.ID[0] ^= 1 },
		"manifest": func(r *mpc.SignSession) { r.Requests[0].Manifest[0] ^= 1 },
		"ranges": func(r *mpc.SignSession) {
			r.Requests[0].Tuples = []mpc.TupleRange{{Chunk: r.Requests[0].Tuples[0].Chunk, From: 1, Count: 1}}
		},
		"messages": func(r *mpc.SignSession) { r.Requests[0].Messages = [][]byte{[]byte("x")} },
		"stripe":   func(r *mpc.SignSession) { r.Stripe = "b" },
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, 3, 1, active(), func(t *testing.T, w *world) {
				w.mustPrepare(allABC, 4)
				odd := func(p mpc.PartyID, r *mpc.SignSession) {
					if p == "c" {
						change(r)
					}
				}
				_, errs := w.sign(w.request(allABC, message), odd)
				for _, p := range []mpc.PartyID{"a", "b"} {
					if cheat, ok := mpc.AsCheat(errs[p]); !ok || cheat.Disputed || cheat.Parties[0] != "c" {
						t.Errorf("%s says %v, expected c to be named", p, errs[p])
					}
				}
				if cheat, ok := mpc.AsCheat(errs["c"]); !ok || !cheat.Disputed {
					t.Errorf("c says %v, expected a dispute", errs["c"])
				}
				for _, p := range allABC {
					if w.stores[p].Mark != 0 {
						t.Errorf("%s has spent tuples", p)
					}
				}
				w.setHoles(holes{noRequest: true})
				w.sign(w.request(allABC, message), odd)
				if w.stores["a"].Mark == 0 {
					t.Error("without the comparison nothing is spent either: the test shows nothing")
				}
			})
		})
	}
}

// Signatures have the smaller s. Without that half of them have not, and
// whoever turns one around has another digest of the same zone.
func TestCanonicalSignatures(t *testing.T) {
	for _, anyForm := range []bool{false, true} {
		inWorld(t, 3, 1, active(), func(t *testing.T, w *world) {
			w.mustPrepare(pairAB, 32)
			w.setHoles(holes{anyForm: anyForm})
			var messages []string
			for i := range 30 {
				messages = append(messages, fmt.Sprint(i))
			}
			sigs, errs := w.sign(w.request(pairAB, messages...), nil)
			if errs["a"] != nil {
				t.Fatal(errs["a"])
			}
			high := 0
			for i, sig := range sigs["a"] {
				s, err := p256.ScalarFromBytes(sig[32:])
				if err != nil {
					t.Fatal(err)
				}
				if s.IsHigh() {
					high++
				}
				if !w.verify(messages[i], sig) {
					t.Errorf("signature %d does not verify", i)
				}
			}
			if anyForm == (high == 0) { // by chance, once in 2^30
				t.Errorf("%d signatures of 30 have the larger s; as they come: %v", high, anyForm)
			}
		})
	}
}
