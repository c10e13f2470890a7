package frost

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"strings"
	"testing"

	"filippo.io/edwards25519"

	"zonesigner/mpc"
	"zonesigner/mpc/fixture"
)

func times(n uint32) *edwards25519.Point {
	return new(edwards25519.Point).ScalarBaseMult(smallScalar(n))
}

// fixtureShare is a key share with fixed contents: the polynomial 5 + 7x.
func fixtureShare() *KeyShare {
	return &KeyShare{
		ID:           "000102030405060708090a0b0c0d0e0f",
		Group:        mpc.Group{Parties: []mpc.PartyID{"c", "a", "b"}, T: 1, Digest: sha256.Sum256([]byte("group"))},
		Self:         "a",
		Epoch:        3,
		Share:        smallScalar(19),
		Public:       times(5),
		PublicShares: []*edwards25519.Point{times(12), times(19), times(26)},
	}
}

func fixtureTuples() *tuples {
	t := &tuples{members: 2}
	for i := range uint32(3) {
		t.nonces = append(t.nonces, nonces{smallScalar(2*i + 1), smallScalar(2*i + 2)})
		for _, n := range []uint32{2*i + 1, 2*i + 2, 100, 101} {
			t.commitments = append(t.commitments, times(n).Bytes()...)
		}
	}
	return t
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
	if k.Share.Equal(smallScalar(19)) != 1 || k.Epoch != 3 || k.Self != "a" || k.Group.Parties[0] != "c" || k.PublicKey() != [32]byte(times(5).Bytes()) {
		t.Errorf("the fixture reads as %v", k)
	}
}

func TestKeyShareRefuses(t *testing.T) {
	good, err := fixtureShare().MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	changed := func(at int, with ...byte) []byte {
		b := bytes.Clone(good)
		copy(b[at:], with)
		return b
	}
	end := len(good)
	for name, b := range map[string][]byte{
		"empty":              nil,
		"other version":      bytes.Replace(good, []byte("v1"), []byte("v2"), 1),
		"cut short":          good[:end-1],
		"longer":             append(bytes.Clone(good), 0),
		"identity":           changed(end-128, edwards25519.NewIdentityPoint().Bytes()...),
		"low order":          changed(end-128, make([]byte, 32)...),
		"share not its own":  changed(end-160, smallScalar(20).Bytes()...),
		"share not reduced":  changed(end-160, bytes.Repeat([]byte{0xff}, 32)...),
		"other public share": changed(end-64, times(3).Bytes()...),
		"many parties":       changed(len(keyShareMagic)+33+33, 255),
	} {
		if err := new(KeyShare).UnmarshalBinary(b); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	for name, change := range map[string]func(k *KeyShare){
		"a stranger":  func(k *KeyShare) { k.Self = "z" },
		"no id":       func(k *KeyShare) { k.ID = "" },
		"no share":    func(k *KeyShare) { k.Share = nil },
		"one missing": func(k *KeyShare) { k.PublicShares = k.PublicShares[:2] },
		"long name":   func(k *KeyShare) { k.Group.Parties[0] = mpc.PartyID(strings.Repeat("c", 256)) },
		"threshold":   func(k *KeyShare) { k.Group.T = 3 },
	} {
		k := fixtureShare()
		change(k)
		if _, err := k.MarshalBinary(); err == nil {
			t.Errorf("%s: encoded", name)
		}
	}
}

func TestChunkFixture(t *testing.T) {
	want := fixtureTuples()
	got, err := decodeTuples(fixture.Check(t, "chunk.v1.hex", want.encode()), 2, 1, 2)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 2 {
		if got.nonces[i].hiding.Equal(want.nonces[i+1].hiding) != 1 || got.nonces[i].binding.Equal(want.nonces[i+1].binding) != 1 {
			t.Errorf("nonces of tuple %d are others", i+1)
		}
	}
	if !bytes.Equal(got.commitments, want.slice(1, 2).commitments) {
		t.Error("commitments are others")
	}
	got.erase()
	if got.nonces[0].hiding.Equal(new(edwards25519.Scalar)) != 1 {
		t.Error("erased nonces are still there")
	}
}

func TestChunkRefuses(t *testing.T) {
	good := fixtureTuples().encode()
	big := bytes.Clone(good)
	copy(big[chunkHeader:], bytes.Repeat([]byte{0xff}, 32))
	for name, c := range map[string]struct {
		b                    []byte
		members, from, count int
	}{
		"empty":              {nil, 2, 0, 1},
		"other magic":        {append([]byte("ZST1"), good[4:]...), 2, 0, 1},
		"cut short":          {good[:len(good)-1], 2, 0, 1},
		"other members":      {good, 3, 0, 1},
		"before its start":   {good, 2, -1, 1},
		"beyond its end":     {good, 2, 2, 2},
		"none":               {good, 2, 0, 0},
		"nonce not reduced":  {big, 2, 0, 1},
		"a count that wraps": {append([]byte("ZSF1\xff\xff\xff\xff"), good[8:]...), 2, 0, 1},
	} {
		if _, err := decodeTuples(c.b, c.members, c.from, c.count); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestSecretsPrintNothing(t *testing.T) {
	k := fixtureShare()
	secret := smallScalar(0xdeadbeef)
	k.Share = secret
	inside := strings.Trim(fmt.Sprint(*secret), "{}[]") // as a scalar is in memory
	type holder struct{ K *KeyShare }
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d"} {
		for _, v := range []any{k, *k, holder{k}, &holder{k}, []KeyShare{*k}, nonces{secret, secret}, &tuples{nonces: []nonces{{secret, secret}}}, &generation{own: [][]*edwards25519.Scalar{{secret}}}} {
			out := fmt.Sprintf(verb, v)
			for _, leak := range []string{"deadbeef", "efbeadde", "3735928559", "239 190 173 222", inside} {
				if strings.Contains(out, leak) {
					t.Errorf("%s of %T prints a secret: %s", verb, v, out)
				}
			}
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
	f.Add(fixtureTuples().encode(), 2, 0, 3)
	f.Add([]byte(chunkMagic), 1, 0, 1)
	f.Fuzz(func(t *testing.T, b []byte, members, from, count int) {
		if members < 1 || members > mpc.MaxMembers {
			return
		}
		got, err := decodeTuples(b, members, from, count)
		if err != nil {
			return
		}
		if again := got.encode(); len(got.nonces) != count || from == 0 && count == int(b[7]) && !bytes.Equal(again, b) {
			t.Fatal("accepted bytes do not encode alike")
		}
	})
}

// FuzzElement: what is taken encodes alike, and is of prime order as the slow
// way finds it.
func FuzzElement(f *testing.F) {
	f.Add(times(1).Bytes())
	f.Add(edwards25519.NewIdentityPoint().Bytes())
	f.Add(make([]byte, 32))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := decodeElement(b)
		if err != nil {
			return
		}
		if !bytes.Equal(p.Bytes(), b) {
			t.Fatalf("%x encodes as %x", b, p.Bytes())
		}
		// 8⁻¹·(8·P) is P only without a part of low order.
		eighth := new(edwards25519.Scalar).Invert(smallScalar(8))
		if back := new(edwards25519.Point).MultByCofactor(p); back.ScalarMult(eighth, back).Equal(p) != 1 {
			t.Fatalf("%x is not of prime order", b)
		}
	})
}

// FuzzCommitments are a peer's, of two tuples.
func FuzzCommitments(f *testing.F) {
	f.Add(bytes.Join([][]byte{times(1).Bytes(), times(2).Bytes(), times(3).Bytes(), times(4).Bytes()}, nil))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		if checkCommitments("a", b, 2) == nil && len(b) != 2*commitmentSize {
			t.Fatalf("%d bytes are taken", len(b))
		}
	})
}

// FuzzPolynomial is what a peer opens in key generation, with t = 1.
func FuzzPolynomial(f *testing.F) {
	g := &generation{group: mpc.Group{Parties: []mpc.PartyID{"a", "b"}, T: 1}}
	constant := times(5).Bytes()
	f.Add(bytes.Join([][]byte{constant, times(7).Bytes(), g.prove("a", smallScalar(5), constant)}, nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) != 128 {
			return // checked before
		}
		if points, err := g.decodeCommitments("a", b); err == nil && len(points) != 2 {
			t.Fatal("another polynomial came back")
		}
	})
}
