package mpctest

import (
	"context"
	"crypto/sha256"
	"slices"
	"sync"

	"zonesigner/mpc"
)

// Request asks for signatures on messages with key, of a manifest that is
// always the same.
func Request(key mpc.KeyID, tuples []mpc.TupleRange, messages ...string) mpc.SignRequest {
	req := mpc.SignRequest{Key: key, Manifest: sha256.Sum256([]byte("a manifest")), Tuples: tuples}
	for _, m := range messages {
		req.Messages = append(req.Messages, []byte(m))
	}
	return req
}

// Sign lets every member, whose signer is signer's, sign what change, which may
// be nil, makes of the session. among runs the members.
func Sign[T mpc.Signer](session mpc.SignSession, change func(p mpc.PartyID, s *mpc.SignSession), signers map[mpc.PartyID]T,
	among func(parties []mpc.PartyID, f func(ctx context.Context, net mpc.Network) error) map[mpc.PartyID]error,
) (map[mpc.PartyID][][]mpc.Signature, map[mpc.PartyID]error) {
	var mu sync.Mutex
	sigs := map[mpc.PartyID][][]mpc.Signature{}
	errs := among(session.Set, func(ctx context.Context, net mpc.Network) error {
		mine := session
		mine.Requests = slices.Clone(session.Requests)
		if change != nil {
			change(net.Self(), &mine)
		}
		s, err := signers[net.Self()].Sign(ctx, net, mine, nil)
		mu.Lock()
		defer mu.Unlock()
		sigs[net.Self()] = s
		return err
	})
	return sigs, errs
}
