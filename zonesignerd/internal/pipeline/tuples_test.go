package pipeline

import (
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"zonesigner/dnssec"
)

// waiting finds the member that would propose and lacks tuples, and the plan
// that it has kept.
func (w *world) waiting() (m *member, plan *dnssec.Plan) {
	w.t.Helper()
	w.eventually("a zone waits for tuples", func() bool {
		for _, x := range w.members {
			x.zone.mu.Lock()
			if want := x.zone.want; want != nil && want.derived != nil && x.zone.retryAt.Equal(x.zone.shortAt) {
				m, plan = x, want.derived.plan
			}
			x.zone.mu.Unlock()
		}
		return m != nil
	})
	return m, plan
}

// A zone that lacks tuples derives its plan once, however often it looks for
// them, and looks as soon as they are there.
func TestTuplesAreWaitedFor(t *testing.T) {
	w := newWorld(t, "", "a", "b", "c")
	for _, m := range w.members {
		m.pools.lacking = make(chan func(), 100)
		m.source.set(t, 1, "www A 192.0.2.10")
		m.run()
	}
	m, plan := w.waiting()
	if m.zone.Working() {
		t.Error("who waits for tuples keeps others from making them")
	}
	wake := <-m.pools.lacking
	m.zone.filled() // before its pause is over
	again := <-m.pools.lacking
	if _, now := w.waiting(); now != plan {
		t.Error("the plan was derived again")
	}
	for _, m := range w.members {
		m.pools.mu.Lock()
		m.pools.lacking = nil
		m.pools.mu.Unlock()
	}
	wake()
	again()
	w.level(0)
	if took := m.zone.Status().Stages.Tuples; took <= 0 {
		t.Errorf("the wait for tuples is said to have taken %v", took)
	}
}

// Tuples that are there are no reason to go before another operator whose turn
// it is.
func TestTuplesTakeNobodysTurn(t *testing.T) {
	z := newWorld(t, "", "a", "b", "c").members["a"].start()
	now := time.Now()
	late := now.Add(time.Hour)
	z.want, z.shortAt, z.retryAt = &want{}, now, late // as Yield does
	z.filled()
	if !z.retryAt.Equal(late) {
		t.Error("it does not wait for the other any more")
	}
	z.shortAt = z.retryAt
	z.filled()
	if z.retryAt.After(now.Add(time.Minute)) {
		t.Error("it waits although the tuples are there")
	}
}

// A zone is at work until what is certified is published, and not while it
// waits for its server.
func TestWorking(t *testing.T) {
	w := newWorld(t, "", "a", "b", "c")
	w.runAll("www A 192.0.2.10")
	m := w.members["a"]
	w.eventually("it rests", func() bool { return !m.zone.Working() })
	var tried, working atomic.Int32
	m.public.mu.Lock()
	m.public.err = errors.New("the server is down")
	m.public.during = func() {
		if m.zone.Working() {
			working.Add(1)
		}
		tried.Add(1)
	}
	m.public.mu.Unlock()
	w.change(2, "www A 192.0.2.11")
	w.eventually("it waits for its server", func() bool { return tried.Load() > 0 && m.zone.Status().Signed == 2 && !m.zone.Working() })
	if working.Load() == 0 {
		t.Error("it was not at work while it published")
	}
}
