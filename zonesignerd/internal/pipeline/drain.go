package pipeline

import (
	"context"
	"fmt"
	"time"
)

// Drain ends a zone's part in sessions, before another Zone of the same name
// takes its place: it proposes nothing and accepts nothing any more, and Drain
// returns when no session is left. Two at once would spoil each other's files
// and promises. When ctx ends before, the zone goes on as it was, and the error
// says so.
func (z *Zone) Drain(ctx context.Context) error {
	z.setDraining(true)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !z.isDrained() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			z.Resume()
			return fmt.Errorf("zone %s is in a session that has not ended: %w", z.name, ctx.Err())
		}
	}
	return nil
}

// Resume undoes Drain.
func (z *Zone) Resume() {
	z.setDraining(false)
	z.Wake()
}

func (z *Zone) setDraining(yes bool) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.draining = yes
}

func (z *Zone) isDraining() bool {
	z.mu.Lock()
	defer z.mu.Unlock()
	return z.draining
}

func (z *Zone) isDrained() bool {
	z.mu.Lock()
	defer z.mu.Unlock()
	return z.judging == 0 && z.busy.IsZero()
}

// enter lets a peer's proposal in, unless the zone is being drained; leave is
// called when it is judged. A zone that accepted it is busy from then on.
func (z *Zone) enter() (ok bool) {
	z.mu.Lock()
	defer z.mu.Unlock()
	if z.draining {
		return false
	}
	z.judging++
	return true
}

func (z *Zone) leave() {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.judging--
}
