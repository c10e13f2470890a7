//go:build soak

package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"zonesigner/measure"
	"zonesigner/measure/testnet"
)

var soakDomains = flag.Int("soak.domains", 1_000_000, "`domains` of TestSoakMeasure")

// soakMemory is what a run may take at most, in KiB, all pages counted.
const soakMemory = 500 << 10

// TestSoakMeasure measures a million domains of the test Internet, from the
// root and by a resolver, in a process of its own, whose memory is bounded. Each
// domain has to be in its class, once.
func TestSoakMeasure(t *testing.T) {
	net, err := testnet.Start(10_000)
	if err != nil {
		t.Fatal(err)
	}
	defer net.Close()
	dir := t.TempDir()
	list, err := os.Create(filepath.Join(dir, "list.csv"))
	if err != nil {
		t.Fatal(err)
	}
	w := bufio.NewWriter(list)
	if err := testnet.WriteList(w, *soakDomains); err != nil {
		t.Fatal(err)
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := list.Close(); err != nil {
		t.Fatal(err)
	}
	aliases := filepath.Join(dir, "aliases")
	if err := os.WriteFile(aliases, []byte(testnet.Aliases), 0o644); err != nil {
		t.Fatal(err)
	}
	for name, mode := range map[string][]string{
		"resolver": {"--resolver", net.Resolver(0).String(), "--no-ipv6"},
		"root":     {"--root", net.Roots()[0].String()},
	} {
		t.Run(name, func(t *testing.T) {
			out := filepath.Join(dir, name)
			args := append([]string{"measure", "run", "--list", list.Name(), "--out", out, "--concurrency", "2000", "--rate", "0", "--server-rate", "0",
				"--resolver-rate", "0", "--private", "--port", strconv.Itoa(int(net.Port)), "--aliases", aliases}, mode...)
			cmd := exec.Command("zonesignerd", args...)
			var stderr strings.Builder
			cmd.Stderr = &stderr
			start := time.Now()
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			ended := make(chan error, 1)
			go func() { ended <- cmd.Wait() }()
			peak := 0
			tick := time.NewTicker(100 * time.Millisecond)
			defer tick.Stop()
			for running := true; running; {
				select {
				case err := <-ended:
					if err != nil {
						t.Fatalf("%v\n%s", err, stderr.String())
					}
					running = false
				case <-tick.C:
					peak = max(peak, peakMemory(cmd.Process.Pid))
				}
			}
			took := time.Since(start)
			t.Logf("%d domains in %s, %.0f a second, %s of processor time, at most %d MB", *soakDomains, took.Round(time.Second),
				float64(*soakDomains)/took.Seconds(), (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Round(time.Second), peak>>10)
			if peak == 0 || peak > soakMemory {
				t.Errorf("memory %d KiB, want less than %d", peak, soakMemory)
			}
			soakResults(t, filepath.Join(out, "results.jsonl"))
		})
	}
}

// peakMemory is the most that a process has had in memory so far, in KiB; 0 when
// it has ended.
func peakMemory(pid int) (kib int) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kib, _ = strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(rest), " kB"))
		}
	}
	return kib
}

// soakResults wants each domain once, in its class.
func soakResults(t *testing.T, path string) {
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	seen := make([]bool, *soakDomains)
	lines, wrong := 0, 0
	for s := bufio.NewScanner(f); s.Scan(); lines++ {
		var r struct {
			Name string
			Rank int
			Data struct{ Class measure.Class }
		}
		if err := json.Unmarshal(s.Bytes(), &r); err != nil {
			t.Fatal(err)
		}
		if r.Rank < 1 || r.Rank > *soakDomains || seen[r.Rank-1] {
			t.Fatalf("rank %d of %s is of no domain, or is there twice", r.Rank, r.Name)
		}
		seen[r.Rank-1] = true
		if want := testnet.At(r.Rank - 1).Class; r.Data.Class != want {
			if wrong++; wrong <= 5 {
				t.Errorf("%s is %s, want %s", r.Name, r.Data.Class, want)
			}
		}
	}
	if lines != *soakDomains || wrong > 0 {
		t.Errorf("%d lines of %d domains, %d of them wrong", lines, *soakDomains, wrong)
	}
}
