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
	"os"

	"zonesigner/dnssec"
	"zonesigner/knot"
	"zonesigner/zonesignerd/internal/pipeline"
)

// knotPublisher serves a zone through the public Knot's control socket, one
// transaction a version.
type knotPublisher struct {
	ctl   *knot.Control
	zone  string
	store pipeline.Store // remembers what was pushed under which serial
	log   *slog.Logger
}

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
	return err
}

func (p *knotPublisher) key() string { return "pushed/" + p.zone }

func (p *knotPublisher) forget(ctx context.Context, st knot.Status) error {
	p.log.Warn("the public knot holds something that this daemon did not give it; it is replaced", "zone", p.zone, "serial", st.Serial)
	return p.ctl.Purge(ctx, p.zone)
}

func (p *knotPublisher) apply(ctx context.Context, s, previous *dnssec.SignedZone) error {
	change := knot.Change{Full: previous == nil}
	for c := range s.Changes(previous) {
		r := knot.Record{Owner: c.Owner, TTL: c.TTL, Type: c.Type, Data: c.Data}
		if c.Remove {
			change.Remove = append(change.Remove, r)
		} else {
			change.Add = append(change.Add, r)
		}
	}
	return p.ctl.Apply(ctx, p.zone, change)
}

// Withdraw implements pipeline.Publisher.
func (p *knotPublisher) Withdraw(ctx context.Context) error {
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
