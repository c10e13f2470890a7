package dnssec

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/miekg/dns"
)

// CDSPolicy says which CDS and CDNSKEY records the zone publishes, by the
// names of Knot's cds-cdnskey-publish.
type CDSPolicy string

// The CDS policies.
const (
	CDSNone     CDSPolicy = "none"
	CDSRollover CDSPolicy = "rollover"      // of KSKs that are ready
	CDSAlways   CDSPolicy = "always"        // of KSKs that are ready or active; while one is ready, of that alone
	CDSDelete   CDSPolicy = "delete-dnssec" // asks the parent to remove the DS (RFC 8078)
)

// Params is all that a plan depends on beside the content. Operators that
// hold the same content and the same Params derive the same plan.
type Params struct {
	Keys   []Key
	Denial Denial
	CDS    CDSPolicy    // empty: none
	ZONEMD ZONEMDPolicy // empty: none

	Time      uint32 // T, the agreed time, in UNIX seconds
	Inception uint32 // of new signatures, in UNIX seconds; 0: an hour before T
	Lifetime  uint32 // of a signature from T to expiration, in seconds
	NoJitter  bool   // all new signatures expire together
	Refresh   uint32 // a signature that has no more than this left is made anew, in seconds
	DNSKEYTTL uint32 // of DNSKEY, CDS and CDNSKEY, in seconds; 0: the SOA's TTL
	Serial    uint32 // of the signed zone

	Base *SignedZone // what is published now, its signatures verified; nil: nothing
}

// inceptionOffset is how long before T signatures begin, for clocks that are
// behind.
const inceptionOffset = 3600

func (p Params) validate() error {
	if len(p.Keys) == 0 || len(p.Keys) > 64 {
		return fmt.Errorf("%d keys, expected 1 to 64", len(p.Keys))
	}
	type tagged struct {
		alg uint8
		tag uint16
	}
	ids, tags := map[string]bool{}, map[tagged]string{}
	for _, k := range p.Keys {
		if err := k.Validate(); err != nil {
			return err
		}
		if ids[k.ID] {
			return fmt.Errorf("key %q is named twice", k.ID)
		}
		ids[k.ID] = true
		t := tagged{k.Algorithm, k.KeyTag()}
		if k.State == Removed {
			continue
		}
		if o, ok := tags[t]; ok {
			return fmt.Errorf("keys %q and %q share the key tag %d", o, k.ID, t.tag)
		}
		tags[t] = k.ID
	}
	if len(p.signers(dns.TypeDNSKEY)) == 0 {
		return errors.New("no key signs the DNSKEY RRset: none with flags 257 is ready, active or retire-active")
	}
	if len(p.signers(dns.TypeSOA)) == 0 {
		return errors.New("no key signs the zone: no ZSK or CSK is active")
	}
	if lacking := unsigning(p.Keys); len(lacking) > 0 {
		return fmt.Errorf("the DNSKEY RRset has keys of algorithm %d, which has to sign every RRset (RFC 4035, section 2.2): it needs a KSK and a ZSK, or a CSK, that sign", lacking[0])
	}
	switch p.CDS {
	case "", CDSNone, CDSRollover, CDSAlways, CDSDelete:
	default:
		return fmt.Errorf("unknown CDS policy %q", clip(string(p.CDS)))
	}
	if err := p.ZONEMD.validate(); err != nil {
		return err
	}
	switch {
	case p.Time < inceptionOffset:
		return fmt.Errorf("time %d is too early", p.Time)
	case p.Inception > p.Time:
		return fmt.Errorf("inception %d is after the time %d", p.Inception, p.Time)
	case p.Lifetime == 0 || p.Refresh >= p.Lifetime:
		return fmt.Errorf("refresh %d s must be below the lifetime of %d s", p.Refresh, p.Lifetime)
	case uint64(p.Time)+uint64(p.Lifetime) > 1<<32-1:
		return fmt.Errorf("signatures until %d end after 2106", uint64(p.Time)+uint64(p.Lifetime))
	case p.DNSKEYTTL > maxTTL:
		return fmt.Errorf("DNSKEY TTL %d is over %d", p.DNSKEYTTL, maxTTL)
	}
	return p.Denial.validate()
}

// signers are the indexes of the keys that sign RRsets of a type, ordered by
// algorithm and key tag.
func (p Params) signers(t uint16) []int {
	var out []int
	for i, k := range p.Keys {
		if isKeyType(t) && k.signsKeys() || !isKeyType(t) && signsZone(p.Keys, i) {
			out = append(out, i)
		}
	}
	slices.SortFunc(out, func(a, b int) int {
		x, y := p.Keys[a], p.Keys[b]
		return cmp.Or(cmp.Compare(x.Algorithm, y.Algorithm), cmp.Compare(x.KeyTag(), y.KeyTag()))
	})
	return out
}

// blanks are the keys that sign RRsets of a type, and a signature of each that
// lacks its expiration and itself.
func (p Params) blanks(t uint16) (keys []int, blank []Signature) {
	keys = p.signers(t)
	blank = make([]Signature, len(keys))
	for i, k := range keys {
		blank[i] = p.blank(p.Keys[k])
	}
	return keys, blank
}

// blank is a signature of key without its expiration and itself.
func (p Params) blank(key Key) Signature {
	g := Signature{Algorithm: key.Algorithm, KeyTag: key.KeyTag(), Inception: p.Inception}
	if g.Inception == 0 {
		g.Inception = p.Time - inceptionOffset
	}
	return g
}

// isKeyType reports whether key-signing keys sign the type; such RRsets stand
// at the apex alone (RFC 7344, section 4.1, for CDS and CDNSKEY).
func isKeyType(t uint16) bool {
	return t == dns.TypeDNSKEY || t == dns.TypeCDS || t == dns.TypeCDNSKEY
}

// expiration is T + Lifetime less a jitter of up to half of the time between
// making a signature and refreshing it, from a hash of owner and type. SOA and
// the key RRsets have none.
func (p Params) expiration(owner Name, t uint16, buf []byte) (uint32, []byte) {
	end := p.Time + p.Lifetime
	window := (p.Lifetime - p.Refresh) / 2
	if window == 0 || p.NoJitter || t == dns.TypeSOA || isKeyType(t) {
		return end, buf
	}
	buf = append(buf[:0], owner...)
	buf = binary.BigEndian.AppendUint16(buf, t)
	sum := sha256.Sum256(buf)
	return end - uint32(binary.BigEndian.Uint64(sum[:])%uint64(window)), buf
}

// Signature is an RRSIG without what its RRset says already.
type Signature struct {
	Algorithm  uint8
	KeyTag     uint16
	Inception  uint32 // UNIX seconds
	Expiration uint32 // UNIX seconds
	Sig        string // as in the RRSIG: 64 bytes of algorithms 13 and 15, 96 of 14, the modulus's length of 8
}

func (g Signature) sameKey(o Signature) bool {
	return g.Algorithm == o.Algorithm && g.KeyTag == o.KeyTag
}

// Item is one signature to be made.
type Item struct {
	Owner      Name
	Type       uint16
	KeyID      string
	KeyTag     uint16
	Inception  uint32 // UNIX seconds
	Expiration uint32 // UNIX seconds
}

// Plan is everything that is to be signed for one zone at one moment.
type Plan struct {
	params  Params
	content *Zone
	signed  SignedZone // all RRsets; the signatures to be made are zero until a zone is assembled
	items   []planItem
	zonemd  []byte // the zone's digest, of a plan that PlanZONEMD made
	digest  func() [32]byte
	given   atomic.Bool // signed.sigs are those of a zone that was assembled, too
}

type planItem struct {
	set, sig uint32 // indexes in signed.sets and signed.sigs
	key      uint32 // index in params.Keys
}

// NewPlan derives the plan. It neither keeps nor changes p.Keys.
func NewPlan(z *Zone, p Params) (*Plan, error) {
	p.Keys = slices.Clone(p.Keys)
	sets, kinds, err := allRRsets(z, p)
	if err != nil {
		return nil, err
	}
	if len(sets) >= 1<<31 {
		return nil, fmt.Errorf("zone %s is too large", z.apex)
	}
	plan := &Plan{params: p, content: z}
	plan.signed = SignedZone{apex: z.apex, sourceSerial: z.Serial(), sets: sets}
	if err := plan.schedule(kinds); err != nil {
		return nil, err
	}
	plan.init()
	return plan, nil
}

// init prepares what is computed once.
func (p *Plan) init() {
	p.signed.init()
	p.digest = sync.OnceValue(p.manifestDigest)
}

// allRRsets is the whole signed zone but its signatures, with the kind of
// node that each RRset stands at.
func allRRsets(z *Zone, p Params) ([]RRset, []nodeKind, error) {
	if err := p.validate(); err != nil {
		return nil, nil, fmt.Errorf("zone %s: %w", z.apex, err)
	}
	soa := z.SOA()
	var a arena
	made := p.keyRRsets(z.apex, soa.TTL, &a)
	ttl := min(soa.TTL, soaMinimum(soa.first())) // RFC 9077
	if p.Denial.NSEC3 {
		made = append(made, makeRRset(z.apex, dns.TypeNSEC3PARAM, ttl, &a, p.Denial.nsec3param()))
	}
	if p.ZONEMD.Wanted() {
		made = append(made, p.ZONEMD.placeholder(z.apex, soa.TTL, p.Serial, &a))
	}
	slices.SortFunc(made, compareRRsets)
	sets := mergeRRsets(z.sets, made)
	i := slices.IndexFunc(sets, func(s RRset) bool { return s.Owner == z.apex && s.Type == dns.TypeSOA })
	sets[i] = makeRRset(z.apex, dns.TypeSOA, soa.TTL, &a, withSerial(soa.first(), p.Serial))

	ns := nodes(z.apex, sets)
	chain := []RRset(nil)
	if p.Denial.NSEC3 {
		var err error
		if chain, err = nsec3Chain(z.apex, sets, ns, p.Denial, ttl); err != nil {
			return nil, nil, err
		}
	} else {
		chain = nsecChain(z.apex, sets, ns, ttl)
	}
	sets = mergeRRsets(sets, chain)
	kinds := make([]nodeKind, len(sets))
	eachNode(z.apex, sets, func(n node) {
		for i := n.lo; i < n.hi; i++ {
			kinds[i] = n.kind
		}
	})
	return sets, kinds, nil
}

// keyRRsets are the DNSKEY, CDS and CDNSKEY RRsets.
func (p Params) keyRRsets(apex Name, soaTTL uint32, a *arena) []RRset {
	ttl := p.DNSKEYTTL
	if ttl == 0 {
		ttl = soaTTL
	}
	var dnskey, cds, cdnskey [][]byte
	announce := p.announced()
	for i, k := range p.Keys {
		if k.published() {
			dnskey = append(dnskey, k.DNSKEY())
		}
		if slices.Contains(announce, i) {
			cds = append(cds, k.DS(apex))
			cdnskey = append(cdnskey, k.DNSKEY())
		}
	}
	if p.CDS == CDSDelete { // RFC 8078, section 4
		cds, cdnskey = [][]byte{{0, 0, 0, 0, 0}}, [][]byte{{0, 0, 3, 0, 0}}
	}
	var sets []RRset
	for _, s := range []struct {
		typ   uint16
		rdata [][]byte
	}{{dns.TypeDNSKEY, dnskey}, {dns.TypeCDS, cds}, {dns.TypeCDNSKEY, cdnskey}} {
		slices.SortFunc(s.rdata, slices.Compare[[]byte])
		if len(s.rdata) > 0 {
			sets = append(sets, makeRRset(apex, s.typ, ttl, a, s.rdata...))
		}
	}
	return sets
}

// announced are the indexes of the keys that CDS and CDNSKEY name: what the
// parent's DS RRset should become.
func (p Params) announced() []int {
	var ready, active []int
	for i, k := range p.Keys {
		if k.Flags == 257 && k.State == Ready {
			ready = append(ready, i)
		}
		if k.Flags == 257 && k.State == Active {
			active = append(active, i)
		}
	}
	switch {
	case p.CDS == CDSRollover || p.CDS == CDSAlways && len(ready) > 0:
		return ready
	case p.CDS == CDSAlways:
		return active
	}
	return nil
}

// schedule decides which signatures are kept from the base and which are to
// be made.
func (p *Plan) schedule(kinds []nodeKind) error {
	sz := &p.signed
	keyKeys, keyBlank := p.params.blanks(dns.TypeDNSKEY)
	zoneKeys, zoneBlank := p.params.blanks(dns.TypeSOA)
	keySize, zoneSize := p.params.signatureSizes(keyKeys), p.params.signatureSizes(zoneKeys)
	base := newBaseCursor(p.params)

	sz.first = make([]uint32, 0, len(sz.sets)+1)
	sz.sigs = make([]Signature, 0, len(sz.sets)*len(zoneKeys))
	if p.params.Base == nil {
		p.items = make([]planItem, 0, len(sz.sets)*len(zoneKeys))
	}
	var buf []byte
	for i := range sz.sets {
		s, old := base.find(sz.sets[i])
		sz.sets[i] = s
		sz.first = append(sz.first, uint32(len(sz.sigs)))
		if !kinds[i].isSigned(s.Type) || s.Type == dns.TypeZONEMD && s.Owner == sz.apex {
			continue // the zone's digest is signed when all else is: PlanZONEMD
		}
		keys, blank, size := zoneKeys, zoneBlank, zoneSize
		if isKeyType(s.Type) && s.Owner == sz.apex {
			keys, blank, size = keyKeys, keyBlank, keySize
		}
		if err := s.checkSize(sz.apex, len(keys), size); err != nil {
			return fmt.Errorf("%s%w", p.content.places[placed{s.Owner, s.Type}], err)
		}
		for j, k := range keys {
			if g, ok := base.fresh(old, blank[j], k); ok {
				sz.sigs = append(sz.sigs, g)
				continue
			}
			g := blank[j]
			g.Expiration, buf = p.params.expiration(s.Owner, s.Type, buf)
			p.items = append(p.items, planItem{set: uint32(i), sig: uint32(len(sz.sigs)), key: uint32(k)})
			sz.sigs = append(sz.sigs, g)
		}
	}
	sz.first = append(sz.first, uint32(len(sz.sigs)))
	return nil
}

// signatureSizes is the length of a signature of each of keys together.
func (p Params) signatureSizes(keys []int) int {
	size := 0
	for _, k := range keys {
		size += p.Keys[k].SignatureSize()
	}
	return size
}

// baseCursor walks the base beside the plan.
type baseCursor struct {
	base   *SignedZone
	at     int
	known  []bool // by index of key: the base was signed with it
	params Params
}

func newBaseCursor(p Params) *baseCursor {
	c := &baseCursor{base: p.Base, params: p, known: make([]bool, len(p.Keys))}
	if p.Base == nil {
		return c
	}
	set, ok := p.Base.find(p.Base.apex, dns.TypeDNSKEY)
	for i, k := range p.Keys {
		c.known[i] = ok && set.has(string(k.DNSKEY())) || p.Base.soaSignedWith(k)
	}
	return c
}

// soaSignedWith reports whether a signature of the SOA verifies with the key.
// It tells a key that signs without being in the DNSKEY RRset from another of
// the same tag.
func (sz *SignedZone) soaSignedWith(k Key) bool {
	tag := k.KeyTag()
	for _, g := range sz.signaturesAt(sz.soa) {
		if g.Algorithm != k.Algorithm || g.KeyTag != tag {
			continue
		}
		v, err := newVerifier(k.Algorithm, k.PublicKey)
		if err == nil && v(sz.appendMessage(nil, sz.sets[sz.soa], &g), []byte(g.Sig)) {
			return true
		}
	}
	return false
}

// find is s, with the base's memory where the base has exactly that RRset, and
// the base's signatures over it. Calls come in canonical order.
func (c *baseCursor) find(s RRset) (RRset, []Signature) {
	if c.base == nil {
		return s, nil
	}
	at, ok := indexFrom(c.base.sets, c.at, s)
	if c.at = at; !ok {
		return s, nil
	}
	return c.base.sets[at], c.base.signaturesAt(at)
}

// fresh finds the signature of key k that may be kept: it has begun and has
// more than Refresh left.
func (c *baseCursor) fresh(old []Signature, blank Signature, k int) (Signature, bool) {
	for _, g := range old {
		if g.sameKey(blank) && c.known[k] && g.Inception <= c.params.Time && g.Expiration > c.params.Time && g.Expiration-c.params.Time > c.params.Refresh {
			return g, true
		}
	}
	return Signature{}, false
}

// Zone is the content that the plan is for.
func (p *Plan) Zone() *Zone { return p.content }

// Params are the parameters that the plan was made from.
func (p *Plan) Params() Params { return p.params }

// Len is how many signatures are to be made.
func (p *Plan) Len() int { return len(p.items) }

// Kept is how many signatures come from the base.
func (p *Plan) Kept() int { return len(p.signed.sigs) - len(p.items) }

// Item is the i-th signature to be made, in canonical order of the RRsets.
func (p *Plan) Item(i int) Item {
	it := p.items[i]
	s, g := p.signed.sets[it.set], &p.signed.sigs[it.sig]
	return Item{Owner: s.Owner, Type: s.Type, KeyID: p.params.Keys[it.key].ID, KeyTag: g.KeyTag,
		Inception: g.Inception, Expiration: g.Expiration}
}

// KeyIDs are the ids of the keys that the plan needs, in the order of
// Params.Keys.
func (p *Plan) KeyIDs() []string {
	used := make([]bool, len(p.params.Keys))
	for _, it := range p.items {
		used[it.key] = true
	}
	var ids []string
	for i, k := range p.params.Keys {
		if used[i] {
			ids = append(ids, k.ID)
		}
	}
	return ids
}

// CountOf is how many items the key signs.
func (p *Plan) CountOf(keyID string) int {
	key, n := p.keyIndex(keyID), 0
	for i := range p.items {
		if p.items[i].key == key {
			n++
		}
	}
	return n
}

// ItemsOf are the indexes of the items that the key signs, in order.
func (p *Plan) ItemsOf(keyID string) []int {
	key, out := p.keyIndex(keyID), make([]int, 0, p.CountOf(keyID))
	for i := range p.items {
		if p.items[i].key == key {
			out = append(out, i)
		}
	}
	return out
}

// keyIndex is what items have for the key; of another key, what none has.
func (p *Plan) keyIndex(keyID string) uint32 {
	return uint32(slices.IndexFunc(p.params.Keys, func(k Key) bool { return k.ID == keyID }))
}

// Message is what item i signs: the RRSIG's rdata without the signature, then
// the canonical RRset (RFC 4034, section 3.1.8.1). It is not hashed.
func (p *Plan) Message(i int) []byte { return p.AppendMessage(nil, i) }

// AppendMessage appends Message(i) to dst.
func (p *Plan) AppendMessage(dst []byte, i int) []byte {
	it := p.items[i]
	return p.signed.appendMessage(dst, p.signed.sets[it.set], &p.signed.sigs[it.sig])
}

// Assemble makes the signed zone from one signature for each item, in order,
// all of algorithms whose signatures have 64 bytes. It does not verify them.
func (p *Plan) Assemble(sigs [][64]byte) (*SignedZone, error) {
	return p.AssembleEach(len(sigs), func(i int) []byte { return sigs[i][:] })
}

// AssembleEach is Assemble for signatures of any algorithm, n of them, which
// each brings in order and which are copied.
func (p *Plan) AssembleEach(n int, each func(i int) []byte) (*SignedZone, error) {
	var a arena
	return p.assemble(n, func(i int) string { return a.add(each(i)) })
}

// AssembleStrings is Assemble for signatures of any algorithm. The zone keeps
// the strings.
func (p *Plan) AssembleStrings(sigs []string) (*SignedZone, error) {
	return p.assemble(len(sigs), func(i int) string { return sigs[i] })
}

func (p *Plan) assemble(n int, each func(i int) string) (*SignedZone, error) {
	if n != len(p.items) {
		return nil, fmt.Errorf("zone %s: %d signatures for %d items", p.signed.apex, n, len(p.items))
	}
	sz := &SignedZone{apex: p.signed.apex, sourceSerial: p.signed.sourceSerial, sets: p.signed.sets, first: p.signed.first, sigs: p.signed.sigs}
	if p.given.Swap(true) {
		sz.sigs = slices.Clone(sz.sigs) // the first zone has the plan's own
	}
	for i, it := range p.items {
		sig := each(i)
		if want := p.params.Keys[it.key].SignatureSize(); len(sig) != want {
			return nil, fmt.Errorf("zone %s: signature %d has %d bytes, expected %d", p.signed.apex, i, len(sig), want)
		}
		sz.sigs[it.sig].Sig = sig
	}
	sz.init()
	return sz, nil
}

// Matches reports whether sz is what Assemble makes of some signatures: the
// plan's RRsets, the signatures that it keeps, and those to be made with the
// plan's keys and times.
func (p *Plan) Matches(sz *SignedZone) bool {
	if sz.apex != p.signed.apex || sz.sourceSerial != p.signed.sourceSerial || !slices.Equal(sz.sets, p.signed.sets) ||
		!slices.Equal(sz.first, p.signed.first) {
		return false
	}
	next := 0
	for i, g := range sz.sigs {
		if next < len(p.items) && p.items[next].sig == uint32(i) {
			g.Sig = p.signed.sigs[i].Sig
			next++
		}
		if g != p.signed.sigs[i] {
			return false
		}
	}
	return true
}
