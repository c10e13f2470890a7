package pipeline

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

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
	if wait <= 0 && z.judged == w.content && z.goFirst() {
		wait = z.retryAt.Sub(now) // or a large zone would be planned twice at once
	}
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
	if err == nil && z.isBusy() {
		err = errBusy // with another operator's proposal meanwhile: it wants no tuples of its own
	}
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
		z.mu.Lock()
		w.derived = d.again()
		z.mu.Unlock()
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

// again is d to be proposed another time: a proposal that was made is not changed
// any more, and other tuples may be named then.
func (d *derived) again() *derived {
	out := *d
	out.body.Batches, out.body.ZONEMD = batches(d.plan), zonemdBatches(d.plan)
	out.body.Shared = false
	return &out
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

func (z *Zone) isBusy() bool {
	z.mu.Lock()
	defer z.mu.Unlock()
	return !z.busy.IsZero()
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

// serialLess compares serials as RFC 1982 does.
func serialLess(a, b uint32) bool { return a != b && int32(b-a) > 0 }
