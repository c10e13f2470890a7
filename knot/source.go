package knot

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/miekg/dns"
)

// Source is where an unsigned zone comes from. Its methods may be called from
// several goroutines.
type Source interface {
	// Poll is cheap and tells whether Read would bring something new: it
	// would if the Version differs from the one that the last Read returned.
	Poll(ctx context.Context) (Version, error)
	// Read brings the whole zone, of one version.
	Read(ctx context.Context) (*Content, error)
	// Changed gets a value when the source was told of a change, so that
	// polling need not wait. It is nil where nobody tells.
	Changed() <-chan struct{}
	Close() error
}

// Version identifies what a source holds. Token changes with every change of
// content; Serial is zero where it is not known without parsing.
type Version struct {
	Serial uint32
	Token  string
}

// Content is a zone as it came; exactly one of Records, RRs and Text is set,
// by the kind of source. Text is master-file text (RFC 1035, section 5) from
// the file of that name, against whose folder $INCLUDE counts.
type Content struct {
	Version Version
	Records []Record
	RRs     []dns.RR // the SOA once, first
	Text    io.Reader
	File    string
}

// ControlSource reads a zone from the hidden Knot.
type ControlSource struct {
	ctl  *Control
	zone string
}

// NewControlSource makes a source of one zone; ctl is shared among the zones
// of that Knot and stays open when the source is closed.
func NewControlSource(ctl *Control, zone string) *ControlSource {
	return &ControlSource{ctl: ctl, zone: canonicalZone(zone)}
}

// Poll asks for the serial: Knot refuses other content under one serial, or
// numbers it itself. With many zones, ask Control.Zones once instead and give
// each Status to StatusVersion.
func (s *ControlSource) Poll(ctx context.Context) (Version, error) {
	st, err := s.ctl.ZoneStatus(ctx, s.zone)
	if err != nil {
		return Version{}, err
	}
	return StatusVersion(st)
}

// StatusVersion is what ControlSource.Poll makes of a zone's status.
func StatusVersion(st Status) (Version, error) {
	switch {
	case !st.Exists:
		return Version{}, fmt.Errorf("zone %s: %w", st.Zone, ErrZoneUnknown)
	case !st.HasSerial:
		return Version{}, fmt.Errorf("zone %s: %w", st.Zone, ErrZoneEmpty)
	}
	return serialVersion(st.Serial), nil
}

func serialVersion(serial uint32) Version {
	return Version{Serial: serial, Token: strconv.FormatUint(uint64(serial), 10)}
}

// Read reads by Control.ReadZone.
func (s *ControlSource) Read(ctx context.Context) (*Content, error) {
	records, serial, err := s.ctl.ReadZone(ctx, s.zone)
	if err != nil {
		return nil, err
	}
	return &Content{Version: serialVersion(serial), Records: records}, nil
}

// Changed is nil: a control socket tells nothing by itself.
func (s *ControlSource) Changed() <-chan struct{} { return nil }

// Close does nothing.
func (s *ControlSource) Close() error { return nil }

// MaxFile bounds a zone file in bytes.
const MaxFile = math.MaxInt32

// FileSource reads a zone file. Whoever writes the file should write another
// one and rename it, or a reader can meet it half written; Read notices a file
// that changes while it is read.
type FileSource struct {
	path string

	mu   sync.Mutex
	last fileState // of the last Read or Poll, to hash only what changed
	hash string
	racy bool // modified so shortly before it was read that its time may not show the next write
}

// fileState changes when a file is replaced or written, apart from a rewrite
// of equal length within the file system's clock grain.
type fileState struct {
	size, mtime int64
	inode       uint64
}

// NewFileSource makes a source of the file at path, which need not exist yet.
func NewFileSource(path string) *FileSource { return &FileSource{path: path} }

// Poll looks at size, modification time and inode, and hashes the file only
// when one of them changed. Token is the file's SHA-256: a file that was
// touched is no new version. A file included by $INCLUDE is not looked at;
// touch does not suffice then, the main file itself must change (its SOA
// serial, as a rule).
func (s *FileSource) Poll(ctx context.Context) (Version, error) {
	fi, err := os.Stat(s.path)
	if err != nil {
		return Version{}, fmt.Errorf("zone file: %w", err)
	}
	s.mu.Lock()
	hash, same := s.hash, s.hash != "" && !s.racy && stateOf(fi) == s.last
	s.mu.Unlock()
	if same {
		return Version{Token: hash}, nil
	}
	f, v, err := s.open(ctx)
	if err != nil {
		return Version{}, err
	}
	f.Close()
	return v, nil
}

// Read hashes the file, and then gives its text: what was read of a file that
// turns out to be another one ends in an error.
func (s *FileSource) Read(ctx context.Context) (*Content, error) {
	f, v, err := s.open(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		f.Close()
		return nil, fmt.Errorf("zone file: %w", err)
	}
	return &Content{Version: v, Text: &hashedText{io.LimitReader(&ctxReader{ctx, f}, MaxFile+1), f, s.path, sha256.New(), v.Token}, File: filepath.Clean(s.path)}, nil
}

// hashedText reads a file and wants it to have a hash, in hexadecimal, at its end.
type hashedText struct {
	r    io.Reader
	f    *os.File
	path string
	h    hash.Hash
	want string
}

func (t *hashedText) Read(p []byte) (int, error) {
	n, err := t.r.Read(p)
	t.h.Write(p[:n])
	if errors.Is(err, io.EOF) && hex.EncodeToString(t.h.Sum(nil)) != t.want {
		err = changedError(t.path)
	}
	return n, err
}

func (t *hashedText) Close() error { return t.f.Close() }

func changedError(path string) error {
	return fmt.Errorf("zone file %s changed while it was read; it is read again at the next poll", path)
}

// open opens the file and hashes it.
func (s *FileSource) open(ctx context.Context) (f *os.File, v Version, err error) {
	f, err = os.Open(s.path)
	if err != nil {
		return nil, v, fmt.Errorf("zone file: %w", err)
	}
	defer func() {
		if err != nil {
			f.Close()
		}
	}()
	before, err := f.Stat()
	if err != nil {
		return nil, v, fmt.Errorf("zone file: %w", err)
	}
	switch {
	case !before.Mode().IsRegular():
		return nil, v, fmt.Errorf("zone file %s is not a regular file", s.path)
	case before.Size() > MaxFile:
		return nil, v, fmt.Errorf("zone file %s has %d bytes, at most %d are read", s.path, before.Size(), MaxFile)
	}
	h := sha256.New()
	n, err := io.Copy(h, io.LimitReader(&ctxReader{ctx, f}, before.Size()+1))
	if err != nil {
		return nil, v, fmt.Errorf("zone file: %w", err)
	}
	after, err := f.Stat()
	if err != nil {
		return nil, v, fmt.Errorf("zone file: %w", err)
	}
	if n != before.Size() || stateOf(before) != stateOf(after) {
		return nil, v, changedError(s.path)
	}
	token := hex.EncodeToString(h.Sum(nil))
	s.mu.Lock()
	s.last, s.hash = stateOf(before), token
	s.racy = time.Since(before.ModTime()) < 2*time.Second
	s.mu.Unlock()
	return f, Version{Token: token}, nil
}

// Changed is nil: the file is polled.
func (s *FileSource) Changed() <-chan struct{} { return nil }

// Close does nothing.
func (s *FileSource) Close() error { return nil }

func stateOf(fi os.FileInfo) fileState {
	st := fileState{size: fi.Size(), mtime: fi.ModTime().UnixNano()}
	if sys, ok := fi.Sys().(*syscall.Stat_t); ok {
		st.inode = sys.Ino
	}
	return st
}

// ctxReader ends a long read when its context ends.
type ctxReader struct {
	ctx context.Context
	r   io.Reader
}

func (r *ctxReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}

var (
	_ Source = (*ControlSource)(nil)
	_ Source = (*FileSource)(nil)
	_ Source = (*AXFRSource)(nil)
)
