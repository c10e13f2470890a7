package dnssec

import "github.com/miekg/dns"

// checkContent finds what no zone may have, in zones that no Builder has seen.
func (v *verification) checkContent() {
	if v.ours {
		return
	}
	if s, ok := v.find(v.apex, dns.TypeSOA); !ok {
		v.fault(SOAMissing, v.apex, dns.TypeSOA, "missing")
	} else if s.Len() > 1 {
		v.fault(SOASeveral, v.apex, dns.TypeSOA, "%d records, expected one", s.Len())
	}
	if _, ok := v.find(v.apex, dns.TypeNS); !ok {
		v.fault(NSMissing, v.apex, dns.TypeNS, "missing at the apex")
	}
	var dname Name // the last DNAME's owner
	for owner, group := range byOwner(v.sets) {
		if dname != "" && owner != dname && owner.IsSubdomainOf(dname) && group[0].Type != dns.TypeNSEC3 {
			v.fault(BelowDNAME, owner, group[0].Type, "below the DNAME of %s (RFC 6672, section 2.4)", dname)
		}
		for _, s := range group {
			switch {
			case s.Type == dns.TypeSOA && owner != v.apex:
				v.fault(SOAElsewhere, owner, s.Type, "not at the apex %s", v.apex)
			case s.Type == dns.TypeDS && owner == v.apex:
				v.fault(DSAtApex, owner, s.Type, "at the apex, where it belongs to the parent zone")
			case s.Type == dns.TypeCNAME:
				if s.Len() > 1 {
					v.fault(CNAMESeveral, owner, s.Type, "%d records, expected one", s.Len())
				}
				for _, o := range group {
					if o.Type != dns.TypeCNAME && o.Type != dns.TypeNSEC && o.Type != dns.TypeNSEC3 {
						v.fault(CNAMEBeside, owner, s.Type, "beside other data (%s)", TypeName(o.Type))
					}
				}
			case s.Type == dns.TypeDNAME:
				if s.Len() > 1 {
					v.fault(DNAMESeveral, owner, s.Type, "%d records, expected one", s.Len())
				}
				dname = owner
			}
		}
	}
}
