package resolve

import (
	"errors"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"

	"zonesigner/measure"
	"zonesigner/measure/testnet"
)

// TestOffline takes the network away while lookups are under way, so that
// sending fails at once, or so that datagrams get lost: lookups wait, and none
// blames a server. Without a return they end with an error.
func TestOffline(t *testing.T) {
	t.Parallel()
	n, err := testnet.Start(200)
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	none := error(nil)
	down := error(syscall.ENETUNREACH)
	for name, fault := range map[string]*error{"no route": &down, "lost": &none} {
		t.Run(name, func(t *testing.T) {
			var mu sync.Mutex
			var events []string
			var r *Iterative
			r, err := NewIterative(t.Context(), Config{Port: n.Port, Private: true, Rate: -1, ServerRate: -1, Timeout: time.Minute, Try: 500 * time.Millisecond,
				Event: func(kind, _ string) {
					mu.Lock()
					defer mu.Unlock()
					if events = append(events, kind); len(events) == 1 { // others have time to fail, too
						time.AfterFunc(2*time.Second, func() { r.udp.unplugged.Store(nil) })
					}
				}}, n.Roots())
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			r.udp.unplugged.Store(fault)
			var wg sync.WaitGroup
			for i := range 60 {
				d := testnet.At(i)
				if d.Kind != "single" && d.Kind != "pair" {
					continue
				}
				wg.Go(func() {
					if l, err := r.NameServers(t.Context(), d.Name); err != nil || l.Status != measure.NoError {
						t.Errorf("%s: %s, %v", d.Name, l.Status, err)
					}
					if h, err := r.Host(t.Context(), "ns1.p43.dynect.net"); err != nil || h.Status != measure.NoError {
						t.Errorf("host: %s, %v", h.Status, err)
					}
				})
			}
			wg.Wait()
			if want := []string{EventOffline, EventOnline}; len(events) < 2 || !slices.Equal(events[:2], want) {
				t.Errorf("events %v, want %v first", events, want)
			}
			r.network.patience = 500 * time.Millisecond
			r.udp.unplugged.Store(fault)
			if l, err := r.NameServers(t.Context(), "example.com"); !errors.Is(err, ErrOffline) {
				t.Errorf("for good: %s, %v", l.Status, err)
			}
		})
	}
	if _, err := NewIterative(t.Context(), Config{Port: 9, Try: 50 * time.Millisecond}, []netip.Addr{netip.MustParseAddr("127.0.0.1")}); !errors.Is(err, ErrOffline) {
		t.Errorf("roots that are silent from the beginning: %v", err)
	}
}

// TestWithoutIPv6 is on a machine that has IPv6 and no way out over it: whether
// that is so, or all of the network is gone, is asked of a root server once a
// while, and not for each address.
func TestWithoutIPv6(t *testing.T) {
	n, err := testnet.Start(200)
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	r, err := NewIterative(t.Context(), Config{Port: n.Port, Private: true, Rate: -1, ServerRate: -1, Timeout: time.Minute, Try: 10 * time.Second}, n.Roots())
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	down := error(syscall.ENETUNREACH)
	r.udp.unplugged6.Store(&down)
	before := n.Queries.Load()
	six := netip.MustParseAddr("2001:db8::53")
	for range 100 {
		_, err := r.ask(t.Context(), &budget{left: time.Minute}, netip.AddrPortFrom(six, n.Port), r.cfg.ServerRate, question{name: "example.com", qtype: dns.TypeNS}, time.Second)
		if !errors.Is(err, errUnreachable) {
			t.Fatal(err)
		}
	}
	if asked := n.Queries.Load() - before; asked > 1 {
		t.Errorf("root servers were asked %d times", asked)
	}
	four := netip.MustParseAddr("192.0.2.1")
	if got := r.reachable([]netip.Addr{four, six}); !slices.Equal(got, []netip.Addr{four}) {
		t.Errorf("reachable: %v", got)
	}
	// Where IPv6 works, an address without a route says nothing of the others.
	r.network.sixless.Store(0)
	r.network.answer(six, time.Now())
	_, _ = r.ask(t.Context(), &budget{left: time.Minute}, netip.AddrPortFrom(six, n.Port), r.cfg.ServerRate, question{name: "example.com", qtype: dns.TypeNS}, time.Second)
	if r.withoutIPv6() {
		t.Error("IPv6 is left out for one address")
	}
}
