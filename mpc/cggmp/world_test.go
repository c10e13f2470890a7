package cggmp

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
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

	dealer *dealer // nil: the library
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
			ChunkSize: DefaultChunkSize,
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
		b, err := os.ReadFile(testKey(p))
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

func testKey(p mpc.PartyID) string {
	return filepath.Join("testdata", "keyshare-v1-test-key-"+string(p)+".bin")
}

// dealtWorld is a group with a key and presignatures that a dealer makes: no
// need for the library there.
func dealtWorld(t testing.TB, n, threshold int) *world {
	t.Helper()
	w := newWorld(t, n, threshold)
	d := newDealer(t)
	w.dealer = d
	for _, p := range w.group.Parties {
		w.keys[p] = &KeyShare{ID: "dealt", Engine: Engine, Group: w.group, Self: p, Public: p256.BaseMult(d.secret("dealt"))}
		w.signers[p].presign = d.presign
	}
	return w
}

// inDealtWorld runs f in a bubble of testing/synctest, where waiting for one
// that fell silent takes no time.
func inDealtWorld(t *testing.T, n, threshold int, f func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { f(t, dealtWorld(t, n, threshold)) })
}

// dealer makes keys and presignatures in the library's place.
type dealer struct {
	t testing.TB

	mu    sync.Mutex
	sk    map[mpc.KeyID]p256.Scalar
	dealt map[string]map[mpc.PartyID]*tuple // by session and label
	R     p256.Point                        // of the last one
}

func newDealer(t testing.TB) *dealer {
	return &dealer{t: t, sk: map[mpc.KeyID]p256.Scalar{}, dealt: map[string]map[mpc.PartyID]*tuple{}}
}

func random(t testing.TB) p256.Scalar {
	t.Helper()
	x, err := p256.RandomScalar(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

// presign gives the members of set their parts of one presignature. It is a
// presigner.
func (d *dealer) presign(s *session, _ context.Context, ks *KeyShare, set mpc.SignerSet, label string) (*tuple, [32]byte, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	view := mpc.Digest("dealt", s.id[:], []byte(label))
	of := d.dealt[string(view[:])]
	if of == nil {
		of = d.deal(ks.ID, set)
		d.dealt[string(view[:])] = of
	}
	mine := of[s.net.Self()]
	return mine, view, mine.check(ks, set)
}

func (d *dealer) deal(id mpc.KeyID, set mpc.SignerSet) map[mpc.PartyID]*tuple {
	k := random(d.t)
	chi := k.Mul(d.sk[id])
	t := tuple{R: p256.BaseMult(k.Inverse())}
	d.R = t.R
	ks, chis := make([]p256.Scalar, len(set)), make([]p256.Scalar, len(set))
	for j := range set {
		ks[j], chis[j] = random(d.t), random(d.t)
		if j == len(set)-1 {
			ks[j], chis[j] = k, chi
		}
		k, chi = k.Sub(ks[j]), chi.Sub(chis[j])
		t.RBar, t.S = append(t.RBar, t.R.Mult(ks[j])), append(t.S, t.R.Mult(chis[j]))
	}
	of := map[mpc.PartyID]*tuple{}
	for j, p := range set {
		mine := t
		mine.k, mine.chi = ks[j], chis[j]
		of[p] = &mine
	}
	return of
}

// deal gives the members of set n presignatures in one chunk.
func (w *world) deal(set mpc.SignerSet, n int) mpc.TupleRange {
	w.t.Helper()
	for p, err := range w.prepare(set, n) {
		if err != nil {
			w.t.Fatalf("prepare at %s: %v", p, err)
		}
	}
	order := w.stores[set[0]].Order
	return mpc.TupleRange{Chunk: order[len(order)-1], Count: n}
}

// own is what p holds of a chunk's first tuple.
func (w *world) own(p mpc.PartyID, set mpc.SignerSet, tuples mpc.TupleRange) *tuple {
	w.t.Helper()
	ts, err := decodeChunk(w.stores[p].Chunks[tuples.Chunk].Blob, len(set), 0, 1)
	if err != nil {
		w.t.Fatal(err)
	}
	return ts[0]
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
	if !mpctest.VerifyP256(w.key().Public, message, sig) {
		w.t.Errorf("signature on %q does not verify, or has the larger s", message)
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
