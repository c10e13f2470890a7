package node

import (
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"sync"
	"time"

	"zonesigner/keystore"
	"zonesigner/mpc"
	"zonesigner/zonesignerd/config"
	"zonesigner/zonesignerd/internal/agree"
	"zonesigner/zonesignerd/internal/api"
)

const (
	typeStaged agree.Type = "staged"
	typeHeard  agree.Type = "staged-heard"
)

// staged says that this operator has staged the group file of that digest. Of
// two by one operator the later one counts.
type staged struct {
	Epoch  int          `json:"epoch"`
	Digest agree.Digest `json:"digest"`
	At     int64        `json:"at"`
}

// stagedHeard relays what operators said of staging, as they signed it.
type stagedHeard struct {
	Staged [][]byte `json:"staged"`
}

// groupState is the group in force and the one that is staged. The old epoch
// stays in force until all operators have staged the new one.
//
// Epochs cannot talk to each other: a link needs one group at both ends. So
// that an operator is not left in the old one, whatever is lost and whoever
// restarts,
//
//   - what was heard is durable before it counts, is relayed as it was signed,
//     and is said once more before the switch: who is there then knows all that
//     this operator knows, and switches by itself;
//   - who greets us under the new group's digest has staged it, whether we
//     heard that or not: nobody enters a group before staging it. Who was away
//     learns by the greetings of the others what they can no longer say;
//   - a file that we staged and then replaced is kept until a switch: when
//     others have entered it already, we follow.
//
// A lying peer gains nothing by a false greeting that it could not have by
// saying "staged". What is left is an operator that tells one of two others
// and is then away: one of them waits for it in the old epoch, and status says
// for whom.
type groupState struct {
	mu   sync.RWMutex
	now  *config.Group
	view mpc.Group
	next *config.Group
	// files are what this operator staged since the last switch, next and
	// those that it replaced.
	files map[agree.Digest]groupFile
	// switching: a file is on its way to be now, and nothing else is staged.
	switching bool
	staged    map[mpc.PartyID]staged
	heard     map[mpc.PartyID][]byte // staged, as signed
}

type groupFile struct {
	group *config.Group
	text  []byte
}

const (
	bucketGroup = "group"
	keyCurrent  = "current"
	keyStaged   = "staged" // the text that was staged last
	keyFile     = "file/"  // and a digest: every text that was staged since the last switch
	keyHeard    = "heard/" // and an operator: what it signed
)

func (g *groupState) file() *config.Group {
	g.mu.RLock()
	defer g.mu.RUnlock()
	return g.now
}

func (g *groupState) mpc() mpc.Group {
	g.mu.RLock()
	defer g.mu.RUnlock()
	return g.view
}

func (g *groupState) set(now *config.Group) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.now, g.view = now, now.MPC()
}

// openGroup decides which group file is in force: the one that the store
// remembers, or, at the first start, the one that the configuration names. A
// file that was edited without a new epoch is refused; one with a new epoch
// has to be staged.
func (n *Node) openGroup() error {
	n.groups.staged, n.groups.heard = map[mpc.PartyID]staged{}, map[mpc.PartyID][]byte{}
	text, err := os.ReadFile(n.cfg.Group)
	if err != nil {
		return fmt.Errorf("group file: %w", err)
	}
	file, err := config.ParseGroup(n.cfg.Group, text)
	if err != nil {
		return err
	}
	if _, ok := file.Operator(n.cfg.Operator); !ok {
		return fmt.Errorf("%s: operator %q is not in the group; is `operator` in the configuration right?", n.cfg.Group, n.cfg.Operator)
	}
	kept, err := n.store.Get(bucketGroup, keyCurrent)
	switch {
	case errors.Is(err, keystore.ErrNotFound):
		if err := n.store.Put(bucketGroup, keyCurrent, text); err != nil {
			return err
		}
		n.groups.set(file)
	case err != nil:
		return err
	default:
		current, err := config.ParseGroup("group in force", kept)
		if err != nil {
			return err
		}
		if file.Epoch == current.Epoch && file.Digest() != current.Digest() {
			return fmt.Errorf("%s: differs from the group in force, which has the same epoch %d; give it a new epoch and run `zonesignerd group stage`", n.cfg.Group, file.Epoch)
		}
		n.groups.set(current)
	}
	next, err := n.store.Get(bucketGroup, keyStaged)
	if errors.Is(err, keystore.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	parsed, err := config.ParseGroup("staged group", next)
	if err != nil {
		return err
	}
	n.groups.next = parsed
	files, err := n.store.List(bucketGroup, keyFile)
	if err != nil {
		return err
	}
	n.groups.files = map[agree.Digest]groupFile{parsed.Digest(): {parsed, next}}
	for _, e := range files {
		g, err := config.ParseGroup("staged group", e.Value)
		if err != nil {
			return err
		}
		n.groups.files[g.Digest()] = groupFile{g, e.Value}
	}
	return nil
}

// openStaged takes up what was heard before a restart.
func (n *Node) openStaged() error {
	entries, err := n.store.List(bucketGroup, keyHeard)
	if err != nil {
		return err
	}
	for _, e := range entries {
		m, err := agree.Open(n.identity, n.groups.mpc().Digest, e.Value)
		if err == nil {
			_, err = n.hear(m)
		}
		if err != nil {
			n.log.Warn("what was heard of a staged group is dropped", "operator", e.Key, "err", err)
		}
	}
	n.switchGroup()
	return nil
}

// stage keeps the group file of the next epoch and tells the others.
func (n *Node) stage(file string, text []byte) (*config.Group, error) {
	next, err := config.ParseGroup(file, text)
	if err != nil {
		return nil, err
	}
	now := n.groups.file()
	same := slices.EqualFunc(now.Operators, next.Operators, func(a, b config.Operator) bool { return a.Name == b.Name && a.NKey == b.NKey })
	switch {
	case next.Name != now.Name:
		return nil, fmt.Errorf("%s: is of group %q, this operator is in %q", file, next.Name, now.Name)
	case next.Epoch <= now.Epoch:
		return nil, fmt.Errorf("%s: has epoch %d, expected more than %d", file, next.Epoch, now.Epoch)
	case !same || next.Threshold != now.Threshold:
		return nil, fmt.Errorf("%s: changes operators or threshold, for which the keys would have to be shared anew; this version changes addresses, engine and signer sets", file)
	}
	n.groups.mu.RLock()
	switching := n.groups.switching
	n.groups.mu.RUnlock()
	if switching {
		return nil, fmt.Errorf("the group is just changing: try again in a moment")
	}
	digest := agree.Digest(next.Digest())
	raw, err := agree.Seal(n.identity, now.Digest(), typeStaged, staged{Epoch: next.Epoch, Digest: digest, At: n.opt.Now().UnixNano()})
	if err != nil {
		return nil, err
	}
	m, err := agree.Open(n.identity, now.Digest(), raw)
	if err != nil {
		return nil, err
	}
	err = n.store.Update(func(t *keystore.Tx) error {
		return errors.Join(t.Put(bucketGroup, keyStaged, text), t.Put(bucketGroup, keyFile+hex.EncodeToString(digest[:]), text))
	})
	if err != nil {
		return nil, err
	}
	n.groups.mu.Lock()
	n.groups.next = next
	if n.groups.files == nil {
		n.groups.files = map[agree.Digest]groupFile{}
	}
	n.groups.files[digest] = groupFile{next, text}
	n.groups.mu.Unlock()
	if _, err := n.hear(m); err != nil {
		return nil, err
	}
	n.tell(raw)
	n.switchGroup()
	return next, nil
}

func (n *Node) helloStaged(peer mpc.PartyID) {
	n.groups.mu.RLock()
	raw := slices.Collect(maps.Values(n.groups.heard))
	n.groups.mu.RUnlock()
	if raw != nil {
		_, _ = n.say(typeHeard, stagedHeard{Staged: raw}, peer)
	}
}

// receiveStaged is called by the transport's handlers.
func (n *Node) receiveStaged(m *agree.Message) error {
	news, err := n.hear(m)
	if err != nil || !news {
		return err
	}
	n.switchGroup()
	return nil
}

func (n *Node) receiveHeard(m *agree.Message) error {
	var h stagedHeard
	if err := m.Decode(&h); err != nil {
		return err
	}
	group := n.groups.mpc()
	if len(h.Staged) > group.N() {
		return fmt.Errorf("operator %s relays %d operators' words, the group has %d", m.From, len(h.Staged), group.N())
	}
	for _, raw := range h.Staged {
		said, err := agree.Open(n.identity, group.Digest, raw)
		if err != nil {
			return err
		}
		if said.Type != typeStaged {
			return fmt.Errorf("operator %s relays a message of type %q as staged", m.From, said.Type)
		}
		if err := n.receiveStaged(said); err != nil {
			return err
		}
	}
	return nil
}

// hear keeps what an operator, this one too, said of staging, and tells
// whether it is new.
func (n *Node) hear(m *agree.Message) (news bool, err error) {
	var s staged
	if err := m.Decode(&s); err != nil {
		return false, err
	}
	g := &n.groups
	g.mu.Lock()
	defer g.mu.Unlock()
	if old, ok := g.staged[m.From]; ok && old.At >= s.At {
		return false, nil
	}
	if err := n.store.Put(bucketGroup, keyHeard+string(m.From), m.Raw); err != nil {
		return false, err
	}
	g.staged[m.From], g.heard[m.From] = s, slices.Clone(m.Raw)
	n.log.Info("operator has staged a group", "operator", m.From, "epoch", s.Epoch, "digest", s.Digest)
	return true, nil
}

// stagedBy names the operators that staged the same file as this one.
func (n *Node) stagedBy() (epoch int, by []string) {
	n.groups.mu.RLock()
	defer n.groups.mu.RUnlock()
	if n.groups.next == nil {
		return 0, nil
	}
	for _, id := range n.groups.view.Parties {
		if n.groups.staged[id].Digest == n.groups.next.Digest() {
			by = append(by, string(id))
		}
	}
	return n.groups.next.Epoch, by
}

// groupRequest is the group file that operators have staged, of the newest
// epoch, and who has yet to; nil: none. What this operator staged comes first.
func (n *Node) groupRequest() *api.Request {
	n.groups.mu.RLock()
	defer n.groups.mu.RUnlock()
	g := &n.groups
	want, ok := g.staged[n.self]
	if !ok {
		for _, s := range g.staged {
			if s.Epoch > max(g.now.Epoch, want.Epoch) {
				want = s
			}
		}
	}
	if want.Epoch <= g.now.Epoch {
		return nil
	}
	r := &api.Request{Digest: hex.EncodeToString(want.Digest[:]), Kind: api.KindGroupStage, Subject: fmt.Sprint("epoch ", want.Epoch),
		State: api.RequestWaiting, Command: "zonesignerd group stage FILE"}
	for _, id := range g.view.Parties {
		if g.staged[id].Digest == want.Digest {
			r.Asked = append(r.Asked, string(id))
		} else {
			r.WaitsFor = append(r.WaitsFor, string(id))
		}
	}
	if len(r.WaitsFor) == 0 {
		r.State = api.RequestRunning
	}
	return r
}

// switchGrace is how long a switch waits for what was said under the old
// epoch to arrive: the links end with it.
const switchGrace = time.Second

// agreed is the file that all operators have staged or entered. What this
// operator staged last needs no more than that; one that it replaced needs
// somebody who entered it. g.mu is held.
func (g *groupState) agreed(self mpc.PartyID, greeted map[mpc.PartyID][32]byte) (groupFile, bool) {
	for digest, f := range g.files {
		all, entered := true, false
		for _, id := range g.view.Parties {
			in := id != self && greeted[id] == digest
			entered = entered || in
			all = all && (in || id == self || g.staged[id].Digest == digest)
		}
		if all && (entered || g.next != nil && g.next.Digest() == digest) {
			return f, true
		}
	}
	return groupFile{}, false
}

// switchGroup puts the staged group in force once all have staged it, on a
// goroutine of its own: it ends the links, which wait for the handlers of
// their messages, and those call this.
func (n *Node) switchGroup() {
	var greeted map[mpc.PartyID][32]byte
	if n.nats != nil {
		greeted = n.nats.Greeted()
	}
	g := &n.groups
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.switching || len(g.files) == 0 || n.ctx.Err() != nil {
		return
	}
	f, ok := g.agreed(n.self, greeted)
	if !ok {
		return
	}
	g.switching = true
	n.wg.Go(func() {
		if err := n.enterGroup(f); err != nil && n.ctx.Err() == nil {
			n.log.Error("group not in force", "epoch", f.group.Epoch, "err", err)
		}
		g.mu.Lock()
		g.switching = false
		g.mu.Unlock()
	})
}

func (n *Node) enterGroup(f groupFile) error {
	peers, err := peersOf(f.group)
	if err != nil {
		return err
	}
	for _, p := range peers {
		n.helloStaged(p.ID)
	}
	select {
	case <-time.After(switchGrace):
	case <-n.ctx.Done():
		return n.ctx.Err()
	}
	gone := []string{keyStaged}
	for _, prefix := range []string{keyFile, keyHeard} {
		entries, err := n.store.List(bucketGroup, prefix)
		if err != nil {
			return err
		}
		for _, e := range entries {
			gone = append(gone, e.Key)
		}
	}
	n.groups.mu.Lock()
	err = n.store.Update(func(t *keystore.Tx) error {
		for _, key := range gone {
			if err := t.Delete(bucketGroup, key); err != nil {
				return err
			}
		}
		return t.Put(bucketGroup, keyCurrent, f.text)
	})
	if err == nil {
		n.groups.now, n.groups.view = f.group, f.group.MPC()
		n.groups.next = nil
		clear(n.groups.files)
		clear(n.groups.staged)
		clear(n.groups.heard)
	}
	n.groups.mu.Unlock()
	if err != nil {
		return err
	}
	// It is in force, and a restart would find it so: go on until the network
	// follows.
	for n.nats != nil {
		if err = n.nats.SetPeers(f.group.Digest(), peers); err == nil || n.ctx.Err() != nil {
			break
		}
		n.log.Error("network does not enter the group, trying again", "epoch", f.group.Epoch, "err", err)
		select {
		case <-time.After(switchGrace):
		case <-n.ctx.Done():
		}
	}
	if err != nil {
		return err
	}
	n.log.Info("group in force", "epoch", f.group.Epoch, "fingerprint", config.Fingerprint(f.group.Digest()))
	n.tuples.wake()
	return nil
}
