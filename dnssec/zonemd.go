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
func (sz *SignedZone) zoneDigest(algorithm uint8) []byte { return sz.image().zoneDigest(algorithm) }

func (im *image) zoneDigest(algorithm uint8) []byte {
	h := newZoneHash(algorithm)
	im.hashSimple(h)
	return h.Sum(nil)
}

// hashSimple writes the records of a zone to h in the order of RFC 8976,
// section 3.3.2: owner, then type, then rdata. The RRSIGs of an owner are an
// RRset of their own among its others.
func (im *image) hashSimple(h hash.Hash) {
	type record struct {
		ttl   uint32
		rdata []byte
	}
	var buf []byte
	var rrsigs []record
	var sigs []rrsig
	add := func(covered uint16, g *rrsig) {
		rdata := g.appendHead(make([]byte, 0, 18+len(g.signer)+len(g.sig)), covered)
		rrsigs = append(rrsigs, record{g.ttl, append(rdata, g.sig...)})
	}
	writeSignatures := func(owner Name) {
		slices.SortFunc(rrsigs, func(a, b record) int { return slices.Compare(a.rdata, b.rdata) })
		for _, r := range rrsigs {
			buf = appendRecord(buf[:0], owner, dns.TypeRRSIG, r.ttl, r.rdata)
			h.Write(buf)
		}
		rrsigs = rrsigs[:0]
	}
	strays := im.strays
	// straysOf gathers the stray RRSIGs of owner.
	straysOf := func(owner Name) {
		for ; len(strays) > 0 && strays[0].owner == owner; strays = strays[1:] {
			if owner != im.apex || strays[0].covered != dns.TypeZONEMD {
				add(strays[0].covered, &strays[0].rrsig)
			}
		}
	}
	at := 0
	for owner, group := range byOwner(im.sets) {
		for len(strays) > 0 && strays[0].owner.Compare(owner) < 0 {
			lone := strays[0].owner
			straysOf(lone)
			writeSignatures(lone)
		}
		straysOf(owner)
		for i, s := range group {
			if owner == im.apex && s.Type == dns.TypeZONEMD {
				continue
			}
			sigs = im.rrsigs(sigs[:0], at+i)
			for j := range sigs {
				add(s.Type, &sigs[j])
			}
		}
		written := false
		for _, s := range group {
			if s.Type > dns.TypeRRSIG && !written {
				writeSignatures(owner)
				written = true
			}
			if owner == im.apex && s.Type == dns.TypeZONEMD {
				continue
			}
			buf = s.appendRecords(buf[:0])
			h.Write(buf)
		}
		writeSignatures(owner)
		at += len(group)
	}
	for len(strays) > 0 {
		lone := strays[0].owner
		straysOf(lone)
		writeSignatures(lone)
	}
}

// checkZONEMD checks the ZONEMD record as RFC 8976, section 4, has it, and
// that it is the one that is wanted.
func (v *verification) checkZONEMD() {
	apex, want := v.apex, v.o.ZONEMD
	set, ok := v.find(apex, dns.TypeZONEMD)
	switch {
	case !ok && want.Wanted():
		v.fault(ZONEMDMissing, apex, dns.TypeZONEMD, "missing")
	case ok && want == ZONEMDNone:
		v.fault(ZONEMDUnwanted, apex, dns.TypeZONEMD, "not expected")
	}
	if !ok {
		return
	}
	soa, ttl := v.soa()
	if soa == "" {
		return // said already; without it no serial fits
	}
	if (want.Wanted() || !v.ours) && set.TTL != ttl {
		v.fault(ZONEMDTTL, apex, dns.TypeZONEMD, "TTL %d, expected the SOA's, %d", set.TTL, ttl)
	}
	if want.Wanted() && set.Len() != 1 {
		v.fault(ZONEMDSeveral, apex, dns.TypeZONEMD, "%d records, expected one", set.Len())
	}
	seen := map[[2]byte]int{}
	for d := range set.RData() {
		if len(d) >= zonemdHead {
			seen[[2]byte{d[4], d[5]}]++
		}
	}
	var wrong []Fault
	for d := range set.RData() {
		code, what := v.zonemdFault(d, soaSerial(soa))
		if what == "" && seen[[2]byte{d[4], d[5]}] > 1 {
			code, what = ZONEMDRepeated, "another record has the same scheme and hash algorithm"
		}
		if what == "" && want.Wanted() && d[5] != want.hash() {
			code, what = ZONEMDAlgorithm, fmt.Sprintf("hash algorithm %d, expected %d", d[5], want.hash())
		}
		if what == "" {
			return // one that fits is enough
		}
		wrong = append(wrong, Fault{code, apex, dns.TypeZONEMD, what})
	}
	v.faults = append(v.faults, wrong...)
}

// zonemdFault says why a ZONEMD record does not verify the zone of that
// serial; empty: it does.
func (im *image) zonemdFault(rdata string, soaSerial uint32) (FaultCode, string) {
	if len(rdata) < zonemdHead {
		return ZONEMDMalformed, "malformed rdata"
	}
	serial, scheme, algorithm := binary.BigEndian.Uint32([]byte(rdata)), rdata[4], rdata[5]
	h := newZoneHash(algorithm)
	switch {
	case scheme != schemeSimple || h == nil:
		return ZONEMDUnknown, fmt.Sprintf("scheme %d with hash algorithm %d is unknown", scheme, algorithm)
	case serial != soaSerial:
		return ZONEMDSerial, fmt.Sprintf("serial %d, expected the SOA's, %d", serial, soaSerial)
	case len(rdata) != zonemdHead+h.Size():
		return ZONEMDMalformed, fmt.Sprintf("digest of %d bytes, expected %d", len(rdata)-zonemdHead, h.Size())
	case rdata[zonemdHead:] != string(im.zoneDigest(algorithm)):
		return ZONEMDDigest, "the digest is not that of the zone"
	}
	return "", ""
}

// ZoneDigest is what a ZONEMD record says (RFC 8976, section 2.2).
type ZoneDigest struct {
	Serial            uint32
	Scheme, Algorithm uint8
	Digest            []byte
}

// Policy is the policy that wants such a record; none: the scheme or the hash
// algorithm is unknown.
func (d ZoneDigest) Policy() ZONEMDPolicy {
	for _, p := range []ZONEMDPolicy{ZONEMDSHA384, ZONEMDSHA512} {
		if d.Scheme == schemeSimple && d.Algorithm == p.hash() {
			return p
		}
	}
	return ZONEMDNone
}

// String is the rdata in presentation format.
func (d ZoneDigest) String() string {
	return fmt.Sprintf("%d %d %d %x", d.Serial, d.Scheme, d.Algorithm, d.Digest)
}

// ZONEMD is what the ZONEMD records at the apex say; malformed ones are left
// out.
func (z *ZoneFile) ZONEMD() []ZoneDigest {
	set, _ := z.image().find(z.apex, dns.TypeZONEMD)
	var out []ZoneDigest
	for d := range set.RData() {
		if len(d) >= zonemdHead {
			out = append(out, ZoneDigest{binary.BigEndian.Uint32([]byte(d)), d[4], d[5], []byte(d[zonemdHead:])})
		}
	}
	return out
}

// Digest is the digest of the zone as it stands. A scheme or hash algorithm
// that is not known is an error, and so is a zone without SOA.
func (z *ZoneFile) Digest(scheme, algorithm uint8) (ZoneDigest, error) {
	serial, ok := z.Serial()
	switch {
	case scheme != schemeSimple || newZoneHash(algorithm) == nil:
		return ZoneDigest{}, fmt.Errorf("ZONEMD scheme %d with hash algorithm %d is unknown", scheme, algorithm)
	case !ok:
		return ZoneDigest{}, fmt.Errorf("zone %s has no SOA record, so no serial", z.apex)
	}
	return ZoneDigest{serial, scheme, algorithm, z.image().zoneDigest(algorithm)}, nil
}

// PolicyDigest is the Digest that a policy wants; none is an error.
func (z *ZoneFile) PolicyDigest(p ZONEMDPolicy) (ZoneDigest, error) {
	return z.Digest(schemeSimple, p.hash())
}
