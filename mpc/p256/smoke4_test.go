package p256

import (
	"crypto/rand"
	"fmt"
	"testing"
	"time"
)

func TestMSMSmoke(t *testing.T) {
	for _, n := range []int{1, 2, 3, 10, 100, 700} {
		ks := make([]Scalar, n)
		for i := range ks {
			ks[i], _ = RandomScalar(rand.Reader)
		}
		ps := BaseMultBatch(ks)
		if n > 20 {
			for i := range 10 {
				ps[i] = ps[11]
				ks[i] = ks[11]
				if i%2 == 0 {
					ps[i] = ps[i].Neg()
				}
			}
			ps[15] = Point{}
			ks[16] = Scalar{}
		}
		var want Point
		for i := range ks {
			want = want.Add(ps[i].Mult(ks[i]))
		}
		if !MultiScalarMult(ks, ps).Equal(want) {
			t.Fatal(n)
		}
	}
}
func makeSigs(n int) (pk Point, ds [][32]byte, rs, ss []Scalar, Rs []Point) {
	sk, _ := RandomScalar(rand.Reader)
	pk = BaseMult(sk)
	ks := make([]Scalar, n)
	for i := range ks {
		ks[i], _ = RandomScalar(rand.Reader)
	}
	Rs = BaseMultBatch(ks)
	ds = make([][32]byte, n)
	rs = make([]Scalar, n)
	ss = make([]Scalar, n)
	for i := range ks {
		rand.Read(ds[i][:])
		rs[i], _ = Rs[i].X()
		ss[i] = ks[i].Inverse().Mul(ScalarFromDigest(ds[i][:]).Add(rs[i].Mul(sk)))
	}
	return
}
func TestVerifySmoke(t *testing.T) {
	pk, ds, rs, ss, Rs := makeSigs(100)
	bad, err := VerifyBatch(pk, ds, rs, ss, Rs, rand.Reader)
	if bad != nil || err != nil {
		t.Fatal(bad, err)
	}
	var sig [64]byte
	r, s := rs[3].Bytes(), ss[3].Bytes()
	copy(sig[:], r[:])
	copy(sig[32:], s[:])
	if !VerifySignature(pk, ds[3], sig) {
		t.Fatal()
	}
	ds[7][3] ^= 1
	bad, err = VerifyBatch(pk, ds, rs, ss, Rs, rand.Reader)
	fmt.Println(bad, err)
}
func BenchmarkVerifyBatch(b *testing.B) {
	for _, n := range []int{10, 100, 1000, 4096, 16384} {
		pk, ds, rs, ss, Rs := makeSigs(n)
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			t := time.Now()
			i := 0
			for b.Loop() {
				i++
				if bad, _ := VerifyBatch(pk, ds, rs, ss, Rs, rand.Reader); bad != nil {
					b.Fatal(bad)
				}
			}
			b.ReportMetric(float64(time.Since(t).Nanoseconds())/float64(i*n), "ns/sig")
		})
	}
}
