// Package report makes tables and pages of a run's results: the paper's Figure 1,
// who operates how much, which operators occur together, and how domains with
// several are signed; and what changed between two runs.
package report

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"zonesigner/measure"
	"zonesigner/measure/run"
)

// Report is what a run has found.
type Report struct {
	Meta      *run.Meta `json:"meta"`
	Done      int       `json:"done"` // of Meta.List.Domains
	Tops      []Top     `json:"tops"`
	Silence   []Count   `json:"no_response"` // by status, all ranks
	Doubts    []Count   `json:"unknown"`     // by reason
	Mistakes  []Count   `json:"misconfigured"`
	Operators []Share   `json:"operators"` // the commonest
	Pairs     []Pair    `json:"pairs"`     // the commonest
	Counted   struct {  // of which these are the commonest
		Operators int `json:"operators"`
		Pairs     int `json:"pairs"`
	} `json:"counted"`
}

// Top counts the domains of the best ranks.
type Top struct {
	N       int          `json:"top"` // best ranks; 0 is all that there are
	Domains int          `json:"domains"`
	Classes []Count      `json:"classes"`
	Signers []Count      `json:"signers"` // of domains with more than one operator
	Paper   *PaperFigure `json:"paper,omitempty"`
}

// Count is how many domains there are of a kind.
type Count struct {
	What    string  `json:"what"`
	Domains int     `json:"domains"`
	Share   float64 `json:"share"` // of all that were counted with it
}

// Share is how many domains an operator serves, of those with one operator or
// several.
type Share struct {
	ID     string  `json:"operator"`
	Served int     `json:"domains"`
	Share  float64 `json:"share"`
	Alone  int     `json:"alone"` // of Served: as the only operator
}

// Pair is two operators of the same domains.
type Pair struct {
	A       string `json:"a"`
	B       string `json:"b"`
	Domains int    `json:"domains"`
}

// PaperFigure is what section 2.2 of the paper gives for the Alexa list of 12
// July 2019.
type PaperFigure struct {
	MoreThanOne   float64 `json:"more_than_one"` // share
	NoResponse    int     `json:"no_response"`
	Misconfigured int     `json:"misconfigured"`
}

var paper = map[int]*PaperFigure{
	100:       {0.40, 3, 0},
	1000:      {0.203, 24, 0},
	10_000:    {0.092, 208, 13},
	1_000_000: {0.035, 60775, 2483},
}

// tops are the ranks of Figure 1.
var tops = []int{100, 1000, 10_000, 1_000_000}

// most is how many operators and pairs a report names.
const most = 30

// Build counts what is done of the run in dir.
func Build(dir string) (*Report, error) {
	meta, err := run.LoadMeta(dir)
	if err != nil {
		return nil, err
	}
	store, err := run.OpenStore(dir)
	if err != nil {
		return nil, err
	}
	defer store.Close()
	c := newCounter()
	if err := store.Each(func(s run.Summary) error { c.add(s); return nil }); err != nil {
		return nil, err
	}
	return c.report(meta), nil
}

// counter adds up summaries.
type counter struct {
	done, served int
	tops         []tally // as the variable tops, and all
	silence      map[string]int
	doubts       map[string]int
	mistakes     map[string]int
	operators    map[string]*Share
	pairs        map[[2]string]int
}

type tally struct {
	n, last int // last is the worst rank that was counted
	domains int
	classes [measure.Unknown + 1]int
	signers map[measure.Signers]int
}

func newCounter() *counter {
	c := &counter{silence: map[string]int{}, doubts: map[string]int{}, mistakes: map[string]int{}, operators: map[string]*Share{}, pairs: map[[2]string]int{}}
	for _, n := range append(slices.Clone(tops), 0) {
		c.tops = append(c.tops, tally{n: n, signers: map[measure.Signers]int{}})
	}
	return c
}

func (c *counter) add(s run.Summary) {
	c.done++
	for i := range c.tops {
		t := &c.tops[i]
		if t.n > 0 && s.Rank > t.n {
			continue
		}
		t.domains++
		t.last = max(t.last, s.Rank)
		if s.Class <= measure.Unknown {
			t.classes[s.Class]++
		}
		if s.Class == measure.MoreThanOne {
			t.signers[s.Signers]++
		}
	}
	switch s.Class {
	case measure.NoResponse:
		c.silence[string(s.Status)]++
		return
	case measure.Unknown, measure.Misconfigured:
		into := c.doubts
		if s.Class == measure.Misconfigured {
			into = c.mistakes
		}
		for _, r := range s.Reasons {
			if decides[r] {
				into[string(r)]++
			}
		}
		return
	}
	c.served++
	for i, id := range s.Operators {
		o := c.operators[id]
		if o == nil {
			id = strings.Clone(id) // the summary's string holds all of them
			o = &Share{ID: id}
			c.operators[id] = o
		}
		o.Served++
		if len(s.Operators) == 1 {
			o.Alone++
		}
		for _, other := range s.Operators[i+1:] {
			c.pairs[[2]string{o.ID, strings.Clone(other)}]++
		}
	}
}

// decides are the reasons that put a domain among the unknown or misconfigured.
var decides = map[measure.Code]bool{
	measure.NoServingAddress: true, measure.SameNetwork: true, measure.SOASays: true, measure.ResolverLies: true, measure.NoOperator: true,
	measure.SingleLabel: true, measure.UnlistedSuffix: true, measure.Mistyped: true,
}

func (c *counter) report(meta *run.Meta) *Report {
	r := &Report{Operators: []Share{}, Pairs: []Pair{}, Meta: meta, Done: c.done, Silence: counts(c.silence), Doubts: counts(c.doubts), Mistakes: counts(c.mistakes)}
	for i, t := range c.tops {
		// A list that is shorter is counted once, as all that there are.
		all := t.n == 0
		if !all && c.tops[len(c.tops)-1].last < t.n || all && slices.ContainsFunc(c.tops[:i], func(o tally) bool { return o.n == t.last }) {
			continue
		}
		top := Top{N: t.n, Domains: t.domains, Paper: paper[t.n]}
		for _, class := range measure.Classes {
			top.Classes = append(top.Classes, Count{class.String(), t.classes[class], share(t.classes[class], t.domains)})
		}
		for _, s := range measure.AllSigners {
			top.Signers = append(top.Signers, Count{string(s), t.signers[s], share(t.signers[s], t.classes[measure.MoreThanOne])})
		}
		r.Tops = append(r.Tops, top)
	}
	for _, o := range c.operators {
		o.Share = share(o.Served, c.served)
		r.Operators = append(r.Operators, *o)
	}
	slices.SortFunc(r.Operators, func(a, b Share) int { return cmp.Or(b.Served-a.Served, strings.Compare(a.ID, b.ID)) })
	for p, n := range c.pairs {
		r.Pairs = append(r.Pairs, Pair{p[0], p[1], n})
	}
	slices.SortFunc(r.Pairs, func(a, b Pair) int {
		return cmp.Or(b.Domains-a.Domains, strings.Compare(a.A, b.A), strings.Compare(a.B, b.B))
	})
	r.Counted.Operators, r.Counted.Pairs = len(r.Operators), len(r.Pairs)
	r.Operators = slices.Clip(r.Operators[:min(most, len(r.Operators))])
	r.Pairs = slices.Clip(r.Pairs[:min(most, len(r.Pairs))])
	return r
}

// commonest heads a table of so many of all.
func commonest(what string, shown, all int) string {
	if shown < all {
		return fmt.Sprintf("%s, the %d commonest of %d", what, shown, all)
	}
	return what
}

func share(n, of int) float64 {
	if of == 0 {
		return 0
	}
	return float64(n) / float64(of)
}

// counts lists what was counted, the commonest first.
func counts(m map[string]int) []Count {
	sum := 0
	for _, n := range m {
		sum += n
	}
	all := []Count{}
	for _, what := range slices.Sorted(maps.Keys(m)) {
		all = append(all, Count{what, m[what], share(m[what], sum)})
	}
	slices.SortStableFunc(all, func(a, b Count) int { return b.Domains - a.Domains })
	return all
}
