package frost

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"zonesigner/mpc"
	"zonesigner/mpc/memnet"
)

var (
	pairAB  = mpc.NewSignerSet("a", "b")
	allABC  = mpc.NewSignerSet("a", "b", "c")
	message = "www.example.org. A 192.0.2.1"
)

// TestSign makes keys and signs with sets of every size.
func TestSign(t *testing.T) {
	for _, c := range []struct{ n, t int }{{2, 1}, {3, 1}, {3, 2}, {5, 2}, {5, 4}, {7, 3}} {
		t.Run(fmt.Sprintf("n=%d t=%d", c.n, c.t), func(t *testing.T) {
			inWorld(t, c.n, c.t, func(t *testing.T, w *world) {
				for size := c.t + 1; size <= c.n; size++ {
					set := mpc.NewSignerSet(w.group.Parties[c.n-size:]...)
					w.mustPrepare(set, 2*chunkSize-1)
					messages := make([]string, 2*chunkSize-2)
					for i := range messages {
						messages[i] = fmt.Sprint("message ", i)
					}
					sigs, errs := w.signMessages(set, messages...)
					w.must(errs)
					for _, p := range set {
						if !slices.Equal(sigs[p][0], sigs[set[0]][0]) {
							t.Errorf("%s and %s hold different signatures", p, set[0])
						}
						for i, m := range messages {
							if !w.key().verify(m, sigs[p][0][i]) {
								t.Fatalf("set %s: signature %d at %s does not verify", set, i, p)
							}
						}
					}
				}
			})
		})
	}
}

// TestManyKeys makes keys in one session and signs with all in another; runs
// join what belongs to several.
func TestManyKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 3, 1, chunkSize)
		w.mustGenerate("one. zsk", "one. ksk", "two. zsk")
		var requests []mpc.SignRequest
		for i, k := range w.keys["a"] {
			w.must(w.prepare(k.ID, allABC, 3))
			var messages []string
			for j := range i + 1 {
				messages = append(messages, fmt.Sprint(i, j))
			}
			requests = append(requests, w.request(k.ID, allABC, messages...))
		}
		statements := 0
		var mu sync.Mutex
		w.signers["b"].cfg.Signed = func(_ mpc.SessionID, signed []mpc.SignedStatement) error {
			mu.Lock()
			defer mu.Unlock()
			statements++
			for i, b := range signed {
				st, from, err := mpc.VerifyStatement(w.ids["b"], b.Raw)
				if err != nil || from != allABC[i] || st.Engine != Engine || len(st.Parts) != 3 || st.Parts[2].Key != w.keys["a"][2].ID {
					t.Errorf("statement %d of %s: %+v, %v", i, from, st, err)
				}
			}
			return nil
		}
		sigs, errs := w.sign(w.session(allABC, requests...), nil)
		w.must(errs)
		for i, k := range w.keys["a"] {
			for j, sig := range sigs["c"][i] {
				if !k.verify(fmt.Sprint(i, j), sig) {
					t.Errorf("signature %d of key %d does not verify", j, i)
				}
			}
		}
		if statements != 1 {
			t.Errorf("%d runs, want the three keys in one", statements)
		}
	})
}

// TestKeySharesAgree checks what every party holds of a new key.
func TestKeySharesAgree(t *testing.T) {
	inWorld(t, 4, 2, func(t *testing.T, w *world) {
		for _, p := range w.group.Parties {
			k := w.keys[p][0]
			if k.ID != w.key().ID || k.PublicKey() != w.key().PublicKey() || k.Self != p || k.Epoch != 0 {
				t.Errorf("%s holds another key: %v", p, k)
			}
			for j := range k.PublicShares {
				if k.PublicShares[j].Equal(w.key().PublicShares[j]) != 1 {
					t.Errorf("%s holds another public share of %s", p, w.group.Parties[j])
				}
			}
		}
	})
}

// TestLabelsDiffer: operators that were asked for different keys make none.
func TestLabelsDiffer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 3, 1, chunkSize)
		errs := w.among(w.group.Parties, func(ctx context.Context, net mpc.Network) error {
			k, err := GenerateKey(ctx, net, w.ids[net.Self()], w.group, []byte("zsk of "+net.Self()))
			if k != nil {
				t.Errorf("%s has a key", net.Self())
			}
			return err
		})
		for p, err := range errs {
			var bad *mpc.ArgumentError
			if !errors.As(err, &bad) {
				t.Errorf("%s says %v", p, err)
			}
		}
	})
}

// TestArguments: what cannot be is refused before anything is sent or spent.
func TestArguments(t *testing.T) {
	inWorld(t, 3, 1, func(t *testing.T, w *world) {
		w.mustPrepare(allABC, 2)
		good := w.request(w.key().ID, allABC, message)
		for name, s := range map[string]mpc.SignSession{
			"no request":    w.session(allABC),
			"no such key":   w.session(allABC, mpc.SignRequest{Key: "x"}),
			"too few":       w.session(mpc.NewSignerSet("a"), good),
			"a stranger":    w.session(mpc.NewSignerSet("a", "z"), good),
			"not sorted":    w.session(mpc.SignerSet{"b", "a"}, good),
			"another set":   w.session(pairAB, good),
			"too few there": w.session(allABC, w.request(w.key().ID, allABC, "1", "2", "3")),
			"out of bounds": w.session(allABC, mpc.SignRequest{Key: good.Key, Messages: good.Messages, Tuples: []mpc.TupleRange{{From: -1, Count: 1}}}),
		} {
			for p, err := range w.among(allABC, func(ctx context.Context, net mpc.Network) error {
				_, err := w.signers[net.Self()].Sign(ctx, net, s, nil)
				return err
			}) {
				if err == nil {
					t.Errorf("%s: %s signs", name, p)
				}
			}
		}
		if len(w.ranges(w.key().ID, allABC)) != 1 || w.ranges(w.key().ID, allABC)[0].Count != 2 {
			t.Error("tuples were spent")
		}
		for name, err := range map[string]error{
			"prepare none":    w.prepare(w.key().ID, allABC, 0)["b"],
			"no such key":     w.prepare("x", allABC, 1)["b"],
			"unbound":         w.prepare(mpc.Unbound(Engine), allABC, 1)["b"],
			"too few signers": w.prepare(w.key().ID, mpc.NewSignerSet("b"), 1)["b"],
			"key of two of us": w.among(pairAB, func(ctx context.Context, net mpc.Network) error {
				_, err := GenerateKey(ctx, net, w.ids["a"], w.group, nil)
				return err
			})["b"],
			"no label":  w.generate(holes{})["b"],
			"no config": func() error { _, err := NewSigner(Config{}); return err }(),
		} {
			if err == nil {
				t.Errorf("%s: no error", name)
			}
		}
	})
}

// TestSignsWhileOneIsDown: a set that was prepared for it goes on alone.
func TestSignsWhileOneIsDown(t *testing.T) {
	inWorld(t, 3, 1, func(t *testing.T, w *world) {
		w.mustPrepare(pairAB, 1)
		w.hub.SetDown("c", true)
		sigs, errs := w.signMessages(pairAB, message)
		w.must(errs)
		if !w.key().verify(message, sigs["b"][0][0]) {
			t.Error("the signature does not verify")
		}
		if len(w.stores["c"].Order) != 0 {
			t.Error("c, who is no member, has tuples")
		}
	})
}

// TestOrderOfSpending: tuples are spent before the statement that names them
// leaves, and the statement is complete before a share does.
func TestOrderOfSpending(t *testing.T) {
	inWorld(t, 3, 1, func(t *testing.T, w *world) {
		w.mustPrepare(allABC, 1)
		var mu sync.Mutex
		var events []string
		note := func(what string) {
			mu.Lock()
			defer mu.Unlock()
			events = append(events, what)
		}
		w.stores["b"].Spent = func() { note("spent") }
		w.signers["b"].cfg.Signed = func(mpc.SessionID, []mpc.SignedStatement) error { note("complete"); return nil }
		w.hub.SetFault(func(m memnet.Message) []memnet.Message {
			if m.From == "b" && m.To == "a" {
				note(m.Round)
			}
			return []memnet.Message{m}
		})
		_, errs := w.signMessages(allABC, message)
		w.must(errs)
		if want := []string{"request", "spent", "run0/statement", "complete", "run0/z"}; !slices.Equal(events, want) {
			t.Errorf("b does %v, want %v", events, want)
		}
	})
}
