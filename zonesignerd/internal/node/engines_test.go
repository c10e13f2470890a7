package node

import (
	"testing"

	"zonesigner/zonesignerd/config"
	"zonesigner/zonesignerd/internal/engines"
)

// Keys can be made with each engine of the program that a group may use.
func TestKeyEngines(t *testing.T) {
	group := &config.Group{Operators: make([]config.Operator, 3), Threshold: 1}
	all, named := keyEngines(), 0
	for _, e := range engines.All() {
		if group.CheckEngine(e.Name()) != nil {
			continue
		}
		if named++; all[e.Name()] == nil {
			t.Errorf("%s: no keys can be made", e.Name())
		}
	}
	if named < 5 {
		t.Errorf("three operators may use %d engines", named)
	}
}
