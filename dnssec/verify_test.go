package dnssec

import (
	"bytes"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/miekg/dns"
)

const verified = minimal + `www A 192.0.2.1
*.w TXT wild
x.y.z A 192.0.2.2
sec NS ns.sec
sec DS 1 13 2 0011223344556677001122334455667700112233445566770011223344556677
ns.sec A 192.0.2.3
insec NS ns.insec
ns.insec A 192.0.2.4
`

// forger rebuilds a signed zone with changes of its own, and signs what it
// changes with the true keys: only the check of what is signed can find it.
type forger struct {
	t        *testing.T
	sz       *SignedZone
	ksk, zsk testKey
	sets     []RRset
	sigs     [][]Signature
}

func newForger(t *testing.T, sz *SignedZone, ksk, zsk testKey) *forger {
	f := &forger{t: t, sz: sz, ksk: ksk, zsk: zsk, sets: slices.Clone(sz.sets)}
	for i := range sz.sets {
		f.sigs = append(f.sigs, slices.Clone(sz.signaturesAt(i)))
	}
	return f
}

func (f *forger) at(owner string, typ uint16) int {
	f.t.Helper()
	n := name(f.t, owner)
	i := slices.IndexFunc(f.sets, func(s RRset) bool { return s.Owner == n && s.Type == typ })
	if i < 0 {
		f.t.Fatalf("%s %s is not in the zone", owner, TypeName(typ))
	}
	return i
}

// nsec3 is the index of the NSEC3 that matches a name.
func (f *forger) nsec3(of string) int {
	h, _ := hashName(name(f.t, of), Denial{NSEC3: true}, nil)
	return f.at(Name(hashOwner(h, f.sz.apex, nil)).String(), dns.TypeNSEC3)
}

func (f *forger) remove(i int) {
	f.sets, f.sigs = slices.Delete(f.sets, i, i+1), slices.Delete(f.sigs, i, i+1)
}

// set puts one record in place of an RRset, or adds it, signed by keys.
func (f *forger) set(owner Name, typ uint16, ttl uint32, rdata []byte, keys ...testKey) {
	s := makeRRset(owner, typ, ttl, &arena{}, rdata)
	i, ok := slices.BinarySearchFunc(f.sets, s, compareRRsets)
	if !ok {
		f.sets, f.sigs = slices.Insert(f.sets, i, s), slices.Insert(f.sigs, i, nil)
	}
	f.sets[i] = s
	f.sign(i, keys...)
}

func (f *forger) sign(i int, keys ...testKey) {
	f.sigs[i] = nil
	for _, k := range keys {
		g := Signature{Algorithm: k.Algorithm, KeyTag: k.KeyTag(), Inception: testTime - 3600, Expiration: testTime + 86400}
		f.resign(i, &g, k)
		f.sigs[i] = append(f.sigs[i], g)
	}
}

func (f *forger) resign(i int, g *Signature, k testKey) {
	sig := k.sign(f.t, f.sz.appendMessage(nil, f.sets[i], g))
	g.Sig = string(sig[:])
}

// change rewrites the first record of an RRset and signs it.
func (f *forger) change(i int, edit func(rdata []byte) []byte) {
	s := f.sets[i]
	f.set(s.Owner, s.Type, s.TTL, edit([]byte(s.first())), f.zsk)
}

// flip changes a bit of a signature's i-th byte.
func (g *Signature) flip(i int) {
	b := []byte(g.Sig)
	b[i] ^= 1
	g.Sig = string(b)
}

func (f *forger) zone() *SignedZone {
	sz := &SignedZone{apex: f.sz.apex, sourceSerial: f.sz.sourceSerial, sets: f.sets}
	for _, sigs := range f.sigs {
		sz.first = append(sz.first, uint32(len(sz.sigs)))
		sz.sigs = append(sz.sigs, sigs...)
	}
	sz.first = append(sz.first, uint32(len(sz.sigs)))
	sz.init()
	return sz
}

// Every fault is found although all signatures are true, unless the fault is
// in a signature.
func TestVerifyFindsForgeries(t *testing.T) {
	ksk, zsk := kskAndZSK()
	stranger := newTestKey("stranger", 256, false)
	both := []string{"nsec", "nsec3"}
	type forgery struct {
		name  string
		under []string
		do    func(f *forger)
		want  string
	}
	for _, c := range []forgery{
		{"unsigned", both, func(f *forger) { f.sigs[f.at("www.example", dns.TypeA)] = nil }, "www.example. A: not signed with key"},
		{"signed glue", both, func(f *forger) { f.sign(f.at("ns.sec.example", dns.TypeA), zsk) }, "ns.sec.example. A: signed with key"},
		{"signed delegation", both, func(f *forger) { f.sign(f.at("sec.example", dns.TypeNS), zsk) }, "sec.example. NS: signed with key"},
		{"KSK on zone data", both, func(f *forger) { f.sign(f.at("www.example", dns.TypeA), ksk, zsk) }, "which does not sign this"},
		{"ZSK on keys", both, func(f *forger) { f.sign(f.at("example", dns.TypeDNSKEY), zsk) }, "example. DNSKEY: not signed with key"},
		{"foreign key", both, func(f *forger) { f.sign(f.at("www.example", dns.TypeA), stranger, zsk) }, "which is not in the DNSKEY RRset"},
		{"key replaced", both, func(f *forger) { f.set(f.sz.apex, dns.TypeDNSKEY, 3600, stranger.DNSKEY(), ksk) }, "is not one of ours"},
		{"key missing", both, func(f *forger) { f.set(f.sz.apex, dns.TypeDNSKEY, 3600, ksk.DNSKEY(), ksk) }, `key "zsk" (tag`},
		{"no DNSKEY", both, func(f *forger) { f.remove(f.at("example", dns.TypeDNSKEY)) }, "example. DNSKEY: missing"},
		{"expired", both, func(f *forger) {
			i := f.at("www.example", dns.TypeA)
			f.sigs[i][0].Expiration = testTime
			f.resign(i, &f.sigs[i][0], zsk)
		}, "is valid from"},
		{"not yet valid", both, func(f *forger) {
			i := f.at("www.example", dns.TypeA)
			f.sigs[i][0].Inception = testTime + 1
			f.resign(i, &f.sigs[i][0], zsk)
		}, "is valid from"},
		{"false signature", both, func(f *forger) { f.sigs[f.at("www.example", dns.TypeA)][0].flip(40) }, "www.example. A: signature with key"},
		{"changed record", both, func(f *forger) {
			s := f.sets[f.at("www.example", dns.TypeA)]
			f.sets[f.at("www.example", dns.TypeA)] = makeRRset(s.Owner, s.Type, s.TTL, &arena{}, []byte{1, 2, 3, 4})
		}, "does not verify"},
		{"changed TTL", both, func(f *forger) { f.sets[f.at("www.example", dns.TypeA)].TTL++ }, "does not verify"},
		{"signature of another RRset", both, func(f *forger) { f.sigs[f.at("www.example", dns.TypeA)] = f.sigs[f.at("*.w.example", dns.TypeTXT)] }, "does not verify"},

		{"NSEC missing", both[:1], func(f *forger) { f.remove(f.at("www.example", dns.TypeNSEC)) }, "www.example. NSEC: missing"},
		{"NSEC gap", both[:1], func(f *forger) {
			f.change(f.at("*.w.example", dns.TypeNSEC), func(d []byte) []byte {
				return append([]byte(name(t, "x.y.z.example")), bitmapOf(dns.TypeTXT, dns.TypeRRSIG, dns.TypeNSEC)...)
			})
		}, "next name is x.y.z.example., expected www.example."},
		{"NSEC does not end", both[:1], func(f *forger) {
			f.change(f.at("x.y.z.example", dns.TypeNSEC), func(d []byte) []byte {
				return append([]byte(name(t, "zz.example")), bitmapOf(dns.TypeA, dns.TypeRRSIG, dns.TypeNSEC)...)
			})
		}, "next name is zz.example., expected example."},
		{"NSEC bit map lacks a type", both[:1], func(f *forger) {
			f.change(f.at("www.example", dns.TypeNSEC), func(d []byte) []byte {
				return append([]byte(name(t, "x.y.z.example")), bitmapOf(dns.TypeRRSIG, dns.TypeNSEC)...)
			})
		}, "has RRSIG NSEC, expected A RRSIG NSEC"},
		{"NSEC bit map hides DS", both[:1], func(f *forger) {
			f.change(f.at("sec.example", dns.TypeNSEC), func(d []byte) []byte {
				return append([]byte(name(t, "*.w.example")), bitmapOf(dns.TypeNS, dns.TypeRRSIG, dns.TypeNSEC)...)
			})
		}, "expected NS DS RRSIG NSEC"},
		{"NSEC bit map malformed", both[:1], func(f *forger) {
			f.change(f.at("www.example", dns.TypeNSEC), func(d []byte) []byte { return append([]byte(name(t, "x.y.z.example")), 0, 0) })
		}, "malformed type bit map"},
		{"NSEC at glue", both[:1], func(f *forger) {
			f.set(name(t, "ns.sec.example"), dns.TypeNSEC, 300, append([]byte(name(t, "*.w.example")), bitmapOf(dns.TypeA)...))
		}, "ns.sec.example. NSEC: the chain does not know this name"},
		{"NSEC TTL", both[:1], func(f *forger) { i := f.at("www.example", dns.TypeNSEC); f.sets[i].TTL = 900; f.sign(i, zsk) }, "TTL 900, expected 300"},
		{"NSEC and NSEC3", both[1:], func(f *forger) {
			f.set(name(t, "www.example"), dns.TypeNSEC, 300, append([]byte(name(t, "example")), bitmapOf(dns.TypeA)...), zsk)
		}, "both NSEC and NSEC3"},

		{"NSEC3 missing", both[1:], func(f *forger) { f.remove(f.nsec3("www.example")) }, "www.example. NSEC3: missing"},
		{"NSEC3 of an empty non-terminal missing", both[1:], func(f *forger) { f.remove(f.nsec3("y.z.example")) }, "y.z.example. NSEC3: missing"},
		{"NSEC3 of an insecure delegation missing", both[1:], func(f *forger) { f.remove(f.nsec3("insec.example")) }, "is not opt-out"},
		{"NSEC3 gap", both[1:], func(f *forger) {
			f.change(f.nsec3("www.example"), func(d []byte) []byte { d[8]++; return d })
		}, "next hash is"},
		{"NSEC3 bit map", both[1:], func(f *forger) {
			f.change(f.nsec3("www.example"), func(d []byte) []byte { return append(d[:26], bitmapOf(dns.TypeRRSIG)...) })
		}, "type bit map of www.example. has RRSIG, expected A RRSIG"},
		{"NSEC3 bit map hides DS", both[1:], func(f *forger) {
			f.change(f.nsec3("sec.example"), func(d []byte) []byte { return append(d[:26], bitmapOf(dns.TypeNS)...) })
		}, "expected NS DS RRSIG"},
		{"NSEC3 of no name", both[1:], func(f *forger) {
			s := f.sets[f.nsec3("www.example")]
			f.set(name(t, strings.Repeat("a", 32)+".example"), dns.TypeNSEC3, 300, []byte(s.first()), zsk)
		}, "matches no name"},
		{"NSEC3 owner is no hash", both[1:], func(f *forger) {
			f.set(name(t, "short.example"), dns.TypeNSEC3, 300, []byte(f.sets[f.nsec3("www.example")].first()), zsk)
		}, "its owner is not a hash"},
		{"NSEC3 parameters", both[1:], func(f *forger) {
			f.change(f.nsec3("www.example"), func(d []byte) []byte { d[3] = 9; return d })
		}, "are not those of an NSEC3PARAM"},
		{"NSEC3PARAM missing", both[1:], func(f *forger) { f.remove(f.at("example", dns.TypeNSEC3PARAM)) }, "example. NSEC3PARAM: missing"},
		{"NSEC3PARAM flags", both[1:], func(f *forger) {
			f.change(f.at("example", dns.TypeNSEC3PARAM), func(d []byte) []byte { d[1] = 1; return d })
		}, "flags 0"},
	} {
		for _, d := range c.under {
			t.Run(c.name+"/"+d, func(t *testing.T) {
				p := testParams(ksk, zsk)
				p.Denial = denials[d]
				sz := signPlan(t, mustPlan(t, mustParse(t, "example.", verified), p), ksk, zsk)
				o := VerifyOptions{Keys: p.Keys, At: testTime}
				wantNoFaults(t, Verify(sz, o))
				f := newForger(t, sz, ksk, zsk)
				c.do(f)
				faults := Verify(f.zone(), o)
				if !slices.ContainsFunc(faults, func(x Fault) bool { return strings.Contains(x.String(), c.want) }) {
					t.Errorf("%v\nexpected %q", faults, c.want)
				}
			})
		}
	}
}

func bitmapOf(types ...uint16) []byte { return appendBitmap(nil, types) }

// Under opt-out, an insecure delegation needs no NSEC3, a secure one does.
func TestVerifyOptOut(t *testing.T) {
	ksk, zsk := kskAndZSK()
	p := testParams(ksk, zsk)
	p.Denial = denials["opt-out"]
	z := mustParse(t, "example.", verified)
	sz := signPlan(t, mustPlan(t, z, p), ksk, zsk)
	o := VerifyOptions{Keys: p.Keys, At: testTime}
	wantNoFaults(t, Verify(sz, o))
	f := newForger(t, sz, ksk, zsk)
	f.remove(f.nsec3("sec.example"))
	if faults := Verify(f.zone(), o); !strings.Contains(faults[len(faults)-1].String(), "sec.example. NSEC3: missing") {
		t.Error(faults)
	}
}

// A salt may have up to 255 bytes.
func TestVerifyLongSalts(t *testing.T) {
	ksk, zsk := kskAndZSK()
	for _, n := range []int{250, 251, 255} {
		p := testParams(ksk, zsk)
		p.Denial = Denial{NSEC3: true, Salt: bytes.Repeat([]byte{0xa5}, n)}
		sz := signPlan(t, mustPlan(t, mustParse(t, "example.", verified), p), ksk, zsk)
		wantNoFaults(t, Verify(sz, VerifyOptions{Keys: p.Keys, At: p.Time}))
	}
}

func TestVerifyByAnchor(t *testing.T) {
	ksk, zsk := kskAndZSK()
	sz := signPlan(t, mustPlan(t, mustParse(t, "example.", verified), testParams(ksk, zsk)), ksk, zsk)
	other := newTestKey("other", 257, false)
	for _, c := range []struct {
		anchor Anchor
		want   int
	}{
		{Anchor{DS: ksk.DS(sz.Apex())}, 0}, {Anchor{DNSKEY: ksk.DNSKEY()}, 0},
		{Anchor{DS: other.DS(sz.Apex())}, 1}, {Anchor{DNSKEY: other.DNSKEY()}, 1}, {Anchor{DNSKEY: zsk.DNSKEY()}, 1}, {Anchor{}, 1},
	} {
		if faults := Verify(sz, VerifyOptions{Anchors: []Anchor{c.anchor}, At: testTime}); len(faults) != c.want {
			t.Errorf("%+v: %v", c.anchor, faults)
		}
	}
	if faults := Verify(sz, VerifyOptions{At: testTime}); len(faults) == 0 {
		t.Error("no keys, no anchors, no fault")
	}
}

func TestVerifyHooks(t *testing.T) {
	ksk, zsk := kskAndZSK()
	p := testParams(ksk, zsk)
	sz := signPlan(t, mustPlan(t, mustParse(t, "example.test.", hostZone(600)), p), ksk, zsk)
	f := newForger(t, sz, ksk, zsk)
	i := f.at("mail.example.test", dns.TypeA)
	f.sigs[i][0].flip(3)
	bad := f.zone()
	var batched, asked atomic.Int64
	batch := func(key []byte, messages [][]byte, sigs []string) (bad []int, ok bool) {
		verify, err := newVerifier(key[3], key[4:])
		if err != nil {
			return nil, false
		}
		for i := range sigs {
			if !verify(messages[i], []byte(sigs[i])) {
				bad = append(bad, i)
			}
		}
		batched.Add(int64(len(sigs)))
		return bad, true
	}
	unwilling := func([]byte, [][]byte, []string) ([]int, bool) { return nil, false }
	wantNoFaults(t, Verify(sz, VerifyOptions{Keys: p.Keys, At: testTime, Batch: batch}))
	if int(batched.Load()) != sz.Signatures() {
		t.Errorf("%d of %d in batches", batched.Load(), sz.Signatures())
	}
	for _, hook := range []func([]byte, [][]byte, []string) ([]int, bool){batch, unwilling} {
		if faults := Verify(bad, VerifyOptions{Keys: p.Keys, At: testTime, Batch: hook}); len(faults) != 1 || faults[0].Owner != name(t, "mail.example.test") {
			t.Error(faults)
		}
	}
	proven := func(c Check) bool { asked.Add(1); return c.Owner == name(t, "mail.example.test") }
	wantNoFaults(t, Verify(bad, VerifyOptions{Keys: p.Keys, At: testTime, Proven: proven, Threads: 1}))
	if int(asked.Load()) != sz.Signatures() {
		t.Errorf("asked for %d of %d", asked.Load(), sz.Signatures())
	}
}
