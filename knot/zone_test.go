package knot_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"zonesigner/knot"
	"zonesigner/knot/knottest"
)

const example = "example."

func ctxOf(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), knottest.Wait)
	t.Cleanup(cancel)
	return ctx
}

func soa(serial int) string {
	return fmt.Sprintf("example. 300 SOA ns.example. host.example. %d 3600 600 86400 300\n", serial)
}

func records(t testing.TB, text string) []knot.Record { return knottest.Records(t, text) }

// sorted is for comparing; Knot prints in its own order.
func sorted(rs []knot.Record) string {
	var lines []string
	for _, r := range rs {
		lines = append(lines, r.String())
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

func public(t testing.TB) (*knottest.Server, *knot.Control) {
	s := knottest.Start(t, knottest.Config{Zones: []knottest.Zone{{Name: example}}})
	return s, s.Control()
}

func apply(t testing.TB, ctl *knot.Control, ch knot.Change) {
	t.Helper()
	if err := ctl.Apply(ctxOf(t), example, ch); err != nil {
		t.Fatal(err)
	}
}

func wantZone(t testing.TB, ctl *knot.Control, want string) {
	t.Helper()
	got, _, err := ctl.ReadZone(ctxOf(t), example)
	if err != nil {
		t.Fatal(err)
	}
	if g, w := sorted(got), sorted(records(t, want)); g != w {
		t.Fatalf("zone is\n%s\nexpected\n%s", g, w)
	}
}

const base = `example. 300 NS ns.example.
ns.example. 300 A 192.0.2.1
www.example. 300 A 192.0.2.80
www.example. 300 A 192.0.2.81
www.example. 300 TXT "a b" "c\"d"
a\.b\032c.example. 300 A 192.0.2.2
t.example. 300 TYPE65280 \# 4 01020304
`

func TestApplyAndRead(t *testing.T) {
	s, ctl := public(t)
	ctx := ctxOf(t)

	if _, _, err := ctl.ReadZone(ctx, example); !errors.Is(err, knot.ErrZoneEmpty) {
		t.Fatalf("empty zone: %v", err)
	}
	// In full into an empty zone.
	apply(t, ctl, knot.Change{Full: true, Add: records(t, soa(1)+base)})
	wantZone(t, ctl, soa(1)+base)

	// A change: a record goes, one comes, an RRset changes its TTL, a name
	// with records becomes an alias.
	apply(t, ctl, knot.Change{
		Remove: records(t, soa(1)+`www.example. 300 A 192.0.2.80
www.example. 300 A 192.0.2.81
www.example. 300 TXT "a b" "c\"d"
ns.example. 300 A 192.0.2.1
`),
		Add: records(t, soa(2)+`www.example. 60 CNAME ns.example.
ns.example. 900 A 192.0.2.1
new.example. 300 AAAA 2001:db8::1
`),
	})
	second := soa(2) + `example. 300 NS ns.example.
ns.example. 900 A 192.0.2.1
www.example. 60 CNAME ns.example.
new.example. 300 AAAA 2001:db8::1
a\.b\032c.example. 300 A 192.0.2.2
t.example. 300 TYPE65280 \# 4 01020304
`
	wantZone(t, ctl, second)
	if m := s.Query("www.example.", dns.TypeA); len(m.Answer) != 2 {
		t.Fatalf("served: %v", m)
	}

	// In full again: what was there goes, equal records are left alone.
	apply(t, ctl, knot.Change{Full: true, Add: records(t, soa(3)+base)})
	wantZone(t, ctl, soa(3)+base)
	if got := len(s.AXFR(example)); got != 8 {
		t.Fatalf("transfer has %d records, expected 8", got)
	}
	// It is in the journal: a restart keeps it.
	s.Stop()
	s.Restart()
	s.WaitSerial(example, 3)
	wantZone(t, ctl, soa(3)+base)
}

func TestApplyRefuses(t *testing.T) {
	_, ctl := public(t)
	ctx := ctxOf(t)
	apply(t, ctl, knot.Change{Full: true, Add: records(t, soa(5)+base)})

	var refused *knot.ControlError
	for name, c := range map[string]struct {
		zone string
		ch   knot.Change
		is   error
		text string
	}{
		"record that exists":    {ch: knot.Change{Add: records(t, soa(6)+"www.example. 300 A 192.0.2.80\nz.example. 300 A 192.0.2.9\n")}, is: knot.ErrDiffers, text: "www.example. A"},
		"record that is absent": {ch: knot.Change{Remove: records(t, "www.example. 300 A 192.0.2.99\n"), Add: records(t, soa(6))}, is: knot.ErrDiffers},
		"data that is none":     {ch: knot.Change{Add: records(t, soa(6)+"z.example. 300 A zzz\n")}, text: "parser failed"},
		"serial that stands":    {ch: knot.Change{Add: records(t, soa(5)+"z.example. 300 A 192.0.2.9\n")}, is: knot.ErrSerial},
		"serial that goes back": {ch: knot.Change{Add: records(t, soa(4))}, is: knot.ErrSerial},
		"no soa":                {ch: knot.Change{Add: records(t, "z.example. 300 A 192.0.2.9\n")}, text: "0 soa records"},
		"two soas":              {ch: knot.Change{Add: records(t, soa(6)+soa(7))}, text: "2 soa records"},
		"soa elsewhere":         {ch: knot.Change{Add: []knot.Record{{Owner: "w.example.", Type: "SOA", Data: ". . 6 1 1 1 1"}}}, text: "apex"},
		"relative owner":        {ch: knot.Change{Add: records(t, soa(6)+"z.example 300 A 192.0.2.9\n")}, text: "not absolute"},
		"owner outside":         {ch: knot.Change{Add: records(t, soa(6)+"z.badexample. 300 A 192.0.2.9\n")}, text: "not in zone"},
		"oversize":              {ch: knot.Change{Add: append(records(t, soa(6)), knot.Record{Owner: example, Type: "TXT", Data: strings.Repeat("x", 1<<16)})}, text: "65535"},
		"zone that is unknown":  {zone: "nope.", ch: knot.Change{Add: []knot.Record{{Owner: "nope.", Type: "SOA", Data: ". . 6 1 1 1 1"}}}, is: knot.ErrZoneUnknown},
	} {
		zone := c.zone
		if zone == "" {
			zone = example
		}
		err := ctl.Apply(ctx, zone, c.ch)
		switch {
		case err == nil:
			t.Errorf("%s: accepted", name)
		case c.is != nil && !errors.Is(err, c.is):
			t.Errorf("%s: %v, expected %v", name, err, c.is)
		case !strings.Contains(err.Error(), c.text):
			t.Errorf("%s: %v, expected %q in it", name, err, c.text)
		case c.is == knot.ErrDiffers && (!errors.As(err, &refused) || refused.Owner != "www.example."):
			t.Errorf("%s: %#v names no record", name, refused)
		}
		st, err := ctl.ZoneStatus(ctx, example)
		if err != nil || st.TransactionOpen || st.Serial != 5 {
			t.Fatalf("%s: left %+v, %v", name, st, err)
		}
	}
	wantZone(t, ctl, soa(5)+base)
}

// Knot takes the command of a block's first unit for all of them, so removals
// and additions must not share a block; 5,000 of each take several.
func TestBatches(t *testing.T) {
	_, ctl := public(t)
	host := func(i, net int) knot.Record {
		return knot.Record{Owner: fmt.Sprintf("h%d.example.", i), TTL: 300, Type: "A", Data: fmt.Sprintf("192.0.%d.1", net)}
	}
	first, second := records(t, soa(1)+base), records(t, soa(2))
	var gone []knot.Record
	for i := range 5000 {
		first = append(first, host(i, 2))
		gone = append(gone, host(i, 2))
		second = append(second, host(i, 3))
	}
	apply(t, ctl, knot.Change{Full: true, Add: first})
	apply(t, ctl, knot.Change{Remove: gone, Add: second})
	got, serial, err := ctl.ReadZone(ctxOf(t), example)
	if err != nil || serial != 2 || len(got) != len(first) {
		t.Fatalf("%d records of serial %d, %v", len(got), serial, err)
	}
	if !slices.Contains(got, host(4999, 3)) || slices.Contains(got, host(0, 2)) {
		t.Fatal("the change was not made")
	}
}

func TestZones(t *testing.T) {
	cfg := knottest.Config{}
	for i := range 200 {
		cfg.Zones = append(cfg.Zones, knottest.Zone{Name: fmt.Sprintf("z%d.example.", i)})
	}
	s := knottest.Start(t, cfg)
	ctl := s.Control()
	ctx := ctxOf(t)
	if err := ctl.Apply(ctx, "z7.example", knot.Change{Full: true, Add: []knot.Record{
		{Owner: "z7.example.", TTL: 1, Type: "SOA", Data: ". . 4294967295 1 1 1 1"}, {Owner: "z7.example.", TTL: 1, Type: "NS", Data: "ns."}}}); err != nil {
		t.Fatal(err)
	}
	s.Command("zone-begin", "z8.example.")
	all, err := ctl.Zones(ctx)
	if err != nil || len(all) != 200 {
		t.Fatalf("%d zones, %v", len(all), err)
	}
	for _, st := range all {
		want := knot.Status{Zone: st.Zone, Exists: true, TransactionOpen: st.Zone == "z8.example."}
		if st.Zone == "z7.example." {
			want.HasSerial, want.Serial = true, 4294967295
		}
		if st != want {
			t.Errorf("%+v, expected %+v", st, want)
		}
	}
	if st, err := ctl.ZoneStatus(ctx, "other."); err != nil || st.Exists {
		t.Fatalf("unknown zone: %+v, %v", st, err)
	}
	s.Command("zone-abort", "z8.example.") // while one is open, 3.4 and later refuse a reload
	s.AddZone(knottest.Zone{Name: "other."})
	if st, err := ctl.ZoneStatus(ctx, "Other"); err != nil || !st.Exists || st.Zone != "other." {
		t.Fatalf("added zone: %+v, %v", st, err)
	}
	if v, err := ctl.Version(ctx); err != nil || !strings.HasPrefix(v, "3.") {
		t.Fatalf("version %q, %v", v, err)
	}
}

func hiddenZone(serial, hosts int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "$ORIGIN example.\n$TTL 300\n@ SOA ns host %d 3600 600 86400 300\n@ NS ns\nns A 192.0.2.1\nversion TXT \"%d\"\n", serial, serial)
	for i := range hosts {
		fmt.Fprintf(&b, "h%d A 192.0.2.2\nh%d TXT \"%d\"\n", i, i, serial)
	}
	return b.String()
}

// Reloads fall into reads; before 3.2.7 a bare zone-read would crash knotd.
// All hundred reads must be whole and of one version.
func TestReadDuringReloads(t *testing.T) {
	const hosts, reads = 1000, 100
	s := knottest.Start(t, knottest.Config{Zones: []knottest.Zone{{Name: example, Text: hiddenZone(1, hosts)}}})
	s.WaitSerial(example, 1)
	done := make(chan struct{})
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		for serial := 2; ; serial++ {
			select {
			case <-done:
				return
			default:
			}
			s.WriteZone(example, hiddenZone(serial, hosts))
			s.Reload(example)
			s.WaitSerial(example, uint32(serial))
		}
	}()
	defer func() { close(done); <-stopped }()
	ctl := s.Control()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	versions := map[uint32]bool{}
	for i := range reads {
		got, serial, err := ctl.ReadZone(ctx, example)
		if err != nil {
			t.Fatalf("read %d: %v\n%s", i, err, s.Log())
		}
		if len(got) != 4+2*hosts {
			t.Fatalf("read %d: %d records, expected %d", i, len(got), 4+2*hosts)
		}
		want := fmt.Sprintf("%q", fmt.Sprint(serial))
		for _, r := range got {
			if r.Type == "TXT" && r.Data != want {
				t.Fatalf("read %d: %s in a zone of serial %d", i, r, serial)
			}
		}
		versions[serial] = true
	}
	if !s.Running() {
		t.Fatalf("knotd is gone\n%s", s.Log())
	}
	if len(versions) < 2 {
		t.Fatal("no reload fell between the reads")
	}
}

func TestStaleTransaction(t *testing.T) {
	s, ctl := public(t)
	ctx := ctxOf(t)
	apply(t, ctl, knot.Change{Full: true, Add: records(t, soa(1)+base)})
	if aborted, err := ctl.AbortStale(ctx, example); aborted || err != nil {
		t.Fatalf("nothing to abort: %v, %v", aborted, err)
	}
	s.Command("zone-begin", example) // as one that crashed would leave it
	if aborted, err := ctl.AbortStale(ctx, example); !aborted || err != nil {
		t.Fatalf("abort: %v, %v", aborted, err)
	}
	apply(t, ctl, knot.Change{Add: records(t, soa(2))})
	// Where nobody looked for it, a push clears it.
	s.Command("zone-begin", example)
	apply(t, ctl, knot.Change{Add: records(t, soa(3))})
	wantZone(t, ctl, soa(3)+base)
	if st, err := ctl.ZoneStatus(ctx, example); err != nil || st.TransactionOpen {
		t.Fatalf("%+v, %v", st, err)
	}
	if _, err := ctl.AbortStale(ctx, "nope."); !errors.Is(err, knot.ErrZoneUnknown) {
		t.Fatalf("unknown zone: %v", err)
	}
}

// On the hidden Knot an open transaction may be the owner's edit.
func TestHiddenTransactionIsLeftAlone(t *testing.T) {
	s := knottest.Start(t, knottest.Config{Zones: []knottest.Zone{{Name: example, Text: hiddenZone(1, 1)}}})
	s.WaitSerial(example, 1)
	ctl := s.Control()
	ctx := ctxOf(t)
	s.Command("zone-begin", example)
	_, _, err := ctl.ReadZone(ctx, example)
	if err != nil && !errors.Is(err, knot.ErrTransactionOpen) {
		t.Fatal(err) // 3.2.6 says that it is open, later ones read past it
	}
	st, err := ctl.ZoneStatus(ctx, example)
	if err != nil || !st.TransactionOpen {
		t.Fatalf("the owner's transaction is gone: %+v, %v", st, err)
	}
	s.Command("zone-abort", example)
	if _, _, err := ctl.ReadZone(ctx, example); err != nil {
		t.Fatal(err)
	}
}

func TestSocketVanishesAndComesBack(t *testing.T) {
	s, ctl := public(t)
	apply(t, ctl, knot.Change{Full: true, Add: records(t, soa(1)+base)})
	s.Stop()
	_, err := ctl.ZoneStatus(ctxOf(t), example)
	if !errors.Is(err, knot.ErrUnavailable) || !strings.Contains(err.Error(), s.Socket) {
		t.Fatalf("stopped: %v", err)
	}
	ready := make(chan error, 1)
	go func() { ready <- ctl.WaitReady(ctxOf(t)) }()
	s.Restart()
	if err := <-ready; err != nil {
		t.Fatal(err)
	}
	s.WaitSerial(example, 1)
	apply(t, ctl, knot.Change{Add: records(t, soa(2))})
}

// A client that connects and is silent holds the only control thread of 3.2.
// An action then ends with its context, and works once that client is gone.
func TestSilentClient(t *testing.T) {
	s, ctl := public(t)
	silent, err := net.Dial("unix", s.Socket)
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	if _, err := ctl.Version(ctx); err != nil && !errors.Is(err, knot.ErrUnavailable) {
		t.Fatal(err) // 3.4 and later serve both
	}
	silent.Close()
	if _, err := ctl.Version(ctxOf(t)); err != nil {
		t.Fatal(err)
	}
}

// Actions of several goroutines take turns, and a cancelled one does not wait
// for its turn.
func TestTurns(t *testing.T) {
	s, ctl := public(t)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := ctl.Version(ctx); !errors.Is(err, knot.ErrUnavailable) || !errors.Is(err, context.Canceled) {
		t.Fatalf("cancelled: %v", err)
	}
	for i := range 8 {
		s.AddZone(knottest.Zone{Name: fmt.Sprintf("z%d.", i)})
	}
	errs := make(chan error)
	for i := range 8 {
		go func() {
			zone := fmt.Sprintf("z%d.", i)
			var err error
			for serial := 1; serial <= 10 && err == nil; serial++ {
				err = ctl.Apply(ctxOf(t), zone, knot.Change{Full: true, Add: []knot.Record{
					{Owner: zone, TTL: 1, Type: "SOA", Data: fmt.Sprintf(". . %d 1 1 1 1", serial)}, {Owner: zone, TTL: 1, Type: "NS", Data: "ns."}}})
			}
			errs <- err
		}()
	}
	for range 8 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
}

// A purged zone is not served, and a push in full brings it back, even under
// a lower serial.
func TestPurge(t *testing.T) {
	s, ctl := public(t)
	apply(t, ctl, knot.Change{Full: true, Add: records(t, soa(9)+base)})
	if err := ctl.Purge(ctxOf(t), example); err != nil {
		t.Fatal(err)
	}
	st, err := ctl.ZoneStatus(ctxOf(t), example)
	if err != nil || !st.Exists || st.HasSerial {
		t.Fatalf("%+v, %v", st, err)
	}
	if m := s.Query(example, dns.TypeSOA); m.Rcode != dns.RcodeServerFailure {
		t.Fatalf("served: %v", m)
	}
	apply(t, ctl, knot.Change{Full: true, Add: records(t, soa(3)+base)})
	s.Kill()
	s.Restart()
	s.WaitSerial(example, 3)
	wantZone(t, ctl, soa(3)+base)
}

// The same zone in another spelling is the same zone: a push in full of it
// changes the serial alone, and a removal finds its record.
func TestSpellings(t *testing.T) {
	s, ctl := public(t)
	one := base + `d.example. 300 DS 12345 13 2 00112233445566778899AABBCCDDEEFF00112233445566778899AABBCCDDEEFF
x.example. 300 NSEC3 1 0 0 - 0P9MHAVEQVM6T7VBL5LOP2U3T2RP3TOM A RRSIG
i.example. 300 AAAA 2001:db8::1
`
	two := strings.NewReplacer("AABBCCDDEEFF", "aabbccddeeff", "0P9MHAVEQVM6T7VBL5LOP2U3T2RP3TOM", "0p9mhaveqvm6t7vbl5lop2u3t2rp3tom",
		"2001:db8::1", "2001:DB8:0::0001", "www.example.", "WWW.Example.", `\# 4 01020304`, `\# 4 0102 0304`).Replace(one)
	apply(t, ctl, knot.Change{Full: true, Add: records(t, soa(1)+one)})
	before := s.AXFR(example)
	apply(t, ctl, knot.Change{Full: true, Add: records(t, soa(2)+two)})
	after := s.AXFR(example)
	if len(before) != len(after) {
		t.Fatalf("%d records became %d", len(before), len(after))
	}
	apply(t, ctl, knot.Change{Remove: records(t, two), Add: records(t, soa(3)+"example. 300 NS ns2.example.\n")})
	wantZone(t, ctl, soa(3)+"example. 300 NS ns2.example.\n")
}
