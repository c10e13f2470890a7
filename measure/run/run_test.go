package run

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"zonesigner/measure"
	"zonesigner/measure/list"
	"zonesigner/measure/resolve"
	"zonesigner/measure/testnet"
)

var domains = flag.Int("domains", 4000, "how many domains of the test Internet are measured")

func TestMain(m *testing.M) {
	if dir := os.Getenv("ZONESIGNER_MEASURE_CHILD"); dir != "" {
		os.Exit(child(dir))
	}
	goleak.VerifyTestMain(m)
}

func start(t testing.TB) *testnet.Net {
	t.Helper()
	n, err := testnet.Start(200)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.Close)
	return n
}

// options are for a run over the first count domains of the test Internet.
func options(t testing.TB, n *testnet.Net, count int) Options {
	t.Helper()
	dir := t.TempDir()
	o := Options{Dir: filepath.Join(dir, "run"), List: filepath.Join(dir, "list.csv"), Aliases: filepath.Join(dir, "aliases"),
		Roots: n.Roots(), Concurrency: 500 / slowness, Program: "test",
		Resolve: resolve.Config{Port: n.Port, Private: true, Timeout: 4 * time.Second, Try: 400 * time.Millisecond, Rate: -1, ServerRate: -1, ResolverRate: -1}}
	f, err := os.Create(o.List)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := testnet.WriteList(f, count); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(o.Aliases, []byte(testnet.Aliases), 0o644); err != nil {
		t.Fatal(err)
	}
	return o
}

// records reads a run's lines, each name once.
func records(t testing.TB, dir string) map[string]*measure.Record {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, resultsFile))
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]*measure.Record{}
	for line := range strings.Lines(string(b)) {
		r := new(measure.Record)
		if err := json.Unmarshal([]byte(line), r); err != nil {
			t.Fatal(err)
		}
		if all[r.Name] != nil {
			t.Errorf("%s is there twice", r.Name)
		}
		all[r.Name] = r
	}
	return all
}

// compare wants every domain in its class, for its reason. It returns how many
// were not.
func compare(t testing.TB, got map[string]*measure.Record, count int, stub bool) {
	t.Helper()
	wrong := 0
	for i := range count {
		d := testnet.At(i)
		name, err := list.Name(d.Name)
		if err != nil {
			t.Fatal(err)
		}
		status := d.Status
		if stub {
			status = d.Stub
		}
		r := got[name]
		switch {
		case r == nil:
			t.Errorf("%s is missing", d.Name)
		case r.Rank != d.Rank || r.Status != status || r.Data.Class != d.Class || r.Data.Signers != d.Signers || !has(r, d.Reason) && !(stub && d.Reason == measure.ParentDiffers):
			if wrong++; wrong <= 20 {
				b, _ := json.Marshal(r)
				t.Errorf("%s: want rank %d, %s, %s, signers %q, because %s\n%s", d.Name, d.Rank, status, d.Class, d.Signers, d.Reason, b)
			}
		}
	}
	if len(got) != count || wrong > 0 {
		t.Errorf("%d records of %d domains, %d not as expected", len(got), count, wrong)
	}
}

func has(r *measure.Record, code measure.Code) bool {
	return slices.ContainsFunc(r.Data.Reasons, func(reason measure.Reason) bool { return reason.Code == code })
}

// TestFromTheRoot measures the test Internet iteratively, and wants every
// domain where it belongs.
func TestFromTheRoot(t *testing.T) {
	t.Parallel()
	n := start(t)
	o := options(t, n, *domains)
	var last Progress
	o.Progress = func(p Progress) { last = p }
	m, err := Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	compare(t, records(t, o.Dir), *domains, false)
	if last.Done != *domains || last.Total != *domains || m.Finished.IsZero() {
		t.Errorf("progress %+v, finished %s", last, m.Finished)
	}
	s := m.Sessions[0]
	t.Logf("%d domains in %s, %.1f queries each: %+v", *domains, s.Ended.Sub(s.Started).Round(time.Millisecond), float64(s.Queries.UDP)/float64(*domains), *s.Queries)
	if s.Queries.TCP == 0 || s.Queries.Stray == 0 || s.Queries.Garbage == 0 {
		t.Errorf("no truncation, wrong id or garbage was met: %+v", s.Queries)
	}
}

// TestThroughResolvers does the same through resolvers.
func TestThroughResolvers(t *testing.T) {
	t.Parallel()
	n := start(t)
	o := options(t, n, *domains)
	o.Resolvers = []netip.AddrPort{n.Resolver(0), n.Resolver(1)}
	m, err := Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	compare(t, records(t, o.Dir), *domains, true)
	s := m.Sessions[0]
	t.Logf("%d domains in %s, %.1f queries each: %+v", *domains, s.Ended.Sub(s.Started).Round(time.Millisecond), float64(s.Queries.UDP)/float64(*domains), *s.Queries)
}

func child(dir string) int {
	_, err := Run(context.Background(), Options{Dir: dir, Resume: true, Concurrency: 200, WhoisRate: 1000, Resolve: resolve.Config{Rate: -1, ServerRate: -1}})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}
