package mascot

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"zonesigner/mpc"
	"zonesigner/mpc/mpctest"
)

// counting counts the messages of one round.
type counting struct {
	mpc.Network
	round string
	sent  *atomic.Int32
}

func (c counting) Send(ctx context.Context, to mpc.PartyID, round string, b []byte) error {
	if round == c.round {
		c.sent.Add(1)
	}
	return c.Network.Send(ctx, to, round, b)
}

// multiplyOnce has parties multiply and see that the product is right.
func multiplyOnce(ctx context.Context, b *box) error {
	r, err := b.Random(ctx, 2)
	if err != nil {
		return err
	}
	c, err := b.Mul(ctx, r[:1], r[1:])
	if err != nil {
		return err
	}
	v, err := b.Open(ctx, append(r, c...))
	if err == nil && v[2] != v[0].Mul(v[1]) {
		err = fmt.Errorf("%s has a wrong product", b.self)
	}
	return err
}

// TestRoot: only the first session makes base transfers, each has a correlation
// of its own, and who has lost its root, or has another, gets a new one.
func TestRoot(t *testing.T) {
	e := Full()
	var base atomic.Int32
	seen := map[[rowSize]byte]bool{}
	session := func() {
		t.Helper()
		var deltas collect[[rowSize]byte]
		missed(t, play(t, e, 3, nil, func(net mpc.Network) mpc.Network { return counting{net, "set-up/base", &base} }, func(ctx context.Context, b *box) error {
			deltas.put(b.self, b.links[0].sender.delta)
			return multiplyOnce(ctx, b)
		}))
		for _, d := range deltas.all {
			if seen[d] {
				t.Error("two sessions have one correlation")
			}
			seen[d] = true
		}
	}
	session()
	session()
	if base.Load() != 2 {
		t.Errorf("two sessions: a sent %d base transfers, want one for each peer", base.Load())
	}
	group := mpctest.Group(3, 2).Digest
	e.roots.mu.Lock()
	delete(e.roots.all, pair{group, "b", "a"}) // as if b had been started again
	e.roots.mu.Unlock()
	session()
	if base.Load() != 3 {
		t.Errorf("b has lost a root: a sent %d base transfers, want one more", base.Load()-2)
	}
	session()
	if base.Load() != 3 {
		t.Error("a root that was made anew does not serve")
	}
	if ab, ba := e.roots.all[pair{group, "a", "b"}], e.roots.all[pair{group, "b", "a"}]; ab == nil || ba == nil || ab.id != ba.id {
		t.Error("two parties name their root differently")
	}
}

// TestRoots: of two that were made at once both parties keep the same, whatever
// their order; none lives for ever.
func TestRoots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := pair{self: "a", peer: "b"}
		make := func(name byte) *root { return &root{id: [32]byte{name}, made: time.Now()} }
		for _, order := range [][]byte{{1, 2}, {2, 1}} {
			var r roots
			old := make(0)
			r.put(p, nil, old)
			for _, name := range order {
				r.put(p, old, make(name))
			}
			if r.get(p).id[0] != 1 {
				t.Error("which of two roots stays depends on their order")
			}
			if r.get(pair{self: "b", peer: "a"}) != nil || r.get(pair{group: [32]byte{1}, self: "a", peer: "b"}) != nil {
				t.Error("a root serves others than whose it is")
			}
			time.Sleep(rootLife + time.Second)
			if r.get(p) != nil {
				t.Error("a root lives too long")
			}
		}
		// Nobody asks for a root again: it goes all the same, as does one that was
		// never kept, but not while a session is set up from it.
		var r roots
		old, idle, lost := seeded(t, 1), seeded(t, 2), seeded(t, 3)
		r.put(p, nil, old)
		if r.get(p) != old {
			t.Fatal("a root is not there")
		}
		time.Sleep(rootLife / 2)
		r.put(p, old, idle)
		r.put(p, nil, lost)
		time.Sleep(rootLife/2 + time.Second)
		if erased(old) || !erased(lost) || erased(idle) || r.at(p) != idle {
			t.Error("a root that is in use is erased, or one that is not stays, or the one that took its place goes with it")
		}
		if old.release(); !erased(old) {
			t.Error("a root that is over stays")
		}
		time.Sleep(rootLife / 2)
		if !erased(idle) || r.at(p) != nil {
			t.Error("a root that nobody asks for stays")
		}
		var none *roots
		none.put(p, nil, make(1))
		if none.get(p) != nil {
			t.Error("nowhere to keep a root, and there is one")
		}
	})
}

// at is what is kept of a pair, whether it serves or not.
func (r *roots) at(p pair) *root {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.all[p]
}

// seeded is a root with secrets.
func seeded(t *testing.T, name byte) *root {
	t.Helper()
	sender, receiver := extension(t)
	r := &root{id: [32]byte{name}, made: time.Now()}
	r.sender.delta, r.sender.seeds, r.receiver.seeds = sender.delta, sender.seeds, receiver.seeds
	return r
}

// erased reports whether a root has no secret left.
func erased(r *root) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.sender.isErased() && r.receiver.seeds == [columns][2]seed{}
}

// TestSessionIsErased: a session that is over leaves nothing of its transfers, nor
// of the seeds of its MAC key, whether that was used or not.
func TestSessionIsErased(t *testing.T) {
	var links collect[link]
	var keys collect[*factor]
	for _, values := range []int{0, 1} {
		missed(t, play(t, Engine{}, 2, nil, nil, func(ctx context.Context, b *box) error {
			links.put(b.self, b.links[0])
			keys.put(b.self, b.key)
			if values == 0 {
				return nil
			}
			_, err := b.Random(ctx, values)
			return err
		}))
		for p, key := range keys.all {
			l := key.links[0]
			if slices.ContainsFunc(l.theirs, func(s [4]seed) bool { return s != [4]seed{} }) || slices.ContainsFunc(l.ours, func(s [3]seed) bool { return s != [3]seed{} }) ||
				slices.ContainsFunc(key.growth.chosen[0], func(s seed) bool { return s != seed{} }) || slices.Max(key.number) != 0 {
				t.Errorf("the MAC key of %s has left secrets", p)
			}
		}
	}
	for p, l := range links.all {
		if !l.sender.isErased() || l.receiver.seeds != [columns][2]seed{} {
			t.Errorf("the session of %s has left secrets", p)
		}
	}
}

func (e *extensionSender) isErased() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.delta == [rowSize]byte{} && e.seeds == [columns]seed{}
}

// A party guesses one bit of a correlation in each extension, of a root in each
// session that is set up, or of a session's own in the batches that are under
// way together, by a column that does not fit: the check fails or does not, either
// way it knows the bit. The first wrong guess must be the last.
func TestGuessingAtCorrelation(t *testing.T) {
	attack := func(h *holes) (known int) {
		sender, receiver := extension(t)
		for i := range columns {
			choices := make([]byte, rowSize)
			_, _ = rand.Read(choices)
			call := fmt.Appendf(nil, "session %d", i)
			msg, _ := receiver.receive(call, choices, columns, &holes{column: func(c int, masked []byte) {
				if c == i {
					masked[0] ^= 1
				}
			}})
			_, err := sender.send(call, msg, columns, h)
			if guess := err != nil; guess == (bit(sender.delta[:], i) == 1) {
				known++
			}
			if err == nil {
				continue
			}
			if cheat, ok := mpc.AsCheat(err); !ok || cheat.Disputed || cheat.Parties[0] != "a" {
				t.Fatalf("got %v, want a named", err)
			}
			if !h.keepSpoiled {
				// From here on nothing is to be learnt.
				if honest, _ := receiver.receive(call, choices, columns, &holes{}); sender.isSpoiled() && second(sender.send(call, honest, columns, h)) != nil {
					return known
				}
				t.Fatal("the seeds serve after a wrong guess")
			}
		}
		return known
	}
	if known := attack(&holes{keepSpoiled: true}); known != columns {
		t.Errorf("with the seeds kept %d bits are known, want all", known)
	}
	if known := attack(&holes{}); known > columns/2 { // but for 2⁻⁶⁴
		t.Errorf("%d bits are known before the first wrong guess", known)
	}
}

// greeting shows c another nonce than b.
type greeting struct{ mpc.Network }

func (g greeting) Send(ctx context.Context, to mpc.PartyID, round string, b []byte) error {
	if to == "c" && round == "set-up/hello" {
		b = slices.Clone(b)
		b[0] ^= 1
	}
	return g.Network.Send(ctx, to, round, b)
}

// A party greets two others differently, who then have different ids of the
// session. They find out before anything is bound to it, whether they have roots or
// not, and do not take each other for liars.
func TestDifferentGreetings(t *testing.T) {
	e := Full()
	for _, honest := range []bool{false, true, false} {
		var wrap func(mpc.Network) mpc.Network
		if !honest {
			wrap = func(net mpc.Network) mpc.Network { return greeting{net} }
		}
		errs := play(t, e, 3, nil, wrap, multiplyOnce)
		if honest {
			missed(t, errs)
		} else {
			caught(t, errs, "greeted differently")
		}
	}
}
