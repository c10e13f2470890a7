package node

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"zonesigner/keystore"
	"zonesigner/mpc"
	"zonesigner/zonesignerd/internal/api"
	"zonesigner/zonesignerd/internal/pipeline"
)

// tuples answers what can be spent of this operator's pools, and keeps those
// of its own stripe filled (fill.go). For each engine and signer set there is a
// stock of unbound tuples, good for all keys; for each key, bound ones.
type tuples struct {
	n        *Node
	kick     chan struct{}
	accepted acceptedChunks

	mu       sync.Mutex
	demand   map[mpc.KeyID]demanded   // more than is kept bound, because a session waits for it
	waiters  map[mpc.PoolID]func()    // the key's zone, to wake when the demand is met
	filling  map[mpc.PoolID]fillState // for status
	problems map[problemKey]poolProblem
	served   map[mpc.PartyID]bool // whose pools are being filled
	since    time.Time            // since when large zones are at work; zero: none is
}

// demanded is what a session of a key's zone waits for.
type demanded struct {
	set   string
	count int
}

type fillState struct {
	done, want int
}

// problemKey is what a task could not do: fill a pool, or bind from it.
type problemKey struct {
	pool mpc.PoolID
	bind bool
}

type poolProblem struct {
	text    string
	retryAt time.Time
	pause   time.Duration
}

// demanded is how many tuples of a pool a session waits for; t.mu is held.
func (t *tuples) demanded(p mpc.PoolID) int {
	if d := t.demand[p.Key]; d.set == p.Set {
		return d.count
	}
	return 0
}

func newTuples(n *Node) *tuples {
	return &tuples{n: n, kick: make(chan struct{}, 1), demand: map[mpc.KeyID]demanded{}, waiters: map[mpc.PoolID]func(){},
		filling: map[mpc.PoolID]fillState{}, problems: map[problemKey]poolProblem{}, served: map[mpc.PartyID]bool{}}
}

func (t *tuples) wake() {
	select {
	case t.kick <- struct{}{}:
	default:
	}
}

func poolID(p mpc.PoolID) keystore.PoolID {
	return keystore.PoolID{Key: string(p.Key), Set: p.Set, Stripe: string(p.Stripe)}
}

// Choose implements pipeline.Pools.
func (t *tuples) Choose(key mpc.KeyID, set mpc.SignerSet, count int, wake func()) ([]mpc.TupleRange, error) {
	if why, yes := t.n.store.Suspended(); yes {
		return nil, fmt.Errorf("%w: those from before the start are suspended: %s", pipeline.ErrTuples, why)
	}
	if err := t.n.marks.cleared(set); err != nil {
		return nil, fmt.Errorf("%w: %w", pipeline.ErrTuples, err)
	}
	if err := t.n.keys.suspended(key); err != nil {
		return nil, err
	}
	out, err := t.choose(key, set, count, wake)
	if err != nil {
		return nil, err
	}
	return out, t.accept(out)
}

func (t *tuples) choose(key mpc.KeyID, set mpc.SignerSet, count int, wake func()) ([]mpc.TupleRange, error) {
	pool := mpc.PoolID{Key: key, Set: set.String(), Stripe: t.n.self}
	t.mu.Lock()
	defer t.mu.Unlock()
	out, left := t.take(pool, count)
	if left == 0 {
		delete(t.demand, key)
		return out, nil
	}
	t.demand[key] = demanded{pool.Set, count} // a key is one zone's, which wants one thing at a time
	t.waiters[pool] = wake
	t.wake()
	why := ""
	if p, ok := t.trouble(pool); ok && p.text != "" {
		why = "; the last filling failed: " + p.text
	}
	return nil, fmt.Errorf("%w: %d of %d for signer set %s%s", pipeline.ErrTuples, count-left, count, set, why)
}

// unwanted notes that no session waits for tuples of these keys any more: their
// zone is being signed with another operator's. Should that come to nothing, the
// zone asks again.
func (t *tuples) unwanted(keys []keystore.KeyRecord) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, k := range keys {
		delete(t.demand, mpc.KeyID(k.ID))
	}
}

// take names the oldest unspent tuples of a pool; left is how many it lacks.
func (t *tuples) take(pool mpc.PoolID, count int) (out []mpc.TupleRange, left int) {
	left = count
	for _, c := range t.n.store.Chunks(poolID(pool)) {
		if left == 0 {
			break
		}
		if c.Next >= c.Count {
			continue
		}
		n := min(left, c.Count-c.Next)
		out = append(out, mpc.TupleRange{Chunk: mpc.ChunkID(c.ID), From: c.Next, Count: n})
		left -= n
	}
	return out, left
}

// trouble is why an own pool was not filled, or nothing bound for it; t.mu is
// held.
func (t *tuples) trouble(pool mpc.PoolID) (poolProblem, bool) {
	if p, ok := t.problems[problemKey{pool: pool}]; ok {
		return p, true
	}
	k, known := t.n.keys.find(string(pool.Key))
	if !known {
		return poolProblem{}, false
	}
	stock := mpc.PoolID{Key: mpc.Unbound(k.Engine), Set: pool.Set, Stripe: pool.Stripe}
	if p, ok := t.problems[problemKey{stock, true}]; ok {
		return p, true
	}
	p, ok := t.problems[problemKey{pool: stock}]
	return p, ok
}

// Check implements pipeline.Pools. The proposer may have stored a chunk a moment
// before us: it would give up what we say is not there.
func (t *tuples) Check(ctx context.Context, key mpc.KeyID, set mpc.SignerSet, proposer mpc.PartyID, rs []mpc.TupleRange) error {
	deadline := time.Now().Add(time.Second)
	for wait := 5 * time.Millisecond; ; wait = min(2*wait, 100*time.Millisecond) {
		err := t.check(key, set, proposer, rs)
		if err == nil || time.Now().After(deadline) {
			return err
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return err
		}
	}
}

// check does not wait.
func (t *tuples) check(key mpc.KeyID, set mpc.SignerSet, proposer mpc.PartyID, rs []mpc.TupleRange) error {
	if why, yes := t.n.store.Suspended(); yes {
		return fmt.Errorf("tuples are suspended at operator %s: %s", t.n.self, why)
	}
	if err := t.n.marks.cleared(set); err != nil {
		return err
	}
	if err := t.n.keys.suspended(key); err != nil {
		return err
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
	return t.accept(rs)
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

// views lists the pools of a key and signer set, one for each stripe, as the
// commands show them. Only the own stripe is filled here.
func (t *tuples) views(k keystore.KeyRecord, set mpc.SignerSet) []api.Pool {
	wanted := share(t.n.boundWanted(k), set)
	out := t.poolViews(mpc.KeyID(k.ID), set, wanted)
	for i := range out {
		out[i].Key, out[i].Zone, out[i].Tag = k.ID, k.Zone, dnssecKey(k).KeyTag()
	}
	return out
}

// stockViews lists the pools of unbound tuples of an engine and signer set. Every
// operator holds its part of them, members of the set or not.
func (t *tuples) stockViews(engine string, set mpc.SignerSet) []api.Pool {
	out := t.poolViews(mpc.Unbound(engine), set, share(t.n.poolDepth(), set))
	for i := range out {
		out[i].Engine = engine
	}
	return out
}

func (t *tuples) poolViews(key mpc.KeyID, set mpc.SignerSet, wanted int) []api.Pool {
	var without []string
	for _, id := range t.n.groups.mpc().Parties {
		if !set.Contains(id) {
			without = append(without, string(id))
		}
	}
	var out []api.Pool
	for _, stripe := range set {
		pool := mpc.PoolID{Key: key, Set: set.String(), Stripe: stripe}
		v := api.Pool{SignerSet: pool.Set, Without: without, Stripe: string(stripe), Depth: t.depth(pool), Wanted: wanted}
		switch {
		case v.Depth > v.Wanted/2 || v.Wanted == 0:
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
	set, _ := mpc.ParseSignerSet(pool.Set) // of the group's sets
	makers := t.n.makers(t.n.engineOfPool(pool), set)
	for _, p := range t.n.transport.Peers() {
		if !p.Ready && makers.Contains(p.ID) {
			return api.Next{Kind: api.ActorPeer, Name: string(p.ID), WaitsFor: "operator " + string(p.ID) + " to be reachable: preprocessing needs " + makers.String()}
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if f, ok := t.filling[pool]; ok {
		return api.Next{Kind: api.ActorClock, WaitsFor: fmt.Sprintf("preprocessing: %d of %d", f.done, f.want)}
	}
	if p, ok := t.trouble(pool); ok {
		return api.Next{Kind: api.ActorClock, WaitsFor: p.text + "; tried again", At: p.retryAt}
	}
	return api.Next{Kind: api.ActorClock, WaitsFor: "preprocessing, its turn"}
}

// tupleStore is the keystore as the signer sees it.
type tupleStore struct {
	s     *keystore.Store
	self  mpc.PartyID
	spent func(mpc.TupleRange, [32]byte)
	spoil func(blob []byte)
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
	if owner := ranges[0].Pool.Stripe; owner != t.self && (errors.Is(err, keystore.ErrSpent) || errors.Is(err, keystore.ErrNoChunk) || errors.Is(err, keystore.ErrRange)) {
		// They were here when it proposed them, and are its alone to spend.
		err = &mpc.AbsentError{Parties: []mpc.PartyID{owner}, Round: "tuples", Err: fmt.Errorf("operator %s proposed tuples that cannot be spent: %w", owner, err)}
	}
	if err == nil && t.spent != nil {
		for _, r := range ranges {
			t.spent(r.TupleRange, statement)
		}
	}
	if t.spoil != nil {
		for _, b := range blobs {
			t.spoil(b)
		}
	}
	return blobs, mpc.Mark{Generation: generation}, err
}
