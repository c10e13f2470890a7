package node

import (
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"zonesigner/keystore"
	"zonesigner/mpc"
	"zonesigner/mpc/natsnet"
	"zonesigner/zonesignerd/config"
	"zonesigner/zonesignerd/internal/agree"
	"zonesigner/zonesignerd/internal/api"
)

const typeStaged agree.Type = "staged"

// staged says that this operator has staged the group file of that digest.
type staged struct {
	Epoch  int          `json:"epoch"`
	Digest agree.Digest `json:"digest"`
}

// groupState is the group in force and the one that is staged. The old epoch
// stays in force until all operators have staged the new one.
type groupState struct {
	mu   sync.RWMutex
	now  *config.Group
	view mpc.Group
	next *config.Group
	text []byte // of next
	// switching: next is on its way to be now, and stays what it is.
	switching bool
	staged    map[mpc.PartyID]staged
}

const (
	bucketGroup = "group"
	keyCurrent  = "current"
	keyStaged   = "staged"
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
	n.groups.staged = map[mpc.PartyID]staged{}
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
	n.groups.next, n.groups.text = parsed, next
	n.groups.staged[n.self] = staged{parsed.Epoch, parsed.Digest()}
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
	if err := n.store.Put(bucketGroup, keyStaged, text); err != nil {
		return nil, err
	}
	n.groups.mu.Lock()
	n.groups.next, n.groups.text = next, text
	n.groups.staged[n.self] = staged{next.Epoch, next.Digest()}
	n.groups.mu.Unlock()
	if _, err := n.say(typeStaged, staged{Epoch: next.Epoch, Digest: next.Digest()}); err != nil {
		return nil, err
	}
	return next, n.switchGroup()
}

func (n *Node) helloStaged(peer mpc.PartyID) {
	n.groups.mu.RLock()
	next := n.groups.next
	n.groups.mu.RUnlock()
	if next != nil {
		_, _ = n.say(typeStaged, staged{Epoch: next.Epoch, Digest: next.Digest()}, peer)
	}
}

func (n *Node) receiveStaged(m *agree.Message) error {
	var s staged
	if err := m.Decode(&s); err != nil {
		return err
	}
	n.groups.mu.Lock()
	n.groups.staged[m.From] = s
	n.groups.mu.Unlock()
	n.log.Info("operator has staged a group", "peer", m.From, "epoch", s.Epoch, "digest", s.Digest)
	return n.switchGroup()
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

// switchGroup puts the staged group in force once all have staged it. Having
// heard that all have, this operator tells them once more under the old
// epoch, so that none is left behind.
//
// The switch itself is no caller's: it ends the links, which wait for the
// handlers of their messages, and those call this.
func (n *Node) switchGroup() error {
	n.groups.mu.Lock()
	defer n.groups.mu.Unlock()
	g := &n.groups
	if g.next == nil || g.switching {
		return nil
	}
	for _, id := range g.view.Parties {
		if g.staged[id].Digest != g.next.Digest() {
			return nil
		}
	}
	peers, err := peersOf(g.next)
	if err != nil {
		return err
	}
	g.switching = true
	next, text := g.next, g.text
	n.wg.Go(func() {
		err := n.enterGroup(next, text, peers)
		if err != nil && n.ctx.Err() == nil {
			n.log.Error("group not in force", "epoch", next.Epoch, "err", err)
		}
		n.groups.mu.Lock()
		n.groups.switching = false
		n.groups.mu.Unlock()
	})
	return nil
}

func (n *Node) enterGroup(next *config.Group, text []byte, peers []natsnet.Peer) error {
	if _, err := n.say(typeStaged, staged{Epoch: next.Epoch, Digest: next.Digest()}); err != nil {
		return err
	}
	select {
	case <-time.After(switchGrace):
	case <-n.ctx.Done():
		return n.ctx.Err()
	}
	err := n.store.Update(func(t *keystore.Tx) error {
		if err := t.Put(bucketGroup, keyCurrent, text); err != nil {
			return err
		}
		return t.Delete(bucketGroup, keyStaged)
	})
	if err != nil {
		return err
	}
	n.groups.mu.Lock()
	n.groups.next, n.groups.text = nil, nil
	clear(n.groups.staged)
	n.groups.mu.Unlock()
	n.groups.set(next)
	if n.nats != nil {
		if err := n.nats.SetPeers(next.Digest(), peers); err != nil {
			return err
		}
	}
	n.log.Info("group in force", "epoch", next.Epoch, "fingerprint", config.Fingerprint(next.Digest()))
	n.tuples.wake()
	return nil
}
