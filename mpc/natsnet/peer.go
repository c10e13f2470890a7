package natsnet

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"

	"zonesigner/mpc"
	"zonesigner/mpc/edverify"
)

// peer is what we know of one operator: the link with it, and what it sent
// that nobody has taken yet.
type peer struct {
	t     *Transport
	node  *node
	group [32]byte
	id    mpc.PartyID
	key   ed25519.PublicKey
	table *edverify.Key // of key; nil where that is none, and nobody has a link
	addr  string
	out   string // subject of packets to it
	calls bool   // we are the TLS client: our name is lower

	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
	sub    *nats.Subscription
	poked  chan struct{} // there is a control message

	connMu sync.Mutex
	conns  map[uint64]*streamConn // by our id
	shaken *streamConn            // the caller that shakes hands now

	mu       sync.Mutex
	link     *link
	stopped  error
	reason   reasons
	shown    *[32]byte // digest of the group file it last greeted us with
	downAt   time.Time
	lastSeen time.Time
	lastPong time.Time
	rtt      time.Duration

	inboxes map[mpc.SessionID]*inbox
	pending int // inboxes that we have not opened
	held    int // bytes in inboxes
	closed  closedSessions

	controls     [][]byte
	controlsHeld int
}

// reasons says why there is no link. What was seen of the peer itself counts
// more than what its address says, as long as it is new.
type reasons struct {
	refused   string // the peer was there, and it cannot be
	refusedAt time.Time
	address   string        // what its address answers
	other     string        // how the last attempt or link ended
	counts    time.Duration // how long a refusal is new
}

func (r reasons) String() string {
	switch {
	case r.refused != "" && time.Since(r.refusedAt) < r.counts:
		return r.refused
	case r.address != "":
		return r.address
	case r.other != "":
		return r.other
	}
	return "no answer yet"
}

func newPeer(t *Transport, n *node, p Peer) *peer {
	table, _ := edverify.NewKey(p.Key)
	q := &peer{
		t: t, node: n, group: t.cfg.Group, id: p.ID, key: p.Key, table: table, addr: p.Address,
		out:     t.cfg.hooks.via + subject(t.cfg.GroupName, t.cfg.Self, p.ID),
		calls:   t.cfg.Self < p.ID,
		poked:   make(chan struct{}, 1),
		conns:   map[uint64]*streamConn{},
		inboxes: map[mpc.SessionID]*inbox{},
		downAt:  time.Now(),
		// Attempts come about every 10 s at most, and each renews it.
		reason: reasons{counts: 15 * t.cfg.Limits.ProbeEvery},
	}
	q.ctx, q.cancel = context.WithCancel(t.ctx)
	return q
}

func (p *peer) start() error {
	// One subscription a peer, so that what others send cannot delay it here.
	sub, err := p.node.nc.Subscribe(subject(p.t.cfg.GroupName, p.id, p.t.cfg.Self), func(m *nats.Msg) { p.packet(m.Data) })
	if err != nil {
		return fmt.Errorf("subscribe to operator %s: %w", p.id, err)
	}
	p.sub = sub
	if err := sub.SetPendingLimits(pendingPackets, pendingBytes); err != nil {
		return fmt.Errorf("subscribe to operator %s: %w", p.id, err)
	}
	p.wg.Go(p.handleControls)
	p.wg.Go(p.watch)
	if p.calls {
		p.wg.Go(p.call)
	}
	return nil
}

// What may wait between NATS and packet: an honest peer has a window under way
// and acknowledgements, and what a NATS server adds may as well be lost.
const (
	pendingPackets = 500_000
	pendingBytes   = 2 * maxWindow
)

// stop ends everything of the peer; wg.Wait waits for it.
func (p *peer) stop(why string) {
	p.cancel()
	if p.sub != nil {
		_ = p.sub.Unsubscribe()
	}
	p.mu.Lock()
	p.stopped = errors.New(why)
	l := p.link
	p.mu.Unlock()
	if l != nil {
		l.fail(p.stopped)
	}
	p.connMu.Lock()
	conns := make([]*streamConn, 0, len(p.conns))
	for _, c := range p.conns {
		conns = append(conns, c)
	}
	p.connMu.Unlock()
	for _, c := range conns {
		c.abort(p.stopped)
	}
}

// packet takes one message of the peer's subject. It never blocks.
func (p *peer) packet(b []byte) {
	k, err := parsePacket(b)
	if err != nil {
		p.t.log.Debug("packet ignored", "peer", p.id, "error", err)
		return
	}
	if k.kind == packetSyn {
		if !p.calls && k.id == 0 && k.value != 0 {
			p.answer(k.value)
		}
		return
	}
	p.connMu.Lock()
	c := p.conns[k.id]
	if k.kind == packetReset && k.id == 0 {
		for _, one := range p.conns {
			if one.names(k.value) {
				c = one
			}
		}
	}
	p.connMu.Unlock()
	switch {
	case c != nil:
		c.receive(k)
	// The other side believes in a connection that we do not have (any more).
	// It hears so at once rather than by silence. Data does not tell its
	// sender's id, so the reset names ours.
	case k.kind == packetData:
		_ = p.send(appendPacketHeader(nil, packetReset, 0, k.id))
	case k.kind == packetSynAck:
		_ = p.send(appendPacketHeader(nil, packetReset, k.value, 0))
	}
}

func (p *peer) send(b []byte) error { return p.node.nc.Publish(p.out, b) }

func (p *peer) newConn(remote uint64) *streamConn {
	c := newStreamConn(newID(), remote, p.node.max, p.send)
	p.connMu.Lock()
	p.conns[c.local] = c
	p.connMu.Unlock()
	return c
}

// newID is a connection's id: unguessable for who does not see it, never 0.
func newID() uint64 {
	var b [8]byte
	_, _ = rand.Read(b[:])
	return binary.BigEndian.Uint64(b[:]) | 1
}

func (p *peer) forget(c *streamConn) {
	p.connMu.Lock()
	defer p.connMu.Unlock()
	delete(p.conns, c.local)
}

// call makes links, one after the other, until the peer is stopped.
func (p *peer) call() {
	const most = 5 * time.Second
	least := p.t.cfg.hooks.retry
	if least == 0 {
		least = 200 * time.Millisecond
	}
	wait := least
	for p.ctx.Err() == nil {
		l, err := p.connect()
		if err == nil && p.install(l) {
			wait = least
			select {
			case <-l.done:
			case <-p.ctx.Done():
				return
			}
		} else if err != nil {
			p.failed(err)
		}
		select {
		case <-time.After(wait/2 + mathrand.N(wait)):
		case <-p.ctx.Done():
		}
		wait = min(2*wait, most)
	}
}

// connect makes one attempt at a link.
func (p *peer) connect() (*link, error) {
	c := p.newConn(0)
	defer p.forgetUnlessLinked(c)
	timeout := time.NewTimer(handshakeTimeout)
	defer timeout.Stop()
	for again := 50 * time.Millisecond; ; again = min(2*again, time.Second) {
		if err := p.send(appendPacketHeader(nil, packetSyn, 0, c.local)); err != nil {
			c.abort(err)
			return nil, fmt.Errorf("connection to the NATS servers: %w", err)
		}
		select {
		case <-c.open:
			return p.handshake(p.ctx, c, true)
		case <-time.After(again):
		case <-timeout.C:
			err := errors.New("no answer over NATS")
			c.abort(err)
			return nil, err
		case <-p.ctx.Done():
			c.abort(p.ctx.Err())
			return nil, p.ctx.Err()
		}
	}
}

// forgetUnlessLinked drops a connection that did not become a link.
func (p *peer) forgetUnlessLinked(c *streamConn) {
	c.mu.Lock()
	over := c.err != nil
	c.mu.Unlock()
	if over {
		p.forget(c)
	}
}

// answer takes a call, which may be the repetition of one, or anybody's: a
// link that exists stays until the caller has proven who it is. One caller
// shakes hands at a time, the newest.
func (p *peer) answer(remote uint64) {
	p.connMu.Lock()
	old := p.shaken
	if p.ctx.Err() != nil {
		p.connMu.Unlock()
		return
	}
	if old != nil && old.names(remote) {
		p.connMu.Unlock()
		_ = p.send(appendPacketHeader(nil, packetSynAck, remote, old.local))
		return
	}
	c := newStreamConn(newID(), remote, p.node.max, p.send)
	p.conns[c.local] = c
	p.shaken = c
	p.wg.Go(func() {
		l, err := p.handshake(p.ctx, c, false)
		p.connMu.Lock()
		if p.shaken == c {
			p.shaken = nil
		}
		p.connMu.Unlock()
		if err == nil {
			p.install(l)
			return
		}
		p.forget(c)
		if !errors.Is(err, errNewer) {
			p.failed(err)
		}
	})
	p.connMu.Unlock()
	if old != nil {
		old.abort(errNewer)
	}
	_ = p.send(appendPacketHeader(nil, packetSynAck, remote, c.local))
}

var errNewer = errors.New("the operator called again")

// install makes l the peer's link in place of an older one.
func (p *peer) install(l *link) bool {
	p.mu.Lock()
	for p.link != nil && p.stopped == nil {
		old := p.link
		p.mu.Unlock()
		old.fail(errNewer)
		p.mu.Lock()
	}
	if p.stopped != nil {
		why := p.stopped
		p.mu.Unlock()
		l.raw.abort(why)
		p.forget(l.raw)
		return false
	}
	p.link = l
	p.reason = reasons{counts: p.reason.counts}
	p.lastPong = time.Now()
	p.rtt = 0
	p.mu.Unlock()
	p.t.log.Info("link with operator is up", "peer", p.id, "version", l.version)
	l.run()
	return true
}

// unlink ends what depends on l: what sessions wait for may be lost. However
// the link ended, conflicts that will not become evidence now come before that:
// a cheat must not pass for an absent operator by calling again.
func (p *peer) unlink(l *link, err error) {
	p.forget(l.raw)
	p.mu.Lock()
	if !p.t.cfg.hooks.forgetful {
		p.settle(l)
	}
	if p.link != l {
		p.mu.Unlock()
		return
	}
	p.link = nil
	p.downAt = time.Now()
	p.note(err)
	gone := err
	if _, ok := mpc.AsCheat(err); !ok {
		gone = fmt.Errorf("the link was reset: %w", err)
	}
	for _, in := range p.inboxes {
		p.end(in, gone)
	}
	p.mu.Unlock()
	p.t.log.Warn("link with operator is down", "peer", p.id, "reason", err)
}

// failed notes how an attempt at a link ended.
func (p *peer) failed(err error) {
	if p.ctx.Err() != nil {
		return
	}
	p.mu.Lock()
	before := p.reason.String()
	if p.link == nil {
		p.note(err)
	}
	after := p.reason.String()
	p.mu.Unlock()
	if before != after {
		p.t.log.Warn("no link with operator", "peer", p.id, "reason", after)
	}
}

// show notes the group that the peer, by its key, said it is in.
func (p *peer) show(group [32]byte) {
	p.mu.Lock()
	p.shown = &group
	p.mu.Unlock()
}

// note enters err in the reasons; mu is held.
func (p *peer) note(err error) {
	var r refusal
	_, cheat := mpc.AsCheat(err)
	if errors.As(err, &r) || cheat {
		p.reason.refused, p.reason.refusedAt = err.Error(), time.Now()
	} else {
		p.reason.other = err.Error()
	}
}

// current is the peer's link, or why there is none.
func (p *peer) current() (*link, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.link == nil {
		if p.stopped != nil {
			return nil, p.stopped
		}
		return nil, errors.New(p.reason.String())
	}
	return p.link, nil
}

// seen notes a round trip. A peer ceases to be ready by time alone, which
// nothing tells, so that whether it was is asked just before.
func (p *peer) seen(l *link, rtt time.Duration) {
	p.mu.Lock()
	before := p.ready()
	if p.link == l {
		p.lastSeen = time.Now()
		p.lastPong = p.lastSeen
		p.rtt = rtt
	}
	after := p.ready()
	p.mu.Unlock()
	if after && !before {
		p.t.announce()
	}
}

func (p *peer) state() mpc.PeerState {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := mpc.PeerState{ID: p.id, Ready: p.ready(), RoundTrip: p.rtt.Seconds()}
	if !p.lastSeen.IsZero() {
		s.LastSeenUnix = p.lastSeen.Unix()
	}
	switch {
	case s.Ready:
	case p.stopped != nil:
		s.Reason = p.stopped.Error()
	case p.link == nil:
		s.Reason = p.reason.String()
	default:
		s.Reason = fmt.Sprintf("no answer to probes for %v", time.Since(p.lastPong).Round(time.Second))
	}
	return s
}

// ready means a round trip within the last few probes; mu is held.
func (p *peer) ready() bool {
	return p.link != nil && p.rtt > 0 && time.Since(p.lastPong) < 4*p.t.cfg.Limits.ProbeEvery
}

// watch probes the link, gives it up after a long silence, finds out why
// there is none, and drops messages for sessions that never opened.
func (p *peer) watch() {
	limits := p.t.cfg.Limits
	tick := time.NewTicker(limits.ProbeEvery)
	defer tick.Stop()
	var asked time.Time
	for {
		select {
		case <-tick.C:
		case <-p.ctx.Done():
			return
		}
		p.mu.Lock()
		p.expire(time.Now().Add(-limits.PendingFor))
		l, silent := p.link, time.Since(p.lastPong)
		down := time.Since(p.downAt)
		p.mu.Unlock()
		switch {
		case l != nil && silent > limits.ProbeTimeout:
			l.fail(fmt.Errorf("no answer to probes for %v", silent.Round(time.Second)))
		case l != nil && l.received.unsigned() > limits.ProbeTimeout:
			l.fail(fmt.Errorf("no signature on its messages for %v", limits.ProbeTimeout))
		case l != nil:
			l.ping()
		case down > limits.ProbeEvery && time.Since(asked) > max(3*limits.ProbeEvery, askTimeout):
			asked = time.Now()
			p.wg.Go(p.ask)
		}
	}
}

const askTimeout = 3 * time.Second

// ask tries the peer's address, so that the reason names what an operator can
// mend.
func (p *peer) ask() {
	why := p.reach()
	if p.ctx.Err() != nil {
		return
	}
	p.mu.Lock()
	changed := p.reason.address != why
	p.reason.address = why
	after := p.reason.String()
	p.mu.Unlock()
	if changed {
		p.t.log.Warn("no link with operator", "peer", p.id, "reason", after)
	}
}

// reach says what is wrong at the peer's address, "" when nothing is.
func (p *peer) reach() string {
	if p.node.srv == nil {
		if !p.node.nc.IsConnected() {
			why := "not connected to the NATS servers"
			if err := p.node.nc.LastError(); err != nil {
				why += ": " + err.Error()
			}
			return why
		}
		return ""
	}
	if p.addr == "" {
		return "it has not connected to us, and its address is not known"
	}
	dialer := net.Dialer{Timeout: askTimeout / 2}
	conn, err := dialer.DialContext(p.ctx, "tcp", p.addr)
	if err != nil {
		var dns *net.DNSError
		switch {
		case errors.Is(err, syscall.ECONNREFUSED):
			return "connection refused at " + p.addr
		case errors.As(err, &dns):
			return fmt.Sprintf("no address for %s: %s", p.addr, dns.Err)
		case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded), os.IsTimeout(err):
			return "no answer at " + p.addr
		}
		return fmt.Sprintf("no connection to %s: %v", p.addr, err)
	}
	defer conn.Close()
	stop := context.AfterFunc(p.ctx, func() { conn.Close() })
	defer stop()
	_ = conn.SetDeadline(time.Now().Add(askTimeout / 2))
	secure := tls.Client(conn, pinned(p.t.cert, func(key ed25519.PublicKey) bool { return key.Equal(p.key) }))
	// The server's greeting follows the handshake, unless it refuses us.
	_, err = secure.Read(make([]byte, 1))
	var op *net.OpError
	switch {
	case errors.Is(err, errOtherKey):
		return fmt.Sprintf("%v at %s", errOtherKey, p.addr)
	case errors.As(err, &op) && op.Op == "remote error":
		return fmt.Sprintf("our certificate is refused at %s (%v)", p.addr, op.Err)
	case err != nil:
		return fmt.Sprintf("no NATS server of ours at %s: %v", p.addr, err)
	}
	return ""
}

// control queues a control message for the handler.
func (p *peer) control(l *link, msg []byte) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.link != l {
		return nil
	}
	if p.controlsHeld += len(msg) + overhead; p.controlsHeld > maxControls {
		p.controlsHeld -= len(msg) + overhead
		return &mpc.CheatError{Parties: []mpc.PartyID{p.id}, What: fmt.Sprintf("flooded us with control messages, more than %d MiB unread", maxControls>>20)}
	}
	p.controls = append(p.controls, msg)
	select {
	case p.poked <- struct{}{}:
	default:
	}
	return nil
}

// maxControls bounds the control messages of one peer that wait for the
// handler, in bytes.
const maxControls = 4 * mpc.MaxControl

// handleControls gives control messages to the handler, in order.
func (p *peer) handleControls() {
	select {
	case <-p.t.handled:
	case <-p.ctx.Done():
		return
	}
	for {
		p.mu.Lock()
		var msg []byte
		some := len(p.controls) > 0
		if some {
			msg = p.controls[0]
			p.controls[0] = nil
			p.controls = p.controls[1:]
			p.controlsHeld -= len(msg) + overhead
		}
		p.mu.Unlock()
		if some {
			p.t.mu.Lock()
			handler := p.t.handler
			p.t.mu.Unlock()
			if handler != nil {
				handler(p.id, msg)
			}
			continue
		}
		select {
		case <-p.poked:
		case <-p.ctx.Done():
			return
		}
	}
}
