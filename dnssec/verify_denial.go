package dnssec

import (
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
// not among them, with the types that the zone speaks for.
func (v *verification) mustDeny(yield func(name Name, types []uint16, cut bool)) {
	for owner, group := range byOwner(v.sz.sets) {
		if v.below(owner) {
			continue
		}
		cut := v.cuts[owner]
		var types []uint16
		for _, s := range group {
			if s.Type != dns.TypeNSEC3 && (!cut || s.Type == dns.TypeNS || s.Type == dns.TypeDS || s.Type == dns.TypeNSEC) {
				types = append(types, s.Type)
			}
		}
		if len(types) > 0 {
			yield(owner, types, cut)
		}
	}
}

func (v *verification) checkNSEC(chain []RRset) {
	at := 0 // in chain
	v.mustDeny(func(name Name, types []uint16, _ bool) {
		if !slices.Contains(types, dns.TypeNSEC) {
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

// denied is one name of the zone and what its NSEC3 has to say.
type denied struct {
	name     Name
	types    []uint16
	optional bool // under opt-out: an insecure delegation, or an empty non-terminal that only such make
	seen     bool
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
	names := v.hashedNames(denial)
	var records []nsec3Record
	for _, s := range chain {
		if r, ok := v.parseNSEC3(s, d); ok {
			records = append(records, r)
		}
	}
	for i, r := range records {
		next := records[(i+1)%len(records)]
		if r.next != next.hash {
			v.fault(r.owner, dns.TypeNSEC3, "next hash is %s, expected %s", hashText(r.next), hashText(next.hash))
		}
		n := names[r.hash]
		if n == nil {
			v.fault(r.owner, dns.TypeNSEC3, "matches no name of the zone")
			continue
		}
		n.seen = true
		v.checkBitmap(r.owner, dns.TypeNSEC3, n.name, r.bitmap, n.types)
	}
	var missing []Fault
	for hash, n := range names {
		switch {
		case n.seen:
		case !n.optional:
			missing = append(missing, Fault{n.name, dns.TypeNSEC3, "missing: no record for its hash " + hashText(hash)})
		case !coveredOptOut(records, hash):
			missing = append(missing, Fault{n.name, dns.TypeNSEC3, "missing, and the record that covers its hash " + hashText(hash) + " is not opt-out"})
		}
	}
	slices.SortFunc(missing, func(a, b Fault) int { return a.Owner.Compare(b.Owner) })
	v.faults = append(v.faults, missing...)
}

// hashedNames are all names that NSEC3 has to deny, by hash, empty
// non-terminals included.
func (v *verification) hashedNames(d Denial) map[nameHash]*denied {
	all := map[Name]*denied{}
	var order []*denied
	add := func(n *denied) {
		all[n.name] = n
		order = append(order, n)
	}
	v.mustDeny(func(name Name, types []uint16, cut bool) {
		insecure := cut && !slices.Contains(types, dns.TypeDS)
		if !insecure {
			types = append(types, dns.TypeRRSIG)
			slices.Sort(types)
		}
		if n := all[name]; n != nil { // known as the parent of a name before: cannot be, parents come first
			n.types, n.optional = types, insecure
		} else {
			add(&denied{name: name, types: types, optional: insecure})
		}
		for p := name; p != v.sz.apex; {
			p = p.Parent()
			n := all[p]
			if n == nil {
				add(&denied{name: p, optional: insecure})
				continue
			}
			if len(n.types) == 0 && !insecure {
				n.optional = false
				continue
			}
			break
		}
	})
	hashes := make([]nameHash, len(order))
	parallel(len(order), v.o.Threads, func(lo, hi int) {
		var buf []byte
		for i := lo; i < hi; i++ {
			hashes[i], buf = hashName(order[i].name, d, buf)
		}
	})
	byHash := make(map[nameHash]*denied, len(order))
	for i, n := range order {
		byHash[hashes[i]] = n
	}
	return byHash
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

// coveredOptOut reports whether the record that covers the hash allows for
// insecure delegations without a record. records are in order of hashes.
func coveredOptOut(records []nsec3Record, h nameHash) bool {
	if len(records) == 0 {
		return false
	}
	i, _ := slices.BinarySearchFunc(records, h, func(r nsec3Record, h nameHash) int { return slices.Compare(r.hash[:], h[:]) })
	return records[(i+len(records)-1)%len(records)].optOut
}

func hashText(h nameHash) string { return hashEncoding.EncodeToString(h[:]) }
