package mpctest

import (
	"errors"
	"maps"
	"slices"
	"sync"

	"zonesigner/mpc"
)

// ErrSpent is what Store.Spend says of tuples that it does not have, or no more.
var ErrSpent = errors.New("spent")

// Store is mpc.TupleStore in memory.
type Store struct {
	// Forgets makes it a disk that loses what was spent.
	Forgets bool
	// Spent, which may be nil, is called at each spending.
	Spent func()
	// Fails is what Spend says of a disk that cannot be written; nil: it can.
	Fails error

	Chunks map[mpc.ChunkID]mpc.PoolChunk
	Order  []mpc.ChunkID       // as they were added
	Next   map[mpc.ChunkID]int // the first tuple that is not spent
	Mark   uint64              // spendings so far

	mu sync.Mutex
}

// NewStore is empty.
func NewStore() *Store {
	return &Store{Chunks: map[mpc.ChunkID]mpc.PoolChunk{}, Next: map[mpc.ChunkID]int{}}
}

// Add keeps chunks.
func (s *Store) Add(chunks []mpc.PoolChunk) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range chunks {
		c.Blob = slices.Clone(c.Blob)
		s.Chunks[c.ID] = c
		s.Order = append(s.Order, c.ID)
	}
	return nil
}

// Spend spends all of ranges or nothing.
func (s *Store) Spend(ranges []mpc.PoolRange, _ [32]byte) (blobs [][]byte, mark mpc.Mark, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.Fails != nil {
		return nil, mpc.Mark{}, s.Fails
	}
	next := maps.Clone(s.Next)
	for _, r := range ranges {
		c, ok := s.Chunks[r.Chunk]
		if !ok || c.Pool != r.Pool || r.From < next[r.Chunk] || r.From+r.Count > c.Count {
			return nil, mpc.Mark{}, ErrSpent
		}
		next[r.Chunk] = r.From + r.Count
		blobs = append(blobs, slices.Clone(c.Blob))
	}
	if !s.Forgets {
		s.Next = next
	}
	s.Mark++
	if s.Spent != nil {
		s.Spent()
	}
	return blobs, mpc.Mark{Generation: s.Mark}, nil
}

// Left names what the pool has, in the order of making.
func (s *Store) Left(pool mpc.PoolID) []mpc.TupleRange {
	var out []mpc.TupleRange
	for _, id := range s.Order {
		if c := s.Chunks[id]; c.Pool == pool && s.Next[id] < c.Count {
			out = append(out, mpc.TupleRange{Chunk: id, From: s.Next[id], Count: c.Count - s.Next[id]})
		}
	}
	return out
}
