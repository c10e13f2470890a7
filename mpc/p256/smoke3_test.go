package p256

import "testing"

func BenchmarkFieldMul4(b *testing.B) {
	x, y, z, w := genX, genY, fieldR2, curveB
	for b.Loop() {
		x = x.mul(genY)
		y = y.mul(genX)
		z = z.mul(genX)
		w = w.mul(genX)
	}
}
func BenchmarkInvertFields(b *testing.B) {
	x := make([]field, 512)
	for i := range x {
		x[i] = genX
	}
	s := make([]field, 512)
	for b.Loop() {
		invertFields(x, s)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/512, "ns/el")
}
