package knot_test

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"zonesigner/knot"
	"zonesigner/knot/knottest"
)

func TestControlSource(t *testing.T) {
	s := knottest.Start(t, knottest.Config{Zones: []knottest.Zone{{Name: example, Text: hiddenZone(1, 2)}, {Name: "empty."}}})
	s.WaitSerial(example, 1)
	ctl := s.Control()
	var src knot.Source = knot.NewControlSource(ctl, "Example")
	defer src.Close()
	ctx := ctxOf(t)
	v1, err := src.Poll(ctx)
	if err != nil || v1.Serial != 1 {
		t.Fatalf("%+v, %v", v1, err)
	}
	c, err := src.Read(ctx)
	if err != nil || c.Version != v1 || len(c.Records) != 8 {
		t.Fatalf("%+v, %v", c, err)
	}
	s.WriteZone(example, hiddenZone(2, 2))
	s.Reload(example)
	s.WaitSerial(example, 2)
	if v2, err := src.Poll(ctx); err != nil || v2 == v1 || v2.Serial != 2 {
		t.Fatalf("%+v, %v", v2, err)
	}
	// Many zones are polled at once.
	all, err := ctl.Zones(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, st := range all {
		v, err := knot.StatusVersion(st)
		if st.Zone == example && (err != nil || v.Serial != 2) || st.Zone == "empty." && !errors.Is(err, knot.ErrZoneEmpty) {
			t.Errorf("%+v: %+v, %v", st, v, err)
		}
	}
	if _, err := knot.NewControlSource(ctl, "nope.").Poll(ctx); !errors.Is(err, knot.ErrZoneUnknown) {
		t.Errorf("unknown zone: %v", err)
	}
	if _, err := knot.NewControlSource(ctl, "nope.").Read(ctx); !errors.Is(err, knot.ErrZoneUnknown) {
		t.Errorf("unknown zone: %v", err)
	}
}

func TestFileSource(t *testing.T) {
	path := filepath.Join(t.TempDir(), "zone")
	var src knot.Source = knot.NewFileSource(path)
	defer src.Close()
	ctx := context.Background()
	if _, err := src.Poll(ctx); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("absent: %v", err)
	}
	old := time.Now().Add(-time.Hour)
	write := func(text string, when time.Time) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, when, when); err != nil {
			t.Fatal(err)
		}
	}
	poll := func() knot.Version {
		t.Helper()
		v, err := src.Poll(ctx)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	write("one", old)
	v1 := poll()
	c, err := src.Read(ctx)
	if err != nil || c.Version != v1 || c.File != path {
		t.Fatalf("%+v, %v", c, err)
	}
	if b, err := io.ReadAll(c.Text); err != nil || string(b) != "one" {
		t.Fatalf("%q, %v", b, err)
	}
	write("one", old.Add(time.Minute)) // touched
	if poll() != v1 {
		t.Error("a touched file is a new version")
	}
	write("two", old.Add(2*time.Minute)) // as long as before
	v2 := poll()
	if v2 == v1 {
		t.Error("a change was not seen")
	}
	// Within the clock's grain: equal length, equal time.
	now := time.Now()
	write("123", now)
	v3 := poll()
	write("456", now)
	if poll() == v3 {
		t.Error("a change right after a reading was not seen")
	}
	// Replaced by rename.
	if err := os.WriteFile(path+".new", []byte("one"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
	if poll() != v1 {
		t.Error("equal content has another version")
	}

	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := src.Read(cancelled); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if _, err := knot.NewFileSource(t.TempDir()).Read(ctx); err == nil {
		t.Error("a folder was read as a file")
	}
}

// A file that is written to after it was hashed is not taken for what was hashed.
func TestFileChangesWhileItIsParsed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "zone")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	src := knot.NewFileSource(path)
	for _, late := range []string{"two", "much longer", ""} {
		write("one")
		c, err := src.Read(ctxOf(t))
		if err != nil {
			t.Fatal(err)
		}
		write(late)
		if b, err := io.ReadAll(c.Text); err == nil || !strings.Contains(err.Error(), "changed while it was read") {
			t.Errorf("%q, %v", b, err)
		}
		if v, err := src.Poll(ctxOf(t)); err != nil || v == c.Version {
			t.Errorf("%+v, %v: the change is not seen", v, err)
		}
		if err := c.Text.(io.Closer).Close(); err != nil {
			t.Error(err)
		}
	}
}

// A zone is polled while it is being read.
func TestFileSourceTogether(t *testing.T) {
	path := filepath.Join(t.TempDir(), "zone")
	src := knot.NewFileSource(path)
	write := func(text string) {
		if err := os.WriteFile(path+".new", []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
	}
	write("first")
	ctx := ctxOf(t)
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for range 200 {
				if _, err := src.Poll(ctx); err != nil {
					t.Error(err)
				}
			}
		})
		wg.Go(func() {
			for range 200 {
				if _, err := src.Read(ctx); err != nil {
					t.Error(err)
				}
			}
		})
	}
	write("second")
	wg.Wait()
	c, err := src.Read(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if v, err := src.Poll(ctx); err != nil || v != c.Version {
		t.Fatalf("%+v, %v, expected %+v", v, err, c.Version)
	}
}
