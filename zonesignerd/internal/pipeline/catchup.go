package pipeline

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
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
	if len(h.Proof) > group.N()+1 {
		return fmt.Errorf("operator %s sends %d certificates for one zone", m.From, len(h.Proof))
	}
	for _, raw := range h.Proof {
		c, err := agree.Open(z.d.Identity, group.Digest, raw)
		if err != nil {
			continue // of another epoch of the group, perhaps: it counts for nothing
		}
		if c.Type != TypeCertificate {
			return fmt.Errorf("operator %s sends a %s where a certificate belongs", m.From, c.Type)
		}
		var cert Certificate
		if err := c.Decode(&cert); err != nil {
			return err
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
	if old == nil || old.Policy != h.Policy || z.ahead(&h) {
		z.sayHead(m.From) // it may have added the zone after we spoke last
	}
	z.switchPolicy()
	return nil
}

// Anew forgets what a peer said: it greets us, and says again what it has. A
// zone that it does not name then is not there any more.
func (z *Zone) Anew(peer mpc.PartyID) {
	z.mu.Lock()
	defer z.mu.Unlock()
	delete(z.heads, peer)
}

// ahead reports whether our head is newer than a peer's.
func (z *Zone) ahead(h *Head) bool {
	z.mu.Lock()
	defer z.mu.Unlock()
	return z.head != nil && (h.Digest.IsZero() || serialLess(h.Serial, z.head.Cert.Serial))
}

// missed finds a certified, or certifiable, signed zone newer than ours, and
// who can give it; one with enough certificates first. z.mu is held.
func (z *Zone) missed(now time.Time) (cert *Certificate, from []mpc.PartyID) {
	self := z.d.Identity.Self()
	certified := false
	for c, by := range z.certs {
		if z.candidate != nil && z.candidate.Cert == c {
			continue // it is here
		}
		enough := len(by) >= z.quorum()
		// With fewer, ours may be what is missing, if it is the next one after
		// our head and we come to the same. It is not when it is among them:
		// an older state was put back here since.
		if !enough && (by[self] != nil || !z.follows(&c)) {
			continue
		}
		// A session of our own is likely to be about to end with it.
		if !enough && !z.busy.IsZero() {
			continue
		}
		// Who says that it has it comes before who certified it: that one's
		// state may have been put back since.
		var holders, others []mpc.PartyID
		for _, id := range z.d.Group().Parties {
			if id == self || !z.d.Ready(id) || now.Before(z.fetches[id].until) {
				continue
			}
			if h := z.heads[id]; h != nil && h.Digest == c.Digest {
				holders = append(holders, id)
			} else if by[id] != nil {
				others = append(others, id)
			}
		}
		holders = append(holders, others...)
		if !z.before(&c) || len(holders) == 0 {
			continue
		}
		if cert == nil || enough && !certified || enough == certified && serialLess(cert.Serial, c.Serial) {
			cert, from, certified = &c, holders, enough
		}
	}
	return cert, from
}

// follows reports whether c was planned on our head. z.mu is held.
func (z *Zone) follows(c *Certificate) bool {
	if z.head == nil {
		return c.Base.IsZero()
	}
	return c.Base == z.head.Cert.Digest
}

// pause is how long a peer is not asked again after what it gave was no use.
type pause struct {
	until time.Time
	next  time.Duration
}

func (p pause) longer(now time.Time) pause {
	d := max(time.Second, min(p.next, 5*time.Minute))
	return pause{until: now.Add(d), next: 2 * d}
}

// catchUp fetches what was missed, beside the zone's other work. What comes is
// checked in full there and adopted by adoptDue. No session is needed.
func (z *Zone) catchUp(ctx context.Context) {
	z.mu.Lock()
	busy := !z.busy.IsZero()
	cert, from := z.missed(z.d.Now())
	if cert == nil || busy || z.loads || z.got != nil {
		z.mu.Unlock()
		if cert != nil && busy { // give the session that makes it a moment to end
			time.AfterFunc(time.Second, z.Wake)
		}
		return
	}
	z.loads = true
	z.mu.Unlock()
	z.bg.Go(func() {
		s, err := z.fetchFrom(ctx, from, cert)
		z.mu.Lock()
		z.loads, z.got = false, s
		z.mu.Unlock()
		if err != nil && ctx.Err() == nil {
			z.problem("catch up", err)
		}
		z.Wake()
	})
}

// fetchFrom asks the holders one after the other. One whose answer was no use
// is not asked again for a time that doubles.
func (z *Zone) fetchFrom(ctx context.Context, holders []mpc.PartyID, cert *Certificate) (s *Signed, err error) {
	for _, peer := range holders {
		if s, err = z.fetch(ctx, peer, cert); err == nil {
			return s, nil
		}
		if ctx.Err() != nil {
			return nil, err
		}
		z.mu.Lock()
		z.fetches[peer] = z.fetches[peer].longer(z.d.Now())
		again := z.fetches[peer].until.Sub(z.d.Now())
		z.mu.Unlock()
		time.AfterFunc(again, z.Wake)
	}
	return nil, err
}

// adoptDue takes over what was fetched, if it is still what is missing.
func (z *Zone) adoptDue() {
	z.mu.Lock()
	s := z.got
	if s == nil || !z.busy.IsZero() {
		z.mu.Unlock()
		return // woken when the session ends
	}
	z.got = nil
	wanted := z.before(&s.Cert)
	z.mu.Unlock()
	if !wanted {
		return
	}
	if err := z.adopt(s); err != nil {
		z.mu.Lock()
		for peer := range z.certs[s.Cert] {
			z.fetches[peer] = z.fetches[peer].longer(z.d.Now())
		}
		z.mu.Unlock()
		z.problem("catch up", err)
		time.AfterFunc(time.Second, z.Wake)
		return
	}
	z.mu.Lock()
	clear(z.fetches)
	z.mu.Unlock()
	z.solved("catch up")
}

// maxZone bounds a signed zone that is fetched, in bytes, where nothing is
// known of its size.
const maxZone = 4 << 30

// largest is what a signed zone may have in bytes, by what this operator has
// of it: a peer that announces more would only fill the memory.
func (z *Zone) largest() uint64 {
	size := z.Size()
	if size == 0 {
		return maxZone
	}
	return min(maxZone, 64<<20+uint64(size)<<12)
}

// Size is how many records or RRsets the zone has, as far as is known: the
// order of its magnitude.
func (z *Zone) Size() int {
	z.mu.Lock()
	defer z.mu.Unlock()
	return z.size()
}

// size is Size with z.mu held.
func (z *Zone) size() int {
	size := 0
	for _, v := range z.versions {
		size = max(size, v.records)
	}
	if z.head != nil {
		size = max(size, z.head.Zone.Len())
	}
	return size
}

const piece = 1 << 20

// slowest is how many bytes a second a peer must give at least.
const slowest = 256 << 10

// spool is a file without a name for what is fetched: in memory it would be as
// large as the zone again.
func (z *Zone) spool() (*os.File, error) {
	if err := z.makeDir(); err != nil {
		return nil, err
	}
	f, err := os.CreateTemp(z.dir(), ".fetched-")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// fetch gets the signed zone of cert from peer and checks all of it.
func (z *Zone) fetch(ctx context.Context, peer mpc.PartyID, cert *Certificate) (*Signed, error) {
	start := z.d.Now()
	f := Fetch{Zone: z.name, Digest: cert.Digest, Nonce: make([]byte, 16)}
	_, _ = rand.Read(f.Nonce)
	net, err := z.d.Transport.Open(f.session(z.d.Identity.Self(), peer), []mpc.PartyID{z.d.Identity.Self(), peer})
	if err != nil {
		return nil, err
	}
	defer net.Close()
	if _, err := z.d.Say(TypeFetch, f, peer); err != nil {
		return nil, err
	}
	ctx, alive, stop := Watchdog(ctx, z.d.Timeout)
	defer stop()
	head, err := net.Recv(ctx, peer, "size")
	if err != nil {
		return nil, fmt.Errorf("fetching serial %d: %w", cert.Serial, err)
	}
	if len(head) == 0 {
		return nil, fmt.Errorf("operator %s does not have serial %d at hand", peer, cert.Serial)
	}
	if len(head) != 8 || binary.BigEndian.Uint64(head) > z.largest() {
		return nil, &mpc.CheatError{Parties: []mpc.PartyID{peer}, What: "it announced a signed zone of impossible size"}
	}
	size := binary.BigEndian.Uint64(head)
	ctx, cancel := context.WithTimeout(ctx, z.d.Timeout+time.Duration(size/slowest)*time.Second)
	defer cancel()
	data, err := z.spool()
	if err != nil {
		return nil, fmt.Errorf("fetching serial %d: %w", cert.Serial, err)
	}
	defer data.Close()
	for i, got := 0, uint64(0); got < size; i++ {
		b, err := net.Recv(ctx, peer, fmt.Sprintf("piece/%d", i))
		if err != nil {
			return nil, fmt.Errorf("fetching serial %d: %w", cert.Serial, err)
		}
		if want := min(piece, size-got); uint64(len(b)) != want {
			return nil, &mpc.CheatError{Parties: []mpc.PartyID{peer}, What: fmt.Sprintf("it sent a piece of %d bytes where %d belong", len(b), want)}
		}
		if _, err := data.Write(b); err != nil {
			return nil, fmt.Errorf("fetching serial %d: %w", cert.Serial, err)
		}
		got += uint64(len(b))
		alive()
	}
	if _, err := data.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	release, err := z.heavy(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	zone, err := dnssec.LoadSharing(data, z.Certified().zone())
	if err != nil {
		return nil, fmt.Errorf("signed zone of operator %s: %w", peer, err)
	}
	if agree.Digest(zone.Digest()) != cert.Digest {
		return nil, &mpc.CheatError{Parties: []mpc.PartyID{peer}, What: "its signed zone does not have the digest that was certified"}
	}
	if zone.Apex() != z.apex || zone.Serial() != cert.Serial || zone.SourceSerial() != cert.Source {
		return nil, fmt.Errorf("signed zone of operator %s is %s serial %d from %d, certified was serial %d from %d",
			peer, zone.Apex(), zone.Serial(), zone.SourceSerial(), cert.Serial, cert.Source)
	}
	// The certificate's own time: signatures may have run out since, which
	// is no reason not to build on them.
	if err := z.check(zone, cert); err != nil {
		return nil, fmt.Errorf("signed zone of operator %s, serial %d: %w", peer, cert.Serial, err)
	}
	s := &Signed{Zone: zone, Cert: *cert, Keys: cert.Keys, Policy: cert.Policy, Content: agree.Digest(zone.Content().ContentDigest()), Source: cert.Source}
	z.log.Info("caught up", "serial", cert.Serial, "peer", peer, "bytes", size, "seconds", z.d.Now().Sub(start).Seconds())
	return s, nil
}

// adopt takes over a signed zone that was checked in full. With certificates
// of n-t operators it is the head, and published where its content is our own.
// With fewer it needs ours, which it gets only if we come to the same manifest
// from our own content.
func (z *Zone) adopt(s *Signed) error {
	z.mu.Lock()
	by := z.certs[s.Cert]
	enough := len(by) >= z.quorum()
	if enough {
		s.Proof = maps.Clone(by)
	}
	s.Own = z.find(s.Content, s.Source) != nil || z.head != nil && z.head.Own && z.head.Content == s.Content
	z.mu.Unlock()
	if enough {
		return z.promote(s)
	}
	if err := z.rederive(s); err != nil {
		return fmt.Errorf("serial %d has too few certificates, and ours cannot be given: %w", s.Cert.Serial, err)
	}
	s.Own = true
	return z.certify(s)
}

// rederive comes to the manifest of s, and to s, from what this operator has
// itself, as if it had been proposed now.
func (z *Zone) rederive(s *Signed) error {
	z.mu.Lock()
	head, lastT, policy := z.head, z.lastT, z.policy
	var content *dnssec.Zone
	if v := z.find(s.Content, s.Source); v != nil {
		content = v.zone
	}
	z.mu.Unlock()
	defer z.handle()()
	body := &Proposal{Source: s.Source, Content: s.Content, Base: s.Cert.Base, Serial: s.Cert.Serial, Time: s.Cert.Time,
		Manifest: s.Cert.Manifest, Keys: s.Cert.Keys, Policy: s.Cert.Policy}
	now := z.d.Now()
	switch {
	case head == nil && !body.Base.IsZero(), head != nil && head.Cert.Digest != body.Base:
		return errors.New("it builds on another signed zone than ours")
	case body.Time < lastT || int64(body.Time) > now.Unix()+int64(z.d.ClockBound/time.Second):
		return errors.New("its time is not between that of the last signed zone and now")
	}
	if z.holes.noDerivation {
		return nil
	}
	if content == nil && head != nil && head.Content == s.Content {
		content = head.Zone.Content()
	}
	if content == nil {
		return errors.New("its content is not ours")
	}
	plan, err := z.plan(content, body, head, policy, z.d.Keys(z.name))
	if err != nil {
		return err
	}
	if ours := agree.Digest(plan.Digest()); ours != body.Manifest {
		return fmt.Errorf("its manifest %s differs from ours, %s", body.Manifest, ours)
	}
	if err := z.made(plan, s.Zone); err != nil {
		return err
	}
	return z.standBy(body)
}

// made reports why s is not what the plan, and then the plan of its ZONEMD
// record, make.
func (z *Zone) made(plan *dnssec.Plan, s *dnssec.SignedZone) error {
	if plan.Params().ZONEMD.Wanted() {
		second, err := plan.PlanZONEMD(s.Draft())
		if err != nil {
			return err
		}
		if !second.Matches(s) {
			return errors.New("its ZONEMD record is not the one that follows from it")
		}
		s = s.Draft()
	}
	if !plan.Matches(s) {
		return errors.New("it is not what its manifest says")
	}
	return nil
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
	busy := z.serving[m.From]
	z.serving[m.From] = true
	z.mu.Unlock()
	if busy {
		return fmt.Errorf("operator %s asks for another signed zone while it is given one", m.From)
	}
	defer func() {
		z.mu.Lock()
		delete(z.serving, m.From)
		z.mu.Unlock()
	}()
	self := z.d.Identity.Self()
	net, err := z.d.Transport.Open(f.session(m.From, self), []mpc.PartyID{self, m.From})
	if err != nil {
		return err
	}
	defer net.Close()
	if s == nil {
		return net.Send(ctx, m.From, "size", nil)
	}
	file, err := os.Open(z.path(s)) // it was kept there before anybody heard of it
	if err != nil {
		return errors.Join(err, net.Send(ctx, m.From, "size", nil))
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return errors.Join(err, net.Send(ctx, m.From, "size", nil))
	}
	ctx, alive, stop := Watchdog(ctx, z.d.Timeout)
	defer stop()
	if err := net.Send(ctx, m.From, "size", binary.BigEndian.AppendUint64(nil, uint64(info.Size()))); err != nil {
		return err
	}
	b := make([]byte, piece)
	for i := 0; ; i++ {
		n, err := io.ReadFull(file, b)
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
