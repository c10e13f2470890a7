package frost

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"filippo.io/edwards25519"
	"pgregory.net/rapid"

	"zonesigner/mpc"
)

// deal splits a key for the world's parties.
func (w *world) deal(seed []byte) []Dealt {
	w.t.Helper()
	d, shares, err := Deal(w.group, seed)
	if err != nil {
		w.t.Fatal(err)
	}
	var dealt []Dealt
	for _, s := range shares {
		dealt = append(dealt, Dealt{d, s})
	}
	return dealt
}

// bring lets every party import one key, given in the group's order.
func (w *world) bring(dealt []Dealt, h holes) map[mpc.PartyID]error {
	w.t.Helper()
	return w.among(w.group.Parties, func(ctx context.Context, net mpc.Network) error {
		x, _ := w.group.X(net.Self())
		keys, err := importKeys(ctx, net, w.ids[net.Self()], w.group, [][]byte{[]byte("zsk")}, []Dealt{dealt[x-1]}, h)
		w.mu.Lock()
		defer w.mu.Unlock()
		w.keys[net.Self()] = append(w.keys[net.Self()], keys...)
		return err
	})
}

var ownedSeed = bytes.Repeat([]byte{5}, ed25519.SeedSize)

// A key that its owner had before signs under the same public key.
func TestImportedKeySigns(t *testing.T) {
	for _, nt := range [][2]int{{3, 1}, {3, 2}, {5, 2}} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, nt[0], nt[1], chunkSize)
			w.must(w.bring(w.deal(ownedSeed), holes{}))
			set := mpc.NewSignerSet(w.group.Parties[:nt[1]+1]...)
			w.mustPrepare(set, 2)
			sigs, errs := w.signMessages(set, "www.example. A 192.0.2.1")
			w.must(errs)
			public := ed25519.NewKeyFromSeed(ownedSeed).Public().(ed25519.PublicKey)
			for p, s := range sigs {
				if !ed25519.Verify(public, []byte("www.example. A 192.0.2.1"), s[0][0][:]) {
					t.Errorf("n, t = %v: what %s signs is not of the owner's key", nt, p)
				}
			}
		})
	}
}

// Every share that is dealt fits its owner alone, the public part survives its
// encoding and has the key that the seed has.
func TestDealing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(2, 7).Draw(t, "n")
		g := mpc.Group{T: rapid.IntRange(1, n-1).Draw(t, "t")}
		for i := range n {
			g.Parties = append(g.Parties, mpc.PartyID(fmt.Sprint(i)))
		}
		seed := rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "seed")
		d, shares, err := Deal(g, seed)
		if err != nil {
			t.Fatal(err)
		}
		text, err := d.AppendBinary(nil)
		if err != nil {
			t.Fatal(err)
		}
		if d, err = DecodeDealing(g, text); err != nil {
			t.Fatal(err)
		}
		if public := d.PublicKey(); !bytes.Equal(public[:], ed25519.NewKeyFromSeed(seed).Public().(ed25519.PublicKey)) {
			t.Fatal("the dealing is of another key")
		}
		for i, p := range g.Parties {
			if err := d.Fits(g, p, shares[i]); err != nil {
				t.Fatal(err)
			}
			if d.Fits(g, g.Parties[(i+1)%n], shares[i]) == nil {
				t.Fatalf("the share of %s fits another operator", p)
			}
		}
	})
}

// b is dealt a share that does not fit: it says so before anything is sent.
// Without that check the others find that it cannot prove it.
func TestShareThatDoesNotFit(t *testing.T) {
	for _, h := range []holes{{}, {noDealt: true}} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, 3, 1, chunkSize)
			dealt := w.deal(ownedSeed)
			x, _ := w.group.X("b")
			dealt[x-1].Share = new(edwards25519.Scalar).Add(dealt[x-1].Share, one())
			errs := w.bring(dealt, h)
			var bad *mpc.ArgumentError
			if !h.noDealt && (!errors.As(errs["b"], &bad) || !strings.Contains(bad.Error(), "not the one that its public share says")) {
				t.Errorf("b says %v", errs["b"])
			}
			cheat, found := mpc.AsCheat(errs["c"])
			if h.noDealt && (!found || cheat.Parties[0] != "b") {
				t.Errorf("c says %v", errs["c"])
			}
			for p := range errs {
				if errs[p] == nil || len(w.keys[p]) > 0 {
					t.Errorf("operator %s keeps the key: %v", p, errs[p])
				}
			}
		})
	}
}

// a shows no proof that it has its share, or b's. Without the check nobody
// notices until a has to sign.
func TestShareThatIsNotThere(t *testing.T) {
	attack := func(t *testing.T, h holes, alter func(p *puppet, ctx context.Context, b []byte) []byte) (errs map[mpc.PartyID]error) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, 3, 1, chunkSize)
			w.corrupt(func(p *puppet, ctx context.Context, _ mpc.PartyID, round string, b []byte) []byte {
				if round == "key/prove" {
					return alter(p, ctx, b)
				}
				return b
			})
			errs = w.bring(w.deal(ownedSeed), h)
		})
		return errs
	}
	for name, alter := range map[string]func(p *puppet, ctx context.Context, b []byte) []byte{
		"wrong":     func(_ *puppet, _ context.Context, b []byte) []byte { b[40] ^= 1; return b },
		"another's": func(p *puppet, ctx context.Context, _ []byte) []byte { return p.Look(ctx, "b", "key/prove") },
		"cut":       func(_ *puppet, _ context.Context, b []byte) []byte { return b[1:] },
	} {
		errs := attack(t, holes{}, alter)
		blames(t, "b", errs["b"], true)
		blames(t, "c", errs["c"], true)
		if errs = attack(t, holes{noProof: true, noTestSign: true}, alter); errs["b"] != nil || errs["c"] != nil {
			t.Errorf("%s: without the check the attack fails: %v", name, errs)
		}
	}
}

func TestDealRefuses(t *testing.T) {
	g := mpc.Group{T: 1, Parties: []mpc.PartyID{"a", "b", "c"}}
	if _, _, err := Deal(g, ownedSeed[1:]); err == nil {
		t.Error("a seed of 31 bytes is dealt")
	}
	if _, _, err := Deal(mpc.Group{T: 3, Parties: g.Parties}, ownedSeed); err == nil {
		t.Error("a key is dealt with a threshold of n")
	}
	if got := fmt.Sprintf("%v %+v %#v", Dealt{}, Dealt{}, Dealt{}); strings.Count(got, "frost.Dealt(secret)") != 3 {
		t.Errorf("a dealt share prints %s", got)
	}
}

func FuzzDecodeDealing(f *testing.F) {
	g := mpc.Group{T: 1, Parties: []mpc.PartyID{"a", "b", "c"}}
	base := edwards25519.NewGeneratorPoint().Bytes()
	f.Add(append(bytes.Clone(base), base...))
	f.Add(base)
	f.Add(make([]byte, 64))
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := DecodeDealing(g, b)
		if err != nil {
			return
		}
		if again, err := d.AppendBinary(nil); err != nil || !bytes.Equal(again, b) {
			t.Fatalf("what was read encodes differently: %v", err)
		}
		_ = d.Fits(g, "a", one())
	})
}
