package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"zonesigner/zonesignerd/config"
	"zonesigner/zonesignerd/internal/api"
)

// solo is one operator of a group whose others never answer; its daemon runs
// in this process.
type solo struct {
	t   *testing.T
	dir string
}

func newSolo(t *testing.T) *solo {
	t.Helper()
	dir, err := os.MkdirTemp("", "zs")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	s := &solo{t, dir}
	var lines []string
	for _, name := range trioNames {
		address := freePort(t)
		out, errs, status := s.command("init", "--name", name, "--address", address, "--listen", address,
			"--state", s.path(name+".state"), "--run", s.path(name+".run"), s.path(name))
		if status != 0 {
			t.Fatal(errs)
		}
		lines = append(lines, out)
	}
	s.write("lines", strings.Join(lines, ""), 0o644)
	if _, errs, status := s.command("group", "make", "--name", "example", "--out", s.path("a", "group.yaml"), s.path("lines")); status != 0 {
		t.Fatal(errs)
	}
	return s
}

func (s *solo) path(parts ...string) string {
	return filepath.Join(append([]string{s.dir}, parts...)...)
}

func (s *solo) config() string { return s.path("a", "zonesignerd.yaml") }

func (s *solo) write(file, text string, mode os.FileMode) {
	s.t.Helper()
	if err := os.WriteFile(s.path(file), []byte(text), mode); err != nil {
		s.t.Fatal(err)
	}
}

func (s *solo) edit(old, new string) {
	s.t.Helper()
	text, err := os.ReadFile(s.config())
	if err != nil {
		s.t.Fatal(err)
	}
	if !strings.Contains(string(text), old) {
		s.t.Fatalf("the configuration has no %q", old)
	}
	s.write("a/zonesignerd.yaml", strings.Replace(string(text), old, new, 1), 0o644)
}

// command runs a command in this process.
func (s *solo) command(args ...string) (stdout, stderr string, status int) {
	var out, errs lockedBuffer
	a := &app{in: strings.NewReader(""), out: &out, err: &errs, now: time.Now}
	ctx, cancel := context.WithTimeout(s.t.Context(), 20*time.Second) // of a daemon that should not run
	defer cancel()
	status = a.run(ctx, args)
	return out.String(), errs.String(), status
}

// at runs a command with operator a's configuration and wants an exit status.
func (s *solo) at(status int, args ...string) (stdout, stderr string) {
	s.t.Helper()
	stdout, stderr, got := s.command(append(args, "--config", s.config())...)
	if got != status {
		s.t.Fatalf("zonesignerd %s: exit status %d, want %d\n%s%s", strings.Join(args, " "), got, status, stdout, stderr)
	}
	return stdout, stderr
}

// run runs the daemon until end is called, which gives its exit status.
func (s *solo) run() (end func() int) {
	s.t.Helper()
	ctx, cancel := context.WithCancel(s.t.Context())
	var errs lockedBuffer
	done := make(chan int, 1)
	a := &app{in: strings.NewReader(""), out: io.Discard, err: &errs, now: time.Now}
	go func() { done <- a.run(ctx, []string{"run", "--config", s.config()}) }()
	end = func() int { cancel(); return <-done }
	for deadline := time.Now().Add(20 * time.Second); !strings.Contains(errs.String(), "msg=ready"); {
		select {
		case status := <-done:
			s.t.Fatalf("the daemon ended with %d:\n%s", status, errs.String())
		default:
		}
		if time.Now().After(deadline) {
			end()
			s.t.Fatalf("the daemon is not ready:\n%s", errs.String())
		}
	}
	return end
}

// fails wants the daemon not to start, with a message that holds all of want.
func (s *solo) fails(want ...string) {
	s.t.Helper()
	_, stderr, status := s.command("run", "--config", s.config())
	if status == 0 {
		s.t.Fatal("the daemon ran")
	}
	for _, w := range want {
		if !strings.Contains(stderr, w) {
			s.t.Errorf("want %q in\n%s", w, stderr)
		}
	}
}

// keystoreFile is where operator a's keystore is.
func (s *solo) keystoreFile() string { return s.path("a.state", "keystore", "keystore.v1.db") }

func read(t *testing.T, file string) []byte {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestDaemonSaysWhyItDoesNotStart(t *testing.T) {
	s := newSolo(t)
	if status := s.run()(); status != 0 {
		t.Fatalf("exit status %d", status)
	}
	before := read(t, s.keystoreFile())

	key := read(t, s.path("a", "keystore.key"))
	s.write("a/keystore.key", strings.Repeat("5a", 32)+"\n", 0o600)
	s.fails("keystore", "wrong sealing key", "keystore.key")
	if err := os.Chmod(s.path("a", "keystore.key"), 0o640); err != nil {
		t.Fatal(err)
	}
	s.fails("keystore.key has mode 0640, expected 0600")
	s.write("a/keystore.key", string(key), 0o600)
	if err := os.Chmod(s.path("a", "keystore.key"), 0o600); err != nil {
		t.Fatal(err)
	}

	if err := os.Chmod(s.path("a", "identity.seed"), 0o644); err != nil {
		t.Fatal(err)
	}
	s.fails("identity.seed has mode 0644, others may use it: want 0600")
	if err := os.Chmod(s.path("a", "identity.seed"), 0o600); err != nil {
		t.Fatal(err)
	}

	s.edit("operator: a", "operator: d")
	s.fails(`operator "d" is not in the group`)
	s.edit("operator: d", "operator: a")

	s.edit("poll-interval:", "pol-interval:")
	s.fails(`zonesignerd.yaml:`, `unknown key "pol-interval"; did you mean "poll-interval"?`)
	s.edit("pol-interval:", "poll-interval:")

	group := read(t, s.path("a", "group.yaml"))
	s.write("a/group.yaml", strings.Replace(string(group), "engine: mal-shamir", "engine: shamir", 1), 0o644)
	s.fails("differs from the group in force, which has the same epoch 1", "zonesignerd group stage")
	s.write("a/group.yaml", string(group), 0o644)

	damaged := bytes.Clone(before)
	clear(damaged[len(damaged)/2 : len(damaged)/2+8192])
	clear(damaged[:4096])
	clear(damaged[4096:8192])
	if err := os.WriteFile(s.keystoreFile(), damaged, 0o600); err != nil {
		t.Fatal(err)
	}
	s.fails("keystore.v1.db", "keystore is damaged")
	if !bytes.Equal(read(t, s.keystoreFile()), damaged) {
		t.Error("a damaged keystore was changed")
	}
	if err := os.WriteFile(s.keystoreFile(), before, 0o600); err != nil {
		t.Fatal(err)
	}

	// A disk that is not mounted is no fresh start.
	if err := os.Rename(s.keystoreFile(), s.path("away")); err != nil {
		t.Fatal(err)
	}
	s.fails("no keystore here", "was used before: is a disk not mounted?", "zonesignerd keystore restore")
	if err := os.Rename(s.path("away"), s.keystoreFile()); err != nil {
		t.Fatal(err)
	}

	end := s.run()
	defer end()
	text := string(read(t, s.config()))
	s.edit(s.path("a.run"), s.path("a.run2")) // the state is another daemon's
	s.fails("keystore is in use by another process: process ")
	s.write("a/zonesignerd.yaml", text, 0o644)
	s.edit(`state: "`+s.path("a.state"), `state: "`+s.path("a.state2")) // the socket is
	s.edit(`listen: "`+s.listen(), `listen: "`+freePort(t))
	s.fails("command socket: a daemon answers on", "already")
	s.write("a/zonesignerd.yaml", text, 0o644)
	s.at(0, "status") // and that daemon goes on
}

func (s *solo) listen() string {
	s.t.Helper()
	c, err := config.LoadDaemon(s.config())
	if err != nil {
		s.t.Fatal(err)
	}
	return c.NATS.Listen
}

func TestStateThatCannotBeWritten(t *testing.T) {
	s := newSolo(t)
	s.write("a.state", "a file, where a directory is wanted\n", 0o600)
	s.fails("state directory:", "a.state", "not a directory")
	if err := os.Remove(s.path("a.state")); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(s.path("a.run")); err != nil {
		t.Fatal(err)
	}
	s.write("a.run", "likewise\n", 0o600)
	s.fails("run directory:", "a.run", "not a directory")
}

// The sealing key comes from a key file, from systemd, or from a passphrase.
func TestKeystoreSources(t *testing.T) {
	s := newSolo(t)
	credentials := s.path("credentials")
	if err := os.MkdirAll(credentials, 0o700); err != nil {
		t.Fatal(err)
	}
	s.write("credentials/keystore.key", string(read(t, s.path("a", "keystore.key"))), 0o400)
	s.run()() // made with the key file
	s.edit("key-file:", "#")
	s.edit(`credential: ""`, "credential: keystore.key")
	t.Setenv("CREDENTIALS_DIRECTORY", "")
	s.fails("CREDENTIALS_DIRECTORY is not set; the service needs LoadCredential= or LoadCredentialEncrypted=")
	t.Setenv("CREDENTIALS_DIRECTORY", s.path("nowhere"))
	s.fails("credential keystore.key", "no such file")
	t.Setenv("CREDENTIALS_DIRECTORY", credentials)
	if status := s.run()(); status != 0 {
		t.Fatalf("with a credential: exit status %d", status)
	}

	s.write("passphrase", "correct horse\n", 0o600)
	out, _ := s.at(0, "keystore", "reseal", "--passphrase-file", s.path("passphrase"))
	if want := "set keystore.passphrase-file: " + s.path("passphrase"); !strings.Contains(out, want) {
		t.Errorf("want %q in %q", want, out)
	}
	s.fails("it is sealed with a passphrase, but was given credential keystore.key")
	s.edit("credential: keystore.key", `credential: ""`)
	s.edit(`passphrase-file: ""`, `passphrase-file: "`+s.path("passphrase")+`"`)
	if status := s.run()(); status != 0 {
		t.Fatalf("with a passphrase: exit status %d", status)
	}
	s.write("passphrase", "wrong horse\n", 0o600)
	s.fails("the passphrase is not the one it was sealed with")
}

func TestBackupRestoreReseal(t *testing.T) {
	s := newSolo(t)
	backup := s.path("backup.db")
	end := s.run()
	out, _ := s.at(0, "keystore", "backup", backup)
	if !strings.Contains(out, "backup.db: wrote ") {
		t.Errorf("got %q", out)
	}
	if info, err := os.Stat(backup); err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("the backup: %v, %v", info, err)
	}
	_, stderr := s.at(1, "keystore", "backup", backup)
	if !strings.Contains(stderr, "file exists") {
		t.Errorf("got %q", stderr)
	}
	_, stderr = s.at(1, "keystore", "restore", backup)
	if !strings.Contains(stderr, "a keystore exists already") {
		t.Errorf("got %q", stderr)
	}
	_, stderr = s.at(1, "keystore", "reseal", "--key-file", s.path("new.key"))
	if !strings.Contains(stderr, "in use by another process") {
		t.Errorf("got %q", stderr)
	}
	if _, err := os.Stat(s.path("new.key")); !errors.Is(err, os.ErrNotExist) {
		t.Error("a key was made for nothing")
	}
	end()
	_, stderr = s.at(1, "keystore", "backup", s.path("other.db"))
	if !strings.Contains(stderr, "no daemon answers") {
		t.Errorf("got %q", stderr)
	}

	if err := os.Rename(s.keystoreFile(), s.path("lost")); err != nil {
		t.Fatal(err)
	}
	out, _ = s.at(0, "keystore", "restore", backup)
	if !strings.Contains(out, "restored with 0 keys") {
		t.Errorf("got %q", out)
	}
	if status := s.run()(); status != 0 {
		t.Fatalf("after restoring: exit status %d", status)
	}

	s.at(2, "keystore", "reseal")
	s.at(0, "keystore", "reseal", "--key-file", s.path("new.key"))
	s.fails("wrong sealing key")
	s.edit(s.path("a", "keystore.key"), s.path("new.key"))
	if status := s.run()(); status != 0 {
		t.Fatalf("after resealing: exit status %d", status)
	}
}

// Commands that nobody listens to, and completion, which stays quiet.
func TestSocketThatIsNoDaemon(t *testing.T) {
	s := newSolo(t)
	socket := s.path("dead")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	l.Close()
	if _, stderr, status := s.command("status", "--socket", socket); status != 1 || !strings.Contains(stderr, "no daemon answers at "+socket) {
		t.Errorf("%d: %q", status, stderr)
	}
	out, stderr, status := s.command("__complete", "zones", "show", "--socket", socket, "")
	if status != 0 || strings.Contains(out, "example") || strings.Contains(stderr, "no daemon") {
		t.Errorf("completion: %d, %q, %q", status, out, stderr)
	}
	l, err = api.Listen(socket) // what a dead daemon left is replaced
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
}

// TestManualPages wants manual pages without a warning.
func TestManualPages(t *testing.T) {
	dir := t.TempDir()
	a := &app{in: strings.NewReader(""), out: io.Discard, err: io.Discard, now: time.Now}
	if status := a.run(t.Context(), []string{"docs", "man", dir}); status != 0 {
		t.Fatalf("exit status %d", status)
	}
	pages, err := filepath.Glob(filepath.Join(dir, "*.8"))
	if err != nil || len(pages) < 20 {
		t.Fatalf("%d pages, %v", len(pages), err)
	}
	for _, page := range pages {
		var errs bytes.Buffer
		cmd := exec.Command("man", "--warnings", "-l", page)
		cmd.Env, cmd.Stderr = append(os.Environ(), "LC_ALL=C.UTF-8", "MANWIDTH=100"), &errs
		if err := cmd.Run(); err != nil || errs.Len() > 0 {
			t.Errorf("%s: %v\n%s", filepath.Base(page), err, errs.String())
		}
	}
}
