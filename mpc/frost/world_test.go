package frost

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"zonesigner/mpc"
	"zonesigner/mpc/memnet"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// identity is mpc.Identity with keys in memory.
type identity struct {
	self mpc.PartyID
	key  ed25519.PrivateKey
	all  map[mpc.PartyID]ed25519.PublicKey
}

func (i *identity) Self() mpc.PartyID      { return i.self }
func (i *identity) Sign(msg []byte) []byte { return ed25519.Sign(i.key, msg) }
func (i *identity) Verify(from mpc.PartyID, msg, sig []byte) bool {
	pk := i.all[from]
	return pk != nil && len(sig) == ed25519.SignatureSize && ed25519.Verify(pk, msg, sig)
}

// store is mpc.TupleStore in memory.
type store struct {
	mu     sync.Mutex
	chunks map[mpc.ChunkID]mpc.PoolChunk
	next   map[mpc.ChunkID]int
	order  []mpc.ChunkID
	mark   uint64
	// forgets makes it a disk that loses what was spent.
	forgets bool
	spent   func() // called at each spending, where it is set
}

var errSpent = errors.New("spent")

func (s *store) Add(chunks []mpc.PoolChunk) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range chunks {
		c.Blob = slices.Clone(c.Blob)
		s.chunks[c.ID] = c
		s.order = append(s.order, c.ID)
	}
	return nil
}

func (s *store) Spend(ranges []mpc.PoolRange, _ [32]byte) (blobs [][]byte, mark mpc.Mark, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	next := maps.Clone(s.next)
	for _, r := range ranges {
		c, ok := s.chunks[r.Chunk]
		if !ok || c.Pool != r.Pool || r.From < next[r.Chunk] || r.From+r.Count > c.Count {
			return nil, mpc.Mark{}, errSpent
		}
		next[r.Chunk] = r.From + r.Count
		blobs = append(blobs, slices.Clone(c.Blob))
	}
	if !s.forgets {
		s.next = next
	}
	s.mark++
	if s.spent != nil {
		s.spent()
	}
	return blobs, mpc.Mark{Generation: s.mark}, nil
}

// world is a group with keys, and everyone's signer over a memory network.
type world struct {
	t        testing.TB
	hub      *memnet.Hub
	group    mpc.Group
	ids      map[mpc.PartyID]*identity
	stores   map[mpc.PartyID]*store
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
	w := &world{t: t, ids: map[mpc.PartyID]*identity{}, stores: map[mpc.PartyID]*store{},
		keys: map[mpc.PartyID][]*KeyShare{}, signers: map[mpc.PartyID]*Signer{}}
	w.group = mpc.Group{T: threshold, Digest: sha256.Sum256([]byte("a test's group"))}
	public := map[mpc.PartyID]ed25519.PublicKey{}
	for i := range n {
		p := mpc.PartyID(rune('a' + i))
		w.group.Parties = append(w.group.Parties, p)
		pk, sk, err := ed25519.GenerateKey(nil)
		if err != nil {
			t.Fatal(err)
		}
		public[p] = pk
		w.ids[p] = &identity{p, sk, public}
		w.stores[p] = &store{chunks: map[mpc.ChunkID]mpc.PoolChunk{}, next: map[mpc.ChunkID]int{}}
	}
	slices.Reverse(w.group.Parties)
	w.hub = memnet.New(w.group.Parties...)
	t.Cleanup(w.hub.Close)
	for _, p := range w.group.Parties {
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
	ends, err := w.hub.Open(mpc.SessionID{w.sessions}, parties...)
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var wg sync.WaitGroup
	var mu sync.Mutex
	errs := map[mpc.PartyID]error{}
	for _, end := range ends {
		wg.Go(func() {
			net := mpc.Network(end)
			if w.wrap != nil {
				net = w.wrap(net)
			}
			err := f(ctx, net)
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
	var out []mpc.TupleRange
	s := w.stores[set[0]]
	for _, id := range s.order {
		if c := s.chunks[id]; c.Pool == (mpc.PoolID{Key: key, Set: set.String(), Stripe: "a"}) && s.next[id] < c.Count {
			out = append(out, mpc.TupleRange{Chunk: id, From: s.next[id], Count: c.Count - s.next[id]})
		}
	}
	return out
}

// request is for one key.
func (w *world) request(key mpc.KeyID, set mpc.SignerSet, messages ...string) mpc.SignRequest {
	req := mpc.SignRequest{Key: key, Manifest: sha256.Sum256([]byte("a manifest")), Tuples: w.ranges(key, set)}
	for _, m := range messages {
		req.Messages = append(req.Messages, []byte(m))
	}
	return req
}

func (w *world) session(set mpc.SignerSet, requests ...mpc.SignRequest) mpc.SignSession {
	return mpc.SignSession{ID: mpc.SessionID{w.sessions + 1}, Set: set, Stripe: "a", Requests: requests}
}

// sign lets every member sign what change makes of the session.
func (w *world) sign(session mpc.SignSession, change func(p mpc.PartyID, s *mpc.SignSession)) (map[mpc.PartyID][][]mpc.Signature, map[mpc.PartyID]error) {
	w.t.Helper()
	var mu sync.Mutex
	sigs := map[mpc.PartyID][][]mpc.Signature{}
	errs := w.among(session.Set, func(ctx context.Context, net mpc.Network) error {
		mine := session
		mine.Requests = slices.Clone(session.Requests)
		if change != nil {
			change(net.Self(), &mine)
		}
		s, err := w.signers[net.Self()].Sign(ctx, net, mine, nil)
		mu.Lock()
		defer mu.Unlock()
		sigs[net.Self()] = s
		return err
	})
	return sigs, errs
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
