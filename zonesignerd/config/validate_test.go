package config

import (
	"encoding/base32"
	"encoding/hex"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"zonesigner/mpc"
)

// wantFault checks that validating found a fault at path whose message holds
// text, or nothing when path is empty.
func wantFault(t *testing.T, err error, path, text string) {
	t.Helper()
	var found Faults
	if err != nil && !errors.As(err, &found) {
		t.Fatalf("%T is no Faults: %v", err, err)
	}
	if path == "" {
		if err != nil {
			t.Errorf("want no fault, got %v", err)
		}
		return
	}
	if !slices.ContainsFunc(found, func(f Fault) bool { return f.Path == path && strings.Contains(f.Message, text) }) {
		t.Errorf("want a fault at %s with %q, got %v", path, text, err)
	}
}

func TestGroupValidate(t *testing.T) {
	for _, c := range []struct {
		name   string
		n      int
		change func(*Group)
		path   string
		text   string
	}{
		{"three", 3, func(*Group) {}, "", ""},
		{"seven", 7, func(*Group) {}, "", ""},
		{"one operator", 1, func(g *Group) { g.Threshold = 1 }, "operators", "2 at least"},
		{"two operators", 2, func(g *Group) { g.Threshold, g.Engine = 1, Mascot }, "", ""},
		{"two operators with an engine for three", 2, func(g *Group) { g.Threshold = 1 }, "engine", "there are frost, mascot, mascot-minus, cggmp"},
		{"mascot with an honest majority", 3, func(g *Group) { g.Engine = Mascot }, "engine", "there are mal-shamir, shamir, mal-rep3, rep3, frost, cggmp"},
		{"mascot-minus of three", 3, func(g *Group) { g.Threshold, g.Engine = 2, MascotMinus }, "", ""},
		{"threshold 0", 3, func(g *Group) { g.Threshold = 0 }, "threshold", "want 1 to 2"},
		{"threshold n", 3, func(g *Group) { g.Threshold = 3 }, "threshold", "want 1 to 2"},
		{"threshold half", 4, func(g *Group) { g.Threshold = 2 }, "engine", "there are frost, cggmp"},
		{"threshold half, cggmp", 4, func(g *Group) { g.Threshold, g.Engine = 2, CGGMP }, "", ""},
		{"too many seeds", 8, func(g *Group) { g.Threshold = 3 }, "engine", "56 seeds"},
		{"engine", 3, func(g *Group) { g.Engine = "mal-shamri" }, "engine", `did you mean "mal-shamir"`},
		{"name", 3, func(g *Group) { g.Name = "Example" }, "name", nameForm},
		{"epoch", 3, func(g *Group) { g.Epoch = 0 }, "epoch", "want 1"},
		{"operator's name", 3, func(g *Group) { g.Operators[0].Name = "a+b" }, "operators[0].name", nameForm},
		{"name twice", 3, func(g *Group) { g.Operators[1].Name = "a" }, "operators[1].name", "operators[0]'s too"},
		{"key twice", 3, func(g *Group) { g.Operators[1].NKey = g.Operators[0].NKey }, "operators[1].nkey", "operators[0]'s too"},
		{"key twice in another text", 3, func(g *Group) { g.Operators[1].NKey = otherText(g.Operators[0].NKey) }, "operators[1].nkey", "want an nkey"},
		{"key cut", 3, func(g *Group) { g.Operators[0].NKey = g.Operators[0].NKey[:40] }, "operators[0].nkey", "want an nkey"},
		{"seed for a key", 3, func(g *Group) { g.Operators[0].NKey = "SU" + g.Operators[0].NKey }, "operators[0].nkey", "want an nkey"},
		{"address twice", 3, func(g *Group) { g.Operators[1].Address = "A.example:7473" }, "operators[1].address", "operators[0]'s too"},
		{"no port", 3, func(g *Group) { g.Operators[0].Address = "a.example" }, "operators[0].address", "host:port"},
		{"port 0", 3, func(g *Group) { g.Operators[0].Address = "a.example:0" }, "operators[0].address", "no port"},
		{"all addresses", 3, func(g *Group) { g.Operators[0].Address = "0.0.0.0:7473" }, "operators[0].address", "can reach"},
		{"set", 3, func(g *Group) { g.SignerSets = [][]string{{"b", "a"}} }, "", ""},
		{"set too small", 3, func(g *Group) { g.SignerSets = [][]string{{"a"}} }, "signer-sets[0]", "at least 2"},
		{"set of a stranger", 3, func(g *Group) { g.SignerSets = [][]string{{"a", "x"}} }, "signer-sets[0][1]", "no operator"},
		{"set with one twice", 3, func(g *Group) { g.SignerSets = [][]string{{"a", "b", "b"}} }, "signer-sets[0]", "twice"},
		{"set twice", 3, func(g *Group) { g.SignerSets = [][]string{{"a", "b"}, {"b", "a"}} }, "signer-sets[1]", "the same set"},
		{"shamir signs with t+1", 3, func(g *Group) { g.Engine, g.SignerSets = Shamir, [][]string{{"a", "b", "c"}} }, "signer-sets[0]", "exactly 2"},
		{"rep3 signs with two", 3, func(g *Group) { g.Engine, g.SignerSets = Rep3, [][]string{{"a", "b", "c"}} }, "signer-sets[0]", "exactly 2"},
		{"mal-rep3", 3, func(g *Group) { g.Engine, g.SignerSets = MalRep3, [][]string{{"a", "b", "c"}, {"a", "b"}} }, "", ""},
		{"mal-rep3 for five", 5, func(g *Group) { g.Engine = MalRep3 }, "engine", "for 3 operators"},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := testGroup(t, c.n)
			c.change(g)
			wantFault(t, g.Validate(), c.path, c.text)
		})
	}
}

// otherText is another base32 text of the same bytes, made from the bits that
// the encoding leaves over at the end.
func otherText(nkey string) string {
	alphabet := "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
	want, _ := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(nkey)
	for _, c := range alphabet {
		other := nkey[:len(nkey)-1] + string(c)
		got, _ := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(other)
		if other != nkey && slices.Equal(got, want) {
			return other
		}
	}
	return strings.ToLower(nkey)
}

func TestSetsSurviveAnyOperator(t *testing.T) {
	for _, engine := range engineNames {
		for n := 3; n <= 7; n++ {
			g := testGroup(t, n) // with an honest majority
			g.Engine = engine
			sets := g.Sets(engine)
			for _, down := range g.MPC().Parties {
				ok := false
				for _, s := range sets {
					if !g.fits(engine, len(s)) {
						t.Errorf("%s, %d operators: set %s has the wrong size", engine, n, s)
					}
					ok = ok || !s.Contains(down)
				}
				if !ok {
					t.Errorf("%s, %d operators: no set signs without %s", engine, n, down)
				}
			}
		}
	}
	g := testGroup(t, 3)
	var got []string
	for _, engine := range engineNames {
		for _, s := range g.Sets(engine) {
			got = append(got, s.String())
		}
	}
	if want := strings.Fields("a+b+c b+c a+c a+b a+b b+c a+c a+b+c b+c a+c a+b a+b b+c a+c a+b+c b+c a+c a+b" +
		strings.Repeat(" a+b+c b+c a+c a+b", 3)); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	g.SignerSets = [][]string{{"c", "a"}, {"a", "b", "c"}}
	if sets := g.Sets(Shamir); len(sets) != 1 || sets[0].String() != "a+c" {
		t.Errorf("shamir takes %v of the file's sets", sets)
	}
}

// Without an honest majority all operators sign, and every t+1 of them where
// that is fewer.
func TestSetsWithoutMajority(t *testing.T) {
	for _, c := range []struct {
		n, t int
		want string
	}{
		{2, 1, "a+b"},
		{3, 2, "a+b+c"},
		{4, 2, "a+b+c+d a+b+c a+b+d a+c+d b+c+d"},
		{4, 3, "a+b+c+d"},
	} {
		g := testGroup(t, c.n)
		g.Threshold, g.Engine = c.t, CGGMP
		var got []string
		for _, s := range g.Sets(CGGMP) {
			got = append(got, s.String())
		}
		if want := strings.Fields(c.want); !slices.Equal(got, want) {
			t.Errorf("%d operators, threshold %d: %v, want %v", c.n, c.t, got, want)
		}
	}
	for _, c := range []struct{ n, t, want int }{{6, 3, 16}, {7, 4, 22}, {9, 5, 10}, {35, 20, 36}} {
		g := testGroup(t, 2)
		g.Operators = make([]Operator, c.n)
		for i := range g.Operators {
			g.Operators[i].Name = fmt.Sprint("o", i)
		}
		g.Threshold, g.Engine = c.t, CGGMP
		if got := len(g.Sets(CGGMP)); got != c.want {
			t.Errorf("%d operators, threshold %d: %d sets, want %d", c.n, c.t, got, c.want)
		}
	}
}

func TestCommonSets(t *testing.T) {
	text := func(sets []mpc.SignerSet, err error) string {
		var out []string
		for _, s := range sets {
			out = append(out, s.String())
		}
		if err != nil {
			out = append(out, err.Error())
		}
		return strings.Join(out, " ")
	}
	g := testGroup(t, 3)
	if got := text(g.CommonSets(MalShamir, CGGMP)); got != "a+b+c b+c a+c a+b" {
		t.Errorf("two active engines: %s", got)
	}
	if got := text(g.CommonSets(MalShamir, Shamir)); got != "b+c a+c a+b" {
		t.Errorf("an active and a passive engine: %s", got)
	}
	g.SignerSets = [][]string{{"a", "b", "c"}}
	if got := text(g.CommonSets(Shamir)); !strings.Contains(got, "fits shamir") {
		t.Errorf("sets of three for shamir: %s", got)
	}
	five := testGroup(t, 5)
	if got := text(five.CommonSets(MalShamir, Shamir)); !strings.Contains(got, "exactly 3 operators") {
		t.Errorf("five operators, an active and a passive engine: %s", got)
	}
	five.SignerSets = [][]string{{"a", "b", "c", "d", "e"}, {"a", "b", "c"}, {"c", "d", "e"}}
	if got := text(five.CommonSets(MalShamir, Shamir)); got != "a+b+c c+d+e" {
		t.Errorf("with sets of three in the file: %s", got)
	}
}

func TestPolicyValidate(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*Policy)
		path   string
		text   string
	}{
		{"default", func(*Policy) {}, "", ""},
		{"root", func(p *Policy) { p.Zone = "." }, "", ""},
		{"no zone", func(p *Policy) { p.Zone = "" }, "zone", "no domain name"},
		{"not canonical", func(p *Policy) { p.Zone = "Example.org." }, "zone", "lower case"},
		{"empty label", func(p *Policy) { p.Zone = "a..b." }, "zone", "no domain name"},
		{"engine", func(p *Policy) { p.Engine = "rep5" }, "engine", "not known"},
		{"keep of a primary", func(p *Policy) { p.SerialPolicy = "keep" }, "", ""},
		{"keep of copies", func(p *Policy) { p.SerialPolicy, p.ContentFrom = "keep", "copies" }, "serial-policy", "edited separately"},
		{"lifetime at refresh", func(p *Policy) { p.RRSIGLifetime = p.RRSIGRefresh }, "rrsig-lifetime", "not above rrsig-refresh"},
		{"refresh too short", func(p *Policy) { p.RRSIGRefresh = 2 * hour }, "rrsig-refresh", "not above propagation-delay + dnskey-ttl, 2h"},
		{"zsk too short", func(p *Policy) { p.ZSKLifetime = hour }, "zsk-lifetime", "roll-over"},
		{"zsk of a csk", func(p *Policy) { p.SingleTypeSigning, p.ZSKLifetime = true, 30*day }, "zsk-lifetime", "single-type-signing"},
		{"negative", func(p *Policy) { p.MaxOutage = -hour }, "max-outage", "whole seconds"},
		{"salt", func(p *Policy) { p.Denial = Denial{NSEC3: true, Salt: "abc"} }, "denial.nsec3-salt", "hexadecimal"},
		{"iterations", func(p *Policy) { p.Denial = Denial{NSEC3: true, Iterations: 51} }, "denial.nsec3-iterations", "RFC 9276"},
		{"opt-out of nsec", func(p *Policy) { p.Denial.OptOut = true }, "denial", "without nsec3"},
		{"quorum", func(p *Policy) { p.ContentQuorum = "all" }, "content-quorum", "not known"},
		{"expiry", func(p *Policy) { p.OnExpiry = "withdrew" }, "on-expiry", `did you mean "withdraw"`},
		{"digest", func(p *Policy) { p.ZONEMD = "zonemd-sha38" }, "zonemd-generate", `did you mean "zonemd-sha384"`},
		{"digest to be left out", func(p *Policy) { p.ZONEMD = "remove" }, "zonemd-generate", "not known"},
		{"digest of the other kind", func(p *Policy) { p.ZONEMD = "zonemd-sha512" }, "", ""},
		{"file without name", func(p *Policy) { p.Source.Type = "file" }, "source.file", "missing"},
		{"file of knot", func(p *Policy) { p.Source.File = "/x" }, "source.file", "does not go with type knot"},
		{"relative file", func(p *Policy) { p.Source.Type, p.Source.File = "file", "x" }, "source.file", "absolute"},
		{"axfr", func(p *Policy) { p.Source = Source{Type: "axfr", Server: "192.0.2.1:53", TSIG: "/t", Notify: ":53"} }, "", ""},
		{"approved", func(p *Policy) { p.Source = Source{Type: "approved"} }, "", ""},
		{"file of approved", func(p *Policy) { p.Source = Source{Type: "approved", File: "/x"} }, "source.file", "does not go with type approved"},
		{"axfr without server", func(p *Policy) { p.Source.Type = "axfr" }, "source.server", "missing"},
		{"own source", func(p *Policy) {
			p.Source, p.Publish = Source{Type: "file", File: "/z"}, Publish{Type: "file", File: "/z"}
		}, "publish.file", "overwritten"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := DefaultPolicy("example.org")
			c.change(p)
			wantFault(t, p.Validate(), c.path, c.text)
		})
	}
}

func TestPolicyCheckZone(t *testing.T) {
	p := DefaultPolicy("example.org") // refreshes with 15 days left
	wantFault(t, p.CheckZone(7*86400, 3600), "", "")
	wantFault(t, p.CheckZone(15*86400, 3600), "rrsig-refresh", "SOA expire")
	wantFault(t, p.CheckZone(7*86400, 15*86400), "rrsig-refresh", "largest TTL")
}

func TestDaemonValidate(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*Daemon)
		path   string
		text   string
	}{
		{"default", func(*Daemon) {}, "", ""},
		{"no operator", func(c *Daemon) { c.Operator = "" }, "operator", nameForm},
		{"no keystore", func(c *Daemon) { c.Keystore = Keystore{} }, "keystore", "exactly one"},
		{"two keystores", func(c *Daemon) { c.Keystore.Credential = "key" }, "keystore", "exactly one"},
		{"credential as path", func(c *Daemon) { c.Keystore = Keystore{Credential: "../key"} }, "keystore.credential", "path"},
		{"no nats", func(c *Daemon) { c.NATS.Listen = "" }, "nats", "neither"},
		{"both nats", func(c *Daemon) { c.NATS.URLs = []string{"nats://x:4222"} }, "nats.urls", "one of them"},
		{"urls", func(c *Daemon) { c.NATS = NATS{URLs: []string{"tls://x.example:4222"}} }, "", ""},
		{"ca", func(c *Daemon) { c.NATS = NATS{URLs: []string{"tls://x.example:4222"}, CA: "/ca.pem"} }, "", ""},
		{"ca without tls", func(c *Daemon) { c.NATS = NATS{URLs: []string{"nats://x:4222"}, CA: "/ca.pem"} }, "nats.urls[0]", "want tls://"},
		{"ca without urls", func(c *Daemon) { c.NATS.CA = "/ca.pem" }, "nats.ca", "nats.urls"},
		{"no url", func(c *Daemon) { c.NATS = NATS{URLs: []string{"nats://x:4222", "x"}} }, "nats.urls[1]", "want nats://"},
		{"url with password", func(c *Daemon) { c.NATS = NATS{URLs: []string{"nats://u:p@x:4222"}} }, "nats.urls[0]", "nkeys"},
		{"one Knot", func(c *Daemon) { c.Knot.Hidden = c.Knot.Public }, "knot.public", "one Knot"},
		{"state in run", func(c *Daemon) { c.Run = c.State }, "run", "reboot"},
		{"clock bound", func(c *Daemon) { c.Sessions.ClockBound = 2 * hour }, "sessions.clock-bound", "1s to 1m"},
		{"long socket", func(c *Daemon) { c.Socket.Path = "/" + strings.Repeat("x", 107) }, "socket.path", "at most 107"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := DefaultDaemon("a", "/k", "0.0.0.0:7473")
			c.change(d)
			wantFault(t, d.Validate(), c.path, c.text)
		})
	}
	bad := Daemon{}
	var found Faults
	if err := bad.Validate(); !errors.As(err, &found) || len(found) < 10 {
		t.Errorf("an empty configuration has %d faults: want all of them at once", len(found))
	}
}

// TestDigestsCoverEveryField changes one field after the other: a field that
// changes no digest would be one that operators do not agree on.
func TestDigestsCoverEveryField(t *testing.T) {
	group := func() any { return testGroup(t, 3) }
	policy := func() any { return DefaultPolicy("example.org") }
	digest := func(v any) [32]byte {
		if g, ok := v.(*Group); ok {
			return g.Digest()
		}
		return v.(*Policy).Digest()
	}
	for _, make := range []func() any{group, policy} {
		v := make()
		eachLeaf(reflect.ValueOf(v).Elem(), "", func(path string, leaf reflect.Value) {
			if path == "Version" { // of the format, which the digest's domain names
				return
			}
			before := digest(v)
			switch leaf.Kind() {
			case reflect.String:
				leaf.SetString(leaf.String() + "x")
			case reflect.Bool:
				leaf.SetBool(!leaf.Bool())
			case reflect.Int:
				leaf.SetInt(leaf.Int() + 1)
			case reflect.Int64:
				leaf.SetInt(leaf.Int() + int64(time.Second))
			case reflect.Uint16:
				leaf.SetUint(leaf.Uint() + 1)
			default:
				t.Fatalf("%s: no change known for %s", path, leaf.Kind())
			}
			local := strings.HasPrefix(path, "Source") || strings.HasPrefix(path, "Publish")
			if changed := digest(v) != before; changed == local {
				t.Errorf("changing %s of %T changes the digest: %v", path, v, changed)
			}
		})
	}
	g := testGroup(t, 3)
	before := g.Digest()
	if g.SignerSets = [][]string{{"a", "b"}}; g.Digest() == before {
		t.Error("signer sets do not change the digest")
	}
}

func eachLeaf(v reflect.Value, path string, visit func(string, reflect.Value)) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			eachLeaf(v.Field(i), strings.TrimPrefix(path+"."+v.Type().Field(i).Name, "."), visit)
		}
	case reflect.Slice:
		for i := range v.Len() {
			eachLeaf(v.Index(i), path, visit)
		}
	default:
		visit(path, v)
	}
}

// An option that came later changes no digest where it is not set: operators of
// both versions sign together.
func TestPolicyDigestIsOfTheFirstRelease(t *testing.T) {
	digest := DefaultPolicy("example.org").Digest()
	if got, want := hex.EncodeToString(digest[:]), "1728986d3cda1fd4f2c4452859400d86264390c7817b9b529e07b087579736d5"; got != want {
		t.Errorf("the digest of the default policy is %s, expected %s", got, want)
	}
}

func TestDigestDoesNotDependOnLayout(t *testing.T) {
	a, err := ParsePolicy("p", []byte("version: 1\nzone: example.org.\nrrsig-lifetime: 30d\ndenial:\n  nsec3: true\n  nsec3-salt: \"-\"\n"))
	if err != nil {
		t.Fatal(err)
	}
	b, err := ParsePolicy("p", []byte("# other\n{denial: {nsec3-salt: , nsec3: on}, zone: EXAMPLE.org, rrsig-lifetime: 720h, version: 1}\n"))
	if err != nil {
		t.Fatal(err)
	}
	if a.Digest() != b.Digest() {
		t.Error("two layouts of one policy differ")
	}
}

func TestFingerprint(t *testing.T) {
	got := Fingerprint([32]byte{0x01, 0xab, 0xff, 19: 0x7f, 20: 0xee})
	if want := "01AB FF00 0000 0000 0000 0000 0000 0000 0000 007F"; got != want {
		t.Errorf("got %s", got)
	}
}

func TestDuration(t *testing.T) {
	for _, c := range []struct {
		text  string
		value time.Duration
		print string
	}{
		{"0", 0, "0"}, {"45s", 45 * time.Second, "45s"}, {"3600", time.Hour, "1h"}, {"90m", 90 * time.Minute, "90m"},
		{"2w", 14 * 24 * time.Hour, "14d"}, {"30d", 30 * 24 * time.Hour, "30d"}, {"010s", 10 * time.Second, "10s"},
	} {
		d, err := ParseDuration(c.text)
		if err != nil || time.Duration(d) != c.value || d.String() != c.print {
			t.Errorf("%s: got %v (%s), %v", c.text, time.Duration(d), d, err)
		}
	}
	for _, bad := range []string{"", "s", "-1s", "+1", "1.5h", "1h30m", "1 h", "0x10", "1_0", "99999999w", "4294967295", "1D"} {
		if d, err := ParseDuration(bad); err == nil {
			t.Errorf("%q is read as %s", bad, d)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		d := Duration(time.Duration(rapid.Int64Range(0, maxDuration).Draw(t, "seconds")) * time.Second)
		if again, err := ParseDuration(d.String()); err != nil || again != d {
			t.Fatalf("%s becomes %s, %v", d, again, err)
		}
	})
}

// An engine that there is none of serves no group, whatever its size.
func TestCheckUnknownEngine(t *testing.T) {
	err := testGroup(t, 3).CheckEngine("rot13")
	if err == nil || !strings.Contains(err.Error(), `engine "rot13" is unknown; for 3 operators with threshold 1 there are mal-shamir`) {
		t.Errorf("got %v", err)
	}
}
