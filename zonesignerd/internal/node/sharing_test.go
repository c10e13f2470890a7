package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"zonesigner/mpc"
	"zonesigner/zonesignerd/config"
	"zonesigner/zonesignerd/internal/agree"
	"zonesigner/zonesignerd/internal/pipeline"
)

// statements counts, for one operator, how many ranges of tuples each
// statement spent.
type statements struct {
	mu     sync.Mutex
	ranges map[[32]byte]int
}

func (s *statements) spent(_ mpc.TupleRange, statement [32]byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ranges == nil {
		s.ranges = map[[32]byte]int{}
	}
	s.ranges[statement]++
}

func (s *statements) count() (statements, most int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, n := range s.ranges {
		most = max(most, n)
	}
	return len(s.ranges), most
}

// Many small zones that change at once share sessions: far fewer statements are
// signed than zones, and all zones are signed alike.
func TestZonesShareSessions(t *testing.T) {
	t.Parallel()
	const count = 40
	o := newOperators(t, 3, 1)
	o.group.SignerSets = [][]string{{"a", "b", "c"}}
	o.edit = func(c *config.Daemon) { c.Pools.Chunk = 256 }
	var seen statements
	o.options = func(name string, opt *Options) {
		if name == "a" {
			opt.spent = seen.spent
		}
	}
	o.startAll()
	var zones []string
	for i := range count {
		zones = append(zones, fmt.Sprintf("zone%d.example.", i))
		o.write(zones[i], 1, "www A 192.0.2.10")
		o.add(zones[i], "single-type-signing: true")
	}
	for _, z := range zones {
		o.level(z, 0)
	}
	o.poolsFull()
	before, _ := seen.count()
	for _, z := range zones {
		o.write(z, 2, "www A 192.0.2.11")
	}
	o.eventually(30*time.Second, "all changes are served", func() bool {
		return !slices.ContainsFunc(zones, func(z string) bool { return !o.has("c", z, "A 192.0.2.11") || !o.has("a", z, "A 192.0.2.11") })
	})
	after, most := seen.count()
	if most < 2 {
		t.Errorf("no statement is for several zones")
	}
	if n := after - before; n >= 2*count {
		t.Errorf("%d zones changed, %d statements were signed", count, n)
	}
}

// A shared session is for zones that this operator agreed to on the same
// proposer's word, each once, and that wait.
func TestSharedSessionRefuses(t *testing.T) {
	n := &Node{self: "a", cfg: &config.Daemon{Sessions: config.Sessions{Timeout: config.Duration(time.Second)}}, opt: Options{Now: time.Now}}
	s := newSharing(n)
	members := mpc.NewSignerSet("a", "b", "c")
	wait := func(name string, proposer mpc.PartyID, set mpc.SignerSet) agree.Digest {
		id := agree.Digest{byte(len(s.waiting) + 1)}
		s.join("", &joined{agreed: &agree.Agreed{ID: id, Proposal: &agree.Proposal{Kind: pipeline.KindZone, Subject: name, Proposer: proposer, Members: set}},
			lead: make(chan struct{}), done: make(chan struct{})})
		return id
	}
	one, two := wait("one.", "b", members), wait("two.", "b", members)
	ofC, small := wait("c.", "c", members), wait("small.", "b", mpc.NewSignerSet("a", "b"))
	judge := func(session byte, ids ...agree.Digest) agree.Answer {
		body, err := json.Marshal(sharedSession{Proposals: ids})
		must(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		return s.Judge(ctx, agree.Digest{0xff, session}, &agree.Proposal{Kind: kindShared, Proposer: "b", Members: members, Body: body}, nil)
	}
	for name, ids := range map[string][]agree.Digest{
		"unknown": {one, {0xee}}, "of another proposer": {one, ofC}, "of another signer set": {small}, "twice": {one, one}, "none": nil,
	} {
		if a := judge(1, ids...); a.Verdict != agree.Refuse {
			t.Errorf("%s: %+v", name, a)
		}
	}
	if a := judge(2, one, two); a.Verdict != agree.Accept {
		t.Fatalf("two zones that wait: %+v", a)
	}
	if a := judge(3, two); a.Verdict != agree.Refuse {
		t.Errorf("a zone that is in another session: %+v", a)
	}
	body, _ := json.Marshal(sharedSession{Proposals: []agree.Digest{one, two}})
	s.Abandon(agree.Digest{0xff, 2}, &agree.Proposal{Kind: kindShared, Proposer: "b", Members: members, Body: body}, nil)
	if a := judge(4, two); a.Verdict != agree.Accept {
		t.Errorf("a zone whose session came to nothing: %+v", a)
	}
}

// absentMinded says of every shared session that it does not wait for its
// zones, and lets go of them.
type absentMinded struct{ *sharing }

func (s absentMinded) Judge(_ context.Context, _ agree.Digest, p *agree.Proposal, _ func(agree.Verdict, string)) agree.Answer {
	var body sharedSession
	_ = json.Unmarshal(p.Body, &body)
	ans := agree.Answer{Verdict: agree.Refuse, Code: "missing", Reason: "not here"}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range body.Proposals {
		text, _ := d.MarshalText()
		ans.Records = append(ans.Records, string(text))
		if j := s.waiting[d]; j != nil {
			j.finish(nil, errors.New("forgotten"))
		}
	}
	return ans
}

// An operator that agrees to zones and then does not wait with them is left
// out for it, by all and once; nobody waits for long, and nobody else is blamed.
func TestMemberThatDoesNotWait(t *testing.T) {
	t.Parallel()
	o := newOperators(t, 3, 1)
	o.startAll()
	zones := []string{"one.example.", "two.example.", "three.example.", "four.example."}
	for _, z := range zones {
		o.write(z, 1, "www A 192.0.2.10")
		o.add(z, "single-type-signing: true")
	}
	for _, z := range zones {
		o.level(z, 0)
	}
	o.poolsFull()
	c := o.nodes["c"]
	c.agreement.Register(kindShared, absentMinded{c.sharing})
	for _, z := range zones {
		o.write(z, 2, "www A 192.0.2.11")
	}
	o.eventually(90*time.Second, "all changes are served at a and b", func() bool {
		return !slices.ContainsFunc(zones, func(z string) bool { return !o.has("b", z, "A 192.0.2.11") || !o.has("a", z, "A 192.0.2.11") })
	})
	for _, name := range []string{"a", "b"} {
		b := &o.nodes[name].blame
		b.mu.Lock()
		for id := range b.parties {
			if id != "c" {
				t.Errorf("operator %s leaves out %s", name, id)
			}
		}
		b.mu.Unlock()
	}
}

// A zone that is gone when all have agreed on a shared session takes the whole
// of it down here: what is left is not what the others sign.
func TestSharedSessionThatAZoneLeft(t *testing.T) {
	s := newSharing(&Node{self: "b"})
	p := &agree.Proposal{Kind: kindShared, Proposer: "a", Members: mpc.NewSignerSet("a", "b")}
	var body sharedSession
	var zones []*joined
	for i := range byte(2) {
		j := &joined{agreed: &agree.Agreed{Proposal: p, ID: agree.Digest{i + 1}}, lead: make(chan struct{}), done: make(chan struct{})}
		s.join("", j)
		zones, body.Proposals = append(zones, j), append(body.Proposals, j.agreed.ID)
	}
	p.Body, _ = json.Marshal(body)
	session := agree.Digest{9}
	if missing, _ := s.claim(session, p, body.Proposals); missing != nil {
		t.Fatal(missing)
	}
	s.part("", zones[1])
	s.Run(t.Context(), &agree.Agreed{Proposal: p, ID: session})
	select {
	case <-zones[0].done:
	default:
		t.Fatal("the zone that is left waits on")
	}
	if zones[0].err == nil || zones[0].out != nil {
		t.Errorf("the zone that is left has signatures, or no error: %v", zones[0].err)
	}
}
