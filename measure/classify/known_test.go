package classify

import (
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"zonesigner/measure"
	"zonesigner/measure/operator"
	"zonesigner/measure/resolve"
)

// evidence is that of a domain with the name servers given, each in a network
// of its own; those behind ! do not exist.
func evidence(domain string, names ...string) *Evidence {
	e := &Evidence{Domain: domain, List: resolve.List{Status: measure.NoError, Zone: domain}, Hosts: map[string]resolve.Host{},
		Probes: map[string]measure.Probe{}, Owners: map[string]string{}}
	for i, name := range names {
		name, gone := strings.CutPrefix(name, "!")
		h := resolve.Host{Status: measure.NoError, Addrs: []netip.Addr{netip.AddrFrom4([4]byte{10, byte(i), 0, 1})}}
		if gone {
			h = resolve.Host{Status: measure.NXDomain}
		}
		e.List.Names = append(e.List.Names, name)
		e.Hosts[name] = h
	}
	return e
}

// classOf gives the verdict.
func classOf(e *Evidence) (measure.Class, measure.Data) {
	_, d := NewGroups(operator.Default(), e).Verdict(e)
	return d.Class, d
}

// TestKnownDomains compares verdicts with those that the paper's authors would
// give, and prints precision and recall.
func TestKnownDomains(t *testing.T) {
	text, err := os.ReadFile("../../testdata/measure/nameservers.tsv")
	if err != nil {
		t.Fatal(err)
	}
	type score struct{ right, given, wanted int }
	scores := map[measure.Class]*score{}
	for _, c := range measure.Classes {
		scores[c] = &score{}
	}
	sets := 0
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		cells := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		var want measure.Class
		if len(cells) != 5 || want.UnmarshalText([]byte(cells[2])) != nil {
			t.Fatalf("%q: want domain, source, verdict, name servers, why", line)
		}
		sets++
		got, d := classOf(evidence(cells[0], strings.Fields(cells[3])...))
		scores[got].given++
		scores[want].wanted++
		if got == want {
			scores[got].right++
		} else {
			t.Logf("%s (%s): %s %v, the authors: %s, %s", cells[0], cells[3], got, d.Reasons, want, cells[4])
		}
	}
	for _, c := range []measure.Class{measure.One, measure.MoreThanOne, measure.Misconfigured} {
		s := scores[c]
		precision, recall := float64(s.right)/float64(s.given), float64(s.right)/float64(s.wanted)
		t.Logf("%s: precision %.3f (%d of %d), recall %.3f (%d of %d)", c, precision, s.right, s.given, recall, s.right, s.wanted)
		if precision < 0.88 || recall < 0.93 {
			t.Errorf("%s: precision %.3f, recall %.3f", c, precision, recall)
		}
	}
	if sets < 50 {
		t.Errorf("%d sets", sets)
	}
}

// TestRules wants the class, and the reason for it, by each of the rules.
func TestRules(t *testing.T) {
	address := func(e *Evidence, name, addr string) {
		e.Hosts[name] = resolve.Host{Status: measure.NoError, Addrs: []netip.Addr{netip.MustParseAddr(addr)}}
	}
	for name, c := range map[string]struct {
		e     *Evidence
		setup func(e *Evidence)
		want  measure.Class
		code  measure.Code
	}{
		"ns numbers are siblings": {evidence("a.com", "ns1.host.com", "!ns3.hsot.com"), nil, measure.Misconfigured, measure.Mistyped},
		"gone, not mistyped":      {evidence("a.com", "ns1.host.com", "!ns1.another.com"), nil, measure.Unknown, measure.NoServingAddress},
		"no address for now": {evidence("a.com", "ns1.host.com", "ns2.hsot.com"), func(e *Evidence) {
			e.Hosts["ns2.hsot.com"] = resolve.Host{Status: measure.ServFail}
		}, measure.Unknown, measure.NoServingAddress},
		"one address": {evidence("a.com", "ns1.a.com", "ns1.host.com"), func(e *Evidence) { address(e, "ns1.a.com", "10.1.0.1") }, measure.One, measure.ByAddress},
		"two that the table knows": {evidence("a.com", "ada.ns.cloudflare.com", "ns1.p1.dynect.net"), func(e *Evidence) {
			address(e, "ns1.p1.dynect.net", "10.0.0.1")
		}, measure.MoreThanOne, measure.OtherOperators},
		"one network": {evidence("a.com", "ns1.a.com", "ns1.host.com"), func(e *Evidence) { address(e, "ns1.a.com", "10.1.0.9") }, measure.Unknown, measure.SameNetwork},
		"network of the table": {evidence("a.com", "ns1.a.com", "ns-1.awsdns-1.com"), func(e *Evidence) {
			address(e, "ns1.a.com", "205.251.192.1")
		}, measure.One, measure.ByAddress},
		"SOA of an operator alone": {evidence("a.com", "ns1.a.com", "ns-1.awsdns-1.com"), func(e *Evidence) {
			e.Probes["a"] = measure.Probe{Status: measure.NoError, MName: "ns1.a.com", RName: "awsdns-hostmaster.amazon.com"}
		}, measure.One, measure.BySOA},
		"SOA that may be transferred": {evidence("a.com", "ns1.a.com", "ada.ns.cloudflare.com"), func(e *Evidence) {
			e.Probes["a"] = measure.Probe{Status: measure.NoError, MName: "ada.ns.cloudflare.com", RName: "dns.cloudflare.com"}
		}, measure.Unknown, measure.SOASays},
		"registered to one": {evidence("a.com", "ns1.a.com", "ns1.host.com"), func(e *Evidence) {
			e.Owners["a"], e.Owners["host"] = "Example Ltd", "EXAMPLE LTD"
		}, measure.One, measure.ByWHOIS},
		"registered to two": {evidence("a.com", "ns1.a.com", "ns1.host.com"), func(e *Evidence) {
			e.Owners["a"], e.Owners["host"] = "Example Ltd", "Other Ltd"
		}, measure.MoreThanOne, measure.OtherOperators},
		"no name below a suffix": {evidence("a.com", "co.uk", "uk"), nil, measure.Unknown, measure.NoOperator},
		"a liar":                 {evidence("a.com", "ns1.a.com"), func(e *Evidence) { e.List.Lies = true }, measure.Unknown, measure.ResolverLies},
		"a suffix":               {evidence("a.com", "a.gtld-servers.net"), func(e *Evidence) { e.List.Zone = "com" }, measure.NoResponse, measure.NotDelegated},
		"lame":                   {evidence("a.com", "ns1.a.com"), func(e *Evidence) { e.List.Status = measure.Lame }, measure.NoResponse, measure.NoList},
	} {
		if c.setup != nil {
			c.setup(c.e)
		}
		got, d := classOf(c.e)
		found := false
		for _, r := range d.Reasons {
			found = found || r.Code == c.code
		}
		if got != c.want || !found {
			t.Errorf("%s: %s for %v, want %s for %s", name, got, d.Reasons, c.want, c.code)
		}
	}
}

// TestJoinedTwice joins three operators through one that the table names, by
// owner and by address, in whatever order they come: one is left.
func TestJoinedTwice(t *testing.T) {
	for _, names := range [][]string{
		{"ns1.alpha.net", "ns1.cloudflare.com", "ns1.zeta.net"},
		{"ns1.zeta.net", "ns1.alpha.net", "ns1.cloudflare.com"},
		{"ns1.cloudflare.com", "ns1.zeta.net", "ns1.alpha.net"},
		{"ns1.alpha.net", "ns1.beta.net", "ns1.gamma.net"},
	} {
		e := evidence("example.org", names...)
		for _, id := range NewGroups(operator.Default(), e).IDs {
			e.Owners[id] = "Example Ltd"
		}
		if got, d := classOf(e); got != measure.One || len(d.Operators) != 1 || d.Operators[0].Owners != "Example Ltd" {
			t.Errorf("%v of one owner: %s, %+v", names, got, d)
		}
		e = evidence("example.org", names...)
		first, second, third := e.Hosts[names[0]], e.Hosts[names[1]], e.Hosts[names[2]]
		second.Addrs = append(second.Addrs, first.Addrs[0])
		third.Addrs = append(third.Addrs, first.Addrs[0])
		e.Hosts[names[1]], e.Hosts[names[2]] = second, third
		if got, d := classOf(e); got != measure.One || len(d.Operators) != 1 {
			t.Errorf("%v with one address: %s, %+v", names, got, d)
		}
	}
}

// TestLiarsAddresses has addresses by the word of a resolver that lies: no
// verdict rests on them.
func TestLiarsAddresses(t *testing.T) {
	e := evidence("example.org", "ns1.example.net", "ns1.cloudflare.com")
	h := e.Hosts["ns1.cloudflare.com"]
	h.Lies = true
	e.Hosts["ns1.cloudflare.com"] = h
	if got, d := classOf(e); got != measure.Unknown || !slices.ContainsFunc(d.Reasons, func(r measure.Reason) bool { return r.Code == measure.ResolverLies }) {
		t.Errorf("%s for %v", got, d.Reasons)
	}
}

// TestSigners compares what operators sign with.
func TestSigners(t *testing.T) {
	k := func(tags ...int) (keys []measure.KeyTag) {
		for _, tag := range tags {
			keys = append(keys, measure.KeyTag{Tag: uint16(tag), Algorithm: 13})
		}
		return keys
	}
	for name, c := range map[string]struct {
		tags1, tags2, keys1, keys2 []measure.KeyTag
		status2                    measure.Status
		want                       measure.Signers
		codes                      []measure.Code
	}{
		"unsigned":       {status2: measure.NoError, want: measure.SignersNone},
		"one":            {k(1), k(1), k(1), k(1), measure.NoError, measure.SignersOne, nil},
		"a roll-over":    {k(1, 2), k(2), k(1, 2), k(1, 2), measure.NoError, measure.SignersOne, nil},
		"several":        {k(1), k(2), k(1, 2), k(1, 2), measure.NoError, measure.SignersSeveral, nil},
		"apart":          {k(1), k(2), k(1), k(2), measure.NoError, measure.SignersSeveral, []measure.Code{measure.KeysNotShared}},
		"partly":         {k(1), nil, k(1), nil, measure.NoError, measure.SignersPartly, nil},
		"does not serve": {k(1), nil, k(1), nil, measure.Refused, measure.SignersUnknown, []measure.Code{measure.SilentServer}},
	} {
		e := evidence("a.com", "ns1.one.com", "ns1.two.com")
		e.Probes["one"] = measure.Probe{Status: measure.NoError, Tags: c.tags1, Keys: c.keys1}
		e.Probes["two"] = measure.Probe{Status: c.status2, Tags: c.tags2, Keys: c.keys2}
		_, d := classOf(e)
		if d.Signers != c.want {
			t.Errorf("%s: %s, want %s", name, d.Signers, c.want)
		}
		for _, code := range c.codes {
			if !strings.Contains(fmt.Sprint(d.Reasons), string(code)) {
				t.Errorf("%s: %v, want %s among them", name, d.Reasons, code)
			}
		}
	}
}

func TestOneEdit(t *testing.T) {
	for pair, want := range map[[2]string]bool{
		{"host", "host"}: false, {"host", "hst"}: true, {"host", "hoost"}: true, {"host", "hsot"}: true, {"host", "hist"}: true,
		{"host", "hots"}: true, {"host", "htos"}: false, {"host", "hosting"}: false, {"", "a"}: true, {"", ""}: false, {"ab", "ba"}: true, {"abc", "cba"}: false,
	} {
		if oneEdit(pair[0], pair[1]) != want || oneEdit(pair[1], pair[0]) != want {
			t.Errorf("%q: want %v", pair, want)
		}
	}
}
