package report

import (
	"encoding/csv"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"zonesigner/measure"
)

// columns are the words of Figure 1, and ours for what it does not have.
var columns = map[string]string{"one": "Only 1", "more-than-one": "More than 1", "no-response": "NR", "misconfigured": "Misconf", "unknown": "Unknown"}

func (t *Top) name() string {
	switch {
	case t.N == 0:
		return "All"
	case t.N >= 1_000_000 && t.N%1_000_000 == 0:
		return fmt.Sprintf("Top-%dm", t.N/1_000_000)
	case t.N >= 1000 && t.N%1000 == 0:
		return fmt.Sprintf("Top-%dk", t.N/1000)
	}
	return fmt.Sprintf("Top-%d", t.N)
}

func percent(share float64) string { return strconv.FormatFloat(100*share, 'f', 1, 64) + "%" }

// head says what was measured, a line each.
func (r *Report) head() []string {
	m := r.Meta
	lines := []string{
		fmt.Sprintf("list: %s, of %s, %d domains, SHA-256 %s", m.List.Path, m.List.Modified.Format(time.DateOnly), m.List.Domains, m.List.SHA256),
		"measured: " + m.Started.Format(time.RFC3339),
	}
	switch {
	case r.Done < m.List.Domains:
		lines[1] += fmt.Sprintf(", not finished: %d of %d are done", r.Done, m.List.Domains)
	case !m.Finished.IsZero():
		lines[1] += " to " + m.Finished.Format(time.RFC3339)
	}
	how := "iteratively, from the root"
	if len(m.Settings.Resolvers) > 0 {
		how = "through " + strings.Join(m.Settings.Resolvers, ", ")
	}
	lines = append(lines, "resolved: "+how+", within "+m.Settings.Timeout.String(), "aliases: "+m.Settings.Aliases)
	for _, kind := range sortedKeys(m.Faults) {
		lines = append(lines, fmt.Sprintf("fault: %s: %d", kind, m.Faults[kind]))
	}
	return lines
}

// Text writes tables for people.
func (r *Report) Text(w io.Writer) error {
	for _, line := range r.head() {
		fmt.Fprintln(w, line)
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	section := func(title string, head ...string) {
		_ = t.Flush() // the last one tells
		fmt.Fprintf(w, "\n%s\n", title)
		fmt.Fprintln(t, strings.Join(head, "\t"))
	}
	head := []string{"", "DOMAINS"}
	for _, c := range measure.Classes {
		head = append(head, strings.ToUpper(columns[c.String()]), "")
	}
	section("Domains with multiple operators (Figure 1)", append(head, "PAPER: MORE THAN 1")...)
	for _, top := range r.Tops {
		row := []string{top.name(), strconv.Itoa(top.Domains)}
		for _, c := range top.Classes {
			row = append(row, strconv.Itoa(c.Domains), percent(c.Share))
		}
		if top.Paper != nil {
			row = append(row, percent(top.Paper.MoreThanOne))
		}
		fmt.Fprintln(t, strings.Join(row, "\t"))
	}
	section("Whose signatures the operators of a domain serve, with more than one", "", "DOMAINS", "UNSIGNED", "ONE SIGNER", "SEVERAL", "PARTLY", "UNKNOWN")
	for _, top := range r.Tops {
		sum := 0
		row := []string{top.name(), ""}
		for _, c := range top.Signers {
			sum += c.Domains
			row = append(row, strconv.Itoa(c.Domains))
		}
		row[1] = strconv.Itoa(sum)
		fmt.Fprintln(t, strings.Join(row, "\t"))
	}
	for _, group := range []struct {
		title, head string
		counts      []Count
	}{{"What came instead of a list of name servers", "STATUS", r.Silence}, {"Why unknown", "REASON", r.Doubts}, {"Why misconfigured", "REASON", r.Mistakes}} {
		if len(group.counts) == 0 {
			continue
		}
		section(group.title, group.head, "DOMAINS", "")
		for _, c := range group.counts {
			fmt.Fprintf(t, "%s\t%d\t%s\n", c.What, c.Domains, percent(c.Share))
		}
	}
	section(commonest("Operators", len(r.Operators), r.Counted.Operators), "OPERATOR", "DOMAINS", "SHARE", "ALONE")
	for _, o := range r.Operators {
		fmt.Fprintf(t, "%s\t%d\t%s\t%d\n", o.ID, o.Served, percent(o.Share), o.Alone)
	}
	if len(r.Pairs) > 0 {
		section(commonest("Operators of the same domains", len(r.Pairs), r.Counted.Pairs), "OPERATOR", "AND", "DOMAINS")
		for _, p := range r.Pairs {
			fmt.Fprintf(t, "%s\t%s\t%d\n", p.A, p.B, p.Domains)
		}
	}
	return t.Flush()
}

// CSV writes all tables as table, row, column, number.
func (r *Report) CSV(w io.Writer) error {
	c := csv.NewWriter(w)
	line := func(cells ...string) { _ = c.Write(cells) } // Flush's error tells
	line("table", "row", "column", "domains")
	for _, top := range r.Tops {
		line("classes", top.name(), "domains", strconv.Itoa(top.Domains))
		for _, n := range top.Classes {
			line("classes", top.name(), n.What, strconv.Itoa(n.Domains))
		}
		for _, n := range top.Signers {
			line("signers", top.name(), n.What, strconv.Itoa(n.Domains))
		}
	}
	for _, t := range []struct {
		name   string
		counts []Count
	}{{"no-response", r.Silence}, {"unknown", r.Doubts}, {"misconfigured", r.Mistakes}} {
		for _, n := range t.counts {
			line(t.name, "all", n.What, strconv.Itoa(n.Domains))
		}
	}
	for _, o := range r.Operators {
		line("operators", o.ID, "served", strconv.Itoa(o.Served))
		line("operators", o.ID, "alone", strconv.Itoa(o.Alone))
	}
	for _, p := range r.Pairs {
		line("pairs", p.A, p.B, strconv.Itoa(p.Domains))
	}
	line("counted", "all", "operators", strconv.Itoa(r.Counted.Operators))
	line("counted", "all", "pairs", strconv.Itoa(r.Counted.Pairs))
	c.Flush()
	return c.Error()
}
