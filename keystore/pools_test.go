package keystore

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestSpend(t *testing.T) {
	e := surround(t)
	s := e.create(t)
	c := chunkID("c")
	blob := []byte("all of the chunk")
	must(t, s.AddChunk(testPool, c, 10, blob))
	start := s.Generation()
	spend := func(pool PoolID, id ChunkID, from, count int, want error) {
		t.Helper()
		before := s.Generation()
		b, g, err := s.Spend(pool, id, from, count, [32]byte{byte(from)})
		wantErr(t, err, want)
		if want == nil && (!bytes.Equal(b, blob) || g != before+1) || want != nil && (b != nil || s.Generation() != before) {
			t.Fatalf("blob %q, generation %d after %d", b, g, before)
		}
	}
	other := PoolID{Key: testPool.Key, Set: "a+b", Stripe: "a"}
	spend(testPool, chunkID("unknown"), 0, 1, ErrNoChunk)
	spend(other, c, 0, 1, ErrSpent) // known, elsewhere
	spend(testPool, c, -1, 1, ErrRange)
	spend(testPool, c, 0, 0, ErrRange)
	spend(testPool, c, 0, 11, ErrRange)
	spend(testPool, c, 9, math.MaxInt, ErrRange)
	spend(testPool, c, math.MaxInt, 1, ErrRange)
	spend(testPool, c, 2, 3, nil) // burns 0 and 1
	for from, count := range map[int]int{0: 1, 1: 1, 2: 1, 4: 1, 3: 4} {
		spend(testPool, c, from, count, ErrSpent)
	}
	if s.Depth(testPool) != 5 || !slices.Equal(s.Chunks(testPool), []Chunk{{ID: c, Next: 5, Count: 10}}) {
		t.Fatal(s.Chunks(testPool))
	}
	s = reopen(t, e, s)
	spend(testPool, c, 4, 1, ErrSpent)
	spend(testPool, c, 5, 5, nil)
	spend(testPool, c, 9, 1, ErrSpent)
	if len(s.Pools()) != 0 || s.Generation() != start+2 {
		t.Fatal(s.Pools(), s.Generation())
	}
	wantErr(t, s.AddChunk(testPool, c, 10, blob), ErrKnownChunk)
	wantErr(t, s.AddChunk(other, c, 10, blob), ErrKnownChunk)
	if s.AddChunk(testPool, chunkID("d"), 0, blob) == nil || s.AddChunk(testPool, chunkID("d"), 1, nil) == nil {
		t.Fatal("an empty chunk is taken")
	}
	spent, err := s.Spent(c)
	must(t, err)
	if len(spent) != 2 || spent[0].From != 2 || spent[0].Count != 3 || spent[0].Statement != [32]byte{2} ||
		spent[1].From != 5 || spent[1].Generation != start+2 || spent[1].Statement != [32]byte{5} {
		t.Fatal(spent)
	}
}

func TestSpendManyIsOne(t *testing.T) {
	e := surround(t)
	s := e.create(t)
	for _, name := range []string{"c1", "c2"} {
		must(t, s.AddChunk(testPool, chunkID(name), 4, []byte(name)))
	}
	r := func(name string, from, count int) Range { return Range{testPool, chunkID(name), from, count} }
	before := s.Generation()
	_, _, err := s.SpendMany([]Range{r("c1", 0, 4), r("c2", 0, 2), r("c2", 1, 1)}, [32]byte{})
	wantErr(t, err, ErrSpent)
	_, _, err = s.SpendMany(nil, [32]byte{})
	wantErr(t, err, ErrRange)
	if s.Depth(testPool) != 8 || s.Generation() != before {
		t.Fatal("a failed batch spends")
	}
	blobs, g, err := s.SpendMany([]Range{r("c1", 0, 4), r("c2", 0, 2), r("c2", 2, 1)}, [32]byte{})
	must(t, err)
	if string(bytes.Join(blobs, []byte(" "))) != "c1 c2 c2" || g != before+1 || s.Depth(testPool) != 1 {
		t.Fatal(blobs, g, s.Depth(testPool))
	}
}

func TestAddChunksIsOne(t *testing.T) {
	e := surround(t)
	s := e.create(t)
	other := PoolID{Key: "other", Set: "a+b", Stripe: "b"}
	c := func(p PoolID, name string, count int) NewChunk {
		return NewChunk{Pool: p, ID: chunkID(name), Count: count, Blob: []byte(name)}
	}
	must(t, s.AddChunk(testPool, chunkID("c1"), 4, []byte("c1")))
	wantErr(t, s.AddChunks([]NewChunk{c(testPool, "c2", 3), c(other, "c1", 3)}), ErrKnownChunk)
	wantErr(t, s.AddChunks([]NewChunk{c(testPool, "c2", 3), c(other, "c2", 3)}), ErrKnownChunk)
	wantErr(t, s.AddChunks([]NewChunk{c(testPool, "c2", 3), c(other, "c3", 0)}), ErrRange)
	if s.Depth(testPool) != 4 || s.Depth(other) != 0 {
		t.Fatal("a failed batch adds")
	}
	must(t, s.AddChunks([]NewChunk{c(testPool, "c2", 3), c(other, "c3", 5)}))
	must(t, s.Close())
	s = e.open(t)
	if s.Depth(testPool) != 7 || s.Depth(other) != 5 {
		t.Fatal(s.Pools())
	}
}

func TestDiscard(t *testing.T) {
	e := surround(t)
	s := e.create(t)
	second := PoolID{Key: "k", Set: "a+b", Stripe: "b"}
	must(t, s.AddChunk(testPool, chunkID("c1"), 4, []byte("secret blob one")))
	must(t, s.AddChunk(testPool, chunkID("c2"), 4, []byte("secret blob two")))
	must(t, s.AddChunk(second, chunkID("c3"), 4, []byte("secret blob three")))
	g := s.Generation()
	must(t, s.DiscardChunk(testPool, chunkID("c1"), "it failed"))
	if n, err := s.DiscardPool(second, "key is gone"); n != 4 || err != nil {
		t.Fatal(n, err)
	}
	if s.Depth(testPool) != 4 || s.Depth(second) != 0 || s.Generation() <= g {
		t.Fatal(s.Pools())
	}
	s = reopen(t, e, s)
	if n, err := s.DiscardAll("refresh"); n != 4 || err != nil {
		t.Fatal(n, err)
	}
	for name, pool := range map[string]PoolID{"c1": testPool, "c2": testPool, "c3": second} {
		_, _, err := s.Spend(pool, chunkID(name), 0, 1, [32]byte{})
		wantErr(t, err, ErrSpent)
		wantErr(t, s.AddChunk(pool, chunkID(name), 4, []byte("again")), ErrKnownChunk)
	}
	for _, reason := range []string{"it failed", "key is gone", "refresh"} {
		if !strings.Contains(e.log.String(), `level=WARN msg="tuples discarded" tuples=4 chunks=1 reason="`+reason) &&
			!strings.Contains(e.log.String(), `level=WARN msg="tuples discarded" tuples=4 chunks=1 reason=`+reason) {
			t.Errorf("%q is not in the log: %s", reason, e.log)
		}
	}
}

// Records of spending go after their time; ids of chunks never do.
func TestPrune(t *testing.T) {
	e := surround(t)
	e.opt.KeepSpent = time.Hour
	s := e.create(t)
	now := time.Now()
	s.now = func() time.Time { return now }
	spend := func(name string) {
		t.Helper()
		must(t, s.AddChunk(testPool, chunkID(name), 2, []byte(name)))
		for i := range 2 {
			_, _, err := s.Spend(testPool, chunkID(name), i, 1, [32]byte{})
			must(t, err)
		}
	}
	records := func(name string) int {
		list, err := s.Spent(chunkID(name))
		must(t, err)
		return len(list)
	}
	spend("c1")
	now = now.Add(59 * time.Minute)
	spend("c2")
	if records("c1") != 2 {
		t.Fatal("pruned too early")
	}
	now = now.Add(2 * time.Minute)
	spend("c3")
	if records("c1") != 0 || records("c2") != 2 || records("c3") != 2 {
		t.Fatal(records("c1"), records("c2"), records("c3"))
	}
	wantErr(t, s.AddChunk(testPool, chunkID("c1"), 2, []byte("again")), ErrKnownChunk)
}

// thief keeps a copy of the file and puts it back.
type thief struct {
	file, mark []byte
}

func (e surroundings) steal(t *testing.T) (th thief) {
	t.Helper()
	var err error
	th.file, err = os.ReadFile(e.path())
	must(t, err)
	th.mark, err = os.ReadFile(filepath.Join(e.opt.RunDir, runMarkName))
	must(t, err)
	return th
}

func (e surroundings) putBack(t *testing.T, th thief) {
	t.Helper()
	must(t, os.WriteFile(e.path(), th.file, 0o600))
}

// An older copy of the file must not revive spent tuples. Each case ends with
// the attack where the defence is taken out, to see that it was the defence
// that held.
func TestRestoredDisk(t *testing.T) {
	c := chunkID("c")
	setup := func(t *testing.T) (surroundings, thief, uint64) {
		e := surround(t)
		s := e.create(t)
		must(t, s.AddChunk(testPool, c, 10, []byte("blob")))
		must(t, s.Close())
		th := e.steal(t)
		s = e.open(t)
		_, g, err := s.Spend(testPool, c, 0, 5, [32]byte{1})
		must(t, err)
		must(t, s.Close())
		e.putBack(t, th)
		return e, th, g
	}
	gone := func(t *testing.T, e surroundings, s *Store, seen uint64) {
		t.Helper()
		_, _, err := s.Spend(testPool, c, 0, 5, [32]byte{2})
		wantErr(t, err, ErrSpent)
		if _, yes := s.Suspended(); yes || len(s.Pools()) != 0 || s.Generation() <= seen {
			t.Fatal("not discarded", s.Pools(), s.Generation(), seen)
		}
		if !strings.Contains(e.log.String(), "level=ERROR") {
			t.Fatal("it was not said loudly")
		}
		// Ready for new ones.
		must(t, s.AddChunk(testPool, chunkID("new"), 1, []byte("b")))
		_, _, err = s.Spend(testPool, chunkID("new"), 0, 1, [32]byte{})
		must(t, err)
	}
	revived := func(t *testing.T, s *Store) {
		t.Helper()
		if _, _, err := s.Spend(testPool, c, 0, 5, [32]byte{2}); err != nil {
			t.Fatalf("without the defence the attack should succeed: %v", err)
		}
	}

	t.Run("same boot", func(t *testing.T) {
		e, _, g := setup(t)
		gone(t, e, e.open(t), g)
		e, th, _ := setup(t)
		// The defence is the mark outside the store: put that back as well.
		must(t, os.WriteFile(filepath.Join(e.opt.RunDir, runMarkName), th.mark, 0o600))
		revived(t, e.open(t))
	})
	t.Run("after a reboot", func(t *testing.T) {
		e, _, g := setup(t)
		e.opt.BootID = "boot-2"
		s := e.open(t)
		_, _, err := s.Spend(testPool, c, 0, 5, [32]byte{2})
		wantErr(t, err, ErrSuspended)
		// Peer b lies with an old mark, c is honest; n = 3, t = 1.
		lie, truth := PeerMark{Operator: "b", Generation: g - 1}, PeerMark{Operator: "c", Generation: g}
		wantErr(t, s.Confirm(2, []PeerMark{lie}), ErrFewMarks)
		wantErr(t, s.Confirm(2, []PeerMark{lie, lie}), ErrFewMarks)
		wantErr(t, s.Confirm(2, nil), ErrFewMarks)
		wantErr(t, s.Confirm(0, nil), ErrFewMarks)
		_, _, err = s.Spend(testPool, c, 0, 5, [32]byte{2})
		wantErr(t, err, ErrSuspended)
		wantErr(t, s.Confirm(2, []PeerMark{truth, lie}), ErrRestored)
		gone(t, e, s, g)
		s = reopen(t, e, s)
		gone2, _ := s.Suspended()
		if gone2 != "" {
			t.Fatal(gone2)
		}

		e, _, _ = setup(t)
		e.opt.BootID = "boot-2"
		s = e.open(t)
		must(t, s.Confirm(1, []PeerMark{lie})) // the defence is that it takes t+1
		revived(t, s)
	})
	t.Run("one mark ahead is proof", func(t *testing.T) {
		e, _, g := setup(t)
		e.opt.BootID = "boot-2"
		s := e.open(t)
		wantErr(t, s.Confirm(2, []PeerMark{{Operator: "c", Generation: g}}), ErrRestored)
		gone(t, e, s, g)
	})
}

func TestSuspended(t *testing.T) {
	c := chunkID("c")
	setup := func() surroundings {
		e := surround(t)
		s := e.create(t)
		must(t, s.AddChunk(testPool, c, 10, []byte("blob")))
		_, _, err := s.Spend(testPool, c, 0, 1, [32]byte{1})
		must(t, err)
		must(t, s.Close())
		return e
	}
	mark := func(e surroundings) string { return filepath.Join(e.opt.RunDir, runMarkName) }
	cases := map[string]func(e *surroundings){
		"restarted":          func(e *surroundings) { e.opt.BootID = "boot-2" },
		"does not exist":     func(e *surroundings) { must(t, os.Remove(mark(*e))) },
		"not a generation":   func(e *surroundings) { must(t, os.WriteFile(mark(*e), []byte("x"), 0o600)) },
		"another keystore":   func(e *surroundings) { e.opt.RunDir = otherRunDir(t, e.opt) },
		"is configured":      func(e *surroundings) { e.opt.RunDir = "" },
		"not a regular file": func(e *surroundings) { must(t, os.Remove(mark(*e))); must(t, os.Mkdir(mark(*e), 0o700)) },
		"longer than":        func(e *surroundings) { must(t, os.WriteFile(mark(*e), make([]byte, 5000), 0o600)) },
		"mark of version 1":  func(e *surroundings) { must(t, os.WriteFile(mark(*e), []byte(`{"version":2}`), 0o600)) },
	}
	for why, change := range cases {
		e := setup()
		change(&e)
		s := e.open(t)
		got, yes := s.Suspended()
		if !yes || !strings.Contains(got, why) {
			t.Errorf("want %q, got %v %q", why, yes, got)
			continue
		}
		_, _, err := s.Spend(testPool, c, 1, 1, [32]byte{})
		wantErr(t, err, ErrSuspended)
		// A restart does not confirm, nor does discarding something else.
		must(t, s.DiscardChunk(testPool, chunkID("none"), "test"))
		s = reopen(t, e, s)
		if _, yes := s.Suspended(); !yes {
			t.Errorf("%s: a restart confirms", why)
		}
		if why == "not a regular file" {
			continue // the mark cannot be written either
		}
		g := s.Generation()
		must(t, s.Confirm(2, []PeerMark{{Operator: "b", Generation: g}, {Operator: "c"}}))
		must(t, s.Confirm(2, nil)) // nothing waits
		if _, _, err := s.Spend(testPool, c, 1, 1, [32]byte{}); err != nil {
			t.Errorf("%s: after Confirm: %v", why, err)
		}
		if e.opt.RunDir == "" {
			continue
		}
		s = reopen(t, e, s)
		if got, yes := s.Suspended(); yes {
			t.Errorf("%s: after Confirm and a restart: %s", why, got)
		}
	}

	// Discarding everything is the other way out.
	e := setup()
	e.opt.BootID = "boot-2"
	s := e.open(t)
	if n, err := s.DiscardAll("operator said so"); n != 9 || err != nil {
		t.Fatal(n, err)
	}
	if _, yes := s.Suspended(); yes {
		t.Fatal("nothing is left to wait for")
	}
}

func otherRunDir(t *testing.T, opt Options) string {
	e := surround(t)
	e.opt.BootID = opt.BootID
	e.create(t).Close()
	return e.opt.RunDir
}

// A crash between the commit and the mark leaves the mark one lower: that is
// no restored disk.
func TestMarkBehind(t *testing.T) {
	e := surround(t)
	s := e.create(t)
	must(t, s.AddChunk(testPool, chunkID("c"), 4, []byte("blob")))
	before := s.Generation()
	_, _, err := s.Spend(testPool, chunkID("c"), 0, 1, [32]byte{})
	must(t, err)
	must(t, s.writeRunMark(before))
	s = reopen(t, e, s)
	if why, yes := s.Suspended(); yes {
		t.Fatal(why)
	}
}

// A mark that cannot be written is removed, and no tuple is lost for it; one
// that cannot be removed either stops the store before it vouches for an older
// copy.
func TestMarkCannotBeWritten(t *testing.T) {
	e := surround(t)
	s := e.create(t)
	must(t, s.AddChunk(testPool, chunkID("c"), 4, []byte("blob")))
	path := filepath.Join(e.opt.RunDir, runMarkName)
	must(t, os.Remove(path))
	must(t, os.Mkdir(path, 0o700))
	_, _, err := s.Spend(testPool, chunkID("c"), 0, 1, [32]byte{})
	must(t, err)
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Fatal("an old mark stays")
	}
	s = reopen(t, e, s)
	if _, yes := s.Suspended(); !yes {
		t.Fatal("usable without a mark")
	}
	must(t, os.MkdirAll(filepath.Join(path, "x"), 0o700))
	wantErr(t, s.Confirm(1, []PeerMark{{Operator: "b"}}), ErrFailed)
	_, _, err = s.Spend(testPool, chunkID("c"), 1, 1, [32]byte{})
	if err == nil {
		t.Fatal("spends without a mark")
	}
}

func TestPeerMarks(t *testing.T) {
	e := surround(t)
	s := e.create(t)
	_, err := s.PeerMark("b")
	wantErr(t, err, ErrNotFound)
	must(t, s.SetPeerMark(PeerMark{"b", 7, []byte("seven")}, PeerMark{"c", 1, []byte("one")}))
	must(t, s.SetPeerMark(PeerMark{"b", 6, []byte("six")}))
	must(t, s.SetPeerMark(PeerMark{"b", 7, []byte("another seven")}, PeerMark{"c", 2, []byte("two")}))
	if s.SetPeerMark(PeerMark{"", 7, nil}) == nil {
		t.Fatal("a mark of nobody")
	}
	s = reopen(t, e, s)
	if m, err := s.PeerMark("b"); err != nil || m.Generation != 7 || string(m.Signed) != "seven" {
		t.Fatal(m, err)
	}
	if m, err := s.PeerMark("c"); err != nil || m.Generation != 2 || string(m.Signed) != "two" {
		t.Fatal(m, err)
	}
}

// Readers, spenders and a wipe side by side, for the race detector.
func TestSideBySide(t *testing.T) {
	e := surround(t)
	s := e.create(t)
	must(t, s.PutKey(testKey("k1")))
	const workers, chunks = 4, 6
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			pool := PoolID{Key: "k", Set: "s", Stripe: fmt.Sprint(w)}
			for i := range chunks {
				id := chunkID(fmt.Sprint(w, i))
				if err := s.AddChunk(pool, id, 2, bytes.Repeat(id[:], 300)); err != nil {
					t.Error(err)
				}
				s.Pools()
				if b, _, err := s.Spend(pool, id, 0, 1+i%2, id); err != nil || !bytes.Equal(b, bytes.Repeat(id[:], 300)) {
					t.Error(err)
				}
				if k, err := s.Key("k1"); err != nil || len(k.Secret) == 0 {
					t.Error(err)
				}
				if err := s.Wipe(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	for w := range workers {
		if d := s.Depth(PoolID{Key: "k", Set: "s", Stripe: fmt.Sprint(w)}); d != chunks/2 {
			t.Error(w, d)
		}
	}
}

// Any mix of operations and restarts agrees with a model that a reader checks
// at a glance.
func TestPoolsModel(t *testing.T) {
	pools := []PoolID{testPool, {Key: "", Set: "a", Stripe: ""}, {Key: "a", Set: "", Stripe: ""}}
	rapid.Check(t, func(rt *rapid.T) {
		e := surround(t)
		s := e.create(t)
		s.db.NoSync = true // a test of logic, run many times
		defer func() { s.Close() }()
		type state struct {
			pool        PoolID
			next, count int
		}
		model := map[string]*state{}
		known := map[string]bool{}
		generation := s.Generation()
		name := rapid.Map(rapid.IntRange(0, 7), func(i int) string { return fmt.Sprint("chunk", i) })
		rt.Repeat(map[string]func(*rapid.T){
			"add": func(rt *rapid.T) {
				n, p, count := name.Draw(rt, "chunk"), rapid.SampledFrom(pools).Draw(rt, "pool"), rapid.IntRange(1, 6).Draw(rt, "count")
				err := s.AddChunk(p, chunkID(n), count, []byte(n))
				if known[n] != errors.Is(err, ErrKnownChunk) || !known[n] && err != nil {
					rt.Fatal(err)
				}
				if !known[n] {
					known[n], model[n] = true, &state{p, 0, count}
				}
			},
			"spend": func(rt *rapid.T) {
				n, p := name.Draw(rt, "chunk"), rapid.SampledFrom(pools).Draw(rt, "pool")
				from, count := rapid.IntRange(-1, 6).Draw(rt, "from"), rapid.IntRange(0, 6).Draw(rt, "count")
				var want error
				m := model[n]
				switch {
				case !known[n]:
					want = ErrNoChunk
				case m == nil || m.pool != p:
					want = ErrSpent
				case from < 0 || count < 1 || from+count > m.count:
					want = ErrRange
				case from < m.next:
					want = ErrSpent
				}
				blob, g, err := s.Spend(p, chunkID(n), from, count, [32]byte{})
				if !errors.Is(err, want) {
					rt.Fatalf("got %v, want %v", err, want)
				}
				if want != nil {
					return
				}
				generation++
				if string(blob) != n || g != generation {
					rt.Fatal(blob, g)
				}
				if m.next = from + count; m.next == m.count {
					delete(model, n)
				}
			},
			"discard": func(rt *rapid.T) {
				p := rapid.SampledFrom(pools).Draw(rt, "pool")
				if _, err := s.DiscardPool(p, "test"); err != nil {
					rt.Fatal(err)
				}
				generation++
				maps.DeleteFunc(model, func(_ string, m *state) bool { return m.pool == p })
			},
			"restart": func(rt *rapid.T) {
				if err := s.Close(); err != nil {
					rt.Fatal(err)
				}
				var err error
				if s, err = Open(e.dir, e.opt); err != nil {
					rt.Fatal(err)
				}
				s.db.NoSync = true
			},
			"": func(rt *rapid.T) {
				depth := map[PoolID]int{}
				for _, m := range model {
					depth[m.pool] += m.count - m.next
				}
				for _, p := range pools {
					sum := 0
					for _, c := range s.Chunks(p) {
						sum += c.Count - c.Next
					}
					if s.Depth(p) != depth[p] || sum != depth[p] {
						rt.Fatalf("pool %v has %d, want %d", p, s.Depth(p), depth[p])
					}
				}
				if why, yes := s.Suspended(); yes || s.Generation() != generation {
					rt.Fatal(why, s.Generation(), generation)
				}
			},
		})
	})
}

func TestDiscardPools(t *testing.T) {
	e := surround(t)
	e.opt.RunDir = ""
	s := e.create(t)
	small, large := PoolID{Key: "k", Set: "a+b", Stripe: "a"}, PoolID{Key: "k", Set: "a+b+c", Stripe: "a"}
	must(t, s.AddChunk(small, chunkID("1"), 4, []byte("blob")))
	must(t, s.AddChunk(large, chunkID("2"), 8, []byte("blob")))
	s = reopen(t, e, s)
	n, err := s.DiscardPools("test", func(p PoolID) bool { return p.Set == "a+b" })
	must(t, err)
	if _, yes := s.Suspended(); n != 4 || !yes || s.Depth(small) != 0 || s.Depth(large) != 8 {
		t.Fatalf("%d tuples discarded, depths %d and %d, suspended: %v", n, s.Depth(small), s.Depth(large), yes)
	}
	n, err = s.DiscardPools("test", func(PoolID) bool { return true })
	must(t, err)
	if _, yes := s.Suspended(); n != 8 || yes {
		t.Fatalf("%d tuples discarded, suspended with no pools: %v", n, yes)
	}
}

// Single chunks of many pools go at once; where there is none, nothing is
// written.
func TestDiscardChunks(t *testing.T) {
	e := surround(t)
	s := e.create(t)
	second := PoolID{Key: "k", Set: "a+b", Stripe: "b"}
	must(t, s.AddChunk(testPool, chunkID("1"), 4, []byte("blob")))
	must(t, s.AddChunk(testPool, chunkID("2"), 8, []byte("blob")))
	must(t, s.AddChunk(second, chunkID("3"), 16, []byte("blob")))
	g := s.Generation()
	for _, want := range []int{20, 0} {
		n, err := s.DiscardChunks("test", func(_ PoolID, id ChunkID) bool { return id != chunkID("2") })
		must(t, err)
		if n != want || s.Depth(testPool) != 8 || s.Depth(second) != 0 || s.Generation() != g+1 {
			t.Fatalf("%d tuples discarded, expected %d; depths %d and %d, generation %d after %d", n, want, s.Depth(testPool), s.Depth(second), s.Generation(), g)
		}
	}
}

// Blobs that were read do not stay in the process's memory.
func TestReadPagesAreGivenBack(t *testing.T) {
	e := surround(t)
	s := e.create(t)
	blob := make([]byte, 1<<20)
	for i := range 64 {
		if err := s.AddChunk(testPool, ChunkID{byte(i)}, 1, blob); err != nil {
			t.Fatal(err)
		}
	}
	s = reopen(t, e, s)
	if got := mapped(t, s.path); got > mostRead {
		t.Errorf("%d bytes of the file are mapped and in memory after opening, expected %d at most", got, mostRead)
	}
	for i := range 64 {
		if _, _, err := s.Spend(testPool, ChunkID{byte(i)}, 0, 1, [32]byte{1}); err != nil {
			t.Fatal(err)
		}
	}
	if got := mapped(t, s.path); got > 2*mostRead {
		t.Errorf("%d bytes of the file are mapped and in memory after reading 64 MiB, expected %d at most", got, 2*mostRead)
	}
}

// mapped is how many bytes of mappings of a file are in this process's memory.
func mapped(t *testing.T, path string) (bytes int) {
	t.Helper()
	text, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		t.Fatal(err)
	}
	found, in := false, false
	for line := range strings.Lines(string(text)) {
		switch fields := strings.Fields(line); {
		case len(fields) >= 5 && strings.Contains(fields[0], "-"):
			in = strings.HasSuffix(strings.TrimSpace(line), path)
			found = found || in
		case in && fields[0] == "Rss:":
			n, err := strconv.Atoi(fields[1])
			if err != nil {
				t.Fatal(err)
			}
			bytes += n << 10
		}
	}
	if !found {
		t.Fatalf("%s is not mapped", path)
	}
	return bytes
}
