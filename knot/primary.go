package knot

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
)

const (
	// primaryConns is how many connections a Primary serves at once.
	primaryConns = 16
	// primaryIdle is how long one may say nothing, or take nothing.
	primaryIdle = 30 * time.Second
	// maxQuestion is the largest query: a name, an SOA and a TSIG.
	maxQuestion = 4096
	// transferMessage is how large a message of a transfer becomes. The TSIG
	// comes on top, and a record may have 64 KiB by itself.
	transferMessage = 32 << 10
)

// Offer is a version of a zone that a Primary gives away.
type Offer struct {
	Serial uint32
	// Records yields all records in wire format, names not compressed, the SOA
	// first and once. Each is used before the next one is asked for.
	Records iter.Seq[[]byte]
	// Asked, which may be nil, is called when somebody begins to transfer it.
	Asked func()
}

// Primary gives zones away by transfer (RFC 5936), over TCP, to those that have
// its TSIG key (RFC 8945): a way to hand a large zone to the public Knot that
// takes a fifth of the time in Knot that a transaction takes. It hangs up on
// everybody else.
type Primary struct {
	key TSIG
	ln  net.Listener
	log func(error)

	stop  context.CancelFunc
	conns sync.WaitGroup
	slots chan struct{}

	laxTSIG bool // test hook: take queries without a TSIG

	mu    sync.Mutex
	zones map[string]Offer
}

// ListenPrimary listens at addr, host:port; a port of 0 picks a free one. log,
// which may be nil, gets what went wrong with a connection.
func ListenPrimary(addr string, key TSIG, log func(error)) (*Primary, error) {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listen for transfers: %w", err)
	}
	if log == nil {
		log = func(error) {}
	}
	ctx, stop := context.WithCancel(context.Background())
	p := &Primary{key: key, ln: ln, log: log, stop: stop, slots: make(chan struct{}, primaryConns), zones: map[string]Offer{}}
	p.conns.Go(func() { p.accept(ctx) })
	return p, nil
}

// Addr is the address listened on.
func (p *Primary) Addr() string { return p.ln.Addr().String() }

// Close stops listening and ends what is under way.
func (p *Primary) Close() error {
	p.stop()
	err := p.ln.Close()
	p.conns.Wait()
	return err
}

// Offer has the zone given away in this version from now on.
func (p *Primary) Offer(zone string, o Offer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.zones[canonicalZone(zone)] = o
}

// Retract ends what Offer began.
func (p *Primary) Retract(zone string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.zones, canonicalZone(zone))
}

func (p *Primary) offered(zone string) (Offer, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	o, ok := p.zones[canonicalZone(zone)]
	return o, ok
}

func (p *Primary) accept(ctx context.Context) {
	for {
		c, err := p.ln.Accept()
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return
			}
			p.log(err)
			time.Sleep(100 * time.Millisecond) // too many open files, perhaps
			continue
		}
		select {
		case p.slots <- struct{}{}:
		default:
			_ = c.Close()
			continue
		}
		p.conns.Go(func() {
			defer func() { <-p.slots }()
			defer c.Close()
			defer context.AfterFunc(ctx, func() { _ = c.Close() })()
			if err := p.serve(c); err != nil && ctx.Err() == nil {
				p.log(fmt.Errorf("transfer to %s: %w", c.RemoteAddr(), err))
			}
		})
	}
}

// serve answers one query after the other.
func (p *Primary) serve(c net.Conn) error {
	raw := make([]byte, maxQuestion)
	for {
		_ = c.SetDeadline(time.Now().Add(primaryIdle))
		var size [2]byte
		if _, err := io.ReadFull(c, size[:]); err != nil {
			if errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) {
				return nil
			}
			return err
		}
		n := int(binary.BigEndian.Uint16(size[:]))
		if n > len(raw) {
			return fmt.Errorf("a query of %d bytes, expected at most %d", n, len(raw))
		}
		if _, err := io.ReadFull(c, raw[:n]); err != nil {
			return err
		}
		q, err := p.question(raw[:n])
		if err != nil {
			return err
		}
		if err := p.answer(c, q); err != nil {
			return err
		}
	}
}

// question reads a query, which must be signed with the key.
func (p *Primary) question(raw []byte) (*dns.Msg, error) {
	q := new(dns.Msg)
	if err := q.Unpack(raw); err != nil {
		return nil, err
	}
	if err := p.verify(q, raw); err != nil && !p.laxTSIG {
		return nil, fmt.Errorf("a query that is not signed with key %s: %w", p.key.Name, err)
	}
	if q.Response || q.Opcode != dns.OpcodeQuery || len(q.Question) != 1 || q.Question[0].Qclass != dns.ClassINET {
		return nil, errors.New("a message that is no query for one zone")
	}
	return q, nil
}

// verify checks the query's TSIG. It overwrites parts of raw.
func (p *Primary) verify(q *dns.Msg, raw []byte) error {
	t := q.IsTsig()
	if t == nil {
		return dns.ErrNoSig
	}
	if !strings.EqualFold(t.Hdr.Name, p.key.Name) {
		return dns.ErrKey
	}
	return dns.TsigVerifyWithProvider(raw, keyProvider{key: p.key}, "", false)
}

// answer gives the SOA, or the zone: by AXFR, and to IXFR as well unless the one
// who asks has this version (RFC 1995, section 4).
func (p *Primary) answer(c net.Conn, q *dns.Msg) error {
	a := &transfer{c: c, key: p.key, id: q.Id, question: q.Question[0]}
	if t := q.IsTsig(); t != nil {
		a.mac = t.MAC
	}
	o, ok := p.offered(q.Question[0].Name)
	if !ok {
		a.rcode = dns.RcodeNotAuth
		return a.end()
	}
	switch q.Question[0].Qtype {
	case dns.TypeSOA:
		return a.soa(o)
	case dns.TypeIXFR:
		if len(q.Ns) == 1 {
			if soa, ok := q.Ns[0].(*dns.SOA); ok && soa.Serial == o.Serial {
				return a.soa(o)
			}
		}
		return a.zone(o)
	case dns.TypeAXFR:
		return a.zone(o)
	}
	a.rcode = dns.RcodeRefused
	return a.end()
}

// transfer is the answer to one query, in as many messages as it takes.
type transfer struct {
	c        net.Conn
	key      TSIG
	id       uint16
	question dns.Question
	rcode    int
	mac      string // of the query, then of the last message, in hexadecimal
	sent     int    // messages

	buf     []byte // two bytes of length, then the message
	records int
}

func (a *transfer) soa(o Offer) error {
	for rr := range o.Records {
		a.add(rr)
		break
	}
	return a.end()
}

func (a *transfer) zone(o Offer) error {
	if o.Asked != nil {
		o.Asked()
	}
	var soa []byte
	for rr := range o.Records {
		if soa == nil {
			soa = append(soa, rr...)
		}
		if err := a.next(rr); err != nil {
			return err
		}
	}
	if err := a.next(soa); err != nil {
		return err
	}
	return a.end()
}

// next adds a record, and sends what is large enough before.
func (a *transfer) next(rr []byte) error {
	if a.records > 0 && len(a.buf)+len(rr) > transferMessage {
		if err := a.end(); err != nil {
			return err
		}
	}
	a.add(rr)
	return nil
}

func (a *transfer) add(rr []byte) {
	a.begin()
	a.buf = append(a.buf, rr...)
	a.records++
}

// begin starts a message, if none is begun.
func (a *transfer) begin() {
	if len(a.buf) > 0 {
		return
	}
	flags := uint16(1<<15 | a.rcode) // QR
	if a.rcode == dns.RcodeSuccess {
		flags |= 1 << 10 // AA
	}
	a.buf = append(a.buf, 0, 0)
	for _, n := range [...]uint16{a.id, flags, 1, 0, 0, 0} {
		a.buf = binary.BigEndian.AppendUint16(a.buf, n)
	}
	name := make([]byte, 256)
	n, err := dns.PackDomainName(a.question.Name, name, 0, nil, false)
	if err != nil {
		n = 1 // it came from the wire, so it packs
	}
	a.buf = append(a.buf, name[:n]...)
	a.buf = binary.BigEndian.AppendUint16(a.buf, a.question.Qtype)
	a.buf = binary.BigEndian.AppendUint16(a.buf, a.question.Qclass)
}

// end signs the message and sends it.
func (a *transfer) end() error {
	a.begin()
	binary.BigEndian.PutUint16(a.buf[2+6:], uint16(a.records))
	t := &dns.TSIG{
		Hdr:       dns.RR_Header{Name: a.key.Name, Rrtype: dns.TypeTSIG, Class: dns.ClassANY},
		Algorithm: a.key.Algorithm, TimeSigned: uint64(time.Now().Unix()), Fudge: tsigFudge, OrigId: a.id,
	}
	message := a.buf[2:]
	sig, mac, err := signMessage(message, t, a.key, a.mac, a.sent > 0)
	if err != nil {
		return err
	}
	a.mac = mac
	binary.BigEndian.PutUint16(message[10:], 1) // the TSIG
	a.buf = append(a.buf, sig...)
	if len(a.buf)-2 > dns.MaxMsgSize-1 {
		return fmt.Errorf("a record of %d bytes does not fit a message", len(message))
	}
	binary.BigEndian.PutUint16(a.buf, uint16(len(a.buf)-2))
	_ = a.c.SetDeadline(time.Now().Add(primaryIdle))
	_, err = a.c.Write(a.buf)
	a.buf, a.records = a.buf[:0], 0
	a.sent++
	return err
}
