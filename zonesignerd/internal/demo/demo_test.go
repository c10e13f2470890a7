package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/miekg/dns"
	"go.uber.org/goleak"
)

// daemonBinary is zonesignerd as it is in this tree.
var daemonBinary string

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

func testMain(m *testing.M) int {
	dir, err := os.MkdirTemp("", "demo-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	daemonBinary = filepath.Join(dir, "zonesignerd")
	if out, err := exec.Command("go", "build", "-buildvcs=false", "-o", daemonBinary, "zonesigner/zonesignerd").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "%v\n%s", err, out)
		return 1
	}
	status := m.Run()
	if err := goleak.Find(); err != nil && status == 0 {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return status
}

// The whole demonstration, as `make demo` plays it where there is no terminal.
func TestDemo(t *testing.T) {
	var out bytes.Buffer
	p := &printer{w: &out}
	err := play(t.Context(), p, daemonBinary, false)
	t.Log(out.String())
	if err != nil {
		t.Fatal(err)
	}
	if len(p.rows) != 6 {
		t.Errorf("%d steps were done, expected 6", len(p.rows))
	}
	for _, r := range p.rows {
		if len(r.facts) == 0 {
			t.Errorf("step %q showed nothing", r.title)
		}
	}
	if strings.Contains(out.String(), "\x1b") {
		t.Error("what is no terminal got escape sequences")
	}
}

// A step that fails ends the demonstration with the reason and the logs.
func TestFailureIsTold(t *testing.T) {
	bin := filepath.Join(t.TempDir(), "zonesignerd")
	if err := os.WriteFile(bin, []byte("#!/bin/sh\necho no such thing >&2\nexit 7\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	err := play(t.Context(), &printer{w: &out}, bin, false)
	if err == nil {
		t.Fatal("a program that fails was demonstrated")
	}
	_, logs, _ := strings.Cut(err.Error(), "the logs are in ")
	defer os.RemoveAll(filepath.Dir(filepath.Dir(logs)))
	for _, want := range []string{"step 1", "a$ zonesignerd init", "status 7", "no such thing", "/zonesigner-demo-"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error %q does not have %q", err, want)
		}
	}
	if err := play(t.Context(), &printer{w: &out}, bin+"-missing", false); err == nil {
		t.Error("a program that is missing was demonstrated")
	}
}

func TestBar(t *testing.T) {
	for _, c := range []struct {
		live bool
		want string
	}{
		{true, "\r\x1b[K   [####################--------------------] 1 of 2 things\r\x1b[K   [########################################] 2 of 2 things\n"},
		{false, "   [####################--------------------] 1 of 2 things\n   [########################################] 2 of 2 things\n"},
	} {
		var out bytes.Buffer
		p := &printer{w: &out, live: c.live}
		p.bar("things", 1, 2)
		if !c.live {
			p.bar("things", 1, 2) // too soon for another line
		}
		p.bar("things", 2, 2)
		if out.String() != c.want {
			t.Errorf("live %t: %q, expected %q", c.live, out.String(), c.want)
		}
	}
}

// What the demonstration says is the same would be found out if it were not.
func TestTransfersAreCompared(t *testing.T) {
	parse := func(lines ...string) *transfer {
		x := &transfer{records: map[string]bool{}, signatures: map[string]bool{}}
		for _, l := range lines {
			rr, err := dns.NewRR(l)
			if err != nil {
				t.Fatal(err)
			}
			x.add(rr)
		}
		return x
	}
	soa := "demo.example. 60 SOA ns1.demo.example. hostmaster.demo.example. 7 300 60 900 60"
	www := "www.demo.example. 60 A 192.0.2.80"
	sig := "www.demo.example. 60 RRSIG A 13 3 60 20261121032615 20261121022615 58116 demo.example. AAAA"
	other := strings.Replace(sig, "AAAA", "BBBB", 1)
	x, y := parse(soa, www, sig), parse(soa, www, other)
	if err := x.differs(parse(sig, www, soa)); err != nil {
		t.Errorf("the same in another order: %v", err)
	}
	if x.differs(y) == nil || y.differs(x) == nil {
		t.Error("another signature was not seen")
	}
	if x.differs(parse(soa, www)) == nil || parse(soa, www).differs(x) == nil {
		t.Error("a missing signature was not seen")
	}
	if x.serial != 7 || !x.has("www.demo.example.", "192.0.2.80") || x.has("www.demo.example.", "192.0.2.81") {
		t.Errorf("serial %d, records %v", x.serial, x.records)
	}
	if x.made(x) != 0 || y.made(x) != 1 {
		t.Errorf("%d and %d signatures are new, expected 0 and 1", x.made(x), y.made(x))
	}
}
