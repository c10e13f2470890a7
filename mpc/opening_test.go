package mpc

import (
	"fmt"
	"math/big"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"zonesigner/mpc/p256"
)

func testGroup(n, t int) Group {
	g := Group{T: t}
	for i := range n {
		g.Parties = append(g.Parties, PartyID(rune('a'+i)))
	}
	return g
}

func drawScalar(t *rapid.T) p256.Scalar {
	return p256.ScalarFromWide(rapid.SliceOfN(rapid.Byte(), 48, 48).Draw(t, "scalar"))
}

// share evaluates a random polynomial of the given degree at the parties'
// points: shares[j][i] for value i.
func share(t *rapid.T, g Group, parties []PartyID, degree, count int) (values []p256.Scalar, shares [][]p256.Scalar) {
	shares = make([][]p256.Scalar, len(parties))
	for range count {
		coeffs := make([]p256.Scalar, degree+1)
		for k := range coeffs {
			coeffs[k] = drawScalar(t)
		}
		values = append(values, coeffs[0])
		for j, p := range parties {
			x, _ := g.X(p)
			v := p256.Scalar{}
			for _, c := range slices.Backward(coeffs) {
				v = v.Mul(p256.NewScalar(uint64(x))).Add(c)
			}
			shares[j] = append(shares[j], v)
		}
	}
	return values, shares
}

// TestCombine compares with rational numbers of any size, for groups as large
// as sessions have them and larger.
func TestCombine(t *testing.T) {
	tooLarge := 0
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(2, 2*MaxMembers).Draw(t, "n")
		xs := rapid.Permutation(seq(n)).Draw(t, "xs")
		base := make([]int, rapid.IntRange(2, n).Draw(t, "size"))
		for i := range base {
			base[i] = i
		}
		at := int64(0)
		if rest := xs[len(base):]; len(rest) > 0 && rapid.Bool().Draw(t, "check") {
			at = rest[0]
		}
		want := make([]*big.Rat, len(base))
		small := true
		for k := range base {
			want[k] = big.NewRat(1, 1)
			for m := range base {
				if m != k {
					want[k].Mul(want[k], big.NewRat(at-xs[m], xs[k]-xs[m]))
				}
			}
			small = small && want[k].Num().BitLen() < 40 && want[k].Denom().BitLen() < 3
		}
		c, err := (&Opening{xs: xs}).combine(base, at)
		if err != nil {
			if tooLarge++; small || n < 16 {
				t.Fatalf("points %v at %d: %v", xs[:len(base)], at, err)
			}
			return
		}
		for k, w := range want {
			if w.Cmp(big.NewRat(c.num[k], c.den)) != 0 || c.den < 1 {
				t.Fatalf("coefficient %d of %v at %d is %d/%d, want %v", k, xs[:len(base)], at, c.num[k], c.den, w)
			}
			num := p256.NewScalar(w.Num().Uint64())
			if w.Sign() < 0 {
				num = p256.NewScalar(new(big.Int).Neg(w.Num()).Uint64()).Neg()
			}
			if !c.coeffs[k].Mul(p256.NewScalar(uint64(c.den))).Equal(num.Mul(p256.NewScalar(uint64(c.den / w.Denom().Int64())))) {
				t.Fatalf("coefficient %d of %v at %d is the wrong scalar", k, xs[:len(base)], at)
			}
		}
	})
	if tooLarge == 0 {
		t.Error("no group was too large")
	}
	// All members of the largest session open sharings of the highest degree.
	for n := 2; n <= MaxMembers; n++ {
		g := Group{Parties: make([]PartyID, n), T: n - 1}
		for i := range g.Parties {
			g.Parties[i] = PartyID(fmt.Sprint("p", i))
		}
		if _, err := NewOpening(g, g.Parties, g.Parties[0], n-1); err != nil {
			t.Errorf("%d members: %v", n, err)
		}
	}
}

func seq(n int) (xs []int64) {
	for x := range int64(n) {
		xs = append(xs, x+1)
	}
	return xs
}

func TestOpeningIsRight(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(2, 9).Draw(t, "n")
		degree := rapid.IntRange(1, n-1).Draw(t, "degree")
		g := testGroup(n, 1)
		parties := g.Parties
		for len(parties) > degree+1 && rapid.Bool().Draw(t, "leave one out") {
			i := rapid.IntRange(0, len(parties)-1).Draw(t, "who")
			parties = slices.Delete(slices.Clone(parties), i, i+1)
		}
		o, err := NewOpening(g, parties, parties[0], degree)
		if err != nil {
			t.Fatal(err)
		}
		values, shares := share(t, g, parties, degree, 2)
		got, err := o.Scalars("test", shares)
		if err != nil || !slices.Equal(got, values) {
			t.Fatalf("scalars: %v", err)
		}
		points := make([][]p256.Point, len(parties))
		for j := range shares {
			for _, s := range shares[j] {
				points[j] = append(points[j], p256.BaseMult(s.Mul(o.Scale())))
			}
		}
		opened, err := o.Points("test", points)
		if err != nil {
			t.Fatal(err)
		}
		for i := range opened {
			if !opened[i].Equal(p256.BaseMult(values[i])) {
				t.Fatalf("point %d is wrong", i)
			}
		}
	})
}

// Blame never falls on honest parties alone, and falls on all liars where n ≥
// 3t+1, whatever up to t of them send.
func TestBlame(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		threshold := rapid.IntRange(1, 2).Draw(t, "t")
		n := rapid.IntRange(2*threshold+1, 3*threshold+2).Draw(t, "n")
		g := testGroup(n, threshold)
		o, err := NewOpening(g, g.Parties, "a", threshold)
		if err != nil {
			t.Fatal(err)
		}
		_, shares := share(t, g, g.Parties, threshold, 1)
		liars := rapid.SliceOfNDistinct(rapid.IntRange(1, n-1), 1, threshold, rapid.ID).Draw(t, "liars")
		var names []PartyID
		framed := rapid.Bool().Draw(t, "on another polynomial")
		_, other := share(t, g, g.Parties, threshold, 1)
		for _, j := range liars {
			names = append(names, g.Parties[j])
			if framed {
				shares[j][0] = other[j][0]
			} else {
				shares[j][0] = shares[j][0].Add(p256.One())
			}
		}
		_, err = o.Scalars("test", shares)
		cheat, ok := AsCheat(err)
		if !ok {
			t.Fatalf("liars %v were not found: %v", names, err)
		}
		points := make([][]p256.Point, n)
		for j := range points {
			points[j] = []p256.Point{p256.BaseMult(shares[j][0])}
		}
		_, err = o.Points("test", points)
		if again, ok := AsCheat(err); !ok || fmt.Sprint(again) != fmt.Sprint(cheat) {
			t.Fatalf("scalars say %v, points say %v", cheat, err)
		}
		slices.Sort(names)
		switch {
		case slices.Contains(cheat.Parties, "a"):
			t.Fatal("a party blames itself")
		case !cheat.Disputed && slices.ContainsFunc(cheat.Parties, func(p PartyID) bool { return !slices.Contains(names, p) }):
			t.Fatalf("%v are named, the liars are %v", cheat.Parties, names)
		case n >= 3*threshold+1 && (cheat.Disputed || !slices.Equal(cheat.Parties, names)):
			t.Fatalf("%v are blamed, the liars %v can be known", cheat, names)
		case cheat.Disputed && !slices.ContainsFunc(names, func(p PartyID) bool { return slices.Contains(cheat.Parties, p) }):
			t.Fatalf("%v are disputed, the liars are %v", cheat.Parties, names)
		}
	})
}

func TestOpeningRefuses(t *testing.T) {
	g := testGroup(3, 1)
	for _, c := range []struct {
		parties []PartyID
		degree  int
	}{{[]PartyID{"a", "b"}, 2}, {[]PartyID{"a", "z"}, 1}, {[]PartyID{"a", "b"}, 0}} {
		if _, err := NewOpening(g, c.parties, "a", c.degree); err == nil {
			t.Errorf("parties %v, degree %d: accepted", c.parties, c.degree)
		}
	}
	wide := testGroup(64, 1) // far apart points: large coefficients are refused, not wrong
	if _, err := NewOpening(wide, wide.Parties, "a", 40); err == nil {
		t.Error("coefficients beyond 64 bits were accepted")
	}
}
