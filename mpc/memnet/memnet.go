// Package memnet is mpc.Transport in memory: all parties in one process, with
// faults that a test chooses for each message. It keeps to the promises of
// mpc.Network (the first message of a sender and round counts, a second,
// different one is cheating, queues are bounded), so that what passes here
// meets nothing new over a real network.
//
// Make a Hub, take one Transport for each party, and Close the Hub at the end.
package memnet

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"zonesigner/mpc"
)

// Bounds on what is queued, chosen above what an honest protocol has in
// flight (a few chunks of about a megabyte).
const (
	maxSessionBytes = 64 << 20 // queued by one sender in one session
	maxEarly        = 64       // sessions with messages that the receiver has not opened
	maxRound        = 128      // bytes of a round's name
	maxMessage      = 16 << 20 // bytes of one session message
	maxClosed       = 1024     // closed sessions that are remembered
	controlQueue    = 256      // control messages in flight to one receiver from one sender
)

var errClosed = errors.New("session is closed")

// Message is one message as a Fault sees it. Control messages have Control
// set, and neither session nor round.
type Message struct {
	From, To mpc.PartyID
	Session  mpc.SessionID
	Round    string
	Payload  []byte
	Control  bool
}

// Fault decides what is delivered in place of m, in order: nothing drops it,
// two messages duplicate it, a changed copy corrupts it. A fault may keep m and
// deliver it later through Hub.Deliver, which delays, reorders and replays. It
// is called from the sender's goroutines, several at once, and may keep the
// payload but not change it in place.
type Fault func(m Message) []Message

// Hub connects the parties.
type Hub struct {
	mu      sync.Mutex
	fault   Fault
	down    map[mpc.PartyID]bool
	delay   time.Duration
	lines   map[[2]mpc.PartyID]*Line[Message] // where messages are delayed
	parties []mpc.PartyID                     // sorted
	nodes   map[mpc.PartyID]*Transport
	ctx     context.Context // ends with Close
	stop    context.CancelFunc
	workers sync.WaitGroup // deliver control messages and delayed ones
}

// New connects parties, who must have different names.
func New(parties ...mpc.PartyID) *Hub {
	h := &Hub{down: map[mpc.PartyID]bool{}, lines: map[[2]mpc.PartyID]*Line[Message]{}, nodes: map[mpc.PartyID]*Transport{}}
	h.ctx, h.stop = context.WithCancel(context.Background())
	h.parties = mpc.NewSignerSet(parties...)
	for _, p := range h.parties {
		h.nodes[p] = &Transport{
			hub:      h,
			self:     p,
			sessions: map[mpc.SessionID]*session{},
			isClosed: map[mpc.SessionID]bool{},
			control:  map[mpc.PartyID]chan []byte{},
		}
	}
	return h
}

// Transport is the named party's end; nil for a stranger.
func (h *Hub) Transport(id mpc.PartyID) *Transport { return h.nodes[id] }

// SetFault sets the hook that every message passes; nil takes it away.
func (h *Hub) SetFault(f Fault) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.fault = f
}

// SetDown cuts a party off (nothing from it or to it is delivered, and its
// peers see it as not ready) or brings it back.
func (h *Hub) SetDown(id mpc.PartyID, down bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.down[id] = down
}

// Open joins session id for all of parties (everyone when none are named) and
// returns their ends in the order of the sorted names.
func (h *Hub) Open(id mpc.SessionID, parties ...mpc.PartyID) ([]mpc.Session, error) {
	if len(parties) == 0 {
		parties = h.parties
	}
	var ends []mpc.Session
	for _, p := range mpc.NewSignerSet(parties...) {
		t := h.nodes[p]
		if t == nil {
			return nil, &mpc.ArgumentError{Msg: fmt.Sprintf("open session: no party %q", p)}
		}
		s, err := t.Open(id, parties)
		if err != nil {
			return nil, err
		}
		ends = append(ends, s)
	}
	return ends, nil
}

// Close ends all delivery and every session, and waits for the handlers of
// control messages to return.
func (h *Hub) Close() {
	h.stop()
	for _, t := range h.nodes {
		t.mu.Lock()
		open := make([]*session, 0, len(t.sessions))
		for _, s := range t.sessions {
			open = append(open, s)
		}
		t.mu.Unlock()
		for _, s := range open {
			s.Close()
		}
	}
	h.workers.Wait()
}

// send passes m through the fault and delivers what comes of it.
func (h *Hub) send(ctx context.Context, m Message) error {
	if err := ctx.Err(); err != nil {
		return &mpc.AbsentError{Parties: []mpc.PartyID{m.To}, Round: m.Round, Err: err}
	}
	h.mu.Lock()
	fault, delay := h.fault, h.delay
	h.mu.Unlock()
	out := []Message{m}
	if fault != nil {
		m.Payload = slices.Clone(m.Payload) // the sender may use its own again
		out = fault(m)
	}
	for _, o := range out {
		if delay > 0 {
			h.forward(o, delay)
		} else if err := h.deliver(ctx, o); err != nil {
			return err
		}
	}
	return nil
}

// Deliver hands m to its receiver at once, past the fault: a message that a
// fault kept, an old one again, or one that nobody sent.
func (h *Hub) Deliver(m Message) { _ = h.deliver(h.ctx, m) }

func (h *Hub) deliver(ctx context.Context, m Message) error {
	h.mu.Lock()
	cut := h.down[m.From] || h.down[m.To]
	h.mu.Unlock()
	to := h.nodes[m.To]
	if cut || to == nil || h.ctx.Err() != nil {
		return nil //nolint:nilerr // what is lost on the way, or at the end, is no sender's error
	}
	m.Payload = slices.Clone(m.Payload)
	if m.Control {
		return to.queueControl(ctx, m)
	}
	to.arrive(m)
	return nil
}
