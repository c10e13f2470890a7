package node

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"zonesigner/zonesignerd/config"
	"zonesigner/zonesignerd/internal/api"
)

// operators is a group of daemons in this process: real keystores, real NATS
// between them, zones from files and into files.
type operators struct {
	t     testing.TB
	dir   string
	names []string
	group *config.Group
	nodes map[string]*Node
	clock *clock
	edit  func(*config.Daemon)
	// patience is how long level waits; 0: 30 s.
	patience time.Duration
	// options changes what an operator is started with.
	options func(name string, opt *Options)
}

// clock runs with the real one, set forward as tests want; an operator's may
// be off by a skew.
type clock struct {
	mu    sync.Mutex
	ahead time.Duration
	skew  map[string]time.Duration
}

func (c *clock) of(name string) func() time.Time {
	return func() time.Time {
		c.mu.Lock()
		defer c.mu.Unlock()
		return time.Now().Add(c.ahead + c.skew[name])
	}
}

// advance sets all clocks forward, and lets the zones look at what is due.
func (o *operators) advance(d time.Duration) {
	o.clock.mu.Lock()
	o.clock.ahead += d
	o.clock.mu.Unlock()
	for _, n := range o.nodes {
		for _, z := range n.allZones() {
			z.Wake()
		}
	}
}

const testKey = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"

// newOperators prepares n operators, named a, b, c and so on, with threshold
// t, without starting them.
func newOperators(t testing.TB, n, threshold int) *operators {
	t.Helper()
	o := &operators{t: t, dir: t.TempDir(), nodes: map[string]*Node{}, clock: &clock{skew: map[string]time.Duration{}}}
	o.group = &config.Group{Version: 1, Name: "test", Epoch: 1, Threshold: threshold, Engine: config.MalShamir}
	for i := range n {
		name := string(rune('a' + i))
		o.names = append(o.names, name)
		must(t, os.MkdirAll(o.path(name), 0o700))
		seed, nkey, err := config.NewIdentity()
		must(t, err)
		must(t, os.WriteFile(o.path(name, "identity.nk"), seed, 0o600))
		must(t, os.WriteFile(o.path(name, "keystore.key"), []byte(testKey+"\n"), 0o600))
		o.group.Operators = append(o.group.Operators, config.Operator{Name: name, NKey: nkey, Address: freeAddress(t)})
	}
	t.Cleanup(o.stopAll)
	return o
}

func (o *operators) path(parts ...string) string {
	return filepath.Join(append([]string{o.dir}, parts...)...)
}

// config is an operator's configuration, with its group file in place.
func (o *operators) config(name string) *config.Daemon {
	o.t.Helper()
	text, err := config.FormatGroup(o.group)
	must(o.t, err)
	if _, err := os.Stat(o.path(name, "group.yaml")); err != nil {
		must(o.t, os.WriteFile(o.path(name, "group.yaml"), text, 0o644))
	}
	op, _ := o.group.Operator(name)
	cfg := &config.Daemon{
		Version: 1, Operator: name, Identity: o.path(name, "identity.nk"), Group: o.path(name, "group.yaml"),
		State: o.path(name, "state"), Run: o.path(name, "run"),
		Keystore:     config.Keystore{KeyFile: o.path(name, "keystore.key")},
		NATS:         config.NATS{Listen: op.Address},
		Knot:         config.Knot{Hidden: o.path(name, "hidden.sock"), Public: o.path(name, "public.sock"), Timeout: config.Duration(2 * time.Second)},
		PollInterval: config.Duration(200 * time.Millisecond),
		Pools:        config.Pools{Depth: 64, Changes: 32, Chunk: 32},
		Sessions:     config.Sessions{Timeout: config.Duration(10 * time.Second), ClockBound: config.Duration(time.Minute), Settle: config.Duration(time.Second)},
	}
	if o.edit != nil {
		o.edit(cfg)
	}
	return cfg
}

// start starts one operator on what it has on disk.
func (o *operators) start(name string) *Node {
	o.t.Helper()
	opt := Options{Version: "test", Logger: o.logger(name), Now: o.clock.of(name), Turn: 500 * time.Millisecond}
	if o.options != nil {
		o.options(name, &opt)
	}
	n, err := Start(context.Background(), o.config(name), opt)
	if err != nil {
		o.t.Fatalf("operator %s: %v", name, err)
	}
	o.nodes[name] = n
	return n
}

func (o *operators) logger(name string) *slog.Logger {
	var w io.Writer = io.Discard
	if testing.Verbose() || os.Getenv("ZONESIGNER_TEST_LOG") != "" {
		w = os.Stderr
	}
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelInfo})).With("operator", name)
}

func (o *operators) startAll() {
	o.t.Helper()
	for _, name := range o.names {
		o.start(name)
	}
}

func (o *operators) stop(name string) {
	if n := o.nodes[name]; n != nil {
		n.Close()
		delete(o.nodes, name)
	}
}

func (o *operators) stopAll() {
	for _, name := range o.names {
		o.stop(name)
	}
}

// eventually waits until ok holds; what tells what was waited for.
func (o *operators) eventually(limit time.Duration, what string, ok func() bool) {
	o.t.Helper()
	limit *= slowness
	deadline := time.Now().Add(limit)
	for !ok() {
		if time.Now().After(deadline) {
			for _, name := range o.names {
				if n := o.nodes[name]; n != nil {
					st, _ := n.Status(context.Background())
					for _, z := range st.Zones {
						o.t.Logf("%s: %s %s, source %d, serves %d, waits for %s; %v", name, z.Zone, z.State, z.SourceSerial, z.ServedSerial, z.Next.WaitsFor, z.Refusals)
					}
				}
			}
			o.t.Fatalf("not within %s: %s", limit, what)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// write gives one operator, or all of them, the zone's content.
func (o *operators) write(zone string, serial uint32, records string, names ...string) {
	o.t.Helper()
	if len(names) == 0 {
		names = o.names
	}
	text := fmt.Sprintf("$ORIGIN %s\n$TTL 300\n@ SOA ns1 hostmaster %d 7200 3600 1209600 300\n@ NS ns1\nns1 A 192.0.2.1\n%s\n", zone, serial, records)
	for _, name := range names {
		tmp := o.path(name, zone+"new")
		must(o.t, os.WriteFile(tmp, []byte(text), 0o644))
		must(o.t, os.Rename(tmp, o.path(name, zone+"zone")))
	}
}

// policy is the zone's policy at one operator; extra lines come last.
func (o *operators) policy(name, zone string, extra ...string) string {
	return fmt.Sprintf("version: 1\nzone: %s\nsource:\n  type: file\n  file: %s\npublish:\n  type: file\n  file: %s\n%s\n",
		zone, o.path(name, zone+"zone"), o.path(name, zone+"signed"), strings.Join(extra, "\n"))
}

// add adds the zone at the operators named, or all, and asks for its keys.
func (o *operators) add(zone string, extra ...string) {
	o.t.Helper()
	for _, name := range o.names {
		if o.nodes[name] == nil {
			continue
		}
		_, err := o.nodes[name].AddZone(o.t.Context(), api.AddZone{Policy: o.policy(name, zone, extra...), File: "policy"})
		must(o.t, err)
		_, err = o.nodes[name].GenerateKeys(o.t.Context(), api.GenerateKeys{Zone: zone})
		must(o.t, err)
	}
}

// serves is the serial in the operator's signed file; 0: none.
func (o *operators) serves(name, zone string) uint32 {
	for _, rr := range o.served(name, zone) {
		if soa, ok := rr.(*dns.SOA); ok {
			return soa.Serial
		}
	}
	return 0
}

// served is what is in the operator's signed file.
func (o *operators) served(name, zone string) []dns.RR {
	o.t.Helper()
	text, err := os.ReadFile(o.path(name, zone+"signed"))
	if err != nil {
		return nil
	}
	var out []dns.RR
	p := dns.NewZoneParser(strings.NewReader(string(text)), "", "")
	for rr, ok := p.Next(); ok; rr, ok = p.Next() {
		out = append(out, rr)
	}
	must(o.t, p.Err())
	return out
}

// has reports whether the operator serves a record whose text contains part.
func (o *operators) has(name, zone, part string) bool {
	for _, rr := range o.served(name, zone) {
		if rr.Header().Rrtype != dns.TypeRRSIG && strings.Contains(strings.ReplaceAll(rr.String(), "\t", " "), part) {
			return true
		}
	}
	return false
}

// level waits until the operators named, or all, serve one and the same
// signed zone newer than after, byte for byte, and returns its serial.
func (o *operators) level(zone string, after uint32, names ...string) uint32 {
	o.t.Helper()
	if len(names) == 0 {
		names = o.names
	}
	var serial uint32
	o.eventually(max(o.patience, time.Minute), fmt.Sprintf("%s serve %s with a serial above %d", strings.Join(names, ", "), zone, after), func() bool {
		serial = o.serves(names[0], zone)
		for _, name := range names {
			if o.serves(name, zone) != serial {
				return false
			}
		}
		return serial > after
	})
	first, err := os.ReadFile(o.path(names[0], zone+"signed"))
	must(o.t, err)
	for _, name := range names[1:] {
		other, err := os.ReadFile(o.path(name, zone+"signed"))
		must(o.t, err)
		if string(first) != string(other) {
			o.t.Fatalf("operators %s and %s serve different zones", names[0], name)
		}
	}
	return serial
}

func (o *operators) status(name, zone string) api.ZoneStatus {
	o.t.Helper()
	z, err := o.nodes[name].Zone(o.t.Context(), zone)
	must(o.t, err)
	return z.ZoneStatus
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// ports counts through ports that neither the system nor lab.FreePort gives out,
// from a place of this process's own: an operator that is down keeps its address.
var ports atomic.Uint32

func init() { ports.Store(uint32(os.Getpid()) * 37) }

func freeAddress(t testing.TB) string {
	t.Helper()
	for range 1000 {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 10000+ports.Add(1)%10000))
		if err == nil {
			defer l.Close()
			return l.Addr().String()
		}
	}
	t.Fatal("no free port")
	return ""
}
