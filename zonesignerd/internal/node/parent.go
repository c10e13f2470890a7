package node

import (
	"context"
	"fmt"
	"time"

	"zonesigner/dnssec"
	"zonesigner/keystore"
	"zonesigner/zonesignerd/internal/api"
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
	var done []keystore.KeyRecord
	err := n.store.Update(func(t *keystore.Tx) error {
		for _, r := range n.keys.all() {
			if r.Zone != zone || r.Role == roleZSK || r.Meta[metaDS] != "" {
				continue
			}
			full, err := t.Key(r.ID)
			if err != nil {
				return err
			}
			full.Meta[metaDS] = at
			if err := t.PutKey(full); err != nil {
				return err
			}
			full.Secret = nil
			done = append(done, full)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	n.keys.mu.Lock()
	for _, r := range done {
		n.keys.records[r.ID] = r
	}
	n.keys.mu.Unlock()
	return n.done(api.KindDSPublished, zone), nil
}

// parentOf says what the parent of a zone that is signed has yet to do: without
// the DS of a key that signs keys, resolvers take the zone for unsigned.
func (n *Node) parentOf(zone string) (api.Next, bool) {
	for _, r := range n.keys.all() {
		if r.Zone != zone || r.Role == roleZSK || r.Meta[metaDS] != "" {
			continue
		}
		apex, err := dnssec.ParseName(zone)
		if err != nil {
			return api.Next{}, false
		}
		return api.Next{Kind: api.ActorParent, Name: apex.Parent().String(), WaitsFor: fmt.Sprintf(
			"the DS of key %d: give it `zonesignerd keys ds %s`, and say `keys ds %s --published` when it is there",
			dnssecKey(r).KeyTag(), zone, zone)}, true
	}
	return api.Next{}, false
}
