package node

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"sync"
	"testing"
	"time"

	"zonesigner/keystore"
	"zonesigner/mpc"
)

// spendings notes every tuple that an operator names in a statement, and those
// that it names in two.
type spendings struct {
	mu    sync.Mutex
	by    map[string][32]byte
	twice []string
}

func (s *spendings) note(r mpc.TupleRange, statement [32]byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.by == nil {
		s.by = map[string][32]byte{}
	}
	for i := r.From; i < r.From+r.Count; i++ {
		tuple := fmt.Sprintf("%x/%d", r.Chunk, i)
		if old, ok := s.by[tuple]; ok && old != statement {
			s.twice = append(s.twice, tuple)
		}
		s.by[tuple] = statement
	}
}

func (s *spendings) reused() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.twice)
}

// restoring is three operators whose a is put back to an older copy of its
// disk. b is the adversary's: put back too, with no check of its own, and it
// says of a's marks what lie makes of them.
type restoring struct {
	*operators
	spent spendings // of a
	mu    sync.Mutex
	lie   func(held []byte) []byte
	copy  []keystore.ChunkID // what a had in the copy
	mark  []byte             // a's newest statement at the time of the copy
}

func newRestoring(t *testing.T, options func(*Options)) *restoring {
	t.Helper()
	t.Parallel()
	r := &restoring{operators: newOperators(t, 3, 1)}
	r.options = func(name string, opt *Options) {
		switch name {
		case "a":
			opt.spent = r.spent.note
			options(opt)
		case "b":
			opt.confirmations, opt.reviveAll = 1, true
			opt.held = func(asker mpc.PartyID, held []byte) []byte {
				r.mu.Lock()
				defer r.mu.Unlock()
				if r.lie == nil || asker != "a" {
					return held
				}
				return r.lie(held)
			}
		}
	}
	r.write("example.", 1, "www A 192.0.2.10")
	r.startAll()
	r.add("example.")
	r.level("example.", 0)
	r.write("example.", 2, "www A 192.0.2.11")
	r.level("example.", 1)
	r.poolsFull()
	return r
}

func (r *restoring) lies(lie func(held []byte) []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lie = lie
}

// snapshot copies the disks of a and b.
func (r *restoring) snapshot() {
	r.t.Helper()
	r.mark = nil
	r.eventually(10*time.Second, "b holds a mark of a", func() bool {
		m, err := r.nodes["b"].store.PeerMark("a")
		r.mark = m.Signed
		return err == nil
	})
	for _, name := range []string{"a", "b"} {
		r.stop(name)
		must(r.t, exec.Command("cp", "-a", r.path(name, "state"), r.path(name, "copy")).Run())
	}
	r.start("a")
	r.start("b")
	r.copy = r.chunks()
}

// chunks are all that a has.
func (r *restoring) chunks() (ids []keystore.ChunkID) {
	for _, p := range r.nodes["a"].store.Pools() {
		for _, c := range r.nodes["a"].store.Chunks(p.ID) {
			ids = append(ids, c.ID)
		}
	}
	return ids
}

// sign has those named sign changes of the zone.
func (r *restoring) sign(first uint32, names ...string) {
	r.t.Helper()
	serial := r.serves(names[0], "example.")
	for i := range uint32(4) {
		r.write("example.", first+i, fmt.Sprintf("www A 192.0.2.%d", first+i))
		serial = r.level("example.", serial, names...)
	}
}

// restore puts the copies back, as on a machine that was started anew.
func (r *restoring) restore() {
	r.t.Helper()
	r.stopAll()
	for _, name := range []string{"a", "b"} {
		must(r.t, os.RemoveAll(r.path(name, "state")))
		must(r.t, os.Rename(r.path(name, "copy"), r.path(name, "state")))
		must(r.t, os.RemoveAll(r.path(name, "run")))
	}
}

func (r *restoring) suspended() bool {
	_, yes := r.nodes["a"].store.Suspended()
	return yes
}

// waitsOnlyFor waits until a's status says that it is suspended and waits for
// that operator alone.
func (r *restoring) waitsOnlyFor(name string) {
	r.t.Helper()
	r.eventually(20*time.Second, "a is suspended, and waits for "+name, func() bool {
		st, err := r.nodes["a"].Status(r.t.Context())
		must(r.t, err)
		return st.Tuples.State == "suspended" && slices.Equal(st.Tuples.WaitsFor, []string{name}) && st.Tuples.Reason != ""
	})
}

var lies = map[string]func(r *restoring) func([]byte) []byte{
	"nothing":          func(*restoring) func([]byte) []byte { return func([]byte) []byte { return nil } },
	"an older mark":    func(r *restoring) func([]byte) []byte { return func([]byte) []byte { return r.mark } },
	"what it was then": func(*restoring) func([]byte) []byte { return nil }, // it was restored itself
}

// A restored a has one peer that lies about its marks, whatever it says, and
// an honest one: a waits for that one, and then discards all.
func TestRestoredWithALyingPeer(t *testing.T) {
	for name, lie := range lies {
		t.Run(name, func(t *testing.T) {
			r := newRestoring(t, func(*Options) {})
			r.snapshot()
			r.sign(20, "a", "b", "c")
			r.restore()
			r.lies(lie(r))
			r.start("b")
			r.start("a")
			if !r.suspended() {
				t.Fatal("a's old tuples are usable at once")
			}
			r.write("example.", 40, "www A 192.0.2.40")
			r.waitsOnlyFor("c")
			r.start("c")
			r.eventually(20*time.Second, "a has discarded what it had", func() bool { return !r.suspended() })
			for _, id := range r.chunks() {
				if slices.Contains(r.copy, id) {
					t.Errorf("chunk %x of the copy is still there", id)
				}
			}
			r.eventually(60*time.Second, "a and c serve the last content", func() bool {
				return r.has("a", "example.", "A 192.0.2.40") && r.has("c", "example.", "A 192.0.2.40")
			})
			if n := r.spent.reused(); n > 0 {
				t.Errorf("a named %d tuples in two statements", n)
			}
		})
	}

	// The attack, with the confirmation of one taken for enough.
	t.Run("undefended", func(t *testing.T) {
		r := newRestoring(t, func(opt *Options) { opt.confirmations, opt.reviveAll = 1, true })
		r.snapshot()
		r.stop("c")
		r.sign(20, "a", "b")
		r.restore()
		r.start("b")
		r.start("a")
		r.eventually(20*time.Second, "a believes b", func() bool { return !r.suspended() })
		r.sign(40, "a", "b")
		if r.spent.reused() == 0 {
			t.Error("without the defence the attack should succeed")
		}
	})
}

// Marks that are not a's own, or not what a signed, count for nothing: they
// neither confirm a's tuples nor destroy them.
func TestRestoredWithForgedMarks(t *testing.T) {
	r := newRestoring(t, func(*Options) {})
	r.eventually(10*time.Second, "b holds a mark of a", func() bool {
		_, err := r.nodes["b"].store.PeerMark("a")
		return err == nil
	})
	// Those of two are not revived whatever the others say.
	ofAll := func() int { return r.depthOf("a", "a+b+c") }
	before := ofAll()
	forged := map[string]func(held []byte) []byte{
		"a higher generation under a's signature": func(held []byte) []byte {
			b := slices.Clone(held)
			b[len(b)-64-8] ^= 0x40
			return b
		},
		"another operator's mark": func([]byte) []byte {
			b := r.nodes["b"].marks
			b.mu.Lock()
			defer b.mu.Unlock()
			return b.own
		},
		"no mark": func([]byte) []byte { return []byte("zonesigner") },
	}
	for name, forge := range forged {
		r.stop("a")
		must(t, os.RemoveAll(r.path("a", "run")))
		asked := make(chan struct{}, 1)
		r.lies(func(held []byte) []byte {
			select {
			case asked <- struct{}{}:
			default:
			}
			return forge(held)
		})
		r.start("a")
		// The second question comes after the first answer was dealt with.
		for range 3 {
			select {
			case <-asked:
			case <-time.After(20 * time.Second):
				t.Fatalf("%s: a does not ask", name)
			}
		}
		r.waitsOnlyFor("b")
		if got := ofAll(); got != before {
			t.Errorf("%s: a has %d tuples, expected %d", name, got, before)
		}
	}
	r.lies(nil)
	r.eventually(20*time.Second, "a's mark is confirmed by honest answers", func() bool { return !r.suspended() })
	if ofAll() < before {
		t.Error("a's honest tuples are gone")
	}
}
