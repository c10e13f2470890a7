package ecdsa

import (
	"fmt"
	"testing"

	"zonesigner/mpc"
)

func TestSignWithEverySet(t *testing.T) {
	for _, c := range []struct {
		name   string
		n, t   int
		set    mpc.SignerSet
		active bool
	}{
		{"passive 3,1 with two", 3, 1, mpc.NewSignerSet("a", "c"), false},
		{"passive 5,2 with three", 5, 2, mpc.NewSignerSet("b", "c", "e"), false},
		{"active 3,1 with all", 3, 1, mpc.NewSignerSet("a", "b", "c"), true},
		{"active 3,1 with two", 3, 1, mpc.NewSignerSet("b", "c"), true},
		{"active 4,1 with three", 4, 1, mpc.NewSignerSet("b", "c", "d"), true},
		{"active 5,2 with four", 5, 2, mpc.NewSignerSet("a", "b", "d", "e"), true},
		{"active 7,3 with all", 7, 3, mpc.NewSignerSet("a", "b", "c", "d", "e", "f", "g"), true},
	} {
		t.Run(c.name, func(t *testing.T) {
			engine := passive()
			if c.active {
				engine = active()
			}
			w := newWorld(t, c.n, c.t, engine, 4)
			w.generate()
			w.mustPrepare(c.set, 10)
			var messages []string
			for i := range 10 {
				messages = append(messages, fmt.Sprintf("message %d", i))
			}
			sigs, errs := w.sign(w.request(c.set, messages...), nil)
			for _, p := range c.set {
				if errs[p] != nil {
					t.Fatalf("sign at %s: %v", p, errs[p])
				}
				for i, m := range messages {
					if !w.verify(m, sigs[p][i]) {
						t.Errorf("signature %d of %s does not verify", i, p)
					}
					if sigs[p][i] != sigs[c.set[0]][i] {
						t.Errorf("signature %d differs between operators", i)
					}
				}
			}
			for _, p := range w.group.Parties {
				if !c.set.Contains(p) && len(w.stores[p].order) > 0 {
					t.Errorf("%s holds tuples of a set that it is not a member of", p)
				}
			}
		})
	}
}
