// Bench measures `zonesignerd measure run` beside zdns on the test Internet, in
// one run: domains a second, processor time and memory, with the same
// concurrency. Both look up NS and A through one resolver. It is a module of its
// own, so that zdns is no dependency of Zonesigner.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"zonesigner/measure/testnet"
)

var (
	names       = flag.Int("names", 100_000, "`domains` of the list")
	concurrency = flag.Int("concurrency", 1000, "domains under way at a `time`")
	zdns        = flag.String("zdns", "", "the zdns `program`; none: only Zonesigner's is measured")
	ours        = flag.String("zonesignerd", "bin/zonesignerd", "the zonesignerd `program`")
	iterative   = flag.Bool("iterative", false, "resolve from the root, too")
	rounds      = flag.Int("rounds", 1, "how `often` both are measured, in turn")
)

func main() {
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := bench(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func bench(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "measure-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	net, err := testnet.Start(10_000)
	if err != nil {
		return err
	}
	defer net.Close()
	list := filepath.Join(dir, "list.csv")
	if err := writeList(list); err != nil {
		return err
	}
	aliases := filepath.Join(dir, "aliases")
	if err := os.WriteFile(aliases, []byte(testnet.Aliases), 0o644); err != nil {
		return err
	}
	if *ours, err = install(*ours, dir); err != nil {
		return err
	}
	if *zdns != "" {
		if *zdns, err = install(*zdns, dir); err != nil {
			return err
		}
	}
	fmt.Printf("%d domains, %d at a time\n%-28s %10s %8s %8s %8s %8s %10s\n", *names, *concurrency, "", "domains/s", "seconds", "CPU s", "RSS MB", "anon MB", "queries")
	resolver := net.Resolver(0).String()
	for round := range *rounds {
		if *zdns != "" {
			out := filepath.Join(dir, "zdns.jsonl")
			err := measure(ctx, net, "zdns NSLOOKUP", *zdns, "NSLOOKUP", "--ipv4-lookup", "--alexa", "--threads", strconv.Itoa(*concurrency),
				"--name-servers", resolver, "--local-addr", "127.0.0.1", "--input-file", list, "--output-file", out, "--verbosity", "1")
			if err != nil {
				return err
			}
			if err := countLines(out); err != nil {
				return err
			}
		}
		common := []string{"measure", "run", "--list", list, "--concurrency", strconv.Itoa(*concurrency), "--rate", "0", "--server-rate", "0", "--resolver-rate", "0",
			"--private", "--port", strconv.Itoa(int(net.Port)), "--aliases", aliases}
		run := filepath.Join(dir, fmt.Sprintf("run%d", round))
		if err := measure(ctx, net, "zonesignerd, by resolver", *ours, append(common, "--out", run, "--resolver", resolver, "--no-ipv6")...); err != nil {
			return err
		}
		if err := check(run); err != nil {
			return err
		}
		if *iterative {
			run += "-root"
			if err := measure(ctx, net, "zonesignerd, from the root", *ours, append(common, "--out", run, "--root", net.Roots()[0].String())...); err != nil {
				return err
			}
			if err := check(run); err != nil {
				return err
			}
		}
	}
	return nil
}

func writeList(path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	w := bufio.NewWriter(f)
	return errors.Join(testnet.WriteList(w, *names), w.Flush(), f.Close())
}

// install copies a program in small pieces, as installing it would. Of a file
// that was written in large ones, as the linker does, Linux (6.18) has pieces in
// its cache so large that a program which touches a part has all in memory.
func install(program, dir string) (string, error) {
	from, err := os.Open(program)
	if err != nil {
		return "", err
	}
	defer from.Close()
	path := filepath.Join(dir, filepath.Base(program))
	to, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o755)
	if err != nil {
		return "", err
	}
	_, err = io.Copy(struct{ io.Writer }{to}, from) // the writer alone: 32 KiB at a time
	return path, errors.Join(err, to.Close())
}

// measure runs a program and prints what it took.
func measure(ctx context.Context, net *testnet.Net, what, program string, args ...string) error {
	cmd := exec.CommandContext(ctx, program, args...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	queries, start := net.Queries.Load(), time.Now()
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	peak := make(chan memory)
	stop := make(chan struct{})
	go func() { peak <- watch(cmd.Process.Pid, stop) }()
	err := cmd.Wait()
	took := time.Since(start)
	close(stop)
	m := <-peak
	if err != nil {
		return fmt.Errorf("%s: %w\n%s", what, err, stderr.String())
	}
	s := cmd.ProcessState
	fmt.Printf("%-28s %10.0f %8.1f %8.1f %8.1f %8.1f %10d\n", what, float64(*names)/took.Seconds(), took.Seconds(),
		(s.UserTime() + s.SystemTime()).Seconds(), float64(m.resident)/1024, float64(m.anonymous)/1024, net.Queries.Load()-queries)
	return nil
}

// memory is what a program took at most, in KiB.
type memory struct {
	resident  int // all that was in memory, pages of the program's file included
	anonymous int // heap, stacks and data: what the program itself asked for
}

// watch reads the peaks of a process from /proc until told to stop. What wait4
// tells (ru_maxrss) will not do: it starts at the memory of the process that
// started the program, which is this one with all of the test Internet.
func watch(pid int, stop <-chan struct{}) (m memory) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-stop:
			return m
		case <-tick.C:
		}
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			continue // it has ended; Wait will say so
		}
		for line := range strings.Lines(string(status)) {
			field, value, _ := strings.Cut(line, ":")
			kib, _ := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(value), " kB"))
			switch field {
			case "VmHWM":
				m.resident = max(m.resident, kib)
			case "RssAnon":
				m.anonymous = max(m.anonymous, kib)
			}
		}
	}
}

func countLines(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	n := 0
	for s := bufio.NewScanner(f); s.Scan(); n++ {
	}
	if n != *names {
		return fmt.Errorf("%s has %d lines, want %d", path, n, *names)
	}
	return nil
}

// check wants each domain in its class.
func check(dir string) error {
	f, err := os.Open(filepath.Join(dir, "results.jsonl"))
	if err != nil {
		return err
	}
	defer f.Close()
	lines, wrong, seen := 0, 0, make([]bool, *names)
	for s := bufio.NewScanner(f); s.Scan(); lines++ {
		var r struct {
			Name string
			Rank int
			Data struct{ Class string }
		}
		if err := json.Unmarshal(s.Bytes(), &r); err != nil {
			return err
		}
		if r.Rank < 1 || r.Rank > *names || seen[r.Rank-1] {
			return fmt.Errorf("%s: rank %d of %s is of no domain, or is there twice", dir, r.Rank, r.Name)
		}
		seen[r.Rank-1] = true
		if want := testnet.At(r.Rank - 1); want.Class.String() != r.Data.Class {
			if wrong++; wrong <= 5 {
				fmt.Printf("  %s is %s, want %s\n", r.Name, r.Data.Class, want.Class)
			}
		}
	}
	fmt.Printf("  %d of %d in their class\n", lines-wrong, *names)
	if lines != *names || wrong > 0 {
		return fmt.Errorf("%s has %d lines of %d domains, %d of them wrong", dir, lines, *names, wrong)
	}
	return nil
}
