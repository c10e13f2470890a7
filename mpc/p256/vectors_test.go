package p256

import (
	"encoding/hex"
	"strings"
	"testing"
)

// The example for P-256 of "Mathematical routines for the NIST prime elliptic
// curves" (2010), section 4.3: two points, two scalars, and what comes of them.
func TestNISTRoutines(t *testing.T) {
	decode := func(text string) []byte {
		b, err := hex.DecodeString(strings.ReplaceAll(text, " ", ""))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	point := func(x, y string) Point {
		p, err := PointFromBytes(append(decode(x), decode(y)...))
		if err != nil {
			t.Fatalf("%s, %s: %v", x, y, err)
		}
		return p
	}
	scalar := func(text string) Scalar {
		x, err := ScalarFromBytes(decode(text))
		if err != nil {
			t.Fatal(err)
		}
		return x
	}
	s := point("de2444be bc8d36e6 82edd27e 0f271508 617519b3 221a8fa0 b77cab39 89da97c9",
		"c093ae7f f36e5380 fc01a5aa d1e66659 702de80f 53cec576 b6350b24 3042a256")
	u := point("55a8b00f 8da1d44e 62f6b3b2 5316212e 39540dc8 61c89575 bb8cf92e 35e0986b",
		"5421c320 9c2d6c70 4835d82a c4c3dd90 f61a8a52 598b9e7a b656e9d8 c8b24316")
	d := scalar("c51e4753 afdec1e6 b6c6a5b9 92f43f8d d0c7a893 3072708b 6522468b 2ffb06fd")
	e := scalar("d37f628e ce72a462 f0145cbe fe3f0b35 5ee8332d 37acdd83 a358016a ea029db7")
	both := point("d867b467 92210092 34939221 b8046245 efcf5841 3daacbef f857b858 8341f6b8",
		"f2504055 c03cede1 2d22720d ad69c745 106b6607 ec7e50dd 35d54bd8 0f615275")
	for _, c := range []struct {
		what      string
		got, want Point
	}{
		{"S + T", s.Add(u), point("72b13dd4 354b6b81 745195e9 8cc5ba69 70349191 ac476bd4 553cf35a 545a067e",
			"8d585cbb 2e1327d7 5241a8a1 22d7620d c33b1331 5aa5c9d4 6d013011 744ac264")},
		{"S - T", s.Sub(u), point("c09ce680 b251bb1d 2aad1dbf 6129deab 837419f8 f1c73ea1 3e7dc64a d6be6021",
			"1a815bf7 00bd8833 6b2f9bad 4edab172 3414a022 fdf6c3f4 ce30675f b1975ef3")},
		{"2S", s.Double(), point("7669e690 1606ee3b a1a8eef1 e0024c33 df6c22f3 b17481b8 2a860ffc db6127b0",
			"fa878162 187a54f6 c39f6ee0 072f33de 389ef3ee cd03023d e10ca2c1 db61d0c7")},
		{"dS", s.Mult(d), point("51d08d5f 2d427888 2946d88d 83c97d11 e62becc3 cfc18bed acc89ba3 4eeca03f",
			"75ee68eb 8bf626aa 5b673ab5 1f6e744e 06f8fcf8 a6c0cf30 35beca95 6a7b41d5")},
		{"dS + eT", s.Mult(d).Add(u.Mult(e)), both},
		{"dS + eT as one sum", MultiScalarMult([]Scalar{d, e}, []Point{s, u}), both},
	} {
		if !c.got.Equal(c.want) {
			t.Errorf("%s is wrong", c.what)
		}
	}
}
