package dnssec

import (
	"cmp"
	"encoding/base64"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

var tools = flag.Bool("tools", false, "print which other verifiers notice each damage")

// whole is the zone that is damaged: `verified` and what its damages need.
const whole = verified + `ns A 192.0.2.53
alias CNAME www
dname DNAME target.example.net.
two A 192.0.2.21
two A 192.0.2.22
deep.insec TXT occluded
sec.ent NS ns.sec
sec.ent DS 2 13 2 0011223344556677001122334455667700112233445566770011223344556677
`

// wreck is a signed zone as text, a record a line, on its way to ruin. What is
// signed anew is signed with the true keys.
type wreck struct {
	t         *testing.T
	lines     []string
	now       uint32
	ksk, zsk  testKey
	anchor    testKey // that verification trusts
	warn      uint32
	denial    Denial
	stranger  testKey
	algorithm uint8 // to sign as, where not the key's own
}

// newWreck signs the zone, with a digest where that is wanted.
func newWreck(t *testing.T, d string, digest bool) *wreck {
	t.Helper()
	w := &wreck{t: t, now: uint32(time.Now().Unix()), denial: denials[d], stranger: newTestKey("stranger", 256, false)}
	w.ksk, w.zsk = kskAndZSK()
	w.anchor = w.ksk
	p := testParams(w.ksk, w.zsk)
	p.Denial, p.Time, p.CDS = w.denial, w.now, CDSAlways
	z := mustParse(t, "example.", whole)
	var sz *SignedZone
	if digest {
		p.ZONEMD = ZONEMDSHA384
		_, _, sz = signWithZONEMD(t, z, p, w.ksk, w.zsk)
	} else {
		sz = signPlan(t, mustPlan(t, z, p), w.ksk, w.zsk)
	}
	w.lines = strings.Split(strings.TrimSuffix(strings.ReplaceAll(zoneText(t, sz), "\tRRSIG\t", "\tRRSIG "), "\n"), "\n")
	return w
}

// where are the lines of an RRset, or for "RRSIG A" of the RRSIGs over it.
func (w *wreck) where(owner, typ string) []int {
	w.t.Helper()
	var at []int
	for i, line := range w.lines {
		f := strings.Fields(line)
		t := f[3]
		if t == "RRSIG" {
			t += " " + f[4]
		}
		if f[0] == owner && t == typ {
			at = append(at, i)
		}
	}
	if len(at) == 0 {
		w.t.Fatalf("%s %s is not in the zone", owner, typ)
	}
	return at
}

// remove removes an RRset's lines.
func (w *wreck) remove(owner, typ string) {
	w.t.Helper()
	for _, i := range slices.Backward(w.where(owner, typ)) {
		w.lines = slices.Delete(w.lines, i, i+1)
	}
}

// removeAll removes an RRset and its RRSIGs.
func (w *wreck) removeAll(owner, typ string) {
	w.t.Helper()
	w.remove(owner, "RRSIG "+typ)
	w.remove(owner, typ)
}

func (w *wreck) removeType(typ string) {
	w.lines = slices.DeleteFunc(w.lines, func(line string) bool {
		f := strings.Fields(line)
		return f[3] == typ || f[3] == "RRSIG" && f[4] == typ
	})
}

func (w *wreck) add(lines ...string) { w.lines = append(w.lines, lines...) }

// swap replaces text in each line of an RRset.
func (w *wreck) swap(owner, typ, old, text string) {
	w.t.Helper()
	for _, i := range w.where(owner, typ) {
		if !strings.Contains(w.lines[i], old) {
			w.t.Fatalf("%q is not in %q", old, w.lines[i])
		}
		w.lines[i] = strings.Replace(w.lines[i], old, text, 1)
	}
}

// set replaces an RRset by one record and signs it.
func (w *wreck) set(owner string, ttl int, typ, rdata string, keys ...testKey) {
	for i := len(w.lines) - 1; i >= 0; i-- {
		f := strings.Fields(w.lines[i])
		if f[0] == owner && f[3] == typ {
			w.lines = slices.Delete(w.lines, i, i+1)
		}
	}
	w.add(fmt.Sprintf("%s\t%d\tIN\t%s %s", owner, ttl, typ, rdata))
	w.sign(owner, typ, nil, keys...)
}

// sign replaces the RRSIGs over an RRset, by ones that edit has changed before
// they were signed.
func (w *wreck) sign(owner, typ string, edit func(g *rrsig), keys ...testKey) {
	w.t.Helper()
	w.lines = slices.DeleteFunc(w.lines, func(line string) bool {
		f := strings.Fields(line)
		return f[0] == owner && f[3] == "RRSIG" && f[4] == typ
	})
	number, err := parseType(typ)
	if err != nil {
		w.t.Fatal(err)
	}
	z, err := w.read()
	if err != nil {
		w.t.Fatal(err)
	}
	s, ok := z.image().find(name(w.t, owner), number)
	if !ok {
		w.t.Fatalf("%s %s is not in the zone", owner, typ)
	}
	for _, k := range keys {
		g := rrsig{ttl: s.TTL, algorithm: cmp.Or(w.algorithm, k.Algorithm), labels: s.Owner.rrsigLabels(), keyTag: k.KeyTag(), original: s.TTL,
			inception: w.now - 3600, expiration: w.now + 10*86400, signer: z.apex}
		if edit != nil {
			edit(&g)
		}
		sig := k.sign(w.t, g.appendMessage(nil, s))
		w.add(fmt.Sprintf("%s\t%d\tIN\tRRSIG %s %d %d %d %s %s %d %s %s", owner, g.ttl, typ, g.algorithm, g.labels, g.original,
			appendTime(nil, g.expiration), appendTime(nil, g.inception), g.keyTag, g.signer, base64.StdEncoding.EncodeToString(sig[:])))
	}
}

// nsec3 is the owner of the NSEC3 of a name.
func (w *wreck) nsec3(of string) string {
	h, _ := hashName(name(w.t, of), w.denial, nil)
	return Name(hashOwner(h, name(w.t, "example."), nil)).String()
}

// change edits the rdata words of a one-record RRset and signs it.
func (w *wreck) change(owner, typ string, edit func(words []string) []string) {
	w.t.Helper()
	f := strings.Fields(w.lines[w.where(owner, typ)[0]])
	ttl, err := strconv.Atoi(f[1])
	if err != nil {
		w.t.Fatal(err)
	}
	w.set(owner, ttl, typ, strings.Join(edit(f[4:]), " "), w.zsk)
}

func (w *wreck) text() string { return strings.Join(w.lines, "\n") + "\n" }

func (w *wreck) read() (*ZoneFile, error) {
	return ReadZoneFile(strings.NewReader(w.text()), "example.", "")
}

func dnskey(k testKey, edit func(d []byte)) string {
	d := k.DNSKEY()
	edit(d)
	return fmt.Sprintf("%d %d %d %s", int(d[0])<<8|int(d[1]), d[2], d[3], base64.StdEncoding.EncodeToString(d[4:]))
}

func replaceWord(i int, word string) func([]string) []string {
	return func(words []string) []string { words[i] = word; return words }
}

func withoutWord(word string) func([]string) []string {
	return func(words []string) []string {
		return slices.DeleteFunc(words, func(w string) bool { return w == word })
	}
}

func withWord(word string) func([]string) []string {
	return func(words []string) []string { return append(words, word) }
}

// damage is one way to break a zone.
type damage struct {
	name  string
	chain string // of denials
	do    func(w *wreck)
	want  FaultCode
}

var damages = []damage{
	// Signatures.
	{"a signature altered", "nsec", func(w *wreck) {
		i := w.where("www.example.", "RRSIG A")[0]
		w.lines[i] = w.lines[i][:len(w.lines[i])-8] + "AAAAAA=="
	}, RRSIGBogus},
	{"a record changed", "nsec3", func(w *wreck) { w.swap("www.example.", "A", "192.0.2.1", "192.0.2.9") }, RRSIGBogus},
	{"a record added", "nsec", func(w *wreck) { w.add("two.example.\t3600\tIN\tA 192.0.2.23") }, RRSIGBogus},
	{"a record taken away", "opt-out", func(w *wreck) {
		i := w.where("two.example.", "A")[0]
		w.lines = slices.Delete(w.lines, i, i+1)
	}, RRSIGBogus},
	{"the serial changed", "nsec", func(w *wreck) { w.swap("example.", "SOA", " 2026112002 ", " 2026112003 ") }, RRSIGBogus},
	{"the signature of another RRset", "nsec3", func(w *wreck) {
		w.lines[w.where("www.example.", "RRSIG A")[0]] = strings.Replace(w.lines[w.where("two.example.", "RRSIG A")[0]], "two.", "www.", 1)
	}, RRSIGBogus},
	{"a signature cut off", "nsec", func(w *wreck) {
		i := w.where("www.example.", "RRSIG A")[0]
		w.lines[i] = w.lines[i][:len(w.lines[i])-88] + "AAAA"
	}, RRSIGBogus},
	{"an RRset unsigned", "nsec3", func(w *wreck) { w.remove("www.example.", "RRSIG A") }, Unsigned},
	{"a DS unsigned", "opt-out", func(w *wreck) { w.remove("sec.example.", "RRSIG DS") }, Unsigned},
	{"an NSEC unsigned", "nsec", func(w *wreck) { w.remove("www.example.", "RRSIG NSEC") }, Unsigned},
	{"an NSEC3 unsigned", "nsec3", func(w *wreck) { w.remove(w.nsec3("www.example."), "RRSIG NSEC3") }, Unsigned},
	{"expired", "nsec", func(w *wreck) {
		w.sign("www.example.", "A", func(g *rrsig) { g.inception, g.expiration = w.now-7200, w.now-3600 }, w.zsk)
	}, RRSIGExpired},
	{"not valid yet", "nsec", func(w *wreck) {
		w.sign("www.example.", "A", func(g *rrsig) { g.inception = w.now + 7200 }, w.zsk)
	}, RRSIGNotYet},
	{"ends before it begins", "nsec3", func(w *wreck) {
		w.sign("www.example.", "A", func(g *rrsig) { g.inception, g.expiration = w.now+3600, w.now-3600 }, w.zsk)
	}, RRSIGTimes},
	{"expires soon", "nsec", func(w *wreck) {
		w.warn = 86400
		w.sign("www.example.", "A", func(g *rrsig) { g.expiration = w.now + 7200 }, w.zsk)
	}, RRSIGSoonExpired},
	{"too few labels", "nsec", func(w *wreck) { w.sign("www.example.", "A", func(g *rrsig) { g.labels-- }, w.zsk) }, RRSIGLabels},
	{"too many labels", "nsec3", func(w *wreck) { w.sign("www.example.", "A", func(g *rrsig) { g.labels++ }, w.zsk) }, RRSIGLabels},
	{"a wildcard's label counted", "nsec", func(w *wreck) { w.sign("*.w.example.", "TXT", func(g *rrsig) { g.labels++ }, w.zsk) }, RRSIGLabels},
	{"another original TTL", "nsec", func(w *wreck) { w.sign("www.example.", "A", func(g *rrsig) { g.original = 60 }, w.zsk) }, RRSIGOriginalTTL},
	{"the TTL changed", "opt-out", func(w *wreck) { w.swap("www.example.", "A", "\t3600\t", "\t60\t") }, RRSIGOriginalTTL},
	{"another TTL of the RRSIG", "nsec", func(w *wreck) { w.sign("www.example.", "A", func(g *rrsig) { g.ttl = 60 }, w.zsk) }, RRSIGTTL},
	{"another signer's name", "nsec", func(w *wreck) { w.sign("www.example.", "A", func(g *rrsig) { g.signer = name(w.t, "net.") }, w.zsk) }, RRSIGSigner},
	{"signed by a stranger", "nsec3", func(w *wreck) { w.sign("www.example.", "A", nil, w.stranger) }, SignedByStranger},
	{"signed by a stranger as well", "nsec", func(w *wreck) { w.sign("www.example.", "A", nil, w.zsk, w.stranger) }, SignedByStranger},
	{"another key tag", "nsec", func(w *wreck) { w.sign("www.example.", "A", func(g *rrsig) { g.keyTag++ }, w.zsk) }, SignedByStranger},
	{"another algorithm number", "nsec", func(w *wreck) { w.sign("www.example.", "A", func(g *rrsig) { g.algorithm = 15 }, w.zsk) }, AlgorithmMissing},
	{"glue signed", "nsec", func(w *wreck) { w.sign("ns.sec.example.", "A", nil, w.zsk) }, SignedGlue},
	{"a delegation signed", "nsec3", func(w *wreck) { w.sign("sec.example.", "NS", nil, w.zsk) }, SignedGlue},
	{"occluded data signed", "opt-out", func(w *wreck) { w.sign("deep.insec.example.", "TXT", nil, w.zsk) }, SignedGlue},
	{"a signature over nothing", "nsec", func(w *wreck) {
		w.add(strings.Replace(w.lines[w.where("www.example.", "RRSIG A")[0]], "RRSIG A", "RRSIG AAAA", 1))
	}, StrayRRSIG},
	{"a signature at no name", "nsec3", func(w *wreck) {
		w.add(strings.Replace(w.lines[w.where("www.example.", "RRSIG A")[0]], "www.", "none.", 1))
	}, StrayRRSIG},
	{"a signature over a signature", "nsec", func(w *wreck) {
		w.add(strings.Replace(w.lines[w.where("www.example.", "RRSIG A")[0]], "RRSIG A", "RRSIG RRSIG", 1))
	}, RRSIGOfRRSIG},

	// Keys.
	{"nothing signed", "nsec", func(w *wreck) {
		w.lines = slices.DeleteFunc(w.lines, func(l string) bool {
			t := strings.Fields(l)[3]
			return t == "RRSIG" || t == "NSEC" || t == "DNSKEY"
		})
	}, NotSigned},
	{"no DNSKEY", "nsec", func(w *wreck) { w.removeAll("example.", "DNSKEY") }, DNSKEYMissing},
	{"DNSKEY unsigned", "nsec", func(w *wreck) { w.remove("example.", "RRSIG DNSKEY") }, NotSelfSigned},
	{"DNSKEY signed by the ZSK alone", "nsec3", func(w *wreck) { w.sign("example.", "DNSKEY", nil, w.zsk) }, NotTrusted},
	{"a KSK that does not sign the keys", "nsec3", func(w *wreck) {
		w.anchor = testKey{}
		w.sign("example.", "DNSKEY", nil, w.zsk)
	}, NotSelfSigned},
	{"every key revoked", "nsec", func(w *wreck) {
		w.anchor = testKey{}
		ksk, zsk := w.ksk, w.zsk
		ksk.Flags |= 0x80
		zsk.Flags |= 0x80
		w.set("example.", 3600, "DNSKEY", dnskey(ksk, func([]byte) {}), ksk)
		w.add("example.\t3600\tIN\tDNSKEY " + dnskey(zsk, func([]byte) {}))
		w.sign("example.", "DNSKEY", nil, ksk, zsk)
	}, NotSelfSigned},
	{"not the trusted key", "nsec", func(w *wreck) { w.anchor = w.stranger }, NotTrusted},
	{"the ZSK not in DNSKEY", "nsec", func(w *wreck) {
		w.set("example.", 3600, "DNSKEY", dnskey(w.ksk, func([]byte) {}), w.ksk)
	}, SignedByStranger},
	{"a key without the zone flag", "nsec", func(w *wreck) {
		w.add("example.\t3600\tIN\tDNSKEY " + dnskey(w.stranger, func(d []byte) { d[0] = 0 }))
		w.sign("example.", "DNSKEY", nil, w.ksk)
	}, DNSKEYFlags},
	{"a key of another protocol", "nsec3", func(w *wreck) {
		w.add("example.\t3600\tIN\tDNSKEY " + dnskey(w.stranger, func(d []byte) { d[2] = 4 }))
		w.sign("example.", "DNSKEY", nil, w.ksk)
	}, DNSKEYFlags},
	{"a key off the curve", "nsec", func(w *wreck) {
		w.add("example.\t3600\tIN\tDNSKEY " + dnskey(w.stranger, func(d []byte) { d[20] ^= 1 }))
		w.sign("example.", "DNSKEY", nil, w.ksk)
	}, DNSKEYMalformed},
	{"a key of an unknown algorithm", "nsec", func(w *wreck) {
		w.add("example.\t3600\tIN\tDNSKEY " + dnskey(w.stranger, func(d []byte) { d[3] = 17 }))
		w.sign("example.", "DNSKEY", nil, w.ksk)
	}, UnknownAlgorithm},
	{"a second algorithm that signs nothing", "nsec3", func(w *wreck) {
		w.add("example.\t3600\tIN\tDNSKEY 256 3 15 " + base64.StdEncoding.EncodeToString(make([]byte, 32)))
		w.sign("example.", "DNSKEY", nil, w.ksk)
	}, AlgorithmMissing},
	{"two keys with one tag", "nsec", func(w *wreck) {
		k := make([]byte, 32)
		k[0], k[4] = 1, 2
		w.add("example.\t3600\tIN\tDNSKEY 256 3 15 " + base64.StdEncoding.EncodeToString(k))
		k[0], k[4] = 2, 1
		w.add("example.\t3600\tIN\tDNSKEY 256 3 15 " + base64.StdEncoding.EncodeToString(k))
		w.sign("example.", "DNSKEY", nil, w.ksk)
	}, KeyTagShared},
	{"a revoked key that does not sign the keys", "nsec", func(w *wreck) {
		w.add("example.\t3600\tIN\tDNSKEY " + dnskey(w.stranger, func(d []byte) { d[1] |= 0x80 }))
		w.sign("example.", "DNSKEY", nil, w.ksk)
	}, RevokedUnsigned},
	{"data signed by a revoked key", "nsec3", func(w *wreck) {
		revoked := w.stranger
		revoked.Flags |= 0x80
		w.add("example.\t3600\tIN\tDNSKEY " + dnskey(revoked, func([]byte) {}))
		w.sign("example.", "DNSKEY", nil, w.ksk, revoked)
		w.sign("www.example.", "A", nil, w.zsk, revoked)
	}, SignedByRevoked},
	{"CDS of another key", "nsec", func(w *wreck) {
		w.change("example.", "CDS", func(f []string) []string { f[3] = strings.Repeat("00", 32); return f })
	}, CDSNoKey},
	{"CDNSKEY of another key", "nsec3", func(w *wreck) {
		w.set("example.", 3600, "CDNSKEY", dnskey(w.stranger, func([]byte) {}), w.ksk)
	}, CDSNoKey},

	// NSEC.
	{"an NSEC missing", "nsec", func(w *wreck) { w.removeAll("www.example.", "NSEC") }, NSECMissing},
	{"no NSEC at all", "nsec", func(w *wreck) { w.removeType("NSEC") }, NSECMissing},
	{"a name that is not in the chain", "nsec", func(w *wreck) { w.set("new.example.", 3600, "A", "192.0.2.77", w.zsk) }, NSECMissing},
	{"NSEC: an overlap", "nsec", func(w *wreck) { w.change("two.example.", "NSEC", replaceWord(0, "x.y.z.example.")) }, NSECNext},
	{"NSEC: a gap", "nsec", func(w *wreck) { w.change("*.w.example.", "NSEC", replaceWord(0, "wwv.example.")) }, NSECNext},
	{"NSEC: no end", "nsec", func(w *wreck) { w.change("x.y.z.example.", "NSEC", replaceWord(0, "zz.example.")) }, NSECNext},
	{"NSEC: a type missing", "nsec", func(w *wreck) { w.change("www.example.", "NSEC", withoutWord("A")) }, NSECBitmap},
	{"NSEC: a type too many", "nsec", func(w *wreck) { w.change("www.example.", "NSEC", withWord("TYPE65280")) }, NSECBitmap},
	{"NSEC: DS hidden", "nsec", func(w *wreck) { w.change("sec.example.", "NSEC", withoutWord("DS")) }, NSECBitmap},
	{"NSEC at glue", "nsec", func(w *wreck) { w.set("ns.sec.example.", 300, "NSEC", "two.example. A NSEC") }, NSECStray},
	{"NSEC: another TTL", "nsec", func(w *wreck) {
		w.set("www.example.", 900, "NSEC", "x.y.z.example. A RRSIG NSEC", w.zsk)
	}, DenialTTL},
	{"two NSEC at a name", "nsec", func(w *wreck) {
		w.add("www.example.\t300\tIN\tNSEC example. A RRSIG NSEC")
		w.sign("www.example.", "NSEC", nil, w.zsk)
	}, DenialSeveral},
	{"NSEC beside NSEC3", "nsec3", func(w *wreck) { w.set("www.example.", 300, "NSEC", "example. A RRSIG NSEC", w.zsk) }, DenialBoth},

	// NSEC3.
	{"an NSEC3 missing", "nsec3", func(w *wreck) { w.removeAll(w.nsec3("www.example."), "NSEC3") }, NSEC3Missing},
	{"no NSEC3 at all", "nsec3", func(w *wreck) { w.removeType("NSEC3") }, NSEC3Missing},
	{"a name that has no NSEC3", "nsec3", func(w *wreck) { w.set("new.example.", 3600, "A", "192.0.2.77", w.zsk) }, NSEC3Missing},
	{"a secure delegation that has no NSEC3", "opt-out", func(w *wreck) { w.removeAll(w.nsec3("sec.example."), "NSEC3") }, NSEC3Missing},
	{"an empty non-terminal that has no NSEC3", "nsec3", func(w *wreck) { w.removeAll(w.nsec3("y.z.example."), "NSEC3") }, NSEC3EmptyMissing},
	{"an empty non-terminal of a secure delegation", "opt-out", func(w *wreck) { w.removeAll(w.nsec3("ent.example."), "NSEC3") }, NSEC3EmptyMissing},
	{"an insecure delegation that has no NSEC3", "nsec3", func(w *wreck) { w.removeAll(w.nsec3("insec.example."), "NSEC3") }, NSEC3NoOptOut},
	{"opt-out flags cleared", "opt-out", func(w *wreck) {
		for _, line := range slices.Clone(w.lines) {
			if f := strings.Fields(line); f[3] == "NSEC3" {
				w.change(f[0], "NSEC3", replaceWord(1, "0"))
			}
		}
	}, NSEC3NoOptOut},
	{"NSEC3: a gap", "nsec3", func(w *wreck) {
		w.change(w.nsec3("www.example."), "NSEC3", replaceWord(4, strings.Repeat("0", 32)))
	}, NSEC3Next},
	{"NSEC3: a type missing", "nsec3", func(w *wreck) { w.change(w.nsec3("www.example."), "NSEC3", withoutWord("A")) }, NSEC3Bitmap},
	{"NSEC3: a type too many", "opt-out", func(w *wreck) { w.change(w.nsec3("www.example."), "NSEC3", withWord("TYPE65280")) }, NSEC3Bitmap},
	{"NSEC3: a type at an empty non-terminal", "nsec3", func(w *wreck) { w.change(w.nsec3("y.z.example."), "NSEC3", withWord("A")) }, NSEC3Bitmap},
	{"NSEC3: RRSIG at an insecure delegation", "nsec3", func(w *wreck) { w.change(w.nsec3("insec.example."), "NSEC3", withWord("RRSIG")) }, NSEC3Bitmap},
	{"NSEC3 of no name", "nsec3", func(w *wreck) {
		w.set(strings.Repeat("a", 32)+".example.", 300, "NSEC3", "1 0 0 - "+strings.Repeat("b", 32)+" A RRSIG", w.zsk)
	}, NSEC3Stray},
	{"NSEC3 owner is no hash", "nsec3", func(w *wreck) {
		w.set("short.example.", 300, "NSEC3", "1 0 0 - "+strings.Repeat("b", 32)+" A RRSIG", w.zsk)
	}, NSEC3Owner},
	{"NSEC3: other iterations", "nsec3", func(w *wreck) { w.change(w.nsec3("www.example."), "NSEC3", replaceWord(2, "9")) }, NSEC3Parameters},
	{"NSEC3: another salt", "nsec3", func(w *wreck) { w.change(w.nsec3("www.example."), "NSEC3", replaceWord(3, "abcd")) }, NSEC3Parameters},
	{"NSEC3: another hash algorithm", "nsec3", func(w *wreck) { w.change(w.nsec3("www.example."), "NSEC3", replaceWord(0, "2")) }, NSEC3Parameters},
	{"NSEC3: an unknown flag", "nsec3", func(w *wreck) { w.change(w.nsec3("www.example."), "NSEC3", replaceWord(1, "2")) }, NSEC3Parameters},
	{"NSEC3: a hash cut off", "nsec3", func(w *wreck) { w.change(w.nsec3("www.example."), "NSEC3", replaceWord(4, "aaaaaaaa")) }, NSEC3Malformed},
	{"NSEC3: another TTL", "nsec3", func(w *wreck) { w.swap(w.nsec3("www.example."), "NSEC3", "\t300\t", "\t900\t") }, DenialTTL},
	{"no NSEC3PARAM", "nsec3", func(w *wreck) { w.removeAll("example.", "NSEC3PARAM") }, NSEC3NoParam},
	{"NSEC3PARAM with a flag", "nsec3", func(w *wreck) { w.change("example.", "NSEC3PARAM", replaceWord(1, "1")) }, NSEC3ParamForm},
	{"too many iterations", "nsec3", func(w *wreck) {
		w.change("example.", "NSEC3PARAM", replaceWord(2, "500"))
	}, NSEC3Iterations},

	// The digest. Only it notices what is not signed.
	{"glue changed", "nsec", func(w *wreck) { w.swap("ns.sec.example.", "A", "192.0.2.3", "203.0.113.66") }, ZONEMDDigest},
	{"a delegation changed", "opt-out", func(w *wreck) { w.swap("insec.example.", "NS", "ns.insec", "ns.evil") }, ZONEMDDigest},
	{"ZONEMD: another serial", "nsec", func(w *wreck) { w.change("example.", "ZONEMD", replaceWord(0, "7")) }, ZONEMDSerial},
	{"ZONEMD: an unknown hash", "nsec3", func(w *wreck) { w.change("example.", "ZONEMD", replaceWord(2, "99")) }, ZONEMDUnknown},
	{"ZONEMD: a digest of another length", "nsec", func(w *wreck) { w.change("example.", "ZONEMD", replaceWord(3, strings.Repeat("00", 40))) }, ZONEMDMalformed},
	{"ZONEMD: two of a kind", "nsec", func(w *wreck) {
		w.add("example.\t3600\tIN\tZONEMD 2026112002 1 1 " + strings.Repeat("00", 48))
		w.sign("example.", "ZONEMD", nil, w.zsk)
	}, ZONEMDRepeated},
	{"ZONEMD: another TTL", "nsec", func(w *wreck) { w.swap("example.", "ZONEMD", "\t3600\t", "\t60\t") }, ZONEMDTTL},

	// Content.
	{"no SOA", "nsec", func(w *wreck) { w.removeAll("example.", "SOA") }, SOAMissing},
	{"two SOA", "nsec", func(w *wreck) { w.add("example.\t3600\tIN\tSOA a. b. 1 2 3 4 300") }, SOASeveral},
	{"SOA below the apex", "nsec3", func(w *wreck) { w.add("www.example.\t3600\tIN\tSOA a. b. 1 2 3 4 300") }, SOAElsewhere},
	{"no NS at the apex", "nsec", func(w *wreck) { w.removeAll("example.", "NS") }, NSMissing},
	{"CNAME beside data", "nsec", func(w *wreck) { w.set("www.example.", 3600, "CNAME", "two.example.", w.zsk) }, CNAMEBeside},
	{"two CNAME", "nsec", func(w *wreck) { w.add("alias.example.\t3600\tIN\tCNAME two.example.") }, CNAMESeveral},
	{"two DNAME", "nsec3", func(w *wreck) { w.add("dname.example.\t3600\tIN\tDNAME two.example.") }, DNAMESeveral},
	{"a name below a DNAME", "nsec", func(w *wreck) { w.set("x.dname.example.", 3600, "A", "192.0.2.7", w.zsk) }, BelowDNAME},
	{"DS at the apex", "nsec", func(w *wreck) {
		w.set("example.", 3600, "DS", "1 13 2 0011223344556677001122334455667700112233445566770011223344556677", w.zsk)
	}, DSAtApex},
	{"a record out of the zone", "nsec", func(w *wreck) { w.add("www.example.net.\t3600\tIN\tA 192.0.2.1") }, OutOfZone},
	{"a signature out of the zone", "nsec3", func(w *wreck) {
		w.add(strings.Replace(w.lines[w.where("www.example.", "RRSIG A")[0]], "www.example.", "www.example.net.", 1))
	}, OutOfZone},
	{"a record of class CH", "nsec", func(w *wreck) { w.add("www.example.\t3600\tCH\tTXT \"chaos\"") }, WrongClass},
	{"a record of a question type", "nsec", func(w *wreck) { w.add(`www.example.` + "\t3600\tIN\t" + `TYPE250 \# 1 00`) }, MetaType},
	{"a TTL with the top bit set", "nsec", func(w *wreck) { w.add("two.example.\t2147483648\tIN\tA 192.0.2.24") }, TTLRange},
	{"TTLs that differ in an RRset", "nsec", func(w *wreck) {
		i := w.where("two.example.", "A")[0]
		w.lines[i] = strings.Replace(w.lines[i], "\t3600\t", "\t60\t", 1)
	}, TTLDiffers},
}

func (w *wreck) verify() []Fault {
	w.t.Helper()
	z, err := w.read()
	if err != nil {
		w.t.Fatal(err)
	}
	o := VerifyOptions{At: w.now, Warn: w.warn, Unanchored: w.anchor.ID == ""}
	if !o.Unanchored {
		o.Anchors = []Anchor{{DS: w.anchor.DS(z.Apex())}}
	}
	return z.Verify(o)
}

// Each damage is found and called by its name, whoever did it and however well
// it is signed.
func TestVerifyFindsDamage(t *testing.T) {
	for _, d := range slices.Sorted(maps.Keys(denials)) {
		for _, digest := range []bool{false, true} {
			w := newWreck(t, d, digest)
			wantNoFaults(t, w.verify())
			if who := w.whoNotices(); strings.Join(who, " ") != "no no no" {
				t.Errorf("%s: found false by other tools: %v", d, who)
			}
		}
	}
	for _, c := range damages {
		t.Run(c.name, func(t *testing.T) {
			w := newWreck(t, c.chain, strings.HasPrefix(string(c.want), "zonemd-"))
			c.do(w)
			faults := w.verify()
			if !slices.ContainsFunc(faults, func(f Fault) bool { return f.Code == c.want }) {
				t.Errorf("expected %s, found %v", c.want, faults)
			}
			if *tools {
				fmt.Printf("| %s | %s | `%s` | %s |\n", c.name, c.chain, c.want, strings.Join(w.whoNotices(), " | "))
			}
		})
	}
}

// whoNotices says whether dnssec-verify, ldns-verify-zone and kzonecheck find
// a fault.
func (w *wreck) whoNotices() []string {
	dir := w.t.TempDir()
	writeFile(w.t, dir, "signed", w.text())
	var out []string
	for _, line := range [][]string{
		{"dnssec-verify", "-q", "-o", "example."},
		{"ldns-verify-zone", "-t", string(appendTime(nil, w.now))},
		{"kzonecheck", "-d", "on", "-t", strconv.FormatUint(uint64(w.now), 10), "-o", "example."},
	} {
		notices := "no"
		if _, err := tryRun(dir, line[0], append(line[1:], "signed")...); err != nil {
			notices = "yes"
		}
		out = append(out, notices)
	}
	return out
}

// ofTheDaemon are the faults that only a key set or a policy can have, or that
// no zone file can say.
var ofTheDaemon = []FaultCode{KeyExpected, KeyForeign, NoSigningKey, KeyDoesNotSign, SignedByOther, NotCanonical,
	ZONEMDMissing, ZONEMDUnwanted, ZONEMDSeveral, ZONEMDAlgorithm, NSECMalformed}

// Each code is the result of a damage, and explained.
func TestFaultCodes(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "verify_faults.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var codes []string
	ast.Inspect(file, func(n ast.Node) bool {
		if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
			if s, _ := strconv.Unquote(lit.Value); !strings.Contains(s, " ") && s != ": " && s != "" {
				codes = append(codes, s)
			}
		}
		return true
	})
	if len(codes) < 60 {
		t.Fatalf("found %d codes", len(codes))
	}
	doc, err := os.ReadFile("../docs/verifying.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(string(doc), "\n") {
		code, ok := strings.CutPrefix(line, "| `")
		if code, _, _ = strings.Cut(code, "`"); ok && len(strings.Split(line, "|")) == 4 && code != "" && !slices.Contains(codes, code) &&
			!slices.Contains([]string{"content", "serial", "keys", "denial", "digest", "signature"}, code) {
			t.Errorf("docs/verifying.md explains %s, which is no code", code)
		}
	}
	for _, code := range codes {
		if !slices.ContainsFunc(damages, func(d damage) bool { return string(d.want) == code }) && !slices.Contains(ofTheDaemon, FaultCode(code)) {
			t.Errorf("no damage gives %s", code)
		}
		if !strings.Contains(string(doc), "| `"+code+"` |") {
			t.Errorf("docs/verifying.md does not explain %s", code)
		}
	}
}
