package keystore

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
)

// PoolID names a pool of tuples: what they are made for (a key, or an engine
// while they are unbound), the signer set, and who may propose to spend them.
type PoolID struct {
	Key    string
	Set    string
	Stripe string
}

func (p PoolID) String() string { return p.Key + " " + p.Set + " " + p.Stripe }

// ChunkID names a chunk of tuples for ever: the hash of the transcript that
// made it.
type ChunkID [32]byte

// String returns the first 8 bytes in hexadecimal, enough for a log line.
func (c ChunkID) String() string { return hex.EncodeToString(c[:8]) }

// Range is Count tuples of one chunk, from index From on.
type Range struct {
	Pool  PoolID
	Chunk ChunkID
	From  int
	Count int
}

// Chunk is what is known of a chunk without opening it. Its unspent tuples are
// those from Next to Count-1.
type Chunk struct {
	ID    ChunkID
	Next  int
	Count int
}

// Pool is a pool and its depth.
type Pool struct {
	ID     PoolID
	Chunks int
	Tuples int // unspent
}

// SpentRange says which statement spent which tuples of a chunk.
type SpentRange struct {
	From       int
	Count      int
	Generation uint64 // after it
	Time       time.Time
	Statement  [32]byte
}

// pool is the picture in memory: no blobs, 80 bytes or so a chunk.
type pool struct {
	chunks []*chunk // in order of their adding
	tuples int
}

type chunk struct {
	Chunk
	seq uint64
}

func (p *pool) find(id ChunkID) int {
	return slices.IndexFunc(p.chunks, func(c *chunk) bool { return c.ID == id })
}

// maxBlob is what the database takes in one value, with some room.
const maxBlob = 1 << 30

// NewChunk is a chunk to be stored: Count tuples in one blob.
type NewChunk struct {
	Pool  PoolID
	ID    ChunkID
	Count int
	Blob  []byte
}

// AddChunk stores one chunk: it is AddChunks for one.
func (s *Store) AddChunk(id PoolID, chunkID ChunkID, count int, blob []byte) error {
	return s.AddChunks([]NewChunk{{Pool: id, ID: chunkID, Count: count, Blob: blob}})
}

// AddChunks stores all chunks or none, in one transaction. They are durable
// when it returns. An id that was ever added before, to whatever pool, is
// refused with ErrKnownChunk, even when its chunk is spent or discarded.
func (s *Store) AddChunks(list []NewChunk) error {
	for _, c := range list {
		if c.Count < 1 || c.Count > math.MaxInt32 {
			return fmt.Errorf("add chunk %s: %w: count %d, expected 1 or more", c.ID, ErrRange, c.Count)
		}
		if len(c.Blob) == 0 || len(c.Blob) > maxBlob {
			return fmt.Errorf("add chunk %s: blob of %d bytes, expected 1 to %d", c.ID, len(c.Blob), maxBlob)
		}
	}
	s.write.Lock()
	defer s.write.Unlock()
	added := make([]*chunk, len(list))
	err := s.update(func(tx *bolt.Tx) error {
		for i, n := range list {
			added[i] = &chunk{Chunk: Chunk{ID: n.ID, Count: n.Count}}
			if err := s.add(tx, n, added[i]); err != nil {
				return fmt.Errorf("add chunk %s: %w", n.ID, err)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, c := range added {
		p := s.pools[list[i].Pool]
		if p == nil {
			p = &pool{}
			s.pools[list[i].Pool] = p
		}
		p.chunks = append(p.chunks, c)
		p.tuples += c.Count
	}
	return nil
}

// add is AddChunks' work on one chunk, inside its transaction.
func (s *Store) add(tx *bolt.Tx, n NewChunk, c *chunk) error {
	id := n.ID
	ids := tx.Bucket(bucketIDs)
	if ids.Get(id[:]) != nil {
		return ErrKnownChunk
	}
	if err := ids.Put(id[:], s.box.seal(s.timestamp(), id[:], bucketIDs)); err != nil {
		return err
	}
	var err error
	if c.seq, err = tx.Bucket(bucketChunks).NextSequence(); err != nil {
		return err
	}
	if err := s.setChunk(tx, n.Pool, nil, c); err != nil {
		return err
	}
	// A bucket for each blob: otherwise two blobs share a page of the tree,
	// and deleting one writes the other again.
	b, err := tx.Bucket(bucketBlobs).CreateBucket(id[:])
	if err != nil {
		return err
	}
	return b.Put(id[:], s.box.seal(n.Blob, id[:], bucketBlobs))
}

// Spend spends count tuples of a chunk, from index from on, by statement: it
// is SpendMany for one range.
func (s *Store) Spend(id PoolID, chunkID ChunkID, from, count int, statement [32]byte) (blob []byte, generation uint64, err error) {
	blobs, generation, err := s.SpendMany([]Range{{Pool: id, Chunk: chunkID, From: from, Count: count}}, statement)
	if err != nil {
		return nil, 0, err
	}
	return blobs[0], generation, nil
}

// SpendMany spends all ranges by statement in one durable transaction, or none
// of them. Unspent tuples before a range are burned with it. It returns the
// blobs, each with the whole chunk of which the caller uses its range alone,
// and the generation after the spending.
//
// The errors are ErrSpent for a range that is spent, even in part, or whose
// chunk is gone; ErrNoChunk for a chunk that never was in the pool; ErrRange
// for one outside its chunk; ErrSuspended. After an error from the disk the
// tuples may turn out to be spent, but were handed to nobody.
func (s *Store) SpendMany(ranges []Range, statement [32]byte) (blobs [][]byte, generation uint64, err error) {
	if len(ranges) == 0 {
		return nil, 0, fmt.Errorf("spend: %w: no ranges", ErrRange)
	}
	s.write.Lock()
	defer s.write.Unlock()
	if why, yes := s.Suspended(); yes {
		return nil, 0, fmt.Errorf("spend: %w: %s", ErrSuspended, why)
	}
	err = s.update(func(tx *bolt.Tx) error {
		st, err := s.changeState(tx, func(st *state) error { return st.raise(0) })
		if err != nil {
			return err
		}
		generation = st.generation
		for _, r := range ranges {
			blob, err := s.spend(tx, r, statement, generation)
			if err != nil {
				return fmt.Errorf("spend tuples %d to %d of chunk %s: %w", r.From, r.From+r.Count-1, r.Chunk, err)
			}
			blobs = append(blobs, blob)
		}
		return nil
	})
	if err != nil {
		return nil, 0, err
	}
	s.mu.Lock()
	s.generation = generation
	for _, r := range ranges {
		s.advance(r)
	}
	s.mu.Unlock()
	if err := s.writeRunMark(generation); err != nil {
		return nil, 0, err
	}
	for _, b := range blobs {
		s.read += len(b)
	}
	if s.read > mostRead {
		s.giveBack()
	}
	return blobs, generation, nil
}

// spend is SpendMany's work on one range, inside its transaction.
func (s *Store) spend(tx *bolt.Tx, r Range, statement [32]byte, generation uint64) ([]byte, error) {
	c, err := getChunk(tx, s.box, r.Pool, r.Chunk)
	if err != nil {
		return nil, err
	}
	if known := s.known(r); c.Next < known {
		return nil, fmt.Errorf("%w: the file says that tuples from %d are unspent, but those before %d are spent", ErrDamaged, c.Next, known)
	}
	switch {
	case r.From < 0 || r.Count < 1 || r.Count > c.Count || r.From > c.Count-r.Count:
		return nil, fmt.Errorf("%w: the chunk has %d tuples", ErrRange, c.Count)
	case r.From < c.Next:
		return nil, fmt.Errorf("%w: the chunk's next is %d", ErrSpent, c.Next)
	}
	blob, err := s.blob(tx, r.Chunk)
	if err != nil {
		return nil, err
	}
	if err := s.putSpent(tx, r, statement, generation); err != nil {
		return nil, err
	}
	if next := r.From + r.Count; next < c.Count {
		return blob, s.setChunk(tx, r.Pool, c, &chunk{Chunk: Chunk{ID: c.ID, Next: next, Count: c.Count}, seq: c.seq})
	}
	if err := s.forget(tx, r.Pool, c); err != nil {
		return nil, err
	}
	return blob, s.prune(tx)
}

// known is the next unspent index by the picture in memory, which nobody can
// exchange under our feet as they might the file.
func (s *Store) known(r Range) int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if p := s.pools[r.Pool]; p != nil {
		if i := p.find(r.Chunk); i >= 0 {
			return p.chunks[i].Next
		}
	}
	return math.MaxInt
}

func (s *Store) blob(tx *bolt.Tx, id ChunkID) ([]byte, error) {
	b := tx.Bucket(bucketBlobs).Bucket(id[:])
	if b == nil {
		return nil, fmt.Errorf("%w: the chunk's blob is missing", ErrDamaged)
	}
	return s.box.open(b.Get(id[:]), id[:], bucketBlobs)
}

// forget removes a chunk that is used up or discarded. Its id stays.
func (s *Store) forget(tx *bolt.Tx, pool PoolID, c *chunk) error {
	if err := s.setChunk(tx, pool, c, nil); err != nil {
		return err
	}
	if err := tx.Bucket(bucketBlobs).DeleteBucket(c.ID[:]); err != nil && !errors.Is(err, berrors.ErrBucketNotFound) {
		return err
	}
	done := append(s.timestamp(), c.ID[:]...)
	return tx.Bucket(bucketDone).Put(done, s.box.seal(nil, done, bucketDone))
}

// prune deletes records of who spent what for chunks used up long ago, a few
// at a time, so that no spending pays for many.
func (s *Store) prune(tx *bolt.Tx) error {
	bound := uint64(max(0, s.now().Add(-s.opt.KeepSpent).Unix()))
	done, spent := tx.Bucket(bucketDone).Cursor(), tx.Bucket(bucketSpent).Cursor()
	for range 4 {
		k, _ := done.First()
		if len(k) != 8+len(ChunkID{}) || binary.BigEndian.Uint64(k) >= bound {
			return nil
		}
		id := bytes.Clone(k[8:])
		for key, _ := spent.Seek(id); bytes.HasPrefix(key, id); key, _ = spent.Seek(id) {
			if err := spent.Delete(); err != nil {
				return err
			}
		}
		if err := done.Delete(); err != nil {
			return err
		}
	}
	return nil
}

// advance follows a spending in memory; s.mu is held.
func (s *Store) advance(r Range) {
	p := s.pools[r.Pool]
	i := p.find(r.Chunk)
	c := p.chunks[i]
	next := r.From + r.Count
	p.tuples -= next - c.Next
	// A copy: listings may hold the old one.
	p.chunks[i] = &chunk{Chunk: Chunk{ID: c.ID, Next: next, Count: c.Count}, seq: c.seq}
	if next == c.Count {
		p.chunks = slices.Delete(p.chunks, i, i+1)
	}
	if len(p.chunks) == 0 {
		delete(s.pools, r.Pool)
	}
}

// Pools lists the pools that have unspent tuples, ordered by id. It reads no
// file.
func (s *Store) Pools() []Pool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	list := make([]Pool, 0, len(s.pools))
	for id, p := range s.pools {
		list = append(list, Pool{ID: id, Chunks: len(p.chunks), Tuples: p.tuples})
	}
	slices.SortFunc(list, func(a, b Pool) int { return comparePools(a.ID, b.ID) })
	return list
}

func comparePools(a, b PoolID) int {
	return cmp.Or(cmp.Compare(a.Key, b.Key), cmp.Compare(a.Set, b.Set), cmp.Compare(a.Stripe, b.Stripe))
}

// Depth is the number of unspent tuples in a pool. It reads no file.
func (s *Store) Depth(id PoolID) int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if p := s.pools[id]; p != nil {
		return p.tuples
	}
	return 0
}

// Chunks lists a pool's chunks that have unspent tuples, oldest first. It
// reads no file.
func (s *Store) Chunks(id PoolID) []Chunk {
	s.mu.RLock()
	defer s.mu.RUnlock()
	p := s.pools[id]
	if p == nil {
		return nil
	}
	list := make([]Chunk, len(p.chunks))
	for i, c := range p.chunks {
		list[i] = c.Chunk
	}
	return list
}

// Spent lists what was spent of a chunk, by index, as far as it is still
// recorded (see Options.KeepSpent).
func (s *Store) Spent(id ChunkID) ([]SpentRange, error) {
	var list []SpentRange
	err := s.view(func(tx *bolt.Tx) error {
		c := tx.Bucket(bucketSpent).Cursor()
		for k, v := c.Seek(id[:]); bytes.HasPrefix(k, id[:]); k, v = c.Next() {
			r, err := parseSpent(s.box, k, v)
			if err != nil {
				return err
			}
			list = append(list, r)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return list, nil
}

// DiscardChunk destroys one chunk, for instance one that failed. reason is for
// the log.
func (s *Store) DiscardChunk(id PoolID, chunkID ChunkID, reason string) error {
	_, err := s.discard(reason, func(p PoolID, c ChunkID) bool { return p == id && c == chunkID })
	return err
}

// DiscardPool destroys a pool and returns how many unspent tuples it had.
// reason is for the log.
func (s *Store) DiscardPool(id PoolID, reason string) (tuples int, err error) {
	return s.discard(reason, func(p PoolID, _ ChunkID) bool { return p == id })
}

// DiscardPools destroys the pools that which picks, in one transaction, and
// returns how many unspent tuples they had. Where no pool is left, nothing
// waits for Confirm any more. reason is for the log.
func (s *Store) DiscardPools(reason string, which func(PoolID) bool) (tuples int, err error) {
	return s.discard(reason, func(p PoolID, _ ChunkID) bool { return which(p) })
}

// DiscardChunks destroys the chunks that which picks, in one transaction, and
// returns how many unspent tuples they had. reason is for the log.
func (s *Store) DiscardChunks(reason string, which func(PoolID, ChunkID) bool) (tuples int, err error) {
	for _, p := range s.Pools() {
		if slices.ContainsFunc(s.Chunks(p.ID), func(c Chunk) bool { return which(p.ID, c.ID) }) {
			return s.discard(reason, which)
		}
	}
	return 0, nil // no generation is used up for nothing
}

// DiscardAll destroys all tuples and returns how many were unspent. What waits
// for Confirm waits no more: there is nothing left to confirm.
func (s *Store) DiscardAll(reason string) (tuples int, err error) {
	return s.discard(reason, nil)
}

func (s *Store) discard(reason string, which func(PoolID, ChunkID) bool) (int, error) {
	s.write.Lock()
	defer s.write.Unlock()
	tuples, err := s.discardLocked(reason, 0, which)
	if err != nil {
		return 0, err
	}
	return tuples, s.wipe()
}

// discardLocked destroys the chunks that which picks (all of them when it is
// nil), and raises the generation above floor: a copy of the file from before
// must be found out even though nothing was spent. s.write is held.
func (s *Store) discardLocked(reason string, floor uint64, which func(PoolID, ChunkID) bool) (tuples int, err error) {
	var generation uint64
	left := map[PoolID]*pool{}
	s.mu.RLock()
	pools, waiting := maps.Clone(s.pools), s.suspended != "" && !s.raiseWaiting
	s.mu.RUnlock()
	chunks := 0
	err = s.update(func(tx *bolt.Tx) error {
		for id, p := range pools {
			rest := &pool{}
			for _, c := range p.chunks {
				if which != nil && !which(id, c.ID) {
					rest.chunks = append(rest.chunks, c)
					rest.tuples += c.Count - c.Next
					continue
				}
				if err := s.forget(tx, id, c); err != nil {
					return err
				}
				chunks++
				tuples += c.Count - c.Next
			}
			if len(rest.chunks) > 0 {
				left[id] = rest
			}
		}
		st, err := s.changeState(tx, func(st *state) error {
			if which == nil {
				st.live = [32]byte{} // also where it did not fit
			} else if waiting && len(left) > 0 {
				// What waits for Confirm is compared by this generation:
				// discarding must not carry it to the marks that others hold.
				return nil
			}
			return st.raise(floor)
		})
		generation = st.generation
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("discard tuples: %w", err)
	}
	s.mu.Lock()
	s.pools, s.generation = left, generation
	if len(left) == 0 {
		s.suspended = ""
	}
	suspended := s.suspended != ""
	s.mu.Unlock()
	if chunks > 0 {
		s.log.Warn("tuples discarded", "tuples", tuples, "chunks", chunks, "reason", reason)
	}
	if suspended {
		return tuples, nil // the mark must not vouch for what waits
	}
	return tuples, s.writeRunMark(generation)
}

// What a chunk's record holds: sequence number, count, next, time of adding.
const chunkRecordSize = 8 + 4 + 4 + 8

// setChunk replaces a chunk's record, in the bucket and in the digest; old is
// nil for a new chunk, c for one that goes.
func (s *Store) setChunk(tx *bolt.Tx, id PoolID, old, c *chunk) error {
	var key []byte
	_, err := s.changeState(tx, func(st *state) error {
		if old != nil {
			key = chunkKey(id, old.ID)
			st.toggle(s.box, key, old)
		}
		if c != nil {
			key = chunkKey(id, c.ID)
			st.toggle(s.box, key, c)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if c == nil {
		return tx.Bucket(bucketChunks).Delete(key)
	}
	rec := make([]byte, 0, chunkRecordSize)
	rec = binary.BigEndian.AppendUint64(rec, c.seq)
	rec = binary.BigEndian.AppendUint32(rec, uint32(c.Count))
	rec = binary.BigEndian.AppendUint32(rec, uint32(c.Next))
	rec = append(rec, s.timestamp()...)
	return tx.Bucket(bucketChunks).Put(key, s.box.seal(rec, key, bucketChunks))
}

func getChunk(tx *bolt.Tx, b *box, id PoolID, chunkID ChunkID) (*chunk, error) {
	key := chunkKey(id, chunkID)
	sealed := tx.Bucket(bucketChunks).Get(key)
	if sealed == nil {
		if tx.Bucket(bucketIDs).Get(chunkID[:]) != nil {
			return nil, fmt.Errorf("%w: the chunk was in a pool and is used up, discarded, or in another pool", ErrSpent)
		}
		return nil, ErrNoChunk
	}
	return openChunk(b, key, sealed, chunkID)
}

func openChunk(b *box, key, sealed []byte, id ChunkID) (*chunk, error) {
	rec, err := b.open(sealed, key, bucketChunks)
	if err != nil {
		return nil, err
	}
	return parseChunk(rec, id)
}

func parseChunk(rec []byte, id ChunkID) (*chunk, error) {
	if len(rec) != chunkRecordSize {
		return nil, fmt.Errorf("%w: record of chunk %s has %d bytes, expected %d", ErrDamaged, id, len(rec), chunkRecordSize)
	}
	count, next := binary.BigEndian.Uint32(rec[8:]), binary.BigEndian.Uint32(rec[12:])
	if count > math.MaxInt32 || next >= count {
		return nil, fmt.Errorf("%w: record of chunk %s has next %d of %d", ErrDamaged, id, next, count)
	}
	return &chunk{Chunk: Chunk{ID: id, Next: int(next), Count: int(count)}, seq: binary.BigEndian.Uint64(rec)}, nil
}

func loadPools(tx *bolt.Tx, b *box) (pools map[PoolID]*pool, live [32]byte, err error) {
	pools = map[PoolID]*pool{}
	var st state
	err = tx.Bucket(bucketChunks).ForEach(func(k, v []byte) error {
		id, chunkID, err := parseChunkKey(k)
		if err != nil {
			return err
		}
		c, err := openChunk(b, k, v, chunkID)
		if err != nil {
			return err
		}
		p := pools[id]
		if p == nil {
			p = &pool{}
			pools[id] = p
		}
		p.chunks = append(p.chunks, c)
		p.tuples += c.Count - c.Next
		st.toggle(b, k, c)
		return nil
	})
	for _, p := range pools {
		slices.SortFunc(p.chunks, func(a, b *chunk) int { return cmp.Compare(a.seq, b.seq) })
	}
	return pools, st.live, err
}

// chunkKey is the pool's three names, each after its length (2 bytes), then
// the chunk's id.
func chunkKey(id PoolID, chunkID ChunkID) []byte {
	var key []byte
	for _, name := range []string{id.Key, id.Set, id.Stripe} {
		key = binary.BigEndian.AppendUint16(key, uint16(len(name)))
		key = append(key, name...)
	}
	return append(key, chunkID[:]...)
}

func parseChunkKey(key []byte) (PoolID, ChunkID, error) {
	var names [3]string
	rest := key
	for i := range names {
		if len(rest) < 2 || len(rest)-2 < int(binary.BigEndian.Uint16(rest)) {
			return PoolID{}, ChunkID{}, fmt.Errorf("%w: chunk key %x is cut short", ErrDamaged, key)
		}
		n := int(binary.BigEndian.Uint16(rest))
		names[i], rest = string(rest[2:2+n]), rest[2+n:]
	}
	if len(rest) != len(ChunkID{}) {
		return PoolID{}, ChunkID{}, fmt.Errorf("%w: chunk key %x has a bad length", ErrDamaged, key)
	}
	return PoolID{names[0], names[1], names[2]}, ChunkID(rest), nil
}

func (s *Store) putSpent(tx *bolt.Tx, r Range, statement [32]byte, generation uint64) error {
	key := binary.BigEndian.AppendUint32(r.Chunk[:len(r.Chunk):len(r.Chunk)], uint32(r.From))
	rec := binary.BigEndian.AppendUint32(nil, uint32(r.Count))
	rec = binary.BigEndian.AppendUint64(rec, generation)
	rec = append(rec, s.timestamp()...)
	rec = append(rec, statement[:]...)
	return tx.Bucket(bucketSpent).Put(key, s.box.seal(rec, key, bucketSpent))
}

func parseSpent(b *box, key, sealed []byte) (SpentRange, error) {
	rec, err := b.open(sealed, key, bucketSpent)
	if err != nil {
		return SpentRange{}, err
	}
	if len(key) != 32+4 || len(rec) != 4+8+8+32 {
		return SpentRange{}, fmt.Errorf("%w: record of spent tuples has %d bytes, expected 52", ErrDamaged, len(rec))
	}
	return SpentRange{
		From:       int(binary.BigEndian.Uint32(key[32:])),
		Count:      int(binary.BigEndian.Uint32(rec)),
		Generation: binary.BigEndian.Uint64(rec[4:]),
		Time:       time.Unix(int64(binary.BigEndian.Uint64(rec[12:])), 0).UTC(),
		Statement:  [32]byte(rec[20:]),
	}, nil
}

// timestamp is the time in seconds, 8 bytes.
func (s *Store) timestamp() []byte {
	return binary.BigEndian.AppendUint64(nil, uint64(max(0, s.now().Unix())))
}
