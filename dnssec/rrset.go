package dnssec

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"iter"
	"strings"

	"github.com/miekg/dns"
)

// RRset is the records of one owner and type, in canonical form and order
// (RFC 4034, sections 6.2 and 6.3; RFC 6840, section 5.1), without duplicates.
// It is a small value that shares its bytes with the zone it came from.
type RRset struct {
	Owner Name
	TTL   uint32
	Type  uint16
	count uint16
	rdata string // for each record two bytes of length, then the rdata
}

// Len is how many records the RRset has.
func (s RRset) Len() int { return int(s.count) }

// RData yields the canonical rdata of each record in order.
func (s RRset) RData() iter.Seq[string] {
	return func(yield func(string) bool) {
		for d := s.rdata; d != ""; {
			n := int(d[0])<<8 | int(d[1])
			if !yield(d[2 : 2+n]) {
				return
			}
			d = d[2+n:]
		}
	}
}

// first is the first record's rdata.
func (s RRset) first() string {
	for d := range s.RData() {
		return d
	}
	return ""
}

// makeRRset builds an RRset from canonical rdata that is sorted already.
func makeRRset(owner Name, typ uint16, ttl uint32, a *arena, rdata ...[]byte) RRset {
	var flat []byte
	for _, d := range rdata {
		flat = binary.BigEndian.AppendUint16(flat, uint16(len(d)))
		flat = append(flat, d...)
	}
	return RRset{Owner: owner, Type: typ, TTL: ttl, count: uint16(len(rdata)), rdata: a.add(flat)}
}

// sameRecords reports whether both RRsets hold the same rdata.
func (s RRset) sameRecords(o RRset) bool { return s.rdata == o.rdata }

// equal reports whether both RRsets are the same in everything.
func (s RRset) equal(o RRset) bool { return s == o }

// compareRRsets orders by owner, then type.
func compareRRsets(a, b RRset) int {
	if a.Owner != b.Owner {
		return a.Owner.Compare(b.Owner)
	}
	return cmp.Compare(a.Type, b.Type)
}

// indexFrom finds exactly s in sets, which are in canonical order, from i on: its
// index or, where it is not there, that of the first that is not before it.
func indexFrom(sets []RRset, i int, s RRset) (at int, ok bool) {
	for i < len(sets) && compareRRsets(sets[i], s) < 0 {
		i++
	}
	return i, i < len(sets) && sets[i].equal(s)
}

// appendRecords appends the records as they are signed (RFC 4034, section
// 3.1.8.1): owner, type, class, original TTL, length and rdata of each.
func (s RRset) appendRecords(dst []byte) []byte {
	for d := range s.RData() {
		dst = appendRecord(dst, s.Owner, s.Type, s.TTL, d)
	}
	return dst
}

func appendRecord[T string | []byte](dst []byte, owner Name, typ uint16, ttl uint32, rdata T) []byte {
	dst = append(dst, owner...)
	dst = binary.BigEndian.AppendUint16(dst, typ)
	dst = binary.BigEndian.AppendUint16(dst, dns.ClassINET)
	dst = binary.BigEndian.AppendUint32(dst, ttl)
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(rdata)))
	return append(dst, rdata...)
}

// appendFlat appends the RRset unambiguously: what digests hash and what the
// binary form stores. Owner (self-delimiting), type, TTL, count, length of
// the rdata, rdata.
func (s RRset) appendFlat(dst []byte) []byte {
	dst = append(dst, s.Owner...)
	dst = binary.BigEndian.AppendUint16(dst, s.Type)
	dst = binary.BigEndian.AppendUint32(dst, s.TTL)
	dst = binary.BigEndian.AppendUint16(dst, s.count)
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(s.rdata)))
	return append(dst, s.rdata...)
}

// hashRRsets adds the RRsets to h in their flat form.
func hashRRsets(h hash.Hash, sets []RRset, buf []byte) []byte {
	for _, s := range sets {
		buf = s.appendFlat(buf[:0])
		h.Write(buf)
	}
	return buf
}

// mergeRRsets merges two sorted lists that share no (owner, type).
func mergeRRsets(a, b []RRset) []RRset {
	out := make([]RRset, 0, len(a)+len(b))
	for len(a) > 0 && len(b) > 0 {
		if compareRRsets(a[0], b[0]) < 0 {
			out, a = append(out, a[0]), a[1:]
		} else {
			out, b = append(out, b[0]), b[1:]
		}
	}
	out = append(out, a...)
	return append(out, b...)
}

// ErrTooLarge says that no DNS message could carry an RRset: it has 65,535
// bytes at most (RFC 1035, section 4.2.2).
var ErrTooLarge = errors.New("the RRset does not fit one DNS message")

const (
	maxMessage = 65535
	recordSize = 2 + 2 + 2 + 4 + 2 // of a record before its rdata, its owner a pointer to the question
	rrsigSize  = recordSize + 18   // of an RRSIG before the signer's name (RFC 4034, section 3.1)
)

// messageSize is the size of an answer to a question for owner, before the
// answer's records.
func messageSize(owner Name) int { return 12 + len(owner) + 4 }

// isLarge reports whether signatures of usual size may make s too large.
func (s RRset) isLarge() bool { return len(s.rdata) >= maxMessage/4 }

// checkSize reports an RRset that does not fit one message with its
// signatures, which have sigs bytes together.
func (s RRset) checkSize(apex Name, keys, sigs int) error {
	if !s.isLarge() && sigs < maxMessage/4 {
		return nil // far from it: this is asked of each RRset
	}
	size := messageSize(s.Owner) + len(s.rdata) + (recordSize-2)*s.Len() + keys*(rrsigSize+len(apex)) + sigs
	if size > maxMessage {
		return fmt.Errorf("%s %s: %w: %d records and %d RRSIGs make one of %d bytes, expected at most %d", s.Owner, TypeName(s.Type), ErrTooLarge, s.Len(), keys, size, maxMessage)
	}
	return nil
}

// arena packs many small strings into few large ones: a zone of a million
// names is then a few hundred objects for the garbage collector, not millions.
// The first are small and each is twice the one before: a thousand small zones
// must not take a large one each.
type arena struct {
	chunk *strings.Builder
	size  int // of the last chunk
}

const (
	arenaFirst = 512
	arenaChunk = 256 << 10
)

// add copies b and returns it as a string that lives in the arena.
func (a *arena) add(b []byte) string {
	if len(b) > arenaChunk/4 {
		return string(b)
	}
	if a.chunk == nil || a.chunk.Len()+len(b) > a.chunk.Cap() {
		a.size = min(max(2*a.size, arenaFirst), arenaChunk)
		a.chunk = new(strings.Builder)
		a.chunk.Grow(max(a.size, len(b)))
	}
	start := a.chunk.Len()
	a.chunk.Write(b) // within the capacity, so earlier strings stay where they are
	return a.chunk.String()[start:]
}

// TypeName is the mnemonic of an RR type that is in common use, or TYPEnnn
// (RFC 3597).
func TypeName(t uint16) string {
	return string(appendTypeName(nil, t))
}
