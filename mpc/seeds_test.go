package mpc_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"

	"zonesigner/mpc"
	"zonesigner/mpc/mpctest"
	"zonesigner/mpc/p256"
)

// outcome is what one party came out of NewSeeds with.
type outcome struct {
	id    mpc.SessionID
	seeds []mpc.Seed
	err   error
}

// makeSeeds is makeSeedsWith a as the cheat.
func makeSeeds(t *testing.T, change func(p mpc.PartyID, s mpc.SeedSetup) mpc.SeedSetup, alter func(to mpc.PartyID, round string, b []byte) []byte) map[mpc.PartyID]outcome {
	t.Helper()
	return makeSeedsWith(t, "a", change, mpctest.Blind(alter))
}

// makeSeedsWith runs NewSeeds among a, b, c and d, with alter between cheat and
// its network, for seeds of three holders.
func makeSeedsWith(t *testing.T, cheat mpc.PartyID, change func(p mpc.PartyID, s mpc.SeedSetup) mpc.SeedSetup, alter mpctest.Alter) map[mpc.PartyID]outcome {
	t.Helper()
	g := mpc.Group{Parties: []mpc.PartyID{"a", "b", "c", "d"}, T: 1}
	got := map[mpc.PartyID]outcome{}
	var mu sync.Mutex
	mpctest.Play(t, g.Parties, func(ctx context.Context, net mpc.Network) error {
		self := net.Self()
		if self == cheat {
			net = mpctest.NewPuppet(net, alter)
		}
		setup := mpc.SeedSetup{Engine: "test", Group: g, Binding: []byte("test"), Size: 3}
		if change != nil {
			setup = change(self, setup)
		}
		var o outcome
		o.id, o.seeds, o.err = mpc.NewSeeds(ctx, net, setup)
		mu.Lock()
		defer mu.Unlock()
		got[self] = o
		return nil
	})
	return got
}

// first is the first scalar of the seed's stream.
func first(a mpc.Seed, label string) (r p256.Scalar) {
	for _, r = range a.Stream(label).Scalars(1) {
	}
	return r
}

func TestSeeds(t *testing.T) {
	sessions := []map[mpc.PartyID]outcome{makeSeeds(t, nil, nil), makeSeeds(t, nil, nil)}
	byHolders := map[string]p256.Scalar{}
	seen := map[p256.Scalar]bool{}
	for i, session := range sessions {
		for p, o := range session {
			if o.err != nil || o.id != session["a"].id || len(o.seeds) != 3 {
				t.Fatalf("%s holds %d seeds of session %s: %v", p, len(o.seeds), o.id, o.err)
			}
			for _, a := range o.seeds {
				name := string(rune('0'+i)) + mpc.SignerSet(a.Holders).String()
				r, known := byHolders[name]
				if !known {
					byHolders[name] = first(a, "x")
					seen[byHolders[name]], seen[first(a, "y")] = true, true
				} else if r != first(a, "x") {
					t.Errorf("%s holds another seed of %s", p, name)
				}
				if !slices.Contains(a.Holders, p) {
					t.Errorf("%s holds the seed of %s", p, name)
				}
			}
		}
	}
	if len(byHolders) != 8 || len(seen) != 16 {
		t.Errorf("%d seeds give %d different scalars under two labels, want 8 and 16", len(byHolders), len(seen))
	}
}

// However a stream is cut into pieces, and whoever leaves a piece early, the
// scalars come in one order.
func TestSeedStream(t *testing.T) {
	a := makeSeeds(t, nil, nil)["a"].seeds[0]
	var whole, pieces []p256.Scalar
	for _, r := range a.Stream("x").Scalars(300) {
		whole = append(whole, r)
	}
	s := a.Stream("x")
	for _, n := range []int{0, 1, 64, 65, 170} {
		for i, r := range s.Scalars(n) {
			if i == 100 {
				break
			}
			pieces = append(pieces, r)
		}
	}
	if !slices.Equal(pieces, whole[:230]) {
		t.Error("the pieces differ from the whole")
	}
	if r, ok := next(s); !ok || slices.Contains(whole, r) {
		t.Error("after a piece that was left early the stream goes on in its middle")
	}
}

func next(s *mpc.SeedStream) (p256.Scalar, bool) {
	for _, r := range s.Scalars(1) {
		return r, true
	}
	return p256.Scalar{}, false
}

// A holder gives two others different contributions to their common seed, each
// with a fitting commitment, and agrees with each on the list. Without the
// comparison of lists two honest parties go on with different seeds, and hold
// shares of nothing.
func TestUnequalSeeds(t *testing.T) {
	other := [32]byte{42}
	attack := func(change func(mpc.PartyID, mpc.SeedSetup) mpc.SeedSetup) map[mpc.PartyID]outcome {
		return makeSeedsWith(t, "a", change, func(cheat *mpctest.Puppet, ctx context.Context, to mpc.PartyID, round string, b []byte) []byte {
			if to != "b" {
				return b
			}
			switch round { // the seed of a, b and c is the first
			case "seeds/hello":
				nonce, bound := b[:32], b[32:64]
				d := mpc.Digest("zonesigner seed commit v1", bound, nonce, []byte("a\nb\nc\n"), []byte("a"), other[:])
				copy(b[64:], d[:])
			case "seeds/reveal":
				copy(b[32:], other[:])
				if its := cheat.Look(ctx, "b", round); its != nil {
					copy(b[64:96], its[64:96])
				}
			}
			return b
		})
	}
	got := attack(nil)
	for _, p := range []mpc.PartyID{"b", "c"} {
		if cheat, ok := mpc.AsCheat(got[p].err); !ok || !cheat.Disputed || !slices.Contains(cheat.Parties, "a") || slices.Contains(cheat.Parties, "d") {
			t.Errorf("%s says %v, want the other holders of its seed disputed", p, got[p].err)
		}
	}
	got = attack(func(_ mpc.PartyID, s mpc.SeedSetup) mpc.SeedSetup { return s.WithoutLists() })
	if got["b"].err != nil || got["c"].err != nil || first(got["b"].seeds[0], "x") == first(got["c"].seeds[0], "x") {
		t.Errorf("without the comparison the attack fails: %v, %v", got["b"].err, got["c"].err)
	}
}

// A holder opens to b what it committed to, and something else to c. Who was
// opened the right thing goes on, with the right seeds.
func TestOneIsOpenedAnother(t *testing.T) {
	got := makeSeeds(t, nil, func(to mpc.PartyID, round string, b []byte) []byte {
		if round == "seeds/reveal" && to == "c" {
			b[32] ^= 1
		}
		return b
	})
	if cheat, ok := mpc.AsCheat(got["c"].err); !ok || cheat.Disputed || cheat.Parties[0] != "a" {
		t.Errorf("c says %v, want a named", got["c"].err)
	}
	for _, p := range []mpc.PartyID{"b", "d"} {
		if got[p].err != nil {
			t.Fatalf("%s says %v", p, got[p].err)
		}
	}
	common := 0
	for _, x := range got["b"].seeds {
		for _, y := range got["d"].seeds {
			if slices.Equal(x.Holders, y.Holders) {
				common++
				if first(x, "x") != first(y, "x") {
					t.Errorf("b and d hold different seeds of %v", x.Holders)
				}
			}
		}
	}
	if common != 2 {
		t.Errorf("b and d have %d seeds in common, want 2", common)
	}
}

// Of a pair's seed, who lists other commitments is named.
func TestWrongListOfPair(t *testing.T) {
	got := makeSeeds(t, func(_ mpc.PartyID, s mpc.SeedSetup) mpc.SeedSetup {
		s.Size = 2
		return s
	}, func(to mpc.PartyID, round string, b []byte) []byte {
		if round == "seeds/reveal" && to == "b" {
			b[64] ^= 1
		}
		return b
	})
	if cheat, ok := mpc.AsCheat(got["b"].err); !ok || cheat.Disputed || cheat.Parties[0] != "a" {
		t.Errorf("b says %v, want a named", got["b"].err)
	}
}

// A contribution that was not committed to is refused: a rushing holder could
// otherwise choose the seed after seeing the others' parts.
func TestRevealOtherThanCommitted(t *testing.T) {
	got := makeSeeds(t, nil, func(_ mpc.PartyID, round string, b []byte) []byte {
		if round == "seeds/reveal" {
			b[32] ^= 1
		}
		return b
	})
	for _, p := range []mpc.PartyID{"b", "c", "d"} {
		if cheat, ok := mpc.AsCheat(got[p].err); !ok || cheat.Disputed || cheat.Parties[0] != "a" {
			t.Errorf("%s says %v, want a named", p, got[p].err)
		}
	}
}

// One that greets b otherwise than a and c gives it another id. They say so, and
// whomever they dispute, d is among them. Without the comparison, honest
// operators blame each other for a seed that d has no part in.
func TestUnequalGreetings(t *testing.T) {
	contribution := [32]byte{42}
	attack := func(change func(mpc.PartyID, mpc.SeedSetup) mpc.SeedSetup) map[mpc.PartyID]outcome {
		return makeSeedsWith(t, "d", change, mpctest.Blind(func(to mpc.PartyID, round string, b []byte) []byte {
			if to != "b" {
				return b
			}
			switch round {
			case "seeds/hello":
				b[0] ^= 1
				for i, holders := range []string{"a\nb\nd\n", "b\nc\nd\n"} {
					d := mpc.Digest("zonesigner seed commit v1", b[32:64], b[:32], []byte(holders), []byte("d"), contribution[:])
					copy(b[64+32*i:], d[:])
				}
			case "seeds/reveal":
				copy(b[32:], contribution[:])
				copy(b[96:], contribution[:])
			}
			return b
		}))
	}
	got := attack(nil)
	for _, p := range []mpc.PartyID{"a", "b", "c"} {
		if cheat, ok := mpc.AsCheat(got[p].err); !ok || !cheat.Disputed || !slices.Contains(cheat.Parties, "d") {
			t.Errorf("%s says %v, want all others disputed", p, got[p].err)
		}
	}
	got = attack(func(_ mpc.PartyID, s mpc.SeedSetup) mpc.SeedSetup { return s.WithoutSession() })
	if cheat, ok := mpc.AsCheat(got["b"].err); !ok || slices.Contains(cheat.Parties, "d") {
		t.Errorf("without the comparison b says %v, want honest operators blamed", got["b"].err)
	}
}

func TestSeedsBinding(t *testing.T) {
	for p, o := range makeSeeds(t, func(p mpc.PartyID, s mpc.SeedSetup) mpc.SeedSetup {
		if p == "a" {
			s.Engine = "another"
		}
		return s
	}, nil) {
		var bad *mpc.ArgumentError
		if !errors.As(o.err, &bad) {
			t.Errorf("%s: %v", p, o.err)
		}
	}
}
