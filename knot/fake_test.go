package knot

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const fakeTimeout = 150 * time.Millisecond

// fake listens on a socket and lets serve do what it likes with each
// connection.
func fake(t *testing.T, serve func(net.Conn)) *Control {
	t.Helper()
	dir, err := os.MkdirTemp("", "knot")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "s")
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			serve(c)
			c.Close()
		}
	}()
	t.Cleanup(func() {
		ln.Close()
		<-done
		os.RemoveAll(dir)
	})
	return NewControl(path, fakeTimeout)
}

// unitBytes is a DATA with items given as code and text.
func unitBytes(kv ...any) []byte {
	b := []byte{unitData}
	for i := 0; i < len(kv); i += 2 {
		b = appendItem(b, kv[i].(int), kv[i+1].(string))
	}
	return b
}

// request1 reads a request to its BLOCK; false at the END.
func request1(c net.Conn) bool {
	var f frame
	b := make([]byte, 4096)
	for {
		n, err := c.Read(b)
		if n > 0 && b[0] == unitEnd && !f.inUnit {
			return false
		}
		if done, ferr := f.scan(b[:n]); done || ferr != nil {
			return true
		}
		if err != nil {
			return false
		}
	}
}

// reply answers every request with the same bytes.
func reply(b []byte) func(net.Conn) {
	return func(c net.Conn) {
		for request1(c) {
			if _, err := c.Write(b); err != nil {
				return
			}
		}
	}
}

func TestHostileServer(t *testing.T) {
	end := []byte{unitBlock}
	cat := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	status := func(zone, serial string) []byte {
		return cat(unitBytes(itemZone, zone, itemType, "serial", itemData, serial), end)
	}
	forever := func(gap time.Duration, b []byte) func(net.Conn) {
		return func(c net.Conn) {
			request1(c)
			for {
				if _, err := c.Write(b); err != nil {
					return
				}
				time.Sleep(gap) // the attack is to be slow
			}
		}
	}
	for _, tc := range []struct {
		name  string
		serve func(net.Conn)
		want  error
	}{
		{"garbage", reply([]byte("HTTP/1.1 400 Bad Request\r\n\r\n")), ErrProtocol},
		{"item outside a unit", reply(cat([]byte{itemFirst, 0, 0}, end)), ErrProtocol},
		{"two replies for one", reply(cat(status("z.", "1"), status("z.", "1"))), ErrProtocol},
		{"cut short and closed", func(c net.Conn) { request1(c); c.Write(status("z.", "1")[:6]) }, ErrUnavailable},
		{"no end and closed", func(c net.Conn) { request1(c); c.Write(unitBytes(itemZone, "z.")) }, ErrUnavailable},
		{"closed at once", func(net.Conn) {}, ErrUnavailable},
		{"silent", func(c net.Conn) { io.Copy(io.Discard, c) }, ErrUnavailable},
		{"a byte now and then", forever(5*time.Millisecond, []byte{unitData}), ErrUnavailable},
		{"endless", forever(0, bytes.Repeat(unitBytes(itemData, strings.Repeat("x", 60000)), 8)), ErrProtocol},
		{"endless item headers", forever(0, bytes.Repeat([]byte{unitExtra}, 1<<16)), ErrProtocol},
		{"answer to another question", reply(status("other.", "1")), ErrProtocol},
		{"two zones", reply(cat(unitBytes(itemZone, "z."), unitBytes(itemZone, "y."), end)), ErrProtocol},
		{"nothing", reply(end), ErrProtocol},
		{"serial too large", reply(status("z.", "4294967296")), ErrProtocol},
		{"serial below zero", reply(status("z.", "-1")), ErrProtocol},
		{"refusal", reply(cat(unitBytes(itemError, "no such zone found"), unitBytes(itemError, "x"), end)), ErrZoneUnknown},
	} {
		t.Run(tc.name, func(t *testing.T) {
			ctl := fake(t, tc.serve)
			ctl.maxReply = 8 << 20
			start := time.Now()
			var err error
			if tc.want == ErrZoneUnknown {
				_, err = ctl.AbortStale(context.Background(), "z.")
			} else {
				_, err = ctl.ZoneStatus(context.Background(), "z.")
			}
			if !errors.Is(err, tc.want) {
				t.Fatalf("%v, expected %v", err, tc.want)
			}
			if d := time.Since(start); d > 20*fakeTimeout {
				t.Fatalf("took %v with a timeout of %v", d, fakeTimeout)
			}
			if tc.want == ErrUnavailable && !strings.Contains(err.Error(), ctl.path) {
				t.Fatalf("%v does not name the socket", err)
			}
		})
	}
}

// Records that are none, or a zone without its SOA, are no zone.
func TestHostileZone(t *testing.T) {
	rec := func(owner, ttl, typ, data string) []byte {
		return unitBytes(itemOwner, owner, itemTTL, ttl, itemType, typ, itemData, data)
	}
	for name, units := range map[string][]byte{
		"no soa":        rec("z.", "1", "NS", "ns."),
		"short soa":     rec("z.", "1", "SOA", "ns. h. 1"),
		"no ttl":        rec("z.", "", "SOA", "ns. h. 1 1 1 1 1"),
		"ttl too large": rec("z.", "4294967296", "SOA", "ns. h. 1 1 1 1 1"),
		"soa elsewhere": rec("a.z.", "1", "SOA", "ns. h. 1 1 1 1 1"),
		"no owner":      rec("", "1", "SOA", "ns. h. 1 1 1 1 1"),
		"other serial":  rec("z.", "1", "SOA", "ns. h. 9 1 1 1 1"),
	} {
		ctl := fake(t, scripted(t, "3.5.8", units))
		if got, _, err := ctl.ReadZone(context.Background(), "z."); err == nil {
			t.Errorf("%s: read as %v", name, got)
		}
	}
	// The same server with a zone that is right.
	ctl := fake(t, scripted(t, "3.5.8", rec("z.", "1", "SOA", "ns. h. 1 1 1 1 1")))
	if _, serial, err := ctl.ReadZone(context.Background(), "z."); err != nil || serial != 1 {
		t.Fatal(serial, err)
	}
	// 3.2.6 must not be asked by zone-read.
	ctl = fake(t, scripted(t, "Version: 3.2.6", rec("z.", "1", "SOA", "ns. h. 1 1 1 1 1")))
	if _, serial, err := ctl.ReadZone(context.Background(), "z."); err != nil || serial != 1 {
		t.Fatal(serial, err)
	}
}

// scripted is a Knot of that version with the zone "z." at serial 1.
func scripted(t *testing.T, version string, zone []byte) func(net.Conn) {
	return func(c net.Conn) {
		open := false
		for {
			req, err := readRequest(c)
			if err != nil {
				return
			}
			var out []byte
			switch {
			case bytes.Contains(req, []byte("zone-status")):
				out = unitBytes(itemZone, "z.", itemType, "serial", itemData, "1")
			case bytes.Contains(req, []byte("status")):
				out = unitBytes(itemData, version)
			case bytes.Contains(req, []byte("zone-begin")):
				open = true
			case bytes.Contains(req, []byte("zone-abort")):
				open = false
			case bytes.Contains(req, []byte("zone-read")):
				if strings.HasSuffix(version, "3.2.6") {
					t.Error("zone-read to 3.2.6")
				}
				out = zone
			case bytes.Contains(req, []byte("zone-get")) && open:
				out = zone
			default:
				out = unitBytes(itemError, "invalid parameter")
			}
			if _, err := c.Write(append(out, unitBlock)); err != nil {
				return
			}
		}
	}
}

func readRequest(c net.Conn) ([]byte, error) {
	var f frame
	var req []byte
	b := make([]byte, 4096)
	for {
		n, err := c.Read(b)
		if err != nil {
			return nil, err
		}
		req = append(req, b[:n]...)
		if done, err := f.scan(b[:n]); done || err != nil {
			if len(req) == 1 {
				return nil, io.EOF
			}
			return req, err
		}
	}
}

// A server that answers each unit at once while it still reads: a client that
// wrote all before it read would be stuck when both buffers are full.
func TestAnswerWhileWriting(t *testing.T) {
	ctl := fake(t, func(c net.Conn) {
		b := make([]byte, 1<<16)
		refusal := bytes.Repeat(unitBytes(itemError, strings.Repeat("no ", 1000)), 20)
		var f frame
		for {
			n, err := io.ReadFull(c, b)
			if _, werr := c.Write(refusal); werr != nil {
				return
			}
			if done, _ := f.scan(b[:n]); done || err != nil {
				c.Write([]byte{unitBlock})
				return
			}
		}
	})
	ctl.timeout = 10 * time.Second
	r := newRequest("zone-set")
	for range 32 {
		r.unit("z.")
		r.item(itemData, strings.Repeat("x", maxItem-38))
	}
	// Pad to whole reads of the server.
	for len(r.buf)%(1<<16) != 1<<16-1 {
		n := min(maxItem, 1<<16-1-len(r.buf)%(1<<16)-3)
		if n < 0 {
			n = 100
		}
		r.item(itemFilter, strings.Repeat("x", n))
	}
	err := ctl.do(context.Background(), func(k *conn) error { return k.units(r, ctl.timeout, nil) })
	var refused *ControlError
	if !errors.As(err, &refused) {
		t.Fatal(err)
	}
}

func TestFullBacklog(t *testing.T) {
	release := make(chan struct{})
	ctl := fake(t, func(net.Conn) { <-release })
	defer close(release)
	// Nobody accepts: connections pile up until the backlog is full.
	var conns []net.Conn
	defer func() {
		for _, c := range conns {
			c.Close()
		}
	}()
	for {
		c, err := net.DialTimeout("unix", ctl.path, time.Second)
		if err != nil {
			break
		}
		if conns = append(conns, c); len(conns) > 20000 {
			t.Fatal("no limit on waiting connections")
		}
	}
	start := time.Now()
	_, err := ctl.Version(context.Background())
	if !errors.Is(err, ErrUnavailable) || time.Since(start) > 20*fakeTimeout {
		t.Fatal(time.Since(start), err)
	}
}

func TestAbsentSocket(t *testing.T) {
	ctl := NewControl(filepath.Join(t.TempDir(), "none"), fakeTimeout)
	_, err := ctl.Version(context.Background())
	if !errors.Is(err, ErrUnavailable) || !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "is knotd running") {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Millisecond)
	defer cancel()
	if err := ctl.WaitReady(ctx); !errors.Is(err, ErrUnavailable) {
		t.Fatal(err)
	}
}

func TestZoneReadIsSafe(t *testing.T) {
	for v, want := range map[string]bool{"3.2.6": false, "3.2.7": true, "3.2.12": true, "3.1.9": false, "3.4.6": true, "4.0.0": true, "2.9.9": false, "": false, "x": false} {
		if got := zoneReadIsSafe(v); got != want {
			t.Errorf("%q: %v", v, got)
		}
	}
}

func TestSerialAhead(t *testing.T) {
	for _, c := range []struct {
		a, b uint32
		want bool
	}{{1, 2, true}, {2, 1, false}, {1, 1, false}, {4294967295, 0, true}, {0, 1 << 31, false}, {0, 1<<31 - 1, true}} {
		if serialAhead(c.a, c.b) != c.want {
			t.Errorf("%d to %d", c.a, c.b)
		}
	}
}

// The frame, fed in any pieces, ends a reply exactly where the decoder does.
func FuzzReply(f *testing.F) {
	f.Add([]byte{unitBlock}, uint8(1))
	f.Add(append(unitBytes(itemZone, "z.", itemType, "serial", itemData, "7"), unitExtra, itemFirst+itemData, 0, 1, '-', unitBlock), uint8(3))
	f.Add(append(unitBytes(itemOwner, "z.", itemTTL, "300", itemType, "SOA", itemData, "ns. h. 7 1 1 1 1"), unitBlock), uint8(255))
	f.Add(append(unitBytes(itemError, "no such zone found"), unitEnd), uint8(2))
	f.Add([]byte{unitData, itemLast, 0, 1, 'x', unitBlock}, uint8(1))
	f.Add([]byte{unitData, itemFirst, 255, 255, 'x', unitBlock}, uint8(1))
	f.Fuzz(func(t *testing.T, b []byte, piece uint8) {
		n := 0
		err := eachUnit(string(b), func(u *unit) error {
			n++
			_, _ = u.record()
			_ = u.err("x")
			var s Status
			_ = s.set(u.get(itemType), u.get(itemData))
			return nil
		})
		if n > len(b) {
			t.Fatalf("%d units in %d bytes", n, len(b))
		}
		var fr frame
		var done bool
		var ferr error
		rest := b
		for len(rest) > 0 && !done && ferr == nil {
			k := min(len(rest), int(piece)+1)
			// A piece that ends the reply must be the last one.
			done, ferr = fr.scan(rest[:k])
			rest = rest[k:]
		}
		whole := done && len(rest) == 0 && ferr == nil
		if whole != (err == nil) {
			t.Fatalf("decoder says %v, frame says %v, %v with %d left", err, done, ferr, len(rest))
		}
		_, _ = parseRecords("x", string(b))
	})
}

// What is sent is what is read.
func FuzzRequest(f *testing.F) {
	f.Add("www.example.", "A", "192.0.2.1", uint32(300))
	f.Add("", "", "", uint32(0))
	f.Fuzz(func(t *testing.T, owner, typ, data string, ttl uint32) {
		in := Record{Owner: owner, TTL: ttl, Type: typ, Data: data}
		if in.check(".") != nil {
			return
		}
		r := newRequest("zone-set")
		r.unit("z.")
		r.item(itemOwner, owner)
		r.item(itemTTL, "300")
		r.item(itemType, typ)
		r.item(itemData, data)
		err := eachUnit(string(r.block()), func(u *unit) error {
			out, err := u.record()
			out.TTL = ttl
			if err != nil || out != in || u.get(itemZone) != "z." || u.get(itemCmd) != "zone-set" {
				t.Fatalf("%q became %q, %v", in, out, err)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if binary.BigEndian.Uint16(r.buf[2:]) != uint16(len("zone-set")) {
			t.Fatal("length")
		}
	})
}
