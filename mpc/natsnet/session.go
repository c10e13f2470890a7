package natsnet

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"zonesigner/mpc"
)

// overhead is what a queued message costs beside its bytes, about.
const overhead = 256

// inbox holds what one peer sent to one session, before and after we open it.
// Its peer's mu guards it.
type inbox struct {
	session *session // nil: not opened by us
	born    time.Time
	slots   map[string]*slot // by round
	held    int              // bytes
	// conflict says that the peer sent two different messages in a round. The
	// first counts, until the peer has signed the second, too.
	conflict bool
	err      error // why nothing more will come; set before gone is closed
	gone     chan struct{}
}

// slot is the place of one round's message. It stays when the message is
// taken, to know a second one.
type slot struct {
	ready chan struct{} // closed when the message is there
	has   bool
	taken bool
	msg   []byte
	first signed
}

func newInbox() *inbox {
	return &inbox{born: time.Now(), slots: map[string]*slot{}, gone: make(chan struct{})}
}

func (in *inbox) slot(round string) *slot {
	s := in.slots[round]
	if s == nil {
		s = &slot{ready: make(chan struct{})}
		in.slots[round] = s
	}
	return s
}

func (s *slot) cost(round string) int { return len(s.msg) + len(round) + overhead }

// end lets nothing more come in; mu is held. What is there already can be
// received, unless the peer cheated.
func (p *peer) end(in *inbox, err error) {
	if in.err != nil {
		return
	}
	in.err = err
	close(in.gone)
	if cheat, ok := mpc.AsCheat(err); ok {
		p.release(in)
		if in.session != nil {
			in.session.end(cheat)
		}
	}
}

// settle ends the inboxes of a link's conflicts: their sender cheated; mu is
// held.
func (p *peer) settle(l *link) {
	for _, c := range l.received.conflicts {
		p.end(c.in, c.cheat())
	}
	l.received.conflicts = nil
}

// release drops what an inbox holds; mu is held.
func (p *peer) release(in *inbox) {
	for _, s := range in.slots {
		s.msg = nil
	}
	p.held -= in.held
	in.held = 0
}

// deliver puts a session message, which is entered in l's ledger, into its
// inbox. An error ends the link.
func (p *peer) deliver(l *link, e *envelope, got signed, payload []byte) error {
	limits := p.t.cfg.Limits
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.link != l || p.closed.has(e.session) {
		return nil
	}
	in := p.inboxes[e.session]
	if in == nil {
		if p.pending >= limits.Sessions {
			return &mpc.CheatError{Parties: []mpc.PartyID{p.id}, What: fmt.Sprintf("began more than %d sessions that we have not opened", limits.Sessions)}
		}
		in = newInbox()
		p.inboxes[e.session] = in
		p.pending++
	}
	if in.err != nil {
		return nil
	}
	s := in.slot(e.round)
	if s.has {
		if s.first.hash != got.hash && !in.conflict {
			in.conflict = true
			l.received.conflicts = append(l.received.conflicts, &conflict{in: in, e: *e, first: s.first, second: got})
		}
		return nil
	}
	s.has, s.first, s.msg = true, got, payload[:len(payload):len(payload)]
	in.held += s.cost(e.round)
	p.held += s.cost(e.round)
	if in.held > limits.SessionBytes || p.held > limits.PeerBytes {
		p.end(in, &mpc.CheatError{
			Parties: []mpc.PartyID{p.id},
			What: fmt.Sprintf("flooded session %v: %d bytes wait there and %d in all its sessions, allowed are %d and %d",
				e.session, in.held, p.held, limits.SessionBytes, limits.PeerBytes),
		})
		return nil
	}
	close(s.ready)
	return nil
}

// expire drops sessions that a peer began before a time and we never opened;
// mu is held.
func (p *peer) expire(before time.Time) {
	for id, in := range p.inboxes {
		if in.session == nil && in.born.Before(before) {
			p.release(in)
			delete(p.inboxes, id)
			p.pending--
		}
	}
}

// open joins the session's inbox to it and returns the link that it will
// use, nil when there is none.
func (p *peer) open(s *session) (*inbox, *link) {
	p.mu.Lock()
	defer p.mu.Unlock()
	in := p.inboxes[s.id]
	if in == nil {
		in = newInbox()
		p.inboxes[s.id] = in
	} else {
		p.pending--
	}
	in.session = s
	if cheat, ok := mpc.AsCheat(in.err); ok {
		s.end(cheat)
	}
	if p.link == nil {
		why := p.reason.String()
		if p.stopped != nil {
			why = p.stopped.Error()
		}
		p.end(in, fmt.Errorf("there was no link when the session was opened: %s", why))
	}
	return in, p.link
}

// close drops the session's inbox and remembers its id.
func (p *peer) close(s *session) {
	p.mu.Lock()
	defer p.mu.Unlock()
	in := p.inboxes[s.id]
	if in == nil || in.session != s {
		return
	}
	p.release(in)
	delete(p.inboxes, s.id)
	p.closed.add(s.id)
}

// closedSessions remembers the ids of the last sessions that were closed, so
// that what comes late is dropped and no id is used again soon.
type closedSessions struct {
	ids  map[mpc.SessionID]bool
	ring []mpc.SessionID
	next int
}

const rememberClosed = 4096

func (c *closedSessions) has(id mpc.SessionID) bool { return c.ids[id] }

func (c *closedSessions) add(id mpc.SessionID) {
	if c.ids == nil {
		c.ids = map[mpc.SessionID]bool{}
	}
	if len(c.ring) < rememberClosed {
		c.ring = append(c.ring, id)
	} else {
		delete(c.ids, c.ring[c.next])
		c.ring[c.next] = id
		c.next = (c.next + 1) % rememberClosed
	}
	c.ids[id] = true
}

// session is an mpc.Session over the links that were there when it was
// opened. A link that ends takes the session's messages with it, so a session
// never moves to a new one.
type session struct {
	t       *Transport
	id      mpc.SessionID
	parties []mpc.PartyID
	lines   map[mpc.PartyID]*line

	once   sync.Once
	broken chan struct{}
	err    error // set before broken is closed
}

// line is a session's way to and from one peer.
type line struct {
	peer *peer
	in   *inbox
	link *link // nil: there was none

	mu   sync.Mutex
	sent map[string]bool // rounds; a second message for one would be evidence against us
}

// Open joins session id among parties, Self included. A peer without a link
// fails at once, with the reason, when it is sent to or waited for. The error
// is an *mpc.ArgumentError for an id that is or was lately open, and for
// parties that are no peers.
func (t *Transport) Open(id mpc.SessionID, parties []mpc.PartyID) (mpc.Session, error) {
	bad := func(format string, a ...any) error {
		return &mpc.ArgumentError{Msg: fmt.Sprintf("session %v: ", id) + fmt.Sprintf(format, a...)}
	}
	s := &session{t: t, id: id, parties: mpc.NewSignerSet(parties...), lines: map[mpc.PartyID]*line{}, broken: make(chan struct{})}
	if id == (mpc.SessionID{}) {
		return nil, bad("the id is zero")
	}
	if len(s.parties) != len(parties) {
		return nil, bad("a party is named twice")
	}
	if len(parties) < 2 || !slices.Contains(parties, t.cfg.Self) {
		return nil, bad("expected operator %s and others as parties", t.cfg.Self)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ctx.Err() != nil {
		return nil, errClosed
	}
	if t.sessions[id] != nil {
		return nil, bad("it is open")
	}
	for _, party := range s.parties {
		if party == t.cfg.Self {
			continue
		}
		p := t.peers[party]
		if p == nil {
			return nil, bad("operator %q is no peer", party)
		}
		p.mu.Lock()
		was := p.closed.has(id)
		p.mu.Unlock()
		if was {
			return nil, bad("it was open before")
		}
		s.lines[party] = &line{peer: p, sent: map[string]bool{}}
	}
	for _, l := range s.lines {
		l.in, l.link = l.peer.open(s)
	}
	t.sessions[id] = s
	return s, nil
}

var (
	errSessionClosed = errors.New("the session is closed")
	errTwice         = errors.New("it was done before")
)

func (s *session) Self() mpc.PartyID      { return s.t.cfg.Self }
func (s *session) Parties() []mpc.PartyID { return slices.Clone(s.parties) }

// end breaks the session for all its rounds; the first reason counts.
func (s *session) end(err error) {
	s.once.Do(func() {
		s.err = err
		close(s.broken)
	})
}

// Close releases the session's queues; what comes later is dropped.
func (s *session) Close() {
	s.end(errSessionClosed)
	for _, l := range s.lines {
		l.peer.close(s)
	}
	s.t.mu.Lock()
	defer s.t.mu.Unlock()
	if s.t.sessions[s.id] == s {
		delete(s.t.sessions, s.id)
	}
}

func (s *session) line(id mpc.PartyID, round string) (*line, error) {
	l := s.lines[id]
	if l == nil {
		return nil, &mpc.ArgumentError{Msg: fmt.Sprintf("session %v: operator %q is no other party", s.id, id)}
	}
	if len(round) > maxRound {
		return nil, &mpc.ArgumentError{Msg: fmt.Sprintf("session %v: round's name has %d bytes, expected at most %d", s.id, len(round), maxRound)}
	}
	return l, nil
}

// gone is the error for a peer from which nothing more comes.
func gone(id mpc.PartyID, round string, err error) error {
	if cheat, ok := mpc.AsCheat(err); ok {
		return cheat
	}
	return &mpc.AbsentError{Parties: []mpc.PartyID{id}, Round: round, Err: err}
}

// Send queues b for the peer; it waits only while the queue is full. To send twice in one round is refused.
func (s *session) Send(ctx context.Context, to mpc.PartyID, round string, b []byte) error {
	l, err := s.line(to, round)
	if err != nil {
		return err
	}
	if limit := s.t.cfg.Limits.Message; len(b) > limit {
		return &mpc.ArgumentError{Msg: fmt.Sprintf("session %v, round %q: message of %d bytes, expected at most %d", s.id, round, len(b), limit)}
	}
	select {
	case <-s.broken:
		return s.err
	default:
	}
	if l.link == nil {
		return gone(to, round, l.peer.why(l.in))
	}
	l.mu.Lock()
	twice := l.sent[round]
	l.sent[round] = true
	l.mu.Unlock()
	if twice {
		return fmt.Errorf("session %v: send to operator %s in round %q: %w", s.id, to, round, errTwice)
	}
	if err := l.link.sendSession(ctx, s.id, round, b); err != nil {
		// It never left, so it may be tried again.
		l.mu.Lock()
		delete(l.sent, round)
		l.mu.Unlock()
		return gone(to, round, err)
	}
	return nil
}

// Recv returns the peer's message of a round; the caller owns it. A round is
// received once.
func (s *session) Recv(ctx context.Context, from mpc.PartyID, round string) ([]byte, error) {
	l, err := s.line(from, round)
	if err != nil {
		return nil, err
	}
	l.peer.mu.Lock()
	slot := l.in.slot(round)
	l.peer.mu.Unlock()
	select {
	case <-s.broken:
		return nil, s.err
	case <-slot.ready:
	default:
		select {
		case <-s.broken:
			return nil, s.err
		case <-slot.ready:
		case <-l.in.gone:
			select {
			case <-slot.ready: // it came before the end
			default:
				return nil, gone(from, round, l.peer.why(l.in))
			}
		case <-ctx.Done():
			return nil, gone(from, round, ctx.Err())
		}
	}
	l.peer.mu.Lock()
	defer l.peer.mu.Unlock()
	select {
	case <-s.broken:
		return nil, s.err
	default:
	}
	if slot.taken {
		return nil, fmt.Errorf("session %v: receive from operator %s in round %q: %w", s.id, from, round, errTwice)
	}
	slot.taken = true
	l.in.held -= slot.cost(round)
	l.peer.held -= slot.cost(round)
	msg := slot.msg
	slot.msg = nil
	return msg, nil
}

func (p *peer) why(in *inbox) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return in.err
}
