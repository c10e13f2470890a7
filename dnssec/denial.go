package dnssec

import (
	"bytes"
	"crypto/sha1"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/miekg/dns"
)

// Denial is how the zone proves what it does not have: NSEC (RFC 4034), or
// NSEC3 (RFC 5155), with RFC 9276's advice: no salt and 0 iterations.
type Denial struct {
	NSEC3      bool
	OptOut     bool   // with NSEC3: insecure delegations get no record
	Iterations uint16 // with NSEC3: at most 50, what validators still accept
	Salt       []byte // with NSEC3: at most 255 bytes
}

const maxIterations = 50

func (d Denial) validate() error {
	switch {
	case !d.NSEC3 && (d.OptOut || d.Iterations != 0 || len(d.Salt) != 0):
		return fmt.Errorf("denial: opt-out, iterations and salt belong to NSEC3")
	case d.Iterations > maxIterations:
		return fmt.Errorf("denial: %d iterations, validators accept at most %d", d.Iterations, maxIterations)
	case len(d.Salt) > 255:
		return fmt.Errorf("denial: salt has %d bytes, at most 255 fit", len(d.Salt))
	}
	return nil
}

// node is one owner name's place in the zone.
type node struct {
	lo, hi uint32 // its RRsets
	kind   nodeKind
	secure bool // a delegation with DS
}

type nodeKind uint8

const (
	authoritative nodeKind = iota
	delegation             // NS below the apex: the zone signs DS alone
	occluded               // below a delegation: glue and what else stands there
)

// nodes sorts out the owners of sets, which are in canonical order.
func nodes(apex Name, sets []RRset) []node {
	out := make([]node, 0, len(sets)/2+1)
	eachNode(apex, sets, func(n node) { out = append(out, n) })
	return out
}

// eachNode gives the owners of sets in canonical order.
func eachNode(apex Name, sets []RRset, f func(n node)) {
	var cut Name
	for i := 0; i < len(sets); {
		owner := sets[i].Owner
		n := node{lo: uint32(i)}
		var ns bool
		for ; i < len(sets) && sets[i].Owner == owner; i++ {
			ns = ns || sets[i].Type == dns.TypeNS
			n.secure = n.secure || sets[i].Type == dns.TypeDS
		}
		n.hi = uint32(i)
		switch {
		case cut != "" && owner.IsSubdomainOf(cut):
			n.kind = occluded
		case ns && owner != apex:
			n.kind = delegation
			cut = owner
		}
		f(n)
	}
}

// isSigned reports whether an RRset of that type is signed at a node. NSEC3
// owners share their name with no node, but by chance or malice, and NSEC3 is
// always signed.
func (k nodeKind) isSigned(t uint16) bool {
	switch {
	case t == dns.TypeNSEC3:
		return true
	case k == occluded:
		return false
	case k == delegation:
		return t == dns.TypeDS || t == dns.TypeNSEC
	}
	return true
}

// types appends the types that the bit map of a node lists, without RRSIG and
// NSEC.
func (n node) types(dst []uint16, sets []RRset) []uint16 {
	for _, s := range sets[n.lo:n.hi] {
		if n.kind == authoritative || s.Type == dns.TypeNS || s.Type == dns.TypeDS {
			dst = append(dst, s.Type)
		}
	}
	return dst
}

// nsecChain makes the NSEC RRsets for sets (RFC 4034, section 4), in order.
func nsecChain(apex Name, sets []RRset, ns []node, ttl uint32) []RRset {
	var data arena
	chain := make([]RRset, 0, len(ns))
	ns = slices.Clone(ns)
	ns = slices.DeleteFunc(ns, func(n node) bool { return n.kind == occluded })
	var types []uint16
	var buf []byte
	for i, n := range ns {
		next := apex
		if i+1 < len(ns) {
			next = sets[ns[i+1].lo].Owner
		}
		types = append(n.types(types[:0], sets), dns.TypeRRSIG, dns.TypeNSEC)
		slices.Sort(types)
		buf = append(buf[:0], 0, 0)
		buf = append(buf, next...)
		buf = appendBitmap(buf, types)
		chain = append(chain, oneRecord(sets[n.lo].Owner, dns.TypeNSEC, ttl, buf, &data))
	}
	return chain
}

// oneRecord makes an RRset of one record from buf: two bytes that are
// overwritten with the length, then the rdata.
func oneRecord(owner Name, typ uint16, ttl uint32, buf []byte, data *arena) RRset {
	binary.BigEndian.PutUint16(buf, uint16(len(buf)-2))
	return RRset{Owner: owner, Type: typ, TTL: ttl, count: 1, rdata: data.add(buf)}
}

type nameHash [sha1.Size]byte

// hashName is the hash of RFC 5155, section 5. buf is scratch space.
func hashName(name Name, d Denial, buf []byte) (nameHash, []byte) {
	buf = append(buf[:0], name...)
	buf = append(buf, d.Salt...)
	h := sha1.Sum(buf)
	for range d.Iterations {
		buf = append(buf[:0], h[:]...)
		buf = append(buf, d.Salt...)
		h = sha1.Sum(buf)
	}
	return h, buf
}

// hashOwner is the owner name of the NSEC3 with that hash.
func hashOwner(h nameHash, apex Name, buf []byte) []byte {
	buf = append(buf[:0], byte(hashEncoding.EncodedLen(len(h))))
	buf = hashEncoding.AppendEncode(buf, h[:])
	return append(buf, apex...)
}

// nsec3Chain makes the NSEC3 RRsets for sets (RFC 5155, section 7.1), in
// order of their hashes, which is the canonical order of their owners. Empty
// non-terminals get a record, except under opt-out those that only insecure
// delegations make.
func nsec3Chain(apex Name, sets []RRset, ns []node, d Denial, ttl uint32) ([]RRset, error) {
	if len(apex)+33 > maxNameLen {
		return nil, fmt.Errorf("zone %s: its name is too long for NSEC3 owners", apex)
	}
	type entry struct { // small: they are sorted
		hash nameHash
		node int32 // index in ns, or, complemented, in empty
	}
	var empty []Name // the empty non-terminals
	nameOf := func(e entry) Name {
		if e.node < 0 {
			return empty[^e.node]
		}
		return sets[ns[e.node].lo].Owner
	}
	entries := make([]entry, 0, len(ns))
	prev := apex
	for i, n := range ns {
		if n.kind == occluded || d.OptOut && n.kind == delegation && !n.secure {
			continue
		}
		name := sets[n.lo].Owner
		depth := name.commonLabels(prev)
		for p := name.Parent(); p.Labels() > depth && name != apex; p = p.Parent() {
			entries = append(entries, entry{node: ^int32(len(empty))})
			empty = append(empty, p)
		}
		entries = append(entries, entry{node: int32(i)})
		prev = name
	}
	parallel(len(entries), 0, func(lo, hi int) {
		var buf []byte
		for i := lo; i < hi; i++ {
			entries[i].hash, buf = hashName(nameOf(entries[i]), d, buf)
		}
	})
	slices.SortFunc(entries, func(a, b entry) int { return bytes.Compare(a.hash[:], b.hash[:]) })

	var names, data arena
	var types []uint16
	var buf []byte
	var flags byte
	if d.OptOut {
		flags = 1
	}
	chain := make([]RRset, 0, len(entries))
	for i, e := range entries {
		next := entries[(i+1)%len(entries)].hash
		if next == e.hash && len(entries) > 1 {
			return nil, fmt.Errorf("%s and %s have the same NSEC3 hash, choose another salt", nameOf(e), nameOf(entries[(i+1)%len(entries)]))
		}
		buf = hashOwner(e.hash, apex, buf)
		owner := Name(names.add(buf))
		buf = append(buf[:0], 0, 0, 1, flags, byte(d.Iterations>>8), byte(d.Iterations), byte(len(d.Salt)))
		buf = append(buf, d.Salt...)
		buf = append(buf, sha1.Size)
		buf = append(buf, next[:]...)
		if e.node >= 0 {
			n := ns[e.node]
			types = n.types(types[:0], sets)
			if n.kind == authoritative || n.secure {
				types = append(types, dns.TypeRRSIG)
				slices.Sort(types)
			}
			buf = appendBitmap(buf, types)
		}
		chain = append(chain, oneRecord(owner, dns.TypeNSEC3, ttl, buf, &data))
	}
	return chain, nil
}

// nsec3param is the rdata of the apex NSEC3PARAM; its flags are always 0 (RFC
// 5155, section 4.1.2).
func (d Denial) nsec3param() []byte {
	b := []byte{1, 0, byte(d.Iterations >> 8), byte(d.Iterations), byte(len(d.Salt))}
	return append(b, d.Salt...)
}
