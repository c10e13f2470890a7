package ecdsa

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"zonesigner/mpc"
	"zonesigner/mpc/memnet"
	"zonesigner/mpc/mpctest"
	"zonesigner/mpc/rep3"
)

func phases(set mpc.SignerSet) []mpctest.Phase[*world] {
	return []mpctest.Phase[*world]{
		{
			Name:  "generate",
			Ready: func(*world) {},
			Play: func(w *world) (map[mpc.PartyID]error, func(mpc.PartyID) bool) {
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
			Name:  "prepare",
			Ready: func(w *world) { w.generate() },
			Play: func(w *world) (map[mpc.PartyID]error, func(mpc.PartyID) bool) {
				had := len(w.stores["b"].Order)
				errs := w.prepare(set, 2)
				return errs, func(p mpc.PartyID) bool { return !set.Contains(p) || len(w.stores[p].Order) > had }
			},
		},
		{
			Name: "sign",
			Ready: func(w *world) {
				w.generate()
				w.mustPrepare(set, 8)
			},
			Play: func(w *world) (map[mpc.PartyID]error, func(mpc.PartyID) bool) {
				req := w.request(set, message)
				from := 0 // what one of them has spent is not proposed again
				for _, p := range set {
					from = max(from, w.stores[p].Next[req.Requests[0].Tuples[0].Chunk])
				}
				req.Requests[0].Tuples = []mpc.TupleRange{{Chunk: req.Requests[0].Tuples[0].Chunk, From: from, Count: 1}}
				sigs, errs := w.sign(req, nil)
				return errs, func(p mpc.PartyID) bool { return sigs[p] != nil && w.verify(message, sigs[p][0]) }
			},
		},
	}
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
				t.Run(fmt.Sprintf("%s %d %s wide=%v", g.engine.Name(), g.n, ph.Name, wide), func(t *testing.T) {
					mpctest.EveryMessageEveryFault(t, ph, wide, func(t *testing.T) (*world, *memnet.Hub) {
						w := newWorld(t, g.n, 1, g.engine, 8)
						return w, w.hub
					})
				})
			}
		}
	}
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
