// Package mpctest is what tests of protocols share: parties that run one over
// a memory network, an adversary among them, identities and pools in memory,
// every fault done to every message, and the conformance suite of signers,
// TestSigner.
package mpctest

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"zonesigner/mpc"
	"zonesigner/mpc/memnet"
)

// Group is of n operators, a, b, c and so on, of whom t may be corrupt.
func Group(n, t int) mpc.Group {
	g := mpc.Group{T: t, Digest: sha256.Sum256([]byte("a test's group"))}
	for i := range n {
		g.Parties = append(g.Parties, mpc.PartyID(rune('a'+i)))
	}
	return g
}

// Play runs f at each of parties over a network of their own, for at most a
// minute, and returns what each came to. All of it is in a bubble of
// testing/synctest: time stands still while anyone can go on, so a party that
// waits for one that fell silent is released at once, and a goroutine left
// behind fails the test.
func Play(t *testing.T, parties []mpc.PartyID, f func(ctx context.Context, net mpc.Network) error) (errs map[mpc.PartyID]error) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		hub := memnet.New(parties...)
		defer hub.Close()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		errs = Session(ctx, t, hub, mpc.SessionID{1}, parties, f)
	})
	return errs
}

// Session runs f at each of parties in a session of hub and returns what each
// came to.
func Session(ctx context.Context, t testing.TB, hub *memnet.Hub, id mpc.SessionID, parties []mpc.PartyID, f func(ctx context.Context, net mpc.Network) error) map[mpc.PartyID]error {
	t.Helper()
	ends, err := hub.Open(id, parties...)
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	errs := map[mpc.PartyID]error{}
	for _, end := range ends {
		wg.Go(func() {
			err := f(ctx, end)
			mu.Lock()
			defer mu.Unlock()
			errs[end.Self()] = err
		})
	}
	wg.Wait()
	for _, end := range ends {
		end.Close()
	}
	return errs
}

// Attack runs f at each party of g, self, over a box of engine. The network of a, the
// adversary, is a puppet, which f gets there; elsewhere f gets nil.
func Attack[S any](t *testing.T, engine mpc.Engine[S], g mpc.Group, alter func(to mpc.PartyID, round string, b []byte) []byte, f func(ctx context.Context, box mpc.Box[S], self mpc.PartyID, a *Puppet) error) map[mpc.PartyID]error {
	t.Helper()
	return Play(t, g.Parties, func(ctx context.Context, net mpc.Network) error {
		var a *Puppet
		if net.Self() == "a" {
			a = NewPuppet(net, Blind(alter))
			net = a
		}
		box, err := engine.Start(ctx, net, g, nil)
		if err != nil {
			return err
		}
		return f(ctx, box, net.Self(), a)
	})
}

// Identity is mpc.Identity with keys in memory.
type Identity struct {
	self mpc.PartyID
	key  ed25519.PrivateKey
	all  map[mpc.PartyID]ed25519.PublicKey
}

// Identities makes fresh keys for parties.
func Identities(t testing.TB, parties []mpc.PartyID) map[mpc.PartyID]*Identity {
	t.Helper()
	public := map[mpc.PartyID]ed25519.PublicKey{}
	ids := map[mpc.PartyID]*Identity{}
	for _, p := range parties {
		pk, sk, err := ed25519.GenerateKey(nil)
		if err != nil {
			t.Fatal(err)
		}
		public[p], ids[p] = pk, &Identity{p, sk, public}
	}
	return ids
}

// Self is whose identity it is.
func (i *Identity) Self() mpc.PartyID { return i.self }

// Sign signs with the operator's key.
func (i *Identity) Sign(msg []byte) []byte { return ed25519.Sign(i.key, msg) }

// Verify reports whether sig is from's signature on msg.
func (i *Identity) Verify(from mpc.PartyID, msg, sig []byte) bool {
	pk := i.all[from]
	return pk != nil && len(sig) == ed25519.SignatureSize && ed25519.Verify(pk, msg, sig)
}
