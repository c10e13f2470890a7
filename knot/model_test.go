package knot_test

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"zonesigner/knot"
)

// drawZone makes a small zone without its SOA: at each name either an alias
// or some RRsets, each of one TTL.
func drawZone(t *rapid.T) []knot.Record {
	out := []knot.Record{{Owner: example, TTL: 300, Type: "NS", Data: "ns.example."}}
	for _, owner := range []string{"a.example.", "b.a.example.", "*.b.a.example.", "c.example.", "z.y.x.example.", `e\.f.example.`} {
		ttl := rapid.SampledFrom([]uint32{0, 60, 300, 2147483647})
		if rapid.Bool().Draw(t, "alias") {
			target := rapid.SampledFrom([]string{"a.example.", "other.test."}).Draw(t, "target")
			out = append(out, knot.Record{Owner: owner, TTL: ttl.Draw(t, "ttl"), Type: "CNAME", Data: target})
			continue
		}
		for _, s := range []struct {
			typ  string
			data []string
		}{
			{"A", []string{"192.0.2.1", "192.0.2.2", "192.0.2.3"}},
			{"TXT", []string{`"a"`, `"b c" "d"`, `"q\"\\"`, `"\000\255"`}},
			{"MX", []string{"10 mail.example.", "20 ."}},
			{"TYPE65280", []string{`\# 0`, `\# 2 00FF`}},
		} {
			set := rapid.SliceOfDistinct(rapid.SampledFrom(s.data), rapid.ID[string]).Draw(t, s.typ)
			setTTL := ttl.Draw(t, "ttl")
			for _, d := range set {
				out = append(out, knot.Record{Owner: owner, TTL: setTTL, Type: s.typ, Data: d})
			}
		}
	}
	return out
}

// From any zone to any other, by difference and in full: Knot holds the other.
func TestAnyChange(t *testing.T) {
	_, ctl := public(t)
	serial := 1
	head := func() []knot.Record { return records(t, soa(serial)) }
	held := records(t, base)
	apply(t, ctl, knot.Change{Full: true, Add: append(head(), held...)})
	rapid.Check(t, func(rt *rapid.T) {
		next := drawZone(rt)
		serial++
		ch := knot.Change{Full: true, Add: append(head(), next...)}
		if rapid.Bool().Draw(rt, "by difference") {
			ch = knot.Change{Add: head()}
			is := map[knot.Record]bool{}
			for _, r := range held {
				is[r] = true
			}
			for _, r := range next {
				if !is[r] {
					ch.Add = append(ch.Add, r)
				}
				delete(is, r)
			}
			for r := range is {
				ch.Remove = append(ch.Remove, r)
			}
		}
		if err := ctl.Apply(ctxOf(t), example, ch); err != nil {
			rt.Fatal(err)
		}
		held = next
		got, _, err := ctl.ReadZone(ctxOf(t), example)
		if err != nil {
			rt.Fatal(err)
		}
		if g, w := sorted(got), sorted(append(head(), next...)); g != w {
			rt.Fatal(fmt.Sprintf("zone is\n%s\nexpected\n%s", g, w))
		}
	})
}
