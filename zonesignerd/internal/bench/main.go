// Command bench measures the whole way on this machine: from an unsigned zone
// in three operators' hidden Knots to the signed zone in their three public
// Knots, beside the signers that people use with one key, in the same run; and
// "zonesignerd sign" beside them; and three operators from zone file to zone
// file.
//
//	go run ./zonesignerd/internal/bench -bin bin/zonesignerd -names 100000 -sign host:100000,tld:100000
//	go run ./zonesignerd/internal/bench -bin bin/zonesignerd -group=false -sign '' -files host:100000,host:1000000
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"text/tabwriter"
	"time"

	"zonesigner/zonesignerd/config"
	"zonesigner/zonesignerd/internal/api"
	"zonesigner/zonesignerd/internal/lab"
)

const origin = "example.test."

// result is one row of the table.
type result struct {
	What  string  `json:"what"`
	Wall  float64 `json:"wall_seconds"`
	CPU   float64 `json:"cpu_seconds"` // of one daemon, where there are several
	Peak  int64   `json:"peak_bytes"`
	Ratio float64 `json:"wall_ratio"` // to dnssec-signzone
}

// report is what a run found.
type report struct {
	Machine    string      `json:"machine"`
	Names      int         `json:"names"`
	Results    []result    `json:"results"`
	Verifiers  []result    `json:"verifiers"`        // the ratio is to zonesignerd verify
	Stages     []api.Stage `json:"stages"`           // of the whole zone, at one operator
	Change     []api.Stage `json:"change_stages"`    // of one changed record, there: from the poll that saw it
	KnotCPU    float64     `json:"knot_cpu_seconds"` // of one operator's two Knots
	Signatures int         `json:"signatures"`
	Signings   []signing   `json:"signings"`
	Files      []fileGroup `json:"files"`
}

func main() {
	bin := flag.String("bin", "bin/zonesignerd", "the `program` to measure")
	names := flag.Int("names", 100000, "names in the zone")
	asJSON := flag.Bool("json", false, "print JSON")
	sign := flag.String("sign", "host:100000,tld:100000", "`zones` to sign with keys in files: host:NAMES and tld:NAMES, with commas between; empty: none")
	files := flag.String("files", "", "`zones` that three operators sign from file to file, as -sign has them")
	group := flag.Bool("group", true, "measure three operators with -names names")
	transfers := flag.Bool("transfers", true, "let the public Knots take large zones by transfer")
	others := flag.Bool("others", true, "measure the other signers on the zone of -names names")
	verifiers := flag.Bool("verifiers", true, "measure the verifiers on what they signed")
	verify := flag.Bool("verify", false, "check what was signed with dnssec-verify")
	keep := flag.Bool("keep", false, "keep the directory")
	check := flag.String("check", "", "time the verifiers alone, on this signed zone `file`")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	sizes, err := parseSizes("sign", *sign)
	var fileSizes []zoneSize
	if err == nil {
		fileSizes, err = parseSizes("files", *files)
	}
	if err == nil && !*group {
		*names = 0
	}
	r := &report{Machine: machine()}
	switch {
	case err != nil:
	case *check != "":
		r.Verifiers, err = checkFile(ctx, *bin, *check)
	default:
		r, err = run(ctx, *bin, *names, sizes, fileSizes, *others, *verifiers && *others, *transfers, *verify, *keep)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	if *asJSON {
		_ = json.NewEncoder(os.Stdout).Encode(r)
		return
	}
	r.print()
}

// run measures three operators on a zone of so many names (0: not at all), the
// signers of zone files on each of sizes, and three operators with zone files on
// each of files.
func run(ctx context.Context, bin string, names int, sizes, files []zoneSize, others, check, transfers, verify, keep bool) (*report, error) {
	bin, err := filepath.Abs(bin)
	if err != nil {
		return nil, err
	}
	// Not below $TMPDIR: a socket's path has 107 bytes at most.
	dir, err := os.MkdirTemp("/tmp", "zonesigner-bench-")
	if err != nil {
		return nil, err
	}
	if keep {
		fmt.Fprintln(os.Stderr, "directory:", dir)
	} else {
		defer os.RemoveAll(dir)
	}
	r := &report{Machine: machine(), Names: names}
	for _, z := range sizes {
		if err := r.signers(ctx, dir, bin, z, verify); err != nil {
			return nil, err
		}
	}
	for _, z := range files {
		if err := r.files(ctx, dir, bin, z, verify); err != nil {
			return nil, err
		}
	}
	if names == 0 {
		return r, nil
	}
	if others {
		if err := r.others(ctx, dir, names); err != nil {
			return nil, err
		}
	}
	if check {
		if r.Verifiers, err = verifiers(ctx, bin, filepath.Join(dir, "others", "signed.ldns")); err != nil {
			return nil, err
		}
	}
	if err := r.group(ctx, dir, bin, names, transfers, verify); err != nil {
		return nil, err
	}
	for i := range r.Results {
		r.Results[i].Ratio = r.Results[i].Wall / r.Results[0].Wall
	}
	return r, nil
}

// others times the signers with one key in a file; dnssec-signzone is first.
func (r *report) others(ctx context.Context, dir string, names int) error {
	dir = filepath.Join(dir, "others")
	if err := os.MkdirAll(filepath.Join(dir, "kasp"), 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "zone"), hostZone(origin, names, 2026112001), 0o644); err != nil {
		return err
	}
	var keys []string
	for _, args := range [][]string{{}, {"-f", "KSK"}} {
		m, err := lab.Measure(ctx, dir, "dnssec-keygen", append(append([]string{"-q", "-a", "ECDSAP256SHA256"}, args...), origin)...)
		if err != nil {
			return err
		}
		keys = append(keys, strings.TrimSpace(m.Out))
	}
	conf := fmt.Sprintf("policy:\n  - id: p\n    manual: off\n    nsec3: on\n    nsec3-iterations: 0\n    nsec3-salt-length: 0\n    algorithm: ecdsap256sha256\ndatabase:\n    storage: %s\n    kasp-db: kasp\nzone:\n  - domain: %s\n    storage: %[1]s\n    file: zone\n    dnssec-policy: p\n", dir, origin)
	if err := os.WriteFile(filepath.Join(dir, "knot.conf"), []byte(conf), 0o644); err != nil {
		return err
	}
	for _, c := range []struct {
		what string
		line []string
	}{
		{"dnssec-signzone -3 - -x, one key", []string{"dnssec-signzone", "-q", "-S", "-3", "-", "-x", "-o", origin, "-f", "signed.bind", "zone"}},
		{"ldns-signzone -n, one key", append([]string{"ldns-signzone", "-n", "-t", "0", "-o", origin, "-f", "signed.ldns", "zone"}, keys...)},
		{"kzonesign, one key", []string{"kzonesign", "-c", "knot.conf", "-o", ".", origin}},
	} {
		fmt.Fprintln(os.Stderr, "bench:", c.what)
		m, err := lab.Measure(ctx, dir, c.line[0], c.line[1:]...)
		if err != nil {
			return err
		}
		r.add(c.what, m.Wall, m.Usage)
	}
	return nil
}

func (r *report) add(what string, wall time.Duration, u lab.Usage) {
	r.Results = append(r.Results, result{What: what, Wall: wall.Seconds(), CPU: u.CPU.Seconds(), Peak: u.Peak})
}

// group times three operators: the whole zone, then one changed record.
func (r *report) group(ctx context.Context, dir, bin string, names int, transfers, verify bool) error {
	l, err := lab.New(ctx, dir, bin, origin, transfers, func(c *config.Daemon) {
		c.PollInterval = config.Duration(time.Second)
	}, "a", "b", "c")
	if err != nil {
		return err
	}
	defer l.Stop()
	if err := load(ctx, l, hostZone(origin, 10, 1), false); err != nil {
		return err
	}
	if err := l.Start(ctx); err != nil {
		return err
	}
	policy := filepath.Join(dir, "policy.yaml")
	text := fmt.Sprintf("version: 1\nzone: %s\nserial-policy: increment\ndenial:\n  nsec3: true\n", origin)
	if err := os.WriteFile(policy, []byte(text), 0o644); err != nil {
		return err
	}
	for _, o := range l.Operators {
		if _, err := o.Run(ctx, "zones", "add", policy); err != nil {
			return err
		}
		if _, err := o.Run(ctx, "keys", "generate", origin, "--wait=false"); err != nil {
			return err
		}
	}
	serial, err := level(ctx, l, 0)
	if err != nil {
		return err
	}
	fmt.Fprintln(os.Stderr, "bench: three operators, the whole zone")
	if err := load(ctx, l, hostZone(origin, names, 2), true); err != nil {
		return err
	}
	before, err := usage(l)
	if err != nil {
		return err
	}
	start := time.Now()
	if serial, err = level(ctx, l, serial); err != nil {
		return err
	}
	wall := time.Since(start)
	after, err := usage(l)
	if err != nil {
		return err
	}
	r.add("three operators, threshold key", wall, lab.Usage{CPU: after.daemon.CPU - before.daemon.CPU, Peak: after.daemon.Peak})
	r.KnotCPU = (after.knots - before.knots).Seconds()
	var z api.ZoneDetail
	if err := l.Operators[0].JSON(ctx, &z, "zones", "show", origin); err != nil {
		return err
	}
	r.Stages, r.Signatures = z.Stages, z.RRSIGs
	if verify {
		if err := check(ctx, dir, l.Operators[0]); err != nil {
			return err
		}
	}
	// From now on tuples are kept for what falls due while an operator is away.
	// They are made in the background, once: a zone of this size changes when they
	// are there.
	fmt.Fprintln(os.Stderr, "bench: three operators, the pools")
	before, start = after, start.Add(wall)
	if err := poolsFull(ctx, l); err != nil {
		return err
	}
	if after, err = usage(l); err != nil {
		return err
	}
	r.add("the pools for its next refreshes", time.Since(start), lab.Usage{CPU: after.daemon.CPU - before.daemon.CPU, Peak: after.daemon.Peak})
	fmt.Fprintln(os.Stderr, "bench: three operators, one changed record")
	changed := append(hostZone(origin, names, 3), "changed IN A 192.0.2.77\n"...)
	if err := load(ctx, l, changed, true); err != nil {
		return err
	}
	if before, err = usage(l); err != nil {
		return err
	}
	start = time.Now()
	if _, err = level(ctx, l, serial); err != nil {
		return err
	}
	wall = time.Since(start)
	if after, err = usage(l); err != nil {
		return err
	}
	r.add("the same, one record changed", wall, lab.Usage{CPU: after.daemon.CPU - before.daemon.CPU, Peak: after.daemon.Peak})
	z = api.ZoneDetail{}
	if err := l.Operators[0].JSON(ctx, &z, "zones", "show", origin); err != nil {
		return err
	}
	r.Change = z.Stages
	return nil
}

// load gives all hidden Knots the zone and waits until they have it.
func load(ctx context.Context, l *lab.Lab, text []byte, reload bool) error {
	for _, o := range l.Operators {
		if err := o.Hidden.WriteZone(text); err != nil {
			return err
		}
	}
	if !reload {
		return nil
	}
	before := map[string]uint32{}
	for _, o := range l.Operators {
		st, err := o.Hidden.Control.ZoneStatus(ctx, origin)
		if err != nil {
			return err
		}
		before[o.Name] = st.Serial
		if err := o.Hidden.Reload(ctx); err != nil {
			return err
		}
	}
	for _, o := range l.Operators {
		err := lab.Until(ctx, 10*lab.Patience, "the hidden Knot of "+o.Name, func() (bool, string) {
			st, err := o.Hidden.Control.ZoneStatus(ctx, origin)
			return err == nil && st.Serial != before[o.Name], fmt.Sprint(st.Serial, err)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// level waits until all public Knots serve the same serial above after.
func level(ctx context.Context, l *lab.Lab, after uint32) (serial uint32, err error) {
	return serial, lab.Until(ctx, 20*lab.Patience, "all public Knots", func() (bool, string) {
		var all []string
		same := true
		for i, o := range l.Operators {
			st, err := o.Public.Control.ZoneStatus(ctx, origin)
			if err != nil {
				return false, err.Error()
			}
			if i == 0 {
				serial = st.Serial
			}
			same = same && st.HasSerial && st.Serial == serial && serial > after
			all = append(all, fmt.Sprint(st.Serial))
		}
		return same, strings.Join(all, ", ")
	})
}

// poolsFull waits until no operator has tuples to make.
func poolsFull(ctx context.Context, l *lab.Lab) error {
	return lab.Until(ctx, 20*lab.Patience, "full pools", func() (bool, string) {
		for _, o := range l.Operators {
			pools, err := o.API.Pools(ctx, "")
			if err != nil {
				return false, err.Error()
			}
			for _, p := range pools {
				if p.Next.Kind != api.ActorNone {
					return false, fmt.Sprintf("%s has %d of %d for %s", o.Name, p.Depth, p.Wanted, p.SignerSet)
				}
			}
		}
		return true, ""
	})
}

type used struct {
	daemon lab.Usage // the daemon that used most
	knots  time.Duration
}

func usage(l *lab.Lab) (u used, err error) {
	for _, o := range l.Operators {
		d, err := o.Daemon.Usage()
		if err != nil {
			return u, err
		}
		u.daemon.CPU, u.daemon.Peak = max(u.daemon.CPU, d.CPU), max(u.daemon.Peak, d.Peak)
	}
	for _, k := range []*lab.Knot{l.Operators[0].Hidden, l.Operators[0].Public} {
		d, err := k.Process.Usage()
		if err != nil {
			return u, err
		}
		u.knots += d.CPU
	}
	return u, nil
}

// check transfers the served zone and lets dnssec-verify judge it.
func check(ctx context.Context, dir string, o *lab.Operator) error {
	m, err := lab.Measure(ctx, dir, "kdig", "@127.0.0.1", "-p", fmt.Sprint(o.Public.Port), "-t", "AXFR", origin, "+noall", "+answer")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "served"), []byte(m.Out), 0o644); err != nil {
		return err
	}
	_, err = lab.Measure(ctx, dir, "dnssec-verify", "-q", "-o", origin, "served")
	return err
}

func machine() string {
	model := "unknown processor"
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(text)) {
			if name, ok := strings.CutPrefix(line, "model name"); ok {
				model = strings.Trim(name, " \t:\n")
				break
			}
		}
	}
	return fmt.Sprintf("%d cores, %s, %s", runtime.NumCPU(), model, runtime.Version())
}

func (r *report) print() {
	fmt.Println(r.Machine)
	r.printSignings()
	r.printFiles()
	if len(r.Verifiers) > 0 {
		fmt.Println("\nchecking a signed zone file:")
		printResults(r.Verifiers)
	}
	if len(r.Results) > 0 {
		r.printGroup()
	}
}

func printResults(results []result) {
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "wall s\tCPU s\tpeak MB\tratio\t  what\t")
	for _, x := range results {
		fmt.Fprintf(w, "%.1f\t%.1f\t%d\t%.2f\t  %s\t\n", x.Wall, x.CPU, x.Peak>>20, x.Ratio, x.What)
	}
	_ = w.Flush()
}

func (r *report) printGroup() {
	fmt.Printf("\n%d names, %d signatures\n\n", r.Names, r.Signatures)
	printResults(r.Results)
	fmt.Printf("\nCPU and memory of the operators' rows are those of the daemon that used most; an operator's two Knots used %.1f s on top.\n", r.KnotCPU)
	printStages("the whole zone", r.Stages)
	printStages("one record changed, from the poll that saw it", r.Change)
}

// printStages prints where the time of a version went.
func printStages(what string, stages []api.Stage) {
	total := 0.0
	for _, s := range stages {
		total += s.Seconds
	}
	fmt.Printf("stages at operator a, %s: %.2f s:", what, total)
	for _, s := range stages {
		fmt.Printf(" %s %.2f s (%.0f %%)", s.Name, s.Seconds, 100*s.Seconds/total)
	}
	fmt.Println()
}
