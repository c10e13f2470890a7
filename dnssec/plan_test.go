package dnssec

import (
	"bytes"
	"crypto/ed25519"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	"pgregory.net/rapid"
)

// The hashes of RFC 5155, appendix A.
func TestNSEC3Hashes(t *testing.T) {
	d := Denial{NSEC3: true, Iterations: 12, Salt: []byte{0xaa, 0xbb, 0xcc, 0xdd}}
	for text, want := range map[string]string{
		"example":       "0p9mhaveqvm6t7vbl5lop2u3t2rp3tom",
		"a.example":     "35mthgpgcu1qg68fab165klnsnk3dpvl",
		"ai.example":    "gjeqe526plbf1g8mklp59enfd789njgi",
		"ns1.example":   "2t7b4g4vsa5smi47k61mv5bv1a22bojr",
		"ns2.example":   "q04jkcevqvmu85r014c7dkba38o0ji5r",
		"w.example":     "k8udemvp1j2f7eg6jebps17vp3n8i58h",
		"*.w.example":   "r53bq7cc2uvmubfu5ocmm6pers9tk9en",
		"x.w.example":   "b4um86eghhds6nea196smvmlo4ors995",
		"y.w.example":   "ji6neoaepv8b5o6k4ev33abha8ht9fgc",
		"x.y.w.example": "2vptu5timamqttgl4luu9kg21e0aor3s",
		"xx.example":    "t644ebqk9bibcna874givr6joj62mlhv",
		"Ns1.EXAMPLE":   "2t7b4g4vsa5smi47k61mv5bv1a22bojr",
		"2t7b4g4vsa5smi47k61mv5bv1a22bojr.example": "kohar7mbb8dc2ce8a9qvl8hon4k53uhi",
	} {
		if h, _ := hashName(name(t, text), d, nil); hashText(h) != want {
			t.Errorf("%s: %s, expected %s", text, hashText(h), want)
		}
	}
}

// The zone of RFC 4035, appendix A.
const rfc4035 = `$TTL 3600
example. SOA ns1.example. bugs.x.w.example. 1081539377 3600 300 3600000 3600
example. NS ns1.example.
example. NS ns2.example.
example. MX 1 xx.example.
a.example. NS ns1.a.example.
a.example. NS ns2.a.example.
a.example. DS 57855 5 1 B6DCD485719ADCA18E5F3D48A2331627FDD3636B
ns1.a.example. A 192.0.2.5
ns2.a.example. A 192.0.2.6
ai.example. A 192.0.2.9
ai.example. HINFO "KLH-10" "ITS"
ai.example. AAAA 2001:db8:0:0:0:0:f00:baa9
b.example. NS ns1.b.example.
b.example. NS ns2.b.example.
ns1.b.example. A 192.0.2.7
ns2.b.example. A 192.0.2.8
ns1.example. A 192.0.2.1
ns2.example. A 192.0.2.2
*.w.example. MX 1 ai.example.
x.w.example. MX 1 xx.example.
x.y.w.example. MX 1 xx.example.
xx.example. A 192.0.2.10
xx.example. HINFO "KLH-10" "TOPS-20"
xx.example. AAAA 2001:db8:0:0:0:0:f00:baaa
`

func TestNSECChainOfRFC4035(t *testing.T) {
	ksk, zsk := kskAndZSK()
	plan := mustPlan(t, mustParse(t, "example.", rfc4035), testParams(ksk, zsk))
	var got []string
	for _, s := range plan.signed.sets {
		if s.Type == dns.TypeNSEC {
			got = append(got, fmt.Sprintf("%s %s", s.Owner, appendTypeAndRData(nil, s.Type, s.first())))
		}
	}
	want := []string{
		"example. NSEC a.example. NS SOA MX RRSIG NSEC DNSKEY",
		"a.example. NSEC ai.example. NS DS RRSIG NSEC",
		"ai.example. NSEC b.example. A HINFO AAAA RRSIG NSEC",
		"b.example. NSEC ns1.example. NS RRSIG NSEC",
		"ns1.example. NSEC ns2.example. A RRSIG NSEC",
		"ns2.example. NSEC *.w.example. A RRSIG NSEC",
		"*.w.example. NSEC x.w.example. MX RRSIG NSEC",
		"x.w.example. NSEC x.y.w.example. MX RRSIG NSEC",
		"x.y.w.example. NSEC xx.example. MX RRSIG NSEC",
		"xx.example. NSEC example. A HINFO AAAA RRSIG NSEC",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nexpected\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// The message is what miekg/dns, a second implementation, verifies.
func TestMessageIsWhatOthersVerify(t *testing.T) {
	ksk, zsk := kskAndZSK()
	z := readZone(t, "features.zone")
	sz := signPlan(t, mustPlan(t, z, testParams(ksk, zsk)), ksk, zsk)
	keys := map[uint16]*dns.DNSKEY{}
	sets, sigs := map[string][]dns.RR{}, []*dns.RRSIG{}
	zp := dns.NewZoneParser(strings.NewReader(zoneText(t, sz)), ".", "")
	for rr, ok := zp.Next(); ok; rr, ok = zp.Next() {
		switch rr := rr.(type) {
		case *dns.RRSIG:
			sigs = append(sigs, rr)
			continue
		case *dns.DNSKEY:
			keys[rr.KeyTag()] = rr
		}
		k := rr.Header().Name + dns.TypeToString[rr.Header().Rrtype]
		sets[k] = append(sets[k], rr)
	}
	if zp.Err() != nil {
		t.Fatal(zp.Err())
	}
	if len(sigs) != sz.Signatures() {
		t.Fatalf("%d signatures, wrote %d", len(sigs), sz.Signatures())
	}
	for _, g := range sigs {
		if err := g.Verify(keys[g.KeyTag], sets[g.Hdr.Name+dns.TypeToString[g.TypeCovered]]); err != nil {
			t.Errorf("%s %s: %v", g.Hdr.Name, TypeName(g.TypeCovered), err)
		}
	}
}

func TestKeyTagAndDS(t *testing.T) {
	ksk, _ := kskAndZSK()
	rr, err := dns.NewRR("example. DNSKEY " + strings.TrimPrefix(string(appendTypeAndRData(nil, dns.TypeDNSKEY, string(ksk.DNSKEY()))), "DNSKEY "))
	if err != nil {
		t.Fatal(err)
	}
	key := rr.(*dns.DNSKEY)
	want := strings.SplitN(key.ToDS(2).String(), "DS\t", 2)[1]
	_, got := typeAndRData(dns.TypeDS, string(ksk.DS(name(t, "example"))))
	if key.KeyTag() != ksk.KeyTag() || !strings.EqualFold(got, want) {
		t.Errorf("%d %s, expected %d %s", ksk.KeyTag(), got, key.KeyTag(), want)
	}
}

// Every state, by what it publishes and signs.
func TestKeyStates(t *testing.T) {
	z := mustParse(t, "example.", minimal)
	for _, c := range []struct {
		role  string
		state KeyState
		other KeyState // of an older key of the same role
		want  string   // published, signs DNSKEY, signs SOA
	}{
		{"ksk", Published, Active, "P--"}, {"ksk", Ready, Active, "PK-"}, {"ksk", Active, RetireActive, "PK-"},
		{"ksk", RetireActive, Active, "PK-"}, {"ksk", Retired, Active, "P--"}, {"ksk", Removed, Active, "---"},
		{"ksk", PreActive, Active, "---"}, {"ksk", PostActive, Active, "---"},
		{"zsk", PreActive, Active, "---"}, {"zsk", PreActive, Retired, "--S"}, {"zsk", PostActive, Active, "---"}, {"zsk", PostActive, Published, "--S"},
		{"csk", PreActive, Active, "---"}, {"csk", PostActive, Active, "---"},
		{"zsk", Published, Active, "P--"}, {"zsk", Ready, Active, "P--"}, {"zsk", Active, Retired, "P-S"},
		{"zsk", RetireActive, Active, "P--"}, {"zsk", RetireActive, Retired, "P-S"}, {"zsk", Retired, Active, "P--"}, {"zsk", Removed, Active, "---"},
		{"csk", Published, Active, "P--"}, {"csk", Ready, Active, "PK-"}, {"csk", Ready, Published, "PKS"}, {"csk", Active, RetireActive, "PKS"},
		{"csk", RetireActive, Active, "PK-"}, {"csk", Retired, Active, "P--"}, {"csk", Removed, Active, "---"},
	} {
		flags, csk := uint16(257), c.role == "csk"
		if c.role == "zsk" {
			flags = 256
		}
		key, older := newTestKey("new", flags, csk), newTestKey("old", flags, csk)
		key.State, older.State = c.state, c.other
		keys := []testKey{key, older}
		if !csk {
			keys = append(keys, newTestKey("partner", 513-flags, false))
		}
		plan := mustPlan(t, z, testParams(keys...))
		got := []byte("---")
		if set, _ := plan.signed.find(z.Apex(), dns.TypeDNSKEY); set.has(string(key.DNSKEY())) {
			got[0] = 'P'
		}
		for i := range plan.Len() {
			if it := plan.Item(i); it.KeyID == "new" && it.Type == dns.TypeDNSKEY {
				got[1] = 'K'
			} else if it.KeyID == "new" && it.Type == dns.TypeSOA {
				got[2] = 'S'
			}
		}
		if string(got) != c.want {
			t.Errorf("%s %s beside %s: %s, expected %s", c.role, c.state, c.other, got, c.want)
		}
	}
}

func TestParamsRefused(t *testing.T) {
	z := mustParse(t, "example.", minimal)
	ksk, zsk := kskAndZSK()
	second := func(state KeyState, keys ...testKey) func(p *Params) {
		return func(p *Params) {
			for _, k := range keys {
				k.State = state
				p.Keys = append(p.Keys, k.Key)
			}
		}
	}
	edKSK, edZSK := newEdKey("ed-ksk", 257, false), newEdKey("ed-zsk", 256, false)
	for want, change := range map[string]func(p *Params){
		"has keys of algorithm 15, which has to sign every RRset": second(Active, edZSK),
		"it needs a KSK and a ZSK":                                second(Active, edKSK),
		"or a CSK, that sign":                                     second(Published, edKSK, edZSK),
		"keys of algorithm 15":                                    second(Retired, edKSK, edZSK),
		"no key signs the DNSKEY":                                 func(p *Params) { p.Keys[0].State = Retired },
		"no key signs the zone":                                   func(p *Params) { p.Keys[1].State = Published },
		"expected 1 to 64":                                        func(p *Params) { p.Keys = nil },
		"named twice":                                             func(p *Params) { p.Keys[1].ID = "ksk" },
		"share the key tag":                                       func(p *Params) { p.Keys = append(p.Keys, p.Keys[1]); p.Keys[2].ID = "twin" },
		"not a point":                                             func(p *Params) { p.Keys[0].PublicKey = make([]byte, 64) },
		"64":                                                      func(p *Params) { p.Keys[0].PublicKey = p.Keys[0].PublicKey[1:] },
		"algorithm 5":                                             func(p *Params) { p.Keys[0].Algorithm = 5 },
		"unknown state":                                           func(p *Params) { p.Keys[0].State = "lost" },
		"below the lifetime":                                      func(p *Params) { p.Refresh = p.Lifetime },
		"after 2106":                                              func(p *Params) { p.Time = 1<<32 - 1 },
		"too early":                                               func(p *Params) { p.Time = 0 },
		"iterations":                                              func(p *Params) { p.Denial = Denial{NSEC3: true, Iterations: 51} },
		"belong to NSEC3":                                         func(p *Params) { p.Denial.OptOut = true },
		"CDS policy":                                              func(p *Params) { p.CDS = "perhaps" },
	} {
		p := testParams(ksk, zsk)
		change(&p)
		if _, err := NewPlan(z, p); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, expected %q", err, want)
		}
	}
}

func TestCDSPolicies(t *testing.T) {
	z := mustParse(t, "example.", minimal)
	old, next, zsk := newTestKey("old", 257, false), newTestKey("next", 257, false), newTestKey("zsk", 256, false)
	for _, c := range []struct {
		policy CDSPolicy
		next   KeyState
		want   []testKey
	}{
		{CDSNone, Ready, nil}, {"", Ready, nil},
		{CDSRollover, Published, nil}, {CDSRollover, Ready, []testKey{next}},
		{CDSAlways, Published, []testKey{old}}, {CDSAlways, Ready, []testKey{next}},
	} {
		next.State = c.next
		p := testParams(old, next, zsk)
		p.CDS = c.policy
		set, _ := mustPlan(t, z, p).signed.find(z.Apex(), dns.TypeCDS)
		if set.Len() != len(c.want) || len(c.want) == 1 && set.first() != string(c.want[0].DS(z.Apex())) {
			t.Errorf("%s with the next key %s: %x", c.policy, c.next, set.rdata)
		}
	}
	p := testParams(old, zsk)
	p.CDS = CDSDelete
	plan := mustPlan(t, z, p)
	cds, _ := plan.signed.find(z.Apex(), dns.TypeCDS)
	if _, text := typeAndRData(dns.TypeCDS, cds.first()); text != "0 0 0 00" {
		t.Errorf("CDS %s", text)
	}
}

// A later plan signs what changed, what is due, and the SOA; nothing else.
func TestIncremental(t *testing.T) {
	ksk, zsk := kskAndZSK()
	for d, denial := range denials {
		t.Run(d, func(t *testing.T) {
			p := testParams(ksk, zsk)
			p.Denial = denial
			base := signPlan(t, mustPlan(t, readZone(t, "features.zone"), p), ksk, zsk)
			rapid.Check(t, func(rt *rapid.T) {
				z := editZone(rt, base.Content())
				q := p
				q.Base, q.Serial = base, p.Serial+1
				q.Time += rapid.Uint32Range(0, 15*86400).Draw(rt, "later")
				plan := mustPlan(t, z, q)
				items := map[string]bool{}
				for i := range plan.Len() {
					it := plan.Item(i)
					items[fmt.Sprint(it.Owner, it.Type, it.KeyTag)] = true
				}
				for i, s := range plan.signed.sets {
					j, had := base.index(s.Owner, s.Type)
					for _, g := range plan.signed.signaturesAt(i) {
						want := !had || base.sets[j] != s
						if !want {
							k := slices.IndexFunc(base.signaturesAt(j), g.sameKey)
							// k < 0: glue before
							want = k < 0 || int64(base.signaturesAt(j)[k].Expiration)-int64(q.Time) <= int64(q.Refresh)
							if !want && g != base.signaturesAt(j)[k] {
								rt.Fatalf("%s %s: kept signature changed", s.Owner, TypeName(s.Type))
							}
						}
						if got := items[fmt.Sprint(s.Owner, s.Type, g.KeyTag)]; got != want {
							rt.Fatalf("%s %s: to be signed %v, expected %v", s.Owner, TypeName(s.Type), got, want)
						}
					}
				}
				if plan.Kept()+plan.Len() != mustPlan(t, z, testParamsAt(p, q.Time)).Len() {
					rt.Fatal("kept and new signatures do not add up")
				}
			})
		})
	}
}

func testParamsAt(p Params, at uint32) Params {
	p.Time = at
	return p
}

// editZone adds and removes a few records.
func editZone(t *rapid.T, z *Zone) *Zone {
	b := NewBuilder(z.Apex().String())
	gone := rapid.IntRange(0, 30).Draw(t, "gone")
	add := func(owner, typ, data string) {
		if err := b.AddText(owner, 3600, typ, data); err != nil {
			t.Fatal(err)
		}
	}
	i := 0
	for s := range z.RRsets() {
		for d := range s.RData() {
			typ, data := typeAndRData(s.Type, d)
			if i++; s.Owner == z.Apex() || i%31 != gone {
				if err := b.AddText(s.Owner.String(), s.TTL, typ, data); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	for range rapid.IntRange(0, 3).Draw(t, "new") {
		add("new"+rapid.StringMatching(`[a-c](\.[a-c]){0,3}`).Draw(t, "name")+"."+z.Apex().String(), "A", "192.0.2.99")
	}
	out, err := b.Zone()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// A base that was signed with a key of the same tag but other bytes gives no
// signature away to the new key.
func TestBaseOfAnotherKeyIsNotKept(t *testing.T) {
	ksk, zsk := kskAndZSK()
	z := mustParse(t, "example.", minimal)
	p := testParams(ksk, zsk)
	base := signPlan(t, mustPlan(t, z, p), ksk, zsk)
	p.Base, p.Serial = base, p.Serial+1
	if plan := mustPlan(t, z, p); plan.Len() != 1 {
		t.Fatalf("%d items, expected the SOA alone", plan.Len())
	}
	other := newTestKey("other", 256, false)
	for i := range base.sigs { // as if the tags were the same
		if base.sigs[i].KeyTag == zsk.KeyTag() {
			base.sigs[i].KeyTag = other.KeyTag()
		}
	}
	p.Keys[1] = other.Key
	if plan := mustPlan(t, z, p); plan.Kept() != 0 {
		t.Errorf("%d signatures kept", plan.Kept())
	}
}

// Jitter spreads the refreshes: no day has much more than its share.
func TestJitterSpreads(t *testing.T) {
	ksk, zsk := kskAndZSK()
	plan := mustPlan(t, mustParse(t, "example.test.", hostZone(2000)), testParams(ksk, zsk))
	days := map[uint32]int{}
	for i := range plan.Len() {
		it := plan.Item(i)
		if it.Inception != testTime-3600 || it.Expiration > testTime+14*86400 || it.Expiration <= testTime+14*86400-7*86400/2 {
			t.Fatalf("%+v", it)
		}
		days[(testTime+14*86400-it.Expiration)/86400]++
	}
	for d, n := range days {
		if n > plan.Len()*4/10 {
			t.Errorf("day %d: %d of %d", d, n, plan.Len())
		}
	}
}

func TestItemsByKey(t *testing.T) {
	ksk, zsk := kskAndZSK()
	plan := mustPlan(t, readZone(t, "features.zone"), testParams(ksk, zsk))
	if got := plan.KeyIDs(); !slices.Equal(got, []string{"ksk", "zsk"}) {
		t.Error(got)
	}
	a, b := plan.ItemsOf("ksk"), plan.ItemsOf("zsk")
	if len(a) != 1 || len(a)+len(b) != plan.Len() || !slices.IsSorted(b) || plan.Item(a[0]).Type != dns.TypeDNSKEY {
		t.Error(len(a), len(b), plan.Len())
	}
	if _, err := plan.Assemble(make([][64]byte, 3)); err == nil {
		t.Error("too few signatures accepted")
	}
}

func TestManifestRoundTrip(t *testing.T) {
	forEachZone(t, func(t *testing.T, _ string, z *Zone, d string) {
		ksk, zsk := kskAndZSK()
		p := testParams(ksk, zsk)
		p.Denial = denials[d]
		plan := mustPlan(t, z, p)
		text := plan.Manifest()
		m, err := ParseManifest(bytes.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(m.Bytes(), text) {
			t.Error("the manifest changed")
		}
		if len(m.List) != plan.Len() || m.Serial != p.Serial || m.Content != z.ContentDigest() {
			t.Errorf("%+v", m.ManifestHeader)
		}
		if diff := CompareManifests(m, m, 0); len(diff) != 0 {
			t.Error(diff)
		}
	})
}

// Whatever goes into the signed zone is in the digest.
func TestManifestCoversEverything(t *testing.T) {
	ksk, zsk := kskAndZSK()
	z := mustParse(t, "example.", minimal+"www A 192.0.2.1\n")
	p := testParams(ksk, zsk)
	base := signPlan(t, mustPlan(t, z, p), ksk, zsk)
	p.Base, p.Serial = base, p.Serial+1
	seen := map[[32]byte]string{mustPlan(t, z, p).Digest(): "nothing"}
	try := func(what string, z *Zone, change func(p *Params)) {
		q := p
		q.Keys = slices.Clone(p.Keys)
		change(&q)
		d := mustPlan(t, z, q).Digest()
		if other, ok := seen[d]; ok {
			t.Errorf("%s changes as much as %s", what, other)
		}
		seen[d] = what
	}
	none := func(*Params) {}
	try("an address", mustParse(t, "example.", minimal+"www A 192.0.2.2\n"), none)
	try("glue", mustParse(t, "example.", minimal+"www A 192.0.2.1\nd NS ns.d\nns.d A 192.0.2.1\n"), none)
	try("other glue", mustParse(t, "example.", minimal+"www A 192.0.2.1\nd NS ns.d\nns.d A 192.0.2.2\n"), none)
	try("serial", z, func(p *Params) { p.Serial++ })
	try("source serial", mustParse(t, "example.", strings.Replace(minimal, " 7 ", " 8 ", 1)+"www A 192.0.2.1\n"), none)
	try("time", z, func(p *Params) { p.Time++ })
	try("lifetime", z, func(p *Params) { p.Lifetime++ })
	try("refresh", z, func(p *Params) { p.Refresh++ })
	try("DNSKEY TTL", z, func(p *Params) { p.DNSKEYTTL++ })
	try("denial", z, func(p *Params) { p.Denial.NSEC3 = true })
	try("opt-out", z, func(p *Params) { p.Denial = Denial{NSEC3: true, OptOut: true} })
	try("salt", z, func(p *Params) { p.Denial = Denial{NSEC3: true, Salt: []byte{1}} })
	try("CDS", z, func(p *Params) { p.CDS = CDSAlways })
	try("key", z, func(p *Params) { p.Keys[1] = newTestKey("zsk2", 256, false).Key })
	try("key id", z, func(p *Params) { p.Keys[1].ID = "other" })
	try("key state", z, func(p *Params) { p.Keys[1].State = RetireActive })
	try("no base", z, func(p *Params) { p.Base = nil })
	forged := *base
	forged.sigs = slices.Clone(base.sigs)
	forged.sigs[3].flip(5)
	forged.init()
	try("a kept signature", z, func(p *Params) { p.Base = &forged })
}

func TestCompareManifests(t *testing.T) {
	ksk, zsk := kskAndZSK()
	parse := func(text string, change func(*Params)) *Manifest {
		p := testParams(ksk, zsk)
		change(&p)
		m, err := ParseManifest(bytes.NewReader(mustPlan(t, mustParse(t, "example.", minimal+text), p).Manifest()))
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	a := parse("www A 192.0.2.1\n", func(*Params) {})
	b := parse("www A 192.0.2.2\nw TXT x\n", func(p *Params) { p.Keys[1].State = RetireActive })
	var got strings.Builder
	for _, d := range CompareManifests(a, b, 0) {
		got.WriteString(d.String() + " (" + d.Why + ")\n")
	}
	for _, want := range []string{"www.example. A with key", "(the records differ)", "w.example. TXT with key", "here not to be signed, there it is",
		"key zsk: here ZSK, algorithm 13, tag", "active", "content: here", "compare them with diff --content"} {
		if !strings.Contains(got.String(), want) {
			t.Errorf("%q is missing in\n%s", want, got.String())
		}
	}
	b.Keys = append(b.Keys[1:], a.Keys[0])
	a.Keys = append(a.Keys, newTestKey("third", 256, false).Key)
	got.Reset()
	for _, d := range CompareManifests(a, b, 0) {
		got.WriteString(d.String() + "\n")
	}
	if !strings.Contains(got.String(), "key third: here ZSK") {
		t.Errorf("the third key is missing in\n%s", got.String())
	}
	b.Keys[0], a.Keys = a.Keys[1], a.Keys[:2]
	if d := CompareManifests(a, b, 0); !slices.ContainsFunc(d, func(d ManifestDifference) bool { return d.String() == "order of keys: here [ksk zsk], there [zsk ksk]" }) {
		t.Errorf("the order of keys is missing in %v", d)
	}
	if n := len(CompareManifests(a, b, 2)); n != 2 {
		t.Errorf("%d lines, asked for 2", n)
	}
}

func TestParseManifestRefuses(t *testing.T) {
	ksk, zsk := kskAndZSK()
	good := string(mustPlan(t, mustParse(t, "example.", minimal), testParams(ksk, zsk)).Manifest())
	lines := strings.SplitAfter(good, "\n")
	for want, text := range map[string]string{
		"line 1: version \"2\"":        strings.Replace(good, "manifest 1", "manifest 2", 1),
		"line 1: expected":             "x" + good,
		"unexpected EOF":               strings.TrimSuffix(good, "end\n"),
		"data after the end":           good + "\n",
		"line 4: \"01\"":               strings.Replace(good, "serial 2026112002", "serial 01", 1),
		"not in canonical form":        strings.Replace(good, "zone example.", "zone EXAMPLE.", 1),
		"out of order":                 strings.Replace(good, lines[17]+lines[18], lines[18]+lines[17], 1),
		"expected \"item\"":            strings.Replace(good, lines[18], "", 1),
		"is not a SHA-256 digest":      strings.Replace(good, "content ", "content AB", 1),
		"expected \"zone\" and 1 more": strings.Replace(good, "zone example.", "zone example. x", 1),
		"line too long":                strings.Replace(good, "zone example.", "zone "+strings.Repeat("x", 10000), 1),
	} {
		if text == good {
			t.Errorf("%s: nothing changed", want)
		}
		if _, err := ParseManifest(strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, expected %q", err, want)
		}
	}
}

func FuzzParseManifest(f *testing.F) {
	ksk, zsk := kskAndZSK()
	for _, d := range denials {
		p := testParams(ksk, zsk)
		p.Denial = d
		f.Add(mustPlan(f, mustParse(f, "example.", minimal+"sp\\032ace TYPE300 \\# 0\n"), p).Manifest())
	}
	p := testParams(ksk, zsk)
	p.ZONEMD = ZONEMDSHA384
	first, second, _ := signWithZONEMD(f, mustParse(f, "example.", minimal), p, ksk, zsk)
	f.Add(first.Manifest())
	f.Add(second.Manifest())
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := ParseManifest(bytes.NewReader(b))
		if err == nil && !bytes.Equal(m.Bytes(), b) {
			t.Fatalf("accepted, but not canonical:\n%q\n%q", b, m.Bytes())
		}
	})
}

// Algorithm 15 and a single key for everything, seen by others too.
func TestEd25519(t *testing.T) {
	priv := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, 32))
	key := Key{ID: "csk", Flags: 257, CSK: true, Algorithm: ED25519, PublicKey: priv.Public().(ed25519.PublicKey), State: Active}
	z := readZone(t, "features.zone")
	p := testParams()
	p.Keys, p.Denial.NSEC3, p.Time = []Key{key}, true, uint32(time.Now().Unix())
	plan := mustPlan(t, z, p)
	sigs := make([][64]byte, plan.Len())
	for i := range sigs {
		sigs[i] = [64]byte(ed25519.Sign(priv, plan.Message(i)))
	}
	sz, err := plan.Assemble(sigs)
	if err != nil {
		t.Fatal(err)
	}
	wantNoFaults(t, Verify(sz, VerifyOptions{Keys: p.Keys, At: p.Time}))
	dir := t.TempDir()
	writeFile(t, dir, "signed", zoneText(t, sz))
	run(t, dir, "dnssec-verify", "-z", "-o", z.Apex().String(), "signed")
	run(t, dir, "kzonecheck", "-d", "on", "-t", fmt.Sprint(p.Time), "-o", z.Apex().String(), "signed")
}

// A zone may hold a name that is the hash of another, delegated even: its NSEC3
// is signed all the same, and the delegation is not.
func TestNameThatIsAHash(t *testing.T) {
	ksk, zsk := kskAndZSK()
	p := testParams(ksk, zsk)
	p.Denial.NSEC3, p.Time = true, uint32(time.Now().Unix())
	hash := func(of string) string {
		h, _ := hashName(name(t, of), p.Denial, nil)
		return hashText(h)
	}
	z := mustParse(t, "example.", minimal+"ns A 192.0.2.9\nwww A 192.0.2.1\nmail A 192.0.2.2\n"+hash("www.example")+" NS ns\n"+hash("mail.example")+" TXT x\n")
	sz := signPlan(t, mustPlan(t, z, p), ksk, zsk)
	wantNoFaults(t, Verify(sz, VerifyOptions{Keys: p.Keys, At: p.Time}))
	if back, err := Load(bytes.NewReader(save(t, sz))); err != nil || back.Content().ContentDigest() != z.ContentDigest() {
		t.Error(err)
	}
	dir := t.TempDir()
	writeFile(t, dir, "signed", zoneText(t, sz))
	run(t, dir, "dnssec-verify", "-o", "example.", "signed")
}

// Every type that miekg/dns knows, and types that nobody knows, can stand in a
// bit map that other programs read.
func TestBitMapOfAllTypes(t *testing.T) {
	var types []uint16
	for n := range 1 << 16 {
		if typ := uint16(n); checkType(typ) == nil && n%97 == 0 || dns.TypeToString[typ] != "" && checkType(typ) == nil {
			types = append(types, typ)
		}
	}
	b := appendBitmap(nil, types)
	back, ok := parseBitmap(nil, string(b))
	if !ok || !slices.Equal(back, types) {
		t.Fatal("the bit map changed")
	}
	rdata := append([]byte{0}, b...)
	if text, ok := appendRDataFields(nil, dns.TypeNSEC, string(rdata)); !ok {
		t.Fatal("not written")
	} else if again, err := appendAnyRDataText(nil, dns.TypeNSEC, string(text)); err != nil || !bytes.Equal(again, rdata) {
		t.Fatalf("%v", err)
	}
	for _, bad := range []string{"\x00", "\x00\x00", "\x00\x01\x00", "\x00\x21" + strings.Repeat("x", 33), "\x01\x01\x40\x00\x01\x40", "\x00\x02\x40"} {
		if _, ok := parseBitmap(nil, bad); ok {
			t.Errorf("%x accepted", bad)
		}
	}
}

// Whatever the zone, what the plan makes is what Verify, which decides on its
// own, expects.
func TestRandomZonesVerify(t *testing.T) {
	ksk, zsk := kskAndZSK()
	data := map[string]string{"A": "192.0.2.1", "TXT": "x", "NS": "ns.other.", "DS": "1 13 2 00", "MX": "10 m.other."}
	rapid.Check(t, func(rt *rapid.T) {
		b := NewBuilder("example.")
		for _, r := range []string{"SOA a. b. 1 2 3 4 5", "NS ns.other."} {
			typ, d, _ := strings.Cut(r, " ")
			if err := b.AddText("example.", 60, typ, d); err != nil {
				rt.Fatal(err)
			}
		}
		for range rapid.IntRange(0, 12).Draw(rt, "records") {
			owner := rapid.StringMatching(`[ab*](\.[ab*]){0,3}`).Draw(rt, "owner")
			typ := rapid.SampledFrom([]string{"A", "TXT", "NS", "NS", "DS", "MX"}).Draw(rt, "type")
			if err := b.AddText(owner+".example.", 60, typ, data[typ]); err != nil {
				rt.Fatal(err)
			}
		}
		z, err := b.Zone()
		if err != nil {
			rt.Fatal(err)
		}
		p := testParams(ksk, zsk)
		p.Denial = denials[rapid.SampledFrom([]string{"nsec", "nsec3", "nsec3-salted", "opt-out"}).Draw(rt, "denial")]
		plan, err := NewPlan(z, p)
		if err != nil {
			rt.Fatal(err)
		}
		sz, err := plan.Assemble(make([][64]byte, plan.Len()))
		if err != nil {
			rt.Fatal(err)
		}
		for _, f := range Verify(sz, VerifyOptions{Keys: p.Keys, At: testTime, Proven: func(Check) bool { return true }}) {
			rt.Error(f)
		}
	})
}
