package ecdsa

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"zonesigner/mpc"
	"zonesigner/mpc/p256"
	"zonesigner/mpc/shamir"
)

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
