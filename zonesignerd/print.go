package main

// What is printed: results alone on standard output, as tables or lines for
// people or as JSON; progress on standard error. Text that came from a peer
// never reaches a terminal with its control characters.

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// clean replaces what could steer a terminal.
func clean(s string) string {
	if !strings.ContainsFunc(s, hostile) && utf8.ValidString(s) {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if hostile(r) || r == utf8.RuneError {
			quoted := strconv.QuoteRuneToASCII(r)
			b.WriteString(quoted[1 : len(quoted)-1])
			continue
		}
		b.WriteRune(r)
	}
	return b.String()
}

func hostile(r rune) bool { return !unicode.IsPrint(r) }

// printJSON writes v, indented.
func (a *app) printJSON(v any) error {
	enc := json.NewEncoder(a.out)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// watched is a writer that keeps its first error: of those who print, few look.
type watched struct {
	w   io.Writer
	err error
}

func (w *watched) Write(b []byte) (int, error) {
	n, err := w.w.Write(b)
	if w.err == nil {
		w.err = err
	}
	return n, err
}

// printf writes one line; the arguments that are strings are cleaned.
func (a *app) printf(format string, args ...any) {
	for i, arg := range args {
		if s, ok := arg.(string); ok {
			args[i] = clean(s)
		}
	}
	fmt.Fprintf(a.out, format+"\n", args...)
}

// The colours of cells.
const (
	plain  = ""
	red    = "31"
	green  = "32"
	yellow = "33"
)

type cell struct{ text, colour string }

// table collects rows and writes them in aligned columns.
type table struct {
	rows [][]cell
}

func newTable(head ...string) *table {
	t := &table{}
	t.row(head...)
	return t
}

// row adds cells without colour.
func (t *table) row(texts ...string) {
	cells := make([]cell, len(texts))
	for i, s := range texts {
		cells[i] = cell{text: s}
	}
	t.rows = append(t.rows, cells)
}

// paint colours a cell of the last row.
func (t *table) paint(column int, colour string) {
	t.rows[len(t.rows)-1][column].colour = colour
}

func (a *app) printTable(t *table) {
	var widths []int
	for _, row := range t.rows {
		for i, c := range row {
			row[i].text = clean(c.text)
			if c.text == "" {
				row[i].text = "-"
			}
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(row[i].text))
		}
	}
	for _, row := range t.rows {
		var line strings.Builder
		for i, c := range row {
			text := c.text
			if a.colour && c.colour != plain {
				text = "\x1b[" + c.colour + "m" + text + "\x1b[0m"
			}
			line.WriteString(text)
			if i < len(row)-1 {
				line.WriteString(strings.Repeat(" ", widths[i]-utf8.RuneCountInString(c.text)+2))
			}
		}
		fmt.Fprintln(a.out, line.String())
	}
}

// when writes a time as ISO 8601 and as people say it.
func when(t, now time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339) + " (" + relative(t, now) + ")"
}

// relative is "in 3 days", "2 hours ago" or "now".
func relative(t, now time.Time) string {
	d := t.Sub(now).Round(time.Second)
	switch {
	case d == 0:
		return "now"
	case d < 0:
		return span(-d) + " ago"
	}
	return "in " + span(d)
}

// span is a duration in its largest unit, rounded down.
func span(d time.Duration) string {
	for _, u := range []struct {
		length time.Duration
		name   string
	}{{365 * 24 * time.Hour, "year"}, {24 * time.Hour, "day"}, {time.Hour, "hour"}, {time.Minute, "minute"}} {
		if n := d / u.length; n > 0 {
			return plural(int(n), u.name)
		}
	}
	return plural(int(d/time.Second), "second")
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return strconv.Itoa(n) + " " + what + "s"
}

// progress writes changing lines on standard error: over one another on a
// terminal, one below the other elsewhere.
type progress struct {
	a    *app
	last string
}

func (p *progress) say(text string) {
	text = clean(text)
	if text == p.last || text == "" {
		return
	}
	if p.a.live {
		fmt.Fprintf(p.a.err, "\r\x1b[K%s", text)
	} else {
		fmt.Fprintln(p.a.err, text)
	}
	p.last = text
}

// end leaves the terminal at the beginning of a line.
func (p *progress) end() {
	if p.a.live && p.last != "" {
		fmt.Fprint(p.a.err, "\r\x1b[K")
	}
}
