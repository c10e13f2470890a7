package main

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"zonesigner/measure"
	"zonesigner/measure/testnet"
)

// command runs one command line and returns what it printed.
func command(t *testing.T, want int, args ...string) (out, errs string) {
	t.Helper()
	var o, e bytes.Buffer
	a := &app{in: strings.NewReader(""), out: &o, err: &e, now: time.Now}
	if got := a.run(t.Context(), args); got != want {
		t.Fatalf("%q: exit status %d, want %d\n%s%s", args, got, want, o.String(), e.String())
	}
	return o.String(), e.String()
}

// TestMeasure measures the test Internet by the commands, and looks at all that
// they print.
func TestMeasure(t *testing.T) {
	net, err := testnet.Start(500)
	if err != nil {
		t.Fatal(err)
	}
	defer net.Close()
	dir := t.TempDir()
	const count = 1200
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	// No domain waits for a time-out, which is so long that a busy machine does not
	// meet it, either.
	var domains []testnet.Domain
	var text strings.Builder
	for i := range count {
		if d := testnet.At(i); !d.Waits {
			domains = append(domains, d)
			fmt.Fprintf(&text, "%d,%s\n", d.Rank, d.Name)
		}
	}
	flags := []string{"--private", "--root", net.Roots()[0].String(), "--port", strconv.Itoa(int(net.Port)), "--timeout", "1m", "--rate", "0", "--server-rate", "0",
		"--aliases", file("aliases", testnet.Aliases)}
	run1, run2 := filepath.Join(dir, "run1"), filepath.Join(dir, "run2")
	top := file("top.csv", text.String()+"nonsense\n")
	out, told := command(t, 0, append([]string{"measure", "run", "--list", top, "--out", run1}, flags...)...)
	if !strings.Contains(out, "malformed-line 1") || !strings.Contains(out, filepath.Join(run1, "faults.jsonl")) {
		t.Errorf("the bad line is not counted in %q", out)
	}
	if !strings.Contains(told, fmt.Sprintf("%d of %d domains", len(domains), len(domains))) {
		t.Errorf("progress %q", told)
	}
	command(t, 0, append([]string{"measure", "run", "--list", file("fewer.csv", text.String()[strings.Index(text.String(), "\n")+1:]), "--out", run2}, flags...)...)
	command(t, 2, append([]string{"measure", "run", "--list", top, "--out", run1}, flags...)...)
	command(t, 0, "measure", "run", "--out", run1, "--resume")
	if _, told := command(t, 1, "measure", "run", "--out", dir, "--resume"); !strings.Contains(told, "begins anew") {
		t.Errorf("nothing to go on with: %q", told)
	}
	if _, told := command(t, 2, "measure", "run", "--out", run1, "--resume", "--timeout", "5s"); !strings.Contains(told, "--timeout with --resume") {
		t.Errorf("another setting: %q", told)
	}

	// What cannot be a run leaves no directory behind.
	none := filepath.Join(dir, "none")
	for name, args := range map[string][]string{
		"no list":         {"--list", filepath.Join(dir, "missing")},
		"nothing in it":   {"--list", file("empty", "")},
		"no archive":      {"--list", file("broken.zip", "PK\x03\x04")},
		"bad aliases":     {"--list", top, "--aliases", file("bad", "name\tonly\n")},
		"missing aliases": {"--list", top, "--aliases", filepath.Join(dir, "missing")},
	} {
		command(t, 1, append([]string{"measure", "run", "--out", none}, args...)...)
		if _, err := os.Stat(none); err == nil {
			t.Errorf("%s: the directory is there", name)
		}
	}
	for _, args := range [][]string{{"--port", "0"}, {"--whois-top", "-1"}, {"--whois-server", "192.0.2.1"}, {"--rate", "-1"}, {"--resolver", "192.0.2"}, {"--concurrency", "0"},
		{"--timeout", "1s", "--try", "2s"}, {"--resolver", "192.0.2.1", "--root", "192.0.2.1"}} {
		command(t, 2, append([]string{"measure", "run", "--list", top, "--out", none}, args...)...)
	}
	// A run that cannot get on says how it is gone on with.
	if _, told := command(t, 1, "measure", "run", "--list", top, "--out", none, "--root", "127.0.0.1", "--port", "1", "--try", "10ms"); !strings.Contains(told, "--resume") || !strings.Contains(told, "127.0.0.1") {
		t.Errorf("no root server: %q", told)
	}

	classes := map[measure.Class]int{}
	for _, d := range domains {
		classes[d.Class]++
	}
	out, _ = command(t, 0, "measure", "report", run1)
	for _, want := range []string{"Top-100 ", "Top-1k ", "All ", "MISCONF", "malformed-line: 1", "cloudflare", "SHA-256", "Operators, the 30 commonest of "} {
		if !strings.Contains(out, want) {
			t.Errorf("report without %q:\n%s", want, out)
		}
	}
	out, _ = command(t, 0, "measure", "report", run1, "--format", "csv")
	rows, err := csv.NewReader(strings.NewReader(out)).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range rows {
		var class measure.Class
		if row[0] == "classes" && row[1] == "All" && class.UnmarshalText([]byte(row[2])) == nil && row[3] != strconv.Itoa(classes[class]) {
			t.Errorf("%v, want %d", row, classes[class])
		}
	}
	out, _ = command(t, 0, "measure", "report", run1, "--format", "svg")
	for d := xml.NewDecoder(strings.NewReader(out)); ; {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	page := filepath.Join(dir, "page.html")
	command(t, 0, "measure", "report", run1, "--format", "html", "--out", page)
	html, err := os.ReadFile(page)
	if err != nil || http.DetectContentType(html) != "text/html; charset=utf-8" || !bytes.Contains(html, []byte("<svg")) || bytes.Contains(html, []byte("src=")) {
		t.Errorf("the page is %d bytes of %s: %v", len(html), http.DetectContentType(html), err)
	}
	command(t, 2, "measure", "report", run1, "--format", "pdf")
	command(t, 2, "measure", "report", run1, "--json", "--out", filepath.Join(dir, "other"))

	var name string
	for _, d := range domains {
		if d.Kind == "onelabel" {
			name = d.Name
		}
	}
	fromRun, _ := command(t, 0, "measure", "explain", name, "--run", run1)
	now, _ := command(t, 0, append([]string{"measure", "explain", name}, flags...)...)
	for _, out := range []string{fromRun, now} {
		if !strings.Contains(out, "misconfigured") || !strings.Contains(out, "ds0") || !strings.Contains(out, "NXDOMAIN") {
			t.Errorf("explained as\n%s", out)
		}
	}
	command(t, 1, "measure", "explain", "example.org", "--run", run1)
	command(t, 2, "measure", "explain", "http://example.org", "--run", run1)
	command(t, 2, "measure", "explain", name, "--run", run1, "--resolver", "192.0.2.1")

	out, _ = command(t, 0, "measure", "diff", run1, run2, "--json")
	var diff struct{ Both, Gone, New, Same int }
	if err := json.Unmarshal([]byte(out), &diff); err != nil || diff.Both != len(domains)-1 || diff.Gone != 1 || diff.New != 0 || diff.Same != diff.Both {
		t.Errorf("%v\n%s", err, out)
	}
}
