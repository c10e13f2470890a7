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

func (f Fault) String() string { return fmt.Sprintf("line %d: %s: %s", f.Line, f.Kind, f.Why) }

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

// scan reads lines. The first one settles the format.
func scan(r io.Reader, info *Info, each func(Entry) error, fault func(Fault)) error {
	note := func(f Fault) {
		info.Faults[f.Kind]++
		if fault != nil {
			fault(f)
		}
	}
	var form *columns
	seen := map[uint64]struct{}{} // a hash of each name: 16 bytes a name where the names were 60
	seed := maphash.MakeSeed()
	lines := bufio.NewReaderSize(r, MaxLine)
	for n := 1; ; n++ {
		line, long, err := readLine(lines)
		if err != nil && !errors.Is(err, io.EOF) {
			note(Fault{Kind: Damaged, Line: n, Why: err.Error()})
			return nil
		}
		if err != nil && len(line) == 0 {
			return nil
		}
		if n == 1 {
			line = strings.TrimPrefix(line, "\ufeff")
		}
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
			continue
		}
		if form == nil {
			var header bool
			form, header = formOf(line)
			info.Format = form.format
			if header {
				continue
			}
		}
		e, why := form.entry(line, n)
		switch {
		case long:
			note(Fault{Kind: Malformed, Line: n, Why: fmt.Sprintf("longer than %d bytes", MaxLine)})
			continue
		case why != nil:
			note(Fault{Kind: Malformed, Line: n, Why: why.Error()})
			continue
		}
		h := maphash.String(seed, e.Name)
		if _, twice := seen[h]; twice {
			note(Fault{Kind: Duplicate, Line: n, Why: e.Name})
			continue
		}
		if info.Domains == MaxEntries {
			return fmt.Errorf("line %d: more than %d domains", n, MaxEntries)
		}
		seen[h] = struct{}{}
		info.Domains++
		if err := each(e); err != nil {
			return err
		}
	}
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

// formOf tells the format by the first line, and whether that is a header.
func formOf(line string) (form *columns, header bool) {
	form = &columns{rank: -1, domain: -1, format: "columns"}
	cells := strings.Split(line, ",")
	for i, cell := range cells {
		switch strings.ToLower(unquote(cell)) {
		case "domain", "origin", "host", "hostname":
			if form.domain < 0 {
				form.domain = i
			}
		case "rank", "globalrank":
			form.rank = i
		}
	}
	switch {
	case form.domain >= 0:
		return form, true
	case len(cells) >= 2:
		return &columns{rank: 0, domain: 1, format: "rank,domain"}, false
	}
	return &columns{rank: -1, domain: 0, format: "names"}, false
}

// entry reads one line, the nth.
func (c *columns) entry(line string, n int) (Entry, error) {
	cells := strings.Split(line, ",")
	if len(cells) <= max(c.rank, c.domain) {
		return Entry{}, fmt.Errorf("%d columns, want %s", len(cells), c.format)
	}
	e := Entry{Rank: n}
	if c.rank >= 0 {
		var err error
		if e.Rank, err = strconv.Atoi(unquote(cells[c.rank])); err != nil || e.Rank < 1 {
			return Entry{}, fmt.Errorf("%s is no rank", strconv.QuoteToASCII(cells[c.rank]))
		}
	}
	var err error
	e.Name, err = Name(unquote(cells[c.domain]))
	return e, err
}

func unquote(s string) string { return strings.Trim(strings.TrimSpace(s), `"`) }
