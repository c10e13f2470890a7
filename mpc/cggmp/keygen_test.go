package cggmp

import (
	"context"
	"flag"
	"os"
	"sync"
	"testing"

	"zonesigner/mpc"
	"zonesigner/mpc/p256"
)

var makeKey = flag.Bool("make-key", false, "make the test key in testdata anew, which takes a minute")

// generate makes a key of all of w's group.
func (w *world) generate(label func(p mpc.PartyID) string) map[mpc.PartyID]error {
	w.t.Helper()
	var mu sync.Mutex
	return w.among(w.group.Parties, func(ctx context.Context, net mpc.Network) error {
		k, err := GenerateKey(ctx, net, w.ids[net.Self()], w.group, []byte(label(net.Self())))
		mu.Lock()
		defer mu.Unlock()
		w.keys[net.Self()] = k
		return err
	})
}

// TestGenerateKey makes a key for two (one of whom may cheat), checks that
// shares fit, and signs with what it was stored as.
func TestGenerateKey(t *testing.T) {
	n := 2
	if *makeKey {
		n = 3 // the key of fixtureWorld
	}
	w := newWorld(t, n, 1)
	var sent recorder
	sent.record(w, "a", "b")
	for p, err := range w.generate(func(mpc.PartyID) string { return "example. ksk" }) {
		if err != nil {
			t.Fatalf("at %s: %v", p, err)
		}
	}
	sent.refusesVariants(t, "key0", keygenStages(w.group.T))
	for p, k := range w.keys {
		if !k.Public.Equal(w.key().Public) || k.ID != w.key().ID {
			t.Errorf("%s holds another key", p)
		}
		i, _ := k.Group.X(p)
		if !p256.BaseMult(scalarOf(k.config.ECDSA)).Equal(k.PublicShares[i-1]) {
			t.Errorf("the share of %s is not that of its public share", p)
		}
		b, err := k.MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		var again KeyShare
		if err := again.UnmarshalBinary(b); err != nil {
			t.Fatal(err)
		}
		w.keys[p] = &again
		if *makeKey {
			if err := os.WriteFile(testKey(p), b, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	// Shamir shares at the points of the group: any t+1 give the key.
	opening, err := mpc.NewOpening(w.group, w.group.Parties, "", w.group.T)
	if err != nil {
		t.Fatal(err)
	}
	shares := make([][]p256.Scalar, n)
	for i, p := range w.group.Parties {
		shares[i] = []p256.Scalar{scalarOf(w.keys[p].config.ECDSA)}
	}
	sk, err := opening.Scalars("key", shares)
	if err != nil || !p256.BaseMult(sk[0]).Equal(w.key().Public) {
		t.Errorf("shares do not make the key: %v", err)
	}
	w.wrap = nil
	w.prepareAndSign(mpc.NewSignerSet("a", "b"), 1)
}

// TestGenerateKeyForDifferentThings shows that operators that were asked for
// different keys make none, before any computing.
func TestGenerateKeyForDifferentThings(t *testing.T) {
	w := newWorld(t, 2, 1)
	for p, err := range w.generate(func(p mpc.PartyID) string { return "example. for " + string(p) }) {
		if err == nil {
			t.Errorf("%s made a key", p)
		}
	}
}
