package cggmp

import (
	"context"
	"testing"

	"github.com/taurusgroup/multi-party-sig/pkg/party"

	"zonesigner/mpc"
)

// prepare lets everybody make n presignatures for set.
func (w *world) prepare(set mpc.SignerSet, n int) map[mpc.PartyID]error {
	w.t.Helper()
	return w.among(w.group.Parties, func(ctx context.Context, net mpc.Network) error {
		return w.signers[net.Self()].Prepare(ctx, net, w.key().ID, set, "a", n, nil)
	})
}

// prepareAndSign makes n presignatures and signs with one of them.
func (w *world) prepareAndSign(set mpc.SignerSet, n int) {
	w.t.Helper()
	for p, err := range w.prepare(set, n) {
		if err != nil {
			w.t.Fatalf("prepare at %s: %v", p, err)
		}
	}
	first := w.stores[set[0]].Order[0]
	sigs, errs := w.sign(w.request(set, mpc.TupleRange{Chunk: first, Count: 1}, "a DNSKEY RRset"), nil)
	for _, p := range set {
		if errs[p] != nil {
			w.t.Fatalf("sign at %s: %v", p, errs[p])
		}
		if sigs[p][0][0] != sigs[set[0]][0][0] {
			w.t.Errorf("%s has another signature", p)
		}
		w.mustVerify("a DNSKEY RRset", sigs[p][0][0])
	}
}

// TestPrepareAndSign is the whole way with the library for two of three, one
// of whom lies between: shares are scaled to any set.
func TestPrepareAndSign(t *testing.T) {
	w := fixtureWorld(t)
	set := mpc.NewSignerSet("a", "c")
	var sent recorder
	sent.record(w, "a", "c")
	w.prepareAndSign(set, 1)
	stages := presignStages([]party.ID{libraryID(w.group, "c")})
	sent.refusesVariants(t, "chunk0/0", stages)
	sent.refusesHostileFrames(t, stages)
	if len(w.stores["b"].Order) != 0 {
		t.Error("an operator outside the set holds tuples")
	}
	if a, c := w.stores["a"].Order, w.stores["c"].Order; len(a) != 1 || a[0] != c[0] {
		t.Error("the members call a chunk by different names")
	}
}
