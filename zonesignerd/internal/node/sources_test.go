package node

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"zonesigner/knot/knottest"
	"zonesigner/zonesignerd/config"
	"zonesigner/zonesignerd/internal/api"
)

// The tests of this file run real knotd servers; knot-versions.sh runs those
// that begin with TestKnot with other versions of it.

const (
	ownersKey = "hmac-sha256:owner.key:MDEyMzQ1Njc4OWFiY2RlZg=="
	wrongKey  = "hmac-sha256:owner.key:ZmVkY2JhOTg3NjU0MzIxMA=="
)

// ownersZone is what the owner's primary has: records of a relative owner.
func ownersZone(serial int, records string) string {
	return fmt.Sprintf("$ORIGIN example.\n$TTL 300\n@ SOA ns1 hostmaster %d 7200 3600 1209600 300\n@ NS ns1\nns1 A 192.0.2.1\nsub NS ns.sub\nns.sub A 192.0.2.2\n* TXT wild\n%s\n", serial, records)
}

// addPolicy adds the zone example. at all operators, with these lines for
// source and publish, and asks for its keys.
func (o *operators) addPolicy(places func(name string) string) {
	o.t.Helper()
	for _, name := range o.names {
		_, err := o.nodes[name].AddZone(o.t.Context(), api.AddZone{Policy: "version: 1\nzone: example.\n" + places(name), File: "policy"})
		must(o.t, err)
		_, err = o.nodes[name].GenerateKeys(o.t.Context(), api.GenerateKeys{Zone: "example."})
		must(o.t, err)
	}
}

// waits waits until an operator's status says that the zone waits for
// something with these words, and returns it.
func (o *operators) waits(name string, words ...string) (st api.ZoneStatus) {
	o.t.Helper()
	o.eventually(20*time.Second, fmt.Sprintf("operator %s waits for %q", name, words), func() bool {
		st = o.status(name, "example.")
		return !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(st.Next.WaitsFor, w) })
	})
	return st
}

// isSigned waits until the operators named, or all, wait for nothing.
func (o *operators) isSigned(names ...string) {
	o.t.Helper()
	if len(names) == 0 {
		names = o.names
	}
	o.eventually(20*time.Second, fmt.Sprintf("%s wait for nothing", names), func() bool {
		return !slices.ContainsFunc(names, func(n string) bool { return o.status(n, "example.").State != api.ZoneSigned })
	})
}

// transfers is three operators that transfer example. from the owner's
// primary with a key each, and write what they serve to files.
func transfers(t *testing.T, poll time.Duration, notify bool) (o *operators, primary *knottest.Server) {
	t.Helper()
	t.Parallel()
	o = newOperators(t, 3, 1)
	o.edit = func(c *config.Daemon) { c.PollInterval = config.Duration(poll) }
	listen := map[string]string{}
	cfg := knottest.Config{Zones: []knottest.Zone{{Name: "example.", Text: ownersZone(1, "www A 192.0.2.10")}}, TSIG: ownersKey}
	for _, name := range o.names {
		must(t, os.WriteFile(o.path(name, "tsig"), []byte(ownersKey+"\n"), 0o600))
		if notify {
			listen[name] = "\n  notify: " + freeAddress(t)
			cfg.Notify = append(cfg.Notify, strings.TrimPrefix(listen[name], "\n  notify: "))
		}
	}
	primary = knottest.Start(t, cfg)
	o.startAll()
	o.addPolicy(func(name string) string {
		return fmt.Sprintf("source:\n  type: axfr\n  server: %s\n  tsig: %s%s\npublish:\n  type: file\n  file: %s\n",
			primary.Addr, o.path(name, "tsig"), listen[name], o.path(name, "example.signed"))
	})
	return o, primary
}

// Nobody polls for an hour: NOTIFY alone makes all operators take over the
// owner's change.
func TestKnotTransferAndNotify(t *testing.T) {
	o, primary := transfers(t, time.Hour, true)
	serial := o.level("example.", 0)
	for i := range 3 {
		addr := fmt.Sprintf("192.0.2.%d", 20+i)
		primary.WriteZone("example.", ownersZone(2+i, "www A "+addr))
		primary.Reload("example.")
		start := time.Now()
		serial = o.level("example.", serial)
		t.Logf("signed by all %s after the owner's change", time.Since(start).Round(time.Millisecond))
		for _, name := range o.names {
			if !o.has(name, "example.", "A "+addr) {
				t.Errorf("operator %s does not serve the change to %s", name, addr)
			}
			if st := o.status(name, "example."); len(st.Refusals) > 0 {
				t.Errorf("operator %s shows refusals: %v", name, st.Refusals)
			}
		}
	}
	verifyZone(t, o.served("a", "example."))
}

// A wrong key and a primary that is away are said, and lose nothing.
func TestKnotTransferTrouble(t *testing.T) {
	o, primary := transfers(t, 200*time.Millisecond, false)
	serial := o.level("example.", 0)

	o.stop("b")
	must(t, os.WriteFile(o.path("b", "tsig"), []byte(wrongKey+"\n"), 0o600))
	o.start("b")
	st := o.waits("b", "its source", "example.", primary.Addr)
	if st.Next.Kind != api.ActorSelf || st.State != api.ZoneFailed {
		t.Errorf("b, with a wrong key, is %s, and %+v is to act", st.State, st.Next)
	}
	primary.WriteZone("example.", ownersZone(2, "www A 192.0.2.20"))
	primary.Reload("example.")
	// It cannot tell whether the change is right: the others sign without it.
	next := o.level("example.", serial, "a", "c")
	o.waits("b", "its source", primary.Addr)
	if got := o.serves("b", "example."); got != serial {
		t.Errorf("b serves %d, expected %d as before: it has not seen the new content", got, serial)
	}
	o.stop("b")
	must(t, os.WriteFile(o.path("b", "tsig"), []byte(ownersKey+"\n"), 0o600))
	o.start("b")
	if serial = o.level("example.", serial); serial != next {
		t.Errorf("b came back to serial %d, expected %d", serial, next)
	}

	primary.Stop()
	for _, name := range o.names {
		o.waits(name, "its source", "connection refused")
	}
	// What was agreed last can still be signed again.
	_, err := o.nodes["a"].SignNow(t.Context(), api.SignNow{Zone: "example."})
	must(t, err)
	serial = o.level("example.", serial)
	// A daemon that starts meanwhile serves on.
	o.stop("c")
	o.start("c")
	o.waits("c", "its source", "connection refused")
	primary.Restart()
	o.isSigned()
	primary.WriteZone("example.", ownersZone(3, "www A 192.0.2.30"))
	primary.Reload("example.")
	o.level("example.", serial)
	if !o.has("c", "example.", "A 192.0.2.30") {
		t.Error("c does not serve the change after the primary was away")
	}
}

// secondaries is three operators with two Knots each: the hidden ones are
// secondaries of the owner's primary, the public ones validate.
type secondaries struct {
	*operators
	primary        *knottest.Server
	hidden, public map[string]*knottest.Server
}

func newSecondaries(t *testing.T) (k *secondaries, serial uint32) {
	t.Helper()
	t.Parallel()
	k = &secondaries{operators: newOperators(t, 3, 1), hidden: map[string]*knottest.Server{}, public: map[string]*knottest.Server{}}
	cfg := knottest.Config{Zones: []knottest.Zone{{Name: "example.", Text: ownersZone(1, "www A 192.0.2.10")}}, TSIG: ownersKey}
	for _, name := range k.names {
		k.hidden[name] = knottest.Start(t, knottest.Config{TSIG: ownersKey})
		k.public[name] = knottest.Start(t, knottest.Config{Zones: []knottest.Zone{{Name: "example.", Validate: true}}})
		cfg.Notify = append(cfg.Notify, k.hidden[name].Addr)
	}
	k.primary = knottest.Start(t, cfg)
	k.edit = func(c *config.Daemon) {
		c.Knot.Hidden, c.Knot.Public = k.hidden[c.Operator].Socket, k.public[c.Operator].Socket
	}
	k.startAll()
	k.addPolicy(func(string) string { return "source:\n  type: knot\npublish:\n  type: knot\n" })
	for _, name := range k.names {
		k.hidden[name].AddZone(knottest.Zone{Name: "example.", Primary: k.primary.Addr})
	}
	return k, k.publicLevel(0)
}

// change has the owner change the zone at the primary.
func (k *secondaries) change(serial int, records string) {
	k.t.Helper()
	k.primary.WriteZone("example.", ownersZone(serial, records))
	k.primary.Reload("example.")
}

// answers is the serial that a public Knot answers with; 0: none.
func (k *secondaries) answers(name string) uint32 {
	q := new(dns.Msg)
	q.SetQuestion("example.", dns.TypeSOA)
	m, err := dns.Exchange(q, k.public[name].Addr)
	if err != nil || len(m.Answer) != 1 {
		return 0
	}
	soa, _ := m.Answer[0].(*dns.SOA)
	return soa.Serial
}

// publicLevel waits until the public Knots of those named, or of all, serve
// one and the same zone newer than after, and returns its serial.
func (k *secondaries) publicLevel(after uint32, names ...string) uint32 {
	k.t.Helper()
	if len(names) == 0 {
		names = k.names
	}
	var serial uint32
	k.eventually(30*time.Second, fmt.Sprintf("the public knots of %s serve a serial above %d", names, after), func() bool {
		serial = k.answers(names[0])
		return serial > after && !slices.ContainsFunc(names, func(n string) bool { return k.answers(n) != serial })
	})
	first := k.zoneText(names[0])
	for _, name := range names[1:] {
		if k.zoneText(name) != first {
			k.t.Fatalf("the public knots of %s and %s serve different zones", names[0], name)
		}
	}
	return serial
}

func (k *secondaries) zoneText(name string) string {
	var lines []string
	for _, rr := range k.public[name].AXFR("example.") {
		lines = append(lines, rr.String())
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// gives reports whether a public Knot answers with the address.
func (k *secondaries) gives(server *knottest.Server, host, addr string) bool {
	k.t.Helper()
	m := server.Query(host, dns.TypeA)
	return slices.ContainsFunc(m.Answer, func(rr dns.RR) bool { a, ok := rr.(*dns.A); return ok && a.A.Equal(net.ParseIP(addr)) })
}

// Hidden Knots that are secondaries of one primary, the shape that
// docs/knot.md recommends: every change comes out of three public Knots, byte
// for byte the same and valid to other people's validators; and whichever
// server is restarted or loses its storage, all are level again.
func TestKnotHiddenIsSecondary(t *testing.T) {
	k, serial := newSecondaries(t)
	for i := range 3 {
		addr := fmt.Sprintf("192.0.2.%d", 20+i)
		k.change(2+i, "www A "+addr+"\nnew A 192.0.2.99")
		serial = k.publicLevel(serial)
		for _, name := range k.names {
			if !k.gives(k.public[name], "www.example.", addr) {
				t.Errorf("the public knot of %s does not have www A %s", name, addr)
			}
		}
	}
	for _, name := range k.names {
		log := k.hidden[name].Log()
		if !strings.Contains(log, "IXFR, incoming") || !strings.Contains(log, "AXFR, incoming") {
			t.Errorf("the hidden knot of %s did not get the zone by both AXFR and IXFR:\n%s", name, log)
		}
	}
	verifyZone(t, k.public["b"].AXFR("example."))
	for _, name := range k.names {
		resolves(t, k.public[name])
	}

	// A hidden Knot that transfers the same again changes nothing.
	k.hidden["a"].Command("zone-retransfer", "example.")
	k.hidden["a"].WaitLog("AXFR, incoming")

	// A restart of a public Knot: the zone is in its journal.
	k.public["a"].Stop()
	k.public["a"].Restart()
	k.eventually(10*time.Second, "the restarted public knot serves the zone", func() bool { return k.answers("a") == serial })
	k.isSigned()

	// One is killed, and its journal is lost: it gets the zone in full.
	k.public["b"].Kill()
	for _, part := range []string{"journal", "timers", "catalog"} {
		must(t, os.RemoveAll(filepath.Join(k.public["b"].Dir, part)))
	}
	k.public["b"].Restart()
	k.publicLevel(serial - 1)
	k.isSigned()

	// A hidden Knot is restarted, and another is killed in the midst of a
	// change and loses its journal.
	k.hidden["c"].Stop()
	k.hidden["c"].Restart()
	k.change(10, "www A 192.0.2.30")
	k.hidden["a"].Kill()
	must(t, os.RemoveAll(filepath.Join(k.hidden["a"].Dir, "journal")))
	k.hidden["a"].Restart()
	serial = k.publicLevel(serial)
	if !k.gives(k.public["a"], "www.example.", "192.0.2.30") || k.gives(k.public["a"], "new.example.", "192.0.2.99") {
		t.Error("the last change is not served")
	}

	// All three daemons and all servers at once, as after a power cut.
	k.stopAll()
	for _, name := range k.names {
		k.hidden[name].Kill()
		k.public[name].Kill()
		k.hidden[name].Restart()
		k.public[name].Restart()
	}
	k.startAll()
	k.publicLevel(serial - 1)
	k.change(11, "www A 192.0.2.31")
	k.publicLevel(serial)
	k.isSigned()
	verifyZone(t, k.public["c"].AXFR("example."))
}

// A control socket that is away is named in status, of the zone and of the
// Knot, and everything goes on when it is back.
func TestKnotSocketsAway(t *testing.T) {
	k, serial := newSecondaries(t)
	away := func(s *knottest.Server) { must(t, os.Rename(s.Socket, s.Socket+".away")) }
	back := func(s *knottest.Server) { must(t, os.Rename(s.Socket+".away", s.Socket)) }
	knotOf := func(name, role string) api.KnotState {
		st, err := k.nodes[name].Status(t.Context())
		must(t, err)
		for _, s := range st.Knots {
			if s.Role == role {
				return s
			}
		}
		return api.KnotState{}
	}

	away(k.public["b"])
	k.eventually(10*time.Second, "the public knot of b is said to be away", func() bool {
		s := knotOf("b", "public")
		return !s.OK && strings.Contains(s.Reason, "is knotd running")
	})
	k.change(2, "www A 192.0.2.20")
	serial = k.publicLevel(serial, "a", "c")
	if st := k.waits("b", "its public server", "is knotd running"); st.Next.Kind != api.ActorSelf {
		t.Errorf("with b's public socket away, %+v is to act", st.Next)
	}
	back(k.public["b"])
	k.publicLevel(serial - 1)
	k.isSigned()

	away(k.hidden["b"])
	if st := k.waits("b", "its source", "is knotd running"); st.Next.Kind != api.ActorSelf {
		t.Errorf("with b's hidden socket away, %+v is to act", st.Next)
	}
	if s := knotOf("b", "hidden"); s.OK || s.Version == "" {
		t.Errorf("the hidden knot of b: %+v", s)
	}
	// Nothing has changed when it comes back, though it was asked for meanwhile.
	_, err := k.nodes["b"].SignNow(t.Context(), api.SignNow{Zone: "example."})
	must(t, err)
	serial = k.publicLevel(serial)
	back(k.hidden["b"])
	k.isSigned()

	away(k.hidden["b"])
	k.change(3, "www A 192.0.2.30")
	next := k.publicLevel(serial, "a", "c")
	k.waits("b", "its source", "is knotd running")
	if got := k.answers("b"); got != serial {
		t.Errorf("b serves %d, expected %d as before: it has not seen the new content", got, serial)
	}
	back(k.hidden["b"])
	if serial = k.publicLevel(serial); serial != next {
		t.Errorf("b came back to serial %d, expected %d", serial, next)
	}
	k.isSigned()

	// The zone is taken from the hidden Knot's configuration, and comes back.
	k.hidden["c"].RemoveZone("example.")
	k.waits("c", "its source", "no such zone")
	k.hidden["c"].AddZone(knottest.Zone{Name: "example.", Primary: k.primary.Addr})
	k.isSigned()
	k.change(4, "www A 192.0.2.40")
	k.publicLevel(serial)
}

// A transaction on the hidden Knot may be the owner's edit: it is said and
// left alone. One on the public Knot is a leftover of ours, and goes.
func TestKnotOpenTransactions(t *testing.T) {
	k, serial := newSecondaries(t)
	open := func(s *knottest.Server) bool {
		st, err := s.Control().ZoneStatus(t.Context(), "example.")
		must(t, err)
		return st.TransactionOpen
	}
	k.hidden["b"].Command("zone-begin", "example.")
	warned := func() bool {
		return slices.ContainsFunc(k.status("b", "example.").Warnings, func(w string) bool { return strings.Contains(w, "transaction is open on the hidden knot") })
	}
	k.eventually(10*time.Second, "b's status tells of the transaction", warned)
	// The daemon reads, where Knot allows it, or waits; it aborts nothing.
	_, err := k.nodes["b"].SignNow(t.Context(), api.SignNow{Zone: "example."})
	must(t, err)
	serial = k.publicLevel(serial)
	k.stop("b")
	k.start("b")
	k.eventually(10*time.Second, "b, started again, tells of it too", warned)
	if !open(k.hidden["b"]) {
		t.Fatal("the owner's transaction is gone")
	}
	k.hidden["b"].Command("zone-abort", "example.")
	k.isSigned()
	k.eventually(10*time.Second, "the warning is gone", func() bool { return !warned() })
	k.change(2, "www A 192.0.2.20")
	serial = k.publicLevel(serial)

	k.stop("c")
	k.public["c"].Command("zone-begin", "example.")
	k.change(3, "www A 192.0.2.30")
	serial = k.publicLevel(serial, "a", "b")
	k.start("c")
	k.publicLevel(serial - 1)
	if open(k.public["c"]) {
		t.Error("the stale transaction on the public knot is still open")
	}
	k.isSigned()
}

// verifyZone has BIND's and NLnet Labs' verifiers look at a served zone.
func verifyZone(t *testing.T, rrs []dns.RR) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "zone")
	var text strings.Builder
	for _, rr := range rrs {
		fmt.Fprintln(&text, rr)
	}
	must(t, os.WriteFile(file, []byte(text.String()), 0o644))
	for _, cmd := range [][]string{{"ldns-verify-zone", file}, {"dnssec-verify", "-q", "-o", "example.", file}} {
		if out, err := exec.Command(cmd[0], cmd[1:]...).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", cmd[0], err, out)
		}
	}
}

// resolves has delv validate answers of a server, positive and negative, from
// the zone's key-signing key.
func resolves(t *testing.T, s *knottest.Server) {
	t.Helper()
	anchor := ""
	for _, rr := range s.Query("example.", dns.TypeDNSKEY).Answer {
		if k, ok := rr.(*dns.DNSKEY); ok && k.Flags&dns.SEP != 0 {
			anchor = fmt.Sprintf("trust-anchors { \"example.\" static-key %d 3 %d \"%s\"; };\n", k.Flags, k.Algorithm, k.PublicKey)
		}
	}
	file := filepath.Join(t.TempDir(), "anchor")
	must(t, os.WriteFile(file, []byte(anchor), 0o644))
	host, port, err := net.SplitHostPort(s.Addr)
	must(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for _, q := range []struct{ name, qtype, want string }{
		{"example.", "SOA", "; fully validated"},
		{"www.example.", "A", "; fully validated"},
		{"any.example.", "TXT", "; fully validated"},
		{"www.example.", "MX", "; negative response, fully validated"},
		{"no.www.example.", "A", "; negative response, fully validated"},
	} {
		out, err := exec.CommandContext(ctx, "delv", "-a", file, "+root=example.", "@"+host, "-p", port, q.name, q.qtype).CombinedOutput()
		if err != nil || !strings.Contains(string(out), q.want) {
			t.Errorf("delv %s %s: %v, expected %q\n%s", q.name, q.qtype, err, q.want, out)
		}
	}
}
