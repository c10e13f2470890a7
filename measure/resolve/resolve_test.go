package resolve

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"

	"zonesigner/measure"
	"zonesigner/measure/testnet"
)

// TestLimiter wants a rate kept to, whoever asks, with no more than a small
// burst after a rest.
func TestLimiter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := limiter{rate: 100}
		start := time.Now()
		for range 300 {
			if err := pause(t.Context(), l.reserve(time.Now())); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(start); took < 2900*time.Millisecond || took > 3100*time.Millisecond {
			t.Errorf("300 at 100 a second took %s", took)
		}
		time.Sleep(time.Hour)
		free := 0
		for l.reserve(time.Now()) <= 0 {
			free++
		}
		if free > 6 {
			t.Errorf("a burst of %d after a rest", free)
		}
	})
}

// TestServerRate wants the rate halved while a server drops some, back when it
// answers, and whole again when it is dead.
func TestServerRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table := servers{max: 10, known: map[netip.AddrPort]*server{}}
		s := table.get(netip.AddrPort{}, 1000, time.Now())
		time.Sleep(2 * time.Second)
		s.answer(time.Now())
		for range 100 { // side by side: once
			s.dropped(time.Now(), time.Second)
		}
		if s.rate != 500 {
			t.Errorf("rate %v after drops at one time", s.rate)
		}
		for range 30 {
			time.Sleep(1100 * time.Millisecond)
			s.answer(time.Now())
			s.dropped(time.Now(), time.Second)
		}
		if s.rate < slowest || s.rate > 10 {
			t.Errorf("rate %v after half a minute of drops", s.rate)
		}
		for range 2000 {
			s.answer(time.Now())
		}
		if s.rate != 1000 {
			t.Errorf("rate %v after answers", s.rate)
		}
		time.Sleep(time.Minute)
		s.silence(time.Now(), time.Second)
		if s.rate != 1000 {
			t.Errorf("rate %v of a dead server", s.rate)
		}
		// What is known of servers stays bounded.
		for i := range 1000 {
			table.get(netip.AddrPortFrom(netip.IPv4Unspecified(), uint16(i)), 1, time.Now())
			time.Sleep(7 * time.Second)
		}
		if len(table.known) > 10 {
			t.Errorf("%d servers are remembered", len(table.known))
		}
	})
}

// TestFlakyServer has a server that drops one query in ten: it is not asked more
// slowly than it answers.
func TestFlakyServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table := servers{max: 10, known: map[netip.AddrPort]*server{}}
		s := table.get(netip.AddrPort{}, noLimit, time.Now())
		for range 10 * 60 * 20 { // ten minutes of 20 answers and 2 drops a second
			time.Sleep(50 * time.Millisecond)
			s.answer(time.Now())
			if rand.IntN(10) == 0 {
				s.dropped(time.Now(), time.Second)
			}
			if s.rate < 17 {
				t.Fatalf("rate %v of a server that answers 20 queries a second", s.rate)
			}
		}
	})
}

// TestDeadNames asks a server about names that it never answers for, beside one
// that it does: the server keeps its rate. What is answered at the second try
// takes some of it.
func TestDeadNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table := servers{max: 10, known: map[netip.AddrPort]*server{}}
		to := netip.MustParseAddrPort("192.0.2.1:53")
		s := table.get(to, 1000, time.Now())
		ask := func(b *budget, name string, answered bool) {
			time.Sleep(1100 * time.Millisecond)
			s.learn(b, asked{to, name, dns.TypeNS}, answered, time.Second)
		}
		for range 60 {
			b := &budget{}
			ask(b, "silent.example", false)
			ask(b, "silent.example", false)
			ask(&budget{}, "well.example", true)
		}
		if s.rate != 1000 {
			t.Errorf("rate %v of a server that answers for most of its names", s.rate)
		}
		b := &budget{}
		ask(b, "dropped.example", false)
		ask(b, "dropped.example", true)
		if s.rate != 500 {
			t.Errorf("rate %v of a server that answered at the second try", s.rate)
		}
	})
}

// TestPolite counts what reaches the servers while much is asked: no more than
// the rates allow.
func TestPolite(t *testing.T) {
	n, err := testnet.Start(1000)
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	r, err := NewIterative(t.Context(), Config{Port: n.Port, Private: true, Rate: 200, ServerRate: 1000, Try: time.Second}, n.Roots())
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	start, before := time.Now(), n.Queries.Load()
	done := make(chan error)
	for i := range 120 {
		go func() {
			_, err := r.NameServers(t.Context(), "single-"+strings.Repeat("0", i%3)+"x.com") // none exists
			done <- err
		}()
	}
	for range 120 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	// The burst is a twentieth of a second's.
	asked := n.Queries.Load() - before
	if most := 200*time.Since(start).Seconds() + 200.0/20 + 1; float64(asked) > most {
		t.Errorf("%d queries in %s", asked, time.Since(start))
	}
}

// TestHostsOnce asks for one name server a thousand times at once: it is looked
// up once.
func TestHostsOnce(t *testing.T) {
	n, err := testnet.Start(1000)
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	r, err := NewStub(t.Context(), Config{Port: n.Port, Private: true, Rate: -1, ResolverRate: -1, Timeout: 2 * time.Minute, Try: time.Minute}, []netip.AddrPort{n.Resolver(0)})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	before := n.Queries.Load()
	done := make(chan Host)
	for range 1000 {
		go func() {
			h, _ := r.Host(t.Context(), "ns1.p43.dynect.net")
			done <- h
		}()
	}
	for range 1000 {
		if h := <-done; h.Status != measure.NoError || len(h.Addrs) != 1 {
			t.Fatalf("%+v", h)
		}
	}
	if asked := n.Queries.Load() - before; asked != 2 { // A and AAAA
		t.Errorf("%d queries", asked)
	}
}

// TestReferrals accepts what leads down to the name, with glue that the server
// may speak of, and nothing else.
func TestReferrals(t *testing.T) {
	ns := func(owner, name string) dns.RR { return &dns.NS{Hdr: header(owner, dns.TypeNS), Ns: name} }
	a := func(owner string) dns.RR {
		return &dns.A{Hdr: header(owner, dns.TypeA), A: []byte{192, 0, 2, 1}}
	}
	q := question{name: "www.example.com", qtype: dns.TypeNS}
	for name, c := range map[string]struct {
		ns, extra []dns.RR
		want      kind
		glue      []string
	}{
		"down":         {[]dns.RR{ns("example.com.", "ns1.example.com.")}, []dns.RR{a("ns1.example.com."), a("ns1.example.net."), a("www.example.com.")}, kindReferral, []string{"ns1.example.com"}},
		"poison":       {[]dns.RR{ns("example.com.", "ns1.example.net.")}, []dns.RR{a("ns1.example.net.")}, kindReferral, nil},
		"up":           {[]dns.RR{ns(".", "a.root-servers.net.")}, nil, kindFailure, nil},
		"to itself":    {[]dns.RR{ns("com.", "a.gtld-servers.net.")}, nil, kindFailure, nil},
		"aside":        {[]dns.RR{ns("example.org.", "ns1.example.org.")}, nil, kindFailure, nil},
		"another name": {[]dns.RR{ns("ample.com.", "ns1.ample.com.")}, nil, kindFailure, nil},
		"nothing":      {nil, nil, kindFailure, nil},
	} {
		m := &dns.Msg{Ns: c.ns, Extra: c.extra}
		r := readAuthoritative(m, "com", q)
		var glue []string
		for name := range r.glue {
			glue = append(glue, name)
		}
		if r.kind != c.want || r.kind == kindFailure && r.status != measure.Lame || !slices.Equal(glue, c.glue) {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

func header(name string, rrtype uint16) dns.RR_Header {
	return dns.RR_Header{Name: name, Rrtype: rrtype, Class: dns.ClassINET, Ttl: 60}
}

func TestLRU(t *testing.T) {
	l := newLRU[int](3)
	for i, name := range []string{"a", "b", "c", "a", "d"} {
		if name == "a" && i > 0 {
			l.get("a")
			continue
		}
		l.put(name, i)
	}
	ring := 0
	for e := l.ring.next; e != &l.ring; e = e.next {
		ring++
	}
	if _, ok := l.get("b"); ok || len(l.by) != 3 || ring != 3 {
		t.Errorf("b is still among %v, or there are %d in the ring", l.by, ring)
	}
	if _, ok := l.get("a"); !ok {
		t.Error("a is gone, which was used last")
	}
}

// FuzzAnswers wants bounded, canonical results of whatever servers send.
func FuzzAnswers(f *testing.F) {
	m := new(dns.Msg)
	m.SetQuestion("example.com.", dns.TypeNS)
	m.Response, m.Authoritative = true, true
	m.Ns = []dns.RR{&dns.NS{Hdr: header("example.com.", dns.TypeNS), Ns: `a\.b\ c.example.net.`}}
	b, err := m.Pack()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		m := new(dns.Msg)
		if m.Unpack(b) != nil {
			return
		}
		for _, qtype := range []uint16{dns.TypeNS, dns.TypeA, dns.TypeAAAA} {
			q := question{name: "example.com", qtype: qtype}
			for _, r := range []reply{readAuthoritative(m, "com", q), readAnswer(m, q), readChain(m, q)} {
				if len(r.names) > maxNames || len(r.addrs) > maxAddrs {
					t.Errorf("%d names, %d addresses", len(r.names), len(r.addrs))
				}
				for _, name := range append(r.names, r.target, r.zone) {
					if strings.ContainsAny(name, " \n") || name != strings.ToLower(name) {
						t.Errorf("name %q", name)
					}
				}
			}
		}
	})
}
