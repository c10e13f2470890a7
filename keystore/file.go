package keystore

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	bolt "go.etcd.io/bbolt"
	"golang.org/x/sys/unix"
)

// lockWait is how long Open waits for another process to let go.
const lockWait = 500 * time.Millisecond

// boltOptions: the free list is rebuilt from the tree at every start instead
// of being stored. It has no checksum, and after a pool was used up it would be
// the largest part of every commit.
func boltOptions() *bolt.Options {
	return &bolt.Options{Timeout: lockWait, NoFreelistSync: true, FreelistType: bolt.FreelistMapType, NoStatistics: true}
}

// checkDir makes sure that only the owner can look into dir.
func checkDir(dir string, create bool) error {
	if create {
		if err := os.MkdirAll(dir, dirMode); err != nil {
			return err
		}
	}
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w: %w", ErrNoStore, err)
	case err != nil:
		return err
	case !info.IsDir():
		return fmt.Errorf("%s is not a directory", dir)
	case info.Mode().Perm()&0o077 != 0:
		return fmt.Errorf("%w: directory %s has mode %04o, expected 0700", ErrPermissions, dir, info.Mode().Perm())
	}
	return nil
}

// openChecked opens the database for writing, after verify has walked through
// all of it: the database library trusts its file. The file comes with it, as
// closing that releases the lock even where the library is stuck.
func openChecked(path string) (db *bolt.DB, file *os.File, err error) {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		if newer, _ := filepath.Glob(filepath.Join(filepath.Dir(path), "keystore.v*.db")); len(newer) > 0 {
			return nil, nil, fmt.Errorf("%w: found %s", ErrNewer, filepath.Base(newer[0]))
		}
		return nil, nil, ErrNoStore
	}
	switch {
	case err != nil:
		return nil, nil, err
	case !info.Mode().IsRegular():
		return nil, nil, errors.New("not a regular file")
	case info.Mode().Perm()&0o077 != 0:
		return nil, nil, fmt.Errorf("%w: it has mode %04o, expected 0600", ErrPermissions, info.Mode().Perm())
	case info.Size() == 0:
		return nil, nil, fmt.Errorf("%w: it is empty", ErrDamaged)
	}
	if file, err = lock(path); err != nil {
		return nil, nil, err
	}
	if err := guard(func() error { return verify(file) }); err != nil {
		return nil, nil, errors.Join(err, file.Close())
	}
	opt := boltOptions()
	opt.OpenFile = func(string, int, os.FileMode) (*os.File, error) { return file, nil }
	err = guard(func() error {
		db, err = bolt.Open(path, fileMode, opt)
		return err
	})
	if err != nil {
		return nil, nil, errors.Join(err, release(file))
	}
	return db, file, nil
}

// lock opens the file for writing and takes the lock that the database library
// takes too (on the same descriptor, so both are one).
func lock(path string) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	for start := time.Now(); ; time.Sleep(lockWait / 10) {
		err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		switch {
		case err == nil:
			return file, nil
		case !errors.Is(err, unix.EWOULDBLOCK):
			return nil, errors.Join(fmt.Errorf("lock: %w", err), file.Close())
		case time.Since(start) > lockWait:
			err = ErrLocked
			if pid := lockHolder(path); pid > 0 {
				err = fmt.Errorf("%w: process %d has it open", ErrLocked, pid)
			}
			return nil, errors.Join(err, file.Close())
		}
	}
}

// guard runs fn and turns the database library's panics, and faults on pages
// that the file does not have, into ErrDamaged.
func guard(fn func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%w: %v", ErrDamaged, r)
		}
	}()
	return fn()
}

// release lets go of a file that the database library did not close. Closing
// alone would leave the lock as long as the library's mapping of the file.
func release(file *os.File) error {
	if fd := file.Fd(); fd != ^uintptr(0) { // not closed yet
		unix.Flock(int(fd), unix.LOCK_UN)
		return file.Close()
	}
	return nil
}

// lockHolder looks the file's lock up in /proc/locks (proc(5)); 0 when it
// cannot tell.
func lockHolder(path string) int {
	var st unix.Stat_t
	if unix.Stat(path, &st) != nil {
		return 0
	}
	locks, err := os.ReadFile("/proc/locks")
	if err != nil {
		return 0
	}
	// "1: FLOCK  ADVISORY  WRITE 709 fe:00:1835033 0 EOF"
	inode := ":" + strconv.FormatUint(st.Ino, 10)
	for line := range strings.Lines(string(locks)) {
		f := strings.Fields(line)
		if len(f) >= 6 && f[1] == "FLOCK" && strings.HasSuffix(f[5], inode) {
			if pid, err := strconv.Atoi(f[4]); err == nil {
				return pid
			}
		}
	}
	return 0
}

// outOfSpace reports failures that leave the file as it was and may pass.
func outOfSpace(err error) bool {
	for _, e := range []error{unix.ENOSPC, unix.EDQUOT, unix.EFBIG} {
		// The database library drops the wrapping when it grows the file.
		if errors.Is(err, e) || strings.Contains(err.Error(), e.Error()) {
			return true
		}
	}
	return false
}

// wipe overwrites every free page with zeros, so that what was deleted is gone
// from the file and not just from its index. What a file system or a disk
// keeps beside the file is beyond its reach. s.write is held.
func (s *Store) wipe() error {
	f, err := os.OpenFile(s.path, os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("deleted, but not wiped: %w", err)
	}
	defer f.Close()
	// With no reader left, pages freed by the transaction before this one are
	// free for good when this one begins; nothing is allocated before they are
	// overwritten.
	s.readers.Lock()
	defer s.readers.Unlock()
	err = s.update(func(tx *bolt.Tx) error {
		size := s.db.Info().PageSize
		page, zero := make([]byte, size), make([]byte, size)
		for id := 2; ; id++ {
			info, err := tx.Page(id)
			if err != nil {
				return err
			}
			if info == nil {
				return f.Sync()
			}
			if info.Type != "free" {
				id += info.OverflowCount
				continue
			}
			if _, err := f.ReadAt(page, int64(id)*int64(size)); err != nil {
				return err
			}
			if bytes.Equal(page, zero) {
				continue
			}
			if _, err := f.WriteAt(zero, int64(id)*int64(size)); err != nil {
				return err
			}
		}
	})
	if err != nil {
		return fmt.Errorf("deleted, but not wiped: %w", err)
	}
	return nil
}

// mostRead is how many bytes of blobs are read before their pages are given
// back. What the library maps of its file counts as memory of the process once it
// is read, and a pool is as large as the zone that it is for.
const mostRead = 16 << 20

// giveBack lets the system take back what was read of the mapped file; it stays
// in its cache. s.write is held, but at the start. A transaction is open meanwhile, so that the
// mapping stays where it is.
func (s *Store) giveBack() {
	s.read = 0
	_ = s.view(func(tx *bolt.Tx) error {
		//nolint:errcheck // no harm where it does not: the pages stay
		unix.Syscall(unix.SYS_MADVISE, tx.DB().Info().Data, uintptr(tx.Size()), unix.MADV_DONTNEED)
		return nil
	})
}
