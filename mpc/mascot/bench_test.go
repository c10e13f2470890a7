package mascot

import (
	"context"
	"fmt"
	"sync"
	"syscall"
	"testing"
	"time"

	"zonesigner/mpc"
	"zonesigner/mpc/memnet"
	"zonesigner/mpc/p256"
)

// BenchmarkTuples makes what a tuple takes (one product opened, one scaled by a
// key, all checked) in chunks of 256, four at a time, everybody in one process.
func BenchmarkTuples(b *testing.B) {
	for _, e := range []Engine{Full(), Minus()} {
		for _, n := range []int{2, 3} {
			b.Run(fmt.Sprintf("%s/n=%d", e.Name(), n), func(b *testing.B) { benchTuples(b, e, n) })
		}
	}
}

func benchTuples(b *testing.B, e Engine, n int) {
	const chunk, window = 256, 4
	g := mpc.Group{T: n - 1}
	for i := range n {
		g.Parties = append(g.Parties, mpc.PartyID(rune('a'+i)))
	}
	hub := memnet.New(g.Parties...)
	defer hub.Close()
	ends, err := hub.Open(mpc.SessionID{1})
	if err != nil {
		b.Fatal(err)
	}
	boxes := make([]mpc.Box[Share], n)
	keys := make([]Share, n)
	each := func(f func(i int) error) {
		b.Helper()
		var wg sync.WaitGroup
		for i := range n {
			wg.Go(func() {
				if err := f(i); err != nil {
					b.Error(err)
				}
			})
		}
		wg.Wait()
		if b.Failed() {
			b.FailNow()
		}
	}
	each(func(i int) (err error) {
		if boxes[i], err = e.Start(b.Context(), ends[i], g, nil); err != nil {
			return err
		}
		sk, err := boxes[i].Random(b.Context(), 1)
		if err == nil {
			keys[i] = sk[0]
		}
		return err
	})
	b.ResetTimer()
	begin := cpuTime(b)
	each(func(i int) error {
		slots := make(chan struct{}, window)
		errs := make([]error, (b.N+chunk-1)/chunk)
		var wg sync.WaitGroup
		for c := range errs {
			slots <- struct{}{}
			wg.Go(func() {
				errs[c] = makeTuples(b.Context(), boxes[i].Fork(fmt.Sprint(c)), keys[i], min(chunk, b.N-c*chunk))
				<-slots
			})
		}
		wg.Wait()
		for _, err := range errs {
			if err != nil {
				return err
			}
		}
		return nil
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "tuples/s")
	b.ReportMetric((cpuTime(b)-begin).Seconds()*1e3/float64(b.N), "cpu-ms/tuple")
}

// cpuTime is what this process has used of all cores.
func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func makeTuples(ctx context.Context, box mpc.Box[Share], key Share, n int) error {
	r, err := box.Random(ctx, 2*n)
	if err != nil {
		return err
	}
	c, _, err := box.(mpc.MulOpener[Share]).MulOpen(ctx, r[:n], r[n:], []mpc.Scaling[Share]{{Xs: r[:n], By: key, ForSigning: true}})
	if err != nil {
		return err
	}
	if err := p256.InvertBatch(c); err != nil {
		return err
	}
	return box.Check(ctx)
}

// BenchmarkStart sets a session between two parties up: their first one, and one
// that finds their base transfers there.
func BenchmarkStart(b *testing.B) {
	b.Run("first", func(b *testing.B) { benchStart(b, func() Engine { return Full() }) })
	e := Full()
	b.Run("next", func(b *testing.B) { benchStart(b, func() Engine { return e }) })
}

func benchStart(b *testing.B, engine func() Engine) {
	g := mpc.Group{T: 1, Parties: []mpc.PartyID{"a", "b"}}
	hub := memnet.New(g.Parties...)
	defer hub.Close()
	start := func(i int) {
		e := engine()
		ends, err := hub.Open(mpc.SessionID{byte(i), byte(i >> 8), byte(i >> 16), 1})
		if err != nil {
			b.Fatal(err)
		}
		var wg sync.WaitGroup
		for _, end := range ends {
			wg.Go(func() {
				if _, err := e.Start(b.Context(), end, g, nil); err != nil {
					b.Error(err)
				}
				end.Close()
			})
		}
		wg.Wait()
	}
	start(1<<24 - 1)
	begin := cpuTime(b)
	for i := 0; b.Loop(); i++ {
		start(i)
	}
	b.ReportMetric((cpuTime(b)-begin).Seconds()*1e3/float64(b.N), "cpu-ms/session")
}
