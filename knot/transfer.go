package knot

import (
	"context"
	"fmt"
	"time"
)

// Transfer has Knot take the zone from its primary, whatever serial it has, and
// returns when the serial is served. records is how many there are about, which
// the time for it depends on. The zone must have a master in Knot's
// configuration; without one it is a *ControlError.
func (c *Control) Transfer(ctx context.Context, zone string, serial uint32, records int) error {
	zone = canonicalZone(zone)
	if err := c.do(ctx, func(k *conn) error { return k.zoneCommand("zone-retransfer", zone, c.timeout) }); err != nil {
		return fmt.Errorf("transfer zone %s: %w", zone, err)
	}
	budget := c.timeout + time.Duration(records)*time.Second/commitRate
	ctx, cancel := context.WithTimeout(ctx, budget)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		st, err := c.ZoneStatus(ctx, zone)
		if err == nil && st.HasSerial && st.Serial == serial {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			if err != nil {
				return fmt.Errorf("transfer zone %s: %w", zone, err)
			}
			return fmt.Errorf("transfer zone %s: knot does not serve serial %d within %s", zone, serial, budget)
		}
	}
}
