package keystore

import (
	"crypto/sha256"
	"encoding/binary"
	"runtime"
	"testing"
)

const (
	benchTuples = 1024
	benchBlob   = benchTuples * 250
)

func benchID(i int) ChunkID {
	return sha256.Sum256(binary.BigEndian.AppendUint64(nil, uint64(i)))
}

// BenchmarkAddChunk stores 1024 tuples of 250 bytes a turn.
func BenchmarkAddChunk(b *testing.B) {
	s := surround(b).create(b)
	blob := make([]byte, benchBlob)
	b.SetBytes(benchBlob)
	for i := 0; b.Loop(); i++ {
		if err := s.AddChunk(testPool, benchID(i), benchTuples, blob); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkSpend spends tuples of such chunks, all at once or in parts.
func BenchmarkSpend(b *testing.B) {
	for name, count := range map[string]int{"1024 of 1024": 1024, "64 of 1024": 64, "1 of 1024": 1} {
		b.Run(name, func(b *testing.B) {
			s := surround(b).create(b)
			blob := make([]byte, benchBlob)
			b.SetBytes(int64(benchBlob / benchTuples * count))
			added, from := 0, 0
			for b.Loop() {
				if from == 0 {
					b.StopTimer()
					added++
					if err := s.AddChunk(testPool, benchID(added), benchTuples, blob); err != nil {
						b.Fatal(err)
					}
					b.StartTimer()
				}
				if _, _, err := s.Spend(testPool, benchID(added), from, count, [32]byte{}); err != nil {
					b.Fatal(err)
				}
				from = (from + count) % benchTuples
			}
		})
	}
}

// BenchmarkMillion opens a store with a million tuples (250 MB of blobs) and
// reports what they cost in memory.
func BenchmarkMillion(b *testing.B) {
	e := surround(b)
	s := e.create(b)
	const chunks = 1_000_000 / benchTuples
	blob := make([]byte, benchBlob)
	for i := range chunks {
		if err := s.AddChunk(testPool, benchID(i), benchTuples, blob); err != nil {
			b.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
	heap := func() float64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return float64(m.HeapAlloc)
	}
	var used float64
	for b.Loop() {
		before := heap()
		s, err := Open(e.dir, e.opt)
		if err != nil {
			b.Fatal(err)
		}
		used = heap() - before
		if s.Depth(testPool) != chunks*benchTuples {
			b.Fatal(s.Depth(testPool))
		}
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(used, "heap-bytes")
}
