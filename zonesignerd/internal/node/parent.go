package node

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"zonesigner/dnssec"
	"zonesigner/keystore"
	"zonesigner/zonesignerd/internal/api"
	"zonesigner/zonesignerd/internal/shell"
)

// metaDS is when this operator said that the parent has the key's DS.
const metaDS = "ds"

// ConfirmDS implements api.Backend. The daemon asks no resolver: it is people
// who give the DS to the parent, and they who see it there.
func (n *Node) ConfirmDS(_ context.Context, c api.ConfirmDS) (*api.Request, error) {
	zone := dotted(c.Zone)
	if n.zone(zone) == nil {
		return nil, notFound(c.Zone)
	}
	at := n.opt.Now().UTC().Format(time.RFC3339)
	waiting := n.keys.withoutDS(zone)
	err := n.store.Update(func(t *keystore.Tx) error {
		for i, r := range waiting {
			r.Meta = maps.Clone(r.Meta)
			r.Meta[metaDS] = at
			if err := putMeta(t, r); err != nil {
				return err
			}
			waiting[i] = r
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	n.keys.mu.Lock()
	for _, r := range waiting {
		n.keys.put(r)
	}
	n.keys.mu.Unlock()
	return n.done(api.KindDSPublished, zone), nil
}

// withoutDS lists the zone's keys that sign keys and whose DS nobody here has
// confirmed. A DS whose algorithm the DNSKEY RRset lacks would make resolvers
// take the zone for bogus (RFC 6840, section 5.11), so keys come only when they
// are in it.
func (k *keyring) withoutDS(zone string) []keystore.KeyRecord {
	set := k.zone(zone)
	return slices.DeleteFunc(k.of(zone), func(r keystore.KeyRecord) bool {
		return r.Role == roleZSK || r.Meta[metaDS] != "" || !slices.ContainsFunc(set, func(e dnssec.Key) bool {
			return e.ID == r.ID && (e.State == dnssec.Ready || e.State == dnssec.Active)
		})
	})
}

// parentOf says what the parent of a zone that is signed has yet to do: without
// the DS of a key that signs keys, resolvers take the zone for unsigned.
func (n *Node) parentOf(zone string) (api.Next, bool) {
	waiting := n.keys.withoutDS(zone)
	apex, err := dnssec.ParseName(zone)
	if len(waiting) == 0 || err != nil {
		return api.Next{}, false
	}
	return api.Next{Kind: api.ActorParent, Name: apex.Parent().String(), WaitsFor: fmt.Sprintf(
		"the DS of key %d: give it `%s`, and say `%s` when it is there",
		dnssecKey(waiting[0]).KeyTag(), shell.Command("zonesignerd keys ds", []string{zone}), shell.Command("keys ds", []string{zone}, "--published"))}, true
}
