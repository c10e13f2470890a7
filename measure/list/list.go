// Package list reads ranked lists of domains: Alexa, Tranco and Umbrella
// (rank,domain), Majestic and others with a line of column names, and plain
// names, one a line; each as it is, in gzip or in a zip archive. What kind a
// file is, is told by its content, never by its name.
//
// A line that holds no domain is a fault: it is named, counted and passed over.
// An archive that breaks off is a fault, too, and what came before it counts.
package list

import (
	"archive/zip"
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"os"
	"strconv"
	"strings"
	"time"
)

// An Entry is a domain and its rank, which starts at 1.
type Entry struct {
	Rank int
	Name string // A-labels, lower case, no dot at the end
}

// A Kind is a kind of fault.
type Kind string

const (
	Malformed Kind = "malformed-line"
	Duplicate Kind = "duplicate"
	Damaged   Kind = "unreadable-archive" // from here on nothing could be read
)

// A Fault is what a line, or the rest of the file, was not used for.
type Fault struct {
	Kind Kind   `json:"kind"`
	Line int    `json:"line"` // from 1
	Why  string `json:"why"`
}

func (f Fault) String() string { return fmt.Sprintf("line %d: %s", f.Line, f.Why) }

// Info is what is recorded of a list.
type Info struct {
	Path     string       `json:"path"`
	Member   string       `json:"member,omitempty"` // the file within a zip archive
	Modified time.Time    `json:"modified"`         // of the file, or of the archive's member
	SHA256   string       `json:"sha256"`           // of the file as it is
	Format   string       `json:"format"`           // rank,domain; columns; names
	Domains  int          `json:"domains"`
	Faults   map[Kind]int `json:"faults,omitempty"`
}

const (
	// MaxLine is the longest line that is read, in bytes; longer ones are
	// malformed.
	MaxLine = 4096
	// MaxEntries bounds what one list makes a run keep. There are fewer than
	// 400 million registered domains.
	MaxEntries = 500_000_000
)

// Read calls each for every domain of the list in the file path, in its order,
// once for each name, and fault for what was passed over. It fails when the
// file cannot be read, holds no domain, or each fails.
func Read(path string, each func(Entry) error, fault func(Fault)) (Info, error) {
	info := Info{Path: path, Faults: map[Kind]int{}}
	f, err := os.Open(path)
	if err != nil {
		return info, err
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return info, fmt.Errorf("%s: %w", path, err)
	}
	info.SHA256 = hex.EncodeToString(sum.Sum(nil))
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return info, err
	}
	r, err := content(f, &info)
	if err != nil {
		return info, fmt.Errorf("%s: %w", path, err)
	}
	err = scan(r, &info, each, fault)
	if err == nil && info.Domains == 0 {
		err = errors.New("no line holds a domain: want rank,domain, columns of which one is called domain, or a name a line")
	}
	if err != nil {
		return info, fmt.Errorf("%s: %w", path, err)
	}
	return info, nil
}

// Sum is the SHA-256 of a file, as Info has it.
func Sum(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return "", fmt.Errorf("%s: %w", path, err)
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// content unpacks what is packed.
func content(f *os.File, info *Info) (io.Reader, error) {
	stat, err := f.Stat()
	if err != nil {
		return nil, err
	}
	info.Modified = stat.ModTime().UTC()
	buffered := bufio.NewReader(f)
	magic, _ := buffered.Peek(4)
	switch {
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}):
		z, err := gzip.NewReader(buffered)
		if err != nil {
			return nil, fmt.Errorf("gzip: %w", err)
		}
		return z, nil
	case bytes.Equal(magic, []byte("PK\x03\x04")):
		z, err := zip.NewReader(f, stat.Size())
		if err != nil {
			return nil, err
		}
		return member(z, info)
	}
	return buffered, nil
}

// member opens the first CSV or text file of an archive.
func member(z *zip.Reader, info *Info) (io.Reader, error) {
	for _, m := range z.File {
		name := strings.ToLower(m.Name)
		if strings.HasSuffix(name, ".csv") || strings.HasSuffix(name, ".txt") {
			info.Member, info.Modified = m.Name, m.Modified.UTC()
			return m.Open()
		}
	}
	return nil, fmt.Errorf("zip: none of its %d files ends in .csv or .txt", len(z.File))
}

// columns says where rank and domain are in a line; rank < 0 where the line's
// place is the rank.
type columns struct {
	rank, domain int
	format       string
}

// Lines are held until so many tell the format, or until one is a header; of
// those that no format fits, so many more.
const (
	settling = 64
	hopeless = 1000
)

// line is one that holds something.
type line struct {
	number int // in the file, from 1
	text   string
	long   bool // cut for its length
}

// scan reads lines. The first ones settle the format.
func scan(r io.Reader, info *Info, each func(Entry) error, fault func(Fault)) error {
	note := func(f Fault) {
		info.Faults[f.Kind]++
		if fault != nil {
			fault(f)
		}
	}
	var form *columns
	place := 0                    // among lines that could hold a domain
	seen := map[uint64]struct{}{} // a hash of each name: 16 bytes a name where the names were 60
	seed := maphash.MakeSeed()
	use := func(l line) error {
		place++
		e, err := form.entry(l.text, place)
		if l.long {
			err = fmt.Errorf("longer than %d bytes", MaxLine)
		}
		if err != nil {
			note(Fault{Kind: Malformed, Line: l.number, Why: err.Error()})
			return nil //nolint:nilerr // the line is passed over
		}
		h := maphash.String(seed, e.Name)
		if _, twice := seen[h]; twice {
			note(Fault{Kind: Duplicate, Line: l.number, Why: e.Name + " was there before"})
			return nil
		}
		if info.Domains == MaxEntries {
			return fmt.Errorf("line %d: more than %d domains", l.number, MaxEntries)
		}
		seen[h] = struct{}{}
		info.Domains++
		return each(e)
	}
	var held []line
	good := 0 // lines of those held that a format fits
	settle := func() error {
		if form == nil {
			form = guess(held)
			info.Format = form.format
		}
		for _, l := range held {
			if err := use(l); err != nil {
				return err
			}
		}
		held = nil
		return nil
	}
	lines := bufio.NewReaderSize(r, MaxLine)
	for n := 1; ; n++ {
		text, long, err := readLine(lines)
		if err != nil && !errors.Is(err, io.EOF) {
			failed := settle()
			note(Fault{Kind: Damaged, Line: n, Why: err.Error()})
			return failed
		}
		if err != nil && len(text) == 0 {
			return settle()
		}
		if n == 1 {
			text = strings.TrimPrefix(text, "\ufeff")
		}
		if text = strings.TrimSpace(text); text == "" || text[0] == '#' {
			continue
		}
		l := line{n, text, long}
		if form != nil {
			if err := use(l); err != nil {
				return err
			}
			continue
		}
		if f, ok := header(text); ok && good == 0 {
			for _, l := range held {
				note(Fault{Kind: Malformed, Line: l.number, Why: "before the line of column names"})
			}
			held = nil
			form, info.Format = f, f.format
			continue
		}
		held = append(held, l)
		if _, ok := formOf(l); ok {
			good++
		}
		if good >= settling || len(held) >= hopeless {
			if err := settle(); err != nil {
				return err
			}
		}
	}
}

// guess is the format that fits most lines.
func guess(lines []line) *columns {
	count := map[*columns]int{}
	for _, l := range lines {
		if f, ok := formOf(l); ok {
			count[f]++
		}
	}
	if count[names] > count[ranked] {
		return names
	}
	return ranked
}

// formOf is the format without a header that fits a line.
func formOf(l line) (form *columns, ok bool) {
	for _, form := range []*columns{ranked, names} {
		if _, err := form.entry(l.text, 1); err == nil && !l.long {
			return form, true
		}
	}
	return nil, false
}

// readLine returns a line without its end, and whether it was cut for its
// length.
func readLine(r *bufio.Reader) (line string, long bool, err error) {
	b, err := r.ReadSlice('\n')
	line = strings.TrimRight(string(b), "\r\n")
	for errors.Is(err, bufio.ErrBufferFull) {
		long = true
		_, err = r.ReadSlice('\n')
	}
	return line, long, err
}

// The formats without a header.
var (
	ranked = &columns{rank: 0, domain: 1, format: "rank,domain"}
	names  = &columns{rank: -1, domain: 0, format: "names"}
)

// header reads a line of column names.
func header(line string) (form *columns, ok bool) {
	form = &columns{rank: -1, domain: -1, format: "columns"}
	for i, cell := range strings.Split(line, ",") {
		switch strings.ToLower(unquote(cell)) {
		case "domain", "origin", "host", "hostname":
			if form.domain < 0 {
				form.domain = i
			}
		case "rank", "globalrank":
			form.rank = i
		}
	}
	return form, form.domain >= 0
}

// shape says what a line should be.
func (c *columns) shape() string {
	if c.format == ranked.format {
		return "a rank, a comma and a domain"
	}
	return fmt.Sprintf("%d columns at least, separated by commas", max(c.rank, c.domain)+1)
}

// entry reads one line, the nth that could hold a domain.
func (c *columns) entry(line string, n int) (Entry, error) {
	cells := strings.Split(line, ",")
	if len(cells) <= max(c.rank, c.domain) {
		return Entry{}, fmt.Errorf("%s: want %s", quote(line), c.shape())
	}
	e := Entry{Rank: n}
	if c.rank >= 0 {
		var err error
		if e.Rank, err = strconv.Atoi(unquote(cells[c.rank])); err != nil || e.Rank < 1 {
			return Entry{}, fmt.Errorf("%s is no rank", quote(cells[c.rank]))
		}
	}
	var err error
	e.Name, err = Name(unquote(cells[c.domain]))
	return e, err
}

func unquote(s string) string { return strings.Trim(strings.TrimSpace(s), `"`) }
