package node

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"zonesigner/keystore"
	"zonesigner/mpc"
	"zonesigner/zonesignerd/internal/agree"
	"zonesigner/zonesignerd/internal/api"
	"zonesigner/zonesignerd/internal/pipeline"
)

// kindTuples is the kind of proposal that fills a pool.
const kindTuples agree.Kind = "tuples"

// tuplesWanted is the body of such a proposal: Count tuples for Key, to be
// spent by Set on the proposer's word.
type tuplesWanted struct {
	Key   mpc.KeyID `json:"key"`
	Set   string    `json:"set"`
	Count int       `json:"count"`
	// Demand: a zone waits for them, and its proposer is the one who asks.
	Demand bool `json:"demand,omitempty"`
}

// tuples keeps the pools of this operator's own stripe filled and answers
// what can be spent. Pools are bound to a key and a signer set.
type tuples struct {
	n    *Node
	kick chan struct{}

	mu       sync.Mutex
	demand   map[mpc.PoolID]int       // more than the configured depth, because a session waits for it
	waiters  map[mpc.PoolID]func()    // the key's zone, to wake when the demand is met
	filling  map[mpc.PoolID]fillState // for status
	problems map[mpc.PoolID]poolProblem
	served   map[mpc.PartyID]bool // whose pools are being filled
}

type fillState struct {
	done, want int
}

type poolProblem struct {
	text    string
	retryAt time.Time
	pause   time.Duration
}

func newTuples(n *Node) *tuples {
	return &tuples{n: n, kick: make(chan struct{}, 1), demand: map[mpc.PoolID]int{}, waiters: map[mpc.PoolID]func(){},
		filling: map[mpc.PoolID]fillState{}, problems: map[mpc.PoolID]poolProblem{}, served: map[mpc.PartyID]bool{}}
}

func (t *tuples) wake() {
	select {
	case t.kick <- struct{}{}:
	default:
	}
}

// mostTuples bounds what one proposal may ask for and one pool may hold.
const mostTuples = 4 << 20

func poolID(p mpc.PoolID) keystore.PoolID {
	return keystore.PoolID{Key: string(p.Key), Set: p.Set, Stripe: string(p.Stripe)}
}

// Choose implements pipeline.Pools.
func (t *tuples) Choose(key mpc.KeyID, set mpc.SignerSet, count int, wake func()) ([]mpc.TupleRange, error) {
	if why, yes := t.n.store.Suspended(); yes {
		return nil, fmt.Errorf("%w: those from before the start are suspended: %s", pipeline.ErrTuples, why)
	}
	pool := mpc.PoolID{Key: key, Set: set.String(), Stripe: t.n.self}
	t.mu.Lock()
	defer t.mu.Unlock()
	var out []mpc.TupleRange
	left := count
	for _, c := range t.n.store.Chunks(poolID(pool)) {
		if left == 0 {
			break
		}
		if c.Next >= c.Count {
			continue
		}
		take := min(left, c.Count-c.Next)
		out = append(out, mpc.TupleRange{Chunk: mpc.ChunkID(c.ID), From: c.Next, Count: take})
		left -= take
	}
	if left == 0 {
		delete(t.demand, pool)
		return out, nil
	}
	t.demand[pool] = max(t.demand[pool], count)
	t.waiters[pool] = wake
	t.wake()
	why := ""
	if p, ok := t.problems[pool]; ok && p.text != "" {
		why = "; the last filling failed: " + p.text
	}
	return nil, fmt.Errorf("%w: %d of %d for signer set %s%s", pipeline.ErrTuples, count-left, count, set, why)
}

// Check implements pipeline.Pools.
func (t *tuples) Check(key mpc.KeyID, set mpc.SignerSet, proposer mpc.PartyID, rs []mpc.TupleRange) error {
	if why, yes := t.n.store.Suspended(); yes {
		return fmt.Errorf("tuples are suspended at operator %s: %s", t.n.self, why)
	}
	have := map[mpc.ChunkID]keystore.Chunk{}
	for _, c := range t.n.store.Chunks(poolID(mpc.PoolID{Key: key, Set: set.String(), Stripe: proposer})) {
		have[mpc.ChunkID(c.ID)] = c
	}
	missing := &missingTuples{}
	for _, r := range rs {
		c, ok := have[r.Chunk]
		if !ok || r.From < c.Next || r.Count < 1 || r.Count > c.Count || r.From > c.Count-r.Count {
			missing.chunks = append(missing.chunks, hex.EncodeToString(r.Chunk[:]))
		}
	}
	if missing.chunks != nil {
		return missing
	}
	return nil
}

// missingTuples names chunks that are not usable here; the proposer gives
// them up.
type missingTuples struct{ chunks []string }

func (e *missingTuples) Error() string {
	return fmt.Sprintf("%d chunks of the proposed tuples are spent or not there", len(e.chunks))
}

// Records are the chunks' ids.
func (e *missingTuples) Records() []string { return e.chunks }

// Drop implements pipeline.Pools; only chunks of the own stripe are given up.
func (t *tuples) Drop(chunks []string) {
	for _, p := range t.n.store.Pools() {
		if p.ID.Stripe != string(t.n.self) {
			continue
		}
		for _, c := range t.n.store.Chunks(p.ID) {
			if slices.Contains(chunks, hex.EncodeToString(c.ID[:])) {
				if err := t.n.store.DiscardChunk(p.ID, c.ID, "another operator cannot use it"); err != nil {
					t.n.log.Error("chunk not discarded", "chunk", c.ID, "err", err)
				}
			}
		}
	}
}

// depth counts what is usable of the own stripe's pool.
func (t *tuples) depth(pool mpc.PoolID) int {
	return t.n.store.Depth(poolID(pool))
}

// wanted is how deep the own stripe's pool of a key and set should be. A KSK
// signs little, so it gets a few.
func (t *tuples) wanted(role string, set mpc.SignerSet) int {
	d := t.n.poolDepth()
	if role == roleKSK {
		d = min(d, 48)
	}
	return (d + len(set) - 1) / len(set)
}

// fill keeps the pools at their depth until the node ends, one session at a
// time; what a session waits for comes first.
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

// busyPause is how long to wait before a pool is asked for again that others
// were too busy for.
const busyPause = 100 * time.Millisecond

// fillOne fills the neediest pool and reports whether to go on at once.
func (t *tuples) fillOne() bool {
	if t.n.ctx.Err() != nil {
		return false
	}
	if _, yes := t.n.store.Suspended(); yes {
		return false
	}
	pool, count, demand := t.neediest()
	if count == 0 {
		return false
	}
	err := t.prepare(pool, count, demand)
	t.mu.Lock()
	p := t.problems[pool]
	if err != nil {
		var refused *agree.RefusedError
		errors.As(err, &refused)
		level := slog.LevelWarn
		switch {
		case refused != nil && refused.All("busy"):
			// The last session ends there a moment later than here.
			level, p.pause = slog.LevelDebug, busyPause
			time.AfterFunc(busyPause, t.wake)
		case refused != nil && refused.All("key"):
			level = slog.LevelDebug // they take the key into use a moment later
			fallthrough
		default:
			p.pause = max(time.Second, min(2*p.pause, time.Minute))
		}
		p.retryAt = t.n.opt.Now().Add(p.pause)
		if p.text != err.Error() && t.n.ctx.Err() == nil {
			t.n.log.Log(t.n.ctx, level, "pool not filled", "key", pool.Key, "set", pool.Set, "err", err)
		}
		p.text = err.Error()
		t.problems[pool] = p
	} else {
		delete(t.problems, pool)
	}
	wake := t.waiters[pool]
	if err == nil {
		delete(t.waiters, pool)
	} else {
		wake = nil
	}
	t.mu.Unlock()
	if wake != nil {
		wake()
	}
	return true
}

// neediest finds the pool to fill next, how many tuples it lacks, and whether
// a zone waits for them.
func (t *tuples) neediest() (best mpc.PoolID, lack int, waited bool) {
	group := t.n.groups.mpc()
	for _, id := range group.Parties {
		if !t.n.isReady(id) {
			return best, 0, false // preprocessing needs everyone
		}
	}
	now := t.n.opt.Now()
	for _, k := range t.n.keys.all() {
		for _, set := range t.n.groups.file().Sets(k.Engine) {
			if !set.Contains(t.n.self) {
				continue
			}
			pool := mpc.PoolID{Key: mpc.KeyID(k.ID), Set: set.String(), Stripe: t.n.self}
			t.mu.Lock()
			p, demand := t.problems[pool], t.demand[pool]
			t.mu.Unlock()
			if now.Before(p.retryAt) {
				continue
			}
			depth, want := t.depth(pool), t.wanted(k.Role, set)
			switch {
			case demand > depth:
				return pool, demand - depth, true
			case depth <= want/2 && want-depth > lack:
				best, lack = pool, want-depth
			}
		}
	}
	return best, lack, false
}

// prepare proposes to fill a pool and runs the session.
func (t *tuples) prepare(pool mpc.PoolID, count int, demand bool) error {
	all := mpc.NewSignerSet(t.n.groups.mpc().Parties...)
	body := tuplesWanted{Key: pool.Key, Set: pool.Set, Count: min(count, mostTuples), Demand: demand}
	agreed, err := t.n.agreement.Propose(t.n.ctx, kindTuples, string(pool.Key), all, body)
	if err != nil {
		return err
	}
	err = t.run(t.n.ctx, agreed, body)
	t.n.blame.note(all, err, t.n.opt.Now())
	return err
}

func (t *tuples) run(ctx context.Context, a *agree.Agreed, body tuplesWanted) error {
	set, err := mpc.ParseSignerSet(body.Set)
	if err != nil {
		return err
	}
	pool := mpc.PoolID{Key: body.Key, Set: body.Set, Stripe: a.Proposal.Proposer}
	net, err := t.n.transport.Open(a.Session, a.Proposal.Members)
	if err != nil {
		return err
	}
	defer net.Close()
	ctx, alive, stop := pipeline.Watchdog(ctx, time.Duration(t.n.cfg.Sessions.Timeout))
	defer stop()
	start := t.n.opt.Now()
	defer func() {
		t.mu.Lock()
		delete(t.filling, pool)
		t.mu.Unlock()
	}()
	// Another operator prepares for a zone whose turn to propose it has: that
	// is no time for the next one to take over.
	var waiting *zone
	if k, ok := t.n.keys.find(string(body.Key)); ok && body.Demand && a.Proposal.Proposer != t.n.self {
		waiting = t.n.zone(k.Zone)
	}
	err = t.n.signer.Prepare(ctx, net, body.Key, set, a.Proposal.Proposer, body.Count, func(done int) {
		alive()
		if waiting != nil {
			waiting.Yield()
		}
		t.mu.Lock()
		t.filling[pool] = fillState{done, body.Count}
		t.mu.Unlock()
	})
	if err != nil {
		return err
	}
	took := t.n.opt.Now().Sub(start)
	level := slog.LevelInfo
	if pool.Stripe != t.n.self {
		level = slog.LevelDebug // its owner says it
	}
	t.n.log.Log(ctx, level, "pool filled", "key", body.Key, "set", body.Set, "stripe", a.Proposal.Proposer, "tuples", body.Count, "took", took.Round(time.Millisecond))
	return nil
}

// tupleProposals judges and runs the proposals of others to fill their pools.
type tupleProposals struct{ n *Node }

func (h tupleProposals) Judge(_ context.Context, _ agree.Digest, p *agree.Proposal, _ func(agree.Verdict, string)) agree.Answer {
	var body tuplesWanted
	refuse := func(code, format string, args ...any) agree.Answer {
		return agree.Answer{Verdict: agree.Refuse, Code: code, Reason: fmt.Sprintf(format, args...)}
	}
	if err := json.Unmarshal(p.Body, &body); err != nil {
		return refuse("form", "proposal cannot be read: %v", err)
	}
	k, ok := h.n.keys.find(string(body.Key))
	if !ok {
		return refuse("key", "key %s is not known here", body.Key)
	}
	set, err := mpc.ParseSignerSet(body.Set)
	if err != nil {
		return refuse("form", "%v", err)
	}
	configured := slices.ContainsFunc(h.n.groups.file().Sets(k.Engine), set.Equal)
	depth := 0
	for _, c := range h.n.store.Chunks(keystore.PoolID{Key: string(body.Key), Set: body.Set, Stripe: string(p.Proposer)}) {
		depth += c.Count - c.Next
	}
	switch {
	case !configured:
		return refuse("set", "signer set %s has no pool under engine %s", set, k.Engine)
	case !set.Contains(p.Proposer):
		return refuse("set", "operator %s asks for tuples of a set that it is not in", p.Proposer)
	case len(p.Members) != h.n.groups.mpc().N():
		return refuse("members", "preprocessing needs all operators")
	case body.Count < 1 || depth+body.Count > h.n.tuples.most(k):
		return refuse("count", "%d tuples on top of %d are more than a pool of this key holds, %d", body.Count, depth, h.n.tuples.most(k))
	}
	if why, yes := h.n.store.Suspended(); yes {
		return refuse("suspended", "tuples are suspended here: %s", why)
	}
	if !h.n.tuples.begin(p.Proposer) {
		return agree.Answer{Verdict: agree.Superseded, Code: "busy", Reason: "a pool is being filled for operator " + string(p.Proposer) + " already"}
	}
	return agree.Answer{Verdict: agree.Accept}
}

// most is how many tuples one pool of a key may hold: enough to sign all of
// its zone twice, and what operators keep ready.
func (t *tuples) most(k keystore.KeyRecord) int {
	most := max(1<<16, 16*t.n.poolDepth())
	if z := t.n.zone(k.Zone); z != nil {
		most += 8 * z.Size()
	}
	return min(most, mostTuples)
}

// begin takes note that a pool is being filled for an operator: one at a time.
func (t *tuples) begin(id mpc.PartyID) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.served[id] {
		return false
	}
	t.served[id] = true
	return true
}

func (t *tuples) end(id mpc.PartyID) {
	t.mu.Lock()
	delete(t.served, id)
	t.mu.Unlock()
}

func (h tupleProposals) Run(ctx context.Context, a *agree.Agreed) {
	defer h.n.tuples.end(a.Proposal.Proposer)
	var body tuplesWanted
	if json.Unmarshal(a.Proposal.Body, &body) != nil {
		return
	}
	if err := h.n.tuples.run(ctx, a, body); err != nil && ctx.Err() == nil {
		h.n.log.Warn("pool not filled", "key", body.Key, "set", body.Set, "stripe", a.Proposal.Proposer, "err", err)
		h.n.blame.note(a.Proposal.Members, err, h.n.opt.Now())
	}
}

func (h tupleProposals) Abandon(_ agree.Digest, p *agree.Proposal, _ error) {
	h.n.tuples.end(p.Proposer)
}

func (tupleProposals) Answered(*agree.Proposal, mpc.PartyID, *agree.Answer) {}

// views lists the pools of a key and signer set, one for each stripe, as the
// commands show them. Only the own stripe is filled here.
func (t *tuples) views(k keystore.KeyRecord, set mpc.SignerSet) []api.Pool {
	var without []string
	for _, id := range t.n.groups.mpc().Parties {
		if !set.Contains(id) {
			without = append(without, string(id))
		}
	}
	var out []api.Pool
	for _, stripe := range set {
		pool := mpc.PoolID{Key: mpc.KeyID(k.ID), Set: set.String(), Stripe: stripe}
		v := api.Pool{Key: k.ID, Zone: k.Zone, Tag: dnssecKey(k).KeyTag(), SignerSet: pool.Set, Without: without,
			Stripe: string(stripe), Depth: t.depth(pool), Wanted: t.wanted(k.Role, set)}
		switch {
		case v.Depth > v.Wanted/2:
			v.Next = api.Next{Kind: api.ActorNone}
		case stripe != t.n.self:
			v.Next = api.Next{Kind: api.ActorPeer, Name: string(stripe), WaitsFor: "its filling"}
		default:
			v.Next = t.waitsFor(pool)
		}
		out = append(out, v)
	}
	return out
}

// waitsFor says why an own pool is not full.
func (t *tuples) waitsFor(pool mpc.PoolID) api.Next {
	for _, p := range t.n.transport.Peers() {
		if !p.Ready {
			return api.Next{Kind: api.ActorPeer, Name: string(p.ID), WaitsFor: "operator " + string(p.ID) + " to be reachable: preprocessing needs all"}
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if f, ok := t.filling[pool]; ok {
		return api.Next{Kind: api.ActorClock, WaitsFor: fmt.Sprintf("preprocessing: %d of %d", f.done, f.want)}
	}
	if p, ok := t.problems[pool]; ok {
		return api.Next{Kind: api.ActorClock, WaitsFor: p.text + "; tried again", At: p.retryAt}
	}
	return api.Next{Kind: api.ActorClock, WaitsFor: "preprocessing, its turn"}
}

// tupleStore is the keystore as the signer sees it.
type tupleStore struct {
	s     *keystore.Store
	spent func(mpc.TupleRange, [32]byte)
}

func (t tupleStore) Add(chunks []mpc.PoolChunk) error {
	list := make([]keystore.NewChunk, len(chunks))
	for i, c := range chunks {
		list[i] = keystore.NewChunk{Pool: poolID(c.Pool), ID: keystore.ChunkID(c.ID), Count: c.Count, Blob: c.Blob}
	}
	return t.s.AddChunks(list)
}

func (t tupleStore) Spend(ranges []mpc.PoolRange, statement [32]byte) ([][]byte, mpc.Mark, error) {
	list := make([]keystore.Range, len(ranges))
	for i, r := range ranges {
		list[i] = keystore.Range{Pool: poolID(r.Pool), Chunk: keystore.ChunkID(r.Chunk), From: r.From, Count: r.Count}
	}
	blobs, generation, err := t.s.SpendMany(list, statement)
	if err == nil && t.spent != nil {
		for _, r := range ranges {
			t.spent(r.TupleRange, statement)
		}
	}
	return blobs, mpc.Mark{Generation: generation}, err
}
