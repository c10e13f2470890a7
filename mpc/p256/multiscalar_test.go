package p256

import (
	"crypto/rand"
	"fmt"
	"testing"

	"pgregory.net/rapid"
)

func sumOfMultiples(ks []Scalar, ps []Point) (sum Point) {
	for i, k := range ks {
		sum = sum.Add(ps[i].Mult(k))
	}
	return sum
}

func TestMultiScalarMult(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ks := rapid.SliceOfN(anyScalar(), 0, 12).Draw(t, "ks")
		ps := rapid.SliceOfN(anyPoint(), len(ks), len(ks)).Draw(t, "ps")
		if !MultiScalarMult(ks, ps).Equal(sumOfMultiples(ks, ps)) {
			t.Fatal("the sum is wrong")
		}
	})
}

// Large batches add in pairs that share an inversion. Here the pairs are of
// every kind: different, equal, opposite, the identity, and zero scalars.
func TestMultiScalarMultLarge(t *testing.T) {
	for _, n := range []int{60, 300, 1000} {
		ks, ps := randomScalars(t, n), BaseMultBatch(randomScalars(t, n))
		if n == 300 {
			for i := range ks {
				ks[i] = ScalarFromWide(toBytes(ks[i].m)[:16]) // 128 bits
			}
		}
		for i := 0; i+5 < n; i += 20 {
			ks[i+1], ps[i+1] = ks[i], ps[i]
			ks[i+2], ps[i+2] = ks[i], ps[i].Neg()
			ks[i+3] = Scalar{}
			ps[i+4] = Point{}
			ks[i+5], ps[i+5] = ks[0].Neg(), ps[0].Double()
		}
		if !MultiScalarMult(ks, ps).Equal(sumOfMultiples(ks, ps)) {
			t.Errorf("the sum of %d is wrong", n)
		}
	}
	n := 400
	ks, ps := randomScalars(t, n), make([]Point, n)
	for i := range ks {
		ks[i], ps[i] = ks[i%2], Generator()
		if i%4 >= 2 {
			ps[i] = ps[i].Neg()
		}
	}
	if !MultiScalarMult(ks, ps).IsIdentity() {
		t.Error("a sum that cancels out is not the identity")
	}
}

func TestMultiScalarMultKeepsItsInput(t *testing.T) {
	ks, ps := randomScalars(t, 50), make([]Point, 50)
	for i := range ps {
		ps[i] = Generator().MultSmall(int64(i))
	}
	before := append([]Point(nil), ps...)
	MultiScalarMult(ks, ps)
	for i := range ps {
		if ps[i] != before[i] {
			t.Fatal("a point was changed")
		}
	}
}

func TestMultiScalarMultLengths(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("2 scalars were multiplied by 1 point")
		}
	}()
	MultiScalarMult(make([]Scalar, 2), make([]Point, 1))
}

func randomScalars(t testing.TB, n int) []Scalar {
	t.Helper()
	ks := make([]Scalar, n)
	for i := range ks {
		k, err := RandomScalar(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		ks[i] = k
	}
	return ks
}

func TestSignedDigits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x := anyScalar().Draw(t, "x")
		width := rapid.IntRange(1, 16).Draw(t, "width")
		var sum Scalar
		for w := 256 / width; w >= 0; w-- {
			for range width {
				sum = sum.Add(sum)
			}
			d := signedDigit(x.number(), uint(w*width), uint(width))
			if d > 1<<(width-1) || -d > 1<<(width-1) {
				t.Fatalf("digit %d of %d bits", d, width)
			}
			if d < 0 {
				sum = sum.Sub(NewScalar(uint64(-d)))
			} else {
				sum = sum.Add(NewScalar(uint64(d)))
			}
		}
		if sum != x {
			t.Fatalf("the digits of %s make up another number", fmt.Sprintf("%x", toBig(x)))
		}
	})
}
