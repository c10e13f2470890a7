package node

import (
	"os"
	"strings"
	"testing"
	"time"

	"zonesigner/zonesignerd/internal/api"
)

// A policy that some operators stage changes nothing; when all have staged it
// the zone is signed by it.
func TestPolicyComesIntoForceWhenAllStagedIt(t *testing.T) {
	o := newOperators(t, 3, 1)
	o.write("example.", 1, "www A 192.0.2.10")
	o.startAll()
	o.add("example.")
	serial := o.level("example.", 0)
	stage := func(name string) {
		_, err := o.nodes[name].AddZone(t.Context(), api.AddZone{Policy: o.policy(name, "example.", "denial:\n  nsec3: true"), File: "policy"})
		must(t, err)
	}
	stage("a")
	stage("b")
	o.write("example.", 2, "www A 192.0.2.11")
	serial = o.level("example.", serial)
	info, err := os.Stat(o.path("a", "example.signed"))
	must(t, err)
	if info.Mode().Perm()&0o077 == 0 {
		t.Errorf("no name server can read it: %v", info.Mode())
	}
	if text, _ := os.ReadFile(o.path("a", "example.signed")); strings.Contains(string(text), "NSEC3") {
		t.Fatal("a policy that operator c has not staged is in force")
	}
	o.stop("a") // what is staged outlives a restart
	o.start("a")
	stage("c")
	o.eventually(20*time.Second, "the new policy is in force", func() bool {
		for _, name := range o.names {
			z, err := o.nodes[name].Zone(t.Context(), "example.")
			must(t, err)
			if z.Denial == "NSEC" {
				return false
			}
		}
		return true
	})
	o.write("example.", 3, "www A 192.0.2.12")
	o.level("example.", serial)
	if text, _ := os.ReadFile(o.path("a", "example.signed")); !strings.Contains(string(text), "NSEC3") {
		t.Fatal("the new policy is not in force")
	}
}
