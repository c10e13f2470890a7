package pipeline

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"zonesigner/dnssec"
	"zonesigner/mpc"
	"zonesigner/zonesignerd/internal/agree"
)

var zonemdPolicy = func() Policy {
	p := testPolicy
	p.ZONEMD = dnssec.ZONEMDSHA384
	return p
}()

// valid checks all of a published zone, its digest with it.
func valid(t *testing.T, w *world, s *dnssec.SignedZone) {
	t.Helper()
	o := dnssec.VerifyOptions{Keys: w.signer.zoneKeys(), At: uint32(w.now().Unix()), Canonical: true, ZONEMD: w.policy.ZONEMD}
	for _, f := range dnssec.Verify(s, o) {
		t.Error(f)
	}
}

// Each version has its digest, with all operators and without one, and who
// missed it fetches it.
func TestZONEMD(t *testing.T) {
	w := newWorld(t, "", "a", "b", "c")
	w.policy = zonemdPolicy
	serial := w.runAll("www A 192.0.2.10")
	valid(t, w, w.members["a"].public.now())
	w.change(2, "www A 192.0.2.11")
	serial = w.level(serial)
	valid(t, w, w.members["b"].public.now())
	w.hub.SetDown("c", true)
	w.change(3, "www A 192.0.2.12")
	serial = w.level(serial, "a", "b")
	w.hub.SetDown("c", false)
	w.level(serial-1, "a", "b", "c")
	valid(t, w, w.members["c"].public.now())
	for id, m := range w.members {
		if names, _ := m.store.List("promise/"); len(names) > 0 {
			t.Errorf("operator %s keeps the promises %v", id, names)
		}
	}
}

// A policy that comes to want a digest, and then none, has the zone signed
// again each time.
func TestZONEMDComesAndGoes(t *testing.T) {
	w := newWorld(t, "", "a", "b", "c")
	serial := w.runAll("www A 192.0.2.10")
	for _, p := range []Policy{zonemdPolicy, testPolicy} {
		w.policy = p
		w.policy.Digest[0] ^= byte(len(p.ZONEMD)) + 1
		for _, m := range w.members {
			m.zone.Stage(w.policy)
		}
		serial = w.level(serial)
		valid(t, w, w.members["a"].public.now())
		if w.policy.ZONEMD == "" {
			w.policy.ZONEMD = dnssec.ZONEMDNone
			valid(t, w, w.members["a"].public.now())
		}
	}
}

// session is what c has of a session that it proposed.
type handSession struct {
	w        *world
	c        *byHand
	proposal agree.Proposal
	id       mpc.SessionID
	plan     *dnssec.Plan
	body     *Proposal
}

// propose proposes as c, and waits for the answers of a and b to it.
func (c *byHand) propose(p agree.Proposal) (id agree.Digest, session mpc.SessionID, answers map[mpc.PartyID]agree.Answer) {
	c.w.t.Helper()
	id = c.say(agree.TypeProposal, p)
	nonces := map[mpc.PartyID][]byte{c.id: p.Nonce}
	answers = map[mpc.PartyID]agree.Answer{}
	for range 2 {
		var ans agree.Answer
		from := c.next(agree.TypeAnswer, &ans, func() bool { return ans.Proposal == id && ans.Verdict != agree.Working && ans.Verdict != agree.Behind })
		answers[from], nonces[from] = ans, ans.Nonce
	}
	return id, mpc.NewSessionID("session:"+string(id[:]), nonces), answers
}

// sign takes part in a session for a plan, as honest members do.
func (s *handSession) sign(id mpc.SessionID, plan *dnssec.Plan, tuples []mpc.TupleRange) *dnssec.SignedZone {
	s.w.t.Helper()
	net, err := s.c.transport.Open(id, s.proposal.Members)
	check(s.w.t, err)
	defer net.Close()
	req := mpc.SignRequest{Key: "csk", Manifest: plan.Digest(), Tuples: tuples}
	for i := range plan.Len() {
		req.Messages = append(req.Messages, plan.Message(i))
	}
	out, err := s.w.signer.Sign(s.w.t.Context(), net, mpc.SignSession{ID: id, Set: s.proposal.Members, Stripe: "c", Requests: []mpc.SignRequest{req}}, nil)
	check(s.w.t, err)
	sigs := make([][64]byte, plan.Len())
	for i := range sigs {
		sigs[i] = out[0][i]
	}
	zone, err := plan.Assemble(sigs)
	check(s.w.t, err)
	return zone
}

// withDraft is a session of a, b and c, who proposed it, up to where the second
// agreement begins: c has the draft and the plan of its digest.
func withDraft(t *testing.T) (s *handSession, draft *dnssec.SignedZone, second *dnssec.Plan, honest ZONEMDProposal, serial uint32) {
	t.Helper()
	w, c, serial := withHostileUnder(t, zonemdPolicy)
	s = &handSession{w: w, c: c, body: body(t, w)}
	z := w.members["a"].zone
	z.mu.Lock()
	head, content := z.head, z.newest().zone
	z.mu.Unlock()
	var err error
	s.plan, err = z.plan(content, s.body, head, w.policy, w.signer.zoneKeys())
	check(t, err)
	s.proposal = c.proposal(s.body)
	var answers map[mpc.PartyID]agree.Answer
	_, s.id, answers = c.propose(s.proposal)
	for id, a := range answers {
		if a.Verdict != agree.Accept {
			t.Fatalf("operator %s answers %+v", id, a)
		}
	}
	draft = s.sign(s.id, s.plan, s.body.Batches[0].Tuples)
	second, err = s.plan.PlanZONEMD(draft)
	check(t, err)
	honest = ZONEMDProposal{Session: agree.Digest(s.id), First: s.body.Manifest, Draft: agree.Digest(draft.Digest()), Manifest: agree.Digest(second.Digest())}
	return s, draft, second, honest, serial
}

// digest makes a proposal for the ZONEMD record.
func (s *handSession) digest(body ZONEMDProposal) agree.Proposal {
	p := s.c.proposal(body)
	p.Kind = KindZONEMD
	return p
}

func accepted(answers map[mpc.PartyID]agree.Answer) (n int) {
	for _, a := range answers {
		if a.Verdict == agree.Accept {
			n++
		}
	}
	return n
}

// c proposes as an honest proposer does, and the zone is signed: so the attacks
// below fail for what they change.
func TestZONEMDProposedByHand(t *testing.T) {
	s, _, second, honest, serial := withDraft(t)
	_, session, answers := s.c.propose(s.digest(honest))
	if accepted(answers) != 2 {
		t.Fatalf("answers %+v", answers)
	}
	zone := s.sign(session, second, s.body.ZONEMD[0].Tuples)
	valid(t, s.w, zone)
	if got := s.w.level(serial); got != serial+1 || s.w.members["a"].public.now().Digest() != zone.Digest() {
		t.Errorf("serial %d is published, expected c's %d", got, serial+1)
	}
}

// A proposer that asks for another digest, or for that of another zone, is
// refused, and what it proposed comes to nothing.
func TestAnotherZONEMD(t *testing.T) {
	for name, change := range map[string]func(*ZONEMDProposal){
		"manifest": func(p *ZONEMDProposal) { p.Manifest[0] ^= 1 },
		"draft":    func(p *ZONEMDProposal) { p.Draft[0] ^= 1 },
		"first":    func(p *ZONEMDProposal) { p.First[0] ^= 1 },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, _, _, asked, serial := withDraft(t)
			change(&asked)
			_, _, answers := s.c.propose(s.digest(asked))
			for id, a := range answers {
				if a.Verdict != agree.Refuse || a.Code != "zonemd" {
					t.Errorf("operator %s answers %+v", id, a)
				}
			}
			s.w.eventually("c rests at a and b", func() bool {
				for _, m := range s.w.members {
					if _, resting := m.zone.resting("c"); !resting {
						return false
					}
				}
				return true
			})
			still(t, s.w, serial)
			goOn(t, s, serial)
		})
	}
}

// goOn lets a and b sign without c, under another serial than that of the
// session which came to nothing.
func goOn(t *testing.T, s *handSession, serial uint32) {
	t.Helper()
	s.w.hub.SetDown("c", true)
	for _, m := range s.w.members {
		m.zone.mu.Lock()
		m.zone.retryAt = time.Time{}
		m.zone.mu.Unlock()
		m.zone.Wake()
	}
	if got := s.w.level(serial); got == serial+1 {
		t.Errorf("serial %d is signed, that of the session that failed", got)
	}
	valid(t, s.w, s.w.members["a"].public.now())
}

func TestAnotherZONEMDWithoutComparing(t *testing.T) {
	s, _, _, asked, _ := withDraft(t)
	for _, m := range s.w.members {
		m.zone.holes.anyZONEMD = true
	}
	asked.Manifest[0] ^= 1
	if _, _, answers := s.c.propose(s.digest(asked)); accepted(answers) != 2 {
		t.Errorf("with the comparison taken out the answers are %+v", answers)
	}
}

// A second proposal for the same record is refused although it is right: its
// signature would make another zone of the same serial.
func TestSecondZONEMD(t *testing.T) {
	s, _, second, honest, serial := withDraft(t)
	_, session, answers := s.c.propose(s.digest(honest))
	if accepted(answers) != 2 {
		t.Fatalf("answers %+v", answers)
	}
	_, _, answers = s.c.propose(s.digest(honest))
	for id, a := range answers {
		if a.Verdict != agree.Refuse {
			t.Errorf("operator %s answers %+v to the second one", id, a)
		}
	}
	s.sign(session, second, s.body.ZONEMD[0].Tuples) // which does not hold the first one up
	s.w.level(serial)
}

func TestSecondZONEMDWithoutThePromise(t *testing.T) {
	s, _, second, honest, _ := withDraft(t)
	s.w.signer.mu.Lock()
	s.w.signer.lax = true // the tuples' own defence
	s.w.signer.mu.Unlock()
	for _, m := range s.w.members {
		m.zone.holes.manyZONEMD = true
	}
	_, session, _ := s.c.propose(s.digest(honest))
	_, again, answers := s.c.propose(s.digest(honest))
	if accepted(answers) != 2 {
		t.Fatalf("with the promise taken out the answers are %+v", answers)
	}
	one := s.sign(session, second, s.body.ZONEMD[0].Tuples)
	s.w.signer.mu.Lock()
	clear(s.w.signer.made) // another nonce
	s.w.signer.mu.Unlock()
	other := s.sign(again, second, s.body.ZONEMD[0].Tuples)
	valid(t, s.w, one)
	valid(t, s.w, other)
	if one.Digest() == other.Digest() || one.Serial() != other.Serial() {
		t.Error("c does not have two zones of one serial")
	}
}

// Proposals for a record come from the proposer of the session, to its members,
// for that session.
func TestZONEMDOfAnotherSession(t *testing.T) {
	s, _, second, honest, serial := withDraft(t)
	for name, change := range map[string]func(p *agree.Proposal, b *ZONEMDProposal){
		"session": func(_ *agree.Proposal, b *ZONEMDProposal) { b.Session[0] ^= 1 },
		"members": func(p *agree.Proposal, _ *ZONEMDProposal) { p.Members = mpc.NewSignerSet("a", "c") },
		"nothing": func(p *agree.Proposal, _ *ZONEMDProposal) { p.Body = []byte("[]") },
	} {
		b := honest
		p := s.digest(b)
		change(&p, &b)
		if name == "session" {
			p = s.digest(b)
		}
		ans := s.w.members["a"].zone.Judge(t.Context(), agree.Digest{1}, &p, func(agree.Verdict, string) {})
		if ans.Verdict != agree.Refuse || ans.Code != "zonemd" {
			t.Errorf("another %s is answered with %+v", name, ans)
		}
	}
	other := s.digest(honest)
	other.Proposer = "b"
	if ans := s.w.members["a"].zone.Judge(t.Context(), agree.Digest{1}, &other, func(agree.Verdict, string) {}); ans.Verdict != agree.Refuse {
		t.Errorf("another proposer is answered with %+v", ans)
	}
	// None of them has hurt the session.
	_, session, answers := s.c.propose(s.digest(honest))
	if accepted(answers) != 2 {
		t.Fatalf("answers %+v", answers)
	}
	s.sign(session, second, s.body.ZONEMD[0].Tuples)
	s.w.level(serial)
	if ans := s.w.members["a"].zone.Judge(t.Context(), agree.Digest{1}, &other, func(agree.Verdict, string) {}); ans.Verdict != agree.Refuse {
		t.Errorf("after the session the answer is %+v", ans)
	}
}

// A proposer that signs the zone and then proposes no digest costs one serial
// and rests.
func TestNoSecondProposal(t *testing.T) {
	s, _, _, _, serial := withDraft(t)
	s.w.eventually("c rests at a and b", func() bool {
		for _, m := range s.w.members {
			if _, resting := m.zone.resting("c"); !resting {
				return false
			}
		}
		return true
	})
	still(t, s.w, serial)
	goOn(t, s, serial)
}

// A proposer that gives its second proposal up does not get away with it.
func TestSecondProposalGivenUp(t *testing.T) {
	s, _, _, honest, serial := withDraft(t)
	id, _, _ := s.c.propose(s.digest(honest))
	s.c.say(agree.TypeAbort, agree.Abort{Proposal: id, Reason: "no reason"})
	s.w.eventually("a and b are through with it", func() bool {
		for _, m := range s.w.members {
			m.zone.mu.Lock()
			busy := !m.zone.busy.IsZero()
			m.zone.mu.Unlock()
			if busy {
				return false
			}
		}
		return true
	})
	goOn(t, s, serial)
}

// The promise of a serial is made longer once, by a session that has begun.
func TestOneZONEMDAPromise(t *testing.T) {
	w, _, _ := withHostileUnder(t, zonemdPolicy)
	z := w.members["a"].zone
	p := body(t, w)
	record := agree.Digest{7}
	if err := z.extend(p, record); err == nil {
		t.Error("a promise that was never made was extended")
	}
	_, err := z.promise(p)
	check(t, err)
	if err := z.extend(p, record); err == nil {
		t.Error("a promise was extended before a session began under it")
	}
	check(t, z.begin(p))
	check(t, z.extend(p, record))
	if !z.promised(p) {
		t.Error("what was extended is no longer promised")
	}
	for _, again := range []agree.Digest{record, {8}} {
		if err := z.extend(p, again); err == nil {
			t.Errorf("a second record %s was promised", again)
		}
	}
	var taken *serialError
	if _, err := z.promise(p); !errors.As(err, &taken) {
		t.Errorf("the serial can be had again: %v", err)
	}
}

// An operator gives its own certificate only to the zone that its plans make:
// not to one with true signatures that were made at another time.
func TestFetchedZoneIsWhatThePlansMake(t *testing.T) {
	for _, policy := range []Policy{testPolicy, zonemdPolicy} {
		w, c, serial := withHostileUnder(t, policy)
		body(t, w)
		z := w.members["a"].zone
		crt := cert(w, serial+1, agree.Digest{})
		crt.Source = 2
		if policy.ZONEMD.Wanted() {
			crt.Policy = policy.Digest
		}
		make2 := func(at uint32) (*dnssec.Plan, *dnssec.SignedZone) {
			z.mu.Lock()
			head := z.head
			z.mu.Unlock()
			plan, err := z.plan(parse(t, 2, "www A 192.0.2.11"), &Proposal{Time: at, Serial: crt.Serial, Source: 2}, head, policy, w.signer.zoneKeys())
			check(t, err)
			first, s := plan, signedBy(t, w, plan)
			if policy.ZONEMD.Wanted() {
				plan, err = plan.PlanZONEMD(s)
				check(t, err)
				s = signedBy(t, w, plan)
			}
			return first, s
		}
		plan, right := make2(crt.Time)
		crt.Manifest = agree.Digest(plan.Digest())
		_, late := make2(crt.Time - 30)
		check(t, z.made(plan, right))
		if err := z.made(plan, late); err == nil {
			t.Errorf("ZONEMD %q: a zone of another time is what the plan makes", policy.ZONEMD)
		}
		if policy.ZONEMD.Wanted() {
			if err := z.made(plan, right.Draft()); err == nil {
				t.Error("a zone without its digest is what the plans make")
			}
		}
		crt.Digest = agree.Digest(late.Digest())
		var b bytes.Buffer
		check(t, late.Save(&b))
		c.serve(func(net mpc.Session, to mpc.PartyID) { sendZone(net, to, b.Bytes(), b.Len()) })
		c.say(TypeCertificate, crt, "a")
		w.eventually("a says what is wrong with it", func() bool {
			text := strings.Join(z.Status().Problems, "\n")
			return strings.Contains(text, "is not") && strings.Contains(text, "catch up")
		})
		still(t, w, serial)
	}
}

func signedBy(t *testing.T, w *world, plan *dnssec.Plan) *dnssec.SignedZone {
	t.Helper()
	sigs := make([][64]byte, plan.Len())
	for i := range sigs {
		sigs[i] = w.signer.sign(plan.Message(i))
	}
	s, err := plan.Assemble(sigs)
	check(t, err)
	return s
}

func TestSplitTuples(t *testing.T) {
	x, y := mpc.ChunkID{1}, mpc.ChunkID{2}
	rs := []mpc.TupleRange{{Chunk: x, From: 5, Count: 3}, {Chunk: y, From: 0, Count: 4}}
	for _, c := range []struct {
		n          int
		head, tail []mpc.TupleRange
	}{
		{0, nil, rs},
		{2, []mpc.TupleRange{{Chunk: x, From: 5, Count: 2}}, []mpc.TupleRange{{Chunk: x, From: 7, Count: 1}, rs[1]}},
		{3, rs[:1], rs[1:]},
		{6, []mpc.TupleRange{rs[0], {Chunk: y, From: 0, Count: 3}}, []mpc.TupleRange{{Chunk: y, From: 3, Count: 1}}},
		{7, rs, nil},
	} {
		head, tail := splitTuples(rs, c.n)
		if !slices.Equal(head, c.head) || !slices.Equal(tail, c.tail) {
			t.Errorf("%d: %v and %v", c.n, head, tail)
		}
	}
}

// A member that signs the zone and refuses its digest is left out, and the
// others sign without it.
func TestMemberRefusesZONEMD(t *testing.T) {
	w, c, serial := withHostileUnder(t, zonemdPolicy)
	z := w.members["a"].zone
	z.mu.Lock()
	head := z.head
	z.mu.Unlock()
	w.change(2, "www A 192.0.2.11")
	var p agree.Proposal
	proposer := c.next(agree.TypeProposal, &p, func() bool { return p.Kind == KindZone })
	var b Proposal
	check(t, json.Unmarshal(p.Body, &b))
	plan, err := z.plan(parse(t, 2, "www A 192.0.2.11"), &b, head, w.policy, w.signer.zoneKeys())
	check(t, err)
	id := c.last
	own := agree.Answer{Proposal: id, Verdict: agree.Accept, Nonce: make([]byte, 16)}
	_, _ = rand.Read(own.Nonce)
	c.say(agree.TypeAnswer, own)
	nonces := map[mpc.PartyID][]byte{"c": own.Nonce, proposer: p.Nonce}
	for len(nonces) < 3 {
		var ans agree.Answer
		from := c.next(agree.TypeAnswer, &ans, func() bool { return ans.Proposal == id && ans.Verdict == agree.Accept })
		nonces[from] = ans.Nonce
	}
	s := &handSession{w: w, c: c, proposal: p}
	s.sign(mpc.NewSessionID("session:"+string(id[:]), nonces), plan, nil)
	c.next(agree.TypeProposal, &p, func() bool { return p.Kind == KindZONEMD && p.Proposer == proposer })
	c.say(agree.TypeAnswer, agree.Answer{Proposal: c.last, Verdict: agree.Refuse, Code: "zonemd", Reason: "no reason"})
	w.level(serial)
	valid(t, w, w.members["a"].public.now())
	if got := w.members["a"].public.now().Serial(); got == b.Serial {
		t.Errorf("serial %d is signed, that of the session that failed", got)
	}
	m := w.members[proposer]
	m.mu.Lock()
	defer m.mu.Unlock()
	if !slices.ContainsFunc(m.blamed, func(err error) bool {
		absent, ok := mpc.AsAbsent(err)
		return ok && slices.Equal(absent.Parties, []mpc.PartyID{"c"})
	}) {
		t.Errorf("the proposer blames %v", m.blamed)
	}
}
