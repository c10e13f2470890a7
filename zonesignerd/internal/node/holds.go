package node

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"zonesigner/keystore"
	"zonesigner/mpc"
	"zonesigner/zonesignerd/internal/agree"
)

const typeMade agree.Type = "made"

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
// "All" and "gone" are signed by themselves and passed on. Who uses a key has
// everyone's "all", and shows them to who lacks one: nobody can let some use a
// key and keep others from it. Who gave a key up shows for whose "gone": one
// that says gone to one and all to another has said gone to everybody. With
// t = 1 that is enough for everyone to give it up, since the one that gave it
// up first says gone, too.
//
// What is left is a key that some hold as "all", of which at most t others
// say gone, and of which not all say all. It is blocked: the honest ones cannot
// tell whether one of them uses it, so they neither use it nor give it up. That
// comes of contradicting words when t > 1, and of a disk that was put back.
// The way out is people's: all operators ask for the same once more
// (ask.Again). The keys of such rivals exclude one another here, at every
// operator by itself:
//
//   - a key is stored, and "all" is said of it, only while none of a rival is
//     in use here;
//   - a key comes into use only while no key of a later rival is held here;
//   - when it does, the pending keys of its rivals are destroyed.
//
// Suppose that an honest operator uses a key of a request and another one of a
// later rival. The latter has heard "all" of the former, which therefore held
// the later key, without using the earlier one. By the first argument it
// never gave the later one up. So it never took the earlier one into use
// either. Asking again promises nothing: when the blocked key comes into use
// all the same, because the word that lacked was found, the later request ends.
//
// An operator that plays both, so that the blocked key comes into use at some
// while others hold one of the rival, is stopped by the same rules as above:
// those who use it say gone of the rival's, the others give that up and follow.
// With t > 1 and more than one such operator, that too can be blocked. Then no
// honest two use different keys, and people have to make keys with other roles.
//
// What an operator that says one thing here and another there can do is to
// stop the request, as it can by taking no part.
type hold string

const (
	holdHeld hold = "held"
	holdAll  hold = "all"
	holdGone hold = "gone"
)

// made says how this operator holds a key that all generated.
type made struct {
	Ask  agree.Digest `json:"ask"`
	Role string       `json:"role"`
	Key  string       `json:"key"`
	Hold hold         `json:"hold"`
	// Sig signs it, but for held.
	Sig []byte `json:"sig,omitempty"`
	// Tell asks the receiver for the same.
	Tell bool `json:"tell,omitempty"`
	// Heard is what others said and signed of the key.
	Heard []heard `json:"heard,omitempty"`
}

// mades is one message.
type mades struct {
	Keys []made `json:"keys"`
}

// heard is another operator's signed word on a key.
type heard struct {
	By   mpc.PartyID `json:"by"`
	Hold hold        `json:"hold"`
	Sig  []byte      `json:"sig"`
}

// words is what an operator said of a key, whenever; all and gone are its
// signatures, nil if it did not.
type words struct {
	held      bool
	all, gone []byte
}

// signed is what is signed for a word on a key. It holds no digest of the
// group: the key's id does, and the word must outlive the group's epoch.
func (m *made) signed(h hold) []byte {
	d := mpc.Digest("zonesigner word on a key v1", m.Ask[:], []byte(m.Role), []byte(m.Key), []byte(h))
	return d[:]
}

// hold is this operator's for a key that is in its keystore.
func (e *key) hold() hold {
	if p := e.Meta[metaPending]; p != "" {
		return hold(p)
	}
	return holdAll
}

// made is what this operator says of a key; k.mu is held.
func (k *keyring) made(e *key, tell bool) made {
	m := made{Ask: e.ask, Role: e.Role, Key: e.ID, Hold: holdGone}
	if k.keys[e.ID] == e {
		m.Hold, m.Tell = e.hold(), tell && e.pending()
	}
	certified := k.certified(e)
	for _, id := range k.n.groups.mpc().Parties {
		w := e.words[id]
		if w.gone != nil {
			m.Heard = append(m.Heard, heard{id, holdGone, w.gone})
		}
		if w.all != nil && certified {
			m.Heard = append(m.Heard, heard{id, holdAll, w.all})
		}
	}
	k.sign(&m)
	return m
}

func (k *keyring) sign(m *made) {
	if m.Hold != holdHeld {
		m.Sig = k.n.identity.Sign(m.signed(m.Hold))
	}
}

// sayMades tells the peers named, or all, how keys are held here.
func (k *keyring) sayMades(list []made, to ...mpc.PartyID) {
	for part := range slices.Chunk(list, mostSaid) {
		_, _ = k.n.say(typeMade, mades{part}, to...)
	}
}

// The others' words on a pending key are asked for again after a second, then
// twice that, and so on.
const mostPause = 16 * time.Second

// repeatMades asks for what was lost of the others' words: of the keys that
// wait longest, one message to each peer whose word is missing.
func (k *keyring) repeatMades() {
	k.mu.Lock()
	now := k.n.opt.Now()
	var due []*key
	for _, a := range k.open {
		for _, e := range a.keys {
			if e.pending() && !now.Before(e.next) {
				due = append(due, e)
			}
		}
	}
	slices.SortFunc(due, func(a, b *key) int { return a.next.Compare(b.next) })
	due = due[:min(len(due), mostSaid)]
	list := map[mpc.PartyID][]made{}
	for _, e := range due {
		e.pause = min(max(2*e.pause, time.Second), mostPause)
		e.next = now.Add(e.pause)
		m := k.made(e, true)
		for _, id := range k.n.groups.mpc().Parties {
			if w := e.words[id]; id != k.n.self && w.all == nil && (m.Hold == holdAll || !w.held) {
				list[id] = append(list[id], m)
			}
		}
	}
	k.mu.Unlock()
	for id, l := range list {
		k.sayMades(l, id)
	}
}

// receiveMades takes how a peer holds keys. Of keys that are not here nothing
// is kept; who asks for one is told that it is not, unless it may be on its
// way.
func (k *keyring) receiveMades(m *agree.Message) error {
	var list mades
	if err := m.Decode(&list); err != nil {
		return err
	}
	if len(list.Keys) > mostSaid {
		return fmt.Errorf("operator %s speaks of %d keys in one message, at most %d are read", m.From, len(list.Keys), mostSaid)
	}
	var answers []made
	for i := range list.Keys {
		answer, err := k.receiveMade(m.From, &list.Keys[i])
		if err != nil {
			return fmt.Errorf("operator %s on key %.40q: %w", m.From, list.Keys[i].Key, err)
		}
		if answer != nil {
			answers = append(answers, *answer)
		}
	}
	k.sayMades(answers, m.From)
	k.wake()
	return nil
}

// receiveMade takes how a peer holds one key, and returns what to answer.
func (k *keyring) receiveMade(from mpc.PartyID, m *made) (*made, error) {
	group := k.n.groups.mpc()
	if m.Hold != holdHeld && m.Hold != holdAll && m.Hold != holdGone {
		return nil, fmt.Errorf("it is held in an unknown way %.40q", m.Hold)
	}
	if len(m.Heard) > 2*group.N() {
		return nil, fmt.Errorf("%d words of others are passed on, at most %d are read", len(m.Heard), 2*group.N())
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	e := k.keys[m.Key]
	if a := k.asks[m.Ask]; e == nil && a != nil && a.given[m.Role] != nil && a.given[m.Role].ID == m.Key {
		e = a.given[m.Role]
	}
	switch {
	case e != nil && (e.ask.IsZero() || e.ask != m.Ask || e.Role != m.Role):
		return nil, nil // it is another's
	case e != nil:
		heardAll := append(m.Heard, heard{from, m.Hold, m.Sig})
		for _, h := range heardAll {
			if err := k.hear(e, m, h); err != nil {
				return nil, err
			}
		}
		if m.Tell {
			answer := k.made(e, false)
			return &answer, nil
		}
	case m.Tell:
		if a := k.asks[m.Ask]; a == nil || a.running == "" {
			answer := made{Ask: m.Ask, Role: m.Role, Key: m.Key, Hold: holdGone}
			k.sign(&answer)
			return &answer, nil
		}
	}
	return nil, nil
}

// hear takes an operator's word on a key, said by itself or passed on; k.mu is
// held. What is known already is not checked again.
func (k *keyring) hear(e *key, m *made, h heard) error {
	_, known := k.n.groups.mpc().X(h.By)
	w := e.words[h.By]
	switch {
	case !known || h.By == k.n.self || h.Hold == holdHeld && w.held || h.Hold == holdAll && w.all != nil || h.Hold == holdGone && w.gone != nil:
		return nil
	case h.Hold != holdHeld && !k.n.opt.gullible && !k.n.identity.Verify(h.By, m.signed(h.Hold), h.Sig):
		return fmt.Errorf("the word %.10q of operator %s has no valid signature", h.Hold, h.By)
	}
	switch h.Hold {
	case holdHeld:
		w.held = true
	case holdAll:
		w.all = h.Sig
	case holdGone:
		w.gone = h.Sig
	default:
		return fmt.Errorf("operator %s is said to hold it in an unknown way %.40q", h.By, h.Hold)
	}
	e.words[h.By] = w
	k.touch(k.asks[e.ask])
	return nil
}

// touch notes that there is news of a request; k.mu is held.
func (k *keyring) touch(a *asking) {
	if a != nil && k.open[a.Digest] != nil {
		k.news[a.Digest] = a
	}
}

// everyone reports whether all others said what ok tells; k.mu is held.
func (k *keyring) everyone(e *key, ok func(words) bool) bool {
	return !slices.ContainsFunc(k.n.groups.mpc().Parties, func(id mpc.PartyID) bool { return id != k.n.self && !ok(e.words[id]) })
}

// holding tells that an operator holds a key, as far as it said.
func holding(w words) bool { return (w.held || w.all != nil) && w.gone == nil }

// certified reports whether all others said "all"; k.mu is held.
func (k *keyring) certified(e *key) bool {
	return k.everyone(e, func(w words) bool { return w.all != nil })
}

// settled reports whether a key is in use or can be: all said that all hold
// it. k.mu is held.
func (k *keyring) settled(e *key) bool {
	if k.n.opt.hasty && k.everyone(e, holding) {
		return true
	}
	return !e.pending() || e.hold() == holdAll && k.certified(e)
}

// gone names the others that said gone; k.mu is held.
func (k *keyring) gone(e *key) (ids []mpc.PartyID) {
	for _, id := range k.n.groups.mpc().Parties {
		if e.words[id].gone != nil {
			ids = append(ids, id)
		}
	}
	return ids
}

// dead reports whether a pending key may be given up; k.mu is held.
func (k *keyring) dead(e *key) bool {
	if !e.pending() || k.settled(e) {
		return false
	}
	if e.hold() == holdHeld {
		return len(k.gone(e)) > 0
	}
	return len(k.gone(e)) > k.n.groups.mpc().T
}

// blocked reports whether a key can neither come into use nor be given up, as
// far as is known; k.mu is held.
func (k *keyring) blocked(e *key) bool {
	return e.pending() && e.hold() == holdAll && !k.settled(e) && !k.dead(e) && len(k.gone(e)) > 0
}

// whoSays is why a key is blocked, in words; k.mu is held.
func (k *keyring) whoSays(e *key) string {
	var who []string
	for _, id := range k.gone(e) {
		if w := e.words[id]; w.held || w.all != nil {
			who = append(who, fmt.Sprintf("operator %s said that it holds %s key %s, and that it does not", id, e.Role, e.ID))
		} else {
			who = append(who, fmt.Sprintf("operator %s says that it does not hold %s key %s, and all others may", id, e.Role, e.ID))
		}
	}
	return strings.Join(who, "; ")
}

// whyBlocked names the keys of a request that are blocked, with what to do, or
// is ""; k.mu is held.
func (k *keyring) whyBlocked(a *asking) string {
	var why []string
	for _, role := range a.Roles {
		if e := a.keys[role]; e != nil && k.blocked(e) {
			why = append(why, k.whoSays(e))
		}
	}
	if why == nil {
		return ""
	}
	return strings.Join(why, "; ") + ": nobody may use it or give it up; other keys are made in its place when every operator asks again"
}

// rivalInUse reports whether keys of a rival of this operator's are in use;
// k.mu is held.
func (k *keyring) rivalInUse(a *asking) bool {
	return slices.ContainsFunc(k.rivals[a.ask.words()], func(r *asking) bool { return r != a && r.own && r.inUse() })
}

// excluded reports whether a key of a later rival is held, which keeps those of
// the request out of use; k.mu is held.
func (k *keyring) excluded(a *asking) bool {
	if k.n.opt.both {
		return false
	}
	for _, r := range k.rivals[a.ask.words()] {
		if r.Again > a.Again {
			for _, e := range r.keys {
				if !k.dead(e) {
					return true
				}
			}
		}
	}
	return false
}

// giveUp durably destroys dead keys, before others are made in their place, and
// tells everyone. It is an error if one of them is not dead.
func (k *keyring) giveUp(wants []want) error {
	said, err := k.destroyDead(wants)
	k.sayMades(said)
	return err
}

func (k *keyring) destroyDead(wants []want) ([]made, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	var dead []*key
	for _, w := range wants {
		e := w.keys[w.role]
		switch {
		case e == nil:
			continue
		case !k.dead(e):
			return nil, fmt.Errorf("key %s was made for this already", e.ID)
		}
		dead = append(dead, e)
	}
	if len(dead) == 0 {
		return nil, nil
	}
	if err := k.n.store.Update(func(t *keystore.Tx) error { return destroy(t, dead) }); err != nil {
		return nil, err
	}
	return k.gaveUp(dead), k.n.store.Wipe()
}

func destroy(t *keystore.Tx, list []*key) error {
	for _, e := range list {
		if err := t.DeleteKey(e.ID); err != nil {
			return err
		}
	}
	return nil
}

// gaveUp forgets keys whose records are deleted, and returns what to tell the
// others. What was heard of the last one of each role is kept as evidence;
// k.mu is held.
func (k *keyring) gaveUp(list []*key) []made {
	var said []made
	for _, e := range list {
		k.drop(e)
		if a := k.asks[e.ask]; a != nil {
			a.given[e.Role] = e
		}
		said = append(said, k.made(e, false))
		k.n.log.Warn("a key that not all operators hold is given up", "zone", e.Zone, "role", e.Role, "key", e.ID)
	}
	return said
}

// settle looks at the requests that there is news of: keys that all hold are
// confirmed, and those that all confirmed come into use.
func (k *keyring) settle() {
	k.mu.Lock()
	news := slices.Collect(maps.Values(k.news))
	clear(k.news)
	k.looks += len(news)
	said, err := k.confirm(news)
	used, lost, useErr := k.use(news)
	said = append(said, lost...)
	for _, a := range news {
		k.check = k.note(a) || k.check
	}
	if err = errors.Join(err, useErr); err != nil {
		for _, a := range news { // next second
			k.touch(a)
		}
	}
	k.mu.Unlock()
	if err != nil {
		k.n.log.Error("keys not taken into use", "err", err)
	}
	k.sayMades(said)
	for _, e := range used {
		k.n.log.Info("key in use", "zone", e.Zone, "role", e.Role, "key", e.ID, "tag", dnssecKey(e).KeyTag())
		if z := k.n.zone(e.Zone); z != nil {
			z.Wake()
		}
	}
	if len(used) > 0 {
		k.n.tuples.wake()
	}
}

// confirm notes durably that all operators hold keys, and returns what to tell
// them; k.mu is held.
func (k *keyring) confirm(news []*asking) ([]made, error) {
	var held []keystore.KeyRecord
	for _, a := range news {
		for _, e := range a.keys {
			if hold(e.Meta[metaPending]) == holdHeld && k.everyone(e, holding) && !k.rivalInUse(a) {
				r := e.KeyRecord
				r.Meta = maps.Clone(r.Meta)
				r.Meta[metaPending] = string(holdAll)
				held = append(held, r)
			}
		}
	}
	if len(held) == 0 {
		return nil, nil
	}
	if err := k.n.store.Update(func(t *keystore.Tx) error { return putMetas(t, held) }); err != nil {
		return nil, err
	}
	var said []made
	for _, r := range held {
		e := k.put(r)
		e.pause, e.next = 0, k.n.opt.Now().Add(time.Second)
		said = append(said, k.made(e, true))
	}
	return said, nil
}

func putMetas(t *keystore.Tx, list []keystore.KeyRecord) error {
	for _, r := range list {
		if err := putMeta(t, r); err != nil {
			return err
		}
	}
	return nil
}

// use takes the keys of requests into use, all of a request at once, when all
// operators have heard that all hold all of them, and returns them with what is
// to be said of those that they replace; k.mu is held.
func (k *keyring) use(news []*asking) (ready []keystore.KeyRecord, said []made, err error) {
	var done []*asking
	var lost []*key
	for _, a := range news {
		ok := !slices.ContainsFunc(a.Roles, func(role string) bool { return a.keys[role] == nil || !k.settled(a.keys[role]) })
		if !ok || slices.Contains(done, a) || k.rivalInUse(a) || k.excluded(a) {
			continue
		}
		done = append(done, a)
		for _, role := range a.Roles {
			if e := a.keys[role]; e.pending() {
				ready = append(ready, k.confirmed(e))
			}
		}
		for _, r := range k.rivals[a.ask.words()] {
			if r != a && r.own {
				done = append(done, r)
				lost = slices.AppendSeq(lost, maps.Values(r.keys))
			}
		}
	}
	if len(done) == 0 {
		return nil, nil, nil
	}
	err = k.n.store.Update(func(t *keystore.Tx) error { return errors.Join(putMetas(t, ready), destroy(t, lost)) })
	if err != nil {
		return nil, nil, err
	}
	for _, r := range ready {
		k.put(r)
	}
	if len(lost) > 0 {
		said, err = k.gaveUp(lost), k.n.store.Wipe()
	}
	for _, a := range done {
		a.done, a.failed = true, ""
		clear(a.given)
		delete(k.open, a.Digest)
		delete(k.lead, a.Digest)
	}
	return ready, said, err
}

// confirmed is a key's record once it is in use; k.mu is held.
func (k *keyring) confirmed(e *key) keystore.KeyRecord {
	var holders []string
	certificate := map[mpc.PartyID][]byte{}
	for _, id := range k.n.groups.mpc().Parties {
		holders = append(holders, string(id))
		if sig := e.words[id].all; sig != nil {
			certificate[id] = sig
		}
	}
	r := e.KeyRecord
	r.Meta = map[string]string{metaAsk: r.Meta[metaAsk], metaConfirmed: strings.Join(holders, " ")}
	if text, err := json.Marshal(certificate); err == nil {
		r.Meta[metaCertified] = string(text)
	}
	return r
}

// readCertificate takes up, after a restart, what the others signed of a key in
// use, to be shown to who lacks it.
func (e *key) readCertificate() {
	var certificate map[mpc.PartyID][]byte
	if json.Unmarshal([]byte(e.Meta[metaCertified]), &certificate) != nil {
		return // a key from before there were any
	}
	for id, sig := range certificate {
		e.words[id] = words{all: sig}
	}
}
