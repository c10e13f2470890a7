package pipeline

import (
	"testing"

	"zonesigner/zonesignerd/internal/agree"
)

// numbered is p under another output serial and time, with the manifest that
// follows from them.
func numbered(t *testing.T, z *Zone, p *Proposal, serial, time uint32) *Proposal {
	t.Helper()
	q := *p
	q.Serial, q.Time = serial, time
	z.mu.Lock()
	v, head := z.newest(), z.head
	z.mu.Unlock()
	plan, err := z.plan(v.zone, &q, head, testPolicy, z.d.Keys(z.name))
	check(t, err)
	q.Manifest = agree.Digest(plan.Digest())
	return &q
}

// c has a accept one proposal after another, each under the next output serial,
// and gives all of them up. Promises that stayed would take every serial that
// the policy lets follow, and the version could never be signed.
func TestProposalsGivenUpTakeNoSerials(t *testing.T) {
	for _, defended := range []bool{true, false} {
		w, c, serial := withHostile(t)
		p := body(t, w)
		z := w.members["a"].zone
		z.holes.noUnpromise = !defended
		for i := range uint32(mostSkipped + 1) {
			if ans := judge(t, w, c, numbered(t, z, p, p.Serial+i, p.Time)); ans.Verdict != agree.Accept {
				t.Fatalf("proposal %d: %+v", i, ans)
			}
		}
		// An honest operator's, of another time, and so of another manifest.
		for _, skip := range []uint32{0, 1, mostSkipped} {
			ans := judge(t, w, c, numbered(t, z, p, p.Serial+skip, p.Time+1))
			switch {
			case defended && ans.Verdict != agree.Accept:
				t.Errorf("after proposals that were given up: %+v", ans)
			case !defended && ans.Code != "serial":
				t.Fatalf("without the defence the attack should succeed: %+v", ans)
			}
		}
		if ans := judge(t, w, c, numbered(t, z, p, p.Serial+mostSkipped+1, p.Time+1)); ans.Code != "serial-policy" {
			t.Errorf("a serial that does not follow: %+v", ans)
		}
		still(t, w, serial)
	}
}
