package run

import (
	"bufio"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"zonesigner/measure/list"
	"zonesigner/measure/resolve"
)

// Meta is what is recorded of a run.
type Meta struct {
	Format   int            `json:"format"` // 1
	List     list.Info      `json:"list"`
	Started  time.Time      `json:"started"`
	Finished time.Time      `json:"finished,omitzero"`
	Settings Settings       `json:"settings"`
	Sessions []Session      `json:"sessions"` // from start to end, or to a stop or kill
	Faults   map[string]int `json:"faults,omitempty"`
}

// Settings are what the results depend on. A run keeps them to its end.
type Settings struct {
	Resolvers []string      `json:"resolvers,omitempty"` // none: iteratively, from the root
	Roots     []string      `json:"roots,omitempty"`     // none: those of IANA
	Timeout   time.Duration `json:"timeout_ns"`
	Try       time.Duration `json:"try_ns"`
	NoIPv6    bool          `json:"no_ipv6,omitempty"`
	Port      uint16        `json:"port"`
	Private   bool          `json:"private,omitempty"` // addresses that are not of the Internet are asked, too
	Suffixes  string        `json:"suffixes"`          // version of the public suffix list
	Aliases   string        `json:"aliases"`           // versions of the tables of aliases
	WhoisTop  int           `json:"whois_top,omitempty"`
	Whois     string        `json:"whois,omitempty"`
}

// Session is one start of the program for a run.
type Session struct {
	Program      string         `json:"program"`
	Started      time.Time      `json:"started"`
	Ended        time.Time      `json:"ended,omitzero"` // zero after a kill
	Done         int            `json:"done"`           // domains before it
	Concurrency  int            `json:"concurrency"`
	Rate         float64        `json:"rate"` // limits; 0 is the default, and below it none
	ServerRate   float64        `json:"server_rate"`
	ResolverRate float64        `json:"resolver_rate"`
	WhoisRate    float64        `json:"whois_rate,omitempty"`
	Queries      *resolve.Stats `json:"queries,omitempty"`
}

// LoadMeta reads what is recorded of the run in dir.
func LoadMeta(dir string) (*Meta, error) {
	b, err := os.ReadFile(filepath.Join(dir, metaFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s holds no run: %w", dir, err)
	} else if err != nil {
		return nil, err
	}
	m := new(Meta)
	if err := json.Unmarshal(b, m); err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(dir, metaFile), err)
	}
	if m.Format != 1 {
		return nil, fmt.Errorf("%s: format %d, this version reads 1", filepath.Join(dir, metaFile), m.Format)
	}
	return m, nil
}

// save writes the whole file or leaves the old one.
func (m *Meta) save(dir string) error {
	b, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	return replace(filepath.Join(dir, metaFile), func(w io.Writer) error {
		_, err := w.Write(append(b, '\n'))
		return err
	})
}

// replace writes a file under another name, and gives it its own when it is
// whole and on the disk.
func replace(path string, write func(w io.Writer) error) error {
	f, err := os.Create(path + ".new")
	if err != nil {
		return err
	}
	w := bufio.NewWriter(f)
	err = write(w)
	if err == nil {
		err = w.Flush()
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		_ = os.Remove(path + ".new") // it is of no use
	}
	return err
}

// importList reads the list and keeps a copy of it in dir, by which the run
// goes to its end, whatever becomes of the file.
func importList(dir, path string) (list.Info, error) {
	var info list.Info
	faults, err := os.Create(filepath.Join(dir, faultsFile))
	if err != nil {
		return info, err
	}
	defer faults.Close()
	told := bufio.NewWriter(faults)
	err = replace(filepath.Join(dir, listFile), func(w io.Writer) error {
		z := gzip.NewWriter(w)
		var err error
		count := map[list.Kind]int{}
		info, err = list.Read(path, func(e list.Entry) error {
			_, err := fmt.Fprintf(z, "%d\t%s\n", e.Rank, e.Name)
			return err
		}, func(f list.Fault) {
			if count[f.Kind]++; count[f.Kind] <= maxFaults {
				b, _ := json.Marshal(Fault{Kind: string(f.Kind), Text: f.String()}) // strings can be written
				told.Write(append(b, '\n'))
			}
		})
		return errors.Join(err, z.Close())
	})
	return info, errors.Join(err, told.Flush())
}

// maxFaults bounds the lines of faults.jsonl; all faults are counted.
const maxFaults = 100_000

// Fault is a line of faults.jsonl.
type Fault struct {
	Time time.Time `json:"time,omitzero"`
	Kind string    `json:"kind"`
	Text string    `json:"text"`
}

// readList calls each with the entries of the run's copy, and their numbers.
func readList(dir string, each func(number int, e list.Entry) error) error {
	path := filepath.Join(dir, listFile)
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	lines := bufio.NewScanner(z)
	for n := 0; lines.Scan(); n++ {
		rank, name, ok := strings.Cut(lines.Text(), "\t")
		r, err := strconv.Atoi(rank)
		if !ok || err != nil {
			return fmt.Errorf("%s:%d: want a rank, a tab and a name", path, n+1)
		}
		if err := each(n, list.Entry{Rank: r, Name: name}); err != nil {
			return err
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}
