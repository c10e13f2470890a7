package p256

import (
	"testing"

	"pgregory.net/rapid"
)

// TestMask holds both functions to the definition, w/2²⁵⁶ mod n.
func TestMask(t *testing.T) {
	two := NewScalar(2)
	power := One()
	for range 256 {
		power = power.Mul(two)
	}
	shrink := power.Inverse()
	rapid.Check(t, func(t *rapid.T) {
		var w [7]uint64
		var b [56]byte
		for i := range w {
			w[i] = rapid.OneOf(rapid.Uint64(), rapid.Just(uint64(0)), rapid.Just(^uint64(0))).Draw(t, "word")
			for k := range 8 {
				b[55-8*i-k] = byte(w[i] >> (8 * k))
			}
		}
		x := NewScalar(rapid.Uint64().Draw(t, "x")).Neg()
		want := ScalarFromWide(b[:]).Mul(shrink)
		if got := MaskScalar(&w); got != want {
			t.Fatal("MaskScalar is wrong")
		}
		encoded := x.Bytes()
		if got := AddMask(&encoded, &w); got != x.Add(want).Bytes() {
			t.Fatal("AddMask is wrong")
		}
	})
}
