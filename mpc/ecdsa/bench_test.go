package ecdsa

import (
	"fmt"
	"testing"

	"zonesigner/mpc"
	"zonesigner/mpc/rep3"
)

// BenchmarkTuples makes tuples, commitments included, for three operators in
// one process.
func BenchmarkTuples(b *testing.B) {
	for _, e := range benchEngines {
		b.Run(e.Name(), func(b *testing.B) {
			w, set := benchWorld(b, e)
			b.ReportAllocs()
			b.ResetTimer()
			w.mustPrepare(set, b.N)
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "tuples/s")
		})
	}
}

// BenchmarkSign spends tuples that are there, up to verified signatures at all
// members.
func BenchmarkSign(b *testing.B) {
	for _, e := range benchEngines {
		b.Run(e.Name(), func(b *testing.B) {
			w, set := benchWorld(b, e)
			w.mustPrepare(set, b.N)
			req := benchRequest(w, set, b.N)
			b.ReportAllocs()
			b.ResetTimer()
			w.mustSign(req)
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "signatures/s")
		})
	}
}

// BenchmarkAll is both, preparing and signing.
func BenchmarkAll(b *testing.B) {
	for _, e := range benchEngines {
		b.Run(e.Name(), func(b *testing.B) {
			w, set := benchWorld(b, e)
			b.ResetTimer()
			w.mustPrepare(set, b.N)
			w.mustSign(benchRequest(w, set, b.N))
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "signatures/s")
		})
	}
}

// benchEngines in their passive form sign with two, in the active one with all.
var benchEngines = []Protocol{passive(), active(), Over(rep3.Passive()), Over(rep3.Active())}

func benchWorld(b *testing.B, engine Protocol) (*world, mpc.SignerSet) {
	w, set := newWorld(b, 3, 1, engine, 0), allABC
	if !engine.Active() {
		set = pairAB
	}
	w.generate()
	return w, set
}

func benchRequest(w *world, set mpc.SignerSet, n int) mpc.SignSession {
	var messages []string
	for i := range n {
		messages = append(messages, fmt.Sprintf("an RRset of about two hundred bytes, number %d %0150d", i, 0))
	}
	return w.request(set, messages...)
}

func (w *world) mustSign(req mpc.SignSession) {
	w.t.Helper()
	_, errs := w.sign(req, nil)
	for p, err := range errs {
		if err != nil {
			w.t.Fatalf("sign at %s: %v", p, err)
		}
	}
}
