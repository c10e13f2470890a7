package natsnet

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"go.uber.org/goleak"

	"zonesigner/mpc"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// testKey is an operator's key; the same name gives the same key.
func testKey(name string) ed25519.PrivateKey {
	seed := sha256.Sum256([]byte("test key of " + name))
	return ed25519.NewKeyFromSeed(seed[:])
}

func testPeer(id mpc.PartyID, address string) Peer {
	return Peer{ID: id, Key: testKey(string(id)).Public().(ed25519.PublicKey), Address: address}
}

func testContext(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// testConfig is the configuration of one operator of group "g", with quick
// probes and a listener on a free port.
func testConfig(self mpc.PartyID, peers ...Peer) Config {
	return Config{
		Self: self, Key: testKey(string(self)), Group: [32]byte{1, 2, 3}, GroupName: "g",
		Peers: peers, Listen: "127.0.0.1:0",
		Limits: Limits{ProbeEvery: 100 * time.Millisecond, ProbeTimeout: 10 * time.Second},
		hooks:  hooks{retry: 10 * time.Millisecond},
	}
}

func start(t testing.TB, cfg Config) *Transport {
	t.Helper()
	if testing.Verbose() && cfg.Logger == nil {
		cfg.Logger = slog.New(slog.NewTextHandler(testWriter{t}, nil)).With("self", cfg.Self)
	}
	tr, err := Start(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tr.Close() })
	return tr
}

type testWriter struct{ t testing.TB }

func (w testWriter) Write(b []byte) (int, error) {
	fmt.Fprintf(w.t.Output(), "%s", b)
	return len(b), nil
}

// startGroup starts operators one after the other: each knows the addresses
// of those before it.
func startGroup(t testing.TB, change func(*Config), ids ...mpc.PartyID) map[mpc.PartyID]*Transport {
	t.Helper()
	peers := make([]Peer, len(ids))
	for i, id := range ids {
		peers[i] = testPeer(id, "")
	}
	group := map[mpc.PartyID]*Transport{}
	for i, id := range ids {
		cfg := testConfig(id, peers...)
		if change != nil {
			change(&cfg)
		}
		group[id] = start(t, cfg)
		peers[i].Address = group[id].Addr()
	}
	return group
}

func waitReady(t testing.TB, group map[mpc.PartyID]*Transport) {
	t.Helper()
	ctx := testContext(t)
	for _, tr := range group {
		if err := tr.WaitReady(ctx); err != nil {
			t.Fatalf("%s: %v", tr.Self(), err)
		}
	}
}

// waitReason waits until tr gives a reason for peer that contains text.
func waitReason(t testing.TB, tr *Transport, peer mpc.PartyID, text string) {
	t.Helper()
	ctx := testContext(t)
	for {
		tr.mu.Lock()
		changed := tr.changed
		tr.mu.Unlock()
		var last mpc.PeerState
		for _, s := range tr.Peers() {
			if s.ID == peer {
				last = s
			}
		}
		if !last.Ready && bytes.Contains([]byte(last.Reason), []byte(text)) {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			t.Fatalf("%s: state of %s is %+v, expected a reason with %q", tr.Self(), peer, last, text)
		}
	}
}

func openAll(t testing.TB, group map[mpc.PartyID]*Transport, name string, ids ...mpc.PartyID) map[mpc.PartyID]mpc.Session {
	t.Helper()
	sessions := map[mpc.PartyID]mpc.Session{}
	for _, id := range ids {
		s, err := group[id].Open(testSession(name), ids)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.Close)
		sessions[id] = s
	}
	return sessions
}

func testSession(name string) mpc.SessionID { return sha256.Sum256([]byte(name)) }

func TestExchangeAThousandRounds(t *testing.T) {
	ids := []mpc.PartyID{"a", "b", "c"}
	group := startGroup(t, nil, ids...)
	waitReady(t, group)
	sessions := openAll(t, group, "rounds", ids...)
	ctx := testContext(t)
	errs := make(chan error)
	for _, id := range ids {
		go func() {
			errs <- func() error {
				for i := range 1000 {
					round := fmt.Sprintf("r/%d", i)
					got, err := mpc.Exchange(ctx, sessions[id], round, fmt.Appendf(nil, "%s %d", id, i))
					if err != nil {
						return err
					}
					for _, from := range ids {
						if want := fmt.Sprintf("%s %d", from, i); string(got[from]) != want {
							return fmt.Errorf("%s has %q of %s, expected %q", id, got[from], from, want)
						}
					}
				}
				return nil
			}()
		}()
	}
	for range ids {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
}

func TestControlMessagesInOrder(t *testing.T) {
	group := startGroup(t, nil, "a", "b")
	waitReady(t, group)
	got := make(chan string, 1000)
	group["b"].Handle(func(from mpc.PartyID, msg []byte) { got <- string(from) + string(msg) })
	ctx := testContext(t)
	for i := range 1000 {
		if err := group["a"].Send(ctx, "b", fmt.Appendf(nil, "%d", i)); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 1000 {
		select {
		case msg := <-got:
			if want := fmt.Sprintf("a%d", i); msg != want {
				t.Fatalf("message %q, expected %q", msg, want)
			}
		case <-ctx.Done():
			t.Fatal("no message ", i)
		}
	}
}
