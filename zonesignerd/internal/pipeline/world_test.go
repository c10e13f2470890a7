package pipeline

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"math/big"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"zonesigner/dnssec"
	"zonesigner/mpc"
	"zonesigner/mpc/memnet"
	"zonesigner/zonesignerd/internal/agree"
)

// world is a few operators with one zone in memory. Keys, tuples and
// signatures are fakes that look real; agreement and pipeline are what they
// are. Operators without a pipeline are driven by hand.
type world struct {
	t       testing.TB
	hub     *memnet.Hub
	group   mpc.Group
	keys    map[mpc.PartyID]ed25519.PrivateKey
	signer  *fakeSigner
	members map[mpc.PartyID]*member
	byHand  map[mpc.PartyID]*byHand
	policy  Policy
}

// member is an operator with a pipeline.
type member struct {
	w         *world
	id        mpc.PartyID
	zone      *Zone
	agreement *agree.Agreement
	source    *fakeSource
	public    *fakePublic
	store     *fakeStore
	pools     *fakePools
	dir       string
	stop      func()

	mu     sync.Mutex
	blamed []error
	rests  map[mpc.PartyID]time.Time // left out until then
}

// byHand is an operator with a valid identity and whatever mind a test has.
type byHand struct {
	w         *world
	id        mpc.PartyID
	transport mpc.Transport
	got       chan *agree.Message
	last      agree.Digest // of the message that next returned
	kept      []*agree.Message
}

func newWorld(t testing.TB, byHandNames string, names ...mpc.PartyID) *world {
	t.Helper()
	w := &world{t: t, group: mpc.Group{Parties: names, T: (len(names) - 1) / 2, Digest: sha256.Sum256([]byte("group"))},
		keys: map[mpc.PartyID]ed25519.PrivateKey{}, members: map[mpc.PartyID]*member{}, byHand: map[mpc.PartyID]*byHand{}, policy: testPolicy}
	w.hub = memnet.New(names...)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	w.signer = &fakeSigner{w: w, key: key, made: map[[32]byte]mpc.Signature{}, spent: map[string]string{}}
	for _, id := range names {
		_, k, err := ed25519.GenerateKey(rand.Reader)
		check(t, err)
		w.keys[id] = k
	}
	for _, id := range names {
		if strings.Contains(byHandNames, string(id)) {
			h := &byHand{w: w, id: id, transport: w.hub.Transport(id), got: make(chan *agree.Message, 4096)}
			h.transport.Handle(func(_ mpc.PartyID, raw []byte) {
				if m, err := agree.Open(w.identity(id), w.group.Digest, raw); err == nil {
					select {
					case h.got <- m:
					default:
					}
				}
			})
			w.byHand[id] = h
			continue
		}
		w.members[id] = &member{w: w, id: id, source: &fakeSource{}, public: &fakePublic{}, store: &fakeStore{m: map[string][]byte{}},
			pools: &fakePools{id: id, w: w}, dir: t.TempDir(), rests: map[mpc.PartyID]time.Time{}}
	}
	t.Cleanup(func() {
		for _, m := range w.members {
			if m.stop != nil {
				m.stop()
			}
		}
		w.hub.Close()
	})
	return w
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (w *world) now() time.Time {
	return time.Now()
}

type identity struct {
	w    *world
	self mpc.PartyID
}

func (w *world) identity(id mpc.PartyID) mpc.Identity { return identity{w, id} }
func (i identity) Self() mpc.PartyID                  { return i.self }
func (i identity) Sign(b []byte) []byte               { return ed25519.Sign(i.w.keys[i.self], b) }
func (i identity) Verify(from mpc.PartyID, b, sig []byte) bool {
	k, ok := i.w.keys[from]
	return ok && ed25519.Verify(k.Public().(ed25519.PublicKey), b, sig)
}

var testPolicy = Policy{Digest: sha256.Sum256([]byte("policy")), SerialPolicy: "increment", Lifetime: 30 * 24 * time.Hour, Refresh: 15 * 24 * time.Hour, DNSKEYTTL: 3600}

// start makes an operator's zone and agreement, without running the zone.
func (m *member) start() *Zone {
	m.w.t.Helper()
	w, transport := m.w, m.w.hub.Transport(m.id)
	ready := func(id mpc.PartyID) bool {
		return id == m.id || slices.ContainsFunc(transport.Peers(), func(p mpc.PeerState) bool { return p.ID == id && p.Ready })
	}
	log := slog.New(slog.DiscardHandler)
	if os.Getenv("ZONESIGNER_TEST_LOG") != "" {
		log = slog.New(slog.NewTextHandler(os.Stderr, nil)).With("operator", m.id)
	}
	agreement := agree.New(agree.Config{Identity: w.identity(m.id), Group: func() mpc.Group { return w.group }, Send: transport.Send,
		Ready: ready, Timeout: 2 * time.Second, Logger: log, ForAll: func(k agree.Kind) bool { return k == KindZone }})
	m.mu.Lock()
	m.agreement = agreement
	m.mu.Unlock()
	say := func(typ agree.Type, v any, to ...mpc.PartyID) ([]byte, error) {
		raw, err := agree.Seal(w.identity(m.id), w.group.Digest, typ, v)
		if len(to) == 0 {
			to = w.group.Parties
		}
		for _, id := range to {
			if id != m.id && err == nil {
				_ = transport.Send(context.Background(), id, raw)
			}
		}
		return raw, err
	}
	z, err := New("example.", w.policy, m.source, m.public, Deps{
		Identity: w.identity(m.id), Group: func() mpc.Group { return w.group }, Agreement: m.agreement, Transport: transport,
		Signer: w.signer, Pools: m.pools, Store: m.store, Dir: m.dir, Keys: func(string) []dnssec.Key { return w.signer.zoneKeys() },
		Now: w.now, Say: say, Ready: ready, Heavy: make(chan struct{}, 2),
		Choose: func(without []mpc.PartyID) (mpc.SignerSet, error) {
			m.mu.Lock()
			defer m.mu.Unlock()
			for _, set := range w.sets() {
				if set.Contains(m.id) && !slices.ContainsFunc(set, func(id mpc.PartyID) bool {
					return !ready(id) || slices.Contains(without, id) || time.Now().Before(m.rests[id])
				}) {
					return set, nil
				}
			}
			return nil, ErrNoQuorum
		},
		Blame: func(_ mpc.SignerSet, err error) {
			m.mu.Lock()
			defer m.mu.Unlock()
			m.blamed = append(m.blamed, err)
			if absent, ok := mpc.AsAbsent(err); ok {
				for _, id := range absent.Parties {
					m.rests[id] = time.Now().Add(5 * time.Second)
				}
			}
		},
		Settle: 300 * time.Millisecond, Timeout: time.Second, ClockBound: time.Minute, Turn: 200 * time.Millisecond, Logger: log,
	})
	check(w.t, err)
	m.mu.Lock()
	m.zone = z
	m.mu.Unlock()
	m.agreement.Register(KindZone, handler{z})
	m.agreement.Register(KindZONEMD, handler{z})
	transport.Handle(func(from mpc.PartyID, raw []byte) { _ = m.receive(from, raw) })
	return z
}

// run starts an operator and its zone.
func (m *member) run() *Zone {
	z := m.start()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { z.Run(ctx); close(done) }()
	m.stop = func() {
		cancel()
		m.agreement.Close()
		<-done
		m.stop = nil
	}
	for id := range m.w.members {
		if id != m.id {
			z.Hello(id)
		}
	}
	return z
}

// receive is what a daemon does with a message; its error is what it logs.
func (m *member) receive(from mpc.PartyID, raw []byte) error {
	msg, err := agree.Open(m.w.identity(m.id), m.w.group.Digest, raw)
	if err != nil {
		return err
	}
	if msg.From != from {
		return fmt.Errorf("message of %s came from %s", msg.From, from)
	}
	m.mu.Lock()
	z, agreement := m.zone, m.agreement
	m.mu.Unlock()
	switch msg.Type {
	case TypeCertificate:
		return z.Certificate(msg)
	case TypeHead:
		return z.Head(msg)
	case TypeTurn:
		return z.Turn(msg)
	case TypeListing:
		return z.Listing(msg)
	case TypeListed:
		return z.Listed(msg)
	case TypeFetch:
		go func() { _ = z.Fetch(context.Background(), msg) }()
		return nil
	}
	return agreement.Receive(msg)
}

type handler struct{ *Zone }

func (h handler) Run(ctx context.Context, a *agree.Agreed)              { h.Sign(ctx, a) }
func (h handler) Abandon(id agree.Digest, p *agree.Proposal, why error) { h.Zone.Abandon(id, p, why) }

// sets are all operators, then all but one.
func (w *world) sets() []mpc.SignerSet {
	sets := []mpc.SignerSet{mpc.NewSignerSet(w.group.Parties...)}
	for i := range w.group.Parties {
		sets = append(sets, mpc.NewSignerSet(slices.Delete(slices.Clone(w.group.Parties), i, i+1)...))
	}
	return sets
}

// runAll starts everybody on one content and waits until it is signed.
func (w *world) runAll(content string) uint32 {
	w.t.Helper()
	for _, m := range w.members {
		m.source.set(w.t, 1, content)
		m.run()
	}
	return w.level(0)
}

// change gives everybody, or those named, another content.
func (w *world) change(serial uint32, content string, ids ...mpc.PartyID) {
	w.t.Helper()
	for id, m := range w.members {
		if len(ids) == 0 || slices.Contains(ids, id) {
			m.source.set(w.t, serial, content)
			m.zone.Changed()
		}
	}
}

// level waits until all publish one zone newer than after.
func (w *world) level(after uint32, ids ...mpc.PartyID) (serial uint32) {
	w.t.Helper()
	if len(ids) == 0 {
		ids = slices.Sorted(maps.Keys(w.members))
	}
	w.eventually(fmt.Sprintf("%v publish a serial above %d", ids, after), func() bool {
		first := w.members[ids[0]].public.now()
		if first == nil {
			return false
		}
		for _, id := range ids {
			s := w.members[id].public.now()
			if s == nil || !serialLess(after, s.Serial()) && after != 0 || s.Digest() != first.Digest() {
				return false
			}
		}
		serial = first.Serial()
		return true
	})
	return serial
}

func (w *world) eventually(what string, ok func() bool) {
	w.t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			for id, m := range w.members {
				st := m.zone.Status()
				w.t.Logf("%s: %s, waits for %s, signed %d, published %d, problems %q, last error %v", id, st.State, st.WaitsFor, st.Signed, st.Published, st.Problems, st.LastError)
			}
			w.t.Fatalf("not in time: %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func parse(t testing.TB, serial uint32, content string) *dnssec.Zone {
	t.Helper()
	text := fmt.Sprintf("$ORIGIN example.\n$TTL 300\n@ SOA ns1 hostmaster %d 7200 3600 1209600 300\n@ NS ns1\nns1 A 192.0.2.1\n%s\n", serial, content)
	z, err := dnssec.ParseZone(strings.NewReader(text), "example.", "example.zone")
	check(t, err)
	return z
}

type fakeSource struct {
	mu   sync.Mutex
	read func() *dnssec.Zone // nil: there is nothing
	err  error
}

func (s *fakeSource) set(t testing.TB, serial uint32, content string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.read = func() *dnssec.Zone { return parse(t, serial, content) }
}

func (s *fakeSource) Read(context.Context) (*dnssec.Zone, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.err != nil:
		return nil, s.err
	case s.read == nil:
		return nil, fmt.Errorf("no content")
	}
	return s.read(), nil
}

type fakePublic struct {
	mu        sync.Mutex
	zone      *dnssec.SignedZone
	err       error
	serials   []uint32
	withdrawn int
	during    func() // when set, called while it publishes
}

func (p *fakePublic) Publish(_ context.Context, s, _ *dnssec.SignedZone) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.during != nil {
		p.during()
	}
	if p.err == nil {
		p.zone = s
		p.serials = append(p.serials, s.Serial())
	}
	return p.err
}

func (p *fakePublic) Withdraw(context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.zone = nil
	p.withdrawn++
	return p.err
}

func (p *fakePublic) now() *dnssec.SignedZone {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.zone
}

type fakeStore struct {
	mu  sync.Mutex
	m   map[string][]byte
	err error
}

func (s *fakeStore) Put(k string, v []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.m[k] = bytes.Clone(v)
	}
	return s.err
}

func (s *fakeStore) Get(k string) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.m[k], nil
}

func (s *fakeStore) Delete(k string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.m, k)
	return s.err
}

func (s *fakeStore) List(prefix string) (out []string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for k := range s.m {
		if strings.HasPrefix(k, prefix) {
			out = append(out, k)
		}
	}
	return out, nil
}

// fakePools name every tuple once; a chunk is its stripe and a number.
type fakePools struct {
	w       *world
	id      mpc.PartyID
	mu      sync.Mutex
	next    uint64
	dropped []string
	err     error       // of Check
	lacking chan func() // when set, there are too few; it gets what to call when they are there
}

func (p *fakePools) Choose(_ mpc.KeyID, _ mpc.SignerSet, n int, wake func()) ([]mpc.TupleRange, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.lacking != nil {
		p.lacking <- wake
		return nil, ErrTuples
	}
	p.next++
	r := mpc.TupleRange{Count: n}
	copy(r.Chunk[:], p.id)
	binary.BigEndian.PutUint64(r.Chunk[24:], p.next)
	return []mpc.TupleRange{r}, nil
}

func (p *fakePools) Check(_ context.Context, _ mpc.KeyID, _ mpc.SignerSet, proposer mpc.PartyID, rs []mpc.TupleRange) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, r := range rs {
		if !strings.HasPrefix(string(r.Chunk[:]), string(proposer)+"\x00") {
			return named{fmt.Sprintf("%x", r.Chunk)}
		}
	}
	return p.err
}

type named []string

func (n named) Error() string     { return "tuples are spent or not there" }
func (n named) Records() []string { return n }

func (p *fakePools) Drop(chunks []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dropped = append(p.dropped, chunks...)
}

// fakeSigner signs with one key in this process, once all members are there,
// and sees that no tuple is spent by two statements.
type fakeSigner struct {
	w   *world
	key *ecdsa.PrivateKey

	mu      sync.Mutex
	made    map[[32]byte]mpc.Signature
	spent   map[string]string
	runs    int
	lax     bool          // spends a tuple as often as it is asked to
	release chan struct{} // if set, sessions wait for it
}

func (s *fakeSigner) zoneKeys() []dnssec.Key {
	pub := make([]byte, 64)
	s.key.X.FillBytes(pub[:32])
	s.key.Y.FillBytes(pub[32:])
	return []dnssec.Key{{ID: "csk", Flags: 257, CSK: true, Algorithm: dnssec.ECDSAP256SHA256, PublicKey: pub, State: dnssec.Active}}
}

func (s *fakeSigner) Prepare(context.Context, mpc.Network, mpc.KeyID, mpc.SignerSet, mpc.PartyID, int, func(int)) error {
	return nil
}

func (s *fakeSigner) Sign(ctx context.Context, net mpc.Network, session mpc.SignSession, _ func(int)) ([][]mpc.Signature, error) {
	s.mu.Lock()
	s.runs++
	release := s.release
	var manifests []byte
	for _, req := range session.Requests {
		manifests = append(manifests, req.Manifest[:]...)
		for _, r := range req.Tuples {
			for i := r.From; i < r.From+r.Count; i++ {
				k := fmt.Sprintf("%s %x %d", net.Self(), r.Chunk, i)
				if old := s.spent[k]; old != "" && !s.lax {
					s.w.t.Errorf("tuple %s is spent by sessions %s and %s", k, old, session.ID)
				}
				s.spent[k] = session.ID.String()
			}
		}
	}
	s.mu.Unlock()
	if release != nil {
		select {
		case <-release:
		case <-ctx.Done():
		}
	}
	views, err := mpc.Exchange(ctx, net, "statement", manifests)
	if err != nil {
		return nil, err
	}
	for id, v := range views {
		if !bytes.Equal(v, manifests) {
			return nil, &mpc.CheatError{Parties: []mpc.PartyID{id}, What: "another manifest"}
		}
	}
	var out [][]mpc.Signature
	for _, req := range session.Requests {
		sigs := make([]mpc.Signature, req.Len())
		for i := range sigs {
			if req.Messages != nil {
				sigs[i] = s.sign(req.Messages[i])
			} else {
				sigs[i] = s.sign(req.AppendMessage(nil, i))
			}
		}
		out = append(out, sigs)
	}
	return out, nil
}

func (s *fakeSigner) sign(msg []byte) mpc.Signature {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := sha256.Sum256(msg)
	if sig, ok := s.made[d]; ok {
		return sig
	}
	r, t, err := ecdsa.Sign(rand.Reader, s.key, d[:])
	check(s.w.t, err)
	if n := s.key.Params().N; new(big.Int).Lsh(t, 1).Cmp(n) > 0 {
		t.Sub(n, t) // the one form of a signature that signers make
	}
	var sig mpc.Signature
	r.FillBytes(sig[:32])
	t.FillBytes(sig[32:])
	s.made[d] = sig
	return sig
}

// seal signs a message of the hand-driven operator.
func (h *byHand) seal(typ agree.Type, v any) []byte {
	h.w.t.Helper()
	raw, err := agree.Seal(h.w.identity(h.id), h.w.group.Digest, typ, v)
	check(h.w.t, err)
	return raw
}

// say sends it to those named, or to all.
func (h *byHand) say(typ agree.Type, v any, to ...mpc.PartyID) agree.Digest {
	h.w.t.Helper()
	raw := h.seal(typ, v)
	if len(to) == 0 {
		to = slices.Collect(maps.Keys(h.w.members))
	}
	for _, id := range to {
		check(h.w.t, h.transport.Send(context.Background(), id, raw))
	}
	m := agree.Message{Raw: raw}
	return m.Digest()
}

// next waits for a message of a type. Others that come before are kept: an
// answer may overtake the proposal that it is to.
func (h *byHand) next(typ agree.Type, into any, ok func() bool) mpc.PartyID {
	h.w.t.Helper()
	take := func(m *agree.Message) bool {
		if m.Type != typ || m.Decode(into) != nil || ok != nil && !ok() {
			return false
		}
		h.last = m.Digest()
		return true
	}
	for i, m := range h.kept {
		if take(m) {
			h.kept = slices.Delete(h.kept, i, i+1)
			return m.From
		}
	}
	timeout := time.After(20 * time.Second)
	for {
		select {
		case m := <-h.got:
			if take(m) {
				return m.From
			}
			h.kept = append(h.kept, m)
		case <-timeout:
			h.w.t.Fatalf("operator %s waits for a %s in vain", h.id, typ)
		}
	}
}

// proposal seals body as the operator's proposal among all.
func (h *byHand) proposal(body any) agree.Proposal {
	raw, err := json.Marshal(body)
	check(h.w.t, err)
	nonce := make([]byte, 16)
	_, _ = rand.Read(nonce)
	return agree.Proposal{Kind: KindZone, Subject: "example.", Proposer: h.id, Members: mpc.NewSignerSet(h.w.group.Parties...), Nonce: nonce, Body: raw}
}
