package memnet

import (
	"context"
	"fmt"
	"hash/maphash"
	"slices"
	"sync"

	"zonesigner/mpc"
)

// session is one party's end of a session. It implements mpc.Session.
type session struct {
	t    *Transport
	id   mpc.SessionID
	seed maphash.Seed
	done chan struct{} // closed by Close

	mu      sync.Mutex
	parties mpc.SignerSet // nil until opened
	slots   map[slotKey]*slot
	queued  map[mpc.PartyID]int // bytes
	cheats  map[mpc.PartyID]*cheat
	isDone  bool
}

type slotKey struct {
	from  mpc.PartyID
	round string
}

// slot is the place of the one message that a sender may send in a round. Its
// hash stays after the message was taken, to know a second, different one.
type slot struct {
	ready   chan struct{} // closed on arrival
	arrived bool
	payload []byte
	sum     uint64
}

// cheat is what a sender did, and a channel that wakes those who wait for it.
type cheat struct {
	found chan struct{}
	err   *mpc.CheatError // set before found is closed
}

func newSession(t *Transport, id mpc.SessionID) *session {
	return &session{
		t: t, id: id, seed: maphash.MakeSeed(), done: make(chan struct{}),
		slots:  map[slotKey]*slot{},
		queued: map[mpc.PartyID]int{},
		cheats: map[mpc.PartyID]*cheat{},
	}
}

func (s *session) open(parties mpc.SignerSet) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.parties != nil {
		return &mpc.ArgumentError{Msg: fmt.Sprintf("open session %s: it is open already", s.id)}
	}
	s.parties = parties
	return nil
}

func (s *session) Self() mpc.PartyID      { return s.t.self }
func (s *session) Parties() []mpc.PartyID { return slices.Clone(s.parties) }

func (s *session) Send(ctx context.Context, to mpc.PartyID, round string, b []byte) error {
	if !s.parties.Contains(to) || to == s.t.self {
		return &mpc.ArgumentError{Msg: fmt.Sprintf("session %s: %q is no peer of %s", s.id, to, s.t.self)}
	}
	if len(b) > maxMessage || len(round) > maxRound {
		return &mpc.ArgumentError{Msg: fmt.Sprintf("session %s: message of %d bytes in round %q exceeds the bounds", s.id, len(b), round)}
	}
	select {
	case <-s.done:
		return fmt.Errorf("session %s: send: %w", s.id, errClosed)
	default:
	}
	return s.t.hub.send(ctx, Message{From: s.t.self, To: to, Session: s.id, Round: round, Payload: b})
}

func (s *session) Recv(ctx context.Context, from mpc.PartyID, round string) ([]byte, error) {
	if !s.parties.Contains(from) || from == s.t.self {
		return nil, &mpc.ArgumentError{Msg: fmt.Sprintf("session %s: %q is no peer of %s", s.id, from, s.t.self)}
	}
	s.mu.Lock()
	sl, ch := s.slot(slotKey{from, round}), s.cheat(from)
	s.mu.Unlock()
	select { // a cheat outweighs a message
	case <-ch.found:
		return nil, ch.err
	default:
	}
	select {
	case <-ch.found:
		return nil, ch.err
	case <-s.done:
		return nil, fmt.Errorf("session %s: receive: %w", s.id, errClosed)
	case <-ctx.Done():
		return nil, &mpc.AbsentError{Parties: []mpc.PartyID{from}, Round: round, Err: ctx.Err()}
	case <-sl.ready:
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if sl.payload == nil {
		return nil, fmt.Errorf("session %s: round %q of %s was received before", s.id, round, from)
	}
	b := sl.payload
	s.queued[from] -= len(b)
	sl.payload = nil
	return b, nil
}

// Close releases the queues; later messages are dropped.
func (s *session) Close() {
	s.mu.Lock()
	if s.isDone {
		s.mu.Unlock()
		return
	}
	s.isDone = true
	close(s.done)
	s.slots = nil
	s.mu.Unlock()
	s.t.forget(s.id)
}

func (s *session) arrive(m Message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.isDone || (s.parties != nil && !s.parties.Contains(m.From)) {
		return
	}
	if len(m.Payload) > maxMessage || len(m.Round) > maxRound {
		s.blame(m.From, fmt.Sprintf("message of %d bytes in round %q exceeds the bounds", len(m.Payload), m.Round))
		return
	}
	sum := maphash.Bytes(s.seed, m.Payload)
	sl := s.slot(slotKey{m.From, m.Round})
	if sl.arrived {
		if sl.sum != sum {
			s.blame(m.From, fmt.Sprintf("sent two different messages in round %q", m.Round))
		}
		return
	}
	if s.queued[m.From]+len(m.Payload) > maxSessionBytes {
		s.blame(m.From, fmt.Sprintf("queued more than %d bytes", maxSessionBytes))
		return
	}
	s.queued[m.From] += len(m.Payload)
	sl.arrived, sl.sum = true, sum
	sl.payload = m.Payload
	if sl.payload == nil {
		sl.payload = []byte{}
	}
	close(sl.ready)
}

// slot finds or makes the place for a message; s.mu is held.
func (s *session) slot(k slotKey) *slot {
	sl := s.slots[k]
	if sl == nil {
		sl = &slot{ready: make(chan struct{})}
		if s.slots != nil {
			s.slots[k] = sl
		}
	}
	return sl
}

// cheat finds or makes the record of a sender; s.mu is held.
func (s *session) cheat(from mpc.PartyID) *cheat {
	c := s.cheats[from]
	if c == nil {
		c = &cheat{found: make(chan struct{})}
		s.cheats[from] = c
	}
	return c
}

// blame records the first cheat of a sender; s.mu is held.
func (s *session) blame(from mpc.PartyID, what string) {
	c := s.cheat(from)
	if c.err != nil {
		return
	}
	c.err = &mpc.CheatError{Parties: []mpc.PartyID{from}, What: what}
	close(c.found)
}
