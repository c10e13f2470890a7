package node

import (
	"fmt"
	"sync"

	"zonesigner/mpc"
	"zonesigner/zonesignerd/internal/agree"
)

// servings lets each peer have one of its requests of a kind worked on at a
// time, and a few wait; the handler of its messages goes on meanwhile.
type servings struct {
	mu   sync.Mutex
	busy map[serving]int // at work and waiting
	turn map[serving]chan struct{}
}

type serving struct {
	peer mpc.PartyID
	kind agree.Type
}

const mostServings = 64

// serve answers a request on a goroutine of the node's.
func (n *Node) serve(m *agree.Message, answer func() error) error {
	s, key := &n.servings, serving{m.From, m.Type}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.busy == nil {
		s.busy, s.turn = map[serving]int{}, map[serving]chan struct{}{}
	}
	if s.busy[key] >= mostServings {
		return fmt.Errorf("operator %s has %d requests of type %s open", m.From, mostServings, m.Type)
	}
	if s.turn[key] == nil {
		s.turn[key] = make(chan struct{}, 1)
	}
	s.busy[key]++
	turn := s.turn[key]
	n.wg.Go(func() {
		select {
		case turn <- struct{}{}:
			if err := answer(); err != nil {
				n.log.Warn("request not answered", "peer", m.From, "type", m.Type, "err", err)
			}
			<-turn
		case <-n.ctx.Done():
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.busy[key]--
	})
	return nil
}
