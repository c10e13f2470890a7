package shamir

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"zonesigner/mpc"
	"zonesigner/mpc/p256"
)

// Any t+1 of the shares that are dealt give the secret, and all n lie on one
// polynomial of degree t.
func TestDeal(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		nt := rapid.SampledFrom([][2]int{{3, 1}, {4, 1}, {5, 2}, {7, 3}}).Draw(t, "n, t")
		g := mpc.Group{T: nt[1]}
		for i := range nt[0] {
			g.Parties = append(g.Parties, mpc.PartyID(fmt.Sprint(i)))
		}
		secret := p256.ScalarFromWide(rapid.SliceOfN(rapid.Byte(), 48, 48).Draw(t, "secret"))
		random := rapid.SliceOfN(rapid.Byte(), 48*g.T, 48*g.T).Draw(t, "random")
		words, err := Active().Deal(g, secret, bytes.NewReader(random))
		if err != nil {
			t.Fatal(err)
		}
		opening, err := mpc.NewOpening(g, g.Parties, "", g.T)
		if err != nil {
			t.Fatal(err)
		}
		got, err := opening.Scalars("dealt", words)
		if err != nil || !got[0].Equal(secret) {
			t.Fatalf("the shares open another value: %v", err)
		}
	})
}

// The randomness is what hides the secret: other randomness, other shares, and
// too little is an error.
func TestDealIsRandom(t *testing.T) {
	g := mpc.Group{T: 2, Parties: []mpc.PartyID{"a", "b", "c", "d", "e"}}
	one, err := Passive().Deal(g, p256.One(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	other, err := Passive().Deal(g, p256.One(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for i := range one {
		if one[i][0].Equal(other[i][0]) || one[i][0].Equal(p256.One()) {
			t.Errorf("share %d is not random", i)
		}
	}
	if _, err := Passive().Deal(g, p256.One(), bytes.NewReader(make([]byte, 95))); err == nil {
		t.Error("a secret is dealt with too little randomness")
	}
}
