package dnssec

import (
	"bufio"
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"io"
	"iter"
	"slices"
	"strconv"
	"sync"

	"github.com/miekg/dns"
)

// SignedZone is a signed zone: all RRsets in canonical order, each with its
// signatures in order of algorithm and key tag.
type SignedZone struct {
	apex         Name
	sourceSerial uint32
	sets         []RRset
	first        []uint32 // sigs[first[i]:first[i+1]] belong to sets[i]
	sigs         []Signature
	soa          int
	digest       func() [32]byte
}

// init finds the SOA, which must be there, and prepares what is computed once.
func (sz *SignedZone) init() {
	sz.soa, _ = sz.index(sz.apex, dns.TypeSOA)
	sz.digest = sync.OnceValue(sz.computeDigest)
}

func (sz *SignedZone) index(owner Name, t uint16) (int, bool) {
	return slices.BinarySearchFunc(sz.sets, RRset{Owner: owner, Type: t}, compareRRsets)
}

func (sz *SignedZone) find(owner Name, t uint16) (RRset, bool) {
	if i, ok := sz.index(owner, t); ok {
		return sz.sets[i], true
	}
	return RRset{}, false
}

func (sz *SignedZone) signaturesAt(i int) []Signature { return sz.sigs[sz.first[i]:sz.first[i+1]] }

// Apex is the zone's name.
func (sz *SignedZone) Apex() Name { return sz.apex }

// Serial is the serial of the signed zone.
func (sz *SignedZone) Serial() uint32 { return soaSerial(sz.sets[sz.soa].first()) }

// SourceSerial is the serial of the unsigned zone that was signed.
func (sz *SignedZone) SourceSerial() uint32 { return sz.sourceSerial }

// Len is how many RRsets there are, RRSIGs not counted.
func (sz *SignedZone) Len() int { return len(sz.sets) }

// Signatures is how many signatures there are.
func (sz *SignedZone) Signatures() int { return len(sz.sigs) }

// Algorithms is how many algorithms sign the zone.
func (sz *SignedZone) Algorithms() int {
	seen := map[uint8]bool{}
	for _, g := range sz.signaturesAt(sz.soa) {
		seen[g.Algorithm] = true
	}
	return len(seen)
}

// RRsets yields each RRset with its signatures, in canonical order. The
// signatures must not be changed.
func (sz *SignedZone) RRsets() iter.Seq2[RRset, []Signature] {
	return func(yield func(RRset, []Signature) bool) {
		for i, s := range sz.sets {
			if !yield(s, sz.signaturesAt(i)) {
				return
			}
		}
	}
}

// EarliestExpiration is when the first signature expires, in UNIX seconds; 0
// without signatures.
func (sz *SignedZone) EarliestExpiration() uint32 {
	var first uint32
	for i := range sz.sigs {
		if e := sz.sigs[i].Expiration; first == 0 || e < first {
			first = e
		}
	}
	return first
}

// NextRefresh is when the first signature has no more than refresh seconds
// left, in UNIX seconds.
func (sz *SignedZone) NextRefresh(refresh uint32) uint32 {
	return max(sz.EarliestExpiration(), refresh) - refresh
}

// Content is the unsigned zone that was signed, under its own serial.
func (sz *SignedZone) Content() *Zone {
	var a arena
	sets := make([]RRset, 0, len(sz.sets))
	for _, s := range sz.sets {
		switch {
		case madeBySigning(sz.apex, s.Owner, s.Type):
			continue
		case s.Owner == sz.apex && s.Type == dns.TypeSOA:
			s = makeRRset(s.Owner, s.Type, s.TTL, &a, withSerial(s.first(), sz.sourceSerial))
		}
		sets = append(sets, s)
	}
	return newZone(sz.apex, sets, nil)
}

// Digest is the SHA-256 over all records of the zone, signatures included. It
// is computed once.
func (sz *SignedZone) Digest() [32]byte { return sz.digest() }

func (sz *SignedZone) computeDigest() [32]byte {
	h := sha256.New()
	h.Write([]byte("zonesigner signed zone 1\x00"))
	h.Write([]byte(sz.apex))
	sz.writeBody(func(b []byte) { h.Write(b) })
	return [32]byte(h.Sum(nil))
}

// writeBody gives each RRset with its signatures in binary form.
func (sz *SignedZone) writeBody(write func([]byte)) {
	var buf []byte
	for i, s := range sz.sets {
		buf = s.appendFlat(buf[:0])
		buf = appendSignatures(buf, sz.signaturesAt(i))
		write(buf)
	}
}

const signatureSize = 1 + 2 + 4 + 4 + 64

// appendSignatures appends how many there are, one byte, and each one.
func appendSignatures(dst []byte, sigs []Signature) []byte {
	dst = append(dst, byte(len(sigs)))
	for i := range sigs {
		g := &sigs[i]
		dst = append(dst, g.Algorithm)
		dst = binary.BigEndian.AppendUint16(dst, g.KeyTag)
		dst = binary.BigEndian.AppendUint32(dst, g.Inception)
		dst = binary.BigEndian.AppendUint32(dst, g.Expiration)
		dst = append(dst, g.Sig[:]...)
	}
	return dst
}

// appendMessage appends what a signature over s signs (RFC 4034, section
// 3.1.8.1).
func (sz *SignedZone) appendMessage(dst []byte, s RRset, g *Signature) []byte {
	return s.appendRecords(appendRRSIGHead(dst, s, sz.apex, g))
}

// appendRRSIGHead appends an RRSIG's rdata without the signature itself.
func appendRRSIGHead(dst []byte, s RRset, zone Name, g *Signature) []byte {
	dst = binary.BigEndian.AppendUint16(dst, s.Type)
	dst = append(dst, g.Algorithm, s.Owner.rrsigLabels())
	dst = binary.BigEndian.AppendUint32(dst, s.TTL)
	dst = binary.BigEndian.AppendUint32(dst, g.Expiration)
	dst = binary.BigEndian.AppendUint32(dst, g.Inception)
	dst = binary.BigEndian.AppendUint16(dst, g.KeyTag)
	return append(dst, zone...)
}

// hashGenerated hashes the RRsets that signing made.
func (sz *SignedZone) hashGenerated(h hash.Hash) (n int) {
	var buf []byte
	for _, s := range sz.sets {
		if madeBySigning(sz.apex, s.Owner, s.Type) {
			buf = s.appendFlat(buf[:0])
			h.Write(buf)
			n++
		}
	}
	return n
}

// WriteTo writes the zone as a zone file: one record a line, absolute names,
// TTLs on each, every RRset followed by its RRSIGs.
func (sz *SignedZone) WriteTo(w io.Writer) (int64, error) {
	bw := bufio.NewWriterSize(w, 1<<18)
	var total int64
	var line, owner []byte
	for i, s := range sz.sets {
		if i == 0 || s.Owner != sz.sets[i-1].Owner {
			owner = s.Owner.appendText(owner[:0])
		}
		head := func() []byte {
			line = append(append(line[:0], owner...), '\t')
			line = strconv.AppendUint(line, uint64(s.TTL), 10)
			return append(line, "\tIN\t"...)
		}
		for d := range s.RData() {
			line = append(appendTypeAndRData(head(), s.Type, d), '\n')
			n, err := bw.Write(line)
			total += int64(n)
			if err != nil {
				return total, err
			}
		}
		sigs := sz.signaturesAt(i)
		for j := range sigs {
			line = append(head(), "RRSIG\t"...)
			line = append(appendRRSIGText(line, s, sz.apex, &sigs[j]), '\n')
			n, err := bw.Write(line)
			total += int64(n)
			if err != nil {
				return total, err
			}
		}
	}
	return total, bw.Flush()
}
