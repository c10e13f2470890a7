package node

import (
	"strings"
	"testing"
	"time"

	"zonesigner/zonesignerd/internal/api"
)

// signNow asks an operator, and follows the request to its end.
func (o *operators) signNow(name, zone string) (end *api.Request, progress []string) {
	o.t.Helper()
	r, err := o.nodes[name].SignNow(o.t.Context(), api.SignNow{Zone: zone})
	must(o.t, err)
	o.eventually(30*time.Second, "sign-now ends at "+name, func() bool {
		progress = append(progress, r.Progress)
		if r.Finished() {
			return true
		}
		r, err = o.nodes[name].Request(o.t.Context(), r.Digest)
		must(o.t, err)
		return false
	})
	return r, progress
}

// A sign-now tells of the session that it asked for, not of what earlier ones
// failed of.
func TestSignNowRepeatsNoOldError(t *testing.T) {
	t.Parallel()
	o := newOperators(t, 3, 1)
	o.write("example.", 1, "www A 192.0.2.10")
	o.startAll()
	o.add("example.")
	serial := o.level("example.", 0)
	quiet := func(progress []string, words string) {
		t.Helper()
		for _, p := range progress {
			if strings.Contains(p, words) {
				t.Errorf("sign-now says %q, which is over", p)
			}
		}
	}

	// A refusal whose reason is gone.
	o.write("example.", 2, "www A 192.0.2.20", "a", "b")
	o.write("example.", 2, "www A 192.0.2.66", "c")
	o.eventually(20*time.Second, "a shows the dispute", func() bool { return o.status("a", "example.").State == api.ZoneDisputed })
	o.write("example.", 2, "www A 192.0.2.20", "c")
	r, progress := o.signNow("a", "example.")
	if r.State != api.RequestDone || r.Serial <= serial {
		t.Fatalf("%+v", r)
	}
	quiet(progress, "refuses")

	// Two operators that were away, and are back.
	o.stop("b")
	o.stop("c")
	r, _ = o.signNow("a", "example.")
	if r.State != api.RequestFailed || r.Error.Code != api.CodeNoQuorum {
		t.Fatalf("%+v", r)
	}
	o.start("b")
	o.start("c")
	ready := func() bool { return o.nodes["a"].isReady("b") && o.nodes["a"].isReady("c") }
	o.eventually(20*time.Second, "both are back", ready)
	r, progress = o.signNow("a", "example.")
	if r.State != api.RequestDone {
		t.Fatalf("%+v after %q", r, progress)
	}
	quiet(progress, "no signer set is complete")
}
