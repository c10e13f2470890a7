package pipeline

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"zonesigner/dnssec"
	"zonesigner/mpc"
	"zonesigner/zonesignerd/internal/agree"
	"zonesigner/zonesignerd/internal/proof"
)

// certify keeps s, which this operator derived and checked, and gives its own
// certificate to all; s is promoted when n-t certificates are there. It
// stands by one signed zone at a time: while s waits, no other plan on the
// same base is accepted.
func (z *Zone) certify(s *Signed) error {
	z.mu.Lock()
	other := z.first(z.d.Now())
	var base agree.Digest
	if z.head != nil {
		base = z.head.Cert.Digest
	}
	switch {
	case other != nil && other.Cert.Digest != s.Cert.Digest:
		z.mu.Unlock()
		return fmt.Errorf("serial %d was certified meanwhile", other.Cert.Serial)
	case base != s.Cert.Base:
		z.mu.Unlock()
		return errors.New("another signed zone took the place of the one that this was planned on")
	}
	z.candidate, z.certAt = s, z.d.Now() // before anything is said: only one at a time
	z.mu.Unlock()
	if err := z.save(candidateSlot, s); err != nil {
		z.mu.Lock()
		z.candidate = nil
		z.mu.Unlock()
		return fmt.Errorf("keep the signed zone: %w", err)
	}
	raw, err := z.d.Say(TypeCertificate, s.Cert)
	if err != nil {
		return err
	}
	z.log.Info("certified", "serial", s.Cert.Serial, "digest", s.Cert.Digest)
	return z.count(z.d.Identity.Self(), &s.Cert, raw)
}

// first is the candidate while it comes before everything else. Others who
// lost what they had of it must not keep a zone from being signed for ever:
// after a while another plan may take its place. That one gets another serial,
// since this one's is promised.
func (z *Zone) first(now time.Time) *Signed {
	if z.candidate != nil && now.Sub(z.certAt) < 10*z.d.Timeout {
		return z.candidate
	}
	return nil
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

// maxCertified bounds the signed zones that one operator can make us count
// for. It stands by one at a time, and says so again after a restart.
const maxCertified = 4

// count enters a certificate. Certificates count together only if they say the
// same in all.
func (z *Zone) count(from mpc.PartyID, c *Certificate, raw []byte) error {
	if c.Zone != z.name {
		return fmt.Errorf("operator %s certifies %q where zone %s belongs", from, c.Zone, z.name)
	}
	z.mu.Lock()
	if z.head != nil && !serialLess(z.head.Cert.Serial, c.Serial) && !z.twin(c) {
		z.mu.Unlock()
		return nil // old news
	}
	for o, by := range z.certs {
		if o.Serial == c.Serial && o.Digest != c.Digest && by[from] != nil {
			z.log.Error("operator certified two zones with one serial", "peer", from, "serial", c.Serial, "digests", []agree.Digest{o.Digest, c.Digest})
		}
	}
	by := z.certs[*c]
	if by == nil {
		by = map[mpc.PartyID][]byte{}
		z.certs[*c] = by
	}
	by[from] = raw
	z.trim(from, c)
	if z.twin(c) && len(by) >= z.quorum() {
		// Two zones of one serial were certified. All take the one with the
		// lower digest as base, and sign it again under the next serial.
		z.asked = true
	}
	z.mu.Unlock()
	z.Wake() // it may be what the candidate waits for, or a zone that was missed
	return nil
}

// promoteDue promotes the candidate when n-t certificates are there. Only the
// zone's own goroutine does, so that it happens once and keeps no peer's
// messages waiting for the disk.
func (z *Zone) promoteDue() {
	z.mu.Lock()
	s := z.candidate
	if s == nil || len(z.certs[s.Cert]) < z.quorum() {
		z.mu.Unlock()
		return
	}
	certified := *s
	certified.Proof = maps.Clone(z.certs[s.Cert])
	z.mu.Unlock()
	if err := z.promote(&certified); err != nil {
		z.problem("promote", err)
		return
	}
	z.solved("promote")
}

// twin reports whether c is for another signed zone with our head's serial. It
// takes an operator that certifies twice to make one: with n = 2t+1 two groups
// of n-t may have no honest operator in common. z.mu is held.
func (z *Zone) twin(c *Certificate) bool {
	return z.head != nil && c.Serial == z.head.Cert.Serial && c.Digest != z.head.Cert.Digest
}

// before reports whether c is to be our head in place of the present one: its
// serial is newer, or it is a twin with the lower digest. z.mu is held.
func (z *Zone) before(c *Certificate) bool {
	return z.head == nil || serialLess(z.head.Cert.Serial, c.Serial) ||
		z.twin(c) && bytes.Compare(c.Digest[:], z.head.Cert.Digest[:]) < 0
}

// trim forgets the lowest of an operator's certificates when there are too
// many, except the one that just came; z.mu is held.
func (z *Zone) trim(from mpc.PartyID, newest *Certificate) {
	if from == z.d.Identity.Self() {
		return
	}
	var lowest *Certificate
	n := 0
	for c, by := range z.certs {
		if by[from] == nil {
			continue
		}
		if n++; c != *newest && (lowest == nil || serialLess(c.Serial, lowest.Serial)) {
			lowest = &c
		}
	}
	if n <= maxCertified || lowest == nil {
		return
	}
	if delete(z.certs[*lowest], from); len(z.certs[*lowest]) == 0 {
		delete(z.certs, *lowest)
	}
}

// quorum is how many certificates make a zone the head: n-t, which is as many as
// can be counted on, and t+1 at least, so that an honest operator's is among
// them. Without an honest majority those are more than can be counted on, but no
// more than it takes to sign.
func (z *Zone) quorum() int {
	g := z.d.Group()
	if z.holes.noMajority {
		return g.N() - g.T
	}
	return max(g.N()-g.T, g.T+1)
}

// promote makes s the head: the base of all further plans, and, where its
// content is this operator's own, what is published.
func (z *Zone) promote(s *Signed) error {
	if err := z.save(headSlot, s); err != nil {
		return fmt.Errorf("keep the signed zone: %w", err)
	}
	z.mu.Lock()
	healed := z.twin(&s.Cert)
	superseded := z.d.Stands != nil && (z.head == nil || z.head.Content != s.Content)
	z.head = s
	if z.candidate != nil && !serialLess(s.Cert.Serial, z.candidate.Cert.Serial) {
		z.candidate = nil
	}
	z.lastT = max(z.lastT, s.Cert.Time)
	for _, v := range z.versions {
		if s.of(v, z.policy) {
			z.headSeq = v.seq
		}
	}
	if superseded {
		z.headSeq = z.seq // an approval that was not signed before is void
		poke(z.reread)    // and its operator is told
	}
	z.shed()
	for c := range z.certs {
		if !serialLess(s.Cert.Serial, c.Serial) && !z.twin(&c) {
			delete(z.certs, c)
		}
	}
	delete(z.disputed, s.Content)
	if v := z.newest(); s.of(v, z.policy) {
		clear(z.refusals)
		clear(z.disputed)
		clear(z.dissent)
		z.forgive()
	}
	z.asked = healed // then all sign it again, under the next serial
	z.want, z.tried, z.offered = nil, nil, nil
	z.publishAt, z.retryAt, z.failures = time.Time{}, time.Time{}, 0
	z.mu.Unlock()
	if err := z.forget(s.Cert.Serial); err != nil {
		return err
	}
	z.sayHead() // the whole certificate goes to all before publishing
	z.Wake()
	return nil
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

// Published is what its public server was last given; for Served.
func (z *Zone) Published() *dnssec.SignedZone {
	z.mu.Lock()
	defer z.mu.Unlock()
	return z.published
}

// Served tells the zone what its public server answers with, and what it had
// been given when it was asked; a server that lost the zone is given it again.
func (z *Zone) Served(given *dnssec.SignedZone, serial uint32, ok bool) {
	z.mu.Lock()
	lost := z.published != nil && z.published == given && (!ok || serial != z.published.Serial()) && !z.stale
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
		for _, raw := range z.head.Proof {
			h.Proof = append(h.Proof, raw)
		}
		// Under the group of now, should the one of then be another.
		if own, err := agree.Seal(z.d.Identity, z.d.Group().Digest, TypeCertificate, z.head.Cert); err == nil && z.head.Proof[z.d.Identity.Self()] != nil {
			h.Proof = append(h.Proof, own)
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

// check verifies a signed zone in full: chain, coverage, keys, times, digest,
// and every signature, trusting nobody.
func (z *Zone) check(s *dnssec.SignedZone, cert *Certificate) error {
	o := dnssec.VerifyOptions{Keys: z.d.Keys(z.name), At: cert.Time, Canonical: true, Batch: proof.NewBatches().Verify}
	// Under another policy another digest may be right, or none.
	if policy := z.policyNow(); policy.Digest == cert.Policy {
		if o.ZONEMD = policy.ZONEMD; !o.ZONEMD.Wanted() {
			o.ZONEMD = dnssec.ZONEMDNone
		}
	}
	faults := dnssec.Verify(s, o)
	if len(faults) > 0 {
		return fmt.Errorf("%d faults, the first: %s", len(faults), faults[0])
	}
	return nil
}
