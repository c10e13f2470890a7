package knot_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"zonesigner/knot"
	"zonesigner/knot/knottest"
)

// Knot takes each kind of record that signing adds, checks the zone itself,
// and refuses a zone with one signature that is wrong.
func TestSignedZoneValidatedByKnot(t *testing.T) {
	s := knottest.Start(t, knottest.Config{Zones: []knottest.Zone{{Name: example, Validate: true}}})
	ctl := s.Control()
	key, priv := newKey(t)
	first := signedZone(t, key, priv, 1, "www", "mail")
	apply(t, ctl, knot.Change{Full: true, Add: first})
	second := signedZone(t, key, priv, 2, "www", "mail", "new")
	apply(t, ctl, knot.Change{Full: true, Add: second})

	got, serial, err := ctl.ReadZone(ctxOf(t), example)
	if err != nil || serial != 2 || len(got) != len(second) {
		t.Fatalf("%d records of serial %d, %v; expected %d", len(got), serial, err, len(second))
	}
	kinds := map[string]int{}
	for _, r := range got {
		kinds[r.Type]++
	}
	for _, k := range []string{"RRSIG", "DNSKEY", "NSEC3", "NSEC3PARAM", "CDS", "CDNSKEY"} {
		if kinds[k] == 0 {
			t.Errorf("no %s", k)
		}
	}
	m := s.Query("absent.example.", dns.TypeA)
	if m.Rcode != dns.RcodeNameError || len(m.Ns) < 6 {
		t.Errorf("denial: %v", m)
	}

	// The attack: another address under the old signature.
	third := signedZone(t, key, priv, 3, "www", "mail", "new")
	for i, r := range third {
		if r.Owner == "www.example." && r.Type == "A" {
			third[i].Data = "203.0.113.66"
		}
	}
	err = ctl.Apply(ctxOf(t), example, knot.Change{Full: true, Add: third})
	var refused *knot.ControlError
	if !errors.As(err, &refused) || refused.Command != "zone-commit" {
		t.Fatalf("a wrong signature: %v", err)
	}
	if st, err := ctl.ZoneStatus(ctxOf(t), example); err != nil || st.Serial != 2 || st.TransactionOpen {
		t.Fatalf("%+v, %v", st, err)
	}
	apply(t, ctl, knot.Change{Full: true, Add: signedZone(t, key, priv, 3, "www")})
}

// proxy stands between a Control and knotd and breaks in when a block with
// the wanted command has passed for the n-th time.
type proxy struct {
	path string
	ln   net.Listener
	wg   sync.WaitGroup

	mu      sync.Mutex
	command string
	n       int
	strike  func() // called once; the connection is cut afterwards
	refuse  bool   // further connections are cut at once
}

func newProxy(t *testing.T, to string) *proxy {
	t.Helper()
	p := &proxy{path: filepath.Join(filepath.Dir(to), "proxy.sock")}
	ln, err := net.Listen("unix", p.path)
	if err != nil {
		t.Fatal(err)
	}
	p.ln = ln
	p.wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			p.wg.Go(func() { p.serve(c, to) })
		}
	})
	t.Cleanup(func() { ln.Close(); p.wg.Wait() })
	return p
}

func (p *proxy) arm(command string, n int, refuse bool, strike func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.command, p.n, p.strike, p.refuse = command, n, strike, refuse
}

func (p *proxy) serve(c net.Conn, to string) {
	defer c.Close()
	p.mu.Lock()
	cut := p.refuse && p.n == 0 && p.command != ""
	p.mu.Unlock()
	if cut {
		return
	}
	k, err := net.Dial("unix", to)
	if err != nil {
		return
	}
	defer k.Close()
	p.wg.Go(func() { io.Copy(c, k); c.Close() })
	b := make([]byte, 64<<10)
	for {
		n, err := c.Read(b)
		if err != nil {
			return
		}
		if _, err := k.Write(b[:n]); err != nil {
			return
		}
		p.mu.Lock()
		var strike func()
		if p.n > 0 && strings.Contains(string(b[:n]), p.command) {
			if p.n--; p.n == 0 {
				strike = p.strike
			}
		}
		p.mu.Unlock()
		if strike != nil {
			strike()
			return
		}
	}
}

func manyHosts(t *testing.T, serial, n int) []knot.Record {
	out := records(t, soa(serial)+base)
	for i := range n {
		out = append(out, knot.Record{Owner: fmt.Sprintf("h%d.example.", i), TTL: 300, Type: "A", Data: "192.0.2.7"})
	}
	return out
}

// knotd dies in the middle of a transaction: nothing of it is served, and the
// same change goes in afterwards.
func TestKilledInTransaction(t *testing.T) {
	s, direct := public(t)
	apply(t, direct, knot.Change{Full: true, Add: records(t, soa(1)+base)})
	p := newProxy(t, s.Socket)
	ctl := knot.NewControl(p.path, knottest.Wait)
	p.arm("zone-set", 4, false, s.Kill)
	change := knot.Change{Full: true, Add: manyHosts(t, 2, 20000)}
	if err := ctl.Apply(ctxOf(t), example, change); !errors.Is(err, knot.ErrUnavailable) {
		t.Fatalf("killed: %v", err)
	}
	s.Restart()
	s.WaitSerial(example, 1)
	wantZone(t, direct, soa(1)+base)
	apply(t, ctl, change)
	if got, _, err := ctl.ReadZone(ctxOf(t), example); err != nil || len(got) != len(change.Add) {
		t.Fatalf("%d records, %v", len(got), err)
	}
}

// The connection breaks in the middle, at each step in turn; the transaction
// that is left in knotd is cleared at once, or where that cannot be, by the
// next Apply.
func TestBrokenInTransaction(t *testing.T) {
	s, direct := public(t)
	apply(t, direct, knot.Change{Full: true, Add: records(t, soa(1)+base)})
	p := newProxy(t, s.Socket)
	ctl := knot.NewControl(p.path, knottest.Wait)
	serial := 1
	for _, command := range []string{"zone-begin", "zone-unset", "zone-set", "zone-commit"} {
		for _, refuse := range []bool{false, true} {
			p.arm(command, 1, refuse, func() {})
			name := fmt.Sprintf("cut after %s, refusing %v", command, refuse)
			// One record goes and comes, so that there is something to unset.
			change := knot.Change{
				Remove: records(t, "www.example. 300 A 192.0.2.80\n"),
				Add:    records(t, soa(serial+1)+"www.example. 300 A 192.0.2.80\n"),
			}
			err := ctl.Apply(ctxOf(t), example, change)
			if !errors.Is(err, knot.ErrUnavailable) {
				t.Fatalf("%s: %v", name, err)
			}
			p.arm("", 0, false, nil)
			st, err := direct.ZoneStatus(ctxOf(t), example)
			if err != nil || st.TransactionOpen && !refuse {
				t.Fatalf("%s: left %+v, %v", name, st, err)
			}
			if command != "zone-commit" && st.Serial != uint32(serial) {
				t.Fatalf("%s: serves %d after %d", name, st.Serial, serial)
			}
			// Cut at the commit, the outcome is open: applying it again tells.
			err = ctl.Apply(ctxOf(t), example, change)
			if err != nil && !(command == "zone-commit" && errors.Is(err, knot.ErrSerial)) {
				t.Fatalf("%s: again: %v", name, err)
			}
			serial++
			wantZone(t, direct, soa(serial)+base)
		}
	}
}

// A reader that pauses longer than knotd's control timeout gets a reply that
// was cut short. With the check taken out (SetPause) ReadZone may return part
// of a zone as the whole or fail by luck; with it, a pause is always found.
func TestSlowReader(t *testing.T) {
	const hosts = 40000
	s := knottest.Start(t, knottest.Config{ControlTimeout: 1, Zones: []knottest.Zone{{Name: example, Text: hiddenZone(1, hosts)}}})
	s.WaitSerial(example, 1)
	ctl := s.Control()
	ctl.SetPause(500 * time.Millisecond)
	pauses := 0
	slow := func() {
		if pauses == 0 {
			time.Sleep(1500 * time.Millisecond) // the fault itself
		}
		pauses++
	}
	ctl.SetSlowReader(slow)
	got, _, err := ctl.ReadZone(ctxOf(t), example)
	// The first try is thrown away, the second reads all.
	if err != nil || len(got) != 4+2*hosts {
		t.Fatalf("%d records, %v", len(got), err)
	}
	if pauses < 2 {
		t.Fatal("the reply came in one piece")
	}

	ctl.SetPause(time.Hour)
	pauses = 0
	got, _, err = ctl.ReadZone(ctxOf(t), example)
	if err == nil && len(got) == 4+2*hosts {
		t.Fatal("a pause does no harm any more: the check can go")
	}
	t.Logf("without the check: %d of %d records, %v", len(got), 4+2*hosts, err)
}

// The difference of two large zones takes longer to make than knotd waits.
func TestSlowDifference(t *testing.T) {
	s := knottest.Start(t, knottest.Config{ControlTimeout: 1, Zones: []knottest.Zone{{Name: example}}})
	ctl := s.Control()
	apply(t, ctl, knot.Change{Full: true, Add: records(t, soa(1)+base)})
	ctl.SetSlowWorker(func() {
		time.Sleep(1200 * time.Millisecond) // the fault itself
		// Nobody is kept from the control socket meanwhile.
		if st, err := s.Control().ZoneStatus(ctxOf(t), example); err != nil || !st.TransactionOpen {
			t.Errorf("%+v, %v", st, err)
		}
	})
	apply(t, ctl, knot.Change{Full: true, Add: records(t, soa(2)+base)})
	wantZone(t, ctl, soa(2)+base)

	// knotd dies meanwhile: the work is lost, and done again.
	ctl.SetSlowWorker(s.Kill)
	change := knot.Change{Full: true, Add: records(t, soa(3)+base)}
	if err := ctl.Apply(ctxOf(t), example, change); !errors.Is(err, knot.ErrUnavailable) {
		t.Fatal(err)
	}
	ctl.SetSlowWorker(nil)
	s.Restart()
	s.WaitSerial(example, 2)
	apply(t, ctl, change)
}
