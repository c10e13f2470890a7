// Package natsnet carries sessions and control messages between the daemons
// of a group over NATS. It implements mpc.Transport.
//
// Every daemon embeds a NATS server; the servers form a cluster over mutual
// TLS, each with a certificate signed by its operator's Ed25519 key and pinned
// by that key. A daemon may connect to NATS servers that run already instead.
// Either way the NATS servers are not trusted: between each two daemons runs
// a link, TLS 1.3 over a small connection of our own whose packets travel as
// NATS messages. The servers can delay a link or break it. They cannot read
// it, alter it or speak for anybody.
//
// From the outside in:
//
//	node        the embedded server, and this daemon's connection to NATS
//	streamConn  a net.Conn over two NATS subjects, with flow control
//	link        TLS 1.3, a hello, frames in two lanes, probes
//	envelope    what a message says, to whom and where
//	ledger      envelopes that a sender signs together, and evidence from two
//	inbox       what one peer sent to one session, within bounds
//
// Start joins, Transport.Open opens a session, Transport.Send carries control
// messages, Transport.Peers says who is ready and why somebody is not.
// docs/network.md has the threat model, the limits and measured figures.
package natsnet

import (
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"zonesigner/mpc"
)

// Peer is one operator of the group.
type Peer struct {
	ID  mpc.PartyID
	Key ed25519.PublicKey
	// Address is host:port of its cluster listener. When it is empty, the
	// operator is expected to connect to us.
	Address string
}

// Limits bounds what peers can make this daemon hold, and how long it waits.
// A zero field takes its default.
type Limits struct {
	Message      int           // bytes of one session message; 16 MiB, and never more
	SessionBytes int           // bytes of one peer waiting in one session; 64 MiB
	PeerBytes    int           // bytes of one peer waiting in all sessions; 128 MiB
	Sessions     int           // sessions of one peer that we have not opened; 1024
	PendingFor   time.Duration // how long such a session's messages are kept; 30 s
	ProbeEvery   time.Duration // 1 s
	ProbeTimeout time.Duration // silence after which a link is given up; 12 s
}

// Config says who we are and who the others are.
type Config struct {
	Self      mpc.PartyID
	Key       ed25519.PrivateKey
	Group     [32]byte // digest of the group file, bound into every link and envelope
	GroupName string   // names the cluster and the subjects
	Peers     []Peer   // all operators, Self included
	Listen    string   // host:port of the embedded server's cluster listener; port 0 takes a free one
	URLs      []string // external NATS servers; the embedded server is then off
	// RootCAs sign the certificates of external servers, all of which then
	// have to speak TLS; nil: the system's, where the URL says tls.
	RootCAs *x509.CertPool
	Limits  Limits
	Logger  *slog.Logger // nil: no logs

	hooks hooks
}

// hooks take defences out or stand in for another build; only tests set them.
type hooks struct {
	minVersion, maxVersion uint16        // instead of minVersion and maxVersion
	linkKey                bool          // accept any key on a link
	routeKey               bool          // accept any key on a route
	signature              bool          // accept any signature on a ledger
	anyNonce               bool          // sign any nonce for a NATS server
	forgetful              bool          // let conflicts go with their link
	mangle                 func([]byte)  // alter the signature on a ledger
	retry                  time.Duration // first wait between attempts at a link
	via                    string        // before the subject of outgoing packets, to send them through an attacker
}

// MaxMessage is the largest session message in bytes.
const MaxMessage = 16 << 20

func (l Limits) withDefaults() Limits {
	set := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	setTime := func(v *time.Duration, d time.Duration) {
		if *v == 0 {
			*v = d
		}
	}
	set(&l.Message, MaxMessage)
	set(&l.SessionBytes, 64<<20)
	set(&l.PeerBytes, 128<<20)
	set(&l.Sessions, 1024)
	setTime(&l.PendingFor, 30*time.Second)
	setTime(&l.ProbeEvery, time.Second)
	setTime(&l.ProbeTimeout, 12*time.Second)
	return l
}

func (c *Config) validate() error {
	bad := func(format string, a ...any) error {
		return &mpc.ArgumentError{Msg: "network: " + fmt.Sprintf(format, a...)}
	}
	if len(c.Key) != ed25519.PrivateKeySize {
		return bad("private key of operator %q has %d bytes, expected %d", c.Self, len(c.Key), ed25519.PrivateKeySize)
	}
	if c.GroupName == "" || len(c.GroupName) > maxName {
		return bad("group name has %d bytes, expected 1 to %d", len(c.GroupName), maxName)
	}
	if c.Limits.Message < 0 || c.Limits.Message > MaxMessage {
		return bad("largest message is %d bytes, expected at most %d", c.Limits.Message, MaxMessage)
	}
	ids := map[mpc.PartyID]bool{}
	keys := map[string]mpc.PartyID{}
	for _, p := range c.Peers {
		if p.ID == "" || len(p.ID) > maxName {
			return bad("operator name %q has %d bytes, expected 1 to %d", p.ID, len(p.ID), maxName)
		}
		if ids[p.ID] {
			return bad("operator %q is named twice", p.ID)
		}
		ids[p.ID] = true
		if len(p.Key) != ed25519.PublicKeySize {
			return bad("public key of operator %q has %d bytes, expected %d", p.ID, len(p.Key), ed25519.PublicKeySize)
		}
		if other, ok := keys[string(p.Key)]; ok {
			return bad("operators %q and %q have one key", other, p.ID)
		}
		keys[string(p.Key)] = p.ID
		if p.Address != "" {
			if _, _, err := net.SplitHostPort(p.Address); err != nil {
				return bad("address %q of operator %q: expected host:port: %v", p.Address, p.ID, err)
			}
		}
		if p.ID == c.Self && !p.Key.Equal(c.Key.Public()) {
			return bad("the group has another public key for operator %q than our own", c.Self)
		}
	}
	if !ids[c.Self] {
		return bad("operator %q is not in the group", c.Self)
	}
	if len(c.URLs) == 0 && c.Listen == "" {
		return bad("neither a listen address nor URLs of NATS servers")
	}
	return nil
}

// maxName bounds the names of groups and operators in bytes.
const maxName = 64

// Transport connects one operator with its peers. It is safe for concurrent
// use.
type Transport struct {
	cfg  Config // Peers and Group change under mu
	log  *slog.Logger
	cert tls.Certificate

	ctx    context.Context
	cancel context.CancelFunc
	detach func() bool // from Start's context

	setup sync.Mutex // held while the node or the set of peers changes; taken before mu

	mu       sync.Mutex
	node     *node
	peers    map[mpc.PartyID]*peer
	sessions map[mpc.SessionID]*session
	handler  func(mpc.PartyID, []byte)
	handled  chan struct{} // closed once handler is set
	changed  chan struct{} // closed and replaced when a peer's state changes
}

var _ mpc.Transport = (*Transport)(nil)

// Start joins the group's network and returns at once; WaitReady waits for
// the peers. The transport ends with Close or with ctx. An error is an
// *mpc.ArgumentError for a configuration that cannot be, else what the
// listener or the server said.
func Start(ctx context.Context, cfg Config) (*Transport, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	cfg.Limits = cfg.Limits.withDefaults()
	cfg.Peers = slices.Clone(cfg.Peers)
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	cert, err := certificate(cfg.Self, cfg.Key)
	if err != nil {
		return nil, err
	}
	t := &Transport{
		cfg:      cfg,
		log:      cfg.Logger,
		cert:     cert,
		peers:    map[mpc.PartyID]*peer{},
		sessions: map[mpc.SessionID]*session{},
		handled:  make(chan struct{}),
		changed:  make(chan struct{}),
	}
	t.ctx, t.cancel = context.WithCancel(ctx)
	t.setup.Lock()
	defer t.setup.Unlock()
	if err := t.join(); err != nil {
		t.cancel()
		return nil, err
	}
	t.detach = context.AfterFunc(ctx, func() { _ = t.Close() })
	return t, nil
}

// join starts the node and the peers of t.cfg; setup is held.
func (t *Transport) join() error {
	n, err := startNode(t)
	if err != nil {
		return err
	}
	peers := map[mpc.PartyID]*peer{}
	for _, p := range t.cfg.Peers {
		if p.ID != t.cfg.Self {
			peers[p.ID] = newPeer(t, n, p)
		}
	}
	t.mu.Lock()
	t.node, t.peers = n, peers
	t.mu.Unlock()
	for _, p := range peers {
		if err := p.start(); err != nil {
			t.leave("the network did not start")
			return err
		}
	}
	return nil
}

// leave ends all links, fails what sessions wait for, and stops the node;
// setup is held.
func (t *Transport) leave(why string) {
	t.mu.Lock()
	n, peers := t.node, t.peers
	t.node = nil
	t.mu.Unlock()
	for _, p := range peers {
		p.stop(why)
	}
	for _, p := range peers {
		p.wg.Wait()
	}
	if n != nil {
		n.stop()
	}
	t.announce()
}

// Close ends all sessions, links and servers, and waits for them. It must not
// be called from the handler of control messages.
func (t *Transport) Close() error {
	t.cancel()
	t.setup.Lock()
	defer t.setup.Unlock()
	t.detach()
	t.leave("we shut down")
	return nil
}

// Self is this operator's name.
func (t *Transport) Self() mpc.PartyID { return t.cfg.Self }

// Addr is the bound address of the cluster listener, empty when external
// servers are used or after Close.
func (t *Transport) Addr() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.node == nil {
		return ""
	}
	return t.node.addr
}

// SetPeers replaces the group: a new digest and new operators, Self included.
// When anything differs, all links end and form anew, and sessions that are
// open fail. On an error the group before stays in force.
func (t *Transport) SetPeers(group [32]byte, peers []Peer) error {
	t.setup.Lock()
	defer t.setup.Unlock()
	if t.ctx.Err() != nil {
		return errClosed
	}
	old := t.cfg
	next := t.cfg
	next.Group, next.Peers = group, slices.Clone(peers)
	if err := next.validate(); err != nil {
		return err
	}
	if group == old.Group && slices.EqualFunc(old.Peers, peers, samePeer) {
		return nil
	}
	// The cluster's listener keeps its port, so that the others find it.
	if addr := t.Addr(); addr != "" {
		next.Listen = addr
	}
	t.leave("the group changes")
	t.setConfig(next)
	err := t.join()
	if err == nil {
		return nil
	}
	old.Listen = next.Listen
	t.setConfig(old)
	if again := t.join(); again != nil {
		return fmt.Errorf("new group: %w; and back to the old one: %w", err, again)
	}
	return fmt.Errorf("new group: %w", err)
}

// setConfig changes what a new group changes; no peer or link runs meanwhile.
func (t *Transport) setConfig(c Config) {
	t.cfg.Group, t.cfg.Peers, t.cfg.Listen = c.Group, c.Peers, c.Listen
}

func samePeer(a, b Peer) bool { return a.ID == b.ID && a.Address == b.Address && a.Key.Equal(b.Key) }

var errClosed = errors.New("the network is closed")

// Handle sets the receiver of control messages. It is called from one
// goroutine a peer, in order; what arrives before Handle waits for it.
func (t *Transport) Handle(f func(from mpc.PartyID, msg []byte)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	first := t.handler == nil
	t.handler = f
	if first && f != nil {
		close(t.handled)
	}
}

// Send carries one control message to a peer. It blocks by flow control
// alone. The error is an *mpc.AbsentError when the peer has no link or loses
// it, an *mpc.ArgumentError for a message or name that cannot be.
func (t *Transport) Send(ctx context.Context, to mpc.PartyID, msg []byte) error {
	if len(msg) > mpc.MaxControl {
		return &mpc.ArgumentError{Msg: fmt.Sprintf("control message to operator %s has %d bytes, expected at most %d", to, len(msg), mpc.MaxControl)}
	}
	p, err := t.peer(to)
	if err != nil {
		return err
	}
	l, err := p.current()
	if err != nil {
		return &mpc.AbsentError{Parties: []mpc.PartyID{to}, Err: err}
	}
	if err := l.send(ctx, laneControl, &outMessage{b: slices.Clone(msg)}); err != nil {
		return &mpc.AbsentError{Parties: []mpc.PartyID{to}, Err: err}
	}
	return nil
}

func (t *Transport) peer(id mpc.PartyID) (*peer, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	p, ok := t.peers[id]
	if !ok {
		return nil, &mpc.ArgumentError{Msg: fmt.Sprintf("operator %q is no peer of operator %q", id, t.cfg.Self)}
	}
	return p, nil
}

// Peers tells the state of each peer, sorted by name, without Self.
func (t *Transport) Peers() []mpc.PeerState {
	t.mu.Lock()
	peers := make([]*peer, 0, len(t.peers))
	for _, p := range t.peers {
		peers = append(peers, p)
	}
	t.mu.Unlock()
	states := make([]mpc.PeerState, len(peers))
	for i, p := range peers {
		states[i] = p.state()
	}
	slices.SortFunc(states, func(a, b mpc.PeerState) int { return strings.Compare(string(a.ID), string(b.ID)) })
	return states
}

// Greeted tells with which group's digest each peer greeted us last, since the
// group changed here: another one than ours makes no link, and is all that two
// epochs of a group can say to each other. A peer that never did is not in it.
// The greeting is inside a connection that proved the peer's key.
func (t *Transport) Greeted() map[mpc.PartyID][32]byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := map[mpc.PartyID][32]byte{}
	for id, p := range t.peers {
		p.mu.Lock()
		if p.shown != nil {
			out[id] = *p.shown
		}
		p.mu.Unlock()
	}
	return out
}

// WaitReady returns when every named peer is ready, all of them when none is
// named. When ctx ends first, it is an *mpc.AbsentError with the reasons.
func (t *Transport) WaitReady(ctx context.Context, ids ...mpc.PartyID) error {
	for {
		t.mu.Lock()
		changed := t.changed
		t.mu.Unlock()
		var absent []mpc.PartyID
		var why []error
		for _, s := range t.Peers() {
			if !s.Ready && (len(ids) == 0 || slices.Contains(ids, s.ID)) {
				absent = append(absent, s.ID)
				why = append(why, fmt.Errorf("operator %s: %s", s.ID, s.Reason))
			}
		}
		switch {
		case absent == nil:
			return nil
		case t.ctx.Err() != nil:
			return &mpc.AbsentError{Parties: absent, Err: errClosed}
		case ctx.Err() != nil:
			return &mpc.AbsentError{Parties: absent, Err: errors.Join(append(why, ctx.Err())...)}
		}
		select { // whichever it is, the state of now is what counts
		case <-changed:
		case <-ctx.Done():
		case <-t.ctx.Done():
		}
	}
}

// announce wakes WaitReady: a peer is ready that was not, or the peers are others.
func (t *Transport) announce() {
	t.mu.Lock()
	defer t.mu.Unlock()
	close(t.changed)
	t.changed = make(chan struct{})
}

// resetAll ends the links of node n's peers, because NATS lost messages.
func (t *Transport) resetAll(n *node, err error) {
	t.mu.Lock()
	var links []*link
	if t.node == n {
		for _, p := range t.peers {
			if l, err := p.current(); err == nil {
				links = append(links, l)
			}
		}
	}
	t.mu.Unlock()
	for _, l := range links {
		l.fail(err)
	}
}
