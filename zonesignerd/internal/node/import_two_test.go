package node

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"zonesigner/zonesignerd/config"
	"zonesigner/zonesignerd/internal/api"
)

// Two operators, of whom one may be the adversary's, take over KSK and ZSK of a
// zone that is signed already. It goes on with the same DNSKEYs, after a restart
// too.
func TestKeysOfAnOwnerForTwo(t *testing.T) {
	for _, engine := range []string{config.Mascot, config.MascotMinus} {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			o := newOperators(t, 2, 1)
			o.group.Engine = engine
			o.edit = func(c *config.Daemon) { c.Pools = config.Pools{Depth: 32, Changes: 8, Chunk: 16} }
			o.write("example.", 1, "www A 192.0.2.10")
			o.startAll()
			ksk, kskRecord := owned(t, "example", "ECDSAP256SHA256", "-f", "KSK")
			zsk, zskRecord := owned(t, "example", "ECDSAP256SHA256")
			ksks, zsks := o.deal("example.", roleKSK, engine, ksk), o.deal("example.", roleZSK, engine, zsk)
			for _, name := range o.names {
				_, err := o.nodes[name].AddZone(t.Context(), api.AddZone{Policy: o.policy(name, "example."), File: "policy"})
				must(t, err)
			}
			// A file of another run of "keys deal", then the right one.
			_, err := o.bring("a", o.deal("example.", roleKSK, engine, ksk)["a"], zsks["a"])
			must(t, err)
			for _, name := range o.names {
				_, err := o.bring(name, ksks[name], zsks[name])
				must(t, err)
			}
			serial := o.level("example.", 0)
			sameKeys := func() {
				t.Helper()
				for _, name := range o.names {
					zone := o.served(name, "example.")
					signaturesVerify(t, zone)
					if got, want := keysOf(zone), keysOf([]dns.RR{kskRecord, zskRecord}); !slices.Equal(got, want) {
						t.Errorf("%s serves keys %v, the owner has %v", name, got, want)
					}
				}
			}
			sameKeys()

			o.stop("b")
			o.start("b")
			o.write("example.", 2, "www A 192.0.2.11")
			o.level("example.", serial)
			sameKeys()
		})
	}
}

// The same of a KSK with CGGMP, whose parameters are made in the session. It
// signs with a ZSK of a faster engine.
func TestKSKOfAnOwnerCGGMP(t *testing.T) { // beside nothing else: it takes all there is
	o := newOperators(t, 2, 1)
	o.group.Engine = config.Mascot
	o.edit = func(c *config.Daemon) { c.Pools = config.Pools{Depth: 32, Changes: 0, Chunk: 16} }
	o.options = func(_ string, opt *Options) { opt.Turn = 5 * time.Minute } // presignatures for one proposer
	o.write("example.", 1, "www A 192.0.2.10")
	o.startAll()
	key, record := owned(t, "example", "ECDSAP256SHA256", "-f", "KSK")
	files := o.deal("example.", roleKSK, config.CGGMP, key)
	for _, name := range o.names {
		n := o.nodes[name]
		_, err := n.AddZone(t.Context(), api.AddZone{Policy: o.policy(name, "example.", "max-outage: 1h"), File: "policy"})
		must(t, err)
		_, err = n.GenerateKeys(t.Context(), api.GenerateKeys{Zone: "example.", Roles: []string{"zsk"}})
		must(t, err)
		_, err = o.bring(name, files[name])
		must(t, err)
	}
	o.patience = 5 * time.Minute
	o.level("example.", 0)
	signaturesVerify(t, o.served("b", "example."))
	if !o.has("b", "example.", strings.ReplaceAll(record.PublicKey, " ", "")) {
		t.Error("the zone is not signed with its owner's KSK")
	}
}
