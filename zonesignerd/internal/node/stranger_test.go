package node

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"zonesigner/zonesignerd/config"
)

// unready are the peers that an operator does not see ready, with reasons.
func (o *operators) unready(name string) map[string]string {
	out := map[string]string{}
	for _, p := range o.nodes[name].peers() {
		if !p.Ready {
			out[p.Name] = p.Reason
		}
	}
	return out
}

// An operator that holds another group file is no member, however well its
// key is known; the others sign without it.
func TestGroupFileDiffers(t *testing.T) {
	o, serial := one(t)
	o.poolsFull()
	o.stop("c")

	// Edited without a new epoch: refused at the start.
	other := *o.group
	other.SignerSets = [][]string{{"a", "b", "c"}}
	text, err := config.FormatGroup(&other)
	must(t, err)
	must(t, os.WriteFile(o.path("c", "group.yaml"), text, 0o644))
	n, err := Start(context.Background(), o.config("c"), Options{Logger: o.logger("c")})
	if err == nil || !strings.Contains(err.Error(), "differs from the group in force") {
		t.Errorf("an edited group file: %v", err)
	}
	if n != nil {
		t.Error("a daemon was returned with the error")
	}

	// On a fresh state it starts, and finds nobody.
	must(t, os.RemoveAll(o.path("c", "state")))
	o.start("c")
	o.eventually(20*time.Second, "c and the others do not find together, and say why", func() bool {
		c, a := o.unready("c"), o.unready("a")
		return len(c) == 2 && c["a"] != "" && a["c"] != ""
	})
	o.write("example.", 2, "www A 192.0.2.11")
	o.level("example.", serial, "a", "b")
}

// Somebody at c's place with another key does not even start.
func TestStranger(t *testing.T) {
	t.Parallel()
	o := newOperators(t, 3, 1)
	seed, _, err := config.NewIdentity()
	must(t, err)
	must(t, os.WriteFile(o.path("c", "identity.nk"), seed, 0o600))
	if _, err := Start(context.Background(), o.config("c"), Options{Logger: o.logger("c")}); err == nil || !strings.Contains(err.Error(), `public key for operator "c"`) {
		t.Errorf("an identity that is not in the group: %v", err)
	}
}
