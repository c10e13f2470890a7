package dnssec

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/miekg/dns"
)

// ZoneFile is a zone as a file has it, whoever signed it, faults included:
// what ParseZone refuses or makes anew is kept here. It is for looking at:
// Verify, comparing, digests.
type ZoneFile struct {
	apex   Name
	sets   []RRset  // in canonical order, without RRSIGs
	first  []uint32 // sigs[first[i]:first[i+1]] cover sets[i]
	sigs   []rrsig
	strays []strayRRSIG
	noted  []Fault
	rrsigs int // read, repeated ones not counted
}

// ReadZoneFile reads a zone file (RFC 1035, section 5; $GENERATE; RFC 3597),
// its records in any order. origin is the zone's name, and what relative names
// are relative to; empty: the zone is that of the first SOA record, and a
// relative name before any $ORIGIN is an error. file is where r comes from,
// for errors, and $INCLUDE is relative to it; without a file $INCLUDE is
// refused.
//
// An error says that the text is no zone file, and where; what is wrong with
// the zone is found by Verify. Repeated records count once (RFC 2181, section
// 5).
func ReadZoneFile(r io.Reader, origin, file string) (*ZoneFile, error) {
	shown := cmp.Or(file, "zone")
	at := &position{place: place{file: shown}}
	b := &fileBuilder{}
	if origin != "" {
		var err error
		if b.apex, err = ParseName(origin); err != nil {
			return nil, fmt.Errorf("%s: origin: %w", shown, err)
		}
		origin = dns.Fqdn(origin)
	}
	err := eachRecord(r, origin, file, at, func(rr dns.RR) (bool, error) {
		if err := b.add(rr, at.place); err != nil {
			return false, fmt.Errorf("%s %s: %w", clip(rr.Header().Name), TypeName(rr.Header().Rrtype), err)
		}
		return true, nil
	})
	if err != nil {
		return nil, err
	}
	z, err := b.zone()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", shown, err)
	}
	return z, nil
}

// Apex is the zone's name.
func (z *ZoneFile) Apex() Name { return z.apex }

// Serial is the serial of the zone's first SOA record; false: it has none.
func (z *ZoneFile) Serial() (uint32, bool) {
	soa, _ := z.image().soa()
	if soa == "" {
		return 0, false
	}
	return soaSerial(soa), true
}

// Len is how many RRsets there are, RRSIGs not counted.
func (z *ZoneFile) Len() int { return len(z.sets) }

// Signatures is how many RRSIG records there are.
func (z *ZoneFile) Signatures() int { return z.rrsigs }

// Earliest is when the first signature expires, in UNIX seconds; 0 without
// signatures.
func (z *ZoneFile) Earliest() uint32 {
	var first uint32
	for i := range z.sigs {
		if e := z.sigs[i].expiration; first == 0 || int32(e-first) < 0 {
			first = e
		}
	}
	return first
}

// Verify checks the whole zone, as the Verify for zones that we signed does,
// and its content.
func (z *ZoneFile) Verify(o VerifyOptions) []Fault { return z.image().verify(o) }

func (z *ZoneFile) image() *image {
	return &image{apex: z.apex, sets: z.sets, strays: z.strays, noted: slices.Clip(z.noted),
		rrsigs: func(dst []rrsig, i int) []rrsig { return append(dst, z.signaturesAt(i)...) }}
}

func (z *ZoneFile) signaturesAt(i int) []rrsig { return z.sigs[z.first[i]:z.first[i+1]] }

// fileBuilder collects the records of a ZoneFile.
type fileBuilder struct {
	apex    Name // empty until the SOA is there
	records []fileRecord
	rrsigs  []strayRRSIG
	lost    []lostRecord // what is in no zone
	names   arena
	data    arena
	buf     []byte
	last    string // the owner text of the last record, and its name
	lastOwn Name
}

// fileRecord is any record but an RRSIG.
type fileRecord struct {
	owner Name
	rdata string // two bytes of length, then the rdata, as in an RRset
	ttl   uint32
	typ   uint16
}

// lostRecord is a record that is only spoken of.
type lostRecord struct {
	fault Fault
	where place
}

// add takes one record. An error is for what cannot be kept as a record.
func (b *fileBuilder) add(rr dns.RR, at place) error {
	h := rr.Header()
	owner, err := b.owner(h.Name)
	if err != nil {
		return err
	}
	lose := func(code FaultCode, format string, a ...any) error {
		b.lost = append(b.lost, lostRecord{Fault{code, owner, h.Rrtype, fmt.Sprintf(format, a...)}, at})
		return nil
	}
	switch {
	case h.Class != dns.ClassINET:
		return lose(WrongClass, "class %s, expected IN", dns.Class(h.Class))
	case checkType(h.Rrtype) != nil:
		return lose(MetaType, "this type cannot be in a zone")
	case h.Ttl > maxTTL:
		return lose(TTLRange, "TTL %d is over %d (RFC 2181, section 8)", h.Ttl, maxTTL)
	}
	buf, n, err := appendRR(b.buf[:0], rr)
	if err != nil {
		return err
	}
	b.buf = buf
	rdata := buf[n:]
	if b.apex == "" && h.Rrtype == dns.TypeSOA {
		b.apex = owner
	}
	if h.Rrtype == dns.TypeRRSIG {
		return b.addRRSIG(owner, h.Ttl, rdata)
	}
	flat := binary.BigEndian.AppendUint16(make([]byte, 0, 512), uint16(len(rdata)))
	b.records = append(b.records, fileRecord{owner: owner, typ: h.Rrtype, ttl: h.Ttl, rdata: b.data.add(append(flat, rdata...))})
	return nil
}

// owner parses an owner name; records of one owner mostly come together and
// share it.
func (b *fileBuilder) owner(text string) (Name, error) {
	if text == b.last && b.lastOwn != "" {
		return b.lastOwn, nil
	}
	var err error
	if b.buf, err = appendNameText(b.buf[:0], text); err != nil {
		return "", err
	}
	b.last, b.lastOwn = strings.Clone(text), Name(b.names.add(b.buf))
	return b.lastOwn, nil
}

// addRRSIG takes an RRSIG apart (RFC 4034, section 3.1).
func (b *fileBuilder) addRRSIG(owner Name, ttl uint32, d []byte) error {
	const head = 18
	if len(d) < head {
		return errRData
	}
	n, err := wireNameLen(d[head:])
	if err != nil {
		return errRData
	}
	lowerName(d[head : head+n])
	signer := b.apex // one string for all, mostly
	if string(signer) != string(d[head:head+n]) {
		signer = Name(d[head : head+n])
	}
	b.rrsigs = append(b.rrsigs, strayRRSIG{owner, binary.BigEndian.Uint16(d), rrsig{
		ttl: ttl, algorithm: d[2], labels: d[3], original: binary.BigEndian.Uint32(d[4:]),
		expiration: binary.BigEndian.Uint32(d[8:]), inception: binary.BigEndian.Uint32(d[12:]), keyTag: binary.BigEndian.Uint16(d[16:]),
		signer: signer, sig: b.data.add(d[head+n:])}})
	return nil
}

// zone sorts the records, and sorts out those that are in no zone.
func (b *fileBuilder) zone() (*ZoneFile, error) {
	if b.apex == "" {
		return nil, errors.New("no SOA record: which zone is it? the origin was not given either")
	}
	z := &ZoneFile{apex: b.apex}
	for _, l := range b.lost {
		if l.fault.Owner.IsSubdomainOf(b.apex) {
			l.fault.What += fmt.Sprintf(" (%s:%d)", l.where.file, l.where.line)
			z.noted = append(z.noted, l.fault)
		}
	}
	outside := func(owner Name, t uint16) bool {
		if owner.IsSubdomainOf(b.apex) {
			return false
		}
		z.noted = append(z.noted, Fault{OutOfZone, owner, t, "out of zone " + b.apex.String()})
		return true
	}
	b.records = slices.DeleteFunc(b.records, func(r fileRecord) bool { return outside(r.owner, r.typ) })
	b.rrsigs = slices.DeleteFunc(b.rrsigs, func(g strayRRSIG) bool { return outside(g.owner, dns.TypeRRSIG) })
	if len(b.records) == 0 {
		return nil, fmt.Errorf("zone %s has no records", b.apex)
	}
	sortUnlessSorted(b.records, func(x, y fileRecord) int {
		if x.owner != y.owner {
			return x.owner.Compare(y.owner)
		}
		if x.typ != y.typ {
			return int(x.typ) - int(y.typ)
		}
		return strings.Compare(x.rdata[2:], y.rdata[2:])
	})
	sortUnlessSorted(b.rrsigs, func(x, y strayRRSIG) int {
		if x.owner != y.owner {
			return x.owner.Compare(y.owner)
		}
		if x.covered != y.covered {
			return int(x.covered) - int(y.covered)
		}
		return x.rrsig.compare(&y.rrsig)
	})
	if err := z.group(b.records); err != nil {
		return nil, err
	}
	z.cover(b.rrsigs)
	return z, nil
}

func sortUnlessSorted[T any](s []T, cmp func(x, y T) int) {
	if !slices.IsSortedFunc(s, cmp) {
		slices.SortFunc(s, cmp)
	}
}

// group makes RRsets of sorted records.
func (z *ZoneFile) group(records []fileRecord) error {
	var data arena
	var buf []byte
	z.sets = make([]RRset, 0, len(records))
	for i := 0; i < len(records); {
		first := records[i]
		set := RRset{Owner: first.owner, Type: first.typ, TTL: first.ttl, count: 1, rdata: first.rdata}
		buf = append(buf[:0], first.rdata...)
		differs := false
		for i++; i < len(records) && records[i].typ == first.typ && records[i].owner == first.owner; i++ {
			r := records[i]
			differs = differs || r.ttl != set.TTL
			set.TTL = min(set.TTL, r.ttl)
			if r.rdata == records[i-1].rdata {
				continue
			}
			if set.count == 1<<16-1 {
				return fmt.Errorf("%s %s: more than %d records", set.Owner, TypeName(set.Type), set.count)
			}
			set.count++
			buf = append(buf, r.rdata...)
		}
		if set.count > 1 {
			set.rdata = data.add(buf)
		}
		if differs {
			z.noted = append(z.noted, Fault{TTLDiffers, set.Owner, set.Type, fmt.Sprintf("its records have several TTLs, %d the lowest (RFC 2181, section 5.2)", set.TTL)})
		}
		z.sets = append(z.sets, set)
	}
	z.sets = slices.Clip(z.sets)
	return nil
}

// cover gives each RRset the RRSIGs that cover it, of sorted ones.
func (z *ZoneFile) cover(rrsigs []strayRRSIG) {
	z.first = make([]uint32, 0, len(z.sets)+1)
	z.sigs = make([]rrsig, 0, len(rrsigs))
	at := 0
	take := func(upTo func(g *strayRRSIG) int) {
		for ; at < len(rrsigs); at++ {
			g := &rrsigs[at]
			order := upTo(g)
			if order > 0 {
				return
			}
			if at > 0 && g.owner == rrsigs[at-1].owner && g.covered == rrsigs[at-1].covered && g.compare(&rrsigs[at-1].rrsig) == 0 {
				continue
			}
			z.rrsigs++
			if order < 0 {
				z.strays = append(z.strays, *g)
			} else {
				z.sigs = append(z.sigs, g.rrsig)
			}
		}
	}
	for _, s := range z.sets {
		z.first = append(z.first, uint32(len(z.sigs)))
		take(func(g *strayRRSIG) int {
			if g.owner == s.Owner { // mostly
				return int(g.covered) - int(s.Type)
			}
			return g.owner.Compare(s.Owner)
		})
	}
	z.first = append(z.first, uint32(len(z.sigs)))
	take(func(*strayRRSIG) int { return -1 })
}

// compare orders RRSIGs over one RRset as their rdata is.
func (g *rrsig) compare(o *rrsig) int {
	var a, b [18 + maxNameLen]byte
	x, y := g.appendHead(a[:0], 0), o.appendHead(b[:0], 0)
	if c := slices.Compare(x, y); c != 0 {
		return c
	}
	return strings.Compare(g.sig, o.sig)
}
