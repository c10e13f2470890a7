package cggmp

import (
	"context"
	"crypto/rand"
	"errors"
	"maps"
	"strings"
	"sync"
	"testing"

	"github.com/taurusgroup/multi-party-sig/protocols/cmp"

	"zonesigner/mpc"
	"zonesigner/mpc/p256"
)

// parameters are those that go with the key in testdata, for the first n of its
// operators: they serve any key, and are there at once.
func parameters(t testing.TB, n int) func(self mpc.PartyID) *cmp.Config {
	t.Helper()
	w := fixtureWorld(t)
	var mu sync.Mutex
	return func(self mpc.PartyID) *cmp.Config {
		mu.Lock()
		defer mu.Unlock()
		c := *w.keys[self].config
		c.Public = maps.Clone(c.Public)
		for _, p := range w.group.Parties[n:] {
			delete(c.Public, libraryID(w.group, p))
		}
		for id, public := range c.Public {
			own := *public
			c.Public[id] = &own
		}
		return &c
	}
}

// dealKey splits a key for the world's parties.
func (w *world) dealKey(secret p256.Scalar) []mpc.Dealt {
	w.t.Helper()
	d, shares, err := mpc.Deal(w.group, Dealer{}, secret, rand.Reader)
	if err != nil {
		w.t.Fatal(err)
	}
	var dealt []mpc.Dealt
	for _, s := range shares {
		dealt = append(dealt, mpc.Dealt{Dealing: d, Share: s})
	}
	return dealt
}

// bring lets every party import one key, given in the group's order; hole says
// which defences a party has not.
func (w *world) bring(dealt []mpc.Dealt, hole func(p mpc.PartyID) holes) map[mpc.PartyID]error {
	w.t.Helper()
	return w.among(w.group.Parties, func(ctx context.Context, net mpc.Network) error {
		x, _ := w.group.X(net.Self())
		made, err := importKeys(ctx, net, w.ids[net.Self()], w.group, [][]byte{[]byte("example. ksk")}, []mpc.Dealt{dealt[x-1]}, hole(net.Self()))
		if err != nil {
			return err
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		w.keys[net.Self()] = made[0]
		return nil
	})
}

// all gives every party the same holes.
func all(h holes) func(mpc.PartyID) holes { return func(mpc.PartyID) holes { return h } }

// A key that its owner had before signs as it did, with shares as they come
// back from disk.
func TestImportedKeySigns(t *testing.T) {
	secret := random(t)
	w := newWorld(t, 2, 1)
	for p, err := range w.bring(w.dealKey(secret), all(holes{parameters: parameters(t, 2)})) {
		if err != nil {
			t.Fatalf("import at %s: %v", p, err)
		}
	}
	for _, p := range w.group.Parties {
		b, err := w.keys[p].MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		k := new(KeyShare)
		if err := k.UnmarshalBinary(b); err != nil {
			t.Fatal(err)
		}
		if w.keys[p] = k; !k.Public.Equal(p256.BaseMult(secret)) || k.ID != w.key().ID {
			t.Errorf("operator %s has another key", p)
		}
	}
	w.prepareAndSign(mpc.NewSignerSet("a", "b"), 1)
}

// A dealer gives b a share that is not the one that its public share says, or
// shares that are on no line, or of another key. b finds out by itself, before
// anything is sent, and without that a would blame b for what the dealer did.
func TestInconsistentDealing(t *testing.T) {
	secret, off := p256.NewScalar(12345), p256.NewScalar(7)
	for _, c := range []struct {
		name string
		deal func(w *world) []mpc.Dealt
		want string
	}{
		{"a share that does not fit", func(w *world) []mpc.Dealt {
			dealt := w.dealKey(secret)
			dealt[1].Share = []p256.Scalar{dealt[1].Share[0].Add(off)}
			return dealt
		}, "the share of operator b is not the one that its public share says"},
		{"shares on no line", func(w *world) []mpc.Dealt {
			dealt := w.dealKey(secret)
			dealt[1].Share = []p256.Scalar{dealt[1].Share[0].Add(off)}
			dealt[1].Words[1] = p256.BaseMultBatch(dealt[1].Share)
			return dealt
		}, "on no polynomial of degree 1"},
		{"shares of another key", func(w *world) []mpc.Dealt {
			dealt := w.dealKey(secret)
			dealt[0].Public = p256.BaseMult(off)
			return dealt
		}, "those of another key"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, 3, 1)
			var v watch
			w.watched(&v, nil)
			errs := w.bring(c.deal(w), all(holes{}))
			var bad *mpc.ArgumentError
			if !errors.As(errs["b"], &bad) || !strings.Contains(bad.Error(), c.want) {
				t.Errorf("b says %v, want %q", errs["b"], c.want)
			}
			if v.has("b", "hello") || len(w.keys) != 0 {
				t.Error("b went on")
			}
		})
	}
	w := newWorld(t, 2, 1)
	dealt := w.dealKey(secret)
	dealt[1].Share = []p256.Scalar{dealt[1].Share[0].Add(off)}
	errs := w.bring(dealt, all(holes{noDealt: true, parameters: parameters(t, 2)}))
	if blames(t, errs["a"], "b"); len(w.keys) != 0 {
		t.Error("a key of which b has no share is taken")
	}
}

// a says that it has its share and has not: it is named before anything is
// computed. (Without the proof presigning finds out, as in
// TestImportAnotherShare.)
func TestShareThatIsNotThere(t *testing.T) {
	w := newWorld(t, 2, 1)
	dealt := w.dealKey(p256.NewScalar(12345))
	dealt[0].Share = []p256.Scalar{p256.One()}
	var v watch
	w.watched(&v, nil)
	good := parameters(t, 2)
	errs := w.bring(dealt, func(p mpc.PartyID) holes { // a's code is the adversary's
		return holes{parameters: good, noDealt: p == "a", noProof: p == "a"}
	})
	blames(t, errs["b"], "a")
	if !strings.Contains(errs["b"].Error(), "proof that it knows its share") || v.has("b", "key0/test/2") {
		t.Errorf("b says %v", errs["b"])
	}
}

// a proves that it has its share, and then takes another one. What it multiplies
// by is proven to be the logarithm of its public share.
func TestImportAnotherShare(t *testing.T) {
	w := newWorld(t, 2, 1)
	dealt, good := w.dealKey(p256.NewScalar(12345)), parameters(t, 2)
	errs := w.bring(dealt, all(holes{parameters: func(self mpc.PartyID) *cmp.Config {
		if self == "a" { // between the proof and the key
			dealt[0].Share[0] = dealt[0].Share[0].Add(p256.One())
		}
		return good(self)
	}}))
	blames(t, errs["b"], "a")
	if !strings.Contains(errs["b"].Error(), "does not verify") || len(w.keys) != 0 {
		t.Errorf("b says %v", errs["b"])
	}
}

// Operators with files of two dealings of one key make none: their sessions are
// for different things. Were they not, the proofs would not fit.
func TestTwoDealings(t *testing.T) {
	for _, h := range []holes{{}, {noSame: true}} {
		w := newWorld(t, 2, 1)
		dealt, other := w.dealKey(p256.NewScalar(12345)), w.dealKey(p256.NewScalar(12345))
		dealt[1] = other[1]
		h.parameters = parameters(t, 2)
		for p, err := range w.bring(dealt, all(h)) {
			var bad *mpc.ArgumentError
			if !h.noSame && !errors.As(err, &bad) {
				t.Errorf("operator %s: %v", p, err)
			}
			if _, cheated := mpc.AsCheat(err); h.noSame && !cheated || w.keys[p] != nil {
				t.Errorf("bound to nothing, operator %s: %v", p, err)
			}
		}
	}
}
