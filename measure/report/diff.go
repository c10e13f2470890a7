package report

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"zonesigner/measure"
	"zonesigner/measure/run"
)

// Diff is what changed from one run to another.
type Diff struct {
	Both    int            `json:"both"` // domains in both
	Gone    int            `json:"gone"` // in the first alone
	New     int            `json:"new"`  // in the second alone
	Same    int            `json:"same"` // of Both: class, status, operators and signers are the same
	Moves   []Move         `json:"moves"`
	Changes []Change       `json:"changes"` // by rank in the second run
	Leaving map[string]int `json:"leaving"` // domains that operators lost
	Coming  map[string]int `json:"coming"`  // domains that operators won
}

// Move is how many domains went from one class to another.
type Move struct {
	From    measure.Class `json:"from"`
	To      measure.Class `json:"to"`
	Domains int           `json:"domains"`
}

// Change is one domain's.
type Change struct {
	Rank int    `json:"rank"`
	Name string `json:"name"`
	From string `json:"from"`
	To   string `json:"to"`
}

// before is what is kept of the first run's domains.
type before struct {
	class     measure.Class
	verdict   string
	operators string
}

// Compare reads two runs.
func Compare(dir1, dir2 string) (*Diff, error) {
	first := map[string]before{}
	if err := each(dir1, func(s run.Summary) {
		first[s.Name] = before{s.Class, verdict(s), strings.Join(s.Operators, " ")}
	}); err != nil {
		return nil, err
	}
	d := &Diff{Moves: []Move{}, Changes: []Change{}, Leaving: map[string]int{}, Coming: map[string]int{}}
	moves := map[[2]measure.Class]int{}
	err := each(dir2, func(s run.Summary) {
		was, ok := first[s.Name]
		if !ok {
			d.New++
			return
		}
		delete(first, s.Name)
		d.Both++
		now := verdict(s)
		if now == was.verdict {
			d.Same++
			return
		}
		if was.class != s.Class {
			moves[[2]measure.Class{was.class, s.Class}]++
		}
		d.Changes = append(d.Changes, Change{s.Rank, s.Name, was.verdict, now})
		old := strings.Fields(was.operators)
		for _, o := range old {
			if !slices.Contains(s.Operators, o) {
				d.Leaving[o]++
			}
		}
		for _, o := range s.Operators {
			if !slices.Contains(old, o) {
				d.Coming[o]++
			}
		}
	})
	if err != nil {
		return nil, err
	}
	d.Gone = len(first)
	for m, n := range moves {
		d.Moves = append(d.Moves, Move{m[0], m[1], n})
	}
	slices.SortFunc(d.Moves, func(a, b Move) int {
		return cmp.Or(b.Domains-a.Domains, int(a.From)-int(b.From), int(a.To)-int(b.To))
	})
	slices.SortFunc(d.Changes, func(a, b Change) int { return cmp.Or(a.Rank-b.Rank, strings.Compare(a.Name, b.Name)) })
	return d, nil
}

func each(dir string, f func(run.Summary)) error {
	store, err := run.OpenStore(dir)
	if err != nil {
		return err
	}
	defer store.Close()
	return store.Each(func(s run.Summary) error { f(s); return nil })
}

// verdict is a summary in a few words.
func verdict(s run.Summary) string {
	words := []string{s.Class.String()}
	if s.Status != measure.NoError {
		words = append(words, string(s.Status))
	}
	if len(s.Operators) > 0 {
		words = append(words, strings.Join(s.Operators, "+"))
	}
	if s.Signers != "" {
		words = append(words, "signers: "+string(s.Signers))
	}
	return strings.Join(words, ", ")
}

// Text writes tables, and at most limit changes, all for a negative limit.
func (d *Diff) Text(w io.Writer, limit int) error {
	fmt.Fprintf(w, "%d domains in both runs, %d as before; %d gone, %d new\n", d.Both, d.Same, d.Gone, d.New)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	if len(d.Moves) > 0 {
		fmt.Fprintf(t, "\nFROM\tTO\tDOMAINS\n")
		for _, m := range d.Moves {
			fmt.Fprintf(t, "%s\t%s\t%d\n", m.From, m.To, m.Domains)
		}
	}
	if ids := balance(d.Leaving, d.Coming); len(ids) > 0 {
		fmt.Fprintf(t, "\nOPERATOR\tLOST\tWON\n")
		for _, id := range ids[:min(most, len(ids))] {
			fmt.Fprintf(t, "%s\t%d\t%d\n", id, d.Leaving[id], d.Coming[id])
		}
		if len(ids) > most {
			fmt.Fprintf(t, "and %d more\n", len(ids)-most)
		}
	}
	if len(d.Changes) > 0 && limit != 0 {
		shown := d.Changes
		if limit > 0 && limit < len(shown) {
			shown = shown[:limit]
		}
		fmt.Fprintf(t, "\nRANK\tDOMAIN\tFROM\tTO\n")
		for _, c := range shown {
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", strconv.Itoa(c.Rank), c.Name, c.From, c.To)
		}
		if left := len(d.Changes) - len(shown); left > 0 {
			fmt.Fprintf(t, "and %d more\n", left)
		}
	}
	return t.Flush()
}

// balance lists operators by how much they lost and won together.
func balance(lost, won map[string]int) []string {
	sum := map[string]int{}
	for id, n := range lost {
		sum[id] += n
	}
	for id, n := range won {
		sum[id] += n
	}
	ids := sortedKeys(sum)
	slices.SortStableFunc(ids, func(a, b string) int { return sum[b] - sum[a] })
	return ids
}
