package dnssec

import (
	"fmt"
	"io"

	"github.com/miekg/dns"
)

// ParseZone reads a zone file (RFC 1035, section 5; $GENERATE; RFC 3597).
// origin is the zone's name; file is where r comes from, for errors, and
// $INCLUDE is relative to it. An error of syntax names file and line, an error
// of the zone as a whole names the records. The rules of Builder hold.
func ParseZone(r io.Reader, origin, file string) (*Zone, error) {
	if _, err := ParseName(origin); err != nil {
		return nil, fmt.Errorf("%s: origin: %w", file, err)
	}
	b := NewBuilder(origin)
	zp := dns.NewZoneParser(r, dns.Fqdn(origin), file)
	zp.SetIncludeAllowed(file != "")
	for rr, ok := zp.Next(); ok; rr, ok = zp.Next() {
		if err := b.AddRR(rr); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
	}
	if err := zp.Err(); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	z, err := b.Zone()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return z, nil
}
