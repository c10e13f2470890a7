package knot_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"zonesigner/knot"
	"zonesigner/knot/knottest"
)

// wire are records in wire format.
func wire(t testing.TB, rrs []dns.RR) iter.Seq[[]byte] {
	t.Helper()
	var out [][]byte
	for _, r := range rrs {
		b := make([]byte, dns.Len(r)+256)
		n, err := dns.PackRR(r, b, 0, nil, false)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, b[:n])
	}
	return slices.Values(out)
}

func version(t testing.TB, serial int, more ...string) []dns.RR {
	t.Helper()
	rrs := []dns.RR{rr(t, soa(serial)), rr(t, "example. 300 NS ns.example."), rr(t, "ns.example. 300 A 192.0.2.1")}
	for _, m := range more {
		rrs = append(rrs, rr(t, m))
	}
	return rrs
}

func givesAway(t testing.TB) *knot.Primary {
	t.Helper()
	p, err := knot.ListenPrimary("127.0.0.1:0", *tsig(t, transfer), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	return p
}

// hosts are so many records, and one that takes most of a message.
func hosts(n int) []string {
	out := []string{"large.example. 300 TXT" + strings.Repeat(` "`+strings.Repeat("x", 255)+`"`, 250)}
	for i := range n {
		out = append(out, fmt.Sprintf("h%d.example. 300 A 192.0.2.%d", i, i%256))
	}
	return out
}

// A public Knot takes a zone of many messages when it is told to, over what it
// has, keeps taking changes over its control socket, and comes to later versions
// by itself.
func TestPrimaryOfKnot(t *testing.T) {
	p := givesAway(t)
	s := knottest.Start(t, knottest.Config{TSIG: transfer, Zones: []knottest.Zone{{Name: example, Primary: p.Addr()}}})
	ctl, ctx := s.Control(), ctxOf(t)
	apply(t, ctl, knot.Change{Full: true, Add: records(t, soa(1)+"example. 300 NS ns.example.\nns.example. 300 A 192.0.2.9\nold.example. 300 A 192.0.2.9\n")})
	second := version(t, 2, hosts(5000)...)
	var asked atomic.Int32
	p.Offer(example, knot.Offer{Serial: 2, Records: wire(t, second), Asked: func() { asked.Add(1) }})
	if err := ctl.Transfer(ctx, example, 2, len(second)); err != nil {
		t.Fatal(err, s.Log())
	}
	sameRRs(t, s.AXFR(example), second)
	if n := asked.Load(); n != 1 {
		t.Errorf("it was transferred %d times", n)
	}
	apply(t, ctl, knot.Change{Add: records(t, soa(3)+"new.example. 300 A 192.0.2.3\n")})
	third := append(version(t, 3, hosts(5000)...), rr(t, "new.example. 300 A 192.0.2.3"))
	sameRRs(t, s.AXFR(example), third)
	p.Offer(example, knot.Offer{Serial: 3, Records: wire(t, third)})
	s.Stop()
	s.Restart()
	s.WaitSerial(example, 3)
	fourth := version(t, 4, "www.example. 300 A 192.0.2.4")
	p.Offer(example, knot.Offer{Serial: 4, Records: wire(t, fourth)})
	s.Command("zone-refresh", example) // as it does by the times of its SOA
	s.WaitSerial(example, 4)
	sameRRs(t, s.AXFR(example), fourth)
}

// sameRRs compares zones without regard to order.
func sameRRs(t testing.TB, got, want []dns.RR) {
	t.Helper()
	text := func(rrs []dns.RR) []string {
		var out []string
		for _, r := range rrs {
			out = append(out, r.String())
		}
		slices.Sort(out)
		return out
	}
	if g, w := text(got), text(want); !slices.Equal(g, w) {
		t.Fatalf("%d records, expected %d", len(g), len(w))
	}
}

// A Knot without a master says so, and one that gets no zone does not make the
// caller wait for ever.
func TestTransferThatCannotBe(t *testing.T) {
	s := knottest.Start(t, knottest.Config{Zones: []knottest.Zone{{Name: example}}})
	var refused *knot.ControlError
	if err := s.Control().Transfer(ctxOf(t), example, 2, 1); !errors.As(err, &refused) {
		t.Errorf("without a master: %v", err)
	}
	p := givesAway(t) // which offers nothing
	s = knottest.Start(t, knottest.Config{TSIG: transfer, Zones: []knottest.Zone{{Name: example, Primary: p.Addr()}}})
	ctx, cancel := context.WithTimeout(ctxOf(t), time.Second)
	defer cancel()
	if err := s.Control().Transfer(ctx, example, 2, 1); err == nil {
		t.Error("nothing was offered, and it came")
	}
}

// Our own client, which checks every TSIG, reads what the primary gives; the
// version that it offers is the one that it says.
func TestPrimaryAnswers(t *testing.T) {
	p := givesAway(t)
	want := version(t, 7, hosts(3000)...)
	p.Offer("Example", knot.Offer{Serial: 7, Records: wire(t, want)})
	src := source(t, knot.AXFR{Server: p.Addr(), TSIG: tsig(t, transfer)})
	v, err := src.Poll(ctxOf(t))
	if err != nil || v.Serial != 7 {
		t.Fatalf("%+v, %v", v, err)
	}
	for range 2 {
		c, err := src.Read(ctxOf(t))
		if err != nil {
			t.Fatal(err)
		}
		sameRRs(t, c.RRs, want)
	}
	p.Retract(example)
	if _, err := src.Read(ctxOf(t)); err == nil || !strings.Contains(err.Error(), "NOTAUTH") {
		t.Errorf("a zone that is not offered any more: %v", err)
	}
}

// Who does not have the key gets nothing; without the check it would.
func TestPrimaryWantsTheKey(t *testing.T) {
	p := givesAway(t)
	p.Offer(example, knot.Offer{Serial: 7, Records: wire(t, version(t, 7))})
	for name, key := range map[string]*knot.TSIG{
		"none":       nil,
		"another":    tsig(t, "hmac-sha256:transfer.key:"+other),
		"other name": tsig(t, "hmac-sha256:else.key:"+secret),
		"other hash": tsig(t, "hmac-sha512:transfer.key:"+secret),
	} {
		for _, ask := range []func(*knot.AXFRSource) error{
			func(s *knot.AXFRSource) error { _, err := s.Poll(ctxOf(t)); return err },
			func(s *knot.AXFRSource) error { _, err := s.Read(ctxOf(t)); return err },
		} {
			if err := ask(source(t, knot.AXFR{Server: p.Addr(), TSIG: key})); !errors.Is(err, io.EOF) && !strings.Contains(fmt.Sprint(err), "reset") {
				t.Errorf("key %s: %v, expected that the connection is closed", name, err)
			}
		}
	}
	p = givesAway(t)
	p.SetLaxTSIG()
	p.Offer(example, knot.Offer{Serial: 7, Records: wire(t, version(t, 7))})
	s := source(t, knot.AXFR{Server: p.Addr()})
	s.SetLaxTSIG()
	if c, err := s.Read(ctxOf(t)); err != nil || len(c.RRs) != 3 {
		t.Errorf("without the check: %v", err)
	}
}

// A client that says nothing, or too much, holds nobody else up.
func TestPrimaryOfManyConnections(t *testing.T) {
	p := givesAway(t)
	p.Offer(example, knot.Offer{Serial: 7, Records: wire(t, version(t, 7))})
	for range 15 { // one less than are served at once
		c, err := net.Dial("tcp", p.Addr())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	c, err := net.Dial("tcp", p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write([]byte{255, 255, 1}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Error("a query of 65,535 bytes is answered")
	}
	_ = c.Close()
	src := source(t, knot.AXFR{Server: p.Addr(), TSIG: tsig(t, transfer)})
	for try := 0; ; try++ { // the place of the last one is free a moment later
		if _, err = src.Read(ctxOf(t)); err == nil || try == 100 {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if err != nil {
		t.Error(err)
	}
}

// Whatever is asked is a query that is signed, or an error.
func FuzzPrimaryQuestion(f *testing.F) {
	p := givesAway(f)
	m := new(dns.Msg).SetAxfr(example)
	raw, err := m.Pack()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	m.SetTsig("transfer.key.", dns.HmacSHA256, 300, 1)
	if raw, _, err = dns.TsigGenerate(m, secret, "", false); err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Fuzz(func(t *testing.T, raw []byte) {
		if q, err := p.QuestionForTest(raw); err == nil && (q.IsTsig() == nil || len(q.Question) != 1) {
			t.Fatalf("%v", q)
		}
	})
}
