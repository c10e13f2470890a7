package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"zonesigner/mpc"
	"zonesigner/zonesignerd/internal/agree"
	"zonesigner/zonesignerd/internal/pipeline"
)

// kindShared is the kind of proposal that makes one session of several zones'.
const kindShared agree.Kind = "shared"

// sharedSession is its body: proposals of the same proposer to the same
// members, which all have accepted.
type sharedSession struct {
	Proposals []agree.Digest `json:"proposals"`
}

// Bounds of one shared session, and how long its proposer gathers zones: until
// none is about to propose, and for a moment more.
const (
	mostShared       = 256  // zones
	mostSharedSigns  = 8192 // signatures
	gatherQuiet      = 10 * time.Millisecond
	gatherAtMost     = 250 * time.Millisecond
	attemptsAtShared = 3
)

// sharing makes one session of those of many small zones. Each zone is agreed on
// as ever; the proposer of several then proposes to sign them together. Members
// agree if all of them are zones that they agreed on and wait with. Nothing is
// signed for the asking: a member's requests are those that its zones derived.
type sharing struct {
	n *Node

	mu      sync.Mutex
	entered map[string]int       // zones that are about to propose, by signer set and engine
	queues  map[string][]*joined // own zones that wait to be gathered; the first leads
	waiting map[agree.Digest]*joined
	changed chan struct{}             // closed and replaced when a zone enters, leaves or joins
	blamed  map[mpc.PartyID]time.Time // when who let zones wait was last blamed for it
}

// joined is a zone that waits for its part of a shared session.
type joined struct {
	agreed   *agree.Agreed
	requests []mpc.SignRequest
	taken    agree.Digest  // the session that it is in; zero: none
	lead     chan struct{} // closed when it is first in its queue
	once     sync.Once     // guards the three below
	done     chan struct{}
	out      [][]mpc.Signature
	err      error
}

func (j *joined) signatures() (n int) {
	for i := range j.requests {
		n += j.requests[i].Len()
	}
	return n
}

func newSharing(n *Node) *sharing {
	return &sharing{n: n, entered: map[string]int{}, queues: map[string][]*joined{}, waiting: map[agree.Digest]*joined{}, changed: make(chan struct{}), blamed: map[mpc.PartyID]time.Time{}}
}

// signal is called with s.mu held.
func (s *sharing) signal() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// group is what zones must have in common to share: signer set and engine. No
// engine: their keys have several.
func (s *sharing) group(set mpc.SignerSet, keys []mpc.KeyID) (string, bool) {
	engine := ""
	for _, id := range keys {
		k, ok := s.n.keys.find(string(id))
		if !ok || engine != "" && k.Engine != engine {
			return "", false
		}
		engine = k.Engine
	}
	return engine + " " + set.String(), engine != ""
}

// Enter implements pipeline.Sharing.
func (s *sharing) Enter(set mpc.SignerSet, keys []mpc.KeyID) (shared bool, leave func()) {
	group, ok := s.group(set, keys)
	if !ok {
		return false, func() {}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.entered[group]++
	return s.entered[group] > 1, sync.OnceFunc(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.entered[group]--; s.entered[group] == 0 {
			delete(s.entered, group)
		}
		s.signal()
	})
}

// Sign implements pipeline.Sharing. Of own zones that wait, the first leads: it
// gathers those that come, and proposes a session for all of them.
func (s *sharing) Sign(ctx context.Context, a *agree.Agreed, requests []mpc.SignRequest) ([][]mpc.Signature, error) {
	j := &joined{agreed: a, requests: requests, lead: make(chan struct{}), done: make(chan struct{})}
	group := ""
	if a.Proposal.Proposer == s.n.self {
		var keys []mpc.KeyID
		for _, r := range requests {
			keys = append(keys, r.Key)
		}
		group, _ = s.group(a.Proposal.Members, keys)
	}
	s.join(group, j)
	defer s.part(group, j)
	// Its proposer may never come with a session. The sessions before it in the
	// queue take their time, too.
	limit := time.NewTimer(4 * time.Duration(s.n.cfg.Sessions.Timeout))
	defer limit.Stop()
	if group != "" {
		limit.Stop() // its own queue
	}
	for {
		select {
		case <-j.lead:
			s.collect(group)
			s.propose(s.batch(group))
			return j.out, j.err
		case <-j.done:
			return j.out, j.err
		case <-limit.C:
			s.mu.Lock()
			taken := !j.taken.IsZero()
			s.mu.Unlock()
			if !taken { // a session has limits of its own
				return nil, s.blame(a.Proposal.Members, a.Proposal.Proposer, nil)
			}
			limit.Reset(time.Duration(s.n.cfg.Sessions.Timeout)) // it may be given up yet
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-s.n.ctx.Done():
			return nil, s.n.ctx.Err()
		}
	}
}

// blame says that an operator let zones wait, and draws the consequence once
// for many of them.
func (s *sharing) blame(set mpc.SignerSet, id mpc.PartyID, cause error) error {
	err := &mpc.AbsentError{Parties: []mpc.PartyID{id}, Round: "shared session", Err: cause}
	now := s.n.opt.Now()
	s.mu.Lock()
	first := now.Sub(s.blamed[id]) > time.Duration(s.n.cfg.Sessions.Timeout)
	if first {
		s.blamed[id] = now
	}
	s.mu.Unlock()
	if first {
		s.n.blame.note(set, err, now)
	}
	return &notedError{err}
}

// join lets a zone wait: in the queue of a group, if it is to be gathered here.
func (s *sharing) join(group string, j *joined) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting[j.agreed.ID] = j
	if group != "" {
		if s.queues[group] = append(s.queues[group], j); len(s.queues[group]) == 1 {
			close(j.lead)
		}
	}
	s.signal()
}

// part is the end of join. The next in the queue leads.
func (s *sharing) part(group string, j *joined) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.waiting, j.agreed.ID)
	queue := s.queues[group]
	if i := slices.Index(queue, j); i >= 0 {
		queue = slices.Delete(queue, i, i+1)
	}
	switch {
	case group == "":
	case len(queue) == 0:
		delete(s.queues, group)
	default:
		s.queues[group] = queue
		select {
		case <-queue[0].lead:
		default:
			close(queue[0].lead)
		}
	}
}

// batch takes what one session holds out of a queue, but for the first: that
// keeps the others waiting until its session is over.
func (s *sharing) batch(group string) []*joined {
	s.mu.Lock()
	defer s.mu.Unlock()
	queue := s.queues[group]
	n, signatures := 0, 0
	for n < len(queue) && n < mostShared && (n == 0 || signatures+queue[n].signatures() <= mostSharedSigns) {
		signatures += queue[n].signatures()
		n++
	}
	batch := slices.Clone(queue[:n])
	s.queues[group] = slices.Delete(queue, 1, n)
	return batch
}

// collect returns when it is time to propose what is there.
func (s *sharing) collect(group string) {
	most := time.NewTimer(gatherAtMost)
	defer most.Stop()
	for {
		s.mu.Lock()
		changed, coming, full := s.changed, s.entered[group], len(s.queues[group]) >= mostShared
		s.mu.Unlock()
		if full {
			return
		}
		var quiet <-chan time.Time
		if coming == 0 {
			quiet = time.After(gatherQuiet)
		}
		select {
		case <-changed:
		case <-quiet:
			return
		case <-most.C:
			return
		case <-s.n.ctx.Done():
			return
		}
	}
}

// propose proposes one session for all of batch and runs it. Zones with which
// another member does not wait are left behind, and fail.
func (s *sharing) propose(batch []*joined) {
	set := batch[0].agreed.Proposal.Members
	for range attemptsAtShared {
		var body sharedSession
		for _, j := range batch {
			body.Proposals = append(body.Proposals, j.agreed.ID)
		}
		agreed, err := s.n.agreement.Propose(s.n.ctx, kindShared, fmt.Sprintf("%d zones", len(batch)), set, body)
		if err == nil {
			s.run(s.n.ctx, agreed, batch)
			return
		}
		batch, err = s.leave(batch, err)
		if err != nil {
			for _, j := range batch {
				j.finish(nil, err)
			}
			return
		}
		if len(batch) == 0 {
			return
		}
	}
	for _, j := range batch {
		j.finish(nil, errors.New("other operators do not wait for this session"))
	}
}

// leave lets those of batch fail with which another operator does not wait, and
// returns the rest; any other error comes back.
func (s *sharing) leave(batch []*joined, err error) ([]*joined, error) {
	var refused *agree.RefusedError
	if !errors.As(err, &refused) {
		return batch, err
	}
	r, ok := refused.Code("missing")
	if !ok || len(r.Records) == 0 {
		return batch, err
	}
	gone, rest := unwanted(batch, r.Records)
	s.fail(gone, batch[0].agreed.Proposal.Members, r.Peer, r.Reason)
	return rest, nil
}

// unwanted parts those of batch with which, by the records of its refusal,
// another operator does not wait from the rest.
func unwanted(batch []*joined, records []string) (gone, rest []*joined) {
	for _, j := range batch {
		if id, _ := j.agreed.ID.MarshalText(); slices.Contains(records, string(id)) {
			gone = append(gone, j)
		} else {
			rest = append(rest, j)
		}
	}
	return gone, rest
}

// fail ends zones of the set with which peer does not wait.
func (s *sharing) fail(zones []*joined, set mpc.SignerSet, peer mpc.PartyID, reason string) {
	why := s.blame(set, peer, errors.New(reason))
	for _, j := range zones {
		j.finish(nil, why)
	}
}

// finish tells what came of it; what is said later does not count.
func (j *joined) finish(out [][]mpc.Signature, err error) {
	j.once.Do(func() {
		j.out, j.err = out, err
		close(j.done)
	})
}

// run signs for all of batch in one session.
func (s *sharing) run(ctx context.Context, a *agree.Agreed, batch []*joined) {
	out, err := s.session(ctx, a, batch)
	if err != nil {
		s.n.blame.note(a.Proposal.Members, err, s.n.opt.Now())
		err = &notedError{err}
	}
	for _, j := range batch {
		if err != nil {
			j.finish(nil, err)
			continue
		}
		j.finish(out[:len(j.requests):len(j.requests)], nil)
		out = out[len(j.requests):]
	}
}

func (s *sharing) session(ctx context.Context, a *agree.Agreed, batch []*joined) ([][]mpc.Signature, error) {
	net, err := s.n.transport.Open(a.Session, a.Proposal.Members)
	if err != nil {
		return nil, err
	}
	defer net.Close()
	ctx, alive, stop := pipeline.Watchdog(ctx, time.Duration(s.n.cfg.Sessions.Timeout))
	defer stop()
	session := mpc.SignSession{ID: a.Session, Set: a.Proposal.Members, Stripe: a.Proposal.Proposer, Agreed: true}
	for _, j := range batch {
		session.Requests = append(session.Requests, j.requests...)
	}
	out, err := s.n.signer.Sign(ctx, net, session, func(int) { alive() })
	if err == nil {
		s.n.log.Debug("zones signed in one session", "zones", len(batch), "proposer", a.Proposal.Proposer)
	}
	return out, err
}

// Judge implements agree.Handler: all zones must be such that all members
// agreed to on the same proposer's word, and that wait here.
func (s *sharing) Judge(ctx context.Context, id agree.Digest, p *agree.Proposal, _ func(agree.Verdict, string)) agree.Answer {
	refuse := func(code, format string, args ...any) agree.Answer {
		return agree.Answer{Verdict: agree.Refuse, Code: code, Reason: fmt.Sprintf(format, args...)}
	}
	var body sharedSession
	if err := json.Unmarshal(p.Body, &body); err != nil {
		return refuse("form", "proposal cannot be read: %v", err)
	}
	if n := len(body.Proposals); n == 0 || n > mostShared {
		return refuse("form", "a session for %d zones, at most %d share one", n, mostShared)
	}
	// The others may still be writing down what they agreed to.
	limit := time.NewTimer(time.Duration(s.n.cfg.Sessions.Timeout) / 2)
	defer limit.Stop()
	for {
		missing, changed := s.claim(id, p, body.Proposals)
		if len(missing) == 0 {
			return agree.Answer{Verdict: agree.Accept}
		}
		select {
		case <-changed: // it may hear a moment later than the proposer that all agree
		case <-limit.C:
			ans := refuse("missing", "%d of %d zones do not wait for a session here", len(missing), len(body.Proposals))
			ans.Records = missing
			return ans
		case <-ctx.Done():
			return refuse("late", "%v", ctx.Err())
		}
	}
}

// claim takes the zones for a session, or names those that cannot be.
func (s *sharing) claim(id agree.Digest, p *agree.Proposal, ids []agree.Digest) (missing []string, changed chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	seen := map[agree.Digest]bool{}
	for _, d := range ids {
		j := s.waiting[d]
		if j == nil || !j.taken.IsZero() || seen[d] || j.agreed.Proposal.Proposer != p.Proposer || !j.agreed.Proposal.Members.Equal(p.Members) {
			text, _ := d.MarshalText()
			missing = append(missing, string(text))
		}
		seen[d] = true
	}
	if missing == nil {
		for _, d := range ids {
			s.waiting[d].taken = id
		}
	}
	return missing, s.changed
}

// claimed lists what a session took, in its order.
func (s *sharing) claimed(id agree.Digest, p *agree.Proposal) []*joined {
	var body sharedSession
	if json.Unmarshal(p.Body, &body) != nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []*joined
	for _, d := range body.Proposals {
		if j := s.waiting[d]; j != nil && j.taken == id {
			out = append(out, j)
		}
	}
	return out
}

// Run implements agree.Handler.
func (s *sharing) Run(ctx context.Context, a *agree.Agreed) {
	batch := s.claimed(a.ID, a.Proposal)
	var body sharedSession
	if json.Unmarshal(a.Proposal.Body, &body) != nil || len(batch) == 0 {
		return
	}
	if len(batch) < len(body.Proposals) { // what is left is not what all have agreed on
		for _, j := range batch {
			j.finish(nil, errors.New("a zone of the shared session left it"))
		}
		return
	}
	s.run(ctx, a, batch)
}

// Abandon implements agree.Handler.
func (s *sharing) Abandon(id agree.Digest, p *agree.Proposal, _ error) {
	batch := s.claimed(id, p)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, j := range batch {
		j.taken = agree.Digest{}
	}
	s.signal()
}

// Answered implements agree.Handler: zones that another member does not wait
// with fail here at once, as they do at the proposer.
func (s *sharing) Answered(p *agree.Proposal, from mpc.PartyID, a *agree.Answer) {
	var body sharedSession
	if a.Code != "missing" || from == s.n.self || !p.Members.Contains(from) || json.Unmarshal(p.Body, &body) != nil || len(body.Proposals) > mostShared {
		return
	}
	var batch []*joined
	s.mu.Lock()
	for _, d := range body.Proposals {
		if j := s.waiting[d]; j != nil && j.agreed.Proposal.Proposer == p.Proposer {
			batch = append(batch, j)
		}
	}
	s.mu.Unlock()
	if gone, _ := unwanted(batch, a.Records); gone != nil {
		s.fail(gone, p.Members, from, a.Reason)
	}
}
