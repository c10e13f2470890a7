package pipeline

import (
	"crypto/sha256"
	"encoding/binary"
	"sync"
	"time"

	"zonesigner/mpc"
	"zonesigner/zonesignerd/internal/agree"
)

// mostYields bounds how often an operator lets others go first with one
// version: being always about to propose must not hold it up. Its word alone
// counts less often than its filling of pools. Both may go on for longer with a
// large zone: one more, of a second or more, is let pass for so many records.
const (
	mostYields    = 100
	recordsAYield = 2_000
	mostTurns     = 10
	recordsATurn  = 200_000
)

// Yield puts this operator's own proposal off, because another one, who works
// on it, comes before. It reports whether that is so.
func (z *Zone) Yield(to mpc.PartyID) bool {
	z.mu.Lock()
	defer z.mu.Unlock()
	return z.want != nil && z.rank(z.want, to) < z.rank(z.want, z.d.Identity.Self()) && z.yield()
}

// yield puts the own proposal off, unless that was done too often; z.mu is held.
func (z *Zone) yield() bool {
	w := z.want
	if w == nil || w.yields >= mostYields+z.size()/recordsAYield {
		return false
	}
	if until := z.d.Now().Add(z.d.Turn + z.turn(w)); until.After(z.retryAt.Add(z.d.Turn / 2)) {
		w.yields++
		z.retryAt = until
	}
	return true
}

// Turn takes in that a peer works on a proposal.
func (z *Zone) Turn(m *agree.Message) error {
	var t Turn
	if err := m.Decode(&t); err != nil {
		return err
	}
	z.mu.Lock()
	defer z.mu.Unlock()
	if z.want != nil && z.want.content == t.Content && z.rank(z.want, m.From) < z.rank(z.want, z.d.Identity.Self()) {
		z.goFirst()
	}
	return nil
}

// goFirst puts the own proposal off while a peer's for the same content is in the
// making, as it says, or is planned here, unless that was done too often; z.mu is
// held.
func (z *Zone) goFirst() bool {
	if z.want.turns >= mostTurns+z.size()/recordsATurn {
		return false
	}
	z.want.turns++
	return z.yield()
}

// sayTurns tells the others that this operator works on a proposal, again and
// again while a large zone is planned.
func (z *Zone) sayTurns(w *want) (stop func(), err error) {
	t := Turn{Zone: z.name, Content: w.content}
	if _, err := z.d.Say(TypeTurn, t); err != nil {
		return nil, err
	}
	done := make(chan struct{})
	var saying sync.WaitGroup
	saying.Go(func() {
		tick := time.NewTicker(z.d.Turn)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				_, _ = z.d.Say(TypeTurn, t) // the first one was what matters
			case <-done:
				return
			}
		}
	})
	return func() {
		close(done)
		saying.Wait()
	}, nil
}

// turn is how long this operator waits before it proposes: nothing for the
// first by hash of zone and version, then Turn, 3·Turn, 7·Turn for the others
// that are ready. z.mu is held.
func (z *Zone) turn(w *want) time.Duration {
	self := z.d.Identity.Self()
	mine, wait := z.rank(w, self), time.Duration(0)
	step := z.d.Turn
	if z.d.Stands != nil && w.version != nil {
		step /= 8 // those before it may have approved nothing, and then propose nothing
	}
	for _, id := range z.d.Group().Parties {
		if id != self && z.d.Ready(id) && z.rank(w, id) < mine {
			wait += step
			step *= 2
		}
	}
	return wait
}

// rank orders the operators for one version, the first to propose lowest.
// z.mu is held.
func (z *Zone) rank(w *want, id mpc.PartyID) uint64 {
	h := sha256.New()
	h.Write([]byte(z.name))
	h.Write(w.content[:])
	if z.head != nil {
		h.Write(z.head.Cert.Digest[:])
	}
	h.Write([]byte(id))
	return binary.BigEndian.Uint64(h.Sum(nil))
}
