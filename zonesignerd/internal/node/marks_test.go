package node

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"zonesigner/keystore"
	"zonesigner/mpc"
	"zonesigner/zonesignerd/internal/agree"
	"zonesigner/zonesignerd/internal/pipeline"
)

// keep puts an operator's state aside; putBack is the older copy of the disk
// and, with reboot, an empty run directory.
func (o *operators) keep(name string) {
	must(o.t, exec.Command("cp", "-a", o.path(name, "state"), o.path(name, "copy")).Run())
}

func (o *operators) putBack(name string) {
	must(o.t, os.RemoveAll(o.path(name, "state")))
	must(o.t, os.Rename(o.path(name, "copy"), o.path(name, "state")))
	must(o.t, os.RemoveAll(o.path(name, "run")))
}

// a is down while b and c sign; b's disk is put back to before that; c denies
// that it ever saw b's marks (here: it knows no better, its own disk was put
// back with b's), and a truly does not know them. Both confirm b, which is
// t+1; and c would make a second statement on what b has spent. With reviveAll
// it could.
func TestRestoredDiskAndALyingPeer(t *testing.T) {
	for _, defended := range []bool{true, false} {
		t.Run(fmt.Sprint("defended=", defended), func(t *testing.T) {
			o, serial := one(t)
			o.options = func(_ string, opt *Options) { opt.reviveAll = !defended }
			o.poolsFull()
			for _, name := range []string{"b", "c"} {
				o.stop(name)
				o.keep(name)
			}
			o.stop("a")
			spent := make(chan mpc.TupleRange, 1000)
			o.options = func(name string, opt *Options) {
				opt.reviveAll = !defended
				if name == "b" {
					opt.spent = func(r mpc.TupleRange, _ [32]byte) { spent <- r }
				}
			}
			o.start("b")
			o.start("c")
			o.write("example.", 2, "www A 192.0.2.11")
			o.level("example.", serial, "b", "c")
			o.stop("b")
			o.stop("c")
			o.putBack("b")
			o.putBack("c")
			o.options = func(_ string, opt *Options) { opt.reviveAll = !defended }
			o.start("a")
			o.start("c")
			b := o.start("b")
			o.eventually(30*time.Second, "b's tuples are confirmed", func() bool {
				_, yes := b.store.Suspended()
				return !yes
			})
			r := <-spent
			revived := false
			for _, p := range b.store.Pools() {
				for _, c := range b.store.Chunks(p.ID) {
					if mpc.ChunkID(c.ID) == r.Chunk && c.Next <= r.From {
						_, _, err := b.store.Spend(p.ID, c.ID, r.From, r.Count, [32]byte{2})
						revived = err == nil
					}
				}
			}
			if revived == defended {
				t.Errorf("spent tuples are revived: %v, expected %v", revived, !defended)
			}
			if defended { // what cannot be confirmed is not all: the set of all three goes on
				for _, p := range b.store.Pools() {
					if p.ID.Set == "a+b+c" {
						return
					}
				}
				t.Error("b has no tuples of the set of all")
			}
		})
	}
}

// a, b and c have accepted a proposal; a has heard so, spends, and tells its share
// of R, of which its peers hear nothing but who reads it on the way, and its disk
// is put back. With reviveAll, as nobody then destroys what it accepted, all would
// spend those tuples again, for messages that came after R.
func TestTupleThatOneHasSpokenOf(t *testing.T) {
	for _, defended := range []bool{true, false} {
		t.Run(fmt.Sprint("defended=", defended), func(t *testing.T) {
			o, _ := one(t)
			for _, name := range o.names { // on with the hook in place
				o.stop(name)
			}
			o.options = func(_ string, opt *Options) { opt.reviveAll = !defended }
			o.startAll()
			o.poolsFull()
			o.stop("a")
			o.keep("a")
			a := o.start("a")
			pool, chunk := ownPool(t, a)
			r := mpc.TupleRange{Chunk: mpc.ChunkID(chunk.ID), From: chunk.Next, Count: 1}
			set := mpc.NewSignerSet("a", "b", "c")
			for _, name := range []string{"b", "c"} {
				must(t, o.nodes[name].tuples.Check(t.Context(), mpc.KeyID(pool.Key), set, "a", []mpc.TupleRange{r}))
			}
			b := o.nodes["b"]
			untouched := notAccepted(b)
			if len(untouched) == 0 {
				t.Fatal("all that b has was proposed")
			}
			_, _, err := a.store.Spend(pool, chunk.ID, r.From, r.Count, [32]byte{1})
			must(t, err)
			o.stop("a")
			o.putBack("a")
			a = o.start("a")
			o.eventually(30*time.Second, "a may use its tuples of the set of all", func() bool {
				_, suspended := a.store.Suspended()
				return !suspended && a.marks.cleared(set) == nil
			})
			again := 0
			for _, name := range o.names {
				if _, _, err := o.nodes[name].store.Spend(pool, chunk.ID, r.From, r.Count, [32]byte{2}); err == nil {
					again++
				}
			}
			if want := map[bool]int{true: 1, false: 3}[defended]; again != want {
				t.Errorf("%d operators would spend the tuples again, expected %d", again, want)
			}
			for _, id := range notAccepted(b) {
				delete(untouched, id)
			}
			if len(untouched) > 0 {
				t.Errorf("%d chunks are gone at b that nobody proposed", len(untouched))
			}
		})
	}
}

// ownPool is a pool of bound tuples of the set of all three in an operator's own stripe,
// and its first chunk.
func ownPool(t *testing.T, a *Node) (keystore.PoolID, keystore.Chunk) {
	t.Helper()
	for _, p := range a.store.Pools() {
		if p.ID.Set == "a+b+c" && p.ID.Stripe == string(a.self) && !strings.HasPrefix(p.ID.Key, string(mpc.Unbound(""))) {
			return p.ID, a.store.Chunks(p.ID)[0]
		}
	}
	t.Fatal("a has no tuples of the set of all")
	return keystore.PoolID{}, keystore.Chunk{}
}

// notAccepted are the chunks of no proposal that an operator knows.
func notAccepted(n *Node) map[keystore.ChunkID]keystore.ChunkID {
	ids := map[keystore.ChunkID]keystore.ChunkID{}
	n.tuples.accepted.mu.Lock()
	defer n.tuples.accepted.mu.Unlock()
	for _, p := range n.store.Pools() {
		for _, c := range n.store.Chunks(p.ID) {
			if !n.tuples.accepted.chunks[c.ID] {
				ids[c.ID] = c.ID
			}
		}
	}
	return ids
}

// Tuples of a set rest until all its other members have answered, also when the
// operator is started once more meanwhile.
func TestTuplesRestUntilAllMembersAnswer(t *testing.T) {
	o, _ := one(t)
	o.poolsFull()
	o.stopAll()
	must(t, os.RemoveAll(o.path("a", "run")))
	all, pair := mpc.NewSignerSet("a", "b", "c"), mpc.NewSignerSet("a", "b")
	a := o.start("a")
	o.start("b")
	rests := func(set mpc.SignerSet) bool { return a.marks.cleared(set) != nil }
	o.eventually(20*time.Second, "b has answered", func() bool { return !rests(pair) })
	if !rests(all) {
		t.Error("tuples of a set are used of which c has not answered")
	}
	must(t, a.store.Confirm(1, []keystore.PeerMark{{Operator: "b"}})) // as if that were enough
	o.stop("a")
	a = o.start("a")
	if _, yes := a.store.Suspended(); yes {
		t.Fatal("the run mark does not vouch")
	}
	if !rests(all) || !rests(pair) {
		t.Error("started once more, a has forgotten whom it waits for")
	}
	if _, err := a.tuples.Choose("k", all, 1, func() {}); !errors.Is(err, pipeline.ErrTuples) {
		t.Errorf("a chooses: %v", err)
	}
	o.start("c")
	o.eventually(20*time.Second, "c has answered", func() bool { return !rests(all) })
	o.eventually(10*time.Second, "a stops asking", func() bool {
		_, err := a.store.Get(bucketMark, keyStart)
		return errors.Is(err, keystore.ErrNotFound)
	})
}

// An answer to an earlier start counts for nothing: who gave it had not yet
// destroyed what it accepted since. With anyStart it would count.
func TestAnswerToAnEarlierStart(t *testing.T) {
	o, _ := one(t)
	o.poolsFull()
	o.stopAll()
	pair := mpc.NewSignerSet("a", "b")
	for _, defended := range []bool{true, false} {
		must(t, os.RemoveAll(o.path("a", "run")))
		o.options = func(_ string, opt *Options) { opt.anyStart = !defended }
		a := o.start("a") // alone, so that no answer comes but these
		answers := func(start agree.Digest) {
			t.Helper()
			body, err := json.Marshal(markHeld{Start: start})
			must(t, err)
			must(t, a.dispatch(&agree.Message{Type: typeMarkHeld, From: "b", Body: body}))
		}
		answers(agree.Digest{1})
		if counts := a.marks.cleared(pair) == nil; counts == defended {
			t.Errorf("an answer to another start counts: %v, expected %v", counts, !defended)
		}
		a.marks.mu.Lock()
		start := a.marks.start
		a.marks.mu.Unlock()
		answers(start)
		if err := a.marks.cleared(pair); err != nil {
			t.Errorf("the answer to this start does not count: %v", err)
		}
		o.stop("a")
	}
}

// A member that claims start after start destroys what was accepted only so
// often. With everyStart it would each time.
func TestStartsAreLimited(t *testing.T) {
	o, _ := one(t)
	o.poolsFull()
	set := mpc.NewSignerSet("a", "b", "c")
	for _, defended := range []bool{true, false} {
		o.stop("b")
		o.options = func(_ string, opt *Options) { opt.everyStart = !defended }
		b := o.start("b")
		now := time.Now()
		start := byte(0)
		asks := func(from mpc.PartyID, now time.Time) bool {
			t.Helper()
			start++
			ok, err := b.tuples.discardAccepted(from, [32]byte{start}, now)
			must(t, err)
			return ok
		}
		for i := range startsAnHour {
			if !asks("a", now.Add(time.Duration(i)*time.Second)) {
				t.Errorf("start %d is not answered", i)
			}
		}
		pool, chunk := ownPool(t, b) // which was not proposed before
		_, err := b.tuples.Choose(mpc.KeyID(pool.Key), set, 1, func() {})
		must(t, err)
		here := func() bool {
			return slices.ContainsFunc(b.store.Chunks(pool), func(c keystore.Chunk) bool { return c.ID == chunk.ID })
		}
		if ok := asks("a", now.Add(time.Minute)); ok == defended || here() != defended {
			t.Errorf("one start more: answered %v, the tuples are there: %v; defended: %v", ok, here(), defended)
		}
		if ok, err := b.tuples.discardAccepted("a", [32]byte{startsAnHour}, now.Add(time.Minute)); defended && (!ok || err != nil || !here()) {
			t.Errorf("the start that was answered, once more: %v, %v, the tuples are there: %v", ok, err, here())
		}
		if !asks("c", now.Add(time.Minute)) || here() {
			t.Error("another operator's start is not answered, or destroys nothing")
		}
		if !asks("a", now.Add(time.Hour)) {
			t.Error("a start is not answered after an hour")
		}
	}
}

func TestRevivable(t *testing.T) {
	for _, c := range []struct {
		key, set     string
		n, threshold int
		want         bool
	}{
		{"k", "a+b", 3, 1, false}, {"k", "a+b+c", 3, 1, true}, {"k", "a+b+c", 5, 2, false}, {"k", "a+b+c+d", 5, 2, true}, {"k", "", 3, 1, false},
		{string(mpc.Unbound("mal-shamir")), "a+b", 3, 1, true},
		{"k", "a+b", 2, 1, false}, {string(mpc.Unbound("mascot")), "a+b", 2, 1, false}, {string(mpc.Unbound("mascot")), "a+b+c", 3, 2, false},
		{"k", "a+b+c+d", 4, 2, true},
	} {
		g := mpc.Group{Parties: []mpc.PartyID{"a", "b", "c", "d", "e"}[:c.n], T: c.threshold}
		if got := revivable(keystore.PoolID{Key: c.key, Set: c.set}, g); got != c.want {
			t.Errorf("pool of %q and set %q with threshold %d of %d: %v, expected %v", c.key, c.set, c.threshold, c.n, got, c.want)
		}
	}
}

// Marks of others are durable when signed returns, and our own newest
// statement is never replaced by an older one, whoever relays it.
func TestMarksOnlyGrow(t *testing.T) {
	o, _ := one(t)
	b := o.nodes["b"]
	b.marks.mu.Lock()
	own, at := b.marks.own, b.marks.ownMark
	b.marks.mu.Unlock()
	if own == nil {
		t.Fatal("b has signed nothing")
	}
	b.marks.take("b", at-1, []byte("older"))
	b.marks.take("a", 1<<60, []byte("newest"))
	b.marks.take("a", 1<<60-1, []byte("older"))
	must(t, b.marks.flush())
	b.marks.mu.Lock()
	now := b.marks.own
	b.marks.mu.Unlock()
	if string(now) == "older" {
		t.Error("an older statement of ours replaced the newest")
	}
	held, err := b.store.PeerMark("a")
	must(t, err)
	if held.Generation != 1<<60 || string(held.Signed) != "newest" {
		t.Errorf("held is %d, expected the newest", held.Generation)
	}
}

// A proposer may name a chunk that another operator stores a moment later: that
// one waits, or the proposer would give up what both have.
func TestChunkStoredAMomentLater(t *testing.T) {
	o, _ := one(t)
	o.poolsFull()
	b := o.nodes["b"]
	pool, _ := ownPool(t, o.nodes["a"])
	late := mpc.ChunkID{'l', 'a', 't', 'e'}
	check := func() error {
		return b.tuples.Check(t.Context(), mpc.KeyID(pool.Key), mpc.NewSignerSet("a", "b", "c"), "a", []mpc.TupleRange{{Chunk: late, Count: 1}})
	}
	var missing *missingTuples
	if err := check(); !errors.As(err, &missing) || len(missing.Records()) != 1 {
		t.Fatalf("of a chunk that is not there: %v", err)
	}
	stored := make(chan error, 1)
	time.AfterFunc(50*time.Millisecond, func() { stored <- b.store.AddChunk(pool, keystore.ChunkID(late), 1, []byte("a tuple")) })
	if err := check(); err != nil {
		t.Errorf("of a chunk that is there after a moment: %v", err)
	}
	must(t, <-stored)
}
