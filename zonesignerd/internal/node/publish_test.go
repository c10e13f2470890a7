package node

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"zonesigner/dnssec"
	"zonesigner/keystore"
	"zonesigner/knot"
	"zonesigner/knot/knottest"
)

// signedBy makes a signed zone with a key of its own.
func signedBy(t *testing.T, key *ecdsa.PrivateKey, serial uint32, records string) *dnssec.SignedZone {
	t.Helper()
	text := "$ORIGIN example.\n$TTL 300\n@ SOA ns1 hostmaster 1 7200 3600 1209600 300\n@ NS ns1\nns1 A 192.0.2.1\n" + records + "\n"
	z, err := dnssec.ParseZone(strings.NewReader(text), "example.", "zone")
	must(t, err)
	public := make([]byte, 64)
	key.X.FillBytes(public[:32])
	key.Y.FillBytes(public[32:])
	plan, err := dnssec.NewPlan(z, dnssec.Params{
		Keys: []dnssec.Key{{ID: "k", Flags: 257, CSK: true, Algorithm: dnssec.ECDSAP256SHA256, PublicKey: public, State: dnssec.Active}},
		Time: uint32(time.Now().Unix()), Lifetime: 86400, Refresh: 3600, Serial: serial,
	})
	must(t, err)
	sigs := make([][64]byte, plan.Len())
	for i := range sigs {
		d := sha256.Sum256(plan.Message(i))
		r, s, err := ecdsa.Sign(rand.Reader, key, d[:])
		must(t, err)
		r.FillBytes(sigs[i][:32])
		s.FillBytes(sigs[i][32:])
	}
	out, err := plan.Assemble(sigs)
	must(t, err)
	return out
}

// What a public Knot holds under our serial, or a later one, and was not given
// by this daemon, is replaced and not taken for ours.
func TestPublishOverForeignContent(t *testing.T) {
	publishOverForeignContent(t, knottest.Config{Zones: []knottest.Zone{{Name: "example."}}}, nil)
}

const transferKey = "hmac-sha256:transfer.key:MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="

func startPrimary(t *testing.T) *knot.Primary {
	t.Helper()
	key, err := knot.ParseTSIG(transferKey)
	must(t, err)
	p, err := knot.ListenPrimary("127.0.0.1:0", key, nil)
	must(t, err)
	t.Cleanup(func() { _ = p.Close() })
	return p
}

// The same by zone transfer.
func TestTransferOverForeignContent(t *testing.T) {
	p := startPrimary(t)
	publishOverForeignContent(t, knottest.Config{TSIG: transferKey, Zones: []knottest.Zone{{Name: "example.", Primary: p.Addr()}}}, p)
}

// What is large is transferred, what is small is pushed; a Knot that cannot
// transfer gets all by push.
func TestPublishByTransfer(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	primary := startPrimary(t)
	var many strings.Builder
	for i := range 100 {
		fmt.Fprintf(&many, "www A 192.0.2.%d\n", i)
	}
	for name, tt := range map[string]struct {
		cfg       knottest.Config
		transfers bool
	}{
		"master":    {knottest.Config{TSIG: transferKey, Zones: []knottest.Zone{{Name: "example.", Primary: primary.Addr()}}}, true},
		"no master": {knottest.Config{Zones: []knottest.Zone{{Name: "example."}}}, false},
		"other key": {knottest.Config{TSIG: strings.Replace(transferKey, "MDEy", "AAAA", 1), Zones: []knottest.Zone{{Name: "example.", Primary: primary.Addr()}}}, false},
	} {
		t.Run(name, func(t *testing.T) {
			srv := knottest.Start(t, tt.cfg)
			p := &knotPublisher{ctl: srv.Control(), primary: primary, zone: "example.", store: zoneStore{newStore(t)},
				log: slog.New(slog.DiscardHandler), most: 60, patience: time.Second}
			first := signedBy(t, key, 5, many.String())
			must(t, p.Publish(t.Context(), first, nil))
			srv.WaitSerial("example.", 5)
			next := signedBy(t, key, 6, many.String()) // the SOA, and all signatures
			must(t, p.Publish(t.Context(), next, first))
			srv.WaitSerial("example.", 6)
			want := 0
			if tt.transfers {
				want = 1
			}
			finished := fmt.Sprintf("AXFR, incoming, remote %s, finished", strings.Replace(primary.Addr(), ":", "@", 1))
			if n := strings.Count(srv.Log(), finished); n != want {
				t.Errorf("%d transfers, expected %d", n, want)
			}
			must(t, p.Withdraw(t.Context()))
			if st, err := srv.Control().ZoneStatus(t.Context(), "example."); err != nil || st.HasSerial {
				t.Errorf("withdrawn, and served: %+v, %v", st, err)
			}
		})
	}
}

func newStore(t *testing.T) *keystore.Store {
	t.Helper()
	dir := t.TempDir()
	must(t, keystore.NewKeyFile(dir+"/key"))
	store, err := keystore.Create(dir+"/keystore", keystore.Options{Seal: keystore.KeyFile(dir + "/key")})
	must(t, err)
	t.Cleanup(func() { _ = store.Close() })
	return store
}

func publishOverForeignContent(t *testing.T, cfg knottest.Config, primary *knot.Primary) {
	srv := knottest.Start(t, cfg)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	store := newStore(t)
	p := &knotPublisher{ctl: srv.Control(), primary: primary, zone: "example.", store: zoneStore{store}, log: slog.New(slog.DiscardHandler), patience: 10 * time.Second}

	ours := signedBy(t, key, 5, "www A 192.0.2.10")
	must(t, p.Publish(t.Context(), ours, nil))
	serves := func(want string) {
		t.Helper()
		records, _, err := srv.Control().ReadZone(t.Context(), "example.")
		must(t, err)
		for _, r := range records {
			if r.Owner == "www.example." && r.Type == "A" {
				if r.Data != want {
					t.Fatalf("www is %s, expected %s", r.Data, want)
				}
				return
			}
		}
		t.Fatal("www is missing")
	}
	serves("192.0.2.10")
	must(t, p.Publish(t.Context(), ours, nil)) // a restart: nothing to do

	for _, serial := range []uint32{5, 9} { // ours, and one ahead
		p.retract() // or Knot would take it again at once
		must(t, srv.Control().Purge(t.Context(), "example."))
		change := knot.Change{Full: true}
		for c := range signedBy(t, key, serial, "www A 203.0.113.66").Changes(nil) {
			change.Add = append(change.Add, knot.Record{Owner: c.Owner, TTL: c.TTL, Type: c.Type, Data: c.Data})
		}
		must(t, srv.Control().Apply(t.Context(), "example.", change))
		serves("203.0.113.66")
		if serial == ours.Serial() { // the store was put back with an older state, say
			must(t, zoneStore{store}.Put(p.key(), []byte("something else")))
		}
		must(t, p.Publish(t.Context(), ours, nil))
		serves("192.0.2.10")
	}
	next := signedBy(t, key, 6, "www A 192.0.2.11")
	must(t, p.Publish(t.Context(), next, ours))
	serves("192.0.2.11")
}
