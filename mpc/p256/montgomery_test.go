package p256

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"
)

// TestMontgomery: words are those of the number times 2²⁵⁶.
func TestMontgomery(t *testing.T) {
	two, power := NewScalar(2), One()
	for range 256 {
		power = power.Mul(two)
	}
	rapid.Check(t, func(t *rapid.T) {
		x := anyScalar().Draw(t, "x")
		w0, w1, w2, w3 := x.Montgomery()
		if ScalarFromMontgomery(w0, w1, w2, w3) != x {
			t.Fatal("words do not give back their scalar")
		}
		if (u256{w0, w1, w2, w3}) != x.Mul(power).number() {
			t.Fatal("words are not those of x·2²⁵⁶")
		}
	})
	if !IsMontgomery(n0-1, n1, n2, n3) || IsMontgomery(n0, n1, n2, n3) || IsMontgomery(0, 0, 0, n3+1) || !IsMontgomery(^uint64(0), ^uint64(0), ^uint64(0), n3-1) {
		t.Error("words below n are not told from others")
	}
}

// TestSum compares with the same sum of reduced scalars, up to the most that
// fits.
func TestSum(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var s Sum
		var want Scalar
		left := uint(63) // doublings
		for left > 0 {
			k := rapid.UintRange(1, left).Draw(t, "k")
			left -= k
			x, y := anyScalar().Draw(t, "x"), anyScalar().Draw(t, "y")
			cond := rapid.Uint64Range(0, 1).Draw(t, "cond")
			s = s.Shift(k).Add(Select(cond, x, y))
			want = want.Mul(NewScalar(1 << k))
			if cond == 1 {
				want = want.Add(x)
			} else {
				want = want.Add(y)
			}
			if s.Scalar() != want {
				t.Fatal("a sum is wrong")
			}
		}
	})
	most := ScalarFromMontgomery(n0-1, n1, n2, n3)
	var s Sum
	var want Scalar
	for range 64 {
		s, want = s.Shift(1).Add(most), want.Add(want).Add(most)
	}
	if s.Scalar() != want {
		t.Error("64 of the greatest scalars are too many")
	}
	if got := fmt.Sprintf("%v %d %#v", s, s, s); got != "p256.Sum(secret) p256.Sum(secret) p256.Sum(secret)" {
		t.Errorf("a sum prints %q", got)
	}
}
