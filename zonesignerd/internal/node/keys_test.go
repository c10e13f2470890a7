package node

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"zonesigner/keystore"
	"zonesigner/mpc"
	"zonesigner/mpc/natsnet"
	"zonesigner/zonesignerd/config"
	"zonesigner/zonesignerd/internal/agree"
	"zonesigner/zonesignerd/internal/api"
)

func messageOf(t *testing.T, from mpc.PartyID, typ agree.Type, v any) *agree.Message {
	t.Helper()
	body, err := json.Marshal(v)
	must(t, err)
	return &agree.Message{Type: typ, From: from, Body: body}
}

// voice is what an operator that is not started can say of keys: whatever it
// likes, signed.
type voice struct {
	t  *testing.T
	id mpc.Identity
}

func (o *operators) voice(t *testing.T, name string) *voice {
	t.Helper()
	key, err := config.ReadIdentity(o.path(name, "identity.nk"))
	must(t, err)
	peers, err := peersOf(o.group)
	must(t, err)
	return &voice{t, natsnet.NewIdentity(mpc.PartyID(name), key, peers)}
}

// on is the voice's word on a key.
func (v *voice) on(a *ask, key string, h hold) made {
	m := made{Ask: a.Digest, Role: roleCSK, Key: key, Hold: h}
	if h != holdHeld {
		m.Sig = v.id.Sign(m.signed(h))
	}
	return m
}

func (v *voice) tells(n *Node, m made) error {
	v.t.Helper()
	return n.keys.receiveMades(messageOf(v.t, v.id.Self(), typeMade, mades{[]made{m}}))
}

func (v *voice) says(n *Node, a *ask, key string, h hold) {
	v.t.Helper()
	must(v.t, v.tells(n, v.on(a, key, h)))
}

// requestLedBy is a request whose keys that operator has to propose.
func requestLedBy(group mpc.Group, id mpc.PartyID) *ask {
	for i := 0; ; i++ {
		a := &ask{Zone: fmt.Sprintf("example%d.", i), Roles: []string{roleCSK}, Engine: config.MalShamir}
		if a.Digest = a.digest(); leader(a.Digest, group) == id {
			return a
		}
	}
}

// place gives an operator the request that all asked for, and a key of it.
func place(t *testing.T, n *Node, a *ask, key string, h hold) {
	t.Helper()
	text, err := json.Marshal(a)
	must(t, err)
	must(t, n.store.Put(bucketAsks, hex.EncodeToString(a.Digest[:]), text))
	n.keys.mu.Lock()
	defer n.keys.mu.Unlock()
	e := n.keys.enter(*a, true)
	for _, id := range n.groups.mpc().Parties {
		e.by[id] = true
	}
	if key != "" {
		r := keystore.KeyRecord{ID: key, Zone: a.Zone, Role: roleCSK, Engine: a.Engine, Public: make([]byte, 64),
			State: keystore.Active, Created: time.Now(), Secret: []byte("share"),
			Meta: map[string]string{metaAsk: hex.EncodeToString(a.Digest[:]), metaPending: string(h)}}
		must(t, n.store.Update(func(tx *keystore.Tx) error { return tx.PutKey(r) }))
		n.keys.put(r)
	}
	n.keys.reopen(e)
	n.keys.wake()
}

// proposed is an operator's answer to a proposal for one key.
func proposed(t *testing.T, n *Node, by mpc.PartyID, a *ask) agree.Answer {
	t.Helper()
	body, err := json.Marshal(wantedKeys{[]wantedKey{{a.Digest, roleCSK}}})
	must(t, err)
	return keyProposals{n}.Judge(t.Context(), agree.Digest{1}, &agree.Proposal{Kind: kindKey, Subject: a.Zone, Proposer: by,
		Members: mpc.NewSignerSet(n.groups.mpc().Parties...), Body: body}, nil)
}

// said is what an operator heard of a key from another.
func said(n *Node, key string, by mpc.PartyID) words {
	n.keys.mu.Lock()
	defer n.keys.mu.Unlock()
	if e := n.keys.keys[key]; e != nil {
		return e.words[by]
	}
	return words{}
}

func holds(n *Node, key string) hold {
	n.keys.mu.Lock()
	defer n.keys.mu.Unlock()
	if e := n.keys.keys[key]; e != nil {
		return e.hold()
	}
	return holdGone
}

func uses(n *Node, key string) bool {
	_, ok := n.keys.find(key)
	return ok
}

const key1, key2 = "00112233445566778899aabbccddeeff", "ffeeddccbbaa99887766554433221100"

// c leads the generation of a key that all three hold. It is silent about it,
// then tells a that it has lost the key and b that it holds it, and proposes
// another one. a gives its share up; b must not use that key, for it would sign
// alone with c. With hasty it does. As a passes on what c told it, b can give
// the key up, too.
func TestLeaderTellsEachAnother(t *testing.T) {
	for _, defended := range []bool{true, false} {
		t.Run(fmt.Sprint("defended=", defended), func(t *testing.T) {
			t.Parallel()
			o := newOperators(t, 3, 1)
			o.options = func(_ string, opt *Options) { opt.hasty = !defended }
			a, b, c := o.start("a"), o.start("b"), o.voice(t, "c")
			request := requestLedBy(a.groups.mpc(), "c")
			place(t, a, request, key1, holdHeld)
			place(t, b, request, key1, holdHeld)
			o.eventually(10*time.Second, "a and b know of each other", func() bool { return said(a, key1, "b").held && said(b, key1, "a").held })
			c.says(b, request, key1, holdHeld)
			if ans := proposed(t, a, "c", request); ans.Verdict != agree.Refuse {
				t.Fatalf("a answers %v to another generation while it holds a key", ans)
			}
			if !defended {
				o.eventually(10*time.Second, "b uses the key", func() bool { return uses(b, key1) })
			} else {
				o.eventually(10*time.Second, "b has heard that all hold it", func() bool { return holds(b, key1) == holdAll })
			}
			c.says(a, request, key1, holdGone)
			if ans := proposed(t, a, "c", request); ans.Verdict != agree.Accept {
				t.Fatalf("a answers %v though the key is gone", ans)
			}
			if _, err := a.store.Key(key1); err == nil {
				t.Fatal("a accepts another generation and keeps the share")
			}
			if !defended {
				return // b uses a key that a is about to replace
			}
			c.says(b, request, key1, holdAll)
			o.eventually(10*time.Second, "b hears that a has none, and why", func() bool {
				return said(b, key1, "a").gone != nil && said(b, key1, "c").gone != nil
			})
			b.keys.settle()
			if uses(b, key1) {
				t.Fatal("b uses a key that a gave up")
			}
			if ans := proposed(t, b, "c", request); ans.Verdict != agree.Accept {
				t.Fatalf("b answers %v though nobody has the key", ans)
			}
		})
	}
}

// b has heard that all hold a key, and a uses it. c tells b that the key is
// gone, and that a said so. Did b give it up, b would make another one with c.
func TestForgedWordOnAKey(t *testing.T) {
	for _, defended := range []bool{true, false} {
		t.Run(fmt.Sprint("defended=", defended), func(t *testing.T) {
			t.Parallel()
			o := newOperators(t, 3, 1)
			o.options = func(_ string, opt *Options) { opt.gullible = !defended }
			b, c := o.start("b"), o.voice(t, "c")
			request := requestLedBy(b.groups.mpc(), "c")
			place(t, b, request, key1, holdAll)
			c.says(b, request, key1, holdGone)
			if ans := proposed(t, b, "c", request); ans.Verdict != agree.Refuse {
				t.Fatalf("b answers %v on one operator's word", ans)
			}
			m := c.on(request, key1, holdGone)
			m.Heard = []heard{{"a", holdGone, c.id.Sign(m.signed(holdGone))}}
			if err := c.tells(b, m); (err != nil) != defended {
				t.Errorf("b takes the forged word with error %v", err)
			}
			if ans := proposed(t, b, "c", request); (ans.Verdict == agree.Accept) == defended {
				t.Errorf("b answers %v to another generation after a forged word", ans)
			}
			if _, err := b.store.Key(key1); (err == nil) != defended {
				t.Errorf("b's share is there: %v", err == nil)
			}
		})
	}
}

// c lets a use a key and tells b that it is gone. a shows b what c signed, even
// after a restart.
func TestKeyInUseReachesAll(t *testing.T) {
	t.Parallel()
	o := newOperators(t, 3, 1)
	a, b, c := o.start("a"), o.start("b"), o.voice(t, "c")
	request := requestLedBy(a.groups.mpc(), "c")
	place(t, a, request, key1, holdAll)
	place(t, b, request, key1, holdAll)
	o.eventually(10*time.Second, "a and b know of each other", func() bool {
		return said(a, key1, "b").all != nil && said(b, key1, "a").all != nil
	})
	o.stop("b")
	c.says(a, request, key1, holdAll)
	o.eventually(10*time.Second, "a uses the key", func() bool { return uses(a, key1) })
	o.stop("a")
	b = o.start("b")
	place(t, b, request, "", "")
	c.says(b, request, key1, holdGone)
	if uses(b, key1) {
		t.Fatal("b uses a key that it knows c's word against alone")
	}
	o.start("a")
	o.eventually(30*time.Second, "b uses the key", func() bool { return uses(b, key1) })
}

// a and b hold K as all, and K2 of the request that was made after it. c lets a
// use K2, and b K. b must not: it holds K2, which a uses.
func TestRivalsExcludeEachOther(t *testing.T) {
	for _, defended := range []bool{true, false} {
		t.Run(fmt.Sprint("defended=", defended), func(t *testing.T) {
			t.Parallel()
			o := newOperators(t, 3, 1)
			o.options = func(name string, opt *Options) { opt.both = name == "b" && !defended }
			a, b, c := o.start("a"), o.start("b"), o.voice(t, "c")
			first := requestLedBy(a.groups.mpc(), "c")
			again := *first
			again.Again = 1
			again.Digest = again.digest()
			for _, n := range []*Node{a, b} {
				place(t, n, first, key1, holdAll)
				place(t, n, &again, key2, holdAll)
			}
			for _, key := range []string{key1, key2} {
				o.eventually(10*time.Second, "a and b know of each other", func() bool {
					return said(a, key, "b").all != nil && said(b, key, "a").all != nil
				})
			}
			c.says(b, first, key1, holdAll)
			if !defended {
				o.eventually(10*time.Second, "b uses the first key", func() bool { return uses(b, key1) })
			}
			b.keys.settle()
			c.says(a, &again, key2, holdAll)
			o.eventually(10*time.Second, "a uses the second key", func() bool { return uses(a, key2) })
			if !defended {
				if !uses(b, key1) || uses(b, key2) {
					t.Fatal("b follows a without the defence")
				}
				return
			}
			o.eventually(30*time.Second, "b uses the second key", func() bool { return uses(b, key2) })
			for _, n := range []*Node{a, b} {
				if _, err := n.store.Key(key1); err == nil || uses(n, key1) {
					t.Errorf("operator %s keeps the first key", n.self)
				}
			}
		})
	}
}

// The word that lacked of a blocked key is found after another one was made in
// its place. That one is held, so the first stays out of use, until it is known
// that not all hold it.
func TestBlockedKeyComesIntoUseAfterAll(t *testing.T) {
	t.Parallel()
	o := newOperators(t, 3, 1)
	b := o.start("b")
	first := requestLedBy(b.groups.mpc(), "c")
	again := *first
	again.Again = 1
	again.Digest = again.digest()
	place(t, b, first, key1, holdAll)
	place(t, b, &again, key2, holdHeld)
	a, c := o.voice(t, "a"), o.voice(t, "c")
	a.says(b, first, key1, holdAll)
	c.says(b, first, key1, holdGone)
	c.says(b, first, key1, holdAll)
	b.keys.settle()
	if uses(b, key1) {
		t.Fatal("b uses the first key while it holds the second")
	}
	a.says(b, &again, key2, holdGone)
	o.eventually(10*time.Second, "b uses the first key", func() bool { return uses(b, key1) })
	if _, err := b.store.Key(key2); err == nil {
		t.Error("b keeps the second key")
	}
}

// c's disk was put back to a time before a key that a and b hold as all. They
// say so, everyone asks again, and other keys come into use.
func TestBlockedKeyIsAskedForAgain(t *testing.T) {
	t.Parallel()
	o := newOperators(t, 3, 1)
	o.write("example.", 1, "www A 192.0.2.10")
	o.startAll()
	request := &ask{Zone: "example.", Roles: []string{roleCSK}, Engine: config.MalShamir}
	request.Digest = request.digest()
	for _, name := range o.names {
		n := o.nodes[name]
		_, err := n.AddZone(t.Context(), api.AddZone{Policy: o.policy(name, "example.", "single-type-signing: true"), File: "policy"})
		must(t, err)
		if name == "c" {
			place(t, n, request, "", "")
		} else {
			place(t, n, request, key1, holdAll)
		}
	}
	generate := func(name string) *api.Request {
		r, err := o.nodes[name].GenerateKeys(t.Context(), api.GenerateKeys{Zone: "example."})
		must(t, err)
		return r
	}
	for _, name := range []string{"a", "b"} {
		o.eventually(20*time.Second, "status names c and says what to do", func() bool {
			next := o.status(name, "example.").Next
			return next.Kind == api.ActorSelf && strings.Contains(next.WaitsFor, "operator c says that it does not hold CSK key "+key1) &&
				strings.Contains(next.WaitsFor, "zonesignerd keys generate example --csk")
		})
		keys, err := o.nodes[name].Keys(t.Context(), "example.")
		must(t, err)
		if len(keys) != 1 || keys[0].State != api.KeyBlocked || !strings.Contains(keys[0].Problem, "operator c") || keys[0].DNSKEY != "" || keys[0].DS != nil {
			t.Errorf("operator %s lists %+v", name, keys)
		}
	}
	if r := generate("c"); r.Digest != hex.EncodeToString(request.Digest[:]) {
		t.Errorf("c, which knows of nothing wrong, asks for something new")
	}
	first := generate("a")
	if first.Digest == hex.EncodeToString(request.Digest[:]) {
		t.Fatal("a asks for the same though its key is blocked")
	}
	o.eventually(10*time.Second, "b and c hear of it", func() bool {
		return !slices.ContainsFunc([]string{"b", "c"}, func(name string) bool {
			return !strings.HasPrefix(o.status(name, "example.").Next.WaitsFor, "run `zonesignerd keys generate")
		})
	})
	for _, name := range []string{"a", "b", "c"} {
		if r := generate(name); r.Digest != first.Digest {
			t.Errorf("operator %s makes request %s, a made %s", name, r.Digest, first.Digest)
		}
	}
	o.level("example.", 0)
	for _, name := range o.names {
		if _, err := o.nodes[name].store.Key(key1); err == nil {
			t.Errorf("operator %s keeps the blocked key", name)
		}
		r, err := o.nodes[name].Request(t.Context(), hex.EncodeToString(request.Digest[:]))
		must(t, err)
		if r.State != api.RequestFailed || r.Error == nil {
			t.Errorf("operator %s: the first request is %s", name, r.State)
		}
	}
	// A restart changes nothing.
	keys := o.nodes["a"].keys.of("example.")
	o.stop("a")
	a := o.start("a")
	if got := a.keys.of("example."); len(got) != 1 || got[0].ID != keys[0].ID || len(a.keys.open) != 0 {
		t.Errorf("after a restart a has keys %v, and %d open requests", got, len(a.keys.open))
	}
}

// Of a proposal, what a member cannot accept is named and left out; the rest is
// made.
func TestRefusedKeysAreLeftOut(t *testing.T) {
	t.Parallel()
	o := newOperators(t, 3, 1)
	o.startAll()
	a := o.nodes["a"]
	var requests []*ask
	for i := 0; len(requests) < 3; i++ {
		r := &ask{Zone: fmt.Sprintf("zone%d.", i), Roles: []string{roleKSK, roleZSK}, Engine: config.MalShamir}
		if r.Digest = r.digest(); leader(r.Digest, a.groups.mpc()) == "a" {
			requests = append(requests, r)
		}
	}
	for i, r := range requests {
		for _, name := range []string{"c", "b", "a"} {
			if i != 1 || name != "b" { // a believes that b asked for the second, too
				place(t, o.nodes[name], r, "", "")
			}
		}
	}
	for _, r := range []*ask{requests[0], requests[2]} {
		o.eventually(30*time.Second, r.Zone+" has its keys", func() bool {
			return len(o.nodes["a"].keys.of(r.Zone)) == 2 && len(o.nodes["b"].keys.of(r.Zone)) == 2 && len(o.nodes["c"].keys.of(r.Zone)) == 2
		})
	}
	o.eventually(30*time.Second, "a says why the other one waits", func() bool {
		return strings.Contains(a.keys.requestOf(a.keys.asked(requests[1].Digest)).Progress, "operator b refuses")
	})
	wants := []want{{a.keys.asked(requests[0].Digest), roleKSK}, {a.keys.asked(requests[1].Digest), roleZSK}}
	ans := o.nodes["b"].keys.judge("a", []want{wants[0], {&asking{ask: *requests[1]}, roleZSK}})
	if len(ans.Records) != 2 {
		t.Fatalf("b answers %+v", ans)
	}
	for n, record := range ans.Records {
		if i, why, ok := cutRefused(record); !ok || i != n || !strings.Contains(why, wants[n].Zone) {
			t.Errorf("record %q is read as %d, %q, %v", record, i, why, ok)
		}
	}
	// What is refused says nothing of what comes after it.
	late := &ask{Zone: "late.", Roles: []string{roleKSK}, Engine: config.MalShamir}
	for late.Digest = late.digest(); leader(late.Digest, a.groups.mpc()) != "a"; late.Digest = late.digest() {
		late.Zone = "later." + late.Zone
	}
	place(t, o.nodes["b"], late, "", "")
	ans = o.nodes["b"].keys.judge("a", []want{{&asking{ask: ask{Digest: requests[1].Digest}}, roleZSK}, {o.nodes["b"].keys.asked(late.Digest), roleKSK}})
	if len(ans.Records) != 1 || !strings.HasPrefix(ans.Records[0], "0: ") {
		t.Errorf("b answers %+v", ans)
	}
}

// What one peer asks for and says takes little room, and none of another's.
func TestRequestsOfAPeerAreBounded(t *testing.T) {
	t.Parallel()
	o := newOperators(t, 3, 1)
	a := o.start("a")
	asking := func(from mpc.PartyID, r ask) error {
		r.Roles, r.Engine = []string{roleCSK}, config.MalShamir
		r.Digest = r.digest()
		return a.keys.receiveAsks(messageOf(t, from, typeAsk, asks{[]ask{r}}))
	}
	var refused int
	for i := range mostNewZones + 100 {
		if asking("b", ask{Zone: fmt.Sprintf("z%d.", i)}) != nil {
			refused++
		}
		_ = a.keys.receiveMades(messageOf(t, "b", typeMade, mades{[]made{{Role: roleCSK, Key: fmt.Sprint(i), Hold: holdHeld}}}))
	}
	must(t, asking("c", ask{Zone: "c."}))
	for i := range 100 {
		must(t, asking("b", ask{Zone: "z1.", Have: []string{fmt.Sprint(i)}}))
	}
	for _, r := range []ask{{Zone: "z1.\nCSK"}, {Zone: "z1.", Again: -1}, {Zone: strings.Repeat("z", 5000)}} {
		if asking("b", r) == nil {
			t.Errorf("a request for %.20q, again %d, is kept", r.Zone, r.Again)
		}
	}
	a.keys.mu.Lock()
	defer a.keys.mu.Unlock()
	if refused != 100 || len(a.keys.asks) != mostNewZones+mostAsks || len(a.keys.rivals) != len(a.keys.asks) || len(a.keys.keys) != 0 {
		t.Errorf("%d refused, %d requests and %d keys are kept", refused, len(a.keys.asks), len(a.keys.keys))
	}
}

// FuzzKeyMessages gives an operator any message on keys: it changes nothing of
// what it holds without a signature, and keeps within bounds.
func FuzzKeyMessages(f *testing.F) {
	f.Add(true, []byte(`{"asks":[{"zone":"example.","roles":["CSK"],"engine":"mal-shamir","have":null,"digest":"00"}]}`))
	f.Add(false, []byte(`{"keys":[{"ask":"00","role":"CSK","key":"00112233445566778899aabbccddeeff","hold":"gone","sig":"AA==","tell":true,"heard":[{"by":"a","hold":"all","sig":""}]}]}`))
	f.Add(false, []byte(`{"keys":[{"ask":"","role":"","key":"","hold":"held","heard":null}]}`))
	o := newOperators(f, 3, 1)
	n := o.start("a")
	f.Fuzz(func(t *testing.T, isAsk bool, body []byte) {
		if isAsk {
			_ = n.keys.receiveAsks(&agree.Message{Type: typeAsk, From: "b", Body: body})
		} else {
			_ = n.keys.receiveMades(&agree.Message{Type: typeMade, From: "b", Body: body})
		}
		_, _ = keyProposals{n}.wantsOf(&agree.Proposal{Body: body})
		if i, _, ok := cutRefused(string(body)); ok && (i < 0 || i > 1<<16) {
			t.Errorf("record of key %d", i)
		}
		n.keys.mu.Lock()
		defer n.keys.mu.Unlock()
		if len(n.keys.keys) != 0 || len(n.keys.open) != 0 || len(n.keys.asks) > mostNewZones*mostAsks {
			t.Errorf("%d keys, %d open requests, %d requests", len(n.keys.keys), len(n.keys.open), len(n.keys.asks))
		}
	})
}

// Three hundred requests come into use with work in proportion to their number:
// each is looked at a bounded number of times, and not at all once it is
// settled. A few sessions make all keys.
func TestManyRequestsAreLinearWork(t *testing.T) {
	t.Parallel()
	const requests = 300
	o := newOperators(t, 3, 1)
	o.edit = func(c *config.Daemon) { c.Pools.Depth = 0 } // signing is not what is tested
	o.startAll()
	for _, name := range o.names {
		n := o.nodes[name]
		o.eventually(20*time.Second, name+" sees the others", func() bool { return n.isReady("a") && n.isReady("b") && n.isReady("c") })
	}
	leading := func(yes bool) {
		for _, name := range o.names {
			k := &o.nodes[name].keys
			k.mu.Lock()
			k.leading, k.check = yes, true
			k.mu.Unlock()
			k.wake()
		}
	}
	leading(true) // nobody begins before all have asked
	for i := range requests / 2 {
		for _, name := range o.names {
			for _, engine := range []string{config.MalShamir, config.Shamir} {
				_, err := o.nodes[name].keys.request(fmt.Sprintf("zone%d.", i), []string{roleCSK}, engine)
				must(t, err)
			}
		}
	}
	o.eventually(30*time.Second, "all know what to propose", func() bool {
		n := 0
		for _, name := range o.names {
			k := &o.nodes[name].keys
			k.mu.Lock()
			n += len(k.lead)
			k.mu.Unlock()
		}
		return n == requests
	})
	leading(false)
	o.eventually(5*time.Minute, "all keys are in use", func() bool {
		for _, name := range o.names {
			if len(o.nodes[name].keys.all()) != requests {
				return false
			}
		}
		return true
	})
	looks := map[string]int{}
	for _, name := range o.names {
		k := &o.nodes[name].keys
		k.mu.Lock()
		looks[name] = k.looks
		if len(k.open) != 0 || len(k.lead) != 0 || len(k.news) != 0 {
			t.Errorf("operator %s: %d requests are open, %d to be proposed, of %d there is news", name, len(k.open), len(k.lead), len(k.news))
		}
		k.mu.Unlock()
		t.Logf("operator %s looked %d times at %d requests", name, looks[name], requests)
		// Own and two others' asks, the session, held and all of two others,
		// each of them repeated now and then.
		if looks[name] > 20*requests {
			t.Errorf("operator %s looked %d times at %d requests", name, looks[name], requests)
		}
	}
	for _, name := range o.names {
		for _, peer := range o.names {
			if peer != name {
				o.nodes[name].keys.hello(mpc.PartyID(peer))
			}
		}
	}
	for _, name := range o.names {
		k := &o.nodes[name].keys
		k.repeatMades()
		k.settle()
		k.mu.Lock()
		if k.looks != looks[name] {
			t.Errorf("operator %s looked at %d requests that are settled", name, k.looks-looks[name])
		}
		k.mu.Unlock()
	}
}
