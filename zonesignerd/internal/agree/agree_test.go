package agree

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"zonesigner/mpc"
)

// world is operators whose messages pass by function call.
type world struct {
	t     testing.TB
	group mpc.Group
	keys  map[mpc.PartyID]ed25519.PrivateKey
	ops   map[mpc.PartyID]*operator

	mu      sync.Mutex
	down    map[mpc.PartyID]bool
	dropped []error // what daemons would log of messages
	// fault may drop a message, or change who gets it.
	fault func(from, to mpc.PartyID, raw []byte) bool
}

// operator is one of them; its handler does as the test says.
type operator struct {
	*Agreement
	w  *world
	id mpc.PartyID

	mu        sync.Mutex
	judge     func(ctx context.Context, p *Proposal, provisional func(Verdict, string)) Answer
	judged    int
	ran       []*Agreed
	abandoned []error
	answered  []string
}

const timeout = 40 * time.Second

func newWorld(t testing.TB, names ...mpc.PartyID) *world {
	w := &world{t: t, group: mpc.Group{Parties: names, T: (len(names) - 1) / 2, Digest: sha256.Sum256([]byte("group"))},
		keys: map[mpc.PartyID]ed25519.PrivateKey{}, ops: map[mpc.PartyID]*operator{}, down: map[mpc.PartyID]bool{}}
	for _, id := range names {
		_, k, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		w.keys[id] = k
	}
	for _, id := range names {
		w.start(id)
	}
	return w
}

// start starts an operator that has not run, or anew, with nothing of what it
// knew.
func (w *world) start(id mpc.PartyID) {
	o := &operator{w: w, id: id, judge: func(context.Context, *Proposal, func(Verdict, string)) Answer { return Answer{Verdict: Accept} }}
	o.Agreement = New(Config{
		Identity: identity{w, id}, Group: func() mpc.Group { return w.group }, Timeout: timeout,
		Send:   func(_ context.Context, to mpc.PartyID, raw []byte) error { w.deliver(id, to, raw); return nil },
		Ready:  func(p mpc.PartyID) bool { return w.ready(id) && w.ready(p) },
		ForAll: func(k Kind) bool { return k == "test" },
		Stops:  func(*Proposal, mpc.PartyID, *Answer) bool { return true },
		Logger: slog.New(slog.DiscardHandler),
	})
	o.Register("test", o)
	o.Register("members", o)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ops[id] = o
}

func (w *world) close() {
	for _, o := range w.ops {
		o.Close()
	}
}

func (w *world) setDown(id mpc.PartyID, down bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.down[id] = down
}

func (w *world) ready(id mpc.PartyID) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return !w.down[id]
}

func (w *world) deliver(from, to mpc.PartyID, raw []byte) {
	if !w.ready(from) || !w.ready(to) || w.fault != nil && !w.fault(from, to, raw) {
		return
	}
	w.mu.Lock()
	o := w.ops[to]
	w.mu.Unlock()
	m, err := Open(identity{w, to}, w.group.Digest, raw)
	if err == nil {
		err = o.Receive(m)
	}
	if err != nil {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.dropped = append(w.dropped, err)
	}
}

// restart has an operator start anew, and meet the others as daemons do.
func (w *world) restart(id mpc.PartyID) {
	w.setDown(id, true)
	w.ops[id].Close()
	w.start(id)
	w.setDown(id, false)
	for other, o := range w.ops {
		if other != id {
			_ = w.ops[id].Greet(other)
			_ = o.Greet(id)
			o.Hello(id)
			w.ops[id].Hello(other)
		}
	}
}

// loses drops what one sends to the other until then.
func (w *world) loses(from, to mpc.PartyID, d time.Duration) {
	until := time.Now().Add(d)
	w.fault = func(f, t mpc.PartyID, _ []byte) bool { return f != from || t != to || time.Now().After(until) }
}

type identity struct {
	w    *world
	self mpc.PartyID
}

func (i identity) Self() mpc.PartyID    { return i.self }
func (i identity) Sign(b []byte) []byte { return ed25519.Sign(i.w.keys[i.self], b) }
func (i identity) Verify(from mpc.PartyID, b, sig []byte) bool {
	k, ok := i.w.keys[from]
	return ok && ed25519.Verify(k.Public().(ed25519.PublicKey), b, sig)
}

func (o *operator) Judge(ctx context.Context, _ Digest, p *Proposal, provisional func(Verdict, string)) Answer {
	o.mu.Lock()
	o.judged++
	o.mu.Unlock()
	return o.judge(ctx, p, provisional)
}

// Run is a session of a second.
func (o *operator) Run(ctx context.Context, a *Agreed) {
	o.mu.Lock()
	o.ran = append(o.ran, a)
	o.mu.Unlock()
	select {
	case <-time.After(time.Second):
	case <-ctx.Done():
	}
}

func (o *operator) Abandon(_ Digest, _ *Proposal, why error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.abandoned = append(o.abandoned, why)
}

func (o *operator) Answered(_ *Proposal, from mpc.PartyID, a *Answer) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.answered = append(o.answered, fmt.Sprintf("%s %s %s", from, a.Verdict, a.Reason))
}

func says(v Verdict, after time.Duration, reason string) func(context.Context, *Proposal, func(Verdict, string)) Answer {
	return func(ctx context.Context, _ *Proposal, provisional func(Verdict, string)) Answer {
		if after > 0 {
			provisional(Behind, "looking")
		}
		select {
		case <-time.After(after):
		case <-ctx.Done():
		}
		return Answer{Verdict: v, Reason: reason, Code: "test"}
	}
}

// Every way that a proposal of a's to all can end, in time that is a fake.
func TestOutcomes(t *testing.T) {
	type outcome struct {
		session bool
		want    string // in the error
		least   time.Duration
		most    time.Duration
		alone   bool // c, which is cut off, thinks that there is a session
	}
	all := mpc.NewSignerSet("a", "b", "c")
	two := mpc.NewSignerSet("a", "b")
	for _, tt := range []struct {
		name    string
		members mpc.SignerSet
		prepare func(w *world)
		outcome
	}{
		{"all accept", all, func(*world) {}, outcome{session: true}},
		{"all accept, one after a while", all, func(w *world) { w.ops["c"].judge = says(Accept, 20*time.Second, "") }, outcome{session: true, least: 20 * time.Second, most: 21 * time.Second}},
		{"a member refuses", all, func(w *world) { w.ops["c"].judge = says(Refuse, 0, "other content") }, outcome{want: "operator c refuses: other content", most: time.Second}},
		{"both refuse", all, func(w *world) {
			w.ops["b"].judge = says(Refuse, 5*time.Second, "this")
			w.ops["c"].judge = says(Refuse, 0, "that")
		}, outcome{want: "operator b refuses: this; operator c refuses: that", least: 5 * time.Second, most: 6 * time.Second}},
		{"a member has a newer version", all, func(w *world) { w.ops["b"].judge = says(Superseded, 0, "9") }, outcome{want: "9", most: time.Second}},
		{"a member refuses after settling", all, func(w *world) { w.ops["b"].judge = says(Refuse, 30*time.Second, "still differs") }, outcome{want: "still differs", least: 30 * time.Second, most: 31 * time.Second}},
		{"a member never answers", all, func(w *world) { w.ops["c"].judge = says(Accept, time.Hour, "") }, outcome{want: "operator c", least: timeout, most: timeout + time.Second}},
		{"a member is down", all, func(w *world) { w.down["c"] = true }, outcome{want: "operator c", most: 6 * time.Second}},
		{"a member goes away", all, func(w *world) {
			w.ops["c"].judge = func(context.Context, *Proposal, func(Verdict, string)) Answer {
				w.mu.Lock()
				w.down["c"] = true
				w.mu.Unlock()
				return Answer{Verdict: Accept}
			}
		}, outcome{alone: true, want: "operator c", most: 6 * time.Second}},
		{"a member did not hear the proposal", all, func(w *world) { w.loses("a", "c", time.Second) }, outcome{session: true, least: 2 * time.Second, most: 3 * time.Second}},
		{"a refusal got lost", all, func(w *world) {
			w.ops["c"].judge = says(Refuse, 0, "other content")
			w.loses("c", "a", time.Second)
		}, outcome{want: "operator c refuses: other content", least: 2 * time.Second, most: 3 * time.Second}},
		// What c ran is over when a hears of it.
		{"an acceptance got lost", all, func(w *world) { w.loses("c", "a", 3*time.Second) },
			outcome{alone: true, want: "operator c refuses: the proposal is over here", least: 4 * time.Second, most: 5 * time.Second}},
		{"another operator is down", two, func(w *world) { w.down["c"] = true }, outcome{session: true}},
		{"another operator refuses", two, func(w *world) { w.ops["c"].judge = says(Refuse, 0, "other content") }, outcome{want: "operator c refuses", most: time.Second}},
		{"another operator refuses after settling", two, func(w *world) { w.ops["c"].judge = says(Refuse, 30*time.Second, "other content") }, outcome{want: "operator c refuses", least: 30 * time.Second, most: 31 * time.Second}},
		{"another operator says nothing", two, func(w *world) {
			w.fault = func(from, _ mpc.PartyID, _ []byte) bool { return from != "c" }
		}, outcome{session: true, least: timeout / 4, most: timeout/4 + time.Second}},
		// Its proposer has not asked one that was away.
		{"another operator comes meanwhile", two, func(w *world) {
			w.ops["b"].judge = says(Accept, time.Second, "")
			w.down["c"] = true
			w.fault = func(from, to mpc.PartyID, _ []byte) bool { return to != "c" }
			time.AfterFunc(time.Millisecond, func() { w.restart("c") })
		}, outcome{session: true, least: time.Second, most: 1100 * time.Millisecond}},
		{"another operator starts again", two, func(w *world) {
			w.fault = func(from, to mpc.PartyID, _ []byte) bool { return to != "c" }
			time.AfterFunc(1100*time.Millisecond, func() { w.restart("c") })
		}, outcome{session: true, least: time.Second, most: 1200 * time.Millisecond}},
		{"another operator is slow", two, func(w *world) { w.ops["c"].judge = says(Refuse, time.Hour, "") }, outcome{session: true, least: timeout * 7 / 8, most: timeout}},
		{"another operator's refusal is tolerated", two, func(w *world) {
			w.ops["c"].judge = says(Refuse, 0, "other content")
			for _, o := range w.ops {
				o.cfg.Stops = func(_ *Proposal, from mpc.PartyID, _ *Answer) bool { return from != "c" }
			}
		}, outcome{session: true}},
		{"a member's refusal is never tolerated", all, func(w *world) {
			w.ops["c"].judge = says(Refuse, 0, "other content")
			for _, o := range w.ops {
				o.cfg.Stops = func(*Proposal, mpc.PartyID, *Answer) bool { return false }
			}
		}, outcome{want: "operator c refuses", most: time.Second}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, "a", "b", "c")
				defer w.close()
				tt.prepare(w)
				start := time.Now()
				agreed, err := w.ops["a"].Propose(t.Context(), "test", "x", tt.members, struct{}{})
				took := time.Since(start)
				if (err == nil) != tt.session || err != nil && !strings.Contains(err.Error(), tt.want) {
					t.Fatalf("%v, expected a session: %t, an error with %q", err, tt.session, tt.want)
				}
				if took < tt.least || took > tt.most {
					t.Errorf("took %s, expected %s to %s", took, tt.least, tt.most)
				}
				time.Sleep(2 * timeout) // all rounds are over
				synctest.Wait()
				if len(w.dropped) > 0 {
					t.Errorf("messages were dropped: %v", w.dropped)
				}
				for _, id := range []mpc.PartyID{"b", "c"} {
					o := w.ops[id]
					if tt.alone {
						continue
					}
					if runs := len(o.ran) == 1; runs != (tt.session && tt.members.Contains(id)) {
						t.Errorf("operator %s ran %d sessions", id, len(o.ran))
					} else if runs && o.ran[0].Session != agreed.Session {
						t.Errorf("operator %s is in session %s, a in %s", id, o.ran[0].Session, agreed.Session)
					}
					for _, s := range o.shares {
						if len(s.judged) != 0 {
							t.Errorf("operator %s still counts proposals as open: %v", id, s.judged)
						}
					}
				}
			})
		})
	}
}

// A member starts again before it has answered for good, and faster than anybody
// notices: it is told all that it missed, and everybody comes to the session.
func TestMemberStartsAgain(t *testing.T) {
	for name, judge := range map[string]func(context.Context, *Proposal, func(Verdict, string)) Answer{
		"silent": func(ctx context.Context, _ *Proposal, _ func(Verdict, string)) Answer {
			<-ctx.Done()
			return Answer{Verdict: Refuse}
		},
		"working": says(Accept, time.Hour, ""),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, "a", "b", "c")
				defer w.close()
				w.ops["c"].judge = judge
				const after = 1100 * time.Millisecond
				time.AfterFunc(after, func() { w.restart("c") })
				start := time.Now()
				agreed, err := w.ops["a"].Propose(t.Context(), "test", "x", mpc.NewSignerSet("a", "b", "c"), struct{}{})
				if took := time.Since(start); err != nil || took != after {
					t.Fatalf("%v after %s", err, took)
				}
				synctest.Wait()
				for _, id := range []mpc.PartyID{"b", "c"} {
					if o := w.ops[id]; len(o.ran) != 1 || o.ran[0].Session != agreed.Session {
						t.Errorf("operator %s ran %v", id, o.ran)
					}
				}
			})
		})
	}
}

// A proposer starts again: nobody waits for the others' answers to what it does
// not know any more, and what it proposed since stands.
func TestProposerStartsAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "a", "b", "c")
		defer w.close()
		w.ops["c"].judge = says(Accept, 2*time.Second, "")
		all, start := mpc.NewSignerSet("a", "b", "c"), time.Now()
		go func() { _, _ = w.ops["a"].Propose(t.Context(), "test", "x", all, struct{}{}) }()
		time.Sleep(time.Second)
		synctest.Wait()
		w.setDown("a", true) // its last words are lost
		w.ops["a"].Close()
		w.start("a")
		w.setDown("a", false)
		again := make(chan error)
		go func() {
			_, err := w.ops["a"].Propose(t.Context(), "test", "x", all, struct{}{})
			again <- err
		}()
		synctest.Wait()
		for _, id := range []mpc.PartyID{"b", "c"} {
			_ = w.ops["a"].Greet(id)
		}
		synctest.Wait()
		if b := w.ops["b"]; len(b.abandoned) != 1 {
			t.Errorf("b gave up %d proposals of a that started again", len(b.abandoned))
		}
		if err := <-again; err != nil || time.Since(start) > 3*time.Second {
			t.Errorf("%v after %s", err, time.Since(start))
		}
		time.Sleep(2 * timeout)
		synctest.Wait()
		for _, id := range []mpc.PartyID{"b", "c"} {
			if o := w.ops[id]; len(o.ran) != 1 || len(o.abandoned) != 1 {
				t.Errorf("operator %s ran %d sessions and gave up %d", id, len(o.ran), len(o.abandoned))
			}
		}
	})
}

// An operator that has just started proposes to those that it sees. One that it
// does not see yet is waited for by them, and hears of the proposal.
func TestProposerDoesNotSeeAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "a", "b", "c")
		defer w.close()
		sees := w.ops["a"].cfg.Ready
		w.ops["a"].cfg.Ready = func(id mpc.PartyID) bool { return id != "c" && sees(id) }
		if _, err := w.ops["a"].Propose(t.Context(), "test", "x", mpc.NewSignerSet("a", "b"), struct{}{}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		w.ops["a"].cfg.Ready = sees
		w.ops["a"].Hello("c")
		synctest.Wait()
		if b := w.ops["b"]; len(b.ran) != 1 {
			t.Error("b waits for c, which has answered or was never asked")
		}
	})
}

// What is its members' alone nobody else hears of, and nobody else is waited
// for, also when it comes back.
func TestMembersAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "a", "b", "c")
		defer w.close()
		w.ops["b"].judge = says(Accept, time.Second, "")
		w.ops["c"].judge = says(Refuse, 0, "not asked")
		var heard atomic.Int32
		w.fault = func(_, to mpc.PartyID, raw []byte) bool {
			m, err := Open(identity{w, to}, w.group.Digest, raw)
			if to == "c" && (err != nil || m.Type != TypeHello) {
				heard.Add(1)
			}
			return true
		}
		time.AfterFunc(100*time.Millisecond, func() { w.restart("c") })
		start := time.Now()
		if _, err := w.ops["a"].Propose(t.Context(), "members", "x", mpc.NewSignerSet("a", "b"), struct{}{}); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took != time.Second {
			t.Errorf("agreed after %v, b answers after 1s", took)
		}
		synctest.Wait()
		w.restart("c")
		synctest.Wait()
		w.ops["b"].judge = says(Refuse, 0, "no")
		if _, err := w.ops["a"].Propose(t.Context(), "members", "y", mpc.NewSignerSet("a", "b"), struct{}{}); err == nil {
			t.Error("agreed although b refuses")
		}
		// What one says that was not asked is nothing, before or after the proposal.
		refusal := func(p Proposal) *Message {
			return seal(t, w, "c", TypeAnswer, Answer{Proposal: seal(t, w, "b", TypeProposal, p).Digest(), Verdict: Refuse, Reason: "not asked"})
		}
		receive := func(m *Message) {
			if err := w.ops["a"].Receive(m); err != nil {
				t.Error(err)
			}
		}
		for i, early := range []bool{true, false} {
			p := proposal("b", i)
			p.Kind, p.Members = "members", mpc.NewSignerSet("a", "b")
			synctest.Wait()
			answered := len(w.ops["a"].answered)
			if early {
				receive(refusal(p))
			}
			receive(seal(t, w, "b", TypeProposal, p))
			synctest.Wait()
			if !early {
				receive(refusal(p))
			}
			synctest.Wait()
			for _, a := range w.ops["a"].answered[answered:] {
				if strings.HasPrefix(a, "c") {
					t.Errorf("the answer of who was not asked is heard: %q", a)
				}
			}
		}
		if heard.Load() > 0 || w.ops["c"].judged > 0 || len(w.dropped) > 0 {
			t.Errorf("c heard %d messages and judged %d; dropped: %v", heard.Load(), w.ops["c"].judged, w.dropped)
		}
	})
}

func seal(t testing.TB, w *world, from mpc.PartyID, typ Type, v any) *Message {
	t.Helper()
	raw, err := Seal(identity{w, from}, w.group.Digest, typ, v)
	if err != nil {
		t.Fatal(err)
	}
	m, err := Open(identity{w, "a"}, w.group.Digest, raw)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func proposal(from mpc.PartyID, n int) Proposal {
	nonce := make([]byte, nonceLen)
	nonce[0], nonce[1], nonce[2] = byte(n), byte(n>>8), byte(n>>16)
	return Proposal{Kind: "test", Subject: "x", Proposer: from, Members: mpc.NewSignerSet("a", "b", "c"), Nonce: nonce, Body: json.RawMessage(`{}`)}
}

func TestHostileMessages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "a", "b", "c")
		defer w.close()
		a := w.ops["a"]
		ok := proposal("c", 1)
		for _, tt := range []struct {
			name string
			typ  Type
			v    any
			want string
		}{
			{"a proposal in another's name", TypeProposal, func() Proposal { p := ok; p.Proposer = "b"; return p }(), "came signed by c"},
			{"a short nonce", TypeProposal, func() Proposal { p := ok; p.Nonce = p.Nonce[:3]; return p }(), "nonce"},
			{"not among its members", TypeProposal, func() Proposal { p := ok; p.Members = mpc.NewSignerSet("a", "b"); return p }(), "not among the members"},
			{"a member twice", TypeProposal, func() Proposal { p := ok; p.Members = mpc.SignerSet{"a", "c", "c"}; return p }(), "named twice"},
			{"a stranger", TypeProposal, func() Proposal { p := ok; p.Members = mpc.SignerSet{"a", "c", "z"}; return p }(), "not an operator"},
			{"of others alone", TypeProposal, func() Proposal { p := ok; p.Kind, p.Members = "members", mpc.NewSignerSet("b", "c"); return p }(), "its members alone"},
			{"an endless subject", TypeProposal, func() Proposal { p := ok; p.Subject = strings.Repeat("x", 301); return p }(), "too long"},
			{"a huge body", TypeProposal, func() Proposal {
				p := ok
				p.Body = json.RawMessage(`"` + strings.Repeat("x", maxBody) + `"`)
				return p
			}(), "at most"},
			{"an acceptance without a nonce", TypeAnswer, Answer{Verdict: Accept}, "nonce"},
			{"an unknown verdict", TypeAnswer, Answer{Verdict: "perhaps"}, "unknown verdict"},
			{"an endless reason", TypeAnswer, Answer{Verdict: Refuse, Reason: strings.Repeat("x", maxReason+1)}, "too long"},
			{"endless records", TypeAnswer, Answer{Verdict: Refuse, Records: make([]string, maxRecords+1)}, "too long"},
			{"endless proposals that stand", TypeHello, Hello{Open: make([]Digest, maxRounds+1)}, "at most"},
			{"an unknown field", TypeAbort, map[string]any{"proposal": Digest{}, "more": 1}, "unknown field"},
			{"another type", "other", struct{}{}, "unknown type"},
		} {
			if err := a.Receive(seal(t, w, "c", tt.typ, tt.v)); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%s: %v, expected %q", tt.name, err, tt.want)
			}
		}
		synctest.Wait()
		if a.judged != 0 {
			t.Errorf("%d of them were judged", a.judged)
		}
		unknown := ok
		unknown.Kind = "later"
		if err := a.Receive(seal(t, w, "c", TypeProposal, unknown)); err != nil {
			t.Errorf("a kind of another version: %v", err)
		}
	})
}

// A proposal that is said again, at once or after all is over, is judged once.
func TestReplay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "a", "b", "c")
		defer w.close()
		m := seal(t, w, "c", TypeProposal, proposal("c", 1))
		for range 3 {
			_ = w.ops["a"].Receive(m)
		}
		time.Sleep(2 * timeout)
		synctest.Wait()
		for range 3 {
			_ = w.ops["a"].Receive(m)
		}
		time.Sleep(2 * timeout)
		synctest.Wait()
		if got := w.ops["a"].judged; got != 1 {
			t.Errorf("judged %d times", got)
		}
	})
}

// Only its proposer ends a proposal, and an operator's first final answer
// stays.
func TestOthersCannotAbort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "a", "b", "c")
		defer w.close()
		w.ops["b"].judge = says(Accept, 5*time.Second, "")
		w.fault = func(from, to mpc.PartyID, raw []byte) bool { return from != "c" } // c is driven by hand
		done := make(chan error, 1)
		go func() {
			_, err := w.ops["a"].Propose(t.Context(), "test", "x", mpc.NewSignerSet("a", "b", "c"), struct{}{})
			done <- err
		}()
		synctest.Wait()
		var id Digest
		for d := range w.ops["b"].rounds {
			id = d
		}
		for _, to := range []mpc.PartyID{"a", "b"} {
			_ = w.ops[to].Receive(seal(t, w, "c", TypeAbort, Abort{Proposal: id, Reason: "because"}))
			_ = w.ops[to].Receive(seal(t, w, "c", TypeAnswer, Answer{Proposal: id, Verdict: Accept, Nonce: make([]byte, nonceLen)}))
			_ = w.ops[to].Receive(seal(t, w, "c", TypeAnswer, Answer{Proposal: id, Verdict: Refuse, Reason: "changed my mind"}))
		}
		if err := <-done; err != nil {
			t.Errorf("the session did not come to be: %v", err)
		}
		synctest.Wait()
		if len(w.ops["b"].ran) != 1 {
			t.Error("b did not take part")
		}
	})
}

// c tells a and b different nonces: they are in different sessions, in which
// nothing can be signed.
func TestSplitNonce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "a", "b", "c")
		defer w.close()
		w.fault = func(from, to mpc.PartyID, raw []byte) bool { return from != "c" }
		got := make(chan *Agreed, 1)
		go func() {
			agreed, _ := w.ops["a"].Propose(t.Context(), "test", "x", mpc.NewSignerSet("a", "b", "c"), struct{}{})
			got <- agreed
		}()
		synctest.Wait()
		var id Digest
		for d := range w.ops["b"].rounds {
			id = d
		}
		for i, to := range []mpc.PartyID{"a", "b"} {
			nonce := make([]byte, nonceLen)
			nonce[0] = byte(i)
			_ = w.ops[to].Receive(seal(t, w, "c", TypeAnswer, Answer{Proposal: id, Verdict: Accept, Nonce: nonce}))
		}
		agreed := <-got
		synctest.Wait()
		if agreed == nil || len(w.ops["b"].ran) != 1 {
			t.Fatal("no session")
		}
		if agreed.Session == w.ops["b"].ran[0].Session {
			t.Error("a and b are in one session over different nonces of c")
		}
	})
}

// Whatever c sends, it fills its own share alone.
func TestFloods(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "a", "b", "c")
		defer w.close()
		a := w.ops["a"]
		a.judge = says(Accept, time.Hour, "")
		for i := range 50 {
			_ = a.Receive(seal(t, w, "c", TypeProposal, proposal("c", i)))
		}
		synctest.Wait()
		if a.judged > maxJudged {
			t.Errorf("%d proposals of c about one subject are judged at a time", a.judged)
		}
		big := make([]string, maxRecords)
		for i := range big {
			big[i] = strings.Repeat("x", maxRecord)
		}
		for i := range 2 * maxRounds {
			a.record("c", &Answer{Proposal: sha256.Sum256(fmt.Append(nil, i)), Verdict: Refuse, Records: big})
		}
		a.mu.Lock()
		s := a.shares["c"]
		if len(s.rounds) > maxRounds || s.bytes > maxBytes || len(a.rounds) > maxRounds+10 {
			t.Errorf("%d rounds with %d bytes are kept for c", len(s.rounds), s.bytes)
		}
		a.mu.Unlock()
		a.judge = says(Accept, 0, "")
		if _, err := w.ops["b"].Propose(t.Context(), "test", "y", mpc.NewSignerSet("a", "b"), struct{}{}); err != nil {
			t.Errorf("b's proposal beside c's flood: %v", err)
		}
	})
}

func TestSignatureCoversTheGroup(t *testing.T) {
	w := newWorld(t, "a", "b")
	raw, err := Seal(identity{w, "b"}, [32]byte{1}, TypeAbort, Abort{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(identity{w, "a"}, w.group.Digest, raw); err == nil {
		t.Error("a message to another group counts")
	}
	for i := range raw {
		bad := slices.Clone(raw)
		bad[i] ^= 1
		if _, err := Open(identity{w, "a"}, [32]byte{1}, bad); err == nil {
			t.Errorf("byte %d can be changed", i)
		}
	}
	for n := range raw {
		if _, err := Open(identity{w, "a"}, [32]byte{1}, raw[:n]); err == nil {
			t.Errorf("%d bytes of %d are enough", n, len(raw))
		}
	}
}

// What is cut to its length is still within it after JSON.
func TestCut(t *testing.T) {
	for n := 400; n < 520; n++ {
		a := Answer{Verdict: Refuse, Reason: strings.Repeat("x", n) + strings.Repeat("é", 100)}
		a.trim()
		b, err := json.Marshal(a)
		if err != nil {
			t.Fatal(err)
		}
		var back Answer
		if err := json.Unmarshal(b, &back); err != nil {
			t.Fatal(err)
		}
		if err := back.validate(); err != nil {
			t.Fatalf("%d characters before: %v", n, err)
		}
	}
}

func TestRefusedError(t *testing.T) {
	err := error(&RefusedError{By: []Refusal{{Peer: "b", Answer: Answer{Code: "content", Reason: "x", Records: []string{"r"}}}}})
	var e *RefusedError
	if !errors.As(err, &e) || !e.All("content") || e.All("time") {
		t.Error("codes are not found")
	}
	if _, ok := e.Code("time"); ok {
		t.Error("a code that is not there")
	}
	if got := err.Error(); got != "operator b refuses: x (r)" {
		t.Error(got)
	}
}

// anyone is an identity that takes every signature.
type anyone struct{}

func (anyone) Self() mpc.PartyID                       { return "a" }
func (anyone) Sign([]byte) []byte                      { return make([]byte, sigLen) }
func (anyone) Verify(mpc.PartyID, []byte, []byte) bool { return true }

func FuzzOpen(f *testing.F) {
	raw, err := Seal(anyone{}, [32]byte{}, TypeProposal, proposal("a", 1))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Add(raw[:20])
	f.Add([]byte("zsm\x01"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		m, err := Open(anyone{}, [32]byte{}, raw)
		if err != nil {
			return
		}
		if m.Type == "" || m.From == "" {
			t.Error("a message of no type or sender")
		}
		_ = m.Digest()
		group := mpc.Group{Parties: []mpc.PartyID{"a", "b"}, T: 1}
		var p Proposal
		if m.Decode(&p) == nil && p.validate(group, m.From) == nil && p.Proposer != m.From {
			t.Error("a proposal in another's name")
		}
		var a Answer
		if m.Decode(&a) == nil && a.validate() == nil && a.Verdict == Accept && len(a.Nonce) != nonceLen {
			t.Error("an acceptance without a nonce")
		}
		var ab Abort
		_ = m.Decode(&ab)
		var h Hello
		_ = m.Decode(&h)
	})
}
