package run

import (
	"context"
	"crypto/sha256"
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
	"zonesigner/measure/operator"
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

// options are for a run over the first count domains of the test Internet but
// those that wait for a time-out, which is so long that no other domain meets it,
// however busy this machine is.
func options(t testing.TB, n *testnet.Net, count int) Options {
	t.Helper()
	dir := t.TempDir()
	o := Options{Dir: filepath.Join(dir, "run"), List: filepath.Join(dir, "list.csv"), Aliases: filepath.Join(dir, "aliases"),
		Roots: n.Roots(), Concurrency: 500, Program: "test",
		Resolve: resolve.Config{Port: n.Port, Private: true, Timeout: time.Minute, Try: time.Second, Rate: -1, ServerRate: -1, ResolverRate: -1}}
	writeList(t, o.List, answering(count))
	if err := os.WriteFile(o.Aliases, []byte(testnet.Aliases), 0o644); err != nil {
		t.Fatal(err)
	}
	return o
}

// answering are those of the first count domains that wait for no time-out.
func answering(count int) (domains []testnet.Domain) {
	for i := range count {
		if d := testnet.At(i); !d.Waits {
			domains = append(domains, d)
		}
	}
	return domains
}

func writeList(t testing.TB, path string, domains []testnet.Domain) {
	t.Helper()
	var list strings.Builder
	for _, d := range domains {
		fmt.Fprintf(&list, "%d,%s\n", d.Rank, d.Name)
	}
	if err := os.WriteFile(path, []byte(list.String()), 0o644); err != nil {
		t.Fatal(err)
	}
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

// compare wants every domain in its class, for its reason.
func compare(t testing.TB, got map[string]*measure.Record, domains []testnet.Domain, stub bool) {
	t.Helper()
	wrong := 0
	for _, d := range domains {
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
	if len(got) != len(domains) || wrong > 0 {
		t.Errorf("%d records of %d domains, %d not as expected", len(got), len(domains), wrong)
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
	want := answering(*domains)
	var last Progress
	o.Progress = func(p Progress) { last = p }
	m, err := Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	compare(t, records(t, o.Dir), want, false)
	if last.Done != len(want) || last.Total != len(want) || m.Finished.IsZero() {
		t.Errorf("progress %+v, finished %s", last, m.Finished)
	}
	logQueries(t, m)
	if s := m.Sessions[0]; s.Queries.TCP == 0 || s.Queries.Stray == 0 {
		t.Errorf("no truncation or wrong id was met: %+v", s.Queries)
	}
}

func logQueries(t *testing.T, m *Meta) {
	t.Helper()
	s := m.Sessions[0]
	t.Logf("%d domains in %s, %.1f queries each: %+v", m.List.Domains, s.Ended.Sub(s.Started).Round(time.Millisecond), float64(s.Queries.UDP)/float64(m.List.Domains), *s.Queries)
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
	compare(t, records(t, o.Dir), answering(*domains), true)
	logQueries(t, m)
}

// TestSilent measures the domains that the others leave out, whose servers are
// silent, or send what is no answer: each has no response when its time is over,
// or an operator whose servers do not serve.
func TestSilent(t *testing.T) {
	t.Parallel()
	n := start(t)
	var want []testnet.Domain
	for i := range *domains {
		if d := testnet.At(i); d.Waits {
			want = append(want, d)
		}
	}
	for name, resolvers := range map[string][]netip.AddrPort{"from the root": nil, "through a resolver": {n.Resolver(0)}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := options(t, n, 0)
			o.Resolvers = resolvers
			o.Resolve.Timeout, o.Resolve.Try = 4*time.Second, 400*time.Millisecond
			writeList(t, o.List, want)
			m, err := Run(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			compare(t, records(t, o.Dir), want, len(resolvers) > 0)
			logQueries(t, m)
			if q := m.Sessions[0].Queries; q.Timeouts == 0 || resolvers == nil && (q.Garbage == 0 || q.Stray == 0) {
				t.Errorf("no silence, wrong id or garbage was met: %+v", q)
			}
		})
	}
}

// TestRecord wants on record what a run was: its list, when and with what it was
// measured; and of each domain a line in the shape of zdns.
func TestRecord(t *testing.T) {
	t.Parallel()
	n := start(t)
	o := options(t, n, 20)
	o.Resolvers, o.Roots = []netip.AddrPort{n.Resolver(0)}, nil
	before := time.Now().UTC()
	modified := before.Add(-48 * time.Hour).Truncate(time.Second)
	if err := os.Chtimes(o.List, modified, modified); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(o.List)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Run(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	m, err := LoadMeta(o.Dir)
	if err != nil {
		t.Fatal(err)
	}
	if l := m.List; l.Path != o.List || !l.Modified.Equal(modified) || l.SHA256 != fmt.Sprintf("%x", sha256.Sum256(content)) || l.Domains != len(answering(20)) {
		t.Errorf("list %+v", l)
	}
	s := m.Settings
	if !slices.Equal(s.Resolvers, []string{n.Resolver(0).String()}) || s.Timeout != o.Resolve.Timeout || s.Try != o.Resolve.Try || !s.Private ||
		s.Suffixes != operator.SuffixVersion() || !strings.HasPrefix(s.Aliases, operator.Default().Version+" ") {
		t.Errorf("settings %+v", s)
	}
	if m.Started.Before(before) || m.Finished.Before(m.Started) || len(m.Sessions) != 1 || m.Sessions[0].Program != "test" || m.Sessions[0].Concurrency != o.Concurrency {
		t.Errorf("started %s, finished %s, sessions %+v", m.Started, m.Finished, m.Sessions)
	}
	lines, err := os.ReadFile(filepath.Join(o.Dir, resultsFile))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(lines)) {
		var r map[string]any
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatal(err)
		}
		at, err := time.Parse(time.RFC3339Nano, fmt.Sprint(r["timestamp"]))
		data, _ := r["data"].(map[string]any)
		if err != nil || at.Before(before.Add(-time.Millisecond)) || r["name"] == "" || r["status"] == "" || data["class"] == nil || data["reasons"] == nil || data["resolver"] == nil {
			t.Errorf("%v: %s", err, line)
		}
	}
}

func child(dir string) int {
	_, err := Run(context.Background(), Options{Dir: dir, Resume: true, Concurrency: 200, WhoisRate: 1000, Resolve: resolve.Config{Rate: -1, ServerRate: -1}})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}
