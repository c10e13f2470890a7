package mascot

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"zonesigner/mpc"
	"zonesigner/mpc/memnet"
	"zonesigner/mpc/mpctest"
)

// A chunk waits for the rounds of its batches side by side: in a bubble, where
// computing takes no time, so many ways between operators and no more.
func TestRoundsOfChunk(t *testing.T) {
	const way = 120 * time.Millisecond
	g := mpctest.Group(2, 1)
	e := Full()
	for _, c := range []struct{ tuples, rounds int }{{1, 13}, {batchesAhead * productBatch, 16}, {1024, 19}} {
		t.Run(fmt.Sprint(c.tuples), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				hub := memnet.New(g.Parties...)
				defer hub.Close()
				hub.SetDelay(way)
				for p, err := range mpctest.Session(t.Context(), t, hub, mpc.SessionID{1}, g.Parties, func(ctx context.Context, net mpc.Network) error {
					b, err := e.Start(ctx, net, g, nil)
					if err != nil {
						return err
					}
					defer b.Close()
					sk, err := b.Random(ctx, 1)
					if err != nil {
						return err
					}
					begin := time.Now()
					if err := makeTuples(ctx, b.Fork("chunk"), sk[0], c.tuples); err != nil {
						return err
					}
					if took := time.Since(begin); took != time.Duration(c.rounds)*way {
						t.Errorf("it took %v: %v rounds, want %d", took, float64(took)/float64(way), c.rounds)
					}
					return nil
				}) {
					if err != nil {
						t.Errorf("%s says %v", p, err)
					}
				}
			})
		})
	}
}
