package main

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "zonesigner"

// importRules says what each package may import besides the standard library
// and, for a folder's sub-packages, the folder itself. The key is a package
// or, with /..., a package and all below it; the first that fits counts.
var importRules = []struct {
	packages string
	allowed  []string // with /..., all below as well
	why      string
}{
	{"dnssec/...", []string{"github.com/miekg/dns"}, "pure, so that every operator derives identical bytes"},
	{"mpc", []string{"zonesigner/mpc/p256"}, "sees bytes to sign, never DNS"},
	{"mpc/p256/...", []string{"filippo.io/nistec"}, "scalars and points know no protocol"},
	{"mpc/memnet", []string{"zonesigner/mpc"}, "a network knows no protocol"},
	{"mpc/edverify", []string{"filippo.io/edwards25519/..."}, "verification knows no protocol"},
	{"mpc/natsnet", []string{"zonesigner/mpc", "zonesigner/mpc/edverify", "github.com/nats-io/nats.go/...", "github.com/nats-io/nats-server/v2/...", "github.com/nats-io/nkeys"}, "the only place that knows NATS"},
	{"mpc/ecdsa", []string{"zonesigner/mpc", "zonesigner/mpc/p256"}, "the paper's protocol, once, over any engine"},
	{"mpc/mpctest", []string{"zonesigner/mpc", "zonesigner/mpc/p256", "zonesigner/mpc/memnet"}, "what tests of protocols share, itself none"},
	{"mpc/abbtest", []string{"zonesigner/mpc", "zonesigner/mpc/p256", "zonesigner/mpc/mpctest"}, "one conformance suite for every engine, itself none"},
	{"mpc/cggmp", []string{"zonesigner/mpc", "zonesigner/mpc/p256", "github.com/taurusgroup/multi-party-sig/...", "github.com/cronokirby/saferith"}, "the vendor's API, and the numbers that it is written in, stop here"},
	{"mpc/frost", []string{"zonesigner/mpc", "filippo.io/edwards25519"}, "a signer of its own"},
	{"mpc/...", []string{"zonesigner/mpc", "zonesigner/mpc/p256"}, "engines are interchangeable and never import each other"},
	{"keystore", []string{"go.etcd.io/bbolt/...", "golang.org/x/crypto/argon2", "golang.org/x/crypto/chacha20poly1305", "golang.org/x/sys/unix"}, "opaque blobs; knows nothing of engines"},
	{"knot/...", []string{"github.com/miekg/dns"}, "both ends of the pipe in one place"},
	{"measure/...", []string{"github.com/miekg/dns", "go.etcd.io/bbolt/...", "golang.org/x/net/...", "golang.org/x/sync/...", "golang.org/x/sys/unix"}, "a tool of its own, tied to nothing else"},
	{"zonesignerd/...", []string{"..."}, "the only package that knows everyone"},
}

// fits reports whether path is the pattern, or below it where it ends in "...".
func fits(pattern, path string) bool {
	folder, below := strings.CutSuffix(pattern, "...")
	folder = strings.TrimSuffix(folder, "/")
	return path == folder || below && (folder == "" || strings.HasPrefix(path, folder+"/"))
}

// standard packages are those whose first element has no dot, and that are
// not ours.
func standard(path string) bool {
	first, _, _ := strings.Cut(path, "/")
	return first != module && !strings.Contains(first, ".")
}

// importFaults says what is wrong with a package's imports.
func importFaults(path string, imports []string) []string {
	name := strings.TrimPrefix(strings.TrimPrefix(path, module), "/")
	for _, rule := range importRules {
		if !fits(rule.packages, name) {
			continue
		}
		var faults []string
		own, _ := strings.CutSuffix(rule.packages, "/...")
		for _, i := range imports {
			inside := own != "mpc" && fits(module+"/"+own+"/...", i)
			if !standard(i) && !inside && !slices.ContainsFunc(rule.allowed, func(a string) bool { return fits(a, i) }) {
				faults = append(faults, name+" imports "+i+": "+rule.why)
			}
		}
		return faults
	}
	return []string{name + " has no rule: what may it import, and why?"}
}

// TestImports holds each package of the module to its rule. Imports of tests
// are free.
func TestImports(t *testing.T) {
	list := exec.CommandContext(t.Context(), "go", "list", "-e", "-json=ImportPath,Imports", module+"/...")
	out, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	packages := 0
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; packages++ {
		var p struct {
			ImportPath string
			Imports    []string
		}
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		for _, fault := range importFaults(p.ImportPath, p.Imports) {
			t.Error(fault)
		}
	}
	if packages < 5 {
		t.Errorf("go list found %d packages", packages)
	}
}

// TestImportRulesBite shows that what the rules are there to stop is stopped.
func TestImportRulesBite(t *testing.T) {
	for _, c := range []struct{ path, imported string }{
		{"zonesigner/dnssec", "zonesigner/mpc"},
		{"zonesigner/dnssec", "github.com/miekg/dns/dnsutil"},
		{"zonesigner/mpc", "github.com/miekg/dns"},
		{"zonesigner/mpc", "zonesigner/mpc/shamir"},
		{"zonesigner/mpc/shamir", "zonesigner/mpc/rep3"},
		{"zonesigner/mpc/rep3", "zonesigner/mpc/shamir"},
		{"zonesigner/mpc/shamir", "github.com/nats-io/nats.go"},
		{"zonesigner/mpc/ecdsa", "zonesigner/mpc/shamir"},
		{"zonesigner/mpc/p256", "zonesigner/mpc"},
		{"zonesigner/mpc/edverify", "zonesigner/mpc"},
		{"zonesigner/mpc/natsnet", "zonesigner/mpc/ecdsa"},
		{"zonesigner/keystore", "zonesigner/mpc"},
		{"zonesigner/knot", "zonesigner/zonesignerd/config"},
		{"zonesigner/measure", "zonesigner/dnssec"},
		{"zonesigner/newcomer", "fmt"},
	} {
		if len(importFaults(c.path, []string{c.imported})) == 0 {
			t.Errorf("%s may import %s", c.path, c.imported)
		}
	}
	for _, c := range []struct{ path, imported string }{
		{"zonesigner/dnssec", "crypto/sha256"},
		{"zonesigner/dnssec/denial", "zonesigner/dnssec"},
		{"zonesigner/mpc/rep3", "zonesigner/mpc/p256"},
		{"zonesigner/zonesignerd/internal/node", "zonesigner/keystore"},
	} {
		if faults := importFaults(c.path, []string{c.imported}); len(faults) > 0 {
			t.Error(faults)
		}
	}
}
