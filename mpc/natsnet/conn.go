package natsnet

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// A packet is one NATS message of a streamConn:
//
//	kind 1 | receiver's connection id 8 | value 8 | data
//
// with value and data by kind, integers big-endian. Nothing of it is
// authenticated, since TLS above it is: a forged packet can break a
// connection and no more.
const (
	packetSyn    = 1 // id 0; value: the caller's connection id
	packetSynAck = 2 // value: the answerer's connection id
	packetData   = 3 // value: offset of data in the stream
	packetAck    = 4 // value: bytes consumed so far, so the sender may go a window further
	packetReset  = 5 // the connection is over; id may be 0, then value is the sender's id of it
	packetGrant  = 6 // value: offset up to which the sender may go, if it is further; builds before it ignore it

	packetHeader = 17

	// window is how far a sender may be ahead of what the receiver has
	// consumed, in bytes, as long as nothing else is granted. A receiver
	// grants more where that holds the sender up, and no more than maxWindow:
	// see widen. A window also bounds what a connection holds.
	window    = 4 << 20
	maxWindow = 32 << 20
	// joined is the size up to which small packets that wait to be read are
	// put together, so that what is held is bytes and not their packets.
	joined = 16 << 10
	// maxPacket is the data of one packet, if the NATS servers allow it. With
	// its subject it fits the 64 KiB that a server reads at once.
	maxPacket = 63<<10 - packetHeader
)

type packet struct {
	kind  byte
	id    uint64
	value uint64
	data  []byte // points into what was parsed
}

func parsePacket(b []byte) (packet, error) {
	if len(b) < packetHeader {
		return packet{}, fmt.Errorf("packet of %d bytes, expected at least %d", len(b), packetHeader)
	}
	p := packet{kind: b[0], id: binary.BigEndian.Uint64(b[1:]), value: binary.BigEndian.Uint64(b[9:]), data: b[packetHeader:]}
	if p.kind < packetSyn || p.kind > packetGrant {
		return packet{}, fmt.Errorf("packet of unknown kind %d", p.kind)
	}
	if p.kind != packetData && len(p.data) != 0 {
		return packet{}, fmt.Errorf("packet of kind %d has %d bytes of data, expected none", p.kind, len(p.data))
	}
	return p, nil
}

func appendPacketHeader(b []byte, kind byte, id, value uint64) []byte {
	b = append(b, kind)
	b = binary.BigEndian.AppendUint64(b, id)
	return binary.BigEndian.AppendUint64(b, value)
}

var (
	errGap    = errors.New("messages were lost on the way")
	errReset  = errors.New("the other side ended the link")
	errWindow = errors.New("more data than the window allows")
)

// streamConn is a net.Conn whose packets travel as NATS messages. A receiver
// takes packets in order, ignores what it has already, and gives up at a gap,
// because NATS delivers at most once. A sender waits when it is as far ahead
// as it may be.
type streamConn struct {
	publish func([]byte) error
	local   uint64 // our id of the connection
	maxData int

	mu       sync.Mutex
	readable sync.Cond
	writable sync.Cond
	remote   uint64        // the other side's id
	open     chan struct{} // closed when remote is known
	err      error         // why it is over
	closed   bool          // by us: what is left unread is dropped

	queue    [][]byte // received, unread
	next     uint64   // offset of the next byte to receive
	consumed uint64   // read by the user
	granted  uint64   // consumed, as last told to the sender
	window   uint64   // how far the sender may be ahead of consumed
	apart    bool     // small packets are not put together; only tests set it

	trip      time.Duration // the shortest round trip seen, 0: none yet
	began     time.Time     // when the measure of how fast is read began
	beganFrom uint64        // consumed, then

	sent    uint64 // offset of the next byte to send
	acked   uint64 // consumed by the other side
	allowed uint64 // offset up to which it lets us go, if that is further than a window

	wmu    sync.Mutex // serialises writers; taken before mu
	out    []byte     // a packet in the making, header space first
	corked bool
}

func newStreamConn(local, remote uint64, maxData int, publish func([]byte) error) *streamConn {
	c := &streamConn{publish: publish, local: local, remote: remote, maxData: maxData, open: make(chan struct{}), window: window}
	c.readable.L, c.writable.L = &c.mu, &c.mu
	if remote != 0 {
		close(c.open)
	}
	return c
}

// receive takes a packet that names this connection. It never blocks; it
// keeps p.data.
func (c *streamConn) receive(p packet) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return
	}
	switch p.kind {
	case packetSynAck:
		if c.remote == 0 && p.value != 0 {
			c.remote = p.value
			close(c.open)
		}
	case packetData:
		n := uint64(len(p.data))
		switch {
		case p.value < c.next && n <= c.next-p.value:
			// Received before.
		case p.value != c.next:
			c.fail(errGap)
		case c.next+n-c.consumed > c.window:
			c.fail(errWindow)
		case n > 0:
			c.next += n
			if last := len(c.queue) - 1; last >= 0 && len(c.queue[last])+len(p.data) <= joined && !c.apart {
				c.queue[last] = append(c.queue[last], p.data...)
			} else {
				c.queue = append(c.queue, p.data[:n:n])
			}
			c.readable.Signal()
		}
	case packetAck:
		switch {
		case p.value > c.sent:
			c.fail(errWindow)
		case p.value > c.acked:
			c.acked = p.value
			c.writable.Signal()
		}
	case packetGrant:
		switch {
		case p.value > c.acked+maxWindow:
			c.fail(errWindow)
		case p.value > c.allowed:
			c.allowed = p.value
			c.writable.Signal()
		}
	case packetReset:
		c.fail(errReset)
	}
}

// names reports whether id is the other side's id of the connection.
func (c *streamConn) names(id uint64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.remote == id
}

// fail ends the connection; mu is held. What was received in order before can
// still be read.
func (c *streamConn) fail(err error) {
	if c.err == nil {
		c.err = err
	}
	c.readable.Broadcast()
	c.writable.Broadcast()
}

// Read waits for data, however long; Close ends the waiting.
func (c *streamConn) Read(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	c.mu.Lock()
	for len(c.queue) == 0 && c.err == nil {
		c.readable.Wait()
	}
	if c.closed || len(c.queue) == 0 {
		defer c.mu.Unlock()
		return 0, c.err
	}
	n := 0
	for n < len(b) && len(c.queue) > 0 {
		m := copy(b[n:], c.queue[0])
		n += m
		if c.queue[0] = c.queue[0][m:]; len(c.queue[0]) == 0 {
			c.queue[0] = nil
			c.queue = c.queue[1:]
		}
	}
	c.consumed += uint64(n)
	grant := c.consumed-c.granted >= window/4 && c.err == nil
	if grant {
		c.granted = c.consumed
		c.widen(time.Now())
	}
	remote, value, ahead := c.remote, c.granted, c.window
	c.mu.Unlock()
	if grant {
		err := c.publish(appendPacketHeader(nil, packetAck, remote, value))
		if ahead > window && err == nil {
			err = c.publish(appendPacketHeader(nil, packetGrant, remote, value+ahead))
		}
		if err != nil {
			c.abort(err)
		}
	}
	return n, nil
}

// roundTrip notes how long a packet and its answer took.
func (c *streamConn) roundTrip(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.trip == 0 || d < c.trip {
		c.trip = d
	}
}

// widen doubles the window when a whole one was read within two round trips;
// one is the quickest that a sender can be who waits for every grant. The
// shortest trip counts, since a long queue on the way makes trips longer, and
// more under way would only make it longer still. So a short way, or a slow
// one, keeps the first window, and a sender cannot have us hold more than we
// read of it. A window never becomes narrower; mu is held.
func (c *streamConn) widen(now time.Time) {
	if c.consumed-c.beganFrom < c.window {
		return
	}
	if now.Sub(c.began) < 2*c.trip {
		c.window = min(2*c.window, maxWindow)
	}
	c.began, c.beganFrom = now, c.consumed
}

// Write waits while we are as far ahead as the other side lets us be; Close ends the waiting.
func (c *streamConn) Write(b []byte) (int, error) {
	c.wmu.Lock()
	defer c.wmu.Unlock()
	if c.out == nil {
		c.out = make([]byte, packetHeader, packetHeader+c.maxData)
	}
	done := 0
	for done < len(b) {
		n := min(len(b)-done, packetHeader+c.maxData-len(c.out))
		c.out = append(c.out, b[done:done+n]...)
		done += n
		if len(c.out) == packetHeader+c.maxData {
			if err := c.flush(); err != nil {
				return 0, err
			}
		}
	}
	if c.corked {
		return done, nil
	}
	return done, c.flush()
}

// cork holds small writes back until uncork, so that several TLS records
// share a packet.
func (c *streamConn) cork() {
	c.wmu.Lock()
	defer c.wmu.Unlock()
	c.corked = true
}

func (c *streamConn) uncork() error {
	c.wmu.Lock()
	defer c.wmu.Unlock()
	c.corked = false
	return c.flush()
}

// flush sends what out holds; wmu is held.
func (c *streamConn) flush() error {
	n := uint64(len(c.out))
	if n <= packetHeader {
		return nil
	}
	n -= packetHeader
	c.mu.Lock()
	for c.sent+n > max(c.acked+window, c.allowed) && c.err == nil {
		c.writable.Wait()
	}
	if c.err != nil {
		defer c.mu.Unlock()
		return c.err
	}
	appendPacketHeader(c.out[:0], packetData, c.remote, c.sent)
	c.sent += n
	c.mu.Unlock()
	err := c.publish(c.out)
	c.out = c.out[:packetHeader]
	if err != nil {
		c.abort(err)
	}
	return err
}

// abort ends the connection with a reason and tells the other side.
func (c *streamConn) abort(err error) {
	c.mu.Lock()
	first := !c.closed
	c.closed = true
	c.queue = nil
	c.fail(err)
	remote := c.remote
	c.mu.Unlock()
	if first && remote != 0 {
		_ = c.publish(appendPacketHeader(nil, packetReset, remote, 0))
	}
}

// Close ends the connection. The other side can still read what was sent
// before.
func (c *streamConn) Close() error {
	c.abort(io.ErrClosedPipe)
	return nil
}

type natsAddr string

func (natsAddr) Network() string  { return "nats" }
func (a natsAddr) String() string { return string(a) }

func (c *streamConn) LocalAddr() net.Addr  { return natsAddr(fmt.Sprintf("%016x", c.local)) }
func (c *streamConn) RemoteAddr() net.Addr { return natsAddr("peer") }

// Deadlines are not kept: who waits too long closes the connection.
func (c *streamConn) SetDeadline(time.Time) error      { return nil }
func (c *streamConn) SetReadDeadline(time.Time) error  { return nil }
func (c *streamConn) SetWriteDeadline(time.Time) error { return nil }
