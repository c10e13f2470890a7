package testnet

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"

	"zonesigner/measure"
)

// query is one question, and where it was asked.
type query struct {
	id    uint16
	name  string // lower case, no dot at the end
	asked string // as it was written
	qtype uint16
	edns  bool
	do    bool
	dst   netip.Addr
	tcp   bool
}

func newQuery(m *dns.Msg, dst netip.Addr, tcp bool) query {
	q := query{id: m.Id, asked: m.Question[0].Name, qtype: m.Question[0].Qtype, dst: dst, tcp: tcp}
	q.name = strings.ToLower(strings.TrimSuffix(q.asked, "."))
	if opt := m.IsEdns0(); opt != nil {
		q.edns, q.do = true, opt.Do()
	}
	return q
}

// answer fills in r as the server at q.dst would.
func (n *Net) answer(q query, r *dns.Msg) trick {
	tld := q.name[strings.LastIndexByte(q.name, '.')+1:]
	switch b := q.dst.As16(); {
	case q.dst.Is4() && b[13] == 53 && b[14] == 9:
		return n.resolve(q, r, int(b[15])-1)
	case q.dst == rootServer:
		r.Authoritative = true
		switch {
		case q.name == "":
			r.Answer = nsRecords("", []string{"a.root"})
		case slices.ContainsFunc(tlds, func(t string) bool { return t == tld || strings.HasSuffix(t, "."+tld) }):
			refer(r, tld, []string{"a.nic." + tld}, "", tldServer)
		default:
			nothing(r, "", dns.RcodeNameError)
		}
	case q.dst == tldServer && q.name == tld:
		apex(q, r, tld, []string{"a.nic." + tld})
	case q.dst == tldServer && tld == "uk" && (q.name == "co.uk" || strings.HasSuffix(q.name, ".co.uk")):
		refer(r, "co.uk", []string{"a.nic.co.uk"}, tld, ukServer)
	case q.dst == tldServer:
		registry(q, r, tld)
	case q.dst == ukServer && q.name == "co.uk":
		apex(q, r, "co.uk", []string{"a.nic.co.uk"})
	case q.dst == ukServer:
		registry(q, r, "co.uk")
	default:
		return n.authority(q, r)
	}
	return none
}

// registry answers for what is delegated below a public suffix.
func registry(q query, r *dns.Msg, suffix string) {
	zone := zoneOf(q.name)
	names := delegation(zone)
	switch {
	case q.name == "a.nic."+suffix && q.qtype == dns.TypeA:
		r.Authoritative = true
		a := tldServer
		if suffix == "co.uk" {
			a = ukServer
		}
		r.Answer = addressRecords(q.name, a)
	case len(names) == 0 || !strings.HasSuffix(zone, "."+suffix):
		r.Authoritative = true
		nothing(r, suffix, dns.RcodeNameError)
	default:
		refer(r, zone, names, suffix, netip.Addr{})
	}
}

// authority answers for a domain, or for a zone that name servers are in.
func (n *Net) authority(q query, r *dns.Msg) trick {
	zone := zoneOf(q.name)
	names := list(zone)
	serves := func(names []string) bool {
		return slices.ContainsFunc(names, func(name string) bool {
			a, alias := host(name)
			if alias != "" {
				a, _ = host(alias)
			}
			return a == q.dst
		})
	}
	if q.dst == operatorAddr(limited, 0) && !n.limited.take(time.Now()) {
		return dropped
	}
	if q.dst.Is4() && q.dst.As4()[2] == 16+dead && q.dst.As4()[1] == 53 && !strings.HasSuffix(zone, "dead-dns.com") {
		return dropped
	}
	if !serves(names) && !serves(delegation(zone)) {
		r.Rcode = dns.RcodeRefused
		return none
	}
	r.Authoritative = true
	k, i, generated := decode(zone)
	kind := ""
	if generated {
		kind = kinds[k].name
	}
	switch kind {
	case "refused":
		r.Authoritative, r.Rcode = false, dns.RcodeRefused
		return none
	case "servfail":
		r.Authoritative, r.Rcode = false, dns.RcodeServerFailure
		return none
	case "upward":
		r.Authoritative = false
		r.Ns = nsRecords("", []string{"a.root"})
		return none
	case "noedns":
		if q.edns {
			r.Authoritative, r.Rcode, r.Extra = false, dns.RcodeFormatError, nil
			return none
		}
	case "cnameapex":
		if q.name == zone {
			r.Answer = []dns.RR{&dns.CNAME{Hdr: header(q.name, dns.TypeCNAME), Target: dns.Fqdn(operators[plain][0])}}
			return none
		}
	case "flaky":
		if q.id%10 == 0 {
			return dropped
		}
	}
	var signers []int
	if generated && kinds[k].signers {
		place := 0
		for o := range operators {
			if slices.Contains(names, operators[o][0]) {
				if q.dst.Is4() && operatorAddr(o, 0).As4()[2] == q.dst.As4()[2] {
					break
				}
				place++
			}
		}
		own, published := signing[i/1000%len(signing)].keys(place)
		signers = own
		if q.qtype == dns.TypeDNSKEY && q.name == zone {
			for _, p := range published {
				key := *keys[p]
				key.Hdr = header(zone, dns.TypeDNSKEY)
				r.Answer = append(r.Answer, &key)
			}
		}
	}
	if len(r.Answer) == 0 {
		content(q, r, zone, names, kind)
	}
	if q.do {
		r.Answer = signed(r.Answer, zone, signers)
	}
	switch kind {
	case "unauthoritative":
		r.Authoritative = false
	case "truncated":
		return truncated
	case "wrongidfirst":
		return wrongIDFirst
	case "wrongid":
		return wrongID
	case "garbled":
		return garbled
	}
	return none
}

// content is what is in a zone: its apex, and hosts.
func content(q query, r *dns.Msg, zone string, names []string, kind string) {
	if q.name == zone {
		apexSOA(q, r, zone, names, kind)
		return
	}
	a, alias := host(q.name)
	switch {
	case alias != "":
		r.Answer = []dns.RR{&dns.CNAME{Hdr: header(q.name, dns.TypeCNAME), Target: dns.Fqdn(alias)}}
	case a.IsValid():
		if r.Answer = nil; (q.qtype == dns.TypeA && a.Is4()) || (q.qtype == dns.TypeAAAA && a.Is6()) {
			r.Answer = addressRecords(q.name, a)
			return
		}
		nothing(r, zone, dns.RcodeSuccess)
	case kind == "inside" && strings.HasPrefix(q.name, "www."):
		nothing(r, zone, dns.RcodeSuccess)
	default:
		nothing(r, zone, dns.RcodeNameError)
	}
}

func apex(q query, r *dns.Msg, zone string, names []string) {
	r.Authoritative = true
	apexSOA(q, r, zone, names, "")
}

func apexSOA(q query, r *dns.Msg, zone string, names []string, kind string) {
	switch {
	case q.qtype == dns.TypeNS && len(names) > 0:
		r.Answer = nsRecords(zone, names)
	case q.qtype == dns.TypeSOA:
		s := soa(zone)
		switch kind {
		case "vanitysoa":
			s.Mbox = "awsdns-hostmaster.amazon.com."
		case "doubtsoa":
			s.Ns = dns.Fqdn(operators[dyn][0])
		}
		r.Answer = []dns.RR{s}
	default:
		nothing(r, zone, dns.RcodeSuccess)
	}
}

// resolve answers as a resolver does, number 0, 1 or Liar.
func (n *Net) resolve(q query, r *dns.Msg, number int) trick {
	if number >= 0 && number < len(n.Dead) && n.Dead[number].Load() {
		return dropped
	}
	r.RecursionAvailable = true
	t := n.recursive(q, r)
	if number == Liar && r.Rcode == dns.RcodeNameError {
		r.Rcode, r.Ns = dns.RcodeSuccess, nil
		if q.qtype == dns.TypeA {
			r.Answer = addressRecords(q.name, netip.AddrFrom4([4]byte{127, 66, 6, 6}))
		}
	}
	return t
}

func (n *Net) recursive(q query, r *dns.Msg) trick {
	zone := zoneOf(q.name)
	if q.name == "" || slices.Contains(tlds, q.name) || q.name == "uk" {
		apexSOA(q, r, q.name, []string{"a.nic." + q.name}, "")
		return none
	}
	if after, ok := strings.CutPrefix(q.name, "a.nic."); ok {
		a := tldServer
		if after == "co.uk" {
			a = ukServer
		}
		if r.Answer = addressRecords(q.name, a); q.qtype != dns.TypeA {
			r.Answer = nil
		}
		return none
	}
	if delegation(zone) == nil {
		nothing(r, zone[strings.IndexByte(zone, '.')+1:], dns.RcodeNameError)
		return none
	}
	kind := ""
	if k, _, ok := decode(zone); ok {
		kind = kinds[k].name
		switch kinds[k].stub {
		case measure.ServFail:
			r.Rcode = dns.RcodeServerFailure
			return none
		case measure.Timeout:
			return dropped
		}
	}
	if kind == "cnameapex" && q.name == zone {
		target := operators[plain][0]
		r.Answer = []dns.RR{&dns.CNAME{Hdr: header(q.name, dns.TypeCNAME), Target: dns.Fqdn(target)}}
		r.Ns = []dns.RR{soa(zoneOf(target))}
		return none
	}
	content(q, r, zone, list(zone), kind)
	if len(r.Answer) == 1 {
		if c, ok := r.Answer[0].(*dns.CNAME); ok {
			target := strings.TrimSuffix(c.Target, ".")
			if a, _ := host(target); a.Is4() && q.qtype == dns.TypeA {
				r.Answer = append(r.Answer, addressRecords(target, a)...)
			} else {
				r.Ns = []dns.RR{soa(zoneOf(target))}
			}
		}
	}
	return none
}

func header(name string, rrtype uint16) dns.RR_Header {
	return dns.RR_Header{Name: dns.Fqdn(name), Rrtype: rrtype, Class: dns.ClassINET, Ttl: 3600}
}

func nsRecords(zone string, names []string) []dns.RR {
	rrs := make([]dns.RR, len(names))
	for i, name := range names {
		rrs[i] = &dns.NS{Hdr: header(zone, dns.TypeNS), Ns: dns.Fqdn(name)}
	}
	return rrs
}

func addressRecords(name string, a netip.Addr) []dns.RR {
	if a.Is6() {
		return []dns.RR{&dns.AAAA{Hdr: header(name, dns.TypeAAAA), AAAA: a.AsSlice()}}
	}
	return []dns.RR{&dns.A{Hdr: header(name, dns.TypeA), A: a.AsSlice()}}
}

func soa(zone string) *dns.SOA {
	return &dns.SOA{Hdr: header(zone, dns.TypeSOA), Ns: dns.Fqdn("hidden." + zone), Mbox: dns.Fqdn("hostmaster." + zone), Serial: 2026112101, Refresh: 3600, Retry: 600, Expire: 86400, Minttl: 300}
}

// nothing says that there is nothing, or no such name.
func nothing(r *dns.Msg, zone string, rcode int) {
	r.Rcode = rcode
	r.Ns = []dns.RR{soa(zone)}
	if zone == "" {
		r.Ns = []dns.RR{&dns.SOA{Hdr: header("", dns.TypeSOA), Ns: "a.root.", Mbox: "b.root.", Serial: 1}}
	}
}

// refer delegates zone, with glue for names below parent: the given address,
// or their own.
func refer(r *dns.Msg, zone string, names []string, parent string, glue netip.Addr) {
	r.Authoritative = false
	r.Ns = nsRecords(zone, names)
	for _, name := range names {
		if parent != "" && !strings.HasSuffix(name, "."+parent) {
			continue
		}
		a := glue
		if !a.IsValid() {
			a, _ = host(name)
		}
		if a.IsValid() {
			r.Extra = append(r.Extra, addressRecords(name, a)...)
		}
	}
}
