package dnssec

import (
	"crypto/sha512"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"slices"

	"github.com/miekg/dns"
)

// ZONEMDPolicy says which ZONEMD record the zone publishes, by the names of
// Knot's zonemd-generate.
type ZONEMDPolicy string

// The ZONEMD policies. Both digests are of scheme SIMPLE (RFC 8976, section
// 3.3).
const (
	ZONEMDNone   ZONEMDPolicy = "none"
	ZONEMDSHA384 ZONEMDPolicy = "zonemd-sha384"
	ZONEMDSHA512 ZONEMDPolicy = "zonemd-sha512"
)

const schemeSimple = 1 // RFC 8976, section 5.2

// hash is the number of the policy's hash algorithm (RFC 8976, section 5.3);
// 0: the zone publishes no digest.
func (p ZONEMDPolicy) hash() uint8 {
	switch p {
	case ZONEMDSHA384:
		return 1
	case ZONEMDSHA512:
		return 2
	}
	return 0
}

// Wanted reports whether the zone publishes a ZONEMD record.
func (p ZONEMDPolicy) Wanted() bool { return p.hash() != 0 }

func (p ZONEMDPolicy) validate() error {
	if p != "" && p != ZONEMDNone && !p.Wanted() {
		return fmt.Errorf("unknown ZONEMD policy %q", clip(string(p)))
	}
	return nil
}

// newZoneHash is the hash algorithm of that number; nil: unknown.
func newZoneHash(algorithm uint8) hash.Hash {
	switch algorithm {
	case 1:
		return sha512.New384()
	case 2:
		return sha512.New()
	}
	return nil
}

// zonemdHead is the length of ZONEMD rdata before the digest: serial, scheme,
// hash algorithm (RFC 8976, section 2.2).
const zonemdHead = 4 + 1 + 1

func zonemdRData(serial uint32, algorithm uint8, digest []byte) []byte {
	b := binary.BigEndian.AppendUint32(make([]byte, 0, zonemdHead+len(digest)), serial)
	return append(append(b, schemeSimple, algorithm), digest...)
}

// placeholder is the ZONEMD RRset that a zone has while its digest is not
// known, so that the type is in the bit map of the apex (RFC 8976, section
// 3.1): its digest is all zeros.
func (p ZONEMDPolicy) placeholder(apex Name, ttl, serial uint32, a *arena) RRset {
	zeros := make([]byte, newZoneHash(p.hash()).Size())
	return makeRRset(apex, dns.TypeZONEMD, ttl, a, zonemdRData(serial, p.hash(), zeros))
}

// PlanZONEMD is the plan of what a zone with a ZONEMD record needs when all
// else is signed: the record's digest and its signatures. They cover the
// signatures of draft, which p assembled, and so cannot be planned before. The
// base of that plan is draft; its manifest names draft's digest and the
// record's.
func (p *Plan) PlanZONEMD(draft *SignedZone) (*Plan, error) {
	policy := p.params.ZONEMD
	at, ok := draft.index(draft.apex, dns.TypeZONEMD)
	if !policy.Wanted() || !ok || len(draft.signaturesAt(at)) > 0 {
		return nil, fmt.Errorf("zone %s: no ZONEMD record is to be signed", draft.apex)
	}
	if p.zonemd != nil {
		return nil, errors.New("this plan is for the ZONEMD record already")
	}
	params := p.params
	params.Base = draft
	second := &Plan{params: params, content: p.content, zonemd: draft.zoneDigest(policy.hash())}
	var a arena
	sets := slices.Clone(draft.sets)
	sets[at] = makeRRset(draft.apex, dns.TypeZONEMD, sets[at].TTL, &a, zonemdRData(draft.Serial(), policy.hash(), second.zonemd))

	keys, made := params.blanks(dns.TypeZONEMD)
	first, from := slices.Clone(draft.first), draft.first[at]
	for i := range made {
		// The record lives as long as the SOA of its version does.
		made[i].Expiration = params.Time + params.Lifetime
		second.items = append(second.items, planItem{set: uint32(at), sig: from + uint32(i), key: uint32(keys[i])})
	}
	for i := at + 1; i < len(first); i++ {
		first[i] += uint32(len(made))
	}
	second.signed = SignedZone{apex: draft.apex, sourceSerial: draft.sourceSerial, sets: sets, first: first,
		sigs: slices.Insert(slices.Clone(draft.sigs), int(from), made...)}
	second.init()
	return second, nil
}

// ZONEMDKeyIDs are the ids of the keys that sign the ZONEMD record, in the
// order of Params.Keys; none where none is wanted.
func (p *Plan) ZONEMDKeyIDs() []string {
	if !p.params.ZONEMD.Wanted() {
		return nil
	}
	signers := p.params.signers(dns.TypeZONEMD)
	slices.Sort(signers)
	var ids []string
	for _, i := range signers {
		ids = append(ids, p.params.Keys[i].ID)
	}
	return ids
}

// Draft is the zone as it was before its ZONEMD record was made: with the
// placeholder, which is not signed. A zone without ZONEMD is its own draft.
func (sz *SignedZone) Draft() *SignedZone {
	at, ok := sz.index(sz.apex, dns.TypeZONEMD)
	if !ok {
		return sz
	}
	var a arena
	rdata := []byte(sz.sets[at].first())
	if len(rdata) > zonemdHead {
		clear(rdata[zonemdHead:])
	}
	d := &SignedZone{apex: sz.apex, sourceSerial: sz.sourceSerial, sets: slices.Clone(sz.sets), first: slices.Clone(sz.first)}
	d.sets[at] = makeRRset(sz.apex, dns.TypeZONEMD, sz.sets[at].TTL, &a, rdata)
	from, to := sz.first[at], sz.first[at+1]
	for i := at + 1; i < len(d.first); i++ {
		d.first[i] -= to - from
	}
	d.sigs = slices.Concat(sz.sigs[:from], sz.sigs[to:])
	d.init()
	return d
}

// zoneDigest is the digest of scheme SIMPLE over all records but the apex
// ZONEMD RRset and the RRSIGs that cover it (RFC 8976, section 3.3).
func (sz *SignedZone) zoneDigest(algorithm uint8) []byte {
	h := newZoneHash(algorithm)
	hashSimple(h, sz.apex, sz.sets, func(dst [][]byte, i int) [][]byte {
		s, sigs := sz.sets[i], sz.signaturesAt(i)
		for j := range sigs {
			rdata := appendRRSIGHead(make([]byte, 0, 18+len(sz.apex)+len(sigs[j].Sig)), s, sz.apex, &sigs[j])
			dst = append(dst, append(rdata, sigs[j].Sig...))
		}
		return dst
	})
	return h.Sum(nil)
}

// hashSimple writes the records of a zone to h in the order of RFC 8976,
// section 3.3.2: owner, then type, then rdata. sets are in canonical order;
// signatures appends the rdata of the RRSIGs over sets[i], which are an RRset
// of their own among those of their owner.
func hashSimple(h hash.Hash, apex Name, sets []RRset, signatures func(dst [][]byte, i int) [][]byte) {
	var buf []byte
	type rrsig struct {
		ttl   uint32
		rdata []byte
	}
	var rrsigs []rrsig
	var rdata [][]byte
	writeSignatures := func(owner Name) {
		slices.SortFunc(rrsigs, func(a, b rrsig) int { return slices.Compare(a.rdata, b.rdata) })
		for _, r := range rrsigs {
			buf = appendRecord(buf[:0], owner, dns.TypeRRSIG, r.ttl, r.rdata)
			h.Write(buf)
		}
		rrsigs = rrsigs[:0]
	}
	at := 0
	for owner, group := range byOwner(sets) {
		for i, s := range group {
			if owner == apex && s.Type == dns.TypeZONEMD {
				continue
			}
			rdata = signatures(rdata[:0], at+i)
			for _, d := range rdata {
				rrsigs = append(rrsigs, rrsig{s.TTL, d})
			}
		}
		written := false
		for _, s := range group {
			if s.Type > dns.TypeRRSIG && !written {
				writeSignatures(owner)
				written = true
			}
			if owner == apex && s.Type == dns.TypeZONEMD {
				continue
			}
			buf = s.appendRecords(buf[:0])
			h.Write(buf)
		}
		writeSignatures(owner)
		at += len(group)
	}
}

// checkZONEMD checks the ZONEMD record as RFC 8976, section 4, has it, and
// that it is the one that is wanted.
func (v *verification) checkZONEMD() {
	apex, want := v.sz.apex, v.o.ZONEMD
	set, ok := v.sz.find(apex, dns.TypeZONEMD)
	switch {
	case !ok && want.Wanted():
		v.fault(apex, dns.TypeZONEMD, "missing")
	case ok && want == ZONEMDNone:
		v.fault(apex, dns.TypeZONEMD, "not expected")
	}
	if !ok {
		return
	}
	soa, _ := v.sz.find(apex, dns.TypeSOA)
	if want.Wanted() && set.TTL != soa.TTL {
		v.fault(apex, dns.TypeZONEMD, "TTL %d, expected the SOA's, %d", set.TTL, soa.TTL)
	}
	if want.Wanted() && set.Len() != 1 {
		v.fault(apex, dns.TypeZONEMD, "%d records, expected one", set.Len())
	}
	seen := map[[2]byte]int{}
	for d := range set.RData() {
		if len(d) >= zonemdHead {
			seen[[2]byte{d[4], d[5]}]++
		}
	}
	var wrong []string
	for d := range set.RData() {
		what := v.zonemdFault(d)
		if what == "" && seen[[2]byte{d[4], d[5]}] > 1 {
			what = "another record has the same scheme and hash algorithm"
		}
		if what == "" && want.Wanted() && d[5] != want.hash() {
			what = fmt.Sprintf("hash algorithm %d, expected %d", d[5], want.hash())
		}
		if what == "" {
			return // one that fits is enough
		}
		wrong = append(wrong, what)
	}
	for _, what := range wrong {
		v.fault(apex, dns.TypeZONEMD, "%s", what)
	}
}

// zonemdFault says why a ZONEMD record does not verify the zone; empty: it
// does.
func (v *verification) zonemdFault(rdata string) string {
	if len(rdata) < zonemdHead {
		return "malformed rdata"
	}
	serial, scheme, algorithm := binary.BigEndian.Uint32([]byte(rdata)), rdata[4], rdata[5]
	h := newZoneHash(algorithm)
	switch {
	case scheme != schemeSimple || h == nil:
		return fmt.Sprintf("scheme %d with hash algorithm %d is unknown", scheme, algorithm)
	case serial != v.sz.Serial():
		return fmt.Sprintf("serial %d, expected the SOA's, %d", serial, v.sz.Serial())
	case len(rdata) != zonemdHead+h.Size():
		return fmt.Sprintf("digest of %d bytes, expected %d", len(rdata)-zonemdHead, h.Size())
	case rdata[zonemdHead:] != string(v.sz.zoneDigest(algorithm)):
		return "the digest is not that of the zone"
	}
	return ""
}
