package dnssec

import (
	"bytes"
	"cmp"
	"errors"
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
	shown := cmp.Or(file, "zone")
	at := &position{place: place{file: shown}}
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
		return "", fmt.Errorf("%s: no SOA, expected exactly one", shown)
	}
	return apex, nil
}

// FindSigned reads a zone file as far as the SOA of the zone apex and an RRSIG
// over it, and reports one that has no such thing.
func FindSigned(r io.Reader, apex Name, file string) error {
	shown := cmp.Or(file, "zone")
	at := &position{place: place{file: shown}}
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
		return fmt.Errorf("%s: no SOA, expected exactly one", shown)
	case !signed:
		return fmt.Errorf("%s: its SOA is not signed", shown)
	}
	return nil
}

// read adds all records of a zone file.
func (b *Builder) read(r io.Reader, origin, file string) error {
	b.at = &position{place: place{file: cmp.Or(file, "zone")}}
	b.files = []string{b.at.file}
	if _, err := ParseName(origin); err != nil {
		return fmt.Errorf("%s: origin: %w", b.at.file, err)
	}
	return eachRecord(r, dns.Fqdn(origin), file, b.at, func(rr dns.RR) (bool, error) { return true, b.AddRR(rr) })
}

// eachRecord gives each record of a zone file to f, until f says false, with
// its place in at.
func eachRecord(r io.Reader, origin, file string, at *position, f func(dns.RR) (more bool, err error)) error {
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
		return at.syntaxError(err)
	}
	return nil
}

// place is a line of a file.
type place struct {
	file string
	line int
}

// position is where the parser reads.
type position struct {
	place
	text   []byte // of the line, its beginning
	before struct {
		line int
		text []byte
	}
}

// set goes to another line.
func (p *position) set(file string, line int, text []byte) {
	p.before.line, p.before.text, p.text = p.line, p.text, p.before.text
	p.file, p.line = file, line
	p.setText(text)
}

// setText takes a line's text, which may go on after its end.
func (p *position) setText(text []byte) {
	if end := bytes.IndexAny(text, "\r\n"); end >= 0 {
		text = text[:end]
	}
	p.text = append(p.text[:0], text...)
}

// syntaxError says what the parser found, and where.
func (p *position) syntaxError(err error) error {
	var parse *dns.ParseError
	if !errors.As(err, &parse) {
		return fmt.Errorf("%s:%d: %w", p.file, p.line, err)
	}
	what, line, text := syntaxFault(parse), p.line, p.text
	if what == unexpectedNewline { // the parser has looked at the next line
		line, text = p.before.line, p.before.text
	}
	return fmt.Errorf("%s:%d: %s, in %q", p.file, line, what, clip(string(text)))
}

const unexpectedNewline = "unexpected newline"

// syntaxFault says what the parser found. It leaves out the place that
// miekg/dns gives: ours counts the lines before $GENERATE was written out.
func syntaxFault(err *dns.ParseError) string {
	var path *fs.PathError
	if errors.As(err, &path) {
		return "$INCLUDE: " + path.Error()
	}
	_, what, _ := strings.Cut(err.Error(), "dns: ")
	if i := strings.LastIndex(what, " at line: "); i >= 0 {
		what = what[:i]
	}
	what, token, _ := strings.Cut(what, `: "`)
	if what == "not a TTL" {
		what = "expected a TTL, a class or a type"
	}
	switch token = strings.TrimSuffix(token, `"`); token {
	case "", " ", `\n`:
		return what
	}
	return what + `: "` + clip(token) + `"`
}

// includes opens the files that $INCLUDE names.
type includes struct{ at *position }

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
