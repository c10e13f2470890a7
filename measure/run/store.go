package run

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"go.etcd.io/bbolt"
	bbolterrors "go.etcd.io/bbolt/errors"

	"zonesigner/measure"
)

// The files of a run.
const (
	metaFile    = "run.json"      // what is measured, with what, when
	listFile    = "domains.v1.gz" // the list as it was read: rank, tab, name
	resultsFile = "results.jsonl" // a Record a line
	storeFile   = "results.v1.db" // a Summary of each, and where its line is
	faultsFile  = "faults.jsonl"  // what was passed over, and what went wrong on the way
)

// Store holds the results of a run: lines of results.jsonl, and a bbolt file of
// a summary of each. The bbolt file says what is done. A batch of lines is on
// the disk before the transaction that counts them; lines that no transaction
// counts, which a kill leaves behind, are cut off by the next start.
type Store struct {
	db    *bbolt.DB
	lines *os.File
	w     *bufio.Writer // to lines
	end   int64         // of the lines that were added
	rows  []row         // that are not counted yet
}

// row is a summary as it is stored.
type row struct {
	number int
	value  []byte
}

// Buckets.
var (
	bucketResults = []byte("results") // number in the list, 8 bytes -> summary
	bucketState   = []byte("state")   // "end" -> bytes of results.jsonl, 8 bytes; "faults"
	bucketWHOIS   = []byte("whois")   // network -> owner
	keyEnd        = []byte("end")
	keyFaults     = []byte("faults") // how many of each kind, JSON
)

// openStore opens a directory's store for writing, and makes it where there is
// none.
func openStore(dir string) (*Store, error) {
	db, err := bbolt.Open(filepath.Join(dir, storeFile), 0o644, &bbolt.Options{Timeout: time.Second, FreelistType: bbolt.FreelistMapType})
	if errors.Is(err, bbolterrors.ErrTimeout) {
		return nil, fmt.Errorf("%s: another run is writing there", dir)
	} else if err != nil {
		return nil, fmt.Errorf("%s: %w", storeFile, err)
	}
	s := &Store{db: db}
	err = db.Update(func(tx *bbolt.Tx) error {
		for _, b := range [][]byte{bucketResults, bucketState, bucketWHOIS} {
			if _, err := tx.CreateBucketIfNotExists(b); err != nil {
				return err
			}
		}
		if v := tx.Bucket(bucketState).Get(keyEnd); len(v) == 8 {
			s.end = int64(binary.BigEndian.Uint64(v))
		}
		return nil
	})
	if err == nil {
		s.lines, err = os.OpenFile(filepath.Join(dir, resultsFile), os.O_RDWR|os.O_CREATE, 0o644)
	}
	if err == nil {
		err = s.cut()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", dir, err), s.Close())
	}
	return s, nil
}

// cut takes lines off that are not counted.
func (s *Store) cut() error {
	stat, err := s.lines.Stat()
	if err != nil {
		return err
	}
	if stat.Size() < s.end {
		return fmt.Errorf("%s has %d bytes, %s counts %d: lines were lost", resultsFile, stat.Size(), storeFile, s.end)
	}
	if err := s.lines.Truncate(s.end); err != nil {
		return err
	}
	_, err = s.lines.Seek(s.end, io.SeekStart)
	s.w = bufio.NewWriterSize(s.lines, 64<<10)
	return err
}

// OpenStore opens a run's store for reading. It fails while a run writes to it,
// and then says so: what is done so far can be read in results.jsonl, or when
// the run was stopped.
func OpenStore(dir string) (*Store, error) {
	path := filepath.Join(dir, storeFile)
	if _, err := os.Stat(path); err != nil {
		return nil, fmt.Errorf("%s holds no run: %w", dir, err)
	}
	db, err := bbolt.Open(path, 0o644, &bbolt.Options{Timeout: time.Second, ReadOnly: true})
	if errors.Is(err, bbolterrors.ErrTimeout) {
		return nil, fmt.Errorf("%s: a run is writing there; it can be read when that has ended or been stopped", dir)
	} else if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	lines, err := os.Open(filepath.Join(dir, resultsFile))
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return &Store{db: db, lines: lines}, nil
}

// Close ends the use of the files.
func (s *Store) Close() error {
	err := s.db.Close()
	if s.lines != nil {
		err = errors.Join(err, s.lines.Close())
	}
	return err
}

// result is a domain that is done.
type result struct {
	number  int // in the list, from 0
	line    []byte
	summary Summary
	faults  []string // kinds of what went wrong with it
}

// add writes a result's line and keeps its summary. It lasts with the next
// commit, and not before. After an error nothing may be added or committed.
func (s *Store) add(r result) error {
	r.summary.offset, r.summary.length = s.end, len(r.line)
	s.rows = append(s.rows, row{r.number, r.summary.encode()})
	s.end += int64(len(r.line)) + 1
	_, _ = s.w.Write(r.line) // an error stays, and is the next one's, too
	return s.w.WriteByte('\n')
}

// commit makes what was added last, and the count of faults by kind with it;
// nil leaves that as it is.
func (s *Store) commit(faults map[string]int) error {
	if len(s.rows) == 0 && faults == nil {
		return nil
	}
	if err := s.w.Flush(); err != nil {
		return err
	}
	if err := s.lines.Sync(); err != nil {
		return err
	}
	// In the order of the list, as far as a batch goes, pages fill up.
	slices.SortFunc(s.rows, func(a, b row) int { return a.number - b.number })
	err := s.db.Update(func(tx *bbolt.Tx) error {
		results := tx.Bucket(bucketResults)
		results.FillPercent = 0.9
		for _, r := range s.rows {
			if err := results.Put(number(r.number), r.value); err != nil {
				return err
			}
		}
		if faults != nil {
			b, err := json.Marshal(faults)
			if err == nil {
				err = tx.Bucket(bucketState).Put(keyFaults, b)
			}
			if err != nil {
				return err
			}
		}
		return tx.Bucket(bucketState).Put(keyEnd, binary.BigEndian.AppendUint64(nil, uint64(s.end)))
	})
	clear(s.rows)
	s.rows = s.rows[:0]
	if err != nil {
		return err
	}
	return s.db.View(func(tx *bbolt.Tx) error { return release(s.db.Info().Data, tx.Size()) })
}

func number(n int) []byte { return binary.BigEndian.AppendUint64(nil, uint64(n)) }

// done lists what a run of so many domains has done, a bit each.
func (s *Store) done(domains int) (bits []uint64, count int, err error) {
	bits = make([]uint64, (domains+63)/64)
	err = s.db.View(func(tx *bbolt.Tx) error {
		return tx.Bucket(bucketResults).ForEach(func(k, _ []byte) error {
			n := binary.BigEndian.Uint64(k)
			if n >= uint64(domains) {
				return fmt.Errorf("%s holds domain number %d of %d", storeFile, n, domains)
			}
			bits[n/64] |= 1 << (n % 64)
			count++
			return nil
		})
	})
	return bits, count, err
}

// faults is what was counted with the last batch.
func (s *Store) faults() (count map[string]int, err error) {
	err = s.db.View(func(tx *bbolt.Tx) error {
		if b := tx.Bucket(bucketState).Get(keyFaults); b != nil {
			if err := json.Unmarshal(b, &count); err != nil {
				return fmt.Errorf("%s: faults: %w", storeFile, err)
			}
		}
		return nil
	})
	return count, err
}

// Each calls f with the summary of each domain that is done, in the order of
// the list. What f keeps of it stays valid.
func (s *Store) Each(f func(Summary) error) error {
	return s.db.View(func(tx *bbolt.Tx) error {
		return tx.Bucket(bucketResults).ForEach(func(_, v []byte) error {
			sum, err := decode(v)
			if err != nil {
				return fmt.Errorf("%s: %w", storeFile, err)
			}
			return f(sum)
		})
	})
}

// Find returns the record of a domain by its name (A-labels).
func (s *Store) Find(name string) (*measure.Record, error) {
	found := errors.New("found")
	var at Summary
	err := s.Each(func(sum Summary) error {
		if sum.Name == name {
			at = sum
			return found
		}
		return nil
	})
	if err == nil {
		return nil, nil //nolint:nilnil // not there is no error
	} else if !errors.Is(err, found) {
		return nil, err
	}
	return s.Record(at)
}

// Record reads the whole record that a summary is of.
func (s *Store) Record(at Summary) (*measure.Record, error) {
	line := make([]byte, at.length)
	if _, err := s.lines.ReadAt(line, at.offset); err != nil {
		return nil, fmt.Errorf("%s: %w", resultsFile, err)
	}
	r := new(measure.Record)
	if err := json.NewDecoder(bytes.NewReader(line)).Decode(r); err != nil {
		return nil, fmt.Errorf("%s at byte %d: %w", resultsFile, at.offset, err)
	}
	return r, nil
}

// Get and Put make the store a whois.Cache.

func (s *Store) Get(key string) (owner string, ok bool) {
	_ = s.db.View(func(tx *bbolt.Tx) error { // f returns no error
		if v := tx.Bucket(bucketWHOIS).Get([]byte(key)); v != nil {
			owner, ok = string(v), true
		}
		return nil
	})
	return owner, ok
}

func (s *Store) Put(key, owner string) error {
	return s.db.Update(func(tx *bbolt.Tx) error { return tx.Bucket(bucketWHOIS).Put([]byte(key), []byte(owner)) })
}

// Summary is what reports count: a record without its evidence.
type Summary struct {
	Rank      int
	Name      string
	Class     measure.Class
	Status    measure.Status
	Signers   measure.Signers
	Operators []string
	Reasons   []measure.Code

	offset int64 // of the record's line
	length int
}

// Summarise leaves the evidence out.
func Summarise(r *measure.Record) Summary {
	s := Summary{Rank: r.Rank, Name: r.Name, Class: r.Data.Class, Status: r.Status, Signers: r.Data.Signers}
	for _, o := range r.Data.Operators {
		s.Operators = append(s.Operators, o.ID)
	}
	for _, reason := range r.Data.Reasons {
		if !slices.Contains(s.Reasons, reason.Code) {
			s.Reasons = append(s.Reasons, reason.Code)
		}
	}
	return s
}

// encode writes: version 1, class, then numbers as uvarints and strings after
// their lengths: rank, offset, length, name, status (empty for NOERROR),
// signers, operators and reasons joined by spaces.
func (s *Summary) encode() []byte {
	b := []byte{1, byte(s.Class)}
	for _, n := range []int{s.Rank, int(s.offset), s.length} {
		b = binary.AppendUvarint(b, uint64(n))
	}
	status := string(s.Status)
	if s.Status == measure.NoError {
		status = ""
	}
	var reasons []string
	for _, r := range s.Reasons {
		reasons = append(reasons, string(r))
	}
	for _, text := range []string{s.Name, status, string(s.Signers), strings.Join(s.Operators, " "), strings.Join(reasons, " ")} {
		b = append(binary.AppendUvarint(b, uint64(len(text))), text...)
	}
	return b
}

// decode reads what encode writes.
func decode(b []byte) (Summary, error) {
	var s Summary
	if len(b) < 2 || b[0] != 1 {
		return s, errors.New("a summary that this version cannot read")
	}
	s.Class = measure.Class(b[1])
	rest := b[2:]
	short := false
	next := func() int {
		n, size := binary.Uvarint(rest)
		if size <= 0 || n > 1<<62 {
			short = true
			return 0
		}
		rest = rest[size:]
		return int(n)
	}
	text := func() string {
		n := next()
		if n > len(rest) {
			short = true
			return ""
		}
		t := string(rest[:n])
		rest = rest[n:]
		return t
	}
	s.Rank, s.offset, s.length = next(), int64(next()), next()
	s.Name, s.Status, s.Signers = text(), cmp.Or(measure.Status(text()), measure.NoError), measure.Signers(text())
	s.Operators = strings.Fields(text())
	for _, r := range strings.Fields(text()) {
		s.Reasons = append(s.Reasons, measure.Code(r))
	}
	if short || len(rest) > 0 {
		return s, errors.New("a summary that breaks off")
	}
	return s, nil
}
