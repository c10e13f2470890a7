package run

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"zonesigner/measure"
	"zonesigner/measure/resolve"
	"zonesigner/measure/testnet"
)

// begin makes a run's files and lets it do nothing yet.
func begin(t *testing.T, o Options) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Run(ctx, o); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
}

// kill runs the rest of a run in a process of its own, and kills that when it has
// written so many bytes of results, and a moment more; done reports that it came
// to its end before.
func kill(t *testing.T, dir string, bytes int64, moment time.Duration) (done bool) {
	t.Helper()
	path := filepath.Join(dir, resultsFile)
	size := func() int64 {
		stat, err := os.Stat(path)
		if err != nil {
			return 0
		}
		return stat.Size()
	}
	before := size()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "ZONESIGNER_MEASURE_CHILD="+dir)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		for size() < before+bytes {
			select {
			case <-ended:
				return
			case <-time.After(time.Millisecond):
			}
		}
		time.Sleep(moment)
		_ = cmd.Process.Kill()
	}()
	err := cmd.Wait()
	close(ended)
	<-watched
	if err != nil && cmd.ProcessState.Exited() {
		t.Fatal(err)
	}
	return err == nil
}

// TestKilled kills a run at moments of chance until it is through, and wants
// what a run gives that nobody disturbs: nothing lost, nothing twice.
func TestKilled(t *testing.T) {
	t.Parallel()
	count := 2000
	n := start(t)
	o := options(t, n, count)
	o.WhoisTop, o.Whois, o.WhoisRate = 400, "127.0.0.1:1", 1000 // nobody is there, which is a fault of each domain
	begin(t, o)
	kills := 0
	for ; ; kills++ {
		// The first sessions are short, and what they have written is mostly cut
		// off again; so each gets farther than the one before, and at last one is
		// left alone.
		bytes := rand.Int64N(int64(kills+1) * 60_000)
		if kills == 25 {
			bytes = math.MaxInt32
		}
		if kill(t, o.Dir, bytes, time.Duration(rand.IntN(30))*time.Millisecond) {
			break
		}
	}
	if kills < 3 {
		t.Errorf("only %d kills", kills)
	}
	got := records(t, o.Dir)
	compare(t, got, answering(count), false)
	m, err := LoadMeta(o.Dir)
	if err != nil {
		t.Fatal(err)
	}
	if m.Finished.IsZero() || len(m.Sessions) < 2 {
		t.Errorf("meta %+v", m)
	}
	t.Logf("%d kills, %d sessions that got as far as measuring", kills, len(m.Sessions))

	whole := options(t, n, count)
	whole.WhoisTop, whole.Whois, whole.WhoisRate = o.WhoisTop, o.Whois, o.WhoisRate
	calm, err := Run(t.Context(), whole)
	if err != nil {
		t.Fatal(err)
	}
	// What else is counted is of the machine: that it was too busy to hear answers.
	if m.Faults["whois"] != calm.Faults["whois"] || m.Faults["whois"] < 10 {
		t.Errorf("faults with kills %v, without %v", m.Faults, calm.Faults)
	}
	differ := 0
	for name, want := range records(t, whole.Dir) {
		if a, b := essence(got[name]), essence(want); a != b && differ < 3 {
			differ++
			t.Errorf("%s: with kills\n%s\nwithout\n%s", name, a, b)
		}
	}
	// The store says the same as the lines.
	store, err := OpenStore(o.Dir)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	counted := 0
	err = store.Each(func(s Summary) error {
		counted++
		r, err := store.Record(s)
		if err != nil || r.Name != s.Name || r.Data.Class != s.Class || r.Rank != s.Rank {
			t.Errorf("%+v: %+v, %v", s, r, err)
		}
		return nil
	})
	if err != nil || counted != len(got) {
		t.Errorf("%d summaries: %v", counted, err)
	}
}

// essence is a record without what differs from one time to the next: which
// of an operator's servers answered is chance, too.
func essence(r *measure.Record) string {
	c := *r
	c.Timestamp, c.Data.Queries, c.Data.Millis, c.Data.Resolver = time.Time{}, 0, 0, ""
	c.Data.Operators = slices.Clone(c.Data.Operators)
	for i := range c.Data.Operators {
		c.Data.Operators[i].Probe = nil
	}
	b, _ := json.Marshal(c)
	return string(b)
}

// TestTornLine cuts the results off in the middle of a line, as a crash of the
// machine may: lines that are not counted go, lines that are counted must not
// be missing.
func TestTornLine(t *testing.T) {
	t.Parallel()
	n := start(t)
	o := options(t, n, 300)
	if _, err := Run(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(o.Dir, resultsFile)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, append(slices.Clone(whole), `{"name":"torn`...), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Run(t.Context(), Options{Dir: o.Dir, Resume: true}); err != nil {
		t.Fatal(err)
	}
	if after, err := os.ReadFile(path); err != nil || string(after) != string(whole) {
		t.Errorf("the torn line is still there, or more than it is gone: %d bytes, were %d", len(after), len(whole))
	}
	if err := os.WriteFile(path, whole[:len(whole)-10], 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Run(t.Context(), Options{Dir: o.Dir, Resume: true}); err == nil || !strings.Contains(err.Error(), "lines were lost") {
		t.Errorf("lines that are counted are missing: %v", err)
	}
}

// TestChangedList changes and removes the list between start and going on: it
// is named and counted, and the run goes on with its own copy.
func TestChangedList(t *testing.T) {
	t.Parallel()
	n := start(t)
	o := options(t, n, 200)
	begin(t, o)
	if err := os.WriteFile(o.List, []byte("1,example.com\nbad line\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	var faults []Fault
	m, err := Run(t.Context(), Options{Dir: o.Dir, Resume: true, Resolve: resolve.Config{Rate: -1, ServerRate: -1}, Fault: func(f Fault) { faults = append(faults, f) }})
	if err != nil {
		t.Fatal(err)
	}
	if m.Faults["list-changed"] != 1 || len(faults) == 0 || !strings.Contains(faults[0].Text, m.List.SHA256) {
		t.Errorf("faults %v, counted %v", faults, m.Faults)
	}
	compare(t, records(t, o.Dir), answering(200), false)
	if _, err := Run(t.Context(), o); !errors.Is(err, ErrExists) {
		t.Errorf("a new run over an old one: %v", err)
	}
	if _, err := Run(t.Context(), Options{Dir: t.TempDir(), Resume: true}); err == nil {
		t.Error("nothing was gone on with")
	}
}

// TestChangedVersions goes on with a run that began with other data: it is
// named and counted. A new run has nothing of one that failed before.
func TestChangedVersions(t *testing.T) {
	t.Parallel()
	n := start(t)
	o := options(t, n, 50)
	begin(t, o)
	m, err := LoadMeta(o.Dir)
	if err != nil {
		t.Fatal(err)
	}
	m.Settings.Suffixes, m.Settings.Aliases = "of old", "0 aliases"
	if err := m.save(o.Dir); err != nil {
		t.Fatal(err)
	}
	o.Resume = true
	if m, err = Run(t.Context(), o); err != nil || m.Faults["version-changed"] != 2 {
		t.Errorf("%v, faults %v", err, m.Faults)
	}
	o = options(t, n, 50)
	if err := os.Mkdir(o.Dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(o.Dir, aliasFile), []byte("name\tstale\tstale\tx\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	o.Aliases = ""
	if m, err = Run(t.Context(), o); err != nil || m.Faults["version-changed"] > 0 || strings.Contains(m.Settings.Aliases, " ") {
		t.Errorf("%v, faults %v, aliases %q", err, m.Faults, m.Settings.Aliases)
	}
	if _, err := os.Stat(filepath.Join(o.Dir, aliasFile)); err == nil {
		t.Error("the stale table is still there")
	}
}

// TestListFaults counts bad lines in the run's record.
func TestListFaults(t *testing.T) {
	t.Parallel()
	n := start(t)
	o := options(t, n, 0)
	name := testnet.At(0).Name
	if err := os.WriteFile(o.List, []byte("1,"+name+"\nnonsense\n3,"+name+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	m, err := Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	told, err := os.ReadFile(filepath.Join(o.Dir, faultsFile))
	if err != nil || m.Faults["malformed-line"] != 1 || m.Faults["duplicate"] != 1 || !strings.Contains(string(told), "line 2") || len(records(t, o.Dir)) != 1 {
		t.Errorf("%v, %v\n%s", err, m.Faults, told)
	}
}

// TestResolverDies lets one resolver die for good and the other for a while:
// the run goes on, waits while there is none, and no domain is counted as
// silent for it.
func TestResolverDies(t *testing.T) {
	t.Parallel()
	count := 1500
	n := start(t)
	o := options(t, n, count)
	o.Resolvers = []netip.AddrPort{n.Resolver(0), n.Resolver(1)}
	o.Resolve.ResolverRate = 600 // so that it takes a while
	first := true
	o.Progress = func(p Progress) {
		if first {
			n.Dead[0].Store(true)
			n.Dead[1].Store(true)
		}
		first = false
	}
	dead := 0
	o.Fault = func(f Fault) {
		if f.Kind == resolve.EventDead {
			if dead++; dead == 2 { // there is none: for a while
				time.AfterFunc(time.Second, func() { n.Dead[0].Store(false) })
			}
		}
	}
	m, err := Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if m.Faults[resolve.EventDead] < 2 || m.Faults[resolve.EventAlive] < 1 {
		t.Errorf("counted %v", m.Faults)
	}
	compare(t, records(t, o.Dir), answering(count), true)
}

// TestResolverLies wants a liar left out while another is honest, and its
// answers marked when it is the only one.
func TestResolverLies(t *testing.T) {
	t.Parallel()
	n := start(t)
	o := options(t, n, 400)
	o.Resolvers = []netip.AddrPort{n.Resolver(0), n.Resolver(testnet.Liar)}
	m, err := Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if m.Faults[resolve.EventLies] != 1 {
		t.Errorf("counted %v", m.Faults)
	}
	compare(t, records(t, o.Dir), answering(400), true)

	alone := options(t, n, 100)
	alone.Resolvers = []netip.AddrPort{n.Resolver(testnet.Liar)}
	if _, err := Run(t.Context(), alone); err != nil {
		t.Fatal(err)
	}
	for name, r := range records(t, alone.Dir) {
		if r.Data.Class != measure.Unknown || !has(r, measure.ResolverLies) {
			t.Errorf("%s is %s by a liar's word", name, r.Data.Class)
		}
	}
	n.Dead[0].Store(true)
	dead := options(t, n, 100)
	dead.Resolvers = []netip.AddrPort{n.Resolver(0)}
	if _, err := Run(t.Context(), dead); !errors.Is(err, resolve.ErrNoResolver) {
		t.Errorf("no resolver from the beginning: %v", err)
	}
}
