package run

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"zonesigner/measure"
	"zonesigner/measure/testnet"
)

// TestWhoisTop has all addresses registered to one organisation: operators that
// no table tells apart are one up to the rank that WHOIS is asked for, and
// several beyond it.
func TestWhoisTop(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var asked atomic.Int64
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			asked.Add(1)
			_, _ = bufio.NewReader(conn).ReadString('\n')
			fmt.Fprint(conn, "OrgName: Example Hosting\n")
			conn.Close()
		}
	}()
	n := start(t)
	// Pairs of hosters that the table does not know.
	var lines []string
	for i := 0; len(lines) < 10; i++ {
		if d := testnet.At(i); d.Kind == "pair" && i%24 > 4 && i%24 < 23 {
			lines = append(lines, fmt.Sprintf("%d,%s", len(lines)+1, d.Name))
		}
	}
	o := options(t, n, 0)
	if err := os.WriteFile(o.List, []byte(strings.Join(lines, "\n")), 0o644); err != nil {
		t.Fatal(err)
	}
	o.WhoisTop, o.Whois, o.WhoisRate = 5, l.Addr().String(), 1000
	if _, err := Run(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	for name, r := range records(t, o.Dir) {
		want, code := measure.One, measure.ByWHOIS
		if r.Rank > 5 {
			want, code = measure.MoreThanOne, measure.OtherOperators
		}
		if r.Data.Class != want || !has(r, code) {
			t.Errorf("%s, rank %d: %s for %v", name, r.Rank, r.Data.Class, r.Data.Reasons)
		}
	}
	// Each operator's network once.
	if got := asked.Load(); got == 0 || got > 10 {
		t.Errorf("%d questions", got)
	}
	// Without an answer the verdict is by names, and the fault is counted.
	l.Close()
	o2 := options(t, n, 0)
	o2.WhoisTop, o2.Whois, o2.WhoisRate = 5, o.Whois, 1000
	if err := os.WriteFile(o2.List, []byte(strings.Join(lines, "\n")), 0o644); err != nil {
		t.Fatal(err)
	}
	m, err := Run(t.Context(), o2)
	if err != nil || m.Faults["whois"] != 5 {
		t.Errorf("%v, faults %v", err, m.Faults)
	}
	for name, r := range records(t, o2.Dir) {
		if r.Data.Class != measure.MoreThanOne || slices.ContainsFunc(r.Data.Operators, func(o measure.Operator) bool { return o.Owners != "" }) {
			t.Errorf("%s: %s", name, r.Data.Class)
		}
	}
}

// TestStoppedBesideWhois stops a run while a WHOIS server is slow: the verdicts
// that wait for it are not final, and the next session asks it.
func TestStoppedBesideWhois(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		for first := true; ; first = false {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = bufio.NewReader(conn).ReadString('\n')
			if first {
				time.Sleep(300 * time.Millisecond) // the others are in the queue
				cancel()
			} else {
				fmt.Fprint(conn, "OrgName: Example Hosting\n")
			}
			conn.Close()
		}
	}()
	n := start(t)
	var lines []string
	for i := 0; len(lines) < 6; i++ {
		if d := testnet.At(i); d.Kind == "pair" && i%24 > 4 && i%24 < 23 {
			lines = append(lines, fmt.Sprintf("%d,%s", len(lines)+1, d.Name))
		}
	}
	o := options(t, n, 0)
	if err := os.WriteFile(o.List, []byte(strings.Join(lines, "\n")), 0o644); err != nil {
		t.Fatal(err)
	}
	o.WhoisTop, o.Whois, o.WhoisRate = 10, l.Addr().String(), 1000
	if _, err := Run(ctx, o); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if got := records(t, o.Dir); len(got) != 0 {
		t.Errorf("%d verdicts without WHOIS are final", len(got))
	}
	o.Resume = true
	if m, err := Run(t.Context(), o); err != nil || m.Faults["whois"] != 0 {
		t.Fatalf("%v, faults %v", err, m.Faults)
	}
	got := records(t, o.Dir)
	for name, r := range got {
		if r.Data.Class != measure.One || !has(r, measure.ByWHOIS) {
			t.Errorf("%s: %s for %v", name, r.Data.Class, r.Data.Reasons)
		}
	}
	if len(got) != len(lines) {
		t.Errorf("%d of %d domains", len(got), len(lines))
	}
}

// TestSlowWhois has a WHOIS server that answers when the domains that it is not
// asked for are done, which wait for nothing.
func TestSlowWhois(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	rest := make(chan struct{})
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = bufio.NewReader(conn).ReadString('\n')
			select {
			case <-rest:
			case <-t.Context().Done():
			}
			fmt.Fprint(conn, "OrgName: Example Hosting\n")
			conn.Close()
		}
	}()
	n := start(t)
	const pairs, singles = 40, 60
	var asked, others []testnet.Domain
	for i := 0; len(asked) < pairs || len(others) < singles; i++ {
		switch d := testnet.At(i); {
		case d.Kind == "pair" && len(asked) < pairs:
			asked = append(asked, d)
		case d.Kind == "single" && len(others) < singles:
			others = append(others, d)
		}
	}
	o := options(t, n, 0)
	writeList(t, o.List, append(asked, others...))
	o.WhoisTop, o.Whois, o.WhoisRate, o.Concurrency = 1_000_000, l.Addr().String(), 1000, 5
	done := false
	o.Progress = func(p Progress) {
		if !done && p.Done >= singles {
			done = true
			close(rest)
		}
	}
	// A question or two may wait for so long that it is a fault.
	m, err := Run(t.Context(), o)
	if err != nil || m.Faults["whois"] > 2 {
		t.Errorf("%v, faults %v", err, m.Faults)
	}
	if got := records(t, o.Dir); len(got) != pairs+singles {
		t.Errorf("%d records", len(got))
	}
}
