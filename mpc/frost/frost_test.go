package frost

import (
	"context"
	"testing"

	"zonesigner/mpc"
)

var (
	pairAB  = mpc.NewSignerSet("a", "b")
	allABC  = mpc.NewSignerSet("a", "b", "c")
	message = "www.example.org. A 192.0.2.1"
)

// TestKeySharesAgree checks what every party holds of a new key.
func TestKeySharesAgree(t *testing.T) {
	inWorld(t, 4, 2, func(t *testing.T, w *world) {
		for _, p := range w.group.Parties {
			k := w.keys[p][0]
			if k.ID != w.key().ID || k.PublicKey() != w.key().PublicKey() || k.Self != p || k.Epoch != 0 {
				t.Errorf("%s holds another key: %v", p, k)
			}
			for j := range k.PublicShares {
				if k.PublicShares[j].Equal(w.key().PublicShares[j]) != 1 {
					t.Errorf("%s holds another public share of %s", p, w.group.Parties[j])
				}
			}
		}
	})
}

// TestArguments: what cannot be is refused; TestSigner has what signers have in
// common.
func TestArguments(t *testing.T) {
	inWorld(t, 3, 1, func(t *testing.T, w *world) {
		for name, err := range map[string]error{
			"unbound": w.prepare(mpc.Unbound(Engine), allABC, 1)["b"],
			"key of two of us": w.among(pairAB, func(ctx context.Context, net mpc.Network) error {
				_, err := GenerateKey(ctx, net, w.ids["a"], w.group, nil)
				return err
			})["b"],
			"no config": func() error { _, err := NewSigner(Config{}); return err }(),
		} {
			if err == nil {
				t.Errorf("%s: no error", name)
			}
		}
	})
}
