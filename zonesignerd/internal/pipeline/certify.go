package pipeline

import (
	"context"
	"fmt"
	"time"

	"zonesigner/dnssec"
	"zonesigner/mpc"
	"zonesigner/zonesignerd/internal/agree"
)

// certify keeps s, which this operator derived and checked, gives its own
// certificate to all, and promotes s when n-t certificates are there. It
// stands by one signed zone at a time: while s waits, no other plan on the
// same base is accepted.
func (z *Zone) certify(s *Signed) error {
	if err := z.save(candidateSlot, s); err != nil {
		return fmt.Errorf("keep the signed zone: %w", err)
	}
	z.mu.Lock()
	z.candidate = s
	z.mu.Unlock()
	raw, err := z.d.Say(TypeCertificate, s.Cert)
	if err != nil {
		return err
	}
	z.log.Info("certified", "serial", s.Cert.Serial, "digest", s.Cert.Digest)
	return z.count(z.d.Identity.Self(), &s.Cert, raw)
}

// repeat says the certificate of a candidate again, which somebody may have
// missed, and returns when to do so next.
func (z *Zone) repeat() time.Duration {
	z.mu.Lock()
	c := z.candidate
	z.mu.Unlock()
	if c == nil {
		return idle
	}
	z.sayCertificate(c)
	return 2 * time.Second
}

// Certificate takes a peer's certificate in.
func (z *Zone) Certificate(m *agree.Message) error {
	var c Certificate
	if err := m.Decode(&c); err != nil {
		return err
	}
	return z.count(m.From, &c, m.Raw)
}

// maxCertified bounds the signed zones that peers can make us count for.
const maxCertified = 64

// count enters a certificate and promotes the candidate when it is enough.
func (z *Zone) count(from mpc.PartyID, c *Certificate, raw []byte) error {
	z.mu.Lock()
	if z.head != nil && !serialLess(z.head.Cert.Serial, c.Serial) {
		z.mu.Unlock()
		return nil // old news
	}
	byParty := z.certs[c.Digest]
	if byParty == nil {
		if len(z.certs) >= maxCertified {
			z.mu.Unlock()
			return fmt.Errorf("operator %s certifies too many signed zones", from)
		}
		byParty = map[mpc.PartyID]certified{}
		z.certs[c.Digest] = byParty
	}
	byParty[from] = certified{*c, raw}
	s := z.candidate
	enough := s != nil && s.Cert.Digest == c.Digest && len(byParty) >= z.quorum()
	if enough {
		s.Proof = byParty
	}
	z.mu.Unlock()
	if !enough {
		z.Wake() // it may be a zone that was missed
		return nil
	}
	return z.promote(s)
}

// quorum is n-t.
func (z *Zone) quorum() int {
	g := z.d.Group()
	return g.N() - g.T
}

// promote makes s the head: the base of all further plans, and, where its
// content is this operator's own, what is published.
func (z *Zone) promote(s *Signed) error {
	if err := z.save(headSlot, s); err != nil {
		return fmt.Errorf("keep the signed zone: %w", err)
	}
	z.mu.Lock()
	z.head = s
	if z.candidate != nil && !serialLess(s.Cert.Serial, z.candidate.Cert.Serial) {
		z.candidate = nil
	}
	z.lastT = s.Cert.Time
	for _, v := range z.versions {
		if s.of(v, z.policy) {
			z.headSeq = v.seq
		}
	}
	for d, by := range z.certs {
		if d != s.Cert.Digest && stale(by, s.Cert.Serial) {
			delete(z.certs, d)
		}
	}
	delete(z.certs, s.Cert.Digest)
	delete(z.disputed, s.Content)
	if v := z.newest(); s.of(v, z.policy) {
		clear(z.refusals)
		clear(z.disputed)
		clear(z.dissent)
		z.forgive()
	}
	z.asked = false
	z.want, z.tried = nil, nil
	z.publishAt, z.retryAt, z.failures = time.Time{}, time.Time{}, 0
	z.mu.Unlock()
	if err := z.forget(s.Cert.Serial); err != nil {
		return err
	}
	z.sayHead() // the whole certificate goes to all before publishing
	z.Wake()
	return nil
}

// stale reports whether certificates are for a serial no newer than serial.
func stale(by map[mpc.PartyID]certified, serial uint32) bool {
	for _, c := range by {
		if serialLess(serial, c.Serial) {
			return false
		}
	}
	return true
}

// publishDue makes the public server serve the head, if this operator's own
// copy has that content. A zone that does not validate is never published:
// it never becomes the head.
func (z *Zone) publishDue(ctx context.Context) {
	z.mu.Lock()
	now := z.d.Now()
	s, previous := z.head, z.published
	withdraw, withdrawn := z.policy.Withdraw && z.expired(now), z.withdrawn
	due := s != nil && (previous == nil || z.stale || previous.Serial() != s.Cert.Serial) && !now.Before(z.publishAt) && s.Own
	if z.stale {
		previous = nil
	}
	z.mu.Unlock()
	switch {
	case withdraw:
		if !withdrawn {
			z.withdraw(ctx)
		}
		return
	case !due:
		return
	}
	start := z.d.Now()
	if err := z.pub.Publish(ctx, s.Zone, previous); err != nil {
		if ctx.Err() != nil {
			return
		}
		z.mu.Lock()
		z.stale = true // what the server holds now is not known
		z.publishAt = now.Add(2 * time.Second)
		z.mu.Unlock()
		time.AfterFunc(2*time.Second, z.Wake)
		z.problem("publish", err)
		return
	}
	z.solved("publish")
	z.mu.Lock()
	z.published, z.stale, z.withdrawn = s.Zone, false, false
	z.stages.Publish = z.d.Now().Sub(start)
	z.stages.At = z.d.Now()
	z.stages.PublishedSerial = s.Cert.Serial
	stages := z.stages
	z.mu.Unlock()
	z.log.Info("published", "serial", s.Cert.Serial, "stages", stages)
	z.sayHead()
}

// withdraw makes the public server stop answering with signatures that have
// run out.
func (z *Zone) withdraw(ctx context.Context) {
	if err := z.pub.Withdraw(ctx); err != nil {
		z.problem("withdraw", err)
		return
	}
	z.solved("withdraw")
	z.mu.Lock()
	z.published, z.withdrawn = nil, true
	z.mu.Unlock()
	z.log.Error("the zone's signatures have run out; the public server does not answer for it any more")
}

// Served tells the zone what its public server answers with; a server that
// lost the zone is given it again.
func (z *Zone) Served(serial uint32, ok bool) {
	z.mu.Lock()
	lost := z.published != nil && (!ok || serial != z.published.Serial()) && !z.stale
	if lost {
		z.stale = true
	}
	z.mu.Unlock()
	if lost {
		z.log.Warn("the public server does not serve what was published", "serves", serial, "zone known", ok)
		z.Wake()
	}
}

// sayHead tells peers, or all, where this operator stands.
func (z *Zone) sayHead(to ...mpc.PartyID) {
	z.mu.Lock()
	h := Head{Zone: z.name, Policy: z.policy.Digest}
	if z.next != nil {
		h.Staged = z.next.Digest
	}
	if z.head != nil {
		h.Serial, h.Digest, h.Time = z.head.Cert.Serial, z.head.Cert.Digest, z.head.Cert.Time
		for _, c := range z.head.Proof {
			h.Proof = append(h.Proof, c.raw)
		}
	}
	if z.published != nil {
		h.Published, h.At = z.published.Serial(), z.stages.At.Unix()
	}
	z.mu.Unlock()
	if _, err := z.d.Say(TypeHead, h, to...); err != nil {
		z.log.Debug("head not sent", "err", err)
	}
}

// SayGone tells all peers that this operator has removed the zone.
func (z *Zone) SayGone() {
	if _, err := z.d.Say(TypeHead, Head{Zone: z.name}); err != nil {
		z.log.Debug("head not sent", "err", err)
	}
}

func (z *Zone) sayCertificate(s *Signed, to ...mpc.PartyID) {
	if _, err := z.d.Say(TypeCertificate, s.Cert, to...); err != nil {
		z.log.Debug("certificate not sent", "err", err)
	}
}

// Hello tells a peer that has just become ready what it may have missed.
func (z *Zone) Hello(peer mpc.PartyID) {
	z.sayHead(peer)
	z.mu.Lock()
	c := z.candidate
	z.mu.Unlock()
	if c != nil {
		z.sayCertificate(c, peer)
	}
}

// check verifies a signed zone in full: chain, coverage, keys, times, and
// every signature, trusting nobody.
func (z *Zone) check(s *dnssec.SignedZone, at uint32) error {
	faults := dnssec.Verify(s, dnssec.VerifyOptions{Keys: z.d.Keys(z.name), At: at})
	if len(faults) > 0 {
		return fmt.Errorf("%d faults, the first: %s", len(faults), faults[0])
	}
	return nil
}
