package dnssec

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

const minimal = "$TTL 3600\n@ SOA ns.example. host.example. 7 2 3 4 300\n@ NS ns.example.\n"

func TestZoneRefuses(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"no SOA", "$TTL 1\n@ NS ns.example.\n", "example. SOA: missing"},
		{"no NS", "$TTL 1\n@ SOA a. b. 1 2 3 4 5\n", "zone: example. NS: missing"},
		{"two SOAs", minimal + "@ SOA a. b. 1 2 3 4 5\n", "2 records, expected exactly one"},
		{"SOA below", minimal + "x SOA a. b. 1 2 3 4 5\n", "x.example. SOA: not at the apex"},
		{"out of zone", minimal + "other.test. A 192.0.2.1\n", "zone:4: other.test. A: out of zone example."},
		{"CNAME and other", minimal + "x CNAME y\nx TXT a\n", "zone:4: x.example. CNAME: beside other data (TXT)"},
		{"two CNAMEs", minimal + "x CNAME y\nx CNAME z\n", "x.example. CNAME: 2 records"},
		{"apex CNAME", minimal + "@ CNAME y\n", "zone:4: example. CNAME: at the apex"},
		{"apex DS", minimal + "@ DS 1 13 2 00\n", "example. DS: at the apex"},
		{"below DNAME", minimal + "d DNAME y\nx.d A 192.0.2.1\n", "x.d.example. A: below the DNAME of d.example."},
		{"two DNAMEs", minimal + "d DNAME y\nd DNAME z\n", "d.example. DNAME: 2 records"},
		{"no records", "; nothing\n", "zone: zone example. has no records"},
		{"syntax", minimal + "x A 192.0.2.300\n", "zone:4: bad A"},
		{"class", minimal + "x CH TXT a\n", "class CH"},
		{"too large", minimal + "$GENERATE 1-5000 big A 10.0.${0}.1 \n", "bad A"},
		{"meta type", minimal + "x TYPE255 \\# 0\n", "cannot be in a zone"},
		{"include", minimal + "$INCLUDE /etc/passwd\n", "not allowed"},
		{"line after generate", minimal + "$GENERATE 1-100 n$ A 192.0.2.1\nx A bad\n", "zone:5: bad A"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := ParseZone(strings.NewReader(c.text), "example.", "")
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v\nexpected %q", err, c.want)
			}
		})
	}
}

// A fault of syntax names line, record and what was expected, however long the
// text is that the parser makes of it.
func TestSyntaxFaults(t *testing.T) {
	zeros := strings.Repeat("\x00", 2<<20)
	for _, c := range []struct{ text, want string }{
		{"x A 192.0.2.300\n", `zone:4: bad A A: "192.0.2.300", in "x A 192.0.2.300"`},
		{"x XX 1\r\n", `zone:4: expected a TTL, a class or a type: "XX", in "x XX 1"`},
		{"x A\n", "zone:4: x.example. A: rdata has 0 bytes, expected 4"},
		{"x A\ny A 192.0.2.1\n", `zone:4: unexpected newline, in "x A"`},
		{"x A\n\n\ny A 192.0.2.1\n", `zone:4: unexpected newline, in "x A"`},
		{"x A\n$GENERATE 1-2 y$ A 192.0.2.$\n", `zone:4: unexpected newline, in "x A"`},
		{"$GENERATE 1-2 x$ A\n", `zone:4: unexpected newline, in "x1 A"`},
		{"$GENERATE 255-300 x$ A 192.0.2.$\n", `zone:4: bad A A: "192.0.2.256", in "x256 A 192.0.2.256"`},
		{"x TXT \"open\ny A 192.0.2.1\nz A 192.0.2.1\n", `zone:4: bad TXT Txt, in "x TXT \"open"`},
		{"x TXT (\n a\n b )\ny SRV (\n 1 1\n a . )\n", `zone:9: bad SRV Port: "a", in " a . )"`},
		{zeros, "zone:4: a record of more than 1048576 characters"},
		{"x TXT \"open\n" + strings.Repeat("y A 192.0.2.1\n", 1<<17), "zone:4: "},
		{zeros[:1<<19] + " A 192.0.2.1\n", `zone:4: bad owner name: "` + strings.Repeat(`\x00`, 30) + `...", in "\x00`},
	} {
		_, err := ParseZone(strings.NewReader(minimal+c.text), "example.", "")
		if err == nil || !strings.HasPrefix(err.Error(), c.want) && !strings.HasSuffix(err.Error(), c.want) {
			t.Errorf("%.200v\nexpected %s", err, c.want)
		} else if len(err.Error()) > 1000 {
			t.Errorf("an error of %d characters", len(err.Error()))
		}
	}
	comments := strings.Repeat("; a comment of a zone file\n", 1<<16)
	if _, err := ParseZone(strings.NewReader(minimal+comments+"x A 192.0.2.1\n"), "example.", ""); err != nil {
		t.Errorf("many comments: %v", err)
	}
}

func TestRRsetTooLarge(t *testing.T) {
	text := minimal + "$GENERATE 1-6000 big TXT a$\n"
	_, err := ParseZone(strings.NewReader(text), "example.", "")
	if err == nil || !strings.Contains(err.Error(), "zone:4: big.example. TXT: the RRset does not fit one DNS message: 6000 records") {
		t.Error(err)
	}
}

// An RRset may be as large as one message is that carries it with its RRSIG,
// and not a byte larger.
func TestLargestRRset(t *testing.T) {
	ksk, zsk := kskAndZSK()
	p := testParams(ksk, zsk)
	p.Time = uint32(time.Now().Unix()) // dnssec-verify takes no time but the clock's
	zone := func(last int) *Zone {
		var b strings.Builder
		b.WriteString(minimal)
		for i := range 255 {
			fmt.Fprintf(&b, "big TXT \"%03d%s\"\n", i, strings.Repeat("x", 240))
		}
		fmt.Fprintf(&b, "big TXT \"y%s\"\n", strings.Repeat("x", last))
		return mustParse(t, "example.", b.String())
	}
	// 16 and the owner before the answer; then 256 TXTs, each of 12 and a byte
	// of length; then the RRSIG.
	last := 65535 - (16 + 13) - 255*(13+243) - (13 + 1) - (12 + 18 + 9 + 64)
	sz := signPlan(t, mustPlan(t, zone(last), p), ksk, zsk)
	set, ok := sz.find("\x03big\x07example\x00", dns.TypeTXT)
	if !ok {
		t.Fatal("not there")
	}
	m := new(dns.Msg)
	m.SetQuestion("big.example.", dns.TypeTXT)
	m.Compress = true
	zp := dns.NewZoneParser(strings.NewReader(zoneText(t, sz)), ".", "")
	for rr, ok := zp.Next(); ok; rr, ok = zp.Next() {
		if sig, isSig := rr.(*dns.RRSIG); rr.Header().Name == "big.example." && (rr.Header().Rrtype == dns.TypeTXT || isSig && sig.TypeCovered == dns.TypeTXT) {
			m.Answer = append(m.Answer, rr)
		}
	}
	if b, err := m.Pack(); err != nil || len(b) != 65535 || len(m.Answer) != set.Len()+1 {
		t.Errorf("a message of %d bytes with %d records, %v", len(b), len(m.Answer), err)
	}
	dir := t.TempDir()
	writeFile(t, dir, "signed", zoneText(t, sz))
	run(t, dir, "dnssec-verify", "-o", "example.", "signed")
	// ldns-verify-zone and kzonecheck cannot verify one so large: see docs/zones.md.

	_, err := NewPlan(zone(last+1), p)
	if !errors.Is(err, ErrTooLarge) || !strings.Contains(err.Error(), "big.example. TXT: ") || !strings.Contains(err.Error(), "65536") {
		t.Errorf("one byte more: %v", err)
	}
}

// A zone that was signed elsewhere loses what signing makes, and says so.
func TestDropped(t *testing.T) {
	z := readZone(t, "features.zone")
	ksk, zsk := kskAndZSK()
	p := testParams(ksk, zsk)
	p.Denial.NSEC3, p.CDS, p.Serial = true, CDSAlways, z.Serial()
	text := zoneText(t, signPlan(t, mustPlan(t, z, p), ksk, zsk))
	back := mustParse(t, "features.example.", text)
	if back.ContentDigest() != z.ContentDigest() {
		t.Error(differences(t, z, back))
	}
	for typ, n := range map[uint16]int{dns.TypeDNSKEY: 2, dns.TypeCDS: 1, dns.TypeCDNSKEY: 1, dns.TypeNSEC3PARAM: 1} {
		if back.Dropped()[typ] != n {
			t.Errorf("%s: %d dropped, expected %d", TypeName(typ), back.Dropped()[typ], n)
		}
	}
	b := NewBuilder("example.")
	b.RefuseKeys = true
	if err := b.AddText("example.", 1, "CDS", "0 0 0 00"); err == nil {
		t.Error("CDS accepted")
	}
}

// TTLs: the lowest of an RRset (RFC 2181, section 5.2); $TTL holds in
// $GENERATE and $INCLUDE too.
func TestTTLs(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, dir, "inc", "i A 192.0.2.1\n$GENERATE 0-4/2 g${1,3,x} A 192.0.2.$\n; $GENERATE 1-2 c$ A 192.0.2.1\nt TXT ( \"\n$GENERATE 1-2 no$ A 192.0.2.1\"\n)\n")
	path := writeFile(t, dir, "zone", "$TTL 1234\n@ SOA a. b. 1 2 3 4 5\n@ NS ns.example.\nx 600 A 192.0.2.1\nx 60 A 192.0.2.2\n$INCLUDE inc sub\n")
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := ParseZone(f, "example.", path)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]uint32{}
	for s := range z.RRsets() {
		got[s.Owner.String()] = s.TTL
	}
	want := map[string]uint32{"example.": 1234, "x.example.": 60, "i.sub.example.": 1234, "g001.sub.example.": 1234,
		"g003.sub.example.": 1234, "g005.sub.example.": 1234, "t.sub.example.": 1234}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %v\nexpected %v", got, want)
	}
	writeFile(t, dir, "inc", "ok A 192.0.2.1\n\nbad A 192.0.2\n")
	if _, err := f.Seek(0, 0); err != nil {
		t.Fatal(err)
	}
	_, err = ParseZone(f, "example.", path)
	if want := filepath.Join(dir, "inc") + ":3: bad A"; err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("%v, expected %q", err, want)
	}
}

// What $GENERATE writes is what BIND writes.
func TestGenerateAsBIND(t *testing.T) {
	text := minimal + "ns A 192.0.2.53\n$GENERATE 0-2 a$$b$ TXT q$\n$GENERATE 0-2/2 c\\$d$ A 192.0.2.${-0}\n$GENERATE 250-257 ${0,7,n} PTR h${0,3,N}.\n"
	for _, base := range []string{"d", "o", "x", "X", "n", "N"} {
		for width := range 10 {
			for _, at := range []int{0, 1, 15, 16, 250, 43981, 99999} {
				text += fmt.Sprintf("$GENERATE %d-%d t TXT %s.%d.${0,%d,%[3]s}.${3,%[4]d,%[3]s}\n", at, at+1, base, width, width)
			}
		}
	}
	dir := t.TempDir()
	writeFile(t, dir, "zone", text)
	out := run(t, dir, "named-compilezone", "-q", "-i", "none", "-k", "ignore", "-o", "-", "example.", "zone")
	z, bind := mustParse(t, "example.", text), mustParse(t, "example.", out)
	if z.ContentDigest() != bind.ContentDigest() {
		t.Errorf("%s\nBIND: %s", unsignedText(t, z), unsignedText(t, bind))
	}
	for _, bad := range []string{"0-1 x${-1,2,n} A 192.0.2.1", "0-1 x${0,2,b} A 192.0.2.1", "0-65536 x$ A 192.0.2.1", "0-1 x${0,1,n,d} A 192.0.2.1"} {
		if _, err := ParseZone(strings.NewReader(minimal+"$GENERATE "+bad+"\n"), "example.", ""); err == nil || !strings.Contains(err.Error(), "$GENERATE") {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

// The order of records, and the way they come in, changes nothing.
func TestOrderOfInputDoesNotMatter(t *testing.T) {
	z := readZone(t, "features.zone")
	ksk, zsk := kskAndZSK()
	p := testParams(ksk, zsk)
	want := mustPlan(t, z, p).Digest()
	type text struct{ owner, typ, data string }
	var records []text
	var ttls []uint32
	for s := range z.RRsets() {
		for d := range s.RData() {
			typ, data := typeAndRData(s.Type, d)
			records = append(records, text{s.Owner.String(), typ, data})
			ttls = append(ttls, s.TTL)
		}
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for range 5 {
		b := NewBuilder("FEATURES.example")
		for _, i := range rng.Perm(len(records)) {
			r := records[i]
			if rng.IntN(2) == 0 {
				r.owner = strings.ToUpper(r.owner)
			}
			if rng.IntN(2) == 0 {
				rr, err := dns.NewRR(fmt.Sprintf("%s %d IN %s %s", r.owner, ttls[i], r.typ, r.data))
				if err != nil {
					t.Fatal(err)
				}
				if err := b.AddRR(rr); err != nil {
					t.Fatal(err)
				}
			}
			if err := b.AddText(r.owner, ttls[i], r.typ, r.data); err != nil {
				t.Fatal(err)
			}
		}
		shuffled, err := b.Zone()
		if err != nil {
			t.Fatal(err)
		}
		if mustPlan(t, shuffled, p).Digest() != want {
			t.Fatal(differences(t, z, shuffled))
		}
	}
}

func TestDiff(t *testing.T) {
	a := mustParse(t, "example.", minimal+"www A 192.0.2.1\nwww A 192.0.2.2\nold TXT gone\nttl 60 A 192.0.2.1\n")
	b := mustParse(t, "example.", strings.Replace(minimal, " 7 ", " 8 ", 1)+"www A 192.0.2.1\nwww A 192.0.2.3\nnew TXT come\nttl 61 A 192.0.2.1\n")
	var got []string
	for _, d := range differences(t, a, b) {
		got = append(got, string(d.Kind)+" "+d.String())
	}
	want := `serial example. SOA differ: here 7, there 8
content new.example. TXT differ: here nothing, there 3600 "come"
content old.example. TXT differ: here 3600 "gone", there nothing
content ttl.example. A differ: here 60 192.0.2.1, there 61 192.0.2.1
content www.example. A differ: here 3600 192.0.2.2, there 3600 192.0.2.3`
	if strings.Join(got, "\n") != want {
		t.Errorf("got\n%s\nexpected\n%s", strings.Join(got, "\n"), want)
	}
	c := mustParse(t, "example.", strings.Replace(minimal, " 7 ", " 8 ", 1))
	if d := mustParse(t, "example.", minimal); d.ContentDigest() != c.ContentDigest() {
		t.Error("the serial counts as content")
	}
}

func TestNextSerial(t *testing.T) {
	u := func(v uint32) *uint32 { return &v }
	for _, c := range []struct {
		policy       string
		source       uint32
		base         *uint32
		want, atTime uint32
	}{
		{"keep", 5, nil, 5, 0},
		{"keep", 5, u(4), 5, 0},
		{"keep", 5, u(5), 6, 0},
		{"increment", 5, nil, 5, 0},
		{"increment", 5, u(9), 10, 0},
		{"increment", 5, u(1<<32 - 1), 1, 0},
		{"unixtime", 5, u(9), testTime, testTime},
		{"unixtime", 5, u(testTime), testTime + 1, testTime},
		{"unixtime", 5, u(2026112001), 2026112002, testTime},
		{"dateserial", 5, nil, 2026112000, testTime},
		{"dateserial", 5, u(2026112000), 2026112001, testTime},
		{"dateserial", 5, u(2026111955), 2026112000, testTime},
		{"dateserial", 5, u(2026112000 + 1<<31), 2026112000 + 1<<31 + 1, testTime},
	} {
		got, err := NextSerial(c.policy, c.source, c.base, c.atTime)
		if err != nil || got != c.want {
			t.Errorf("%s: %d, %v, expected %d", c.policy, got, err, c.want)
		}
	}
	if _, err := NextSerial("random", 1, nil, 1); err == nil {
		t.Error("unknown policy accepted")
	}
}

func FuzzParseZone(f *testing.F) {
	for file := range zones {
		b, err := os.ReadFile(filepath.Join(zonesDir, file))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(b))
	}
	f.Add(minimal)
	f.Add(minimal + "$GENERATE 1-3 a${1,2,x} A 192.0.2.$\nx TYPE1 \\# 4 01020304\n")
	f.Fuzz(func(t *testing.T, text string) {
		z, err := ParseZone(strings.NewReader(text), "example.", "")
		if err != nil {
			return
		}
		b := NewBuilder("example.")
		for s := range z.RRsets() {
			for d := range s.RData() {
				typ, data := typeAndRData(s.Type, d)
				if err := b.AddText(s.Owner.String(), s.TTL, typ, data); err != nil {
					t.Fatalf("what was read cannot be read again: %v", err)
				}
			}
		}
		back, err := b.Zone()
		if err != nil {
			t.Fatal(err)
		}
		if back.ContentDigest() != z.ContentDigest() {
			t.Fatal(differences(t, z, back))
		}
	})
}

func FuzzAddText(f *testing.F) {
	f.Add("www.example.", "A", "192.0.2.1")
	f.Add("www.example.", "TXT", `"a" "b \" c" d`)
	f.Add("www.example.", "MX", `10 mail.example.`)
	f.Add("www.example.", "TYPE65280", `\# 2 abcd`)
	f.Add("www.example.", "NAPTR", `1 1 "s" "x" "" Www.Example.`)
	f.Add("www.example.", "HTTPS", `1 . alpn="h2"`)
	f.Add("www.example.", "NS", `a b`)
	f.Fuzz(func(t *testing.T, owner, typ, data string) {
		b := NewBuilder("example.")
		if b.AddText(owner, 60, typ, data) != nil || len(b.records) == 0 {
			return
		}
		if len(b.records) > 1 {
			t.Fatalf("%d records from one", len(b.records))
		}
		r := b.records[0]
		typ, text := typeAndRData(r.typ, r.rdata)
		if err := b.AddText(r.owner.String(), 60, typ, text); err != nil {
			t.Fatal(err)
		}
		if b.records[1] != r {
			t.Fatalf("%x became %x", r.rdata, b.records[1].rdata)
		}
	})
}

// A zone that was written is read back as it was, serial included.
func TestZoneWriteTo(t *testing.T) {
	for file := range zones {
		z := readZone(t, file)
		var text strings.Builder
		n, err := z.WriteTo(&text)
		if err != nil || int(n) != text.Len() {
			t.Errorf("%s: %d of %d bytes, %v", file, n, text.Len(), err)
		}
		again, err := ParseZone(strings.NewReader(text.String()), zones[file], "")
		if err != nil || again.ContentDigest() != z.ContentDigest() || again.Serial() != z.Serial() || again.Len() != z.Len() {
			t.Errorf("%s changed: %v", file, err)
		}
	}
}
