package ecdsa

import (
	"context"
	"crypto/sha256"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"zonesigner/mpc"
	"zonesigner/mpc/memnet"
	"zonesigner/mpc/mpctest"
	"zonesigner/mpc/p256"
	"zonesigner/mpc/shamir"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a group with a key, and everyone's signer over a memory network.
type world struct {
	t        testing.TB
	hub      *memnet.Hub
	group    mpc.Group
	protocol Protocol
	ids      map[mpc.PartyID]*mpctest.Identity
	stores   map[mpc.PartyID]*mpctest.Store
	keys     map[mpc.PartyID]*KeyShare
	more     map[mpc.PartyID][]*KeyShare // other keys
	signers  map[mpc.PartyID]*Signer
	sessions byte
	// wrap, which may be nil, stands between a party and its network.
	wrap func(net mpc.Network) mpc.Network
}

func newWorld(t testing.TB, n, threshold int, engine Protocol, chunk int) *world {
	t.Helper()
	w := &world{t: t, protocol: engine, group: mpctest.Group(n, threshold), stores: map[mpc.PartyID]*mpctest.Store{},
		keys: map[mpc.PartyID]*KeyShare{}, more: map[mpc.PartyID][]*KeyShare{}, signers: map[mpc.PartyID]*Signer{}}
	w.ids = mpctest.Identities(t, w.group.Parties)
	w.hub = memnet.New(w.group.Parties...)
	t.Cleanup(w.hub.Close)
	for _, p := range w.group.Parties {
		w.stores[p] = mpctest.NewStore()
		s, err := NewSigner(Config{
			Identity:  w.ids[p],
			Store:     w.stores[p],
			Protocols: []Protocol{w.protocol},
			Keys: func(id mpc.KeyID) (*KeyShare, error) {
				for _, k := range append(w.more[p], w.keys[p]) {
					if k != nil && k.ID == id {
						return k, nil
					}
				}
				return nil, fmt.Errorf("no key %s", id)
			},
			Group:     func() mpc.Group { return w.group },
			ChunkSize: chunk,
		})
		if err != nil {
			t.Fatal(err)
		}
		s.runSize = chunk
		w.signers[p] = s
	}
	return w
}

// generate makes the world's key.
func (w *world) generate() {
	w.t.Helper()
	for p, err := range w.all(func(ctx context.Context, net mpc.Network) error {
		k, err := GenerateKey(ctx, net, w.ids[net.Self()], w.group, w.protocol, []byte("example. zsk"))
		w.put(net.Self(), k)
		return err
	}) {
		if err != nil {
			w.t.Fatalf("generate key at %s: %v", p, err)
		}
	}
}

var keysMu sync.Mutex

func (w *world) put(p mpc.PartyID, k *KeyShare) {
	keysMu.Lock()
	defer keysMu.Unlock()
	w.keys[p] = k
}

func (w *world) all(f func(ctx context.Context, net mpc.Network) error) map[mpc.PartyID]error {
	w.t.Helper()
	return w.among(w.group.Parties, f)
}

// among runs f for each of parties in a fresh session of at most a minute: in
// a bubble of testing/synctest that is no time at all once everybody waits.
func (w *world) among(parties []mpc.PartyID, f func(ctx context.Context, net mpc.Network) error) map[mpc.PartyID]error {
	w.t.Helper()
	w.sessions++
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return mpctest.Session(ctx, w.t, w.hub, mpc.SessionID{w.sessions}, parties, func(ctx context.Context, net mpc.Network) error {
		if w.wrap != nil {
			net = w.wrap(net)
		}
		return f(ctx, net)
	})
}

// inWorld runs f in a bubble, with a group of three that has a key.
func inWorld(t *testing.T, n, threshold int, engine Protocol, f func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, n, threshold, engine, 8)
		w.generate()
		f(t, w)
	})
}

func (w *world) key() *KeyShare { return w.keys[w.group.Parties[0]] }

func (w *world) prepare(set mpc.SignerSet, n int) map[mpc.PartyID]error {
	w.t.Helper()
	return w.all(func(ctx context.Context, net mpc.Network) error {
		return w.signers[net.Self()].Prepare(ctx, net, w.key().ID, set, "a", n, nil)
	})
}

func (w *world) mustPrepare(set mpc.SignerSet, n int) {
	w.t.Helper()
	for p, err := range w.prepare(set, n) {
		if err != nil {
			w.t.Fatalf("prepare at %s: %v", p, err)
		}
	}
}

// ranges names what a member has in the pool.
func (w *world) ranges(key mpc.KeyID, set mpc.SignerSet) []mpc.TupleRange {
	return w.stores[set[0]].Left(mpc.PoolID{Key: key, Set: set.String(), Stripe: "a"})
}

// request is for one key, the world's.
func (w *world) request(set mpc.SignerSet, messages ...string) mpc.SignSession {
	req := mpctest.Request(w.key().ID, w.ranges(w.key().ID, set), messages...)
	return mpc.SignSession{ID: mpc.SessionID{w.sessions + 1}, Set: set, Stripe: "a", Requests: []mpc.SignRequest{req}}
}

// sign lets every member sign what change makes of the session's one request.
func (w *world) sign(session mpc.SignSession, change func(p mpc.PartyID, s *mpc.SignSession)) (map[mpc.PartyID][]mpc.Signature, map[mpc.PartyID]error) {
	w.t.Helper()
	sigs := map[mpc.PartyID][]mpc.Signature{}
	all, errs := w.signAll(session, change)
	for p, s := range all {
		if s != nil {
			sigs[p] = s[0]
		}
	}
	return sigs, errs
}

// signAll lets every member sign what change makes of the session.
func (w *world) signAll(session mpc.SignSession, change func(p mpc.PartyID, s *mpc.SignSession)) (map[mpc.PartyID][][]mpc.Signature, map[mpc.PartyID]error) {
	w.t.Helper()
	return mpctest.Sign(session, change, w.signers, w.among)
}

// generateMore makes n keys in one session and returns their ids.
func (w *world) generateMore(n int) []mpc.KeyID {
	w.t.Helper()
	var labels [][]byte
	for i := range n {
		labels = append(labels, fmt.Appendf(nil, "zone%d. zsk", i))
	}
	for p, err := range w.all(func(ctx context.Context, net mpc.Network) error {
		made, err := GenerateKeys(ctx, net, w.ids[net.Self()], w.group, w.protocol, labels)
		keysMu.Lock()
		defer keysMu.Unlock()
		w.more[net.Self()] = made
		return err
	}) {
		if err != nil {
			w.t.Fatalf("generate %d keys at %s: %v", n, p, err)
		}
	}
	var ids []mpc.KeyID
	for _, k := range w.more["a"] {
		ids = append(ids, k.ID)
	}
	return ids
}

func (w *world) verify(message string, sig mpc.Signature) bool {
	return p256.VerifySignature(w.key().Public, sha256.Sum256([]byte(message)), sig)
}

func passive() Protocol { return Over(shamir.Passive()) }
func active() Protocol  { return Over(shamir.Active()) }
