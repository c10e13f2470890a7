package ecdsa

import (
	"strings"
	"testing"

	"zonesigner/mpc"
	"zonesigner/mpc/mascot"
	"zonesigner/mpc/p256"
)

// TestSignWithoutMajority makes keys and signatures over the engines whose
// sharings have no redundancy but MACs, with tuples made for the key and with
// such that were bound in a later session.
func TestSignWithoutMajority(t *testing.T) {
	for _, c := range []struct {
		n      int
		engine mascot.Engine
	}{{2, mascot.Full()}, {3, mascot.Full()}, {2, mascot.Minus()}} {
		t.Run(c.engine.Name(), func(t *testing.T) {
			inWorld(t, c.n, c.n-1, Over(c.engine), func(t *testing.T, w *world) {
				set := mpc.NewSignerSet(w.group.Parties...)
				w.mustPrepare(set, 3)
				w.unbound(set, 3)
				w.mustBind(w.bindRequest(set, 2, w.key().ID))
				for range 2 { // five tuples in two chunks
					sigs, errs := w.sign(w.request(set, message, "second"), nil)
					for p, err := range errs {
						if err != nil {
							t.Errorf("sign at %s: %v", p, err)
						} else if len(sigs[p]) != 2 || sigs[p][0] != sigs["a"][0] {
							t.Errorf("%s has %d signatures, or others than a", p, len(sigs[p]))
						}
					}
				}
			})
		})
	}
}

// A member commits to a share of R that is not its own, when the tuple is made.
// With all of n operators signing no degree tells; the MAC does, and no share of
// s leaves. Without it the others release theirs.
func TestShiftedRWithoutMajority(t *testing.T) {
	for _, defended := range []bool{true, false} {
		inWorld(t, 2, 1, Over(mascot.Full()), func(t *testing.T, w *world) {
			w.mustPrepare(pairAB, 1)
			shiftR(t, w)
			w.setHoles(holes{noMACs: !defended})
			_, errs := w.sign(w.request(pairAB, message), nil)
			cheat, ok := mpc.AsCheat(errs["b"])
			want := "does not fit its MAC"
			if !defended {
				want = "do not verify"
			}
			if !ok || !strings.Contains(cheat.What, want) || cheat.Parties[0] != "a" {
				t.Errorf("defended %v: b says %v, want %q", defended, errs["b"], want)
			}
		})
	}
}

// shiftR makes a's share of R of the first tuple one more, as if a had committed
// to that.
func shiftR(t *testing.T, w *world) {
	t.Helper()
	id := w.stores["a"].Order[0]
	var shifted []byte
	for _, p := range []mpc.PartyID{"a", "b"} {
		c := w.stores[p].Chunks[id]
		r, err := decodeRun(c.Blob, 2, 0, 1)
		if err != nil {
			t.Fatal(err)
		}
		if p == "a" {
			point, err := p256.PointFromBytes(r.rShares)
			if err != nil {
				t.Fatal(err)
			}
			if shifted, err = p256.AppendPoints(nil, []p256.Point{point.Add(p256.Generator())}); err != nil {
				t.Fatal(err)
			}
			r.rShares = shifted
		}
		h := newCommitter(r.view, "a").commitment(0, shifted)
		r.commitments[0] = h[:]
		c.Blob = encodeChunk(r.kInv, r.kInvSK, r.committed)
		w.stores[p].Chunks[id] = c
	}
}
