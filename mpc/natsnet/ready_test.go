package natsnet

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"zonesigner/mpc"
)

// A peer that was silent for a few probes is not ready, though nothing happens
// when it ceases to be; who waits for it then hears of its next answer.
func TestReadyAgainAfterSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		const every = time.Second
		tr := &Transport{cfg: Config{Limits: Limits{ProbeEvery: every}}, ctx: t.Context(), changed: make(chan struct{})}
		l := &link{}
		p := &peer{t: tr, id: "b", link: l}
		l.peer = p
		tr.peers = map[mpc.PartyID]*peer{"b": p}
		p.seen(l, time.Millisecond)
		if err := tr.WaitReady(ctx); err != nil {
			t.Fatalf("after an answer: %v", err)
		}
		time.Sleep(5 * every)
		done := make(chan error)
		go func() { done <- tr.WaitReady(ctx) }()
		synctest.Wait()
		select {
		case err := <-done:
			t.Fatalf("after five probes without an answer, no waiting: %v", err)
		default:
		}
		start := time.Now()
		p.seen(l, time.Millisecond)
		if err := <-done; err != nil || time.Since(start) > 0 {
			t.Errorf("%v after the next answer: %v", time.Since(start), err)
		}
	})
}
