package resolve

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
)

// udp sends datagrams over a few sockets, each with a goroutine that reads
// answers and hands them to those who wait for them, by server and message id. So
// thousands of queries in flight need neither a socket nor a goroutine each, and
// the stacks of those who wait are not as deep as reading an answer goes.
type udp struct {
	v4, v6 []*socket
	next   atomic.Uint32
	stray  atomic.Int64 // datagrams nobody waits for: late, or with a wrong id
	wg     sync.WaitGroup

	unplugged atomic.Pointer[error] // for tests: what sending gives; nil in it: datagrams get lost
}

type socket struct {
	conn    *net.UDPConn
	mu      sync.Mutex
	waiting map[ticket]*waiter
}

// waiter is who waits for an answer.
type waiter struct {
	read func([]byte) *dns.Msg // nil where it is not the answer; keeps nothing of the bytes
	got  chan *dns.Msg         // has room for one: the first counts
}

type ticket struct {
	from netip.AddrPort
	id   uint16
}

// maxDatagram is what we say that we take (EDNS), and more than a server
// without EDNS sends: what is not fragmented on the way (DNS flag day 2020).
const maxDatagram = 1232

// errTimeout is that a server did not answer a try.
var errTimeout = errors.New("no answer in time")

// errUnreachable is that this machine cannot send there.
var errUnreachable = errors.New("unreachable from here")

// errUnaskable is that there can be no such question.
var errUnaskable = fmt.Errorf("%w: no name", errUnreachable)

// listen opens n sockets for each version of IP that there is.
func listen(n int, noIPv6 bool) (*udp, error) {
	u := &udp{}
	open := func(network string) ([]*socket, error) {
		var socks []*socket
		for range n {
			conn, err := net.ListenUDP(network, nil)
			if err != nil {
				return socks, err
			}
			_ = conn.SetReadBuffer(4 << 20) // as much as the system allows; less means lost answers, which are asked for again
			s := &socket{conn: conn, waiting: map[ticket]*waiter{}}
			u.wg.Go(func() { s.read(u) })
			socks = append(socks, s)
		}
		return socks, nil
	}
	var err error
	if u.v4, err = open("udp4"); err != nil {
		u.close()
		return nil, fmt.Errorf("udp: %w", err)
	}
	if !noIPv6 {
		u.v6, _ = open("udp6") // without IPv6 here, servers that have nothing else are unreachable
	}
	return u, nil
}

func (u *udp) close() {
	for _, s := range append(u.v4, u.v6...) {
		_ = s.conn.Close() // there is nothing to lose
	}
	u.wg.Wait()
}

// read hands out datagrams until the socket is closed.
func (s *socket) read(u *udp) {
	var b [4096]byte // more than maxDatagram: what is longer was not asked for
	for {
		n, from, err := s.conn.ReadFromUDPAddrPort(b[:])
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil || n < 12:
			continue
		}
		t := ticket{from: netip.AddrPortFrom(from.Addr().Unmap(), from.Port()), id: uint16(b[0])<<8 | uint16(b[1])}
		s.mu.Lock()
		w := s.waiting[t]
		s.mu.Unlock()
		if w == nil {
			u.stray.Add(1)
			continue
		}
		if m := w.read(b[:n]); m != nil {
			select {
			case w.got <- m:
			default: // there was one before
			}
		}
	}
}

// exchange sends query, whose first two bytes it overwrites with an id of its
// own, and returns the first of the messages from the server under that id that
// read takes for the answer, with how long that took.
func (u *udp) exchange(ctx context.Context, to netip.AddrPort, query []byte, timeout time.Duration, read func([]byte) *dns.Msg) (*dns.Msg, time.Duration, error) {
	socks := u.v4
	if to.Addr().Is6() {
		socks = u.v6
	}
	if len(socks) == 0 {
		return nil, 0, errUnreachable
	}
	s := socks[u.next.Add(1)%uint32(len(socks))]
	w := &waiter{read: read, got: make(chan *dns.Msg, 1)}
	t := s.register(to, w)
	defer s.release(t)
	query[0], query[1] = byte(t.id>>8), byte(t.id)
	start := time.Now()
	if err := u.write(s, query, to); err != nil {
		if errors.Is(err, net.ErrClosed) {
			return nil, 0, err
		}
		return nil, 0, fmt.Errorf("%w: %w", errUnreachable, err)
	}
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case m := <-w.got:
		return m, time.Since(start), nil
	case <-timer.C:
		return nil, timeout, errTimeout
	case <-ctx.Done():
		return nil, time.Since(start), ctx.Err()
	}
}

func (u *udp) write(s *socket, query []byte, to netip.AddrPort) error {
	if p := u.unplugged.Load(); p != nil {
		return *p
	}
	_, err := s.conn.WriteToUDPAddrPort(query, to)
	return err
}

// register finds an id that is free for the server, and that nobody can guess.
func (s *socket) register(to netip.AddrPort, w *waiter) ticket {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		t := ticket{from: to, id: uint16(rand.Uint32())} //nolint:gosec // math/rand/v2's top-level source is ChaCha8, seeded by the system
		if _, taken := s.waiting[t]; !taken {
			s.waiting[t] = w
			return t
		}
	}
}

func (s *socket) release(t ticket) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.waiting, t)
}
