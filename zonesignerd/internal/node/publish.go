package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"zonesigner/dnssec"
	"zonesigner/knot"
	"zonesigner/zonesignerd/internal/pipeline"
)

// knotPublisher serves a zone through the public Knot's control socket, one
// transaction a version.
type knotPublisher struct {
	ctl  *knot.Control
	zone string
}

// Publish implements pipeline.Publisher. The difference is sent when the
// server still has what it was given last; all of it otherwise.
func (p *knotPublisher) Publish(ctx context.Context, s, previous *dnssec.SignedZone) error {
	st, err := p.ctl.ZoneStatus(ctx, p.zone)
	if err != nil {
		return err
	}
	if !st.Exists {
		return fmt.Errorf("zone %s is not configured in the public knot at %s", p.zone, p.ctl.Path())
	}
	if previous == nil || !st.HasSerial || st.Serial != previous.Serial() {
		previous = nil
		if st.HasSerial && st.Serial == s.Serial() {
			return nil // a restart of ours: it serves this already
		}
	}
	err = p.apply(ctx, s, previous)
	if previous != nil && errors.Is(err, knot.ErrDiffers) {
		err = p.apply(ctx, s, nil) // the server does not have what we thought
	}
	return err
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

// filePublisher writes the signed zone to a file, which is either the old one
// or the new one at any moment.
type filePublisher struct{ path string }

// Publish implements pipeline.Publisher.
func (p *filePublisher) Publish(_ context.Context, s, _ *dnssec.SignedZone) error {
	return pipeline.WriteDurably(p.path, func(w io.Writer) error {
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
