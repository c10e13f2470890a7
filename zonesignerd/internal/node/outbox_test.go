package node

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"zonesigner/mpc"
)

// A peer that reads nothing holds up neither the sender nor what others are
// told; what it gets later is in order, and what is too much is dropped, with
// one word about it.
func TestOutbox(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var slow, quick []string
		stuck := make(chan struct{})
		failed := 0
		s, q := newOutbox("slow"), newOutbox("quick")
		go s.run(ctx, func(ctx context.Context, _ mpc.PartyID, b []byte) error {
			select {
			case <-stuck:
				slow = append(slow, string(b))
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}, func(mpc.PartyID, error) { failed++ })
		go q.run(ctx, func(_ context.Context, _ mpc.PartyID, b []byte) error {
			quick = append(quick, string(b))
			return nil
		}, nil)
		said := 0
		for i := range mostWaiting + 10 {
			if _, first := s.put(fmt.Append(nil, i)); first {
				said++
			}
		}
		q.put([]byte("x"))
		synctest.Wait()
		if len(quick) != 1 || said != 1 {
			t.Errorf("the quick peer got %v, %d words about the slow one", quick, said)
		}
		if ok, _ := s.put(make([]byte, mostWaitingBytes)); ok {
			t.Error("the bound in bytes does not hold")
		}
		time.Sleep(sendDeadline + time.Millisecond)
		synctest.Wait()
		if failed != 1 {
			t.Errorf("%d messages were given up after the deadline, expected 1", failed)
		}
		close(stuck)
		synctest.Wait()
		for i := range slow {
			if i > 0 && len(slow[i]) < len(slow[i-1]) {
				t.Fatalf("message %s came after %s", slow[i], slow[i-1])
			}
		}
		if len(slow) < mostWaiting-2 {
			t.Errorf("the slow peer got %d messages in the end", len(slow))
		}
		cancel()
		synctest.Wait()
	})
}
