package natsnet

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
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

// testContext ends what hangs; nothing is measured by it.
func testContext(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
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
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
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
		case <-tick.C:
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

// exchangeAll runs one round among the operators and checks it.
func exchangeAll(t *testing.T, group map[mpc.PartyID]*Transport, name string, ids ...mpc.PartyID) {
	t.Helper()
	ctx := testContext(t)
	sessions := openAll(t, group, name, ids...)
	var wg sync.WaitGroup
	for _, id := range ids {
		wg.Go(func() {
			got, err := mpc.Exchange(ctx, sessions[id], "r", []byte(id))
			if err != nil {
				t.Errorf("%s: %v", id, err)
			}
			for from, msg := range got {
				if string(msg) != string(from) {
					t.Errorf("%s has %q of %s", id, msg, from)
				}
			}
		})
	}
	wg.Wait()
}

func TestExternalServers(t *testing.T) {
	ids := []mpc.PartyID{"a", "b", "c"}
	srv, url := externalServer(t, "a", "b", "c")
	group := startGroup(t, func(c *Config) { c.Listen, c.URLs = "", []string{url} }, ids...)
	waitReady(t, group)
	exchangeAll(t, group, "external", ids...)
	if n := srv.NumClients(); n != 3 {
		t.Errorf("%d clients, expected 3", n)
	}
	if addr := group["a"].Addr(); addr != "" {
		t.Errorf("a listens on %s", addr)
	}
}

func TestServersAway(t *testing.T) {
	a := start(t, func() Config {
		c := testConfig("a", testPeer("a", ""), testPeer("b", ""))
		c.Listen, c.URLs = "", []string{"nats://127.0.0.1:1"}
		return c
	}())
	waitReason(t, a, "b", "NATS servers")
}

func TestSlowConsumerLosesNothing(t *testing.T) {
	const n, size = 200, 200_000 // 40 MB, ten windows
	group := startGroup(t, nil, "a", "b")
	waitReady(t, group)
	sessions := openAll(t, group, "slow", "a", "b")
	ctx := testContext(t)
	content := func(i int) []byte { return bytes.Repeat([]byte{byte(i)}, size) }
	for i := range n {
		if err := sessions["a"].Send(ctx, "b", fmt.Sprint(i), content(i)); err != nil {
			t.Fatal(err)
		}
	}
	for i := n - 1; i >= 0; i-- {
		got, err := sessions["b"].Recv(ctx, "a", fmt.Sprint(i))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, content(i)) {
			t.Fatalf("message %d is not what was sent", i)
		}
	}
	p := group["b"].peers["a"]
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.held != 0 {
		t.Errorf("%d bytes held, expected none", p.held)
	}
}

func TestSizes(t *testing.T) {
	group := startGroup(t, nil, "a", "b")
	waitReady(t, group)
	sessions := openAll(t, group, "sizes", "a", "b")
	ctx := testContext(t)
	for _, n := range []int{0, 1, sendFrame - 101, sendFrame, 3*sendFrame + 1, MaxMessage} {
		want := bytes.Repeat([]byte("z"), n)
		if err := sessions["a"].Send(ctx, "b", fmt.Sprint(n), want); err != nil {
			t.Fatal(err)
		}
		if got, err := sessions["b"].Recv(ctx, "a", fmt.Sprint(n)); err != nil || !bytes.Equal(got, want) {
			t.Errorf("message of %d bytes: %d arrived, %v", n, len(got), err)
		}
	}
	got := make(chan int, 1)
	group["b"].Handle(func(_ mpc.PartyID, msg []byte) { got <- len(msg) })
	if err := group["a"].Send(ctx, "b", make([]byte, mpc.MaxControl)); err != nil {
		t.Fatal(err)
	}
	if n := <-got; n != mpc.MaxControl {
		t.Errorf("control message of %d bytes, expected %d", n, mpc.MaxControl)
	}
	var argument *mpc.ArgumentError
	for name, err := range map[string]error{
		"message":          sessions["a"].Send(ctx, "b", "r", make([]byte, MaxMessage+1)),
		"round":            sessions["a"].Send(ctx, "b", strings.Repeat("r", 256), nil),
		"to self":          sessions["a"].Send(ctx, "a", "r", nil),
		"control":          group["a"].Send(ctx, "b", make([]byte, mpc.MaxControl+1)),
		"control, to self": group["a"].Send(ctx, "a", nil),
		"stranger": func() error {
			_, err := group["a"].Open(testSession("x"), []mpc.PartyID{"a", "x"})
			return err
		}(),
		"without us": func() error {
			_, err := group["a"].Open(testSession("x"), []mpc.PartyID{"b", "c"})
			return err
		}(),
		"open twice": func() error {
			_, err := group["a"].Open(testSession("sizes"), []mpc.PartyID{"a", "b"})
			return err
		}(),
	} {
		if !errors.As(err, &argument) {
			t.Errorf("%s: error %v, expected an argument error", name, err)
		}
	}
}

// A control message waits for one frame of a session's megabytes, not for all.
func TestLanesTakeTurns(t *testing.T) {
	l := &link{space: make(chan struct{}), wake: make(chan struct{}, 1)}
	ctx := testContext(t)
	if err := l.send(ctx, laneSession, &outMessage{b: make([]byte, MaxMessage)}); err != nil {
		t.Fatal(err)
	}
	if b := l.batch(nil, &ledger{}); len(b) < writeBatch {
		t.Fatalf("a batch of %d bytes", len(b))
	}
	if err := l.send(ctx, laneControl, &outMessage{b: []byte("hello")}); err != nil {
		t.Fatal(err)
	}
	l.ping()
	b := l.batch(nil, &ledger{})
	if b[0] != framePing || !bytes.Contains(b, []byte("hello")) {
		t.Error("the control message or the probe waits for the session's message")
	}
	// A full lane lets senders wait, and ctx ends the waiting.
	short, cancel := context.WithCancel(ctx)
	cancel()
	if err := l.send(short, laneSession, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, expected the context's", err)
	}
	waits := make(chan error)
	go func() { waits <- l.send(ctx, laneSession, &outMessage{b: []byte("later")}) }()
	for {
		select {
		case err := <-waits:
			if err != nil {
				t.Error(err)
			}
			return
		default:
			l.batch(nil, &ledger{})
		}
	}
}

func TestRestartHeals(t *testing.T) {
	ids := []mpc.PartyID{"a", "b", "c"}
	group := startGroup(t, nil, ids...)
	waitReady(t, group)
	sessions := openAll(t, group, "before", ids...)
	ctx := testContext(t)
	if err := sessions["b"].Send(ctx, "a", "early", []byte("m")); err != nil {
		t.Fatal(err)
	}
	p := group["a"].peers["b"]
	poll(t, func() bool { p.mu.Lock(); defer p.mu.Unlock(); return p.held > 0 })
	addr := group["b"].Addr()
	if err := group["b"].Close(); err != nil {
		t.Fatal(err)
	}
	// What came before the end can be received, the rest fails at once.
	waitReason(t, group["a"], "b", "the other side ended the link")
	if got, err := sessions["a"].Recv(ctx, "b", "early"); err != nil || string(got) != "m" {
		t.Errorf("%q, %v", got, err)
	}
	for _, err := range []error{
		sessions["a"].Send(ctx, "b", "r", nil),
		func() error { _, err := sessions["a"].Recv(ctx, "b", "r"); return err }(),
		group["a"].Send(ctx, "b", nil),
	} {
		if absent, ok := mpc.AsAbsent(err); !ok || !slices.Equal(absent.Parties, []mpc.PartyID{"b"}) {
			t.Errorf("error %v, expected operator b to be absent", err)
		}
	}
	exchangeAll(t, group, "without b", "a", "c")
	waitReason(t, group["c"], "b", "connection refused at "+addr)

	cfg := testConfig("b", testPeer("a", group["a"].Addr()), testPeer("b", addr), testPeer("c", group["c"].Addr()))
	cfg.Listen = addr
	group["b"] = start(t, cfg)
	waitReady(t, group)
	exchangeAll(t, group, "after", ids...)
	// A session from before does not move to the new link.
	if _, err := sessions["a"].Recv(ctx, "b", "r"); err == nil {
		t.Error("a session lives on across a reset")
	}
}

func TestNewGroup(t *testing.T) {
	ids := []mpc.PartyID{"a", "b", "c"}
	group := startGroup(t, nil, ids...)
	waitReady(t, group)
	address := func(id mpc.PartyID) string { return group[id].Addr() }
	all := []Peer{testPeer("a", address("a")), testPeer("b", address("b")), testPeer("c", address("c"))}
	next := [32]byte{9}

	// What cannot be changes nothing.
	if err := group["a"].SetPeers(next, all[1:]); err == nil {
		t.Error("a group without us is accepted")
	}
	exchangeAll(t, group, "old", ids...)

	for _, id := range []mpc.PartyID{"a", "b"} {
		if err := group[id].SetPeers(next, all); err != nil {
			t.Fatal(err)
		}
		if got, _, _ := strings.Cut(group[id].Addr(), " "); got != all[slices.Index(ids, id)].Address {
			t.Errorf("%s moved to %s", id, got)
		}
	}
	waitReason(t, group["a"], "c", "operator c holds another group file")
	exchangeAll(t, map[mpc.PartyID]*Transport{"a": group["a"], "b": ready(t, group["b"], "a")}, "two of three", "a", "b")
	if err := group["c"].SetPeers(next, all); err != nil {
		t.Fatal(err)
	}
	waitReady(t, group)
	exchangeAll(t, group, "new", ids...)

	// Operator c leaves; the others' servers let it in no more.
	for _, id := range []mpc.PartyID{"a", "b"} {
		if err := group[id].SetPeers([32]byte{10}, all[:2]); err != nil {
			t.Fatal(err)
		}
	}
	waitReason(t, group["c"], "a", "our certificate is refused at "+all[0].Address)
	two := map[mpc.PartyID]*Transport{"a": group["a"], "b": group["b"]}
	waitReady(t, two)
	exchangeAll(t, two, "last", "a", "b")
	if n := group["a"].node.srv.NumRoutes(); n != 1 {
		t.Errorf("%d routes, expected 1", n)
	}
}

func ready(t *testing.T, tr *Transport, ids ...mpc.PartyID) *Transport {
	t.Helper()
	if err := tr.WaitReady(testContext(t), ids...); err != nil {
		t.Fatal(err)
	}
	return tr
}

func TestContextEndsTheTransport(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cfg := testConfig("a", testPeer("a", ""), testPeer("b", ""))
	tr, err := Start(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	s, err := tr.Open(testSession("ended"), []mpc.PartyID{"a", "b"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Recv(ctx, "b", "r"); err == nil || !strings.Contains(err.Error(), "no link when the session was opened") {
		t.Errorf("error %v, expected that there was no link", err)
	}
	cancel()
	if err := tr.WaitReady(testContext(t)); err == nil {
		t.Error("ready after the end")
	}
	if err := tr.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := tr.Open(testSession("more"), []mpc.PartyID{"a", "b"}); !errors.Is(err, errClosed) {
		t.Errorf("error %v, expected %v", err, errClosed)
	}
}

func TestBadConfig(t *testing.T) {
	good := func() Config { return testConfig("a", testPeer("a", ""), testPeer("b", "192.0.2.2:7473")) }
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for want, change := range map[string]func(*Config){
		"private key of operator":        func(c *Config) { c.Key = nil },
		"group name has 0 bytes":         func(c *Config) { c.GroupName = "" },
		"named twice":                    func(c *Config) { c.Peers = append(c.Peers, c.Peers[1]) },
		"have one key":                   func(c *Config) { c.Peers[1].Key = c.Peers[0].Key },
		"expected host:port":             func(c *Config) { c.Peers[1].Address = "b.example" },
		"another public key":             func(c *Config) { c.Key = testKey("x") },
		"is not in the group":            func(c *Config) { c.Self = "x" },
		"neither a listen address":       func(c *Config) { c.Listen = "" },
		"expected a port number":         func(c *Config) { c.Listen = "127.0.0.1:none" },
		"address already in use":         func(c *Config) { c.Listen = taken.Addr().String() },
		"largest message is 16777217 by": func(c *Config) { c.Limits.Message = MaxMessage + 1 },
	} {
		c := good()
		change(&c)
		tr, err := Start(context.Background(), c)
		if err == nil {
			tr.Close()
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, expected %q", err, want)
		}
	}
}
