package dnssec

import (
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/miekg/dns"
)

// Anchor is the rdata of a trusted DS (key tag, algorithm, digest type 2 or 4,
// digest) or DNSKEY.
type Anchor struct {
	DS     []byte
	DNSKEY []byte
}

// ParseAnchors reads the DS and DNSKEY records of zone from a text in the form
// of a zone file, such as BIND's dsset files and the public halves of key
// pairs; TTLs may be left out. DS records of other digest types than 2 and 4
// are passed over. file names r in errors. A record of another zone or type is
// an error, and so is a text without a single anchor.
func ParseAnchors(r io.Reader, zone Name, file string) ([]Anchor, error) {
	zp := dns.NewZoneParser(r, zone.String(), "")
	zp.SetDefaultTTL(0)
	var anchors []Anchor
	for rr, ok := zp.Next(); ok; rr, ok = zp.Next() {
		h := rr.Header()
		buf, n, err := appendRR(nil, rr)
		if err != nil {
			return nil, fmt.Errorf("%s: %s %s: %w", file, clip(h.Name), TypeName(h.Rrtype), err)
		}
		if owner := Name(buf[:n]); owner != zone {
			return nil, fmt.Errorf("%s: %s %s: expected a record of %s", file, owner, TypeName(h.Rrtype), zone)
		}
		switch d := buf[n:]; h.Rrtype {
		case dns.TypeDS:
			if d[3] == digestSHA256 || d[3] == digestSHA384 {
				anchors = append(anchors, Anchor{DS: d})
			}
		case dns.TypeDNSKEY:
			anchors = append(anchors, Anchor{DNSKEY: d})
		default:
			return nil, fmt.Errorf("%s: %s %s: expected DS or DNSKEY", file, zone, TypeName(h.Rrtype))
		}
	}
	if err := zp.Err(); err != nil {
		var parse *dns.ParseError
		if errors.As(err, &parse) {
			err = errors.New(syntaxFault(parse))
		}
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if len(anchors) == 0 {
		return nil, fmt.Errorf("%s: no DNSKEY record, and no DS record of digest type 2 or 4", file)
	}
	return anchors, nil
}

// The digest types of DS records that anchors may have.
const (
	digestSHA256 = 2 // RFC 4509
	digestSHA384 = 4 // RFC 6605
)

// matches reports whether the anchor is, or is of, a DNSKEY of the zone.
func (a Anchor) matches(zone Name, dnskey []byte) bool {
	if len(a.DNSKEY) > 0 {
		return string(a.DNSKEY) == string(dnskey)
	}
	if len(a.DS) < 4 || len(dnskey) < 4 || binary.BigEndian.Uint16(a.DS) != keyTag(dnskey) || a.DS[2] != dnskey[3] {
		return false
	}
	signed := append([]byte(zone), dnskey...)
	switch a.DS[3] {
	case digestSHA256:
		sum := sha256.Sum256(signed)
		return string(a.DS[4:]) == string(sum[:])
	case digestSHA384:
		sum := sha512.Sum384(signed)
		return string(a.DS[4:]) == string(sum[:])
	}
	return false
}
