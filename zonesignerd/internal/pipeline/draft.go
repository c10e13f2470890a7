package pipeline

import (
	"context"
	"fmt"
	"time"

	"zonesigner/dnssec"
	"zonesigner/mpc"
	"zonesigner/zonesignerd/internal/agree"
)

// Draft is the plan that this operator would propose: of a content or, with nil,
// of what it has to sign, which is the newest content that it read, or else the
// last agreed one again; at that time or, with 0, that of its clock. Nothing is
// proposed, promised or used up.
func (z *Zone) Draft(ctx context.Context, content *dnssec.Zone, at uint32) (*dnssec.Plan, error) {
	w := &want{version: &version{}, zone: content} // a version: not a refresh
	if content != nil {
		w.content, w.source = agree.Digest(content.ContentDigest()), content.Serial()
	} else if w = z.toSign(); w == nil {
		return nil, fmt.Errorf("%w: nothing was read for zone %s yet", ErrNoContent, z.name)
	}
	release, err := z.heavy(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	d, err := z.draft(w, at)
	if err != nil {
		return nil, err
	}
	return d.plan, nil
}

// toSign is what Draft plans where no content is given; nil: there is none.
func (z *Zone) toSign() *want {
	z.mu.Lock()
	defer z.mu.Unlock()
	if v := z.newest(); v != nil && !z.head.of(v, z.policy) && v.seq > z.headSeq {
		return &want{zone: v.zone, version: v, content: v.digest, source: v.serial}
	}
	if z.head == nil {
		return nil
	}
	return &want{content: z.head.Content, source: z.head.Source}
}

// derive makes the plan for what is wanted, on the present head and clock. What
// an attempt derived a moment ago that came to nothing is as good: the pools are
// filled in several sessions, and operators may be busy for a moment, and each
// attempt would have to wait for a plan.
func (z *Zone) derive(ctx context.Context, w *want) (*derived, error) {
	defer z.handle()()
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

// batches counts the signatures that each key makes, in the plan's order of
// keys.
func batches(p *dnssec.Plan) []Batch {
	var out []Batch
	for _, k := range p.KeyIDs() {
		out = append(out, Batch{Key: mpc.KeyID(k), Count: p.CountOf(k)})
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
