package node

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math"
	"os"
	"time"

	"zonesigner/dnssec"
	"zonesigner/knot"
	"zonesigner/zonesignerd/internal/pipeline"
)

// knotPublisher serves a zone through the public Knot's control socket, one
// transaction a version, or, where most of it is new and the daemon is Knot's
// master, by zone transfer.
type knotPublisher struct {
	ctl     *knot.Control
	primary *knot.Primary // nil: all goes through the control socket
	zone    string
	store   pipeline.Store // remembers what was pushed under which serial
	log     *slog.Logger

	most     int           // records that are pushed where there is a primary
	patience time.Duration // until Knot asks for a zone that it is told to transfer
}

// mostPushed is how many records go through the control socket at most: Knot
// takes 8 to 13 µs of CPU for each there, 2 µs in a transfer of the whole zone.
const mostPushed = 20_000

// transferPatience is how long Knot may take until it asks for a zone: it may be
// busy with others.
const transferPatience = 10 * time.Second

// Publish implements pipeline.Publisher. The difference is sent when the
// server still has what it was given last; all of it otherwise. A server that
// holds something else under our serial or a later one is made to forget it
// first: nobody but this daemon writes there.
func (p *knotPublisher) Publish(ctx context.Context, s, previous *dnssec.SignedZone) error {
	st, err := p.ctl.ZoneStatus(ctx, p.zone)
	if err != nil {
		return err
	}
	if !st.Exists {
		return fmt.Errorf("zone %s is not configured in the public knot at %s", p.zone, p.ctl.Path())
	}
	digest := s.Digest()
	pushed := binary.BigEndian.AppendUint32(nil, s.Serial())
	pushed = append(pushed, digest[:]...)
	if st.HasSerial && st.Serial == s.Serial() {
		last, err := p.store.Get(p.key())
		if err != nil {
			return err
		}
		if bytes.Equal(last, pushed) {
			p.offer(s, nil)
			return nil // a restart of ours: it serves this already
		}
		if err := p.forget(ctx, st); err != nil {
			return err
		}
		st.HasSerial = false
	}
	if !st.HasSerial || previous != nil && st.Serial != previous.Serial() {
		previous = nil
	}
	// Before the push: a server with that serial then has this content.
	if err := p.store.Put(p.key(), pushed); err != nil {
		return err
	}
	err = p.apply(ctx, s, previous)
	switch {
	case errors.Is(err, knot.ErrSerial):
		if err := p.forget(ctx, st); err != nil {
			return err
		}
		err = p.apply(ctx, s, nil)
	case previous != nil && errors.Is(err, knot.ErrDiffers):
		err = p.apply(ctx, s, nil) // the server does not have what we thought
	}
	if err == nil {
		p.offer(s, nil)
	}
	return err
}

// offer gives s to the public Knot whenever it asks; asked, which may be nil, is
// told. Before a push is through Knot is offered the version before it: it then
// does not take part of it by another way.
func (p *knotPublisher) offer(s *dnssec.SignedZone, asked func()) {
	if p.primary != nil {
		p.primary.Offer(p.zone, knot.Offer{Serial: s.Serial(), Records: s.Wire(), Asked: asked})
	}
}

func (p *knotPublisher) retract() {
	if p.primary != nil {
		p.primary.Retract(p.zone)
	}
}

// transfer has the public Knot take all of s from here.
func (p *knotPublisher) transfer(ctx context.Context, s *dnssec.SignedZone) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	unasked := time.AfterFunc(p.patience, func() { cancel(fmt.Errorf("it did not ask for it within %s", p.patience)) })
	defer unasked.Stop()
	p.offer(s, func() { unasked.Stop() })
	err := p.ctl.Transfer(ctx, p.zone, s.Serial(), s.Len()+s.Signatures())
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

func (p *knotPublisher) key() string { return "pushed/" + p.zone }

func (p *knotPublisher) forget(ctx context.Context, st knot.Status) error {
	p.log.Warn("the public knot holds something that this daemon did not give it; it is replaced", "zone", p.zone, "serial", st.Serial)
	p.retract() // or it would come back
	return p.ctl.Purge(ctx, p.zone)
}

// apply has the public Knot serve s in place of previous, or, with nil, of
// whatever it serves.
func (p *knotPublisher) apply(ctx context.Context, s, previous *dnssec.SignedZone) error {
	if p.primary != nil {
		change, all := changes(s, previous, p.most)
		if all {
			return p.ctl.Apply(ctx, p.zone, change)
		}
		err := p.transfer(ctx, s)
		if err == nil || ctx.Err() != nil {
			return err
		}
		p.log.Warn("the public knot does not transfer the zone; it is pushed", "zone", p.zone, "err", err)
		p.retract()
	}
	change, _ := changes(s, previous, math.MaxInt)
	return p.ctl.Apply(ctx, p.zone, change)
}

// changes is what turns previous into s, unless it is more than most records.
func changes(s, previous *dnssec.SignedZone, most int) (change knot.Change, all bool) {
	change.Full = previous == nil
	for c := range s.Changes(previous) {
		if most--; most < 0 {
			return change, false
		}
		r := knot.Record{Owner: c.Owner, TTL: c.TTL, Type: c.Type, Data: c.Data}
		if c.Remove {
			change.Remove = append(change.Remove, r)
		} else {
			change.Add = append(change.Add, r)
		}
	}
	return change, true
}

// Withdraw implements pipeline.Publisher.
func (p *knotPublisher) Withdraw(ctx context.Context) error {
	p.retract() // or Knot would take it again
	return p.ctl.Purge(ctx, p.zone)
}

// filePublisher writes the signed zone to a file for a name server, which is
// either the old one or the new one at any moment.
type filePublisher struct{ path string }

// Publish implements pipeline.Publisher.
func (p *filePublisher) Publish(_ context.Context, s, _ *dnssec.SignedZone) error {
	return pipeline.WriteOutput(p.path, func(w io.Writer) error {
		_, err := s.WriteTo(w)
		return err
	})
}

// Withdraw implements pipeline.Publisher.
func (p *filePublisher) Withdraw(context.Context) error {
	err := os.Remove(p.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
