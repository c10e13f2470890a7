// Package agree is how operators come to have a session: one proposes, each
// of the others compares the proposal with what it derived itself and answers
// to all who were asked, signed, and when every member has accepted, all of
// them know the session's id, to which each contributed a nonce. Nothing is
// spent on the way; a proposal that is refused costs a message.
//
//	            Propose                         all members accepted
//	proposer  ───────────▶ waiting ───────────────────────────────────▶ session
//	                          │ a refusal, a newer version, an absent member
//	                          ▼
//	                        aborted (all who were asked are told)
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
	// Only a member's Accept has an effect. Who is none is asked where the
	// kind's proposals are for all (Config.ForAll), for what it has against them.
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
	// ForAll reports whether proposals of a kind go to all operators. Those of
	// other kinds are their members' alone; so are all without it.
	ForAll func(Kind) bool
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
		if !slices.Contains(a.asked(&p), a.cfg.Identity.Self()) {
			return fmt.Errorf("proposal of operator %s, of kind %q, is for its members alone: %s", m.From, p.Kind, p.Members)
		}
		h := a.handlers[p.Kind]
		if h == nil {
			return a.answer(m.Digest(), &p, Answer{Verdict: Refuse, Code: "kind",
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
// says why there is none. Refusals of all who were asked and are ready are
// waited for, so that the error is complete.
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
		a.tell(ctx, a.asked(p), sealed)
	}
	a.saying.Unlock()
	if err != nil {
		return nil, err
	}
	defer a.finish(r)
	agreed, err := a.await(ctx, r)
	if err != nil {
		a.abort(r, err)
	}
	a.mu.Lock()
	r.agreed = err == nil
	a.mu.Unlock()
	return agreed, err
}

func (a *Agreement) abort(r *round, why error) {
	msg, err := Seal(a.cfg.Identity, a.cfg.Group().Digest, TypeAbort, Abort{Proposal: r.id, Reason: cut(why.Error(), maxReason)})
	if err == nil {
		a.tell(a.ctx, a.asked(r.proposal), msg)
	}
}

// asked are the operators that a proposal goes to, and the answers to it.
func (a *Agreement) asked(p *Proposal) []mpc.PartyID {
	if a.cfg.ForAll != nil && a.cfg.ForAll(p.Kind) {
		return a.cfg.Group().Parties
	}
	return p.Members
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
			a.reply(id, p, Answer{Verdict: Refuse, Code: "unreachable", Reason: fmt.Sprintf("operator %s cannot be reached from here", gone)})
			return
		}
		ans := h.Judge(ctx, id, p, func(v Verdict, reason string) {
			a.reply(id, p, Answer{Verdict: v, Reason: reason})
		})
		if ans.Verdict == Accept && ctx.Err() != nil { // the others have given up by now
			h.Abandon(id, p, ctx.Err())
			ans = Answer{Verdict: Refuse, Code: "late", Reason: "the plan took too long here"}
		}
		accepted := ans.Verdict == Accept
		if accepted {
			ans.Nonce = fresh()
		}
		a.reply(id, p, ans)
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

func (a *Agreement) reply(id Digest, p *Proposal, ans Answer) {
	if err := a.answer(id, p, ans); err != nil {
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
	for _, id := range a.asked(r.proposal) {
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

// answer signs this operator's answer and sends it to all who were asked, itself
// included.
func (a *Agreement) answer(id Digest, p *Proposal, ans Answer) error {
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
	a.tell(a.ctx, a.asked(p), msg)
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
	if r.answeredBy(from) || r.proposal != nil && !slices.Contains(a.asked(r.proposal), from) {
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

// tell sends a message to those of ids that are ready.
func (a *Agreement) tell(ctx context.Context, ids []mpc.PartyID, msg []byte) {
	for _, id := range ids {
		if id != a.cfg.Identity.Self() && a.cfg.Ready(id) {
			a.say(ctx, id, msg)
		}
	}
}

func fresh() []byte {
	b := make([]byte, nonceLen)
	_, _ = rand.Read(b) // crypto/rand.Read never fails
	return b
}
