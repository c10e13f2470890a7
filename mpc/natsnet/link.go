package natsnet

import (
	"bufio"
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"zonesigner/mpc"
)

const (
	linkProtocol     = "zonesigner-link" // ALPN: a handshake for a route cannot serve for a link
	handshakeTimeout = 5 * time.Second
	laneQueue        = 4 << 20       // a lane with so many bytes waiting lets its senders wait
	writeBatch       = 2 * sendFrame // so much goes to TLS at once
)

// refusal says that the two sides can see each other and cannot agree; it is
// the reason to show.
type refusal struct{ error }

func (r refusal) Unwrap() error { return r.error }

// link is one TLS connection with a peer. It lives until the first error.
type link struct {
	peer    *peer
	raw     *streamConn
	tls     *tls.Conn
	version uint16
	group   [32]byte
	done    chan struct{} // closed when err is set

	received received

	mu     sync.Mutex
	err    error
	probes []byte // frames that go before everything else
	out    [lanes][]*outMessage
	queued [lanes]int
	space  chan struct{} // closed and replaced when a full lane has room again
	wake   chan struct{} // the writer has something to do
	number uint64        // of the last ping
	pings  [16]time.Time // when ping number was sent, by number mod 16
}

// handshake makes a link of a connection: TLS with the peer's very key, then
// the hellos. It closes the connection on an error.
func (p *peer) handshake(ctx context.Context, raw *streamConn, client bool) (*link, error) {
	l := &link{
		peer:  p,
		raw:   raw,
		group: p.group,
		done:  make(chan struct{}),
		space: make(chan struct{}),
		wake:  make(chan struct{}, 1),
	}
	l.received.ledger = &ledger{}
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { raw.abort(context.Cause(ctx)) })
	err := l.shake(ctx, client)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		raw.abort(err)
		return nil, p.explain(err)
	}
	return l, nil
}

func (l *link) shake(ctx context.Context, client bool) error {
	p := l.peer
	cfg := pinned(p.t.cert, func(key ed25519.PublicKey) bool { return key.Equal(p.key) || p.t.cfg.hooks.linkKey })
	cfg.NextProtos = []string{linkProtocol}
	cfg.DynamicRecordSizingDisabled = true
	cfg.VerifyConnection = func(s tls.ConnectionState) error {
		if s.NegotiatedProtocol != linkProtocol {
			return errors.New("not the handshake of a link")
		}
		return nil
	}
	if client {
		l.tls = tls.Client(l.raw, cfg)
	} else {
		l.tls = tls.Server(l.raw, cfg)
	}
	if err := l.tls.HandshakeContext(ctx); err != nil {
		return err
	}
	ours := hello{min: minVersion, max: maxVersion, group: l.group}
	if h := p.t.cfg.hooks; h.maxVersion != 0 {
		ours.min, ours.max = h.minVersion, h.maxVersion
	}
	if _, err := l.tls.Write(ours.encode()); err != nil {
		return err
	}
	var b [helloSize]byte
	if _, err := io.ReadFull(l.tls, b[:]); err != nil {
		return err
	}
	theirs, err := parseHello(b[:])
	if err != nil {
		return refusal{err}
	}
	p.show(theirs.group)
	if theirs.group != ours.group {
		return refusal{fmt.Errorf("operator %s holds another group file: digest %x… against ours %x…", p.id, theirs.group[:8], ours.group[:8])}
	}
	v, ok := common(ours, theirs)
	if !ok {
		return refusal{fmt.Errorf("operator %s speaks versions %d to %d of the link, we speak %d to %d", p.id, theirs.min, theirs.max, ours.min, ours.max)}
	}
	l.version = v
	return nil
}

// explain puts the usual failures of a handshake in words.
func (p *peer) explain(err error) error {
	var op *net.OpError
	switch {
	case errors.Is(err, errOtherKey):
		return refusal{fmt.Errorf("operator %s has a %w than the group file says", p.id, errOtherKey)}
	case errors.As(err, &op) && op.Op == "remote error":
		return refusal{fmt.Errorf("operator %s refuses our certificate (%w)", p.id, op.Err)}
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("no answer to the handshake for %v", handshakeTimeout)
	}
	return err
}

// run starts the link's two goroutines.
func (l *link) run() {
	l.ping()
	l.peer.wg.Go(func() { l.fail(l.write()) })
	l.peer.wg.Go(func() { l.fail(l.read()) })
}

// fail ends the link; the first error counts.
func (l *link) fail(err error) {
	var f *framingError
	if errors.As(err, &f) {
		err = &mpc.CheatError{Parties: []mpc.PartyID{l.peer.id}, What: f.Error()}
	}
	l.mu.Lock()
	first := l.err == nil
	if first {
		l.err = err
		l.out = [lanes][]*outMessage{}
		close(l.done)
	}
	l.mu.Unlock()
	if first {
		l.raw.abort(err)
		l.peer.unlink(l, err)
	}
}

// sendSession queues a copy of a session message.
func (l *link) sendSession(ctx context.Context, session mpc.SessionID, round string, payload []byte) error {
	e := envelope{version: l.version, lane: laneSession, group: l.group, session: session, round: round, from: l.peer.t.cfg.Self, to: l.peer.id}
	b := encodeMessage(&e, payload)
	return l.send(ctx, laneSession, &outMessage{b: b, entry: e.entry()})
}

// send queues a message, which it keeps. It waits while the lane is full.
func (l *link) send(ctx context.Context, lane int, m *outMessage) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		l.mu.Lock()
		if l.err != nil {
			defer l.mu.Unlock()
			return l.err
		}
		if l.queued[lane] < laneQueue {
			l.out[lane] = append(l.out[lane], m)
			l.queued[lane] += len(m.b)
			l.mu.Unlock()
			l.poke()
			return nil
		}
		space := l.space
		l.mu.Unlock()
		select {
		case <-space:
		case <-l.done:
		case <-ctx.Done():
		}
	}
}

func (l *link) poke() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// ping sends a probe. It never blocks.
func (l *link) ping() {
	l.mu.Lock()
	l.number++
	l.pings[l.number%uint64(len(l.pings))] = time.Now()
	l.probe(framePing, l.number)
	l.mu.Unlock()
	l.poke()
}

func (l *link) pong(number uint64) {
	l.mu.Lock()
	l.probe(framePong, number)
	l.mu.Unlock()
	l.poke()
}

// probe queues a probe; mu is held. A peer that only asks and never reads
// must not make us hold more than a few.
func (l *link) probe(kind byte, number uint64) {
	if len(l.probes) < 4096 {
		l.probes = appendFrameHeader(l.probes, kind, 8)
		for shift := 56; shift >= 0; shift -= 8 {
			l.probes = append(l.probes, byte(number>>shift))
		}
	}
}

// answered takes a pong and returns the round trip, false for one that
// answers nothing.
func (l *link) answered(number uint64) (time.Duration, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if number > l.number || l.number-number >= uint64(len(l.pings)) {
		return 0, false
	}
	at := &l.pings[number%uint64(len(l.pings))]
	if at.IsZero() {
		return 0, false
	}
	rtt := time.Since(*at)
	*at = time.Time{}
	return rtt, true
}

// write sends what is queued, in batches, until the link ends, and signs for
// the session messages among it.
func (l *link) write() error {
	buf := make([]byte, 0, writeBatch+sendFrame+4096)
	sign := time.NewTimer(0) // runs out when what is written has to be signed
	<-sign.C
	var written ledger
	for {
		waiting := len(written.entries) > 0
		buf = l.batch(buf[:0], &written)
		due := written.full()
		if len(buf) == 0 && !due {
			select {
			case <-l.wake:
				continue
			case <-sign.C:
				due = true
			case <-l.done:
				return nil
			}
		}
		switch {
		case due || waiting && time.Since(written.begun) > ledgerAge:
			sign.Stop()
			buf = written.appendSigned(buf, l.peer.t)
		case !waiting && len(written.entries) > 0:
			sign.Reset(ledgerAge)
		}
		l.raw.cork()
		_, err := l.tls.Write(buf)
		if flushed := l.raw.uncork(); err == nil {
			err = flushed
		}
		if err != nil {
			return err
		}
	}
}

// batch appends what goes next: probes, then one frame of each lane in turn,
// until the ledger of session messages is full.
func (l *link) batch(b []byte, written *ledger) []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	b = append(b, l.probes...)
	l.probes = l.probes[:0]
	room := false
	for more := true; more && len(b) < writeBatch && !written.full(); {
		more = false
		for lane := range l.out {
			if len(l.out[lane]) == 0 {
				continue
			}
			more = true
			m := l.out[lane][0]
			var last bool
			if b, last = m.appendFrame(b, lane); !last {
				continue
			}
			l.out[lane][0] = nil
			l.out[lane] = l.out[lane][1:]
			room = room || l.queued[lane] >= laneQueue
			l.queued[lane] -= len(m.b)
			if lane == laneSession {
				written.add(m.entry)
			}
		}
	}
	if room {
		close(l.space)
		l.space = make(chan struct{})
	}
	return b
}

// read takes what the peer sends until the link ends.
func (l *link) read() error {
	p := l.peer
	frames := frameReader{r: bufio.NewReaderSize(l.tls, maxFrame)}
	frames.limit[laneControl] = mpc.MaxControl + maxEnvelope
	frames.limit[laneSession] = p.t.cfg.Limits.Message + maxEnvelope
	for {
		kind, number, msg, err := frames.next()
		if err != nil {
			return err
		}
		switch kind {
		case framePing:
			l.pong(number)
			continue
		case framePong:
			if rtt, ok := l.answered(number); ok {
				l.raw.roundTrip(rtt)
				p.seen(l, rtt)
			}
			continue
		}
		if kind == frameSigned {
			if err := l.received.verify(msg, p.table, p.t.cfg.hooks.signature); err != nil {
				return err
			}
			p.mu.Lock()
			l.received.sign(msg)
			p.settle(l)
			p.mu.Unlock()
			continue
		}
		e := envelope{version: l.version, lane: (kind - frameFirst) / 2, group: l.group, from: p.id, to: p.t.cfg.Self}
		payload, err := decodeMessage(&e, msg)
		if err != nil {
			return framing("%v", err)
		}
		if e.lane == laneControl {
			err = p.control(l, payload)
		} else {
			var got signed
			if got, err = l.received.enter(&e); err == nil {
				err = p.deliver(l, &e, got, payload)
			}
		}
		if err != nil {
			return err
		}
	}
}
