package dnssec

import (
	"iter"
	"strings"
)

// Record is one record in presentation format, as Knot's control commands
// zone-set and zone-unset take it.
type Record struct {
	Owner string
	TTL   uint32
	Type  string
	Data  string
}

// Change is one record that goes or comes.
type Change struct {
	Remove bool
	Record
}

// AllRecords yields every record of the zone, RRSIGs included.
func (sz *SignedZone) AllRecords() iter.Seq[Record] {
	return func(yield func(Record) bool) {
		for c := range sz.Changes(nil) {
			if !yield(c.Record) {
				return
			}
		}
	}
}

// Changes yields what turns old into sz, within one transaction: for each
// RRset, in canonical order, first what goes and then what comes. An RRset
// whose TTL changes goes and comes as a whole. With old nil everything comes. Records share their strings'
// memory with those beside them: clone what is kept for long.
func (sz *SignedZone) Changes(old *SignedZone) iter.Seq[Change] {
	if old == nil {
		old = &SignedZone{apex: sz.apex, first: []uint32{0}}
	}
	return func(yield func(Change) bool) {
		w := changeWriter{yield: yield}
		i, j := 0, 0
		for i < len(old.sets) || j < len(sz.sets) {
			order := 0
			switch {
			case i == len(old.sets):
				order = 1
			case j == len(sz.sets):
				order = -1
			default:
				order = compareRRsets(old.sets[i], sz.sets[j])
			}
			var gone, came view
			if order <= 0 {
				gone = view{old.apex, old.sets[i], old.signaturesAt(i)}
				i++
			}
			if order >= 0 {
				came = view{sz.apex, sz.sets[j], sz.signaturesAt(j)}
				j++
			}
			if !w.without(gone, came, true) || !w.without(came, gone, false) {
				return
			}
		}
	}
}

// view is one RRset with its signatures.
type view struct {
	apex Name
	set  RRset
	sigs []Signature
}

// changeWriter yields records as text, many of them in one large string: a
// zone of 100,000 names has 640,000 records.
type changeWriter struct {
	yield func(Change) bool
	text  arena
	buf   []byte
}

// without yields the records of v that o does not have.
func (w *changeWriter) without(v, o view, remove bool) bool {
	if v.set.Owner == "" {
		return true
	}
	retimed := o.set.Owner != "" && v.set.TTL != o.set.TTL
	if !retimed && v.set.sameRecords(o.set) && equalSignatures(v.sigs, o.sigs) {
		return true
	}
	c := Change{Remove: remove, Record: Record{TTL: v.set.TTL}}
	w.buf = v.set.Owner.appendText(w.buf[:0])
	c.Owner = w.text.add(w.buf)
	for d := range v.set.RData() {
		if !retimed && o.set.has(d) {
			continue
		}
		w.buf = appendTypeAndRData(w.buf[:0], v.set.Type, d)
		c.Type, c.Data, _ = strings.Cut(w.text.add(w.buf), " ")
		if !w.yield(c) {
			return false
		}
	}
	c.Type = "RRSIG"
	for i := range v.sigs {
		if !retimed && containsSignature(o.sigs, v.sigs[i]) {
			continue
		}
		w.buf = appendRRSIGText(w.buf[:0], v.set, v.apex, &v.sigs[i])
		c.Data = w.text.add(w.buf)
		if !w.yield(c) {
			return false
		}
	}
	return true
}

// has reports whether d is the rdata of one of the records.
func (s RRset) has(d string) bool {
	for x := range s.RData() {
		if x == d {
			return true
		}
	}
	return false
}

func equalSignatures(a, b []Signature) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

func containsSignature(sigs []Signature, g Signature) bool {
	for i := range sigs {
		if sigs[i] == g {
			return true
		}
	}
	return false
}
