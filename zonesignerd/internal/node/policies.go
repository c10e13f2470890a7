package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"zonesigner/keystore"
	"zonesigner/mpc"
	"zonesigner/zonesignerd/config"
	"zonesigner/zonesignerd/internal/agree"
	"zonesigner/zonesignerd/internal/api"
	"zonesigner/zonesignerd/internal/pipeline"
)

// AddZone implements api.Backend.
func (n *Node) AddZone(ctx context.Context, a api.AddZone) (*api.Request, error) {
	p, err := config.ParsePolicy(a.File, []byte(a.Policy))
	if err != nil {
		return nil, api.Errorf(api.CodeUsage, "%w", err)
	}
	n.changes.Lock()
	defer n.changes.Unlock()
	if err := n.keys.allowedBy(p); err != nil {
		return nil, err
	}
	if old := n.zone(p.Zone); old != nil {
		if err := n.changePolicy(ctx, old, p, []byte(a.Policy)); err != nil {
			return nil, err
		}
		return n.added(p.Zone), nil
	}
	if err := n.store.Put(bucketZones, p.Zone, []byte(a.Policy)); err != nil {
		return nil, err
	}
	if err := n.startZone(p, []byte(a.Policy)); err != nil {
		if e := n.store.Delete(bucketZones, p.Zone); e != nil {
			n.log.Error("zone not removed again", "zone", p.Zone, "err", e)
		}
		return nil, err
	}
	n.log.Info("zone added", "zone", p.Zone)
	n.introduce(p.Zone)
	return n.added(p.Zone), nil
}

// introduce tells the others of a zone that was just opened, and looks at its
// source.
func (n *Node) introduce(zone string) {
	for _, peer := range n.peers() {
		n.zone(zone).Hello(mpc.PartyID(peer.Name))
	}
	n.wg.Go(n.pollOnce)
}

// askOthers is how long a new zone's request waits for what the others say of
// their policies, so that its answer is not older than the question.
const askOthers = time.Second

// added is done at once here. It names the operators that have yet to add the
// same policy, as far as they said.
func (n *Node) added(name string) *api.Request {
	done := n.newRequest(api.KindZoneAdd, name)
	return n.requests.add(done.Digest, func() *api.Request {
		r := *done
		r.Asked = slices.Clone(done.Asked)
		if z := n.zone(name); z != nil {
			for _, p := range z.Status().Peers {
				if p.Policy == pipeline.PolicySame {
					r.Asked = append(r.Asked, string(p.Peer))
				} else {
					r.WaitsFor = append(r.WaitsFor, string(p.Peer))
				}
			}
		}
		if len(r.WaitsFor) > 0 && n.opt.Now().Sub(r.Since) < askOthers {
			r.State, r.Progress = api.RequestRunning, "asking the other operators"
		}
		return &r
	})
}

// changePolicy replaces a zone's policy. What is this operator's alone comes
// into force at once; what operators agree on is staged, and comes into force
// when all have staged it. n.changes is held.
func (n *Node) changePolicy(ctx context.Context, z *zone, p *config.Policy, text []byte) error {
	if err := checkSource(p); err != nil {
		return api.Errorf(api.CodeUsage, "%w", err)
	}
	if p.Digest() == z.policy().Digest() {
		ctx, cancel := context.WithTimeout(ctx, drainTime)
		defer cancel()
		return n.reopen(ctx, z, p, text)
	}
	if err := n.store.Put(bucketStaged, p.Zone, text); err != nil {
		return err
	}
	z.Stage(policyOf(p))
	return nil
}

// drainTime is how long a command waits for a zone's session to end. The
// command is answered within api's actTime.
const drainTime = time.Minute

// reopen opens a zone anew, with the source and the publisher of p, when the
// session that it is in has ended; should that not be before ctx ends, nothing
// is changed. Should they not open, the old ones stay. n.changes is held.
func (n *Node) reopen(ctx context.Context, z *zone, p *config.Policy, text []byte) error {
	if err := z.drain(ctx); err != nil {
		return err
	}
	was := z.given.Load()
	if err := n.keepPolicy(p.Zone, text); err != nil {
		z.Resume()
		return err
	}
	z.stop()
	z.SayGone() // so that the others say again to the new one what they said to this
	if err := n.startZone(p, text); err != nil {
		same := *p
		same.Source, same.Publish = z.opened.Source, z.opened.Publish
		return errors.Join(err, n.keepPolicy(p.Zone, was.text), n.startZone(&same, was.text))
	}
	n.introduce(p.Zone)
	return nil
}

// drain is Drain with an error that says what to do.
func (z *zone) drain(ctx context.Context) error {
	if err := z.Drain(ctx); err != nil {
		return &api.Error{Code: api.CodeFailure, Message: err.Error(), Hint: "nothing was changed; run the command again later"}
	}
	return nil
}

// keepPolicy makes text the policy that a restart finds in force, and none
// staged.
func (n *Node) keepPolicy(zone string, text []byte) error {
	return n.store.Update(func(t *keystore.Tx) error {
		if err := t.Put(bucketZones, zone, text); err != nil {
			return err
		}
		return t.Delete(bucketStaged, zone)
	})
}

// switched puts the staged policy of a zone in force, after the zone did.
func (n *Node) switched(name string, digest agree.Digest) {
	err := func() error {
		text, err := n.store.Get(bucketStaged, name)
		if err != nil {
			return err
		}
		p, err := config.ParsePolicy("staged policy of "+name, text)
		if err != nil {
			return err
		}
		if agree.Digest(p.Digest()) != digest {
			return fmt.Errorf("policy %s was staged meanwhile", agree.Digest(p.Digest()))
		}
		if err := n.keepPolicy(name, text); err != nil {
			return err
		}
		z := n.zone(name)
		if z == nil {
			return nil
		}
		z.given.Store(&given{p, text})
		if p.Source != z.opened.Source || p.Publish != z.opened.Publish {
			n.wg.Go(func() { n.follow(z) }) // the zone itself is what called
		}
		return nil
	}()
	if err != nil {
		n.log.Error("policy not kept", "zone", name, "err", err)
	}
}

// follow opens a zone anew, whose policy in force has another source or
// publisher.
func (n *Node) follow(z *zone) {
	n.changes.Lock()
	defer n.changes.Unlock()
	now := z.given.Load()
	if n.zone(z.Name()) != z { // it was opened anew or removed meanwhile
		return
	}
	if err := n.reopen(n.ctx, z, now.policy, now.text); err != nil && n.ctx.Err() == nil {
		n.log.Error("source and publisher of the policy in force not opened, the old ones stay", "zone", z.Name(), "err", err)
	}
}

// RemoveZone implements api.Backend. Keys stay in the keystore.
func (n *Node) RemoveZone(ctx context.Context, r api.RemoveZone) (*api.Request, error) {
	name := dotted(r.Zone)
	n.changes.Lock()
	defer n.changes.Unlock()
	z := n.zone(name)
	if z == nil {
		return nil, notFound(r.Zone)
	}
	ctx, cancel := context.WithTimeout(ctx, drainTime)
	defer cancel()
	if err := z.drain(ctx); err != nil {
		return nil, err
	}
	err := n.store.Update(func(t *keystore.Tx) error {
		if err := t.Delete(bucketZones, name); err != nil {
			return err
		}
		return t.Delete(bucketStaged, name)
	})
	if err != nil {
		z.Resume()
		return nil, err
	}
	n.mu.Lock()
	delete(n.zones, name)
	n.mu.Unlock()
	z.stop()
	if err := errors.Join(z.Forget(), n.disapprove(name)); err != nil {
		return nil, err
	}
	z.SayGone()
	n.log.Info("zone removed", "zone", name)
	return n.done(api.KindZoneRemove, name), nil
}
