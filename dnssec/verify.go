package dnssec

import (
	"fmt"
	"slices"
	"sync"

	"github.com/miekg/dns"
)

// VerifyOptions says what a signed zone is checked against. Keys or Anchors
// must be given, or Unanchored set.
type VerifyOptions struct {
	// Keys are the zone's keys with their states: the DNSKEY RRset must be
	// exactly theirs, and every RRset signed by exactly those that sign it.
	Keys []Key
	// Anchors are the parent's DS rdata, or DNSKEY rdata of keys that are
	// trusted. Without Keys, one of them must sign the DNSKEY RRset, and every
	// other RRset needs a signature by a key in it, of each algorithm in it
	// (RFC 4035, section 2.2).
	Anchors []Anchor
	// Unanchored takes the zone's own DNSKEY RRset for the right one: it says
	// that the zone is whole, not whose it is.
	Unanchored bool
	// At is the time at which the signatures must be valid, UNIX seconds.
	At uint32
	// Warn makes a signature a fault that ends within as many seconds from At.
	Warn uint32
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
	// Batch, when set, verifies many signatures of one key, given by its
	// DNSKEY rdata, at once: it returns the indexes of the false ones. False
	// instead of true says that it does not serve the key, or so few
	// signatures, and Verify checks them itself. It is called from several
	// goroutines.
	Batch func(dnskey []byte, messages [][]byte, sigs []string) (bad []int, ok bool)
}

// Check is one signature that is to be verified.
type Check struct {
	Owner     Name
	Type      uint16
	Algorithm uint8
	KeyTag    uint16
	Signature string
	Message   []byte // what is signed; valid during the call
}

// Verify checks a whole signed zone: that each RRset is signed by the keys
// that have to sign it and nothing else is signed, times, the complete denial
// chain, the zone's digest, and every signature. It lists all faults, in canonical order within
// each kind; none means that the zone may be published. It shares no code of
// decision with NewPlan, so that an error there is found here.
func Verify(sz *SignedZone, o VerifyOptions) []Fault { return sz.image().verify(o) }

// image is a zone as verification sees it, whoever signed it and wherever it
// came from.
type image struct {
	apex Name
	sets []RRset // in canonical order, without RRSIGs
	// rrsigs appends the RRSIGs that cover sets[i].
	rrsigs func(dst []rrsig, i int) []rrsig
	// strays are the RRSIGs that cover no RRset, by owner in canonical order.
	strays []strayRRSIG
	// noted is what was wrong with the records themselves.
	noted []Fault
	// ours says that a Builder has seen the content.
	ours bool
}

// rrsig is an RRSIG record as it stands in a zone (RFC 4034, section 3.1),
// without the type that it covers.
type rrsig struct {
	ttl                   uint32
	algorithm, labels     uint8
	keyTag                uint16
	original              uint32 // TTL
	expiration, inception uint32
	signer                Name
	sig                   string
}

// strayRRSIG is an RRSIG whose RRset is not in the zone.
type strayRRSIG struct {
	owner   Name
	covered uint16
	rrsig
}

// image is the zone for verification.
func (sz *SignedZone) image() *image {
	return &image{apex: sz.apex, sets: sz.sets, ours: true, rrsigs: func(dst []rrsig, i int) []rrsig {
		s, sigs := sz.sets[i], sz.signaturesAt(i)
		for j := range sigs {
			g := &sigs[j]
			dst = append(dst, rrsig{ttl: s.TTL, algorithm: g.Algorithm, labels: s.Owner.rrsigLabels(), keyTag: g.KeyTag,
				original: s.TTL, expiration: g.Expiration, inception: g.Inception, signer: sz.apex, sig: g.Sig})
		}
		return dst
	}}
}

func (im *image) index(owner Name, t uint16) (int, bool) {
	return slices.BinarySearchFunc(im.sets, RRset{Owner: owner, Type: t}, compareRRsets)
}

// find is the RRset of that owner and type; false: the zone has none.
func (im *image) find(owner Name, t uint16) (RRset, bool) {
	i, ok := im.index(owner, t)
	if !ok {
		return RRset{}, false
	}
	return im.sets[i], true
}

// soa is the zone's SOA rdata; empty without one.
func (im *image) soa() (rdata string, ttl uint32) {
	s, _ := im.find(im.apex, dns.TypeSOA)
	return s.first(), s.TTL
}

func (im *image) verify(o VerifyOptions) []Fault {
	v := &verification{image: im, o: o, cuts: map[Name]bool{}, keys: map[keyRef]*zoneKey{}, faults: im.noted}
	v.findCuts()
	v.checkContent()
	if !v.isSigned() {
		v.fault(NotSigned, im.apex, dns.TypeDNSKEY, "the zone is not signed: it has neither DNSKEY nor RRSIG records")
		return v.faults
	}
	v.checkKeys()
	v.checkCoverage()
	v.checkStrays()
	v.checkDenial()
	v.checkZONEMD()
	v.checkSignatures()
	return v.faults
}

type verification struct {
	*image
	o      VerifyOptions
	cuts   map[Name]bool // owners of NS below the apex
	keys   map[keyRef]*zoneKey
	keySet []keyRef // must sign the key RRsets; nil: any key may
	zonSet []keyRef // must sign all others; nil: any key may
	algs   []uint8  // of the DNSKEY RRset, each of which must sign; in order
	mu     sync.Mutex
	faults []Fault
}

func (v *verification) fault(code FaultCode, owner Name, t uint16, format string, a ...any) {
	v.faults = append(v.faults, Fault{code, owner, t, fmt.Sprintf(format, a...)})
}

func (v *verification) findCuts() {
	for _, s := range v.sets {
		if s.Type == dns.TypeNS && s.Owner != v.apex {
			v.cuts[s.Owner] = true
		}
	}
}

// below reports whether a delegation stands strictly above name.
func (v *verification) below(name Name) bool {
	for len(v.cuts) > 0 && len(name) > len(v.apex) {
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

// isSigned reports whether anything in the zone says that it is signed.
func (v *verification) isSigned() bool {
	if _, ok := v.find(v.apex, dns.TypeDNSKEY); ok || v.ours || len(v.strays) > 0 {
		return true
	}
	for i := range v.sets {
		if len(v.rrsigs(nil, i)) > 0 {
			return true
		}
	}
	return false
}
