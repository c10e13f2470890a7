package node

import (
	"encoding/json"
	"math"
	"os/exec"
	"strings"
	"testing"
	"time"

	"zonesigner/zonesignerd/config"
)

// What a peer asks for may be shown as a command to type, and stands in
// status: it is what it claims to be, or it is not kept.
func TestHostileRequests(t *testing.T) {
	good := ask{Zone: "example.", Roles: []string{roleCSK}, Engine: config.MalShamir, Have: []string{"00aa"}}
	for name, change := range map[string]func(a *ask){
		"no zone":           func(a *ask) { a.Zone = "" },
		"not a name":        func(a *ask) { a.Zone = "a..b." },
		"not canonical":     func(a *ask) { a.Zone = "EXAMPLE." },
		"relative":          func(a *ask) { a.Zone = "example" },
		"shell in the zone": func(a *ask) { a.Zone = "x$(touch${IFS}/tmp/owned)\x1b[2J." },
		"unknown role":      func(a *ask) { a.Roles = []string{"csk;reboot"} },
		"ids":               func(a *ask) { a.Have = []string{"`reboot`"} },
		"too long":          func(a *ask) { a.Have = []string{strings.Repeat("a", 5000)} },
	} {
		a := good
		change(&a)
		a.Digest = a.digest()
		if a.check() == nil {
			t.Errorf("%s: kept", name)
		}
	}
	good.Digest = good.digest()
	must(t, good.check())
	for _, word := range []string{"example", "0/25.2.0.192.in-addr.arpa", `a\032b`, "x$(echo owned)", "it's", "", "--ksk `id`"} {
		out, err := exec.Command("sh", "-c", "printf %s "+shellWord(word)).Output()
		if err != nil || string(out) != word {
			t.Errorf("a shell reads %q as %q, %v", word, out, err)
		}
	}
}

// A peer's clock is its own: what it says since when it asks is not taken.
func TestRequestOfAStrangeTime(t *testing.T) {
	o, _ := one(t)
	a, c := o.nodes["a"], o.nodes["c"]
	q := ask{Zone: "other.", Roles: []string{roleCSK}, Engine: config.MalShamir, Since: math.MaxInt64}
	q.Digest = q.digest()
	c.keys.sayAsks([]ask{q}, "a")
	o.eventually(10*time.Second, "a hears of it", func() bool {
		st, err := a.Status(t.Context())
		must(t, err)
		if _, err := json.Marshal(st); err != nil {
			t.Fatal(err)
		}
		return len(a.keys.requests("other.")) == 1
	})
}
