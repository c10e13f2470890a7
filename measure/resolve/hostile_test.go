package resolve

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"zonesigner/measure"
)

// Who serves what among the hostile: com has its server, all below com another,
// and at silent nobody is.
var (
	hostileRoot = netip.MustParseAddr("127.0.0.1")
	hostileCom  = netip.MustParseAddr("127.0.0.2")
	hostileRest = netip.MustParseAddr("127.0.0.3")
	silent      = netip.MustParseAddr("127.0.0.4")
)

// hostile are servers that do what they can to keep a resolver busy.
type hostile struct {
	port    uint16
	deepest atomic.Int64 // label to which the deep zone was referred
}

func startHostile(t *testing.T) *hostile {
	t.Helper()
	h := new(hostile)
	for _, a := range []netip.Addr{hostileRoot, hostileCom, hostileRest} {
		conn, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(a, h.port)))
		if err != nil {
			t.Fatal(err)
		}
		h.port = uint16(conn.LocalAddr().(*net.UDPAddr).Port)
		s := &dns.Server{PacketConn: conn, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
			r := new(dns.Msg)
			r.SetReply(q)
			if h.answer(a, canonical(q.Question[0].Name), r) {
				_ = w.WriteMsg(r)
			}
		})}
		go func() { _ = s.ActivateAndServe() }()
		t.Cleanup(func() { _ = s.Shutdown() })
	}
	// Over TCP an answer comes byte by byte, and never ends.
	l, err := net.ListenTCP("tcp4", net.TCPAddrFromAddrPort(netip.AddrPortFrom(hostileRest, h.port)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				_, err := conn.Write(binary.BigEndian.AppendUint16(nil, 60_000))
				for ; err == nil; _, err = conn.Write([]byte{0}) {
					time.Sleep(20 * time.Millisecond)
				}
			}()
		}
	}()
	return h
}

// answer is what the server at an address says of a name; false for nothing.
func (h *hostile) answer(at netip.Addr, name string, r *dns.Msg) bool {
	refer := func(zone string, addr netip.Addr, names ...string) {
		for _, n := range names {
			r.Ns = append(r.Ns, &dns.NS{Hdr: header(dns.Fqdn(zone), dns.TypeNS), Ns: dns.Fqdn(n)})
			if addr.IsValid() {
				r.Extra = append(r.Extra, &dns.A{Hdr: header(dns.Fqdn(n), dns.TypeA), A: addr.AsSlice()})
			}
		}
	}
	labels := strings.Split(name, ".")
	zone := strings.Join(labels[max(0, len(labels)-2):], ".")
	kind, _, _ := strings.Cut(zone, "-")
	var number int
	_, _ = fmt.Sscanf(zone, kind+"-%d.com", &number)
	switch {
	case at == hostileRoot:
		refer("com", hostileCom, "a.nic.com")
	case at == hostileCom && kind == "fan":
		// Four name servers without glue, each of which needs four others (Afek
		// and others, NXNSAttack, USENIX Security 2020).
		for k := range 4 {
			refer(zone, netip.Addr{}, fmt.Sprintf("ns.fan-%d.com", 4*number+k+1))
		}
	case at == hostileCom && kind == "chain":
		// A server that is silent, and one that is found by way of another zone.
		refer(zone, silent, "ns."+zone)
		refer(zone, netip.Addr{}, fmt.Sprintf("ns.chain-%d.com", number+1))
	case at == hostileCom && kind == "side":
		// Four whose zones have silent servers alone.
		for k := range 4 {
			refer(zone, netip.Addr{}, fmt.Sprintf("ns.mute-%d.com", k))
		}
	case at == hostileCom && kind == "mute":
		refer(zone, silent, "ns."+zone)
	case at == hostileCom:
		refer(zone, hostileRest, "ns."+zone)
	case kind == "alias":
		target := fmt.Sprintf("x%d.%s", len(name), "x"+name)
		r.Authoritative = true
		r.Answer = []dns.RR{&dns.CNAME{Hdr: header(dns.Fqdn(name), dns.TypeCNAME), Target: dns.Fqdn(target)}}
	case kind == "deep":
		// A zone for each label.
		depth := int(max(3, h.deepest.Load()+1))
		if depth > len(labels) {
			return false
		}
		h.deepest.Store(int64(depth))
		below := strings.Join(labels[len(labels)-depth:], ".")
		refer(below, hostileRest, "ns."+below)
	case kind == "self":
		refer(zone, hostileRest, "ns."+zone)
	case kind == "drip":
		r.Truncated = true
	case kind == "many":
		for k := range 60 {
			r.Answer = append(r.Answer, &dns.NS{Hdr: header(dns.Fqdn(zone), dns.TypeNS), Ns: fmt.Sprintf("n%d.", k)})
		}
		r.Authoritative, r.Compress = true, true
	default:
		return false
	}
	return true
}

// TestHostile has servers that send a lookup about, in circles, and to servers
// that are silent: it ends within its time and its queries, with a status.
func TestHostile(t *testing.T) {
	t.Parallel()
	net := startHostile(t)
	for name, c := range map[string]struct {
		status measure.Status
		waits  bool // for servers that are silent, until the time is over
	}{
		"fan-0.com":                             {measure.Loop, false},
		"alias-0.com":                           {measure.NoError, false}, // by the parent's list
		"self-0.com":                            {measure.Lame, false},
		"many-0.com":                            {measure.NoError, false},
		strings.Repeat("a.", 60) + "deep-0.com": {measure.Loop, false},
		"chain-0.com":                           {measure.Loop, true},
		"side-0.com":                            {measure.Timeout, true},
		"drip-0.com":                            {measure.Timeout, true},
		"mute-0.com":                            {measure.Timeout, true},
	} {
		cfg := Config{Port: net.port, Private: true, NoIPv6: true, Rate: -1, ServerRate: -1, Timeout: time.Minute, Try: time.Second}
		if c.waits {
			cfg.Timeout, cfg.Try = 2*time.Second, 100*time.Millisecond
		}
		r, err := NewIterative(t.Context(), cfg, []netip.Addr{hostileRoot})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(r.Close)
		t.Run(name[max(0, len(name)-12):], func(t *testing.T) {
			if c.waits {
				t.Parallel()
			}
			l, err := r.NameServers(t.Context(), name)
			if err != nil || l.Status != c.status {
				t.Errorf("%s, %v, want %s", l.Status, err, c.status)
			}
			if l.Queries > maxQueries+1 || len(l.Names) > maxNames {
				t.Errorf("%d queries, %d names", l.Queries, len(l.Names))
			}
			if l.Waited > cfg.Timeout*5/4 {
				t.Errorf("waited for %s", l.Waited)
			}
			t.Logf("%s, %d queries, %s", l.Status, l.Queries, l.Waited)
			// What the roots and com were asked once for all comes on top.
			if sent := r.Stats().UDP; sent > maxQueries+4 {
				t.Errorf("%d queries sent", sent)
			}
			if h, err := r.Host(t.Context(), "ns."+name); err != nil || len(h.Addrs) > 0 {
				t.Errorf("its name server: %+v, %v", h, err)
			}
		})
	}
}
