package node

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"zonesigner/zonesignerd/config"
	"zonesigner/zonesignerd/internal/api"
)

// depthOf is how many tuples of a signer set's pools are usable.
func (o *operators) depthOf(name, set string) int {
	n := 0
	for _, p := range o.nodes[name].store.Pools() {
		if p.ID.Set != set {
			continue
		}
		for _, c := range o.nodes[name].store.Chunks(p.ID) {
			n += c.Count - c.Next
		}
	}
	return n
}

// With one operator down the others sign with the pools made for that; the
// third comes back, takes over what it missed, and nobody signs it again.
func TestOperatorDown(t *testing.T) {
	o, serial := one(t)
	for i, down := range o.names {
		o.poolsFull()
		others := slices.DeleteFunc(slices.Clone(o.names), func(n string) bool { return n == down })
		set := strings.Join(others, "+")
		before := o.depthOf(others[0], set)
		o.stop(down)
		o.write("example.", uint32(i+2), fmt.Sprintf("www A 192.0.2.%d", i+11))
		next := o.level("example.", serial, others...)
		if got := o.depthOf(others[0], set); got >= before {
			t.Errorf("%s down: %d tuples for %s before, %d after; the set was not used", down, before, set, got)
		}
		o.start(down)
		if serial = o.level("example.", serial); serial != next {
			t.Errorf("%s came back to serial %d, expected %d", down, serial, next)
		}
	}
}

// An operator comes back after a day and several versions: it takes over the
// newest, checked in full, without a session.
func TestBackAfterADay(t *testing.T) {
	o, serial := one(t)
	o.poolsFull()
	o.stop("c")
	for i := range 3 {
		o.write("example.", uint32(i+2), fmt.Sprintf("www A 192.0.2.%d", i+11))
		serial = o.level("example.", serial, "a", "b")
	}
	o.advance(day)
	before := o.depths("a")
	o.start("c")
	if got := o.level("example.", serial-1); got != serial {
		t.Errorf("all serve %d, expected %d: no session was needed", got, serial)
	}
	if got := o.depths("a"); got < before {
		t.Errorf("%d tuples of %d are left: there was a session", got, before)
	}
	o.write("example.", 9, "www A 192.0.2.99")
	o.level("example.", serial)
}

func TestNobodySignsAlone(t *testing.T) {
	o, serial := one(t)
	o.poolsFull()
	o.stop("b")
	o.stop("c")
	o.write("example.", 2, "www A 192.0.2.11")
	o.eventually(10*time.Second, "status says who is missing", func() bool {
		st := o.status("a", "example.")
		return st.State == api.ZoneWaiting && st.Next.Kind == api.ActorPeer && strings.Contains(st.Next.WaitsFor, "no answer from operator")
	})
	r, err := o.nodes["a"].SignNow(t.Context(), api.SignNow{Zone: "example."})
	must(t, err)
	o.eventually(20*time.Second, "the request fails for want of a quorum", func() bool {
		r, err = o.nodes["a"].Request(t.Context(), r.Digest)
		must(t, err)
		return r.State == api.RequestFailed
	})
	if r.Error.Code != api.CodeNoQuorum {
		t.Errorf("the request ends with %q, expected %q: %s", r.Error.Code, api.CodeNoQuorum, r.Error.Message)
	}
	if got := o.serves("a", "example."); got != serial {
		t.Errorf("a serves %d, expected %d", got, serial)
	}
	o.start("b")
	o.level("example.", serial, "a", "b")
}

// Being away does not undo a refusal, not even over a restart of those who
// are left.
func TestAbsentIsNotRefusing(t *testing.T) {
	o, serial := one(t)
	o.poolsFull()
	o.write("example.", 2, "www A 192.0.2.11", "a", "b")
	o.write("example.", 2, "www A 192.0.2.66", "c")
	o.eventually(20*time.Second, "a and b know of c's refusal", func() bool {
		_, ok1 := o.refusal("a", "example.", "c")
		_, ok2 := o.refusal("b", "example.", "c")
		return ok1 && ok2
	})
	o.stop("c")
	held := func(name string) bool {
		err := o.nodes[name].zone("example.").Status().LastError
		return err != nil && strings.Contains(err.Error(), "operator c refused this version and is away")
	}
	o.eventually(60*time.Second, "one of them says why it waits", func() bool { return held("a") || held("b") })
	o.stop("a")
	o.stop("b")
	o.start("a")
	o.start("b")
	o.eventually(60*time.Second, "one of them still says why it waits", func() bool { return held("a") || held("b") })
	for _, name := range []string{"a", "b"} {
		if got := o.serves(name, "example."); got != serial {
			t.Fatalf("operator %s serves %d, expected %d", name, got, serial)
		}
	}
	// Another version is another question.
	o.write("example.", 3, "www A 192.0.2.12", "a", "b")
	o.level("example.", serial, "a", "b")
}

// Whoever is first in rank for a version, it is signed without him when he is
// away.
func TestTheNextProposerTakesOver(t *testing.T) {
	o, serial := one(t)
	o.poolsFull()
	for i := range 4 {
		down := o.names[i%3]
		o.stop(down)
		others := slices.DeleteFunc(slices.Clone(o.names), func(n string) bool { return n == down })
		o.write("example.", uint32(i+2), fmt.Sprintf("www A 192.0.2.%d", i+11))
		serial = o.level("example.", serial, others...)
		o.start(down)
		o.level("example.", serial-1)
	}
}

// An operator restarts with an older copy of the zone's file.
func TestOlderSource(t *testing.T) {
	o, serial := one(t)
	o.write("example.", 2, "www A 192.0.2.11")
	serial = o.level("example.", serial)
	o.stop("b")
	o.write("example.", 1, "www A 192.0.2.10", "b")
	o.start("b")
	o.eventually(20*time.Second, "b waits", func() bool { return o.status("b", "example.").State != api.ZoneSigned })
	for _, name := range o.names {
		if got := o.serves(name, "example."); got != serial {
			t.Errorf("operator %s serves %d, expected %d", name, got, serial)
		}
	}
	o.write("example.", 3, "www A 192.0.2.12")
	o.level("example.", serial)
}

// An operator's whole state directory is put back from a copy, and the
// machine was restarted: its tuples of then may be spent, so they go.
func TestOlderState(t *testing.T) {
	o, serial := one(t)
	o.poolsFull()
	o.stop("b")
	must(t, exec.Command("cp", "-a", o.path("b", "state"), o.path("b", "copy")).Run())
	o.start("b")
	for i := range 3 {
		o.write("example.", uint32(i+2), fmt.Sprintf("www A 192.0.2.%d", i+11))
		serial = o.level("example.", serial)
	}
	o.stop("b")
	must(t, os.RemoveAll(o.path("b", "state")))
	must(t, os.Rename(o.path("b", "copy"), o.path("b", "state")))
	must(t, os.RemoveAll(o.path("b", "run")))
	b := o.start("b")
	if why, yes := b.store.Suspended(); !yes {
		t.Error("b's old tuples are usable")
	} else if !strings.Contains(why, "generation") {
		t.Logf("suspended: %s", why)
	}
	o.eventually(20*time.Second, "b's tuples are confirmed or gone", func() bool {
		_, yes := b.store.Suspended()
		return !yes
	})
	if got := o.level("example.", serial-1); got != serial {
		t.Errorf("all serve %d, expected %d", got, serial)
	}
	o.write("example.", 9, "www A 192.0.2.99")
	o.level("example.", serial)
}

// The machine of one operator restarts while another is down: it cannot know
// that its disk was not restored, so its tuples rest until the third is back,
// and status says so.
func TestRebootWhileAnotherIsDown(t *testing.T) {
	o, serial := one(t)
	o.poolsFull()
	o.stop("b")
	o.stop("c")
	must(t, os.RemoveAll(o.path("b", "run")))
	o.start("b")
	o.write("example.", 2, "www A 192.0.2.11")
	o.eventually(20*time.Second, "status says what the tuples wait for", func() bool {
		st, err := o.nodes["b"].Status(t.Context())
		must(t, err)
		return st.Tuples.State == "suspended" && slices.Contains(st.Tuples.WaitsFor, "c") && !slices.Contains(st.Tuples.WaitsFor, "a")
	})
	o.eventually(20*time.Second, "a knows it too", func() bool {
		return strings.Contains(o.status("a", "example.").Next.WaitsFor, "suspended")
	})
	if got := o.serves("a", "example."); got != serial {
		t.Errorf("a serves %d, expected %d", got, serial)
	}
	o.start("c")
	o.level("example.", serial)
}

func TestKeysWaitForAll(t *testing.T) {
	t.Parallel()
	o := newOperators(t, 3, 1)
	o.write("example.", 1, "www A 192.0.2.10")
	o.startAll()
	ask := func(name string) *api.Request {
		r, err := o.nodes[name].GenerateKeys(t.Context(), api.GenerateKeys{Zone: "example."})
		must(t, err)
		return r
	}
	for _, name := range o.names {
		_, err := o.nodes[name].AddZone(t.Context(), api.AddZone{Policy: o.policy(name, "example."), File: "policy"})
		must(t, err)
	}
	ra, rb := ask("a"), ask("b")
	if ra.Digest != rb.Digest {
		t.Fatalf("the same request has digests %s and %s", ra.Digest, rb.Digest)
	}
	o.eventually(10*time.Second, "a waits for c, and says what c has to type", func() bool {
		r, err := o.nodes["a"].Request(t.Context(), ra.Digest)
		must(t, err)
		return slices.Equal(r.WaitsFor, []string{"c"}) && strings.Contains(r.Command, "keys generate example ")
	})
	// The request survives restarts of those who asked, and of who has not.
	o.stop("a")
	o.start("a")
	o.stop("c")
	o.start("c")
	ask("c")
	o.stop("b") // in the midst, if it is quick
	o.start("b")
	o.level("example.", 0)
	var keys []string
	for _, name := range o.names {
		ks, err := o.nodes[name].Keys(t.Context(), "example.")
		must(t, err)
		var ids []string
		for _, k := range ks {
			ids = append(ids, k.ID+" "+k.Role)
			if len(k.Confirmed) != 3 {
				t.Errorf("operator %s: key %s is confirmed by %v", name, k.ID, k.Confirmed)
			}
		}
		keys = append(keys, strings.Join(ids, ", "))
	}
	if keys[0] != keys[1] || keys[0] != keys[2] || strings.Count(keys[0], ",") != 1 {
		t.Errorf("keys differ or are not two: %q", keys)
	}
}

var tenMinutes = regexp.MustCompile(`is -(599|6\d\d)s from our clock`)

func TestClockOff(t *testing.T) {
	t.Parallel()
	o := newOperators(t, 3, 1)
	o.write("example.", 1, "www A 192.0.2.10")
	o.startAll()
	o.add("example.")
	serial := o.level("example.", 0)
	o.clock.mu.Lock()
	o.clock.skew["b"] = 10 * time.Minute
	o.clock.mu.Unlock()
	o.write("example.", 2, "www A 192.0.2.11")
	o.eventually(20*time.Second, "the refusal names the times", func() bool {
		for _, name := range []string{"a", "c"} {
			// Ten minutes, and what the proposal had waited by then.
			if r, ok := o.refusal(name, "example.", "b"); ok && tenMinutes.MatchString(r.Reason) {
				return true
			}
		}
		return false
	})
	if got := o.serves("a", "example."); got != serial {
		t.Errorf("a serves %d, expected %d", got, serial)
	}
	o.clock.mu.Lock()
	o.clock.skew["b"] = 0
	o.clock.mu.Unlock()
	o.level("example.", serial)
}

// The disk of an operator's zones is full, or as good as: nothing is lost,
// status says it, and it goes on when there is room.
func TestStateNotWritable(t *testing.T) {
	o, serial := one(t)
	dir := o.nodes["b"].stateDir()
	must(t, os.Rename(dir, dir+".away"))
	o.write("example.", 2, "www A 192.0.2.11")
	o.level("example.", serial, "a", "c")
	o.eventually(20*time.Second, "b says why it does not follow", func() bool {
		return strings.Contains(o.status("b", "example.").Next.WaitsFor, "no such file or directory")
	})
	if got := o.serves("b", "example."); got != serial {
		t.Errorf("b serves %d, expected %d", got, serial)
	}
	must(t, os.Rename(dir+".away", dir))
	o.level("example.", serial)
}

func TestLargerGroups(t *testing.T) {
	for _, size := range []struct{ n, t int }{{5, 2}, {7, 3}} {
		t.Run(fmt.Sprintf("%d of %d", size.t, size.n), func(t *testing.T) {
			t.Parallel()
			o := newOperators(t, size.n, size.t)
			o.edit = func(c *config.Daemon) { c.Pools.Depth, c.Pools.Chunk = 24, 24 }
			o.write("example.", 1, "www A 192.0.2.10")
			o.startAll()
			o.add("example.")
			serial := o.level("example.", 0)
			o.poolsFull()
			o.stop("d")
			o.write("example.", 2, "www A 192.0.2.11")
			others := slices.DeleteFunc(slices.Clone(o.names), func(n string) bool { return n == "d" })
			serial = o.level("example.", serial, others...)
			o.start("d")
			o.level("example.", serial-1)
		})
	}
}

func TestPassiveEngine(t *testing.T) {
	for _, engine := range []string{config.Shamir, config.Rep3} {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			passiveEngine(t, engine)
		})
	}
}

func passiveEngine(t *testing.T, engine string) {
	o := newOperators(t, 3, 1)
	o.group.Engine = engine
	o.write("example.", 1, "www A 192.0.2.10")
	o.startAll()
	o.add("example.")
	serial := o.level("example.", 0)
	st, err := o.nodes["a"].Status(t.Context())
	must(t, err)
	if !slices.ContainsFunc(st.Warnings, func(w string) bool {
		return strings.Contains(w, "engine "+engine) && strings.Contains(w, "one altered daemon can take the key")
	}) {
		t.Errorf("no warning of the passive engine: %v", st.Warnings)
	}
	o.poolsFull()
	o.stop("a")
	o.write("example.", 2, "www A 192.0.2.11")
	serial = o.level("example.", serial, "b", "c")
	o.start("a")
	o.level("example.", serial-1)

	// An operator that is not among the signers still stops a version that
	// it does not have.
	o.write("example.", 3, "www A 192.0.2.12", "a", "b")
	o.write("example.", 3, "www A 192.0.2.66", "c")
	o.eventually(20*time.Second, "c's refusal counts", func() bool {
		_, ok1 := o.refusal("a", "example.", "c")
		_, ok2 := o.refusal("b", "example.", "c")
		return ok1 && ok2
	})
	if got := o.serves("a", "example."); got != serial {
		t.Errorf("a serves %d, expected %d", got, serial)
	}
}

// Three operators with mal-rep3 sign together, and two of them without the
// third.
func TestMalRep3(t *testing.T) {
	t.Parallel()
	o := newOperators(t, 3, 1)
	o.group.Engine = config.MalRep3
	o.write("example.", 1, "www A 192.0.2.10")
	o.startAll()
	o.add("example.")
	serial := o.level("example.", 0)
	o.poolsFull()
	o.stop("b")
	o.write("example.", 2, "www A 192.0.2.11")
	o.level("example.", serial, "a", "c")
}

// Keys of FROST are of algorithm 15, and sign while an operator is down, as
// those of ECDSA do. They have no stock of unbound tuples.
func TestFrost(t *testing.T) {
	t.Parallel()
	o := newOperators(t, 3, 1)
	o.group.Engine = config.Frost
	o.write("example.", 1, "www A 192.0.2.10")
	o.startAll()
	o.add("example.")
	serial := o.level("example.", 0)
	keys, err := o.nodes["a"].Keys(t.Context(), "example.")
	must(t, err)
	if len(keys) == 0 {
		t.Fatal("no keys")
	}
	for _, k := range keys {
		if k.Engine != config.Frost || k.Algorithm != 15 || !strings.Contains(k.DNSKEY, " 3 15 ") {
			t.Errorf("key %+v is none of FROST", k)
		}
	}
	o.poolsFull()
	pools, err := o.nodes["a"].Pools(t.Context(), "example.")
	must(t, err)
	for _, p := range pools {
		if p.Key == "" {
			t.Errorf("there is a stock of unbound tuples: %+v", p)
		}
	}
	o.stop("a")
	o.write("example.", 2, "www A 192.0.2.11")
	serial = o.level("example.", serial, "b", "c")

	// The members of a set make its tuples by themselves.
	for _, name := range []string{"b", "c"} {
		_, err := o.nodes[name].store.DiscardAll("for the test")
		must(t, err)
	}
	o.write("example.", 3, "www A 192.0.2.12")
	serial = o.level("example.", serial, "b", "c")
	o.start("a")
	o.level("example.", serial-1)
}
