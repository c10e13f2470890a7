package natsnet

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"zonesigner/mpc"
)

// impostor is a configuration that claims to be operator id with another's
// key, towards victim.
func impostor(id mpc.PartyID, key string, victim *Transport) Config {
	cfg := testConfig(id, Peer{ID: id, Key: testKey(key).Public().(ed25519.PublicKey)}, testPeer(victim.Self(), victim.Addr()))
	cfg.Key = testKey(key)
	return cfg
}

func TestStrangerIsKeptOut(t *testing.T) {
	cfg := testConfig("b", testPeer("a", ""), testPeer("b", ""))
	b := start(t, cfg)
	stranger := start(t, impostor("a", "stranger", b))
	waitReason(t, stranger, "b", "our certificate is refused at "+b.Addr())
	if n := b.node.srv.NumRoutes(); n != 0 {
		t.Errorf("%d routes, expected none", n)
	}
}

// Without the pin on routes (hooks.routeKey) a stranger joins the cluster; it
// still gets no link.
func TestStrangerWithoutRoutePin(t *testing.T) {
	cfg := testConfig("b", testPeer("a", ""), testPeer("b", ""))
	cfg.hooks.routeKey = true
	b := start(t, cfg)
	stranger := start(t, impostor("a", "stranger", b))
	waitReason(t, stranger, "b", "refuses our certificate")
	waitReason(t, b, "a", "certificate of another key")
	if n := b.node.srv.NumRoutes(); n == 0 {
		t.Error("the stranger has no route although the pin is out")
	}
}

// Operator c is a member, so its server is let into the cluster; it cannot
// speak for operator a.
func TestMemberCannotImpersonate(t *testing.T) {
	cfg := testConfig("b", testPeer("a", ""), testPeer("b", ""), testPeer("c", ""))
	b := start(t, cfg)
	fake := start(t, impostor("a", "c", b))
	waitReason(t, fake, "b", "refuses our certificate")
	waitReason(t, b, "a", "certificate of another key")
}

// Without the pin on links (hooks.linkKey) operator c gets a link as a; its
// messages then fail by their signatures.
func TestMemberWithoutLinkPin(t *testing.T) {
	cfg := testConfig("b", testPeer("a", ""), testPeer("b", ""), testPeer("c", ""))
	cfg.hooks.linkKey = true
	b := start(t, cfg)
	fake := start(t, impostor("a", "c", b))
	ctx := testContext(t)
	if err := b.WaitReady(ctx, "a"); err != nil {
		t.Fatal("the attack fails although the pin is out: ", err)
	}
	s, err := fake.Open(testSession("a"), []mpc.PartyID{"a", "b"})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Send(ctx, "b", "r", []byte("I am a")); err != nil {
		t.Fatal(err)
	}
	waitReason(t, b, "a", "a signature on its messages is not its own")
}

func TestOtherServerAtAddress(t *testing.T) {
	c := start(t, testConfig("c", testPeer("a", ""), testPeer("b", ""), testPeer("c", "")))
	a := start(t, testConfig("a", testPeer("a", ""), testPeer("b", c.Addr()), testPeer("c", "")))
	waitReason(t, a, "b", "certificate of another key at "+c.Addr())
}

func TestOtherGroupDigest(t *testing.T) {
	group := startGroup(t, func(c *Config) {
		if c.Self == "b" {
			c.Group[0] = 0xee
		}
	}, "a", "b")
	waitReason(t, group["a"], "b", "operator b holds another group file: digest ee0203")
	waitReason(t, group["b"], "a", "operator a holds another group file: digest 010203")
}

func TestVersions(t *testing.T) {
	versions := func(id mpc.PartyID, low, high uint16) func(*Config) {
		return func(c *Config) {
			if c.Self == id {
				c.hooks.minVersion, c.hooks.maxVersion = low, high
			}
		}
	}
	group := startGroup(t, versions("b", 2, 3), "a", "b")
	waitReason(t, group["a"], "b", "operator b speaks versions 2 to 3 of the link, we speak 1 to 1")
	group = startGroup(t, versions("b", 1, 2), "a", "b")
	waitReady(t, group)
	if v := group["a"].peers["b"].link.version; v != 1 {
		t.Errorf("version %d, expected 1", v)
	}
}

// middle is a NATS server that alters what passes. Daemons publish to a
// subject of its own; it passes packets on as it likes.
type middle struct {
	url    string
	active atomic.Bool
	silent atomic.Bool // drop everything
	stingy atomic.Bool // drop what lets a sender go on

	mu   sync.Mutex
	rnd  *rand.Rand
	do   func(m *middle, b []byte) [][]byte // what becomes of a packet
	old  [][]byte                           // packets seen before
	late []byte                             // held back for the next
}

func newMiddle(t *testing.T, do func(*middle, []byte) [][]byte) *middle {
	t.Helper()
	srv, url := externalServer(t, "a", "b", "middle")
	_ = srv
	m := &middle{url: url, rnd: rand.New(rand.NewPCG(1, 2)), do: do}
	key := testKey("middle")
	public, err := publicNKey(key.Public().(ed25519.PublicKey))
	if err != nil {
		t.Fatal(err)
	}
	nc, err := nats.Connect(url, nats.Nkey(public, nonceSigner(key, false)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	if _, err := nc.Subscribe("middle.>", func(msg *nats.Msg) {
		to := strings.TrimPrefix(msg.Subject, "middle.")
		packets := [][]byte{msg.Data}
		m.mu.Lock()
		switch {
		case m.silent.Load():
			packets = nil
		case m.stingy.Load() && len(msg.Data) > 0 && (msg.Data[0] == packetAck || msg.Data[0] == packetGrant):
			packets = nil
		case m.active.Load() && len(msg.Data) > 0 && msg.Data[0] == packetData:
			packets = m.do(m, bytes.Clone(msg.Data))
			if m.old = append(m.old, bytes.Clone(msg.Data)); len(m.old) > 100 {
				m.old = m.old[1:]
			}
		}
		m.mu.Unlock()
		for _, b := range packets {
			_ = nc.Publish(to, b)
		}
	}); err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	return m
}

// externalServer is a NATS server that runs already and lets users in.
func externalServer(t testing.TB, users ...string) (*server.Server, string) {
	t.Helper()
	opts := &server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true}
	for _, u := range users {
		public, err := publicNKey(testKey(u).Public().(ed25519.PublicKey))
		if err != nil {
			t.Fatal(err)
		}
		opts.Nkeys = append(opts.Nkeys, &server.NkeyUser{Nkey: public})
	}
	srv, err := server.NewServer(opts)
	if err != nil {
		t.Fatal(err)
	}
	srv.Start()
	t.Cleanup(func() { srv.Shutdown(); srv.WaitForShutdown() })
	if !srv.ReadyForConnections(startTimeout) {
		t.Fatal("server did not start")
	}
	return srv, srv.ClientURL()
}

func (m *middle) join(t *testing.T, change func(*Config)) map[mpc.PartyID]*Transport {
	return startGroup(t, func(c *Config) {
		c.Listen, c.URLs, c.hooks.via = "", []string{m.url}, "middle."
		if change != nil {
			change(c)
		}
	}, "a", "b")
}

// A NATS server that tampers gets delays and resets, never a wrong byte, and
// never makes an honest operator look like a cheat.
func TestTamperingServer(t *testing.T) {
	sometimes := func(n int, f func(*middle, []byte) [][]byte) func(*middle, []byte) [][]byte {
		return func(m *middle, b []byte) [][]byte {
			if m.rnd.IntN(n) > 0 {
				return [][]byte{b}
			}
			return f(m, b)
		}
	}
	for name, do := range map[string]func(*middle, []byte) [][]byte{
		"alter": sometimes(400, func(m *middle, b []byte) [][]byte {
			b[m.rnd.IntN(len(b))] ^= 1 << m.rnd.IntN(8)
			return [][]byte{b}
		}),
		"cut":       sometimes(400, func(m *middle, b []byte) [][]byte { return [][]byte{b[:m.rnd.IntN(len(b))]} }),
		"drop":      sometimes(400, func(*middle, []byte) [][]byte { return nil }),
		"duplicate": sometimes(3, func(_ *middle, b []byte) [][]byte { return [][]byte{b, b} }),
		"reorder": func(m *middle, b []byte) [][]byte {
			late := m.late
			switch m.late = nil; {
			case late != nil:
				return [][]byte{b, late}
			case m.rnd.IntN(400) == 0:
				m.late = b
				return nil
			}
			return [][]byte{b}
		},
		"replay": sometimes(3, func(m *middle, b []byte) [][]byte {
			if len(m.old) == 0 {
				return [][]byte{b}
			}
			return [][]byte{m.old[m.rnd.IntN(len(m.old))], b}
		}),
	} {
		t.Run(name, func(t *testing.T) {
			m := newMiddle(t, do)
			group := m.join(t, nil)
			waitReady(t, group)
			m.active.Store(true)
			whole, broken := 0, 0
			for i := range 10 {
				err := transfer(t, group, fmt.Sprint(name, i))
				if err == nil {
					whole++
					continue
				}
				if _, ok := mpc.AsAbsent(err); !ok {
					t.Fatalf("expected an absent peer at worst: %v", err)
				}
				broken++
			}
			t.Logf("%d transfers whole, %d broken", whole, broken)
			if harmless := name == "duplicate" || name == "replay"; harmless && broken > 0 {
				t.Errorf("%d transfers broken by packets that were there before", broken)
			} else if !harmless && broken == 0 {
				t.Error("nothing was broken, so nothing was tested")
			}
			m.active.Store(false)
			waitReady(t, group)
			for i := 0; ; i++ {
				// A reset of before may still be on its way.
				if err := transfer(t, group, fmt.Sprint("healed", i)); err == nil {
					break
				} else if i == 10 {
					t.Error("not healed: ", err)
					break
				}
			}
		})
	}
}

// transfer sends 20 messages of 100 kB each way in a session of its own and
// compares every byte.
func transfer(t *testing.T, group map[mpc.PartyID]*Transport, name string) error {
	t.Helper()
	waitReady(t, group)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	sessions := openAll(t, group, name, "a", "b")
	content := func(from mpc.PartyID, i int) []byte {
		return bytes.Repeat(fmt.Appendf(nil, "%s %s %d;", from, name, i), 100_000/len(name))
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	var errs []error
	run := func(f func() error) {
		wg.Go(func() {
			if err := f(); err != nil {
				mu.Lock()
				defer mu.Unlock()
				errs = append(errs, err)
			}
		})
	}
	for self, other := range map[mpc.PartyID]mpc.PartyID{"a": "b", "b": "a"} {
		run(func() error {
			for i := range 20 {
				if err := sessions[self].Send(ctx, other, fmt.Sprint(i), content(self, i)); err != nil {
					return err
				}
			}
			return nil
		})
		run(func() error {
			for i := range 20 {
				got, err := sessions[self].Recv(ctx, other, fmt.Sprint(i))
				if err != nil {
					return err
				}
				if !bytes.Equal(got, content(other, i)) {
					return fmt.Errorf("message %d of %s is not what was sent", i, other)
				}
			}
			return nil
		})
	}
	wg.Wait()
	for _, err := range errs {
		if _, ok := mpc.AsAbsent(err); !ok {
			return err
		}
	}
	return errors.Join(errs...)
}

func TestSilenceIsNotReady(t *testing.T) {
	m := newMiddle(t, nil)
	group := m.join(t, func(c *Config) {
		c.Limits.ProbeEvery, c.Limits.ProbeTimeout = 20*time.Millisecond, 1500*time.Millisecond
	})
	waitReady(t, group)
	sessions := openAll(t, group, "silence", "a", "b")
	m.silent.Store(true)
	waitReason(t, group["a"], "b", "no answer to probes for")
	// The session fails when the link is given up, long before its context.
	_, err := sessions["a"].Recv(testContext(t), "b", "r")
	if absent, ok := mpc.AsAbsent(err); !ok || !slices.Equal(absent.Parties, []mpc.PartyID{"b"}) || !strings.Contains(err.Error(), "the link was reset") {
		t.Errorf("error %v, expected operator b to be absent by a reset", err)
	}
	m.silent.Store(false)
	waitReady(t, group)
}

// A peer that never lets us go on costs a window and a full lane, and its link.
func TestPeerThatGrantsNothing(t *testing.T) {
	m := newMiddle(t, nil)
	group := m.join(t, func(c *Config) { c.Limits.ProbeTimeout = time.Second })
	waitReady(t, group)
	s := openAll(t, group, "stingy", "a", "b")["a"].(*session)
	m.stingy.Store(true)
	ctx := testContext(t)
	l := s.lines["b"].link
	const size = 1 << 20
	var most int
	var err error
	for i := 0; err == nil; i++ {
		err = s.Send(ctx, "b", fmt.Sprint(i), make([]byte, size))
		l.mu.Lock()
		most = max(most, l.queued[laneSession])
		l.mu.Unlock()
	}
	if absent, ok := mpc.AsAbsent(err); !ok || !slices.Equal(absent.Parties, []mpc.PartyID{"b"}) {
		t.Errorf("error %v, expected operator b to be absent", err)
	}
	l.raw.mu.Lock()
	sent := l.raw.sent
	l.raw.mu.Unlock() // the link needs it to come to its end
	if sent > window || most >= laneQueue+2*size {
		t.Errorf("%d bytes were sent and %d waited, expected at most %d and less than %d", sent, most, window, laneQueue+2*size)
	}
	m.stingy.Store(false)
	waitReady(t, group)
	exchangeAll(t, group, "healed", "a", "b")
}

func TestEquivocationIsEvidence(t *testing.T) {
	group := startGroup(t, nil, "a", "b")
	waitReady(t, group)
	ctx := testContext(t)
	sessions := openAll(t, group, "equivocation", "a", "b")
	a, b := sessions["a"].(*session), sessions["b"]
	send := func(round, msg string) {
		t.Helper()
		l := a.lines["b"].link
		if err := l.sendSession(ctx, a.id, round, []byte(msg)); err != nil {
			t.Fatal(err)
		}
	}
	send("r", "one")
	if got, err := b.Recv(ctx, "a", "r"); err != nil || string(got) != "one" {
		t.Fatalf("%q, %v", got, err)
	}
	send("q", "twice")
	send("q", "twice") // a repetition is none
	send("s", "fine")
	if got, err := b.Recv(ctx, "a", "s"); err != nil || string(got) != "fine" {
		t.Fatalf("%q, %v", got, err)
	}
	send("r", "two")
	_, err := b.Recv(ctx, "a", "t")
	cheat, ok := mpc.AsCheat(err)
	if !ok || !slices.Equal(cheat.Parties, []mpc.PartyID{"a"}) || cheat.Disputed {
		t.Fatalf("error %v, expected operator a to be a cheat", err)
	}
	keyOf := func(id mpc.PartyID) ed25519.PublicKey { return testKey(string(id)).Public().(ed25519.PublicKey) }
	what, err := VerifyEvidence(cheat.Evidence, keyOf)
	if err != nil {
		t.Fatal(err)
	}
	if want := (Equivocation{Version: 1, Group: [32]byte{1, 2, 3}, Session: a.id, Round: "r", From: "a", To: "b"}); what != want {
		t.Errorf("evidence is of %+v, expected %+v", what, want)
	}
	if _, err := VerifyEvidence(cheat.Evidence, func(mpc.PartyID) ed25519.PublicKey { return keyOf("c") }); err == nil {
		t.Error("evidence holds against another key")
	}
	for i := range cheat.Evidence {
		bad := bytes.Clone(cheat.Evidence)
		bad[i] ^= 1
		if _, err := VerifyEvidence(bad, keyOf); err == nil {
			t.Errorf("evidence holds with byte %d altered", i)
		}
	}
	// One message twice proves nothing.
	e := envelope{version: 1, lane: laneSession, group: what.Group, session: a.id, round: "r", from: "a", to: "b", hash: sha256.Sum256([]byte("one"))}
	first := signed{hash: e.hash, ledger: &ledger{entries: [][32]byte{e.entry()}}}
	first.ledger.sig = ed25519.Sign(testKey("a"), first.ledger.text())
	if _, err := VerifyEvidence(encodeEvidence(&e, first, first), keyOf); err == nil {
		t.Error("one message twice is evidence")
	}
}

// An honest operator is kept from making evidence against itself.
func TestSendTwiceIsRefused(t *testing.T) {
	group := startGroup(t, nil, "a", "b")
	waitReady(t, group)
	ctx := testContext(t)
	s := openAll(t, group, "twice", "a", "b")["a"]
	if err := s.Send(ctx, "b", "r", []byte("one")); err != nil {
		t.Fatal(err)
	}
	if err := s.Send(ctx, "b", "r", []byte("two")); !errors.Is(err, errTwice) {
		t.Errorf("error %v, expected %v", err, errTwice)
	}
	s.Close()
	if _, err := group["a"].Open(testSession("twice"), []mpc.PartyID{"a", "b"}); err == nil {
		t.Error("a session was opened again under its id")
	}
}

// A message counts before it is signed, but the link and its sessions do not go
// on without.
func TestWrongSignature(t *testing.T) {
	for _, out := range []bool{false, true} { // hooks.signature
		group := startGroup(t, func(c *Config) {
			c.hooks.signature = out
			if c.Self == "a" {
				c.hooks.mangle = func(b []byte) { b[0] ^= 1 }
			}
		}, "a", "b")
		waitReady(t, group)
		ctx := testContext(t)
		sessions := openAll(t, group, "signature", "a", "b")
		var err error
		for i := 0; i <= ledgerEntries && err == nil; i++ { // a signature comes before the last at the latest
			if err = sessions["a"].Send(ctx, "b", fmt.Sprint(i), []byte("m")); err == nil {
				_, err = sessions["b"].Recv(ctx, "a", fmt.Sprint(i))
			}
		}
		if !out {
			_, err = sessions["b"].Recv(ctx, "a", "never sent")
		}
		cheat, ok := mpc.AsCheat(err)
		if !out && (!ok || !slices.Equal(cheat.Parties, []mpc.PartyID{"a"})) {
			t.Errorf("error %v, expected operator a to be a cheat", err)
		}
		if out && err != nil {
			t.Errorf("the attack fails although the check is out: %v", err)
		}
	}
}

// Who sends two messages for a round and signs neither is found out all the
// same; there is nothing to show to others.
func TestUnsignedMessages(t *testing.T) {
	frame := func(l *link, id mpc.SessionID, round, payload string) []byte {
		e := envelope{version: l.version, lane: laneSession, group: l.group, session: id, round: round, from: "a", to: "b"}
		m := outMessage{b: encodeMessage(&e, []byte(payload))}
		b, _ := m.appendFrame(nil, laneSession)
		return b
	}
	begin := func(t *testing.T, change func(*Config)) (map[mpc.PartyID]*Transport, mpc.Session, *link) {
		group := startGroup(t, change, "a", "b")
		waitReady(t, group)
		sessions := openAll(t, group, "unsigned", "a", "b")
		return group, sessions["b"], sessions["a"].(*session).lines["b"].link
	}
	t.Run("many", func(t *testing.T) {
		_, b, l := begin(t, nil)
		var many []byte
		for i := range ledgerEntries + 1 {
			many = append(many, frame(l, testSession("unsigned"), fmt.Sprint(i), "m")...)
		}
		if _, err := l.tls.Write(many); err != nil {
			t.Fatal(err)
		}
		_, err := b.Recv(testContext(t), "a", "never sent")
		if cheat, ok := mpc.AsCheat(err); !ok || !slices.Equal(cheat.Parties, []mpc.PartyID{"a"}) {
			t.Errorf("error %v, expected operator a to be a cheat", err)
		}
	})
	t.Run("long", func(t *testing.T) {
		group, _, l := begin(t, func(c *Config) { c.Limits.ProbeTimeout = 500 * time.Millisecond })
		if _, err := l.tls.Write(frame(l, testSession("unsigned"), "r", "m")); err != nil {
			t.Fatal(err)
		}
		waitReason(t, group["b"], "a", "no signature on its messages")
	})
	t.Run("two for a round", func(t *testing.T) {
		_, b, l := begin(t, nil)
		both := append(frame(l, testSession("unsigned"), "r", "one"), frame(l, testSession("unsigned"), "r", "two")...)
		if _, err := l.tls.Write(append(both, 99, 0, 0, 0, 0)); err != nil {
			t.Fatal(err)
		}
		_, err := b.Recv(testContext(t), "a", "never sent")
		cheat, ok := mpc.AsCheat(err)
		if !ok || !slices.Equal(cheat.Parties, []mpc.PartyID{"a"}) || cheat.Evidence != nil || !strings.Contains(err.Error(), "two different messages") {
			t.Errorf("error %v, expected operator a to be a cheat without evidence", err)
		}
	})
}

// An operator that sends two messages for a round and calls again before it
// signs them is a cheat, and not absent by the reset of its link.
func TestEquivocationBeforeARedial(t *testing.T) {
	for _, defended := range []bool{true, false} {
		t.Run(fmt.Sprint("defended=", defended), func(t *testing.T) {
			group := startGroup(t, func(c *Config) { c.hooks.forgetful = !defended }, "a", "b")
			waitReady(t, group)
			sessions := openAll(t, group, "redial", "a", "b")
			b := sessions["b"]
			line := sessions["a"].(*session).lines["b"]
			frame := func(round, payload string) []byte {
				e := envelope{version: 1, lane: laneSession, group: line.link.group, session: testSession("redial"), round: round, from: "a", to: "b"}
				m := outMessage{b: encodeMessage(&e, []byte(payload))}
				f, _ := m.appendFrame(nil, laneSession)
				return f
			}
			if _, err := line.link.tls.Write(slices.Concat(frame("r", "one"), frame("r", "two"), frame("s", "read"))); err != nil {
				t.Fatal(err)
			}
			if _, err := b.Recv(testContext(t), "a", "s"); err != nil {
				t.Fatal(err)
			}
			if _, err := line.peer.connect(); err != nil {
				t.Fatal(err)
			}
			_, err := b.Recv(testContext(t), "a", "never sent")
			cheat, ok := mpc.AsCheat(err)
			if ok != defended {
				t.Fatalf("error %v; operator a a cheat: %v, expected %v", err, ok, defended)
			}
			if ok && (!slices.Equal(cheat.Parties, []mpc.PartyID{"a"}) || cheat.Evidence != nil) {
				t.Errorf("error %v, expected operator a to be a cheat without evidence", err)
			}
		})
	}
}

func TestGarbageNamesThePeer(t *testing.T) {
	for name, garbage := range map[string][]byte{
		"kind":            {99, 0, 0, 0, 0},
		"frame":           {frameFirst, 0xff, 0xff, 0xff, 0xff},
		"message":         {frameFirst, 0, 0, 0, 5, 0xff, 0xff, 0xff, 0xff, 0},
		"more":            {frameMore, 0, 0, 0, 1, 0},
		"probe":           {framePing, 0, 0, 0, 1, 0},
		"envelope":        {frameFirst + 2, 0, 0, 0, 5, 0, 0, 0, 1, 0},
		"short signature": {frameSigned, 0, 0, 0, 1, 0},
		"signed nothing":  append([]byte{frameSigned, 0, 0, 0, 64}, make([]byte, 64)...),
	} {
		t.Run(name, func(t *testing.T) {
			group := startGroup(t, nil, "a", "b")
			waitReady(t, group)
			sessions := openAll(t, group, "garbage", "a", "b")
			l := sessions["a"].(*session).lines["b"].link
			if _, err := l.tls.Write(garbage); err != nil {
				t.Fatal(err)
			}
			_, err := sessions["b"].Recv(testContext(t), "a", "r")
			if cheat, ok := mpc.AsCheat(err); !ok || !slices.Equal(cheat.Parties, []mpc.PartyID{"a"}) {
				t.Errorf("error %v, expected operator a to be a cheat", err)
			}
			waitReady(t, group)
		})
	}
}

func TestFloodEndsItsSessionAlone(t *testing.T) {
	ids := []mpc.PartyID{"a", "b", "c"}
	group := startGroup(t, func(c *Config) {
		c.Limits.SessionBytes, c.Limits.PeerBytes, c.Limits.Sessions = 1<<20, 2<<20, 10
	}, ids...)
	waitReady(t, group)
	ctx := testContext(t)
	flooded := openAll(t, group, "flooded", ids...)
	fine := openAll(t, group, "fine", ids...)
	early, err := group["a"].Open(testSession("early"), ids)
	if err != nil {
		t.Fatal(err)
	}
	defer early.Close()
	for i := range 20 {
		for _, s := range []mpc.Session{flooded["a"], early} {
			if err := s.Send(ctx, "b", fmt.Sprint(i), make([]byte, 100_000)); err != nil {
				t.Fatal(err)
			}
		}
	}
	late, err := group["b"].Open(testSession("early"), ids)
	if err != nil {
		t.Fatal(err)
	}
	defer late.Close()
	for _, s := range []mpc.Session{flooded["b"], late} {
		_, err := s.Recv(ctx, "c", "never sent")
		if cheat, ok := mpc.AsCheat(err); !ok || !slices.Equal(cheat.Parties, []mpc.PartyID{"a"}) || !strings.Contains(err.Error(), "flooded") {
			t.Errorf("error %v, expected operator a to be a flooding cheat", err)
		}
	}
	var wg sync.WaitGroup
	for _, id := range ids {
		wg.Go(func() {
			if _, err := mpc.Exchange(ctx, fine[id], "r", []byte(id)); err != nil {
				t.Errorf("%s: %v", id, err)
			}
		})
	}
	wg.Wait()
	p := group["b"].peers["a"]
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.held != 0 {
		t.Errorf("%d bytes of the flood are still held", p.held)
	}
}

func TestSessionsNeverOpenedAreBoundedAndExpire(t *testing.T) {
	group := startGroup(t, func(c *Config) {
		c.Limits.Sessions, c.Limits.PendingFor = 10, time.Second
	}, "a", "b")
	waitReady(t, group)
	ctx := testContext(t)
	begin := func(n int) error {
		l, err := group["a"].peers["b"].current()
		if err != nil {
			t.Fatal(err)
		}
		for i := range n {
			if err := l.sendSession(ctx, testSession(fmt.Sprint(n, " ", i)), "r", []byte("m")); err != nil {
				return err
			}
		}
		return nil
	}
	if err := begin(9); err != nil {
		t.Fatal(err)
	}
	p := group["b"].peers["a"]
	count := func() int {
		p.mu.Lock()
		defer p.mu.Unlock()
		return len(p.inboxes)
	}
	poll(t, func() bool { return count() == 9 })
	poll(t, func() bool { return count() == 0 })
	open := openAll(t, group, "open", "a", "b")["b"]
	_ = begin(200)
	_, err := open.Recv(ctx, "a", "r")
	if cheat, ok := mpc.AsCheat(err); !ok || !slices.Equal(cheat.Parties, []mpc.PartyID{"a"}) || !strings.Contains(err.Error(), "began more than 10 sessions") {
		t.Errorf("error %v, expected operator a to be a cheat", err)
	}
	waitReady(t, group)
}

// poll waits for a state that no event announces.
func poll(t *testing.T, f func() bool) {
	t.Helper()
	ctx := testContext(t)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !f() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatal("it did not come to pass")
		}
	}
}

// A NATS server asks clients to sign a nonce of its choice with the key that
// signs everything else.
func TestServerCannotHaveTextsSigned(t *testing.T) {
	const text = "operator a accepts whatever the server likes"
	id := NewIdentity("a", testKey("a"), []Peer{testPeer("a", "")})
	for _, out := range []bool{false, true} { // hooks.anyNonce
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		got := make(chan []byte, 100)
		var wg sync.WaitGroup
		wg.Go(func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				nonce, _ := json.Marshal(statementContext + text)
				fmt.Fprintf(c, "INFO {\"server_id\":\"x\",\"version\":\"2.10.0\",\"max_payload\":1048576,\"auth_required\":true,\"nonce\":%s}\r\n", nonce)
				line, _ := bufio.NewReader(c).ReadBytes('\n')
				c.Close()
				got <- line
			}
		})
		cfg := testConfig("a", testPeer("a", ""), testPeer("b", ""))
		cfg.Listen, cfg.URLs = "", []string{"nats://" + l.Addr().String()}
		cfg.hooks.anyNonce = out
		tr := start(t, cfg)
		line := <-got
		var connect struct{ Sig string }
		_ = json.Unmarshal(bytes.TrimPrefix(line, []byte("CONNECT ")), &connect)
		sig, err := base64.RawURLEncoding.DecodeString(connect.Sig)
		if err != nil {
			t.Fatal(err)
		}
		if verified := id.Verify("a", []byte(text), sig); verified != out {
			t.Errorf("check out: %v; the server has operator a's signature on a text: %v", out, verified)
		}
		tr.Close()
		l.Close()
		wg.Wait()
	}
}
