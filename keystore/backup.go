package keystore

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	bolt "go.etcd.io/bbolt"
)

// Backup writes a consistent copy of keys and records to w. It is a keystore
// file, sealed as this one is, without tuples, without the records of spent
// ones, and without the marks of peers: nothing in it can be spent, and who
// restores it vouches for nobody.
func (s *Store) Backup(w io.Writer) error {
	tmp, err := os.CreateTemp(s.dir, "backup-*.tmp")
	if err != nil {
		return fmt.Errorf("backup: %w", err)
	}
	defer os.Remove(tmp.Name())
	defer tmp.Close()
	dst, err := bolt.Open(tmp.Name(), fileMode, boltOptions())
	if err != nil {
		return fmt.Errorf("backup: %w", err)
	}
	err = s.view(func(src *bolt.Tx) error { return dst.Update(func(tx *bolt.Tx) error { return copyKept(tx, src) }) })
	if err := errors.Join(err, dst.Close()); err != nil {
		return fmt.Errorf("backup: %w", err)
	}
	if _, err := io.Copy(w, tmp); err != nil {
		return fmt.Errorf("backup: %w", err)
	}
	return nil
}

// copyKept copies what a backup holds, and makes the other buckets empty.
func copyKept(dst, src *bolt.Tx) error {
	for _, name := range append([][]byte{bucketMeta}, kept...) {
		b, err := dst.CreateBucket(name)
		if err != nil {
			return err
		}
		if err := copyBucket(b, src.Bucket(name)); err != nil {
			return err
		}
	}
	for _, name := range dropped {
		if _, err := dst.CreateBucket(name); err != nil {
			return err
		}
	}
	return nil
}

func copyBucket(dst, src *bolt.Bucket) error {
	return src.ForEach(func(k, v []byte) error {
		if v != nil {
			return dst.Put(k, bytes.Clone(v))
		}
		child, err := dst.CreateBucket(k)
		if err != nil {
			return err
		}
		return copyBucket(child, src.Bucket(k))
	})
}

// Restore makes a store in dir from a backup; an existing one is never touched
// (ErrExists). The sealing key must be the backup's. The backup's generation
// is replaced by a fresh one, above all marks that others hold of this
// operator. Tuples in the file, if someone kept a raw copy as a backup, are
// left out.
func Restore(dir string, backup io.Reader, opt Options) (*Store, error) {
	path := filepath.Join(dir, FileName)
	fail := func(err error) (*Store, error) { return nil, fmt.Errorf("restore %s: %w", path, err) }
	if err := checkDir(dir, true); err != nil {
		return fail(err)
	}
	if _, err := os.Lstat(path); err == nil {
		return fail(ErrExists)
	}
	tmp, err := os.CreateTemp(dir, "restore-*.tmp")
	if err != nil {
		return fail(err)
	}
	defer os.Remove(tmp.Name())
	if _, err := io.Copy(tmp, backup); err != nil {
		return fail(errors.Join(err, tmp.Close()))
	}
	if err := tmp.Close(); err != nil {
		return fail(err)
	}
	src, _, err := openChecked(tmp.Name())
	if err != nil {
		return fail(err)
	}
	defer src.Close()
	err = build(path, func(dst *bolt.DB) error {
		return guard(func() error {
			return src.View(func(from *bolt.Tx) error {
				return dst.Update(func(to *bolt.Tx) error { return restore(to, from, opt.Seal) })
			})
		})
	})
	if err != nil {
		return fail(err)
	}
	return Open(dir, opt)
}

func restore(dst, src *bolt.Tx, seal Source) error {
	meta, err := readMeta(src)
	if err != nil {
		return err
	}
	dataKey, err := unwrap(seal, meta.seal)
	if err != nil {
		return err
	}
	defer clear(dataKey)
	b, err := newBox(dataKey)
	if err != nil {
		return err
	}
	if err := copyKept(dst, src); err != nil {
		return err
	}
	st, err := getState(src, b)
	if err != nil {
		return err
	}
	if err := st.raise(birth(time.Now())); err != nil {
		return err
	}
	return putState(dst, b, state{generation: st.generation}) // and no chunks
}
