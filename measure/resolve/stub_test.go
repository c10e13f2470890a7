package resolve

import (
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"zonesigner/measure"
	"zonesigner/measure/testnet"
)

// apexAlias is a domain of the test Internet with a CNAME where its list should
// be, which a resolver follows.
func apexAlias(t *testing.T) testnet.Domain {
	t.Helper()
	for i := range 1000 {
		if d := testnet.At(i); d.Kind == "cnameapex" {
			return d
		}
	}
	t.Fatal("none")
	return testnet.Domain{}
}

// stub is a resolver over the first of the test Internet's.
func stub(t *testing.T, n *testnet.Net, cfg Config) *Stub {
	t.Helper()
	cfg.Private, cfg.NoIPv6 = true, true
	s, err := NewStub(t.Context(), cfg, []netip.AddrPort{n.Resolver(0)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func startNet(t *testing.T) *testnet.Net {
	t.Helper()
	n, err := testnet.Start(1000)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.Close)
	return n
}

// TestParentSilent has servers of the parent that do not say whether a name is a
// zone: that is no answer, and not the answer that it is none.
func TestParentSilent(t *testing.T) {
	n := startNet(t)
	s := stub(t, n, Config{Port: 9, ResolverRate: -1, Timeout: time.Second, Try: 100 * time.Millisecond}) // nobody is there
	if l, err := s.NameServers(t.Context(), apexAlias(t).Name); err != nil || l.Status != measure.Timeout {
		t.Errorf("%s, %v", l.Status, err)
	}
}

// TestDeadForAWhile lets the resolver die while a domain is looked up that
// needs several questions: the time in which nobody answered is not the domain's.
func TestDeadForAWhile(t *testing.T) {
	n := startNet(t)
	s := stub(t, n, Config{Port: n.Port, ResolverRate: -1, ServerRate: -1, Timeout: time.Minute, Try: 100 * time.Millisecond})
	n.Dead[0].Store(true)
	go func() { // two tries, of 200 and 400 ms, and the third
		for before := n.Queries.Load(); n.Queries.Load() < before+3 && t.Context().Err() == nil; {
			time.Sleep(time.Millisecond)
		}
		n.Dead[0].Store(false)
	}()
	start := time.Now()
	l, err := s.NameServers(t.Context(), apexAlias(t).Name)
	took := time.Since(start)
	if err != nil || l.Status != measure.NoError || l.Queries < 5 {
		t.Errorf("%+v, %v", l, err)
	}
	if l.Waited > took-600*time.Millisecond {
		t.Errorf("the domain paid for %s of %s", l.Waited, took)
	}
}

// TestAhead asks whether a resolver is there while many queries wait for their
// turn with it.
func TestAhead(t *testing.T) {
	n := startNet(t)
	s := stub(t, n, Config{Port: n.Port, ResolverRate: 10, Try: 5 * time.Second})
	for range 10_000 {
		s.servers.get(n.Resolver(0), 10, time.Now()).reserve(time.Now())
	}
	start := time.Now()
	if alive, lies := s.test(t.Context(), s.upstreams[0]); !alive || lies {
		t.Errorf("alive %v, lies %v", alive, lies)
	}
	if took := time.Since(start); took > time.Minute {
		t.Errorf("waited %s in the queue", took)
	}
}

// TestLiarKeepsSilent has a resolver that was found to lie and then says nothing
// of names that do not exist: it is not honest for that.
func TestLiarKeepsSilent(t *testing.T) {
	conn, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var silent atomic.Bool
	server := &dns.Server{PacketConn: conn, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		r := new(dns.Msg)
		r.SetReply(q)
		if q.Question[0].Qtype == dns.TypeA {
			if silent.Load() {
				return
			}
			r.Answer = []dns.RR{&dns.A{Hdr: header(q.Question[0].Name, dns.TypeA), A: []byte{192, 0, 2, 1}}}
		}
		_ = w.WriteMsg(r)
	})}
	go func() { _ = server.ActivateAndServe() }()
	t.Cleanup(func() { _ = server.Shutdown() })
	addr := conn.LocalAddr().(*net.UDPAddr).AddrPort()
	s, err := NewStub(t.Context(), Config{Private: true, ResolverRate: -1, Try: 300 * time.Millisecond}, []netip.AddrPort{addr})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	u := s.upstreams[0]
	if !s.liar(u) {
		t.Fatal("the liar was not found out")
	}
	silent.Store(true)
	if alive, lies := s.test(t.Context(), u); alive && !lies {
		t.Error("the liar is honest now")
	}
}
