package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"zonesigner/dnssec"
	"zonesigner/zonesignerd/config"
	"zonesigner/zonesignerd/internal/api"
	"zonesigner/zonesignerd/internal/sharefile"
)

// testNow is the clock of the scripts.
var testNow = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

// fakeDaemon answers as a daemon with a fixed state would. What a request
// comes to depends on its zone: slow.example. waits for operator c for ever,
// refused.example. is refused, broken.example. does not verify, and all
// others are done when they are asked for a second time.
type fakeDaemon struct {
	mu       sync.Mutex
	requests map[string]*api.Request
	asked    map[string]int
	reloads  chan struct{}
	closed   chan struct{}
}

func newFakeDaemon() *fakeDaemon {
	return &fakeDaemon{
		requests: map[string]*api.Request{}, asked: map[string]int{},
		reloads: make(chan struct{}, 8), closed: make(chan struct{}),
	}
}

func (f *fakeDaemon) Close() { close(f.closed) }

func (f *fakeDaemon) Version(context.Context) (*api.Version, error) {
	return &api.Version{Version: "1.2.3", GoVersion: "go", Operator: "a", Wire: []int{1}}, nil
}

func (f *fakeDaemon) group() api.Group {
	g := config.Group{Name: "example", Epoch: 1, Threshold: 1, Engine: config.MalShamir}
	for _, name := range []string{"a", "b", "c"} {
		g.Operators = append(g.Operators, config.Operator{Name: name, NKey: "U" + strings.ToUpper(name), Address: name + ".example:7473"})
	}
	return api.DescribeGroup(&g, "a")
}

func (f *fakeDaemon) Group(context.Context) (*api.Group, error) {
	g := f.group()
	return &g, nil
}

func (f *fakeDaemon) zones() []api.ZoneStatus {
	return []api.ZoneStatus{
		{
			Zone: "disputed.example.", State: api.ZoneDisputed, SourceSerial: 8, ServedSerial: 7,
			EarliestExpiry: testNow.Add(15 * 24 * time.Hour),
			Next:           api.Next{Kind: api.ActorPeer, Name: "b", WaitsFor: "its copy to be as the others'"},
			Refusals: []api.Refusal{{
				Peer: "b", Code: "differs", Reason: "www.disputed.example. A differs from ours at serial 8 \x1b[2J", At: testNow.Add(-time.Minute),
				Records: []string{"www.disputed.example. A: 192.0.2.1, ours 192.0.2.2"},
			}},
		},
		{
			Zone: "example.org.", State: api.ZoneSigned, SourceSerial: 2026112001, ServedSerial: 2026112002,
			LastSigned: testNow.Add(-2 * time.Hour), EarliestExpiry: testNow.Add(20 * 24 * time.Hour), NextRefresh: testNow.Add(5 * 24 * time.Hour),
			Next: api.Next{Kind: api.ActorClock, WaitsFor: "refresh", At: testNow.Add(5 * 24 * time.Hour)},
			Lag:  []api.PeerZone{{Peer: "b", Policy: api.PolicySame, Serial: 2026112002, Since: testNow.Add(-2 * time.Hour)}, {Peer: "c", Policy: api.PolicySame, Serial: 2026112001, Since: testNow.Add(-26 * time.Hour), Behind: 7200}},
		},
	}
}

func (f *fakeDaemon) Status(context.Context) (*api.Status, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := &api.Status{
		Operator: "a", Version: "1.2.3", Started: testNow.Add(-3 * time.Hour), Now: testNow, Group: f.group(),
		Tuples: api.TupleState{State: "suspended", Generation: 12, Reason: "the machine restarted", WaitsFor: []string{"c"}},
		Knots: []api.KnotState{
			{Role: "hidden", Socket: "/run/knot-hidden/knot.sock", OK: true, Version: "3.2.6"},
			{Role: "public", Socket: "/run/knot/knot.sock", Reason: "connection refused"},
		},
		Peers: []api.Peer{
			{Name: "b", Ready: true, RTTSeconds: 0.0004, LastSeen: testNow},
			{Name: "c", LastSeen: testNow.Add(-12 * time.Second), Reason: "no answer to probes for 12 s"},
		},
		Without: []api.Without{{Operator: "b", Never: true}, {Operator: "c", Until: testNow.Add(72 * time.Hour), Zone: "example.org."}},
		Zones:   f.zones(), Requests: []api.Request{},
		Warnings: []string{"engine shamir does not protect against an altered daemon"},
	}
	for _, r := range f.requests {
		s.Requests = append(s.Requests, *r)
	}
	return s, nil
}

func (f *fakeDaemon) Zones(context.Context) ([]api.ZoneStatus, error) { return f.zones(), nil }

func (f *fakeDaemon) Zone(ctx context.Context, zone string) (*api.ZoneDetail, error) {
	for _, z := range f.zones() {
		if z.Zone == zone {
			keys, err := f.Keys(ctx, zone)
			return &api.ZoneDetail{
				ZoneStatus: z, PolicyDigest: strings.Repeat("ab", 32), Policy: "version: 1\n", Keys: keys,
				Denial: "NSEC3, no salt, 0 iterations", SourceFrom: "hidden Knot", PublishTo: "public Knot",
				RRSIGs: 40, RRsets: 100, Stages: []api.Stage{{Name: "plan", Seconds: 0.25}},
			}, err
		}
	}
	return nil, api.Errorf(api.CodeNotFound, "%s is no zone of this daemon", zone)
}

func (f *fakeDaemon) Keys(_ context.Context, zone string) ([]api.Key, error) {
	keys := []api.Key{}
	for _, k := range []api.Key{
		{
			ID: "0123456789abcdef0123456789abcdef", Zone: "example.org.", Role: "KSK", Engine: config.MalShamir, Algorithm: 13, Tag: 34812,
			State: "active", Created: testNow.Add(-48 * time.Hour), DNSKEY: "example.org. 3600 IN DNSKEY 257 3 13 AAAA",
			DS: []string{"example.org. IN DS 34812 13 2 00"}, Confirmed: []string{"a", "b", "c"},
		},
		{
			ID: "0123450000abcdef0123456789abcdef", Zone: "example.org.", Role: "ZSK", Engine: config.MalShamir, Algorithm: 13, Tag: 11,
			State: "active", Created: testNow.Add(-48 * time.Hour), DNSKEY: "example.org. 3600 IN DNSKEY 256 3 13 AAAB", Confirmed: []string{"a", "b", "c"},
		},
	} {
		if zone == "both.example." { // in an algorithm roll-over
			k.Zone, k.Algorithm = zone, uint8(13+2*len(keys))
		}
		if zone == "" || zone == k.Zone {
			keys = append(keys, k)
		}
	}
	return keys, nil
}

func (f *fakeDaemon) Pools(context.Context, string) ([]api.Pool, error) {
	return []api.Pool{
		{Key: "0123456789abcdef", Zone: "example.org.", Tag: 34812, SignerSet: "a+b+c", Stripe: "a", Depth: 4096, Wanted: 4096, LastsTill: testNow.Add(72 * time.Hour), Next: api.Next{Kind: api.ActorNone}},
		{Key: "0123456789abcdef", Zone: "example.org.", Tag: 34812, SignerSet: "a+b", Without: []string{"c"}, Stripe: "b", Wanted: 1024, Next: api.Next{Kind: api.ActorPeer, Name: "c", WaitsFor: "to be back"}},
	}, nil
}

func (f *fakeDaemon) AddZone(_ context.Context, a api.AddZone) (*api.Request, error) {
	p, err := config.ParsePolicy(a.File, []byte(a.Policy))
	if err != nil {
		return nil, err
	}
	return f.ask(api.KindZoneAdd, p.Zone)
}

func (f *fakeDaemon) RemoveZone(_ context.Context, r api.RemoveZone) (*api.Request, error) {
	return f.ask(api.KindZoneRemove, r.Zone)
}

func (f *fakeDaemon) ConfirmDS(_ context.Context, c api.ConfirmDS) (*api.Request, error) {
	return f.ask(api.KindDSPublished, c.Zone)
}

func (f *fakeDaemon) ResumeKey(_ context.Context, r api.ResumeKey) (*api.Request, error) {
	return f.ask(api.KindKeysResume, r.Key)
}

func (f *fakeDaemon) SignNow(_ context.Context, s api.SignNow) (*api.Request, error) {
	return f.ask(api.KindSignNow, s.Zone)
}

func (f *fakeDaemon) ApproveZone(_ context.Context, a api.ApproveZone) (*api.Request, error) {
	content, err := dnssec.ParseZone(a.Text, a.Zone, "")
	if err != nil {
		return nil, err
	}
	r, err := f.ask(api.KindZoneApprove, a.Zone)
	r.Content = fmt.Sprintf("%x", content.ContentDigest())
	r.Progress, r.Command = "www A differs from ours at serial 1", "zonesignerd zones approve FILE"
	return r, err
}

func (f *fakeDaemon) SignedZone(_ context.Context, zone string, serial uint32, w io.Writer) error {
	if _, err := fmt.Fprintf(w, "%s signed as %d\n", zone, serial); err != nil || zone != "cut.example." {
		return err
	}
	return errors.New("the rest is lost")
}

func (f *fakeDaemon) Manifest(_ context.Context, d api.Draft, w io.Writer) error {
	text := fmt.Sprintf("zone %s at %d\n", d.Zone, d.At)
	switch {
	case d.Zone == "gone.example.":
		return api.Errorf(api.CodeNotFound, "%s is no zone of this daemon", d.Zone)
	case d.Text != nil:
		content, err := dnssec.ParseZone(d.Text, d.Zone, "")
		if err != nil {
			return err
		}
		text += fmt.Sprintf("content %x\n", content.ContentDigest())
	case d.Zone == "2.0.192.in-addr.arpa.":
		golden, err := os.ReadFile("../testdata/golden/reverse.nsec.manifest")
		if err != nil {
			return err
		}
		text = string(golden)
	}
	_, err := io.WriteString(w, text)
	return err
}

func (f *fakeDaemon) GenerateKeys(_ context.Context, g api.GenerateKeys) (*api.Request, error) {
	return f.ask(api.KindKeysGenerate, g.Zone)
}

func (f *fakeDaemon) ImportKeys(_ context.Context, i api.ImportKeys) (*api.Request, error) {
	file, err := sharefile.Parse(i.Files[0].Content)
	if err != nil {
		return nil, api.Errorf(api.CodeUsage, "%s: %w", i.Files[0].File, err)
	}
	return f.ask(api.KindKeysImport, file.Zone)
}

func (f *fakeDaemon) StageGroup(_ context.Context, s api.StageGroup) (*api.Request, error) {
	if _, err := config.ParseGroup(s.File, []byte(s.Group)); err != nil {
		return nil, err
	}
	return f.ask(api.KindGroupStage, "epoch 2")
}

func (f *fakeDaemon) ask(kind, subject string) (*api.Request, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	r := &api.Request{
		Digest: strings.Repeat("0d", 32), Kind: kind, Subject: subject, State: api.RequestWaiting,
		Asked: []string{"a", "b"}, WaitsFor: []string{"c"}, Since: testNow,
	}
	if kind == api.KindKeysImport {
		r.Command = "zonesignerd keys import " + sharefile.Name(subject, 13, 34812, "c")
	}
	if kind == api.KindKeysGenerate {
		r.Command = "zonesignerd keys generate " + strings.TrimSuffix(subject, ".")
	}
	f.requests[r.Digest] = r
	return r, nil
}

func (f *fakeDaemon) Request(ctx context.Context, digest string) (*api.Request, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	r := f.requests[digest]
	if r == nil {
		return nil, api.Errorf(api.CodeNotFound, "no request %s", digest)
	}
	if f.asked[digest]++; f.asked[digest] == 1 {
		return r, nil
	}
	now := *r
	fail := func(code api.Code, message string) {
		now.State, now.Error = api.RequestFailed, &api.Error{Code: code, Message: message, Peers: []string{"b"}}
	}
	switch r.Subject {
	case "slow.example.":
	case "refused.example.":
		fail(api.CodeRefused, "operator b refuses: www.refused.example. A differs")
	case "broken.example.":
		fail(api.CodeVerification, "a signature by operators b and c does not verify")
	default:
		now.State, now.WaitsFor, now.Asked = api.RequestDone, nil, []string{"a", "b", "c"}
		now.Serial, now.Unchanged = 2026112003, r.Subject == "same.example."
		if r.Kind == api.KindKeysGenerate || r.Kind == api.KindKeysImport {
			now.Keys, _ = f.Keys(ctx, "")
		}
	}
	return &now, nil
}

func (f *fakeDaemon) Reload(context.Context) (*api.Reload, error) {
	f.reloads <- struct{}{}
	return &api.Reload{Changed: []string{"log.level"}}, nil
}

func (f *fakeDaemon) Backup(context.Context) (*api.Backup, error) {
	return &api.Backup{File: []byte("sealed")}, nil
}
