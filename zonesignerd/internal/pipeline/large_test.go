package pipeline

import (
	"context"
	"errors"
	"testing"
	"time"

	"zonesigner/dnssec"
	"zonesigner/zonesignerd/internal/agree"
)

// Of versions that are never signed again the content is given up; what the head
// signs is still there for who asks.
func TestSignedVersionsAreGivenUp(t *testing.T) {
	w := newWorld(t, "", "a", "b", "c")
	serial := w.runAll("www A 192.0.2.10")
	first := w.members["a"].zone.Certified().Content
	w.change(2, "www A 192.0.2.11")
	w.level(serial)
	z := w.members["a"].zone
	kept := func() (contents int) {
		for _, v := range z.versions {
			if v.zone != nil {
				contents++
			}
		}
		return contents
	}
	z.mu.Lock()
	if len(z.versions) != 2 || kept() != 1 || z.newest().zone == nil {
		t.Errorf("of %d versions it has %d contents", len(z.versions), kept())
	}
	if z.content(first) != nil {
		t.Error("it has a content that was signed before the head's")
	}
	z.mu.Unlock()

	w.members["a"].source.set(t, 3, "www A 192.0.2.12") // nobody else has it
	check(t, z.read(t.Context()))
	z.mu.Lock()
	defer z.mu.Unlock()
	if len(z.versions) != 3 || kept() != 1 || z.newest().zone == nil {
		t.Errorf("of %d versions it has %d contents", len(z.versions), kept())
	}
	if c := z.content(z.head.Content); c == nil || agree.Digest(c.ContentDigest()) != z.head.Content {
		t.Error("it does not have what the head signs")
	}
}

// A zone is at work while it is read.
func TestReadingIsWork(t *testing.T) {
	w := newWorld(t, "", "a", "b", "c")
	serial := w.runAll("www A 192.0.2.10")
	m := w.members["a"]
	w.eventually("it rests", func() bool { return !m.zone.Working() })
	read := make(chan struct{})
	m.source.mu.Lock()
	m.source.read = func() *dnssec.Zone {
		<-read
		return parse(t, 2, "www A 192.0.2.11")
	}
	m.source.mu.Unlock()
	m.zone.Changed()
	w.eventually("it reads", m.zone.Working)
	close(read)
	w.change(2, "www A 192.0.2.11", "b", "c")
	w.level(serial)
	w.eventually("it rests again", func() bool { return !m.zone.Working() })
}

// A plan whose proposal found somebody busy is proposed again.
func TestPlanIsProposedAgain(t *testing.T) {
	w := newWorld(t, "", "a", "b")
	serial := w.runAll("www A 192.0.2.10")
	busy, id := w.members["b"].zone, agree.Digest{1}
	if !busy.reserve(id) {
		t.Fatal("it is busy already")
	}
	w.change(2, "www A 192.0.2.11")
	z := w.members["a"].zone
	failed := func(least int) (plan *dnssec.Plan) {
		w.eventually("proposals fail", func() bool {
			z.mu.Lock()
			defer z.mu.Unlock()
			if z.want != nil && z.want.derived != nil && z.failures >= least {
				plan = z.want.derived.plan
			}
			return plan != nil
		})
		return plan
	}
	if first := failed(1); first != failed(3) {
		t.Error("it was planned again")
	}
	busy.release(id)
	w.level(serial)
}

// While a peer's proposal for the same content is planned, an own one waits; not
// for ever.
func TestOwnProposalWaitsForAPlan(t *testing.T) {
	z := newWorld(t, "", "a", "b", "c").members["a"].start()
	v := &version{zone: parse(t, 2, "www A 192.0.2.11"), seq: 1, digest: agree.Digest{1}}
	z.versions = []*version{v}
	z.setJudged(v.digest)
	z.propose(t.Context())
	its := func() { z.want.since, z.retryAt = time.Time{}, time.Time{} } // turn
	for its(); z.want.turns < mostTurns; its() {
		before := z.want.turns
		if wait := z.propose(t.Context()); wait <= 0 || z.failures > 0 || z.want.turns != before+1 {
			t.Fatalf("it proposed: wait %v, %d failures, %d turns", wait, z.failures, z.want.turns)
		}
	}
	z.propose(t.Context())
	if z.failures == 0 {
		t.Error("it waits for ever")
	}
}

// Who is in a session that another operator proposed wants no tuples of its own.
func TestNoTuplesBesideAnothersSession(t *testing.T) {
	w := newWorld(t, "", "a", "b", "c")
	w.runAll("www A 192.0.2.10")
	m := w.members["a"]
	m.pools.mu.Lock()
	m.pools.lacking = make(chan func(), 1)
	m.pools.mu.Unlock()
	if !m.zone.reserve(agree.Digest{1}) {
		t.Fatal("it is busy already")
	}
	m.mu.Lock()
	clear(m.rests) // of whoever was slow on a busy machine
	m.mu.Unlock()
	v := &version{zone: parse(t, 2, "www A 192.0.2.11")}
	_, err := m.zone.attempt(context.Background(), &want{zone: v.zone, version: v, content: agree.Digest(v.zone.ContentDigest()), source: 2})
	if !errors.Is(err, errBusy) || len(m.pools.lacking) > 0 {
		t.Errorf("%v, asked for tuples: %v", err, len(m.pools.lacking) > 0)
	}
}
