package operator

import (
	"net/netip"
	"strings"
	"testing"
)

func TestRegistrable(t *testing.T) {
	for _, c := range []struct {
		name, label, domain string
		listed              bool
	}{
		{"ns1.p43.dynect.net", "dynect", "dynect.net", true},
		{"pdns6.ultradns.co.uk", "ultradns", "ultradns.co.uk", true},
		{"dns1.p09.nsone.net", "nsone", "nsone.net", true},
		{"a.ns.example.com.br", "example", "example.com.br", true},
		{"ns1.dyndns.org", "dyndns", "dyndns.org", true}, // a suffix of a company's
		{"ns1.github.io", "github", "github.io", true},
		{"xn--bcher-kva.de", "xn--bcher-kva", "xn--bcher-kva.de", true},
		{"ds0", "", "", false},
		{"ns1.example.lokal", "", "", false},
		{"192.0.2.1", "", "", false},
		{"co.uk", "", "", true},
		{"", "", "", false},
	} {
		label, domain, listed := Registrable(c.name)
		if label != c.label || domain != c.domain || listed != c.listed {
			t.Errorf("%s: %q, %q, %v", c.name, label, domain, listed)
		}
	}
}

func TestDefaultTable(t *testing.T) {
	table := Default()
	if table.Version == "" {
		t.Error("no version")
	}
	for name, want := range map[string]string{
		"ns-1.awsdns-15.com": "amazon", "ns-2048.awsdns-64.net": "amazon", "ns-9.awsdns-01.co.uk": "amazon",
		"ns1.taobao.com": "alibaba", "ns1.alibabadns.com": "alibaba", "dns1.hichina.com": "alibaba",
		"ns1-01.azure-dns.com": "microsoft", "ns4-01.azure-dns.info": "microsoft",
		"a1-1.akam.net": "akamai", "ns3.jdcache.com": "jd", "ns21.constellix.com": "dnsmadeeasy", "ns1.google.com": "google", "ns-cloud-a1.googledomains.com": "google",
		"ns1.unheard-of.example.co.uk": "example", "awsdns.com": "awsdns",
	} {
		if m, ok := table.Name(name); !ok || m.Operator != want {
			t.Errorf("%s: %+v, want %s", name, m, want)
		}
	}
	if m, ok := table.Address(netip.MustParseAddr("205.251.193.7")); !ok || m.Operator != "amazon" {
		t.Errorf("205.251.193.7: %+v", m)
	}
	if m, ok := table.SOA("ns1.vanity.example", "awsdns-hostmaster.amazon.com"); !ok || m.Operator != "amazon" || !m.Alone {
		t.Errorf("Route 53's SOA: %+v", m)
	}
	if m, ok := table.SOA("ada.ns.cloudflare.com", "hostmaster.example.com"); !ok || m.Operator != "cloudflare" || m.Alone {
		t.Errorf("Cloudflare's SOA: %+v", m)
	}
}

// TestSources wants a source for each line that is shipped: an address, or the
// record that says so.
func TestSources(t *testing.T) {
	for n, line := range strings.Split(strings.TrimSuffix(shipped, "\n"), "\n") {
		if strings.HasPrefix(line, "#") {
			continue
		}
		cells := strings.Split(line, "\t")
		if len(cells) != 4 {
			t.Errorf("line %d has %d columns", n+1, len(cells))
			continue
		}
		source := cells[3]
		told := strings.Contains(source, "https://") || strings.Contains(source, "http://")
		for _, record := range []string{"SOA record", "NS record", "SPF record", "WHOIS record", "answer"} {
			told = told || strings.Contains(source, record)
		}
		if !told {
			t.Errorf("line %d: %q is no source", n+1, source)
		}
	}
}

func TestExtend(t *testing.T) {
	table := Default()
	err := table.Extend("mine", strings.NewReader("# mine\nname\texample\tours\nname\ttaobao\tsomeone\tmy own look\nnetwork\t198.51.100.0/24\tours\n"))
	if err != nil {
		t.Fatal(err)
	}
	if m, _ := table.Name("ns1.taobao.com"); m.Operator != "someone" {
		t.Errorf("%+v", m)
	}
	if !strings.HasSuffix(table.Version, " mine") {
		t.Errorf("version %q", table.Version)
	}
	for line, want := range map[string]string{
		"name\texample":              "columns",
		"name\texample\tOurs!":       "operator",
		"nam\texample\tours":         "kind",
		"network\t192.0.2.1/24\tx":   "network",
		"name\tns1.example.com\tx":   "registrable",
		"name\t*\tx":                 "*",
		"name\t\tx":                  "pattern",
		"soa\tx\ty\tz\tand too much": "columns",
	} {
		before := len(table.patterns) + len(table.domains) + len(table.labels)
		err := table.Extend("mine", strings.NewReader("name\tgood\tgood\n"+line+"\n"))
		if err == nil || !strings.HasPrefix(err.Error(), "mine:2: ") || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", line, err)
		}
		if after := len(table.patterns) + len(table.domains) + len(table.labels); after != before {
			t.Errorf("%q added something", line)
		}
	}
}

// FuzzExtend wants that no table of aliases, and no name, breaks anything.
func FuzzExtend(f *testing.F) {
	f.Add("name\tawsdns-*\tamazon\n", "ns1.awsdns-1.com")
	f.Add("network\t::/0\tx\n", "a")
	f.Fuzz(func(t *testing.T, table, name string) {
		d := newTable()
		if d.Extend("f", strings.NewReader(table)) == nil {
			if m, ok := d.Name(name); ok && m.Operator == "" {
				t.Errorf("%q: %+v", name, m)
			}
		}
	})
}
