package frost

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"testing"
	"testing/synctest"

	"filippo.io/edwards25519"

	"zonesigner/mpc"
	"zonesigner/mpc/mpctest"
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

// replace alters one round of a's, to everybody.
func replace(in string, change func(b []byte) []byte) mpctest.Alter {
	return func(_ *puppet, _ context.Context, _ mpc.PartyID, round string, b []byte) []byte {
		if round == in {
			return change(b)
		}
		return b
	}
}

func decoded(t *testing.T, b []byte) *edwards25519.Scalar {
	t.Helper()
	s, err := decodeScalar(b)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// shareOfB is what b's signature share says: z = d + ρ·e + weight·sk.
type shareOfB struct{ z, rho, weight *edwards25519.Scalar }

// solve finds sk from three signature shares over one pair of nonces: the
// system of z - weight·sk = d + ρ·e in d, e and sk, by Cramer's rule.
func solve(s [3]shareOfB) *edwards25519.Scalar {
	// det of the matrix with rows (1, ρ, third)
	det := func(third func(shareOfB) *edwards25519.Scalar) *edwards25519.Scalar {
		sum := new(edwards25519.Scalar)
		for i := range s {
			j, k := s[(i+1)%3], s[(i+2)%3]
			minor := new(edwards25519.Scalar).Subtract(k.rho, j.rho)
			sum.MultiplyAdd(third(s[i]), minor, sum)
		}
		return sum
	}
	num := det(func(s shareOfB) *edwards25519.Scalar { return s.z })
	den := det(func(s shareOfB) *edwards25519.Scalar { return s.weight })
	return num.Multiply(num, den.Invert(den))
}

// theirShare is what a learns of b's share for a message.
func (w *world) theirShare(t *testing.T, set mpc.SignerSet, commitments []byte, message string, z []byte) shareOfB {
	t.Helper()
	q, err := w.key().newQuorum(set, w.signers["a"].holes)
	if err != nil {
		t.Fatal(err)
	}
	g, err := q.prepare([]byte(message), commitments)
	if err != nil {
		t.Fatal(err)
	}
	b := slices.Index(q.parties, mpc.PartyID("b"))
	return shareOfB{decoded(t, z[:32]), g.rho[b], new(edwards25519.Scalar).Multiply(q.lambda[b], g.challenge)}
}

// isShareOfB reports whether sk is b's share of the key. With its own, a then
// has the key of a group with t = 1.
func (w *world) isShareOfB(sk *edwards25519.Scalar) bool {
	x, _ := w.group.X("b")
	return new(edwards25519.Point).ScalarBaseMult(sk).Equal(w.key().PublicShares[x-1]) == 1
}

// ownCommitments are those of all members to the first tuple that a holds.
func (w *world) ownCommitments(t *testing.T, set mpc.SignerSet) []byte {
	t.Helper()
	s := w.stores["a"]
	own, err := decodeTuples(s.Chunks[s.Order[0]].Blob, len(set), 0, 1)
	if err != nil {
		t.Fatal(err)
	}
	return own.commitments
}

// Rule 1: a tuple that was spent in a session that aborted is not spoken of
// again. A disk that forgets gives away the key.
func TestOneTupleThreeTimes(t *testing.T) {
	attack := func(t *testing.T, w *world) (success bool, errs map[mpc.PartyID]error, spoke bool) {
		w.mustPrepare(pairAB, 1)
		w.stores["a"].Forgets = true
		commitments, tuples := w.ownCommitments(t, pairAB), w.ranges(w.key().ID, pairAB)
		var seen [3]shareOfB
		for i := range seen {
			// A share of a's that is not right makes b abort, each time.
			puppet := w.corrupt(replace("run0/z", func(b []byte) []byte { b[0] ^= 1; return b }))
			m := fmt.Sprint("message ", i)
			req := w.request(w.key().ID, pairAB, m)
			req.Tuples = tuples
			_, errs = w.sign(w.session(pairAB, req), nil)
			z := puppet.Got["b run0/z"]
			if z == nil {
				return false, errs, puppet.Got["b run0/statement"] != nil
			}
			seen[i] = w.theirShare(t, pairAB, commitments, m, z)
		}
		return w.isShareOfB(solve(seen)), errs, true
	}
	inWorld(t, 3, 1, func(t *testing.T, w *world) {
		ok, errs, spoke := attack(t, w)
		if ok || spoke || !errors.Is(errs["b"], mpctest.ErrSpent) {
			t.Errorf("key taken: %v, second statement signed: %v, errors %v", ok, spoke, errs)
		}
	})
	inWorld(t, 3, 1, func(t *testing.T, w *world) {
		w.stores["b"].Forgets = true
		if ok, errs, _ := attack(t, w); !ok {
			t.Errorf("with a disk that forgets the attack fails: %v", errs)
		}
	})
}

// Rule 3: whatever a statement names must be the same for all.
func TestStatementsDiffer(t *testing.T) {
	for name, change := range map[string]func(s *mpc.SignSession, r *mpc.SignRequest){
		"manifest": func(_ *mpc.SignSession, r *mpc.SignRequest) { r.Manifest[0] ^= 1 },
		"session":  func(s *mpc.SignSession, _ *mpc.SignRequest) { s.ID[0] ^= 1 },
		"tuples": func(_ *mpc.SignSession, r *mpc.SignRequest) {
			r.Tuples = []mpc.TupleRange{{Chunk: r.Tuples[0].Chunk, From: 1, Count: 1}}
		},
		"messages": func(_ *mpc.SignSession, r *mpc.SignRequest) { r.Messages = [][]byte{[]byte("x")} },
		"chunk":    func(_ *mpc.SignSession, r *mpc.SignRequest) { r.Tuples = r.Tuples[1:] },
	} {
		differ := func(p mpc.PartyID, s *mpc.SignSession) {
			if p == "a" {
				change(s, &s.Requests[0])
			}
		}
		sign := func(w *world, h holes) (*puppet, error) {
			w.mustPrepare(pairAB, 3)
			w.mustPrepare(pairAB, 3)
			w.setHoles(h)
			puppet := w.corrupt(nil)
			_, errs := w.sign(w.session(pairAB, w.request(w.key().ID, pairAB, message)), differ)
			return puppet, errs["b"]
		}
		t.Run(name, func(t *testing.T) {
			// What all came for is compared before anything is spent.
			inWorld(t, 3, 1, func(t *testing.T, w *world) {
				_, err := sign(w, holes{})
				blames(t, "b", err, true)
				if w.stores["b"].Mark != 0 {
					t.Error("tuples were spent for different requests")
				}
			})
			// With that taken out, statements are, with evidence.
			inWorld(t, 3, 1, func(t *testing.T, w *world) {
				puppet, err := sign(w, holes{noRequest: true})
				blames(t, "b", err, true)
				if cheat, _ := mpc.AsCheat(err); cheat != nil {
					if _, from, err := mpc.VerifyStatement(w.ids["b"], cheat.Evidence); err != nil || from != "a" {
						t.Errorf("evidence does not verify: %v", err)
					}
				}
				if puppet.Got["b run0/z"] != nil {
					t.Error("b released a share")
				}
			})
			// With both, b releases a share, and a has signed something else.
			inWorld(t, 3, 1, func(t *testing.T, w *world) {
				if puppet, err := sign(w, holes{noRequest: true, noStatements: true}); puppet.Got["b run0/z"] == nil {
					t.Errorf("without equal statements b still releases nothing: %v", err)
				}
			})
		})
	}
}

// Rule 3, the view digest: a commits to other nonces towards c than towards b.
// Without equal views, b and c release shares of signatures with different R
// under one label. That alone gives nothing away, for each uses its nonces
// once; but they have not agreed on what they sign.
func TestSplitCommitments(t *testing.T) {
	other := new(edwards25519.Point).ScalarBaseMult(smallScalar(7)).Bytes()
	attack := func(w *world) (released bool, errs map[mpc.PartyID]error) {
		w.corrupt(func(_ *puppet, _ context.Context, to mpc.PartyID, round string, b []byte) []byte {
			if round == "chunk0/commit" && to == "c" {
				copy(b, other)
			}
			return b
		})
		errs = w.prepare(w.key().ID, allABC, 1)
		for _, p := range allABC {
			if errs[p] != nil {
				return false, errs
			}
		}
		puppet := w.corrupt(nil)
		_, errs = w.signMessages(allABC, message)
		return puppet.Got["b run0/z"] != nil && puppet.Got["c run0/z"] != nil, errs
	}
	inWorld(t, 3, 1, func(t *testing.T, w *world) {
		released, errs := attack(w)
		if released {
			t.Error("b and c released shares of different signatures")
		}
		blames(t, "b", errs["b"], false)
		blames(t, "c", errs["c"], false)
	})
	inWorld(t, 3, 1, func(t *testing.T, w *world) {
		w.setHoles(holes{noView: true})
		if released, errs := attack(w); !released {
			t.Errorf("without equal views the attack fails: %v", errs)
		}
	})
}

// A share of a signature that is not right is refused, and its sender named;
// without the final check a signature leaves that is none.
func TestWrongShare(t *testing.T) {
	for name, alter := range map[string]func(b []byte) []byte{
		"another scalar": func(b []byte) []byte { copy(b, one().Bytes()); return b },
		// Their sum is right, which a combination without coefficients takes.
		"two that cancel": func(b []byte) []byte {
			x, y := new(edwards25519.Scalar), new(edwards25519.Scalar)
			if _, err := x.SetCanonicalBytes(b[:32]); err != nil {
				t.Error(err)
			}
			if _, err := y.SetCanonicalBytes(b[32:]); err != nil {
				t.Error(err)
			}
			return append(x.Add(x, one()).Bytes(), y.Subtract(y, one()).Bytes()...)
		},
		"no scalar": func(b []byte) []byte { copy(b, bytes.Repeat([]byte{0xff}, 32)); return b },
		"short":     func(b []byte) []byte { return b[1:] },
		"none":      func([]byte) []byte { return nil },
	} {
		for _, set := range []mpc.SignerSet{pairAB, allABC} {
			t.Run(fmt.Sprint(name, " ", set), func(t *testing.T) {
				inWorld(t, 3, 1, func(t *testing.T, w *world) {
					w.mustPrepare(set, 2)
					w.corrupt(replace("run0/z", alter))
					_, errs := w.signMessages(set, message, message)
					for _, p := range set[1:] {
						blames(t, p, errs[p], true)
					}
				})
			})
		}
	}
	inWorld(t, 3, 1, func(t *testing.T, w *world) {
		w.setHoles(holes{noFinalCheck: true})
		w.mustPrepare(pairAB, 1)
		w.corrupt(replace("run0/z", func(b []byte) []byte { copy(b, one().Bytes()); return b }))
		sigs, errs := w.signMessages(pairAB, message)
		if errs["b"] != nil || w.key().verify(message, sigs["b"][0][0]) {
			t.Errorf("without the final check, b's signature is right or missing: %v", errs["b"])
		}
	})
}

// Commitments to nonces that are no points of prime order are refused when the
// tuple is made, and their sender named.
func TestWrongCommitments(t *testing.T) {
	low := make([]byte, 32) // of order 4
	identity := edwards25519.NewIdentityPoint().Bytes()
	notReduced := append([]byte{0xee}, append(bytes.Repeat([]byte{0xff}, 30), 0x7f)...) // the identity again
	for name, with := range map[string][]byte{
		"low order": low, "identity": identity, "not reduced": notReduced, "no point": bytes.Repeat([]byte{2}, 32),
	} {
		for _, at := range []int{0, 32} {
			t.Run(fmt.Sprint(name, at), func(t *testing.T) {
				inWorld(t, 3, 1, func(t *testing.T, w *world) {
					w.corrupt(replace("chunk0/commit", func(b []byte) []byte { copy(b[at:], with); return b }))
					errs := w.prepare(w.key().ID, allABC, 2)
					blames(t, "b", errs["b"], true)
					if len(w.stores["b"].Order) != 0 {
						t.Error("b keeps the chunk")
					}
				})
			})
		}
	}
}

// Key generation: whatever a sends that does not fit is refused, and a named.
func TestWrongKeyGeneration(t *testing.T) {
	identity := edwards25519.NewIdentityPoint().Bytes()
	for name, c := range map[string]struct {
		alter mpctest.Alter
		named bool
	}{
		"hello too short":           {replace("hello", func(b []byte) []byte { return b[1:] }), true},
		"other than committed":      {replace("key/open", func(b []byte) []byte { b[len(b)-1] ^= 1; return b }), true},
		"short":                     {replace("key/open", func(b []byte) []byte { return b[:32] }), true},
		"share that does not fit":   {replace("key/share", func(b []byte) []byte { b[0] ^= 1; return b }), true},
		"share that is no scalar":   {replace("key/share", func([]byte) []byte { return bytes.Repeat([]byte{0xff}, 32) }), true},
		"share too long":            {replace("key/share", func(b []byte) []byte { return append(b, 0) }), true},
		"nonce in the test":         {replace("test/commit", func(b []byte) []byte { copy(b, identity); return b }), true},
		"share of the test":         {replace("test/z", func(b []byte) []byte { b[0] ^= 1; return b }), true},
		"endorsement":               {replace("key/endorse", func(b []byte) []byte { b[len(b)-1] ^= 1; return b }), true},
		"endorsement of other keys": {replace("key/endorse", func(b []byte) []byte { b[0] ^= 1; return b }), true},
		"view of the polynomials":   {replace("key/view", func(b []byte) []byte { b[0] ^= 1; return b }), false},
		"view of the test":          {replace("test/view", func(b []byte) []byte { b[0] ^= 1; return b }), false},
		"greeted differently": {func(_ *puppet, _ context.Context, to mpc.PartyID, round string, b []byte) []byte {
			if round == "hello" && to == "b" {
				b[0] ^= 1
			}
			return b
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, 3, 1, chunkSize)
				w.corrupt(c.alter)
				errs := w.generate(holes{}, "zsk")
				blames(t, "b", errs["b"], c.named)
				if len(w.keys["b"]) > 0 || len(w.keys["c"]) > 0 {
					t.Error("there is a key")
				}
			})
		})
	}
}

// Key generation: what a opens is checked although it is what a committed to,
// which the hole stands for.
func TestWrongPolynomial(t *testing.T) {
	low := make([]byte, 32) // of order 4
	for name, alter := range map[string]func(b []byte) []byte{
		"constant of low order": func(b []byte) []byte { copy(b, low); return b },
		"slope of low order":    func(b []byte) []byte { copy(b[32:], low); return b },
		"somebody else's":       func(b []byte) []byte { copy(b, edwards25519.NewGeneratorPoint().Bytes()); return b },
		"proof of low order":    func(b []byte) []byte { copy(b[64:], low); return b },
		"proof is no scalar":    func(b []byte) []byte { copy(b[96:], bytes.Repeat([]byte{0xff}, 32)); return b },
		"longer":                func(b []byte) []byte { return append(b, b[:32]...) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, 3, 1, chunkSize)
				w.corrupt(replace("key/open", alter))
				errs := w.generate(holes{noKeyCommit: true}, "zsk")
				blames(t, "b", errs["b"], true)
				if len(w.keys["b"]) > 0 {
					t.Error("b has a key")
				}
			})
		})
	}
}

// Key generation: a rushing operator chooses its polynomial last, so that the
// public key is its own. (With t = 1 and one honest operator it can also give
// a share that fits; with more it would lack the others'.)
func TestRogueKey(t *testing.T) {
	mine := smallScalar(666)
	attack := func(h holes) (stolen bool, errs map[mpc.PartyID]error) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, 2, 1, chunkSize)
			xb, _ := w.group.X("b")
			given := smallScalar(5) // a's share for b
			w.corrupt(func(p *puppet, ctx context.Context, _ mpc.PartyID, round string, b []byte) []byte {
				switch round {
				case "key/open":
					theirs, err := new(edwards25519.Point).SetBytes(p.Look(ctx, "b", round)[:32])
					if err != nil {
						t.Error(err)
						return b
					}
					// φ₀ = mine·G - theirs, and φ₁ such that φ₀ + x·φ₁ = given·G.
					constant := new(edwards25519.Point).ScalarBaseMult(mine)
					constant.Subtract(constant, theirs)
					slope := new(edwards25519.Point).ScalarBaseMult(given)
					slope.Subtract(slope, constant)
					slope.ScalarMult(new(edwards25519.Scalar).Invert(smallScalar(xb)), slope)
					copy(b, constant.Bytes())
					copy(b[32:], slope.Bytes())
				case "key/share":
					return given.Bytes()
				}
				return b
			})
			errs = w.generate(h, "zsk")
			stolen = len(w.keys["b"]) > 0 && w.keys["b"][0].Public.Equal(new(edwards25519.Point).ScalarBaseMult(mine)) == 1
		})
		return stolen, errs
	}
	// a's own code knows nothing of what its puppet sent; views and transcripts
	// are those of a's own polynomial, which the adversary would mend.
	for _, c := range []struct {
		name string
		h    holes
	}{
		{"as it is", holes{}},
		{"with commitments alone", holes{noProof: true, noTestSign: true, noTranscript: true, noKeyView: true}},
		{"with proofs of possession alone", holes{noKeyCommit: true, noTestSign: true, noTranscript: true, noKeyView: true}},
		{"with the test signature alone", holes{noKeyCommit: true, noProof: true, noTranscript: true, noKeyView: true}},
	} {
		if stolen, errs := attack(c.h); stolen || errs["b"] == nil {
			t.Errorf("%s: key stolen: %v, errors %v", c.name, stolen, errs)
		}
	}
	if stolen, errs := attack(holes{noKeyCommit: true, noProof: true, noTestSign: true, noTranscript: true, noKeyView: true}); !stolen {
		t.Errorf("without defences the attack fails: %v", errs)
	}
}

// Key generation: a opens different polynomials to b and c, who then hold
// different public keys.
func TestSplitKey(t *testing.T) {
	attack := func(h holes) (split bool, errs map[mpc.PartyID]error) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, 3, 1, chunkSize)
			other := []*edwards25519.Scalar{smallScalar(3), smallScalar(4)}
			xc, _ := w.group.X("c")
			w.corrupt(func(_ *puppet, _ context.Context, to mpc.PartyID, round string, b []byte) []byte {
				if to != "c" {
					return b
				}
				switch round {
				case "key/open":
					for i, c := range other {
						copy(b[32*i:], new(edwards25519.Point).ScalarBaseMult(c).Bytes())
					}
				case "key/share":
					return evaluate(other, xc).Bytes()
				}
				return b
			})
			h.noKeyCommit, h.noProof = true, true // a can commit and prove to each apart
			errs = w.generate(h, "zsk")
			b, c := w.keys["b"], w.keys["c"]
			split = len(b) > 0 && len(c) > 0 && b[0].PublicKey() != c[0].PublicKey()
		})
		return split, errs
	}
	for _, h := range []holes{
		{},
		{noTestSign: true, noTranscript: true},
		{noKeyView: true, noTranscript: true},
		{noKeyView: true, noTestSign: true},
	} {
		if split, errs := attack(h); split || errs["b"] == nil || errs["c"] == nil {
			t.Errorf("holes %+v: b and c hold different keys: %v, errors %v", h, split, errs)
		}
	}
	if split, errs := attack(holes{noKeyView: true, noTestSign: true, noTranscript: true}); !split {
		t.Errorf("without defences the attack fails: %v", errs)
	}
}

// Key generation: a share that does not fit its commitments leaves c with a
// share that signs nothing; the test signature finds it, but blames c.
func TestWrongShareOfKey(t *testing.T) {
	attack := func(h holes) (errs map[mpc.PartyID]error) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, 3, 1, chunkSize)
			w.corrupt(func(_ *puppet, _ context.Context, to mpc.PartyID, round string, b []byte) []byte {
				if round == "key/share" && to == "c" {
					b[0] ^= 1
				}
				return b
			})
			errs = w.generate(h, "zsk")
		})
		return errs
	}
	blames(t, "c", attack(holes{})["c"], true)
	if cheat, ok := mpc.AsCheat(attack(holes{noShareCheck: true})["b"]); !ok || !slices.Contains(cheat.Parties, "c") {
		t.Errorf("without the check of shares, b does not blame c, who did nothing: %v", cheat)
	}
}

// Why binding factors: Drijvers et al. (S&P 2019), by the attack of Benhamouda
// et al., "On the (in)security of ROS" (EUROCRYPT 2021). Commitments of 253
// tuples are known before the messages are chosen, as ours are. When R does not
// depend on the message, choosing between two for each makes the challenges add
// up to one for a message that was never signed.
func TestDrijvers(t *testing.T) {
	const tuples = 253 // bits of the group's order
	forged := []byte("www.example.org. A 203.0.113.66")
	toInt := func(s *edwards25519.Scalar) *big.Int {
		b := s.Bytes()
		slices.Reverse(b)
		return new(big.Int).SetBytes(b)
	}
	inverse := func(s *edwards25519.Scalar) *edwards25519.Scalar { return new(edwards25519.Scalar).Invert(s) }
	attack := func(t *testing.T, w *world) bool {
		for _, s := range w.signers {
			s.cfg.ChunkSize = tuples
		}
		w.mustPrepare(pairAB, tuples)
		s := w.stores["a"]
		own, err := decodeTuples(s.Chunks[s.Order[0]].Blob, 2, 0, tuples)
		if err != nil {
			t.Fatal(err)
		}
		q, err := w.key().newQuorum(pairAB, w.signers["a"].holes)
		if err != nil {
			t.Fatal(err)
		}
		at := func(i, bit int) (string, *signing) {
			m := fmt.Sprintf("harmless %d %d", i, bit)
			g, err := q.prepare([]byte(m), own.slice(i, 1).commitments)
			if err != nil {
				t.Fatal(err)
			}
			return m, g
		}
		// With c⁰, c¹ the challenges of tuple i, b(c) = (c-c⁰)/(c¹-c⁰) is 0 or 1.
		// R* = Σ 2ⁱ/(c¹-c⁰)·Rᵢ, and the bits of c* - Σ 2ⁱ·c⁰/(c¹-c⁰) choose.
		factors := make([]*edwards25519.Scalar, tuples)
		forgedR, offset := edwards25519.NewIdentityPoint(), new(edwards25519.Scalar)
		power, two := one(), smallScalar(2)
		for i := range tuples {
			_, g0 := at(i, 0)
			_, g1 := at(i, 1)
			factors[i] = new(edwards25519.Scalar).Multiply(power, inverse(new(edwards25519.Scalar).Subtract(g1.challenge, g0.challenge)))
			r, err := decodePoint(g0.r[:])
			if err != nil {
				t.Fatal(err)
			}
			forgedR.Add(forgedR, new(edwards25519.Point).ScalarMult(factors[i], r))
			offset.MultiplyAdd(factors[i], g0.challenge, offset)
			power.Multiply(power, two)
		}
		challenge := hashScalar(forgedR.Bytes(), q.public[:], forged)
		bits := toInt(challenge.Subtract(challenge, offset))
		messages := make([]string, tuples)
		for i := range messages {
			messages[i], _ = at(i, int(bits.Bit(i)))
		}
		// All that a asks for is signed, honestly: Σ factorᵢ·cᵢ is c*.
		sigs, errs := w.signMessages(pairAB, messages...)
		w.must(errs)
		z := new(edwards25519.Scalar)
		for i, sig := range sigs["a"][0] {
			z.MultiplyAdd(factors[i], decoded(t, sig[32:]), z)
		}
		sig := append(forgedR.Bytes(), z.Bytes()...)
		return ed25519.Verify(q.public[:], forged, sig)
	}
	inWorld(t, 3, 1, func(t *testing.T, w *world) {
		if attack(t, w) {
			t.Error("a has a signature on a message that nobody signed")
		}
	})
	inWorld(t, 3, 1, func(t *testing.T, w *world) {
		w.setHoles(holes{noBinding: true})
		if !attack(t, w) {
			t.Error("without binding factors the attack fails")
		}
	})
}
