package keyfile

import (
	"bytes"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"zonesigner/dnssec"
)

// BIND's own keys are read, and have the public half that BIND gave them.
func TestKeysOfBIND(t *testing.T) {
	for algorithm, number := range map[string]uint8{"RSASHA256": 8, "ECDSAP256SHA256": 13, "ECDSAP384SHA384": 14, "ED25519": 15} {
		for _, flags := range [][]string{nil, {"-f", "KSK"}} {
			dir := t.TempDir()
			args := append([]string{"-q", "-a", algorithm, "-K", dir}, flags...)
			out, err := exec.CommandContext(t.Context(), "dnssec-keygen", append(args, "example.org")...).Output()
			if err != nil {
				t.Fatal(err)
			}
			base := filepath.Join(dir, strings.TrimSpace(string(out)))
			text, err := os.ReadFile(base + ".private")
			if err != nil {
				t.Fatal(err)
			}
			k, err := Parse(text)
			if err != nil {
				t.Fatal(err)
			}
			record, err := os.ReadFile(base + ".key")
			if err != nil {
				t.Fatal(err)
			}
			rr, err := dns.NewRR(string(record[bytes.Index(record, []byte("\nexample"))+1:]))
			if err != nil {
				t.Fatal(err)
			}
			key := rr.(*dns.DNSKEY)
			if got := base64.StdEncoding.EncodeToString(k.Public); got != key.PublicKey || k.Algorithm != number {
				t.Errorf("%s: public key %s of algorithm %d, BIND says %s", algorithm, got, k.Algorithm, key.PublicKey)
			}
			if err := CheckName(base+".private", "example.org.", number, key.KeyTag()); err != nil {
				t.Error(err)
			}
		}
	}
}

// BIND writes a number without zeros in front. The first of these keys and its
// public half are as dnssec-keygen of BIND 9.18 made them, to be used for nothing
// else.
func TestNumberThatBeginsWithZeros(t *testing.T) {
	k, err := Parse([]byte("Private-key-format: v1.3\nAlgorithm: 13 (ECDSAP256SHA256)\nPrivateKey: RZttj8QfJsKmQGSkn2OccNhDFznxO3mYFbS6nevibQ==\n"))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := base64.StdEncoding.EncodeToString(k.Public), "7GtfUa0MxWI5KW7JnODTlzlUxGEoQmmuWdNHp/POljjT9YjjHCsxVMO09Nj4wVOIaPZclSzR931MmdAKFiKvVA=="; got != want {
		t.Errorf("public key %s, BIND says %s", got, want)
	}
	if len(k.Private) != 32 {
		t.Errorf("the private key has %d bytes", len(k.Private))
	}
	for _, c := range []struct {
		algorithm, bytes int
		good             bool
	}{{13, 28, true}, {13, 27, false}, {13, 33, false}, {14, 47, true}, {14, 44, true}, {14, 43, false}} {
		key := base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{1}, c.bytes))
		if _, err := Parse(fmt.Appendf(nil, "Private-key-format: v1.3\nAlgorithm: %d\nPrivateKey: %s\n", c.algorithm, key)); (err == nil) != c.good {
			t.Errorf("algorithm %d, %d bytes: %v", c.algorithm, c.bytes, err)
		}
	}
}

func pemOf(t *testing.T, name string, der []byte, err error) []byte {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: name, Bytes: der})
}

func TestPEM(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, edwards, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	sec1, err := x509.MarshalECPrivateKey(key)
	plain := pemOf(t, "EC PRIVATE KEY", sec1, err)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	public, _ := key.PublicKey.Bytes()
	for name, text := range map[string][]byte{
		"EC PRIVATE KEY":      plain,
		"after its curve":     append([]byte("-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"), plain...),
		"PRIVATE KEY":         pemOf(t, "PRIVATE KEY", pkcs8, err),
		"PKCS #8 without PEM": pkcs8,
	} {
		k, err := Parse(text)
		if err != nil || k.Algorithm != 13 || !bytes.Equal(k.Public, public[1:]) {
			t.Errorf("%s: %v, %v", name, k, err)
		}
	}
	pkcs8, err = x509.MarshalPKCS8PrivateKey(edwards)
	k, err := Parse(pemOf(t, "PRIVATE KEY", pkcs8, err))
	if err != nil || k.Algorithm != 15 || !bytes.Equal(k.Public, edwards.Public().(ed25519.PublicKey)) {
		t.Errorf("Ed25519: %v, %v", k, err)
	}
	if got := fmt.Sprintf("%v, %+v, %#v", k, k, k); got != "private key of algorithm 15, private key of algorithm 15, private key of algorithm 15" {
		t.Errorf("a key prints as %s", got)
	}
	if k.Erase(); !bytes.Equal(k.Private, make([]byte, 32)) {
		t.Error("an erased key is still there")
	}
}

func TestRefused(t *testing.T) {
	other, err := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p521, err := x509.MarshalPKCS8PrivateKey(other)
	onP521 := pemOf(t, "PRIVATE KEY", p521, err)
	x25519, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	exchange, err := x509.MarshalPKCS8PrivateKey(x25519)
	bind := func(algorithm, key string) []byte {
		return fmt.Appendf(nil, "Private-key-format: v1.3\nAlgorithm: %s\nPrivateKey: %s\n", algorithm, key)
	}
	number := func(b byte) string { return base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{b}, 32)) }
	for _, c := range []struct {
		text []byte
		want string
	}{
		{nil, "neither"},
		{[]byte("hello"), "neither"},
		{bytes.Repeat([]byte{0x30}, MaxSize+1), "longer"},
		{[]byte("Private-key-format: v1.1\n"), "v1.2 or v1.3"},
		{[]byte("Private-key-format: v1.3\nAlgorithm: x\n"), "no number"},
		{bind("5 (RSASHA1)", number(1)), "of algorithm 5; want one of algorithm 8"},
		{bind("8 (RSASHA256)", number(1)), "there is no Modulus"},
		{rsaFields("Prime1", "AQ=="), "damaged"},
		{rsaFields("Coefficient", "AQ=="), "damaged"},
		{rsaFields("PrivateExponent", "AQ=="), "damaged"},
		{rsaFields("Modulus", "AQ=="), "damaged"},
		{rsaFields("Modulus", "%%%"), "Modulus is not base64"},
		{rsaFields("PublicExponent", "AQAAAAE="), "public exponent"},
		{bind("14 (ECDSAP384SHA384)", number(1)), "not one of P-384: 48 bytes"},
		{[]byte("Private-key-format: v1.3\nAlgorithm: 13\nEngine: pkcs11\n"), "hardware"},
		{[]byte("Private-key-format: v1.3\nAlgorithm: 13\nAlgorithm: 13\n"), "line 3"},
		{[]byte("Private-key-format: v1.3\nnonsense\n"), "line 2"},
		{bind("13", "%%%"), "base64"},
		{bind("13", number(0)), "not one of P-256"},
		{bind("13", number(0xff)), "not one of P-256"},
		{bind("13", "AAAA"), "not one of P-256"},
		{bind("15", "AAAA"), "has 3 bytes"},
		{onP521, "on P-521"},
		{pemOf(t, "PRIVATE KEY", exchange, err), "it holds a key of type"},
		{pemOf(t, "PRIVATE KEY", []byte{0x30, 0}, nil), "damaged"},
		{pemOf(t, "EC PRIVATE KEY", []byte{0x30, 0}, nil), "damaged"},
		{pemOf(t, "ENCRYPTED PRIVATE KEY", []byte{0x30, 0}, nil), "decrypt it first"},
		{pemOf(t, "CERTIFICATE", []byte{0x30, 0}, nil), "no private key"},
		{[]byte("-----BEGIN nothing"), "no private key"},
	} {
		if _, err := Parse(c.text); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%.60q: %v, want %q", c.text, err, c.want)
		}
	}
}

// rsaFields is a good RSA key but for one field.
func rsaFields(field, value string) []byte {
	var out []string
	for line := range strings.Lines(string(testRSA)) {
		if strings.HasPrefix(line, field+":") {
			line = field + ": " + value + "\n"
		}
		out = append(out, line)
	}
	return []byte(strings.Join(out, ""))
}

// testRSA is a throw-away key that nothing else uses.
var testRSA = func() []byte {
	key, err := Generate(8)
	if err != nil {
		panic(err)
	}
	return key.BIND()
}()

// A key that we make is read as it was written, here and by BIND.
func TestGenerate(t *testing.T) {
	for _, algorithm := range []uint8{8, 13, 14, 15} {
		k, err := Generate(algorithm)
		if err != nil {
			t.Fatal(err)
		}
		back, err := Parse(k.BIND())
		if err != nil || back.Algorithm != algorithm || !bytes.Equal(back.Public, k.Public) || !bytes.Equal(back.Private, k.Private) {
			t.Errorf("algorithm %d: %v", algorithm, err)
		}
		if err := k.Shareable(); (err == nil) != (algorithm == 13 || algorithm == 15) {
			t.Errorf("algorithm %d can be shared: %v", algorithm, err)
		}
		dir := t.TempDir()
		record := dnssec.Key{ID: "k", Flags: 257, Algorithm: algorithm, PublicKey: k.Public, State: dnssec.Active}
		base, err := k.Write(dir, "\x07example\x03org\x00", record)
		if err != nil {
			t.Fatal(err)
		}
		out, err := exec.CommandContext(t.Context(), "dnssec-dsfromkey", "-2", base+".key").CombinedOutput()
		if want := fmt.Sprintf("example.org. IN DS %d %d 2 ", record.KeyTag(), algorithm); err != nil || !strings.HasPrefix(string(out), want) {
			t.Errorf("dnssec-dsfromkey: %v, %s, want %s", err, out, want)
		}
		if out, err := exec.CommandContext(t.Context(), "dnssec-settime", "-p", "all", base).CombinedOutput(); err != nil {
			t.Errorf("dnssec-settime: %v, %s", err, out)
		}
		if _, err := k.Write(dir, "\x07example\x03org\x00", record); !errors.Is(err, fs.ErrExist) {
			t.Errorf("overwritten: %v", err)
		}
		info, err := os.Stat(base + ".private")
		if err != nil || info.Mode() != 0o600 {
			t.Errorf("%v, %v", info.Mode(), err)
		}
	}
	if _, err := Generate(5); err == nil {
		t.Error("a key of algorithm 5")
	}
}

// Of a key whose files cannot both be written, neither is left.
func TestWriteFails(t *testing.T) {
	k, err := Generate(15)
	if err != nil {
		t.Fatal(err)
	}
	dir, zone := t.TempDir(), dnssec.Name("\x07example\x03org\x00")
	record := dnssec.Key{ID: "k", Flags: 257, Algorithm: 15, PublicKey: k.Public, State: dnssec.Active}
	there := fmt.Sprintf("Kexample.org.+015+%05d.key", record.KeyTag())
	if err := os.Mkdir(filepath.Join(dir, there), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := k.Write(dir, zone, record); !errors.Is(err, fs.ErrExist) {
		t.Error(err)
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) != 1 || files[0].Name() != there {
		t.Errorf("%v are left: %v", files, err)
	}
}

// Names of files are BIND's, whatever the zone's name has in it.
func TestFileNames(t *testing.T) {
	for _, zone := range []string{".", "example.org.", "128/26.2.0.192.in-addr.arpa.", `a\.b\\.example.`, "xn--bcher-kva.example.", "under_score.example."} {
		dir := t.TempDir()
		out, err := exec.CommandContext(t.Context(), "dnssec-keygen", "-q", "-a", "13", "-K", dir, zone).Output()
		if err != nil {
			t.Fatal(err)
		}
		name, err := dnssec.ParseName(zone)
		if err != nil {
			t.Fatal(err)
		}
		bind, _, _ := strings.Cut(strings.TrimSpace(string(out)), "+")
		if got := "K" + fileZone(name); got != bind {
			t.Errorf("%s: %s, BIND has %s", zone, got, bind)
		}
	}
}

func TestCheckName(t *testing.T) {
	for _, c := range []struct{ path, want string }{
		{"/keys/Kexample.org.+013+00007.private", ""},
		{"KEXAMPLE.org.+013+00007.private", ""},
		{"key.pem", ""},
		{"Kexample.net.+013+00007.private", "a key of example.net., not of example.org."},
		{"Kexample.org.+008+00007.private", "of algorithm 008"},
		{"Kexample.org.+013+00008.private", "is the role right"},
	} {
		err := CheckName(c.path, "example.org.", 13, 7)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.path, err, c.want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("Private-key-format: v1.3\nAlgorithm: 13 (ECDSAP256SHA256)\nPrivateKey: AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=\n"))
	f.Add([]byte("Private-key-format: v1.2\nAlgorithm: 15\nPrivateKey: AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=\n"))
	f.Add([]byte("-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n"))
	f.Add([]byte{0x30, 0})
	f.Add(testRSA)
	f.Fuzz(func(t *testing.T, text []byte) {
		k, err := Parse(text)
		if err != nil {
			return
		}
		signer, err := k.Signer()
		if err != nil {
			t.Fatal(err)
		}
		back, err := fromStandard(signer)
		if err != nil || back.Algorithm != k.Algorithm || !bytes.Equal(back.Public, k.Public) {
			t.Fatalf("a key of algorithm %d that is none: %v", k.Algorithm, err)
		}
		if again, err := Parse(k.BIND()); err != nil || !bytes.Equal(again.Private, k.Private) || !bytes.Equal(again.Public, k.Public) {
			t.Fatalf("not read as it was written: %v", err)
		}
	})
}
