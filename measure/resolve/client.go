package resolve

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
)

// Client asks single servers. It keeps to the rates of its Config.
type Client struct {
	cfg     Config
	all     limiter
	servers servers
	udp     *udp
	count   counters
	network network
}

type counters struct{ udp, tcp, timeouts, garbage atomic.Int64 }

// Stats are what a client has sent and received.
type Stats struct {
	UDP      int64 `json:"udp"`      // queries over UDP
	TCP      int64 `json:"tcp"`      // queries over TCP, after truncation
	Timeouts int64 `json:"timeouts"` // queries without an answer in time
	Stray    int64 `json:"stray"`    // datagrams that nobody waited for: late, or with a wrong id
	Garbage  int64 `json:"garbage"`  // answers that cannot be read, or are to another question
}

// NewClient opens the sockets.
func NewClient(cfg Config) (*Client, error) {
	cfg = cfg.withDefaults()
	u, err := listen(cfg.Sockets, cfg.NoIPv6)
	if err != nil {
		return nil, err
	}
	return &Client{cfg: cfg, all: limiter{rate: cfg.Rate}, udp: u,
		servers: servers{max: 10_000, known: map[netip.AddrPort]*server{}}}, nil
}

// Close closes the sockets.
func (c *Client) Close() { c.udp.close() }

// Stats counts from NewClient on.
func (c *Client) Stats() Stats {
	return Stats{UDP: c.count.udp.Load(), TCP: c.count.tcp.Load(), Timeouts: c.count.timeouts.Load(),
		Stray: c.udp.stray.Load(), Garbage: c.count.garbage.Load()}
}

// question is what is asked. The name is without the dot at the end, "" for
// the root.
type question struct {
	name    string
	qtype   uint16
	recurse bool // RD
	dnssec  bool // DO
	ahead   bool // of those who wait for their turn: it tells whether anybody is there
}

// query writes the message in wire format, its id left out.
func (q question) query(edns bool) ([]byte, error) {
	m := dns.Msg{MsgHdr: dns.MsgHdr{RecursionDesired: q.recurse}, Question: []dns.Question{{Name: dns.Fqdn(q.name), Qtype: q.qtype, Qclass: dns.ClassINET}}}
	if edns {
		m.SetEdns0(maxDatagram, q.dnssec)
	}
	return m.Pack()
}

// answers reports whether m is a response to q.
func (q question) answers(m *dns.Msg) bool {
	return m.Response && m.Opcode == dns.OpcodeQuery && len(m.Question) == 1 && m.Question[0].Qtype == q.qtype &&
		m.Question[0].Qclass == dns.ClassINET && strings.EqualFold(strings.TrimSuffix(m.Question[0].Name, "."), q.name)
}

// ask is send, with errors that are this machine's own, and not the server's,
// told apart: it waits until the network is back, and the error is errAgain, or
// says that it has waited for too long.
func (c *Client) ask(ctx context.Context, b *budget, to netip.AddrPort, limit float64, q question, timeout time.Duration) (*dns.Msg, error) {
	m, sent, err := c.send(ctx, b, to, limit, q, timeout)
	if err != nil {
		err = c.blame(ctx, to.Addr(), sent, err)
	}
	return m, err
}

// send sends q to a server once, over UDP and, when the answer is truncated,
// over TCP. It waits for its turn first, until sent, and then for at most
// timeout; what the server took is b's to pay. Errors are errTimeout,
// errUnreachable or the context's.
func (c *Client) send(ctx context.Context, b *budget, to netip.AddrPort, limit float64, q question, timeout time.Duration) (m *dns.Msg, sent time.Time, err error) {
	s := c.servers.get(to, limit, time.Now())
	for edns := true; ; edns = false {
		if err := c.turn(ctx, s, q.ahead); err != nil {
			return nil, time.Now(), err
		}
		sent = time.Now()
		timeout := min(timeout, b.left)
		if timeout <= 0 {
			return nil, sent, errTimeout
		}
		b.queries++
		this := asked{to, q.name, q.qtype}
		var took time.Duration
		m, took, err = c.once(ctx, to, q, edns, timeout)
		b.spend(took)
		switch {
		case err == nil:
			s.learn(b, this, true, timeout)
			c.network.answer(to.Addr(), time.Now())
		case errors.Is(err, errTimeout):
			c.count.timeouts.Add(1)
			s.learn(b, this, false, timeout)
		}
		// A server from before EDNS says so (RFC 6891, section 7).
		if err == nil && edns && (m.Rcode == dns.RcodeFormatError || m.Rcode == dns.RcodeNotImplemented) && m.IsEdns0() == nil {
			continue
		}
		return m, sent, err
	}
}

// turn waits until a query may leave, by the server's rate and by that of all.
// One that goes ahead counts as they do, and does not wait.
func (c *Client) turn(ctx context.Context, s *server, ahead bool) error {
	for _, l := range []*limiter{&s.limiter, &c.all} {
		wait := l.reserve(time.Now())
		if ahead {
			wait = 0
		}
		if err := pause(ctx, wait); err != nil {
			return err
		}
	}
	return nil
}

// once is one query, and the same over TCP where UDP had no room for the answer.
func (c *Client) once(ctx context.Context, to netip.AddrPort, q question, edns bool, timeout time.Duration) (*dns.Msg, time.Duration, error) {
	query, err := q.query(edns)
	if err != nil {
		return nil, 0, errUnaskable
	}
	c.count.udp.Add(1)
	var m *dns.Msg
	took, err := c.udp.exchange(ctx, to, query, timeout, func(b []byte) bool {
		m = c.read(q, b)
		return m != nil
	})
	if err != nil || !m.Truncated {
		return m, took, err
	}
	c.count.tcp.Add(1)
	start := time.Now()
	m, err = c.tcp(ctx, to, q, query, timeout-took)
	return m, took + time.Since(start), err
}

// read parses an answer; nil where it is none to q.
func (c *Client) read(q question, b []byte) *dns.Msg {
	m := new(dns.Msg)
	err := m.Unpack(b)
	// What is cut off in the middle of a record, with TC set, still says so.
	if (err != nil && !m.Truncated) || !q.answers(m) {
		c.count.garbage.Add(1)
		return nil
	}
	return m
}

// tcp asks over a connection of its own (RFC 7766): truncation is rare.
func (c *Client) tcp(ctx context.Context, to netip.AddrPort, q question, query []byte, timeout time.Duration) (*dns.Msg, error) {
	fail := func() (*dns.Msg, error) {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		return nil, errTimeout // refused and broken off are no answer, either
	}
	dialer := net.Dialer{Timeout: max(timeout, time.Millisecond)}
	conn, err := dialer.DialContext(ctx, "tcp", to.String())
	if err != nil {
		return fail()
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	if conn.SetDeadline(time.Now().Add(max(timeout, time.Millisecond))) != nil {
		return fail()
	}
	framed := append(binary.BigEndian.AppendUint16(nil, uint16(len(query))), query...)
	if _, err := conn.Write(framed); err != nil {
		return fail()
	}
	var length [2]byte
	if _, err := io.ReadFull(conn, length[:]); err != nil {
		return fail()
	}
	b := make([]byte, binary.BigEndian.Uint16(length[:]))
	if _, err := io.ReadFull(conn, b); err != nil {
		return fail()
	}
	m := c.read(q, b)
	if m == nil || m.Truncated || binary.BigEndian.Uint16(query) != m.Id {
		return fail()
	}
	return m, nil
}
