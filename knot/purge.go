package knot

import (
	"context"
	"fmt"
	"time"
)

// Purge makes the server forget the zone: it answers SERVFAIL for it until
// the zone is pushed again, under whatever serial. Knot 3.5 purges in the
// background, so Purge returns when the zone is gone; a push before that would
// be purged with it.
func (c *Control) Purge(ctx context.Context, zone string) error {
	zone = canonicalZone(zone)
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	if err := c.do(ctx, func(k *conn) error { return k.zoneCommand("zone-purge", zone, c.timeout) }); err != nil {
		return err
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		st, err := c.ZoneStatus(ctx, zone)
		if err != nil {
			return fmt.Errorf("purge zone %s: %w", zone, err)
		}
		if !st.HasSerial {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("purge zone %s: it is still served with serial %d: %w", zone, st.Serial, ctx.Err())
		}
	}
}
