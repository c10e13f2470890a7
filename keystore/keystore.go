// Package keystore keeps what a daemon must not lose and must not show: its
// shares of the keys, the states of the keys, the tuples made ahead of
// signing, and the daemon's own durable records. It knows nothing of engines
// or protocols; shares and tuples are opaque blobs whose first bytes say their
// version to those who made them.
//
// Everything is in one database file, written by one process, one durable
// transaction at a time. Every value is sealed with an AEAD under a data key,
// which is itself wrapped with a key from outside (Source). Names of buckets
// and records are not sealed, so they must hold no secrets.
//
// Two promises matter most. A tuple is handed out by Spend at most once, over
// any number of crashes, because the spending is durable before Spend returns.
// And a copy of the file that is put back later does not revive spent tuples:
// after a start they are usable only if the generation outside the file, or
// the marks that other operators hold, agree with the file (see Confirm).
//
// A Store is safe for concurrent use. docs/keystore.md has the format and the
// arguments.
package keystore

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	bolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
)

// FileName is the database's name in the store's directory. A format that old
// versions cannot read gets a new name.
const FileName = "keystore.v1.db"

// format is the version inside the file. A change that this code could not
// read raises it, and Open then upgrades older files in one transaction; every
// older format has a fixture in testdata. A higher one than ours is refused.
const format = 1

const (
	dirMode  = 0o700
	fileMode = 0o600
)

// Options say how a store is opened.
type Options struct {
	// Seal is where the sealing key comes from.
	Seal Source
	// RunDir is a directory that a reboot empties; the generation is kept
	// there beside the store. Empty: after every start the tuples wait for
	// Confirm.
	RunDir string
	// BootID overrides the kernel's boot id, for tests.
	BootID string
	// Logger is told of discarded tuples; nil means slog.Default().
	Logger *slog.Logger
	// KeepSpent is how long the records of which statement spent which
	// tuples outlive their chunk; 0 means 30 days.
	KeepSpent time.Duration
}

// Store is an open keystore.
type Store struct {
	dir  string
	path string
	opt  Options
	log  *slog.Logger
	boot string
	id   string // random, tells one store's run mark from another's
	box  *box
	now  func() time.Time

	// commit makes a transaction durable. Tests replace it to see that they
	// notice.
	commit func(*bolt.Tx) error

	write   sync.Mutex   // held over a write transaction and what follows from it; guards read
	read    int          // bytes of blobs since giveBack
	readers sync.RWMutex // held over a read transaction; wipe waits for them all
	db      *bolt.DB
	file    *os.File // the database's own descriptor

	mu           sync.RWMutex // guards what is below, never held over I/O
	failed       error        // why nothing is served any more
	suspended    string       // why tuples wait for Confirm; empty when they do not
	old          bool         // it turned out to be an older copy of its file
	raiseWaiting bool         // test hook: discarding raises the generation while tuples wait
	mixed        bool         // the chunks are not those of the generation
	generation   uint64
	pools        map[PoolID]*pool
}

// Top-level buckets. Values in bucketMeta are plain, all others are sealed.
var (
	bucketMeta    = []byte("meta")    // format, id, seal
	bucketState   = []byte("state")   // generation and digest of the pools
	bucketKeys    = []byte("keys")    // key id -> KeyRecord without its secret
	bucketSecrets = []byte("secrets") // key id -> secret
	bucketMarks   = []byte("marks")   // operator -> the last mark of it that we hold
	bucketRecords = []byte("records") // one bucket for each name the daemon chose
	bucketChunks  = []byte("chunks")  // pool, chunk id -> count, next
	bucketBlobs   = []byte("blobs")   // chunk id -> a bucket with the blob alone
	bucketIDs     = []byte("ids")     // every chunk id ever added -> when
	bucketSpent   = []byte("spent")   // chunk id, from -> count, statement, generation
	bucketDone    = []byte("done")    // when, chunk id -> empty: chunks used up

	// kept are the buckets that a backup holds, besides bucketMeta.
	kept = [][]byte{bucketState, bucketKeys, bucketSecrets, bucketRecords}
	// dropped are the others: tuples, and marks that only a live store may
	// vouch for.
	dropped = [][]byte{bucketMarks, bucketChunks, bucketBlobs, bucketIDs, bucketSpent, bucketDone}

	metaFormat = []byte("format")
	metaID     = []byte("id")
	metaSeal   = []byte("seal")
)

// Create makes a new, empty store in dir and opens it. An existing one is
// never touched (ErrExists).
func Create(dir string, opt Options) (*Store, error) {
	if err := checkDir(dir, true); err != nil {
		return nil, err
	}
	path := filepath.Join(dir, FileName)
	if _, err := os.Lstat(path); err == nil {
		return nil, fmt.Errorf("create %s: %w", path, ErrExists)
	}
	if err := build(path, func(db *bolt.DB) error { return initialize(db, opt.Seal, time.Now()) }); err != nil {
		return nil, fmt.Errorf("create %s: %w", path, err)
	}
	return Open(dir, opt)
}

// build makes a database at path in a way that a crash leaves it whole or not
// at all, and that never replaces one.
func build(path string, fill func(*bolt.DB) error) (err error) {
	dir := filepath.Dir(path)
	tmp, err := os.CreateTemp(dir, "keystore-*.tmp")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	if err := tmp.Close(); err != nil {
		return err
	}
	db, err := bolt.Open(tmp.Name(), fileMode, boltOptions())
	if err != nil {
		return err
	}
	if err := errors.Join(fill(db), db.Close()); err != nil {
		return err
	}
	return publish(tmp.Name(), path)
}

// publish gives a finished file its name and makes that durable.
func publish(tmp, path string) error {
	if err := os.Link(tmp, path); err != nil {
		if errors.Is(err, os.ErrExist) {
			return ErrExists
		}
		return err
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func initialize(db *bolt.DB, seal Source, now time.Time) error {
	dataKey := make([]byte, keySize)
	id := make([]byte, 16)
	rand.Read(dataKey)
	rand.Read(id)
	defer clear(dataKey)
	wrapped, err := wrap(seal, dataKey)
	if err != nil {
		return err
	}
	b, err := newBox(dataKey)
	if err != nil {
		return err
	}
	return db.Update(func(tx *bolt.Tx) error {
		for _, name := range append(append([][]byte{bucketMeta}, kept...), dropped...) {
			if _, err := tx.CreateBucketIfNotExists(name); err != nil {
				return err
			}
		}
		meta := tx.Bucket(bucketMeta)
		return errors.Join(
			meta.Put(metaFormat, []byte(strconv.Itoa(format))),
			meta.Put(metaID, []byte(hex.EncodeToString(id))),
			meta.Put(metaSeal, wrapped),
			putState(tx, b, state{generation: birth(now)}),
		)
	})
}

// Open opens the store in dir. The whole structure of the file is read first,
// so damage there is found now (ErrDamaged) and not in the middle of a
// signing. Tuples from before may have to wait for Confirm: see Suspended.
func Open(dir string, opt Options) (*Store, error) {
	s, err := open(dir, opt)
	if err != nil {
		return nil, fmt.Errorf("open keystore %s: %w", filepath.Join(dir, FileName), err)
	}
	return s, nil
}

func open(dir string, opt Options) (*Store, error) {
	if err := checkDir(dir, false); err != nil {
		return nil, err
	}
	s := &Store{
		dir: dir, path: filepath.Join(dir, FileName), opt: opt, log: opt.Logger, boot: opt.BootID,
		now: time.Now, commit: (*bolt.Tx).Commit,
	}
	if s.log == nil {
		s.log = slog.Default()
	}
	if s.opt.KeepSpent == 0 {
		s.opt.KeepSpent = 30 * 24 * time.Hour
	}
	if s.boot == "" {
		b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
		if err != nil {
			return nil, fmt.Errorf("boot id: %w", err)
		}
		s.boot = strings.TrimSpace(string(b))
	}
	var err error
	if s.db, s.file, err = openChecked(s.path); err != nil {
		return nil, err
	}
	if err := guard(s.start); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	s.giveBack() // all of it was read
	return s, nil
}

// start reads what lives in memory and settles whether tuples are usable.
func (s *Store) start() error {
	leftovers, _ := filepath.Glob(filepath.Join(s.dir, "*.tmp")) // of crashes; nobody else has the lock
	for _, f := range leftovers {
		os.Remove(f)
	}
	err := s.db.View(func(tx *bolt.Tx) error {
		meta, err := readMeta(tx)
		if err != nil {
			return err
		}
		s.id = meta.id
		dataKey, err := unwrap(s.opt.Seal, meta.seal)
		if err != nil {
			return err
		}
		defer clear(dataKey)
		if s.box, err = newBox(dataKey); err != nil {
			return err
		}
		return s.load(tx)
	})
	if err != nil {
		return err
	}
	return s.settle()
}

// load reads generation and pools.
func (s *Store) load(tx *bolt.Tx) error {
	st, err := getState(tx, s.box)
	if err != nil {
		return err
	}
	pools, live, err := loadPools(tx, s.box)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.generation, s.pools, s.mixed = st.generation, pools, live != st.live
	return nil
}

type meta struct {
	id   string
	seal []byte
}

func readMeta(tx *bolt.Tx) (meta, error) {
	b := tx.Bucket(bucketMeta)
	if b == nil {
		return meta{}, fmt.Errorf("%w: it has no bucket %q", ErrDamaged, bucketMeta)
	}
	v, err := strconv.Atoi(string(b.Get(metaFormat)))
	switch {
	case err != nil || v < 1:
		return meta{}, fmt.Errorf("%w: format version %q is not a number from 1", ErrDamaged, b.Get(metaFormat))
	case v > format:
		return meta{}, fmt.Errorf("%w: format %d, this program reads up to %d", ErrNewer, v, format)
	}
	for _, name := range append(append([][]byte{}, kept...), dropped...) {
		if tx.Bucket(name) == nil {
			return meta{}, fmt.Errorf("%w: it has no bucket %q", ErrDamaged, name)
		}
	}
	return meta{id: string(b.Get(metaID)), seal: bytes.Clone(b.Get(metaSeal))}, nil
}

// Close releases the file. It waits for a write that is under way.
func (s *Store) Close() error {
	s.write.Lock()
	defer s.write.Unlock()
	s.mu.Lock()
	was := s.failed
	s.failed = ErrClosed
	s.mu.Unlock()
	switch {
	case errors.Is(was, ErrClosed):
		return nil
	case errors.Is(was, errStuck):
		return release(s.file)
	}
	return s.db.Close()
}

// usable says why nothing is served any more, or nil.
func (s *Store) usable() error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.failed
}

// view runs fn in a read transaction.
func (s *Store) view(fn func(*bolt.Tx) error) error {
	if err := s.usable(); err != nil {
		return err
	}
	s.readers.RLock()
	defer s.readers.RUnlock()
	err := guard(func() error { return s.db.View(fn) })
	if errors.Is(err, berrors.ErrDatabaseNotOpen) {
		return ErrClosed
	}
	return err
}

// update runs fn in a write transaction and makes it durable; s.write is held.
// After an error the previous state is in force, in memory too.
func (s *Store) update(fn func(*bolt.Tx) error) error {
	if err := s.usable(); err != nil {
		return err
	}
	tx, err := s.db.Begin(true)
	if err != nil {
		return fmt.Errorf("keystore %s: %w", s.path, err)
	}
	committing := false
	err = guard(func() error {
		if err := fn(tx); err != nil {
			return err
		}
		committing = true
		return s.commit(tx)
	})
	if err == nil {
		return nil
	}
	if rollback := guard(tx.Rollback); rollback != nil && !errors.Is(rollback, berrors.ErrTxClosed) {
		// The database's own lock may be held for ever: touch it no more.
		s.fail(fmt.Errorf("%w: %w: %w", ErrFailed, errStuck, err))
		return err
	}
	if committing {
		err = fmt.Errorf("keystore %s: write failed, nothing was changed: %w", s.path, err)
		if !outOfSpace(err) {
			// After a failed fsync nobody knows what the disk holds, and
			// the kernel will not say it twice.
			s.fail(fmt.Errorf("%w: %w", ErrFailed, err))
		} else if reload := guard(func() error { return s.db.View(s.load) }); reload != nil {
			s.fail(fmt.Errorf("%w: %w", ErrFailed, reload))
		}
	}
	return err
}

var errStuck = errors.New("transaction cannot be rolled back")

func (s *Store) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failed = err
	s.log.Error("keystore stops", "path", s.path, "err", err)
}
