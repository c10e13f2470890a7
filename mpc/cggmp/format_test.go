package cggmp

import (
	"bytes"
	"os"
	"testing"

	"github.com/taurusgroup/multi-party-sig/pkg/party"

	"zonesigner/mpc"
	"zonesigner/mpc/fixture"
	"zonesigner/mpc/p256"
)

// TestKeyShareFormat: version 1 stays readable, and what is altered, cut or
// does not fit together is refused.
func TestKeyShareFormat(t *testing.T) {
	b, err := os.ReadFile(testKey("b"))
	if err != nil {
		t.Fatal(err)
	}
	var k KeyShare
	if err := k.UnmarshalBinary(b); err != nil {
		t.Fatal(err)
	}
	if again, err := k.MarshalBinary(); err != nil || !bytes.Equal(again, b) {
		t.Errorf("not encoded as it was: %v", err)
	}
	if k.Self != "b" || k.Group.T != 1 || k.Group.N() != 3 || k.Engine != Engine || len(k.ID) != 32 || k.Epoch != 0 {
		t.Errorf("wrong fields: %+v", &k)
	}
	x, y := k.PublicKey(), k.Public
	if p, err := p256.PointFromBytes(x[:]); err != nil || !p.Equal(y) {
		t.Error("the public key is not that of a DNSKEY")
	}
	secrets := len(b) - 3*sizePublic - 2*sizeSeed - 2*sizePrime - 2*sizeScalar
	for name, at := range map[string]int{
		"version":             len(keyShareMagic) - 2,
		"share":               secrets,
		"ElGamal key":         secrets + sizeScalar,
		"prime":               secrets + 2*sizeScalar + 5,
		"other prime":         secrets + 2*sizeScalar + sizePrime + 5,
		"public share of a":   len(b) - 3*sizePublic + 3,
		"modulus of a":        len(b) - 2*sizePublic - 2*sizeModN - 1, // now even
		"own modulus":         len(b) - sizePublic - 2*sizeModN - 2,
		"length of a modulus": len(b) - 2*sizePublic - 3*sizeModN,
	} {
		c := clone(b)
		c[at] ^= 0x81
		if new(KeyShare).UnmarshalBinary(c) == nil {
			t.Errorf("%s altered: accepted", name)
		}
	}
	for n := 0; n < len(b); n += 97 {
		if new(KeyShare).UnmarshalBinary(b[:n]) == nil {
			t.Errorf("%d of %d bytes are accepted", n, len(b))
		}
	}
	if new(KeyShare).UnmarshalBinary(append(clone(b), 0)) == nil {
		t.Error("a byte more is accepted")
	}
}

func TestSupports(t *testing.T) {
	group := mpc.Group{Parties: []mpc.PartyID{"a", "b", "c"}, T: 2}
	if Supports(group) != nil || Signers(group, mpc.NewSignerSet("a", "b", "c")) != nil {
		t.Error("three operators, of whom two may cheat, are refused")
	}
	if Signers(group, mpc.NewSignerSet("a", "b")) == nil || Signers(group, mpc.SignerSet{"a", "b", "b"}) == nil ||
		Signers(group, mpc.SignerSet{"b", "a", "c"}) == nil || Signers(group, mpc.NewSignerSet("a", "b", "d")) == nil {
		t.Error("a set that cannot sign is accepted")
	}
	group.T = 3
	if Supports(group) == nil {
		t.Error("a threshold of n is accepted")
	}
	group = mpc.Group{T: 1}
	for i := range mpc.MaxMembers + 1 {
		group.Parties = append(group.Parties, mpc.PartyID(rune('A'+i)))
	}
	if Supports(group) == nil {
		t.Error("a group too large is accepted")
	}
}

// TestTupleCheck: presignatures that would not give a signature are refused
// when they are made.
func TestTupleCheck(t *testing.T) {
	w := dealtWorld(t, 2, 1)
	set := mpc.NewSignerSet("a", "b")
	id := w.deal(set, 1).Chunk
	for name, change := range map[string]func(tu *tuple){
		"own share of k":     func(tu *tuple) { tu.k = tu.k.Add(p256.One()) },
		"own share of χ":     func(tu *tuple) { tu.chi = tu.chi.Add(p256.One()) },
		"R":                  func(tu *tuple) { tu.R = tu.R.Double() },
		"R, the identity":    func(tu *tuple) { tu.R = p256.Point{} },
		"a peer's k·R":       func(tu *tuple) { tu.RBar[1] = tu.RBar[1].Double() },
		"a peer's χ·R":       func(tu *tuple) { tu.S[1] = tu.S[1].Double() },
		"the identity":       func(tu *tuple) { tu.S[1] = p256.Point{} },
		"values of two keys": func(tu *tuple) { tu.S[0], tu.S[1] = tu.S[1], tu.S[0] },
	} {
		ts, err := decodeChunk(w.stores["a"].Chunks[id].Blob, 2, 0, 1)
		if err != nil {
			t.Fatal(err)
		}
		if err := ts[0].check(w.keys["a"], set); err != nil {
			t.Fatal(err)
		}
		change(ts[0])
		if ts[0].check(w.keys["a"], set) == nil {
			t.Errorf("%s: not noticed", name)
		}
	}
}

func TestChunkFormat(t *testing.T) {
	w := dealtWorld(t, 3, 1)
	set := mpc.NewSignerSet("a", "b", "c")
	b := w.stores["c"].Chunks[w.deal(set, 3).Chunk].Blob
	ts, err := decodeChunk(b, 3, 0, 3)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := encodeChunk(ts, 3); err != nil || !bytes.Equal(again, b) {
		t.Errorf("not encoded as it was: %v", err)
	}
	for _, r := range [][2]int{{0, 0}, {0, 4}, {3, 1}, {-1, 1}, {1, 3}} {
		if _, err := decodeChunk(b, 3, r[0], r[1]); err == nil {
			t.Errorf("range %d+%d of 3 tuples is accepted", r[0], r[1])
		}
	}
	if _, err := decodeChunk(b, 2, 0, 1); err == nil {
		t.Error("a chunk of another set is accepted")
	}
	if _, err := decodeChunk(b[:len(b)-1], 3, 0, 1); err == nil {
		t.Error("a chunk that was cut is accepted")
	}
	b[0] = 1 // of tuples whose nonces were not committed to
	if _, err := decodeChunk(b, 3, 0, 1); err == nil {
		t.Error("a chunk of version 1 is accepted")
	}
	ts[0].erase()
	if !ts[0].k.IsZero() || !ts[0].chi.IsZero() || ts[0].nonce != [sizeNonce]byte{} {
		t.Error("something secret stays in a tuple that is erased")
	}
}

func TestChunkFixture(t *testing.T) {
	var ts []*tuple
	for i := range uint64(2) {
		x := func(k uint64) p256.Point { return p256.BaseMult(p256.NewScalar(10*k + i)) }
		ts = append(ts, &tuple{
			R: x(1), RBar: []p256.Point{x(2), x(3)}, S: []p256.Point{x(4), x(5)}, commitments: [][sizeCommitment]byte{{6, byte(i)}, {7, byte(i)}},
			k: p256.NewScalar(80 + i), chi: p256.NewScalar(90 + i), nonce: [sizeNonce]byte{100, byte(i)},
		})
	}
	b, err := encodeChunk(ts, 2)
	if err != nil {
		t.Fatal(err)
	}
	got, err := decodeChunk(fixture.Check(t, "chunk.v2.hex", b), 2, 1, 1)
	if err != nil {
		t.Fatal(err)
	}
	if g, want := got[0], ts[1]; !g.R.Equal(want.R) || !g.S[1].Equal(want.S[1]) || g.commitments[1] != want.commitments[1] || g.chi != want.chi || g.nonce != want.nonce {
		t.Errorf("the fixture reads as a tuple of R %v, nonce %x", g.R, g.nonce)
	}
}

func FuzzChunk(f *testing.F) {
	f.Add([]byte{}, 2, 0, 1)
	f.Add([]byte{chunkVersion, 2}, 2, 0, 1)
	f.Add(append([]byte{chunkVersion, 2}, make([]byte, 5*sizePoint+2*sizeCommitment+2*sizeScalar+sizeNonce)...), 2, 0, 1)
	f.Fuzz(func(t *testing.T, b []byte, members, from, count int) {
		if members < 1 || members > mpc.MaxMembers {
			return
		}
		ts, err := decodeChunk(b, members, from, count)
		if err == nil && len(ts) != count {
			t.Errorf("%d tuples, want %d", len(ts), count)
		}
	})
}

func FuzzKeyShare(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte(keyShareMagic))
	f.Add(append([]byte(keyShareMagic), 1, 'k'))
	f.Fuzz(func(t *testing.T, b []byte) {
		var k KeyShare
		if k.UnmarshalBinary(b) != nil {
			return
		}
		if again, err := k.MarshalBinary(); err != nil || !bytes.Equal(again, b) {
			t.Errorf("accepted, but encodes otherwise: %v", err)
		}
	})
}

// FuzzFrame holds the check of messages to its promises: it never panics, and
// what it accepts is made of exactly the parts that it gives.
func FuzzFrame(f *testing.F) {
	stages := append(keygenStages(1), presignStages([]party.ID{"\x01", "\x03"})...)
	point := append([]byte{0x58, 0x40}, make([]byte, 64)...)
	f.Add([]byte{}, byte(0), true)
	f.Add(frame{broadcast: append([]byte("\xa1\x6aCommitment"), point...)}.encode(), byte(0), true)
	f.Add(frame{echo: make([]byte, sizeHash), broadcast: append([]byte("\xa1\x6dBigGammaShare"), point...)}.encode(), byte(7), false)
	f.Add([]byte("\x00\x00\x00\x09\xbf\x61K\x5f\x41\x00\xff\xff\xff"), byte(4), true) // indefinite lengths
	f.Fuzz(func(t *testing.T, b []byte, i byte, first bool) {
		got, err := decodeFrame(b, stages[int(i)%len(stages)], first)
		if err == nil && !bytes.Equal(got.encode(), b) {
			t.Error("the parts are not the whole")
		}
	})
}
