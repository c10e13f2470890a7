package keystore

import (
	"bytes"
	"errors"
	"fmt"

	bolt "go.etcd.io/bbolt"
)

// Entry is one record of a listing.
type Entry struct {
	Key   string
	Value []byte
}

// Tx is one transaction over records and keys. It is valid inside the function
// it was given to, which must call no method of the Store itself. All values
// it returns are copies.
type Tx struct {
	s  *Store
	tx *bolt.Tx
}

// Update runs fn in one durable transaction: all of its changes or, when it
// returns an error, none. Other writers wait.
func (s *Store) Update(fn func(*Tx) error) error {
	s.write.Lock()
	defer s.write.Unlock()
	return s.update(func(tx *bolt.Tx) error { return fn(&Tx{s, tx}) })
}

// View runs fn on one consistent state. It does not wait for writers, and fn
// must not write.
func (s *Store) View(fn func(*Tx) error) error {
	return s.view(func(tx *bolt.Tx) error { return fn(&Tx{s, tx}) })
}

// Put stores value, sealed, under key in a bucket of any name. Bucket and key
// are not empty, not sealed, and not secret.
func (t *Tx) Put(bucket, key string, value []byte) error {
	if bucket == "" || key == "" {
		return errors.New("put: bucket and key must not be empty")
	}
	b, err := t.tx.Bucket(bucketRecords).CreateBucketIfNotExists([]byte(bucket))
	if err != nil {
		return fmt.Errorf("put %s/%s: %w", bucket, key, err)
	}
	if err := b.Put([]byte(key), t.s.box.seal(value, []byte(key), bucketRecords, []byte(bucket))); err != nil {
		return fmt.Errorf("put %s/%s: %w", bucket, key, err)
	}
	return nil
}

// Get returns the record, or ErrNotFound.
func (t *Tx) Get(bucket, key string) ([]byte, error) {
	var sealed []byte
	if b := t.tx.Bucket(bucketRecords).Bucket([]byte(bucket)); b != nil {
		sealed = b.Get([]byte(key))
	}
	if sealed == nil {
		return nil, fmt.Errorf("record %s/%s: %w", bucket, key, ErrNotFound)
	}
	return t.s.box.open(sealed, []byte(key), bucketRecords, []byte(bucket))
}

// Delete removes the record; one that is not there is no error.
func (t *Tx) Delete(bucket, key string) error {
	b := t.tx.Bucket(bucketRecords).Bucket([]byte(bucket))
	if b == nil {
		return nil
	}
	return b.Delete([]byte(key))
}

// List returns the records whose keys begin with prefix, in byte order of the
// keys.
func (t *Tx) List(bucket, prefix string) ([]Entry, error) {
	b := t.tx.Bucket(bucketRecords).Bucket([]byte(bucket))
	if b == nil {
		return nil, nil
	}
	var list []Entry
	c := b.Cursor()
	for k, v := c.Seek([]byte(prefix)); k != nil && bytes.HasPrefix(k, []byte(prefix)); k, v = c.Next() {
		value, err := t.s.box.open(v, k, bucketRecords, []byte(bucket))
		if err != nil {
			return nil, err
		}
		list = append(list, Entry{Key: string(k), Value: value})
	}
	return list, nil
}

// Put is Tx.Put in a transaction of its own.
func (s *Store) Put(bucket, key string, value []byte) error {
	return s.Update(func(t *Tx) error { return t.Put(bucket, key, value) })
}

// Get is Tx.Get.
func (s *Store) Get(bucket, key string) (value []byte, err error) {
	err = s.View(func(t *Tx) error { value, err = t.Get(bucket, key); return err })
	return value, err
}

// Delete is Tx.Delete in a transaction of its own.
func (s *Store) Delete(bucket, key string) error {
	return s.Update(func(t *Tx) error { return t.Delete(bucket, key) })
}

// List is Tx.List.
func (s *Store) List(bucket, prefix string) (list []Entry, err error) {
	err = s.View(func(t *Tx) error { list, err = t.List(bucket, prefix); return err })
	return list, err
}
