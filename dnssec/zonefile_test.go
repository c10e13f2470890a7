package dnssec

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// However a signed zone is written, it is read as the same.
func TestReadZoneFileAnyOrder(t *testing.T) {
	ksk, zsk := kskAndZSK()
	p := testParams(ksk, zsk)
	p.Denial = denials["nsec3"]
	sz := signPlan(t, mustPlan(t, readZone(t, "features.zone"), p), ksk, zsk)
	text := zoneText(t, sz)
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	random := rand.New(rand.NewPCG(1, 2))
	random.Shuffle(len(lines), func(i, j int) { lines[i], lines[j] = lines[j], lines[i] })
	shuffled := strings.Join(append(lines, lines[:len(lines)/3]...), "\n") + "\n" // some twice
	o := VerifyOptions{Anchors: []Anchor{{DNSKEY: ksk.DNSKEY()}}, At: testTime}
	for _, c := range []struct{ name, text string }{
		{"as written", text}, {"shuffled", shuffled},
	} {
		z, err := ReadZoneFile(strings.NewReader(c.text), "", "")
		if err != nil {
			t.Fatal(err)
		}
		if z.Apex() != sz.Apex() || z.Len() != sz.Len() || z.Signatures() != sz.Signatures() || z.Earliest() != sz.EarliestExpiration() {
			t.Errorf("%s: %s with %d RRsets and %d signatures until %d, expected %d, %d, %d", c.name, z.Apex(), z.Len(), z.Signatures(), z.Earliest(),
				sz.Len(), sz.Signatures(), sz.EarliestExpiration())
		}
		wantNoFaults(t, z.Verify(o))
	}
}

func TestReadZoneFileRefuses(t *testing.T) {
	for _, c := range []struct{ text, origin, want string }{
		{"", "example.", "zone example. has no records"},
		{"www.example. 1 IN A 192.0.2.1\n", "", "no SOA record"},
		{"www 1 IN A 192.0.2.1\n", "", `zone:1: bad owner name: "www"`},
		{"\n\nexample. 1 IN A 192.0.2.256\n", "", "zone:3: "},
		{"example. 1 IN SOA a. b. 1 2 3 4 5\n", "a..b", "origin"},
		{"$INCLUDE /etc/passwd\n", "example.", "zone:1: "},
		{"example. 1 IN TYPE1 \\# 3 000000\n", "example.", "zone:1: "},
	} {
		if _, err := ReadZoneFile(strings.NewReader(c.text), c.origin, ""); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: %v, expected %q", c.text, err, c.want)
		}
	}
}

// A zone of two NSEC3 chains, as while the salt changes, has each checked.
func TestVerifyTwoChains(t *testing.T) {
	w := newWreck(t, "nsec3", false)
	other := newWreck(t, "nsec3-salted", false)
	param := other.lines[other.where("example.", "NSEC3PARAM")[0]]
	for _, line := range other.lines {
		if f := strings.Fields(line); f[3] == "NSEC3" || f[3] == "RRSIG" && f[4] == "NSEC3" {
			w.add(line)
		}
	}
	w.add(param)
	w.sign("example.", "NSEC3PARAM", nil, w.zsk)
	wantNoFaults(t, w.verify())
	i := slices.IndexFunc(w.lines, func(l string) bool { f := strings.Fields(l); return f[3] == "NSEC3" && f[7] == "cafe" })
	w.remove(strings.Fields(w.lines[i])[0], "NSEC3")
	if faults := w.verify(); !slices.ContainsFunc(faults, func(f Fault) bool { return f.Code == NSEC3Next }) {
		t.Errorf("a gap in the second chain: %v", faults)
	}
}

// The signatures of an algorithm that comes or goes are no fault, though no
// DNSKEY is there for them (RFC 6781, section 4.1.4).
func TestVerifyAlgorithmComes(t *testing.T) {
	w := newWreck(t, "nsec", false)
	i := w.where("www.example.", "RRSIG A")[0]
	w.add(strings.Replace(w.lines[i], "RRSIG A 13 ", "RRSIG A 15 ", 1))
	wantNoFaults(t, w.verify())
}

func TestDiffFiles(t *testing.T) {
	read := func(text string) *ZoneFile {
		z, err := ReadZoneFile(strings.NewReader(text), "", "")
		if err != nil {
			t.Fatal(err)
		}
		return z
	}
	a, w := newWreck(t, "nsec", true), newWreck(t, "nsec", true)
	w.lines = slices.Clone(a.lines)
	w.swap("www.example.", "A", "192.0.2.1", "192.0.2.9")
	w.swap("example.", "SOA", " 2026112002 ", " 2026112003 ")
	w.swap("insec.example.", "NS", "\t3600\t", "\t60\t")
	w.sign("two.example.", "A", nil, w.ksk)
	w.remove("alias.example.", "CNAME")
	w.change("www.example.", "NSEC", withoutWord("A"))
	w.change("example.", "ZONEMD", replaceWord(0, "7"))
	w.swap("example.", "CDS", " 13 2 ", " 13 4 ")
	if d := DiffFiles(read(a.text()), read(a.text())); len(d) > 0 {
		t.Errorf("the same: %v", d)
	}
	var got []string
	for _, d := range DiffFiles(read(a.text()), read(w.text())) {
		got = append(got, string(d.Kind)+" "+d.String())
	}
	all := strings.Join(got, "\n")
	for _, want := range []string{
		"content www.example. A differ: here 3600 192.0.2.1, there 3600 192.0.2.9",
		"serial example. SOA differ: here 2026112002, there 2026112003",
		"content insec.example. NS differ: here 3600 ns.insec.example., there 60 ns.insec.example.",
		fmt.Sprintf("signature signatures over two.example. A differ: here key %d, ", a.zsk.KeyTag()),
		fmt.Sprintf("there key %d, ", a.ksk.KeyTag()),
		"content alias.example. CNAME differ: here 3600 www.example., there nothing",
		"denial www.example. NSEC differ: ",
		"signature signatures over www.example. NSEC differ: ",
		"digest example. ZONEMD differ: ",
		"keys example. CDS differ: ",
	} {
		if !strings.Contains(all, want) {
			t.Errorf("%q is missing in\n%s", want, all)
		}
	}
	if len(got) != 10 {
		t.Errorf("%d differences, expected 10:\n%s", len(got), all)
	}
	if d := DiffFiles(read(a.text()), read("net. 1 IN SOA a. b. 1 2 3 4 5\n")); len(d) != 1 || !strings.Contains(d[0].String(), "it is net.") {
		t.Errorf("another zone: %v", d)
	}
	var counted int
	for _, c := range CountDifferences(DiffFiles(read(a.text()), read(w.text()))) {
		counted += c.Count
	}
	if counted != len(got) {
		t.Errorf("%d differences are counted, there are %d", counted, len(got))
	}
}

func TestParseAnchors(t *testing.T) {
	ksk, _ := kskAndZSK()
	zone := name(t, "example.")
	good := "example. IN DS 1 13 1 00112233445566778899aabbccddeeff00112233\nexample. IN DS 1 13 4 " + strings.Repeat("00", 48) +
		"\n; a comment\nEXAMPLE. 3600 IN DNSKEY " + dnskey(ksk, func([]byte) {}) + "\n"
	anchors, err := ParseAnchors(strings.NewReader(good), zone, "anchors")
	if err != nil || len(anchors) != 2 || !anchors[1].matches(zone, ksk.DNSKEY()) {
		t.Errorf("%v, %v", anchors, err)
	}
	for text, want := range map[string]string{
		"":                              "no DNSKEY record, and no DS record",
		"example. DS 1 13 1 0011":       "no DNSKEY record, and no DS record",
		"net. DS 1 13 2 0011":           "expected a record of example.",
		"example. A 192.0.2.1":          "expected DS or DNSKEY",
		"example. DS one":               "anchors: ",
		`example. DS \# 3 000000`:       "anchors: ",
		"example. DNSKEY 257 3 13 !!!!": "anchors: ",
	} {
		if _, err := ParseAnchors(strings.NewReader(text+"\n"), zone, "anchors"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, expected %q", text, err, want)
		}
	}
	for _, a := range []Anchor{{}, {DS: []byte{1}}, {DS: []byte{0, 0, 13, 2}}} {
		if a.matches(zone, ksk.DNSKEY()) || a.matches(zone, nil) {
			t.Errorf("%v matches", a)
		}
	}
}

func FuzzReadZoneFile(f *testing.F) {
	f.Add("example. 300 IN SOA a. b. 1 2 3 4 300\nexample. 300 IN NS ns.\nexample. 300 IN RRSIG SOA 13 1 300 20261204120000 20261120110000 1 example. AAAA\n" +
		"example. 300 IN DNSKEY 257 3 13 AAAA\nexample. 300 IN NSEC a.example. SOA\n")
	f.Add("example. 300 IN SOA a. b. 1 2 3 4 300\nexample. 300 IN NSEC3PARAM 1 0 0 -\n" + strings.Repeat("0", 32) + ".example. 300 IN NSEC3 1 1 0 - " + strings.Repeat("0", 32) +
		" A\nexample. 300 IN DNSKEY 256 3 8 AwEAAQ==\nexample. 1 IN ZONEMD 1 1 1 " + strings.Repeat("00", 48) + "\n")
	f.Add("$ORIGIN example.\n$TTL 1\n@ SOA a b 1 2 3 4 5\nx DNAME y\nz.x CNAME a\n@ RRSIG RRSIG 15 0 1 1 2 3 . AAAA\n@ CDS 0 0 0 00\n@ CDNSKEY 0 3 0 AA==\n")
	f.Add("example. SOA . . 1 1 1 1 1\nexample. DNSKEY \\# 4 01010308\nexample. NSEC3PARAM \\# 5 0100000000\nexample. ZONEMD \\# 2 0000\n")
	f.Fuzz(func(t *testing.T, text string) {
		z, err := ReadZoneFile(strings.NewReader(text), "example.", "")
		if err != nil {
			return
		}
		faults := z.Verify(VerifyOptions{Unanchored: true, At: testTime, Warn: 86400, Threads: 1})
		if len(faults) == 0 {
			t.Error("a zone that nobody signed has no fault")
		}
		for _, f := range faults {
			_ = f.String()
		}
		if d := DiffFiles(z, z); len(d) > 0 {
			t.Errorf("differs from itself: %v", d)
		}
		_, _ = z.Digest(schemeSimple, 1)
		_, _ = z.Content()
	})
}
