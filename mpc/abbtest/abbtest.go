// Package abbtest is the one conformance suite that every engine passes: that
// the arithmetic is right, that an active engine catches what one party alters
// and blames within its means, and that an abort leaves nothing running.
package abbtest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"zonesigner/mpc"
	"zonesigner/mpc/mpctest"
	"zonesigner/mpc/p256"
)

// Claims are what an engine promises beyond right arithmetic.
type Claims struct {
	// Active engines catch wrong shares and wrong products.
	Active bool
	// Names reports whether a wrong share in an opening is blamed on its
	// sender alone in group g; otherwise the sender must be among the
	// disputed.
	Names func(g mpc.Group) bool
}

// groups are (n, t); an engine is tested with those that it supports.
var groups = [][2]int{{2, 1}, {3, 1}, {3, 2}, {4, 1}, {5, 2}, {7, 3}}

// Run tests engine.
func Run[S any](t *testing.T, engine mpc.Engine[S], claims Claims) {
	supported := 0
	for _, nt := range groups {
		g := mpctest.Group(nt[0], nt[1])
		if engine.Supports(g) != nil {
			continue
		}
		supported++
		t.Run(fmt.Sprintf("%s %d,%d", engine.Name(), nt[0], nt[1]), func(t *testing.T) {
			s := &suite[S]{engine: engine, group: g, claims: claims}
			t.Run("arithmetic", s.arithmetic)
			t.Run("random", s.random)
			t.Run("fused", s.fused)
			t.Run("narrow", s.narrow)
			t.Run("signing form", s.signing)
			t.Run("dealt", s.dealt)
			t.Run("forks", s.forks)
			t.Run("binding", s.binding)
			t.Run("abort", s.abort)
			if claims.Active {
				t.Run("wrong share", s.wrongShare)
				t.Run("wrong product", s.wrongProduct)
				t.Run("malformed", s.malformed)
			}
		})
	}
	if supported == 0 {
		t.Fatalf("%s supports none of the groups (n, t) = %v", engine.Name(), groups)
	}
}

type suite[S any] struct {
	engine mpc.Engine[S]
	group  mpc.Group
	claims Claims
}

// party is what a test's function gets: its box, and a switch that makes it
// alter all that it sends from then on.
type party[S any] struct {
	id    mpc.PartyID
	box   mpc.Box[S]
	cheat func(func(payload []byte))
}

// run runs f at every party.
func (s *suite[S]) run(t *testing.T, f func(ctx context.Context, p party[S]) error) map[mpc.PartyID]error {
	t.Helper()
	return s.runBound(t, func(mpc.PartyID) []byte { return []byte("abbtest") }, f)
}

func (s *suite[S]) runBound(t *testing.T, binding func(mpc.PartyID) []byte, f func(ctx context.Context, p party[S]) error) map[mpc.PartyID]error {
	t.Helper()
	return mpctest.Play(t, s.group.Parties, func(ctx context.Context, net mpc.Network) error {
		c := &cheater{Network: net}
		box, err := s.engine.Start(ctx, c, s.group, binding(net.Self()))
		if err != nil {
			return err
		}
		defer box.Close()
		return f(ctx, party[S]{net.Self(), box, func(alter func([]byte)) { c.alter.Store(&alter) }})
	})
}

func isAbsent(err error) bool {
	_, ok := mpc.AsAbsent(err)
	return ok
}

// cheater alters what is sent once it is told to.
type cheater struct {
	mpc.Network
	alter atomic.Pointer[func([]byte)]
}

func (c *cheater) Send(ctx context.Context, to mpc.PartyID, round string, b []byte) error {
	if f := c.alter.Load(); f != nil {
		b = slices.Clone(b)
		(*f)(b)
	}
	return c.Network.Send(ctx, to, round, b)
}

func (s *suite[S]) must(t *testing.T, errs map[mpc.PartyID]error) {
	t.Helper()
	for p, err := range errs {
		if err != nil {
			t.Errorf("party %s: %v", p, err)
		}
	}
}

func (s *suite[S]) arithmetic(t *testing.T) {
	const n = 5
	s.must(t, s.run(t, func(ctx context.Context, p party[S]) error {
		box := p.box
		xs, err := box.Random(ctx, n)
		if err != nil {
			return err
		}
		ys, err := box.Random(ctx, n)
		if err != nil {
			return err
		}
		kept := slices.Clone(xs)
		products, err := box.Mul(ctx, xs, ys)
		if err != nil {
			return err
		}
		again, err := box.Mul(ctx, products, ys) // of a product
		if err != nil {
			return err
		}
		if err := box.Check(ctx); err != nil {
			return err
		}
		five := p256.NewScalar(5)
		var all []S
		for i := range n {
			all = append(all, xs[i], ys[i], products[i], again[i], box.Add(xs[i], ys[i]), box.Sub(xs[i], ys[i]), box.Scale(xs[i], five))
		}
		v, err := box.Open(ctx, all)
		if err != nil {
			return err
		}
		points, err := box.OpenPoints(ctx, all)
		if err != nil {
			return err
		}
		for i := range n {
			v := v[7*i : 7*i+7]
			x, y := v[0], v[1]
			for j, want := range []p256.Scalar{x, y, x.Mul(y), x.Mul(y).Mul(y), x.Add(y), x.Sub(y), x.Mul(five)} {
				if v[j] != want {
					return fmt.Errorf("value %d of element %d is wrong", j, i)
				}
				if !points[7*i+j].Equal(p256.BaseMult(want)) {
					return fmt.Errorf("point %d of element %d is wrong", j, i)
				}
			}
		}
		for i := range kept {
			if !slices.Equal(s.engine.Words(kept[i]), s.engine.Words(xs[i])) {
				return fmt.Errorf("an argument was changed")
			}
		}
		if err := box.Check(ctx); err != nil {
			return err
		}
		if _, err := box.Mul(ctx, xs, ys[1:]); err == nil {
			return fmt.Errorf("factors of different lengths were accepted")
		}
		return nil
	}))
}

func (s *suite[S]) random(t *testing.T) {
	var mu sync.Mutex
	var opened [][]p256.Scalar
	var views [][32]byte
	for range 2 { // two sessions
		s.must(t, s.run(t, func(ctx context.Context, p party[S]) error {
			first, err := p.box.Random(ctx, 20)
			if err != nil {
				return err
			}
			second, err := p.box.Random(ctx, 20)
			if err != nil {
				return err
			}
			v, err := p.box.Open(ctx, append(first, second...))
			mu.Lock()
			defer mu.Unlock()
			opened, views = append(opened, v), append(views, p.box.View())
			return err
		}))
	}
	if t.Failed() {
		return
	}
	n := s.group.N()
	seen := map[p256.Scalar]bool{}
	for session := range 2 {
		for _, x := range opened[session*n] {
			if seen[x] {
				t.Fatal("a random value came twice")
			}
			seen[x] = true
		}
		for i := range n {
			if !slices.Equal(opened[session*n], opened[session*n+i]) || views[session*n] != views[session*n+i] {
				t.Fatal("parties opened different values or hold different views")
			}
		}
	}
	if views[0] == views[n] {
		t.Fatal("two sessions have one view")
	}
}

func (s *suite[S]) fused(t *testing.T) {
	s.must(t, s.run(t, func(ctx context.Context, p party[S]) error {
		fused, ok := p.box.(mpc.MulOpener[S])
		if !ok {
			return nil
		}
		r, err := p.box.Random(ctx, 10)
		if err != nil {
			return err
		}
		opened, scaled, err := fused.MulOpen(ctx, r[:4], r[4:8], []mpc.Scaling[S]{{Xs: r[:4], By: r[8]}, {Xs: r[2:4], By: r[9]}})
		if err != nil {
			return err
		}
		nothing, alone, err := fused.MulOpen(ctx, nil, nil, []mpc.Scaling[S]{{Xs: r[:1], By: r[9]}})
		if err != nil {
			return err
		}
		if err := p.box.Check(ctx); err != nil {
			return err
		}
		v, err := p.box.Open(ctx, slices.Concat(r, scaled[0], scaled[1], alone[0]))
		if err != nil {
			return err
		}
		if len(nothing) != 0 || v[16] != v[0].Mul(v[9]) {
			return errors.New("scaling alone is wrong")
		}
		for i := range 4 {
			if opened[i] != v[i].Mul(v[4+i]) || v[10+i] != v[i].Mul(v[8]) {
				return fmt.Errorf("product %d is wrong", i)
			}
		}
		for i := range 2 {
			if v[14+i] != v[2+i].Mul(v[9]) {
				return fmt.Errorf("scaling %d of the second value is wrong", i)
			}
		}
		return nil
	}))
}

// narrow wants products to be right at those that use them, and nothing to come
// to the others where nothing is verified; for engines that offer it.
func (s *suite[S]) narrow(t *testing.T) {
	users := s.group.Parties[len(s.group.Parties)-s.group.T-1:]
	var mu sync.Mutex
	shares := map[mpc.PartyID]p256.Scalar{} // of the scaled value
	var product p256.Scalar
	s.must(t, s.run(t, func(ctx context.Context, p party[S]) error {
		narrower, ok := p.box.(mpc.Narrower)
		if !ok {
			return nil
		}
		if !narrower.Narrow(s.group.Parties) {
			return errors.New("it is none of all")
		}
		r, err := p.box.Random(ctx, 3)
		if err != nil {
			return err
		}
		v, err := p.box.Open(ctx, r)
		if err != nil {
			return err
		}
		mine, is := narrower.Narrow(users), slices.Contains(users, p.id)
		if mine != (is || s.claims.Active) {
			return fmt.Errorf("products of %v are its own: %v", users, mine)
		}
		opened, scaled, err := p.box.(mpc.MulOpener[S]).MulOpen(ctx, r[:1], r[1:2], []mpc.Scaling[S]{{Xs: r[:1], By: r[2]}})
		if err != nil {
			return err
		}
		_, alone, err := p.box.(mpc.MulOpener[S]).MulOpen(ctx, nil, nil, []mpc.Scaling[S]{{Xs: r[1:2], By: r[2]}})
		if err != nil {
			return err
		}
		if err := p.box.Check(ctx); err != nil {
			return err
		}
		if !mine {
			if opened != nil || scaled != nil || alone != nil {
				return errors.New("it was given what others use")
			}
			return nil
		}
		if opened[0] != v[0].Mul(v[1]) {
			return errors.New("the product is wrong")
		}
		mu.Lock()
		defer mu.Unlock()
		shares[p.id], product = p.box.Signing(scaled[0][0]).Add(p.box.Signing(alone[0][0])), v[0].Add(v[1]).Mul(v[2])
		return nil
	}))
	if len(shares) == 0 {
		return
	}
	s.opens(t, users, shares, product)
}

// opens wants the shares of set, in the form that signing opens, to be of value.
func (s *suite[S]) opens(t *testing.T, set []mpc.PartyID, shares map[mpc.PartyID]p256.Scalar, value p256.Scalar) {
	t.Helper()
	opening, err := mpc.NewOpening(s.group, set, set[0], s.group.T)
	if err != nil {
		t.Fatal(err)
	}
	var columns [][]p256.Scalar
	for _, p := range set {
		columns = append(columns, []p256.Scalar{shares[p]})
	}
	got, err := opening.Scalars("test", columns)
	if err != nil || got[0] != value {
		t.Errorf("set %v opens another value: %v", set, err)
	}
}

// dealt wants a value that one party shared alone to be one that the box works
// with, and opens, like its own; for engines that offer it.
func (s *suite[S]) dealt(t *testing.T) {
	dealer, ok := s.engine.(mpc.Dealer)
	if !ok {
		return
	}
	secret := p256.NewScalar(1 << 40)
	words, err := dealer.Deal(s.group, secret, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	points := make([][]p256.Point, len(words))
	for i, w := range words {
		points[i] = p256.BaseMultBatch(w)
	}
	if err := dealer.CheckCopies(s.group, points); err != nil {
		t.Error(err)
	}
	s.must(t, s.run(t, func(ctx context.Context, p party[S]) error {
		own := words[slices.Index(s.group.Parties, p.id)]
		x, err := imported(ctx, s.engine, p.box, own, secret)
		if err != nil {
			return err
		}
		form, err := dealer.SigningForm(s.group, p.id)
		if err != nil {
			return err
		}
		if !p.box.Signing(x).Equal(p256.InnerProduct(form, own)) {
			return errors.New("the signing form is not that of the box")
		}
		r, err := p.box.Random(ctx, 1)
		if err != nil {
			return err
		}
		products, err := p.box.Mul(ctx, []S{x}, r)
		if err != nil {
			return err
		}
		if err := p.box.Check(ctx); err != nil {
			return err
		}
		v, err := p.box.Open(ctx, []S{x, r[0], products[0]})
		if err != nil {
			return err
		}
		if !v[0].Equal(secret) || !v[2].Equal(secret.Mul(v[1])) {
			return errors.New("the dealt value, or its product, is another")
		}
		return nil
	}))
}

// imported is the share that a box makes of dealt words.
func imported[S any](ctx context.Context, engine mpc.Engine[S], box mpc.Box[S], words []p256.Scalar, secret p256.Scalar) (S, error) {
	importer, ok := box.(mpc.Importer[S])
	if !ok {
		return engine.FromWords(words)
	}
	xs, err := importer.Import(ctx, [][]p256.Scalar{words}, []p256.Point{p256.BaseMult(secret)})
	if err != nil {
		var none S
		return none, err
	}
	return xs[0], nil
}

// signing opens the plain Shamir form among t+1 parties, without the engine.
func (s *suite[S]) signing(t *testing.T) {
	var mu sync.Mutex
	shares := map[mpc.PartyID]p256.Scalar{}
	var value p256.Scalar
	s.must(t, s.run(t, func(ctx context.Context, p party[S]) error {
		r, err := p.box.Random(ctx, 2)
		if err != nil {
			return err
		}
		x, err := p.box.Mul(ctx, r[:1], r[1:])
		if err != nil {
			return err
		}
		v, err := p.box.Open(ctx, x)
		if err != nil {
			return err
		}
		words := s.engine.Words(x[0])
		back, err := s.engine.FromWords(words)
		if err != nil || !slices.Equal(words, s.engine.Words(back)) {
			return fmt.Errorf("words do not come back: %v", err)
		}
		if _, err := s.engine.FromWords(append(words, p256.One())); err == nil {
			return fmt.Errorf("a word too many was accepted")
		}
		mu.Lock()
		defer mu.Unlock()
		shares[p.id], value = p.box.Signing(x[0]), v[0]
		return nil
	}))
	if t.Failed() {
		return
	}
	for from := 0; from+s.group.T < s.group.N(); from++ {
		s.opens(t, s.group.Parties[from:from+s.group.T+1], shares, value)
	}
}

func (s *suite[S]) forks(t *testing.T) {
	var mu sync.Mutex
	var views [][][32]byte // of each party, by fork, when nothing was opened
	s.must(t, s.run(t, func(ctx context.Context, p party[S]) error {
		const n = 4
		values := make([][]p256.Scalar, n)
		begun := make([][32]byte, n)
		errs := make([]error, n)
		var wg sync.WaitGroup
		for i := range n {
			wg.Go(func() {
				errs[i] = func() error {
					box := p.box.Fork(fmt.Sprint(i))
					begun[i] = box.View()
					r, err := box.Random(ctx, 2)
					if err != nil {
						return err
					}
					if _, err := box.Mul(ctx, r[:1], r[1:]); err != nil {
						return err
					}
					if err := box.Check(ctx); err != nil {
						return err
					}
					values[i], err = box.Open(ctx, r)
					return err
				}()
			})
		}
		wg.Wait()
		for i := range n {
			for j := range i {
				if errs[i] == nil && errs[j] == nil && values[i][0] == values[j][0] {
					return fmt.Errorf("forks %d and %d share their randomness", i, j)
				}
				if begun[i] == begun[j] {
					return fmt.Errorf("forks %d and %d begin with one view", i, j)
				}
			}
		}
		mu.Lock()
		defer mu.Unlock()
		views = append(views, begun)
		return errors.Join(errs...)
	}))
	for _, v := range views[min(1, len(views)):] {
		if !slices.Equal(v, views[0]) {
			t.Error("parties begin forks of one label with different views")
		}
	}
}

// binding: parties that want different things do not get a session.
func (s *suite[S]) binding(t *testing.T) {
	errs := s.runBound(t, func(p mpc.PartyID) []byte {
		if p == "a" {
			return []byte("another purpose")
		}
		return []byte("abbtest")
	}, func(context.Context, party[S]) error { return nil })
	for p, err := range errs {
		if err == nil {
			t.Errorf("party %s started a session though the bindings differ", p)
		}
	}
}

// abort: a party that leaves in the middle makes the others fail when their
// context ends, and nothing runs on.
func (s *suite[S]) abort(t *testing.T) {
	errs := s.run(t, func(ctx context.Context, p party[S]) error {
		r, err := p.box.Random(ctx, 3)
		if err != nil {
			return err
		}
		if p.id == "a" {
			return context.Canceled
		}
		_, err = p.box.Open(ctx, r)
		return err
	})
	for p, err := range errs {
		if p == "a" {
			continue
		}
		absent, ok := mpc.AsAbsent(err)
		if !ok || !slices.Contains(absent.Parties, "a") {
			t.Errorf("party %s: got %v, want the absence of a", p, err)
		}
	}
}

// flip changes the last byte: another share, which still is canonical.
func flip(b []byte) {
	if len(b) > 0 {
		b[len(b)-1] ^= 1
	}
}

func (s *suite[S]) wrongShare(t *testing.T) {
	t.Run("scalars", func(t *testing.T) {
		errs := s.run(t, func(ctx context.Context, p party[S]) error {
			r, err := p.box.Random(ctx, 3)
			if err != nil {
				return err
			}
			if p.id == "b" {
				p.cheat(flip)
			}
			_, err = p.box.Open(ctx, r)
			return err
		})
		s.blamed(t, errs, "b", s.claims.Names != nil && s.claims.Names(s.group))
	})
	t.Run("points", func(t *testing.T) {
		errs := s.run(t, func(ctx context.Context, p party[S]) error {
			r, err := p.box.Random(ctx, 3)
			if err != nil {
				return err
			}
			if p.id == "b" {
				wrong, _ := p256.BaseMult(p256.NewScalar(7)).Bytes()
				p.cheat(func(b []byte) { copy(b, wrong[:]) })
			}
			_, err = p.box.OpenPoints(ctx, r)
			return err
		})
		s.blamed(t, errs, "b", s.claims.Names != nil && s.claims.Names(s.group))
	})
}

// wrongProduct: every party but the cheater must fail by the end of Check.
func (s *suite[S]) wrongProduct(t *testing.T) {
	errs := s.run(t, func(ctx context.Context, p party[S]) error {
		r, err := p.box.Random(ctx, 6)
		if err != nil {
			return err
		}
		if p.id == "a" {
			p.cheat(flip)
		}
		if _, err := p.box.Mul(ctx, r[:3], r[3:]); err != nil {
			return err
		}
		if p.id == "a" {
			p.cheat(func([]byte) {})
		}
		return p.box.Check(ctx)
	})
	s.blamed(t, errs, "a", false)
}

// malformed: bytes that are no share at all name their sender.
func (s *suite[S]) malformed(t *testing.T) {
	errs := s.run(t, func(ctx context.Context, p party[S]) error {
		r, err := p.box.Random(ctx, 3)
		if err != nil {
			return err
		}
		if p.id == "b" {
			p.cheat(func(b []byte) {
				for i := range b {
					b[i] = 0xff // not below the order
				}
			})
		}
		_, err = p.box.Open(ctx, r)
		return err
	})
	s.blamed(t, errs, "b", true)
}

// blamed wants a CheatError at every honest party that names cheater, alone if
// so claimed. A party may instead miss one that found out before it.
func (s *suite[S]) blamed(t *testing.T, errs map[mpc.PartyID]error, cheater mpc.PartyID, alone bool) {
	t.Helper()
	found := 0
	for p, err := range errs {
		if p == cheater {
			continue
		}
		if err == nil {
			t.Errorf("party %s accepted what %s altered", p, cheater)
			continue
		}
		cheat, ok := mpc.AsCheat(err)
		if !ok {
			if !isAbsent(err) {
				t.Errorf("party %s: %v", p, err)
			}
			continue
		}
		found++
		if !slices.Contains(cheat.Parties, cheater) || slices.Contains(cheat.Parties, p) {
			t.Errorf("party %s blames %v, it was %s", p, cheat.Parties, cheater)
		}
		if alone && len(cheat.Parties) != 1 {
			t.Errorf("party %s blames %v, it can know that it was %s", p, cheat.Parties, cheater)
		}
		if len(cheat.Parties) > 1 && !cheat.Disputed {
			t.Errorf("party %s names %v without calling it a dispute", p, cheat.Parties)
		}
	}
	if found == 0 {
		t.Error("nobody blamed anybody")
	}
}
