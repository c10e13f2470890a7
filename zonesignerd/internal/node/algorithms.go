package node

import (
	"fmt"
	"slices"

	"zonesigner/dnssec"
	"zonesigner/keystore"
	"zonesigner/zonesignerd/config"
	"zonesigner/zonesignerd/internal/api"
	"zonesigner/zonesignerd/internal/shell"
)

// Every algorithm of the DNSKEY RRset has to sign all of the zone (RFC 4035,
// section 2.2; RFC 6840, section 5.11). So keys of two algorithms stand side by
// side in an algorithm roll-over alone (RFC 6781, section 4.1.4), which the
// policy has to allow, and those of the second join the zone's key set when
// they can sign all of it together: see keyring.zone.

// goesWith returns nil when keys of an engine can stand beside those that a zone
// has. They cannot when they are of another algorithm and the policy allows no
// two, nor when no signer set has both engines.
func (n *Node) goesWith(engine string, z *zone) error {
	zone := z.Name()
	engines := enginesOf(n.keys.of(zone))
	for _, e := range engines {
		has, wants := config.Algorithm(e), config.Algorithm(engine)
		if has != wants && !z.policy().AlgorithmRollover {
			return &api.Error{Code: api.CodeUsage,
				Message: fmt.Sprintf("%s has keys of engine %s, algorithm %d: those of %s, algorithm %d, stand beside them in an algorithm roll-over alone", zone, e, has, engine, wants),
				Hint:    "to begin one, set algorithm-rollover: true in the zone's policy, give it to `zonesignerd zones add` at every operator, and ask again"}
		}
	}
	if _, err := n.groups.file().CommonSets(append([]string{engine}, engines...)...); err != nil {
		return api.Errorf(api.CodeUsage, "keys of %s beside those of %s: %w", engine, zone, err)
	}
	return nil
}

// allowedBy reports a policy that does not allow the keys that its zone has.
func (k *keyring) allowedBy(p *config.Policy) error {
	var keys []dnssec.Key
	for _, r := range k.of(p.Zone) {
		keys = append(keys, dnssecKey(r))
	}
	if a := dnssec.Algorithms(keys); len(a) > 1 && !p.AlgorithmRollover {
		return &api.Error{Code: api.CodeUsage, Message: fmt.Sprintf("%s has keys of algorithms %d and %d, which this policy does not allow", p.Zone, a[0], a[1]),
			Hint: "leave algorithm-rollover: true in the policy while there are keys of both"}
	}
	return nil
}

// joinsLater tells of keys that are not in the zone's key set because others of
// their algorithm are lacking; empty: there are none.
func (k *keyring) joinsLater(zone string) string {
	set := k.zone(zone)
	list := slices.DeleteFunc(k.of(zone), func(r keystore.KeyRecord) bool {
		return slices.ContainsFunc(set, func(e dnssec.Key) bool { return e.ID == r.ID })
	})
	if len(list) == 0 {
		return ""
	}
	r := list[0]
	return fmt.Sprintf("the %s of algorithm %d is not in the zone yet: with it come a KSK and a ZSK of that algorithm, or a CSK; ask for what is lacking with `%s` and --ksk or --zsk at every operator",
		r.Role, config.Algorithm(r.Engine), shell.Command("zonesignerd keys generate", []string{zone}, "--engine "+r.Engine))
}
