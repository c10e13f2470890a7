package shamir

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
// must succeed. The adversary is a, in a group of three.

type puppet = mpctest.Puppet

var three = mpctest.Group(3, 1)

// play runs f at each of three, a's network being a puppet.
func play(t *testing.T, e Engine, alter func(to mpc.PartyID, round string, b []byte) []byte, f func(ctx context.Context, b *box, a *puppet) error) map[mpc.PartyID]error {
	t.Helper()
	return mpctest.Attack(t, e, three, alter, func(ctx context.Context, b mpc.Box[Share], _ mpc.PartyID, a *puppet) error {
		return f(ctx, b.(*box), a)
	})
}

func honestFailed(errs map[mpc.PartyID]error) bool { return errs["b"] != nil && errs["c"] != nil }

func flip(b []byte) { b[len(b)-1] ^= 1 }

// A party shows two others different openings. Their coins differ, and the two
// shares that they release under them give away a factor: that of k⁻¹, of which one
// signature makes the key. The echo stops both before they release any.
func TestSplitViewBeforeCoins(t *testing.T) {
	attack := func(e Engine) (stolen, secret p256.Scalar, errs map[mpc.PartyID]error) {
		var mu sync.Mutex
		views := map[mpc.PartyID][32]byte{} // the adversary computes those of b and c from what it sent and got
		var id mpc.SessionID
		var own struct{ x, x2 p256.Scalar }
		var tap *puppet
		factors := make([]p256.Scalar, 3)
		errs = play(t, e, func(to mpc.PartyID, round string, b []byte) []byte {
			if round == "main/1" && to == "c" {
				flip(b)
			}
			return b
		}, func(ctx context.Context, b *box, a *puppet) error {
			r := b.random(3)
			if _, _, err := b.MulOpen(ctx, r[:1], r[1:2], scaling(r[:1], r[2])); err != nil {
				return err
			}
			mu.Lock()
			views[b.self], id = b.View(), b.session.id
			x, _ := three.X(b.self)
			factors[x-1] = r[0]
			if a != nil {
				own.x, own.x2, tap = b.pending.X[0], b.pending.X2[0], a
			}
			mu.Unlock()
			return b.Check(ctx)
		})
		secret = openFrom(t, factors[0], 1, factors[1], 2)
		// Under the coin of b: the line through a's own share at 1 and b's at 2.
		chiB, _ := coins(id, "main", views["b"])
		chiC, _ := coins(id, "main", views["c"])
		eB, okB := tap.Got["b main/3"]
		eC, okC := tap.Got["c main/3"]
		if !okB || !okC {
			return stolen, secret, errs
		}
		shareB, _ := p256.ScalarFromBytes(eB[:32])
		shareC, _ := p256.ScalarFromBytes(eC[:32])
		atB := openFrom(t, chiB.Mul(own.x).Sub(own.x2), 1, shareB, 2)
		atC := openFrom(t, chiC.Mul(own.x).Sub(own.x2), 1, shareC, 3)
		return atB.Sub(atC).Mul(chiB.Sub(chiC).Inverse()), secret, errs
	}
	if stolen, secret, errs := attack(Active()); stolen == secret || !honestFailed(errs) {
		t.Errorf("with the echo: %v, secret stolen: %v", errs, stolen == secret)
	}
	if stolen, secret, _ := attack(Engine{active: true, holes: holes{noEcho: true}}); stolen != secret {
		t.Error("without the echo the attack does not find the secret")
	}
}

// openFrom opens a sharing of degree 1 from its shares at two points.
func openFrom(t *testing.T, y1 p256.Scalar, x1 uint64, y2 p256.Scalar, x2 uint64) p256.Scalar {
	t.Helper()
	u, v := p256.NewScalar(x1), p256.NewScalar(x2)
	// (y1·x2 - y2·x1) / (x2 - x1)
	return y1.Mul(v).Sub(y2.Mul(u)).Mul(v.Sub(u).Inverse())
}

// A party adds an error to a product. Three shares of degree 2 are always
// consistent, so only the verification of products sees it.
func TestAdditiveErrorInProduct(t *testing.T) {
	attack := func(e Engine, at int) (errs map[mpc.PartyID]error) {
		return play(t, e, nil, func(ctx context.Context, b *box, a *puppet) error {
			if a != nil {
				b.engine.holes.skew = func(shares []Share) { shares[at] = shares[at].Add(p256.One()) }
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

// A party sends a wrong share to one other only, or to both: those that get it
// refuse, because t+1 honest shares fix the polynomial.
func TestWrongShareOfOpening(t *testing.T) {
	attack := func(e Engine) (errs map[mpc.PartyID]error, wrong bool) {
		var mu sync.Mutex
		opened := map[mpc.PartyID]p256.Scalar{}
		errs = play(t, e, func(to mpc.PartyID, round string, b []byte) []byte {
			if round == "main/1" && to == "b" {
				flip(b)
			}
			return b
		}, func(ctx context.Context, b *box, _ *puppet) error {
			v, err := b.Open(ctx, b.random(1))
			if err == nil {
				mu.Lock()
				opened[b.self] = v[0]
				mu.Unlock()
			}
			return err
		})
		return errs, opened["b"] != opened["c"]
	}
	if errs, _ := attack(Active()); errs["b"] == nil {
		t.Error("b opened a wrong value")
	}
	if errs, wrong := attack(Engine{active: true, holes: holes{noDegree: true}}); errs["b"] != nil || !wrong {
		t.Errorf("without the degree check b does not open a wrong value: %v", errs)
	}
}

// Shares of a product are not random: without the zero sharing a passive
// adversary solves a quadratic equation for the factors.
func TestUnmaskedProduct(t *testing.T) {
	attack := func(e Engine) bool {
		var mu sync.Mutex
		var tap *puppet
		var xa, ya p256.Scalar
		xs := make([]p256.Scalar, 3)
		errs := play(t, e, nil, func(ctx context.Context, b *box, a *puppet) error {
			r := b.random(3)
			mu.Lock()
			i, _ := three.X(b.self)
			xs[i-1] = r[0]
			if a != nil {
				tap, xa, ya = a, r[0], r[1]
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
		x := openFrom(t, xs[0], 1, xs[1], 2)
		vb, _ := p256.ScalarFromBytes(tap.Got["b main/1"][:32])
		vc, _ := p256.ScalarFromBytes(tap.Got["c main/1"][:32])
		// With p = xy and l = x·ya + y·xa: the share of b is (2xa-x)(2ya-y) =
		// 4·xa·ya - 2l + p; p itself is opened. So ya·x² - l·x + xa·p = 0.
		two, four := p256.NewScalar(2), p256.NewScalar(4)
		threes := p256.NewScalar(3)
		p := threes.Mul(xa.Mul(ya)).Sub(threes.Mul(vb)).Add(vc)
		l := four.Mul(xa.Mul(ya)).Add(p).Sub(vb).Mul(two.Inverse())
		root, ok := mpctest.Sqrt(l.Square().Sub(four.Mul(xa).Mul(ya).Mul(p)))
		if !ok {
			return false
		}
		half := two.Mul(ya).Inverse()
		return l.Add(root).Mul(half) == x || l.Sub(root).Mul(half) == x
	}
	if attack(Passive()) {
		t.Error("masked products give a factor away")
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
		f.Add(uint8(i), make([]byte, 32*7))
	}
	f.Fuzz(func(t *testing.T, round uint8, payload []byte) {
		mpctest.Replace(t, Active(), rounds[int(round)%len(rounds)], payload)
	})
}

func scaling(xs []Share, by Share) []mpc.Scaling[Share] {
	return []mpc.Scaling[Share]{{Xs: xs, By: by}}
}
