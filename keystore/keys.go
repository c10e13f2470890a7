package keystore

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"time"

	bolt "go.etcd.io/bbolt"
)

// State is where a key is in its life, by the names that Knot DNS uses.
type State string

// The states, in order of a key's life.
const (
	PreActive    State = "pre-active" // signs before it is published: of a new algorithm
	Published    State = "published"
	Ready        State = "ready"
	Active       State = "active"
	RetireActive State = "retire-active"
	Retired      State = "retired"
	PostActive   State = "post-active" // signs when it is published no more: of an old algorithm
	Removed      State = "removed"
)

func (s State) check() error {
	switch s {
	case PreActive, Published, Ready, Active, RetireActive, Retired, PostActive, Removed:
		return nil
	}
	return fmt.Errorf("%w: %q, expected pre-active, published, ready, active, retire-active, retired, post-active or removed", ErrState, string(s))
}

// Secret is a share of a key, opaque here. It prints nothing of itself.
type Secret []byte

// Format writes the length alone, for every verb.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.redacted()) }

// LogValue is what slog prints.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.redacted()) }

// MarshalJSON keeps a secret out of JSON.
func (s Secret) MarshalJSON() ([]byte, error) { return json.Marshal(s.redacted()) }

func (s Secret) redacted() string { return fmt.Sprintf("[secret of %d bytes]", len(s)) }

// KeyRecord is one shared key, as this operator holds it.
type KeyRecord struct {
	ID      string            `json:"id"`
	Zone    string            `json:"zone"`
	Role    string            `json:"role"`
	Engine  string            `json:"engine"`
	Public  []byte            `json:"public"`
	State   State             `json:"state"`
	Created time.Time         `json:"created"`
	Meta    map[string]string `json:"meta,omitempty"`

	// Secret is this operator's share, sealed in a place of its own. Keys
	// leaves it out.
	Secret Secret `json:"-"`
}

// PutKey stores a key, in place of one with the same id.
func (t *Tx) PutKey(k KeyRecord) error {
	if k.ID == "" {
		return fmt.Errorf("put key: the id is empty")
	}
	if len(k.Secret) == 0 {
		return fmt.Errorf("put key %s: the secret is empty", k.ID)
	}
	if err := t.putPublic(k); err != nil {
		return err
	}
	id := []byte(k.ID)
	if err := t.tx.Bucket(bucketSecrets).Put(id, t.s.box.seal(k.Secret, id, bucketSecrets)); err != nil {
		return fmt.Errorf("put key %s: %w", k.ID, err)
	}
	return nil
}

func (t *Tx) putPublic(k KeyRecord) error {
	if err := k.State.check(); err != nil {
		return fmt.Errorf("key %s: %w", k.ID, err)
	}
	text, err := json.Marshal(k)
	if err != nil {
		return fmt.Errorf("put key %s: %w", k.ID, err)
	}
	if err := t.tx.Bucket(bucketKeys).Put([]byte(k.ID), t.s.box.seal(text, []byte(k.ID), bucketKeys)); err != nil {
		return fmt.Errorf("put key %s: %w", k.ID, err)
	}
	return nil
}

// Key returns the key with its secret, or ErrNotFound.
func (t *Tx) Key(id string) (KeyRecord, error) {
	k, err := t.publicKey(id)
	if err != nil {
		return KeyRecord{}, err
	}
	sealed := t.tx.Bucket(bucketSecrets).Get([]byte(id))
	if sealed == nil {
		return KeyRecord{}, fmt.Errorf("key %s: %w: its secret is missing", id, ErrDamaged)
	}
	if k.Secret, err = t.s.box.open(sealed, []byte(id), bucketSecrets); err != nil {
		return KeyRecord{}, err
	}
	return k, nil
}

func (t *Tx) publicKey(id string) (KeyRecord, error) {
	sealed := t.tx.Bucket(bucketKeys).Get([]byte(id))
	if sealed == nil {
		return KeyRecord{}, fmt.Errorf("key %s: %w", id, ErrNotFound)
	}
	text, err := t.s.box.open(sealed, []byte(id), bucketKeys)
	if err != nil {
		return KeyRecord{}, err
	}
	var k KeyRecord
	if err := json.Unmarshal(text, &k); err != nil {
		return KeyRecord{}, fmt.Errorf("key %s: %w: %w", id, ErrDamaged, err)
	}
	return k, nil
}

// Keys returns all keys in order of their ids, without their secrets.
func (t *Tx) Keys() ([]KeyRecord, error) {
	var keys []KeyRecord
	err := t.tx.Bucket(bucketKeys).ForEach(func(id, _ []byte) error {
		k, err := t.publicKey(string(id))
		keys = append(keys, k)
		return err
	})
	if err != nil {
		return nil, err
	}
	return keys, nil
}

// SetKeyState changes the states of several keys at once: all of them, or
// none when one is unknown or a state is not one.
func (t *Tx) SetKeyState(states map[string]State) error {
	for id, state := range states {
		k, err := t.publicKey(id)
		if err != nil {
			return err
		}
		k.State = state
		if err := t.putPublic(k); err != nil {
			return err
		}
	}
	return nil
}

// PutKey is Tx.PutKey in a transaction of its own. A secret that it replaces is
// wiped from the file.
func (s *Store) PutKey(k KeyRecord) error {
	s.write.Lock()
	defer s.write.Unlock()
	replaced := false
	err := s.update(func(tx *bolt.Tx) error {
		t := &Tx{s, tx}
		if old, err := t.Key(k.ID); err == nil {
			replaced = !bytes.Equal(old.Secret, k.Secret)
		}
		return t.PutKey(k)
	})
	if err != nil || !replaced {
		return err
	}
	return s.wipe()
}

// Key is Tx.Key.
func (s *Store) Key(id string) (k KeyRecord, err error) {
	err = s.View(func(t *Tx) error { k, err = t.Key(id); return err })
	return k, err
}

// Keys is Tx.Keys.
func (s *Store) Keys() (keys []KeyRecord, err error) {
	err = s.View(func(t *Tx) error { keys, err = t.Keys(); return err })
	return keys, err
}

// SetKeyState is Tx.SetKeyState in a transaction of its own.
func (s *Store) SetKeyState(states map[string]State) error {
	return s.Update(func(t *Tx) error { return t.SetKeyState(states) })
}

// DeleteKey removes a key with its secret. What it leaves in the file waits for
// the next Wipe. The key's tuples are the caller's to discard (DiscardPool).
func (t *Tx) DeleteKey(id string) error {
	if t.tx.Bucket(bucketKeys).Get([]byte(id)) == nil {
		return fmt.Errorf("key %s: %w", id, ErrNotFound)
	}
	if err := t.tx.Bucket(bucketKeys).Delete([]byte(id)); err != nil {
		return err
	}
	return t.tx.Bucket(bucketSecrets).Delete([]byte(id))
}

// DeleteKey is Tx.DeleteKey in a transaction of its own, and wipes key and
// secret from the file.
func (s *Store) DeleteKey(id string) error {
	s.write.Lock()
	defer s.write.Unlock()
	err := s.update(func(tx *bolt.Tx) error { return (&Tx{s, tx}).DeleteKey(id) })
	if err != nil {
		return err
	}
	return s.wipe()
}

// Wipe overwrites what deleted values left in the file. DeleteKey, PutKey,
// Reseal and the Discard functions do it themselves; spent tuples and keys
// replaced or deleted inside Update wait for the next Wipe, or for new data in
// their place.
func (s *Store) Wipe() error {
	s.write.Lock()
	defer s.write.Unlock()
	return s.wipe()
}

// Reseal wraps the data key with the key of another source, and wipes the old
// wrapping. Copies of the file made before still open with the old key.
func (s *Store) Reseal(src Source) error {
	s.write.Lock()
	defer s.write.Unlock()
	err := s.update(func(tx *bolt.Tx) error {
		meta := tx.Bucket(bucketMeta)
		dataKey, err := unwrap(s.opt.Seal, meta.Get(metaSeal))
		if err != nil {
			return fmt.Errorf("reseal: the present key: %w", err)
		}
		defer clear(dataKey)
		wrapped, err := wrap(src, dataKey)
		if err != nil {
			return fmt.Errorf("reseal: the new key: %w", err)
		}
		return meta.Put(metaSeal, wrapped)
	})
	if err != nil {
		return err
	}
	s.opt.Seal = src
	return s.wipe()
}
