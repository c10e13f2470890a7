package ecdsa

import (
	"testing"
	"testing/synctest"
	"time"

	"zonesigner/mpc"
)

// The longer the way, the more chunks are in flight, within a bound on what
// they hold.
func TestWindow(t *testing.T) {
	for _, c := range []struct {
		size, chunk int
		fixed       int
		roundTrip   time.Duration
		want        int
	}{
		{usualSize, 1024, 0, 0, mpc.DefaultWindow},
		{usualSize, 1024, 0, 80 * time.Microsecond, mpc.DefaultWindow},
		{usualSize, 1024, 0, 17 * time.Millisecond, 8},
		{usualSize, 1024, 0, 240 * time.Millisecond, maxInFlight / usualSize / 1024},
		{usualSize, 1024, 0, time.Hour, maxInFlight / usualSize / 1024},
		{usualSize, 1024, 2, 240 * time.Millisecond, 2},
		{usualSize, 1, 0, 17 * time.Millisecond, mpc.DefaultWindow + 3*17*1024/12},
		{usualSize, 1, 0, time.Hour, maxInFlight / usualSize},
		{usualSize, mpc.MaxChunkSize, 0, 240 * time.Millisecond, mpc.DefaultWindow},
		{80 << 10, 1024, 0, time.Hour, mpc.DefaultWindow},
		{80 << 10, 64, 0, time.Hour, 12},
	} {
		s := &Signer{cfg: Config{Window: c.fixed, RoundTrip: func() time.Duration { return c.roundTrip }}}
		if got := s.window(c.size, c.chunk); got != c.want {
			t.Errorf("tuples of %d bytes, chunks of %d, round trip %v, window %d: %d in flight, want %d", c.size, c.chunk, c.roundTrip, c.fixed, got, c.want)
		}
	}
	if got := new(Signer).window(usualSize, 1024); got != mpc.DefaultWindow {
		t.Errorf("without a round trip: %d", got)
	}
}

// On a long way, chunks that fit the window wait together, and parties with
// other windows than ours do not stop.
func TestChunksInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const roundTrip = 240 * time.Millisecond
		w := newWorld(t, 3, 1, active(), 8)
		w.hub.SetDelay(roundTrip / 2)
		w.generate()
		took := map[int]time.Duration{}
		for _, chunks := range []int{1, 30} {
			begin := time.Now()
			w.mustPrepare(allABC, 8*chunks)
			took[chunks] = time.Since(begin)
			for p, s := range w.signers {
				s.cfg.RoundTrip = func() time.Duration { return roundTrip }
				if p == "b" {
					s.cfg.RoundTrip = func() time.Duration { return 2 * roundTrip }
				}
			}
		}
		if took[30] != took[1] {
			t.Errorf("30 chunks took %v, one took %v", took[30], took[1])
		}
		if want := 7 * roundTrip / 2; took[1] != want {
			t.Errorf("one chunk took %v, want 7 ways of %v: set-up 2, chunk 5", took[1], roundTrip/2)
		}
		// From ready tuples: statements with R, s; the comparison of requests,
		// where there was no agreement.
		for _, agreed := range []bool{true, false} {
			begin, ways := time.Now(), 3
			if agreed {
				ways = 2
			}
			session := w.request(allABC, "a message")
			session.Agreed = agreed
			w.mustSign(session)
			if took, want := time.Since(begin), time.Duration(ways)*roundTrip/2; took != want {
				t.Errorf("a signature took %v, want %d ways of %v", took, ways, roundTrip/2)
			}
		}
	})
}
