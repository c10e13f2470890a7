package dnssec

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// readZoneFile reads a zone file as it is.
func readZoneFile(t testing.TB, file, origin string) *ZoneFile {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := ReadZoneFile(f, origin, file)
	if err != nil {
		t.Fatal(err)
	}
	return z
}

// The zones of RFC 8976, appendix A, have the digests that stand in them.
func TestZoneDigestVectors(t *testing.T) {
	for file, origin := range map[string]string{"a1": "example.", "a2": "example.", "a3": "example.", "a4": "uri.arpa.", "a5": "root-servers.net."} {
		z := readZoneFile(t, filepath.Join("../testdata/zonemd", file+".zone"), origin)
		checked := 0
		for _, d := range z.ZONEMD() {
			got, err := z.Digest(d.Scheme, d.Algorithm)
			if err != nil {
				continue
			}
			if !bytes.Equal(got.Digest, d.Digest) || got.Serial != d.Serial {
				t.Errorf("%s: digest %d %x, expected %d %x", file, got.Serial, got.Digest, d.Serial, d.Digest)
			}
			checked++
		}
		if want := map[bool]int{true: 2, false: 1}[file == "a3"]; checked != want {
			t.Errorf("%s: %d digests checked, expected %d", file, checked, want)
		}
	}
}

// signWithZONEMD signs in two steps.
func signWithZONEMD(t testing.TB, z *Zone, p Params, keys ...testKey) (first, second *Plan, sz *SignedZone) {
	t.Helper()
	first = mustPlan(t, z, p)
	draft := signPlan(t, first, keys...)
	second, err := first.PlanZONEMD(draft)
	if err != nil {
		t.Fatal(err)
	}
	return first, second, signPlan(t, second, keys...)
}

var zonemdPolicies = []ZONEMDPolicy{ZONEMDSHA384, ZONEMDSHA512}

// Other people's validators find our digests right, with every kind of chain.
func TestZONEMDValidates(t *testing.T) {
	forEachZone(t, func(t *testing.T, file string, z *Zone, d string) {
		ksk, zsk := kskAndZSK()
		p := testParams(ksk, zsk)
		p.Denial, p.ZONEMD = denials[d], zonemdPolicies[len(d)%2]
		p.Time = uint32(time.Now().Unix()) // dnssec-verify takes no time but the clock's
		_, second, sz := signWithZONEMD(t, z, p, ksk, zsk)
		if second.Len() != 1 || second.Item(0).Type != dns.TypeZONEMD || second.Item(0).KeyID != "zsk" {
			t.Errorf("the second plan has %d items, the first %+v", second.Len(), second.Item(0))
		}
		wantNoFaults(t, Verify(sz, VerifyOptions{Keys: p.Keys, At: p.Time, ZONEMD: p.ZONEMD}))
		dir := t.TempDir()
		writeFile(t, dir, "signed", zoneText(t, sz))
		run(t, dir, "dnssec-verify", "-o", z.Apex().String(), "signed")
		run(t, dir, "kzonecheck", "-d", "on", "-t", fmt.Sprint(p.Time), "-o", z.Apex().String(), "signed")
		if z.Apex() == "\x00" && p.Denial.NSEC3 {
			return // ldns 1.8 walks in circles there, with its own signer's zones too
		}
		run(t, dir, "ldns-verify-zone", "-ZZ", "-t", string(appendTime(nil, p.Time)), "signed")
	})
}

// ldns refuses what has another digest, so that its consent says something.
func TestZONEMDToolsLookAtIt(t *testing.T) {
	ksk, zsk := kskAndZSK()
	p := testParams(ksk, zsk)
	p.ZONEMD = ZONEMDSHA384
	_, _, sz := signWithZONEMD(t, mustParse(t, "example.", verified), p, ksk, zsk)
	f := newForger(t, sz, ksk, zsk)
	f.change(f.at("example.", dns.TypeZONEMD), func(b []byte) []byte { b[20] ^= 1; return b })
	dir := t.TempDir()
	writeFile(t, dir, "signed", zoneText(t, f.zone()))
	if out, err := tryRun(dir, "ldns-verify-zone", "-ZZ", "-t", string(appendTime(nil, p.Time)), "signed"); err == nil {
		t.Errorf("ldns-verify-zone takes a false digest:\n%s", out)
	}
}

// The record and its signature have the SOA's TTL and times, and the form
// that servers read.
func TestZONEMDRecord(t *testing.T) {
	ksk, zsk := kskAndZSK()
	p := testParams(ksk, zsk)
	p.ZONEMD = ZONEMDSHA512
	_, second, sz := signWithZONEMD(t, readZone(t, "features.zone"), p, ksk, zsk)
	set, _ := sz.find(sz.apex, dns.TypeZONEMD)
	soa, _ := sz.find(sz.apex, dns.TypeSOA)
	d := set.first()
	if set.Len() != 1 || set.TTL != soa.TTL || binary.BigEndian.Uint32([]byte(d)) != p.Serial || d[4] != 1 || d[5] != 2 || len(d) != 6+64 {
		t.Errorf("ZONEMD %d %x", set.TTL, d)
	}
	if string(second.zonemd) != d[6:] {
		t.Error("the plan has another digest than the record")
	}
	i := slices.IndexFunc(sz.sets, func(s RRset) bool { return s.Type == dns.TypeZONEMD && s.Owner == sz.apex })
	if g := sz.signaturesAt(i); len(g) != 1 || g[0].Expiration != p.Time+p.Lifetime || g[0].Inception != p.Time-inceptionOffset {
		t.Errorf("signatures of the ZONEMD RRset: %+v", g)
	}
	if text := zoneText(t, sz); !strings.Contains(text, fmt.Sprintf("\tZONEMD %d 1 2 %s\n", p.Serial, hex.EncodeToString([]byte(d[6:])))) {
		t.Error("the record is not written in its own format")
	}
}

// A change costs the signatures of the change, of the SOA and of the digest.
func TestZONEMDIncremental(t *testing.T) {
	ksk, zsk := kskAndZSK()
	p := testParams(ksk, zsk)
	p.ZONEMD = ZONEMDSHA384
	_, _, base := signWithZONEMD(t, mustParse(t, "example.", verified), p, ksk, zsk)
	p.Base, p.Serial, p.Time = base, p.Serial+1, p.Time+60
	first, second, sz := signWithZONEMD(t, mustParse(t, "example.", verified+"www A 192.0.2.7\n"), p, ksk, zsk)
	if first.Len() != 2 || second.Len() != 1 || second.Kept() != sz.Signatures()-1 {
		t.Errorf("%d signatures and %d, %d kept", first.Len(), second.Len(), second.Kept())
	}
	wantNoFaults(t, Verify(sz, VerifyOptions{Keys: p.Keys, At: p.Time, ZONEMD: p.ZONEMD}))
	changes := 0
	for c := range sz.Changes(base) {
		if c.Type == "ZONEMD" {
			changes++
		}
	}
	if changes != 2 {
		t.Errorf("%d changes of the ZONEMD record, expected one to go and one to come", changes)
	}
	// Without the policy it goes, and the apex's bit map with it.
	p.Base, p.Serial, p.ZONEMD = sz, p.Serial+1, ZONEMDNone
	without := signPlan(t, mustPlan(t, mustParse(t, "example.", verified), p), ksk, zsk)
	wantNoFaults(t, Verify(without, VerifyOptions{Keys: p.Keys, At: p.Time, ZONEMD: ZONEMDNone}))
}

// The manifest of the second plan names the zone that it stands on and its
// digest; the first says that there will be one.
func TestZONEMDManifests(t *testing.T) {
	ksk, zsk := kskAndZSK()
	p := testParams(ksk, zsk)
	p.ZONEMD = ZONEMDSHA384
	first, second, sz := signWithZONEMD(t, mustParse(t, "example.", verified), p, ksk, zsk)
	for i, plan := range []*Plan{first, second} {
		m, err := ParseManifest(bytes.NewReader(plan.Manifest()))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(m.Bytes(), plan.Manifest()) || m.ZONEMD != ZONEMDSHA384 {
			t.Errorf("manifest %d is not read as it was written", i)
		}
		switch {
		case i == 0 && (m.ZONEMDDigest != nil || m.Base != nil):
			t.Errorf("the first manifest has digest %x, base %x", m.ZONEMDDigest, m.Base)
		case i == 1 && (m.Base == nil || *m.Base != sz.Draft().Digest() || !bytes.Equal(m.ZONEMDDigest, sz.zoneDigest(1)) || m.Items != 1):
			t.Errorf("the second manifest has digest %x, base %x, %d items", m.ZONEMDDigest, m.Base, m.Items)
		}
	}
	a, _ := ParseManifest(bytes.NewReader(first.Manifest()))
	b, _ := ParseManifest(bytes.NewReader(second.Manifest()))
	if d := CompareManifests(a, b, 0); !slices.ContainsFunc(d, func(d ManifestDifference) bool { return d.Field == "zonemd" }) {
		t.Errorf("the manifests differ in %q", d)
	}
	for change, want := range map[string]string{
		"zonemd zonemd-sha384":                             "expected \"zonemd\" and 2 more words",
		"zonemd zonemd-md5 -":                              "unknown ZONEMD policy",
		"zonemd none -":                                    "unknown ZONEMD policy",
		"zonemd zonemd-sha384 0":                           "not lower-case hexadecimal",
		"zonemd zonemd-sha512 " + strings.Repeat("ab", 48): "ZONEMD digest of 48 bytes, expected 64",
	} {
		text := strings.Replace(string(first.Manifest()), "zonemd zonemd-sha384 -", change, 1)
		if _, err := ParseManifest(strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, expected %q", change, err, want)
		}
	}
}

// The zone from which both plans can be made again: with it and the content,
// an operator that missed the sessions comes to both manifests.
func TestZONEMDDerivedAgain(t *testing.T) {
	ksk, zsk := kskAndZSK()
	p := testParams(ksk, zsk)
	p.ZONEMD, p.Denial.NSEC3 = ZONEMDSHA384, true
	z := mustParse(t, "example.", verified)
	first, second, sz := signWithZONEMD(t, z, p, ksk, zsk)
	loaded, err := Load(bytes.NewReader(save(t, sz)))
	if err != nil {
		t.Fatal(err)
	}
	draft := loaded.Draft()
	again, err := mustPlan(t, z, p).PlanZONEMD(draft)
	if err != nil {
		t.Fatal(err)
	}
	if again.Digest() != second.Digest() || !first.Matches(draft) || !again.Matches(loaded) {
		t.Error("not the same plans")
	}
	if first.Matches(loaded) || second.Matches(draft) {
		t.Error("a plan matches what it does not make")
	}
	if plain := signPlan(t, mustPlan(t, z, testParams(ksk, zsk)), ksk, zsk); plain.Draft() != plain {
		t.Error("a zone without ZONEMD is not its own draft")
	}
	for what, change := range map[string]func(f *forger){
		"a record":           func(f *forger) { f.set(name(t, "new.example."), dns.TypeA, 60, []byte{1, 2, 3, 4}, zsk) },
		"a signature":        func(f *forger) { f.sigs[f.at("www.example.", dns.TypeA)] = nil },
		"a signature's time": func(f *forger) { f.sign(f.at("www.example.", dns.TypeA), zsk) },
	} {
		f := newForger(t, draft, ksk, zsk)
		change(f)
		if first.Matches(f.zone()) {
			t.Errorf("a plan matches a zone with another %s", what)
		}
	}
}

func TestPlanZONEMDRefuses(t *testing.T) {
	ksk, zsk := kskAndZSK()
	z := mustParse(t, "example.", verified)
	p := testParams(ksk, zsk)
	plain := mustPlan(t, z, p)
	if _, err := plain.PlanZONEMD(signPlan(t, plain, ksk, zsk)); err == nil {
		t.Error("a digest without a policy for it")
	}
	p.ZONEMD = ZONEMDSHA384
	first, second, sz := signWithZONEMD(t, z, p, ksk, zsk)
	if _, err := first.PlanZONEMD(sz); err == nil {
		t.Error("a digest where there is one")
	}
	if _, err := second.PlanZONEMD(sz.Draft()); err == nil {
		t.Error("the plan of a plan of a digest")
	}
	p.ZONEMD = "zonemd-md5"
	if _, err := NewPlan(z, p); err == nil || !strings.Contains(err.Error(), "unknown ZONEMD policy") {
		t.Errorf("an unknown policy: %v", err)
	}
}

// Every fault of a ZONEMD record is found although its signature is true.
func TestVerifyZONEMD(t *testing.T) {
	ksk, zsk := kskAndZSK()
	p := testParams(ksk, zsk)
	p.ZONEMD = ZONEMDSHA384
	z := mustParse(t, "example.", verified)
	_, _, good := signWithZONEMD(t, z, p, ksk, zsk)
	edit := func(do func(b []byte) []byte) func(f *forger) {
		return func(f *forger) { f.change(f.at("example.", dns.TypeZONEMD), do) }
	}
	sha512 := func(b []byte) []byte { return append(append(b[:4:4], 1, 2), good.zoneDigest(2)...) }
	add := func(more []byte) func(f *forger) {
		return func(f *forger) {
			i := f.at("example.", dns.TypeZONEMD)
			rdata := [][]byte{[]byte(f.sets[i].first()), more}
			slices.SortFunc(rdata, slices.Compare[[]byte])
			f.sets[i] = makeRRset(f.sz.apex, dns.TypeZONEMD, f.sets[i].TTL, &arena{}, rdata...)
			f.sign(i, zsk)
		}
	}
	set, _ := good.find(good.apex, dns.TypeZONEMD)
	twice := []byte(set.first())
	twice[len(twice)-1] ^= 1
	other := sha512([]byte(set.first()))
	for _, c := range []struct {
		name string
		want ZONEMDPolicy
		do   func(f *forger)
		says string // empty: no fault
	}{
		{"right", ZONEMDSHA384, func(*forger) {}, ""},
		{"right, whatever is wanted", "", func(*forger) {}, ""},
		{"not wanted", ZONEMDNone, func(*forger) {}, "ZONEMD: not expected"},
		{"another algorithm", ZONEMDSHA512, func(*forger) {}, "hash algorithm 1, expected 2"},
		{"missing", ZONEMDSHA384, func(f *forger) { f.remove(f.at("example.", dns.TypeZONEMD)) }, "ZONEMD: missing"},
		{"unsigned", ZONEMDSHA384, func(f *forger) { f.sigs[f.at("example.", dns.TypeZONEMD)] = nil }, "ZONEMD: not signed with key"},
		{"the placeholder", "", edit(func(b []byte) []byte { clear(b[6:]); return b }), "the digest is not that of the zone"},
		{"a record that came later", "", func(f *forger) { f.set(f.sz.apex, dns.TypeTXT, 300, []byte{1, 'x'}, zsk) }, "the digest is not that of the zone"},
		{"a signature that came later", "", func(f *forger) { f.sign(f.at("www.example.", dns.TypeA), zsk) }, "the digest is not that of the zone"},
		{"glue that came later", "", func(f *forger) {
			f.set(name(t, "ns.insec.example."), dns.TypeAAAA, 300, make([]byte, 16))
		}, "the digest is not that of the zone"},
		{"another serial", "", edit(func(b []byte) []byte { b[3]++; return b }), "serial 2026112003, expected the SOA's"},
		{"unknown scheme", "", edit(func(b []byte) []byte { b[4] = 240; return b }), "scheme 240 with hash algorithm 1 is unknown"},
		{"unknown hash", "", edit(func(b []byte) []byte { b[5] = 241; return b }), "hash algorithm 241 is unknown"},
		{"digest too short", "", edit(func(b []byte) []byte { return b[:30] }), "digest of 24 bytes, expected 48"},
		{"malformed", "", edit(func(b []byte) []byte { return b[:5] }), "malformed rdata"},
		{"another TTL", ZONEMDSHA384, func(f *forger) {
			i := f.at("example.", dns.TypeZONEMD)
			f.set(f.sz.apex, dns.TypeZONEMD, f.sets[i].TTL+1, []byte(f.sets[i].first()), zsk)
		}, "expected the SOA's"},
		{"two of one kind", "", add(twice), "another record has the same scheme"},
		{"two, where one is wanted", ZONEMDSHA384, add(other), "2 records, expected one"},
		{"two, both right", "", add(other), ""},
		{"one of two right", "", add(append(append([]byte{}, other[:20]...), make([]byte, 50)...)), ""},
		{"with SHA-512", ZONEMDSHA512, edit(sha512), ""},
	} {
		f := newForger(t, good, ksk, zsk)
		c.do(f)
		var got []string
		for _, x := range Verify(f.zone(), VerifyOptions{Keys: p.Keys, At: p.Time, ZONEMD: c.want}) {
			got = append(got, x.String())
		}
		if text := strings.Join(got, "\n"); c.says == "" && text != "" || !strings.Contains(text, c.says) {
			t.Errorf("%s: %q, expected %q", c.name, text, c.says)
		}
	}
}

// A ZONEMD record below the apex is a record like any other.
func TestZONEMDBelowApex(t *testing.T) {
	ksk, zsk := kskAndZSK()
	p := testParams(ksk, zsk)
	p.ZONEMD = ZONEMDSHA384
	z := mustParse(t, "example.", verified+"sub ZONEMD 1 1 1 "+strings.Repeat("ab", 48)+"\nsub2 ZONEMD 1 1 240 "+strings.Repeat("cd", 12)+"\n@ ZONEMD 5 1 1 "+strings.Repeat("ef", 48)+"\n")
	if z.Dropped()[dns.TypeZONEMD] != 1 {
		t.Errorf("dropped %v", z.Dropped())
	}
	_, _, sz := signWithZONEMD(t, z, p, ksk, zsk)
	wantNoFaults(t, Verify(sz, VerifyOptions{Keys: p.Keys, At: p.Time, ZONEMD: p.ZONEMD}))
	dir := t.TempDir()
	writeFile(t, dir, "signed", zoneText(t, sz))
	run(t, dir, "ldns-verify-zone", "-ZZ", "-t", string(appendTime(nil, p.Time)), "signed")
}

// With keys of two algorithms both sign the digest, and the RRSIGs of one
// owner come in the order of their rdata, not of ours.
func TestZONEMDTwoKeys(t *testing.T) {
	a, b := newTestKey("a", 256, false), newTestKey("b", 256, false)
	ksk, _ := kskAndZSK()
	p := testParams(ksk, a, b)
	p.ZONEMD = ZONEMDSHA384
	first, second, sz := signWithZONEMD(t, mustParse(t, "example.", verified), p, ksk, a, b)
	if len(first.KeyIDs()) != 3 || second.Len() != 2 || len(second.ItemsOf("a")) != 1 {
		t.Errorf("%d items of keys %v", second.Len(), second.KeyIDs())
	}
	// Signatures of one key that end before the other's, against the order of tags.
	f := newForger(t, sz.Draft(), ksk, a)
	i := f.at("www.example.", dns.TypeA)
	if len(f.sigs[i]) != 2 {
		t.Fatalf("%d signatures", len(f.sigs[i]))
	}
	f.sigs[i][0].Expiration, f.sigs[i][1].Expiration = p.Time+2000, p.Time+1000
	for j, g := range f.sigs[i] {
		for _, k := range []testKey{a, b} {
			if k.KeyTag() == g.KeyTag {
				f.resign(i, &f.sigs[i][j], k)
			}
		}
	}
	again, err := first.PlanZONEMD(f.zone())
	if err != nil {
		t.Fatal(err)
	}
	sz = signPlan(t, again, a, b)
	dir := t.TempDir()
	writeFile(t, dir, "signed", zoneText(t, sz))
	run(t, dir, "ldns-verify-zone", "-ZZ", "-t", string(appendTime(nil, p.Time)), "signed")
}
