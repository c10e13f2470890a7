package node

import (
	"context"
	"encoding/hex"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"time"

	"zonesigner/keystore"
	"zonesigner/mpc"
	"zonesigner/mpc/ecdsa"
	"zonesigner/zonesignerd/internal/agree"
	"zonesigner/zonesignerd/internal/pipeline"
)

// The kinds of proposals that fill pools: by making tuples, and by binding
// unbound ones to keys.
const (
	kindTuples agree.Kind = "tuples"
	kindBind   agree.Kind = "bind"
)

// tuplesWanted is the body of a proposal to make tuples: Count of them for
// Key, or unbound (mpc.Unbound), to be spent by Set on the proposer's word.
type tuplesWanted struct {
	Key   mpc.KeyID `json:"key"`
	Set   string    `json:"set"`
	Count int       `json:"count"`
	// Demand: a zone waits for them, and its proposer is the one who asks.
	Demand bool `json:"demand,omitempty"`
}

// bindWanted is the body of a proposal to bind tuples of the proposer's stock.
type bindWanted struct {
	Engine string           `json:"engine"`
	Set    string           `json:"set"`
	Tuples []mpc.TupleRange `json:"tuples"`
	Keys   []ecdsa.KeyCount `json:"keys"`
	Demand []mpc.KeyID      `json:"demand,omitempty"` // keys whose zones wait
}

// Bounds of one proposal.
const (
	mostTuples = 4 << 20 // of one key; as many as one pool may hold
	mostStock  = 1 << 20 // of unbound ones
	mostDirect = 1 << 16 // in one session for one key, so that others have their turn
	mostBound  = 1 << 16 // in one binding
	mostKeys   = 1024    // in one binding
)

// task is one session that fills pools.
type task struct {
	pool   mpc.PoolID // to fill; for a binding, the stock that it takes from
	count  int
	bind   []ecdsa.KeyCount
	demand []mpc.KeyID // keys whose zones wait for it
}

func (t task) problemKey() problemKey { return problemKey{t.pool, t.bind != nil} }

// share is one stripe's part of what a signer set is to have.
func share(n int, set mpc.SignerSet) int { return (n + len(set) - 1) / len(set) }

// fill keeps the pools as deep as they should be until the node ends, one
// session at a time; what a zone waits for comes first.
func (t *tuples) fill() {
	tick := time.NewTicker(2 * time.Second)
	defer tick.Stop()
	for {
		for t.fillOne() {
		}
		select {
		case <-t.n.ctx.Done():
			return
		case <-t.kick:
		case <-tick.C:
		}
	}
}

// busyPause is how long to wait before others are asked again that were too
// busy.
const busyPause = 100 * time.Millisecond

// fillOne does what is needed most and reports whether to go on at once.
func (t *tuples) fillOne() bool {
	if t.n.ctx.Err() != nil {
		return false
	}
	if _, yes := t.n.store.Suspended(); yes {
		return false
	}
	job, any := t.next()
	if !any {
		return false
	}
	err := t.do(job)
	t.mu.Lock()
	if err != nil {
		t.failed(job, err)
	} else {
		delete(t.problems, job.problemKey())
	}
	var wake []func()
	if err == nil {
		pools := []mpc.PoolID{job.pool}
		for _, k := range job.bind {
			pools = append(pools, mpc.PoolID{Key: k.Key, Set: job.pool.Set, Stripe: t.n.self})
		}
		for _, p := range pools {
			delete(t.problems, problemKey{pool: p})
		}
		for _, p := range pools {
			if w := t.waiters[p]; w != nil && t.depth(p) >= t.demanded(p) {
				wake = append(wake, w)
				delete(t.waiters, p)
			}
		}
	}
	t.mu.Unlock()
	for _, w := range wake {
		w()
	}
	return true
}

// failed notes why a task failed and when it may be tried again; t.mu is held.
func (t *tuples) failed(job task, err error) {
	p := t.problems[job.problemKey()]
	var refused *agree.RefusedError
	errors.As(err, &refused)
	level := slog.LevelWarn
	switch {
	case refused != nil && refused.All("busy"):
		// The last session ends there a moment later than here.
		level, p.pause = slog.LevelDebug, busyPause
		time.AfterFunc(busyPause, t.wake)
	case job.bind != nil && refused != nil && (refused.All("tuples") || refused.All("key")):
		// What they lack is given up or left out, and the rest tried again;
		// less and less often, for who says so each time makes us work.
		level, p.pause = slog.LevelDebug, max(busyPause, min(2*p.pause, time.Minute))
		time.AfterFunc(p.pause, t.wake)
	case refused != nil && refused.All("key"):
		level = slog.LevelDebug // they take the key into use a moment later
		fallthrough
	default:
		p.pause = max(time.Second, min(2*p.pause, time.Minute))
	}
	p.retryAt = t.n.opt.Now().Add(p.pause)
	if p.text != err.Error() && t.n.ctx.Err() == nil {
		t.n.log.Log(t.n.ctx, level, "pool not filled", "key", job.pool.Key, "set", job.pool.Set, "err", err)
	}
	p.text = err.Error()
	t.problems[job.problemKey()] = p
}

// lacks is what the keys of one engine lack for one signer set.
type lacks struct {
	waited []ecdsa.KeyCount // zones wait for it
	spare  []ecdsa.KeyCount // it is to be kept bound
}

// next finds what to do first: for zones that wait, then for the stocks, then
// for what is to be kept bound. Of a key that lacks much, tuples are made for it
// straight away, both phases in one; small needs share one binding.
func (t *tuples) next() (job task, any bool) {
	all := t.n.allReady(t.n.groups.mpc().Parties)
	keys, wanted := map[string][]keystore.KeyRecord{}, map[string]int{}
	for _, k := range t.n.keys.all() {
		keys[k.Engine] = append(keys[k.Engine], k)
		wanted[k.ID] = t.n.boundWanted(k)
	}
	lack := 0
	zoneSets := t.n.setsByZone()
	for engine := range t.n.engines {
		if len(keys[engine]) == 0 || !all && t.n.binds(engine) {
			continue
		}
		for _, set := range t.n.groups.file().Sets(engine) {
			if !set.Contains(t.n.self) || !all && !t.n.allReady(set) {
				continue
			}
			found, urgent := t.nextFor(engine, set, t.lacking(keys[engine], set, wanted, zoneSets))
			switch {
			case urgent:
				return found, true
			case found.size() > lack:
				job, lack = found, found.size()
			}
		}
	}
	if lack > 0 && t.deferred() {
		return task{}, false
	}
	return job, lack > 0
}

const (
	// largeZone is how many records or RRsets a zone has at least for which the
	// filling of pools waits. Smaller ones are done in a moment, and of many one
	// is always at work.
	largeZone = 10_000
	// mostDeferred is how long filling waits for them, and deferredARecord how
	// much longer for each record: a zone of a million names takes minutes.
	mostDeferred    = time.Minute
	deferredARecord = 100 * time.Microsecond
)

// deferred reports whether what no zone waits for is to wait: a large zone is
// being signed or published here, and takes what this machine has.
func (t *tuples) deferred() bool {
	size := 0 // of the zones that are at work
	for _, z := range t.n.allZones() {
		if n := z.Size(); n >= largeZone && z.Working() {
			size += n
		}
	}
	at := size > 0 || t.n.opt.atWork != nil && t.n.opt.atWork()
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.n.opt.Now()
	switch {
	case !at:
		t.since = time.Time{}
	case t.since.IsZero():
		t.since = now
	}
	return at && now.Sub(t.since) < mostDeferred+time.Duration(size)*deferredARecord
}

func (n *Node) allReady(ids []mpc.PartyID) bool {
	return !slices.ContainsFunc(ids, func(id mpc.PartyID) bool { return !n.isReady(id) })
}

// makers are the operators that make an engine's tuples for a signer set: all of
// the group, or with an engine that has no unbound ones, whose tuples are secret
// numbers of the members alone, these.
func (n *Node) makers(engine string, set mpc.SignerSet) mpc.SignerSet {
	if n.binds(engine) {
		return mpc.NewSignerSet(n.groups.mpc().Parties...)
	}
	return set
}

func (t task) size() int {
	n := t.count
	for _, k := range t.bind {
		n += k.Count
	}
	return n
}

// lacking is what keys lack for a signer set. A set that does not sign for all
// engines of a key's zone makes nothing for it, and nothing is made for a key
// that is suspended.
func (t *tuples) lacking(keys []keystore.KeyRecord, set mpc.SignerSet, wanted map[string]int, zoneSets map[string][]mpc.SignerSet) (l lacks) {
	for _, k := range keys {
		if sets, mixed := zoneSets[k.Zone]; mixed && !slices.ContainsFunc(sets, set.Equal) || k.Meta[metaSuspended] != "" {
			continue
		}
		pool := mpc.PoolID{Key: mpc.KeyID(k.ID), Set: set.String(), Stripe: t.n.self}
		t.mu.Lock()
		demand := t.demanded(pool)
		t.mu.Unlock()
		if t.paused(task{pool: pool}) {
			continue
		}
		depth, want := t.depth(pool), share(wanted[k.ID], set)
		switch {
		case demand > depth:
			l.waited = append(l.waited, ecdsa.KeyCount{Key: pool.Key, Count: demand - depth})
		case want > 0 && depth <= want/2:
			l.spare = append(l.spare, ecdsa.KeyCount{Key: pool.Key, Count: want - depth})
		}
	}
	return l
}

// nextFor finds what to do for one engine and set. It is urgent if a zone
// waits for it.
func (t *tuples) nextFor(engine string, set mpc.SignerSet, l lacks) (job task, urgent bool) {
	stock := mpc.PoolID{Key: mpc.Unbound(engine), Set: set.String(), Stripe: t.n.self}
	depth, want := t.depth(stock), share(t.n.poolDepth(), set)
	if !t.n.engines[engine].binds() {
		want = 0 // no stock, and every need is large
	}
	large := min(want/2, mostBound) // beyond that a key's tuples are made for it alone
	for i, list := range [][]ecdsa.KeyCount{l.waited, l.spare} {
		urgent = i == 0
		small := 0
		var demand []mpc.KeyID
		for _, k := range list {
			if urgent {
				demand = append(demand, k.Key)
			}
			if k.Count <= large {
				small += k.Count
				continue
			}
			direct := task{pool: mpc.PoolID{Key: k.Key, Set: stock.Set, Stripe: t.n.self}, count: min(k.Count, mostDirect)}
			if urgent {
				direct.demand = []mpc.KeyID{k.Key}
			}
			if most := t.n.engines[engine].pace().filling; most > 0 {
				direct.count = min(direct.count, most)
			}
			if !t.paused(direct) {
				return direct, urgent
			}
		}
		if small == 0 {
			continue
		}
		binding := task{pool: stock, bind: fitting(list, min(depth, mostBound), large), demand: demand}
		making := task{pool: stock, count: min(max(small, want)-depth, mostStock), demand: demand}
		switch {
		case (depth >= small || depth >= mostBound || urgent && depth > large) && len(binding.bind) > 0 && !t.paused(binding):
			return binding, urgent
		case making.count > 0 && !t.paused(making):
			return making, urgent
		}
	}
	if making := (task{pool: stock, count: want - depth}); depth <= want/2 && making.count > 0 && !t.paused(making) {
		return making, false
	}
	return task{}, false
}

// fitting cuts a list down to so many tuples and keys, without keys that lack
// more than large.
func fitting(list []ecdsa.KeyCount, tuples, large int) (out []ecdsa.KeyCount) {
	for _, k := range list {
		if k.Count <= large && k.Count <= tuples && len(out) < mostKeys {
			out = append(out, k)
			tuples -= k.Count
		}
	}
	return out
}

func (t *tuples) paused(job task) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.n.opt.Now().Before(t.problems[job.problemKey()].retryAt)
}

// do proposes a task and runs its session.
func (t *tuples) do(job task) error {
	set, err := mpc.ParseSignerSet(job.pool.Set)
	if err != nil {
		return err
	}
	makers := t.n.makers(t.n.engineOfPool(job.pool), set)
	var (
		agreed *agree.Agreed
		run    func() error
	)
	if job.bind == nil {
		body := tuplesWanted{Key: job.pool.Key, Set: job.pool.Set, Count: min(job.count, mostTuples), Demand: len(job.demand) > 0}
		agreed, err = t.n.agreement.Propose(t.n.ctx, kindTuples, string(job.pool.Key), makers, body)
		run = func() error { return t.make(t.n.ctx, agreed, body) }
	} else {
		engine, _ := strings.CutPrefix(string(job.pool.Key), string(mpc.Unbound("")))
		body := bindWanted{Engine: engine, Set: job.pool.Set, Keys: job.bind, Demand: job.demand}
		body.Tuples, _ = t.take(job.pool, job.size())
		agreed, err = t.n.agreement.Propose(t.n.ctx, kindBind, string(job.pool.Key), makers, body)
		run = func() error { return t.bind(t.n.ctx, agreed, body) }
		var refused *agree.RefusedError
		if errors.As(err, &refused) {
			if r, ok := refused.Code("tuples"); ok {
				t.Drop(named(r.Records, body.Tuples)) // on another's word only what it was asked for
			}
			if r, ok := refused.Code("key"); ok {
				t.leaveOut(job.pool.Set, r)
			}
		}
	}
	if err != nil {
		return err
	}
	err = run()
	t.n.blame.note(makers, err, t.n.opt.Now())
	return err
}

// make runs a session that makes tuples.
func (t *tuples) make(ctx context.Context, a *agree.Agreed, body tuplesWanted) error {
	set, err := mpc.ParseSignerSet(body.Set)
	if err != nil {
		return err
	}
	pool := mpc.PoolID{Key: body.Key, Set: body.Set, Stripe: a.Proposal.Proposer}
	var waiting []mpc.KeyID
	if body.Demand {
		waiting = []mpc.KeyID{body.Key}
	}
	return t.session(ctx, a, []mpc.PoolID{pool}, waiting, body.Count, t.n.patience(t.n.engineOfPool(pool)), func(ctx context.Context, net mpc.Network, progress func(int)) error {
		return t.n.signer.Prepare(ctx, net, body.Key, set, a.Proposal.Proposer, body.Count, progress)
	})
}

// bind runs a session that binds tuples.
func (t *tuples) bind(ctx context.Context, a *agree.Agreed, body bindWanted) error {
	set, err := mpc.ParseSignerSet(body.Set)
	if err != nil {
		return err
	}
	req := ecdsa.BindRequest{Engine: body.Engine, Set: set, Stripe: a.Proposal.Proposer, Tuples: body.Tuples, Keys: body.Keys}
	var pools []mpc.PoolID
	count := 0
	for _, k := range body.Keys {
		pools = append(pools, mpc.PoolID{Key: k.Key, Set: body.Set, Stripe: a.Proposal.Proposer})
		count += k.Count
	}
	return t.session(ctx, a, pools, body.Demand, count, t.n.patience(body.Engine), func(ctx context.Context, net mpc.Network, progress func(int)) error {
		return t.n.signer.Bind(ctx, net, req, progress)
	})
}

// session runs f in an agreed session that fills pools with count tuples, with
// its progress shown; waiting are keys whose zones wait for it. It ends when
// nothing moves for limit.
func (t *tuples) session(ctx context.Context, a *agree.Agreed, pools []mpc.PoolID, waiting []mpc.KeyID, count int, limit time.Duration, f func(context.Context, mpc.Network, func(int)) error) error {
	net, err := t.n.transport.Open(a.Session, a.Proposal.Members)
	if err != nil {
		return err
	}
	defer net.Close()
	ctx, alive, stop := pipeline.Watchdog(ctx, limit)
	defer stop()
	start, proposer := t.n.opt.Now(), a.Proposal.Proposer
	defer func() {
		t.mu.Lock()
		for _, p := range pools {
			delete(t.filling, p)
		}
		t.mu.Unlock()
	}()
	// Another operator prepares for zones whose turn to propose it has: that
	// is no time for the next one to take over, nor to make tuples of its own.
	zones := map[mpc.KeyID]*zone{}
	if proposer != t.n.self {
		for _, key := range waiting {
			if k, ok := t.n.keys.find(string(key)); ok {
				if z := t.n.zone(k.Zone); z != nil {
					zones[key] = z
				}
			}
		}
	}
	moved := func() {
		alive()
		for key, z := range zones {
			if z.Yield(proposer) {
				t.mu.Lock()
				delete(t.demand, key)
				t.mu.Unlock()
			}
		}
	}
	moved()
	err = f(ctx, lively{net, moved}, func(done int) {
		moved()
		t.mu.Lock()
		for _, p := range pools {
			t.filling[p] = fillState{done, count}
		}
		t.mu.Unlock()
	})
	if err != nil {
		return err
	}
	level := slog.LevelInfo
	if proposer != t.n.self {
		level = slog.LevelDebug // its owner says it
	}
	attrs := []any{"set", pools[0].Set, "stripe", proposer, "tuples", count, "took", t.n.opt.Now().Sub(start).Round(time.Millisecond)}
	if a.Proposal.Kind == kindBind {
		t.n.log.Log(ctx, level, "tuples bound", append(attrs, "keys", len(pools))...)
	} else {
		t.n.log.Log(ctx, level, "pool filled", append(attrs, "key", pools[0].Key)...)
	}
	return nil
}

// engineOfPool is the engine of a pool's tuples, bound or not.
func (n *Node) engineOfPool(p mpc.PoolID) string {
	if engine, unbound := strings.CutPrefix(string(p.Key), string(mpc.Unbound(""))); unbound {
		return engine
	}
	k, _ := n.keys.find(string(p.Key))
	return k.Engine
}

// leaveOut lets keys wait that another operator does not know: it takes them
// into use a moment later.
func (t *tuples) leaveOut(set string, r agree.Refusal) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, key := range r.Records {
		pool := problemKey{pool: mpc.PoolID{Key: mpc.KeyID(key), Set: set, Stripe: t.n.self}}
		if _, known := t.n.keys.find(key); known {
			t.problems[pool] = poolProblem{text: "operator " + string(r.Peer) + " does not know the key", retryAt: t.n.opt.Now().Add(time.Second), pause: time.Second}
		}
	}
}

// named keeps the chunks that are among ranges.
func named(chunks []string, ranges []mpc.TupleRange) []string {
	return slices.DeleteFunc(slices.Clone(chunks), func(name string) bool {
		return !slices.ContainsFunc(ranges, func(r mpc.TupleRange) bool { return hex.EncodeToString(r.Chunk[:]) == name })
	})
}

// most is how many tuples one pool of a key may hold: enough to sign all of
// its zone twice, and what operators keep ready.
func (t *tuples) most(k keystore.KeyRecord) int {
	size := 0
	if z := t.n.zone(k.Zone); z != nil {
		size = z.Size()
	}
	if size == 0 {
		return 1 << 16 // its content is not known here yet
	}
	return min(8*size+8*t.n.boundWanted(k)+1<<12, mostTuples)
}
