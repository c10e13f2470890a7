package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"time"
)

// Bounds of one request.
const (
	maxBody   = 256 << 10        // bytes; the largest file that is sent has 64 KiB
	maxZone   = 1<<31 - 1        // bytes; a zone file that is sent
	maxHeader = 16 << 10         // bytes
	readTime  = 10 * time.Second // for the request to arrive
	actTime   = 2 * time.Minute  // for the answer
	idleTime  = 30 * time.Second
	closeTime = 5 * time.Second // for answers that are under way at the end
)

const timeoutBody = `{"error":{"code":"failure","message":"the daemon gave no answer in two minutes"}}`

// Server answers on unix sockets for a Backend.
type Server struct {
	backend Backend
	level   func(caller) Level
	log     *slog.Logger
}

// NewServer puts backend behind the access rules. log may be nil.
func NewServer(backend Backend, access Access, log *slog.Logger) *Server {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Server{backend: backend, level: access.level, log: log}
}

// Listen makes the socket at path. A socket that a dead daemon left is
// replaced; one that answers, or a file of another kind, is an error. Anyone
// may connect, because who may do what is decided by credentials, and a
// refusal with its reason is better than a closed door.
func Listen(path string) (net.Listener, error) {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, fmt.Errorf("command socket: %w", err)
	case info.Mode().Type() != fs.ModeSocket:
		return nil, fmt.Errorf("command socket: %s exists and is no socket", path)
	default:
		if conn, err := net.DialTimeout("unix", path, time.Second); err == nil {
			conn.Close()
			return nil, fmt.Errorf("command socket: a daemon answers on %s already", path)
		}
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("command socket: %w", err)
		}
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("command socket: %w", err)
	}
	if err := os.Chmod(path, 0o666); err != nil {
		l.Close()
		return nil, fmt.Errorf("command socket: %w", err)
	}
	return l, nil
}

// Serve answers on l until ctx ends, then lets answers that are under way go
// out, for a few seconds, and closes l.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	// Requests outlive ctx by closeTime, then they are cut off as well.
	base, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	server := &http.Server{
		Handler:           s.handler(),
		ReadHeaderTimeout: readTime,
		ReadTimeout:       readTime,
		WriteTimeout:      actTime + readTime,
		IdleTimeout:       idleTime,
		MaxHeaderBytes:    maxHeader,
		BaseContext:       func(net.Listener) context.Context { return base },
		ConnContext:       s.identify,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(limit(l, s.level, s.log)) }()
	select {
	case err := <-failed:
		return fmt.Errorf("command socket: %w", err)
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(base, closeTime)
	defer cancel()
	err := server.Shutdown(grace)
	if err != nil {
		cut()
		err = server.Close()
	}
	<-failed
	return err
}

type callerKey struct{}

// identify runs once a connection.
func (s *Server) identify(ctx context.Context, conn net.Conn) context.Context {
	if c, ok := conn.(*client); ok {
		return context.WithValue(ctx, callerKey{}, c.caller)
	}
	return ctx
}

// handler is what is served: zones as they come, and all else by routes, with
// small bodies and answers that are sent whole.
func (s *Server) handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/", http.MaxBytesHandler(http.TimeoutHandler(s.routes(), actTime, timeoutBody), maxBody))
	mux.Handle("POST /v1/zones/approve", http.MaxBytesHandler(s.allowed(LevelAct, s.approve), maxZone))
	mux.Handle("GET /v1/signed/{zone}", s.allowed(LevelRead, s.signed))
	mux.Handle("GET /v1/manifest/{zone}", s.allowed(LevelRead, s.manifest))
	mux.Handle("POST /v1/manifest/{zone}", http.MaxBytesHandler(s.allowed(LevelAct, s.manifest), maxZone))
	return mux
}

// approve takes a zone file, which may be large, as the body of the request.
func (s *Server) approve(w http.ResponseWriter, r *http.Request) {
	if err := http.NewResponseController(w).SetReadDeadline(time.Now().Add(actTime)); err != nil {
		respond(w, nil, err)
		return
	}
	q := r.URL.Query()
	result, err := s.backend.ApproveZone(r.Context(), ApproveZone{Zone: q.Get("zone"), File: q.Get("file"), Text: r.Body})
	respond(w, result, err)
}

// signed gives a zone file as it is written.
func (s *Server) signed(w http.ResponseWriter, r *http.Request) {
	serial, err := strconv.ParseUint(r.FormValue("serial"), 10, 32)
	if err != nil {
		respond(w, nil, Errorf(CodeUsage, "the serial %q is no number", r.FormValue("serial")))
		return
	}
	stream(w, "text/dns", func(w io.Writer) error { // RFC 4027
		return s.backend.SignedZone(r.Context(), r.PathValue("zone"), uint32(serial), w)
	})
}

// manifest gives the manifest of what would be proposed: for the zone file that
// is the request's body, which may be large, or what the daemon has to sign.
func (s *Server) manifest(w http.ResponseWriter, r *http.Request) {
	at, err := strconv.ParseUint(r.URL.Query().Get("at"), 10, 32)
	if err != nil {
		err = Errorf(CodeUsage, "the time %q is no number", r.URL.Query().Get("at"))
	}
	d := Draft{Zone: r.PathValue("zone"), At: uint32(at)}
	if err == nil && r.Method == http.MethodPost {
		d.Text = r.Body
		err = http.NewResponseController(w).SetReadDeadline(time.Now().Add(actTime))
	}
	if err != nil {
		respond(w, nil, err)
		return
	}
	stream(w, "text/plain; charset=us-ascii", func(w io.Writer) error { return s.backend.Manifest(r.Context(), d, w) })
}

// stream gives what write writes as it comes. An error that comes later than the
// first bytes breaks the connection, and who reads is told.
func stream(w http.ResponseWriter, kind string, write func(io.Writer) error) {
	body := &begun{Writer: w}
	w.Header().Set("Content-Type", kind)
	err := write(body)
	switch {
	case err == nil:
	case body.any:
		panic(http.ErrAbortHandler)
	default:
		respond(w, nil, err)
	}
}

// begun knows whether anything was written.
type begun struct {
	io.Writer
	any bool
}

func (b *begun) Write(p []byte) (int, error) {
	b.any = true
	return b.Writer.Write(p)
}

// routes holds every other request with the level it needs. Reading is GET and
// acting is POST; subjects travel as one escaped path segment or in the body.
func (s *Server) routes() http.Handler {
	mux, b := http.NewServeMux(), s.backend
	read := func(path string, answer func(r *http.Request) (any, error)) {
		mux.Handle("GET /v1/"+path, s.guard(LevelRead, answer))
	}
	act := func(path string, answer func(r *http.Request) (any, error)) {
		mux.Handle("POST /v1/"+path, s.guard(LevelAct, answer))
	}
	read("version", func(r *http.Request) (any, error) { return b.Version(r.Context()) })
	read("status", func(r *http.Request) (any, error) { return b.Status(r.Context()) })
	read("zones", func(r *http.Request) (any, error) { return b.Zones(r.Context()) })
	read("zones/{zone}", func(r *http.Request) (any, error) { return b.Zone(r.Context(), r.PathValue("zone")) })
	read("keys", func(r *http.Request) (any, error) { return b.Keys(r.Context(), r.FormValue("zone")) })
	read("pools", func(r *http.Request) (any, error) { return b.Pools(r.Context(), r.FormValue("zone")) })
	read("group", func(r *http.Request) (any, error) { return b.Group(r.Context()) })
	read("requests/{digest}", func(r *http.Request) (any, error) { return b.Request(r.Context(), r.PathValue("digest")) })

	act("zones/add", withBody(b.AddZone))
	act("zones/remove", withBody(b.RemoveZone))
	act("zones/sign", withBody(b.SignNow))
	act("keys/ds", withBody(b.ConfirmDS))
	act("keys/resume", withBody(b.ResumeKey))
	act("keys/generate", withBody(b.GenerateKeys))
	act("keys/import", withBody(b.ImportKeys))
	act("group/stage", withBody(b.StageGroup))
	act("keystore/backup", func(r *http.Request) (any, error) { return b.Backup(r.Context()) })
	act("reload", func(r *http.Request) (any, error) { return b.Reload(r.Context()) })
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		respond(w, nil, Errorf(CodeNotFound, "the daemon knows no request %s %s: command and daemon are of different versions", r.Method, r.URL.Path))
	})
	return mux
}

// withBody decodes the request's JSON, strictly, and calls act.
func withBody[Arg, Result any](act func(context.Context, Arg) (*Result, error)) func(*http.Request) (any, error) {
	return func(r *http.Request) (any, error) {
		var arg Arg
		dec := json.NewDecoder(r.Body)
		dec.DisallowUnknownFields()
		if err := dec.Decode(&arg); err != nil {
			return nil, Errorf(CodeUsage, "the request's body is not as expected: %w", err)
		}
		if _, err := dec.Token(); !errors.Is(err, io.EOF) {
			return nil, Errorf(CodeUsage, "the request's body goes on after its end")
		}
		return act(r.Context(), arg)
	}
}

// guard lets callers of the level through, and answers in JSON.
func (s *Server) guard(needed Level, answer func(*http.Request) (any, error)) http.Handler {
	return s.allowed(needed, func(w http.ResponseWriter, r *http.Request) {
		result, err := answer(r)
		respond(w, result, err)
	})
}

// allowed lets callers of the level through.
func (s *Server) allowed(needed Level, then http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, known := r.Context().Value(callerKey{}).(caller)
		level := LevelNone
		if known {
			level = s.level(c)
		}
		if level < needed {
			w.Header().Set("Connection", "close")
			respond(w, nil, &Error{
				Code:    CodeForbidden,
				Message: fmt.Sprintf("user %d may not %s here", c.uid, needed),
				Hint:    "root, the daemon's user, and members of socket.act-group may act; members of socket.read-group may read",
			})
			return
		}
		if needed == LevelAct {
			s.log.Info("operator command", "command", r.URL.Path, "uid", c.uid)
		}
		then(w, r)
	})
}

// respond writes the result, or {"error": ...}.
func respond(w http.ResponseWriter, result any, err error) {
	status := http.StatusOK
	if err != nil {
		e := AsError(err)
		status = httpStatus(e.Code)
		result = errorBody{e}
	}
	body, err := json.Marshal(result)
	if err != nil {
		status, body = http.StatusInternalServerError, []byte(`{"error":{"code":"failure","message":"the answer has no JSON form"}}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '\n')) // the client may be gone
}

type errorBody struct {
	Error *Error `json:"error"`
}

func httpStatus(c Code) int {
	switch c {
	case CodeUsage:
		return http.StatusBadRequest
	case CodeNotFound:
		return http.StatusNotFound
	case CodeForbidden:
		return http.StatusForbidden
	case CodeNoQuorum:
		return http.StatusServiceUnavailable
	case CodeRefused:
		return http.StatusConflict
	}
	return http.StatusInternalServerError
}

// segment escapes a subject for a path.
func segment(s string) string { return url.PathEscape(s) }
