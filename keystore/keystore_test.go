package keystore

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	bolt "go.etcd.io/bbolt"
)

func TestMain(m *testing.M) {
	if mode := os.Getenv(childMode); mode != "" {
		os.Exit(child(mode))
	}
	goleak.VerifyTestMain(m)
}

// surroundings are what a store stands in: directory, run directory, key file, log.
type surroundings struct {
	dir string
	opt Options
	log *bytes.Buffer
}

func surround(t testing.TB) surroundings {
	t.Helper()
	base := t.TempDir()
	key := filepath.Join(base, "key")
	if err := NewKeyFile(key); err != nil {
		t.Fatal(err)
	}
	log := &bytes.Buffer{}
	return surroundings{
		dir: filepath.Join(base, "state"),
		opt: Options{Seal: KeyFile(key), RunDir: filepath.Join(base, "run"), BootID: "boot-1", Logger: slog.New(slog.NewTextHandler(log, nil))},
		log: log,
	}
}

func (e surroundings) path() string { return filepath.Join(e.dir, FileName) }

func (e surroundings) create(t testing.TB) *Store {
	t.Helper()
	s, err := Create(e.dir, e.opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func (e surroundings) open(t testing.TB) *Store {
	t.Helper()
	s, err := Open(e.dir, e.opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func reopen(t testing.TB, e surroundings, s *Store) *Store {
	t.Helper()
	must(t, s.Close())
	return e.open(t)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantErr(t testing.TB, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("got error %v, want %v", err, want)
	}
}

var testPool = PoolID{Key: "0123abcd", Set: "a+b+c", Stripe: "a"}

func chunkID(name string) ChunkID { return sha256.Sum256([]byte(name)) }

func testKey(id string) KeyRecord {
	return KeyRecord{
		ID: id, Zone: "example.org.", Role: "zsk", Engine: "mal-shamir", Public: []byte{4, 5, 6}, State: Published,
		Created: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Meta: map[string]string{"tag": "4711"},
		Secret: []byte("very secret share of " + id),
	}
}

func TestKeys(t *testing.T) {
	e := surround(t)
	s := e.create(t)
	for _, id := range []string{"k2", "k1"} {
		must(t, s.PutKey(testKey(id)))
	}
	must(t, s.SetKeyState(map[string]State{"k1": Active, "k2": Ready}))
	s = reopen(t, e, s)
	want := testKey("k1")
	want.State = Active
	got, err := s.Key("k1")
	must(t, err)
	if fmt.Sprintf("%#v", got) != fmt.Sprintf("%#v", want) || !bytes.Equal(got.Secret, want.Secret) {
		t.Fatalf("got %v, want %v", got, want)
	}

	// All states at once or none.
	wantErr(t, s.SetKeyState(map[string]State{"k1": Retired, "k2": Retired, "k3": Retired}), ErrNotFound)
	wantErr(t, s.SetKeyState(map[string]State{"k1": Retired, "k2": "asleep"}), ErrState)
	keys, err := s.Keys()
	must(t, err)
	if len(keys) != 2 || keys[0].ID != "k1" || keys[0].State != Active || keys[1].State != Ready {
		t.Fatalf("after failed changes: %v", keys)
	}
	if keys[0].Secret != nil {
		t.Fatal("Keys gives secrets")
	}

	must(t, s.DeleteKey("k1"))
	_, err = s.Key("k1")
	wantErr(t, err, ErrNotFound)
	wantErr(t, s.DeleteKey("k1"), ErrNotFound)
	if _, err := s.Key("k2"); err != nil {
		t.Fatal(err)
	}
}

func TestSecretPrintsNothing(t *testing.T) {
	k := testKey("k1")
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("key", "record", k, "secret", k.Secret)
	out := log.String()
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		out += fmt.Sprintf(verb, k) + fmt.Sprintf(verb, k.Secret)
	}
	for _, leak := range []string{"very secret", "7665727920736563726574", "118 101 114"} {
		if strings.Contains(out, leak) {
			t.Fatalf("a secret shows in %s", out)
		}
	}
}

func TestRecords(t *testing.T) {
	e := surround(t)
	s := e.create(t)
	must(t, s.Put("manifest", "example.org.", []byte("one")))
	must(t, s.Put("manifest", "example.com.", nil))
	must(t, s.Put("other", "example.org.", []byte("two")))
	fail := errors.New("fail")
	wantErr(t, s.Update(func(tx *Tx) error {
		must(t, tx.Put("manifest", "example.net.", []byte("three")))
		must(t, tx.Delete("manifest", "example.org."))
		return fail
	}), fail)
	must(t, s.Update(func(tx *Tx) error {
		return errors.Join(tx.Put("manifest", "example.org.", []byte("four")), tx.Delete("other", "example.org."), tx.Delete("none", "x"))
	}))
	s = reopen(t, e, s)
	list, err := s.List("manifest", "example.")
	must(t, err)
	if fmt.Sprintf("%s", list) != "[{example.com. } {example.org. four}]" {
		t.Fatalf("list: %s", list)
	}
	if list, err := s.List("none", ""); err != nil || len(list) != 0 {
		t.Fatal(list, err)
	}
	_, err = s.Get("other", "example.org.")
	wantErr(t, err, ErrNotFound)
	_, err = s.Get("none", "example.org.")
	wantErr(t, err, ErrNotFound)
	if s.Put("", "k", nil) == nil || s.Put("b", "", nil) == nil {
		t.Fatal("empty names are taken")
	}
}

func TestCreateAndOpenRefuse(t *testing.T) {
	e := surround(t)
	_, err := Open(e.dir, e.opt)
	wantErr(t, err, ErrNoStore)
	s := e.create(t)
	_, err = Create(e.dir, e.opt)
	wantErr(t, err, ErrExists)
	_, err = Restore(e.dir, strings.NewReader(""), e.opt)
	wantErr(t, err, ErrExists)

	_, err = Open(e.dir, e.opt)
	wantErr(t, err, ErrLocked)
	if !strings.Contains(err.Error(), fmt.Sprintf("process %d has it open", os.Getpid())) {
		t.Fatalf("the holder is not named: %v", err)
	}
	must(t, s.Close())
	must(t, s.Close())
	wantErr(t, s.Put("b", "k", nil), ErrClosed)
	_, err = s.Get("b", "k")
	wantErr(t, err, ErrClosed)
	wantErr(t, s.Confirm(1, nil), ErrClosed)

	must(t, os.Chmod(e.path(), 0o640))
	_, err = Open(e.dir, e.opt)
	wantErr(t, err, ErrPermissions)
	must(t, os.Chmod(e.path(), 0o600))
	must(t, os.Chmod(e.dir, 0o750))
	_, err = Open(e.dir, e.opt)
	wantErr(t, err, ErrPermissions)
	must(t, os.Chmod(e.dir, 0o700))

	raw(t, e, func(tx *bolt.Tx) error { return tx.Bucket(bucketMeta).Put(metaFormat, []byte("2")) })
	_, err = Open(e.dir, e.opt)
	wantErr(t, err, ErrNewer)
	raw(t, e, func(tx *bolt.Tx) error { return tx.Bucket(bucketMeta).Put(metaFormat, []byte("one")) })
	_, err = Open(e.dir, e.opt)
	wantErr(t, err, ErrDamaged)
	must(t, os.Rename(e.path(), filepath.Join(e.dir, "keystore.v2.db")))
	_, err = Open(e.dir, e.opt)
	wantErr(t, err, ErrNewer)
}

// raw changes the file behind the keystore's back.
func raw(t testing.TB, e surroundings, fn func(*bolt.Tx) error) {
	t.Helper()
	db, err := bolt.Open(e.path(), 0o600, boltOptions())
	must(t, err)
	must(t, db.Update(fn))
	must(t, db.Close())
}

func TestSources(t *testing.T) {
	dir := t.TempDir()
	file := func(name, content string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		must(t, os.WriteFile(path, []byte(content), mode))
		must(t, os.Chmod(path, mode))
		return path
	}
	hexKey := strings.Repeat("0f", 32)
	t.Setenv("CREDENTIALS_DIRECTORY", dir)
	file("credential", hexKey, 0o440)
	pass := PassphraseFile(file("pass", "correct horse\nsecond line", 0o600))
	pass.cost = argonCost{Time: 1, Memory: 64, Threads: 1}
	good := []Source{KeyFile(file("key", hexKey+"\n", 0o600)), Credential("credential"), pass}
	for _, src := range good {
		e := surround(t)
		e.opt.Seal = src
		s := e.create(t)
		must(t, s.Put("b", "k", []byte("v")))
		reopen(t, e, s).Close()
	}

	bad := map[string]struct {
		src  Source
		text string
	}{
		"none":        {Source{}, "none is configured"},
		"missing":     {KeyFile(filepath.Join(dir, "nothing")), "no such file"},
		"wide":        {KeyFile(file("wide", hexKey, 0o640)), "expected 0600"},
		"short":       {KeyFile(file("short", hexKey[1:], 0o600)), "has 63 characters, expected 64"},
		"not hex":     {KeyFile(file("nohex", hexKey[1:]+"x", 0o600)), "expected 64 hexadecimal digits"},
		"long":        {KeyFile(file("long", strings.Repeat("0", 5000), 0o600)), "longer than"},
		"directory":   {KeyFile(dir), "not a regular file"},
		"escape":      {Credential("../key"), "not a file name"},
		"empty":       {PassphraseFile(file("empty", "\nx", 0o600)), "passphrase is empty"},
		"wide phrase": {PassphraseFile(file("widepass", "x", 0o644)), "expected 0600"},
	}
	for name, c := range bad {
		e := surround(t)
		e.opt.Seal = c.src
		_, err := Create(e.dir, e.opt)
		if !errors.Is(err, ErrBadSource) || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: got %v, want %q", name, err, c.text)
		}
		if left, _ := os.ReadDir(e.dir); len(left) != 0 {
			t.Errorf("%s: leaves %v behind", name, left)
		}
	}
	t.Setenv("CREDENTIALS_DIRECTORY", "")
	if _, err := Credential("credential").read(); err == nil || !strings.Contains(err.Error(), "CREDENTIALS_DIRECTORY is not set") {
		t.Errorf("without a credentials directory: %v", err)
	}
}

// Wrong key, wrong passphrase, wrong kind, and damage are four different
// errors.
func TestWrongSealingKey(t *testing.T) {
	e := surround(t)
	phrase := func(text string) Source {
		src := Passphrase(func() ([]byte, error) { return []byte(text), nil })
		src.cost = argonCost{Time: 1, Memory: 64, Threads: 1}
		return src
	}
	try := func(src Source, want error, text string) {
		t.Helper()
		opt := e.opt
		opt.Seal = src
		_, err := Open(e.dir, opt)
		if !errors.Is(err, want) || !strings.Contains(fmt.Sprint(err), text) {
			t.Fatalf("got %v, want %v (%s)", err, want, text)
		}
	}
	other := filepath.Join(t.TempDir(), "other")
	must(t, NewKeyFile(other))
	s := e.create(t)
	must(t, s.PutKey(testKey("k1")))
	must(t, s.Close())
	try(KeyFile(other), ErrWrongKey, "the key is not the one")
	try(phrase("x"), ErrBadSource, "sealed with a key, but was given passphrase")

	first := e.opt.Seal
	s = e.open(t)
	wantErr(t, s.Reseal(KeyFile("/nonexistent")), ErrBadSource)
	must(t, s.Reseal(phrase("correct")))
	must(t, s.Reseal(phrase("correct horse"))) // with the new one as present one
	must(t, s.Close())
	try(first, ErrBadSource, "sealed with a passphrase, but was given key file")
	try(phrase("correct"), ErrWrongKey, "the passphrase is not the one")
	e.opt.Seal = phrase("correct horse")
	s = e.open(t)
	if _, err := s.Key("k1"); err != nil {
		t.Fatal(err)
	}
	must(t, s.Close())

	raw(t, e, func(tx *bolt.Tx) error {
		v := bytes.Clone(tx.Bucket(bucketMeta).Get(metaSeal))
		v[len(v)-10] ^= 1
		return tx.Bucket(bucketMeta).Put(metaSeal, v)
	})
	try(e.opt.Seal, ErrDamaged, "checksum")
}

// A thief of the file finds no value in it, a writer of the file cannot
// exchange values, and what was deleted is gone from the file.
func TestSealing(t *testing.T) {
	e := surround(t)
	s := e.create(t)
	for _, id := range []string{"k1", "k2"} {
		must(t, s.PutKey(testKey(id)))
	}
	must(t, s.Put("records", "r", []byte("very secret record")))
	must(t, s.AddChunk(testPool, chunkID("c"), 4, []byte("very secret tuples")))
	sealed := func(id string) (out []byte) {
		must(t, s.view(func(tx *bolt.Tx) error { out = bytes.Clone(tx.Bucket(bucketSecrets).Get([]byte(id))); return nil }))
		return out
	}
	one, two := sealed("k1"), sealed("k2")
	content, err := os.ReadFile(e.path())
	must(t, err)
	if bytes.Contains(content, []byte("very secret")) || bytes.Contains(content, []byte("example.org")) {
		t.Fatal("a value lies open in the file")
	}
	if !bytes.Contains(content, one) {
		t.Fatal("the test looks for the wrong bytes")
	}

	// Deleted and replaced secrets do not stay in free pages.
	replaced := testKey("k2")
	replaced.Secret = []byte("the share after a refresh")
	must(t, s.PutKey(replaced))
	must(t, s.DeleteKey("k1"))
	content, err = os.ReadFile(e.path())
	must(t, err)
	for i, old := range [][]byte{one, two} {
		if bytes.Contains(content, old) || bytes.Contains(content, old[24:56]) {
			t.Errorf("secret %d is still in the file", i+1)
		}
	}
	must(t, s.PutKey(testKey("k1")))
	must(t, s.Close())

	raw(t, e, func(tx *bolt.Tx) error {
		b := tx.Bucket(bucketSecrets)
		k1, k2 := bytes.Clone(b.Get([]byte("k1"))), bytes.Clone(b.Get([]byte("k2")))
		return errors.Join(b.Put([]byte("k1"), k2), b.Put([]byte("k2"), k1))
	})
	s = e.open(t)
	for _, id := range []string{"k1", "k2"} {
		_, err = s.Key(id)
		wantErr(t, err, ErrDamaged)
	}
	if !strings.Contains(err.Error(), `"k2" in bucket "secrets"`) {
		t.Fatalf("the place is not named: %v", err)
	}
}

// The file is damaged in places at random: every operation gives the right
// value or an error, and nothing crashes.
func TestDamage(t *testing.T) {
	e := surround(t)
	s := e.create(t)
	for i := range 40 {
		must(t, s.Put("b", fmt.Sprintf("key %04d", i), bytes.Repeat([]byte{byte(i)}, 200)))
	}
	must(t, s.AddChunk(testPool, chunkID("c"), 4, bytes.Repeat([]byte{7}, 20000)))
	must(t, s.PutKey(testKey("k1")))
	must(t, s.Close())
	good, err := os.ReadFile(e.path())
	must(t, err)

	e.opt.RunDir = "" // each try is an older copy
	try := func(what string, content []byte) (failed bool) {
		must(t, os.WriteFile(e.path(), content, 0o600))
		s, err := Open(e.dir, e.opt)
		if err != nil {
			if !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrNewer) {
				t.Fatalf("%s: %v\n%s", what, err, e.log)
			}
			return true
		}
		defer s.Close()
		s.db.NoSync = true
		if err := s.Confirm(1, []PeerMark{{Operator: "b"}}); err != nil {
			failed = true
		}
		if list, err := s.List("b", ""); err != nil {
			failed = true
		} else {
			for _, r := range list {
				var i int
				fmt.Sscanf(r.Key, "key %d", &i)
				if !bytes.Equal(r.Value, bytes.Repeat([]byte{byte(i)}, 200)) {
					t.Errorf("%s: a wrong value for %q", what, r.Key)
				}
			}
		}
		if k, err := s.Key("k1"); err != nil {
			failed = true
		} else if !bytes.Equal(k.Secret, testKey("k1").Secret) {
			t.Errorf("%s: a wrong secret", what)
		}
		if b, _, err := s.Spend(testPool, chunkID("c"), 0, 4, [32]byte{}); err != nil {
			failed = true
		} else if !bytes.Equal(b, bytes.Repeat([]byte{7}, 20000)) {
			t.Errorf("%s: a wrong blob", what)
		}
		return failed
	}
	if try("as it was", good) {
		t.Fatal("the good file fails")
	}
	if !try("empty", nil) || !try("half a page", good[:2000]) || !try("no tree", good[:8192]) || !try("other file", []byte(strings.Repeat("hello ", 5000))) {
		t.Error("a file cut short is taken")
	}
	found := 0
	const rounds = 300
	for i := range rounds {
		sum := sha256.Sum256([]byte{byte(i), byte(i >> 8)})
		content := bytes.Clone(good)
		what := ""
		page := int(sum[0]) | int(sum[1])<<8
		page = page % (len(content) / 4096) * 4096
		switch i % 4 {
		case 0: // a byte in a page's head
			at := page + int(sum[2])%64
			content[at] ^= sum[3] | 1
			what = fmt.Sprintf("byte %d", at)
		case 1: // a byte anywhere
			at := page + (int(sum[2])|int(sum[4])<<8)%4096
			content[at] ^= sum[3] | 1
			what = fmt.Sprintf("byte %d", at)
		case 2: // a page of zeros
			clear(content[page : page+4096])
			what = fmt.Sprintf("page at %d", page)
		case 3: // cut short
			content = content[:max(page, 1)]
			what = fmt.Sprintf("length %d", page)
		}
		if try(what, content) {
			found++
		}
	}
	t.Logf("%d of %d damages met a used place", found, rounds)
	if found < rounds/4 {
		t.Error("the damages hit nothing")
	}
}

// A store that the database library left in the middle of a transaction is
// still closed, and its lock released, though the file is still mapped.
func TestCloseWhenStuck(t *testing.T) {
	e := surround(t)
	s := e.create(t)
	s.commit = func(*bolt.Tx) error { panic("page 7 already freed") }
	wantErr(t, s.Put("b", "k", nil), ErrDamaged)
	s.fail(errStuck)
	wantErr(t, s.Put("b", "k", nil), errStuck)
	must(t, s.Close())
	if _, err := e.open(t).Get("b", "k"); !errors.Is(err, ErrNotFound) {
		t.Fatal(err)
	}
	s.db.Close() // its lock is gone already; for the mapping
}

// A write that fails leaves the state from before in force, in memory and on
// disk, and the next write works when there is space again.
func TestFullDisk(t *testing.T) {
	out := runChild(t, "fulldisk", t.TempDir())
	if !strings.HasSuffix(strings.TrimSpace(out), "fine") {
		t.Fatalf("child: %s", out)
	}
}

// fullDisk runs in a child process, as the limit is the whole process's.
func fullDisk(base string) error {
	key := filepath.Join(base, "key")
	if err := NewKeyFile(key); err != nil {
		return err
	}
	log := slog.New(slog.DiscardHandler)
	dir := filepath.Join(base, "state")
	opt := Options{Seal: KeyFile(key), RunDir: filepath.Join(base, "run"), Logger: log}
	s, err := Create(dir, opt)
	if err != nil {
		return err
	}
	if err := s.AddChunk(testPool, chunkID("first"), 8, make([]byte, 5000)); err != nil {
		return err
	}
	if err := s.Put("b", "k", []byte("before")); err != nil {
		return err
	}
	var was unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_FSIZE, &was); err != nil {
		return err
	}
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: 60000, Max: was.Max}); err != nil {
		return err
	}
	big := make([]byte, 200000)
	err = s.AddChunk(testPool, chunkID("big"), 8, big)
	if err == nil || !strings.Contains(err.Error(), "nothing was changed") || !strings.Contains(err.Error(), "file too large") {
		return fmt.Errorf("chunk that does not fit: %v", err)
	}
	if err := s.Update(func(t *Tx) error { return errors.Join(t.Put("b", "k", []byte("after")), t.Put("b", "big", big)) }); err == nil {
		return errors.New("record that does not fit was taken")
	}
	check := func(s *Store) error {
		if v, err := s.Get("b", "k"); err != nil || string(v) != "before" {
			return fmt.Errorf("record is %q, %v", v, err)
		}
		if d := s.Depth(testPool); d != 8 {
			return fmt.Errorf("depth is %d", d)
		}
		return nil
	}
	if err := check(s); err != nil {
		return err
	}
	if err := s.Close(); err != nil {
		return err
	}
	if s, err = Open(dir, opt); err != nil {
		return err
	}
	if err := check(s); err != nil {
		return err
	}
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &was); err != nil {
		return err
	}
	if err := s.AddChunk(testPool, chunkID("big"), 8, big); err != nil {
		return fmt.Errorf("when there is space again: %w", err)
	}
	if _, _, err := s.Spend(testPool, chunkID("first"), 0, 8, [32]byte{}); err != nil {
		return err
	}
	return s.Close()
}

// A disk that fails a write for good stops the store: after a failed fsync
// nobody knows what the disk holds.
func TestFailedWrite(t *testing.T) {
	e := surround(t)
	s := e.create(t)
	must(t, s.AddChunk(testPool, chunkID("c"), 8, []byte("blob")))
	generation := s.Generation()
	s.commit = func(tx *bolt.Tx) error { return errors.Join(unix.EIO, tx.Rollback()) }
	_, _, err := s.Spend(testPool, chunkID("c"), 0, 4, [32]byte{})
	wantErr(t, err, unix.EIO)
	s.commit = (*bolt.Tx).Commit
	_, _, err = s.Spend(testPool, chunkID("c"), 0, 4, [32]byte{})
	wantErr(t, err, ErrFailed)
	_, err = s.Get("b", "k")
	wantErr(t, err, ErrFailed)
	s = reopen(t, e, s)
	if _, g, err := s.Spend(testPool, chunkID("c"), 0, 4, [32]byte{}); err != nil || g != generation+1 {
		t.Fatal(g, err)
	}
}

// A file that cannot be written gives an error and stays as it is.
func TestReadOnlyFile(t *testing.T) {
	e := surround(t)
	s := e.create(t)
	must(t, s.Put("b", "k", []byte("v")))
	// Permissions do not bind root, who may run the tests; the descriptor's
	// mode does.
	must(t, s.db.Close())
	opt := boltOptions()
	opt.OpenFile = func(name string, _ int, _ os.FileMode) (*os.File, error) { return os.OpenFile(name, os.O_RDONLY, 0) }
	db, err := bolt.Open(e.path(), 0, opt)
	must(t, err)
	s.db = db
	if err := s.Put("b", "k", []byte("w")); err == nil || !strings.Contains(err.Error(), "nothing was changed") {
		t.Fatal(err)
	}
	s = reopen(t, e, s)
	if v, err := s.Get("b", "k"); err != nil || string(v) != "v" {
		t.Fatalf("%s, %v", v, err)
	}
}

func TestBackup(t *testing.T) {
	e := surround(t)
	s := e.create(t)
	must(t, s.PutKey(testKey("k1")))
	must(t, s.Put("b", "k", []byte("v")))
	must(t, s.AddChunk(testPool, chunkID("c"), 8, []byte("blob")))
	_, generation, err := s.Spend(testPool, chunkID("c"), 0, 4, [32]byte{1})
	must(t, err)
	must(t, s.SetPeerMark(PeerMark{Operator: "b", Generation: 7}))
	var backup bytes.Buffer
	must(t, s.Backup(&backup))
	must(t, s.Close())
	rawCopy, err := os.ReadFile(e.path())
	must(t, err)

	for name, content := range map[string][]byte{"backup": backup.Bytes(), "raw copy": rawCopy} {
		to := surround(t)
		to.opt.Seal = e.opt.Seal
		s, err := Restore(to.dir, bytes.NewReader(content), to.opt)
		must(t, err)
		if k, err := s.Key("k1"); err != nil || !bytes.Equal(k.Secret, testKey("k1").Secret) {
			t.Fatal(name, err)
		}
		if v, err := s.Get("b", "k"); err != nil || string(v) != "v" {
			t.Fatal(name, err)
		}
		if len(s.Pools()) != 0 {
			t.Fatal(name, "holds tuples")
		}
		if _, err = s.PeerMark("b"); !errors.Is(err, ErrNotFound) {
			t.Fatal(name, "vouches for a peer")
		}
		if s.Generation() <= generation {
			t.Fatal(name, "goes back")
		}
		must(t, s.Close())
		if left, _ := filepath.Glob(filepath.Join(to.dir, "*.tmp")); len(left) > 0 {
			t.Fatal(left)
		}
		stored, err := os.ReadFile(to.path())
		must(t, err)
		id := chunkID("c")
		if bytes.Contains(stored, id[:]) {
			t.Fatal(name, "names a chunk")
		}
	}

	// Nothing is made from what is no backup, or with the wrong key.
	for name, content := range map[string][]byte{"nothing": nil, "cut": backup.Bytes()[:9000], "text": []byte("hello")} {
		to := surround(t)
		to.opt.Seal = e.opt.Seal
		_, err := Restore(to.dir, bytes.NewReader(content), to.opt)
		if !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v", name, err)
		}
		if left, _ := os.ReadDir(to.dir); len(left) != 0 {
			t.Errorf("%s leaves %v", name, left)
		}
	}
	to := surround(t)
	_, err = Restore(to.dir, bytes.NewReader(backup.Bytes()), to.opt)
	wantErr(t, err, ErrWrongKey)
}
