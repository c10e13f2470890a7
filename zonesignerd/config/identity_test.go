package config

import (
	"crypto/ed25519"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestIdentityRoundTrip(t *testing.T) {
	seed, nkey, err := NewIdentity()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "seed")
	if err := os.WriteFile(path, seed, 0o600); err != nil {
		t.Fatal(err)
	}
	private, err := ReadIdentity(path)
	if err != nil {
		t.Fatal(err)
	}
	public, err := PublicKey(nkey)
	if err != nil {
		t.Fatal(err)
	}
	if !ed25519.Verify(public, []byte("m"), ed25519.Sign(private, []byte("m"))) {
		t.Error("the nkey does not verify what the seed signed")
	}
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadIdentity(path); err == nil || !strings.Contains(err.Error(), "want 0600") {
		t.Errorf("a seed that others may read: %v", err)
	}
}

func TestIdentityRefusesWithoutShowing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "seed")
	for _, text := range []string{"", "SUsecret", strings.Repeat("S", 1000)} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := ReadIdentity(path)
		if err == nil || (text != "" && strings.Contains(err.Error(), text)) {
			t.Errorf("%q: %v", text, err)
		}
	}
	if _, err := ReadIdentity(t.TempDir()); err == nil {
		t.Error("a directory was read")
	}
}
