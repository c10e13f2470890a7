package node

import (
	"encoding/hex"
	"fmt"
	"sync"

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
	asked  map[mpc.PartyID][32]byte // the start for which a member last asked
	most   int                      // chunks, before those that are used up are looked for
}

// openAccepted reads what was accepted before this start.
func (t *tuples) openAccepted() error {
	list, err := t.n.store.List(bucketAccepted, "")
	if err != nil {
		return fmt.Errorf("chunks of accepted proposals: %w", err)
	}
	t.accepted.chunks, t.accepted.asked = map[keystore.ChunkID]bool{}, map[mpc.PartyID][32]byte{}
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
	n := &t.accepted
	n.mu.Lock()
	defer n.mu.Unlock()
	var fresh []keystore.ChunkID
	for _, r := range rs {
		if id := keystore.ChunkID(r.Chunk); !n.chunks[id] {
			fresh = append(fresh, id)
		}
	}
	if fresh == nil {
		return nil
	}
	var gone []keystore.ChunkID
	if len(n.chunks) >= n.most {
		gone = t.gone()
		n.most = 2*(len(n.chunks)-len(gone)) + 64
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
		delete(n.chunks, id)
	}
	for _, id := range fresh {
		n.chunks[id] = true
	}
	return nil
}

// gone are the accepted chunks that have no unspent tuples any more; n.mu is held.
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
// once for each start of its that it asks for.
func (t *tuples) discardAccepted(peer mpc.PartyID, start [32]byte) error {
	n := &t.accepted
	n.mu.Lock()
	defer n.mu.Unlock()
	if last, ok := n.asked[peer]; ok && last == start || t.n.opt.reviveAll {
		return nil
	}
	lost, err := t.n.store.DiscardChunks("operator "+string(peer)+" cannot tell what it spent of them", func(p keystore.PoolID, id keystore.ChunkID) bool {
		set, err := mpc.ParseSignerSet(p.Set)
		return n.chunks[id] && (err != nil || set.Contains(peer))
	})
	if err != nil {
		return err
	}
	if n.asked[peer] = start; lost > 0 {
		t.n.log.Warn("tuples are discarded: they were proposed, and nothing tells a restarted operator whether it spent them", "peer", peer, "tuples", lost)
	}
	return nil
}
