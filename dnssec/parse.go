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
// $INCLUDE is relative to it; without a file $INCLUDE is refused. Errors
// name file and line as far as a record is to blame. The rules of Builder hold.
func ParseZone(r io.Reader, origin, file string) (*Zone, error) {
	b := NewBuilder(origin)
	if err := b.read(r, origin, file); err != nil {
		return nil, err
	}
	return b.Zone()
}

// FindApex reads a zone file as far as its SOA and returns the name that it is
// for. The file must not have names before that are relative to an origin that
// it does not give.
func FindApex(r io.Reader, file string) (Name, error) {
	var apex Name
	at := &place{file: cmp.Or(file, "zone")}
	err := eachRecord(r, "", file, at, func(rr dns.RR) (bool, error) {
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
		return "", fmt.Errorf("%s: no SOA, expected exactly one", at.file)
	}
	return apex, nil
}

// FindSigned reads a zone file as far as the SOA of the zone apex and an RRSIG
// over it, and reports one that has no such thing.
func FindSigned(r io.Reader, apex Name, file string) error {
	at := &place{file: cmp.Or(file, "zone")}
	var soa, signed bool
	err := eachRecord(r, apex.String(), file, at, func(rr dns.RR) (bool, error) {
		owner, err := ParseName(rr.Header().Name)
		if err != nil {
			return false, err
		}
		g, ok := rr.(*dns.RRSIG)
		signed = signed || ok && owner == apex && g.TypeCovered == dns.TypeSOA
		if rr.Header().Rrtype == dns.TypeSOA {
			if owner != apex {
				return false, fmt.Errorf("the SOA of %s, expected that of %s", owner, apex)
			}
			soa = true
		}
		return !soa || !signed, nil
	})
	switch {
	case err != nil:
		return err
	case !soa:
		return fmt.Errorf("%s: no SOA, expected exactly one", at.file)
	case !signed:
		return fmt.Errorf("%s: its SOA is not signed", at.file)
	}
	return nil
}

// read adds all records of a zone file.
func (b *Builder) read(r io.Reader, origin, file string) error {
	b.at = &place{file: cmp.Or(file, "zone")}
	b.files = []string{b.at.file}
	if _, err := ParseName(origin); err != nil {
		return fmt.Errorf("%s: origin: %w", b.at.file, err)
	}
	return eachRecord(r, dns.Fqdn(origin), file, b.at, func(rr dns.RR) (bool, error) { return true, b.AddRR(rr) })
}

// eachRecord gives each record of a zone file to f, until f says false, with
// its place in at.
func eachRecord(r io.Reader, origin, file string, at *place, f func(dns.RR) (more bool, err error)) error {
	if abs, err := filepath.Abs(file); file != "" && err == nil {
		file = abs // miekg/dns cuts the leading slash of included files off
	}
	zp := dns.NewZoneParser(newSource(r, at.file, at), origin, file)
	zp.SetIncludeAllowed(file != "")
	zp.SetIncludeFS(includes{at})
	for rr, ok := zp.Next(); ok; rr, ok = zp.Next() {
		more, err := f(rr)
		if err != nil {
			return fmt.Errorf("%s:%d: %w", at.file, at.line, err)
		}
		if !more {
			return nil
		}
	}
	if err := zp.Err(); err != nil {
		return fmt.Errorf("%s:%d: %w", at.file, at.line, syntaxError{err})
	}
	return nil
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
