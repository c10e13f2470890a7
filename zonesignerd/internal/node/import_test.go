package node

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"zonesigner/zonesignerd/config"
	"zonesigner/zonesignerd/internal/agree"
	"zonesigner/zonesignerd/internal/api"
	"zonesigner/zonesignerd/internal/keyfile"
	"zonesigner/zonesignerd/internal/sharefile"
)

// owned is a key as its owner has it, made by BIND, and its DNSKEY.
func owned(t *testing.T, zone, algorithm string, flags ...string) (*keyfile.Key, *dns.DNSKEY) {
	t.Helper()
	dir := t.TempDir()
	out, err := exec.CommandContext(t.Context(), "dnssec-keygen", append(append([]string{"-q", "-a", algorithm, "-K", dir}, flags...), zone)...).Output()
	must(t, err)
	base := filepath.Join(dir, strings.TrimSpace(string(out)))
	text, err := os.ReadFile(base + ".private")
	must(t, err)
	key, err := keyfile.Parse(text)
	must(t, err)
	record, err := os.Open(base + ".key")
	must(t, err)
	defer record.Close()
	rr, err := dns.ReadRR(record, "")
	must(t, err)
	return key, rr.(*dns.DNSKEY)
}

// deal deals a key to the group's operators: each one's file.
func (o *operators) deal(zone, role, engine string, key *keyfile.Key) map[string][]byte {
	o.t.Helper()
	list, _, err := Deal(o.group, zone, role, engine, key)
	must(o.t, err)
	files := map[string][]byte{}
	for _, f := range list {
		files[f.Operator] = f.Content
	}
	return files
}

func (o *operators) bring(name string, files ...[]byte) (*api.Request, error) {
	var i api.ImportKeys
	for _, f := range files {
		i.Files = append(i.Files, api.ShareFile{File: "the file", Content: f})
	}
	return o.nodes[name].ImportKeys(o.t.Context(), i)
}

// kept is how many files of keys an operator has, and how many requests.
func (o *operators) kept(name string) (files, requests int) {
	o.t.Helper()
	for bucket, n := range map[string]*int{bucketDealt: &files, bucketAsks: &requests} {
		list, err := o.nodes[name].store.List(bucket, "")
		must(o.t, err)
		*n = len(list)
	}
	return files, requests
}

// keysOf is what identifies the DNSKEYs among records, sorted.
func keysOf(records []dns.RR) (keys []string) {
	for _, rr := range records {
		if k, ok := rr.(*dns.DNSKEY); ok {
			keys = append(keys, fmt.Sprint(k.Flags, k.Algorithm, k.PublicKey))
		}
	}
	slices.Sort(keys)
	return keys
}

// A zone's owner brings in its KSK and ZSK. The zone is signed with the same
// DNSKEYs as before, and others find it right.
func TestKeysOfAnOwner(t *testing.T) {
	t.Parallel()
	o := newOperators(t, 3, 1)
	o.write("example.", 1, "www A 192.0.2.10")
	o.startAll()
	for _, name := range o.names {
		_, err := o.nodes[name].AddZone(t.Context(), api.AddZone{Policy: o.policy(name, "example."), File: "policy"})
		must(t, err)
	}
	ksk, kskRecord := owned(t, "example", "ECDSAP256SHA256", "-f", "KSK")
	zsk, zskRecord := owned(t, "example", "ECDSAP256SHA256")
	ksks, zsks := o.deal("example.", roleKSK, config.MalShamir, ksk), o.deal("example.", roleZSK, config.MalShamir, zsk)
	first, err := o.bring("a", ksks["a"], zsks["a"])
	must(t, err)
	if first.Kind != api.KindKeysImport || first.State != api.RequestWaiting || !slices.Equal(first.WaitsFor, []string{"b", "c"}) {
		t.Errorf("the first to import is told %+v", first)
	}
	o.eventually(10*time.Second, "b is told which files to import", func() bool {
		next := o.status("b", "example.").Next
		return next.Kind == api.ActorSelf && strings.Contains(next.WaitsFor, fmt.Sprintf("zonesignerd keys import example+013+%05d.OPERATOR.share", kskRecord.KeyTag()))
	})
	// In another order, and before a restart.
	second, err := o.bring("b", zsks["b"], ksks["b"])
	must(t, err)
	if second.Digest != first.Digest {
		t.Errorf("the same files are requests %s and %s", first.Digest, second.Digest)
	}
	o.stop("b")
	o.start("b")
	_, err = o.bring("c", ksks["c"], zsks["c"])
	must(t, err)
	o.level("example.", 0)

	if served, want := keysOf(o.served("a", "example.")), keysOf([]dns.RR{kskRecord, zskRecord}); !slices.Equal(served, want) {
		t.Errorf("the zone has keys %v, its owner has %v", served, want)
	}
	if out, err := exec.CommandContext(t.Context(), "dnssec-verify", "-q", "-o", "example.", o.path("a", "example.signed")).CombinedOutput(); err != nil {
		t.Errorf("dnssec-verify: %v\n%s", err, out)
	}
	for _, name := range o.names {
		if files, _ := o.kept(name); files != 0 {
			t.Errorf("operator %s keeps %d files of keys that are in use", name, files)
		}
		r, err := o.bring(name, ksks[name], zsks[name])
		if err != nil || r.State != api.RequestDone || len(r.Keys) != 2 || r.Digest != first.Digest {
			t.Errorf("operator %s, asked for the same again: %+v, %v", name, r, err)
		}
		other := o.deal("example.", roleKSK, config.MalShamir, ksk)
		if _, err := o.bring(name, other[name]); err == nil || !strings.Contains(err.Error(), "is there already") {
			t.Errorf("operator %s imports a key that the zone has: %v", name, err)
		}
	}
	keys, err := o.nodes["a"].Keys(t.Context(), "example.")
	must(t, err)
	for _, k := range keys {
		if !slices.Equal(k.Confirmed, []string{"a", "b", "c"}) {
			t.Errorf("key %d is confirmed by %v", k.Tag, k.Confirmed)
		}
	}
}

// The same with an Ed25519 key.
func TestEd25519KeyOfAnOwner(t *testing.T) {
	t.Parallel()
	o := newOperators(t, 3, 1)
	o.write("example.", 1, "www A 192.0.2.10")
	o.startAll()
	key, record := owned(t, "example", "ED25519", "-f", "KSK")
	files := o.deal("example.", roleCSK, config.Frost, key)
	for _, name := range o.names {
		_, err := o.nodes[name].AddZone(t.Context(), api.AddZone{Policy: o.policy(name, "example.", "engine: frost", "single-type-signing: true"), File: "policy"})
		must(t, err)
		_, err = o.bring(name, files[name])
		must(t, err)
	}
	o.level("example.", 0)
	if !o.has("a", "example.", record.PublicKey) {
		t.Error("the zone is not signed with its owner's key")
	}
	if out, err := exec.CommandContext(t.Context(), "dnssec-verify", "-q", "-z", "-o", "example.", o.path("a", "example.signed")).CombinedOutput(); err != nil {
		t.Errorf("dnssec-verify: %v\n%s", err, out)
	}
}

// An operator comes with the file of another dealing of the key: nothing is
// made. With the right file its request is replaced, and the key comes into use.
func TestFileOfAnotherDealing(t *testing.T) {
	t.Parallel()
	o := newOperators(t, 3, 1)
	o.write("example.", 1, "www A 192.0.2.10")
	o.startAll()
	for _, name := range o.names {
		_, err := o.nodes[name].AddZone(t.Context(), api.AddZone{Policy: o.policy(name, "example."), File: "policy"})
		must(t, err)
	}
	key, record := owned(t, "example", "ECDSAP256SHA256", "-f", "KSK")
	files, other := o.deal("example.", roleCSK, config.MalRep3, key), o.deal("example.", roleCSK, config.MalRep3, key)
	for _, name := range []string{"a", "b"} {
		_, err := o.bring(name, files[name])
		must(t, err)
	}
	r, err := o.bring("c", other["c"])
	must(t, err)
	o.eventually(10*time.Second, "c hears that a and b ask for something else", func() bool {
		c := o.nodes["c"]
		c.keys.mu.Lock()
		defer c.keys.mu.Unlock()
		n := 0
		for _, a := range c.keys.asks {
			n += len(a.by)
		}
		return n == 3
	})
	if r, err = o.nodes["c"].Request(t.Context(), r.Digest); err != nil || !slices.Equal(r.WaitsFor, []string{"a", "b"}) {
		t.Errorf("c, with another file, is told %+v, %v", r, err)
	}
	for _, name := range o.names {
		if keys, err := o.nodes[name].Keys(t.Context(), "example."); err != nil || len(keys) != 0 {
			t.Errorf("operator %s has keys %v, %v", name, keys, err)
		}
	}
	_, err = o.bring("c", files["c"])
	must(t, err)
	if n, requests := o.kept("c"); n > 1 || requests != 1 {
		t.Errorf("c keeps %d files and %d requests", n, requests)
	}
	o.level("example.", 0)
	if !o.has("a", "example.", strings.ReplaceAll(record.PublicKey, " ", "")) {
		t.Error("the zone is not signed with its owner's key")
	}
}

// dealtBadly is an operator's file with what a dealer may do wrong.
func (o *operators) dealtBadly(name string, file []byte, change func(d *sharefile.Dealing, share []byte)) []byte {
	o.t.Helper()
	f, err := sharefile.Parse(file)
	must(o.t, err)
	identity, err := config.ReadIdentity(o.path(name, "identity.nk"))
	must(o.t, err)
	share, err := f.Open(identity)
	must(o.t, err)
	change(&f.Dealing, share)
	operator, _ := o.group.Operator(name)
	to, err := config.PublicKey(operator.NKey)
	must(o.t, err)
	b, err := sharefile.Seal(&f.Dealing, name, to, share, rand.Reader)
	must(o.t, err)
	return b
}

// b is dealt a share that does not fit. Were it not looked at when it is given
// to the daemon, the session finds it out before the key is anybody's; what
// happens without any check is ecdsa.TestInconsistentDealing. Given the right
// file the key comes into use.
func TestWrongShareInTheSession(t *testing.T) {
	t.Parallel()
	o := newOperators(t, 3, 1)
	o.options = func(_ string, opt *Options) { opt.unread = true }
	o.write("example.", 1, "www A 192.0.2.10")
	o.startAll()
	key, _ := owned(t, "example", "ECDSAP256SHA256", "-f", "KSK")
	files := o.deal("example.", roleCSK, config.MalShamir, key)
	wrong := o.dealtBadly("b", files["b"], func(_ *sharefile.Dealing, share []byte) { share[31] ^= 1 })
	var digest string
	for _, name := range o.names {
		_, err := o.nodes[name].AddZone(t.Context(), api.AddZone{Policy: o.policy(name, "example."), File: "policy"})
		must(t, err)
		file := files[name]
		if name == "b" {
			file = wrong
		}
		r, err := o.bring(name, file)
		must(t, err)
		digest = r.Digest
	}
	o.eventually(30*time.Second, "b says what is wrong", func() bool {
		r, err := o.nodes["b"].Request(t.Context(), digest)
		must(t, err)
		return strings.Contains(r.Progress, "not the one that its public share says")
	})
	for _, name := range o.names {
		o.nodes[name].keys.mu.Lock()
		held := len(o.nodes[name].keys.keys)
		o.nodes[name].keys.mu.Unlock()
		if held != 0 {
			t.Errorf("operator %s holds %d keys", name, held)
		}
	}
	again := o.deal("example.", roleCSK, config.MalShamir, key)
	for _, name := range o.names {
		// a and c wait for b in the session, as long as a silent member may take
		o.eventually(time.Minute, "the request is replaced", func() bool {
			_, err := o.bring(name, again[name])
			return err == nil
		})
	}
	o.level("example.", 0)
}

// What is wrong with a file is said, and nothing is kept.
func TestImportRefuses(t *testing.T) {
	t.Parallel()
	o := newOperators(t, 3, 1)
	o.write("example.", 1, "www A 192.0.2.10")
	a := o.start("a")
	_, err := a.AddZone(t.Context(), api.AddZone{Policy: o.policy("a", "example."), File: "policy"})
	must(t, err)
	key, _ := owned(t, "example", "ECDSAP256SHA256", "-f", "KSK")
	files := o.deal("example.", roleKSK, config.MalShamir, key)
	later := *o.group
	later.Epoch++
	epoch2, _, err := Deal(&later, "example.", roleKSK, config.MalShamir, key)
	must(t, err)
	damaged := bytes.Clone(files["a"])
	damaged[len(damaged)-1] ^= 1

	dealtBadly := func(change func(d *sharefile.Dealing, share []byte)) []byte {
		return o.dealtBadly("a", files["a"], change)
	}
	for _, c := range []struct {
		name  string
		files [][]byte
		code  api.Code
		want  string
	}{
		{"none", nil, api.CodeUsage, "0 files"},
		{"no share file", [][]byte{[]byte("hello")}, api.CodeUsage, "not the share of a dealt key"},
		{"cut", [][]byte{files["a"][:100]}, api.CodeUsage, "damaged"},
		{"damaged", [][]byte{damaged}, api.CodeUsage, "damaged"},
		{"another operator's", [][]byte{files["b"]}, api.CodeUsage, "it is operator b's, this is operator a"},
		{"another group's", [][]byte{epoch2[0].Content}, api.CodeUsage, "dealt for epoch 2 of group test"},
		{"another zone's", [][]byte{o.deal("example.net.", roleKSK, config.MalShamir, key)["a"]}, api.CodeNotFound, "no zone example.net."},
		{"twice", [][]byte{files["a"], files["a"]}, api.CodeUsage, "two files of a KSK"},
		{"of two engines", [][]byte{files["a"], o.deal("example.", roleZSK, config.Shamir, key)["a"]}, api.CodeUsage, "of engines"},
		{"share that does not fit", [][]byte{dealtBadly(func(_ *sharefile.Dealing, share []byte) { share[31] ^= 1 })}, api.CodeVerification, "not the one that its public share says"},
		{"shares on no line", [][]byte{dealtBadly(func(d *sharefile.Dealing, _ []byte) { copy(d.Shares[64:128], d.Shares[:64]) })}, api.CodeVerification, "on no polynomial"},
		{"shares of another key", [][]byte{dealtBadly(func(d *sharefile.Dealing, _ []byte) { copy(d.Public, d.Shares[:64]) })}, api.CodeVerification, "those of another key"},
		{"no point", [][]byte{dealtBadly(func(d *sharefile.Dealing, _ []byte) { d.Shares[0] ^= 1 })}, api.CodeVerification, "public shares"},
		{"no share", [][]byte{dealtBadly(func(d *sharefile.Dealing, _ []byte) { d.Shares = d.Shares[64:] })}, api.CodeVerification, "expected 3"},
		{"another role", [][]byte{dealtBadly(func(d *sharefile.Dealing, _ []byte) { d.Role = "king" })}, api.CodeUsage, "unknown role"},
		{"another engine", [][]byte{dealtBadly(func(d *sharefile.Dealing, _ []byte) { d.Engine = "steam" })}, api.CodeUsage, "unknown engine"},
		{"an engine with other shares", [][]byte{dealtBadly(func(d *sharefile.Dealing, _ []byte) { d.Engine = config.Rep3 })}, api.CodeVerification, "expected 6"},
	} {
		_, err := o.bring("a", c.files...)
		var e *api.Error
		if !errors.As(err, &e) || e.Code != c.code || !strings.Contains(e.Message, c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
	if files, requests := o.kept("a"); files != 0 || requests != 0 {
		t.Errorf("of refused files %d are kept, and %d requests", files, requests)
	}
	if _, _, err := Deal(o.group, "example.", roleKSK, config.Frost, key); err == nil || !strings.Contains(err.Error(), "algorithm 13") {
		t.Errorf("a P-256 key is dealt to frost: %v", err)
	}
	if _, _, err := Deal(o.group, "example.", roleKSK, "steam", key); err == nil {
		t.Error("a key is dealt to an engine that is not known")
	}
	edwards, _ := owned(t, "example", "ED25519")
	other, _ := owned(t, "example", "ED25519")
	f, err := sharefile.Parse(o.deal("example.", roleCSK, config.Frost, edwards)["a"])
	must(t, err)
	identity, err := config.ReadIdentity(o.path("a", "identity.nk"))
	must(t, err)
	share, err := f.Open(identity)
	must(t, err)
	must(t, a.engines[config.Frost].checkDealt(o.group.MPC(), "a", &f.Dealing, share))
	share[0] ^= 1
	if err := a.engines[config.Frost].checkDealt(o.group.MPC(), "a", &f.Dealing, share); err == nil || !strings.Contains(err.Error(), "not the one") {
		t.Errorf("a wrong share of frost: %v", err)
	}
	share[0] ^= 1
	f.Public = other.Public
	if err := a.engines[config.Frost].checkDealt(o.group.MPC(), "a", &f.Dealing, share); err == nil || !strings.Contains(err.Error(), "those of another key") {
		t.Errorf("shares of another key of frost: %v", err)
	}
	if _, _, err := Deal(o.group, "example.", roleKSK, config.MalShamir, edwards); err == nil || !strings.Contains(err.Error(), "algorithm 15") {
		t.Errorf("an Ed25519 key is dealt to an ECDSA engine: %v", err)
	}
}

// A key that was dealt for a group that is no longer in force is asked for in
// vain, and says so.
func TestImportForAGroupThatHasGone(t *testing.T) {
	t.Parallel()
	o := newOperators(t, 3, 1)
	a := o.start("a")
	request := &ask{Zone: "example.", Roles: []string{roleCSK}, Engine: config.MalShamir, Group: agree.Digest{1}, Dealt: []dealt{{Public: make([]byte, 64)}}}
	for request.Digest = request.digest(); leader(request.Digest, a.groups.mpc()) != "a"; request.Digest = request.digest() {
		request.Dealt[0].Dealing[0]++
	}
	place(t, a, request, "", "")
	a.keys.settle()
	a.keys.mu.Lock()
	led := len(a.keys.lead)
	a.keys.mu.Unlock()
	if led != 0 {
		t.Error("a proposes to import a key of another group")
	}
	if r := a.keys.requestOf(a.keys.asked(request.Digest)); r.State != api.RequestFailed || !strings.Contains(r.Error.Message, "deal it again") {
		t.Errorf("the request is %+v", r)
	}
	answer := proposed(t, a, "a", request)
	if answer.Verdict != agree.Refuse || answer.Code != "group" {
		t.Errorf("a answers %v to a proposal of it", answer)
	}
}

// A peer's request for what was dealt is refused where it cannot be one.
func TestAskForDealtKeys(t *testing.T) {
	good := &ask{Zone: "example.", Roles: []string{roleCSK}, Engine: config.MalShamir, Dealt: []dealt{{agree.Digest{1}, make([]byte, 64)}}}
	good.Digest = good.digest()
	must(t, good.check())
	generate := *good
	generate.Dealt = nil
	if generate.digest() == good.Digest || generate.words() == good.words() {
		t.Error("to import a key and to generate one are the same request")
	}
	for name, change := range map[string]func(a *ask){
		"two keys for one role": func(a *ask) { a.Dealt = append(slices.Clone(a.Dealt), a.Dealt[0]) },
		"a long key":            func(a *ask) { a.Dealt = []dealt{{agree.Digest{1}, make([]byte, 65)}} },
		"another digest":        func(a *ask) { a.Dealt = []dealt{{agree.Digest{2}, make([]byte, 64)}} },
	} {
		bad := *good
		if change(&bad); name != "another digest" {
			bad.Digest = bad.digest()
		}
		if bad.check() == nil {
			t.Errorf("%s: the request is taken", name)
		}
	}
}
