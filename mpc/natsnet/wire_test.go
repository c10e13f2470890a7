package natsnet

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nkeys"
	"pgregory.net/rapid"

	"zonesigner/mpc"
	"zonesigner/mpc/memnet"
)

// connPair is two connections whose packets pass through a function each.
func connPair(toB, toA func([]byte) [][]byte) (a, b *streamConn) {
	deliver := func(to **streamConn, through func([]byte) [][]byte) func([]byte) error {
		return func(raw []byte) error {
			for _, one := range through(bytes.Clone(raw)) {
				if p, err := parsePacket(one); err == nil {
					(*to).receive(p)
				}
			}
			return nil
		}
	}
	a = newStreamConn(1, 2, 1000, deliver(&b, toB))
	b = newStreamConn(2, 1, 1000, deliver(&a, toA))
	return a, b
}

func as(b []byte) [][]byte { return [][]byte{b} }

// Whatever becomes of packets, as long as their content is not altered the
// reader gets a prefix of what was written.
func TestStreamIsAPrefix(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var old [][]byte
		faults := rapid.Bool().Draw(t, "faults")
		through := func(p []byte) [][]byte {
			if !faults {
				return as(p)
			}
			old = append(old, p)
			again := old[rapid.IntRange(0, len(old)-1).Draw(t, "which")]
			switch rapid.IntRange(0, 12).Draw(t, "fault") {
			case 0:
				return nil
			case 1:
				return [][]byte{p, again}
			case 2:
				return [][]byte{again, p}
			case 3:
				return as(p[:rapid.IntRange(0, len(p)).Draw(t, "cut")])
			}
			return as(p)
		}
		a, b := connPair(through, as)
		var written, got []byte
		buf := make([]byte, 3000)
		for range rapid.IntRange(1, 20).Draw(t, "writes") {
			piece := rapid.SliceOfN(rapid.Byte(), 1, 2500).Draw(t, "piece")
			if _, err := a.Write(piece); err != nil {
				break
			}
			written = append(written, piece...)
			for {
				b.mu.Lock()
				waits := len(b.queue) == 0 && b.err == nil
				b.mu.Unlock()
				if waits {
					break
				}
				n, err := b.Read(buf)
				got = append(got, buf[:n]...)
				if err != nil {
					break
				}
			}
		}
		if !bytes.HasPrefix(written, got) {
			t.Fatalf("%d bytes read are no prefix of %d written", len(got), len(written))
		}
		if !faults && len(got) != len(written) {
			t.Fatalf("%d bytes read of %d written", len(got), len(written))
		}
	})
}

// The connection itself does not keep bytes from being altered: without TLS
// above it, the server's attack succeeds.
func TestStreamAloneIsNotAuthentic(t *testing.T) {
	a, b := connPair(func(p []byte) [][]byte { p[len(p)-1] ^= 1; return as(p) }, as)
	if _, err := a.Write([]byte{0}); err != nil {
		t.Fatal(err)
	}
	var got [1]byte
	if _, err := b.Read(got[:]); err != nil || got[0] != 1 {
		t.Errorf("%v, %v", got, err)
	}
}

func TestWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := connPair(as, as)
		var wg sync.WaitGroup
		done := false
		wg.Go(func() {
			_, err := a.Write(make([]byte, window+5000))
			if err != nil {
				t.Error(err)
			}
			done = true
		})
		synctest.Wait()
		if done {
			t.Error("the writer did not wait for the window")
		}
		if n := int(b.next); n > window || n < window-1000 {
			t.Errorf("%d bytes are on their way, expected a window of %d", n, window)
		}
		if _, err := io.ReadFull(b, make([]byte, window+5000)); err != nil {
			t.Error(err)
		}
		wg.Wait()

		// Closing ends the waiting.
		wg.Go(func() {
			if _, err := a.Write(make([]byte, 3*window)); !errors.Is(err, io.ErrClosedPipe) {
				t.Errorf("error %v, expected that it is closed", err)
			}
		})
		synctest.Wait()
		a.Close()
		wg.Wait()
	})
}

// farPair is two connections with a round trip between them, and perhaps no
// more than rate bytes a second from a to b.
func farPair(t *testing.T, trip time.Duration, rate float64) (a, b *streamConn) {
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	way := func(to **streamConn, rate float64) func([]byte) error {
		line := memnet.NewLine[[]byte]()
		go line.Carry(ctx, func(raw []byte) bool {
			if p, err := parsePacket(raw); err == nil {
				(*to).receive(p)
			}
			return true
		})
		var free time.Time // when the way takes the next packet
		return func(raw []byte) error {
			if now := time.Now(); free.Before(now) {
				free = now
			}
			free = free.Add(time.Duration(float64(len(raw)) / rate * 1e9))
			line.Put(bytes.Clone(raw), free.Add(trip/2))
			return nil
		}
	}
	a = newStreamConn(1, 2, maxPacket, way(&b, rate))
	b = newStreamConn(2, 1, maxPacket, way(&a, 1e12))
	return a, b
}

// What is under way follows what the way can carry: bandwidth times delay, and
// no more than four times that where the way is slow.
func TestWindowGrows(t *testing.T) {
	for _, c := range []struct {
		name  string
		trip  time.Duration // as it is
		shown time.Duration // as a probe says
		rate  float64
		want  uint64  // window in the end
		least float64 // bytes a second, of the last half
	}{
		{"240 ms", 240 * time.Millisecond, 240 * time.Millisecond, 1e12, maxWindow, maxWindow / 0.25},
		{"240 ms and 20 MB/s", 240 * time.Millisecond, 240 * time.Millisecond, 20e6, 16 << 20, 19e6},
		{"240 ms and 1 MB/s", 240 * time.Millisecond, 240 * time.Millisecond, 1e6, window, 0.95e6},
		{"1 ms and 1 GB/s", time.Millisecond, time.Millisecond, 1e9, window, 0.95e9},
		{"before the first probe", 240 * time.Millisecond, 0, 1e12, window, window / 0.35},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, b := farPair(t, c.trip, c.rate)
				if c.shown > 0 {
					b.roundTrip(10 * c.shown) // a trip that took longer, through a queue, changes nothing
					b.roundTrip(c.shown)
				}
				const half = 64 << 20
				go func() { _, _ = a.Write(make([]byte, 2*half)) }()
				buf := make([]byte, 1<<20)
				if _, err := io.CopyBuffer(io.Discard, onlyReader{io.LimitReader(b, half)}, buf); err != nil {
					t.Error(err)
				}
				begin := time.Now()
				if _, err := io.CopyBuffer(io.Discard, onlyReader{io.LimitReader(b, half)}, buf); err != nil {
					t.Error(err)
				}
				if rate := half / time.Since(begin).Seconds(); rate < c.least {
					t.Errorf("%.1f MB/s, expected %.1f", rate/1e6, c.least/1e6)
				}
				if b.window != c.want {
					t.Errorf("window of %d MiB, expected %d", b.window>>20, c.want>>20)
				}
				a.Close()
			})
		})
	}
}

type onlyReader struct{ io.Reader }

// A connection holds its window in bytes and little more, however wide it has
// become and however small the packets are; kept apart they would take many
// times that.
func TestFloodIsBounded(t *testing.T) {
	for _, c := range []struct {
		window int
		size   int
		apart  bool
		most   float64 // of a window, on the heap
		least  float64
	}{
		{maxWindow, 60_000, false, 1.2, 0.9},
		{maxWindow, 100, false, 2, 0.9},
		{window, 4, false, 2, 0.9},
		{window, 4, true, 20, 3}, // the attack, when they are not put together
	} {
		_, b := connPair(as, as)
		b.window, b.apart = uint64(c.window), c.apart
		before := heap()
		sent := 0
		for b.err == nil {
			b.receive(packet{kind: packetData, value: uint64(sent), data: make([]byte, c.size)})
			sent += c.size
		}
		held := float64(heap()-before) / float64(c.window)
		if sent > c.window+c.size || !errors.Is(b.err, errWindow) {
			t.Errorf("%d bytes came in, %v", sent, b.err)
		}
		if held > c.most || held < c.least {
			t.Errorf("packets of %d bytes, apart %v: %.1f windows on the heap, expected %.1f to %.1f", c.size, c.apart, held, c.least, c.most)
		}
		n, err := io.Copy(io.Discard, onlyReader{b})
		if n > int64(c.window) || n < int64(c.window-c.size) || err == nil {
			t.Errorf("%d bytes can be read, %v", n, err)
		}
	}
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// A build from before grants were widened ignores them, and never gives one.
func TestWindowOfBuildsBefore(t *testing.T) {
	for _, grants := range []bool{false, true} {
		drop := func(p []byte) [][]byte {
			if !grants && p[0] == packetGrant {
				return nil
			}
			return as(p)
		}
		a, b := connPair(as, drop)
		b.window = maxWindow // as it would be after a while
		if _, err := a.Write(make([]byte, window)); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(b, make([]byte, window)); err != nil {
			t.Fatal(err)
		}
		if got, want := a.allowed > 0, grants; got != want || a.acked == 0 {
			t.Errorf("grants %v: may go to %d, knows of %d", grants, a.allowed, a.acked)
		}
	}
}

func TestHostilePackets(t *testing.T) {
	for name, p := range map[string]packet{
		"gap":               {kind: packetData, value: 11, data: []byte{1}},
		"overlap":           {kind: packetData, value: 9, data: []byte{1, 2}},
		"offset at the end": {kind: packetData, value: 1<<64 - 1, data: []byte{1, 2}},
		"grant of nothing":  {kind: packetAck, value: 11},
		"grant of too much": {kind: packetGrant, value: maxWindow + 1},
		"endless grant":     {kind: packetGrant, value: 1<<64 - 1},
		"reset":             {kind: packetReset},
	} {
		a, b := connPair(as, as)
		if _, err := a.Write(make([]byte, 10)); err != nil {
			t.Fatal(err)
		}
		if _, err := b.Write(make([]byte, 10)); err != nil {
			t.Fatal(err)
		}
		b.receive(p)
		// What came in order before can be read, then it is over.
		if got, err := io.ReadAll(b); len(got) != 10 || err == nil {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
	}
	// More than the window is not held.
	_, b := connPair(as, as)
	for sent := uint64(0); b.err == nil; sent += 60_000 {
		b.receive(packet{kind: packetData, value: sent, data: make([]byte, 60_000)})
		if sent > window {
			t.Fatal("the window is passed")
		}
	}
	if !errors.Is(b.err, errWindow) {
		t.Errorf("error %v, expected %v", b.err, errWindow)
	}
}

func TestFramesRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := &link{space: make(chan struct{}), wake: make(chan struct{}, 1)}
		var want [lanes][][]byte
		for i := range rapid.IntRange(1, 8).Draw(t, "messages") {
			lane := rapid.IntRange(0, lanes-1).Draw(t, "lane")
			size := rapid.SampledFrom([]int{1, 100, sendFrame - 4, sendFrame - 3, 2*sendFrame - 4, 5 * sendFrame}).Draw(t, "size")
			m := bytes.Repeat([]byte{byte(i)}, size)
			want[lane] = append(want[lane], m)
			if err := l.send(t.Context(), lane, &outMessage{b: m, entry: [32]byte{byte(len(want[laneSession]))}}); err != nil {
				t.Fatal(err)
			}
		}
		l.ping()
		var wire []byte
		var written ledger
		for {
			b := l.batch(nil, &written)
			if len(b) == 0 {
				break
			}
			wire = append(wire, b...)
		}
		f := frameReader{r: bytes.NewReader(wire), limit: [lanes]int{5 * sendFrame, 5 * sendFrame}}
		var got [lanes][][]byte
		for {
			kind, number, msg, err := f.next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			if kind == framePing {
				if number != 1 {
					t.Fatalf("ping %d, expected 1", number)
				}
				continue
			}
			lane := (kind - frameFirst) / 2
			got[lane] = append(got[lane], msg)
		}
		for lane := range want {
			if !slices.EqualFunc(got[lane], want[lane], bytes.Equal) {
				t.Fatalf("lane %d: %d messages, expected %d", lane, len(got[lane]), len(want[lane]))
			}
		}
		for i, entry := range written.entries {
			if entry[0] != byte(i+1) || len(written.entries) != len(want[laneSession]) {
				t.Fatalf("entry %d of %d is of message %d", i, len(written.entries), entry[0])
			}
		}
		if l.queued != [lanes]int{} {
			t.Fatalf("%v bytes are still queued", l.queued)
		}
	})
}

// What a long message is written in fits a packet at a time, with its TLS
// records, a ledger's signature and a probe.
func TestBatchFitsPacket(t *testing.T) {
	l := &link{space: make(chan struct{}), wake: make(chan struct{}, 1)}
	if err := l.send(t.Context(), laneSession, &outMessage{b: make([]byte, MaxMessage)}); err != nil {
		t.Fatal(err)
	}
	l.ping()
	n := len(l.batch(nil, &ledger{})) + frameHeader + ed25519.SignatureSize
	const record, around = 16 << 10, 5 + 1 + 16
	if n += (n + record - 1) / record * around; n > maxPacket || n < maxPacket-2<<10 {
		t.Errorf("%d bytes are written at once, expected at most %d and nearly as much", n, maxPacket)
	}
}

func TestHelloVersions(t *testing.T) {
	for _, c := range []struct {
		a, b hello
		want uint16
		ok   bool
	}{
		{hello{min: 1, max: 1}, hello{min: 1, max: 1}, 1, true},
		{hello{min: 1, max: 2}, hello{min: 2, max: 3}, 2, true},
		{hello{min: 1, max: 2}, hello{min: 1, max: 3}, 2, true},
		{hello{min: 1, max: 1}, hello{min: 2, max: 3}, 0, false},
	} {
		for _, pair := range [][2]hello{{c.a, c.b}, {c.b, c.a}} {
			if v, ok := common(pair[0], pair[1]); ok != c.ok || ok && v != c.want {
				t.Errorf("%+v: version %d, %v", pair, v, ok)
			}
		}
	}
}

func TestEnvelopeBindsEverything(t *testing.T) {
	base := envelope{version: 1, lane: laneSession, session: mpc.SessionID{1}, round: "r", from: "a", to: "b"}
	texts := map[string]bool{string(base.appendText(nil)): true}
	for name, change := range map[string]func(*envelope){
		"version": func(e *envelope) { e.version = 2 },
		"lane":    func(e *envelope) { e.lane = laneControl },
		"group":   func(e *envelope) { e.group[31] = 1 },
		"session": func(e *envelope) { e.session[31] = 1 },
		"round":   func(e *envelope) { e.round = "ra" },
		"from":    func(e *envelope) { e.from = "c" },
		"to":      func(e *envelope) { e.to = "c" },
		"hash":    func(e *envelope) { e.hash[0] = 1 },
		"shift":   func(e *envelope) { e.round, e.from = "ra", "" },
	} {
		e := base
		change(&e)
		if texts[string(e.appendText(nil))] {
			t.Errorf("%s is not signed", name)
		}
		texts[string(e.appendText(nil))] = true
	}
}

func TestSubjectTokens(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := rapid.String().Draw(t, "a"), rapid.String().Draw(t, "b")
		if a != b && subjectToken(a) == subjectToken(b) {
			t.Fatalf("%q and %q share a token", a, b)
		}
		if strings.ContainsAny(subjectToken(a), ".*> \t\r\n\x00") {
			t.Fatalf("token %q", subjectToken(a))
		}
	})
	if got := subject("my group", "a.b", "c-1"); got != "zonesigner.v1.my=20group.a=2Eb.c-1" {
		t.Error(got)
	}
}

func TestIdentity(t *testing.T) {
	pub, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	public, err := publicNKey(pub)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := nkeys.FromPublicKey(public)
	if err != nil || pair.Verify([]byte("m"), ed25519.Sign(key, []byte("m"))) != nil {
		t.Errorf("%q is not the key's nkey: %v", public, err)
	}

	peers := []Peer{{ID: "a", Key: pub}, testPeer("b", "")}
	id := NewIdentity("a", key, peers)
	sig := id.Sign([]byte("m"))
	if !id.Verify("a", []byte("m"), sig) || id.Verify("b", []byte("m"), sig) || id.Verify("x", []byte("m"), sig) || id.Verify("a", []byte("n"), sig) {
		t.Error("signatures are mixed up")
	}
	if ed25519.Verify(pub, []byte("m"), sig) {
		t.Error("a statement is signed without its prefix")
	}
	for _, shown := range []string{fmt.Sprint(id), fmt.Sprintf("%+v", id), fmt.Sprintf("%#v", id)} {
		if shown != "identity of operator a" {
			t.Errorf("it prints as %q", shown)
		}
	}
}

func TestNonces(t *testing.T) {
	sign := nonceSigner(testKey("a"), false)
	if _, err := sign([]byte("abcDEF-_0123456")); err != nil {
		t.Error(err)
	}
	e := envelope{from: "a", to: "b"}
	l := ledger{entries: [][32]byte{e.entry()}}
	for _, bad := range [][]byte{nil, []byte("with space"), []byte(statementContext), e.appendText(nil), l.text(), bytes.Repeat([]byte(" "), 64), bytes.Repeat([]byte("a"), 44)} {
		if _, err := sign(bad); err == nil {
			t.Errorf("%q was signed", bad)
		}
	}
}

func FuzzPacket(f *testing.F) {
	f.Add(appendPacketHeader(nil, packetSyn, 0, 7))
	f.Add(append(appendPacketHeader(nil, packetData, 2, 0), "data"...))
	f.Add(appendPacketHeader(nil, packetAck, 2, 10))
	f.Add(appendPacketHeader(nil, packetGrant, 2, maxWindow))
	f.Add([]byte{packetData})
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := parsePacket(b)
		if err != nil {
			return
		}
		if again := append(appendPacketHeader(nil, p.kind, p.id, p.value), p.data...); !bytes.Equal(again, b) {
			t.Errorf("%x became %x", b, again)
		}
		_, c := connPair(as, as)
		c.receive(p)
		if c.next > window || len(c.queue) > 1 {
			t.Errorf("%d bytes taken", c.next)
		}
	})
}

func FuzzHello(f *testing.F) {
	f.Add(hello{min: 1, max: 2, group: [32]byte{3}}.encode())
	f.Add(make([]byte, helloSize))
	f.Fuzz(func(t *testing.T, b []byte) {
		if h, err := parseHello(b); err == nil && !bytes.Equal(h.encode(), b) {
			t.Errorf("%x became %x", b, h.encode())
		}
	})
}

func FuzzFrames(f *testing.F) {
	m := outMessage{b: bytes.Repeat([]byte("m"), sendFrame+10)}
	first, _ := m.appendFrame(nil, laneControl)
	whole, _ := m.appendFrame(bytes.Clone(first), laneControl)
	f.Add(whole)
	f.Add(first)
	f.Add(append(appendFrameHeader(nil, framePing, 8), 0, 0, 0, 0, 0, 0, 0, 1))
	f.Add([]byte{frameFirst, 0, 0, 0, 5, 0xff, 0xff, 0xff, 0xff, 0})
	f.Add([]byte{frameFirst, 0, 0, 0, 4, 0, 0, 0, 0})
	f.Add(append([]byte{frameSigned, 0, 0, 0, 64}, make([]byte, 64)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := frameReader{r: bytes.NewReader(b), limit: [lanes]int{1 << 16, 1 << 17}}
		total := 0
		for {
			kind, _, msg, err := r.next()
			if err != nil {
				return
			}
			if kind >= frameFirst && kind < frameSigned {
				if total += len(msg); msg == nil || len(msg) > r.limit[(kind-frameFirst)/2] || total > len(b) {
					t.Fatalf("message of %d bytes out of %d", len(msg), len(b))
				}
			}
		}
	})
}

func FuzzEnvelope(f *testing.F) {
	e := envelope{version: 1, lane: laneSession, session: mpc.SessionID{1}, round: "r", from: "a", to: "b"}
	f.Add(byte(laneSession), encodeMessage(&e, []byte("payload")))
	e.lane = laneControl
	f.Add(byte(laneControl), encodeMessage(&e, nil))
	f.Add(byte(laneSession), make([]byte, 32))
	f.Fuzz(func(t *testing.T, lane byte, b []byte) {
		e := envelope{lane: lane % lanes}
		payload, err := decodeMessage(&e, b)
		if err != nil {
			return
		}
		if again := encodeMessage(&e, payload); !bytes.Equal(again, b) {
			t.Errorf("%x became %x", b, again)
		}
	})
}

func FuzzEvidence(f *testing.F) {
	key := testKey("a")
	e := envelope{version: 1, lane: laneSession, session: mpc.SessionID{1}, round: "r", from: "a", to: "b"}
	var both [2]signed
	for i := range both {
		e.hash = [32]byte{byte(i)}
		both[i] = signed{hash: e.hash, ledger: &ledger{}, index: i}
		for range i {
			both[i].ledger.add([32]byte{})
		}
		both[i].ledger.add(e.entry())
		both[i].ledger.sig = ed25519.Sign(key, both[i].ledger.text())
	}
	good := encodeEvidence(&e, both[0], both[1])
	f.Add(good)
	f.Add(good[:len(good)-1])
	f.Add([]byte(evidenceMagic))
	swapped := encodeEvidence(&e, both[1], both[0])
	keyOf := func(id mpc.PartyID) ed25519.PublicKey {
		if id != "a" {
			return nil
		}
		return key.Public().(ed25519.PublicKey)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, err := VerifyEvidence(b, keyOf); err == nil && !bytes.Equal(b, good) && !bytes.Equal(b, swapped) {
			t.Errorf("%x is evidence", b)
		}
	})
}
