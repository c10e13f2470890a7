// Package agree is how operators come to have a session: one proposes, each
// of the others compares the proposal with what it derived itself and answers
// to all, signed, and when every member has accepted, all of them know the
// session's id, to which each contributed a nonce. Nothing is spent on the
// way; a proposal that is refused costs a message.
//
//	            Propose                         all members accepted
//	proposer  ───────────▶ waiting ───────────────────────────────────▶ session
//	                          │ a refusal, a newer version, an absent member
//	                          ▼
//	                        aborted (told to all)
//
//	            proposal           Judge: accept          all members accepted
//	receiver  ───────────▶ judging ─────────────▶ waiting ─────────────▶ session
//	                          │ behind: looks, judges again   │ abort, time-out
//	                          ▼ refuse, superseded            ▼
//	                        done                          Abandon
//
// What a proposal means is its kind's business (Handler); zones, tuples and
// keys are kinds, and so will roll-overs and resharing be.
package agree

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"zonesigner/mpc"
	"zonesigner/zonesignerd/internal/tasks"
)

// Handler gives proposals of one kind their meaning.
type Handler interface {
	// Judge compares a peer's proposal with what this operator derives
	// itself. It may take its time; provisional tells the others meanwhile.
	// Only a member is asked to accept; another operator's Accept has no
	// effect, its refusal does.
	Judge(ctx context.Context, id Digest, p *Proposal, provisional func(v Verdict, reason string)) Answer
	// Run takes part in the session after an acceptance.
	Run(ctx context.Context, a *Agreed)
	// Abandon undoes what an acceptance had reserved: there is no session.
	Abandon(id Digest, p *Proposal, why error)
	// Answered is told of the final answer that any operator, this one
	// included, gave to any proposal of this kind, once.
	Answered(p *Proposal, from mpc.PartyID, a *Answer)
}

// Agreed is a proposal that all its members accepted.
type Agreed struct {
	Proposal *Proposal
	ID       Digest // of the proposal
	Session  mpc.SessionID
}

// RefusedError says that operators refused a proposal, and why.
type RefusedError struct {
	Subject string
	By      []Refusal
}

// Refusal is one operator's refusal.
type Refusal struct {
	Peer mpc.PartyID
	Answer
}

func (e *RefusedError) Error() string {
	var s []string
	for _, r := range e.By {
		text := fmt.Sprintf("operator %s refuses: %s", r.Peer, r.Reason)
		if r.Verdict == Superseded {
			text = fmt.Sprintf("operator %s: %s", r.Peer, r.Reason)
		}
		if len(r.Records) > 0 {
			text += " (" + strings.Join(r.Records, "; ") + ")"
		}
		s = append(s, text)
	}
	return strings.Join(s, "; ")
}

// Code reports whether any refusal has the code.
func (e *RefusedError) Code(code string) (Refusal, bool) {
	for _, r := range e.By {
		if r.Code == code {
			return r, true
		}
	}
	return Refusal{}, false
}

// Peers are the operators that refuse.
func (e *RefusedError) Peers() []mpc.PartyID {
	ids := make([]mpc.PartyID, len(e.By))
	for i, r := range e.By {
		ids[i] = r.Peer
	}
	return ids
}

// All reports whether all refusals have the code.
func (e *RefusedError) All(code string) bool {
	return !slices.ContainsFunc(e.By, func(r Refusal) bool { return r.Code != code })
}

// Config is what an Agreement needs.
type Config struct {
	Identity mpc.Identity
	Group    func() mpc.Group // current epoch
	Send     func(ctx context.Context, to mpc.PartyID, msg []byte) error
	Ready    func(mpc.PartyID) bool // whether a peer answers at all
	// Timeout bounds the waiting for answers while their senders are ready.
	Timeout time.Duration
	// Stops reports whether a final answer other than acceptance, by an
	// operator that is not a member, stops the proposal. Without it none does.
	Stops func(p *Proposal, from mpc.PartyID, a *Answer) bool
	// Subjects reports whether proposals of a kind are about something that
	// receivers know by the subject. Of other kinds an operator may have few
	// open at a time, whatever it calls them. nil: all are.
	Subjects func(Kind) bool
	Logger   *slog.Logger
}

// Agreement runs the exchange for all kinds. It is safe for concurrent use.
type Agreement struct {
	cfg      Config
	handlers map[Kind]Handler

	ctx    context.Context
	cancel context.CancelFunc
	wg     tasks.Group

	// saying is held while a proposal enters and is said, and while those that
	// stand are: no hello overtakes a proposal that it does not name.
	saying sync.Mutex

	mu     sync.Mutex
	rounds map[Digest]*round
	shares map[mpc.PartyID]*share
}

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

// New returns an Agreement without handlers; Register them before the first
// message arrives.
func New(cfg Config) *Agreement {
	ctx, cancel := context.WithCancel(context.Background())
	return &Agreement{
		cfg: cfg, handlers: map[Kind]Handler{}, rounds: map[Digest]*round{}, shares: map[mpc.PartyID]*share{},
		ctx: ctx, cancel: cancel,
	}
}

// Register sets the handler of a kind.
func (a *Agreement) Register(k Kind, h Handler) { a.handlers[k] = h }

// Close ends all rounds and waits for their goroutines.
func (a *Agreement) Close() {
	a.cancel()
	a.wg.Wait()
}

// Receive takes a message of one of this package's types.
func (a *Agreement) Receive(m *Message) error {
	switch m.Type {
	case TypeProposal:
		var p Proposal
		if err := m.Decode(&p); err != nil {
			return err
		}
		if err := p.validate(a.cfg.Group(), m.From); err != nil {
			return err
		}
		h := a.handlers[p.Kind]
		if h == nil {
			return a.answer(m.Digest(), Answer{Verdict: Refuse, Code: "kind",
				Reason: fmt.Sprintf("proposals of kind %q are unknown to this version", p.Kind)})
		}
		return a.consider(m.Digest(), &p, h)
	case TypeAnswer:
		var ans Answer
		if err := m.Decode(&ans); err != nil {
			return err
		}
		if err := ans.validate(); err != nil {
			return fmt.Errorf("answer of operator %s: %w", m.From, err)
		}
		a.record(m.From, &ans)
		return nil
	case TypeAbort:
		var ab Abort
		if err := m.Decode(&ab); err != nil {
			return err
		}
		a.mu.Lock()
		defer a.mu.Unlock()
		if r := a.rounds[ab.Proposal]; r != nil && r.proposal != nil && r.proposal.Proposer == m.From {
			r.aborted = cut(ab.Reason, maxReason)
			r.signal()
		}
		return nil
	case TypeHello:
		var h Hello
		if err := m.Decode(&h); err != nil {
			return err
		}
		if len(h.Open) > maxRounds {
			return fmt.Errorf("hello of operator %s: %d proposals are open, expected %d at most", m.From, len(h.Open), maxRounds)
		}
		if h.Open != nil {
			a.voidOthers(m.From, h.Open)
		}
		return nil
	}
	return fmt.Errorf("message of unknown type %q", m.Type)
}

// Propose asks the members and returns when all of them accepted; the caller
// then runs its part of the session. A *RefusedError or an *mpc.AbsentError
// says why there is none. Refusals of all operators that are ready are waited
// for, so that the error is complete.
func (a *Agreement) Propose(ctx context.Context, kind Kind, subject string, members mpc.SignerSet, body any) (*Agreed, error) {
	raw, err := json.Marshal(body)
	if err != nil {
		return nil, fmt.Errorf("encode proposal: %w", err)
	}
	p := &Proposal{Kind: kind, Subject: subject, Proposer: a.cfg.Identity.Self(), Members: members, Nonce: fresh(), Body: raw}
	group := a.cfg.Group()
	sealed, err := Seal(a.cfg.Identity, group.Digest, TypeProposal, p)
	if err != nil {
		return nil, err
	}
	m := Message{Raw: sealed}
	a.saying.Lock()
	r, err := a.enter(m.Digest(), p, sealed)
	if err == nil {
		a.broadcast(ctx, sealed)
	}
	a.saying.Unlock()
	if err != nil {
		return nil, err
	}
	defer a.finish(r)
	agreed, err := a.await(ctx, r)
	if err != nil {
		a.abort(r.id, err)
	}
	a.mu.Lock()
	r.agreed = err == nil
	a.mu.Unlock()
	return agreed, err
}

func (a *Agreement) abort(id Digest, why error) {
	msg, err := Seal(a.cfg.Identity, a.cfg.Group().Digest, TypeAbort, Abort{Proposal: id, Reason: cut(why.Error(), maxReason)})
	if err == nil {
		a.broadcast(a.ctx, msg)
	}
}

// consider judges a peer's proposal and, after an acceptance, waits for the
// others and runs the session.
func (a *Agreement) consider(id Digest, p *Proposal, h Handler) error {
	r, err := a.enter(id, p, nil)
	if errors.Is(err, errKnown) {
		return a.again(id, p)
	}
	if err != nil {
		return errors.Join(err, a.aside(p.Proposer, Answer{Proposal: id, Verdict: Superseded, Code: "busy", Reason: err.Error()}))
	}
	a.wg.Go(func() {
		defer a.finish(r)
		ctx, cancel := context.WithTimeout(a.ctx, a.cfg.Timeout)
		defer cancel()
		if gone, ok := a.reachable(ctx, p.Members); !ok {
			a.reply(id, Answer{Verdict: Refuse, Code: "unreachable", Reason: fmt.Sprintf("operator %s cannot be reached from here", gone)})
			return
		}
		ans := h.Judge(ctx, id, p, func(v Verdict, reason string) {
			a.reply(id, Answer{Verdict: v, Reason: reason})
		})
		if ans.Verdict == Accept && ctx.Err() != nil { // the others have given up by now
			h.Abandon(id, p, ctx.Err())
			ans = Answer{Verdict: Refuse, Code: "late", Reason: "the plan took too long here"}
		}
		accepted := ans.Verdict == Accept
		if accepted {
			ans.Nonce = fresh()
		}
		a.reply(id, ans)
		member := p.Members.Contains(a.cfg.Identity.Self())
		if !accepted {
			return
		}
		if !member {
			h.Abandon(id, p, nil)
			return
		}
		agreed, err := a.await(a.ctx, r)
		if err != nil {
			h.Abandon(id, p, err)
			return
		}
		h.Run(a.ctx, agreed)
	})
	return nil
}

func (a *Agreement) reply(id Digest, ans Answer) {
	if err := a.answer(id, ans); err != nil {
		a.cfg.Logger.Warn("answer not sent", "proposal", id, "err", err)
	}
}

// reachable waits a while for links to all members, since a session needs
// them all; it returns one that has none.
func (a *Agreement) reachable(ctx context.Context, members mpc.SignerSet) (mpc.PartyID, bool) {
	ctx, cancel := context.WithTimeout(ctx, a.cfg.Timeout/8)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		i := slices.IndexFunc(members, func(id mpc.PartyID) bool { return id != a.cfg.Identity.Self() && !a.cfg.Ready(id) })
		if i < 0 {
			return "", true
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return members[i], false
		}
	}
}

// aside signs an answer for one operator, which is not remembered.
func (a *Agreement) aside(to mpc.PartyID, ans Answer) error {
	msg, err := Seal(a.cfg.Identity, a.cfg.Group().Digest, TypeAnswer, ans)
	if err != nil {
		return err
	}
	return a.cfg.Send(a.ctx, to, msg)
}

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
		a.broadcast(a.ctx, said)
	}
	return nil
}

// repeat says our own proposal again to those who have not answered, or only
// that they are at it. One that restarted meanwhile, or whose link broke, never
// got it.
func (a *Agreement) repeat(r *round) {
	for _, id := range a.cfg.Group().Parties {
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
		case r.proposal == nil:
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

func (a *Agreement) say(ctx context.Context, to mpc.PartyID, msgs ...[]byte) {
	for _, msg := range msgs {
		if err := a.cfg.Send(ctx, to, msg); err != nil {
			a.cfg.Logger.Debug("message not sent", "peer", to, "err", err)
		}
	}
}

// await returns when every member has accepted, or says why that will not be.
func (a *Agreement) await(ctx context.Context, r *round) (*Agreed, error) {
	ctx, cancel := context.WithTimeout(ctx, a.cfg.Timeout)
	defer cancel()
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for ticks := 0; ; {
		a.mu.Lock()
		changed := r.changed
		state := a.weigh(r)
		a.mu.Unlock()
		if state.agreed != nil || state.err != nil {
			return state.agreed, state.err
		}
		select {
		case <-changed:
		case <-tick.C:
			if ticks++; r.sealed != nil && ticks%4 == 0 {
				a.repeat(r)
			}
		case <-ctx.Done():
			if len(state.refusals) > 0 {
				return nil, &RefusedError{Subject: r.proposal.Subject, By: state.refusals}
			}
			return nil, &mpc.AbsentError{Parties: state.missing, Round: "agreement", Err: ctx.Err()}
		}
	}
}

type weighed struct {
	agreed   *Agreed
	err      error
	refusals []Refusal
	missing  []mpc.PartyID
}

// weigh decides on the answers so far; a.mu is held.
func (a *Agreement) weigh(r *round) (w weighed) {
	self := a.cfg.Identity.Self()
	if r.aborted != "" {
		w.err = fmt.Errorf("operator %s gave up its proposal: %s", r.proposal.Proposer, r.aborted)
		return w
	}
	nonces := map[mpc.PartyID][]byte{}
	// Operators that can answer and have not yet. Others than members are
	// waited for less long, and longer when they said that they are at it:
	// being slow is no way to stop a version, but what they find counts.
	waiting, othersWaiting := false, false
	age := time.Since(r.born)
	grace := age < a.cfg.Timeout/4
	var gone []mpc.PartyID
	for _, id := range a.cfg.Group().Parties {
		ans, member := r.answers[id], r.proposal.Members.Contains(id)
		switch {
		case ans != nil && ans.Verdict == Accept:
			nonces[id] = ans.Nonce
		case ans != nil && ans.final():
			if !member && (a.cfg.Stops == nil || !a.cfg.Stops(r.proposal, id, ans)) {
				continue
			}
			w.refusals = append(w.refusals, Refusal{Peer: id, Answer: *ans})
		case id == self || a.cfg.Ready(id):
			if member {
				waiting = true
			} else if grace && r.there[id] || ans != nil && age < a.cfg.Timeout*7/8 {
				othersWaiting = true
			}
			w.missing = append(w.missing, id)
		case member:
			gone = append(gone, id)
			w.missing = append(w.missing, id)
		}
	}
	switch {
	case waiting && (grace || len(w.refusals) == 0), othersWaiting:
	case len(w.refusals) > 0:
		w.err = &RefusedError{Subject: r.proposal.Subject, By: w.refusals}
	case len(gone) > 0:
		w.err = &mpc.AbsentError{Parties: gone, Round: "agreement"}
	default:
		maps.DeleteFunc(nonces, func(id mpc.PartyID, _ []byte) bool { return !r.proposal.Members.Contains(id) })
		w.agreed = &Agreed{Proposal: r.proposal, ID: r.id,
			Session: mpc.NewSessionID("session:"+string(r.id[:]), nonces)}
	}
	return w
}

// answer signs and sends this operator's answer to all, itself included.
func (a *Agreement) answer(id Digest, ans Answer) error {
	ans.Proposal = id
	ans.trim()
	msg, err := Seal(a.cfg.Identity, a.cfg.Group().Digest, TypeAnswer, ans)
	if err != nil {
		return err
	}
	a.record(a.cfg.Identity.Self(), &ans)
	a.mu.Lock()
	if r := a.rounds[id]; r != nil {
		grown := len(msg) - len(r.said)
		r.said = msg
		r.bytes += grown
		a.share(r.owner).bytes += grown
	}
	a.mu.Unlock()
	a.broadcast(a.ctx, msg)
	return nil
}

// record keeps an operator's answer: its first final one, and never a
// provisional one after that.
func (a *Agreement) record(from mpc.PartyID, ans *Answer) {
	a.mu.Lock()
	r := a.rounds[ans.Proposal]
	if r == nil {
		size := len(ans.Reason)
		for _, text := range ans.Records {
			size += len(text)
		}
		r = a.add(ans.Proposal, from, size)
		if r == nil {
			a.mu.Unlock()
			return
		}
	}
	if r.answeredBy(from) {
		a.mu.Unlock()
		return
	}
	r.answers[from] = ans
	if r.done {
		r.answers[from] = &Answer{Verdict: ans.Verdict}
	}
	r.signal()
	p := r.proposal
	a.mu.Unlock()
	if p != nil && ans.final() {
		a.handlers[p.Kind].Answered(p, from, ans)
	}
}

func (a *Agreement) broadcast(ctx context.Context, msg []byte) {
	for _, id := range a.cfg.Group().Parties {
		if id != a.cfg.Identity.Self() && a.cfg.Ready(id) {
			a.say(ctx, id, msg)
		}
	}
}

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

func fresh() []byte {
	b := make([]byte, nonceLen)
	_, _ = rand.Read(b) // crypto/rand.Read never fails
	return b
}
