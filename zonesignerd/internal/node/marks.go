package node

import (
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"zonesigner/keystore"
	"zonesigner/mpc"
	"zonesigner/zonesignerd/internal/agree"
)

const (
	typeMark     agree.Type = "mark"
	typeMarkAsk  agree.Type = "mark-ask"
	typeMarkHeld agree.Type = "mark-held"
)

// markOf carries an operator's newest statement, whose signature covers its
// generation mark. It counts whoever relays it.
type markOf struct {
	Statement []byte `json:"statement"`
}

// markAsk asks what a peer holds of our mark.
type markAsk struct {
	Start agree.Digest `json:"start"` // random, for each start that nothing vouched for
}

// markHeld answers one start, and no other: what a peer knew, and destroyed,
// before a later start says nothing of what was spent in between.
type markHeld struct {
	Start     agree.Digest `json:"start"`               // as asked
	Statement []byte       `json:"statement,omitempty"` // the asker's newest; empty: none is known
}

// marks keeps the newest generation mark of every operator, and after a start
// collects what the others hold of ours (a restored disk must not revive
// spent tuples).
type marks struct {
	n *Node

	flushing sync.Mutex // held over a commit of fresh; taken before mu

	mu      sync.Mutex
	fresh   map[mpc.PartyID]keystore.PeerMark // not yet durable
	durable map[mpc.PartyID]uint64            // what is, as far as it was seen in this life
	own     []byte                            // newest statement of ours
	ownMark uint64                            // its generation
	held    map[mpc.PartyID]uint64            // what others hold of ours, in this life
	start   agree.Digest                      // not zero: tuples are here from before a start that nothing vouched for, and some have not answered yet
}

const (
	bucketMark = "mark"
	keyOwn     = "own"
	keyStart   = "start"
)

func newMarks(n *Node) (*marks, error) {
	m := &marks{n: n, fresh: map[mpc.PartyID]keystore.PeerMark{}, durable: map[mpc.PartyID]uint64{}, held: map[mpc.PartyID]uint64{}}
	if _, yes := n.store.Suspended(); yes {
		_, _ = rand.Read(m.start[:]) // never fails
		if err := n.store.Put(bucketMark, keyStart, m.start[:]); err != nil {
			return nil, fmt.Errorf("start without a run mark: %w", err)
		}
	} else if b, err := n.store.Get(bucketMark, keyStart); err == nil && len(b) == len(m.start) {
		m.start = agree.Digest(b) // started again before all had answered
	} else if err != nil && !errors.Is(err, keystore.ErrNotFound) {
		return nil, fmt.Errorf("start without a run mark: %w", err)
	}
	if b, err := n.store.Get(bucketMark, keyOwn); err == nil {
		if s, from, err := mpc.VerifyStatement(n.identity, b); err == nil && from == n.self {
			m.own, m.ownMark = b, s.Mark.Generation
		}
	}
	return m, nil
}

// revivable reports whether a pool may be revived by what the others hold of
// our mark, after a start at which nothing of our own vouches for the disk.
//
// They may know too little: who took no part in the last signings does not
// hold the mark, and up to t lie. What then stops a second statement on a
// spent tuple is a member of its set that is honest and has spent it itself:
// there is one when the set has t+2 members or more, ourselves and t cheats
// not counted. A smaller set may be all cheats but us, and its tuples are not
// revived whatever the others say. Unbound tuples take all operators to be bound,
// whatever set they are for.
//
// With a threshold of n-1 there are not even t+1 others to ask. Nothing is
// revived then, and tuples are made anew.
func revivable(pool keystore.PoolID, g mpc.Group) bool {
	s, err := mpc.ParseSignerSet(pool.Set)
	return g.N() > g.T+1 && (err == nil && len(s) >= g.T+2 || strings.HasPrefix(pool.Key, string(mpc.Unbound(""))))
}

// cleared reports an error while tuples of a signer set may not be used, after a
// start that nothing vouched for: when other members have not answered yet. Who
// answers has destroyed what it accepted a proposal for, and we may have spoken
// of.
func (m *marks) cleared(set mpc.SignerSet) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.start.IsZero() || m.n.opt.reviveAll {
		return nil
	}
	for _, id := range set {
		if _, ok := m.held[id]; !ok && id != m.n.self {
			return fmt.Errorf("after a start at operator %s that nothing vouched for, operator %s of the set has not said yet what it knows of its tuples", m.n.self, id)
		}
	}
	return nil
}

// answered ends the asking when every other operator has answered. Tuples of
// operators that join later are new.
func (m *marks) answered() error {
	if len(m.waitsFor()) > 0 {
		return nil
	}
	if err := m.n.store.Delete(bucketMark, keyStart); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.start = agree.Digest{}
	return nil
}

// discardUnvouched destroys, after a start at which tuples are suspended, those
// that no confirmation may revive.
func (n *Node) discardUnvouched() error {
	why, yes := n.store.Suspended()
	if !yes || n.opt.reviveAll {
		return nil
	}
	g := n.groups.mpc()
	lost, err := n.store.DiscardPools("no run mark, and sets of "+strconv.Itoa(g.T+1)+" are never confirmed by others",
		func(p keystore.PoolID) bool { return !revivable(p, g) })
	if lost > 0 {
		n.log.Error("tuples of the small signer sets are discarded: nothing here tells whether this disk is an old copy, and too few others could", "tuples", lost, "reason", why)
	}
	return err
}

// signed is told by the signer of every run's statements, before a share of a
// signature is released. It returns when the others' marks are durable: one that a crash
// lets us forget could not speak against an old disk. Runs side by side share
// a commit.
func (m *marks) signed(_ mpc.SessionID, statements []mpc.SignedStatement) error {
	for _, s := range statements {
		m.take(s.From, s.Mark.Generation, s.Raw)
	}
	return m.flush()
}

// take notes a mark that is newer than the one known, whoever brought it.
func (m *marks) take(from mpc.PartyID, generation uint64, raw []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if from == m.n.self {
		if generation > m.ownMark {
			m.own, m.ownMark = raw, generation
		}
		return
	}
	if generation > max(m.fresh[from].Generation, m.durable[from]) {
		m.fresh[from] = keystore.PeerMark{Operator: string(from), Generation: generation, Signed: raw}
	}
}

// run makes marks durable and sends ours to those who took no part, at most
// once a second, and asks for confirmation while tuples are suspended, and those
// who have not answered after that.
func (m *marks) run() {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	var told []byte
	for {
		select {
		case <-m.n.ctx.Done():
			m.flushLogged()
			return
		case <-tick.C:
		}
		m.flushLogged()
		m.mu.Lock()
		own := m.own
		m.mu.Unlock()
		if own != nil && !slices.Equal(own, told) {
			told = own
			if err := m.n.store.Put(bucketMark, keyOwn, own); err != nil {
				m.n.log.Error("mark not kept", "err", err)
			}
			_, _ = m.n.say(typeMark, markOf{Statement: own})
		}
		m.ask()
	}
}

// ask asks for confirmation: all while tuples are suspended, since they may come
// to know more, and then those who have not answered.
func (m *marks) ask() {
	m.mu.Lock()
	start := m.start
	m.mu.Unlock()
	if start.IsZero() {
		return
	}
	var who []mpc.PartyID
	if _, yes := m.n.store.Suspended(); !yes {
		for _, name := range m.waitsFor() {
			who = append(who, mpc.PartyID(name))
		}
		if who == nil { // they left the group
			if err := m.answered(); err != nil {
				m.n.log.Error("not kept", "err", err)
			}
			return
		}
	}
	_, _ = m.n.say(typeMarkAsk, markAsk{start}, who...)
}

// flush makes what was taken durable. When it returns, so is what was taken
// before it began: whoever commits at that time is waited for.
func (m *marks) flush() error {
	m.flushing.Lock()
	defer m.flushing.Unlock()
	m.mu.Lock()
	list := slices.Collect(maps.Values(m.fresh))
	m.mu.Unlock()
	if len(list) == 0 {
		return nil
	}
	if err := m.n.store.SetPeerMark(list...); err != nil {
		return fmt.Errorf("marks of peers: %w", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, mark := range list {
		id := mpc.PartyID(mark.Operator)
		m.durable[id] = max(m.durable[id], mark.Generation)
		if m.fresh[id].Generation <= mark.Generation {
			delete(m.fresh, id)
		}
	}
	return nil
}

func (m *marks) flushLogged() {
	if err := m.flush(); err != nil {
		m.n.log.Error("not kept", "err", err)
	}
}

func (m *marks) hello(peer mpc.PartyID) {
	m.mu.Lock()
	own := m.own
	m.mu.Unlock()
	if own != nil {
		_, _ = m.n.say(typeMark, markOf{Statement: own}, peer)
	}
}

func (m *marks) receive(msg *agree.Message) error {
	switch msg.Type {
	case typeMark:
		var k markOf
		if err := msg.Decode(&k); err != nil {
			return err
		}
		s, from, err := mpc.VerifyStatement(m.n.identity, k.Statement)
		if err != nil {
			return err
		}
		m.take(from, s.Mark.Generation, k.Statement)
		return nil
	case typeMarkAsk:
		var k markAsk
		if err := msg.Decode(&k); err != nil {
			return err
		}
		if ok, err := m.n.tuples.discardAccepted(msg.From, k.Start, m.n.opt.Now()); !ok {
			return err
		}
		if err := m.flush(); err != nil {
			return err
		}
		held, err := m.n.store.PeerMark(string(msg.From))
		if err != nil && !errors.Is(err, keystore.ErrNotFound) {
			return err
		}
		if m.n.opt.held != nil {
			held.Signed = m.n.opt.held(msg.From, held.Signed)
		}
		_, err = m.n.say(typeMarkHeld, markHeld{k.Start, held.Signed}, msg.From)
		return err
	}
	return m.confirm(msg)
}

// confirm counts what a peer holds of ours. A mark counts only with our own
// signature, so a peer cannot make us discard tuples by lying; that it may
// say less than it knows is why t+1 of them are needed.
func (m *marks) confirm(msg *agree.Message) error {
	var k markHeld
	if err := msg.Decode(&k); err != nil {
		return err
	}
	generation := uint64(0)
	if len(k.Statement) > 0 {
		s, from, err := mpc.VerifyStatement(m.n.identity, k.Statement)
		if err != nil {
			return err
		}
		if from != m.n.self {
			return errors.New("operator " + string(msg.From) + " answers with another operator's mark")
		}
		generation = s.Mark.Generation
	}
	_, suspended := m.n.store.Suspended()
	m.mu.Lock()
	if m.start.IsZero() || k.Start != m.start && !m.n.opt.anyStart {
		m.mu.Unlock()
		return nil // late: it may have waited for a link since before this start
	}
	m.held[msg.From] = generation
	var list []keystore.PeerMark
	for id, g := range m.held {
		list = append(list, keystore.PeerMark{Operator: string(id), Generation: g})
	}
	m.mu.Unlock()
	needed := m.n.groups.mpc().T + 1
	if c := m.n.opt.confirmations; c > 0 {
		needed = c
	}
	err := m.n.store.Confirm(needed, list)
	switch {
	case err == nil:
		if suspended {
			m.n.log.Info("tuples are usable again: other operators confirmed our mark", "operators", len(list))
		}
		if err := m.answered(); err != nil {
			return err
		}
		m.n.tuples.wake()
		for _, z := range m.n.allZones() {
			z.Wake()
		}
	case errors.Is(err, keystore.ErrFewMarks):
		return nil
	case errors.Is(err, keystore.ErrRestored):
		m.n.log.Error("the keystore was restored from an older copy; its tuples are gone", "err", err)
		m.n.foundRestored()
		m.n.tuples.wake()
	default:
		return err
	}
	return nil
}

// waitsFor names the operators whose confirmation is still missing.
func (m *marks) waitsFor() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []string
	for _, id := range m.n.groups.mpc().Parties {
		if _, ok := m.held[id]; !ok && id != m.n.self {
			out = append(out, string(id))
		}
	}
	return out
}
