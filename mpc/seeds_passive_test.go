package mpc_test

import (
	"errors"
	"testing"

	"zonesigner/mpc"
)

// What the passive form still sees: who came for something else, and a greeting
// of another length. What it does not: that operators are greeted differently.
// They then have different ids, with which every view begins.
func TestPassiveSeeds(t *testing.T) {
	passive := func(_ mpc.PartyID, s mpc.SeedSetup) mpc.SeedSetup {
		s.Passive = true
		return s
	}
	for p, o := range makeSeeds(t, func(p mpc.PartyID, s mpc.SeedSetup) mpc.SeedSetup {
		s = passive(p, s)
		if p == "a" {
			s.Binding = []byte("another")
		}
		return s
	}, nil) {
		var bad *mpc.ArgumentError
		if !errors.As(o.err, &bad) || o.seeds != nil {
			t.Errorf("another binding: %s has %d seeds, %v", p, len(o.seeds), o.err)
		}
	}
	for what, alter := range map[string]func([]byte) []byte{
		"cut":    func(b []byte) []byte { return b[:len(b)-1] },
		"longer": func(b []byte) []byte { return append(b, 0) },
		"empty":  func([]byte) []byte { return nil },
	} {
		got := makeSeeds(t, passive, func(to mpc.PartyID, _ string, b []byte) []byte {
			if to == "b" {
				return alter(b)
			}
			return b
		})
		if cheat, ok := mpc.AsCheat(got["b"].err); !ok || cheat.Disputed || cheat.Parties[0] != "a" || got["b"].seeds != nil {
			t.Errorf("a greeting that is %s: b has %d seeds and says %v, want a named", what, len(got["b"].seeds), got["b"].err)
		}
	}
	got := makeSeeds(t, passive, func(to mpc.PartyID, _ string, b []byte) []byte {
		if to == "b" {
			b[0] ^= 1 // of the nonce
		}
		return b
	})
	if got["b"].err != nil || got["c"].err != nil || got["b"].id == got["c"].id || got["c"].id != got["d"].id {
		t.Errorf("greeted differently, b has id %s, c %s and d %s: %v, %v", got["b"].id, got["c"].id, got["d"].id, got["b"].err, got["c"].err)
	}
}
