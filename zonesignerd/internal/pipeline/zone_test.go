package pipeline

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"zonesigner/mpc"
	"zonesigner/zonesignerd/internal/agree"
)

func TestThreeSign(t *testing.T) {
	w := newWorld(t, "", "a", "b", "c")
	serial := w.runAll("www A 192.0.2.10")
	w.change(2, "www A 192.0.2.11")
	w.level(serial)
}

// All propose at the same moment, over and over: one session comes of it, and
// no tuple is spent twice (which the signer checks).
func TestProposalsAtOnce(t *testing.T) {
	w := newWorld(t, "", "a", "b", "c")
	serial := w.runAll("www A 192.0.2.10")
	for i := range 5 {
		for _, m := range w.members {
			m.zone.mu.Lock()
			m.zone.d.Turn = time.Millisecond
			m.zone.mu.Unlock()
		}
		w.change(uint32(i+2), "www A 192.0.2."+string(rune('1'+i)))
		serial = w.level(serial)
	}
	if serial > 9 {
		t.Errorf("5 changes came to serial %d", serial)
	}
}

// decide on every kind of reason, and none.
func TestDecide(t *testing.T) {
	w := newWorld(t, "b", "a", "b", "c") // c is never started
	w.hub.SetDown("b", true)
	w.hub.SetDown("c", true)
	delete(w.members, "c")
	m := w.members["a"]
	z := m.start()
	defer m.agreement.Close()
	decide := func(at time.Time) *want {
		z.mu.Lock()
		defer z.mu.Unlock()
		return z.decide(at)
	}
	now := w.now()
	if got := decide(now); got != nil {
		t.Fatalf("nothing is there, and %q is to be signed", got.why)
	}
	m.source.set(t, 1, "www A 192.0.2.10")
	check(t, z.read(t.Context()))
	got := decide(now)
	if got == nil || got.why != "change" || got.source != 1 {
		t.Fatalf("the first content: %+v", got)
	}
	plan, err := z.plan(got.zone, &Proposal{Source: 1, Serial: 1, Time: uint32(now.Unix())}, nil, testPolicy, w.signer.zoneKeys())
	check(t, err)
	sigs := make([][64]byte, plan.Len())
	for i := range sigs {
		sigs[i] = w.signer.sign(plan.Message(i))
	}
	s, err := plan.Assemble(sigs)
	check(t, err)
	head := &Signed{Zone: s, Content: got.content, Source: 1, Own: true, Policy: testPolicy.Digest, Keys: keysDigest(w.signer.zoneKeys()),
		Cert: Certificate{Zone: "example.", Serial: 1, Digest: agree.Digest(s.Digest()), Time: uint32(now.Unix())}}
	check(t, z.promote(head))
	if got := decide(now); got != nil {
		t.Errorf("all is signed, and %q is to be signed", got.why)
	}
	if got := decide(now.Add(16 * 24 * time.Hour)); got == nil || got.why != "refresh" {
		t.Errorf("after 16 days: %+v", got)
	}
	for _, tt := range []struct {
		why    string
		change func()
		undo   func()
	}{
		{"asked", func() { z.asked = true }, func() { z.asked = false }},
		{"keys", func() { head.Keys[0] ^= 1 }, func() { head.Keys[0] ^= 1 }},
		{"policy", func() { head.Policy[0] ^= 1 }, func() { head.Policy[0] ^= 1 }},
	} {
		z.mu.Lock()
		tt.change()
		z.mu.Unlock()
		if got := decide(now); got == nil || got.why != tt.why {
			t.Errorf("%s: %+v", tt.why, got)
		}
		z.mu.Lock()
		tt.undo()
		z.mu.Unlock()
	}

	m.source.set(t, 2, "www A 192.0.2.11")
	check(t, z.read(t.Context()))
	z.mu.Lock()
	z.dispute(z.newest().digest, now)
	z.mu.Unlock()
	if got := decide(now); got != nil {
		t.Errorf("a disputed content is to be signed at once: %q", got.why)
	}
	if got := decide(now.Add(16 * 24 * time.Hour)); got == nil || got.why != "change" {
		t.Errorf("a disputed content is not proposed again: %+v", got)
	}
	m.source.set(t, 3, "www A 192.0.2.10")
	check(t, z.read(t.Context()))
	if got := decide(now); got != nil {
		t.Errorf("the content is back to what is signed, and %q is to be signed", got.why)
	}

	// What is certified here comes first, and not for ever.
	m.source.set(t, 4, "www A 192.0.2.12")
	check(t, z.read(t.Context()))
	z.mu.Lock()
	z.candidate, z.certAt = head, now
	z.mu.Unlock()
	if got := decide(now); got != nil {
		t.Errorf("beside a candidate %q is to be signed", got.why)
	}
	if got := decide(now.Add(11 * z.d.Timeout)); got == nil || got.why != "change" {
		t.Errorf("a candidate that nobody completes stops the zone for ever: %+v", got)
	}
}

// One operator of those that are ready is first, and each later one waits
// longer.
func TestTurns(t *testing.T) {
	w := newWorld(t, "", "a", "b", "c", "d", "e")
	waits := func(content byte) (out []time.Duration) {
		for _, m := range w.members {
			m.zone.mu.Lock()
			out = append(out, m.zone.turn(&want{content: agree.Digest{content}}))
			m.zone.mu.Unlock()
		}
		slices.Sort(out)
		return out
	}
	for _, m := range w.members {
		m.start()
		defer m.agreement.Close()
	}
	step := w.members["a"].zone.d.Turn
	first := map[mpc.PartyID]int{}
	for content := range byte(100) {
		if got := waits(content); !slices.Equal(got, []time.Duration{0, step, 3 * step, 7 * step, 15 * step}) {
			t.Fatalf("waits %v", got)
		}
		for id, m := range w.members {
			m.zone.mu.Lock()
			if m.zone.turn(&want{content: agree.Digest{content}}) == 0 {
				first[id]++
			}
			m.zone.mu.Unlock()
		}
	}
	for id, n := range first {
		if n > 50 {
			t.Errorf("operator %s is first for %d of 100 contents", id, n)
		}
	}
	w.hub.SetDown("c", true)
	delete(w.members, "c")
	if got := waits(7); !slices.Equal(got, []time.Duration{0, step, 3 * step, 7 * step}) {
		t.Errorf("with c down: waits %v", got)
	}
}

// Who comes before is let go first, but not for ever.
func TestYield(t *testing.T) {
	w := newWorld(t, "b", "a", "b", "c") // c is never started
	delete(w.members, "c")
	m := w.members["a"]
	z := m.start()
	defer m.agreement.Close()
	now := time.Now()
	z.d.Now = func() time.Time { return now }
	before := func(w *want) bool { return z.rank(w, "b") < z.rank(w, "a") }
	first, last := &want{}, &want{}
	for !before(last) {
		last.content[0]++
	}
	for before(first) {
		first.content[0]++
	}
	if z.Yield("b") {
		t.Error("it yields where it wants nothing")
	}
	z.want = first
	if z.Yield("b") || first.yields != 0 {
		t.Error("the first yields to the last")
	}
	z.want = last
	for i := range mostYields {
		if !z.Yield("b") || last.yields != i+1 || z.retryAt.Before(now.Add(z.d.Turn)) {
			t.Fatalf("the last does not yield to the first for the %dth time", i+1)
		}
		z.Yield("b") // at the same time: once
		now = now.Add(time.Minute)
	}
	if z.Yield("b") {
		t.Error("the last yields for ever")
	}
}

// While tuples are made a zone is not planned again and again, until a plan would
// be another.
func TestShortOfTuples(t *testing.T) {
	w := newWorld(t, "b", "a", "b", "c") // c is never started
	delete(w.members, "c")
	m := w.members["a"]
	m.pools.lacking = make(chan func(), 100)
	z := m.start()
	defer m.agreement.Close()
	ahead := time.Duration(0)
	z.d.Now = func() time.Time { return time.Now().Add(ahead) }
	m.source.set(t, 1, "www A 192.0.2.10")
	check(t, z.read(t.Context()))
	attempt := func() (planned bool) {
		t.Helper()
		z.mu.Lock()
		w := z.decide(z.d.Now())
		z.want, z.stages.Signatures = w, 0
		z.mu.Unlock()
		if _, err := z.attempt(t.Context(), w); !errors.Is(err, ErrTuples) {
			t.Fatal(err)
		}
		z.mu.Lock()
		defer z.mu.Unlock()
		return z.stages.Signatures > 0
	}
	for i, change := range []func(){
		nil,
		func() { z.policy.Digest[0]++ },
		func() {
			var err error
			w.signer.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
			check(t, err)
		},
		func() {
			m.source.set(t, 2, "www A 192.0.2.11")
			check(t, z.read(t.Context()))
		},
	} {
		if change != nil {
			change()
		}
		if !attempt() || attempt() || attempt() {
			t.Errorf("change %d: not planned once", i)
		}
		ahead += time.Hour // no plan of before can be proposed any more
		if attempt() {
			t.Errorf("change %d: planned again while there are still too few", i)
		}
	}
}

// A promise is one manifest a serial, over restarts, until it is taken back.
func TestPromise(t *testing.T) {
	w := newWorld(t, "", "a", "b", "c")
	m := w.members["a"]
	z := m.start()
	first, second := &Proposal{Serial: 7, Manifest: agree.Digest{1}}, &Proposal{Serial: 7, Manifest: agree.Digest{2}}
	if fresh, err := z.promise(first); err != nil || !fresh {
		t.Fatalf("the first promise: %t, %v", fresh, err)
	}
	if fresh, err := z.promise(first); err != nil || fresh {
		t.Errorf("the same again: %t, %v", fresh, err)
	}
	m.agreement.Close()
	z = m.start()
	defer m.agreement.Close()
	_, err := z.promise(second)
	var taken *serialError
	if !errors.As(err, &taken) || taken.free != 8 {
		t.Errorf("another manifest for the serial: %v", err)
	}
	if !z.promised(first) || z.promised(second) {
		t.Error("it does not stand by the first")
	}
	z.unpromise(first)
	if _, err := z.promise(second); err != nil {
		t.Errorf("after it was taken back: %v", err)
	}
	check(t, z.forget(7))
	if z.promised(second) {
		t.Error("a promise outlives its serial")
	}
}

// A zone restarts on what it has, whatever happened to its files.
func TestDamagedState(t *testing.T) {
	w := newWorld(t, "", "a", "b", "c")
	serial := w.runAll("www A 192.0.2.10")
	m := w.members["a"]
	files := func() []string {
		f, err := filepath.Glob(filepath.Join(m.zone.dir(), "*.v1.zone"))
		check(t, err)
		return f
	}
	for _, damage := range []struct {
		name string
		do   func(file string)
	}{
		{"none", func(string) {}},
		{"gone", func(f string) { check(t, os.Remove(f)) }},
		{"empty", func(f string) { check(t, os.WriteFile(f, nil, 0o600)) }},
		{"cut short", func(f string) { check(t, os.Truncate(f, 200)) }},
		{"a byte changed", func(f string) {
			b, err := os.ReadFile(f)
			check(t, err)
			b[len(b)/2] ^= 1
			check(t, os.WriteFile(f, b, 0o600))
		}},
		{"another's", func(f string) { check(t, os.WriteFile(f, []byte("zonesigner something else"), 0o600)) }},
	} {
		m.stop()
		if n := len(files()); n != 1 {
			t.Fatalf("before %q: %d files are kept", damage.name, n)
		}
		damage.do(files()[0])
		m.public.mu.Lock()
		m.public.zone = nil
		m.public.mu.Unlock()
		m.run()
		if got := w.level(serial - 1); got != serial {
			t.Errorf("%s: all publish %d, expected %d", damage.name, got, serial)
		}
	}
	w.change(2, "www A 192.0.2.11")
	w.level(serial)
	m.stop()
	check(t, m.store.Put(slotKey(headSlot, "example."), []byte(`{"version":2}`)))
	_, err := New("example.", testPolicy, m.source, m.public, m.zone.d)
	if err == nil || !strings.Contains(err.Error(), "is of version 2") {
		t.Errorf("a state of another version: %v", err)
	}
	check(t, m.store.Put(slotKey(headSlot, "example."), []byte(`nonsense`)))
	if _, err := New("example.", testPolicy, m.source, m.public, m.zone.d); err == nil {
		t.Error("nonsense was read as state")
	}
}

// The disk is full at one moment of one operator: it says so, keeps the old
// zone, and goes on when there is room.
func TestDiskFull(t *testing.T) {
	w := newWorld(t, "", "a", "b", "c")
	serial := w.runAll("www A 192.0.2.10")
	m := w.members["a"]
	m.store.mu.Lock()
	m.store.err = errors.New("no space left on device")
	m.store.mu.Unlock()
	w.change(2, "www A 192.0.2.11")
	serial2 := w.level(serial, "b", "c")
	w.eventually("a says why", func() bool {
		return strings.Contains(strings.Join(m.zone.Status().Problems, "\n"), "no space left")
	})
	if got := m.public.now().Serial(); got != serial {
		t.Errorf("a publishes %d, expected %d", got, serial)
	}
	m.store.mu.Lock()
	m.store.err = nil
	m.store.mu.Unlock()
	w.level(serial2 - 1)
}

// The public server fails for a while.
func TestPublishFails(t *testing.T) {
	w := newWorld(t, "", "a", "b", "c")
	serial := w.runAll("www A 192.0.2.10")
	m := w.members["a"]
	m.public.mu.Lock()
	m.public.err = errors.New("connection refused")
	m.public.mu.Unlock()
	w.change(2, "www A 192.0.2.11")
	w.level(serial, "b", "c")
	w.eventually("a says why", func() bool { return strings.Contains(m.zone.Status().WaitsFor, "connection refused") })
	if st := m.zone.Status(); st.Next.Kind != "this-operator" {
		t.Errorf("%+v has to act", st.Next)
	}
	m.public.mu.Lock()
	m.public.err = nil
	m.public.mu.Unlock()
	w.level(serial)
}

// FuzzBodies gives every kind of message any body.
func FuzzBodies(f *testing.F) {
	for _, s := range []string{`{}`, `{"zone":"example."}`, `{"zone":"example.","content":"` + strings.Repeat("00", 32) + `","buckets":[0,1,-1,300]}`,
		`{"zone":"example.","records":[{"owner":"AA==","ttl":1,"type":1,"data":"AAAA"},{"owner":"/////w==","type":6,"data":""}]}`,
		`{"zone":"example.","proof":["AAAA"]}`, `{"source":1,"batches":[{"key":"csk","count":1,"tuples":[{"from":-1,"count":9223372036854775807}]}]}`} {
		f.Add([]byte(s))
	}
	w := newWorld(f, "bc", "a", "b", "c")
	m := w.members["a"]
	m.source.set(f, 1, "www A 192.0.2.10")
	z := m.start()
	check(f, z.read(f.Context()))
	z.d.Settle = 0
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, typ := range []agree.Type{TypeCertificate, TypeHead, TypeTurn, TypeListing, TypeListed, agree.TypeProposal, agree.TypeAnswer, agree.TypeAbort} {
			msg := &agree.Message{Type: typ, From: "c", Body: body, Raw: make([]byte, 100)}
			switch typ {
			case TypeCertificate:
				_ = z.Certificate(msg)
			case TypeHead:
				_ = z.Head(msg)
			case TypeTurn:
				_ = z.Turn(msg)
			case TypeListing:
				_ = z.Listing(msg)
			case TypeListed:
				_ = z.Listed(msg)
				var l Listed
				if msg.Decode(&l) == nil {
					compareRecords("a", nil, "c", l.Records)
				}
			default:
				_ = m.agreement.Receive(msg)
			}
		}
		p := &agree.Proposal{Kind: KindZone, Subject: "example.", Proposer: "c", Members: mpc.NewSignerSet("a", "b", "c"), Body: body}
		id := agree.Digest{1}
		if a := z.Judge(t.Context(), id, p, func(agree.Verdict, string) {}); a.Verdict == agree.Accept {
			t.Errorf("accepted: %s", body)
			z.Abandon(id, p, nil)
		}
		z.Answered(p, "c", &agree.Answer{Verdict: agree.Refuse, Code: "content"})
	})
}
