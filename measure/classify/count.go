package classify

import (
	"net/netip"
	"slices"
	"strings"

	"zonesigner/measure"
	"zonesigner/measure/operator"
)

// count tells one operator from several.
//
// Joining needs evidence that leaves no doubt: a SOA record that only one
// operator serves, one registered owner. Evidence that could be otherwise (a
// SOA record that came by zone transfer, networks that a hoster shares among
// customers) makes a count of several unknown, and never changes one operator
// into several.
func (g *Groups) count(e *Evidence) measure.Class {
	g.joinBySOA(e)
	g.joinByOwner(e)
	g.note()
	g.sameLabel()
	if len(g.IDs) == 0 {
		g.because(measure.NoOperator, "")
		return measure.Unknown
	}
	if len(g.IDs) == 1 {
		g.because(measure.SameOperator, "%s", g.IDs[0])
		return measure.One
	}
	if doubts, left := g.doubts(e); left == 1 {
		g.reasons = append(g.reasons, doubts...)
		return measure.Unknown
	}
	var serving []string
	for _, id := range g.IDs {
		if g.Addressed(id) {
			serving = append(serving, id)
		} else {
			g.because(measure.NoServingAddress, "%s", id)
		}
	}
	if len(serving) < 2 {
		return measure.Unknown
	}
	g.because(measure.OtherOperators, "%s", strings.Join(g.IDs, " "))
	return measure.MoreThanOne
}

// joinBySOA renames groups that the table does not know and whose SOA record
// only one operator serves.
func (g *Groups) joinBySOA(e *Evidence) {
	for _, id := range slices.Clone(g.IDs) {
		p, ok := e.Probes[id]
		if !ok || p.Status != measure.NoError || g.table.Known(id) {
			continue
		}
		m, ok := g.table.SOA(p.MName, p.RName)
		if !ok || len(g.IDs) > 1 && !m.Alone {
			continue
		}
		if g.join(id, m.Operator) {
			g.because(measure.BySOA, "%s is %s: SOA %s %s", id, m.Operator, p.MName, p.RName)
			if _, ok := e.Probes[m.Operator]; !ok {
				e.Probes[m.Operator] = p
			}
			delete(e.Probes, id)
		}
	}
}

// joinByOwner joins groups whose addresses are registered to one organisation.
func (g *Groups) joinByOwner(e *Evidence) {
	for i, a := range g.IDs {
		for _, b := range g.IDs[i+1:] {
			if owner := e.Owners[a]; owner != "" && strings.EqualFold(owner, e.Owners[b]) && g.join(a, b) {
				g.because(measure.ByWHOIS, "%s and %s: %s", a, b, owner)
			}
		}
	}
}

// sameLabel notes where the paper's comparison joins several registrable
// domains.
func (g *Groups) sameLabel() {
	for _, id := range g.IDs {
		var domains []string
		for ns := range g.Of(id) {
			if label, domain, _ := operator.Registrable(ns.Name); label == id {
				domains = append(domains, domain)
			}
		}
		slices.Sort(domains)
		if domains = slices.Compact(domains); len(domains) > 1 {
			g.because(measure.ByLabel, "%s", strings.Join(domains, " "))
		}
		for ns := range g.Of(id) {
			if kind, _, _ := strings.Cut(ns.By, " "); kind == "name" && !strings.Contains(ns.Name, id) {
				g.because(measure.ByAlias, "%s is %s: %s", ns.Name, id, ns.By)
			}
		}
	}
}

// doubts returns evidence that operators which differ by name may be one, and
// how many would be left if they were.
func (g *Groups) doubts(e *Evidence) (reasons []measure.Reason, left int) {
	same := map[string]string{} // of an operator, the one that it may be
	root := func(id string) string {
		for same[id] != "" {
			id = same[id]
		}
		return id
	}
	unite := func(a, b string, r measure.Reason) {
		if a, b = root(a), root(b); a != b {
			same[a] = b
			reasons = append(reasons, r)
		}
	}
	for _, id := range g.IDs {
		if g.table.Known(id) {
			continue
		}
		if p := e.Probes[id]; p.Status == measure.NoError {
			if m, ok := g.table.SOA(p.MName, p.RName); ok && slices.Contains(g.IDs, m.Operator) {
				unite(id, m.Operator, measure.Reason{Code: measure.SOASays, Detail: id + ": " + p.MName + " " + p.RName})
			}
		}
		for _, other := range g.IDs {
			if other != id && g.within(id, other) {
				unite(id, other, measure.Reason{Code: measure.SameNetwork, Detail: id + " " + other})
			}
		}
	}
	roots := map[string]bool{}
	for _, id := range g.IDs {
		roots[root(id)] = true
	}
	return reasons, len(roots)
}

// within reports whether all addresses of one operator's servers lie in
// networks, /24 or /48, of another's.
func (g *Groups) within(id, other string) bool {
	nets := map[netip.Prefix]bool{}
	for ns := range g.Of(other) {
		for _, a := range ns.Addresses {
			nets[around(a)] = true
		}
	}
	any := false
	for ns := range g.Of(id) {
		for _, a := range ns.Addresses {
			if any = true; !nets[around(a)] {
				return false
			}
		}
	}
	return any
}

// around is the smallest network that is announced on its own.
func around(a netip.Addr) netip.Prefix {
	bits := 24
	if a.Is6() {
		bits = 48
	}
	p, _ := a.Prefix(bits) // of an address that is valid
	return p
}

// signers compares the keys whose signatures operators' servers give. With one
// common key they are of one signer; operators that sign each with keys of
// their own publish all of them in one DNSKEY RRset (RFC 8901, section 2.1).
func (g *Groups) signers(e *Evidence, class measure.Class) measure.Signers {
	if class != measure.MoreThanOne {
		return ""
	}
	var probes []measure.Probe
	signed := 0
	for _, id := range g.IDs {
		p, ok := e.Probes[id]
		if !ok || p.Status != measure.NoError {
			if ok {
				g.because(measure.SilentServer, "%s: %s", p.Server, p.Status)
			}
			continue
		}
		if len(p.Tags) > 0 {
			signed++
		}
		probes = append(probes, p)
	}
	switch {
	case len(probes) < len(g.IDs):
		return measure.SignersUnknown
	case signed == 0:
		return measure.SignersNone
	case signed < len(probes):
		return measure.SignersPartly
	}
	common := probes[0].Tags
	for _, p := range probes[1:] {
		common = slices.DeleteFunc(slices.Clone(common), func(k measure.KeyTag) bool { return !slices.Contains(p.Tags, k) })
	}
	if len(common) > 0 {
		return measure.SignersOne
	}
	for i, p := range probes {
		if p.Serial != probes[0].Serial {
			g.because(measure.SerialsDiffer, "%s %d, %s %d", g.IDs[0], probes[0].Serial, g.IDs[i], p.Serial)
		}
		for j, other := range probes {
			if len(other.Keys) > 0 && slices.ContainsFunc(p.Tags, func(k measure.KeyTag) bool { return !slices.Contains(other.Keys, k) }) {
				g.because(measure.KeysNotShared, "%s signs with keys that the DNSKEY RRset of %s lacks", g.IDs[i], g.IDs[j])
			}
		}
	}
	return measure.SignersSeveral
}
