package pipeline

import (
	"bufio"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// ErrUnsynced says that a file is written and has its name, but that a crash of
// the machine may undo it.
var ErrUnsynced = errors.New("it is there, and may not outlive a crash")

// WriteDurably writes a file that is either there in full or not at all, and
// that no other user may read.
func WriteDurably(path string, write func(io.Writer) error) error {
	return writeDurably(path, 0o600, false, write)
}

// WriteOutput is WriteDurably for what others read: people and name servers. A
// file that is replaced leaves its permissions to the new one; without one they
// are 0644 less the umask.
func WriteOutput(path string, write func(io.Writer) error) error {
	return writeDurably(path, 0o644, true, write)
}

func writeDurably(path string, mode os.FileMode, keepMode bool, write func(io.Writer) error) (err error) {
	tmp, err := os.OpenFile(filepath.Join(filepath.Dir(path), ".new-"+rand.Text()), os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("write %s: %w", filepath.Base(path), err)
			_ = os.Remove(tmp.Name())
		}
	}()
	if keepMode {
		if old, serr := os.Stat(path); serr == nil {
			err = tmp.Chmod(old.Mode().Perm())
		}
	}
	if err == nil {
		err = fill(tmp, write)
	}
	if cerr := tmp.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	if err = os.Rename(tmp.Name(), path); err != nil {
		return err
	}
	if err = syncDir(filepath.Dir(path)); err != nil {
		return fmt.Errorf("%w: %w", ErrUnsynced, err)
	}
	return nil
}

// fill writes a file's content as far as the disk.
func fill(f *os.File, write func(io.Writer) error) error {
	w := bufio.NewWriterSize(f, 1<<20)
	if err := write(w); err != nil {
		return err
	}
	if err := w.Flush(); err != nil {
		return err
	}
	return f.Sync()
}

func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}
