package node

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"zonesigner/knot"
	"zonesigner/knot/knottest"
	"zonesigner/zonesignerd/config"
	"zonesigner/zonesignerd/internal/api"
)

// knots are the two Knots of every operator.
type knots struct {
	*operators
	hidden, public map[string]*knottest.Server
}

const knotZone = "$ORIGIN example.\n$TTL 300\n@ SOA ns1 hostmaster %d 7200 3600 86400 300\n@ NS ns1\nns1 A 192.0.2.1\nmail MX 10 ns1\n*.wild TXT wild\nsub NS ns.sub\nns.sub A 192.0.2.2\n%s\n"

// newKnots starts them with a policy. The public ones look for themselves at
// what they are given.
func newKnots(t *testing.T, policy string) *knots {
	t.Helper()
	k := &knots{newOperators(t, 3, 1), map[string]*knottest.Server{}, map[string]*knottest.Server{}}
	for _, name := range k.names {
		k.hidden[name] = knottest.Start(t, knottest.Config{Zones: []knottest.Zone{{Name: "example.", Text: fmt.Sprintf(knotZone, 1, "www A 192.0.2.10")}}})
		public := knottest.Zone{Name: "example.", Validate: true, Digest: strings.Contains(policy, "zonemd-generate")}
		k.public[name] = knottest.Start(t, knottest.Config{Zones: []knottest.Zone{public}})
	}
	k.edit = func(c *config.Daemon) {
		c.Knot.Hidden, c.Knot.Public = k.hidden[c.Operator].Socket, k.public[c.Operator].Socket
	}
	k.startAll()
	for _, name := range k.names {
		_, err := k.nodes[name].AddZone(t.Context(), api.AddZone{Policy: "version: 1\nzone: example.\n" + policy, File: "policy"})
		must(t, err)
		_, err = k.nodes[name].GenerateKeys(t.Context(), api.GenerateKeys{Zone: "example."})
		must(t, err)
	}
	return k
}

// answers reports whether a public Knot answers with that address for www.
func (k *knots) answers(name, addr string) bool {
	st, err := k.public[name].Control().ZoneStatus(k.t.Context(), "example.")
	if err != nil || !st.HasSerial {
		return false
	}
	for _, rr := range k.public[name].Query("www.example.", dns.TypeA).Answer {
		if a, ok := rr.(*dns.A); ok && a.A.String() == addr {
			return true
		}
	}
	return false
}

func (k *knots) all(addr string, names ...string) {
	k.t.Helper()
	if len(names) == 0 {
		names = k.names
	}
	k.eventually(30*time.Second, fmt.Sprintf("%v answer with %s", names, addr), func() bool {
		return !slices.ContainsFunc(names, func(n string) bool { return !k.answers(n, addr) })
	})
}

func (k *knots) write(serial uint32, addr string) {
	for _, name := range k.names {
		k.hidden[name].WriteZone("example.", fmt.Sprintf(knotZone, serial, "www A "+addr))
		k.hidden[name].Reload("example.")
	}
}

// checked has independent programs check what a public Knot gives out, and
// returns it in canonical form.
func (k *knots) checked(name string) string {
	k.t.Helper()
	var text bytes.Buffer
	var lines []string
	for i, rr := range k.public[name].AXFR("example.") {
		line := rr.String()
		fmt.Fprintln(&text, line)
		if i > 0 {
			lines = append(lines, line)
		}
	}
	file := filepath.Join(k.t.TempDir(), "example.zone")
	must(k.t, os.WriteFile(file, text.Bytes(), 0o644))
	for _, cmd := range [][]string{
		{"ldns-verify-zone", file},
		{"dnssec-verify", "-q", "-o", "example.", file},
		{"kzonecheck", "-d", "on", "-o", "example.", file},
	} {
		out, err := exec.Command(cmd[0], cmd[1:]...).CombinedOutput()
		if err != nil {
			k.t.Errorf("operator %s: %s: %v\n%s", name, strings.Join(cmd, " "), err, out)
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

func (k *knots) allChecked() {
	k.t.Helper()
	first := k.checked("a")
	for _, name := range []string{"b", "c"} {
		if k.checked(name) != first {
			k.t.Errorf("operators a and %s serve different zones", name)
		}
	}
}

// The whole way from one Knot to the other, with what happens to Knots.
func TestBetweenKnots(t *testing.T) {
	t.Parallel()
	k := newKnots(t, "denial:\n  nsec3: true\n")
	k.all("192.0.2.10")
	k.allChecked()

	k.write(2, "192.0.2.11")
	k.all("192.0.2.11")
	k.allChecked()

	// An edit over the hidden Knots' control sockets.
	for _, name := range k.names {
		must(t, k.hidden[name].Control().Apply(t.Context(), "example.", knot.Change{
			Remove: knottest.Records(t, "example. 300 SOA ns1.example. hostmaster.example. 2 7200 3600 86400 300\nwww.example. 300 A 192.0.2.11"),
			Add:    knottest.Records(t, "example. 300 SOA ns1.example. hostmaster.example. 3 7200 3600 86400 300\nwww.example. 300 A 192.0.2.12"),
		}))
	}
	k.all("192.0.2.12")

	// The public Knot is killed, and started again.
	k.public["b"].Kill()
	k.public["b"].Restart()
	k.all("192.0.2.12")

	// It loses the zone.
	must(t, k.public["b"].Control().Purge(t.Context(), "example."))
	k.all("192.0.2.12")

	// It is away while the zone changes, and status says so.
	k.public["c"].Stop()
	k.write(20, "192.0.2.13")
	k.all("192.0.2.13", "a", "b")
	k.eventually(20*time.Second, "c's status says that its knot is away", func() bool {
		st, err := k.nodes["c"].Status(context.Background())
		must(t, err)
		return slices.ContainsFunc(st.Knots, func(s api.KnotState) bool { return s.Role == "public" && !s.OK && s.Reason != "" })
	})
	k.public["c"].Restart()
	k.all("192.0.2.13")

	// The hidden one is away: the operator has no content to compare, and
	// comes after.
	k.hidden["a"].Stop()
	k.hidden["a"].WriteZone("example.", fmt.Sprintf(knotZone, 30, "www A 192.0.2.14"))
	for _, name := range []string{"b", "c"} {
		k.hidden[name].WriteZone("example.", fmt.Sprintf(knotZone, 30, "www A 192.0.2.14"))
		k.hidden[name].Reload("example.")
	}
	k.eventually(20*time.Second, "a's status says that its source is away", func() bool {
		return k.status("a", "example.").State == api.ZoneFailed
	})
	k.hidden["a"].Restart()
	k.all("192.0.2.14")

	// A daemon restarts; nothing is pushed anew, and the next change is.
	k.stop("b")
	k.start("b")
	k.write(40, "192.0.2.15")
	k.all("192.0.2.15")
	k.allChecked()
	for _, name := range k.names {
		if log := k.public[name].Log(); strings.Contains(log, "DNSSEC validation failed") {
			t.Errorf("operator %s: knot refused what it was given:\n%s", name, log)
		}
	}
}

// Knots that want a right digest take what they are given, whole and as changes.
func TestBetweenKnotsWithDigest(t *testing.T) {
	t.Parallel()
	k := newKnots(t, "zonemd-generate: zonemd-sha384\n")
	for i, addr := range []string{"192.0.2.10", "192.0.2.11", "192.0.2.12"} {
		if i > 0 {
			k.write(uint32(i+1), addr)
		}
		k.all(addr)
		k.allChecked()
	}
	k.public["b"].Kill()
	k.public["b"].Restart()
	k.all("192.0.2.12")
	if text := k.checked("b"); !strings.Contains(text, "\tZONEMD\t") {
		t.Error("no ZONEMD record is served")
	}
}
