package knot_test

import (
	"cmp"
	"crypto"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"zonesigner/knot"
)

// signedZone signs a zone in the plainest way, with NSEC3 and a key of its
// own, for Knot to validate. seed makes other names and so another chain.
func signedZone(t *testing.T, key *dns.DNSKEY, priv crypto.Signer, serial int, names ...string) []knot.Record {
	t.Helper()
	var rrs []dns.RR
	add := func(format string, args ...any) {
		rr, err := dns.NewRR(fmt.Sprintf(format, args...))
		if err != nil {
			t.Fatal(err)
		}
		rrs = append(rrs, rr)
	}
	add("example. 300 IN SOA ns.example. host.example. %d 3600 600 86400 300", serial)
	add("example. 300 IN NS ns.example.")
	add("example. 0 IN NSEC3PARAM 1 0 0 -")
	add("ns.example. 300 IN A 192.0.2.1")
	for _, n := range names {
		add("%s.example. 300 IN A 192.0.2.2", n)
	}
	ds := key.ToDS(dns.SHA256)
	cds := ds.ToCDS()
	cds.Hdr = dns.RR_Header{Name: "example.", Rrtype: dns.TypeCDS, Class: dns.ClassINET, Ttl: 300}
	cdnskey := key.ToCDNSKEY()
	cdnskey.Hdr = dns.RR_Header{Name: "example.", Rrtype: dns.TypeCDNSKEY, Class: dns.ClassINET, Ttl: 300}
	rrs = append(rrs, key, cds, cdnskey)

	types := map[string][]uint16{}
	for _, rr := range rrs {
		h := rr.Header()
		types[h.Name] = append(types[h.Name], h.Rrtype)
	}
	var chain []*dns.NSEC3
	for owner, bits := range types {
		bits = append(bits, dns.TypeRRSIG)
		slices.Sort(bits)
		hash := dns.HashName(owner, dns.SHA1, 0, "")
		chain = append(chain, &dns.NSEC3{
			Hdr:  dns.RR_Header{Name: strings.ToLower(hash) + ".example.", Rrtype: dns.TypeNSEC3, Class: dns.ClassINET, Ttl: 300},
			Hash: dns.SHA1, HashLength: 20, TypeBitMap: slices.Compact(bits),
		})
	}
	slices.SortFunc(chain, func(a, b *dns.NSEC3) int { return cmp.Compare(a.Hdr.Name, b.Hdr.Name) })
	for i, n := range chain {
		n.NextDomain = strings.ToUpper(strings.TrimSuffix(chain[(i+1)%len(chain)].Hdr.Name, ".example."))
		rrs = append(rrs, n)
	}

	sets := map[string][]dns.RR{}
	for _, rr := range rrs {
		k := rr.Header().Name + dns.Type(rr.Header().Rrtype).String()
		sets[k] = append(sets[k], rr)
	}
	now := time.Now().Unix()
	for _, set := range sets {
		sig := &dns.RRSIG{
			Hdr:       dns.RR_Header{Name: set[0].Header().Name, Rrtype: dns.TypeRRSIG, Class: dns.ClassINET, Ttl: set[0].Header().Ttl},
			Algorithm: key.Algorithm, KeyTag: key.KeyTag(), SignerName: "example.",
			Inception: uint32(now - 3600), Expiration: uint32(now + 86400*7),
		}
		if err := sig.Sign(priv, set); err != nil {
			t.Fatal(err)
		}
		rrs = append(rrs, sig)
	}
	return fromRRs(t, rrs)
}

func newKey(t *testing.T) (*dns.DNSKEY, crypto.Signer) {
	t.Helper()
	key := &dns.DNSKEY{
		Hdr:   dns.RR_Header{Name: "example.", Rrtype: dns.TypeDNSKEY, Class: dns.ClassINET, Ttl: 300},
		Flags: 257, Protocol: 3, Algorithm: dns.ECDSAP256SHA256,
	}
	priv, err := key.Generate(256)
	if err != nil {
		t.Fatal(err)
	}
	return key, priv.(crypto.Signer)
}

func fromRRs(t *testing.T, rrs []dns.RR) []knot.Record {
	t.Helper()
	var out []knot.Record
	for _, rr := range rrs {
		f := strings.SplitN(rr.String(), "\t", 5)
		if len(f) != 5 {
			t.Fatalf("%q", rr)
		}
		out = append(out, knot.Record{Owner: f[0], TTL: rr.Header().Ttl, Type: f[3], Data: f[4]})
	}
	return out
}
