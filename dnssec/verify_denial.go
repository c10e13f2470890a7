package dnssec

import (
	"bytes"
	"crypto/sha1"
	"maps"
	"slices"

	"github.com/miekg/dns"
)

// checkDenial checks the whole chain of NSEC or NSEC3 records.
func (v *verification) checkDenial() {
	var nsec []RRset
	var nsec3 []uint32 // by index in v.sets
	soa, ttl := v.soa()
	if soa != "" {
		ttl = min(ttl, soaMinimum(soa))
	}
	for i, s := range v.sets {
		switch s.Type {
		case dns.TypeNSEC:
			nsec = append(nsec, s)
		case dns.TypeNSEC3:
			nsec3 = append(nsec3, uint32(i))
		default:
			continue
		}
		if soa != "" && s.TTL != ttl {
			v.fault(DenialTTL, s.Owner, s.Type, "TTL %d, expected %d (RFC 9077)", s.TTL, ttl)
		}
		if s.Len() != 1 {
			v.fault(DenialSeveral, s.Owner, s.Type, "%d records, expected one", s.Len())
		}
	}
	param, ok := v.find(v.apex, dns.TypeNSEC3PARAM)
	if len(nsec) > 0 && (ok || len(nsec3) > 0) {
		v.fault(DenialBoth, v.apex, dns.TypeNSEC, "both NSEC and NSEC3 in the zone")
	}
	switch {
	case ok && len(nsec3) == 0 && len(nsec) == 0:
		v.fault(NSEC3Missing, v.apex, dns.TypeNSEC3, "the zone has no NSEC3 records")
	case ok:
		v.checkNSEC3Chains(param, nsec3)
	case len(nsec3) > 0:
		v.fault(NSEC3NoParam, v.apex, dns.TypeNSEC3PARAM, "missing, but there are NSEC3 records")
	case len(nsec) == 0:
		v.fault(NSECMissing, v.apex, dns.TypeNSEC, "the zone has neither NSEC nor NSEC3 records")
	default:
		v.checkNSEC(nsec)
	}
}

// mustDeny yields the names that the chain has to know, empty non-terminals
// not among them: where their RRsets are, and whether each is a delegation.
func (v *verification) mustDeny(yield func(lo, hi int, cut bool)) {
	sets := v.sets
	for lo, hi := 0, 0; lo < len(sets); lo = hi {
		owner, known := sets[lo].Owner, false
		for hi = lo; hi < len(sets) && sets[hi].Owner == owner; hi++ {
			known = known || sets[hi].Type != dns.TypeNSEC3
		}
		if known && !v.below(owner) {
			yield(lo, hi, v.cuts[owner])
		}
	}
}

// typesAt are the types that the zone speaks for at a name, without RRSIG.
func (v *verification) typesAt(dst []uint16, lo, hi int, cut bool) []uint16 {
	for _, s := range v.sets[lo:hi] {
		if s.Type != dns.TypeNSEC3 && (!cut || s.Type == dns.TypeNS || s.Type == dns.TypeDS || s.Type == dns.TypeNSEC) {
			dst = append(dst, s.Type)
		}
	}
	return dst
}

func (v *verification) checkNSEC(chain []RRset) {
	at := 0 // in chain
	var types []uint16
	v.mustDeny(func(lo, hi int, cut bool) {
		name := v.sets[lo].Owner
		if types = v.typesAt(types[:0], lo, hi, cut); !slices.Contains(types, dns.TypeNSEC) {
			v.fault(NSECMissing, name, dns.TypeNSEC, "missing: gap in the chain")
			return
		}
		for at < len(chain) && chain[at].Owner != name {
			v.fault(NSECStray, chain[at].Owner, dns.TypeNSEC, "the chain does not know this name")
			at++
		}
		types = append(types, dns.TypeRRSIG)
		slices.Sort(types)
		d := chain[at].first()
		n, err := wireNameLen(d)
		if err != nil {
			v.fault(NSECMalformed, name, dns.TypeNSEC, "malformed")
			at++
			return
		}
		next := v.apex
		if at+1 < len(chain) {
			next = chain[at+1].Owner
		}
		if got := lowerCase(d[:n]); got != next {
			v.fault(NSECNext, name, dns.TypeNSEC, "next name is %s, expected %s", got, next)
		}
		v.checkBitmap(name, dns.TypeNSEC, name, d[n:], types)
		at++
	})
	for ; at < len(chain); at++ {
		v.fault(NSECStray, chain[at].Owner, dns.TypeNSEC, "the chain does not know this name")
	}
}

// lowerCase is a name in canonical form. Signers leave capital letters in
// NSEC records, where they are signed as they stand (RFC 6840, section 5.1).
func lowerCase(wire string) Name {
	for i := range len(wire) {
		if wire[i] != lower(wire[i]) {
			b := []byte(wire)
			lowerName(b)
			return Name(b)
		}
	}
	return Name(wire)
}

func (v *verification) checkBitmap(owner Name, t uint16, name Name, bitmap string, want []uint16) {
	malformed, differs := NSECMalformed, NSECBitmap
	if t == dns.TypeNSEC3 {
		malformed, differs = NSEC3Malformed, NSEC3Bitmap
	}
	var buf [16]uint16
	got, ok := parseBitmap(buf[:0], bitmap)
	if !ok {
		v.fault(malformed, owner, t, "malformed type bit map")
	} else if !slices.Equal(got, want) {
		v.fault(differs, owner, t, "type bit map of %s has %s, expected %s", name, typeList(got), typeList(want))
	}
}

func typeList(types []uint16) string {
	if len(types) == 0 {
		return "nothing"
	}
	var b []byte
	for i, t := range types {
		if i > 0 {
			b = append(b, ' ')
		}
		b = appendTypeName(b, t)
	}
	return string(b)
}

// denied is one name of the zone that NSEC3 has to know.
type denied struct {
	name     Name
	hash     nameHash
	lo, hi   uint32 // its RRsets; none at an empty non-terminal
	cut      bool
	optional bool // under opt-out: an insecure delegation, or an empty non-terminal that only such make
}

// nsec3Record is an NSEC3 whose form is right. It is small: of a large zone
// there are as many as names.
type nsec3Record struct {
	set  uint32   // its index in verification.sets
	hash nameHash // of its owner
}

// nsec3Data is the rdata of an NSEC3 whose form is right.
type nsec3Data string

// param is as in NSEC3PARAM, from the iterations on.
func (d nsec3Data) param() string  { return string(d[2 : 5+d.salt()]) }
func (d nsec3Data) optOut() bool   { return d[1]&1 == 1 }
func (d nsec3Data) bitmap() string { return string(d[6+sha1.Size+d.salt():]) }
func (d nsec3Data) salt() int      { return int(d[4]) }

func (d nsec3Data) next() (h nameHash) {
	copy(h[:], d[6+d.salt():])
	return h
}

func (v *verification) nsec3Data(r nsec3Record) nsec3Data { return nsec3Data(v.sets[r.set].first()) }

// checkNSEC3Chains checks the chain of each NSEC3PARAM record: there may be
// two while the salt changes (RFC 5155, section 10.4).
func (v *verification) checkNSEC3Chains(param RRset, chain []uint32) {
	byParam := map[string][]nsec3Record{} // in order of their hashes, as their owners are
	for d := range param.RData() {
		if len(d) < 5 || len(d) != 5+int(d[4]) || d[0] != 1 || d[1] != 0 {
			v.fault(NSEC3ParamForm, v.apex, dns.TypeNSEC3PARAM, "expected algorithm 1 and flags 0")
			continue
		}
		byParam[d[2:]] = make([]nsec3Record, 0, len(chain)) // mostly all are of one
	}
	if len(byParam) == 0 {
		return
	}
	for _, i := range chain {
		r, ok := v.parseNSEC3(i)
		if !ok {
			continue
		}
		d := v.nsec3Data(r)
		of, known := byParam[d.param()]
		if !known {
			v.fault(NSEC3Parameters, v.sets[i].Owner, dns.TypeNSEC3, "its parameters are not those of an NSEC3PARAM record")
			continue
		}
		byParam[d.param()] = append(of, r)
	}
	for _, d := range slices.Sorted(maps.Keys(byParam)) {
		v.checkNSEC3(Denial{NSEC3: true, Iterations: uint16(d[0])<<8 | uint16(d[1]), Salt: []byte(d[3:])}, byParam[d])
	}
}

func (v *verification) checkNSEC3(denial Denial, records []nsec3Record) {
	if denial.Iterations > maxIterations {
		v.fault(NSEC3Iterations, v.apex, dns.TypeNSEC3PARAM, "%d iterations, validators accept at most %d", denial.Iterations, maxIterations)
		return
	}
	names := v.hashedNames(denial)
	missing := func(n *denied, before int) {
		switch {
		case !n.optional && n.lo == n.hi:
			v.fault(NSEC3EmptyMissing, n.name, dns.TypeNSEC3, "missing: no record for the hash %s of this empty non-terminal", hashText(n.hash))
		case !n.optional:
			v.fault(NSEC3Missing, n.name, dns.TypeNSEC3, "missing: no record for its hash %s", hashText(n.hash))
		case len(records) == 0 || !v.nsec3Data(records[(before+len(records)-1)%len(records)]).optOut():
			v.fault(NSEC3NoOptOut, n.name, dns.TypeNSEC3, "missing, and the record that covers its hash %s is not opt-out", hashText(n.hash))
		}
	}
	at := 0 // in names
	var types []uint16
	for i, r := range records {
		owner, d := v.sets[r.set].Owner, v.nsec3Data(r)
		if next := records[(i+1)%len(records)]; d.next() != next.hash {
			v.fault(NSEC3Next, owner, dns.TypeNSEC3, "next hash is %s, expected %s", hashText(d.next()), hashText(next.hash))
		}
		for ; at < len(names) && bytes.Compare(names[at].hash[:], r.hash[:]) < 0; at++ {
			missing(&names[at], i)
		}
		if at == len(names) || names[at].hash != r.hash {
			v.fault(NSEC3Stray, owner, dns.TypeNSEC3, "matches no name of the zone")
			continue
		}
		n := &names[at]
		types = v.typesAt(types[:0], int(n.lo), int(n.hi), n.cut)
		if n.lo < n.hi && !(n.cut && !slices.Contains(types, dns.TypeDS)) {
			types = append(types, dns.TypeRRSIG)
			slices.Sort(types)
		}
		v.checkBitmap(owner, dns.TypeNSEC3, n.name, d.bitmap(), types)
		at++
	}
	for ; at < len(names); at++ {
		missing(&names[at], len(records))
	}
}

// hashedNames are all names that NSEC3 has to know, empty non-terminals
// included, in order of their hashes.
func (v *verification) hashedNames(d Denial) []denied {
	owners := 0
	for i, s := range v.sets {
		if s.Type != dns.TypeNSEC3 && (i == 0 || s.Owner != v.sets[i-1].Owner) {
			owners++
		}
	}
	names := make([]denied, 0, owners)
	var open []int // the last name and its ancestors, by index in names
	v.mustDeny(func(lo, hi int, cut bool) {
		name := v.sets[lo].Owner
		insecure := cut && !slices.ContainsFunc(v.sets[lo:hi], func(s RRset) bool { return s.Type == dns.TypeDS })
		for len(open) > 0 && !name.IsSubdomainOf(names[open[len(open)-1]].name) {
			open = open[:len(open)-1]
		}
		var between []Name // from name upwards
		for p := name; p != v.apex && len(open) > 0; {
			if p = p.Parent(); p == names[open[len(open)-1]].name {
				break
			}
			between = append(between, p)
		}
		for _, p := range slices.Backward(between) {
			open = append(open, len(names))
			names = append(names, denied{name: p, optional: true})
		}
		open = append(open, len(names))
		names = append(names, denied{name: name, lo: uint32(lo), hi: uint32(hi), cut: cut, optional: true})
		if !insecure {
			for _, i := range open {
				names[i].optional = false
			}
		}
	})
	parallel(len(names), v.o.Threads, func(lo, hi int) {
		var buf []byte
		for i := lo; i < hi; i++ {
			names[i].hash, buf = hashName(names[i].name, d, buf)
		}
	})
	slices.SortFunc(names, func(a, b denied) int { return bytes.Compare(a.hash[:], b.hash[:]) })
	return names
}

// parseNSEC3 checks the form of the NSEC3 at that index of v.sets.
func (v *verification) parseNSEC3(at uint32) (r nsec3Record, ok bool) {
	s := v.sets[at]
	bad := func(code FaultCode, what string) (nsec3Record, bool) {
		v.fault(code, s.Owner, dns.TypeNSEC3, "%s", what)
		return r, false
	}
	r.set = at
	if s.Owner == v.apex || s.Owner[0] != 32 || s.Owner.Parent() != v.apex {
		return bad(NSEC3Owner, "its owner is not a hash below the apex")
	}
	if n, err := hashEncoding.Decode(r.hash[:], []byte(s.Owner[1:33])); err != nil || n != len(r.hash) {
		return bad(NSEC3Owner, "its owner is not a hash")
	}
	d := s.first()
	if len(d) < 5 {
		return bad(NSEC3Malformed, "malformed")
	}
	salt := int(d[4])
	if len(d) < 5+salt+1+sha1.Size || d[5+salt] != sha1.Size {
		return bad(NSEC3Malformed, "malformed")
	}
	if d[0] != 1 || d[1]&^1 != 0 {
		return bad(NSEC3Parameters, "expected hash algorithm 1, and no flag but opt-out")
	}
	return r, true
}

func hashText(h nameHash) string { return hashEncoding.EncodeToString(h[:]) }
