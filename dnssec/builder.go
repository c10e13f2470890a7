package dnssec

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/miekg/dns"
)

// Builder collects the records of one unsigned zone, in any order.
//
// Records that signing makes anew are left out and counted (Zone.Dropped):
// RRSIG, NSEC, NSEC3 and NSEC3PARAM anywhere, and DNSKEY, CDS, CDNSKEY and
// ZONEMD at the apex. So a zone that was signed elsewhere can be given as it
// is; a foreign DNSKEY that has to stay is a Key in the Params.
type Builder struct {
	// RefuseKeys makes DNSKEY, CDS and CDNSKEY at the apex an error.
	RefuseKeys bool

	apex    Name
	records []record
	dropped map[uint16]int
	names   arena
	data    arena
	buf     []byte
	last    string // the owner text of the last record, and its name
	lastOwn Name

	at    *position // where the record comes from that is being added; nil: from no file
	files []string  // that records came from

	signed bool // the zone is signed: what signing makes is kept, too
	rrsigs []coveringSignature
}

type record struct {
	owner Name
	rdata string
	ttl   uint32
	line  uint32 // in its file; 0: it is from none
	typ   uint16
	file  uint16 // index in Builder.files
}

// NewBuilder makes a builder for the zone named apex. A name that is not
// valid is reported by Zone.
func NewBuilder(apex string) *Builder {
	b := &Builder{dropped: map[uint16]int{}}
	if n, err := ParseName(apex); err == nil {
		b.apex = n
	}
	return b
}

// AddText adds one record in presentation format, as Knot's control socket
// prints it: absolute names, rdata on one line. An error names the record.
func (b *Builder) AddText(owner string, ttl uint32, rrtype, rdata string) error {
	typ, err := parseType(rrtype)
	if err == nil {
		err = checkType(typ)
	}
	var name Name
	if err == nil {
		name, err = b.owner(owner)
	}
	var made bool
	if err == nil {
		made, err = b.isMade(name, typ)
	}
	if err == nil && !made {
		if b.buf, err = appendRDataText(b.buf[:0], typ, rdata); err == nil {
			err = b.add(name, typ, ttl, b.buf)
		}
	}
	if err != nil {
		return fmt.Errorf("%s %s: %w", clip(owner), clip(rrtype), err)
	}
	return nil
}

// AddRR adds one record. An error names it.
func (b *Builder) AddRR(rr dns.RR) error {
	if rr == nil || rr.Header() == nil {
		return errors.New("no record")
	}
	h := rr.Header()
	if err := b.addRR(rr); err != nil {
		return fmt.Errorf("%s %s: %w", clip(h.Name), TypeName(h.Rrtype), err)
	}
	return nil
}

func (b *Builder) addRR(rr dns.RR) error {
	h := rr.Header()
	if h.Class != dns.ClassINET {
		return fmt.Errorf("class %s, expected IN", dns.Class(h.Class))
	}
	if err := checkType(h.Rrtype); err != nil {
		return err
	}
	name, err := b.owner(h.Name)
	if err != nil {
		return err
	}
	if b.signed {
		if sig, ok := rr.(*dns.RRSIG); ok {
			return b.addSignature(name, sig)
		}
	} else if made, err := b.isMade(name, h.Rrtype); made || err != nil {
		return err
	}
	buf, n, err := appendRR(b.buf[:0], rr)
	if err != nil {
		return err
	}
	b.buf = buf
	return b.add(name, h.Rrtype, h.Ttl, buf[n:])
}

// owner parses an owner name; records of one owner mostly come together and
// share it.
func (b *Builder) owner(text string) (Name, error) {
	if text == b.last && b.lastOwn != "" {
		return b.lastOwn, nil
	}
	var err error
	if b.buf, err = appendNameText(b.buf[:0], text); err != nil {
		return "", err
	}
	name := Name(b.names.add(b.buf))
	if b.apex == "" {
		return "", errors.New("the zone's name is not valid")
	}
	if !name.IsSubdomainOf(b.apex) {
		return "", fmt.Errorf("out of zone %s", b.apex)
	}
	b.last, b.lastOwn = strings.Clone(text), name
	return name, nil
}

// isMade reports whether signing makes the record anew, and counts it.
func (b *Builder) isMade(name Name, typ uint16) (bool, error) {
	if !madeBySigning(b.apex, name, typ) {
		return false, nil
	}
	switch typ {
	case dns.TypeDNSKEY, dns.TypeCDS, dns.TypeCDNSKEY:
		if b.RefuseKeys {
			return false, errors.New("not expected in the unsigned zone, it comes from the keys")
		}
	}
	b.dropped[typ]++
	return true, nil
}

func madeBySigning(apex, owner Name, typ uint16) bool {
	switch typ {
	case dns.TypeRRSIG, dns.TypeNSEC, dns.TypeNSEC3, dns.TypeNSEC3PARAM:
		return true
	case dns.TypeDNSKEY, dns.TypeCDS, dns.TypeCDNSKEY, dns.TypeZONEMD:
		return owner == apex
	}
	return false
}

const maxTTL = 1<<31 - 1 // RFC 2181, section 8

func (b *Builder) add(name Name, typ uint16, ttl uint32, rdata []byte) error {
	if ttl > maxTTL {
		return fmt.Errorf("TTL %d is over %d", ttl, maxTTL)
	}
	r := record{owner: name, typ: typ, ttl: ttl, rdata: b.data.add(rdata)}
	if b.at != nil {
		r.line, r.file = uint32(b.at.line), b.fileIndex()
	}
	b.records = append(b.records, r)
	return nil
}

// fileIndex is the index of the current file, which is mostly the last one.
func (b *Builder) fileIndex() uint16 {
	for i := len(b.files) - 1; i >= 0; i-- {
		if b.files[i] == b.at.file {
			return uint16(i)
		}
	}
	if len(b.files) == 1<<16 {
		return 1<<16 - 1
	}
	b.files = append(b.files, b.at.file)
	return uint16(len(b.files) - 1)
}

// where is the place of an RRset's first record for an error, or the file's
// name where there is no such record; empty without a file.
func (b *Builder) where(owner Name, typ uint16) string {
	if b.at == nil {
		return ""
	}
	i, ok := slices.BinarySearchFunc(b.records, record{owner: owner, typ: typ}, func(x, y record) int {
		return compareRRsets(RRset{Owner: x.owner, Type: x.typ}, RRset{Owner: y.owner, Type: y.typ})
	})
	if !ok {
		return b.files[0] + ": "
	}
	return fmt.Sprintf("%s:%d: ", b.files[b.records[i].file], b.records[i].line)
}

// Zone checks the records as a whole and returns the zone. The Builder must
// not be used afterwards. Records of an RRset that differ in TTL get the
// lowest (RFC 2181, section 5.2); repeated records count once. All faults are
// reported together, up to a bound.
func (b *Builder) Zone() (*Zone, error) {
	if b.apex == "" {
		return nil, errors.New("the zone's name is not valid")
	}
	if len(b.records) == 0 {
		where := ""
		if b.at != nil {
			where = b.files[0] + ": "
		}
		return nil, fmt.Errorf("%szone %s has no records", where, b.apex)
	}
	slices.SortFunc(b.records, func(x, y record) int {
		if x.owner != y.owner {
			return x.owner.Compare(y.owner)
		}
		if x.typ != y.typ {
			return int(x.typ) - int(y.typ)
		}
		return strings.Compare(x.rdata, y.rdata)
	})
	errs := faultList{where: b.where}
	var flat arena
	var buf []byte
	var places map[placed]string
	sets := make([]RRset, 0, len(b.records))
	for i := 0; i < len(b.records); {
		first := b.records[i]
		set := RRset{Owner: first.owner, Type: first.typ, TTL: first.ttl}
		buf = buf[:0]
		size, n := messageSize(first.owner), 0
		for j := i; i < len(b.records) && b.records[i].typ == first.typ && b.records[i].owner == first.owner; i++ {
			r := b.records[i]
			set.TTL = min(set.TTL, r.ttl)
			if i > j && r.rdata == b.records[i-1].rdata {
				continue
			}
			n++
			if size += recordSize + len(r.rdata); size <= maxMessage {
				buf = append(buf, byte(len(r.rdata)>>8), byte(len(r.rdata)))
				buf = append(buf, r.rdata...)
			}
		}
		if size > maxMessage {
			errs.add(set.Owner, set.Type, "%w: %d records make one of %d bytes, expected at most %d", ErrTooLarge, n, size, maxMessage)
			continue
		}
		set.count, set.rdata = uint16(n), flat.add(buf)
		sets = append(sets, set)
		if b.at != nil && set.isLarge() {
			if places == nil {
				places = map[placed]string{}
			}
			places[placed{set.Owner, set.Type}] = b.where(set.Owner, set.Type)
		}
	}
	checkContent(b.apex, sets, &errs)
	b.records = nil
	if err := errs.err(); err != nil {
		return nil, err
	}
	z := newZone(b.apex, slices.Clip(sets), maps.Clone(b.dropped))
	z.places = places
	return z, nil
}

// checkContent finds what no zone may have, whatever signs it.
func checkContent(apex Name, sets []RRset, errs *faultList) {
	var soa, ns bool
	var dname Name // the last DNAME's owner
	for owner, group := range byOwner(sets) {
		if dname != "" && owner != dname && owner.IsSubdomainOf(dname) {
			errs.add(owner, group[0].Type, "below the DNAME of %s (RFC 6672, section 2.4)", dname)
		}
		for _, s := range group {
			switch s.Type {
			case dns.TypeSOA:
				soa = soa || owner == apex
				if owner != apex {
					errs.add(owner, s.Type, "not at the apex %s", apex)
				} else if s.Len() > 1 {
					errs.add(owner, s.Type, "%d records, expected exactly one", s.Len())
				}
			case dns.TypeNS:
				ns = ns || owner == apex
			case dns.TypeDS:
				if owner == apex {
					errs.add(owner, s.Type, "at the apex, where it belongs to the parent zone")
				}
			case dns.TypeCNAME:
				switch {
				case s.Len() > 1:
					errs.add(owner, s.Type, "%d records, expected one", s.Len())
				case owner == apex:
					errs.add(owner, s.Type, "at the apex, where SOA and NS stand (RFC 1034, section 3.6.2)")
				case otherTypes(group) != "":
					errs.add(owner, s.Type, "beside other data (%s)", otherTypes(group))
				}
			case dns.TypeDNAME:
				if s.Len() > 1 {
					errs.add(owner, s.Type, "%d records, expected one", s.Len())
				}
				dname = owner
			}
		}
	}
	if !soa {
		errs.add(apex, dns.TypeSOA, "missing, expected exactly one")
	}
	if !ns {
		errs.add(apex, dns.TypeNS, "missing at the apex")
	}
}

// otherTypes are the types that must not stand beside a CNAME (RFC 4035,
// section 2.5).
func otherTypes(group []RRset) string {
	var names []string
	for _, s := range group {
		if s.Type != dns.TypeCNAME && s.Type != dns.TypeNSEC {
			names = append(names, TypeName(s.Type))
		}
	}
	return strings.Join(names, ", ")
}

// byOwner yields each owner with its RRsets.
func byOwner(sets []RRset) func(yield func(Name, []RRset) bool) {
	return func(yield func(Name, []RRset) bool) {
		for i := 0; i < len(sets); {
			j := i + 1
			for j < len(sets) && sets[j].Owner == sets[i].Owner {
				j++
			}
			if !yield(sets[i].Owner, sets[i:j]) {
				return
			}
			i = j
		}
	}
}

// faultList gathers errors of RRsets, up to a bound.
type faultList struct {
	where func(owner Name, typ uint16) string
	errs  []error
	more  int
}

func (l *faultList) add(owner Name, typ uint16, format string, a ...any) {
	if len(l.errs) >= 20 {
		l.more++
		return
	}
	l.errs = append(l.errs, fmt.Errorf("%s%s %s: %w", l.where(owner, typ), owner, TypeName(typ), fmt.Errorf(format, a...)))
}

func (l *faultList) err() error {
	if l.more > 0 {
		return errors.Join(append(l.errs, fmt.Errorf("and %d more", l.more))...)
	}
	return errors.Join(l.errs...)
}
