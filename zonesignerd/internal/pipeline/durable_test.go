package pipeline

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// State is for its owner alone. What others read has the permissions of the
// file it replaces, or those that the umask leaves.
func TestWriteModes(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0o027))
	for _, c := range []struct {
		name      string
		write     func(string, func(io.Writer) error) error
		old, want os.FileMode // old 0: no file
	}{
		{"state", WriteDurably, 0, 0o600},
		{"state", WriteDurably, 0o644, 0o600},
		{"output", WriteOutput, 0, 0o640},
		{"output", WriteOutput, 0o644, 0o644},
		{"output", WriteOutput, 0o664, 0o664},
		{"output", WriteOutput, 0o600, 0o600},
	} {
		path := filepath.Join(t.TempDir(), "f")
		if c.old != 0 {
			if err := errors.Join(os.WriteFile(path, nil, 0o600), os.Chmod(path, c.old)); err != nil {
				t.Fatal(err)
			}
		}
		if err := c.write(path, func(w io.Writer) error { _, err := io.WriteString(w, "new"); return err }); err != nil {
			t.Fatal(err)
		}
		if info, err := os.Stat(path); err != nil || info.Mode() != c.want || info.Size() != 3 {
			t.Errorf("%s in place of %v: %v, %v, want %v", c.name, c.old, info.Mode(), err, c.want)
		}
	}
}

// A file that could not be written leaves the old one, and nothing beside it.
func TestWriteFails(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	if err := os.WriteFile(path, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	failed := errors.New("no more")
	if err := WriteOutput(path, func(io.Writer) error { return failed }); !errors.Is(err, failed) {
		t.Error(err)
	}
	files, err := os.ReadDir(dir)
	if text, rerr := os.ReadFile(path); err != nil || rerr != nil || len(files) != 1 || string(text) != "old" {
		t.Errorf("%q, %v: %v, %v", text, files, err, rerr)
	}
}
