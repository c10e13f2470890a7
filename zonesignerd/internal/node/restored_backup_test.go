package node

import (
	"bytes"
	"os"
	"strings"
	"testing"
	"time"

	"zonesigner/keystore"
	"zonesigner/zonesignerd/internal/api"
)

// lacks is what an operator's status says that its restored keystore lacks,
// in one text; ok is false when it says nothing of a restored one.
func (o *operators) lacks(name string) (text string, ok bool) {
	o.t.Helper()
	st, err := o.nodes[name].Status(o.t.Context())
	must(o.t, err)
	if st.Restored == nil {
		return "", false
	}
	return st.Restored.From + ": " + strings.Join(st.Restored.Lacks, "; "), true
}

// A restored backup brings back old policies, zones and the old group: status
// says what the others have that is not here, and what to do, until both are
// level, restarts or not.
func TestRestoredBackupIsBehind(t *testing.T) {
	t.Parallel()
	o := newOperators(t, 3, 1)
	o.write("example.", 1, "www A 192.0.2.10")
	o.write("gone.", 1, "www A 192.0.2.10")
	o.startAll()
	o.add("example.")
	serial := o.level("example.", 0)
	give := func(zone string, extra []string, names ...string) {
		t.Helper()
		for _, name := range names {
			_, err := o.nodes[name].AddZone(t.Context(), api.AddZone{Policy: o.policy(name, zone, extra...), File: "policy"})
			must(t, err)
		}
	}
	give("gone.", nil, o.names...)
	backup, err := o.nodes["a"].Backup(t.Context())
	must(t, err)

	// What happens after the backup: another policy, a zone that goes, one that
	// comes, the next epoch of the group, another version.
	later := []string{"rrsig-lifetime: 20d"}
	give("example.", later, o.names...)
	serial = o.level("example.", serial)
	o.write("later.", 1, "www A 192.0.2.10")
	give("later.", nil, o.names...)
	for _, name := range o.names {
		_, err := o.nodes[name].RemoveZone(t.Context(), api.RemoveZone{Zone: "gone."})
		must(t, err)
	}
	next := o.nextGroup("a+b+c", "a+b")
	for _, name := range o.names {
		o.stage(name, next)
	}
	o.inEpoch(2)
	o.write("example.", 2, "www A 192.0.2.20")
	serial = o.level("example.", serial)

	// The machine is lost; its group file is as it was.
	o.stop("a")
	must(t, os.RemoveAll(o.path("a", "state")))
	must(t, os.RemoveAll(o.path("a", "run")))
	dir, opt := Keystore(o.config("a"))
	must(t, os.MkdirAll(o.path("a", "state"), 0o700))
	s, err := keystore.Restore(dir, bytes.NewReader(backup.File), opt)
	must(t, err)
	must(t, NoteRestored(s, "a backup", time.Now()))
	must(t, s.Close())

	o.start("a")
	says := func(words string) {
		t.Helper()
		o.eventually(30*time.Second, "a's status says "+words, func() bool {
			text, _ := o.lacks("a")
			return strings.HasPrefix(text, "a backup: ") && strings.Contains(text, words)
		})
	}
	says("operator b is not heard: is the group file the present one?")
	o.stage("a", next)
	o.inEpoch(2)
	says("zone example. has another policy at operators b and c: `zones add` the present one")
	says("zone gone. is not at operators b and c: `zones remove` it here, if it was removed")
	says("zone later. of operators b and c is not here: `zones add` its policy")
	o.stop("a")
	o.start("a")
	says("zone later. of operators b and c is not here: `zones add` its policy")

	give("example.", later, "a")
	give("later.", nil, "a")
	_, err = o.nodes["a"].RemoveZone(t.Context(), api.RemoveZone{Zone: "gone."})
	must(t, err)
	o.eventually(30*time.Second, "a is level", func() bool { _, restored := o.lacks("a"); return !restored })
	o.level("example.", serial-1)
	o.stop("a")
	o.start("a")
	if text, restored := o.lacks("a"); restored {
		t.Errorf("a, level and started again, says %q", text)
	}
	if _, restored := o.lacks("b"); restored {
		t.Error("b was not restored, and says so")
	}
}
