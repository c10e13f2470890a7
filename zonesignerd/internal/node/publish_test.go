package node

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
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
	srv := knottest.Start(t, knottest.Config{Zones: []knottest.Zone{{Name: "example."}}})
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	dir := t.TempDir()
	must(t, keystore.NewKeyFile(dir+"/key"))
	store, err := keystore.Create(dir+"/keystore", keystore.Options{Seal: keystore.KeyFile(dir + "/key")})
	must(t, err)
	t.Cleanup(func() { _ = store.Close() })
	p := &knotPublisher{ctl: srv.Control(), zone: "example.", store: zoneStore{store}, log: slog.New(slog.DiscardHandler)}

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
