package pipeline

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"io"
	"time"

	"zonesigner/dnssec"
	"zonesigner/mpc"
	"zonesigner/zonesignerd/internal/agree"
)

// Head takes in where a peer stands. Its proof counts certificate by
// certificate, each with its own signer's signature.
func (z *Zone) Head(m *agree.Message) error {
	var h Head
	if err := m.Decode(&h); err != nil {
		return err
	}
	group := z.d.Group()
	if len(h.Proof) > group.N() {
		return fmt.Errorf("operator %s sends %d certificates for one zone", m.From, len(h.Proof))
	}
	for _, raw := range h.Proof {
		c, err := agree.Open(z.d.Identity, group.Digest, raw)
		if err != nil {
			return err
		}
		if c.Type != TypeCertificate {
			return fmt.Errorf("operator %s sends a %s where a certificate belongs", m.From, c.Type)
		}
		var cert Certificate
		if err := c.Decode(&cert); err != nil {
			return err
		}
		if cert.Zone != z.name {
			return fmt.Errorf("operator %s sends a certificate for %q under zone %s", m.From, cert.Zone, z.name)
		}
		if err := z.count(c.From, &cert, raw); err != nil {
			return err
		}
	}
	h.Proof = nil
	z.mu.Lock()
	old := z.heads[m.From]
	z.heads[m.From] = &h
	z.mu.Unlock()
	if old == nil || old.Policy != h.Policy {
		z.sayHead(m.From) // it may have added the zone after we spoke last
	}
	z.switchPolicy()
	return nil
}

// missed finds a certified, or certifiable, signed zone newer than ours, and
// who can give it. z.mu is held.
func (z *Zone) missed(now time.Time) (cert *Certificate, from []mpc.PartyID) {
	self := z.d.Identity.Self()
	for digest, by := range z.certs {
		if _, ours := by[self]; ours || now.Before(z.fetchAt[digest]) {
			continue
		}
		// Its own certificate may be what is missing to the quorum.
		if len(by)+1 < z.quorum() {
			continue
		}
		// A session of our own is likely to be about to end with it.
		if len(by) < z.quorum() && !z.busy.IsZero() {
			continue
		}
		var c Certificate
		var holders []mpc.PartyID
		for id, have := range by {
			c = have.Certificate
			if z.d.Ready(id) {
				holders = append(holders, id)
			}
		}
		if z.head != nil && !serialLess(z.head.Cert.Serial, c.Serial) || len(holders) == 0 {
			continue
		}
		if cert == nil || serialLess(cert.Serial, c.Serial) {
			cert, from = &c, holders
		}
	}
	return cert, from
}

// catchUp fetches what was missed, checks all of it, and is level again. No
// session is needed.
func (z *Zone) catchUp(ctx context.Context) {
	now := z.d.Now()
	z.mu.Lock()
	busy := !z.busy.IsZero()
	cert, from := z.missed(now)
	if cert != nil {
		if busy { // give the session that makes it a moment to end
			z.mu.Unlock()
			time.AfterFunc(time.Second, z.Wake)
			return
		}
		z.fetchAt[cert.Digest] = now.Add(5 * time.Second)
		if len(z.fetchAt) > 4*maxCertified {
			clear(z.fetchAt)
		}
	}
	z.mu.Unlock()
	if cert == nil {
		return
	}
	var err error
	for _, peer := range from {
		if err = z.fetch(ctx, peer, cert); err == nil {
			z.solved("catch up")
			return
		}
	}
	if ctx.Err() == nil {
		z.problem("catch up", err)
		time.AfterFunc(5*time.Second, z.Wake)
	}
}

// maxZone bounds a signed zone that is fetched, in bytes.
const maxZone = 4 << 30

const piece = 1 << 20

// fetch gets the signed zone of cert from peer and takes it over.
func (z *Zone) fetch(ctx context.Context, peer mpc.PartyID, cert *Certificate) error {
	start := z.d.Now()
	f := Fetch{Zone: z.name, Digest: cert.Digest, Nonce: make([]byte, 16)}
	_, _ = rand.Read(f.Nonce)
	net, err := z.d.Transport.Open(f.session(z.d.Identity.Self(), peer), []mpc.PartyID{z.d.Identity.Self(), peer})
	if err != nil {
		return err
	}
	defer net.Close()
	if _, err := z.d.Say(TypeFetch, f, peer); err != nil {
		return err
	}
	ctx, alive, stop := Watchdog(ctx, z.d.Timeout)
	defer stop()
	head, err := net.Recv(ctx, peer, "size")
	if err != nil {
		return fmt.Errorf("fetching serial %d: %w", cert.Serial, err)
	}
	if len(head) != 8 || binary.BigEndian.Uint64(head) > maxZone {
		return &mpc.CheatError{Parties: []mpc.PartyID{peer}, What: "it announced a signed zone of impossible size"}
	}
	size := binary.BigEndian.Uint64(head)
	data := make([]byte, 0, min(size, 16*piece))
	for i := 0; uint64(len(data)) < size; i++ {
		b, err := net.Recv(ctx, peer, fmt.Sprintf("piece/%d", i))
		if err != nil {
			return fmt.Errorf("fetching serial %d: %w", cert.Serial, err)
		}
		if len(b) == 0 || uint64(len(data)+len(b)) > size {
			return &mpc.CheatError{Parties: []mpc.PartyID{peer}, What: "it sent more of a signed zone than it announced"}
		}
		data = append(data, b...)
		alive()
	}
	release, err := z.heavy(ctx)
	if err != nil {
		return err
	}
	defer release()
	zone, err := dnssec.Load(bytes.NewReader(data))
	if err != nil {
		return fmt.Errorf("signed zone of operator %s: %w", peer, err)
	}
	if agree.Digest(zone.Digest()) != cert.Digest {
		return &mpc.CheatError{Parties: []mpc.PartyID{peer}, What: "its signed zone does not have the digest that was certified"}
	}
	if zone.Apex() != z.apex || zone.Serial() != cert.Serial {
		return fmt.Errorf("signed zone of operator %s is %s serial %d, certified was serial %d", peer, zone.Apex(), zone.Serial(), cert.Serial)
	}
	// The certificate's own time: signatures may have run out since, which
	// is no reason not to build on them.
	if err := z.check(zone, cert.Time); err != nil {
		return fmt.Errorf("signed zone of operator %s, serial %d: %w", peer, cert.Serial, err)
	}
	s := &Signed{Zone: zone, Cert: *cert, Keys: keysDigest(z.d.Keys(z.name)), Policy: z.policyNow().Digest, Content: agree.Digest(zone.Content().ContentDigest()), Source: zone.SourceSerial()}
	z.log.Info("caught up", "serial", cert.Serial, "peer", peer, "bytes", size, "seconds", z.d.Now().Sub(start).Seconds())
	return z.adopt(s)
}

// adopt takes over a signed zone that was checked in full. Content that is
// our own is certified too, and published; other content only serves as the
// base of what comes next.
func (z *Zone) adopt(s *Signed) error {
	z.mu.Lock()
	derived := z.head != nil && z.head.Own && z.head.Content == s.Content
	for _, v := range z.versions {
		derived = derived || v.digest == s.Content
	}
	s.Own = derived
	by := z.certs[s.Cert.Digest]
	enough := len(by) >= z.quorum()
	if enough {
		s.Proof = by
	} else if z.head != nil && s.Cert.Base != z.head.Cert.Digest {
		derived = false // it is not on our base: not ours to complete
	}
	z.mu.Unlock()
	switch {
	case enough:
		return z.promote(s)
	case derived:
		return z.certify(s)
	}
	return fmt.Errorf("serial %d has too few certificates and content that is not ours", s.Cert.Serial)
}

// Fetch serves a peer that asks for a signed zone that we have.
func (z *Zone) Fetch(ctx context.Context, m *agree.Message) error {
	var f Fetch
	if err := m.Decode(&f); err != nil {
		return err
	}
	z.mu.Lock()
	var s *Signed
	for _, have := range []*Signed{z.head, z.candidate} {
		if have != nil && have.Cert.Digest == f.Digest {
			s = have
		}
	}
	z.mu.Unlock()
	if s == nil {
		return fmt.Errorf("operator %s asks for a signed zone that is not here", m.From)
	}
	self := z.d.Identity.Self()
	net, err := z.d.Transport.Open(f.session(m.From, self), []mpc.PartyID{self, m.From})
	if err != nil {
		return err
	}
	defer net.Close()
	var buf bytes.Buffer
	if err := s.Zone.Save(&buf); err != nil {
		return err
	}
	ctx, alive, stop := Watchdog(ctx, z.d.Timeout)
	defer stop()
	if err := net.Send(ctx, m.From, "size", binary.BigEndian.AppendUint64(nil, uint64(buf.Len()))); err != nil {
		return err
	}
	b := make([]byte, piece)
	for i := 0; ; i++ {
		n, err := io.ReadFull(&buf, b)
		if n > 0 {
			if err := net.Send(ctx, m.From, fmt.Sprintf("piece/%d", i), b[:n]); err != nil {
				return err
			}
			alive()
		}
		if err != nil {
			return nil
		}
	}
}
