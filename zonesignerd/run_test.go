package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"zonesigner/zonesignerd/config"
	"zonesigner/zonesignerd/internal/api"
	"zonesigner/zonesignerd/internal/node"
)

// runFake runs "zonesignerd run" over f and returns its socket and a function
// that ends it and gives its exit status.
func runFake(t *testing.T, f *fakeDaemon) (socket string, end func() int) {
	t.Helper()
	dir := t.TempDir()
	c := config.DefaultDaemon("a", "keystore.key", "127.0.0.1:7473")
	c.Socket.Path = filepath.Join(dir, "s")
	text, err := config.FormatDaemon(c)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "zonesignerd.yaml")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	real := startNode
	startNode = func(_ context.Context, _ *config.Daemon, o node.Options) (daemon, error) {
		if _, err := o.Load(); err != nil {
			return nil, err
		}
		return f, nil
	}
	ctx, cancel := context.WithCancel(t.Context())
	var out, errs lockedBuffer
	a := &app{in: strings.NewReader(""), out: &out, err: &errs, now: time.Now}
	done := make(chan int, 1)
	go func() { done <- a.run(ctx, []string{"run", "--config", file}) }()
	ended := false
	end = func() int {
		if ended {
			return 0
		}
		ended = true
		cancel()
		status := <-done
		startNode = real
		if t.Failed() || status != 0 {
			t.Log(errs.String())
		}
		return status
	}
	t.Cleanup(func() { end() })
	return c.Socket.Path, end
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// listenNotify stands for systemd.
func listenNotify(t *testing.T) *net.UnixConn {
	t.Helper()
	path := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	t.Setenv("NOTIFY_SOCKET", path)
	return conn
}

// heard waits for the next message that is not the watchdog's.
func heard(t *testing.T, conn *net.UnixConn, want string) {
	t.Helper()
	if err := conn.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	for {
		b := make([]byte, 256)
		n, err := conn.Read(b)
		if err != nil {
			t.Fatalf("waiting for %s: %v", want, err)
		}
		got := string(b[:n])
		if got == "WATCHDOG=1" && want != got {
			continue
		}
		if !strings.HasPrefix(got, want) {
			t.Fatalf("systemd heard %q, want %q", got, want)
		}
		return
	}
}

func TestRunTellsSystemd(t *testing.T) {
	systemd := listenNotify(t)
	t.Setenv("WATCHDOG_USEC", "20000")
	f := newFakeDaemon()
	socket, end := runFake(t, f)
	heard(t, systemd, "READY=1")
	heard(t, systemd, "WATCHDOG=1")
	if _, err := api.NewClient(socket).Status(t.Context()); err != nil {
		t.Errorf("ready, and does not answer: %v", err)
	}
	if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	<-f.reloads
	heard(t, systemd, "RELOADING=1\nMONOTONIC_USEC=")
	heard(t, systemd, "READY=1")
	if status := end(); status != 0 {
		t.Errorf("exit status %d", status)
	}
	heard(t, systemd, "STOPPING=1")
	<-f.closed
	if _, err := os.Stat(socket); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket stays: %v", err)
	}
}

func TestRunRefusesASecondDaemon(t *testing.T) {
	systemd := listenNotify(t)
	socket, _ := runFake(t, newFakeDaemon())
	heard(t, systemd, "READY=1")
	if l, err := api.Listen(socket); err == nil {
		l.Close()
		t.Error("a second daemon took the socket")
	} else if !strings.Contains(err.Error(), "answers on "+socket+" already") {
		t.Error(err)
	}
}

func TestWatchdogFallsSilentWithTheDaemon(t *testing.T) {
	systemd := listenNotify(t)
	n := &notifier{socket: os.Getenv("NOTIFY_SOCKET"), watchdog: time.Millisecond, log: slog.New(slog.DiscardHandler)}
	ctx, cancel := context.WithCancel(t.Context())
	asked := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		n.watch(ctx, func(ctx context.Context) error {
			select {
			case asked <- struct{}{}:
			case <-ctx.Done():
			}
			return errors.New("hangs")
		})
	}()
	<-asked
	<-asked
	cancel()
	<-done
	n.say("END")
	heard(t, systemd, "END")
}

func TestPrintingNeverSteersATerminal(t *testing.T) {
	for text, want := range map[string]string{
		"plain é":          "plain é",
		"\x1b[2Jgone":      `\x1b[2Jgone`,
		"a\r\nb":           `a\r\nb`,
		"\u202egpj.exe":    `\u202egpj.exe`,
		"bad \xff\xfe utf": `bad \ufffd\ufffd utf`,
	} {
		if got := clean(text); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
	var out bytes.Buffer
	a := &app{out: &out, colour: true}
	table := newTable("A", "B")
	table.row("\x1b[31mx", "y")
	table.paint(1, green)
	a.printTable(table)
	if want := "A          B\n\\x1b[31mx  \x1b[32my\x1b[0m\n"; out.String() != want {
		t.Errorf("got %q", out.String())
	}
}

func TestTimesInWords(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "now", 3 * 24 * time.Hour: "in 3 days", 25 * time.Hour: "in 1 day", -90 * time.Second: "1 minute ago",
		30 * time.Second: "in 30 seconds", -800 * 24 * time.Hour: "2 years ago",
	} {
		if got := relative(testNow.Add(d), testNow); got != want {
			t.Errorf("%s: got %q, want %q", d, got, want)
		}
	}
}

// A command that waits for something that no signal reaches, here a file that
// nobody writes, is ended by a second one.
func TestSecondSignal(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "zonesignerd", "group", "show", pipe) // see TestMain
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w, err := os.OpenFile(pipe, os.O_WRONLY, 0) // when it reads
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for signals := 1; ; signals++ {
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
			t.Fatal(err)
		}
		select {
		case <-ended:
			if s := cmd.ProcessState.Sys().(syscall.WaitStatus); !s.Signaled() || s.Signal() != syscall.SIGTERM || signals < 2 {
				t.Errorf("%v after %d signals", cmd.ProcessState, signals)
			}
			return
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// A measurement that is ended says so, and not what it was waiting for. What was
// measured before is there.
func TestBenchEnded(t *testing.T) {
	for _, transport := range []string{"nats", "memory"} {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		var errs bytes.Buffer
		a := &app{in: strings.NewReader(""), out: io.Discard, err: &errs, now: time.Now}
		status := a.run(ctx, []string{"bench", "--engine", "frost", "--setting", "240ms", "--transport", transport})
		const want = "1 of 1: frost, 240ms\nzonesignerd: 1 of 1: frost, 240ms: context canceled\n"
		if got := errs.String(); status != exitFailure || got != want {
			t.Errorf("%s: status %d, %q; want %d, %q", transport, status, got, exitFailure, want)
		}
	}
	for _, form := range []struct{ flag, want string }{{"--json=false", "\nfrost   3  1  lan "}, {"--json", `"engine": "frost"`}} {
		ctx, cancel := context.WithCancel(t.Context())
		errs := &cancelling{on: "2 of 2", cancel: cancel}
		var out bytes.Buffer
		a := &app{in: strings.NewReader(""), out: &out, err: errs, now: time.Now}
		status := a.run(ctx, []string{"bench", "--engine", "frost", "--engine", "shamir", "--setting", "lan", "--transport", "memory", "--count", "3", form.flag})
		if got := out.String(); status != exitFailure || !strings.Contains(got, form.want) || strings.Contains(got, "shamir") ||
			!strings.HasSuffix(errs.String(), "\nzonesignerd: 2 of 2: shamir, lan: context canceled\n") {
			t.Errorf("%s: status %d, %q, %q", form.flag, status, got, errs.String())
		}
	}
}

// Who waits for the others and stops waiting is told that what was asked
// stands, and what they have to do.
func TestStopWaiting(t *testing.T) {
	systemd := listenNotify(t)
	socket, _ := runFake(t, newFakeDaemon())
	heard(t, systemd, "READY=1")
	ctx, cancel := context.WithCancel(t.Context())
	errs := &cancelling{on: "waits for operator c", cancel: cancel}
	a := &app{in: strings.NewReader(""), out: io.Discard, err: errs, now: time.Now}
	status := a.run(ctx, []string{"keys", "generate", "slow.example", "--socket", socket})
	const want = "waits for operator c to ask for the same\n" +
		"zonesignerd: not waited for any longer: waits for operator c to ask for the same\n" +
		"hint: what was asked stands; the others have to run: zonesignerd keys generate slow.example\n"
	if got := errs.String(); status != exitFailure || got != want {
		t.Errorf("status %d, %q; want %d, %q", status, got, exitFailure, want)
	}
}

// cancelling is a writer that cancels when it sees a text.
type cancelling struct {
	strings.Builder
	on     string
	cancel func()
}

func (c *cancelling) Write(b []byte) (int, error) {
	if strings.Contains(string(b), c.on) {
		c.cancel()
	}
	return c.Builder.Write(b)
}
