package resolve

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// noLimit is a rate that no machine of today sends at, so that what is written
// for limits serves without them, too.
const noLimit = 1e6

// limiter hands out departures at a rate, with bursts of a twentieth of a
// second. Who gives up after being handed one leaves a gap, no more.
type limiter struct {
	mu   sync.Mutex
	rate float64 // a second
	next time.Time
}

// reserve returns how long to wait for a departure.
func (l *limiter) reserve(now time.Time) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if earliest := now.Add(-50 * time.Millisecond); l.next.Before(earliest) {
		l.next = earliest
	}
	l.next = l.next.Add(time.Duration(float64(time.Second) / l.rate))
	return l.next.Sub(now)
}

// backlog is how long reserve would say to wait.
func (l *limiter) backlog(now time.Time) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return max(0, l.next.Sub(now))
}

// server is what the client knows of one address: the rate that it gets, which
// falls by half when it lets queries drop and climbs back slowly, as servers
// that limit the rate of answers need, and how many it let drop in a row.
//
// A query that it let drop is one that it answers when it comes again. What it
// never answers, as servers of many domains do for some, says nothing about its
// rate: the others would wait with these. Nor does the rate fall below that of
// the answers that came meanwhile.
//
// A server that has been silent for a while limits nothing: it is dead. It is
// asked at the full rate again, so that all the domains that hang on it are done
// with in time.
type server struct {
	limiter
	limit, floor float64
	silent       int       // tries in a row without an answer; these are under mu
	answered     time.Time // the last time
	cut          time.Time // when the rate last fell, or the server was first asked
	answers      int       // since then
	used         time.Time // under servers.mu
}

// slowest is the rate below which no authoritative server falls.
const slowest = 2

// deadFor is how long a server is silent until it counts as dead.
const deadFor = 4 * time.Second

// answer notes that the server gave an answer.
func (s *server) answer(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.silent, s.answered = 0, now
	s.answers++
	s.rate = min(s.limit, s.rate+max(0.1, s.rate/100))
}

// learn notes whether what one lookup asked was answered within the time d.
func (s *server) learn(b *budget, this asked, answered bool, d time.Duration) {
	now := time.Now()
	if !answered {
		s.silence(now, d)
		b.silent = append(b.silent, this)
		return
	}
	s.answer(now)
	if slices.Contains(b.silent, this) {
		s.dropped(now, d)
	}
}

// silence notes a try without an answer within the time d.
func (s *server) silence(now time.Time, d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.silent++
	if now.Sub(s.answered) > deadFor+d {
		s.rate = s.limit
	}
}

// dropped notes that what is answered now was not within the time d before. Tries
// that ran side by side count as one.
func (s *server) dropped(now time.Time, d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now.Sub(s.cut) > d {
		served := float64(s.answers) / now.Sub(s.cut).Seconds()
		s.rate = min(s.rate, max(s.floor, s.rate/2, served))
		s.cut, s.answers = now, 0
	}
}

// silences is how many tries in a row went without an answer.
func (s *server) silences() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.silent
}

// servers holds what is known of addresses, at most max of them and those that
// were used in the last minute.
type servers struct {
	mu    sync.Mutex
	max   int
	known map[netip.AddrPort]*server
}

// get returns what is known of addr, whose rate is limited to limit.
func (t *servers) get(addr netip.AddrPort, limit float64, now time.Time) *server {
	t.mu.Lock()
	defer t.mu.Unlock()
	s, ok := t.known[addr]
	if !ok {
		if len(t.known) >= t.max {
			t.forget(now)
		}
		s = &server{limiter: limiter{rate: limit}, limit: limit, floor: min(limit, slowest), cut: now}
		t.known[addr] = s
	}
	s.used = now
	return s
}

// forget makes room: of servers that were not used for a minute, and if that
// is less than a quarter, for the next quarter, too, in no order.
func (t *servers) forget(now time.Time) {
	for _, age := range []time.Duration{time.Minute, 5 * time.Second} {
		for addr, s := range t.known {
			if now.Sub(s.used) > age {
				delete(t.known, addr)
			}
		}
		if len(t.known) < t.max*3/4 {
			return
		}
	}
	t.max += t.max / 4
}

// pause waits for d, or until the context ends.
func pause(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
