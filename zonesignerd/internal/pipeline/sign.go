package pipeline

import (
	"context"
	"errors"
	"fmt"
	"time"

	"zonesigner/dnssec"
	"zonesigner/mpc"
	"zonesigner/zonesignerd/internal/agree"
)

// sign takes part in the session that all members agreed on, checks the
// whole signed zone, and certifies it.
func (z *Zone) sign(ctx context.Context, a *agree.Agreed, p *planned) error {
	if err := z.begin(&p.body); err != nil {
		return err
	}
	start := z.d.Now()
	zonemd := p.plan.Params().ZONEMD
	var digest *second
	if zonemd.Wanted() {
		digest = z.expectZONEMD(a, p)
		defer z.endZONEMD(digest)
	}
	s, err := z.signPlan(ctx, a, p.plan, p.body.Batches, p.body.Shared)
	if err == nil && zonemd.Wanted() {
		s, err = z.signZONEMD(ctx, digest, s)
	}
	if err != nil {
		return err
	}
	signed := z.d.Now()
	release, err := z.heavy(ctx)
	if err != nil {
		return err
	}
	// The signatures made here were verified by the signer, and those kept
	// from the head when it was checked; all else is checked now.
	faults := dnssec.Verify(s, dnssec.VerifyOptions{
		Keys: p.plan.Params().Keys, At: p.body.Time, ZONEMD: zonemd, Proven: func(dnssec.Check) bool { return true },
	})
	release()
	if len(faults) > 0 {
		return fmt.Errorf("%w: it has %d faults, the first: %s", ErrInvalid, len(faults), faults[0])
	}
	z.mu.Lock()
	// A refresh of a content that was adopted, not derived, makes it no more
	// our own than it was.
	own := p.version != nil || z.head != nil && z.head.Own
	z.stages.Sign = signed.Sub(start)
	z.stages.Verify = z.d.Now().Sub(signed)
	z.mu.Unlock()
	return z.certify(&Signed{
		Zone: s, Content: p.body.Content, Keys: p.body.Keys, Policy: p.body.Policy, Source: p.body.Source, Own: own,
		Cert: Certificate{Zone: z.name, Serial: s.Serial(), Source: p.body.Source, Digest: agree.Digest(s.Digest()),
			Base: p.body.Base, Manifest: p.body.Manifest, Keys: p.body.Keys, Policy: p.body.Policy, Time: p.body.Time},
	})
}

// signPlan makes the plan's signatures, with all keys, in the session that is
// agreed on, and assembles the zone. What is signed is made as it is signed: of
// a large zone it would be as large as the zone.
func (z *Zone) signPlan(ctx context.Context, a *agree.Agreed, plan *dnssec.Plan, batches []Batch, shared bool) (*dnssec.SignedZone, error) {
	if len(batches) == 0 {
		return plan.Assemble(nil) // a plan that keeps every signature
	}
	session := mpc.SignSession{ID: a.Session, Set: a.Proposal.Members, Stripe: a.Proposal.Proposer, Agreed: true}
	items := make([][]int, len(batches))
	for i, b := range batches {
		own := plan.ItemsOf(string(b.Key))
		items[i] = own
		session.Requests = append(session.Requests, mpc.SignRequest{Key: b.Key, Manifest: plan.Digest(), Tuples: b.Tuples, Count: len(own),
			AppendMessage: func(dst []byte, i int) []byte { return plan.AppendMessage(dst, own[i]) }})
	}
	var out [][]mpc.Signature
	var err error
	if shared && z.d.Sharing != nil {
		out, err = z.d.Sharing.Sign(ctx, a, session.Requests)
	} else {
		out, err = z.signAlone(ctx, session)
	}
	if err != nil {
		return nil, fmt.Errorf("signing: %w", err)
	}
	return plan.AssembleEach(plan.Len(), func(item int) []byte {
		for i, own := range items { // each in order
			if len(own) > 0 && own[0] == item {
				sig := out[i][0][:]
				items[i], out[i] = own[1:], out[i][1:]
				return sig
			}
		}
		return nil
	})
}

// signAlone runs a session for this zone.
func (z *Zone) signAlone(ctx context.Context, session mpc.SignSession) ([][]mpc.Signature, error) {
	net, err := z.d.Transport.Open(session.ID, session.Set)
	if err != nil {
		return nil, err
	}
	defer net.Close()
	ctx, alive, stop := Watchdog(ctx, z.d.Timeout)
	defer stop()
	return z.d.Signer.Sign(ctx, net, session, func(int) { alive() })
}

// Watchdog returns a context that ends when alive was not called for limit.
func Watchdog(parent context.Context, limit time.Duration) (ctx context.Context, alive func(), stop func()) {
	ctx, cancel := context.WithCancelCause(parent)
	t := time.AfterFunc(limit, func() { cancel(errNoProgress) })
	return ctx, func() { t.Reset(limit) }, func() { t.Stop(); cancel(nil) }
}

var errNoProgress = errors.New("no progress in the session")

func (z *Zone) policyNow() Policy {
	z.mu.Lock()
	defer z.mu.Unlock()
	return z.policy
}
