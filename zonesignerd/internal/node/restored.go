package node

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"zonesigner/keystore"
	"zonesigner/mpc"
	"zonesigner/zonesignerd/internal/agree"
	"zonesigner/zonesignerd/internal/api"
	"zonesigner/zonesignerd/internal/pipeline"
)

// bucketRestored says, until this operator is level with the others, that its
// records are older than what it did: policies, promises and the group are as
// they were then.
const (
	bucketRestored = "restored"
	keyFrom        = "from" // what the store was restored from, in words
	keyAt          = "at"   // when that was found out
)

const (
	levelFor     = 5 * time.Second // how long nothing may be amiss before we are level
	maxElsewhere = 1000            // zones of others that are remembered
)

// NoteRestored remembers in a store what it was restored from.
func NoteRestored(s *keystore.Store, from string, at time.Time) error {
	return s.Update(func(t *keystore.Tx) error {
		if err := t.Put(bucketRestored, keyFrom, []byte(from)); err != nil {
			return err
		}
		return t.Put(bucketRestored, keyAt, []byte(at.UTC().Format(time.RFC3339)))
	})
}

// restoredStore is what is known of a store that was restored.
type restoredStore struct {
	mu        sync.Mutex
	from      string // empty: it was not
	at        time.Time
	elsewhere map[string]map[mpc.PartyID]bool // zones that others have and we have not, and who
}

// openRestored reads whether the store was restored.
func (n *Node) openRestored() error {
	from, err := n.store.Get(bucketRestored, keyFrom)
	if errors.Is(err, keystore.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	at, err := n.store.Get(bucketRestored, keyAt)
	if err != nil {
		return err
	}
	r := &n.restored
	r.mu.Lock()
	defer r.mu.Unlock()
	r.from, r.elsewhere = string(from), map[string]map[mpc.PartyID]bool{}
	if r.at, err = time.Parse(time.RFC3339, string(at)); err != nil {
		return fmt.Errorf("record of a restored keystore: %w", err)
	}
	n.log.Warn("the keystore was restored: until this operator is level with the others, status says what it lacks", "from", r.from, "at", r.at)
	return nil
}

// foundRestored notes that the disk turned out to be an older copy.
func (n *Node) foundRestored() {
	if err := NoteRestored(n.store, "an older copy of the disk", n.opt.Now()); err != nil {
		n.log.Error("restored keystore not noted", "err", err)
		return
	}
	if err := n.openRestored(); err != nil {
		n.log.Error("restored keystore not noted", "err", err)
	}
}

func (r *restoredStore) is() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.from != ""
}

// heard takes in what a peer says of a zone that is not here.
func (r *restoredStore) heard(m *agree.Message) error {
	if m.Type != pipeline.TypeHead || !r.is() {
		return nil
	}
	var h pipeline.Head
	if err := m.Decode(&h); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if h.Policy.IsZero() {
		delete(r.elsewhere[h.Zone], m.From)
		return nil
	}
	if r.elsewhere[h.Zone] == nil {
		if len(r.elsewhere) >= maxElsewhere || len(h.Zone) > 1024 {
			return nil
		}
		r.elsewhere[h.Zone] = map[mpc.PartyID]bool{}
	}
	r.elsewhere[h.Zone][m.From] = true
	return nil
}

// watchRestored forgets that the store was restored once nothing has been
// lacking for a while.
func (n *Node) watchRestored() {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	var since time.Time
	for {
		select {
		case <-n.ctx.Done():
			return
		case <-tick.C:
		}
		switch {
		case !n.restored.is():
			continue
		case len(n.lacks()) > 0:
			since = time.Time{}
			continue
		case since.IsZero():
			since = time.Now()
			continue
		case time.Since(since) < levelFor:
			continue
		}
		err := n.store.Update(func(t *keystore.Tx) error {
			if err := t.Delete(bucketRestored, keyFrom); err != nil {
				return err
			}
			return t.Delete(bucketRestored, keyAt)
		})
		if err != nil {
			n.log.Error("restored keystore not forgotten", "err", err)
			continue
		}
		n.restored.mu.Lock()
		n.restored.from = ""
		n.restored.mu.Unlock()
		n.log.Info("the restored keystore is level with the other operators")
	}
}

// restoredState is for status; nil: the store was not restored, or is level.
func (n *Node) restoredState() *api.Restored {
	r := &n.restored
	r.mu.Lock()
	from, at := r.from, r.at
	r.mu.Unlock()
	if from == "" {
		return nil
	}
	return &api.Restored{From: from, At: at, Lacks: n.lacks()}
}

// lacks is what keeps a restored operator from being level with the others, and
// what to do about it.
func (n *Node) lacks() []string {
	var out []string
	for _, p := range n.transport.Peers() {
		if !p.Ready {
			out = append(out, fmt.Sprintf("operator %s is not heard: is the group file the present one?", p.ID))
		}
	}
	for _, z := range n.allZones() {
		out = append(out, zoneLacks(z.Status())...)
	}
	r := &n.restored
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(r.elsewhere)) {
		if len(r.elsewhere[name]) > 0 && n.zone(name) == nil {
			out = append(out, fmt.Sprintf("zone %s of %s is not here: `zones add` its policy", name, people(slices.Sorted(maps.Keys(r.elsewhere[name])))))
		}
	}
	return out
}

func zoneLacks(s pipeline.Status) (out []string) {
	var other, none []mpc.PartyID
	behind := false
	for _, p := range s.Peers {
		switch p.Policy {
		case pipeline.PolicyOther:
			other = append(other, p.Peer)
		case pipeline.PolicyNone:
			none = append(none, p.Peer)
		case pipeline.PolicySame:
			behind = behind || p.Serial != 0 && (!s.HasSigned || int32(p.Serial-s.Signed) > 0) // RFC 1982
		}
	}
	if other != nil {
		out = append(out, fmt.Sprintf("zone %s has another policy at %s: `zones add` the present one", s.Zone, people(other)))
	}
	if none != nil {
		out = append(out, fmt.Sprintf("zone %s is not at %s: `zones remove` it here, if it was removed", s.Zone, people(none)))
	}
	if behind {
		out = append(out, fmt.Sprintf("zone %s is signed with a later serial elsewhere, and is being fetched; if that lasts, keys were made since", s.Zone))
	}
	return out
}

// people writes "operator b" or "operators b and c".
func people(ids []mpc.PartyID) string {
	list := names(ids)
	if len(list) == 1 {
		return "operator " + list[0]
	}
	last := len(list) - 1
	return "operators " + strings.Join(list[:last], ", ") + " and " + list[last]
}
