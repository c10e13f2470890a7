package node

import (
	"fmt"
	"testing"
	"time"

	"zonesigner/zonesignerd/config"
	"zonesigner/zonesignerd/internal/agree"
)

// A session makes as many keys as its engine can while the others wait: of a
// slow one few, and the rest comes after them.
func TestKeysOfOneSession(t *testing.T) {
	for engine, most := range map[string]int{config.CGGMP: 8, config.MalShamir: mostWanted} {
		n := &Node{opt: Options{Now: time.Now}, engines: keyEngines()}
		k := &keyring{n: n, lead: map[agree.Digest]*asking{}, check: true}
		for i := range mostWanted {
			d := agree.Digest{byte(i), byte(i >> 8), 1}
			k.lead[d] = &asking{ask: ask{Zone: fmt.Sprintf("%d.example.", i), Roles: []string{roleKSK, roleZSK}, Engine: engine, Digest: d}}
		}
		if wants := k.due(); len(wants) != most {
			t.Errorf("%s: %d keys in one session, want %d", engine, len(wants), most)
		}
		k.leading, k.check = false, true
		if wants := k.due(); len(wants) != most {
			t.Errorf("%s: %d keys in the next session, want %d", engine, len(wants), most)
		}
	}
}
