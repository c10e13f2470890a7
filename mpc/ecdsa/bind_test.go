package ecdsa

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"zonesigner/mpc"
	"zonesigner/mpc/memnet"
	"zonesigner/mpc/mpctest"
	"zonesigner/mpc/p256"
	"zonesigner/mpc/rep3"
)

// unbound makes n unbound tuples for set.
func (w *world) unbound(set mpc.SignerSet, n int) {
	w.t.Helper()
	for p, err := range w.all(func(ctx context.Context, net mpc.Network) error {
		return w.signers[net.Self()].Prepare(ctx, net, mpc.Unbound(w.protocol.Name()), set, "a", n, nil)
	}) {
		if err != nil {
			w.t.Fatalf("prepare unbound tuples at %s: %v", p, err)
		}
	}
}

// bindRequest gives each key count tuples of those that are there.
func (w *world) bindRequest(set mpc.SignerSet, count int, keys ...mpc.KeyID) BindRequest {
	req := BindRequest{Engine: w.protocol.Name(), Set: set, Stripe: "a"}
	for _, k := range keys {
		req.Keys = append(req.Keys, KeyCount{k, count})
	}
	left := count * len(keys)
	for _, r := range w.ranges(mpc.Unbound(w.protocol.Name()), set) {
		if r.Count = min(r.Count, left); r.Count > 0 {
			req.Tuples = append(req.Tuples, r)
			left -= r.Count
		}
	}
	return req
}

func (w *world) bind(req BindRequest, change func(p mpc.PartyID, r *BindRequest)) map[mpc.PartyID]error {
	w.t.Helper()
	return w.all(func(ctx context.Context, net mpc.Network) error {
		mine := req
		mine.Keys = slices.Clone(req.Keys)
		if change != nil {
			change(net.Self(), &mine)
		}
		return w.signers[net.Self()].Bind(ctx, net, mine, nil)
	})
}

func (w *world) mustBind(req BindRequest) {
	w.t.Helper()
	for p, err := range w.bind(req, nil) {
		if err != nil {
			w.t.Fatalf("bind at %s: %v", p, err)
		}
	}
}

// signKeys is a session for one message of each key.
func (w *world) signKeys(set mpc.SignerSet, keys []mpc.KeyID) mpc.SignSession {
	session := mpc.SignSession{ID: mpc.SessionID{w.sessions + 1}, Set: set, Stripe: "a"}
	for i, k := range keys {
		session.Requests = append(session.Requests, mpc.SignRequest{
			Key: k, Manifest: sha256.Sum256([]byte(k)), Tuples: w.ranges(k, set)[:1],
			Messages: [][]byte{fmt.Appendf(nil, "message %d", i)},
		})
	}
	return session
}

// One stock of tuples serves many keys, in one binding, and they sign in one
// session and few runs.
func TestBindForManyKeys(t *testing.T) {
	for _, set := range []mpc.SignerSet{allABC, pairAB} {
		t.Run(set.String(), func(t *testing.T) {
			inWorld(t, 3, 1, active(), func(t *testing.T, w *world) {
				ids := w.generateMore(10)
				w.unbound(set, 30)
				w.mustBind(w.bindRequest(set, 3, ids...))
				rounds := map[string]bool{}
				var mu sync.Mutex
				w.hub.SetFault(func(m memnet.Message) []memnet.Message {
					mu.Lock()
					defer mu.Unlock()
					rounds[m.Round] = true
					return []memnet.Message{m}
				})
				session := w.signKeys(set, ids)
				sigs, errs := w.signAll(session, nil)
				for _, p := range set {
					if errs[p] != nil {
						t.Fatalf("sign at %s: %v", p, errs[p])
					}
					for i, r := range session.Requests {
						k := w.more[p][i]
						if !p256.VerifySignature(k.Public, sha256.Sum256(r.Messages[0]), sigs[p][i][0]) {
							t.Errorf("the signature of key %d does not verify", i)
						}
					}
				}
				// Ten signatures in chunks of eight: two runs of two rounds, and the request.
				if len(rounds) != 5 {
					t.Errorf("signing took rounds %v", slices.Sorted(maps.Keys(rounds)))
				}
				for _, p := range w.group.Parties {
					bound := 0
					for _, c := range w.stores[p].Chunks {
						if !strings.HasPrefix(string(c.Pool.Key), "unbound/") {
							bound += c.Count
						}
					}
					if want := map[bool]int{true: 30}[set.Contains(p)]; bound != want {
						t.Errorf("%s holds %d bound tuples, want %d", p, bound, want)
					}
					if left := w.ranges(mpc.Unbound("mal-shamir"), set); len(left) > 0 {
						t.Errorf("unbound tuples are left: %v", left)
					}
				}
			})
		})
	}
}

func TestBindWithEverySize(t *testing.T) {
	for _, c := range []struct {
		n, t   int
		set    mpc.SignerSet
		engine Protocol
	}{
		{3, 1, mpc.NewSignerSet("a", "c"), passive()},
		{4, 1, mpc.NewSignerSet("a", "c", "d"), active()},
		{5, 2, mpc.NewSignerSet("a", "b", "d", "e"), active()},
		{7, 3, mpc.NewSignerSet("a", "c", "e", "g"), active()},
		{3, 1, mpc.NewSignerSet("b", "c"), Over(rep3.Passive())},
		{3, 1, mpc.NewSignerSet("a", "b", "c"), Over(rep3.Active())},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, c.n, c.t, c.engine, 4)
			w.generate()
			w.unbound(c.set, 10)
			w.mustBind(w.bindRequest(c.set, 7, w.key().ID))
			req := w.request(c.set, "one", "two", "three", "four", "five", "six", "seven")
			sigs, errs := w.sign(req, nil)
			for _, p := range c.set {
				if errs[p] != nil || !w.verify("seven", sigs[p][6]) {
					t.Errorf("%d operators, set %s: %v at %s", c.n, c.set, errs[p], p)
				}
			}
		})
	}
}

// Rule 1: binding consumes. The attack: one nonce is bound twice, and each of
// the two tuples signs once. From two signatures with one k follow k and the
// key. It takes disks that forget at all honest operators: one whose disk was
// put back is stopped by the other, who is needed for every binding.
func TestNonceBoundTwice(t *testing.T) {
	attack := func(t *testing.T, forgetful ...mpc.PartyID) (stolen bool, err error) {
		t.Helper()
		inWorld(t, 3, 1, active(), func(t *testing.T, w *world) {
			w.unbound(pairAB, 1)
			for _, p := range forgetful {
				w.stores[p].Forgets = true
			}
			req := w.bindRequest(pairAB, 1, w.key().ID)
			w.mustBind(req)
			for p, e := range w.bind(req, nil) {
				if e != nil && !errors.Is(e, mpctest.ErrSpent) {
					continue // it waits for the one that refuses
				}
				if e != nil {
					err = fmt.Errorf("%s: %w", p, e)
				}
			}
			bound := w.ranges(w.key().ID, pairAB)
			if len(bound) < 2 {
				return
			}
			var s, m [2]p256.Scalar
			var r [2]p256.Scalar
			for i := range 2 {
				session := w.request(pairAB, fmt.Sprint("message ", i))
				session.Requests[0].Tuples = bound[i : i+1]
				sigs, errs := w.sign(session, nil)
				if errs["a"] != nil {
					t.Fatal(errs["a"])
				}
				sig := sigs["a"][0]
				r[i], _ = p256.ScalarFromBytes(sig[:32])
				s[i], _ = p256.ScalarFromBytes(sig[32:])
				m[i] = digestScalar(fmt.Sprint("message ", i))
			}
			if r[0] != r[1] {
				t.Fatal("the nonce is another one")
			}
			for _, s1 := range []p256.Scalar{s[1], s[1].Neg()} { // either form was given out
				k := m[0].Sub(m[1]).Mul(s[0].Sub(s1).Inverse())
				sk := s[0].Mul(k).Sub(m[0]).Mul(r[0].Inverse())
				if p256.BaseMult(sk).Equal(w.key().Public) {
					stolen = true
				}
			}
		})
		return stolen, err
	}
	if stolen, err := attack(t); stolen || !errors.Is(err, mpctest.ErrSpent) {
		t.Errorf("bound twice: key stolen %v, %v", stolen, err)
	}
	if stolen, err := attack(t, "a", "b"); stolen || !errors.Is(err, mpctest.ErrSpent) {
		t.Errorf("a cheats and b's disk was put back: key stolen %v, %v", stolen, err)
	}
	if stolen, err := attack(t, "a", "b", "c"); !stolen {
		t.Errorf("where all forget the attack fails: %v", err)
	}
}

// What fails in binding is destroyed: it can not be bound again, and nobody
// keeps a tuple of it that another lacks the view of.
func TestFailedBindingIsDestroyed(t *testing.T) {
	for name, c := range map[string]struct {
		round string
		spoil func(b []byte)
	}{
		"wrong product":     {"main.bind0/1", func(b []byte) { b[31] ^= 1 }},
		"wrong view":        {"bind0/view", func(b []byte) { b[0] ^= 1 }},
		"wrong final check": {"main.bind0/4", func(b []byte) { b[31] ^= 1 }},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, 3, 1, active(), func(t *testing.T, w *world) {
				w.unbound(allABC, 4)
				altered := false
				w.corrupt(func(_ *puppet, _ context.Context, _ mpc.PartyID, round string, b []byte) []byte {
					if round == c.round {
						altered = true
						c.spoil(b)
					}
					return b
				})
				req := w.bindRequest(allABC, 4, w.key().ID)
				errs := w.bind(req, nil)
				if !altered {
					t.Fatalf("there is no round %s", c.round)
				}
				for _, p := range []mpc.PartyID{"b", "c"} {
					if cheat, ok := mpc.AsCheat(errs[p]); !ok || !slices.Contains(cheat.Parties, "a") {
						t.Errorf("%s says %v", p, errs[p])
					}
					if bound := w.stores[p].Order[1:]; len(bound) > 0 {
						t.Errorf("%s keeps a tuple of a failed binding", p)
					}
				}
				w.wrap = nil
				for p, err := range w.bind(req, nil) {
					if !errors.Is(err, mpctest.ErrSpent) {
						t.Errorf("bound again at %s: %v", p, err)
					}
				}
			})
		})
	}
}

// Operators that come for different bindings consume nothing.
func TestDifferentBindings(t *testing.T) {
	inWorld(t, 3, 1, active(), func(t *testing.T, w *world) {
		ids := w.generateMore(2)
		w.unbound(allABC, 8)
		for name, change := range map[string]func(r *BindRequest){
			"key":   func(r *BindRequest) { r.Keys[0].Key = ids[1] },
			"count": func(r *BindRequest) { r.Keys = []KeyCount{{ids[0], 2}, {ids[1], 2}} },
			"tuples": func(r *BindRequest) {
				r.Tuples = []mpc.TupleRange{{Chunk: r.Tuples[0].Chunk, From: 2, Count: 4}}
			},
			"stripe": func(r *BindRequest) { r.Stripe = "b" },
		} {
			errs := w.bind(w.bindRequest(allABC, 4, ids[0]), func(p mpc.PartyID, r *BindRequest) {
				if p == "a" {
					change(r)
				}
			})
			for p, err := range errs {
				if err == nil {
					t.Errorf("another %s: bound at %s", name, p)
				}
			}
		}
		for p, s := range w.stores {
			if len(s.Next) > 0 {
				t.Errorf("%s has consumed tuples", p)
			}
		}
	})
}

func TestBindRefuses(t *testing.T) {
	inWorld(t, 3, 1, active(), func(t *testing.T, w *world) {
		w.unbound(allABC, 4)
		for name, change := range map[string]func(r *BindRequest){
			"unknown key":      func(r *BindRequest) { r.Keys[0].Key = "another" },
			"unknown engine":   func(r *BindRequest) { r.Engine = "another" },
			"no keys":          func(r *BindRequest) { r.Keys = nil },
			"no tuples":        func(r *BindRequest) { r.Tuples = nil },
			"too few tuples":   func(r *BindRequest) { r.Keys[0].Count++ },
			"too many tuples":  func(r *BindRequest) { r.Keys[0].Count-- },
			"negative count":   func(r *BindRequest) { r.Keys[0].Count = -1 },
			"range before all": func(r *BindRequest) { r.Tuples = []mpc.TupleRange{{Chunk: r.Tuples[0].Chunk, From: -1, Count: 2}} },
			"set of one":       func(r *BindRequest) { r.Set = mpc.SignerSet{"a"} },
		} {
			for p, err := range w.bind(w.bindRequest(allABC, 2, w.key().ID), func(_ mpc.PartyID, r *BindRequest) { change(r) }) {
				var argument *mpc.ArgumentError
				if name != "unknown key" && !errors.As(err, &argument) || err == nil {
					t.Errorf("%s: %v at %s", name, err, p)
				}
			}
		}
		// Among fewer than all nobody binds.
		errs := w.among([]mpc.PartyID{"a", "b"}, func(ctx context.Context, net mpc.Network) error {
			return w.signers[net.Self()].Bind(ctx, net, w.bindRequest(allABC, 2, w.key().ID), nil)
		})
		if errs["a"] == nil || errs["b"] == nil {
			t.Error("two of three operators bound tuples")
		}
	})
}
