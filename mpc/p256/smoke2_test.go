package p256

import (
	"crypto/rand"
	"filippo.io/nistec"
	"testing"
)

func TestBatchSmoke(t *testing.T) {
	ks := make([]Scalar, 600)
	for i := range ks {
		ks[i], _ = RandomScalar(rand.Reader)
	}
	for i := range 40 {
		ks[i] = NewScalar(uint64(i))
		ks[i+50] = NewScalar(uint64(i)).Neg()
	}
	ks[45] = Scalar{scalarOne}.mustR(t)
	ps := BaseMultBatch(ks)
	for i := range ks {
		if !ps[i].Equal(BaseMult(ks[i])) {
			t.Fatal(i)
		}
	}
}
func (Scalar) mustR(t *testing.T) Scalar {
	b := scalarOne.bytes()
	s, err := ScalarFromBytes(b[:])
	if err != nil {
		t.Fatal(err)
	}
	return s
}
func BenchmarkBaseMultBatch(b *testing.B) {
	ks := make([]Scalar, 1024)
	for i := range ks {
		ks[i], _ = RandomScalar(rand.Reader)
	}
	for b.Loop() {
		BaseMultBatch(ks)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1024, "ns/scalar")
}
func BenchmarkNistec(b *testing.B) {
	k := One().Bytes()
	p := nistec.NewP256Point()
	for b.Loop() {
		p.ScalarBaseMult(k[:])
	}
}
func BenchmarkNistecAdd(b *testing.B) {
	k := One().Bytes()
	p := nistec.NewP256Point()
	p.ScalarBaseMult(k[:])
	q := nistec.NewP256Point()
	for b.Loop() {
		q.Add(q, p)
	}
}
func BenchmarkNistecBytes(b *testing.B) {
	k := NewScalar(1234567).Bytes()
	p := nistec.NewP256Point()
	p.ScalarBaseMult(k[:])
	for b.Loop() {
		p.Bytes()
	}
}
