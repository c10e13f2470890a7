package agree

import (
	"testing"
	"testing/synctest"
	"time"

	"zonesigner/mpc"
)

// To propose is to accept: what its proposer says besides, before or after,
// changes neither that nor its nonce, and only giving up ends the proposal.
func TestProposerAccepts(t *testing.T) {
	other := make([]byte, nonceLen)
	other[0] = 0xff
	for name, tt := range map[string]struct {
		before, after []Answer
		abort         bool
		session       bool
	}{
		"nothing more":          {session: true},
		"refuses first":         {before: []Answer{{Verdict: Refuse, Reason: "no"}}, session: true},
		"accepts anew first":    {before: []Answer{{Verdict: Accept, Nonce: other}}, session: true},
		"refuses, accepts anew": {after: []Answer{{Verdict: Refuse, Reason: "no"}, {Verdict: Accept, Nonce: other}}, session: true},
		"is behind":             {after: []Answer{{Verdict: Behind}}, session: true},
		"gives up":              {abort: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, "a", "b", "c")
				defer w.close()
				p := proposal("c", 1)
				m := seal(t, w, "c", TypeProposal, p)
				nonces := map[mpc.PartyID][]byte{"c": p.Nonce}
				w.fault = func(from, to mpc.PartyID, raw []byte) bool { // c is driven by hand, and hears all
					if heard, err := Open(identity{w, to}, w.group.Digest, raw); err == nil && to == "c" {
						var ans Answer
						if err := heard.Decode(&ans); err == nil && ans.Verdict == Accept {
							nonces[from] = ans.Nonce
						}
					}
					return from != "c"
				}
				w.ops["b"].judge = says(Accept, time.Second, "")
				say := func(answers []Answer) {
					for _, ans := range answers {
						ans.Proposal = m.Digest()
						for _, to := range []mpc.PartyID{"a", "b"} {
							_ = w.ops[to].Receive(seal(t, w, "c", TypeAnswer, ans))
						}
					}
				}
				say(tt.before)
				for _, to := range []mpc.PartyID{"a", "b"} {
					if err := w.ops[to].Receive(m); err != nil {
						t.Fatal(err)
					}
				}
				say(tt.after)
				if tt.abort {
					for _, to := range []mpc.PartyID{"a", "b"} {
						_ = w.ops[to].Receive(seal(t, w, "c", TypeAbort, Abort{Proposal: m.Digest(), Reason: "no"}))
					}
				}
				synctest.Wait()
				time.Sleep(time.Second) // b has judged
				synctest.Wait()
				for _, id := range []mpc.PartyID{"a", "b"} {
					o := w.ops[id]
					if (len(o.ran) == 1) != tt.session || (len(o.abandoned) == 0) != tt.session {
						t.Fatalf("operator %s is in %d sessions, abandoned %v", id, len(o.ran), o.abandoned)
					}
					digest := m.Digest()
					if want := mpc.NewSessionID("session:"+string(digest[:]), nonces); tt.session && o.ran[0].Session != want {
						t.Errorf("operator %s is in session %s, want that of the proposal's nonce and of those of a and b, %s", id, o.ran[0].Session, want)
					}
				}
			})
		})
	}
}
