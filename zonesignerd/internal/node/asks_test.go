package node

import (
	"encoding/json"
	"math"
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
