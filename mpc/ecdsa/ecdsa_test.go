package ecdsa

import (
	"fmt"
	"testing"

	"zonesigner/mpc"
	"zonesigner/mpc/rep3"
)

func TestSignWithEverySet(t *testing.T) {
	for _, c := range []struct {
		name   string
		n, t   int
		set    mpc.SignerSet
		engine Protocol
	}{
		{"passive 3,1 with two", 3, 1, mpc.NewSignerSet("a", "c"), passive()},
		{"passive 5,2 with three", 5, 2, mpc.NewSignerSet("b", "c", "e"), passive()},
		{"active 3,1 with all", 3, 1, mpc.NewSignerSet("a", "b", "c"), active()},
		{"active 3,1 with two", 3, 1, mpc.NewSignerSet("b", "c"), active()},
		{"active 4,1 with three", 4, 1, mpc.NewSignerSet("b", "c", "d"), active()},
		{"active 5,2 with four", 5, 2, mpc.NewSignerSet("a", "b", "d", "e"), active()},
		{"active 7,3 with all", 7, 3, mpc.NewSignerSet("a", "b", "c", "d", "e", "f", "g"), active()},
		{"rep3 with two", 3, 1, mpc.NewSignerSet("a", "c"), Over(rep3.Passive())},
		{"mal-rep3 with two", 3, 1, mpc.NewSignerSet("b", "c"), Over(rep3.Active())},
		{"mal-rep3 with all", 3, 1, mpc.NewSignerSet("a", "b", "c"), Over(rep3.Active())},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, c.n, c.t, c.engine, 4)
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
				if !c.set.Contains(p) && len(w.stores[p].Order) > 0 {
					t.Errorf("%s holds tuples of a set that it is not a member of", p)
				}
			}
		})
	}
}
