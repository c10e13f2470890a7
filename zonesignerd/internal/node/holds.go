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
)

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
// could not be, for it never says so afterwards. The first honest one to give it
// up after saying "all" needs t+1 others that say gone, so an honest one among
// them, which never said "all" and never will. So while one honest operator
// uses a key of a request, every other keeps its share of it, and as a new
// generation starts with giving up the old key at all, no two of them use
// different ones.
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
// comes of an operator that says gone after it let the others say all, be it
// that its disk was put back, and of contradicting words when t > 1. The way
// out is people's: all operators ask for the same once more (ask.Again). The
// keys of such rivals exclude one another, at every operator by itself:
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

// hold is this operator's for a key that is in its keystore.
func (e *key) hold() hold {
	if p := e.Meta[metaPending]; p != "" {
		return hold(p)
	}
	return holdAll
}

// touch notes that there is news of a request, and so of its rivals; k.mu is
// held.
func (k *keyring) touch(a *asking) {
	if a == nil {
		return
	}
	for _, r := range k.rivals[a.family] {
		if k.open[r.Digest] != nil {
			k.news[r.Digest] = r
		}
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
	return slices.ContainsFunc(k.rivals[a.family], func(r *asking) bool { return r != a && r.own && r.inUse() })
}

// excluded reports whether a key of a later rival is held, which keeps those of
// the request out of use; k.mu is held.
func (k *keyring) excluded(a *asking) bool {
	if k.n.opt.both {
		return false
	}
	for _, r := range k.rivals[a.family] {
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
		for _, r := range k.rivals[a.family] {
			if r != a && r.own {
				done = append(done, r)
				lost = slices.AppendSeq(lost, maps.Values(r.keys))
			}
		}
	}
	if len(done) == 0 {
		return nil, nil, nil
	}
	err = k.n.store.Update(func(t *keystore.Tx) error {
		return errors.Join(putMetas(t, ready), destroy(t, lost), deleteFiles(t, done...))
	})
	if err != nil {
		return nil, nil, err
	}
	for _, r := range ready {
		k.put(r)
	}
	said = k.gaveUp(lost)
	if len(lost) > 0 || slices.ContainsFunc(done, func(a *asking) bool { return a.imports() }) {
		err = k.n.store.Wipe()
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
