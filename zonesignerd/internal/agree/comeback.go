package agree

import (
	"slices"
	"time"

	"zonesigner/mpc"
)

// again repeats our answer to a proposal that is said again: it was lost. Where
// we accepted and it is over, its proposer must not come to a session in which
// nobody is here any more.
func (a *Agreement) again(id Digest, p *Proposal) error {
	self := a.cfg.Identity.Self()
	a.mu.Lock()
	var said []byte
	over := false
	if r := a.rounds[id]; r != nil {
		said = r.said
		ans := r.answers[self]
		over = r.done && ans != nil && ans.Verdict == Accept && p.Members.Contains(self)
	}
	a.mu.Unlock()
	switch {
	case over:
		return a.aside(p.Proposer, Answer{Proposal: id, Verdict: Refuse, Code: "late", Reason: "the proposal is over here"})
	case said != nil:
		a.tell(a.ctx, a.asked(p), said)
	}
	return nil
}

// repeat says our own proposal again to those who have not answered, or only
// that they are at it. One that restarted meanwhile, or whose link broke, never
// got it.
func (a *Agreement) repeat(r *round) {
	for _, id := range a.asked(r.proposal) {
		if id == a.cfg.Identity.Self() || !a.cfg.Ready(id) {
			continue
		}
		a.mu.Lock()
		answered := r.answeredBy(id)
		a.mu.Unlock()
		if !answered {
			a.say(a.ctx, id, r.sealed)
		}
	}
}

// Greet says hello to an operator that has come, or come back.
func (a *Agreement) Greet(id mpc.PartyID) error {
	a.saying.Lock()
	defer a.saying.Unlock()
	open := []Digest{}
	a.mu.Lock()
	for _, r := range a.rounds {
		// What was agreed on is so here before it is elsewhere.
		if r.sealed != nil && (!r.done || r.agreed && time.Since(r.born) < 2*a.cfg.Timeout) {
			open = append(open, r.id)
		}
	}
	a.mu.Unlock()
	msg, err := Seal(a.cfg.Identity, a.cfg.Group().Digest, TypeHello, Hello{Open: open})
	if err != nil {
		return err
	}
	return a.cfg.Send(a.ctx, id, msg)
}

// voidOthers gives up an operator's proposals but for those that it says stand.
func (a *Agreement) voidOthers(from mpc.PartyID, stand []Digest) {
	stands := make(map[Digest]bool, len(stand))
	for _, id := range stand {
		stands[id] = true
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, r := range a.share(from).rounds {
		if r.proposal != nil && !r.done && !stands[r.id] {
			r.aborted = "it does not know it any more"
			r.signal()
		}
	}
}

// Hello says to an operator that has come, or come back, what it may have missed
// of what is open here. It may have been away for a moment only, in which we
// spoke to a link that was no more.
func (a *Agreement) Hello(id mpc.PartyID) {
	a.mu.Lock()
	var msgs [][]byte
	for _, r := range a.rounds {
		switch {
		case r.proposal == nil || !slices.Contains(a.asked(r.proposal), id):
		case !r.done:
			msgs = append(msgs, r.missed(id)...)
			// Others' proposals it may have missed as well, so what it would say
			// is waited for no longer.
			delete(r.there, id)
			r.signal()
		case r.agreed && !r.proposal.Members.Contains(id) && !r.answeredBy(id) && time.Since(r.born) < a.cfg.Timeout:
			// It was away here, and no reason to wait; members to which it was
			// not wait for what it says.
			msgs = append(msgs, r.sealed)
		}
	}
	a.mu.Unlock()
	a.say(a.ctx, id, msgs...)
}

// missed is what an operator may have missed of what we said in a round: our
// proposal, unless it has answered it for good, and our answer; a.mu is held.
func (r *round) missed(id mpc.PartyID) (msgs [][]byte) {
	if r.sealed != nil && !r.answeredBy(id) {
		msgs = append(msgs, r.sealed)
	}
	if r.said != nil {
		msgs = append(msgs, r.said)
	}
	return msgs
}
