package node

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"zonesigner/zonesignerd/internal/api"
)

// zoneText is what people would have signed.
func zoneText(serial int, records string) string {
	return fmt.Sprintf("$ORIGIN example.\n$TTL 300\n@ SOA ns1 hostmaster %d 7200 3600 1209600 300\n@ NS ns1\nns1 A 192.0.2.1\n%s\n", serial, records)
}

func (o *operators) approve(name, text string) (*api.Request, error) {
	return o.nodes[name].ApproveZone(o.t.Context(), api.ApproveZone{Zone: "example.", File: "the file", Text: strings.NewReader(text)})
}

// takesApprovals is a policy of a source of type approved.
func (o *operators) takesApprovals(name string) string {
	return fmt.Sprintf("source:\n  type: approved\npublish:\n  type: file\n  file: %s\n", o.path(name, "example.signed"))
}

// Three operators approve files: a content is signed when each has approved
// it, once; all of it survives restarts.
func TestApprove(t *testing.T) {
	t.Parallel()
	o := newOperators(t, 3, 1)
	o.patience = time.Minute
	o.startAll()
	o.addPolicy(o.takesApprovals)
	o.waits("a", "nothing is approved here")
	follow := func(name string, r *api.Request, want func(*api.Request) bool) *api.Request {
		t.Helper()
		o.eventually(30*time.Second, fmt.Sprintf("the request of %s comes to something", name), func() bool {
			var err error
			r, err = o.nodes[name].Request(t.Context(), r.Digest)
			must(t, err)
			return want(r)
		})
		return r
	}
	done := func(r *api.Request) bool { return r.State == api.RequestDone }

	// The first version: two have approved it and the third has nothing
	// against it, and serves it when it has looked at it.
	first := zoneText(1, "www A 192.0.2.10")
	of := map[string]*api.Request{}
	var err error
	of["a"], err = o.approve("a", first)
	must(t, err)
	follow("a", of["a"], func(r *api.Request) bool { return slices.Equal(r.WaitsFor, []string{"b", "c"}) })
	if o.serves("a", "example.") != 0 {
		t.Fatal("a content that one operator approved is signed")
	}
	of["b"], err = o.approve("b", zoneText(77, "www A 192.0.2.10"))
	must(t, err)
	for _, name := range []string{"a", "b"} {
		if r := follow(name, of[name], done); r.Content != of["a"].Content || r.Unchanged {
			t.Errorf("operator %s: %+v", name, r)
		}
	}
	o.waits("c", "nothing is approved here")
	of["c"], err = o.approve("c", first)
	must(t, err)
	follow("c", of["c"], done)
	serial := o.level("example.", 0)
	o.isSigned()
	if r, err := o.approve("c", first); err != nil || !r.Unchanged || r.State != api.RequestDone {
		t.Errorf("c approves what is signed: %+v, %v", r, err)
	}

	// A change: whoever has not approved it refuses it, and is told.
	second := zoneText(2, "www A 192.0.2.11")
	of["a"], err = o.approve("a", second)
	must(t, err)
	r := follow("a", of["a"], func(r *api.Request) bool { return len(r.WaitsFor) > 0 })
	if !strings.Contains(r.Progress, "www.example. A differs from ours") || !strings.Contains(r.Command, "zones approve FILE --zone example") {
		t.Errorf("a is told %q and to have run %q", r.Progress, r.Command)
	}
	st, err := o.nodes["a"].Status(t.Context())
	must(t, err)
	if len(st.Requests) != 1 || st.Requests[0].Digest != r.Digest {
		t.Errorf("status has requests %+v", st.Requests)
	}
	for _, name := range []string{"b", "c"} {
		if st := o.waits(name, "operator a has serial 2, which is not approved here"); st.Next.Kind != api.ActorSelf {
			t.Errorf("at %s, %+v is to act", name, st.Next)
		}
	}
	o.stop("b") // what was approved, and what was refused, outlives a restart
	o.stop("a")
	o.start("a")
	o.start("b")
	of["b"], err = o.approve("b", second)
	must(t, err)
	follow("b", of["b"], func(r *api.Request) bool { return slices.Equal(r.WaitsFor, []string{"c"}) })
	if got := o.serves("a", "example."); got != serial {
		t.Fatalf("serial %d is signed against the refusal of c", got)
	}
	of["c"], err = o.approve("c", second)
	must(t, err)
	for _, name := range o.names {
		r := follow(name, of[name], done)
		var text strings.Builder
		must(t, o.nodes[name].SignedZone(t.Context(), "example.", r.Serial, &text))
		if !strings.Contains(text.String(), "192.0.2.11") || !strings.Contains(text.String(), "RRSIG") {
			t.Errorf("operator %s gives the signed zone %.100q", name, text.String())
		}
		if err := o.nodes[name].SignedZone(t.Context(), "example.", r.Serial+1, &text); api.AsError(err).Code != api.CodeNotFound {
			t.Errorf("a serial that is not there: %v", err)
		}
	}
	serial = o.level("example.", serial)
	z, err := o.nodes["b"].Zone(t.Context(), "example.")
	must(t, err)
	if p := z.Approval; p == nil || p.State != api.ApprovalSigned || p.Serial != 2 || p.File != "the file" || p.Content != of["b"].Content {
		t.Errorf("b shows the approval %+v", p)
	}
	_, err = o.nodes["b"].SignNow(t.Context(), api.SignNow{Zone: "example."}) // a refresh needs no approval
	must(t, err)
	serial = o.level("example.", serial)

	// One that was approved and replaced is signed no more.
	of["a"], err = o.approve("a", zoneText(3, "www A 192.0.2.12"))
	must(t, err)
	_, err = o.approve("a", zoneText(4, "www A 192.0.2.13"))
	must(t, err)
	if r := follow("a", of["a"], (*api.Request).Finished); r.State != api.RequestFailed {
		t.Errorf("an approval that was replaced: %+v", r)
	}
	for _, name := range o.names {
		_, err := o.approve(name, zoneText(5, "www A 192.0.2.14"))
		must(t, err)
	}
	o.level("example.", serial)
	o.isSigned()
	if files, err := os.ReadDir(o.path("a", "state", "approved")); err != nil || len(files) != 1 {
		t.Errorf("%d files are kept of what a approved: %v", len(files), err)
	}
}

// What cannot be approved changes nothing.
func TestApproveRefuses(t *testing.T) {
	t.Parallel()
	o := newOperators(t, 3, 1)
	o.write("example.", 1, "www A 192.0.2.10")
	o.start("a")
	n := o.nodes["a"]
	wants := func(what, text, words string) {
		t.Helper()
		var e *api.Error
		if _, err := o.approve("a", text); !errors.As(err, &e) || !strings.Contains(e.Message, words) {
			t.Errorf("%s: %v", what, err)
		}
	}
	wants("no zone", zoneText(1, ""), "no zone example.")
	_, err := n.AddZone(t.Context(), api.AddZone{Policy: o.policy("a", "example."), File: "policy"})
	must(t, err)
	wants("a zone with a source", zoneText(1, ""), "takes its content from file")
	_, err = n.AddZone(t.Context(), api.AddZone{Policy: "version: 1\nzone: example.\n" + o.takesApprovals("a"), File: "policy"})
	must(t, err)
	secret := o.path("a", "keystore.key") // the daemon may read it, who asks may not
	for what, text := range map[string]string{
		"an include": zoneText(1, "$INCLUDE "+secret), "no zone file": "x", "no SOA": "www.example. 1 IN A 192.0.2.1\n",
		"another zone": strings.ReplaceAll(zoneText(1, ""), "example.", "other."),
	} {
		_, err := o.approve("a", text)
		if api.AsError(err).Code != api.CodeUsage || strings.Contains(err.Error(), testKey[:8]) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if files, err := os.ReadDir(n.approvedDir()); err != nil || len(files) != 0 {
		t.Errorf("%d files are left: %v", len(files), err)
	}
	_, err = o.approve("a", zoneText(1, ""))
	must(t, err)
	must(t, os.WriteFile(o.path("a", "state", "approved", "example.5.v1.zone"), nil, 0o600))
	o.stop("a")
	o.start("a") // a crash left a file
	if files, err := os.ReadDir(o.nodes["a"].approvedDir()); err != nil || len(files) != 1 {
		t.Errorf("%d files after a restart: %v", len(files), err)
	}
	n = o.nodes["a"]
	old := filepath.Join(n.approvedDir(), n.approved.of("example.").File)
	must(t, errors.Join(os.Remove(old), os.MkdirAll(filepath.Join(old, "kept"), 0o700))) // cannot be removed
	_, err = o.approve("a", zoneText(2, ""))
	must(t, err)
	if file := n.approved.of("example.").File; file == filepath.Base(old) {
		t.Error("the second approval is not stored")
	} else if _, err := os.Stat(filepath.Join(n.approvedDir(), file)); err != nil {
		t.Errorf("what is approved is lost, for the old file could not be removed: %v", err)
	}
	o.stop("a")
	n = o.start("a") // what is left does not keep it from starting
	if st, err := n.Zone(t.Context(), "example."); err != nil || st.Approval == nil || st.Approval.Serial != 2 {
		t.Errorf("after a restart: %+v, %v", st, err)
	}
	must(t, os.RemoveAll(old))
	_, err = n.RemoveZone(t.Context(), api.RemoveZone{Zone: "example."})
	must(t, err)
	if files, err := os.ReadDir(o.nodes["a"].approvedDir()); err != nil || len(files) != 0 {
		t.Errorf("%d files of a zone that was removed: %v", len(files), err)
	}
}

// Under content quorum t+1, a approved a content that the others did not want,
// and these signed another one. Later b, who is the adversary's, asks for the
// content that a once approved: it needs a alone. The approval is void.
func TestOldApprovalIsVoid(t *testing.T) {
	for _, hole := range []bool{false, true} {
		t.Run(fmt.Sprintf("hole=%t", hole), func(t *testing.T) {
			t.Parallel()
			o := newOperators(t, 3, 1)
			o.options = func(_ string, opt *Options) { opt.everApproved = hole }
			o.write("example.", 1, "www A 192.0.2.10")
			o.startAll()
			o.addPolicy(func(name string) string {
				if name == "a" {
					return "content-quorum: t+1\n" + o.takesApprovals(name)
				}
				return fmt.Sprintf("content-quorum: t+1\nsource:\n  type: file\n  file: %s\npublish:\n  type: file\n  file: %s\n",
					o.path(name, "example.zone"), o.path(name, "example.signed"))
			})
			_, err := o.approve("a", zoneText(1, "www A 192.0.2.10"))
			must(t, err)
			serial := o.level("example.", 0)
			bad, err := o.approve("a", zoneText(2, "www A 192.0.2.66"))
			must(t, err)
			o.eventually(30*time.Second, "the others refuse it", func() bool {
				r, err := o.nodes["a"].Request(t.Context(), bad.Digest)
				must(t, err)
				return len(r.WaitsFor) == 2
			})
			o.write("example.", 3, "www A 192.0.2.11", "b", "c")
			serial = o.level("example.", serial, "b", "c")
			o.eventually(30*time.Second, "a has the new version", func() bool {
				head := o.nodes["a"].zone("example.").Certified()
				return head != nil && head.Cert.Serial == serial
			})

			o.write("example.", 4, "www A 192.0.2.66", "b")
			if hole {
				o.eventually(60*time.Second, "the attack", func() bool { return o.has("b", "example.", "192.0.2.66") })
				return
			}
			if r, err := o.nodes["a"].Request(t.Context(), bad.Digest); err != nil || r.State != api.RequestFailed || !strings.Contains(r.Error.Message, "another content was signed") {
				t.Errorf("the request of the old approval: %+v, %v", r, err)
			}
			o.waits("a", "another content was signed")
			o.eventually(60*time.Second, "b asks a alone", func() bool {
				return strings.Contains(o.status("b", "example.").Next.WaitsFor, "operator a: content of serial 4 is older than what is signed here")
			})
			o.stop("a") // nor does a restart give it new life
			o.start("a")
			o.waits("a", "another content was signed")
			_, err = o.nodes["b"].SignNow(t.Context(), api.SignNow{Zone: "example."})
			must(t, err)
			time.Sleep(3 * time.Second)
			for _, name := range o.names {
				if o.has(name, "example.", "192.0.2.66") {
					t.Errorf("operator %s serves what nobody approves any more", name)
				}
			}
		})
	}
}
