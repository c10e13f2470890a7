package frost

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"zonesigner/mpc"
	"zonesigner/mpc/memnet"
	"zonesigner/mpc/mpctest"
)

func phases(set mpc.SignerSet) []mpctest.Phase[*world] {
	return []mpctest.Phase[*world]{
		{
			Name:  "generate",
			Ready: func(*world) {},
			Play: func(w *world) (map[mpc.PartyID]error, func(mpc.PartyID) bool) {
				had := map[mpc.PartyID]int{}
				for p, k := range w.keys {
					had[p] = len(k)
				}
				errs := w.generate(holes{}, "example. zsk", "example. ksk")
				return errs, func(p mpc.PartyID) bool { return len(w.keys[p]) == had[p]+2 }
			},
		},
		{
			Name:  "prepare",
			Ready: func(w *world) { w.mustGenerate("example. zsk") },
			Play: func(w *world) (map[mpc.PartyID]error, func(mpc.PartyID) bool) {
				had := len(w.stores["b"].Order)
				errs := w.prepare(w.key().ID, set, 2)
				return errs, func(p mpc.PartyID) bool { return !set.Contains(p) || len(w.stores[p].Order) > had }
			},
		},
		{
			Name: "sign",
			Ready: func(w *world) {
				w.mustGenerate("example. zsk")
				w.mustPrepare(set, 8)
			},
			Play: func(w *world) (map[mpc.PartyID]error, func(mpc.PartyID) bool) {
				req := w.request(w.key().ID, set, message)
				from := 0 // what one of them has spent is not proposed again
				for _, p := range set {
					from = max(from, w.stores[p].Next[req.Tuples[0].Chunk])
				}
				req.Tuples = []mpc.TupleRange{{Chunk: req.Tuples[0].Chunk, From: from, Count: 1}}
				sigs, errs := w.sign(w.session(set, req), nil)
				return errs, func(p mpc.PartyID) bool { return sigs[p] != nil && w.key().verify(message, sigs[p][0][0]) }
			},
		},
	}
}

// TestEveryMessageEveryFault does each fault to each message of each phase, on
// the way from a to b and on the way to all.
func TestEveryMessageEveryFault(t *testing.T) {
	for _, g := range []struct {
		n    int
		set  mpc.SignerSet
		wide []bool
	}{{2, pairAB, []bool{false}}, {3, pairAB, []bool{false}}, {3, allABC, []bool{false, true}}} {
		for _, ph := range phases(g.set) {
			for _, wide := range g.wide {
				t.Run(fmt.Sprintf("%d %s %s wide=%v", g.n, g.set, ph.Name, wide), func(t *testing.T) {
					mpctest.EveryMessageEveryFault(t, ph, wide, func(t *testing.T) (*world, *memnet.Hub) {
						w := newWorld(t, g.n, 1, chunkSize)
						return w, w.hub
					})
				})
			}
		}
	}
}

// A party that two different messages reach in one round has proof of cheating.
func TestTwoMessagesInOneRound(t *testing.T) {
	inWorld(t, 3, 1, func(t *testing.T, w *world) {
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
		_, errs := w.signMessages(allABC, message)
		blames(t, "b", errs["b"], true)
	})
}
