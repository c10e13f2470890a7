package cggmp

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"zonesigner/mpc"
	"zonesigner/mpc/mpctest"
	"zonesigner/mpc/p256"
)

// watch records who sent something in a round.
type watch struct {
	mu   sync.Mutex
	sent []string // "from round"
}

func (v *watch) saw(from mpc.PartyID, round string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.sent = append(v.sent, string(from)+" "+round)
}

func (v *watch) has(from mpc.PartyID, round string) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return slices.Contains(v.sent, string(from)+" "+round)
}

// watched lets v see what everybody sends, and change it.
func (w *world) watched(v *watch, change func(from, to mpc.PartyID, round string, b []byte) []byte) {
	w.wrap = func(net mpc.Network) mpc.Network {
		return tamper{net, func(to mpc.PartyID, round string, b []byte) []byte {
			v.saw(net.Self(), round)
			if change != nil {
				b = change(net.Self(), to, round, b)
			}
			return b
		}}
	}
}

// TestWrongShareIsNamed: a share of s that is wrong names its sender, to each
// of the others; without the final check a bad signature leaves.
func TestWrongShareIsNamed(t *testing.T) {
	w := dealtWorld(t, 3, 1)
	set := mpc.NewSignerSet("a", "b", "c")
	w.cheater("b", func(_ mpc.PartyID, round string, b []byte) []byte {
		if round == "run0/s" {
			x, _ := p256.ScalarFromBytes(b[32:64])
			wrong := x.Add(p256.One()).Bytes()
			copy(b[32:], wrong[:])
		}
		return b
	})
	_, errs := w.sign(w.request(set, w.deal(set, 2), "one", "two"), nil)
	blames(t, errs["a"], "b")
	blames(t, errs["c"], "b")

	w.open(holes{noFinalCheck: true})
	sigs, errs := w.sign(w.request(set, w.deal(set, 2), "one", "two"), nil)
	if errs["a"] != nil {
		t.Fatal(errs["a"])
	}
	if p256.VerifySignature(w.key().Public, sha256.Sum256([]byte("two")), sigs["a"][0][1]) {
		t.Error("with the final check taken out, the signature verifies all the same")
	}
}

// TestOneTupleTwice computes the key from two signatures with one
// presignature, which only a disk that forgets lets happen.
func TestOneTupleTwice(t *testing.T) {
	for _, forgets := range []bool{false, true} {
		w := dealtWorld(t, 2, 1)
		set := mpc.NewSignerSet("a", "b")
		tuples := w.deal(set, 1)
		w.stores["a"].Forgets, w.stores["b"].Forgets = forgets, true // b cheats
		var mu sync.Mutex
		var shares []p256.Scalar // of a
		w.watched(new(watch), func(from, _ mpc.PartyID, round string, b []byte) []byte {
			if from == "a" && round == "run0/s" {
				mu.Lock()
				defer mu.Unlock()
				x, _ := p256.ScalarFromBytes(b)
				shares = append(shares, x)
			}
			return b
		})
		var sigs []mpc.Signature
		for _, m := range []string{"one", "two"} {
			got, errs := w.sign(w.request(set, tuples, m), nil)
			if errs["a"] == nil {
				sigs = append(sigs, got["b"][0][0])
			} else if !errors.Is(errs["a"], mpctest.ErrSpent) {
				t.Fatal(errs["a"])
			}
		}
		if !forgets {
			if len(sigs) != 1 || len(shares) != 1 {
				t.Error("a tuple was spent twice")
			}
			continue
		}
		if len(sigs) != 2 {
			t.Fatal("the tuple was not spent twice")
		}
		if !w.stolen(sigs, shares, tuples) {
			t.Error("two signatures with one tuple do not give the key: the attack is wrong")
		}
	}
}

// stolen solves s₁ = (m₁ + r₁·sk)·k/δ₁ and s₂ likewise for sk. Factors are
// known to every member; here they come from R and the signature's own r.
func (w *world) stolen(sigs []mpc.Signature, shares []p256.Scalar, tuples mpc.TupleRange) bool {
	// b knows its own shares of k and χ: with k = kₐ + k_b and a's two shares
	// of s, which are (kₐ·mᵢ + χₐ·rᵢ)/δᵢ, it has two equations for kₐ and χₐ.
	own := w.own("b", mpc.NewSignerSet("a", "b"), tuples)
	var m, r, left [2]p256.Scalar
	for i, text := range []string{"one", "two"} {
		digest := sha256.Sum256([]byte(text))
		m[i] = p256.ScalarFromDigest(digest[:])
		r[i], _ = p256.ScalarFromBytes(sigs[i][:32])
		s, _ := p256.ScalarFromBytes(sigs[i][32:])
		// δᵢ from b's own part: s = shareₐ + share_b, up to the sign of s.
		for _, sum := range []p256.Scalar{s, s.Neg()} {
			mine := sum.Sub(shares[i])
			delta := own.k.Mul(m[i]).Add(own.chi.Mul(r[i])).Mul(mine.Inverse())
			if x, err := own.R.Mult(delta).X(); err == nil && x.Equal(r[i]) {
				left[i] = shares[i].Mul(delta)
			}
		}
	}
	// left = kₐ·m + χₐ·r, twice.
	det := m[0].Mul(r[1]).Sub(m[1].Mul(r[0])).Inverse()
	k := left[0].Mul(r[1]).Sub(left[1].Mul(r[0])).Mul(det).Add(own.k)
	chi := m[0].Mul(left[1]).Sub(m[1].Mul(left[0])).Mul(det).Add(own.chi)
	return p256.BaseMult(chi.Mul(k.Inverse())).Equal(w.key().Public)
}

// TestKnownRForgesWithoutRandomising: R of a presignature is known before the
// message is. Whoever chooses the digest then can have a signature on one
// digest turned into one on another: with R* = α·R and r* = x(R*), asked for
// m = m*·r/r*, they get s = k·(m + r·sk), and s·r*/(r·α) is good for m* with
// r*. Our messages are hashed inside, so that m cannot be chosen like that; a
// factor that nobody knew when m was fixed takes R away as well.
func TestKnownRForgesWithoutRandomising(t *testing.T) {
	for _, open := range []bool{false, true} {
		w := dealtWorld(t, 2, 1)
		set := mpc.NewSignerSet("a", "b")
		tuples := w.deal(set, 1)
		own := w.own("b", set, tuples)
		alpha, target := random(t), sha256.Sum256([]byte("evil.example. A 192.0.2.66"))
		r, _ := own.R.X()
		rTarget, _ := own.R.Mult(alpha).X()
		asked := p256.ScalarFromDigest(target[:]).Mul(r).Mul(rTarget.Inverse()).Bytes()

		seed := [32]byte{1} // fresh, from nonces that were opened after asked was agreed on
		var mu sync.Mutex
		var got mpc.Signature
		for p, err := range w.among(set, func(ctx context.Context, net mpc.Network) error {
			mine := []*tuple{w.own(net.Self(), set, tuples)}
			sp := &spending{round: "s", set: set, seed: seed, parts: []part{{public: w.key().Public, tuples: tuples, own: mine, digests: [][32]byte{asked}}}}
			sigs, err := sp.open(ctx, net, holes{noRandomising: open})
			if err == nil {
				mu.Lock()
				defer mu.Unlock()
				got = sigs[0]
			}
			return err
		}) {
			if err != nil {
				t.Fatalf("at %s: %v", p, err)
			}
		}
		s, _ := p256.ScalarFromBytes(got[32:])
		rGot, _ := p256.ScalarFromBytes(got[:32])
		forgedS := s.Mul(rTarget).Mul(rGot.Mul(alpha).Inverse()).Bytes()
		rBytes := rTarget.Bytes()
		var forged mpc.Signature
		copy(forged[:32], rBytes[:])
		copy(forged[32:], forgedS[:])
		if p256.VerifySignature(w.key().Public, target, forged) != open {
			t.Errorf("randomising taken out: %v; the forgery verifies: %v", open, !open)
		}
	}
}

// TestUnequalRequestsSpendNothing: members that came for different messages
// spend nothing.
func TestUnequalRequestsSpendNothing(t *testing.T) {
	w := dealtWorld(t, 2, 1)
	set := mpc.NewSignerSet("a", "b")
	tuples := w.deal(set, 1)
	other := func(p mpc.PartyID, s *mpc.SignSession) {
		if p == "b" {
			s.Requests[0].Messages = [][]byte{[]byte("another message")}
		}
	}
	_, errs := w.sign(w.request(set, tuples, "a message"), other)
	blames(t, errs["a"], "b")
	blames(t, errs["b"], "a")
	if w.stores["a"].Mark != 0 {
		t.Error("a tuple was spent")
	}
	w.open(holes{noRequest: true})
	w.sign(w.request(set, tuples, "a message"), other)
	if w.stores["a"].Mark == 0 {
		t.Error("without the comparison nothing is spent either: the attack is wrong")
	}
}

// TestDifferentStatements: nobody gives a share to members that signed another
// statement; it is evidence.
func TestDifferentStatements(t *testing.T) {
	for _, open := range []bool{false, true} {
		w := dealtWorld(t, 2, 1)
		w.open(holes{noRequest: true, noStatements: open})
		set := mpc.NewSignerSet("a", "b")
		var v watch
		w.watched(&v, nil)
		_, errs := w.sign(w.request(set, w.deal(set, 1), "a message"), func(p mpc.PartyID, s *mpc.SignSession) {
			if p == "b" {
				s.Requests[0].Manifest = [32]byte{1}
			}
		})
		if !open {
			blames(t, errs["a"], "b")
			cheat, _ := mpc.AsCheat(errs["a"])
			if cheat == nil || len(cheat.Evidence) == 0 {
				t.Error("a signed statement is no evidence")
			}
		}
		// With other factors the shares do not fit, and they have left.
		if v.has("a", "run0/s") != open {
			t.Errorf("statements unchecked: %v; a went on: %v", open, !open)
		}
	}
}

// TestSecretsPrintNothing: no verb shows a share.
func TestSecretsPrintNothing(t *testing.T) {
	w := fixtureWorld(t)
	k := w.key()
	secret := scalarOf(k.config.ECDSA).Bytes()
	tu := &tuple{k: scalarOf(k.config.ECDSA)}
	for _, text := range []string{
		sprint("%v", k), sprint("%+v", k), sprint("%#v", k), sprint("%x", k), sprint("%v", tu), sprint("%x", tu), sprint("%+v", k.config.ECDSA),
	} {
		if strings.Contains(strings.ToLower(text), sprint("%x", secret[:8])) || len(text) > 200 {
			t.Errorf("prints %q", text)
		}
	}
}

func sprint(format string, v any) string { return fmt.Sprintf(format, v) }
