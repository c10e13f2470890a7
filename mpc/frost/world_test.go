package frost

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"zonesigner/mpc"
	"zonesigner/mpc/memnet"
	"zonesigner/mpc/mpctest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a group with keys, and everyone's signer over a memory network.
type world struct {
	t        testing.TB
	hub      *memnet.Hub
	group    mpc.Group
	ids      map[mpc.PartyID]*mpctest.Identity
	stores   map[mpc.PartyID]*mpctest.Store
	signers  map[mpc.PartyID]*Signer
	sessions byte
	// wrap, which may be nil, stands between a party and its network.
	wrap func(net mpc.Network) mpc.Network

	mu   sync.Mutex
	keys map[mpc.PartyID][]*KeyShare
}

const chunkSize = 8

// newWorld has parties whose order in the group is not that of their names.
func newWorld(t testing.TB, n, threshold, chunk int) *world {
	t.Helper()
	w := &world{t: t, group: mpctest.Group(n, threshold), stores: map[mpc.PartyID]*mpctest.Store{},
		keys: map[mpc.PartyID][]*KeyShare{}, signers: map[mpc.PartyID]*Signer{}}
	w.ids = mpctest.Identities(t, w.group.Parties)
	slices.Reverse(w.group.Parties)
	w.hub = memnet.New(w.group.Parties...)
	t.Cleanup(w.hub.Close)
	for _, p := range w.group.Parties {
		w.stores[p] = mpctest.NewStore()
		s, err := NewSigner(Config{
			Identity: w.ids[p],
			Store:    w.stores[p],
			Keys: func(id mpc.KeyID) (*KeyShare, error) {
				w.mu.Lock()
				defer w.mu.Unlock()
				for _, k := range w.keys[p] {
					if k.ID == id {
						return k, nil
					}
				}
				return nil, fmt.Errorf("no key %s", id)
			},
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

// generate makes keys, as all parties with the given holes.
func (w *world) generate(h holes, labels ...string) map[mpc.PartyID]error {
	w.t.Helper()
	var bytes [][]byte
	for _, l := range labels {
		bytes = append(bytes, []byte(l))
	}
	return w.among(w.group.Parties, func(ctx context.Context, net mpc.Network) error {
		keys, err := generateKeys(ctx, net, w.ids[net.Self()], w.group, bytes, h)
		w.mu.Lock()
		defer w.mu.Unlock()
		w.keys[net.Self()] = append(w.keys[net.Self()], keys...)
		return err
	})
}

func (w *world) mustGenerate(labels ...string) {
	w.t.Helper()
	w.must(w.generate(holes{}, labels...))
}

func (w *world) must(errs map[mpc.PartyID]error) {
	w.t.Helper()
	for p, err := range errs {
		if err != nil {
			w.t.Fatalf("at %s: %v", p, err)
		}
	}
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

// inWorld runs f in a bubble, with a group that has a key.
func inWorld(t *testing.T, n, threshold int, f func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, n, threshold, chunkSize)
		w.mustGenerate("example. zsk")
		f(t, w)
	})
}

func (w *world) key() *KeyShare { return w.keys["a"][0] }

func (w *world) prepare(key mpc.KeyID, set mpc.SignerSet, n int) map[mpc.PartyID]error {
	w.t.Helper()
	return w.among(w.group.Parties, func(ctx context.Context, net mpc.Network) error {
		return w.signers[net.Self()].Prepare(ctx, net, key, set, "a", n, nil)
	})
}

func (w *world) mustPrepare(set mpc.SignerSet, n int) {
	w.t.Helper()
	w.must(w.prepare(w.key().ID, set, n))
}

// ranges names what a member has in the pool.
func (w *world) ranges(key mpc.KeyID, set mpc.SignerSet) []mpc.TupleRange {
	return w.stores[set[0]].Left(mpc.PoolID{Key: key, Set: set.String(), Stripe: "a"})
}

// request is for one key.
func (w *world) request(key mpc.KeyID, set mpc.SignerSet, messages ...string) mpc.SignRequest {
	return mpctest.Request(key, w.ranges(key, set), messages...)
}

func (w *world) session(set mpc.SignerSet, requests ...mpc.SignRequest) mpc.SignSession {
	return mpc.SignSession{ID: mpc.SessionID{w.sessions + 1}, Set: set, Stripe: "a", Requests: requests}
}

// sign lets every member sign what change makes of the session.
func (w *world) sign(session mpc.SignSession, change func(p mpc.PartyID, s *mpc.SignSession)) (map[mpc.PartyID][][]mpc.Signature, map[mpc.PartyID]error) {
	w.t.Helper()
	return mpctest.Sign(session, change, w.signers, w.among)
}

// signMessages is sign with the world's key.
func (w *world) signMessages(set mpc.SignerSet, messages ...string) (map[mpc.PartyID][][]mpc.Signature, map[mpc.PartyID]error) {
	w.t.Helper()
	return w.sign(w.session(set, w.request(w.key().ID, set, messages...)), nil)
}

func (k *KeyShare) verify(message string, sig mpc.Signature) bool {
	public := k.PublicKey()
	return ed25519.Verify(public[:], []byte(message), sig[:])
}
