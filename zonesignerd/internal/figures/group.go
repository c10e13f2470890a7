package figures

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"zonesigner/mpc"
	"zonesigner/mpc/memnet"
	"zonesigner/mpc/natsnet"
	"zonesigner/zonesignerd/internal/agree"
	"zonesigner/zonesignerd/internal/engines"
	"zonesigner/zonesignerd/internal/heap"
)

// group is all operators of a plan.
type group struct {
	engine    engines.Engine
	group     mpc.Group
	set       mpc.SignerSet
	operators map[mpc.PartyID]*operator
	closers   []func()
}

// operator is one of them.
type operator struct {
	id        mpc.PartyID
	private   ed25519.PrivateKey
	identity  mpc.Identity // signs with private
	transport mpc.Transport
	agreement *agree.Agreement
	store     *store
	meter     meter
	key       engines.Key
	signer    mpc.Signer
	task      task
}

// first is the one that proposes.
func (g *group) first() *operator { return g.operators[g.set[0]] }

// names are a, b, c and so on.
func names(n int) []mpc.PartyID {
	ids := make([]mpc.PartyID, max(n, 0))
	for i := range ids {
		ids[i] = mpc.PartyID(fmt.Sprintf("%c%d", 'a'+i%26, i/26))
		if n <= 26 {
			ids[i] = ids[i][:1]
		}
	}
	return ids
}

// newGroup starts the operators and waits until they see each other.
func newGroup(ctx context.Context, p Plan) (*group, error) {
	heap.Raise() // as the daemon does
	g := &group{engine: p.Engine, group: mpc.Group{Parties: names(p.N), T: p.T, Digest: sha256.Sum256([]byte("zonesigner bench"))},
		operators: map[mpc.PartyID]*operator{}}
	if err := Supports(p.Engine, p.N, p.T); err != nil {
		return nil, err
	}
	var err error
	if g.set, err = largestSet(p.Engine, g.group); err != nil {
		return nil, err
	}
	peers := make([]natsnet.Peer, g.group.N())
	for i, id := range g.group.Parties {
		public, private, err := ed25519.GenerateKey(nil)
		if err != nil {
			return nil, err
		}
		peers[i] = natsnet.Peer{ID: id, Key: public}
		g.operators[id] = &operator{id: id, private: private, store: newStore()}
	}
	for id, o := range g.operators {
		o.identity = natsnet.NewIdentity(id, o.private, peers)
	}
	if err := g.connect(ctx, p, peers); err != nil {
		g.close()
		return nil, err
	}
	for _, o := range g.operators {
		o.agreement = agree.New(agree.Config{
			Identity: o.identity, Group: func() mpc.Group { return g.group }, Send: o.control,
			Ready: func(mpc.PartyID) bool { return true }, Timeout: time.Minute, Logger: slog.New(slog.DiscardHandler),
		})
		o.agreement.Register(kind, o)
		o.transport.Handle(func(_ mpc.PartyID, b []byte) {
			if m, err := agree.Open(o.identity, g.group.Digest, b); err == nil {
				_ = o.agreement.Receive(m)
			}
		})
		g.closers = append(g.closers, o.agreement.Close)
	}
	return g, nil
}

// largestSet is the set with most members that may sign: all, or with a passive
// engine t+1.
func largestSet(e engines.Engine, g mpc.Group) (mpc.SignerSet, error) {
	var err error
	for n := g.N(); n > g.T; n-- {
		set := mpc.NewSignerSet(g.Parties[:n]...)
		if err = e.Signers(g, set); err == nil {
			return set, nil
		}
	}
	return nil, err
}

// connect makes everybody's transport, and fills in the addresses of peers.
func (g *group) connect(ctx context.Context, p Plan, peers []natsnet.Peer) error {
	if p.Transport == Memory {
		hub := memnet.New(g.group.Parties...)
		hub.SetDelay(p.Setting.RoundTrip / 2)
		g.closers = append(g.closers, hub.Close)
		for id, o := range g.operators {
			o.transport = hub.Transport(id)
		}
		return nil
	}
	// On a longer way, one proxy before each server; servers dial one another
	// through them. Else each knows the addresses of those before it.
	var proxies []*proxy
	if p.Setting.RoundTrip > 0 {
		for i := range peers {
			way, err := newProxy(p.Setting.RoundTrip / 2)
			if err != nil {
				return err
			}
			g.closers = append(g.closers, way.close)
			peers[i].Address = way.addr()
			proxies = append(proxies, way)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	transports := make([]*natsnet.Transport, g.group.N())
	for i, id := range g.group.Parties {
		o := g.operators[id]
		t, err := natsnet.Start(context.WithoutCancel(ctx), natsnet.Config{
			Self: id, Key: o.private, Group: g.group.Digest, GroupName: "bench", Peers: peers, Listen: "127.0.0.1:0",
		})
		if err != nil {
			return err
		}
		g.closers = append(g.closers, func() { _ = t.Close() })
		if proxies != nil {
			proxies[i].forwardTo(t.Addr())
		} else {
			peers[i].Address = t.Addr()
		}
		o.transport, transports[i] = t, t
	}
	for _, t := range transports {
		if err := t.WaitReady(ctx); err != nil {
			return err
		}
	}
	return nil
}

// close ends everything, last things first.
func (g *group) close() {
	for i := len(g.closers) - 1; i >= 0; i-- {
		g.closers[i]()
	}
}

// together runs f for each of parties in a fresh session and returns when all
// are done, and how long that took. One that fails stops the others.
func (g *group) together(ctx context.Context, parties []mpc.PartyID, f func(ctx context.Context, o *operator, net mpc.Network) error) (time.Duration, error) {
	var id mpc.SessionID
	_, _ = rand.Read(id[:])
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	begin := time.Now()
	for _, p := range parties {
		wg.Go(func() {
			if err := g.operators[p].within(ctx, id, parties, f); err != nil {
				cancel(fmt.Errorf("operator %s: %w", p, err))
			}
		})
	}
	wg.Wait()
	return time.Since(begin), context.Cause(ctx)
}

// within runs f at one operator in a session.
func (o *operator) within(ctx context.Context, id mpc.SessionID, parties []mpc.PartyID, f func(ctx context.Context, o *operator, net mpc.Network) error) error {
	net, err := o.transport.Open(id, parties)
	if err != nil {
		return err
	}
	defer net.Close()
	return f(ctx, o, &metered{net, &o.meter})
}

// resetCounts begins counting anew at everybody.
func (g *group) resetCounts() {
	for _, o := range g.operators {
		o.meter.reset()
	}
}

// counts is what the operator sent that sent most.
func (g *group) counts() (bytes, messages int) {
	for _, o := range g.operators {
		b, m := o.meter.sent()
		bytes, messages = max(bytes, b), max(messages, m)
	}
	return bytes, messages
}

// makeSigners gives each operator the signer of its key.
func (g *group) makeSigners() error {
	for _, o := range g.operators {
		var err error
		if o.signer, err = g.engine.NewSigner(engines.Config{Identity: o.identity, Store: o.store, Group: g.group, Key: o.key, RoundTrip: o.roundTrip}); err != nil {
			return err
		}
	}
	return nil
}

// roundTrip is the longest that the transport knows of, as in a daemon.
func (o *operator) roundTrip() time.Duration {
	longest := 0.0
	for _, p := range o.transport.Peers() {
		longest = max(longest, p.RoundTrip)
	}
	return time.Duration(longest * float64(time.Second))
}

// parts of one key generation, each of the operator that took longest.
type parts struct{ secret, public, checks time.Duration }

// generate makes a key, which everybody keeps. first and last are the rounds
// between whose beginning and end the public key is opened.
func (g *group) generate(ctx context.Context, first, last string) (parts, error) {
	label := make([]byte, 16)
	_, _ = rand.Read(label)
	var mu sync.Mutex
	var longest parts
	_, err := g.together(ctx, g.group.Parties, func(ctx context.Context, o *operator, net mpc.Network) error {
		o.meter.watch(first, last)
		begin := time.Now()
		key, err := g.engine.Generate(ctx, net, o.identity, g.group, label)
		if err != nil {
			return err
		}
		o.key = key
		end := time.Now()
		from, to := o.meter.watched()
		if first == "" {
			from, to = end, end
		}
		if from.IsZero() || to.IsZero() {
			return errors.New("it opened no public key")
		}
		mu.Lock()
		defer mu.Unlock()
		longest = parts{max(longest.secret, from.Sub(begin)), max(longest.public, to.Sub(from)), max(longest.checks, end.Sub(to))}
		return nil
	})
	return longest, err
}

// prepare makes n tuples of the key for the set.
func (g *group) prepare(ctx context.Context, n int, progress func(done int)) (time.Duration, error) {
	return g.together(ctx, g.group.Parties, func(ctx context.Context, o *operator, net mpc.Network) error {
		report := progress
		if o != g.first() {
			report = nil
		}
		return o.signer.Prepare(ctx, net, o.key.ID, g.set, g.set[0], n, report)
	})
}

// forget drops the tuples that are left.
func (g *group) forget() {
	for _, o := range g.operators {
		o.store.forget()
	}
}
