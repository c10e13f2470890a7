package knot_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"zonesigner/knot"
	"zonesigner/knot/knottest"
)

var (
	secret   = base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{7}, 32))
	other    = base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{8}, 32))
	transfer = "hmac-sha256:transfer.key:" + secret
)

func tsig(t testing.TB, text string) *knot.TSIG {
	t.Helper()
	k, err := knot.ParseTSIG(text)
	if err != nil {
		t.Fatal(err)
	}
	return &k
}

func source(t testing.TB, a knot.AXFR) *knot.AXFRSource {
	t.Helper()
	if a.Zone == "" {
		a.Zone = example
	}
	if a.Timeout == 0 {
		a.Timeout = knottest.Wait
	}
	s, err := knot.NewAXFRSource(a)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestTransferAndNotify(t *testing.T) {
	n, err := knot.ListenNotify("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	const hosts = 3000 // some dozen messages
	s := knottest.Start(t, knottest.Config{
		Zones: []knottest.Zone{{Name: example, Text: hiddenZone(1, hosts)}}, TSIG: transfer, Notify: []string{n.Addr()},
	})
	s.WaitSerial(example, 1)
	src := source(t, knot.AXFR{Server: s.Addr, TSIG: tsig(t, transfer), Notify: n})
	ctx := ctxOf(t)

	v, err := src.Poll(ctx)
	if err != nil || v != (knot.Version{Serial: 1, Token: "1"}) {
		t.Fatalf("%+v, %v", v, err)
	}
	c, err := src.Read(ctx)
	if err != nil || c.Version != v || len(c.RRs) != 4+2*hosts {
		t.Fatalf("%+v, %v", c, err)
	}
	if c.RRs[0].Header().Rrtype != dns.TypeSOA || c.RRs[len(c.RRs)-1].Header().Rrtype == dns.TypeSOA {
		t.Fatal("the soa is not first, or stands at the end too")
	}

	select { // one may have come at the start
	case <-src.Changed():
	default:
	}
	s.WriteZone(example, hiddenZone(2, hosts))
	s.Reload(example)
	for v.Serial != 2 { // more than one NOTIFY may be on its way
		select {
		case <-src.Changed():
		case <-ctx.Done():
			t.Fatalf("no notify\n%s", s.Log())
		}
		if v, err = src.Poll(ctx); err != nil {
			t.Fatal(err)
		}
	}

	for name, key := range map[string]*knot.TSIG{
		"no key":      nil,
		"another key": tsig(t, "hmac-sha256:transfer.key:"+other),
		"strange key": tsig(t, "hmac-sha256:other.key:"+secret),
		"other hash":  tsig(t, "hmac-sha512:transfer.key:"+secret),
	} {
		src := source(t, knot.AXFR{Server: s.Addr, TSIG: key})
		if _, err := src.Read(ctx); !errors.Is(err, knot.ErrTransfer) {
			t.Errorf("%s: read: %v", name, err)
		}
	}
	s.Stop()
	if _, err := src.Poll(ctx); err == nil {
		t.Fatal("polled a stopped primary")
	}
}

// primary answers every query over TCP with the messages that answer makes;
// it has the key only where the test gives it.
func primary(t *testing.T, answer func(q *dns.Msg, c *dns.Conn)) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			co := &dns.Conn{Conn: c}
			raw, err := co.ReadMsgHeader(nil)
			q := new(dns.Msg)
			if err == nil && q.Unpack(raw) == nil {
				answer(q, co)
			}
			c.Close()
		}
	}()
	t.Cleanup(func() { ln.Close(); <-done })
	return ln.Addr().String()
}

func rr(t testing.TB, text string) dns.RR {
	t.Helper()
	r, err := dns.NewRR(text)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// A man in the middle who leaves the TSIG out: the zone that he sends is
// taken when the check is (SetLaxTSIG), as the DNS library would do.
func TestTransferWithoutTSIG(t *testing.T) {
	soa := rr(t, soa(9))
	addr := primary(t, func(q *dns.Msg, c *dns.Conn) {
		m := new(dns.Msg).SetReply(q)
		m.Answer = []dns.RR{soa, rr(t, "example. 300 NS ns.example."), rr(t, "www.example. 300 A 203.0.113.66"), soa}
		_ = c.WriteMsg(m)
	})
	src := source(t, knot.AXFR{Server: addr, TSIG: tsig(t, transfer)})
	if c, err := src.Read(ctxOf(t)); !errors.Is(err, knot.ErrTransfer) {
		t.Fatalf("forged zone: %v, %v", c, err)
	}
	if v, err := src.Poll(ctxOf(t)); !errors.Is(err, knot.ErrTransfer) {
		t.Fatalf("forged serial: %v, %v", v, err)
	}
	src.SetLaxTSIG()
	if c, err := src.Read(ctxOf(t)); err != nil || len(c.RRs) != 3 {
		t.Fatalf("the attack fails without the check: %v, %v", c, err)
	}
}

// Some primaries sign only every n-th message and the last; the MAC covers
// those between. What is inserted or altered there must be found.
func TestTransferSignedSparsely(t *testing.T) {
	key := tsig(t, transfer)
	const messages = 10
	run := func(tamper func(i int, raw []byte) []byte, signLast bool) (*knot.Content, error) {
		addr := primary(t, func(q *dns.Msg, c *dns.Conn) {
			mac := q.IsTsig().MAC
			var between []byte
			for i := range messages {
				m := new(dns.Msg).SetReply(q)
				m.Compress = true
				switch i {
				case 0:
					m.Answer = []dns.RR{rr(t, soa(9))}
				case messages - 1:
					m.Answer = []dns.RR{rr(t, soa(9))}
				default:
					m.Answer = []dns.RR{rr(t, fmt.Sprintf("h%d.example. 300 A 192.0.2.1", i))}
				}
				var raw []byte
				if i == 0 || i%4 == 3 || i == messages-1 && signLast {
					m.SetTsig(key.Name, key.Algorithm, 300, time.Now().Unix())
					var err error
					if raw, mac, err = dns.TsigGenerateWithProvider(m, knot.ProviderForTest(*key, between, mac), mac, i > 0); err != nil {
						t.Error(err)
					}
					between = nil
				} else {
					raw, _ = m.Pack()
					between = append(between, raw...)
				}
				if tamper != nil {
					raw = tamper(i, raw)
				}
				if raw == nil {
					continue
				}
				if _, err := c.Write(raw); err != nil {
					return
				}
			}
		})
		return source(t, knot.AXFR{Server: addr, TSIG: key, Timeout: 2 * time.Second}).Read(ctxOf(t))
	}
	if c, err := run(nil, true); err != nil || len(c.RRs) != messages-1 {
		t.Fatalf("%v, %v", c, err)
	}
	if _, err := run(nil, false); !errors.Is(err, knot.ErrTransfer) {
		t.Errorf("unsigned end: %v", err)
	}
	if _, err := run(func(i int, raw []byte) []byte {
		if i == 5 {
			raw[len(raw)-1] ^= 1 // the address
		}
		return raw
	}, true); !errors.Is(err, knot.ErrTransfer) {
		t.Errorf("altered message: %v", err)
	}
	if _, err := run(func(i int, raw []byte) []byte {
		if i == 5 {
			return nil
		}
		return raw
	}, true); !errors.Is(err, knot.ErrTransfer) {
		t.Errorf("missing message: %v", err)
	}
}

func TestHostilePrimary(t *testing.T) {
	first := soa(9)
	for name, answers := range map[string][][]string{
		"no soa first":         {{"www.example. 1 A 192.0.2.1", first}},
		"other serial at end":  {{first, "www.example. 1 A 192.0.2.1", soa(10)}},
		"records after end":    {{first, first, "www.example. 1 A 192.0.2.1"}},
		"outside the zone":     {{first, "www.test. 1 A 192.0.2.1", first}},
		"soa below the apex":   {{first, "a.example. 1 SOA . . 1 1 1 1 1", first}},
		"other class":          {{first, "www.example. 1 CH A 192.0.2.1", first}},
		"no end":               {{first, "www.example. 1 A 192.0.2.1"}},
		"empty":                {{}},
		"empty after a record": {{first}, {}},
	} {
		addr := primary(t, func(q *dns.Msg, c *dns.Conn) {
			for _, lines := range answers {
				m := new(dns.Msg).SetReply(q)
				for _, l := range lines {
					if r, err := dns.NewRR(l); err == nil && r != nil {
						m.Answer = append(m.Answer, r)
					}
				}
				_ = c.WriteMsg(m)
			}
		})
		if c, err := source(t, knot.AXFR{Server: addr}).Read(ctxOf(t)); err == nil {
			t.Errorf("%s: accepted %v", name, c.RRs)
		}
	}
	for name, change := range map[string]func(*dns.Msg){
		"other id":       func(m *dns.Msg) { m.Id++ },
		"a query":        func(m *dns.Msg) { m.Response = false },
		"other question": func(m *dns.Msg) { m.Question[0].Name = "test." },
		"refused":        func(m *dns.Msg) { m.Rcode = dns.RcodeRefused },
	} {
		addr := primary(t, func(q *dns.Msg, c *dns.Conn) {
			m := new(dns.Msg).SetReply(q)
			m.Answer = []dns.RR{rr(t, first), rr(t, first)}
			change(m)
			_ = c.WriteMsg(m)
		})
		if _, err := source(t, knot.AXFR{Server: addr}).Poll(ctxOf(t)); !errors.Is(err, knot.ErrTransfer) {
			t.Errorf("%s: %v", name, err)
		}
	}
	silent := primary(t, func(_ *dns.Msg, c *dns.Conn) { _, _ = c.Conn.Read(make([]byte, 1)) })
	start := time.Now()
	if _, err := source(t, knot.AXFR{Server: silent, Timeout: 100 * time.Millisecond}).Read(ctxOf(t)); err == nil || time.Since(start) > 5*time.Second {
		t.Errorf("silent primary: %v after %v", err, time.Since(start))
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := source(t, knot.AXFR{Server: silent}).Read(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// Only the primary's own NOTIFY counts, and only with the zone's key.
func TestForgedNotify(t *testing.T) {
	n, err := knot.ListenNotify("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	keyed := source(t, knot.AXFR{Server: "127.0.0.1:1", TSIG: tsig(t, transfer), Notify: n})
	plain := source(t, knot.AXFR{Zone: "plain.", Server: "127.0.0.1:1", Notify: n})
	source(t, knot.AXFR{Zone: "far.", Server: "127.0.0.3:1", TSIG: tsig(t, "hmac-sha256:far.key:"+other), Notify: n})
	if _, err := knot.NewAXFRSource(knot.AXFR{Zone: "Plain", Server: "127.0.0.1:1", Notify: n}); err == nil {
		t.Error("a zone twice")
	}

	send := func(network, from, zone, key, secret string, change func(*dns.Msg)) (*dns.Msg, error) {
		m := new(dns.Msg).SetNotify(zone)
		c := &dns.Client{Net: network, Timeout: 200 * time.Millisecond, Dialer: &net.Dialer{}}
		if network == "tcp" {
			c.Dialer.LocalAddr = &net.TCPAddr{IP: net.ParseIP(from)}
		} else {
			c.Dialer.LocalAddr = &net.UDPAddr{IP: net.ParseIP(from)}
		}
		if change != nil {
			change(m)
		}
		if key != "" {
			c.TsigSecret = map[string]string{key: secret}
			m.SetTsig(key, dns.HmacSHA256, 300, time.Now().Unix())
		}
		r, _, err := c.Exchange(m, n.Addr())
		return r, err
	}
	told := func(s *knot.AXFRSource) bool {
		select {
		case <-s.Changed():
			return true
		default:
			return false
		}
	}
	for _, network := range []string{"udp", "tcp"} {
		for _, c := range []struct {
			name, from, zone, key, secret string
			change                        func(*dns.Msg)
		}{
			{name: "a stranger", from: "127.0.0.2", zone: example, key: "transfer.key.", secret: secret},
			{name: "another zone's primary", from: "127.0.0.3", zone: example, key: "transfer.key.", secret: secret},
			{name: "no key", from: "127.0.0.1", zone: example},
			{name: "wrong secret", from: "127.0.0.1", zone: example, key: "transfer.key.", secret: other},
			{name: "another zone's key", from: "127.0.0.1", zone: example, key: "far.key.", secret: other},
			{name: "unknown key", from: "127.0.0.1", zone: example, key: "x.key.", secret: other},
			{name: "a query", from: "127.0.0.1", zone: "plain.", change: func(m *dns.Msg) { m.Opcode = dns.OpcodeQuery }},
			{name: "unknown zone", from: "127.0.0.1", zone: "nope."},
			{name: "another type", from: "127.0.0.1", zone: "plain.", change: func(m *dns.Msg) { m.Question[0].Qtype = dns.TypeA }},
		} {
			r, err := send(network, c.from, c.zone, c.key, c.secret, c.change)
			if err == nil && r.Rcode == dns.RcodeSuccess {
				t.Errorf("%s: %s: answered %v", network, c.name, r)
			}
			if c.from == "127.0.0.2" && err == nil {
				t.Errorf("%s: a stranger got an answer: %v", network, r)
			}
			if told(keyed) || told(plain) {
				t.Errorf("%s: %s: counted", network, c.name)
			}
		}
		if r, err := send(network, "127.0.0.1", "Example.", "transfer.key.", secret, nil); err != nil || r.Rcode != dns.RcodeSuccess || !told(keyed) {
			t.Errorf("%s: the primary's own: %v, %v", network, r, err)
		}
		if r, err := send(network, "127.0.0.1", "plain.", "", "", nil); err != nil || r.Rcode != dns.RcodeSuccess || !told(plain) {
			t.Errorf("%s: without a key: %v, %v", network, r, err)
		}
	}
}

func TestTSIG(t *testing.T) {
	k := tsig(t, "HMAC-SHA256:Transfer.Key:"+secret+"\n")
	if k.Name != "transfer.key." || k.Algorithm != dns.HmacSHA256 {
		t.Fatalf("%+v", k)
	}
	for _, s := range []string{fmt.Sprint(*k), fmt.Sprintf("%v %+v %#v", k, *k, *k), k.String()} {
		if strings.Contains(s, secret) {
			t.Errorf("the secret is printed: %s", s)
		}
	}
	for _, bad := range []string{"", "a:b", "hmac-md5:k:" + secret, "hmac-sha256::" + secret, "hmac-sha256:k:!!", "hmac-sha256:k:YWJj", "hmac-sha256:k:" + secret + ":x"} {
		_, err := knot.ParseTSIG(bad)
		if err == nil || strings.Contains(err.Error(), secret) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	path := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(path, []byte(transfer), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := knot.LoadTSIG(path); err == nil || !strings.Contains(err.Error(), "0600") {
		t.Errorf("open to all: %v", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := knot.LoadTSIG(path); err != nil || got != *tsig(t, transfer) {
		t.Errorf("%v, %v", got, err)
	}
}

func FuzzTSIG(f *testing.F) {
	f.Add(transfer)
	f.Add("hmac-sha512:a.b.:" + secret)
	f.Fuzz(func(t *testing.T, s string) {
		if k, err := knot.ParseTSIG(s); err == nil && (!strings.HasSuffix(k.Name, ".") || strings.Contains(fmt.Sprintf("%#v", k), strings.Split(s, ":")[2])) {
			t.Fatalf("%q: %v", s, k)
		}
	})
}

// Whatever a primary sends, the answer is an error or a zone in order.
func FuzzTransfer(f *testing.F) {
	m := new(dns.Msg).SetReply(new(dns.Msg).SetAxfr(example))
	m.Answer = []dns.RR{rr(f, soa(9)), rr(f, "www.example. 1 A 192.0.2.1"), rr(f, soa(9))}
	for _, compress := range []bool{false, true} {
		m.Compress = compress
		raw, err := m.Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw, false)
		m.SetTsig("transfer.key.", dns.HmacSHA256, 300, 1)
		raw, _, err = dns.TsigGenerate(m, secret, "", false)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw, true)
	}
	key := tsig(f, transfer)
	f.Fuzz(func(t *testing.T, raw []byte, signed bool) {
		src, err := knot.NewAXFRSource(knot.AXFR{Zone: example, Server: "127.0.0.1:53", Timeout: time.Second})
		if err != nil {
			t.Fatal(err)
		}
		if signed {
			src.TSIG = key
		}
		ours, theirs := net.Pipe()
		defer ours.Close()
		go func() {
			defer theirs.Close()
			co := &dns.Conn{Conn: theirs}
			q, err := co.ReadMsgHeader(nil)
			if err != nil || len(raw) > dns.MaxMsgSize {
				return
			}
			b := slices.Clone(raw)
			copy(b, q[:min(2, len(b))]) // our id
			_, _ = co.Write(b)
		}()
		rrs, err := src.TransferForTest(ours)
		if err == nil && (signed || len(rrs) == 0 || rrs[0].Header().Rrtype != dns.TypeSOA) {
			t.Fatalf("accepted %v", rrs)
		}
	})
}
