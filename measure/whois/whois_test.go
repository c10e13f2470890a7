package whois

import (
	"bufio"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unicode"
)

type memory map[string]string

func (m memory) Get(key string) (string, bool) { o, ok := m[key]; return o, ok }
func (m memory) Put(key, owner string) error   { m[key] = owner; return nil }

// serve answers every question with reply and counts them.
func serve(t *testing.T, reply func(question string) string) (addr string, asked *atomic.Int64) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	asked = new(atomic.Int64)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			asked.Add(1)
			q, _ := bufio.NewReader(conn).ReadString('\n')
			fmt.Fprint(conn, reply(strings.TrimSpace(q)))
			conn.Close()
		}
	}()
	return l.Addr().String(), asked
}

func TestOwner(t *testing.T) {
	registry, asked := serve(t, func(q string) string {
		return "% comment: no\r\nnetname: EX-NET\r\ndescr: a network\r\norg-name:   Example   Ltd\r\nRemark: " + q + "\r\n"
	})
	root, _ := serve(t, func(q string) string { return "refer: " + registry + "\n\norganisation: a registry\n" })
	c := &Client{Server: root, Rate: 20, Cache: memory{}}
	start := time.Now()
	for _, a := range []string{"192.0.2.1", "192.0.2.99", "192.0.3.1"} {
		owner, err := c.Owner(t.Context(), netip.MustParseAddr(a))
		if err != nil || owner != "Example Ltd" {
			t.Errorf("%s: %q, %v", a, owner, err)
		}
	}
	if asked.Load() != 2 {
		t.Errorf("%d questions for two networks", asked.Load())
	}
	if took := time.Since(start); took < 3*50*time.Millisecond {
		t.Errorf("four questions at 20 a second took %s", took)
	}
}

func TestFailures(t *testing.T) {
	loop := ""
	loop, asked := serve(t, func(string) string { return "ReferralServer: whois://" + loop + "/\n" })
	c := &Client{Server: loop, Rate: 1000, Cache: memory{}}
	if owner, err := c.Owner(t.Context(), netip.MustParseAddr("2001:db8::1")); owner != "" || err != nil || asked.Load() > maxReferral {
		t.Errorf("a loop: %q, %v after %d questions", owner, err, asked.Load())
	}
	silent, _ := serve(t, func(string) string { return "" })
	cache := memory{}
	if _, err := (&Client{Server: silent, Rate: 1000, Cache: cache}).Owner(t.Context(), netip.MustParseAddr("192.0.2.1")); err == nil || len(cache) > 0 {
		t.Errorf("an empty answer: %v, remembered %v", err, cache)
	}
}

// TestRefused has the registry's own name in a referral to a server that says
// nothing of the address: the owner is unknown, and a refusal is asked again.
func TestRefused(t *testing.T) {
	for name, c := range map[string]struct {
		reply      string
		err, known bool
	}{
		"rate limit":   {"%ERROR:201: access denied for 192.0.2.7\n", true, false},
		"other words":  {"Query rate limit exceeded\n", true, false},
		"no entry":     {"%ERROR:101: no entries found\n", false, true},
		"nothing said": {"% no comment\n", false, true},
	} {
		registry, _ := serve(t, func(string) string { return c.reply })
		root, _ := serve(t, func(string) string { return "refer: " + registry + "\n\norganisation: RIPE NCC\n" })
		cache := memory{}
		owner, err := (&Client{Server: root, Rate: 1000, Cache: cache}).Owner(t.Context(), netip.MustParseAddr("192.0.2.1"))
		if owner != "" || (err != nil) != c.err || (len(cache) > 0) != c.known {
			t.Errorf("%s: %q, %v, remembered %v", name, owner, err, cache)
		}
	}
}

// FuzzRead wants owners that can be printed and servers that can be dialled.
func FuzzRead(f *testing.F) {
	f.Add("OrgName: Example\nReferralServer: rwhois://x:4321\n")
	f.Add("refer: whois.ripe.net\nowner: Empresa\r\n")
	f.Fuzz(func(t *testing.T, reply string) {
		owner, refer := read(reply)
		if len(owner) > maxOwner || strings.ContainsFunc(owner, func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Errorf("owner %q", owner)
		}
		if _, _, err := net.SplitHostPort(refer); refer != "" && err != nil {
			t.Errorf("server %q: %v", refer, err)
		}
	})
}
