package natsnet

import (
	"context"
	"fmt"
	"slices"
	"syscall"
	"testing"
	"time"

	"zonesigner/mpc"
)

// BenchmarkTransfer moves session messages of 1 MiB from one daemon to
// another; all three processes' work (sender, two NATS servers, receiver) is
// in this process.
func BenchmarkTransfer(b *testing.B) {
	group := startGroup(b, nil, "a", "b")
	waitReady(b, group)
	for _, size := range []int{1 << 10, 32 << 10, 1 << 20} {
		b.Run(fmt.Sprintf("%dKiB", size>>10), func(b *testing.B) {
			name := fmt.Sprintf("transfer %d %d", size, b.N)
			sessions := openAll(b, group, name, "a", "b")
			defer sessions["a"].Close()
			defer sessions["b"].Close()
			payload := make([]byte, size)
			b.SetBytes(int64(size))
			b.ResetTimer()
			ahead := make(chan struct{}, max(1, (16<<20)/size)) // an honest protocol has a few chunks in flight
			sent := make(chan error, 1)
			go func() {
				for i := range b.N {
					ahead <- struct{}{}
					if err := sessions["a"].Send(context.Background(), "b", fmt.Sprint(i), payload); err != nil {
						sent <- err
						return
					}
				}
				sent <- nil
			}()
			for i := range b.N {
				if _, err := sessions["b"].Recv(context.Background(), "a", fmt.Sprint(i)); err != nil {
					b.Fatal(err)
				}
				<-ahead
			}
			if err := <-sent; err != nil {
				b.Fatal(err)
			}
		})
	}
}

// BenchmarkExchange is one round of 100 bytes among three daemons, everyone
// to everyone, all in this process.
func BenchmarkExchange(b *testing.B) {
	ids := []mpc.PartyID{"a", "b", "c"}
	group := startGroup(b, nil, ids...)
	waitReady(b, group)
	sessions := openAll(b, group, fmt.Sprint("exchange ", b.N), ids...)
	own := make([]byte, 100)
	done := make(chan error)
	b.ResetTimer()
	for _, id := range ids {
		go func() {
			for i := range b.N {
				if _, err := mpc.Exchange(context.Background(), sessions[id], fmt.Sprint(i), own); err != nil {
					done <- err
					return
				}
			}
			done <- nil
		}()
	}
	for range ids {
		if err := <-done; err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkHop sends a session message of 100 bytes to and fro between two daemons, and
// reports the median time of one way, and the CPU time of all that carries it.
func BenchmarkHop(b *testing.B) {
	group := startGroup(b, nil, "a", "b")
	waitReady(b, group)
	sessions := openAll(b, group, fmt.Sprint("hop ", b.N), "a", "b")
	ctx := context.Background()
	payload := make([]byte, 100)
	done := make(chan error, 1)
	b.ResetTimer()
	go func() {
		for i := range b.N {
			if _, err := sessions["b"].Recv(ctx, "a", fmt.Sprint(i)); err != nil {
				done <- err
				return
			}
			if err := sessions["b"].Send(ctx, "a", fmt.Sprint(i), payload); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	took := make([]time.Duration, b.N)
	cpu := cpuTime()
	for i := range b.N {
		begin := time.Now()
		if err := sessions["a"].Send(ctx, "b", fmt.Sprint(i), payload); err != nil {
			b.Fatal(err)
		}
		if _, err := sessions["a"].Recv(ctx, "b", fmt.Sprint(i)); err != nil {
			b.Fatal(err)
		}
		took[i] = time.Since(begin)
	}
	if err := <-done; err != nil {
		b.Fatal(err)
	}
	cpu = cpuTime() - cpu
	slices.Sort(took)
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(took[len(took)/2].Nanoseconds())/2000, "median-µs/hop")
	b.ReportMetric(float64(took[0].Nanoseconds())/2000, "min-µs/hop")
	b.ReportMetric(float64(cpu.Nanoseconds())/float64(2000*b.N), "cpu-µs/hop")
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
