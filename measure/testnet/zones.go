package testnet

import (
	"encoding/base64"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// hostmap holds the operators' name servers, and infra the zones that these
// are in, with the name servers of each.
var hostmap, infra = buildInfra()

func buildInfra() (map[string]netip.Addr, map[string][]string) {
	hosts, zones := map[string]netip.Addr{}, map[string][]string{}
	for o, names := range operators {
		for k, name := range names {
			hosts[name] = operatorAddr(o, k)
			zone := zoneOf(name)
			zones[zone] = append(zones[zone], name)
		}
	}
	// The zone of hop's name server is found over two delegations without glue.
	zones["hopfirst.net"] = []string{"ns1.hopsecond.org"}
	zones["hopsecond.org"] = operators[plain]
	hosts["ns1.hopsecond.org"] = netip.AddrFrom4([4]byte{127, 53, 15, 1})
	return hosts, zones
}

// zoneOf is the registered zone that name is in, "" where it is in none.
func zoneOf(name string) string {
	labels := strings.Split(name, ".")
	n := 2
	if len(labels) >= 2 && labels[len(labels)-1] == "uk" {
		n = 3
	}
	if len(labels) < n {
		return ""
	}
	return strings.Join(labels[len(labels)-n:], ".")
}

// delegation is how the parent delegates zone; nil where it does not exist.
func delegation(zone string) []string {
	if names, ok := infra[zone]; ok {
		return names
	}
	k, i, ok := decode(zone)
	if !ok {
		return nil
	}
	p := operators[plain+i%20]
	ns1 := "ns1." + zone
	switch kinds[k].name {
	case "nxdomain":
		return nil
	case "single":
		return operators[several(i/3)]
	case "aws":
		return operators[amazon]
	case "alias":
		return operators[alibaba]
	case "label":
		return operators[twin]
	case "self":
		return []string{ns1, "ns2." + zone}
	case "vanityaddr", "samenet", "nsalias":
		return []string{ns1, p[0], p[1]}
	case "vanitynet":
		return []string{ns1, operators[cloudflare][0]}
	case "vanitysoa":
		return []string{ns1, operators[amazon][0]}
	case "doubtsoa":
		return []string{ns1, operators[dyn][1]}
	case "pair":
		return slices.Concat(operators[several(i)], operators[several(i+1)])
	case "triple":
		return slices.Concat(operators[several(i)], operators[several(i+1)], operators[several(i+2)])
	case "halfdead":
		return []string{p[0], operators[dead][0]}
	case "glueless":
		return operators[hop]
	case "limited":
		return operators[limited]
	case "sixonly":
		return operators[six]
	case "onelabel":
		return []string{p[0], "ds0"}
	case "nosuffix":
		return []string{p[0], strings.TrimSuffix(p[1], "com") + "cmo"}
	case "mistyped":
		return []string{p[0], strings.Replace(p[1], "host", "hots", 1)}
	case "halfgone":
		return []string{p[0], fmt.Sprintf("ns1.vanished%d.net", i)}
	case "gone":
		return []string{fmt.Sprintf("ns1.vanished%d.net", i), fmt.Sprintf("ns2.vanished%d.net", i)}
	case "loop":
		return []string{fmt.Sprintf("ns.pool-%d.net", i)}
	case "pool":
		return []string{fmt.Sprintf("ns.loop-%d.com", i)}
	case "silent", "silentresolver":
		return operators[dead]
	}
	return p
}

// several numbers the operators that domains share out among themselves.
func several(i int) int {
	common := [...]int{cloudflare, dyn, nsone, ultradns}
	if i %= len(common) + 20; i < len(common) {
		return common[i]
	} else {
		return plain + i - len(common)
	}
}

// list is what the zone says of its name servers.
func list(zone string) []string {
	names := delegation(zone)
	if k, i, ok := decode(zone); ok {
		switch kinds[k].name {
		case "differs":
			return slices.Concat(names, operators[plain+(i+7)%20])
		case "apexnone":
			return nil
		}
	}
	return names
}

// host is what is known of a name in a zone: addresses, or what it is an alias
// of.
func host(name string) (addr netip.Addr, alias string) {
	if a, ok := hostmap[name]; ok {
		return a, ""
	}
	k, i, ok := decode(zoneOf(name))
	sub, _, _ := strings.Cut(name, ".")
	if !ok || zoneOf(name) == name {
		return addr, ""
	}
	p := plain + i%20
	switch kinds[k].name + " " + sub {
	case "self ns1", "vanitysoa ns1", "doubtsoa ns1":
		return own(i, 0), ""
	case "self ns2":
		return own(i, 1), ""
	case "vanityaddr ns1":
		return operatorAddr(p, 0), ""
	case "vanitynet ns1":
		return netip.AddrFrom4([4]byte{127, 53, 16, 77}), ""
	case "samenet ns1":
		a := operatorAddr(p, 0).As4()
		a[3] = 200
		return netip.AddrFrom4(a), ""
	case "nsalias ns1":
		return addr, operators[p][0]
	case "insidealias www":
		return addr, operators[p][0]
	}
	return addr, ""
}

// keys that zones are signed with: 0 is one that operators share.
var keys = buildKeys(4)

func buildKeys(n int) []*dns.DNSKEY {
	var all []*dns.DNSKEY
	for i := range n {
		public := make([]byte, 64)
		for j := range public {
			public[j] = byte(31*i + 7*j)
		}
		all = append(all, &dns.DNSKEY{Flags: 256, Protocol: 3, Algorithm: dns.ECDSAP256SHA256, PublicKey: base64.StdEncoding.EncodeToString(public)})
	}
	return all
}

// signed adds the RRSIG records that an operator gives; nobody verifies them.
func signed(rrs []dns.RR, zone string, by []int) []dns.RR {
	if len(rrs) == 0 {
		return rrs
	}
	for _, k := range by {
		key := *keys[k]
		key.Hdr = dns.RR_Header{Name: dns.Fqdn(zone), Rrtype: dns.TypeDNSKEY, Class: dns.ClassINET, Ttl: 3600}
		rrs = append(rrs, &dns.RRSIG{
			Hdr:         dns.RR_Header{Name: dns.Fqdn(zone), Rrtype: dns.TypeRRSIG, Class: dns.ClassINET, Ttl: 3600},
			TypeCovered: rrs[0].Header().Rrtype, Algorithm: key.Algorithm, Labels: uint8(dns.CountLabel(zone)), OrigTtl: 3600,
			Expiration: uint32(time.Now().Add(time.Hour).Unix()), Inception: uint32(time.Now().Unix()),
			KeyTag: key.KeyTag(), SignerName: dns.Fqdn(zone), Signature: base64.StdEncoding.EncodeToString(make([]byte, 64)),
		})
	}
	return rrs
}
