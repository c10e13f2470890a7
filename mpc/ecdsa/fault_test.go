package ecdsa

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"zonesigner/mpc"
	"zonesigner/mpc/memnet"
	"zonesigner/mpc/rep3"
)

// phase is one protocol from start to end, in a world that is ready for it.
type phase struct {
	name  string
	ready func(w *world)
	// play runs it; good lists the parties that ended with a result.
	play func(w *world) (errs map[mpc.PartyID]error, good func(p mpc.PartyID) bool)
}

func phases(set mpc.SignerSet) []phase {
	return []phase{
		{
			name:  "generate",
			ready: func(*world) {},
			play: func(w *world) (map[mpc.PartyID]error, func(mpc.PartyID) bool) {
				w.keys = map[mpc.PartyID]*KeyShare{}
				errs := w.all(func(ctx context.Context, net mpc.Network) error {
					k, err := GenerateKey(ctx, net, w.ids[net.Self()], w.group, w.protocol, []byte("example. zsk"))
					w.put(net.Self(), k)
					return err
				})
				return errs, func(p mpc.PartyID) bool { return w.keys[p] != nil }
			},
		},
		{
			name:  "prepare",
			ready: func(w *world) { w.generate() },
			play: func(w *world) (map[mpc.PartyID]error, func(mpc.PartyID) bool) {
				had := len(w.stores["b"].order)
				errs := w.prepare(set, 2)
				return errs, func(p mpc.PartyID) bool { return !set.Contains(p) || len(w.stores[p].order) > had }
			},
		},
		{
			name: "sign",
			ready: func(w *world) {
				w.generate()
				w.mustPrepare(set, 8)
			},
			play: func(w *world) (map[mpc.PartyID]error, func(mpc.PartyID) bool) {
				req := w.request(set, message)
				from := 0 // what one of them has spent is not proposed again
				for _, p := range set {
					from = max(from, w.stores[p].next[req.Requests[0].Tuples[0].Chunk])
				}
				req.Requests[0].Tuples = []mpc.TupleRange{{Chunk: req.Requests[0].Tuples[0].Chunk, From: from, Count: 1}}
				sigs, errs := w.sign(req, nil)
				return errs, func(p mpc.PartyID) bool { return sigs[p] != nil && w.verify(message, sigs[p][0]) }
			},
		},
	}
}

// faults are what the network or operator a does to one message from a to b.
// A benign one must not be noticed; of any other b must not get a result, and
// nobody may be blamed that it cannot have been.
var faults = []struct {
	name   string
	benign bool
	make   func(hub *memnet.Hub, old []byte) memnet.Fault
}{
	{"altered", false, func(*memnet.Hub, []byte) memnet.Fault {
		return func(m memnet.Message) []memnet.Message {
			m.Payload = slices.Clone(m.Payload)
			m.Payload[len(m.Payload)-1] ^= 1
			return []memnet.Message{m}
		}
	}},
	{"altered in the middle", false, func(*memnet.Hub, []byte) memnet.Fault {
		return func(m memnet.Message) []memnet.Message {
			m.Payload = slices.Clone(m.Payload)
			m.Payload[len(m.Payload)/2] ^= 1
			return []memnet.Message{m}
		}
	}},
	{"cut short", false, func(*memnet.Hub, []byte) memnet.Fault {
		return func(m memnet.Message) []memnet.Message {
			m.Payload = m.Payload[:len(m.Payload)-1]
			return []memnet.Message{m}
		}
	}},
	{"made longer", false, func(*memnet.Hub, []byte) memnet.Fault {
		return func(m memnet.Message) []memnet.Message {
			m.Payload = append(slices.Clone(m.Payload), 0)
			return []memnet.Message{m}
		}
	}},
	{"empty", false, func(*memnet.Hub, []byte) memnet.Fault {
		return func(m memnet.Message) []memnet.Message {
			m.Payload = nil
			return []memnet.Message{m}
		}
	}},
	{"replayed from an earlier session", false, func(_ *memnet.Hub, old []byte) memnet.Fault {
		return func(m memnet.Message) []memnet.Message {
			m.Payload = old
			return []memnet.Message{m}
		}
	}},
	{"dropped", false, func(*memnet.Hub, []byte) memnet.Fault {
		return func(memnet.Message) []memnet.Message { return nil }
	}},
	{"duplicated", true, func(*memnet.Hub, []byte) memnet.Fault {
		return func(m memnet.Message) []memnet.Message { return []memnet.Message{m, m} }
	}},
	{"delayed past later ones", true, func(hub *memnet.Hub, _ []byte) memnet.Fault {
		return func(m memnet.Message) []memnet.Message {
			time.AfterFunc(time.Second, func() { hub.Deliver(m) })
			return nil
		}
	}},
}

// TestEveryMessageEveryFault does each fault to each message of each phase, on
// the way from a to b and on the way to all.
func TestEveryMessageEveryFault(t *testing.T) {
	for _, g := range []struct {
		engine Protocol
		n      int
		set    mpc.SignerSet
	}{
		{passive(), 3, pairAB},
		{active(), 3, allABC},
		{active(), 4, allABC},
		{Over(rep3.Passive()), 3, pairAB},
		{Over(rep3.Active()), 3, allABC},
	} {
		for _, ph := range phases(g.set) {
			for _, wide := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s %d %s wide=%v", g.engine.Name(), g.n, ph.name, wide), func(t *testing.T) {
					everyMessageEveryFault(t, g.engine, g.n, ph, wide)
				})
			}
		}
	}
}

func everyMessageEveryFault(t *testing.T, engine Protocol, n int, ph phase, wide bool) {
	old := record(t, engine, n, ph)
	for _, round := range slices.Sorted(maps.Keys(old)) {
		for _, f := range faults {
			t.Run(round+" "+f.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t, n, 1, engine, 8)
					ph.ready(w)
					fault := f.make(w.hub, old[round])
					w.hub.SetFault(func(m memnet.Message) []memnet.Message {
						if m.From != "a" || m.To != "b" && !wide || m.Round != round {
							return []memnet.Message{m}
						}
						return fault(m)
					})
					errs, good := ph.play(w)
					if f.benign {
						for p, err := range errs {
							if err != nil || !good(p) {
								t.Errorf("%s fails: %v", p, err)
							}
						}
						return
					}
					if errs["b"] == nil || good("b") {
						t.Errorf("b has a result")
					}
					for p, err := range errs {
						cheat, ok := mpc.AsCheat(err)
						if !ok {
							continue
						}
						// c can be shown what a did to b, so that it disputes both.
						if slices.Contains(cheat.Parties, p) || p == "b" && !slices.Contains(cheat.Parties, "a") {
							t.Errorf("%s blames %v, it was a", p, cheat.Parties)
						}
						if !cheat.Disputed && !slices.Equal(cheat.Parties, []mpc.PartyID{"a"}) && p != "a" {
							t.Errorf("%s names %v, who did nothing", p, cheat.Parties)
						}
					}
					// What failed can be done again, with other tuples.
					w.hub.SetFault(nil)
					if errs, good := ph.play(w); errs["b"] != nil || !good("b") {
						t.Errorf("afterwards b fails: %v", errs["b"])
					}
				})
			})
		}
	}
}

// record plays a phase without faults and returns the messages from a to b.
func record(t *testing.T, engine Protocol, n int, ph phase) map[string][]byte {
	t.Helper()
	old := map[string][]byte{}
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, n, 1, engine, 8)
		ph.ready(w)
		var mu sync.Mutex
		w.hub.SetFault(func(m memnet.Message) []memnet.Message {
			mu.Lock()
			defer mu.Unlock()
			if m.From == "a" && m.To == "b" {
				old[m.Round] = slices.Clone(m.Payload)
			}
			return []memnet.Message{m}
		})
		errs, _ := ph.play(w)
		for p, err := range errs {
			if err != nil {
				t.Fatalf("%s at %s: %v", ph.name, p, err)
			}
		}
	})
	return old
}

// A party that two different messages reach in one round has proof of cheating.
func TestTwoMessagesInOneRound(t *testing.T) {
	inWorld(t, 3, 1, active(), func(t *testing.T, w *world) {
		w.mustPrepare(allABC, 1)
		w.hub.SetFault(func(m memnet.Message) []memnet.Message {
			if m.From != "a" || m.To != "b" || !strings.HasSuffix(m.Round, "/statement") {
				return []memnet.Message{m}
			}
			second := m
			second.Payload = slices.Clone(m.Payload)
			second.Payload[0] ^= 1
			return []memnet.Message{m, second}
		})
		_, errs := w.sign(w.request(allABC, message), nil)
		blames(t, "b", errs["b"], true)
	})
}
