package dnssec

import (
	"encoding/binary"
	"errors"
	"slices"

	"github.com/miekg/dns"
)

type keyRef struct {
	algorithm uint8
	tag       uint16
}

// zoneKey is a DNSKEY that may sign.
type zoneKey struct {
	rdata    []byte
	verifier verifier // nil: its algorithm is unknown, or it is malformed
	sep      bool     // RFC 4034, section 2.1.1
	revoked  bool     // RFC 5011, section 2.1: signs the DNSKEY RRset alone
}

// The flags of a DNSKEY, in the second byte but the first.
const (
	flagZone   = 1 // of the first byte
	flagSEP    = 1
	flagRevoke = 0x80
)

// checkKeys reads the DNSKEY RRset and works out who has to sign what.
func (v *verification) checkKeys() {
	apex := v.apex
	set, ok := v.find(apex, dns.TypeDNSKEY)
	if !ok {
		v.fault(DNSKEYMissing, apex, dns.TypeDNSKEY, "missing")
		return
	}
	for d := range set.RData() {
		if len(d) < 5 || d[0]&flagZone == 0 || d[2] != 3 {
			v.fault(DNSKEYFlags, apex, dns.TypeDNSKEY, "key %d is not a zone key", keyTag(d))
			continue
		}
		if k := v.addKey(d); k != nil && !k.revoked && !slices.Contains(v.algs, d[3]) {
			v.algs = append(v.algs, d[3])
		}
	}
	slices.Sort(v.algs)
	if len(v.o.Keys) > 0 {
		v.expectKeys(set)
		return
	}
	signers := v.keySigners()
	if !v.o.Unanchored && !slices.ContainsFunc(signers, v.trusted) {
		v.fault(NotTrusted, apex, dns.TypeDNSKEY, "not signed by a trusted key")
	}
	v.checkSelfSigned(signers)
	if !v.ours {
		v.checkCDS()
	}
}

// addKey takes note of a key, given as its DNSKEY rdata, that may sign. It
// returns nil for a second one of the same tag.
func (v *verification) addKey(rdata string) *zoneKey {
	ref := keyRef{rdata[3], keyTag(rdata)}
	ver, err := newVerifier(rdata[3], []byte(rdata[4:]))
	switch {
	case errors.Is(err, errUnknownAlgorithm):
		v.fault(UnknownAlgorithm, v.apex, dns.TypeDNSKEY, "key %d: algorithm %d is not known here: what it signs is not checked", ref.tag, ref.algorithm)
	case err != nil:
		v.fault(DNSKEYMalformed, v.apex, dns.TypeDNSKEY, "key %d: %v", ref.tag, err)
	}
	if v.keys[ref] != nil {
		v.fault(KeyTagShared, v.apex, dns.TypeDNSKEY, "two keys share the tag %d", ref.tag)
		return nil
	}
	k := &zoneKey{rdata: []byte(rdata), verifier: ver, sep: rdata[1]&flagSEP != 0, revoked: rdata[1]&flagRevoke != 0}
	v.keys[ref] = k
	return k
}

// expectKeys wants the DNSKEY RRset to be exactly that of the keys given.
func (v *verification) expectKeys(set RRset) {
	apex := v.apex
	expected := map[string]bool{}
	v.keySet, v.zonSet = []keyRef{}, []keyRef{}
	for i, k := range v.o.Keys {
		d := string(k.DNSKEY())
		switch k.State {
		case Removed:
			continue
		case PreActive, PostActive: // signs without being there
			if !set.has(d) { // else it is a fault below
				v.addKey(d)
			}
		default:
			expected[d] = true
			if !set.has(d) {
				v.fault(KeyExpected, apex, dns.TypeDNSKEY, "key %q (tag %d, %s) is missing", k.ID, k.KeyTag(), k.State)
			}
		}
		ref := keyRef{k.Algorithm, k.KeyTag()}
		if k.signsKeys() {
			v.keySet = append(v.keySet, ref)
		}
		if signsZone(v.o.Keys, i) {
			v.zonSet = append(v.zonSet, ref)
		}
	}
	for d := range set.RData() {
		if !expected[d] {
			v.fault(KeyForeign, apex, dns.TypeDNSKEY, "key with tag %d is not one of ours", keyTag(d))
		}
	}
	if len(v.keySet) == 0 || len(v.zonSet) == 0 {
		v.fault(NoSigningKey, apex, dns.TypeDNSKEY, "no key may sign")
	}
}

// keySigners are the keys of the zone that sign its DNSKEY RRset.
func (v *verification) keySigners() []*zoneKey {
	i, _ := v.index(v.apex, dns.TypeDNSKEY)
	var signers []*zoneKey
	for _, g := range v.rrsigs(nil, i) {
		if k := v.keys[keyRef{g.algorithm, g.keyTag}]; k != nil {
			signers = append(signers, k)
		}
	}
	return signers
}

// trusted reports whether an anchor stands for the key.
func (v *verification) trusted(k *zoneKey) bool {
	return !k.revoked && slices.ContainsFunc(v.o.Anchors, func(a Anchor) bool { return a.matches(v.apex, k.rdata) })
}

// checkSelfSigned wants each algorithm of the DNSKEY RRset to sign it: by a
// key with the SEP flag where it has one and nobody named a trusted key. Keys
// that are revoked have to sign it as well (RFC 5011, section 2.1). Where no key
// is left, no algorithm is either, and no RRset would lack a signature.
func (v *verification) checkSelfSigned(signers []*zoneKey) {
	sep := map[uint8]bool{}
	for ref, k := range v.keys {
		if k.sep && !k.revoked && v.o.Unanchored {
			sep[ref.algorithm] = true
		}
	}
	if len(v.algs) == 0 {
		v.fault(NotSelfSigned, v.apex, dns.TypeDNSKEY, "no key of it may sign the zone: none is a zone key that is not revoked")
	}
	for _, alg := range v.algs {
		signs := slices.ContainsFunc(signers, func(k *zoneKey) bool {
			return !k.revoked && k.rdata[3] == alg && (k.sep || !sep[alg])
		})
		switch {
		case signs:
		case sep[alg]:
			v.fault(NotSelfSigned, v.apex, dns.TypeDNSKEY, "not signed by a key of algorithm %d that has the SEP flag", alg)
		default:
			v.fault(NotSelfSigned, v.apex, dns.TypeDNSKEY, "not signed by a key of algorithm %d", alg)
		}
	}
	set, _ := v.find(v.apex, dns.TypeDNSKEY)
	for d := range set.RData() {
		if len(d) < 5 {
			continue
		}
		if k := v.keys[keyRef{d[3], keyTag(d)}]; k != nil && k.revoked && !slices.Contains(signers, k) {
			v.fault(RevokedUnsigned, v.apex, dns.TypeDNSKEY, "key %d is revoked, and does not sign the DNSKEY RRset", keyTag(d))
		}
	}
}

// checkCDS wants each CDS and CDNSKEY record to be of a key of the zone, or to
// be the one that asks for the DS to be removed (RFC 8078, section 4).
func (v *verification) checkCDS() {
	keys, _ := v.find(v.apex, dns.TypeDNSKEY)
	cds, _ := v.find(v.apex, dns.TypeCDS)
	for d := range cds.RData() {
		if len(d) >= 4 && d[2] == 0 {
			continue
		}
		found := false
		for k := range keys.RData() {
			known := len(d) >= 4 && (d[3] == digestSHA256 || d[3] == digestSHA384)
			found = found || known && Anchor{DS: []byte(d)}.matches(v.apex, []byte(k)) ||
				!known && len(d) >= 4 && binary.BigEndian.Uint16([]byte(d)) == keyTag(k) && len(k) >= 4 && d[2] == k[3]
		}
		if !found {
			v.fault(CDSNoKey, v.apex, dns.TypeCDS, "is of no key of the zone")
		}
	}
	cdnskey, _ := v.find(v.apex, dns.TypeCDNSKEY)
	for d := range cdnskey.RData() {
		if !keys.has(d) && !(len(d) >= 4 && d[3] == 0) {
			v.fault(CDSNoKey, v.apex, dns.TypeCDNSKEY, "is of no key of the zone")
		}
	}
}
