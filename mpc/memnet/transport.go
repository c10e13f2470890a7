package memnet

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"zonesigner/mpc"
)

// Transport is one party's end of a Hub. It implements mpc.Transport.
type Transport struct {
	hub  *Hub
	self mpc.PartyID

	mu       sync.Mutex
	sessions map[mpc.SessionID]*session
	early    []mpc.SessionID // not yet opened, oldest first
	closed   []mpc.SessionID // closed lately, oldest first
	isClosed map[mpc.SessionID]bool
	handler  func(mpc.PartyID, []byte)
	control  map[mpc.PartyID]chan []byte
}

var _ mpc.Transport = (*Transport)(nil)

// Self is this party.
func (t *Transport) Self() mpc.PartyID { return t.self }

// Open joins session id among parties, Self included.
func (t *Transport) Open(id mpc.SessionID, parties []mpc.PartyID) (mpc.Session, error) {
	set := mpc.NewSignerSet(parties...)
	if !set.Contains(t.self) {
		return nil, &mpc.ArgumentError{Msg: fmt.Sprintf("open session %s: operator %s is not among %s", id, t.self, set)}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.isClosed[id] {
		return nil, &mpc.ArgumentError{Msg: fmt.Sprintf("open session %s: it was closed before", id)}
	}
	s := t.sessions[id]
	if s == nil {
		s = newSession(t, id)
		t.sessions[id] = s
	}
	if err := s.open(set); err != nil {
		return nil, err
	}
	t.early = slices.DeleteFunc(t.early, func(e mpc.SessionID) bool { return e == id })
	return s, nil
}

// Send carries one control message of at most mpc.MaxControl bytes.
func (t *Transport) Send(ctx context.Context, to mpc.PartyID, msg []byte) error {
	if t.hub.nodes[to] == nil || to == t.self {
		return &mpc.ArgumentError{Msg: fmt.Sprintf("control message: %q is no peer of %s", to, t.self)}
	}
	if len(msg) > mpc.MaxControl {
		return &mpc.ArgumentError{Msg: fmt.Sprintf("control message of %d bytes exceeds %d", len(msg), mpc.MaxControl)}
	}
	return t.hub.send(ctx, Message{From: t.self, To: to, Payload: msg, Control: true})
}

// Handle sets the receiver of control messages. Messages that come before it
// is set are dropped.
func (t *Transport) Handle(f func(from mpc.PartyID, msg []byte)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.handler = f
}

// Peers tells the state of each peer: ready unless one side is cut off.
func (t *Transport) Peers() []mpc.PeerState {
	t.hub.mu.Lock()
	defer t.hub.mu.Unlock()
	var states []mpc.PeerState
	for _, p := range t.hub.parties {
		if p == t.self {
			continue
		}
		s := mpc.PeerState{ID: p, Ready: !t.hub.down[p] && !t.hub.down[t.self], RoundTrip: 2 * t.hub.delay.Seconds()}
		if !s.Ready {
			s.Reason = "cut off"
		}
		states = append(states, s)
	}
	return states
}

// queueControl hands one control message to the goroutine of its sender, which
// is started with the first.
func (t *Transport) queueControl(ctx context.Context, m Message) error {
	t.mu.Lock()
	q := t.control[m.From]
	if q == nil {
		q = make(chan []byte, controlQueue)
		t.control[m.From] = q
		t.hub.workers.Add(1)
		go t.handleControl(m.From, q)
	}
	t.mu.Unlock()
	select {
	case q <- m.Payload:
		return nil
	case <-ctx.Done():
		return &mpc.AbsentError{Parties: []mpc.PartyID{m.To}, Err: ctx.Err()}
	case <-t.hub.ctx.Done():
		return nil
	}
}

func (t *Transport) handleControl(from mpc.PartyID, q <-chan []byte) {
	defer t.hub.workers.Done()
	for {
		select {
		case <-t.hub.ctx.Done():
			return
		case msg := <-q:
			t.mu.Lock()
			f := t.handler
			t.mu.Unlock()
			if f != nil {
				f(from, msg)
			}
		}
	}
}

// arrive files a session message; one for a session that nobody opened yet is
// kept, and pushes out the oldest such session when there are too many.
func (t *Transport) arrive(m Message) {
	t.mu.Lock()
	if t.isClosed[m.Session] {
		t.mu.Unlock()
		return
	}
	s := t.sessions[m.Session]
	if s == nil {
		if len(t.early) >= maxEarly {
			delete(t.sessions, t.early[0])
			t.early = t.early[1:]
		}
		s = newSession(t, m.Session)
		t.sessions[m.Session] = s
		t.early = append(t.early, m.Session)
	}
	t.mu.Unlock()
	s.arrive(m)
}

func (t *Transport) forget(id mpc.SessionID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.sessions, id)
	t.closed = append(t.closed, id)
	t.isClosed[id] = true
	if len(t.closed) > maxClosed {
		delete(t.isClosed, t.closed[0])
		t.closed = t.closed[1:]
	}
}
