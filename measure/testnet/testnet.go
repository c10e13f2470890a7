// Package testnet is a small Internet on loopback addresses: root, top-level
// domains, DNS operators, and any number of generated domains with all that goes
// wrong in the real one. Which class each domain belongs to is known. It is there
// for tests and for measuring speed.
//
// All of it is computed from names and addresses as queries come in, so that a
// million domains take no memory. One UDP and one TCP socket serve all of
// 127.0.0.0/8 on one port; queries that come in over other addresses are ignored.
package testnet

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/net/ipv4"
)

// Net is a running test Internet.
type Net struct {
	Port    uint16 // of every server in it
	Queries atomic.Int64

	// Dead makes the resolvers Resolver(0) and Resolver(1) silent.
	Dead [2]atomic.Bool

	udp4, udp6 *net.UDPConn
	tcp        net.Listener
	wg         sync.WaitGroup
	mu         sync.Mutex
	conns      map[net.Conn]bool
	limited    bucket
}

// Addresses of what is not a domain's server.
var (
	rootServer = netip.AddrFrom4([4]byte{127, 53, 0, 1})
	tldServer  = netip.AddrFrom4([4]byte{127, 53, 1, 1})
	ukServer   = netip.AddrFrom4([4]byte{127, 53, 1, 2}) // of co.uk
	sixServer  = netip.IPv6Loopback()
)

// Start opens the sockets. rate is how many queries a second the server that
// limits its rate answers.
func Start(rate float64) (*Net, error) {
	var errs []error
	for range 20 {
		n, err := open(0)
		if err == nil {
			n.limited = bucket{rate: rate}
			n.serve()
			return n, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

// open listens on one port, on a free one for 0, in all ways.
func open(port int) (*Net, error) {
	n := &Net{conns: map[net.Conn]bool{}}
	var err error
	fail := func() (*Net, error) {
		n.closeSockets()
		return nil, err
	}
	if n.udp4, err = net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4zero, Port: port}); err != nil {
		return fail()
	}
	port = n.udp4.LocalAddr().(*net.UDPAddr).Port
	n.Port = uint16(port)
	if n.tcp, err = net.Listen("tcp4", fmt.Sprintf("0.0.0.0:%d", port)); err != nil {
		return fail()
	}
	// Without IPv6 on this machine its servers are silent.
	n.udp6, _ = net.ListenUDP("udp6", &net.UDPAddr{IP: net.IPv6loopback, Port: port})
	_ = n.udp4.SetReadBuffer(8 << 20)
	return n, nil
}

// HasIPv6 reports whether this machine has ::1.
func (n *Net) HasIPv6() bool { return n.udp6 != nil }

// Roots are the root servers' addresses.
func (n *Net) Roots() []netip.Addr { return []netip.Addr{rootServer} }

// Resolver is the ith of the resolvers: 0 and 1 are honest, Liar has addresses
// for names that do not exist.
func (n *Net) Resolver(i int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 53, 9, byte(i + 1)}), n.Port)
}

// Liar is the number of the resolver that lies.
const Liar = 2

// Close ends it.
func (n *Net) Close() {
	n.closeSockets()
	n.mu.Lock()
	for c := range n.conns {
		c.Close()
	}
	n.mu.Unlock()
	n.wg.Wait()
}

func (n *Net) closeSockets() {
	if n.udp4 != nil {
		_ = n.udp4.Close() // there is nothing to lose
	}
	if n.udp6 != nil {
		_ = n.udp6.Close()
	}
	if n.tcp != nil {
		n.tcp.Close()
	}
}

func (n *Net) serve() {
	for range 2 {
		n.wg.Go(n.serveUDP4)
	}
	if n.udp6 != nil {
		n.wg.Go(n.serveUDP6)
	}
	n.wg.Go(n.serveTCP)
}

// serveUDP4 answers from the address that was asked.
func (n *Net) serveUDP4() {
	conn := ipv4.NewPacketConn(n.udp4)
	if conn.SetControlMessage(ipv4.FlagDst, true) != nil {
		return
	}
	const batch = 32
	in := make([]ipv4.Message, batch)
	for i := range in {
		in[i].Buffers, in[i].OOB = [][]byte{make([]byte, 1500)}, make([]byte, 64)
	}
	for {
		count, err := conn.ReadBatch(in, 0)
		if errors.Is(err, net.ErrClosed) {
			return
		} else if err != nil {
			continue
		}
		out := make([]ipv4.Message, 0, count)
		for _, m := range in[:count] {
			var cm ipv4.ControlMessage
			if cm.Parse(m.OOB[:m.NN]) != nil {
				continue
			}
			dst, _ := netip.AddrFromSlice(cm.Dst.To4())
			if !dst.IsLoopback() {
				continue
			}
			for _, answer := range n.reply(dst, m.Buffers[0][:m.N], false) {
				out = append(out, ipv4.Message{Buffers: [][]byte{answer}, Addr: m.Addr, OOB: (&ipv4.ControlMessage{Src: cm.Dst}).Marshal()})
			}
		}
		for len(out) > 0 {
			sent, err := conn.WriteBatch(out, 0)
			if err != nil {
				break
			}
			out = out[sent:]
		}
	}
}

func (n *Net) serveUDP6() {
	b := make([]byte, 1500)
	for {
		size, from, err := n.udp6.ReadFromUDPAddrPort(b)
		if errors.Is(err, net.ErrClosed) {
			return
		} else if err != nil {
			continue
		}
		for _, answer := range n.reply(sixServer, b[:size], false) {
			_, _ = n.udp6.WriteToUDPAddrPort(answer, from)
		}
	}
}

func (n *Net) serveTCP() {
	for {
		conn, err := n.tcp.Accept()
		if err != nil {
			return
		}
		n.mu.Lock()
		n.conns[conn] = true
		n.mu.Unlock()
		n.wg.Go(func() {
			n.serveConn(conn)
			conn.Close()
			n.mu.Lock()
			delete(n.conns, conn)
			n.mu.Unlock()
		})
	}
}

func (n *Net) serveConn(conn net.Conn) {
	dst := conn.LocalAddr().(*net.TCPAddr).AddrPort().Addr().Unmap()
	if !dst.IsLoopback() {
		return
	}
	for {
		_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
		var length [2]byte
		if _, err := io.ReadFull(conn, length[:]); err != nil {
			return
		}
		b := make([]byte, binary.BigEndian.Uint16(length[:]))
		if _, err := io.ReadFull(conn, b); err != nil {
			return
		}
		for _, answer := range n.reply(dst, b, true) {
			if _, err := conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(answer))), answer...)); err != nil {
				return
			}
		}
	}
}

// reply gives the datagrams that come back for one query: mostly one.
func (n *Net) reply(dst netip.Addr, b []byte, tcp bool) [][]byte {
	n.Queries.Add(1)
	m := new(dns.Msg)
	if m.Unpack(b) != nil || len(m.Question) != 1 || m.Response {
		return nil
	}
	q := newQuery(m, dst, tcp)
	r := new(dns.Msg)
	r.SetReply(m)
	if q.edns {
		r.SetEdns0(1232, q.do)
	}
	trick := n.answer(q, r)
	if trick == dropped {
		return nil
	}
	if trick == garbled {
		return [][]byte{append([]byte{b[0], b[1], 0x84, 0}, "\x00\x01\x00\x09 this is no message"...)}
	}
	limit := 512
	switch {
	case tcp:
		limit = dns.MaxMsgSize
	case q.edns:
		limit = 1232
	}
	if trick == truncated && !tcp {
		r.Answer, r.Ns, r.Truncated = nil, nil, true
	}
	r.Compress = true
	packed, err := r.Pack()
	if err == nil && len(packed) > limit {
		r.Truncate(limit)
		packed, err = r.Pack()
	}
	if err != nil {
		return nil
	}
	switch trick {
	case wrongIDFirst, wrongID:
		other := append([]byte(nil), packed...)
		other[0] ^= 0x55
		if trick == wrongID {
			return [][]byte{other}
		}
		return [][]byte{other, packed}
	}
	return [][]byte{packed}
}

// trick is what goes wrong on the way of an answer.
type trick int

const (
	none trick = iota
	dropped
	garbled
	truncated    // unless over TCP
	wrongIDFirst // and then the right one
	wrongID
)

// bucket lets so many a second through.
type bucket struct {
	mu   sync.Mutex
	rate float64
	left float64
	last time.Time
}

func (b *bucket) take(now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.left = min(max(1, b.rate/10), b.left+b.rate*now.Sub(b.last).Seconds())
	b.last = now
	if b.left < 1 {
		return false
	}
	b.left--
	return true
}
