package dnssec

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/miekg/dns"
)

// layout says where the names stand in the rdata of a type whose names are
// made lower case in canonical form (RFC 4034, section 6.2, without NSEC as
// RFC 6840, section 5.1 has it).
type layout struct {
	before int // bytes before the first name
	names  int
	after  int // bytes after the last name
}

var layouts = map[uint16]layout{
	dns.TypeNS: {0, 1, 0}, dns.TypeMD: {0, 1, 0}, dns.TypeMF: {0, 1, 0}, dns.TypeCNAME: {0, 1, 0},
	dns.TypeSOA: {0, 2, 20}, dns.TypeMB: {0, 1, 0}, dns.TypeMG: {0, 1, 0}, dns.TypeMR: {0, 1, 0},
	dns.TypePTR: {0, 1, 0}, dns.TypeMINFO: {0, 2, 0}, dns.TypeMX: {2, 1, 0}, dns.TypeRP: {0, 2, 0},
	dns.TypeAFSDB: {2, 1, 0}, dns.TypeRT: {2, 1, 0}, dns.TypePX: {2, 2, 0}, dns.TypeKX: {2, 1, 0},
	dns.TypeSRV: {6, 1, 0}, dns.TypeDNAME: {0, 1, 0},
}

var errRData = errors.New("malformed rdata")

// canonicalRData checks the form of rdata for the types whose canonical form
// or meaning we depend on, and makes its names lower case, in place.
func canonicalRData(typ uint16, rdata []byte) error {
	if len(rdata) > 65535 {
		return errors.New("rdata longer than 65535 bytes")
	}
	if l, ok := layouts[typ]; ok {
		return lowerNames(rdata, l.before, l.names, l.after)
	}
	switch typ {
	case dns.TypeA:
		return wantLen(rdata, 4)
	case dns.TypeAAAA:
		return wantLen(rdata, 16)
	case dns.TypeTXT:
		return checkStrings(rdata)
	case dns.TypeNAPTR: // order, preference, three character strings, a name
		at := 4
		for range 3 {
			if at >= len(rdata) {
				return errRData
			}
			at += 1 + int(rdata[at])
		}
		return lowerNames(rdata, at, 1, 0)
	case dns.TypeDS:
		if len(rdata) < 5 {
			return errRData
		}
	case dns.TypeDNSKEY:
		if len(rdata) < 5 {
			return errRData
		}
	}
	return nil
}

func lowerNames(rdata []byte, before, names, after int) error {
	at := before
	for range names {
		if at > len(rdata) {
			return errRData
		}
		n, err := wireNameLen(rdata[at:])
		if err != nil {
			return errRData
		}
		lowerName(rdata[at : at+n])
		at += n
	}
	if at+after != len(rdata) {
		return errRData
	}
	return nil
}

func wantLen(b []byte, n int) error {
	if len(b) != n {
		return fmt.Errorf("rdata has %d bytes, expected %d", len(b), n)
	}
	return nil
}

// checkStrings checks one or more character strings that fill b.
func checkStrings(b []byte) error {
	if len(b) == 0 {
		return errRData
	}
	for at := 0; at < len(b); {
		at += 1 + int(b[at])
		if at > len(b) {
			return errRData
		}
	}
	return nil
}

// appendRR appends the canonical owner and then the canonical rdata of rr,
// and returns how long the owner is.
func appendRR(dst []byte, rr dns.RR) ([]byte, int, error) {
	h := rr.Header()
	dst, err := appendNameText(dst, h.Name)
	if err != nil {
		return nil, 0, err
	}
	owner := len(dst)
	var buf [512]byte
	b := buf[:]
	off, err := dns.PackRR(rr, b, 0, nil, false)
	if err != nil {
		b = make([]byte, 1<<16+512)
		if off, err = dns.PackRR(rr, b, 0, nil, false); err != nil {
			return nil, 0, fmt.Errorf("cannot pack: %w", err)
		}
	}
	n, err := wireNameLen(b[:off])
	if err != nil || n+10 > off {
		return nil, 0, errName
	}
	rdata := b[n+10 : off]
	if err := canonicalRData(h.Rrtype, rdata); err != nil {
		return nil, 0, err
	}
	return append(dst, rdata...), owner, nil
}

// appendRDataText reads rdata in presentation format, names absolute, and
// appends its canonical form. Types that make up most of most zones are read
// here; all others, and whatever here looks unusual, by miekg/dns.
func appendRDataText(dst []byte, typ uint16, text string) ([]byte, error) {
	switch typ {
	case dns.TypeA, dns.TypeAAAA:
		if ip, err := netip.ParseAddr(text); err == nil && ip.Is4() == (typ == dns.TypeA) && ip.Zone() == "" {
			return append(dst, ip.AsSlice()...), nil
		}
	case dns.TypeNS, dns.TypeCNAME, dns.TypePTR, dns.TypeDNAME:
		if isToken(text) && text[0] != '\\' && text[0] != '"' && strings.IndexByte(text, ';') < 0 && strings.IndexByte(text, '(') < 0 {
			return appendNameText(dst, text)
		}
	case dns.TypeMX:
		pref, host, ok := strings.Cut(text, " ")
		if n, err := strconv.ParseUint(pref, 10, 16); ok && err == nil && isToken(host) && !strings.ContainsAny(host, `;("\`) {
			return appendNameText(append(dst, byte(n>>8), byte(n)), host)
		}
	case dns.TypeTXT:
		if out, ok := appendQuoted(dst, text); ok {
			return out, nil
		}
	}
	return appendAnyRDataText(dst, typ, text)
}

// appendQuoted reads quoted character strings with single spaces between.
func appendQuoted(dst []byte, text string) ([]byte, bool) {
	for {
		if text == "" || text[0] != '"' {
			return nil, false
		}
		text = text[1:]
		end := strings.IndexAny(text, `"\`)
		if end < 0 || end > 255 || text[end] == '\\' || strings.IndexByte(text[:end], '\n') >= 0 {
			return nil, false
		}
		dst = append(dst, byte(end))
		dst = append(dst, text[:end]...)
		text = text[end+1:]
		if text == "" {
			return dst, true
		}
		if text[0] != ' ' {
			return nil, false
		}
		text = text[1:]
	}
}

func appendAnyRDataText(dst []byte, typ uint16, text string) ([]byte, error) {
	if strings.ContainsAny(text, "\r\n") {
		return nil, errors.New("line break in rdata")
	}
	zp := dns.NewZoneParser(strings.NewReader(". 0 IN "+dns.Type(typ).String()+" "+text+"\n"), ".", "")
	rr, ok := zp.Next()
	if !ok {
		if err := zp.Err(); err != nil {
			return nil, fmt.Errorf("bad rdata %q: %w", clip(text), err)
		}
		return nil, fmt.Errorf("bad rdata %q", clip(text))
	}
	if _, more := zp.Next(); more || rr.Header().Rrtype != typ {
		return nil, fmt.Errorf("bad rdata %q", clip(text))
	}
	start := len(dst)
	dst, owner, err := appendRR(dst, rr)
	if err != nil {
		return nil, err
	}
	return append(dst[:start], dst[owner:]...), nil
}

// parseType reads a type's mnemonic, in any case, or TYPEnnn.
func parseType(text string) (uint16, error) {
	if t, ok := dns.StringToType[text]; ok {
		return t, nil
	}
	up := strings.ToUpper(text)
	if t, ok := dns.StringToType[up]; ok {
		return t, nil
	}
	if num, ok := strings.CutPrefix(up, "TYPE"); ok {
		if n, err := strconv.ParseUint(num, 10, 16); err == nil {
			return uint16(n), nil
		}
	}
	return 0, fmt.Errorf("unknown type %q", clip(text))
}

// checkType refuses types that no zone holds: type 0, OPT, and the meta and
// question types (RFC 6895, section 3.1).
func checkType(t uint16) error {
	if t == 0 || t == dns.TypeOPT || t >= 128 && t <= 255 {
		return fmt.Errorf("type %s cannot be in a zone", TypeName(t))
	}
	return nil
}
