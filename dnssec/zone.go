package dnssec

import (
	"crypto/sha256"
	"iter"
	"slices"
	"sync"

	"github.com/miekg/dns"
)

// Zone is the unsigned content of a zone: its RRsets in canonical form and
// order, without the records that signing makes.
type Zone struct {
	apex    Name
	soa     int // index of the SOA in sets
	sets    []RRset
	dropped map[uint16]int
	places  map[placed]string // of RRsets that may turn out too large: "file:line: "
	digest  func() [32]byte
}

// placed is an RRset whose place in a file is known.
type placed struct {
	owner Name
	typ   uint16
}

func newZone(apex Name, sets []RRset, dropped map[uint16]int) *Zone {
	z := &Zone{apex: apex, sets: sets, dropped: dropped}
	z.soa = slices.IndexFunc(sets, func(s RRset) bool { return s.Owner == apex && s.Type == dns.TypeSOA })
	z.digest = sync.OnceValue(z.contentDigest)
	return z
}

// Apex is the zone's name.
func (z *Zone) Apex() Name { return z.apex }

// Serial is the serial of the SOA.
func (z *Zone) Serial() uint32 { return soaSerial(z.SOA().first()) }

// WithSerial is the same content under another serial of the SOA.
func (z *Zone) WithSerial(serial uint32) *Zone {
	if serial == z.Serial() {
		return z
	}
	var a arena
	sets := slices.Clone(z.sets)
	soa := z.SOA()
	sets[z.soa] = makeRRset(soa.Owner, soa.Type, soa.TTL, &a, withSerial(soa.first(), serial))
	out := newZone(z.apex, sets, z.dropped)
	out.places, out.digest = z.places, z.digest
	return out
}

// Share gives up the memory of RRsets that base has too, and uses base's. It is
// for a zone that nobody else uses yet.
func (z *Zone) Share(base *SignedZone) {
	at := 0
	for i, s := range z.sets {
		var ok bool
		if at, ok = indexFrom(base.sets, at, s); ok {
			z.sets[i] = base.sets[at]
		}
	}
}

// SOA is the apex SOA RRset, which has one record.
func (z *Zone) SOA() RRset { return z.sets[z.soa] }

// Len is how many RRsets the zone has.
func (z *Zone) Len() int { return len(z.sets) }

// Records is how many records the zone has.
func (z *Zone) Records() int {
	n := 0
	for _, s := range z.sets {
		n += s.Len()
	}
	return n
}

// RRsets yields the RRsets in canonical order: owner (RFC 4034, section 6.1),
// then type.
func (z *Zone) RRsets() iter.Seq[RRset] { return slices.Values(z.sets) }

// Dropped counts by type the records of the input that signing makes anew and
// that were therefore left out.
func (z *Zone) Dropped() map[uint16]int { return z.dropped }

// ContentDigest is the SHA-256 of all RRsets with the SOA's serial taken as 0,
// so that it compares what copies say, not how they are numbered. It is
// computed once.
func (z *Zone) ContentDigest() [32]byte { return z.digest() }

func (z *Zone) contentDigest() [32]byte {
	h := sha256.New()
	h.Write([]byte("zonesigner content 1\x00"))
	h.Write([]byte(z.apex))
	buf := hashRRsets(h, z.sets[:z.soa], nil)
	soa := z.SOA()
	var a arena
	soa = makeRRset(soa.Owner, soa.Type, soa.TTL, &a, withSerial(soa.first(), 0))
	buf = hashRRsets(h, []RRset{soa}, buf)
	hashRRsets(h, z.sets[z.soa+1:], buf)
	return [32]byte(h.Sum(nil))
}
