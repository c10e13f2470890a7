package dnssec

import (
	"io"
	"strings"
	"testing"
)

// BenchmarkHost100k goes the whole way of the zone of 100,000 hosts but for
// the signing itself: 270,214 signatures, 100,104 NSEC3 records.
func BenchmarkHost100k(b *testing.B) {
	text := hostZone(100000)
	ksk, zsk := kskAndZSK()
	p := testParams(ksk, zsk)
	p.Denial.NSEC3 = true
	z := mustParse(b, "example.test.", text)
	plan := mustPlan(b, z, p)
	if plan.Len() != 270214 {
		b.Fatalf("%d signatures", plan.Len())
	}
	sigs := make([][64]byte, plan.Len())
	sz, err := plan.Assemble(sigs)
	if err != nil {
		b.Fatal(err)
	}
	var saved strings.Builder
	if err := sz.Save(&saved); err != nil {
		b.Fatal(err)
	}
	step := func(name string, f func(b *testing.B)) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				f(b)
			}
		})
	}
	step("parse", func(b *testing.B) { mustParse(b, "example.test.", text) })
	step("content", func(*testing.B) { z.contentDigest() })
	step("plan", func(b *testing.B) { mustPlan(b, z, p) })
	step("digest", func(*testing.B) { plan.manifestDigest() })
	step("assemble", func(b *testing.B) { _, _ = plan.Assemble(sigs) })
	step("zone-digest", func(*testing.B) { sz.computeDigest() })
	step("zonemd", func(b *testing.B) { // the digest, the second plan, and its manifest
		q := p
		q.ZONEMD = ZONEMDSHA384
		b.StopTimer()
		first := mustPlan(b, z, q)
		draft, err := first.Assemble(sigs)
		if err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		second, err := first.PlanZONEMD(draft)
		if err != nil {
			b.Fatal(err)
		}
		second.Digest()
	})
	step("verify-proven", func(b *testing.B) {
		wantNoFaults(b, Verify(sz, VerifyOptions{Keys: p.Keys, At: testTime, Proven: func(Check) bool { return true }}))
	})
	step("write", func(*testing.B) { _, _ = sz.WriteTo(io.Discard) })
	step("save", func(*testing.B) { _ = sz.Save(io.Discard) })
	step("load", func(b *testing.B) {
		if _, err := Load(strings.NewReader(saved.String())); err != nil {
			b.Fatal(err)
		}
	})
	step("incremental", func(b *testing.B) {
		q := p
		q.Base, q.Serial, q.Time = sz, p.Serial+1, p.Time+3600
		if plan := mustPlan(b, z, q); plan.Len() != 1 {
			b.Fatal(plan.Len())
		}
	})
	step("changes", func(*testing.B) {
		n := 0
		for range sz.AllRecords() {
			n++
		}
	})
}

// BenchmarkAddText reads the same zone record by record, as Knot's control
// socket gives it.
func BenchmarkAddText(b *testing.B) {
	ksk, zsk := kskAndZSK()
	plan := mustPlan(b, mustParse(b, "example.test.", hostZone(100000)), testParams(ksk, zsk))
	sz, err := plan.Assemble(make([][64]byte, plan.Len()))
	if err != nil {
		b.Fatal(err)
	}
	var records []Record
	for r := range sz.AllRecords() {
		records = append(records, r)
	}
	b.ReportAllocs()
	for b.Loop() {
		bu := NewBuilder("example.test.")
		for _, r := range records {
			if err := bu.AddText(r.Owner, r.TTL, r.Type, r.Data); err != nil {
				b.Fatal(err)
			}
		}
		if _, err := bu.Zone(); err != nil {
			b.Fatal(err)
		}
	}
}
