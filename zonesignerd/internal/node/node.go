// Package node is the daemon: it joins the keystore, the transport, the
// agreement, the signer and the zones of one operator, and answers the
// commands that come over the local socket. It decides little itself; what it
// holds is wiring and the life of each part.
//
// Lock order: a zone's lock may be held while the node's is taken, never the
// other way round.
package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"zonesigner/keystore"
	"zonesigner/knot"
	"zonesigner/mpc"
	"zonesigner/mpc/natsnet"
	"zonesigner/zonesignerd/config"
	"zonesigner/zonesignerd/internal/agree"
	"zonesigner/zonesignerd/internal/api"
	"zonesigner/zonesignerd/internal/pipeline"
	"zonesigner/zonesignerd/internal/tasks"
)

// Options are what the caller of Start provides besides the configuration.
type Options struct {
	Version string
	Logger  *slog.Logger
	// Load reads the configuration again, for Reload; nil: reloading is not
	// offered.
	Load func() (*config.Daemon, error)
	// SetLogLevel changes the Logger's level; nil: a change needs a restart.
	SetLogLevel func(level string)
	// Now is the clock; nil: time.Now. For tests.
	Now func() time.Time
	// Transport replaces NATS, for tests.
	Transport mpc.Transport
	// Turn is how long a proposer has before the next one; 0: 2 s.
	Turn time.Duration

	pollTimeout time.Duration // how long a primary has to answer; 0: 10 s. For tests.

	atWork func() bool // test hook: a large zone is being signed or published

	spent func(mpc.TupleRange, [32]byte) // test hook: told of every spending before it is spoken of
	// spoil is a test hook: it alters what is spent.
	spoil func(blob []byte)
	// reviveAll is a test hook: tuples of all signer sets are revived by what
	// the others say.
	reviveAll bool
	// anyStart is a test hook: a confirmation counts whichever start it answers.
	anyStart bool
	// everyStart is a test hook: what was accepted is destroyed for any number
	// of starts.
	everyStart bool
	// hasty is a test hook: a key is taken into use when all say that they
	// hold it, without hearing that all have heard so.
	hasty bool
	// gullible is a test hook: words on keys that are passed on are taken
	// without a signature.
	gullible bool
	// unread is a test hook: the share of a key that is brought in is looked
	// at only in the session.
	unread bool
	// everApproved is a test hook: no approval becomes void.
	everApproved bool
	// both is a test hook: a key is taken into use though one of a later rival
	// is held.
	both bool
	// Test hooks: what is said of another's mark, and how many operators
	// confirm our own; 0: t+1.
	held          func(asker mpc.PartyID, held []byte) []byte
	confirmations int
}

// Node is one operator's daemon.
type Node struct {
	cfg     *config.Daemon
	opt     Options
	log     *slog.Logger
	self    mpc.PartyID
	started time.Time

	store     *keystore.Store
	identity  mpc.Identity
	transport mpc.Transport
	nats      *natsnet.Transport // nil with Options.Transport
	outboxes  map[mpc.PartyID]*outbox
	agreement *agree.Agreement
	signer    *signers
	engines   map[string]engine
	hidden    *knot.Control
	public    *knot.Control
	primary   *knot.Primary // of the public Knot; nil: it gets all through its control socket
	heavy     chan struct{}
	polling   *polling
	changes   sync.Mutex // one zone is added, opened anew or removed at a time; taken before any other lock

	ctx    context.Context
	cancel context.CancelFunc
	opened chan struct{} // closed when everything is there
	wg     tasks.Group

	groups   groupState
	keys     keyring
	tuples   *tuples
	sharing  *sharing
	marks    *marks
	blame    blame
	requests requests
	approved approvals
	servings servings
	restored restoredStore

	mu    sync.Mutex
	zones map[string]*zone
	knots map[string]*api.KnotState
	ready map[mpc.PartyID]bool
	asked map[mpc.PartyID]bool // peers that want to be told what they missed
	// notifiers listen for NOTIFY, one for each address.
	notifiers map[string]*knot.Notifier
}

// Start opens everything and begins to work. On an error nothing is left
// running.
func Start(ctx context.Context, cfg *config.Daemon, opt Options) (n *Node, err error) {
	if opt.Now == nil {
		opt.Now = time.Now
	}
	if opt.Turn == 0 {
		opt.Turn = 2 * time.Second
	}
	if opt.pollTimeout == 0 {
		opt.pollTimeout = pollTimeout
	}
	if opt.Logger == nil {
		opt.Logger = slog.Default()
	}
	n = &Node{
		cfg: cfg, opt: opt, log: opt.Logger, self: mpc.PartyID(cfg.Operator), started: opt.Now(),
		zones: map[string]*zone{}, knots: map[string]*api.KnotState{}, ready: map[mpc.PartyID]bool{}, asked: map[mpc.PartyID]bool{}, notifiers: map[string]*knot.Notifier{},
		heavy: make(chan struct{}, 2), polling: newPolling(), opened: make(chan struct{}),
	}
	n.ctx, n.cancel = context.WithCancel(context.WithoutCancel(ctx))
	defer func() {
		if err != nil {
			n.Close()
			n = nil
		}
	}()
	if n.store, err = openStore(cfg, n.log); err != nil {
		return n, err
	}
	if err = n.openGroup(); err != nil {
		return n, err
	}
	if n.store.Restored() {
		n.foundRestored()
	} else if err = n.openRestored(); err != nil {
		return n, err
	}
	if err = n.discardUnvouched(); err != nil {
		return n, err
	}
	if err = n.connect(); err != nil {
		return n, err
	}
	if err = n.openKeys(); err != nil {
		return n, err
	}
	n.hidden = knot.NewControl(cfg.Knot.Hidden, time.Duration(cfg.Knot.Timeout))
	n.public = knot.NewControl(cfg.Knot.Public, time.Duration(cfg.Knot.Timeout))
	if t := cfg.Knot.Transfer; t.Listen != "" {
		key, err := knot.LoadTSIG(t.TSIG)
		if err != nil {
			return n, fmt.Errorf("knot.transfer: %w", err)
		}
		if n.primary, err = knot.ListenPrimary(t.Listen, key, func(err error) { n.log.Warn("zone not given to knot", "err", err) }); err != nil {
			return n, err
		}
	}
	if err = n.openZones(); err != nil {
		return n, err
	}
	if err = n.openStaged(); err != nil {
		return n, err
	}
	close(n.opened)
	n.wg.Go(n.watchPeers)
	n.wg.Go(n.poll)
	n.wg.Go(n.tuples.fill)
	n.wg.Go(n.marks.run)
	n.wg.Go(n.keys.run)
	n.wg.Go(n.watchRestored)
	return n, nil
}

// Keystore is where the keystore of a configuration is, and how it is opened.
func Keystore(cfg *config.Daemon) (dir string, opt keystore.Options) {
	opt.RunDir = cfg.Run
	switch k := cfg.Keystore; {
	case k.KeyFile != "":
		opt.Seal = keystore.KeyFile(k.KeyFile)
	case k.Credential != "":
		opt.Seal = keystore.Credential(k.Credential)
	case k.PassphraseFile != "":
		opt.Seal = keystore.PassphraseFile(k.PassphraseFile)
	}
	return filepath.Join(cfg.State, "keystore"), opt
}

func openStore(cfg *config.Daemon, log *slog.Logger) (*keystore.Store, error) {
	if err := os.MkdirAll(cfg.Run, 0o755); err != nil {
		return nil, fmt.Errorf("run directory: %w", err)
	}
	if err := os.MkdirAll(cfg.State, 0o700); err != nil {
		return nil, fmt.Errorf("state directory: %w", err)
	}
	dir, opt := Keystore(cfg)
	opt.Logger = log
	store, err := keystore.Open(dir, opt)
	if errors.Is(err, keystore.ErrNoStore) {
		// Only a state directory that was never used gets a new keystore: a
		// disk that is not mounted must not look like a fresh start.
		if _, used := os.Stat(filepath.Join(cfg.State, "zones")); used == nil {
			return nil, fmt.Errorf("keystore: %w; %s was used before: is a disk not mounted? bring the keystore back with `zonesignerd keystore restore`, or empty the directory to start anew", err, cfg.State)
		}
		store, err = keystore.Create(dir, opt)
	}
	if err != nil {
		return nil, fmt.Errorf("keystore: %w", err)
	}
	return store, nil
}

// connect makes identity, transport and agreement for the group in force.
func (n *Node) connect() error {
	key, err := config.ReadIdentity(n.cfg.Identity)
	if err != nil {
		return err
	}
	g := n.groups.file()
	peers, err := peersOf(g)
	if err != nil {
		return err
	}
	n.identity = natsnet.NewIdentity(n.self, key, peers)
	n.transport = n.opt.Transport
	if n.transport == nil {
		cas, err := config.ReadCA(n.cfg.NATS.CA)
		if err != nil {
			return err
		}
		n.nats, err = natsnet.Start(n.ctx, natsnet.Config{
			Self: n.self, Key: key, Group: g.Digest(), GroupName: g.Name, Peers: peers,
			Listen: n.cfg.NATS.Listen, URLs: n.cfg.NATS.URLs, RootCAs: cas, Logger: n.log,
		})
		if err != nil {
			return err
		}
		n.transport = n.nats
	}
	n.sharing = newSharing(n)
	n.openOutboxes()
	n.agreement = agree.New(agree.Config{
		Identity: n.identity, Group: n.groups.mpc, Send: n.send, Ready: n.isReady,
		// Long enough for an answer after the settling time.
		Timeout: time.Duration(max(4*n.cfg.Sessions.Timeout, 2*n.cfg.Sessions.Settle)), Logger: n.log,
		// An operator that does not sign a zone may have something against its
		// content.
		ForAll: func(k agree.Kind) bool { return k == pipeline.KindZone }, Stops: n.stops,
		Subjects: func(k agree.Kind) bool { return k == pipeline.KindZone || k == pipeline.KindZONEMD },
	})
	n.agreement.Register(pipeline.KindZone, zoneProposals{n})
	n.agreement.Register(pipeline.KindZONEMD, zoneProposals{n})
	n.agreement.Register(kindTuples, fillProposals{n})
	n.agreement.Register(kindBind, fillProposals{n})
	n.agreement.Register(kindShared, n.sharing)
	n.agreement.Register(kindKey, keyProposals{n})
	n.transport.Handle(n.receive)
	return nil
}

func peersOf(g *config.Group) ([]natsnet.Peer, error) {
	var peers []natsnet.Peer
	for _, o := range g.Operators {
		key, err := config.PublicKey(o.NKey)
		if err != nil {
			return nil, fmt.Errorf("operator %s: %w", o.Name, err)
		}
		peers = append(peers, natsnet.Peer{ID: mpc.PartyID(o.Name), Key: key, Address: o.Address})
	}
	return peers, nil
}

// Close ends all work and releases everything; what runs is aborted, what is
// durable stays.
func (n *Node) Close() {
	n.cancel()
	if n.agreement != nil {
		n.agreement.Close()
	}
	n.wg.Wait()
	n.mu.Lock()
	zones := n.zones
	n.zones = map[string]*zone{}
	n.mu.Unlock()
	for _, z := range zones {
		z.stop()
	}
	for _, l := range n.notifiers {
		_ = l.Close()
	}
	if n.primary != nil {
		_ = n.primary.Close()
	}
	if n.nats != nil {
		if err := n.nats.Close(); err != nil {
			n.log.Warn("transport did not close cleanly", "err", err)
		}
	}
	if n.store != nil {
		if err := n.store.Close(); err != nil {
			n.log.Warn("keystore did not close cleanly", "err", err)
		}
	}
}

// receive takes one control message of a peer.
func (n *Node) receive(from mpc.PartyID, raw []byte) {
	select { // what peers say on meeting us waits until there is someone to hear it
	case <-n.opened:
	case <-n.ctx.Done():
		return
	}
	m, err := agree.Open(n.identity, n.groups.mpc().Digest, raw)
	if err == nil && m.From != from {
		err = fmt.Errorf("message of operator %s came from %s", m.From, from)
	}
	if err == nil {
		err = n.dispatch(m)
	}
	if err != nil {
		n.log.Warn("message dropped", "peer", from, "err", err)
	}
}

func (n *Node) dispatch(m *agree.Message) error {
	switch m.Type {
	case agree.TypeProposal, agree.TypeAnswer, agree.TypeAbort:
		return n.agreement.Receive(m)
	case typeAsk:
		return n.keys.receiveAsks(m)
	case typeMade:
		return n.keys.receiveMades(m)
	case typeMark, typeMarkAsk, typeMarkHeld:
		return n.marks.receive(m)
	case typeStaged:
		return n.receiveStaged(m)
	case typeHeard:
		return n.receiveHeard(m)
	case agree.TypeHello: // what it has follows
		if err := n.agreement.Receive(m); err != nil {
			return err
		}
		for _, z := range n.allZones() {
			z.Anew(m.From)
		}
		n.mu.Lock()
		n.asked[m.From] = true
		n.mu.Unlock()
		return nil
	}
	z, err := n.zoneOf(m)
	if err != nil {
		return err
	}
	if z == nil {
		return n.restored.heard(m)
	}
	switch m.Type {
	case pipeline.TypeCertificate:
		return z.Certificate(m)
	case pipeline.TypeHead:
		return z.Head(m)
	case pipeline.TypeTurn:
		return z.Turn(m)
	case pipeline.TypeListed:
		return z.Listed(m)
	case pipeline.TypeListing:
		return n.serve(m, func() error { return z.Listing(m) })
	case pipeline.TypeFetch:
		return n.serve(m, func() error { return z.Fetch(n.ctx, m) })
	}
	return fmt.Errorf("message of unknown type %q", m.Type)
}

// say signs v and sends it to the peers named, or to all that are ready.
func (n *Node) say(typ agree.Type, v any, to ...mpc.PartyID) ([]byte, error) {
	g := n.groups.mpc()
	raw, err := agree.Seal(n.identity, g.Digest, typ, v)
	if err != nil {
		return nil, err
	}
	n.tell(raw, to...)
	return raw, nil
}

// tell sends a signed message to the peers named, or to all that are ready.
func (n *Node) tell(raw []byte, to ...mpc.PartyID) {
	if len(to) == 0 {
		to = n.groups.mpc().Parties
	}
	for _, id := range to {
		if id == n.self || !n.isReady(id) {
			continue
		}
		if err := n.send(n.ctx, id, raw); err != nil {
			n.log.Debug("message not sent", "peer", id, "err", err)
		}
	}
}

func (n *Node) isReady(id mpc.PartyID) bool {
	if id == n.self {
		return true
	}
	for _, p := range n.transport.Peers() {
		if p.ID == id {
			return p.Ready
		}
	}
	return false
}

// watchPeers greets each peer that becomes ready with what it may have
// missed, and wakes what waited for it.
func (n *Node) watchPeers() {
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-n.ctx.Done():
			return
		case <-tick.C:
		}
		var came, greet []mpc.PartyID
		n.mu.Lock()
		for _, p := range n.transport.Peers() {
			if p.Ready && !n.ready[p.ID] {
				came = append(came, p.ID)
				greet = append(greet, p.ID)
			}
			if p.Ready != n.ready[p.ID] {
				n.log.Info("peer", "peer", p.ID, "ready", p.Ready, "reason", p.Reason)
			}
			n.ready[p.ID] = p.Ready
		}
		for id := range n.asked {
			if n.ready[id] && !slices.Contains(came, id) {
				came = append(came, id)
			}
			delete(n.asked, id)
		}
		n.mu.Unlock()
		n.switchGroup() // somebody may have greeted us from the next epoch
		for _, id := range greet {
			// Whoever restarts faster than the others notice is new to them without
			// being so to itself.
			if err := n.agreement.Greet(id); err != nil {
				n.log.Debug("peer not greeted", "peer", id, "err", err)
			}
			n.blame.forgive(id, n.opt.Now())
		}
		for _, id := range came {
			n.agreement.Hello(id)
			n.keys.hello(id)
			n.marks.hello(id)
			n.helloStaged(id)
			for _, z := range n.allZones() {
				z.Hello(id)
				z.Wake()
			}
			n.tuples.wake()
		}
	}
}

// chooser picks a signer set for engines: the first of the sets that all of them
// have, in which all are ready and none is left out for what it did lately.
func (n *Node) chooser(engines func() []string) func([]mpc.PartyID) (mpc.SignerSet, error) {
	return func(without []mpc.PartyID) (mpc.SignerSet, error) {
		now := n.opt.Now()
		var missing []mpc.PartyID
		var left leftOutError
		sets, err := n.groups.file().CommonSets(engines()...)
		if err != nil {
			return nil, err
		}
		for _, set := range sets {
			if !set.Contains(n.self) {
				continue
			}
			away := slices.DeleteFunc(slices.Clone(set), func(id mpc.PartyID) bool { return n.isReady(id) })
			if len(away) > 0 { // whatever else there is against the set
				missing = append(missing, away...)
				continue
			}
			if why, until := n.blame.why(set, now); why != "" {
				left = append(left, leftOut{set, why, until})
				continue
			}
			out := slices.IndexFunc(set, func(id mpc.PartyID) bool { return slices.Contains(without, id) })
			if out < 0 {
				return set, nil
			}
			left = append(left, leftOut{set, "operator " + string(set[out]) + " does not take part in this version", time.Time{}})
		}
		slices.Sort(missing)
		missing = slices.Compact(missing)
		switch absent := (&mpc.AbsentError{Parties: missing}); {
		case left.within(now.Add(time.Minute)):
			return nil, fmt.Errorf("%w: %w", pipeline.ErrResting, left) // soon over
		case missing == nil:
			return nil, fmt.Errorf("%w: %w", pipeline.ErrNoQuorum, left)
		case left == nil:
			return nil, fmt.Errorf("%w: %w", pipeline.ErrNoQuorum, absent)
		default:
			return nil, fmt.Errorf("%w: %w; %w", pipeline.ErrNoQuorum, absent, left)
		}
	}
}

func (n *Node) stateDir() string { return filepath.Join(n.cfg.State, "zones") }
