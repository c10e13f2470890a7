package node

import (
	"encoding/hex"
	"fmt"
	"slices"
	"sync"
	"time"

	"zonesigner/keystore"
	"zonesigner/mpc"
)

// bucketAccepted has a record for each chunk that a proposal named which this
// operator made or accepted, at least as long as the chunk has unspent tuples.
const bucketAccepted = "accepted"

// acceptedChunks is those chunks. Of any other one no member of its set can have
// spoken: it would need our acceptance. When a member says that nothing vouches
// for its disk, they are destroyed here before it is answered, so that nothing is
// signed with a tuple that it alone has spent (docs/protocol.md, section 6).
type acceptedChunks struct {
	mu     sync.Mutex
	chunks map[keystore.ChunkID]bool
	asked  map[mpc.PartyID]starts
	most   int // chunks, before those that are used up are looked for
}

// starts are those for which a member asked, nothing vouching for its disk.
type starts struct {
	last    [32]byte
	times   []time.Time // of those within an hour, oldest first
	refused bool        // it has asked for too many, and that was logged
}

// startsAnHour is how many are answered. A machine that is set up anew may start
// more than once.
const startsAnHour = 4

// openAccepted reads what was accepted before this start.
func (t *tuples) openAccepted() error {
	list, err := t.n.store.List(bucketAccepted, "")
	if err != nil {
		return fmt.Errorf("chunks of accepted proposals: %w", err)
	}
	t.accepted.chunks, t.accepted.asked = map[keystore.ChunkID]bool{}, map[mpc.PartyID]starts{}
	for _, e := range list {
		var id keystore.ChunkID
		b, err := hex.DecodeString(e.Key)
		if err != nil || len(b) != len(id) {
			return fmt.Errorf("chunks of accepted proposals: %q is no chunk", e.Key)
		}
		copy(id[:], b)
		t.accepted.chunks[id] = true
	}
	return nil
}

// accept durably remembers the chunks of a proposal, before it is made or accepted.
func (t *tuples) accept(rs []mpc.TupleRange) error {
	a := &t.accepted
	a.mu.Lock()
	defer a.mu.Unlock()
	var fresh []keystore.ChunkID
	for _, r := range rs {
		if id := keystore.ChunkID(r.Chunk); !a.chunks[id] {
			fresh = append(fresh, id)
		}
	}
	if fresh == nil {
		return nil
	}
	var gone []keystore.ChunkID
	if len(a.chunks) >= a.most {
		gone = t.gone()
		a.most = 2*(len(a.chunks)-len(gone)) + 64
	}
	err := t.n.store.Update(func(tx *keystore.Tx) error {
		for _, id := range gone {
			if err := tx.Delete(bucketAccepted, hex.EncodeToString(id[:])); err != nil {
				return err
			}
		}
		for _, id := range fresh {
			if err := tx.Put(bucketAccepted, hex.EncodeToString(id[:]), nil); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("chunks of accepted proposals: %w", err)
	}
	for _, id := range gone {
		delete(a.chunks, id)
	}
	for _, id := range fresh {
		a.chunks[id] = true
	}
	return nil
}

// gone are the accepted chunks that have no unspent tuples any more; a.mu is held.
func (t *tuples) gone() (ids []keystore.ChunkID) {
	here := map[keystore.ChunkID]bool{}
	for _, p := range t.n.store.Pools() {
		for _, c := range t.n.store.Chunks(p.ID) {
			here[c.ID] = true
		}
	}
	for id := range t.accepted.chunks {
		if !here[id] {
			ids = append(ids, id)
		}
	}
	return ids
}

// discardAccepted destroys the accepted chunks of all signer sets that a peer is in,
// once for each start of its that it asks for. It reports whether the peer may be
// answered: not when it started too often within the hour, for each of its
// starts costs the others what they have accepted. Its tuples rest until then.
func (t *tuples) discardAccepted(peer mpc.PartyID, start [32]byte, now time.Time) (bool, error) {
	a := &t.accepted
	a.mu.Lock()
	defer a.mu.Unlock()
	s := a.asked[peer]
	if len(s.times) > 0 && s.last == start || t.n.opt.reviveAll {
		return true, nil
	}
	s.times = slices.DeleteFunc(s.times, func(at time.Time) bool { return now.Sub(at) >= time.Hour })
	if len(s.times) >= startsAnHour && !t.n.opt.everyStart {
		if !s.refused {
			t.n.log.Warn("an operator says too often that nothing vouches for its disk, and each time tuples that were proposed would be destroyed: it is not answered for a while",
				"peer", peer, "starts", len(s.times), "until", s.times[0].Add(time.Hour))
		}
		s.refused = true
		a.asked[peer] = s
		return false, nil
	}
	lost, err := t.n.store.DiscardChunks("operator "+string(peer)+" cannot tell what it spent of them", func(p keystore.PoolID, id keystore.ChunkID) bool {
		set, err := mpc.ParseSignerSet(p.Set)
		return a.chunks[id] && (err != nil || set.Contains(peer))
	})
	if err != nil {
		return false, err
	}
	a.asked[peer] = starts{last: start, times: append(s.times, now)}
	if lost > 0 {
		t.n.log.Warn("tuples are discarded: they were proposed, and nothing tells a restarted operator whether it spent them", "peer", peer, "tuples", lost)
	}
	return true, nil
}
