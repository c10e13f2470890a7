package dnssec

import (
	"cmp"
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
	b := NewBuilder(origin)
	shown, err := b.read(r, origin, file)
	if err != nil {
		return nil, err
	}
	z, err := b.Zone()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", shown, err)
	}
	return z, nil
}

// FindApex reads a zone file as far as its SOA and returns the name that it is
// for. The file must not have names before that are relative to an origin that
// it does not give.
func FindApex(r io.Reader, file string) (Name, error) {
	var apex Name
	shown, err := eachRecord(r, "", file, func(rr dns.RR) (bool, error) {
		if rr.Header().Rrtype != dns.TypeSOA {
			return true, nil
		}
		var err error
		apex, err = ParseName(rr.Header().Name)
		return false, err
	})
	if err != nil {
		return "", fmt.Errorf("%w (the zone's name is not known, and $ORIGIN does not stand before it)", err)
	}
	if apex == "" {
		return "", fmt.Errorf("%s: no SOA, expected exactly one", shown)
	}
	return apex, nil
}

// read adds all records of a zone file and returns the file's name for errors.
func (b *Builder) read(r io.Reader, origin, file string) (shown string, err error) {
	if _, err := ParseName(origin); err != nil {
		return "", fmt.Errorf("%s: origin: %w", cmp.Or(file, "zone"), err)
	}
	return eachRecord(r, dns.Fqdn(origin), file, func(rr dns.RR) (bool, error) { return true, b.AddRR(rr) })
}

// eachRecord gives each record of a zone file to f until f says false.
func eachRecord(r io.Reader, origin, file string, f func(dns.RR) (more bool, err error)) (shown string, err error) {
	shown = file
	if file == "" {
		shown = "zone"
	} else if abs, err := filepath.Abs(file); err == nil {
		file = abs // miekg/dns cuts the leading slash of included files off
	}
	at := &place{file: shown}
	zp := dns.NewZoneParser(newSource(r, shown, at), origin, file)
	zp.SetIncludeAllowed(file != "")
	zp.SetIncludeFS(includes{at})
	for rr, ok := zp.Next(); ok; rr, ok = zp.Next() {
		more, err := f(rr)
		if err != nil {
			return shown, fmt.Errorf("%s:%d: %w", at.file, at.line, err)
		}
		if !more {
			return shown, nil
		}
	}
	if err := zp.Err(); err != nil {
		return shown, fmt.Errorf("%s:%d: %w", at.file, at.line, syntaxError{err})
	}
	return shown, nil
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
