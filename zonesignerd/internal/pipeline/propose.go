package pipeline

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"zonesigner/dnssec"
	"zonesigner/mpc"
	"zonesigner/zonesignerd/internal/agree"
)

// idle is how often a zone looks around when nothing tells it to.
const idle = time.Minute

// propose proposes what is wanted when it is this operator's turn, and
// returns when to look again.
func (z *Zone) propose(ctx context.Context) time.Duration {
	now := z.d.Now()
	z.mu.Lock()
	w := z.decide(now)
	z.want = w
	if w == nil {
		next := idle
		if z.head != nil {
			next = min(next, max(time.Second, z.refreshAt().Sub(now)))
		}
		for _, d := range z.disputed {
			next = min(next, max(time.Second, d.retryAt.Sub(now)))
		}
		z.mu.Unlock()
		return next
	}
	if !z.busy.IsZero() {
		z.mu.Unlock()
		return idle // woken when the session ends
	}
	wait := max(z.retryAt.Sub(now), w.since.Add(z.turn(w)).Sub(now))
	z.mu.Unlock()
	if wait > 0 {
		return wait
	}
	set, err := z.attempt(ctx, w)
	z.settle(w, set, err)
	if err != nil {
		z.mu.Lock()
		defer z.mu.Unlock()
		return max(100*time.Millisecond, z.retryAt.Sub(z.d.Now()))
	}
	return 0
}

// attempt plans, proposes and signs once.
func (z *Zone) attempt(ctx context.Context, w *want) (mpc.SignerSet, error) {
	set, err := z.d.Choose(z.dissenters(w.content))
	if err != nil {
		return nil, err
	}
	if r, ok := z.refusedBy(w.content, set); ok && w.version != nil {
		return set, fmt.Errorf("operator %s refused this version and is away: %s", r.Peer, r.Reason)
	}
	if err := z.stillShort(w, set); err != nil {
		return set, err
	}
	quiet, err := z.sayTurns(w)
	if err != nil {
		return set, err
	}
	d, err := z.derive(ctx, w)
	quiet()
	if err != nil {
		return set, err
	}
	err = z.chooseTuples(&d.body, set)
	z.waitedForTuples(w, d, err)
	if err != nil {
		return set, err
	}
	body, plan := &d.body, d.plan
	if w.version == nil {
		z.log.Info("proposing", "why", w.why, "serial", body.Serial, "signatures", plan.Len(), "set", set)
	} else {
		z.log.Info("proposing", "why", w.why, "source", w.source, "serial", body.Serial, "signatures", plan.Len(), "set", set)
	}
	own := agree.Digest{0xff} // busy with our own proposal, whose id is not known yet
	if !z.reserve(own) {
		return set, errBusy
	}
	if z.isDraining() {
		z.release(own)
		return set, errBusy
	}
	start := z.d.Now()
	fresh, err := z.promise(body)
	if err != nil {
		z.release(own)
		return set, err
	}
	leave := z.share(body, set, plan.Len())
	agreed, err := z.d.Agreement.Propose(ctx, KindZone, z.name, set, body)
	leave()
	if err != nil {
		if fresh {
			z.unpromise(body)
		}
		z.release(own)
		return set, err
	}
	z.mu.Lock()
	z.stages.Agree = z.d.Now().Sub(start)
	z.mu.Unlock()
	err = z.sign(ctx, agreed, &planned{body: *body, plan: plan, version: w.version})
	z.release(own)
	return set, err
}

// chooseTuples names the tuples for all that is to be signed. Those for the
// ZONEMD record come after the others of its key.
func (z *Zone) chooseTuples(body *Proposal, set mpc.SignerSet) error {
	for i, b := range body.Batches {
		last := slices.IndexFunc(body.ZONEMD, func(d Batch) bool { return d.Key == b.Key })
		n := b.Count
		if last >= 0 {
			n += body.ZONEMD[last].Count
		}
		tuples, err := z.d.Pools.Choose(b.Key, set, n, z.filled)
		if err != nil {
			return err
		}
		if last >= 0 {
			tuples, body.ZONEMD[last].Tuples = splitTuples(tuples, b.Count)
		}
		body.Batches[i].Tuples = tuples
	}
	return nil
}

// splitTuples parts the first n tuples from the rest.
func splitTuples(rs []mpc.TupleRange, n int) (head, tail []mpc.TupleRange) {
	for _, r := range rs {
		k := min(n, r.Count)
		if k > 0 {
			head = append(head, mpc.TupleRange{Chunk: r.Chunk, From: r.From, Count: k})
		}
		if k < r.Count {
			tail = append(tail, mpc.TupleRange{Chunk: r.Chunk, From: r.From + k, Count: r.Count - k})
		}
		n -= k
	}
	return head, tail
}

// shareMost is how many signatures a zone has at most that shares a session.
const shareMost = 1024

// share decides whether the proposal is signed together with those of other
// zones: if it is small, others are about to propose too, and none of it failed
// before. leave is to be called when it is agreed on, or will not be.
func (z *Zone) share(body *Proposal, set mpc.SignerSet, signatures int) (leave func()) {
	z.mu.Lock()
	again := z.failures > 0
	z.mu.Unlock()
	if z.d.Sharing == nil || signatures > shareMost || again {
		return func() {}
	}
	var keys []mpc.KeyID
	for _, b := range body.Batches {
		keys = append(keys, b.Key)
	}
	body.Shared, leave = z.d.Sharing.Enter(set, keys)
	return leave
}

var errBusy = errors.New("the zone is in another session")

// derive makes the plan for what is wanted, on the present head and clock. What
// an attempt derived a moment ago that lacked tuples is as good: the pools are
// filled in several sessions, and each would have to wait for a plan.
func (z *Zone) derive(ctx context.Context, w *want) (*derived, error) {
	release, err := z.heavy(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	keys := z.d.Keys(z.name)
	z.mu.Lock()
	last, from, now := w.derived, z.premises(keys), z.planTime()
	w.derived = nil
	z.mu.Unlock()
	if last != nil && last.plan != nil && last.from == from && z.isRecent(now, last.body.Time) {
		return last, nil
	}
	start := z.d.Now()
	d, err := z.draft(w, 0)
	if err != nil {
		return nil, err
	}
	z.planned(start, d.plan)
	return d, nil
}

// premises are those of now; z.mu is held.
func (z *Zone) premises(keys []dnssec.Key) premises {
	return premises{head: z.head, policy: z.policy.Digest, keys: keysDigest(keys), floor: z.serial}
}

// planTime is the time of a plan that is made now; z.mu is held.
func (z *Zone) planTime() uint32 { return max(uint32(z.d.Now().Unix()), z.lastT) }

// draft is the proposal for what is wanted, and its plan; at is its time, 0 that
// of the clock.
func (z *Zone) draft(w *want, at uint32) (*derived, error) {
	keys := z.d.Keys(z.name)
	z.mu.Lock()
	d := &derived{from: z.premises(keys)}
	head, policy, t, tried := z.head, z.policy, z.planTime(), z.tried
	z.mu.Unlock()
	if at != 0 {
		t, tried = at, nil
	}
	body := &d.body
	*body = Proposal{
		Source: w.source, Content: w.content, Time: t, Keys: d.from.keys,
		Policy: policy.Digest, Refresh: w.version == nil,
	}
	content := w.zone
	var base *uint32
	if head != nil {
		body.Base = head.Cert.Digest
		base = &head.Cert.Serial
		if w.version == nil {
			content = head.Zone.Content()
		}
	}
	if tried != nil && tried.Content == body.Content && tried.Base == body.Base && z.isRecent(t, tried.Time) {
		body.Time = tried.Time
	}
	var err error
	if body.Serial, err = dnssec.NextSerial(policy.SerialPolicy, w.source, base, body.Time); err != nil {
		return nil, err
	}
	if floor := d.from.floor; floor != 0 && serialLess(body.Serial, floor) && floor-body.Serial <= mostSkipped {
		body.Serial = floor
	}
	if d.plan, err = z.plan(content, body, head, policy, keys); err != nil {
		return nil, err
	}
	body.Manifest = agree.Digest(d.plan.Digest())
	body.Batches, body.ZONEMD = batches(d.plan), zonemdBatches(d.plan)
	return d, nil
}

// isRecent reports whether what was planned for the time then can be proposed at
// the time now: others want it within the bound of their clocks.
func (z *Zone) isRecent(now, then uint32) bool {
	return now-then < uint32(z.d.ClockBound/time.Second)/2
}

// sayTurns tells the others that this operator works on a proposal, again and
// again while a large zone is planned.
func (z *Zone) sayTurns(w *want) (stop func(), err error) {
	t := Turn{Zone: z.name, Content: w.content}
	if _, err := z.d.Say(TypeTurn, t); err != nil {
		return nil, err
	}
	done := make(chan struct{})
	var saying sync.WaitGroup
	saying.Go(func() {
		tick := time.NewTicker(z.d.Turn)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				_, _ = z.d.Say(TypeTurn, t) // the first one was what matters
			case <-done:
				return
			}
		}
	})
	return func() {
		close(done)
		saying.Wait()
	}, nil
}

// stillShort asks for the tuples that the last plan for w lacked. For a large
// zone that plan is too old to be proposed when they are there: to plan the zone
// again before is for nothing, and so is to keep that one.
func (z *Zone) stillShort(w *want, set mpc.SignerSet) error {
	keys := z.d.Keys(z.name)
	z.mu.Lock()
	d := w.derived
	short := d != nil && d.from == z.premises(keys)
	if short && !z.isRecent(z.planTime(), d.body.Time) {
		d.plan = nil
	}
	z.mu.Unlock()
	if !short {
		return nil
	}
	return z.chooseTuples(&d.body, set)
}

// waitedForTuples notes since when w waits for tuples, and what was derived to
// be signed with them, and how long it did when they are there.
func (z *Zone) waitedForTuples(w *want, d *derived, err error) {
	z.mu.Lock()
	defer z.mu.Unlock()
	switch {
	case err == nil && !w.short.IsZero():
		z.stages.Tuples = z.d.Now().Sub(w.short)
	case errors.Is(err, ErrTuples):
		w.derived = d
		if w.short.IsZero() {
			w.short = z.d.Now()
		}
	}
}

// filled has the zone try again that lacked tuples: they are there. It is at once
// for the first in rank, for others by turns; where another operator's turn came
// meanwhile, it stays that one's.
func (z *Zone) filled() {
	z.mu.Lock()
	if z.retryAt.Equal(z.shortAt) && z.want != nil {
		z.retryAt = z.d.Now().Add(z.turn(z.want))
	}
	z.mu.Unlock()
	z.Wake()
}

// planned notes how long a plan took.
func (z *Zone) planned(start time.Time, plan *dnssec.Plan) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.stages.Tuples = 0
	z.stages.Plan = z.d.Now().Sub(start)
	z.stages.Signatures = plan.Len()
}

// plan derives everything from content and the agreed facts in body.
func (z *Zone) plan(content *dnssec.Zone, body *Proposal, head *Signed, policy Policy, keys []dnssec.Key) (*dnssec.Plan, error) {
	if a := dnssec.Algorithms(keys); len(a) > 1 && !policy.Rollover {
		return nil, fmt.Errorf("its keys are of algorithms %d and %d, which its policy does not allow: set algorithm-rollover: true at every operator", a[0], a[1])
	}
	// Copies may number the same content differently; the proposer's number
	// is what all plan with.
	content = content.WithSerial(body.Source)
	p := dnssec.Params{
		Keys: keys, Denial: policy.Denial, Time: body.Time, Serial: body.Serial,
		Lifetime: uint32(policy.Lifetime / time.Second),
		// A session renews what falls due a little later too, so that spread
		// expirations do not make a session each.
		Refresh:   uint32((policy.Refresh + policy.Refresh/8) / time.Second),
		DNSKEYTTL: policy.DNSKEYTTL, ZONEMD: policy.ZONEMD,
	}
	if head != nil {
		p.Base = head.Zone
	}
	return dnssec.NewPlan(content, p)
}

// settle draws the consequences of an attempt.
func (z *Zone) settle(w *want, set mpc.SignerSet, err error) {
	now := z.d.Now()
	var refused *agree.RefusedError
	var taken *serialError
	if errors.As(err, &refused) {
		if r, ok := refused.Code("tuples"); ok {
			z.d.Pools.Drop(z.proposed(r.Records))
		}
	}
	z.mu.Lock()
	defer z.mu.Unlock()
	if err == nil {
		z.failures = 0
		z.retryAt = time.Time{}
		z.lastErr = nil
		delete(z.problems, "sign")
		return
	}
	z.failures++
	if z.lastErr = nil; !passing(err) {
		z.lastErr, z.lastErrAt = err, now
		z.asked = false // who asked is told, and asks again
	}
	backoff := min(time.Second<<min(z.failures, 6), time.Minute)
	text := err.Error()
	switch {
	case errors.Is(err, ErrTuples), errors.Is(err, errBusy):
		z.failures = 0
		backoff = 2 * time.Second // woken before, when they are there
	case errors.As(err, &taken):
		backoff = z.soon()
	case errors.As(err, &refused):
		if r, ok := refused.Code("serial"); ok && z.tried != nil && r.Hint-z.tried.Serial <= mostSkipped {
			z.serial = r.Hint
			backoff = z.soon()
		}
		if r, ok := refused.Code("tuples"); ok {
			if backoff = z.soon(); backoff > 0 { // it says so too often
				z.d.Blame(set, &mpc.AbsentError{Parties: []mpc.PartyID{r.Peer}, Err: err})
			}
		}
		if _, ok := refused.Code("busy"); ok {
			backoff = 500 * time.Millisecond
		}
		if _, ok := refused.Code("content"); ok && w.version != nil {
			backoff = time.Second // Refused took note of it
		}
		if _, ok := refused.Code("superseded"); ok {
			backoff = time.Second
			poke(z.reread)
		}
		// Trouble of an operator's own is no objection: it is as good as away.
		for _, r := range refused.By {
			if slices.Contains([]string{"internal", "suspended", "late"}, r.Code) {
				z.d.Blame(set, &mpc.AbsentError{Parties: []mpc.PartyID{r.Peer}, Err: err})
				backoff = min(backoff, 2*time.Second)
			}
		}
		if w.version == nil && !passing(err) {
			// What was agreed once is signed again without those who will
			// not, or it would expire.
			backoff = time.Second
			z.d.Blame(set, &mpc.AbsentError{Parties: refused.Peers(), Err: err})
		}
	default:
		if _, absent := mpc.AsAbsent(err); absent || errors.Is(err, ErrResting) {
			backoff = min(backoff, 2*time.Second)
		}
		z.d.Blame(set, err)
	}
	z.retryAt = now.Add(backoff + z.turn(w)) // again by turns: retries must not collide
	if errors.Is(err, ErrTuples) {
		z.shortAt = z.retryAt
	}
	if z.problems["sign"] != text && !errors.Is(err, ErrTuples) && !errors.Is(err, errBusy) {
		z.log.Warn("not signed", "why", w.why, "err", err)
	}
	z.problems["sign"] = text
}

// mostSkipped bounds the serials that failed sessions may use up.
const mostSkipped = 1000

// soon is the pause after a refusal that the next attempt gets over, unless
// there were many in a row; z.mu is held.
func (z *Zone) soon() time.Duration {
	if z.failures <= 8 {
		return 0
	}
	return min(time.Second<<min(z.failures-8, 6), time.Minute)
}

// proposed keeps, of the chunks that an operator cannot use, those that were
// proposed to it: on its word others are not given up.
func (z *Zone) proposed(chunks []string) []string {
	z.mu.Lock()
	defer z.mu.Unlock()
	if z.tried == nil {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(chunks), func(name string) bool {
		for _, b := range slices.Concat(z.tried.Batches, z.tried.ZONEMD) {
			if slices.ContainsFunc(b.Tuples, func(r mpc.TupleRange) bool { return hex.EncodeToString(r.Chunk[:]) == name }) {
				return false
			}
		}
		return true
	})
}

// passing reports failures that the next attempt is likely to get over by
// itself: nobody has to hear of them.
func passing(err error) bool {
	var taken *serialError
	var refused *agree.RefusedError
	switch _, absent := mpc.AsAbsent(err); {
	case errors.Is(err, ErrTuples), errors.Is(err, errBusy), errors.Is(err, ErrResting), errors.As(err, &taken):
		return true
	case absent:
		return !errors.Is(err, ErrNoQuorum) // another signer set may be complete
	case errors.As(err, &refused):
		return !slices.ContainsFunc(refused.By, func(r agree.Refusal) bool {
			return !slices.Contains([]string{"serial", "tuples", "busy", "superseded"}, r.Code)
		})
	}
	return false
}

// mostYields bounds how often an operator lets others go first with one
// version: being always about to propose must not hold it up. Its word alone
// counts less often than its filling of pools. Both may go on for longer with a
// large zone: one more, of a second or more, is let pass for so many records.
const (
	mostYields    = 100
	recordsAYield = 2_000
	mostTurns     = 10
	recordsATurn  = 200_000
)

// Yield puts this operator's own proposal off, because another one, who works
// on it, comes before. It reports whether that is so.
func (z *Zone) Yield(to mpc.PartyID) bool {
	z.mu.Lock()
	defer z.mu.Unlock()
	return z.want != nil && z.rank(z.want, to) < z.rank(z.want, z.d.Identity.Self()) && z.yield()
}

// yield puts the own proposal off, unless that was done too often; z.mu is held.
func (z *Zone) yield() bool {
	w := z.want
	if w == nil || w.yields >= mostYields+z.size()/recordsAYield {
		return false
	}
	if until := z.d.Now().Add(z.d.Turn + z.turn(w)); until.After(z.retryAt.Add(z.d.Turn / 2)) {
		w.yields++
		z.retryAt = until
	}
	return true
}

// Turn takes in that a peer works on a proposal.
func (z *Zone) Turn(m *agree.Message) error {
	var t Turn
	if err := m.Decode(&t); err != nil {
		return err
	}
	z.mu.Lock()
	defer z.mu.Unlock()
	if z.want != nil && z.want.turns < mostTurns+z.size()/recordsATurn && z.want.content == t.Content && z.rank(z.want, m.From) < z.rank(z.want, z.d.Identity.Self()) {
		z.want.turns++
		z.yield()
	}
	return nil
}

// dissenters are the operators without which this content is to be signed:
// they cannot read their source, or they refused it and the policy lets t+1 of
// the others sign it.
func (z *Zone) dissenters(content agree.Digest) []mpc.PartyID {
	z.mu.Lock()
	defer z.mu.Unlock()
	var ids []mpc.PartyID
	for id, d := range z.dissent {
		if d == content {
			ids = append(ids, id)
		}
	}
	return ids
}

// dispute notes that an operator refused a content; it is proposed again
// from time to time, which spends nothing. z.mu is held.
func (z *Zone) dispute(content agree.Digest, now time.Time) {
	d := z.disputed[content]
	if d == nil {
		d = &dispute{backoff: 5 * time.Second}
		z.disputed[content] = d
	}
	d.retryAt = now.Add(d.backoff)
	d.backoff = min(2*d.backoff, 5*time.Minute)
}

// reserve takes the zone for one proposal; one session a zone at a time.
func (z *Zone) reserve(id agree.Digest) bool {
	z.mu.Lock()
	defer z.mu.Unlock()
	if !z.busy.IsZero() {
		return false
	}
	z.busy = id
	return true
}

func (z *Zone) release(id agree.Digest) {
	z.mu.Lock()
	if z.busy == id {
		z.busy = agree.Digest{}
	}
	delete(z.plans, id)
	z.mu.Unlock()
	z.Wake()
}

// promise durably records the one manifest that this operator stands by for
// an output serial. Another manifest for the same serial is refused, and so is
// the same one once a session has begun under it: two sessions make two sets
// of signatures, and so two zones under one serial. fresh tells that there was
// none before.
func (z *Zone) promise(body *Proposal) (fresh bool, err error) {
	key := promiseKey(z.name, body.Serial)
	old, err := z.d.Store.Get(key)
	if err != nil {
		return false, err
	}
	if old == nil {
		if err := z.d.Store.Put(key, body.Manifest[:]); err != nil {
			return false, err
		}
		fresh = true
	} else if string(old) != string(body.Manifest[:]) {
		z.mu.Lock()
		free := body.Serial + 1
		if z.serial != 0 && serialLess(free, z.serial) {
			free = z.serial
		}
		z.serial = free
		z.mu.Unlock()
		return false, &serialError{free: free}
	}
	z.mu.Lock()
	z.tried = body
	z.mu.Unlock()
	return fresh, nil
}

// begun is appended to a promise's manifest when a session begins under it.
const begun = "\x01"

// begin uses the promise up: this session is the only one under it.
func (z *Zone) begin(body *Proposal) error {
	return z.d.Store.Put(promiseKey(z.name, body.Serial), append(body.Manifest[:len(body.Manifest):len(body.Manifest)], begun...))
}

// extend makes a promise under which a session has begun longer by the
// manifest of the ZONEMD record, once: there is no second record under a
// serial, whatever restarts.
func (z *Zone) extend(body *Proposal, zonemd agree.Digest) error {
	key := promiseKey(z.name, body.Serial)
	old, err := z.d.Store.Get(key)
	if err != nil {
		return err
	}
	first := string(body.Manifest[:]) + begun
	if string(old) != first && !z.holes.manyZONEMD {
		return fmt.Errorf("serial %d is promised to no session that waits for its ZONEMD record", body.Serial)
	}
	return z.d.Store.Put(key, append([]byte(first), zonemd[:]...))
}

// standBy uses the promise up for a zone that was signed without this operator:
// it certifies that one, and takes part in no session for its serial.
func (z *Zone) standBy(body *Proposal) error {
	old, err := z.d.Store.Get(promiseKey(z.name, body.Serial))
	if err != nil {
		return err
	}
	if strings.HasPrefix(string(old), string(body.Manifest[:])+begun) {
		return nil
	}
	if _, err := z.promise(body); err != nil {
		return err
	}
	return z.begin(body)
}

// unpromise takes back a promise under which this operator has taken part in
// no session: what all members accepted, and one of them did not sign for,
// cannot come to be. Without that, proposals that are given up would use up
// serials until none follows from the policy.
func (z *Zone) unpromise(body *Proposal) {
	if z.holes.noUnpromise {
		return
	}
	if err := z.d.Store.Delete(promiseKey(z.name, body.Serial)); err != nil {
		z.log.Error("promise not taken back", "serial", body.Serial, "err", err)
	}
}

// serialError says that an output serial is taken by another manifest.
type serialError struct{ free uint32 }

func (e *serialError) Error() string {
	return fmt.Sprintf("the output serial was promised to another manifest; %d is free", e.free)
}

func promiseKey(zone string, serial uint32) string {
	return fmt.Sprintf("promise/%s/%010d", zone, serial)
}

// forget drops promises up to serial, which is certified now.
func (z *Zone) forget(serial uint32) error {
	names, err := z.d.Store.List("promise/" + z.name + "/")
	if err != nil {
		return err
	}
	for _, name := range names {
		var s uint32
		if _, err := fmt.Sscanf(name[len("promise/"+z.name+"/"):], "%d", &s); err != nil {
			continue
		}
		if s == serial || !serialLess(serial, s) {
			if err := z.d.Store.Delete(name); err != nil {
				return err
			}
		}
	}
	return nil
}

// serialLess compares serials as RFC 1982 does.
func serialLess(a, b uint32) bool { return a != b && int32(b-a) > 0 }

// batches counts the signatures that each key makes, in the plan's order of
// keys.
func batches(p *dnssec.Plan) []Batch {
	var out []Batch
	for _, k := range p.KeyIDs() {
		out = append(out, Batch{Key: mpc.KeyID(k), Count: len(p.ItemsOf(k))})
	}
	return out
}

// zonemdBatches is what the ZONEMD record needs: one signature of each key that
// signs it, which are keys that sign the SOA too.
func zonemdBatches(p *dnssec.Plan) []Batch {
	var out []Batch
	for _, k := range p.ZONEMDKeyIDs() {
		out = append(out, Batch{Key: mpc.KeyID(k), Count: 1})
	}
	return out
}
