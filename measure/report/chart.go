package report

import (
	"bytes"
	_ "embed"
	"fmt"
	"html"
	"html/template"
	"io"
	"maps"
	"slices"

	"zonesigner/measure"
)

// colours of classes are told apart by people who see few of them, too (after
// Okabe and Ito).
var colours = map[measure.Class]string{
	measure.One: "#0072b2", measure.MoreThanOne: "#e69f00", measure.NoResponse: "#999999", measure.Misconfigured: "#d55e00", measure.Unknown: "#cc79a7",
}

// SVG draws Figure 1: a bar for each of the tops, of the classes' shares.
func (r *Report) SVG(w io.Writer) error {
	const width, height, left, top, bottom = 640, 360, 48, 36, 28
	var b bytes.Buffer
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12" role="img" aria-label="Domains with multiple operators">`+"\n", width, height)
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="#ffffff"/>`+"\n", width, height)
	plot := float64(height - top - bottom)
	for p := 0; p <= 100; p += 25 {
		y := float64(top) + plot*(1-float64(p)/100)
		fmt.Fprintf(&b, `<line x1="%d" x2="%d" y1="%.1f" y2="%.1f" stroke="#dddddd"/><text x="%d" y="%.1f" text-anchor="end">%d%%</text>`+"\n", left, width-8, y, y, left-6, y+4, p)
	}
	x := left
	for _, class := range measure.Classes {
		fmt.Fprintf(&b, `<rect x="%d" y="10" width="12" height="12" fill="%s"/><text x="%d" y="20">%s</text>`+"\n", x, colours[class], x+16, html.EscapeString(columns[class.String()]))
		x += 112
	}
	if len(r.Tops) > 0 {
		step := float64(width-left-8) / float64(len(r.Tops))
		for i, t := range r.Tops {
			at, y := float64(left)+step*float64(i)+step/5, float64(height-bottom)
			for j, class := range measure.Classes {
				h := plot * t.Classes[j].Share
				if y -= h; h > 0 {
					fmt.Fprintf(&b, `<rect x="%.1f" y="%.2f" width="%.1f" height="%.2f" fill="%s"><title>%s, %s: %d (%s)</title></rect>`+"\n",
						at, y, step*3/5, h, colours[class], t.name(), html.EscapeString(columns[class.String()]), t.Classes[j].Domains, percent(t.Classes[j].Share))
				}
				if class == measure.MoreThanOne && h > 0 {
					fmt.Fprintf(&b, `<text x="%.1f" y="%.1f" text-anchor="middle">%s</text>`+"\n", at+step*3/10, y+min(h-2, 14), percent(t.Classes[j].Share))
				}
			}
			fmt.Fprintf(&b, `<text x="%.1f" y="%d" text-anchor="middle">%s</text>`+"\n", at+step*3/10, height-8, t.name())
		}
	}
	b.WriteString("</svg>\n")
	_, err := w.Write(b.Bytes())
	return err
}

//go:embed page.html
var pageText string

var page = template.Must(template.New("page").Funcs(template.FuncMap{
	"percent": percent, "commonest": commonest,
	"name":   func(t Top) string { return t.name() },
	"column": func(what string) string { return columns[what] },
	"why":    func(code string) string { return measure.Codes[measure.Code(code)] },
}).Parse(pageText))

// HTML writes a page that needs nothing else.
func (r *Report) HTML(w io.Writer) error {
	var svg bytes.Buffer
	if err := r.SVG(&svg); err != nil {
		return err
	}
	return page.Execute(w, struct {
		*Report
		Head  []string
		Chart template.HTML
	}{r, r.head(), template.HTML(svg.String())})
}

func sortedKeys(m map[string]int) []string { return slices.Sorted(maps.Keys(m)) }
