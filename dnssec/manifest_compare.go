package dnssec

import (
	"fmt"
	"strings"
)

// CompareManifests says in words how b ("there") differs from a ("here"), at
// most max lines (0: all); nothing when they are the same.
func CompareManifests(a, b *Manifest, max int) []string {
	var out []string
	say := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	x := strings.Split(string(a.ManifestHeader.append(nil)), "\n")
	y := strings.Split(string(b.ManifestHeader.append(nil)), "\n")
	here, there := headerLines(x), headerLines(y)
	for _, name := range []string{"zone", "source-serial", "serial", "content", "base", "time", "lifetime", "refresh",
		"dnskey-ttl", "denial", "cds", "zonemd", "key", "made", "kept", "items"} {
		if here[name] != there[name] {
			say("%s: here %s, there %s", manifestWords[name], here[name], there[name])
		}
	}
	i, j := 0, 0
	for i < len(a.List) || j < len(b.List) {
		if max > 0 && len(out) >= max {
			return out[:max]
		}
		order := 0
		switch {
		case i == len(a.List):
			order = 1
		case j == len(b.List):
			order = -1
		default:
			order = a.List[i].compare(b.List[j])
		}
		switch {
		case order < 0:
			say("%s with key %d: to be signed here, not there", a.List[i].what(), a.List[i].KeyTag)
			i++
		case order > 0:
			say("%s with key %d: to be signed there, not here", b.List[j].what(), b.List[j].KeyTag)
			j++
		default:
			p, q := a.List[i], b.List[j]
			switch {
			case p.Inception != q.Inception || p.Expiration != q.Expiration:
				say("%s: valid here %d to %d, there %d to %d", p.what(), p.Inception, p.Expiration, q.Inception, q.Expiration)
			case p.Message != q.Message:
				say("%s: the records differ", p.what())
			}
			i++
			j++
		}
	}
	if max > 0 && len(out) > max {
		out = out[:max]
	}
	return out
}

var manifestWords = map[string]string{
	"zone": "zone", "source-serial": "serial of the unsigned zone", "serial": "serial of the signed zone",
	"content": "content", "base": "published zone", "time": "time", "lifetime": "rrsig-lifetime",
	"refresh": "rrsig-refresh", "dnskey-ttl": "dnskey-ttl", "denial": "denial of existence", "cds": "CDS policy",
	"zonemd": "digest of the zone",
	"key":    "keys", "made": "records that signing makes", "kept": "signatures kept", "items": "signatures to be made",
}

func headerLines(lines []string) map[string]string {
	m := map[string]string{}
	for _, l := range lines {
		name, rest, _ := strings.Cut(l, " ")
		if m[name] != "" {
			rest = m[name] + "; " + rest
		}
		m[name] = rest
	}
	return m
}

func (m ManifestItem) compare(o ManifestItem) int {
	if c := compareRRsets(RRset{Owner: m.Owner, Type: m.Type}, RRset{Owner: o.Owner, Type: o.Type}); c != 0 {
		return c
	}
	return int(m.KeyTag) - int(o.KeyTag)
}

func (m ManifestItem) what() string { return m.Owner.String() + " " + TypeName(m.Type) }
