package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"zonesigner/zonesignerd/internal/lab"
)

// signing is a row of the second table: one signer with keys in files, or in
// its own store, and a whole zone file.
type signing struct {
	Zone  string  `json:"zone"`
	What  string  `json:"what"`
	Wall  float64 `json:"wall_seconds"`
	CPU   float64 `json:"cpu_seconds"`
	Peak  int64   `json:"peak_bytes"`
	Ratio float64 `json:"wall_ratio"`     // to kzonesign on the same zone
	CPUs  float64 `json:"cpu_time_ratio"` // to kzonesign on the same zone
}

// zoneSize is a zone to be signed: a kind and how many names.
type zoneSize struct {
	kind  string // host, tld
	names int
}

// parseSizes reads what a flag gives, "host:100000,tld:100000"; empty is none.
func parseSizes(flag, text string) ([]zoneSize, error) {
	var out []zoneSize
	for _, word := range strings.FieldsFunc(text, func(r rune) bool { return r == ',' }) {
		kind, number, _ := strings.Cut(word, ":")
		names, err := strconv.Atoi(number)
		if err != nil || names < 1 || kind != "host" && kind != "tld" {
			return nil, fmt.Errorf("-%s %q: want host:NAMES or tld:NAMES", flag, word)
		}
		out = append(out, zoneSize{kind, names})
	}
	return out, nil
}

// text is the zone under a serial.
func (z zoneSize) text(serial uint32) []byte {
	if z.kind == "tld" {
		return tldZone(origin, z.names, serial)
	}
	return hostZone(origin, z.names, serial)
}

// signers times all signers on one zone, each with as many threads as there
// are processors.
func (r *report) signers(ctx context.Context, dir, bin string, z zoneSize, verify bool) error {
	dir = filepath.Join(dir, fmt.Sprintf("sign-%s-%d", z.kind, z.names))
	for _, d := range []string{"kasp", "knot"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o700); err != nil {
			return err
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "zone"), z.text(2026112001), 0o644); err != nil {
		return err
	}
	var keys []string
	for _, args := range [][]string{{"-f", "KSK"}, {}} {
		m, err := lab.Measure(ctx, dir, "dnssec-keygen", append(append([]string{"-q", "-a", "ECDSAP256SHA256"}, args...), origin)...)
		if err != nil {
			return err
		}
		keys = append(keys, strings.TrimSpace(m.Out))
	}
	threads := strconv.Itoa(runtime.NumCPU())
	bind, ldns, ours, optOut := []string{"-3", "-"}, []string{"-n", "-t", "0"}, []string{"-n"}, "off"
	if z.kind == "tld" {
		bind, ldns, ours, optOut = append(bind, "-A"), append(ldns, "-p"), append(ours, "-p"), "on"
	}
	conf := fmt.Sprintf("policy:\n  - id: p\n    manual: off\n    nsec3: on\n    nsec3-iterations: 0\n    nsec3-salt-length: 0\n    nsec3-opt-out: %s\n    algorithm: ecdsap256sha256\n    signing-threads: %s\ndatabase:\n    storage: %s\n    kasp-db: kasp\nzone:\n  - domain: %s\n    storage: %[3]s\n    file: zone\n    dnssec-policy: p\n", optOut, threads, dir, origin)
	if err := os.WriteFile(filepath.Join(dir, "knot.conf"), []byte(conf), 0o644); err != nil {
		return err
	}
	name := fmt.Sprintf("%s %d", z.kind, z.names)
	first := len(r.Signings)
	for _, line := range [][]string{
		{"kzonesign", "-c", "knot.conf", "-o", "knot", origin},
		append(append([]string{bin, "sign", "--threads", threads, "-o", origin, "-f", "signed.ours", "--key", keys[0], "--key", keys[1]}, ours...), "zone"),
		append(append([]string{"ldns-signzone", "-o", origin, "-f", "signed.ldns"}, ldns...), "zone", keys[0], keys[1]),
		append(append([]string{"dnssec-signzone", "-q", "-S", "-x", "-o", origin, "-f", "signed.bind"}, bind...), "zone"),
	} {
		what := filepath.Base(line[0])
		if line[0] == bin {
			what += " sign"
		}
		fmt.Fprintf(os.Stderr, "bench: %s, %s\n", name, what)
		m, err := lab.Measure(ctx, dir, line[0], line[1:]...)
		if err != nil {
			return err
		}
		r.Signings = append(r.Signings, signing{Zone: name, What: what, Wall: m.Wall.Seconds(), CPU: m.CPU.Seconds(), Peak: m.Peak})
	}
	for i := range r.Signings[first:] {
		row, knot := &r.Signings[first+i], r.Signings[first]
		row.Ratio, row.CPUs = row.Wall/knot.Wall, row.CPU/knot.CPU
	}
	if verify {
		start := time.Now()
		if _, err := lab.Measure(ctx, dir, "dnssec-verify", "-q", "-o", origin, "signed.ours"); err != nil {
			return err
		}
		fmt.Fprintf(os.Stderr, "bench: dnssec-verify agrees, after %.0f s\n", time.Since(start).Seconds())
	}
	return nil
}

func (r *report) printSignings() {
	if len(r.Signings) == 0 {
		return
	}
	fmt.Printf("\nkeys in files, NSEC3, tld with opt-out; ratios to kzonesign in this run\n\n")
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "wall s\tCPU s\tpeak MB\twall ratio\tCPU ratio\t  zone, signer\t")
	for _, x := range r.Signings {
		fmt.Fprintf(w, "%.1f\t%.1f\t%d\t%.2f\t%.2f\t  %s, %s\t\n", x.Wall, x.CPU, x.Peak>>20, x.Ratio, x.CPUs, x.Zone, x.What)
	}
	_ = w.Flush()
}
