package config

import (
	"fmt"
	"math"
	"strconv"
	"time"
)

// Duration is written as in Knot: "30d", "12h", "90m", "45s", "2w", or plain
// seconds. It is never negative and at most 2^31-1 seconds, the largest step
// that DNSSEC's serial arithmetic of times can take (RFC 4034, section 3.1.5).
type Duration time.Duration

const maxDuration = math.MaxInt32 // seconds

// units in descending order, each a divisor of the one before.
var units = []struct {
	suffix  byte
	seconds int64
}{{'w', 7 * 86400}, {'d', 86400}, {'h', 3600}, {'m', 60}, {'s', 1}}

// ParseDuration reads the form that String writes.
func ParseDuration(text string) (Duration, error) {
	digits, factor := text, int64(1)
	for _, u := range units {
		if text != "" && text[len(text)-1] == u.suffix {
			digits, factor = text[:len(text)-1], u.seconds
		}
	}
	// ParseUint alone would accept signs and underscores in none of these
	// forms, but it does accept leading zeros: "010" is not octal here.
	n, err := strconv.ParseUint(digits, 10, 32)
	if err != nil {
		return 0, fmt.Errorf("%q is not a duration: want a number of seconds, or one with s, m, h, d or w (as in 12h)", text)
	}
	if int64(n) > maxDuration/factor {
		return 0, fmt.Errorf("%q is too long: at most 68 years", text)
	}
	return Duration(time.Duration(int64(n)*factor) * time.Second), nil
}

// String writes the duration with the largest unit that keeps it whole. A
// fraction of a second is written in Go's form.
func (d Duration) String() string {
	if time.Duration(d)%time.Second != 0 {
		return time.Duration(d).String()
	}
	seconds := d.Seconds()
	for _, u := range units {
		// Weeks are read but not written: 30d and 14d are what people compare.
		if u.suffix != 'w' && seconds != 0 && seconds%u.seconds == 0 {
			return strconv.FormatInt(seconds/u.seconds, 10) + string(u.suffix)
		}
	}
	return "0"
}

// Seconds is the whole number of seconds.
func (d Duration) Seconds() int64 { return int64(time.Duration(d) / time.Second) }

// MarshalText writes the form that ParseDuration reads.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText is ParseDuration.
func (d *Duration) UnmarshalText(text []byte) error {
	parsed, err := ParseDuration(string(text))
	if err != nil {
		return err
	}
	*d = parsed
	return nil
}
