package node

import (
	"cmp"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"zonesigner/dnssec"
	"zonesigner/keystore"
	"zonesigner/mpc"
	"zonesigner/mpc/cggmp"
	"zonesigner/mpc/ecdsa"
	"zonesigner/mpc/frost"
	"zonesigner/zonesignerd/config"
	"zonesigner/zonesignerd/internal/agree"
	"zonesigner/zonesignerd/internal/api"
	"zonesigner/zonesignerd/internal/engines"
)

// The roles of a key.
const (
	roleKSK = "KSK"
	roleZSK = "ZSK"
	roleCSK = "CSK"
)

// A key's record: metaPending is hold while it does not belong to its zone.
const (
	metaAsk       = "ask"
	metaPending   = "pending"
	metaConfirmed = "confirmed"   // names of the operators
	metaCertified = "certificate" // the others' signed words, see certificate
)

// key is a key's record, without its secret, and what others said of it.
type key struct {
	keystore.KeyRecord
	ask   agree.Digest // the request that made it
	words map[mpc.PartyID]words
	// While it is pending: when it is said again, and how long after that.
	next  time.Time
	pause time.Duration
}

// keyring is the operator's keys and what is asked for. What runs often looks
// at the requests alone that there is news of; nothing walks over all keys for
// one of them, and one whose keys are in use is looked at no more.
type keyring struct {
	n    *Node
	kick chan struct{}

	mu     sync.Mutex
	keys   map[string]*key
	byZone map[string][]*key    // sorted by id
	used   []keystore.KeyRecord // that are in use or will be, sorted by id; nil: to be listed anew
	shares map[mpc.KeyID]any    // in the form of its protocol

	asks     map[agree.Digest]*asking                  // this operator's and its peers'
	rivals   map[agree.Digest][]*asking                // the same, by ask.words
	open     map[agree.Digest]*asking                  // this operator's that are not done
	news     map[agree.Digest]*asking                  // open ones to look at
	lead     map[agree.Digest]*asking                  // open ones for this operator to propose, now or later
	asksOf   map[mpc.PartyID]map[string][]agree.Digest // a peer's by zone, oldest first, for bounds
	check    bool                                      // lead may have one whose time has come
	leading  bool                                      // a proposal of this operator runs
	repeated time.Time                                 // when requests were last said again

	looks int // how often a request was looked at, for tests
}

const bucketAsks = "asks"

func (n *Node) openKeys() error {
	n.engines = keyEngines()
	k := &n.keys
	k.n, k.kick = n, make(chan struct{}, 1)
	k.keys, k.byZone, k.shares = map[string]*key{}, map[string][]*key{}, map[mpc.KeyID]any{}
	k.asks, k.rivals = map[agree.Digest]*asking{}, map[agree.Digest][]*asking{}
	k.open, k.news, k.lead = map[agree.Digest]*asking{}, map[agree.Digest]*asking{}, map[agree.Digest]*asking{}
	k.asksOf = map[mpc.PartyID]map[string][]agree.Digest{}
	if err := k.openAsks(); err != nil {
		return err
	}
	records, err := n.store.Keys()
	if err != nil {
		return err
	}
	for _, r := range records {
		k.put(r)
	}
	for _, a := range k.asks {
		k.reopen(a)
	}
	n.tuples = newTuples(n)
	if err := n.tuples.openAccepted(); err != nil {
		return err
	}
	if n.marks, err = newMarks(n); err != nil {
		return err
	}
	n.signer = &signers{n: n}
	store := tupleStore{n.store, n.self, n.opt.spent, n.opt.spoil}
	n.signer.Signer, err = ecdsa.NewSigner(ecdsa.Config{
		Identity: n.identity, Store: store, Protocols: engines.Protocols(),
		Keys:  func(id mpc.KeyID) (*ecdsa.KeyShare, error) { return shareOf[ecdsa.KeyShare](k, id) },
		Group: n.groups.mpc, ChunkSize: n.cfg.Pools.Chunk, Signed: n.marks.signed,
		RoundTrip: n.roundTrip,
	})
	if err != nil {
		return err
	}
	n.signer.frost, err = frost.NewSigner(frost.Config{
		Identity: n.identity, Store: store,
		Keys:      func(id mpc.KeyID) (*frost.KeyShare, error) { return shareOf[frost.KeyShare](k, id) },
		ChunkSize: n.cfg.Pools.Chunk, Signed: n.marks.signed,
	})
	if err != nil {
		return err
	}
	n.signer.cggmp, err = cggmp.NewSigner(cggmp.Config{
		Identity: n.identity, Store: store,
		Keys:   func(id mpc.KeyID) (*cggmp.KeyShare, error) { return shareOf[cggmp.KeyShare](k, id) },
		Signed: n.marks.signed,
	})
	return err
}

// roundTrip is the longest to a peer that is ready.
func (n *Node) roundTrip() time.Duration {
	longest := 0.0
	for _, p := range n.transport.Peers() {
		if p.Ready {
			longest = max(longest, p.RoundTrip)
		}
	}
	return time.Duration(longest * float64(time.Second))
}

// put enters a key without its secret, or its new form; k.mu is held, but at
// the start.
func (k *keyring) put(r keystore.KeyRecord) *key {
	r.Secret, k.used = nil, nil
	if old := k.keys[r.ID]; old != nil {
		old.KeyRecord = r
		return old
	}
	e := &key{KeyRecord: r, words: map[mpc.PartyID]words{}}
	k.keys[r.ID] = e
	zone := k.byZone[r.Zone]
	i, _ := slices.BinarySearchFunc(zone, r.ID, func(e *key, id string) int { return cmp.Compare(e.ID, id) })
	k.byZone[r.Zone] = slices.Insert(zone, i, e)
	if e.ask.UnmarshalText([]byte(r.Meta[metaAsk])) == nil {
		e.readCertificate()
		if a := k.asks[e.ask]; a != nil {
			a.keys[r.Role] = e
		}
	}
	return e
}

// drop forgets a key that is no longer in the keystore; k.mu is held.
func (k *keyring) drop(e *key) {
	delete(k.keys, e.ID)
	delete(k.shares, mpc.KeyID(e.ID))
	k.byZone[e.Zone] = slices.DeleteFunc(k.byZone[e.Zone], func(o *key) bool { return o == e })
	if a := k.asks[e.ask]; a != nil && a.keys[e.Role] == e {
		delete(a.keys, e.Role)
	}
	k.used = nil
}

// putMeta replaces a key's notes alone.
func putMeta(t *keystore.Tx, r keystore.KeyRecord) error {
	full, err := t.Key(r.ID)
	if err != nil {
		return err
	}
	full.Meta = r.Meta
	return t.PutKey(full)
}

// pending reports whether the key does not belong to its zone (yet).
func (e *key) pending() bool { return e.Meta[metaPending] != "" }

// inUse reports whether a key is in use or will be.
func (e *key) inUse() bool { return !e.pending() && e.State != keystore.Removed }

// all lists the keys that are in use or will be, sorted by id. The list must
// not be changed.
func (k *keyring) all() []keystore.KeyRecord {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.used == nil {
		k.used = []keystore.KeyRecord{}
		for _, id := range slices.Sorted(maps.Keys(k.keys)) {
			if e := k.keys[id]; e.inUse() {
				k.used = append(k.used, e.KeyRecord)
			}
		}
	}
	return k.used
}

func (k *keyring) find(id string) (keystore.KeyRecord, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	e := k.keys[id]
	if e == nil || e.pending() {
		return keystore.KeyRecord{}, false
	}
	return e.KeyRecord, true
}

// of lists those of one zone, sorted by id.
func (k *keyring) of(zone string) []keystore.KeyRecord {
	k.mu.Lock()
	defer k.mu.Unlock()
	var out []keystore.KeyRecord
	for _, e := range k.byZone[zone] {
		if e.inUse() {
			out = append(out, e.KeyRecord)
		}
	}
	return out
}

// zone returns the zone's key set for planning, sorted by id. Keys of a second
// algorithm join it together: those that are there first wait for the others.
func (k *keyring) zone(name string) []dnssec.Key {
	var out []dnssec.Key
	for _, r := range k.of(name) {
		out = append(out, dnssecKey(r))
	}
	return dnssec.WholeAlgorithms(out)
}

func dnssecKey(r keystore.KeyRecord) dnssec.Key {
	flags := uint16(257)
	if r.Role == roleZSK {
		flags = 256
	}
	return dnssec.Key{ID: r.ID, Flags: flags, CSK: r.Role == roleCSK, Algorithm: config.Algorithm(r.Engine),
		PublicKey: r.Public, State: dnssec.KeyState(r.State)}
}

// views lists the keys of a zone, or of all for "", as the commands show them:
// those in use, and those that cannot come into use until people act.
func (k *keyring) views(zone string) []api.Key {
	out := []api.Key{}
	for _, r := range k.all() {
		if zone == "" || r.Zone == zone {
			out = append(out, k.view(r))
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, a := range k.open {
		for _, e := range a.keys {
			if (zone == "" || e.Zone == zone) && k.blocked(e) {
				v := k.view(e.KeyRecord)
				v.State, v.Problem = api.KeyBlocked, k.whoSays(e)
				v.DS, v.DNSKEY = nil, "" // nobody may take it for the zone's
				out = append(out, v)
			}
		}
	}
	return out
}

// dnskeyTTL is the field that makes a DNSKEY a line of the signed zone, or
// nothing: the zone is not here, or the TTL is its SOA's. A DS gets none: its TTL
// is the parent's to choose.
func (n *Node) dnskeyTTL(zone string) string {
	if z := n.zone(zone); z != nil && z.policy().DNSKEYTTL > 0 {
		return fmt.Sprint(" ", int(time.Duration(z.policy().DNSKEYTTL).Seconds()))
	}
	return ""
}

// view is a key as the commands show it.
func (k *keyring) view(r keystore.KeyRecord) api.Key {
	key := dnssecKey(r)
	out := api.Key{ID: r.ID, Zone: r.Zone, Role: r.Role, Engine: r.Engine, Algorithm: key.Algorithm, Tag: key.KeyTag(),
		State: string(r.State), Created: r.Created, Confirmed: strings.Fields(r.Meta[metaConfirmed]),
		DNSKEY: fmt.Sprintf("%s%s IN DNSKEY %d 3 %d %s", r.Zone, k.n.dnskeyTTL(r.Zone), key.Flags, key.Algorithm, base64.StdEncoding.EncodeToString(key.PublicKey))}
	if at, err := time.Parse(time.RFC3339, r.Meta[metaDS]); err == nil {
		out.DSPublished = at
	}
	if why := r.Meta[metaSuspended]; why != "" {
		out.Suspended, out.Problem = true, suspendedWords(r)
	}
	if key.Flags == 257 {
		if apex, err := dnssec.ParseName(r.Zone); err == nil {
			ds := key.DS(apex)
			out.DS = []string{fmt.Sprintf("%s IN DS %d %d %d %X", r.Zone, binary.BigEndian.Uint16(ds), ds[2], ds[3], ds[4:])}
		}
	}
	return out
}
