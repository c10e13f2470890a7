package keystore

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the fixture of the present format anew")

// fixture is the store of format 1 that every later version must read: two
// keys, records, a pool with a chunk half spent, a chunk used up, a peer's
// mark.
const fixture = "testdata/v1"

func writeFixture(t *testing.T) {
	must(t, os.RemoveAll(fixture))
	must(t, os.MkdirAll(fixture, 0o755))
	key := filepath.Join(fixture, "key")
	must(t, NewKeyFile(key))
	e := surround(t)
	e.opt.Seal = KeyFile(key)
	s := e.create(t)
	for _, id := range []string{"k1", "k2"} {
		must(t, s.PutKey(testKey(id)))
	}
	must(t, s.SetKeyState(map[string]State{"k1": Active}))
	must(t, s.Put("manifest", "example.org.", []byte("agreed")))
	must(t, s.AddChunk(testPool, chunkID("half"), 8, []byte("blob of half")))
	must(t, s.AddChunk(testPool, chunkID("used"), 8, []byte("blob of used")))
	for _, name := range []string{"used", "used", "half"} {
		from := 8 - s.Depth(testPool)%8
		_, _, err := s.Spend(testPool, chunkID(name), from%8, 4, chunkID("statement"))
		must(t, err)
	}
	must(t, s.SetPeerMark(PeerMark{"b", 7, []byte("signed by b")}))
	must(t, s.Close())
	content, err := os.ReadFile(e.path())
	must(t, err)
	must(t, os.WriteFile(filepath.Join(fixture, FileName), content, 0o644))
}

func TestFixture(t *testing.T) {
	if *update {
		writeFixture(t)
	}
	e := surround(t)
	must(t, os.MkdirAll(e.dir, 0o700))
	key := filepath.Join(e.dir, "key")
	for from, to := range map[string]string{"key": key, FileName: e.path()} {
		content, err := os.ReadFile(filepath.Join(fixture, from))
		must(t, err)
		must(t, os.WriteFile(to, content, 0o600))
	}
	e.opt.Seal = KeyFile(key)
	s := e.open(t)
	for id, state := range map[string]State{"k1": Active, "k2": Published} {
		want := testKey(id)
		want.State = state
		got, err := s.Key(id)
		must(t, err)
		if fmt.Sprintf("%#v", got) != fmt.Sprintf("%#v", want) || !bytes.Equal(got.Secret, want.Secret) {
			t.Errorf("got %v, want %v", got, want)
		}
	}
	if v, err := s.Get("manifest", "example.org."); err != nil || string(v) != "agreed" {
		t.Error(string(v), err)
	}
	if m, err := s.PeerMark("b"); err != nil || m.Generation != 7 || string(m.Signed) != "signed by b" {
		t.Error(m, err)
	}
	g := s.Generation()
	must(t, s.Confirm(2, []PeerMark{{Operator: "b", Generation: g}, {Operator: "c", Generation: g - 3}}))
	if d := s.Depth(testPool); d != 4 {
		t.Error(d)
	}
	blob, g2, err := s.Spend(testPool, chunkID("half"), 4, 4, [32]byte{})
	if err != nil || string(blob) != "blob of half" || g2 != g+1 {
		t.Error(string(blob), g2, err)
	}
	wantErr(t, s.AddChunk(testPool, chunkID("used"), 8, []byte("again")), ErrKnownChunk)
	if spent, err := s.Spent(chunkID("used")); err != nil || len(spent) != 2 || spent[1].Statement != chunkID("statement") {
		t.Error(spent, err)
	}
}

func FuzzKeyFile(f *testing.F) {
	f.Add([]byte(strings.Repeat("0f", 32) + "\n"))
	f.Add([]byte(strings.Repeat("zz", 32)))
	f.Fuzz(func(t *testing.T, b []byte) {
		if key, err := parseKey(b); err == nil && !strings.EqualFold(fmt.Sprintf("%x", key), string(bytes.TrimSuffix(b, []byte("\n")))) {
			t.Fatalf("%q is read as %x", b, key)
		}
	})
}

func FuzzRunMark(f *testing.F) {
	f.Add([]byte(`{"version":1,"boot_id":"b","store":"s","generation":18446744073709551615}   `))
	f.Add([]byte(`{"version":1,"boot_id":"b","store":"s","generation":-1}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := parseRunMark(b)
		if err != nil {
			return
		}
		text, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := parseRunMark(text); err != nil || *again != *m {
			t.Fatal(again, err)
		}
	})
}

func FuzzSealRecord(f *testing.F) {
	f.Add([]byte(`{"kind":"key","wrapped":"AAAA"}`))
	f.Add([]byte(`{"kind":"passphrase","argon2id":{"time":3,"memory_kib":65536,"threads":4},"salt":"AAAAAAAAAAAAAAAAAAAAAA==","wrapped":""}`))
	f.Add([]byte(`{"kind":"passphrase","argon2id":{"time":4294967295,"memory_kib":4294967295,"threads":255},"salt":"AAAAAAAAAAAAAAAAAAAAAA=="}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, err := parseSealRecord(b); err == nil {
			return
		}
		sum := sha256.Sum256(b)
		rec, err := parseSealRecord(append(sum[:], b...))
		if err == nil && rec.Kind == kindPassphrase && rec.Cost.check() != nil {
			t.Fatalf("a file may make us spend %+v", rec.Cost)
		}
	})
}

func FuzzChunkRecord(f *testing.F) {
	f.Add(chunkKey(testPool, chunkID("c")), make([]byte, chunkRecordSize))
	f.Add([]byte{0xff, 0xff, 0}, []byte{1})
	f.Fuzz(func(t *testing.T, key, rec []byte) {
		if p, id, err := parseChunkKey(key); err == nil && !bytes.Equal(chunkKey(p, id), key) {
			t.Fatalf("%x is read as %v %v", key, p, id)
		}
		if c, err := parseChunk(rec, ChunkID{}); err == nil && (c.Next < 0 || c.Next >= c.Count) {
			t.Fatal(c)
		}
		b, err := newBox(make([]byte, keySize))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := b.open(rec, key, bucketChunks); err == nil {
			t.Fatal("opens what was never sealed")
		}
		if _, err := parseSpent(b, key, b.seal(rec, key, bucketSpent)); err == nil && (len(key) != 36 || len(rec) != 52) {
			t.Fatal("a record of spent tuples of a wrong length")
		}
	})
}

// FuzzFile damages a keystore file: edits are 2 bytes of place and 1 of change
// each, then the file is cut by cut. What verify lets through, the database
// library must be able to open and use without harm.
func FuzzFile(f *testing.F) {
	good, err := os.ReadFile(filepath.Join(fixture, FileName))
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte{}, uint16(0))
	f.Add([]byte{}, uint16(20000))
	// Heads of pages: kind, count, overflow; an element; the newest meta page.
	for _, place := range []uint16{8, 10, 15, 16, 20, 28, 48, 56} {
		for _, page := range []uint16{0, 1, 2, 3, 4, 5, 6, 7} {
			f.Add(append(native.AppendUint16(nil, page*4096+place), 0xff), uint16(0))
		}
	}
	f.Fuzz(func(t *testing.T, edits []byte, cut uint16) {
		content := bytes.Clone(good)
		for ; len(edits) >= 3; edits = edits[3:] {
			content[int(native.Uint16(edits))%len(content)] ^= edits[2]
		}
		content = content[:len(content)-min(int(cut), len(content))]
		e := surround(t)
		must(t, os.MkdirAll(e.dir, 0o700))
		must(t, os.WriteFile(e.path(), content, 0o600))
		key, err := os.ReadFile(filepath.Join(fixture, "key"))
		must(t, err)
		must(t, os.WriteFile(filepath.Join(e.dir, "key"), key, 0o600)) // a checkout may widen it
		e.opt.Seal, e.opt.RunDir = KeyFile(filepath.Join(e.dir, "key")), ""
		s, err := Open(e.dir, e.opt)
		if err != nil {
			return
		}
		defer s.Close()
		s.Keys()
		if s.Confirm(1, []PeerMark{{Operator: "b"}}) == nil {
			s.Spend(testPool, chunkID("half"), 4, 4, [32]byte{})
		}
		s.DiscardAll("test")
	})
}
