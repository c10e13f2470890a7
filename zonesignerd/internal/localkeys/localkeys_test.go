package localkeys

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"zonesigner/dnssec"
	"zonesigner/zonesignerd/internal/keyfile"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const apex = dnssec.Name("\x07example\x03org\x00")

const at = 1795176000 // 2026-11-20 12:00:00 UTC

func testZone(t testing.TB, names int) *dnssec.Zone {
	t.Helper()
	var b strings.Builder
	b.WriteString("$TTL 3600\n@ SOA ns host 1 7200 3600 1209600 300\n@ NS ns\nns A 192.0.2.1\n")
	for i := range names {
		fmt.Fprintf(&b, "h%d A 192.0.2.%d\n", i, i&255)
	}
	z, err := dnssec.ParseZone(strings.NewReader(b.String()), apex.String(), "")
	if err != nil {
		t.Fatal(err)
	}
	return z
}

func testPlan(t testing.TB, z *dnssec.Zone, keys []*Key, base *dnssec.SignedZone) *dnssec.Plan {
	t.Helper()
	if err := Roles(keys); err != nil {
		t.Fatal(err)
	}
	plan, err := dnssec.NewPlan(z, dnssec.Params{Keys: ForPlan(keys), Time: at, Lifetime: 86400, Refresh: 3600, Serial: 7, Base: base})
	if err != nil {
		t.Fatal(err)
	}
	return plan
}

func testSign(t testing.TB, plan *dnssec.Plan, keys []*Key) *dnssec.SignedZone {
	t.Helper()
	sigs, err := Sign(t.Context(), plan, keys, 0)
	if err != nil {
		t.Fatal(err)
	}
	sz, err := plan.AssembleStrings(sigs)
	if err != nil {
		t.Fatal(err)
	}
	return sz
}

func testKeys(t testing.TB, algorithm uint8, csk bool) []*Key {
	t.Helper()
	keys, err := Create(t.TempDir(), apex, algorithm, csk)
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

// Zones signed with keys of each algorithm verify, here and elsewhere.
func TestAlgorithms(t *testing.T) {
	for _, algorithm := range []uint8{8, 13, 14, 15} {
		t.Run(keyfile.Mnemonics[algorithm], func(t *testing.T) {
			t.Parallel()
			for _, csk := range []bool{false, true} {
				keys := testKeys(t, algorithm, csk)
				z := testZone(t, 50)
				sz := testSign(t, testPlan(t, z, keys, nil), keys)
				for _, f := range dnssec.Verify(sz, dnssec.VerifyOptions{Keys: ForPlan(keys), At: at}) {
					t.Error(f)
				}
				again := testSign(t, testPlan(t, z, keys, nil), keys)
				if again.Digest() != sz.Digest() {
					t.Error("signed twice, the zone is another")
				}
				path := filepath.Join(t.TempDir(), "signed")
				f, err := os.Create(path)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := sz.WriteTo(f); err != nil {
					t.Fatal(err)
				}
				if err := f.Close(); err != nil {
					t.Fatal(err)
				}
				out, err := exec.CommandContext(t.Context(), "ldns-verify-zone", "-t", "20261120120000", path).CombinedOutput()
				if err != nil {
					t.Errorf("ldns-verify-zone: %v\n%s", err, out)
				}
			}
		})
	}
}

// The signatures are those of the standard library by RFC 6979.
func TestSameAsStandard(t *testing.T) {
	secret, err := keyfile.Generate(13)
	if err != nil {
		t.Fatal(err)
	}
	k, err := newECDSAP256(secret.Private, secret.Public)
	if err != nil {
		t.Fatal(err)
	}
	private, err := secret.Signer()
	if err != nil {
		t.Fatal(err)
	}
	const n = 200
	message := func(i int) []byte { return fmt.Appendf(nil, "message %d", i) }
	sigs := make([]byte, 64*n)
	if err := k.sign(n, message, sigs); err != nil {
		t.Fatal(err)
	}
	for i := range n {
		digest := sha256.Sum256(message(i))
		der, err := private.Sign(nil, digest[:], crypto.SHA256)
		if err != nil {
			t.Fatal(err)
		}
		var rs struct{ R, S *big.Int }
		if _, err := asn1.Unmarshal(der, &rs); err != nil {
			t.Fatal(err)
		}
		var want [64]byte
		rs.R.FillBytes(want[:32])
		rs.S.FillBytes(want[32:])
		if got := [64]byte(sigs[64*i:]); got != want {
			t.Fatalf("message %d: %x, expected %x", i, got, want)
		}
	}
}

// What verify says is what the standard library says, for signatures that
// others made with random nonces and for ones that are wrong in any way.
func TestVerifyWithThePrivateKey(t *testing.T) {
	secret, err := keyfile.Generate(13)
	if err != nil {
		t.Fatal(err)
	}
	k, err := newECDSAP256(secret.Private, secret.Public)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := secret.Signer()
	if err != nil {
		t.Fatal(err)
	}
	private := signer.(*ecdsa.PrivateKey)
	order := private.Params().N
	var messages [][]byte
	var sigs []string
	for i := range 40 {
		message := fmt.Appendf(nil, "message %d", i)
		digest := sha256.Sum256(message)
		r, s, err := ecdsa.Sign(rand.Reader, private, digest[:])
		if err != nil {
			t.Fatal(err)
		}
		sig := append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
		switch i {
		case 1:
			sig[7] ^= 1
		case 3:
			sig[63] ^= 1
		case 5:
			message[0]++
		case 7:
			clear(sig[:32])
		case 9:
			clear(sig[32:])
		case 11:
			order.FillBytes(sig[:32])
		case 13:
			order.FillBytes(sig[32:])
		case 15:
			sig = sig[:63]
		case 17:
			sig = append(sig, 0)
		case 18: // as valid: -s
			new(big.Int).Sub(order, s).FillBytes(sig[32:])
		case 19:
			sig = nil
		case 21: // s = 1, r = 1: what split gives for the malformed
			clear(sig)
			sig[31], sig[63] = 1, 1
		}
		messages, sigs = append(messages, message), append(sigs, string(sig))
	}
	signed := func(i int) ([]byte, string) { return messages[i], sigs[i] }
	got, err := k.verify(len(sigs), signed)
	if err != nil {
		t.Fatal(err)
	}
	want := verifyAll(&private.PublicKey, len(sigs), signed)
	if !slices.Equal(got, want) || len(want) != 11 {
		t.Errorf("false are %v, the standard library says %v", got, want)
	}
}

// A base with false signatures is repaired, and what is good in it stays.
func TestCheckKept(t *testing.T) {
	for _, algorithm := range []uint8{13, 15} {
		keys := testKeys(t, algorithm, false)
		z := testZone(t, 300)
		sz := testSign(t, testPlan(t, z, keys, nil), keys)
		var text strings.Builder
		if _, err := sz.WriteTo(&text); err != nil {
			t.Fatal(err)
		}
		lines := strings.SplitAfter(text.String(), "\n")
		damaged := 0
		for i, line := range lines {
			if strings.HasPrefix(line, "h17.") && strings.Contains(line, "\tRRSIG\t") {
				b := []byte(line)
				if b[len(b)-20]++; b[len(b)-20] == 'z'+1 || b[len(b)-20] == 'Z'+1 || b[len(b)-20] == '9'+1 {
					b[len(b)-20] = 'A'
				} else if b[len(b)-20] == '+'+1 || b[len(b)-20] == '/'+1 {
					b[len(b)-20] = 'B'
				}
				lines[i] = string(b)
				damaged++
			}
		}
		base, err := dnssec.ParseSignedZone(strings.NewReader(strings.Join(lines, "")), apex.String(), "")
		if err != nil {
			t.Fatal(err)
		}
		plan, renewed, err := CheckKept(t.Context(), testPlan(t, z, keys, base), keys, 0)
		if err != nil {
			t.Fatal(err)
		}
		if damaged != 2 || renewed != damaged || plan.Len() != damaged {
			t.Errorf("%d damaged, %d found, %d to be made", damaged, renewed, plan.Len())
		}
		if got := testSign(t, plan, keys); got.Digest() != sz.Digest() {
			t.Error("not the zone that it was")
		}
	}
}

// A signature that does not verify never leaves: not one of a key's that is
// not the public half's, not one of a wrong length.
func TestSignFails(t *testing.T) {
	keys := testKeys(t, 15, false)
	plan := testPlan(t, testZone(t, 100), keys, nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Sign(ctx, plan, keys, 0); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	other := testKeys(t, 15, true)
	keys[1].signer = &standard{other[0].signer.(*standard).key, 65}
	if _, err := Sign(t.Context(), plan, keys, 0); !errors.Is(err, errNotTrue) || !strings.Contains(err.Error(), keys[1].Source) {
		t.Errorf("a signature that does not verify: %v", err)
	}
	one, two := testKeys(t, 13, true), testKeys(t, 13, true)
	one[0].signer.(*ecdsaP256).secret = two[0].signer.(*ecdsaP256).secret
	if _, err := Sign(t.Context(), testPlan(t, testZone(t, 100), one, nil), one, 0); !errors.Is(err, errNotTrue) {
		t.Errorf("a batch that does not verify: %v", err)
	}
	keys[1].signer = nil
	if _, err := Sign(t.Context(), plan, keys, 0); err == nil || !strings.Contains(err.Error(), "no private half") {
		t.Errorf("a key without its private half: %v", err)
	}
}

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	keys, err := Create(dir, apex, 13, false)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Create(dir, apex, 13, false); err == nil || !strings.Contains(err.Error(), "not made a second time") {
		t.Errorf("made twice: %v", err)
	}
	ksk, zsk := keys[0], keys[1]
	if ksk.Flags != 257 || zsk.Flags != 256 || ksk.CSK {
		t.Errorf("%+v, %+v", ksk.Key, zsk.Key)
	}
	bare := filepath.Join(t.TempDir(), "key.private")
	text, err := os.ReadFile(zsk.Source)
	if err != nil {
		t.Fatal(err)
	}
	write := func(path string, text []byte, mode os.FileMode) string {
		t.Helper()
		if err := os.WriteFile(path, text, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	write(bare, text, 0o600)
	alone := write(filepath.Join(t.TempDir(), filepath.Base(zsk.Source)), text, 0o600)
	renamed := write(filepath.Join(t.TempDir(), "Kexample.net.+013+00001.private"), text, 0o600)
	open := write(filepath.Join(t.TempDir(), "open.private"), text, 0o600)
	if err := os.Chmod(open, 0o644); err != nil {
		t.Fatal(err)
	}
	swapped := write(filepath.Join(t.TempDir(), "key.private"), text, 0o600)
	kskRecord, err := os.ReadFile(withSuffix(ksk.Source, ".key"))
	if err != nil {
		t.Fatal(err)
	}
	write(withSuffix(swapped, ".key"), kskRecord, 0o644)
	foreign := write(filepath.Join(t.TempDir(), "key.key"), []byte(strings.ReplaceAll(string(kskRecord), "example.org.", "example.net.")), 0o644)
	revoked := write(filepath.Join(t.TempDir(), "key.key"), []byte(strings.ReplaceAll(string(kskRecord), "DNSKEY 257", "DNSKEY 385")), 0o644)
	empty := write(filepath.Join(t.TempDir(), "key.key"), nil, 0o644)
	two := write(filepath.Join(t.TempDir(), "key.key"), append(slices.Clone(kskRecord), kskRecord...), 0o644)
	base := strings.TrimSuffix(zsk.Source, ".private")
	for _, c := range []struct {
		spec  string
		flags uint16
		csk   bool
		fault string
	}{
		{zsk.Source, 256, false, ""},
		{ksk.Source, 257, false, ""},
		{base, 256, false, ""},
		{base + ".key", 256, false, ""},
		{alone, 256, false, ""},
		{"zsk:" + bare, 256, false, ""},
		{"ksk:" + bare, 257, false, ""},
		{"csk:" + bare, 257, true, ""},
		{"publish:" + ksk.Source, 257, false, ""},
		{bare, 0, false, "put ksk:, zsk: or csk:"},
		{"ksk:" + zsk.Source, 0, false, "is the role right?"},
		{"zsk:" + renamed, 0, false, "a key of example.net."},
		{"zsk:" + open, 0, false, "want 0600"},
		{swapped, 0, false, "is not that of the private key"},
		{"publish:" + foreign, 0, false, "a key of example.net., not of example.org."},
		{"publish:" + revoked, 0, false, "revoked"},
		{"publish:" + empty, 0, false, "no DNSKEY record"},
		{"publish:" + two, 0, false, "want one DNSKEY record"},
		{"publish:/nowhere.key", 0, false, "no such file"},
		{"/nowhere", 0, false, "no such file"},
		{"other:" + zsk.Source, 0, false, "no such file"},
	} {
		k, err := Load(c.spec, apex)
		if c.fault != "" {
			if err == nil || !strings.Contains(err.Error(), c.fault) {
				t.Errorf("%s: %v, expected %q", c.spec, err, c.fault)
			}
			continue
		}
		if err != nil || k.Flags != c.flags || k.CSK != c.csk || (k.signer == nil) != strings.HasPrefix(c.spec, "publish:") {
			t.Errorf("%s: %+v, %v", c.spec, k, err)
		}
	}
	if got := fmt.Sprintf("%v %+v %#v", zsk, zsk, zsk); strings.Contains(got, "secret") || strings.Count(got, "key ") != 3 {
		t.Errorf("a key prints as %s", got)
	}
}

func TestRoles(t *testing.T) {
	keys := testKeys(t, 15, false)
	if err := Roles(keys); err != nil || keys[0].CSK {
		t.Errorf("KSK and ZSK: %v", err)
	}
	if err := Roles(keys[:1]); err != nil || !keys[0].CSK {
		t.Errorf("a key with flags 257 alone is no CSK: %v", err)
	}
	if err := Roles(keys[1:]); err == nil || !strings.Contains(err.Error(), "no KSK of algorithm 15") {
		t.Errorf("a ZSK alone: %v", err)
	}
	other := testKeys(t, 13, false)
	if err := Roles(append(other[1:], keys...)); err == nil || !strings.Contains(err.Error(), "no KSK of algorithm 13") {
		t.Errorf("a ZSK of another algorithm: %v", err)
	}
	if err := Roles([]*Key{published(keys[0].Key, "x")}); err == nil {
		t.Error("a key that signs nothing, alone")
	}
	if err := Roles(nil); err == nil {
		t.Error("no keys")
	}
}

func BenchmarkSign(b *testing.B) {
	keys := testKeys(b, 13, true)
	plan := testPlan(b, testZone(b, 5000), keys, nil)
	b.Run("P256", func(b *testing.B) {
		for b.Loop() {
			testSign(b, plan, keys)
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*plan.Len()), "ns/signature")
	})
	secret, err := keyfile.Generate(13)
	if err != nil {
		b.Fatal(err)
	}
	private, err := secret.Signer()
	if err != nil {
		b.Fatal(err)
	}
	b.Run("standard", func(b *testing.B) { // for comparison: one signature, not verified
		digest := sha256.Sum256(nil)
		for b.Loop() {
			if _, err := private.Sign(nil, digest[:], crypto.SHA256); err != nil {
				b.Fatal(err)
			}
		}
	})
}
