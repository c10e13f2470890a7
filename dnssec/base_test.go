package dnssec

import (
	"slices"
	"strings"
	"testing"
)

// A signed zone that is read from its own text is the base that it was.
func TestSignedZoneFromText(t *testing.T) {
	forEachZone(t, func(t *testing.T, _ string, z *Zone, d string) {
		ksk, zsk := kskAndZSK()
		p := testParams(ksk, zsk)
		p.Denial, p.CDS = denials[d], CDSAlways
		sz := signPlan(t, mustPlan(t, z, p), ksk, zsk)
		back, err := ParseSignedZone(strings.NewReader(zoneText(t, sz)), z.Apex().String(), "")
		if err != nil {
			t.Fatal(err)
		}
		if zoneText(t, back) != zoneText(t, sz) {
			t.Fatal("not the same zone")
		}
		p.Base, p.Time = back, p.Time+3600
		plan := mustPlan(t, z, p)
		if plan.Len() != 0 || plan.Kept() != sz.Signatures() {
			t.Errorf("%d signatures to be made, %d kept of %d", plan.Len(), plan.Kept(), sz.Signatures())
		}
	})
}

// Signatures that cannot be kept are left out, and of several with one key
// the last to expire is taken.
func TestSignaturesLeftOut(t *testing.T) {
	ksk, zsk := kskAndZSK()
	p := testParams(ksk, zsk)
	p.NoJitter = true
	z := mustParse(t, "example.", minimal+"www A 192.0.2.1\n*.w TXT x\n")
	sz := signPlan(t, mustPlan(t, z, p), ksk, zsk)
	text := zoneText(t, sz)
	var www string
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "www.example.\t") && strings.Contains(line, "RRSIG\tA ") {
			www = line
		}
	}
	for name, change := range map[string][2]string{
		"TTL":    {"A 13 2 3600 ", "A 13 2 3601 "},
		"labels": {"A 13 2 3600 ", "A 13 1 3600 "},
		"signer": {" example. ", " example.org. "},
		"type":   {"RRSIG\tA ", "RRSIG\tMX "},
		"length": {"==\n", "=\n"},
		"none":   {www, "\n"},
	} {
		changed := strings.Replace(www, change[0], change[1], 1)
		if name == "length" {
			changed = strings.TrimSpace(www)
			changed = changed[:len(changed)-4] + "\n"
		}
		if changed == www {
			t.Fatalf("%s: nothing changed in %q", name, www)
		}
		back, err := ParseSignedZone(strings.NewReader(strings.Replace(text, www, changed, 1)), "example.", "")
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if n := back.Signatures(); n != sz.Signatures()-1 {
			t.Errorf("%s: %d signatures, expected %d", name, n, sz.Signatures()-1)
		}
	}
	later := strings.Replace(www, "A 13 2 3600 20261204", "A 13 2 3600 20261205", 1)
	back, err := ParseSignedZone(strings.NewReader(text+later), "example.", "")
	if err != nil {
		t.Fatal(err)
	}
	if zoneText(t, back) != strings.Replace(text, www, later, 1) {
		t.Error("the signature that lasts longer was not taken")
	}
}

// False signatures of a base that nobody has verified can be found and renewed.
func TestRenew(t *testing.T) {
	ksk, zsk := kskAndZSK()
	p := testParams(ksk, zsk)
	p.Denial.NSEC3 = true
	z := readZone(t, "features.zone")
	good := signPlan(t, mustPlan(t, z, p), ksk, zsk)
	base := *good
	base.sigs = slices.Clone(good.sigs)
	for _, i := range []int{0, 7, len(base.sigs) - 1} {
		base.sigs[i].flip(9)
	}
	base.init()
	p.Base = &base
	plan := mustPlan(t, z, p)
	var bad []Kept
	for _, k := range []testKey{ksk, zsk} {
		v, err := newVerifier(k.Algorithm, k.PublicKey)
		if err != nil {
			t.Fatal(err)
		}
		for _, kept := range plan.KeptOf(k.ID) {
			if message, sig := plan.KeptSignature(nil, kept); !v(message, []byte(sig)) {
				bad = append(bad, kept)
			}
		}
	}
	renewed := plan.Renew(bad)
	if len(bad) != 3 || plan.Len() != 0 || renewed.Len() != 3 || renewed.Kept() != len(base.sigs)-3 {
		t.Fatalf("%d are false, %d to be made, %d kept", len(bad), renewed.Len(), renewed.Kept())
	}
	sz := signPlan(t, renewed, ksk, zsk)
	wantNoFaults(t, Verify(sz, VerifyOptions{Keys: p.Keys, At: p.Time}))
	if zoneText(t, sz) != zoneText(t, good) {
		t.Error("not the zone as it was")
	}
}

func TestFindApex(t *testing.T) {
	for _, c := range []struct{ text, want, fault string }{
		{"$ORIGIN Example.\n$TTL 1\n@ SOA a b 1 2 3 4 5\n", "example.", ""},
		{"$TTL 1\nexample. SOA a. b. 1 2 3 4 5\nx A bad\n", "example.", ""},
		{"; nothing\n$TTL 1\n. SOA a. b. 1 2 3 4 5\n", ".", ""},
		{"$TTL 1\n@ SOA a. b. 1 2 3 4 5\n", "", "zone:2: "},
		{"$TTL 1\nexample. NS a.\n", "", "no SOA"},
	} {
		got, err := FindApex(strings.NewReader(c.text), "")
		if c.fault == "" && (err != nil || got.String() != c.want) || c.fault != "" && (err == nil || !strings.Contains(err.Error(), c.fault)) {
			t.Errorf("%q: %s, %v", c.text, got, err)
		}
	}
}

func TestFindSigned(t *testing.T) {
	const soa, sig = "@ 1 SOA a b 1 2 3 4 5\n", "@ 1 RRSIG SOA 13 1 60 20300101000000 20200101000000 7 example. AAAA\n"
	for _, c := range []struct{ text, fault string }{
		{soa + sig, ""},
		{sig + "x 1 A 192.0.2.1\n" + soa + "x A bad\n", ""},
		{soa, "zone: its SOA is not signed"},
		{soa + "x" + sig[1:], "zone: its SOA is not signed"},
		{soa + "@ 1 RRSIG NS 13 1 60 20300101000000 20200101000000 7 example. AAAA\n", "zone: its SOA is not signed"},
		{sig, "zone: no SOA"},
		{"", "zone: no SOA"},
		{sig + "other. 1 SOA a b 1 2 3 4 5\n", "zone:2: the SOA of other., expected that of example."},
		{"no zone", "zone:1: "},
	} {
		err := FindSigned(strings.NewReader(c.text), name(t, "example."), "")
		if c.fault == "" && err != nil || c.fault != "" && (err == nil || !strings.Contains(err.Error(), c.fault)) {
			t.Errorf("%q: %v, want %q", c.text, err, c.fault)
		}
	}
}

func FuzzParseSignedZone(f *testing.F) {
	f.Add(minimal + "@ 60 IN RRSIG SOA 13 1 60 20300101000000 20200101000000 7 example. AAAA\n@ NSEC a.example. SOA\n")
	f.Add(minimal + "x CNAME y\nx NSEC example. CNAME\nx RRSIG CNAME 8 2 3600 20300101000000 20200101000000 7 example. AAAA\n")
	f.Fuzz(func(t *testing.T, text string) {
		sz, err := ParseSignedZone(strings.NewReader(text), "example.", "")
		if err != nil {
			return
		}
		var b strings.Builder
		if _, err := sz.WriteTo(&b); err != nil {
			t.Fatal(err)
		}
		back, err := ParseSignedZone(strings.NewReader(b.String()), "example.", "")
		if err != nil {
			t.Fatalf("what was read cannot be read again: %v", err)
		}
		if back.Digest() != sz.Digest() {
			t.Fatal("not read as it was written")
		}
	})
}
