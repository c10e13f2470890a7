package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"zonesigner/knot/knottest"
	"zonesigner/zonesignerd/config"
	"zonesigner/zonesignerd/internal/api"
)

// A zone with keys of mal-shamir gets keys of frost beside them: not without a
// policy that says so, not before there is a KSK and a ZSK of them, and then
// every RRset has a signature of each algorithm.
func TestTwoAlgorithms(t *testing.T) {
	t.Parallel()
	o := newOperators(t, 3, 1)
	o.write("example.", 1, "www A 192.0.2.10")
	o.startAll()
	o.add("example.", "zonemd-generate: zonemd-sha384")
	serial := o.level("example.", 0)
	ask := func(name, role string) error {
		_, err := o.nodes[name].GenerateKeys(t.Context(), api.GenerateKeys{Zone: "example.", Roles: []string{role}, Engine: config.Frost})
		return err
	}
	policy := func(name string, allowed bool) error {
		_, err := o.nodes[name].AddZone(t.Context(), api.AddZone{File: "policy",
			Policy: o.policy(name, "example.", "zonemd-generate: zonemd-sha384", fmt.Sprintf("algorithm-rollover: %t", allowed))})
		return err
	}
	wantHint := func(what string, err error) {
		t.Helper()
		var e *api.Error
		if !errors.As(err, &e) || e.Code != api.CodeUsage || !strings.Contains(e.Hint, "algorithm-rollover: true") {
			t.Errorf("%s: %v", what, err)
		}
	}
	wantHint("keys of another algorithm", ask("a", "zsk"))
	key, _ := owned(t, "example", "ED25519")
	_, err := o.bring("a", o.deal("example.", roleZSK, config.Frost, key)["a"])
	wantHint("an owner's key of another algorithm", err)

	for _, name := range o.names {
		must(t, policy(name, true))
	}
	o.eventually(20*time.Second, "the policy is in force", func() bool {
		return !slices.ContainsFunc(o.names, func(n string) bool {
			return !o.nodes[n].zone("example.").policy().AlgorithmRollover
		})
	})
	for _, name := range o.names {
		must(t, ask(name, "zsk"))
	}
	warned := func(name string) bool {
		return slices.ContainsFunc(o.status(name, "example.").Warnings, func(w string) bool { return strings.Contains(w, "the ZSK of algorithm 15 is not in the zone yet") })
	}
	o.eventually(20*time.Second, "all wait for the KSK", func() bool {
		return !slices.ContainsFunc(o.names, func(n string) bool { return !warned(n) })
	})
	o.write("example.", 2, "www A 192.0.2.11")
	o.eventually(20*time.Second, "the change is served", func() bool {
		return !slices.ContainsFunc(o.names, func(n string) bool { return !o.has(n, "example.", "192.0.2.11") })
	})
	if o.has("a", "example.", "DNSKEY 256 3 15") {
		t.Error("a key of an algorithm that cannot sign the keys is in the zone")
	}
	for _, name := range o.names {
		must(t, ask(name, "ksk"))
	}
	o.eventually(30*time.Second, "keys of both algorithms are served", func() bool {
		return !slices.ContainsFunc(o.names, func(n string) bool { return !o.has(n, "example.", "DNSKEY 257 3 15") })
	})
	if warned("a") {
		t.Error("the keys that are in the zone are said not to be")
	}
	serial = o.level("example.", serial)
	o.bothSign("b")

	// The others go on when one is away, with both engines.
	o.eventually(60*time.Second, "tuples for the set of a and b", func() bool {
		pools, err := o.nodes["a"].Pools(t.Context(), "example.")
		must(t, err)
		return !slices.ContainsFunc(pools, func(p api.Pool) bool { return p.SignerSet == "a+b" && 2*p.Depth <= p.Wanted })
	})
	o.stop("c")
	o.write("example.", 3, "www A 192.0.2.12\nnew A 192.0.2.13")
	o.level("example.", serial, "a", "b")
	o.bothSign("a")
	wantHint("a policy that allows no two algorithms", policy("a", false))
}

// bothSign checks, by other people's programs too, that what an operator serves
// is signed by both algorithms.
func (o *operators) bothSign(name string) {
	o.t.Helper()
	zone := o.served(name, "example.")
	signaturesVerify(o.t, zone)
	type rrset struct {
		owner string
		typ   uint16
	}
	by := map[rrset][]uint8{}
	for _, rr := range zone {
		if sig, ok := rr.(*dns.RRSIG); ok {
			set := rrset{sig.Hdr.Name, sig.TypeCovered}
			by[set] = append(by[set], sig.Algorithm)
		}
	}
	for _, typ := range []uint16{dns.TypeSOA, dns.TypeDNSKEY, dns.TypeNSEC, dns.TypeZONEMD} {
		if by[rrset{"example.", typ}] == nil {
			o.t.Errorf("%s is not signed", dns.TypeToString[typ])
		}
	}
	for set, algorithms := range by {
		if slices.Sort(algorithms); !slices.Equal(algorithms, []uint8{13, 15}) {
			o.t.Errorf("%s %s is signed with algorithms %v", set.owner, dns.TypeToString[set.typ], algorithms)
		}
	}
	o.digested(name, "example.")
	file := o.path(name, "example.signed")
	for _, cmd := range [][]string{{"dnssec-verify", "-q", "-x", "-o", "example.", file}, {"kzonecheck", "-d", "on", "-o", "example.", file}} {
		if out, err := exec.Command(cmd[0], cmd[1:]...).CombinedOutput(); err != nil {
			o.t.Errorf("%s: %v\n%s", cmd, err, out)
		}
	}
	text, err := os.ReadFile(file)
	must(o.t, err)
	server := knottest.Start(o.t, knottest.Config{Zones: []knottest.Zone{{Name: "example.", Text: string(text)}}})
	keys, err := o.nodes[name].Keys(o.t.Context(), "example.")
	must(o.t, err)
	anchors := 0
	for _, k := range keys {
		for _, ds := range k.DS { // each alone
			resolvesFrom(o.t, server, ds)
			anchors++
		}
	}
	if anchors != 2 {
		o.t.Errorf("%d DS records, expected one of each algorithm", anchors)
	}
}

// resolvesFrom has delv validate answers from one DS.
func resolvesFrom(t testing.TB, s *knottest.Server, ds string) {
	t.Helper()
	rr, err := dns.NewRR(ds)
	must(t, err)
	d := rr.(*dns.DS)
	file := filepath.Join(t.TempDir(), "anchor")
	must(t, os.WriteFile(file, []byte(fmt.Sprintf("trust-anchors { \"example.\" static-ds %d %d %d \"%s\"; };\n", d.KeyTag, d.Algorithm, d.DigestType, d.Digest)), 0o644))
	host, port, err := net.SplitHostPort(s.Addr)
	must(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for _, q := range []struct{ name, qtype, want string }{
		{"www.example.", "A", "; fully validated"},
		{"no.www.example.", "A", "; negative response, fully validated"},
	} {
		out, err := exec.CommandContext(ctx, "delv", "-a", file, "+root=example.", "@"+host, "-p", port, q.name, q.qtype).CombinedOutput()
		if err != nil || !strings.Contains(string(out), q.want) {
			t.Errorf("delv %s %s from %s: %v, expected %q\n%s", q.name, q.qtype, ds, err, q.want, out)
		}
	}
}
