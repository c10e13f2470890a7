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
	"zonesigner/mpc/p256"
)

// A chunk waits for the rounds of its batches side by side: in a bubble, where
// computing takes no time, so many ways between operators and no more.
func TestRoundsOfChunk(t *testing.T) {
	const way = 120 * time.Millisecond
	g := mpctest.Group(2, 1)
	// A key of another session: what operators have of it adds up.
	sk := map[mpc.PartyID]Share{}
	value, key, mac := randomScalar(), p256.NewScalar(5), randomScalar()
	sk["a"] = Share{Value: value, MAC: mac, Key: key}
	sk["b"] = Share{MAC: key.Add(key).Mul(value).Sub(mac), Key: key}
	full, minus := Full(), Minus()
	for _, c := range []struct {
		e              Engine
		tuples, rounds int
	}{{full, 1, 11}, {full, batchesAhead * componentBatch / 2, 14}, {full, mpc.DefaultChunkSize, 18}, {minus, 1, 11}, {minus, mpc.DefaultChunkSize, 18}} {
		t.Run(fmt.Sprint(c.e.Name(), " ", c.tuples), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				hub := memnet.New(g.Parties...)
				defer hub.Close()
				hub.SetDelay(way)
				for p, err := range mpctest.Session(t.Context(), t, hub, mpc.SessionID{1}, g.Parties, func(ctx context.Context, net mpc.Network) error {
					b, err := c.e.Start(ctx, net, g, nil)
					if err != nil {
						return err
					}
					defer b.Close()
					if _, err := b.Random(ctx, 1); err != nil { // the set-up is over
						return err
					}
					begin := time.Now()
					if err := makeTuples(ctx, b.Fork("chunk"), sk[net.Self()], c.tuples); err != nil {
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

// What one peer may have sent that waits here, of all chunks that are in flight,
// fits the queue of a session.
func TestWaitingMessages(t *testing.T) {
	const queue = 64 << 20 // of both transports, for one peer
	batch := extensionSize(componentBatch*componentBits) + componentBatch*componentBits*inputs*scalarSize
	byMasks := timesBatch * numberDigits * scalarSize
	byKey := timesBatch * keyDigits * scalarSize
	const small = 64 << 10 // the set-up of factors, and coins
	if most := max(batchesAhead*batch+timesAhead*byMasks, keyTimesAhead*byKey) + small; most*mpc.DefaultWindow > queue {
		t.Errorf("%d bytes of a chunk wait, of %d chunks: more than %d", most, mpc.DefaultWindow, queue)
	}
}
