package mascot

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"sync"
	"time"

	"zonesigner/mpc"
)

// root is what two parties keep of base transfers, both ways, for the set-up of
// their sessions: each session extends it to base transfers of its own, with a
// fresh correlation, so that public-key operations are for the first session
// only. It is never stored.
//
// A receiver that cheats in such an extension guesses bits of the root's
// correlation. One wrong guess and the root is no more; sessions use it one after
// the other, so guesses count together as they do within one session.
type root struct {
	id       [32]byte // digest of the base transfers
	made     time.Time
	sender   extensionSender
	receiver extensionReceiver

	mu      sync.Mutex
	users   int  // sessions that are being set up from it
	dropped bool // no other will be: the last user erases it
}

// rootLife is how long a root serves, and stays if nobody asks for it, so that
// what a memory gives away of sessions that are over is little.
const rootLife = time.Hour

// roots are those of all parties in this process, by whose they are.
type roots struct {
	mu  sync.Mutex
	all map[pair]*root
}

// pair is a party with one of its peers, in a group that they agree on.
type pair struct {
	group      [32]byte
	self, peer mpc.PartyID
}

// get returns the root of a pair, which the caller releases, nil if there is none
// that serves. A nil r keeps none.
func (r *roots) get(p pair) *root {
	if r == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	kept := r.all[p]
	if kept == nil {
		return nil
	}
	if time.Since(kept.made) > rootLife || kept.sender.isSpoiled() {
		r.forget(p, kept)
		return nil
	}
	kept.hold()
	return kept
}

// put keeps fresh, which was made because offered, which may be nil, was not
// what both had. Of two made at once both parties keep the same. What is not
// kept, or not any more, is dropped; a root that no session asks for again, too,
// when its time is over.
func (r *roots) put(p pair, offered, fresh *root) {
	if r == nil {
		fresh.drop()
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	other := r.all[p]
	if other != nil && other != offered && slices.Compare(other.id[:], fresh.id[:]) < 0 {
		fresh.drop()
		return
	}
	if other != nil {
		other.drop()
	}
	if r.all == nil {
		r.all = map[pair]*root{}
	}
	r.all[p] = fresh
	time.AfterFunc(rootLife, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.forget(p, fresh)
	})
}

// forget drops old, and keeps what has taken its place; r.mu is held.
func (r *roots) forget(p pair, old *root) {
	if r.all[p] == old {
		delete(r.all, p)
	}
	old.drop()
}

// hold keeps a root from being erased until it is released.
func (r *root) hold() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.users++
}

func (r *root) release() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.users--
	r.eraseUnused()
}

// drop says that no session will hold the root again.
func (r *root) drop() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.dropped = true
	r.eraseUnused()
}

// eraseUnused erases what nobody will use; r.mu is held.
func (r *root) eraseUnused() {
	if r.dropped && r.users == 0 {
		r.sender.erase()
		r.receiver.erase()
	}
}

// offer is the root that this party has with a peer, and whether the peer has
// the same.
type offer struct {
	root   *root
	agreed bool
}

// name is what the peer is told.
func (o offer) name() (name [32]byte) {
	if o.root != nil {
		name = o.root.id
	}
	return name
}

// offers holds the roots that there are with all peers; the caller releases them.
func (s *session) offers(g mpc.Group) []offer {
	offers := make([]offer, len(s.links))
	for i, l := range s.links {
		offers[i].root = s.engine.roots.get(pair{g.Digest, s.self, l.peer})
	}
	return offers
}

func release(offers []offer) {
	for _, o := range offers {
		if o.root != nil {
			o.root.release()
		}
	}
}

// newRoots makes base transfers with those peers with whom there is no root in
// common, and holds them. Their messages begin with the session's id, as does the
// next message to the others: one that greeted operators differently must not make
// them look like liars to each other, where everything is bound to the id.
func (s *session) newRoots(ctx context.Context, g mpc.Group, offers []offer) error {
	const round = "set-up/base"
	begun := make([]*baseTransfers, len(s.links))
	defer func() {
		for _, t := range begun {
			if t != nil {
				t.root.drop()
			}
		}
	}()
	var err error
	for i, l := range s.links {
		if offers[i].agreed {
			continue
		}
		if begun[i], err = s.beginBase(round, l.peer); err != nil {
			return err
		}
		if err := s.net.Send(ctx, l.peer, round, slices.Concat(s.id[:], begun[i].msg)); err != nil {
			return err
		}
	}
	for i, l := range s.links {
		if begun[i] == nil {
			continue
		}
		msg, err := s.net.Recv(ctx, l.peer, round)
		if err != nil {
			return err
		}
		if !bytes.HasPrefix(msg, s.id[:]) {
			return s.dispute("operators were greeted differently")
		}
		fresh, err := s.endBase(round, l.peer, begun[i], msg[len(s.id):])
		if err != nil {
			return err
		}
		begun[i] = nil
		fresh.hold()
		s.engine.roots.put(pair{g.Digest, s.self, l.peer}, offers[i].root, fresh)
		if offers[i].root != nil {
			offers[i].root.release()
		}
		offers[i].root = fresh
	}
	return nil
}

// baseTransfers are such as have begun, both ways: who will send extended
// transfers receives base ones.
type baseTransfers struct {
	root     *root
	receiver *baseReceiver
	sender   *baseSender
	msg      []byte
}

func (s *session) beginBase(round string, peer mpc.PartyID) (*baseTransfers, error) {
	t := &baseTransfers{root: &root{made: time.Now()}}
	t.root.sender.peer = peer
	_, _ = rand.Read(t.root.sender.delta[:])
	var err error
	if t.receiver, err = newBaseReceiver(s.call(round, s.self, peer), t.root.sender.delta[:], columns); err != nil {
		return nil, err
	}
	if t.sender, err = newBaseSender(columns); err != nil {
		return nil, err
	}
	t.msg = slices.Concat(t.receiver.msg, t.sender.msg)
	return t, nil
}

func (s *session) endBase(round string, peer mpc.PartyID, t *baseTransfers, msg []byte) (*root, error) {
	if len(msg) != (baseRequest+baseReply)*columns {
		return nil, cheat(peer, fmt.Sprintf("base transfers: message of %d bytes, want %d", len(msg), (baseRequest+baseReply)*columns))
	}
	requests, replies := msg[:baseRequest*columns], msg[baseRequest*columns:]
	chosen, err := t.receiver.keys(s.call(round, s.self, peer), peer, replies)
	if err != nil {
		return nil, err
	}
	both, err := t.sender.keys(s.call(round, peer, s.self), peer, requests)
	if err != nil {
		return nil, err
	}
	t.root.sender.take(chosen)
	copy(t.root.receiver.seeds[:], both)
	clear(both)
	// Both parties name it alike: the smaller one's message first.
	first, second := t.msg, msg
	if peer < s.self {
		first, second = second, first
	}
	t.root.id = mpc.Digest("zonesigner mascot root v1", s.id[:], first, second)
	return t.root, nil
}

// extendRoots makes the session's own base transfers, and those for its MAC key:
// one extension of each root each way, with the session's correlation and the
// choices for the key's seeds for choices.
func (s *session) extendRoots(ctx context.Context, offers []offer, keyChoices []byte) ([]transfers, error) {
	roots, choices := make([]link, len(s.links)), make([][]byte, len(s.links))
	defer func() {
		for _, c := range choices {
			clear(c)
		}
	}()
	for i, l := range s.links {
		r := offers[i].root
		roots[i] = link{l.peer, &r.sender, &r.receiver}
		_, _ = rand.Read(l.sender.delta[:])
		choices[i] = slices.Concat(l.sender.delta[:], keyChoices)
	}
	got, err := s.transfer(ctx, "set-up/extend", roots, choices, s.id[:])
	if err != nil {
		return nil, err
	}
	for i, l := range s.links {
		t := &got[i]
		l.sender.take(t.chosen[:columns])
		l.receiver.take(t.zeros[:columns], t.ones[:columns])
		*t = transfers{t.zeros[columns:], t.ones[columns:], t.chosen[columns:]}
	}
	return got, nil
}

// take makes the seeds of base transfers those of the columns, and erases them.
func (e *extensionSender) take(chosen []seed) {
	copy(e.seeds[:], chosen)
	clear(chosen)
}

// take makes the seeds of base transfers those of the columns, and erases them.
func (e *extensionReceiver) take(zeros, ones []seed) {
	for c := range e.seeds {
		e.seeds[c] = [2]seed{zeros[c], ones[c]}
	}
	clear(zeros)
	clear(ones)
}
