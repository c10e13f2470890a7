package mpc

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"testing"

	"zonesigner/mpc/fixture"
)

func fixtureStatement() *Statement {
	part := func(i byte) Part {
		return Part{
			Key:      "000102030405060708090a0b0c0d0e0f",
			Epoch:    3,
			Manifest: sha256.Sum256([]byte("manifest")),
			Tuples:   TupleRange{Chunk: ChunkID{i}, From: 5, Count: 6},
			Messages: MessagesDigest([][32]byte{{7}}),
		}
	}
	return &Statement{
		Session: SessionID{1},
		Group:   sha256.Sum256([]byte("group")),
		Engine:  "mal-shamir",
		Set:     NewSignerSet("a", "b"),
		Run:     2,
		Parts:   []Part{part(4), part(5)},
		Mark:    Mark{Generation: 8},
	}
}

// stub signs by hashing: fixed bytes for fixtures, no security.
type stub struct{ self PartyID }

func (s stub) Self() PartyID { return s.self }
func (s stub) Sign(msg []byte) []byte {
	h := sha256.Sum256(append([]byte(s.self), msg...))
	return append(h[:], h[:]...)
}
func (s stub) Verify(from PartyID, msg, sig []byte) bool {
	return bytes.Equal(stub{from}.Sign(msg), sig)
}

func TestStatementFixture(t *testing.T) {
	kept := fixture.Check(t, "statement.v1.hex", fixtureStatement().Sign(stub{"b"}))
	st, from, err := VerifyStatement(stub{"a"}, kept)
	if err != nil || from != "b" || fmt.Sprint(st) != fmt.Sprint(fixtureStatement()) {
		t.Errorf("the fixture reads as %+v of %s, %v", st, from, err)
	}
}

func TestVerifyStatementRefuses(t *testing.T) {
	good := fixtureStatement().Sign(stub{"b"})
	stranger := fixtureStatement().Sign(stub{"z"})
	unsorted := fixtureStatement()
	unsorted.Set = SignerSet{"b", "a"}
	for name, b := range map[string][]byte{
		"empty":          nil,
		"other version":  bytes.Replace(good, []byte("v1"), []byte("v2"), 1),
		"cut short":      good[:len(good)-1],
		"longer":         append(bytes.Clone(good), 0),
		"not a member":   stranger,
		"unsorted":       unsorted.Sign(stub{"b"}),
		"other mark":     changed(good, len(good)-65),
		"other message":  changed(good, 100),
		"other sign":     changed(good, len(good)-1),
		"only the magic": []byte(statementMagic),
	} {
		if _, _, err := VerifyStatement(stub{"a"}, b); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func changed(b []byte, at int) []byte {
	c := bytes.Clone(b)
	c[at] ^= 1
	return c
}

// What goes with a statement is split off as it was appended; what is cut short
// has no statement.
func FuzzOpening(f *testing.F) {
	f.Add(appendOpening([]byte("statement"), []byte("opening")))
	f.Add(appendOpening(nil, nil))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0})
	f.Add([]byte{0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		statement, opening := splitOpening(b)
		if again := appendOpening(statement, opening); statement != nil && !bytes.Equal(again, b) {
			t.Fatalf("%x becomes %x", b, again)
		}
		if statement == nil && opening != nil {
			t.Fatalf("%x has an opening and no statement", b)
		}
	})
}

func FuzzStatement(f *testing.F) {
	f.Add(fixtureStatement().Sign(stub{"b"}))
	f.Add([]byte(statementMagic))
	f.Fuzz(func(t *testing.T, b []byte) {
		st, from, signed, err := decodeStatement(b)
		if err != nil {
			return
		}
		again := st.Sign(stub{from})
		if !bytes.Equal(again[:len(again)-64], b[:signed]) {
			t.Fatal("accepted bytes do not encode alike")
		}
	})
}
