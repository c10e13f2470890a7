package node

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"zonesigner/keystore"
	"zonesigner/mpc"
	"zonesigner/zonesignerd/internal/agree"
)

func messageOf(t *testing.T, from mpc.PartyID, typ agree.Type, v any) *agree.Message {
	t.Helper()
	body, err := json.Marshal(v)
	must(t, err)
	return &agree.Message{Type: typ, From: from, Body: body}
}

// c leads the generation of a key that all three hold. It is silent about it,
// then tells a that it has lost the key and b that it holds it, and proposes
// another one. a gives its share up; b must not use that key, for it would sign
// alone with c. With hasty it does.
func TestLeaderTellsEachAnother(t *testing.T) {
	for _, defended := range []bool{true, false} {
		t.Run(fmt.Sprint("defended=", defended), func(t *testing.T) {
			t.Parallel()
			o := newOperators(t, 3, 1)
			o.options = func(_ string, opt *Options) { opt.hasty = !defended }
			a, b := o.start("a"), o.start("b")
			request := &ask{Zone: "example.", Roles: []string{roleCSK}, Engine: "mal-shamir"}
			for i := 0; request.Zone == "example." || leader(request.Digest, a.groups.mpc()) != "c"; i++ {
				request.Zone = fmt.Sprintf("example%d.", i)
				request.Digest = request.digest()
			}
			const k1 = "00112233445566778899aabbccddeeff"
			record := keystore.KeyRecord{ID: k1, Zone: request.Zone, Role: roleCSK, Engine: "mal-shamir", Public: make([]byte, 64),
				State: keystore.Active, Created: time.Now(), Secret: []byte("share"),
				Meta: map[string]string{metaAsk: hex.EncodeToString(request.Digest[:]), metaPending: string(holdHeld)}}
			for _, n := range []*Node{a, b} {
				must(t, n.store.Update(func(tx *keystore.Tx) error { return tx.PutKey(record) }))
				n.keys.mu.Lock()
				n.keys.own[request.Digest] = request
				n.keys.records[k1] = record
				n.keys.mu.Unlock()
			}
			held := func(n *Node, by mpc.PartyID) hold {
				n.keys.mu.Lock()
				defer n.keys.mu.Unlock()
				return n.keys.holds[k1][by]
			}
			o.eventually(10*time.Second, "a and b know of each other", func() bool { return held(a, "b") == holdHeld && held(b, "a") == holdHeld })

			propose := func(n *Node) agree.Answer {
				body, err := json.Marshal(wantedKey{Ask: request.Digest, Role: roleCSK})
				must(t, err)
				return keyProposals{n}.Judge(t.Context(), agree.Digest{1}, &agree.Proposal{Kind: kindKey, Subject: request.Zone, Proposer: "c",
					Members: mpc.NewSignerSet("a", "b", "c"), Body: body}, nil)
			}
			if ans := propose(a); ans.Verdict != agree.Refuse {
				t.Fatalf("a answers %v to another generation while it holds a key", ans)
			}
			c := made{Ask: request.Digest, Role: roleCSK, Key: k1, Hold: holdGone}
			must(t, a.keys.receive(messageOf(t, "c", typeMade, c)))
			if ans := propose(a); ans.Verdict != agree.Accept {
				t.Fatalf("a answers %v though the key is gone", ans)
			}
			if _, err := a.store.Key(k1); err == nil {
				t.Fatal("a accepts another generation and keeps the share")
			}
			c.Hold = holdHeld
			must(t, b.keys.receive(messageOf(t, "c", typeMade, c)))
			c.Hold = holdAll
			must(t, b.keys.receive(messageOf(t, "c", typeMade, c)))
			if !defended {
				o.eventually(10*time.Second, "b uses the key", func() bool { _, ok := b.keys.find(k1); return ok })
				return
			}
			o.eventually(10*time.Second, "b hears that a has none", func() bool { return held(b, "a") == holdGone })
			b.keys.activate()
			if _, ok := b.keys.find(k1); ok {
				t.Fatal("b uses a key that a gave up")
			}
			// b had heard that all hold it; a's word alone does not undo that.
			if ans := propose(b); ans.Verdict != agree.Refuse {
				t.Fatalf("b answers %v on one operator's word", ans)
			}
			c.Hold = holdGone
			must(t, b.keys.receive(messageOf(t, "c", typeMade, c)))
			if ans := propose(b); ans.Verdict != agree.Accept {
				t.Fatalf("b answers %v though nobody has the key", ans)
			}
		})
	}
}

// What one peer asks for and says takes little room, and none of another's.
func TestRequestsOfAPeerAreBounded(t *testing.T) {
	t.Parallel()
	o := newOperators(t, 3, 1)
	a := o.start("a")
	var refused int
	for i := range mostNewZones + 100 {
		r := ask{Zone: fmt.Sprintf("z%d.", i), Roles: []string{roleCSK}}
		r.Digest = r.digest()
		if a.keys.receive(messageOf(t, "b", typeAsk, r)) != nil {
			refused++
		}
		_ = a.keys.receive(messageOf(t, "b", typeMade, made{Ask: r.Digest, Role: roleCSK, Key: fmt.Sprint(i), Hold: holdHeld}))
	}
	r := ask{Zone: "c.", Roles: []string{roleCSK}}
	r.Digest = r.digest()
	must(t, a.keys.receive(messageOf(t, "c", typeAsk, r)))
	for i := range 100 {
		r := ask{Zone: "z1.", Roles: []string{roleCSK}, Have: []string{fmt.Sprint(i)}}
		r.Digest = r.digest()
		must(t, a.keys.receive(messageOf(t, "b", typeAsk, r)))
	}
	a.keys.mu.Lock()
	defer a.keys.mu.Unlock()
	if refused != 100 || len(a.keys.asked) != mostNewZones+mostAsks || len(a.keys.others) != len(a.keys.asked) || len(a.keys.holds) != 0 {
		t.Errorf("%d refused, %d requests and %d keys are kept", refused, len(a.keys.asked), len(a.keys.holds))
	}
}
