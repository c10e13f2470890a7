package knot

import "context"

// Purge makes the server forget the zone: it answers SERVFAIL for it until
// the zone is pushed again.
func (c *Control) Purge(ctx context.Context, zone string) error {
	zone = canonicalZone(zone)
	return c.do(ctx, func(k *conn) error { return k.zoneCommand("zone-purge", zone, c.timeout) })
}
