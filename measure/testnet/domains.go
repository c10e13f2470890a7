package testnet

import (
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"strings"

	"golang.org/x/net/idna"

	"zonesigner/measure"
)

// Domain is one of the generated domains, with what has to be found out.
type Domain struct {
	Rank    int
	Name    string // as in the list
	Kind    string
	Class   measure.Class
	Status  measure.Status  // found from the root
	Stub    measure.Status  // found through a resolver
	Signers measure.Signers // with more than one operator
	Reason  measure.Code    // which has to be among the reasons
	Waits   bool            // all of this is found out when a time-out is over, and not before
}

// kind is a way for a domain to be.
type kind struct {
	name    string
	share   int // of a thousand domains
	class   measure.Class
	status  measure.Status
	stub    measure.Status
	reason  measure.Code
	signers bool // several operators, whose signing goes by the domain's number
	waits   bool
}

// kinds are all of them; their shares are a thousand together, and what goes
// wrong is commoner than in the real Internet.
var kinds = []kind{
	{name: "single", share: 476, class: measure.One, reason: measure.SameOperator},
	{name: "aws", share: 60, class: measure.One, reason: measure.ByAlias},
	{name: "alias", share: 15, class: measure.One, reason: measure.ByAlias},
	{name: "label", share: 15, class: measure.One, reason: measure.ByLabel},
	{name: "self", share: 50, class: measure.One, reason: measure.SameOperator},
	{name: "vanityaddr", share: 10, class: measure.One, reason: measure.ByAddress},
	{name: "vanitynet", share: 10, class: measure.One, reason: measure.ByAddress},
	{name: "vanitysoa", share: 10, class: measure.One, reason: measure.BySOA},
	{name: "pair", share: 80, class: measure.MoreThanOne, reason: measure.OtherOperators, signers: true},
	{name: "triple", share: 20, class: measure.MoreThanOne, reason: measure.OtherOperators, signers: true},
	{name: "differs", share: 10, class: measure.MoreThanOne, reason: measure.ParentDiffers},
	{name: "halfdead", share: 5, class: measure.MoreThanOne, reason: measure.SilentServer, waits: true},
	{name: "glueless", share: 10, class: measure.One, reason: measure.SameOperator},
	{name: "limited", share: 4, class: measure.One, reason: measure.SameOperator},
	{name: "sixonly", share: 5, class: measure.One, reason: measure.SameOperator},
	{name: "flaky", share: 8, class: measure.One, reason: measure.SameOperator},
	{name: "noedns", share: 8, class: measure.One, reason: measure.SameOperator},
	{name: "truncated", share: 10, class: measure.One, reason: measure.SameOperator},
	{name: "wrongidfirst", share: 8, class: measure.One, reason: measure.SameOperator},
	{name: "cnameapex", share: 10, class: measure.One, reason: measure.CNAMEAtApex},
	{name: "apexnone", share: 5, class: measure.One, reason: measure.ApexListMissing},
	{name: "nsalias", share: 5, class: measure.One, reason: measure.NSIsAlias},
	{name: "inside", share: 10, class: measure.One, reason: measure.InsideZone},
	{name: "insidealias", share: 10, class: measure.One, reason: measure.InsideZone},
	{name: "ünicode", share: 20, class: measure.One, reason: measure.SameOperator},
	{name: "onelabel", share: 8, class: measure.Misconfigured, reason: measure.SingleLabel},
	{name: "nosuffix", share: 8, class: measure.Misconfigured, reason: measure.UnlistedSuffix},
	{name: "mistyped", share: 8, class: measure.Misconfigured, reason: measure.Mistyped},
	{name: "halfgone", share: 8, class: measure.Unknown, reason: measure.NoServingAddress},
	{name: "doubtsoa", share: 8, class: measure.Unknown, reason: measure.SOASays},
	{name: "samenet", share: 8, class: measure.Unknown, reason: measure.SameNetwork},
	{name: "nxdomain", share: 30, class: measure.NoResponse, status: measure.NXDomain, stub: measure.NXDomain, reason: measure.NoList},
	{name: "refused", share: 8, class: measure.NoResponse, status: measure.Refused, stub: measure.ServFail, reason: measure.NoList},
	{name: "servfail", share: 8, class: measure.NoResponse, status: measure.ServFail, stub: measure.ServFail, reason: measure.NoList},
	{name: "upward", share: 8, class: measure.NoResponse, status: measure.Lame, stub: measure.ServFail, reason: measure.NoList},
	{name: "unauthoritative", share: 8, class: measure.NoResponse, status: measure.Lame, stub: measure.ServFail, reason: measure.NoList},
	{name: "gone", share: 4, class: measure.NoResponse, status: measure.NoAddress, stub: measure.ServFail, reason: measure.NoList},
	{name: "loop", share: 4, class: measure.NoResponse, status: measure.Loop, stub: measure.ServFail, reason: measure.NoList},
	{name: "silent", share: 2, class: measure.NoResponse, status: measure.Timeout, stub: measure.ServFail, reason: measure.NoList, waits: true},
	{name: "silentresolver", share: 1, class: measure.NoResponse, status: measure.Timeout, stub: measure.Timeout, reason: measure.NoList, waits: true},
	{name: "wrongid", share: 1, class: measure.NoResponse, status: measure.Timeout, stub: measure.ServFail, reason: measure.NoList, waits: true},
	{name: "garbled", share: 1, class: measure.NoResponse, status: measure.Timeout, stub: measure.ServFail, reason: measure.NoList, waits: true},
	// What hangs on names that do not exist: pool is the other half of loop.
	{name: "pool", share: 3, class: measure.NoResponse, status: measure.Loop, stub: measure.ServFail, reason: measure.NoList},
}

var (
	kindOf  [1000]int // of a domain's number modulo 1000
	kindNum = map[string]int{}
)

func init() {
	at := 0
	for k, kind := range kinds {
		kindNum[kind.name] = k
		for range kind.share {
			// 379 is prime to 1000: kinds are spread over the list.
			kindOf[at*379%1000] = k
			at++
		}
	}
	if at != len(kindOf) {
		panic(fmt.Sprintf("kinds have %d shares of %d", at, len(kindOf)))
	}
}

// tlds are the top-level domains that domains are in.
var tlds = []string{"com", "net", "org", "de", "co.uk", "xn--p1ai"}

// At is the domain of number i, from 0.
func At(i int) Domain {
	k := kinds[kindOf[i%1000]]
	d := Domain{Rank: i + 1, Kind: k.name, Class: k.class, Status: k.status, Stub: k.stub, Reason: k.reason, Waits: k.waits}
	if d.Status == "" {
		d.Status = measure.NoError
	}
	if d.Stub == "" {
		d.Stub = d.Status
	}
	tld := tlds[i/7%len(tlds)]
	switch d.Kind {
	case "loop":
		tld = "com" // and its pool is in net
	case "pool":
		tld = "net"
	}
	d.Name = k.name + "-" + strconv.Itoa(i) + "." + tld
	if d.Kind == "inside" || d.Kind == "insidealias" {
		d.Name = "www." + d.Name
	}
	if d.Kind == "ünicode" && tld == "xn--p1ai" {
		d.Name = strings.TrimSuffix(d.Name, tld) + "рф"
	}
	switch {
	case k.signers:
		d.Signers = signing[i/1000%len(signing)].signers
	case k.name == "differs":
		d.Signers = measure.SignersNone
	case k.name == "halfdead":
		d.Signers = measure.SignersUnknown
	}
	return d
}

// WriteList writes the first count domains as rank,domain.
func WriteList(w io.Writer, count int) error {
	for i := range count {
		if _, err := fmt.Fprintf(w, "%d,%s\n", i+1, At(i).Name); err != nil {
			return err
		}
	}
	return nil
}

// signing are the ways in which several operators sign.
var signing = []struct {
	signers measure.Signers
	keys    func(operator int) (own []int, published []int) // numbers of keys, by the operator's place among the domain's
}{
	{measure.SignersNone, func(int) ([]int, []int) { return nil, nil }},
	{measure.SignersOne, func(int) ([]int, []int) { return []int{0}, []int{0} }},
	{measure.SignersSeveral, func(o int) ([]int, []int) { return []int{o + 1}, []int{1, 2, 3} }},
	{measure.SignersPartly, func(o int) ([]int, []int) {
		if o == 0 {
			return []int{0}, []int{0}
		}
		return nil, nil
	}},
}

// operators are those that domains use, with their name servers' names.
var operators = buildOperators()

const (
	cloudflare = iota
	amazon
	dyn
	nsone
	ultradns
	alibaba
	twin    // one label under two suffixes
	hop     // found over two delegations without glue
	limited // limits its rate
	six     // IPv6 alone
	dead    // silent
	plain   // from here on, hosters that no table knows
	total   = plain + 20
)

func buildOperators() [][]string {
	all := make([][]string, total)
	all[cloudflare] = []string{"ada.ns.cloudflare.com", "bob.ns.cloudflare.com"}
	all[amazon] = []string{"ns-1.awsdns-01.com", "ns-2.awsdns-02.net", "ns-3.awsdns-03.org", "ns-4.awsdns-04.co.uk"}
	all[dyn] = []string{"ns1.p43.dynect.net", "ns2.p43.dynect.net"}
	all[nsone] = []string{"dns1.p09.nsone.net", "dns2.p09.nsone.net"}
	all[ultradns] = []string{"pdns1.ultradns.net", "pdns6.ultradns.co.uk"}
	all[alibaba] = []string{"ns1.taobao.com", "ns2.alibabadns.com"}
	all[twin] = []string{"ns1.twinhost.com", "ns1.twinhost.org"}
	all[hop] = []string{"ns1.hopfirst.net"}
	all[limited] = []string{"ns1.limited-dns.net"}
	all[six] = []string{"ns1.six-dns.org"}
	all[dead] = []string{"ns1.dead-dns.com", "ns2.dead-dns.com"}
	for o := plain; o < total; o++ {
		all[o] = []string{fmt.Sprintf("ns1.host%02d-dns.com", o), fmt.Sprintf("ns2.host%02d-dns.com", o)}
	}
	return all
}

// Aliases adds the test Internet's networks to the table of aliases.
const Aliases = "network\t127.53.16.0/24\tcloudflare\n"

// operatorAddr is the address of an operator's kth name server.
func operatorAddr(o, k int) netip.Addr {
	if o == six {
		return sixServer
	}
	return netip.AddrFrom4([4]byte{127, 53, byte(16 + o), byte(k + 1)})
}

// own is the address of the kth name server of a domain's own, in a network
// that others use little.
func own(i, k int) netip.Addr {
	return netip.AddrFrom4([4]byte{127, byte(64 + (i>>8)&127), byte(i), byte(1 + k + 4*(i>>15&31))})
}

// decode reads a zone's name: kind and number of a generated domain.
func decode(zone string) (k, i int, ok bool) {
	label, tld, _ := strings.Cut(zone, ".")
	if strings.HasPrefix(label, "xn--") {
		u, err := idna.Punycode.ToUnicode(label)
		if err != nil {
			return 0, 0, false
		}
		label = u
	}
	name, number, cut := strings.Cut(label, "-")
	k, known := kindNum[name]
	i, err := strconv.Atoi(number)
	if !cut || !known || err != nil || i < 0 || strconv.Itoa(i) != number {
		return 0, 0, false
	}
	if name == "pool" && tld == "net" {
		return k, i, true // the other half of any loop
	}
	if name == "loop" && tld == "com" {
		return k, i, true
	}
	return k, i, kindOf[i%1000] == k && tld == tlds[i/7%len(tlds)]
}
