package node

import (
	"testing"

	"zonesigner/zonesignerd/internal/engines"
)

// Keys can be made with each engine of the program, and with no other.
func TestKeyEngines(t *testing.T) {
	all := keyEngines()
	for _, e := range engines.All() {
		if all[e.Name()] == nil {
			t.Errorf("%s: no keys can be made", e.Name())
		}
		delete(all, e.Name())
	}
	for name := range all {
		t.Errorf("%s is not of the program's engines", name)
	}
}
