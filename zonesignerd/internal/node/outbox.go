package node

import (
	"context"
	"fmt"
	"sync"
	"time"

	"zonesigner/mpc"
)

// outbox holds what is to be sent to one peer. One goroutine sends it, in
// order, so that a peer that reads slowly, or not at all, holds up nothing
// that is said to the others, and nobody who says it.
type outbox struct {
	peer mpc.PartyID
	wake chan struct{}

	mu      sync.Mutex
	waiting [][]byte
	bytes   int
	full    bool // and said so
}

// What may wait for one peer; more is dropped. What it misses is said again
// when it comes back.
const (
	mostWaiting      = 20000
	mostWaitingBytes = 64 << 20
)

// sendDeadline is how long one message may take to leave before it is dropped.
const sendDeadline = 10 * time.Second

func newOutbox(peer mpc.PartyID) *outbox {
	return &outbox{peer: peer, wake: make(chan struct{}, 1)}
}

// put queues a message, which must not change any more. first tells that it is
// the first that does not fit.
func (o *outbox) put(msg []byte) (ok, first bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.waiting) >= mostWaiting || o.bytes > 0 && o.bytes+len(msg) > mostWaitingBytes {
		first, o.full = !o.full, true
		return false, first
	}
	o.waiting = append(o.waiting, msg)
	o.bytes += len(msg)
	select {
	case o.wake <- struct{}{}:
	default:
	}
	return true, false
}

func (o *outbox) take() []byte {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.waiting) == 0 {
		o.waiting, o.full = nil, false
		return nil
	}
	msg := o.waiting[0]
	o.waiting[0] = nil
	o.waiting = o.waiting[1:]
	o.bytes -= len(msg)
	return msg
}

// run sends until ctx ends; failed is told of each message that did not go.
func (o *outbox) run(ctx context.Context, send func(context.Context, mpc.PartyID, []byte) error, failed func(mpc.PartyID, error)) {
	for {
		for msg := o.take(); msg != nil; msg = o.take() {
			limit, cancel := context.WithTimeout(ctx, sendDeadline)
			err := send(limit, o.peer, msg)
			cancel()
			if ctx.Err() != nil {
				return
			}
			if err != nil {
				failed(o.peer, err)
			}
		}
		select {
		case <-o.wake:
		case <-ctx.Done():
			return
		}
	}
}

// openOutboxes begins to send to every peer.
func (n *Node) openOutboxes() {
	n.outboxes = map[mpc.PartyID]*outbox{}
	for _, id := range n.groups.mpc().Parties {
		if id == n.self {
			continue
		}
		o := newOutbox(id)
		n.outboxes[id] = o
		n.wg.Go(func() {
			o.run(n.ctx, n.transport.Send, func(id mpc.PartyID, err error) {
				n.log.Debug("message not sent", "peer", id, "err", err)
			})
		})
	}
}

// send queues a message for a peer. It never waits. The context is for the
// agreement's sake alone: what is queued is sent whether it ends or not.
func (n *Node) send(_ context.Context, to mpc.PartyID, msg []byte) error {
	o := n.outboxes[to]
	if o == nil {
		return &mpc.ArgumentError{Msg: fmt.Sprintf("operator %q is no peer of operator %q", to, n.self)}
	}
	ok, first := o.put(msg)
	if first {
		n.log.Warn("messages dropped: the operator does not read them", "peer", to)
	}
	if !ok {
		return &mpc.AbsentError{Parties: []mpc.PartyID{to}, Err: fmt.Errorf("too much waits for it")}
	}
	return nil
}
