package report

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"

	"zonesigner/measure"
	"zonesigner/measure/list"
	"zonesigner/measure/run"
)

// hostile is what the DNS lets a name server's owner write into a report.
const hostile = `<script>alert("1")</script>`

// hostileReport is of a few domains of operators with such names.
func hostileReport() *Report {
	c := newCounter()
	for rank := 1; rank <= 3; rank++ {
		c.add(run.Summary{Rank: rank, Name: hostile, Class: measure.MoreThanOne, Status: measure.NoError, Signers: measure.SignersOne, Operators: []string{hostile, "other"}})
	}
	c.add(run.Summary{Rank: 4, Class: measure.NoResponse, Status: hostile})
	return c.report(&run.Meta{List: list.Info{Path: hostile, Domains: 4}})
}

// TestPage wants the page to need nothing else, and what others wrote to stay
// text.
func TestPage(t *testing.T) {
	var page, svg bytes.Buffer
	r := hostileReport()
	if err := errors.Join(r.HTML(&page), r.SVG(&svg)); err != nil {
		t.Fatal(err)
	}
	text := strings.ReplaceAll(page.String(), `xmlns="http://www.w3.org/2000/svg"`, "") // a name, not an address
	for _, bad := range []string{"<script", "src=", "href=", "url(", "@import", "http:", "https:", "<link", "<iframe"} {
		if strings.Contains(text, bad) {
			t.Errorf("the page has %q", bad)
		}
	}
	if !strings.Contains(text, "&lt;script&gt;") || !strings.Contains(text, "<svg") {
		t.Errorf("the page is\n%s", text)
	}
	for d := xml.NewDecoder(&svg); ; {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

// TestCommonest wants a table that leaves some out to say so.
func TestCommonest(t *testing.T) {
	c := newCounter()
	for i := range most + 5 {
		c.add(run.Summary{Rank: i + 1, Class: measure.One, Status: measure.NoError, Operators: []string{strings.Repeat("x", i+1)}})
	}
	var text, page bytes.Buffer
	r := c.report(&run.Meta{})
	if err := errors.Join(r.Text(&text), r.HTML(&page)); err != nil {
		t.Fatal(err)
	}
	for _, out := range []string{text.String(), page.String()} {
		if !strings.Contains(out, "Operators, the 30 commonest of 35") {
			t.Errorf("%s", out)
		}
	}
}

// TestNothingDone has a report of a run that was stopped before its first domain
// was done.
func TestNothingDone(t *testing.T) {
	r := newCounter().report(&run.Meta{List: list.Info{Domains: 7}})
	var out bytes.Buffer
	if err := errors.Join(r.Text(&out), r.CSV(&out), r.SVG(&out), r.HTML(&out)); err != nil || !strings.Contains(out.String(), "0 of 7 are done") {
		t.Errorf("%v\n%s", err, out.String())
	}
}
