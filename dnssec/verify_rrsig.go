package dnssec

import (
	"encoding/binary"
	"slices"

	"github.com/miekg/dns"
)

// checkCoverage checks who signed each RRset, and what its RRSIGs say.
func (v *verification) checkCoverage() {
	var sigs []rrsig
	for i, s := range v.sets {
		sigs = v.rrsigs(sigs[:0], i)
		if !v.mustSign(s) {
			for _, g := range sigs {
				v.fault(SignedGlue, s.Owner, s.Type, "signed with key %d, but it is at or below a delegation", g.keyTag)
			}
			continue
		}
		keys := s.Owner == v.apex && isKeyType(s.Type)
		want := v.zonSet
		if keys {
			want = v.keySet
		}
		for _, ref := range want {
			if !slices.ContainsFunc(sigs, func(g rrsig) bool { return (keyRef{g.algorithm, g.keyTag}) == ref }) {
				v.fault(KeyDoesNotSign, s.Owner, s.Type, "not signed with key %d", ref.tag)
			}
		}
		v.checkAlgorithms(s, sigs, want)
		for j := range sigs {
			v.checkSigner(s, &sigs[j], want)
			v.checkFields(s, &sigs[j])
		}
	}
}

// checkAlgorithms wants a signature of each algorithm that the DNSKEY RRset
// has (RFC 4035, section 2.2). Of those of the keys in want, which are missed by
// name, nothing is said again. Without want, checkSelfSigned has the say on the
// DNSKEY RRset itself.
func (v *verification) checkAlgorithms(s RRset, sigs []rrsig, want []keyRef) {
	switch {
	case want == nil && s.Owner == v.apex && s.Type == dns.TypeDNSKEY:
	case want == nil && len(sigs) == 0:
		v.fault(Unsigned, s.Owner, s.Type, "not signed")
	default:
		for _, alg := range v.algs {
			if slices.ContainsFunc(want, func(ref keyRef) bool { return ref.algorithm == alg }) {
				continue
			}
			if !slices.ContainsFunc(sigs, func(g rrsig) bool {
				k := v.keys[keyRef{g.algorithm, g.keyTag}]
				return g.algorithm == alg && k != nil && !k.revoked
			}) {
				v.fault(AlgorithmMissing, s.Owner, s.Type, "not signed by a key of algorithm %d, which the DNSKEY RRset has", alg)
			}
		}
	}
}

// checkSigner checks that a signature is of a key that may make it.
func (v *verification) checkSigner(s RRset, g *rrsig, want []keyRef) {
	ref := keyRef{g.algorithm, g.keyTag}
	k := v.keys[ref]
	switch {
	case len(v.keys) == 0: // said already
	case k == nil && want == nil && !slices.Contains(v.algs, g.algorithm):
		// An algorithm comes with its signatures first and goes with them last
		// (RFC 6781, section 4.1.4).
	case k == nil:
		v.fault(SignedByStranger, s.Owner, s.Type, "signed with key %d, which is not in the DNSKEY RRset", g.keyTag)
	case want != nil && !slices.Contains(want, ref):
		v.fault(SignedByOther, s.Owner, s.Type, "signed with key %d, which does not sign this", g.keyTag)
	case k.revoked && s.Type != dns.TypeDNSKEY:
		v.fault(SignedByRevoked, s.Owner, s.Type, "signed with key %d, which is revoked", g.keyTag)
	}
	if v.o.Canonical && g.algorithm == ECDSAP256SHA256 && len(g.sig) == 64 && g.sig[32:] > string(halfOrder[:]) {
		v.fault(NotCanonical, s.Owner, s.Type, "signature with key %d is not in its canonical form: s is above half the order", g.keyTag)
	}
}

// halfOrder is (n-1)/2 for the order n of P-256 (SEC 2, section 2.4.2).
var halfOrder = [32]byte{
	0x7f, 0xff, 0xff, 0xff, 0x80, 0x00, 0x00, 0x00, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
	0xde, 0x73, 0x7d, 0x56, 0xd3, 0x8b, 0xcf, 0x42, 0x79, 0xdc, 0xe5, 0x61, 0x7e, 0x31, 0x92, 0xa8,
}

// checkFields checks what an RRSIG says of its RRset (RFC 4034, section 3.1),
// and its times. Those are compared as serial numbers are (section 3.1.5).
func (v *verification) checkFields(s RRset, g *rrsig) {
	if want := s.Owner.rrsigLabels(); g.labels != want {
		v.fault(RRSIGLabels, s.Owner, s.Type, "signature with key %d says that its owner has %d labels, expected %d", g.keyTag, g.labels, want)
	}
	if g.original != s.TTL {
		v.fault(RRSIGOriginalTTL, s.Owner, s.Type, "signature with key %d says that the TTL is %d, it is %d", g.keyTag, g.original, s.TTL)
	}
	if g.ttl != s.TTL {
		v.fault(RRSIGTTL, s.Owner, s.Type, "signature with key %d has TTL %d, expected that of its RRset, %d", g.keyTag, g.ttl, s.TTL)
	}
	if g.signer != v.apex {
		v.fault(RRSIGSigner, s.Owner, s.Type, "signature with key %d names %s as its zone", g.keyTag, g.signer)
	}
	at := v.o.At
	outside := func(code FaultCode) {
		v.fault(code, s.Owner, s.Type, "signature with key %d is valid from %s to %s, not at %s", g.keyTag,
			appendTime(nil, g.inception), appendTime(nil, g.expiration), appendTime(nil, at))
	}
	switch {
	case int32(g.expiration-g.inception) < 0:
		v.fault(RRSIGTimes, s.Owner, s.Type, "signature with key %d ends before it begins: it is valid from %s to %s", g.keyTag,
			appendTime(nil, g.inception), appendTime(nil, g.expiration))
	case int32(g.inception-at) > 0:
		outside(RRSIGNotYet)
	case int32(g.expiration-at) <= 0:
		outside(RRSIGExpired)
	case v.o.Warn > 0 && g.expiration-at <= v.o.Warn:
		v.fault(RRSIGSoonExpired, s.Owner, s.Type, "signature with key %d expires at %s", g.keyTag, appendTime(nil, g.expiration))
	}
}

// checkStrays reports the RRSIGs that cover nothing.
func (v *verification) checkStrays() {
	for _, g := range v.strays {
		if g.covered == dns.TypeRRSIG {
			v.fault(RRSIGOfRRSIG, g.owner, dns.TypeRRSIG, "signed with key %d: signatures are not signed (RFC 4035, section 2.2)", g.keyTag)
		} else {
			v.fault(StrayRRSIG, g.owner, g.covered, "signed with key %d, but there is no such RRset", g.keyTag)
		}
	}
}

// appendMessage appends what the signature over s signs (RFC 4034, section
// 3.1.8.1).
func (g *rrsig) appendMessage(dst []byte, s RRset) []byte {
	dst = g.appendHead(dst, s.Type)
	s.TTL = g.original
	return s.appendRecords(dst)
}

// appendHead appends the RRSIG's rdata without the signature itself.
func (g *rrsig) appendHead(dst []byte, covered uint16) []byte {
	dst = binary.BigEndian.AppendUint16(dst, covered)
	dst = append(dst, g.algorithm, g.labels)
	dst = binary.BigEndian.AppendUint32(dst, g.original)
	dst = binary.BigEndian.AppendUint32(dst, g.expiration)
	dst = binary.BigEndian.AppendUint32(dst, g.inception)
	dst = binary.BigEndian.AppendUint16(dst, g.keyTag)
	return append(dst, g.signer...)
}

// checkSignatures verifies all signatures, a share of the RRsets on each CPU.
func (v *verification) checkSignatures() {
	found := len(v.faults)
	parallel(len(v.sets), v.o.Threads, func(lo, hi int) {
		b := batch{v: v, waiting: map[*zoneKey]*waiting{}}
		for i := lo; i < hi; i++ {
			b.addAll(i)
		}
		for key := range b.waiting {
			b.flush(key)
		}
	})
	slices.SortStableFunc(v.faults[found:], func(a, b Fault) int {
		return compareRRsets(RRset{Owner: a.Owner, Type: a.Type}, RRset{Owner: b.Owner, Type: b.Type})
	})
}

// batch gathers the signatures of each key up to a number that is worth a
// call and bounds memory.
type batch struct {
	v       *verification
	buf     []byte
	sigs    []rrsig
	waiting map[*zoneKey]*waiting
}

type waiting struct {
	data     []byte // the messages, end to end
	ends     []int
	messages [][]byte
	sigs     []string
	sets     []int
}

const batchSize = 1024

func (b *batch) addAll(i int) {
	s := b.v.sets[i]
	b.sigs = b.v.rrsigs(b.sigs[:0], i)
	for j := range b.sigs {
		g := &b.sigs[j]
		key := b.v.keys[keyRef{g.algorithm, g.keyTag}]
		if key == nil || key.verifier == nil || g.labels != s.Owner.rrsigLabels() || g.signer != b.v.apex {
			continue // a fault already
		}
		b.buf = g.appendMessage(b.buf[:0], s)
		if b.v.o.Proven != nil && b.v.o.Proven(Check{s.Owner, s.Type, g.algorithm, g.keyTag, g.sig, b.buf}) {
			continue
		}
		if b.v.o.Batch == nil {
			b.one(key, i, b.buf, g.sig)
			continue
		}
		w := b.waiting[key]
		if w == nil {
			w = &waiting{}
			b.waiting[key] = w
		}
		w.data = append(w.data, b.buf...)
		w.ends = append(w.ends, len(w.data))
		w.sigs = append(w.sigs, g.sig)
		w.sets = append(w.sets, i)
		if len(w.sigs) == batchSize {
			b.flush(key)
		}
	}
}

func (b *batch) flush(key *zoneKey) {
	w := b.waiting[key]
	from := 0
	for _, end := range w.ends {
		w.messages = append(w.messages, w.data[from:end])
		from = end
	}
	if bad, ok := b.v.o.Batch(key.rdata, w.messages, w.sigs); ok {
		for _, i := range bad {
			b.bogus(key, w.sets[i])
		}
	} else {
		for i := range w.sigs {
			b.one(key, w.sets[i], w.messages[i], w.sigs[i])
		}
	}
	*w = waiting{data: w.data[:0], ends: w.ends[:0], messages: w.messages[:0], sigs: w.sigs[:0], sets: w.sets[:0]}
}

func (b *batch) one(key *zoneKey, set int, message []byte, sig string) {
	if !key.verifier(message, []byte(sig)) {
		b.bogus(key, set)
	}
}

func (b *batch) bogus(key *zoneKey, set int) {
	s := b.v.sets[set]
	b.v.mu.Lock()
	defer b.v.mu.Unlock()
	b.v.fault(RRSIGBogus, s.Owner, s.Type, "signature with key %d does not verify", keyTag(key.rdata))
}
