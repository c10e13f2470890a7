package keystore

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	bolt "go.etcd.io/bbolt"
)

// The environment variables by which a test runs this binary again.
const (
	childMode = "KEYSTORE_TEST_CHILD"
	childDir  = "KEYSTORE_TEST_DIR"
)

func childCommand(mode, dir string) *exec.Cmd {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childMode+"="+mode, childDir+"="+dir)
	cmd.Stderr = os.Stderr
	return cmd
}

func runChild(t *testing.T, mode, dir string) string {
	t.Helper()
	out, err := childCommand(mode, dir).Output()
	if err != nil {
		t.Fatalf("child %s: %v: %s", mode, err, out)
	}
	return string(out)
}

// child is what the binary does in place of tests.
func child(mode string) int {
	var err error
	switch dir := os.Getenv(childDir); mode {
	case "fulldisk":
		if err = fullDisk(dir); err == nil {
			fmt.Println("fine")
		}
	default:
		err = spendForEver(mode, dir)
	}
	if err != nil {
		fmt.Println("error:", err)
		return 1
	}
	return 0
}

func crashOptions(base string) Options {
	return Options{
		Seal: KeyFile(filepath.Join(base, "key")), RunDir: filepath.Join(base, "run"), BootID: "boot",
		Logger: slog.New(slog.DiscardHandler),
	}
}

const crashChunk = 64

// spendForEver adds and spends until it is killed, and says what it did as
// soon as it may: "spent" is printed where a daemon would speak of the tuples.
// In mode "volatile" spendings are never committed, in mode "late" they are
// committed after they were spoken of.
func spendForEver(mode, base string) error {
	s, err := Open(filepath.Join(base, "state"), crashOptions(base))
	if err != nil {
		return err
	}
	for i := 0; ; i++ {
		chunks := s.Chunks(testPool)
		if len(chunks) < 2 {
			id := chunkID(fmt.Sprint(os.Getpid(), i))
			if err := s.AddChunk(testPool, id, crashChunk, bytes.Repeat(id[:], 500)); err != nil {
				return err
			}
			fmt.Printf("added %x\n", id[:])
			continue
		}
		c := chunks[0]
		from := c.Next
		if rand.IntN(4) == 0 {
			from = min(from+1, c.Count-1) // burns one
		}
		count := min(1+rand.IntN(20), c.Count-from)
		statement := sha256.Sum256([]byte(fmt.Sprint(os.Getpid(), i)))
		line := func(g uint64) string {
			return fmt.Sprintf("spent %x %d %d %x %d\n", c.ID[:], from, count, statement, g)
		}
		switch mode {
		case "volatile":
			s.commit = func(tx *bolt.Tx) error { return tx.Rollback() }
		case "late":
			s.commit = func(tx *bolt.Tx) error {
				fmt.Print(line(s.Generation() + 1))
				return tx.Commit()
			}
		}
		blob, g, err := s.Spend(testPool, c.ID, from, count, statement)
		if err != nil {
			return err
		}
		s.commit = (*bolt.Tx).Commit
		if !bytes.Equal(blob, bytes.Repeat(c.ID[:], 500)) {
			return errors.New("the blob is another one's")
		}
		if mode != "late" {
			fmt.Print(line(g))
		}
	}
}

// witness holds what the killed processes said, as the peers would know it.
type witness struct {
	added      map[ChunkID]bool
	statements map[ChunkID]map[int][32]byte // by tuple
	generation uint64
	spends     int
	tuplesOnly bool // do not look at generations
}

// hear takes one line and reports a broken promise.
func (w *witness) hear(line string) error {
	f := strings.Fields(line)
	switch {
	case len(f) == 2 && f[0] == "added":
		w.added[parseID(f[1])] = true
	case len(f) == 6 && f[0] == "spent":
		id := parseID(f[1])
		from, _ := strconv.Atoi(f[2])
		count, _ := strconv.Atoi(f[3])
		g, _ := strconv.ParseUint(f[5], 10, 64)
		if w.statements[id] == nil {
			w.statements[id] = map[int][32]byte{}
		}
		for i := from; i < from+count; i++ {
			if _, twice := w.statements[id][i]; twice {
				return fmt.Errorf("tuple %d of chunk %s was handed out twice", i, id)
			}
			w.statements[id][i] = parseID(f[4])
		}
		if g <= w.generation && !w.tuplesOnly {
			return fmt.Errorf("the generation went from %d to %d", w.generation, g)
		}
		w.generation = g
		w.spends++
	default:
		return fmt.Errorf("child: %s", line)
	}
	return nil
}

func parseID(text string) (id ChunkID) {
	b, _ := hex.DecodeString(text)
	copy(id[:], b)
	return id
}

// inspect opens the store that a crash left and compares it with what was
// said: at most one spending and one chunk may have gone unsaid.
func (w *witness) inspect(base string) error {
	s, err := Open(filepath.Join(base, "state"), crashOptions(base))
	if err != nil {
		return err
	}
	defer s.Close()
	if why, yes := s.Suspended(); yes {
		return fmt.Errorf("suspended after a crash: %s", why)
	}
	if g := s.Generation(); !w.tuplesOnly && (g < w.generation || g > w.generation+1) {
		return fmt.Errorf("the generation is %d, the last one said was %d", g, w.generation)
	}
	w.generation = s.Generation()
	left := map[ChunkID]Chunk{}
	for _, c := range s.Chunks(testPool) {
		w.added[c.ID] = true
		left[c.ID] = c
	}
	unsaid := 0
	for id := range w.added {
		spent, err := s.Spent(id)
		if err != nil {
			return err
		}
		next, said := 0, w.statements[id]
		if said == nil {
			said = map[int][32]byte{}
			w.statements[id] = said
		}
		for _, r := range spent {
			if r.From < next {
				return fmt.Errorf("chunk %s: records of spending overlap at %d", id, r.From)
			}
			next = r.From + r.Count
			if _, heard := said[r.From]; !heard {
				unsaid++
			}
			for i := r.From; i < next; i++ {
				if st, heard := said[i]; heard && st != r.Statement {
					return fmt.Errorf("tuple %d of chunk %s: recorded for another statement", i, id)
				}
				said[i] = r.Statement
			}
		}
		for i := range said {
			if i >= next {
				return fmt.Errorf("tuple %d of chunk %s was handed out, and no record of it is left", i, id)
			}
		}
		if c, there := left[id]; next < crashChunk && (!there || c.Next != next) {
			return fmt.Errorf("chunk %s has next %d, of which %d were spent: tuples are lost", id, c.Next, next)
		} else if there && next == crashChunk {
			return fmt.Errorf("chunk %s is used up and still there", id)
		}
	}
	if unsaid > 1 {
		return fmt.Errorf("%d spendings in one crash went unsaid", unsaid)
	}
	return nil
}

// crash kills a spending process, times times, at moments that nobody chose,
// and returns the first broken promise.
func crash(t *testing.T, mode string, times int, tuplesOnly bool) (kills int, w *witness, err error) {
	t.Helper()
	base := t.TempDir()
	must(t, NewKeyFile(filepath.Join(base, "key")))
	s, err := Create(filepath.Join(base, "state"), crashOptions(base))
	must(t, err)
	w = &witness{added: map[ChunkID]bool{}, statements: map[ChunkID]map[int][32]byte{}, generation: s.Generation(), tuplesOnly: tuplesOnly}
	must(t, s.Close())
	for kills < times {
		cmd := childCommand(mode, base)
		out, err := cmd.StdoutPipe()
		must(t, err)
		must(t, cmd.Start())
		in := bufio.NewReader(out)
		var broken error
		for n, last := 0, rand.IntN(25); ; n++ {
			line, err := in.ReadString('\n')
			if err != nil {
				if err != io.EOF {
					t.Fatal(err)
				}
				break
			}
			if broken == nil {
				broken = w.hear(line)
			}
			if n == last {
				// The child is somewhere in its next steps by now. Spin for
				// a part of a transaction's time, so that it is anywhere.
				for range rand.IntN(400_000) {
					kills += 0
				}
				must(t, cmd.Process.Kill())
			}
		}
		cmd.Wait()
		kills++
		if broken == nil {
			broken = w.inspect(base)
		}
		if broken != nil {
			return kills, w, broken
		}
	}
	return kills, w, nil
}

func TestKill(t *testing.T) {
	times := 60
	kills, w, err := crash(t, "durable", times, false)
	if err != nil {
		t.Fatalf("after %d kills: %v", kills, err)
	}
	t.Logf("%d kills, %d spendings, %d chunks", kills, w.spends, len(w.added))
	if w.spends < times {
		t.Errorf("%d spendings in %d runs show nothing", w.spends, kills)
	}
}

// The same test notices spendings that are not durable, or durable too late;
// Store.commit is the check taken out.
func TestKillNotices(t *testing.T) {
	for _, mode := range []string{"volatile", "late"} {
		// By tuples handed out twice or without a record, and by the
		// generation that goes back.
		for _, tuplesOnly := range []bool{true, false} {
			kills, _, err := crash(t, mode, 300, tuplesOnly)
			if err == nil {
				t.Fatalf("%s: %d kills went unnoticed", mode, kills)
			}
			t.Logf("%s, after %d kills: %v", mode, kills, err)
		}
	}
}
