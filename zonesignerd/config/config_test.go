package config

import (
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nkeys"
)

// testKey makes a valid public nkey.
func testKey(t testing.TB) string {
	t.Helper()
	pair, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	key, err := pair.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	return key
}

const goodDaemon = `version: 1
operator: a
keystore:
  key-file: keystore.key
nats:
  listen: 0.0.0.0:7473
`

const goodPolicy = "version: 1\nzone: Example.ORG\n"

func TestLoadersAcceptTheSmallestFiles(t *testing.T) {
	if _, err := ParseDaemon("d", []byte(goodDaemon)); err != nil {
		t.Fatal(err)
	}
	p, err := ParsePolicy("p", []byte(goodPolicy))
	if err != nil {
		t.Fatal(err)
	}
	if p.Zone != "example.org." {
		t.Errorf("zone is %q", p.Zone)
	}
	group := "version: 1\nname: g\nepoch: 1\nthreshold: 1\noperators:\n"
	for _, name := range strings.Fields("a b c") {
		group += "  - {name: " + name + ", nkey: " + testKey(t) + ", address: " + name + ".example:7473}\n"
	}
	if _, err := ParseGroup("g", []byte(group)); err != nil {
		t.Fatal(err)
	}
}

func TestFaultsSayWhere(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"misspelt key", goodDaemon + "sokcet: {}\n", `d:7:1: unknown key "sokcet"; did you mean "socket"?`},
		{"misspelt nested key", strings.Replace(goodDaemon, "key-file", "keyfile", 1), `d:4:3: keystore: unknown key "keyfile"; did you mean "key-file"?`},
		{"newer version", "version: 2\nnew-key: 1\n", "d:1:10: version: 2 is newer than this program knows: it reads version 1 of the daemon file; upgrade zonesignerd"},
		{"no version", "operator: a\n", "d: version: missing: want version: 1, the format of this daemon file"},
		{"version that is no number", "version: one\n", `d:1:10: version: "one": want a whole number`},
		{"empty", "# nothing\n", "d: the file is empty: want version: 1 and more"},
		{"second document", goodDaemon + "---\nversion: 1\n", "d:8:"},
		{"twice", goodDaemon + "operator: b\n", "d:7:1"},
		{"duration", goodDaemon + "poll-interval: 2 days\n", `d:7:16: poll-interval: "2 days" is not a duration`},
		{"list for a struct", goodDaemon + "knot: [1]\n", "d:7:7: knot: want keys and values"},
		{"anchor", goodDaemon + "state: &x /y\n", "d:7:8: state: want text"},
		{"alias", goodDaemon + "state: *x\n", "d:7:8: state: want text"},
		{"tag", goodDaemon + "state: !!str x\n", "d:7:8: state: want text"},
		{"block", goodDaemon + "state: |\n  x\n", "d:7:8: state: want text"},
		{"syntax", goodDaemon + "state: [\n", "d:7:"},
		{"range", goodDaemon + "pools: {chunk: 0}\n", "d:7:16: pools.chunk: 0: want 1 to 8192"},
		{"word", goodDaemon + "log: {level: warning}\n", `d:7:14: log.level: "warning" is not known: want debug, info, warn, error; did you mean "warn"?`},
		{"deep", strings.Repeat("'}'\n[", 2000), "d: the file has more than 1024 brackets"},
		{"deep on one line", goodDaemon + strings.Repeat("- ", 3000), "d:7:1: the line has 6000 bytes"},
		{"large", strings.Repeat("#\n", maxFile), "d: the file has 131072 bytes"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := ParseDaemon("d", []byte(c.text))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got:  %v\nwant: %s", err, c.want)
			}
		})
	}
}

// testGroup is a valid group of n operators a, b, c and so on.
func testGroup(t testing.TB, n int) *Group {
	t.Helper()
	g := &Group{Version: 1, Name: "test", Epoch: 1, Threshold: (n - 1) / 2, Engine: MalShamir}
	for i := range n {
		name := string(rune('a' + i))
		g.Operators = append(g.Operators, Operator{Name: name, NKey: testKey(t), Address: name + ".example:7473"})
	}
	return g
}

// TestLoadersTakeBoundedTime gives the loaders what is worst for the parser
// within their bounds: without them the first alone takes half a minute.
func TestLoadersTakeBoundedTime(t *testing.T) {
	for _, text := range []string{
		strings.Repeat("[", maxFile),
		strings.Repeat("[", maxBrackets),
		strings.Repeat("{a: ", maxBrackets-1),
		strings.Repeat(strings.Repeat("- ", maxLine/2-1)+"\n", 15),
		strings.Repeat(strings.Repeat("&a ", maxLine/3-1)+"\n", 15),
	} {
		start := time.Now()
		if _, err := ParsePolicy("p", []byte(text)); err == nil {
			t.Errorf("%.12q... is a policy", text)
		}
		if took := time.Since(start); took > 10*time.Second {
			t.Errorf("%.12q... took %s", text, took)
		}
	}
}
