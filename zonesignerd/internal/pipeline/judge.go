package pipeline

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"zonesigner/dnssec"
	"zonesigner/mpc"
	"zonesigner/zonesignerd/internal/agree"
)

// Judge compares a peer's proposal with what this operator derives from its
// own copy of the zone and its own head.
func (z *Zone) Judge(ctx context.Context, id agree.Digest, p *agree.Proposal, provisional func(agree.Verdict, string)) agree.Answer {
	if p.Kind == KindZONEMD {
		return z.judgeZONEMD(ctx, p, provisional)
	}
	var body Proposal
	if err := json.Unmarshal(p.Body, &body); err != nil {
		return refuse("form", "proposal cannot be read: %v", err)
	}
	if !z.enter() {
		return agree.Answer{Verdict: agree.Superseded, Code: "busy", Reason: "the zone is being opened anew here"}
	}
	defer z.leave()
	if until, resting := z.resting(p.Proposer); resting {
		return agree.Answer{Verdict: agree.Superseded, Code: "busy",
			Reason: fmt.Sprintf("operator %s's last proposals came to nothing; the next is considered at %s", p.Proposer, until.UTC().Format(time.TimeOnly))}
	}
	if ans := z.judgeFacts(&body); ans != nil {
		return *ans
	}
	if r, ok := z.refusedBy(body.Content, p.Members); ok && !body.Refresh {
		return refuse("content", "operator %s refused this version: %s", r.Peer, r.Reason)
	}
	provisional(agree.Working, "deriving the plan")
	head, ans := z.judgeBase(ctx, p.Proposer, &body, provisional)
	if ans != nil {
		return *ans
	}
	content, v, ans := z.judgeContent(ctx, p.Proposer, &body, head, provisional)
	if ans != nil {
		return *ans
	}
	if ans := z.judgeSerial(&body, head); ans != nil {
		return *ans
	}
	plan, ans := z.judgePlan(ctx, content, &body, head)
	if ans != nil {
		return *ans
	}
	if !p.Members.Contains(z.d.Identity.Self()) {
		return agree.Answer{Verdict: agree.Accept} // nothing against it
	}
	if ans := z.judgeSession(ctx, id, p, &planned{body: body, plan: plan, version: v}); ans != nil {
		return *ans
	}
	return agree.Answer{Verdict: agree.Accept}
}

// judgeSession takes the zone for this session, checks the tuples, and
// promises. Whoever holds the zone, and nobody else, gives or takes back a
// promise.
func (z *Zone) judgeSession(ctx context.Context, id agree.Digest, p *agree.Proposal, session *planned) (ans *agree.Answer) {
	if !z.reserve(id) {
		return &agree.Answer{Verdict: agree.Superseded, Code: "busy", Reason: "the zone is in another session here"}
	}
	defer func() {
		if ans != nil {
			z.release(id)
		}
	}()
	body := &session.body
	for _, b := range slices.Concat(body.Batches, body.ZONEMD) {
		if err := z.d.Pools.Check(ctx, b.Key, p.Members, p.Proposer, b.Tuples); err != nil {
			a := refuse("suspended", "%v", err)
			if named, ok := err.(interface{ Records() []string }); ok {
				a.Code, a.Records = "tuples", named.Records()
			}
			return &a
		}
	}
	fresh, err := z.promise(body)
	if err != nil {
		a := answerTo(err)
		return &a
	}
	session.fresh = fresh
	z.mu.Lock()
	z.plans[id] = session
	if z.want != nil {
		z.want.derived = nil // memory that would be held through the session, mostly for nothing
	}
	z.mu.Unlock()
	return nil
}

func answerTo(err error) agree.Answer {
	var taken *serialError
	if errors.As(err, &taken) {
		a := refuse("serial", "%v", err)
		a.Hint = taken.free
		return a
	}
	return refuse("internal", "%v", err)
}

func refuse(code, format string, args ...any) agree.Answer {
	return agree.Answer{Verdict: agree.Refuse, Code: code, Reason: fmt.Sprintf(format, args...)}
}

// judgeFacts checks what needs no content: policy, keys, time.
func (z *Zone) judgeFacts(body *Proposal) *agree.Answer {
	z.mu.Lock()
	defer z.mu.Unlock()
	keys := keysDigest(z.d.Keys(z.name))
	now := z.d.Now().Unix()
	off := int64(body.Time) - now
	var a agree.Answer
	switch {
	case body.Policy != z.policy.Digest:
		a = refuse("policy", "policy %s differs from ours, %s", body.Policy, z.policy.Digest)
	case body.Keys != keys:
		a = refuse("keys", "key set %s differs from ours, %s", body.Keys, keys)
	case max(off, -off) > int64(z.d.ClockBound/time.Second):
		a = refuse("time", "its time %s is %ds from our clock, at most %ds are allowed",
			time.Unix(int64(body.Time), 0).UTC().Format(time.RFC3339), off, int64(z.d.ClockBound/time.Second))
	case body.Time < z.lastT:
		a = refuse("time", "its time is before that of the last signed zone")
	default:
		return nil
	}
	return &a
}

// judgeBase makes sure that both plan on the same last signed zone.
func (z *Zone) judgeBase(ctx context.Context, proposer mpc.PartyID, body *Proposal, provisional func(agree.Verdict, string)) (*Signed, *agree.Answer) {
	deadline := z.d.Now().Add(z.d.Settle)
	for {
		z.mu.Lock()
		head, candidate := z.head, z.first(z.d.Now())
		z.mu.Unlock()
		switch {
		case candidate != nil && candidate.Cert.Digest != body.Base:
			// We certified a zone on this base; it must come first.
			z.sayHead(proposer)
			z.sayCertificate(candidate, proposer)
			a := agree.Answer{Verdict: agree.Superseded, Code: "superseded",
				Reason: fmt.Sprintf("serial %d is signed here and waits for certificates", candidate.Cert.Serial)}
			return nil, &a
		case head == nil && body.Base.IsZero(), head != nil && head.Cert.Digest == body.Base:
			return head, nil
		case head != nil && (body.Base.IsZero() || z.knewBefore(body.Base)):
			z.sayHead(proposer)
			a := agree.Answer{Verdict: agree.Superseded, Code: "superseded",
				Reason: fmt.Sprintf("serial %d is the last signed zone here", head.Cert.Serial)}
			return nil, &a
		}
		if z.d.Now().After(deadline) {
			z.sayHead(proposer)
			a := refuse("base", "it builds on signed zone %s, which this operator does not have", body.Base)
			return nil, &a
		}
		provisional(agree.Behind, "fetching the last signed zone")
		z.Wake()
		if !sleep(ctx, 200*time.Millisecond) {
			a := refuse("internal", "%v", ctx.Err())
			return nil, &a
		}
	}
}

// knewBefore reports whether base is the zone that our head was planned on.
func (z *Zone) knewBefore(base agree.Digest) bool {
	z.mu.Lock()
	defer z.mu.Unlock()
	return z.head != nil && z.head.Cert.Base == base
}

// judgeContent finds the proposed content among what this operator read
// itself: versions newer than the one that the head signs, or, for a refresh,
// the head's own. An operator that does not have it looks at once, and
// refuses only if it still differs after a settling time. One that cannot read
// its source has nothing against the content, and says so.
func (z *Zone) judgeContent(ctx context.Context, proposer mpc.PartyID, body *Proposal, head *Signed, provisional func(agree.Verdict, string)) (*dnssec.Zone, *version, *agree.Answer) {
	if body.Refresh {
		if head == nil || head.Content != body.Content {
			a := refuse("content", "it refreshes a content that is not the last agreed one")
			return nil, nil, &a
		}
		return head.Zone.Content(), nil, nil
	}
	deadline := z.d.Now().Add(z.d.Settle)
	var unread error
	for first := true; ; first = false {
		z.mu.Lock()
		v := z.find(body.Content, body.Source)
		newest, headSeq := z.newest(), z.headSeq
		away := unread != nil && z.problems["source"] != "" // for longer than a moment
		if v == nil && z.d.Stands != nil {
			z.offered = &Offer{proposer, body.Source, body.Content}
		}
		z.mu.Unlock()
		if v != nil {
			if v.seq <= headSeq && head != nil {
				a := agree.Answer{Verdict: agree.Superseded, Code: "superseded",
					Reason: fmt.Sprintf("content of serial %d is older than what is signed here", body.Source)}
				return nil, nil, &a
			}
			return v.zone, v, nil
		}
		if away || z.d.Stands != nil && !first || z.d.Now().After(deadline) { // an approval does not come by itself
			return nil, nil, z.differs(ctx, proposer, body, newest, unread)
		}
		if first {
			provisional(agree.Behind, fmt.Sprintf("looking for serial %d", body.Source))
		}
		if unread = z.read(ctx); unread != nil {
			z.unread(unread)
		}
		z.mu.Lock()
		news := z.newest() != newest
		z.mu.Unlock()
		if news {
			continue
		}
		if !sleep(ctx, min(500*time.Millisecond, z.d.Settle/4)) {
			a := refuse("internal", "%v", ctx.Err())
			return nil, nil, &a
		}
	}
}

// differs says what is different once the settling time is over; unread is why
// the source could not be read, or nil.
func (z *Zone) differs(ctx context.Context, proposer mpc.PartyID, body *Proposal, ours *version, unread error) *agree.Answer {
	switch {
	case ours != nil && serialLess(body.Source, ours.serial):
		return &agree.Answer{Verdict: agree.Superseded, Code: "superseded",
			Reason: fmt.Sprintf("serial %d is held here", ours.serial)}
	case errors.Is(unread, ErrNoContent):
		a := refuse(CodeSource, "%v", unread)
		return &a
	case unread != nil:
		a := refuse(CodeSource, "this operator cannot read its source: %v", unread)
		return &a
	case ours == nil:
		a := refuse("content", "this operator has no content for the zone yet")
		return &a
	}
	differences := z.explain(ctx, proposer, body.Content, ours.zone)
	what := "the content"
	if len(differences) > 0 {
		what = differences[0].what
	}
	a := refuse("content", "%s differs from ours at serial %d", what, body.Source)
	if body.Source != ours.serial {
		a.Reason += fmt.Sprintf(" (ours is %d)", ours.serial)
	}
	if z.d.Stands != nil {
		a.Reason += "; it is signed here when its operator approves it"
	}
	for _, d := range differences {
		a.Records = append(a.Records, d.detail)
	}
	return &a
}

// judgeSerial checks that the output serial follows from base and time, but
// for serials that failed sessions used up.
func (z *Zone) judgeSerial(body *Proposal, head *Signed) *agree.Answer {
	var base *uint32
	if head != nil {
		base = &head.Cert.Serial
	}
	policy := z.policyNow().SerialPolicy
	want, err := dnssec.NextSerial(policy, body.Source, base, body.Time)
	if err != nil {
		a := refuse("serial-policy", "%v", err)
		return &a
	}
	if body.Serial-want > mostSkipped {
		a := refuse("serial-policy", "output serial %d does not follow from the policy, which gives %d", body.Serial, want)
		return &a
	}
	return nil
}

// judgePlan derives the plan and compares the manifests.
func (z *Zone) judgePlan(ctx context.Context, content *dnssec.Zone, body *Proposal, head *Signed) (*dnssec.Plan, *agree.Answer) {
	defer z.handle()()
	release, err := z.heavy(ctx)
	if err != nil {
		a := refuse("internal", "%v", err)
		return nil, &a
	}
	defer release()
	if !body.Refresh {
		z.setJudged(body.Content)
		defer z.setJudged(agree.Digest{})
	}
	start := z.d.Now()
	plan, err := z.plan(content, body, head, z.policyNow(), z.d.Keys(z.name))
	if err != nil {
		a := refuse("plan", "%v", err)
		return nil, &a
	}
	if ours := agree.Digest(plan.Digest()); ours != body.Manifest {
		a := refuse("manifest", "manifest %s differs from ours, %s", body.Manifest, ours)
		return nil, &a
	}
	z.planned(start, plan)
	if !fit(body.Batches, batches(plan)) || !fit(body.ZONEMD, zonemdBatches(plan)) || !z.eachOnce(slices.Concat(body.Batches, body.ZONEMD)) {
		a := refuse("form", "its batches of tuples do not fit the plan")
		return nil, &a
	}
	return plan, nil
}

func (z *Zone) setJudged(content agree.Digest) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.judged = content
}

// fit reports whether the proposed batches are those of the plan, each with
// tuples enough and no endless list of them.
func fit(proposed, planned []Batch) bool {
	if len(proposed) != len(planned) {
		return false
	}
	for i, b := range proposed {
		n := 0
		for _, r := range b.Tuples {
			if r.Count < 1 || r.From < 0 || n > b.Count {
				return false
			}
			n += r.Count
		}
		if b.Key != planned[i].Key || b.Count != planned[i].Count || n < b.Count {
			return false
		}
	}
	return true
}

// eachOnce reports whether no tuple is named twice, and those of a chunk in
// rising order: spending is in that order, and what it refuses after a session
// has begun has used up a serial.
func (z *Zone) eachOnce(all []Batch) bool {
	type chunk struct {
		key mpc.KeyID
		id  mpc.ChunkID
	}
	next := map[chunk]int{}
	for _, b := range all {
		for _, r := range b.Tuples {
			c := chunk{b.Key, r.Chunk}
			if r.From < next[c] && !z.holes.tuplesTwice || r.Count > math.MaxInt-r.From {
				return false
			}
			next[c] = r.From + r.Count
		}
	}
	return true
}

// Sign runs an agreed session at a member that is not the proposer.
func (z *Zone) Sign(ctx context.Context, a *agree.Agreed) {
	if a.Proposal.Kind == KindZONEMD {
		z.runZONEMD(ctx, a)
		return
	}
	z.mu.Lock()
	p := z.plans[a.ID]
	z.mu.Unlock()
	if p == nil {
		return
	}
	err := z.sign(ctx, a, p)
	if err != nil {
		z.problem("sign", err)
		z.d.Blame(a.Proposal.Members, err)
	} else {
		z.solved("sign")
	}
	z.came(a.Proposal.Proposer, err)
	z.release(a.ID)
}

// came notes what a peer's accepted proposal came to. A proposer that itself
// lets what it proposed fail rests for a time that doubles: holding a zone
// must cost something.
func (z *Zone) came(proposer mpc.PartyID, err error) {
	z.mu.Lock()
	defer z.mu.Unlock()
	if err == nil {
		delete(z.rests, proposer)
		return
	}
	var guilty []mpc.PartyID
	if e, ok := mpc.AsAbsent(err); ok {
		guilty = e.Parties
	}
	if e, ok := mpc.AsCheat(err); ok {
		guilty = e.Parties
	}
	if slices.Contains(guilty, proposer) {
		z.rests[proposer] = z.rests[proposer].longer(z.d.Now())
	}
}

func (z *Zone) resting(proposer mpc.PartyID) (time.Time, bool) {
	z.mu.Lock()
	defer z.mu.Unlock()
	until := z.rests[proposer].until
	return until, z.d.Now().Before(until)
}

// Abandon frees the zone after an acceptance that came to nothing. Nothing
// was said under the promise either, so that its serial is free again.
func (z *Zone) Abandon(id agree.Digest, p *agree.Proposal, why error) {
	if p.Kind == KindZONEMD {
		z.abandonZONEMD(p, why)
		return
	}
	if why != nil {
		z.came(p.Proposer, why)
	}
	z.mu.Lock()
	session := z.plans[id]
	z.mu.Unlock()
	if session != nil && session.fresh {
		z.unpromise(&session.body)
	}
	z.release(id)
}

// Answered notes an operator's final answer, to whoever's proposal.
func (z *Zone) Answered(p *agree.Proposal, from mpc.PartyID, a *agree.Answer) {
	if p.Kind == KindZONEMD {
		return // it says nothing about a content
	}
	if a.Verdict == agree.Accept {
		z.reconciled(p, from)
		return
	}
	if a.Verdict != agree.Refuse || a.Code == "serial" || a.Code == "tuples" || a.Code == "form" || a.Code == "busy" {
		return
	}
	var body Proposal
	if json.Unmarshal(p.Body, &body) != nil {
		return
	}
	z.mu.Lock()
	old, known := z.refusals[from]
	z.refusals[from] = Refusal{Peer: from, Reason: a.Reason, Records: a.Records, Content: body.Content, At: z.d.Now(), proposer: p.Proposer}
	// Only of contents that are held here is a refusal kept: of others' made
	// up ones there is no end, and only a refusal of the content itself says
	// something about it.
	if !body.Refresh && from != z.d.Identity.Self() && a.Code == "content" && z.find(body.Content, body.Source) != nil {
		z.object(objection{from, body.Content, a.Reason})
	}
	if (a.Code == "content" || a.Code == CodeSource) && !body.Refresh {
		switch {
		case z.policy.TPlus1, a.Code == CodeSource:
			z.dissent[from] = body.Content
		case z.find(body.Content, body.Source) != nil: // of others' contents there is no end
			z.dispute(body.Content, z.d.Now())
		}
	}
	z.mu.Unlock()
	if !known || old.Reason != a.Reason {
		z.log.Warn("refusal", "peer", from, "proposer", p.Proposer, "code", a.Code, "reason", a.Reason, "records", a.Records)
	}
}

// Heeds reports whether a refusal of the proposed content by any operator
// stops it.
func (z *Zone) Heeds(p *agree.Proposal) bool {
	var body Proposal
	return json.Unmarshal(p.Body, &body) == nil && !body.Refresh && !z.policyNow().TPlus1
}

func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
