package report

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"zonesigner/measure"
	"zonesigner/measure/resolve"
	"zonesigner/measure/run"
	"zonesigner/measure/testnet"
)

// TestDiff measures the same domains twice, the second time with other names of
// operators, and wants what changed to be what the lines of both runs say.
func TestDiff(t *testing.T) {
	n, err := testnet.Start(100)
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	dir := t.TempDir()
	measureOnce := func(name, aliases string) (string, map[string]measure.Record) {
		o := run.Options{Dir: filepath.Join(dir, name), List: filepath.Join(dir, name+".csv"), Aliases: filepath.Join(dir, name+".tsv"), Roots: n.Roots(), Concurrency: 200,
			Resolve: resolve.Config{Port: n.Port, Private: true, Timeout: time.Minute, Rate: -1, ServerRate: -1}}
		var list bytes.Buffer
		for i := range 500 {
			if d := testnet.At(i); d.Kind == "single" || d.Kind == "pair" {
				fmt.Fprintf(&list, "%d,%s\n", d.Rank, d.Name)
			}
		}
		if err := os.WriteFile(o.List, list.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(o.Aliases, []byte(aliases), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := run.Run(t.Context(), o); err != nil {
			t.Fatal(err)
		}
		lines, err := os.ReadFile(filepath.Join(o.Dir, "results.jsonl"))
		if err != nil {
			t.Fatal(err)
		}
		records := map[string]measure.Record{}
		for line := range strings.Lines(string(lines)) {
			var r measure.Record
			if err := json.Unmarshal([]byte(line), &r); err != nil {
				t.Fatal(err)
			}
			records[r.Name] = r
		}
		return o.Dir, records
	}
	run1, first := measureOnce("run1", testnet.Aliases)
	// All that Cloudflare, NS1, Dyn and UltraDNS run is one's now.
	run2, second := measureOnce("run2", testnet.Aliases+"name\tcloudflare\tmerged\nname\tnsone.net\tmerged\nname\tdynect.net\tmerged\nname\tultradns\tmerged\n")
	ids := func(r measure.Record) (ids []string) {
		for _, o := range r.Data.Operators {
			ids = append(ids, o.ID)
		}
		return ids
	}
	lost, won, moves, changed := map[string]int{}, map[string]int{}, map[Move]int{}, 0
	for name, a := range first {
		b := second[name]
		if a.Data.Class != b.Data.Class {
			moves[Move{From: a.Data.Class, To: b.Data.Class}]++
		}
		if a.Data.Class != b.Data.Class || !slices.Equal(ids(a), ids(b)) || a.Data.Signers != b.Data.Signers {
			changed++
		}
		for _, id := range ids(a) {
			if !slices.Contains(ids(b), id) {
				lost[id]++
			}
		}
		for _, id := range ids(b) {
			if !slices.Contains(ids(a), id) {
				won[id]++
			}
		}
	}
	d, err := Compare(run1, run2)
	if err != nil {
		t.Fatal(err)
	}
	if d.Both != len(first) || len(d.Changes) != changed || d.Same != len(first)-changed || !maps.Equal(d.Leaving, lost) || !maps.Equal(d.Coming, won) {
		t.Errorf("%+v\nwant %d changes, lost %v, won %v", d, changed, lost, won)
	}
	for _, m := range d.Moves {
		if moves[Move{From: m.From, To: m.To}] != m.Domains {
			t.Errorf("%+v, want %v", m, moves)
		}
	}
	if len(d.Moves) != len(moves) || len(moves) == 0 || won["merged"] == 0 || len(lost) < 2 {
		t.Errorf("moves %v, want %v; lost %v, won %v", d.Moves, moves, lost, won)
	}
	var text bytes.Buffer
	if err := d.Text(&text, -1); err != nil || !strings.Contains(text.String(), "merged") {
		t.Errorf("%v\n%s", err, text.String())
	}
}
