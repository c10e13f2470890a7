package node

import (
	"errors"
	"strings"
	"testing"
	"time"

	"zonesigner/mpc"
)

func rests(b *blame, set mpc.SignerSet, now time.Time) bool {
	why, _ := b.why(set, now)
	return why != ""
}

func TestBlame(t *testing.T) {
	abc, ab, ac := mpc.NewSignerSet("a", "b", "c"), mpc.NewSignerSet("a", "b"), mpc.NewSignerSet("a", "c")
	now := time.Unix(1e9, 0)
	var b blame
	b.note(abc, errors.New("a bug of ours"), now)
	if rests(&b, abc, now) {
		t.Error("a bug of ours is nobody's fault")
	}

	absent := &mpc.AbsentError{Parties: []mpc.PartyID{"c"}}
	b.note(abc, absent, now)
	if got, _ := b.why(abc, now); !strings.Contains(got, "operator c ") {
		t.Errorf("out because %q, expected c", got)
	}
	if rests(&b, ab, now) || !rests(&b, ac, now) {
		t.Error("c alone is to be left out, of every set")
	}
	if rests(&b, abc, now.Add(time.Second)) {
		t.Error("c is left out for more than a second the first time")
	}
	b.forgive("c", now)
	if rests(&b, abc, now) {
		t.Error("c is back and still left out")
	}

	// Stalling again and again, and coming back each time, does not help.
	spent := 0
	for at := now; at.Before(now.Add(time.Hour)); at = at.Add(time.Second) {
		if !rests(&b, abc, at) {
			spent++
			b.note(abc, absent, at)
			b.forgive("c", at) // as whenever its link comes up
		}
	}
	if spent > 30 {
		t.Errorf("in an hour %d sessions were lost to an operator that stalls", spent)
	}

	b = blame{}
	b.note(abc, &mpc.CheatError{Parties: []mpc.PartyID{"b"}}, now)
	b.forgive("b", now)
	b.note(abc, &mpc.AbsentError{Parties: []mpc.PartyID{"b"}}, now)
	if !rests(&b, ab, now.Add(9*time.Minute)) || rests(&b, ac, now) || rests(&b, ab, now.Add(11*time.Minute)) {
		t.Error("b cheated: it alone is to be left out for ten minutes")
	}

	b = blame{}
	b.note(abc, &mpc.CheatError{Parties: []mpc.PartyID{"b", "c"}, Disputed: true}, now)
	if !rests(&b, abc, now.Add(29*time.Second)) || rests(&b, ab, now) {
		t.Error("the set in dispute is to rest, and no other")
	}
}

// What keeps a set from signing is said, with its end.
func TestLeftOutSaysWhy(t *testing.T) {
	now := time.Unix(1e9, 0)
	var b blame
	b.note(mpc.NewSignerSet("a", "b", "c"), &mpc.CheatError{Parties: []mpc.PartyID{"b"}}, now)
	why, until := b.why(mpc.NewSignerSet("a", "b"), now)
	got := leftOutError{{mpc.NewSignerSet("a", "b"), why, until}}.Error()
	if want := "signer set a+b is left out until 2001-09-09T01:56:40Z: operator b cheated"; got != want {
		t.Errorf("%q, expected %q", got, want)
	}
	if why, _ := b.why(mpc.NewSignerSet("a", "c"), now); why != "" {
		t.Errorf("a+c is left out: %s", why)
	}
}
