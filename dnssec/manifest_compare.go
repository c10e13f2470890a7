package dnssec

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strconv"
	"time"
)

// ManifestDifference is one thing in which two manifests differ.
type ManifestDifference struct {
	Field       string // as in the manifest's text: "content", "key", "item", ...
	What        string // the field in words, or the signature that it is about
	Here, There string
	Why         string // how that comes about, and what to look at; may be empty
}

// String says it in one line, without Why.
func (d ManifestDifference) String() string {
	return fmt.Sprintf("%s: here %s, there %s", d.What, d.Here, d.There)
}

// CompareManifests says in words how b ("there") differs from a ("here"), at
// most max differences (0: all), those of the header first; none when they are
// the same.
func CompareManifests(a, b *Manifest, max int) []ManifestDifference {
	out := compareHeaders(&a.ManifestHeader, &b.ManifestHeader)
	out = append(out, compareItems(a.List, b.List, max)...)
	if max > 0 && len(out) > max {
		out = out[:max]
	}
	return out
}

// ManifestField is a line of a manifest's header in words.
type ManifestField struct {
	Field, What, Value string
}

// Fields is the header in words, keys left out.
func (h *ManifestHeader) Fields() []ManifestField {
	moment := func(t uint32) string {
		return strconv.FormatUint(uint64(t), 10) + " (" + time.Unix(int64(t), 0).UTC().Format(time.RFC3339) + ")"
	}
	seconds := func(n uint32) string { return strconv.FormatUint(uint64(n), 10) + " s" }
	base, denial, zonemd := "none", "NSEC", "none"
	if h.Base != nil {
		base = fmt.Sprintf("%x", *h.Base)
	}
	if d := h.Denial; d.NSEC3 {
		denial = fmt.Sprintf("NSEC3, %d iterations, salt %s", d.Iterations, hexOrNone(d.Salt))
		if d.OptOut {
			denial += ", opt-out"
		}
	}
	if h.ZONEMD.Wanted() {
		if zonemd = string(h.ZONEMD) + ", to be made when all is signed"; len(h.ZONEMDDigest) > 0 {
			zonemd = fmt.Sprintf("%s %x", h.ZONEMD, h.ZONEMDDigest)
		}
	}
	return []ManifestField{
		{"zone", "zone", h.Zone.String()},
		{"source-serial", "serial of the unsigned zone", strconv.FormatUint(uint64(h.SourceSerial), 10)},
		{"serial", "serial of the signed zone", strconv.FormatUint(uint64(h.Serial), 10)},
		{"content", "content", fmt.Sprintf("%x", h.Content)},
		{"base", "published zone", base},
		{"time", "time", moment(h.Time)},
		{"lifetime", "rrsig-lifetime", seconds(h.Lifetime)},
		{"refresh", "rrsig-refresh", seconds(h.Refresh)},
		{"dnskey-ttl", "dnskey-ttl", seconds(h.DNSKEYTTL)},
		{"denial", "denial of existence", denial},
		{"cds", "CDS policy", string(h.CDS)},
		{"zonemd", "digest of the zone", zonemd},
		{"made", "records that signing makes", fmt.Sprintf("%d, %x", h.Made, h.MadeDigest)},
		{"kept", "signatures kept", fmt.Sprintf("%d, %x", h.Kept, h.KeptDigest)},
		{"items", "signatures to be made", strconv.Itoa(h.Items)},
	}
}

// whyDiffers says how operators come to differ in a field.
var whyDiffers = map[string]string{
	"zone":          "these are manifests of two zones",
	"source-serial": "one has a newer copy of the zone, or the copies are numbered apart",
	"serial":        "one has published a version that the other lacks, or the serial policies differ",
	"content":       "the copies of the unsigned zone differ: compare them with diff --content",
	"base":          "they build on different published zones: one lacks the last one and has to catch up",
	"time":          "these are proposals of different moments",
	"lifetime":      "the policies differ",
	"refresh":       "the policies differ",
	"dnskey-ttl":    "the policies differ",
	"denial":        "the policies differ",
	"cds":           "the policies differ",
	"zonemd":        "the policies differ, or the signed zones that the digest is of",
	"key":           "one does not have the key, or has it in another state",
	"made":          "follows from content, keys and policy; if those are the same, the programs differ",
	"kept":          "follows from the published zone and the time; if those are the same, the programs differ",
	"items":         "follows from the others",
}

func compareHeaders(a, b *ManifestHeader) []ManifestDifference {
	var out []ManifestDifference
	differ := func(field, what, here, there string) {
		out = append(out, ManifestDifference{field, what, here, there, whyDiffers[field]})
	}
	theirs := b.Fields()
	for i, f := range a.Fields() {
		if f.Field == "made" {
			compareKeys(a.Keys, b.Keys, differ)
		}
		if f.Value != theirs[i].Value {
			differ(f.Field, f.What, f.Value, theirs[i].Value)
		}
	}
	return out
}

func compareKeys(a, b []Key, differ func(field, what, here, there string)) {
	words := func(k Key) string {
		role := "ZSK"
		if k.CSK {
			role = "CSK"
		} else if k.Flags == 257 {
			role = "KSK"
		}
		return fmt.Sprintf("%s, algorithm %d, tag %d, %s, %s", role, k.Algorithm, k.KeyTag(), k.State, clip(base64.StdEncoding.EncodeToString(k.PublicKey)))
	}
	order := func(keys []Key) (ids []string) {
		for _, k := range keys {
			ids = append(ids, k.ID)
		}
		return ids
	}
	find := func(keys []Key, id string) string {
		if i := slices.IndexFunc(keys, func(k Key) bool { return k.ID == id }); i >= 0 {
			return words(keys[i])
		}
		return "missing"
	}
	here, there := order(a), order(b)
	for _, id := range here {
		if x, y := find(a, id), find(b, id); x != y {
			differ("key", "key "+id, x, y)
		}
	}
	for _, id := range there {
		if !slices.Contains(here, id) {
			differ("key", "key "+id, "missing", find(b, id))
		}
	}
	if slices.Equal(here, there) || len(here) != len(there) {
		return
	}
	if x, y := slices.Sorted(slices.Values(here)), slices.Sorted(slices.Values(there)); slices.Equal(x, y) {
		differ("key", "order of keys", fmt.Sprint(here), fmt.Sprint(there))
	}
}

func compareItems(a, b []ManifestItem, max int) []ManifestDifference {
	var out []ManifestDifference
	for len(a) > 0 || len(b) > 0 {
		if max > 0 && len(out) >= max {
			break
		}
		order := 0
		switch {
		case len(a) == 0:
			order = 1
		case len(b) == 0:
			order = -1
		default:
			order = a[0].compare(b[0])
		}
		switch {
		case order < 0:
			out = append(out, ManifestDifference{"item", a[0].what(), "to be signed", "not", ""})
		case order > 0:
			out = append(out, ManifestDifference{"item", b[0].what(), "not to be signed", "it is", ""})
		case a[0].Inception != b[0].Inception || a[0].Expiration != b[0].Expiration:
			out = append(out, ManifestDifference{"item", a[0].what(), a[0].times(), b[0].times(), "follows from time, lifetime and refresh"})
		case a[0].Message != b[0].Message:
			out = append(out, ManifestDifference{"item", a[0].what(), fmt.Sprintf("%x", a[0].Message), fmt.Sprintf("%x", b[0].Message), "the records differ"})
		}
		if order <= 0 {
			a = a[1:]
		}
		if order >= 0 {
			b = b[1:]
		}
	}
	return out
}

func (m ManifestItem) compare(o ManifestItem) int {
	if c := compareRRsets(RRset{Owner: m.Owner, Type: m.Type}, RRset{Owner: o.Owner, Type: o.Type}); c != 0 {
		return c
	}
	return int(m.KeyTag) - int(o.KeyTag)
}

func (m ManifestItem) what() string {
	return fmt.Sprintf("%s %s with key %d", m.Owner, TypeName(m.Type), m.KeyTag)
}

func (m ManifestItem) times() string {
	return fmt.Sprintf("valid from %s to %s", appendTime(nil, m.Inception), appendTime(nil, m.Expiration))
}
