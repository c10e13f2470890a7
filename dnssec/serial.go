package dnssec

import (
	"fmt"
	"time"
)

// NextSerial is the serial of the next signed zone. source is the serial of
// the unsigned zone, base the one that is published now (nil: none), at the
// plan's time. Policies:
//
//	keep        the source's
//	increment   the published one plus 1; the source's when nothing is published
//	unixtime    at
//	dateserial  YYYYMMDDnn of at (UTC)
//
// All fall back to increment where they would not go forward in the order of
// RFC 1982: keep does so when unchanged content is signed again, for a serial
// that stays would hide the new signatures from secondaries. The result is
// never 0, except for a source that is 0 under keep.
func NextSerial(policy string, source uint32, base *uint32, at uint32) (uint32, error) {
	var want uint32
	switch policy {
	case "keep":
		want = source
		if base == nil {
			return source, nil
		}
	case "increment":
		want = source
		if base != nil {
			want = *base + 1
		}
	case "unixtime":
		want = at
	case "dateserial":
		t := time.Unix(int64(at), 0).UTC()
		want = uint32(t.Year()*1000000 + int(t.Month())*10000 + t.Day()*100) // nn starts at 00
	default:
		return 0, fmt.Errorf("serial policy %q: expected keep, increment, unixtime or dateserial", clip(policy))
	}
	if base != nil && !SerialNewer(want, *base) {
		want = *base + 1
	}
	if want == 0 {
		want = 1
	}
	return want, nil
}

// SerialNewer reports whether a is after b (RFC 1982, section 3.2; a distance
// of exactly 2³¹ is undefined there and false here).
func SerialNewer(a, b uint32) bool {
	d := a - b
	return d != 0 && d < 1<<31
}
