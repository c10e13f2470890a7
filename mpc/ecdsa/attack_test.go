package ecdsa

import (
	"context"
	"crypto/elliptic"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"zonesigner/mpc"
	"zonesigner/mpc/memnet"
	"zonesigner/mpc/mpctest"
	"zonesigner/mpc/p256"
)

// Each attack here is run against the signer as it is, where it must fail, and
// against honest parties with the named defence taken out (holes), where it
// must succeed. The adversary is operator a; it may do what its code and its
// puppet of a network can do, and it rushes.

type puppet = mpctest.Puppet

// corrupt gives operator a a puppet in the next sessions.
func (w *world) corrupt(alter mpctest.Alter) (p *puppet) {
	p, w.wrap = mpctest.Corrupt(alter)
	return p
}

// setHoles takes defences out of the honest parties, and of a's own code, which
// the adversary writes.
func (w *world) setHoles(h holes) {
	for _, s := range w.signers {
		s.holes = h
	}
}

// blames wants a CheatError of p that accuses a; alone says that it is named.
func blames(t *testing.T, p mpc.PartyID, err error, alone bool) {
	t.Helper()
	cheat, ok := mpc.AsCheat(err)
	if !ok || !slices.Contains(cheat.Parties, "a") || alone == cheat.Disputed {
		t.Errorf("%s says %v, want a blamed (alone: %v)", p, err, alone)
	}
}

var (
	pairAB  = mpc.NewSignerSet("a", "b")
	allABC  = mpc.NewSignerSet("a", "b", "c")
	message = "www.example.org. A 192.0.2.1"
)

// ownRun is the adversary's share of the first tuple that it holds for set.
func (w *world) ownRun(t *testing.T, set mpc.SignerSet) *run {
	t.Helper()
	s := w.stores["a"]
	r, err := decodeRun(s.Chunks[s.Order[0]].Blob, len(set), 0, 1)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func digestScalar(m string) p256.Scalar {
	d := sha256.Sum256([]byte(m))
	return p256.ScalarFromDigest(d[:])
}

func (r *run) sShare(m, rx p256.Scalar) p256.Scalar {
	return m.Mul(r.kInv[0]).Add(rx.Mul(r.kInvSK[0]))
}

func firstScalar(t *testing.T, b []byte) p256.Scalar {
	t.Helper()
	s, err := p256.ScalarFromBytes(b[:32])
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// pointAt finds a point with the given x, when there is one.
func pointAt(x p256.Scalar) (p256.Point, bool) {
	b := x.Bytes()
	px, py := elliptic.UnmarshalCompressed(elliptic.P256(), append([]byte{2}, b[:]...))
	if px == nil {
		return p256.Point{}, false
	}
	var enc [64]byte
	px.FillBytes(enc[:32])
	py.FillBytes(enc[32:])
	p, err := p256.PointFromBytes(enc[:])
	return p, err == nil
}

// shareOfR is that of a run's last tuple, which ends the message with the
// statement; setShareOfR replaces it.
func shareOfR(t *testing.T, b []byte) p256.Point {
	t.Helper()
	p, err := p256.PointFromBytes(b[len(b)-p256.PointSize:])
	if err != nil {
		t.Error(err)
	}
	return p
}

func setShareOfR(b, share []byte) []byte {
	copy(b[len(b)-p256.PointSize:], share)
	return b
}

// Rule 5: the member that chooses its share of R after it has seen the others'
// gets a valid signature on a message that nobody agreed to.
func TestRushingShareOfR(t *testing.T) {
	const forged = "www.example.org. A 203.0.113.66 "
	attack := func(t *testing.T, w *world) (success bool, errs map[mpc.PartyID]error) {
		w.mustPrepare(pairAB, 1)
		own := w.ownRun(t, pairAB)
		m := digestScalar(message)
		var r, rForged, mStar p256.Scalar
		var target string
		puppet := w.corrupt(func(p *puppet, ctx context.Context, to mpc.PartyID, round string, b []byte) []byte {
			if round != "run0/statement" {
				return b
			}
			theirs := shareOfR(t, p.Look(ctx, "b", round))
			mine, _ := p256.PointFromBytes(own.rShares)
			// Points 1 and 2: R is twice the share of a less that of b.
			R := mine.Double().Sub(theirs)
			r, _ = R.X()
			for i := 0; ; i++ {
				target = fmt.Sprint(forged, i)
				mStar = digestScalar(target)
				rForged = r.Mul(m).Mul(mStar.Inverse())
				if wanted, ok := pointAt(rForged); ok {
					share, _ := wanted.Add(theirs).Mult(p256.NewScalar(2).Inverse()).Bytes()
					return setShareOfR(b, share[:])
				}
			}
		})
		_, errs = w.sign(w.request(pairAB, message), nil)
		shares := puppet.Got["b run0/s"]
		if shares == nil {
			return false, errs
		}
		s := own.sShare(m, rForged).Mul(p256.NewScalar(2)).Sub(firstScalar(t, shares))
		s = s.Mul(mStar).Mul(m.Inverse())
		var sig mpc.Signature
		rb, sb := r.Bytes(), s.Bytes()
		copy(sig[:32], rb[:])
		copy(sig[32:], sb[:])
		return w.verify(target, sig), errs
	}
	inWorld(t, 3, 1, active(), func(t *testing.T, w *world) {
		ok, errs := attack(t, w)
		if ok {
			t.Error("a has a signature on a message of its own")
		}
		blames(t, "b", errs["b"], true)
	})
	inWorld(t, 3, 1, active(), func(t *testing.T, w *world) {
		w.setHoles(holes{noCommitments: true})
		if ok, errs := attack(t, w); !ok {
			t.Errorf("without commitments the attack fails: %v", errs)
		}
	})
}

// solve finds the key from two equations s = k⁻¹(m + r·sk) over one tuple.
func solve(s1, m1, r1, s2, m2, r2 p256.Scalar) (sk p256.Scalar) {
	// s1·k = m1 + r1·sk and s2·k = m2 + r2·sk, so
	// sk·(s1·r2 - s2·r1) = s2·m1 - s1·m2.
	return s2.Mul(m1).Sub(s1.Mul(m2)).Mul(s1.Mul(r2).Sub(s2.Mul(r1)).Inverse())
}

// atAB and atAC open a sharing of degree 1 from the shares of two.
func atAB(a, b p256.Scalar) p256.Scalar { return a.Mul(p256.NewScalar(2)).Sub(b) }
func atAC(a, c p256.Scalar) p256.Scalar {
	return a.Mul(p256.NewScalar(3)).Sub(c).Mul(p256.NewScalar(2).Inverse())
}

func (w *world) isKey(sk p256.Scalar) bool { return p256.BaseMult(sk).Equal(w.key().Public) }

// Rule 3: two honest operators that are made to sign different messages with
// one tuple give away the key. Both have let go of their shares of R by the time
// that they see the other's statement: that tells nothing.
func TestDifferentMessagesForOneTuple(t *testing.T) {
	const other = "mail.example.org. A 192.0.2.2"
	attack := func(t *testing.T, w *world) (success bool, errs map[mpc.PartyID]error) {
		w.mustPrepare(allABC, 1)
		own := w.ownRun(t, allABC)
		puppet := w.corrupt(nil)
		_, errs = w.sign(w.request(allABC, message), func(p mpc.PartyID, r *mpc.SignSession) {
			r.Agreed = true // on different things, so that only statements tell
			if p == "c" {
				r.Requests[0].Messages = [][]byte{[]byte(other)}
			}
		})
		for _, p := range []mpc.PartyID{"b", "c"} {
			if puppet.Got[string(p)+" run0/statement"] == nil || w.stores[p].Mark != 1 {
				t.Fatalf("%s did not spend and speak: %v", p, errs[p])
			}
		}
		sb, sc := puppet.Got["b run0/s"], puppet.Got["c run0/s"]
		if sb == nil || sc == nil {
			return false, errs
		}
		var R [3]p256.Point
		R[0], _ = p256.PointFromBytes(own.rShares)
		R[1], R[2] = shareOfR(t, puppet.Got["b run0/statement"]), shareOfR(t, puppet.Got["c run0/statement"])
		r, _ := R[0].MultSmall(3).Sub(R[1].MultSmall(3)).Add(R[2]).X()
		m1, m2 := digestScalar(message), digestScalar(other)
		s1 := atAB(own.sShare(m1, r), firstScalar(t, sb))
		s2 := atAC(own.sShare(m2, r), firstScalar(t, sc))
		return w.isKey(solve(s1, m1, r, s2, m2, r)), errs
	}
	inWorld(t, 3, 1, active(), func(t *testing.T, w *world) {
		if ok, errs := attack(t, w); ok || errs["b"] == nil || errs["c"] == nil {
			t.Errorf("key taken: %v, errors %v", ok, errs)
		}
	})
	inWorld(t, 3, 1, active(), func(t *testing.T, w *world) {
		w.setHoles(holes{noStatements: true})
		if ok, errs := attack(t, w); !ok {
			t.Errorf("without equal statements the attack fails: %v", errs)
		}
	})
}

// Rule 3: whatever a statement names must be the same for all.
func TestStatementsDiffer(t *testing.T) {
	for name, change := range map[string]func(r *mpc.SignSession){
		"manifest": func(r *mpc.SignSession) { r.Requests[0].Manifest[0] ^= 1 },
		"session":  func(r *mpc.SignSession) { r.ID[0] ^= 1 },
		"tuples": func(r *mpc.SignSession) {
			r.Requests[0].Tuples = []mpc.TupleRange{{Chunk: r.Requests[0].Tuples[0].Chunk, From: 1, Count: 1}}
		},
		"messages": func(r *mpc.SignSession) { r.Requests[0].Messages = [][]byte{[]byte("x")} },
		"chunk":    func(r *mpc.SignSession) { r.Requests[0].Tuples = r.Requests[0].Tuples[1:] },
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, 3, 1, active(), func(t *testing.T, w *world) {
				w.mustPrepare(pairAB, 3)
				w.mustPrepare(pairAB, 3)
				w.setHoles(holes{noRequest: true}) // the requests are compared before
				_, errs := w.sign(w.request(pairAB, message), func(p mpc.PartyID, r *mpc.SignSession) {
					if p == "a" {
						change(r)
					}
				})
				blames(t, "b", errs["b"], true)
				if cheat, _ := mpc.AsCheat(errs["b"]); cheat != nil {
					if _, from, err := mpc.VerifyStatement(w.ids["b"], cheat.Evidence); err != nil || from != "a" {
						t.Errorf("evidence does not verify: %v", err)
					}
				}
			})
		})
	}
}

// Rule 1: a tuple that was spent in a session that aborted is not spoken of
// again. A disk that forgets gives away the key.
func TestOneTupleTwice(t *testing.T) {
	const other = "mail.example.org. A 192.0.2.2"
	attack := func(t *testing.T, w *world) (success bool, errs map[mpc.PartyID]error, spoke bool) {
		w.mustPrepare(allABC, 1)
		own := w.ownRun(t, allABC)
		first := w.request(allABC, message)
		first.Requests[0].Tuples[0].Count = 1
		// In both sessions a sends a share of s that is not right, so that the
		// others abort; it has all that it needs.
		spoil := func(p *puppet, ctx context.Context, to mpc.PartyID, round string, b []byte) []byte {
			if round == "run0/s" {
				b[31] ^= 1
			}
			return b
		}
		w.stores["a"].Forgets = true
		puppet := w.corrupt(spoil)
		w.sign(first, nil)
		sb := firstScalar(t, puppet.Got["b run0/s"])
		ra, _ := p256.PointFromBytes(own.rShares)
		rb, rc := shareOfR(t, puppet.Got["b run0/statement"]), shareOfR(t, puppet.Got["c run0/statement"])
		r, _ := ra.MultSmall(3).Sub(rb.MultSmall(3)).Add(rc).X()

		second := first
		second.Requests[0].Messages = [][]byte{[]byte(other)}
		puppet = w.corrupt(spoil)
		_, errs = w.sign(second, nil)
		spoke = puppet.Got["b run0/statement"] != nil
		shares := puppet.Got["b run0/s"]
		if shares == nil {
			return false, errs, spoke
		}
		m1, m2 := digestScalar(message), digestScalar(other)
		s1 := atAB(own.sShare(m1, r), sb)
		s2 := atAB(own.sShare(m2, r), firstScalar(t, shares))
		return w.isKey(solve(s1, m1, r, s2, m2, r)), errs, spoke
	}
	inWorld(t, 3, 1, active(), func(t *testing.T, w *world) {
		ok, errs, spoke := attack(t, w)
		if ok || spoke || !errors.Is(errs["b"], mpctest.ErrSpent) {
			t.Errorf("key taken: %v, second statement signed: %v, errors %v", ok, spoke, errs)
		}
	})
	inWorld(t, 3, 1, active(), func(t *testing.T, w *world) {
		w.stores["b"].Forgets, w.stores["c"].Forgets = true, true
		if ok, errs, _ := attack(t, w); !ok {
			t.Errorf("with disks that forget the attack fails: %v", errs)
		}
	})
}

// Rules 1 and 5: whoever knows R before the digest is fixed, and may choose it,
// has a signature on one digest turned into one on another, with a single
// share of s (the computation is that of cggmp). Of a tuple whose R is known an
// honest operator has signed its only statement. One whose disk forgets that
// signs another, for a digest that was chosen by R; that messages are hashed is
// what is left then.
func TestDigestChosenByR(t *testing.T) {
	const forged = "www.example.org. A 203.0.113.66"
	attack := func(t *testing.T, w *world) (success bool, errs map[mpc.PartyID]error) {
		w.mustPrepare(pairAB, 1)
		own := w.ownRun(t, pairAB)
		w.stores["a"].Forgets = true
		session := w.request(pairAB, message)
		puppet := w.corrupt(nil)
		// a is told b's share of R, and stays away.
		w.hub.SetFault(func(m memnet.Message) []memnet.Message {
			if m.From == "a" && m.Round == "run0/statement" {
				return nil
			}
			return []memnet.Message{m}
		})
		w.sign(session, nil)
		w.hub.SetFault(nil)
		said := puppet.Got["b run0/statement"]
		if said == nil || puppet.Got["b run0/s"] != nil {
			t.Fatal("b said nothing, or too much")
		}
		mine, _ := p256.PointFromBytes(own.rShares)
		R := mine.Double().Sub(shareOfR(t, said))
		alpha := p256.NewScalar(12345)
		r, _ := R.X()
		rForged, _ := R.Mult(alpha).X()
		asked := digestScalar(forged).Mul(r).Mul(rForged.Inverse()).Bytes()

		session.ID[31]++
		session.Requests[0].Messages = [][]byte{asked[:]}
		sigs, errs := w.sign(session, nil)
		if sigs["a"] == nil {
			return false, errs
		}
		s, err := p256.ScalarFromBytes(sigs["a"][0][32:])
		if err != nil {
			t.Fatal(err)
		}
		rb, sb := rForged.Bytes(), s.Mul(rForged).Mul(r.Mul(alpha).Inverse()).Bytes()
		var sig mpc.Signature
		copy(sig[:32], rb[:])
		copy(sig[32:], sb[:])
		return w.verify(forged, sig), errs
	}
	for _, c := range []struct{ forgets, noHash bool }{{false, true}, {true, false}, {true, true}} {
		inWorld(t, 3, 1, active(), func(t *testing.T, w *world) {
			w.setHoles(holes{noHash: c.noHash})
			w.stores["b"].Forgets = c.forgets
			ok, errs := attack(t, w)
			if ok != (c.forgets && c.noHash) {
				t.Errorf("b's disk forgets: %v, messages are digests: %v; a has its signature: %v, errors %v", c.forgets, c.noHash, ok, errs)
			}
			if !c.forgets && !errors.Is(errs["b"], mpctest.ErrSpent) {
				t.Errorf("b says %v", errs["b"])
			}
		})
	}
}

// Rule 3, the view digest: a commits to different shares of R towards b and c,
// and opens each its own. The two release shares of different equations over
// one tuple. (The degree check of R, which three of three have, is out in both
// runs: sets of t+1 do not have it.)
func TestSplitCommitments(t *testing.T) {
	attack := func(t *testing.T, w *world) (success bool, errs map[mpc.PartyID]error) {
		wrong, _ := p256.BaseMult(p256.NewScalar(7)).Bytes()
		var view [32]byte
		w.signers["a"].protocols[w.protocol.Name()] = tapped{w.protocol, &view}
		w.corrupt(func(p *puppet, ctx context.Context, to mpc.PartyID, round string, b []byte) []byte {
			if round == "chunk0/commit" && to == "c" {
				h := newCommitter(view, "a").commitment(0, wrong[:])
				return h[:]
			}
			return b
		})
		errs = w.prepare(allABC, 1)
		for _, p := range allABC {
			if errs[p] != nil {
				return false, errs
			}
		}
		own := w.ownRun(t, allABC)
		puppet := w.corrupt(func(p *puppet, ctx context.Context, to mpc.PartyID, round string, b []byte) []byte {
			if round == "run0/statement" && to == "c" {
				return setShareOfR(b, wrong[:])
			}
			return b
		})
		_, errs = w.sign(w.request(allABC, message), nil)
		sb, sc := puppet.Got["b run0/s"], puppet.Got["c run0/s"]
		if sb == nil || sc == nil {
			return false, errs
		}
		ra, _ := p256.PointFromBytes(own.rShares)
		rw, _ := p256.PointFromBytes(wrong[:])
		rb := shareOfR(t, puppet.Got["b run0/statement"])
		open := func(a p256.Point) p256.Scalar {
			// Unchecked openings take the first two shares, scaled: 2a - b.
			x, _ := a.MultSmall(2).Sub(rb).X()
			return x
		}
		r1, r2, m := open(ra), open(rw), digestScalar(message)
		s1 := atAB(own.sShare(m, r1), firstScalar(t, sb))
		s2 := atAC(own.sShare(m, r2), firstScalar(t, sc))
		return w.isKey(solve(s1, m, r1, s2, m, r2)), errs
	}
	inWorld(t, 3, 1, active(), func(t *testing.T, w *world) {
		w.setHoles(holes{noDegree: true})
		ok, errs := attack(t, w)
		if ok {
			t.Error("a took the key")
		}
		blames(t, "b", errs["b"], false)
		blames(t, "c", errs["c"], false)
	})
	inWorld(t, 3, 1, active(), func(t *testing.T, w *world) {
		w.setHoles(holes{noDegree: true, noView: true})
		if ok, errs := attack(t, w); !ok {
			t.Errorf("without equal views the attack fails: %v", errs)
		}
	})
}

// Who is no signer of a chunk multiplies and keeps nothing: d is told no
// commitments and no view, and is content where a splits them among the others,
// who find out without it.
func TestOutsiderKeepsNothing(t *testing.T) {
	for _, binding := range []bool{false, true} {
		for _, spoiled := range []bool{false, true} {
			t.Run(fmt.Sprintf("binding=%v spoiled=%v", binding, spoiled), func(t *testing.T) {
				inWorld(t, 4, 1, active(), func(t *testing.T, w *world) {
					stored := 0
					if binding {
						w.unbound(allABC, 4)
						stored = 1
					}
					var toD int
					_, corrupt := mpctest.Corrupt(mpctest.Blind(func(to mpc.PartyID, round string, b []byte) []byte {
						kept := strings.HasSuffix(round, "/commit") || strings.HasSuffix(round, "/view")
						if kept && to == "d" {
							toD++
						}
						if spoiled && to == "c" && (round == "chunk0/commit" || round == "bind0/view") {
							b[0] ^= 1
						}
						return b
					}))
					w.wrap = corrupt
					var errs map[mpc.PartyID]error
					if binding {
						errs = w.bind(w.bindRequest(allABC, 4, w.key().ID), nil)
					} else {
						errs = w.prepare(allABC, 4)
					}
					if toD > 0 {
						t.Errorf("d was sent %d messages on what it does not keep", toD)
					}
					if errs["d"] != nil || len(w.stores["d"].Order) != stored {
						t.Errorf("d keeps %d chunks: %v", len(w.stores["d"].Order), errs["d"])
					}
					if !spoiled {
						for _, p := range allABC {
							if errs[p] != nil || len(w.stores[p].Order) != stored+1 {
								t.Errorf("%s keeps %d chunks: %v", p, len(w.stores[p].Order), errs[p])
							}
						}
						return
					}
					blames(t, "c", errs["c"], false)
					if cheat, ok := mpc.AsCheat(errs["c"]); ok && slices.Contains(cheat.Parties, "d") {
						t.Errorf("c suspects d: %v", errs["c"])
					}
					if len(w.stores["c"].Order) != stored {
						t.Error("c keeps a chunk that others hold otherwise")
					}
				})
			})
		}
	}
}

// In a passive form who is no signer can show the signers different products,
// and they compare nothing. What they keep has different ids, so that there is
// nothing that both could be asked to sign with.
func TestOutsiderSplitsProducts(t *testing.T) {
	inWorld(t, 3, 1, passive(), func(t *testing.T, w *world) {
		w.corrupt(mpctest.Blind(func(to mpc.PartyID, round string, b []byte) []byte {
			if round == "main.chunk0/1" && to == "c" {
				b[31] ^= 1
			}
			return b
		}))
		w.mustPrepare(mpc.NewSignerSet("b", "c"), 1)
		if b, c := w.stores["b"].Order, w.stores["c"].Order; len(b) != 1 || len(c) != 1 || b[0] == c[0] {
			t.Errorf("b keeps %x, c %x", b, c)
		}
	})
}

// Wrong shares in signing: each is refused, and what catches it is named.
func TestWrongShares(t *testing.T) {
	wrong, _ := p256.BaseMult(p256.NewScalar(7)).Bytes()
	replace := func(in string, with []byte) mpctest.Alter {
		return func(_ *puppet, _ context.Context, _ mpc.PartyID, round string, b []byte) []byte {
			if round == in {
				copy(b, with)
			}
			return b
		}
	}
	replaceR := func(with []byte) func(*puppet, context.Context, mpc.PartyID, string, []byte) []byte {
		return func(_ *puppet, _ context.Context, _ mpc.PartyID, round string, b []byte) []byte {
			if round == "run0/statement" {
				return setShareOfR(b, with)
			}
			return b
		}
	}
	one := p256.One().Bytes()
	garbage := slices.Repeat([]byte{0xff}, 32)
	for _, c := range []struct {
		name  string
		set   mpc.SignerSet
		alter mpctest.Alter
		named bool
		holes holes // with which it goes through
	}{
		{"share of R", allABC, replaceR(wrong[:]), true, holes{noCommitments: true, noDegree: true, noFinalCheck: true}},
		{"share of R that is no point", allABC, replaceR(garbage), true, holes{}},
		{"share of s of three", allABC, replace("run0/s", one[:]), false, holes{noDegree: true, noFinalCheck: true}},
		{"share of s of two", pairAB, replace("run0/s", one[:]), true, holes{noFinalCheck: true}},
		{"share of s that is no scalar", allABC, replace("run0/s", garbage), true, holes{}},
		{"no statement", allABC, replace("run0/statement", garbage), true, holes{}},
		{"nothing but a statement", allABC, func(_ *puppet, _ context.Context, _ mpc.PartyID, round string, b []byte) []byte {
			if round == "run0/statement" {
				return b[:len(b)-p256.PointSize]
			}
			return b
		}, true, holes{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			inWorld(t, 3, 1, active(), func(t *testing.T, w *world) {
				w.mustPrepare(c.set, 1)
				w.corrupt(c.alter)
				_, errs := w.sign(w.request(c.set, message), nil)
				blames(t, "b", errs["b"], c.named)
			})
			if c.holes == (holes{}) {
				return
			}
			inWorld(t, 3, 1, active(), func(t *testing.T, w *world) {
				w.setHoles(c.holes)
				w.mustPrepare(c.set, 1)
				w.corrupt(c.alter)
				sigs, errs := w.sign(w.request(c.set, message), nil)
				if errs["b"] != nil || w.verify(message, sigs["b"][0]) {
					t.Errorf("with the holes, b's signature is right or missing: %v", errs["b"])
				}
			})
		})
	}
}

// Key generation: a rushing operator chooses its share of the public key last,
// so that the public key is its own.
func TestKeyCancellation(t *testing.T) {
	mine := p256.NewScalar(666)
	attack := func(t *testing.T, h holes) (stolen bool, errs map[mpc.PartyID]error) {
		inWorld(t, 3, 1, active(), func(t *testing.T, w *world) {
			w.corrupt(func(p *puppet, ctx context.Context, to mpc.PartyID, round string, b []byte) []byte {
				if round != "key/open" {
					return b
				}
				theirs, _ := p256.PointFromBytes(p.Look(ctx, "b", round))
				// Opened from a and b: twice the share of a less that of b.
				share, _ := p256.BaseMult(mine).Add(theirs).Mult(p256.NewScalar(2).Inverse()).Bytes()
				return share[:]
			})
			keys := map[mpc.PartyID]*KeyShare{}
			var mu sync.Mutex
			errs = w.all(func(ctx context.Context, net mpc.Network) error {
				made, err := generateKeys(ctx, net, w.ids[net.Self()], w.group, w.protocol, [][]byte{[]byte("zsk")}, h)
				if err != nil {
					return err
				}
				mu.Lock()
				defer mu.Unlock()
				keys[net.Self()] = made[0]
				return nil
			})
			stolen = keys["b"] != nil && keys["c"] != nil && keys["b"].Public.Equal(p256.BaseMult(mine))
		})
		return stolen, errs
	}
	for _, c := range []struct {
		name string
		h    holes
	}{
		{"as it is", holes{}},
		{"without commitments", holes{noKeyCommit: true}},
		{"without commitments and degree check", holes{noKeyCommit: true, noDegree: true}},
		{"without degree check and test signature", holes{noDegree: true, noTestSign: true}},
	} {
		if stolen, errs := attack(t, c.h); stolen || errs["b"] == nil || errs["c"] == nil {
			t.Errorf("%s: key stolen: %v, errors %v", c.name, stolen, errs)
		}
	}
	// a's own code takes part in equal transcripts only with the hole, for it
	// computes its own from the share that it did not send.
	if stolen, errs := attack(t, holes{noKeyCommit: true, noDegree: true, noTestSign: true, noTranscript: true}); !stolen {
		t.Errorf("without defences the attack fails: %v", errs)
	}
}

// tapped is a Protocol that tells the adversary what its own code computes.
type tapped struct {
	Protocol
	view *[32]byte
}

func (p tapped) start(ctx context.Context, net mpc.Network, g mpc.Group, binding [32]byte) (workshop, error) {
	shop, err := p.Protocol.start(ctx, net, g, binding)
	return tappedShop{shop, p.view}, err
}

type tappedShop struct {
	workshop
	view *[32]byte
}

func (s tappedShop) nonces(ctx context.Context, label string, users []mpc.PartyID, n int, binds []binding, commit func(*tuples) error) (*tuples, error) {
	return s.workshop.nonces(ctx, label, users, n, binds, func(t *tuples) error {
		*s.view = t.begun
		return commit(t)
	})
}
