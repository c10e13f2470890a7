package node

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"zonesigner/keystore"
	"zonesigner/mpc"
	"zonesigner/zonesignerd/internal/api"
)

// metaSuspended is since when and why a key signs nothing: a signature of a key
// of mascot-minus did not verify. That engine leaves checks to this one, so it
// is the sign that somebody altered a share; people have to look into it before
// the key signs again (docs/protocol.md, section 13).
const metaSuspended = "suspended"

// suspendedError says that a key signs nothing until this operator's people
// act.
type suspendedError struct{ text string }

func (e *suspendedError) Error() string { return e.text }

// suspendedWords says why a key is suspended and what to do.
func suspendedWords(r keystore.KeyRecord) string {
	return fmt.Sprintf("%s key %d of %s is suspended here %s; find out who altered what, then `zonesignerd keys resume %s`",
		r.Role, dnssecKey(r).KeyTag(), r.Zone, r.Meta[metaSuspended], r.ID)
}

// suspended is a suspendedError for a key that is suspended, or nil.
func (k *keyring) suspended(id mpc.KeyID) error {
	if r, ok := k.find(string(id)); ok && r.Meta[metaSuspended] != "" {
		return &suspendedError{suspendedWords(r)}
	}
	return nil
}

// suspendedIn says which key of a zone is suspended, or is "".
func (k *keyring) suspendedIn(zone string) string {
	for _, r := range k.of(zone) {
		if r.Meta[metaSuspended] != "" {
			return suspendedWords(r)
		}
	}
	return ""
}

// suspend durably suspends keys whose signatures did not verify, and destroys
// what is bound to them: tuples that were bound together were altered together.
func (k *keyring) suspend(ids []mpc.KeyID, why error) {
	note := fmt.Sprintf("since %s: %v", k.n.opt.Now().UTC().Format(time.RFC3339), why)
	for _, id := range ids {
		r, ok := k.find(string(id))
		if !ok || r.Meta[metaSuspended] != "" {
			continue
		}
		r.Meta = maps.Clone(r.Meta)
		if r.Meta == nil {
			r.Meta = map[string]string{}
		}
		r.Meta[metaSuspended] = note
		err := k.n.store.Update(func(t *keystore.Tx) error { return putMeta(t, r) })
		k.mu.Lock()
		k.put(r) // also where it is not durable: it signs nothing as long as this process lives
		k.mu.Unlock()
		_, discarded := k.n.store.DiscardPools("key "+r.ID+" is suspended", func(p keystore.PoolID) bool { return p.Key == r.ID })
		k.n.log.Error("key suspended: a signature does not verify", "zone", r.Zone, "key", r.ID, "why", why, "err", errors.Join(err, discarded))
	}
}

// ResumeKey implements api.Backend.
func (n *Node) ResumeKey(_ context.Context, c api.ResumeKey) (*api.Request, error) {
	r, ok := n.keys.find(c.Key)
	switch {
	case !ok:
		return nil, api.Errorf(api.CodeNotFound, "there is no key %s", c.Key)
	case r.Meta[metaSuspended] == "":
		return nil, api.Errorf(api.CodeUsage, "key %s is not suspended here", c.Key)
	}
	r.Meta = maps.Clone(r.Meta)
	delete(r.Meta, metaSuspended)
	if err := n.store.Update(func(t *keystore.Tx) error { return putMeta(t, r) }); err != nil {
		return nil, err
	}
	n.keys.mu.Lock()
	n.keys.put(r)
	n.keys.mu.Unlock()
	n.log.Warn("key signs again: its suspension was lifted", "zone", r.Zone, "key", r.ID)
	n.blame.absolve()
	n.tuples.wake()
	if z := n.zone(r.Zone); z != nil {
		z.SignNow()
	}
	return n.done(api.KindKeysResume, r.Zone), nil
}
