package frost

import (
	"fmt"
	"testing"
)

// BenchmarkPrepare and BenchmarkSign run three operators in one process over a
// memory network; an operation is one tuple, or one signature from tuples.
func BenchmarkPrepare(b *testing.B) {
	w := newWorld(b, 3, 1, 1024)
	w.mustGenerate("zsk")
	b.ResetTimer()
	w.must(w.prepare(w.key().ID, pairAB, b.N))
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "tuples/s")
}

func BenchmarkSign(b *testing.B) {
	w := newWorld(b, 3, 1, 1024)
	w.mustGenerate("zsk")
	w.must(w.prepare(w.key().ID, pairAB, b.N))
	messages := make([]string, b.N)
	for i := range messages {
		messages[i] = fmt.Sprint("message ", i)
	}
	session := w.session(pairAB, w.request(w.key().ID, pairAB, messages...))
	b.ResetTimer()
	_, errs := w.sign(session, nil)
	w.must(errs)
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "signatures/s")
}
