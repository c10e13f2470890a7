package dnssec

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/miekg/dns"
)

// DifferenceKind says what part of two zones differs.
type DifferenceKind string

// The parts of a zone.
const (
	DiffContent    DifferenceKind = "content"   // what is in the unsigned zone
	DiffSerial     DifferenceKind = "serial"    // of the SOA
	DiffKeys       DifferenceKind = "keys"      // DNSKEY, CDS and CDNSKEY at the apex
	DiffDenial     DifferenceKind = "denial"    // NSEC, NSEC3 and NSEC3PARAM
	DiffDigest     DifferenceKind = "digest"    // ZONEMD at the apex
	DiffSignatures DifferenceKind = "signature" // RRSIG, by the type that they cover
)

// FileDifference is one RRset, or the signatures over one, that two zones do
// not share.
type FileDifference struct {
	Kind  DifferenceKind
	Owner Name
	Type  uint16
	A, B  string // what each zone has, in words; "nothing" when it has none
}

// String says it in one line.
func (d FileDifference) String() string {
	of := ""
	if d.Kind == DiffSignatures {
		of = "signatures over "
	}
	return fmt.Sprintf("%s%s %s differ: here %s, there %s", of, d.Owner, TypeName(d.Type), d.A, d.B)
}

// DiffFiles lists what differs between a ("here") and b ("there"), signed or
// not, in canonical order; an RRset goes before its signatures. A zone of
// another name is one difference, of the SOA.
func DiffFiles(a, b *ZoneFile) []FileDifference {
	if a.apex != b.apex {
		return []FileDifference{{DiffContent, a.apex, dns.TypeSOA, "the zone is " + a.apex.String(), "it is " + b.apex.String()}}
	}
	var out []FileDifference
	x, y := a.parts(), b.parts()
	for len(x) > 0 || len(y) > 0 {
		order := 0
		switch {
		case len(x) == 0:
			order = 1
		case len(y) == 0:
			order = -1
		default:
			order = compareRRsets(x[0].set, y[0].set)
		}
		var here, there signedSet
		if order <= 0 {
			here, x = x[0], x[1:]
		}
		if order >= 0 {
			there, y = y[0], y[1:]
		}
		out = appendDifference(out, a.apex, here, there)
	}
	return out
}

// signedSet is an RRset, or none, and the RRSIGs over it.
type signedSet struct {
	set  RRset // without records where only RRSIGs are there
	sigs []rrsig
}

// parts are all RRsets with their RRSIGs, and the strays.
func (z *ZoneFile) parts() []signedSet {
	out := make([]signedSet, 0, len(z.sets))
	for i, s := range z.sets {
		out = append(out, signedSet{s, z.signaturesAt(i)})
	}
	for _, g := range z.strays {
		if last := len(out) - 1; len(out) > len(z.sets) && out[last].set.Owner == g.owner && out[last].set.Type == g.covered {
			out[last].sigs = append(out[last].sigs, g.rrsig)
		} else {
			out = append(out, signedSet{RRset{Owner: g.owner, Type: g.covered}, []rrsig{g.rrsig}})
		}
	}
	if len(z.strays) > 0 {
		slices.SortFunc(out, func(p, q signedSet) int { return compareRRsets(p.set, q.set) })
	}
	return out
}

// appendDifference appends how here and there differ, of which one may be
// missing.
func appendDifference(out []FileDifference, apex Name, here, there signedSet) []FileDifference {
	owner, t := here.set.Owner, here.set.Type
	if owner == "" {
		owner, t = there.set.Owner, there.set.Type
	}
	x, y := here.set, there.set
	if !x.sameRecords(y) || x.Len() > 0 && x.TTL != y.TTL {
		d := FileDifference{kindOf(apex, owner, t), owner, t, x.words(y), y.words(x)}
		if t == dns.TypeSOA && owner == apex && x.Len() == 1 && y.Len() == 1 && sameButSerial(x, y) {
			d.Kind, d.A, d.B = DiffSerial, fmt.Sprint(soaSerial(x.first())), fmt.Sprint(soaSerial(y.first()))
		}
		out = append(out, d)
	}
	if !slices.Equal(here.sigs, there.sigs) {
		out = append(out, FileDifference{DiffSignatures, owner, t, signatureWords(here.sigs, there.sigs), signatureWords(there.sigs, here.sigs)})
	}
	return out
}

func kindOf(apex, owner Name, t uint16) DifferenceKind {
	switch {
	case t == dns.TypeNSEC || t == dns.TypeNSEC3 || t == dns.TypeNSEC3PARAM:
		return DiffDenial
	case owner == apex && t == dns.TypeZONEMD:
		return DiffDigest
	case owner == apex && isKeyType(t):
		return DiffKeys
	}
	return DiffContent
}

// signatureWords tells what sets the signatures apart from others.
func signatureWords(sigs, others []rrsig) string {
	var words []string
	for i := range sigs {
		g := &sigs[i]
		if slices.Contains(others, *g) {
			continue
		}
		text := fmt.Sprintf("key %d, %s to %s", g.keyTag, appendTime(nil, g.inception), appendTime(nil, g.expiration))
		for j := range others {
			o := others[j]
			if o.sig = g.sig; o == *g { // the same but for the signature itself
				text += fmt.Sprintf(" (%x...)", clipBytes(g.sig))
			}
		}
		words = append(words, text)
	}
	switch {
	case len(sigs) == 0:
		return "none"
	case len(words) == 0:
		return "none but what both have"
	}
	return strings.Join(words, "; ")
}

func clipBytes(s string) string { return s[:min(len(s), 4)] }

// Content is the zone without what signing makes. What no zone may hold is an
// error, which tells all of it.
func (z *ZoneFile) Content() (*Zone, error) {
	im := z.image()
	im.sets = slices.DeleteFunc(slices.Clone(z.sets), func(s RRset) bool { return madeBySigning(z.apex, s.Owner, s.Type) })
	v := &verification{image: im}
	v.checkContent()
	var errs []error
	for _, f := range v.faults {
		errs = append(errs, errors.New(f.String()))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return newZone(z.apex, im.sets, nil), nil
}

// CountDifferences counts them by kind, leaving out those that there are none of.
func CountDifferences(all []FileDifference) []DifferenceCount {
	counts := []DifferenceCount{{Kind: DiffSerial}, {Kind: DiffContent}, {Kind: DiffKeys}, {Kind: DiffDenial}, {Kind: DiffDigest}, {Kind: DiffSignatures}}
	for _, d := range all {
		i := slices.IndexFunc(counts, func(c DifferenceCount) bool { return c.Kind == d.Kind })
		counts[i].Count++
	}
	return slices.DeleteFunc(counts, func(c DifferenceCount) bool { return c.Count == 0 })
}

// DifferenceCount is how many differences are of a kind.
type DifferenceCount struct {
	Kind  DifferenceKind
	Count int
}

func sameButSerial(x, y RRset) bool {
	return x.TTL == y.TTL && string(withSerial(x.first(), 0)) == string(withSerial(y.first(), 0))
}

// words is the TTL and the records that o lacks; all of them when that is
// none.
func (s RRset) words(o RRset) string {
	if s.Len() == 0 {
		return "nothing"
	}
	var own, all []string
	for d := range s.RData() {
		_, data := typeAndRData(s.Type, d)
		text := clip(data)
		all = append(all, text)
		if !o.has(d) {
			own = append(own, text)
		}
	}
	if len(own) == 0 {
		own = all
	}
	const most = 5
	if n := len(own); n > most {
		own = append(own[:most], fmt.Sprintf("and %d more", n-most))
	}
	return fmt.Sprintf("%d %s", s.TTL, strings.Join(own, ", "))
}
