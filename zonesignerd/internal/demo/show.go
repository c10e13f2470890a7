package main

import (
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"
)

// printer writes what an onlooker sees.
type printer struct {
	w      io.Writer
	live   bool // a terminal, on which a line can be written over
	colour bool

	started, step, last time.Time
	rows                []row
	facts               []string // of the present step, for the summary
	drawn               time.Time
}

type row struct {
	title string
	facts []string
	took  time.Duration
}

// The colours.
const (
	red    = "31"
	green  = "32"
	bold   = "1"
	dimmed = "2"
)

func (p *printer) paint(colour, text string) string {
	if !p.colour {
		return text
	}
	return "\x1b[" + colour + "m" + text + "\x1b[0m"
}

func (p *printer) head(dir string) {
	p.started = time.Now()
	fmt.Fprintf(p.w, "%s\nthree operators on this machine, each with its own Knots, daemon, keystore and NATS server, in %s\n",
		p.paint(bold, "Zonesigner: three operators sign one zone, and nobody holds the key"), dir)
}

func (p *printer) title(n int, text string) {
	p.step, p.last, p.facts = time.Now(), time.Now(), nil
	fmt.Fprintf(p.w, "\n%s\n", p.paint(bold, fmt.Sprintf("%d. %s", n, text)))
}

// command shows a command line, at an operator, and what it printed.
func (p *printer) command(who, line, output string) {
	fmt.Fprintf(p.w, "   %s\n", p.paint(bold, who+"$ "+line))
	for l := range strings.Lines(output) {
		if l = strings.TrimRight(l, "\n"); l != "" {
			fmt.Fprintf(p.w, "   %s\n", p.paint(dimmed, l))
		}
	}
}

// note says something.
func (p *printer) note(format string, args ...any) {
	fmt.Fprintf(p.w, "   %s\n", fmt.Sprintf(format, args...))
}

// ok says what was seen to be so, and how long it took since the last time.
func (p *printer) ok(format string, args ...any) {
	now := time.Now()
	fmt.Fprintf(p.w, "   %s %s %s\n", p.paint(green, "ok"), fmt.Sprintf(format, args...), p.paint(dimmed, "("+seconds(now.Sub(p.last))+")"))
	p.last = now
}

// fact is ok, and a line of the summary.
func (p *printer) fact(short, format string, args ...any) {
	p.facts = append(p.facts, short)
	p.ok(format, args...)
}

func (p *printer) done(title string) {
	p.rows = append(p.rows, row{title, p.facts, time.Since(p.step)})
}

// barEvery is how often a progress line is written where it is no terminal.
const barEvery = 2 * time.Second

// bar shows progress: one line that changes on a terminal, a line now and
// then elsewhere.
func (p *printer) bar(what string, done, want int) {
	const width = 40
	filled := width
	if done < want {
		filled = done * width / want
	}
	line := fmt.Sprintf("   [%s%s] %d of %d %s", strings.Repeat("#", filled), strings.Repeat("-", width-filled), done, want, what)
	switch {
	case p.live:
		fmt.Fprintf(p.w, "\r\x1b[K%s", line)
		if done >= want {
			fmt.Fprintln(p.w)
		}
	case done >= want || time.Since(p.drawn) >= barEvery:
		p.drawn = time.Now()
		fmt.Fprintln(p.w, line)
	}
}

func (p *printer) failed(err error) {
	if p.live {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
	fmt.Fprintf(p.w, "   %s %v\n\n", p.paint(red, "failed"), err)
}

// summary is the table at the end.
func (p *printer) summary() {
	fmt.Fprintf(p.w, "\n%s\n", p.paint(bold, "What was seen"))
	var width int
	for _, r := range p.rows {
		width = max(width, utf8.RuneCountInString(r.title))
		for _, f := range r.facts {
			width = max(width, utf8.RuneCountInString(f)+3)
		}
	}
	for i, r := range p.rows {
		fmt.Fprintf(p.w, "   %s%*s\n", p.paint(bold, fmt.Sprintf("%d. %-*s", i+1, width, r.title)), 9, seconds(r.took))
		for _, f := range r.facts {
			fmt.Fprintf(p.w, "      %s\n", f)
		}
	}
	fmt.Fprintf(p.w, "   %-*s%*s\n", width+3, "in all", 9, seconds(time.Since(p.started)))
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()) }
