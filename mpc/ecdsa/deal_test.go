package ecdsa

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"pgregory.net/rapid"

	"zonesigner/mpc"
	"zonesigner/mpc/mascot"
	"zonesigner/mpc/mpctest"
	"zonesigner/mpc/p256"
	"zonesigner/mpc/rep3"
	"zonesigner/mpc/shamir"
)

var (
	alwaysThree    = [][2]int{{3, 1}}
	honestMajority = [][2]int{{3, 1}, {4, 1}, {5, 2}, {7, 3}}
	allButOne      = [][2]int{{2, 1}, {3, 2}}
)

// dealers are the engines that deal, with n and t of groups that they serve.
var dealers = []struct {
	Protocol
	sizes [][2]int
}{
	{Over(shamir.Passive()), honestMajority}, {Over(shamir.Active()), honestMajority},
	{Over(rep3.Passive()), alwaysThree}, {Over(rep3.Active()), alwaysThree},
	{Over(mascot.Full()), allButOne}, {Over(mascot.Minus()), allButOne},
}

// deal splits a key for the world's parties.
func (w *world) deal(secret p256.Scalar) []mpc.Dealt {
	w.t.Helper()
	d, shares, err := mpc.Deal(w.group, w.protocol.dealer(), secret, rand.Reader)
	if err != nil {
		w.t.Fatal(err)
	}
	var dealt []mpc.Dealt
	for _, s := range shares {
		dealt = append(dealt, mpc.Dealt{Dealing: d, Share: s})
	}
	return dealt
}

// bring lets every party import one key, given in the group's order.
func (w *world) bring(dealt []mpc.Dealt, h holes) map[mpc.PartyID]error {
	w.t.Helper()
	return w.all(func(ctx context.Context, net mpc.Network) error {
		x, _ := w.group.X(net.Self())
		made, err := importKeys(ctx, net, w.ids[net.Self()], w.group, w.protocol, [][]byte{[]byte("example. zsk")}, []mpc.Dealt{dealt[x-1]}, h)
		if err == nil {
			w.put(net.Self(), made[0])
		}
		return err
	})
}

// A key that its owner had before signs as it did, by two and by all, and all
// operators call it alike.
func TestImportedKeySigns(t *testing.T) {
	for _, d := range dealers {
		for _, size := range d.sizes {
			if n := size[0]; n <= 3 {
				t.Run(fmt.Sprintf("%s, %d", d.Name(), n), func(t *testing.T) { importAndSign(t, n, size[1], d.Protocol) })
			}
		}
	}
}

func importAndSign(t *testing.T, n, threshold int, engine Protocol) {
	t.Helper()
	secret, err := p256.RandomScalar(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, n, threshold, engine, 8)
	for p, err := range w.bring(w.deal(secret), holes{}) {
		if err != nil {
			t.Fatalf("import at %s: %v", p, err)
		}
	}
	for _, set := range []mpc.SignerSet{pairAB, mpc.NewSignerSet("b", "c"), allABC} {
		if engine.Signers(w.group, set) != nil {
			continue
		}
		w.mustPrepare(set, 2)
		sigs, errs := w.sign(w.request(set, message), nil)
		for _, p := range set {
			if errs[p] != nil || !p256.VerifySignature(p256.BaseMult(secret), sha256.Sum256([]byte(message)), sigs[p][0]) {
				t.Errorf("%s signs with the imported key: %v", p, errs[p])
			}
		}
	}
	for _, p := range w.group.Parties {
		if k := w.keys[p]; k.ID != w.key().ID || !k.Public.Equal(p256.BaseMult(secret)) {
			t.Errorf("operator %s has %v", p, k)
		}
		var again KeyShare
		if b, err := w.keys[p].MarshalBinary(); err != nil || again.UnmarshalBinary(b) != nil {
			t.Errorf("share of %s does not survive being kept: %v", p, err)
		}
	}
}

// What is dealt is a sharing: the key comes out of t+1 shares, the public part
// says so and survives its encoding, and each share fits its owner alone.
func TestDealing(t *testing.T) {
	for _, engine := range dealers {
		t.Run(engine.Name(), func(t *testing.T) {
			dealer := engine.dealer()
			rapid.Check(t, func(t *rapid.T) {
				nt := rapid.SampledFrom(engine.sizes).Draw(t, "n, t")
				g := mpctest.Group(nt[0], nt[1])
				secret := p256.ScalarFromWide(rapid.SliceOfN(rapid.Byte(), 48, 48).Draw(t, "key"))
				if secret.IsZero() {
					secret = p256.One()
				}
				d, shares, err := mpc.Deal(g, dealer, secret, rand.Reader)
				if err != nil {
					t.Fatal(err)
				}
				text, err := d.AppendBinary(nil)
				if err != nil {
					t.Fatal(err)
				}
				public, _ := d.Public.Bytes()
				back, err := mpc.DecodeDealing(g, dealer, public[:], text)
				if err != nil || back.Check(g, dealer) != nil {
					t.Fatalf("decoded: %v, %v", err, back.Check(g, dealer))
				}
				var signing [][]p256.Scalar
				for i, p := range g.Parties {
					if err := back.Fits(g, p, shares[i]); err != nil {
						t.Fatal(err)
					}
					if back.Fits(g, g.Parties[(i+1)%g.N()], shares[i]) == nil {
						t.Fatalf("the share of %s fits another operator", p)
					}
					form, err := dealer.SigningForm(g, p)
					if err != nil {
						t.Fatal(err)
					}
					signing = append(signing, []p256.Scalar{p256.InnerProduct(form, shares[i])})
				}
				order := rapid.Permutation(g.Parties).Draw(t, "operators")[:g.T+1]
				opening, err := mpc.NewOpening(g, order, "", g.T)
				if err != nil {
					t.Fatal(err)
				}
				var of [][]p256.Scalar
				for _, p := range order {
					of = append(of, signing[slices.Index(g.Parties, p)])
				}
				if got, err := opening.Scalars("key", of); err != nil || !got[0].Equal(secret) {
					t.Fatalf("%v open another key: %v", order, err)
				}
			})
		})
	}
}

// A dealer gives b a share that is not the one that its public share says, or
// shares that are on no line, or different copies of a part. It would leave the
// group with a key that only some can sign with. b finds out by itself before
// anything is sent; without that check the test signature does; without both
// the key is taken, and b and c cannot sign with it.
func TestInconsistentDealing(t *testing.T) {
	secret, off := p256.NewScalar(12345), p256.NewScalar(7)
	for _, c := range []struct {
		name   string
		engine [2]Protocol // active and passive
		deal   func(w *world) []mpc.Dealt
		want   string
	}{
		{"a share that does not fit", [2]Protocol{active(), passive()}, func(w *world) []mpc.Dealt {
			dealt := w.deal(secret)
			dealt[1].Share = []p256.Scalar{dealt[1].Share[0].Add(off)}
			return dealt
		}, "not the one that its public share says"},
		{"shares on no line", [2]Protocol{active(), passive()}, func(w *world) []mpc.Dealt {
			dealt := w.deal(secret)
			dealt[1].Share = []p256.Scalar{dealt[1].Share[0].Add(off)}
			dealt[1].Words[1] = p256.BaseMultBatch(dealt[1].Share)
			return dealt
		}, "on no polynomial of degree 1"},
		{"shares of another key", [2]Protocol{active(), passive()}, func(w *world) []mpc.Dealt {
			dealt := w.deal(secret)
			dealt[0].Public = p256.BaseMult(off)
			return dealt
		}, "those of another key"},
		{"different copies of a part", [2]Protocol{Over(rep3.Active()), Over(rep3.Passive())}, func(w *world) []mpc.Dealt {
			dealt := w.deal(secret)
			// Such that the signing form of b stays what it was.
			form, err := w.protocol.dealer().SigningForm(w.group, "b")
			if err != nil {
				w.t.Fatal(err)
			}
			s := dealt[1].Share
			dealt[1].Share = []p256.Scalar{s[0].Add(off.Mul(form[1])), s[1].Sub(off.Mul(form[0]))}
			dealt[1].Words[1] = p256.BaseMultBatch(dealt[1].Share)
			return dealt
		}, "different copies of a part"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				attack := func(engine Protocol, h holes) (w *world, errs map[mpc.PartyID]error) {
					w = newWorld(t, 3, 1, engine, 8)
					return w, w.bring(c.deal(w), h)
				}
				w, errs := attack(c.engine[0], holes{})
				var bad *mpc.ArgumentError
				if !errors.As(errs["b"], &bad) || !strings.Contains(bad.Error(), c.want) {
					t.Errorf("b says %v, want %q", errs["b"], c.want)
				}
				for p, err := range errs {
					if err == nil || w.keys[p] != nil {
						t.Errorf("operator %s keeps the key: %v", p, err)
					}
				}
				for _, engine := range c.engine {
					if _, errs = attack(engine, holes{noDealt: true, noProof: true}); errs["b"] == nil || errs["c"] == nil {
						t.Errorf("%s: without the checks of the dealing, the test signature passes: %v", engine.Name(), errs)
					}
				}
				// With the active engines, preparing the test's tuple is a check, too.
				w, errs = attack(c.engine[1], holes{noDealt: true, noProof: true, noTestSign: true})
				for p, err := range errs {
					if err != nil {
						t.Fatalf("without defences the import fails at %s: %v", p, err)
					}
				}
				set := mpc.NewSignerSet("b", "c")
				if errs := w.prepare(set, 1); errs["b"] != nil {
					return // not even tuples
				}
				if _, errs = w.sign(w.request(set, message), nil); errs["b"] == nil || errs["c"] == nil {
					t.Errorf("the attack is none: b and c sign, %v", errs)
				}
			})
		})
	}
}

// The same for two operators, of whom each would blame the other for it: so the
// dealing is looked at first. Without that the MACs tell, which is what has to
// stop who puts in another share than it was dealt (mascot.TestImportAnotherShare).
func TestInconsistentDealingForTwo(t *testing.T) {
	secret, off := p256.NewScalar(12345), p256.NewScalar(7)
	for _, c := range []struct {
		name string
		deal func(w *world) []mpc.Dealt
		want string
	}{
		{"a share that does not fit", func(w *world) []mpc.Dealt {
			dealt := w.deal(secret)
			dealt[1].Share = []p256.Scalar{dealt[1].Share[0].Add(off)}
			return dealt
		}, "the share of operator b is not the one that its public share says"},
		{"shares of another key", func(w *world) []mpc.Dealt {
			dealt := w.deal(secret)
			dealt[0].Public = p256.BaseMult(off)
			return dealt
		}, "those of another key"},
		{"a share of two words", func(w *world) []mpc.Dealt {
			dealt := w.deal(secret)
			dealt[0].Words[1] = append(dealt[0].Words[1], p256.Generator())
			dealt[1].Share = append(dealt[1].Share, p256.One())
			return dealt
		}, "a share of 2 words for operator b"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, 2, 1, Over(mascot.Full()), 8)
				errs := w.bring(c.deal(w), holes{})
				var bad *mpc.ArgumentError
				if !errors.As(errs["b"], &bad) || !strings.Contains(bad.Error(), c.want) || errs["a"] == nil {
					t.Errorf("b says %v, want %q; a says %v", errs["b"], c.want, errs["a"])
				}
				if strings.Contains(c.want, "words") {
					return // there is no way to go on with it
				}
				errs = w.bring(c.deal(w), holes{noDealt: true, noProof: true})
				if cheat, ok := mpc.AsCheat(errs["b"]); !ok || !strings.Contains(cheat.What, "does not fit its MAC") {
					t.Errorf("without the checks of the dealing b says %v", errs["b"])
				}
				if w.keys["a"] != nil || w.keys["b"] != nil {
					t.Error("the key is taken")
				}
			})
		})
	}
}

// a says that it has its share and has not: by what it sends, and with another's
// proof of this or an earlier session. Without the proofs all goes well until
// the test signature; without that too, the others hold a key that they think
// three can sign with.
func TestShareThatIsNotThere(t *testing.T) {
	secret := p256.NewScalar(12345)
	attack := func(t *testing.T, engine Protocol, h holes, alter func(p *puppet, ctx context.Context, b []byte) []byte) (errs map[mpc.PartyID]error) {
		synctest.Test(t, func(t *testing.T) {
			threshold := 1
			if engine.Name() == "mascot" {
				threshold = 2
			}
			w := newWorld(t, 3, threshold, engine, 8)
			dealt := w.deal(secret)
			w.corrupt(func(p *puppet, ctx context.Context, _ mpc.PartyID, round string, b []byte) []byte {
				if round == "key/prove" {
					return alter(p, ctx, b)
				}
				return b
			})
			errs = map[mpc.PartyID]error{}
			var mu sync.Mutex
			w.all(func(ctx context.Context, net mpc.Network) error {
				x, _ := w.group.X(net.Self())
				mine, h := dealt[x-1], h
				if net.Self() == "a" { // its code is the adversary's
					mine.Share = []p256.Scalar{p256.NewScalar(1)}
					h.noDealt = true
				}
				_, err := importKeys(ctx, net, w.ids[net.Self()], w.group, w.protocol, [][]byte{[]byte("zsk")}, []mpc.Dealt{mine}, h)
				mu.Lock()
				defer mu.Unlock()
				errs[net.Self()] = err
				return err
			})
		})
		return errs
	}
	for name, alter := range map[string]func(p *puppet, ctx context.Context, b []byte) []byte{
		"its own":   func(_ *puppet, _ context.Context, b []byte) []byte { return b },
		"another's": func(p *puppet, ctx context.Context, _ []byte) []byte { return p.Look(ctx, "b", "key/prove") },
		"cut":       func(_ *puppet, _ context.Context, b []byte) []byte { return b[:len(b)-1] },
		"none":      func(*puppet, context.Context, []byte) []byte { return nil },
	} {
		t.Run(name, func(t *testing.T) {
			for _, engine := range []Protocol{active(), Over(mascot.Full())} {
				errs := attack(t, engine, holes{}, alter)
				blames(t, "b", errs["b"], true)
				blames(t, "c", errs["c"], true)
			}
		})
	}
	own := func(_ *puppet, _ context.Context, b []byte) []byte { return b }
	if errs := attack(t, active(), holes{noProof: true}, own); errs["b"] == nil || errs["c"] == nil {
		t.Errorf("without the proofs the test signature passes: %v", errs)
	}
	errs := attack(t, Over(mascot.Full()), holes{noProof: true}, own)
	blames(t, "b", errs["b"], false) // by the MACs, which name nobody
	blames(t, "c", errs["c"], false)
	if errs := attack(t, passive(), holes{noProof: true, noTestSign: true}, own); errs["b"] != nil || errs["c"] != nil {
		t.Errorf("without proofs and test signature the attack fails: %v", errs)
	}
}

// Operators with files of two dealings of one key make none: their sessions are
// for different things. Were they not, the proofs would not fit, nor the test
// signature be one; without all that they take a key that b and c cannot sign
// with.
func TestTwoDealings(t *testing.T) {
	attack := func(t *testing.T, engine Protocol, threshold int, h holes) (w *world, errs map[mpc.PartyID]error) {
		w = newWorld(t, 3, threshold, engine, 8)
		dealt, other := w.deal(p256.NewScalar(12345)), w.deal(p256.NewScalar(12345))
		dealt[2] = other[2]
		return w, w.bring(dealt, h)
	}
	defended := func(t *testing.T, engine Protocol, threshold int) {
		w, errs := attack(t, engine, threshold, holes{})
		for p, err := range errs {
			var bad *mpc.ArgumentError
			if !errors.As(err, &bad) || w.keys[p] != nil {
				t.Errorf("operator %s: %v", p, err)
			}
		}
		for _, h := range []holes{{noSame: true}, {noSame: true, noProof: true}} {
			if _, errs := attack(t, engine, threshold, h); errs["a"] == nil || errs["b"] == nil || errs["c"] == nil {
				t.Errorf("with %+v the key is taken: %v", h, errs)
			}
		}
	}
	synctest.Test(t, func(t *testing.T) {
		defended(t, Over(mascot.Full()), 2)
		defended(t, passive(), 1)
		w, errs := attack(t, passive(), 1, holes{noSame: true, noProof: true, noTestSign: true, noTranscript: true})
		for p, err := range errs {
			if err != nil {
				t.Fatalf("without defences the import fails at %s: %v", p, err)
			}
		}
		if w.keys["b"].ID == w.keys["c"].ID {
			t.Error("the attack is none: all have one key")
		}
	})
}

func TestDealtPrintsNothing(t *testing.T) {
	w := newWorld(t, 3, 1, active(), 8)
	if got := fmt.Sprintf("%v %+v %#v", w.deal(p256.NewScalar(5))[0], w.deal(p256.NewScalar(5))[1], w.deal(p256.NewScalar(5))[2]); strings.Count(got, "mpc.Dealt(secret)") != 3 || strings.Contains(got, "0x") {
		t.Errorf("a dealt share prints %s", got)
	}
}

func TestDealRefuses(t *testing.T) {
	w := newWorld(t, 3, 1, active(), 8)
	dealer, err := Dealer(w.protocol)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := mpc.Deal(w.group, dealer, p256.Scalar{}, rand.Reader); err == nil {
		t.Error("zero is dealt as a key")
	}
	small := mpc.Group{Parties: w.group.Parties[:2], T: 1}
	if _, _, err := mpc.Deal(small, dealer, p256.NewScalar(5), rand.Reader); err == nil {
		t.Error("a key is dealt to a group that the engine does not support")
	}
	if _, _, err := mpc.Deal(w.group, dealer, p256.NewScalar(5), strings.NewReader("too short")); err == nil {
		t.Error("a key is dealt without randomness")
	}
}
