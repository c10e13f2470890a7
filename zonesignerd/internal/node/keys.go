package node

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"zonesigner/dnssec"
	"zonesigner/keystore"
	"zonesigner/mpc"
	"zonesigner/mpc/ecdsa"
	"zonesigner/mpc/shamir"
	"zonesigner/zonesignerd/internal/agree"
	"zonesigner/zonesignerd/internal/api"
	"zonesigner/zonesignerd/internal/pipeline"
)

// kindKey is the kind of proposal that generates one key.
const kindKey agree.Kind = "key"

const (
	typeAsk  agree.Type = "ask"
	typeMade agree.Type = "made"
)

// The roles of a key.
const (
	roleKSK = "KSK"
	roleZSK = "ZSK"
	roleCSK = "CSK"
)

// ask is an operator's own request for keys of a zone. A key event starts
// when all operators have asked for the same; its digest is the request.
type ask struct {
	Zone   string       `json:"zone"`
	Roles  []string     `json:"roles"`
	Engine string       `json:"engine"`
	Have   []string     `json:"have"` // ids of the zone's keys when it was asked: the same words later are another request
	Since  int64        `json:"since,omitempty"`
	Digest agree.Digest `json:"digest"`
}

func (a *ask) digest() agree.Digest {
	text := fmt.Sprintf("zonesigner keys\n%s\n%s\n%s\n%s\n", a.Zone, strings.Join(a.Roles, " "), a.Engine, strings.Join(a.Have, " "))
	return sha256.Sum256([]byte(text))
}

// bounded reports whether a peer's request is worth keeping.
func (a *ask) bounded() bool {
	size := len(a.Zone) + len(a.Engine)
	for _, s := range append(slices.Clone(a.Roles), a.Have...) {
		size += len(s)
	}
	return size <= 4096 && len(a.Roles) <= 3
}

// wantedKey is the body of a key proposal.
type wantedKey struct {
	Ask  agree.Digest `json:"ask"`
	Role string       `json:"role"`
}

// made says how this operator holds a key that all generated.
type made struct {
	Ask  agree.Digest `json:"ask"`
	Role string       `json:"role"`
	Key  string       `json:"key"`
	Hold hold         `json:"hold"`
	// Tell asks the receiver for the same.
	Tell bool `json:"tell,omitempty"`
}

// hold is how far an operator is with a key. A key belongs to its zone only
// when everyone has heard that everyone holds it, so that nobody uses one that
// another has given up, whoever tells whom what:
//
//	held  its share is durable here; it may be given up when anyone says gone
//	all   all said held (or all), and this is durable: it is given up only when
//	      t+1 others say gone
//	gone  it is not here and never will be
//
// A key is taken into use by who has heard "all" of everyone, and then never
// given up. Had an honest operator given it up before saying "all", that
// could not be; to give it up after, t+1 others have to say that they did, so
// an honest one among them, which never says "all" again. So while one honest
// operator uses a key of a request, every other keeps its share of it, and as
// a new generation starts with giving up the old key at all, no two of them
// use different ones.
//
// What an operator that says one thing here and another there can do is to
// stop the request, as it can by taking no part.
type hold string

const (
	holdHeld hold = "held"
	holdAll  hold = "all"
	holdGone hold = "gone"
)

// A key's record: metaPending is hold while it does not belong to its zone.
const (
	metaAsk       = "ask"
	metaPending   = "pending"
	metaConfirmed = "confirmed"
)

// keyring is the operator's keys and what is asked for.
type keyring struct {
	n    *Node
	kick chan struct{}

	mu       sync.Mutex
	records  map[string]keystore.KeyRecord // without secrets; entered with put
	byAsk    map[agree.Digest][]string     // ids of the keys that a request made
	byZone   map[string][]string
	shares   map[mpc.KeyID]*ecdsa.KeyShare
	own      map[agree.Digest]*ask
	others   map[agree.Digest]*ask // what peers asked for, for people to see
	asked    map[agree.Digest]map[mpc.PartyID]bool
	asksOf   map[mpc.PartyID]map[string][]agree.Digest // the same by zone, oldest first, for bounds
	holds    map[string]map[mpc.PartyID]hold           // key id of a record -> how others hold it
	running  map[agree.Digest]string                   // what happens now
	repeated time.Time                                 // when requests were last said again
	failed   map[agree.Digest]string
	retryAt  map[wantedKey]time.Time
}

const bucketAsks = "asks"

func (n *Node) openKeys() error {
	n.engines = map[string]ecdsa.Protocol{}
	var protocols []ecdsa.Protocol
	for _, p := range []ecdsa.Protocol{ecdsa.Over(shamir.Passive()), ecdsa.Over(shamir.Active())} {
		n.engines[p.Name()] = p
		protocols = append(protocols, p)
	}
	k := &n.keys
	k.n, k.kick = n, make(chan struct{}, 1)
	k.records, k.shares = map[string]keystore.KeyRecord{}, map[mpc.KeyID]*ecdsa.KeyShare{}
	k.byAsk, k.byZone = map[agree.Digest][]string{}, map[string][]string{}
	k.own, k.asked = map[agree.Digest]*ask{}, map[agree.Digest]map[mpc.PartyID]bool{}
	k.others = map[agree.Digest]*ask{}
	k.asksOf = map[mpc.PartyID]map[string][]agree.Digest{}
	k.holds, k.running = map[string]map[mpc.PartyID]hold{}, map[agree.Digest]string{}
	k.failed, k.retryAt = map[agree.Digest]string{}, map[wantedKey]time.Time{}
	records, err := n.store.Keys()
	if err != nil {
		return err
	}
	for _, r := range records {
		k.put(r)
	}
	entries, err := n.store.List(bucketAsks, "")
	if err != nil {
		return err
	}
	for _, e := range entries {
		var a ask
		if err := json.Unmarshal(e.Value, &a); err != nil {
			return fmt.Errorf("request %s: %w", e.Key, err)
		}
		k.own[a.Digest] = &a
		k.asked[a.Digest] = map[mpc.PartyID]bool{n.self: true}
	}
	n.tuples = newTuples(n)
	n.marks = newMarks(n)
	n.signer, err = ecdsa.NewSigner(ecdsa.Config{
		Identity: n.identity, Store: tupleStore{n.store, n.opt.spent}, Protocols: protocols,
		Keys: k.share, Group: n.groups.mpc, ChunkSize: n.cfg.Pools.Chunk, Signed: n.marks.signed,
	})
	return err
}

// put enters a key, or its new form; k.mu is held, but at the start.
func (k *keyring) put(r keystore.KeyRecord) {
	if _, known := k.records[r.ID]; !known {
		if d, ok := askOf(r); ok {
			k.byAsk[d] = append(k.byAsk[d], r.ID)
		}
		k.byZone[r.Zone] = append(k.byZone[r.Zone], r.ID)
		slices.Sort(k.byZone[r.Zone])
	}
	k.records[r.ID] = r
}

// share returns this operator's share of a key for the signer.
func (k *keyring) share(id mpc.KeyID) (*ecdsa.KeyShare, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if s := k.shares[id]; s != nil {
		return s, nil
	}
	r, err := k.n.store.Key(string(id))
	if err != nil {
		return nil, err
	}
	s := new(ecdsa.KeyShare)
	if err := s.UnmarshalBinary(r.Secret); err != nil {
		return nil, fmt.Errorf("key %s: %w", id, err)
	}
	k.shares[id] = s
	return s, nil
}

// inUse reports whether a key is in use or will be.
func inUse(r keystore.KeyRecord) bool {
	return r.Meta[metaPending] == "" && r.State != keystore.Removed
}

// all lists the keys that are in use or will be, sorted by id.
func (k *keyring) all() []keystore.KeyRecord {
	k.mu.Lock()
	defer k.mu.Unlock()
	var out []keystore.KeyRecord
	for _, r := range k.records {
		if inUse(r) {
			out = append(out, r)
		}
	}
	slices.SortFunc(out, func(a, b keystore.KeyRecord) int { return cmp.Compare(a.ID, b.ID) })
	return out
}

func (k *keyring) find(id string) (keystore.KeyRecord, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	r, ok := k.records[id]
	return r, ok && r.Meta[metaPending] == ""
}

// of lists those of one zone, sorted by id.
func (k *keyring) of(zone string) []keystore.KeyRecord {
	k.mu.Lock()
	defer k.mu.Unlock()
	var out []keystore.KeyRecord
	for _, id := range k.byZone[zone] {
		if r := k.records[id]; inUse(r) {
			out = append(out, r)
		}
	}
	return out
}

// zone returns the zone's key set for planning, sorted by id.
func (k *keyring) zone(name string) []dnssec.Key {
	var out []dnssec.Key
	for _, r := range k.of(name) {
		out = append(out, dnssecKey(r))
	}
	return out
}

func dnssecKey(r keystore.KeyRecord) dnssec.Key {
	flags := uint16(257)
	if r.Role == roleZSK {
		flags = 256
	}
	return dnssec.Key{ID: r.ID, Flags: flags, CSK: r.Role == roleCSK, Algorithm: dnssec.ECDSAP256SHA256,
		PublicKey: r.Public, State: dnssec.KeyState(r.State)}
}

// request makes this operator's request, or finds the same one.
func (k *keyring) request(zone string, roles []string, engine string) (*ask, error) {
	a := &ask{Zone: zone, Roles: roles, Engine: engine, Since: k.n.opt.Now().Unix()}
	for _, key := range k.zone(zone) {
		a.Have = append(a.Have, key.ID)
	}
	a.Digest = a.digest()
	k.mu.Lock()
	old := k.own[a.Digest]
	k.mu.Unlock()
	if old != nil {
		return old, nil
	}
	text, err := json.Marshal(a)
	if err != nil {
		return nil, err
	}
	if err := k.n.store.Put(bucketAsks, hex.EncodeToString(a.Digest[:]), text); err != nil {
		return nil, err
	}
	k.mu.Lock()
	k.own[a.Digest] = a
	if k.asked[a.Digest] == nil {
		k.asked[a.Digest] = map[mpc.PartyID]bool{}
	}
	k.asked[a.Digest][k.n.self] = true
	k.mu.Unlock()
	if _, err := k.n.say(typeAsk, a); err != nil {
		return nil, err
	}
	k.wake()
	return a, nil
}

func (k *keyring) wake() {
	select {
	case k.kick <- struct{}{}:
	default:
	}
}

// hello repeats to a peer what it may have missed.
func (k *keyring) hello(peer mpc.PartyID) {
	k.mu.Lock()
	asks, mades := slices.Collect(maps.Values(k.own)), k.mades(false)
	k.mu.Unlock()
	for _, a := range asks {
		_, _ = k.n.say(typeAsk, a, peer)
	}
	for _, m := range mades {
		_, _ = k.n.say(typeMade, m, peer)
	}
	k.wake()
}

// mades is what is to be said of the keys, or of the pending ones alone; k.mu
// is held.
func (k *keyring) mades(pending bool) []made {
	var out []made
	for _, r := range k.records {
		if d, ok := askOf(r); ok && (!pending || r.Meta[metaPending] != "") {
			out = append(out, made{Ask: d, Role: r.Role, Key: r.ID, Hold: holdOf(r), Tell: r.Meta[metaPending] != ""})
		}
	}
	return out
}

// repeat asks for what was lost of the others' words, and says the open
// requests again from time to time.
func (k *keyring) repeat() {
	k.mu.Lock()
	mades := k.mades(true)
	var asks []*ask
	if now := k.n.opt.Now(); now.Sub(k.repeated) > time.Minute {
		k.repeated = now
		for _, a := range k.own {
			if k.lacking(a) != "" {
				asks = append(asks, a)
			}
		}
	}
	k.mu.Unlock()
	for _, m := range mades {
		_, _ = k.n.say(typeMade, m)
	}
	for _, a := range asks {
		_, _ = k.n.say(typeAsk, a)
	}
}

func askOf(r keystore.KeyRecord) (d agree.Digest, ok bool) {
	return d, d.UnmarshalText([]byte(r.Meta[metaAsk])) == nil
}

func holdOf(r keystore.KeyRecord) hold {
	if p := r.Meta[metaPending]; p != "" {
		return hold(p)
	}
	return holdAll
}

// What one peer's requests can make us remember: so many for a zone, the
// newest, and so many zones that are not (yet) here. Requests are said again.
const (
	mostAsks     = 8
	mostNewZones = 256
)

func (k *keyring) receive(m *agree.Message) error {
	if m.Type == typeAsk {
		return k.receiveAsk(m)
	}
	return k.receiveMade(m)
}

func (k *keyring) receiveAsk(m *agree.Message) error {
	var a ask
	if err := m.Decode(&a); err != nil {
		return err
	}
	if a.digest() != a.Digest {
		return fmt.Errorf("request of operator %s does not have its own digest", m.From)
	}
	if !a.bounded() {
		return fmt.Errorf("request of operator %s is too long", m.From)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.asked[a.Digest][m.From] {
		k.wake()
		return nil
	}
	byZone := k.asksOf[m.From]
	if byZone == nil {
		byZone = map[string][]agree.Digest{}
		k.asksOf[m.From] = byZone
	}
	if byZone[a.Zone] == nil && k.n.zone(a.Zone) == nil {
		strange := 0
		for zone := range byZone {
			if k.n.zone(zone) == nil {
				strange++
			}
		}
		if strange >= mostNewZones {
			return fmt.Errorf("operator %s asks for keys of more than %d zones that are not here", m.From, mostNewZones)
		}
	}
	list := append(byZone[a.Zone], a.Digest)
	if len(list) > mostAsks {
		old := list[0]
		list = list[1:]
		if delete(k.asked[old], m.From); len(k.asked[old]) == 0 {
			delete(k.asked, old)
			delete(k.others, old)
		}
	}
	byZone[a.Zone] = list
	if k.asked[a.Digest] == nil {
		k.asked[a.Digest] = map[mpc.PartyID]bool{}
	}
	if k.own[a.Digest] == nil {
		k.n.log.Info("operator asks for keys", "peer", m.From, "zone", a.Zone, "roles", a.Roles, "engine", a.Engine)
	}
	k.asked[a.Digest][m.From] = true
	k.others[a.Digest] = &a
	k.wake()
	return nil
}

// receiveMade takes how a peer holds a key. Of keys that are not here nothing
// is kept; who asks for one is told that it is not, unless it may be on its
// way.
func (k *keyring) receiveMade(m *agree.Message) error {
	var d made
	if err := m.Decode(&d); err != nil {
		return err
	}
	if d.Hold != holdHeld && d.Hold != holdAll && d.Hold != holdGone {
		return fmt.Errorf("operator %s holds key %.40q in an unknown way %.40q", m.From, d.Key, d.Hold)
	}
	answer, reply := made{Ask: d.Ask, Role: d.Role, Key: d.Key, Hold: holdGone}, d.Tell
	k.mu.Lock()
	r, here := k.records[d.Key]
	switch at, ok := askOf(r); {
	case here && (!ok || at != d.Ask || r.Role != d.Role):
		reply = false // it is another's
	case here:
		if k.holds[d.Key] == nil {
			k.holds[d.Key] = map[mpc.PartyID]hold{}
		}
		if k.holds[d.Key][m.From] != holdGone { // for ever
			k.holds[d.Key][m.From] = d.Hold
		}
		answer.Hold = holdOf(r)
	default:
		reply = reply && k.running[d.Ask] == ""
	}
	k.mu.Unlock()
	if reply {
		_, _ = k.n.say(typeMade, answer, m.From)
	}
	k.wake()
	return nil
}

// run starts key generations whose time has come and activates keys that all
// hold.
func (k *keyring) run() {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-k.n.ctx.Done():
			return
		case <-k.kick:
		case <-tick.C:
			k.repeat()
		}
		k.activate()
		for _, a := range k.due() {
			if err := k.generate(a); err != nil && k.n.ctx.Err() == nil {
				k.n.log.Warn("keys not generated", "zone", a.Zone, "err", err)
				k.mu.Lock()
				k.failed[a.Digest] = err.Error()
				k.mu.Unlock()
			}
			k.activate()
		}
	}
}

// due lists the requests that all operators made, that lack a key, and that
// this operator leads: the first by hash, so that zones spread.
func (k *keyring) due() []*ask {
	group := k.n.groups.mpc()
	k.mu.Lock()
	defer k.mu.Unlock()
	var out []*ask
	for d, a := range k.own {
		role := k.lacking(a)
		if len(k.asked[d]) < group.N() || role == "" || k.stuck(d, role) || k.n.opt.Now().Before(k.retryAt[wantedKey{d, role}]) || leader(d, group) != k.n.self {
			continue
		}
		out = append(out, a)
	}
	slices.SortFunc(out, func(a, b *ask) int { return cmp.Compare(a.Since, b.Since) })
	return out
}

func leader(d agree.Digest, group mpc.Group) mpc.PartyID {
	return group.Parties[binary.BigEndian.Uint32(d[:])%uint32(group.N())]
}

// lacking is the first role of the request that has no key that all hold;
// k.mu is held.
func (k *keyring) lacking(a *ask) string {
	for _, role := range a.Roles {
		if r, ok := k.keyFor(a.Digest, role); !ok || !k.settled(r) {
			return role
		}
	}
	return ""
}

// keyFor finds the key that a request made for a role: there is one at most.
// k.mu is held.
func (k *keyring) keyFor(d agree.Digest, role string) (keystore.KeyRecord, bool) {
	for _, r := range k.records {
		if have, ok := askOf(r); ok && have == d && r.Role == role {
			return r, true
		}
	}
	return keystore.KeyRecord{}, false
}

// settled reports whether a key is in use or can be: all said that all hold
// it. k.mu is held.
func (k *keyring) settled(r keystore.KeyRecord) bool {
	if k.n.opt.hasty && k.count(r, holdHeld)+k.count(r, holdAll) == k.n.groups.mpc().N()-1 {
		return true
	}
	return r.Meta[metaPending] == "" || holdOf(r) == holdAll && k.count(r, holdAll) == k.n.groups.mpc().N()-1
}

// count is how many others hold a key like that; k.mu is held.
func (k *keyring) count(r keystore.KeyRecord, h hold) int {
	n := 0
	for _, id := range k.n.groups.mpc().Parties {
		if id != k.n.self && k.holds[r.ID][id] == h {
			n++
		}
	}
	return n
}

// dead reports whether a pending key may be given up; k.mu is held.
func (k *keyring) dead(r keystore.KeyRecord) bool {
	switch hold(r.Meta[metaPending]) {
	case holdHeld:
		return k.count(r, holdGone) > 0
	case holdAll:
		return k.count(r, holdGone) > k.n.groups.mpc().T
	}
	return false
}

// stuck reports whether a key of that role is there that is not dead: another
// is not to be made. k.mu is held.
func (k *keyring) stuck(d agree.Digest, role string) bool {
	r, ok := k.keyFor(d, role)
	return ok && !k.dead(r)
}

// giveUp durably destroys the dead key of a role, if there is one, before
// another is made.
func (k *keyring) giveUp(d agree.Digest, role string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	r, ok := k.keyFor(d, role)
	switch {
	case !ok:
		return nil
	case !k.dead(r):
		return fmt.Errorf("key %s was made for this already", r.ID)
	}
	if err := k.n.store.DeleteKey(r.ID); err != nil {
		return err
	}
	delete(k.records, r.ID)
	delete(k.shares, mpc.KeyID(r.ID))
	delete(k.holds, r.ID)
	k.n.log.Warn("a key that not all operators hold is given up", "zone", r.Zone, "role", r.Role, "key", r.ID)
	return nil
}

// generate proposes and runs the generation of the first key that lacks.
func (k *keyring) generate(a *ask) error {
	k.mu.Lock()
	role := k.lacking(a)
	k.retryAt[wantedKey{a.Digest, role}] = k.n.opt.Now().Add(5 * time.Second) // the confirmations' chance to arrive
	k.mu.Unlock()
	if role == "" {
		return nil
	}
	if err := k.giveUp(a.Digest, role); err != nil {
		return err
	}
	all := mpc.NewSignerSet(k.n.groups.mpc().Parties...)
	agreed, err := k.n.agreement.Propose(k.n.ctx, kindKey, a.Zone, all, wantedKey{Ask: a.Digest, Role: role})
	if err != nil {
		return err
	}
	return k.session(k.n.ctx, agreed, a, role)
}

// session generates one key with all operators and keeps it, pending until
// all have said that they hold it.
func (k *keyring) session(ctx context.Context, agreed *agree.Agreed, a *ask, role string) error {
	k.mu.Lock()
	_, there := k.keyFor(a.Digest, role)
	busy := there || k.running[a.Digest] != ""
	if !busy {
		k.running[a.Digest] = "generating the " + role
	}
	k.mu.Unlock()
	if busy {
		return fmt.Errorf("another %s of this request is there or on its way", role)
	}
	defer func() {
		k.mu.Lock()
		delete(k.running, a.Digest)
		k.mu.Unlock()
	}()
	engine, ok := k.n.engines[a.Engine]
	if !ok {
		return fmt.Errorf("engine %q is not known to this version", a.Engine)
	}
	net, err := k.n.transport.Open(agreed.Session, agreed.Proposal.Members)
	if err != nil {
		return err
	}
	defer net.Close()
	ctx, _, stop := pipeline.Watchdog(ctx, 2*time.Duration(k.n.cfg.Sessions.Timeout))
	defer stop()
	label := fmt.Sprintf("%s %s %x", a.Zone, role, a.Digest)
	share, err := ecdsa.GenerateKey(ctx, net, k.n.identity, k.n.groups.mpc(), engine, []byte(label))
	if err != nil {
		return err
	}
	secret, err := share.MarshalBinary()
	if err != nil {
		return err
	}
	public := share.PublicKey()
	r := keystore.KeyRecord{ID: string(share.ID), Zone: a.Zone, Role: role, Engine: a.Engine, Public: public[:],
		State: keystore.Active, Created: k.n.opt.Now().UTC().Truncate(time.Second), Secret: secret,
		Meta: map[string]string{metaAsk: hex.EncodeToString(a.Digest[:]), metaPending: string(holdHeld)}}
	if err := k.n.store.Update(func(t *keystore.Tx) error { return t.PutKey(r) }); err != nil {
		return err
	}
	r.Secret = nil
	k.mu.Lock()
	k.put(r)
	k.mu.Unlock()
	k.n.log.Info("key generated", "zone", a.Zone, "role", role, "key", r.ID, "tag", dnssecKey(r).KeyTag())
	_, err = k.n.say(typeMade, made{Ask: a.Digest, Role: role, Key: r.ID, Hold: holdHeld, Tell: true})
	k.wake()
	return err
}

// confirm notes durably that all operators hold a key, and tells them.
func (k *keyring) confirm() {
	k.mu.Lock()
	var held []keystore.KeyRecord
	for _, r := range k.records {
		if hold(r.Meta[metaPending]) == holdHeld && k.count(r, holdHeld)+k.count(r, holdAll) == k.n.groups.mpc().N()-1 {
			held = append(held, r)
		}
	}
	for _, r := range held {
		r.Meta = maps.Clone(r.Meta)
		r.Meta[metaPending] = string(holdAll)
		if err := k.n.store.Update(func(t *keystore.Tx) error { return putMeta(t, r) }); err != nil {
			k.n.log.Error("key not confirmed", "key", r.ID, "err", err)
			continue
		}
		k.records[r.ID] = r
	}
	k.mu.Unlock()
	for _, r := range held {
		if d, ok := askOf(r); ok {
			_, _ = k.n.say(typeMade, made{Ask: d, Role: r.Role, Key: r.ID, Hold: holdAll, Tell: true})
		}
	}
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

// activate takes the keys of a request into use, all at once, when all
// operators have heard that all hold all of them.
func (k *keyring) activate() {
	k.confirm()
	var holders []string
	for _, id := range k.n.groups.mpc().Parties {
		holders = append(holders, string(id))
	}
	k.mu.Lock()
	var ready []keystore.KeyRecord
	for d, a := range k.own {
		if k.lacking(a) != "" {
			continue
		}
		for _, role := range a.Roles {
			if r, _ := k.keyFor(d, role); r.Meta[metaPending] != "" {
				r.Meta = map[string]string{metaAsk: r.Meta[metaAsk], metaConfirmed: strings.Join(holders, " ")}
				ready = append(ready, r)
			}
		}
	}
	k.mu.Unlock()
	if len(ready) == 0 {
		return
	}
	err := k.n.store.Update(func(t *keystore.Tx) error {
		for _, r := range ready {
			if err := putMeta(t, r); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		k.n.log.Error("keys not taken into use", "err", err)
		return
	}
	k.mu.Lock()
	for _, r := range ready {
		k.put(r)
		if d, ok := askOf(r); ok {
			delete(k.retryAt, wantedKey{d, r.Role})
			delete(k.failed, d)
		}
	}
	k.mu.Unlock()
	for _, r := range ready {
		k.n.log.Info("key in use", "zone", r.Zone, "role", r.Role, "key", r.ID, "tag", dnssecKey(r).KeyTag())
		if z := k.n.zone(r.Zone); z != nil {
			z.Wake()
		}
	}
	k.n.tuples.wake()
}

// keyProposals judges and runs key generations that others propose.
type keyProposals struct{ n *Node }

func (h keyProposals) Judge(_ context.Context, _ agree.Digest, p *agree.Proposal, _ func(agree.Verdict, string)) agree.Answer {
	var body wantedKey
	refuse := func(code, format string, args ...any) agree.Answer {
		return agree.Answer{Verdict: agree.Refuse, Code: code, Reason: fmt.Sprintf(format, args...)}
	}
	if err := json.Unmarshal(p.Body, &body); err != nil {
		return refuse("form", "proposal cannot be read: %v", err)
	}
	k := &h.n.keys
	if answer := k.judge(p, body, refuse); answer.Verdict != agree.Accept {
		return answer
	}
	// What was made before is gone before the answer is given.
	if err := k.giveUp(body.Ask, body.Role); err != nil {
		return refuse("made", "%v", err)
	}
	return agree.Answer{Verdict: agree.Accept}
}

func (k *keyring) judge(p *agree.Proposal, body wantedKey, refuse func(code, format string, args ...any) agree.Answer) agree.Answer {
	group := k.n.groups.mpc()
	k.mu.Lock()
	defer k.mu.Unlock()
	a := k.own[body.Ask]
	switch {
	case a == nil:
		return refuse("not-asked", "this operator has not asked for keys of %s", p.Subject)
	case !slices.Contains(a.Roles, body.Role):
		return refuse("not-asked", "this operator has not asked for a %s of %s", body.Role, a.Zone)
	case len(p.Members) != group.N():
		return refuse("members", "key generation needs all operators")
	case p.Proposer != leader(body.Ask, group):
		return refuse("leader", "this key is for operator %s to propose", leader(body.Ask, group))
	case k.running[body.Ask] != "":
		return agree.Answer{Verdict: agree.Superseded, Code: "busy", Reason: "a key of this request is being generated"}
	case k.stuck(body.Ask, body.Role):
		return refuse("made", "a key was made for this already, and waits for all to confirm it")
	}
	return agree.Answer{Verdict: agree.Accept}
}

func (h keyProposals) Run(ctx context.Context, a *agree.Agreed) {
	var body wantedKey
	if json.Unmarshal(a.Proposal.Body, &body) != nil {
		return
	}
	k := &h.n.keys
	k.mu.Lock()
	own := k.own[body.Ask]
	k.mu.Unlock()
	if own == nil {
		return
	}
	if err := k.session(ctx, a, own, body.Role); err != nil && ctx.Err() == nil {
		h.n.log.Warn("key not generated", "zone", own.Zone, "role", body.Role, "err", err)
	}
}

func (keyProposals) Abandon(agree.Digest, *agree.Proposal, error)         {}
func (keyProposals) Answered(*agree.Proposal, mpc.PartyID, *agree.Answer) {}

// view is a key as the commands show it.
func (k *keyring) view(r keystore.KeyRecord) api.Key {
	key := dnssecKey(r)
	out := api.Key{ID: r.ID, Zone: r.Zone, Role: r.Role, Engine: r.Engine, Algorithm: key.Algorithm, Tag: key.KeyTag(),
		State: string(r.State), Created: r.Created, Confirmed: strings.Fields(r.Meta[metaConfirmed]),
		DNSKEY: fmt.Sprintf("%s IN DNSKEY %d 3 %d %s", r.Zone, key.Flags, key.Algorithm, base64.StdEncoding.EncodeToString(key.PublicKey))}
	if at, err := time.Parse(time.RFC3339, r.Meta[metaDS]); err == nil {
		out.DSPublished = at
	}
	if key.Flags == 257 {
		if apex, err := dnssec.ParseName(r.Zone); err == nil {
			ds := key.DS(apex)
			out.DS = []string{fmt.Sprintf("%s IN DS %d %d %d %X", r.Zone, binary.BigEndian.Uint16(ds), ds[2], ds[3], ds[4:])}
		}
	}
	return out
}
