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
)

// udp sends datagrams over a few sockets, each with a goroutine that hands
// answers to those who wait for them, by server and message id. So thousands of
// queries in flight need neither a socket nor a goroutine each.
type udp struct {
	v4, v6 []*socket
	next   atomic.Uint32
	stray  atomic.Int64 // datagrams nobody waits for: late, or with a wrong id
	wg     sync.WaitGroup

	// For tests: what sending gives, in all or over IPv6; nil in it: datagrams get lost.
	unplugged, unplugged6 atomic.Pointer[error]
}

type socket struct {
	conn    *net.UDPConn
	mu      sync.Mutex
	waiting map[ticket]chan []byte
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
			s := &socket{conn: conn, waiting: map[ticket]chan []byte{}}
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
		c := s.waiting[t]
		s.mu.Unlock()
		if c == nil {
			u.stray.Add(1)
			continue
		}
		select {
		case c <- append([]byte(nil), b[:n]...):
		default: // more than the one who waits has looked at yet: not ours to keep
		}
	}
}

// exchange sends query, whose first two bytes it overwrites with an id of its
// own, and calls take with each answer from the server under that id until take
// says that it is the one. It returns how long that took.
func (u *udp) exchange(ctx context.Context, to netip.AddrPort, query []byte, timeout time.Duration, take func([]byte) bool) (time.Duration, error) {
	socks := u.v4
	if to.Addr().Is6() {
		socks = u.v6
	}
	if len(socks) == 0 {
		return 0, errUnreachable
	}
	s := socks[u.next.Add(1)%uint32(len(socks))]
	c := make(chan []byte, 4)
	t := s.register(to, c)
	defer s.release(t)
	query[0], query[1] = byte(t.id>>8), byte(t.id)
	start := time.Now()
	if err := u.write(s, query, to); err != nil {
		if errors.Is(err, net.ErrClosed) {
			return 0, err
		}
		return 0, fmt.Errorf("%w: %w", errUnreachable, err)
	}
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	for {
		select {
		case b := <-c:
			if take(b) {
				return time.Since(start), nil
			}
		case <-timer.C:
			// An answer that came at the same time, as when this machine
			// is busy, counts.
			for len(c) > 0 {
				if take(<-c) {
					return timeout, nil
				}
			}
			return timeout, errTimeout
		case <-ctx.Done():
			return time.Since(start), ctx.Err()
		}
	}
}

func (u *udp) write(s *socket, query []byte, to netip.AddrPort) error {
	if p := u.unplugged.Load(); p != nil {
		return *p
	}
	if p := u.unplugged6.Load(); p != nil && to.Addr().Is6() {
		return *p
	}
	_, err := s.conn.WriteToUDPAddrPort(query, to)
	return err
}

// register finds an id that is free for the server, and that nobody can guess.
func (s *socket) register(to netip.AddrPort, c chan []byte) ticket {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		t := ticket{from: to, id: uint16(rand.Uint32())} //nolint:gosec // math/rand/v2's top-level source is ChaCha8, seeded by the system
		if _, taken := s.waiting[t]; !taken {
			s.waiting[t] = c
			return t
		}
	}
}

func (s *socket) release(t ticket) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.waiting, t)
}
