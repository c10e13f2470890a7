package knot_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"zonesigner/knot"
	"zonesigner/knot/knottest"
)

const benchRecords = 100_000

// signatures are records of the size that signing adds.
func signatures(serial int) []knot.Record {
	out := []knot.Record{
		{Owner: example, TTL: 300, Type: "SOA", Data: fmt.Sprintf("ns.example. host.example. %d 3600 600 86400 300", serial)},
		{Owner: example, TTL: 300, Type: "NS", Data: "ns.example."},
	}
	// The serial goes into each signature, so that every one changes.
	sig := strings.Repeat("A", 78-8)
	for i := range benchRecords - len(out) {
		out = append(out, knot.Record{
			Owner: fmt.Sprintf("h%d.example.", i), TTL: 300, Type: "RRSIG",
			Data: fmt.Sprintf("A 13 2 300 20300101000000 20290101000000 12345 example. %08d%sAAAAAAAA==", serial, sig),
		})
	}
	return out
}

// BenchmarkPush: 100,000 records into an empty zone, one transaction.
func BenchmarkPush(b *testing.B) {
	zone := signatures(1)
	for b.Loop() {
		b.StopTimer()
		s := knottest.Start(b, knottest.Config{Zones: []knottest.Zone{{Name: example}}})
		b.StartTimer()
		if err := s.Control().Apply(context.Background(), example, knot.Change{Full: true, Add: zone}); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		s.Stop()
		b.StartTimer()
	}
	b.ReportMetric(float64(benchRecords)*float64(b.N)/b.Elapsed().Seconds(), "records/s")
}

// BenchmarkRead: 100,000 records out.
func BenchmarkRead(b *testing.B) {
	s := knottest.Start(b, knottest.Config{Zones: []knottest.Zone{{Name: example}}})
	ctl := s.Control()
	if err := ctl.Apply(context.Background(), example, knot.Change{Full: true, Add: signatures(1)}); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, _, err := ctl.ReadZone(context.Background(), example); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(benchRecords)*float64(b.N)/b.Elapsed().Seconds(), "records/s")
}

// BenchmarkChange: eleven records of a zone of 100,000 change, or all.
func BenchmarkChange(b *testing.B) {
	for _, n := range []int{11, benchRecords - 2} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			s := knottest.Start(b, knottest.Config{Zones: []knottest.Zone{{Name: example}}})
			ctl := s.Control()
			serial := 1
			held := signatures(serial)
			if err := ctl.Apply(context.Background(), example, knot.Change{Full: true, Add: held}); err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				b.StopTimer()
				serial++
				next := signatures(serial)
				ch := knot.Change{Remove: held[2 : 2+n], Add: append(next[:1:1], next[2:2+n]...)}
				b.StartTimer()
				if err := ctl.Apply(context.Background(), example, ch); err != nil {
					b.Fatal(err)
				}
				held = next
			}
		})
	}
}

// BenchmarkZones: the states of 10,000 zones in one request.
func BenchmarkZones(b *testing.B) {
	cfg := knottest.Config{}
	for i := range 10000 {
		cfg.Zones = append(cfg.Zones, knottest.Zone{Name: fmt.Sprintf("z%d.example.", i)})
	}
	s := knottest.Start(b, cfg)
	ctl := s.Control()
	for b.Loop() {
		all, err := ctl.Zones(context.Background())
		if err != nil || len(all) != 10000 {
			b.Fatal(len(all), err)
		}
	}
}
