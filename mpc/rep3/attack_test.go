package rep3

import (
	"context"
	"slices"
	"sync"
	"testing"

	"zonesigner/mpc"
	"zonesigner/mpc/mpctest"
	"zonesigner/mpc/p256"
)

// Each attack here is run against the engine as it is, where it must fail, and
// against one with the defence that it is aimed at taken out (holes), where it
// must succeed. The adversary is a, at position 0: it lacks part 0, b lacks part 1,
// c lacks part 2.

type puppet = mpctest.Puppet

var three = mpctest.Group(3, 1)

// play runs f at each of three, a's network being a puppet.
func play(t *testing.T, e Engine, alter func(to mpc.PartyID, round string, b []byte) []byte, f func(ctx context.Context, b *box, a *puppet) error) map[mpc.PartyID]error {
	t.Helper()
	return playIn(t, three, e, alter, f)
}

func playIn(t *testing.T, g mpc.Group, e Engine, alter func(to mpc.PartyID, round string, b []byte) []byte, f func(ctx context.Context, b *box, a *puppet) error) map[mpc.PartyID]error {
	t.Helper()
	return mpctest.Attack(t, e, g, alter, func(ctx context.Context, b mpc.Box[Share], _ mpc.PartyID, a *puppet) error {
		return f(ctx, b.(*box), a)
	})
}

func honestFailed(errs map[mpc.PartyID]error) bool { return errs["b"] != nil && errs["c"] != nil }

func flip(b []byte) { b[len(b)-1] ^= 1 }

// A party sends a wrong part to one other: the copies differ, since the other
// holder is honest.
func TestWrongCopy(t *testing.T) {
	attack := func(e Engine) (errs map[mpc.PartyID]error, wrong bool) {
		var mu sync.Mutex
		opened := map[mpc.PartyID]p256.Scalar{}
		errs = play(t, e, func(to mpc.PartyID, round string, b []byte) []byte {
			if round == "main/1" && to == "c" {
				flip(b)
			}
			return b
		}, func(ctx context.Context, b *box, _ *puppet) error {
			v, err := b.Open(ctx, b.random(1))
			if err == nil {
				mu.Lock()
				opened[b.parties[b.self]] = v[0]
				mu.Unlock()
			}
			return err
		})
		return errs, opened["b"] != opened["c"]
	}
	for _, e := range []Engine{Passive(), Active()} {
		errs, _ := attack(e)
		if cheat, ok := mpc.AsCheat(errs["c"]); !ok || !cheat.Disputed || !slices.Equal(cheat.Parties, []mpc.PartyID{"a", "b"}) {
			t.Errorf("%s: c says %v, want a and b disputed", e.Name(), errs["c"])
		}
	}
	if errs, wrong := attack(Engine{active: true, holes: holes{noCopies: true}}); errs["c"] != nil || !wrong {
		t.Errorf("without comparing copies c does not open a wrong value: %v", errs)
	}
}

// A party adds an error to a product. Shared products are always consistent,
// and opened ones have no redundancy, so only their verification sees it.
func TestAdditiveErrorInProduct(t *testing.T) {
	attack := func(e Engine, at int) (errs map[mpc.PartyID]error) {
		return play(t, e, nil, func(ctx context.Context, b *box, a *puppet) error {
			if a != nil {
				b.engine.holes.skew = func(u []p256.Scalar) { u[at] = u[at].Add(p256.One()) }
			}
			r := b.random(5)
			if _, _, err := b.MulOpen(ctx, r[:2], r[2:4], scaling(r[:2], r[4])); err != nil {
				return err
			}
			return b.Check(ctx)
		})
	}
	// Two opened products, two scaled, two sacrifices, one of the batch.
	for at := range 7 {
		errs := attack(Active(), at)
		for _, p := range []mpc.PartyID{"b", "c"} {
			if cheat, ok := mpc.AsCheat(errs[p]); !ok || cheat.What != "a product is wrong" || !slices.Contains(cheat.Parties, "a") {
				t.Errorf("error in value %d: %s says %v", at, p, errs[p])
			}
		}
		if errs := attack(Engine{active: true, holes: holes{noVerify: true}}, at); honestFailed(errs) {
			t.Errorf("without verification an error in value %d is caught: %v", at, errs)
		}
	}
}

// A party that knows the coins before it sends its summands chooses errors
// that cancel. Shared products are opened to nobody, so the view alone does
// not cover them: the digests of what was sent do.
func TestCoinsKnownBeforeProducts(t *testing.T) {
	attack := func(e Engine) (errs map[mpc.PartyID]error, wrong bool) {
		var mu sync.Mutex
		opened := map[mpc.PartyID][]p256.Scalar{}
		errs = play(t, e, nil, func(ctx context.Context, b *box, a *puppet) error {
			if a != nil {
				chi, _ := coins(b.session.id, b.label, b.View(), nil)
				b.engine.holes.skew = func(u []p256.Scalar) { // a product and its sacrifice
					u[0], u[1] = u[0].Add(p256.One()), u[1].Add(chi)
				}
			}
			r := b.random(2)
			z, err := b.Mul(ctx, r[:1], r[1:])
			if err != nil {
				return err
			}
			if err := b.Check(ctx); err != nil {
				return err
			}
			v, err := b.Open(ctx, append(z, r...))
			mu.Lock()
			defer mu.Unlock()
			opened[b.parties[b.self]] = v
			return err
		})
		for _, v := range opened {
			if v[0] != v[1].Mul(v[2]) {
				wrong = true
			}
		}
		return errs, wrong
	}
	if errs, wrong := attack(Active()); wrong || !honestFailed(errs) {
		t.Errorf("with products in the coins: %v, wrong product opened: %v", errs, wrong)
	}
	if errs, wrong := attack(Engine{active: true, holes: holes{noShared: true}}); !wrong {
		t.Errorf("without products in the coins no wrong product passes: %v", errs)
	}
}

// A party shows two others different openings, or tells them different
// digests. Their coins differ, and the two copies of a part that they send it
// under those give away the part that it lacks, of a factor of k⁻¹, of which one
// signature makes the key. The echo stops both before they send any.
func TestSplitViewBeforeCoins(t *testing.T) {
	attack := func(e Engine, in string, at int) (stolen, secret p256.Scalar, errs map[mpc.PartyID]error) {
		var mu sync.Mutex
		views := map[mpc.PartyID][32]byte{} // the adversary computes those of b and c from what it sent and got
		var id mpc.SessionID
		var tap *puppet
		var said [2][]byte // a's echo, as sent to b and c
		errs = play(t, e, func(to mpc.PartyID, round string, b []byte) []byte {
			if round == in && to == "c" {
				b[at] ^= 1
			}
			if round == "main/2" {
				said[to[0]-'b'] = b
			}
			return b
		}, func(ctx context.Context, b *box, a *puppet) error {
			r := b.random(3)
			mu.Lock()
			if b.self == 1 {
				secret = r[0][1] // part 0
			}
			mu.Unlock()
			if _, _, err := b.MulOpen(ctx, r[:1], r[1:2], scaling(r[:1], r[2])); err != nil {
				return err
			}
			mu.Lock()
			views[b.parties[b.self]], id = b.View(), b.session.id
			if a != nil {
				tap = a
			}
			mu.Unlock()
			return b.Check(ctx)
		})
		fromB, fromC := tap.Got["b main/3"], tap.Got["c main/3"]
		if len(fromB) == 0 || len(fromC) == 0 {
			return stolen, secret, errs
		}
		digest := func(echo []byte) []byte { return echo[32:64] }
		b, c := digest(tap.Got["b main/2"]), digest(tap.Got["c main/2"])
		chiB, _ := coins(id, "main", views["b"], slices.Concat(digest(said[0]), b, c))
		chiC, _ := coins(id, "main", views["c"], slices.Concat(digest(said[1]), b, c))
		eB, _ := p256.ScalarFromBytes(fromB[:32])
		eC, _ := p256.ScalarFromBytes(fromC[:32])
		return eB.Sub(eC).Mul(chiB.Sub(chiC).Inverse()), secret, errs
	}
	for _, c := range []struct {
		in string
		at int
	}{{"main/1", 31}, {"main/2", 63}} { // the opened product, the digest of what a has sent
		if stolen, secret, errs := attack(Active(), c.in, c.at); stolen == secret || !honestFailed(errs) {
			t.Errorf("with the echo: %v, part stolen: %v", errs, stolen == secret)
		}
		if stolen, secret, _ := attack(Engine{active: true, holes: holes{noEcho: true}}, c.in, c.at); stolen != secret {
			t.Errorf("without the echo the attack in round %s does not find the part", c.in)
		}
	}
}

// A party sends another summand than it says: its receiver can name it, the
// third sees a dispute.
func TestSentAndReceivedDiffer(t *testing.T) {
	errs := play(t, Active(), func(to mpc.PartyID, round string, b []byte) []byte {
		if round == "main/1" && to == "c" {
			flip(b)
		}
		return b
	}, func(ctx context.Context, b *box, _ *puppet) error {
		r := b.random(2)
		if _, err := b.Mul(ctx, r[:1], r[1:]); err != nil {
			return err
		}
		return b.Check(ctx)
	})
	for p, want := range map[mpc.PartyID][]mpc.PartyID{"b": {"a", "c"}, "c": {"a"}} {
		if cheat, ok := mpc.AsCheat(errs[p]); !ok || !slices.Equal(cheat.Parties, want) || cheat.Disputed != (len(want) > 1) {
			t.Errorf("%s says %v, want %v blamed", p, errs[p], want)
		}
	}
}

// Summands of a product are not random: without the sum of zero a passive
// adversary solves a quadratic equation for the factors.
func TestUnmaskedProduct(t *testing.T) {
	attack := func(e Engine) bool {
		var mu sync.Mutex
		var tap *puppet
		var x, y Share // of a: parts 1 and 2
		var secret p256.Scalar
		errs := play(t, e, nil, func(ctx context.Context, b *box, a *puppet) error {
			r := b.random(3)
			mu.Lock()
			if b.self == 1 {
				secret = r[0][1] // part 0
			}
			if a != nil {
				tap, x, y = a, r[0], r[1]
			}
			mu.Unlock()
			_, _, err := b.MulOpen(ctx, r[:1], r[1:2], scaling(r[:1], r[2]))
			return err
		})
		for p, err := range errs {
			if err != nil {
				t.Fatalf("%s: %v", p, err)
			}
		}
		ub, _ := p256.ScalarFromBytes(tap.Got["b main/1"][:32])
		uc, _ := p256.ScalarFromBytes(tap.Got["c main/1"][:32])
		// ub = x2·(y2+y0) + x0·y2 and uc = x0·(y0+y1) + x1·y0. With
		// y0 = p - q·x0, where p = ub/x2 - y2 and q = y2/x2, the second is
		// -q·x0² + (p + y1 - q·x1)·x0 + x1·p - uc = 0.
		x1, x2, y1, y2 := x[0], x[1], y[0], y[1]
		p, q := ub.Mul(x2.Inverse()).Sub(y2), y2.Mul(x2.Inverse())
		l := p.Add(y1).Sub(q.Mul(x1))
		root, ok := mpctest.Sqrt(l.Square().Add(p256.NewScalar(4).Mul(q).Mul(x1.Mul(p).Sub(uc))))
		if !ok {
			return false
		}
		half := p256.NewScalar(2).Mul(q).Inverse()
		return l.Add(root).Mul(half) == secret || l.Sub(root).Mul(half) == secret
	}
	for _, e := range []Engine{Passive(), Active()} {
		if attack(e) {
			t.Errorf("%s: masked summands give a factor away", e.Name())
		}
	}
	if !attack(Engine{holes: holes{noMask: true}}) {
		t.Error("the attack does not find the factor of an unmasked product")
	}
}

// FuzzMessage puts any bytes in place of one message of operator a: nobody
// panics, and b does not come to another result than c.
func FuzzMessage(f *testing.F) {
	rounds := []string{"seeds/hello", "seeds/reveal", "main/1", "main/2", "main/3", "main/4", "main/5"}
	for i := range rounds {
		f.Add(uint8(i), []byte{})
		f.Add(uint8(i), make([]byte, 64))
		f.Add(uint8(i), make([]byte, 96))
		f.Add(uint8(i), make([]byte, 32*7))
	}
	f.Fuzz(func(t *testing.T, round uint8, payload []byte) {
		mpctest.Replace(t, Active(), rounds[int(round)%len(rounds)], payload)
	})
}

func scaling(xs []Share, by Share) []mpc.Scaling[Share] {
	return []mpc.Scaling[Share]{{Xs: xs, By: by}}
}
