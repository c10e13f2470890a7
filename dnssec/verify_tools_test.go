package dnssec

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// unsignedText is a zone as a file that every tool reads.
func unsignedText(t testing.TB, z *Zone) string {
	t.Helper()
	sz := &SignedZone{apex: z.apex, sets: z.sets, first: make([]uint32, len(z.sets)+1)}
	return zoneText(t, sz)
}

// knotConf is a configuration for kzonesign, which makes keys of its own, with
// the zone in a file.
func knotConf(dir, zone, file string, d Denial) string {
	on := map[bool]string{true: "on", false: "off"}
	return fmt.Sprintf("policy:\n  - id: p\n    algorithm: ecdsap256sha256\n    nsec3: %s\n    nsec3-iterations: %d\n    nsec3-salt-length: %d\n    nsec3-opt-out: %s\n"+
		"database:\n    storage: %s\n    kasp-db: kasp\nzone:\n  - domain: %s\n    storage: %[5]s\n    file: %[7]s\n    dnssec-policy: p\n",
		on[d.NSEC3], d.Iterations, len(d.Salt), on[d.OptOut], dir, zone, file)
}

// kzonesignAgrees has kzonesign verify a signed zone in a file of dir, at a
// time. Versions before 3.1 cannot.
func kzonesignAgrees(t *testing.T, dir, apex, file string, d Denial, at uint32) {
	t.Helper()
	if !strings.Contains(run(t, dir, "kzonesign", "--help"), "--verify") {
		return
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, dir, "verify.conf", knotConf(abs, apex, file, d))
	if err := os.MkdirAll(filepath.Join(dir, "kasp"), 0o700); err != nil {
		t.Fatal(err)
	}
	run(t, dir, "kzonesign", "-c", "verify.conf", "--verify", "-t", fmt.Sprint(at), apex)
}

// What other signers sign is good, and other verifiers say so, too.
func TestVerifyOtherSigners(t *testing.T) {
	forEachZone(t, func(t *testing.T, file string, z *Zone, d string) {
		ksk, zsk := kskAndZSK()
		apex, den := z.Apex().String(), denials[d]
		for _, signer := range []string{"dnssec-signzone", "ldns-signzone", "kzonesign"} {
			dir := t.TempDir()
			writeFile(t, dir, "zone", unsignedText(t, z))
			keys := []string{ksk.writeBIND(t, dir, z.Apex()), zsk.writeBIND(t, dir, z.Apex())}
			signed := "signed"
			switch signer {
			case "dnssec-signzone":
				args := []string{"-q", "-x", "-S", "-P", "-o", apex, "-f", signed}
				if den.NSEC3 {
					args = append(args, "-3", hexOrNone(den.Salt), "-H", fmt.Sprint(den.Iterations))
				}
				if den.OptOut {
					args = append(args, "-A")
				}
				run(t, dir, signer, append(args, "zone")...)
			case "ldns-signzone":
				args := []string{"-o", apex, "-f", signed}
				if den.NSEC3 {
					args = append(args, "-n", "-t", fmt.Sprint(den.Iterations))
				}
				if len(den.Salt) > 0 {
					args = append(args, "-s", hexOrNone(den.Salt))
				}
				if den.OptOut {
					args = append(args, "-p")
				}
				run(t, dir, signer, append(append(args, "zone"), keys...)...)
			case "kzonesign":
				writeFile(t, dir, "knot.conf", knotConf(dir, apex, "zone", den))
				if err := os.MkdirAll(filepath.Join(dir, "kasp"), 0o700); err != nil {
					t.Fatal(err)
				}
				run(t, dir, signer, "-c", "knot.conf", "-o", "out", apex)
				signed = "out/zone"
			}
			for _, f := range readZoneFile(t, filepath.Join(dir, signed), "").Verify(VerifyOptions{Unanchored: true, At: uint32(time.Now().Unix())}) {
				t.Errorf("%s: %s: %s", signer, f.Code, f)
			}
			run(t, dir, "dnssec-verify", "-q", "-o", apex, signed)
			if !(apex == "." && den.NSEC3) { // ldns 1.8 walks in circles there
				run(t, dir, "ldns-verify-zone", signed)
			}
			kzonesignAgrees(t, dir, apex, signed, den, uint32(time.Now().Unix()))
		}
	})
}

// Every algorithm is verified, by itself and beside another, and one false
// signature of each is found.
func TestVerifyAlgorithms(t *testing.T) {
	all := map[string]uint8{"RSASHA256": 8, "ECDSAP256SHA256": 13, "ECDSAP384SHA384": 14, "ED25519": 15}
	for name, number := range all {
		for _, second := range []string{"", "ECDSAP256SHA256"} {
			if second == name {
				continue
			}
			dir := t.TempDir()
			writeFile(t, dir, "zone", unsignedText(t, readZone(t, "reverse.zone")))
			apex := zones["reverse.zone"]
			for _, algorithm := range []string{name, second} {
				if algorithm == "" {
					continue
				}
				run(t, dir, "dnssec-keygen", "-q", "-a", algorithm, apex)
				run(t, dir, "dnssec-keygen", "-q", "-a", algorithm, "-f", "KSK", apex)
			}
			run(t, dir, "dnssec-signzone", "-q", "-S", "-O", "full", "-o", apex, "-f", "signed", "zone")
			o := VerifyOptions{At: uint32(time.Now().Unix())}
			f, err := os.Open(filepath.Join(dir, "dsset-"+apex))
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			z := readZoneFile(t, filepath.Join(dir, "signed"), "")
			if o.Anchors, err = ParseAnchors(f, z.Apex(), "dsset"); err != nil {
				t.Fatal(err)
			}
			wantNoFaults(t, z.Verify(o))
			text, err := os.ReadFile(filepath.Join(dir, "signed"))
			if err != nil {
				t.Fatal(err)
			}
			at := strings.Index(string(text), fmt.Sprintf("IN RRSIG\tSOA %d ", number))
			end := at + strings.IndexByte(string(text[at:]), '\n')
			if text[end-20] == 'A' {
				text[end-20] = 'B'
			} else {
				text[end-20] = 'A'
			}
			bad, err := ReadZoneFile(strings.NewReader(string(text)), "", "")
			if err != nil {
				t.Fatal(err)
			}
			if faults := bad.Verify(o); len(faults) != 1 || faults[0].Code != RRSIGBogus {
				t.Errorf("algorithm %d: %v", number, faults)
			}
		}
	}
}

// Keys that are none are refused, whatever their algorithm.
func TestVerifierRefusesKeys(t *testing.T) {
	rsa := func(exponent []byte, bits int) []byte {
		modulus := make([]byte, bits/8)
		modulus[0] = 0x80
		return append(append([]byte{byte(len(exponent))}, exponent...), modulus...)
	}
	for _, c := range []struct {
		algorithm uint8
		key       []byte
		want      string
	}{
		{8, nil, "cut off"}, {8, []byte{0, 0, 0}, "cut off"}, {8, []byte{3, 1, 0, 1}, "cut off"}, {8, []byte{0, 255, 255, 1}, "cut off"},
		{8, rsa([]byte{2}, 2048), "odd number"}, {8, rsa([]byte{1}, 2048), "odd number"}, {8, rsa([]byte{1, 0, 0, 0, 1}, 2048), "odd number"},
		{8, rsa([]byte{1, 0, 1}, 512), "512 bits"}, {8, rsa([]byte{1, 0, 1}, 8192), "8192 bits"},
		{13, make([]byte, 63), "63 bytes"}, {13, make([]byte, 64), "not a point"}, {14, make([]byte, 64), "64 bytes"}, {14, make([]byte, 96), "not a point"},
		{15, make([]byte, 33), "33 bytes"}, {16, make([]byte, 57), "not known"},
	} {
		if _, err := newVerifier(c.algorithm, c.key); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("algorithm %d, %x: %v, expected %q", c.algorithm, c.key, err, c.want)
		}
	}
	if _, err := newVerifier(8, rsa([]byte{1, 0, 1}, 2048)); err != nil {
		t.Error(err)
	}
}
