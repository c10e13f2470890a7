package api

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// echo is a Backend whose answers say what reached it. err, where it is set,
// is every answer.
type echo struct {
	err   error
	calls chan string
}

func (e echo) got(format string, args ...any) string {
	text := fmt.Sprintf(format, args...)
	if e.calls != nil {
		e.calls <- text
	}
	return text
}

func (e echo) Version(context.Context) (*Version, error) {
	return &Version{Version: e.got("version")}, e.err
}
func (e echo) Status(context.Context) (*Status, error) {
	return &Status{Operator: e.got("status")}, e.err
}
func (e echo) Zones(context.Context) ([]ZoneStatus, error) {
	return []ZoneStatus{{Zone: e.got("zones")}}, e.err
}
func (e echo) Zone(_ context.Context, zone string) (*ZoneDetail, error) {
	return &ZoneDetail{Policy: e.got("zone %s", zone)}, e.err
}
func (e echo) AddZone(_ context.Context, a AddZone) (*Request, error) {
	return &Request{Subject: e.got("add %+v", a)}, e.err
}
func (e echo) RemoveZone(_ context.Context, r RemoveZone) (*Request, error) {
	return &Request{Subject: e.got("remove %+v", r)}, e.err
}
func (e echo) ConfirmDS(_ context.Context, c ConfirmDS) (*Request, error) {
	return &Request{Subject: e.got("ds %+v", c)}, e.err
}

func (e echo) ResumeKey(_ context.Context, r ResumeKey) (*Request, error) {
	return &Request{Subject: e.got("resume %+v", r)}, e.err
}

func (e echo) SignNow(_ context.Context, s SignNow) (*Request, error) {
	return &Request{Subject: e.got("sign %+v", s)}, e.err
}
func (e echo) ApproveZone(_ context.Context, a ApproveZone) (*Request, error) {
	text, err := io.ReadAll(a.Text)
	if err != nil {
		return nil, err
	}
	return &Request{Subject: e.got("approve %s %s %d %x", a.Zone, a.File, len(text), sha256.Sum256(text))}, e.err
}

func (e echo) SignedZone(_ context.Context, zone string, serial uint32, w io.Writer) error {
	if e.err != nil {
		return e.err
	}
	_, err := fmt.Fprintf(w, "%q", e.got("signed %s %d", zone, serial))
	return err
}

func (e echo) Manifest(_ context.Context, d Draft, w io.Writer) error {
	if e.err != nil {
		return e.err
	}
	var text []byte
	if d.Text != nil {
		text, _ = io.ReadAll(d.Text)
	}
	_, err := fmt.Fprintf(w, "%q", e.got("manifest %s %d %s", d.Zone, d.At, text))
	return err
}

func (e echo) Keys(_ context.Context, zone string) ([]Key, error) {
	return []Key{{ID: e.got("keys %s", zone)}}, e.err
}
func (e echo) GenerateKeys(_ context.Context, g GenerateKeys) (*Request, error) {
	return &Request{Subject: e.got("generate %+v", g)}, e.err
}
func (e echo) ImportKeys(_ context.Context, i ImportKeys) (*Request, error) {
	return &Request{Subject: e.got("import %+v", i)}, e.err
}
func (e echo) Pools(_ context.Context, zone string) ([]Pool, error) {
	return []Pool{{Key: e.got("pools %s", zone)}}, e.err
}
func (e echo) Group(context.Context) (*Group, error) { return &Group{Name: e.got("group")}, e.err }
func (e echo) StageGroup(_ context.Context, s StageGroup) (*Request, error) {
	return &Request{Subject: e.got("stage %+v", s)}, e.err
}
func (e echo) Request(_ context.Context, digest string) (*Request, error) {
	return &Request{Subject: e.got("request %s", digest)}, e.err
}
func (e echo) Reload(context.Context) (*Reload, error) {
	return &Reload{Changed: []string{e.got("reload")}}, e.err
}

func (e echo) Backup(context.Context) (*Backup, error) {
	return &Backup{File: []byte(e.got("backup"))}, e.err
}

// serve puts the backend behind a socket that any user can reach, until the
// test ends. change, which may be nil, is done to the server first.
func serve(t *testing.T, b Backend, access Access, change func(*Server)) (socket string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "api") // t.TempDir lets no other user in
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	socket = filepath.Join(dir, "s")
	l, err := Listen(socket)
	if err != nil {
		t.Fatal(err)
	}
	s := NewServer(b, access, nil)
	if change != nil {
		change(s)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return socket
}

// methods calls every method of a Backend with odd arguments and returns the
// answers and the errors.
func methods(ctx context.Context, b Backend) (answers []any, errs []error) {
	add := func(answer any, err error) {
		answers, errs = append(answers, answer), append(errs, err)
	}
	call(add)(b.Version(ctx))
	call(add)(b.Status(ctx))
	call(add)(b.Zones(ctx))
	call(add)(b.Zone(ctx, `a/b\.c%2f?x=1.example.`))
	call(add)(b.AddZone(ctx, AddZone{Policy: "version: 1\n\x00é", File: "f"}))
	call(add)(b.RemoveZone(ctx, RemoveZone{Zone: "."}))
	call(add)(b.SignNow(ctx, SignNow{Zone: "z."}))
	call(add)(b.ApproveZone(ctx, ApproveZone{Zone: "z&a=b.", File: "a/b?c", Text: strings.NewReader(strings.Repeat("x\n", 2*maxBody))}))
	var text strings.Builder
	err := b.SignedZone(ctx, `a/b\.c%2f.example.`, 1<<32-1, &text)
	add(text.String(), err)
	text.Reset()
	err = b.Manifest(ctx, Draft{Zone: "a/b.", At: 1<<32 - 1, Text: strings.NewReader("a zone")}, &text)
	add(text.String(), err)
	call(add)(b.ConfirmDS(ctx, ConfirmDS{Zone: "z."}))
	call(add)(b.ResumeKey(ctx, ResumeKey{Key: "k"}))
	call(add)(b.Keys(ctx, "a&b=c."))
	call(add)(b.GenerateKeys(ctx, GenerateKeys{Zone: "z.", Roles: []string{"KSK", "ZSK"}, Engine: "e"}))
	call(add)(b.ImportKeys(ctx, ImportKeys{Files: []ShareFile{{File: "f", Content: []byte{0, 0xff}}}}))
	call(add)(b.Pools(ctx, ""))
	call(add)(b.Group(ctx))
	call(add)(b.StageGroup(ctx, StageGroup{Group: "g", File: "f"}))
	call(add)(b.Request(ctx, "00ff"))
	call(add)(b.Reload(ctx))
	call(add)(b.Backup(ctx))
	return answers, errs
}

func call(add func(any, error)) func(any, error) { return add }

func TestClientIsTheBackend(t *testing.T) {
	client := NewClient(serve(t, echo{}, Access{}, nil))
	got, errs := methods(t.Context(), client)
	want, _ := methods(t.Context(), echo{})
	for i := range want {
		if errs[i] != nil {
			t.Error(errs[i])
		}
		if !reflect.DeepEqual(got[i], want[i]) {
			t.Errorf("got %+v, want %+v", got[i], want[i])
		}
	}
	if n := reflect.TypeFor[Backend]().NumMethod(); len(want) != n {
		t.Errorf("%d of %d methods were tried", len(want), n)
	}
}

func TestErrorsArriveAsTheyAre(t *testing.T) {
	sent := &Error{Code: CodeRefused, Message: "operator b refuses: x", Hint: "ask b", Peers: []string{"b"}}
	_, errs := methods(t.Context(), NewClient(serve(t, echo{err: sent}, Access{}, nil)))
	for _, err := range errs {
		var e *Error
		if !errors.As(err, &e) || !reflect.DeepEqual(e, sent) {
			t.Errorf("got %#v", err)
		}
	}
	_, err := NewClient(serve(t, echo{err: fmt.Errorf("while signing: %w", sent)}, Access{}, nil)).Reload(t.Context())
	if e := AsError(err); e.Code != CodeRefused || e.Message != "while signing: operator b refuses: x" || e.Hint != "ask b" {
		t.Errorf("wrapped: got %#v", e)
	}
	_, err = NewClient(serve(t, echo{err: errors.New("disk full")}, Access{}, nil)).Reload(t.Context())
	if e := AsError(err); e.Code != CodeFailure || e.Message != "disk full" {
		t.Errorf("plain: got %#v", e)
	}
}

// asStranger runs f on a thread of its own that has, if the test runs as
// root, given up its user and groups for others; SO_PEERCRED is by thread.
// Without root there is no other user to be: the server is then told that it
// runs as another one.
func asStranger(t *testing.T, groups []uint32, f func()) {
	t.Helper()
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with f
		done <- func() error {
			if os.Geteuid() != 0 {
				f()
				return nil
			}
			ids := append(slices.Clone(groups), 65533)
			if _, _, errno := syscall.RawSyscall(unix.SYS_SETGROUPS, uintptr(len(groups)), uintptr(unsafe.Pointer(&ids[0])), 0); errno != 0 {
				return fmt.Errorf("setgroups: %w", errno)
			}
			if _, _, errno := syscall.RawSyscall(unix.SYS_SETRESGID, 65534, 65534, 65534); errno != 0 {
				return fmt.Errorf("setresgid: %w", errno)
			}
			if _, _, errno := syscall.RawSyscall(unix.SYS_SETRESUID, 65534, 65534, 65534); errno != 0 {
				return fmt.Errorf("setresuid: %w", errno)
			}
			f()
			return nil
		}()
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// strangers makes a server see the test's own user as another, which only
// has to be done where the test does not run as root.
func strangers(access Access) func(*Server) {
	return func(s *Server) {
		if self := uint32(os.Geteuid()); self != 0 {
			s.level = func(c caller) Level {
				if c.uid == self {
					c.uid++
				}
				return access.level(c)
			}
		}
	}
}

// ask connects from the calling thread, so that its credentials count, and
// sends one request.
func ask(socket, method, path, body string) (status int, answer string, err error) {
	conn, err := net.Dial("unix", socket)
	if err != nil {
		return 0, "", err
	}
	defer conn.Close()
	c := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext:       func(context.Context, string, string) (net.Conn, error) { return conn, nil },
	}}
	req, err := http.NewRequest(method, "http://x/v1/"+path, strings.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	resp, err := c.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(text), err
}

func TestStrangersAreRefused(t *testing.T) {
	group := uint32(54321)
	if os.Geteuid() != 0 {
		group = uint32(os.Getegid())
	}
	mine := []uint32{group}
	everyone := func(s *Server) { s.level = func(caller) Level { return LevelAct } }
	for _, c := range []struct {
		name   string
		access Access
		change func(*Server) // nil: none but strangers
		read   int
		act    int
	}{
		{"stranger", Access{}, nil, http.StatusForbidden, http.StatusForbidden},
		{"reader", Access{Read: &group}, nil, http.StatusOK, http.StatusForbidden},
		{"actor", Access{Act: &group}, nil, http.StatusOK, http.StatusOK},
		// The attack succeeds when the check of the level is taken out.
		{"stranger, no check", Access{}, everyone, http.StatusOK, http.StatusOK},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.change == nil {
				c.change = strangers(c.access)
			}
			calls := make(chan string, 8)
			socket := serve(t, echo{calls: calls}, c.access, c.change)
			asStranger(t, mine, func() {
				status, answer, err := ask(socket, "GET", "status", "")
				if err != nil || status != c.read {
					t.Errorf("reading: %d %s %v", status, answer, err)
				}
				status, answer, err = ask(socket, "POST", "zones/sign", `{"zone":"example.org."}`)
				if err != nil || status != c.act {
					t.Errorf("acting: %d %s %v", status, answer, err)
				}
				if status, answer, err = ask(socket, "POST", "zones/approve?zone=z.", "zone"); err != nil || status != c.act {
					t.Errorf("approving: %d %s %v", status, answer, err)
				}
				if c.act == http.StatusForbidden && !strings.Contains(answer, "may not act here") {
					t.Errorf("refused without its reason: %s", answer)
				}
			})
			close(calls)
			reached := 0
			for range calls {
				reached++
			}
			if want := map[bool]int{true: 1}[c.read == 200] + map[bool]int{true: 2}[c.act == 200]; reached != want {
				t.Errorf("%d requests reached the daemon, want %d", reached, want)
			}
		})
	}
}

func TestLevels(t *testing.T) {
	read, act, self := uint32(100001), uint32(100002), uint32(os.Geteuid())
	a := Access{Read: &read, Act: &act}
	for _, c := range []struct {
		caller caller
		want   Level
	}{
		{caller{uid: 0}, LevelAct},
		{caller{uid: self}, LevelAct},
		{caller{uid: 100000}, LevelNone},
		{caller{uid: 100000, groups: []uint32{5, read}}, LevelRead},
		{caller{uid: 100000, groups: []uint32{read, act}}, LevelAct},
	} {
		if got := a.level(c.caller); got != c.want {
			t.Errorf("%+v may %s, want %s", c.caller, got, c.want)
		}
		if got := (Access{}).level(caller{uid: 100000, groups: []uint32{0}}); got != LevelNone {
			t.Errorf("without groups, group 0 may %s", got)
		}
	}
}

func TestParseAccess(t *testing.T) {
	a, err := ParseAccess("", "12345")
	if err != nil || a.Read != nil || a.Act == nil || *a.Act != 12345 {
		t.Errorf("%+v, %v", a, err)
	}
	if _, err := ParseAccess("no-such-group-here", ""); err == nil || !strings.Contains(err.Error(), `socket.read-group: there is no group "no-such-group-here"`) {
		t.Error(err)
	}
	if a, err := ParseAccess("root", ""); err != nil || a.Read == nil || *a.Read != 0 {
		t.Errorf("%+v, %v", a, err)
	}
}

func TestServerBoundsAndForm(t *testing.T) {
	calls := make(chan string, 8)
	socket := serve(t, echo{calls: calls}, Access{}, nil)
	for _, c := range []struct {
		name, method, path, body string
		status                   int
		text                     string
	}{
		{"large", "POST", "zones/add", `{"policy":"` + strings.Repeat("x", maxBody) + `"}`, 400, "too large"},
		{"unknown field", "POST", "zones/sign", `{"zone":"z.","force":true}`, 400, `unknown field \"force\"`},
		{"two values", "POST", "zones/sign", `{"zone":"z."}{}`, 400, "goes on after its end"},
		{"no JSON", "POST", "zones/sign", `zone`, 400, "not as expected"},
		{"acting by GET", "GET", "zones/sign/", "", 404, "no request"},
		{"reading by POST", "POST", "status", "{}", 404, "different versions"},
		{"nothing there", "GET", "secrets", "", 404, "no request GET /v1/secrets"},
	} {
		status, answer, err := ask(socket, c.method, c.path, c.body)
		if err != nil || status != c.status || !strings.Contains(answer, c.text) {
			t.Errorf("%s: %d %s %v", c.name, status, answer, err)
		}
	}
	if len(calls) > 0 {
		t.Errorf("%s reached the daemon", <-calls)
	}
}

// cut is a daemon that fails when part of a zone is written.
type cut struct{ echo }

func (cut) SignedZone(_ context.Context, _ string, _ uint32, w io.Writer) error {
	if _, err := io.WriteString(w, strings.Repeat("x", 1<<20)); err != nil {
		return err
	}
	return errors.New("the disk is broken")
}

// Who is given part of a zone is told so.
func TestZoneThatBreaksOff(t *testing.T) {
	c := NewClient(serve(t, cut{}, Access{}, nil))
	var text strings.Builder
	if err := c.SignedZone(t.Context(), "z.", 1, &text); err == nil || text.Len() == 0 {
		t.Errorf("%d bytes of a zone that broke off, and %v", text.Len(), err)
	}
	text.Reset()
	if err := NewClient(serve(t, echo{}, Access{}, nil)).Manifest(t.Context(), Draft{Zone: "z."}, &text); err != nil || !strings.Contains(text.String(), "manifest z. 0 ") {
		t.Errorf("the manifest of what is to be signed: %s, %v", text.String(), err)
	}
	for _, path := range []string{"signed/z.?serial=x", "manifest/z.?at=x"} {
		status, answer, err := ask(serve(t, echo{}, Access{}, nil), "GET", path, "")
		if err != nil || status != 400 || !strings.Contains(answer, "is no number") {
			t.Errorf("%s: %d %s %v", path, status, answer, err)
		}
	}
}

func TestListen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(path); err == nil || !strings.Contains(err.Error(), "is no socket") {
		t.Errorf("a file in the way: %v", err)
	}
	os.Remove(path)

	// A daemon that was killed leaves its socket behind.
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	dead.SetUnlinkOnClose(false)
	dead.Close()
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	if _, err := NewClient(path).Status(t.Context()); AsError(err).Hint == "" || !strings.Contains(err.Error(), "no daemon answers at "+path) {
		t.Error(err)
	}
}

func TestServeLetsAnswersFinish(t *testing.T) {
	dir := t.TempDir()
	l, err := Listen(filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	calls := make(chan string)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- NewServer(echo{calls: calls}, Access{}, nil).Serve(ctx, l) }()
	answered := make(chan error, 1)
	go func() {
		_, err := NewClient(filepath.Join(dir, "s")).Zone(t.Context(), "z.")
		answered <- err
	}()
	if got := <-calls; got != "zone z." { // the answer is under way
		t.Fatal(got)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if err := <-answered; err != nil {
		t.Errorf("the answer that was under way: %v", err)
	}
}

// stages answers Request with one after the other of what a request becomes.
type stages struct {
	echo
	left []Request
}

func (s *stages) Request(context.Context, string) (*Request, error) {
	r := s.left[0]
	if len(s.left) > 1 {
		s.left = s.left[1:]
	}
	return &r, nil
}

func TestWait(t *testing.T) {
	first := &Request{State: RequestWaiting, Digest: "00"}
	refused := &Error{Code: CodeRefused, Message: "no"}
	synctest.Test(t, func(t *testing.T) {
		var seen []string
		b := &stages{left: []Request{{State: RequestWaiting}, {State: RequestRunning}, {State: RequestDone, Serial: 7}}}
		r, err := Wait(t.Context(), b, first, func(r *Request) { seen = append(seen, r.State) })
		if err != nil || r.Serial != 7 || strings.Join(seen, " ") != "waiting waiting running done" {
			t.Errorf("%+v, %v, %v", r, err, seen)
		}
		b = &stages{left: []Request{{State: RequestFailed, Error: refused}}}
		if _, err := Wait(t.Context(), b, first, nil); !errors.Is(err, refused) {
			t.Errorf("failed: %v", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		b = &stages{left: []Request{{State: RequestWaiting, WaitsFor: []string{"c"}}}}
		r, err = Wait(ctx, b, first, nil)
		if !errors.Is(err, context.DeadlineExceeded) || len(r.WaitsFor) != 1 {
			t.Errorf("%+v, %v", r, err)
		}
	})
}

func TestExitStatuses(t *testing.T) {
	for code, want := range map[Code]int{
		CodeFailure: 1, CodeUsage: 2, CodeNotFound: 1, CodeForbidden: 1, CodeNoQuorum: 3, CodeRefused: 4, CodeVerification: 5, "new": 1,
	} {
		if got := code.Exit(); got != want {
			t.Errorf("%s: %d", code, got)
		}
	}
}
