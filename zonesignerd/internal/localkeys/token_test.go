//go:build cgo

package localkeys

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"zonesigner/dnssec"
	"zonesigner/zonesignerd/internal/keyfile"
)

// softHSM is where Debian has the module.
const softHSM = "/usr/lib/softhsm/libsofthsm2.so"

const testPIN = "1234"

// newSoftHSM makes a token with a key of each algorithm, labelled by role and
// number.
func newSoftHSM(t *testing.T) (public map[string][]byte) {
	t.Helper()
	dir := t.TempDir()
	conf := filepath.Join(dir, "softhsm2.conf")
	if err := os.WriteFile(conf, []byte("directories.tokendir = "+dir+"\nobjectstore.backend = file\nlog.level = ERROR\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SOFTHSM2_CONF", conf)
	util := func(args ...string) {
		t.Helper()
		if out, err := exec.CommandContext(t.Context(), "softhsm2-util", args...).CombinedOutput(); err != nil {
			t.Fatalf("softhsm2-util %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	util("--init-token", "--free", "--label", "zones", "--pin", testPIN, "--so-pin", testPIN)
	public = map[string][]byte{}
	for i, algorithm := range []uint8{8, 13, 14, 15} {
		for j, role := range []string{"ksk", "zsk"} {
			k, err := keyfile.Generate(algorithm)
			if err != nil {
				t.Fatal(err)
			}
			private, err := k.Signer()
			if err != nil {
				t.Fatal(err)
			}
			der, err := x509.MarshalPKCS8PrivateKey(private)
			if err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(dir, "key.pem")
			if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600); err != nil {
				t.Fatal(err)
			}
			label := fmt.Sprintf("%s-%d", role, algorithm)
			util("--import", path, "--token", "zones", "--label", label, "--id", fmt.Sprintf("%02x%02x", i, j), "--pin", testPIN)
			public[label] = k.Public
		}
	}
	return public
}

// Zones are signed by a token, with each algorithm.
func TestToken(t *testing.T) {
	public := newSoftHSM(t)
	for _, o := range []TokenOptions{
		{Module: softHSM, Label: "nothing", PIN: testPIN},
		{Module: softHSM, Label: "zones", PIN: "0000"},
		{Module: "/nowhere.so", PIN: testPIN},
	} {
		if token, err := OpenToken(o); err == nil {
			t.Errorf("%v: opened", o)
			_ = token.Close()
		} else if strings.Contains(err.Error(), o.PIN) {
			t.Errorf("%v: the PIN is in %v", o, err)
		}
	}
	token, err := OpenToken(TokenOptions{Module: softHSM, PIN: testPIN, Sessions: 3})
	if err != nil {
		t.Fatal(err)
	}
	for _, algorithm := range []uint8{8, 13, 14, 15} {
		var keys []*Key
		for _, role := range []string{"ksk", "zsk"} {
			label := fmt.Sprintf("%s-%d", role, algorithm)
			k, err := token.Load(role+":"+label, apex)
			if err != nil {
				t.Fatal(err)
			}
			if k.Algorithm != algorithm || string(k.PublicKey) != string(public[label]) {
				t.Errorf("%s: %+v is not what was imported", label, k.Key)
			}
			keys = append(keys, k)
		}
		z := testZone(t, 100)
		sz := testSign(t, testPlan(t, z, keys, nil), keys)
		for _, f := range dnssec.Verify(sz, dnssec.VerifyOptions{Keys: ForPlan(keys), At: at}) {
			t.Error(f)
		}
		plan, renewed, err := CheckKept(t.Context(), testPlan(t, z, keys, sz), keys, 0)
		if err != nil || renewed != 0 || plan.Len() != 0 {
			t.Errorf("signed again: %v, %d false, %d to be made", err, renewed, plan.Len())
		}
	}
	for _, spec := range []string{"ksk-13", "publish:ksk-13", "ksk:", "ksk:nothing"} {
		if _, err := token.Load(spec, apex); err == nil {
			t.Errorf("%s was loaded", spec)
		}
	}
	if err := token.Close(); err != nil {
		t.Error(err)
	}
}

// A token that gives fewer sessions than are wanted signs with those.
func TestTokenWithFewSessions(t *testing.T) {
	newSoftHSM(t)
	for wanted, want := range map[int]int{0: 1, 1: 1, 2: 2, 16: 2} {
		token, err := OpenToken(TokenOptions{Module: softHSM, PIN: testPIN, Sessions: wanted, given: 2})
		if err != nil {
			t.Fatal(err)
		}
		if n := len(token.sessions); n != want {
			t.Errorf("%d sessions are used where %d are wanted and 2 are given, expected %d", n, wanted, want)
		}
		k, err := token.Load("csk:zsk-13", apex)
		if err != nil {
			t.Fatal(err)
		}
		z, keys := testZone(t, 100), []*Key{k}
		sigs, err := Sign(t.Context(), testPlan(t, z, keys, nil), keys, 16)
		if err != nil || len(sigs) == 0 {
			t.Errorf("16 threads with %d sessions: %d signatures, %v", want, len(sigs), err)
		}
		if err := token.Close(); err != nil {
			t.Error(err)
		}
	}
}

// A token's public keys are hostile until they are checked.
func TestTokenKeys(t *testing.T) {
	for name, k := range map[string]tokenKey{
		"no RSA modulus":    {rsa: true, e: []byte{3}},
		"large exponent":    {rsa: true, modulus: []byte{1}, e: []byte{1, 0, 0, 0, 0}},
		"no curve":          {point: []byte{4}},
		"other curve":       {ecParams: []byte{6, 5, 0x2b, 0x81, 4, 0, 0x23}, point: []byte{4}},
		"no point of it":    {ecParams: []byte{6, 5, 0x2b, 0x81, 4, 0, 0x22}, point: []byte{4, 2, 4, 1}},
		"Edwards, too long": {edwards: true, point: make([]byte, 57)},
	} {
		if _, _, err := k.public(); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
