package mpc

import (
	"testing"

	"pgregory.net/rapid"

	"zonesigner/mpc/p256"
)

// TestWeightedSum compares with the definition, for few points and for many.
func TestWeightedSum(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(0, 2*fewPoints).Draw(t, "n")
		key := drawScalar(t)
		rho, logs := make([]p256.Scalar, n), make([]p256.Scalar, n)
		for i := range rho {
			rho[i], logs[i] = p256.ScalarFromWide(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "rho")), drawScalar(t)
		}
		want := p256.BaseMult(p256.InnerProduct(rho, logs).Mul(key))
		if got := weightedSum(rho, p256.BaseMultBatch(logs), key); !got.Equal(want) {
			t.Fatalf("the sum of %d points is wrong", n)
		}
	})
}
