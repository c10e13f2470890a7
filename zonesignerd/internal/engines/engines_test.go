package engines_test

import (
	"fmt"
	"strings"
	"testing"

	"zonesigner/mpc"
	"zonesigner/mpc/ecdsa"
	"zonesigner/zonesignerd/config"
	"zonesigner/zonesignerd/internal/engines"
)

// Every engine of the program is there, once.
func TestList(t *testing.T) {
	seen := map[string]bool{}
	for _, e := range engines.All() {
		if seen[e.Name()] {
			t.Errorf("%s is there twice", e.Name())
		}
		seen[e.Name()] = true
		if got, ok := engines.Find(e.Name()); !ok || got.Name() != e.Name() {
			t.Errorf("%s is not found", e.Name())
		}
	}
	for _, name := range []string{config.MalShamir, config.Shamir, config.MalRep3, config.Rep3, config.Frost, config.Mascot, config.MascotMinus, config.CGGMP} {
		if !seen[name] {
			t.Errorf("%s is missing", name)
		}
	}
	if engines.Protocols()[0].Name() != config.MalShamir {
		t.Error("the default is not first")
	}
	if _, ok := engines.Find("none"); ok {
		t.Error("an engine that is none is found")
	}
}

func TestKeyOfAnotherProtocol(t *testing.T) {
	for _, e := range engines.All() {
		if _, err := e.NewSigner(engines.Config{Key: engines.Key{ID: "k", Share: "no share"}}); err == nil {
			t.Errorf("%s: a signer was made of what is no key share", e.Name())
		}
	}
}

// Keys print their id alone.
func TestKeyPrintsNoSecret(t *testing.T) {
	k := engines.Key{ID: mpc.KeyID("k"), Share: &ecdsa.KeyShare{ID: "secret"}}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x"} {
		if text := fmt.Sprintf(verb, k); text != "key k" || strings.Contains(text, "secret") {
			t.Errorf("%s: %s", verb, text)
		}
	}
}
