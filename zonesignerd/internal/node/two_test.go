package node

import (
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"zonesigner/mpc"
	"zonesigner/zonesignerd/config"
	"zonesigner/zonesignerd/internal/api"
)

// Two operators, of whom one may be the adversary's: the zone is signed, a
// change is, nothing is while one is away, and it goes on when it is back,
// after a restart of its daemon and after one of its machine.
func TestTwoOperators(t *testing.T) {
	for _, engine := range []string{config.Mascot, config.MascotMinus, config.Frost} {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			o := newOperators(t, 2, 1)
			o.group.Engine = engine
			o.edit = func(c *config.Daemon) { c.Pools = config.Pools{Depth: 32, Changes: 8, Chunk: 16} }
			o.write("example.", 1, "www A 192.0.2.10")
			o.startAll()
			o.add("example.")
			serial := o.level("example.", 0)
			o.write("example.", 2, "www A 192.0.2.11")
			serial = o.level("example.", serial)
			signaturesVerify(t, o.served("a", "example."))

			o.stop("b")
			o.write("example.", 3, "www A 192.0.2.12")
			o.eventually(20*time.Second, "a waits for b", func() bool {
				z := o.status("a", "example.")
				return z.State == api.ZoneWaiting && z.Next.Name == "b"
			})
			if s := o.serves("a", "example."); s != serial {
				t.Fatalf("a alone came to serial %d", s)
			}
			o.start("b")
			serial = o.level("example.", serial)

			// A reboot takes the mark in /run with it. Nobody could confirm b's
			// mark, and its tuples are made anew.
			o.stop("b")
			must(t, os.RemoveAll(o.path("b", "run")))
			b := o.start("b")
			if why, yes := b.store.Suspended(); yes {
				t.Fatalf("b waits for a confirmation that cannot come: %s", why)
			}
			o.write("example.", 4, "www A 192.0.2.13")
			o.level("example.", serial)
			signaturesVerify(t, o.served("b", "example."))
		})
	}
}

// signaturesVerify checks each signature of a zone by another implementation.
func signaturesVerify(t testing.TB, zone []dns.RR) {
	t.Helper()
	keys := map[uint16]*dns.DNSKEY{}
	sets := map[string][]dns.RR{}
	for _, rr := range zone {
		if k, ok := rr.(*dns.DNSKEY); ok {
			keys[k.KeyTag()] = k
		}
		id := rr.Header().Name + dns.TypeToString[rr.Header().Rrtype]
		sets[id] = append(sets[id], rr)
	}
	signatures := 0
	for _, rr := range zone {
		sig, ok := rr.(*dns.RRSIG)
		if !ok {
			continue
		}
		key := keys[sig.KeyTag]
		if key == nil {
			t.Fatalf("no DNSKEY with tag %d", sig.KeyTag)
		}
		if err := sig.Verify(key, sets[sig.Hdr.Name+dns.TypeToString[sig.TypeCovered]]); err != nil {
			t.Errorf("%s: %v", sig, err)
		}
		signatures++
	}
	if signatures < 6 {
		t.Errorf("%d signatures", signatures)
	}
}

// A key of mascot-minus one of whose signatures does not verify signs nothing
// more, whatever restarts, until the people of each operator say so.
func TestSuspendedKey(t *testing.T) {
	t.Parallel()
	o := newOperators(t, 2, 1)
	o.group.Engine = config.MascotMinus
	o.edit = func(c *config.Daemon) { c.Pools = config.Pools{Depth: 32, Changes: 8, Chunk: 16} }
	var lies atomic.Bool
	o.options = func(name string, opt *Options) {
		if name == "b" { // alters its share of sk/k in what it signs with
			const magic, header, size, share = "ZSM1", 48 + 32, 128 + 2*32 + 32, 32
			opt.spoil = func(blob []byte) {
				for at := header; lies.Load() && string(blob[:4]) == magic && at+size <= len(blob); at += size {
					blob[at+share+31] ^= 1
				}
			}
		}
	}
	o.write("example.", 1, "www A 192.0.2.10")
	o.startAll()
	o.add("example.")
	serial := o.level("example.", 0)
	lies.Store(true)
	o.write("example.", 2, "www A 192.0.2.11")
	zsk := func(name string) (k api.Key) {
		keys, err := o.nodes[name].Keys(t.Context(), "example.")
		must(t, err)
		return keys[slices.IndexFunc(keys, func(k api.Key) bool { return k.Role == roleZSK })]
	}
	o.eventually(20*time.Second, "a suspends the key", func() bool { return zsk("a").Suspended })
	lies.Store(false)
	o.stop("a")
	o.start("a")
	if k := zsk("a"); !k.Suspended || !strings.Contains(k.Problem, "zonesignerd keys resume "+k.ID) {
		t.Fatalf("after a restart: %+v", k)
	}
	st, err := o.nodes["a"].Status(t.Context())
	must(t, err)
	if len(st.Warnings) != 1 || !strings.Contains(st.Warnings[0], "is suspended here") {
		t.Errorf("status warns of %q", st.Warnings)
	}
	o.eventually(20*time.Second, "the zone says what it waits for", func() bool {
		return strings.Contains(o.status("a", "example.").Next.WaitsFor, "is suspended here") && strings.Contains(o.status("b", "example.").Next.WaitsFor, "is suspended")
	})
	if s := o.serves("a", "example."); s != serial {
		t.Errorf("serial %d was signed with a suspended key", s)
	}
	for _, name := range o.names {
		if k := zsk(name); k.Suspended {
			_, err := o.nodes[name].ResumeKey(t.Context(), api.ResumeKey{Key: k.ID})
			must(t, err)
		}
	}
	o.level("example.", serial)
	if k := zsk("a"); k.Suspended || k.Problem != "" {
		t.Errorf("after it was resumed: %+v", k)
	}
	if _, err := o.nodes["a"].ResumeKey(t.Context(), api.ResumeKey{Key: zsk("a").ID}); err == nil {
		t.Error("a key that is not suspended was resumed")
	}
}

// With CGGMP two operators sign with a key of algorithm 13, slowly: each of
// the few signatures takes a presignature of seconds.
func TestTwoOperatorsCGGMP(t *testing.T) { // beside nothing else: it takes all there is
	o := newOperators(t, 2, 1)
	o.group.Engine = config.CGGMP
	o.edit = func(c *config.Daemon) { c.Pools.Changes = 0 }
	o.options = func(_ string, opt *Options) { opt.Turn = 5 * time.Minute } // presignatures for one proposer
	o.write("example.", 1, "")
	o.startAll()
	o.add("example.", "single-type-signing: true", "max-outage: 1h")
	o.patience = 5 * time.Minute
	o.level("example.", 0)
	signaturesVerify(t, o.served("b", "example."))
}

// A zone whose keys are of two engines: each signs in a session of its own,
// with a signer set that both have.
func TestTwoEngines(t *testing.T) {
	t.Parallel()
	o := newOperators(t, 3, 1)
	o.write("example.", 1, "www A 192.0.2.10")
	o.startAll()
	for _, name := range o.names {
		n := o.nodes[name]
		_, err := n.AddZone(t.Context(), api.AddZone{Policy: o.policy(name, "example."), File: "policy"})
		must(t, err)
		for _, ask := range []api.GenerateKeys{{Roles: []string{"ksk"}, Engine: config.MalRep3}, {Roles: []string{"zsk"}, Engine: config.Shamir}} {
			ask.Zone = "example."
			_, err = n.GenerateKeys(t.Context(), ask)
			must(t, err)
		}
	}
	serial := o.level("example.", 0)
	signaturesVerify(t, o.served("c", "example."))
	keys, err := o.nodes["a"].Keys(t.Context(), "example.")
	must(t, err)
	for _, k := range keys {
		if want := map[string]string{roleKSK: config.MalRep3, roleZSK: config.Shamir}[k.Role]; k.Engine != want {
			t.Errorf("the %s is of engine %s, want %s", k.Role, k.Engine, want)
		}
	}
	if len(keys) != 2 {
		t.Errorf("%d keys", len(keys))
	}
	o.eventually(60*time.Second, "pools are full for the sets of two", func() bool {
		for _, k := range o.nodes["a"].keys.all() {
			for _, set := range []mpc.SignerSet{{"a", "b"}, {"a", "c"}} {
				pool := mpc.PoolID{Key: mpc.KeyID(k.ID), Set: set.String(), Stripe: "a"}
				if o.nodes["a"].tuples.depth(pool) < share(o.nodes["a"].boundWanted(k), set) {
					return false
				}
			}
		}
		return true
	})
	for _, k := range o.nodes["a"].keys.all() {
		if d := o.nodes["a"].tuples.depth(mpc.PoolID{Key: mpc.KeyID(k.ID), Set: "a+b+c", Stripe: "a"}); d > 0 {
			t.Errorf("%d tuples of the %s for a set that cannot sign with the other key", d, k.Role)
		}
	}
	o.stop("c")
	o.write("example.", 2, "www A 192.0.2.11")
	o.level("example.", serial, "a", "b")

	if _, err := o.nodes["a"].GenerateKeys(t.Context(), api.GenerateKeys{Zone: "example.", Roles: []string{"zsk"}, Engine: config.Frost}); err == nil {
		t.Error("a key of algorithm 15 beside those of 13")
	}
	if _, err := o.nodes["a"].GenerateKeys(t.Context(), api.GenerateKeys{Zone: "example.", Roles: []string{"zsk"}, Engine: config.Mascot}); err == nil {
		t.Error("mascot with an honest majority")
	}
	const known = `engine "steam" is unknown; for 3 operators with threshold 1 there are mal-shamir, shamir, mal-rep3, rep3, frost, cggmp`
	if _, err := o.nodes["a"].GenerateKeys(t.Context(), api.GenerateKeys{Zone: "example.", Roles: []string{"zsk"}, Engine: "steam"}); err == nil || err.Error() != known {
		t.Errorf("an engine that is none: %v", err)
	}
}
