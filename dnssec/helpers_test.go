package dnssec

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/asn1"
	"encoding/base64"
	"fmt"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// testTime is T in most tests: 2026-11-20 12:00:00 UTC.
const testTime = 1795176000

// testKey is a throw-away key whose private half the test holds.
type testKey struct {
	Key
	priv *ecdsa.PrivateKey  // of algorithm 13
	ed   ed25519.PrivateKey // of algorithm 15
}

// newTestKey makes the same key for the same seed, always.
func newTestKey(seed string, flags uint16, csk bool) testKey {
	d := sha256.Sum256([]byte("zonesigner test key " + seed))
	priv, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), d[:])
	if err != nil {
		panic(err)
	}
	pub, err := priv.PublicKey.Bytes()
	if err != nil {
		panic(err)
	}
	return testKey{Key: Key{ID: seed, Flags: flags, CSK: csk, Algorithm: ECDSAP256SHA256, PublicKey: pub[1:], State: Active}, priv: priv}
}

// newEdKey is newTestKey for algorithm 15.
func newEdKey(seed string, flags uint16, csk bool) testKey {
	d := sha256.Sum256([]byte("zonesigner test key " + seed))
	priv := ed25519.NewKeyFromSeed(d[:])
	return testKey{Key: Key{ID: seed, Flags: flags, CSK: csk, Algorithm: ED25519, PublicKey: priv.Public().(ed25519.PublicKey), State: Active}, ed: priv}
}

// sign makes the deterministic signature of RFC 6979, or of RFC 8032.
func (k testKey) sign(t testing.TB, msg []byte) (sig [64]byte) {
	t.Helper()
	if k.Algorithm == ED25519 {
		return [64]byte(ed25519.Sign(k.ed, msg))
	}
	digest := sha256.Sum256(msg)
	der, err := k.priv.Sign(nil, digest[:], crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	var rs struct{ R, S *big.Int }
	if _, err := asn1.Unmarshal(der, &rs); err != nil {
		t.Fatal(err)
	}
	rs.R.FillBytes(sig[:32])
	rs.S.FillBytes(sig[32:])
	return sig
}

func testParams(keys ...testKey) Params {
	p := Params{Time: testTime, Lifetime: 14 * 86400, Refresh: 7 * 86400, DNSKEYTTL: 3600, Serial: 2026112002}
	for _, k := range keys {
		p.Keys = append(p.Keys, k.Key)
	}
	return p
}

func kskAndZSK() (ksk, zsk testKey) {
	return newTestKey("ksk", 257, false), newTestKey("zsk", 256, false)
}

func mustParse(t testing.TB, origin, text string) *Zone {
	t.Helper()
	z, err := ParseZone(strings.NewReader(text), origin, "")
	if err != nil {
		t.Fatal(err)
	}
	return z
}

func mustPlan(t testing.TB, z *Zone, p Params) *Plan {
	t.Helper()
	plan, err := NewPlan(z, p)
	if err != nil {
		t.Fatal(err)
	}
	return plan
}

// signPlan signs every item.
func signPlan(t testing.TB, plan *Plan, keys ...testKey) *SignedZone {
	t.Helper()
	byID := map[string]testKey{}
	for _, k := range keys {
		byID[k.ID] = k
	}
	sigs := make([][64]byte, plan.Len())
	for i := range sigs {
		sigs[i] = byID[plan.Item(i).KeyID].sign(t, plan.Message(i))
	}
	sz, err := plan.Assemble(sigs)
	if err != nil {
		t.Fatal(err)
	}
	return sz
}

func wantNoFaults(t testing.TB, faults []Fault) {
	t.Helper()
	for i, f := range faults {
		if i == 20 {
			t.Errorf("and %d more", len(faults)-i)
			break
		}
		t.Error(f)
	}
}

func zoneText(t testing.TB, sz *SignedZone) string {
	t.Helper()
	var b strings.Builder
	if _, err := sz.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// run runs a tool and fails the test, with its output, when the tool fails.
func run(t testing.TB, dir, tool string, args ...string) string {
	t.Helper()
	out, err := tryRun(dir, tool, args...)
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", tool, strings.Join(args, " "), err, clipped(out))
	}
	return out
}

func tryRun(dir, tool string, args ...string) (string, error) {
	cmd := exec.Command(tool, args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func clipped(s string) string {
	if len(s) > 4000 {
		return s[:4000] + "..."
	}
	return s
}

// differences lists how two zones differ.
func differences(t testing.TB, a, b *Zone) []FileDifference {
	t.Helper()
	read := func(z *Zone) *ZoneFile {
		var text strings.Builder
		if _, err := z.WriteTo(&text); err != nil {
			t.Fatal(err)
		}
		f, err := ReadZoneFile(strings.NewReader(text.String()), z.Apex().String(), "")
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	return DiffFiles(read(a), read(b))
}

func writeFile(t testing.TB, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// writeBIND writes the key in BIND's format and returns the files' base name.
func (k testKey) writeBIND(t testing.TB, dir string, zone Name) string {
	t.Helper()
	base := fmt.Sprintf("K%s+%03d+%05d", zone, k.Algorithm, k.KeyTag())
	priv, mnemonic := []byte(nil), "ED25519"
	if k.Algorithm == ED25519 {
		priv = k.ed.Seed()
	} else {
		var err error
		if priv, err = k.priv.Bytes(); err != nil {
			t.Fatal(err)
		}
		mnemonic = "ECDSAP256SHA256"
	}
	writeFile(t, dir, base+".key", fmt.Sprintf("%s 3600 IN DNSKEY %d 3 %d %s\n", zone, k.Flags, k.Algorithm, base64.StdEncoding.EncodeToString(k.PublicKey)))
	writeFile(t, dir, base+".private", fmt.Sprintf("Private-key-format: v1.3\nAlgorithm: %d (%s)\nPrivateKey: %s\n"+
		"Created: 20260101000000\nPublish: 20260101000000\nActivate: 20260101000000\n", k.Algorithm, mnemonic, base64.StdEncoding.EncodeToString(priv)))
	return base
}

// hostZone is a zone of n hosts with addresses, and some with MX, TXT and a
// wildcard below.
func hostZone(n int) string {
	var b strings.Builder
	genZoneHead(&b)
	for i := range n {
		x := fmt.Sprintf("%x", sha256.Sum256(fmt.Append(nil, i)))
		name := fmt.Sprintf("n%d-%s", i, x[:6])
		fmt.Fprintf(&b, "%s IN A 198.51.%d.%d\n", name, i>>8&255, i&255)
		if i%2 == 0 {
			fmt.Fprintf(&b, "%s IN AAAA 2001:db8::%s:%x\n", name, x[:4], i&0xffff)
		}
		if i%10 == 0 {
			fmt.Fprintf(&b, "%s IN MX 10 mail.example.test.\n%s IN TXT \"%s\"\n", name, name, x)
		}
		if i%1000 == 0 {
			fmt.Fprintf(&b, "*.%s IN A 198.51.100.7\n", name)
		}
	}
	return b.String()
}

func genZoneHead(b *strings.Builder) {
	b.WriteString(`$ORIGIN example.test.
$TTL 3600
@ IN SOA ns1.example.test. hostmaster.example.test. 2026112001 7200 3600 1209600 300
@ IN NS ns1.example.test.
@ IN NS ns2.example.test.
ns1 IN A 192.0.2.1
ns2 IN A 192.0.2.2
ns1 IN AAAA 2001:db8::1
@ IN MX 10 mail.example.test.
mail IN A 192.0.2.3
@ IN TXT "v=spf1 mx -all"
`)
}
