package mpc_test

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"zonesigner/mpc"
	"zonesigner/mpc/mpctest"
)

// verifying counts whose signatures an operator verifies.
type verifying struct {
	mpc.Identity
	mu  sync.Mutex
	who map[mpc.PartyID]int
}

func (v *verifying) Verify(from mpc.PartyID, msg, sig []byte) bool {
	v.mu.Lock()
	v.who[from]++
	v.mu.Unlock()
	return v.Identity.Verify(from, msg, sig)
}

// noSignature spends tuples for nothing.
type noSignature struct{ n int }

func (s noSignature) Opening() []byte { return nil }
func (s noSignature) Close()          {}
func (s noSignature) Finish(context.Context, map[mpc.PartyID][]byte) ([]mpc.Signature, error) {
	return make([]mpc.Signature, s.n), nil
}

// Of each run a member verifies the others' statements, once each, and has its
// own among those that are kept.
func TestSpenderVerifiesOthers(t *testing.T) {
	g := mpctest.Group(3, 1)
	set := mpc.NewSignerSet(g.Parties...)
	ids := mpctest.Identities(t, g.Parties)
	pool := mpc.PoolID{Key: "k", Set: set.String(), Stripe: set[0]}
	session := mpc.SignSession{ID: mpc.SessionID{1}, Set: set, Stripe: pool.Stripe, Requests: []mpc.SignRequest{
		mpctest.Request("k", []mpc.TupleRange{{Count: 1}, {From: 1, Count: 1}}, "one", "two"),
	}}
	errs := mpctest.Play(t, set, func(ctx context.Context, net mpc.Network) error {
		id := &verifying{Identity: ids[net.Self()], who: map[mpc.PartyID]int{}}
		store := mpctest.NewStore()
		if err := store.Add([]mpc.PoolChunk{{Pool: pool, Chunk: mpc.Chunk{Count: 2, Blob: make([]byte, 8)}}}); err != nil {
			return err
		}
		s := &mpc.Spender{Identity: id, Store: store, RunSize: 1, Window: 1}
		var mu sync.Mutex
		kept := map[mpc.PartyID]int{}
		s.Signed = func(_ mpc.SessionID, statements []mpc.SignedStatement) error {
			mu.Lock()
			defer mu.Unlock()
			for _, s := range statements {
				if _, from, err := mpc.VerifyStatement(ids[net.Self()], s.Raw); err != nil || from != s.From {
					return fmt.Errorf("statement of %s: %s, %w", s.From, from, err)
				}
				kept[s.From]++
			}
			return nil
		}
		_, err := s.Sign(ctx, net, session, []mpc.SigningKey{{Engine: "shamir", Group: g}}, nil, func(r *mpc.Run) (mpc.Spending, error) {
			return noSignature{len(r.Parts)}, nil
		})
		for _, p := range set {
			want := 2 // runs
			if kept[p] != want {
				t.Errorf("%s keeps %d statements of %s, expected %d", net.Self(), kept[p], p, want)
			}
			if p == net.Self() {
				want = 0
			}
			if id.who[p] != want {
				t.Errorf("%s verifies %d statements of %s, expected %d", net.Self(), id.who[p], p, want)
			}
		}
		return err
	})
	for p, err := range errs {
		if err != nil {
			t.Errorf("%s: %v", p, err)
		}
	}
}
