package dnssec

import (
	"fmt"
	"strings"
)

// Difference is one RRset that two copies of a zone do not share.
type Difference struct {
	Owner Name
	Type  uint16
	A, B  string // what each copy has, in words; "nothing" when it has none
}

// String says it in one line: "www.example.org. A differs: 3600 192.0.2.1,
// there 3600 192.0.2.2".
func (d Difference) String() string {
	return fmt.Sprintf("%s %s differs: here %s, there %s", d.Owner, TypeName(d.Type), d.A, d.B)
}

// Diff lists the RRsets that differ between a ("here") and b ("there"), at
// most max of them (0: all). The SOA's serial is no difference.
func Diff(a, b *Zone, max int) []Difference {
	var out []Difference
	add := func(x, y RRset) bool {
		d := Difference{Owner: x.Owner, Type: x.Type}
		if x.Owner == "" {
			d.Owner, d.Type = y.Owner, y.Type
		}
		d.A, d.B = x.words(y), y.words(x)
		out = append(out, d)
		return max > 0 && len(out) >= max
	}
	i, j := 0, 0
	for i < len(a.sets) || j < len(b.sets) {
		order := 0
		switch {
		case i == len(a.sets):
			order = 1
		case j == len(b.sets):
			order = -1
		default:
			order = compareRRsets(a.sets[i], b.sets[j])
		}
		var full bool
		switch {
		case order < 0:
			full = add(a.sets[i], RRset{})
			i++
		case order > 0:
			full = add(RRset{}, b.sets[j])
			j++
		default:
			if !a.sets[i].equal(b.sets[j]) && !(i == a.soa && j == b.soa && sameButSerial(a.sets[i], b.sets[j])) {
				full = add(a.sets[i], b.sets[j])
			}
			i++
			j++
		}
		if full {
			break
		}
	}
	return out
}

func sameButSerial(x, y RRset) bool {
	return x.TTL == y.TTL && string(withSerial(x.first(), 0)) == string(withSerial(y.first(), 0))
}

// words is the TTL and the records that o lacks; all of them when that is
// none.
func (s RRset) words(o RRset) string {
	if s.Len() == 0 {
		return "nothing"
	}
	var own, all []string
	for d := range s.RData() {
		_, data := typeAndRData(s.Type, d)
		text := clip(data)
		all = append(all, text)
		if !o.has(d) {
			own = append(own, text)
		}
	}
	if len(own) == 0 {
		own = all
	}
	const most = 5
	if n := len(own); n > most {
		own = append(own[:most], fmt.Sprintf("and %d more", n-most))
	}
	return fmt.Sprintf("%d %s", s.TTL, strings.Join(own, ", "))
}
