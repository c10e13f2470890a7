// Package knot is both ends of the pipe between Zonesigner and Knot DNS: the
// unsigned zone comes in through a Source (a hidden Knot's control socket, a
// zone file, or a zone transfer), and the signed zone goes out through
// Control.Apply to a public Knot's control socket, as one transaction for each
// version.
//
// Control speaks Knot's control protocol, versions 3.2.6 to 3.5.8, and keeps
// clear of the traps that docs/knot.md lists: it connects, acts and closes; it
// reads a whole reply before it looks at a record; it never leaves a
// transaction open knowingly.
package knot

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Record is one resource record in presentation form, as Knot prints it:
// Owner absolute, Type a mnemonic or TYPEnnn (RFC 3597), Data on one line.
// The class is always IN.
//
// Records that were read together share one backing string: keeping a single
// one of them keeps all. Clone what is kept for long.
type Record struct {
	Owner string
	TTL   uint32 // seconds
	Type  string
	Data  string
}

// String is the record as a line of a zone file.
func (r Record) String() string {
	return r.Owner + " " + strconv.FormatUint(uint64(r.TTL), 10) + " IN " + r.Type + " " + r.Data
}

func (r Record) isSOA() bool { return strings.EqualFold(r.Type, "SOA") }

// soaSerial is the third field of an SOA's data (RFC 1035, section 3.3.13).
func (r Record) soaSerial() (uint32, error) {
	f := strings.Fields(r.Data)
	if len(f) != 7 {
		return 0, fmt.Errorf("soa of %s has %d fields, expected 7", r.Owner, len(f))
	}
	n, err := strconv.ParseUint(f[2], 10, 32)
	if err != nil {
		return 0, fmt.Errorf("soa of %s: serial %q is not a number below 2^32", r.Owner, f[2])
	}
	return uint32(n), nil
}

// check refuses what the control protocol cannot carry or what Knot would
// take for something else: a relative owner is completed with the zone's name.
func (r Record) check(zone string) error {
	owner, zone := strings.ToLower(r.Owner), strings.ToLower(zone)
	inside := zone == "." || owner == zone || strings.HasSuffix(owner, "."+zone)
	switch {
	case !strings.HasSuffix(owner, ".") || strings.HasSuffix(owner, `\.`):
		return fmt.Errorf("record %q: owner is not absolute", r)
	case !inside:
		return fmt.Errorf("record %q: owner is not in zone %s", r, zone)
	case r.Type == "":
		return fmt.Errorf("record %q: no type", r)
	}
	for _, s := range []string{r.Owner, r.Type, r.Data} {
		if len(s) > maxItem {
			return fmt.Errorf("record %s %s: %d bytes in one field, at most %d fit", r.Owner, r.Type, len(s), maxItem)
		}
		if strings.ContainsAny(s, "\x00\n\r") {
			return fmt.Errorf("record %q: a control character in a field", r)
		}
	}
	return nil
}

// Status is what Knot tells of one zone.
type Status struct {
	Zone            string
	Exists          bool // false: the zone is not configured in this Knot
	HasSerial       bool // false: configured, but nothing is loaded or pushed yet
	Serial          uint32
	TransactionOpen bool
}

// Change is what one transaction does to a zone: Remove first, then Add. Add
// holds exactly one SOA, whose serial is ahead of the one served (RFC 1982,
// section 3.2); an SOA in Remove is ignored, since the new one replaces it.
//
// With Full set, Add is the whole zone and Remove is not used: what is served
// is read inside the transaction and only the difference is sent.
type Change struct {
	Remove []Record
	Add    []Record
	Full   bool
}

// SOA is the new SOA's serial.
func (c Change) soa(zone string) (uint32, error) {
	var serial uint32
	n := 0
	for _, r := range c.Add {
		if !r.isSOA() {
			continue
		}
		if !strings.EqualFold(r.Owner, zone) {
			return 0, fmt.Errorf("soa of %s is not at the apex of %s", r.Owner, zone)
		}
		s, err := r.soaSerial()
		if err != nil {
			return 0, err
		}
		serial = s
		n++
	}
	if n != 1 {
		return 0, fmt.Errorf("change of zone %s adds %d soa records, expected 1", zone, n)
	}
	return serial, nil
}

// serialAhead reports whether b comes after a (RFC 1982, section 3.2).
func serialAhead(a, b uint32) bool { return a != b && b-a < 1<<31 }

// canonicalZone is the absolute lower-case form that Knot uses.
func canonicalZone(zone string) string {
	zone = strings.ToLower(zone)
	if !strings.HasSuffix(zone, ".") {
		zone += "."
	}
	return zone
}

var errSlow = errors.New("the reply paused too long and may be cut short")
