package node

import (
	"context"
	"errors"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"zonesigner/mpc"
	"zonesigner/zonesignerd/internal/api"
)

// gate holds an operator up in the middle of a session, when it is closed.
type gate struct {
	mu     sync.Mutex
	closed chan struct{} // nil: open
	inside chan struct{} // gets a value when somebody is held up
}

func (g *gate) pass() {
	g.mu.Lock()
	closed := g.closed
	g.mu.Unlock()
	if closed != nil {
		select {
		case g.inside <- struct{}{}:
		default:
		}
		<-closed
	}
}

func (g *gate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed, g.inside = make(chan struct{}), make(chan struct{}, 1)
}

func (g *gate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed != nil {
		close(g.closed)
		g.closed = nil
	}
}

// publishTo is operator's policy with another file for the signed zone.
func (o *operators) publishTo(name, file string, extra ...string) api.AddZone {
	text := strings.Replace(o.policy(name, "example.", extra...), o.path(name, "example.signed"), o.path(name, file), 1)
	return api.AddZone{Policy: text, File: "policy"}
}

// A zone whose publisher is replaced is opened anew only when the session that
// it is in has ended; what takes too long is said, and changes nothing.
func TestAnotherPublisherWaitsForTheSession(t *testing.T) {
	t.Parallel()
	var g gate
	o := newOperators(t, 3, 1)
	o.options = func(name string, opt *Options) {
		if name == "b" {
			opt.spent = func(mpc.TupleRange, [32]byte) { g.pass() }
		}
	}
	o.write("example.", 1, "www A 192.0.2.10")
	o.startAll()
	o.add("example.")
	serial := o.level("example.", 0)
	b := o.nodes["b"]
	was := b.zone("example.")

	o.poolsFull() // binding is no session of the zone
	g.close()
	defer g.open()
	o.write("example.", 2, "www A 192.0.2.20")
	<-g.inside
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	_, err := b.AddZone(ctx, o.publishTo("b", "other.signed"))
	var e *api.Error
	if !errors.As(err, &e) || !strings.Contains(e.Message, "session that has not ended") || !strings.Contains(e.Hint, "nothing was changed") {
		t.Fatalf("while a session runs: %v", err)
	}
	if b.zone("example.") != was {
		t.Fatal("the zone was opened anew all the same")
	}

	done := make(chan error, 1)
	go func() {
		_, err := b.AddZone(t.Context(), o.publishTo("b", "other.signed"))
		done <- err
	}()
	select {
	case err := <-done:
		t.Fatalf("the zone was opened anew in the midst of a session: %v", err)
	case <-time.After(300 * time.Millisecond): // that it does not come has no event
	}
	g.open()
	must(t, <-done)
	if b.zone("example.") == was {
		t.Fatal("the old pipeline is still there")
	}
	// The session was not cut short: the version is signed by all, and b
	// publishes it in the new place.
	serial = o.level("example.", serial, "a", "c")
	same := func(name string) bool {
		want, err := os.ReadFile(o.path("a", "example.signed"))
		must(t, err)
		got, _ := os.ReadFile(o.path("b", name))
		return string(got) == string(want)
	}
	o.eventually(20*time.Second, "b publishes in the new place", func() bool { return same("other.signed") })
	o.write("example.", 3, "www A 192.0.2.30")
	serial = o.level("example.", serial, "a", "c")
	o.eventually(20*time.Second, "b follows in the new place", func() bool { return same("other.signed") })
	o.isSigned()

	// A staged policy with yet another place: it changes with the policy.
	for _, name := range o.names {
		file := "example.signed"
		if name == "b" {
			file = "third.signed"
		}
		_, err := o.nodes[name].AddZone(t.Context(), o.publishTo(name, file, "rrsig-lifetime: 20d"))
		must(t, err)
	}
	o.level("example.", serial, "a", "c")
	o.eventually(20*time.Second, "b publishes in the third place", func() bool { return same("third.signed") })
	o.isSigned()
}

// A policy whose source cannot be opened is refused when it is given, staged
// or not, and the zone goes on.
func TestPolicyWhoseSourceCannotBeOpened(t *testing.T) {
	t.Parallel()
	o := newOperators(t, 3, 1)
	o.write("example.", 1, "www A 192.0.2.10")
	o.startAll()
	o.add("example.")
	serial := o.level("example.", 0)
	for _, extra := range []string{"", "rrsig-lifetime: 20d"} {
		text := strings.Replace(o.policy("b", "example.", extra), "type: file\n  file: "+o.path("b", "example.zone"),
			"type: axfr\n  server: 127.0.0.1:5353\n  tsig: "+o.path("b", "missing"), 1)
		if _, err := o.nodes["b"].AddZone(t.Context(), api.AddZone{Policy: text, File: "policy"}); err == nil || !strings.Contains(err.Error(), "no such file") {
			t.Errorf("%q: %v", extra, err)
		}
	}
	o.stop("b")
	b := o.start("b") // which opens what is kept
	o.eventually(20*time.Second, "b is back", func() bool {
		return b.isReady("a") && b.isReady("c") && o.nodes["a"].isReady("b") && o.nodes["c"].isReady("b")
	})
	o.write("example.", 2, "www A 192.0.2.20")
	o.level("example.", serial)
}

// A zone that was removed with a policy staged has none when it is added
// again.
func TestRemovedZoneHasNothingStaged(t *testing.T) {
	t.Parallel()
	o := newOperators(t, 3, 1)
	n := o.start("a")
	o.write("example.", 1, "www A 192.0.2.10")
	add := func(extra ...string) {
		t.Helper()
		_, err := n.AddZone(t.Context(), api.AddZone{Policy: o.policy("a", "example.", extra...), File: "policy"})
		must(t, err)
	}
	add()
	add("rrsig-lifetime: 20d")
	if !n.zone("example.").Status().Staged {
		t.Fatal("the second policy is not staged")
	}
	_, err := n.RemoveZone(t.Context(), api.RemoveZone{Zone: "example."})
	must(t, err)
	add()
	if n.zone("example.").Status().Staged {
		t.Fatal("the policy that was staged before the zone was removed is still staged")
	}
}
