package mpctest

import (
	"context"
	"fmt"
	"math/big"
	"sync"
	"testing"

	"zonesigner/mpc"
	"zonesigner/mpc/p256"
)

// Replace lets three parties multiply, check and open with payload in place of
// what a sends in one round, and wants b and c not to open different values.
// Random of the engine is local.
func Replace[S any](t *testing.T, engine mpc.Engine[S], in string, payload []byte) {
	t.Helper()
	var mu sync.Mutex
	opened := map[mpc.PartyID]p256.Scalar{}
	errs := Attack(t, engine, Group(3, 1), func(_ mpc.PartyID, round string, b []byte) []byte {
		if round == in {
			return payload
		}
		return b
	}, func(ctx context.Context, box mpc.Box[S], self mpc.PartyID, _ *Puppet) error {
		fused, ok := box.(mpc.MulOpener[S])
		if !ok {
			return fmt.Errorf("%s does not multiply and open at once", engine.Name())
		}
		r, err := box.Random(ctx, 5)
		if err != nil {
			return err
		}
		if _, _, err := fused.MulOpen(ctx, r[:2], r[2:4], []mpc.Scaling[S]{{Xs: r[:2], By: r[4]}}); err != nil {
			return err
		}
		if err := box.Check(ctx); err != nil {
			return err
		}
		v, err := box.Open(ctx, r[:1])
		if err == nil {
			mu.Lock()
			opened[self] = v[0]
			mu.Unlock()
		}
		return err
	})
	if errs["b"] == nil && errs["c"] == nil && opened["b"] != opened["c"] {
		t.Fatal("b and c open different values")
	}
}

// Sqrt is a square root modulo the order of P-256, which is what an adversary
// needs that solves quadratic equations; false where there is none.
func Sqrt(x p256.Scalar) (p256.Scalar, bool) {
	n, _ := new(big.Int).SetString("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551", 16)
	b := x.Bytes()
	r := new(big.Int).ModSqrt(new(big.Int).SetBytes(b[:]), n)
	if r == nil {
		return p256.Scalar{}, false
	}
	r.FillBytes(b[:])
	s, err := p256.ScalarFromBytes(b[:])
	return s, err == nil
}
