package node

import (
	"os"
	"strings"
	"testing"
	"time"

	"zonesigner/zonesignerd/config"
)

// Another group file is named where the operator looks first.
func TestStatusNamesAnotherGroupFile(t *testing.T) {
	t.Parallel()
	o := newOperators(t, 3, 1)
	o.start("a")
	o.start("b")
	other := *o.group
	other.SignerSets = [][]string{{"a", "b", "c"}}
	text, err := config.FormatGroup(&other)
	must(t, err)
	must(t, os.WriteFile(o.path("c", "group.yaml"), text, 0o644))
	o.start("c")
	o.eventually(20*time.Second, "a names the other group file", func() bool {
		s, err := o.nodes["a"].Status(t.Context())
		must(t, err)
		return strings.Contains(s.Peers[1].Reason, "operator c holds another group file")
	})
}

// What the zone's content breaks of the policy's margins is a warning, and
// the zone is signed all the same. The pools' outlook is there with it.
func TestMarginsAndOutlook(t *testing.T) {
	t.Parallel()
	o := newOperators(t, 3, 1)
	o.write("example.", 1, "www 1209600 A 192.0.2.10") // SOA expire 14 days, as its TTL
	o.startAll()
	o.add("example.", "rrsig-refresh: 10d")
	o.level("example.", 0)
	warnings := strings.Join(o.status("a", "example.").Warnings, "\n")
	for _, want := range []string{"SOA expire + propagation-delay", "largest TTL + propagation-delay"} {
		if !strings.Contains(warnings, want) {
			t.Errorf("want a warning of %q, got %q", want, warnings)
		}
	}
	o.eventually(20*time.Second, "every pool has its date, and so has every peer", func() bool {
		s, err := o.nodes["a"].Status(t.Context())
		must(t, err)
		pools, err := o.nodes["a"].Pools(t.Context(), "example.")
		must(t, err)
		for _, p := range pools {
			if p.Depth == 0 || p.Key != "" && p.LastsTill.Before(s.Zones[0].NextRefresh) {
				return false
			}
		}
		for _, w := range s.Without {
			if w.Never || !w.Until.After(s.Zones[0].NextRefresh) {
				return false
			}
		}
		return len(s.Without) == 2
	})
}

// A load of n signatures in a cycle is covered by n tuples for one cycle.
func TestLoadLasts(t *testing.T) {
	from := time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC)
	l := load{from: from, cycle: 10 * 24 * time.Hour, tuples: 100}
	for tuples, want := range map[int]time.Duration{0: 0, 50: 5 * 24 * time.Hour, 100: 10 * 24 * time.Hour, 1000: 100 * 24 * time.Hour} {
		if got := l.lasts(tuples).Sub(from); got != want {
			t.Errorf("%d tuples last %s, want %s", tuples, got, want)
		}
	}
}

// An SOA that differs in more than its serial is named too.
func TestDisputeOverTheSOA(t *testing.T) {
	t.Parallel()
	o := newOperators(t, 3, 1)
	o.write("example.", 1, "www A 192.0.2.10")
	o.startAll()
	o.add("example.")
	o.level("example.", 0)
	o.write("example.", 2, "www A 192.0.2.10")
	text, err := os.ReadFile(o.path("c", "example.zone"))
	must(t, err)
	must(t, os.WriteFile(o.path("c", "example.zone"), []byte(strings.Replace(string(text), "1209600", "1209601", 1)), 0o644))
	o.eventually(20*time.Second, "the SOA is named", func() bool {
		for _, r := range o.status("a", "example.").Refusals {
			if strings.Contains(r.Reason, "example. SOA differs from ours") {
				return true
			}
		}
		return false
	})
}
