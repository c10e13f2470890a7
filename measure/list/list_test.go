package list

import (
	"archive/zip"
	"bytes"
	"compress/gzip"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// readAll reads content as a list of its own.
func readAll(t *testing.T, content []byte) ([]Entry, []Fault, Info, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "list")
	if err := os.WriteFile(path, content, 0o644); err != nil {
		t.Fatal(err)
	}
	var entries []Entry
	var faults []Fault
	info, err := Read(path, func(e Entry) error { entries = append(entries, e); return nil }, func(f Fault) { faults = append(faults, f) })
	return entries, faults, info, err
}

func zipped(t *testing.T, name, content string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, n := range []string{"README.md", name} {
		w, err := z.Create(n)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(w, content)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func gzipped(t *testing.T, content string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	fmt.Fprint(z, content)
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestFormats(t *testing.T) {
	ranked := "1,example.com\r\n2,Example.ORG.\r\n3,bücher.example\n"
	want := []Entry{{1, "example.com"}, {2, "example.org"}, {3, "xn--bcher-kva.example"}}
	for name, c := range map[string]struct {
		content []byte
		format  string
		member  string
	}{
		"alexa":          {[]byte(ranked), "rank,domain", ""},
		"byte order":     {[]byte("\ufeff" + ranked), "rank,domain", ""},
		"gzip":           {gzipped(t, ranked), "rank,domain", ""},
		"zip":            {zipped(t, "top-1m.csv", ranked), "rank,domain", "top-1m.csv"},
		"majestic":       {[]byte("GlobalRank,TldRank,Domain,TLD,RefSubNets\n1,1,example.com,com,5\n2,1,example.org,org,4\n3,9,xn--bcher-kva.example,example,3\n"), "columns", ""},
		"quoted columns": {[]byte("\"rank\",\"domain\"\n\"1\",\"example.com\"\n2,\"example.org\"\n3,bücher.example"), "columns", ""},
		"names":          {[]byte("example.com\nEXAMPLE.org\nBÜCHER.example\n"), "names", ""},
	} {
		t.Run(name, func(t *testing.T) {
			got, faults, info, err := readAll(t, c.content)
			if err != nil || len(faults) > 0 {
				t.Fatal(err, faults)
			}
			if !slices.Equal(got, want) {
				t.Errorf("read %v, want %v", got, want)
			}
			if info.Format != c.format || info.Member != c.member || info.Domains != 3 || len(info.SHA256) != 64 || info.Modified.IsZero() {
				t.Errorf("info %+v", info)
			}
		})
	}
}

// TestGarbageFirst has lines before the first domain that are of no list, or of
// another format: the lines that follow tell the format.
func TestGarbageFirst(t *testing.T) {
	for name, c := range map[string]struct {
		content string
		format  string
		faults  int
		want    []Entry
	}{
		"ranked":         {"<html>\nnot.a.list\n1,example.com\n2,example.org\n", "rank,domain", 2, []Entry{{1, "example.com"}, {2, "example.org"}}},
		"names":          {"7,generated.example\nexample.com\n!\nexample.org\n", "names", 2, []Entry{{2, "example.com"}, {4, "example.org"}}},
		"columns":        {"made by hand\nrank,domain\n1,example.com\n", "columns", 1, []Entry{{1, "example.com"}}},
		"comments":       {"# names\n\nexample.com\n# more\nexample.org\n", "names", 0, []Entry{{1, "example.com"}, {2, "example.org"}}},
		"much of it":     {strings.Repeat("<p>\n", 500) + "1,example.com\n", "rank,domain", 500, []Entry{{1, "example.com"}}},
		"many of it all": {strings.Repeat("<p>\n", 3000) + "1,example.com\n", "rank,domain", 3000, []Entry{{1, "example.com"}}},
	} {
		got, faults, info, err := readAll(t, []byte(c.content))
		if err != nil || info.Format != c.format || len(faults) != c.faults || !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, %s, %d faults, %v", name, err, info.Format, len(faults), got)
		}
	}
}

// TestFaults wants every bad line named by its number, and the rest read.
func TestFaults(t *testing.T) {
	long := strings.Repeat("a", 64)
	lines := []string{
		"1,example.com",
		"two,example.net",       // 2
		"3",                     // 3
		"4,192.0.2.1",           // 4
		"5,http://example.org/", // 5
		"6,*.example.org",       // 6
		"7," + long + ".org",    // 7
		"8,a..org",              // 8
		"-9,example.org",        // 9
		"10,Example.Com",        // 10, twice
		"# a comment",
		"",
		"13," + strings.Repeat("x", MaxLine), // 13
		"14,2001:db8::1",                     // 14
		"15," + strings.Repeat("\xff", 2000), // 15
		"16,example.org",
	}
	got, faults, info, err := readAll(t, []byte(strings.Join(lines, "\n")))
	if err != nil {
		t.Fatal(err)
	}
	if want := []Entry{{1, "example.com"}, {16, "example.org"}}; !slices.Equal(got, want) {
		t.Errorf("read %v, want %v", got, want)
	}
	var at []int
	for _, f := range faults {
		at = append(at, f.Line)
	}
	if want := []int{2, 3, 4, 5, 6, 7, 8, 9, 10, 13, 14, 15}; !slices.Equal(at, want) {
		t.Errorf("faults at %v, want %v: %v", at, want, faults)
	}
	for _, f := range faults {
		if len(f.String()) > 400 {
			t.Errorf("a line of %d bytes is told in %d", MaxLine, len(f.String()))
		}
	}
	if info.Faults[Malformed] != 11 || info.Faults[Duplicate] != 1 {
		t.Errorf("counted %v", info.Faults)
	}
}

// TestDamagedArchive breaks an archive off: what came before it counts.
func TestDamagedArchive(t *testing.T) {
	var b strings.Builder
	for i := range 20000 {
		fmt.Fprintf(&b, "%d,%x.example\n", i+1, uint32(i)*2654435761)
	}
	whole := gzipped(t, b.String())
	got, faults, info, err := readAll(t, whole[:len(whole)/2])
	if err != nil {
		t.Fatal(err)
	}
	if len(got) < 1000 || len(got) >= 20000 || len(faults) != 1 || faults[0].Kind != Damaged || info.Faults[Damaged] != 1 {
		t.Errorf("%d entries, faults %v", len(got), faults)
	}
	for name, content := range map[string][]byte{
		"no gzip at all": {0x1f, 0x8b, 9, 9, 9},
		"no zip at all":  []byte("PK\x03\x04 and then nothing"),
		"no list in it":  zipped(t, "list.exe", "1,example.com"),
		"empty":          nil,
		"no domain":      []byte("1,2,3\n"),
	} {
		if _, _, _, err := readAll(t, content); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestUnicode(t *testing.T) {
	for name, want := range map[string]string{"xn--bcher-kva.example": "bücher.example", "example.com": "", "xn--a.example": ""} {
		if got := Unicode(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
}

// FuzzScan wants names that can be looked up from any content, and each once.
func FuzzScan(f *testing.F) {
	f.Add("1,example.com\n2,bücher.example\n")
	f.Add("GlobalRank,TldRank,Domain\n1,1,a.b\n")
	f.Add("example.com\n*.x\n")
	f.Fuzz(func(t *testing.T, content string) {
		info := Info{Faults: map[Kind]int{}}
		seen := map[string]bool{}
		err := scan(strings.NewReader(content), &info, func(e Entry) error {
			if again, err := Name(e.Name); err != nil || again != e.Name || e.Rank < 1 || seen[e.Name] {
				t.Errorf("%+v: %q, %v", e, again, err)
			}
			seen[e.Name] = true
			return nil
		}, nil)
		if err != nil {
			t.Error(err)
		}
	})
}
