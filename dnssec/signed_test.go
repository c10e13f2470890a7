package dnssec

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func save(t testing.TB, sz *SignedZone) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := sz.Save(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestSaveAndLoad(t *testing.T) {
	forEachZone(t, func(t *testing.T, _ string, z *Zone, d string) {
		ksk, zsk := kskAndZSK()
		p := testParams(ksk, zsk)
		p.Denial = denials[d]
		sz := signPlan(t, mustPlan(t, z, p), ksk, zsk)
		back, err := Load(bytes.NewReader(save(t, sz)))
		if err != nil {
			t.Fatal(err)
		}
		if back.Digest() != sz.Digest() || back.Serial() != p.Serial || back.SourceSerial() != z.Serial() || back.Apex() != z.Apex() {
			t.Error("not the same zone")
		}
		content := back.Content()
		if content.ContentDigest() != z.ContentDigest() || content.Serial() != z.Serial() || !slices.Equal(content.sets, z.sets) {
			t.Error(differences(t, z, content))
		}
		wantNoFaults(t, Verify(back, VerifyOptions{Keys: p.Keys, At: testTime}))
	})
}

// A change of any byte is found, and so is every place to cut the file off.
func TestLoadRefusesDamage(t *testing.T) {
	ksk, zsk := kskAndZSK()
	sz := signPlan(t, mustPlan(t, mustParse(t, "example.", minimal+"a TXT x\n"), testParams(ksk, zsk)), ksk, zsk)
	good := save(t, sz)
	for i := range good {
		bad := slices.Clone(good)
		bad[i] ^= 0x20
		if _, err := Load(bytes.NewReader(bad)); err == nil {
			t.Fatalf("byte %d changed: accepted", i)
		}
		if _, err := Load(bytes.NewReader(good[:i])); err == nil {
			t.Fatalf("cut at %d: accepted", i)
		}
	}
	if _, err := Load(bytes.NewReader(append(slices.Clone(good), 0))); err == nil {
		t.Error("data after the end accepted")
	}
}

// Changes, applied to the old records, give the new ones.
func TestChanges(t *testing.T) {
	ksk, zsk := kskAndZSK()
	p := testParams(ksk, zsk)
	p.Denial.NSEC3 = true
	old := signPlan(t, mustPlan(t, readZone(t, "features.zone"), p), ksk, zsk)
	rapid.Check(t, func(rt *rapid.T) {
		q := p
		q.Base, q.Serial, q.DNSKEYTTL = old, p.Serial+1, rapid.Uint32Range(3600, 3601).Draw(rt, "ttl")
		sz := signPlan(t, mustPlan(t, editZone(rt, old.Content()), q), ksk, zsk)
		records := map[Record]bool{}
		for r := range old.AllRecords() {
			records[r] = true
		}
		n := len(records)
		for c := range sz.Changes(old) {
			if records[c.Record] != c.Remove {
				rt.Fatalf("%+v: there before: %v", c, records[c.Record])
			}
			if n--; c.Remove {
				delete(records, c.Record)
			} else {
				records[c.Record] = true
			}
		}
		if n < 0 {
			rt.Fatal("more changes than records")
		}
		for r := range sz.AllRecords() {
			if !records[r] {
				rt.Fatalf("missing: %+v", r)
			}
			delete(records, r)
		}
		for r := range records {
			rt.Fatalf("too many: %+v", r)
		}
	})
	for c := range old.Changes(old) {
		t.Fatalf("a change to itself: %+v", c)
	}
}

func TestEarliestExpiration(t *testing.T) {
	ksk, zsk := kskAndZSK()
	sz := signPlan(t, mustPlan(t, readZone(t, "features.zone"), testParams(ksk, zsk)), ksk, zsk)
	e := sz.EarliestExpiration()
	for _, sigs := range sz.RRsets() {
		for _, g := range sigs {
			if g.Expiration < e {
				t.Fatal("there is an earlier one")
			}
		}
	}
	if e <= testTime+10*86400 || e > testTime+14*86400 || sz.NextRefresh(86400) != e-86400 {
		t.Error(e)
	}
}

// Leading zeros of r and s stay.
func TestSignaturesAre64Bytes(t *testing.T) {
	ksk, zsk := kskAndZSK()
	plan := mustPlan(t, mustParse(t, "example.", minimal), testParams(ksk, zsk))
	sigs := make([][64]byte, plan.Len())
	sigs[0][63] = 7
	sz, err := plan.Assemble(sigs)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(zoneText(t, sz), " "+strings.Repeat("A", 84)+"Bw==\n") {
		t.Error("the signature lost its zeros")
	}
}

func FuzzLoad(f *testing.F) {
	ksk, zsk := kskAndZSK()
	for _, d := range denials {
		p := testParams(ksk, zsk)
		p.Denial = d
		sz := signPlan(f, mustPlan(f, mustParse(f, "example.", minimal+"a TXT x\nb TYPE300 \\# 0\n"), p), ksk, zsk)
		f.Add(save(f, sz))
	}
	p := testParams(ksk, zsk)
	p.ZONEMD = ZONEMDSHA384
	_, _, sz := signWithZONEMD(f, mustParse(f, "example.", minimal), p, ksk, zsk)
	f.Add(save(f, sz))
	f.Fuzz(func(t *testing.T, b []byte) {
		// The digest would stop the fuzzer at the door: put the right one in.
		if len(b) > 32 {
			l := newLoader(nil)
			l.h.Write(b[:len(b)-32])
			b = append(slices.Clone(b[:len(b)-32]), l.h.Sum(nil)...)
		}
		sz, err := Load(bytes.NewReader(b))
		if err != nil {
			return
		}
		if !bytes.Equal(save(t, sz), b) {
			t.Fatal("accepted, but not canonical")
		}
		ksk, zsk := kskAndZSK()
		Verify(sz, VerifyOptions{Keys: []Key{ksk.Key, zsk.Key}, At: testTime, Threads: 1})
		for range sz.Changes(nil) {
		}
		sz.Content().ContentDigest()
		if d := sz.Draft(); d.Draft().Digest() != d.Digest() || d.Len() != sz.Len() {
			t.Fatal("the draft of a draft is another")
		}
		_ = zoneText(t, sz)
	})
}
