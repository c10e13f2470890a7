package pipeline

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"zonesigner/dnssec"
	"zonesigner/mpc"
	"zonesigner/zonesignerd/internal/agree"
)

// In these tests operators a and b are honest, and c does what it likes with
// a valid identity.

// withHostile is a and b with one signed zone, and c by hand.
func withHostile(t *testing.T) (w *world, c *byHand, serial uint32) {
	t.Helper()
	return withHostileUnder(t, testPolicy)
}

func withHostileUnder(t *testing.T, policy Policy) (w *world, c *byHand, serial uint32) {
	t.Helper()
	w = newWorld(t, "c", "a", "b", "c")
	w.policy = policy
	w.hub.SetDown("c", true)
	serial = w.runAll("www A 192.0.2.10")
	w.hub.SetDown("c", false)
	return w, w.byHand["c"], serial
}

// body is an honest proposal for a content that a and b have and have not
// signed, which they are kept from proposing themselves.
func body(t *testing.T, w *world) *Proposal {
	t.Helper()
	for _, m := range w.members {
		m.zone.mu.Lock()
		m.zone.retryAt = w.now().Add(time.Hour)
		m.zone.mu.Unlock()
	}
	w.change(2, "www A 192.0.2.11")
	z := w.members["a"].zone
	var v *version
	w.eventually("both have read the change", func() bool {
		for _, m := range w.members {
			m.zone.mu.Lock()
			v = m.zone.newest()
			m.zone.mu.Unlock()
			if v.serial != 2 {
				return false
			}
		}
		return true
	})
	d, err := z.derive(t.Context(), &want{zone: v.zone, version: v, content: v.digest, source: v.serial})
	check(t, err)
	b := &d.body
	b.Batches[0].Tuples = []mpc.TupleRange{{Chunk: mpc.ChunkID{'c'}, Count: b.Batches[0].Count}}
	for i := range b.ZONEMD {
		b.ZONEMD[i].Tuples = []mpc.TupleRange{{Chunk: mpc.ChunkID{'c'}, From: b.Batches[0].Count, Count: 1}}
	}
	return b
}

func judge(t *testing.T, w *world, c *byHand, b any) agree.Answer {
	t.Helper()
	p := c.proposal(b)
	id := agree.Digest(sha256.Sum256(p.Nonce))
	a := w.members["a"].zone.Judge(t.Context(), id, &p, func(agree.Verdict, string) {})
	if a.Verdict == agree.Accept {
		w.members["a"].zone.Abandon(id, &p, nil)
	}
	return a
}

// still checks that nobody has signed anything but serial.
func still(t *testing.T, w *world, serial uint32) {
	t.Helper()
	for id, m := range w.members {
		if got := m.zone.Status().Signed; got != serial {
			t.Errorf("operator %s has signed %d, expected %d", id, got, serial)
		}
		for _, s := range m.public.serials {
			if s > serial {
				t.Errorf("operator %s published %d", id, s)
			}
		}
	}
}

func TestProposalsThatAreNotOurs(t *testing.T) {
	w := newWorld(t, "bc", "a", "b", "c")
	c := w.byHand["c"]
	w.hub.SetDown("b", true)
	w.hub.SetDown("c", true)
	a := w.members["a"]
	a.source.set(t, 1, "www A 192.0.2.10")
	z := a.run()
	w.eventually("it is read", func() bool { return z.Status().Source == 1 })
	z.mu.Lock()
	v := z.newest()
	z.mu.Unlock()
	plan := func() *Proposal {
		d, err := z.derive(t.Context(), &want{zone: v.zone, version: v, content: v.digest, source: v.serial})
		check(t, err)
		return &d.body
	}
	honest := plan()
	honest.Batches[0].Tuples = []mpc.TupleRange{{Chunk: mpc.ChunkID{'c'}, Count: honest.Batches[0].Count}}
	other := agree.Digest{1, 2, 3}
	for _, tt := range []struct {
		name, code string
		change     func(p *Proposal)
	}{
		{"other manifest", "manifest", func(p *Proposal) { p.Manifest = other }},
		{"other content", "content", func(p *Proposal) { p.Content = other }},
		{"other base", "base", func(p *Proposal) { p.Base = other }},
		{"other keys", "keys", func(p *Proposal) { p.Keys = other }},
		{"other policy", "policy", func(p *Proposal) { p.Policy = other }},
		{"other serial", "serial-policy", func(p *Proposal) { p.Serial += 5000 }},
		{"serial that goes back", "serial-policy", func(p *Proposal) { p.Serial-- }},
		{"time of the past", "time", func(p *Proposal) { p.Time -= 120 }},
		{"time of the future", "time", func(p *Proposal) { p.Time += 120 }},
		{"time off by a little, same manifest", "manifest", func(p *Proposal) { p.Time++ }},
		{"other source serial, same manifest", "manifest", func(p *Proposal) { p.Source++; p.Serial++ }},
		{"refresh of what was never signed", "content", func(p *Proposal) { p.Refresh = true }},
		{"no batches", "form", func(p *Proposal) { p.Batches = nil }},
		{"a batch twice", "form", func(p *Proposal) { p.Batches = append(p.Batches, p.Batches[0]) }},
		{"another key", "form", func(p *Proposal) { p.Batches[0].Key = "other" }},
		{"too few tuples", "form", func(p *Proposal) { p.Batches[0].Tuples[0].Count-- }},
		{"tuples of a negative index", "form", func(p *Proposal) { p.Batches[0].Tuples[0].From = -1 }},
		{"more ranges than signatures", "form", func(p *Proposal) {
			for range 100 {
				p.Batches[0].Tuples = append(p.Batches[0].Tuples, p.Batches[0].Tuples[0])
			}
		}},
		{"tuples of another's stripe", "tuples", func(p *Proposal) { p.Batches[0].Tuples[0].Chunk = mpc.ChunkID{'a'} }},
		{"nothing", "", func(*Proposal) {}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := *honest
			p.Time = uint32(w.now().Unix())
			if tt.name != "other keys" { // derived anew, so that nothing else is wrong
				p = *plan()
			}
			p.Batches = []Batch{{Key: honest.Batches[0].Key, Count: honest.Batches[0].Count, Tuples: []mpc.TupleRange{honest.Batches[0].Tuples[0]}}}
			tt.change(&p)
			got := judge(t, w, c, p)
			if got.Code != tt.code || (tt.code == "") != (got.Verdict == agree.Accept) {
				t.Errorf("answer %q, code %q, %q; expected code %q", got.Verdict, got.Code, got.Reason, tt.code)
			}
		})
	}
	if got := judge(t, w, c, []int{1}); got.Code != "form" {
		t.Errorf("nonsense is answered with %+v", got)
	}
	if a.store.m[promiseKey("example.", honest.Serial)] != nil {
		t.Error("a promise is left of proposals that came to nothing")
	}
}

// Proposals that are accepted and given up, however many, use up neither
// serials nor the zone.
func TestProposalsGivenUp(t *testing.T) {
	w, c, serial := withHostile(t)
	b := body(t, w)
	for i := range 20 {
		p := *b
		p.Time = b.Time + uint32(i%5)
		p.Serial = serial + 1
		z := w.members["a"].zone
		z.mu.Lock()
		head := z.head
		content := z.newest().zone
		z.mu.Unlock()
		plan, err := z.plan(content, &p, head, testPolicy, z.d.Keys("example."))
		check(t, err)
		p.Manifest = agree.Digest(plan.Digest())
		// To one alone, which waits for the other: what all accept is a session.
		id := c.say(agree.TypeProposal, c.proposal(p), []mpc.PartyID{"a", "b"}[i%2])
		var ans agree.Answer
		c.next(agree.TypeAnswer, &ans, func() bool { return ans.Proposal == id && ans.Verdict != agree.Working && ans.Verdict != agree.Behind })
		if ans.Verdict != agree.Accept {
			t.Fatalf("proposal %d is answered with %+v", i, ans)
		}
		c.say(agree.TypeAbort, agree.Abort{Proposal: id, Reason: "no reason"})
		w.eventually("the zone is free again", func() bool {
			for _, m := range w.members {
				m.zone.mu.Lock()
				busy := !m.zone.busy.IsZero()
				m.zone.mu.Unlock()
				if busy {
					return false
				}
			}
			return true
		})
	}
	still(t, w, serial)
	w.hub.SetDown("c", true)
	for _, m := range w.members {
		m.zone.mu.Lock()
		m.zone.retryAt = time.Time{}
		m.zone.mu.Unlock()
		m.zone.SignNow()
	}
	if got := w.level(serial); got != serial+1 {
		t.Errorf("signed under serial %d, expected the next, %d", got, serial+1)
	}
}

// A member that accepts and then says nothing costs a few tuples; then the
// others sign without it.
func TestAcceptAndSilence(t *testing.T) {
	w, c, serial := withHostile(t)
	stop := make(chan struct{})
	defer close(stop)
	accepted := 0
	go func() {
		for {
			select {
			case m := <-c.got:
				if m.Type != agree.TypeProposal {
					continue
				}
				nonce := make([]byte, 16)
				_, _ = rand.Read(nonce)
				raw, err := agree.Seal(w.identity("c"), w.group.Digest, agree.TypeAnswer, agree.Answer{Proposal: m.Digest(), Verdict: agree.Accept, Nonce: nonce})
				if err != nil {
					return
				}
				accepted++
				for id := range w.members {
					_ = c.transport.Send(context.Background(), id, raw)
				}
			case <-stop:
				return
			}
		}
	}()
	w.change(2, "www A 192.0.2.11")
	w.level(serial)
	w.members["a"].mu.Lock()
	defer w.members["a"].mu.Unlock()
	blamed := false
	for _, err := range w.members["a"].blamed {
		if absent, ok := mpc.AsAbsent(err); ok && absent.Parties[0] == "c" {
			blamed = true
		}
	}
	w.members["b"].mu.Lock()
	defer w.members["b"].mu.Unlock()
	for _, err := range w.members["b"].blamed {
		if absent, ok := mpc.AsAbsent(err); ok && absent.Parties[0] == "c" {
			blamed = true
		}
	}
	if !blamed {
		t.Error("nobody noted that c was silent")
	}
}

// cert is a certificate that differs from the zone's head in its serial.
func cert(w *world, serial uint32, digest agree.Digest) Certificate {
	return Certificate{Zone: "example.", Serial: serial, Digest: digest, Time: uint32(w.now().Unix()),
		Base: w.members["a"].zone.Status().headDigest(w), Manifest: agree.Digest{7}}
}

func (s Status) headDigest(w *world) agree.Digest {
	z := w.members["a"].zone
	z.mu.Lock()
	defer z.mu.Unlock()
	return z.head.Cert.Digest
}

func TestFewOrForgedCertificates(t *testing.T) {
	w, c, serial := withHostile(t)
	a := w.members["a"]
	fake := cert(w, serial+1, agree.Digest{9})
	raw := c.seal(TypeCertificate, fake)

	if err := a.receive("c", c.seal(TypeHead, Head{Zone: "example.", Serial: fake.Serial, Digest: fake.Digest, Proof: [][]byte{raw, raw, raw}})); err != nil {
		t.Errorf("one certificate three times: %v", err)
	}
	if err := a.receive("c", c.seal(TypeHead, Head{Zone: "example.", Proof: [][]byte{raw, raw, raw, raw, raw}})); err == nil {
		t.Error("a proof of more certificates than there are operators was taken")
	}
	forged := bytes.Replace(raw, []byte{1, 'c'}, []byte{1, 'b'}, 1)
	if err := a.receive("c", forged); err == nil || !strings.Contains(err.Error(), "no valid signature") {
		t.Errorf("a certificate in b's name: %v", err)
	}
	elsewhere := fake
	elsewhere.Zone = "other."
	if err := a.zone.count("c", &elsewhere, nil); err == nil {
		t.Error("a certificate of another zone was counted")
	}
	if err := a.receive("c", c.seal(TypeHead, Head{Zone: "example.", Proof: [][]byte{c.seal(TypeTurn, Turn{Zone: "example."})}})); err == nil {
		t.Error("a proof that is no certificate was taken")
	}
	other := [32]byte{1}
	old, err := agree.Seal(w.identity("c"), other, TypeCertificate, fake)
	check(t, err)
	if err := a.receive("c", old); err == nil {
		t.Error("a certificate for another group was taken")
	}
	// Relayed in its owner's envelope it is its owner's; the daemon wants
	// messages first-hand.
	if err := a.receive("b", raw); err == nil || !strings.Contains(err.Error(), "came from") {
		t.Errorf("c's certificate from b: %v", err)
	}
	a.zone.mu.Lock()
	if n := len(a.zone.certs[fake]); n != 1 {
		t.Errorf("%d operators count for what c alone certified", n)
	}
	a.zone.mu.Unlock()
	still(t, w, serial)
}

// One operator's certificates, however many, leave room for the others'.
func TestFloodOfCertificates(t *testing.T) {
	w, c, serial := withHostile(t)
	for i := range 500 {
		fake := cert(w, serial+1+uint32(i), agree.Digest{9, byte(i), byte(i >> 8)})
		for _, m := range w.members {
			check(t, m.zone.count("c", &fake, c.seal(TypeCertificate, fake)))
		}
	}
	for id, m := range w.members {
		m.zone.mu.Lock()
		if n := len(m.zone.certs); n > maxCertified {
			t.Errorf("operator %s keeps %d certificates of c", id, n)
		}
		m.zone.mu.Unlock()
	}
	w.hub.SetDown("c", true)
	w.change(2, "www A 192.0.2.11")
	w.level(serial)
}

// serve answers fetches with what give makes.
func (c *byHand) serve(give func(net mpc.Session, to mpc.PartyID)) {
	go func() {
		for m := range c.got {
			var f Fetch
			if m.Type != TypeFetch || m.Decode(&f) != nil {
				continue
			}
			net, err := c.transport.Open(f.session(m.From, c.id), []mpc.PartyID{c.id, m.From})
			if err == nil {
				give(net, m.From)
				time.AfterFunc(5*time.Second, net.Close)
			}
		}
	}()
}

func sendZone(net mpc.Session, to mpc.PartyID, data []byte, announced int) {
	ctx := context.Background()
	_ = net.Send(ctx, to, "size", binary.BigEndian.AppendUint64(nil, uint64(announced)))
	for i := 0; len(data) > 0; i++ {
		n := min(len(data), piece)
		_ = net.Send(ctx, to, fmt.Sprintf("piece/%d", i), data[:n])
		data = data[n:]
	}
}

const notFetched = "not fetched"

// c certifies a zone of its own making, which with ours would be enough, and
// gives it when it is asked for.
func TestFetchedZones(t *testing.T) {
	save := func(s *dnssec.SignedZone) []byte {
		var b bytes.Buffer
		if err := s.Save(&b); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	for _, tt := range []struct {
		name, want string
		// made is what is certified and what is given for it.
		made func(w *world, right *dnssec.SignedZone, cert *Certificate) (given []byte, announced int)
	}{
		{"right in all", "", func(w *world, right *dnssec.SignedZone, cert *Certificate) ([]byte, int) {
			return save(right), len(save(right))
		}},
		{"truncated", "it sent a piece of 100 bytes", func(w *world, right *dnssec.SignedZone, cert *Certificate) ([]byte, int) {
			return save(right)[:100], len(save(right))
		}},
		{"more than announced", "where 100 belong", func(w *world, right *dnssec.SignedZone, cert *Certificate) ([]byte, int) {
			return save(right), 100
		}},
		{"announced for the memory's sake", "impossible size", func(w *world, right *dnssec.SignedZone, cert *Certificate) ([]byte, int) {
			return save(right), 1 << 30
		}},
		{"another digest", "does not have the digest", func(w *world, right *dnssec.SignedZone, cert *Certificate) ([]byte, int) {
			cert.Digest[0] ^= 1
			return save(right), len(save(right))
		}},
		{"nonsense", "signed zone of operator c", func(w *world, right *dnssec.SignedZone, cert *Certificate) ([]byte, int) {
			return make([]byte, 1000), 1000
		}},
		{"another serial in the certificate", "certified was serial", func(w *world, right *dnssec.SignedZone, cert *Certificate) ([]byte, int) {
			cert.Serial++
			return save(right), len(save(right))
		}},
		{"a time to come", "is not between that of the last signed zone and now", func(w *world, right *dnssec.SignedZone, cert *Certificate) ([]byte, int) {
			cert.Time += 20 * 86400
			return save(right), len(save(right))
		}},
		{"another base", notFetched, func(w *world, right *dnssec.SignedZone, cert *Certificate) ([]byte, int) {
			cert.Base[0] ^= 1
			return save(right), len(save(right))
		}},
		{"another manifest", "differs from ours", func(w *world, right *dnssec.SignedZone, cert *Certificate) ([]byte, int) {
			cert.Manifest[0] ^= 1
			return save(right), len(save(right))
		}},
		{"signatures that do not verify", "faults", func(w *world, right *dnssec.SignedZone, cert *Certificate) ([]byte, int) {
			z := w.members["a"].zone
			z.mu.Lock()
			head, content := z.head, z.newest().zone
			z.mu.Unlock()
			plan, err := z.plan(content, &Proposal{Time: cert.Time, Serial: cert.Serial, Source: cert.Source}, head, testPolicy, z.d.Keys("example."))
			check(w.t, err)
			sigs := make([][64]byte, plan.Len())
			for i := range sigs {
				_, _ = rand.Read(sigs[i][:])
			}
			bad, err := plan.Assemble(sigs)
			check(w.t, err)
			cert.Digest = agree.Digest(bad.Digest())
			return save(bad), len(save(bad))
		}},
		{"a record of c's own, truly signed", "its content is not ours", func(w *world, right *dnssec.SignedZone, cert *Certificate) ([]byte, int) {
			bad := signAlone(w, "www A 192.0.2.66", cert)
			cert.Digest = agree.Digest(bad.Digest())
			return save(bad), len(save(bad))
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w, c, serial := withHostile(t)
			w.t = t
			body(t, w) // both have a change that they do not propose
			crt := cert(w, serial+1, agree.Digest{})
			crt.Source = 2
			right := signAlone(w, "www A 192.0.2.11", &crt)
			crt.Digest = agree.Digest(right.Digest())
			given, announced := tt.made(w, right, &crt)
			c.serve(func(net mpc.Session, to mpc.PartyID) { sendZone(net, to, given, announced) })
			c.say(TypeCertificate, crt, "a")
			if tt.want == "" {
				w.level(serial)
				return
			}
			if tt.want == notFetched {
				z := w.members["a"].zone
				w.eventually("a has heard of it and looks the other way", func() bool {
					z.mu.Lock()
					defer z.mu.Unlock()
					missed, _ := z.missed(z.d.Now())
					return len(z.certs) > 0 && missed == nil
				})
				still(t, w, serial)
				return
			}
			w.eventually("a says what is wrong with it", func() bool {
				return strings.Contains(strings.Join(w.members["a"].zone.Status().Problems, "\n"), tt.want)
			})
			still(t, w, serial)
		})
	}
}

// signAlone makes what a session of all would make of a content, as only the
// whole group could, and fills in the certificate's manifest.
func signAlone(w *world, content string, cert *Certificate) *dnssec.SignedZone {
	z := w.members["a"].zone
	z.mu.Lock()
	head := z.head
	z.mu.Unlock()
	plan, err := z.plan(parse(w.t, cert.Source, content), &Proposal{Time: cert.Time, Serial: cert.Serial, Source: cert.Source}, head, testPolicy, z.d.Keys("example."))
	check(w.t, err)
	sigs := make([][64]byte, plan.Len())
	for i := range sigs {
		sigs[i] = w.signer.sign(plan.Message(i))
	}
	s, err := plan.Assemble(sigs)
	check(w.t, err)
	cert.Manifest = agree.Digest(plan.Digest())
	return s
}

// Without deriving the manifest again, one operator's certificate would be
// enough to have a content published that nobody else has.
func TestFetchedZoneWithoutDerivation(t *testing.T) {
	w, c, serial := withHostile(t)
	for _, m := range w.members {
		m.zone.holes.noDerivation = true
	}
	crt := cert(w, serial+1, agree.Digest{})
	crt.Source = 2
	bad := signAlone(w, "www A 192.0.2.66", &crt)
	crt.Digest = agree.Digest(bad.Digest())
	var b bytes.Buffer
	check(t, bad.Save(&b))
	c.serve(func(net mpc.Session, to mpc.PartyID) { sendZone(net, to, b.Bytes(), b.Len()) })
	c.say(TypeCertificate, crt)
	// The first that believes it; the other then has two certificates, and waits
	// for a source that has it.
	w.eventually("the attack succeeds", func() bool {
		return slices.ContainsFunc([]mpc.PartyID{"a", "b"}, func(id mpc.PartyID) bool {
			s := w.members[id].public.now()
			return s != nil && s.Digest() == bad.Digest()
		})
	})
}

// What a peer hints at and names counts only as far as it can be true.
func TestHintsOfHostileAnswers(t *testing.T) {
	w, _, serial := withHostile(t)
	z := w.members["a"].zone
	b := body(t, w)
	z.mu.Lock()
	z.tried = b
	z.mu.Unlock()
	refused := func(a agree.Answer) error {
		a.Verdict = agree.Refuse
		return &agree.RefusedError{By: []agree.Refusal{{Peer: "c", Answer: a}}}
	}
	wanted := &want{content: b.Content}
	z.settle(wanted, nil, refused(agree.Answer{Code: "serial", Hint: serial + 1<<30}))
	z.mu.Lock()
	if z.serial != 0 {
		t.Errorf("the next serial is %d on c's word", z.serial)
	}
	z.mu.Unlock()
	z.settle(wanted, nil, refused(agree.Answer{Code: "serial", Hint: b.Serial + 3}))
	z.mu.Lock()
	if z.serial != b.Serial+3 {
		t.Errorf("the next serial is %d, expected %d", z.serial, b.Serial+3)
	}
	z.mu.Unlock()
	ours := fmt.Sprintf("%x", b.Batches[0].Tuples[0].Chunk)
	z.settle(wanted, nil, refused(agree.Answer{Code: "tuples", Records: []string{strings.Repeat("ab", 32), ours}}))
	pools := w.members["a"].pools
	pools.mu.Lock()
	if len(pools.dropped) != 1 || pools.dropped[0] != ours {
		t.Errorf("given up on c's word: %q, expected what was proposed alone", pools.dropped)
	}
	pools.mu.Unlock()
	for range 20 {
		z.settle(wanted, mpc.NewSignerSet("a", "b", "c"), refused(agree.Answer{Code: "tuples"}))
	}
	m := w.members["a"]
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.blamed) == 0 {
		t.Error("an operator that can never use the tuples is not left out")
	}
}

func TestContentsOfOthersAreNotKept(t *testing.T) {
	w, c, serial := withHostile(t)
	z := w.members["a"].zone
	for i := range 200 {
		p := c.proposal(Proposal{Content: agree.Digest{byte(i), 5}})
		z.Answered(&p, "c", &agree.Answer{Verdict: agree.Refuse, Code: "content", Reason: "no"})
		z.Answered(&p, "a", &agree.Answer{Verdict: agree.Refuse, Code: "content", Reason: "no"})
	}
	z.mu.Lock()
	if len(z.disputed) != 0 || len(z.against) > maxObjections {
		t.Errorf("%d disputes and %d objections are kept", len(z.disputed), len(z.against))
	}
	z.mu.Unlock()
	w.hub.SetDown("c", true)
	w.change(2, "www A 192.0.2.11")
	w.level(serial)
}

// What this operator had against a content is over when its proposer accepts
// another one; to accept a refresh says nothing of that.
func TestOwnRefusalIsOver(t *testing.T) {
	w, c, _ := withHostile(t)
	z := w.members["a"].zone
	refused := func() bool {
		z.mu.Lock()
		defer z.mu.Unlock()
		_, is := z.refusals["a"]
		return is
	}
	accepts := func(b Proposal) {
		p := c.proposal(b)
		p.Proposer = "b"
		z.Answered(&p, "c", &agree.Answer{Verdict: agree.Accept})
	}
	p := c.proposal(Proposal{Content: agree.Digest{6}})
	z.Answered(&p, "a", &agree.Answer{Verdict: agree.Refuse, Code: "content", Reason: "no"})
	accepts(Proposal{Content: agree.Digest{6}})
	accepts(Proposal{Content: agree.Digest{7}, Refresh: true})
	if !refused() {
		t.Error("what c still has is not refused any more")
	}
	accepts(Proposal{Content: agree.Digest{7}})
	if refused() {
		t.Error("a content that its proposer gave up is still refused")
	}
}

// Being always about to propose does not hold a version up.
func TestTurnsWithoutEnd(t *testing.T) {
	w, c, serial := withHostile(t)
	stop := make(chan struct{})
	defer close(stop)
	w.change(2, "www A 192.0.2.11")
	content := agree.Digest(parse(t, 2, "www A 192.0.2.11").ContentDigest())
	go func() {
		raw, _ := agree.Seal(w.identity("c"), w.group.Digest, TypeTurn, Turn{Zone: "example.", Content: content})
		for {
			select {
			case <-stop:
				return
			case <-time.After(20 * time.Millisecond):
				_ = c.transport.Send(context.Background(), "a", raw)
				_ = c.transport.Send(context.Background(), "b", raw)
			}
		}
	}()
	w.level(serial)
}
