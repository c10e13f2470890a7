package p256

import (
	"crypto/rand"
	"fmt"
	"testing"

	"filippo.io/bigmod"
	"filippo.io/nistec"
)

func BenchmarkScalar(b *testing.B) {
	x := randomScalars(b, 1)[0]
	y := x
	wide := make([]byte, 48)
	encoded := x.Bytes()
	b.Run("Add", func(b *testing.B) {
		for b.Loop() {
			y = y.Add(x)
		}
	})
	b.Run("Mul", func(b *testing.B) {
		for b.Loop() {
			y = y.Mul(x)
		}
	})
	b.Run("Square", func(b *testing.B) {
		for b.Loop() {
			y = y.Square()
		}
	})
	b.Run("Inverse", func(b *testing.B) {
		for b.Loop() {
			y = y.Inverse()
		}
	})
	b.Run("FromBytes", func(b *testing.B) {
		for b.Loop() {
			y, _ = ScalarFromBytes(encoded[:])
		}
	})
	b.Run("Bytes", func(b *testing.B) {
		for b.Loop() {
			encoded = y.Bytes()
		}
	})
	b.Run("FromWide", func(b *testing.B) {
		for b.Loop() {
			y = ScalarFromWide(wide)
		}
	})
	b.Run("Random", func(b *testing.B) {
		for b.Loop() {
			y, _ = RandomScalar(rand.Reader)
		}
	})
	b.Run("MulBigmod", func(b *testing.B) { // for comparison
		m, _ := bigmod.NewModulus(toBytes(order))
		p, _ := bigmod.NewNat().SetBytes(encoded[:], m)
		q, _ := bigmod.NewNat().SetBytes(encoded[:], m)
		for b.Loop() {
			p.Mul(q, m)
		}
	})
}

func BenchmarkPoint(b *testing.B) {
	k := randomScalars(b, 1)[0]
	p := BaseMult(k)
	q := p
	b.Run("Add", func(b *testing.B) {
		for b.Loop() {
			q = q.Add(p)
		}
	})
	b.Run("AddNistec", func(b *testing.B) { // for comparison
		p := reference(b, p)
		q := nistec.NewP256Point().Set(p)
		for b.Loop() {
			q.Add(q, p)
		}
	})
	b.Run("MultSmall3", func(b *testing.B) {
		for b.Loop() {
			q = q.MultSmall(3)
		}
	})
	b.Run("BaseMult", func(b *testing.B) {
		for b.Loop() {
			q = BaseMult(k)
		}
	})
	b.Run("Mult", func(b *testing.B) {
		for b.Loop() {
			q = q.Mult(k)
		}
	})
	b.Run("Bytes", func(b *testing.B) {
		for b.Loop() {
			_, _ = q.Bytes()
		}
	})
	b.Run("BytesNistec", func(b *testing.B) { // for comparison
		q := reference(b, q)
		q.Add(q, q)
		for b.Loop() {
			q.Bytes()
		}
	})
}

func BenchmarkBatch(b *testing.B) {
	const n = 1000
	each := func(b *testing.B, n int) {
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/each")
	}
	ks := randomScalars(b, n)
	ps := BaseMultBatch(ks)
	projective := make([]Point, n)
	for i, p := range ps {
		projective[i] = p.Double()
	}
	encoded, _ := AppendPoints(nil, ps)
	b.Run("BaseMult", func(b *testing.B) {
		for b.Loop() {
			BaseMultBatch(ks)
		}
		each(b, n)
	})
	b.Run("AppendPoints", func(b *testing.B) {
		for b.Loop() {
			_, _ = AppendPoints(nil, projective)
		}
		each(b, n)
	})
	b.Run("DecodePoints", func(b *testing.B) {
		for b.Loop() {
			_, _ = DecodePoints(encoded, n)
		}
		each(b, n)
	})
	b.Run("InvertBatch", func(b *testing.B) {
		for b.Loop() {
			_ = InvertBatch(ks)
		}
		each(b, n)
	})
	b.Run("InnerProduct", func(b *testing.B) {
		for b.Loop() {
			InnerProduct(ks, ks)
		}
		each(b, n)
	})
	for _, n := range []int{1, 10, 100, 1000, 4096} {
		signatures := newBatch(b, n)
		b.Run(fmt.Sprintf("Verify%d", n), func(b *testing.B) {
			for b.Loop() {
				if bad, err := signatures.verify(rand.Reader); bad != nil || err != nil {
					b.Fatal(bad, err)
				}
			}
			each(b, n)
		})
	}
}

func BenchmarkVerifySignature(b *testing.B) {
	s := newBatch(b, 1)
	sig := s.signature(0)
	for b.Loop() {
		if !VerifySignature(s.pk, s.digests[0], sig) {
			b.Fatal("refused")
		}
	}
}
