package dnssec

import (
	"bytes"
	"strings"
	"testing"
	"unsafe"
)

// sharesWith counts the RRsets of sets that base has too, and of these the ones
// that are in memory twice.
func sharesWith(base *SignedZone, sets []RRset) (common, twice int) {
	at := 0
	for _, s := range sets {
		var ok bool
		if at, ok = indexFrom(base.sets, at, s); ok {
			common++
			if !sameMemory(string(s.Owner), string(base.sets[at].Owner)) || !sameMemory(s.rdata, base.sets[at].rdata) {
				twice++
			}
		}
	}
	return common, twice
}

func sameMemory(a, b string) bool { return unsafe.StringData(a) == unsafe.StringData(b) }

// What a zone has in common with the one before is in memory once, wherever it
// comes from, and it is the same zone.
func TestCommonPartIsShared(t *testing.T) {
	ksk, zsk := kskAndZSK()
	p := testParams(ksk, zsk)
	p.Denial.NSEC3 = true
	text := hostZone(50)
	sign := func(plan *Plan, seed byte) *SignedZone {
		t.Helper()
		sigs := make([][64]byte, plan.Len())
		for i := range sigs {
			sigs[i] = [64]byte{byte(i), byte(i >> 8), seed}
		}
		sz, err := plan.Assemble(sigs)
		if err != nil {
			t.Fatal(err)
		}
		return sz
	}
	base := sign(mustPlan(t, mustParse(t, "example.test.", text), p), 1)
	p.Base, p.Serial, p.Time = base, p.Serial+1, p.Time+3600

	text += "changed IN A 192.0.2.77\n"
	alone, content := mustParse(t, "example.test.", text), mustParse(t, "example.test.", text)
	content.Share(base)
	if common, twice := sharesWith(base, content.sets); common < len(content.sets)-2 || twice > 0 {
		t.Errorf("content: of %d RRsets %d are common and %d of these twice in memory", len(content.sets), common, twice)
	}
	if content.contentDigest() != alone.contentDigest() {
		t.Error("another content")
	}

	plan := mustPlan(t, alone, p)
	if common, twice := sharesWith(base, plan.signed.sets); common < len(plan.signed.sets)-6 || twice > 0 {
		t.Errorf("plan: of %d RRsets %d are common and %d of these twice in memory", len(plan.signed.sets), common, twice)
	}
	if mustPlan(t, content, p).Digest() != plan.Digest() {
		t.Error("another plan")
	}

	next := sign(plan, 2)
	var saved bytes.Buffer
	if err := next.Save(&saved); err != nil {
		t.Fatal(err)
	}
	loaded, err := LoadSharing(&saved, base)
	if err != nil {
		t.Fatal(err)
	}
	if common, twice := sharesWith(base, loaded.sets); common < len(loaded.sets)-6 || twice > 0 {
		t.Errorf("loaded: of %d RRsets %d are common and %d of these twice in memory", len(loaded.sets), common, twice)
	}
	if loaded.computeDigest() != next.computeDigest() {
		t.Error("another zone")
	}
	have := map[string]string{}
	for _, g := range base.sigs {
		have[g.Sig] = g.Sig
	}
	kept := 0
	for _, g := range loaded.sigs {
		if old, ok := have[g.Sig]; ok && sameMemory(old, g.Sig) {
			kept++
		}
	}
	if kept != plan.Kept() {
		t.Errorf("of %d signatures that were kept, %d are in memory once", plan.Kept(), kept)
	}
}

// A plan makes any number of zones; none changes another.
func TestAssembledTwice(t *testing.T) {
	ksk, zsk := kskAndZSK()
	plan := mustPlan(t, mustParse(t, "example.test.", hostZone(3)), testParams(ksk, zsk))
	assemble := func(seed string) *SignedZone {
		t.Helper()
		sigs := make([]string, plan.Len())
		for i := range sigs {
			sigs[i] = strings.Repeat(seed, 64)
		}
		sz, err := plan.AssembleStrings(sigs)
		if err != nil {
			t.Fatal(err)
		}
		return sz
	}
	digest := plan.manifestDigest()
	seeds := []string{"1", "2", "3"}
	var zones []*SignedZone
	for _, seed := range seeds {
		zones = append(zones, assemble(seed))
	}
	for i, sz := range zones {
		if !plan.Matches(sz) || plan.manifestDigest() != digest {
			t.Errorf("zone %d does not match its plan", i)
		}
		for _, g := range sz.sigs {
			if g.Sig != strings.Repeat(seeds[i], 64) {
				t.Fatalf("zone %d has the signature %q", i, g.Sig)
			}
		}
	}
}
