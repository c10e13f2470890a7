package cggmp

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"zonesigner/mpc"
	"zonesigner/mpc/memnet"
	"zonesigner/mpc/mpctest"
	"zonesigner/mpc/p256"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a group with everyone's signer over a memory network.
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
	keys map[mpc.PartyID]*KeyShare
	sk   p256.Scalar // where a dealer made the key
}

func newWorld(t testing.TB, n, threshold int) *world {
	t.Helper()
	w := &world{t: t, group: mpctest.Group(n, threshold), stores: map[mpc.PartyID]*mpctest.Store{},
		keys: map[mpc.PartyID]*KeyShare{}, signers: map[mpc.PartyID]*Signer{}}
	w.ids = mpctest.Identities(t, w.group.Parties)
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
				if k := w.keys[p]; k != nil && k.ID == id {
					return k, nil
				}
				return nil, fmt.Errorf("no key %s", id)
			},
			ChunkSize: 2,
		})
		if err != nil {
			t.Fatal(err)
		}
		s.runSize = 2
		w.signers[p] = s
	}
	return w
}

// fixtureWorld is a group of three, of whom any two sign, with the key that is
// committed in testdata: a key for tests alone, for whose making see
// TestGenerateKey.
func fixtureWorld(t testing.TB) *world {
	t.Helper()
	w := newWorld(t, 3, 1)
	for _, p := range w.group.Parties {
		b, err := os.ReadFile(fixture(p))
		if err != nil {
			t.Fatal(err)
		}
		k := new(KeyShare)
		if err := k.UnmarshalBinary(b); err != nil {
			t.Fatal(err)
		}
		w.keys[p] = k
	}
	return w
}

func fixture(p mpc.PartyID) string {
	return filepath.Join("testdata", "keyshare-v1-test-key-"+string(p)+".bin")
}

// dealtWorld is a group with a key that a dealer made, good for spending
// presignatures that a dealer made, too: no need for the library there.
func dealtWorld(t testing.TB, n, threshold int) *world {
	t.Helper()
	w := newWorld(t, n, threshold)
	w.sk = random(t)
	for _, p := range w.group.Parties {
		w.keys[p] = &KeyShare{ID: "dealt", Engine: Engine, Group: w.group, Self: p, Public: p256.BaseMult(w.sk)}
	}
	return w
}

func random(t testing.TB) p256.Scalar {
	t.Helper()
	x, err := p256.RandomScalar(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

// deal gives the members of set n presignatures in one chunk.
func (w *world) deal(set mpc.SignerSet, n int) mpc.TupleRange {
	w.t.Helper()
	own := make([][]*tuple, len(set))
	for range n {
		k := random(w.t)
		chi := k.Mul(w.sk)
		t := tuple{R: p256.BaseMult(k.Inverse())}
		ks, chis := make([]p256.Scalar, len(set)), make([]p256.Scalar, len(set))
		for j := range set {
			ks[j], chis[j] = random(w.t), random(w.t)
			if j == len(set)-1 {
				ks[j], chis[j] = k, chi
			}
			k, chi = k.Sub(ks[j]), chi.Sub(chis[j])
			t.RBar, t.S = append(t.RBar, t.R.Mult(ks[j])), append(t.S, t.R.Mult(chis[j]))
		}
		for j := range set {
			mine := t
			mine.k, mine.chi = ks[j], chis[j]
			if err := mine.check(w.keys[set[j]], set); err != nil {
				w.t.Fatal(err)
			}
			own[j] = append(own[j], &mine)
		}
	}
	var id mpc.ChunkID
	_, _ = rand.Read(id[:])
	pool := mpc.PoolID{Key: w.key().ID, Set: set.String(), Stripe: "a"}
	for j, p := range set {
		blob, err := encodeChunk(own[j], len(set))
		if err != nil {
			w.t.Fatal(err)
		}
		if err := w.stores[p].Add([]mpc.PoolChunk{{Pool: pool, Chunk: mpc.Chunk{ID: id, Count: n, Blob: blob}}}); err != nil {
			w.t.Fatal(err)
		}
	}
	return mpc.TupleRange{Chunk: id, Count: n}
}

// among runs f for each of parties in a fresh session.
func (w *world) among(parties []mpc.PartyID, f func(ctx context.Context, net mpc.Network) error) map[mpc.PartyID]error {
	w.t.Helper()
	w.sessions++
	// Who detects a cheat falls silent. The others have some time to detect
	// it, too, and the last one need not wait long.
	var mu sync.Mutex
	ended, failed := 0, false
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	return mpctest.Session(ctx, w.t, w.hub, mpc.SessionID{w.sessions}, parties, func(ctx context.Context, net mpc.Network) error {
		if w.wrap != nil {
			net = w.wrap(net)
		}
		err := f(ctx, net)
		mu.Lock()
		defer mu.Unlock()
		ended, failed = ended+1, failed || err != nil
		switch {
		case failed && ended >= len(parties)-1:
			time.AfterFunc(200*time.Millisecond, cancel)
		case failed:
			time.AfterFunc(3*time.Second, cancel)
		}
		return err
	})
}

func (w *world) key() *KeyShare { return w.keys[w.group.Parties[0]] }

func (w *world) request(set mpc.SignerSet, tuples mpc.TupleRange, messages ...string) mpc.SignSession {
	r := mpctest.Request(w.key().ID, []mpc.TupleRange{tuples}, messages...)
	return mpc.SignSession{ID: mpc.SessionID{w.sessions + 1}, Set: set, Stripe: "a", Requests: []mpc.SignRequest{r}}
}

// sign lets every member sign what change makes of the session.
func (w *world) sign(session mpc.SignSession, change func(p mpc.PartyID, s *mpc.SignSession)) (map[mpc.PartyID][][]mpc.Signature, map[mpc.PartyID]error) {
	w.t.Helper()
	return mpctest.Sign(session, change, w.signers, w.among)
}

func (w *world) mustVerify(message string, sig mpc.Signature) {
	w.t.Helper()
	if !p256.VerifySignature(w.key().Public, sha256.Sum256([]byte(message)), sig) {
		w.t.Errorf("signature on %q does not verify", message)
	}
	s, err := p256.ScalarFromBytes(sig[32:])
	if err != nil || s.IsHigh() {
		w.t.Errorf("signature on %q has the larger s: %v", message, err)
	}
}

// open takes defences out of everybody's signer.
func (w *world) open(h holes) {
	for _, s := range w.signers {
		s.holes = h
	}
}

// blames checks that err is a CheatError that names exactly these.
func blames(t testing.TB, err error, who ...mpc.PartyID) {
	t.Helper()
	cheat, ok := mpc.AsCheat(err)
	if !ok || mpc.SignerSet(who).String() != mpc.SignerSet(cheat.Parties).String() || cheat.Disputed != (len(who) > 1) {
		t.Errorf("error %v, want one that blames %v", err, who)
	}
}

// tamper changes what self sends: change gets each message to another party
// and returns what goes out instead.
type tamper struct {
	mpc.Network
	change func(to mpc.PartyID, round string, b []byte) []byte
}

func (n tamper) Send(ctx context.Context, to mpc.PartyID, round string, b []byte) error {
	return n.Network.Send(ctx, to, round, n.change(to, round, clone(b)))
}

// cheater makes p's network a tampered one.
func (w *world) cheater(p mpc.PartyID, change func(to mpc.PartyID, round string, b []byte) []byte) {
	w.wrap = func(net mpc.Network) mpc.Network {
		if net.Self() == p {
			return tamper{net, change}
		}
		return net
	}
}
