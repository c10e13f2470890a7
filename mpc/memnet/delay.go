package memnet

import (
	"slices"
	"sync"
	"time"

	"zonesigner/mpc"
)

// SetDelay lets every message that passes the fault take d to its receiver from
// now on, in order between each two parties, however many are under way. It is
// to be called before the first message.
func (h *Hub) SetDelay(d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.delay = d
}

// line is the way from one party to another.
type line struct {
	mu    sync.Mutex
	queue []delayed
	more  chan struct{} // capacity 1: there is something in queue
}

type delayed struct {
	due time.Time
	m   Message
}

// forward hands m to its receiver after the delay.
func (h *Hub) forward(m Message, d time.Duration) {
	m.Payload = slices.Clone(m.Payload)
	l := h.line(m.From, m.To)
	if l == nil {
		return
	}
	due := time.Now().Add(d)
	l.mu.Lock()
	l.queue = append(l.queue, delayed{due, m})
	l.mu.Unlock()
	select {
	case l.more <- struct{}{}:
	default:
	}
}

// line finds or makes the way between two parties; nil after Close.
func (h *Hub) line(from, to mpc.PartyID) *line {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ctx.Err() != nil {
		return nil
	}
	key := [2]mpc.PartyID{from, to}
	l := h.lines[key]
	if l == nil {
		l = &line{more: make(chan struct{}, 1)}
		h.lines[key] = l
		h.workers.Go(func() { h.carry(l) })
	}
	return l
}

// carry delivers what is due on a line until the hub is closed.
func (h *Hub) carry(l *line) {
	for {
		l.mu.Lock()
		queue := l.queue
		l.queue = nil
		l.mu.Unlock()
		for _, d := range queue {
			select {
			case <-time.After(time.Until(d.due)):
			case <-h.ctx.Done():
				return
			}
			h.Deliver(d.m)
		}
		select {
		case <-l.more:
		case <-h.ctx.Done():
			return
		}
	}
}
