package pipeline

import (
	"bytes"
	"errors"
	"math"
	"math/big"
	"strings"
	"testing"

	"zonesigner/dnssec"
	"zonesigner/mpc"
	"zonesigner/zonesignerd/internal/agree"
)

// A promise lasts for one session: the same manifest may be accepted again
// until one has begun, and never after, for a second session would make
// another zone under the same serial.
func TestOneSessionAPromise(t *testing.T) {
	w, _, _ := withHostile(t)
	z := w.members["a"].zone
	p := body(t, w)
	for range 2 {
		if _, err := z.promise(p); err != nil {
			t.Fatalf("a promise under which nothing has begun: %v", err)
		}
	}
	check(t, z.begin(p))
	if !z.promised(p) {
		t.Error("what a session began under is no longer promised")
	}
	var taken *serialError
	if _, err := z.promise(p); !errors.As(err, &taken) || taken.free != p.Serial+1 {
		t.Errorf("promise after a session began: %v, want the next serial", err)
	}
}

// Who certifies a zone that others signed takes part in no session for its
// serial any more, whether it had promised the manifest or not.
func TestFetchedZoneUsesThePromiseUp(t *testing.T) {
	for name, before := range map[string]func(z *Zone, p *Proposal) error{
		"not promised": func(*Zone, *Proposal) error { return nil },
		"promised":     func(z *Zone, p *Proposal) error { _, err := z.promise(p); return err },
		"in a session": func(z *Zone, p *Proposal) error { return z.begin(p) },
	} {
		w, _, _ := withHostile(t)
		z := w.members["a"].zone
		p := body(t, w)
		check(t, before(z, p))
		for range 2 { // it may be fetched again after a restart
			check(t, z.standBy(p))
		}
		var taken *serialError
		if _, err := z.promise(p); !errors.As(err, &taken) {
			t.Errorf("%s: promised again after certifying: %v", name, err)
		}
	}
}

// A proposal that names a tuple twice cannot be signed, and each one that is
// accepted takes a serial. None is.
func TestTupleNamedTwice(t *testing.T) {
	for name, ranges := range map[string]func(n int) []mpc.TupleRange{
		"twice":        func(n int) []mpc.TupleRange { return []mpc.TupleRange{{Count: n - 1}, {From: n - 2, Count: 1}} },
		"falling":      func(n int) []mpc.TupleRange { return []mpc.TupleRange{{From: 1, Count: n - 1}, {Count: 1}} },
		"out of range": func(n int) []mpc.TupleRange { return []mpc.TupleRange{{Count: 1}, {From: math.MaxInt, Count: n - 1}} },
	} {
		for _, open := range []bool{false, true} {
			w, c, _ := withHostile(t)
			z := w.members["a"].zone
			z.holes.tuplesTwice = open
			p := body(t, w)
			p.Batches[0].Tuples = ranges(p.Batches[0].Count)
			for i := range p.Batches[0].Tuples {
				p.Batches[0].Tuples[i].Chunk = mpc.ChunkID{'c'}
			}
			proposal := c.proposal(p)
			ans := z.Judge(t.Context(), agree.Digest{1}, &proposal, func(agree.Verdict, string) {})
			if want := open && name != "out of range"; (ans.Verdict == agree.Accept) != want {
				t.Errorf("%s, defence taken out %v: %+v", name, open, ans)
			}
		}
	}
}

// Of two proposals with one manifest, the one that fails does not take back
// the promise of the one that holds the zone.
func TestPromiseOfAnother(t *testing.T) {
	w, c, _ := withHostile(t)
	z := w.members["a"].zone
	p := body(t, w)
	first := c.proposal(p)
	if a := z.Judge(t.Context(), agree.Digest{1}, &first, func(agree.Verdict, string) {}); a.Verdict != agree.Accept {
		t.Fatalf("the proposal was not accepted: %+v", a)
	}
	second := *p
	second.Batches = []Batch{p.Batches[0]}
	second.Batches[0].Tuples = []mpc.TupleRange{{Chunk: mpc.ChunkID{'x'}, Count: p.Batches[0].Count}}
	other := c.proposal(&second)
	if a := z.Judge(t.Context(), agree.Digest{2}, &other, func(agree.Verdict, string) {}); a.Verdict == agree.Accept {
		t.Fatal("two proposals hold the zone")
	}
	if !z.promised(p) {
		t.Error("a proposal that was not accepted took back the promise of one that was")
	}
}

// c certifies one zone to a and another, of the same serial and manifest, to
// b, and both publish, since each has n-t certificates. Once they hear of one
// another they agree on one, and sign it again under the next serial.
func TestTwins(t *testing.T) {
	w, c, serial := withHostile(t)
	body(t, w)
	crt := cert(w, serial+1, agree.Digest{})
	crt.Source = 2
	save := func(s *dnssec.SignedZone) []byte {
		var b bytes.Buffer
		check(t, s.Save(&b))
		return b.Bytes()
	}
	given := map[mpc.PartyID][]byte{}
	certs := map[mpc.PartyID]Certificate{}
	for _, id := range []mpc.PartyID{"a", "b"} {
		w.signer.mu.Lock()
		clear(w.signer.made) // another session, other nonces
		w.signer.mu.Unlock()
		s := signAlone(w, "www A 192.0.2.11", &crt)
		crt.Digest = agree.Digest(s.Digest())
		given[id], certs[id] = save(s), crt
	}
	if certs["a"].Digest == certs["b"].Digest {
		t.Fatal("the two zones are one")
	}
	c.serve(func(net mpc.Session, to mpc.PartyID) { sendZone(net, to, given[to], len(given[to])) })
	for id, crt := range certs {
		c.say(TypeCertificate, crt, id)
	}
	w.eventually("a and b have one head, after the twins", func() bool {
		var heads []Certificate
		for _, m := range w.members {
			m.zone.mu.Lock()
			heads = append(heads, m.zone.head.Cert)
			m.zone.mu.Unlock()
		}
		return heads[0].Digest == heads[1].Digest && serialLess(serial+1, heads[0].Serial)
	})
	w.level(serial + 1)
}

// A proposer that accepts what it proposed and then lets the session fail
// rests for longer and longer; one that others let down does not.
func TestStallingProposerRests(t *testing.T) {
	w, _, _ := withHostile(t)
	z := w.members["a"].zone
	z.came("b", &mpc.AbsentError{Parties: []mpc.PartyID{"c"}})
	if _, resting := z.resting("b"); resting {
		t.Error("b rests because c was absent")
	}
	last := w.now()
	var pauses []float64
	for range 3 {
		z.came("c", &mpc.AbsentError{Parties: []mpc.PartyID{"c"}})
		until, resting := z.resting("c")
		if !resting {
			t.Fatal("c proposes and stalls, and need not rest")
		}
		pauses = append(pauses, until.Sub(last).Seconds())
	}
	if pauses[0] >= pauses[1] || pauses[1] >= pauses[2] {
		t.Errorf("rests of %v seconds do not grow", pauses)
	}
	z.came("c", nil)
	if _, resting := z.resting("c"); resting {
		t.Error("c rests after a proposal that came to something")
	}
}

// Anyone can turn (r, s) into (r, n-s), which verifies too and would make
// another digest of one zone. Only one form is taken from a peer.
func TestOtherFormOfASignature(t *testing.T) {
	w, c, serial := withHostile(t)
	body(t, w)
	crt := cert(w, serial+1, agree.Digest{})
	crt.Source = 2
	z := w.members["a"].zone
	plan, err := z.plan(parse(t, 2, "www A 192.0.2.11"), &Proposal{Time: crt.Time, Serial: crt.Serial, Source: 2}, z.head, testPolicy, z.d.Keys("example."))
	check(t, err)
	sigs := make([][64]byte, plan.Len())
	for i := range sigs {
		sigs[i] = w.signer.sign(plan.Message(i))
	}
	s := new(big.Int).SetBytes(sigs[0][32:])
	s.Sub(w.signer.key.Params().N, s).FillBytes(sigs[0][32:])
	other, err := plan.Assemble(sigs)
	check(t, err)
	crt.Digest, crt.Manifest = agree.Digest(other.Digest()), agree.Digest(plan.Digest())
	if faults := dnssec.Verify(other, dnssec.VerifyOptions{Keys: z.d.Keys("example."), At: crt.Time}); len(faults) > 0 {
		t.Fatalf("the other form does not verify: %s", faults[0])
	}
	var b bytes.Buffer
	check(t, other.Save(&b))
	c.serve(func(net mpc.Session, to mpc.PartyID) { sendZone(net, to, b.Bytes(), b.Len()) })
	c.say(TypeCertificate, crt, "a")
	w.eventually("a says what is wrong with it", func() bool {
		return strings.Contains(strings.Join(z.Status().Problems, "\n"), "faults")
	})
	still(t, w, serial)
}

// promised reports whether this operator stands by exactly this manifest.
func (z *Zone) promised(body *Proposal) bool {
	old, err := z.d.Store.Get(promiseKey(z.name, body.Serial))
	return err == nil && strings.HasPrefix(string(old), string(body.Manifest[:]))
}
