package main

import (
	"io"
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

// moment is a flag that holds a time: UNIX seconds, YYYYMMDDHHMMSS or RFC
// 3339 in UTC, or relative to now as +3d and -12h.
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

func (m moment) Set(text string) (err error) {
	*m.t, err = parseMoment(text, m.now())
	return err
}

func parseMoment(text string, now time.Time) (time.Time, error) {
	if span, ok := strings.CutPrefix(text, "+"); ok {
		d, err := config.ParseDuration(span)
		return now.Add(time.Duration(d)), err
	}
	if span, ok := strings.CutPrefix(text, "-"); ok {
		d, err := config.ParseDuration(span)
		return now.Add(-time.Duration(d)), err
	}
	if t, err := time.Parse(time.RFC3339, text); err == nil {
		return t, nil
	}
	if len(text) == 14 {
		if t, err := time.Parse("20060102150405", text); err == nil {
			return t, nil
		}
	}
	if n, err := strconv.ParseUint(text, 10, 32); err == nil {
		return time.Unix(int64(n), 0), nil
	}
	return time.Time{}, usageError("%q is no time: expected UNIX seconds, YYYYMMDDHHMMSS, an RFC 3339 time, or +3d and the like", text)
}
