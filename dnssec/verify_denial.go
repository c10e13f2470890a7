package dnssec

import (
	"bytes"
	"slices"

	"github.com/miekg/dns"
)

// checkDenial checks the whole chain of NSEC or NSEC3 records.
func (v *verification) checkDenial() {
	var nsec, nsec3 []RRset
	soa, _ := v.sz.find(v.sz.apex, dns.TypeSOA)
	ttl := min(soa.TTL, soaMinimum(soa.first()))
	for _, s := range v.sz.sets {
		switch s.Type {
		case dns.TypeNSEC:
			nsec = append(nsec, s)
		case dns.TypeNSEC3:
			nsec3 = append(nsec3, s)
		default:
			continue
		}
		if s.TTL != ttl {
			v.fault(s.Owner, s.Type, "TTL %d, expected %d (RFC 9077)", s.TTL, ttl)
		}
		if s.Len() != 1 {
			v.fault(s.Owner, s.Type, "%d records, expected one", s.Len())
		}
	}
	param, ok := v.sz.find(v.sz.apex, dns.TypeNSEC3PARAM)
	switch {
	case !ok && len(nsec3) == 0:
		v.checkNSEC(nsec)
	case len(nsec) > 0:
		v.fault(v.sz.apex, dns.TypeNSEC, "both NSEC and NSEC3 in the zone")
	case !ok:
		v.fault(v.sz.apex, dns.TypeNSEC3PARAM, "missing, but there are NSEC3 records")
	default:
		v.checkNSEC3(param, nsec3)
	}
}

// mustDeny yields the names that the chain has to know, empty non-terminals
// not among them: where their RRsets are, and whether each is a delegation.
func (v *verification) mustDeny(yield func(lo, hi int, cut bool)) {
	sets := v.sz.sets
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
	for _, s := range v.sz.sets[lo:hi] {
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
		name := v.sz.sets[lo].Owner
		if types = v.typesAt(types[:0], lo, hi, cut); !slices.Contains(types, dns.TypeNSEC) {
			v.fault(name, dns.TypeNSEC, "missing: gap in the chain")
			return
		}
		for at < len(chain) && chain[at].Owner != name {
			v.fault(chain[at].Owner, dns.TypeNSEC, "the chain does not know this name")
			at++
		}
		types = append(types, dns.TypeRRSIG)
		slices.Sort(types)
		d := chain[at].first()
		n, err := wireNameLen(d)
		if err != nil {
			v.fault(name, dns.TypeNSEC, "malformed")
			at++
			return
		}
		next := v.sz.apex
		if at+1 < len(chain) {
			next = chain[at+1].Owner
		}
		if got := Name(d[:n]); got != next {
			v.fault(name, dns.TypeNSEC, "next name is %s, expected %s", got, next)
		}
		v.checkBitmap(name, dns.TypeNSEC, name, d[n:], types)
		at++
	})
	for ; at < len(chain); at++ {
		v.fault(chain[at].Owner, dns.TypeNSEC, "the chain does not know this name")
	}
}

func (v *verification) checkBitmap(owner Name, t uint16, name Name, bitmap string, want []uint16) {
	got, ok := parseBitmap(bitmap)
	if !ok {
		v.fault(owner, t, "malformed type bit map")
	} else if !slices.Equal(got, want) {
		v.fault(owner, t, "type bit map of %s has %s, expected %s", name, typeList(got), typeList(want))
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

// nsec3Record is a parsed NSEC3.
type nsec3Record struct {
	owner      Name
	hash, next nameHash
	optOut     bool
	bitmap     string
}

func (v *verification) checkNSEC3(param RRset, chain []RRset) {
	d := param.first()
	if param.Len() != 1 || len(d) < 5 || len(d) != 5+int(d[4]) || d[0] != 1 || d[1] != 0 {
		v.fault(v.sz.apex, dns.TypeNSEC3PARAM, "expected one record with algorithm 1 and flags 0")
		return
	}
	denial := Denial{NSEC3: true, Iterations: uint16(d[2])<<8 | uint16(d[3]), Salt: []byte(d[5:])}
	if denial.Iterations > maxIterations {
		v.fault(v.sz.apex, dns.TypeNSEC3PARAM, "%d iterations, validators accept at most %d", denial.Iterations, maxIterations)
		return
	}
	var records []nsec3Record // in order of their hashes, as their owners are
	for _, s := range chain {
		if r, ok := v.parseNSEC3(s, d); ok {
			records = append(records, r)
		}
	}
	names := v.hashedNames(denial)
	missing := func(n *denied, before int) {
		switch {
		case !n.optional:
			v.fault(n.name, dns.TypeNSEC3, "missing: no record for its hash %s", hashText(n.hash))
		case len(records) == 0 || !records[(before+len(records)-1)%len(records)].optOut:
			v.fault(n.name, dns.TypeNSEC3, "missing, and the record that covers its hash %s is not opt-out", hashText(n.hash))
		}
	}
	at := 0 // in names
	var types []uint16
	for i, r := range records {
		if next := records[(i+1)%len(records)]; r.next != next.hash {
			v.fault(r.owner, dns.TypeNSEC3, "next hash is %s, expected %s", hashText(r.next), hashText(next.hash))
		}
		for ; at < len(names) && bytes.Compare(names[at].hash[:], r.hash[:]) < 0; at++ {
			missing(&names[at], i)
		}
		if at == len(names) || names[at].hash != r.hash {
			v.fault(r.owner, dns.TypeNSEC3, "matches no name of the zone")
			continue
		}
		n := &names[at]
		types = v.typesAt(types[:0], int(n.lo), int(n.hi), n.cut)
		if n.lo < n.hi && !(n.cut && !slices.Contains(types, dns.TypeDS)) {
			types = append(types, dns.TypeRRSIG)
			slices.Sort(types)
		}
		v.checkBitmap(r.owner, dns.TypeNSEC3, n.name, r.bitmap, types)
		at++
	}
	for ; at < len(names); at++ {
		missing(&names[at], len(records))
	}
}

// hashedNames are all names that NSEC3 has to know, empty non-terminals
// included, in order of their hashes.
func (v *verification) hashedNames(d Denial) []denied {
	var names []denied
	var open []int // the last name and its ancestors, by index in names
	v.mustDeny(func(lo, hi int, cut bool) {
		name := v.sz.sets[lo].Owner
		insecure := cut && !slices.ContainsFunc(v.sz.sets[lo:hi], func(s RRset) bool { return s.Type == dns.TypeDS })
		for len(open) > 0 && !name.IsSubdomainOf(names[open[len(open)-1]].name) {
			open = open[:len(open)-1]
		}
		var between []Name // from name upwards
		for p := name; p != v.sz.apex && len(open) > 0; {
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

func (v *verification) parseNSEC3(s RRset, param string) (r nsec3Record, ok bool) {
	bad := func(what string) (nsec3Record, bool) {
		v.fault(s.Owner, dns.TypeNSEC3, "%s", what)
		return r, false
	}
	r.owner = s.Owner
	if s.Owner == v.sz.apex || s.Owner[0] != 32 || s.Owner.Parent() != v.sz.apex {
		return bad("its owner is not a hash below the apex")
	}
	if n, err := hashEncoding.Decode(r.hash[:], []byte(s.Owner[1:33])); err != nil || n != len(r.hash) {
		return bad("its owner is not a hash")
	}
	d := s.first()
	salt := len(param) - 5
	if len(d) < 5+salt+21 || d[0] != 1 || d[1]&^1 != 0 || d[2:5+salt] != param[2:] || d[5+salt] != 20 {
		return bad("its parameters are not those of the NSEC3PARAM record")
	}
	r.optOut = d[1]&1 == 1
	copy(r.next[:], d[6+salt:])
	r.bitmap = d[26+salt:]
	return r, true
}

func hashText(h nameHash) string { return hashEncoding.EncodeToString(h[:]) }
