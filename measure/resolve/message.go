package resolve

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/miekg/dns"

	"zonesigner/measure"
)

// kind is what a server's answer amounts to.
type kind int

const (
	kindAnswer   kind = iota // records of the type
	kindAlias                // a CNAME
	kindReferral             // name servers of a zone further down
	kindNoData
	kindNXDomain
	kindFailure // of the server; its status says how
)

// reply is one answer, read.
type reply struct {
	kind   kind
	status measure.Status // of a failure
	names  []string       // name servers: of the answer, or of the referral
	addrs  []netip.Addr
	target string                  // of a CNAME
	zone   string                  // of a referral; where nothing was found: the SOA record's owner
	glue   map[string][]netip.Addr // of a referral
}

// canonical is a name as this package keeps it: lower case, no dot at the end.
// Spaces and dots within labels, which hostile names may have, are written as
// numbers (RFC 1035, section 5.1), so that names can be split and joined by them.
func canonical(name string) string {
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	if strings.Contains(name, `\`) {
		name = escapes.Replace(name)
	}
	return name
}

var escapes = strings.NewReplacer(`\\`, `\092`, `\.`, `\046`, `\ `, `\032`)

// below reports whether name is zone or inside of it.
func below(name, zone string) bool {
	return zone == "" || name == zone || len(name) > len(zone) && name[len(name)-len(zone)-1] == '.' && name[len(name)-len(zone):] == zone
}

func failure(s measure.Status) reply { return reply{kind: kindFailure, status: s} }

// statusOf names a response code.
func statusOf(rcode int) measure.Status {
	switch rcode {
	case dns.RcodeServerFailure:
		return measure.ServFail
	case dns.RcodeRefused:
		return measure.Refused
	case dns.RcodeFormatError:
		return measure.FormErr
	case dns.RcodeNotImplemented:
		return measure.NotImp
	}
	return measure.Failed
}

// readAuthoritative reads what a server of zone says to q. Without AA, only a
// referral to a zone on the way down to the name counts; whatever else it is,
// the server is lame (RFC 9499, section 7: it is delegated to and does not have
// the zone).
func readAuthoritative(m *dns.Msg, zone string, q question) reply {
	if m.Rcode != dns.RcodeSuccess && m.Rcode != dns.RcodeNameError {
		return failure(statusOf(m.Rcode))
	}
	if m.Authoritative {
		if r := readAnswer(m, q); r.kind != kindNoData || m.Rcode == dns.RcodeNameError {
			return r
		}
	}
	if r, ok := readReferral(m, zone, q); ok {
		return r
	}
	if !m.Authoritative {
		return failure(measure.Lame)
	}
	return reply{kind: kindNoData, zone: soaOwner(m, q)}
}

// readAnswer reads a response by its answer section alone.
func readAnswer(m *dns.Msg, q question) reply {
	var r reply
	r.kind = kindNoData
	for _, rr := range m.Answer {
		if canonical(rr.Header().Name) != q.name {
			continue
		}
		switch rr := rr.(type) {
		case *dns.CNAME:
			return reply{kind: kindAlias, target: canonical(rr.Target)}
		case *dns.NS:
			if q.qtype == dns.TypeNS {
				r.kind, r.names = kindAnswer, append(r.names, canonical(rr.Ns))
			}
		case *dns.A:
			if a, ok := netip.AddrFromSlice(rr.A.To4()); ok && q.qtype == dns.TypeA {
				r.kind, r.addrs = kindAnswer, append(r.addrs, a)
			}
		case *dns.AAAA:
			if a, ok := netip.AddrFromSlice(rr.AAAA); ok && q.qtype == dns.TypeAAAA {
				r.kind, r.addrs = kindAnswer, append(r.addrs, a)
			}
		}
	}
	r.names = sortedNames(r.names)
	r.addrs = sortedAddrs(r.addrs)
	if r.kind == kindNoData {
		r.zone = soaOwner(m, q)
		if m.Rcode == dns.RcodeNameError {
			r.kind = kindNXDomain
		}
	}
	return r
}

// readReferral reads a delegation of a zone between zone and the name. Glue
// counts only for names that the server may speak of: those in zone.
func readReferral(m *dns.Msg, zone string, q question) (reply, bool) {
	r := reply{kind: kindReferral, glue: map[string][]netip.Addr{}}
	for _, rr := range m.Ns {
		ns, ok := rr.(*dns.NS)
		if !ok {
			continue
		}
		owner := canonical(ns.Hdr.Name)
		if owner == zone || !below(owner, zone) || !below(q.name, owner) || r.zone != "" && owner != r.zone {
			continue
		}
		r.zone, r.names = owner, append(r.names, canonical(ns.Ns))
	}
	if len(r.names) == 0 {
		return r, false
	}
	r.names = sortedNames(r.names)
	for _, rr := range m.Extra {
		name := canonical(rr.Header().Name)
		if !below(name, zone) || !slices.Contains(r.names, name) || len(r.glue[name]) >= maxAddrs {
			continue
		}
		switch rr := rr.(type) {
		case *dns.A:
			if a, ok := netip.AddrFromSlice(rr.A.To4()); ok {
				r.glue[name] = append(r.glue[name], a)
			}
		case *dns.AAAA:
			if a, ok := netip.AddrFromSlice(rr.AAAA); ok {
				r.glue[name] = append(r.glue[name], a)
			}
		}
	}
	return r, true
}

// soaOwner is the zone that says that it has nothing, "" if none says so.
func soaOwner(m *dns.Msg, q question) string {
	for _, rr := range m.Ns {
		if rr.Header().Rrtype == dns.TypeSOA {
			if owner := canonical(rr.Header().Name); below(q.name, owner) {
				return owner
			}
		}
	}
	return ""
}

func sortedNames(names []string) []string {
	slices.Sort(names)
	names = slices.Compact(names)
	return names[:min(len(names), maxNames)]
}

func sortedAddrs(addrs []netip.Addr) []netip.Addr {
	slices.SortFunc(addrs, netip.Addr.Compare)
	addrs = slices.Compact(addrs)
	return addrs[:min(len(addrs), maxAddrs):min(len(addrs), maxAddrs)]
}
