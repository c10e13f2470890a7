// Package knottest starts real Knot DNS servers for tests: each in a folder of
// its own, on free loopback ports, with a configuration that depends on
// nothing else of the machine.
//
// KNOTD names the knotd to test with, where it is not the one in $PATH.
package knottest

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"

	"zonesigner/knot"
)

// Wait bounds every wait for an event.
const Wait = 30 * time.Second

// Config is what a server is started with.
type Config struct {
	// Zones are configured at the start; AddZone adds more later.
	Zones []Zone
	// ControlTimeout is Knot's control timeout in seconds; zero: 5.
	ControlTimeout int
	// TSIG, in the form of knot.ParseTSIG, is wanted of whoever transfers or
	// updates; empty: nobody needs a key.
	TSIG string
	// Notify get a NOTIFY at each change, host:port.
	Notify []string
}

// Zone is one zone's configuration.
type Zone struct {
	Name string
	// Text, if any, is the zone file's content, and the zone is a hidden
	// Knot's: loaded from the file, changed by reload and DDNS. Without it
	// the zone is a public Knot's: empty, written over the control socket.
	Text string
	// Primary, host:port, makes the zone one that this server transfers from
	// there, with the key TSIG if there is one, and hears NOTIFY about.
	Primary string
	// Validate has Knot check DNSSEC itself.
	Validate bool
	// Digest has Knot refuse a zone without a right ZONEMD record.
	Digest bool
}

// Server is one running knotd.
type Server struct {
	Dir    string
	Addr   string // host:port of DNS, UDP and TCP
	Socket string // control socket

	t    testing.TB
	cfg  Config
	tsig *knot.TSIG

	mu   sync.Mutex
	cmd  *exec.Cmd
	dead chan struct{} // closed when cmd has ended
	log  lines
}

// Start starts a knotd and waits until it answers; the test's end stops it.
func Start(t testing.TB, cfg Config) *Server {
	t.Helper()
	// Not t.TempDir: a socket's path may have 107 bytes only.
	dir, err := os.MkdirTemp("", "knot")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	s := &Server{Dir: dir, Socket: filepath.Join(dir, "knot.sock"), Addr: freeAddr(t), t: t, cfg: cfg}
	s.log.changed = make(chan struct{})
	if cfg.TSIG != "" {
		k, err := knot.ParseTSIG(cfg.TSIG)
		if err != nil {
			t.Fatal(err)
		}
		s.tsig = &k
	}
	for _, z := range cfg.Zones {
		if z.Text != "" {
			s.WriteZone(z.Name, z.Text)
		}
	}
	s.writeConfig()
	t.Cleanup(s.Stop)
	s.Restart()
	// Another process may take the port between freeAddr and knotd.
	for range 5 {
		if !strings.Contains(s.Log(), "cannot bind") {
			break
		}
		s.Stop()
		s.log.reset()
		s.Addr = freeAddr(t)
		s.writeConfig()
		s.Restart()
	}
	return s
}

// Control is a client for the server's socket, with a timeout fit for tests.
func (s *Server) Control() *knot.Control { return knot.NewControl(s.Socket, Wait) }

// Restart starts knotd again after Stop or Kill, in the same folder.
func (s *Server) Restart() {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cmd != nil {
		s.t.Fatal("knotd runs already")
	}
	bin := os.Getenv("KNOTD")
	if bin == "" {
		bin = "knotd"
		if _, err := exec.LookPath(bin); err != nil {
			bin = "/usr/sbin/knotd" // not in everyone's $PATH
		}
	}
	cmd := exec.Command(bin, "-c", filepath.Join(s.Dir, "knot.conf"))
	cmd.Stderr = &s.log
	cmd.Stdout = &s.log
	// Should the test binary be killed, knotd does not outlive it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		s.t.Fatalf("start knotd: %v", err)
	}
	dead := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(dead)
	}()
	ctx, cancel := context.WithTimeout(context.Background(), Wait)
	defer cancel()
	go func() {
		select {
		case <-dead:
			cancel()
		case <-ctx.Done():
		}
	}()
	if err := s.Control().WaitReady(ctx); err != nil {
		_ = cmd.Process.Kill()
		<-dead
		s.t.Fatalf("knotd did not come up: %v\n%s", err, s.logTail())
	}
	s.cmd, s.dead = cmd, dead
}

// Stop ends knotd in order; a stopped server is left alone.
func (s *Server) Stop() { s.end(syscall.SIGTERM) }

// Kill ends knotd at once, as a crash would.
func (s *Server) Kill() { s.end(syscall.SIGKILL) }

func (s *Server) end(sig syscall.Signal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Signal(sig)
	select {
	case <-s.dead:
	case <-time.After(Wait):
		_ = s.cmd.Process.Kill()
		<-s.dead
		s.t.Errorf("knotd did not end on %v within %v\n%s", sig, Wait, s.logTail())
	}
	s.cmd = nil
}

// Running reports whether knotd has not ended by itself.
func (s *Server) Running() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cmd == nil {
		return false
	}
	select {
	case <-s.dead:
		return false
	default:
		return true
	}
}

// AddZone configures one more zone and has Knot reload its configuration.
func (s *Server) AddZone(z Zone) {
	s.t.Helper()
	s.cfg.Zones = append(s.cfg.Zones, z)
	if z.Text != "" {
		s.WriteZone(z.Name, z.Text)
	}
	s.writeConfig()
	s.Command("reload", "")
	s.waitFor("zone "+z.Name, func(st knot.Status) bool { return st.Exists }, z.Name)
}

// RemoveZone takes a zone from Knot's configuration.
func (s *Server) RemoveZone(name string) {
	s.t.Helper()
	s.cfg.Zones = slices.DeleteFunc(s.cfg.Zones, func(z Zone) bool { return z.Name == name })
	s.writeConfig()
	s.Command("reload", "")
	s.waitFor("zone "+name+" to go", func(st knot.Status) bool { return !st.Exists }, name)
}

// WriteZone writes a hidden zone's file; Reload has Knot read it.
func (s *Server) WriteZone(name, text string) {
	s.t.Helper()
	tmp := s.zoneFile(name) + ".new"
	if err := os.WriteFile(tmp, []byte(text), 0o644); err != nil {
		s.t.Fatal(err)
	}
	if err := os.Rename(tmp, s.zoneFile(name)); err != nil {
		s.t.Fatal(err)
	}
}

// Reload has Knot read a hidden zone's file again; see WaitSerial.
func (s *Server) Reload(zone string) { s.t.Helper(); s.Command("zone-reload", zone) }

// Command sends one control command that answers nothing, such as zone-begin,
// for what package knot does not do. An empty zone stands for none.
func (s *Server) Command(command, zone string) {
	s.t.Helper()
	c, err := net.Dial("unix", s.Socket)
	if err != nil {
		s.t.Fatalf("%s: %v\n%s", command, err, s.logTail())
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(Wait))
	// DATA, CMD and the command, ZONE and the zone, BLOCK.
	req := append([]byte{1, 16, 0, byte(len(command))}, command...)
	if zone != "" {
		req = append(append(req, 22, 0, byte(len(zone))), zone...)
	}
	reply := make([]byte, 4096)
	n := 0
	if _, err = c.Write(append(req, 3)); err == nil {
		n, err = c.Read(reply)
	}
	if err != nil || n != 1 || reply[0] != 3 {
		s.t.Fatalf("%s %s: %v, %q\n%s", command, zone, err, reply[:n], s.logTail())
	}
	_, _ = c.Write([]byte{0})
}

// WaitSerial waits until Knot serves the zone with that serial.
func (s *Server) WaitSerial(zone string, serial uint32) {
	s.t.Helper()
	s.waitFor(fmt.Sprintf("serial %d of zone %s", serial, zone), func(st knot.Status) bool { return st.HasSerial && st.Serial == serial }, zone)
}

func (s *Server) waitFor(what string, ok func(knot.Status) bool, zone string) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), Wait)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	ctl := s.Control()
	for {
		st, err := ctl.ZoneStatus(ctx, zone)
		if err == nil && ok(st) {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			s.t.Fatalf("waited %v for %s: %+v, %v\n%s", Wait, what, st, err, s.logTail())
		}
	}
}

// Query asks the server over TCP, with DNSSEC records wanted.
func (s *Server) Query(name string, qtype uint16) *dns.Msg {
	s.t.Helper()
	q := new(dns.Msg)
	q.SetQuestion(dns.Fqdn(name), qtype)
	q.SetEdns0(4096, true)
	c := &dns.Client{Net: "tcp", Timeout: Wait}
	m, _, err := c.Exchange(q, s.Addr)
	if err != nil {
		s.t.Fatalf("query %s %s: %v\n%s", name, dns.Type(qtype), err, s.logTail())
	}
	return m
}

// AXFR transfers the zone, the SOA first and once.
func (s *Server) AXFR(zone string) []dns.RR {
	s.t.Helper()
	src, err := knot.NewAXFRSource(knot.AXFR{Zone: zone, Server: s.Addr, TSIG: s.tsig, Timeout: Wait})
	if err != nil {
		s.t.Fatal(err)
	}
	c, err := src.Read(context.Background())
	if err != nil {
		s.t.Fatalf("%v\n%s", err, s.logTail())
	}
	return c.RRs
}

// Log is what knotd has logged so far.
func (s *Server) Log() string { return s.log.String() }

// logTail is the log's end, for a failing test.
func (s *Server) logTail() string {
	const most = 4096
	l := s.Log()
	if len(l) > most {
		l = "..." + l[len(l)-most:]
	}
	return l
}

// WaitLog waits until knotd has logged a line that contains text.
func (s *Server) WaitLog(text string) {
	s.t.Helper()
	timeout := time.After(Wait)
	for {
		has, changed := s.log.contains(text)
		if has {
			return
		}
		select {
		case <-changed:
		case <-timeout:
			s.t.Fatalf("waited %v for %q in the log:\n%s", Wait, text, s.logTail())
		}
	}
}

func (s *Server) zoneFile(name string) string {
	return filepath.Join(s.Dir, strings.TrimSuffix(name, ".")+".zone")
}

// writeConfig writes the configurations that docs/knot.md gives for a hidden
// and a public Knot, on one server here, and small databases.
func (s *Server) writeConfig() {
	s.t.Helper()
	host, port, _ := net.SplitHostPort(s.Addr)
	timeout := s.cfg.ControlTimeout
	if timeout == 0 {
		timeout = 5
	}
	var b bytes.Buffer
	w := bufio.NewWriter(&b)
	fmt.Fprintf(w, `server:
    rundir: %[1]s
    listen: %[2]s@%[3]s
    udp-workers: 1
    tcp-workers: 2
    background-workers: 2
control:
    listen: %[4]s
    timeout: %[5]d
log:
  - target: stderr
    server: info
    zone: info
    control: warning
database:
    storage: %[1]s
    journal-db-max-size: 8G
    kasp-db-max-size: 10M
    timer-db-max-size: 100M
`, s.Dir, host, port, s.Socket, timeout)
	key, keyRef := "", ""
	if s.tsig != nil {
		f := strings.Split(s.cfg.TSIG, ":")
		key = fmt.Sprintf("key:\n  - id: %s\n    algorithm: %s\n    secret: %s\n", f[1], f[0], f[2])
		keyRef = "    key: " + f[1] + "\n"
	}
	w.WriteString(key)
	var listeners []string
	for _, addr := range s.cfg.Notify {
		listeners = append(listeners, remoteID(addr))
	}
	remotes := slices.Clone(s.cfg.Notify)
	for _, z := range s.cfg.Zones {
		if z.Primary != "" && !slices.Contains(remotes, z.Primary) {
			remotes = append(remotes, z.Primary)
		}
	}
	if len(remotes) > 0 {
		w.WriteString("remote:\n")
	}
	for _, addr := range remotes {
		host, port, _ := net.SplitHostPort(addr)
		fmt.Fprintf(w, "  - id: %s\n    address: %s@%s\n%s", remoteID(addr), host, port, keyRef)
	}
	fmt.Fprintf(w, "acl:\n  - id: friends\n    address: 127.0.0.0/8\n    action: [transfer, update, notify]\n%s", keyRef)
	w.WriteString("zone:\n")
	for _, z := range s.cfg.Zones {
		fmt.Fprintf(w, "  - domain: %s\n    storage: %s\n    dnssec-signing: off\n    dnssec-validation: %s\n    zonemd-verify: %s\n    zonefile-sync: -1\n    journal-content: all\n    journal-max-usage: 2G\n    acl: friends\n",
			z.Name, s.Dir, onOff(z.Validate), onOff(z.Digest))
		if z.Text != "" {
			fmt.Fprintf(w, "    file: %s\n    zonefile-load: difference-no-serial\n", s.zoneFile(z.Name))
		} else {
			fmt.Fprintf(w, "    zonefile-load: none\n")
		}
		if z.Primary != "" {
			fmt.Fprintf(w, "    master: %s\n", remoteID(z.Primary))
		}
		if len(listeners) > 0 {
			fmt.Fprintf(w, "    notify: [%s]\n", strings.Join(listeners, ", "))
		}
	}
	_ = w.Flush()
	if err := os.WriteFile(filepath.Join(s.Dir, "knot.conf"), b.Bytes(), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// remoteID names a remote of the configuration by its address.
func remoteID(addr string) string {
	return "at-" + strings.NewReplacer(".", "-", ":", "-").Replace(addr)
}

func onOff(b bool) string {
	if b {
		return "on"
	}
	return "off"
}

// freeAddr finds a loopback port that is free for both UDP and TCP.
func freeAddr(t testing.TB) string {
	t.Helper()
	var last error
	for range 20 {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		pc, err := net.ListenPacket("udp", ln.Addr().String())
		addr := ln.Addr().String()
		ln.Close()
		if err == nil {
			pc.Close()
			return addr
		}
		last = err
	}
	t.Fatal(errors.Join(errors.New("no free port"), last))
	return ""
}

// lines collects a log and tells when it grows.
type lines struct {
	mu      sync.Mutex
	buf     bytes.Buffer
	changed chan struct{}
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	close(l.changed)
	l.changed = make(chan struct{})
	return l.buf.Write(p)
}

func (l *lines) reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.buf.Reset()
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func (l *lines) contains(text string) (bool, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Contains(l.buf.String(), text), l.changed
}

// Records turns lines "owner ttl type data" into records, for small zones.
func Records(t testing.TB, text string) []knot.Record {
	t.Helper()
	var out []knot.Record
	for line := range strings.Lines(text) {
		f := strings.SplitN(strings.TrimSpace(line), " ", 4)
		if len(f) == 1 && f[0] == "" {
			continue
		}
		if len(f) != 4 {
			t.Fatalf("line %q: expected owner, ttl, type and data", line)
		}
		ttl, err := strconv.ParseUint(f[1], 10, 32)
		if err != nil {
			t.Fatalf("line %q: %v", line, err)
		}
		out = append(out, knot.Record{Owner: f[0], TTL: uint32(ttl), Type: f[2], Data: f[3]})
	}
	return out
}
