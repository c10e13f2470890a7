package knot

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"github.com/miekg/dns"
)

// Notifier listens for NOTIFY (RFC 1996) over UDP and TCP, for all zones that
// come by transfer. A NOTIFY counts if it comes from the zone's primary and,
// where the zone has a TSIG key, is signed with it. All it does is to cut the
// wait until the next poll.
type Notifier struct {
	udp, tcp *dns.Server
	addr     string
	done     sync.WaitGroup

	mu      sync.Mutex
	watches map[string]*watch // by zone
}

// watch is one zone's entry in a Notifier.
type watch struct {
	zone    string
	key     *TSIG
	changed chan struct{}

	mu    sync.Mutex
	peers []netip.Addr // where the primary was met, newest last
}

func (w *watch) allow(ip netip.Addr) {
	ip = ip.Unmap().WithZone("")
	w.mu.Lock()
	defer w.mu.Unlock()
	if slices.Contains(w.peers, ip) {
		return
	}
	w.peers = append(w.peers, ip)
	if len(w.peers) > 8 {
		w.peers = w.peers[1:]
	}
}

func (w *watch) allows(ip netip.Addr) bool {
	ip = ip.Unmap().WithZone("")
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Contains(w.peers, ip)
}

// ListenNotify listens on addr, host:port. A port of 0 picks a free one.
func ListenNotify(addr string) (*Notifier, error) {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listen for notify: %w", err)
	}
	pc, err := net.ListenPacket("udp", ln.Addr().String())
	if err != nil {
		ln.Close()
		return nil, fmt.Errorf("listen for notify: %w", err)
	}
	n := &Notifier{addr: ln.Addr().String(), watches: map[string]*watch{}}
	n.udp = &dns.Server{PacketConn: pc, Handler: n, TsigProvider: notifyKeys{n}}
	n.tcp = &dns.Server{Listener: primariesOnly{ln, n}, Handler: n, TsigProvider: notifyKeys{n}}
	for _, s := range []*dns.Server{n.udp, n.tcp} {
		started := make(chan struct{})
		s.NotifyStartedFunc = func() { close(started) }
		n.done.Go(func() { _ = s.ActivateAndServe() })
		<-started
	}
	return n, nil
}

// Addr is the address listened on.
func (n *Notifier) Addr() string { return n.addr }

// Close stops listening.
func (n *Notifier) Close() error {
	err := errors.Join(n.udp.Shutdown(), n.tcp.Shutdown())
	n.done.Wait()
	return err
}

func (n *Notifier) add(zone string, key *TSIG) (*watch, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.watches[zone] != nil {
		return nil, fmt.Errorf("zone %s is transferred twice", zone)
	}
	w := &watch{zone: zone, key: key, changed: make(chan struct{}, 1)}
	n.watches[zone] = w
	return w, nil
}

func (n *Notifier) remove(w *watch) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.watches[w.zone] == w {
		delete(n.watches, w.zone)
	}
}

func (n *Notifier) find(zone string) *watch {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.watches[canonicalZone(zone)]
}

// knows reports whether ip is some zone's primary.
func (n *Notifier) knows(ip netip.Addr) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, w := range n.watches {
		if w.allows(ip) {
			return true
		}
	}
	return false
}

// ServeDNS answers a NOTIFY of a primary, refuses others, and is silent to
// strangers over UDP, so that it is no reflector.
func (n *Notifier) ServeDNS(w dns.ResponseWriter, r *dns.Msg) {
	ip := addrOf(w.RemoteAddr())
	if !n.knows(ip) || r.Response {
		return
	}
	reply := new(dns.Msg).SetReply(r)
	reply.Rcode = n.take(ip, r, w.TsigStatus())
	if t := r.IsTsig(); t != nil && w.TsigStatus() == nil {
		reply.SetTsig(t.Hdr.Name, t.Algorithm, tsigFudge, int64(t.TimeSigned))
	}
	reply.Authoritative = reply.Rcode == dns.RcodeSuccess
	_ = w.WriteMsg(reply)
}

// take judges a NOTIFY and passes it on; it returns the RCODE.
func (n *Notifier) take(ip netip.Addr, r *dns.Msg, tsig error) int {
	if r.Opcode != dns.OpcodeNotify || len(r.Question) != 1 || r.Question[0].Qtype != dns.TypeSOA || r.Question[0].Qclass != dns.ClassINET {
		return dns.RcodeNotImplemented
	}
	w := n.find(r.Question[0].Name)
	if w == nil || !w.allows(ip) {
		return dns.RcodeNotAuth
	}
	if w.key != nil {
		t := r.IsTsig()
		if t == nil || tsig != nil || !strings.EqualFold(t.Hdr.Name, w.key.Name) {
			return dns.RcodeNotAuth
		}
	}
	select {
	case w.changed <- struct{}{}:
	default: // one is waiting already
	}
	return dns.RcodeSuccess
}

// notifyKeys finds the key that a NOTIFY names among the zones' keys.
type notifyKeys struct{ n *Notifier }

func (k notifyKeys) key(t *dns.TSIG) (keyProvider, error) {
	k.n.mu.Lock()
	defer k.n.mu.Unlock()
	for _, w := range k.n.watches {
		if w.key != nil && strings.EqualFold(w.key.Name, t.Hdr.Name) && strings.EqualFold(w.key.Algorithm, t.Algorithm) {
			return keyProvider{key: *w.key}, nil
		}
	}
	return keyProvider{}, dns.ErrKey
}

func (k notifyKeys) Generate(msg []byte, t *dns.TSIG) ([]byte, error) {
	p, err := k.key(t)
	if err != nil {
		return nil, err
	}
	return p.Generate(msg, t)
}

func (k notifyKeys) Verify(msg []byte, t *dns.TSIG) error {
	p, err := k.key(t)
	if err != nil {
		return err
	}
	return p.Verify(msg, t)
}

// primariesOnly hangs up on strangers before they say a word.
type primariesOnly struct {
	net.Listener
	n *Notifier
}

func (l primariesOnly) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil || l.n.knows(addrOf(c.RemoteAddr())) {
			return c, err
		}
		c.Close()
	}
}

func addrOf(a net.Addr) netip.Addr {
	switch a := a.(type) {
	case *net.UDPAddr:
		return a.AddrPort().Addr()
	case *net.TCPAddr:
		return a.AddrPort().Addr()
	}
	return netip.Addr{}
}
