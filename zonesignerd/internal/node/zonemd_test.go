package node

import (
	"os/exec"
	"testing"

	"zonesigner/zonesignerd/internal/api"
)

// digested checks that another program finds the zone that an operator serves
// whole: its signatures, its chain and its digest.
func (o *operators) digested(name, zone string) {
	o.t.Helper()
	out, err := exec.Command("ldns-verify-zone", "-ZZ", o.path(name, zone+"signed")).CombinedOutput()
	if err != nil {
		o.t.Errorf("operator %s: %v\n%s", name, err, out)
	}
}

// A zone with a digest: signed, changed, signed without an operator, which then
// catches up, beside another zone that is proposed at the same time, and
// without the digest when all want it so.
func TestZONEMD(t *testing.T) {
	o := newOperators(t, 3, 1)
	for _, zone := range []string{"example.", "example.net."} {
		o.write(zone, 1, "www A 192.0.2.10")
	}
	o.startAll()
	o.add("example.", "zonemd-generate: zonemd-sha512")
	o.add("example.net.", "zonemd-generate: zonemd-sha384", "denial:", "  nsec3: true")
	serials := map[string]uint32{}
	step := func(names ...string) {
		t.Helper()
		for zone := range map[string]bool{"example.": true, "example.net.": true} {
			serials[zone] = o.level(zone, serials[zone], names...)
			o.digested("a", zone)
			if !o.has("a", zone, "IN ZONEMD ") {
				t.Errorf("zone %s has no ZONEMD record", zone)
			}
		}
	}
	step()
	for zone := range serials {
		o.write(zone, 2, "www A 192.0.2.11")
	}
	step()
	o.poolsFull()
	o.stop("c")
	for zone := range serials {
		o.write(zone, 3, "www A 192.0.2.12")
	}
	step("a", "b")
	o.start("c")
	for zone, serial := range serials {
		o.level(zone, serial-1)
		o.digested("c", zone)
	}
	for _, name := range o.names {
		_, err := o.nodes[name].AddZone(t.Context(), api.AddZone{File: "policy", Policy: o.policy(name, "example.", "zonemd-generate: none")})
		must(t, err)
	}
	o.level("example.", serials["example."])
	if o.has("a", "example.", "IN ZONEMD ") {
		t.Error("the digest is there although nobody wants it")
	}
}
