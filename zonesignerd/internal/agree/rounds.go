package agree

import (
	"errors"
	"maps"
	"slices"
	"time"

	"zonesigner/mpc"
)

// share is what one operator makes this one remember: the proposals it made,
// and its answers to proposals that never came.
type share struct {
	rounds []*round // oldest first
	bytes  int
	judged map[string]int // proposals that are judged or waited for now, by kind and subject
}

// round is one proposal's life at this operator.
type round struct {
	id       Digest
	proposal *Proposal // nil while only answers have come
	answers  map[mpc.PartyID]*Answer
	aborted  string
	there    map[mpc.PartyID]bool // operators that were ready when it came, and did not go since: they have been asked, too
	changed  chan struct{}        // closed and replaced at each change
	born     time.Time
	done     bool
	agreed   bool        // our own proposal came to a session
	sealed   []byte      // our own proposal, to be said again
	said     []byte      // our last answer, likewise
	owner    mpc.PartyID // whose share it is in
	bytes    int
}

// Bounds on one operator's share.
const (
	maxRounds = 4096
	maxBytes  = 64 << 20
	maxJudged = 4 // of one kind and subject
)

var (
	errKnown = errors.New("the proposal is known already")
	errBusy  = errors.New("too many proposals of this operator are open")
)

// enter makes the round of a proposal, in its proposer's share. To propose is
// to accept: the proposal's nonce is the proposer's. sealed is our own, nil for
// others'.
func (a *Agreement) enter(id Digest, p *Proposal, sealed []byte) (*round, error) {
	there := map[mpc.PartyID]bool{}
	for _, id := range a.cfg.Group().Parties {
		there[id] = a.cfg.Ready(id)
	}
	a.mu.Lock()
	r := a.rounds[id]
	if r != nil && r.proposal != nil {
		a.mu.Unlock()
		return nil, errKnown
	}
	own := p.Proposer == a.cfg.Identity.Self()
	if !own && a.share(p.Proposer).judged[a.about(p)] >= maxJudged {
		a.mu.Unlock()
		return nil, errBusy
	}
	var early map[mpc.PartyID]*Answer
	if r != nil { // answers came first
		early = r.answers
		maps.DeleteFunc(early, func(from mpc.PartyID, _ *Answer) bool { return !slices.Contains(a.asked(p), from) })
		a.drop(r)
	}
	r = a.add(id, p.Proposer, len(p.Body))
	if r == nil {
		a.mu.Unlock()
		return nil, errBusy
	}
	maps.Copy(r.answers, early)
	r.answers[p.Proposer] = &Answer{Proposal: id, Verdict: Accept, Nonce: p.Nonce}
	r.proposal, r.sealed, r.there = p, sealed, there
	a.share(p.Proposer).judged[a.about(p)]++
	answers := maps.Clone(r.answers)
	a.mu.Unlock()
	for _, from := range slices.Sorted(maps.Keys(answers)) {
		if ans := answers[from]; ans.final() {
			a.handlers[p.Kind].Answered(p, from, ans)
		}
	}
	return r, nil
}

// about is what an operator may have few proposals for.
func (a *Agreement) about(p *Proposal) string {
	if a.cfg.Subjects != nil && !a.cfg.Subjects(p.Kind) {
		return string(p.Kind)
	}
	return string(p.Kind) + " " + p.Subject
}

// share is an operator's; a.mu is held.
func (a *Agreement) share(id mpc.PartyID) *share {
	s := a.shares[id]
	if s == nil {
		s = &share{judged: map[string]int{}}
		a.shares[id] = s
	}
	return s
}

// add makes an empty round in an operator's share; a.mu is held. What is over
// of that operator's, or never got its proposal, makes room, oldest first.
func (a *Agreement) add(id Digest, owner mpc.PartyID, bytes int) *round {
	s := a.share(owner)
	for len(s.rounds) >= maxRounds || s.bytes+bytes > maxBytes {
		i := slices.IndexFunc(s.rounds, func(r *round) bool { return r.done || r.proposal == nil })
		if i < 0 {
			return nil
		}
		a.drop(s.rounds[i])
	}
	r := &round{id: id, answers: map[mpc.PartyID]*Answer{}, changed: make(chan struct{}), born: time.Now(), owner: owner, bytes: bytes}
	a.rounds[id] = r
	s.rounds = append(s.rounds, r)
	s.bytes += bytes
	return r
}

// drop forgets a round; a.mu is held.
func (a *Agreement) drop(r *round) {
	s := a.share(r.owner)
	i := slices.Index(s.rounds, r)
	s.rounds = slices.Delete(s.rounds, i, i+1)
	s.bytes -= r.bytes
	delete(a.rounds, r.id)
}

// finish ends a round. Its proposal stays for late answers; what the answers
// said is with the handler.
func (a *Agreement) finish(r *round) {
	a.mu.Lock()
	defer a.mu.Unlock()
	r.done = true
	for id, ans := range r.answers {
		r.answers[id] = &Answer{Verdict: ans.Verdict}
	}
	judged, about := a.share(r.owner).judged, a.about(r.proposal)
	if judged[about]--; judged[about] <= 0 {
		delete(judged, about)
	}
}

// answeredBy reports whether an operator's final answer is there; a.mu is held.
func (r *round) answeredBy(id mpc.PartyID) bool {
	ans := r.answers[id]
	return ans != nil && ans.final()
}

func (r *round) signal() {
	close(r.changed)
	r.changed = make(chan struct{})
}
