package node

import (
	"context"
	"errors"
	"math"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"zonesigner/mpc"
	"zonesigner/mpc/ecdsa"
	"zonesigner/zonesignerd/config"
	"zonesigner/zonesignerd/internal/agree"
)

// What a peer may have others make and keep is bounded, and so is what it may
// say of it.
func TestFillingRefused(t *testing.T) {
	o, _ := one(t)
	o.poolsFull()
	a, all := o.nodes["a"], mpc.NewSignerSet("a", "b", "c")
	stock := mpc.Unbound(config.MalShamir)
	key := mpc.KeyID(o.nodes["a"].keys.of("example.")[0].ID)
	ready, _ := a.tuples.take(mpc.PoolID{Key: stock, Set: "a+b+c", Stripe: "a"}, 4)
	good := bindWanted{Engine: config.MalShamir, Set: "a+b+c", Tuples: ready, Keys: []ecdsa.KeyCount{{Key: key, Count: 4}}}
	with := func(change func(b *bindWanted)) bindWanted {
		b := good
		b.Tuples, b.Keys = slices.Clone(good.Tuples), slices.Clone(good.Keys)
		change(&b)
		return b
	}
	for name, c := range map[string]struct {
		kind agree.Kind
		body any
		code string
	}{
		"count that overflows":   {kindTuples, tuplesWanted{Key: stock, Set: "a+b+c", Count: math.MaxInt - 1}, "count"},
		"count below one":        {kindTuples, tuplesWanted{Key: stock, Set: "a+b+c"}, "count"},
		"too many for a key":     {kindTuples, tuplesWanted{Key: key, Set: "a+b+c", Count: 1 << 16}, "count"},
		"unknown engine":         {kindTuples, tuplesWanted{Key: mpc.Unbound("another"), Set: "a+b+c", Count: 1}, "engine"},
		"unknown key":            {kindTuples, tuplesWanted{Key: "another", Set: "a+b+c", Count: 1}, "key"},
		"set without pools":      {kindTuples, tuplesWanted{Key: stock, Set: "a", Count: 1}, "set"},
		"set without the asker":  {kindTuples, tuplesWanted{Key: stock, Set: "b+c", Count: 1}, "set"},
		"binding more than is":   {kindBind, with(func(b *bindWanted) { b.Keys[0].Count++ }), "form"},
		"binding less than is":   {kindBind, with(func(b *bindWanted) { b.Keys[0].Count-- }), "form"},
		"binding that overflows": {kindBind, with(func(b *bindWanted) { b.Keys[0].Count = math.MaxInt }), "count"},
		"range that overflows":   {kindBind, with(func(b *bindWanted) { b.Tuples[0].Count = math.MaxInt }), "form"},
		"tuple twice": {kindBind, with(func(b *bindWanted) {
			r := b.Tuples[0]
			r.Count = 2
			b.Tuples = []mpc.TupleRange{r, r}
		}), "form"},
		"tuples in falling order": {kindBind, with(func(b *bindWanted) {
			r, s := b.Tuples[0], b.Tuples[0]
			r.Count, s.Count = 2, 2
			s.From += 2
			b.Tuples = []mpc.TupleRange{s, r}
		}), "form"},
		"key twice":              {kindBind, with(func(b *bindWanted) { b.Keys = []ecdsa.KeyCount{{Key: key, Count: 2}, {Key: key, Count: 2}} }), "form"},
		"no keys":                {kindBind, with(func(b *bindWanted) { b.Keys = nil }), "form"},
		"unknown key to bind":    {kindBind, with(func(b *bindWanted) { b.Keys[0].Key = "another" }), "key"},
		"tuples that are not":    {kindBind, with(func(b *bindWanted) { b.Tuples[0].Chunk[0] ^= 1 }), "tuples"},
		"zones that do not wait": {kindBind, with(func(b *bindWanted) { b.Demand = []mpc.KeyID{"another"} }), "form"},
		"zones without end":      {kindBind, with(func(b *bindWanted) { b.Demand = slices.Repeat([]mpc.KeyID{key}, 1000) }), "form"},
	} {
		_, err := a.agreement.Propose(t.Context(), c.kind, "test", all, c.body)
		var refused *agree.RefusedError
		if !errors.As(err, &refused) {
			t.Errorf("%s: %v", name, err)
		} else if _, ok := refused.Code(c.code); !ok || len(refused.By) != 2 {
			t.Errorf("%s: %v, want code %q of both", name, err, c.code)
		}
	}
}

// Of each kind that fills pools, an operator has few proposals open, whatever
// it calls them.
func TestFewProposalsOfAKind(t *testing.T) {
	o, _ := one(t)
	a, all := o.nodes["a"], mpc.NewSignerSet("a", "b", "c")
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	busy := make(chan bool, 12)
	for i := range cap(busy) {
		go func() {
			_, err := a.agreement.Propose(ctx, kindShared, string(rune('a'+i)), all, sharedSession{Proposals: []agree.Digest{{byte(i)}}})
			var refused *agree.RefusedError
			busy <- errors.As(err, &refused) && slices.ContainsFunc(refused.By, func(r agree.Refusal) bool { return r.Code == "busy" })
		}()
	}
	n := 0
	for range cap(busy) {
		if <-busy {
			n++
		}
	}
	if n == 0 {
		t.Error("as many proposals as it likes wait at the others")
	}
}

// Whatever a zone waits for, there is something to do for it; what is only to
// be kept is never urgent.
func TestNextTask(t *testing.T) {
	t.Parallel()
	o := newOperators(t, 3, 1)
	o.edit = func(c *config.Daemon) { c.Pools.Depth = 3 * 160000 }
	n := o.start("a")
	set := mpc.NewSignerSet("a", "b", "c")
	stock := poolID(mpc.PoolID{Key: mpc.Unbound(config.MalShamir), Set: set.String(), Stripe: "a"})
	for i := range 40 {
		must(t, n.store.AddChunk(stock, [32]byte{byte(i), 1}, 4000, []byte{1}))
	}
	for _, count := range []int{1, 1000, mostBound, mostBound + 1, 70000, 79999, 80001, 1 << 20} {
		job, urgent := n.tuples.nextFor(config.MalShamir, set, lacks{waited: []ecdsa.KeyCount{{Key: "k", Count: count}}})
		if job.size() == 0 || !urgent || len(job.demand) == 0 {
			t.Errorf("a zone waits for %d tuples: %+v, urgent %v", count, job, urgent)
		}
		job, urgent = n.tuples.nextFor(config.MalShamir, set, lacks{spare: []ecdsa.KeyCount{{Key: "k", Count: count}}})
		if job.size() == 0 || urgent || len(job.demand) > 0 {
			t.Errorf("%d tuples are to be kept: %+v, urgent %v", count, job, urgent)
		}
	}
	// What is waited for rests after a failure: the other need is none the more urgent.
	waited := ecdsa.KeyCount{Key: "waits", Count: 1 << 20}
	n.tuples.problems[problemKey{pool: mpc.PoolID{Key: "waits", Set: set.String(), Stripe: "a"}}] = poolProblem{retryAt: n.opt.Now().Add(time.Hour)}
	job, urgent := n.tuples.nextFor(config.MalShamir, set, lacks{waited: []ecdsa.KeyCount{waited}, spare: []ecdsa.KeyCount{{Key: "k", Count: 1 << 20}}})
	if urgent || job.pool.Key != "k" {
		t.Errorf("while what is waited for rests: %+v, urgent %v", job, urgent)
	}
}

// What no zone waits for is not made while a large zone is at work, here or at
// another operator, and not put off for ever.
func TestFillingWaits(t *testing.T) {
	t.Parallel()
	o := newOperators(t, 3, 1)
	var atWork atomic.Bool
	o.options = func(name string, opt *Options) {
		if name == "b" {
			opt.atWork = atWork.Load
		}
	}
	o.write("example.", 1, "www A 192.0.2.10")
	o.startAll()
	o.add("example.")
	o.level("example.", 0)
	o.poolsFull()
	a, b := o.nodes["a"], o.nodes["b"]
	if b.tuples.deferred() {
		t.Fatal("it waits, and no zone is at work")
	}
	atWork.Store(true)
	if !b.tuples.deferred() {
		t.Error("it does not wait")
	}
	propose := func(demand bool) error {
		body := tuplesWanted{Key: mpc.Unbound(config.MalShamir), Set: "a+b+c", Count: 1, Demand: demand}
		agreed, err := a.agreement.Propose(t.Context(), kindTuples, "test", mpc.NewSignerSet("a", "b", "c"), body)
		if err != nil {
			return err
		}
		return a.tuples.make(t.Context(), agreed, body)
	}
	var refused *agree.RefusedError
	if err := propose(false); !errors.As(err, &refused) || !refused.All("busy") {
		t.Errorf("a proposal for which no zone waits: %v", err)
	}
	// c, which had accepted the first, is done with it when it hears that b had not.
	o.eventually(10*time.Second, "one for which a zone waits has its session", func() bool {
		err := propose(true)
		if err != nil && !(errors.As(err, &refused) && refused.All("busy")) {
			t.Fatalf("one for which a zone waits: %v", err)
		}
		return err == nil
	})
	o.advance(mostDeferred)
	if b.tuples.deferred() {
		t.Error("it waits for ever")
	}
}

// Once a zone is being signed with one operator's tuples, no other makes any for
// it: what it waited for itself is forgotten.
func TestDemandEndsWithAnothersSession(t *testing.T) {
	t.Parallel()
	o := newOperators(t, 3, 1)
	o.options = func(_ string, opt *Options) { opt.Turn = 5 * time.Minute } // one proposer
	o.write("example.", 1, "www A 192.0.2.10")
	o.startAll()
	o.add("example.")
	serial := o.level("example.", 0)
	o.poolsFull() // or filling for the proposer would end it
	demand := func(n *Node) int {
		n.tuples.mu.Lock()
		defer n.tuples.mu.Unlock()
		return len(n.tuples.demand)
	}
	for _, n := range o.nodes {
		n.tuples.mu.Lock()
		for _, k := range n.keys.zone("example.") {
			if k.CSK || k.Flags == 256 { // a KSK signs nothing of the change
				n.tuples.demand[mpc.KeyID(k.ID)] = demanded{"a+b+c", 1}
			}
		}
		n.tuples.mu.Unlock()
		if demand(n) == 0 {
			t.Fatal("no key signs the change")
		}
	}
	o.write("example.", 2, "www A 192.0.2.11")
	o.level("example.", serial)
	for name, n := range o.nodes {
		if left := demand(n); left > 0 {
			t.Errorf("operator %s makes tuples for %d keys", name, left)
		}
	}
}

// Tuples that another operator proposed and that cannot be spent are its
// doing: it rests, and nobody here has to act.
func TestUnspendableTuplesBlameTheirOwner(t *testing.T) {
	o, _ := one(t)
	b := o.nodes["b"]
	store := tupleStore{b.store, "b", nil, nil}
	for stripe, blamed := range map[mpc.PartyID]bool{"c": true, "b": false} {
		_, _, err := store.Spend([]mpc.PoolRange{{Pool: mpc.PoolID{Key: "k", Set: "a+b+c", Stripe: stripe}, TupleRange: mpc.TupleRange{Count: 1}}}, [32]byte{})
		absent, ok := mpc.AsAbsent(err)
		if ok != blamed || blamed && !slices.Equal(absent.Parties, []mpc.PartyID{"c"}) {
			t.Errorf("tuples of %s: %v", stripe, err)
		}
	}
}
