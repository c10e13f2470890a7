package node

import (
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"

	"zonesigner/keystore"
	"zonesigner/mpc"
)

// keep puts an operator's state aside; putBack is the older copy of the disk
// and, with reboot, an empty run directory.
func (o *operators) keep(name string) {
	must(o.t, exec.Command("cp", "-a", o.path(name, "state"), o.path(name, "copy")).Run())
}

func (o *operators) putBack(name string) {
	must(o.t, os.RemoveAll(o.path(name, "state")))
	must(o.t, os.Rename(o.path(name, "copy"), o.path(name, "state")))
	must(o.t, os.RemoveAll(o.path(name, "run")))
}

// a is down while b and c sign; b's disk is put back to before that; c denies
// that it ever saw b's marks (here: it knows no better, its own disk was put
// back with b's), and a truly does not know them. Both confirm b, which is
// t+1; and c would make a second statement on what b has spent. With reviveAll
// it could.
func TestRestoredDiskAndALyingPeer(t *testing.T) {
	for _, defended := range []bool{true, false} {
		t.Run(fmt.Sprint("defended=", defended), func(t *testing.T) {
			o, serial := one(t)
			o.options = func(_ string, opt *Options) { opt.reviveAll = !defended }
			o.poolsFull()
			for _, name := range []string{"b", "c"} {
				o.stop(name)
				o.keep(name)
			}
			o.stop("a")
			spent := make(chan mpc.TupleRange, 1000)
			o.options = func(name string, opt *Options) {
				opt.reviveAll = !defended
				if name == "b" {
					opt.spent = func(r mpc.TupleRange, _ [32]byte) { spent <- r }
				}
			}
			o.start("b")
			o.start("c")
			o.write("example.", 2, "www A 192.0.2.11")
			o.level("example.", serial, "b", "c")
			o.stop("b")
			o.stop("c")
			o.putBack("b")
			o.putBack("c")
			o.options = func(_ string, opt *Options) { opt.reviveAll = !defended }
			o.start("a")
			o.start("c")
			b := o.start("b")
			o.eventually(30*time.Second, "b's tuples are confirmed", func() bool {
				_, yes := b.store.Suspended()
				return !yes
			})
			r := <-spent
			revived := false
			for _, p := range b.store.Pools() {
				for _, c := range b.store.Chunks(p.ID) {
					if mpc.ChunkID(c.ID) == r.Chunk && c.Next <= r.From {
						_, _, err := b.store.Spend(p.ID, c.ID, r.From, r.Count, [32]byte{2})
						revived = err == nil
					}
				}
			}
			if revived == defended {
				t.Errorf("spent tuples are revived: %v, expected %v", revived, !defended)
			}
			if defended { // what cannot be confirmed is not all: the set of all three goes on
				for _, p := range b.store.Pools() {
					if p.ID.Set == "a+b+c" {
						return
					}
				}
				t.Error("b has no tuples of the set of all")
			}
		})
	}
}

func TestRevivable(t *testing.T) {
	for _, c := range []struct {
		key, set     string
		n, threshold int
		want         bool
	}{
		{"k", "a+b", 3, 1, false}, {"k", "a+b+c", 3, 1, true}, {"k", "a+b+c", 5, 2, false}, {"k", "a+b+c+d", 5, 2, true}, {"k", "", 3, 1, false},
		{string(mpc.Unbound("mal-shamir")), "a+b", 3, 1, true},
		{"k", "a+b", 2, 1, false}, {string(mpc.Unbound("mascot")), "a+b", 2, 1, false}, {string(mpc.Unbound("mascot")), "a+b+c", 3, 2, false},
		{"k", "a+b+c+d", 4, 2, true},
	} {
		g := mpc.Group{Parties: []mpc.PartyID{"a", "b", "c", "d", "e"}[:c.n], T: c.threshold}
		if got := revivable(keystore.PoolID{Key: c.key, Set: c.set}, g); got != c.want {
			t.Errorf("pool of %q and set %q with threshold %d of %d: %v, expected %v", c.key, c.set, c.threshold, c.n, got, c.want)
		}
	}
}

// Marks of others are durable when signed returns, and our own newest
// statement is never replaced by an older one, whoever relays it.
func TestMarksOnlyGrow(t *testing.T) {
	o, _ := one(t)
	b := o.nodes["b"]
	b.marks.mu.Lock()
	own, at := b.marks.own, b.marks.ownMark
	b.marks.mu.Unlock()
	if own == nil {
		t.Fatal("b has signed nothing")
	}
	b.marks.take("b", at-1, []byte("older"))
	b.marks.take("a", 1<<60, []byte("newest"))
	b.marks.take("a", 1<<60-1, []byte("older"))
	must(t, b.marks.flush())
	b.marks.mu.Lock()
	now := b.marks.own
	b.marks.mu.Unlock()
	if string(now) == "older" {
		t.Error("an older statement of ours replaced the newest")
	}
	held, err := b.store.PeerMark("a")
	must(t, err)
	if held.Generation != 1<<60 || string(held.Signed) != "newest" {
		t.Errorf("held is %d, expected the newest", held.Generation)
	}
}
