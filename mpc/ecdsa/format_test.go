package ecdsa

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"strings"
	"testing"

	"zonesigner/mpc"
	"zonesigner/mpc/fixture"
	"zonesigner/mpc/p256"
)

// fixtureShare is a key share with fixed contents.
func fixtureShare() *KeyShare {
	k := &KeyShare{
		ID:     "000102030405060708090a0b0c0d0e0f",
		Engine: "mal-shamir",
		Group:  mpc.Group{Parties: []mpc.PartyID{"c", "a", "b"}, T: 1, Digest: sha256.Sum256([]byte("group"))},
		Self:   "a",
		Epoch:  3,
		Share:  []p256.Scalar{p256.NewScalar(19)},
		Public: p256.BaseMult(p256.NewScalar(5)),
	}
	for i := range 3 { // the polynomial 5 + 7x
		k.PublicShares = append(k.PublicShares, p256.BaseMult(p256.NewScalar(uint64(5+7*(i+1)))))
	}
	return k
}

func TestKeyShareFixture(t *testing.T) {
	b, err := fixtureShare().MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	var k KeyShare
	if err := k.UnmarshalBinary(fixture.Check(t, "keyshare.v1.hex", b)); err != nil {
		t.Fatal(err)
	}
	if k.Share[0] != p256.NewScalar(19) || k.Epoch != 3 || k.Self != "a" || k.Group.Parties[0] != "c" {
		t.Errorf("the fixture reads as %+v", &k)
	}
}

func TestChunkFixtures(t *testing.T) {
	two := []p256.Scalar{p256.NewScalar(11), p256.NewScalar(12)}
	c := committed{view: [32]byte{9}, first: 7, rShares: make([]byte, 128), commitments: [][]byte{make([]byte, 64), make([]byte, 64)}}
	for name, first := range map[string]int{"chunk.v1.hex": 0, "chunk.v2.hex": 7} {
		b := encodeChunk(two, two, c)
		if first == 0 { // as it was written once
			b = fixture.Read(t, name)
		}
		r, err := decodeRun(fixture.Check(t, name, b), 2, 1, 1)
		if err != nil || r.kInv[0] != two[1] || r.view != ([32]byte{9}) || r.first != first+1 {
			t.Errorf("%s reads as tuple %d: %v", name, r.first, err)
		}
	}
	for name, members := range map[string]int{"unbound.v1.hex": 2, "unbound-other.v1.hex": 0} {
		c := c
		if members == 0 {
			c.rShares = nil
		}
		words, got, err := decodeUnbound(fixture.Check(t, name, encodeUnbound(two, 2, c)), members, 1, 1)
		if err != nil || len(words) != 1 || words[0] != two[1] || got.view != c.view || got.first != 1 || len(got.commitments) != members {
			t.Errorf("%s reads as %v, %v", name, got, err)
		}
		if _, _, err := decodeUnbound(fixture.Read(t, name), 2-members, 0, 1); err == nil {
			t.Errorf("%s is read with the part that another kind of operator keeps", name)
		}
	}
	c.macs, c.macKey = two, p256.NewScalar(13)
	r, err := decodeRun(fixture.Check(t, "chunk-mac.v1.hex", encodeChunk(two, two, c)), 2, 1, 1)
	if err != nil || r.kInvSK[0] != two[1] || r.first != 8 || len(r.macs) != 1 || r.macs[0] != two[1] || r.macKey != c.macKey {
		t.Errorf("the chunk with MACs reads as tuple %d: %v", r.first, err)
	}
	words, got, err := decodeUnbound(fixture.Check(t, "unbound-mac.v1.hex", encodeUnbound(two, 2, c)), 2, 1, 1)
	if err != nil || words[0] != two[1] || got.macs[0] != two[1] || got.macKey != c.macKey {
		t.Errorf("the unbound chunk with MACs reads as %v, %v", got, err)
	}
}

func TestSecretsPrintNothing(t *testing.T) {
	k := fixtureShare()
	k.Share = []p256.Scalar{p256.NewScalar(0xdeadbeef)}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d"} {
		if out := fmt.Sprintf(verb, k); strings.Contains(out, "deadbeef") || strings.Contains(out, "3735928559") {
			t.Errorf("%s prints the share: %s", verb, out)
		}
		if out := fmt.Sprintf(verb, *k); strings.Contains(out, "deadbeef") || strings.Contains(out, "3735928559") {
			t.Errorf("%s prints the share of a copy: %s", verb, out)
		}
	}
}

func FuzzKeyShare(f *testing.F) {
	b, err := fixtureShare().MarshalBinary()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(keyShareMagic))
	f.Fuzz(func(t *testing.T, b []byte) {
		var k KeyShare
		if k.UnmarshalBinary(b) != nil {
			return
		}
		if again, err := k.MarshalBinary(); err != nil || !bytes.Equal(again, b) {
			t.Fatalf("accepted bytes do not encode alike: %v", err)
		}
	})
}

func FuzzChunk(f *testing.F) {
	one := []p256.Scalar{p256.One()}
	c := committed{rShares: make([]byte, 64), commitments: [][]byte{make([]byte, 32), make([]byte, 32)}}
	f.Add(encodeChunk(one, one, c), 2, 0, 1)
	f.Add(encodeUnbound(one, 1, c), 2, 0, 1)
	f.Add(encodeUnbound(one, 1, committed{}), 0, 0, 1)
	c.macs = one
	f.Add(encodeChunk(one, one, c), 2, 0, 1)
	f.Add(encodeUnbound(one, 1, c), 2, 0, 1)
	f.Fuzz(func(t *testing.T, b []byte, members, from, count int) {
		if members < 0 || members > mpc.MaxMembers {
			return
		}
		if r, err := decodeRun(b, members, from, count); err == nil && len(r.kInv) != count {
			t.Fatal("a run of another length came back")
		}
		if words, _, err := decodeUnbound(b, members, from, count); err == nil && len(words)%count != 0 {
			t.Fatal("unbound tuples of another number came back")
		}
	})
}
