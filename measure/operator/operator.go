// Package operator tells who runs a name server: by the registrable domain of
// its name and a table of aliases, and, for names that say nothing ("vanity"),
// by its addresses and the SOA record that it serves.
package operator

import (
	"bufio"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/net/publicsuffix"
)

// Registrable splits a name server's name by the public suffix list. The
// registrable domain is what lies one label below the public suffix, and the
// label that one: dynect of ns1.p43.dynect.net, ultradns of
// pdns6.ultradns.co.uk. Only suffixes of registries count: what companies
// added to the list for their customers (dyndns.org) has name servers of its
// own in it.
//
// listed is false where no public suffix fits: the name ends in a label that
// is no top-level domain. A name that is itself a public suffix has no label.
func Registrable(name string) (label, domain string, listed bool) {
	suffix, icann := publicsuffix.PublicSuffix(name)
	for !icann {
		_, above, more := strings.Cut(suffix, ".")
		if !more {
			return "", "", false
		}
		suffix, icann = publicsuffix.PublicSuffix(above)
	}
	rest, ok := strings.CutSuffix(name, "."+suffix)
	if !ok {
		return "", "", true
	}
	label = rest[strings.LastIndexByte(rest, '.')+1:]
	return label, label + "." + suffix, true
}

// IsPublicSuffix reports whether name is one of a registry's, or the root.
func IsPublicSuffix(name string) bool {
	if name == "" {
		return true
	}
	label, _, listed := Registrable(name)
	return listed && label == ""
}

// SuffixVersion names the public suffix list that is built in.
func SuffixVersion() string { return publicsuffix.List.String() }

// A Match is what a table says of a name, an address or a SOA record.
type Match struct {
	Operator string
	Line     string // of the table: kind and pattern; "" where the table says nothing
	Alone    bool   // of a SOA record: nobody else serves zones with it
}

// Table holds aliases.
type Table struct {
	Version  string
	domains  map[string]Match // by registrable domain
	labels   map[string]Match // by label
	patterns []pattern        // of labels, those with *
	networks []network        // the longest prefixes first
	soas     []pattern        // MNAME and RNAME
	known    map[string]bool  // operators
}

type pattern struct {
	text  string
	match Match
}

type network struct {
	prefix netip.Prefix
	match  Match
}

func newTable() *Table {
	return &Table{domains: map[string]Match{}, labels: map[string]Match{}, known: map[string]bool{}}
}

//go:embed aliases.v1.tsv
var shipped string

// Default is the table that is shipped.
func Default() *Table {
	t := newTable()
	if err := t.Extend("aliases.v1.tsv", strings.NewReader(shipped)); err != nil {
		panic(err) // a test reads it
	}
	return t
}

// Extend adds the lines of a file in the shipped table's format, of which the
// source may be left out. They count before those that are there. A mistake
// is told by file and line, and adds nothing.
func (t *Table) Extend(file string, r io.Reader) error {
	more := newTable()
	more.Version = t.Version
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimRight(lines.Text(), " \t\r")
		if comment, ok := strings.CutPrefix(line, "#"); ok {
			if f := strings.Fields(comment); len(f) == 2 && f[0] == "version" {
				more.Version = f[1]
			}
			continue
		}
		if line == "" {
			continue
		}
		if err := more.add(strings.Split(line, "\t")); err != nil {
			return fmt.Errorf("%s:%d: %w", file, n, err)
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	t.merge(more, file)
	return nil
}

// add reads one line's cells.
func (t *Table) add(cells []string) error {
	if len(cells) < 3 || len(cells) > 4 {
		return fmt.Errorf("%d columns, want kind, pattern, operator and source, separated by tabs", len(cells))
	}
	kind, text, id := cells[0], strings.ToLower(strings.TrimSuffix(cells[1], ".")), cells[2]
	if id == "" || strings.ContainsFunc(id, func(r rune) bool { return r != '-' && (r < '0' || r > '9') && (r < 'a' || r > 'z') }) {
		return fmt.Errorf("operator %q: want lower-case letters, digits and hyphens", id)
	}
	if text == "" {
		return errors.New("no pattern")
	}
	m := Match{Operator: id, Line: kind + " " + text}
	t.known[id] = true
	switch kind {
	case "name":
		switch {
		case strings.Contains(text, "*"):
			if strings.Contains(text, ".") || strings.Trim(text, "*") == "" {
				return fmt.Errorf("pattern %q: * stands in a label, beside other characters", text)
			}
			t.patterns = append(t.patterns, pattern{text, m})
		case strings.Contains(text, "."):
			if _, domain, _ := Registrable(text); domain != text {
				return fmt.Errorf("pattern %q: want a registrable domain, or its first label", text)
			}
			t.domains[text] = m
		default:
			t.labels[text] = m
		}
	case "network":
		p, err := netip.ParsePrefix(text)
		if err != nil || p != p.Masked() {
			return fmt.Errorf("pattern %q: want a network such as 192.0.2.0/24", text)
		}
		t.networks = append(t.networks, network{p, m})
	case "soa", "soa-only":
		m.Alone = kind == "soa-only"
		t.soas = append(t.soas, pattern{text, m})
	default:
		return fmt.Errorf("kind %q: want name, network, soa or soa-only", kind)
	}
	return nil
}

func (t *Table) merge(more *Table, file string) {
	if t.Version == "" {
		t.Version = more.Version
	} else {
		t.Version += " " + file
	}
	maps.Copy(t.domains, more.domains)
	maps.Copy(t.labels, more.labels)
	maps.Copy(t.known, more.known)
	t.patterns = append(more.patterns, t.patterns...)
	t.soas = append(more.soas, t.soas...)
	t.networks = append(more.networks, t.networks...)
	slices.SortStableFunc(t.networks, func(a, b network) int { return b.prefix.Bits() - a.prefix.Bits() })
}

// Name tells the operator by a name server's name: as the table says, or else
// the label of its registrable domain, with an empty Line. ok is false for
// names under no public suffix.
func (t *Table) Name(name string) (m Match, ok bool) {
	label, domain, listed := Registrable(name)
	if !listed || label == "" {
		return Match{}, false
	}
	if m, ok := t.domains[domain]; ok {
		return m, true
	}
	if m, ok := t.labels[label]; ok {
		return m, true
	}
	for _, p := range t.patterns {
		if fits(p.text, label) {
			return p.match, true
		}
	}
	return Match{Operator: label}, true
}

// fits reports whether s is the pattern, in which * stands for any characters.
func fits(pattern, s string) bool {
	head, tail, star := strings.Cut(pattern, "*")
	if !star {
		return pattern == s
	}
	rest, ok := strings.CutPrefix(s, head)
	for ; ok && rest != ""; rest = rest[1:] {
		if fits(tail, rest) {
			return true
		}
	}
	return ok && fits(tail, "")
}

// Address tells the operator by a name server's address.
func (t *Table) Address(addr netip.Addr) (m Match, ok bool) {
	for _, n := range t.networks {
		if n.prefix.Contains(addr) {
			return n.match, true
		}
	}
	return Match{}, false
}

// SOA tells the operator by the names in a SOA record.
func (t *Table) SOA(mname, rname string) (m Match, ok bool) {
	for _, name := range []string{rname, mname} {
		for _, p := range t.soas {
			if name == p.text || strings.HasSuffix(name, "."+p.text) {
				return p.match, true
			}
		}
	}
	if m, ok := t.Name(mname); ok && m.Line != "" {
		return m, true
	}
	return Match{}, false
}

// Known reports whether the table names the operator.
func (t *Table) Known(id string) bool { return t.known[id] }
