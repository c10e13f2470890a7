package main

import (
	"fmt"
	"io"
	"math"
	"os"
	"strconv"
	"strings"
	"time"

	"zonesigner/dnssec"
	"zonesigner/zonesignerd/config"
	"zonesigner/zonesignerd/internal/api"
)

// readZoneFile reads a zone file as it is; "-" is standard input. What is no
// zone file is a bad argument.
func (a *app) readZoneFile(name, origin string) (*dnssec.ZoneFile, error) {
	file, r, err := a.open(name)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	z, err := dnssec.ReadZoneFile(r, origin, file)
	if err == nil {
		return z, nil
	}
	e := api.Errorf(api.CodeUsage, "%w", err)
	if origin == "" {
		e.Hint = "names that are not absolute need the zone's name: --origin ZONE"
	}
	return nil, e
}

// open opens a file to look at, or standard input for "-", which has no name.
func (a *app) open(name string) (file string, r io.ReadCloser, err error) {
	endAtOnce()
	if name == "-" {
		return "", io.NopCloser(a.in), nil
	}
	f, err := os.Open(name)
	if err != nil {
		return "", nil, api.Errorf(api.CodeUsage, "%w", err)
	}
	return name, f, nil
}

// moment is a flag that holds a time, in the forms of parseTime.
type moment struct {
	t   *time.Time
	now func() time.Time
}

func (m moment) String() string {
	if m.t == nil || m.t.IsZero() {
		return ""
	}
	return m.t.UTC().Format(time.RFC3339)
}

func (m moment) Type() string { return "time" }

func (m moment) Set(text string) error {
	at, _, err := parseTime(text, m.now().Unix())
	*m.t = time.Unix(int64(at), 0)
	return err
}

// timeForms are those that parseTime reads.
const timeForms = "YYYYMMDDHHMMSS, YYYYMMDD, RFC 3339, UNIX seconds, or from now as +30d, -2h (units s, m, h, d, w)"

// parseTime reads a time as signatures have it, in UNIX seconds, and says
// whether it is one of its own, not one counted from now. All forms are in UTC.
func parseTime(text string, now int64) (at uint32, absolute bool, err error) {
	seconds, absolute := now, false
	switch relative := strings.TrimPrefix(text, "now"); {
	case text == "now":
	case strings.HasPrefix(relative, "+"), strings.HasPrefix(relative, "-"):
		var d config.Duration
		if d, err = config.ParseDuration(relative[1:]); relative[0] == '-' {
			d = -d
		}
		seconds += d.Seconds()
	default:
		absolute = true
		seconds, err = parseClock(text)
	}
	switch {
	case err != nil:
		return 0, false, fmt.Errorf("%q: want %s", text, timeForms)
	case seconds <= 0 || seconds > math.MaxUint32:
		return 0, false, fmt.Errorf("%q is not between 1970 and 2106", text)
	}
	return uint32(seconds), absolute, nil
}

// parseClock reads a time that is not counted from now.
func parseClock(text string) (seconds int64, err error) {
	for _, layout := range []string{"20060102150405", "20060102", time.RFC3339} {
		if t, err := time.Parse(layout, text); err == nil {
			return t.Unix(), nil
		}
	}
	if len(text) == 14 || len(text) == 8 { // a date that there is not
		return 0, strconv.ErrSyntax
	}
	return strconv.ParseInt(text, 10, 64)
}
