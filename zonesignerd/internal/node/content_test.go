package node

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"zonesigner/zonesignerd/config"
	"zonesigner/zonesignerd/internal/api"
)

const day = 24 * time.Hour

// one is three operators that serve example. with one address.
func one(t *testing.T, extra ...string) (o *operators, serial uint32) {
	t.Helper()
	t.Parallel()
	o = newOperators(t, 3, 1)
	o.write("example.", 1, "www A 192.0.2.10")
	o.startAll()
	o.add("example.", extra...)
	return o, o.level("example.", 0)
}

// refusal finds what an operator's status says of a peer's refusal.
func (o *operators) refusal(name, zone, peer string) (api.Refusal, bool) {
	for _, r := range o.status(name, zone).Refusals {
		if r.Peer == peer {
			return r, true
		}
	}
	return api.Refusal{}, false
}

func TestPollsAtUnequalTimes(t *testing.T) {
	t.Parallel()
	o := newOperators(t, 3, 1)
	o.edit = func(c *config.Daemon) {
		c.PollInterval = config.Duration(map[string]time.Duration{"a": 50 * time.Millisecond, "b": 400 * time.Millisecond, "c": 900 * time.Millisecond}[c.Operator])
	}
	o.write("example.", 1, "www A 192.0.2.10")
	o.startAll()
	o.add("example.")
	serial := o.level("example.", 0)
	for i := range 3 {
		o.write("example.", uint32(i+2), fmt.Sprintf("www A 192.0.2.%d", i+11))
		serial = o.level("example.", serial)
	}
	for _, name := range o.names {
		if r := o.status(name, "example.").Refusals; len(r) > 0 {
			t.Errorf("operator %s shows refusals: %v", name, r)
		}
	}
}

// The zone changes faster than it is polled, and at each operator at another
// moment: all move on all the time, nobody refuses, and nobody is far behind.
// A change each 300 ms and a settling time of 1 s stand for 2 s and 30 s.
func TestZoneThatKeepsChanging(t *testing.T) {
	o, serial := one(t)
	ctx, stop := context.WithTimeout(t.Context(), 9*time.Second)
	defer stop()
	var wg sync.WaitGroup
	for i, name := range o.names {
		wg.Go(func() {
			delay := time.NewTimer(time.Duration(i) * 100 * time.Millisecond)
			defer delay.Stop()
			select {
			case <-delay.C:
			case <-ctx.Done():
			}
			tick := time.NewTicker(300 * time.Millisecond)
			defer tick.Stop()
			for v := uint32(2); ctx.Err() == nil; v++ {
				o.write("example.", v, fmt.Sprintf("www A 192.0.2.10\ncount TXT %d", v), name)
				select {
				case <-tick.C:
				case <-ctx.Done():
				}
			}
		})
	}
	seen := map[string][]uint32{}
	var worst uint32
	for ctx.Err() == nil {
		lowest, highest := ^uint32(0), uint32(0)
		for _, name := range o.names {
			s := o.serves(name, "example.")
			lowest, highest = min(lowest, s), max(highest, s)
			if n := len(seen[name]); n == 0 || seen[name][n-1] != s {
				seen[name] = append(seen[name], s)
			}
			for _, r := range o.status(name, "example.").Refusals {
				t.Errorf("operator %s shows a refusal: %+v", name, r)
				stop()
			}
		}
		worst = max(worst, highest-lowest)
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
		}
	}
	wg.Wait()
	for name, s := range seen {
		if !slices.IsSorted(s) {
			t.Errorf("operator %s went back: %v", name, s)
		}
		if len(s) < max(2, 5/slowness) {
			t.Errorf("operator %s served %d versions in 9 s: %v", name, len(s), s)
		}
	}
	if worst > 2 {
		t.Errorf("an operator was %d versions behind another", worst)
	}
	o.write("example.", 100, "www A 192.0.2.99")
	o.eventually(15*time.Second, "all serve the last content", func() bool {
		return !slices.ContainsFunc(o.names, func(n string) bool { return !o.has(n, "example.", "A 192.0.2.99") })
	})
	o.level("example.", serial)
	t.Logf("versions served: %d, %d, %d; most behind: %d", len(seen["a"]), len(seen["b"]), len(seen["c"]), worst)
}

func TestTwoZonesAtOnce(t *testing.T) {
	t.Parallel()
	o := newOperators(t, 3, 1)
	zones := []string{"example.", "test."}
	for _, z := range zones {
		o.write(z, 1, "www A 192.0.2.10")
	}
	o.startAll()
	for _, z := range zones {
		o.add(z)
	}
	first := map[string]uint32{}
	for _, z := range zones {
		first[z] = o.level(z, 0)
	}
	for _, z := range zones {
		o.write(z, 2, "www A 192.0.2.11")
	}
	for _, z := range zones {
		o.level(z, first[z])
	}
}

func TestChangesDuringASessionCoalesce(t *testing.T) {
	o, serial := one(t)
	const changes = 30
	for i := range uint32(changes) {
		o.write("example.", i+2, fmt.Sprintf("www A 192.0.2.10\ncount TXT %d", i))
		time.Sleep(30 * time.Millisecond) // the owner's pace
	}
	o.eventually(20*time.Second, "all serve the last change", func() bool {
		return !slices.ContainsFunc(o.names, func(n string) bool { return !o.has(n, "example.", fmt.Sprintf("TXT \"%d\"", changes-1)) })
	})
	if last := o.level("example.", serial); last-serial > changes/2 {
		t.Errorf("%d changes made %d signed zones", changes, last-serial)
	}
}

// The owner goes back to an older content: that is a change like any other.
func TestContentGoesBack(t *testing.T) {
	o, serial := one(t)
	for i, addr := range []string{"192.0.2.11", "192.0.2.10", "192.0.2.11", "192.0.2.10"} {
		o.write("example.", uint32(i+2), "www A "+addr)
		o.eventually(15*time.Second, addr+" is served by all", func() bool {
			return !slices.ContainsFunc(o.names, func(n string) bool { return !o.has(n, "example.", "A "+addr) })
		})
		serial = o.level("example.", serial)
	}
}

// depths sums what is usable in an operator's pools.
func (o *operators) depths(name string) int {
	n := 0
	for _, p := range o.nodes[name].store.Pools() {
		for _, c := range o.nodes[name].store.Chunks(p.ID) {
			n += c.Count - c.Next
		}
	}
	return n
}

func (o *operators) poolsFull() {
	o.t.Helper()
	o.eventually(30*time.Second, "pools are full", func() bool {
		for _, name := range o.names {
			if o.nodes[name] == nil {
				continue
			}
			pools, err := o.nodes[name].Pools(o.t.Context(), "")
			must(o.t, err)
			if len(pools) == 0 {
				return false
			}
			for _, p := range pools {
				if p.Wanted > 0 && p.Depth <= p.Wanted/2 {
					return false
				}
			}
		}
		return true
	})
}

// One record at b alone: all name it, nobody signs either version, and asking
// again spends nothing. Once it is mended all are level.
func TestDispute(t *testing.T) {
	o, serial := one(t)
	o.poolsFull()
	before := map[string]int{}
	for _, name := range o.names {
		before[name] = o.depths(name)
	}
	o.write("example.", 2, "www A 192.0.2.11", "a", "c")
	o.write("example.", 2, "www A 192.0.2.11\nevil A 192.0.2.66", "b")
	o.eventually(20*time.Second, "a knows b's refusal and b knows a's", func() bool {
		ab, ok1 := o.refusal("a", "example.", "b")
		ba, ok2 := o.refusal("b", "example.", "a")
		return ok1 && ok2 && strings.Contains(ab.Reason, "evil.example. A") && strings.Contains(ba.Reason, "evil.example. A")
	})
	for _, name := range o.names {
		o.eventually(10*time.Second, "status calls it a dispute", func() bool {
			st := o.status(name, "example.")
			return st.State == api.ZoneDisputed && strings.Contains(st.Next.WaitsFor, "evil.example. A")
		})
		if got := o.serves(name, "example."); got != serial {
			t.Errorf("operator %s serves %d, expected the old zone %d", name, got, serial)
		}
	}
	// The proposals are made again; the second refusal is newer.
	first, _ := o.refusal("a", "example.", "b")
	o.eventually(20*time.Second, "it is proposed again", func() bool {
		r, _ := o.refusal("a", "example.", "b")
		return r.At.After(first.At)
	})
	for _, name := range o.names {
		if got := o.depths(name); got < before[name] {
			t.Errorf("operator %s has %d tuples left of %d: proposals spent some", name, got, before[name])
		}
	}
	o.write("example.", 3, "www A 192.0.2.11")
	o.level("example.", serial)
	for _, name := range o.names {
		if o.has(name, "example.", "evil.example.") {
			t.Errorf("operator %s serves the disputed record", name)
		}
		if r := o.status(name, "example.").Refusals; len(r) > 0 {
			t.Errorf("operator %s still shows refusals: %v", name, r)
		}
	}
}

// A dispute never becomes an outage: what was agreed last is signed again.
func TestRefreshDuringADispute(t *testing.T) {
	o, serial := one(t)
	o.write("example.", 2, "www A 192.0.2.11", "a", "c")
	o.write("example.", 2, "www A 192.0.2.66", "b")
	o.eventually(20*time.Second, "the dispute is known", func() bool {
		return o.status("a", "example.").State == api.ZoneDisputed && o.status("b", "example.").State == api.ZoneDisputed
	})
	o.advance(16 * day)
	next := o.level("example.", serial)
	for _, name := range o.names {
		if !o.has(name, "example.", "A 192.0.2.10") {
			t.Errorf("operator %s does not serve the last agreed content", name)
		}
		if st := o.status(name, "example."); st.EarliestExpiry.Before(o.clock.of(name)().Add(15 * day)) {
			t.Errorf("operator %s: signatures end %s", name, st.EarliestExpiry)
		}
	}
	o.write("example.", 3, "www A 192.0.2.12")
	o.level("example.", next)
}

func TestRefresh(t *testing.T) {
	o, serial := one(t)
	o.advance(16 * day)
	serial = o.level("example.", serial)
	o.advance(16 * day)
	o.level("example.", serial)
}

func TestContentQuorumTPlus1(t *testing.T) {
	o, serial := one(t, "content-quorum: t+1")
	o.write("example.", 2, "www A 192.0.2.11", "a", "c")
	o.write("example.", 2, "www A 192.0.2.11\nmine A 192.0.2.66", "b")
	o.level("example.", serial, "a", "c")
	if got := o.serves("b", "example."); got != serial {
		t.Errorf("b serves %d, expected what it had, %d", got, serial)
	}
	o.eventually(20*time.Second, "b is told", func() bool {
		return o.status("b", "example.").State != api.ZoneSigned
	})
	o.write("example.", 3, "www A 192.0.2.11", "b")
	o.level("example.", serial)
}

func TestExpiryKeepsOrWithdraws(t *testing.T) {
	for _, way := range []string{"keep", "withdraw"} {
		t.Run(way, func(t *testing.T) {
			o, serial := one(t, "on-expiry: "+way)
			o.stop("b")
			o.stop("c")
			o.advance(31 * day)
			o.eventually(10*time.Second, "the zone is expired", func() bool {
				return o.status("a", "example.").State == api.ZoneExpired
			})
			if way == "withdraw" {
				o.eventually(10*time.Second, "the zone is withdrawn", func() bool { return o.serves("a", "example.") == 0 })
				o.eventually(10*time.Second, "status says so", func() bool { return o.status("a", "example.").ServedSerial == 0 })
			} else if got := o.serves("a", "example."); got != serial {
				t.Errorf("a serves %d, expected the last good zone %d", got, serial)
			}
			o.eventually(10*time.Second, "status says that a peer has to act", func() bool {
				return o.status("a", "example.").Next.Kind == api.ActorPeer
			})
			o.start("b")
			o.start("c")
			o.level("example.", serial)
		})
	}
}

func TestSerialPolicies(t *testing.T) {
	for _, p := range []string{"keep", "increment", "unixtime", "dateserial"} {
		t.Run(p, func(t *testing.T) {
			o, first := one(t, "serial-policy: "+p)
			o.write("example.", 5, "www A 192.0.2.11")
			second := o.level("example.", first)
			now := time.Now().UTC()
			day := uint32(now.Year()*1000000 + int(now.Month())*10000 + now.Day()*100)
			switch p {
			case "keep":
				if first != 1 || second != 5 {
					t.Errorf("serials %d and %d, expected 1 and 5", first, second)
				}
				// The owner raises the serial and nothing else.
				o.write("example.", 6, "www A 192.0.2.11")
				if third := o.level("example.", second); third != 6 {
					t.Errorf("serial %d, expected 6", third)
				}
			case "increment":
				if first != 1 || second != 2 {
					t.Errorf("serials %d and %d, expected 1 and 2", first, second)
				}
			case "unixtime":
				if int64(first) < now.Unix()-60 || int64(second) > now.Unix()+1 {
					t.Errorf("serials %d and %d, expected the time, %d", first, second, now.Unix())
				}
			case "dateserial":
				if first/100 != day/100 && first/100 != day/100-1 || second != first+1 {
					t.Errorf("serials %d and %d, expected %d and the next", first, second, day)
				}
			}
		})
	}
}

// A policy that all operators have got is in force at once: the zone is
// signed again in its form.
func TestDenialAndItsChange(t *testing.T) {
	o, serial := one(t)
	if !o.has("a", "example.", "IN NSEC ") {
		t.Error("no NSEC in the zone")
	}
	for _, name := range o.names {
		_, err := o.nodes[name].AddZone(t.Context(), api.AddZone{File: "policy", Policy: o.policy(name, "example.", "denial:", "  nsec3: true", "  nsec3-opt-out: false")})
		must(t, err)
	}
	o.level("example.", serial)
	if !o.has("a", "example.", "IN NSEC3 ") || o.has("a", "example.", "IN NSEC ") {
		t.Error("the zone does not follow its new policy")
	}
}

func TestDamagedSource(t *testing.T) {
	o, serial := one(t)
	for _, c := range []struct{ name, text, want string }{
		{"parse error", "$ORIGIN example.\n$TTL 300\n@ SOA ns1 hostmaster 2 7200 3600 1209600 300\n@ NS ns1\nns1 A 192.0.2.1\nwww A 192.0.2.300\n", "example.zone:6"},
		{"no SOA", "$ORIGIN example.\n$TTL 300\n@ NS ns1\nns1 A 192.0.2.1\n", "example.zone"},
		{"empty", "", "example.zone"},
	} {
		for _, name := range o.names {
			must(t, os.WriteFile(o.path(name, "example.zone"), []byte(c.text), 0o644))
		}
		o.eventually(10*time.Second, c.name+" is said with file and line", func() bool {
			st := o.status("b", "example.")
			return st.State == api.ZoneFailed && strings.Contains(st.Next.WaitsFor, c.want) && st.Next.Kind == api.ActorSelf
		})
		for _, name := range o.names {
			if got := o.serves(name, "example."); got != serial {
				t.Fatalf("%s: operator %s serves %d, expected %d", c.name, name, got, serial)
			}
		}
	}
	o.write("example.", 2, "www A 192.0.2.11")
	o.level("example.", serial)
}
