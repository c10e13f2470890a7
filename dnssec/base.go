package dnssec

import (
	"cmp"
	"encoding/base64"
	"errors"
	"io"
	"slices"
	"strings"

	"github.com/miekg/dns"
)

// ParseSignedZone reads the zone file of a signed zone, so that it can be the
// base of a plan. It takes the arguments of ParseZone. RRSIGs that cannot be
// kept are left out: those of no RRset in the file, of another signer, with
// another TTL or number of labels than their RRset. No signature is verified:
// see Plan.KeptOf. The source's serial is not known and taken to be the zone's.
func ParseSignedZone(r io.Reader, origin, file string) (*SignedZone, error) {
	b := NewBuilder(origin)
	b.signed = true
	if err := b.read(r, origin, file); err != nil {
		return nil, err
	}
	z, err := b.Zone()
	if err != nil {
		return nil, err
	}
	sz := &SignedZone{apex: z.apex, sourceSerial: z.Serial(), sets: z.sets}
	sz.attach(b.rrsigs)
	sz.init()
	return sz, nil
}

// coveringSignature is an RRSIG as it was read.
type coveringSignature struct {
	owner Name
	sig   Signature
	ttl   uint32 // the original one
	typ   uint16 // that it covers
}

func (b *Builder) addSignature(owner Name, rr *dns.RRSIG) error {
	signer, err := ParseName(rr.SignerName)
	if err != nil {
		return err
	}
	b.buf = slices.Grow(b.buf[:0], base64.StdEncoding.DecodedLen(len(rr.Signature)))
	n, err := base64.StdEncoding.Decode(b.buf[:cap(b.buf)], []byte(rr.Signature))
	if err != nil {
		return errors.New("the signature is not base64")
	}
	if signer != b.apex || rr.Labels != owner.rrsigLabels() || fixedSize(rr.Algorithm) != 0 && n != fixedSize(rr.Algorithm) {
		return nil
	}
	b.rrsigs = append(b.rrsigs, coveringSignature{owner: owner, typ: rr.TypeCovered, ttl: rr.OrigTtl, sig: Signature{
		Algorithm: rr.Algorithm, KeyTag: rr.KeyTag, Inception: rr.Inception, Expiration: rr.Expiration, Sig: b.data.add(b.buf[:n])}})
	return nil
}

// attach gives each RRset its signatures; of several with one key, that which
// lasts longest.
func (sz *SignedZone) attach(rrsigs []coveringSignature) {
	slices.SortFunc(rrsigs, func(a, b coveringSignature) int {
		if c := compareRRsets(RRset{Owner: a.owner, Type: a.typ}, RRset{Owner: b.owner, Type: b.typ}); c != 0 {
			return c
		}
		return compareSignatures(a.sig, b.sig)
	})
	sz.first = make([]uint32, 0, len(sz.sets)+1)
	sz.sigs = make([]Signature, 0, len(rrsigs))
	for _, s := range sz.sets {
		from := len(sz.sigs)
		sz.first = append(sz.first, uint32(from))
		for len(rrsigs) > 0 {
			g := rrsigs[0]
			c := compareRRsets(RRset{Owner: g.owner, Type: g.typ}, s)
			if c > 0 {
				break
			}
			rrsigs = rrsigs[1:]
			twice := len(sz.sigs) > from && sz.sigs[len(sz.sigs)-1].sameKey(g.sig)
			if c == 0 && g.ttl == s.TTL && !twice {
				sz.sigs = append(sz.sigs, g.sig)
			}
		}
	}
	sz.first = append(sz.first, uint32(len(sz.sigs)))
}

func compareSignatures(a, b Signature) int {
	return cmp.Or(cmp.Compare(a.Algorithm, b.Algorithm), cmp.Compare(a.KeyTag, b.KeyTag), cmp.Compare(b.Expiration, a.Expiration),
		strings.Compare(a.Sig, b.Sig))
}

// Kept is a signature that a plan keeps from its base.
type Kept struct{ set, sig uint32 }

// KeptOf are the signatures that the plan keeps of a key. When nobody has
// verified the base, as one that was read from a file, each must be, and those
// that are false be renewed.
func (p *Plan) KeptOf(keyID string) []Kept {
	k := slices.IndexFunc(p.params.Keys, func(k Key) bool { return k.ID == keyID })
	if k < 0 || p.Kept() == 0 {
		return nil
	}
	key := Signature{Algorithm: p.params.Keys[k].Algorithm, KeyTag: p.params.Keys[k].KeyTag()}
	var out []Kept
	item := 0
	for i := range p.signed.sets {
		for j := p.signed.first[i]; j < p.signed.first[i+1]; j++ {
			if item < len(p.items) && p.items[item].sig == j {
				item++
			} else if p.signed.sigs[j].sameKey(key) {
				out = append(out, Kept{uint32(i), j})
			}
		}
	}
	return out
}

// KeptSignature is a signature that the plan keeps; what it signs is appended
// to dst.
func (p *Plan) KeptSignature(dst []byte, k Kept) (message []byte, sig string) {
	g := &p.signed.sigs[k.sig]
	return p.signed.appendMessage(dst, p.signed.sets[k.set], g), g.Sig
}

// Renew is the plan with these signatures to be made, not kept.
func (p *Plan) Renew(kept []Kept) *Plan {
	out := &Plan{params: p.params, content: p.content, zonemd: p.zonemd, items: slices.Clone(p.items), signed: p.signed}
	out.signed.sigs = slices.Clone(p.signed.sigs)
	var buf []byte
	for _, k := range kept {
		set, old := p.signed.sets[k.set], p.signed.sigs[k.sig]
		for i, key := range p.params.Keys {
			if key.Algorithm != old.Algorithm || key.KeyTag() != old.KeyTag || !key.published() {
				continue
			}
			g := p.params.blank(key)
			g.Expiration, buf = p.params.expiration(set.Owner, set.Type, buf)
			out.signed.sigs[k.sig] = g
			out.items = append(out.items, planItem{set: k.set, sig: k.sig, key: uint32(i)})
		}
	}
	slices.SortFunc(out.items, func(a, b planItem) int { return cmp.Compare(a.sig, b.sig) })
	out.init()
	return out
}
