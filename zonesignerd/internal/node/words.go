package node

import (
	"fmt"
	"slices"
	"time"

	"zonesigner/mpc"
	"zonesigner/zonesignerd/internal/agree"
)

const typeMade agree.Type = "made"

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
