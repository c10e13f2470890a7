// Package classify gives the verdict on a domain: who operates its name
// servers, in which class it counts, and why.
//
// The rules are those of section 2 of the paper where it has them; docs/measure.md
// says what is added. A domain passes in three steps. Group tells operators by
// what is known after names and addresses were looked up. Where that leaves
// more than one operator, the caller asks each one's servers for the zone
// (Group.Probes), and a WHOIS server if it wants to. Verdict weighs all of it.
package classify

import (
	"cmp"
	"fmt"
	"iter"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"zonesigner/measure"
	"zonesigner/measure/operator"
	"zonesigner/measure/resolve"
)

// Evidence is what is known of a domain.
type Evidence struct {
	Domain string
	List   resolve.List
	Hosts  map[string]resolve.Host // of List.Names

	// Filled in by the caller after NewGroups, where there is more than one.
	Probes map[string]measure.Probe // by group
	Owners map[string]string        // by group: who its addresses are registered to, where that is known and one
}

// Groups are a domain's name servers by operator.
type Groups struct {
	Servers []measure.NameServer // as List.Names
	IDs     []string             // of operators, sorted
	table   *operator.Table
	joined  map[string]string // of an operator, the one that it was found to be
	reasons []measure.Reason
}

// NewGroups tells the operators of a domain's name servers by their names and
// addresses.
func NewGroups(table *operator.Table, e *Evidence) *Groups {
	g := &Groups{table: table, Servers: make([]measure.NameServer, 0, len(e.List.Names))}
	for _, name := range e.List.Names {
		h := e.Hosts[name]
		ns := measure.NameServer{Name: name, Status: h.Status, Addresses: h.Addrs}
		if m, ok := table.Name(name); ok {
			ns.Operator, ns.By = m.Operator, cmp.Or(m.Line, "label of the registrable domain")
			if m.Line == "" {
				if a, ok := g.vanity(h.Addrs); ok && a.Operator != m.Operator {
					ns.Operator, ns.By = a.Operator, a.Line
					g.because(measure.ByAddress, "%s: %s", name, a.Line)
				}
			}
		}
		g.Servers = append(g.Servers, ns)
	}
	g.shareAddresses()
	g.note()
	return g
}

// vanity tells the operator whose networks hold all of the addresses.
func (g *Groups) vanity(addrs []netip.Addr) (operator.Match, bool) {
	var all operator.Match
	for i, a := range addrs {
		m, ok := g.table.Address(a)
		if !ok || i > 0 && m.Operator != all.Operator {
			return operator.Match{}, false
		}
		all = m
	}
	return all, len(addrs) > 0
}

// shareAddresses joins operators whose name servers have an address in common,
// unless the table names both.
func (g *Groups) shareAddresses() {
	if g.note(); len(g.IDs) < 2 {
		return
	}
	by := map[netip.Addr]string{}
	for _, ns := range g.Servers {
		for _, a := range ns.Addresses {
			other, ok := by[a]
			if !ok && ns.Operator != "" {
				by[a] = ns.Operator
			}
			if ok && g.join(ns.Operator, other) {
				g.because(measure.ByAddress, "%s has the address %s of another", ns.Name, a)
			}
		}
	}
}

// current is the operator that id is after what was joined.
func (g *Groups) current(id string) string {
	for g.joined[id] != "" {
		id = g.joined[id]
	}
	return id
}

// join makes two operators one, whose name is the one of the table, or the
// first in the alphabet. Those that the table tells apart stay apart.
func (g *Groups) join(a, b string) bool {
	a, b = g.current(a), g.current(b)
	if a == b || a == "" || b == "" || g.table.Known(a) && g.table.Known(b) {
		return false
	}
	keep, drop := min(a, b), max(a, b)
	if g.table.Known(drop) {
		keep, drop = drop, keep
	}
	if g.joined == nil {
		g.joined = map[string]string{}
	}
	g.joined[drop] = keep
	for i := range g.Servers {
		if g.Servers[i].Operator == drop {
			g.Servers[i].Operator = keep
		}
	}
	return true
}

// note lists the operators, sorted.
func (g *Groups) note() {
	g.IDs = nil
	for _, ns := range g.Servers {
		if ns.Operator != "" && !slices.Contains(g.IDs, ns.Operator) {
			g.IDs = append(g.IDs, ns.Operator)
		}
	}
	slices.Sort(g.IDs)
}

func (g *Groups) because(code measure.Code, format string, args ...any) {
	r := measure.Reason{Code: code, Detail: fmt.Sprintf(format, args...)}
	if !slices.Contains(g.reasons, r) {
		g.reasons = append(g.reasons, r)
	}
}

// Of are an operator's name servers.
func (g *Groups) Of(id string) iter.Seq[measure.NameServer] {
	return func(yield func(measure.NameServer) bool) {
		for _, ns := range g.Servers {
			if ns.Operator == id && !yield(ns) {
				return
			}
		}
	}
}

// Addressed reports whether a name server of the operator has an address.
func (g *Groups) Addressed(id string) bool {
	for ns := range g.Of(id) {
		if len(ns.Addresses) > 0 {
			return true
		}
	}
	return false
}

// Vanity reports whether all name servers are in the zone itself and the table
// says nothing of their operator: then its SOA record may.
func (g *Groups) Vanity(zone string) bool {
	if len(g.IDs) != 1 || g.table.Known(g.IDs[0]) {
		return false
	}
	_, own, _ := operator.Registrable(zone)
	for _, ns := range g.Servers {
		if _, domain, _ := operator.Registrable(ns.Name); domain != own {
			return false
		}
	}
	return own != ""
}

// Verdict weighs the evidence and returns the record's data. It may join
// groups.
func (g *Groups) Verdict(e *Evidence) (measure.Status, measure.Data) {
	status := e.List.Status
	d := measure.Data{CNAME: e.List.CNAME, NameServers: g.Servers, Resolver: e.List.From, Queries: e.List.Queries, Millis: e.List.Waited.Milliseconds()}
	if e.List.Zone != e.Domain && status == measure.NoError {
		d.Zone = e.List.Zone
		if operator.IsPublicSuffix(d.Zone) {
			status = measure.NoAnswer
			g.because(measure.NotDelegated, "%s", d.Zone)
		} else {
			g.because(measure.InsideZone, "%s", d.Zone)
		}
	}
	liar := slices.IndexFunc(e.List.Names, func(name string) bool { return e.Hosts[name].Lies })
	switch {
	case e.List.Lies:
		d.Class = measure.Unknown
		g.because(measure.ResolverLies, "%s", e.List.From)
	case liar >= 0:
		d.Class = measure.Unknown
		g.because(measure.ResolverLies, "addresses of %s", e.List.Names[liar])
	case status != measure.NoError:
		d.Class = measure.NoResponse
		g.reasons = append([]measure.Reason{{Code: measure.NoList, Detail: string(status)}}, g.reasons...)
	case g.misconfigured():
		d.Class = measure.Misconfigured
	default:
		d.Class = g.count(e)
		d.Signers = g.signers(e, d.Class)
	}
	g.remark(e, &d)
	g.note()
	for _, id := range g.IDs {
		o := measure.Operator{ID: id, Owners: g.owner(e, id)}
		if p, ok := e.Probes[id]; ok {
			o.Probe = &p
		}
		d.Operators = append(d.Operators, o)
	}
	d.NameServers, d.Reasons = g.Servers, g.reasons
	return status, d
}

// owner is who the addresses of an operator, and of those that were joined to
// it, are registered to; "" where that is not one.
func (g *Groups) owner(e *Evidence, id string) string {
	owner := e.Owners[id]
	for _, other := range slices.Sorted(maps.Keys(e.Owners)) {
		switch o := e.Owners[other]; {
		case g.current(other) != id || o == "":
		case owner == "":
			owner = o
		case !strings.EqualFold(owner, o):
			return ""
		}
	}
	return owner
}

// misconfigured is the paper's rule, made exact: a name server without an
// address whose name is incomplete or mistyped.
func (g *Groups) misconfigured() bool {
	bad := false
	for _, ns := range g.Servers {
		if len(ns.Addresses) > 0 {
			continue
		}
		_, _, listed := operator.Registrable(ns.Name)
		switch sibling := g.sibling(ns); {
		case !strings.Contains(ns.Name, "."):
			g.because(measure.SingleLabel, "%s", ns.Name)
		case !listed:
			g.because(measure.UnlistedSuffix, "%s", ns.Name)
		case ns.Status == measure.NXDomain && sibling != "":
			g.because(measure.Mistyped, "%s, beside %s", ns.Name, sibling)
		default:
			continue
		}
		bad = true
	}
	return bad
}

// sibling is another name server, with an address, that a name is one edit
// away from; numbers count as one character, so that ns1.example.com is a
// sibling of ns2.exampel.com.
func (g *Groups) sibling(ns measure.NameServer) string {
	for _, other := range g.Servers {
		if other.Name == ns.Name || len(other.Addresses) == 0 {
			continue
		}
		if oneEdit(ns.Name, other.Name) || oneEdit(foldNumbers(ns.Name), foldNumbers(other.Name)) {
			return other.Name
		}
	}
	return ""
}

// remark adds what is worth knowing but decides nothing.
func (g *Groups) remark(e *Evidence, d *measure.Data) {
	if d.CNAME != "" && e.List.FromParent {
		g.because(measure.CNAMEAtApex, "%s", d.CNAME)
	} else if e.List.FromParent && e.List.Status == measure.NoError {
		g.because(measure.ApexListMissing, "")
	}
	if parent := e.List.Parent; len(parent) > 0 && !slices.Equal(parent, e.List.Names) {
		d.Delegation = parent
		g.because(measure.ParentDiffers, "the parent lists %s", strings.Join(parent, " "))
	}
	for _, ns := range g.Servers {
		switch h := e.Hosts[ns.Name]; {
		case len(h.Addrs) == 0 && h.Status != "":
			g.because(measure.Unaddressed, "%s: %s", ns.Name, h.Status)
		case h.Alias:
			g.because(measure.NSIsAlias, "%s", ns.Name)
		}
	}
}
