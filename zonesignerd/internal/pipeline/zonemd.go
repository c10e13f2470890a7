package pipeline

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"zonesigner/dnssec"
	"zonesigner/mpc"
	"zonesigner/zonesignerd/internal/agree"
)

// second is this operator's part in the agreement that follows a session, on
// the ZONEMD record of what was signed there: docs/agreement.md has the
// argument. It lives as long as the session does.
type second struct {
	agreed *agree.Agreed // the session's
	first  *planned
	ready  chan struct{} // closed when body and plan are there
	over   chan struct{} // closed when the session is over
	body   ZONEMDProposal
	plan   *dnssec.Plan

	accepted bool // with z.mu held: a proposal was accepted, there is no other
	outcome  chan outcome
}

// outcome is what the second agreement came to.
type outcome struct {
	zone *dnssec.SignedZone
	err  error
}

// end tells what it came to; what comes later does not count.
func (s *second) end(zone *dnssec.SignedZone, err error) {
	select {
	case s.outcome <- outcome{zone, err}:
	default:
	}
}

// expectZONEMD makes the zone ready for the proposal that follows a session.
// It is called before the session's first message, so no member can be
// through before this one expects it.
func (z *Zone) expectZONEMD(a *agree.Agreed, p *planned) *second {
	s := &second{agreed: a, first: p, ready: make(chan struct{}), over: make(chan struct{}), outcome: make(chan outcome, 1)}
	z.mu.Lock()
	z.second = s
	z.mu.Unlock()
	return s
}

func (z *Zone) endZONEMD(s *second) {
	z.mu.Lock()
	if z.second == s {
		z.second = nil
	}
	z.mu.Unlock()
	close(s.over)
}

// signZONEMD derives the ZONEMD record from the zone that the session signed,
// agrees on it, and signs it.
func (z *Zone) signZONEMD(ctx context.Context, s *second, draft *dnssec.SignedZone) (*dnssec.SignedZone, error) {
	release, err := z.heavy(ctx)
	if err != nil {
		return nil, err
	}
	if s.plan, err = s.first.plan.PlanZONEMD(draft); err == nil {
		s.body = ZONEMDProposal{Session: agree.Digest(s.agreed.Session), First: s.first.body.Manifest,
			Draft: agree.Digest(draft.Digest()), Manifest: agree.Digest(s.plan.Digest())}
	}
	release()
	if err != nil {
		return nil, err
	}
	close(s.ready)
	if s.agreed.Proposal.Proposer == z.d.Identity.Self() {
		return z.proposeZONEMD(ctx, s)
	}
	return z.awaitZONEMD(ctx, s)
}

func (z *Zone) proposeZONEMD(ctx context.Context, s *second) (*dnssec.SignedZone, error) {
	if err := z.extend(&s.first.body, s.body.Manifest); err != nil {
		return nil, err
	}
	agreed, err := z.d.Agreement.Propose(ctx, KindZONEMD, z.name, s.agreed.Proposal.Members, s.body)
	if err != nil {
		return nil, failedZONEMD(s.agreed.Proposal, err)
	}
	return z.signPlan(ctx, agreed, s.plan, s.first.body.ZONEMD, false)
}

// failedZONEMD says who let the second agreement fail. After a session in which
// all signatures verify there is nothing that an honest member could refuse:
// one that does is as good as away. So is a proposer that gives up.
func failedZONEMD(p *agree.Proposal, err error) error {
	var refused *agree.RefusedError
	if errors.As(err, &refused) {
		return &mpc.AbsentError{Parties: refused.Peers(), Round: "zonemd", Err: errors.New(refused.Error())}
	}
	if _, ok := mpc.AsAbsent(err); ok {
		return err
	}
	return &mpc.AbsentError{Parties: []mpc.PartyID{p.Proposer}, Round: "zonemd", Err: err}
}

// awaitZONEMD waits for what a proposal that was accepted comes to, and for a
// bounded time for the proposal.
func (z *Zone) awaitZONEMD(ctx context.Context, s *second) (*dnssec.SignedZone, error) {
	limit := time.NewTimer(2 * z.d.Timeout)
	defer limit.Stop()
	for {
		select {
		case o := <-s.outcome:
			return o.zone, o.err
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-limit.C:
			z.mu.Lock()
			accepted := s.accepted
			if !accepted {
				z.second = nil // from now on none is
			}
			z.mu.Unlock()
			if !accepted {
				return nil, &mpc.AbsentError{Parties: []mpc.PartyID{s.agreed.Proposal.Proposer}, Round: "zonemd"}
			}
		}
	}
}

// expected finds the second agreement that a proposal is for: that of the
// session which this zone is in, by the same proposer to the same members.
func (z *Zone) expected(p *agree.Proposal) (*second, *ZONEMDProposal) {
	var body ZONEMDProposal
	if json.Unmarshal(p.Body, &body) != nil {
		return nil, nil
	}
	z.mu.Lock()
	defer z.mu.Unlock()
	s := z.second
	if s == nil || agree.Digest(s.agreed.Session) != body.Session || s.agreed.Proposal.Proposer != p.Proposer ||
		s.agreed.Proposal.Members.String() != p.Members.String() {
		return nil, nil
	}
	return s, &body
}

// judgeZONEMD compares a proposal with what this operator derived from the zone
// that it assembled in the session before.
func (z *Zone) judgeZONEMD(ctx context.Context, p *agree.Proposal, provisional func(agree.Verdict, string)) agree.Answer {
	s, body := z.expected(p)
	if s == nil {
		return refuse("zonemd", "it is for no session that this operator is in")
	}
	provisional(agree.Working, "signing the rest of the zone")
	select {
	case <-s.ready:
	case <-s.over:
		return refuse("zonemd", "the session failed here")
	case <-ctx.Done():
		return refuse("internal", "%v", ctx.Err())
	}
	if *body != s.body && !z.holes.anyZONEMD {
		what := "the manifest of its ZONEMD record differs from ours, " + s.body.Manifest.String()
		if body.Draft != s.body.Draft {
			what = "the signed zone " + body.Draft.String() + " differs from ours, " + s.body.Draft.String()
		}
		s.end(nil, &mpc.CheatError{Parties: []mpc.PartyID{p.Proposer}, What: what})
		return refuse("zonemd", "%s", what)
	}
	z.mu.Lock()
	late := z.second != s || s.accepted && !z.holes.manyZONEMD
	s.accepted = true
	z.mu.Unlock()
	if late {
		return refuse("zonemd", "its ZONEMD record was agreed on already")
	}
	if err := z.extend(&s.first.body, s.body.Manifest); err != nil {
		s.end(nil, err)
		return refuse("internal", "%v", err)
	}
	return agree.Answer{Verdict: agree.Accept}
}

// runZONEMD signs the record at a member that is not the proposer.
func (z *Zone) runZONEMD(ctx context.Context, a *agree.Agreed) {
	if s, _ := z.expected(a.Proposal); s != nil {
		s.end(z.signPlan(ctx, a, s.plan, s.first.body.ZONEMD, false))
	}
}

func (z *Zone) abandonZONEMD(p *agree.Proposal, why error) {
	if s, _ := z.expected(p); s != nil {
		s.end(nil, failedZONEMD(p, why))
	}
}
