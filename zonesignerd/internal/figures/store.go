package figures

import (
	"fmt"
	"slices"
	"sync"

	"zonesigner/mpc"
)

// store is mpc.TupleStore in memory, for one pool.
type store struct {
	mu     sync.Mutex
	chunks []*chunk // oldest first
	mark   uint64
}

type chunk struct {
	mpc.PoolChunk
	next int // the first tuple that is not spent
}

func newStore() *store { return &store{} }

// Add implements mpc.TupleStore.
func (s *store) Add(chunks []mpc.PoolChunk) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range chunks {
		c.Blob = slices.Clone(c.Blob)
		s.chunks = append(s.chunks, &chunk{PoolChunk: c})
	}
	return nil
}

// Spend implements mpc.TupleStore.
func (s *store) Spend(ranges []mpc.PoolRange, _ [32]byte) (blobs [][]byte, mark mpc.Mark, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	found := make([]*chunk, len(ranges))
	for i, r := range ranges {
		at := slices.IndexFunc(s.chunks, func(c *chunk) bool { return c.ID == r.Chunk && c.Pool == r.Pool })
		if at < 0 || r.From < s.chunks[at].next || r.From+r.Count > s.chunks[at].Count || slices.Contains(found, s.chunks[at]) {
			return nil, mpc.Mark{}, fmt.Errorf("tuples %d+%d of chunk %x are not there", r.From, r.Count, r.Chunk[:8])
		}
		found[i] = s.chunks[at]
	}
	for i, c := range found {
		c.next = ranges[i].From + ranges[i].Count
		blobs = append(blobs, slices.Clone(c.Blob))
	}
	s.chunks = slices.DeleteFunc(s.chunks, func(c *chunk) bool { return c.next == c.Count })
	s.mark++
	return blobs, mpc.Mark{Generation: s.mark}, nil
}

// choose names the oldest unspent tuples.
func (s *store) choose(count int) (out []mpc.TupleRange, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.chunks {
		if count == 0 {
			break
		}
		n := min(count, c.Count-c.next)
		out = append(out, mpc.TupleRange{Chunk: c.ID, From: c.next, Count: n})
		count -= n
	}
	if count > 0 {
		return nil, fmt.Errorf("%d tuples are missing", count)
	}
	return out, nil
}

// forget drops all tuples.
func (s *store) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.chunks = nil
}
