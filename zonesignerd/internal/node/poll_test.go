package node

import (
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"zonesigner/zonesignerd/internal/api"
)

// primary serves any zone below its serial by SOA and AXFR.
type primary struct {
	addr   string
	serial atomic.Uint32
}

func newPrimary(t *testing.T) *primary {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	p := &primary{addr: l.Addr().String()}
	p.serial.Store(1)
	s := &dns.Server{Listener: l, Handler: dns.HandlerFunc(p.answer)}
	done := make(chan error, 1)
	go func() { done <- s.ActivateAndServe() }()
	t.Cleanup(func() {
		_ = s.Shutdown()
		<-done
	})
	return p
}

func (p *primary) answer(w dns.ResponseWriter, q *dns.Msg) {
	zone := q.Question[0].Name
	rr := func(format string, args ...any) dns.RR {
		r, err := dns.NewRR(zone + " 300 IN " + fmt.Sprintf(format, args...))
		if err != nil {
			panic(err)
		}
		return r
	}
	soa := rr("SOA ns.%s host.%s %d 7200 3600 1209600 300", zone, zone, p.serial.Load())
	m := new(dns.Msg).SetReply(q)
	m.Answer = []dns.RR{soa}
	if q.Question[0].Qtype == dns.TypeAXFR {
		m.Answer = []dns.RR{soa, rr("NS ns.other."), soa}
	}
	_ = w.WriteMsg(m)
}

// silent is a primary that takes connections and says nothing.
type silent struct {
	addr      string
	mu        sync.Mutex
	conns     int
	now, most int
}

func newSilent(t *testing.T) *silent {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	s := &silent{addr: l.Addr().String()}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer c.Close()
				s.count(1)
				defer s.count(-1)
				for b := make([]byte, 512); err == nil; {
					_, err = c.Read(b)
				}
			})
		}
	})
	t.Cleanup(func() { l.Close(); wg.Wait() })
	return s
}

func (s *silent) count(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now += n
	s.conns += max(n, 0)
	s.most = max(s.most, s.now)
}

// Primaries that take connections and never answer hold up their own zones
// alone: neither the polling of others, nor their reading.
func TestSilentPrimary(t *testing.T) {
	t.Parallel()
	good := newPrimary(t)
	var mute [3]*silent
	for i := range mute {
		mute[i] = newSilent(t)
	}
	o := newOperators(t, 3, 1)
	n := o.start("a")
	add := func(zone, server string) {
		t.Helper()
		text := fmt.Sprintf("version: 1\nzone: %s\nsource:\n  type: axfr\n  server: %s\npublish:\n  type: file\n  file: %s\n", zone, server, o.path("a", zone+"signed"))
		_, err := n.AddZone(t.Context(), api.AddZone{Policy: text, File: "policy"})
		must(t, err)
	}
	// By name, the silent ones are first in any list; there are more of them
	// than there are places for reading.
	for i := range 9 {
		add(fmt.Sprintf("a%d.", i), mute[i%len(mute)].addr)
	}
	o.write("m.", 1, "")
	_, err := n.AddZone(t.Context(), api.AddZone{Policy: o.policy("a", "m."), File: "policy"})
	must(t, err)
	add("x.", good.addr)
	add("y.", good.addr)
	for serial := uint32(1); serial <= 3; serial++ {
		good.serial.Store(serial)
		o.write("m.", serial, "", "a")
		o.eventually(5*time.Second, fmt.Sprintf("a sees serial %d of all zones that can be had", serial), func() bool {
			return o.status("a", "x.").SourceSerial == serial && o.status("a", "y.").SourceSerial == serial && o.status("a", "m.").SourceSerial == serial
		})
	}
	for i, s := range mute {
		s.mu.Lock()
		// One that polls and one that transfers, however many zones there are.
		if s.most > 2 || s.conns == 0 {
			t.Errorf("silent primary %d had %d connections, up to %d at once; expected 1 or 2", i, s.conns, s.most)
		}
		s.mu.Unlock()
	}
}

// What a silent primary does is said, with its address.
func TestSilentPrimaryIsNamed(t *testing.T) {
	t.Parallel()
	mute := newSilent(t)
	o := newOperators(t, 3, 1)
	o.options = func(_ string, opt *Options) { opt.pollTimeout = 200 * time.Millisecond }
	n := o.start("a")
	text := fmt.Sprintf("version: 1\nzone: example.\nsource:\n  type: axfr\n  server: %s\npublish:\n  type: file\n  file: %s\n", mute.addr, o.path("a", "signed"))
	_, err := n.AddZone(t.Context(), api.AddZone{Policy: text, File: "policy"})
	must(t, err)
	o.waits("a", "its source", mute.addr, "no answer within 200ms")
}
