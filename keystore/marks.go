package keystore

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"time"

	bolt "go.etcd.io/bbolt"
)

// The generation grows with every spending and every discarding. Someone who
// puts an older copy of the file back also puts back the generation, and that
// is how it is found out: the run mark (a file that a reboot empties) or the
// marks that peers hold are ahead of the file.

var stateGeneration = []byte("generation")

// state is the generation and, sealed together with it, a digest of the chunks
// that have unspent tuples: the exclusive or of a keyed hash of each. So the
// record of one chunk cannot be put back alone, beside a newer generation.
type state struct {
	generation uint64
	live       [32]byte
}

// birth is the first generation of a store made at now. It lies above what an
// earlier store of this operator reached, unless that spent more than a
// million times a second, so that peers need not forget the marks they hold.
// It stays below 2^53, which JSON readers may need, until the year 2242.
func birth(now time.Time) uint64 { return uint64(max(0, now.Unix())) << 20 }

func getState(tx *bolt.Tx, b *box) (st state, err error) {
	v, err := b.open(tx.Bucket(bucketState).Get(stateGeneration), stateGeneration, bucketState)
	if err != nil {
		return state{}, err
	}
	if len(v) != 8+len(st.live) {
		return state{}, fmt.Errorf("%w: the generation has %d bytes, expected 40", ErrDamaged, len(v))
	}
	return state{binary.BigEndian.Uint64(v), [32]byte(v[8:])}, nil
}

func putState(tx *bolt.Tx, b *box, st state) error {
	v := append(binary.BigEndian.AppendUint64(nil, st.generation), st.live[:]...)
	return tx.Bucket(bucketState).Put(stateGeneration, b.seal(v, stateGeneration, bucketState))
}

// changeState lets change alter the state and stores it.
func (s *Store) changeState(tx *bolt.Tx, change func(*state) error) (state, error) {
	st, err := getState(tx, s.box)
	if err != nil {
		return state{}, err
	}
	if err := change(&st); err != nil {
		return state{}, err
	}
	return st, putState(tx, s.box, st)
}

// raise sets the generation above what it was and above floor.
func (st *state) raise(floor uint64) error {
	g := max(st.generation, floor)
	if g == math.MaxUint64 {
		return errors.New("the generation is at its end")
	}
	st.generation = g + 1
	return nil
}

// toggle enters a chunk into the digest, or takes it out again.
func (st *state) toggle(b *box, key []byte, c *chunk) {
	mac := hmac.New(sha256.New, b.macKey)
	mac.Write(binary.BigEndian.AppendUint64(nil, c.seq))
	mac.Write(binary.BigEndian.AppendUint32(nil, uint32(c.Count)))
	mac.Write(binary.BigEndian.AppendUint32(nil, uint32(c.Next)))
	mac.Write(key)
	subtle.XORBytes(st.live[:], st.live[:], mac.Sum(nil))
}

// Generation is this operator's present mark.
func (s *Store) Generation() uint64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.generation
}

// Suspended says whether tuples wait for Confirm, and why.
func (s *Store) Suspended() (why string, yes bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.suspended, s.suspended != ""
}

// Restored reports whether the store turned out to be an older copy of its file,
// at the start or since: then not only its tuples are old.
func (s *Store) Restored() bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.old
}

// settle decides at the start whether the tuples in the file are usable.
func (s *Store) settle() error {
	mark, why := s.readRunMark()
	generation := s.Generation()
	switch {
	case s.mixed:
		return s.restored(generation, "the digest of the pools")
	case mark != nil && mark.Generation > generation:
		// The file is behind what this very boot has seen: that is proof,
		// and peers who did not see the newest mark could only blur it.
		return s.restored(mark.Generation, "the mark in "+s.opt.RunDir)
	case mark != nil:
		// Equal is the rule. Lower is a crash between the commit and the
		// mark: the spending was durable and nothing was handed out.
	case len(s.pools) > 0:
		s.suspended = why
		s.log.Warn("tuples are suspended until other operators confirm our mark", "reason", why, "generation", generation)
		return nil
	}
	return s.writeRunMark(generation)
}

// restored handles an old copy of the file: all tuples are destroyed and the
// generation goes above the highest mark.
func (s *Store) restored(highest uint64, witness string) error {
	s.log.Error("the keystore was restored from an older copy: all tuples are discarded", "generation", s.Generation(), "seen", highest, "witness", witness)
	s.mu.Lock()
	s.old = true
	s.mu.Unlock()
	if _, err := s.discardLocked("keystore was restored from an older copy, says "+witness, highest, nil); err != nil {
		return err
	}
	return s.wipe()
}

// PeerMark is a mark and whose knowledge it is: in Confirm, the last mark of
// ours that Operator holds (0 if none); in SetPeerMark, Operator's own mark.
// Signatures are checked before: every mark here counts.
type PeerMark struct {
	Operator   string
	Generation uint64
	Signed     []byte // as it was signed by the mark's owner, for SetPeerMark
}

// Confirm makes suspended tuples usable: needed other operators (t+1, so that
// one of them at least is honest) each gave the last mark of ours that they
// hold, and none is ahead of our generation. One that is ahead proves that the
// file was restored: all tuples are discarded, the generation is set above
// it, and ErrRestored is returned; the store is then ready for new tuples.
// With fewer operators than needed, ErrFewMarks changes nothing.
func (s *Store) Confirm(needed int, marks []PeerMark) error {
	s.write.Lock()
	defer s.write.Unlock()
	if err := s.usable(); err != nil {
		return err
	}
	var highest PeerMark
	operators := map[string]bool{}
	for _, m := range marks {
		operators[m.Operator] = true
		if m.Generation >= highest.Generation {
			highest = m
		}
	}
	generation := s.Generation()
	if highest.Generation > generation {
		if err := s.restored(highest.Generation, "operator "+highest.Operator); err != nil {
			return err
		}
		return fmt.Errorf("%w: we are at generation %d, operator %s saw %d", ErrRestored, generation, highest.Operator, highest.Generation)
	}
	if _, yes := s.Suspended(); !yes {
		return nil
	}
	if needed < 1 || len(operators) < needed {
		return fmt.Errorf("%w: %d, needed are %d", ErrFewMarks, len(operators), needed)
	}
	s.mu.Lock()
	s.suspended = ""
	s.mu.Unlock()
	return s.writeRunMark(generation)
}

// SetPeerMark keeps the newest marks of other operators, durably. One that is
// not newer than the one held is left out without an error.
func (s *Store) SetPeerMark(marks ...PeerMark) error {
	s.write.Lock()
	defer s.write.Unlock()
	newer := false
	err := s.view(func(tx *bolt.Tx) error {
		for _, m := range marks {
			held, err := s.peerMark(tx, m.Operator)
			if err != nil && !errors.Is(err, ErrNotFound) {
				return err
			}
			newer = newer || err != nil || m.Generation > held.Generation
		}
		return nil
	})
	if err != nil || !newer {
		return err
	}
	return s.update(func(tx *bolt.Tx) error {
		for _, m := range marks {
			if m.Operator == "" {
				return errors.New("peer mark: the operator's name is empty")
			}
			held, err := s.peerMark(tx, m.Operator)
			if err != nil && !errors.Is(err, ErrNotFound) {
				return err
			}
			if err == nil && m.Generation <= held.Generation {
				continue
			}
			key := []byte(m.Operator)
			v := append(binary.BigEndian.AppendUint64(nil, m.Generation), m.Signed...)
			if err := tx.Bucket(bucketMarks).Put(key, s.box.seal(v, key, bucketMarks)); err != nil {
				return fmt.Errorf("peer mark of %s: %w", m.Operator, err)
			}
		}
		return nil
	})
}

// PeerMark returns the newest mark of an operator that we hold, or
// ErrNotFound.
func (s *Store) PeerMark(operator string) (m PeerMark, err error) {
	err = s.view(func(tx *bolt.Tx) error { m, err = s.peerMark(tx, operator); return err })
	return m, err
}

func (s *Store) peerMark(tx *bolt.Tx, operator string) (PeerMark, error) {
	key := []byte(operator)
	sealed := tx.Bucket(bucketMarks).Get(key)
	if sealed == nil {
		return PeerMark{}, fmt.Errorf("mark of operator %q: %w", operator, ErrNotFound)
	}
	v, err := s.box.open(sealed, key, bucketMarks)
	if err != nil {
		return PeerMark{}, err
	}
	if len(v) < 8 {
		return PeerMark{}, fmt.Errorf("mark of operator %q: %w: %d bytes, expected 8 or more", operator, ErrDamaged, len(v))
	}
	return PeerMark{Operator: operator, Generation: binary.BigEndian.Uint64(v), Signed: v[8:]}, nil
}

// runMark is the file in the run directory.
type runMark struct {
	Version    int    `json:"version"`
	Boot       string `json:"boot_id"`
	Store      string `json:"store"`
	Generation uint64 `json:"generation"`
}

const (
	runMarkName = "generation"
	runMarkSize = 256 // padded with blanks, which JSON does not mind
)

// readRunMark returns this boot's mark for this store, or why there is none.
// A file that cannot be read is no mark: that suspends, and never confirms.
func (s *Store) readRunMark() (*runMark, string) {
	if s.opt.RunDir == "" {
		return nil, "no run directory is configured"
	}
	path := filepath.Join(s.opt.RunDir, runMarkName)
	b, err := readSmall(path, false)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, "the machine or its run directory is new: " + path + " does not exist"
	}
	if err != nil {
		return nil, err.Error()
	}
	m, err := parseRunMark(b)
	switch {
	case err != nil:
		return nil, fmt.Sprintf("%s: %v", path, err)
	case m.Boot != s.boot:
		return nil, path + " is from before the machine restarted"
	case m.Store != s.id:
		return nil, path + " is of another keystore"
	}
	return m, ""
}

func parseRunMark(b []byte) (*runMark, error) {
	var m runMark
	if err := json.Unmarshal(b, &m); err != nil {
		return nil, fmt.Errorf("not a generation mark: %w", err)
	}
	if m.Version != 1 || m.Boot == "" || m.Store == "" {
		return nil, fmt.Errorf("not a generation mark of version 1")
	}
	return &m, nil
}

// writeRunMark sets the mark in the run directory. Without one the next start
// suspends the tuples, which is safe; so when it cannot be written it is
// removed. Only when that fails too is it an error: an older mark left there
// would vouch for an older copy of the file. s.write is held, so marks are
// written in order.
func (s *Store) writeRunMark(g uint64) error {
	if s.opt.RunDir == "" {
		return nil
	}
	path := filepath.Join(s.opt.RunDir, runMarkName)
	err := func() error {
		text, err := json.Marshal(runMark{Version: 1, Boot: s.boot, Store: s.id, Generation: g})
		if err != nil {
			return err
		}
		if err := os.MkdirAll(s.opt.RunDir, 0o755); err != nil {
			return err
		}
		// In place, in one write of always the same length: a process that
		// is killed leaves the old mark or the new one. A new file and a
		// rename would make some file systems flush at every spending.
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, fileMode)
		if err != nil {
			return err
		}
		err = f.Truncate(runMarkSize)
		if err == nil {
			_, err = fmt.Fprintf(f, "%-*s\n", runMarkSize-1, text)
		}
		return errors.Join(err, f.Close())
	}()
	if err == nil {
		return nil
	}
	s.log.Warn("generation mark not written; after a restart other operators have to confirm it", "path", path, "err", err)
	if remove := os.Remove(path); remove != nil && !errors.Is(remove, fs.ErrNotExist) {
		s.fail(fmt.Errorf("%w: generation mark %s can be neither written nor removed: %w", ErrFailed, path, err))
		return s.usable()
	}
	return nil
}
