package rep3

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"zonesigner/mpc"
	"zonesigner/mpc/abbtest"
	"zonesigner/mpc/memnet"
	"zonesigner/mpc/p256"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestConformance(t *testing.T) {
	abbtest.Run(t, Passive(), abbtest.Claims{})
	abbtest.Run(t, Active(), abbtest.Claims{Active: true})
}

func TestSupports(t *testing.T) {
	for _, c := range []struct {
		n, t int
		ok   bool
	}{{3, 1, true}, {3, 2, false}, {2, 1, false}, {4, 1, false}, {5, 2, false}} {
		g := mpc.Group{T: c.t}
		for i := range c.n {
			g.Parties = append(g.Parties, mpc.PartyID(rune('a'+i)))
		}
		for _, e := range []Engine{Passive(), Active()} {
			err := e.Supports(g)
			var bad *mpc.ArgumentError
			if (err == nil) != c.ok || err != nil && !errors.As(err, &bad) {
				t.Errorf("%s with n = %d, t = %d: %v", e.Name(), c.n, c.t, err)
			}
		}
	}
}

func TestSigners(t *testing.T) {
	for _, c := range []struct {
		set             mpc.SignerSet
		passive, active bool
	}{
		{mpc.SignerSet{"a"}, false, false},
		{mpc.SignerSet{"a", "c"}, true, true},
		{mpc.SignerSet{"a", "z"}, false, false},
		{mpc.SignerSet{"a", "b", "c"}, false, true},
	} {
		if err := Passive().Signers(three, c.set); (err == nil) != c.passive {
			t.Errorf("rep3, %s: %v", c.set, err)
		}
		if err := Active().Signers(three, c.set); (err == nil) != c.active {
			t.Errorf("mal-rep3, %s: %v", c.set, err)
		}
	}
}

// TestTwoPresent: two of three can sign, but not multiply.
func TestTwoPresent(t *testing.T) {
	hub := memnet.New(three.Parties...)
	defer hub.Close()
	ends, err := hub.Open(mpc.SessionID{1}, "a", "b")
	if err != nil {
		t.Fatal(err)
	}
	var bad *mpc.ArgumentError
	if _, err := Active().Start(t.Context(), ends[0], three, nil); !errors.As(err, &bad) {
		t.Errorf("a session of two: %v", err)
	}
}

// TestGroupOrder: which part is whose follows the group's order, not that of
// the names, and holds from one session to the next, as a key's share must.
func TestGroupOrder(t *testing.T) {
	g := mpc.Group{Parties: []mpc.PartyID{"c", "a", "b"}, T: 1}
	var mu sync.Mutex
	kept := map[mpc.PartyID]Share{}
	opened := map[p256.Scalar]bool{}
	for session := range 2 {
		for p, err := range playIn(t, g, Active(), nil, func(ctx context.Context, b *box, _ *puppet) error {
			id := b.parties[b.self]
			mu.Lock()
			if session == 0 {
				kept[id] = b.random(1)[0]
			}
			x := kept[id]
			mu.Unlock()
			one := b.constant(p256.One())
			products, err := b.Mul(ctx, []Share{x, one}, []Share{one, x})
			if err != nil {
				return err
			}
			if err := b.Check(ctx); err != nil {
				return err
			}
			values, err := b.Open(ctx, append(products, x))
			if err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			for _, v := range values {
				opened[v] = true
			}
			return nil
		}) {
			if err != nil {
				t.Errorf("%s: %v", p, err)
			}
		}
	}
	if len(opened) != 1 {
		t.Errorf("one value opens as %d", len(opened))
	}
	signing := map[mpc.PartyID]p256.Scalar{}
	for i, p := range g.Parties {
		s := session{self: i}
		s.toShamir = toShamir(g, i)
		signing[p] = (&box{session: &s}).Signing(kept[p])
	}
	for _, set := range [][]mpc.PartyID{{"a", "b"}, {"b", "c"}, {"a", "c"}, {"a", "b", "c"}} {
		o, err := mpc.NewOpening(g, set, set[0], 1)
		if err != nil {
			t.Fatal(err)
		}
		var columns [][]p256.Scalar
		for _, p := range set {
			columns = append(columns, []p256.Scalar{signing[p]})
		}
		if v, err := o.Scalars("test", columns); err != nil || !opened[v[0]] {
			t.Errorf("the signing form among %v opens another value: %v", set, err)
		}
	}
}

// TestFormat: a share shows nothing.
func TestFormat(t *testing.T) {
	x := Share{p256.NewScalar(7), p256.NewScalar(8)}
	if got, want := fmt.Sprintf("%v %+v %#v %x", x, x, x, x), fmt.Sprintf("%v %+v %#v %x", Share{}, Share{}, Share{}, Share{}); got != want {
		t.Errorf("a share prints as %s", got)
	}
}

// BenchmarkTuples is what Figure 4 asks of the engine for a chunk of tuples,
// at all three parties in one process: a product opened, one scaled by the
// key, both verified.
func BenchmarkTuples(b *testing.B) {
	const chunk = 1024
	for _, e := range []Engine{Passive(), Active()} {
		b.Run(e.Name(), func(b *testing.B) {
			hub := memnet.New(three.Parties...)
			defer hub.Close()
			ends, err := hub.Open(mpc.SessionID{1})
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			var wg sync.WaitGroup
			for _, end := range ends {
				wg.Go(func() {
					main, err := e.Start(b.Context(), end, three, nil)
					if err != nil {
						b.Error(err)
						return
					}
					defer main.Close()
					sk := main.(*box).random(1)[0]
					for done := 0; done < b.N; done += chunk {
						box := main.Fork(fmt.Sprint(done)).(*box)
						n := min(chunk, b.N-done)
						r := box.random(2 * n)
						if _, _, err := box.MulOpen(b.Context(), r[:n], r[n:], scaling(r[:n], sk)); err != nil {
							b.Error(err)
							return
						}
						if err := box.Check(b.Context()); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "tuples/s")
		})
	}
}
