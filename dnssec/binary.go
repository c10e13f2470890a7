package dnssec

import (
	"bufio"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"slices"

	"github.com/miekg/dns"
)

// The binary form of a signed zone: the magic, the apex, the source serial and
// the number of RRsets (4 bytes each), then for each RRset its flat form and
// its signatures (a byte that counts them; of each, algorithm, key tag,
// inception, expiration, and 64 bytes, or for algorithms other than 13 and 15
// two bytes of length and as many), and at the end the SHA-256 of all before.
// Numbers are big-endian.
const zoneMagic = "zonesigner zone 1\n"

// Save writes the zone in binary form, which Load reads.
func (sz *SignedZone) Save(w io.Writer) error {
	s := newSaver(w)
	s.write([]byte(zoneMagic))
	s.write([]byte(sz.apex))
	s.write(binary.BigEndian.AppendUint32(nil, sz.sourceSerial))
	s.write(binary.BigEndian.AppendUint32(nil, uint32(len(sz.sets))))
	sz.writeBody(s.write)
	return s.close()
}

// Load reads a signed zone in binary form. It accepts canonical form alone
// (order, letters, no duplicates, its own digest) and allocates no more than
// what it has read calls for; it does not verify signatures.
func Load(r io.Reader) (*SignedZone, error) { return LoadSharing(r, nil) }

// LoadSharing is Load of a zone that uses the memory of base for what base, which
// may be nil, has too.
func LoadSharing(r io.Reader, base *SignedZone) (*SignedZone, error) {
	l := newLoader(r)
	if base == nil {
		base = &SignedZone{}
	}
	sz := l.zone(base)
	if err := l.close(); err != nil {
		return nil, fmt.Errorf("signed zone: %w", err)
	}
	sz.init()
	return sz, nil
}

// saver writes and hashes.
type saver struct {
	w *bufio.Writer
	h hash.Hash
}

func newSaver(w io.Writer) *saver {
	return &saver{w: bufio.NewWriterSize(w, 1<<18), h: sha256.New()}
}

// write leaves errors to the bufio.Writer, which keeps the first for Flush.
func (s *saver) write(b []byte) {
	_, _ = s.w.Write(b)
	_, _ = s.h.Write(b)
}

func (s *saver) close() error {
	_, _ = s.w.Write(s.h.Sum(nil))
	return s.w.Flush()
}

// loader reads and hashes. After the first error it reads nothing more and
// gives zeros.
type loader struct {
	r    *bufio.Reader
	h    hash.Hash
	buf  []byte
	sigs arena
	err  error
}

func newLoader(r io.Reader) *loader {
	return &loader{r: bufio.NewReaderSize(r, 1<<18), h: sha256.New()}
}

func (l *loader) fail(format string, a ...any) {
	if l.err == nil {
		l.err = fmt.Errorf(format, a...)
	}
}

// take returns the next n bytes, valid until the next call.
func (l *loader) take(n int) []byte {
	if cap(l.buf) < n {
		l.buf = make([]byte, n)
	}
	b := l.buf[:n]
	if l.err == nil {
		if _, err := io.ReadFull(l.r, b); err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			l.err = err
		}
		l.h.Write(b)
	}
	if l.err != nil {
		clear(b)
	}
	return b
}

func (l *loader) number() uint32 { return binary.BigEndian.Uint32(l.take(4)) }

func (l *loader) magic(want string) {
	if got := l.take(len(want)); l.err == nil && string(got) != want {
		l.fail("starts with %q, expected %q", got, want)
	}
}

// name reads a canonical name.
func (l *loader) name(buf []byte) []byte {
	buf = buf[:0]
	for l.err == nil {
		n := l.take(1)[0]
		if n > 63 || len(buf)+int(n)+1 > maxNameLen {
			l.fail("malformed name")
		}
		buf = append(buf, n)
		if n == 0 {
			return buf
		}
		for _, c := range l.take(int(n)) {
			if c != lower(c) {
				l.fail("name is not in lower case")
			}
			buf = append(buf, c)
		}
	}
	return append(buf[:0], 0)
}

// signatures reads the signatures of one RRset, in strict order of algorithm
// and key tag.
func (l *loader) signatures(dst []Signature) []Signature {
	n := int(l.take(1)[0])
	last := -1
	for range n {
		b := l.take(signatureHead)
		g := Signature{Algorithm: b[0], KeyTag: binary.BigEndian.Uint16(b[1:]), Inception: binary.BigEndian.Uint32(b[3:]),
			Expiration: binary.BigEndian.Uint32(b[7:])}
		size := fixedSize(g.Algorithm)
		if size == 0 {
			size = int(binary.BigEndian.Uint16(l.take(2)))
		}
		g.Sig = l.sigs.add(l.take(size))
		if l.err != nil {
			return dst
		}
		if order := int(g.Algorithm)<<16 | int(g.KeyTag); order <= last {
			l.fail("signatures out of order")
		} else {
			last = order
		}
		dst = append(dst, g)
	}
	return dst
}

func (l *loader) zone(base *SignedZone) *SignedZone {
	l.magic(zoneMagic)
	sz := &SignedZone{apex: Name(l.name(nil))}
	sz.sourceSerial = l.number()
	n := l.number()
	var names, data arena
	var name, scratch []byte
	var soa bool
	at := 0 // in base
	for range n {
		if name = l.name(name); l.err != nil {
			return nil
		}
		s := RRset{}
		if k := len(sz.sets); k > 0 && string(sz.sets[k-1].Owner) == string(name) {
			s.Owner = sz.sets[k-1].Owner
		} else {
			s.Owner = Name(names.add(name))
		}
		head := l.take(2 + 4 + 2 + 4)
		s.Type, s.TTL, s.count = binary.BigEndian.Uint16(head), binary.BigEndian.Uint32(head[2:]), binary.BigEndian.Uint16(head[6:])
		size := binary.BigEndian.Uint32(head[8:])
		if size > maxMessage {
			l.fail("%s %s: rdata of %d bytes, at most %d fit", s.Owner, TypeName(s.Type), size, maxMessage)
			return nil
		}
		rdata := l.take(int(size))
		if l.err != nil {
			return nil
		}
		var err error
		if scratch, err = checkFlat(s, rdata, scratch); err != nil {
			l.fail("%s %s: %w", s.Owner, TypeName(s.Type), err)
		} else if k := len(sz.sets); k > 0 && compareRRsets(sz.sets[k-1], s) >= 0 {
			l.fail("%s %s: out of order", s.Owner, TypeName(s.Type))
		} else if !s.Owner.IsSubdomainOf(sz.apex) {
			l.fail("%s %s: out of zone %s", s.Owner, TypeName(s.Type), sz.apex)
		}
		soa = soa || s.Type == dns.TypeSOA && s.Owner == sz.apex && s.count == 1
		s.rdata = data.add(rdata)
		from := len(sz.sigs)
		sz.first = append(sz.first, uint32(from))
		sz.sigs = l.signatures(sz.sigs)
		if l.err != nil {
			return nil
		}
		var same bool
		if at, same = indexFrom(base.sets, at, s); same {
			s = base.sets[at]
			shareSignatures(sz.sigs[from:], base.signaturesAt(at))
		}
		sz.sets = append(sz.sets, s)
	}
	if !soa {
		l.fail("no SOA at the apex %s", sz.apex)
	}
	sz.first = append(sz.first, uint32(len(sz.sigs)))
	return sz
}

// shareSignatures replaces those of sigs that are among old by these.
func shareSignatures(sigs, old []Signature) {
	for i, g := range sigs {
		if j := slices.Index(old, g); j >= 0 {
			sigs[i] = old[j]
		}
	}
}

// checkFlat checks that rdata is the canonical flat form of s's records.
func checkFlat(s RRset, rdata, scratch []byte) ([]byte, error) {
	if err := checkType(s.Type); err != nil {
		return scratch, err
	}
	if s.Type == dns.TypeRRSIG {
		return scratch, errors.New("stands with its RRset, not alone")
	}
	if s.TTL > maxTTL {
		return scratch, fmt.Errorf("TTL %d is over %d", s.TTL, maxTTL)
	}
	var last []byte
	var n uint16
	for rest := rdata; len(rest) > 0; n++ {
		if len(rest) < 2 || len(rest)-2 < int(binary.BigEndian.Uint16(rest)) {
			return scratch, errRData
		}
		d := rest[2 : 2+int(binary.BigEndian.Uint16(rest))]
		rest = rest[2+len(d):]
		scratch = append(scratch[:0], d...)
		if err := canonicalRData(s.Type, scratch); err != nil {
			return scratch, err
		}
		if string(scratch) != string(d) || n > 0 && string(last) >= string(d) {
			return scratch, errCanonical
		}
		last = d
	}
	if n != s.count || n == 0 {
		return scratch, fmt.Errorf("%d records, expected %d", n, s.count)
	}
	return scratch, nil
}

// close checks the digest and that nothing follows.
func (l *loader) close() error {
	sum := l.h.Sum(nil)
	if got := l.take(32); l.err == nil && string(got) != string(sum) {
		l.fail("the digest at its end does not fit: damaged or cut off")
	}
	if l.err != nil {
		return l.err
	}
	if _, err := l.r.ReadByte(); !errors.Is(err, io.EOF) {
		return errors.New("data after the end")
	}
	return nil
}
