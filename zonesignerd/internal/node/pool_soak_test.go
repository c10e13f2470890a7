//go:build soak

package node

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"testing"
	"time"

	"zonesigner/keystore"
	"zonesigner/mpc"
	"zonesigner/mpc/ecdsa"
	"zonesigner/mpc/memnet"
	"zonesigner/mpc/natsnet"
	"zonesigner/mpc/shamir"
)

// forgetful is a store of tuples that keeps none.
type forgetful struct{}

func (forgetful) Add([]mpc.PoolChunk) error { return nil }
func (forgetful) Spend([]mpc.PoolRange, [32]byte) ([][]byte, mpc.Mark, error) {
	return nil, mpc.Mark{}, fmt.Errorf("nothing is kept")
}

// TestSoakPool makes 1,000,000 tuples of mal-shamir for all of three operators.
// One of them keeps its part as a daemon does, the others none, so that what the
// process holds afterwards is what a pool takes of one operator: 500 MB at most,
// on disk and in memory.
func TestSoakPool(t *testing.T) {
	const tuples, most = 1_000_000, 500 << 20
	group := mpc.Group{Parties: []mpc.PartyID{"a", "b", "c"}, T: 1}
	dir := t.TempDir()
	must(t, keystore.NewKeyFile(dir+"/key"))
	opt := keystore.Options{Seal: keystore.KeyFile(dir + "/key"), RunDir: t.TempDir()}
	store, err := keystore.Create(dir+"/keystore", opt)
	must(t, err)

	var peers []natsnet.Peer
	keys := map[mpc.PartyID]ed25519.PrivateKey{}
	for _, p := range group.Parties {
		public, private, err := ed25519.GenerateKey(nil)
		must(t, err)
		keys[p] = private
		peers = append(peers, natsnet.Peer{ID: p, Key: public})
	}
	hub := memnet.New(group.Parties...)
	engine := ecdsa.Over(shamir.Active())
	all := func(id mpc.SessionID, run func(ctx context.Context, net mpc.Network, identity mpc.Identity) error) {
		t.Helper()
		ends, err := hub.Open(id)
		must(t, err)
		errs := make([]error, len(ends))
		var wg sync.WaitGroup
		for i, net := range ends {
			wg.Go(func() {
				defer net.Close()
				errs[i] = run(t.Context(), net, natsnet.NewIdentity(net.Self(), keys[net.Self()], peers))
			})
		}
		wg.Wait()
		for _, err := range errs {
			must(t, err)
		}
	}
	var mu sync.Mutex
	shares := map[mpc.PartyID]*ecdsa.KeyShare{}
	all(mpc.SessionID{1}, func(ctx context.Context, net mpc.Network, identity mpc.Identity) error {
		share, err := ecdsa.GenerateKey(ctx, net, identity, group, engine, []byte("soak"))
		mu.Lock()
		defer mu.Unlock()
		shares[net.Self()] = share
		return err
	})
	set, key := mpc.NewSignerSet(group.Parties...), shares["a"].ID
	signer := func(p mpc.PartyID, identity mpc.Identity, store mpc.TupleStore) *ecdsa.Signer {
		s, err := ecdsa.NewSigner(ecdsa.Config{
			Identity: identity, Store: store, Protocols: []ecdsa.Protocol{engine}, Group: func() mpc.Group { return group },
			Keys: func(mpc.KeyID) (*ecdsa.KeyShare, error) { return shares[p], nil },
		})
		must(t, err)
		return s
	}

	before := memory(t)
	begin := time.Now()
	all(mpc.SessionID{2}, func(ctx context.Context, net mpc.Network, identity mpc.Identity) error {
		var kept mpc.TupleStore = forgetful{}
		if net.Self() == "a" {
			kept = tupleStore{s: store, self: "a"}
		}
		return signer(net.Self(), identity, kept).Prepare(ctx, net, key, set, "a", tuples, nil)
	})
	took := time.Since(begin)
	pool := poolID(mpc.PoolID{Key: key, Set: set.String(), Stripe: "a"})
	if depth := store.Depth(pool); depth != tuples {
		t.Fatalf("%d tuples are there, expected %d", depth, tuples)
	}
	made := memory(t)
	must(t, store.Close())
	info, err := os.Stat(dir + "/keystore/keystore.v1.db")
	must(t, err)

	store, err = keystore.Open(dir+"/keystore", opt)
	must(t, err)
	opened := memory(t)
	var spent time.Duration
	for _, c := range store.Chunks(pool)[:100] {
		begin := time.Now()
		_, _, err := store.Spend(pool, c.ID, 0, c.Count, [32]byte{})
		must(t, err)
		spent += time.Since(begin)
	}
	at100 := memory(t)
	must(t, store.Close())
	hub.Close()

	report := func(what string, m residence) {
		t.Logf("%s: heap %d MB, resident %d MB and %d MB of the file", what, (m.heap-before.heap)/1e6, (m.anon-before.anon)/1e6, (m.file-before.file)/1e6)
		if m.anon-before.anon+m.file-before.file > most {
			t.Errorf("%s: more than %d MB", what, most>>20)
		}
	}
	t.Logf("%d tuples in %s, %d MB on disk, %d bytes a tuple; a chunk spent in %s", tuples, took.Round(time.Second), info.Size()/1e6, info.Size()/tuples, (spent / 100).Round(10*time.Microsecond))
	report("after making them", made)
	report("after opening the store again", opened)
	report("after spending 100 chunks", at100)
	if info.Size() > most {
		t.Errorf("%d MB on disk, expected at most %d", info.Size()>>20, most>>20)
	}
}

// residence is what a process holds, in bytes: the heap, pages of its own, and
// pages of files, which the kernel takes back when it needs them.
type residence struct{ heap, anon, file int64 }

func memory(t *testing.T) (r residence) {
	t.Helper()
	debug.FreeOSMemory()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	r.heap = int64(m.HeapAlloc)
	text, err := os.ReadFile("/proc/self/status")
	must(t, err)
	for line := range strings.Lines(string(text)) {
		var kB int64
		if _, err := fmt.Sscanf(line, "RssAnon: %d kB", &kB); err == nil {
			r.anon = kB << 10
		}
		if _, err := fmt.Sscanf(line, "RssFile: %d kB", &kB); err == nil {
			r.file = kB << 10
		}
	}
	return r
}
