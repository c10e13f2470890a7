//go:build soak

package node

import (
	"testing"
	"time"

	"zonesigner/zonesignerd/config"
)

// TestSoakCGGMP is two operators with keys of CGGMP, at length: two roles,
// changes from both stripes, one operator away and back.
func TestSoakCGGMP(t *testing.T) {
	o := newOperators(t, 2, 1)
	o.group.Engine = config.CGGMP
	o.patience = 15 * time.Minute
	o.edit = func(c *config.Daemon) { c.Pools.Changes = 4 }
	o.write("example.", 1, "www A 192.0.2.10")
	o.startAll()
	o.add("example.")
	serial := o.level("example.", 0)
	for i, address := range []string{"www A 192.0.2.11", "www A 192.0.2.12", "www A 192.0.2.13"} {
		o.write("example.", uint32(2+i), address)
		serial = o.level("example.", serial)
		signaturesVerify(t, o.served("a", "example."))
	}
	o.stop("b")
	o.write("example.", 5, "www A 192.0.2.14")
	o.start("b")
	o.level("example.", serial)
	signaturesVerify(t, o.served("b", "example."))
}
