package memnet

import (
	"context"
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

// forward hands m to its receiver after the delay.
func (h *Hub) forward(m Message, d time.Duration) {
	m.Payload = slices.Clone(m.Payload)
	if l := h.line(m.From, m.To); l != nil {
		l.Put(m, time.Now().Add(d))
	}
}

// line finds or makes the way between two parties; nil after Close.
func (h *Hub) line(from, to mpc.PartyID) *Line[Message] {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ctx.Err() != nil {
		return nil
	}
	key := [2]mpc.PartyID{from, to}
	l := h.lines[key]
	if l == nil {
		l = NewLine[Message]()
		h.lines[key] = l
		h.workers.Go(func() {
			l.Carry(h.ctx, func(m Message) bool {
				h.Deliver(m)
				return true
			})
		})
	}
	return l
}

// Line is a way that takes its time: values come out in order, each when it is
// due, however many are under way. Make one with NewLine.
type Line[T any] struct {
	mu    sync.Mutex
	queue []delayed[T]
	more  chan struct{} // capacity 1: there is something in queue
}

type delayed[T any] struct {
	due time.Time
	v   T
}

// NewLine is a line with nothing on it.
func NewLine[T any]() *Line[T] { return &Line[T]{more: make(chan struct{}, 1)} }

// Put sends v on its way.
func (l *Line[T]) Put(v T, due time.Time) {
	l.mu.Lock()
	l.queue = append(l.queue, delayed[T]{due, v})
	l.mu.Unlock()
	select {
	case l.more <- struct{}{}:
	default:
	}
}

// Carry gives out what is due until out returns false or ctx ends.
func (l *Line[T]) Carry(ctx context.Context, out func(v T) bool) {
	for {
		l.mu.Lock()
		queue := l.queue
		l.queue = nil
		l.mu.Unlock()
		for _, d := range queue {
			select {
			case <-time.After(time.Until(d.due)):
			case <-ctx.Done():
				return
			}
			if !out(d.v) {
				return
			}
		}
		select {
		case <-l.more:
		case <-ctx.Done():
			return
		}
	}
}
