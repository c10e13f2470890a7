package keystore

import (
	"bytes"
	"errors"
	"os"
	"strings"
	"testing"

	bolt "go.etcd.io/bbolt"
)

// The attacks of the other tests, each with its defence taken out, to see that
// it was the defence that held. (Restored disks: TestRestoredDisk; spending
// that is not durable: TestKillNotices.)

// A chunk id is remembered for ever. Without the memory, a chunk whose tuples
// are spent comes in again.
func TestWithoutMemoryOfChunks(t *testing.T) {
	e := surround(t)
	s := e.create(t)
	id := chunkID("c")
	must(t, s.AddChunk(testPool, id, 1, []byte("blob")))
	_, _, err := s.Spend(testPool, id, 0, 1, [32]byte{1})
	must(t, err)
	wantErr(t, s.AddChunk(testPool, id, 1, []byte("blob")), ErrKnownChunk)
	must(t, s.Close())
	raw(t, e, func(tx *bolt.Tx) error { return tx.Bucket(bucketIDs).Delete(id[:]) })
	s = e.open(t)
	must(t, s.AddChunk(testPool, id, 1, []byte("blob")))
	if _, _, err := s.Spend(testPool, id, 0, 1, [32]byte{2}); err != nil {
		t.Fatalf("without the defence the attack should succeed: %v", err)
	}
}

// A value is bound to its place. Where the reader does not name the place
// itself, but takes the writer's word for it, exchanged values open.
func TestWithoutBindingToPlace(t *testing.T) {
	s := surround(t).create(t)
	two := s.box.seal([]byte("secret of k2"), []byte("k2"), bucketSecrets)
	for _, place := range []struct {
		key    string
		bucket [][]byte
	}{
		{"k1", [][]byte{bucketSecrets}},
		{"k2", [][]byte{bucketKeys}},
		{"k2", [][]byte{bucketRecords, bucketSecrets}},
		{"", [][]byte{bucketSecrets, []byte("k2")}},
		{"secretsk2", nil},
	} {
		_, err := s.box.open(two, []byte(place.key), place.bucket...)
		wantErr(t, err, ErrDamaged)
	}
	if _, err := s.box.open(two, []byte("k2"), bucketSecrets); err != nil {
		t.Fatalf("without the defence the attack should succeed: %v", err)
	}
}

// Deleted secrets are overwritten. Without the wipe they stay in the file.
func TestWithoutWipe(t *testing.T) {
	e := surround(t)
	s := e.create(t)
	must(t, s.PutKey(testKey("k1")))
	var sealed []byte
	must(t, s.view(func(tx *bolt.Tx) error { sealed = bytes.Clone(tx.Bucket(bucketSecrets).Get([]byte("k1"))); return nil }))
	there := func() bool {
		content, err := os.ReadFile(e.path())
		must(t, err)
		return bytes.Contains(content, sealed)
	}
	must(t, s.update(func(tx *bolt.Tx) error { // DeleteKey without its wipe
		return errors.Join(tx.Bucket(bucketKeys).Delete([]byte("k1")), tx.Bucket(bucketSecrets).Delete([]byte("k1")))
	}))
	if !there() {
		t.Fatal("without the defence the secret should still be there")
	}
	must(t, s.Wipe())
	if there() {
		t.Fatal("the wipe leaves the secret")
	}
	// The wipe took nothing else.
	must(t, s.PutKey(testKey("k2")))
	s = reopen(t, e, s)
	if k, err := s.Key("k2"); err != nil || !strings.HasPrefix(string(k.Secret), "very secret") {
		t.Fatal(err)
	}
}

// The record of one chunk is put back, from an older copy of the file into the
// newest one: the generation alone would not notice.
func TestOneOldRecord(t *testing.T) {
	for _, defended := range []bool{true, false} {
		e := surround(t)
		s := e.create(t)
		id := chunkID("c")
		key := chunkKey(testPool, id)
		must(t, s.AddChunk(testPool, id, 4, []byte("blob")))
		var old []byte
		var oldState state
		must(t, s.view(func(tx *bolt.Tx) (err error) {
			old = bytes.Clone(tx.Bucket(bucketChunks).Get(key))
			oldState, err = getState(tx, s.box)
			return err
		}))
		_, g, err := s.Spend(testPool, id, 0, 2, [32]byte{1})
		must(t, err)
		sealer := s.box
		must(t, s.Close())
		raw(t, e, func(tx *bolt.Tx) error {
			err := tx.Bucket(bucketChunks).Put(key, old)
			if !defended { // a digest that fits is what the attacker cannot make
				err = errors.Join(err, putState(tx, sealer, state{generation: g, live: oldState.live}))
			}
			return err
		})
		s = e.open(t)
		_, _, err = s.Spend(testPool, id, 0, 2, [32]byte{2})
		if !defended {
			if err != nil {
				t.Fatalf("without the defence the attack should succeed: %v", err)
			}
			continue
		}
		wantErr(t, err, ErrSpent)
		if len(s.Pools()) != 0 || s.Generation() <= g || !strings.Contains(e.log.String(), "level=ERROR") {
			t.Fatal("not discarded", s.Pools(), e.log)
		}
		if why, yes := reopen(t, e, s).Suspended(); yes {
			t.Fatal(why)
		}
	}

	// The same while the store is open.
	s := surround(t).create(t)
	id := chunkID("c")
	key := chunkKey(testPool, id)
	must(t, s.AddChunk(testPool, id, 4, []byte("blob")))
	var old []byte
	must(t, s.view(func(tx *bolt.Tx) error { old = bytes.Clone(tx.Bucket(bucketChunks).Get(key)); return nil }))
	_, _, err := s.Spend(testPool, id, 0, 2, [32]byte{1})
	must(t, err)
	must(t, s.update(func(tx *bolt.Tx) error { return tx.Bucket(bucketChunks).Put(key, old) }))
	_, _, err = s.Spend(testPool, id, 0, 2, [32]byte{2})
	wantErr(t, err, ErrDamaged)
}

// Tuples of a restored disk wait for the marks that others hold. Discarding
// some of them meanwhile, which a peer can bring about, does not carry the
// generation to those marks.
func TestDiscardingWhileTuplesWait(t *testing.T) {
	for _, defended := range []bool{true, false} {
		e := surround(t)
		s := e.create(t)
		ids := []ChunkID{chunkID("a"), chunkID("b"), chunkID("c"), chunkID("d")}
		for _, id := range ids {
			must(t, s.AddChunk(testPool, id, 4, []byte("blob")))
		}
		must(t, s.Close())
		old, err := os.ReadFile(e.path())
		must(t, err)
		s = e.open(t)
		_, _, err = s.Spend(testPool, ids[0], 0, 1, [32]byte{1})
		must(t, err)
		_, seen, err := s.Spend(testPool, ids[0], 1, 1, [32]byte{2})
		must(t, err)
		must(t, s.Close())

		must(t, os.WriteFile(e.path(), old, 0o600))
		e.opt.BootID = "boot-2"
		s = e.open(t)
		s.raiseWaiting = !defended
		if _, yes := s.Suspended(); !yes {
			t.Fatal("not suspended")
		}
		for _, id := range ids[1:] {
			must(t, s.DiscardChunk(testPool, id, "a peer says so"))
		}
		err = s.Confirm(1, []PeerMark{{Operator: "b", Generation: seen}})
		if !defended {
			if _, _, spend := s.Spend(testPool, ids[0], 0, 1, [32]byte{3}); err != nil || spend != nil {
				t.Fatalf("without the defence the attack should succeed: %v, %v", err, spend)
			}
			continue
		}
		wantErr(t, err, ErrRestored)
		if !s.Restored() {
			t.Error("the store does not know that it was restored")
		}
		if len(s.Pools()) != 0 || s.Generation() <= seen {
			t.Fatalf("not discarded: %v, generation %d, seen %d", s.Pools(), s.Generation(), seen)
		}
	}
}
