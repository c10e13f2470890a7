package dnssec

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/miekg/dns"
)

// ParseZone reads a zone file (RFC 1035, section 5; $GENERATE; RFC 3597).
// origin is the zone's name; file is where r comes from, for errors, and
// $INCLUDE is relative to it; without a file $INCLUDE is refused. An error in
// a record names file and line, an error of the zone as a whole names the
// records. The rules of Builder hold.
func ParseZone(r io.Reader, origin, file string) (*Zone, error) {
	shown := file
	if file == "" {
		shown = "zone"
	} else if abs, err := filepath.Abs(file); err == nil {
		file = abs // miekg/dns cuts the leading slash of included files off
	}
	if _, err := ParseName(origin); err != nil {
		return nil, fmt.Errorf("%s: origin: %w", shown, err)
	}
	at := &place{file: shown}
	b := NewBuilder(origin)
	zp := dns.NewZoneParser(newSource(r, shown, at), dns.Fqdn(origin), file)
	zp.SetIncludeAllowed(file != "")
	zp.SetIncludeFS(includes{at})
	for rr, ok := zp.Next(); ok; rr, ok = zp.Next() {
		if err := b.AddRR(rr); err != nil {
			return nil, fmt.Errorf("%s:%d: %w", at.file, at.line, err)
		}
	}
	if err := zp.Err(); err != nil {
		return nil, fmt.Errorf("%s:%d: %w", at.file, at.line, syntaxError{err})
	}
	z, err := b.Zone()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", shown, err)
	}
	return z, nil
}

// place is where the parser reads.
type place struct {
	file string
	line int
}

// syntaxError leaves out the place that miekg/dns gives: ours counts the
// lines before $GENERATE was written out.
type syntaxError struct{ error }

func (e syntaxError) Error() string {
	s := e.error.Error()
	if i := strings.LastIndex(s, " at line: "); i >= 0 {
		s = s[:i]
	}
	if _, rest, ok := strings.Cut(s, "dns: "); ok {
		return rest
	}
	return s
}

func (e syntaxError) Unwrap() error { return e.error }

// includes opens the files that $INCLUDE names.
type includes struct{ at *place }

func (i includes) Open(name string) (fs.File, error) {
	name = "/" + name
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	return &includedFile{File: f, source: newSource(f, name, i.at)}, nil
}

type includedFile struct {
	*os.File
	source *source
}

func (f *includedFile) Read(b []byte) (int, error) { return f.source.Read(b) }
func (f *includedFile) ReadByte() (byte, error)    { return f.source.ReadByte() }
