package rep3

import (
	"bytes"
	"crypto/rand"
	"testing"

	"pgregory.net/rapid"

	"zonesigner/mpc"
	"zonesigner/mpc/p256"
)

var dealtTo = mpc.Group{T: 1, Parties: []mpc.PartyID{"c", "a", "b"}}

// What is dealt is the sharing that the protocol works on: copies are the same,
// parts add up to the secret, signing forms lie on one line, and each is what
// the box would sign with.
func TestDeal(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		secret := p256.ScalarFromWide(rapid.SliceOfN(rapid.Byte(), 48, 48).Draw(t, "secret"))
		random := rapid.SliceOfN(rapid.Byte(), 96, 96).Draw(t, "random")
		words, err := Active().Deal(dealtTo, secret, bytes.NewReader(random))
		if err != nil {
			t.Fatal(err)
		}
		var sum p256.Scalar
		var signing [][]p256.Scalar
		for i, w := range words {
			if !w[0].Equal(words[(i+2)%3][1]) {
				t.Fatalf("operators %d and %d hold different parts", i, (i+2)%3)
			}
			sum = sum.Add(w[0])
			form, err := Active().SigningForm(dealtTo, dealtTo.Parties[i])
			if err != nil {
				t.Fatal(err)
			}
			b := &box{session: &session{toShamir: toShamir(dealtTo, i)}}
			if !b.Signing(Share(w)).Equal(p256.InnerProduct(form, w)) {
				t.Fatalf("the signing form of operator %d is another", i)
			}
			signing = append(signing, []p256.Scalar{p256.InnerProduct(form, w)})
		}
		if !sum.Equal(secret) {
			t.Fatal("the parts add up to something else")
		}
		opening, err := mpc.NewOpening(dealtTo, dealtTo.Parties, "", 1)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := opening.Scalars("dealt", signing); err != nil || !got[0].Equal(secret) {
			t.Fatalf("the signing forms open another value: %v", err)
		}
	})
}

func TestCheckCopies(t *testing.T) {
	words, err := Passive().Deal(dealtTo, p256.NewScalar(5), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		for k := range 2 {
			points := make([][]p256.Point, 3)
			for j := range points {
				points[j] = p256.BaseMultBatch(words[j])
			}
			if err := Passive().CheckCopies(dealtTo, points); err != nil {
				t.Fatal(err)
			}
			points[i][k] = points[i][k].Add(p256.Generator())
			if Passive().CheckCopies(dealtTo, points) == nil {
				t.Errorf("word %d of operator %d differs from its copy, and nothing is said", k, i)
			}
		}
	}
	if _, err := Passive().SigningForm(dealtTo, "z"); err == nil {
		t.Error("a stranger has a signing form")
	}
}
