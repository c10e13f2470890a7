package knot

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// ErrTransfer: the primary's answer is not the zone, or not proven to be.
var ErrTransfer = errors.New("broken zone transfer")

const (
	transferTrickle = 64 << 10      // least bytes a second of a long transfer
	maxTransfer     = math.MaxInt32 // bytes in one transfer
	maxUnsigned     = 100           // messages between two signed ones (RFC 8945, section 5.3.1)
	tsigFudge       = 300           // seconds
)

// AXFR says where a zone is transferred from.
type AXFR struct {
	Zone    string
	Server  string        // host:port of the owner's primary
	TSIG    *TSIG         // nil: unsigned, for a primary on the same machine
	Timeout time.Duration // of one answer; zero: DefaultTimeout
	Notify  *Notifier     // nil: polled only
}

// AXFRSource reads a zone by zone transfer (RFC 5936) straight from the
// owner's primary: the SOA is polled, and a NOTIFY (RFC 1996) cuts the wait.
// With a TSIG key, what is not signed by it does not count (RFC 8945).
type AXFRSource struct {
	AXFR
	zone  string
	watch *watch // nil: polled only

	laxTSIG bool // test hook: take messages without a TSIG, as the library does
}

// NewAXFRSource checks what it is given and registers with the Notifier.
func NewAXFRSource(a AXFR) (*AXFRSource, error) {
	host, _, err := net.SplitHostPort(a.Server)
	if err != nil {
		return nil, fmt.Errorf("primary of zone %s: %w", a.Zone, err)
	}
	if _, ok := dns.IsDomainName(a.Zone); !ok || a.Zone == "" {
		return nil, fmt.Errorf("zone %q is not a domain name", a.Zone)
	}
	if a.Timeout <= 0 {
		a.Timeout = DefaultTimeout
	}
	s := &AXFRSource{AXFR: a, zone: canonicalZone(a.Zone)}
	if a.Notify != nil {
		if s.watch, err = a.Notify.add(s.zone, a.TSIG); err != nil {
			return nil, err
		}
		if ip, err := netip.ParseAddr(host); err == nil {
			s.watch.allow(ip)
		}
	}
	return s, nil
}

// Poll asks the primary for the SOA.
func (s *AXFRSource) Poll(ctx context.Context) (Version, error) {
	var soa *dns.SOA
	err := s.query(ctx, dns.TypeSOA, func(m *dns.Msg) (bool, error) {
		for _, rr := range m.Answer {
			if r, ok := rr.(*dns.SOA); ok && strings.EqualFold(r.Hdr.Name, s.zone) {
				soa = r
				return true, nil
			}
		}
		return false, fmt.Errorf("%w: no soa in the answer", ErrTransfer)
	})
	if err != nil {
		return Version{}, fmt.Errorf("poll zone %s at %s: %w", s.zone, s.Server, err)
	}
	return serialVersion(soa.Serial), nil
}

// Read transfers the zone.
func (s *AXFRSource) Read(ctx context.Context) (*Content, error) {
	var rrs []dns.RR
	err := s.query(ctx, dns.TypeAXFR, s.collect(&rrs))
	if err != nil {
		return nil, fmt.Errorf("transfer zone %s from %s: %w", s.zone, s.Server, err)
	}
	return &Content{Version: serialVersion(rrs[0].(*dns.SOA).Serial), RRs: rrs}, nil
}

// collect gathers the records of a transfer, message by message.
func (s *AXFRSource) collect(rrs *[]dns.RR) func(*dns.Msg) (bool, error) {
	return func(m *dns.Msg) (done bool, err error) {
		for _, rr := range m.Answer {
			if done {
				return false, fmt.Errorf("%w: records after the last soa", ErrTransfer)
			}
			if *rrs, done, err = s.take(*rrs, rr); err != nil {
				return false, err
			}
		}
		return done, nil
	}
}

// take adds a record of the transfer; the SOA, which comes first, comes again
// as the last and is left out then (RFC 5936, section 2.2).
func (s *AXFRSource) take(rrs []dns.RR, rr dns.RR) ([]dns.RR, bool, error) {
	h := rr.Header()
	soa, isSOA := rr.(*dns.SOA)
	switch {
	case h.Class != dns.ClassINET:
		return nil, false, fmt.Errorf("%w: %s %s is of class %s, expected IN", ErrTransfer, h.Name, dns.Type(h.Rrtype), dns.Class(h.Class))
	case !dns.IsSubDomain(s.zone, h.Name):
		return nil, false, fmt.Errorf("%w: %s is not in zone %s", ErrTransfer, h.Name, s.zone)
	case isSOA && !strings.EqualFold(h.Name, s.zone):
		return nil, false, fmt.Errorf("%w: soa of %s in zone %s", ErrTransfer, h.Name, s.zone)
	case len(rrs) == 0 && !isSOA:
		return nil, false, fmt.Errorf("%w: it starts with %s %s, expected the soa", ErrTransfer, h.Name, dns.Type(h.Rrtype))
	case len(rrs) > 0 && isSOA:
		if first := rrs[0].(*dns.SOA).Serial; first != soa.Serial {
			return nil, false, fmt.Errorf("%w: it starts with serial %d and ends with %d", ErrTransfer, first, soa.Serial)
		}
		return rrs, true, nil
	}
	return append(rrs, rr), false, nil
}

// Changed gets a value when a NOTIFY for the zone came from the primary.
func (s *AXFRSource) Changed() <-chan struct{} {
	if s.watch == nil {
		return nil
	}
	return s.watch.changed
}

// Close leaves the Notifier.
func (s *AXFRSource) Close() error {
	if s.watch != nil {
		s.Notify.remove(s.watch)
	}
	return nil
}

// query asks over TCP and gives each message of the answer to fn until fn
// says that the answer is whole. fn never sees a message as the last one that
// is not covered by the TSIG key.
func (s *AXFRSource) query(ctx context.Context, qtype uint16, fn func(*dns.Msg) (bool, error)) error {
	d := net.Dialer{Timeout: s.Timeout}
	nc, err := d.DialContext(ctx, "tcp", s.Server)
	if err != nil {
		return err
	}
	defer nc.Close()
	if s.watch != nil {
		if a, ok := nc.RemoteAddr().(*net.TCPAddr); ok {
			s.watch.allow(a.AddrPort().Addr())
		}
	}
	stop := context.AfterFunc(ctx, func() { nc.Close() })
	defer stop()
	err = s.converse(nc, qtype, fn)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

func (s *AXFRSource) converse(nc net.Conn, qtype uint16, fn func(*dns.Msg) (bool, error)) error {
	deadline := time.Now().Add(s.Timeout)
	if err := nc.SetDeadline(deadline); err != nil {
		return err
	}
	q := new(dns.Msg)
	q.SetQuestion(s.zone, qtype)
	q.RecursionDesired = false
	v, raw, err := newVerifier(s.TSIG, q, s.laxTSIG)
	if err != nil {
		return err
	}
	co := &dns.Conn{Conn: nc}
	if _, err := co.Write(raw); err != nil {
		return err
	}
	for total := 0; ; {
		raw, err := co.ReadMsgHeader(nil)
		if err != nil {
			return err
		}
		if total += len(raw); total > maxTransfer {
			return fmt.Errorf("%w: more than %d bytes", ErrTransfer, maxTransfer)
		}
		m := new(dns.Msg)
		if err := m.Unpack(raw); err != nil {
			return fmt.Errorf("%w: %w", ErrTransfer, err)
		}
		switch {
		case m.Id != q.Id || !m.Response || m.Opcode != dns.OpcodeQuery:
			return fmt.Errorf("%w: a message that answers something else", ErrTransfer)
		case len(m.Question) > 1 || len(m.Question) == 1 && !sameQuestion(m.Question[0], q.Question[0]):
			return fmt.Errorf("%w: an answer to another question", ErrTransfer)
		case m.Rcode != dns.RcodeSuccess:
			return fmt.Errorf("%w: the primary answers %s", ErrTransfer, dns.RcodeToString[m.Rcode])
		}
		if err := v.check(m, raw); err != nil {
			return err
		}
		done, err := fn(m)
		if err != nil {
			return err
		}
		if done {
			return v.end()
		}
		if qtype == dns.TypeAXFR && len(m.Answer) == 0 {
			return fmt.Errorf("%w: a message without records", ErrTransfer)
		}
		if err := nc.SetDeadline(deadline.Add(time.Duration(total) * time.Second / transferTrickle)); err != nil {
			return err
		}
	}
}

func sameQuestion(a, b dns.Question) bool {
	return strings.EqualFold(a.Name, b.Name) && a.Qtype == b.Qtype && a.Qclass == b.Qclass
}

// verifier checks the TSIGs of one conversation. The library's own transfer
// takes messages without one, so a man in the middle need only leave it out.
type verifier struct {
	key      *TSIG
	mac      string // of the last signed message, in hexadecimal
	between  []byte // unsigned messages since then
	unsigned int
	first    bool
	lax      bool
}

// newVerifier packs and signs the query.
func newVerifier(key *TSIG, q *dns.Msg, lax bool) (*verifier, []byte, error) {
	v := &verifier{key: key, first: true, lax: lax}
	if key == nil {
		raw, err := q.Pack()
		return v, raw, err
	}
	q.SetTsig(key.Name, key.Algorithm, tsigFudge, time.Now().Unix())
	raw, mac, err := dns.TsigGenerateWithProvider(q, keyProvider{key: *key}, "", false)
	v.mac = mac
	return v, raw, err
}

// check verifies a message, or keeps it until the next signed one covers it.
// It overwrites parts of raw.
func (v *verifier) check(m *dns.Msg, raw []byte) error {
	if v.key == nil {
		return nil
	}
	t := m.IsTsig()
	if t == nil {
		if v.lax {
			return nil
		}
		v.unsigned++
		if v.first || v.unsigned >= maxUnsigned {
			return fmt.Errorf("%w: the answer is not signed with key %s", ErrTransfer, v.key.Name)
		}
		v.between = append(v.between, raw...)
		return nil
	}
	for _, rr := range m.Extra[:len(m.Extra)-1] {
		if rr.Header().Rrtype == dns.TypeTSIG {
			return fmt.Errorf("%w: two tsig records in a message", ErrTransfer)
		}
	}
	p := keyProvider{key: *v.key, between: v.between, mac: len(v.mac) / 2}
	if err := dns.TsigVerifyWithProvider(raw, p, v.mac, !v.first); err != nil {
		return fmt.Errorf("%w: tsig of key %s: %w", ErrTransfer, v.key.Name, err)
	}
	v.mac, v.between, v.unsigned, v.first = t.MAC, nil, 0, false
	return nil
}

// end refuses an answer whose last message is unsigned.
func (v *verifier) end() error {
	if v.key != nil && v.unsigned > 0 {
		return fmt.Errorf("%w: the end of the answer is not signed with key %s", ErrTransfer, v.key.Name)
	}
	return nil
}
