package figures

import (
	"context"
	"syscall"
	"testing"
	"time"

	"zonesigner/zonesignerd/internal/engines"
)

// BenchmarkOne makes keys, and single signatures with all phases, one after the
// other. On a machine with other work the quickest says most, beside the CPU
// time of all operators together.
func BenchmarkOne(b *testing.B) {
	for _, transport := range []string{Memory, NATS} {
		for _, name := range []string{"rep3", "mal-rep3", "shamir", "mal-shamir", "mascot", "mascot-minus"} {
			b.Run(transport+"/"+name, func(b *testing.B) { benchmarkOne(b, transport, name) })
		}
	}
}

func benchmarkOne(b *testing.B, transport, name string) {
	e, _ := engines.Find(name)
	n, t, err := Choose(e)
	if err != nil {
		b.Fatal(err)
	}
	g, err := newGroup(b.Context(), Plan{Engine: e, N: n, T: t, Setting: Settings[0], Transport: transport})
	if err != nil {
		b.Fatal(err)
	}
	defer g.close()
	first, last := e.PublicRounds()
	b.Run("key", func(b *testing.B) {
		timed(b, func(ctx context.Context) (time.Duration, error) {
			p, err := g.generate(ctx, first, last)
			return p.secret + p.public, err
		})
	})
	if _, err := g.generate(b.Context(), first, last); err != nil {
		b.Fatal(err)
	}
	if err := g.makeSigners(); err != nil {
		b.Fatal(err)
	}
	b.Run("signature", func(b *testing.B) {
		timed(b, func(ctx context.Context) (time.Duration, error) {
			preparing, err := g.prepare(ctx, 1, nil)
			if err != nil {
				return 0, err
			}
			signing, err := g.sign(ctx, 1)
			return preparing + signing, err
		})
	})
}

// BenchmarkMany makes tuples, then signatures from them, and reports the CPU time
// of all operators together for each: two cores do at most 2,000,000 a second
// divided by it.
func BenchmarkMany(b *testing.B) {
	for _, transport := range []string{Memory, NATS} {
		for _, name := range []string{"rep3", "mal-rep3", "shamir", "mal-shamir"} {
			b.Run(transport+"/"+name, func(b *testing.B) {
				e, _ := engines.Find(name)
				g, err := newGroup(b.Context(), Plan{Engine: e, N: 3, T: 1, Setting: Settings[0], Transport: transport})
				if err != nil {
					b.Fatal(err)
				}
				defer g.close()
				if _, err := g.generate(b.Context(), "", ""); err != nil {
					b.Fatal(err)
				}
				if err := g.makeSigners(); err != nil {
					b.Fatal(err)
				}
				cpu := cpuTime()
				if _, err := g.prepare(b.Context(), b.N, nil); err != nil {
					b.Fatal(err)
				}
				made := cpuTime()
				if _, err := g.sign(b.Context(), b.N); err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(0, "ns/op")
				b.ReportMetric(float64((made-cpu).Microseconds())/float64(b.N), "cpu-µs/tuple")
				b.ReportMetric(float64((cpuTime()-made).Microseconds())/float64(b.N), "cpu-µs/signature")
			})
		}
	}
}

// timed reports the quickest and the median of what f says, and the CPU time
// that it takes.
func timed(b *testing.B, f func(context.Context) (time.Duration, error)) {
	var took []time.Duration
	cpu := cpuTime()
	for range b.N {
		d, err := f(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		took = append(took, d)
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(ms(median(took)), "median-ms") // took is sorted now
	b.ReportMetric(ms(took[0]), "min-ms")
	b.ReportMetric(ms(cpuTime()-cpu)/float64(b.N), "cpu-ms")
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
