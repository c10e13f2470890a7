package dnssec

import (
	"iter"

	"github.com/miekg/dns"
)

// Wire yields every record of the zone in wire format (RFC 1035, section
// 4.1.3), names not compressed, as a zone transfer gives them: the SOA first,
// and not again at the end. A record is the caller's until the next one.
func (sz *SignedZone) Wire() iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		soa := sz.sets[sz.soa]
		buf := soa.appendRecords(nil)
		if !yield(buf) {
			return
		}
		var rdata []byte
		for i, s := range sz.sets {
			for d := range s.RData() {
				if i == sz.soa {
					break
				}
				buf = appendRecord(buf[:0], s.Owner, s.Type, s.TTL, d)
				if !yield(buf) {
					return
				}
			}
			sigs := sz.signaturesAt(i)
			for j := range sigs {
				rdata = append(appendRRSIGHead(rdata[:0], s, sz.apex, &sigs[j]), sigs[j].Sig...)
				buf = appendRecord(buf[:0], s.Owner, dns.TypeRRSIG, s.TTL, rdata)
				if !yield(buf) {
					return
				}
			}
		}
	}
}
