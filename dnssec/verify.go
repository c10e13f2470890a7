package dnssec

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"sync"

	"github.com/miekg/dns"
)

// VerifyOptions says what a signed zone is checked against. Keys or Anchors
// must be given.
type VerifyOptions struct {
	// Keys are the zone's keys with their states: the DNSKEY RRset must be
	// exactly theirs, and every RRset signed by exactly those that sign it.
	Keys []Key
	// Anchors are the parent's DS rdata, or DNSKEY rdata of keys that are
	// trusted. Without Keys, one of them must sign the DNSKEY RRset, and every
	// RRset needs a valid signature by a key in it of each of its algorithms
	// (RFC 4035, section 2.2). Signatures of algorithms that it does not have
	// are left alone: those of a new one come before its keys, and those of an
	// old one go after them (RFC 6781, section 4.1.4).
	Anchors []Anchor
	// At is the time at which the signatures must be valid, UNIX seconds.
	At uint32
	// Canonical makes a signature of algorithm 13 whose s is above half the
	// group's order a fault. To (r, s) there is (r, -s), which is as valid and
	// which anybody can make: our signers give the smaller s, so that nobody
	// else can make a second form of a zone that they signed. Other signers
	// give either.
	Canonical bool
	// ZONEMD is the ZONEMD record that the zone must have; none: it must not
	// have one. Empty: one that is there must verify (RFC 8976, section 4).
	ZONEMD ZONEMDPolicy
	// Threads bounds how many CPUs verify; 0: all.
	Threads int
	// Proven, when set, is asked before each signature is verified; true says
	// that the caller knows it to be valid for exactly this message and key.
	// It is called from several goroutines.
	Proven func(c Check) bool
	// Batch, when set, verifies many signatures of one key at once. An error
	// makes Verify check them one by one, so that the false ones are named.
	// It is called from several goroutines.
	Batch func(dnskey []byte, messages [][]byte, sigs [][64]byte) error
}

// Anchor is the rdata of a trusted DS (key tag, algorithm, digest type 2,
// digest) or DNSKEY.
type Anchor struct {
	DS     []byte
	DNSKEY []byte
}

// Check is one signature that is to be verified.
type Check struct {
	Owner     Name
	Type      uint16
	Signature Signature
	Message   []byte // what is signed; valid during the call
}

// Fault is one thing that is wrong with a signed zone.
type Fault struct {
	Owner Name
	Type  uint16
	What  string
}

func (f Fault) String() string { return f.Owner.String() + " " + TypeName(f.Type) + ": " + f.What }

// Verify checks a whole signed zone: that each RRset is signed by the keys
// that have to sign it and nothing else is signed, times, the complete denial
// chain, the zone's digest, and every signature. It lists all faults, in canonical order within
// each kind; none means that the zone may be published. It shares no code of
// decision with NewPlan, so that an error there is found here.
func Verify(sz *SignedZone, o VerifyOptions) []Fault {
	v := &verification{sz: sz, o: o, cuts: map[Name]bool{}, keys: map[keyRef]*zoneKey{}}
	v.findCuts()
	v.checkKeys()
	v.checkCoverage()
	v.checkDenial()
	v.checkZONEMD()
	v.checkSignatures()
	return v.faults
}

type keyRef struct {
	algorithm uint8
	tag       uint16
}

type zoneKey struct {
	rdata    []byte
	verifier verifier
}

type verification struct {
	sz     *SignedZone
	o      VerifyOptions
	cuts   map[Name]bool // owners of NS below the apex
	keys   map[keyRef]*zoneKey
	keySet []keyRef // must sign the key RRsets; nil: any key may
	zonSet []keyRef // must sign all others; nil: any key may
	algs   []uint8  // in the DNSKEY RRset, each once
	mu     sync.Mutex
	faults []Fault
}

func (v *verification) fault(owner Name, t uint16, format string, a ...any) {
	v.faults = append(v.faults, Fault{owner, t, fmt.Sprintf(format, a...)})
}

func (v *verification) findCuts() {
	for _, s := range v.sz.sets {
		if s.Type == dns.TypeNS && s.Owner != v.sz.apex {
			v.cuts[s.Owner] = true
		}
	}
}

// below reports whether a delegation stands strictly above name.
func (v *verification) below(name Name) bool {
	for len(v.cuts) > 0 && len(name) > len(v.sz.apex) {
		if name = name.Parent(); v.cuts[name] {
			return true
		}
	}
	return false
}

// mustSign reports whether the zone signs the RRset.
func (v *verification) mustSign(s RRset) bool {
	if s.Type == dns.TypeNSEC3 {
		return true
	}
	if v.cuts[s.Owner] && s.Type != dns.TypeDS && s.Type != dns.TypeNSEC {
		return false
	}
	return !v.below(s.Owner)
}

// checkKeys reads the DNSKEY RRset and works out who has to sign what.
func (v *verification) checkKeys() {
	apex := v.sz.apex
	set, ok := v.sz.find(apex, dns.TypeDNSKEY)
	if !ok {
		v.fault(apex, dns.TypeDNSKEY, "missing")
		return
	}
	for d := range set.RData() {
		if len(d) < 5 || d[0] != 1 || d[2] != 3 {
			v.fault(apex, dns.TypeDNSKEY, "key %d is not a zone key", keyTag(d))
			continue
		}
		if v.addKey(d) && !slices.Contains(v.algs, d[3]) {
			v.algs = append(v.algs, d[3])
		}
	}
	if len(v.o.Keys) > 0 {
		v.expectKeys(set)
		return
	}
	v.anchored(set)
}

// addKey takes note of a key, given as its DNSKEY rdata, that signs.
func (v *verification) addKey(rdata string) bool {
	ref := keyRef{rdata[3], keyTag(rdata)}
	ver, err := newVerifier(rdata[3], []byte(rdata[4:]))
	if err != nil {
		v.fault(v.sz.apex, dns.TypeDNSKEY, "key %d: %v", ref.tag, err)
		return false
	}
	if v.keys[ref] != nil {
		v.fault(v.sz.apex, dns.TypeDNSKEY, "two keys share the tag %d", ref.tag)
	}
	v.keys[ref] = &zoneKey{[]byte(rdata), ver}
	return true
}

func (v *verification) expectKeys(set RRset) {
	apex := v.sz.apex
	expected := map[string]bool{}
	v.keySet, v.zonSet = []keyRef{}, []keyRef{}
	for i, k := range v.o.Keys {
		d := string(k.DNSKEY())
		switch k.State {
		case Removed:
			continue
		case PreActive, PostActive:
			if !set.has(d) { // else it is a fault below
				v.addKey(d)
			}
		default:
			expected[d] = true
			if !set.has(d) {
				v.fault(apex, dns.TypeDNSKEY, "key %q (tag %d, %s) is missing", k.ID, k.KeyTag(), k.State)
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
			v.fault(apex, dns.TypeDNSKEY, "key with tag %d is not one of ours", keyTag(d))
		}
	}
	if len(v.keySet) == 0 || len(v.zonSet) == 0 {
		v.fault(apex, dns.TypeDNSKEY, "no key may sign")
	}
}

// anchored checks that a trusted key signs the DNSKEY RRset.
func (v *verification) anchored(set RRset) {
	i, _ := v.sz.index(v.sz.apex, dns.TypeDNSKEY)
	for _, g := range v.sz.signaturesAt(i) {
		k := v.keys[keyRef{g.Algorithm, g.KeyTag}]
		if k == nil {
			continue
		}
		for _, a := range v.o.Anchors {
			if a.matches(v.sz.apex, k.rdata) {
				return
			}
		}
	}
	v.fault(v.sz.apex, dns.TypeDNSKEY, "not signed by a trusted key")
}

func (a Anchor) matches(apex Name, dnskey []byte) bool {
	if len(a.DNSKEY) > 0 {
		return string(a.DNSKEY) == string(dnskey)
	}
	sum := sha256.Sum256(append([]byte(apex), dnskey...))
	return len(a.DS) == 36 && binary.BigEndian.Uint16(a.DS) == keyTag(dnskey) && a.DS[2] == dnskey[3] && a.DS[3] == 2 &&
		string(a.DS[4:]) == string(sum[:])
}

// checkCoverage checks who signed each RRset, and when.
func (v *verification) checkCoverage() {
	for i, s := range v.sz.sets {
		sigs := v.sz.signaturesAt(i)
		if !v.mustSign(s) {
			for _, g := range sigs {
				v.fault(s.Owner, s.Type, "signed with key %d, but it is at or below a delegation", g.KeyTag)
			}
			continue
		}
		want := v.zonSet
		if s.Owner == v.sz.apex && (s.Type == dns.TypeDNSKEY || s.Type == dns.TypeCDS || s.Type == dns.TypeCDNSKEY) {
			want = v.keySet
		}
		for _, ref := range want {
			if !slices.ContainsFunc(sigs, func(g Signature) bool { return (keyRef{g.Algorithm, g.KeyTag}) == ref }) {
				v.fault(s.Owner, s.Type, "not signed with key %d", ref.tag)
			}
		}
		v.checkAlgorithms(s, sigs, want)
		for _, g := range sigs {
			ref := keyRef{g.Algorithm, g.KeyTag}
			switch {
			case v.keys[ref] == nil && want == nil && !slices.Contains(v.algs, g.Algorithm):
			case v.keys[ref] == nil:
				v.fault(s.Owner, s.Type, "signed with key %d, which is not in the DNSKEY RRset", g.KeyTag)
			case want != nil && !slices.Contains(want, ref):
				v.fault(s.Owner, s.Type, "signed with key %d, which does not sign this", g.KeyTag)
			}
			v.checkTimes(s, g)
			if v.o.Canonical && g.Algorithm == ECDSAP256SHA256 && bytes.Compare(g.Sig[32:], halfOrder[:]) > 0 {
				v.fault(s.Owner, s.Type, "signature with key %d is not in its canonical form: s is above half the order", g.KeyTag)
			}
		}
	}
}

// checkAlgorithms checks that an RRset has a signature of each algorithm in the
// DNSKEY RRset (RFC 4035, section 2.2). Of those of the keys in want, which are
// missed by name, nothing is said again.
func (v *verification) checkAlgorithms(s RRset, sigs []Signature, want []keyRef) {
	if want == nil && len(sigs) == 0 {
		v.fault(s.Owner, s.Type, "not signed")
		return
	}
	for _, a := range v.algs {
		by := func(g Signature) bool { return g.Algorithm == a && v.keys[keyRef{a, g.KeyTag}] != nil }
		if !slices.ContainsFunc(want, func(ref keyRef) bool { return ref.algorithm == a }) && !slices.ContainsFunc(sigs, by) {
			v.fault(s.Owner, s.Type, "not signed with algorithm %d, of which there is a key in the DNSKEY RRset", a)
		}
	}
}

// halfOrder is (n-1)/2 for the order n of P-256 (SEC 2, section 2.4.2).
var halfOrder = [32]byte{
	0x7f, 0xff, 0xff, 0xff, 0x80, 0x00, 0x00, 0x00, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
	0xde, 0x73, 0x7d, 0x56, 0xd3, 0x8b, 0xcf, 0x42, 0x79, 0xdc, 0xe5, 0x61, 0x7e, 0x31, 0x92, 0xa8,
}

func (v *verification) checkTimes(s RRset, g Signature) {
	if at := v.o.At; g.Inception > at || g.Expiration <= at {
		v.fault(s.Owner, s.Type, "signature with key %d is valid from %s to %s, not at %s", g.KeyTag,
			appendTime(nil, g.Inception), appendTime(nil, g.Expiration), appendTime(nil, at))
	}
}

// checkSignatures verifies all signatures, a share of the RRsets on each CPU.
func (v *verification) checkSignatures() {
	found := len(v.faults)
	parallel(len(v.sz.sets), v.o.Threads, func(lo, hi int) {
		b := batch{v: v, waiting: map[keyRef]*waiting{}}
		for i := lo; i < hi; i++ {
			b.addAll(i)
		}
		for ref := range b.waiting {
			b.flush(ref)
		}
	})
	slices.SortFunc(v.faults[found:], func(a, b Fault) int {
		return compareRRsets(RRset{Owner: a.Owner, Type: a.Type}, RRset{Owner: b.Owner, Type: b.Type})
	})
}

// batch gathers the signatures of each key up to a number that is worth a
// call and bounds memory.
type batch struct {
	v       *verification
	buf     []byte
	waiting map[keyRef]*waiting
}

type waiting struct {
	messages [][]byte
	sigs     [][64]byte
	sets     []int
}

const batchSize = 1024

func (b *batch) addAll(i int) {
	s := b.v.sz.sets[i]
	for _, g := range b.v.sz.signaturesAt(i) {
		ref := keyRef{g.Algorithm, g.KeyTag}
		key := b.v.keys[ref]
		if key == nil {
			continue // a fault already
		}
		b.buf = b.v.sz.appendMessage(b.buf[:0], s, &g)
		if b.v.o.Proven != nil && b.v.o.Proven(Check{s.Owner, s.Type, g, b.buf}) {
			continue
		}
		if b.v.o.Batch == nil {
			b.one(key, i, g.KeyTag, b.buf, &g.Sig)
			continue
		}
		w := b.waiting[ref]
		if w == nil {
			w = &waiting{}
			b.waiting[ref] = w
		}
		w.messages = append(w.messages, slices.Clone(b.buf))
		w.sigs = append(w.sigs, g.Sig)
		w.sets = append(w.sets, i)
		if len(w.sigs) == batchSize {
			b.flush(ref)
		}
	}
}

func (b *batch) flush(ref keyRef) {
	w, key := b.waiting[ref], b.v.keys[ref]
	if len(w.sigs) > 0 && b.v.o.Batch(key.rdata, w.messages, w.sigs) != nil {
		for i := range w.sigs {
			b.one(key, w.sets[i], ref.tag, w.messages[i], &w.sigs[i])
		}
	}
	*w = waiting{}
}

func (b *batch) one(key *zoneKey, set int, tag uint16, message []byte, sig *[64]byte) {
	if key.verifier.verify(message, sig) {
		return
	}
	s := b.v.sz.sets[set]
	b.v.mu.Lock()
	defer b.v.mu.Unlock()
	b.v.fault(s.Owner, s.Type, "signature with key %d does not verify", tag)
}
