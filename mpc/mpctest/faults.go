package mpctest

import (
	"errors"
	"maps"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"zonesigner/mpc"
	"zonesigner/mpc/memnet"
)

// Phase is one protocol from start to end, in a world W that is ready for it.
type Phase[W any] struct {
	Name  string
	Ready func(w W)
	// Play runs it; good says which parties ended with a result.
	Play func(w W) (errs map[mpc.PartyID]error, good func(p mpc.PartyID) bool)
	// Unchecked says that a message may be altered unnoticed, as in a passive
	// protocol that leaves checks to what comes after it.
	Unchecked bool
}

// faults are what the network or operator a does to one message from a to b.
// A benign one must not be noticed; of any other b must not get a result, and
// nobody may be blamed that it cannot have been.
var faults = []struct {
	name   string
	benign bool
	alters bool // a message that keeps its length
	make   func(hub *memnet.Hub, old []byte) memnet.Fault
}{
	{"altered", false, true, func(*memnet.Hub, []byte) memnet.Fault {
		return func(m memnet.Message) []memnet.Message {
			m.Payload = slices.Clone(m.Payload)
			m.Payload[len(m.Payload)-1] ^= 1
			return []memnet.Message{m}
		}
	}},
	{"altered in the middle", false, true, func(*memnet.Hub, []byte) memnet.Fault {
		return func(m memnet.Message) []memnet.Message {
			m.Payload = slices.Clone(m.Payload)
			m.Payload[len(m.Payload)/2] ^= 1
			return []memnet.Message{m}
		}
	}},
	{"cut short", false, false, func(*memnet.Hub, []byte) memnet.Fault {
		return func(m memnet.Message) []memnet.Message {
			m.Payload = m.Payload[:len(m.Payload)-1]
			return []memnet.Message{m}
		}
	}},
	{"made longer", false, false, func(*memnet.Hub, []byte) memnet.Fault {
		return func(m memnet.Message) []memnet.Message {
			m.Payload = append(slices.Clone(m.Payload), 0)
			return []memnet.Message{m}
		}
	}},
	{"empty", false, false, func(*memnet.Hub, []byte) memnet.Fault {
		return func(m memnet.Message) []memnet.Message {
			m.Payload = nil
			return []memnet.Message{m}
		}
	}},
	{"replayed from an earlier session", false, true, func(_ *memnet.Hub, old []byte) memnet.Fault {
		return func(m memnet.Message) []memnet.Message {
			m.Payload = old
			return []memnet.Message{m}
		}
	}},
	{"dropped", false, false, func(*memnet.Hub, []byte) memnet.Fault {
		return func(memnet.Message) []memnet.Message { return nil }
	}},
	{"duplicated", true, false, func(*memnet.Hub, []byte) memnet.Fault {
		return func(m memnet.Message) []memnet.Message { return []memnet.Message{m, m} }
	}},
	{"delayed past later ones", true, false, func(hub *memnet.Hub, _ []byte) memnet.Fault {
		return func(m memnet.Message) []memnet.Message {
			time.AfterFunc(time.Second, func() { hub.Deliver(m) })
			return nil
		}
	}},
}

// EveryMessageEveryFault does each fault to each message of the phase, on the
// way from a to b or, when wide, on the way from a to all. world makes the
// group anew, and says by which hub it talks.
func EveryMessageEveryFault[W any](t *testing.T, ph Phase[W], wide bool, world func(t *testing.T) (W, *memnet.Hub)) {
	t.Helper()
	old := record(t, ph, world)
	for _, round := range slices.Sorted(maps.Keys(old)) {
		for _, f := range faults {
			t.Run(round+" "+f.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w, hub := world(t)
					ph.Ready(w)
					fault := f.make(hub, old[round])
					hub.SetFault(func(m memnet.Message) []memnet.Message {
						if m.From != "a" || m.To != "b" && !wide || m.Round != round {
							return []memnet.Message{m}
						}
						return fault(m)
					})
					errs, good := ph.Play(w)
					if f.benign {
						for p, err := range errs {
							if err != nil || !good(p) {
								t.Errorf("%s fails: %v", p, err)
							}
						}
						return
					}
					if ph.Unchecked && f.alters && errs["b"] == nil {
						return
					}
					if !blames(errs["b"]) || good("b") {
						t.Errorf("b has a result, or blames nobody: %v", errs["b"])
					}
					blamesNoOther(t, errs)
					// What failed can be done again, with other tuples.
					hub.SetFault(nil)
					if errs, good := ph.Play(w); errs["b"] != nil || !good("b") {
						t.Errorf("afterwards b fails: %v", errs["b"])
					}
				})
			})
		}
	}
}

// blames reports whether err tells whose doing it is.
func blames(err error) bool {
	_, absent := mpc.AsAbsent(err)
	_, cheat := mpc.AsCheat(err)
	var other *mpc.ArgumentError // who came for something else
	return absent || cheat || errors.As(err, &other)
}

// blamesNoOther wants nobody blamed for what happened between a and b that it
// cannot have been.
func blamesNoOther(t *testing.T, errs map[mpc.PartyID]error) {
	t.Helper()
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
}

// record plays a phase without faults and returns the messages from a to b.
func record[W any](t *testing.T, ph Phase[W], world func(t *testing.T) (W, *memnet.Hub)) map[string][]byte {
	t.Helper()
	old := map[string][]byte{}
	synctest.Test(t, func(t *testing.T) {
		w, hub := world(t)
		ph.Ready(w)
		var mu sync.Mutex
		hub.SetFault(func(m memnet.Message) []memnet.Message {
			mu.Lock()
			defer mu.Unlock()
			if m.From == "a" && m.To == "b" {
				old[m.Round] = slices.Clone(m.Payload)
			}
			return []memnet.Message{m}
		})
		errs, _ := ph.Play(w)
		for p, err := range errs {
			if err != nil {
				t.Fatalf("%s at %s: %v", ph.Name, p, err)
			}
		}
	})
	return old
}
