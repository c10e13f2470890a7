package shamir

import (
	"errors"
	"testing"

	"go.uber.org/goleak"

	"zonesigner/mpc"
	"zonesigner/mpc/abbtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestConformance(t *testing.T) {
	abbtest.Run(t, Passive(), abbtest.Claims{})
	abbtest.Run(t, Active(), abbtest.Claims{
		Active: true,
		Names:  func(g mpc.Group) bool { return g.N() >= 3*g.T+1 },
	})
}

func TestSupports(t *testing.T) {
	for _, c := range []struct {
		n, t int
		ok   bool
	}{{3, 1, true}, {4, 1, true}, {5, 2, true}, {7, 3, true}, {8, 2, true}, {35, 1, true}, {36, 1, false}, {2, 1, false}, {4, 2, false}, {9, 4, false}} {
		g := mpc.Group{T: c.t}
		for i := range c.n {
			g.Parties = append(g.Parties, mpc.PartyID(rune('A'+i)))
		}
		for _, e := range []Engine{Passive(), Active()} {
			err := e.Supports(g)
			var bad *mpc.ArgumentError
			if (err == nil) != c.ok || err != nil && !errors.As(err, &bad) {
				t.Errorf("%s with n = %d, t = %d: %v", e.Name(), c.n, c.t, err)
			}
		}
	}
}

func TestSigners(t *testing.T) {
	g := mpc.Group{Parties: []mpc.PartyID{"a", "b", "c"}, T: 1}
	for _, c := range []struct {
		set             mpc.SignerSet
		passive, active bool
	}{
		{mpc.SignerSet{"a"}, false, false},
		{mpc.SignerSet{"a", "c"}, true, true},
		{mpc.SignerSet{"c", "a"}, false, false},
		{mpc.SignerSet{"a", "z"}, false, false},
		{mpc.SignerSet{"a", "b", "c"}, false, true},
	} {
		if err := Passive().Signers(g, c.set); (err == nil) != c.passive {
			t.Errorf("shamir, %s: %v", c.set, err)
		}
		if err := Active().Signers(g, c.set); (err == nil) != c.active {
			t.Errorf("mal-shamir, %s: %v", c.set, err)
		}
	}
}
