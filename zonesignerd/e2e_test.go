package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"zonesigner/zonesignerd/internal/api"
)

// trio is three operators as people run them: the real program, one process
// for each daemon and one for each command.
type trio struct {
	t      *testing.T
	binary string
	dir    string
	runs   map[string]*exec.Cmd
}

var trioNames = []string{"a", "b", "c"}

func newTrio(t *testing.T) *trio {
	t.Helper()
	// A socket's path has to be short, which t.TempDir's need not be.
	dir, err := os.MkdirTemp("", "zs")
	if err != nil {
		t.Fatal(err)
	}
	tr := &trio{t: t, dir: dir, binary: filepath.Join(dir, "zonesignerd"), runs: map[string]*exec.Cmd{}}
	t.Cleanup(func() {
		for _, name := range trioNames {
			tr.kill(name)
			if t.Failed() {
				log, _ := os.ReadFile(tr.path(name + ".log"))
				t.Logf("log of operator %s:\n%s", name, log)
			}
		}
		os.RemoveAll(dir)
	})
	if out, err := exec.Command("go", "build", "-o", tr.binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	return tr
}

func (tr *trio) path(parts ...string) string {
	return filepath.Join(append([]string{tr.dir}, parts...)...)
}

// exec runs one command and returns its exit status and what it printed.
func (tr *trio) exec(env []string, args ...string) (status int, stdout, stderr string) {
	tr.t.Helper()
	var out, errs bytes.Buffer
	cmd := exec.Command(tr.binary, args...)
	cmd.Dir, cmd.Env = tr.dir, append(os.Environ(), env...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		tr.t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

// at runs a command at an operator and wants an exit status.
func (tr *trio) at(name string, status int, args ...string) (stdout, stderr string) {
	tr.t.Helper()
	got, stdout, stderr := tr.exec(nil, append(args, "--config", tr.path(name, "zonesignerd.yaml"))...)
	if got != status {
		tr.t.Fatalf("operator %s: zonesignerd %s: exit status %d, want %d\n%s%s", name, strings.Join(args, " "), got, status, stdout, stderr)
	}
	return stdout, stderr
}

// says wants the output of a command that is done to match.
func (tr *trio) says(name, pattern string, args ...string) {
	tr.t.Helper()
	out, _ := tr.at(name, 0, args...)
	tr.match(out, pattern)
}

func (tr *trio) match(text, pattern string) {
	tr.t.Helper()
	if !regexp.MustCompile("(?m)" + pattern).MatchString(text) {
		tr.t.Fatalf("want %q in\n%s", pattern, text)
	}
}

// soon waits until the output of a command matches.
func (tr *trio) soon(name, pattern string, args ...string) {
	tr.t.Helper()
	re, last := regexp.MustCompile("(?m)"+pattern), ""
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); {
		_, out, errs := tr.exec(nil, append(args, "--config", tr.path(name, "zonesignerd.yaml"))...)
		if last = out + errs; re.MatchString(last) {
			return
		}
	}
	tr.t.Fatalf("operator %s: zonesignerd %s: not within 20 s: %q in\n%s", name, strings.Join(args, " "), pattern, last)
}

func (tr *trio) write(file, text string) {
	tr.t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		tr.t.Fatal(err)
	}
	// Whole or not at all: a daemon may be reading it.
	if err := os.WriteFile(file+".new", []byte(text), 0o644); err != nil {
		tr.t.Fatal(err)
	}
	if err := os.Rename(file+".new", file); err != nil {
		tr.t.Fatal(err)
	}
}

// edit replaces text in a file.
func (tr *trio) edit(file, old, new string) {
	tr.t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		tr.t.Fatal(err)
	}
	if !strings.Contains(string(text), old) {
		tr.t.Fatalf("%s has no %q", file, old)
	}
	tr.write(file, strings.Replace(string(text), old, new, 1))
}

// zone gives an operator the content of example.org.
func (tr *trio) zone(name string, serial int, www string) {
	tr.t.Helper()
	tr.write(tr.path(name, "example.org.zone"), fmt.Sprintf(`$ORIGIN example.org.
$TTL 300
@ SOA ns1 hostmaster %d 7200 3600 604800 300
@ NS ns1
ns1 A 192.0.2.1
www A %s
`, serial, www))
}

func (tr *trio) run(names ...string) {
	tr.t.Helper()
	for _, name := range names {
		log, err := os.OpenFile(tr.path(name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			tr.t.Fatal(err)
		}
		cmd := exec.Command(tr.binary, "run", "--config", tr.path(name, "zonesignerd.yaml"))
		cmd.Stderr = log
		if err := cmd.Start(); err != nil {
			tr.t.Fatal(err)
		}
		log.Close()
		tr.runs[name] = cmd
	}
	for _, name := range names {
		tr.soon(name, "^zonesignerd ", "status")
	}
}

// stop ends a daemon as systemd does and wants a clean end.
func (tr *trio) stop(name string) {
	tr.t.Helper()
	cmd := tr.runs[name]
	delete(tr.runs, name)
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		tr.t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		tr.t.Fatalf("operator %s: SIGTERM: %v", name, err)
	}
}

func (tr *trio) kill(name string) {
	if cmd := tr.runs[name]; cmd != nil {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// init makes the three operators with nothing but commands.
func (tr *trio) init() {
	tr.t.Helper()
	var lines []string
	for _, name := range trioNames {
		address := freePort(tr.t)
		status, line, stderr := tr.exec(nil, "init", "--name", name, "--address", address, "--listen", address,
			"--state", tr.path(name+".state"), "--run", tr.path(name+".run"), tr.path(name))
		if status != 0 {
			tr.t.Fatal(stderr)
		}
		lines = append(lines, line)
	}
	tr.write(tr.path("lines"), strings.Join(lines, ""))
	var fingerprints []string
	for _, name := range trioNames {
		status, _, stderr := tr.exec(nil, "group", "make", "--name", "example", "--out", tr.path(name, "group.yaml"), tr.path("lines"))
		if status != 0 {
			tr.t.Fatal(stderr)
		}
		fingerprints = append(fingerprints, stderr)
		tr.edit(tr.path(name, "zonesignerd.yaml"), "depth: 4096", "depth: 96")
		tr.edit(tr.path(name, "zonesignerd.yaml"), "chunk: 1024", "chunk: 48")
		tr.edit(tr.path(name, "zonesignerd.yaml"), "settle: 30s", "settle: 1s")
		tr.zone(name, 1, "192.0.2.10")
		tr.write(tr.path(name, "policy.yaml"), fmt.Sprintf("version: 1\nzone: example.org\nsource:\n  type: file\n  file: %s\npublish:\n  type: file\n  file: %s\n",
			tr.path(name, "example.org.zone"), tr.path(name, "example.org.signed")))
		tr.at(name, 0, "check-config", tr.path(name, "policy.yaml"))
	}
	if fingerprints[0] != fingerprints[1] || fingerprints[0] != fingerprints[2] {
		tr.t.Fatalf("the operators read different fingerprints: %q", fingerprints)
	}
}

// status is the daemon's, as programs read it.
func (tr *trio) status(name string) *api.Status {
	tr.t.Helper()
	out, _ := tr.at(name, 0, "status", "--json")
	s := new(api.Status)
	if err := json.Unmarshal([]byte(out), s); err != nil {
		tr.t.Fatal(err)
	}
	return s
}

// TestOperators is three operators' first day, from nothing to a dispute, an
// outage and a restart, by commands alone.
func TestOperators(t *testing.T) {
	tr := newTrio(t)
	tr.init()
	tr.run(trioNames...)
	for _, name := range trioNames {
		tr.soon(name, `^nobody has to act$`, "status")
	}
	tr.at("a", 0, "group", "check", tr.path("b", "group.yaml"))
	tr.match(tr.groupFingerprint(), `^([0-9A-F]{4} ){9}[0-9A-F]{4}$`)

	tr.t.Log("adding a zone: who has yet to add it is said")
	tr.says("a", `^example.org.: added here; waits for operators b and c to add the same policy$`, "zones", "add", tr.path("a", "policy.yaml"))
	tr.says("a", `^operator b +example.org. +waiting: operators b and c to add the zone$`, "status")
	tr.says("b", `^example.org.: added here; waits for operator c to`, "zones", "add", tr.path("b", "policy.yaml"))
	tr.says("a", `^c +has not added it`, "zones", "show", "example.org")
	tr.says("c", `^example.org.: added; all operators have the same policy$`, "zones", "add", tr.path("c", "policy.yaml"))

	tr.t.Log("generating keys: the first ones wait, and say for whom")
	_, stderr := tr.at("a", 3, "keys", "generate", "example.org", "--timeout", "1s")
	tr.match(stderr, `^zonesignerd: not done after 1s: waits for operators b and c to ask for the same$`)
	tr.match(stderr, `^hint: .*zonesignerd keys generate example.org --ksk --zsk --engine mal-shamir$`)
	tr.soon("b", "^this operator and operator c +example.org. +run `zonesignerd keys generate example.org --ksk --zsk --engine mal-shamir`$", "status")
	tr.says("b", `waits for operator c to ask for the same$`, "keys", "generate", "example.org", "--wait=false")
	tr.says("c", `^example.org. +KSK +\d+ +active +mal-shamir .* a,b,c `, "keys", "generate", "example.org", "--timeout", "30s")
	for _, name := range trioNames {
		tr.soon(name, `^example.org. +signed +1 +1 `, "zones", "list")
	}
	tr.says("a", `^example.org. +ZSK +\d+ +active`, "keys", "list", "example.org")
	tr.soon("a", `^the parent zone org. +example.org. +signed: the DS of key`, "status")
	for _, name := range trioNames {
		tr.at(name, 0, "keys", "ds", "example.org", "--published")
	}
	ds, _ := tr.at("a", 0, "keys", "ds", "example.org")
	tr.match(ds, `^example.org. IN DS \d+ 13 2 [0-9A-F]{64}\n$`)
	tr.says("b", regexp.QuoteMeta(strings.TrimSpace(ds)), "keys", "show", strings.Fields(ds)[3])
	tr.says("b", `^example.org. 3600 IN DNSKEY 257 3 13 `, "keys", "show", strings.Fields(ds)[3])
	for _, name := range trioNames {
		tr.soon(name, `^example.org. +\d+ +a\+b +c .* \(in \d+ (days|year|years)\) +-$`, "pools", "example.org")
		break // c is in no set without c
	}
	tr.says("a", `^c +yes .* until 2\d{3}-`, "status")
	if s := tr.status("a"); len(s.Knots) != 2 || len(s.Without) != 2 || s.Without[0].Until.IsZero() || s.Zones[0].State != api.ZoneSigned {
		t.Fatalf("status --json: %+v", s)
	}
	tr.same(t, trioNames...)
	tr.says("a", `^example.org.: serial 2 is signed and served$`, "sign-now", "example.org")

	tr.t.Log("a reload: what is good comes into force, what is not changes nothing")
	config := tr.path("a", "zonesignerd.yaml")
	tr.edit(config, "level: info", "level: debug")
	tr.edit(config, "poll-interval: 2s", "poll-interval: 1s")
	tr.hangup("a", `msg=reloaded changed=\[log.level\] "needs restart"=\[poll-interval\]`)
	tr.edit(config, "level: debug", "levle: debug")
	tr.hangup("a", `reload failed, what was in force stays.*unknown key .*levle.*did you mean .*level`)
	tr.edit(config, "levle: debug", "level: info")

	tr.t.Log("one operator is down: the others sign from their pool, and status says it")
	tr.stop("c")
	tr.soon("a", `^operator c +peer c +does not answer: `, "status")
	tr.zone("a", 2, "192.0.2.11")
	tr.zone("b", 2, "192.0.2.11")
	tr.says("a", `^example.org.: serial \d+ is signed and served$`, "sign-now", "example.org")
	tr.same(t, "a", "b")
	tr.stop("b")
	tr.soon("a", `^operator b +peer b +does not answer: `, "status")
	_, stderr = tr.at("a", 3, "sign-now", "example.org")
	tr.match(stderr, `^zonesignerd: no signer set is complete: no answer from operators b and c$`)

	tr.t.Log("both come back, and c catches up with a version that it has now too")
	tr.zone("c", 2, "192.0.2.11")
	tr.run("b", "c")
	tr.soon("c", `^example.org. +signed +2 `, "zones", "list")
	tr.soon("a", `^nobody has to act$`, "status")

	tr.t.Log("a dispute: nothing is signed, and both sides say what differs")
	tr.zone("a", 3, "192.0.2.12")
	tr.zone("b", 3, "192.0.2.12")
	tr.zone("c", 3, "192.0.2.66")
	tr.soon("a", `^operator c +example.org. +disputed: operator c refuses: www.example.org. A differs from ours at serial 3$`, "status")
	tr.says("a", `www.example.org. A: operator [ab] has 300 192.0.2.12; operator c has 300 192.0.2.66$`, "zones", "show", "example.org")
	_, stderr = tr.at("a", 4, "sign-now", "example.org", "--timeout", "40s")
	tr.match(stderr, `operator c refuses: www.example.org. A differs from ours at serial 3`)
	tr.zone("c", 3, "192.0.2.12")
	for _, name := range trioNames {
		tr.soon(name, `^example.org. +signed +3 `, "zones", "list")
	}
	tr.same(t, trioNames...)

	tr.t.Log("a file is approved by all, and comes back signed")
	for _, name := range trioNames {
		tr.edit(tr.path(name, "policy.yaml"), "type: file\n  file: "+tr.path(name, "example.org.zone"), "type: approved")
		tr.says(name, `^example.org.: added; all operators have the same policy$`, "zones", "add", tr.path(name, "policy.yaml"))
		tr.says(name, `^example.org.: this content was signed before, as serial \d+$`, "zones", "approve", tr.path(name, "example.org.zone"))
		tr.zone(name, 4, "192.0.2.13")
	}
	tr.soon("a", `^nobody has to act$`, "status")
	_, stderr = tr.at("a", 3, "zones", "approve", tr.path("a", "example.org.zone"), "--timeout", "8s")
	tr.match(stderr, `^zonesignerd: not done after 8s: waits for operators? [bc].* to have the same content: www.example.org. A differs from ours at serial 4`)
	tr.soon("b", "^this operator +example.org. +signed: operator a has serial 4, which is not approved here: .*`zonesignerd zones approve FILE`", "status")
	tr.at("b", 0, "zones", "approve", tr.path("b", "example.org.zone"), "--wait=false")
	signed := tr.path("by-the-group")
	tr.says("c", `^example.org.: signed as serial \d+$`, "zones", "approve", tr.path("c", "example.org.zone"), "--output", signed)
	for _, name := range trioNames {
		tr.soon(name, `^approved +serial 4, content [0-9a-f]{16}, from .*: signed$`, "zones", "show", "example.org")
	}
	tr.same(t, trioNames...)
	if text, err := os.ReadFile(signed); err != nil || string(text) != tr.served("a") {
		t.Fatalf("the signed zone that c was given is not what a serves: %v\n%s", err, text)
	}

	tr.t.Log("a file is signed by the group: first the manifest, which nobody is asked for, then the zone")
	for _, name := range trioNames {
		tr.zone(name, 5, "192.0.2.14")
	}
	file := tr.path("a", "example.org.zone")
	draft, _ := tr.at("a", 0, "sign", "--group", "--dry-run", file)
	for _, line := range []string{`^zonesigner manifest 1$`, `^zone example.org.$`, `^source-serial 5$`, `^item www.example.org. A \d+ `} {
		tr.match(draft, line)
	}
	tr.says("a", `^approved +serial 4, `, "zones", "show", "example.org")
	at := time.Now().UTC().Format(time.RFC3339)
	var drafts []string
	for _, name := range trioNames {
		out, _ := tr.at(name, 0, "manifest", "--group", "example.org", "--at", at, "--raw")
		drafts = append(drafts, out)
	}
	if tr.match(drafts[0], `^source-serial 4$`); drafts[1] != drafts[0] || drafts[2] != drafts[0] {
		t.Fatalf("operators would propose different manifests for one time: %q", drafts)
	}
	tr.says("b", `^serial of the unsigned zone +4$`, "manifest", "--group", "example.org")
	_, stderr = tr.at("a", 3, "sign", "--group", file, "--timeout", "3s")
	tr.match(stderr, `^hint: what was asked stands; the others have to run: zonesignerd zones approve FILE --zone example.org$`)
	if _, err := os.Stat(file + ".signed"); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("a zone that nobody signed was written: %v", err)
	}
	tr.at("b", 0, "zones", "approve", tr.path("b", "example.org.zone"), "--wait=false")
	tr.at("c", 0, "zones", "approve", tr.path("c", "example.org.zone"), "--wait=false")
	tr.says("a", `^example.org.: signed as serial \d+$`, "sign", "--group", file)
	tr.same(t, trioNames...)
	if text, err := os.ReadFile(file + ".signed"); err != nil || string(text) != tr.served("b") {
		t.Fatalf("the zone that the group signed is not what b serves: %v\n%s", err, text)
	}
	if status, out, stderr := tr.exec(nil, "verify", file+".signed"); status != 0 {
		t.Fatalf("verify: %s%s", out, stderr)
	}

	tr.t.Log("the group's next epoch waits for all")
	for _, name := range trioNames {
		if status, _, stderr := tr.exec(nil, "group", "make", "--name", "example", "--epoch", "2", "--engine", "shamir", "--out", tr.path(name, "group-2.yaml"), tr.path("lines")); status != 0 {
			t.Fatal(stderr)
		}
	}
	_, stderr = tr.at("a", 3, "group", "stage", tr.path("a", "group-2.yaml"), "--timeout", "1s")
	tr.match(stderr, `waits for operators b and c to ask for the same`)
	tr.soon("c", "^this operator and operator b +epoch 2 +run `zonesignerd group stage FILE`$", "status")
	tr.at("b", 0, "group", "stage", tr.path("b", "group-2.yaml"), "--wait=false")
	tr.says("c", `^group example, epoch 2, is in force$`, "group", "stage", tr.path("c", "group-2.yaml"))
	tr.soon("a", `^operator a of group example, epoch 2: 3 operators, threshold 1, engine shamir$`, "status")
	tr.soon("a", `^nobody has to act$`, "status")

	tr.t.Log("zones remove")
	tr.says("b", `^example.org.: removed$`, "zones", "remove", "example.org")
	tr.soon("a", `^operator b +example.org. +waiting: operator b to add the zone$`, "status")
	tr.at("b", 1, "zones", "show", "example.org")
	for _, name := range trioNames {
		tr.stop(name)
	}
}

func (tr *trio) groupFingerprint() string {
	return tr.status("a").Group.Fingerprint
}

// hangup sends SIGHUP and waits for a line of the log.
func (tr *trio) hangup(name, pattern string) {
	tr.t.Helper()
	if err := tr.runs[name].Process.Signal(syscall.SIGHUP); err != nil {
		tr.t.Fatal(err)
	}
	re, text := regexp.MustCompile(pattern), []byte(nil)
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); {
		if text, _ = os.ReadFile(tr.path(name + ".log")); re.Match(text) {
			return
		}
	}
	tr.t.Fatalf("the log has no %q:\n%s", pattern, text)
}

// served is the signed zone that an operator publishes.
func (tr *trio) served(name string) string {
	tr.t.Helper()
	text, err := os.ReadFile(tr.path(name, "example.org.signed"))
	if err != nil {
		tr.t.Fatal(err)
	}
	return string(text)
}

// same wants the operators to serve one signed zone, byte for byte.
func (tr *trio) same(t *testing.T, names ...string) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; {
		equal := true
		for _, name := range names {
			equal = equal && tr.served(name) == tr.served(names[0])
		}
		if equal {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("operators %v serve different zones", names)
		}
	}
}
