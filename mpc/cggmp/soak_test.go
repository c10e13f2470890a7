//go:build soak

package cggmp

import (
	"testing"

	"zonesigner/mpc"
	"zonesigner/mpc/memnet"
	"zonesigner/mpc/mpctest"
)

// TestSoakFaults does each fault to each message by which the library makes a
// presignature: a quarter of an hour on two cores. All else, TestSigner does.
func TestSoakFaults(t *testing.T) {
	mpctest.EveryMessageEveryFault(t, mpctest.Phase[*world]{
		Name:  "prepare",
		Ready: func(*world) {},
		Play: func(w *world) (map[mpc.PartyID]error, func(p mpc.PartyID) bool) {
			had := map[mpc.PartyID]int{}
			for p, s := range w.stores {
				had[p] = len(s.Order)
			}
			errs := w.prepare(pairAB, 1)
			return errs, func(p mpc.PartyID) bool { return !pairAB.Contains(p) || len(w.stores[p].Order) > had[p] }
		},
	}, false, func(t *testing.T) (*world, *memnet.Hub) {
		w := fixtureWorld(t)
		return w, w.hub
	})
}
